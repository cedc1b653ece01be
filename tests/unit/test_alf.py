"""Hand-made files of a few rows, and what is read of them."""

import datetime
import decimal
import hashlib
import io
import json
import re
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import rows
from schemas.errors import DamagedFile, InconsistentData, MissingDataset, SourceError
from schemas.sources import alf
from schemas.sources.alf import reading
from tests.support.alf import EID, Watched, read_paths, write

SORT = "alf/probe00/pykilosort"
NAN = float("nan")
UUIDS = [str(uuid.UUID(int=k)) for k in range(3)]
REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "ONE"
on_any_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)


# --- what a path says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("alf/_ibl_trials.table.pqt", "trials"),
        ("alf/#2024-07-10#/_ibl_trials.table.pqt", "trials"),
        ("alf/task_00/_ibl_trials.table.pqt", "trials"),
        ("alf/_ibl_trials.intervals_bpod.npy", "trials"),
        ("alf/_ibl_trials.goCueTrigger_times.npy", "trials"),
        ("alf/_ibl_trials.itiDuration.npy", "trials"),
        ("alf/_ibl_trials.laserStimulation.npy", "trials"),
        ("alf/_ibl_trials.table.npy", "other"),
        ("raw_behavior_data/_ibl_trials.table.pqt", "other"),
        ("alf/_ibl_wheel.position.npy", "wheel"),
        ("alf/task_01/_ibl_wheel.timestamps.npy", "wheel"),
        ("alf/_ibl_wheelMoves.intervals.npy", "other"),
        ("alf/probe00/electrodeSites.mlapdv.npy", "channels"),
        ("alf/probe00/pykilosort/channels.rawInd.npy", "channels"),
        ("alf/probe00/pykilosort/clusters.metrics.pqt", "clusters"),
        ("alf/probe00/pykilosort/clusters.waveforms.npy", "waveforms"),
        ("alf/probe00/clusters.waveformsChannels.npy", "waveforms"),
        ("alf/probe00/pykilosort/templates.waveforms.npy", "waveforms"),
        ("alf/probe00/pykilosort/templates.amps.npy", "other"),
        ("alf/probe00/pykilosort/waveforms.templates.npy", "other"),
        ("alf/probe00/pykilosort/spikes.times.npy", "spikes"),
        ("alf/probe00/pykilosort/spikes.samples.npy", "other"),
        ("alf/probe00/pykilosort/passingSpikes.table.pqt", "other"),
        ("spike_sorters/ks2_matlab/probe00/spikes.times.npy", "other"),
        ("alf/_ibl_leftCamera.times.npy", "frame_times"),
        ("alf/task_00/_ibl_bodyCamera.times.npy", "frame_times"),
        ("alf/_ibl_topCamera.times.npy", "other"),
        ("raw_video_data/_ibl_leftCamera.times.npy", "other"),
        ("alf/_ibl_rightCamera.dlc.pqt", "pose"),
        ("alf/#2024-07-10#/_ibl_leftCamera.lightningPose.pqt", "pose"),
        ("alf/_ibl_leftCamera.sleap.pqt", "other"),
        ("alf/_ibl_leftCamera.features.pqt", "pupil"),
        ("alf/_ibl_bodyCamera.features.pqt", "other"),
        ("alf/bodyCamera.ROIMotionEnergy.npy", "motion_energy"),
        ("alf/leftROIMotionEnergy.position.npy", "motion_energy"),
        ("alf/leftCamera.ROIMotionEnergy.position.npy", "other"),
        ("alf/licks.times.npy", "licks"),
        ("alf/task_01/licks.times.npy", "licks"),
        ("alf/lightningaction/licks.times.npy", "other"),
        ("alf/_ibl_passivePeriods.intervalsTable.csv", "passive_periods"),
        ("alf/_ibl_passiveRFM.times.npy", "receptive_field"),
        ("raw_passive_data/_iblrig_RFMapStim.raw.bin", "receptive_field"),
        ("alf/_iblrig_RFMapStim.raw.bin", "other"),
        ("alf/_ibl_passiveStims.table.csv", "passive_stimuli"),
        ("alf/task_02/_ibl_passiveGabor.table.csv", "passive_gabors"),
        ("raw_ephys_data/probe00/_iblqc_ephysTimeRmsAP.rms.npy", "rms"),
        ("alf/probe00/_iblqc_ephysTimeRmsLF.timestamps.npy", "rms"),
        ("alf/probe00/pykilosort/_iblqc_ephysTimeRmsLF.rms.npy", "other"),
        ("raw_ephys_data/_iblqc_ephysTimeRmsAP.rms.npy", "other"),
        ("raw_ephys_data/probe01/_iblqc_ephysSpectralDensityAP.power.npy", "spectral_density"),
        ("alf/probe01/_iblqc_ephysSpectralDensityLF.freqs.npy", "spectral_density"),
        ("raw_ephys_data/probe01/_iblqc_ephysChannels.apRMS.npy", "other"),
        ("raw_ephys_data/probe01/_iblqc_ephysOther.timestamps.npy", "other"),
        ("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.cbin", "raw_ephys"),
        ("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.lf.ch", "raw_ephys"),
        ("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.ap.meta", "raw_ephys"),
        ("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec.lf.bin", "raw_ephys"),
        ("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.sync.npy", "raw_ephys"),
        ("raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.timestamps.npy", "raw_clock"),
        ("raw_ephys_data/probe00/_spikeglx_sync.times.npy", "other"),
        ("raw_ephys_data/_spikeglx_ephysData_g0_t0.nidq.cbin", "other"),
        ("raw_video_data/_iblrig_bodyCamera.raw.mp4", "raw_video"),
        ("raw_video_data/_iblrig_bodyCamera.raw.avi", "other"),
        ("notes.txt", "other"),
    ],
)
def test_a_path_tells_the_kind(path, kind):
    assert alf.classify(path) == kind


@pytest.mark.parametrize(
    ("path", "collection", "revision", "name", "probe_name", "sorter"),
    [
        ("alf/x.y.npy", "alf", "", "x.y.npy", None, None),
        ("x.y.npy", "", "", "x.y.npy", None, None),
        ("#2020-01-01#/x.y.npy", "", "2020-01-01", "x.y.npy", None, None),
        ("alf/probe00/spikes.times.npy", "alf/probe00", "", "spikes.times.npy", "probe00", ""),
        (
            "alf/probe00a/pykilosort/#2024-05-06#/spikes.amps.npy",
            "alf/probe00a/pykilosort",
            "2024-05-06",
            "spikes.amps.npy",
            "probe00a",
            "pykilosort",
        ),
        (
            "alf/probe01/electrodeSites.mlapdv.npy",
            "alf/probe01",
            "",
            "electrodeSites.mlapdv.npy",
            "probe01",
            None,
        ),
        ("alf/probes.trajectory.json", "alf", "", "probes.trajectory.json", None, None),
    ],
)
def test_a_path_is_taken_apart(path, collection, revision, name, probe_name, sorter):
    record = alf.dataset_record(EID, path, file_size=3)
    assert (record.collection, record.revision, record.name) == (collection, revision, name)
    assert (record.probe_name, record.sorter, record.file_size) == (probe_name, sorter, 3)
    assert (record.eid, record.path) == (EID, path)


