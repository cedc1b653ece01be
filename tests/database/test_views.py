"""Views against a brute force in pandas on the rows that they are made of."""

import sys

import datajoint as dj
import numpy as np
import pandas as pd
import pytest

from schemas import (
    activity,
    atlas,
    behavior,
    ephys,
    probe,
    release,
    rows,
    session,
    storage,
    subject,
    views,
    wheel,
)
from schemas.errors import BwmError, QueryError
from schemas.views import pynapple as naps
from tests.support.prepared import EID, OTHER, add_insertion, add_session, add_sort

THIRD = "33333333-0000-4000-8000-000000000003"
PID = "aaaaaaaa-0000-4000-8000-000000000001"
UNIT = ["eid", "probe_name", "sorting_name", "cluster_id"]
MEASURES = ["n_trials", "performance", "performance_easy", "rt_median", "bias_shift"]


def measure(trials):
    """What sessions are chosen by, from the events of one session's trials."""
    contrast = trials.contrast_left.fillna(trials.contrast_right)
    reaction = trials.first_movement_time - trials.stim_on_time
    correct = trials.feedback_type == 1
    return pd.Series(
        {
            "n_trials": len(trials),
            "performance": correct.mean(),
            "performance_easy": correct[contrast >= 0.5].mean(),
            "rt_median": reaction[reaction.between(0.08, 2.0)].median(),
        }
    )


@pytest.fixture
def facts(populated):
    """Sessions with their measures, by eid."""
    trials = rows.frame(behavior.Trials.Trial()).groupby("eid")
    measured = pd.DataFrame({eid: measure(of_one) for eid, of_one in trials}).T
    fits = rows.frame(behavior.Psychometric & {"psychometric_definition": "plots"})
    measured["bias_shift"] = fits.set_index("eid").bias_shift
    return rows.frame(session.Session() * subject.Subject()).set_index("eid").join(measured)


@pytest.fixture
def inside(populated):
    """Ids of a region and of all that have it above them, by the parents in the atlas."""
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id")
    parent = regions.parent_id.dropna().astype(int).to_dict()

    def find(acronym):
        top = regions.index[regions.region_acronym == acronym][0]
        found = set()
        for region in regions.index:
            above = region
            while above != top and above in parent:
                above = parent[above]
            found |= {region} if above == top else set()
        return found

    return find


def eids(expression):
    return set(rows.frame(expression).eid)


@pytest.mark.parametrize(
    ("argument", "column", "sign"),
    [
        ("min_trials", "n_trials", 1),
        ("min_performance", "performance", 1),
        ("min_easy_performance", "performance_easy", 1),
        ("max_reaction_time", "rt_median", -1),
    ],
)
def test_sessions_within_a_bound_are_those_that_pandas_finds(facts, argument, column, sign):
    known = facts[column].dropna().astype(float)
    bound = known.median() - sign * 1e-9
    expected = set(known.index[sign * known >= sign * bound])
    assert eids(views.sessions(**{argument: bound})) == expected
    assert expected
    assert expected < set(facts.index) or column == "n_trials"


def test_sessions_by_the_shift_of_their_curves(database):
    direct = {"allow_direct_insert": True}
    for eid, shift in ((EID, 4.0), (OTHER, 8.0), (THIRD, None)):
        add_session(eid)
        rows.insert1(behavior.Trials(), {"eid": eid, "n_trials": 0}, **direct)
        fit = {"eid": eid, "psychometric_definition": "plots", "bias_shift": shift}
        rows.insert1(behavior.Psychometric(), fit, **direct)
    assert eids(views.sessions(min_bias_shift=4)) == {EID, OTHER}
    assert eids(views.sessions(min_bias_shift=4.5)) == {OTHER}
    assert eids(views.sessions(min_bias_shift=-100)) == {EID, OTHER}
    other = views.sessions(min_bias_shift=4, psychometric_definition="training")
    assert eids(other) == set()


@pytest.mark.parametrize("bound", [float("nan"), float("inf")])
def test_what_bounds_nothing_is_refused(populated, bound):
    with pytest.raises(QueryError, match=f"max_reaction_time is {bound}"):
        views.sessions(max_reaction_time=bound)


