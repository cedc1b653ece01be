"""Behaviour: trials, wheel and licks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from schemas.errors import InconsistentData
from schemas.maths.behavior import round_levels
from schemas.maths.wheel import UNITS, infer_unit
from schemas.sources.alf.domains import DOMAINS
from schemas.sources.alf.kinds import TASK, names_of, reads
from schemas.sources.alf.names import (
    LICK_TIMES,
    TRIAL_COLUMNS,
    TRIAL_FILES,
    TRIAL_TABLE_FILES,
    TRIALS_TABLE,
    WHEEL_FILES,
)
from schemas.sources.alf.reading import (
    REPORT,
    Files,
    Reader,
    by_name,
    check_lengths,
    checked,
    need,
    read_times,
    refuse,
    split_columns,
    vector,
)
from schemas.sources.data import Times, Trials, Wheel
from schemas.sources.records import DatasetRecord

LEVELS = ("contrastLeft", "contrastRight", "probabilityLeft")
"""Columns that are rounded, so that 0.1 and the float32 0.1 are one level."""


@reads(
    "trials",
    "task events and outcome of each trial",
    (TASK, names_of(TRIALS_TABLE)),
    (TASK, r"_ibl_trials\.(?!table\.)\w+\.npy"),
)
def read_trials(files: Files) -> Trials:
    """Read the task events of a session.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        The trials table and the arrays beside it; the arrays alone where there is no table. A
        column that is in the table is not taken from an array.

    Returns
    -------
    Trials
        One row a trial; times in seconds of the session clock (but `bpod_*` in that of the
        Bpod), contrasts as fractions, reward in microlitres.
    """
    reader, named = Reader(files), by_name(files)
    if not any(name in named for name in TRIAL_TABLE_FILES):
        need(reader, named, TRIALS_TABLE)
    columns, origin = _released_trials(reader, named)
    known = {
        ours: _trial_column(theirs, columns[theirs], origin[theirs])
        for theirs, ours in TRIAL_COLUMNS.items()
        if theirs in columns
    }
    extra = {
        name: _extra_column(name, values, origin[name])
        for name, values in columns.items()
        if name not in TRIAL_COLUMNS
    }
    rows = pd.RangeIndex(len(next(iter(columns.values()), ())))
    return Trials(pd.DataFrame(known, rows), pd.DataFrame(extra, rows), reader.files)


def _released_trials(
    reader: Reader, named: Mapping[str, DatasetRecord]
) -> tuple[dict[str, Any], dict[str, Path]]:
    """Gather table and arrays under their released names, with the file each came from."""
    columns: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    lengths: dict[Path, int] = {}
    if TRIALS_TABLE in named:
        table = reader.table(named[TRIALS_TABLE])
        path = reader.path(named[TRIALS_TABLE])
        columns = {str(name): values for name, values in table.items()}
        origin, lengths = dict.fromkeys(columns, path), {path: len(table)}
    for name, released in TRIAL_FILES.items():
        if name not in named or columns.keys() >= set(released):
            continue
        array, path = reader.array(named[name]), reader.path(named[name])
        columns = split_columns(array, released, path) | columns
        origin = dict.fromkeys(released, path) | origin
        lengths[path] = len(array)
    for name in sorted(named.keys() - TRIAL_FILES.keys() - {TRIALS_TABLE}):
        array, path = reader.array(named[name]), reader.path(named[name])
        size = array.shape[0] if array.ndim else 0
        first, rows = next(iter(lengths.items()), (path, size))
        if not array.ndim or size != rows:
            # `itiDuration` of some sessions lacks a trial: nothing tells which one.
            what = "%s is left out: it has %d values, and %s has %d trials."
            logging.getLogger(__name__).warning(what, path, size, first, rows)
            continue
        extra = _unknown_columns(name.split(".")[1], array)
        columns, origin = extra | columns, dict.fromkeys(extra, path) | origin
        lengths[path] = len(array)
    check_lengths(lengths)
    return columns, origin


def _unknown_columns(attribute: str, array: np.ndarray) -> dict[str, Any]:
    """Name the columns of an array that is no known column, as those of known arrays."""
    if array.ndim == 2:
        return {f"{attribute}_{k}": column for k, column in enumerate(array.T)}
    return {attribute: array if array.ndim == 1 else list(array)}


def _trial_column(released: str, values: Any, path: Path) -> pd.Series | np.ndarray:
    numbers = checked(values, "trials", released, path)
    domain = DOMAINS["trials"][released]
    if domain.choices == (0, 1):
        return numbers.astype(bool)
    if domain.choices or domain.whole:
        return pd.Series(numbers).astype("Int64")
    numbers = numbers.astype(np.float64, copy=False)
    return round_levels(numbers) if released in LEVELS else numbers


def _extra_column(released: str, values: Any, path: Path) -> pd.Series:
    """Return a column that is not in `TRIAL_COLUMNS` as values that JSON can hold."""
    column = pd.Series(values)
    if column.dtype.kind not in "OMmc":
        return column
    plain = [_plain(value) for value in column]
    wrong = [not isinstance(value, (str, bool, int, float, list, type(None))) for value in plain]
    refuse(
        np.array(wrong, bool),
        np.array(plain, object),
        "neither a number nor a text",
        path,
        released,
    )
    return pd.Series(plain, column.index, object)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return float(value) if isinstance(value, Decimal) else value


@reads("wheel", "position of the steering wheel", (TASK, names_of(*WHEEL_FILES)))
def read_wheel(files: Files) -> Wheel:
    """Read the wheel trace of a session.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Positions (n,) and timestamps: (n,), or k x 2 points (sample, time) to interpolate between.

    Returns
    -------
    Wheel
        Time (n,) in seconds, ascending; position (n,) in radians, + counter-clockwise; the unit
        of the released positions.
    """
    reader, named = Reader(files), by_name(files)
    records = [need(reader, named, name) for name in WHEEL_FILES]
    reader.read_ahead(records)
    released, position = (reader.array(record) for record in records)
    times_path, position_path = (reader.path(record) for record in records)
    position = checked(vector(position, position_path), "wheel", "position", position_path)
    position = position.astype(np.float64, copy=False)
    if released.ndim == 2:
        released = _interpolate(released, len(position), times_path)
    times = checked(vector(released, times_path), "wheel", "timestamps", times_path)
    times = times.astype(np.float64, copy=False)
    check_lengths({times_path: len(times), position_path: len(position)})
    if len(times) > 1 and times[0] == times[-1]:
        what = f"all {len(times)} times are {times[0]}."
        raise InconsistentData(what, times_path, REPORT)
    unit = infer_unit(position)
    if unit is None:
        step = float(np.median(np.abs(np.diff(position))))
        what = (
            f"the unit of the positions cannot be inferred: their median step {step:g} is no count "
            "of an encoder of 1024 lines (X1, X2, X4) in rad, cm or degrees."
        )
        raise InconsistentData(what, position_path, REPORT)
    return Wheel(times, position / UNITS[unit], unit, reader.files)


def _interpolate(points: np.ndarray, count: int, path: Path) -> np.ndarray:
    columns = split_columns(points, ("sample", "timestamps"), path)
    sample, time = (checked(values, "wheel", name, path) for name, values in columns.items())
    # Beyond the points, interpolation would repeat the first or the last time.
    if not (len(sample) and sample[0] == 0 and count - 1 <= sample[-1] <= count):
        what = f"Its {len(sample)} points (sample, time) do not cover samples 0 to {count - 1}."
        raise InconsistentData(what, path, REPORT)
    return np.interp(np.arange(count), sample, time)


@reads("licks", "times of licks", (TASK, names_of(LICK_TIMES)))
def read_licks(files: Files) -> Times:
    """Read the times of licks.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Times (n,), seconds.

    Raises
    ------
    InconsistentData
        Times are not finite, negative or not ascending.
    """
    reader, named = Reader(files), by_name(files)
    return Times(read_times(reader, need(reader, named, LICK_TIMES), "licks"), reader.files)
