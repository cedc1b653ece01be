"""Shapes of waveforms on values worked out by hand, and against loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import waveform as maths

NAN = float("nan")


def shape(*samples, sampling=1000.0):
    """Of one waveform: a sample lasts a millisecond."""
    found = maths.compute_shapes(np.array([samples], dtype=float), sampling)
    return {name: values[0] for name, values in found.items()}


def test_a_trough_and_its_peak():
    found = shape(0, 0, -4, -8, -4, 0, 2, 4, 2, 0)
    assert found["peak_to_trough"] == 4
    assert found["ratio"] == 0.5
    assert found["half_width"] == 2  # exactly at half height one sample before and after
    assert found["height"] == 12


def test_half_heights_between_samples():
    # From -2 to -10 it is -5 after 3/8 of a sample, from -10 to -4 after 5/6.
    samples, expected = (0, -2, -10, -4, 0, 1), (2 + 5 / 6) - (1 + 3 / 8)
    assert shape(*samples)["half_width"] == pytest.approx(expected)
    assert shape(*samples, sampling=30_000)["half_width"] == pytest.approx(expected / 30)


def test_a_peak_that_comes_first_or_is_larger():
    found = shape(0, 1, 5, 1, -3, -1, 0)
    assert found["peak_to_trough"] == -2
    assert found["ratio"] == pytest.approx(5 / 3)
    # The peak is the larger deflection: above 2.5 from 1 + 1.5/4 to 2 + 2.5/4.
    assert found["half_width"] == pytest.approx(1.25)


def test_waveforms_without_a_shape():
    for samples in ([0, 0, 0], [3, 3, 3], [0, NAN, -1], [NAN] * 3):
        assert all(np.isnan(value) for value in shape(*samples).values()), samples
    cut = shape(-10, -8, 0, 2)  # the trough begins before the waveform does
    assert np.isnan(cut["half_width"])
    assert (cut["peak_to_trough"], cut["ratio"]) == (3, 0.2)
    ends = shape(0, 2, -1, -8, -10)
    assert np.isnan(ends["half_width"])
    assert np.isnan(shape(0, 1, 4, 2)["ratio"])  # nothing is below 0
    for n, samples in ((0, 5), (3, 0)):
        found = maths.compute_shapes(np.empty((n, samples)), 1000.0)
        assert all(values.shape == (n,) and np.isnan(values).all() for values in found.values())


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(st.integers(-5, 5), min_size=6, max_size=6), min_size=1, max_size=5))
def test_many_at_once_are_as_one_by_one(waveforms):
    found = maths.compute_shapes(np.array(waveforms, dtype=np.float32), 1000.0)
    for unit, samples in enumerate(waveforms):
        for name, expected in loop(samples).items():
            assert found[name][unit] == pytest.approx(expected, nan_ok=True), name


def loop(samples):
    """Measure a waveform sample by sample."""
    high, low = max(samples), min(samples)
    if high == low:
        return dict.fromkeys(("peak_to_trough", "ratio", "half_width", "height"), NAN)
    main = max(range(len(samples)), key=lambda k: abs(samples[k]))
    upright = [s * (1 if samples[main] > 0 else -1) for s in samples]
    level, ends = upright[main] / 2, []
    for step in (-1, 1):
        k = main
        while 0 <= k < len(samples) and upright[k] > level:
            k += step
        if not 0 <= k < len(samples):
            ends.append(NAN)
            continue
        inner = k - step
        part = (upright[inner] - level) / (upright[inner] - upright[k])
        ends.append(inner + step * part)
    return {
        "peak_to_trough": samples.index(high) - samples.index(low),
        "ratio": high / -low if low < 0 else NAN,
        "half_width": ends[1] - ends[0],
        "height": high - low,
    }


# --- channels -----------------------------------------------------------------------------------


def test_the_channel_is_that_of_the_largest_waveform():
    waveforms = np.zeros((5, 4, 3))
    waveforms[0, :, 1] = [0, -3, 1, 0]
    waveforms[0, :, 2] = [0, -3, 0.5, 0]
    waveforms[1, :, 0] = [0, -9, 0, 0]  # on no channel
    waveforms[1, :, 2] = [0, -2, 0, 0]
    waveforms[2, :, 0] = [0, NAN, -9, 0]
    waveforms[2, :, 1] = [0, -1, 1, 0]
    waveforms[3] = NAN
    channels = np.array([[5, 6, 7], [-1, 6, 7], [5, 6, 7], [5, 6, 7], [5, 6, 7]])
    assert maths.pick_channels(waveforms, channels).tolist() == [1, 2, 1, -1, -1]
    assert maths.pick_channels(np.empty((0, 4, 3)), np.empty((0, 3), int)).tolist() == []
    assert maths.pick_channels(np.empty((2, 4, 0)), np.empty((2, 0), int)).tolist() == [-1, -1]
