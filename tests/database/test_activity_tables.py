"""Histograms and responses of units: planted truth, definitions as rows, replaced trials."""

import math
import shutil
import statistics

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from populate import catalog, stale, status
from populate.workers import worker
from schemas import activity, atlas, behavior, ephys, probe, quality, rows, views
from schemas.errors import DefinitionError, QueryError
from schemas.sources import simulator
from tests.support.databases import Release
from tests.support.revising import revise

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}
NAMES = {"": "pykilosort", "2024-05-06": "pykilosort@2024-05-06"}
SORT = ["eid", "probe_name", "sorting_name"]
UNIT = [*SORT, "cluster_id"]
EVERY_UNIT = ephys.SpikeSorting.Cluster


@pytest.fixture
def planted(release, populated):
    """Planted rates of every unit of every sort."""
    units = release.truth.units
    return units.assign(sorting_name=units.revision.map(NAMES)).set_index(UNIT).sort_index()


@pytest.fixture
def responded(populated, planted):
    """Responses to the stimulus beside what was planted."""
    found = activity.UnitResponse.Unit & {"response_definition": "stimulus"}
    found = rows.frame(found * activity.UnitResponse.proj("n_response_trials"))
    return found.set_index(UNIT).join(planted[["rate", "evoked_rate", "region_id"]])


def assert_within_three(z):
    """Of estimates in standard errors from the truth, no more lie beyond 3 than by chance.

    Nor does one lie where none of so many would: each with a probability of 0.001.
    """
    beyond = (np.abs(z) > 3).sum()
    assert beyond <= stats.binom.ppf(0.999, len(z), 2 * stats.norm.sf(3))
    assert np.abs(z).max() < stats.norm.isf(0.001 / 2 / len(z))


def test_planted_rates_of_the_stimulus_are_recovered_from_histograms(planted):
    table = views.fetch_psth(EVERY_UNIT(), "stimulus_side")
    table = table[table.time.between(0, 0.1)].assign(spikes=lambda t: t["mean"] * t.n_events)
    found = table.groupby(UNIT).agg(spikes=("spikes", "mean"), n=("n_events", "sum"))
    found = found.assign(n=found.n / 2).join(planted.evoked_rate)  # each trial has two bins
    assert len(found) > 100
    # Spikes are drawn at random: their number has its expectation as variance, or less.
    error = np.sqrt(found.evoked_rate / (found.n * 0.1))
    assert_within_three((found.spikes * 2 / found.n - found.evoked_rate) / error)


def test_planted_rates_of_units_and_regions_are_recovered_from_responses(responded):
    seconds = responded.n_response_trials * 0.1
    for found, expected in (("rate_in", "evoked_rate"), ("rate_before", "rate")):
        error = np.sqrt(responded[expected] / seconds)
        assert_within_three((responded[found] - responded[expected]) / error)
        located = responded.assign(variance=error**2).dropna(subset=["region_id"])
        by_region = located.groupby("region_id")
        mean = by_region[[found, expected]].mean()
        error = np.sqrt(by_region.variance.sum()) / by_region.size()
        assert len(mean) > 5
        assert_within_three((mean[found] - mean[expected]) / error)


def test_units_that_were_made_to_respond_do_and_others_do_by_chance(responded):
    gain = responded.evoked_rate / responded.rate
    p = responded.wilcoxon_p[np.isclose(gain, 1)]
    assert len(p) > 30
    assert stats.kstest(p, "uniform").pvalue > 0.001
    # Expected difference of the numbers of spikes, in standard deviations.
    seconds = responded.n_response_trials * 0.1
    expected = (responded.evoked_rate - responded.rate) * seconds
    strong = expected / np.sqrt((responded.evoked_rate + responded.rate) * seconds) > 6
    assert strong.sum() > 10
    assert (responded.wilcoxon_p[strong] < 0.01).all()
    assert (responded.rate_in > responded.rate_before)[strong].all()


