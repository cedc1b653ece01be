"""From a ONE cache to answers: the simulator's truth is recovered through the whole pipeline."""

import os
import pickle

import numpy as np
import pandas as pd
import pytest

from populate import catalog
from schemas import (
    activity,
    atlas,
    behavior,
    ephys,
    probe,
    release,
    rows,
    session,
    subject,
    views,
    wheel,
)
from schemas.database.declared import with_parts
from schemas.errors import QueryError

NAMES = {"": "pykilosort", "2024-05-06": "pykilosort@2024-05-06"}


@pytest.fixture
def truth(release, populated):
    return release.truth


@pytest.fixture
def units(truth):
    planted = truth.units.copy()
    planted["sorting_name"] = planted.revision.map(NAMES)
    return planted.set_index(["eid", "probe_name", "sorting_name", "cluster_id"]).sort_index()


def by_unit(table):
    keys = ["eid", "probe_name", "sorting_name", "cluster_id"]
    return table.set_index(keys).sort_index()


def test_nothing_failed_and_nothing_is_left(populated):
    for name, state in populated.status().items():
        assert (state.failed, state.pending, state.running) == (0, 0, 0), name


def test_counts_are_those_that_were_simulated(truth, populated):
    counts = truth.counts
    assert len(subject.Lab()) == counts["labs"]
    assert len(subject.Subject()) == counts["subjects"]
    assert len(session.Session()) == counts["sessions"]
    assert len(session.Dataset()) == counts["datasets"]
    assert len(probe.ProbeInsertion()) == counts["insertions"]
    assert len(release.Release.Insertion()) == counts["insertions"]
    assert len(behavior.Trials.Trial()) == counts["trials"]
    assert len(ephys.SpikeSorting()) == counts["sortings"]
    assert len(ephys.SpikeSorting.Cluster()) == counts["clusters"]
    assert sum(ephys.Spikes.to_arrays("n_spikes")) == counts["spikes"]
    assert len(ephys.Spikes.Unit()) == counts["clusters"]


def test_a_session_without_wheel_is_absent_not_failed(truth, populated):
    state = populated.status()["wheel.Wheel"]
    without = int((truth.sessions.n_wheel == 0).sum())
    assert (state.absent, state.done) == (without, len(truth.sessions) - without)


def test_trials_are_as_released_nulls_included(truth, populated):
    for eid, planted in truth.trials.items():
        stored = rows.frame(behavior.Trials.Trial & {"eid": eid})
        assert len(stored) == len(planted)
        choice = stored.choice.to_numpy(float, na_value=np.nan)
        assert np.array_equal(choice, planted["choice"].to_numpy(float))
        shown = stored.stim_on_time.to_numpy()
        known = ~np.isnan(shown)
        assert np.array_equal(shown[known], planted["stimOn_times"].to_numpy()[known])
        assert np.array_equal(
            np.isnan(stored.contrast_left), np.isnan(planted["contrastLeft"].to_numpy())
        )


def test_zero_contrast_keeps_its_side(truth, populated):
    for side in ("left", "right"):
        planted = sum(int((t[f"contrast{side.title()}"] == 0).sum()) for t in truth.trials.values())
        assert len(behavior.Trials.Trial & {f"contrast_{side}": 0.0}) == planted > 0


def test_good_units_are_those_that_were_planted(units, populated):
    for criterion in ("ibl_2022", "ibl_2024"):
        stored = by_unit(rows.frame(ephys.GoodUnits.Unit & {"criterion": criterion}))
        year = criterion[-4:]
        good = stored.is_good.astype("boolean")
        decided = good.notna()
        assert (good[decided] == units[f"is_good_{year}"][decided].astype(bool)).all()
        assert good[decided].sum() > 10
    summary = rows.frame(ephys.GoodUnits() & {"criterion": "ibl_2024"})
    original = summary.sorting_name == "pykilosort"
    assert (summary.missing_metrics[original] == "max_confidence").all()
    assert (summary.missing_metrics[~original] == "").all()
    assert (summary.n_undecided[original] > 0).all()


def test_a_metric_that_the_sort_lacks_leaves_its_pass_open(populated):
    original = ephys.GoodUnits.Unit & {"criterion": "ibl_2024", "sorting_name": "pykilosort"}
    stored = rows.frame(original)
    assert stored.refractory_pass.isna().all()
    failed_another = ~(stored.noise_pass & stored.amplitude_pass)
    assert (stored.is_good[failed_another] == False).all()  # noqa: E712  (nullable booleans)
    assert stored.is_good[~failed_another].isna().all()
    assert stored.unit_label.isna().all()


