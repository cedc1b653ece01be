"""The `Source` protocol: what a place that offers recordings lists, and what it loads.

Names and units are ours from here on: times in seconds of the session clock, lengths in
micrometres, amplitudes in volts, angles in radians.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from schemas.errors import SourceError

QC_OUTCOMES = ("NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL")

CAMERAS = {"left": 60.0, "right": 150.0, "body": 30.0}
"""Cameras, and their nominal frame rates (Hz)."""

TRACKERS = ("dlc", "lightningPose")

BANDS = {"ap": 30_000.0, "lf": 2_500.0}
"""Bands of a raw recording, and their nominal sampling rates (Hz)."""

PROVENANCES = (
    "Planned",
    "Micro-manipulator",
    "Histology track",
    "Ephys aligned histology track",
)
"""Where a trajectory comes from; each overrules the ones before it."""

LEVELS = ("none", "traced", "aligned", "resolved", "alf")
"""How far the location of a probe is settled, from not at all to released with the data."""

DATA_KINDS = {
    "trials": "task events and outcome of each trial",
    "wheel": "position of the steering wheel",
    "channels": "recording sites of a probe and where they lie in the brain",
    "clusters": "units of a spike sort, with their metrics",
    "spikes": "spikes of a spike sort",
    "frame_times": "times of the frames of a camera",
    "pose": "points tracked on the frames of a camera",
    "pupil": "diameter of the pupil on the frames of a camera",
    "motion_energy": "motion energy in a region of interest of a camera",
    "licks": "times of licks",
    "passive_periods": "periods of the passive protocol after the task",
    "receptive_field": "sparse noise for receptive fields, shown in the passive protocol",
    "passive_stimuli": "valve, tone and noise, replayed in the passive protocol",
    "passive_gabors": "Gabor patches, replayed in the passive protocol",
    "rms": "root mean square of the raw recording of a probe, in windows",
    "spectral_density": "power spectrum of the raw recording of a probe",
    "raw_ephys": "raw recording of a probe: a pointer, fetched on request",
    "raw_video": "raw video of a camera: a pointer, fetched on request",
    "other": "listed, but not imported by any table yet",
}


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
        Which kind of data it belongs to, a key of `DATA_KINDS`.
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
        For the files of a spike sort, the folder below the probe's (`''` for the probe's own).
    camera : str or None
        For the files of a camera, one of `CAMERAS`.
    tracker : str or None
        For poses, what tracked the points, one of `TRACKERS`.
    band : str or None
        For the files of a raw recording and its quality, one of `BANDS`.
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

    Numbers and booleans (as 0 and 1) are in `value`, names of `QC_OUTCOMES` in `outcome`, and
    whatever else was released in `text`, as JSON; all are None for an entry that is not set.
    """

    name: str
    value: float | None = None
    outcome: str | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class TrajectoryRecord:
    """An estimate of where a probe went in.

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
        Whether it is the furthest of the insertion in the order of `PROVENANCES`.
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

    `level` tells how far its location is settled, one of `LEVELS`, None where not known; `picks`
    are the points of the track in histology, (x, y, z) in micrometres from bregma.
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
    """The public fields of a mouse; None where the source does not know them."""

    nickname: str
    sex: str | None = None
    birth_date: date | None = None
    death_date: date | None = None
    strain: str | None = None
    line: str | None = None
    species: str | None = None


@dataclass(frozen=True, slots=True)
class SortingRecord:
    """A spike sort that is offered for an insertion: sorter, and revision of its spike times.

    One sort of an insertion is the default: the one to use where nobody asks for another.
    """

    eid: str
    probe_name: str
    sorter: str
    revision: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """A session with its datasets and insertions, as a source lists it."""

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


@dataclass(frozen=True, slots=True)
class Selection:
    """Which recordings of a source are meant: all criteria that are given must hold.

    Names are exact. `eids` and `pids` name sessions and insertions themselves; where both are
    given, either is enough. Nothing given means everything.

    Attributes
    ----------
    tag : str or None
        Name of a release of data that some dataset of the recording belongs to.
    subject, lab, project : str or None
        Nickname of the mouse, name of the laboratory, one of the projects of the session.
    eids, pids : tuple of str
        UUIDs of sessions and of insertions.
    region : str or None
        Acronym of a region of the Allen atlas in which a site of the insertion lies, in it or in
        any part of it.
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
    """What a selection names: eids of sessions, and insertions as (eid, probe name, pid).

    The sessions of all insertions are among `eids`, which are in order of subject, date, number.
    Where the selection speaks of insertions (`pids`, `region`, `bwm_rule`), there are no others.
    """

    eids: tuple[str, ...]
    insertions: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class FileRead:
    """A file that was on offer: with the md5 and the size (bytes) of what was really read of it.

    Both are None for a file that was not needed, and so not opened: it is told all the same, so
    that it can be recognised later whether files were replaced or newly offered.
    """

    path: str
    revision: str
    md5: str | None
    file_size: int | None


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials of a session: one row a trial, columns under our names.

    `frame` holds the known columns that the release has; `extra` the columns that we have no
    name for, untouched.
    """

    frame: pd.DataFrame
    extra: pd.DataFrame
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Wheel:
    """Wheel trace: `time` (n,) seconds ascending, `position` (n,) radians, + counter-clockwise."""

    time: np.ndarray
    position: np.ndarray
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Channels:
    """Recording sites: one row a site, the index being the row that `clusters.channels` names.

    Columns of `frame`: `axial_um`, `lateral_um`; `x_um`, `y_um`, `z_um` (ML, AP, DV from bregma)
    and `region_id` (nullable integer) where located; `raw_index`, `channel_label` where released.
    `level` says how far the location can be trusted: `'alf'` where files give it, `'resolved'`
    where the metadata do, `''` where neither does.
    """

    frame: pd.DataFrame
    level: str
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Clusters:
    """Units of a sort: one row a cluster, the index being the cluster id (row number).

    Columns of `frame` (absent where not released): `channel` (row of the channels arrays),
    `cluster_uuid`, `cluster_depth` (um), `cluster_amp` (V), `peak_to_trough` (ms); from the
    peak channel `axial_um`, `lateral_um`, `x_um`, `y_um`, `z_um`, `region_id` (nullable integer);
    and the released metrics under our names.

    `metrics` names the metric columns that the released table has: a metric that is missing for
    one cluster is NaN, one that the sort lacks is no column.
    """

    frame: pd.DataFrame
    metrics: tuple[str, ...]
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Spikes:
    """Spikes of a sort in order of time: (S,) arrays, values as released.

    `time` float64 seconds ascending, `cluster` unsigned integer row of the clusters table,
    `amplitude` volts, `depth` micrometres from the tip (may be NaN).
    """

    time: np.ndarray
    cluster: np.ndarray
    amplitude: np.ndarray
    depth: np.ndarray
    files: tuple[FileRead, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """Times of the frames of a camera: (n,) float64 seconds, ascending."""

    time: np.ndarray
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Frames:
    """What was measured on each frame of a video: pose, pupil or motion energy.

    There are often more times than frames, since the camera's clock starts before its video. The
    first ones are then left out, so that the last frame has the last time.

    Attributes
    ----------
    time : ndarray
        (n,) float64 seconds, ascending, one a frame.
    frame : DataFrame
        n rows. Pose: `{point}_x`, `{point}_y` (px), `{point}_likelihood` for each point. Pupil:
        `diameter_raw`, `diameter_smooth` (px), as far as released. Motion energy: `energy`
        (a.u.).
    n_dropped : int
        Number of times that were left out.
    region : tuple of int or None
        Region of interest of the motion energy: x, y, width, height (px).
    """

    time: np.ndarray
    frame: pd.DataFrame
    n_dropped: int
    region: tuple[int, int, int, int] | None = None
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Licks:
    """Times of licks: (n,) float64 seconds, ascending."""

    time: np.ndarray
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Events:
    """Events of the passive protocol: one row each, in order of their start.

    Columns of `frame`, all with `start` and `stop` (s): periods also `period`; stimuli also
    `stimulus` (`'valve'`, `'tone'`, `'noise'`); Gabor patches also `position` (deg), `contrast`
    (fraction), `phase` (as released).
    """

    frame: pd.DataFrame
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """Sparse noise: `time` (f,) float64 seconds, ascending; `pattern` (f, 225) uint8, or None.

    A row of `pattern` holds the 15 x 15 squares of a frame, column 15 i + j being square (i, j);
    None where the raw stimulus is not listed.
    """

    time: np.ndarray
    pattern: np.ndarray | None
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class RawQuality:
    """Quality of a raw recording: `values` (n, channels) at `at` (n,).

    Root mean square (V) at times (s), or power (V**2/Hz) at frequencies (Hz).
    """

    at: np.ndarray
    values: np.ndarray
    files: tuple[FileRead, ...] = ()


class Source(Protocol):
    """A place that offers recordings.

    The loaders get the datasets of one kind of one session (and probe, and sort), already
    narrowed to the revision that is to be read, so that what is read is decided by the rows of
    the database and not by the state of a cache.

    Raises
    ------
    MissingDataset
        A file that is listed, or that the kind of data needs, is not there.
    DamagedFile
        A file cannot be read, or its md5 is not the listed one.
    InconsistentData
        The files contradict themselves or each other.
    """

    @property
    def location(self) -> str:
        """Folder or URL: enough for `open_source` to open it again in another process."""
        ...

    @property
    def problems(self) -> Sequence[SourceError]:
        """What the last `sessions` left out, and why."""
        ...

    def find(self, selection: Selection) -> Found:
        """Tell which sessions and insertions a selection names.

        Raises
        ------
        QueryError
            A name or id of the selection is unknown here, or the source cannot tell.
        """
        ...

    def sessions(
        self,
        eids: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterable[SessionRecord]:
        """List sessions (default: every one) with what they have.

        They come in order of subject, date, number, or in the order of `eids`. What cannot be
        used is left out, and told in `problems`. `progress` is called with the number of
        sessions that are done, and of all.
        """
        ...

    def load_trials(self, datasets: Sequence[DatasetRecord]) -> Trials:
        """Load the task events of a session."""
        ...

    def load_wheel(self, datasets: Sequence[DatasetRecord]) -> Wheel:
        """Load the wheel trace of a session."""
        ...

    def load_channels(
        self, datasets: Sequence[DatasetRecord], located: pd.DataFrame | None = None
    ) -> Channels:
        """Load the recording sites of a probe.

        `located` are sites that the metadata locate (columns `axial_um`, `lateral_um`, `x_um`,
        `y_um`, `z_um`, `region_id`): they are used where no file does, by their position.
        """
        ...

    def load_clusters(
        self, datasets: Sequence[DatasetRecord], located: pd.DataFrame | None = None
    ) -> Clusters:
        """Load the units of a sort, with metrics and site of the peak channel.

        `located` as in `load_channels`.
        """
        ...

    def load_spikes(self, datasets: Sequence[DatasetRecord]) -> Spikes:
        """Load the spikes of a sort."""
        ...

    def load_frame_times(self, datasets: Sequence[DatasetRecord]) -> FrameTimes:
        """Load the times of the frames of a camera."""
        ...

    def load_pose(self, datasets: Sequence[DatasetRecord]) -> Frames:
        """Load the points that one tracker found on the frames of a camera."""
        ...

    def load_pupil(self, datasets: Sequence[DatasetRecord]) -> Frames:
        """Load the diameter of the pupil on the frames of a camera."""
        ...

    def load_motion_energy(self, datasets: Sequence[DatasetRecord]) -> Frames:
        """Load the motion energy of a camera."""
        ...

    def load_licks(self, datasets: Sequence[DatasetRecord]) -> Licks:
        """Load the times of licks."""
        ...

    def load_passive_periods(self, datasets: Sequence[DatasetRecord]) -> Events:
        """Load the periods of the passive protocol."""
        ...

    def load_receptive_field(self, datasets: Sequence[DatasetRecord]) -> ReceptiveField:
        """Load the sparse noise and the times of its frames."""
        ...

    def load_passive_stimuli(self, datasets: Sequence[DatasetRecord]) -> Events:
        """Load the valve openings, tones and noises of the passive protocol."""
        ...

    def load_passive_gabors(self, datasets: Sequence[DatasetRecord]) -> Events:
        """Load the Gabor patches of the passive protocol."""
        ...

    def load_rms(self, datasets: Sequence[DatasetRecord]) -> RawQuality:
        """Load the root mean square of one band of a raw recording."""
        ...

    def load_spectral_density(self, datasets: Sequence[DatasetRecord]) -> RawQuality:
        """Load the power spectrum of one band of a raw recording."""
        ...

    def fetch(
        self, datasets: Sequence[DatasetRecord], progress: Callable[[int], None] | None = None
    ) -> tuple[Path, ...]:
        """Make sure that files are there, whole, and return where: in the order asked for.

        `progress` is called with the number of bytes that have come in since the last call.
        """
        ...


@runtime_checkable
class OnDisk(Protocol):
    """A source whose files are on this machine, or some of them."""

    def places(self, files: Sequence[tuple[str, str]]) -> tuple[Path | None, ...]:
        """Tell where files (eid, path below the session) are, or would be, without fetching any.

        None where the source does not know the session.
        """
        ...


@runtime_checkable
class Cached(Protocol):
    """A source that keeps files which it can fetch again."""

    def cached_bytes(self) -> int:
        """Return the bytes of the files that are kept."""
        ...

    def evict(self, keep_below: int, droppable: Collection[tuple[str, str]]) -> int:
        """Remove files until the others take less than so many bytes.

        Those used longest ago go first, none that is in use, and none that is not among
        `droppable` (eid, path below the session). Returns the bytes that were removed.
        """
        ...


def is_url(location: str) -> bool:
    """Whether a location is the URL of a server, and no folder."""
    return location.startswith(("http://", "https://"))


def is_subject_name(text: str) -> bool:
    """Whether a text can name a subject: letters, digits, `_`, `-` and single dots, 64 at most."""
    return bool(re.fullmatch(r"[\w-][\w.-]{0,63}", text)) and ".." not in text


@lru_cache(maxsize=65536)
def is_dataset_path(text: str) -> bool:
    """Whether a path leads into the session folder and nowhere else, on every system.

    Its parts are separated by `/`, and are names of files: no `..`, no drive, nothing that cannot
    be printed, 255 bytes at most.
    """
    parts = text.split("/")
    return (
        text.isprintable()
        and not set(text) & set("\\:")
        and all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in parts)
    )


def is_probe_name(text: str) -> bool:
    """Whether a text can name a probe: letters, digits, `_`, `-` and single dots, 16 at most."""
    return bool(re.fullmatch(r"\w[\w.-]{0,15}", text)) and ".." not in text


def select_revision(
    datasets: Sequence[DatasetRecord], revision: str | None = None
) -> tuple[DatasetRecord, ...]:
    """Choose one revision of each file.

    Parameters
    ----------
    datasets : sequence of DatasetRecord
        All revisions of the files of one session.
    revision : str, optional
        None takes the file that is flagged as default, or else the last revision. A revision
        (`''` for the original) takes the last one that is not later, ignoring flags, as ONE does.

    Returns
    -------
    tuple of DatasetRecord
        At most one for each (collection, name), in the order of their paths.
    """
    chosen: dict[tuple[str, str], DatasetRecord] = {}
    for record in sorted(datasets, key=lambda d: d.revision):
        if revision is not None and record.revision > revision:
            continue
        name = (record.collection, record.name)
        held = chosen.get(name)
        if held is None or revision is not None or not held.is_default:
            chosen[name] = record
    return tuple(sorted(chosen.values(), key=lambda d: d.path))


_opener: Callable[[str], Source] | None = None
_opened: dict[tuple[int, str], Source] = {}


def use_opener(opener: Callable[[str], Source] | None) -> None:
    """Say how a location is opened. Table modules know neither ONE nor the simulator."""
    global _opener
    _opener = opener
    _opened.clear()


def open_source(location: str) -> Source:
    """Open a source, one instance a process (and never one from before a fork)."""
    if _opener is None:
        raise SourceError(
            "no source can be opened.", location, "Call schemas.connection.connect() first."
        )
    here = (os.getpid(), location)
    if here not in _opened:
        _opened[here] = _opener(location)
    return _opened[here]
