"""Autocorrelograms through the database: against loops over spikes, and what was planted."""

import itertools

import numpy as np
import pytest

from schemas import ephys, rows, views
from schemas.errors import DefinitionError, QueryError

SORT = ["eid", "probe_name", "sorting_name"]
UNIT = [*SORT, "cluster_id"]
NAMES = {"": "pykilosort", "2024-05-06": "pykilosort@2024-05-06"}
LOG_1S = {"acg_definition": "log_1s"}


@pytest.fixture
def found(release, populated):
    """Indices of every unit beside what was planted, and what was counted of its spikes."""
    planted = release.truth.units
    planted = planted.assign(sorting_name=planted.revision.map(NAMES)).set_index(UNIT)
    units = rows.frame(ephys.AutoCorrelogram.Unit & LOG_1S)
    return units.set_index(UNIT).join(planted).sort_index()


def test_every_unit_has_an_autocorrelogram(found):
    assert len(found) == len(ephys.Spikes.Unit()) > 100
    table = views.fetch_autocorrelograms(ephys.SpikeSorting.Cluster())
    assert len(table) == 60 * len(found)
    assert list(table.columns) == [*UNIT, "lag", "rate"]
    assert (table.groupby(UNIT).size() == 60).all()
    silent = found[found.n_spikes == 0]
    assert len(silent)
    of_silent = table.set_index(UNIT).loc[silent.index]
    assert of_silent.rate.isna().all()
    assert silent[["acg_peak_lag", "burst_index", "refractory_index"]].isna().all(axis=None)
    one = table[table[UNIT].apply(tuple, axis=1) == found.index[5]]
    growth = np.diff(np.log10(one.lag))
    np.testing.assert_allclose(growth, 1 / 20, atol=2e-3)


def test_rates_are_those_of_a_loop_over_pairs(found):
    few = found[found.n_spikes.between(200, 2500)].iloc[::20]
    assert len(few) > 2
    keys = few.reset_index()[UNIT].to_dict("records")
    table = views.fetch_autocorrelograms(ephys.SpikeSorting.Cluster & keys).set_index(UNIT)
    trains = ephys.spike_times(ephys.SpikeSorting.Cluster & keys)
    edges = np.round(np.geomspace(1e3, 1e6, 61)).astype(int)
    for unit, row in few.iterrows():
        ticks = [round(1e6 * time) for time in trains[unit]]
        lags = np.array([b - a for a, b in itertools.combinations(ticks, 2)])
        of_unit = table.loc[unit]
        for k in range(60):
            n = ((lags >= edges[k]) & (lags < edges[k + 1])).sum()
            width = (edges[k + 1] - edges[k]) / 1e6
            assert of_unit.rate.iloc[k] == pytest.approx(n / len(ticks) / width, rel=1e-9)
        windows = {"burst_index": (3000, 5000), "refractory_index": (0, 2000)}
        baseline = ((lags >= 200_000) & (lags < 300_000)).sum() / 0.1
        for name, (low, high) in windows.items():
            n = ((lags >= low) & (lags < high)).sum() / ((high - low) / 1e6)
            expected = n / baseline if baseline else np.nan
            assert row[name] == pytest.approx(expected, rel=1e-9, nan_ok=True)
        at = of_unit.lag.iloc[int(np.argmax(of_unit.rate))]
        assert row.acg_peak_lag == pytest.approx(at)


def test_the_planted_dead_time_is_seen(found):
    """Units with a refractory period are silent for 4 ms, and the others fire as Poisson."""
    many = found[found.n_spikes > 2000]
    refractory = many.planted_refractory.astype("boolean")
    silent = many[refractory.fillna(False)]
    assert len(silent) > 10
    assert (silent.refractory_index == 0).all()
    random = many[~refractory.fillna(True)]
    assert len(random) > 5
    assert np.median(random.refractory_index) == pytest.approx(1, abs=0.2)
    assert (random.refractory_index > 0.3).all()


def test_a_definition_is_a_row_and_one_that_makes_no_sense_says_so(database):
    mine = {**ephys.AutoCorrelogramDefinition.contents[0], "acg_definition": "mine"}
    for change, says in (
        ({"acg_start": 0.0}, "not above zero"),
        ({"acg_start": 1.0}, "not below acg_end"),
        ({"burst_end": 0.003}, "not below burst_end"),
        ({"acg_end": 61.0}, "beyond the longest lag, 60 s"),
        ({"acg_start": 1e-5, "n_acg_bins": 1000}, "below a microsecond"),
    ):
        with pytest.raises(DefinitionError, match=says):
            ephys.AutoCorrelogramDefinition.insert1(mine | change)
    ephys.AutoCorrelogramDefinition.insert1(mine | {"acg_end": 0.1, "n_acg_bins": 4})
    rows.insert1(ephys.AutoCorrelogramDefinition(), mine | {"acg_definition": "other"})
    assert len(ephys.AutoCorrelogramDefinition()) == 3


def test_units_that_are_not_known_or_not_computed(populated):
    with pytest.raises(QueryError, match="log_1s"):
        views.fetch_autocorrelograms(ephys.SpikeSorting.Cluster(), "log_2s")
    with pytest.raises(QueryError, match="TH"):
        views.fetch_autocorrelograms("TH")
    nothing = views.fetch_autocorrelograms(ephys.SpikeSorting.Cluster & "cluster_id < 0")
    assert list(nothing.columns) == [*UNIT, "lag", "rate"]
    assert nothing.empty
    pid = views.sorts().to_arrays("eid")[0]
    assert len(views.fetch_autocorrelograms(pid)) > 0