@pytest.mark.parametrize(
    ("path", "probe_name", "sorter", "camera", "tracker", "band"),
    [
        ("alf/_ibl_leftCamera.times.npy", None, None, "left", None, None),
        ("alf/_ibl_bodyCamera.dlc.pqt", None, None, "body", "dlc", None),
        ("alf/_ibl_rightCamera.lightningPose.pqt", None, None, "right", "lightningPose", None),
        ("alf/_ibl_rightCamera.features.pqt", None, None, "right", None, None),
        ("alf/bodyCamera.ROIMotionEnergy.npy", None, None, "body", None, None),
        ("alf/bodyROIMotionEnergy.position.npy", None, None, "body", None, None),
        ("raw_video_data/_iblrig_leftCamera.raw.mp4", None, None, "left", None, None),
        ("raw_ephys_data/probe00a/_g0_t0.imec0.ap.cbin", "probe00a", None, None, None, "ap"),
        ("raw_ephys_data/probe00/#2020-01-01#/x.lf.meta", "probe00", None, None, None, "lf"),
        ("raw_ephys_data/probe00/_g0_t0.imec0.sync.npy", "probe00", None, None, None, None),
        ("raw_ephys_data/probe00/_iblqc_x.y.npy", "probe00", None, None, None, None),
        ("raw_ephys_data/_spikeglx_g0_t0.nidq.ap.cbin", None, None, None, None, None),
        ("raw_ephys_data/extra/x.ap.cbin", None, None, None, None, None),
        ("old_alf/probe00/spikes.times.npy", None, None, None, None, None),
        (
            "raw_ephys_data/probe01/_iblqc_ephysTimeRmsAP.rms.npy",
            "probe01",
            None,
            None,
            None,
            "ap",
        ),
        ("alf/probe01/_iblqc_ephysSpectralDensityLF.freqs.npy", "probe01", None, None, None, "lf"),
        ("alf/licks.times.npy", None, None, None, None, None),
    ],
)
def test_a_path_tells_probe_camera_tracker_and_band(
    path, probe_name, sorter, camera, tracker, band
):
    record = alf.dataset_record(EID, path)
    assert (record.probe_name, record.sorter) == (probe_name, sorter)
    assert (record.camera, record.tracker, record.band) == (camera, tracker, band)


@given(st.text(max_size=12), st.text(max_size=30))
def test_every_path_is_of_a_kind_that_is_known(folder, name):
    assert alf.classify(f"{folder}/{name}") in alf.KINDS


part = st.text("abcdef_-019", min_size=1, max_size=8)


@given(st.lists(part, max_size=3), st.none() | part, part)
def test_the_parts_of_a_path_make_the_path(folders, revision, name):
    path = "/".join([*folders, *([f"#{revision}#"] if revision else []), name])
    record = alf.dataset_record(EID, path)
    assert record.collection == "/".join(folders)
    assert (record.revision, record.name) == (revision or "", name)


# --- sorts --------------------------------------------------------------------------------------


def offered(*paths, flagged=None):
    records = [
        alf.dataset_record(EID, path, is_default=None if flagged is None else path in flagged)
        for path in paths
    ]
    return alf.sortings(records)


def test_one_sort_of_each_probe_is_the_default():
    found = offered(
        "alf/probe00/spikes.times.npy",
        "alf/probe00/pykilosort/spikes.times.npy",
        "alf/probe00/pykilosort/#2024-05-06#/spikes.times.npy",
        "alf/probe01/spikes.times.npy",
        "alf/probe01/spikes.amps.npy",
    )
    assert [(s.probe_name, s.sorter, s.revision, s.is_default) for s in found] == [
        ("probe00", "", "", False),
        ("probe00", "pykilosort", "", False),
        ("probe00", "pykilosort", "2024-05-06", True),
        ("probe01", "", "", True),
    ]


def test_the_flagged_revision_is_the_default_even_if_it_is_not_the_last():
    old, new = (f"{SORT}/#{r}#/spikes.times.npy" for r in ("2024-03-22", "2024-05-06"))
    found = offered(old, new, flagged=[old])
    assert [(s.revision, s.is_default) for s in found] == [
        ("2024-03-22", True),
        ("2024-05-06", False),
    ]


@pytest.mark.parametrize(
    ("sorters", "first"),
    [
        (("", "iblsorter", "pykilosort"), "iblsorter"),
        (("", "pykilosort", "zz"), "pykilosort"),
        (("", "aa"), ""),
        (("kilosort4", "ks2"), "ks2"),
    ],
)
def test_sorters_are_preferred_in_a_fixed_order(sorters, first):
    paths = ["/".join(filter(None, ("alf/probe00", s, "spikes.times.npy"))) for s in sorters]
    assert [s.sorter for s in offered(*paths) if s.is_default] == [first]


def test_no_spike_times_no_sort():
    assert offered(f"{SORT}/spikes.amps.npy", "alf/_ibl_wheel.position.npy") == ()


@given(
    st.sets(
        st.tuples(
            st.sampled_from(["probe00", "probe01a"]),
            st.sampled_from(["", "pykilosort", "iblsorter", "other"]),
            st.sampled_from(["", "2024-03-22", "2024-05-06"]),
        )
    ),
    st.randoms(use_true_random=False),
)
def test_exactly_one_sort_of_each_probe_is_the_default_in_any_order(sorts, random):
    paths = [
        "/".join(filter(None, ("alf", probe, sorter, rev and f"#{rev}#", "spikes.times.npy")))
        for probe, sorter, rev in sorts
    ]
    found = offered(*paths)
    random.shuffle(paths)
    assert offered(*paths) == found
    assert {(s.probe_name, s.sorter, s.revision) for s in found} == sorts
    for probe in {probe for probe, *_ in sorts}:
        assert sum(s.is_default for s in found if s.probe_name == probe) == 1


# --- trials -------------------------------------------------------------------------------------

TRIALS = {
    "intervals_0": [0.5, 6.0, 12.0],
    "intervals_1": [5.5, 11.5, 18.0],
    "stimOn_times": [1.0, NAN, 13.0],
    "goCue_times": [1.01, 7.01, NAN],
    "firstMovement_times": [1.2, 7.3, NAN],
    "response_times": [1.5, 8.0, 17.0],
    "feedback_times": [1.51, 8.01, 17.01],
    "choice": [1.0, -1.0, 0.0],
    "feedbackType": [1.0, -1.0, -1.0],
    "contrastLeft": [0.25, NAN, 0.0],
    "contrastRight": [NAN, 1.0, NAN],
    "rewardVolume": [3.0, 0.0, 0.0],
    "probabilityLeft": [0.5, 0.2, 0.8],
}
BESIDE = {
    "alf/_ibl_trials.goCueTrigger_times.npy": [1.0, 7.0, 13.0],
    "alf/_ibl_trials.stimOff_times.npy": [2.0, 9.0, NAN],
    "alf/_ibl_trials.stimOnTrigger_times.npy": [0.9, 6.9, 12.9],
    "alf/_ibl_trials.stimOffTrigger_times.npy": [1.9, 8.9, NAN],
    "alf/_ibl_trials.quiescencePeriod.npy": [0.4, 0.5, 0.6],
    "alf/_ibl_trials.included.npy": [True, False, True],
    "alf/_ibl_trials.repNum.npy": [1.0, NAN, 2.0],
    "alf/_ibl_trials.intervals_bpod.npy": [[-1.0, 3.0], [4.0, 9.0], [10.0, 16.0]],
}


def test_table_and_arrays_make_one_table_under_our_names(tmp_path):
    trials = alf.behavior.read_trials(
        write(tmp_path, {"alf/_ibl_trials.table.pqt": TRIALS, **BESIDE})
    )
    frame = trials.frame
    assert list(frame) == list(alf.TRIAL_COLUMNS.values())
    for theirs, ours in list(alf.TRIAL_COLUMNS.items())[:13]:
        np.testing.assert_array_equal(frame[ours].to_numpy(float, na_value=NAN), TRIALS[theirs])
    assert str(frame["choice"].dtype) == str(frame["rep_num"].dtype) == "Int64"
    assert frame["choice"].tolist() == [1, -1, 0]
    assert frame["rep_num"].isna().tolist() == [False, True, False]
    assert frame["trial_included"].dtype == bool
    assert frame["trial_included"].tolist() == [True, False, True]
    assert frame["bpod_start_time"].tolist() == [-1.0, 4.0, 10.0]
    assert frame["bpod_end_time"].tolist() == [3.0, 9.0, 16.0]
    assert frame["stim_off_time"].tolist()[:2] == [2.0, 9.0]
    assert trials.extra.shape == (3, 0)
    assert len(trials.files) == 9


