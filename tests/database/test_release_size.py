"""A database that is filled in bulk looks as if it were registered and populated."""

import re

import pytest
from typer.testing import CliRunner

from populate import cli, release_size, status
from populate.verify import recompute, verify
from schemas import activity, behavior, ephys, probe, quality, release, rows, session
from schemas.errors import SettingsError
from schemas.sources.simulator import population
from tests.support.databases import Database

N_INSERTIONS, N_SPIKES = 6, 1
LEFT = {
    "activity.Psth",
    "ephys.AutoCorrelogram",
    "activity.StateRate",
    "activity.Modulation",
    "activity.Latency",
    "activity.Timescale",
}
"""Tables that are left to workers: what they hold follows from times of spikes."""


@pytest.fixture(scope="module", params=["2022", "2024"])
def filled(request, backend, tmp_path_factory):
    database = Database(backend, tmp_path_factory.mktemp("home"))
    numbers = {"insertions": N_INSERTIONS, "spikes": N_SPIKES, "seed": 1}
    options = [part for name, value in numbers.items() for part in (f"--{name}", str(value))]
    arguments = ["simulate", "--release-size", request.param, *options]
    result = CliRunner().invoke(cli.app, arguments, env=database.environment)
    database.connect()
    yield request.param, result
    database.drop()


def test_it_has_the_rows_of_its_part_of_the_release(filled):
    size, result = filled
    freeze = population.FREEZES[size]
    assert (result.exit_code, result.exception) == (0, None)
    assert re.search(rf"insertions\s+{N_INSERTIONS}", result.output)
    assert len(probe.ProbeInsertion()) == len(release.Release.Insertion()) == N_INSERTIONS
    n_units = len(ephys.Cluster())
    assert n_units == round(freeze.n_units * N_INSERTIONS / freeze.n_insertions)
    good = rows.frame(ephys.GoodUnits)
    assert set(good.criterion) == {"ibl_2022", "ibl_2022_10", "ibl_2024"}
    of_release = good[good.criterion == f"ibl_{size}"]
    assert 0.02 * n_units < of_release.n_good.sum() < 0.4 * n_units
    n_definitions = len(behavior.ReactionTimeDefinition())
    assert len(behavior.ReactionTime()) == n_definitions * len(session.Session())


def test_nothing_is_damaged_and_nothing_is_stale(filled):
    report = verify(deep=True)
    assert report.damage == []
    for state in status.status():
        assert (state.running, state.failed, state.stale) == (0, 0, 0), state.table
        if state.table not in LEFT:
            assert state.pending == 0, state.table


def test_what_is_computed_from_rows_equals_what_the_tables_compute(filled):
    tables = [behavior.ReactionTime, behavior.TrialMask, behavior.Performance]
    tables += [behavior.TrainingStatus, ephys.GoodUnits, activity.RegionRate]
    tables += [quality.GoodUnitSummary, quality.MetricDifferences]
    coverage = recompute.recompute(tables=tables)
    assert coverage.n_computed == sum(len(table()) for table in tables)
    assert coverage.damage == []


def test_spikes_of_some_are_drawn_and_of_all_can_be_read(filled):
    units = ephys.Cluster & {"cluster_id": 0}
    trains = ephys.spike_times(units)
    counts = rows.frame(units, columns=["spike_count"]).spike_count
    assert sorted(map(len, trains)) == sorted(counts)
    n_times = [len(set(train)) for train in trains]
    assert sum(n > 32 for n in n_times) <= N_SPIKES


def test_a_database_with_sessions_is_left_alone(filled):
    with pytest.raises(SettingsError, match="has sessions already"):
        release_size.fill("2022")


def test_a_database_that_another_process_fills_is_left_alone(database):
    database.connect()
    rows.insert1(session.DataSource(), {"data_source": "simulated_2022, simulated"})
    with pytest.raises(SettingsError, match="another process has begun to fill"):
        release_size.fill("2022", n_insertions=1)
    assert not session.Session()


def test_an_unknown_size_is_refused():
    with pytest.raises(SettingsError, match="no release '2023'"):
        release_size.fill("2023")
