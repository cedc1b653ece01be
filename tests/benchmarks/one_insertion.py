"""What one core needs to fill all tables from an insertion of 8.6 M spikes and its session.

    python -m tests.benchmarks.one_insertion

Processor time of the client. Each table is split into the parts of its `make`, and the rest: the
queue, transactions, and the checks of DataJoint. The limit of an imported table is to read its
files and to write its stored objects with plain numpy and pyarrow.
"""
# ruff: noqa: T201

import functools
import io
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tests.benchmarks.from_files import in_own_process, load_and_sort
from tests.benchmarks.table import Row

PARTS = ("make_fetch", "make_compute", "make_insert", "make")
SHOWN = 0.15
"""Seconds from which a table has a row of its own."""


def watch(tables, taken):
    """Let the parts of `make` add their processor time to what was taken, by table and part."""

    def watched(table, name, part):
        @functools.wraps(part)
        def timed(self, *arguments, **options):
            start = time.process_time()
            found = part(self, *arguments, **options)
            taken[table, name] += time.process_time() - start
            return found

        return timed

    for name, table in tables.items():
        for part in PARTS:
            own = getattr(table, part, None)
            # DataJoint's own `make` calls the three parts.
            if own is not None and not own.__module__.startswith("datajoint"):
                setattr(table, part, watched(name, part, own))


def measure(settings_text, folder):
    """Fill all tables in this process, on one core; return seconds by table and part."""
    from populate import catalog
    from populate.registration import register
    from populate.workers import queue, worker
    from schemas import connection
    from schemas.settings import Settings

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    connection.connect(Settings.model_validate(json.loads(settings_text)))
    register.register(str(folder), None)
    tables = {catalog.name_of(table): table for table in catalog.tables()}
    taken, whole, n_jobs = Counter(), Counter(), Counter()
    watch(tables, taken)
    queue.count_runnable(list(tables.values()))  # reads what is read once
    last = time.process_time()

    def count(result):
        nonlocal last
        now = time.process_time()
        whole[result.table] += now - last
        n_jobs[result.table] += 1
        last = now
        if result.error:
            raise RuntimeError(result.error)

    worker.run(on_result=count)
    slow = [name for name in tables if whole[name] > SHOWN]
    limits = {name: limit(name, tables[name], folder) for name in slow}
    connection.disconnect()
    return [
        {
            "table": name,
            "jobs": n_jobs[name],
            "s": seconds,
            **{part: taken[name, part] for part in PARTS},
            "limit": limits.get(name),
        }
        for name, seconds in whole.most_common()
    ]


def limit(name, table, folder):
    """Time reading the files of a table and writing its objects; None if it is computed.

    Spikes are sorted too.
    """
    if not hasattr(table, "Source"):
        return None
    files = files_read(table, folder)
    columns = [name for name, a in table().heading.attributes.items() if a.store]
    objects = [one.read() for column in columns for one in table().to_arrays(column)]
    start = time.process_time()
    if name == "ephys.Spikes":
        load_and_sort(files[0].parent)
        files = []
    for path in files:
        if path.suffix == ".npy":
            np.load(path)
        elif path.suffix == ".pqt":
            pq.read_table(path)
    for one in objects:
        pq.write_table(as_arrow(one), io.BytesIO(), compression="zstd", compression_level=1)
    return time.process_time() - start


def files_read(table, folder):
    """List the files that were read for a table, each as often as it was read."""
    read = (table.Source & "source_md5 IS NOT NULL").to_arrays("dataset_path")
    named = {path.name: path for path in folder.rglob("*") if path.is_file()}
    return [named[Path(path).name] for path in read]


def as_arrow(columns):
    """Turn stored columns into an Arrow table."""
    import pyarrow as pa

    return columns if isinstance(columns, pa.Table) else pa.table(dict(columns))


def on_servers():
    """Fill a database on each server, in a process of its own; give name and seconds."""
    from schemas.sources import simulator
    from tests.support import servers
    from tests.support.databases import Database

    with tempfile.TemporaryDirectory() as place:
        truth = simulator.simulate(Path(place) / "release", "full")
        for name in servers.START:
            with servers.as_shipped(name) as backend:
                settings = Database(backend, Path(place) / name).settings
                taken = in_own_process("one_insertion", settings, truth.folder)
                yield name, pd.DataFrame(taken).set_index("table")


def spent(row):
    """Tell the share of each part of `make` (%), and of the rest."""
    shares = {part.removeprefix("make_"): 100 * row[part] / row["s"] for part in PARTS}
    shares["rest"] = 100 - sum(shares.values())
    return ", ".join(f"{name} {share:.0f} %" for name, share in shares.items() if share >= 0.5)


def table_rows(quick=False):
    """Time all tables together, and each that takes long."""
    found = []
    for name, taken in on_servers():
        ours = {"postgresql": "ours, PostgreSQL", "mysql": "ours, MySQL"}[name]
        whole = taken.sum(numeric_only=True)
        found.append(Row("CPU of all tables of an insertion", {ours: whole["s"]}, spent(whole)))
        for table, row in taken[taken["s"] > SHOWN].iterrows():
            limits = {} if pd.isna(row["limit"]) else {"limit": row["limit"]}
            found.append(Row(f"... {table}", {ours: row["s"], **limits}, spent(row)))
    return found


def main():
    for name, taken in on_servers():
        print(f"\n{name}: {taken['s'].sum():.1f} s of one core")
        shown = taken[taken["s"] > SHOWN]
        told = shown[["jobs", "s", "limit"]].round(2).assign(spent=shown.apply(spent, axis=1))
        print(told.to_string(na_rep=""))


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
