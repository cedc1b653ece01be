"""Traces of the wheel whose velocity and movements are known: by hand, or by trying each sample."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.maths import wheel as maths

NAN = float("nan")
RATE = 1000.0
quick = settings(max_examples=150, deadline=None)


# The even trace


def test_an_even_trace_manually():
    time, position = maths.interpolate(np.array([1.0, 1.5, 1.75]), np.array([0.0, 4, 2]), 8.0)
    assert time.tolist() == [1, 1.125, 1.25, 1.375, 1.5, 1.625]  # 1.75 is the end, not a sample
    assert position.tolist() == [0, 1, 2, 3, 4, 3]


def test_the_last_sample_is_before_the_last_time():
    time, position = maths.interpolate(np.array([0.0, 0.3]), np.array([0.0, 3]), 8.0)
    assert time.tolist() == [0, 0.125, 0.25]
    np.testing.assert_allclose(position, [0, 1.25, 2.5])


def test_two_samples_at_one_time_are_a_step():
    time, position = maths.interpolate(np.array([0.0, 0.5, 0.5, 1]), np.array([0.0, 0, 9, 9]), 8.0)
    assert position[time < 0.5].tolist() == [0] * 4
    assert position[time > 0.5].tolist() == [9] * 3


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_samples_are_no_trace(n):
    made = maths.preprocess(np.full(n, 3.0), np.full(n, 1.0))
    assert {name: len(values) for name, values in made.items()} == {
        "time": 0,
        "position": 0,
        "velocity": 0,
        "acceleration": 0,
    }
    moves = maths.compute_moves(np.full(n, 3.0), np.full(n, 1.0))
    assert moves.pop("encoder_resolution") == 4096
    assert all(len(values) == 0 for values in moves.values())


@pytest.mark.parametrize(
    ("time", "position", "says"),
    [
        ([0.0, 2, 1, 3], [0.0, 1, 2, 3], "sample 2 is at 1.0 s, after one at 2.0 s"),
        ([0.0, NAN, 1, 3], [0.0, 1, 2, 3], "time of sample 1 is nan"),
        ([0.0, 1, 2, 3], [0.0, 1, 2, NAN], "position of sample 3 is nan"),
        ([0.0, 1, 2, np.inf], [0.0, 1, 2, 3], "time of sample 3 is inf"),
        ([0.0, 1, 2], [0.0, 1], "3 times and 2 positions"),
    ],
)
def test_a_trace_that_is_none_is_refused(time, position, says):
    for function in (maths.interpolate, maths.preprocess, maths.compute_moves):
        with pytest.raises(ValueError, match=says):
            function(np.array(time), np.array(position))


# Velocity and acceleration


@pytest.mark.parametrize("slope", [-3.0, 0.0, 0.5])
def test_a_ramp_has_its_slope(slope):
    t = np.arange(4000) / RATE
    velocity, acceleration = maths.compute_velocity(7 + slope * t, RATE)
    assert velocity[0] == acceleration[0] == 0
    np.testing.assert_allclose(velocity[1000:3000], slope, atol=1e-9)
    np.testing.assert_allclose(acceleration[1000:3000], 0, atol=1e-6)


@pytest.mark.parametrize("rate", [500.0, 1000.0])
@pytest.mark.parametrize(("corner", "order"), [(20.0, 8), (10.0, 3)])
@pytest.mark.parametrize("frequency", [1.0, 5.0, 10.0, 20.0, 25.0])
def test_a_sine_keeps_its_phase_and_is_damped_as_by_the_formula(frequency, corner, order, rate):
    t = np.arange(int(8 * rate)) / rate
    velocity, acceleration = maths.compute_velocity(
        0.3 * np.sin(2 * np.pi * frequency * t), rate, corner, order
    )
    # A Butterworth filter after the bilinear transform; run twice, so its gain is squared.
    ratio = np.tan(np.pi * frequency / rate) / np.tan(np.pi * corner / rate)
    gain = 1 / (1 + ratio ** (2 * order))
    # A difference of two samples, at the middle between them.
    slope = 2 * rate * np.sin(np.pi * frequency / rate)
    phase = 2 * np.pi * frequency * t - np.pi * frequency / rate
    middle = slice(int(3 * rate), int(5 * rate))
    np.testing.assert_allclose(
        velocity[middle], (0.3 * gain * slope * np.cos(phase))[middle], atol=1e-7
    )
    expected = -0.3 * gain * slope**2 * np.sin(phase - np.pi * frequency / rate)
    np.testing.assert_allclose(acceleration[middle], expected[middle], atol=1e-4)


def test_the_corner_is_damped_by_half():
    t = np.arange(8000) / RATE
    velocity, _ = maths.compute_velocity(np.sin(2 * np.pi * 20 * t), RATE)
    assert np.abs(velocity[3000:5000]).max() == pytest.approx(np.pi * 20, rel=1e-2)


def test_a_step_is_fastest_where_it_is_and_as_fast_before_as_after():
    position = np.zeros(4000)
    position[2000:] = 0.28
    velocity, _ = maths.compute_velocity(position, RATE)
    assert np.argmax(velocity) == 2000
    np.testing.assert_allclose(velocity[2001:2500], velocity[1999:1500:-1], atol=1e-9)
    assert velocity.sum() / RATE == pytest.approx(0.28)


@pytest.mark.parametrize("n", [1, 2, 27, 28])
def test_a_trace_shorter_than_the_filter_has_a_velocity(n):
    velocity, acceleration = maths.compute_velocity(np.full(n, 2.0), RATE)
    np.testing.assert_allclose(velocity, np.zeros(n), atol=1e-9)
    np.testing.assert_allclose(acceleration, np.zeros(n), atol=1e-6)


def test_preprocessing_filters_the_velocity_and_not_the_position():
    time, position = np.array([0.0, 1, 1, 2]), np.array([0.0, 0, 1, 1])
    made = maths.preprocess(time, position, rate=100.0)
    assert set(made["position"]) <= {0.0, 1.0}
    velocity, acceleration = maths.compute_velocity(made["position"], 100.0)
    assert np.array_equal(made["velocity"], velocity)
    assert np.array_equal(made["acceleration"], acceleration)


# Encoder


@pytest.mark.parametrize("counts", [4096, 2048, 1024])
def test_the_resolution_is_that_of_the_median_step(counts):
    steps = np.array([1, 1, -1, 1, 1, -1, -1, 1, 30, 1.0])
    assert maths.infer_resolution(np.cumsum(steps) * 2 * np.pi / counts) == counts


def test_a_wheel_that_stands_still_has_the_finest_encoder():
    assert maths.infer_resolution(np.full(10, 0.3)) == 4096


# Movements: a ramp of one count a sample, from sample 1000 on, in a trace at 1 kHz.
# A window of 200 samples first covers more than 8 counts where it ends with sample 1009, so the
# segment starts with sample 810; up to sample 1001 the ramp is within 1.5 counts.


def ramps(*pieces):
    """Trace that rises by each piece (n, +1 or -1) and rests between: n > 0 is a rest."""
    return np.cumsum(np.concatenate([np.full(n, float(slope)) for n, slope in pieces]))


def find(position, rate=RATE, **changes):
    onset, offset = maths.find_moves(position, rate, 8.0, 1.5, **changes)
    return list(zip(onset.tolist(), offset.tolist(), strict=True))


def test_a_ramp_manually():
    position = ramps((1001, 0), (100, 1), (1000, 0))
    assert position[1000] == 0
    assert position[1100] == 100
    # At sample 1092, 8 counts are left.
    assert find(position) == [(1001, 1092)]
    assert find(-position) == [(1001, 1092)]
    onset, offset = np.array([1001]), np.array([1092])
    assert maths.compute_peak_amplitude(position, onset, offset) == 90
    assert maths.compute_peak_amplitude(-position, onset, offset) == -90


@pytest.mark.parametrize(("counts", "found"), [(8, []), (58, []), (59, [(1001, 1051)])])
def test_a_movement_has_a_least_duration(counts, found):
    assert find(ramps((1001, 0), (counts, 1), (1000, 0))) == found


@pytest.mark.parametrize(("counts", "found"), [(8, []), (9, [(1000, 1001)])])
def test_as_many_counts_as_the_threshold_are_no_movement(counts, found):
    position = ramps((1001, 0), (counts, 1), (1000, 0))
    onset, offset = maths.find_moves(position, RATE, 8.0, 0.5, min_duration=0)
    assert list(zip(onset.tolist(), offset.tolist(), strict=True)) == found


@pytest.mark.parametrize("direction", [1, -1])
def test_movements_with_little_between_them_are_one(direction):
    # The second segment starts 190 samples before its ramp, the first ends 8 before the rest:
    # of a rest of g samples, g - 182 are between segments.
    def both(rest):
        return ramps((1001, 0), (100, 1), (rest, 0), (100, direction), (1000, 0))

    assert find(both(281)) == [(1001, 1092 + 381)]
    assert find(both(282)) == [(1001, 1092), (1001 + 382, 1092 + 382)]


def test_a_constant_trace_has_no_movement():
    assert find(np.full(5000, 3.0)) == []


def test_a_sudden_step_is_too_short_for_a_movement():
    position = np.zeros(3000)
    position[1500:] = 50
    assert find(position) == []
    assert find(position, min_duration=0) == [(1499, 1500)]


def test_a_trace_may_start_and_end_in_a_movement():
    position = np.arange(500.0)
    assert find(position) == [(1, 491)]  # within 1.5 counts of the first; 8 are left at 491
    assert find(position[:5]) == []
    assert find(position[:1]) == []
    assert find(position[:0]) == []


def test_an_onset_lies_within_the_trace():
    position = np.zeros(300)
    position[-20:] = np.arange(1, 21)
    assert find(position, min_duration=0) == [(280, 291)]
    assert find(position[150:], min_duration=0) == [(130, 141)]  # its window is cut at the end
    assert find(np.append(position[150:], 0.0), min_duration=0) == []  # back within 0.2 s


@pytest.mark.parametrize(("rate", "seconds"), [(30.0, 0.1), (100.0, 0.07), (1000.0, 0.05)])
def test_durations_and_gaps_are_whole_samples_at_any_rate(rate, seconds):
    # 0.07 s are 7 samples of 100 Hz, though 0.07 * 100 is a little more.
    n = round(seconds * rate)
    window = 1.5 / rate  # of two samples: one of them moves for each step
    lasts = np.cumsum(np.repeat([0.0, 20, 0], [1000, n, 1000]))
    assert find(lasts, rate, window=window, min_duration=seconds) == [(999, 999 + n)]
    assert find(lasts[1:-n], rate, window=window, min_duration=seconds + 1 / rate) == []
    rests = np.cumsum(np.repeat([0.0, 20, 0, 20, 0], [1000, 100, n, 100, 1000]))
    assert len(find(rests, rate, window=window, min_gap=seconds, min_duration=0)) == 2
    assert len(find(rests, rate, window=window, min_gap=seconds + 1 / rate, min_duration=0)) == 1


def moves_one_by_one(position, rate, threshold, onset_threshold, window, min_gap, min_duration):
    """The definition in plain words, sample after sample, in whole samples."""
    n, size = len(position), max(1, round(window * rate))
    moving = [
        max(position[i : i + size]) - min(position[i : i + size]) > threshold for i in range(n)
    ]
    gap, least = round(min_gap * rate), max(1, round(min_duration * rate))

    def join(intervals):
        joined = []
        for first, last in intervals:
            if joined and first - joined[-1][1] < gap:
                joined[-1] = (joined[-1][0], last)
            else:
                joined.append((first, last))
        return joined

    segments, i = [], 0
    while i < n:
        if moving[i]:
            j = i
            while moving[j]:
                j += 1
            segments.append((i, j))
            i = j
        i += 1
    found = []
    for first, last in join(segments):
        near = [
            k
            for k in range(first, min(first + size, n))
            if abs(position[k] - position[first]) <= onset_threshold
        ]
        if last - near[-1] >= least:
            found.append((near[-1], last))
    return join(found)  # changes nothing: an onset is never before its segment


# Whole counts, so that comparisons with the thresholds are exact: pieces of a speed and a length.
pieces = st.lists(
    st.tuples(st.integers(1, 40), st.sampled_from([0, 0, 0, 1, -1, 2, -3, 20])), max_size=14
)


@quick
@given(
    pieces,
    st.sampled_from([1.0, 4.0, 8.0]),
    st.sampled_from([0.5, 1.5, 3.0]),
    st.sampled_from([0.01, 0.1, 0.2]),
    st.sampled_from([0.0, 0.05, 0.1]),
    st.sampled_from([0.0, 0.05, 0.12]),
)
@example([(30, 0), (30, 1), (32, 0), (30, 1), (30, 0)], 8.0, 1.5, 0.2, 0.1, 0.05)
@example([(30, 0), (30, 1), (36, 0), (30, -1), (30, 0)], 8.0, 1.5, 0.2, 0.1, 0.05)
@example([(30, 0), (30, 1), (12, 0), (2, 20), (12, 0), (30, 1)], 8.0, 1.5, 0.1, 0.05, 0.05)
def test_movements_are_those_of_the_definition(
    drawn, threshold, onset_threshold, window, min_gap, min_duration
):
    position = ramps(*drawn) if drawn else np.empty(0)
    rule = (100.0, threshold, onset_threshold, window, min_gap, min_duration)
    onset, offset = maths.find_moves(position, *rule)
    assert list(zip(onset, offset, strict=True)) == moves_one_by_one(position.tolist(), *rule)


def test_movements_of_random_walks_are_those_of_the_definition():
    rng = np.random.default_rng(5)
    rule = (100.0, 8.0, 1.5, 0.2, 0.1, 0.05)
    n_found = 0
    for _ in range(20):
        speed = np.repeat(rng.integers(-2, 3, 60), rng.integers(1, 60, 60))
        position = np.cumsum(speed * (rng.random(len(speed)) < 0.6)).astype(float)
        onset, offset = maths.find_moves(position, *rule)
        expected = moves_one_by_one(position.tolist(), *rule)
        assert list(zip(onset, offset, strict=True)) == expected
        assert (onset < offset).all()
        assert (onset[1:] - offset[:-1] >= 10).all()
        n_found += len(onset)
    assert n_found > 100


# What a movement is measured by


def test_amplitude_and_fastest_sample_are_those_of_each_movement_alone():
    rng = np.random.default_rng(2)
    position = np.cumsum(rng.normal(size=900))
    limits = np.sort(rng.choice(np.arange(10, 890), 60, replace=False))
    onset, offset = limits[::2], limits[1::2]
    amplitude = maths.compute_peak_amplitude(position, onset, offset)
    fastest = maths.find_peak_velocity(position, onset, offset, points=6, sd=1.5)
    weights = np.exp(-0.5 * ((np.arange(6) - 2.5) / 1.5) ** 2)
    for i, (first, last) in enumerate(zip(onset, offset, strict=True)):
        away = [position[k] - position[first] for k in range(first, last)]
        assert amplitude[i] == max(away, key=abs)
        # The steps into the 6 samples from 3 before on to 2 behind.
        speed = {
            k: abs(
                sum(
                    w * (position[j] - position[j - 1])
                    for j, w in zip(range(k - 3, k + 3), weights, strict=True)
                )
            )
            for k in range(first, last)
        }
        assert fastest[i] == max(speed, key=speed.get)


def test_an_amplitude_has_the_sign_of_the_direction_that_went_farther():
    position = np.array([0.0, 5, 2, -3, -7, 0, 4, 4])
    whole = np.array([0]), np.array([7])
    assert maths.compute_peak_amplitude(position, *whole) == -7
    assert maths.compute_peak_amplitude(position + 100, *whole) == -7
    assert maths.compute_peak_amplitude(-position, *whole) == 7
    # Equally far: the first. The offset is no sample of the movement.
    equal = np.array([0.0, 5, -5, -9])
    assert maths.compute_peak_amplitude(equal, np.array([0]), np.array([3])) == 5
    assert maths.compute_peak_amplitude(-equal, np.array([0]), np.array([3])) == -5


def test_a_smooth_movement_is_fastest_in_its_middle():
    x = np.linspace(0, 1, 301)
    position = np.concatenate([np.zeros(500), 3 * x**2 - 2 * x**3, np.ones(500)])
    (fastest,) = maths.find_peak_velocity(position, np.array([500]), np.array([800]))
    assert fastest in (650, 651)  # the step from 650 to 651 is in the middle


def test_where_a_trace_starts_is_no_step():
    still_then_slow = 100 + np.concatenate([np.zeros(20), np.linspace(0, 1, 50)])
    (fastest,) = maths.find_peak_velocity(still_then_slow, np.array([0]), np.array([60]))
    assert fastest > 20


def test_no_movement_has_no_measure():
    none = np.empty(0, dtype=int)
    position = np.arange(20.0)
    assert len(maths.compute_peak_amplitude(position, none, none)) == 0
    assert len(maths.find_peak_velocity(position, none, none)) == 0
    assert len(maths.count_direction_changes(position, none, none)) == 0


@pytest.mark.parametrize(
    ("onset", "offset", "changes"),
    [
        (0, 9, 3),  # new signs at 3, 5 and 7
        (3, 9, 2),  # strictly after the onset
        (2, 9, 3),
        (0, 7, 2),  # strictly before the offset
        (0, 8, 3),
        (5, 7, 0),
        (5, 6, 0),
    ],
)
def test_changes_of_direction_manually(onset, offset, changes):
    velocity = np.array([1, 2.0, 1, -1, -2, 3, 1, -1, -1, -1])
    assert maths.count_direction_changes(velocity, np.array([onset]), np.array([offset])) == changes
    assert (
        maths.count_direction_changes(-velocity, np.array([onset]), np.array([offset])) == changes
    )


def test_zero_is_a_sign_of_its_own():
    velocity = np.array([1.0, 1, 0, -1, -1])
    assert maths.count_direction_changes(velocity, np.array([0]), np.array([4])) == 2


def test_a_sine_turns_twice_a_period():
    t = np.arange(5000) / RATE
    velocity, _ = maths.compute_velocity(np.sin(2 * np.pi * t), RATE)
    # The position turns at 0.25 s and each half second from there: 8 times from 0.5 to 4.5 s.
    assert maths.count_direction_changes(velocity, np.array([500]), np.array([4500])) == 8


# From the trace as recorded


def recorded(counts=4096, start=0.5):
    """Encoder that steps every 2 ms from 2.0 to 2.2 s, and back from 4.0 to 4.2 s.

    A little later, so that no comparison hangs on how times are rounded.
    """
    rise = np.arange(1, 101)
    time = start + np.concatenate([[0], 2.0004 + 0.002 * rise, 4.0003 + 0.002 * rise, [6]])
    position = np.concatenate([[0], rise, 100 - rise, [0]])
    return time, position * 2 * np.pi / counts


@pytest.mark.parametrize("counts", [4096, 2048, 1024])
def test_thresholds_are_in_counts_of_the_encoder(counts):
    moves = maths.compute_moves(*recorded(counts))
    assert moves["encoder_resolution"] == counts
    # 8 counts are left 16 ms before the end, and the first ones are passed within 5 ms.
    np.testing.assert_allclose(moves["move_onset"], [2.5 + 0.003, 4.5 + 0.003], atol=0.003)
    np.testing.assert_allclose(moves["move_offset"], [2.7 - 0.016, 4.7 - 0.016], atol=0.0011)
    reached = moves["peak_amplitude"] * counts / (2 * np.pi)
    np.testing.assert_allclose(reached, [90.5, -90.5], atol=1.5)
    assert (moves["peak_velocity_time"] >= moves["move_onset"]).all()
    assert (moves["peak_velocity_time"] < moves["move_offset"]).all()


@pytest.mark.parametrize("sign", [1, -1])
def test_neither_origin_nor_direction_changes_when_a_wheel_moves(sign):
    time, position = recorded()
    expected = maths.compute_moves(time, position)
    found = maths.compute_moves(time + 1024, 5 + sign * position)
    for name in ("move_onset", "move_offset"):
        np.testing.assert_allclose(found[name], expected[name] + 1024, atol=1e-9)
    np.testing.assert_allclose(found["peak_amplitude"], sign * expected["peak_amplitude"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("moves_rate", 500.0),
        ("moving_threshold", 20.0),
        ("onset_threshold", 4.0),
        ("moving_window", 0.1),
        ("min_move_gap", 0.4),
        ("min_move_duration", 0.3),
        ("smoothing_points", 3),
        ("smoothing_sd", 0.5),
        ("filter_corner", 5.0),
        ("filter_order", 1),
    ],
)
def test_each_parameter_is_used(name, value):
    rng = np.random.default_rng(3)
    pause = np.where(
        rng.random(3000) < 0.02, rng.uniform(0.1, 1, 3000), rng.exponential(0.004, 3000)
    )
    step = np.repeat(rng.choice([-1, 1], 150), 20) * np.where(rng.random(3000) < 0.2, -1, 1)
    trace = np.cumsum(pause), np.cumsum(step) * 2 * np.pi / 4096
    usual, found = maths.compute_moves(*trace), maths.compute_moves(*trace, **{name: value})
    assert any(not np.array_equal(found[column], usual[column]) for column in usual)


# First movement of a trial


def first(onset, amplitude, go_cue, feedback, quiescence=0.5, **changes):
    trial = (np.array([x], dtype=float) for x in (go_cue, feedback, quiescence))
    onset, amplitude = (np.array(x, dtype=float) for x in (onset, amplitude))
    return maths.find_first_moves(onset, amplitude, *trial, **changes)


@pytest.mark.parametrize(
    ("onset", "amplitude", "go_cue", "feedback", "quiescence", "expected"),
    [
        ([10.25], [0.3], 10, 11, 0.5, 10.25),
        ([9.75, 10.25], [0.3, 0.3], 10, 11, 0.5, 9.75),  # before the go cue, in the quiescence
        ([9.5, 10.25], [0.3, 0.3], 10, 11, 0.5, 10.25),  # strictly inside
        ([9.5], [0.3], 10, 11, 0.5, NAN),
        ([11.0], [0.3], 10, 11, 0.5, NAN),
        ([np.nextafter(11, 0)], [0.3], 10, 11, 0.5, np.nextafter(11, 0)),
        ([np.nextafter(9.5, 10)], [0.3], 10, 11, 0.5, np.nextafter(9.5, 10)),
        ([10.25, 10.5], [0.1, 0.3], 10, 11, 0.5, 10.25),  # as large as the least
        ([10.25, 10.5], [-0.1, 0.3], 10, 11, 0.5, 10.25),
        ([10.25, 10.5], [np.nextafter(0.1, 0), 0.3], 10, 11, 0.5, 10.5),
        ([10.25, 10.5], [0.05, -0.05], 10, 11, 0.5, NAN),
        ([10.25], [0.3], NAN, 11, 0.5, NAN),
        ([10.25], [0.3], 10, NAN, 0.5, NAN),
        ([9.75, 10.25], [0.3, 0.3], 10, 11, NAN, 10.25),  # 0.2 s
        ([9.875, 10.25], [0.3, 0.3], 10, 11, NAN, 9.875),
        ([], [], 10, 11, 0.5, NAN),
        ([12.0], [0.3], 10, 11, 0.5, NAN),
    ],
)
def test_the_first_movement_of_a_trial(onset, amplitude, go_cue, feedback, quiescence, expected):
    np.testing.assert_array_equal(first(onset, amplitude, go_cue, feedback, quiescence), [expected])


def test_least_amplitude_and_quiescence_may_be_others():
    assert first([10.25], [0.05], 10, 11, min_amplitude=0.05) == 10.25
    assert first([9.25], [0.3], 10, 11, NAN, default_quiescence=1.0) == 9.25


def test_no_trials_have_no_first_movement():
    none = np.empty(0)
    assert len(maths.find_first_moves(np.array([1.0]), np.array([1.0]), none, none, none)) == 0


def test_first_movements_of_many_trials_are_those_of_each_alone():
    rng = np.random.default_rng(7)
    onset = np.sort(rng.uniform(0, 400, 500))
    amplitude = rng.normal(0, 0.15, 500)
    go_cue = np.arange(5.0, 395, 2)
    feedback = go_cue + rng.exponential(0.8, len(go_cue))
    quiescence = rng.uniform(0.4, 0.7, len(go_cue))
    go_cue[::11], feedback[::13], quiescence[::7] = NAN, NAN, NAN
    found = maths.find_first_moves(onset, amplitude, go_cue, feedback, quiescence)
    n_found = 0
    for i in range(len(go_cue)):
        q = 0.2 if np.isnan(quiescence[i]) else quiescence[i]
        inside = [
            t
            for t, a in zip(onset, amplitude, strict=True)
            if go_cue[i] - q < t < feedback[i] and abs(a) >= 0.1
        ]
        assert (found[i] == inside[0]) if inside else np.isnan(found[i])
        n_found += bool(inside)
    assert 30 < n_found < len(go_cue)
