"""Workers: stopped, killed, several at once; every key is made exactly once in the end."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import datajoint as dj
import pytest

from populate import catalog, status
from populate.workers import worker
from schemas import behavior, ephys, imported, rows, session, wheel
from schemas.database.declared import with_parts
from schemas.errors import QueryError
from schemas.maths import ephys as ephys_maths
from schemas.sources import alf, simulator
from tests.support import readers
from tests.support.databases import Database, Release, held_objects

SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
N_SESSIONS, N_WHEELS = 3, 2  # the third session has no wheel
TIMEOUT = 60.0
TABLES = {catalog.name_of(table): table for table in catalog.tables()}
# What is long to compute is left to the tests of several workers.
QUICK = catalog.find(["Trials", "Wheel", "Channels", "SpikeSorting", "Spikes"])


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A simulated release of three sessions."""
    folder = tmp_path_factory.mktemp("release")
    return Release(
        folder, simulator.simulate(folder, "tiny", seed=5, n_sessions=N_SESSIONS, **SMALL)
    )


@pytest.fixture(scope="module")
def _registered(lend, release):
    with lend() as database:
        database.register(release.folder, release.truth.release)
        yield database


@pytest.fixture
def registered(_registered):
    """A database with the release registered and nothing imported."""
    _registered.connect()
    yield _registered
    empty()


@pytest.fixture(scope="module")
def _expected(_registered):
    _registered.connect()
    assert _registered.populate() == []
    counts = count_rows()
    empty()
    return counts


@pytest.fixture
def expected(_expected, registered):
    """Number of rows in every table and part after an undisturbed run."""
    return _expected


def empty():
    """Leave nothing but what is registered."""
    for table in reversed(catalog.tables()):
        if table():  # a cascade that finds nothing takes as long as one that does
            table().delete()
        table().jobs.delete()


def count_rows(tables=None):
    counts = {}
    for table in tables or TABLES.values():
        name = catalog.name_of(table)
        counts |= {f"{name} {one.__name__}": len(one()) for one in with_parts(table)}
    return counts


def assert_complete(database, expected, tables=None):
    assert status.failures() == []
    for state in status.status(tables):
        assert (state.pending, state.running, state.failed) == (0, 0, 0), state.table
    found = count_rows(tables)
    assert found == {name: expected[name] for name in found}
    assert len(held_objects(database)) >= expected["wheel.Wheel Wheel"]


def assert_no_jobs(kind):
    for name, table in TABLES.items():
        assert len(getattr(table().jobs, kind)) == 0, name


def assert_no_half_rows():
    """Whatever has a part that is never empty has rows in it."""
    for master, part in (
        (behavior.Trials, behavior.Trials.Trial),
        (wheel.Wheel, wheel.Wheel.Source),
        (ephys.SpikeSorting, ephys.SpikeSorting.Cluster),
        (ephys.Spikes, ephys.Spikes.Unit),
        (ephys.Spikes, ephys.Spikes.Source),
    ):
        key = master.primary_key
        masters, parts = rows.frame(master.proj()), rows.frame(part.proj())
        assert set(masters[key].apply(tuple, axis=1)) == set(parts[key].apply(tuple, axis=1))


