"""The queue: jobs that can run, reservations, and workers that died or stalled.

The queue is DataJoint's own: each table that workers fill has a job table `~~table`. A row of the
job table is a job: pending, reserved by a process of a host, or failed (status "error"). This
project uses two columns for more. While a job is reserved, `duration` is the heartbeat: the seconds
from the reservation to the last sign of life of the worker. Until a job has failed,
`error_message` counts the workers that died while they ran the job.
"""

from __future__ import annotations

import math
import os
import platform
import re
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import datajoint as dj
import psutil
import psycopg2
import pymysql
from datajoint.condition import Not

from populate import sql
from schemas import rows
from schemas.database.driver_errors import retry_on_deadlock
from schemas.settings import WorkerSettings

Key = dict[str, Any]
Table = type[dj.Table]

CLOCK_TOLERANCE = 1.0
"""Seconds by which two clocks may differ."""

KEYS_PER_FETCH = 32
"""Jobs that a worker fetches at once; other workers may reserve some of them meanwhile."""

KEYS_PER_DELETE = 500
"""Jobs that one statement deletes by key: MySQL needs long to parse a longer statement."""


# --- jobs that can run --------------------------------------------------------------------------


def count_runnable(tables: Sequence[Table]) -> list[tuple[Table, int, int]]:
    """Count the jobs to do of each table; cheap, because idle workers repeat it.

    Returns
    -------
    list of tuple
        Each table with the number of its pending jobs whose scheduled time has come, and the
        number of keys that can be computed and have neither a row nor a job.
    """
    counts = sql.fetch_each(
        tables,
        lambda table: (
            f"(SELECT count(*) FROM {table().jobs.full_table_name} "
            "WHERE status = 'pending' AND scheduled_time <= CURRENT_TIMESTAMP(3)), (SELECT count(*)"
            f" FROM ({sql.able(table).make_sql()}) AS able WHERE {sql.undone(table)})"
        ),
    )
    return [(table, int(n_pending), int(n_new)) for table, n_pending, n_new in counts]


def refresh(table: Table, only: Sequence[Key] | None = None) -> None:
    """Add a job for each key that can be computed; delete jobs without a purpose.

    DataJoint's `jobs.refresh` sends a statement per job; this function sends a few for all. It
    also deletes jobs whose row is there already, for instance by `populate` in a notebook.

    Parameters
    ----------
    table : table
        Imported or computed.
    only : sequence of dict, optional
        Add jobs for these keys alone.
    """
    target, jobs = table(), table().jobs
    possible = target.key_source.proj()
    idle = jobs & "status in ('pending', 'success', 'error')"
    retry_on_deadlock(idle.restrict(Not(possible), semantic_check=False).delete_quick)
    # Keys are fetched first: within a DELETE, MySQL would wait for workers that insert rows.
    undone = jobs & "status in ('pending', 'error')"
    done = undone.restrict(target.proj(), semantic_check=False).keys()
    for first in range(0, len(done), KEYS_PER_DELETE):
        retry_on_deadlock((undone & done[first : first + KEYS_PER_DELETE]).delete_quick)
    wanted = possible if only is None else possible & list(only)
    new = (wanted - target.proj()).restrict(Not(jobs), semantic_check=False).proj().keys()
    shared = {"status": "pending", "priority": dj.config.jobs.default_priority}
    retry_on_deadlock(lambda: rows.insert(jobs, new, shared, skip_duplicates=True))


def runnable(table: Table, only: Sequence[Key] | None = None) -> dj.jobs.Job:
    """Return the pending jobs whose scheduled time has come, of all keys or of some."""
    pending = table().jobs.pending & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    return pending if only is None else pending & list(only)


def next_keys(pending: dj.jobs.Job) -> list[Key]:
    """Return the keys of the next jobs, in the order in which they run."""
    return pending.keys(order_by="priority ASC, scheduled_time ASC", limit=KEYS_PER_FETCH)


