"""Peri-stimulus time histograms of many units at once: counts, and rates by condition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.maths import behavior
from schemas.maths.activity import search_units


def compute_bin_edges(start: float, end: float, bin_width: float) -> np.ndarray:
    """Lay bins around an event so that the event is an edge: `bin_spikes` of the IBL.

    Bins that `start` or `end` cuts are whole: -ceil(-start / width) to ceil(end / width) bins.
    A quotient within 1e-9 of a whole number is that number (0.14 / 0.02 is 7, not 8), where the
    reference would add a bin for its rounding.

    Parameters
    ----------
    start, end : float
        Seconds from the event, start < end.
    bin_width : float
        Seconds.

    Returns
    -------
    (B + 1,) float array
        Edges from the event (s), multiples of `bin_width`; a bin holds its left edge, not its
        right one.
    """
    first = int(np.floor(np.round(start / bin_width, 9)))
    last = int(np.ceil(np.round(end / bin_width, 9)))
    return np.arange(first, last + 1) * bin_width


def split_trials(factors: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Give each trial its condition: a combination of factors that occurs.

    Parameters
    ----------
    factors : mapping of str to (E,) float array
        What is told apart, e.g. side and contrast; NaN where a trial lacks it.

    Returns
    -------
    condition : (E,) int array
        From 0, in the order of the factors' values; -1 where a factor is NaN.
    levels : dict
        (C,) array of each factor: its value in the condition.
    """
    table = np.column_stack(list(factors.values())).astype(float)
    known = ~np.isnan(table).any(axis=1)
    levels, number = np.unique(table[known], axis=0, return_inverse=True)
    condition = np.full(len(table), -1)
    condition[known] = number.ravel()
    return condition, dict(zip(factors, levels.T, strict=True))


def count_spikes(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    edges: np.ndarray,
) -> np.ndarray:
    """Count spikes in [event + edge, event + next edge) for every unit, event and bin.

    Parameters
    ----------
    times, offsets, counts
        As in `schemas.maths.activity.search_units`.
    events : (E,) float array
        Event times (s), without NaN.
    edges : (B + 1,) float array
        As `compute_bin_edges` gives them.

    Returns
    -------
    (U, E, B) int array
        Counts, not rates: divide by the width of a bin for Hz. Those of `bin_spikes` of the IBL
        exactly.
    """
    return count_by_trial(times, offsets, counts, events, edges).transpose(1, 0, 2).astype(np.int64)


def count_by_trial(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    edges: np.ndarray,
) -> np.ndarray:
    """Count spikes as `count_spikes` does, trial first, in the smallest type that holds them.

    Parameters
    ----------
    times, offsets, counts, events, edges
        As in `count_spikes`.

    Returns
    -------
    (E, U, B) array of uint8, uint16 or uint32
        Counts, not rates. Unsigned: change the type before you subtract.
    """
    n_events, n_units, n_bins = len(events), len(offsets), len(edges) - 1
    cell, n_spikes = _count_cells(times, offsets, counts, events, edges)
    smallest = np.min_scalar_type(n_spikes.max(initial=0))
    found = np.zeros((n_events, n_units, n_bins), smallest)
    unit, rest = np.divmod(cell, max(n_events * n_bins, 1))
    event, time_bin = np.divmod(rest, max(n_bins, 1))
    found[event, unit, time_bin] = n_spikes
    return found


