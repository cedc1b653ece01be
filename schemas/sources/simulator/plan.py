"""Who is recorded where: sizes, sessions, probes, and which of them is odd or faulty."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from types import MappingProxyType

RESORT = "2024-05-06"
TRIALS_REVISION = "2024-07-10"
FIRST_DATE = date(2021, 1, 11)
LABS = ("eastlab", "northlab", "southlab")
PROJECT, MOCK_PROJECT = "ibl_neuropixel_brainwide_01", "practice_mock_sessions"

POINTS = (
    "nose_tip",
    "paw_l",
    "paw_r",
    "pupil_top_r",
    "pupil_bottom_r",
    "pupil_left_r",
    "pupil_right_r",
    "tongue_end_l",
    "tongue_end_r",
    "tube_top",
    "tube_bottom",
)
FEW_POINTS = ("nose_tip", "paw_r", "pupil_top_r", "pupil_bottom_r", "tongue_end_l")

# Fault and tuned sessions are counted from here, so that asking for them changes no other session.
FIRST_FAULT, FIRST_TUNED = 1000, 2000


@dataclass(frozen=True)
class Size:
    """How much to simulate.

    Attributes
    ----------
    n_subjects, n_labs, n_sessions : int
        Mice, labs, sessions; faults add sessions of their own.
    n_units : int
        Clusters of a sort; an original that stands beside a re-sort has 0.6 times as many.
    duration : float
        Length of a recording, seconds.
    n_trials : int
        Trials of a session, before those that do not fit into the recording are dropped.
    good_fraction : float
        Share of the units that is planted as good in both criteria.
    unit_rate : float
        Median rate of units that are not good, Hz.
    max_probes : int
        Upper bound of probes in a session.
    revisions : tuple of str
        Sorts of an insertion, oldest first; `''` is the unrevised one.
    frame_rate_factor : float
        Rates of the cameras and of the sparse noise, and number of windows of a raw recording,
        over the real ones.
    points : tuple of str
        Points tracked on the frames of the left and the right camera.
    n_frequencies : int
        Of the power spectra; 513 in real ones.
    n_tuned : int
        Sessions that are added with tuned units, 520 trials, reaction times that fall with
        contrast, a left camera of 60 Hz and sparse noise as in real sessions.
    """

    n_subjects: int
    n_labs: int
    n_sessions: int
    n_units: int
    duration: float
    n_trials: int
    good_fraction: float = 0.25
    unit_rate: float = 1.0
    max_probes: int = 2
    revisions: tuple[str, ...] = ("", RESORT)
    frame_rate_factor: float = 0.02
    points: tuple[str, ...] = FEW_POINTS
    n_frequencies: int = 17
    n_tuned: int = 0


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "tiny": Size(3, 2, 7, 32, 600.0, 100, good_fraction=0.35),
        "small": Size(
            4,
            3,
            10,
            64,
            1500.0,
            320,
            good_fraction=0.3,
            frame_rate_factor=0.03,
            points=POINTS,
            n_frequencies=65,
            n_tuned=1,
        ),
        "full": Size(
            1,
            1,
            1,
            540,
            4800.0,
            650,
            good_fraction=0.14,
            unit_rate=1.66,
            max_probes=1,
            revisions=(RESORT,),
            frame_rate_factor=1.0,
            points=POINTS,
            n_frequencies=513,
        ),
    }
)


@dataclass(frozen=True)
class Role:
    """What sets a session apart from a plain one."""

    probes: tuple[str, ...] = ("probe00",)
    resorted: bool = True
    wheel: bool = True
    training: bool = False
    # Whether the alignment of the probes is resolved; else it is only begun.
    located: bool = True
    # Probes whose sites are located in the metadata alone, of unknown state, withheld by their qc.
    sites_in_metadata: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    # Channels released again with the re-sort; else those of the original serve both.
    own_channels: bool = True
    odd_units: bool = False
    # Whether the waveforms of units were released.
    waveforms: bool = True
    odd_events: bool = False
    iti: bool = False
    revised_trials: bool = False
    integer_choice: bool = False
    cameras: tuple[str, ...] = ("left", "right", "body")
    lightning_pose: bool = False
    # Times before the first frame, by which the left camera has more times than frames.
    n_early: int = 0
    passive: bool = True
    gabors: bool = True
    # Raw files are `there`, listed but `absent`, or `unlisted`.
    raw: str = "there"
    tuned: bool = False
    number: int = 1
    project: str = PROJECT
    qc: str = "PASS"
    # Whether quality control was extended; what it says of the behaviour, of one task check, and
    # what the experimenter says of the task.
    extended: bool = True
    behavior: int = 1
    failed_check: bool = False
    experimenter_task: str | None = None


# One flaw each keeps sessions and probes from a release: see `metadata.satisfies_bwm_rule`.
ROLES = (
    Role(
        probes=("probe00", "probe01"),
        odd_units=True,
        odd_events=True,
        raw="absent",
        lightning_pose=True,
        critical=("probe01",),
        failed_check=True,
        experimenter_task="PASS",
    ),
    Role(resorted=False, integer_choice=True, n_early=7, gabors=False, failed_check=True),
    Role(wheel=False, own_channels=False, cameras=("left", "right"), qc="CRITICAL"),
    Role(probes=(), training=True, cameras=("left",), passive=False, qc="NOT_SET", extended=False),
    Role(
        probes=("probe00a", "probe01"),
        passive=False,
        unknown=("probe00a",),
        sites_in_metadata=("probe01",),
        number=2,
    ),
    Role(located=False, waveforms=False, cameras=(), raw="unlisted", qc="WARNING"),
    Role(
        probes=("probe01",),
        iti=True,
        revised_trials=True,
        lightning_pose=True,
        behavior=0,
        number=3,
    ),
    Role(probes=("probe00", "probe01"), project=MOCK_PROJECT),
)

FAULTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "wheel_lengths": ("wheel", "wheel positions lack their last sample"),
        "trials_extra_length": ("trials", "stimOff_times has two values less than the table"),
        "unknown_region": ("channels", "an atlas id that is in no atlas"),
        "truncated_spike_times": ("spikes", "half the file is there, the md5 is of all of it"),
        "cluster_beyond_table": ("spikes", "spikes of a cluster that the clusters table lacks"),
        "unsorted_spike_times": ("spikes", "two spike times are swapped"),
        "nan_spike_time": ("spikes", "a spike time is NaN"),
        "negative_spike_time": ("spikes", "the first spike time is negative"),
        "repeated_metrics": ("clusters", "a cluster id is twice in the metrics, another never"),
        "truncated_metrics": ("clusters", "half the file was listed: md5 agrees, unreadable"),
        "truncated_trials": ("trials", "half the table is there, the md5 is of all of it"),
        "pose_beyond_times": ("pose", "the pose has three frames more than the camera has times"),
        "truncated_pose": ("pose", "half the file was listed: md5 agrees, unreadable"),
        "passive_columns": ("passive_periods", "the table has other columns"),
        "receptive_field_lengths": ("receptive_field", "the noise has two frames without a time"),
    }
)


@dataclass(frozen=True)
class Probe:
    """An insertion: `tag` is what its random numbers and its chain of regions follow from."""

    pid: str
    name: str
    model: str
    serial: str
    tag: int
    revisions: tuple[str, ...]


@dataclass(frozen=True)
class Session:
    """A session that is to be simulated."""

    index: int
    eid: str
    lab: str
    subject: str
    date: date
    number: int
    role: Role
    probes: tuple[Probe, ...]
    fault: str | None = None

    @property
    def folder(self) -> str:
        """Path of the session below the cache folder."""
        return f"{self.lab}/Subjects/{self.subject}/{self.date.isoformat()}/{self.number:03d}"


def identifier(*parts: object) -> str:
    """UUID of version 4 that follows from its parts, lower case."""
    digest = hashlib.md5("/".join(map(str, parts)).encode(), usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=4))


TUNED_ROLE = Role(cameras=("left",), tuned=True, raw="unlisted")


def enlarge(size: Size) -> Size:
    """Return the size of a session with tuned units."""
    tuned = {"duration": 3000.0, "n_trials": 520, "good_fraction": 0.5, "frame_rate_factor": 1.0}
    return replace(size, **tuned)  # type: ignore[arg-type]


def plan_release(size: Size, seed: int, edge_cases: bool, faults: bool) -> list[Session]:
    """List the sessions of a release in order of their index.

    Parameters
    ----------
    size : Size
        How many of everything.
    seed : int
        Names and identifiers follow from it.
    edge_cases, faults : bool
        Whether sessions have their odd roles; whether faulty sessions are added.
    """
    plans = [
        _session(size, seed, i, _role(i, edge_cases), size.revisions)
        for i in range(size.n_sessions)
    ]
    plans += [
        _session(size, seed, FIRST_TUNED + i, TUNED_ROLE, size.revisions[-1:])
        for i in range(size.n_tuned)
    ]
    if faults:
        plans += [
            _session(size, seed, FIRST_FAULT + i, Role(), ("",), fault)
            for i, fault in enumerate(FAULTS)
        ]
    return plans


def _role(index: int, edge_cases: bool) -> Role:
    """Role of a session: the odd ones first, then plain ones, each third with two probes."""
    if edge_cases and index < len(ROLES):
        return ROLES[index]
    return Role(probes=("probe00", "probe01")) if index % 3 == 1 else Role()


def _session(
    size: Size,
    seed: int,
    index: int,
    role: Role,
    revisions: tuple[str, ...],
    fault: str | None = None,
) -> Session:
    mouse = index % size.n_subjects
    lab = LABS[mouse % min(size.n_labs, len(LABS))]
    probes = tuple(
        _probe(seed, index, k, name, revisions if role.resorted else ("",))
        for k, name in enumerate(role.probes[: size.max_probes])
    )
    return Session(
        index=index,
        eid=identifier(seed, "session", index),
        lab=lab,
        subject=f"{lab[0].upper()}L_{10 * (seed % 90) + mouse + 1:03d}",
        date=FIRST_DATE + timedelta(days=3 * (index % FIRST_FAULT) + 365 * (index // FIRST_FAULT)),
        number=role.number,
        role=role,
        probes=probes,
        fault=fault,
    )


def _probe(seed: int, index: int, k: int, name: str, revisions: tuple[str, ...]) -> Probe:
    return Probe(
        pid=identifier(seed, "probe", index, k),
        name=name,
        model="NP2.4" if name[-1].isalpha() else "3B2",
        serial=str(18005100000 + 100 * (seed % 1000) + 10 * (index % 10) + k),
        tag=2 * index + k,
        revisions=revisions,
    )
