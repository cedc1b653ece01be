"""The steering wheel: an even trace, its velocity, movements, first movement of each trial.

Source of the formulas: the International Brain Laboratory's wheel processing (`brainbox`,
`ibllib`), of which each function states how closely it agrees.
"""

from __future__ import annotations

import numpy as np
from scipy import signal

RESOLUTIONS = (4096, 2048, 1024)
"""Counts a revolution of the encoders in use: 1024 lines, of which 4, 2 or 1 edges are counted."""


def interpolate(
    time: np.ndarray, position: np.ndarray, rate: float = 1000.0
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate a trace linearly to even samples.

    Parameters
    ----------
    time : (n,) float array
        Times (s), ascending; equal neighbours are allowed.
    position : (n,) float array
        Position at each time (rad).
    rate : float
        Samples a second (Hz).

    Returns
    -------
    time, position : (m,) float arrays
        Samples at first + k / `rate` before the last time; none from fewer than two samples.

    Raises
    ------
    ValueError
        Lengths differ, a value is not finite, or times are not ascending.

    Notes
    -----
    Times agree with the reference to 1e-7 s, which it loses by adding up rounded steps.
    """
    _check(time, position)
    if len(time) == 0:
        return np.empty(0), np.empty(0)
    even = time[0] + np.arange(np.ceil((time[-1] - time[0]) * rate)) / rate
    return even, np.interp(even, time, position)


def _check(time: np.ndarray, position: np.ndarray) -> None:
    if len(time) != len(position):
        raise ValueError(f"There are {len(time)} times and {len(position)} positions.")
    for name, values in (("time", time), ("position", position)):
        if not np.isfinite(values).all():
            first = int(np.argmin(np.isfinite(values)))
            raise ValueError(f"The {name} of sample {first} is {values[first]}: leave it out.")
    back = np.diff(time) < 0
    if back.any():
        first = int(np.argmax(back)) + 1
        raise ValueError(
            f"Times must ascend, but sample {first} is at {time[first]} s, after one at "
            f"{time[first - 1]} s: sort the samples by time."
        )


def compute_velocity(
    position: np.ndarray, rate: float, corner: float = 20.0, order: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Compute velocity and acceleration of an even trace, low-passed without phase shift.

    Position is filtered forwards and backwards by a Butterworth filter (so that the corner is
    damped twice, by 6 dB); velocity is its difference between samples, times the rate, and
    acceleration that of velocity. Both are those of the step that ends at the sample: half a
    sample late, and a whole one for acceleration.

    Parameters
    ----------
    position : (n,) float array
        Position (rad), `rate` samples a second.
    rate : float
        Hz.
    corner : float
        Corner frequency of the filter (Hz), below `rate` / 2.
    order : int
        Order of the filter.

    Returns
    -------
    velocity : (n,) float array
        rad/s, 0 in the first sample.
    acceleration : (n,) float array
        rad/s2, 0 in the first sample.

    Notes
    -----
    A trace that is shorter than the filter's usual padding (27 samples for order 8) is padded by
    less; the reference refuses it. Otherwise equal to the reference to the last bit.
    """
    if len(position) == 0:
        return np.empty(0), np.empty(0)
    sections = signal.butter(order, corner, fs=rate, output="sos")
    usual = 3 * (order + 1)
    smooth = signal.sosfiltfilt(sections, position, padlen=min(usual, len(position) - 1))
    velocity = np.diff(smooth, prepend=smooth[0]) * rate
    return velocity, np.diff(velocity, prepend=velocity[0]) * rate


def preprocess(
    time: np.ndarray,
    position: np.ndarray,
    rate: float = 1000.0,
    corner: float = 20.0,
    order: int = 8,
) -> dict[str, np.ndarray]:
    """Make a trace even, and compute its velocity and acceleration.

    Parameters
    ----------
    time, position, rate
        As in `interpolate`: the trace as recorded.
    corner, order
        As in `compute_velocity`.

    Returns
    -------
    dict
        (m,) float arrays: `time` (s), `position` (rad, interpolated and not filtered),
        `velocity` (rad/s), `acceleration` (rad/s2).
    """
    even, interpolated = interpolate(time, position, rate)
    velocity, acceleration = compute_velocity(interpolated, rate, corner, order)
    return {
        "time": even,
        "position": interpolated,
        "velocity": velocity,
        "acceleration": acceleration,
    }