# --- reservations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reservation:
    """A process that has reserved jobs of a table.

    Attributes
    ----------
    table : table
        Table of the jobs.
    host, pid
        Host and number of the process.
    held : float
        Seconds since the reservation.
    stalled : float
        Seconds since the last heartbeat.
    connection_id : int
        Number that the server gave the connection of the process.
    since : datetime
        Time of the reservation, by the server's clock.
    """

    table: Table
    host: str
    pid: int
    held: float
    stalled: float
    connection_id: int
    since: datetime


def reservations(tables: Sequence[Table]) -> list[Reservation]:
    """Return all reservations of jobs of some tables, by one statement."""
    held = sql.seconds_since("reserved_time")
    columns = f"host, pid, {held}, {held} - COALESCE(duration, 0), connection_id, reserved_time"
    found = sql.fetch_each(
        tables,
        lambda table: f"{columns} FROM {table().jobs.full_table_name} WHERE status = 'reserved'",
    )
    return [
        Reservation(table, host, pid, float(held), float(stalled), *connected)
        for table, host, pid, held, stalled, *connected in found
    ]


@dataclass(frozen=True)
class AbandonedJob:
    """A job that is marked failed because too many workers died while they ran it.

    Attributes
    ----------
    table : table
    key : dict
        Primary key of the job.
    error : str
        The error message that is recorded.
    held : float
        Seconds for which the last worker had reserved the job.
    pid : int
        Number of the process that ran the job last.
    """

    table: Table
    key: Key
    error: str
    held: float
    pid: int


def reclaim(tables: Sequence[Table], settings: WorkerSettings) -> list[AbandonedJob]:
    """Return the jobs of workers that died or stalled to the queue.

    Call this only while this process runs no job: a reservation under its own number is then
    left over from an earlier process. Containers may share host names and process numbers, so
    only an open connection proves that a worker is alive.

    Returns
    -------
    list of AbandonedJob
        Jobs that are marked failed instead, because too many workers died while they ran them.
    """
    abandoned = []
    own = platform.node(), os.getpid()
    for one in set(reservations(tables)):
        if one.stalled > settings.stale_after or _is_dead(one):
            abandoned += _reap(one, settings)
        elif (one.host, one.pid) == own and (
            one.connection_id == dj.conn().connection_id or not _is_connected(one)
        ):
            _requeue(one)
    return abandoned


def requeue(tables: Sequence[Table], pid: int) -> None:
    """Return the jobs that a process of this host has reserved to the queue."""
    for reservation in _reserved_by(tables, platform.node(), pid):
        _requeue(reservation)


def reap(
    tables: Sequence[Table], host: str, pid: int, settings: WorkerSettings
) -> list[AbandonedJob]:
    """Return the jobs of a dead process to the queue, as `reclaim` does."""
    held = _reserved_by(tables, host, pid)
    return [job for reservation in held for job in _reap(reservation, settings)]


def _reserved_by(tables: Sequence[Table], host: str, pid: int) -> set[Reservation]:
    return {one for one in reservations(tables) if (one.host, one.pid) == (host, pid)}


DEATH_SECONDS, DEATH_CHECKS = 1.0, 10
"""Time in which a server notices that a client is dead, and number of checks in that time."""


def _is_dead(reservation: Reservation) -> bool:
    """Return whether a process of this machine has ended.

    A later process may have the same number, above all in a restarted container.
    """
    if reservation.host != platform.node():
        return False
    try:
        process = psutil.Process(reservation.pid)
        age = time.time() - process.create_time()
        # A zombie has ended too: only its exit code has not been collected.
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        if not is_zombie and reservation.held <= age + CLOCK_TOLERANCE:
            return False
    except psutil.NoSuchProcess:
        pass
    for _ in range(DEATH_CHECKS):
        if not _is_connected(reservation):
            return True
        time.sleep(DEATH_SECONDS / DEATH_CHECKS)
    return False  # the process runs in another container with the same host name


