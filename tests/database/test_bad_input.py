"""Bad input: one clear error each, nothing half-written, and a later correct run repairs it."""

import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import datajoint as dj
import numpy as np
import pandas as pd
import pytest
from iblutil.io import parquet

from populate import catalog, status
from populate.workers import worker
from schemas import behavior, connection, ephys, imported, probe, rows, session, wheel
from schemas.database.declared import parts_of
from schemas.errors import BwmError, ServerError, StorageError
from schemas.sources import simulator
from schemas.sources.simulator import release as simulated
from schemas.sources.simulator.plan import plan_release
from schemas.sources.simulator.session import make_session
from schemas.sources.simulator.writing import encode, md5
from tests.support.databases import Release, held_objects, object_columns, stored_objects
from tests.support.planted import keys as planted_keys

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0}
SEED = 2

# Which tables read the file at fault, and what they must say of it.
FAILURES = {
    "wheel_lengths": (["wheel.Wheel"], "InconsistentData", "rows, and"),
    "trials_extra_length": (["behavior.Trials"], "InconsistentData", "rows, and"),
    "unknown_region": (
        ["probe.Channels", "ephys.SpikeSorting"],
        "InconsistentData",
        "region id 987654321 is not in the Allen ontology",
    ),
    "truncated_spike_times": (["ephys.Spikes"], "DamagedFile", "is listed"),
    "cluster_beyond_table": (
        ["ephys.Spikes"],
        "InconsistentData",
        "but the spike sorting has 12 clusters",
    ),
    "unsorted_spike_times": (["ephys.Spikes"], "InconsistentData", "before it (1 such value)"),
    "nan_spike_time": (["ephys.Spikes"], "InconsistentData", "times in row 150 is nan"),
    "negative_spike_time": (["ephys.Spikes"], "InconsistentData", "times in row 0 is -0.25"),
    "repeated_metrics": (["ephys.SpikeSorting"], "InconsistentData", "is 5, repeated"),
    "truncated_metrics": (["ephys.SpikeSorting"], "DamagedFile", "Not a readable Parquet file"),
    "truncated_trials": (["behavior.Trials"], "DamagedFile", "is listed"),
    "pose_beyond_times": (["video.Pose"], "InconsistentData", "and only"),
    "truncated_pose": (["video.Pose"], "DamagedFile", "Not a readable Parquet file"),
    "passive_columns": (["passive.PassivePeriods"], "InconsistentData", "It has no period"),
    "receptive_field_lengths": (["passive.ReceptiveField"], "InconsistentData", "frames, and"),
}
# Of these the listed hash is that of the whole file all the time.
LISTED_WHOLE = [kind for kind, (_, _, says) in FAILURES.items() if says == "is listed"]
REMEDIES = ("Download it again", "download both again", "Ask for the probe to be aligned again")
TABLES = {catalog.name_of(table): table for table in catalog.tables()}


@dataclass(frozen=True)
class State:
    """What a database and its store held at one time."""

    frames: dict
    failures: list
    status: dict
    stored: set
    files: set

    def eids(self, table):
        return set(self.frames[table].eid)


def observe(database):
    frames = {}
    for name, table in TABLES.items():
        frames[name] = rows.frame(table())
        frames |= {f"{name}.{part.__name__}": rows.frame(part()) for part in parts_of(table)}
    return State(
        frames, status.failures(), database.status(), stored_objects(), held_objects(database)
    )


def correct_files(truth):
    """The files of the faulty sessions as they were before they were damaged, by fault."""
    size = replace(simulator.SIZES["tiny"], **SMALL)
    faulty = replace(
        size,
        n_units=simulated.FAULT_UNITS,
        n_trials=simulated.FAULT_TRIALS,
        duration=simulated.FAULT_DURATION,
    )
    planned = {s.eid: s for s in plan_release(size, SEED, True, True)}
    for fault in truth.faults:
        made = make_session(replace(planned[fault.eid], fault=None), faulty, SEED)
        folder = truth.folder.name and planned[fault.eid].folder
        yield fault, Path(folder) / fault.path, encode(fault.path, made.files[fault.path])


