"""Files of the IBL: what a path says, and how each kind of file is read.

The one place that knows IBL's file names, column names and traps. It opens local files and
nothing else: where they come from is for the source to know.

Each file is read once, whole, so that the hash that is reported is the hash of the very bytes
that were used.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import tokenize
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources.base import (
    Channels,
    Clusters,
    DatasetRecord,
    FileRead,
    SortingRecord,
    Spikes,
    Trials,
    Wheel,
)
from schemas.sources.ontology import region_ids

Files = Mapping[DatasetRecord, Path]

TRIAL_COLUMNS = {
    "intervals_0": "trial_start_time",
    "intervals_1": "trial_end_time",
    "stimOn_times": "stim_on_time",
    "goCue_times": "go_cue_time",
    "firstMovement_times": "first_movement_time",
    "response_times": "response_time",
    "feedback_times": "feedback_time",
    "choice": "choice",
    "feedbackType": "feedback_type",
    "contrastLeft": "contrast_left",
    "contrastRight": "contrast_right",
    "rewardVolume": "reward_volume",
    "probabilityLeft": "probability_left",
    "goCueTrigger_times": "go_cue_trigger_time",
    "stimOff_times": "stim_off_time",
    "stimOnTrigger_times": "stim_on_trigger_time",
    "stimOffTrigger_times": "stim_off_trigger_time",
    "quiescencePeriod": "quiescence_period",
    "included": "trial_included",
    "repNum": "rep_num",
    "intervals_bpod_0": "bpod_start_time",
    "intervals_bpod_1": "bpod_end_time",
}
"""Released name of a trials column (`_0`, `_1`: columns of an n x 2 array) -> ours."""

METRIC_COLUMNS = {
    "amp_max": "amp_max",
    "amp_min": "amp_min",
    "amp_median": "amp_median",
    "amp_std_dB": "amp_std_db",
    "contamination": "contamination",
    "contamination_alt": "contamination_alt",
    "drift": "drift",
    "missed_spikes_est": "missed_spikes_est",
    "noise_cutoff": "noise_cutoff",
    "presence_ratio": "presence_ratio",
    "presence_ratio_std": "presence_ratio_std",
    "slidingRP_viol": "sliding_rp_viol",
    "slidingRP_viol_forced": "sliding_rp_viol_forced",
    "max_confidence": "max_confidence",
    "min_contamination": "min_contamination",
    "n_spikes_below2": "n_spikes_below2",
    "spike_count": "spike_count",
    "firing_rate": "firing_rate",
    "label": "released_label",
    "bitwise_fail": "bitwise_fail",
    "ks2_label": "ks2_label",
}
"""Released name of a cluster metric -> ours."""

CLUSTER_COLUMNS = {
    "clusters.depths.npy": "cluster_depth",
    "clusters.amps.npy": "cluster_amp",
    "clusters.peakToTrough.npy": "peak_to_trough",
}
SITE_COLUMNS = {
    "localCoordinates": ("lateral_um", "axial_um"),
    "mlapdv": ("x_um", "y_um", "z_um"),
    "brainLocationIds_ccf_2017": ("region_id",),
    "rawInd": ("raw_index",),
    "labels": ("channel_label",),
}
PEAK_COLUMNS = ("axial_um", "lateral_um", "x_um", "y_um", "z_um", "region_id")

TRIALS_TABLE = "_ibl_trials.table.pqt"
TRIAL_FILES = {
    f"_ibl_trials.{attribute}.npy": tuple(
        column for column in TRIAL_COLUMNS if re.sub(r"_[01]$", "", column) == attribute
    )
    for attribute in dict.fromkeys(re.sub(r"_[01]$", "", column) for column in TRIAL_COLUMNS)
}
# Any of these makes trials; the others only add to them.
_TRIAL_TABLE_FILES = (TRIALS_TABLE, *list(TRIAL_FILES)[:12])
WHEEL_FILES = ("_ibl_wheel.timestamps.npy", "_ibl_wheel.position.npy")
CLUSTER_FILES = (
    "clusters.channels.npy",
    *CLUSTER_COLUMNS,
    "clusters.uuids.csv",
    "clusters.metrics.pqt",
)
SPIKE_FILES = ("spikes.times.npy", "spikes.clusters.npy", "spikes.amps.npy", "spikes.depths.npy")

INTEGER_TRIAL_COLUMNS = ("choice", "feedback_type", "rep_num")
SORTERS = ("iblsorter", "pykilosort")

AGAIN = "Download it again, or remove it and register the folder again."
GET_IT = "Download it, or register the folder again as it is now."
REPORT = "Download it again; if it stays so, leave it out and report it to those who released it."

_PROBE = re.compile(r"alf/(?P<probe>probe[\w-]+)(?:/(?P<sorter>.+))?")
_TASK = re.compile(r"alf(?:/task_\d+)?")
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


# --- what a path says ---------------------------------------------------------------------------


class _Place(NamedTuple):
    kind: str
    collection: str
    name: str
    revision: str
    probe_name: str | None
    sorter: str | None


@lru_cache(maxsize=65536)
def _place(path: str) -> _Place:
    folder, _, name = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    revised = re.fullmatch(r"#([^#]+)#", last)
    collection, revision = (above, revised[1]) if revised else (folder, "")
    probe = _PROBE.fullmatch(collection)
    probe_name, sorter = probe.group("probe", "sorter") if probe else (None, None)
    # Electrode sites belong to the probe: they hold for every sort, so they are of none.
    if probe and not name.startswith("electrodeSites."):
        sorter = sorter or ""
    kind = _kind(name, in_task=bool(_TASK.fullmatch(collection)), in_probe=bool(probe))
    return _Place(kind, collection, name, revision, probe_name, sorter)


def _kind(name: str, *, in_task: bool, in_probe: bool) -> str:
    if in_task and (name == TRIALS_TABLE or name in TRIAL_FILES):
        return "trials"
    if in_task and name in WHEEL_FILES:
        return "wheel"
    if in_probe and name.startswith(("channels.", "electrodeSites.")):
        return "channels"
    if in_probe and name in CLUSTER_FILES:
        return "clusters"
    return "spikes" if in_probe and name in SPIKE_FILES else "other"


def classify(path: str) -> str:
    """Tell which kind of data a file belongs to.

    Parameters
    ----------
    path : str
        POSIX path below the session folder.

    Returns
    -------
    str
        A key of `base.DATA_KINDS`; `'other'` for files that no reader here uses.
    """
    return _place(path).kind


def dataset_record(eid: str, path: str, **facts: Any) -> DatasetRecord:
    """Describe a file by its path.

    Parameters
    ----------
    eid : str
        Session UUID.
    path : str
        POSIX path below the session folder, its revision folder included.
    **facts
        What the source says besides: the other attributes of `DatasetRecord`.
    """
    return DatasetRecord(eid=eid, path=path, **_place(path)._asdict(), **facts)


def sorter_rank(sorter: str) -> tuple[int, int, str]:
    """Order of preference of sorters: the lower, the rather used where nobody asks."""
    known = SORTERS.index(sorter) if sorter in SORTERS else len(SORTERS)
    return known, len(sorter), sorter


def sortings(datasets: Iterable[DatasetRecord]) -> tuple[SortingRecord, ...]:
    """Tell which spike sorts a session offers, one of each probe being the default.

    Parameters
    ----------
    datasets : iterable of DatasetRecord
        All datasets of one or more sessions.

    Returns
    -------
    tuple of SortingRecord
        One for each sorter and revision of the spike times, ordered by session, probe, sorter
        and revision.
    """
    times = [d for d in datasets if d.kind == "spikes" and d.name == "spikes.times.npy"]
    default: dict[tuple[str, str | None], DatasetRecord] = {}
    latest_first = sorted(times, key=lambda d: d.revision, reverse=True)
    for record in sorted(
        latest_first, key=lambda d: (sorter_rank(d.sorter or ""), not d.is_default)
    ):
        default.setdefault((record.eid, record.probe_name), record)
    return tuple(
        SortingRecord(
            eid=record.eid,
            probe_name=record.probe_name or "",
            sorter=record.sorter or "",
            revision=record.revision,
            is_default=record is default[record.eid, record.probe_name],
        )
        for record in sorted(
            times, key=lambda d: (d.eid, d.probe_name or "", d.sorter or "", d.revision)
        )
    )


# --- reading a file -----------------------------------------------------------------------------


class _Reader:
    """Reads files once each, and keeps what was read of which."""

    def __init__(self, files: Files) -> None:
        owners = {(d.eid, d.probe_name) for d in files}
        if len(owners) > 1:
            raise ValueError(
                f"Datasets of more than one session or probe: {sorted(map(str, owners))}."
            )
        self.paths = dict(files)
        self._read: list[FileRead] = []

    @property
    def files(self) -> tuple[FileRead, ...]:
        return tuple(self._read)

    def array(self, record: DatasetRecord) -> np.ndarray:
        """Read an npy file; n x 1 arrays, which Matlab writes, become vectors."""
        return self._parsed(record, self._bytes(record))

    def arrays(self, records: Sequence[DatasetRecord]) -> list[np.ndarray]:
        """Read several npy files at once: reading and hashing do not hold Python's lock."""
        with ThreadPoolExecutor(len(records)) as pool:
            raws = list(pool.map(self._bytes, records))
        place = {record.path: k for k, record in enumerate(records)}
        self._read.sort(key=lambda read: place.get(read.path, -1))
        return [self._parsed(record, raw) for record, raw in zip(records, raws, strict=True)]

    def _parsed(self, record: DatasetRecord, raw: np.ndarray) -> np.ndarray:
        path = self.paths[record]
        try:
            array = _parse_npy(raw)
        # The header is a Python literal: garbage in it fails in as many ways as Python source.
        except (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError) as error:
            raise DamagedFile(f"Not a readable npy file ({error}).", path, AGAIN) from error
        return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array

    def table(self, record: DatasetRecord) -> pd.DataFrame:
        """Read a Parquet file; what pandas made an index of is a column again."""
        path, raw = self.paths[record], self._bytes(record)
        try:
            frame = pq.read_table(pa.BufferReader(pa.py_buffer(raw))).to_pandas()
        # Pandas reads its own metadata back, and does not expect them to be damaged.
        except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
            raise DamagedFile(f"Not a readable Parquet file ({error}).", path, AGAIN) from error
        named = [name for name in frame.index.names if name and name not in frame]
        return (frame.reset_index(named) if named else frame).reset_index(drop=True)

    def csv(self, record: DatasetRecord) -> pd.DataFrame:
        path, raw = self.paths[record], self._bytes(record)
        try:
            return pd.read_csv(io.BytesIO(raw.tobytes()), dtype=str)
        except ValueError as error:
            raise DamagedFile(f"Not a readable CSV file ({error}).", path, AGAIN) from error

    def _bytes(self, record: DatasetRecord) -> np.ndarray:
        path = self.paths[record]
        try:
            raw = np.fromfile(path, dtype=np.uint8)
        except FileNotFoundError as error:
            raise MissingDataset(f"{record.path} is listed but not there.", path, GET_IT) from error
        except OSError as error:
            raise DamagedFile(f"Cannot be read ({error}).", path, AGAIN) from error
        md5 = hashlib.md5(raw.data, usedforsecurity=False).hexdigest()
        if record.md5 and record.md5.lower() != md5:
            raise DamagedFile(f"Its md5 is {md5}, and {record.md5} is listed.", path, AGAIN)
        if record.md5 is None and record.file_size not in (None, raw.size):
            size = f"It has {raw.size} bytes, and {record.file_size} are listed."
            raise DamagedFile(size, path, AGAIN)
        self._read.append(FileRead(record.path, record.revision, md5, raw.size))
        return raw


