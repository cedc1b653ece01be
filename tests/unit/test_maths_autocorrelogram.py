"""Autocorrelograms against loops over every pair of spikes, and of processes that are known."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import autocorrelogram as maths
from schemas.maths import trains as layout

quick = settings(max_examples=60, deadline=None)
WINDOWS = {"refractory_end": 0.002, "burst": (0.003, 0.005), "baseline": (0.2, 0.3)}

# Whole milliseconds, and so few of them that lags often fall on the edges of bins.
times = st.lists(st.integers(0, 60), max_size=25).map(sorted)
edges = st.sets(st.integers(0, 40), min_size=2, max_size=7).map(sorted)


def packed(trains):
    """Put trains one after another as they are stored: times (s) and counts."""
    counts = np.array([len(train) for train in trains], dtype=np.int64)
    return np.array([time for train in trains for time in train], dtype=float), counts


def count(train, low, high):
    return sum(low <= b - a < high for a, b in itertools.combinations(train, 2))


def poisson(rng, rate, duration):
    return np.sort(rng.uniform(0, duration, rng.poisson(rate * duration)))


def compute(trains, edges, **changed):
    return maths.compute_autocorrelograms(*packed(trains), edges, **{**WINDOWS, **changed})


# --- pairs --------------------------------------------------------------------------------------


@quick
@given(st.lists(times, max_size=5), edges, st.sampled_from([1, 7, 250_000]))
def test_every_pair_is_counted_once_in_the_bin_of_its_lag(trains, edges, at_once):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK", at_once)
        every, counts = packed(trains)
        found = maths.count_pairs(every / 1e3, counts, np.array(edges) / 1e3)
    expected = [[count(t, low, high) for low, high in itertools.pairwise(edges)] for t in trains]
    assert found.tolist() == expected


def test_counts_are_those_of_a_histogram_of_all_differences():
    rng = np.random.default_rng(1)
    trains = [np.round(poisson(rng, rate, 60), 6) for rate in (0.05, 3, 40)]
    edges = maths.compute_log_edges(0.001, 1.0, 30)
    found = maths.count_pairs(*packed(trains), edges)
    ticks = np.round(edges * 1e6).astype(int)
    for train, counted in zip(trains, found, strict=True):
        whole = np.round(train * 1e6).astype(int)
        lags = (whole[None, :] - whole[:, None])[np.triu_indices(len(whole), 1)]
        assert counted.tolist() == np.histogram(lags, [*ticks[:-1], ticks[-1] - 0.5])[0].tolist()
    assert found.sum() > 10_000


def test_no_units_and_units_without_pairs():
    edges = maths.compute_log_edges(0.001, 1.0, 10)
    assert maths.count_pairs(np.empty(0), np.empty(0, int), edges).shape == (0, 10)
    found = compute([[], [3.0], [1.0, 1.004]], edges)
    assert np.isnan(found["rate"][0]).all()
    assert (found["rate"][1] == 0).all()
    assert np.isnan(found["peak_lag"][:2]).all()
    assert np.isnan(found["burst_index"]).all()  # none has a pair at the baseline
    at = np.flatnonzero(found["rate"][2])
    assert at.tolist() == [np.searchsorted(edges, 0.004) - 1]
    assert found["peak_lag"][2] == pytest.approx(np.sqrt(edges[at[0]] * edges[at[0] + 1]))
    assert found["rate"][2, at[0]] == pytest.approx(0.5 / (edges[at[0] + 1] - edges[at[0]]))


def test_edges_grow_by_a_factor_and_are_whole_ticks():
    edges = maths.compute_log_edges(0.001, 1.0, 60)
    assert (edges[0], edges[-1]) == (0.001, 1.0)
    np.testing.assert_allclose(edges[1:] / edges[:-1], 1000 ** (1 / 60), atol=2e-3)
    np.testing.assert_allclose(edges * 1e6, np.round(edges * 1e6), atol=1e-7)
    centres = maths.compute_bin_centres(np.array([0.001, 0.01, 0.1]))
    np.testing.assert_allclose(centres, [0.001 * 10**0.5, 0.01 * 10**0.5])


# --- rates and indices --------------------------------------------------------------------------


def test_a_poisson_unit_fires_at_its_rate_at_every_lag():
    rng = np.random.default_rng(2)
    edges = maths.compute_log_edges(0.001, 1.0, 20)
    rates = np.array([5.0, 20.0, 50.0])
    trains = [poisson(rng, rate, 2000) for rate in rates]
    found = compute(trains, edges)
    # A pair is counted with a Poisson error, and close pairs are not wholly independent.
    n_pairs = found["rate"] * np.array([len(t) for t in trains])[:, None] * np.diff(edges)
    error = rates[:, None] / np.sqrt(n_pairs)
    assert (np.abs(found["rate"] - rates[:, None]) < 5 * error).all()
    assert found["burst_index"] == pytest.approx(1, abs=0.2)
    assert found["refractory_index"] == pytest.approx(1, abs=0.2)


def test_a_dead_time_empties_the_short_lags():
    rng = np.random.default_rng(3)
    train = np.cumsum(0.006 + rng.exponential(0.05, 20_000))
    edges = maths.compute_log_edges(0.001, 1.0, 40)
    found = compute([train], edges)
    silent = edges[1:] <= 0.006
    assert (found["rate"][0, silent] == 0).all()
    assert found["refractory_index"][0] == found["burst_index"][0] == 0
    # Of a renewal process the rate at long lags is that of the unit.
    late = edges[:-1] > 0.3
    assert found["rate"][0, late] == pytest.approx(1 / 0.056, rel=0.05)


def test_bursts_are_seen_at_the_lag_at_which_they_were_planted():
    rng = np.random.default_rng(4)
    single = poisson(rng, 2.0, 4000)
    second = single[rng.random(len(single)) < 0.3] + 0.004
    train = np.sort(np.concatenate([single, second]))
    edges = maths.compute_log_edges(0.001, 1.0, 60)
    found = compute([single, train], edges)
    bin_ = np.searchsorted(edges, 0.004, side="right") - 1
    assert found["peak_lag"][1] == pytest.approx(np.sqrt(edges[bin_] * edges[bin_ + 1]))
    # 0.3 of 1.3 spikes have a second one within a window of 2 ms; the rest fire at 2.6 Hz.
    expected = (0.3 / 1.3 / 0.002 + 2.6) / 2.6
    assert found["burst_index"][1] == pytest.approx(expected, rel=0.05)
    assert found["burst_index"][0] == pytest.approx(1, abs=0.5)
    assert found["refractory_index"][1] == pytest.approx(1, abs=0.4)


def test_a_rhythm_has_its_peak_at_the_period():
    rng = np.random.default_rng(5)
    ticks = np.arange(0, 600, 0.125)
    train = np.sort(ticks[rng.random(len(ticks)) < 0.8] + 0.0003)
    edges = maths.compute_log_edges(0.01, 0.2, 30)
    found = compute([train], edges)
    assert found["peak_lag"][0] == pytest.approx(0.125, rel=0.06)


def test_windows_may_lie_outside_the_bins():
    rng = np.random.default_rng(6)
    train = np.round(poisson(rng, 30.0, 200), 6)
    edges = maths.compute_log_edges(0.01, 0.1, 7)
    found = compute([train], edges)
    whole = np.round(train * 1e6).astype(int)
    lags = (whole[None, :] - whole[:, None])[np.triu_indices(len(whole), 1)]
    in_window = [((a <= lags) & (lags < b)).sum() for a, b in ((3000, 5000), (200_000, 300_000))]
    assert found["burst_index"][0] == pytest.approx(in_window[0] / 0.002 / (in_window[1] / 0.1))
    counted = np.histogram(lags, np.round(edges * 1e6))[0]
    np.testing.assert_allclose(found["rate"][0] * len(train) * np.diff(edges), counted, atol=1.5)