def compute_psth(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    condition: np.ndarray,
    n_conditions: int,
    edges: np.ndarray,
) -> dict[str, np.ndarray]:
    """Average the firing rate of each unit around the events of each condition.

    The same, to rounding (1e-12 relative), as counting by `count_spikes` and averaging over
    events; faster, since only the bins that hold a spike are looked at. Of `calculate_peths` of
    the IBL without smoothing, `mean` is the mean (to 1e-12 relative); its deviation divides by n
    where `sem` divides by n - 1.

    Parameters
    ----------
    times, offsets, counts, edges
        As in `count_spikes`.
    events : (E,) float array
        Event times (s); NaN where a trial lacks the event: it is dropped, and counted.
    condition : (E,) int array
        Condition of each event, 0 to `n_conditions` - 1; events of another one, e.g. -1, are
        left out, and not counted.
    n_conditions : int
        Number of conditions C.

    Returns
    -------
    dict
        `n_events`, `n_dropped` (C,); `n_spikes` (U, C, B) counts over all events; `mean` (U, C,
        B) in Hz, NaN without events; `sem` (U, C, B) in Hz: sample standard deviation over
        events / sqrt(n), NaN below two events.
    """
    wanted = (condition >= 0) & (condition < n_conditions)
    known = wanted & ~np.isnan(events)
    dropped = np.bincount(condition[wanted & ~known], minlength=n_conditions)
    condition, n_bins = condition[known], len(edges) - 1
    cell, n_spikes = _count_cells(times, offsets, counts, events[known], edges)
    shape = len(offsets), n_conditions, n_bins
    # From cells of (unit, event, bin) to those of (unit, condition, bin).
    moved = np.add.outer(np.arange(len(offsets)) * n_conditions, condition).ravel()
    moved = (moved - np.arange(len(moved))) * n_bins
    group = cell + moved[cell // n_bins]
    total, squares = (
        np.bincount(group, weights=power, minlength=np.prod(shape, dtype=int)).reshape(shape)
        for power in (n_spikes, n_spikes * n_spikes)
    )
    n_events = np.bincount(condition, minlength=n_conditions)
    rates = _average(total, squares, n_events[:, None].astype(float), np.diff(edges))
    counted = {"n_events": n_events, "n_dropped": dropped, "n_spikes": total.astype(np.int64)}
    return counted | rates


def _average(
    total: np.ndarray, squares: np.ndarray, n: np.ndarray, width: np.ndarray
) -> dict[str, np.ndarray]:
    """Return `mean` and `sem` (Hz) from sums of counts and of their squares over n events."""
    mean = np.divide(total, n * width, out=np.full(total.shape, np.nan), where=n > 0)
    # Whole numbers, so that the difference is exact, and never negative.
    variance = (n * squares - total**2) / np.where(n > 1, n * (n - 1), np.nan)
    return {"mean": mean, "sem": np.sqrt(variance / np.maximum(n, 1)) / width}


def _count_cells(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    edges: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the cells (unit, event, bin; flat, ascending) that hold spikes, and how many."""
    n_bins = len(edges) - 1
    limits = np.concatenate([events + edges[0], events + edges[-1]])
    first, last = np.split(search_units(times, offsets, counts, limits) + offsets[:, None], 2, 1)
    n_in = (last - first).ravel()
    spike = np.repeat(first.ravel() - np.cumsum(n_in) + n_in, n_in)
    spike += np.arange(len(spike))
    time, event = times[spike], np.repeat(np.tile(events, len(offsets)), n_in)
    # A quotient may round across an edge: compare with the edges on both sides.
    guess = ((time - event - edges[0]) / (edges[1] - edges[0])).astype(int)
    np.clip(guess, 0, n_bins - 1, out=guess)
    guess -= time < event + edges[guess]
    guess += time >= event + edges[guess + 1]
    cell = np.repeat(np.arange(len(n_in)) * n_bins, n_in) + guess
    # Windows come one after another, and their spikes in order: equal cells are neighbours.
    is_first = np.ones(len(cell), dtype=bool)
    np.not_equal(cell[1:], cell[:-1], out=is_first[1:])
    start = np.flatnonzero(is_first)
    return cell[start], np.diff(start, append=len(cell))


SPLIT_COLUMNS = {
    "side": ("contrast_left", "contrast_right"),
    "contrast": ("contrast_left", "contrast_right"),
    "choice": ("choice",),
    "outcome": ("choice", "feedback_type"),
    "block": ("probability_left",),
    "parity": ("trial",),
}
"""Columns of trials by which each part of a split divides them."""


def compute_factor(name: str, trials: dict[str, np.ndarray]) -> np.ndarray:
    """Return the level of a part of a split in each trial, as a number; NaN where unknown."""
    columns = [trials[column] for column in SPLIT_COLUMNS[name]]
    if name in ("side", "contrast"):
        side, contrast = behavior.compute_stimulus(*columns)
        return contrast if name == "contrast" else np.where(side < 0, np.nan, side)
    if name == "outcome":
        outcome = behavior.compute_outcome(*columns)
        return np.where(outcome < 0, np.nan, outcome)
    if name == "parity":
        return columns[0] % 2
    return -columns[0] if name == "choice" else behavior.round_levels(columns[0])


LEVELS: dict[str, dict[float, str]] = {
    "side": dict(enumerate(behavior.SIDES)),
    # Turning the wheel clockwise, a choice of +1 as released, chooses the left.
    "choice": {-1: "left", 0: "no_go", 1: "right"},
    "outcome": dict(enumerate(behavior.OUTCOMES)),
    "parity": {0: "even", 1: "odd"},
}
"""Names of the levels that are numbers in the computation."""


def name_levels(name: str, values: np.ndarray) -> list[Any]:
    """Return the names of the levels of a part of a split; contrasts and priors are numbers."""
    names = LEVELS.get(name)
    return values.tolist() if names is None else [names[level] for level in values]


def name_level(level: Any) -> str:
    """Name a level of a split in the name of a condition."""
    return level if isinstance(level, str) else f"{level:g}"


def average_samples(
    time: np.ndarray, values: np.ndarray, events: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Average the samples of a signal in [event + edge, event + next edge) for every event and bin.

    Parameters
    ----------
    time, values : (N,) float arrays
        Times of the samples (s, ascending) and their values; NaN values are left out.
    events : (E,) float array
        Event times (s), without NaN.
    edges : (B + 1,) float array
        As `compute_bin_edges` gives them.

    Returns
    -------
    (E, B) float array
        NaN where a bin has no sample.
    """
    known = ~np.isnan(values)
    time, values = time[known], np.append(values[known], 0.0)
    limits = np.searchsorted(time, np.asarray(events, float)[:, None] + edges)
    first, last = limits[:, :-1].ravel(), limits[:, 1:].ravel()
    # Sums from each first to its last sample; those in between belong to no bin.
    pairs = np.column_stack([first, last]).ravel()
    total = np.add.reduceat(values, pairs)[::2] if len(pairs) else np.empty(0)
    n_samples = last - first
    mean = np.divide(total, n_samples, out=np.full(len(total), np.nan), where=n_samples > 0)
    return mean.reshape(len(limits), len(edges) - 1)
