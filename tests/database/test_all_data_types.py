"""Every type of data that a release has: what was simulated is in the database, row by row."""

import json

import numpy as np
import pandas as pd
import pytest

from populate import catalog
from schemas import passive, probe, quality, rows, session, subject, video, views
from schemas.sources.records import PROVENANCES, QC_OUTCOMES, TRACKERS
from schemas.sources.simulator import raw
from schemas.sources.simulator import video as simulated
from tests.support.planted import keys as planted_keys

TABLES = {catalog.name_of(table): table for table in catalog.tables()}


@pytest.fixture
def truth(release, populated):
    return release.truth


@pytest.fixture
def read_released(truth, release):
    """Read a file of a session as it was written."""
    folders = truth.sessions.set_index("eid")

    def read(eid, path):
        s = folders.loc[eid]
        folder = release.folder / s.lab / "Subjects" / s.subject / str(s.date) / f"{s.number:03d}"
        if path.endswith(".npy"):
            return np.load(folder / path)
        return pd.read_parquet(folder / path)

    return read


def keys_of(table):
    names = table.primary_key
    return set(rows.frame(table.proj())[names].itertuples(index=False, name=None))


def keys_as_dicts(table):
    return table.proj().to_dicts()


def stored(table, column, **key):
    return (table & key).fetch1(column).read()


def test_each_table_has_the_keys_that_were_planted_and_the_others_are_absent(truth, populated):
    states = populated.status()
    for name, planted in planted_keys(truth).items():
        assert keys_of(TABLES[name]) == planted, name
        n_absent = len(TABLES[name].candidates.proj()) - len(planted)
        assert (states[name].done, states[name].absent) == (len(planted), n_absent), name


# --- video --------------------------------------------------------------------------------------


def test_cameras_have_the_times_that_were_simulated(truth, read_released):
    found = rows.frame(video.FrameTimes()).set_index(["eid", "camera"])
    for row in truth.cameras.itertuples():
        times = read_released(row.eid, f"alf/_ibl_{row.camera}Camera.times.npy")
        of_camera = found.loc[row.eid, row.camera]
        assert of_camera.n_frame_times == row.n_times == len(times)
        assert (of_camera.first_frame, of_camera.last_frame) == (times[0], times[-1])
        key = {"eid": row.eid, "camera": row.camera}
        kept = stored(video.FrameTimes, "frame_times", **key)["time"]
        assert np.array_equal(kept, times)


MEASURED = {
    "pose": (video.Pose, "n_pose"),
    "pupil": (video.Pupil, "n_pupil"),
    "motion_energy": (video.MotionEnergy, "n_energy"),
}


@pytest.mark.parametrize("column", MEASURED)
def test_the_last_times_are_those_of_the_frames(truth, read_released, column):
    """A camera whose clock started early has more times than frames: the first ones go."""
    table, prefix = MEASURED[column]
    cameras = truth.cameras.set_index(["eid", "camera"])
    early = {o.eid for o in truth.odd("early_camera_times")}
    assert early
    for row in rows.frame(table()).to_dict("records"):
        planted = cameras.loc[row["eid"], row["camera"]]
        n_dropped = row[f"{prefix}_dropped"]
        assert row[f"{prefix}_frames"] == planted.n_frames
        assert n_dropped == planted.n_times - planted.n_frames
        assert (n_dropped > 0) == (row["eid"] in early and row["camera"] == "left")
        time = stored(table, column, **{n: row[n] for n in table.primary_key})["time"]
        written = read_released(row["eid"], f"alf/_ibl_{row['camera']}Camera.times.npy")
        assert np.array_equal(time, written[n_dropped:])


def test_poses_are_as_released_with_their_likelihood(read_released, truth):
    poses = keys_as_dicts(video.Pose)
    for key in poses:
        pose = stored(video.Pose, "pose", **key)
        path = f"alf/_ibl_{key['camera']}Camera.{key['tracker']}.pqt"
        released = read_released(key["eid"], path)
        assert list(pose) == ["time", *released]
        assert all(np.array_equal(pose[name], released[name]) for name in released)
        points = set((video.Pose.Point & key).to_arrays("pose_point"))
        of_each = ("x", "y", "likelihood")
        assert {f"{point}_{what}" for point in points for what in of_each} == set(released)
    assert {key["tracker"] for key in poses} == set(TRACKERS)


