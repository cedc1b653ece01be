"""Timescales against loops, scipy's fit, and rates that were simulated with a known timescale."""

import itertools

import numpy as np
import pytest
from scipy import optimize, signal, stats

from schemas.maths import timescale as maths

STEP = 0.01
"""(s) Step of the simulated rates."""


def ou_counts(rng, n_units, tau, rate, variation, duration):
    """Draw counts in steps of a Poisson process whose rate is an Ornstein-Uhlenbeck process."""
    n, keep = round(duration / STEP), np.exp(-STEP / tau)
    noise = rng.standard_normal((n_units, n)) * np.sqrt(1 - keep**2)
    noise[:, 0] = rng.standard_normal(n_units)
    level = signal.lfilter([1], [1, -keep], noise, axis=1)
    return rng.poisson(np.maximum(rate * (1 + variation * level), 0) * STEP)


def as_spikes(rng, n_in_step):
    """Draw the times of counts within their steps: times (s), unit after unit, and counts."""
    unit, step = np.nonzero(n_in_step)
    n = n_in_step[unit, step]
    # Unit after unit in one sort: no train is as long as a million seconds.
    start = 1e6 * np.repeat(unit, n)
    times = np.sort((np.repeat(step, n) + rng.random(n.sum())) * STEP + start) - start
    return times, n_in_step.sum(axis=1)


def fit_session(n_in_step, rng, bin_width=0.02, n_lags=50, n_blocks=20):
    times, counts = as_spikes(rng, n_in_step)
    span = (0.0, n_in_step.shape[1] * STEP)
    found = maths.correlate_session(times, counts, span, bin_width, n_lags, n_blocks)
    lags = np.arange(1, n_lags + 1) * bin_width
    return maths.fit_decay(found, lags, 0, 500, (bin_width / 2, 2 * lags[-1]))


def fit_trials(n_in_step, n_trials, n_bins=10, bin_width=0.05, n_blocks=20):
    width = round(bin_width / STEP)
    n_spikes = n_in_step.reshape(len(n_in_step), n_trials, -1, width).sum(axis=3)[:, :, :n_bins]
    found = maths.correlate_trials(n_spikes, n_bins - 1, n_blocks)
    lags = np.arange(1, n_bins) * bin_width
    return maths.fit_decay(found, lags, 0, 100, (bin_width / 2, 2 * lags[-1]))


def assert_covered(found, tau, least_fitted):
    """Of the intervals that there are, about 95 % hold the timescale, and they are no wider."""
    fitted = found["failure"] == ""
    assert fitted.mean() >= least_fitted
    inside = (found["tau_low"] < tau) & (tau < found["tau_high"])
    n, n_inside = fitted.sum(), inside[fitted].sum()
    assert n_inside >= stats.binom.ppf(0.001, n, 0.95)
    # The interval is as wide as the estimates are spread.
    spread = np.std(np.log(found["tau"][fitted] / tau))
    width = np.median(np.log(found["tau_high"] / found["tau_low"])[fitted])
    assert width == pytest.approx(2 * stats.t.ppf(0.975, 19) * spread, rel=0.35)


# --- what was planted ---------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.05, 0.15, 0.4])
def test_planted_timescales_lie_in_their_intervals_over_a_session(tau):
    rng = np.random.default_rng(round(1000 * tau))
    found = fit_session(ou_counts(rng, 100, tau, 15.0, 0.4, 1200.0), rng)
    assert_covered(found, tau, 0.95)
    assert np.nanmedian(found["tau"]) == pytest.approx(tau, rel=0.1)
    # Variance of the rate in a bin over that of the counts, at a lag of 0.
    expected = 0.4**2 * 15 * 0.02 / (1 + 0.4**2 * 15 * 0.02)
    assert np.nanmedian(found["amplitude"]) == pytest.approx(expected, rel=0.1)
    assert np.nanmedian(found["offset"]) == pytest.approx(0, abs=0.003)


