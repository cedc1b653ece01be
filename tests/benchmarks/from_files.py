"""From files to rows and back, at full size, beside numpy in the same run: `make bench`.

Prints figures, judges nothing. Each server is measured in a process of its own, so that its
peak memory is its own.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from tests.benchmarks import loaders
from tests.benchmarks.table import Row
from tests.benchmarks.timing import best

FILES = ("times", "clusters", "amps", "depths")
UNITS, ROUNDS = 500, 101


def reset_peak():
    """Begin to note the peak memory of this process anew (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def peak():
    """Peak memory of this process since `reset_peak` (MB): all of it, libraries included."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def timed(call):
    start = time.perf_counter()
    value = call()
    return time.perf_counter() - start, value


def load_and_sort(folder):
    """What numpy takes: load the four files, sort them by cluster (time within it)."""
    spikes = {name: np.load(folder / f"spikes.{name}.npy") for name in FILES}
    order = np.argsort(spikes["clusters"], kind="stable")
    return {name: values[order] for name, values in spikes.items()}


def measure(settings_text, folder):
    """Import the release in `folder` into the database and read units back; return figures."""
    from populate import catalog
    from populate.registration import sessions
    from populate.workers import worker
    from schemas import connection, ephys, probe, rows, storage, views
    from schemas.settings import Settings
    from schemas.sources import base

    connection.connect(Settings.model_validate(json.loads(settings_text)))
    sessions.register_source(base.open_source(str(folder)))
    fill = {catalog.name_of(table): table for table in catalog.tables()}
    seconds = {}
    for name in ("probe.Channels", "behavior.Trials", "wheel.Wheel", "ephys.SpikeSorting"):
        seconds[name], _ = timed(lambda name=name: worker.run([fill[name]]))
    reset_peak()
    before = peak()
    seconds["ephys.Spikes"], _ = timed(lambda: worker.run([fill["ephys.Spikes"]]))
    after = peak()
    for name in ("ephys.GoodUnits", "activity.UnitRate", "activity.RegionRate"):
        seconds[name], _ = timed(lambda name=name: worker.run([fill[name]]))
    units = rows.frame(ephys.Spikes.Unit & "n_unit_spikes > 0")
    keys = units[ephys.Spikes.Unit.primary_key].to_dict("records")
    rng = np.random.default_rng(0)
    one = [
        timed(lambda key=key: ephys.spike_times(ephys.SpikeSorting.Cluster & key))[0]
        for key in rng.choice(keys, ROUNDS)
    ]
    many, trains = timed(lambda: ephys.spike_times(ephys.SpikeSorting.Cluster & keys[:UNITS]))
    (row,) = ephys.Spikes.to_dicts()
    stored = storage.place(row["spikes"].path)
    unit = [("cluster", "==", int(keys[0]["cluster_id"]))]
    read_unit = np.median(
        [timed(lambda: pq.read_table(stored, filters=unit))[0] for _ in range(11)]
    )
    read = min(timed(lambda: pq.read_table(stored, partitioning=None))[0] for _ in range(3))
    n_trains = len(trains)
    pid = probe.ProbeInsertion.fetch1("pid")
    del trains
    reset_peak()
    resident = peak()
    frame, spikes = timed(lambda: views.fetch_spikes(pid))
    added = (peak() - resident) / (spikes.memory_usage().sum() / 2**20)
    trials, _ = best(lambda: views.fetch_trials(pid), 3)
    wheel, _ = best(lambda: views.fetch_wheel(pid), 3)
    connection.disconnect()
    return {
        "seconds": seconds,
        "trials": trials,
        "wheel": wheel,
        "before": before,
        "peak": after,
        "one": float(np.median(one)),
        "many": many,
        "n_many": n_trains,
        "frame": frame,
        "read": read,
        "read_unit": float(read_unit),
        "frame_peak": float(added),
        "n_spikes": row["n_spikes"],
        "n_bytes": row["spikes"].stored["n_bytes"],
    }


def on_servers():
    """Give for each server its name, what was measured, numpy's and brainbox's s, the files' MB."""
    from schemas.sources import simulator
    from tests.support import servers
    from tests.support.databases import Database

    with tempfile.TemporaryDirectory() as place:
        truth = simulator.simulate(Path(place) / "release", "full")
        folder = next(truth.folder.rglob("spikes.times.npy")).parent
        size = sum((folder / f"spikes.{name}.npy").stat().st_size for name in FILES) / 2**20
        print(f"{truth.counts['spikes']:,} spikes of {truth.counts['clusters']} clusters; ", end="")
        print(f"the four files hold {size:.0f} MB")
        loaded = loaders.measure(truth.folder)
        for name, start in servers.START.items():
            with start() as backend:
                database = Database(backend, Path(place) / name)
                numpy_seconds = min(timed(lambda: load_and_sort(folder))[0] for _ in range(3))
                taken = in_own_process("from_files", database.settings, truth.folder)
                yield name, taken, numpy_seconds, loaded, size


def table_rows(quick=False):
    """Time files to an object of spikes, and spikes back to a train and a frame."""
    found = []
    for name, taken, numpy_seconds, loaded, _ in on_servers():
        ours = {"postgresql": "ours, PostgreSQL", "mysql": "ours, MySQL"}[name]
        spikes = taken["seconds"]["ephys.Spikes"]
        theirs = {name: {loaders.NAME: seconds} for name, seconds in loaded.items()}
        found += [
            Row("import of 8.6 M spikes", {ours: spikes, "limit": numpy_seconds}),
            Row(
                "train of one unit",
                {ours: taken["one"], "limit": taken["read_unit"], **theirs.get("train", {})},
            ),
            Row(
                "frame of 8.6 M spikes",
                {ours: taken["frame"], "limit": taken["read"], **theirs.get("spikes", {})},
            ),
            Row("trials of a session", {ours: taken["trials"], **theirs.get("trials", {})}),
            Row("wheel of a session at 1 kHz", {ours: taken["wheel"], **theirs.get("wheel", {})}),
        ]
    return found


def main():
    for name, found, numpy_seconds, loaded, size in on_servers():
        report(name, found, numpy_seconds, size)
        for what, seconds in loaded.items():
            print(f"  brainbox: {what:31s} {seconds:8.2f} s")


def in_own_process(module, settings, folder):
    """Let a benchmark measure a folder in a process of its own; return what it prints as JSON."""
    given = settings.model_dump(mode="json", by_alias=True)
    given["database.password"] = settings.password.get_secret_value()
    command = [sys.executable, "-m", f"tests.benchmarks.{module}", json.dumps(given), str(folder)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


def report(name, found, numpy_seconds, size):
    seconds = found["seconds"]
    three = sum(
        seconds[t] for t in ("ephys.SpikeSorting", "ephys.GoodUnits", "activity.RegionRate")
    )
    spikes = seconds["ephys.Spikes"]
    ratio = found["n_bytes"] / found["n_spikes"]
    print(f"\n{name}")
    print(f"  numpy loads and sorts the four files      {numpy_seconds:8.2f} s")
    print(f"  files to Spikes rows and object           {spikes:8.2f} s", end="")
    print(f"  {spikes / numpy_seconds:.1f} x numpy")
    print(f"  peak memory of that process               {found['peak']:8.0f} MB", end="")
    print(f" {found['peak'] / size:.1f} x the four arrays ({found['before']:.0f} MB before)")
    print(f"  stored                                    {ratio:8.1f} bytes a spike")
    print(f"  SpikeSorting, GoodUnits and RegionRate    {three:8.2f} s")
    print(f"  UnitRate, five windows                    {seconds['activity.UnitRate']:8.2f} s")
    print(f"  one unit's train, median of {ROUNDS}           {1000 * found['one']:8.1f} ms")
    print(f"  trains of {found['n_many']} units                       {found['many']:8.2f} s")
    print(f"  frame of all spikes                       {found['frame']:8.2f} s", end="")
    print(f"  {found['frame_peak']:.2f} x its size at most in memory")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
