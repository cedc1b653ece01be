"""Unit metrics: by hand, by loops over single units and spikes, by SciPy, by closed forms."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats

from schemas.ephys import MetricsDefinition
from schemas.maths import metrics
from schemas.maths import trains as layout
from schemas.maths.ephys import compute_passes
from schemas.maths.metrics import METRICS, MetricParameters
from schemas.sources.simulator import metrics as simulated

NAN = float("nan")
DEFINITIONS = {
    row["metrics_definition"]: MetricParameters(
        **{k: v for k, v in row.items() if k not in ("metrics_definition", "criterion")}
    )
    for row in MetricsDefinition.contents
}
OLD, NEW = DEFINITIONS["ibl_2022"], DEFINITIONS["ibl_2024"]
# Version 1 of numpy rounds the edges of float32 in another way than version 2.
KINDS = [np.float64, np.float32] if np.__version__ >= "2" else [np.float64]
quick = settings(max_examples=40, deadline=None)


def lay_out(*units):
    """Join what is given unit by unit; return the values and the counts."""
    arrays = [np.asarray(unit, float) for unit in units]
    return np.concatenate([np.zeros(0), *arrays]), np.array([len(a) for a in arrays], int)


def compute(times, amplitudes=None, depths=None, parameters=NEW):
    """Compute all metrics of units that are given as lists of their spikes."""
    t, n = lay_out(*times)
    a = np.full(len(t), 1e-4) if amplitudes is None else lay_out(*amplitudes)[0]
    d = np.zeros(len(t)) if depths is None else lay_out(*depths)[0]
    return metrics.compute_unit_metrics(t, a, d, n, parameters)


def poisson_train(rng, rate, seconds, dead=0.0):
    """Draw a train that is silent for the dead time after each spike."""
    gaps = dead + rng.exponential(1 / rate, int(2 * rate * seconds) + 50)
    times = np.cumsum(gaps)
    return times[times < seconds]


@pytest.fixture(scope="module")
def population():
    """Units of many kinds: silent, of 1, 2, 500 and 501 spikes, clean, contaminated, cut, rare."""
    rng = np.random.default_rng(4)
    times, amplitudes, depths = [], [], []
    for k in range(40):
        train = poisson_train(rng, rng.uniform(2, 30), 400.0, 0.003 * (k % 2))
        if k < 5:
            train = np.sort(rng.choice(np.linspace(1, 399, 40_000), [0, 1, 2, 500, 501][k], False))
        if k == 39:  # rare and regular: no contamination can be excluded, so it is forced
            train = np.arange(0.5, 100.0, 1.0)
        if k % 5 == 0 and len(train) > 50:
            train = np.sort(np.r_[train, train[:20] + 5e-5, train[:3]])
        level = rng.lognormal(np.log(rng.uniform(3e-5, 2e-4)), 0.25, len(train))
        if k % 3 == 0 and len(train):
            level = np.maximum(level, np.quantile(level, 0.2) * rng.uniform(1, 1.03, len(train)))
        times.append(train)
        amplitudes.append(level)
        depths.append(500 + rng.normal(0, 10, len(train)))
    return times, amplitudes, depths


# --- all of them, against another implementation ------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 5_000, 10_000_000])
def test_all_metrics_equal_those_of_the_simulator_whatever_is_done_at_a_time(
    population, monkeypatch, chunk
):
    monkeypatch.setattr(layout, "CHUNK", chunk)
    found = compute(*population)
    (times, counts), amps, depths = (
        lay_out(*population[0]),
        *(lay_out(*p)[0] for p in population[1:]),
    )
    start = np.r_[0, np.cumsum(counts)]
    expected = simulated.sort_metrics(simulated.UnitSpikes(start, times, amps, depths))
    expected = expected.rename(columns={"slidingRP_viol": "sliding_rp_viol"})
    expected = expected.rename(columns={"slidingRP_viol_forced": "sliding_rp_viol_forced"})
    expected = expected.rename(columns={"amp_std_dB": "amp_std_db"})
    assert list(found) == list(METRICS)
    for name in METRICS:
        np.testing.assert_allclose(
            found[name], expected[name].to_numpy(float), rtol=1e-10, atol=1e-13, err_msg=name
        )
        # No test of equality of nothing: what is compared differs from unit to unit.
        assert len(set(found[name][~np.isnan(found[name])])) > 1, name


def test_units_do_not_know_of_each_other(population):
    order = np.random.default_rng(0).permutation(len(population[0]))
    for parameters in DEFINITIONS.values():
        found = compute(*population, parameters)
        again = compute(*([part[k] for k in order] for part in population), parameters)
        for name in METRICS:
            np.testing.assert_allclose(again[name], found[name][order], rtol=1e-12, err_msg=name)


# --- clusters with few spikes -------------------------------------------------------------------

ZERO = {"spike_count", "firing_rate", "presence_ratio", "presence_ratio_std"}


@pytest.mark.parametrize("parameters", DEFINITIONS.values(), ids=DEFINITIONS)
@pytest.mark.parametrize("silent", [0, 1, 2])
def test_a_cluster_without_spikes(parameters, silent):
    units = [[0.0, 3.0, 90.0], [1.0, 2.0]]
    units.insert(silent, [])
    found = compute(units, parameters=parameters)
    for name in METRICS:
        expected = 0.0 if name in ZERO else NAN
        np.testing.assert_array_equal(found[name][silent], expected, err_msg=name)
    passes = compute_passes(found, 3, "max_confidence", 90, 5, 5e-5)
    label = metrics.compute_label(passes)
    assert (label["label"][silent], label["bitwise_fail"][silent]) == (0, 7)


@pytest.mark.parametrize("parameters", DEFINITIONS.values(), ids=DEFINITIONS)
@pytest.mark.parametrize("n_units", [0, 1, 3])
def test_a_sort_without_spikes(parameters, n_units):
    found = compute([[]] * n_units, parameters=parameters)
    assert set(found) == set(METRICS)
    for name in METRICS:
        expected = 0.0 if name in ZERO - {"firing_rate"} else NAN
        np.testing.assert_array_equal(found[name], [expected] * n_units, err_msg=name)


def test_a_unit_of_one_spike():
    found = compute([[5.0], [0.0, 100.0]], [[8e-5], [1e-4, 1e-4]], [[NAN], [0, 0]])
    one = {name: values[0] for name, values in found.items()}
    known = {
        "spike_count": 1,
        "firing_rate": 0.01,
        "amp_min": 8e-5,
        "amp_max": 8e-5,
        "amp_median": pytest.approx(8e-5, rel=1e-15),
        "presence_ratio": 1 / 11,
        "presence_ratio_std": pytest.approx(math.sqrt(10) / 11),
        "drift": 0,
        "contamination": 0,
        "contamination_alt": 0,
        "sliding_rp_viol": 0,
        "sliding_rp_viol_forced": 0,
        "max_confidence": 0,
        "n_spikes_below2": 0,
    }
    assert {name: one[name] for name in known} == known
    assert all(np.isnan(one[name]) for name in METRICS if name not in known)
    old = compute([[5.0], [0.0, 100.0]], parameters=OLD)
    assert old["sliding_rp_viol"][0] == 0
    assert np.isnan(old["noise_cutoff"][0])


@pytest.mark.parametrize("parameters", DEFINITIONS.values(), ids=DEFINITIONS)
def test_all_spikes_at_one_time(parameters):
    found = compute([[7.0, 7.0, 7.0], [7.0]], parameters=parameters)
    for name in ("firing_rate", "drift", "contamination"):
        assert np.isnan(found[name]).all(), name
    assert found["presence_ratio"].tolist() == [1, 1]
    assert found["contamination_alt"].tolist() == [0, 0]  # no time passes
    assert found["sliding_rp_viol"].tolist() == [0, 0]
    if parameters is NEW:
        assert found["n_spikes_below2"].tolist() == [3, 0]


# --- amplitudes ---------------------------------------------------------------------------------


def test_amplitudes_manually():
    values, counts = lay_out([1e-4, 1e-5, 1e-3], [1e-5, 1e-3], [4e-5])
    found = metrics.compute_amplitude_statistics(values, counts)
    np.testing.assert_array_equal(found["amp_min"], [1e-5, 1e-5, 4e-5])
    np.testing.assert_array_equal(found["amp_max"], [1e-3, 1e-3, 4e-5])
    # -80, -100 and -60 dB: the mean of -100 and -60 is -80, a geometric mean.
    np.testing.assert_allclose(found["amp_median"], [1e-4, 1e-4, 4e-5], rtol=1e-12)
    np.testing.assert_allclose(found["amp_std_db"], [20, math.sqrt(800), NAN], rtol=1e-12)


def test_equal_amplitudes_have_no_spread():
    found = compute([np.arange(600.0), np.arange(3.0)], [[7e-5] * 600, [7e-5] * 3])
    np.testing.assert_allclose(found["amp_median"], 7e-5, rtol=1e-14)
    np.testing.assert_allclose(found["amp_std_db"], 0, atol=1e-12)
    assert np.isnan(found["noise_cutoff"]).all()
    # All in the middle of 60 bins: nothing at the lower end, nothing that would be missing.
    np.testing.assert_allclose(found["missed_spikes_est"], [0, NAN])


@quick
@given(st.lists(st.lists(st.floats(1e-6, 1e-2), max_size=30), max_size=8))
def test_amplitudes_equal_those_of_the_standard_library(units):
    found = metrics.compute_amplitude_statistics(*lay_out(*units))
    for k, unit in enumerate(units):
        level = [20 * math.log10(a) for a in unit]
        expected = {
            "amp_min": min(unit, default=NAN),
            "amp_max": max(unit, default=NAN),
            "amp_median": 10 ** (statistics.median(level) / 20) if unit else NAN,
            "amp_std_db": statistics.stdev(level) if len(unit) > 1 else NAN,
        }
        for name, value in expected.items():
            np.testing.assert_allclose(found[name][k], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("parameters", DEFINITIONS.values(), ids=DEFINITIONS)
def test_a_nan_amplitude_is_not_hidden_and_stays_in_its_unit(parameters):
    rng = np.random.default_rng(1)
    level = rng.lognormal(-9.5, 0.2, (2, 1000))
    times = np.sort(rng.uniform(0, 500, (2, 1000)))
    whole = compute(times, level, parameters=parameters)
    level[0, 17] = NAN
    found = compute(times, level, parameters=parameters)
    for name in METRICS:
        hidden = name.startswith("amp_") or name in ("missed_spikes_est", "noise_cutoff")
        expected = NAN if hidden else whole[name][0]
        np.testing.assert_array_equal(found[name], [expected, whole[name][1]], err_msg=name)


def test_amplitudes_that_are_not_positive():
    found = compute([[0.0, 1.0, 2.0]] * 2, [[0.0, 1e-4, 1e-4], [-1e-4, 1e-4, 1e-4]])
    assert found["amp_min"].tolist() == [0, -1e-4]
    assert found["amp_median"][0] == pytest.approx(1e-4)
    assert np.isnan(found["amp_std_db"]).all()
    assert np.isnan(found["noise_cutoff"][1])


# --- presence and drift -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last", "n_bins"), [(0.0, 1), (4.9, 1), (5.0, 1), (5.1, 2), (15.0, 2), (15.1, 3), (20.0, 3)]
)
def test_a_bin_is_added_where_more_than_half_of_one_is_left(last, n_bins):
    found = metrics.compute_presence(np.array([100.0]), np.array([1]), 100.0, 100 + last, 10.0)
    assert found["presence_ratio"].tolist() == [1 / n_bins]
    spread = statistics.pstdev([1] + [0] * (n_bins - 1))
    assert found["presence_ratio_std"].tolist() == pytest.approx([spread])


def test_presence_manually():
    # Bins [2, 12), [12, 22), [22, 32), [32, 42).
    found = compute([[2.0, 3.0, 11.9, 12.0, 35.0], [21.9, 32.0]])
    assert found["presence_ratio"].tolist() == [3 / 4, 2 / 4]
    assert found["presence_ratio_std"][0] == pytest.approx(statistics.pstdev([3, 1, 0, 1]))
    assert found["presence_ratio_std"][1] == pytest.approx(statistics.pstdev([0, 1, 0, 1]))


def test_drift_manually():
    depths = [[10.0, 13.0, 9.0], [500.0, 500.0], [1.0], [4.0, NAN, 4.0]]
    found = compute([[0.0, 1.0, 1800.0], [5.0, 6.0], [7.0], [8.0, 9.0, 10.0]], depths=depths)
    np.testing.assert_array_equal(found["drift"], [14.0, 0, 0, NAN])  # 7 um in half an hour


# --- contamination ------------------------------------------------------------------------------


def test_contamination_manually():
    # One violation, of 1 ms: 1.45 ms is the time from a duplicate, which is left out first.
    train = [0.0, 0.001, 1.0, 1.0001 - 1e-9, 1.00155, 2.0, 2.0016]
    found = metrics.compute_contamination(*lay_out(train, [], [3.0]), 10.0, 0.0015, 0.0001)
    manually = (1 / (2 * 6 * 0.0014)) / (6 / 10)
    np.testing.assert_allclose(found, [manually, NAN, 0], rtol=1e-12)


def test_contamination_equals_a_loop_over_spikes(population):
    times, seconds = population[0], 400.0
    found = metrics.compute_contamination(*lay_out(*times), seconds, 0.0015, 0.0001)
    for train, value in zip(times, found, strict=True):
        kept = [t for k, t in enumerate(train) if k == 0 or train[k] - train[k - 1] > 0.0001]
        n = len(kept)
        violations = sum(b - a < 0.0015 for a, b in itertools.pairwise(kept))
        expected = violations * seconds / (2 * n * n * 0.0014) if n else NAN
        np.testing.assert_allclose(value, expected, rtol=1e-12)
    assert (found > 0).any()


def test_the_other_contamination_solves_its_equation(population):
    found = metrics.compute_contamination_alt(*lay_out(*population[0]), 0.0015)
    for train, x in zip(population[0], found, strict=True):
        if len(train):
            n, violations = len(train), int((np.diff(train) < 0.0015).sum())
            c = (train[-1] - train[0]) * violations / (2 * 0.0015 * n**2)
            assert x == pytest.approx(min(abs(np.roots([-1, 1, c]))), rel=1e-12)
            assert x**2 + x == pytest.approx(c, rel=1e-12)  # -x is the root
    assert np.isnan(found[0])
    assert (found > 0).any()


# --- missed spikes ------------------------------------------------------------------------------


def missed_of_one_unit(values):
    """Estimate the missed spikes of a unit with numpy's histogram and SciPy's filter."""
    if len(values) <= 500:
        return NAN
    counts, _ = np.histogram(values, len(values) // 10, density=True)
    pdf = ndimage.gaussian_filter1d(counts, 4)
    peak = pdf.argmax()
    cut = peak + np.abs(pdf[peak:] - pdf[0]).argmin()
    return min(0.5, pdf[cut:].sum() / pdf.sum())


@pytest.mark.parametrize("kind", KINDS)
def test_missed_spikes_equal_a_loop_over_units(population, kind):
    values, counts = lay_out(*population[1])
    found = metrics.estimate_missed_spikes(values.astype(kind), counts, 10, 50, 4.0)
    expected = [missed_of_one_unit(unit.astype(kind)) for unit in population[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert np.isnan(found[[0, 1, 2, 3, -1]]).all()  # too few spikes
    assert not np.isnan(found[4:-1]).any()


def test_missed_spikes_of_a_normal_distribution_are_those_cut_off():
    rng = np.random.default_rng(2)
    for share in (0.05, 0.1, 0.3):
        whole = rng.normal(10, 1, 100_000)
        cut = whole[whole > stats.norm.ppf(share, 10, 1)]
        found = metrics.estimate_missed_spikes(cut, np.array([len(cut)]), 10, 50, 40.0)
        # What lies beyond the mirror image of the cut, as a fraction of what is left.
        assert found[0] == pytest.approx(share / (1 - share), rel=0.25)


# --- noise cut-off ------------------------------------------------------------------------------


def histogram(**filled):
    """Amplitudes that fill bins of 99, `_5=2` two from 5 to 6, and the largest, 99."""
    return [*(int(name[1:]) + 0.5 for name, n in filled.items() for _ in range(n)), 99.0]


def noise_by_loop(values, method):
    """Work out the noise cut-off of a unit bin by bin."""
    if len(values) < 2:
        return NAN
    n = np.histogram(values, np.linspace(0, max(values), 100))[0].tolist()
    peak = n.index(max(n))
    if method == "filled_bins":
        length = sum(n[k] > 0 for k in range(peak, 98))
        top = [n[k] for k in range(math.ceil(0.5 * length + peak), 99) if n[k] >= 1]
        low = [count for count in n if count][1:2]
    else:
        changes = [k for k in range(98) if n[k + 1] != n[k]]
        start = math.ceil(0.6 * (changes[-1] - peak) + peak)
        top = [n[k] for k in changes if k > start]
        low = [n[k] for k in changes[1:2]]
    if not top or not low or statistics.pstdev(top) == 0:
        return NAN
    return (low[0] - statistics.mean(top)) / statistics.pstdev(top)


@pytest.mark.parametrize(
    ("method", "start", "manually"),
    [
        # Peak 10, filled 10, 11, 12, 13 of 10..97: top from bin 12. Low: bin 10.
        ("filled_bins", 0.5, (9 - 7 / 3) / statistics.pstdev([4, 2, 1])),
        # Changes at 4, 5, 9, 10, 11, 12, 13, 97; length 87, top beyond bin 63: bin 97 alone.
        ("last_change", 0.6, NAN),
        # Top beyond bin 10: 6, 4, 2 and, at 97, 0. Low: bin 5, the second change.
        ("last_change", 0.0, (2 - 3) / statistics.pstdev([6, 4, 2, 0])),
    ],
)
def test_noise_cutoff_manually(method, start, manually):
    values = histogram(_5=2, _10=9, _11=6, _12=4, _13=2)
    found = metrics.compute_noise_cutoff(*lay_out(values, values[:1]), 100, method, start)
    np.testing.assert_allclose(found, [manually, NAN], rtol=1e-12)


@pytest.mark.parametrize("parameters", DEFINITIONS.values(), ids=DEFINITIONS)
def test_noise_cutoff_equals_a_loop_over_bins(population, parameters):
    method, start = parameters.noise_method, parameters.noise_top_start
    found = metrics.compute_noise_cutoff(*lay_out(*population[1]), 100, method, start)
    expected = [noise_by_loop(unit, method) for unit in population[1]]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert (found > 20).any()
    assert (found < 5).any()


@quick
@given(st.lists(st.lists(st.integers(1, 99), max_size=60), max_size=6), st.floats(1e-7, 1e7))
def test_noise_cutoff_knows_no_scale_but_that_of_its_bins(units, scale):
    # In the middle of bins: on an edge, rounding decides.
    units = [[k - 0.5 for k in unit] + [99.0] for unit in units]
    values, counts = lay_out(*units)
    for parameters in DEFINITIONS.values():
        more = 100, parameters.noise_method, parameters.noise_top_start
        found = metrics.compute_noise_cutoff(values, counts, *more)
        np.testing.assert_allclose(
            found, [noise_by_loop(unit, more[1]) for unit in units], rtol=1e-10
        )
        again = metrics.compute_noise_cutoff(values * scale, counts, *more)
        np.testing.assert_allclose(again, found, rtol=1e-10)


@quick
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=40), min_size=1, max_size=5))
def test_bins_are_those_of_numpy_on_every_edge(units):
    values, counts = lay_out(*units)
    low, high = (np.array([f(unit) for unit in units], float) for f in (min, max))
    high[low == high] += 1
    n_bins = np.array([3 + 4 * k for k in range(len(units))])
    for kind in KINDS:
        limits = (low / 7).astype(kind), (high / 7).astype(kind)
        scaled = (values / 7).astype(kind)
        filled, width = layout.histograms(scaled, counts, *limits, n_bins)
        start = np.cumsum(counts) - counts
        for k, first in enumerate(np.cumsum(n_bins) - n_bins):
            unit = scaled[start[k] : start[k] + counts[k]]
            span = (limits[0][k], limits[1][k])
            expected, edges = np.histogram(unit, n_bins[k], range=span)
            part = slice(first, first + n_bins[k])
            np.testing.assert_array_equal(filled[part], expected)
            np.testing.assert_allclose(width[part], np.diff(edges), rtol=1e-5)


# --- refractory period --------------------------------------------------------------------------


def lags_by_loop(train, sampling):
    """Lags of all pairs of spikes, in samples."""
    samples = np.array([int(t * sampling) for t in train])
    return np.concatenate(
        [samples[k + 1 :] - samples[k] for k in range(len(samples))] or [np.zeros(0)]
    )


def sliding_by_loop(train):
    """Test each contamination at all refractory periods, with SciPy's Poisson."""
    lags = np.sort(lags_by_loop(train, 30_000))
    rate = ((lags >= 30_000) & (lags < 60_000)).sum() / len(train)
    sample = np.array([k for k in range(300) if (k + 0.5) / 30_000 > 0.0005])
    close = np.searchsorted(lags, sample, side="right")
    best = {}
    for percent in np.arange(0.5, 35, 0.5):
        expected = rate * percent / 100 * (sample + 1) / 30_000 * 2 * len(train)
        best[percent] = max(100 * (1 - stats.poisson.cdf(close, expected)))
    excluded = [percent for percent in best if best[percent] >= 90]
    return {
        "max_confidence": best[10.0],
        "min_contamination": min(excluded, default=NAN),
        "sliding_rp_viol": float(min(excluded, default=99) <= 10),
        "n_spikes_below2": (lags <= 60).sum(),
    }