def list_anew(folder, eid, path, data):
    """Write a file and list it as it is."""
    table, info = parquet.load(folder / "datasets.pqt")
    chosen = (table.index.get_level_values("eid").astype(str) == eid) & (table.rel_path == path)
    assert chosen.sum() == 1
    table.loc[chosen, "hash"] = md5(data)
    table.loc[chosen, "file_size"] = len(data)
    parquet.save(str(folder / "datasets.pqt"), table, info)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    """A simulated release of two healthy sessions and one session a fault."""
    folder = tmp_path_factory.mktemp("faulty")
    truth = simulator.simulate(folder, "tiny", seed=SEED, faults=True, **SMALL)
    return Release(folder, truth)


@pytest.fixture(scope="module")
def _imported(lend, faulty, tmp_path_factory):
    folder = tmp_path_factory.mktemp("work") / "release"
    shutil.copytree(faulty.folder, folder)
    with lend() as database:
        database.register(folder, folder / faulty.truth.release.name)
        database.populate()
        yield database, folder, observe(database)


@pytest.fixture(scope="module")
def failed(_imported):
    """What is there after the faulty release was imported."""
    return _imported[2]


@pytest.fixture(scope="module")
def repaired(_imported, faulty, failed):
    """What is there after the files were repaired, registered again and retried."""
    database, folder, _ = _imported
    database.connect()
    for fault, path, data in correct_files(faulty.truth):
        (folder / path).write_bytes(data)
        list_anew(folder, fault.eid, fault.path, data)
    reports = database.register(folder, folder / faulty.truth.release.name)
    n_retried = worker.retry()
    database.populate()
    trains = ephys.spike_times(ephys.SpikeSorting.Cluster.proj())
    return reports, n_retried, observe(database), folder, trains


# --- files --------------------------------------------------------------------------------------


def test_every_fault_is_known_here(faulty):
    assert {fault.kind for fault in faulty.truth.faults} == set(simulator.FAULTS) == set(FAILURES)


@pytest.mark.parametrize("kind", FAILURES)
def test_a_fault_is_one_error_with_file_and_remedy(faulty, failed, kind):
    (fault,) = [f for f in faulty.truth.faults if f.kind == kind]
    tables, error, says = FAILURES[kind]
    found = [f for f in failed.failures if f.key["eid"] == fault.eid]
    assert [f.table for f in found] == tables
    assert all(is_at_fault(fault, f.key) for f in found)
    for failure in found:
        assert failure.error.startswith(f"{error}: ")
        place = f"{one_session_path(faulty.truth, fault.eid)}/{fault.path}: "
        if kind == "cluster_beyond_table":  # where two files meet, the session is named by its id
            place = f"session {fault.eid}, {fault.path}: "
        assert place in failure.error
        assert says in failure.error
        assert sum(remedy in failure.error for remedy in REMEDIES) == 1


def is_at_fault(fault, key):
    """Whether a key is of the session, and of the camera and tracker, whose file is at fault."""
    named = [key[name] for name in ("camera", "tracker") if name in key]
    return key["eid"] == fault.eid and all(name in fault.path for name in named)


def one_session_path(truth, eid):
    s = truth.sessions.set_index("eid").loc[eid]
    return f"{s.lab}/Subjects/{s.subject}/{s.date}/{int(s.number):03d}"


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failed_key_has_no_row_in_its_table_nor_below(faulty, failed, kind):
    (fault,) = [f for f in faulty.truth.faults if f.kind == kind]
    below = {FAILURES[kind][0][-1], *FAILURES[kind][0]}
    for name, table in TABLES.items():
        parents = {p.split(".")[-1].strip('`"') for p in table().parents(primary=True)}
        if any(TABLES[b].table_name in parents for b in below):
            below.add(name)
    for name in below:
        tables = [name, *(f"{name}.{part.__name__}" for part in parts_of(TABLES[name]))]
        for table in tables:
            if name == "activity.UnitRate" and kind in ("trials_extra_length", "truncated_trials"):
                continue
            frame = failed.frames[table]
            assert not any(is_at_fault(fault, row) for row in frame.to_dict("records")), table


@pytest.mark.parametrize("kind", ["trials_extra_length", "truncated_trials"])
def test_without_trials_a_session_has_rates_over_the_recording_only(faulty, failed, kind):
    (fault,) = [f for f in faulty.truth.faults if f.kind == kind]
    rates = failed.frames["activity.UnitRate"]
    assert set(rates[rates.eid == fault.eid].window_name) == {"recording"}