def _is_connected(reservation: Reservation) -> bool:
    """Return whether the connection that made the reservation is still open."""
    query = _connection_query(reservation.connection_id, reservation.since)
    return query is not None and dj.conn().query(*query).fetchone() is not None


def _connection_query(number: int, since: datetime) -> tuple[str, tuple] | None:
    """Return a query that finds a connection by its number, and its values.

    None if MySQL was restarted since: it then gives the same numbers to other connections.
    """
    if dj.conn().adapter.backend == "postgresql":
        return (
            "SELECT pid FROM pg_stat_activity WHERE pid = %s AND backend_start::timestamp <= %s",
            (number, since),
        )
    uptime = int(dj.conn().query("SHOW GLOBAL STATUS LIKE 'Uptime'").fetchone()[1])
    ago = dj.conn().query(f"SELECT {sql.seconds_since('%s')}", (since,)).fetchone()[0]
    if float(ago) > uptime:
        return None
    return "SELECT id FROM information_schema.processlist WHERE id = %s", (number,)


def _requeue(reservation: Reservation) -> None:
    jobs = reservation.table().jobs
    statement = (
        f"UPDATE {jobs.full_table_name} SET status = 'pending', duration = NULL "
        "WHERE status = 'reserved' AND host = %s AND pid = %s AND connection_id = %s"
    )
    _update(jobs, statement, (reservation.host, reservation.pid, reservation.connection_id))


class JobLost(Exception):
    """The job of this process was taken over by another worker, as this one seemed dead."""


LOCK_SECONDS = 20.0
"""Time for which a worker waits for rows that others have locked, e.g. a worker that is frozen."""


WORKER = "bwm worker: "
"""Beginning of the names of workers' connections to PostgreSQL."""


def prepare(server: dj.Connection) -> None:
    """Prepare the connection of a worker.

    No statement waits longer than `LOCK_SECONDS` for locked rows. PostgreSQL can name the worker.
    """
    if server.adapter.backend == "mysql":
        server.query(f"SET SESSION innodb_lock_wait_timeout = {math.ceil(LOCK_SECONDS)}")
        return
    name = f"{WORKER}process {os.getpid()} on {platform.node()}"
    server.query(
        f"SET lock_timeout = {int(1000 * LOCK_SECONDS)}; SET application_name = %s", (name,)
    )


def restore(server: dj.Connection) -> None:
    """Undo what `prepare` did: others may go on with the connection."""
    if server.adapter.backend == "mysql":
        server.query("SET SESSION innodb_lock_wait_timeout = DEFAULT")
    else:
        server.query("RESET lock_timeout; RESET application_name")


def connected_workers(url: str) -> list[str]:
    """Name the workers that are connected to the PostgreSQL server of an address."""
    query = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE %s"
    with closing(psycopg2.connect(url, connect_timeout=10)) as server, server.cursor() as cursor:
        cursor.execute(query, (f"{WORKER}%",))
        return sorted(name.removeprefix(WORKER) for (name,) in cursor)


def require_reservation(jobs: dj.jobs.Job, key: Key, connection_id: int) -> None:
    """Raise `JobLost` unless this process still has the job, and lock the job until the commit.

    Call this at the end of the transaction that inserts the rows of the job: until then nothing
    keeps other workers from taking over the job.
    """
    condition, values = own_job_condition(jobs, key, connection_id)
    query = f"SELECT pid FROM {jobs.full_table_name} WHERE {condition} FOR UPDATE"
    if jobs.connection.query(query, values).fetchone() is None:
        raise JobLost


def postpone(jobs: dj.jobs.Job, key: Key, connection_id: int, seconds: float) -> None:
    """Return a job of this process to the queue, to be run in some seconds or later."""
    condition, values = own_job_condition(jobs, key, connection_id)
    later = jobs.adapter.interval_expr(seconds, "second")
    statement = (
        f"UPDATE {jobs.full_table_name} SET status = 'pending', duration = NULL, "
        f"scheduled_time = CURRENT_TIMESTAMP(3) + {later} WHERE {condition}"
    )
    _update(jobs, statement, values)


