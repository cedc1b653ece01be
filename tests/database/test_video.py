"""What the cameras saw, stored to the bit, with the files that it was read from."""

import numpy as np
import pandas as pd
import pytest

from populate.workers import worker
from schemas import rows, session, video
from schemas.errors import InconsistentData
from schemas.sources import data
from schemas.sources.records import TRACKERS
from tests.support import prepared
from tests.support.prepared import EID, same

LEFT = {"eid": EID, "camera": "left"}
N = 100_000  # more than a row group of the stored object
RNG = np.random.default_rng(0)
TIME = np.cumsum(RNG.exponential(1 / 60, N))


def add_video(**kinds):
    """List for the left camera one file of each kind, named by its tracker where it has one."""
    prepared.add_session()
    prepared.add_file("frame_times", "alf/_ibl_leftCamera.times.npy", camera="left")
    for kind, name in kinds.items():
        tracker = {"tracker": name} if kind == "pose" else {}
        prepared.add_file(kind, f"alf/leftCamera.{name}", camera="left", **tracker)


def populate(*tables):
    """Make everything; return the failures as text."""
    return [error for outcome in worker.run(list(tables)) for _, error in outcome.failed]


def frames(columns, **facts):
    """Frames with float64 columns, a NaN in each."""
    values = RNG.normal(size=(N, len(columns)))
    values[np.arange(len(columns)), np.arange(len(columns))] = np.nan
    return data.Frames(TIME, pd.DataFrame(values, columns=columns), n_dropped=3, **facts)


def stored(table, field, key):
    return (table & key).fetch1(field).read()


def holds(found, expected):
    """Whether a stored object has the time and the columns of frames, to the bit."""
    assert list(found) == ["time", *expected.frame.columns]
    assert same(found["time"], expected.time)
    return all(same(found[name], expected.frame[name]) for name in expected.frame)


POINTS = ["nose_tip", "pupil_top_r", "paw_l"]
COLUMNS = [f"{point}_{what}" for point in POINTS for what in ("x", "y", "likelihood")]


def test_frame_times_are_stored_to_the_bit(database):
    add_video()
    prepared.use(prepared.Prepared(frame_times=data.Times(TIME)))
    assert populate(video.FrameTimes) == []
    row = (video.FrameTimes & LEFT).fetch1()
    assert (row["n_frame_times"], row["first_frame"], row["last_frame"]) == (N, TIME[0], TIME[-1])
    assert same(row["frame_times"].read()["time"], TIME)
    path = "alf/_ibl_leftCamera.times.npy"
    assert prepared.read(video.FrameTimes) == {path: ("", prepared.md5(path), len(path))}


def test_no_frames_and_no_licks_are_rows_without_times(database):
    add_video()
    prepared.add_file("licks", "alf/licks.times.npy")
    none = np.empty(0)
    prepared.use(prepared.Prepared(frame_times=data.Times(none), licks=data.Times(none)))
    assert populate(video.FrameTimes, video.Licks) == []
    row = (video.FrameTimes & LEFT).fetch1()
    assert (row["n_frame_times"], row["first_frame"], row["last_frame"]) == (0, None, None)
    row = (video.Licks & {"eid": EID}).fetch1()
    assert (row["n_licks"], row["first_lick"], row["last_lick"]) == (0, None, None)
    assert same(row["licks"].read()["time"], none)


def test_poses_of_two_trackers_stand_side_by_side(database):
    prepared.add_session()
    times = "alf/_ibl_leftCamera.times.npy"
    prepared.add_file("frame_times", times, camera="left")
    poses = {}
    for tracker in TRACKERS:
        path = f"alf/_ibl_leftCamera.{tracker}.pqt"
        prepared.add_file("pose", path, camera="left", tracker=tracker)
        poses[path] = frames(COLUMNS)

    def answer(datasets):
        (own,) = (d for d in datasets if d.kind == "pose")
        assert {(d.camera, d.tracker) for d in datasets} == {("left", own.tracker), ("left", None)}
        return poses[own.path]

    prepared.use(prepared.Prepared(pose=answer))
    assert populate(video.Pose) == []
    for tracker in TRACKERS:
        key, path = {**LEFT, "tracker": tracker}, f"alf/_ibl_leftCamera.{tracker}.pqt"
        assert holds(stored(video.Pose, "pose", key), poses[path])
        row = (video.Pose & key).fetch1()
        assert (row["n_pose_frames"], row["n_pose_dropped"]) == (N, 3)
        assert set((video.Pose.Point & key).to_arrays("pose_point")) == set(POINTS)
        assert set(prepared.read(video.Pose, tracker=tracker)) == {path, times}


def test_the_pupil_is_stored_as_far_as_released(database):
    add_video(pupil="features.pqt")
    pupil = frames(["diameter_raw"])
    prepared.use(prepared.Prepared(pupil=pupil))
    assert populate(video.Pupil) == []
    row = (video.Pupil & LEFT).fetch1()
    assert (row["n_pupil_frames"], row["n_pupil_dropped"]) == (N, 3)
    assert holds(row["pupil"].read(), pupil)