def test_a_bound_is_within_bounds(facts):
    most = int(facts.n_trials.max())
    assert eids(views.sessions(min_trials=most)) == set(facts.index[facts.n_trials == most])
    assert eids(views.sessions(min_trials=most + 1)) == set()


def test_sessions_by_what_they_are(facts):
    lab, mouse = facts.lab.iloc[0], facts.subject.iloc[0]
    assert eids(views.sessions()) == set(facts.index)
    assert eids(views.sessions(lab=lab)) == set(facts.index[facts.lab == lab])
    assert eids(views.sessions(subject=mouse)) == set(facts.index[facts.subject == mouse])
    training = facts.index[facts.task_protocol.str.contains("training")]
    assert eids(views.sessions(protocol="training")) == set(training)
    assert 0 < len(training) < len(facts)
    of_project = eids(views.sessions(project="ibl_neuropixel_brainwide_01"))
    listed = facts.projects.str.split(",").map(lambda names: "ibl_neuropixel_brainwide_01" in names)
    assert of_project == set(facts.index[listed])


def test_sessions_of_a_release_have_an_insertion_in_it(facts):
    name = release.Release.to_arrays("release_name")[0]
    members = rows.frame(release.Release.Insertion & {"release_name": name})
    assert eids(views.sessions(release_name=name)) == set(members.eid)


def test_conditions_on_sessions_hold_together(facts):
    bounds = {"performance": facts.performance.median(), "rt_median": facts.rt_median.median()}
    found = views.sessions(
        min_performance=bounds["performance"] - 1e-9, max_reaction_time=bounds["rt_median"] + 1e-9
    )
    expected = (facts.performance >= bounds["performance"] - 1e-9) & (
        facts.rt_median <= bounds["rt_median"] + 1e-9
    )
    assert eids(found) == set(facts.index[expected])


def test_a_reaction_time_is_by_the_definition_that_is_named(facts):
    medians = rows.frame(behavior.ReactionTime()).pivot_table("rt_median", "eid", "rt_definition")
    bound = float(medians.response.median())
    by_response = eids(views.sessions(max_reaction_time=bound, rt_definition="response"))
    assert by_response == set(medians.index[medians.response <= bound])
    assert by_response != eids(views.sessions(max_reaction_time=bound))


def test_measures_are_those_that_pandas_computes(facts):
    found = rows.frame(views.session_measures()).set_index("eid")
    assert set(found.index) == set(facts.index[facts.n_trials.notna()])
    for name in MEASURES:
        expected = facts[name].astype(float)[found.index]
        np.testing.assert_allclose(found[name].astype(float), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"lab": "nolab"}, "no lab 'nolab'. There are: "),
        ({"subject": "nobody"}, "no subject 'nobody'. There are: "),
        ({"protocol": "passiveWorld"}, "There are: .*ephysChoiceWorld"),
        ({"project": "brainwide"}, "There are: .*ibl_neuropixel_brainwide_01"),
        ({"release_name": "2099"}, "There are: simulated_bwm_release"),
        ({"rt_definition": "fast"}, "There are: .*first_movement"),
        ({"psychometric_definition": "fit"}, "There are: plots, training"),
    ],
)
def test_an_unknown_name_of_a_session_is_an_error(populated, arguments, says):
    with pytest.raises(QueryError, match=says):
        views.sessions(**arguments)
    with pytest.raises(QueryError, match=says):
        views.region_by_behavior("TH", "ibl_2022", **arguments)


def test_a_region_in_the_place_of_units_is_an_error_that_says_what_to_write(populated):
    with pytest.raises(QueryError, match=r"write views\.units\('TH'\)"):
        views.fetch_units("TH")


def test_an_unknown_window_is_an_error(populated):
    with pytest.raises(QueryError, match=r"no window_name 'reward'.+ block, choice"):
        views.region_by_behavior("TH", "ibl_2022", "reward")


