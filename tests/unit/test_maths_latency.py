"""Planted latencies lie within their intervals; units without a response have none."""

import numpy as np
import pytest

from schemas.maths import latency as maths

WIDTH = 0.001


def responses(rng, latency, base=5.0, response=25.0, n_trials=200, n_units=300, width=WIDTH):
    """Draw spikes in bins of a baseline of 0.2 s and of 0.2 s after the event."""
    n_bins = round(0.2 / width)
    before = rng.poisson(base * width, (n_units, n_trials, n_bins))
    time = (np.arange(n_bins) + 0.5) * width
    rate = np.where(time < latency, base, response)
    return before, rng.poisson(rate * width, (n_units, n_trials, n_bins))


@pytest.mark.parametrize(("base", "response"), [(5, 25), (10, 18), (20, 8), (0.5, 6)])
def test_planted_changes_lie_within_95_percent_intervals(base, response):
    rng = np.random.default_rng(1)
    before, after = responses(rng, 0.065, base, response)
    found = maths.compute_change_latencies(before, after, WIDTH, 0.0, 8.0)
    responds = ~np.isnan(found["latency"])
    assert responds.mean() > 0.95
    low, high = found["low"][responds], found["high"][responds]
    covered = ((low <= 0.065) & (high >= 0.065)).mean()
    assert covered > 0.95 - 4 * np.sqrt(0.05 * 0.95 / responds.sum())
    assert abs(np.median(found["latency"][responds]) - 0.065) <= 2 * WIDTH
    assert (
        np.sign(found["rate_after"] - found["rate_before"])[responds] == np.sign(response - base)
    ).all()


def test_units_without_a_response_have_no_latency():
    rng = np.random.default_rng(2)
    before, after = responses(rng, 0.0, 8, 8, n_units=1000)
    found = maths.compute_change_latencies(before, after, WIDTH, 0.0, 8.0)
    assert (~np.isnan(found["latency"])).mean() <= 0.01
    assert found["log_ratio"].max() < 20


def test_the_log_ratio_is_that_of_poisson_likelihoods():
    from scipy.stats import poisson

    counts = np.array([[1, 0, 2, 9, 7, 8]])
    found = maths.find_change_points(np.array([19.5]), 10.0, counts, 1.0)
    # The rate before is (19.5 + 0.5) / 10 = 2.
    ratios = [
        poisson.logpmf(counts[0, k:], counts[0, k:].mean()).sum()
        - poisson.logpmf(counts[0, k:], 2.0).sum()
        for k in range(6)
    ]
    assert found["log_ratio"][0] == pytest.approx(max(ratios))
    assert found["change"][0] == np.argmax(ratios) == 3
    assert found["rate_after"][0] == 8.0
    near = np.flatnonzero(np.array(ratios) >= max(ratios) + np.log(1 - np.sqrt(0.95)))
    assert (found["first"][0], found["last"][0]) == (near[0], near[-1])


def test_a_crossing_is_the_first_of_bins_in_a_row_on_one_side():
    rates = np.array(
        [
            [5, 9, 5, 9, 9, 9.0],
            [5, 1, 9, 1, 1, 5.0],
            [5, 5, 5, 5, 5, 9.0],
            [9, 9, 5, 1, 1, 1.0],
        ]
    )
    found = maths.find_crossings(np.full(4, 5.0), np.full(4, 1.0), rates, 3.0, 2)
    assert found.tolist() == [3, 3, 6, 0]


def test_planted_crossings_lie_within_their_intervals():
    rng = np.random.default_rng(3)
    before, after = responses(rng, 0.06, 5, 30, n_trials=150, n_units=100, width=0.01)
    weights = maths.draw_resamples(150, 200, rng)
    found = maths.compute_threshold_latencies(before, after, 0.01, 0.0, 4.0, 2, weights)
    assert np.nanmedian(found["latency"]) == pytest.approx(0.06)
    within = (found["low"] <= 0.06 + 1e-9) & (found["high"] >= 0.06 - 1e-9)
    assert within.mean() > 0.9
    flat = maths.compute_threshold_latencies(before, before, 0.01, 0.0, 6.0, 3, weights)
    assert np.isnan(flat["latency"]).mean() > 0.95


def test_resamples_have_as_many_trials():
    weights = maths.draw_resamples(30, 5, np.random.default_rng(0))
    assert weights.sum(axis=1).tolist() == [30] * 5
    assert maths.draw_resamples(0, 5, np.random.default_rng(0)).shape == (5, 0)


def test_a_change_is_found_before_the_event_too():
    rng = np.random.default_rng(4)
    before, after = responses(rng, 0.05, n_units=20)
    found = maths.compute_change_latencies(before, after, WIDTH, -0.1, 8.0)
    assert np.median(found["latency"]) == pytest.approx(-0.05, abs=0.003)
