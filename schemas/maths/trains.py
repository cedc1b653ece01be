"""Spikes of many units in one array: unit after unit, ascending in time within a unit.

`counts` (U,) says how many spikes each unit has, and so where each unit begins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy

CHUNK = 250_000
"""Spikes that are worked on at a time, in whole units: what fits into the cache of a processor."""


class Trains:
    """Spike trains of all units, end to end with a pause, so that no lag reaches across."""

    def __init__(self, times: np.ndarray, counts: np.ndarray, sampling: float, pause: float):
        samples = (times * sampling).astype(np.int64)
        length = int(np.ptp(samples)) + int(pause * sampling) + 2 if len(samples) else 0
        self.unit, self.counts = unit_of(counts), counts
        self.samples = samples + self.unit * length

    def count_lags(self, n_lags: int) -> np.ndarray:
        """Count pairs of spikes of a unit by lag in samples (U, n_lags)."""
        total = np.zeros(len(self.counts) * n_lags, dtype=np.int64)
        first, shift = np.arange(len(self.samples) - 1), 1
        # A spike whose next but k is too far has no nearer one beyond: few are left soon.
        while len(first):
            lag = self.samples[first + shift] - self.samples[first]
            near = lag < n_lags
            first, lag = first[near], lag[near]
            total += np.bincount(self.unit[first] * n_lags + lag, minlength=len(total))
            shift += 1
            first = first[: np.searchsorted(first, len(self.samples) - shift)]
        return total.reshape(-1, n_lags)

    def count_pairs(self, low: int, high: int) -> np.ndarray:
        """Count pairs of spikes of a unit with a lag from `low` to below `high` samples (U,)."""
        ends = (np.searchsorted(self.samples, self.samples + lag) for lag in (high, low))
        return add_up(np.subtract(*ends), self.counts)


def chunks(counts: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Cut units (and their spikes) into runs of at most `CHUNK` spikes, or one unit."""
    ends = np.cumsum(counts)
    unit = spike = 0
    while unit < max(len(counts), 1):
        last = max(int(np.searchsorted(ends, spike + CHUNK, side="right")), unit + 1)
        end = int(ends[last - 1]) if len(ends) else 0
        yield slice(unit, last), slice(spike, end)
        unit, spike = last, end


def starts(counts: np.ndarray) -> np.ndarray:
    """Return the index of the first spike of each unit (U,)."""
    return np.cumsum(counts) - counts


def unit_of(counts: np.ndarray) -> np.ndarray:
    """Return the index of the unit of each spike (S,)."""
    return np.repeat(np.arange(len(counts)), counts)


def spikes_of(values: np.ndarray, counts: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the values of the spikes of chosen units."""
    return values if chosen.all() else values[np.repeat(chosen, counts)]


def reduce_units(ufunc: np.ufunc, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Reduce the values of each unit; NaN without any."""
    reduced = np.full(len(counts), np.nan)
    filled = counts > 0
    if filled.any():
        reduced[filled] = ufunc.reduceat(values, starts(counts)[filled])
    return reduced


def add_up(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Add up flags or integers of each unit; 0 without any."""
    total = np.zeros(len(counts), dtype=np.int64)
    filled = counts > 0
    if filled.any():
        total[filled] = np.add.reduceat(values, starts(counts)[filled], dtype=np.int64)
    return total


def intervals(times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Time since the unit's spike before (S,); infinite for its first."""
    interval = np.diff(times, prepend=-np.inf)
    interval[starts(counts)[counts > 0]] = np.inf
    return interval


def spans(times: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Time from the first to the last spike of each unit (s); NaN without spikes."""
    spans = np.full(len(counts), np.nan)
    filled = counts > 0
    start = starts(counts)[filled]
    spans[filled] = times[start + counts[filled] - 1] - times[start]
    return spans


def histograms(
    values: np.ndarray, counts: np.ndarray, low: np.ndarray, high: np.ndarray, n_bins: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count the values of each unit in bins of its own, exactly as numpy.histogram.

    Edges are those of numpy.linspace, to the bit; all values lie between `low` and `high`.

    Returns
    -------
    filled, width : (sum of n_bins,) int and float arrays
        Values in each bin and its width, bins unit after unit.
    """
    step = ((high - low) / n_bins).astype(low.dtype)
    of_value = [np.repeat(each, counts) for each in (low, step, n_bins)]
    index = np.minimum(((values - of_value[0]) / of_value[1]).astype(np.int64), of_value[2] - 1)
    index -= values < index.astype(low.dtype) * of_value[1] + of_value[0]
    above = (index + 1).astype(low.dtype) * of_value[1] + of_value[0]
    index += (values >= above) & (index < of_value[2] - 1)
    start = starts(n_bins)
    filled = np.bincount(index + np.repeat(start, counts), minlength=int(n_bins.sum()))
    at = np.arange(len(filled)) - np.repeat(start, n_bins)
    of_bin = [np.repeat(each, n_bins) for each in (low, step)]
    left = at.astype(low.dtype) * of_bin[1] + of_bin[0]
    right = (at + 1).astype(low.dtype) * of_bin[1] + of_bin[0]
    right[start + n_bins - 1] = high
    return filled, (right - left).astype(float)


def smooth(values: np.ndarray, lengths: np.ndarray, sd: float) -> np.ndarray:
    """Smooth runs of values with a Gaussian, each reflected at its ends, in one convolution."""
    margin = int(4 * sd + 0.5)
    padded = lengths + 2 * margin
    at = np.arange(padded.sum()) - np.repeat(starts(padded) + margin, padded)
    length = np.repeat(lengths, padded)
    mirrored = at % (2 * length)
    mirrored = np.minimum(mirrored, 2 * length - 1 - mirrored)
    extended = values[mirrored + np.repeat(starts(lengths), padded)]
    return scipy.ndimage.gaussian_filter1d(extended, sd, truncate=4.0)[(at >= 0) & (at < length)]


def first_minimum(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Position of the first minimum of each run of values."""
    least = np.repeat(np.minimum.reduceat(values, starts(lengths)), lengths)
    at = np.where(values == least, np.arange(len(values)), len(values))
    return np.minimum.reduceat(at, starts(lengths))
