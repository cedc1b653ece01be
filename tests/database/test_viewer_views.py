"""Views of regions, cohorts, sites and rasters against pandas and loops over the same rows."""

import numpy as np
import pandas as pd
import pytest

from schemas import activity, atlas, ephys, probe, release, rows, views
from schemas.errors import QueryError

SORT = ["eid", "probe_name", "sorting_name"]


@pytest.fixture
def units(populated):
    """Units of default sorts with their goodness by ibl_2022."""
    default = rows.frame(ephys.OfferedSorting & "is_default_sorting = TRUE")[SORT]
    found = rows.frame(ephys.SpikeSorting.Cluster()).merge(default, on=SORT)
    good = rows.frame(ephys.GoodUnits.Unit & {"criterion": "ibl_2022"})
    good = good[[*SORT, "cluster_id", "is_good"]]
    found = found.merge(good, "left", on=[*SORT, "cluster_id"])
    return found.assign(is_good=found.is_good.fillna(False).astype(bool))


def inside(region_id):
    above = rows.frame(atlas.BrainRegion.Ancestor())
    return set(above.region_id[above.ancestor_id == region_id])


def test_units_of_a_region_are_those_of_all_that_lies_in_it(units):
    table = views.fetch_region_counts("ibl_2022")
    assert len(table) > 10
    for row in table.itertuples():
        own = units[units.region_id.isin(inside(row.region_id))]
        assert row.n_units == len(own)
        assert row.n_good == own.is_good.sum()
        assert row.n_sessions == own.eid.nunique()
        assert row.n_insertions == len(own[["eid", "probe_name"]].drop_duplicates())
    assert table.region_order.is_monotonic_increasing


@pytest.mark.parametrize("mapping", ["Beryl", "Cosmos"])
def test_units_of_a_mapping_count_once(units, mapping):
    column = atlas.REGION_COLUMN[mapping]
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id")[column]
    located = units[units.region_id.notna()]
    expected = located.groupby(located.region_id.astype(int).map(regions)).size()
    table = views.fetch_region_counts("ibl_2022", mapping).set_index("region_id")
    assert table.n_units.to_dict() == expected.to_dict()


def test_a_release_counts_its_insertions_alone(units):
    name = rows.frame(release.Release()).release_name.iloc[0]
    members = rows.frame(release.Release.Insertion & {"release_name": name})
    own = units.merge(members, on=["eid", "probe_name"])
    table = views.fetch_region_counts("ibl_2022", "Cosmos", name)
    assert table.n_units.sum() == own.region_id.notna().sum()
    with pytest.raises(QueryError, match="no release_name 'none'"):
        views.fetch_region_counts("ibl_2022", "Cosmos", "none")
    with pytest.raises(QueryError, match="no mapping"):
        views.fetch_region_counts("ibl_2022", "None")


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_responding_units_are_those_with_a_small_p(units, alpha):
    tested = rows.frame(activity.UnitResponse.Unit & {"response_definition": "stimulus"})
    tested = tested.merge(units[[*SORT, "cluster_id", "region_id"]], on=[*SORT, "cluster_id"])
    tested = tested[tested.wilcoxon_p.notna() & tested.region_id.notna()]
    table = views.fetch_responding_fractions("stimulus", alpha=alpha)
    of_one = views.fetch_responding("TH", alpha=alpha).set_index("response_definition")
    thalamus = tested[tested.region_id.isin(inside(549))]
    assert of_one.n_tested["stimulus"] == len(thalamus) > 0
    assert of_one.n_responding["stimulus"] == (thalamus.wilcoxon_p < alpha).sum()
    assert set(of_one.index) == set(activity.ResponseDefinition.to_arrays("response_definition"))
    assert len(table)
    for row in table.itertuples():
        own = tested[tested.region_id.isin(inside(row.region_id))]
        assert (row.n_tested, row.n_responding) == (len(own), (own.wilcoxon_p < alpha).sum())
        assert row.responding == pytest.approx(row.n_responding / row.n_tested)


def test_modulated_units_of_a_region_are_those_with_a_small_p(units):
    tested = rows.frame(activity.Modulation.Unit & {"modulation_definition": "side"})
    tested = tested.merge(units[[*SORT, "cluster_id", "region_id"]], on=[*SORT, "cluster_id"])
    own = tested[tested.modulation_p.notna() & tested.region_id.isin(inside(549))]
    table = views.fetch_modulated("TH", alpha=0.2).set_index("modulation_definition")
    assert table.n_tested["side"] == len(own) > 0
    assert table.n_nominal["side"] == (own.modulation_p < 0.2).sum()
    assert set(table.index) == set(activity.ModulationDefinition.to_arrays("modulation_definition"))


