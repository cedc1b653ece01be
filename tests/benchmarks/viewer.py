"""How long the pages of the viewer take, and whether many people can look at them at once.

    BWM_PREFIX=size2024 python -m tests.benchmarks.viewer [--users 20] [--seconds 120]

The database is one that `bwm simulate --release-size 2024 --spikes 2` has filled. Of each page:
ms on the server for the page, its slowest panel, and the page with all panels; cold means that no
answer is kept. Then users click from page to page: errors, times, and memory of the viewer.
"""
# ruff: noqa: T201

import argparse
import html
import random
import re
import statistics
import threading
import time
import urllib.request
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
from starlette.testclient import TestClient

from schemas import connection, ephys, probe, rows, storage
from tests.support import viewing
from viewer import app, cache

PANELS = re.compile(r'data-src="([^"]+)"')
PAUSE = 1.0, 3.0
"""Shortest and longest time (s) for which a user looks at a page."""


def addresses():
    """Give the address of a page of each kind, of the insertion with the largest object of spikes.

    Others that `bwm simulate` fills have few distinct times of spikes, in objects of some KB.
    """
    schema = ephys.Spikes().database
    size = {path: held.n_bytes for path, held in storage.list_schema(schema).items()}
    stored = (ephys.Spikes & "n_spikes > 0").to_dicts()
    chosen = max(stored, key=lambda row: size.get(row["spikes"].path, 0))
    key = {name: chosen[name] for name in ephys.Spikes.primary_key}
    pid = (probe.ProbeInsertion & key).fetch1("pid")
    units = rows.frame(ephys.Spikes.Unit & key).sort_values("n_unit_spikes")
    eid, unit = key["eid"], units.cluster_id.iloc[-1]
    return {
        "release": "/",
        "region": "/region/TH",
        "cohort": "/cohort?region=TH&least_firing_rate=1",
        "session": f"/session/{eid}",
        "insertion": f"/insertion/{pid}",
        "trial": f"/trial/{eid}/40",
        "unit": f"/unit/{pid}/{key['sorting_name']}/{unit}",
        "jobs": "/jobs",
        "search": "/search?q=TH",
    }


def panels(page):
    """List the addresses of the panels of a page."""
    return [html.unescape(found) for found in PANELS.findall(page)]


def time_pages(pages, rounds):
    """Ask for each page and its panels in this process; return medians in ms, a row per page."""
    found = {}
    with TestClient(app.make(), base_url="http://localhost") as client:

        def ask(address):
            start = time.perf_counter()
            answer = client.get(address)
            taken = 1e3 * (time.perf_counter() - start)
            assert answer.status_code == 200, f"{address}: {answer.status_code} {answer.text[:300]}"
            return taken, answer.text

        def ask_all(address):
            of_page, text = ask(address)
            return [of_page, *(ask(panel)[0] for panel in panels(text))]

        for name, address in pages.items():
            with mock.patch.object(cache.Cache, "get", lambda _self, _key, make, _seconds: make()):
                cold = np.median([ask_all(address) for _ in range(rounds)], axis=0)
            ask_all(address)
            warm = np.median([ask_all(address) for _ in range(rounds)], axis=0)
            found[name] = {
                f"{kind} {what}": value
                for kind, taken in (("cold", cold), ("warm", warm))
                for what, value in (
                    ("page", taken[0]),
                    ("panel", max(taken[1:], default=0.0)),
                    ("all", sum(taken)),
                )
            } | {"panels": len(cold) - 1}
            print(pd.DataFrame(found).T.round().tail(1).to_string(header=len(found) == 1))


def use(base, pages, until, taken, errors, seed):
    """Click from page to page, and wait for all panels of each, as a browser does."""
    rng = random.Random(seed)
    while time.monotonic() < until:
        name = rng.choice(list(pages))
        start = time.monotonic()
        try:
            with urllib.request.urlopen(base + pages[name], timeout=60) as answer:
                text = answer.read().decode()
            taken.append((name, "page", time.monotonic() - start))
            for panel in panels(text):
                begun = time.monotonic()
                with urllib.request.urlopen(base + panel, timeout=60) as answer:
                    answer.read()
                taken.append((name, "panel", time.monotonic() - begun))
        except OSError as error:
            errors.append(f"{name}: {error}")
        time.sleep(rng.uniform(*PAUSE))


def memory(process):
    """Return the memory of a process (MB)."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1e3


def serve_users(pages, n_users, seconds):
    """Let users look at pages, and print what they met."""
    taken, errors = [], []
    with viewing.served() as (base, process):
        until = time.monotonic() + seconds
        users = [
            threading.Thread(target=use, args=(base, pages, until, taken, errors, seed))
            for seed in range(n_users)
        ]
        for user in users:
            user.start()
        used = []
        while time.monotonic() < until:
            time.sleep(seconds / 8)
            used.append(memory(process.pid))
        for user in users:
            user.join()
    table = pd.DataFrame(taken, columns=["page", "what", "seconds"])
    print(f"{n_users} users, {seconds:g} s: {len(table)} answers, {len(errors)} errors")
    for what, of in table.groupby("what").seconds:
        middle, most = 1e3 * statistics.median(of), 1e3 * np.percentile(of, 95)
        print(f"  {what}: median {middle:.0f} ms, 95th percentile {most:.0f} ms")
    print(f"  memory of the viewer (MB): {' '.join(f'{mb:.0f}' for mb in used)}")
    print("\n".join(sorted(set(errors))))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--only", choices=("pages", "users"))
    arguments = parser.parse_args()
    connection.connect()
    pages = addresses()
    if arguments.only != "users":
        time_pages(pages, arguments.rounds)
    connection.disconnect()
    if arguments.only != "pages":
        serve_users(pages, arguments.users, arguments.seconds)


if __name__ == "__main__":
    main()
