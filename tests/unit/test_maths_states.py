"""Intervals of states and rates in them, against a walk over ticks and loops over spikes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import states as maths
from tests.unit.test_maths_activity import packed

NAN = float("nan")
quick = settings(max_examples=100, deadline=None)

# Multiples of 1/8 s are exact: a set of intervals is the set of the ticks that it holds.
TICKS = np.arange(-24, 104) / 8
tick = st.integers(-16, 80).map(lambda n: n / 8)
intervals = st.lists(st.tuples(tick, tick), max_size=8).map(lambda of: np.array(of).reshape(-1, 2))
spans = st.tuples(tick, tick)
trains = st.lists(st.lists(tick, max_size=20).map(sorted), max_size=5)


def ticks_of(of):
    """Ticks in any of some intervals, by comparing each with each."""
    return {t for t in TICKS for start, stop in of if start <= t < stop}


def assert_canonical(found):
    """Intervals that ascend, last, and leave a gap between each and the next."""
    assert found.shape == (len(found), 2)
    assert (np.diff(found.ravel()) > 0).all()


@quick
@given(intervals)
def test_the_union_holds_what_any_holds(of):
    found = maths.unite(of)
    assert_canonical(found)
    assert ticks_of(found) == ticks_of(of)


@quick
@given(intervals, spans)
def test_a_span_is_divided_into_what_lies_within_and_outside(of, span):
    united = maths.unite(of)
    inside, outside = maths.clip(united, span), maths.complement(united, span)
    assert_canonical(inside)
    assert_canonical(outside)
    assert ticks_of(inside) == ticks_of(of) & ticks_of([span])
    assert ticks_of(outside) == ticks_of([span]) - ticks_of(of)
    length = np.diff(inside).sum() + np.diff(outside).sum()
    assert length == max(span[1] - span[0], 0)


@quick
@given(intervals, intervals)
def test_the_intersection_holds_what_both_hold(one, other):
    found = maths.intersect(maths.unite(one), maths.unite(other))
    assert_canonical(found)
    assert ticks_of(found) == ticks_of(one) & ticks_of(other)


@quick
@given(intervals, spans, intervals, spans, st.sampled_from([None, True, False]))
def test_a_state_is_where_all_that_it_asks_for_holds(within, recorded, moves, traced, is_moving):
    if is_moving is None:
        found = maths.find_state(within, recorded)
        expected = ticks_of(within) & ticks_of([recorded])
    else:
        found = maths.find_state(within, recorded, moves, traced, is_moving)
        moving = ticks_of(moves)
        known = ticks_of(within) & ticks_of([recorded]) & ticks_of([traced])
        expected = known & moving if is_moving else known - moving
    assert_canonical(found)
    assert ticks_of(found) == expected


def test_what_has_no_known_length_is_left_out():
    of = np.array([[NAN, 2.0], [1.0, NAN], [3.0, 3.0], [5.0, 4.0], [6.0, 7.0]])
    assert maths.unite(of).tolist() == [[6.0, 7.0]]
    assert maths.clip(of[4:], (NAN, 9.0)).tolist() == []
    assert maths.complement(of[4:], (NAN, NAN)).tolist() == []
    assert maths.unite(np.array([[1.0, 2.0], [2.0, 3.0]])).tolist() == [[1.0, 3.0]]


@quick
@given(trains, intervals)
def test_counts_are_those_of_a_loop(trains, of):
    found = maths.count_in_intervals(*packed(trains), maths.unite(of))
    expected = [
        sum(any(start <= time < stop for start, stop in of) for time in train) for train in trains
    ]
    assert found.tolist() == expected


def test_rates_are_counts_over_the_length_of_all_intervals():
    times = packed([[0.0, 1.0, 1.5, 4.0], [], [9.0]])
    found = maths.compute_state_rates(*times, np.array([[1.0, 2.0], [3.5, 4.5]]))
    assert found["rate"] == pytest.approx([1.5, 0.0, 0.0])
    assert (found["n_intervals"], found["duration"]) == (2, 2.0)
    nothing = maths.compute_state_rates(*times, np.empty((0, 2)))
    assert np.isnan(nothing["rate"]).tolist() == [True] * 3
    assert (nothing["n_intervals"], nothing["duration"]) == (0, 0.0)
