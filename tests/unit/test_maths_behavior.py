"""Stimuli, outcomes and reaction times of hand-made trials."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import behavior as maths

NAN = float("nan")
quick = settings(max_examples=60, deadline=None)
CONTRASTS = [0.0, 0.0625, 0.125, 0.25, 1.0]

# Multiples of 1/64 s: sums and differences are exact, so that laws hold to the last bit.
start_and_end = st.tuples(
    st.one_of(st.just(NAN), st.integers(0, 64 * 600)),
    st.one_of(st.just(NAN), st.integers(-64, 64), st.integers(0, 64 * 3)),
).map(lambda t: (t[0] / 64, (t[0] + t[1]) / 64))
trials = st.lists(
    st.tuples(
        start_and_end,
        st.sampled_from([NAN, *CONTRASTS]),
        st.sampled_from([NAN, *CONTRASTS]),
        st.sampled_from([-1.0, 0.0, 1.0, NAN]),
        st.sampled_from([-1.0, 1.0, NAN]),
    ).map(lambda t: (*t[0], *t[1:])),
    max_size=30,
)


def columns(rows):
    return np.array(rows, dtype=float).reshape(-1, 6).T


def analyse(rows, shortest=0.08, longest=2.0):
    start, end, left, right, choice, feedback = columns(rows)
    reaction = maths.compute_reaction_times(start, end, shortest, longest)
    side, contrast = maths.compute_stimulus(left, right)
    return reaction, side, contrast, maths.compute_outcome(choice, feedback)


@pytest.mark.parametrize(
    ("left", "right", "side", "contrast"),
    [
        (1.0, NAN, 0, 1.0),
        (NAN, 0.25, 1, 0.25),
        (0.0, NAN, 0, 0.0),
        (NAN, 0.0, 1, 0.0),
        (NAN, NAN, -1, NAN),
        (0.5, 0.5, -1, NAN),
        (0.0, 1.0, -1, NAN),
    ],
)
def test_side_and_contrast_of_a_stimulus(left, right, side, contrast):
    found_side, found_contrast = maths.compute_stimulus(np.array([left]), np.array([right]))
    assert found_side.tolist() == [side]
    np.testing.assert_array_equal(found_contrast, [contrast])


@pytest.mark.parametrize(
    ("choice", "feedback", "outcome"),
    [
        (-1, 1, "correct"),
        (1, 1, "correct"),
        (-1, -1, "error"),
        (1, -1, "error"),
        (0, -1, "no_go"),
        (0, 1, "no_go"),
        (NAN, 1, None),
        (NAN, -1, None),
        (1, NAN, None),
        (0, NAN, None),
        (NAN, NAN, None),
    ],
)
def test_outcome_of_a_trial(choice, feedback, outcome):
    (found,) = maths.compute_outcome(np.array([choice], float), np.array([feedback], float))
    assert found == (-1 if outcome is None else maths.OUTCOMES.index(outcome))


@pytest.mark.parametrize(
    ("start", "end", "shortest", "longest", "seconds", "too_fast", "too_slow", "is_valid"),
    [
        (1.0, 1.5, 0.25, 2.0, 0.5, False, False, True),
        (1.0, 1.25, 0.25, 2.0, 0.25, False, False, True),  # a bound is within bounds
        (1.0, 3.0, 0.25, 2.0, 2.0, False, False, True),
        (1.0, np.nextafter(1.25, 0), 0.25, 2.0, np.nextafter(1.25, 0) - 1, True, False, False),
        (1.0, np.nextafter(3.0, 4), 0.25, 2.0, np.nextafter(3.0, 4) - 1, False, True, False),
        (2.0, 1.0, 0.25, 2.0, -1.0, True, False, False),
        (2.0, 1.0, None, 2.0, -1.0, False, False, True),
        (1.0, 61.0, 0.25, None, 60.0, False, False, True),
        (1.0, 61.0, None, None, 60.0, False, False, True),
        (NAN, 1.0, None, None, NAN, False, False, False),
        (1.0, NAN, 0.25, 2.0, NAN, False, False, False),
        (NAN, NAN, 0.25, 2.0, NAN, False, False, False),
    ],
)
def test_reaction_time_and_bounds(
    start, end, shortest, longest, seconds, too_fast, too_slow, is_valid
):
    found = maths.compute_reaction_times(np.array([start]), np.array([end]), shortest, longest)
    np.testing.assert_array_equal(found.pop("reaction_time"), [seconds])
    assert {name: flags.tolist() for name, flags in found.items()} == {
        "too_fast": [too_fast],
        "too_slow": [too_slow],
        "is_valid": [is_valid],
    }


def test_summary_of_a_session_manually():
    start = np.array([0.0, 10, 20, 30, 40, 50, NAN])
    end = np.array([0.25, 10.5, 21, 33, 40.0625, NAN, 60])
    reaction = maths.compute_reaction_times(start, end, 0.08, 2.0)
    assert maths.summarise_reaction_times(reaction) == {
        "n_reactions": 3,  # 0.25, 0.5 and 1 s
        "n_missing": 2,
        "n_too_fast": 1,
        "n_too_slow": 1,
        "rt_mean": 1.75 / 3,
        "rt_median": 0.5,
    }


@pytest.mark.parametrize("n", [0, 3])
def test_summary_without_reactions_has_no_mean(n):
    missing = np.full(n, NAN)
    found = maths.summarise_reaction_times(
        maths.compute_reaction_times(missing, missing, None, None)
    )
    assert (found["n_reactions"], found["n_missing"]) == (0, n)
    assert found["rt_mean"] is None
    assert found["rt_median"] is None


def test_conditions_manually():
    rows = [
        # start, end, left, right, choice, feedback
        (0, 0.25, 1.0, NAN, 1, 1),
        (0, 0.75, 1.0, NAN, 1, 1),
        (0, 0.5, 1.0, NAN, -1, -1),
        (0, 0.5, 0.0, NAN, 1, 1),
        (0, 1.0, NAN, 0.0, -1, 1),
        (0, 1.0, NAN, 0.0, 0, -1),
        (0, 60.0, 1.0, NAN, 1, 1),  # too slow
        (0, NAN, 1.0, NAN, 1, 1),
        (0, 0.5, NAN, NAN, 1, 1),  # no side
        (0, 0.5, 0.5, 0.5, 1, 1),  # two sides
        (0, 0.5, 1.0, NAN, NAN, 1),  # no outcome
    ]
    found = pd.DataFrame(maths.summarise_conditions(*analyse(rows)))
    expected = [
        ("left", 0.0, "correct", 1, 0.5, 0.5, NAN),
        ("left", 1.0, "correct", 2, 0.5, 0.5, 0.25),
        ("left", 1.0, "error", 1, 0.5, 0.5, NAN),
        ("right", 0.0, "correct", 1, 1.0, 1.0, NAN),
        ("right", 0.0, "no_go", 1, 1.0, 1.0, NAN),
    ]
    names = ["stimulus_side", "stimulus_contrast", "outcome", "n", "mean", "median", "sem"]
    assert list(found.columns) == names
    pd.testing.assert_frame_equal(
        found, pd.DataFrame(expected, columns=names), check_dtype=False, rtol=1e-15
    )


def test_no_trials_give_no_conditions():
    found = maths.summarise_conditions(*analyse([]))
    assert all(column.shape == (0,) for column in found.values())
    assert list(found) == [
        *("stimulus_side", "stimulus_contrast", "outcome"),
        *("n", "mean", "median", "sem"),
    ]


@quick
@given(trials)
def test_the_conditions_are_those_that_a_loop_finds(rows):
    expected = {}
    for start, end, left, right, choice, feedback in rows:
        seconds = end - start
        sides = [(s, c) for s, c in (("left", left), ("right", right)) if not math.isnan(c)]
        if not 0.08 <= seconds <= 2 or len(sides) != 1 or choice != choice or feedback != feedback:
            continue
        outcome = "no_go" if choice == 0 else "correct" if feedback > 0 else "error"
        expected.setdefault((*sides[0], outcome), []).append(seconds)
    found = maths.summarise_conditions(*analyse(rows))
    keys = list(
        zip(found["stimulus_side"], found["stimulus_contrast"], found["outcome"], strict=True)
    )
    assert sorted(keys) == sorted(expected)
    for i, key in enumerate(keys):
        seconds = expected[key]
        assert found["n"][i] == len(seconds)
        assert found["mean"][i] == pytest.approx(statistics.fmean(seconds), rel=1e-12)
        assert found["median"][i] == statistics.median(seconds)
        if len(seconds) > 1:
            sem = statistics.stdev(seconds) / math.sqrt(len(seconds))
            assert found["sem"][i] == pytest.approx(sem, rel=1e-9, abs=1e-12)
        else:
            assert math.isnan(found["sem"][i])


@quick
@given(trials)
def test_every_trial_is_counted_once(rows):
    reaction, *_ = analyse(rows)
    found = maths.summarise_reaction_times(reaction)
    counts = ("n_reactions", "n_missing", "n_too_fast", "n_too_slow")
    assert sum(found[name] for name in counts) == len(rows)


@quick
@given(trials, st.integers(-(2**20), 2**20))
def test_another_zero_of_the_clock_changes_nothing(rows, quarter_seconds):
    moved = [(s + quarter_seconds / 4, e + quarter_seconds / 4, *rest) for s, e, *rest in rows]
    first, second = analyse(rows), analyse(moved)
    for name in first[0]:
        np.testing.assert_array_equal(first[0][name], second[0][name])
    one, other = maths.summarise_conditions(*first), maths.summarise_conditions(*second)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@quick
@given(trials, st.randoms(use_true_random=False))
def test_the_order_of_the_trials_changes_no_summary(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = analyse(rows), analyse(shuffled)
    one = pd.DataFrame(maths.summarise_conditions(*first))
    other = pd.DataFrame(maths.summarise_conditions(*second))
    pd.testing.assert_frame_equal(one, other, rtol=1e-12)
    whole, again = (maths.summarise_reaction_times(found[0]) for found in (first, second))
    assert whole == again


@quick
@given(trials)
def test_in_another_unit_of_time_all_times_scale(rows):
    first, *labels = analyse(rows)
    second, *_ = analyse([(8 * s, 8 * e, *rest) for s, e, *rest in rows], 8 * 0.08, 8 * 2.0)
    np.testing.assert_array_equal(second["is_valid"], first["is_valid"])
    one = maths.summarise_conditions(first, *labels)
    other = maths.summarise_conditions(second, *labels)
    for name in ("mean", "median", "sem"):
        np.testing.assert_array_equal(other[name], 8 * one[name])


@quick
@given(trials)
def test_the_other_side_mirrored_gives_the_same_times(rows):
    mirrored = [(s, e, r, le, c, f) for s, e, le, r, c, f in rows]
    one, other = (maths.summarise_conditions(*analyse(t)) for t in (rows, mirrored))
    other["stimulus_side"] = np.where(other["stimulus_side"] == "left", "right", "left")
    keys = ["stimulus_side", "stimulus_contrast", "outcome"]
    one, other = (pd.DataFrame(s).astype({keys[0]: str}).set_index(keys) for s in (one, other))
    pd.testing.assert_frame_equal(one.sort_index(), other.sort_index())


def test_signed_contrast_keeps_the_side_of_zero():
    left = np.array([1.0, NAN, 0.0, NAN, NAN, 0.5])
    right = np.array([NAN, 0.0625, NAN, 0.0, NAN, 0.5])
    found = maths.compute_signed_contrast(left, right)
    np.testing.assert_array_equal(found, [-100, 6.25, 0, 0, NAN, NAN])
    assert np.signbit(found[2:4]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("prior", "block", "length", "probability"),
    [
        ([], [], [], []),
        ([NAN, NAN], [-1, -1], [], []),
        ([0.5], [0], [1], [0.5]),
        ([0.5, 0.5, 0.2, 0.8, 0.8], [0, 0, 1, 2, 2], [2, 1, 2], [0.5, 0.2, 0.8]),
        ([0.2, NAN, 0.2, NAN, 0.8], [0, -1, 0, -1, 1], [2, 1], [0.2, 0.8]),
        ([NAN, 0.5, 0.2, 0.5], [-1, 0, 1, 2], [1, 1, 1], [0.5, 0.2, 0.5]),
    ],
)
def test_blocks_manually(prior, block, length, probability):
    found = maths.compute_blocks(np.array(prior, dtype=float))
    assert found["block"].tolist() == block
    assert found["length"].tolist() == length
    assert found["block_probability"].tolist() == probability


def session(n, **changed):
    """Trials of one second each, all right, all easy, without anything missing."""
    start = 10.0 * np.arange(n)
    return {
        "stim_on_time": start,
        "go_cue_time": start,
        "first_movement_time": start + 0.5,
        "feedback_time": start + 1.0,
        "choice": np.full(n, -1.0),
        "feedback_type": np.ones(n),
        "contrast_left": np.full(n, NAN),
        "contrast_right": np.ones(n),
        "probability_left": np.full(n, 0.8),
    } | changed


def test_performance_manually():
    trials = session(
        6,
        choice=np.array([-1.0, 1, 0, -1, -1, NAN]),
        feedback_type=np.array([1.0, -1, -1, 1, 1, NAN]),
        contrast_right=np.array([1.0, 0.5, 0.25, 0, NAN, 1]),
        contrast_left=np.array([NAN, NAN, NAN, NAN, 1, NAN]),
        probability_left=np.array([0.5, 0.5, 0.2, 0.2, 0.8, 0.5]),
    )
    assert maths.compute_performance(trials) == {
        "n_correct": 3,
        "n_no_go": 1,
        "n_easy": 4,  # contrasts 1, 0.5, 1 and 1
        "n_blocks": 4,
        "performance": 3 / 6,
        "performance_easy": 2 / 4,
    }


@pytest.mark.parametrize(
    ("trials", "performance", "easy"),
    [
        (session(0), None, None),
        (session(1), 1.0, 1.0),
        (session(1, feedback_type=np.array([NAN])), None, None),
        (session(2, contrast_right=np.array([0.25, 0.0])), 1.0, None),
    ],
)
def test_a_performance_without_trials_to_count_is_none(trials, performance, easy):
    found = maths.compute_performance(trials)
    assert found["performance"] == performance
    assert found["performance_easy"] == easy


def test_chronometric_curve_manually():
    signed = np.array([-25.0, -25, -25, -25, -0.0, 0.0, 100, NAN])
    seconds = np.array([1.0, 2, 3, 4, 0.25, 0.75, NAN, 9])
    found = maths.compute_chronometric_curve(signed, seconds)
    assert found["signed_contrast"].tolist() == [-25, 0, 100]
    assert found["n"].tolist() == [4, 2, 0]
    assert found["n_missing"].tolist() == [0, 0, 1]
    np.testing.assert_allclose(found["median"], [2.5, 0.5, NAN])
    np.testing.assert_allclose(found["lower_quartile"], [1.75, 0.375, NAN])
    np.testing.assert_allclose(found["upper_quartile"], [3.25, 0.625, NAN])


@pytest.mark.parametrize("signed", [[], [NAN, NAN]])
def test_a_chronometric_curve_of_no_stimulus_is_empty(signed):
    found = maths.compute_chronometric_curve(np.array(signed), np.ones(len(signed)))
    assert all(column.shape == (0,) for column in found.values())


def truncate_by_loop(trials, min_trials, min_performance):
    """Drop the last trial, one by one, as the documented rule says."""
    easy = [not abs(c) < 0.5 for c in np.nan_to_num(trials["contrast_right"])]
    right = [f == 1 for f in trials["feedback_type"]]
    n = len(right)
    while n > min_trials:
        n_easy = sum(easy[:n])
        n_right = sum(e and r for e, r in zip(easy[:n], right[:n], strict=True))
        if n_easy and n_right / n_easy > min_performance:
            return n
        n -= 1
    return None


@pytest.mark.parametrize(
    ("n", "n_right", "kept"),
    [
        (400, 400, None),  # more than 400 are asked for
        (401, 401, 401),
        (401, 361, 401),  # 361 / 401 = 0.9002
        (401, 360, None),
        (440, 396, 439),  # exactly 0.9 is not enough; one trial less is
        (450, 405, 449),
        (600, 405, 449),
        (600, 360, None),  # 360 / 401 at best
    ],
)
def test_truncation_at_its_limits(n, n_right, kept):
    """All trials are easy, the first `n_right` are right."""
    trials = session(n, feedback_type=np.where(np.arange(n) < n_right, 1.0, -1.0))
    assert truncate_by_loop(trials, 400, 0.9) == kept
    assert maths.compute_truncation(np.full(n, 100.0), trials["feedback_type"], 400, 0.9) == kept


@quick
@given(
    st.lists(st.tuples(st.sampled_from(CONTRASTS), st.sampled_from([1.0, -1.0, NAN])), max_size=40),
    st.integers(0, 10),
    st.sampled_from([0.5, 0.8, 0.9]),
)
def test_truncation_is_that_of_a_loop(shown, min_trials, min_performance):
    contrast, feedback = np.array(shown, float).reshape(-1, 2).T
    trials = session(len(shown), contrast_right=contrast, feedback_type=feedback)
    signed = maths.compute_signed_contrast(trials["contrast_left"], contrast)
    found = maths.compute_truncation(signed, feedback, min_trials, min_performance)
    assert found == truncate_by_loop(trials, min_trials, min_performance)


OPEN = {
    "drops_incomplete": False,
    "drops_unbiased": False,
    "drops_no_go": False,
    "shortest_trial": None,
    "longest_trial": None,
    "truncation_min_trials": None,
    "truncation_min_performance": None,
}
REACTION_BOUNDS = (0.08, 2.0)


def mask(trials, reacts=True, **rule):
    start, end = trials["stim_on_time"], trials["first_movement_time"]
    reaction = maths.compute_reaction_times(start, end, *REACTION_BOUNDS) if reacts else None
    return maths.compute_trial_mask(trials, reaction, OPEN | rule)


@pytest.mark.parametrize("name", maths.NEEDED)
def test_a_trial_without_a_needed_event_is_incomplete(name):
    trials = session(3)
    trials[name] = trials[name].copy()
    trials[name][1] = NAN
    found = mask(trials, drops_incomplete=True)
    assert found["exclusion"].tolist() == ["", "incomplete", ""]
    assert found["n_used"] == 2
    assert mask(trials)["is_used"].all(), "a NaN by itself excludes nothing"


@pytest.mark.parametrize("name", ["go_cue_time", "contrast_left", "contrast_right"])
def test_what_is_not_needed_may_be_missing(name):
    trials = session(3)
    trials[name] = np.full(3, NAN)
    assert mask(trials, drops_incomplete=True, shortest_trial=0.5)["is_used"].all()


def test_both_bounds_of_the_reaction_time_are_kept():
    """Times at zero, so that a difference is exact."""
    end = np.array([0.08, np.nextafter(0.08, 0), 2.0, np.nextafter(2.0, 3), -0.1, 0.5])
    trials = session(6, stim_on_time=np.zeros(6), first_movement_time=end)
    found = mask(trials)
    expected = ["", "too_fast", "", "too_slow", "too_fast", ""]
    assert found["exclusion"].tolist() == expected
    assert mask(trials, reacts=False)["is_used"].all()


def test_limits_of_the_trial_length_are_kept():
    length = np.array([0.5, 0.49, 3.0, 3.01, NAN])
    trials = session(5, go_cue_time=np.zeros(5), feedback_time=length)
    found = mask(trials, shortest_trial=0.5, longest_trial=3.0)
    assert found["exclusion"].tolist() == ["", "too_short", "", "too_long", ""]


@pytest.mark.parametrize("flag", [True, 1])
def test_options_of_a_mask(flag):
    trials = session(3, choice=np.array([-1.0, 0, 1]), probability_left=np.array([0.2, 0.8, 0.5]))
    assert mask(trials, drops_no_go=flag)["exclusion"].tolist() == ["", "no_go", ""]
    assert mask(trials, drops_unbiased=flag)["exclusion"].tolist() == ["", "", "unbiased"]


def test_the_first_reason_is_reported():
    trials = session(403, feedback_type=np.where(np.arange(403) < 362, 1.0, -1.0))
    movement = trials["first_movement_time"].copy()
    movement[[0, 402]] = NAN
    movement[1] = trials["stim_on_time"][1] + 0.01
    trials["first_movement_time"] = movement
    trials["choice"] = np.where(np.arange(403) < 3, 0.0, -1.0)
    rule = {"truncation_min_trials": 400, "truncation_min_performance": 0.9}
    found = mask(trials, drops_incomplete=True, drops_no_go=True, **rule)
    # 362 / 402 = 0.9005, 362 / 403 = 0.898
    assert found["exclusion"][[0, 1, 2, 3, 401, 402]].tolist() == [
        *("incomplete", "too_fast", "no_go"),
        *("", "", "truncated"),
    ]
    assert (found["n_truncated"], found["n_used"]) == (1, 399)
    assert found["criterion_met"] is True


@pytest.mark.parametrize("n", [0, 1, 400])
def test_a_session_that_does_not_meet_the_criterion_has_no_trial_in_use(n):
    rule = {"truncation_min_trials": 400, "truncation_min_performance": 0.9}
    found = mask(session(n), **rule)
    assert found["exclusion"].tolist() == ["criterion"] * n
    assert (found["n_used"], found["n_truncated"], found["criterion_met"]) == (0, 0, False)
    assert mask(session(n))["criterion_met"] is None
