"""Pools of workers: killed, cut off, told to stop; nothing is lost or done twice."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pymysql
import pytest

from populate import catalog, status
from populate.workers import worker
from schemas import connection
from schemas.sources import simulator
from tests.support import chaos, networks, pace, servers
from tests.support.databases import (
    Database,
    Release,
    differences,
    held_objects,
    snapshot,
    stored_objects,
    tables,
)
from tests.support.users import PASSWORD, users

SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
N_SESSIONS = 4
TIMEOUT = 120.0
STALE_AFTER = 2
OFTEN_KILLED = {"bwm.stale_after": STALE_AFTER, "bwm.deaths_allowed": 100}
STOPPED_WITHIN = 15.0
"""Seconds in which a pool ends that is asked to: it kills workers after 8, and tests run beside."""

SERVER_AWAY = 2
"""Seconds between the end of a server and its start: a new worker looks for it meanwhile."""

IDLE_SECONDS = 11
"""A little more than an idle worker waits before it looks again."""

N_KILLS = int(os.environ.get("BWM_TEST_KILLS", "10"))
N_FREEZES = int(os.environ.get("BWM_TEST_FREEZES", "3"))
LONGEST_FREEZE = 6.0
"""Seconds for which a frozen worker waits to lose its job, beyond `STALE_AFTER`."""

MOST_FROZEN = 3
"""Workers frozen at once, of four: one is left to take jobs over."""

N_WAITS, N_DAWDLES = 16, 3

TROUBLES = str(chaos.ROOT / "tests" / "support" / "own" / "troubles.py")
FOUR = ("--workers", "4", "--module", TROUBLES, "--only", "troubles.Result")


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    return Release(
        folder, simulator.simulate(folder, "tiny", seed=5, n_sessions=N_SESSIONS, **SMALL)
    )


@pytest.fixture(scope="module")
def expected(lend, release):
    """What the database holds after an undisturbed run."""
    with lend() as database:
        database.register(release.folder, release.truth.release)
        assert database.populate() == []
        return snapshot()


@pytest.fixture(scope="module")
def n_keys(expected):
    """Number of keys that are made."""
    return sum(len(expected[name]) for name in made())


def made():
    """Names of the tables that workers fill."""
    return [name for name, table in tables().items() if hasattr(table, "key_source")]


@contextmanager
def own_server(name, *addresses):
    """A server that a test may end and start again."""
    try:
        with servers.restartable(name, *addresses) as server:
            yield server
            connection.disconnect()
    except servers.NoMySQL as reason:
        if servers.requires_mysql():
            raise
        pytest.skip(str(reason))


@contextmanager
def filled(server, home, release):
    """A new database with the release registered, and a look at it."""
    database = Database(server.backend, home, **OFTEN_KILLED)
    database.connect()
    database.register(release.folder, release.truth.release)
    look = chaos.Look(database)
    yield database, look
    look.close()


def assert_nothing_lost(database, expected):
    """The database is as after an undisturbed run, and so is the store."""
    database.connect()
    assert status.failures() == []
    assert jobs() == {}
    assert differences(snapshot(), expected) == {}
    unfinished = {path for path in held_objects(database) if path.endswith(".saving")}
    assert held_objects(database) - unfinished == stored_objects()
    for path in unfinished:  # a killed worker cannot remove them; `verify --repair` does, in time
        Path(database.settings.store.location, path).unlink()
    verified = bwm(database, "verify", "--deep")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def jobs():
    """Number of jobs in whatever state, by table."""
    return {catalog.name_of(table): n for table in catalog.tables() if (n := len(table().jobs))}


def bwm(database, *arguments):
    command = [sys.executable, "-m", "populate", *arguments]
    environment = os.environ | database.environment
    return subprocess.run(
        command, cwd=chaos.ROOT, env=environment, capture_output=True, text=True, check=False
    )


def await_true(condition, what, timeout=TIMEOUT):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, what()
        time.sleep(0.02)


# --- killed, and the server too -----------------------------------------------------------------


def test_killed_workers_and_a_restarted_server_lose_nothing(
    backend, release, expected, n_keys, tmp_path
):
    rng, deaths = random.Random(20), []
    with (
        own_server(backend.name) as server,
        filled(server, tmp_path / "home", release) as (database, look),
    ):
        kills, restarts = N_KILLS, {N_KILLS // 3: server.stop, 2 * N_KILLS // 3: server.kill}
        with chaos.pool(database, tmp_path / "log", "--workers", "4") as pool:
            for n in range(kills):
                chaos.await_made(look, pool, 0.9 * n_keys * n / kills, TIMEOUT)
                if n not in restarts:
                    deaths.append(chaos.kill_one_at_work(pool, look, rng))
                    continue
                with chaos.frozen_at_work(pool, look, rng) as (victim, death):
                    restarts[n]()
                    chaos.kill(victim)  # so that another one is started while there is no server
                deaths.append(death)
                time.sleep(SERVER_AWAY)
                server.start()
            assert pool.wait(TIMEOUT) == 0, pool.said()
        print(chaos.on_result(deaths))  # noqa: T201
        assert len({death.job.table for death in deaths}) > N_KILLS // 4
        assert_nothing_lost(database, expected)


# --- frozen -------------------------------------------------------------------------------------


def test_frozen_workers_of_two_accounts_lose_no_row(backend, release, expected, n_keys, tmp_path):
    """A frozen worker whose job was taken over goes on, and commits nothing."""
    rng = random.Random(seed := random.randrange(10_000))
    print(f"seed {seed}")  # noqa: T201
    with (
        own_server(backend.name) as server,
        filled(server, tmp_path / "home", release) as (database, look),
        users(database) as make,
    ):
        accounts, freezes = [make("worker", name) for name in ("first", "second")], []
        while len(freezes) < N_FREEZES:
            database.connect()
            for table in catalog.tables():
                if hasattr(table, "Source"):
                    table().delete()
            with (
                watching(database, tmp_path, accounts[0]) as first,
                watching(database, tmp_path, accounts[1]) as second,
            ):
                n = N_FREEZES - len(freezes)
                freezes += freeze_some((first, second), look, n_keys, rng, n)
                await_true(lambda: look.made() == n_keys and not look.held(), first.said)
                for pool in (first, second):
                    press_ctrl_c(pool)
                    assert pool.wait(TIMEOUT) == 130, pool.said()
            assert_nothing_lost(database, expected)
        deaths, lost = zip(*freezes, strict=True)
        print(chaos.on_result(deaths, "frozen"), f"{sum(lost)} jobs taken over")  # noqa: T201
        assert any(lost)


def watching(database, folder, account):
    """Run a pool of two workers of an account until it is told to end."""
    login = {"DJ_USER": account.user, "DJ_PASS": PASSWORD, "BWM_WATCH_EVERY": "1"}
    arguments = ("--workers", "2", "--watch")
    return chaos.pool(database, folder / account.user, *arguments, **login)


def freeze_some(pools, look, n_keys, rng, n):
    """Freeze up to `n` workers while there is work, some at a time and beyond `STALE_AFTER`.

    Return what each held, and whether another worker took its job over.
    """
    found = []
    while len(found) < n and look.made() < n_keys:
        time.sleep(rng.uniform(0, 2))
        with ExitStack() as frozen:
            deaths = []
            for _ in range(min(rng.randint(1, MOST_FROZEN), n - len(found))):
                with suppress(chaos.NotMet):
                    met = chaos.frozen_at_work(rng.choice(pools), look, rng, timeout=1.0)
                    deaths.append(frozen.enter_context(met)[1])
            time.sleep(rng.uniform(1, 2) * STALE_AFTER)
            until = time.monotonic() + LONGEST_FREEZE
            while (held := look.held()) and time.monotonic() < until:
                if not any(death.job in held for death in deaths):
                    break
                time.sleep(0.2)
            found += [(death, death.job not in held) for death in deaths]
    return found


# --- cut off ------------------------------------------------------------------------------------


@pytest.fixture
def machines():
    """Three machines, as far as names and networks go."""
    try:
        with networks.networks(3) as found:
            yield found
    except networks.NoNetworks as reason:
        pytest.skip(str(reason))


def test_machines_that_are_cut_off_lose_their_jobs_and_come_back(
    backend, machines, release, expected, n_keys, tmp_path
):
    if backend.name != "mysql":
        pytest.skip("the embedded PostgreSQL listens on no network")
    near, far, farther = machines
    with (
        own_server("mysql", *(machine.host for machine in machines)) as server,
        filled(server, tmp_path / "home", release) as (database, look),
        dawdling(look),
    ):
        let_in(server.backend, machines)
        with (
            pool_on(farther, database, tmp_path, "--only", "troubles.Result") as third,
            pool_on(far, database, tmp_path) as second,
            pool_on(near, database, tmp_path) as first,
        ):
            cut_off(farther, third, look, writing=True)
            cut_off(far, second, look)
            await_true(lambda: look.made() == n_keys + N_DAWDLES and not look.held(), first.said)
            for machine in (far, farther):
                machine.reconnect()
            for pool in (first, second, third):
                assert pool.wait(TIMEOUT) == 0, pool.said()
        assert_nothing_lost(database, expected)


@contextmanager
def dawdling(look):
    """Jobs that wait before they commit their rows."""
    catalog.use([TROUBLES])
    look.renew()
    sys.modules["troubles"].give(*[("dawdle", 1)] * N_DAWDLES)
    yield
    catalog.use([])


def let_in(backend, machines):
    """Let root log in from other machines."""
    login = {"host": backend.host, "port": backend.port, "user": backend.user}
    with pymysql.connect(**login, password=backend.password) as link, link.cursor() as cursor:
        for machine in machines:
            cursor.execute(
                "CREATE USER root@%s IDENTIFIED BY %s", (machine.address, backend.password)
            )
            cursor.execute("GRANT ALL ON *.* TO root@%s", (machine.address,))


def pool_on(machine, database, folder, *arguments):
    """Run a pool of one worker on a machine."""
    log = folder / f"log of {machine.name}"
    arguments = ("--workers", "1", "--module", TROUBLES, *arguments)
    return chaos.pool(database, log, *arguments, within=machine.within, DJ_HOST=machine.host)


def cut_off(machine, pool, look, **at):
    """Cut the link of a machine in the middle of a job."""
    with chaos.frozen_at_work(pool, look, random.Random(21), **at):
        machine.cut()


# --- troubles -----------------------------------------------------------------------------------


@pytest.fixture
def troubles(lend, tmp_path):
    """Give a database and its jobs, each of which does what it is told."""
    settings = {"bwm.stale_after": STALE_AFTER, "bwm.deaths_allowed": 2}
    with lend(tmp_path / "home", settings) as database:
        catalog.use([TROUBLES])
        own = sys.modules["troubles"]

        def give(*tasks):
            own.give(*tasks)
            return database, own.Result, chaos.Look(database)

        yield give
        database.connect()
        own.schema.drop(prompt=False)
        catalog.use([])


def test_a_job_that_kills_its_worker_fails_alone(troubles, tmp_path):
    bad = ("die", 0), ("lose", 0), ("fill", 4e9)
    database, result, _ = troubles(*bad, *[("wait", 0.1)] * 8)
    with chaos.pool(database, tmp_path / "log", *FOUR, "--memory", "600MB") as pool:
        assert pool.wait(TIMEOUT) == 1, pool.said()
    assert sorted(result.to_arrays("task")) == list(range(3, 11))
    found = sorted(status.failures(), key=lambda failure: failure.key["task"])
    *of_death, of_memory = found
    for failure in of_death:
        assert failure.error.startswith("WorkerDied: 2 workers died, or lost the server"), failure
    for failure in found:
        assert f"failed troubles.Result (task {failure.key['task']})" in pool.said()
    assert of_memory.error.startswith("MemoryError"), of_memory
    assert "600" in of_memory.error
    assert jobs() == {"troubles.Result": 3}


def test_workers_that_are_killed_as_they_start_end_the_pool(troubles, tmp_path):
    database, result, _ = troubles(("wait", 0))
    # As a broken library does, or a container that is too small to import everything.
    (tmp_path / "sitecustomize.py").write_text(
        "import multiprocessing.forkserver as server, os\n"
        "server._serve_one = lambda *_: os.abort()\n"
    )
    with chaos.pool(database, tmp_path / "log", *FOUR, PYTHONPATH=str(tmp_path)) as pool:
        assert pool.wait(TIMEOUT) == 1, pool.said()
    assert "the last one was ended by signal 6" in pool.said()
    assert len(result()) == 0


def test_a_query_that_takes_long_holds_up_nobody_who_stops(troubles, tmp_path):
    database, result, look = troubles(("ask", 300))
    arguments = [*FOUR[2:], "--log-format", "text"]  # in one process
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with chaos.pool(database, tmp_path / "log", *arguments) as pool:
            await_true(lambda: len(look.held()) == 1, pool.said)
            time.sleep(0.5)
            started = time.monotonic()
            pool.process.send_signal(number)
            assert pool.wait(TIMEOUT) == code
            assert time.monotonic() - started < STOPPED_WITHIN / 2
        assert_given_back(result, 1)


def test_a_server_that_hangs_holds_up_nobody_who_stops(backend, tmp_path):
    """It accepts connections, and says nothing."""
    with own_server(backend.name) as server:
        database = Database(server.backend, tmp_path / "home", **OFTEN_KILLED)
        database.connect()
        catalog.use([TROUBLES])
        sys.modules["troubles"].give(*[("wait", 300), ("hold", 300)] * 2)
        look = chaos.Look(database)
        with chaos.pool(database, tmp_path / "log", *FOUR) as pool:
            await_true(lambda: len(look.held()) == 4, pool.said)
            with servers.frozen(server):
                started = time.monotonic()
                pool.process.send_signal(signal.SIGTERM)
                assert pool.wait(TIMEOUT) != 0
                assert time.monotonic() - started < STOPPED_WITHIN + 4
        look.close()
        catalog.use([])


def test_a_pool_that_is_terminated_ends_soon_and_gives_back_its_jobs(troubles, tmp_path):
    database, result, look = troubles(*[("wait", 300), ("hold", 300)] * 2)
    with chaos.pool(database, tmp_path / "log", *FOUR) as pool:
        await_true(lambda: len(look.held()) == 4, pool.said)
        started = time.monotonic()
        pool.process.send_signal(signal.SIGTERM)
        assert pool.wait(TIMEOUT) != 0
        assert time.monotonic() - started < STOPPED_WITHIN
        assert_all_ended(pool)
    assert_given_back(result, 4)


def test_ctrl_c_in_a_terminal_ends_a_pool(troubles, tmp_path):
    database, result, look = troubles(*[("wait", 300)] * 4)
    with chaos.pool(database, tmp_path / "log", *FOUR) as pool:
        await_true(lambda: len(look.held()) == 4, pool.said)
        started = time.monotonic()
        press_ctrl_c(pool)
        assert pool.wait(TIMEOUT) == 130
        assert time.monotonic() - started < STOPPED_WITHIN
        assert_all_ended(pool)
        assert "Traceback" not in pool.said()
    assert_given_back(result, 4)


def test_ctrl_c_as_a_pool_starts_is_one_message(troubles, tmp_path):
    database, _, _ = troubles(("wait", 300))
    with chaos.pool(database, tmp_path / "log", *FOUR) as pool:
        await_true(lambda: len(pool.family()) > 2, pool.said)  # they import what they need
        time.sleep(0.3)
        press_ctrl_c(pool)
        assert pool.wait(STOPPED_WITHIN) == 130
        assert_all_ended(pool)
        assert "Traceback" not in pool.said()
        assert pool.said().count("Stopped.") == 1


def test_a_second_ctrl_c_does_not_wait_for_jobs(troubles, tmp_path):
    database, result, look = troubles(*[("hold", 300)] * 4)
    with chaos.pool(database, tmp_path / "log", *FOUR) as pool:
        await_true(lambda: len(look.held()) == 4, pool.said)
        press_ctrl_c(pool)
        time.sleep(0.5)
        started = time.monotonic()
        press_ctrl_c(pool)
        assert pool.wait(TIMEOUT) != 0
        assert time.monotonic() - started < STOPPED_WITHIN / 2
        assert_all_ended(pool)
    assert_done_by_others(result, 4)


def test_workers_end_with_the_one_that_looks_after_them(troubles, tmp_path):
    database, result, look = troubles(*[("wait", 300), ("hold", 300)] * 2)
    with chaos.pool(database, tmp_path / "log", *FOUR) as pool:
        await_true(lambda: len(look.held()) == 4, pool.said)
        assert len(pool.family()) > 4
        pool.process.kill()
        await_true(lambda: pool.family() == [], pool.said, STOPPED_WITHIN)
    assert_done_by_others(result, 4)


def assert_all_ended(pool):
    """No process of it is left, those of Python's that serve the others included."""
    await_true(lambda: pool.family() == [], pool.said, STOPPED_WITHIN / 2)


