"""Modulation, latency and places of units: planted values through the database."""

import numpy as np
import pandas as pd
import pytest

from schemas import activity, atlas, behavior, ephys, rows, views
from schemas.errors import BwmError, DefinitionError, QueryError

UNIT = ["eid", "probe_name", "sorting_name", "cluster_id"]
FACTORS = ["side", "choice", "outcome", "block"]


@pytest.fixture
def planted(tuned):
    """Tuned units by cluster_id, and their session."""
    return tuned.truth.tuned.set_index("cluster_id")


@pytest.mark.parametrize("factor", FACTORS)
def test_planted_modulation_is_found_and_other_units_are_not_modulated(tuned, planted, factor):
    found = views.fetch_modulation(factor, recording=planted.eid.iloc[0]).set_index("cluster_id")
    assert set(planted.index) <= set(found.index)
    # A latency of 90 ms leaves 10 ms of the window of 100 ms.
    late = planted.index[planted.latency > 0.08]
    tuned_to = planted.tuned_to.drop(late).reindex(found.index)
    assert (found.modulation_p[tuned_to == factor] < 0.01).all()
    assert (found.modulation_effect[tuned_to == factor] > 0.55).all()
    assert (found.rate_first > 1.2 * found.rate_second)[tuned_to == factor].all()
    # The others know nothing of the factor: about one in twenty has p < 0.05.
    others = found.modulation_p[tuned_to.isin(["noise", "replay", "process"])]
    assert len(others) == 12
    assert (others < 0.05).sum() <= 4
    assert (others < 0.001).sum() == 0


def test_the_false_discovery_rate_is_of_the_units_that_are_chosen(tuned, planted):
    from scipy.stats import false_discovery_control

    for recording in (None, planted.eid.iloc[0]):
        found = views.fetch_modulation("outcome", recording=recording)
        known = found.dropna(subset=["modulation_p"])
        expected = false_discovery_control(known.modulation_p.to_numpy(float))
        np.testing.assert_allclose(known.modulation_q.to_numpy(float), expected)
    assert (found.modulation_q >= found.modulation_p).all()


def test_the_contralateral_effect_is_that_of_the_left_for_a_right_hemisphere(tuned, planted):
    found = views.fetch_modulation("side", recording=planted.eid.iloc[0])
    # The simulated probes are on the left.
    assert set(found.hemisphere.dropna()) == {"left"}
    np.testing.assert_allclose(
        found.contralateral_effect, 1 - found.modulation_effect.astype(float)
    )
    assert views.fetch_modulation("outcome").contralateral_effect.isna().all()


def test_fractions_by_region_are_those_of_a_loop(tuned):
    units = views.fetch_modulation("outcome")
    for mapping, column in (("Beryl", "region_beryl"), ("Allen", "region_acronym")):
        found = views.fetch_modulated_fractions("outcome", mapping, level=0.1)
        known = units.dropna(subset=["modulation_p", column])
        for _, row in found.iterrows():
            mine = known[known[column] == row.region]
            assert row.n_units == len(mine)
            assert row.n_modulated == (mine.modulation_q <= 0.1).sum()
            assert row.fraction == row.n_modulated / row.n_units
        assert found.n_units.sum() == len(known)
        assert found.fraction.is_monotonic_decreasing
    assert len(views.fetch_modulated_fractions("outcome", min_units=10**6)) == 0


def test_tests_equal_those_of_trials_counted_one_by_one(tuned, planted):
    """The effect is the share of pairs, within priors and choices, that the left wins."""
    eid = planted.eid.iloc[0]
    cluster = int(planted.index[planted.tuned_to == "side"][0])
    unit = ephys.SpikeSorting.Cluster & {"eid": eid, "cluster_id": cluster}
    (train,) = ephys.spike_times(unit)
    trials = views.fetch_trials(eid)
    used = behavior.TrialMask.Trial & {"eid": eid, "trial_mask": "bwm", "is_used": True}
    trials = trials[trials.trial.isin(rows.frame(used.proj()).trial)]
    trials = trials[(trials.contrast > 0) & trials.probability_left.isin([0.2, 0.8])]
    trials = trials[trials.choice != 0].dropna(subset=["stim_on_time"])
    n = [((train >= on) & (train < on + 0.1)).sum() for on in trials.stim_on_time]
    won = pairs = 0.0
    for _, group in trials.assign(n=n).groupby(["probability_left", "choice"]):
        left, right = (group.n[group.side == side].to_numpy() for side in ("left", "right"))
        won += (left[:, None] > right).sum() + (left[:, None] == right).sum() / 2
        pairs += left.size * right.size
    row = (activity.Modulation.Unit & unit & {"modulation_definition": "side"}).fetch1()
    assert row["modulation_effect"] == pytest.approx(won / pairs, abs=1e-12)