def test_a_file_that_was_read_is_told_with_its_hash(tmp_path):
    path = "alf/#2024-07-10#/_ibl_trials.table.pqt"
    (read,) = alf.behavior.read_trials(write(tmp_path, {path: TRIALS})).files
    content = (tmp_path / path).read_bytes()
    assert (read.path, read.revision, read.file_size) == (path, "2024-07-10", len(content))
    assert read.md5 == hashlib.md5(content).hexdigest()


def test_columns_that_we_have_no_name_for_are_kept_as_they_are(tmp_path):
    table = TRIALS | {"phase": [1.0, 2.0, 3.0], "comment": ["a", None, "c"]}
    trials = alf.behavior.read_trials(write(tmp_path, {"alf/_ibl_trials.table.pqt": table}))
    assert list(trials.extra) == ["phase", "comment"]
    assert trials.extra["phase"].tolist() == [1.0, 2.0, 3.0]
    assert trials.extra["comment"].tolist()[::2] == ["a", "c"]


def test_arrays_alone_are_trials_too(tmp_path):
    arrays = {
        f"alf/_ibl_trials.{name}.npy": values
        for name, values in TRIALS.items()
        if not name.startswith("intervals")
    }
    arrays["alf/_ibl_trials.intervals.npy"] = np.c_[TRIALS["intervals_0"], TRIALS["intervals_1"]]
    alone = alf.behavior.read_trials(write(tmp_path / "a", arrays))
    table = alf.behavior.read_trials(write(tmp_path / "b", {"alf/_ibl_trials.table.pqt": TRIALS}))
    pd.testing.assert_frame_equal(alone.frame, table.frame)


def test_arrays_fill_what_a_short_table_lacks_and_are_not_read_otherwise(tmp_path):
    files = {
        "alf/_ibl_trials.table.pqt": {"choice": [1, -1], "stimOn_times": [1.0, 2.0]},
        "alf/_ibl_trials.intervals.npy": [[0.0, 3.0], [3.0, 6.0]],
        "alf/_ibl_trials.stimOn_times.npy": [9.0, 9.0],
    }
    trials = alf.behavior.read_trials(write(tmp_path, files))
    assert trials.frame["trial_end_time"].tolist() == [3.0, 6.0]
    assert trials.frame["stim_on_time"].tolist() == [1.0, 2.0]
    assert "go_cue_time" not in trials.frame
    assert read_paths(trials) == [TABLE, "alf/_ibl_trials.intervals.npy"]


def test_a_session_may_have_no_trial(tmp_path):
    empty = {name: np.zeros(0) for name in TRIALS}
    trials = alf.behavior.read_trials(write(tmp_path, {"alf/_ibl_trials.table.pqt": empty}))
    assert trials.frame.shape == (0, 13)


TABLE = "alf/_ibl_trials.table.pqt"


@pytest.mark.parametrize(
    ("contents", "names", "text"),
    [
        (
            {TABLE: TRIALS | {"choice": [1.0, 0.5, 0.0]}},
            TABLE,
            "choice in row 1 is 0.5, not one of -1, 0, 1",
        ),
        ({TABLE: TRIALS | {"choice": [1.0, np.inf, 0.0]}}, TABLE, "choice in row 1 is inf"),
        ({TABLE: TRIALS | {"choice": [1.0, 1e300, 0.0]}}, TABLE, r"choice in row 1 is 1e\+300"),
        ({TABLE: TRIALS | {"choice": ["left", "r", ""]}}, TABLE, "choice is not numeric"),
        ({TABLE: TRIALS | {"goCue_times": [1, -2, NAN]}}, TABLE, "goCue_times in row 1 is -2.0"),
        ({TABLE: TRIALS | {"intervals_0": [1, 2, np.inf]}}, TABLE, "intervals_0 in row 2 is inf"),
        (
            {TABLE: TRIALS, "alf/_ibl_trials.stimOff_times.npy": [1.0, 2.0]},
            "alf/_ibl_trials.stimOff_times.npy",
            r"2 rows, and 3 in .*_ibl_trials\.table\.pqt",
        ),
        (
            {TABLE: TRIALS, "alf/_ibl_trials.intervals_bpod.npy": [1.0, 2.0, 3.0]},
            "alf/_ibl_trials.intervals_bpod.npy",
            r"An array of \(3,\) instead of n x 2",
        ),
        (
            {TABLE: TRIALS, "alf/_ibl_trials.included.npy": [1.0, 2.0, 0.0]},
            "alf/_ibl_trials.included.npy",
            "included in row 1 is 2.0, not one of 0, 1",
        ),
        ({TABLE: TRIALS, "alf/task_00/_ibl_trials.table.pqt": TRIALS}, EID, "both have trials"),
        ({TABLE: TRIALS, "alf/#2#/_ibl_trials.table.pqt": TRIALS}, EID, "one revision"),
    ],
)
def test_trials_that_contradict_themselves_are_refused(tmp_path, contents, names, text):
    with pytest.raises(InconsistentData, match=text) as caught:
        alf.behavior.read_trials(write(tmp_path, contents))
    assert Path(names).name in str(caught.value)
    assert caught.value.remedy


def test_arrays_beside_the_table_are_no_trials_of_their_own(tmp_path):
    with pytest.raises(MissingDataset, match=r"_ibl_trials\.table\.pqt .* register the folder"):
        alf.behavior.read_trials(write(tmp_path, {"alf/_ibl_trials.included.npy": [True]}))


# --- wheel --------------------------------------------------------------------------------------

TIMES, POSITION = "alf/_ibl_wheel.timestamps.npy", "alf/_ibl_wheel.position.npy"


def test_the_wheel_is_read_bit_by_bit(tmp_path):
    time = np.array([0.1, 0.1, 0.30000000000000004])
    position = 2 * np.pi / 4096 * np.array([0.0, -1.0, 3.0])
    wheel = alf.behavior.read_wheel(write(tmp_path, {TIMES: time, POSITION: position}))
    assert wheel.time.tobytes() == time.tobytes()
    assert wheel.position.tobytes() == position.tobytes()
    assert wheel.unit == "rad"
    assert [f.path for f in wheel.files] == [TIMES, POSITION]


COUNTS = np.random.default_rng(5).choice([-1, 1], 400).cumsum() + 7


@pytest.mark.parametrize(("unit", "turn"), [("rad", 2 * np.pi), ("cm", 6.2 * np.pi), ("deg", 360)])
@pytest.mark.parametrize("edges", [1, 2, 4])
def test_positions_of_any_unit_are_stored_in_radians(tmp_path, unit, turn, edges):
    position = turn / (1024 * edges) * COUNTS
    files = write(tmp_path, {TIMES: np.arange(400.0), POSITION: position})
    wheel = alf.behavior.read_wheel(files)
    assert wheel.unit == unit
    np.testing.assert_allclose(wheel.position, 2 * np.pi / (1024 * edges) * COUNTS, rtol=1e-12)


@pytest.mark.parametrize(
    "position",
    [
        np.random.default_rng(6).normal(size=400).cumsum(),
        1e3 * 2 * np.pi / 4096 * COUNTS,
        1e-3 * 2 * np.pi / 4096 * COUNTS,
        0.05 * COUNTS,
    ],
    ids=["noise", "thousand times", "thousandth", "other step"],
)
def test_positions_whose_unit_cannot_be_inferred_are_refused(tmp_path, position):
    files = write(tmp_path, {TIMES: np.arange(400.0), POSITION: position})
    with pytest.raises(InconsistentData, match=r"wheel\.position\.npy.*unit .* cannot be inferred"):
        alf.behavior.read_wheel(files)