def _parse_npy(raw: np.ndarray) -> np.ndarray:
    """Interpret the bytes of an npy file where they are: no copy, whatever the size."""
    head = io.BytesIO(raw[:70_000].tobytes())
    version = np.lib.format.read_magic(head)
    parsers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in parsers:
        raise ValueError(f"npy format {version} is not known")
    with warnings.catch_warnings():
        # Headers written by Python 2 are fine.
        warnings.simplefilter("ignore", UserWarning)
        shape, fortran, dtype = parsers[version](head)
    if dtype.hasobject or dtype.kind not in "biufSU":
        raise ValueError(f"values of type {dtype} are not numbers")
    body = raw[head.tell() :]
    size = math.prod(shape) * dtype.itemsize
    if body.size != size:
        raise ValueError(f"{body.size} bytes of data instead of {size}")
    return body.view(dtype).reshape(shape, order="F" if fortran else "C")


def _by_name(records: Iterable[DatasetRecord]) -> dict[str, DatasetRecord]:
    named: dict[str, DatasetRecord] = {}
    for record in records:
        if record.name in named:
            both = f"{named[record.name].path} and {record.path}"
            remedy = "Choose one of them: one revision, and one task or sort."
            raise InconsistentData(f"{both} are the same data twice.", record.eid, remedy)
        named[record.name] = record
    return named