def test_planted_timescales_lie_in_their_intervals_across_trials():
    rng = np.random.default_rng(4)
    found = fit_trials(ou_counts(rng, 120, 0.1, 20.0, 0.6, 500 * 1.0), 500)
    fitted = found["failure"] == ""
    assert fitted.mean() > 0.7
    inside = (found["tau_low"] < 0.1) & (found["tau_high"] > 0.1)
    assert inside[fitted].sum() >= stats.binom.ppf(0.001, fitted.sum(), 0.95)
    assert np.nanmedian(found["tau"]) == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize("rate", [2.0, 15.0])
def test_poisson_units_have_no_timescale_or_an_amplitude_near_zero(rate):
    rng = np.random.default_rng(6)
    counts = rng.poisson(rate * STEP, (150, 100_000))
    for found, near in ((fit_session(counts, rng), 0.02), (fit_trials(counts, 1000), 0.1)):
        failed = found["failure"] != ""
        assert set(found["failure"][failed]) <= {maths.NO_DECAY, maths.OUT_OF_RANGE}
        assert failed.mean() > 0.95
        assert np.isnan(found["tau"][failed]).all()
        assert (np.abs(found["amplitude"][~failed]) < near).all()


def test_slow_drift_is_the_offset_and_not_the_timescale():
    rng = np.random.default_rng(7)
    counts = ou_counts(rng, 60, 0.1, 15.0, 0.4, 1200.0)
    drift = 1 + 0.5 * np.sin(np.linspace(0, 9, counts.shape[1]))
    found = fit_session(rng.binomial(counts, drift / 1.5), rng)
    assert (found["failure"] == "").mean() > 0.9
    assert np.nanmedian(found["tau"]) == pytest.approx(0.1, rel=0.15)
    assert np.nanmedian(found["offset"]) > 0.01


# --- correlations against loops -----------------------------------------------------------------


def test_the_correlation_over_a_session_is_that_of_loops_over_bins():
    rng = np.random.default_rng(8)
    trains = [np.sort(rng.uniform(1.0, 41.0, n)) for n in (400, 37, 0, 1)]
    counts = np.array([len(train) for train in trains])
    found = maths.correlate_session(np.concatenate(trains), counts, (1.0, 41.05), 0.1, 6, 4)
    assert found.n_spikes.tolist() == counts.tolist()
    for train, values, left_out in zip(trains[:2], found.values, found.left_out, strict=False):
        binned = np.histogram(train, np.linspace(1.0, 41.0, 401))[0]
        blocks = (binned - binned.mean()).reshape(4, 100)
        lagged = [[np.mean(b[: 100 - k] * b[k:]) for k in range(7)] for b in blocks]
        covariance = np.array(lagged)
        mean = covariance.mean(axis=0)
        np.testing.assert_allclose(values, mean[1:] / mean[0], rtol=1e-9, atol=1e-12)
        for k in range(4):
            mean = np.delete(covariance, k, axis=0).mean(axis=0)
            np.testing.assert_allclose(left_out[k], mean[1:] / mean[0], rtol=1e-9, atol=1e-12)
    assert np.isnan(found.values[2]).all()
    assert np.isfinite(found.values[3]).all()


def test_units_in_several_chunks_are_the_same(monkeypatch):
    rng = np.random.default_rng(9)
    counts = ou_counts(rng, 7, 0.1, 10.0, 0.4, 60.0)
    times, n = as_spikes(rng, counts)
    whole = maths.correlate_session(times, n, (0.0, 60.0), 0.02, 10, 5)
    monkeypatch.setattr(maths, "CELLS", 7000)
    parts = maths.correlate_session(times, n, (0.0, 60.0), 0.02, 10, 5)
    np.testing.assert_allclose(parts.values, whole.values, rtol=1e-12)
    np.testing.assert_array_equal(parts.n_spikes, whole.n_spikes)


def test_the_correlation_across_trials_is_the_mean_of_pearsons():
    rng = np.random.default_rng(10)
    n_spikes = rng.poisson(2.0, (3, 25, 5)) + rng.poisson(1.0, (3, 25, 1))
    n_spikes[1, :, 2] = 4  # a bin without variance
    n_spikes[2] = 0
    found = maths.correlate_trials(n_spikes, 4, 6)
    runs = np.array_split(np.arange(25), 6)
    for unit in (0, 1):
        for k in (None, 0, 5):
            trials = np.delete(np.arange(25), [] if k is None else runs[k])
            got = found.values[unit] if k is None else found.left_out[unit, k]
            for lag in (1, 2, 3, 4):
                pairs = [
                    np.corrcoef(n_spikes[unit, trials, i], n_spikes[unit, trials, j])[0, 1]
                    for i, j in itertools.combinations(range(5), 2)
                    if j - i == lag and not (unit == 1 and 2 in (i, j))
                ]
                expected = np.mean(pairs) if pairs else np.nan
                assert got[lag - 1] == pytest.approx(expected, rel=1e-9, nan_ok=True)
    assert np.isnan(found.values[2]).all()


