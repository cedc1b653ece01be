"""Trials x units x bins of a session of 8.6 M stored spikes, beside a loop and pynapple.

    python -m tests.benchmarks.tensor

Prints figures, judges nothing. The loop and pynapple begin with trains in memory; ours begins
with the database.
"""
# ruff: noqa: T201

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.benchmarks.from_files import timed
from tests.benchmarks.table import Row

EVENT, WINDOW, WIDTH, ROUNDS = "stim_on_time", (-0.2, 0.5), 0.02, 5


def loop(trains, events, edges):
    """Count as one would write it: unit by unit and trial by trial."""
    counts = np.empty((len(events), len(trains), len(edges) - 1), int)
    for unit, train in enumerate(trains):
        for number, event in enumerate(events):
            first, last = np.searchsorted(train, (event + edges[0], event + edges[-1]))
            counts[number, unit] = np.histogram(train[first:last] - event, edges)[0]
    return counts


def perievent(trains, events, edges):
    """Count with pynapple: its perievent spikes of each unit, then bins."""
    import pynapple as nap

    around = nap.Ts(events)
    group = nap.TsGroup({unit: nap.Ts(train) for unit, train in enumerate(trains)})
    found = nap.compute_perievent(group, around, window=(-edges[0], edges[-1]))
    return [found[unit].count(WIDTH) for unit in found]


def measure(settings_text, folder):
    """Import the release in `folder`, and count; return seconds."""
    from populate import catalog
    from populate.registration import sessions
    from populate.workers import worker
    from schemas import connection, ephys, probe, views
    from schemas.maths.psth import compute_bin_edges
    from schemas.settings import Settings
    from schemas.sources import base

    connection.connect(Settings.model_validate(json.loads(settings_text)))
    sessions.register_source(base.open_source(str(folder)))
    names = {"probe.Channels", "behavior.Trials", "ephys.SpikeSorting", "ephys.Spikes"}
    worker.run([table for table in catalog.tables() if catalog.name_of(table) in names])
    (pid,) = probe.ProbeInsertion.to_arrays("pid")
    seconds = [timed(lambda: views.spike_counts(pid, EVENT, WINDOW, WIDTH))[0]]
    for _ in range(ROUNDS):
        taken, found = timed(lambda: views.spike_counts(pid, EVENT, WINDOW, WIDTH))
        seconds.append(taken)
    trains = ephys.spike_times(ephys.SpikeSorting.Cluster()).to_list()
    events = found.events.time.to_numpy(float)
    edges = compute_bin_edges(*WINDOW, WIDTH)
    looped, counts = timed(lambda: loop(trains, events, edges))
    assert found.counts.shape == counts.shape
    # numpy subtracts before it compares: a spike on an edge may fall into the next bin.
    n_apart = int((found.counts != counts).sum())
    theirs, _ = timed(lambda: perievent(trains, events, edges))
    connection.disconnect()
    return {
        "shape": counts.shape,
        "first": seconds[0],
        "ours": float(np.median(seconds[1:])),
        "loop": looped,
        "pynapple": theirs,
        "n_apart": n_apart,
    }


def on_servers():
    """Give for each server its name and what was measured, in a process of its own."""
    from schemas.sources import simulator
    from tests.support import servers
    from tests.support.databases import Database

    with tempfile.TemporaryDirectory() as place:
        truth = simulator.simulate(Path(place) / "release", "full")
        for name, start in servers.START.items():
            with start() as backend:
                database = Database(backend, Path(place) / name)
                settings = database.settings.model_dump(mode="json", by_alias=True)
                settings["database.password"] = database.settings.password.get_secret_value()
                command = [sys.executable, "-m", __spec__.name, json.dumps(settings)]
                command.append(str(truth.folder))
                run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
                yield name, json.loads(run.stdout)


def table_rows(quick=False):
    """Time counting a session, beside the loop and pynapple."""
    found = []
    for name, taken in on_servers():
        ours = {"postgresql": "ours, PostgreSQL", "mysql": "ours, MySQL"}[name]
        others = {"loop": taken["loop"], "pynapple": taken["pynapple"]}
        found.append(Row("trials x units x bins of a session", {ours: taken["ours"], **others}))
    return found


def main():
    for name, taken in on_servers():
        print(f"{name}: {' x '.join(map(str, taken['shape']))} trials x units x bins")
        print(f"  first call                  {taken['first']:6.2f} s")
        print(f"  further calls, median of {ROUNDS}  {taken['ours']:6.2f} s")
        print(f"  loop, trains in memory      {taken['loop']:6.2f} s")
        print(f"  pynapple, trains in memory  {taken['pynapple']:6.2f} s")
        print(f"  bins that differ from the loop's by rounding: {taken['n_apart']}")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]))))
    else:
        main()
