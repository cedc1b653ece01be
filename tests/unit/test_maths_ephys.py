"""The good-unit label and the order of spikes."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths.ephys import LABEL_CRITERIA, compute_passes, sort_by_cluster

NAN = float("nan")
CRITERIA = {
    "ibl_2022": ("sliding_rp_viol", 1.0, 20.0, 50e-6),
    "ibl_2022_10": ("sliding_rp_viol", 1.0, 5.0, 50e-6),
    "ibl_2024": ("max_confidence", 90.0, 5.0, 50e-6),
}
quick = settings(max_examples=60, deadline=None)


def judge(criterion, refractory, noise, amplitude):
    """Judge one unit; a metric that is None is one that the sort lacks."""
    metric, *thresholds = CRITERIA[criterion]
    values = {metric: refractory, "noise_cutoff": noise, "amp_median": amplitude}
    metrics = {n: None if v is None else np.array([v], float) for n, v in values.items()}
    found = compute_passes(metrics, 1, metric, *thresholds)
    return {name: column.item() for name, column in found.items()}


def above(value):
    return np.nextafter(value, np.inf)


def below(value):
    return np.nextafter(value, -np.inf)


@pytest.mark.parametrize(
    ("criterion", "test", "value", "passes"),
    [
        ("ibl_2022", "refractory_pass", 1.0, True),
        ("ibl_2022", "refractory_pass", 0.0, False),
        ("ibl_2022", "refractory_pass", NAN, False),
        ("ibl_2024", "refractory_pass", 90.0, True),
        ("ibl_2024", "refractory_pass", below(90.0), False),
        ("ibl_2024", "refractory_pass", 100.0, True),
        ("ibl_2024", "refractory_pass", NAN, False),
        ("ibl_2022", "noise_pass", 20.0, False),
        ("ibl_2022", "noise_pass", below(20.0), True),
        ("ibl_2024", "noise_pass", 5.0, False),
        ("ibl_2024", "noise_pass", below(5.0), True),
        ("ibl_2024", "noise_pass", -3.0, True),
        ("ibl_2024", "noise_pass", NAN, False),
        ("ibl_2024", "noise_pass", np.inf, False),
        ("ibl_2024", "amplitude_pass", 50e-6, False),
        ("ibl_2024", "amplitude_pass", above(50e-6), True),
        ("ibl_2022", "amplitude_pass", 0.0, False),
        ("ibl_2022", "amplitude_pass", NAN, False),
    ],
)
def test_each_threshold_to_the_last_bit(criterion, test, value, passes):
    sound = {"refractory_pass": 100.0, "noise_pass": 0.0, "amplitude_pass": 1e-3} | {test: value}
    found = judge(criterion, *sound.values())
    expected = {name: float(name != test or passes) for name in LABEL_CRITERIA}
    assert {name: found[name] for name in LABEL_CRITERIA} == expected
    assert found["is_good"] == float(passes)
    assert found["unit_label"] == (1.0 if passes else pytest.approx(2 / 3))


GOOD, BAD = (100.0, 0.0, 1e-3), (0.0, 99.0, 0.0)
STATES = ("pass", "fail", "nan", "lacking")


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("states", list(itertools.product(STATES, repeat=3)), ids="-".join)
def test_every_combination_of_pass_fail_nan_and_lacking(criterion, states):
    values = [
        {"pass": GOOD[i], "fail": BAD[i], "nan": NAN, "lacking": None}[state]
        for i, state in enumerate(states)
    ]
    found = judge(criterion, *values)
    one_by_one = {"pass": 1.0, "fail": 0.0, "nan": 0.0, "lacking": NAN}
    np.testing.assert_array_equal(
        [found[name] for name in LABEL_CRITERIA], [one_by_one[state] for state in states]
    )
    # One failure decides, whatever is unknown; without one, an unknown leaves it open.
    failed, unknown = {"fail", "nan"} & set(states), "lacking" in states
    np.testing.assert_array_equal(found["is_good"], 0.0 if failed else NAN if unknown else 1.0)
    label = NAN if unknown else states.count("pass") / 3
    np.testing.assert_array_equal(found["unit_label"], label)


def test_a_label_is_one_only_for_good_units():
    thirds = {n: judge("ibl_2024", *GOOD[:n], *BAD[n:])["unit_label"] for n in range(4)}
    assert thirds == {0: 0, 1: 1 / 3, 2: 2 / 3, 3: 1}


def test_units_are_judged_each_by_itself():
    metrics = {
        "max_confidence": np.array([95.0, 80, 95, NAN]),
        "noise_cutoff": np.array([1.0, 1, 7, 1]),
        "amp_median": np.array([1e-4, 1e-4, 1e-4, 1e-4]),
    }
    found = compute_passes(metrics, 4, "max_confidence", 90, 5, 50e-6)
    assert found["refractory_pass"].tolist() == [1, 0, 1, 0]
    assert found["noise_pass"].tolist() == [1, 1, 0, 1]
    assert found["is_good"].tolist() == [1, 0, 0, 0]
    for order in itertools.permutations(range(4)):
        index = list(order)
        permuted = {name: values[index] for name, values in metrics.items()}
        again = compute_passes(permuted, 4, "max_confidence", 90, 5, 50e-6)
        for name in found:
            np.testing.assert_array_equal(again[name], found[name][index])


@pytest.mark.parametrize("lacking", [True, False])
def test_no_units(lacking):
    nothing = None if lacking else np.array([])
    metrics = dict.fromkeys(["max_confidence", "noise_cutoff", "amp_median"], nothing)
    found = compute_passes(metrics, 0, "max_confidence", 90, 5, 50e-6)
    assert list(found) == [*LABEL_CRITERIA, "bounds_pass", "unit_label", "is_good"]
    assert all(column.shape == (0,) for column in found.values())


@quick
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 50, 89.9, 90, 90.1, 100, NAN]),
            st.sampled_from([-1, 4.9, 5, 5.1, 20, NAN]),
            st.sampled_from([0, 49e-6, 50e-6, 51e-6, NAN]),
        ),
        max_size=20,
    )
)
def test_raising_a_threshold_never_makes_a_unit_good(rows):
    confidence, noise, amplitude = np.array(rows, float).reshape(-1, 3).T
    metrics = {"max_confidence": confidence, "noise_cutoff": noise, "amp_median": amplitude}
    judged = compute_passes(metrics, len(rows), "max_confidence", 90, 5, 50e-6)["is_good"]
    for stricter in ((95, 5, 50e-6), (90, 4, 50e-6), (90, 5, 60e-6)):
        again = compute_passes(metrics, len(rows), "max_confidence", *stricter)["is_good"]
        assert (again <= judged).all()


# --- the order of spikes ------------------------------------------------------------------------


def test_spikes_manually():
    order, counts = sort_by_cluster(np.array([2, 0, 2, 0, 4], np.uint16), 6)
    assert order.tolist() == [1, 3, 0, 2, 4]
    assert counts.tolist() == [2, 0, 2, 0, 1, 0]


@pytest.mark.parametrize("n_clusters", [0, 1, 5])
@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
def test_no_spikes(kind, n_clusters):
    order, counts = sort_by_cluster(np.array([], kind), n_clusters)
    assert order.tolist() == []
    assert counts.tolist() == [0] * n_clusters


@quick
@given(st.lists(st.integers(0, 9), max_size=200), st.sampled_from([np.uint16, np.uint32]))
def test_the_order_is_that_of_cluster_then_time(clusters, kind):
    cluster = np.array(clusters, kind)
    order, counts = sort_by_cluster(cluster, 12)
    np.testing.assert_array_equal(order, np.lexsort((np.arange(len(cluster)), cluster)))
    assert counts.tolist() == [clusters.count(k) for k in range(12)]


@pytest.mark.parametrize(
    ("n_clusters", "highest"),
    [(65_536, 65_535), (65_537, 65_536), (100_000, 99_999), (200_000, 70_000)],
)
def test_more_clusters_than_sixteen_bits_number(n_clusters, highest):
    random = np.random.default_rng(0)
    cluster = random.integers(0, highest + 1, 20_000, dtype=np.uint32)
    # Clusters that are the same in sixteen bits must not be mixed.
    cluster[:4] = [highest, highest & 0xFFFF, 0, highest]
    order, counts = sort_by_cluster(cluster, n_clusters)
    np.testing.assert_array_equal(order, np.lexsort((np.arange(len(cluster)), cluster)))
    assert len(counts) == n_clusters
    assert counts.sum() == len(cluster)
    assert counts[highest] == (cluster == highest).sum()
