"""Firing rates of many units in windows around events."""

from __future__ import annotations

import numpy as np

from schemas.maths.groups import summarise_groups


def search_units(
    times: np.ndarray, offsets: np.ndarray, counts: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Count each unit's spikes before each edge: `searchsorted(..., 'left')` for all units at once.

    Parameters
    ----------
    times : (S,) float array
        Spike times (s), unit after unit, ascending within a unit.
    offsets, counts : (U,) int arrays
        First spike and number of spikes of each unit.
    edges : (E,) float array
        Times (s), without NaN, in any order.

    Returns
    -------
    (U, E) int array
        Number of spikes of the unit with time < edge.
    """
    low = np.repeat(offsets[:, None], len(edges), axis=1).astype(np.int64)
    high = low + counts[:, None]
    start = low.copy()
    # Bisection of all units in step: the loop runs log2(spikes of a unit) times.
    for _ in range(int(counts.max(initial=0)).bit_length()):
        middle = (low + high) >> 1
        open_ = low < high
        before = open_ & (times[np.minimum(middle, len(times) - 1)] < edges)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low - start


def count_in_windows(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    window: tuple[float, float],
) -> np.ndarray:
    """Count spikes in [event + start, event + end) for every unit and event.

    Parameters
    ----------
    times, offsets, counts
        As in `search_units`.
    events : (E,) float array
        Event times (s), without NaN.
    window : (start, end)
        Seconds from the event.

    Returns
    -------
    (U, E) int array
    """
    first = search_units(times, offsets, counts, events + window[0])
    return search_units(times, offsets, counts, events + window[1]) - first


def compute_window_rates(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    window: tuple[float, float],
) -> dict[str, np.ndarray | int]:
    """Mean firing rate of each unit over the windows of all events.

    Events that are NaN are dropped and counted. Parameters as in `count_in_windows`, but for
    NaN in `events`.

    Returns
    -------
    dict
        `rate` (U,) Hz, NaN without events; `n_events`, `n_dropped`.
    """
    known = events[~np.isnan(events)]
    total = count_in_windows(times, offsets, counts, known, window).sum(axis=1)
    seconds = len(known) * (window[1] - window[0])
    rate = total / seconds if seconds else np.full(len(offsets), np.nan)
    return {"rate": rate, "n_events": len(known), "n_dropped": len(events) - len(known)}


def compute_recording_rates(counts: np.ndarray, first: float, last: float) -> np.ndarray:
    """Compute rates over the recording: spikes / time from first to last spike of any unit.

    Parameters
    ----------
    counts : (U,) int array
        Spikes of each unit.
    first, last : float
        First and last spike of any unit (s).

    Returns
    -------
    (U,) float array
        Hz; NaN where the recording has no duration.
    """
    seconds = last - first
    return counts / seconds if seconds > 0 else np.full(len(counts), np.nan)


def summarise_regions(rate: np.ndarray, region_id: np.ndarray) -> dict[str, np.ndarray]:
    """Summarise rates by region, each unit counting once.

    Parameters
    ----------
    rate : (U,) float array
        Hz; units without a rate (NaN) are left out.
    region_id : (U,) int array
        Region of each unit.

    Returns
    -------
    dict
        (R,) arrays, regions ascending: `region_id`, `n`, and `mean`, `median`, `sd`, `sem` (Hz).
    """
    known = ~np.isnan(rate)
    regions, group = np.unique(region_id[known], return_inverse=True)
    return {"region_id": regions, **summarise_groups(rate[known], group, len(regions))}