def test_places_of_regions_are_means_of_their_sites(populated):
    sites = rows.frame(probe.Channels.Channel())
    sites = sites[sites.channel_region_id.notna() & sites.channel_x.notna()]
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id").beryl_id
    by_region = sites.groupby(sites.channel_region_id.astype(int).map(regions))
    table = views.fetch_region_places("Beryl").set_index("region_id")
    assert len(table) == by_region.ngroups > 0
    for region, own in by_region:
        assert table.n_sites[region] == len(own)
        assert table.x[region] == pytest.approx(own.channel_x.abs().mean())
        assert table.y[region] == pytest.approx(own.channel_y.mean())
        assert table.z[region] == pytest.approx(own.channel_z.mean())


def test_a_cohort_without_filters_is_every_unit_of_the_default_sorts(units):
    found = views.count_cohort(views.cohort())
    assert found["units"] == len(units)
    assert found["sessions"] == units.eid.nunique()
    assert found["regions"] == units.region_id.nunique()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bounds": {"firing_rate": (float("nan"), None)}}, "bound on firing_rate is nan"),
        ({"bounds": {"1=1; --": (1, None)}}, "no metric '1=1; --'"),
        ({"bounds": {"eid": (1, None)}}, "no metric 'eid'"),
        ({"sex": "x' OR '1'='1"}, "no sex"),
        ({"direction": "up"}, "without a response"),
        ({"response_definition": "none"}, "no response_definition 'none'"),
        ({"response_definition": "stimulus", "max_p": 0}, "max_p is 0"),
        ({"response_definition": "stimulus", "direction": "left"}, "no direction 'left'"),
        ({"lab": "none"}, "no lab 'none'"),
    ],
    ids=str,
)
def test_a_wrong_filter_is_refused_by_name(populated, given, message):
    with pytest.raises(QueryError, match=message):
        views.cohort(**given)


def test_bounds_are_inclusive_and_leave_out_what_is_missing(units):
    rate = units.firing_rate.dropna().median()
    expected = units[(units.firing_rate >= rate) & (units.cluster_depth <= 2000)]
    bounds = {"firing_rate": (rate, None), "cluster_depth": (None, 2000)}
    found = views.fetch_measures(views.cohort(bounds=bounds), ["firing_rate"])
    assert len(found) == len(expected) > 0
    limited = views.fetch_measures(views.cohort(bounds=bounds), ["firing_rate"], limit=3)
    assert limited.equals(found.head(3))


# --- sites and rasters ----------------------------------------------------------------------------


@pytest.fixture
def pid(populated):
    """An insertion with spikes, located sites and the trials of its session."""
    located = probe.Channels.Channel & "channel_x IS NOT NULL"
    there = probe.ProbeInsertion & "pid IS NOT NULL" & ephys.Spikes.proj() & located.proj()
    from schemas import behavior

    return (there & behavior.Trials.proj()).to_arrays("pid")[0]


def test_sites_are_those_of_the_probe_from_the_tip_upwards(pid):
    table = views.fetch_sites(pid)
    key = (probe.ProbeInsertion & {"pid": pid}).keys()[0]
    stored = rows.frame(probe.Channels.Channel & key)
    assert sorted(table.channel) == sorted(stored.channel)
    assert table.axial.is_monotonic_increasing
    with pytest.raises(QueryError, match="is a session"):
        views.fetch_sites(key["eid"])


@pytest.mark.parametrize(("plane", "axis"), [("coronal", "y"), ("sagittal", "x")])
def test_a_slice_holds_every_site_within_half_its_thickness(pid, plane, axis):
    table, middle = views.fetch_slice(pid, plane, 400)
    key = (probe.ProbeInsertion & {"pid": pid}).keys()[0]
    every = rows.frame(probe.Channels.Channel & "channel_x IS NOT NULL")
    own = (every.eid == key["eid"]) & (every.probe_name == key["probe_name"])
    at = every.channel_x.abs() if axis == "x" else every.channel_y
    assert middle == pytest.approx(at[own].median())
    near = (at >= middle - 200) & (at <= middle + 200)
    assert table.is_own.sum() == own.sum()
    assert (~table.is_own).sum() == (near & ~own).sum()
    with pytest.raises(QueryError, match="no plane"):
        views.fetch_slice(pid, "axial")


def test_density_counts_every_spike_with_a_depth(pid):
    spikes = views.fetch_spikes(pid)
    found = views.fetch_spike_density(pid, n_times=50, depth_bin=100)
    assert found.grid.shape == (len(found.depth_edges) - 1, 50)
    assert found.grid.sum() == np.isfinite(spikes.depth).sum()
    low, high = found.time_edges[10:12]
    of = (spikes.time >= low) & (spikes.time < high) & np.isfinite(spikes.depth)
    assert abs(found.grid[:, 10].sum() - of.sum()) <= 1  # an edge, by rounding
    with pytest.raises(QueryError, match="bins"):
        views.fetch_spike_density(pid, depth_bin=0)


