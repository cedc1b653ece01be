"""Jobs: who holds them, who lost them, and what a worker does when something is in its way."""

import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import datajoint as dj
import psycopg2
import pymysql
import pytest

from populate import catalog, sql, status
from populate.workers import queue, worker
from populate.workers.heartbeat import Heartbeat
from schemas import behavior, connection, rows, session, wheel
from schemas.database import driver_errors
from schemas.database.declared import parts_of
from schemas.errors import ServerError
from schemas.settings import WorkerSettings
from schemas.sources import simulator
from tests.support import readers
from tests.support.databases import Release
from tests.support.users import users

SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
TWO = catalog.find(["Trials", "Wheel"])
ELSEWHERE = "another-machine"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    return Release(folder, simulator.simulate(folder, "tiny", seed=5, n_sessions=2, **SMALL))


@pytest.fixture(scope="module")
def _registered(lend, release):
    with lend() as database:
        database.register(release.folder, release.truth.release)
        yield database


@pytest.fixture
def registered(_registered):
    """A database with two sessions registered and nothing imported."""
    _registered.connect()
    yield _registered
    for table in TWO:
        table().delete()
        table().jobs.delete()


def hold(table, host, pid, ago=0.0, heard=None, connection_id=0):
    """Reserve the jobs of a table in the name of another process, so many seconds ago."""
    queue.refresh(table)
    held = table().jobs
    interval = held.adapter.interval_expr(ago, "second")
    held.connection.query(
        f"UPDATE {held.full_table_name} SET status = 'reserved', host = %s, pid = %s, "
        f"reserved_time = CURRENT_TIMESTAMP(3) - {interval}, duration = %s, connection_id = %s",
        (host, pid, heard, connection_id),
    )
    return held


def states(table):
    return sorted(table().jobs.to_arrays("status"))


def a_dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_jobs_are_added_once_and_go_with_their_cause(registered):
    queue.refresh(behavior.Trials)
    queue.refresh(behavior.Trials)
    assert states(behavior.Trials) == ["pending"] * 2
    first, second = behavior.Trials().key_source.keys(order_by="eid")
    held = behavior.Trials().jobs
    held.delete()
    queue.refresh(behavior.Trials, [first])
    assert held.keys() == [first]
    # Of a session that is not there, or no longer offers the data.
    gone = {**first, "eid": "00000000-0000-4000-8000-000000000000"}
    rows.insert(held, [{**gone, "status": "error", "priority": 5}])
    queue.refresh(behavior.Trials)
    assert held.keys(order_by="eid") == [first, second]


def test_what_waits_or_failed_is_forgotten_once_it_is_made(registered, monkeypatch):
    first, second = behavior.Trials().key_source.keys(order_by="eid")
    held = behavior.Trials().jobs
    for status_ in ("pending", "error", "reserved", "ignore"):
        held.delete()
        rows.insert(held, [first, second], {"status": status_, "priority": 5})
        behavior.Trials.populate(first)  # as in a notebook, by one's own hand
        queue.refresh(behavior.Trials)
        expected = [second] if status_ in ("pending", "error") else [first, second]
        assert held.keys(order_by="eid") == expected, status_
        assert set(states(behavior.Trials)) == {status_}
    held.delete()
    rows.insert(held, [first, second], {"status": "error", "priority": 5})
    behavior.Trials.populate()
    monkeypatch.setattr(queue, "KEYS_PER_DELETE", 1)
    queue.refresh(behavior.Trials)
    assert not held


def test_jobs_are_refreshed_while_someone_is_making_one_manually(registered):
    """In a transaction, as `make` is, which may take an hour."""
    first, second = behavior.Trials().key_source.keys(order_by="eid")
    held = behavior.Trials().jobs
    rows.insert(held, [first], {"status": "error", "priority": 5})
    set_lock_timeout(held, "1")
    manually = connection.open_another()
    with manually.transaction:
        name = behavior.Trials().full_table_name
        manually.query(f"INSERT INTO {name} (eid, n_trials) VALUES (%s, 1)", (first["eid"],))
        queue.refresh(behavior.Trials)
        assert held.keys(order_by="eid") == [first, second]
    manually.close()
    set_lock_timeout(held, "DEFAULT")
    queue.refresh(behavior.Trials)
    assert held.keys() == [second]