def trials_in_use(eid):
    trials = rows.frame(behavior.Trials.Trial & {"eid": eid}).set_index("trial")
    used = behavior.TrialMask.Trial & {"eid": eid, "trial_mask": "bwm", "is_used": True}
    used = rows.frame(used.proj()).trial
    assert 0 < len(used) < len(trials)
    return trials.loc[used]


def counts(train, events, start, end):
    return [int(((train >= e + start) & (train < e + end)).sum()) for e in events]


def test_a_histogram_is_that_of_a_loop_over_spikes_and_trials(populated):
    key = (activity.Psth.Unit & {"psth_definition": "stimulus_contrast"}).keys()[0]
    unit = EVERY_UNIT & {name: key[name] for name in UNIT}
    (train,) = ephys.spike_times(unit)
    found = views.fetch_psth(unit, "stimulus_contrast").set_index(["condition", "time"])
    trials = trials_in_use(key["eid"])
    expected = {}
    for side, contrast in (("left", trials.contrast_left), ("right", trials.contrast_right)):
        for level, of_level in trials.assign(level=contrast).groupby("level"):
            for k in range(-10, 20):
                rates = counts(train, of_level.stim_on_time, k * 0.05, (k + 1) * 0.05)
                rates = [n / 0.05 for n in rates]
                sem = np.nan
                if len(rates) > 1:
                    sem = statistics.stdev(rates) / math.sqrt(len(rates))
                at = f"{side} {level:g}", round((k + 0.5) * 0.05, 3)
                expected[at] = statistics.fmean(rates), sem, len(rates)
    expected = pd.DataFrame(expected, index=["mean", "sem", "n_events"]).T
    found.index = found.index.map(lambda at: (at[0], round(at[1], 3)))
    with_events = found[found.n_events > 0]
    assert sorted(with_events.index) == sorted(expected.index)
    for name in expected:
        np.testing.assert_allclose(
            with_events[name], expected[name].loc[with_events.index], rtol=1e-9, atol=1e-9
        )


def test_a_response_is_that_of_a_loop_and_of_scipy(populated):
    key = (activity.UnitResponse & {"response_definition": "feedback"}).keys()[0]
    found = rows.frame(activity.UnitResponse.Unit & key).set_index("cluster_id")
    trials = trials_in_use(key["eid"]).dropna(subset=["stim_on_time", "feedback_time"])
    assert (activity.UnitResponse & key).fetch1("n_response_trials") == len(trials)
    trains = ephys.spike_times(EVERY_UNIT & {name: key[name] for name in SORT})
    for cluster, row in found.iterrows():
        train = trains[(*(key[name] for name in SORT), cluster)]
        before = np.array(counts(train, trials.stim_on_time, -0.3, -0.1)) / 0.2
        during = np.array(counts(train, trials.feedback_time, 0.0, 0.2)) / 0.2
        assert row.rate_before == pytest.approx(before.mean(), rel=1e-12)
        assert row.rate_in == pytest.approx(during.mean(), rel=1e-12)
        difference = np.round(during - before, 6)
        expected = stats.wilcoxon(difference, zero_method="wilcox", method="approx")
        assert row.n_changed_trials == (difference != 0).sum()
        assert row.wilcoxon_statistic == expected.statistic
        assert row.wilcoxon_p == pytest.approx(expected.pvalue, rel=1e-9)


def test_conditions_say_what_they_are_and_account_for_every_trial(populated):
    every = rows.frame(activity.Psth.Condition * behavior.TrialMask.proj("n_used") * activity.Psth)
    told = every.groupby([*SORT, "psth_definition"]).agg(
        events=("n_psth_events", "sum"),
        dropped=("n_psth_dropped", "sum"),
        n_used=("n_used", "first"),
        unsplit=("n_unsplit_trials", "first"),
    )
    assert (told.events + told.dropped + told.unsplit == told.n_used).all()
    names = every.groupby("psth_definition").psth_condition.agg(set)
    assert names["stimulus_side"] == {"left", "right"}
    assert names["movement_choice"] <= {"left", "no_go", "right"}
    assert names["feedback_outcome"] <= {"correct", "error", "no_go"}
    assert {"left 0", "right 0", "left 0.0625", "right 1"} <= names["stimulus_contrast"]
    by_contrast = every[every.psth_definition == "stimulus_contrast"]
    label = by_contrast.psth_side + by_contrast.psth_contrast.map(" {:g}".format)
    assert (label == by_contrast.psth_condition).all()
    choice = every[every.psth_condition == "right"].query("psth_definition == 'movement_choice'")
    row = choice.iloc[0]
    assert row.n_psth_events == (trials_in_use(row.eid).choice == -1).sum()