@pytest.mark.parametrize(
    ("region", "criterion", "window", "sorting"),
    [
        ("TH", "ibl_2022", "stimulus", None),
        ("HPF", "ibl_2024", "recording", None),
        ("root", "ibl_2022", "choice", "pykilosort"),
        ("TH", None, "stimulus", None),
    ],
)
def test_region_by_behavior_is_what_pandas_joins(facts, inside, region, criterion, window, sorting):
    slow, poor = facts.rt_median.median(), facts.performance_easy.min()
    found = rows.frame(
        views.region_by_behavior(
            region,
            criterion,
            window,
            sorting=sorting,
            max_reaction_time=slow,
            min_easy_performance=poor + 1e-9,
        )
    )
    units = rows.frame(ephys.SpikeSorting.Cluster.proj("region_id"))
    if sorting is None:
        flagged = rows.frame(ephys.OfferedSorting & "is_default_sorting = TRUE")
        units = units.merge(flagged[UNIT[:-1]])
    else:
        units = units[units.sorting_name == sorting]
    units = units[units.region_id.isin(inside(region))]
    if criterion is not None:
        judged = rows.frame(ephys.GoodUnits.Unit & {"criterion": criterion})
        units = units.merge(judged[judged.is_good.fillna(False).astype(bool)][UNIT])
    rates = rows.frame(activity.UnitRate.Unit & {"window_name": window})
    chosen = facts[(facts.rt_median <= slow) & (facts.performance_easy > poor)]
    expected = units.merge(rates[[*UNIT, "rate"]]).merge(chosen[MEASURES].reset_index())
    expected = expected.sort_values(UNIT, ignore_index=True)
    found = found.sort_values(UNIT, ignore_index=True)
    assert 0 < len(chosen) < len(facts)
    assert len(found) == len(expected) > 0
    assert found[UNIT].equals(expected[UNIT].astype(found[UNIT].dtypes))
    for name in ("region_id", "rate", *MEASURES):
        np.testing.assert_allclose(
            found[name].astype(float), expected[name].astype(float), rtol=1e-12
        )
    acronym = rows.frame(atlas.BrainRegion()).set_index("region_id").region_acronym
    assert (found.region_acronym == found.region_id.map(acronym)).all()


def test_region_by_behavior_can_be_refined_and_joined(populated):
    found = views.region_by_behavior("TH", "ibl_2022", max_reaction_time=1.0)
    table = rows.frame(found)
    assert len(found) == len(table) == len(table.drop_duplicates(UNIT))
    fast = found & "rate > 5"
    assert 0 < len(fast) == (table.rate > 5).sum() < len(table)
    with_pid = rows.frame(found * probe.ProbeInsertion.proj("pid"))
    assert len(with_pid) == len(table)
    assert len(views.fetch_units(fast)) == len(ephys.spike_times(fast)) == len(fast)
    mean = dj.U("region_acronym").aggr(found, mean="avg(rate)")
    means = rows.frame(mean).set_index("region_acronym")["mean"]
    expected = table.groupby("region_acronym").rate.mean()
    np.testing.assert_allclose(means.sort_index(), expected.sort_index(), rtol=1e-12)


def test_the_sql_of_a_view_gives_the_rows_of_datajoint(populated):
    for found in (
        views.sessions(max_reaction_time=0.5, lab=subject.Lab.to_arrays("lab")[0]),
        views.session_measures(),
        views.region_by_behavior("TH", "ibl_2022", min_trials=50),
    ):
        plain = dj.conn().query(found.make_sql()).fetchall()
        theirs = found.to_dicts()
        assert len(plain) == len(theirs) > 0
        names = found.heading.names
        assert sorted(map(str, plain)) == sorted(str(tuple(r[n] for n in names)) for r in theirs)


@pytest.fixture
def count_queries(monkeypatch):
    made = []
    query = dj.Connection.query

    def counted(self, sql, *arguments, **options):
        made.append(sql)
        return query(self, sql, *arguments, **options)

    monkeypatch.setattr(dj.Connection, "query", counted)
    return lambda call: (made.clear(), call(), len(made))[-1]


