"""Folders as laboratories leave them, from registration to rows, on both servers."""

import numpy as np
import pandas as pd
import pytest

from populate.registration.register import register
from populate.workers import worker
from schemas import behavior, ephys, rows, session, subject

TRIALS = {"choice": [1.0, -1.0, 1.0], "response_times": [1.0, 2.0, 3.0]}
SORT = "alf/probe00/pykilosort"


def write(folder, contents):
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if path.endswith(".pqt"):
            pd.DataFrame(content).to_parquet(folder / path)
        else:
            np.save(folder / path, content)


@pytest.fixture
def one(tmp_path):
    (tmp_path / "ONE").mkdir()
    return tmp_path / "ONE"


TASKS = {
    f"alf/task_0{k}/_ibl_trials.table.pqt": {**TRIALS, "response_times": [k + 1.0, k + 2.0, 9.0]}
    for k in (0, 1)
} | {"alf/task_01/licks.times.npy": [1.0, 2.0]}


def test_a_session_with_two_tasks_is_imported_by_choosing_one(database, one):
    write(one / "m/2021-01-14/001", TASKS)
    (report,) = register(str(one))
    eid = session.Session.fetch1("eid")
    (note,) = report.notes
    assert f"--eid {eid} --task alf/task_01`" in note
    (failure,) = database.populate()
    assert "alf/task_00 and alf/task_01 both have trials" in str(failure)
    assert "register the session again with --task" in str(failure)
    for k, task in enumerate(["task_00", "alf/task_01"]):
        (report,) = register(str(one), task=task)
        assert report.notes == []
        behavior.Trials.delete(prompt=False)
        worker.retry()
        assert database.populate() == []
        times = (behavior.Trials.Trial & "trial = 0").fetch1("response_time")
        assert times == k + 1.0
        (source,) = behavior.Trials.Source.to_arrays("dataset_path")
        assert source.startswith(f"alf/task_0{k}/")
        # What only one task has needs no choice.
        assert session.TaskChoice.to_arrays("data_kind").tolist() == ["trials"]
    # The choice is kept without being repeated.
    (report,) = register(str(one))
    assert (report.notes, report.changed) == ([], False)


def test_clusters_without_spikes_give_metrics_and_good_units(database, one):
    metrics = {
        "cluster_id": [0, 1],
        "amp_median": [1e-4, 1e-5],
        "noise_cutoff": [1.0, 1.0],
        "slidingRP_viol": [1.0, 1.0],
        "max_confidence": [95.0, 95.0],
    }
    clusters = {
        f"{SORT}/clusters.channels.npy": np.arange(2),
        f"{SORT}/clusters.metrics.pqt": metrics,
        f"{SORT}/channels.localCoordinates.npy": np.c_[np.full(4, 11.0), 20.0 * np.arange(1, 5)],
    }
    write(one / "m/2021-01-14/001", clusters)
    register(str(one))
    assert database.populate() == []
    assert ephys.SpikeSorting.fetch1("n_clusters") == 2
    good = rows.frame(ephys.GoodUnits.Unit & {"criterion": "ibl_2022"})
    assert good.sort_values("cluster_id").is_good.tolist() == [1, 0]
    state = database.status()["ephys.Spikes"]
    assert (state.done, state.failed, state.pending, state.absent) == (0, 0, 0, 1)
    # Spikes that come later are imported.
    spikes = {"times": [0.1, 0.2], "clusters": np.zeros(2, int), "amps": [1e-4] * 2}
    spikes["depths"] = [20.0, 20.0]
    session_folder = one / "m/2021-01-14/001"
    write(session_folder, {f"{SORT}/spikes.{n}.npy": v for n, v in spikes.items()})
    register(str(one))
    assert database.populate() == []
    assert ephys.Spikes.fetch1("n_spikes") == 2


def test_what_is_not_read_is_noted(database, one):
    contents = {
        "alf/_ibl_trials.table.pqt": TRIALS,
        "alf/_ibl_trials.laserStimulation.npy": np.array([1, 0, 1]),
        "alf/_ibl_wheel.times.npy": np.zeros(2),
        "alf/_ibl_wheelMoves.intervals.npy": np.zeros((2, 2)),
    }
    for mouse in ("0012", "12"):
        write(one / mouse / "2021-01-14/001", contents)
    (one / "figures").mkdir()
    (report,) = register(str(one))
    assert report.notes == [
        f"{one / 'figures'} is skipped: no folder of a session is found in it.",
        "_ibl_wheel.times.npy is an old name and not imported (2 files): "
        "rename it to _ibl_wheel.timestamps.npy.",
        "no table reads _ibl_wheelMoves.intervals.npy (2 files).",
    ]
    assert sorted(subject.Subject.to_arrays("subject")) == ["0012", "12"]
    assert database.populate() == []
    kept = behavior.Trials.Trial.to_arrays("extra_columns")
    assert sorted(extra["laserStimulation"] for extra in kept) == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("below", ["", "openalyx.internationalbrainlab.org"])
def test_the_folder_above_is_registered_as_the_folder_itself(database, one, below):
    write(one / "openalyx.internationalbrainlab.org/m/2021-01-14/001", TASKS)
    (report,) = register(str(one / below))
    host = str(one / "openalyx.internationalbrainlab.org")
    assert session.DataSource.fetch1("data_source") == host
    assert (f"{host} was taken." in report.notes) is (below == "")
