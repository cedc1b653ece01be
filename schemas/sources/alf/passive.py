"""The passive protocol that follows the task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from schemas.errors import InconsistentData
from schemas.maths.behavior import round_levels
from schemas.sources.alf.domains import DOMAINS
from schemas.sources.alf.kinds import TASK, names_of, reads
from schemas.sources.alf.names import (
    NOISE_FRAMES,
    NOISE_TIMES,
    PASSIVE_GABORS,
    PASSIVE_PERIODS,
    PASSIVE_STIMULI,
    PERIODS,
)
from schemas.sources.alf.reading import (
    REPORT,
    Files,
    Reader,
    by_name,
    checked,
    need,
    read_times,
)
from schemas.sources.data import Events, ReceptiveField

SIDE = 15
"""Squares on each side of a frame of the sparse noise."""

_STIMULI = ("valve", "tone", "noise")


@reads(
    "passive_periods",
    "periods of the passive protocol after the task",
    (TASK, names_of(PASSIVE_PERIODS)),
)
def read_passive_periods(files: Files) -> Events:
    """Read the periods of the passive protocol.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        A table of two rows, start and stop (s), with one column a period.

    Returns
    -------
    Events
        `period` (as released), `start`, `stop`. A period that was not shown (both times are
        missing) is left out.

    Raises
    ------
    InconsistentData
        No column is a period that is known, or one does not end, or ends before it starts.
    """
    reader, named = Reader(files), by_name(files)
    record = need(reader, named, PASSIVE_PERIODS)
    table, path = reader.csv(record), reader.path(record)
    rows = table.iloc[:, 0].tolist()
    if sorted(map(str, rows)) != ["start", "stop"]:
        raise InconsistentData(f"Its rows are {rows} instead of start and stop.", path, REPORT)
    periods = table.set_index(table.columns[0]).T
    frame = pd.DataFrame(
        {
            "period": periods.index.astype(str),
            **{
                name: _numbers(periods, "passive_periods", name, path) for name in ("start", "stop")
            },
        }
    ).dropna(subset=["start", "stop"], how="all")
    if not periods.index.isin(PERIODS).any():
        raise InconsistentData(f"It has no period, as {', '.join(PERIODS)}.", path, REPORT)
    return Events(_in_order(frame, "period", path), reader.files)


@reads(
    "passive_stimuli",
    "valve, tone and noise, replayed in the passive protocol",
    (TASK, names_of(PASSIVE_STIMULI)),
)
def read_passive_stimuli(files: Files) -> Events:
    """Read the valve openings, tones and noises of the passive protocol.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        A table with columns `valveOn`, `valveOff`, `toneOn`, `toneOff`, `noiseOn`, `noiseOff`
        (s), of which a kind of stimulus that was shown less often does not fill all rows.

    Returns
    -------
    Events
        `stimulus` (`'valve'`, `'tone'`, `'noise'`), `start`, `stop`.

    Raises
    ------
    InconsistentData
        A column is missing, or a stimulus does not end, ends before it starts, or starts before
        the one before it.
    """
    reader, named = Reader(files), by_name(files)
    record = need(reader, named, PASSIVE_STIMULI)
    table, path = reader.csv(record), reader.path(record)
    _check_columns(table, list(DOMAINS["passive_stimuli"]), path)
    frames = []
    for stimulus in _STIMULI:
        frame = pd.DataFrame(
            {
                "stimulus": stimulus,
                "start": _numbers(table, "passive_stimuli", f"{stimulus}On", path),
                "stop": _numbers(table, "passive_stimuli", f"{stimulus}Off", path),
            }
        )
        frames.append(frame.dropna(subset=["start", "stop"], how="all"))
    return Events(_in_order(pd.concat(frames), "stimulus", path), reader.files)


@reads(
    "passive_gabors",
    "Gabor patches, replayed in the passive protocol",
    (TASK, names_of(PASSIVE_GABORS)),
)
def read_passive_gabors(files: Files) -> Events:
    """Read the Gabor patches of the passive protocol.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        A table with columns `start`, `stop` (s), `position` (deg), `contrast` (fraction) and
        `phase`.

    Returns
    -------
    Events
        `start`, `stop`, `position`, `contrast`, `phase`.

    Raises
    ------
    InconsistentData
        A column or a value is missing, a contrast is no fraction, or a patch ends before it
        starts or starts before the one before it.
    """
    reader, named = Reader(files), by_name(files)
    record = need(reader, named, PASSIVE_GABORS)
    table, path = reader.csv(record), reader.path(record)
    names = list(DOMAINS["passive_gabors"])
    _check_columns(table, names, path)
    frame = pd.DataFrame({name: _numbers(table, "passive_gabors", name, path) for name in names})
    frame["contrast"] = round_levels(frame["contrast"].to_numpy())
    return Events(_in_order(frame, None, path), reader.files)


@reads(
    "receptive_field",
    "sparse noise for receptive fields, shown in the passive protocol",
    (TASK, names_of(NOISE_TIMES)),
    ("raw_passive_data", names_of(NOISE_FRAMES)),
)
def read_receptive_field(files: Files) -> ReceptiveField:
    """Read the sparse noise, and the times of its frames.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Times (f,), seconds; and the raw stimulus if it is listed: 15 x 15 x f bytes in Fortran
        order.

    Returns
    -------
    ReceptiveField
        Times (f,); pattern (f, 225) with square (i, j) in column 15 i + j, or None.

    Raises
    ------
    InconsistentData
        The stimulus is not made of whole frames, or has another number of them than of times.
    """
    reader, named = Reader(files), by_name(files)
    record = need(reader, named, NOISE_TIMES)
    reader.read_ahead([record, *(named[n] for n in (NOISE_FRAMES,) if n in named)])
    time = read_times(reader, record, "receptive_field")
    if NOISE_FRAMES not in named:
        return ReceptiveField(time, None, reader.files)
    raw, path = reader.raw(named[NOISE_FRAMES]), reader.path(named[NOISE_FRAMES])
    if raw.size % SIDE**2:
        what = f"{raw.size} bytes are not whole frames of {SIDE} x {SIDE}."
        raise InconsistentData(what, path, REPORT)
    squares = raw.reshape((SIDE, SIDE, -1), order="F")
    if squares.shape[2] != len(time):
        what = f"{squares.shape[2]} frames, and {len(time)} times in {reader.path(record)}."
        raise InconsistentData(what, path, REPORT)
    pattern = np.moveaxis(squares, 2, 0).reshape(len(time), SIDE**2)
    return ReceptiveField(time, pattern, reader.files)


def _check_columns(table: pd.DataFrame, names: list[str], path: Path) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise InconsistentData(f"It lacks the column {missing[0]}.", path, REPORT)


def _numbers(table: pd.DataFrame, kind: str, name: str, path: Path) -> np.ndarray:
    """Give a column of text as numbers, each as exact as Python reads it."""
    try:
        numbers = table[name].to_numpy(dtype=object, na_value=np.nan).astype(np.float64)
    except ValueError as error:
        raise InconsistentData(f"{name} is not numeric ({error}).", path, REPORT) from error
    return checked(numbers, kind, name, path)


def _in_order(frame: pd.DataFrame, label: str | None, path: Path) -> pd.DataFrame:
    """Make sure that events end after they start, and put them in order of their start."""
    start, stop = frame["start"].to_numpy(), frame["stop"].to_numpy()
    wrong = np.flatnonzero(~((start >= 0) & (stop >= start) & np.isfinite(stop)))
    if len(wrong):
        row = wrong[0]
        name = frame[label].iloc[row] if label else f"Row {row}"
        what = f"{name} lasts from {start[row]} s to {stop[row]} s."
        raise InconsistentData(what, path, REPORT)
    return frame.sort_values("start", kind="stable", ignore_index=True)