def test_nothing_is_queried_row_by_row(populated, count_queries):
    def fetch(region):
        return rows.frame(views.region_by_behavior(region, "ibl_2022", max_reaction_time=1.0))

    assert len(fetch("root")) > len(fetch("TH"))
    assert count_queries(lambda: fetch("root")) == count_queries(lambda: fetch("TH")) <= 12
    few, many = ephys.SpikeSorting.Cluster & "cluster_id < 2", ephys.SpikeSorting.Cluster()
    for view in (views.fetch_clusters, views.fetch_spikes):
        view(many)
        assert count_queries(lambda view=view: view(many)) == count_queries(
            lambda view=view: view(few)
        )


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_trials_of_a_session_or_of_its_insertion(populated, release, case):
    members = rows.frame(probe.ProbeInsertion()).dropna(subset=["pid"])
    eid, pid = members.eid.iloc[0], members.pid.iloc[0]
    table = views.fetch_trials(case(eid))
    pd.testing.assert_frame_equal(views.fetch_trials(case(pid)), table)
    released = release.truth.trials[eid]
    assert table.trial.tolist() == list(range(len(released)))
    left, right = released["contrastLeft"], released["contrastRight"]
    assert (table.side == np.where(left.isna(), "right", "left")).all()
    assert np.array_equal(table.contrast, left.fillna(right))
    signed = 100 * (right.fillna(0) - left.fillna(0))
    assert np.array_equal(table.signed_contrast, signed)
    assert set(table.side[table.contrast == 0]) == {"left", "right"}
    prior = released["probabilityLeft"].to_numpy()
    assert np.array_equal(
        table.block, np.cumsum(prior != np.roll(prior, 1)) - (prior[0] != prior[-1])
    )


def test_trials_have_every_column_of_their_table(populated):
    table = views.fetch_trials(session.Session.to_arrays("eid")[0])
    columns = set(behavior.Trials.Trial().heading.names) - {"extra_columns"}
    added = {"side", "contrast", "signed_contrast", "block", "trial_in_block"}
    assert columns | added == set(table)


def test_the_wheel_is_even(populated):
    eid = wheel.Wheel.to_arrays("eid")[0]
    stored = (wheel.Wheel & {"eid": eid}).fetch1("wheel_trace").read()
    for rate in (1000.0, 250.0):
        table = views.fetch_wheel(eid.upper(), rate)
        assert list(table) == ["time", "position", "velocity", "acceleration"]
        np.testing.assert_allclose(np.diff(table.time), 1 / rate, atol=1e-9)
        expected = np.interp(table.time, stored["time"], stored["position"])
        np.testing.assert_allclose(table.position, expected, atol=1e-12)
        travelled = np.cumsum(table.velocity) / rate
        # Low-passed: no further from the wheel itself than it turns in the filter's time.
        assert np.abs(travelled - (table.position - table.position[0])).max() < 0.2
        change = np.cumsum(table.acceleration) / rate
        np.testing.assert_allclose(change, table.velocity - table.velocity[0], atol=1e-6)
    with pytest.raises(QueryError, match=r"40 Hz is too low.*more than 40 Hz"):
        views.fetch_wheel(eid, 40.0)


def test_clusters_have_region_and_label(populated, inside):
    pid = rows.frame(probe.ProbeInsertion & ephys.SpikeSorting.proj()).pid.dropna().iloc[0]
    table = views.fetch_clusters(pid.upper())
    key = (probe.ProbeInsertion & {"pid": pid}).keys()[0]
    sort = (ephys.OfferedSorting & key & {"is_default_sorting": True}).fetch1("sorting_name")
    assert set(table.sorting_name) == {sort}
    assert table.cluster_id.tolist() == list(range(len(table)))
    assert set(ephys.SpikeSorting.Cluster().heading.names) <= set(table)
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id")
    for mapping, column in (("allen", None), ("beryl", "beryl_id"), ("cosmos", "cosmos_id")):
        known = table.dropna(subset=["region_id"])
        ids = known.region_id if column is None else known.region_id.map(regions[column])
        assert (known[f"region_{mapping}"] == ids.map(regions.region_acronym)).all()
    thalamic = table.region_id.isin(inside("TH")) & (table.region_cosmos != "root")
    assert (table.region_cosmos[thalamic] == "TH").all()
    for criterion in ("ibl_2022", "ibl_2024"):
        judged = ephys.GoodUnits.Unit & key & {"sorting_name": sort, "criterion": criterion}
        judged = rows.frame(judged).set_index("cluster_id")
        assert table[f"good_{criterion}"].tolist() == judged.is_good.tolist()
        assert table[f"label_{criterion}"].equals(judged.unit_label.rename(f"label_{criterion}"))


