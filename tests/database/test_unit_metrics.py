"""Metrics computed from the stored spikes: those that were released, and what was planted."""

import shutil

import numpy as np
import pandas as pd
import pytest

from populate.workers import worker
from schemas import ephys, quality, rows, views
from schemas.errors import QueryError
from schemas.maths.metrics import CONFIDENCE_METRICS, METRICS
from schemas.sources import simulator
from tests.support.databases import relist

NAMES = {"": "pykilosort", "2024-05-06": "pykilosort@2024-05-06"}
KEY = ["eid", "probe_name", "sorting_name", "cluster_id"]


@pytest.fixture
def planted(release, populated):
    units = release.truth.units.copy()
    units["sorting_name"] = units.revision.map(NAMES)
    return units.set_index(KEY).sort_index()


def computed(definition, sorting=None):
    made = ephys.UnitMetrics.Unit & {"metrics_definition": definition}
    if sorting is not None:
        made = made & {"sorting_name": sorting}
    return rows.frame(made).set_index(KEY).sort_index()


def test_every_unit_has_metrics_by_every_definition(populated):
    for definition in ("ibl_2022", "ibl_2024"):
        found = computed(definition)
        assert len(found) == len(ephys.SpikeSorting.Cluster()) > 0
        good = (found.computed_label > 0.99).groupby(level=KEY[:-1]).sum()
        summary = rows.frame(ephys.UnitMetrics & {"metrics_definition": definition})
        summary = summary.set_index(KEY[:-1]).sort_index()
        assert (summary.n_label_good == good).all()
        assert summary.n_metric_units.sum() == len(found)


def test_a_second_run_does_nothing(populated):
    before = rows.frame(ephys.UnitMetrics())
    (outcome,) = worker.run([ephys.UnitMetrics])
    assert (outcome.n_done, outcome.failed) == (0, [])
    assert rows.frame(ephys.UnitMetrics()).equals(before)


@pytest.mark.parametrize("sorting", NAMES.values())
def test_metrics_are_those_that_another_implementation_released(planted, sorting):
    """The simulator computes what it releases with code of its own."""
    found = computed("ibl_2024", sorting)
    released = rows.frame(ephys.SpikeSorting.Cluster & {"sorting_name": sorting})
    released = released.set_index(KEY).sort_index()[planted.loc[found.index].in_metrics.to_numpy()]
    found = found.loc[released.index]
    offered = [m for m in METRICS if sorting != "pykilosort" or m not in CONFIDENCE_METRICS]
    for name in offered:
        ours, theirs = (
            column.to_numpy(float, na_value=np.nan)
            for column in (found[f"computed_{name}"], released[name])
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, err_msg=name)
        assert np.isfinite(theirs).sum() > 10, name
    if sorting != "pykilosort":  # whose labels are those of 2022
        assert np.allclose(found.computed_label, released.released_label)
        assert (found.computed_bitwise_fail == released.bitwise_fail).all()
        assert set(released.bitwise_fail) >= {0, 1, 2, 4}


def test_what_was_planted_is_what_is_computed(planted):
    sort = planted.index.get_level_values("sorting_name") == "pykilosort@2024-05-06"
    units = planted[sort]
    found = computed("ibl_2024").loc[units.index]
    failed = found.computed_bitwise_fail.to_numpy()
    for bit, name in ((1, "planted_refractory"), (4, "planted_amplitude")):
        known = units[name].notna().to_numpy()
        intended = units[name][known].astype(bool).to_numpy()
        np.testing.assert_array_equal((failed[known] & bit) == 0, intended, err_msg=name)
        assert 0 < intended.sum() < len(intended)
    limits = {"low": (-np.inf, 5.0), "mid": (5.0, 20.0), "high": (20.0, np.inf)}
    for kind, (low, high) in limits.items():
        cutoff = found.computed_noise_cutoff[(units.planted_noise == kind).to_numpy()]
        assert cutoff.between(low, high).all(), kind
        assert len(cutoff) > 5
    assert (found.computed_label > 0.99).equals(units.is_good_2024.astype(bool))