@pytest.mark.parametrize("region", [(10, 20, 300, 40), None])
def test_the_motion_energy_is_stored_with_its_region(database, region):
    add_video(motion_energy="ROIMotionEnergy.npy")
    energy = frames(["energy"], region=region)
    prepared.use(prepared.Prepared(motion_energy=energy))
    assert populate(video.MotionEnergy) == []
    row = (video.MotionEnergy & LEFT).fetch1()
    names = ("region_x", "region_y", "region_width", "region_height")
    assert tuple(row[name] for name in names) == (region or (None,) * 4)
    assert (row["n_energy_frames"], row["n_energy_dropped"]) == (N, 3)
    assert holds(row["motion_energy"].read(), energy)


def test_licks_are_stored_to_the_bit(database):
    prepared.add_session()
    prepared.add_file("licks", "alf/licks.times.npy")
    prepared.use(prepared.Prepared(licks=data.Times(TIME)))
    assert populate(video.Licks) == []
    row = (video.Licks & {"eid": EID}).fetch1()
    assert (row["n_licks"], row["first_lick"], row["last_lick"]) == (N, TIME[0], TIME[-1])
    assert same(row["licks"].read()["time"], TIME)


def test_a_file_that_was_not_needed_is_a_source_without_hash(database):
    add_video(pupil="features.pqt")
    prepared.use(prepared.Prepared(pupil=frames(["diameter_raw"]), unread=["times.npy"]))
    assert populate(video.Pupil) == []
    found = prepared.read(video.Pupil)
    path = "alf/leftCamera.features.pqt"
    assert found == {
        "alf/_ibl_leftCamera.times.npy": ("", None, None),
        path: ("", prepared.md5(path), len(path)),
    }


def test_cameras_and_trackers_that_are_not_listed_are_absent(database):
    add_video(pose="dlc")
    prepared.add_session(prepared.OTHER)
    state = {name: database.status()[f"video.{name}"] for name in ("FrameTimes", "Pose", "Licks")}
    assert (state["FrameTimes"].pending, state["FrameTimes"].absent) == (1, 2 * 3 - 1)
    assert (state["Pose"].pending, state["Pose"].absent) == (1, 2 * 3 * 2 - 1)
    assert (state["Licks"].pending, state["Licks"].absent) == (0, 2)
    assert video.Pose().key_source.to_arrays("tracker").tolist() == ["dlc"]


def test_the_last_revision_that_is_listed_is_read(database):
    add_video()
    newest = "alf/#2025-01-01#/_ibl_leftCamera.times.npy"
    prepared.add_file("frame_times", "alf/#2024-01-01#/_ibl_leftCamera.times.npy", camera="left")
    prepared.add_file("frame_times", newest, camera="left", listed=False)
    source = prepared.use(prepared.Prepared(frame_times=data.Times(TIME)))
    assert populate(video.FrameTimes) == []
    assert source.paths("frame_times") == [["alf/#2024-01-01#/_ibl_leftCamera.times.npy"]]
    (read,) = prepared.read(video.FrameTimes).values()
    assert read[0] == "2024-01-01"


def test_files_of_the_other_camera_are_not_offered(database):
    add_video(pupil="features.pqt")
    prepared.add_file("frame_times", "alf/_ibl_rightCamera.times.npy", camera="right")
    source = prepared.use(prepared.Prepared(pupil=frames(["diameter_raw"])))
    assert populate(video.Pupil) == []
    ((_, datasets),) = source.calls
    assert {d.camera for d in datasets} == {"left"}
    assert len(datasets) == 2


def test_a_load_that_fails_leaves_nothing_and_is_reported(database):
    add_video(pose="dlc", pupil="features.pqt")
    fault = InconsistentData("12 frames, but 10 times.", "leftCamera")
    prepared.use(prepared.Prepared(pose=fault, pupil=frames(["diameter_raw"])))
    (error,) = populate(video.Pose, video.Pupil)
    assert error == "InconsistentData: leftCamera: 12 frames, but 10 times."
    for table in (video.Pose, video.Pose.Point, video.Pose.Source):
        assert len(table()) == 0
    assert len(video.Pupil()) == 1
    assert database.status()["video.Pose"].failed == 1


def test_what_is_stored_says_which_files_are_on_offer(database):
    """Stale rows are told by comparing a row's sources with what `listed` has for its key."""
    add_video(pose="dlc", pupil="features.pqt", motion_energy="ROIMotionEnergy.npy")
    answers = {name: frames(["energy"]) for name in ("pose", "pupil", "motion_energy")}
    prepared.use(prepared.Prepared(frame_times=data.Times(TIME), **answers))
    tables = (video.FrameTimes, video.Pose, video.Pupil, video.MotionEnergy)
    assert populate(*tables) == []
    for table in tables:
        names = [*table.primary_key, "dataset_path"]
        offered = rows.frame(table().listed & table.proj())[names].sort_values(names)
        read = rows.frame(table.Source())[names].sort_values(names)
        assert len(read)
        pd.testing.assert_frame_equal(offered.reset_index(drop=True), read.reset_index(drop=True))
    assert len(session.Dataset()) == 4