def test_clusters_of_a_named_sort_or_of_any_units(populated):
    (pid,) = rows.frame(
        probe.ProbeInsertion & (ephys.SpikeSorting & {"sorting_name": "pykilosort"}).proj()
    ).pid.dropna()[:1]
    table = views.fetch_clusters(pid, "pykilosort")
    assert set(table.sorting_name) == {"pykilosort"}
    assert table.good_ibl_2024.isna().any()  # a metric is lacking
    chosen = views.units("TH", "ibl_2022")
    several = views.fetch_clusters(chosen)
    assert len(several) == len(chosen)
    assert several.good_ibl_2022.all()
    assert len(set(several.eid)) > 1


@pytest.fixture
def opened(monkeypatch):
    files = []
    real = storage.pq.ParquetFile

    def record(location, **options):
        files.append(str(location))
        return real(location, **options)

    monkeypatch.setattr(storage.pq, "ParquetFile", record)
    return files


def test_spikes_of_an_insertion_are_all_of_them(populated, opened):
    row = (ephys.Spikes & (ephys.OfferedSorting & "is_default_sorting = TRUE").proj()).to_dicts()[0]
    key = {name: row[name] for name in ephys.Spikes.primary_key}
    stored = row["spikes"].to_pandas()
    opened.clear()
    table = views.fetch_spikes((probe.ProbeInsertion & key).fetch1("pid").upper())
    assert len(opened) == 1
    assert len(table) == row["n_spikes"] > 0
    assert np.array_equal(table.cluster_id, stored.cluster)
    for name in ("time", "amplitude", "depth"):
        assert np.array_equal(table[name], stored[name], equal_nan=True)
    for name in key:
        assert set(table[name]) == {key[name]}


def test_spikes_of_units_are_those_of_their_trains(populated, opened):
    chosen = views.units("TH", "ibl_2022")
    table = views.fetch_spikes(chosen)
    assert len(opened) == len(set(opened)) == len(ephys.Spikes & chosen.proj()) > 1
    trains = ephys.spike_times(chosen)
    found = table.groupby(UNIT, observed=True)
    assert len(found) == len(trains)
    for unit, spikes in found:
        assert np.array_equal(spikes.time, trains[unit])
        stored = (ephys.Spikes & dict(zip(UNIT[:-1], unit, strict=False))).fetch1("spikes")
        whole = stored.to_pandas()
        of_unit = whole[whole.cluster == unit[-1]]
        assert np.array_equal(spikes.amplitude, of_unit.amplitude)
        assert np.array_equal(spikes.depth, of_unit.depth, equal_nan=True)


def test_spikes_of_no_units_are_no_rows(populated):
    nobody = views.units("TH") & "cluster_id < 0"
    table = views.fetch_spikes(nobody)
    assert len(table) == len(views.fetch_clusters(nobody)) == 0
    assert list(table) == [*UNIT, "time", "amplitude", "depth"]
    assert set(table) <= set(views.fetch_spikes(views.units("TH") & "cluster_id < 8"))


def test_a_silent_unit_has_no_spike(populated):
    silent = rows.frame(ephys.Spikes.Unit & "n_unit_spikes = 0").iloc[0][UNIT].to_dict()
    table = views.fetch_spikes(ephys.SpikeSorting.Cluster & silent)
    assert len(table) == 0
    assert table.time.dtype == np.float64


def test_what_is_no_unit_is_refused(populated):
    with pytest.raises(QueryError, match="no key of units"):
        views.fetch_spikes(ephys.UnitCriterion())
    with pytest.raises(QueryError, match="is not a UUID"):
        views.fetch_clusters("probe00")
    eid = rows.frame(probe.ProbeInsertion()).eid.iloc[0]
    pid = rows.frame(probe.ProbeInsertion & {"eid": eid}).pid.iloc[0]
    with pytest.raises(QueryError, match=f"is a session, not an insertion. .*{pid}"):
        views.fetch_clusters(eid)