@pytest.fixture(scope="module")
def trains():
    rng = np.random.default_rng(7)
    clean = [poisson_train(rng, rate, 300.0, 0.004) for rate in (0.5, 3, 8)]
    mixed = [
        np.sort(np.r_[poisson_train(rng, rate, 300.0, 0.004), poisson_train(rng, share, 300.0)])
        for rate, share in ((6, 0.1), (6, 0.4), (6, 2))
    ]
    return [*clean, *mixed, poisson_train(rng, 5, 300.0), np.array([1.0, 1.0, 2.0, 3.5, 3.5])]


def test_the_sliding_test_equals_a_loop_over_periods_and_contaminations(trains):
    found = compute(trains)
    for k, train in enumerate(trains):
        for name, value in sliding_by_loop(train).items():
            np.testing.assert_allclose(found[name][k], value, rtol=1e-9, atol=1e-9, err_msg=name)
    assert set(found["sliding_rp_viol"]) == {0, 1}
    assert 0 < np.isnan(found["min_contamination"]).sum() < len(trains)


def test_confidence_without_violations_is_that_of_a_closed_form():
    """No pair closer than 10 ms: 1 - exp(-expected), with a window of 300 samples."""
    train = np.arange(0, 200, 0.25)  # 4 Hz, with 4 pairs of 1 to 2 s a spike
    found = compute([train])
    n = len(train)
    pairs = sum(n - lag for lag in range(4, 8))
    expected = 2 * pairs * 0.1 * 0.01
    assert found["max_confidence"][0] == pytest.approx(100 * (1 - math.exp(-expected)))
    least = 100 * math.log(10) / (2 * pairs * 0.01)
    assert found["min_contamination"][0] == math.ceil(2 * least) / 2
    assert found["sliding_rp_viol"][0] == (least <= 10)


