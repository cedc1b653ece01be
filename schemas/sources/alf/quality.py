"""Quality of raw recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from schemas.errors import InconsistentData, MissingDataset
from schemas.sources.alf.kinds import RAW_QUALITY, reads
from schemas.sources.alf.reading import (
    GET_IT,
    REPORT,
    Files,
    Reader,
    by_name,
    checked,
    need,
    read_times,
    split_columns,
)
from schemas.sources.data import Intervals, RawQuality
from schemas.sources.records import DatasetRecord


@reads(
    "rms",
    "root mean square of the raw recording of a probe, in windows",
    (RAW_QUALITY, r"_iblqc_ephysTimeRms(?P<band>AP|LF)\.(?:rms|timestamps)\.npy"),
    is_of_sorting=False,
)
def read_rms(files: Files) -> RawQuality:
    """Read the root mean square of one band of a raw recording, in windows.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Values (n, channels), volts, and timestamps (n,), seconds.

    Returns
    -------
    RawQuality
        As released; a channel that was not measured is NaN.

    Raises
    ------
    InconsistentData
        The values are no table of windows and channels, negative, or not finite; or the times
        are not ascending.
    """
    return _read_quality(files, "rms", "rms", "timestamps")


@reads(
    "spectral_density",
    "power spectrum of the raw recording of a probe",
    (RAW_QUALITY, r"_iblqc_ephysSpectralDensity(?P<band>AP|LF)\.(?:power|freqs)\.npy"),
    is_of_sorting=False,
)
def read_spectral_density(files: Files) -> RawQuality:
    """Read the power spectrum of one band of a raw recording.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Power (n, channels), V**2/Hz, and frequencies (n,), Hz.

    Returns
    -------
    RawQuality
        As released; a channel that was not measured is NaN.

    Raises
    ------
    InconsistentData
        As in `read_rms`.
    """
    return _read_quality(files, "spectral_density", "power", "freqs")


def _read_quality(files: Files, kind: str, values: str, at: str) -> RawQuality:
    reader = Reader(files)
    records = _choose(reader, kind, (values, at))
    reader.read_ahead(records)
    array, path = reader.array(records[0]), reader.path(records[0])
    rows = read_times(reader, records[1], kind, at)
    if array.ndim != 2 or len(array) != len(rows):
        what = f"An array of {array.shape} instead of {len(rows)} x channels"
        where = f"there are {len(rows)} rows in {reader.path(records[1])}"
        raise InconsistentData(f"{what}: {where}.", path, REPORT)
    return RawQuality(rows, checked(array, kind, values, path), reader.files)


def _choose(reader: Reader, kind: str, parts: tuple[str, str]) -> list[DatasetRecord]:
    """Choose the two files, both of one folder.

    They lie with the raw recording, or in older sessions with the sorts, or in both places.
    """
    folders: dict[str, list[DatasetRecord]] = {}
    for record in reader.offered:
        if record.kind == kind:
            folders.setdefault(record.collection, []).append(record)
    found: dict[str, DatasetRecord] = {}
    for folder in sorted(folders, key=lambda name: name.startswith("alf/")):
        named = by_name(folders[folder])
        found = {name.split(".")[1]: record for name, record in named.items()}
        if found.keys() >= set(parts):
            break
    return [found.get(part) or need(reader, {}, f"The {part} of {kind}") for part in parts]


@reads(
    "saturation",
    "intervals in which the raw recording of a probe is saturated",
    (RAW_QUALITY, r"_iblqc_ephysSaturation(?:AP)?\.(?:samples\.pqt|intervals\.(?:npy|pqt))"),
    is_of_sorting=False,
)
def read_saturation(files: Files) -> Intervals:
    """Read the intervals in which the raw recording of a probe is saturated.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        `samples`, as released: a table of `start_sample` and `stop_sample` on the clock of the
        probe, with the clock of the recording, k x 2 points (sample, time). Or `intervals` on the
        clock of the session: an array (n, 2), or a table of `intervals_0` and `intervals_1`,
        seconds. Where there are both, the intervals are read.

    Returns
    -------
    Intervals
        Seconds of the session's clock. Samples become times as in `samples2times` of brainbox:
        linear between the points of the clock, and beyond them as between the last two.

    Raises
    ------
    InconsistentData
        A column or the clock is missing or no column of its kind, or an interval ends before it
        starts.
    """
    reader = Reader(files)
    found = [record for record in reader.offered if record.kind == "saturation"]
    # Those in seconds first, and those that lie with the raw recording.
    found.sort(key=lambda r: (".samples." in r.name, r.collection.startswith("alf/"), r.name))
    record = found[0] if found else need(reader, {}, "The table of saturation")
    path = reader.path(record)
    is_table = record.name.endswith(".pqt")
    names = ("start_sample", "stop_sample") if ".samples." in record.name else INTERVALS
    if is_table:
        table = reader.table(record)
        if missing := [name for name in names if name not in table]:
            raise InconsistentData(f"It lacks the column {missing[0]}.", path, REPORT)
        columns = {name: table[name] for name in names}
    else:
        columns = split_columns(reader.array(record), names, path)
    edges = [checked(values, "saturation", name, path) for name, values in columns.items()]
    _check_order(edges[0], edges[1], path)
    if ".samples." in record.name and len(edges[0]):
        edges = _to_seconds(edges, reader)
    start, stop = (edge.astype(np.float64, copy=False) for edge in edges)
    return Intervals(start, stop, reader.files)


INTERVALS = ("intervals_0", "intervals_1")


def _check_order(start: np.ndarray, stop: np.ndarray, path: Path) -> None:
    wrong = np.flatnonzero(stop < start)
    if len(wrong):
        row = wrong[0]
        what = f"The interval in row {row} lasts from {start[row]} to {stop[row]}."
        raise InconsistentData(what, path, REPORT)


def _to_seconds(samples: list[np.ndarray], reader: Reader) -> list[np.ndarray]:
    """Turn samples of the probe into times (s) of the session, by the clock of the recording."""
    clocks = [record for record in reader.offered if record.kind == "raw_clock"]
    if not clocks:
        what = "The clock of the raw recording (timestamps.npy) is not among its datasets."
        raise MissingDataset(what, reader.path(reader.offered[0]), GET_IT)
    clock, path = reader.array(clocks[0]), reader.path(clocks[0])
    columns = split_columns(clock, ("clock_sample", "clock_time"), path)
    sample, time = (
        checked(values, "saturation", name, path).astype(np.float64, copy=False)
        for name, values in columns.items()
    )
    steps = np.diff(time), np.diff(sample)
    rate = np.median(steps[1] / steps[0]) if len(sample) > 1 else np.nan
    if not RATES[0] < rate < RATES[1]:
        what = f"Its {len(sample)} points (sample, time) give {rate:g} samples per second."
        raise InconsistentData(what, path, REPORT)
    # By the slope of the nearest two points, also beyond the first and the last one.
    pieces = [np.searchsorted(sample[1:-1], edge, side="right") for edge in samples]
    slope = steps[0] / steps[1]
    pairs = zip(samples, pieces, strict=True)
    return [time[piece] + (edge - sample[piece]) * slope[piece] for edge, piece in pairs]


RATES = (25_000.0, 35_000.0)
"""(samples per second) Between these is the clock of every Neuropixels probe."""