def test_a_recording_that_lacks_data_says_so(database):
    add_session()
    add_insertion(pid=PID)
    for view in (views.fetch_trials, views.fetch_wheel, views.fetch_clusters, views.fetch_spikes):
        with pytest.raises(QueryError, match="registered"):
            view(OTHER)
    with pytest.raises(QueryError, match=f"session {EID}: no trials are imported. .*bwm populate"):
        views.fetch_trials(EID)
    with pytest.raises(QueryError, match=f"session {EID}: no wheel is imported. .*bwm populate"):
        views.fetch_wheel(PID)
    for view in (views.fetch_clusters, views.fetch_spikes):
        with pytest.raises(QueryError, match=f"probe00 of session {EID}: the units are not"):
            view(PID)
    add_sort()
    direct = {"allow_direct_insert": True}
    sort = {"eid": EID, "probe_name": "probe00", "sorting_name": "pykilosort"}
    rows.insert1(ephys.SpikeSorting(), {**sort, "n_clusters": 0, "released_metrics": []}, **direct)
    assert len(views.fetch_clusters(PID)) == 0
    with pytest.raises(QueryError, match=f"probe00 of session {EID}: the spikes are not imported"):
        views.fetch_spikes(PID)
    assert eids(views.sessions()) == {EID}
    assert eids(views.sessions(min_trials=0)) == set()
    with pytest.raises(QueryError, match=r"no lab 'x'.* There are: none yet"):
        views.sessions(lab="x")
    with pytest.raises(QueryError, match=r"no protocol 'x'. There are: none yet"):
        views.sessions(protocol="x")


def test_trials_show_columns_that_only_their_release_has(database):
    add_session()
    direct = {"allow_direct_insert": True}
    rows.insert1(behavior.Trials(), {"eid": EID, "n_trials": 3}, **direct)
    extra = [{"laser": 0.5, "choice": "x"}, None, {"laser": 1.5, "choice": "y"}]
    contrasts = {"contrast_left": [0.0, None, 1.0], "contrast_right": [None, None, 1.0]}
    prior = {"probability_left": [0.5, None, 0.5], "choice": [1, 0, -1]}
    table = pd.DataFrame({"trial": range(3), **contrasts, **prior, "extra_columns": extra})
    rows.insert(behavior.Trials.Trial(), table, {"eid": EID}, **direct)
    found = views.fetch_trials(EID)
    assert found.laser.fillna(-1).tolist() == [0.5, -1.0, 1.5]
    assert found.choice.tolist() == [1, 0, -1]
    assert found.choice_released.fillna("").tolist() == ["x", "", "y"]
    assert found.side.fillna("").tolist() == ["left", "", ""]
    assert found.signed_contrast.isna().tolist() == [False, True, True]
    assert np.signbit(found.signed_contrast[0])
    assert found.block.fillna(-1).tolist() == [0, -1, 0]
    assert found.trial_in_block.fillna(-1).tolist() == [0, -1, 1]


def test_no_trial_gives_a_frame_of_no_rows(database):
    add_session()
    rows.insert1(behavior.Trials(), {"eid": EID, "n_trials": 0}, allow_direct_insert=True)
    assert len(views.fetch_trials(EID)) == 0
    assert {"side", "signed_contrast", "block"} <= set(views.fetch_trials(EID))


@pytest.fixture
def nap():
    return pytest.importorskip("pynapple", reason="pynapple is not installed")


def test_pynapple_has_the_spikes_of_an_insertion(nap, populated):
    flagged = ephys.OfferedSorting & "is_default_sorting = TRUE"
    located = (ephys.SpikeSorting.Cluster & "region_id IS NOT NULL").proj() & flagged.proj()
    pid = rows.frame(probe.ProbeInsertion & located).pid.iloc[0]
    group = naps.fetch_spikes(pid.upper())
    assert isinstance(group, nap.TsGroup)
    units, spikes = views.fetch_clusters(pid), views.fetch_spikes(pid)
    assert list(group.keys()) == units.cluster_id.tolist()
    for number, train in group.items():
        expected = spikes.time[spikes.cluster_id == number]
        np.testing.assert_allclose(train.times(), expected, atol=1e-9)  # as pynapple rounds
    first, last = spikes.time.min(), spikes.time.max()
    np.testing.assert_allclose(group.time_support.values, [[first, last]], atol=1e-9)
    expected = spikes.groupby("cluster_id").size().reindex(units.cluster_id, fill_value=0)
    np.testing.assert_allclose(group["rate"], expected / (last - first), rtol=1e-9)
    assert set(units) <= set(group.metadata_columns)
    assert pd.Series(group["region_cosmos"]).fillna("").tolist() == units.region_cosmos.tolist()
    assert list(group["cluster_uuid"]) == units.cluster_uuid.tolist()
    np.testing.assert_array_equal(group["label_ibl_2022"], units.label_ibl_2022)


