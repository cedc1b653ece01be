"""The steering wheel: an even trace, its velocity, movements, first movement of each trial.

Source of the formulas: the International Brain Laboratory's wheel processing (`brainbox`,
`ibllib`), of which each function states how closely it agrees.
"""

from __future__ import annotations

import numpy as np
import scipy

RESOLUTIONS = (4096, 2048, 1024)
"""Counts per revolution of the encoders: 1024 lines, of which 4, 2 or 1 edges are counted."""
UNITS = {"rad": 1.0, "cm": 3.1, "deg": 180 / np.pi}
"""Units in which positions were released, per radian; cm on the surface of a wheel of 6.2 cm."""
LARGEST_STEP = 16
"""(count) Median steps above this are not those of an encoder: one edge of X1 is 4 counts of X4."""


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
    sections = scipy.signal.butter(order, corner, fs=rate, output="sos")
    usual = 3 * (order + 1)
    smooth = scipy.signal.sosfiltfilt(sections, position, padlen=min(usual, len(position) - 1))
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


def infer_resolution(position: np.ndarray) -> int:
    """Infer how many counts a revolution the encoder has, from the median step of the trace.

    Parameters
    ----------
    position : (n,) float array
        Position (rad) as recorded, a sample at each change; not interpolated.

    Returns
    -------
    int
        That of `RESOLUTIONS` whose count is closest to the median of |step|; the finest one for
        a trace without steps.
    """
    if len(position) < 2:
        return RESOLUTIONS[0]
    step = np.median(np.abs(np.diff(position)))
    return min(RESOLUTIONS, key=lambda counts: abs(2 * np.pi / counts - step))


def infer_unit(position: np.ndarray) -> str | None:
    """Infer the unit of a trace from its steps, which are whole counts of the encoder.

    The finest count is 2 pi / 4096 rad (X4); an edge of X2 and X1 is 2 and 4 of these counts. A
    radian is 3.1 cm on the wheel, so steps that are whole counts in one unit are not in the
    others. The reference (`ibllib`, `infer_wheel_units`) compares the median step with the counts
    of radians and centimetres; this function agrees wherever the steps are whole counts, and
    knows degrees.

    Parameters
    ----------
    position : (n,) float array
        Position as released, in any unit of `UNITS`.

    Returns
    -------
    str or None
        A name in `UNITS`; None where the steps fit no unit. A trace that never moves is the same
        in every unit: `rad`.
    """
    step = np.abs(np.diff(position))
    step = step[step > 0]
    if not len(step):
        return "rad"
    shares = {}
    for unit, per_radian in UNITS.items():
        counts = step / (2 * np.pi * per_radian / RESOLUTIONS[0])
        whole = np.abs(counts - np.round(counts)) < 0.05
        plausible = 0.5 < np.median(counts) < LARGEST_STEP
        shares[unit] = float((whole & (counts > 0.5)).mean()) if plausible else 0.0
    best = max(shares, key=lambda unit: shares[unit])
    return best if shares[best] > 0.5 else None