def test_column_vectors_are_vectors(tmp_path):
    wheel = alf.behavior.read_wheel(
        write(tmp_path, {TIMES: [[1.0], [2.0]], POSITION: [[0.0], [2 * np.pi / 1024]]})
    )
    assert wheel.time.tolist() == [1.0, 2.0]
    assert wheel.position.tolist() == [0.0, 2 * np.pi / 1024]


def test_times_between_two_points_are_interpolated(tmp_path):
    points = [[0, 10.0], [4, 14.0], [5, 20.0]]
    wheel = alf.behavior.read_wheel(write(tmp_path, {TIMES: points, POSITION: np.zeros(6)}))
    assert wheel.time.tolist() == [10.0, 11.0, 12.0, 13.0, 14.0, 20.0]


def test_a_wheel_may_never_have_been_turned(tmp_path):
    wheel = alf.behavior.read_wheel(write(tmp_path, {TIMES: np.zeros(0), POSITION: np.zeros(0)}))
    assert len(wheel.time) == len(wheel.position) == 0


@pytest.mark.parametrize(
    ("time", "position", "name", "text"),
    [
        ([0.0, 2.0, 1.0], [0, 0, 0], TIMES, "timestamps in row 2 is 1.0, less than 2.0 before it"),
        ([0.0, NAN, 1.0], [0, 0, 0], TIMES, "timestamps in row 1 is nan"),
        ([0.0, 1.0, NAN], [0, 0, 0], TIMES, "timestamps in row 2 is nan"),
        ([NAN], [0], TIMES, "timestamps in row 0 is nan"),
        ([-0.5, 1.0, 2.0], [0, 0, 0], TIMES, "timestamps in row 0 is -0.5"),
        ([0.0, 1.0, np.inf], [0, 0, 0], TIMES, "timestamps in row 2 is inf"),
        ([0.0, 1.0], [0, 0, 0], POSITION, r"3 rows, and 2 in .*timestamps"),
        ([0.0, 1.0], [0, NAN], POSITION, "position in row 1 is nan"),
        ([[0, 1.0], [2, 3.0]], [0, 0, 0, 0], TIMES, "do not cover samples 0 to 3"),
        ([[1, 1.0], [5, 3.0]], [0, 0, 0, 0], TIMES, "do not cover samples 0 to 3"),
        ([[0, 1.0], [5, 0.5]], [0, 0, 0, 0], TIMES, "timestamps in row 1 is 0.5"),
        ([[0, 1.0], [NAN, 2], [5, 3]], [0, 0, 0, 0], TIMES, "sample in row 1 is nan"),
        (["a", "b"], [0.0, 1.0], TIMES, "not numeric"),
    ],
)
def test_a_wheel_that_contradicts_itself_is_refused(tmp_path, time, position, name, text):
    files = write(tmp_path, {TIMES: time, POSITION: np.asarray(position, float)})
    with pytest.raises(InconsistentData, match=text) as caught:
        alf.behavior.read_wheel(files)
    assert str(files[alf.dataset_record(EID, name)]) in str(caught.value)
    assert caught.value.remedy in str(caught.value)


# --- sites --------------------------------------------------------------------------------------

LOCAL = [[43, 20], [11, 20], [59, 40], [27, 40]]
MLAPDV = [[-100, 50, -1000], [-101, 50, -990], [-102, 50, -980], [NAN, NAN, NAN]]
REGIONS = np.array([385, -385, 0, 997], dtype=np.int32)


def sites(collection=SORT, prefix="channels", **changed):
    contents = {
        "localCoordinates": np.array(LOCAL, dtype=np.int16),
        "mlapdv": np.array(MLAPDV),
        "brainLocationIds_ccf_2017": REGIONS,
        "rawInd": np.arange(4),
        "labels": np.array([0.0, 1.0, 2.0, 3.0]),
    } | changed
    return {
        f"{collection}/{prefix}.{name}.npy": values
        for name, values in contents.items()
        if values is not None
    }


def test_sites_have_place_and_region_without_side(tmp_path):
    channels = alf.ephys.read_channels(write(tmp_path, sites()))
    frame = channels.frame
    assert channels.level == "alf"
    assert frame["axial_um"].tolist() == [20.0, 20.0, 40.0, 40.0]
    assert frame["lateral_um"].tolist() == [43.0, 11.0, 59.0, 27.0]
    np.testing.assert_array_equal(frame[["x_um", "y_um", "z_um"]], MLAPDV)
    assert frame["region_id"].tolist() == [385, 385, 0, 997]
    assert str(frame["region_id"].dtype) == "Int64"
    assert frame["raw_index"].tolist() == [0, 1, 2, 3]
    assert frame["channel_label"].tolist() == [0, 1, 2, 3]
    assert len(channels.files) == 5


def test_sites_without_histology_have_no_level(tmp_path):
    files = write(tmp_path, sites(mlapdv=None, brainLocationIds_ccf_2017=None, labels=None))
    channels = alf.ephys.read_channels(files)
    assert channels.level == ""
    assert list(channels.frame) == ["lateral_um", "axial_um", "raw_index"]


def test_electrode_sites_override_channels_attribute_by_attribute(tmp_path):
    other = sites("alf/probe00", "electrodeSites", rawInd=None, labels=None, localCoordinates=None)
    other["alf/probe00/electrodeSites.brainLocationIds_ccf_2017.npy"] = [549, 549, 549, 549]
    channels = alf.ephys.read_channels(write(tmp_path, sites() | other))
    assert channels.frame["region_id"].tolist() == [549] * 4
    assert channels.frame["channel_label"].tolist() == [0, 1, 2, 3]
    paths = read_paths(channels)
    assert "alf/probe00/electrodeSites.mlapdv.npy" in paths
    assert f"{SORT}/channels.mlapdv.npy" not in paths


@pytest.mark.parametrize(
    ("sorters", "chosen"),
    [(("", "pykilosort"), "pykilosort"), (("pykilosort", "iblsorter"), "iblsorter")],
)
def test_channels_of_the_preferred_sort_are_read(tmp_path, sorters, chosen):
    contents = {}
    for k, sorter in enumerate(sorters):
        collection = "/".join(filter(None, ("alf/probe00", sorter)))
        contents |= sites(collection, rawInd=np.arange(4) + 10 * k)
    channels = alf.ephys.read_channels(write(tmp_path, contents))
    assert channels.frame["raw_index"][0] == 10 * sorters.index(chosen)
    assert {Path(path).parent.name for path in read_paths(channels)} == {chosen}


LOCATED = pd.DataFrame(
    {
        "axial_um": [40.0, 20.0, 20.0, 60.0],
        "lateral_um": [59.0, 11.0, 43.0, 11.0],
        "x_um": [3.0, 2.0, 1.0, 9.0],
        "y_um": [30.0, 20.0, 10.0, 90.0],
        "z_um": [-3.0, -2.0, -1.0, -9.0],
        "region_id": pd.array([-385, None, 997, 549], dtype="Int64"),
    }
)
BARE = {"mlapdv": None, "brainLocationIds_ccf_2017": None}


def test_sites_that_no_file_locates_are_located_by_their_position(tmp_path):
    channels = alf.ephys.read_channels(write(tmp_path, sites(**BARE)), LOCATED)
    assert channels.level == "resolved"
    assert channels.frame["x_um"].tolist()[:3] == [1.0, 2.0, 3.0]
    assert channels.frame["z_um"].tolist()[:3] == [-1.0, -2.0, -3.0]
    assert channels.frame["region_id"].tolist()[::2] == [997, 385]
    assert str(channels.frame["region_id"].dtype) == "Int64"
    # The site at 40 um, 27 um is not among those that are located, nor is the region of another.
    assert channels.frame[["x_um", "y_um", "z_um"]].isna().all(axis=1).tolist() == [0, 0, 0, 1]
    assert channels.frame["region_id"].isna().tolist() == [False, True, False, True]
    assert channels.frame["raw_index"].tolist() == [0, 1, 2, 3]