def test_histograms_of_an_insertion_are_those_of_its_good_units(populated):
    pid = probe.ProbeInsertion.to_arrays("pid")[0]
    table = views.fetch_psth(pid, "feedback_outcome")
    good = views.units(criterion="ibl_2022", recording=pid)
    assert sorted(set(table.cluster_id)) == sorted(good.to_arrays("cluster_id"))
    assert len(table) % (30 * table.cluster_id.nunique()) == 0
    one = views.fetch_psth(good & {"cluster_id": int(table.cluster_id.max())}, "feedback_outcome")
    whole = table[table.cluster_id == table.cluster_id.max()].reset_index(drop=True)
    pd.testing.assert_frame_equal(one, whole)
    nothing = views.fetch_psth(good & "cluster_id < 0", "feedback_outcome")
    assert (len(nothing), list(nothing)) == (0, list(table))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: views.fetch_psth(EVERY_UNIT(), "stim"), "stimulus_side"),
        (lambda: views.responses("stim"), "stimulus"),
        (lambda: views.fetch_inclusion_chain("good"), "ibl_2022"),
        (lambda: views.fetch_included_units("ibl_2022", rule="all"), "any_unit, bwm"),
        (lambda: views.fetch_region_summary("ibl_2022", "stim"), "stimulus"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_which_there_are(populated, call, says):
    with pytest.raises(QueryError, match=says):
        call()


def test_responses_are_of_the_units_that_are_asked_for(populated):
    found = rows.frame(views.responses("stimulus", "TH", "ibl_2022") & "wilcoxon_p < 0.05")
    every = rows.frame(activity.UnitResponse.Unit & {"response_definition": "stimulus"})
    units = rows.frame(views.units("TH", "ibl_2022").proj())
    expected = every.merge(units).query("wilcoxon_p < 0.05")
    assert len(expected)
    assert sorted(found[UNIT].apply(tuple, axis=1)) == sorted(expected[UNIT].apply(tuple, axis=1))


# --- regions ------------------------------------------------------------------------------------


@pytest.fixture
def located(planted, release):
    """Good units of the default sorts with their region of the Beryl mapping."""
    beryl = rows.frame(atlas.BrainRegion()).set_index("region_id").beryl_id
    default = release.truth.sortings.query("is_default")
    default = default.assign(sorting_name=default.revision.map(NAMES))[SORT]
    units = planted.reset_index().merge(default)
    return units.assign(region_id=units.region_id.map(beryl))


@pytest.mark.parametrize(("rule", "limits"), [("bwm", (5, 2, 20, 3)), ("any_unit", (1, 1, 1, 0))])
def test_the_inclusion_chain_is_that_of_pandas(populated, located, rule, limits):
    left = located
    n_units, n_sessions, n_region_units, n_errors = limits
    steps = {"Session and insertion QC": left}
    trials = rows.frame(behavior.Trials.Trial * behavior.TrialMask.Trial)
    used = trials[(trials.trial_mask == {"bwm": "bwm", "any_unit": "all"}[rule]) & trials.is_used]
    errors = (used.feedback_type == -1).groupby(used.eid).sum()
    left = left[left.eid.map(errors).fillna(0) >= n_errors]
    steps[f"Minimum {n_errors} error trials"] = left
    steps["Single unit QC"] = left = left[left.is_good_2022.astype(bool)]
    left = left[left.region_id.notna() & ~left.region_id.isin(atlas.OUTSIDE)]
    steps["Gray matter regions"] = left
    left = left.groupby(["region_id", "eid"]).filter(lambda pair: len(pair) >= n_units)
    steps[f"Minimum {n_units} units per region"] = left
    left = left.groupby("region_id").filter(lambda one: one.eid.nunique() >= n_sessions)
    steps[f"Minimum {n_sessions} sessions per region"] = left
    left = left.groupby("region_id").filter(lambda one: len(one) >= n_region_units)
    steps[f"Minimum {n_region_units} units per region"] = left
    found = views.fetch_inclusion_chain("ibl_2022", rule=rule)
    assert found.index.tolist() == list(steps)
    for name, step in steps.items():
        assert found.loc[name].to_dict() == {
            "units": len(step),
            "regions": step.region_id.nunique(),
            "insertions": step.pid.nunique(),
            "sessions": step.eid.nunique(),
        }
    units = views.fetch_included_units("ibl_2022", rule=rule)
    assert sorted(units[UNIT].apply(tuple, axis=1)) == sorted(left[UNIT].apply(tuple, axis=1))
    if rule == "any_unit":
        assert len(units) > 30
    assert (found.units > 0).sum() >= 4


def test_regions_by_unit_and_by_session_are_those_of_pandas(populated, located):
    found = views.fetch_region_summary("ibl_2022", "stimulus")
    rates = rows.frame(activity.UnitRate.Unit & {"window_name": "stimulus"})
    units = located[located.is_good_2022.astype(bool) & ~located.region_id.isin(atlas.OUTSIDE)]
    units = units.drop(columns="rate").merge(rates, on=UNIT).dropna(subset=["rate", "region_id"])
    acronym = rows.frame(atlas.BrainRegion.proj("region_acronym")).set_index("region_id")
    by_region = units.groupby(units.region_id.map(acronym.region_acronym))
    expected = by_region.rate.agg(["mean", "median", "sem", "count"]).loc[found.index]
    by_session = units.groupby([units.region_id.map(acronym.region_acronym), "eid"]).rate.mean()
    sessions = by_session.groupby(level=0).agg(["mean", "sem", "count"]).loc[found.index]
    assert len(found) == len(by_region) > 5
    for name, table in (("unit", expected), ("session", sessions)):
        np.testing.assert_allclose(found[f"{name}_mean"], table["mean"], rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}_sem"], table["sem"], rtol=1e-9)
        assert (found[f"n_{name}s"] == table["count"]).all()
    np.testing.assert_allclose(found.unit_median, expected["median"], rtol=1e-12)


# --- definitions, and trials that are replaced --------------------------------------------------


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=6, **SMALL))