def test_spikes_between_two_times(pid):
    spikes = views.fetch_spikes(pid)
    start, stop = np.quantile(spikes.time, [0.4, 0.41])
    found = views.fetch_spikes_between(pid, start, stop)
    expected = spikes[(spikes.time >= start) & (spikes.time <= stop)].sort_values("time")
    assert np.array_equal(found.time, expected.time)
    assert found.time.is_monotonic_increasing
    assert sorted(found.cluster_id) == sorted(expected.cluster_id)


def test_depth_rates_equal_a_loop_over_events(pid):
    spikes = views.fetch_spikes(pid).sort_values("time")
    at = views.fetch_events(pid, "stim_on_time").time.dropna()
    found = views.fetch_depth_rates(pid, "stim_on_time", window=(-0.2, 0.4), bin=0.1, depth_bin=200)
    counts = np.zeros(found.grid.shape)
    for event in at:
        lag = spikes.time.to_numpy() - event
        near = (lag >= -0.2 - 1e-12) & (lag < 0.4)
        depth = spikes.depth.to_numpy(float)[near]
        counts += np.histogram2d(depth, lag[near], [found.depth_edges, found.time_edges])[0]
    rest = counts[:, :2]
    spread = rest.std(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = np.where(
            spread > 0, (counts - rest.mean(axis=1, keepdims=True)) / spread, np.nan
        )
    assert found.n_events == len(at)
    assert np.allclose(found.grid, expected, equal_nan=True, atol=0.5 / len(at) + 1e-6)
    with pytest.raises(QueryError, match="before the event"):
        views.fetch_depth_rates(pid, "stim_on_time", window=(0.1, 0.4))


def test_rates_of_a_unit_around_events_equal_its_spike_counts(pid):
    key = (probe.ProbeInsertion & {"pid": pid}).keys()[0]
    busy = (ephys.Spikes.Unit & key & "n_unit_spikes > 100").proj()
    unit = ephys.SpikeSorting.Cluster & (views.units(recording=pid) & busy).keys()[0]
    times = ephys.spike_times(unit).iloc[0]
    window = (-0.2, 0.4)
    found, events = views.fetch_unit_events(times, pid, "feedback_time", window)
    counted = views.spike_counts(unit, "feedback_time", window, 0.1)
    table = views.average_events(found, events.side.astype(object), window, 0.1)
    # The counts leave out events at the ends of the recording.
    kept = events.trial.isin(counted.events.trial).to_numpy()
    for side in ("left", "right"):
        rates = counted.counts[(counted.events.side == side).to_numpy(), 0] / 0.1
        own = table[table.condition == side].sort_values("time")
        assert own.n_events.iloc[0] == (events.side == side).sum()
        if kept[(events.side == side).to_numpy()].all():
            assert np.allclose(own["mean"], rates.mean(axis=0))
            assert np.allclose(own["sem"], rates.std(axis=0, ddof=1) / np.sqrt(len(rates)))
    whole = views.average_events(found, events.side.astype(object), window)
    assert len(whole) == events.side.nunique()
    n = len(found) / len(events) / 0.6
    weights = whole.n_events / len(events)
    assert (whole["mean"] * weights).sum() == pytest.approx(n)


def test_events_without_a_condition_are_not_averaged():
    found = pd.DataFrame({"lag": [0.05, 0.05, 0.15], "event": [0, 1, 2]})
    condition = pd.Series(["a", None, "a"], dtype=object)
    table = views.average_events(found, condition, (0.0, 0.2), 0.1)
    assert table["mean"].tolist() == [5.0, 5.0]
    assert table.n_events.tolist() == [2, 2]
    none = views.average_events(found, pd.Series([None] * 3, dtype=object), (0.0, 0.2), 0.1)
    assert len(none) == 0


@pytest.mark.parametrize("fetch", [views.fetch_rms, views.fetch_spectrum])
def test_quality_of_the_raw_recording_is_as_stored(pid, fetch):
    band = "ap" if fetch is views.fetch_rms else "lf"
    from schemas import quality

    table, column = (quality.RMS, "rms"), (quality.SpectralDensity, "spectral_density")
    table, column = table if band == "ap" else column
    key = (probe.ProbeInsertion & {"pid": pid}).keys()[0]
    stored = (table & key & {"band": band}).to_arrays(column)
    if not len(stored):
        with pytest.raises(QueryError, match="is imported"):
            fetch(pid)
        return
    at, values = fetch(pid)
    frame = stored[0].to_pandas()
    assert np.array_equal(at, frame.iloc[:, 0])
    assert np.array_equal(values, frame.iloc[:, 1:].to_numpy(), equal_nan=True)
    with pytest.raises(QueryError, match="is imported"):
        fetch(pid, "xx")