def test_clusters_without_spikes_or_with_one(release, populated):
    for kind, count in (("silent_cluster", 0), ("one_spike_cluster", 1)):
        for odd in release.truth.odd(kind):
            key = {"eid": odd.eid, "probe_name": odd.probe_name, "cluster_id": odd.rows[0]}
            key |= {"sorting_name": NAMES[odd.revision], "metrics_definition": "ibl_2024"}
            unit = (ephys.UnitMetrics.Unit & key).fetch1()
            assert unit["computed_spike_count"] == count
            assert unit["computed_noise_cutoff"] is None
            assert unit["computed_bitwise_fail"] & 3 == 3
            if count == 0:
                assert unit["computed_bitwise_fail"] == 7
                assert unit["computed_label"] == unit["computed_firing_rate"] == 0
                assert unit["computed_presence_ratio"] == 0
                assert unit["computed_amp_median"] is unit["computed_n_spikes_below2"] is None


def test_released_and_computed_metrics_agree(planted):
    assert views.fetch_metric_differences(sorting="pykilosort@2024-05-06").empty
    left_out = rows.frame(views.uncompared_units(sorting="pykilosort@2024-05-06").proj())
    listed = planted.index.get_level_values("sorting_name") == "pykilosort@2024-05-06"
    expected = planted[listed & ~planted.in_metrics.to_numpy(bool)].index
    assert set(left_out[KEY].itertuples(index=False, name=None)) == set(expected)


def test_labels_of_another_definition_disagree(planted):
    found = views.fetch_metric_differences("ibl_2024", sorting="pykilosort")
    assert "released_label" in set(found.metric)
    assert not set(found.metric) & {*CONFIDENCE_METRICS, "bitwise_fail", "firing_rate"}
    labels = found[found.metric == "released_label"].set_index(KEY)
    units = planted.loc[labels.index]
    # The thresholds of the noise cut-off are all that tells the two apart.
    assert (units.passes_noise_2022.astype(bool) & ~units.passes_noise_2024.astype(bool)).all()
    np.testing.assert_allclose(labels.difference, -1 / 3)


def test_an_unknown_definition_is_an_error(populated):
    with pytest.raises(QueryError, match="ibl_2022, ibl_2024"):
        views.fetch_metric_differences("ibl_2023")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    sizes = {"n_sessions": 1, "n_units": 16, "n_trials": 30, "duration": 300.0, "max_probes": 1}
    return simulator.simulate(folder, "tiny", seed=3, **sizes)


def test_a_metric_that_was_changed_in_the_release_is_listed(small, database, tmp_path):
    folder = shutil.copytree(small.folder, tmp_path / "release")
    (path,) = folder.rglob("#2024-05-06#/clusters.metrics.pqt")
    table = pd.read_parquet(path).set_index("cluster_id", drop=False)
    released = table.copy()
    unit = int(table.spike_count.idxmax())
    other = int(table.spike_count.drop(unit).idxmax())
    table.loc[unit, "amp_median"] *= 1.001
    table.loc[unit, "drift"] *= 1 + 1e-8
    table.loc[unit, "bitwise_fail"] = table.bitwise_fail[unit] ^ 2
    table.loc[other, "contamination"] = np.nan
    table.to_parquet(path, index=False)
    relist(folder, path)
    database.register(folder)
    tables = [ephys.SpikeSorting, ephys.Spikes, ephys.UnitMetrics, quality.MetricDifferences]
    outcomes = worker.run(tables)
    assert not any(outcome.failed for outcome in outcomes)
    found = views.fetch_metric_differences(sorting="pykilosort@2024-05-06")
    found = found[found.cluster_id.isin([unit, other])].set_index(["cluster_id", "metric"])
    assert set(found.index) == {
        (unit, "amp_median"),
        (unit, "bitwise_fail"),
        (other, "contamination"),
    }
    changed = found.loc[unit, "amp_median"]
    assert changed.released == table.amp_median[unit]
    assert changed.computed == pytest.approx(released.amp_median[unit], rel=1e-12)
    assert changed.difference == pytest.approx(-0.001 * released.amp_median[unit], rel=1e-9)
    assert np.isnan(found.loc[other, "contamination"].released)
    assert found.loc[other, "contamination"].computed == released.contamination[other]
    strict = views.fetch_metric_differences(sorting="pykilosort@2024-05-06", tolerance=1e-10)
    assert (unit, "drift") in set(zip(strict.cluster_id, strict.metric, strict=True))
    assert len(views.uncompared_units(sorting="pykilosort@2024-05-06")) == 16 - len(table)
    (ephys.UnitMetrics & {"metrics_definition": "ibl_2024"}).delete(prompt=False)
    assert views.fetch_metric_differences(sorting="pykilosort@2024-05-06").empty
    assert len(views.uncompared_units(sorting="pykilosort@2024-05-06")) == 16
