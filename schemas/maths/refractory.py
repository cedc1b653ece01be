"""Tests of the refractory period of units: the sliding test of 2024 and that of 2022.

Formulas are those of the International Brain Laboratory's `slidingRP` and of
`brainbox.metrics.single_units`, written anew.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from schemas.maths import trains

SLIDING_WINDOW = 0.010
"""(s) Longest refractory period of the sliding test."""
CONTAMINATIONS = np.arange(0.5, 35, 0.5)
"""(percent) Contaminations that the sliding test tries."""
FORCED_RATE, FORCED_WINDOW = 0.5, 0.002
"""(Hz, s) Rate above which a unit without a pair of spikes within that time is forced to pass."""
COUNTED_BIN = 0.00025
"""(s) Bin of the autocorrelogram of 2022."""
COUNTED_BINS = np.array([5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 36, 40])
"""Refractory periods of 2022, in those bins."""


def compute_sliding_refractory(
    times: np.ndarray,
    counts: np.ndarray,
    sampling: float,
    start: float,
    contamination: float,
    confidence: float,
) -> dict[str, np.ndarray]:
    """Compute the confidence that contamination is excluded, at the best refractory period.

    Were a share c of a unit's spikes not its own, 2 N r c w pairs would be expected closer than
    w, with N spikes and r pairs of 1 to 2 s lag a spike and second; the confidence is the
    Poisson probability of more pairs than there are. Periods are the samples up to 10 ms.

    Parameters
    ----------
    times, counts
        As in `compute_unit_metrics`.
    sampling : float
        Rate to which times are cut down (Hz).
    start : float
        Refractory periods up to this are not judged (s).
    contamination, confidence : float
        What is to be excluded, with what confidence (percent).

    Returns
    -------
    dict
        (U,) float arrays: `max_confidence` (percent) that contamination is below that asked for;
        `min_contamination` (percent), least of `CONTAMINATIONS` that can be excluded, NaN if
        none; `sliding_rp_viol`, 1 if that is no more than asked for (a pass, despite its name);
        `sliding_rp_viol_forced`, 1 if no contamination can be excluded (`min_contamination` is
        NaN), no pair is closer than 2 ms and the rate is above 0.5 Hz; `n_spikes_below2`, number
        of those pairs. All NaN without spikes.
    """
    train = trains.Trains(times, counts, sampling, 2.0)
    n_lags = round(SLIDING_WINDOW * sampling)
    lags = train.count_lags(n_lags)
    periods = (np.arange(n_lags) + 0.5) / sampling
    rate = train.count_pairs(round(sampling), round(2 * sampling)) / np.maximum(counts, 1)
    judged = periods > start
    observed = np.cumsum(lags, axis=1)[:, judged]
    # Expected pairs if all spikes were those of others.
    expected = (rate * 2 * counts)[:, None] * (periods[judged] + 0.5 / sampling)

    def exclude(percent: np.ndarray | float) -> np.ndarray:
        share = np.broadcast_to(np.asarray(percent) / 100, len(counts))
        return 100 * (1 - scipy.special.pdtr(observed, expected * share[:, None])).max(axis=1)

    least = _least_excluded(exclude, len(counts), confidence)
    passes = least <= contamination
    below = lags[:, : int(np.argmax(periods > FORCED_WINDOW)) + 1].sum(axis=1)
    found = {
        "sliding_rp_viol": passes,
        "sliding_rp_viol_forced": np.isnan(least) & (below == 0) & (rate > FORCED_RATE),
        "max_confidence": exclude(contamination),
        "min_contamination": least,
        "n_spikes_below2": below,
    }
    return {name: np.where(counts > 0, values, np.nan) for name, values in found.items()}


def _least_excluded(
    exclude: Callable[[np.ndarray], np.ndarray], n_units: int, confidence: float
) -> np.ndarray:
    """Find the least of `CONTAMINATIONS` that is excluded, by bisection: confidence grows."""
    low, high = np.zeros(n_units, int), np.full(n_units, len(CONTAMINATIONS))
    for _ in range(len(CONTAMINATIONS).bit_length()):
        middle = np.minimum((low + high) // 2, len(CONTAMINATIONS) - 1)
        excluded = exclude(CONTAMINATIONS[middle]) >= confidence
        open_ = low < high
        high = np.where(open_ & excluded, middle, high)
        low = np.where(open_ & ~excluded, middle + 1, low)
    return np.append(CONTAMINATIONS, np.nan)[high]


def judge_refractory_counts(
    times: np.ndarray,
    counts: np.ndarray,
    sampling: float,
    contamination: float,
    confidence: float,
) -> np.ndarray:
    """Judge refractory periods by the number of pairs, as until 2022.

    A unit passes if at any of `COUNTED_BINS` there are no more pairs than a Poisson count falls
    short of with a probability of 1 - confidence, were the contamination as given. The rate is
    that of pairs 0.5 to 1 s apart, and the duration that from the unit's first to last spike.

    Parameters
    ----------
    times, counts
        As in `compute_unit_metrics`.
    sampling : float
        Rate to which times are cut down (Hz).
    contamination, confidence : float
        Percent.

    Returns
    -------
    (U,) float array
        1 is a pass; 0 for one spike; NaN without spikes.
    """
    train = trains.Trains(times, counts, sampling, 2.0)
    bin_ = round(COUNTED_BIN * sampling)
    lags = train.count_lags((COUNTED_BINS[-1] + 1) * bin_)
    observed = np.cumsum(lags, axis=1)[:, (COUNTED_BINS + 1) * bin_ - 1]
    # The correlogram has a bin more than a second holds.
    pairs = train.count_pairs(round(sampling / 2), round(sampling) + bin_)
    rate = pairs / np.maximum(counts, 1) / 0.5
    spans = np.nan_to_num(trains.spans(times, counts))
    periods = COUNTED_BINS * COUNTED_BIN + 1e-6
    expected = (2 * rate**2 * spans * contamination / 100)[:, None] * periods
    # No pair is worth as much as one: a quantile of 0 lets nothing pass.
    passes = scipy.special.pdtr(np.maximum(observed - 1, 0), expected) < 1 - confidence / 100
    return np.where(counts > 0, passes.any(axis=1), np.nan)
