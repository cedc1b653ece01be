"""Files that readers leave out or choose among: old names, unknown arrays, tasks, sorts."""

import re

import numpy as np
import pytest

from schemas.errors import InconsistentData
from schemas.sources import alf
from tests.support.alf import EID, read_paths, write

TABLE = "alf/_ibl_trials.table.pqt"
TRIALS = {"choice": [1.0, -1.0, 0.0], "response_times": [1.0, 2.0, 3.0]}


def records(*paths):
    return [alf.dataset_record(EID, path) for path in paths]


# --- old names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "current"),
    [
        ("alf/_ibl_wheel.times.npy", "_ibl_wheel.timestamps.npy"),
        ("alf/wheel.position.npy", "_ibl_wheel.position.npy"),
        ("alf/task_00/trials.choice.npy", "_ibl_trials.choice.npy"),
        ("alf/_ibl_licks.times.npy", "licks.times.npy"),
        ("alf/probe00/pykilosort/clusters.metrics.csv", "clusters.metrics.pqt"),
        ("alf/probe00/clusters.peakChannel.npy", "clusters.channels.npy"),
        ("alf/probe00/channels.sitePositions.npy", "channels.localCoordinates.npy"),
        ("alf/probe00/channels.rawRow.npy", "channels.rawInd.npy"),
        ("alf/_ibl_passiveGabor.table.npy", "_ibl_passiveGabor.table.csv"),
        ("alf/_ibl_leftCamera.dlc.csv", "_ibl_leftCamera.dlc.pqt"),
        ("alf/_ibl_trials.choice.npy", None),
        ("alf/_ibl_wheelMoves.intervals.npy", None),
        ("alf/probe00/pykilosort/clusters.waveforms.npy", None),
        ("alf/probe00/pykilosort/spikes.samples.npy", None),
        ("raw_behavior_data/_iblrig_taskData.raw.jsonable", None),
        ("raw_video_data/_ibl_leftCamera.times.npy", None),
        ("alf/probes.description.json", None),
    ],
)
def test_an_old_name_tells_the_name_that_is_read(path, current):
    (record,) = records(path)
    assert alf.current_name(record) == current


@pytest.mark.parametrize(
    ("path", "unread"),
    [
        ("alf/probe00/pykilosort/templates.amps.npy", True),
        ("alf/_ibl_wheelMoves.intervals.npy", True),
        ("alf/probe00/channels.colour.csv", True),
        ("alf/probes.description.json", False),
        ("raw_behavior_data/_iblrig_encoderEvents.raw.npy", False),
        ("alf/licks.times.npy", False),
    ],
)
def test_arrays_that_no_table_reads_are_known(path, unread):
    assert alf.is_unread(*records(path)) is unread


# --- unknown arrays -------------------------------------------------------------------------------


def test_unknown_arrays_of_trials_are_kept_as_unknown_columns_are(tmp_path):
    contents = {
        TABLE: TRIALS | {"pauseDuration": [7.0, 8.0, 9.0]},
        "alf/_ibl_trials.laserStimulation.npy": np.array([True, False, True]),
        "alf/_ibl_trials.phase.npy": np.array([[1, 2], [3, 4], [5, 6]]),
        "alf/_ibl_trials.pauseDuration.npy": np.zeros(3),
        "alf/_ibl_trials.mask.npy": np.arange(12).reshape(3, 2, 2),
    }
    found = alf.KINDS["trials"].reader(write(tmp_path, contents))
    assert found.extra.to_dict("list") == {
        "pauseDuration": [7.0, 8.0, 9.0],
        "laserStimulation": [True, False, True],
        "phase_0": [1, 3, 5],
        "phase_1": [2, 4, 6],
        "mask": [[[0, 1], [2, 3]], [[4, 5], [6, 7]], [[8, 9], [10, 11]]],
    }


