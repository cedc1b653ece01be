"""Definitions that users add: checked at once, and used like those that are there."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from populate.workers import worker
from schemas import activity, behavior, ephys, rows, views, wheel
from schemas.errors import DefinitionError

DOCUMENT = (Path(__file__).parents[2] / "schemas" / "README.md").read_text(encoding="utf-8")
ACTIVE = {"firing_rate": (1.0, None), "presence_ratio": (0.9, None)}


def copied(table, **changed):
    """A row of a definition table under another name."""
    return {**table.contents[0], table().primary_key[0]: "mine", **changed}


WRONG = {
    "no metric": (ephys.UnitCriterion, {"refractory_metric": "max_confidance"}, "max_confidence"),
    "no method": (ephys.MetricsDefinition, {"noise_method": "last"}, "last_change"),
    "no criterion": (ephys.MetricsDefinition, {"criterion": "ibl_2023"}, "ibl_202"),
    "no event": (activity.PsthDefinition, {"trial_event": "stim_on"}, "stim_on_time"),
    "no split": (activity.PsthDefinition, {"trial_split": "sides"}, "side"),
    "no mask": (activity.ResponseDefinition, {"trial_mask": "bmw"}, "bwm"),
    "no mapping": (activity.InclusionRule, {"mapping": "beryl"}, "Beryl"),
    "no reaction": (behavior.TrialMaskDefinition, {"rt_definition": "react"}, "There are"),
    "no fit": (behavior.TrainingCriterion, {"psychometric_definition": "plot"}, "plots"),
    "ends first": (
        activity.Window,
        {"trial_event": "stim_on_time", "window_start": 0.1, "window_end": 0.0},
        "not below window_end",
    ),
    "empty window": (activity.PsthDefinition, {"psth_start": 1.0, "psth_end": 1.0}, "not below"),
    "no bin": (activity.PsthDefinition, {"bin_width": 0.0}, "not above zero"),
    "percent": (behavior.TrainingCriterion, {"min_easy_performance": 80.0}, "between 0 and 1"),
    "below": (activity.InclusionRule, {"min_session_units": -1}, "between 0 and inf"),
    "infinite": (ephys.UnitCriterion, {"max_noise_cutoff": np.inf}, "not finite"),
    "negative rate": (wheel.MovesDefinition, {"moves_rate": -1000.0}, "between 0 and inf"),
    "text": (ephys.UnitCriterion, {"min_amplitude": "50 uV"}, "no number"),
    "no test": (ephys.UnitCriterion, dict.fromkeys(ephys.RULE), "defines nothing"),
    "metric alone": (ephys.UnitCriterion, {"min_refractory": None}, "nothing without"),
    "threshold alone": (ephys.UnitCriterion, {"refractory_metric": None}, "nothing without"),
    "event alone": (activity.Window, {"trial_event": "stim_on_time"}, "nothing without"),
    "times alone": (activity.Window, {"window_start": 0.0, "window_end": 1.0}, "nothing without"),
    "no response": (activity.ResponseDefinition, {"window_name": "recording"}, "around no event"),
    "no time": (behavior.ReactionTimeDefinition, {"rt_start_event": "response_time"}, "are both"),
    "no truncation": (
        behavior.TrialMaskDefinition,
        {"truncation_min_trials": 400},
        "nothing without truncation_min_performance",
    ),
}


@pytest.fixture(scope="module")
def declared(lend):
    """A database with definitions alone."""
    with lend() as database:
        yield database


@pytest.mark.parametrize("way", ["insert1", "insert", "rows", "frame", "tuple"])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_names_or_bounds_nothing_is_refused_at_once(declared, wrong, way):
    table, change, says = WRONG[wrong]
    row = copied(table, **change)
    before = len(table())
    ways = {
        "insert1": lambda: table.insert1(row),
        "insert": lambda: table.insert([copied(table), row]),
        "rows": lambda: rows.insert(table, [row]),
        "frame": lambda: table.insert(pd.DataFrame([row], dtype=object)),
        "tuple": lambda: table.insert([tuple(row.get(n) for n in table().heading.names)]),
    }
    with pytest.raises(DefinitionError, match=says) as error:
        ways[way]()
    assert "'mine'" in str(error.value)
    assert any(name in str(error.value) for name in change)
    assert len(table()) == before


def test_an_event_that_a_trial_does_not_have_is_refused(declared):
    with pytest.raises(DefinitionError, match=r"takes no 'stim_on'\. Did you mean 'stim_on_time'"):
        behavior.TrialEvent.insert1({"trial_event": "stim_on", "trial_event_description": "on"})


def test_the_definitions_that_are_there_pass_the_checks(declared):
    for table in (
        ephys.UnitCriterion,
        ephys.MetricsDefinition,
        activity.Window,
        activity.TrialSplit,
        activity.PsthDefinition,
        activity.ResponseDefinition,
        activity.InclusionRule,
        behavior.TrialEvent,
        behavior.ReactionTimeDefinition,
        behavior.TrialMaskDefinition,
        behavior.PsychometricDefinition,
        behavior.TrainingCriterion,
        wheel.MovesDefinition,
    ):
        assert table.contents
        for row in table.contents:
            table().refuse_wrong(row)


def test_an_update_is_checked_as_a_whole(database):
    activity.Window.insert1(
        copied(activity.Window, trial_event="stim_on_time", window_start=0.0, window_end=0.1)
    )
    with pytest.raises(DefinitionError, match="not below"):
        activity.Window.update1({"window_name": "mine", "window_end": -0.1})
    activity.Window.update1({"window_name": "mine", "window_end": 0.2})
    assert (activity.Window & "window_name = 'mine'").fetch1("window_end") == 0.2


@pytest.mark.parametrize(
    ("bounds", "says"),
    [
        ({"rate": (1.0, None)}, "no 'rate'.*firing_rate"),
        ({"eid": (1.0, None)}, "no 'eid'"),
        ({"firing_rate": (None, None)}, "no value of least or greatest"),
        ({}, "no value of min_refractory"),
        ({"firing_rate": (2.0, 1.0)}, "above greatest"),
        ({"firing_rate": (1.0, np.inf)}, "not finite"),
        ({"firing_rate": ("high", None)}, "no number"),
        ({"presence_ratio": (0.9, None), "drif": (None, 1.0)}, "drift"),
    ],
)
def test_a_wrong_bound_leaves_no_part_of_its_criterion(declared, bounds, says):
    with pytest.raises(DefinitionError, match=says):
        ephys.UnitCriterion.add("mine", "a test", bounds)
    assert not ephys.UnitCriterion & {"criterion": "mine"}
    assert not ephys.UnitCriterion.Bound & {"criterion": "mine"}


@pytest.fixture
def filled(database, release):
    database.register(release.folder, release.truth.release)
    worker.run([ephys.SpikeSorting])
    return database


def test_units_are_good_within_the_bounds_of_a_criterion(filled):
    ephys.UnitCriterion.add("active", "fires, and all the time", ACTIVE)
    ephys.UnitCriterion.add(
        "active_2024",
        "both",
        {"firing_rate": (1.0, 20.0)},
        refractory_metric="max_confidence",
        min_refractory=90.0,
    )
    assert not [outcome for outcome in worker.run([ephys.GoodUnits]) if outcome.failed]
    units = rows.frame(ephys.SpikeSorting.Cluster * ephys.GoodUnits.Unit)
    of_sort = rows.frame(ephys.SpikeSorting.proj("n_clusters") * ephys.GoodUnits)
    units = units.merge(
        of_sort[["eid", "probe_name", "sorting_name", "criterion", "missing_metrics"]]
    )
    found = units[(units.criterion == "active") & (units.missing_metrics == "")]
    expected = (found.firing_rate >= 1) & (found.presence_ratio >= 0.9)
    assert expected.sum() > 10
    assert (~expected).sum() > 10
    assert (found.is_good.astype(bool) == expected).all()
    assert (found.bounds_pass.astype(bool) == expected).all()
    assert found[["refractory_pass", "noise_pass", "amplitude_pass"]].isna().all(axis=None)
    label = ((found.firing_rate >= 1).astype(float) + (found.presence_ratio >= 0.9)) / 2
    assert np.array_equal(found.unit_label, label)
    both = units[(units.criterion == "active_2024") & (units.missing_metrics == "")]
    passed = both.firing_rate.between(1, 20) & (both.max_confidence >= 90)
    assert (both.is_good.astype(bool) == passed).all()
    assert both.noise_pass.isna().all()
    lacking = units[(units.criterion == "active_2024") & (units.missing_metrics != "")]
    assert not lacking.is_good.fillna(False).any()
    asked = views.units(criterion="active", sorting=None)
    assert len(asked & ephys.GoodUnits.Unit) <= expected.sum()


def test_a_bound_that_comes_after_the_labels_is_refused(filled):
    ephys.UnitCriterion.add("mine", "rate alone", {"firing_rate": (1.0, None)})
    worker.run([ephys.GoodUnits])
    late = {"criterion": "mine", "metric": "drift", "least": None, "greatest": 1.0}
    with pytest.raises(DefinitionError, match=r"labelled units already.*name of its own"):
        ephys.UnitCriterion.Bound.insert1(late)
    assert len(ephys.UnitCriterion.Bound & {"criterion": "mine"}) == 1


def test_a_criterion_of_bounds_alone_labels_every_sort(filled):
    ephys.UnitCriterion.add("mine", "bounds alone", {"bitwise_fail": (0, 0)})
    asked = ephys.GoodUnits().key_source & {"criterion": "mine"}
    assert len(asked) == len(ephys.SpikeSorting())
    ephys.UnitCriterion.update1({"criterion": "mine", "criterion_description": "passes all"})
    with pytest.raises(DefinitionError, match="nothing without"):
        ephys.UnitCriterion.update1({"criterion": "mine", "min_refractory": 1.0})


def test_the_criterion_of_the_document_is_one_that_can_be_added(filled):
    (code,) = re.findall(r"```python\n(.*?UnitCriterion\.add.*?)```", DOCUMENT, re.S)
    names = {}
    exec(code, names)
    bounds = rows.frame(ephys.UnitCriterion.Bound & {"criterion": "active"})
    assert set(bounds.metric) == set(names["bounds"])
    asked = ephys.GoodUnits().key_source & {"criterion": "active"}
    assert len(asked) == len(ephys.SpikeSorting())


def test_rows_of_a_query_are_checked(declared):
    windows = activity.Window & "window_start IS NOT NULL"
    names = "trial_event", "window_start", "window_description"
    with pytest.raises(DefinitionError, match="not below window_end"):
        activity.Window.insert(windows.proj(*names, window_end="window_start - 1"))
