"""Responses of units to replayed stimuli, beside loops over stimuli and spikes."""

import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from populate import catalog, stale, status
from populate.workers import worker
from schemas import activity, ephys, passive, rows, views
from schemas.errors import DefinitionError, QueryError
from schemas.sources import simulator
from tests.support.databases import Release
from tests.support.revising import revise

SORT = ["eid", "probe_name", "sorting_name"]
UNIT = [*SORT, "cluster_id"]
KINDS = {"valve": 0.2, "tone": 0.1, "noise": 0.2, "gabor": 0.1}
"""Kinds of replayed stimuli, and the length of their windows (s)."""


@pytest.fixture
def found(populated):
    return views.fetch_passive_responses(ephys.SpikeSorting.Cluster())


def starts(eid):
    """Times of each replayed stimulus by its name, from the tables of the protocol."""
    stimuli = rows.frame(passive.PassiveStimuli.Stimulus & {"eid": eid})
    for kind, of_kind in stimuli.groupby("stimulus_kind"):
        yield (kind, kind), of_kind.stimulus_start
    gabors = rows.frame(passive.PassiveGabors.Gabor & {"eid": eid})
    for (position, contrast), of_kind in gabors.groupby(["gabor_position", "gabor_contrast"]):
        side = {-35.0: "left", 35.0: "right"}[position]
        yield ("gabor", f"{side} {contrast:g}"), of_kind.gabor_start


def counts(train, events, start, end):
    return np.array([int(((train >= e + start) & (train < e + end)).sum()) for e in events])


def test_a_response_is_that_of_a_loop_and_of_scipy(found):
    eid = found[found.passive_definition == "gabor"].eid.iloc[0]
    of_session = found[found.eid == eid].set_index([*UNIT, "passive_definition", "stimulus"])
    trains = ephys.spike_times(ephys.SpikeSorting.Cluster & {"eid": eid})
    names = set()
    for (kind, stimulus), times in starts(eid):
        names.add((kind, stimulus))
        width = KINDS[kind]
        rows_of = of_session.xs((kind, stimulus), level=("passive_definition", "stimulus"))
        assert len(rows_of) > 5
        for unit, row in rows_of.iterrows():
            before = counts(trains[unit], times, -width, 0.0) / width
            during = counts(trains[unit], times, 0.0, width) / width
            assert row.rate_before == pytest.approx(before.mean(), rel=1e-12)
            assert row.rate_in == pytest.approx(during.mean(), rel=1e-12)
            assert row.n_stimuli == len(times)
            difference = np.round(during - before, 6)
            if not difference.any():
                assert np.isnan(row.p)
                continue
            expected = stats.wilcoxon(difference, zero_method="wilcox", method="approx")
            assert row.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert (
        set(
            of_session.reset_index()[["passive_definition", "stimulus"]].itertuples(
                index=False, name=None
            )
        )
        == names
    )
    assert len(names) == 3 + 10


def test_each_unit_and_stimulus_has_its_row_and_its_condition(populated, found):
    good = ephys.GoodUnits.Unit & {"criterion": "ibl_2022", "is_good": True}
    good = rows.frame(good.proj()).groupby("eid").size()
    for kind, source in (("valve", passive.PassiveStimuli), ("gabor", passive.PassiveGabors)):
        of_kind = found[found.passive_definition == kind]
        sizes = of_kind.groupby("eid").size()
        with_units = good.reindex(source.to_arrays("eid")).dropna()
        n_stimuli = of_kind.stimulus.nunique()
        assert (sizes == with_units.reindex(sizes.index) * n_stimuli).all()
        assert set(sizes.index) == set(with_units.index)
    gabors = found[found.passive_definition == "gabor"]
    assert (gabors.side + gabors.contrast.map(" {:g}".format) == gabors.stimulus).all()
    others = found[found.passive_definition != "gabor"]
    assert others[["side", "contrast"]].isna().all(axis=None)
    table = rows.frame(activity.PassiveResponse)
    is_gabor = table.passive_definition == "gabor"
    assert (table.gabors_eid.notna() == is_gabor).all()
    assert (table.stimuli_eid.notna() == ~is_gabor).all()
    assert (table.n_unplaced == 0).all()


def test_responses_of_the_task_stand_beside(populated, found):
    task = rows.frame(activity.UnitResponse.Unit)
    named = {"valve": "feedback", "tone": "stimulus", "noise": "feedback", "gabor": "stimulus"}
    assert (found.task_response == found.passive_definition.map(named)).all()
    of_task = task.set_index([*UNIT, "response_definition"])
    expected = of_task.loc[list(found[[*UNIT, "task_response"]].itertuples(index=False, name=None))]
    np.testing.assert_array_equal(found.task_rate_in, expected.rate_in)
    np.testing.assert_array_equal(found.task_rate_before, expected.rate_before)
    np.testing.assert_array_equal(found.task_p, expected.wilcoxon_p)


