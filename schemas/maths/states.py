"""Rates of many units in the intervals of a state: united, cut out of one another, and counted in.

Intervals are (N, 2) float arrays of start and stop (s). An interval holds its start, not its stop.
"""

from __future__ import annotations

import numpy as np

from schemas.maths.activity import search_units


def unite(intervals: np.ndarray) -> np.ndarray:
    """Unite intervals: those that overlap or touch become one.

    Parameters
    ----------
    intervals : (N, 2) float array
        In any order; those with a NaN, or that do not end after they start, are left out.

    Returns
    -------
    (M, 2) float array
        Ascending, with a gap between each and the next.
    """
    known = intervals[intervals[:, 1] > intervals[:, 0]]
    start, stop = known[np.argsort(known[:, 0], kind="stable")].T
    reached = np.maximum.accumulate(stop)
    is_new = np.ones(len(start), dtype=bool)
    is_new[1:] = start[1:] > reached[:-1]
    is_last = np.ones(len(start), dtype=bool)
    is_last[:-1] = is_new[1:]
    return np.column_stack([start[is_new], reached[is_last]])


def clip(intervals: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Keep what of intervals lies within a span.

    Parameters
    ----------
    intervals : (N, 2) float array
        As `unite` returns them.
    span : (first, last)
        Seconds; NaN, or a last that is not above the first, is a span of no time.

    Returns
    -------
    (M, 2) float array
        As `unite` returns them.
    """
    if not span[0] < span[1]:
        return np.empty((0, 2))
    return unite(np.clip(intervals, *span))


def complement(intervals: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    """Return what of a span lies outside intervals; parameters and result as of `clip`."""
    if not span[0] < span[1]:
        return np.empty((0, 2))
    inner = clip(intervals, span)
    start = np.concatenate([[span[0]], inner[:, 1]])
    return unite(np.column_stack([start, np.append(inner[:, 0], span[1])]))


def intersect(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the time that lies within both of two sets of intervals, each as of `unite`."""
    # Each time between two neighbouring edges lies wholly within a set, or wholly outside.
    edges = np.unique(np.concatenate([first.ravel(), second.ravel()]))
    pieces = np.column_stack([edges[:-1], edges[1:]])
    # Edges of a set ascend: within it, the number of those up to a time is odd.
    counts = (np.searchsorted(each.ravel(), edges[:-1], "right") for each in (first, second))
    inside = np.logical_and.reduce([count % 2 == 1 for count in counts])
    return unite(pieces[inside])


def find_state(
    within: np.ndarray,
    recorded: tuple[float, float],
    moves: np.ndarray | None = None,
    traced: tuple[float, float] | None = None,
    is_moving: bool | None = None,
) -> np.ndarray:
    """Find the intervals of a state.

    Parameters
    ----------
    within : (N, 2) float array
        The time that the state is part of, e.g. the task; in any order, overlapping or not.
    recorded : (first, last)
        First and last spike of any unit (s).
    moves : (M, 2) float array, optional
        Movements of the wheel, in any order; default the state does not depend on them.
    traced : (first, last), optional
        First and last sample of the wheel (s). Outside nobody knows whether the wheel moves.
    is_moving : bool, optional
        Whether the state is in the movements, or outside.

    Returns
    -------
    (K, 2) float array
        As `unite` returns them; none where there is no such time.
    """
    found = clip(unite(within), recorded)
    if moves is None or traced is None:
        return found
    chosen = clip(unite(moves), traced) if is_moving else complement(unite(moves), traced)
    return intersect(found, chosen)


def count_in_intervals(
    times: np.ndarray, offsets: np.ndarray, counts: np.ndarray, intervals: np.ndarray
) -> np.ndarray:
    """Count the spikes of each unit in intervals together.

    Parameters
    ----------
    times, offsets, counts
        As in `schemas.maths.activity.search_units`.
    intervals : (N, 2) float array
        As `unite` returns them.

    Returns
    -------
    (U,) int array
    """
    before = search_units(times, offsets, counts, intervals.ravel())
    return (before[:, 1::2] - before[:, ::2]).sum(axis=1)


def compute_state_rates(
    times: np.ndarray, offsets: np.ndarray, counts: np.ndarray, intervals: np.ndarray
) -> dict[str, np.ndarray | int | float]:
    """Compute the rate of each unit in the intervals of a state: spikes over their total length.

    Parameters
    ----------
    times, offsets, counts, intervals
        As in `count_in_intervals`.

    Returns
    -------
    dict
        `rate` (U,) Hz, NaN where there is no interval; `n_intervals`; `duration`, their total
        length (s).
    """
    duration = float((intervals[:, 1] - intervals[:, 0]).sum())
    n_spikes = count_in_intervals(times, offsets, counts, intervals)
    rate = n_spikes / duration if duration else np.full(len(offsets), np.nan)
    return {"rate": rate, "n_intervals": len(intervals), "duration": duration}