def test_planted_latencies_lie_within_their_intervals(tuned, planted):
    found = views.fetch_latencies("stimulus", recording=planted.eid.iloc[0])
    found = found.set_index("cluster_id")
    responding = planted.index[planted.tuned_to == "side"]
    for cluster in responding:
        row, latency = found.loc[cluster], planted.latency[cluster]
        assert row.latency_low <= latency <= row.latency_high
        assert row.latency == pytest.approx(latency, abs=0.01)
        assert row.latency_high - row.latency_low < 0.03
        assert row.rate_after > row.rate_baseline
    others = planted.index[planted.tuned_to.isin(["noise", "replay"])]
    assert found.latency[others].isna().all()
    crossing = views.fetch_latencies("stimulus_threshold", recording=planted.eid.iloc[0])
    crossing = crossing.set_index("cluster_id").loc[responding]
    assert (abs(crossing.latency - planted.latency[responding]) <= 0.011).all()
    counted = activity.Latency & {"eid": planted.eid.iloc[0], "latency_definition": "stimulus"}
    assert counted.fetch1("n_responding") == found.latency.notna().sum()


def test_latencies_by_region_are_medians(tuned):
    units = views.fetch_latencies("feedback")
    found = views.fetch_region_latencies("feedback", "Cosmos", min_units=2)
    assert len(found) >= 1
    for _, row in found.iterrows():
        mine = units[units.region_cosmos == row.region]
        assert row.n_units == len(mine)
        assert row.n_responding == mine.latency.notna().sum() >= 2
        assert row.latency == pytest.approx(np.median(mine.latency.dropna().astype(float)))
        assert row.latency_low <= row.latency <= row.latency_high
    assert found.latency.is_monotonic_increasing


def test_every_frame_of_units_says_where_they_are(tuned, planted):
    units = views.units(recording=planted.eid.iloc[0])
    place = views.fetch_location(units)
    cluster = rows.frame(units).set_index("cluster_id")
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id")
    for _, row in place.iterrows():
        region = regions.loc[cluster.region_id[row.cluster_id]]
        assert row.region_acronym == region.region_acronym
        assert row.region_name == region.region_name
        assert row.region_beryl == regions.region_acronym[region.beryl_id]
        assert row.region_cosmos == regions.region_acronym[region.cosmos_id]
        assert row.hemisphere == ("left" if cluster.unit_x[row.cluster_id] < 0 else "right")
    counted = views.spike_counts(units & "cluster_id < 9", "stim_on_time").units
    columns = ["region_acronym", "region_name", "region_beryl", "region_cosmos", "hemisphere"]
    for frame in (views.fetch_units(units), views.fetch_clusters(units), counted):
        renamed = frame.rename(columns={"region_allen": "region_acronym"})
        mine = renamed.set_index("cluster_id")[columns]
        pd.testing.assert_frame_equal(
            mine.sort_index(), place.set_index("cluster_id")[columns].loc[mine.index].sort_index()
        )


def test_rates_of_trials_are_counts_over_the_window(tuned, planted):
    eid = planted.eid.iloc[0]
    units = views.units(recording=eid) & "cluster_id < 5"
    table = views.fetch_trial_rates(units, "stim_on_time", (0.01, 0.135), "bwm")
    trains = ephys.spike_times(units)
    some = table.sample(40, random_state=1)
    for _, row in some.iterrows():
        train = trains[tuple(row[UNIT])]
        on = row.stim_on_time
        n = ((train >= on + 0.01) & (train < on + 0.135)).sum()
        assert row.rate == pytest.approx(n / 0.125)
        assert row.laterality == ("ipsilateral" if row.side == "left" else "contralateral")
    assert set(table.groupby("trial").size()) == {len(trains)}
    assert {"choice", "block", "signed_contrast", "trial_in_block"} <= set(table.columns)


