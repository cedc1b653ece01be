"""Intrinsic timescales: how fast the autocorrelation of spike counts decays.

The autocorrelation of counts is fitted by an exponential decay with an offset, as by Murray et al.
2014 (Nature Neuroscience 17:1661), across trials or over the session. Intervals come from parts of
the data that are left out in turn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy

from schemas.maths.trains import unit_of

METHODS = ("trials", "session")
"""Counts at two times are compared across trials, or over the session."""

FEW_SPIKES, FEW_TRIALS, SHORT = "few_spikes", "few_trials", "short"
NO_DECAY, OUT_OF_RANGE = "no_decay", "out_of_range"
FAILURES = {
    FEW_SPIKES: "fewer spikes than the definition asks for, or the same number in every bin",
    FEW_TRIALS: "fewer than six trials",
    SHORT: "a part of the recording is no longer than the longest lag",
    NO_DECAY: "the interval of the amplitude, were the timescale known, includes 0",
    OUT_OF_RANGE: "the best timescale is the shortest or longest that is tried",
}
"""Why a unit has no timescale."""

LEAST_BLOCKS = 3
N_TRIED = 150
"""Timescales that are tried, in equal steps of their logarithm, before the best is refined."""
ROUNDS = 10
MAX_LOG_WIDTH = 20.0
"""Half the width of an interval in the logarithm, at most: factors of 5e8 say that it is open."""
CELLS = 4_000_000
"""Bins of counts that are held at a time, in whole units."""


class Correlation(NamedTuple):
    """Autocorrelations of the spike counts of units.

    Attributes
    ----------
    values : (U, L) float array
        Correlation at lags of 1 to L bins; NaN where there is none.
    left_out : (U, K, L) float array
        The same without each of K parts of the data in turn.
    n_spikes : (U,) int array
        Spikes that are counted.
    missing : str
        Why values are NaN, if they are: a name in `FAILURES`.
    """

    values: np.ndarray
    left_out: np.ndarray
    n_spikes: np.ndarray
    missing: str


def correlate_session(
    times: np.ndarray,
    counts: np.ndarray,
    span: tuple[float, float],
    bin_width: float,
    n_lags: int,
    n_blocks: int,
) -> Correlation:
    """Correlate the spike counts of each unit with those some bins later, over a session.

    The session is cut into blocks of equal length. Products of counts are averaged within blocks,
    with the mean of the whole session removed.

    Parameters
    ----------
    times : (S,) float array
        Spike times (s), unit after unit.
    counts : (U,) int array
        Spikes of each unit.
    span : (float, float)
        Start and end of the session (s); the last block ends where a whole one does.
    bin_width : float
        Width of the bins (s).
    n_lags : int
        Number of lags L, of 1 to L bins.
    n_blocks : int
        Number of blocks K.

    Returns
    -------
    Correlation
        Autocovariance over variance; NaN for a unit with the same count in every bin, and for all
        units where a block has no more than L bins.
    """
    n_in_block = int(round((span[1] - span[0]) / bin_width, 6) // n_blocks)
    found = np.full((len(counts), n_blocks, n_lags + 1), np.nan)
    n_spikes = np.zeros(len(counts), dtype=np.int64)
    is_short = n_in_block <= n_lags
    ends, step = np.append(0, np.cumsum(counts)), max(1, CELLS // max(n_in_block * n_blocks, 1))
    for first in range(0, 0 if is_short else len(counts), step):
        units = slice(first, first + step)
        of_units = times[ends[first] : ends[min(first + step, len(counts))]]
        values = _count_bins(of_units, counts[units], span[0], bin_width, n_in_block * n_blocks)
        n_spikes[units] = values.sum(axis=1)
        values = values - values.mean(axis=1, keepdims=True)
        found[units] = _correlate_blocks(values.reshape(len(values), n_blocks, -1), n_lags)
    others = (found.sum(axis=1, keepdims=True) - found) / max(n_blocks - 1, 1)
    missing = SHORT if is_short else FEW_SPIKES
    return Correlation(_normalise(found.mean(axis=1)), _normalise(others), n_spikes, missing)


def _count_bins(
    times: np.ndarray, counts: np.ndarray, start: float, bin_width: float, n_bins: int
) -> np.ndarray:
    """Count spikes in bins from a start (U, B)."""
    number = np.floor((times - start) / bin_width).astype(np.int64)
    inside = np.flatnonzero((number >= 0) & (number < n_bins))
    cell = unit_of(counts).take(inside) * n_bins + number.take(inside)
    return np.bincount(cell, minlength=len(counts) * n_bins).reshape(len(counts), n_bins)


def _correlate_blocks(values: np.ndarray, n_lags: int) -> np.ndarray:
    """Average the products of values some bins apart, in each block (..., n): (..., L + 1)."""
    n = values.shape[-1]
    size = scipy.fft.next_fast_len(n + n_lags, real=True)
    power = np.abs(scipy.fft.rfft(values, size)) ** 2
    return scipy.fft.irfft(power, size)[..., : n_lags + 1] / (n - np.arange(n_lags + 1))


def _normalise(covariance: np.ndarray) -> np.ndarray:
    """Divide autocovariances (..., L + 1) by the one at lag 0; NaN where that is 0."""
    variance = covariance[..., :1]
    known = variance > 1e-12
    found = np.full(covariance[..., 1:].shape, np.nan)
    return np.divide(covariance[..., 1:], variance, out=found, where=known)


def correlate_trials(n_spikes: np.ndarray, n_lags: int, n_blocks: int) -> Correlation:
    """Correlate the spike counts of two bins across trials, for each unit and lag.

    The correlation at a lag is the mean of Pearson's over all pairs of bins that far apart.

    Parameters
    ----------
    n_spikes : (U, E, B) int array
        Counts of each unit, trial and bin, as `schemas.maths.psth.count_spikes` gives them.
    n_lags : int
        Number of lags L < B, of 1 to L bins.
    n_blocks : int
        Number of runs of trials K, or half the number of trials if that is less.

    Returns
    -------
    Correlation
        NaN where no pair of bins varies, and for all units below six trials.
    """
    n_units, n_trials, _ = n_spikes.shape
    n_blocks = min(n_blocks, n_trials // 2)
    counted = n_spikes.sum(axis=(1, 2))
    if n_blocks < LEAST_BLOCKS:
        values = np.full((n_units, LEAST_BLOCKS, n_lags), np.nan)
        return Correlation(values[:, 0], values, counted, FEW_TRIALS)
    runs = np.array_split(n_spikes.astype(float), n_blocks, axis=1)
    n_in_run = np.array([run.shape[1] for run in runs], dtype=float)
    sums = np.stack([run.sum(axis=1) for run in runs], axis=1)
    products = np.stack([run.transpose(0, 2, 1) @ run for run in runs], axis=1)
    values = _pearson(sums.sum(1), products.sum(1), n_in_run.sum(), n_lags)
    other_sums, other_products = (e.sum(1, keepdims=True) - e for e in (sums, products))
    n_others = (n_in_run.sum() - n_in_run)[:, None, None]
    left_out = _pearson(other_sums, other_products, n_others, n_lags)
    return Correlation(values, left_out, counted, FEW_SPIKES)


def _pearson(
    sums: np.ndarray, products: np.ndarray, n: np.ndarray | float, n_lags: int
) -> np.ndarray:
    """Average Pearson's correlation of bins by lag (..., L), from sums over n trials.

    `sums` (..., B) and `products` (..., B, B) are sums over trials of counts and of their products.
    """
    covariance = products * n - sums[..., :, None] * sums[..., None, :]
    sd = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    scale = sd[..., :, None] * sd[..., None, :]
    known = scale > 0
    correlation = np.divide(covariance, scale, out=np.zeros_like(covariance), where=known)
    total, n_pairs = (
        np.stack(
            [np.trace(of, lag, axis1=-2, axis2=-1) for lag in range(1, n_lags + 1)],
            axis=-1,
        )
        for of in (correlation, known.astype(float))
    )
    return np.divide(total, n_pairs, out=np.full(total.shape, np.nan), where=n_pairs > 0)


def fit_decay(
    correlation: Correlation,
    lags: np.ndarray,
    first_lag: int,
    min_spikes: int,
    limits: tuple[float, float],
    confidence: float = 0.95,
) -> dict[str, np.ndarray]:
    """Fit an exponential decay with an offset: amplitude * exp(-lag / tau) + offset.

    Least squares over all lags: amplitude and offset are linear, so that the best are known for
    each of `N_TRIED` timescales; the best of these with a positive amplitude is refined by
    Gauss-Newton steps. Errors of an autocorrelation at neighbouring lags go together, therefore
    intervals are not those of least squares: the covariance of the correlations is that of the
    jackknife over blocks, and is carried to the parameters by the derivatives of the fit. The
    interval of tau is symmetric in its logarithm; quantiles are Student's, of K - 1 degrees of
    freedom. Where the amplitude is not above 0 by its interval for that tau, there is no timescale:
    so it is for 98 % or more of simulated Poisson units.

    Parameters
    ----------
    correlation : Correlation
    lags : (L,) float array
        Lags of its values (s), ascending.
    first_lag : int
        The first of the lags that is fitted, from 0; three or more must be left.
    min_spikes : int
        Units with fewer counted spikes are not fitted.
    limits : (float, float)
        Shortest and longest timescale to try (s).
    confidence : float
        Probability of the intervals.

    Returns
    -------
    dict
        (U,) arrays: `tau`, `tau_low`, `tau_high` (s), `amplitude` and `offset` (correlations), all
        NaN where there is no fit; `failure`, empty where there is one, else a name in `FAILURES`.
    """
    lags, values = lags[first_lag:], correlation.values[:, first_lag:]
    blocks = correlation.left_out[:, :, first_lag:]
    enough = correlation.n_spikes >= min_spikes
    known = enough & np.isfinite(values).all(axis=1) & np.isfinite(blocks).all(axis=(1, 2))
    tried = np.geomspace(*limits, N_TRIED)
    start, is_inside = _try_all(lags, values[known], tried)
    theta, slopes = _refine(lags, values[known], start, np.log(tried[1] / tried[0]))
    error = _propagate(slopes, blocks[known])
    quantile = scipy.stats.t.ppf((1 + confidence) / 2, blocks.shape[1] - 1)
    has_decay = theta[:, 1] > quantile * error[:, 3]
    failure = np.where(enough, correlation.missing, FEW_SPIKES).astype(object)
    failure[known] = np.where(has_decay, np.where(is_inside, "", OUT_OF_RANGE), NO_DECAY)
    factor = np.exp(np.minimum(quantile * error[:, 0], MAX_LOG_WIDTH))
    tau, amplitude, offset = np.exp(theta[:, 0]), theta[:, 1], theta[:, 2]
    found = {"tau": tau, "tau_low": tau / factor, "tau_high": tau * factor}
    result = {"failure": failure}
    for name, of_known in {**found, "amplitude": amplitude, "offset": offset}.items():
        result[name] = np.full(len(known), np.nan)
        result[name][known] = np.where(failure[known] == "", of_known, np.nan)
    return result


def _try_all(
    lags: np.ndarray, values: np.ndarray, tried: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of the tried timescales, and whether it is neither the first nor the last."""
    decay = np.exp(-lags / tried[:, None])
    decay -= decay.mean(axis=1, keepdims=True)
    # What a decay of the best amplitude, not below 0, takes from the sum of squares.
    gain = np.maximum(values @ decay.T, 0) ** 2 / (decay**2).sum(axis=1)
    best = gain.argmax(axis=1)
    return tried[best], (best > 0) & (best < len(tried) - 1)