def own_job_condition(jobs: dj.jobs.Job, key: Key, connection_id: int) -> tuple[str, list[Any]]:
    """Return the SQL condition that selects a job while this process has it, and its values.

    `connection_id` is that of the reservation: containers may share host names and process numbers.
    """
    condition, values = key_condition(jobs, key)
    own = [platform.node(), os.getpid(), connection_id]
    return (
        f"status = 'reserved' AND host = %s AND pid = %s AND connection_id = %s AND {condition}",
        [*own, *values],
    )


ABANDONED = (
    "They were killed, ran out of memory, or sent data that the server refuses: see the logs of "
    "that time. A larger bwm.memory with fewer workers may help; then retry."
)


def _reap(reservation: Reservation, settings: WorkerSettings) -> list[AbandonedJob]:
    """Requeue a dead worker's jobs, or mark them failed after too many deaths."""
    jobs = reservation.table().jobs
    abandoned = []
    owner = {name: getattr(reservation, name) for name in ("host", "pid", "connection_id")}
    for job in (jobs.reserved & owner).to_dicts():
        deaths = _count_deaths(job["error_message"]) + 1
        failed = deaths >= settings.deaths_allowed
        message = f"{deaths} worker{'s' * (deaths > 1)} died, or lost the server, while running it"
        if failed:
            message = f"WorkerDied: {message}. {ABANDONED}"
        key = {name: job[name] for name in jobs.primary_key}
        condition, values = key_condition(jobs, key)
        _disconnect(jobs, job)
        # `reserved_time` protects a job that was reaped and reserved again in the meantime.
        statement = (
            f"UPDATE {jobs.full_table_name} SET status = %s, duration = NULL, error_message = %s "
            f"WHERE status = 'reserved' AND reserved_time = %s AND {condition}"
        )
        status = "error" if failed else "pending"
        updated = _update(jobs, statement, (status, message, job["reserved_time"], *values))
        if failed and updated:
            seconds, pid = reservation.held, reservation.pid
            abandoned.append(AbandonedJob(reservation.table, key, message, seconds, pid))
    return abandoned


def _update(jobs: dj.jobs.Job, statement: str, values: Sequence[Any]) -> int:
    """Run an UPDATE and return the number of rows that it changed."""
    return retry_on_deadlock(lambda: int(jobs.connection.query(statement, values).rowcount))


def _disconnect(jobs: dj.jobs.Job, job: dict[str, Any]) -> None:
    """Close the connection of a stalled worker: it may hold locks, or commit."""
    query = _connection_query(job["connection_id"], job["reserved_time"])
    if query is None or job["connection_id"] == jobs.connection.connection_id:
        return
    # The connection may be closed already, or this user may lack the right to close it.
    with suppress(pymysql.err.Error, psycopg2.Error, dj.errors.DataJointError):
        if jobs.adapter.backend == "mysql":
            jobs.connection.query(f"KILL {int(job['connection_id'])}")
        else:
            statement, values = query
            terminate = statement.replace("pid", "pg_terminate_backend(pid)", 1)
            jobs.connection.query(terminate, values)


def _count_deaths(message: str) -> int:
    found = re.match(r"\d+(?= workers? died)", message)
    return int(found[0]) if found else 0


def key_condition(jobs: dj.jobs.Job, key: Key) -> tuple[str, list[Any]]:
    """Return the SQL condition that selects a key, and its values."""
    quote = jobs.adapter.quote_identifier
    return " AND ".join(f"{quote(name)} = %s" for name in key), list(key.values())


def fail(jobs: dj.jobs.Job, key: Key, connection_id: int, error: str, stack: str) -> None:
    """Mark a job of this process as failed, unless another worker has reclaimed it."""

    def mark() -> None:
        with jobs.connection.transaction:
            require_reservation(jobs, key, connection_id)
            jobs.error(key, error, stack)

    with suppress(JobLost):
        retry_on_deadlock(mark)