def test_units_get_the_located_site_of_their_peak(tmp_path):
    units = alf.ephys.read_clusters(write(tmp_path, clusters() | sites(**BARE)), LOCATED)
    assert units.frame["x_um"].tolist() == [3.0, 1.0, 1.0]
    assert units.frame["region_id"].tolist() == [385, 997, 997]


@given(order=st.permutations(range(4)), repeated=st.integers(0, 3))
@on_any_folder
def test_located_sites_are_found_in_any_order_and_more_than_once(tmp_path_factory, order, repeated):
    files = write(tmp_path_factory.mktemp("sites"), sites(**BARE))
    other = pd.concat([LOCATED.iloc[order], LOCATED.iloc[[repeated]]])
    found, expected = (alf.ephys.read_channels(files, located) for located in (other, LOCATED))
    pd.testing.assert_frame_equal(found.frame, expected.frame)


@pytest.mark.parametrize("kept", [[0, 1], [0], [1, 2], [2]])
def test_a_site_that_is_not_located_leaves_the_others_in_their_place(tmp_path, kept):
    located = LOCATED.iloc[kept]
    frame = alf.ephys.read_channels(write(tmp_path, sites(**BARE)), located).frame
    places = {(row.lateral_um, row.axial_um): row.x_um for row in located.itertuples()}
    np.testing.assert_array_equal(frame["x_um"], [places.get(tuple(s), NAN) for s in LOCAL])


def test_files_that_locate_sites_overrule_the_metadata(tmp_path):
    for given_away in ({}, {"brainLocationIds_ccf_2017": None}, {"mlapdv": None}):
        files = write(tmp_path / str(len(given_away)), sites(**given_away))
        channels = alf.ephys.read_channels(files, LOCATED)
        assert channels.level == "alf"
        pd.testing.assert_frame_equal(channels.frame, alf.ephys.read_channels(files).frame)


@pytest.mark.parametrize("rows", [[], [3]])
def test_sites_elsewhere_locate_nothing(tmp_path, rows):
    channels = alf.ephys.read_channels(write(tmp_path, sites(**BARE)), LOCATED.iloc[rows])
    assert channels.level == ""
    assert "region_id" not in channels.frame


def test_a_site_in_two_places_is_refused(tmp_path):
    twice = pd.concat([LOCATED, LOCATED.iloc[[1]].assign(x_um=7.0)])
    with pytest.raises(InconsistentData, match=r"at 20\.0 um, 11\.0 um is located in two places"):
        alf.ephys.read_channels(write(tmp_path, sites(**BARE)), twice)


def test_located_regions_must_be_known(tmp_path):
    unknown = LOCATED.assign(region_id=12345678)
    with pytest.raises(InconsistentData, match="region id 12345678 is not in the Allen ontology"):
        alf.ephys.read_channels(write(tmp_path, sites(**BARE)), unknown)


def test_a_sort_without_geometry_is_passed_over(tmp_path):
    contents = sites() | sites("alf/probe00/iblsorter", localCoordinates=None)
    channels = alf.ephys.read_channels(write(tmp_path, contents))
    assert {Path(path).parent.name for path in read_paths(channels)} == {"pykilosort"}


def test_sites_need_their_geometry(tmp_path):
    with pytest.raises(MissingDataset, match=r"channels\.localCoordinates\.npy"):
        alf.ephys.read_channels(write(tmp_path, sites(localCoordinates=None)))


@pytest.mark.parametrize(
    ("changed", "name", "text"),
    [
        (
            {"brainLocationIds_ccf_2017": [385, 12345678, 0, 0]},
            "brainLocationIds_ccf_2017",
            "Row 1: region id 12345678 is not in the Allen ontology",
        ),
        ({"mlapdv": np.zeros((3, 3))}, "mlapdv", r"3 rows, and 4 in .*localCoordinates"),
        ({"mlapdv": np.zeros((4, 2))}, "mlapdv", r"\(4, 2\) instead of n x 3"),
        ({"localCoordinates": np.zeros(4)}, "localCoordinates", "instead of n x 2"),
        (
            {"rawInd": [0.0, 1.5, 2.0, 3.0]},
            "rawInd",
            "raw_index in row 1 is 1.5, not a whole number",
        ),
    ],
)
def test_sites_that_contradict_themselves_are_refused(tmp_path, changed, name, text):
    with pytest.raises(InconsistentData, match=text) as caught:
        alf.ephys.read_channels(write(tmp_path, sites(**changed)))
    assert f"channels.{name}.npy" in str(caught.value)
    assert caught.value.remedy in str(caught.value)


# --- clusters -----------------------------------------------------------------------------------

METRICS = {
    "cluster_id": [0, 1, 2],
    "amp_std_dB": [1.0, 2.0, 3.0],
    "slidingRP_viol": [1.0, 0.0, NAN],
    "label": [1.0, 1 / 3, 0.0],
    "bitwise_fail": np.array([0, 3, 7], dtype=np.uint8),
    "ks2_label": ["good", "mua", None],
    "of_no_interest": [9, 9, 9],
}


def clusters(metrics=METRICS, **changed):
    contents = {
        f"{SORT}/clusters.channels.npy": np.array([2, 0, 0], dtype=np.int32),
        f"{SORT}/clusters.depths.npy": np.array([41, 19, 22], dtype=np.float32),
        f"{SORT}/clusters.amps.npy": [5e-5, 6e-5, 7e-5],
        f"{SORT}/clusters.peakToTrough.npy": [0.5, -0.25, 0.125],
        f"{SORT}/clusters.uuids.csv": {"uuids": [UUIDS[0].upper(), *UUIDS[1:]]},
        f"{SORT}/clusters.metrics.pqt": metrics,
    } | {f"{SORT}/clusters.{name.replace('_', '.')}": v for name, v in changed.items()}
    return {path: values for path, values in contents.items() if values is not None}


def test_units_have_waveform_site_and_metrics(tmp_path):
    units = alf.ephys.read_clusters(write(tmp_path, clusters() | sites()))
    frame = units.frame
    assert frame.index.tolist() == [0, 1, 2]
    assert frame["channel"].tolist() == [2, 0, 0]
    assert frame["cluster_uuid"].tolist() == UUIDS
    assert frame["cluster_depth"].tolist() == [41.0, 19.0, 22.0]
    assert frame["cluster_amp"].tolist() == [5e-5, 6e-5, 7e-5]
    assert frame["peak_to_trough"].tolist() == [0.5, -0.25, 0.125]
    assert frame["axial_um"].tolist() == [40.0, 20.0, 20.0]
    assert frame["lateral_um"].tolist() == [59.0, 43.0, 43.0]
    assert frame["x_um"].tolist() == [-102.0, -100.0, -100.0]
    assert frame["region_id"].tolist() == [0, 385, 385]
    assert units.metrics == (
        "amp_std_db",
        "sliding_rp_viol",
        "released_label",
        "bitwise_fail",
        "ks2_label",
    )
    assert frame["released_label"].tolist() == [1.0, 1 / 3, 0.0]
    assert frame["bitwise_fail"].tolist() == [0.0, 3.0, 7.0]
    assert frame["ks2_label"].tolist()[:2] == ["good", "mua"]
    assert "raw_index" not in frame
    assert "of_no_interest" not in frame
    assert len(units.files) == 11


def test_what_was_not_released_is_no_column(tmp_path):
    arrays = dict.fromkeys(("depths_npy", "amps_npy", "peakToTrough_npy", "uuids_csv"))
    units = alf.ephys.read_clusters(write(tmp_path, clusters(None, **arrays)))
    assert list(units.frame) == ["channel"]
    assert units.metrics == ()


def test_channels_of_the_sort_itself_are_the_sites_of_its_units(tmp_path):
    better = sites("alf/probe00/iblsorter", localCoordinates=np.array(LOCAL) + 1000)
    units = alf.ephys.read_clusters(write(tmp_path, clusters() | sites() | better))
    assert units.frame["axial_um"].tolist() == [40.0, 20.0, 20.0]


