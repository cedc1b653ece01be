"""Cluster rows, inserted by `rows.insert` and by the server's bulk path, with all foreign keys.

`python -m tests.benchmarks.inserts` prints figures, judges nothing. The bulk path gets its text
ready made: COPY on PostgreSQL, one INSERT of many rows on MySQL. CPU is that of this process and
of the server's.
"""
# ruff: noqa: T201

import io
import statistics
import tempfile
import time
from pathlib import Path

import datajoint as dj
import numpy as np
import psutil

from populate import catalog, sql
from populate.workers import worker
from schemas import ephys, rows
from schemas.sources import simulator
from tests.benchmarks.table import Row
from tests.support import servers
from tests.support.databases import Database

N_ROWS, ROUNDS = 1000, 15
TABLES = ("probe.Channels", "ephys.SpikeSorting")


def prepare():
    """Take the units of a sorting out of the connected database, as a frame of many more rows."""
    filled = catalog.find(TABLES)
    worker.run(list(filled))
    cluster = ephys.SpikeSorting.Cluster()
    found = rows.frame(cluster)
    key = found[ephys.SpikeSorting.primary_key].iloc[0]
    of_sorting = found[(found[key.index] == key).all(axis=1)]
    units = of_sorting.iloc[np.arange(N_ROWS) % len(of_sorting)].copy()
    units["cluster_id"] = np.arange(N_ROWS)
    cluster.delete_quick()
    return units.reset_index(drop=True)


def bulk_path(units):
    """Return a function that sends rows, whose text is made already, to the server."""
    table = ephys.SpikeSorting.Cluster()
    target = f"{table.full_table_name} ({sql.columns(units.columns)})"
    driver = dj.conn()._conn
    if not sql.is_mysql():
        text = units.to_csv(index=False, header=False)

        def copy():
            with driver.cursor() as cursor:
                cursor.copy_expert(f"COPY {target} FROM STDIN (FORMAT csv)", io.StringIO(text))

        return copy
    values = rows.records(units)
    cells = [tuple(row.values()) for row in values]
    shape = f"({', '.join(['%s'] * len(units.columns))})"
    with driver.cursor() as cursor:
        text = ", ".join(cursor.mogrify(shape, row) for row in cells)

    def insert():
        with driver.cursor() as cursor:
            cursor.execute(f"INSERT INTO {target} VALUES {text}")

    return insert


def server_process(backend):
    """Find the process that serves this connection, or None where another machine or user does."""
    if not sql.is_mysql():
        (pid,) = dj.conn().query("SELECT pg_backend_pid()").fetchone()
        return psutil.Process(pid)
    of_port = f"--port={backend.port}"
    for process in psutil.process_iter(["cmdline"]):
        if of_port in (process.info["cmdline"] or ()):
            return process
    return None


def measure(backend, units):
    """Time both ways in turn; medians of seconds: wall, CPU of client, CPU of server."""
    cluster, server = ephys.SpikeSorting.Cluster(), server_process(backend)
    ways = {"ours": lambda: rows.insert(cluster, units), "bulk path": bulk_path(units)}
    taken = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            with dj.conn().transaction:
                before = _clocks(server)
                way()
                taken[name].append(np.subtract(_clocks(server), before))
                assert len(cluster) == N_ROWS
                cluster.delete_quick()
    # The system counts a server's CPU in steps of 10 ms: a mean, not a median.
    return {
        name: (statistics.median(w for w, _, _ in all_), *np.mean(all_, axis=0)[1:])
        for name, all_ in taken.items()
    }


def _clocks(server):
    used = sum(server.cpu_times()[:2]) if server else float("nan")
    return time.perf_counter(), time.process_time(), used


def on_servers():
    """Give for each server its column of the table, and what `measure` returns."""
    with tempfile.TemporaryDirectory() as place:
        truth = simulator.simulate(Path(place) / "release", "tiny", seed=6)
        for column, name in (("ours, PostgreSQL", "postgresql"), ("ours, MySQL", "mysql")):
            with servers.START[name]() as backend:
                database = Database(backend, Path(place) / name)
                database.connect()
                database.register(truth.folder, truth.release)
                yield column, measure(backend, prepare())
                database.drop()


def table_rows(quick=False):
    """Give the rows of the table: wall, and CPU of client and server."""
    found = []
    for column, taken in on_servers():
        ours, bulk = np.array(taken["ours"]), np.array(taken["bulk path"])
        server = column.removeprefix("ours, ")
        wall = {column: ours[0], "limit": bulk[0]}
        cpu = {column: ours[1:].sum(), "limit": bulk[1:].sum()}
        found.append(Row(f"{N_ROWS:,} Cluster rows into {server}", wall))
        if np.isfinite(list(cpu.values())).all():
            found.append(Row(f"... CPU of client and {server}", cpu))
    return found


def main():
    for column, taken in on_servers():
        print(column.removeprefix("ours, "))
        for name, (wall, client, server) in taken.items():
            print(f"  {name:10} {1e3 * wall:6.1f} ms", end="")
            print(f"   CPU {1e3 * client:6.1f} ms of client, {1e3 * server:6.1f} of server")


if __name__ == "__main__":
    main()
