"""The simulated release: cameras, passive protocol, raw recordings, and the metadata of Alyx."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from iblutil.io import parquet

from schemas.sources.records import CAMERAS, PROVENANCES, QC_OUTCOMES, TRACKERS
from schemas.sources.simulator import FAULTS, SIZES, Size, Truth, simulate

# Megabytes that the data besides trials, wheel and sorts may take.
LIMITS = {"tiny": 8, "small": 60}
OLD = ("_ibl_trials.", "_ibl_wheel.", "spikes.", "clusters.", "channels.")
# What a release asks of the task, as the metadata name it.
TASK_CHECKS = [
    *("_task_stimOn_goCue_delays", "_task_response_feedback_delays"),
    *("_task_wheel_move_before_feedback", "_task_wheel_freeze_during_quiescence"),
    *("_task_correct_trial_event_sequence", "_task_error_trial_event_sequence"),
    *("_task_reward_volumes", "_task_reward_volume_set"),
    *("_task_stimulus_move_before_goCue", "_task_audio_pre_trial"),
]


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    return simulate(tmp_path_factory.mktemp("release"), "tiny", seed=3, faults=True)


@pytest.fixture(scope="module")
def mocked(tmp_path_factory):
    """A release with a session more, of another project."""
    size = Size(3, 2, 8, 16, 300.0, 30)
    return simulate(tmp_path_factory.mktemp("mocked"), size, seed=2)


def session_folder(truth: Truth, eid: str) -> Path:
    s = truth.sessions.set_index("eid").loc[eid]
    return truth.folder / s.lab / "Subjects" / s.subject / str(s.date) / f"{s.number:03d}"


def faulty(truth: Truth, *kinds: str) -> dict[str, Path]:
    return {f.kind: session_folder(truth, f.eid) / f.path for f in truth.faults if f.kind in kinds}


def alyx(truth: Truth, name: str) -> pd.DataFrame:
    return pq.read_table(truth.folder / "alyx" / f"{name}.pqt").to_pandas()


def sound_cameras(truth: Truth):
    odd = {f.eid for f in truth.faults if f.fails == "pose"}
    return [c for c in truth.cameras.itertuples() if c.eid not in odd]


@pytest.mark.parametrize("name", ["tiny", "small"])
def test_presets_stay_small(name, tmp_path, request):
    truth = (
        request.getfixturevalue("truth") if name == "tiny" else simulate(tmp_path, "small", seed=1)
    )
    new = [p for p in truth.folder.rglob("*") if p.is_file() and not p.name.startswith(OLD)]
    assert len(new) > 300
    assert sum(p.stat().st_size for p in new) < 1e6 * LIMITS[name]


def test_cameras(truth):
    for camera in sound_cameras(truth):
        folder, name = session_folder(truth, camera.eid) / "alf", camera.camera
        times = np.load(folder / f"_ibl_{name}Camera.times.npy")
        assert len(times) == camera.n_times >= camera.n_frames > 50
        assert (np.diff(times) > 0).all()
        rate = CAMERAS[name] * SIZES["tiny"].frame_rate_factor
        assert 1 / np.median(np.diff(times)) == pytest.approx(rate, rel=0.01)
        for tracker in TRACKERS:
            path = folder / f"_ibl_{name}Camera.{tracker}.pqt"
            assert path.exists() == getattr(camera, tracker)
            if path.exists():
                pose = pd.read_parquet(path)
                assert len(pose) == camera.n_frames
                points = {c.rpartition("_")[0] for c in pose}
                assert points == ({"tail_start"} if name == "body" else set(SIZES["tiny"].points))
                assert set(pose) == {f"{p}_{v}" for p in points for v in ("x", "y", "likelihood")}
                assert pose.notna().all(axis=None)
                likelihood = pose.filter(like="_likelihood")
                assert ((likelihood >= 0) & (likelihood <= 1)).all(axis=None)
        features = folder / f"_ibl_{name}Camera.features.pqt"
        assert features.exists() == camera.pupil == (name != "body")
        if camera.pupil:
            frame = pd.read_parquet(features)
            assert list(frame) == ["pupilDiameter_raw", "pupilDiameter_smooth"]
            assert len(frame) == camera.n_frames
        energy = np.load(folder / f"{name}Camera.ROIMotionEnergy.npy")
        assert energy.shape == (camera.n_frames,)
        assert energy.min() >= 0
        assert np.load(folder / f"{name}ROIMotionEnergy.position.npy").shape == (4,)
    assert set(truth.cameras["camera"]) == set(CAMERAS)
    assert truth.cameras["lightningPose"].any()
    assert not truth.cameras["lightningPose"].all()
    assert truth.cameras.query("camera != 'body'")["dlc"].all()


def test_what_the_cameras_see_belongs_together(tmp_path):
    size = Size(1, 1, 1, 16, 400.0, 60, frame_rate_factor=1.0)
    truth = simulate(tmp_path, size, seed=4, edge_cases=False)
    (eid,) = truth.sessions["eid"]
    folder = session_folder(truth, eid) / "alf"
    trials, times = truth.trials[eid], np.load(folder / "_ibl_rightCamera.times.npy")
    pose = pd.read_parquet(folder / "_ibl_rightCamera.dlc.pqt")
    features = pd.read_parquet(folder / "_ibl_rightCamera.features.pqt")
    wheel = [np.load(folder / f"_ibl_wheel.{a}.npy") for a in ("timestamps", "position")]
    # Less than an encoder step a frame is a wheel at rest.
    moves = np.abs(np.diff(np.interp(times, *wheel), prepend=wheel[1][0])) > 2 * np.pi / 4096
    energy = np.load(folder / "rightCamera.ROIMotionEnergy.npy")
    assert energy[moves].mean() > 1.5 * energy[~moves].mean()
    resting = pose["paw_r_x"][~moves]
    assert pose["paw_r_x"][moves].std() > 3 * resting.std()
    licks = np.load(folder / "licks.times.npy")
    assert len(licks) == truth.sessions["n_licks"].iloc[0]
    assert (np.diff(licks) >= 0).all()
    rewarded = trials["feedback_times"][trials["feedbackType"] == 1].to_numpy()
    missed = trials["feedback_times"][trials["feedbackType"] == -1].to_numpy()
    after = [np.searchsorted(licks, t + 1) - np.searchsorted(licks, t) for t in (rewarded, missed)]
    assert after[0].min() >= 3
    assert after[0].mean() > 5 * after[1].mean()
    out = pose["tongue_end_l_likelihood"].to_numpy() > 0.5
    gap = np.abs(times[:, None] - licks).min(axis=1)
    assert gap[out].max() < 0.1 < gap[~out].max()
    diameter = pose["pupil_bottom_r_y"] - pose["pupil_top_r_y"]
    smooth = features["pupilDiameter_smooth"]
    assert np.corrcoef(diameter, smooth)[0, 1] > 0.9
    assert smooth.notna().all()
    assert 0 < features["pupilDiameter_raw"].isna().mean() < 0.1
    left = pd.read_parquet(folder / "_ibl_leftCamera.dlc.pqt")
    assert left["nose_tip_x"].mean() == pytest.approx(2 * pose["nose_tip_x"].mean(), rel=0.01)


def test_odd_cameras(truth):
    cameras = truth.cameras.set_index(["eid", "camera"])
    (early,) = truth.odd("early_camera_times")
    assert early.path == "alf/_ibl_leftCamera.times.npy"
    row = cameras.loc[(early.eid, "left")]
    assert row["n_times"] > row["n_frames"]
    energy = np.load(session_folder(truth, early.eid) / "alf/leftCamera.ROIMotionEnergy.npy")
    times = np.load(session_folder(truth, early.eid) / early.path)
    # The last times are those of the frames: the mouse is seen to move when the wheel does.
    wheel = session_folder(truth, early.eid) / "alf/_ibl_wheel."
    turns = np.load(f"{wheel}timestamps.npy")
    moved = np.searchsorted(turns, times + 0.05) > np.searchsorted(turns, times - 0.05)
    last, first = moved[-len(energy) :], moved[: len(energy)]
    assert energy[last].mean() - energy[~last].mean() > 0.5
    assert abs(energy[first].mean() - energy[~first].mean()) < 0.25
    others = cameras.drop(index=(early.eid, "left"))
    assert (others["n_times"] == others["n_frames"]).all()
    (none,) = truth.odd("no_video")
    assert none.eid not in cameras.index
    names = truth.datasets.query("eid == @none.eid")["rel_path"]
    assert not names.str.contains("Camera|licks|ROI|video").any()
    for edge_case in truth.odd("no_body_camera"):
        assert (edge_case.eid, "body") not in cameras.index
        assert (edge_case.eid, "left") in cameras.index


def test_passive_protocol(truth):
    told = truth.passive.set_index("eid")
    odd = {f.eid for f in truth.faults}
    for eid, row in told.drop(index=list(odd & set(told.index))).iterrows():
        folder = session_folder(truth, eid)
        periods = pd.read_csv(folder / "alf/_ibl_passivePeriods.intervalsTable.csv", index_col=0)
        assert list(periods.index) == ["start", "stop"]
        assert list(periods) == ["passiveProtocol", "spontaneousActivity", "RFM", "taskReplay"]
        assert periods.shape[1] == row["n_periods"]
        assert (periods.loc["stop"] > periods.loc["start"]).all()
        assert periods.loc["start"].min() > truth.trials[eid]["intervals_1"].max()
        times = np.load(folder / "alf/_ibl_passiveRFM.times.npy")
        assert (np.diff(times) > 0).all()
        assert periods["RFM"]["start"] < times[0] < times[-1] < periods["RFM"]["stop"]
        noise = np.fromfile(folder / "raw_passive_data/_iblrig_RFMapStim.raw.bin", np.uint8)
        noise = noise.reshape((15, 15, len(times)), order="F")
        assert len(times) == row["n_noise_frames"]
        assert set(np.unique(noise)) == {0, 128, 255}
        stimuli = pd.read_csv(folder / "alf/_ibl_passiveStims.table.csv", index_col=0)
        on, off = stimuli.filter(regex="On$"), stimuli.filter(regex="Off$")
        assert list(stimuli) == ["valveOn", "valveOff", "toneOn", "toneOff", "noiseOn", "noiseOff"]
        assert (off.to_numpy() > on.to_numpy()).all()
        assert on.size == row["n_stimuli"] == 120
        path = folder / "alf/_ibl_passiveGabor.table.csv"
        assert path.exists() == (row["n_gabors"] > 0)
        if path.exists():
            gabors = pd.read_csv(path, index_col=0)
            assert list(gabors) == ["start", "stop", "position", "contrast", "phase"]
            assert len(gabors) == row["n_gabors"] == 180
            assert set(gabors["position"]) == {-35, 35}
            counts = gabors["contrast"].value_counts().to_dict()
            assert counts == {0: 20, 0.0625: 40, 0.125: 40, 0.25: 40, 1: 40}
            every = np.sort(np.r_[gabors["start"], gabors["stop"], stimuli.to_numpy().ravel()])
            assert periods["taskReplay"]["start"] <= every[0]
            assert every[-1] <= periods["taskReplay"]["stop"]
    (gabors,) = truth.odd("no_gabors")
    assert told.loc[gabors.eid, ["n_gabors", "n_periods"]].tolist() == [0, 4]
    without = {o.eid for o in truth.odd("no_passive")}
    assert without == set(truth.sessions["eid"]) - set(told.index)
    names = truth.datasets[truth.datasets["eid"].isin(without)]["rel_path"]
    assert not names.str.contains("passive").any()
    assert (truth.sessions.set_index("eid").loc[list(without), "n_probes"] > 0).any()


def test_quality_of_raw_recordings(truth):
    for row in truth.insertions.itertuples():
        base = session_folder(truth, row.eid) / "raw_ephys_data" / row.probe_name
        for band, rate in (("AP", 30000), ("LF", 2500)):
            rms = np.load(base / f"_iblqc_ephysTimeRms{band}.rms.npy")
            at = np.load(base / f"_iblqc_ephysTimeRms{band}.timestamps.npy")
            assert rms.shape == (len(at), 384)
            assert (np.diff(at) > 0).all()
            power = np.load(base / f"_iblqc_ephysSpectralDensity{band}.power.npy")
            freqs = np.load(base / f"_iblqc_ephysSpectralDensity{band}.freqs.npy")
            assert power.shape == (len(freqs), 384)
            assert freqs[-1] == rate / 2
            assert min(rms.min(), power.min()) > 0
            # The power over all frequencies is the mean square.
            square = np.median(power.mean(axis=0) * freqs[-1] / np.mean(rms, axis=0) ** 2)
            assert 0.8 < square < 1.2


def test_raw_files_are_pointers(truth):
    rows = truth.datasets
    raw = rows[rows["rel_path"].str.contains(r"cbin|\.mp4")]
    absent = {(o.eid, o.path) for o in truth.odd("absent_raw_file")}
    for row in raw.itertuples():
        path = session_folder(truth, row.eid) / row.rel_path
        assert path.exists() == row.exists == ((row.eid, row.rel_path) not in absent)
        if row.exists:
            data = path.read_bytes()
            assert 1000 < len(data) == row.file_size < 10_000
            assert hashlib.md5(data).hexdigest() == row.hash
    there = raw[raw["exists"]]
    assert there["hash"].is_unique
    assert there["eid"].nunique() > len(truth.sessions) / 2
    assert set(raw[~raw["exists"]]["eid"]) == {o.eid for o in truth.odd("absent_raw_file")}
    (shank,) = truth.odd("shank")
    names = rows[rows["eid"] == shank.eid]["rel_path"].tolist()
    for number, probe in enumerate(["probe00a", "probe01"]):
        base = f"raw_ephys_data/{probe}/_spikeglx_ephysData_g0_t0.imec{number}."
        assert {base + f"{b}.{e}" for b in ("ap", "lf") for e in ("cbin", "ch", "meta")} <= set(
            names
        )


def test_new_faults_are_what_they_say(truth):
    kinds = ("pose_beyond_times", "truncated_pose", "passive_columns", "receptive_field_lengths")
    paths = faulty(truth, *kinds)
    assert set(paths) == set(kinds)
    assert {FAULTS[k][0] for k in kinds} == {"pose", "passive_periods", "receptive_field"}
    long = paths["pose_beyond_times"]
    times = np.load(long.with_name(long.name.replace("dlc.pqt", "times.npy")))
    assert len(pd.read_parquet(long)) == len(times) + 3
    features = pd.read_parquet(long.with_name(long.name.replace("dlc", "features")))
    assert len(features) == len(times)
    with pytest.raises((OSError, ValueError)):
        pd.read_parquet(paths["truncated_pose"])
    assert not {"passiveProtocol", "RFM"} & set(pd.read_csv(paths["passive_columns"]))
    noise = paths["receptive_field_lengths"]
    frames = np.load(noise.parents[1] / "alf/_ibl_passiveRFM.times.npy")
    assert noise.stat().st_size == 225 * (len(frames) + 2)


def test_tables_of_metadata(truth):
    subjects, sessions = alyx(truth, "subjects"), alyx(truth, "sessions")
    assert list(subjects) == [
        *("nickname", "lab", "sex", "birth_date", "death_date", "strain", "line", "species")
    ]
    assert set(subjects["nickname"]) == set(truth.sessions["subject"])
    pd.testing.assert_frame_equal(subjects, truth.subjects.astype(subjects.dtypes))
    known = subjects[subjects["sex"] != "U"]
    assert set(known["sex"]) <= {"M", "F"}
    for mouse in known.itertuples():
        days = truth.sessions.query("subject == @mouse.nickname")["date"]
        assert date.fromisoformat(mouse.birth_date) < min(days)
        if isinstance(mouse.death_date, str):
            assert date.fromisoformat(mouse.death_date) > max(days)
    assert 0 < known["death_date"].notna().sum() < len(known)
    (unknown,) = truth.odd("unknown_subject")
    (row,) = subjects[subjects["sex"] == "U"].itertuples()
    assert row.nickname == truth.sessions.set_index("eid").loc[unknown.eid, "subject"]
    nulls = subjects[subjects["sex"] == "U"].drop(columns=["nickname", "lab", "sex"])
    assert nulls.isna().all(axis=None)
    assert list(sessions) == ["eid", "start_time", "qc", "extended_qc"]
    joined = sessions.merge(truth.sessions, on="eid", validate="one_to_one")
    assert len(joined) == len(truth.sessions)
    starts = [datetime.fromisoformat(t) for t in joined["start_time"]]
    assert [t.date() for t in starts] == joined["date"].tolist()
    assert {t.tzinfo for t in starts} == {None}
    assert set(joined["qc_x"]) <= set(QC_OUTCOMES)
    assert joined["qc_x"].tolist() == joined["qc_y"].tolist()
    (bare,) = truth.odd("no_extended_qc")
    assert sessions[sessions["extended_qc"].isna()]["eid"].tolist() == [bare.eid]


def test_checks_are_of_every_type(truth):
    sessions, insertions = alyx(truth, "sessions"), insertion_contents(truth)
    told = {s.eid: json.loads(s.extended_qc) for s in sessions.dropna().itertuples()}
    told |= {p: j["extended_qc"] for p, j in insertions.items() if j}
    listed = [(o, n, v) for o, entries in told.items() for n, v in entries.items()]
    checks = truth.checks
    assert (checks["eid"].isna() ^ checks["pid"].isna()).all()
    owners = checks["eid"].fillna(checks["pid"])
    values = checks["json"].map(json.loads)
    assert sorted(map(repr, listed)) == sorted(
        map(repr, zip(owners, checks["name"], values, strict=True))
    )
    types = {type(v) for _, _, v in listed}
    assert types == {bool, int, float, str, list, type(None)}
    assert [True, 4, 0] in [v for _, _, v in listed]
    for entries in told.values():
        if "task" in entries:
            assert set(TASK_CHECKS) <= set(entries)
            assert all(isinstance(entries[name], float) for name in TASK_CHECKS)


def insertion_contents(truth: Truth) -> dict[str, dict | None]:
    table, _ = parquet.load(truth.folder / "insertions.pqt")
    pids = table.index.get_level_values("id")
    texts = [json.loads(t) if isinstance(t, str) else None for t in table["json"]]
    return dict(zip(pids, texts, strict=True))


def rule_of_the_release(truth: Truth) -> set[str]:
    """The rule, written from its text, on the tables as they are."""
    table, _ = parquet.load(truth.folder / "sessions.pqt")
    extended = alyx(truth, "sessions").set_index("eid")
    chosen = set()
    contents = insertion_contents(truth)
    for row in truth.insertions.itertuples():
        content, text = contents[row.pid], extended.loc[row.eid, "extended_qc"]
        if content is None or not isinstance(text, str):
            continue
        checks = json.loads(text)
        passed = all(checks[name] >= 0.9 for name in TASK_CHECKS)
        reasons = [
            "ibl_neuropixel_brainwide_01" in table.loc[row.eid, "projects"].split(","),
            QC_OUTCOMES.index(extended.loc[row.eid, "qc"]) < QC_OUTCOMES.index("CRITICAL"),
            checks.get("behavior") == 1,
            passed or checks.get("_experimenter_task") == "PASS",
            content["qc"] != "CRITICAL",
            content["extended_qc"].get("tracing_exists"),
            content["extended_qc"].get("alignment_resolved"),
        ]
        if all(reasons):
            chosen.add(row.pid)
    return chosen


def test_rule_of_the_release_selects_some(truth, mocked):
    for release in (truth, mocked):
        told = release.insertions.set_index("pid")["satisfies_bwm_rule"]
        assert rule_of_the_release(release) == set(told.index[told])
    sound = truth.insertions[~truth.insertions["eid"].isin([f.eid for f in truth.faults])]
    assert 0 < sound["satisfies_bwm_rule"].sum() < len(sound)
    # One that the experimenter passed although a check failed, and one that was not.
    failed = {
        (c.eid, json.loads(c.json)) for c in truth.checks.itertuples() if c.name in TASK_CHECKS
    }
    low = [eid for eid, value in failed if value < 0.9]
    assert set(sound[sound["eid"].isin(low)]["satisfies_bwm_rule"]) == {True, False}
    mock = mocked.sessions.query("project != 'ibl_neuropixel_brainwide_01'")["eid"]
    assert len(mock) == 1
    assert not mocked.insertions[mocked.insertions["eid"].isin(mock)]["satisfies_bwm_rule"].any()


def test_insertions(truth):
    contents = insertion_contents(truth)
    (unknown,) = truth.odd("no_insertion_json")
    for row in truth.insertions.itertuples():
        content = contents[row.pid]
        if (row.eid, row.probe_name) == (unknown.eid, unknown.probe_name):
            assert content is None
            assert row.level is None
            continue
        state = content["extended_qc"]
        level = "resolved" if state["alignment_resolved"] else "aligned"
        assert state["tracing_exists"] is True
        assert state["alignment_count"] > 0
        assert row.level == level
        assert (content["qc"], len(content["xyz_picks"])) == (row.qc, row.n_picks)
        assert all(isinstance(v, int) for pick in content["xyz_picks"] for v in pick)
        last = truth.sortings.query("pid == @row.pid and is_default").iloc[0]
        assert content["n_units"] == last["n_clusters"]
        folder = session_folder(truth, row.eid) / "alf" / row.probe_name / "pykilosort"
        assert any(folder.rglob("channels.mlapdv.npy")) == row.sites_in_files
        assert any(folder.rglob("channels.brainLocationIds*")) == row.sites_in_files
    (aligned,) = truth.odd("not_located")
    told = truth.insertions.set_index(["eid", "probe_name"])
    assert told.loc[(aligned.eid, aligned.probe_name), "level"] == "aligned"
    (other,) = truth.odd("sites_in_metadata")
    row = told.loc[(other.eid, other.probe_name)]
    assert (row["level"], row["located"], row["sites_in_files"]) == ("resolved", True, False)


def test_trajectories_and_sites(truth):
    table = alyx(truth, "trajectories")
    pd.testing.assert_frame_equal(table, truth.trajectories, check_dtype=False)
    assert table["id"].map(uuid.UUID).is_unique
    counts = table.groupby(["eid", "probe_name"]).size()
    told = truth.insertions.set_index(["eid", "probe_name"])["n_trajectories"]
    assert counts.to_dict() == told.to_dict()
    for _, group in table.groupby(["eid", "probe_name"]):
        assert group["provenance"].tolist() == list(PROVENANCES[: len(group)])
    assert table[["x", "y", "z", "depth", "theta", "phi"]].notna().all(axis=None)
    assert table["roll"].isna().any()
    channels = alyx(truth, "channels")
    assert str(pq.read_schema(truth.folder / "alyx/channels.pqt").field("brain_region").type) == (
        "int64"
    )
    (edge_case,) = truth.odd("sites_in_metadata")
    (trajectory,) = set(channels["trajectory_id"])
    row = table.set_index("id").loc[trajectory]
    assert row[["eid", "probe_name", "provenance"]].tolist() == [
        edge_case.eid,
        edge_case.probe_name,
        PROVENANCES[-1],
    ]
    folder = session_folder(truth, edge_case.eid) / "alf" / edge_case.probe_name / "pykilosort"
    sites = np.load(folder / "channels.localCoordinates.npy")
    regions = channels.set_index(["lateral", "axial"])["brain_region"]
    assert regions.index.is_unique
    units = truth.units.query("eid == @edge_case.eid and probe_name == @edge_case.probe_name")
    place = [tuple(sites[c]) for c in units["channel"]]
    assert regions.loc[place].tolist() == units["region_id"].tolist()
    assert channels["axial"].tolist() != sites[:, 1].tolist()
    # The last estimate of the entry is where the uppermost sites are.
    top = channels[channels["axial"] == channels["axial"].max()][["x", "y", "z"]].to_numpy()
    assert np.abs(top - row[["x", "y", "z"]].to_numpy(float)).max() < 1


def test_one_loads_the_new_files(truth):
    from one.api import One

    one = One(cache_dir=truth.folder, mode="local")
    assert set(one._cache) >= {"sessions", "datasets", "insertions"}
    assert "subjects" not in one._cache
    camera = sound_cameras(truth)[0]
    pose = one.load_dataset(camera.eid, f"_ibl_{camera.camera}Camera.dlc.pqt", collection="alf")
    assert len(pose) == camera.n_frames
    eid = truth.passive["eid"].iloc[0]
    start, stop = one.load_dataset(eid, "_ibl_passivePeriods.intervalsTable.csv")["RFM"]
    assert start < stop
    outcomes = set(one._cache["datasets"]["qc"].astype(str))
    assert outcomes == {"NOT_SET", "PASS", "WARNING"}


def test_full_size_has_real_rates_and_points(tmp_path):
    full = SIZES["full"]
    assert full.frame_rate_factor == 1
    assert len(full.points) == 11
    assert full.n_frequencies == 513
    size = Size(1, 1, 1, 16, 300.0, 30, frame_rate_factor=1.0, points=full.points)
    truth = simulate(tmp_path, size, edge_cases=False)
    folder = session_folder(truth, truth.sessions["eid"].iloc[0]) / "alf"
    for camera, rate in CAMERAS.items():
        times = np.load(folder / f"_ibl_{camera}Camera.times.npy")
        assert len(times) == pytest.approx(rate * 298, abs=1)
    pose = pq.read_schema(io.BytesIO((folder / "_ibl_leftCamera.dlc.pqt").read_bytes()))
    assert len([n for n in pose.names if n.endswith("_x")]) == 11
