"""Rates of units by state, beside loops over intervals and spikes."""

import shutil

import numpy as np
import pandas as pd
import pytest

from populate import catalog, stale
from populate.workers import worker
from schemas import activity, behavior, ephys, passive, rows, views, wheel
from schemas.errors import DefinitionError, QueryError
from schemas.sources import simulator
from tests.support.databases import Release
from tests.support.revising import revise

SORT = ["eid", "probe_name", "sorting_name"]
UNIT = [*SORT, "cluster_id"]
STEP = 0.0005
"""Width (s) of the cells in which time is walked through: a millisecond in two."""


@pytest.fixture
def found(populated):
    return views.fetch_state_rates(ephys.SpikeSorting.Cluster())


def cells_of(edges, intervals):
    """Which cells of time have their middle in an interval, by comparing with each interval."""
    middle = (edges[:-1] + edges[1:]) / 2
    inside = np.zeros(len(middle), bool)
    for start, stop in intervals:
        inside |= (middle >= start) & (middle < stop)
    return inside


def walked(eid, state, first, last):
    """Cells of the recording that a state holds, from the tables that it is made of."""
    edges = np.arange(first, last, STEP)
    trials = rows.frame(behavior.Trials.Trial & {"eid": eid})
    task = cells_of(edges, [(trials.trial_start_time.min(), trials.trial_end_time.max())])
    if state == "passive":
        periods = rows.frame(passive.PassivePeriods.Period & {"eid": eid})
        return edges, cells_of(edges, zip(periods.period_start, periods.period_stop, strict=True))
    if state == "task":
        return edges, task
    moves = rows.frame(wheel.WheelMoves.Move & {"eid": eid})
    moving = cells_of(edges, zip(moves.move_onset, moves.move_offset, strict=True))
    return edges, task & (moving if state == "movement" else ~moving)


def test_rates_are_those_of_a_walk_through_the_recording(found):
    states = {"movement", "quiescence", "passive", "task"}
    complete = found.groupby(SORT).state.agg(set) == states
    sort = dict(zip(SORT, complete.index[complete][0], strict=True))
    span = (ephys.Spikes & sort).fetch1()
    units = found[(found[SORT] == list(sort.values())).all(axis=1)]
    trains = ephys.spike_times(ephys.SpikeSorting.Cluster & sort).droplevel(SORT)
    assert set(units.cluster_id) == set(trains.index)
    for state, of_state in units.groupby("state"):
        edges, inside = walked(sort["eid"], state, span["first_spike"], span["last_spike"])
        seconds, n_intervals = inside.sum() * STEP, (np.diff(inside, prepend=False) & inside).sum()
        assert of_state.n_intervals.unique().tolist() == [n_intervals]
        # An edge lies in the middle of a cell at most.
        (duration,) = of_state.duration.unique()
        assert duration == pytest.approx(seconds, abs=n_intervals * STEP)
        assert seconds > 5
        for cluster, rate in zip(of_state.cluster_id, of_state.rate, strict=True):
            n_spikes = (np.histogram(trains[cluster], edges)[0] * inside).sum()
            # Few spikes are so near to an edge that their cell is not theirs.
            assert rate * duration == pytest.approx(n_spikes, abs=1 + 0.01 * n_spikes)


def test_movement_and_quiescence_are_the_task(found):
    spikes = found.assign(spikes=found.rate * found.duration).set_index([*UNIT, "state"])
    for column in ("spikes", "duration"):
        by_state = spikes.pivot_table(column, UNIT, "state").dropna(subset="quiescence")
        assert len(by_state) > 100
        parts = by_state.movement + by_state.quiescence
        np.testing.assert_allclose(parts, by_state.task, rtol=1e-9)


def test_a_state_that_a_session_lacks_the_data_of_has_no_row(populated, found):
    with_spikes = set(rows.frame(ephys.Spikes).eid)
    needed = {
        "movement": behavior.Trials.proj() * wheel.WheelMoves.proj(),
        "quiescence": behavior.Trials.proj() * wheel.WheelMoves.proj(),
        "task": behavior.Trials.proj(),
        "passive": passive.PassivePeriods.proj(),
    }
    for state, parents in needed.items():
        eids = set(parents.to_arrays("eid")) & with_spikes
        assert set(found[found.state == state].eid) == eids
        assert eids
    assert len(set(found[found.state == "passive"].eid)) < len(with_spikes)


def test_rows_refer_to_what_they_were_computed_from(populated):
    table = rows.frame(activity.StateRate).set_index("state")
    of_task = table.index != "passive"
    assert (table.task_eid.notna() == of_task).all()
    assert (table.passive_eid.notna() == ~of_task).all()
    moving = table.index.isin(["movement", "quiescence"])
    assert (table.moves_definition.eq("ibl") == moving).all()