def test_pynapple_has_some_units_of_one_session(nap, populated):
    chosen = views.units("TH", "ibl_2022")
    eid = rows.frame(chosen).eid.iloc[0]
    of_one = chosen & {"eid": eid}
    group = naps.fetch_spikes(of_one)
    assert len(group) == len(of_one) > 0
    trains = ephys.spike_times(of_one)
    for number in group:
        unit = tuple(group[name][number] for name in UNIT)
        np.testing.assert_allclose(group[number].times(), trains[unit], atol=1e-9)


@pytest.mark.parametrize(("condition", "n"), [("cluster_id >= 0", r"\d+"), ("cluster_id < 0", "0")])
def test_pynapple_takes_units_of_one_session_only(nap, populated, condition, n):
    with pytest.raises(QueryError, match=f"the units are of {n} sessions"):
        naps.fetch_spikes(views.units("TH") & condition)


def test_pynapple_has_the_trials(nap, populated):
    eid = rows.frame(behavior.Trials.Trial & "trial_end_time > 0").eid.iloc[0]
    table, intervals = views.fetch_trials(eid), naps.fetch_trials(eid.upper())
    assert isinstance(intervals, nap.IntervalSet)
    np.testing.assert_allclose(intervals.start, table.trial_start_time, atol=1e-9)
    np.testing.assert_allclose(intervals.end, table.trial_end_time, atol=2e-6)
    assert list(intervals["trial"]) == table.trial.tolist()
    assert list(intervals["side"]) == table.side.tolist()
    np.testing.assert_array_equal(intervals["signed_contrast"], table.signed_contrast)


def test_pynapple_says_how_many_trials_have_no_interval(nap, database):
    add_session()
    direct = {"allow_direct_insert": True}
    rows.insert1(behavior.Trials(), {"eid": EID, "n_trials": 5}, **direct)
    edges = {
        "trial_start_time": [1.0, 2.0, None, 6.0, 7.0],
        "trial_end_time": [2.0, 5.0, 6.0, 6.0, 8.0],
    }
    table = pd.DataFrame({"trial": range(5), **edges, "choice": [1, None, 1, 1, -1]})
    rows.insert(behavior.Trials.Trial(), table, {"eid": EID}, **direct)
    with pytest.warns(UserWarning, match="2 of 5 trials have no start before an end"):
        intervals = naps.fetch_trials(EID)
    np.testing.assert_allclose(intervals.start, [1, 2, 7])
    np.testing.assert_allclose(intervals.end, [2 - 1e-6, 5, 8], rtol=1e-12)
    assert list(intervals["trial"]) == [0, 1, 4]
    np.testing.assert_array_equal(intervals["choice"], [1, np.nan, -1])
    assert list(intervals["trial_end_time"]) == [2, 5, 8]


def test_pynapple_has_the_wheel(nap, populated):
    eid = wheel.Wheel.to_arrays("eid")[0]
    trace, table = naps.fetch_wheel(eid, 100.0), views.fetch_wheel(eid, 100.0)
    assert isinstance(trace, nap.TsdFrame)
    assert list(trace.columns) == ["position", "velocity", "acceleration"]
    np.testing.assert_allclose(trace.times(), table.time, atol=1e-9)
    np.testing.assert_array_equal(trace.values, table[list(trace.columns)])


def test_without_pynapple_one_is_told_how_to_have_it(populated, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynapple", None)
    eid = wheel.Wheel.to_arrays("eid")[0]
    for view in (naps.fetch_trials, naps.fetch_wheel, naps.fetch_spikes):
        with pytest.raises(BwmError, match="pip install pynapple"):
            view(eid)


def test_reaction_times_of_one_recording(populated):
    every = views.fetch_reaction_times("first_movement")
    eid = every.eid.iloc[-1]
    found = views.fetch_reaction_times("first_movement", eid.upper())
    expected = every[every.eid == eid].reset_index(drop=True)
    assert 0 < len(expected) < len(every)
    pd.testing.assert_frame_equal(found, expected)
    with pytest.raises(QueryError, match="is not a UUID"):
        views.fetch_reaction_times("first_movement", "first")