def test_every_other_key_is_there(faulty, failed):
    truth = faulty.truth
    at_fault = {
        table: [f for f in truth.faults if table in FAILURES[f.kind][0]] for table in TABLES
    }
    failing = {table: {f.eid for f in faults} for table, faults in at_fault.items()}
    planted = planted_keys(truth)
    # Units that are not imported have no waveforms either.
    at_fault["ephys.Waveform"] = at_fault["ephys.SpikeSorting"]
    for table, keys in planted.items():
        names = TABLES[table].primary_key
        expected = {
            key
            for key in keys
            if not any(is_at_fault(f, dict(zip(names, key, strict=True))) for f in at_fault[table])
        }
        assert set(failed.frames[table][names].itertuples(index=False, name=None)) == expected
        assert len(keys - expected) == len(at_fault[table])

    every = set(truth.sessions.eid)
    probed = set(truth.insertions.eid)
    no_sort = failing["ephys.SpikeSorting"]
    no_spikes = no_sort | failing["ephys.Spikes"]
    with_trials = every - failing["behavior.Trials"]
    with_wheel = set(failed.frames["wheel.Wheel"].eid)
    with_periods = set(failed.frames["passive.PassivePeriods"].eid)
    with_replays = set(failed.frames["passive.PassiveStimuli"].eid)
    with_noise = set(failed.frames["passive.ReceptiveField"].eid)
    expected = {
        "behavior.ReactionTime": with_trials,
        "behavior.TrialMask": with_trials,
        "behavior.Performance": with_trials,
        "behavior.Psychometric": with_trials,
        "behavior.TrainingStatus": with_trials,
        "wheel.WheelMoves": with_wheel,
        "wheel.FirstMovement": with_wheel & with_trials,
        "probe.Channels": probed - failing["probe.Channels"],
        "ephys.SpikeSorting": probed - no_sort,
        "ephys.GoodUnits": probed - no_sort,
        "quality.GoodUnitSummary": probed - no_sort,
        "quality.MetricDifferences": probed - no_spikes,
        "ephys.Spikes": probed - no_spikes,
        "activity.UnitRate": probed - no_spikes,
        "activity.RegionRate": probed - no_spikes,
        "activity.StateRate": (probed - no_spikes) & (with_trials | with_periods),
        "ephys.UnitMetrics": probed - no_spikes,
        "ephys.AutoCorrelogram": probed - no_spikes,
        "passive.UnitReceptiveField": (probed - no_spikes) & with_noise,
        "activity.PassiveResponse": (probed - no_spikes) & with_replays,
        "activity.Psth": (probed - no_spikes) & with_trials,
        "activity.UnitResponse": (probed - no_spikes) & with_trials,
        "activity.Modulation": (probed - no_spikes) & with_trials,
        "activity.Latency": (probed - no_spikes) & with_trials,
        "activity.Timescale": probed - no_spikes,
    }
    assert expected.keys() | planted.keys() == TABLES.keys()
    assert {name: failed.eids(name) for name in expected} == expected
    healthy = every - {f.eid for f in truth.faults}
    assert len(healthy) == SMALL["n_sessions"]
    trials = failed.frames["behavior.Trials.Trial"].groupby("eid").size()
    sorts = truth.sortings.groupby("eid")
    units = failed.frames["ephys.SpikeSorting.Cluster"].groupby("eid").size()
    spikes = failed.frames["ephys.Spikes"].groupby("eid").n_spikes.sum()
    for eid in healthy:
        assert trials[eid] == len(truth.trials[eid])
        assert units[eid] == sorts.n_clusters.sum()[eid]
        assert spikes[eid] == sorts.n_spikes.sum()[eid]


def test_nothing_is_pending_and_failures_are_counted(failed):
    n_failed = pd.Series([f.table for f in failed.failures]).value_counts()
    for name, state in failed.status.items():
        assert (state.running, state.pending) == (0, 0)
        assert state.failed == n_failed.get(name, 0)


def test_the_store_holds_the_objects_of_rows_and_nothing_else(failed, repaired):
    for state in (failed, repaired[2]):
        assert state.files == state.stored
        assert len(state.stored) == sum(len(state.frames[name]) for name in object_columns())
        assert len(state.stored) > 0