def press_ctrl_c(pool):
    """Interrupt all processes, as a terminal does."""
    os.killpg(pool.process.pid, signal.SIGINT)


def assert_given_back(result, n):
    """All jobs can be done again, and none of them failed."""
    assert status.failures() == []
    assert len(result.jobs.pending) == len(result.jobs) == n


def assert_done_by_others(result, n):
    """Another worker does all jobs; none of them has failed."""
    assert status.failures() == []
    task = sys.modules["troubles"].Task
    for number in range(n):
        task.update1({"task": number, "amount": 0})
    worker.run([result])
    assert len(result()) == n
    assert jobs() == {}


# --- idle, and fast -----------------------------------------------------------------------------


def test_an_idle_pool_asks_little_and_sees_new_work(backend, troubles, tmp_path):
    database, result, look = troubles()
    statements, before = pace.Statements(look, backend), pace.connections(look, backend)
    arguments = ("--workers", "4", "--module", TROUBLES, "--watch")
    with chaos.pool(database, tmp_path / "log", *arguments, **statements.environment) as pool:
        await_true(lambda: pace.connections(look, backend) - before > 4, pool.said)
        await_true(lambda: is_quiet(statements), pool.said)
        began = statements.count()
        time.sleep(IDLE_SECONDS)
        n_statements = statements.count() - began
        assert 0 < n_statements < 2 * IDLE_SECONDS
        sys.modules["troubles"].give(("wait", 0))
        await_true(lambda: len(result()) == 1 and jobs() == {}, pool.said, 3 * IDLE_SECONDS)
        press_ctrl_c(pool)
        assert pool.wait(STOPPED_WITHIN) == 130


def is_quiet(statements):
    """Whether a server is asked nothing for a while: its pool has done what there was to do."""
    began = statements.count()
    time.sleep(2)
    return statements.count() == began


def test_four_workers_wait_for_a_network_at_the_same_time(troubles, tmp_path):
    database, result, look = troubles(*[("wait", 0.5)] * N_WAITS)
    rates = {}
    for n_workers in (1, 4):
        with chaos.pool(database, tmp_path / "log", "--workers", str(n_workers), *FOUR[2:]) as pool:
            assert pool.wait(TIMEOUT) == 0, pool.said()
        rates[n_workers] = pace.middle_rate(pace.spans(look, ["troubles.Result"])[1])
        result.delete()
    assert rates[4] > 3 * rates[1]
