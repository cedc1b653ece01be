"""When the responses of units leave their baseline."""

from __future__ import annotations

import numpy as np

METHODS = {"change_point", "threshold"}
"""Ways to find a latency."""

LIKELY = -np.log(1 - np.sqrt(0.95))
"""Log likelihood within which a change point lies with 95 %: Hansen 2000, table I, halved."""


def find_change_points(
    n_before: np.ndarray, seconds_before: float, counts: np.ndarray, width: float
) -> dict[str, np.ndarray]:
    """Find the time at which the rate of units changes from that of the baseline to another.

    Maximum likelihood for spikes of a Poisson process: the rate is that of the baseline up to the
    change, and the mean of the rest after it.

    Parameters
    ----------
    n_before : (U,) array
        Spikes in the baselines of all trials.
    seconds_before : float
        Length of these baselines together (s).
    counts : (U, B) array
        Spikes in each bin after the event, over all trials.
    width : float
        Length of a bin over all trials (s).

    Returns
    -------
    dict
        (U,) arrays: `change`, the bin before which the rate changes; `first`, `last`, edges of
        bins between which the change lies with 95 %, by the likelihood; `log_ratio`, the log of
        the likelihood over that of no change; `rate_after` (Hz).
    """
    n_bins = counts.shape[1]
    after = counts[:, ::-1].cumsum(axis=1)[:, ::-1].astype(float)
    seconds = np.arange(n_bins, 0, -1) * width
    # Half a spike more, so that a silent baseline has a rate.
    before = (np.asarray(n_before, float) + 0.5)[:, None] / seconds_before
    expected = before * seconds
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(after > 0, after * np.log(after / expected), 0.0) - (after - expected)
    change = gain.argmax(axis=1)
    best = gain.max(axis=1, keepdims=True)
    likely = gain >= best - LIKELY
    return {
        "change": change,
        "first": likely.argmax(axis=1),
        "last": n_bins - likely[:, ::-1].argmax(axis=1) - 1,
        "log_ratio": best[:, 0],
        "rate_after": np.take_along_axis(after / seconds, change[:, None], axis=1)[:, 0],
    }


def find_crossings(
    mean_before: np.ndarray, sd_before: np.ndarray, rates: np.ndarray, n_sd: float, n_bins: int
) -> np.ndarray:
    """Find the first of some bins in a row in which a rate is far from that of the baseline.

    Parameters
    ----------
    mean_before, sd_before : (...) float arrays
        Mean and standard deviation of the rate over the bins of the baseline (Hz).
    rates : (..., B) float array
        Rate in each bin after the event (Hz).
    n_sd : float
        Standard deviations from the mean beyond which a rate is far.
    n_bins : int
        Number of bins in a row, all on the same side of the mean.

    Returns
    -------
    (...) int array
        Bin; B where there is none.
    """
    limit = (n_sd * sd_before)[..., None]
    distance = rates - mean_before[..., None]
    found = np.full(rates.shape[:-1], rates.shape[-1])
    for far in (distance > limit, distance < -limit):
        total = np.cumsum(np.pad(far, [(0, 0)] * (far.ndim - 1) + [(1, 0)]), axis=-1)
        is_run = total[..., n_bins:] - total[..., :-n_bins] == n_bins
        first = np.where(is_run.any(axis=-1), is_run.argmax(axis=-1), rates.shape[-1])
        found = np.minimum(found, first)
    return found


def compute_change_latencies(
    before: np.ndarray, after: np.ndarray, width: float, start: float, min_log_ratio: float
) -> dict[str, np.ndarray]:
    """Compute latencies as the time at which the rate changes: see `find_change_points`.

    Parameters
    ----------
    before, after : (U, E, B) arrays
        Spikes in each bin of the baseline, and of the time to be searched, in each trial.
    width : float
        Width of a bin (s).
    start : float
        Start of the time to be searched (s from the event).
    min_log_ratio : float
        Least log of the likelihood ratio at which a unit is taken to respond.

    Returns
    -------
    dict
        (U,) arrays: `latency`, and `low` and `high`, between which it lies with 95 % (s from the
        event); NaN where the unit does not respond. `log_ratio`; `rate_before`, `rate_after`
        (Hz).
    """
    _, n_trials, n_bins = before.shape
    n_before, seconds = before.sum(axis=(1, 2)), n_trials * n_bins * width
    found = find_change_points(n_before, seconds, after.sum(axis=1), width * n_trials)
    responds = found["log_ratio"] >= min_log_ratio
    # A change within a bin is found at one of its two edges.
    edges = {"latency": found["change"], "low": found["first"] - 1, "high": found["last"] + 1}
    times = {n: np.where(responds, start + k * width, np.nan) for n, k in edges.items()}
    rates = {"rate_before": n_before / seconds, "rate_after": found["rate_after"]}
    return {**times, "log_ratio": found["log_ratio"], **rates}


def compute_threshold_latencies(
    before: np.ndarray,
    after: np.ndarray,
    width: float,
    start: float,
    n_sd: float,
    n_bins: int,
    weights: np.ndarray,
) -> dict[str, np.ndarray]:
    """Compute latencies as the first crossing of a threshold: see `find_crossings`.

    Parameters
    ----------
    before, after, width, start
        As in `compute_change_latencies`.
    n_sd, n_bins
        As in `find_crossings`.
    weights : (P, E) array
        How often each resample has each trial, for the interval.

    Returns
    -------
    dict
        As `compute_change_latencies`, without `log_ratio`. `low` and `high` are percentiles 2.5 and
        97.5 over the resamples that cross the threshold; NaN where fewer than half do.
    """
    n_trials, n_searched = before.shape[1], after.shape[2]
    every = np.vstack([np.ones(n_trials), weights]).astype(np.float32)
    crossings = np.empty((len(every), len(before)))
    for unit, (base, response) in enumerate(zip(before, after, strict=True)):
        base, rates = (
            every @ part.astype(np.float32) / width / n_trials for part in (base, response)
        )
        mean, sd = base.mean(axis=1), base.std(axis=1, ddof=1)
        crossings[:, unit] = find_crossings(mean, sd, rates, n_sd, n_bins)
    times = np.where(crossings < n_searched, start + crossings * width, np.nan)
    often = (crossings[1:] < n_searched).mean(axis=0) >= 0.5
    limits = np.full((2, len(before)), np.nan)
    known = often & ~np.isnan(times[0])
    if known.any():
        limits[:, known] = np.nanpercentile(times[1:, known], [2.5, 97.5], axis=0)
    return {
        "latency": times[0],
        "low": limits[0],
        "high": limits[1],
        "rate_before": before.mean(axis=(1, 2)) / width,
        "rate_after": _rates_after(after, crossings[0], width),
    }


def _rates_after(counts: np.ndarray, first: np.ndarray, width: float) -> np.ndarray:
    """Average the rate (Hz) from a bin on, (U,); NaN where there are no bins left."""
    is_after = np.arange(counts.shape[2]) >= first[:, None]
    n_left = is_after.sum(axis=1)
    total = (counts.mean(axis=1) * is_after).sum(axis=1)
    return np.divide(total, n_left * width, out=np.full(len(counts), np.nan), where=n_left > 0)


def draw_resamples(n_trials: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Draw how often each of P resamples of the trials, with replacement, has each, (P, E)."""
    if not n_trials:
        return np.zeros((n_resamples, 0))
    return rng.multinomial(n_trials, np.full(n_trials, 1 / n_trials), n_resamples)
