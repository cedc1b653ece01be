"""The inclusion chain against pandas, and rates by unit and by session."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import inclusion as maths

NAN = float("nan")
quick = settings(max_examples=60, deadline=None)


def chain(table, *limits, min_errors=3, errors=None):
    columns = zip(*table, strict=True) if table else ([], [], [])
    region, session, good = (np.array(list(column)) for column in columns)
    region = region.astype(int)
    n_errors = np.array([(errors or {}).get(name, min_errors) for name in session], int)
    found = maths.compute_chain(
        region, region == 0, good.astype(bool), session, n_errors, min_errors, *limits
    )
    assert list(found) == list(maths.STEPS)
    return found


def counts(found):
    return [int(left.sum()) for left in found.values()]


def test_the_chain_manually():
    table = (
        [(7, "a", True)] * 3  # in
        + [(7, "b", True)] * 2  # in
        + [(7, "c", True)]  # too few in the session
        + [(7, "b", False)] * 5  # not good, and not counted
        + [(5, "a", True)] * 4  # the region has one session
        + [(3, "a", True)] * 2
        + [(3, "b", True)] * 2  # enough sessions, too few units
        + [(0, "a", True)] * 9  # no region
        + [(0, "a", False)]
    )
    found = chain(table, 2, 2, 5)
    assert counts(found) == [29, 29, 23, 14, 13, 9, 5]
    assert np.flatnonzero(found["region_units"]).tolist() == [0, 1, 2, 3, 4]


def test_a_group_counts_as_its_units():
    groups = [(7, "a", True), (7, "b", True), (7, "c", True), (7, "b", False), (5, "a", True)]
    n_units = np.array([3, 2, 1, 5, 4])
    found = chain(groups, 2, 2, 5, n_units)
    assert [int(n_units[left].sum()) for left in found.values()] == [15, 15, 10, 10, 9, 5, 5]


def test_units_of_sessions_that_do_not_count_do_not_count_for_the_region():
    table = [(7, "a", True)] * 5 + [(7, "b", True)] * 5 + [(7, "c", True)] * 4
    assert counts(chain(table, 5, 2, 11)) == [14, 14, 14, 14, 10, 10, 0]
    assert counts(chain(table, 4, 2, 11)) == [14] * 7


@pytest.mark.parametrize(("n_errors", "left"), [(2, 9), (3, 14), (4, 14)])
def test_sessions_with_too_few_error_trials_are_left_out(n_errors, left):
    table = [(7, "a", True)] * 5 + [(7, "b", True)] * 9
    found = chain(table, 1, 1, 1, errors={"a": n_errors})
    assert counts(found) == [14] + [left] * 6


@pytest.mark.parametrize("table", [[], [(0, "a", True)], [(7, "a", False)]])
def test_nothing_is_left_of_nothing(table):
    assert counts(chain(table, 1, 1, 1))[3:] == [0, 0, 0, 0]


units = st.lists(
    st.tuples(st.sampled_from([0, 5, 7, 997]), st.sampled_from("abc"), st.booleans()), max_size=40
)


@quick
@given(units, st.integers(1, 4), st.integers(1, 3), st.integers(1, 8))
def test_the_chain_is_that_of_pandas(table, min_session, min_sessions, min_region):
    found = chain(table, min_session, min_sessions, min_region)
    left = pd.DataFrame(table, columns=["region", "session", "good"])
    steps = [left, left, left := left[left.good.astype(bool)], left := left[left.region != 0]]
    left = left.groupby(["region", "session"]).filter(lambda pair: len(pair) >= min_session)
    steps.append(left)
    left = left.groupby("region").filter(lambda one: one.session.nunique() >= min_sessions)
    steps.append(left)
    left = left.groupby("region").filter(lambda one: len(one) >= min_region)
    steps.append(left)
    assert [np.flatnonzero(one).tolist() for one in found.values()] == [
        one.index.tolist() for one in steps
    ]


# --- rates --------------------------------------------------------------------------------------


def test_units_and_sessions_count_once_each():
    rate = np.array([1.0, 2.0, 3.0, 10.0, NAN, 4.0, NAN])
    region = np.array([7, 7, 7, 7, 7, 5, 9])
    session = np.array(["a", "a", "a", "b", "b", "a", "a"])
    found = maths.summarise_by_session(rate, region, session)
    assert found["region_id"].tolist() == [5, 7]
    assert found["n_units"].tolist() == [1, 4]
    assert found["n_sessions"].tolist() == [1, 2]
    assert found["unit_mean"].tolist() == [4.0, 4.0]
    assert found["session_mean"].tolist() == [4.0, 6.0]  # of 2 and 10 Hz
    np.testing.assert_allclose(found["session_sem"], [NAN, 4.0])
    np.testing.assert_allclose(found["unit_sem"], [NAN, np.sqrt(50 / 3 / 4)])


def test_no_rates_give_no_regions():
    nothing = maths.summarise_by_session(np.array([NAN]), np.array([7]), np.array(["a"]))
    assert all(values.shape == (0,) for values in nothing.values())


rates = st.lists(
    st.tuples(
        st.one_of(st.floats(0, 200), st.just(NAN)), st.sampled_from([0, 5]), st.sampled_from("abc")
    ),
    max_size=30,
)


@quick
@given(rates)
def test_rates_by_session_are_those_of_pandas(pairs):
    table = pd.DataFrame(pairs, columns=["rate", "region", "session"])
    table = table.astype({"rate": float}).dropna()
    columns = [list(column) for column in zip(*pairs, strict=True)] if pairs else [[], [], []]
    found = pd.DataFrame(
        maths.summarise_by_session(
            np.array(columns[0], float), np.array(columns[1], int), np.array(columns[2], str)
        )
    ).set_index("region_id")
    means = table.groupby(["region", "session"]).rate.mean()
    for name, values in (("unit", table.set_index("region").rate), ("session", means)):
        expected = values.groupby(level="region").agg(["mean", "sem", "count"])
        assert found.index.tolist() == expected.index.tolist()
        np.testing.assert_array_equal(found[f"n_{name}s"], expected["count"])
        for one in ("mean", "sem"):
            np.testing.assert_allclose(found[f"{name}_{one}"], expected[one], 1e-9, 1e-9)