def test_clusters_without_metrics_or_spikes_are_rows(truth, populated):
    (silent,) = truth.odd("silent_cluster")[:1]
    key = {"eid": silent.eid, "probe_name": silent.probe_name, "cluster_id": silent.rows[0]}
    stored = ephys.Spikes.Unit & key & {"sorting_name": NAMES[silent.revision]}
    assert stored.fetch1("n_unit_spikes") == 0
    assert stored.fetch1("first_unit_spike") is None
    without = truth.units[~truth.units.in_metrics]
    assert len(without)
    cluster = without.iloc[0]
    row = (
        ephys.SpikeSorting.Cluster
        & {n: cluster[n] for n in ("eid", "probe_name")}
        & {"cluster_id": int(cluster.cluster_id), "sorting_name": NAMES[cluster.revision]}
    ).fetch1()
    assert row["amp_median"] is None
    assert row["noise_cutoff"] is None


def test_regions_are_those_of_the_peak_channels(units, populated):
    stored = by_unit(rows.frame(ephys.SpikeSorting.Cluster.proj("region_id")))
    assert stored.region_id.isna().equals(units.region_id.isna())
    known = units.region_id.notna()
    assert (stored.region_id[known].astype(int) == units.region_id[known].astype(int)).all()
    assert known.any()
    assert (~known).any()


def test_planted_region_rates_are_recovered(truth, populated):
    table = rows.frame(
        (activity.UnitRate.Unit & {"window_name": "recording"})
        * ephys.SpikeSorting.Cluster.proj("region_id", "spike_count", "firing_rate")
    )
    located = table.dropna(subset=["region_id"])
    means = located.groupby("region_id").rate.agg(["mean", "sem", "count"])
    for region, found in means.iterrows():
        planted = truth.regions.loc[int(region)]
        assert found["count"] == planted.n_units
        # Planted rates exclude the stimulus windows, where some units fire more.
        assert abs(found["mean"] - planted.unit_rate) < 3 * found["sem"] + 0.05 * planted.unit_rate


def test_rates_equal_spikes_over_the_recording(populated):
    of_units = rows.frame(
        (activity.UnitRate.Unit & {"window_name": "recording"}) * ephys.Spikes.Unit
    )
    spans = rows.frame(ephys.Spikes.proj("first_spike", "last_spike"))
    both = of_units.merge(spans)
    expected = both.n_unit_spikes / (both.last_spike - both.first_spike)
    assert np.allclose(both.rate, expected, rtol=1e-12)


def test_window_rates_equal_a_count_manually(truth, populated):
    window = {"window_name": "stimulus"}
    key = (activity.UnitRate & window & "n_events > 20").keys()[0]
    found = rows.frame(activity.UnitRate.Unit & key).set_index("cluster_id").rate
    events = behavior.Trials.Trial.proj("stim_on_time") & {"eid": key["eid"]}
    events = rows.frame(events).stim_on_time.dropna().to_numpy()
    units = ephys.SpikeSorting.Cluster & {n: key[n] for n in ("eid", "probe_name", "sorting_name")}
    for name, times in ephys.spike_times(units).items():
        count = sum(((times >= t) & (times < t + 0.1)).sum() for t in events)
        assert found[name[-1]] == pytest.approx(count / (len(events) * 0.1), rel=1e-12)


def test_spike_times_are_exact_and_complete(truth, populated, release):
    found = ephys.spike_times(ephys.SpikeSorting.Cluster.proj())
    assert len(found) == truth.counts["clusters"]
    row = truth.sortings.iloc[0]
    folder = release.folder / one_session_path(truth, row.eid) / "alf" / row.probe_name
    folder = folder / "pykilosort" / (f"#{row.revision}#" if row.revision else "")
    times, clusters = (np.load(folder / f"spikes.{n}.npy") for n in ("times", "clusters"))
    for cluster in range(int(row.n_clusters)):
        train = found[row.eid, row.probe_name, NAMES[row.revision], cluster]
        assert train.dtype == np.float64
        assert np.array_equal(train, times[clusters == cluster])


def one_session_path(truth, eid):
    s = truth.sessions.set_index("eid").loc[eid]
    return f"{s.lab}/Subjects/{s.subject}/{s.date}/{int(s.number):03d}"