PARENTS = ["Channels", "Trials", "TrialMask", "SpikeSorting", "Spikes", "GoodUnits"]


def keys(table):
    return set(rows.frame(table.proj()).itertuples(index=False, name=None))


def test_replaced_trials_take_the_rows_along_that_are_computed_from_them(
    database, original, tmp_path
):
    folder = tmp_path / "release"
    shutil.copytree(original.folder, folder)
    database.register(folder)
    worker.run(catalog.find([*PARENTS, "UnitRate", "RegionRate", "Psth", "UnitResponse"]))
    # Good units that are not counted yet would be missing without a word.
    with pytest.raises(QueryError, match="GoodUnitSummary"):
        views.fetch_inclusion_chain("ibl_2022")
    found = {region: keys(views.units(region, "ibl_2022")) for region in (None, "grey", "TH")}
    shown = {region: rows.frame(views.good_units("ibl_2022", region)) for region in found}
    assert found[None] > found["grey"] > found["TH"] > set()
    worker.run([quality.GoodUnitSummary])
    # The good units are the same from the table that has no others.
    for region in found:
        assert found[region] == keys(views.units(region, "ibl_2022"))
        assert len(shown[region]) == len(found[region])
        again = rows.frame(views.good_units("ibl_2022", region))
        pd.testing.assert_frame_equal(again[list(shown[region])], shown[region])
    quality.GoodUnitSummary.delete()
    of_trials = {
        activity.UnitRate: "trials_eid IS NOT NULL",
        activity.RegionRate: "window_name <> 'recording'",
        activity.Psth: {},
        activity.UnitResponse: {},
    }
    eid = original.truth.sessions.eid[0]
    before = {table: keys(table) for table in of_trials}
    going = {table: keys(table & {"eid": eid} & own) for table, own in of_trials.items()}
    assert keys(activity.UnitRate & "trials_eid IS NULL") == keys(
        activity.UnitRate & {"window_name": "recording"}
    )
    revise(folder, eid, "alf/_ibl_trials.table.pqt", "2025-01-01", seed=3)
    database.register(folder)
    made = {done.table: done.n_done for done in stale.remake()}
    assert {table: keys(table) for table in of_trials} == before
    for table, gone in going.items():
        assert made[catalog.name_of(table)] == len(gone) > 0


