"""Behaviour in the bins that spikes are counted in: around events, or over a whole session."""

from __future__ import annotations

from dataclasses import dataclass

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, passive, rows, video, wheel
from schemas.errors import QueryError
from schemas.maths import psth
from schemas.views.errata import one_warning, warn_of
from schemas.views.events import MOVES_DEFINITION, Times, Trials, fetch_events
from schemas.views.frames import fetch_wheel
from schemas.views.session import require
from schemas.views.tensor import (
    SpikeCounts,
    bin_edges,
    choose_recording,
    recorded,
    spike_counts,
)
from schemas.views.video import fetch_motion_energy, fetch_pose, fetch_pupil

UNITS = {
    "wheel_velocity": "rad/s",
    "wheel_speed": "rad/s",
    "pupil": "px",
    "motion_energy": "a.u.",
}
"""Signals and their units; besides, `<point>_speed` (px/s) of each tracked point."""


@dataclass(frozen=True)
class AlignedSignal:
    """A signal around events.

    Attributes
    ----------
    means : (E, B) float array
        Mean of the samples in each bin around each event; NaN without a sample.
    unit : str
        Unit of the means.
    events : DataFrame
        The E events, in the order of `means`, as `views.fetch_events` gives them.
    edges : (B + 1,) float array
        Edges of the bins (s from the event).
    left_out : DataFrame
        Events that have no time: `number` (row of the chosen events), `reason`.
    """

    means: np.ndarray
    unit: str
    events: pd.DataFrame
    edges: np.ndarray
    left_out: pd.DataFrame


@one_warning
def aligned(
    recording: str,
    signal: str,
    event: str | Times,
    window: tuple[float, float] = (-0.2, 0.5),
    bin: float = 0.02,  # noqa: A002  (the word of the field)
    trials: Trials = None,
    camera: str | None = None,
) -> AlignedSignal:
    """Average a signal around events, in the bins of `spike_counts`.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions.
    signal : str
        `wheel_velocity` or `wheel_speed` (rad/s), `pupil` (px, smoothed), `motion_energy` (a.u.),
        or `<point>_speed` (px/s) of a tracked point, e.g. `paw_r_speed`.
    event, window, bin, trials
        As in `spike_counts`.
    camera : str, optional
        For a signal of a camera: a row of `video.Camera`; default the only one.

    Returns
    -------
    AlignedSignal

    Raises
    ------
    QueryError
        No such recording, signal or event, or its data are not imported.
    """
    edges = bin_edges(window, bin)
    time, values, unit = fetch_signal(recording, signal, camera)
    events = fetch_events(recording, event, trials)
    known = events.time.notna().to_numpy()
    kept = events[known].reset_index(drop=True)
    found = psth.average_samples(time, values, kept.time.to_numpy(float), edges)
    number = np.flatnonzero(~known)
    left_out = pd.DataFrame({"number": number, "reason": ["it has no time"] * len(number)})
    return AlignedSignal(found, unit, kept, edges, left_out)