def test_the_pupil_is_as_released_gaps_included(read_released, truth):
    for key in keys_as_dicts(video.Pupil):
        pupil = stored(video.Pupil, "pupil", **key)
        released = read_released(key["eid"], f"alf/_ibl_{key['camera']}Camera.features.pqt")
        for kind in ("raw", "smooth"):
            expected = released[f"pupilDiameter_{kind}"].to_numpy()
            assert np.array_equal(pupil[f"diameter_{kind}"], expected, equal_nan=True)
        assert np.isnan(pupil["diameter_raw"]).any()


def test_motion_energy_has_its_region(read_released, truth):
    for row in rows.frame(video.MotionEnergy()).to_dict("records"):
        found = tuple(row[f"region_{name}"] for name in ("x", "y", "width", "height"))
        assert found == simulated.REGIONS[row["camera"]]
        key = {"eid": row["eid"], "camera": row["camera"]}
        energy = stored(video.MotionEnergy, "motion_energy", **key)["energy"]
        released = read_released(row["eid"], f"alf/{row['camera']}Camera.ROIMotionEnergy.npy")
        assert np.array_equal(energy, released)


def test_licks_are_those_that_were_simulated(truth, read_released):
    planted = truth.sessions[truth.sessions.n_licks > 0].set_index("eid").n_licks
    found = rows.frame(video.Licks()).set_index("eid")
    assert found.n_licks.to_dict() == planted.to_dict()
    for eid in planted.index:
        times = read_released(eid, "alf/licks.times.npy")
        assert np.array_equal(stored(video.Licks, "licks", eid=eid)["time"], times)
        assert (found.first_lick[eid], found.last_lick[eid]) == (times[0], times[-1])


# --- passive protocol ---------------------------------------------------------------------------


def test_the_passive_protocol_has_the_events_that_were_simulated(truth):
    planted = truth.passive.set_index("eid")
    for table, column in (
        (passive.PassivePeriods, "n_periods"),
        (passive.ReceptiveField, "n_noise_frames"),
        (passive.PassiveStimuli, "n_stimuli"),
        (passive.PassiveGabors, "n_gabors"),
    ):
        found = rows.frame(table()).set_index("eid")[column]
        assert found.to_dict() == planted[column][planted[column] > 0].to_dict()
    assert len(passive.PassivePeriods.Period()) == planted.n_periods.sum()
    assert len(passive.PassiveStimuli.Stimulus()) == planted.n_stimuli.sum()
    assert len(passive.PassiveGabors.Gabor()) == planted.n_gabors.sum()
    assert len(planted) < len(truth.sessions)


def test_stimuli_are_shown_within_the_replay_and_the_noise_within_its_period(truth):
    periods = rows.frame(passive.PassivePeriods.Period()).set_index(["eid", "passive_period"])
    for table, kind in (
        (passive.PassiveStimuli.Stimulus, "stimulus"),
        (passive.PassiveGabors.Gabor, "gabor"),
    ):
        for row in rows.frame(table()).to_dict("records"):
            period = periods.loc[row["eid"], "taskReplay"]
            assert period.period_start <= row[f"{kind}_start"] < row[f"{kind}_stop"]
            assert row[f"{kind}_stop"] <= period.period_stop
    for row in rows.frame(passive.ReceptiveField()).to_dict("records"):
        period = periods.loc[row["eid"], "RFM"]
        assert period.period_start <= row["noise_start"] < row["noise_stop"] <= period.period_stop


