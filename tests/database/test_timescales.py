"""Timescales through the database: planted ones, units without any, definitions as rows."""

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

from populate.workers import worker
from schemas import activity, behavior, ephys, rows, views
from schemas.errors import DefinitionError, QueryError
from schemas.maths import timescale as maths
from schemas.sources import data
from tests.support import prepared

UNIT = ["eid", "probe_name", "sorting_name", "cluster_id"]
DURATION, STEP, N_PLANTED, N_POISSON, N_TRIALS = 900.0, 0.01, 24, 12, 300
TAU, SLOW, SILENT = 0.12, N_PLANTED + N_POISSON, N_PLANTED + N_POISSON + 1
OVER_SESSION, ACROSS_TRIALS = (
    {**row, "timescale_definition": f"my_{row['timescale_definition']}", "criterion": None}
    for row in activity.TimescaleDefinition.contents
)
ACROSS_TRIALS["trial_mask"] = "all"


def draw_trains():
    """Units whose rate is an Ornstein-Uhlenbeck process, Poisson ones, a slow and a silent one."""
    rng = np.random.default_rng(1)
    n, keep = round(DURATION / STEP), np.exp(-STEP / TAU)
    noise = rng.standard_normal((N_PLANTED, n)) * np.sqrt(1 - keep**2)
    noise[:, 0] = rng.standard_normal(N_PLANTED)
    level = signal.lfilter([1], [1, -keep], noise, axis=1)
    constant = np.full((N_POISSON + 1, n), 15.0)
    constant[-1] = 0.2
    rates = np.concatenate([20 * np.maximum(1 + 0.5 * level, 0), constant])
    trains = []
    for counts in rng.poisson(rates * STEP):
        step = np.repeat(np.arange(n), counts)
        trains.append(np.sort((step + rng.random(len(step))) * STEP))
    return [*trains, np.empty(0)]


def source_of(trains):
    """A source with these spikes, and with trials at regular times, one without a stimulus."""
    time = np.concatenate(trains)
    cluster = np.repeat(np.arange(len(trains), dtype=np.uint16), [len(t) for t in trains])
    order = np.argsort(time, kind="stable")
    same = np.full(len(time), 1e-4), np.full(len(time), 100.0)
    clusters = pd.DataFrame({"channel": np.zeros(len(trains), dtype=np.int64)})
    onset = 1.5 + (DURATION - 3) / N_TRIALS * np.arange(N_TRIALS)
    onset[7] = np.nan
    trials = pd.DataFrame({"stim_on_time": onset})
    return prepared.Prepared(
        clusters=data.Clusters(clusters, ()),
        spikes=data.Spikes(time[order], cluster[order], *same),
        trials=data.Trials(trials, pd.DataFrame(index=trials.index)),
    )


@pytest.fixture(scope="module")
def trains():
    return draw_trains()


@pytest.fixture(scope="module")
def _filled(lend, trains):
    with lend() as database:
        prepared.add_session()
        prepared.add_insertion()
        prepared.add_sort()
        for kind, name in (("clusters", "clusters.channels.npy"), ("spikes", "spikes.times.npy")):
            path = f"alf/probe00/pykilosort/{name}"
            prepared.add_file(kind, path, probe_name="probe00", dataset_sorter="pykilosort")
        prepared.add_file("trials", "alf/_ibl_trials.table.pqt")
        prepared.use(source_of(trains))
        rows.insert(activity.TimescaleDefinition(), [OVER_SESSION, ACROSS_TRIALS])
        parents = [behavior.Trials, behavior.TrialMask, ephys.SpikeSorting, ephys.Spikes]
        outcomes = worker.run([*parents, ephys.GoodUnits, activity.Timescale])
        assert [failure for outcome in outcomes for failure in outcome.failed] == []
        yield database


@pytest.fixture
def filled(_filled):
    _filled.connect()
    return _filled


def test_planted_timescales_are_recovered_within_their_intervals(filled):
    table = views.fetch_timescales(ephys.SpikeSorting.Cluster(), "my_session")
    assert len(table) == SILENT + 1
    planted = table[table.cluster_id < N_PLANTED]
    assert planted.timescale_failure.isna().all()
    inside = (planted.tau_low < TAU) & (planted.tau_high > TAU)
    assert inside.sum() >= stats.binom.ppf(0.001, N_PLANTED, 0.95)
    assert planted.tau.median() == pytest.approx(TAU, rel=0.1)
    # No interval is wider than from two thirds to one and a half of the timescale.
    assert (planted.tau_high / planted.tau_low).median() < 1.5**2
    expected = 0.5**2 * 20 * 0.02 / (1 + 0.5**2 * 20 * 0.02)
    assert planted.tau_amplitude.median() == pytest.approx(expected, rel=0.15)
    assert planted.tau_offset.abs().max() < 0.02


