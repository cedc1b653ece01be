"""Jobs that nobody will finish, and those that are done already."""

from __future__ import annotations

import time
from collections.abc import Sequence

import datajoint as dj

from populate import catalog, sql
from populate.verify.damage import Damage
from populate.workers import queue
from schemas import connection
from schemas.database.driver_errors import retry_on_deadlock

JOBS = "jobs"
PROMISE = "every job that is held is worked on, and none is of a key that is made"
PAUSE = 1.0
"""Seconds between two looks: a worker adds, makes and removes jobs all the time."""

Table = type[dj.Table]


def count(eid: str | None) -> int:
    """Count the jobs of all tables."""
    tables = catalog.of_session(None, eid)
    session = " WHERE eid = %s" if eid is not None else ""
    selects = [f"SELECT COUNT(*) FROM {t().jobs.full_table_name}{session}" for t in tables]
    return sum(int(n) for (n,) in sql.fetch(selects, eid))


def find(eid: str | None) -> list[Damage]:
    """Find jobs that nobody will finish, or that are done, and still are after a while."""
    found = look(eid)
    if not found:
        return []
    time.sleep(PAUSE)
    again = look(eid)
    return [one for one in found if one in again]


def look(eid: str | None) -> list[Damage]:
    """Find them by one look."""
    tables = catalog.of_session(None, eid)
    return [*_silent(tables, eid), *_made(tables, eid)]


def _silent(tables: Sequence[Table], eid: str | None) -> list[Damage]:
    """Find jobs whose worker was not heard from for too long."""
    patience = connection.active().worker.stale_after
    of_session = {"eid": eid} if eid is not None else {}
    return [
        Damage(
            JOBS,
            "held",
            catalog.name_of(holder.table),
            key,
            f"reserved by process {holder.pid} of {holder.host}",
            f"heard from in the last {patience:.0f} s",
            "silent for longer",
        )
        for holder in queue.reservations(tables)
        if holder.stalled > patience
        for key in (_held_by(holder) & of_session).proj().to_dicts()
    ]


def _held_by(holder: queue.Reservation) -> dj.jobs.Job:
    return holder.table().jobs.reserved & {"host": holder.host, "pid": holder.pid}


def _made(tables: Sequence[Table], eid: str | None) -> list[Damage]:
    """Find jobs of keys that are made, and that no worker has in hand."""
    session = " AND m.eid = %s" if eid is not None else ""
    selects = []
    for i, table in enumerate(tables):
        held = table().jobs
        same = " AND ".join(
            f"t.{sql.quote(name)} = m.{sql.quote(name)}" for name in held.primary_key
        )
        selects.append(
            f"SELECT {i}, {sql.as_json(held.primary_key, 'm')}, {sql.text('m.status')} "
            f"FROM {held.full_table_name} m WHERE m.status IN ('pending', 'error'){session} "
            f"AND EXISTS (SELECT 1 FROM {table.full_table_name} t WHERE {same})"
        )
    return [
        Damage(
            JOBS,
            "job",
            catalog.name_of(tables[i]),
            sql.read_key(key, tables[i]().jobs.primary_key),
            f"job with status {status}",
            "none: the row is there",
            status,
        )
        for i, key, status in sql.fetch(selects, eid)
    ]


def reclaim(damage: Sequence[Damage]) -> list[tuple[Damage, str]]:
    """Give back the jobs of silent workers, as a worker does: how many died of one is counted.

    Parameters
    ----------
    damage : sequence of Damage
        Jobs that silent workers held; those of workers that were heard from since are let be.

    Returns
    -------
    list of (Damage, str)
        Each that was taken over, and why it fails now if too many workers died of it.
    """
    silent = look(None) if damage else []
    found = [one for one in damage if one in silent]
    if not found:
        return []
    tables = catalog.find([one.table for one in found])
    abandoned = queue.reclaim(tables, connection.active().worker)
    failed = [(catalog.name_of(one.table), one.key, one.error) for one in abandoned]
    return [
        (one, next((why for *job, why in failed if job == [one.table, one.key]), ""))
        for one in found
    ]


def remove(one: Damage) -> bool:
    """Remove a job unless a worker has it in hand since; tell whether it was removed."""
    (table,) = catalog.find([one.table])
    job = table().jobs & one.key & {"status": one.found}
    return bool(retry_on_deadlock(lambda: job.delete_quick(get_count=True)))