def _need(reader: _Reader, named: Mapping[str, DatasetRecord], name: str) -> DatasetRecord:
    if name in named:
        return named[name]
    where = next((f"session {d.eid}, {d.collection}" for d in reader.paths), None)
    raise MissingDataset(f"{name} is not among its datasets.", where, GET_IT)


def _check_lengths(lengths: Mapping[Path, int]) -> None:
    (first, length), *others = lengths.items()
    for path, other in others:
        if other != length:
            what = f"{other} rows, and {length} in {first}."
            raise InconsistentData(what, path, REPORT)


def _floats(values: pd.Series | np.ndarray, path: Path, name: str = "values") -> np.ndarray:
    """Give numbers as float64 (no copy if they are), missing ones as NaN."""
    series = pd.Series(values)
    if not pd.api.types.is_numeric_dtype(series.dtype) and series.notna().any():
        raise InconsistentData(f"{name} is not numeric ({series.dtype}).", path, REPORT)
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def _integers(values: pd.Series | np.ndarray, path: Path, name: str) -> pd.Series:
    """Give whole numbers as nullable integers, whatever type they were released in."""
    numbers = _floats(values, path, name)
    # Beyond 2**53 a float64 cannot tell neighbours apart, and an integer may not hold it.
    whole = (numbers == np.round(numbers)) & (np.abs(numbers) <= 2**53)
    wrong = np.flatnonzero(~np.isnan(numbers) & ~whole)
    if len(wrong):
        what = f"{name} is {numbers[wrong[0]]} in row {wrong[0]}, not a whole number."
        raise InconsistentData(what, path, REPORT)
    return pd.Series(numbers).astype("Int64")


