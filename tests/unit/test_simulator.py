"""The simulated release: what ONE sees of it, and whether its truth is true."""

from __future__ import annotations

import hashlib
import json
import pickle
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from iblatlas.regions import BrainRegions
from iblutil.io import parquet
from scipy.special import erf

from schemas.errors import DamagedFile, SettingsError
from schemas.sources.simulator import (
    FAULTS,
    RESORT,
    SIZES,
    STIMULUS_WINDOW,
    TRIALS_REVISION,
    Size,
    Truth,
    behavior,
    ephys,
    metrics,
    simulate,
    simulate_whole,
)

EDGE_CASES = {
    "never_saturated",
    "no_saturation_file",
    "silent_cluster",
    "one_spike_cluster",
    "missing_metrics",
    "nan_depth",
    "no_go",
    "two_probes",
    "shank",
    "units_in_root",
    "units_in_void",
    "units_in_white_matter",
    "unrevised_only",
    "resorted",
    "channels_of_original",
    "no_wheel",
    "training_columns",
    "integer_choice",
    "iti_length",
    "revised_trials",
    "not_located",
    "absent_raw_file",
    "early_camera_times",
    "no_video",
    "no_right_camera",
    "no_body_camera",
    "no_passive",
    "no_gabors",
    "no_waveforms",
    "templates_only",
    "sites_in_metadata",
    "no_insertion_json",
    "no_extended_qc",
    "unknown_subject",
    *(f"nan_{event}" for event in behavior.EVENTS),
}


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("release"), "tiny", seed=3, faults=True)


@pytest.fixture(scope="module")
def one(truth):
    from one.api import One

    return One(cache_dir=truth.folder, mode="local")


def session_folder(truth: Truth, eid: str) -> Path:
    s = truth.sessions.set_index("eid").loc[eid]
    return truth.folder / s.lab / "Subjects" / s.subject / str(s.date) / f"{s.number:03d}"


def sort_folder(truth: Truth, sort) -> Path:
    folder = session_folder(truth, sort.eid) / "alf" / sort.probe_name / "pykilosort"
    return folder / f"#{sort.revision}#" if sort.revision else folder


def sound_sorts(truth: Truth):
    faulty = {f.eid for f in truth.faults}
    return [s for s in truth.sortings.itertuples() if s.eid not in faulty]