def test_region_rates_equal_those_of_the_units(populated):
    stored = rows.frame(activity.RegionRate.Region & {"mapping": "Allen"})
    good = ephys.GoodUnits.Unit & {"is_good": True}
    units = rows.frame(
        activity.UnitRate.Unit * good.proj() * ephys.SpikeSorting.Cluster.proj("region_id")
    ).dropna(subset=["region_id", "rate"])
    keys = ["eid", "probe_name", "sorting_name", "window_name", "criterion", "region_id"]
    expected = units.groupby(keys).rate.agg(["count", "mean", "median", "std", "sem"])
    found = stored.set_index(keys).sort_index()
    assert len(found) == len(expected) > 0
    expected = expected.sort_index()
    assert (found.n_region_units.to_numpy() == expected["count"].to_numpy()).all()
    names = {"mean_rate": "mean", "median_rate": "median", "sd_rate": "std", "sem_rate": "sem"}
    for ours, theirs in names.items():
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-12)


def test_void_and_root_are_kept_and_marked(populated):
    regions = rows.frame(activity.RegionRate.Region())
    assert (regions.is_outside == regions.region_id.isin([0, 997])).all()
    assert regions.is_outside.any()
    assert set(regions.mapping) == {"Allen", "Beryl", "Cosmos"}


def test_every_region_query_equals_a_walk_up_the_tree(populated):
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id")
    parent = regions.parent_id.dropna().astype(int).to_dict()
    ancestors = rows.frame(atlas.BrainRegion.Ancestor()).groupby("region_id").ancestor_id.agg(set)
    for region in regions.index:
        expected, above = {region}, region
        while above in parent:
            above = parent[above]
            expected.add(above)
        assert ancestors[region] == expected
    inside = {r["region_id"] for r in views.below("TH").to_dicts()}
    assert len(inside) == 74


@pytest.mark.parametrize(("upper", "lower"), [("CM", "cm"), ("IPF", "ipf")])
def test_acronyms_that_differ_by_case_are_two_regions(populated, upper, lower):
    assert views.find_region(upper) != views.find_region(lower)
    assert len(atlas.BrainRegion & {"region_acronym": upper}) == 1