def test_electrode_sites_override_the_sites_of_units(tmp_path):
    other = {"alf/probe00/electrodeSites.mlapdv.npy": np.arange(12.0).reshape(4, 3)}
    units = alf.ephys.read_clusters(write(tmp_path, clusters() | sites() | other))
    assert units.frame["x_um"].tolist() == [6.0, 0.0, 0.0]


@on_any_folder
@given(rows=st.permutations(range(3)), kept=st.integers(0, 3))
def test_metrics_find_their_cluster_in_any_order(tmp_path_factory, rows, kept):
    rows = rows[:kept]
    folder = tmp_path_factory.mktemp("sort")
    whole = alf.ephys.read_clusters(write(folder, clusters())).frame
    table = pd.DataFrame(METRICS).iloc[rows]
    part = alf.ephys.read_clusters(write(folder, clusters(table)))
    for name in part.metrics:
        expected = whole[name].where(whole.index.isin(rows))
        assert part.frame[name].isna().equals(expected.isna())
        assert part.frame[name].dropna().tolist() == expected.dropna().tolist()


def test_metrics_whose_id_is_the_index_are_joined_by_it(tmp_path):
    table = pd.DataFrame(METRICS).set_index("cluster_id").iloc[::-1]
    units = alf.ephys.read_clusters(write(tmp_path, clusters(table)))
    assert units.frame["amp_std_db"].tolist() == [1.0, 2.0, 3.0]


def test_metrics_without_ids_are_joined_by_row(tmp_path):
    table = pd.DataFrame(METRICS).drop(columns="cluster_id")
    units = alf.ephys.read_clusters(write(tmp_path, clusters(table)))
    assert units.frame["amp_std_db"].tolist() == [1.0, 2.0, 3.0]


def without_ids(count):
    return pd.DataFrame(METRICS).drop(columns="cluster_id").iloc[:count]


@pytest.mark.parametrize(
    ("contents", "name", "text"),
    [
        (
            clusters(METRICS | {"cluster_id": [0, 2, 2]}),
            "metrics.pqt",
            "cluster_id in row 2 is 2, repeated",
        ),
        (
            clusters(METRICS | {"cluster_id": [0, 2, 3]}),
            "metrics.pqt",
            "cluster_id in row 2 is 3, not among the 3",
        ),
        (
            clusters(METRICS | {"cluster_id": [-1, 2, 1]}),
            "metrics.pqt",
            "cluster_id in row 0 is -1",
        ),
        (
            clusters(METRICS | {"cluster_id": [0, NAN, 1]}),
            "metrics.pqt",
            "cluster_id in row 1 is nan",
        ),
        (
            clusters(METRICS | {"cluster_id": [0, 0.5, 1]}),
            "metrics.pqt",
            "cluster_id in row 1 is 0.5",
        ),
        (clusters(METRICS | {"label": ["a", "b", "c"]}), "metrics.pqt", "label is not numeric"),
        (clusters(without_ids(2)), "metrics.pqt", "2 rows without cluster_id, .* 3 clusters"),
        (clusters(amps_npy=[1e-4]), "amps.npy", r"1 rows, and 3 in .*clusters\.channels\.npy"),
        (clusters(uuids_csv={"uuids": UUIDS[:2]}), "uuids.csv", "2 rows, and 3 in"),
        (clusters(uuids_csv={"ids": UUIDS}), "uuids.csv", "no column uuids"),
        (
            clusters(uuids_csv={"uuids": ["x", *UUIDS[1:]]}),
            "uuids.csv",
            "uuids in row 0 is x, no UUID",
        ),
        (
            clusters(channels_npy=[0, 4, 1]),
            "channels.npy",
            "Cluster 1 has channel 4, .* 4 channels",
        ),
        (clusters(channels_npy=[0, -1, 1]), "channels.npy", "channels in row 1 is -1"),
        (clusters(channels_npy=[0, NAN, 1]), "channels.npy", "channels in row 1 is nan"),
    ],
)
def test_units_that_contradict_themselves_are_refused(tmp_path, contents, name, text):
    with pytest.raises(InconsistentData, match=text) as caught:
        alf.ephys.read_clusters(write(tmp_path, contents | sites()))
    assert f"clusters.{name}" in str(caught.value)
    assert caught.value.remedy in str(caught.value)


def test_units_need_their_channels(tmp_path):
    with pytest.raises(MissingDataset, match=r"clusters\.channels\.npy"):
        alf.ephys.read_clusters(write(tmp_path, clusters(channels_npy=None)))


# --- spikes -------------------------------------------------------------------------------------


def spikes(**changed):
    contents = {
        "times": np.array([0.0, 0.1, 0.1, 0.30000000000000004]),
        "clusters": np.array([2, 0, 2, 1], dtype=np.uint32),
        "amps": np.array([1e-5, 2e-5, 3e-5, 4e-5], dtype=np.float32),
        "depths": np.array([20.5, NAN, 3.0, 4.0]),
    } | changed
    return {f"{SORT}/spikes.{name}.npy": v for name, v in contents.items() if v is not None}


def test_spikes_are_read_as_they_were_released(tmp_path):
    contents = spikes()
    read = alf.ephys.read_spikes(write(tmp_path, contents))
    assert read.time.tobytes() == contents[f"{SORT}/spikes.times.npy"].tobytes()
    assert read.time.dtype == np.float64
    assert read.cluster.tolist() == [2, 0, 2, 1]
    assert read.cluster.dtype == np.uint16
    assert read.amplitude.dtype == np.float32
    assert read.amplitude.tobytes() == contents[f"{SORT}/spikes.amps.npy"].tobytes()
    assert read.depth.dtype == np.float64
    np.testing.assert_array_equal(read.depth, [20.5, NAN, 3.0, 4.0])
    assert [Path(f.path).name for f in read.files] == list(alf.SPIKE_FILES)


def test_a_sort_may_have_no_spike(tmp_path):
    nothing = {name: np.zeros(0) for name in ("times", "amps", "depths")}
    read = alf.ephys.read_spikes(write(tmp_path, spikes(**nothing, clusters=np.zeros(0, np.int64))))
    assert [len(v) for v in (read.time, read.cluster, read.amplitude, read.depth)] == [0] * 4
    assert read.cluster.dtype == np.uint16


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
@pytest.mark.parametrize(
    ("highest", "expected"), [(0, np.uint16), (65_535, np.uint16), (65_536, np.uint32)]
)
def test_cluster_numbers_take_the_smallest_type_that_holds_them(tmp_path, dtype, highest, expected):
    if highest > np.iinfo(dtype).max:
        return
    numbers = np.array([0, highest, 0, 1]).astype(dtype)
    read = alf.ephys.read_spikes(write(tmp_path, spikes(clusters=numbers)))
    assert read.cluster.dtype == expected
    assert read.cluster.tolist() == [0, highest, 0, 1]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", [">f8", "<f8", "f4"])
def test_times_of_any_float_type_keep_their_values(tmp_path, dtype, order):
    times = np.asarray([[0.5], [1.5], [2.5], [2.5]], dtype=dtype, order=order)
    read = alf.ephys.read_spikes(write(tmp_path, spikes(times=times)))
    assert read.time.tolist() == [0.5, 1.5, 2.5, 2.5]
    assert read.time.dtype == np.float64