def test_masters_and_parts_agree(failed):
    counts = {
        ("behavior.Trials", "Trial", "n_trials"),
        ("behavior.ReactionTime", "Trial", None),
        ("probe.Channels", "Channel", "n_channels"),
        ("ephys.SpikeSorting", "Cluster", "n_clusters"),
        ("ephys.Spikes", "Unit", None),
        ("ephys.GoodUnits", "Unit", "n_units"),
        ("ephys.UnitMetrics", "Unit", "n_metric_units"),
        ("activity.UnitRate", "Unit", None),
        ("activity.StateRate", "Unit", None),
        ("behavior.TrialMask", "Trial", None),
        ("wheel.FirstMovement", "Trial", None),
    }
    for name, part, column in counts:
        master, rows_of = failed.frames[name], failed.frames[f"{name}.{part}"]
        key = TABLES[name].primary_key
        sizes = rows_of.groupby(key).size()
        assert set(sizes.index) == set(master.set_index(key).index)
        if column:
            assert (master.set_index(key)[column].sort_index() == sizes.sort_index()).all()


def test_a_correct_run_repairs_everything(faulty, failed, repaired):
    truth = faulty.truth
    reports, n_retried, state, *_ = repaired
    assert not any(report.problems for report in reports)
    assert reports[1].updated["datasets"] == len(FAILURES) - len(LISTED_WHOLE)
    assert n_retried == len(failed.failures) == sum(len(tables) for tables, *_ in FAILURES.values())
    assert state.failures == []
    for one in state.status.values():
        assert (one.failed, one.pending, one.running) == (0, 0, 0)
    counts = truth.counts
    assert len(state.frames["behavior.Trials.Trial"]) == counts["trials"]
    assert len(state.frames["ephys.SpikeSorting"]) == counts["sortings"]
    assert len(state.frames["ephys.SpikeSorting.Cluster"]) == counts["clusters"]
    assert state.frames["ephys.Spikes"].n_spikes.sum() == counts["spikes"]
    trials = state.frames["behavior.Trials.Trial"].set_index("eid")
    for eid in {f.eid for f in truth.faults}:
        shown = trials.loc[eid].sort_values("trial").stim_on_time.to_numpy()
        known = ~np.isnan(shown)
        assert np.array_equal(shown[known], truth.trials[eid].stimOn_times.to_numpy()[known])


def test_a_repair_changes_no_row_that_was_right(failed, repaired):
    state = repaired[2]
    for name, before in failed.frames.items():
        key = list(before.columns[: len(TABLES[".".join(name.split(".")[:2])].primary_key)])
        after = state.frames[name].merge(before[key].drop_duplicates(), on=key)
        columns = list(before.columns)
        merged = after[columns].sort_values(columns, ignore_index=True)
        expected = before.sort_values(columns, ignore_index=True)
        pd.testing.assert_frame_equal(merged, expected, check_dtype=False)


def test_repaired_spikes_are_those_of_the_file(faulty, repaired):
    *_, folder, found = repaired
    for fault in faulty.truth.faults:
        if fault.fails not in ("spikes", "clusters"):
            continue
        base = folder / one_session_path(faulty.truth, fault.eid) / "alf/probe00/pykilosort"
        times, clusters = (np.load(base / f"spikes.{n}.npy") for n in ("times", "clusters"))
        trains = found[fault.eid, "probe00", "pykilosort"]
        assert sum(map(len, trains)) == len(times)
        for cluster, train in trains.items():
            assert np.array_equal(train, times[clusters == cluster])


# --- metrics ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """A simulated release of one plain session."""
    folder = tmp_path_factory.mktemp("single")
    small = SMALL | {"n_sessions": 1, "n_subjects": 1, "n_labs": 1}
    return Release(folder, simulator.simulate(folder, "tiny", seed=3, edge_cases=False, **small))


def one_sort(database, folder):
    database.register(folder)
    worker.run([probe.Channels, ephys.SpikeSorting])
    return rows.frame(ephys.SpikeSorting.Cluster & {"sorting_name": "pykilosort"})