def command(database, *arguments, **options):
    """Start the command in a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BWM_TEST")}
    return subprocess.Popen(
        [sys.executable, "-m", "populate", *arguments],
        env=kept | database.environment,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def freeze_at_work(process, table):
    """Stop a worker while it holds a job of a table, by looking until it is caught at it."""
    jobs = table().jobs
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        if not len(jobs.reserved):
            continue
        process.send_signal(signal.SIGSTOP)
        if len(jobs.reserved):
            return
        process.send_signal(signal.SIGCONT)
    pytest.fail("the worker was never caught at work")


# --- interrupted --------------------------------------------------------------------------------


def interrupt(original, stop, after):
    """Let a call through a number of times, then stop, then let all through."""
    calls = iter(range(1_000_000))

    def wrapped(*args, **kwargs):
        if next(calls) == after:
            raise stop
        return original(*args, **kwargs)

    return wrapped


STOPS = {
    "at the first file": (alf.KINDS, "trials", KeyboardInterrupt(), 0),
    "at a later file": (alf.KINDS, "spikes", KeyboardInterrupt(), 2),
    "within a transaction": (imported, "insert_sources", KeyboardInterrupt(), 4),
    "after an object is stored": (ephys_maths, "slice_by_cluster", KeyboardInterrupt(), 1),
    "by SystemExit": (alf.KINDS, "wheel", SystemExit("SIGTERM received"), 1),
    "between two keys": (dj.jobs.Job, "complete", KeyboardInterrupt(), 3),
    "as a job is reserved": (dj.jobs.Job, "reserve", KeyboardInterrupt(), 3),
}


@pytest.mark.parametrize("case", STOPS)
def test_a_stopped_run_leaves_nothing_behind(registered, expected, monkeypatch, case):
    owner, name, stop, after = STOPS[case]
    with monkeypatch.context() as patch:
        if owner is alf.KINDS:
            readers.replace(patch, name, interrupt(readers.of(name), stop, after))
        else:
            patch.setattr(owner, name, interrupt(getattr(owner, name), stop, after))
        with pytest.raises(type(stop)):
            worker.run(QUICK)
    assert status.failures() == []
    assert_no_jobs("errors")
    assert_no_half_rows()
    done = count_rows(QUICK)
    assert done != {name: expected[name] for name in done}
    assert sum(done.values()) > 0 or after == 0
    worker.run(QUICK)
    assert_complete(registered, expected, QUICK)


def test_a_terminated_worker_releases_its_job(registered, expected):
    process = command(registered, "populate", "--only", "Trials", "--only", "Wheel")
    freeze_at_work(process, behavior.Trials)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    _, errors = process.communicate(timeout=TIMEOUT)
    assert process.returncode != 0, errors
    assert status.failures() == []
    assert_no_jobs("errors")
    assert_no_half_rows()
    assert len(behavior.Trials()) < N_SESSIONS
    worker.run(QUICK)
    assert_complete(registered, expected, QUICK)


def test_a_job_is_left_to_its_worker_until_that_is_killed(registered, expected):
    process = command(registered, "populate", "--only", "SpikeSorting", "--only", "Spikes")
    freeze_at_work(process, ephys.SpikeSorting)
    (held,) = ephys.SpikeSorting().jobs.reserved.to_dicts()
    key = {name: held[name] for name in ephys.SpikeSorting.primary_key}
    assert held["pid"] == process.pid
    worker.run(QUICK)
    state = registered.status()["ephys.SpikeSorting"]
    assert (state.running, state.pending, state.failed) == (1, 0, 0)
    assert not ephys.SpikeSorting & key
    assert_no_half_rows()
    process.kill()
    process.communicate(timeout=TIMEOUT)
    assert not ephys.SpikeSorting & key
    outcomes = {outcome.table: outcome.n_done for outcome in worker.run(QUICK)}
    assert (outcomes["ephys.SpikeSorting"], outcomes["ephys.Spikes"]) == (1, 1)
    assert_complete(registered, expected, QUICK)


# --- several at once ----------------------------------------------------------------------------


def test_two_processes_may_create_the_tables_at_once(backend, tmp_path):
    database = Database(backend, tmp_path / "home")
    with ExitStack() as stack:
        pair = [stack.enter_context(command(database, "status", "--json")) for _ in range(2)]
        printed = [process.communicate(timeout=TIMEOUT) for process in pair]
    assert [process.returncode for process in pair] == [0, 0], "\n".join(map("".join, printed))
    assert printed[0][0] == printed[1][0]
    database.connect()
    try:
        assert set(database.status()) == set(TABLES)
        assert len(session.QC()) == 5
    finally:
        database.drop()


# --- status and retry ---------------------------------------------------------------------------


def counts(state):
    return state.done, state.running, state.pending, state.failed, state.absent


def test_status_is_right_at_every_stage(database, release, monkeypatch):
    assert all(counts(state) == (0, 0, 0, 0, 0) for state in database.status().values())
    database.register(release=release.truth.release)
    # A release list names sessions without files: nothing is to be done, and nothing is wrong.
    states = database.status()
    assert counts(states["behavior.Trials"]) == (0, 0, 0, 0, 3)
    assert counts(states["probe.Channels"]) == (0, 0, 0, 0, 3)
    assert counts(states["ephys.Spikes"]) == (0, 0, 0, 0, 0)
    assert database.populate() == []
    database.register(release.folder)
    states = database.status()
    n_sorts = len(release.truth.sortings)
    assert counts(states["behavior.Trials"]) == (0, 0, 3, 0, 0)
    assert counts(states["behavior.ReactionTime"]) == (0, 0, 0, 0, 0)
    assert counts(states["wheel.Wheel"]) == (0, 0, N_WHEELS, 0, 1)
    assert counts(states["ephys.SpikeSorting"]) == (0, 0, n_sorts, 0, 0)

    with monkeypatch.context() as patch:
        failing = interrupt(readers.of("trials"), ValueError("made up"), 1)
        readers.replace(patch, "trials", failing)
        (outcome,) = worker.run([behavior.Trials])
    assert (outcome.table, outcome.n_done) == ("behavior.Trials", 2)
    ((key, error),) = outcome.failed
    assert error == "ValueError: made up"
    states = database.status()
    assert counts(states["behavior.Trials"]) == (2, 0, 0, 1, 0)
    n_definitions = len(behavior.ReactionTimeDefinition.contents)
    assert counts(states["behavior.ReactionTime"]) == (0, 0, 2 * n_definitions, 0, 0)
    assert counts(states["wheel.Wheel"]) == (0, 0, N_WHEELS, 0, 1)
    (failure,) = status.failures()
    assert (failure.table, failure.key, failure.error) == ("behavior.Trials", key, error)

    # A failure is not repeated until that is asked for.
    (outcome,) = worker.run([behavior.Trials])
    assert (outcome.n_done, outcome.failed) == (0, [])
    assert counts(database.status()["behavior.Trials"]) == (2, 0, 0, 1, 0)
    assert worker.retry() == 1
    assert counts(database.status()["behavior.Trials"]) == (2, 0, 1, 0, 0)
    (outcome,) = worker.run([behavior.Trials])
    assert (outcome.n_done, outcome.failed) == (1, [])
    assert counts(database.status()["behavior.Trials"]) == (3, 0, 0, 0, 0)


def test_only_what_is_asked_for_is_tried_again(registered, monkeypatch):
    def fail(*_):
        raise ValueError("made up")

    with monkeypatch.context() as patch:
        readers.replace(patch, "trials", fail)
        readers.replace(patch, "wheel", fail)
        worker.run([behavior.Trials, wheel.Wheel])
    assert len(status.failures()) == 3 + N_WHEELS
    assert worker.retry(catalog.find(["Wheel"])) == N_WHEELS
    assert {f.table for f in status.failures()} == {"behavior.Trials"}
    assert worker.retry(catalog.find(["wheel.wheel"])) == 0
    outcomes = worker.run(catalog.find(["Wheel", "trials"]))
    assert [(o.table, o.n_done) for o in outcomes] == [
        ("behavior.Trials", 0),
        ("wheel.Wheel", N_WHEELS),
    ]
    process = command(registered, "retry", "--only", "Trials")
    output, errors = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, errors) == (0, "")
    assert output.startswith("Failures forgotten: 3.")
    (outcome,) = worker.run([behavior.Trials])
    assert outcome.n_done == 3


def test_an_unknown_table_is_an_error_that_says_which_there_are():
    with pytest.raises(QueryError, match=r"no table 'Trails'.*behavior.Trials, behavior.Reaction"):
        catalog.find(["Trails"])