def test_responses_are_of_the_units_and_the_stimuli_that_are_asked_for(populated, found):
    units = views.units("TH", "ibl_2022")
    table = views.fetch_passive_responses(units, "gabor")
    expected = found[found.passive_definition == "gabor"].merge(rows.frame(units.proj()))
    assert len(expected)
    pd.testing.assert_frame_equal(table, expected, check_dtype=False)
    eid = found.eid.iloc[0]
    of_session = views.fetch_passive_responses(eid)
    units = rows.frame(views.units(recording=eid).proj())
    pd.testing.assert_frame_equal(of_session, found.merge(units))
    nothing = views.fetch_passive_responses(views.units() & "cluster_id < 0")
    assert (len(nothing), list(nothing)) == (0, list(found))
    with pytest.raises(QueryError, match="gabor, noise, tone, valve"):
        views.fetch_passive_responses(views.units(), "reward")


SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}
PARENTS = ["Channels", "SpikeSorting", "Spikes", "GoodUnits", "PassiveStimuli", "PassiveGabors"]
FILES = "alf/_ibl_passive{}.table.csv"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=6, **SMALL))


def test_a_definition_is_a_row_and_one_that_makes_no_sense_says_so(database, original):
    whole = {
        "passive_definition": "whole",
        "replayed_kind": "gabor",
        "replay_start": 0.0,
        "replay_end": 0.05,
        "replay_baseline_end": -0.01,
        "response_definition": None,
        "criterion": None,
        "passive_description": "every unit",
    }
    for wrong, says in (
        ({"replayed_kind": "click"}, "replayed_kind takes no 'click'"),
        ({"replay_end": -0.1}, "replay_start is 0.0, which is not below replay_end"),
        ({"response_definition": "lick"}, "response_definition takes no 'lick'"),
    ):
        with pytest.raises(DefinitionError, match=says):
            rows.insert1(activity.PassiveResponseDefinition(), whole | wrong)
    sounds = whole | {"passive_definition": "sounds", "replayed_kind": "noise"}
    rows.insert(activity.PassiveResponseDefinition(), [whole, sounds])
    database.register(original.folder)
    worker.run(catalog.find(PARENTS))
    eid = passive.PassiveGabors.to_arrays("eid")[0]
    gabors = passive.PassiveGabors.Gabor & {"eid": eid}
    table = rows.frame(gabors)
    change = {0: {"gabor_position": None}, 1: {"gabor_contrast": None}, 2: {"gabor_position": 0.0}}
    for gabor, values in {**change, 3: {"gabor_start": None}}.items():
        passive.PassiveGabors.Gabor.update1({"eid": eid, "gabor": gabor, **values})
    (passive.PassiveStimuli.Stimulus & {"eid": eid, "stimulus_kind": "noise"}).delete_quick()
    worker.run([activity.PassiveResponse])
    assert status.failures() == []
    key = {"eid": eid, "passive_definition": "whole"}
    (n_unplaced,) = set((activity.PassiveResponse & key).to_arrays("n_unplaced"))
    assert n_unplaced == 3
    stimuli = rows.frame(activity.PassiveResponse.Stimulus & key).drop_duplicates(
        "replayed_stimulus"
    )
    assert stimuli.n_undetected.sum() == 1
    assert stimuli.n_replayed.sum() == len(table) - 4
    found = views.fetch_passive_responses(ephys.SpikeSorting.Cluster & {"eid": eid}, "whole")
    assert found[["task_response", "task_p"]].isna().all(axis=None)
    units = rows.frame(ephys.SpikeSorting.Cluster & {"eid": eid})
    assert len(found) == len(units) * len(stimuli)
    silent = views.fetch_passive_responses(ephys.SpikeSorting.Cluster & {"eid": eid}, "sounds")
    assert len(silent) == len(units)
    assert (silent.n_stimuli == 0).all()
    assert silent[["rate_before", "rate_in", "p"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("path", "kinds"), [("Stims", {"valve", "tone", "noise"}), ("Gabor", {"gabor"})]
)
def test_replaced_stimuli_take_their_responses_along(database, original, tmp_path, path, kinds):
    folder = tmp_path / "release"
    shutil.copytree(original.folder, folder)
    database.register(folder)
    worker.run(catalog.find([*PARENTS, "PassiveResponse"]))
    eid = passive.PassiveGabors.to_arrays("eid")[0]
    before = rows.frame(activity.PassiveResponse)
    concerned = before[(before.eid == eid) & before.passive_definition.isin(kinds)]
    revise(folder, eid, FILES.format(path), "2025-01-01", seed=3)
    database.register(folder)
    made = {done.table: done.n_done for done in stale.remake()}
    assert made["activity.PassiveResponse"] == len(concerned) > 0
    assert rows.frame(activity.PassiveResponse).equals(before)