def _refine(
    lags: np.ndarray, values: np.ndarray, start: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Refine a fit within a step of the logarithm of its timescale.

    Returns
    -------
    theta : (U, 3) float array
        Logarithm of tau, amplitude and offset.
    slopes : (U, 4, L) float array
        Derivatives of these by the values, and of the amplitude if tau is held.
    """
    first = np.log(start)
    log_tau = first.copy()
    for _ in range(ROUNDS):
        decay, amplitude, offset = _solve(lags, values, log_tau)
        slopes = np.linalg.pinv(_derivatives(lags, decay, amplitude, log_tau))
        residual = values - amplitude[:, None] * decay - offset[:, None]
        log_tau += np.einsum("ul,ul->u", slopes[:, 0], residual)
        log_tau = np.clip(log_tau, first - step, first + step)
    decay, amplitude, offset = _solve(lags, values, log_tau)
    slopes = np.linalg.pinv(_derivatives(lags, decay, amplitude, log_tau))
    centred = decay - decay.mean(axis=1, keepdims=True)
    held = centred / (centred**2).sum(axis=1, keepdims=True)
    theta = np.stack([log_tau, amplitude, offset], axis=1)
    return theta, np.concatenate([slopes, held[:, None]], axis=1)


def _solve(
    lags: np.ndarray, values: np.ndarray, log_tau: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the decay (U, L) of each timescale, with the best amplitude and offset (U,)."""
    decay = np.exp(-lags / np.exp(log_tau)[:, None])
    centred = decay - decay.mean(axis=1, keepdims=True)
    amplitude = (values * centred).sum(axis=1) / (centred**2).sum(axis=1)
    return decay, amplitude, values.mean(axis=1) - amplitude * decay.mean(axis=1)


def _derivatives(
    lags: np.ndarray, decay: np.ndarray, amplitude: np.ndarray, log_tau: np.ndarray
) -> np.ndarray:
    """Return the derivatives of fitted values by log tau, amplitude and offset (U, L, 3)."""
    by_log_tau = amplitude[:, None] * decay * lags / np.exp(log_tau)[:, None]
    return np.stack([by_log_tau, decay, np.ones_like(decay)], axis=-1)


def _propagate(slopes: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Return the standard errors of what the slopes are of (U, 4), by the jackknife over blocks."""
    n_blocks = left_out.shape[1]
    moved = left_out - left_out.mean(axis=1, keepdims=True)
    of_parameters = np.einsum("upl,ukl->ukp", slopes, moved)
    return np.sqrt((n_blocks - 1) / n_blocks * (of_parameters**2).sum(axis=1))
