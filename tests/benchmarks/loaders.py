"""Times of brainbox, the IBL's own loaders, on the files of a release.

    python -m tests.benchmarks.loaders FOLDER

Its libraries need other versions than ours: it runs in a Python of its own, named by
`BWM_TEST_BRAINBOX` (`pip install ibllib` there), else in this one. Where it is not installed, the
benchmarks leave it out.
"""
# ruff: noqa: T201

import json
import os
import subprocess
import sys
from pathlib import Path

NAME = "brainbox"
PROGRAM = """
import json, sys, time, types
from brainbox.io.one import SessionLoader, SpikeSortingLoader
from iblatlas.regions import BrainRegions
from one.api import ONE

one = ONE(cache_dir=sys.argv[1], mode="local")
# Only the regions: the volumes of the atlas would be downloaded.
atlas = types.SimpleNamespace(regions=BrainRegions())
eid = str(one.search()[0])

def spikes():
    sort = SpikeSortingLoader(one=one, eid=eid, pname="probe00", atlas=atlas)
    return sort.load_spike_sorting_object("spikes")

def train():
    loaded = spikes()
    return loaded["times"][loaded["clusters"] == 5]

def trials():
    loader = SessionLoader(one=one, eid=eid)
    loader.load_trials()
    return loader.trials

def wheel():
    loader = SessionLoader(one=one, eid=eid)
    loader.load_wheel()
    return loader.wheel

taken = {}
for call in (spikes, train, trials, wheel):
    rounds = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        rounds.append(time.perf_counter() - start)
    taken[call.__name__] = min(rounds)
print(json.dumps(taken))
"""


def measure(folder):
    """Time loading spikes, a train, trials and the wheel (s); nothing where not installed."""
    python = os.environ.get("BWM_TEST_BRAINBOX", sys.executable)
    found = subprocess.run([python, "-c", "import brainbox.io.one"], capture_output=True)
    if found.returncode:
        return {}
    command = [python, "-c", PROGRAM, str(folder)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(run.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(measure(Path(sys.argv[1])) or "brainbox is not installed")