def find_moves(
    position: np.ndarray,
    rate: float,
    threshold: float,
    onset_threshold: float,
    window: float = 0.2,
    min_gap: float = 0.1,
    min_duration: float = 0.05,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the movements in an even trace.

    1. A sample moves if the position covers more than `threshold` in the window that begins
       with it. Runs of such samples are segments; those less than `min_gap` apart are one.
    2. A movement starts with the last sample of the first window of its segment that lies
       within `onset_threshold` of the segment's first sample. It ends with the first sample
       after its segment.
    3. Movements shorter than `min_duration` are dropped.

    Parameters
    ----------
    position : (n,) float array
        Position, `rate` samples a second.
    rate : float
        Hz.
    threshold, onset_threshold : float
        In the unit of the position.
    window, min_gap, min_duration : float
        s; the window is rounded to samples, and cut at the end of the trace.

    Returns
    -------
    onset, offset : (m,) int arrays
        First and last sample of each movement, ascending, onset < offset < n.

    Notes
    -----
    The reference joins movements once more in the end, which changes nothing: none starts before
    its segment. Samples agree with it but where it decides by rounding errors: it compares
    durations and gaps as differences of times, here they are numbers of samples. It also gives
    wrong onsets to all movements from a segment on that starts with sample 9799 + 9800 k, and to
    the last one if it starts with that or one of the 200 samples after it. That is not reproduced.
    """
    if len(position) == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    size = max(1, round(window * rate))
    ahead = {"size": size, "origin": -(size // 2), "mode": "nearest"}
    covered = scipy.ndimage.maximum_filter1d(position, **ahead)
    covered -= scipy.ndimage.minimum_filter1d(position, **ahead)
    edges = np.diff(covered > threshold, prepend=False).nonzero()[0]
    # The window of the last sample covers nothing, so that every segment ends.
    start, offset = _join(edges[::2], edges[1::2], min_gap * rate)
    onset = start + _last_near(position, start, size, onset_threshold)
    kept = offset - onset >= max(1, np.round(min_duration * rate, 6))
    return onset[kept], offset[kept]


def _join(start: np.ndarray, end: np.ndarray, min_gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Join intervals less than `min_gap` samples apart."""
    # Rounded: 0.07 s of 100 Hz are 7 samples, not 7.000000000000001.
    apart = start[1:] - end[:-1] >= np.round(min_gap, 6)
    first, last = np.ones(len(start), dtype=bool), np.ones(len(start), dtype=bool)
    first[1:], last[:-1] = apart, apart
    return start[first], end[last]


def _last_near(position: np.ndarray, start: np.ndarray, size: int, threshold: float) -> np.ndarray:
    """Find the last of the `size` samples from each start that is near the position there."""
    sample = start[:, None] + np.arange(size)
    there = sample < len(position)
    away = np.abs(position[np.where(there, sample, 0)] - position[start][:, None])
    near = there & (away <= threshold)
    return size - 1 - near[:, ::-1].argmax(axis=1)


def compute_peak_amplitude(
    position: np.ndarray, onset: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    """Compute how far each movement goes: its largest excursion from the onset, signed.

    Parameters
    ----------
    position : (n,) float array
        Position of the even trace.
    onset, offset : (m,) int arrays
        As `find_moves` returns them; the sample at the offset does not count.

    Returns
    -------
    (m,) float array
        In the unit of the position, + counter-clockwise; where both directions go equally far,
        that of the first. From the same samples, equal to the reference to the last bit.
    """
    sample, move = _samples(onset, offset)
    excursion = position[sample] - position[onset][move]
    return excursion[_first_largest(np.abs(excursion), move, len(onset))]


def find_peak_velocity(
    position: np.ndarray, onset: np.ndarray, offset: np.ndarray, points: int = 10, sd: float = 1.8
) -> np.ndarray:
    """Find the fastest sample of each movement, in differences smoothed by a Gaussian.

    Parameters
    ----------
    position, onset, offset
        As in `compute_peak_amplitude`.
    points : int
        Length of the Gaussian (samples); with an even one the smoothed difference is that
        half a sample earlier.
    sd : float
        Its standard deviation (samples).

    Returns
    -------
    (m,) int array
        The first where several are equally fast.

    Notes
    -----
    Samples agree with the reference but where speeds are equal to 1e-11 of the largest, as in
    a movement of constant speed, and in the first samples of a trace that does not start at 0:
    the reference takes that start for a step.
    """
    gauss = scipy.signal.windows.gaussian(points, sd)
    step = np.diff(position, prepend=position[:1])
    speed = np.abs(scipy.signal.convolve(step, gauss, mode="same", method="direct"))
    sample, move = _samples(onset, offset)
    return sample[_first_largest(speed[sample], move, len(onset))]


def _samples(onset: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """List every sample of every movement, and the movement of each."""
    length = offset - onset
    move = np.repeat(np.arange(len(onset)), length)
    return np.arange(len(move)) + (offset - np.cumsum(length))[move], move


def _first_largest(values: np.ndarray, move: np.ndarray, n_moves: int) -> np.ndarray:
    """Find the first of the largest values of each movement; each has one at least."""
    moves = np.arange(n_moves)
    largest = np.maximum.reduceat(values, np.searchsorted(move, moves))
    hits = np.flatnonzero(values == largest[move])
    return hits[np.searchsorted(move[hits], moves)]


def count_direction_changes(
    velocity: np.ndarray, onset: np.ndarray, offset: np.ndarray
) -> np.ndarray:
    """Count the samples strictly between onset and offset whose velocity has a new sign.

    Parameters
    ----------
    velocity : (n,) float array
        As `compute_velocity` returns it.
    onset, offset : (m,) int arrays
        As `find_moves` returns them.

    Returns
    -------
    (m,) int array
        Zero is a sign of its own. The filter rings before and after a fast movement, which
        counts as well. Equal to the reference.
    """
    changed = np.zeros(len(velocity) + 1, dtype=np.int64)
    changed[2:] = np.cumsum(np.diff(np.sign(velocity)) != 0)
    return changed[offset] - changed[onset + 1]


def compute_moves(
    time: np.ndarray,
    position: np.ndarray,
    *,
    moves_rate: float = 1000.0,
    moving_threshold: float = 8.0,
    onset_threshold: float = 1.5,
    moving_window: float = 0.2,
    min_move_gap: float = 0.1,
    min_move_duration: float = 0.05,
    smoothing_points: int = 10,
    smoothing_sd: float = 1.8,
    filter_corner: float = 20.0,
    filter_order: int = 8,
) -> dict[str, np.ndarray | int]:
    """Find and measure the movements in a trace as recorded.

    Parameters
    ----------
    time, position, moves_rate
        As in `interpolate`, which evens the trace out.
    moving_threshold, onset_threshold, moving_window, min_move_gap, min_move_duration : float
        As in `find_moves`; the thresholds in counts of the encoder, whose resolution is inferred.
    smoothing_points, smoothing_sd, filter_corner, filter_order
        As in `find_peak_velocity` and `compute_velocity`.

    Returns
    -------
    dict
        `encoder_resolution`, counts per revolution; (m,) arrays `move_onset`, `move_offset`,
        `peak_velocity_time` (s), `peak_amplitude` (rad), `n_direction_changes`.

    Notes
    -----
    Agrees with the reference: times to 1e-7 s and amplitudes to 1e-8 rad, which the reference
    loses by adding up rounded steps; numbers of changes are equal.
    """
    even, position_even = interpolate(time, position, moves_rate)
    resolution = infer_resolution(position)
    count = 2 * np.pi / resolution
    onset, offset = find_moves(
        position_even,
        moves_rate,
        moving_threshold * count,
        onset_threshold * count,
        moving_window,
        min_move_gap,
        min_move_duration,
    )
    peak = find_peak_velocity(position_even, onset, offset, smoothing_points, smoothing_sd)
    velocity, _ = compute_velocity(position_even, moves_rate, filter_corner, filter_order)
    return {
        "encoder_resolution": resolution,
        "move_onset": even[onset],
        "move_offset": even[offset],
        "peak_amplitude": compute_peak_amplitude(position_even, onset, offset),
        "peak_velocity_time": even[peak],
        "n_direction_changes": count_direction_changes(velocity, onset, offset),
    }


def find_first_moves(
    onset: np.ndarray,
    amplitude: np.ndarray,
    go_cue: np.ndarray,
    feedback: np.ndarray,
    quiescence: np.ndarray,
    min_amplitude: float = 0.1,
    default_quiescence: float = 0.2,
) -> np.ndarray:
    """Find the first sufficiently large movement of each trial.

    Parameters
    ----------
    onset, amplitude : (m,) float arrays
        Onsets (s), ascending, and signed peak amplitudes (rad) of the movements.
    go_cue, feedback, quiescence : (n,) float arrays
        Times of the events and length of the quiescence (s) of each trial; may be NaN.
    min_amplitude : float
        Smaller ones do not count (rad).
    default_quiescence : float
        Where the quiescence is NaN (s).

    Returns
    -------
    (n,) float array
        First onset strictly between go cue - quiescence and feedback (s); it may precede the
        stimulus. NaN where there is none, or an event is NaN. Equal to the reference.
    """
    large = onset[np.abs(amplitude) >= min_amplitude]
    since = go_cue - np.where(np.isnan(quiescence), default_quiescence, quiescence)
    # NaN sorts last, beyond every movement, and no time is before a feedback that is NaN.
    first = np.append(large, np.nan)[np.searchsorted(large, since, side="right")]
    return np.where(first < feedback, first, np.nan)
