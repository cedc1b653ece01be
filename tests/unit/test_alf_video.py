"""Hand-made files of cameras: times, pose, pupil, motion energy, licks."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources import alf
from tests.support.alf import EID, Watched, read_paths, write

NAN = float("nan")
TIMES = "alf/_ibl_leftCamera.times.npy"
POSE = "alf/_ibl_leftCamera.dlc.pqt"
PUPIL = "alf/_ibl_leftCamera.features.pqt"
ENERGY = "alf/leftCamera.ROIMotionEnergy.npy"
REGION = "alf/leftROIMotionEnergy.position.npy"
LICKS = "alf/licks.times.npy"

POINTS = {
    "nose_tip_x": np.array([1.5, 2.5, NAN]),
    "nose_tip_y": np.array([10.5, 20.5, NAN]),
    "nose_tip_likelihood": np.array([0.9, 0.99, 0.1]),
    "tongue_end_l_x": np.array([7.0, 8.0, 9.0]),
    "tongue_end_l_y": np.array([70.0, 80.0, 90.0]),
    "tongue_end_l_likelihood": np.array([0.0, 0.5, 1.0]),
}
DIAMETERS = {
    "pupilDiameter_raw": np.array([11.0, NAN, 13.0]),
    "pupilDiameter_smooth": np.array([11.5, 12.5, 13.5]),
}
# What is measured on the frames, as a reader and the file that has one row a frame.
MEASURED = {
    "pose": (alf.video.read_pose, POSE, lambda n: {name: np.zeros(n) for name in POINTS}),
    "pupil": (alf.video.read_pupil, PUPIL, lambda n: {name: np.zeros(n) for name in DIAMETERS}),
    "motion_energy": (alf.video.read_motion_energy, ENERGY, np.zeros),
}
measured = pytest.mark.parametrize(("read", "path", "make"), MEASURED.values(), ids=MEASURED)


# --- times --------------------------------------------------------------------------------------


def test_times_of_frames_are_read_bit_by_bit(tmp_path):
    times = np.array([0.1, 0.1, 0.30000000000000004])
    read = alf.video.read_frame_times(write(tmp_path, {TIMES: times}))
    assert read.time.tobytes() == times.tobytes()
    assert read_paths(read) == [TIMES]


def test_licks_are_read_bit_by_bit(tmp_path):
    times = np.array([0.1, 0.30000000000000004, 9.0])
    read = alf.behavior.read_licks(write(tmp_path, {LICKS: times}))
    assert read.time.tobytes() == times.tobytes()
    assert read_paths(read) == [LICKS]


@pytest.mark.parametrize(
    ("read", "path"),
    [(alf.video.read_frame_times, TIMES), (alf.behavior.read_licks, LICKS)],
    ids=["frame_times", "licks"],
)
@pytest.mark.parametrize(
    ("times", "text"),
    [
        ([0.0, 2.0, 1.0], "times in row 2 is 1.0, less than 2.0 before it"),
        ([0.0, NAN, 1.0], "times in row 1 is nan"),
        ([0.0, np.inf], "times in row 1 is inf"),
        ([-1.0, 0.0], "times in row 0 is -1.0"),
        ([[0.0, 1.0], [1.0, 2.0]], r"An array of \(2, 2\) instead of n\."),
        (["a", "b"], "times is not numeric"),
    ],
)
def test_times_that_are_none_are_refused(tmp_path, read, path, times, text):
    with pytest.raises(InconsistentData, match=text) as caught:
        read(write(tmp_path, {path: times}))
    assert path.rpartition("/")[2] in str(caught.value)
    assert caught.value.remedy


def test_there_may_be_no_lick_and_no_frame(tmp_path):
    assert alf.behavior.read_licks(write(tmp_path, {LICKS: np.zeros(0)})).time.shape == (0,)
    files = write(tmp_path, {TIMES: [1.0, 2.0], ENERGY: np.zeros(0)})
    frames = alf.video.read_motion_energy(files)
    assert (len(frames.time), len(frames.frame), frames.n_dropped) == (0, 0, 2)


@pytest.mark.parametrize("read", [alf.video.read_frame_times, alf.behavior.read_licks])
def test_times_that_are_not_listed_are_missing(tmp_path, read):
    with pytest.raises(MissingDataset, match=f"session {EID}, alf"):
        read(write(tmp_path, {REGION: [0, 0, 1, 1]}))


# --- frames and their times ---------------------------------------------------------------------


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)
@given(
    times=st.lists(st.floats(0, 5000), max_size=8).map(sorted),
    n=st.integers(0, 8),
    what=st.sampled_from(sorted(MEASURED)),
)
def test_the_last_frame_has_the_last_time_and_no_frame_is_without(tmp_path_factory, times, n, what):
    read, path, make = MEASURED[what]
    files = write(tmp_path_factory.mktemp("camera"), {TIMES: np.array(times, float), path: make(n)})
    if n > len(times):
        with pytest.raises(InconsistentData, match=f"{n} frames, and only {len(times)} times"):
            read(files)
        return
    frames = read(files)
    assert len(frames.time) == len(frames.frame) == n
    assert list(times[: frames.n_dropped]) + frames.time.tolist() == times


@measured
def test_too_few_times_are_refused_with_both_lengths_and_a_remedy(tmp_path, read, path, make):
    with pytest.raises(InconsistentData) as caught:
        read(write(tmp_path, {TIMES: [1.0, 2.0], path: make(3)}))
    text = str(caught.value)
    assert "3 frames, and only 2 times" in text
    assert TIMES in text
    assert path in text
    assert "download both again" in text
    assert "leave the camera out" in text


@measured
def test_bad_times_are_refused_where_they_are_used(tmp_path, read, path, make):
    with pytest.raises(InconsistentData, match="times in row 0 is nan"):
        read(write(tmp_path, {TIMES: [NAN, 2.0, 3.0], path: make(2)}))


@measured
def test_times_of_the_same_camera_are_needed(tmp_path, read, path, make):
    files = write(tmp_path, {path: make(3)})
    with pytest.raises(MissingDataset, match=r"_ibl_leftCamera\.times\.npy is not among"):
        read(files)
    files |= write(tmp_path, {"alf/_ibl_rightCamera.times.npy": np.arange(3.0)})
    with pytest.raises(ValueError, match=r"more than one camera: \['left', 'right'\]"):
        read(files)


@measured
def test_what_is_measured_is_needed(tmp_path, read, path, make):
    with pytest.raises(MissingDataset, match="is not among its datasets"):
        read(write(tmp_path, {TIMES: [1.0]}))


@measured
def test_two_revisions_of_one_file_are_refused(tmp_path, read, path, make):
    folder, _, name = path.rpartition("/")
    with pytest.raises(InconsistentData, match="same data twice"):
        read(write(tmp_path, {TIMES: [1.0], path: make(1), f"{folder}/#2#/{name}": make(1)}))


@measured
def test_a_cut_file_is_damaged(tmp_path, read, path, make):
    files = write(tmp_path, {TIMES: [1.0, 2.0], path: make(2)})
    content = (tmp_path / path).read_bytes()
    (tmp_path / path).write_bytes(content[:-9])
    with pytest.raises(DamagedFile, match="Not a readable"):
        read(files)


@measured
def test_only_the_file_and_its_times_are_asked_for(tmp_path, read, path, make):
    contents = {p: m(2) for _, p, m in MEASURED.values()} | {path: make(2)}
    files = Watched(write(tmp_path, {TIMES: [1.0, 2.0], LICKS: [5.0], **contents}))
    frames = read(files)
    assert sorted(files.asked) == sorted([TIMES, path])
    assert read_paths(frames) == [path, TIMES]
    assert {f.path for f in frames.files} == {TIMES, LICKS, *contents}


# --- what is measured on frames -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("tracker", ["dlc", "lightningPose"])
def test_the_pose_is_read_as_it_was_released(tmp_path, tracker, dtype):
    released = pd.DataFrame(POINTS).astype(dtype)
    path = f"alf/_ibl_leftCamera.{tracker}.pqt"
    frames = alf.video.read_pose(write(tmp_path, {TIMES: [1.0, 2.0, 3.0, 4.0], path: released}))
    pd.testing.assert_frame_equal(frames.frame, released)
    assert frames.time.tolist() == [2.0, 3.0, 4.0]
    assert (frames.n_dropped, frames.region) == (1, None)


def test_points_are_those_of_the_table(tmp_path):
    table = {
        "tail_start_likelihood": [0.5],
        "scorer": ["somebody"],
        "tail_start_x_ens_median": [3.0],
        "tail_start_y": [2.0],
        "tail_start_x": [1],
    }
    frames = alf.video.read_pose(write(tmp_path, {TIMES: [1.0], POSE: table}))
    assert frames.frame.to_dict("records") == [
        {"tail_start_x": 1.0, "tail_start_y": 2.0, "tail_start_likelihood": 0.5}
    ]
    assert frames.frame["tail_start_x"].dtype == np.float64


def without(table, *names):
    return {name: values for name, values in table.items() if name not in names}


@pytest.mark.parametrize(
    ("table", "text"),
    [
        (without(POINTS, "nose_tip_likelihood"), "lacks the column nose_tip_likelihood"),
        (without(POINTS, "tongue_end_l_x"), "lacks the column tongue_end_l_x"),
        ({"frame": [0, 1, 2]}, "no column of a point"),
        (POINTS | {"nose_tip_x": ["a", "b", "c"]}, "nose_tip_x is not numeric"),
        (POINTS | {"nose_tip_y": [0.0, np.inf, 1.0]}, "nose_tip_y in row 1 is inf, not within"),
    ],
)
def test_a_pose_that_contradicts_itself_is_refused(tmp_path, table, text):
    with pytest.raises(InconsistentData, match=rf"leftCamera\.dlc\.pqt: .*{text}"):
        alf.video.read_pose(write(tmp_path, {TIMES: [1.0, 2.0, 3.0], POSE: table}))


def test_two_trackers_are_a_mistake_of_the_caller(tmp_path):
    other = "alf/_ibl_leftCamera.lightningPose.pqt"
    with pytest.raises(ValueError, match="more than one tracker"):
        alf.video.read_pose(write(tmp_path, {TIMES: [1.0, 2.0, 3.0], POSE: POINTS, other: POINTS}))


@pytest.mark.parametrize("released", [("raw", "smooth"), ("raw",), ("smooth",)])
def test_diameters_are_read_as_far_as_they_are_released(tmp_path, released):
    table = {f"pupilDiameter_{name}": DIAMETERS[f"pupilDiameter_{name}"] for name in released}
    frames = alf.video.read_pupil(write(tmp_path, {TIMES: [1.0, 2.0, 3.0], PUPIL: table}))
    assert list(frames.frame) == [f"diameter_{name}" for name in released]
    for name in released:
        expected = DIAMETERS[f"pupilDiameter_{name}"]
        np.testing.assert_array_equal(frames.frame[f"diameter_{name}"], expected)


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"other": [1.0]}, "no column of pupilDiameter_raw, pupilDiameter_smooth"),
        ({"pupilDiameter_raw": [-np.inf]}, "pupilDiameter_raw in row 0 is -inf"),
        ({"pupilDiameter_smooth": ["wide"]}, "pupilDiameter_smooth is not numeric"),
    ],
)
def test_a_pupil_that_contradicts_itself_is_refused(tmp_path, table, text):
    with pytest.raises(InconsistentData, match=rf"features\.pqt: .*{text}"):
        alf.video.read_pupil(write(tmp_path, {TIMES: [1.0], PUPIL: table}))


@pytest.mark.parametrize("dtype", ["<f8", "<f4", ">f8"])
def test_motion_energy_is_read_with_its_region(tmp_path, dtype):
    energy = np.array([0.5, NAN, 2.5], dtype=dtype)
    files = write(tmp_path, {TIMES: [1.0, 2.0, 3.0], ENERGY: energy, REGION: [10, 0, 300, 200]})
    frames = alf.video.read_motion_energy(files)
    np.testing.assert_array_equal(frames.frame["energy"], energy)
    assert frames.frame["energy"].dtype == energy.dtype.newbyteorder("=")
    assert frames.region == (10, 0, 300, 200)
    assert all(type(value) is int for value in frames.region)
    assert sorted(read_paths(frames)) == sorted([TIMES, ENERGY, REGION])


def test_motion_energy_may_lack_its_region(tmp_path):
    frames = alf.video.read_motion_energy(write(tmp_path, {TIMES: [1.0], ENERGY: [3.0]}))
    assert frames.region is None
    assert frames.frame["energy"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("contents", "text"),
    [
        ({REGION: [1, 2, 3]}, r"position\.npy: An array of \(3,\) instead of 4"),
        ({REGION: [[1, 2, 3, 4]]}, r"An array of \(1, 4\) instead of 4"),
        ({REGION: [0.5, 2, 3, 4]}, "position in row 0 is 0.5, not a whole number"),
        ({REGION: [NAN, 2, 3, 4]}, "position in row 0 is nan"),
        ({REGION: [-1, 2, 3, 4]}, "position in row 0 is -1"),
        ({REGION: [0, 0, 3, 0]}, "position in row 3 is 0, not x, y, width, height"),
        ({ENERGY: [[1.0, 2.0]]}, r"ROIMotionEnergy\.npy: An array of \(1, 2\) instead of n"),
        ({ENERGY: [np.inf]}, "ROIMotionEnergy in row 0 is inf"),
        ({ENERGY: ["much"]}, "ROIMotionEnergy is not numeric"),
    ],
)
def test_motion_energy_that_contradicts_itself_is_refused(tmp_path, contents, text):
    with pytest.raises(InconsistentData, match=text) as caught:
        alf.video.read_motion_energy(write(tmp_path, {TIMES: [1.0], ENERGY: [3.0]} | contents))
    assert caught.value.remedy