def _columns(array: np.ndarray, names: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Split an n x k array into k named vectors."""
    shape = (len(names),) if len(names) > 1 else ()
    if array.ndim == 0 or array.shape[1:] != shape:
        want = " x ".join(("n", *map(str, shape)))
        raise InconsistentData(f"An array of {array.shape} instead of {want}.", path, REPORT)
    if len(names) == 1:
        return {names[0]: array}
    return {name: array[:, k] for k, name in enumerate(names)}


# --- behaviour ----------------------------------------------------------------------------------


def read_trials(files: Files) -> Trials:
    """Read the task events of a session.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        The trials table and the arrays beside it; the arrays alone where there is no table. A
        column that is in the table is not read from an array.

    Returns
    -------
    Trials
        One row a trial; times in seconds of the session clock (but `bpod_*` in that of the
        Bpod), contrasts as fractions, reward in microlitres.
    """
    reader, named = _Reader(files), _by_name(files)
    if not any(name in named for name in _TRIAL_TABLE_FILES):
        _need(reader, named, TRIALS_TABLE)
    columns, origin = _released_trials(reader, named)
    known = {
        ours: _trial_column(theirs, columns[theirs], origin[theirs])
        for theirs, ours in TRIAL_COLUMNS.items()
        if theirs in columns
    }
    extra = {name: values for name, values in columns.items() if name not in TRIAL_COLUMNS}
    rows = pd.RangeIndex(len(next(iter(columns.values()), ())))
    return Trials(pd.DataFrame(known, rows), pd.DataFrame(extra, rows), reader.files)


def _released_trials(
    reader: _Reader, named: Mapping[str, DatasetRecord]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Gather table and arrays under their released names, with the file each came from."""
    columns: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    lengths: dict[Path, int] = {}
    if TRIALS_TABLE in named:
        path = reader.paths[named[TRIALS_TABLE]]
        table = reader.table(named[TRIALS_TABLE])
        columns = {str(name): values for name, values in table.items()}
        origin, lengths = dict.fromkeys(columns, path), {path: len(table)}
    for name, released in TRIAL_FILES.items():
        if name not in named or columns.keys() >= set(released):
            continue
        path, array = reader.paths[named[name]], reader.array(named[name])
        columns = _columns(array, released, path) | columns
        origin = dict.fromkeys(released, path) | origin
        lengths[path] = len(array)
    _check_lengths(lengths)
    return columns, origin


def _trial_column(released: str, values: Any, path: Path) -> pd.Series | np.ndarray:
    ours = TRIAL_COLUMNS[released]
    if ours in INTEGER_TRIAL_COLUMNS:
        return _integers(values, path, released)
    numbers = _floats(values, path, released)
    if ours == "trial_included":
        _refuse(~np.isin(numbers, (0, 1)), numbers, "neither true nor false", path, released)
        return numbers.astype(bool)
    # The clock of the Bpod has an origin of its own; that of the session starts at 0.
    if ours.endswith("_time") and not ours.startswith("bpod_"):
        _refuse((numbers < 0) | np.isinf(numbers), numbers, "not a time", path, released)
    return numbers


def read_wheel(files: Files) -> Wheel:
    """Read the wheel trace of a session.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Positions (n,) and timestamps: (n,), or k x 2 points (sample, time) to interpolate between.

    Returns
    -------
    Wheel
        Time (n,) in seconds, ascending; position (n,) in radians, + counter-clockwise.
    """
    reader, named = _Reader(files), _by_name(files)
    records = [_need(reader, named, name) for name in WHEEL_FILES]
    (times_path, position_path) = (reader.paths[record] for record in records)
    released, position = (reader.array(record) for record in records)
    position = _floats(_vector(position, position_path), position_path)
    _refuse(~np.isfinite(position), position, "not a position", position_path)
    if released.ndim == 2:
        released = _interpolate(released, len(position), times_path)
    times = _floats(_vector(released, times_path), times_path)
    _check_lengths({times_path: len(times), position_path: len(position)})
    _check_times(times, times_path)
    return Wheel(times, position, reader.files)


def _interpolate(points: np.ndarray, count: int, path: Path) -> np.ndarray:
    sample, time = (_floats(v, path) for v in _columns(points, ("sample", "time"), path).values())
    # Beyond the points, interpolation would repeat the first or the last time.
    covered = len(sample) > 0 and sample[0] <= 0 and sample[-1] >= count - 1
    if not (covered and (np.diff(sample) > 0).all()):
        what = f"Its {len(sample)} points (sample, time) do not cover samples 0 to {count - 1}."
        raise InconsistentData(what, path, REPORT)
    _check_times(time, path)
    return np.interp(np.arange(count), sample, time)


# --- ephys --------------------------------------------------------------------------------------


def read_channels(files: Files) -> Channels:
    """Read the recording sites of a probe, and where they lie.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        `channels.*` of one or more sorts of the probe, of which the preferred one is read, and
        `electrodeSites.*`, which override them.

    Returns
    -------
    Channels
        One row a site; lengths in micrometres, region ids without a side.

    Raises
    ------
    InconsistentData
        A region id is not in the ontology.
    """
    reader = _Reader(files)
    records = _site_records(files)
    if "localCoordinates" not in records:
        _need(reader, {}, "channels.localCoordinates.npy")
    frame = _read_sites(reader, records)
    located = {"x_um", "region_id"} & set(frame.columns)
    return Channels(frame, "alf" if located else "", reader.files)


def _site_records(
    files: Iterable[DatasetRecord], collection: str | None = None
) -> dict[str, DatasetRecord]:
    """Choose the file of each attribute; `collection` is the sort to prefer to all others."""
    sites = [d for d in files if d.kind == "channels" and _attribute(d) in SITE_COLUMNS]
    of_probe = [d for d in sites if d.sorter is None]
    of_sorts = sorted(
        (d for d in sites if d.sorter is not None),
        key=lambda d: (
            d.collection != collection,
            # A sort that lacks its geometry is no use, however good.
            not any(o.collection == d.collection and "local" in o.name for o in sites),
            sorter_rank(d.sorter or ""),
        ),
    )
    chosen = [d for d in of_sorts if d.collection == of_sorts[0].collection]
    return {_attribute(d): d for d in (*_by_name(chosen).values(), *_by_name(of_probe).values())}


def _attribute(record: DatasetRecord) -> str:
    parts = record.name.split(".")
    return parts[1] if len(parts) == 3 and parts[2] == "npy" else ""


def _read_sites(reader: _Reader, records: Mapping[str, DatasetRecord]) -> pd.DataFrame:
    columns: dict[str, pd.Series | np.ndarray] = {}
    lengths: dict[Path, int] = {}
    for attribute, names in SITE_COLUMNS.items():
        if attribute not in records:
            continue
        path, array = reader.paths[records[attribute]], reader.array(records[attribute])
        for name, values in _columns(array, names, path).items():
            columns[name] = _site_column(name, values, path)
        lengths[path] = len(array)
    _check_lengths(lengths)
    return pd.DataFrame(columns)


def _site_column(name: str, values: np.ndarray, path: Path) -> pd.Series | np.ndarray:
    if name == "region_id":
        return _regions(values, path)
    if name in ("raw_index", "channel_label"):
        return _integers(values, path, name)
    return _floats(values, path, name)


def _regions(values: np.ndarray, path: Path) -> pd.Series:
    """Give region ids without a side, and make sure that the ontology knows each of them."""
    ids = _integers(values, path, "region id").abs()
    unknown = np.flatnonzero(ids.notna() & ~ids.isin(list(region_ids())))
    if len(unknown):
        what = f"Row {unknown[0]}: region id {values[unknown[0]]} is not in the Allen ontology."
        remedy = "Ask for the probe to be aligned again, or leave this file out and register again."
        raise InconsistentData(what, path, remedy)
    return ids


def read_clusters(files: Files) -> Clusters:
    """Read the units of a sort, their metrics, and the site of their peak channel.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        `clusters.*` of the sort, `channels.*` of its collection, and `electrodeSites.*` of the
        probe, which override them.

    Returns
    -------
    Clusters
        One row a cluster, as many as `clusters.channels` has. Metrics are joined by cluster id,
        whatever order they were released in; all are float64, but for `ks2_label`.
    """
    reader = _Reader(files)
    named = _by_name(d for d in files if d.kind == "clusters")
    peak = _need(reader, named, "clusters.channels.npy")
    frame = _read_cluster_arrays(reader, named, peak)
    metrics: dict[str, np.ndarray] = {}
    if "clusters.metrics.pqt" in named:
        metrics = _read_metrics(reader, named["clusters.metrics.pqt"], len(frame))
    records = _site_records(files, peak.collection)
    if records:
        sites = _at_peak(_read_sites(reader, records), frame["channel"], reader.paths[peak])
        frame = pd.concat([frame, sites], axis=1)
    frame = pd.concat([frame, pd.DataFrame(metrics, frame.index)], axis=1)
    return Clusters(frame, tuple(metrics), reader.files)


def _read_cluster_arrays(
    reader: _Reader, named: Mapping[str, DatasetRecord], peak: DatasetRecord
) -> pd.DataFrame:
    path = reader.paths[peak]
    channel = _integers(_vector(reader.array(peak), path), path, "channel")
    _refuse(channel.isna().to_numpy(), channel.to_numpy(), "not a channel", path)
    columns: dict[str, Any] = {"channel": channel.astype(np.int64)}
    lengths = {path: len(channel)}
    if "clusters.uuids.csv" in named:
        path = reader.paths[named["clusters.uuids.csv"]]
        columns["cluster_uuid"] = _uuids(reader.csv(named["clusters.uuids.csv"]), path)
        lengths[path] = len(columns["cluster_uuid"])
    for name, ours in CLUSTER_COLUMNS.items():
        if name in named:
            path = reader.paths[named[name]]
            columns[ours] = _floats(_vector(reader.array(named[name]), path), path)
            lengths[path] = len(columns[ours])
    _check_lengths(lengths)
    return pd.DataFrame(columns)


def _uuids(table: pd.DataFrame, path: Path) -> pd.Series:
    if "uuids" not in table:
        raise InconsistentData("It has no column uuids.", path, REPORT)
    uuids = table["uuids"].str.lower()
    wrong = ~uuids.str.fullmatch(_UUID).fillna(False).to_numpy(dtype=bool)
    _refuse(wrong, table["uuids"].to_numpy(), "not a UUID", path, "uuids")
    return uuids


def _at_peak(sites: pd.DataFrame, channel: pd.Series, path: Path) -> pd.DataFrame:
    outside = np.flatnonzero((channel < 0) | (channel >= len(sites)))
    if len(outside):
        row = outside[0]
        what = f"Cluster {row} has channel {channel[row]}, and there are {len(sites)} channels."
        raise InconsistentData(what, path, REPORT)
    columns = [name for name in PEAK_COLUMNS if name in sites]
    return sites[columns].iloc[channel.to_numpy()].reset_index(drop=True)


def _read_metrics(reader: _Reader, record: DatasetRecord, count: int) -> dict[str, np.ndarray]:
    path, table = reader.paths[record], reader.table(record)
    rows = _metric_rows(table, count, path)
    metrics = {}
    for released, ours in METRIC_COLUMNS.items():
        if released not in table:
            continue
        if ours == "ks2_label":
            column = np.full(count, None, dtype=object)
            column[rows] = table[released].to_numpy(dtype=object)
        else:
            column = np.full(count, np.nan)
            column[rows] = _floats(table[released], path, released)
        metrics[ours] = column
    return metrics


def _metric_rows(table: pd.DataFrame, count: int, path: Path) -> np.ndarray:
    """Tell which cluster each row of the metrics is about."""
    if "cluster_id" not in table:
        if len(table) != count:
            what = f"{len(table)} rows without cluster_id, and there are {count} clusters."
            raise InconsistentData(what, path, REPORT)
        return np.arange(count)
    ids = _integers(table["cluster_id"], path, "cluster_id")
    for bad, fault in (
        (ids.isna(), "missing"),
        (ids.duplicated(), "repeated"),
        ((ids < 0) | (ids >= count), f"not among the {count} clusters"),
    ):
        if bad.any():
            named = ", ".join(map(str, ids[bad.fillna(True)].unique()[:10]))
            raise InconsistentData(f"Metrics whose cluster_id is {fault}: {named}.", path, REPORT)
    return ids.to_numpy(dtype=np.int64)


def read_spikes(files: Files) -> Spikes:
    """Read the spikes of a sort.

    Nothing is copied but the clusters, where a smaller type holds them.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        The four `spikes.*` arrays (S,).

    Returns
    -------
    Spikes
        In order of time: float64 seconds; clusters as uint16, or uint32 where they do not fit;
        amplitudes (V) and depths (um) in the type they were released in.

    Raises
    ------
    InconsistentData
        Lengths differ, or times are not finite, negative or not ascending.
    """
    reader, named = _Reader(files), _by_name(files)
    records = [_need(reader, named, name) for name in SPIKE_FILES]
    paths = [reader.paths[record] for record in records]
    read = reader.arrays(records)
    arrays = [_vector(array, path) for array, path in zip(read, paths, strict=True)]
    _check_lengths({path: len(array) for path, array in zip(paths, arrays, strict=True)})
    for k in (0, 2, 3):
        if arrays[k].dtype.kind != "f":
            raise InconsistentData(f"Values of type {arrays[k].dtype}.", paths[k], REPORT)
    times = arrays[0].astype(np.float64, copy=False)
    _check_times(times, paths[0])
    return Spikes(times, _cluster_numbers(arrays[1], paths[1]), arrays[2], arrays[3], reader.files)


def _cluster_numbers(values: np.ndarray, path: Path) -> np.ndarray:
    if values.dtype.kind not in "iu":
        raise InconsistentData(f"Cluster numbers of type {values.dtype}.", path, REPORT)
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    if low < 0 or high > np.iinfo(np.uint32).max:
        wrong = (values < 0) | (values > np.iinfo(np.uint32).max)
        _refuse(wrong, values, "not a cluster number", path)
    small = np.uint16 if high <= np.iinfo(np.uint16).max else np.uint32
    return values.astype(small, copy=False)


# --- what must hold -----------------------------------------------------------------------------


def _vector(array: np.ndarray, path: Path) -> np.ndarray:
    return _columns(array, ("values",), path)["values"]


def _refuse(
    wrong: np.ndarray, values: np.ndarray, fault: str, path: Path, name: str = "The value"
) -> None:
    """Raise for the first wrong value, if there is one."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        what = f"{name} in row {rows[0]} is {values[rows[0]]}, {fault}."
        raise InconsistentData(what, path, REPORT)


def _check_times(times: np.ndarray, path: Path) -> None:
    """Make sure that times are finite, not negative, and ascend (equal ones may follow)."""
    # NaN fails every comparison, so that one pass over the pairs finds it too.
    if not len(times) or (
        times[0] >= 0 and np.isfinite(times[-1]) and (times[1:] >= times[:-1]).all()
    ):
        return
    unreal = ~np.isfinite(times) | (times < 0)
    back = np.r_[False, times[1:] < times[:-1]]
    row = np.flatnonzero(unreal | back)[0]
    before = "" if unreal[row] else f", after {times[row - 1]}"
    fault = "not a time of the session" if unreal[row] else "less than the one before it"
    raise InconsistentData(f"Time {row} is {times[row]}{before}: {fault}.", path, REPORT)
