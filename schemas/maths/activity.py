"""Firing rates of many units in windows around events."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy

from schemas.maths.groups import summarise_groups


def search_units(
    times: np.ndarray, offsets: np.ndarray, counts: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Count each unit's spikes before each edge: `searchsorted(..., 'left')` unit by unit.

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
    found = np.empty((len(offsets), len(edges)), dtype=np.int64)
    # Five times faster than a bisection of all units in step, which is no loop over units.
    for row, start, n in zip(found, offsets.tolist(), counts.tolist(), strict=True):
        row[:] = times[start : start + n].searchsorted(edges)
    return found


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


def list_rates(rate: np.ndarray, region_id: np.ndarray) -> dict[str, list[float]]:
    """List rates by region, under its id as text, in the order of the units.

    Parameters
    ----------
    rate : (U,) float array
        Rate of each unit (Hz); NaN is left out.
    region_id : (U,) int array
        Region of each unit.
    """
    known = np.flatnonzero(np.isfinite(rate))
    order = known[np.argsort(region_id[known], kind="stable")]
    regions, first = np.unique(region_id[order], return_index=True)
    lists = np.split(rate[order], first[1:])
    return {str(one): of.tolist() for one, of in zip(regions, lists, strict=False)}


def summarise_mappings(
    rate: np.ndarray, region_id: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Summarise rates by region in every mapping.

    Parameters
    ----------
    rate : (U,) float array
        As in `summarise_regions`.
    region_id : mapping of str to (U,) int array
        Region of each unit by the name of a mapping.

    Returns
    -------
    dict
        What `summarise_regions` returns of each mapping, one after the other; and `mapping`.
    """
    found = [summarise_regions(rate, regions) for regions in region_id.values()]
    n_regions = [len(summary["region_id"]) for summary in found]
    columns = {name: np.concatenate([summary[name] for summary in found]) for name in found[0]}
    return {"mapping": np.repeat(list(region_id), n_regions), **columns}


def compute_responses(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    before: tuple[np.ndarray, tuple[float, float]],
    during: tuple[np.ndarray, tuple[float, float]],
) -> dict[str, np.ndarray | int]:
    """Compare each unit's rate in a window with that in another, trial by trial.

    Parameters
    ----------
    times, offsets, counts
        As in `search_units`.
    before, during : (events, window)
        (E,) float array of event times (s) by trial, NaN where the trial lacks the event, and
        (start, end) in seconds from it. A trial counts where it has both events. The windows
        should be of one length: rates over unequal ones differ by chance more often to one side
        than to the other, so that the test finds responses that are none.

    Returns
    -------
    dict
        `rate_before`, `rate_in` (U,) Hz, NaN without trials; `statistic`, `p`, `n_changed` (U,)
        as `compute_wilcoxon` returns them for the rates in the window minus those before;
        `n_trials`, `n_missing`.
    """
    known = ~np.isnan(before[0] + during[0])
    rates = [
        count_in_windows(times, offsets, counts, events[known], window) / (window[1] - window[0])
        for events, window in (before, during)
    ]
    n_trials = int(known.sum())
    nothing = np.full(len(offsets), np.nan)
    rate_before, rate_in = (rate.mean(axis=1) if n_trials else nothing for rate in rates)
    return {
        "rate_before": rate_before,
        "rate_in": rate_in,
        # -0.1 - -0.3 is not 0.2: rates that are equal may differ by their rounding.
        **compute_wilcoxon(np.round(rates[1] - rates[0], 9)),
        "n_trials": n_trials,
        "n_missing": len(known) - n_trials,
    }


def compute_condition_responses(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    events: np.ndarray,
    condition: np.ndarray,
    n_conditions: int,
    before: tuple[float, float],
    during: tuple[float, float],
) -> dict[str, np.ndarray]:
    """Compare each unit's rates in two windows around the events of each condition.

    Parameters
    ----------
    times, offsets, counts
        As in `search_units`.
    events : (E,) float array
        Event times (s); NaN where the time is missing.
    condition : (E,) int array
        Condition of each event, 0 to `n_conditions` - 1; events of another one, e.g. -1, are left
        out.
    n_conditions : int
        Number of conditions C.
    before, during : (start, end)
        Windows of equal length, in seconds from the event.

    Returns
    -------
    dict
        What `compute_responses` returns of each condition: (C, U) arrays of what is of a unit,
        (C,) arrays of `n_trials` and `n_missing`.
    """
    chosen = [events[condition == k] for k in range(n_conditions)]
    found = [
        compute_responses(times, offsets, counts, (each, before), (each, during))
        for each in [*chosen, np.empty(0)]  # the last one says which arrays there are
    ]
    return {name: np.array([one[name] for one in found])[:-1] for name in found[0]}


def compute_wilcoxon(difference: np.ndarray) -> dict[str, np.ndarray]:
    """Test for each unit whether differences lie around zero: Wilcoxon's signed-rank test.

    Two-sided, by the normal approximation with its correction for ties and none for continuity;
    differences of zero are left out. It is `scipy.stats.wilcoxon(zero_method='wilcox',
    correction=False)` with the approximation as method, to 1e-12 relative, for all units at once.
    With fewer than about ten differences the approximation is poor.

    Parameters
    ----------
    difference : (U, E) float array
        Without NaN.

    Returns
    -------
    dict
        `statistic` (U,), the smaller of the two sums of ranks; `p` (U,), NaN where no difference
        is other than zero; `n_changed` (U,), differences other than zero.
    """
    size = np.abs(difference)
    n_zero = (size == 0).sum(axis=1)
    n = difference.shape[1] - n_zero
    # Zeros have the lowest ranks: without them the others' are lower by their number.
    rank = scipy.stats.rankdata(size, axis=1) - n_zero[:, None] if size.size else size
    up, down = ((rank * (sign * difference > 0)).sum(axis=1) for sign in (1, -1))
    statistic = np.minimum(up, down)
    ties = _sum_ties(size)
    deviation = np.sqrt(n * (n + 1) * (2 * n + 1) / 24 - ties / 48)
    distance = np.divide(
        statistic - n * (n + 1) / 4, deviation, out=np.full(len(n), np.nan), where=n > 0
    )
    return {"statistic": statistic, "p": 2 * scipy.stats.norm.cdf(distance), "n_changed": n}


def _sum_ties(size: np.ndarray) -> np.ndarray:
    """Sum t^3 - t over the groups of t equal values of each row, zeros left out (U,)."""
    ordered = np.sort(size, axis=1)
    is_first = np.ones(size.shape, dtype=bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.flatnonzero(is_first)
    length = np.diff(start, append=size.size).astype(float)
    length[ordered.ravel()[start] == 0] = 0
    row = start // max(size.shape[1], 1)
    return np.bincount(row, weights=length**3 - length, minlength=len(size))