@pytest.mark.parametrize(("n", "passes"), [(1152, 0), (1153, 1)])
def test_the_least_number_of_spikes_that_passes(n, passes):
    # At 1 Hz there are n - 1 pairs of 1 to 2 s: 0.002 of them must exceed log(10) = 2.3026.
    assert (0.002 * (n - 1) >= math.log(10)) == bool(passes)
    found = compute([np.arange(n) + 1e-6])
    assert found["sliding_rp_viol"].tolist() == [passes]


@pytest.mark.parametrize(
    ("seconds", "rate", "pair", "forced"),
    [(100, 1.0, None, 1), (100, 0.4, None, 0), (100, 1.0, 0.0019, 0), (100, 1.0, 0.0021, 1)],
)
def test_rare_units_without_a_close_pair_pass_when_forced(seconds, rate, pair, forced):
    train = np.arange(0, seconds, 1 / rate) + 0.001
    if pair:
        train = np.sort(np.r_[train, train[50] + pair])
    found = compute([train, [0.0, 1e4]])
    assert found["sliding_rp_viol"][0] == 0
    assert found["sliding_rp_viol_forced"][0] == forced
    assert found["n_spikes_below2"][0] == (pair == 0.0019)


def test_what_passes_is_not_forced_to(population):
    found = compute(*population)
    passes = found["sliding_rp_viol"] == 1
    assert passes.any()
    assert (found["sliding_rp_viol_forced"][passes] == 0).all()