def test_conditions_are_named_by_the_hemisphere_of_the_unit(tuned, planted):
    units = views.units(recording=planted.eid.iloc[0])
    plain = views.fetch_psth(units, "stimulus_contrast")
    named = views.fetch_psth(units, "stimulus_contrast", lateral=True)
    assert len(named) == len(plain) > 0
    swapped = plain.condition.str.replace("left", "ipsilateral").str.replace(
        "right", "contralateral"
    )
    pd.testing.assert_series_equal(named.condition, swapped, check_dtype=False)
    np.testing.assert_array_equal(named["mean"], plain["mean"])


def test_the_depth_in_the_cortex_is_that_of_iblatlas(tuned, planted, tmp_path, monkeypatch):
    from iblatlas.atlas import BrainAtlas, get_bc

    monkeypatch.setattr(BrainAtlas, "_get_cache_dir", staticmethod(lambda: tmp_path))
    place = views.fetch_location(views.units(recording=planted.eid.iloc[0]))
    bc = get_bc(res_um=25)
    xyz = place[["unit_x", "unit_y", "unit_z"]].to_numpy(float) / 1e6
    i = bc.xyz2i(xyz, mode="clip")
    flat = np.ravel_multi_index((i[:, 1], i[:, 0], i[:, 2]), (bc.ny, bc.nx, bc.nz))
    voxels = np.unique(flat)[::2]  # half the voxels are in the cortex
    (tmp_path / "depths").mkdir()
    np.save(tmp_path / "depths" / "depths_ind_25.npy", voxels)
    np.save(tmp_path / "depths" / "depths_um_25.npy", np.arange(len(voxels), dtype=float))
    np.save(tmp_path / "depths" / "depths_per_25.npy", np.linspace(0, 100, len(voxels)))
    found = views.fetch_cortical_depth(views.units(recording=planted.eid.iloc[0]))
    number = {voxel: k for k, voxel in enumerate(voxels)}
    expected = [number.get(voxel, np.nan) for voxel in flat]
    np.testing.assert_allclose(found.cortical_depth, expected)
    scaled = np.array(expected) / (len(voxels) - 1)
    np.testing.assert_allclose(found.cortical_fraction, scaled, atol=1e-6)


def test_without_the_files_of_iblatlas_the_error_says_so(tuned, planted, tmp_path, monkeypatch):
    from iblatlas.atlas import BrainAtlas
    from iblatlas.streamlines import utils

    def refuse(*_):
        raise OSError("no route to host")

    monkeypatch.setattr(BrainAtlas, "_get_cache_dir", staticmethod(lambda: tmp_path))
    monkeypatch.setattr(utils.aws, "s3_download_file", refuse)
    with pytest.raises(BwmError, match="no route to host"):
        views.fetch_cortical_depth(views.units(recording=planted.eid.iloc[0]))


def test_wrong_definitions_are_refused(tuned):
    row = {**activity.ModulationDefinition.contents[0], "modulation_definition": "mine"}
    for changes, message in (
        ({"window_name": "recording"}, "around no event"),
        ({"within_side": True}, "do not differ in side"),
        ({"modulation_statistic": "biggest"}, "biggest"),
        ({"n_permutations": 0}, "not above zero"),
    ):
        with pytest.raises(DefinitionError, match=message):
            activity.ModulationDefinition.insert1({**row, **changes})
    row = {**activity.LatencyDefinition.contents[0], "latency_definition": "mine"}
    for changes, message in (
        ({"latency_method": "threshold"}, "threshold_sd is missing"),
        ({"search_end": -1.0}, "not below"),
        ({"latency_method": "eye"}, "eye"),
    ):
        with pytest.raises(DefinitionError, match=message):
            activity.LatencyDefinition.insert1({**row, **changes})
    assert not activity.LatencyDefinition & {"latency_definition": "mine"}


def test_unknown_names_are_refused(tuned):
    for call in (
        lambda: views.fetch_modulation("colour"),
        lambda: views.fetch_latencies("colour"),
        lambda: views.fetch_modulated_fractions("side", "Swanson"),
        lambda: views.fetch_modulated_fractions("side", level=1.5),
        lambda: views.fetch_region_latencies("stimulus", "Swanson"),
        lambda: views.fetch_location("TH"),
    ):
        with pytest.raises(QueryError):
            call()