# --- the fit ------------------------------------------------------------------------------------


def test_a_fit_is_that_of_scipy():
    rng = np.random.default_rng(11)
    lags = np.arange(1, 41) * 0.02
    tau, amplitude, offset = (rng.uniform(*r, 30) for r in ((0.05, 0.4), (0.1, 0.4), (-0.1, 0.1)))
    values = amplitude[:, None] * np.exp(-lags / tau[:, None]) + offset[:, None]
    values += rng.normal(0, 0.005, values.shape)
    blocks = values[:, None] + rng.normal(0, 0.001, (30, 10, 40))
    given = maths.Correlation(values, blocks, np.full(30, 1000), maths.FEW_SPIKES)
    found = maths.fit_decay(given, lags, 2, 1000, (0.01, 2.0))
    assert (found["failure"] == "").all()

    def decay(lag, tau, amplitude, offset):
        return amplitude * np.exp(-lag / tau) + offset

    for unit in range(30):
        start = tau[unit], amplitude[unit], offset[unit]
        fitted, _ = optimize.curve_fit(decay, lags[2:], values[unit, 2:], start, ftol=1e-14)
        got = [found[name][unit] for name in ("tau", "amplitude", "offset")]
        np.testing.assert_allclose(got, fitted, rtol=1e-4, atol=1e-6)
    assert (found["tau_low"] < found["tau"]).all()
    assert (found["tau"] < found["tau_high"]).all()


def test_every_failure_has_its_reason():
    lags = np.arange(1, 21) * 0.05
    shapes = [np.exp(-lags / 0.2), 0 * lags, 1 - lags, -np.exp(-lags / 0.2), lags * np.nan]
    values = np.array([*shapes, shapes[0]])
    rng = np.random.default_rng(12)
    blocks = values[:, None] + rng.normal(0, 1e-3, (6, 8, 20))
    n_spikes = np.array([100, 100, 100, 100, 100, 99])
    given = maths.Correlation(values, blocks, n_spikes, maths.SHORT)
    found = maths.fit_decay(given, lags, 0, 100, (0.025, 2.0))
    decay, limit = maths.NO_DECAY, maths.OUT_OF_RANGE
    expected = ["", decay, limit, decay, maths.SHORT, maths.FEW_SPIKES]
    assert found["failure"].tolist() == expected
    assert found["tau"][0] == pytest.approx(0.2)
    for name in ("tau", "tau_low", "tau_high", "amplitude", "offset"):
        assert np.isnan(found[name][1:]).all()
    assert set(maths.FAILURES) >= set(expected) - {""}


def test_too_short_a_session_and_too_few_trials():
    times, counts = np.linspace(0, 10, 200), np.array([150, 50])
    found = maths.correlate_session(times, counts, (0.0, 10.0), 0.1, 10, 10)
    assert (found.missing, found.values.shape) == (maths.SHORT, (2, 10))
    assert np.isnan(found.values).all()
    few = maths.correlate_trials(np.ones((2, 5, 6), int), 5, 20)
    assert (few.missing, few.values.shape) == (maths.FEW_TRIALS, (2, 5))
    for one, n_lags in ((found, 10), (few, 5)):
        fitted = maths.fit_decay(one, np.arange(1, n_lags + 1) * 0.1, 0, 0, (0.05, 2.0))
        assert set(fitted["failure"]) == {one.missing}
    none = maths.correlate_session(np.empty(0), np.empty(0, int), (0.0, 10.0), 0.1, 3, 4)
    assert maths.fit_decay(none, np.arange(1, 4) * 0.1, 0, 0, (0.05, 2.0))["tau"].shape == (0,)