def fetch_signal(
    recording: str, signal: str, camera: str | None = None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Fetch a signal: times (s), values and their unit; parameters and errors as of `aligned`."""
    if signal in ("wheel_velocity", "wheel_speed"):
        trace = fetch_wheel(recording)
        velocity = trace.velocity.to_numpy(float)
        values = velocity if signal == "wheel_velocity" else np.abs(velocity)
        return trace.time.to_numpy(float), values, UNITS[signal]
    if signal == "pupil":
        table, column = fetch_pupil(recording, camera), "diameter_smooth"
    elif signal == "motion_energy":
        table, column = fetch_motion_energy(recording, camera), "energy"
    elif signal.endswith("_speed"):
        table, column = fetch_pose(recording, camera), signal
    else:
        table, column = pd.DataFrame(), signal
    if column not in table:
        points = ", ".join(name for name in table if str(name).endswith("_speed"))
        known = ", ".join(UNITS) + (f", {points}" if points else ", <point>_speed")
        raise QueryError(f"no signal {signal!r}.", None, f"There are: {known}.")
    return table.time.to_numpy(float), table[column].to_numpy(float), UNITS.get(signal, "px/s")


@dataclass(frozen=True)
class BinnedSession:
    """A whole session in equal bins.

    Attributes
    ----------
    counts : (T, U) array of uint8, uint16 or uint32
        Spikes of each unit in each bin.
    units : DataFrame
        The U units, as of `SpikeCounts`.
    bins : DataFrame
        The T bins: `start` (s); `trial` (number of the trial, missing between trials);
        `passive_period` (its name, missing outside); `is_moving` (whether the wheel moves at the
        middle of the bin); and each chosen signal.
    signal_units : dict
        Unit of each signal.
    """

    counts: np.ndarray
    units: pd.DataFrame
    bins: pd.DataFrame
    signal_units: dict[str, str]


@one_warning
def binned(
    units: dj.expression.QueryExpression | str,
    bin: float = 0.02,  # noqa: A002
    signals: tuple[str, ...] = ("wheel_velocity",),
    camera: str | None = None,
) -> BinnedSession:
    """Put a session, spikes and behaviour, on one grid of bins.

    Parameters
    ----------
    units
        As in `spike_counts`.
    bin : float
        Width of a bin (s). The bins cover what all recorded sorts cover, from their first to their
        last spike.
    signals : tuple of str
        As `signal` of `aligned`.
    camera : str, optional
        As in `aligned`.

    Returns
    -------
    BinnedSession

    Raises
    ------
    QueryError
        As `spike_counts` and `aligned`.
    """
    if camera is not None:
        require(video.Camera, "camera", camera)
    found = _count_all(units, bin)
    if not len(found.events):
        raise QueryError("the units have no spikes, or their probes no time in common.", None)
    eid, start = found.units.eid.iloc[0], found.events.time.iloc[0]
    edges = start + found.edges
    bins = pd.DataFrame({"start": edges[:-1]})
    middle = (edges[:-1] + edges[1:]) / 2
    trials = rows.frame(
        behavior.Trials.Trial.proj("trial_start_time", "trial_end_time") & {"eid": eid}
    )
    number = _inside(middle, trials.trial_start_time, trials.trial_end_time)
    bins["trial"] = _named(trials.trial, number).astype("Int64")
    periods = rows.frame(passive.PassivePeriods.Period & {"eid": eid})
    of_period = _inside(middle, periods.period_start, periods.period_stop)
    bins["passive_period"] = _named(periods.passive_period, of_period)
    moves = rows.frame(
        wheel.WheelMoves.Move & {"eid": eid} & {"moves_definition": MOVES_DEFINITION}
    )
    bins["is_moving"] = _inside(middle, moves.move_onset, moves.move_offset) >= 0
    for kind in ("trials", "passive_periods", "wheel"):
        warn_of(kind, {"eid": eid})
    of_signal = {}
    for signal in signals:
        time, values, of_signal[signal] = fetch_signal(eid, signal, camera)
        bins[signal] = psth.average_samples(time, values, np.array([start]), found.edges)[0]
    return BinnedSession(found.counts[0].T, found.units, bins, of_signal)


def _count_all(units: dj.expression.QueryExpression | str, width: float) -> SpikeCounts:
    """Count all spikes of the units of a session: one event, at the begin of the recording."""
    bin_edges((0, 1), width)  # refuses what is no width
    first, last = recorded(choose_recording(units).proj())
    n_bins = int((last - first) / width) if first < last else 1
    if first + n_bins * width > last:  # by rounding
        n_bins = max(n_bins - 1, 1)
    return spike_counts(units, [first], (0.0, n_bins * width), width)


def _inside(times: np.ndarray, start: pd.Series, stop: pd.Series) -> np.ndarray:
    """Return the number of the interval that holds each time; -1 where none does."""
    first, last = (edge.to_numpy(float) for edge in (start, stop))
    order = np.argsort(first)
    at = np.searchsorted(first[order], times, side="right") - 1
    number = np.where(at >= 0, order[at] if len(order) else -1, -1)
    inside = (number >= 0) & (times < (last[number] if len(last) else np.inf))
    return np.where(inside, number, -1)


def _named(values: pd.Series, number: np.ndarray) -> pd.Series:
    """Take the value of each number; missing for -1."""
    found = values.reindex(number)
    return found.reset_index(drop=True)
