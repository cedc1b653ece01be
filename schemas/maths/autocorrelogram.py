"""Autocorrelograms of many units at once, in bins of equal width in the logarithm of the lag.

Spikes are laid out as they are stored: unit after unit, ascending in time within a unit, so that
`counts` says where each unit begins. Lags are counted in whole microseconds, a thirtieth of the
sampling interval of the recordings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schemas.maths.trains import chunks, unit_of

TICK = 1e-6
"""(s) Resolution of lags and of edges."""

MAX_LAG = 60.0
"""(s) Longest lag: the bin of every tick up to it is held in memory."""

FEW = 0.7
"""Share of spikes with a successor in reach, below which the others are dropped."""


def compute_log_edges(start: float, end: float, n_bins: int) -> np.ndarray:
    """Lay bins between two lags, each wider than the one before by the same factor.

    Parameters
    ----------
    start, end : float
        First and last edge (s), 0 < start < end.
    n_bins : int
        Number of bins B.

    Returns
    -------
    (B + 1,) float array
        Edges (s), whole numbers of `TICK`; a bin holds its left edge, not its right one.
    """
    return np.rint(np.geomspace(start, end, n_bins + 1) / TICK) * TICK


def compute_bin_centres(edges: np.ndarray) -> np.ndarray:
    """Return the centre of each bin on a logarithmic axis (s): the geometric mean of its edges."""
    return np.sqrt(edges[:-1] * edges[1:])


def count_pairs(times: np.ndarray, counts: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count the pairs of spikes of each unit by their lag.

    Every pair counts once, not only successive spikes. Time grows with the number of pairs up to
    the last edge: about 6 ns a pair.

    Parameters
    ----------
    times : (S,) float array
        Spike times (s), unit after unit, ascending in time within a unit.
    counts : (U,) int array
        Spikes of each unit.
    edges : (B + 1,) float array
        Edges of the bins (s), ascending, 0 to `MAX_LAG`; a bin holds its left edge, not its right
        one. Times and edges are rounded to `TICK`.

    Returns
    -------
    (U, B) int array
    """
    ticks = np.rint(np.asarray(edges) / TICK).astype(np.int64)
    # The first of these is below the first edge, and the last one what lies beyond the last edge.
    bins = np.arange(len(ticks) + 1, dtype=np.min_scalar_type(len(ticks)))
    bin_of = np.repeat(bins, np.diff(ticks, prepend=0, append=ticks[-1] + 1))
    found = [
        _count_chunk(np.rint(times[spikes] / TICK).astype(np.int64), counts[units], bin_of)
        for units, spikes in chunks(counts)
    ]
    return np.concatenate(found)[:, 1 : len(ticks)]


def _count_chunk(samples: np.ndarray, counts: np.ndarray, bin_of: np.ndarray) -> np.ndarray:
    """Count the pairs of a few units by the bin of their lag in ticks, `bin_of` (lags,)."""
    limit, n_bins = len(bin_of) - 1, int(bin_of[-1]) + 1
    total = np.zeros(len(counts) * n_bins, dtype=np.int64)
    if len(samples) < 2:
        return total.reshape(-1, n_bins)
    unit = unit_of(counts)
    # End to end with a pause, so that no lag reaches from a unit to the next.
    samples = samples + unit * (int(np.ptp(samples)) + limit + 1)
    first, cell, shift = np.arange(len(samples) - 1), unit[:-1] * n_bins, 1
    here = samples[:-1]
    # The n-th successor of a spike for n = 1, 2, ...: fewer and fewer have one within reach.
    while len(first):
        lag = samples[shift:].take(first)
        lag -= here
        near = np.flatnonzero(lag < limit)
        if len(near) < FEW * len(first):
            first, cell, here, lag = (a.take(near) for a in (first, cell, here, lag))
        else:
            np.minimum(lag, limit, out=lag)
        total += np.bincount(cell + bin_of.take(lag), minlength=len(total))
        shift += 1
        left = np.searchsorted(first, len(samples) - shift)
        first, cell, here = first[:left], cell[:left], here[:left]
    return total.reshape(-1, n_bins)


def compute_autocorrelograms(
    times: np.ndarray,
    counts: np.ndarray,
    edges: np.ndarray,
    refractory_end: float,
    burst: Sequence[float],
    baseline: Sequence[float],
) -> dict[str, np.ndarray]:
    """Compute the autocorrelogram of each unit, and two indices of its short lags.

    The rate at a lag is conditional: what the unit fires that long after a spike of its own,
    whatever it fires in between. For a Poisson process it is the unit's rate at every lag. Spikes
    whose lag reaches beyond the end of the recording are not corrected for: of a recording of
    4,500 s they lower the rate at a lag of 1 s by 0.02 %.

    The burst index is the one of CellExplorer (`burstIndex_Royer2012`, after Royer et al. 2012,
    Nature Neuroscience 15:769): the rate at the lags of a burst over that at those of a baseline,
    there 3 to 5 ms over 200 to 300 ms.

    Parameters
    ----------
    times, counts, edges
        As in `count_pairs`.
    refractory_end : float
        Lags up to this are refractory (s).
    burst, baseline : (float, float)
        Least lag, and the lag that is above all others (s).

    Returns
    -------
    dict
        `rate` (U, B) in Hz, NaN for a unit without spikes; (U,) arrays: `peak_lag`, the centre of
        the bin of the highest rate, the first if several have it (s), NaN where no bin has a pair;
        `burst_index` and `refractory_index`, the rate within those lags over that of the baseline,
        1 for a Poisson process, NaN where the baseline has no pair.
    """
    windows = np.array([(0.0, refractory_end), burst, baseline], dtype=float)
    every = np.unique(np.rint(np.concatenate([edges, windows.ravel()]) / TICK)) * TICK
    pairs = count_pairs(times, counts, every)
    below = np.pad(np.cumsum(pairs, axis=1), ((0, 0), (1, 0)))
    left, right = np.concatenate([np.stack([edges[:-1], edges[1:]], axis=1), windows]).T
    # Half a tick off, so that no edge is missed for its rounding.
    first, last = (np.searchsorted(every, each - TICK / 2) for each in (left, right))
    n_pairs = below[:, last] - below[:, first]
    n_spikes = np.where(counts > 0, counts, np.nan)[:, None]
    rate, of_windows = np.split(n_pairs / (n_spikes * (right - left)), [len(edges) - 1], axis=1)
    refractory, in_burst, at_baseline = of_windows.T
    known = at_baseline > 0
    ratios = {"burst_index": in_burst, "refractory_index": refractory}
    peak = compute_bin_centres(edges)[np.argmax(np.nan_to_num(rate), axis=1)]
    return {
        "rate": rate,
        "peak_lag": np.where(np.nansum(rate, axis=1) > 0, peak, np.nan),
        **{
            name: np.divide(values, at_baseline, out=np.full(len(counts), np.nan), where=known)
            for name, values in ratios.items()
        },
    }
