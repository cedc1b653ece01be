"""Histograms around events against loops over every spike, event and bin."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import psth as maths

NAN = float("nan")
quick = settings(max_examples=60, deadline=None)

# Multiples of 1/64 s are exact, and so few that spikes often fall on the edges of bins.
ticks = st.integers(-64, 64 * 4).map(lambda n: n / 64)
trains = st.lists(st.lists(ticks, max_size=20).map(sorted), max_size=4)
events = st.lists(st.tuples(st.one_of(ticks, st.just(NAN)), st.integers(-1, 2)), max_size=8)
bins = st.tuples(st.integers(-4, 2), st.integers(1, 5), st.sampled_from([1, 3, 16])).map(
    lambda b: np.arange(b[0], b[0] + b[1] + 1) * b[2] / 64
)


def packed(trains):
    """Put trains one after another as they are stored: times, offsets, counts."""
    counts = np.array([len(train) for train in trains], dtype=np.int64)
    times = np.array([time for train in trains for time in train], dtype=float)
    return times, np.cumsum(counts) - counts, counts


def compute(trains, pairs, edges, n_conditions=3):
    times = np.array([time for time, _ in pairs], dtype=float)
    condition = np.array([label for _, label in pairs], dtype=int)
    return maths.compute_psth(*packed(trains), times, condition, n_conditions, edges)


def count(train, event, edges):
    return [
        sum(event + low <= time < event + high for time in train)
        for low, high in itertools.pairwise(edges)
    ]


# --- bins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "width", "first", "n_bins"),
    [
        (-0.5, 1.0, 0.05, -10, 30),  # example 8 of the training deck
        (-0.4, 1.0, 0.05, -8, 28),  # the web viewer
        (-0.2, 0.5, 0.025, -8, 28),
        (-0.3, 0.7, 0.1, -3, 10),  # 0.3 / 0.1 is 2.9999999999999996
        (-0.14, 0.28, 0.02, -7, 21),  # 0.14 / 0.02 is 7.000000000000001
        (-0.11, 0.11, 0.05, -3, 6),  # bins that are cut are whole
        (0.05, 0.4, 0.05, 1, 7),
        (-0.4, -0.1, 0.1, -4, 3),
        (0.0, 0.01, 0.05, 0, 1),
    ],
)
def test_the_event_is_an_edge_and_cut_bins_are_whole(start, end, width, first, n_bins):
    edges = maths.compute_bin_edges(start, end, width)
    assert edges.tolist() == [k * width for k in range(first, first + n_bins + 1)]


@pytest.mark.parametrize(
    ("time", "counts"),
    [
        (10.0, [0, 1, 0]),  # on the event: in the bin that it begins
        (10.25, [0, 0, 1]),
        (np.nextafter(10.25, 0), [0, 1, 0]),
        (9.75, [1, 0, 0]),
        (np.nextafter(9.75, 0), [0, 0, 0]),
        (np.nextafter(10.5, 0), [0, 0, 1]),
        (10.5, [0, 0, 0]),
    ],
)
def test_bins_are_half_open(time, counts):
    edges = maths.compute_bin_edges(-0.25, 0.5, 0.25)
    found = maths.count_spikes(*packed([[time]]), np.array([10.0]), edges)
    assert found.tolist() == [[counts]]


@pytest.mark.parametrize("width", [0.05, 0.1, 0.025, 0.02, 1 / 3, 0.0125])
@pytest.mark.parametrize("event", [0.0, 0.1, 1234.567891, 4999.3])
def test_a_spike_on_any_edge_is_in_the_bin_that_it_begins(event, width):
    """Also where an edge is no exact number, and a quotient rounds across it."""
    edges = maths.compute_bin_edges(-1.0, 1.0, width)
    train = event + edges
    found = maths.count_spikes(*packed([train]), np.array([event]), edges)
    assert (found == 1).all()
    just_before = np.nextafter(train, -np.inf)
    found = maths.count_spikes(*packed([just_before]), np.array([event]), edges)
    assert (found == 1).all()
    on_both = maths.count_spikes(*packed([np.sort([*train, *just_before])]), [event], edges)
    assert (on_both == 2).all()


def test_overlapping_windows_count_a_spike_each_time():
    edges = maths.compute_bin_edges(0.0, 1.0, 0.5)
    found = maths.count_spikes(*packed([[1.25]]), np.array([1.0, 0.5, 0.25, 1.25]), edges)
    assert found.tolist() == [[[1, 0], [0, 1], [0, 0], [1, 0]]]


@quick
@given(trains, st.lists(ticks, max_size=8), bins)
def test_counts_are_those_of_a_loop(trains, events, edges):
    found = maths.count_spikes(*packed(trains), np.array(events, float), edges)
    assert found.shape == (len(trains), len(events), len(edges) - 1)
    assert found.tolist() == [[count(train, e, edges) for e in events] for train in trains]
    by_trial = maths.count_by_trial(*packed(trains), np.array(events, float), edges)
    assert by_trial.tolist() == found.transpose(1, 0, 2).tolist()
    assert by_trial.dtype == np.uint8


@pytest.mark.parametrize(("n", "dtype"), [(255, np.uint8), (256, np.uint16), (65_536, np.uint32)])
def test_counts_by_trial_are_of_the_smallest_type_that_holds_them(n, dtype):
    found = maths.count_by_trial(*packed([[0.5] * n]), np.array([0.0]), np.array([0.0, 1.0]))
    assert (found.dtype, found.tolist()) == (dtype, [[[n]]])


# --- conditions ---------------------------------------------------------------------------------


def test_conditions_are_the_combinations_that_occur():
    condition, levels = maths.split_trials(
        {
            "side": np.array([1, 0, 0, NAN, 1, 0]),
            "contrast": np.array([0, 0, 0.25, 0.25, 0, NAN]),
        }
    )
    assert condition.tolist() == [2, 0, 1, -1, 2, -1]
    assert {name: level.tolist() for name, level in levels.items()} == {
        "side": [0, 0, 1],
        "contrast": [0, 0.25, 0],
    }


@pytest.mark.parametrize("values", [[], [NAN, NAN]])
def test_no_trial_is_no_condition(values):
    condition, levels = maths.split_trials({"side": np.array(values, float)})
    assert condition.tolist() == [-1] * len(values)
    assert levels["side"].tolist() == []


# --- rates --------------------------------------------------------------------------------------


def test_rates_manually():
    trains = [[0.1, 0.2, 5.3, 9.6], []]
    pairs = [(0.0, 0), (5.0, 0), (9.5, 1), (NAN, 1), (NAN, 2), (5.0, -1), (NAN, -1)]
    found = compute(trains, pairs, np.array([0.0, 0.25, 0.5]))
    assert found["n_events"].tolist() == [2, 1, 0]
    assert found["n_dropped"].tolist() == [0, 1, 1]
    assert found["n_spikes"].tolist() == [[[2, 1], [1, 0], [0, 0]], [[0, 0]] * 3]
    np.testing.assert_allclose(found["mean"][0], [[4, 2], [4, 0], [NAN, NAN]])
    np.testing.assert_allclose(found["mean"][1], [[0, 0], [0, 0], [NAN, NAN]])
    # 2 and 0 spikes in two events: 8 and 0 Hz, of which the standard error is 4; 0 and 4: 2.
    np.testing.assert_allclose(found["sem"][0], [[4, 2], [NAN, NAN], [NAN, NAN]])
    np.testing.assert_allclose(found["sem"][1], [[0, 0], [NAN, NAN], [NAN, NAN]])


@pytest.mark.parametrize(
    ("trains", "pairs"),
    [
        ([], []),
        ([], [(1.0, 0)]),
        ([[]], []),
        ([[1.0], []], [(NAN, 0), (NAN, 2)]),
        ([[1.0], []], [(1.0, -1), (1.0, 7)]),
    ],
)
def test_a_condition_without_events_has_no_rate(trains, pairs):
    found = compute(trains, pairs, np.array([-0.5, 0.0, 0.5]))
    rate_shape = (len(trains), 3, 2)
    assert found["mean"].shape == found["sem"].shape == found["n_spikes"].shape == rate_shape
    without = found["n_events"] == 0
    assert np.isnan(found["mean"][:, without]).all()
    assert np.isnan(found["sem"]).all()
    assert not found["n_spikes"].any()
    assert found["n_events"].sum() + found["n_dropped"].sum() == sum(0 <= c <= 2 for _, c in pairs)


@quick
@given(trains, events, bins)
def test_rates_are_those_of_a_loop(trains, pairs, edges):
    found = compute(trains, pairs, edges)
    width = edges[1] - edges[0]
    for label in range(3):
        times = [time for time, c in pairs if c == label]
        known = [time for time in times if not math.isnan(time)]
        assert found["n_events"][label] == len(known)
        assert found["n_dropped"][label] == len(times) - len(known)
        for unit, train in enumerate(trains):
            per_event = [count(train, event, edges) for event in known]
            for time_bin, values in enumerate(zip(*per_event, strict=True)):
                at = unit, label, time_bin
                assert found["n_spikes"][at] == sum(values)
                rates = [value / width for value in values]
                assert found["mean"][at] == pytest.approx(statistics.fmean(rates), rel=1e-12)
                if len(rates) > 1:
                    sem = statistics.stdev(rates) / math.sqrt(len(rates))
                    assert found["sem"][at] == pytest.approx(sem, rel=1e-9)
                else:
                    assert math.isnan(found["sem"][at])


@quick
@given(trains, events, bins)
def test_the_sums_of_a_condition_are_those_of_its_counts(trains, pairs, edges):
    found = compute(trains, pairs, edges)
    for label in range(3):
        known = np.array([t for t, c in pairs if c == label and not math.isnan(t)])
        counts = maths.count_spikes(*packed(trains), known, edges)
        np.testing.assert_array_equal(found["n_spikes"][:, label], counts.sum(axis=1))


@quick
@given(trains, events, bins, st.integers(-(2**20), 2**20))
def test_another_zero_of_the_clock_changes_nothing(trains, pairs, edges, quarter_seconds):
    shift = quarter_seconds / 4
    moved = [[time + shift for time in train] for train in trains]
    first = compute(trains, pairs, edges)
    second = compute(moved, [(time + shift, label) for time, label in pairs], edges)
    for name, values in first.items():
        np.testing.assert_array_equal(second[name], values)


@quick
@given(trains, events, bins, st.data())
def test_the_order_of_units_and_of_events_does_not_matter(trains, pairs, edges, data):
    units = list(data.draw(st.permutations(range(len(trains)))))
    trials = data.draw(st.permutations(pairs))
    first = compute(trains, pairs, edges)
    second = compute([trains[i] for i in units], trials, edges)
    for name in ("n_events", "n_dropped"):
        np.testing.assert_array_equal(second[name], first[name])
    for name in ("n_spikes", "mean", "sem"):
        np.testing.assert_array_equal(second[name], first[name][units])


@quick
@given(trains, events)
def test_a_wide_bin_has_the_mean_rate_of_the_narrow_ones(trains, pairs):
    narrow = compute(trains, pairs, np.arange(-4, 5) / 16)
    wide = compute(trains, pairs, np.array([-0.25, 0.25]))
    np.testing.assert_allclose(narrow["mean"].mean(axis=2), wide["mean"][:, :, 0], rtol=1e-12)


def test_counts_of_many_spikes_in_narrow_bins_are_those_of_numpy():
    """At the size of a recording, where times are no exact numbers."""
    rng = np.random.default_rng(0)
    trains = [np.sort(rng.uniform(0, 5000, n)) for n in (50_000, 0, 20_000)]
    events = np.sort(rng.uniform(1, 4990, 400))
    edges = maths.compute_bin_edges(-0.5, 1.0, 0.01)
    found = maths.count_spikes(*packed(trains), events, edges)
    for train, counts in zip(trains, found, strict=True):
        before = np.searchsorted(train, events[:, None] + edges)
        np.testing.assert_array_equal(counts, np.diff(before, axis=1))


@given(
    st.lists(st.tuples(ticks, st.one_of(st.integers(-9, 9), st.just(NAN))), max_size=30),
    st.lists(ticks, max_size=6),
    bins,
)
def test_averages_of_samples_are_those_of_a_loop(samples, events, edges):
    time, values = np.array(sorted(samples), float).reshape(-1, 2).T
    found = maths.average_samples(time, values, np.array(events, float), edges)
    assert found.shape == (len(events), len(edges) - 1)
    for k, event in enumerate(events):
        for b in range(len(edges) - 1):
            inside = (time >= event + edges[b]) & (time < event + edges[b + 1])
            held = values[inside & ~np.isnan(values)]
            expected = held.mean() if len(held) else NAN
            assert found[k, b] == pytest.approx(expected, nan_ok=True)