def test_metrics_are_joined_by_id_and_missing_ones_are_null(database, single, tmp_path):
    eid = single.truth.sessions.eid[0]
    folder = tmp_path / "release"
    shutil.copytree(single.folder, folder)
    right = one_sort(database, folder)
    name = "alf/probe00/pykilosort/clusters.metrics.pqt"
    path = folder / one_session_path(single.truth, eid) / name
    table = pd.read_parquet(path)
    assert table.cluster_id.is_monotonic_increasing
    metrics = ["amp_median", "noise_cutoff", "drift", "spike_count", "sliding_rp_viol"]
    assert right[metrics].notna().any().all()

    def import_with(metrics_table):
        data = encode(name, metrics_table)
        path.write_bytes(data)
        list_anew(folder, eid, name, data)
        (ephys.SpikeSorting & {"eid": eid}).delete()
        return one_sort(database, folder)

    shuffled = table.sample(frac=1, random_state=4)
    assert not shuffled.cluster_id.is_monotonic_increasing
    pd.testing.assert_frame_equal(import_with(shuffled.reset_index(drop=True)), right)
    # The index of the frame as written is not an identity either.
    pd.testing.assert_frame_equal(import_with(shuffled), right)
    missing = [0, 5, len(table) - 1]
    found = import_with(shuffled[~shuffled.cluster_id.isin(missing)])
    lacking = found.cluster_id.isin(missing)
    assert found[lacking][metrics].isna().all(axis=None)
    rest = ~lacking.to_numpy()
    pd.testing.assert_frame_equal(found[rest], right[rest], check_dtype=False)
    assert found.peak_channel.equals(right.peak_channel)


# --- the store ----------------------------------------------------------------------------------


def test_a_store_that_cannot_be_written_fails_its_tables_alone(database, single):
    database.register(single.folder, single.truth.release)
    store = Path(database.settings.store.location)
    shutil.rmtree(store)
    store.write_text("not a folder")
    failures = database.populate()
    planted, n_sorts = planted_keys(single.truth), len(single.truth.sortings)
    n_objects = {name: len(planted[name]) for name in object_columns() if name in planted}
    n_objects["ephys.Spikes"] = n_sorts
    # These are of spikes, which are not there to be tried.
    of_spikes = {"activity.Psth", "ephys.AutoCorrelogram", "passive.UnitReceptiveField"}
    assert n_objects.keys() == object_columns().keys() - of_spikes
    assert pd.Series([f.table for f in failures]).value_counts().to_dict() == n_objects
    for failure in failures:
        assert failure.error.startswith("StorageError: store bulk: it cannot be opened (")
        assert str(store) in failure.error
        assert "Check that the folder of bwm.store exists, is writable and has space." in (
            failure.error
        )
    assert len(behavior.Trials()) == 1
    assert len(ephys.GoodUnits()) == len(ephys.UnitCriterion.contents) * n_sorts
    for name in n_objects:
        for table in (TABLES[name], *parts_of(TABLES[name])):
            assert len(table()) == 0
    store.unlink()
    assert database.populate() == failures
    # The store is there again, but for the place of one table's objects.
    place = store / "_schema" / database.settings.prefix
    wheel_place = place.with_name(f"{place.name}_wheel")
    wheel_place.parent.mkdir(parents=True)
    wheel_place.write_text("not a folder")
    assert worker.retry() == len(failures)
    (failure,) = database.populate()
    assert failure.error.startswith(f"StorageError: {wheel_place}/")
    assert "the object cannot be written (" in failure.error
    assert "Check that the folder of bwm.store exists" in failure.error
    wheel_place.unlink()
    assert worker.retry([wheel.Wheel]) == 1
    assert database.populate() == []
    assert held_objects(database) == stored_objects()
    n_of_spikes = sum(len(TABLES[name]()) for name in of_spikes)
    assert len(stored_objects()) == sum(n_objects.values()) + n_of_spikes


def test_a_failure_after_the_object_was_written_leaves_no_second_one(database, single, monkeypatch):
    database.register(single.folder)
    with monkeypatch.context() as patch:
        patch.setattr(imported, "insert_sources", fail_late)
        (outcome,) = worker.run([wheel.Wheel])
    assert [error for _, error in outcome.failed] == ["OSError: too late"]
    assert len(wheel.Wheel()) == 0
    left = held_objects(database)
    assert len(left) == 1
    worker.retry([wheel.Wheel])
    worker.run([wheel.Wheel])
    assert held_objects(database) == stored_objects() == left


def fail_late(*arguments):
    raise OSError("too late")


# --- store and server -----------------------------------------------------------------------------

SECRET = "correct-horse-7"


@pytest.fixture(scope="module")
def _empty(lend):
    with lend() as database:
        yield database


@pytest.fixture
def empty(_empty):
    """A database without rows, connected before and after."""
    _empty.connect()
    yield _empty
    _empty.connect()
    assert len(session.Session()) == 0