@quick
@given(st.lists(st.lists(st.integers(0, 500), max_size=25), max_size=5))
def test_lags_equal_a_loop_over_pairs(units):
    units = [np.sort(unit) / 100 for unit in units]
    train = layout.Trains(*lay_out(*units), 100.0, 5.0)
    lags, pairs = train.count_lags(40), train.count_pairs(30, 200)
    for k, unit in enumerate(units):
        all_lags = lags_by_loop(unit, 100.0)
        near = all_lags[all_lags < 40].astype(int)
        np.testing.assert_array_equal(lags[k], np.bincount(near, minlength=40))
        assert pairs[k] == ((all_lags >= 30) & (all_lags < 200)).sum()


def counts_by_loop(train):
    """Judge a unit as until 2022, with SciPy's quantile of Poisson."""
    lags = lags_by_loop(train, 20_000) // 5
    span = train[-1] - train[0]
    rate = ((lags >= 2000) & (lags <= 4000)).sum() / len(train) / 0.00025 / 2000
    for k in (5, 6, 7, 8, 10, 12, 14, 16, 18, 20, 24, 28, 32, 36, 40):
        period = k * 0.00025 + 1e-6
        allowed = stats.poisson.ppf(0.1, period * 2 * rate * span * rate * 0.1)
        if (lags <= k).sum() <= (-1 if allowed == 0 else allowed):
            return 1.0
    return 0.0


