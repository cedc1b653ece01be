"""How much faster four workers are than one, and what idle ones ask of the server.

`python -m tests.benchmarks.workers` prints figures and judges nothing. The pace of a pool is that
of the middle of its run, from the first tenth of its jobs to the last: without the start of the
processes and without the end, when there are fewer jobs than workers. The whole, from starting
the command to its end, stands beside it.
"""
# ruff: noqa: T201

import os
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from populate import catalog
from populate.workers import worker
from schemas.sources import simulator
from tests.support import chaos, pace, servers
from tests.support.alyx import DEFAULT_TAG, AlyxServer
from tests.support.databases import Database

TIMEOUT = 600.0
LATENCY = 0.25
"""Seconds that the metadata server waits before each reply."""

N_SESSIONS, N_ONLINE = 16, 40
SMALL = {"n_units": 16, "n_trials": 60, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
LARGER = {"n_units": 60, "n_trials": 400, "duration": 1200.0, "max_probes": 1, "revisions": ("",)}
HEAVY = ("behavior.Psychometric", "ephys.UnitMetrics")
"""Tables of ours that compute for longer than they ask the server."""

TROUBLES = str(chaos.ROOT / "tests" / "support" / "own" / "troubles.py")
IDLE_SECONDS = 60


def main():
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        tell_load("at the start")
        online = simulator.simulate(place / "online", "tiny", seed=6, n_sessions=N_ONLINE, **SMALL)
        heavy = simulator.simulate(place / "heavy", "tiny", seed=6, n_sessions=N_SESSIONS, **LARGER)
        for name, start in (("postgresql", servers.embedded_postgresql), ("mysql", servers.mysql)):
            print(f"\n{name}")
            with start() as backend:
                measure_waiting(backend, place / f"{name} online", online)
                with filled(backend, place / f"{name} heavy", heavy) as database:
                    measure_computing(database, place, HEAVY, "Psychometric, UnitMetrics")
                    measure_own(database, place)
                    measure_idle(database, backend, place)


def measure_waiting(backend, place, truth):
    """Import trials from a metadata server that takes its time, with one worker and with four."""
    paces = {}
    with AlyxServer(truth.folder) as alyx:
        for n_workers in (1, 4):
            folder = place / str(n_workers)
            folder.mkdir(parents=True)
            os.environ["HOME"] = str(folder)  # where the client of the server keeps its login
            database = Database(backend, folder / "home", **asking(alyx, folder))
            database.connect()
            alyx.clear_faults()
            database.register(alyx.url, selection=selection())
            alyx.forget()
            alyx.fault("slow", seconds=LATENCY)
            paces[n_workers] = run(database, place, n_workers, "behavior.Trials")
            n_requests = len(alyx.requests)
            database.connect()
            database.drop()
    what = f"trials of {N_ONLINE} sessions, {n_requests} requests that wait {LATENCY} s each"
    on_result(what, paces)


def selection():
    from schemas.sources.records import Selection

    return Selection(tag=DEFAULT_TAG)


def asking(alyx, folder):
    """Settings of a metadata server whose limits are not reached."""
    return {
        "alyx.url": alyx.url,
        "alyx.user": alyx.user,
        "alyx.password": alyx.password,
        "alyx.data_server": alyx.files_url,
        "alyx.cache": str(folder / "cache"),
        "alyx.requests_per_minute": 100_000,
        "alyx.requests_at_once": 8,
    }


@contextmanager
def filled(backend, home, truth):
    """Give a database with everything that the heavy tables take."""
    database = Database(backend, home)
    database.connect()
    database.register(truth.folder, truth.release)
    heavy = catalog.find(HEAVY)
    worker.run([table for table in catalog.tables() if table not in heavy])
    yield database
    database.connect()
    database.drop()


def measure_computing(database, place, tables, what):
    """Compute tables of ours with one worker, two and four."""
    paces = {}
    for n_workers in (1, 2, 4):
        database.connect()
        for table in catalog.find(tables):
            table().delete()
        paces[n_workers] = run(database, place, n_workers, *tables)
    on_result(what, paces)


def measure_own(database, place):
    """Do jobs that do nothing but wait, or compute."""
    database.connect()
    catalog.use([TROUBLES])
    own = sys.modules["troubles"]
    for kind, seconds, n_jobs in (("wait", 0.5, 48), ("compute", 0.5, 48)):
        paces = {}
        for n_workers in (1, 2, 4):
            own.Task.delete()
            own.give(*[(kind, seconds)] * n_jobs)
            arguments = ("--module", TROUBLES)
            paces[n_workers] = run(database, place, n_workers, "troubles.Result", more=arguments)
        on_result(f"{n_jobs} jobs that {kind} {seconds} s", paces)
    own.Task.delete()
    own.schema.drop(prompt=False)
    catalog.use([])


def measure_idle(database, backend, place):
    """Count what four workers ask that have nothing to do."""
    database.connect()
    look = chaos.Look(database)
    statements, before = pace.Statements(look, backend), pace.connections(look, backend)
    arguments = ("--workers", "4", "--watch")
    with chaos.pool(database, place / "log", *arguments, **statements.environment):
        while pace.connections(look, backend) - before <= 4:
            time.sleep(0.1)
        time.sleep(10)
        began = statements.count()
        time.sleep(IDLE_SECONDS)
        asked = statements.count() - began
    look.close()
    print(f"  4 idle workers    {asked / IDLE_SECONDS:5.2f} queries a second over {IDLE_SECONDS} s")
    tell_load("then")


def run(database, place, n_workers, *tables, more=()):
    """Run a pool; return its pace in jobs a second, in the middle and as a whole."""
    only = [word for table in tables for word in ("--only", table)]
    look = chaos.Look(database)
    started = time.monotonic()
    arguments = ("--workers", str(n_workers), *only, *more)
    with chaos.pool(database, place / "log", *arguments) as pool:
        assert pool.wait(TIMEOUT) == 0, pool.said()
    seconds = time.monotonic() - started
    _, ended = pace.spans(look, tables)
    look.close()
    return pace.middle_rate(ended), len(ended) / seconds


def on_result(what, paces):
    print(f"  {what}")
    (one, whole_one) = paces[1]
    for n_workers, (rate, whole) in paces.items():
        print(f"    {n_workers} at work  {rate:7.2f} jobs/s  {rate / one:5.2f} x", end="")
        print(f"     with start and end {whole:7.2f} jobs/s  {whole / whole_one:5.2f} x")
    tell_load("then")


def tell_load(when):
    print(f"    load of {os.cpu_count()} cores {when}: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