def closed_port():
    with socket.socket() as probe_:
        probe_.bind(("127.0.0.1", 0))
        return probe_.getsockname()[1]


def unreachable(empty):
    away = {"host": "127.0.0.1", "port": closed_port(), "user": "ibl", "password": SECRET}
    return changed(empty, **away)


def changed(empty, password, **updates):
    secret = type(empty.settings.password)(password)
    return empty.settings.model_copy(update={"password": secret, **updates})


def with_store(empty, location):
    store = empty.settings.store.model_copy(update={"location": str(location)})
    return empty.settings.model_copy(update={"store": store})


def test_a_store_below_a_file_is_one_error(empty, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    settings = with_store(empty, tmp_path / "file" / "store")
    with pytest.raises(StorageError) as raised:
        connection.connect(settings)
    assert str(raised.value).startswith(f"{tmp_path}/file/store: ")
    assert "Set bwm.store (or BWM_STORE) to a folder that you can write." in str(raised.value)


@pytest.fixture
def locked(empty, backend):
    """A user who must give a password, on a server whose other users need none."""
    query = dj.conn().query
    if backend.name == "mysql":
        query(f"CREATE USER locked IDENTIFIED BY '{SECRET}-right'")
        yield
        empty.connect()
        dj.conn().query("DROP USER locked")
        return
    path = Path(query("SHOW hba_file").fetchone()[0])
    rules = path.read_text()
    query(f"CREATE ROLE locked LOGIN SUPERUSER PASSWORD '{SECRET}-right'")
    path.write_text(f"local all locked scram-sha-256\n{rules}")
    query("SELECT pg_reload_conf()").fetchall()
    yield
    empty.connect()
    path.write_text(rules)
    dj.conn().query("SELECT pg_reload_conf()").fetchall()
    dj.conn().query("DROP ROLE locked")


def test_an_unreachable_server_is_one_error(empty):
    settings = unreachable(empty)
    with pytest.raises(ServerError) as raised:
        connection.connect(settings)
    place = f"127.0.0.1:{settings.port}"
    assert str(raised.value).startswith(f"{place}: the server cannot be reached (")
    assert "Check DJ_HOST and DJ_PORT, or unset DJ_HOST" in str(raised.value)
    assert_no_secret(raised.value)


@pytest.mark.parametrize("user", ["locked", "nobody_of_that_name"])
def test_a_wrong_password_is_one_error(empty, locked, user):
    settings = changed(empty, SECRET, user=user)
    with pytest.raises(ServerError) as raised:
        connection.connect(settings)
    assert f"the server refuses user {user!r} with this password." in str(raised.value)
    assert str(raised.value).startswith(f"{settings.host}:{settings.port}: ")
    assert "Set DJ_USER and DJ_PASS" in str(raised.value)
    assert_no_secret(raised.value)


def test_the_right_password_is_taken(empty, locked, backend):
    if backend.name == "mysql":
        dj.conn().query("GRANT ALL ON *.* TO locked")
    assert connection.connect(changed(empty, f"{SECRET}-right", user="locked")).is_connected


def assert_no_secret(error):
    while error is not None:
        assert SECRET not in f"{error!s}{error!r}{error.args}"
        error = error.__cause__


@pytest.mark.parametrize(("fault", "options"), [("unreachable", []), ("password", ["--debug"])])
def test_the_command_never_shows_a_password(empty, locked, fault, options):
    away = {"DJ_PASS": SECRET}
    if fault == "unreachable":
        away |= {"DJ_HOST": "127.0.0.1", "DJ_PORT": str(closed_port())}
    else:
        away |= {"DJ_USER": "locked"}
    done = run_command(empty.environment | away, *options, "status")
    assert done.returncode == 1
    assert done.stdout == ""
    assert SECRET not in done.stderr
    kind, says = {
        "unreachable": ("ServerAway", "cannot be reached"),
        "password": ("ServerError", "refuses user 'locked'"),
    }[fault]
    assert says in " ".join(done.stderr.split())
    assert kind in done.stderr
    assert ("Traceback" in done.stderr) == bool(options)
    assert options or len(done.stderr.splitlines()) <= 6


def run_command(environment, *arguments):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BWM_TEST")}
    return subprocess.run(
        [sys.executable, "-m", "populate", *arguments],
        env=kept | environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_errors_of_the_project_are_one_tree():
    assert issubclass(ServerError, BwmError)
    assert issubclass(StorageError, BwmError)
