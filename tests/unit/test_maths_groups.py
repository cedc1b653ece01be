"""Statistics by group against loops over the groups."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths.groups import summarise_groups

NAN = float("nan")
CLOSE = {"rtol": 1e-9, "atol": 1e-9}
numbers = st.floats(-1e3, 1e3).map(lambda value: round(value, 6))
labelled = st.lists(st.tuples(numbers, st.integers(0, 4)), max_size=40)
quick = settings(max_examples=60, deadline=None)


def summarise(pairs, n_groups=5):
    values = np.array([value for value, _ in pairs], dtype=float)
    group = np.array([label for _, label in pairs], dtype=int)
    return summarise_groups(values, group, n_groups)


@pytest.mark.parametrize(
    ("values", "n", "mean", "median", "sd", "sem"),
    [
        ([], 0, NAN, NAN, NAN, NAN),
        ([7], 1, 7, 7, NAN, NAN),
        ([1, 3], 2, 2, 2, math.sqrt(2), 1),
        ([5, 1, 3], 3, 3, 3, 2, 2 / math.sqrt(3)),
        ([2, 4, 4, 4, 5, 5, 7, 9], 8, 5, 4.5, math.sqrt(32 / 7), math.sqrt(32 / 7 / 8)),
        ([4, 4, 4, 4], 4, 4, 4, 0, 0),
        ([-1, 1], 2, 0, 0, math.sqrt(2), 1),
    ],
)
def test_a_group_manually(values, n, mean, median, sd, sem):
    found = summarise([(value, 0) for value in values], 1)
    np.testing.assert_allclose(
        [found[name][0] for name in ("n", "mean", "median", "sd", "sem")],
        [n, mean, median, sd, sem],
        rtol=1e-15,
    )


def test_groups_are_apart_in_whatever_order_they_come():
    found = summarise([(10, 2), (1, 0), (20, 2), (3, 0), (60, 2)], 4)
    assert found["n"].tolist() == [2, 0, 3, 0]
    np.testing.assert_array_equal(found["mean"], [2, NAN, 30, NAN])
    np.testing.assert_array_equal(found["median"], [2, NAN, 20, NAN])
    np.testing.assert_allclose(found["sd"], [math.sqrt(2), NAN, math.sqrt(700), NAN])
    np.testing.assert_allclose(found["sem"], [1, NAN, math.sqrt(700 / 3), NAN])


@pytest.mark.parametrize("n_groups", [0, 1, 3])
def test_no_values(n_groups):
    found = summarise([], n_groups)
    assert found["n"].tolist() == [0] * n_groups
    for name in ("mean", "median", "sd", "sem"):
        assert found[name].dtype == float
        np.testing.assert_array_equal(found[name], [NAN] * n_groups)


@quick
@given(labelled)
def test_the_same_as_the_standard_library_group_by_group(pairs):
    found = summarise(pairs)
    for group in range(5):
        values = [value for value, label in pairs if label == group]
        assert found["n"][group] == len(values)
        if values:
            assert found["mean"][group] == pytest.approx(statistics.fmean(values), abs=1e-9)
            assert found["median"][group] == statistics.median(values)
        if len(values) > 1:
            sd = statistics.stdev(values)
            assert found["sd"][group] == pytest.approx(sd, abs=1e-6)
            assert found["sem"][group] == pytest.approx(sd / math.sqrt(len(values)), abs=1e-6)
        assert np.isnan(found["mean"][group]) == np.isnan(found["median"][group]) == (not values)
        assert np.isnan(found["sd"][group]) == np.isnan(found["sem"][group]) == (len(values) < 2)


@quick
@given(labelled.filter(bool))
def test_the_same_as_pandas(pairs):
    found = pd.DataFrame(summarise(pairs))
    grouped = pd.DataFrame(pairs, columns=["value", "group"]).groupby("group").value
    expected = grouped.agg(["count", "mean", "median", "std", "sem"]).reindex(range(5))
    np.testing.assert_array_equal(found["n"], expected["count"].fillna(0))
    for ours, theirs in (("mean", "mean"), ("median", "median"), ("sd", "std"), ("sem", "sem")):
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-9, atol=1e-6)


@quick
@given(labelled, st.randoms(use_true_random=False))
def test_the_order_of_the_values_does_not_matter(pairs, random):
    shuffled = list(pairs)
    random.shuffle(shuffled)
    first, second = summarise(pairs), summarise(shuffled)
    for name in ("n", "median"):
        np.testing.assert_array_equal(first[name], second[name])
    for name in ("mean", "sd", "sem"):
        np.testing.assert_allclose(first[name], second[name], **CLOSE)


@quick
@given(labelled, st.sampled_from([0.25, 2.0, 1024.0]))
def test_scaling_by_a_power_of_two_scales_everything_exactly(pairs, factor):
    first = summarise(pairs)
    second = summarise([(value * factor, label) for value, label in pairs])
    for name in ("mean", "median", "sd", "sem"):
        np.testing.assert_array_equal(second[name], first[name] * factor)


@quick
@given(labelled, st.floats(-100, 100))
def test_a_constant_moves_the_centre_and_not_the_spread(pairs, constant):
    first = summarise(pairs)
    second = summarise([(value + constant, label) for value, label in pairs])
    for name in ("mean", "median"):
        np.testing.assert_allclose(second[name], first[name] + constant, rtol=1e-9, atol=1e-6)
    for name in ("sd", "sem"):
        np.testing.assert_allclose(second[name], first[name], rtol=1e-6, atol=1e-6)


@quick
@given(labelled, st.permutations(range(5)))
def test_renaming_the_groups_permutes_the_answer(pairs, names):
    first = summarise(pairs)
    second = summarise([(value, names[label]) for value, label in pairs])
    for name in first:
        np.testing.assert_array_equal(second[name][list(names)], first[name])