def test_units_by_region_criterion_and_release(units, populated, truth):
    located = units.dropna(subset=["region_id"]).reset_index()
    thalamus = {r["region_id"] for r in views.below("TH").to_dicts()}
    default = truth.sortings[truth.sortings.is_default]
    keys = ["eid", "probe_name", "sorting_name"]
    default = default.assign(sorting_name=default.revision.map(NAMES))[keys]
    good = located[located.is_good_2022.astype(bool) & located.region_id.isin(thalamus)]
    chosen = good.merge(default, on=keys)
    name = release.Release.to_arrays("release_name")[0]
    table = views.fetch_units(views.units("TH", "ibl_2022", name))
    assert len(table) == len(chosen) > 0
    assert set(table.cluster_uuid.map(len)) == {36}
    assert table.region_acronym.isin(["PO", "LP", "TH", "VPM", "VPL", "LD"]).all()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"region": "th"}, "Did you mean TH"),
        ({"region": "nowhere"}, "acronym of the Allen atlas"),
        ({"criterion": "good"}, "ibl_2022, ibl_2022_10, ibl_2024"),
        ({"release_name": "2099"}, "There are: "),
        ({"sorting": "kilosort9"}, "pykilosort"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_which_there_are(populated, arguments, says):
    with pytest.raises(QueryError, match=says):
        views.units(**arguments)


def test_reaction_times_of_every_definition(truth, populated):
    events = {
        "response": ("stimOn_times", "response_times"),
        "first_movement": ("stimOn_times", "firstMovement_times"),
        "go_cue_movement": ("goCue_times", "firstMovement_times"),
        "go_cue_response": ("goCue_times", "response_times"),
        "feedback": ("stimOn_times", "feedback_times"),
        "go_cue_feedback": ("goCue_times", "feedback_times"),
    }
    stored = rows.frame(behavior.ReactionTime.Trial())
    assert set(stored.rt_definition) == set(events)
    for (eid, definition), found in stored.groupby(["eid", "rt_definition"]):
        start, end = events[definition]
        planted = (truth.trials[eid][end] - truth.trials[eid][start]).to_numpy()
        seconds = found.sort_values("trial").reaction_time.to_numpy()
        known = ~np.isnan(seconds)
        np.testing.assert_allclose(seconds[known], planted[known], rtol=0, atol=1e-9)


def test_bounds_flag_trials_and_remove_none(populated):
    stored = rows.frame(behavior.ReactionTime.Trial & {"rt_definition": "first_movement"})
    known = stored.dropna(subset=["reaction_time"])
    inside = known.reaction_time.between(0.08, 2.0)
    assert (known.rt_in_bounds.astype(bool) == inside).all()
    assert (~inside).any()
    summary = rows.frame(behavior.ReactionTime & {"rt_definition": "first_movement"})
    assert summary[["n_reactions", "n_too_fast", "n_too_slow"]].sum().sum() == len(known)
    assert summary.n_missing.sum() == len(stored) - len(known)


def test_planted_reaction_times_are_recovered(truth, populated):
    times = views.fetch_reaction_times("first_movement").reaction_time
    fast = (times < 0.08).mean()
    expected = truth.reaction_time["fraction_below_80ms"]
    assert abs(fast - expected) < 3 * np.sqrt(expected * (1 - expected) / len(times))


def test_conditions_sum_up_the_trials(populated):
    conditions = rows.frame(behavior.ReactionTime.Condition & {"rt_definition": "first_movement"})
    times = views.fetch_reaction_times("first_movement").query("rt_in_bounds")
    keys = ["stimulus_side", "stimulus_contrast"]
    found = conditions.groupby(keys).n_condition_trials.sum()
    expected = times.groupby(["side", "contrast"]).size()
    assert found.to_dict() == expected.to_dict()


def test_a_training_session_imports_with_nulls(truth, populated):
    training = truth.sessions[truth.sessions.training.astype(bool)]
    assert len(training)
    stored = rows.frame(behavior.Trials.Trial & {"eid": training.eid.iloc[0]})
    assert stored.go_cue_time.isna().all()
    assert stored.response_time.notna().any()


def test_every_import_says_what_it_was_read_from(truth, populated):
    listed = truth.datasets.set_index("rel_path").hash.to_dict()
    for table in (behavior.Trials, wheel.Wheel, probe.Channels, ephys.SpikeSorting, ephys.Spikes):
        read = rows.frame(table.Source())
        assert set(rows.frame(table.proj())[table.primary_key].apply(tuple, axis=1)) == set(
            read[table.primary_key].apply(tuple, axis=1)
        )
        by_path = rows.frame(
            session.Dataset.proj("md5", "file_size", "revision") & table.Source.proj()
        )
        merged = read.merge(by_path, on=["eid", "dataset_path"])
        assert (merged.source_md5 == merged.md5).all()
        assert (merged.source_size == merged.file_size).all()
        assert (merged.source_revision == merged.revision).all()
    assert listed


def test_the_wheel_is_stored_exactly(truth, populated, release):
    eid = truth.sessions[truth.sessions.n_wheel > 0].eid.iloc[0]
    trace = (wheel.Wheel & {"eid": eid}).fetch1("wheel_trace").to_pandas()
    folder = release.folder / one_session_path(truth, eid) / "alf"
    for column, name in (("time", "timestamps"), ("position", "position")):
        assert np.array_equal(trace[column], np.load(folder / f"_ibl_wheel.{name}.npy"))


def test_registering_and_populating_again_changes_nothing(populated, release):
    before = {name: state.done for name, state in populated.status().items()}
    for report in populated.register(release.folder, release.truth.release):
        assert not report.changed
        assert not report.problems
    assert populated.populate() == []
    assert {name: state.done for name, state in populated.status().items()} == before


def test_the_two_servers_hold_the_same_rows(populated, backend, tmp_path_factory):
    """Every plain column of every made table; the server that comes second compares."""
    frames = {}
    for table in catalog.tables():
        for one in with_parts(table):
            frames[f"{catalog.name_of(table)}.{one.__name__}"] = rows.frame(one())
    assert sum(map(len, frames.values())) > 10_000
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    (shared / f"{backend.name}.tmp").write_bytes(pickle.dumps(frames))
    (shared / f"{backend.name}.tmp").rename(shared / f"{backend.name}.pickle")
    for path in set(shared.glob("*.pickle")) - {shared / f"{backend.name}.pickle"}:
        for name, frame in pickle.loads(path.read_bytes()).items():
            pd.testing.assert_frame_equal(frames[name], frame, check_exact=True)