@pytest.mark.parametrize(
    ("changed", "name", "text"),
    [
        ({"times": [0.0, 2.0, 1.0, 3.0]}, "times", "times in row 2 is 1.0, less than 2.0"),
        ({"times": [0.0, NAN, 1.0, 3.0]}, "times", "times in row 1 is nan"),
        ({"times": [3.0, NAN, 1.0, 0.5]}, "times", "times in row 1 is nan"),
        ({"times": [NAN, 0.0, 1.0, 3.0]}, "times", "times in row 0 is nan"),
        ({"times": [-1.0, 0.0, 1.0, 3.0]}, "times", "times in row 0 is -1.0"),
        ({"times": [0.0, 1.0, 2.0, np.inf]}, "times", "times in row 3 is inf"),
        ({"times": [0, 30_000, 60_000, 90_000]}, "times", "times in row 3 is 90000"),
        ({"times": [0.0, 1.0]}, "clusters", r"4 rows, and 2 in .*spikes\.times\.npy"),
        ({"amps": [0.0, 0.1]}, "amps", "2 rows, and 4 in"),
        ({"amps": [1, 2, 3, 4]}, "amps", "amps in row 0 is 1"),
        ({"depths": np.zeros((4, 2))}, "depths", r"\(4, 2\) instead of n\."),
        ({"depths": np.float64(3.0)}, "depths", r"\(\) instead of n\."),
        ({"clusters": [0, 1, -3, 2]}, "clusters", "clusters in row 2 is -3"),
        ({"clusters": [0, 1, 2**32, 2]}, "clusters", "clusters in row 2 is 4294967296"),
        ({"clusters": [0.0, 1.5, 2.0, 3.0]}, "clusters", "row 1 is 1.5, not a whole number"),
    ],
)
def test_spikes_that_contradict_themselves_are_refused(tmp_path, changed, name, text):
    with pytest.raises(InconsistentData, match=text) as caught:
        alf.ephys.read_spikes(write(tmp_path, spikes(**changed)))
    assert f"spikes.{name}.npy" in str(caught.value)
    assert caught.value.remedy in str(caught.value)


@pytest.mark.parametrize("name", ["times", "clusters", "amps", "depths"])
def test_spikes_need_all_their_arrays(tmp_path, name):
    with pytest.raises(MissingDataset, match=rf"spikes\.{name}\.npy is not among"):
        alf.ephys.read_spikes(write(tmp_path, spikes(**{name: None})))


floats = st.floats(0, 5000) | st.floats(allow_nan=True)


@given(st.lists(floats, max_size=6) | st.lists(st.floats(0, 5000), max_size=6).map(sorted))
def test_times_pass_if_and_only_if_they_are_times_in_order(values):
    times = np.array(values, dtype=float)
    good = bool(((times >= 0) & (times <= 86_400)).all() and (np.sort(times) == times).all())
    good &= not 2 * (times > 21_600).sum() > len(times)
    try:
        reading.checked(times, "spikes", "times", Path("spikes.times.npy"))
    except InconsistentData:
        assert not good
    else:
        assert good


# --- files --------------------------------------------------------------------------------------


def listed(files, **facts):
    return {replace(record, **facts): path for record, path in files.items()}


def test_a_listed_hash_is_compared(tmp_path):
    files = write(tmp_path, {TABLE: TRIALS})
    md5 = hashlib.md5((tmp_path / TABLE).read_bytes()).hexdigest()
    assert alf.behavior.read_trials(listed(files, md5=md5.upper(), file_size=1)).files[0].md5 == md5
    with pytest.raises(DamagedFile, match=rf"table\.pqt: Its md5 is {md5}, .*Download it again"):
        alf.behavior.read_trials(listed(files, md5="0" * 32))


def test_where_no_hash_is_listed_the_size_is_compared(tmp_path):
    files = write(tmp_path, {TABLE: TRIALS})
    size = (tmp_path / TABLE).stat().st_size
    alf.behavior.read_trials(listed(files, file_size=size))
    with pytest.raises(DamagedFile, match=f"has {size} bytes, and 7 are listed"):
        alf.behavior.read_trials(listed(files, file_size=7))


def test_a_file_that_is_listed_but_not_there_is_missing(tmp_path):
    files = write(tmp_path, spikes())
    (tmp_path / SORT / "spikes.amps.npy").unlink()
    with pytest.raises(MissingDataset, match=r"spikes\.amps\.npy is listed but not there"):
        alf.ephys.read_spikes(files)


def test_a_folder_in_the_place_of_a_file_is_damage(tmp_path):
    files = write(tmp_path, spikes())
    (tmp_path / SORT / "spikes.amps.npy").unlink()
    (tmp_path / SORT / "spikes.amps.npy").mkdir()
    with pytest.raises(DamagedFile, match="Cannot be read"):
        alf.ephys.read_spikes(files)


def saved(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


PARQUET = io.BytesIO()
pd.DataFrame(TRIALS).to_parquet(PARQUET)
PARQUET = PARQUET.getvalue()
NPY = saved(np.array([0.0, 1.0, 2.0, 3.0]))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUMPY",
        b"not an array",
        NPY[:60],
        NPY[:-3],
        NPY + b"more",
        NPY.replace(b"'<f8'", b"'|O8'"),
        NPY.replace(b"(4,)", b"(9,)"),
        NPY.replace(b"(4,)", b"(((("),
        NPY.replace(b"{'descr'", b"{'other'"),
        saved(np.array(["a", None], dtype=object), allow_pickle=True),
        saved(np.zeros(4, dtype=[("a", "f8")])),
        b"\x93NUMPY\x09\x00" + NPY[8:],
    ],
)
def test_a_broken_array_is_named_with_a_remedy(tmp_path, content):
    with pytest.raises(DamagedFile, match=r"spikes\.times\.npy: .*Download it again"):
        alf.ephys.read_spikes(write(tmp_path, spikes(times=content)))


@pytest.mark.parametrize(
    "content", [b"", b"PAR1", b"not a table at all", PARQUET[:-1], PARQUET[: len(PARQUET) // 2]]
)
def test_a_broken_table_is_named_with_a_remedy(tmp_path, content):
    with pytest.raises(DamagedFile, match=r"_ibl_trials\.table\.pqt: .*Download it again"):
        alf.behavior.read_trials(write(tmp_path, {TABLE: content}))


@pytest.mark.parametrize("content", [b"", b'uuids\n"' + b"\xff" * 9, b'uuids\n1,2\n"3'])
def test_a_broken_list_of_uuids_is_named_with_a_remedy(tmp_path, content):
    with pytest.raises((DamagedFile, InconsistentData), match=r"clusters\.uuids\.csv: .*ownload"):
        alf.ephys.read_clusters(write(tmp_path, clusters(uuids_csv=content)))


@on_any_folder
@given(data=st.data())
def test_no_damage_leads_to_a_raw_error(tmp_path_factory, data):
    whole = data.draw(st.sampled_from([NPY, PARQUET]))
    content = bytearray(whole[: data.draw(st.integers(0, len(whole)))])
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    try:
        if whole is NPY:
            alf.ephys.read_spikes(write(folder, spikes(times=bytes(content))))
        else:
            alf.behavior.read_trials(write(folder, {TABLE: bytes(content)}))
    except SourceError as error:
        assert error.remedy  # noqa: PT017


@pytest.mark.parametrize(
    ("read", "contents", "needed"),
    [
        (
            alf.behavior.read_trials,
            {TABLE: TRIALS, "alf/_ibl_trials.choice.npy": [1, 1, 1], **BESIDE},
            {TABLE, *BESIDE},
        ),
        (
            alf.ephys.read_channels,
            sites() | sites("alf/probe00") | {"alf/probe00/electrodeSites.mlapdv.npy": MLAPDV},
            (sites().keys() - {f"{SORT}/channels.mlapdv.npy"})
            | {"alf/probe00/electrodeSites.mlapdv.npy"},
        ),
        (
            alf.ephys.read_clusters,
            clusters() | sites() | sites("alf/probe00/iblsorter"),
            clusters().keys() | sites().keys(),
        ),
        (alf.ephys.read_spikes, spikes() | clusters() | sites(), spikes().keys()),
    ],
)
def test_only_what_is_needed_is_asked_for(tmp_path, read, contents, needed):
    files = Watched(write(tmp_path, contents))
    result = read(files)
    assert sorted(files.asked) == sorted(needed)
    assert sorted(read_paths(result)) == sorted(needed)
    on_offer = [f for f in result.files if f.md5 is None]
    assert sorted(f.path for f in on_offer) == sorted(contents.keys() - set(needed))
    assert {f.file_size for f in on_offer} == {None}


def test_files_are_got_at_once(tmp_path):
    class Slow(Watched):
        def __getitem__(self, record):
            together.wait(timeout=60)
            return super().__getitem__(record)

    together = threading.Barrier(4)
    assert len(alf.ephys.read_spikes(Slow(write(tmp_path, spikes()))).time) == 4


def test_an_error_of_getting_a_file_is_told_as_it_is(tmp_path):
    class Broken(Watched):
        def __getitem__(self, record):
            raise MissingDataset("the server is away.", record.path, "Wait.")

    with pytest.raises(MissingDataset, match="the server is away"):
        alf.ephys.read_spikes(Broken(write(tmp_path, spikes())))


def test_a_table_with_two_columns_of_a_name_is_refused(tmp_path):
    buffer = io.BytesIO()
    pq.write_table(pa.table([[1.0], [2.0]], names=["choice", "choice"]), buffer)
    with pytest.raises(DamagedFile, match=r"Multiple matches for .*choice"):
        alf.behavior.read_trials(write(tmp_path, {TABLE: buffer.getvalue()}))


def test_data_of_two_probes_are_a_mistake_of_the_caller(tmp_path):
    files = write(tmp_path, sites() | sites("alf/probe01"))
    with pytest.raises(ValueError, match="more than one session or probe"):
        alf.ephys.read_channels(files)


def test_names_of_columns_are_unique_and_ours():
    for names in (alf.TRIAL_COLUMNS, alf.METRIC_COLUMNS):
        assert len(set(names.values())) == len(names)
        assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) for name in names.values())