def test_the_expression_has_the_rates_of_the_chosen_units(populated, found):
    table = rows.frame(views.state_rates("quiescence", "TH", "ibl_2022") & "state_rate > 1")
    expected = found.query("state == 'quiescence' and rate > 1")
    expected = expected.merge(rows.frame(views.units("TH", "ibl_2022").proj()))
    assert 0 < len(expected) < len(found)
    expected = expected.set_index(UNIT).rate.sort_index()
    pd.testing.assert_series_equal(
        table.set_index(UNIT).state_rate.sort_index(), expected, check_names=False
    )
    every = rows.frame(views.state_rates(criterion="ibl_2022"))
    assert set(every.state) == set(found.state)
    with pytest.raises(QueryError, match="movement, passive, quiescence, task"):
        views.state_rates("sleep")


def test_a_recording_has_the_rates_of_its_default_sort(populated, found):
    eid = found.eid.iloc[0]
    of_session = views.fetch_state_rates(eid)
    units = rows.frame(views.units(recording=eid).proj())
    expected = found.merge(units).reset_index(drop=True)
    pd.testing.assert_frame_equal(of_session, expected)
    nothing = views.fetch_state_rates(views.units() & "cluster_id < 0")
    assert (len(nothing), list(nothing)) == (0, list(found))


# --- states of one's own, and sources that change -----------------------------------------------

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}
PARENTS = ["Trials", "Wheel", "WheelMoves", "PassivePeriods", "Channels", "SpikeSorting", "Spikes"]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=6, **SMALL))


def test_a_state_is_a_row_and_one_that_makes_no_sense_says_so(database, original):
    still = {
        "state": "still",
        "state_within": "passive",
        "state_period": "spontaneousActivity",
        "moves_definition": "ibl",
        "is_moving": False,
        "state_description": "rest without a task",
    }
    for wrong, says in (
        ({"state_within": "night"}, "state_within takes no 'night'"),
        ({"state_within": "task"}, "state_period is 'spontaneousActivity', which is no part"),
        ({"state_period": "spontaneous"}, "Did you mean 'spontaneousActivity'"),
        ({"is_moving": None}, "means nothing without is_moving"),
        ({"moves_definition": "large"}, "moves_definition takes no 'large'"),
    ):
        with pytest.raises(DefinitionError, match=says):
            rows.insert1(activity.State(), still | wrong)
    anywhere = still | {"state": "anywhere", "state_within": "recording", "state_period": None}
    rows.insert(activity.State(), [still, anywhere])
    nowhere = still | {"state": "nowhere", "moves_definition": None, "is_moving": None}
    rows.insert1(activity.State(), nowhere)
    database.register(original.folder)
    worker.run(catalog.find(PARENTS))
    key = {"eid": original.truth.sessions.eid[0]}
    period = key | {"passive_period": "spontaneousActivity"}
    (passive.PassivePeriods.Period & period).delete_quick()
    worker.run([activity.StateRate])
    table = rows.frame(activity.StateRate & key).groupby("state").state_duration.agg(list)
    assert table["still"] == table["nowhere"] == [0.0, 0.0]
    units = rows.frame(activity.StateRate.Unit & key & {"state": "nowhere"})
    assert len(units)
    assert units.state_rate.isna().all()
    spikes = rows.frame(ephys.Spikes & key)
    moves = rows.frame(wheel.WheelMoves.Move & key)
    moving = (moves.move_offset - moves.move_onset).sum()
    trace = (wheel.Wheel & key).proj("wheel_start", "wheel_end").fetch1()
    lengths = spikes.last_spike.clip(upper=trace["wheel_end"]) - spikes.first_spike.clip(
        lower=trace["wheel_start"]
    )
    assert sorted(table["anywhere"]) == pytest.approx(sorted(lengths - moving))


@pytest.mark.parametrize(
    ("path", "going"),
    [
        ("alf/_ibl_wheel.position.npy", {"movement", "quiescence"}),
        ("alf/_ibl_trials.table.pqt", {"movement", "quiescence", "task"}),
        ("alf/_ibl_passivePeriods.intervalsTable.csv", {"passive"}),
    ],
)
def test_replaced_files_take_the_rates_along(database, original, tmp_path, path, going):
    folder = tmp_path / "release"
    shutil.copytree(original.folder, folder)
    database.register(folder)
    worker.run(catalog.find([*PARENTS, "StateRate"]))
    eid = original.truth.sessions.eid[0]
    before = rows.frame(activity.StateRate)
    concerned = before[(before.eid == eid) & before.state.isin(going)]
    revise(folder, eid, path, "2025-01-01", seed=3)
    database.register(folder)
    made = {done.table: done.n_done for done in stale.remake()}
    assert made["activity.StateRate"] == len(concerned) > 0
    after = rows.frame(activity.StateRate)
    assert after.state.tolist() == before.state.tolist()
    changed = (before.state_duration != after.state_duration) & ~before.index.isin(concerned.index)
    assert not changed.any()
