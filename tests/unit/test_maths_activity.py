"""Rates of units around events against loops over every spike and event."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from schemas.maths import activity as maths

NAN = float("nan")
quick = settings(max_examples=60, deadline=None)

# Multiples of 1/64 s are exact, and so few that spikes often fall on the edges of windows.
ticks = st.integers(-64, 64 * 4).map(lambda n: n / 64)
trains = st.lists(st.lists(ticks, max_size=20).map(sorted), max_size=5)
events = st.lists(ticks, max_size=10)
windows = st.tuples(st.integers(-64, 64), st.integers(1, 64)).map(
    lambda w: (w[0] / 64, (w[0] + w[1]) / 64)
)


def packed(trains):
    """Put trains one after another as they are stored: times, offsets, counts."""
    counts = np.array([len(train) for train in trains], dtype=np.int64)
    times = np.array([time for train in trains for time in train], dtype=float)
    return times, np.cumsum(counts) - counts, counts


def brute_force(trains, events, window):
    return [
        [sum(e + window[0] <= time < e + window[1] for time in train) for e in events]
        for train in trains
    ]


@pytest.mark.parametrize(
    ("train", "event", "window", "count"),
    [
        ([1.0], 1.0, (0, 0.5), 1),  # on the start: in
        ([1.5], 1.0, (0, 0.5), 0),  # on the end: out
        ([np.nextafter(1.5, 0)], 1.0, (0, 0.5), 1),
        ([np.nextafter(1.0, 0)], 1.0, (0, 0.5), 0),
        ([0.5, 0.75, 1.0], 1.0, (-0.5, 0), 2),
        ([1.0, 1.0, 1.0], 1.0, (0, 0.5), 3),
        ([], 1.0, (0, 0.5), 0),
        ([0.1, 0.2, 0.3, 9.0], 5.0, (-1, 1), 0),
        ([1.0, 1.25], 1.0, (0.25, 0.25), 0),  # a window of no length
        ([-0.5], 0.0, (-1, 0), 1),
    ],
)
def test_a_window_is_half_open(train, event, window, count):
    found = maths.count_in_windows(*packed([train]), np.array([event]), window)
    assert found.tolist() == [[count]]


def test_overlapping_windows_count_a_spike_each_time():
    train, events = [0.5], np.array([0.0, 0.25, 0.4, 0.5, 0.75])
    found = maths.count_in_windows(*packed([train]), events, (0, 0.5))
    assert found.tolist() == [[0, 1, 1, 1, 0]]
    rates = maths.compute_window_rates(*packed([train]), events, (0, 0.5))
    assert rates["rate"].tolist() == [3 / 2.5]


def test_rates_manually():
    trains = [[0.0, 0.05, 1.0, 5.0], [], [1.04]]
    found = maths.compute_window_rates(*packed(trains), np.array([0.0, 1.0, NAN]), (0, 0.25))
    assert found["rate"].tolist() == [6.0, 0.0, 2.0]  # spikes over 0.5 s
    assert (found["n_events"], found["n_dropped"]) == (2, 1)


def test_units_are_read_at_their_offsets_in_any_order():
    times = np.array([99.0, 0.1, 0.2, 0.3, 99.0, 0.15])
    offsets, counts = np.array([5, 1, 3]), np.array([1, 2, 0])
    found = maths.count_in_windows(times, offsets, counts, np.array([0.0]), (0, 0.25))
    assert found.tolist() == [[1], [2], [0]]


@pytest.mark.parametrize(
    ("trains", "events", "n_dropped"),
    [
        ([], [], 0),
        ([], [1.0], 0),
        ([[]], [], 0),
        ([[], []], [NAN, NAN], 2),
        ([[1.0], [2.0]], [], 0),
        ([[1.0]], [NAN], 1),
    ],
)
def test_without_events_there_is_no_rate(trains, events, n_dropped):
    found = maths.compute_window_rates(*packed(trains), np.array(events, float), (0, 0.1))
    known = len(events) - n_dropped
    assert (found["n_events"], found["n_dropped"]) == (known, n_dropped)
    np.testing.assert_array_equal(found["rate"], [0.0 if known else NAN] * len(trains))


def test_units_without_any_spike_in_the_recording_have_rate_zero():
    found = maths.compute_window_rates(*packed([[], []]), np.array([1.0, 2.0]), (0, 0.1))
    assert found["rate"].tolist() == [0.0, 0.0]


@quick
@given(trains, events)
def test_search_is_searchsorted_of_each_unit(trains, edges):
    found = maths.search_units(*packed(trains), np.array(edges, float))
    assert found.shape == (len(trains), len(edges))
    for train, row in zip(trains, found, strict=True):
        np.testing.assert_array_equal(row, np.searchsorted(np.array(train), edges, side="left"))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8, 9, 255, 256, 257, 1000])
def test_the_bisection_is_long_enough_for_any_number_of_spikes(n):
    train = np.arange(n, dtype=float)
    edges = np.concatenate([train - 0.5, train, train + 0.5])
    found = maths.search_units(*packed([train, [], train[:1]]), edges)
    np.testing.assert_array_equal(found[0], np.searchsorted(train, edges, side="left"))
    assert not found[1].any()
    np.testing.assert_array_equal(found[2], edges > 0)


@quick
@given(trains, events, windows)
def test_counts_are_those_of_a_loop(trains, events, window):
    found = maths.count_in_windows(*packed(trains), np.array(events, float), window)
    assert found.tolist() == brute_force(trains, events, window)


@quick
@given(trains, st.lists(st.one_of(ticks, st.just(NAN)), max_size=10), windows)
def test_rates_are_counts_over_seconds_and_missing_events_are_dropped(trains, events, window):
    found = maths.compute_window_rates(*packed(trains), np.array(events, float), window)
    known = [event for event in events if event == event]
    assert (found["n_events"], found["n_dropped"]) == (len(known), len(events) - len(known))
    if known:
        seconds = len(known) * (window[1] - window[0])
        expected = [sum(row) / seconds for row in brute_force(trains, known, window)]
        assert found["rate"].tolist() == expected
    else:
        assert np.isnan(found["rate"]).all()
        assert len(found["rate"]) == len(trains)


@quick
@given(trains, events, windows, st.integers(-(2**20), 2**20))
def test_another_zero_of_the_clock_changes_no_count(trains, events, window, quarter_seconds):
    shift = quarter_seconds / 4
    moved = [[time + shift for time in train] for train in trains]
    first = maths.count_in_windows(*packed(trains), np.array(events, float), window)
    second = maths.count_in_windows(*packed(moved), np.array(events, float) + shift, window)
    np.testing.assert_array_equal(first, second)


@quick
@given(trains, events, windows, st.data())
def test_the_order_of_units_and_of_events_does_not_matter(trains, events, window, data):
    units = data.draw(st.permutations(range(len(trains))))
    trials = data.draw(st.permutations(range(len(events))))
    first = maths.compute_window_rates(*packed(trains), np.array(events, float), window)
    second = maths.compute_window_rates(
        *packed([trains[i] for i in units]), np.array([events[i] for i in trials], float), window
    )
    np.testing.assert_array_equal(second["rate"], first["rate"][list(units)])


@quick
@given(trains, events, st.integers(-64, 0), st.integers(1, 32), st.integers(1, 32))
def test_the_counts_of_adjoining_windows_add_up(trains, events, start, first, second):
    a, b, c = (n / 64 for n in (start, start + first, start + first + second))
    arrays = (*packed(trains), np.array(events, float))
    parts = maths.count_in_windows(*arrays, (a, b)) + maths.count_in_windows(*arrays, (b, c))
    np.testing.assert_array_equal(parts, maths.count_in_windows(*arrays, (a, c)))


@quick
@given(trains, events, windows)
def test_in_another_unit_of_time_rates_scale(trains, events, window):
    slow = [[4 * time for time in train] for train in trains]
    first = maths.compute_window_rates(*packed(trains), np.array(events, float), window)
    second = maths.compute_window_rates(
        *packed(slow), 4 * np.array(events, float), (4 * window[0], 4 * window[1])
    )
    np.testing.assert_array_equal(4 * second["rate"], first["rate"])


# --- the whole recording ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "first", "last", "rates"),
    [
        ([10, 0, 5], 100.0, 110.0, [1.0, 0.0, 0.5]),
        ([1], 3.0, 3.0, [NAN]),
        ([0, 0], NAN, NAN, [NAN, NAN]),
        ([], 0.0, 1.0, []),
        ([], NAN, NAN, []),
        ([3], -1.0, 0.5, [2.0]),
    ],
)
def test_rates_over_the_recording(counts, first, last, rates):
    found = maths.compute_recording_rates(np.array(counts, dtype=np.int64), first, last)
    np.testing.assert_array_equal(found, rates)


# --- regions ------------------------------------------------------------------------------------


def test_regions_manually():
    rate = np.array([1.0, 3.0, 10.0, NAN, 8.0, NAN])
    region = np.array([7, 7, 5, 5, 7, 9])
    found = maths.summarise_regions(rate, region)
    assert found["region_id"].tolist() == [5, 7]  # no rate is known in 9
    assert found["n"].tolist() == [1, 3]
    assert found["mean"].tolist() == [10.0, 4.0]
    assert found["median"].tolist() == [10.0, 3.0]
    np.testing.assert_allclose(found["sd"], [NAN, 13**0.5])
    np.testing.assert_allclose(found["sem"], [NAN, (13 / 3) ** 0.5])


@pytest.mark.parametrize(("rate", "region"), [([], []), ([NAN, NAN], [5, 7])])
def test_no_rates_give_no_regions(rate, region):
    found = maths.summarise_regions(np.array(rate, float), np.array(region, np.int64))
    assert list(found) == ["region_id", "n", "mean", "median", "sd", "sem"]
    assert all(column.shape == (0,) for column in found.values())


rates_in_regions = st.lists(
    st.tuples(st.one_of(st.floats(0, 200), st.just(NAN)), st.sampled_from([0, 5, 997, 2**31])),
    max_size=30,
)


@quick
@given(rates_in_regions, st.randoms(use_true_random=False))
def test_regions_are_those_of_a_loop_in_whatever_order_units_come(pairs, random):
    expected = {}
    for rate, region in pairs:
        if rate == rate:
            expected.setdefault(region, []).append(rate)
    shuffled = list(pairs)
    random.shuffle(shuffled)
    for order in (pairs, shuffled):
        rate, region = np.array(order, float).reshape(-1, 2).T
        found = maths.summarise_regions(rate, region.astype(np.int64))
        assert found["region_id"].tolist() == sorted(expected)
        assert found["n"].tolist() == [len(expected[r]) for r in sorted(expected)]
        for i, name in enumerate(sorted(expected)):
            assert found["mean"][i] == pytest.approx(statistics.fmean(expected[name]), rel=1e-12)
            assert found["median"][i] == statistics.median(expected[name])


# --- responses ----------------------------------------------------------------------------------


differences = st.integers(1, 30).flatmap(
    lambda n: st.lists(
        st.lists(st.integers(-6, 6).map(lambda k: k / 4), min_size=n, max_size=n),
        min_size=1,
        max_size=4,
    )
)


@quick
@given(differences)
@pytest.mark.filterwarnings("ignore:Sample size too small", "ignore:Exact p-value")
def test_the_test_is_that_of_scipy_unit_by_unit(table):
    found = maths.compute_wilcoxon(np.array(table))
    for unit, row in enumerate(table):
        assert found["n_changed"][unit] == sum(value != 0 for value in row)
        if any(row):
            expected = stats.wilcoxon(row, zero_method="wilcox", method="approx")
            assert found["statistic"][unit] == expected.statistic
            assert found["p"][unit] == pytest.approx(expected.pvalue, rel=1e-12)
        else:
            assert (found["statistic"][unit], math.isnan(found["p"][unit])) == (0, True)


def test_the_test_manually():
    # Sizes 1, 2, 2, 4 have ranks 1, 2.5, 2.5, 4: those of the negative ones add up to 2.5. The
    # expectation is 5, the variance 7.5 less 6 / 48 for the pair of ties.
    found = maths.compute_wilcoxon(np.array([[1.0, 0, -2, 0, 2, 4]]))
    assert found["statistic"].tolist() == [2.5]
    assert found["n_changed"].tolist() == [4]
    z = -2.5 / math.sqrt(7.375)
    assert found["p"][0] == pytest.approx(math.erfc(-z / math.sqrt(2)), rel=1e-12)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (3, 0)])
def test_no_units_or_no_trials_give_no_test(shape):
    found = maths.compute_wilcoxon(np.zeros(shape))
    assert all(values.shape == shape[:1] for values in found.values())
    assert np.isnan(found["p"]).all()
    assert not found["n_changed"].any()


def test_of_units_that_do_not_respond_p_is_uniform():
    rng = np.random.default_rng(3)
    p = maths.compute_wilcoxon(rng.standard_normal((2000, 100)))["p"]
    assert stats.kstest(p, "uniform").pvalue > 0.01


@quick
@given(differences, st.data())
def test_sign_and_order_of_trials_do_not_matter_to_the_test(table, data):
    table = np.array(table)
    order = data.draw(st.permutations(range(table.shape[1])))
    first, second = maths.compute_wilcoxon(table), maths.compute_wilcoxon(-table[:, list(order)])
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)


def test_responses_manually():
    trains = [[0.9, 1.05, 1.06, 3.05, 4.75, 4.8], []]
    shown, moved = np.array([1.0, 3.0, NAN, 5.0]), np.array([1.0, 3.0, 4.0, NAN])
    before, during = (shown, (-0.25, 0.0)), (moved, (0.0, 0.125))
    found = maths.compute_responses(*packed(trains), before, during)
    assert (found["n_trials"], found["n_missing"]) == (2, 2)
    assert found["rate_before"].tolist() == [2.0, 0.0]  # 1 spike in 2 x 0.25 s
    assert found["rate_in"].tolist() == [12.0, 0.0]  # 3 spikes in 2 x 0.125 s
    assert found["n_changed"].tolist() == [2, 0]
    assert found["statistic"].tolist() == [0.0, 0.0]
    assert found["p"][0] == pytest.approx(math.erfc(1.5 / math.sqrt(1.25) / math.sqrt(2)))
    assert math.isnan(found["p"][1])


def test_without_trials_there_is_no_response():
    around = (np.array([NAN, 1.0]), (0.0, 0.5)), (np.array([1.0, NAN]), (0.0, 0.5))
    found = maths.compute_responses(*packed([[1.0], []]), *around)
    assert (found["n_trials"], found["n_missing"]) == (0, 2)
    assert np.isnan([found["rate_before"], found["rate_in"], found["p"]]).all()


@pytest.mark.parametrize(
    ("train", "baseline", "window"),
    [
        ([0.65, 0.7, 0.8, 2.0], (-0.4, -0.1), (0.0, 0.1)),  # 3 spikes in 0.3 s, and 1 in 0.1 s
        ([0.75, 2.0], (-0.3, -0.1), (0.0, 0.2)),
    ],
)
def test_rates_that_are_equal_but_for_rounding_do_not_differ(train, baseline, window):
    assert baseline[1] - baseline[0] not in (0.3, 0.2)
    before, during = (np.array([1.0]), baseline), (np.array([2.0]), window)
    assert maths.compute_responses(*packed([train]), before, during)["n_changed"].tolist() == [0]


def test_rates_are_listed_by_region_in_the_order_of_units():
    rate, region = np.array([1.0, math.nan, 3.0, 2.0, 0.5]), np.array([549, 8, 7, 549, 7])
    assert maths.list_rates(rate, region) == {"7": [3.0, 0.5], "549": [1.0, 2.0]}
    assert maths.list_rates(np.empty(0), np.empty(0, int)) == {}