@pytest.mark.parametrize("shape", [0, 2, 4, (2, 3), ()])
def test_an_unknown_array_of_another_length_is_left_out_and_named(tmp_path, caplog, shape):
    name = "alf/_ibl_trials.laserStimulation.npy"
    files = write(tmp_path, {TABLE: TRIALS, name: np.zeros(shape)})
    found = alf.KINDS["trials"].reader(files)
    (note,) = caplog.messages
    assert re.search(rf"{name} is left out: it has \d+ values, and .*table\.pqt has 3 trials", note)
    assert len(found.frame) == len(found.extra) == 3
    assert "laserStimulation" not in found.extra


# --- tasks ----------------------------------------------------------------------------------------

WHEEL = {"timestamps": [0.0, 1.0, 2.0], "position": np.arange(3) * 2 * np.pi / 4096}


@pytest.mark.parametrize(
    ("kind", "contents"),
    [
        ("trials", {TABLE.replace("alf", f"alf/task_0{k}"): TRIALS for k in (0, 1)}),
        ("trials", {TABLE: TRIALS, TABLE.replace("alf", "alf/task_00"): TRIALS}),
        # No file is there twice, and yet the trials are of two tasks.
        ("trials", {TABLE: TRIALS, "alf/task_01/_ibl_trials.rewardVolume.npy": np.ones(3)}),
        ("licks", {f"alf/task_0{k}/licks.times.npy": [1.0] for k in (0, 1)}),
        (
            "wheel",
            {
                "alf/task_00/_ibl_wheel.timestamps.npy": WHEEL["timestamps"],
                "alf/task_01/_ibl_wheel.position.npy": WHEEL["position"],
            },
        ),
    ],
)
def test_data_of_two_tasks_are_refused_with_how_to_choose(tmp_path, kind, contents):
    files = write(tmp_path, contents)
    with pytest.raises(InconsistentData, match=rf"both have {kind}.*register.*--task alf/task_0"):
        alf.KINDS[kind].reader(files)
    assert list(alf.tasks_by_kind(files)) == [kind]


def test_kinds_that_are_in_one_task_each_need_no_choice():
    found = records(
        "alf/task_00/_ibl_trials.table.pqt",
        "alf/task_01/_ibl_passiveGabor.table.csv",
        "alf/_ibl_leftCamera.times.npy",
        "alf/task_00/_ibl_rightCamera.times.npy",
        "alf/_ibl_passiveRFM.times.npy",
        "raw_passive_data/_iblrig_RFMapStim.raw.bin",
    )
    assert alf.tasks_by_kind(found) == {}


# --- sorts without spikes -------------------------------------------------------------------------


def sorts(*paths):
    return [(s.sorter, s.revision, s.is_default) for s in alf.sortings(records(*paths))]


def test_clusters_without_spikes_are_a_sort():
    assert sorts(
        "alf/probe00/pykilosort/clusters.channels.npy",
        "alf/probe00/pykilosort/#2024-05-06#/clusters.channels.npy",
    ) == [("pykilosort", "", False), ("pykilosort", "2024-05-06", True)]


def test_a_sort_with_spikes_is_the_default_before_a_better_sorter_without():
    assert sorts(
        "alf/probe00/iblsorter/clusters.channels.npy",
        "alf/probe00/pykilosort/clusters.channels.npy",
        "alf/probe00/pykilosort/spikes.times.npy",
    ) == [("iblsorter", "", False), ("pykilosort", "", True)]


def test_revisions_of_clusters_are_no_sorts_of_their_own_where_there_are_spikes():
    assert sorts(
        "alf/probe00/#2024-05-06#/clusters.channels.npy",
        "alf/probe00/clusters.channels.npy",
        "alf/probe00/spikes.times.npy",
    ) == [("", "", True)]


@pytest.mark.parametrize("name", ["clusters.metrics.pqt", "clusters.uuids.csv", "spikes.amps.npy"])
def test_files_without_units_are_no_sort(name):
    assert sorts(f"alf/probe00/{name}") == []


def test_only_arrays_that_add_columns_are_read_beside_the_table(tmp_path):
    contents = {TABLE: TRIALS, "alf/_ibl_trials.choice.npy": np.zeros(3)}
    found = alf.KINDS["trials"].reader(write(tmp_path, contents))
    assert read_paths(found) == [TABLE]
