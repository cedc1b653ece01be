"""Metrics of the units of a sort, as the release's metrics table has them.

Written here on their own, from the published definitions, so that they can check what other code
computes. Both sorts use the current formulas: the files of 2022 came from older ones for
`slidingRP_viol` and `noise_cutoff`, so that only the thresholds of the label tell the sorts apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy

SAMPLING = 30_000
# Lags of the autocorrelogram: 10 ms in samples. Those up to 0.5 ms are not judged.
N_LAGS, FIRST_LAG = 300, 15
MIN_CONFIDENCE, CONTAMINATION = 90.0, 0.1
NOISE_LIMIT = {"ibl_2022": 20.0, "ibl_2024": 5.0}
MIN_AMPLITUDE = 50e-6
COLUMNS_2022 = (
    "cluster_id",
    "amp_max",
    "amp_min",
    "amp_median",
    "amp_std_dB",
    "contamination",
    "contamination_alt",
    "drift",
    "missed_spikes_est",
    "noise_cutoff",
    "presence_ratio",
    "presence_ratio_std",
    "slidingRP_viol",
    "spike_count",
    "firing_rate",
    "label",
)
COLUMNS_2024 = (
    *COLUMNS_2022[:13],
    "slidingRP_viol_forced",
    "max_confidence",
    "min_contamination",
    "n_spikes_below2",
    *COLUMNS_2022[13:],
    "bitwise_fail",
)


@dataclass(frozen=True)
class UnitSpikes:
    """Spikes of a sort, unit after unit.

    `start` (U + 1,) is where each unit begins; `times` (S,) s ascending within a unit, `amps` (S,)
    V, `depths` (S,) um.
    """

    start: np.ndarray
    times: np.ndarray
    amps: np.ndarray
    depths: np.ndarray

    @property
    def n_units(self) -> int:
        """Number of units U."""
        return len(self.start) - 1

    @property
    def counts(self) -> np.ndarray:
        """Spikes of each unit (U,)."""
        return np.diff(self.start)

    @property
    def unit(self) -> np.ndarray:
        """Unit of each spike (S,)."""
        return np.repeat(np.arange(self.n_units), self.counts)


def sort_metrics(spikes: UnitSpikes) -> pd.DataFrame:
    """Metrics of every unit (without the label): one row a unit, `COLUMNS_2024` but for labels.

    A unit without spikes has count, rate and presence 0 and NaN elsewhere.
    """
    span = (float(spikes.times.min()), float(spikes.times.max()))
    parts = [slice(*limits) for limits in itertools.pairwise(spikes.start)]
    rows = [
        _one_unit(spikes.times[part], spikes.amps[part], spikes.depths[part], span)
        for part in parts
    ]
    frame = pd.concat([pd.DataFrame(rows), _sliding_refractory(spikes)], axis=1)
    frame.insert(0, "cluster_id", np.arange(spikes.n_units))
    frame["spike_count"] = spikes.counts
    frame["firing_rate"] = spikes.counts / (span[1] - span[0])
    return frame


def judge(metrics: pd.DataFrame, criterion: str) -> pd.DataFrame:
    """Apply a criterion: columns refractory, noise, amplitude (bool, True passes)."""
    return pd.DataFrame(
        {
            "refractory": metrics["max_confidence"] >= MIN_CONFIDENCE,
            "noise": metrics["noise_cutoff"] < NOISE_LIMIT[criterion],
            "amplitude": metrics["amp_median"] > MIN_AMPLITUDE,
        }
    )


def released_metrics(metrics: pd.DataFrame, revision: str) -> pd.DataFrame:
    """Metrics with the label and the columns that a sort of that revision is released with."""
    passes = judge(metrics, "ibl_2024" if revision else "ibl_2022")
    bits = (~passes).to_numpy() @ np.array([1, 2, 4])
    labelled = metrics.assign(label=passes.mean(axis=1), bitwise_fail=bits.astype(np.uint8))
    return labelled[list(COLUMNS_2024 if revision else COLUMNS_2022)]


def noise_cutoff(amps: np.ndarray) -> float:
    """Height of the lowest amplitudes over that of the highest, in standard deviations.

    Parameters
    ----------
    amps : ndarray, (N,)
        Amplitudes of a unit, any unit of measure.
    """
    if len(amps) < 2:
        return np.nan
    counts, _ = np.histogram(amps, bins=99, range=(0, amps.max()))
    peak = int(counts.argmax())
    start = int(np.ceil(0.5 * np.count_nonzero(counts[peak:-1]) + peak))
    high = counts[start:]
    high = high[high > 0]
    filled = np.flatnonzero(counts)
    if high.size == 0 or high.std() == 0 or filled.size < 2:
        return np.nan
    return float((counts[filled[1]] - high.mean()) / high.std())


def _one_unit(
    times: np.ndarray, amps: np.ndarray, depths: np.ndarray, span: tuple[float, float]
) -> dict[str, float]:
    """Metrics that need no other unit but the span (s) of the recording."""
    n, length = len(times), span[1] - span[0]
    if n == 0:
        return {"presence_ratio": 0.0, "presence_ratio_std": 0.0}
    decibel = 20 * np.log10(amps)
    edges = len(np.arange(span[0], span[1] + 5, 10))
    bins = np.bincount(np.floor((times - span[0]) / 10).astype(int), minlength=edges)
    return {
        "amp_max": amps.max(),
        "amp_min": amps.min(),
        "amp_median": 10 ** (np.median(decibel) / 20),
        "amp_std_dB": decibel.std(ddof=1) if n > 1 else np.nan,
        "contamination": _contamination(times, length),
        "contamination_alt": _contamination_alt(times),
        "drift": np.abs(np.diff(depths)).sum() / length * 3600,
        "missed_spikes_est": _missed_spikes(amps),
        "noise_cutoff": noise_cutoff(amps),
        "presence_ratio": np.count_nonzero(bins) / edges,
        "presence_ratio_std": bins.std(),
    }


def _contamination(times: np.ndarray, length: float) -> float:
    """Share of spikes of other units, by Hill and colleagues, without doubled spikes."""
    kept = times[np.r_[True, np.diff(times) > 0.0001]]
    violations = np.count_nonzero(np.diff(kept) < 0.0015)
    rate = len(kept) / length
    return violations / (2 * len(kept) * (0.0015 - 0.0001)) / rate


def _contamination_alt(times: np.ndarray) -> float:
    """Share of spikes of other units, as the smaller root of x - x^2 = -c."""
    violations = np.count_nonzero(np.diff(times) < 0.0015)
    c = (times[-1] - times[0]) * violations / (2 * 0.0015 * len(times) ** 2)
    return (np.sqrt(1 + 4 * c) - 1) / 2


def _missed_spikes(amps: np.ndarray) -> float:
    """Share of spikes below the threshold, if the distribution were symmetric."""
    if len(amps) <= 500:
        return np.nan
    counts, _ = np.histogram(amps, bins=len(amps) // 10, density=True)
    pdf = scipy.ndimage.gaussian_filter1d(counts, 4)
    peak = int(pdf.argmax())
    mirror = peak + int(np.abs(pdf[peak:] - pdf[0]).argmin())
    return min(0.5, float(pdf[mirror:].sum() / pdf.sum()))


def _sliding_refractory(spikes: UnitSpikes) -> pd.DataFrame:
    """Confidence that contamination is low, over all refractory periods up to 10 ms."""
    n, samples = spikes.counts, (spikes.times * SAMPLING).astype(np.int64)
    with np.errstate(invalid="ignore"):
        rate = _distant_pairs(spikes, samples) / n
    acg = _autocorrelogram(spikes, samples)
    observed = np.cumsum(acg, axis=1)[:, FIRST_LAG:]
    window = (np.arange(FIRST_LAG, N_LAGS) + 1) / SAMPLING
    scale = (rate * 2 * n)[:, None] * window
    confidence = 100 * (1 - scipy.special.pdtr(observed, scale * CONTAMINATION)).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Least contamination that leaves a chance of 10 % to see so few violations.
        share = 100 * (scipy.special.pdtri(observed, 1 - MIN_CONFIDENCE / 100) / scale).min(axis=1)
    share = np.maximum(0.5, np.ceil(2 * share) / 2)
    share[~(share < 35)] = np.nan
    passes = np.where(n > 0, share <= 100 * CONTAMINATION, np.nan)
    below = acg[:, :61].sum(axis=1)
    forced = np.where(n > 0, np.isnan(share) & (below == 0) & (rate > 0.5), np.nan)
    return pd.DataFrame(
        {
            "slidingRP_viol": passes,
            "slidingRP_viol_forced": forced,
            "max_confidence": np.where(n > 0, confidence, np.nan),
            "min_contamination": share,
            "n_spikes_below2": np.where(n > 0, below, np.nan),
        }
    )


def _autocorrelogram(spikes: UnitSpikes, samples: np.ndarray) -> np.ndarray:
    """Pairs of spikes of a unit by their lag in samples (U, 300)."""
    unit = spikes.unit
    total = np.zeros(spikes.n_units * N_LAGS, dtype=np.int64)
    first, shift = np.arange(len(samples)), 1
    while first.size:
        # A spike whose k-th successor is too far has no nearer one further on.
        first = first[first + shift < len(samples)]
        lag = samples[first + shift] - samples[first]
        near = (lag < N_LAGS) & (unit[first + shift] == unit[first])
        first, lag = first[near], lag[near]
        total += np.bincount(unit[first] * N_LAGS + lag, minlength=total.size)
        shift += 1
    return total.reshape(spikes.n_units, N_LAGS)


def _distant_pairs(spikes: UnitSpikes, samples: np.ndarray) -> np.ndarray:
    """Pairs of spikes of a unit that are 1 to 2 s apart (U,)."""
    # Units are laid end to end with a pause, so that one search serves all of them.
    key = samples + spikes.unit * (samples.max() + 3 * SAMPLING)
    pairs = np.searchsorted(key, key + 2 * SAMPLING) - np.searchsorted(key, key + SAMPLING)
    return np.bincount(spikes.unit, weights=pairs, minlength=spikes.n_units)