def test_the_test_of_2022_equals_a_loop_over_periods(trains):
    rng = np.random.default_rng(11)
    some = [poisson_train(rng, rate, 300.0, 0.003 * (k % 2)) for k, rate in enumerate([2, 4] * 10)]
    units = [*trains, *some]
    found = compute(units, parameters=OLD)["sliding_rp_viol"]
    np.testing.assert_array_equal(found, [counts_by_loop(train) for train in units])
    assert set(found) == {0, 1}


@pytest.mark.parametrize("close", [0, 1, 2, 3])
def test_the_contamination_that_just_passes_the_test_of_2022(close):
    train = np.arange(0, 100, 0.25) + 1e-5
    train = np.sort(np.r_[train, train[10 : 10 + close] + 0.001])
    lags = lags_by_loop(train, 20_000)
    rate = ((lags >= 10_000) & (lags < 20_005)).sum() / len(train) / 0.5
    # The mean of which a Poisson count stays below `close` in one case of ten: a gamma quantile.
    expected = stats.gamma.ppf(0.9, max(close, 1))
    percent = 100 * expected / (2 * rate**2 * (train[-1] - train[0]) * 0.010001)
    for factor, passes in ((1 - 1e-5, 0), (1 + 1e-5, 1)):
        found = metrics.judge_refractory_counts(*lay_out(train), 20_000.0, percent * factor, 90.0)
        assert found.tolist() == [passes]


