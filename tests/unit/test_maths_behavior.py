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


def test_summary_of_a_session_by_hand():
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


def test_conditions_by_hand():
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
