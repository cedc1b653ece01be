"""Trials x units x bins of the good units of every session of a release, one session at a time.

    BWM_PREFIX=size2024 python -m tests.benchmarks.sessions

The database is one that `bwm simulate --release-size` has filled: `--insertions 12 --spikes 12` for
objects of spikes as large as real ones.
"""
# ruff: noqa: T201

import time

from schemas import connection, views
from tests.benchmarks.ask import filled
from tests.benchmarks.from_files import peak, reset_peak
from tests.benchmarks.table import Row

N_INSERTIONS, N_QUICK = 12, 3


def count():
    """Count the spikes around the stimulus; return sessions, trials, units, spikes and seconds."""
    start = time.perf_counter()
    n_sessions = n_trials = n_units = n_spikes = 0
    units = views.units(criterion="ibl_2022")
    for found in views.each_session(units, "stim_on_time", progress=False):
        n_sessions += 1
        n_trials += len(found.events)
        n_units += len(found.units)
        n_spikes += int(found.counts.sum())
    return n_sessions, n_trials, n_units, n_spikes, time.perf_counter() - start


def table_rows(quick=False):
    """Time one session of many, in databases of their own."""
    found, n = [], N_QUICK if quick else N_INSERTIONS
    for column, name in (("ours, PostgreSQL", "postgresql"), ("ours, MySQL", "mysql")):
        with filled(name, "2024", n, n_spikes=n):
            n_sessions, *_, seconds = count()
        found.append(Row("good units of a session, one of many", {column: seconds / n_sessions}))
    return found


def main():
    connection.connect()
    reset_peak()
    before = peak()
    n_sessions, n_trials, n_units, n_spikes, seconds = count()
    print(f"{n_sessions} sessions, {n_units:,} units, {n_trials:,} trials, {n_spikes:,} spikes")
    print(f"{seconds:.1f} s: {60 * n_sessions / seconds:.0f} sessions a minute")
    print(f"{peak() - before:.0f} MB")


if __name__ == "__main__":
    main()