def test_what_2022_did_not_know_is_nan(population):
    found = compute(*population, OLD)
    for name in metrics.CONFIDENCE_METRICS:
        assert np.isnan(found[name]).all()
    assert set(metrics.CONFIDENCE_METRICS) == {
        "sliding_rp_viol_forced",
        "max_confidence",
        "min_contamination",
        "n_spikes_below2",
    }


def test_planted_dead_times_pass_and_poisson_trains_fail_by_both_tests():
    rng = np.random.default_rng(3)
    dead = [0.004, 0.0] * 8
    units = [poisson_train(rng, 8, 600.0, pause) for pause in dead]
    for parameters in DEFINITIONS.values():
        found = compute(units, parameters=parameters)["sliding_rp_viol"]
        assert found.tolist() == [float(pause > 0) for pause in dead]


# --- the label ----------------------------------------------------------------------------------


@pytest.mark.parametrize("passed", list(itertools.product([0.0, 1.0], repeat=3)))
def test_bits_and_label(passed):
    refractory, noise, amplitude = passed
    values = {
        "max_confidence": np.array([95.0 if refractory else NAN]),
        "noise_cutoff": np.array([1.0 if noise else 5.0]),
        "amp_median": np.array([6e-5 if amplitude else 5e-5]),
    }
    passes = compute_passes(values, 1, "max_confidence", 90, 5, 5e-5)
    found = metrics.compute_label(passes)
    assert found["label"].tolist() == [pytest.approx(sum(passed) / 3)]
    bits = 1 * (not refractory) + 2 * (not noise) + 4 * (not amplitude)
    assert found["bitwise_fail"].tolist() == [bits]


def test_differences_are_fractions_of_the_larger_value_and_2_where_one_is_missing():
    nan = math.nan
    a = np.array([[1.0, -2.0, 0.0, 0.0], [nan, nan, 3.0, -3.0]])
    b = np.array([[2.0, -1.5, 0.0, 5.0], [nan, 1.0, nan, 3.0]])
    expected = [[0.5, 0.25, 0.0, 1.0], [0.0, 2.0, 2.0, 2.0]]
    assert metrics.compute_relative_differences(a, b).tolist() == expected
    assert metrics.compute_relative_differences(b, a).tolist() == expected