def test_sparse_noise_is_as_shown(truth, release):
    """The raw file has the frames one after the other, each column by column."""
    folders = truth.sessions.set_index("eid")
    for row in rows.frame(passive.ReceptiveField()).to_dict("records"):
        s = folders.loc[row["eid"]]
        folder = release.folder / s.lab / "Subjects" / s.subject / str(s.date) / f"{s.number:03d}"
        shown = np.fromfile(folder / "raw_passive_data/_iblrig_RFMapStim.raw.bin", np.uint8)
        noise = stored(passive.ReceptiveField, "sparse_noise", eid=row["eid"])
        side = passive.SIDE
        frames = shown.reshape(row["n_noise_frames"], side, side).swapaxes(1, 2)
        for i, j in ((0, 0), (3, 11), (14, 2)):
            assert np.array_equal(noise[f"square_{i:02d}_{j:02d}"], frames[:, i, j])
        assert row["has_pattern"]
        assert set(np.unique(shown)) == {0, 128, 255}


# --- raw recordings -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "file", "n_rows", "at"),
    [
        (quality.RMS, "rms", "TimeRms{}.rms", "n_rms_windows", "time"),
        (
            quality.SpectralDensity,
            "spectral_density",
            "SpectralDensity{}.power",
            "n_frequencies",
            "frequency",
        ),
    ],
)
def test_quality_of_raw_recordings_is_as_released(
    truth, read_released, table, column, file, n_rows, at
):
    for row in rows.frame(table()).to_dict("records"):
        name = f"_iblqc_ephys{file.format(row['band'].upper())}.npy"
        values = read_released(row["eid"], f"raw_ephys_data/{row['probe_name']}/{name}")
        (n_channels,) = {v for k, v in row.items() if k.endswith("_channels")}
        assert (row[n_rows], n_channels) == values.shape
        found = stored(table, column, **{n: row[n] for n in table.primary_key})
        assert list(found) == [at, *(f"channel_{k}" for k in range(n_channels))]
        assert np.array_equal(np.stack([*found.values()][1:], axis=1), values)
        if "rms_median" in row:  # the planted level, within its spread
            assert row["rms_median"] == pytest.approx(raw.NOISE[row["band"]], rel=0.1)


def test_raw_files_are_pointers_with_size_and_hash(truth, populated):
    listed = truth.datasets.set_index(["eid", "rel_path"])
    found = rows.frame(session.Dataset & [{"data_kind": "raw_ephys"}, {"data_kind": "raw_video"}])
    suffixes = (".cbin", ".mp4")
    expected = {key for key in listed.index if key[1].endswith(suffixes)}
    pointers = found[found.dataset_path.str.endswith(suffixes)]
    assert set(pointers[["eid", "dataset_path"]].itertuples(index=False, name=None)) == expected
    for row in pointers.itertuples():
        assert row.file_size == listed.file_size[row.eid, row.dataset_path]
        assert row.md5 == listed.hash[row.eid, row.dataset_path]


# --- where probes lie ---------------------------------------------------------------------------


def test_insertions_have_level_quality_and_picks(truth):
    found = rows.frame(probe.ProbeInsertion()).set_index("pid")
    picks = rows.frame(probe.ProbeInsertion.Pick()).groupby(["eid", "probe_name"]).size()
    for row in truth.insertions.itertuples():
        one = found.loc[row.pid]
        assert (one.probe_model, one.probe_serial) == (row.model, row.serial)
        assert none(one.insertion_level) == none(row.level)
        assert none(one.insertion_qc) == none(row.qc)
        assert picks.get((row.eid, row.probe_name), 0) == row.n_picks


def none(value):
    return None if pd.isna(value) else value


def test_trajectories_are_those_that_were_planted_and_the_furthest_is_current(truth):
    found = rows.frame(probe.Trajectory()).set_index("trajectory_id")
    planted = truth.trajectories.set_index("id")
    assert set(found.index) == set(planted.index)
    names = {
        "x": "entry_x",
        "y": "entry_y",
        "z": "entry_z",
        "depth": "insertion_depth",
        "theta": "theta",
        "phi": "phi",
        "roll": "roll",
    }
    for theirs, ours in names.items():
        left = found.loc[planted.index, ours].to_numpy(float)
        assert np.array_equal(left, planted[theirs].to_numpy(float), equal_nan=True)
    rank = planted.provenance.map(PROVENANCES.index)
    last = rank.groupby([planted.eid, planted.probe_name]).transform("max") == rank
    assert found.loc[planted.index].is_current_trajectory.astype(bool).equals(last)
    counts = planted.groupby(["eid", "probe_name"]).size()
    for row in truth.insertions.itertuples():
        assert counts[row.eid, row.probe_name] == row.n_trajectories


