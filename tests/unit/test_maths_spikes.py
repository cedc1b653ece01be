"""Summaries of spikes against values worked out by hand, and against loops."""

import numpy as np
import pytest

from schemas.maths import spikes


def test_points_are_counted_in_the_cell_whose_lower_edges_they_have():
    x = np.array([0.0, 0.5, 1.0, 1.99, 2.0, -0.1, np.nan, 0.2])
    y = np.array([0.0, 9.9, 10.0, 19.0, 5.0, 5.0, 5.0, np.nan])
    found = spikes.compute_density(x, y, np.array([0, 1, 2]), np.array([0, 10, 20]))
    assert found.tolist() == [[2, 0], [0, 2]]


def test_density_equals_numpy():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 11, 5000), rng.uniform(-50, 450, 5000)
    edges = np.linspace(0, 10, 21), np.linspace(0, 400, 9)
    expected = np.histogram2d(y, x, [edges[1], edges[0]])[0]
    assert np.array_equal(spikes.compute_density(x, y, *edges), expected)


def test_no_points_give_no_counts():
    none = np.empty(0)
    assert not spikes.compute_density(none, none, np.arange(3), np.arange(3)).any()


def test_intervals_are_counted_in_bins_that_hold_their_left_edge():
    times = np.array([0.0, 0.001, 0.003, 0.003, 5.0])
    found = spikes.compute_intervals(times, np.array([0, 0.001, 0.002, 0.004]))
    assert found.tolist() == [1, 1, 1]
    assert spikes.compute_intervals(np.empty(0), np.arange(4.0)).tolist() == [0, 0, 0]
    assert spikes.compute_intervals(np.array([1.0]), np.arange(4.0)).tolist() == [0, 0, 0]


def test_spikes_are_aligned_event_after_event():
    lag, event = spikes.align_spikes(
        np.array([1.0, 1.5, 2.0, 9.0]), np.array([1.5, 1.0, 50.0]), (-0.5, 1.0)
    )
    assert event.tolist() == [0, 0, 0, 1, 1]
    assert lag.tolist() == [-0.5, 0.0, 0.5, 0.0, 0.5]  # the one at 1.0 s is outside


def test_depth_rates_are_planted_ones():
    # 3 spikes at 10 um, 0.05 s after each of two events, and one at 30 um before the first
    events = np.array([10.0, 20.0])
    time = np.array([9.95, 10.05, 10.05, 10.05, 20.05, 20.05, 20.05])
    depth = np.array([30.0, 10, 10, 10, 10, 10, 10])
    edges = np.array([-0.1, 0.0, 0.1]), np.array([0.0, 20.0, 40.0])
    found = spikes.compute_depth_rates(time, depth, events, *edges)
    assert np.allclose(found, [[0, 30], [5, 0]])
    assert np.isnan(spikes.compute_depth_rates(time, depth, np.empty(0), *edges)).all()


def test_z_scores_are_of_the_baseline():
    rates = np.array([[1.0, 3.0, 6.0], [2.0, 2.0, 5.0]])
    found = spikes.compute_z_scores(rates, np.array([True, True, False]))
    assert np.allclose(found[0], [-1, 1, 4])
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize("n_events", [0, 1, 40])
def test_no_time_in_a_window_is_missed(n_events):
    rng = np.random.default_rng(n_events)
    times, events = rng.uniform(10, 400, 20_000), np.sort(rng.uniform(-5, 420, n_events))
    window = -0.3, 0.6
    times[:n_events] = events + window[1]  # on the edge
    lag = times[:, None] - events
    near = spikes.find_near(times, events, window)
    assert near[((lag >= window[0]) & (lag <= window[1])).any(axis=1)].all()
    beside = ((lag >= window[0] - 0.02) & (lag <= window[1] + 0.02)).any(axis=1)
    assert not near[~beside].any()
    assert len(spikes.find_near(times[:0], events, window)) == 0