# --- real data ----------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sessions are not beside the repository")
def test_real_sessions_have_the_trials_that_are_known_of_them():
    found = {}
    for path in sorted(REAL.rglob("_ibl_trials.table.pqt")):
        trials = alf.behavior.read_trials({alf.dataset_record(EID, TABLE): path})
        frame = trials.frame
        assert trials.extra.shape == (len(frame), 0)
        assert set(frame["choice"]) <= {-1, 0, 1}
        assert (frame["contrast_left"].isna() ^ frame["contrast_right"].isna()).all()
        found[path.parents[2].name] = (len(frame), int(frame["stim_on_time"].isna().sum()))
    assert sum(count for count, _ in found.values()) == 3903
    assert found["2020-08-31"] == (626, 1)
    assert sum(missing for _, missing in found.values()) == 3


# --- values outside their domain ------------------------------------------------------------------


def trials_table(n, **columns):
    """A table of n trials with some of its columns replaced."""
    start = np.arange(float(n))
    return {"intervals_0": start, "intervals_1": start + 0.5, "choice": np.ones(n)} | columns


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("choice", -7.0),
        ("choice", 2.0),
        ("feedbackType", 5.0),
        ("contrastLeft", -0.25),
        ("contrastRight", 25.0),
        ("contrastRight", 1e300),
        ("probabilityLeft", 80.0),
        ("probabilityLeft", np.inf),
        ("rewardVolume", -3.0),
        ("quiescencePeriod", -0.4),
        ("response_times", 1e300),
        ("stimOn_times", 1.6e9),
        ("feedback_times", -1.0),
    ],
)
def test_trial_values_outside_their_domain_are_refused_with_column_row_and_count(
    tmp_path, column, value
):
    values = np.full(5, np.nan)
    values[[2, 4]] = value
    files = write(tmp_path, {TABLE: trials_table(5, **{column: values})})
    with pytest.raises(InconsistentData, match=rf"trials\.table\.pqt: {column} in row 2") as caught:
        alf.behavior.read_trials(files)
    assert "2 such values" in str(caught.value)


def test_trials_out_of_order_are_refused(tmp_path):
    starts = np.array([0.0, 2.0, 1.0, 3.0])
    files = write(tmp_path, {TABLE: trials_table(4, intervals_0=starts)})
    with pytest.raises(
        InconsistentData, match=r"intervals_0 in row 2 is 1.0, less than 2.0 before it"
    ):
        alf.behavior.read_trials(files)


def test_levels_that_differ_by_rounding_are_one(tmp_path):
    contrast = np.array([0.1, float(np.float32(0.1)), 0.1 + 1e-9, 0.3 - 0.2])
    prior = np.array([0.2, 1 - 0.8, float(np.float32(0.2)), 0.2])
    table = trials_table(4, contrastLeft=contrast, probabilityLeft=prior)
    trials = alf.behavior.read_trials(write(tmp_path, {TABLE: table})).frame
    assert trials.contrast_left.unique().tolist() == [0.1]
    assert trials.probability_left.unique().tolist() == [0.2]


@pytest.mark.parametrize("factor", [1e3, 1e6])
@pytest.mark.parametrize("name", ["times", "amps"])
def test_a_short_file_in_thousandths_is_refused(tmp_path, name, factor):
    values = {"times": np.linspace(0.1, 80, 4), "amps": np.linspace(4e-5, 2e-4, 4)}[name]
    alf.ephys.read_spikes(write(tmp_path, spikes(**{name: values})))
    with pytest.raises(InconsistentData, match=rf"spikes\.{name}\.npy: {name} in row \d is"):
        alf.ephys.read_spikes(write(tmp_path, spikes(**{name: values * factor})))


@pytest.mark.parametrize(
    ("values", "stored"),
    [
        ([[0.0, 0.5], [2.0, 2.5]], [[0.0, 0.5], [2.0, 2.5]]),
        ([datetime.date(2021, 1, 14), None], ["2021-01-14", None]),
        ([decimal.Decimal("0.5"), decimal.Decimal("1.5")], [0.5, 1.5]),
        (pd.Categorical(["a", "b"]), ["a", "b"]),
        (pd.array([1, None], dtype="Int64"), [1, None]),
    ],
    ids=["vectors", "dates", "decimals", "categories", "nullable"],
)
def test_unknown_columns_of_any_type_are_kept(tmp_path, values, stored):
    table = trials_table(2, laser=values)
    extra = alf.behavior.read_trials(write(tmp_path, {TABLE: table})).extra
    kept = [row["laser"] for row in rows.records(extra)]
    assert kept == stored
    json.dumps(kept)


@pytest.mark.parametrize(
    "values", [[b"\x00", b"\x01"], [{"a": 1}, {"a": 2}]], ids=["bytes", "maps"]
)
def test_an_unknown_column_that_json_cannot_hold_is_refused_by_name(tmp_path, values):
    files = write(tmp_path, {TABLE: trials_table(2, laser=values)})
    with pytest.raises(InconsistentData, match="laser in row 0"):
        alf.behavior.read_trials(files)


@pytest.mark.parametrize("kind", [">f8", ">f4", "<f2", "<f4", "g"])
def test_numbers_of_any_width_and_byte_order_are_read(tmp_path, kind):
    values = np.array([0.5, 1.0, 2.0]).astype(kind)
    array = reading._native(values)
    assert array.tolist() == [0.5, 1.0, 2.0]
    assert array.dtype.isnative
    assert array.dtype in (np.float32, np.float64)


def test_a_wheel_whose_times_are_all_equal_is_refused(tmp_path):
    position = 2 * np.pi / 4096 * np.arange(4)
    files = write(tmp_path, {TIMES: np.zeros(4), POSITION: position})
    with pytest.raises(InconsistentData, match=r"all 4 times are 0\.0"):
        alf.behavior.read_wheel(files)


def test_licks_that_are_true_or_false_are_no_times(tmp_path):
    files = write(tmp_path, {"alf/licks.times.npy": np.array([False, True])})
    with pytest.raises(InconsistentData, match=r"times is not numeric \(bool\)"):
        alf.behavior.read_licks(files)