def test_channels_tell_how_far_they_are_located(truth):
    """From files, from metadata, or not at all: nothing is guessed."""
    levels = rows.frame(probe.Channels()).set_index(["eid", "probe_name"]).location_level
    located = rows.frame(probe.Channels.Channel())
    located = located.groupby(["eid", "probe_name"]).channel_region_id
    any_, all_ = located.agg(lambda r: r.notna().any()), located.agg(lambda r: r.notna().all())
    seen = set()
    for row in truth.insertions.itertuples():
        key = (row.eid, row.probe_name)
        expected = "alf" if row.sites_in_files else (none(row.level) or "none")
        assert levels[key] == expected
        assert bool(any_[key]) == bool(all_[key]) == bool(row.located)
        seen.add((expected, bool(row.located)))
    assert seen == {("alf", True), ("resolved", True), ("aligned", False)}


def test_sites_of_the_metadata_give_units_their_regions(truth):
    """The located sites come in no order and without numbers: position is what they share."""
    (odd,) = truth.odd("sites_in_metadata")
    key = {"eid": odd.eid, "probe_name": odd.probe_name}
    channels = rows.frame(probe.Channels.Channel & key).set_index("channel")
    units = truth.units[(truth.units.eid == odd.eid) & (truth.units.probe_name == odd.probe_name)]
    assert units.region_id.nunique() > 2
    assert (channels.channel_region_id[units.channel].to_numpy() == units.region_id).all()
    sides = np.sign(channels.channel_x)
    assert (channels.hemisphere[sides < 0] == "left").all()
    assert (channels.hemisphere[sides > 0] == "right").all()
    assert (sides != 0).any()


# --- quality control and subjects ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "owner", "prefix"),
    [(quality.SessionQC, "eid", "session"), (quality.InsertionQC, "pid", "insertion")],
)
def test_checks_are_typed_rows(truth, populated, table, owner, prefix):
    found = table() if owner == "eid" else table * probe.ProbeInsertion.proj("pid")
    found = rows.frame(found).set_index([owner, f"{prefix}_check"])
    planted = truth.checks.dropna(subset=[owner])
    assert set(found.index) == set(planted[[owner, "name"]].itertuples(index=False, name=None))
    kinds = set()
    for row in planted.to_dict("records"):
        one, value = found.loc[row[owner], row["name"]], json.loads(row["json"])
        typed = [none(one[f"{prefix}_check_{part}"]) for part in ("value", "outcome", "text")]
        if value is None:
            assert typed == [None, None, None]
        elif isinstance(value, bool | int | float):
            assert typed == [float(value), None, None]
        elif value in QC_OUTCOMES:
            assert typed == [None, value, None]
        else:
            assert typed[:2] == [None, None]
            assert json.loads(typed[2]) == value
        kinds.add(type(value))
    assert {bool, str, float} <= kinds


def test_the_rule_of_the_releases_selects_what_was_planted(truth):
    planted = truth.insertions
    chosen = set(planted.pid[planted.satisfies_bwm_rule.astype(bool)])
    assert set(views.bwm_candidates().to_arrays("pid")) == chosen
    assert 0 < len(chosen) < len(planted)


def test_mice_have_the_public_facts(truth):
    found = rows.frame(subject.Subject()).set_index("subject")
    assert len(found) == len(truth.subjects)
    for row in truth.subjects.to_dict("records"):
        one = found.loc[row["nickname"]]
        for name in ("lab", "sex", "strain", "line", "species"):
            assert none(one[name]) == none(row[name]), name
        for name in ("birth_date", "death_date"):
            told = none(one[name])
            assert (told and str(rows.as_date(told))) == none(row[name]), name


def test_sessions_have_their_quality_and_project(truth):
    found = rows.frame(session.Session()).set_index("eid")
    for row in truth.sessions.itertuples():
        assert found.session_qc[row.eid] == row.qc
        assert row.project in found.projects[row.eid].split(",")