def test_units_without_a_timescale_are_there_with_the_reason(filled):
    table = views.fetch_timescales(ephys.SpikeSorting.Cluster(), "my_session")
    table = table.set_index("cluster_id")
    poisson = table.loc[N_PLANTED : SLOW - 1]
    failed = poisson.timescale_failure.notna()
    assert failed.sum() >= N_POISSON - 1
    assert set(poisson.timescale_failure[failed]) <= {maths.NO_DECAY, maths.OUT_OF_RANGE}
    assert (poisson.tau_amplitude[~failed] < 0.02).all()
    assert table.timescale_failure[[SLOW, SILENT]].tolist() == [maths.FEW_SPIKES] * 2
    names = ["tau", "tau_low", "tau_high", "tau_amplitude", "tau_offset"]
    assert table[names][table.timescale_failure.notna()].isna().all(axis=None)
    assert table[names][table.timescale_failure.isna()].notna().all(axis=None)
    row = (activity.Timescale & {"timescale_definition": "my_session"}).fetch1()
    assert row["n_timescales"] == table.tau.notna().sum()
    assert row["n_without_timescale"] == table.tau.isna().sum()
    assert (row["n_timescale_trials"], row["n_timescale_eventless"]) == (0, 0)
    assert row["trial_mask"] is row["criterion"] is None


def test_counts_of_a_session_are_those_of_its_spikes(filled, trains):
    table = views.fetch_timescales(ephys.SpikeSorting.Cluster(), "my_session")
    sizes = np.array([len(train) for train in trains])
    # The last bins that fill no whole block are left out: less than 20 bins of 900 s.
    assert (table.n_correlated_spikes <= sizes).all()
    assert (table.n_correlated_spikes >= sizes - 40).all()


def test_timescales_across_trials_use_the_bins_before_the_stimulus(filled, trains):
    table = views.fetch_timescales(ephys.SpikeSorting.Cluster(), "my_before_stimulus")
    row = (activity.Timescale & {"timescale_definition": "my_before_stimulus"}).fetch1()
    assert (row["n_timescale_trials"], row["n_timescale_eventless"]) == (N_TRIALS - 1, 1)
    onset = rows.frame(behavior.Trials.Trial).stim_on_time.dropna().to_numpy()
    for unit in (0, SLOW, SILENT):
        counted = [((trains[unit] >= t - 0.5) & (trains[unit] < t)).sum() for t in onset]
        assert table.n_correlated_spikes[unit] == sum(counted)
    fitted = table[(table.cluster_id < N_PLANTED) & table.timescale_failure.isna()]
    assert len(fitted) > N_PLANTED / 2
    inside = (fitted.tau_low < TAU) & (fitted.tau_high > TAU)
    assert inside.sum() >= stats.binom.ppf(0.001, len(fitted), 0.95)
    poisson = table[table.cluster_id.between(N_PLANTED, SLOW - 1)]
    assert poisson.timescale_failure.notna().sum() >= N_POISSON - 2


def test_definitions_with_a_criterion_take_good_units_alone(filled):
    # The sort was released without metrics: no unit is good.
    for name in ("session", "before_stimulus"):
        held = activity.Timescale & {"timescale_definition": name}
        assert not held or set(held.to_arrays("n_timescales")) == {0}
        assert views.fetch_timescales(ephys.SpikeSorting.Cluster(), name).empty


@pytest.mark.parametrize(
    ("row", "change", "says"),
    [
        (OVER_SESSION, {"timescale_method": "sessions"}, "session"),
        (OVER_SESSION, {"trial_mask": "all"}, "nothing without"),
        (OVER_SESSION, {"timescale_bin": 0.0}, "not above zero"),
        (OVER_SESSION, {"least_lag": 1.0}, "not below greatest_lag"),
        (OVER_SESSION, {"greatest_lag": 0.04}, "leave 2 lags"),
        (OVER_SESSION, {"n_timescale_blocks": 2}, "three are needed"),
        (OVER_SESSION, {"timescale_method": "trials"}, "needs a trial_event"),
        (ACROSS_TRIALS, {"timescale_method": "session"}, "takes no trial_event"),
        (ACROSS_TRIALS, {"trial_event": None}, "nothing without"),
        (ACROSS_TRIALS, {"greatest_lag": 0.5}, "as long as the 10 bins"),
    ],
)
def test_a_definition_that_makes_no_sense_is_refused(filled, row, change, says):
    with pytest.raises(DefinitionError, match=says):
        rows.insert1(activity.TimescaleDefinition(), {**row, "timescale_definition": "x", **change})


def test_an_unknown_definition_is_an_error(filled):
    with pytest.raises(QueryError, match="before_stimulus, my_"):
        views.fetch_timescales(ephys.SpikeSorting.Cluster(), "murray")
