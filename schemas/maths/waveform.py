"""Shapes of the mean waveforms of units: width, ratio of peak and trough, half width."""

from __future__ import annotations

import numpy as np


def pick_channels(waveforms: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Find the channel of each unit with the largest difference of its peak and its trough.

    Parameters
    ----------
    waveforms : (U, T, C) float array
        Waveforms (V) of each unit on some channels; NaN or 0 where there is none.
    channels : (U, C) int array
        Which channels these are; below 0 where there is none.

    Returns
    -------
    (U,) int array
        Place of the channel among the C, the first if several have the largest difference; -1 for a
        unit whose waveform is flat, or not a number, on every channel.
    """
    if not waveforms.size:
        return np.full(len(waveforms), -1)
    # The difference is NaN where one sample is.
    height = waveforms.max(axis=1) - waveforms.min(axis=1)
    height = np.where((channels >= 0) & (height > 0), height, 0)
    return np.where(height.max(axis=1) > 0, height.argmax(axis=1), -1)


def compute_shapes(waveforms: np.ndarray, sampling: float) -> dict[str, np.ndarray]:
    """Measure the waveform of each unit.

    Parameters
    ----------
    waveforms : (U, T) float array
        Waveform of each unit on one channel (V).
    sampling : float
        Samples per second (Hz).

    Returns
    -------
    dict
        (U,) arrays, NaN for a waveform that is flat or not a number: `peak_to_trough` (ms), the
        time of the highest sample after that of the lowest, negative if the highest comes first, as
        phylib computes `clusters.peakToTrough`; `ratio`, the highest sample over the depth of the
        lowest, NaN where none is below 0; `half_width` (ms), how long the larger of both is beyond
        half of its height, by lines between samples, NaN where the waveform begins or ends before;
        `height` (V), from the lowest to the highest sample.
    """
    n_units = len(waveforms)
    if not waveforms.size:
        empty = ("peak_to_trough", "ratio", "half_width", "height")
        return {name: np.full(n_units, np.nan) for name in empty}
    values = waveforms.astype(float)
    high, low = values.max(axis=1), values.min(axis=1)
    with_shape = high > low  # not so where one is NaN
    values = np.where(with_shape[:, None], values, 0.0)
    width = (values.argmax(axis=1) - values.argmin(axis=1)) / sampling * 1e3
    ratio = np.divide(high, -low, out=np.full(n_units, np.nan), where=with_shape & (low < 0))
    found = {
        "peak_to_trough": width,
        "ratio": ratio,
        "half_width": _half_widths(values) / sampling * 1e3,
        "height": high - low,
    }
    return {name: np.where(with_shape, each, np.nan) for name, each in found.items()}


def _half_widths(values: np.ndarray) -> np.ndarray:
    """Return for how many samples the largest deflection is beyond half of its height (U,)."""
    n_units, n_samples = values.shape
    unit, sample = np.arange(n_units), np.arange(n_samples)
    main = np.abs(values).argmax(axis=1)
    upright = values * np.sign(values[unit, main])[:, None]
    level = upright[unit, main] / 2
    below = upright <= level[:, None]
    before = np.where(below & (sample < main[:, None]), sample, -1).max(axis=1)
    after = np.where(below & (sample > main[:, None]), sample, n_samples).min(axis=1)
    is_whole = (before >= 0) & (after < n_samples)
    first = _crossing(upright, level, np.clip(before, 0, n_samples - 2))
    last = _crossing(upright, level, np.clip(after, 1, n_samples - 1) - 1)
    return np.where(is_whole, last - first, np.nan)


def _crossing(values: np.ndarray, level: np.ndarray, sample: np.ndarray) -> np.ndarray:
    """Return where the line from a sample to the next one crosses a level, in samples (U,)."""
    unit = np.arange(len(values))
    here, there = values[unit, sample], values[unit, np.minimum(sample + 1, values.shape[1] - 1)]
    step = there - here
    part = np.divide(level - here, step, out=np.zeros(len(values)), where=step != 0)
    return sample + part
