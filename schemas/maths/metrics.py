"""Metrics of the units of a sort from their spikes, for all units at once.

Spikes are laid out as they are stored: unit after unit, ascending in time within a unit, so that
`counts` says where each unit begins. Formulas are those of the International Brain Laboratory's
`brainbox.metrics.single_units` and `slidingRP`, written anew; `compute_unit_metrics` says how
close they come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from schemas.maths.activity import compute_recording_rates
from schemas.maths.ephys import LABEL_CRITERIA
from schemas.maths.refractory import compute_sliding_refractory, judge_refractory_counts
from schemas.maths.trains import (
    add_up,
    chunks,
    first_minimum,
    histograms,
    intervals,
    reduce_units,
    smooth,
    spans,
    spikes_of,
    starts,
    unit_of,
)

METRICS = (
    "spike_count",
    "firing_rate",
    "amp_min",
    "amp_max",
    "amp_median",
    "amp_std_db",
    "presence_ratio",
    "presence_ratio_std",
    "drift",
    "contamination",
    "contamination_alt",
    "missed_spikes_est",
    "noise_cutoff",
    "sliding_rp_viol",
    "sliding_rp_viol_forced",
    "max_confidence",
    "min_contamination",
    "n_spikes_below2",
)

METHODS = {
    "noise_method": ("filled_bins", "last_change"),
    "sliding_method": ("confidence", "counts"),
}
"""Values of the parameters that choose a method."""

CONFIDENCE_METRICS = METRICS[14:]
"""What only the sliding test by confidence gives."""


@dataclass(frozen=True)
class MetricParameters:
    """What the metrics depend on besides the spikes.

    Attributes
    ----------
    presence_bin : float
        Bin in which a unit is present (s).
    refractory_period, duplicate_interval : float
        Intervals below the first are violations, those up to the second duplicates (s).
    missed_spikes_per_bin, missed_min_bins : int
        Spikes per bin of the distribution of amplitudes, and its least number of bins.
    missed_smoothing : float
        Standard deviation of the Gaussian that smooths it (bins).
    noise_edges : int
        Edges of the histogram of the noise cut-off, from 0 to the largest amplitude.
    noise_method : str
        `'filled_bins'` (since October 2022) or `'last_change'`.
    noise_top_start : float
        Where the top of the histogram starts, as a fraction of the way from peak to end.
    sliding_method : str
        `'confidence'` (since 2022) or `'counts'`.
    sliding_sampling : float
        Rate to which times are cut down (Hz).
    sliding_start : float or None
        Refractory periods up to this are not judged (s); unused by `'counts'`.
    sliding_contamination, sliding_confidence : float
        Contamination to be excluded, with what confidence (percent).
    """

    presence_bin: float
    refractory_period: float
    duplicate_interval: float
    missed_spikes_per_bin: int
    missed_min_bins: int
    missed_smoothing: float
    noise_edges: int
    noise_method: str
    noise_top_start: float
    sliding_method: str
    sliding_sampling: float
    sliding_start: float | None
    sliding_contamination: float
    sliding_confidence: float


def compute_unit_metrics(
    times: np.ndarray,
    amplitudes: np.ndarray,
    depths: np.ndarray,
    counts: np.ndarray,
    parameters: MetricParameters,
) -> dict[str, np.ndarray]:
    """Compute every metric of every unit of a sort.

    Parameters
    ----------
    times, amplitudes, depths : (S,) float arrays
        Of the spikes (s, V, um), unit after unit, ascending in time within a unit.
    counts : (U,) int array
        Spikes of each unit.
    parameters : MetricParameters
        Bins, thresholds and variants.

    Returns
    -------
    dict
        (U,) arrays by the names in `METRICS`, units as in `ephys.SpikeSorting.Cluster`. A unit
        without spikes has count, rate and presence 0 and is NaN elsewhere. Metrics of amplitudes
        are NaN where one is NaN, drift where a depth is; rate, drift and contamination are NaN
        where all spikes of the sort are simultaneous.

    Notes
    -----
    Tolerance against the reference (ibllib 4.1, slidingRP 1.1.1; for the methods of 2022 its
    code of then): counts, presence, passes and `min_contamination` equal, all else within 1e-12
    of its size. Where depths are float32, drift is within 1e-6; where amplitudes are,
    `missed_spikes_est` is within 1e-3 of what version 1 of numpy gives, which rounds the edges of
    bins in another way.
    """
    first, last = (times.min(), times.max()) if len(times) else (0.0, 0.0)
    parts = []
    for units, spikes in chunks(counts):
        n = counts[units]
        t, a, d = (values[spikes] for values in (times, amplitudes, depths))
        parts.append(
            {"spike_count": n, "firing_rate": compute_recording_rates(n, first, last)}
            | compute_amplitude_statistics(a, n)
            | compute_presence(t, n, first, last, parameters.presence_bin)
            | {"drift": compute_drift(d, n, last - first)}
            | _contamination_metrics(t, n, last - first, parameters)
            | _amplitude_cutoffs(a, n, parameters)
            | _sliding_refractory(t, n, parameters)
        )
    return {name: np.concatenate([part[name] for part in parts]) for name in METRICS}


def compute_label(passes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Sum up the three tests of a unit.

    Parameters
    ----------
    passes : mapping of str to (U,) float array
        As `ephys.compute_passes` gives them, without NaN.

    Returns
    -------
    dict
        (U,) arrays: `label`, fraction of tests passed; `bitwise_fail`, 1 refractory period,
        2 noise cut-off, 4 amplitude, added up where failed.
    """
    failed = np.stack([passes[name] == 0 for name in LABEL_CRITERIA])
    return {"label": passes["unit_label"], "bitwise_fail": np.array([1, 2, 4]) @ failed}


