"""Listed records: sessions, insertions, datasets, and the names of their values.

Times are seconds of the session clock, lengths micrometres, amplitudes volts, angles radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime

QC_OUTCOMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")

CAMERAS = {"left": 60.0, "right": 150.0, "body": 30.0}
"""Cameras, and their nominal frame rates (Hz)."""

TRACKERS = ("dlc", "lightningPose")

BANDS = {"ap": 30_000.0, "lf": 2_500.0}
"""Bands of a raw recording, and their nominal sampling rates (Hz)."""

PROVENANCES = ("Planned", "Micro-manipulator", "Histology track", "Ephys aligned histology track")
"""Provenances of a trajectory; each overrules the ones before it."""

PLACE = ("x", "y", "z", "depth", "theta", "phi", "roll")
"""Fields of the place of a trajectory in Alyx."""

SUBJECT = ("nickname", "lab", "sex", "birth_date", "death_date", "strain", "line", "species")
"""Public fields of a mouse in Alyx."""

LEVELS = ("none", "traced", "aligned", "resolved", "alf")
"""Levels of a probe's location, from unknown to released with the data."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """A file that a source lists for a session.

    Attributes
    ----------
    eid : str
        Session UUID, lower case.
    path : str
        POSIX path below the session folder, its revision folder included.
    kind : str
        Kind of data, a key of `alf.KINDS`.
    collection : str
        Folder below the session, without the revision folder.
    name : str
        File name.
    revision : str
        Revision, `''` for the original file.
    dataset_id : str or None
        Dataset UUID of Alyx.
    file_size : int or None
        Bytes.
    md5 : str or None
        Hash as listed; None where the source lists none.
    qc : str or None
        One of `QC_OUTCOMES`.
    is_default : bool or None
        Whether the source flags it as the default revision; None where it flags none.
    probe_name : str or None
        Probe whose folder the file is in.
    sorter : str or None
        Folder of a spike sorting below that of the probe (`''` for the probe's own).
    camera, tracker, band : str or None
        One of `CAMERAS`, `TRACKERS` (of poses) and `BANDS` (of raw recordings).
    """

    eid: str
    path: str
    kind: str
    collection: str
    name: str
    revision: str = ""
    dataset_id: str | None = None
    file_size: int | None = None
    md5: str | None = None
    qc: str | None = None
    is_default: bool | None = None
    probe_name: str | None = None
    sorter: str | None = None
    camera: str | None = None
    tracker: str | None = None
    band: str | None = None


@dataclass(frozen=True, slots=True)
class CheckRecord:
    """An entry of extended quality control, typed.

    Numbers and booleans (as 0 and 1) are in `value`, names of `QC_OUTCOMES` in `outcome`, all else
    in `text`, as JSON. All are None for an entry that is not set.
    """

    name: str
    value: float | None = None
    outcome: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class TrajectoryRecord:
    """An estimate of the track of a probe.

    Attributes
    ----------
    provenance : str
        One of `PROVENANCES`.
    trajectory_id : str or None
        UUID of Alyx.
    x, y, z, depth : float or None
        Entry into the brain from bregma (ML, AP, DV) and length along the probe, micrometres.
    theta, phi, roll : float or None
        Polar angle, azimuth and rotation about the probe, degrees.
    is_current : bool
        Whether it is the last of the insertion in the order of `PROVENANCES`.
    sites : tuple of tuple
        Located sites (axial, lateral, x, y, z, region id), lengths in micrometres, where the
        source lists them.
    """

    provenance: str
    trajectory_id: str | None = None
    x: float | None = None
    y: float | None = None
    z: float | None = None
    depth: float | None = None
    theta: float | None = None
    phi: float | None = None
    roll: float | None = None
    is_current: bool = False
    sites: tuple[tuple[float | None, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class InsertionRecord:
    """A probe in a session. `pid` is None where the source does not know it.

    `level` is one of `LEVELS`, None if unknown; `picks` are the points of the track in histology,
    (x, y, z) in micrometres from bregma.
    """

    eid: str
    probe_name: str
    pid: str | None = None
    model: str | None = None
    serial: str | None = None
    qc: str | None = None
    level: str | None = None
    checks: tuple[CheckRecord, ...] = ()
    picks: tuple[tuple[float, float, float], ...] = ()
    trajectories: tuple[TrajectoryRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class SubjectRecord:
    """The public fields of a mouse; None where the source does not know them.

    `lab` is the laboratory that keeps the mouse, which can be another than that of a session;
    `is_unique` says that the source has no mouse of the same nickname in another laboratory.
    """

    nickname: str
    sex: str | None = None
    birth_date: date | None = None
    death_date: date | None = None
    strain: str | None = None
    line: str | None = None
    species: str | None = None
    lab: str | None = None
    is_unique: bool = True


@dataclass(frozen=True, slots=True)
class SortingRecord:
    """A listed spike sorting of an insertion: sorter, and revision of its spike times.

    One spike sorting of each insertion is the default.
    """

    eid: str
    probe_name: str
    sorter: str
    revision: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session with its datasets and insertions, as a source lists it.

    `is_complete` says that the source lists every insertion and trajectory, so that those which
    are missing were deleted.
    """

    eid: str
    subject: str
    date: date
    number: int
    lab: str | None = None
    start: datetime | None = None
    task_protocol: str | None = None
    projects: str | None = None
    qc: str | None = None
    mouse: SubjectRecord | None = None
    checks: tuple[CheckRecord, ...] = ()
    datasets: tuple[DatasetRecord, ...] = ()
    insertions: tuple[InsertionRecord, ...] = ()
    sortings: tuple[SortingRecord, ...] = ()
    is_complete: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Selection:
    """Criteria of recordings: all given criteria must hold; none selects everything.

    Names are exact. If both `eids` and `pids` are given, either is enough.

    Attributes
    ----------
    tag : str or None
        Name of a release of data that some dataset of the recording belongs to.
    subject, lab, project : str or None
        Nickname of the mouse, name of the laboratory, one of the projects of the session.
    eids, pids : tuple of str
        UUIDs of sessions and of insertions.
    region : str or None
        Acronym of a region of the Allen atlas that contains a site of the insertion.
    bwm_rule : bool
        Only insertions that the rule of the Brain-Wide Map's releases selects.
    """

    tag: str | None = None
    subject: str | None = None
    lab: str | None = None
    project: str | None = None
    eids: tuple[str, ...] = ()
    pids: tuple[str, ...] = ()
    region: str | None = None
    bwm_rule: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """Selected eids, in order of subject, date, number, and insertions (eid, probe name, pid).

    `eids` includes the sessions of all insertions. A selection by `pids`, `region` or `bwm_rule`
    finds no other sessions.
    """

    eids: tuple[str, ...]
    insertions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class FileRead:
    """A listed file, with the md5 and the size (bytes) of its content as read.

    Both are None for a file that was not opened. Its row still shows later whether files were
    replaced or added.
    """

    path: str
    revision: str
    md5: str | None
    file_size: int | None