def set_lock_timeout(held, seconds):
    """Set for how long MySQL waits for a row that another holds; PostgreSQL reads past it."""
    if held.adapter.backend == "mysql":
        held.connection.query(f"SET SESSION innodb_lock_wait_timeout = {seconds}")


CASES = {
    "heard from now": (ELSEWHERE, 1, 0.0, None, "reserved"),
    "long at work, and heard from lately": (ELSEWHERE, 1, 1000.0, 990.0, "reserved"),
    "silent for too long": (ELSEWHERE, 1, 1000.0, 600.0, "pending"),
    "never heard from since": (ELSEWHERE, 1, 301.0, None, "pending"),
    "of this machine, and alive": (platform.node(), os.getppid(), 0.0, None, "reserved"),
    "of this machine, and dead": (platform.node(), None, 0.0, None, "pending"),
    "of this machine, and of one that had its number before": (
        platform.node(),
        os.getppid(),
        1e7,
        1e7,
        "pending",
    ),
    "of this process, which knows nothing of it": (
        platform.node(),
        os.getpid(),
        0.0,
        None,
        "pending",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_job_is_taken_over_from_who_is_dead_or_silent_and_from_nobody_else(registered, case):
    host, pid, ago, heard, expected = CASES[case]
    hold(behavior.Trials, host, pid or a_dead_process(), ago, heard)
    queue.reclaim(TWO, WorkerSettings())
    assert states(behavior.Trials) == [expected] * 2


def test_a_job_of_which_too_many_workers_died_fails_until_it_is_retried(registered):
    settings = WorkerSettings(deaths_allowed=3)
    for n in (1, 2):
        hold(behavior.Trials, ELSEWHERE, 1, 1000.0)
        queue.reclaim(TWO, settings)
        told = set(behavior.Trials().jobs.to_arrays("error_message"))
        assert told == {f"{n} worker{'s' * (n > 1)} died, or lost the server, while running it"}
    assert status.failures() == []
    hold(behavior.Trials, ELSEWHERE, 1, 1000.0)
    told = []
    of_trials, of_wheel = worker.run(TWO, on_result=told.append)
    assert (of_trials.n_done, of_wheel.n_done) == (0, 2)
    failures = status.failures()
    assert len(failures) == 2
    assert failures[0].error.startswith(
        "WorkerDied: 3 workers died, or lost the server, while running it. "
    )
    # Who takes them over says so: else they were failed by nobody, and in no log.
    recorded = {failure.key["eid"]: failure.error for failure in failures}
    assert {key["eid"]: error for key, error in of_trials.failed} == recorded
    assert {done.key["eid"]: done.error for done in told if done.error} == recorded
    assert all(1000 <= done.seconds < 1100 for done in told if done.error)
    assert {done.pid for done in told if done.error} == {1}
    assert worker.retry([behavior.Trials]) == 2
    assert [outcome.n_done for outcome in worker.run(TWO)] == [2, 0]


@pytest.fixture
def another():
    """A connection of another worker, which is alive."""
    found = connection.open_another()
    yield found
    with suppress(pymysql.err.Error):  # a test may have closed it
        found.close()


@pytest.mark.parametrize("pid", ["dead", "own"])
def test_whose_connection_is_open_is_alive_under_whatever_number(registered, another, pid):
    """Containers may share a name, and each counts its processes from 1."""
    pid = a_dead_process() if pid == "dead" else os.getpid()
    hold(behavior.Trials, platform.node(), pid, 0.0, None, another.connection_id)
    queue.reclaim(TWO, WorkerSettings())
    assert states(behavior.Trials) == ["reserved"] * 2
    another.close()
    queue.reclaim(TWO, WorkerSettings())
    assert states(behavior.Trials) == ["pending"] * 2


def test_the_connection_of_who_is_silent_is_ended_with_its_locks(registered, another):
    held = hold(behavior.Trials, ELSEWHERE, 1, 0.0, None, another.connection_id)
    another.start_transaction()
    another.query(f"UPDATE {session.Session.full_table_name} SET session_number = session_number")
    time.sleep(1.1)
    queue.reclaim(TWO, WorkerSettings(stale_after=1))
    assert states(behavior.Trials) == ["pending"] * 2
    # It waits for no lock, and the other is gone.
    held.connection.query(
        f"UPDATE {session.Session.full_table_name} SET session_number = session_number"
    )
    with pytest.raises(dj.errors.LostConnectionError):
        another.query("SELECT 1", reconnect=False)


def test_a_job_reserved_over_a_connection_that_is_lost_is_given_back(registered, monkeypatch):
    reserve = dj.jobs.Job.reserve
    lost = []

    def reserving(self, key):
        found = reserve(self, key)
        if not lost:
            lost.append(key)
            dj.conn().connect()  # as it does by itself
        return found

    monkeypatch.setattr(dj.jobs.Job, "reserve", reserving)
    assert [outcome.n_done for outcome in worker.run(TWO)] == [2, 2]
    assert lost
    assert states(behavior.Trials) == []


def test_a_table_of_long_jobs_gets_no_more_time_than_others(registered, monkeypatch):
    """One job of it in a round, in which every other gets as long."""
    slices = []

    class Clocked(worker.Worker):
        def fill(self, table, only=None, seconds=float("inf")):
            slices.append((table, seconds))
            return super().fill(table, only, seconds)

    load = readers.of("trials")
    readers.replace(monkeypatch, "trials", lambda *a: time.sleep(0.4) or load(*a))
    monkeypatch.setattr(worker, "SLICE_SECONDS", 0.1)
    slow = Clocked(TWO)
    with slow.working():
        while slow.run_slices():
            pass
    assert slices[:2] == [(behavior.Trials, 0.1), (wheel.Wheel, 0.1)]
    (_, first), *_ = [found for found in slices[2:] if found[0] is behavior.Trials]
    assert 0.4 < first < 2
    assert [outcome.n_done for outcome in slow.results] == [2, 2]


def test_a_death_counts_also_if_the_next_process_has_the_same_number(registered):
    hold(behavior.Trials, platform.node(), os.getpid(), 1e7, 1e7)
    queue.reclaim(TWO, WorkerSettings())
    told = set(behavior.Trials().jobs.to_arrays("error_message"))
    assert told == {"1 worker died, or lost the server, while running it"}


def test_what_is_given_back_is_no_death(registered):
    hold(behavior.Trials, platform.node(), os.getpid())
    queue.requeue_process(TWO, os.getpid())
    assert states(behavior.Trials) == ["pending"] * 2
    assert set(behavior.Trials().jobs.to_arrays("error_message")) == {""}


def test_a_worker_at_work_is_heard_from(registered, monkeypatch):
    heard = []

    def load(*arguments):
        held = behavior.Trials().jobs.reserved
        while not heard or heard[-1] is None:
            heard.append(held.fetch1("duration"))
        return original(*arguments)

    original = readers.of("trials")
    readers.replace(monkeypatch, "trials", load)
    quick = worker.Worker([behavior.Trials], WorkerSettings(stale_after=1.0))
    with quick.working():
        quick.fill(behavior.Trials)
    assert heard[0] is None  # short jobs are not spoken of
    assert 0.2 <= heard[-1] < 30
    assert len(behavior.Trials()) == 2


def test_a_job_taken_over_from_a_living_worker_is_made_once(registered, monkeypatch):
    def load(*arguments):
        if not behavior.Trials():
            # Another worker took this one for dead, and was quicker.
            readers.replace(monkeypatch, "trials", original)
            key = behavior.Trials().jobs.reserved.fetch1("KEY")
            behavior.Trials().populate(key)
            behavior.Trials._allow_insert = True  # as in this worker, of which the other is no part
        return original(*arguments)

    original = readers.of("trials")
    readers.replace(monkeypatch, "trials", load)
    (outcome,) = worker.run([behavior.Trials])
    assert outcome.failed == []
    assert len(behavior.Trials()) == 2
    assert states(behavior.Trials) == []


def test_a_job_is_failed_only_under_its_own_reservation(registered):
    """Another container may have the same host name and process number."""
    own = dj.conn().connection_id
    jobs = hold(behavior.Trials, platform.node(), os.getpid(), connection_id=own + 1)
    key, _ = jobs.keys()
    assert not queue.fail(jobs, key, own, "ValueError: of an earlier owner", "stack")
    assert states(behavior.Trials) == ["reserved"] * 2
    assert queue.fail(jobs, key, own + 1, "ValueError: of the owner", "stack")
    assert states(behavior.Trials) == ["error", "reserved"]


def test_a_heartbeat_is_sent_only_for_its_own_reservation(registered):
    own = dj.conn().connection_id
    jobs = hold(behavior.Trials, platform.node(), os.getpid(), 10.0, 0.0, own + 1)
    key, _ = jobs.keys()
    heartbeat = Heartbeat(60.0)
    heartbeat._send(jobs, key, own)
    assert set(jobs.to_arrays("duration")) == {0}
    heartbeat._send(jobs, key, own + 1)
    heartbeat._close()
    assert (jobs & key).fetch1("duration") >= 10


def lost(backend):
    if backend.name == "mysql":
        return pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query")
    return psycopg2.OperationalError("server closed the connection unexpectedly")


def in_the_way(backend):
    if backend.name == "mysql":
        return pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
    return psycopg2.errors.DeadlockDetected("deadlock detected")


class Failing:
    """A function that raises errors at its first calls, then does what it did."""

    def __init__(self, function, errors):
        self.function, self.errors, self.n_calls = function, list(errors), 0

    def __call__(self, *arguments, **options):
        self.n_calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return self.function(*arguments, **options)


def test_a_lost_connection_is_no_failure_of_the_job(registered, backend, monkeypatch):
    failing = Failing(readers.of("trials"), [lost(backend), dj.errors.LostConnectionError("x")])
    readers.replace(monkeypatch, "trials", lambda *given: failing(*given))
    assert [outcome.n_done for outcome in worker.run(TWO)] == [2, 2]
    assert failing.errors == []
    assert status.failures() == []
    assert states(behavior.Trials) == []


def test_a_server_that_stays_away_ends_the_work_with_one_error(registered, backend, monkeypatch):
    failing = Failing(readers.of("trials"), [lost(backend)])
    away = Failing(connection.reconnect, [lost(backend)] * 50)
    with monkeypatch.context() as patch:
        readers.replace(patch, "trials", lambda *given: failing(*given))
        patch.setattr(connection, "reconnect", away)
        impatient = worker.Worker(TWO, away_seconds=0.2)
        with (
            impatient.working(),
            pytest.raises(ServerError, match=r"away for 0 s .*Start the server"),
        ):
            impatient.run_slices()
    assert away.n_calls > 2
    assert [outcome.n_done for outcome in worker.run(TWO)] == [2, 2]


def test_who_is_in_the_way_of_another_tries_again_a_few_times(registered, backend, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    failing = Failing(readers.of("trials"), [in_the_way(backend)] * (driver_errors.TRIES - 1))
    with monkeypatch.context() as patch:
        readers.replace(patch, "trials", lambda *given: failing(*given))
        (outcome,) = worker.run([behavior.Trials])
    assert (outcome.n_done, outcome.failed) == (2, [])
    for_ever = Failing(readers.of("wheel"), [in_the_way(backend)] * 99)
    with monkeypatch.context() as patch:
        readers.replace(patch, "wheel", lambda *given: for_ever(*given))
        (outcome,) = worker.run([wheel.Wheel])
    assert for_ever.n_calls == 2 * driver_errors.TRIES
    assert (outcome.n_done, len(outcome.failed)) == (0, 2)


def test_what_needs_too_much_memory_fails_with_what_to_do(registered, monkeypatch):
    failing = Failing(readers.of("trials"), [MemoryError("Unable to allocate 9 GiB")])
    readers.replace(monkeypatch, "trials", lambda *given: failing(*given))
    settings = WorkerSettings(memory="2GB")
    tight = worker.Worker([behavior.Trials], settings)
    with tight.working():
        tight.fill(behavior.Trials)
    (outcome,) = tight.results
    ((_, problem),) = outcome.failed
    assert problem.startswith(
        "MemoryError: Unable to allocate 9 GiB. The job needs more than bwm.memory (2.0GB)"
    )
    assert outcome.n_done == 1


def test_each_job_that_is_done_is_told_with_what_it_read_and_wrote(registered):
    told = []
    worker.run(TWO, on_result=told.append)
    made = {(done.table, done.key["eid"]): done for done in told}
    assert len(made) == len(told) == 4
    sizes = rows.frame(session.Dataset()).set_index(["eid", "dataset_path"]).file_size
    for (name, eid), done in made.items():
        table = {"behavior.Trials": behavior.Trials, "wheel.Wheel": wheel.Wheel}[name]
        key = {"eid": eid}
        assert done.rows == 1 + sum(len(part & key) for part in parts_of(table))
        read = rows.frame(table.Source & key).dropna(subset="source_md5").dataset_path
        assert done.read == sum(sizes[eid, path] for path in read)
        assert 0 < done.seconds < 60
        assert (done.stored > 0) == (table is wheel.Wheel)
        assert (done.error, done.pid) == (None, os.getpid())


def test_the_time_at_which_a_key_was_begun_is_that_of_the_server(registered, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo" if time.localtime().tm_gmtoff == 0 else "UTC")
        time.tzset()
        worker.run([behavior.Trials])
    time.tzset()
    since = sql.seconds_since("_job_start_time")
    table = behavior.Trials.full_table_name
    began = dj.conn().query(f"SELECT {since}, _job_duration FROM {table}").fetchall()
    assert len(began) == 2
    assert all(0 < duration <= float(ago) < 100 for ago, duration in began)


def test_every_write_of_the_queue_survives_a_deadlock(registered, backend, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    query, met = dj.Connection.query, []

    def deadlock(self, statement, *arguments, **options):
        verb = statement.split(None, 1)[0].upper()
        status_set = statement.partition("status")[2][:20]
        write = verb, status_set
        if verb in ("INSERT", "UPDATE", "DELETE") and "~~" in statement and write not in met:
            met.append(write)
            raise in_the_way(backend)
        return query(self, statement, *arguments, **options)

    failing = Failing(readers.of("trials"), [ValueError("no trials"), lost(backend)])
    readers.replace(monkeypatch, "trials", lambda *given: failing(*given))
    hold(wheel.Wheel, platform.node(), a_dead_process())
    with monkeypatch.context() as patch:
        patch.setattr(dj.Connection, "query", deadlock)
        outcomes = worker.run(TWO)
        worker.retry(TWO)
    assert {verb for verb, _ in met} == {"INSERT", "UPDATE", "DELETE"}
    assert len(met) >= 6
    assert [(outcome.n_done, len(outcome.failed)) for outcome in outcomes] == [(1, 1), (2, 0)]
    assert states(behavior.Trials) == states(wheel.Wheel) == []


FROZEN = """
import time
from populate.workers import worker
from schemas import behavior, connection

connection.connect()
insert = behavior.Trials.make_insert

def slowly(self, *arguments, **more):
    if {after}:
        insert(self, *arguments, **more)
    print("here", flush=True)
    time.sleep(1)
    if not {after}:
        insert(self, *arguments, **more)

behavior.Trials.make_insert = slowly
(result,) = worker.run([behavior.Trials])
print(result.n_done, len(result.failed), flush=True)
"""


@contextmanager
def frozen(database, account, after):
    """A worker under an account of its own, stopped in the middle of its first insert."""
    login = {"DJ_USER": account.user, "DJ_PASS": account.password.get_secret_value()}
    worker_of_another = subprocess.Popen(
        [sys.executable, "-c", FROZEN.format(after=after)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **database.environment, **login},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert worker_of_another.stdout.readline() == "here\n"
        worker_of_another.send_signal(signal.SIGSTOP)
        yield worker_of_another
    finally:
        worker_of_another.kill()
        worker_of_another.wait()


@pytest.mark.parametrize("after", [True, False], ids=["rows written", "no row written"])
def test_a_frozen_worker_of_another_account_neither_commits_nor_blocks(
    registered, monkeypatch, after
):
    monkeypatch.setattr(queue, "LOCK_SECONDS", 2.0)
    postpone = queue.postpone
    monkeypatch.setattr(queue, "postpone", lambda *arguments: postpone(*arguments[:3], 600.0))
    with users(registered) as make:
        first, second = make("worker", "first"), make("worker", "second")
        with frozen(registered, first, after) as other:
            time.sleep(1.5)
            limit = second.worker.model_copy(update={"stale_after": 1.0})
            connection.connect(second.model_copy(update={"worker": limit}))
            began = time.monotonic()
            (result,) = worker.run([behavior.Trials])
            assert time.monotonic() - began < 2 + 8
            assert (result.n_done, result.failed) == (2 - after, [])
            other.send_signal(signal.SIGCONT)
            assert other.communicate(timeout=60)[0] == "0 0\n"
        assert len(behavior.Trials()) == 2 - after
        assert states(behavior.Trials) == ["pending"] * after
        registered.connect()
    behavior.Trials().jobs.delete()
    assert sum(outcome.n_done for outcome in worker.run([behavior.Trials])) == after
    assert len(behavior.Trials()) == 2