def digest(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.md5(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_same_arguments_same_bytes(tmp_path):
    size = Size(2, 2, 2, 16, 300.0, 30)
    first = simulate(tmp_path / "a", size, seed=5)
    once = digest(tmp_path / "a")
    simulate(tmp_path / "b", size, seed=5)
    again = simulate(tmp_path / "a", size, seed=5)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") == once
    pd.testing.assert_frame_equal(first.units, again.units)
    assert first.counts == again.counts
    other = simulate(tmp_path / "c", size, seed=6)
    assert not set(other.sessions["eid"]) & set(first.sessions["eid"])
    assert not set(other.units["rate"]) & set(first.units["rate"])


def test_sessions_do_not_depend_on_each_other(tmp_path):
    size = Size(2, 2, 2, 16, 300.0, 30)
    simulate(tmp_path / "some", size, seed=5)
    simulate(tmp_path / "more", size, seed=5, faults=True, n_sessions=3)
    some, more = digest(tmp_path / "some"), digest(tmp_path / "more")
    kept = {p for p in some if "/Subjects/" in p}
    assert len(kept) > 50
    assert {p: more[p] for p in kept} == {p: some[p] for p in kept}


def test_one_lists_what_truth_says(truth, one):
    assert {str(e) for e in one.search()} == set(truth.sessions["eid"])
    for eid, rows in truth.datasets.groupby("eid"):
        listed = one.list_datasets(eid, details=True)
        assert set(listed["rel_path"]) == set(rows["rel_path"])
    insertions = one._cache["insertions"]
    assert len(insertions) == len(truth.insertions)
    for row in truth.insertions.itertuples():
        eid, pid = uuid.UUID(row.eid), uuid.UUID(row.pid)
        assert eid.version == pid.version == 4
        assert insertions.loc[(eid, pid), "name"] == row.probe_name


def test_tables_are_as_one_writes_them(truth, one):
    datasets = one._cache["datasets"]
    assert datasets.index.names == ["eid", "id"]
    assert datasets.index.is_monotonic_increasing
    assert datasets["file_size"].dtype == "UInt64"
    assert datasets["qc"].cat.ordered
    assert list(datasets["qc"].cat.categories) == ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]
    assert datasets["default_revision"].dtype == bool
    sessions, info = parquet.load(truth.folder / "sessions.pqt")
    assert sessions["number"].dtype == np.uint16
    assert info["date_created"] == "2021-01-01 00:00"
    assert sessions.index.name == "id"


def test_hashes_and_sizes_are_those_of_the_files(truth):
    damaged = {(f.eid, f.path) for f in truth.faults if f.kind.startswith("truncated")}
    checked = 0
    for row in truth.datasets.itertuples():
        path = session_folder(truth, row.eid) / row.rel_path
        assert path.exists() == row.exists
        if row.exists and (row.eid, row.rel_path) not in damaged:
            data = path.read_bytes()
            assert (hashlib.md5(data).hexdigest(), len(data)) == (row.hash, row.file_size)
            checked += 1
    assert checked == truth.datasets["exists"].sum() - 4


# ONE 3.6 uses a feature that pandas 3.1 deprecates.
@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_one_loads_trials_and_spikes(truth, one):
    sort = next(s for s in sound_sorts(truth) if s.is_default and s.revision == RESORT)
    # Few files, as ONE takes its time to hash each.
    where = {"collection": f"alf/{sort.probe_name}/pykilosort"}
    spikes = one.load_object(sort.eid, "spikes", attribute="times", **where)
    assert len(spikes["times"]) == sort.n_spikes
    clusters = one.load_object(sort.eid, "clusters", attribute="channels", **where)
    assert len(clusters["channels"]) == sort.n_clusters
    trials = one.load_object(sort.eid, "trials", collection="alf")
    n_trials = truth.sessions.set_index("eid").loc[sort.eid, "n_trials"]
    assert trials["intervals"].shape == (n_trials, 2)
    assert trials["choice"].shape == trials["stimOff_times"].shape == (n_trials,)


def test_release_list(truth):
    frame = pd.read_csv(truth.release)
    assert list(frame.columns) == [
        *("Unnamed: 0", "pid", "eid", "probe_name", "session_number", "date", "subject", "lab")
    ]
    assert frame["pid"].tolist() == truth.insertions["pid"].tolist()
    assert frame["session_number"].dtype == np.int64


def test_counts_are_those_of_the_files(truth):
    for sort in sound_sorts(truth):
        folder = sort_folder(truth, sort)
        arrays = {a: np.load(folder / f"spikes.{a}.npy") for a in ("times", "amps", "depths")}
        clusters = np.load(folder / "spikes.clusters.npy")
        assert {a.dtype for a in arrays.values()} == {np.dtype(float)}
        assert clusters.dtype == (np.uint32 if sort.revision else np.uint16)
        assert {len(a) for a in (*arrays.values(), clusters)} == {sort.n_spikes}
        assert np.all(np.diff(arrays["times"]) >= 0)
        assert arrays["times"][0] > 0
        assert arrays["amps"].min() > 0
        assert len(pd.read_parquet(folder / "clusters.metrics.pqt")) == sort.n_metrics
        assert len(pd.read_csv(folder / "clusters.uuids.csv")["uuids"].unique()) == sort.n_clusters
        told = truth.units.query("pid == @sort.pid and revision == @sort.revision")
        counts = np.bincount(clusters, minlength=sort.n_clusters)
        np.testing.assert_array_equal(counts, told["n_spikes"])
    assert truth.counts["sortings"] == 15 + len(FAULTS)
    assert truth.counts["sessions"] == 7 + len(FAULTS)


def test_planted_rates_are_in_the_files(truth):
    scores = []
    for sort in sound_sorts(truth):
        folder = sort_folder(truth, sort)
        times = np.load(folder / "spikes.times.npy")
        clusters = np.load(folder / "spikes.clusters.npy")
        on = truth.trials[sort.eid]["stimOn_times"].to_numpy()
        edges = np.stack([on + STIMULUS_WINDOW[0], on + STIMULUS_WINDOW[1]], axis=1).ravel()
        evoked = np.searchsorted(edges, times, side="right") % 2 == 1
        told = truth.units.query("pid == @sort.pid and revision == @sort.revision")
        told = told[told["n_spikes"] > 1]
        spent = len(on) * (STIMULUS_WINDOW[1] - STIMULUS_WINDOW[0])
        duration = SIZES["tiny"].duration
        for mask, rate, span in (
            (evoked, told["evoked_rate"], spent),
            (~evoked, told["rate"], duration - spent),
        ):
            # Fewer are too far from normal for a score.
            kept = told[rate * span > 10]
            rate = rate[kept.index]
            counts = np.bincount(clusters[mask], minlength=sort.n_clusters)[kept["cluster_id"]]
            scores.append((counts - rate * span) / np.sqrt(rate * span))
    z = np.concatenate(scores)
    assert len(z) > 500
    assert np.mean(np.abs(z) < 3) > 0.99
    assert np.abs(z).max() < 4.5
    assert abs(z.mean()) < 0.15


def test_regions_recover_their_mean_rate(tmp_path):
    rng = np.random.default_rng(0)
    channels = ephys.simulate_channels(0, "3B2")
    units = ephys.plan_units(rng, 4000, channels, 4800.0, 1.0, 1.0)
    for acronym, group in units.groupby("acronym"):
        error = group["rate"].std() / np.sqrt(len(group))
        assert abs(group["rate"].mean() - ephys.region_rate(acronym)) < 4 * error
    assert ephys.region_rate("VISa2/3") == 7.0
    assert ephys.region_rate("scwm") == ephys.OTHER_RATE


def test_regions_are_in_the_atlas(truth):
    regions = BrainRegions()
    for region, row in truth.regions.iterrows():
        assert regions.acronym[regions.id == region].tolist() == [row["acronym"]]
    assert len(truth.regions) >= 20
    located = truth.units["region_id"].notna()
    assert truth.regions["n_units"].sum() == located.sum() < len(truth.units)


@pytest.mark.parametrize("seed", [0, 3, 11])
def test_planted_criteria_are_passed_as_planted(seed, truth, tmp_path):
    if seed != 3:
        truth = simulate(tmp_path, "tiny", seed=seed, n_sessions=2)
    units = truth.units
    for planted, passed in (
        (units["planted_refractory"], units["passes_refractory"]),
        (units["planted_amplitude"], units["passes_amplitude"]),
    ):
        known = planted.notna()
        assert known.sum() > 50
        assert (planted[known].astype(bool) == passed[known]).all()
    noise = units.dropna(subset="planted_noise")
    assert set(noise["planted_noise"]) == {"low", "mid", "high"}
    assert ((noise["planted_noise"] == "low") == noise["passes_noise_2024"]).all()
    assert ((noise["planted_noise"] != "high") == noise["passes_noise_2022"]).all()
    assert (units["is_good_2022"] & ~units["is_good_2024"]).any()
    assert not (~units["is_good_2022"] & units["is_good_2024"]).any()


def test_labels_follow_their_formula(truth):
    seen = Counter()
    for sort in sound_sorts(truth):
        table = pd.read_parquet(sort_folder(truth, sort) / "clusters.metrics.pqt")
        told = truth.units.query("pid == @sort.pid and revision == @sort.revision")
        told = told[told["in_metrics"]]
        np.testing.assert_array_equal(table["cluster_id"], told["cluster_id"])
        if sort.revision:
            assert list(table.columns) == list(metrics.COLUMNS_2024)
            assert table["bitwise_fail"].dtype == np.uint8
            refractory, limit, good = table["max_confidence"] >= 90, 5, told["is_good_2024"]
            assert ((table["bitwise_fail"] == 0) == (table["label"] == 1)).all()
        else:
            assert list(table.columns) == list(metrics.COLUMNS_2022)
            refractory, limit, good = table["slidingRP_viol"] == 1, 20, told["is_good_2022"]
        passed = refractory + 0 + (table["noise_cutoff"] < limit) + (table["amp_median"] > 50e-6)
        np.testing.assert_allclose(table["label"], passed / 3)
        np.testing.assert_array_equal(table["label"] > 0.99, good)
        seen.update(passed)
    assert set(seen) == {0, 1, 2, 3}


def test_metrics_against_their_definitions(truth):
    sort = next(s for s in sound_sorts(truth) if s.is_default)
    folder = sort_folder(truth, sort)
    table = pd.read_parquet(folder / "clusters.metrics.pqt").set_index("cluster_id")
    times, clusters = (np.load(folder / f"spikes.{a}.npy") for a in ("times", "clusters"))
    amps = np.load(folder / "spikes.amps.npy")
    length = times[-1] - times[0]
    counts = table["spike_count"]
    some = counts[counts.between(2, 1500)]
    for cluster in [*some.nlargest(3).index, *some.nsmallest(2).index]:
        row, t, a = table.loc[cluster], times[clusters == cluster], amps[clusters == cluster]
        assert row["firing_rate"] == pytest.approx(len(t) / length)
        assert row["amp_median"] == pytest.approx(10 ** (np.median(20 * np.log10(a)) / 20))
        assert (row["amp_min"], row["amp_max"]) == (a.min(), a.max())
        assert row["amp_std_dB"] == pytest.approx(np.std(20 * np.log10(a), ddof=1))
        edges = np.arange(times[0], times[-1] + 5, 10)
        present = len(set(((t - times[0]) // 10).astype(int)))
        assert row["presence_ratio"] == present / len(edges)
        samples = (t * 30000).astype(int)
        lags = (samples[None, :] - samples[:, None])[np.triu_indices(len(t), 1)]
        assert row["n_spikes_below2"] == np.sum(lags <= 60)
        rate = np.sum((lags >= 30000) & (lags < 60000)) / len(t)
        assert row["max_confidence"] == pytest.approx(confidence(lags, rate, len(t)), abs=1e-6)


def confidence(lags: np.ndarray, rate: float, n: int) -> float:
    from scipy.stats import poisson

    best, lags = 0.0, lags[lags < 300]
    for k in range(15, 300):
        expected = rate * 0.1 * ((k + 0.5) / 30000 + 1 / 60000) * 2 * n
        best = max(best, 100 * (1 - poisson.cdf(np.sum(lags <= k), expected)))
    return best


def test_sliding_refractory_grid():
    """The least contamination is on the grid of half per cents, and agrees with a search."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 300, 2400))
    times = times[np.r_[True, np.diff(times) > 0.001]]
    spikes = metrics.UnitSpikes(
        np.array([0, len(times)]), times, np.full(len(times), 8e-5), np.zeros(len(times))
    )
    found = metrics.sort_metrics(spikes).iloc[0]
    lags = (times * 30000).astype(int)
    lags = (lags[None, :] - lags[:, None])[np.triu_indices(len(times), 1)]
    rate = np.sum((lags >= 30000) & (lags < 60000)) / len(times)
    from scipy.stats import poisson

    k = np.arange(15, 300)
    seen = np.array([np.sum(lags[lags < 300] <= x) for x in k])
    for c in np.arange(0.5, 35, 0.5):
        expected = rate * c / 100 * (k + 1) / 30000 * 2 * len(times)
        if (100 * (1 - poisson.cdf(seen, expected))).max() >= 90:
            break
    assert found["min_contamination"] == c
    assert found["slidingRP_viol"] == float(c <= 10)


def test_trials_follow_the_rules_of_the_task():
    trials, moves = behavior.simulate_trials(np.random.default_rng(2), 5000, np.inf)
    assert trials["probabilityLeft"][:90].eq(0.5).all()
    left = trials["contrastLeft"].notna()
    assert (left ^ trials["contrastRight"].notna()).all()
    assert left[:90].sum() == 45
    block = trials["probabilityLeft"][90:]
    lengths = block.groupby((block != block.shift()).cumsum()).size()
    assert lengths[:-1].between(20, 99).all()
    assert set(block) == {0.2, 0.8}
    assert abs(left[90:][block == 0.8].mean() - 0.8) < 0.03
    order = ["intervals_0", "stimOn_times", "goCue_times", "response_times", "feedback_times"]
    times = trials[[*order, "stimOff_times", "intervals_1"]].to_numpy()
    assert (np.diff(times, axis=1) > 0).all()
    assert (trials["intervals_0"].to_numpy()[1:] > trials["intervals_1"].to_numpy()[:-1]).all()
    no_go = trials["choice"] == 0
    assert 0.003 < no_go.mean() < 0.012
    assert trials["feedbackType"][no_go].eq(-1).all()
    assert trials["firstMovement_times"][no_go].isna().all()
    made = moves[moves["onset"].to_numpy() < trials["response_times"].to_numpy()[moves["trial"]]]
    assert made.groupby("trial").size().between(1, 3).all()
    assert set(trials.index[~no_go]) == set(made["trial"])


def test_reaction_times_and_psychometrics_are_as_planted():
    trials, _ = behavior.simulate_trials(np.random.default_rng(4), 20000, np.inf)
    planted = behavior.reaction_time_truth()
    rt = (trials["firstMovement_times"] - trials["stimOn_times"]).dropna()
    error = np.sqrt(0.22 * 0.78 / len(rt))
    assert abs((rt < 0.08).mean() - planted["fraction_below_80ms"]) < 3 * error
    assert planted["fraction_below_80ms"] == pytest.approx(0.22, abs=0.01)
    assert abs((rt > 2).mean() - planted["slow_fraction"]) < 0.01
    assert 0.15 < rt.median() < 0.25
    answered = trials[trials["choice"] != 0]
    percent = 100 * (answered["contrastRight"].fillna(0) - answered["contrastLeft"].fillna(0))
    groups = answered.groupby([answered["probabilityLeft"], percent])["choice"]
    for (block, x), choice in groups:
        p = behavior.PSYCHOMETRIC[block]
        rise = (erf((x - p["bias"]) / p["slope"]) + 1) / 2
        expected = p["lapse_low"] + (1 - p["lapse_low"] - p["lapse_high"]) * rise
        error = np.sqrt(expected * (1 - expected) / len(choice))
        assert abs((choice == -1).mean() - expected) < 4 * error


def test_wheel_turns_as_the_choice_says(truth):
    for row in truth.sessions[truth.sessions["n_wheel"] > 0].itertuples():
        if row.fault:
            continue
        folder = session_folder(truth, row.eid) / "alf"
        times = np.load(folder / "_ibl_wheel.timestamps.npy")
        position = np.load(folder / "_ibl_wheel.position.npy")
        assert len(times) == len(position) == row.n_wheel
        assert (np.diff(times) > 0).all()
        trials = truth.trials[row.eid]
        onset = trials["firstMovement_times"].fillna(trials["goCue_times"])
        begin, end = (
            position[np.searchsorted(times, t, side="right") - 1]
            for t in (onset, trials["response_times"])
        )
        np.testing.assert_array_equal(
            np.where(np.abs(end - begin) > 0.27, -np.sign(end - begin), 0), trials["choice"]
        )


def test_every_edge_case_is_there(truth):
    assert {o.kind for o in truth.edge_cases} == EDGE_CASES


def odd_sort(truth: Truth, edge_case) -> tuple[Path, pd.DataFrame]:
    sorts = truth.sortings.query(
        "eid == @edge_case.eid and probe_name == @edge_case.probe_name "
        "and revision == @edge_case.revision"
    )
    folder = sort_folder(truth, next(sorts.itertuples()))
    return folder, pd.read_parquet(folder / "clusters.metrics.pqt")


def test_odd_units(truth):
    for edge_case in truth.odd("silent_cluster") + truth.odd("one_spike_cluster"):
        folder, _ = odd_sort(truth, edge_case)
        found = np.count_nonzero(np.load(folder / "spikes.clusters.npy") == edge_case.rows[0])
        assert found == (0 if edge_case.kind == "silent_cluster" else 1)
    (missing,) = truth.odd("missing_metrics")
    folder, table = odd_sort(truth, missing)
    assert len(missing.rows) == 2
    everyone = set(range(len(np.load(folder / "clusters.channels.npy"))))
    assert everyone - set(table["cluster_id"]) == set(missing.rows)
    silent, one_spike = truth.odd("silent_cluster")[0], truth.odd("one_spike_cluster")[0]
    table = odd_sort(truth, silent)[1].set_index("cluster_id")
    row = table.loc[silent.rows[0]]
    assert (row["spike_count"], row["firing_rate"], row["presence_ratio"], row["label"]) == (0,) * 4
    zero = ["spike_count", "firing_rate", "presence_ratio", "presence_ratio_std", "label"]
    assert row.drop(zero).isna().all()
    assert np.isnan(table.loc[one_spike.rows[0], "amp_std_dB"])
    for edge_case in truth.odd("nan_depth"):
        depths = np.load(odd_sort(truth, edge_case)[0] / "spikes.depths.npy")
        assert tuple(np.flatnonzero(np.isnan(depths))) == edge_case.rows


def test_odd_places(truth):
    names = {"units_in_root": {997}, "units_in_void": {0}, "units_in_white_matter": None}
    for kind, ids in names.items():
        for edge_case in truth.odd(kind):
            folder, _ = odd_sort(truth, edge_case)
            channel = np.load(folder / "clusters.channels.npy")[list(edge_case.rows)]
            found = set(np.load(folder / "channels.brainLocationIds_ccf_2017.npy")[channel])
            assert found == ids if ids else found and not found & {0, 997}
    (edge_case,) = truth.odd("not_located")
    folder = session_folder(truth, edge_case.eid) / "alf" / edge_case.probe_name
    assert list(folder.rglob("channels.localCoordinates.npy"))
    assert not list(folder.rglob("channels.mlapdv.npy"))
    assert not list(folder.rglob("channels.brainLocationIds*"))
    assert {o.probe_name for o in truth.odd("shank")} == {"probe00a"}


def test_channels(truth):
    sort = next(s for s in sound_sorts(truth) if s.is_default)
    folder = sort_folder(truth, sort)
    sites = np.load(folder / "channels.localCoordinates.npy")
    assert sites.shape == (384, 2)
    assert set(sites[:, 0]) == {11, 27, 43, 59}
    assert (sites[0, 1], sites[-1, 1]) == (20, 3840)
    ids = np.load(folder / "channels.brainLocationIds_ccf_2017.npy")
    assert ids.dtype == np.int32
    assert (ids >= 0).all()
    xyz = np.load(folder / "channels.mlapdv.npy")
    assert np.linalg.norm(xyz[-1] - xyz[0]) == pytest.approx(3820)
    assert (np.diff(xyz[::2, 2]) > 0).all()
    models = json.loads(
        (session_folder(truth, sort.eid) / "alf/probes.description.json").read_text()
    )
    assert [m["label"] for m in models] == ["probe00", "probe01"]


def test_odd_sorts_and_revisions(truth):
    (alone,) = truth.odd("unrevised_only")
    sorts = truth.sortings[truth.sortings["eid"] == alone.eid]
    assert sorts["revision"].tolist() == [""]
    for edge_case in truth.odd("resorted"):
        old, new = truth.sortings.query(
            "eid == @edge_case.eid and probe_name == @edge_case.probe_name"
        ).itertuples()
        assert (old.revision, new.revision) == ("", RESORT)
        assert (old.is_default, new.is_default) == (False, True)
        assert old.n_clusters < new.n_clusters
        uuids = [
            set(pd.read_csv(sort_folder(truth, s) / "clusters.uuids.csv")["uuids"])
            for s in (old, new)
        ]
        assert not uuids[0] & uuids[1]
        rows = truth.datasets[truth.datasets["eid"] == edge_case.eid].set_index("rel_path")
        base = f"alf/{edge_case.probe_name}/pykilosort/"
        assert not rows.loc[base + "spikes.times.npy", "default_revision"]
        assert rows.loc[base + f"#{RESORT}#/spikes.times.npy", "default_revision"]
    (shared,) = truth.odd("channels_of_original")
    folder = session_folder(truth, shared.eid) / "alf" / shared.probe_name / "pykilosort"
    assert not list((folder / f"#{RESORT}#").glob("channels.*"))
    assert list(folder.glob("channels.*"))


def test_odd_behaviour(truth):
    def table(edge_case):
        path = session_folder(truth, edge_case.eid) / "alf/_ibl_trials.table.pqt"
        return pd.read_parquet(path)

    (no_go,) = truth.odd("no_go")
    frame = table(no_go)
    assert list(frame.columns) == list(behavior.COLUMNS)
    assert tuple(frame.index[frame["choice"] == 0]) == no_go.rows
    assert frame["feedbackType"][list(no_go.rows)].eq(-1).all()
    for event in behavior.EVENTS:
        (edge_case,) = truth.odd(f"nan_{event}")
        assert len(edge_case.rows) >= 1
        assert tuple(frame.index[frame[event].isna()]) == edge_case.rows
    (training,) = truth.odd("training_columns")
    assert list(table(training).columns) == list(behavior.TRAINING_COLUMNS)
    assert truth.sessions.set_index("eid").loc[training.eid, "n_probes"] == 0
    (integer,) = truth.odd("integer_choice")
    assert table(integer)["choice"].dtype == np.int64
    (wheel,) = truth.odd("no_wheel")
    assert not list(session_folder(truth, wheel.eid).rglob("_ibl_wheel*"))
    (iti,) = truth.odd("iti_length")
    assert len(np.load(session_folder(truth, iti.eid) / iti.path)) == len(table(iti)) - 1
    (revised,) = truth.odd("revised_trials")
    assert f"#{TRIALS_REVISION}#" in revised.path
    new = pd.read_parquet(session_folder(truth, revised.eid) / revised.path)
    shift = table(revised)["stimOn_times"] - new["stimOn_times"]
    np.testing.assert_allclose(shift, 0.01)
    np.testing.assert_array_equal(new["stimOn_times"], truth.trials[revised.eid]["stimOn_times"])
    for edge_case in truth.odd("absent_raw_file"):
        row = truth.datasets.set_index(["eid", "rel_path"]).loc[(edge_case.eid, edge_case.path)]
        assert not row["exists"]
        assert row["file_size"] > 1e9
        assert len(row["hash"]) == 32


def test_every_fault_is_there(truth):
    assert [f.kind for f in truth.faults] == list(FAULTS)
    assert [f.fails for f in truth.faults] == [FAULTS[f.kind][0] for f in truth.faults]
    assert len({(s.subject, s.date, s.number) for s in truth.sessions.itertuples()}) == 22
    assert max(truth.sessions["date"]).year == 2022
    paths = {f.kind: session_folder(truth, f.eid) / f.path for f in truth.faults}
    rows = truth.datasets.set_index(["eid", "rel_path"])
    listed = {f.kind: rows.loc[(f.eid, f.path), "hash"] for f in truth.faults}
    wheel = paths["wheel_lengths"].parent
    lengths = [len(np.load(wheel / f"_ibl_wheel.{a}.npy")) for a in ("timestamps", "position")]
    assert lengths[0] - lengths[1] == 1
    extra = paths["trials_extra_length"]
    table = pd.read_parquet(extra.parent / "_ibl_trials.table.pqt")
    assert len(np.load(extra)) == len(table) - 2
    region = np.load(paths["unknown_region"])
    assert np.setdiff1d(region, BrainRegions().id).size == 1
    clusters = np.load(paths["cluster_beyond_table"])
    assert clusters.max() >= len(
        np.load(paths["cluster_beyond_table"].parent / "clusters.channels.npy")
    )
    assert np.count_nonzero(np.diff(np.load(paths["unsorted_spike_times"])) < 0) == 1
    assert np.count_nonzero(np.isnan(np.load(paths["nan_spike_time"]))) == 1
    assert np.load(paths["negative_spike_time"])[0] < 0
    ids = pd.read_parquet(paths["repeated_metrics"])["cluster_id"]
    assert ids.duplicated().sum() == 1
    with pytest.raises(ValueError, match=r"reshape|mmap|array"):
        np.load(paths["truncated_spike_times"])
    for kind in ("truncated_metrics", "truncated_trials"):
        with pytest.raises((OSError, ValueError)):
            pd.read_parquet(paths[kind])
    agrees = {k: hashlib.md5(p.read_bytes()).hexdigest() == listed[k] for k, p in paths.items()}
    assert [k for k, same in agrees.items() if not same] == [
        "truncated_spike_times",
        "truncated_trials",
    ]


def test_faultless_and_plain(tmp_path):
    plain = simulate(tmp_path, Size(2, 2, 3, 16, 300.0, 30), seed=1, edge_cases=False)
    assert plain.edge_cases == plain.faults == ()
    assert plain.sessions["n_probes"].tolist() == [1, 2, 1]
    assert plain.counts["sortings"] == 8
    assert plain.units["in_metrics"].all()
    assert set(pickle.loads(pickle.dumps(plain)).units) == set(plain.units)


def test_progress_and_settings(tmp_path):
    calls = []
    size = Size(1, 1, 2, 16, 300.0, 30)
    simulate(tmp_path, size, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 2), (2, 2)]
    with pytest.raises(SettingsError, match="no size 'huge'"):
        simulate(tmp_path, "huge")
    with pytest.raises(SettingsError, match="n_mice"):
        simulate(tmp_path, size, n_mice=2)
    with pytest.raises(SettingsError, match="n_units is 3"):
        simulate(tmp_path, size, n_units=3)
    with pytest.raises(SettingsError, match="seed is -1"):
        simulate(tmp_path, size, seed=-1)


def test_another_cache_is_left_alone(tmp_path):
    frame = pd.DataFrame({"lab": ["x"]}, index=pd.Index(["a"], name="id"))
    parquet.save(tmp_path / "sessions.pqt", frame, {"date_created": "2024-01-01 00:00"})
    before = digest(tmp_path)
    with pytest.raises(SettingsError, match="was not simulated"):
        simulate(tmp_path, "tiny")
    assert digest(tmp_path) == before
    (tmp_path / "sessions.pqt").write_bytes(b"PAR1 nothing")
    with pytest.raises(DamagedFile, match="cannot be read"):
        simulate(tmp_path, "tiny")


@pytest.mark.parametrize(("name", "insertions"), [("small", 13), ("full", 1)])
def test_presets_write(name, insertions, tmp_path):
    """Presets as they are, but short."""
    size = replace(SIZES[name], duration=300.0, n_trials=40)
    if name == "small":
        size = replace(size, n_units=20)
    truth = simulate(tmp_path, size)
    assert truth.counts["insertions"] == insertions
    assert truth.counts["sessions"] == size.n_sessions + size.n_tuned
    assert truth.counts["subjects"] == size.n_subjects
    assert truth.sortings["n_clusters"].max() == size.n_units
    if name == "full":
        assert truth.sortings["revision"].tolist() == [RESORT]
    assert all(s.stat().st_size > 0 for s in tmp_path.rglob("*.npy"))


def tree(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("n_sessions", [0, 1, 3])
def test_a_simulation_that_was_ended_leaves_no_folder_and_is_replaced(tmp_path, n_sessions):
    def end(done, of):
        if done > n_sessions:
            raise KeyboardInterrupt

    target = tmp_path / "release"
    with pytest.raises(KeyboardInterrupt):
        simulate_whole(target, "tiny", seed=1, faults=True, progress=end)
    assert not target.exists()
    truth = simulate_whole(target, "tiny", seed=2)
    assert truth.release.is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
    simulate(tmp_path / "clean", "tiny", seed=2)
    assert tree(target) == tree(tmp_path / "clean")


def test_a_folder_of_another_beside_the_release_is_left_alone(tmp_path):
    mine = tmp_path / "release.unfinished" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(SettingsError, match="in the way"):
        simulate_whole(tmp_path / "release", "tiny")
    assert mine.read_text() == "mine"
