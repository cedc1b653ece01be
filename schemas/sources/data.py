"""Loaded data: the arrays and tables of one kind of data of one session.

Times are seconds of the session clock, lengths micrometres, amplitudes volts, angles radians.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from schemas.sources.records import FileRead


@dataclass(frozen=True, slots=True)
class Trials:
    """Trials of a session: one row a trial, columns under our names.

    `frame` holds the known columns, as far as released; `extra` all others, unchanged.
    """

    frame: pd.DataFrame
    extra: pd.DataFrame
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Wheel:
    """Wheel trace: `time` (n,) seconds ascending, `position` (n,) radians, + counter-clockwise.

    `unit` is that of the released positions: rad, cm or deg.
    """

    time: np.ndarray
    position: np.ndarray
    unit: str = "rad"
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Channels:
    """Recording sites: one row a site, the index being the row that `clusters.channels` names.

    Columns of `frame`: `axial_um`, `lateral_um`; `x_um`, `y_um`, `z_um` (ML, AP, DV from bregma)
    and `region_id` (nullable integer) where located; `raw_index`, `channel_label` where released.
    `level` is `'alf'` if files locate the sites, `'resolved'` if the metadata do, else `''`.
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
class Waveforms:
    """Mean waveforms of the units of a sort: (U, T, C), volts at 30 kHz, as released.

    `channel` (U, C) says which rows of the channels arrays they are on, below 0 for none. `of` is
    `'clusters'`, or `'templates'` where those of the clusters are not listed.
    """

    waveform: np.ndarray
    channel: np.ndarray
    of: str
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Times:
    """Times of events, as licks or frames of a camera: (n,) float64 seconds, ascending."""

    time: np.ndarray
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class Frames:
    """What was measured on each frame of a video: pose, pupil or motion energy.

    A camera often has more times than frames, because its clock starts before its video. Surplus
    times at the start are dropped.

    Attributes
    ----------
    time : ndarray
        (n,) float64 seconds, ascending, one a frame.
    frame : DataFrame
        n rows. Pose: `{point}_x`, `{point}_y` (px), `{point}_likelihood` for each point. Pupil:
        `diameter_raw`, `diameter_smooth` (px), as far as released. Motion energy: `energy`
        (a.u.).
    n_dropped : int
        Number of dropped times.
    region : tuple of int or None
        Region of interest of the motion energy: x, y, width, height (px).
    """

    time: np.ndarray
    frame: pd.DataFrame
    n_dropped: int
    region: tuple[int, int, int, int] | None = None
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
class Intervals:
    """Intervals of a recording: `start`, `stop` (n,) float64 seconds, both ascending."""

    start: np.ndarray
    stop: np.ndarray
    files: tuple[FileRead, ...] = ()


@dataclass(frozen=True, slots=True)
class RawQuality:
    """Quality of a raw recording: `values` (n, channels) at `at` (n,).

    Root mean square (V) at times (s), or power (V**2/Hz) at frequencies (Hz).
    """

    at: np.ndarray
    values: np.ndarray
    files: tuple[FileRead, ...] = ()