def compute_relative_differences(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the differences of values as fractions of the larger absolute value.

    Parameters
    ----------
    a, b : float arrays of one shape
        NaN is a missing value.

    Returns
    -------
    float array of that shape
        From 0 to 2: 0 where both are equal or missing; 2, as for opposite numbers, where one of
        them is missing.
    """
    size = np.maximum(np.abs(a), np.abs(b))
    apart = np.abs(a - b) / np.where(size > 0, size, 1)
    missing = np.isnan(a), np.isnan(b)
    return np.where(missing[0] | missing[1], np.where(missing[0] == missing[1], 0, 2), apart)


def compute_amplitude_statistics(amplitudes: np.ndarray, counts: np.ndarray) -> dict:
    """Summarise the amplitudes of each unit.

    Parameters
    ----------
    amplitudes : (S,) float array
        Amplitudes (V), unit after unit, in any order within a unit.
    counts : (U,) int array
        Spikes of each unit.

    Returns
    -------
    dict
        (U,) arrays: `amp_min`, `amp_max` (V); `amp_median` (V), the median of decibels, hence
        the geometric mean of the middle two for an even count; `amp_std_db` (dB), sample
        standard deviation, NaN below two spikes. All are NaN without spikes or with a NaN, the
        last also with an amplitude that is not positive.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        level = _decibel(amplitudes)
        mean = reduce_units(np.add, level, counts) / counts
        squares = reduce_units(np.add, (level - np.repeat(mean, counts)) ** 2, counts)
        spread = np.sqrt(squares / np.where(counts > 1, counts - 1, np.nan))
        middle = _decibel(_middle_two(amplitudes, counts)).mean(axis=1)
    lowest = reduce_units(np.minimum, amplitudes, counts)
    return {
        "amp_min": lowest,
        "amp_max": reduce_units(np.maximum, amplitudes, counts),
        "amp_median": np.where(np.isnan(lowest), np.nan, 10 ** (middle / 20)),
        "amp_std_db": spread,
    }


def _decibel(amplitudes: np.ndarray) -> np.ndarray:
    """Take 20 log10, as precise as the amplitudes were released, to be reduced as float64."""
    return (20 * np.log10(amplitudes)).astype(float)


def _middle_two(amplitudes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Find the middle amplitudes of each unit (U, 2), the same twice for an odd count."""
    middle = np.full((len(counts), 2), np.nan, dtype=amplitudes.dtype)
    start = starts(counts)
    # A unit at a time: numpy partitions one array, and sorting all spikes takes ten times longer.
    for unit in np.flatnonzero(counts):
        n = counts[unit]
        at = [(n - 1) // 2, n // 2]
        middle[unit] = np.partition(amplitudes[start[unit] : start[unit] + n], at)[at]
    return middle


def compute_presence(
    times: np.ndarray, counts: np.ndarray, first: float, last: float, width: float
) -> dict[str, np.ndarray]:
    """Tell in how much of the recording each unit fires.

    Bins start at the first spike of any unit; there is one more than the recording fills where
    more than half of a bin is left over.

    Parameters
    ----------
    times, counts
        As in `compute_unit_metrics`.
    first, last : float
        First and last spike of any unit of the sort (s).
    width : float
        Of the bins (s).

    Returns
    -------
    dict
        (U,) arrays: `presence_ratio`, fraction of bins with a spike; `presence_ratio_std`,
        population standard deviation of the counts. Both are 0 without spikes.
    """
    n_bins = len(np.arange(first, last + width / 2, width))
    index = np.floor((times - first) / width).astype(np.int64) + unit_of(counts) * n_bins
    table = np.bincount(index, minlength=n_bins * len(counts)).reshape(-1, n_bins)
    return {
        "presence_ratio": np.count_nonzero(table, axis=1) / n_bins,
        "presence_ratio_std": table.std(axis=1),
    }


def compute_drift(depths: np.ndarray, counts: np.ndarray, seconds: float) -> np.ndarray:
    """Add up the changes of depth from spike to spike, over the recording.

    Parameters
    ----------
    depths : (S,) float array
        Depths (um), unit after unit, in order of time.
    counts : (U,) int array
        Spikes of each unit.
    seconds : float
        Duration of the recording.

    Returns
    -------
    (U,) float array
        um/h; 0 for one spike; NaN without spikes, without duration, or with a NaN between.
    """
    change = np.abs(np.diff(depths.astype(float), prepend=0))
    change[starts(counts)[counts > 0]] = 0
    return reduce_units(np.add, change, counts) / (seconds or np.nan) * 3600


def _contamination_metrics(
    times: np.ndarray, counts: np.ndarray, seconds: float, parameters: MetricParameters
) -> dict[str, np.ndarray]:
    period, duplicate = parameters.refractory_period, parameters.duplicate_interval
    return {
        "contamination": compute_contamination(times, counts, seconds, period, duplicate),
        "contamination_alt": compute_contamination_alt(times, counts, period),
    }


def compute_contamination(
    times: np.ndarray,
    counts: np.ndarray,
    seconds: float,
    refractory_period: float,
    duplicate_interval: float,
) -> np.ndarray:
    """Estimate the share of spikes of other units from intervals too short (Hill et al., 2011).

    v / (2 n (period - duplicate)) / (n / seconds), with v intervals below the period, after
    spikes within the duplicate interval of the one before are left out (n remain).

    Parameters
    ----------
    times, counts
        As in `compute_unit_metrics`.
    seconds : float
        Duration of the recording.
    refractory_period, duplicate_interval : float
        Seconds.

    Returns
    -------
    (U,) float array
        May exceed 1; 0 for one spike; NaN without spikes or duration.
    """
    kept = intervals(times, counts) > duplicate_interval
    n = add_up(kept, counts)
    violations = add_up(intervals(times[kept], n) < refractory_period, n)
    with np.errstate(invalid="ignore"):
        rate = n / (seconds or np.nan)
        return violations / (2 * n * (refractory_period - duplicate_interval)) / rate


def compute_contamination_alt(
    times: np.ndarray, counts: np.ndarray, refractory_period: float
) -> np.ndarray:
    """Estimate the share of spikes of other units as a root of x^2 - x = c.

    c = T v / (2 period n^2), with v intervals below the period and T from the unit's first to
    its last spike; of the two roots the one of smaller size, and its size.

    Returns
    -------
    (U,) float array
        0 for one spike; NaN without spikes.
    """
    interval = intervals(times, counts)
    violations = add_up(interval < refractory_period, counts)
    with np.errstate(invalid="ignore"):
        c = spans(times, counts) * violations / (2 * refractory_period * counts**2.0)
    return 2 * c / (1 + np.sqrt(1 + 4 * c))


def _amplitude_cutoffs(
    amplitudes: np.ndarray, counts: np.ndarray, parameters: MetricParameters
) -> dict[str, np.ndarray]:
    return {
        "missed_spikes_est": estimate_missed_spikes(
            amplitudes,
            counts,
            parameters.missed_spikes_per_bin,
            parameters.missed_min_bins,
            parameters.missed_smoothing,
        ),
        "noise_cutoff": compute_noise_cutoff(
            amplitudes,
            counts,
            parameters.noise_edges,
            parameters.noise_method,
            parameters.noise_top_start,
        ),
    }


def estimate_missed_spikes(
    amplitudes: np.ndarray,
    counts: np.ndarray,
    spikes_per_bin: int,
    min_bins: int,
    smoothing: float,
) -> np.ndarray:
    """Estimate the share of spikes below threshold, were the amplitudes distributed evenly.

    The histogram of amplitudes, smoothed, is cut above its peak where it is as high as at its
    lower end: what lies beyond would be missing below (Hill et al., 2011).

    Parameters
    ----------
    amplitudes, counts
        As in `compute_unit_metrics`.
    spikes_per_bin, min_bins, smoothing
        As in `MetricParameters`.

    Returns
    -------
    (U,) float array
        Fraction, at most 0.5; NaN with `spikes_per_bin` x `min_bins` spikes or fewer.
    """
    estimate = np.full(len(counts), np.nan)
    low, high = (reduce_units(extreme, amplitudes, counts) for extreme in (np.minimum, np.maximum))
    chosen = (counts > spikes_per_bin * min_bins) & np.isfinite(low) & np.isfinite(high)
    if not chosen.any():
        return estimate
    values, n = spikes_of(amplitudes, counts, chosen), counts[chosen]
    low, high = low[chosen], high[chosen]
    flat = low == high
    low, high = np.where(flat, low - 0.5, low), np.where(flat, high + 0.5, high)
    low, high = low.astype(values.dtype), high.astype(values.dtype)
    n_bins = n // spikes_per_bin
    filled, width = histograms(values, n, low, high, n_bins)
    # Density, though only ratios matter: which of two bins is nearer must not hang on rounding.
    pdf = smooth(filled / width / np.repeat(n, n_bins), n_bins, smoothing)
    at, first = np.arange(len(pdf)), np.repeat(starts(n_bins), n_bins)
    peak = np.repeat(first_minimum(-pdf, n_bins), n_bins)
    distance = np.where(at >= peak, np.abs(pdf - pdf[first]), np.inf)
    cut = np.repeat(first_minimum(distance, n_bins), n_bins)
    beyond = reduce_units(np.add, np.where(at >= cut, pdf, 0), n_bins)
    estimate[chosen] = np.minimum(beyond / reduce_units(np.add, pdf, n_bins), 0.5)
    return estimate


def compute_noise_cutoff(
    amplitudes: np.ndarray, counts: np.ndarray, n_edges: int, method: str, top_start: float
) -> np.ndarray:
    """Tell how far the low end of a histogram of amplitudes stands above its top end.

    Parameters
    ----------
    amplitudes, counts
        As in `compute_unit_metrics`; scale does not matter.
    n_edges : int
        Edges of the histogram, evenly from 0 to the largest amplitude.
    method : str
        `'filled_bins'`: the low end is the second bin with a spike; the end of the top is that
        far from the peak as there are filled bins above it, the last one left out.
        `'last_change'`, as until October 2022: only bins that differ from the next one count,
        the low end is the second of them, and the last of them is the end of the top.
    top_start : float
        Where the top starts, as a fraction of the way from peak to end.

    Returns
    -------
    (U,) float array
        (low - mean) / sd of the counts in the bins of the top; NaN below two spikes, or where
        the top is empty or even.
    """
    cutoff = np.full(len(counts), np.nan)
    low, high = (reduce_units(extreme, amplitudes, counts) for extreme in (np.minimum, np.maximum))
    chosen = (counts > 1) & (low >= 0) & (high > 0) & np.isfinite(high)
    values, n, n_bins = spikes_of(amplitudes, counts, chosen), counts[chosen], n_edges - 1
    limits = np.zeros(len(n)), high[chosen].astype(float)
    filled, _ = histograms(values, n, *limits, np.full(len(n), n_bins))
    table = filled.reshape(-1, n_bins)
    at, peak = np.arange(n_bins), table.argmax(axis=1) if len(table) else np.array([], int)
    if method == "filled_bins":
        counted = table > 0
        length = (counted & (at >= peak[:, None]))[:, :-1].sum(axis=1)
        start = np.ceil(top_start * length + peak)
    else:
        counted = np.pad(np.diff(table) != 0, ((0, 0), (0, 1)))
        length = np.where(counted, at, -1).max(axis=1) - peak
        start = np.ceil(top_start * length + peak) + 1
    top = counted & (at >= start[:, None])
    second = np.cumsum(counted, axis=1) == 2
    height = np.where(second.any(axis=1), table[np.arange(len(table)), second.argmax(axis=1)], 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(top, table, 0).sum(axis=1) / top.sum(axis=1)
        squares = np.where(top, (table - mean[:, None]) ** 2, 0).sum(axis=1)
        spread = np.sqrt(squares / top.sum(axis=1))
        known = (spread > 0) & second.any(axis=1)
        cutoff[chosen] = np.where(known, (height - mean) / spread, np.nan)
    return cutoff


def _sliding_refractory(
    times: np.ndarray, counts: np.ndarray, parameters: MetricParameters
) -> dict[str, np.ndarray]:
    sampling, contamination, confidence = (
        parameters.sliding_sampling,
        parameters.sliding_contamination,
        parameters.sliding_confidence,
    )
    if parameters.sliding_method == "counts":
        unknown = dict.fromkeys(CONFIDENCE_METRICS, np.full(len(counts), np.nan))
        passes = judge_refractory_counts(times, counts, sampling, contamination, confidence)
        return {**unknown, "sliding_rp_viol": passes}
    start = parameters.sliding_start or 0.0
    return compute_sliding_refractory(times, counts, sampling, start, contamination, confidence)
