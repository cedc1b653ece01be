"""Check of the jobs: their workers are alive, and their rows are not there yet."""

from __future__ import annotations

import time
from collections.abc import Sequence

import datajoint as dj

from populate import catalog, sql, status
from populate.verify.damage import Damage, Key
from populate.workers import queue
from schemas import connection
from schemas.database.driver_errors import retry_on_deadlock

JOBS = "jobs"
PROMISE = "every reserved job has a live worker, and no job has its row already"
PAUSE = 1.0
"""Seconds between two searches: workers add, run and delete jobs all the time."""

Table = type[dj.Table]


def count(eid: str | None) -> int:
    """Count the jobs of all tables."""
    key = catalog.session_key(eid)
    return sum(sql.count(table().jobs & key for table in catalog.of_session(None, eid)))


def find(eid: str | None) -> list[Damage]:
    """Find jobs that are damaged, and are still damaged after a pause."""
    found = find_once(eid)
    if not found:
        return []
    time.sleep(PAUSE)
    again = find_once(eid)
    return [one for one in found if one in again]


def find_once(eid: str | None) -> list[Damage]:
    """Find jobs of stalled workers, and jobs that have their row already."""
    tables = catalog.of_session(None, eid)
    return [*_find_stalled(tables, eid), *_find_done(tables, eid)]


def _find_stalled(tables: Sequence[Table], eid: str | None) -> list[Damage]:
    """Find jobs whose worker has not sent a heartbeat for too long."""
    stale_after = connection.active().worker.stale_after
    return [
        Damage(
            JOBS,
            "held",
            job.table,
            job.key,
            f"reserved by process {job.pid} of {job.host}",
            f"a heartbeat in the last {stale_after:.0f} s",
            "none",
        )
        for job in status.running(tables, eid)
        if job.is_stalled
    ]


def _find_done(tables: Sequence[Table], eid: str | None) -> list[Damage]:
    """Find pending and failed jobs that have their row already."""
    selections = []
    for table in tables:
        idle = table().jobs & "status IN ('pending', 'error')" & catalog.session_key(eid)
        rest = f"{sql.text('status')} FROM {idle.full_table_name} AS job{idle.where_clause()}"
        selections.append((table, idle.primary_key, f"{rest} AND {sql.done(table)}"))
    return [
        Damage(
            JOBS,
            "job",
            catalog.name_of(table),
            key,
            f"job with status {state}",
            "none: the row is there",
            state,
        )
        for table, key, state in sql.fetch_keyed(selections)
    ]


def reclaim(damage: Sequence[Damage]) -> list[tuple[Damage, str]]:
    """Requeue the jobs of stalled workers, as a worker does, and count the deaths.

    Parameters
    ----------
    damage : sequence of Damage
        Jobs of stalled workers. A job whose worker has sent a heartbeat since is unchanged.

    Returns
    -------
    list of (Damage, str)
        Each job, and its error if it is marked failed because too many workers died.
    """
    stalled = find_once(None) if damage else []
    found = [one for one in damage if one in stalled]
    if not found:
        return []
    tables = catalog.find([one.table for one in found])
    abandoned = queue.reclaim(tables, connection.active().worker)
    errors = {_place(catalog.name_of(job.table), job.key): job.error for job in abandoned}
    return [(one, errors.get(_place(one.table, one.key), "")) for one in found]


def _place(table: str, key: Key) -> tuple[str, ...]:
    """Return the name of a table and a key as text: dates in a key are text or not."""
    return (table, *map(str, key.values()))


def remove(one: Damage) -> bool:
    """Remove a job unless a worker has reserved it; return whether it was removed."""
    (table,) = catalog.find([one.table])
    job = table().jobs & one.key & {"status": one.found}
    return bool(retry_on_deadlock(lambda: job.delete_quick(get_count=True)))