def test_a_definition_is_a_row_and_one_that_makes_no_sense_says_so(database, original):
    whole = {
        "psth_definition": "whole",
        "trial_event": "stim_on_time",
        "psth_start": -0.12,
        "psth_end": 0.1,
        "bin_width": 0.1,
        "trial_split": "none",
        "trial_mask": "all",
        "criterion": None,
        "psth_description": "every unit and trial",
    }
    backwards = {**whole, "psth_definition": "backwards", "psth_end": -0.2}
    blocks = {**whole, "psth_definition": "blocks", "trial_split": "block"}
    # The sessions are too short for the truncated mask, and the old sorts lack a metric.
    blocks |= {"trial_mask": "bwm_truncated", "criterion": "ibl_2024"}
    with pytest.raises(DefinitionError, match=r"psth_start is -0\.12, which is not below"):
        rows.insert(activity.PsthDefinition(), [whole, backwards, blocks])
    rows.insert(activity.PsthDefinition(), [whole, blocks])
    trialless = {
        "response_definition": "trialless",
        "window_name": "stimulus",
        "baseline_event": "stim_on_time",
        "baseline_end": 0.0,
        "trial_mask": "bwm_truncated",
        "criterion": "ibl_2024",
        "response_description": "of no trial",
    }
    rows.insert(activity.ResponseDefinition(), [trialless])
    database.register(original.folder)
    worker.run(catalog.find([*PARENTS, "Psth", "UnitResponse"]))
    assert status.failures() == []
    table = views.fetch_psth(EVERY_UNIT(), "whole")
    units = keys(EVERY_UNIT())
    assert set(table[UNIT].itertuples(index=False, name=None)) == units
    assert len(table) == 3 * len(units)
    assert set(table.condition) == {"all"}
    np.testing.assert_allclose(table.time[:3], [-0.15, -0.05, 0.05])
    known = rows.frame(behavior.Trials.Trial & "stim_on_time IS NOT NULL").groupby("eid").size()
    assert (table.n_events == table.eid.map(known)).all()
    silent = rows.frame(ephys.Spikes.Unit & "n_unit_spikes = 0").merge(table, on=UNIT)
    assert (silent["mean"] == 0).all()
    prior = rows.frame(activity.Psth.Condition & {"psth_definition": "blocks"})
    assert set(prior.psth_prior) <= {0.2, 0.5, 0.8}
    assert (prior.n_psth_events == 0).all()
    undecided = activity.Psth & {"psth_definition": "blocks", "sorting_name": "pykilosort"}
    assert set(undecided.to_arrays("n_psth_units")) == {0}
    table = views.fetch_psth(EVERY_UNIT(), "blocks")
    assert set(table.sorting_name) == {"pykilosort@2024-05-06"}
    assert table[["mean", "sem"]].isna().all(axis=None)
    unknown = rows.frame(activity.UnitResponse.Unit & {"response_definition": "trialless"})
    assert len(unknown)
    assert unknown[["rate_before", "rate_in", "wilcoxon_p"]].isna().all(axis=None)
