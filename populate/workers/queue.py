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
"""Tolerance (s) when an age by the server's clock is compared with one by this machine's."""

KEYS_PER_FETCH = 32
"""Jobs that a worker fetches at once; other workers may reserve some of them meanwhile."""

KEYS_PER_DELETE = 500
"""Jobs that one statement deletes by key: MySQL needs long to parse a longer statement."""


# --- jobs that can run --------------------------------------------------------------------------


def count_runnable(tables: Sequence[Table]) -> list[tuple[Table, int, int]]:
    """Count the runnable jobs of each table. Cheap: idle workers call it again and again.

    Returns
    -------
    list of tuple
        Each table with the number of its pending jobs whose scheduled time has come, and the
        number of keys that can be computed and have neither a row nor a job.
    """

    def select(table: Table) -> str:
        computable = sql.computable_keys(table)
        return (
            f"(SELECT count(*) FROM {table().jobs.full_table_name} "
            "WHERE status = 'pending' AND scheduled_time <= CURRENT_TIMESTAMP(3)), (SELECT count(*)"
            f" FROM ({computable.make_sql()}) AS computable WHERE {sql.undone(table, computable)})"
        )

    counts = sql.fetch_each(tables, select)
    return [(table, int(n_pending), int(n_new)) for table, n_pending, n_new in counts]


def refresh(table: Table, only: Sequence[Key] | None = None) -> None:
    """Add a job for each key that can be computed; delete jobs whose key is gone.

    DataJoint's `jobs.refresh` sends a statement per job; this function sends a few for all. It
    also deletes jobs whose row exists already, for instance by `populate` in a notebook.

    Parameters
    ----------
    table : table
        Imported or computed.
    only : sequence of dict, optional
        Add jobs for these keys alone.
    """
    target, job_table = table(), table().jobs
    computable = target.key_source.proj()
    # Without `semantic_check`: a job table has no foreign keys, so DataJoint does not know that
    # its key is that of the table.
    not_reserved = job_table & "status in ('pending', 'success', 'error')"
    retry_on_deadlock(not_reserved.restrict(Not(computable), semantic_check=False).delete_quick)
    # The keys are fetched by a query of their own: MySQL locks the rows that a subquery of a
    # DELETE reads, and would wait for workers that insert.
    to_do = job_table & "status in ('pending', 'error')"
    done = to_do.restrict(target.proj(), semantic_check=False).keys()
    for first in range(0, len(done), KEYS_PER_DELETE):
        retry_on_deadlock((to_do & done[first : first + KEYS_PER_DELETE]).delete_quick)
    wanted = computable if only is None else computable & list(only)
    new = (wanted - target.proj()).restrict(Not(job_table), semantic_check=False).proj().keys()
    columns = {"status": "pending", "priority": dj.config.jobs.default_priority}
    retry_on_deadlock(lambda: rows.insert(job_table, new, columns, skip_duplicates=True))


def pending_jobs(table: Table, only: Sequence[Key] | None = None) -> dj.jobs.Job:
    """Return the pending jobs whose scheduled time has come, of all keys or of some."""
    pending = table().jobs.pending & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    return pending if only is None else pending & list(only)


def next_keys(pending: dj.jobs.Job) -> list[Key]:
    """Return the keys of the next jobs, in the order in which they run."""
    return pending.keys(order_by="priority ASC, scheduled_time ASC", limit=KEYS_PER_FETCH)


# --- reservations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reservation:
    """The reservation of a job by a process.

    Attributes
    ----------
    table : table
        Table that the job fills.
    host, pid
        Host and number of the process.
    seconds : float
        Seconds since the reservation.
    since_heartbeat : float
        Seconds since the last heartbeat.
    connection_id : int
        Number of the connection of the process on the server.
    time : datetime
        Time of the reservation, by the server's clock.
    """

    table: Table
    host: str
    pid: int
    seconds: float
    since_heartbeat: float
    connection_id: int
    time: datetime


def reservations(tables: Sequence[Table]) -> list[Reservation]:
    """Fetch all reservations of jobs of some tables in one statement."""
    seconds = sql.seconds_since("reserved_time")
    columns = (
        f"host, pid, {seconds}, {seconds} - COALESCE(duration, 0), connection_id, reserved_time"
    )
    found = sql.fetch_each(
        tables,
        lambda table: f"{columns} FROM {table().jobs.full_table_name} WHERE status = 'reserved'",
    )
    return [
        Reservation(table, host, pid, float(seconds), float(since_heartbeat), connection_id, time)
        for table, host, pid, seconds, since_heartbeat, connection_id, time in found
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
    seconds : float
        Seconds since the last reservation.
    pid : int
        Number of the process that ran the job last.
    """

    table: Table
    key: Key
    error: str
    seconds: float
    pid: int


def reclaim(tables: Sequence[Table], settings: WorkerSettings) -> list[AbandonedJob]:
    """Requeue the jobs of workers that died or stalled.

    Call this function only while this process runs no job: it also requeues jobs that are reserved
    under the number of this process. Containers may share host names and process numbers, so only
    an open connection proves that a worker is alive.

    Returns
    -------
    list of AbandonedJob
        Jobs that are marked failed instead, because too many workers died while they ran them.
    """
    abandoned = []
    for reservation in reservations(tables):
        if reservation.since_heartbeat > settings.stale_after or _is_dead(reservation):
            abandoned += _reap_reservation(reservation, settings)
        elif _is_left_over(reservation):
            _requeue_reservation(reservation)
    return abandoned


def _is_left_over(reservation: Reservation) -> bool:
    """Return whether a reservation has the number of this process, which runs no job.

    This process made the reservation over its present connection or over a lost one; or an
    earlier process with the same number made it, whose connection is closed.
    """
    if (reservation.host, reservation.pid) != (platform.node(), os.getpid()):
        return False
    is_own = reservation.connection_id == dj.conn().connection_id
    return is_own or not _is_connected(reservation)


def requeue_process(tables: Sequence[Table], pid: int) -> None:
    """Requeue the jobs that a process of this host has reserved."""
    for reservation in _reservations_of(tables, platform.node(), pid):
        _requeue_reservation(reservation)


def reap_process(
    tables: Sequence[Table], host: str, pid: int, settings: WorkerSettings
) -> list[AbandonedJob]:
    """Requeue the jobs of a dead process, as `reclaim` does."""
    abandoned = []
    for reservation in _reservations_of(tables, host, pid):
        abandoned += _reap_reservation(reservation, settings)
    return abandoned


def _reservations_of(tables: Sequence[Table], host: str, pid: int) -> list[Reservation]:
    return [one for one in reservations(tables) if (one.host, one.pid) == (host, pid)]


DEATH_SECONDS, DEATH_CHECKS = 1.0, 10
"""The connection of a dead client may stay open for this time, in which it is checked so often."""


def _is_dead(reservation: Reservation) -> bool:
    """Return whether a process of this machine made a reservation and has ended."""
    if reservation.host != platform.node():
        return False
    try:
        process = psutil.Process(reservation.pid)
        age = time.time() - process.create_time()
        # A zombie has ended too: only its exit code has not been collected.
        is_zombie = process.status() == psutil.STATUS_ZOMBIE
        # A process that is younger than the reservation is another one with the same number, e.g.
        # after the restart of a container.
        if not is_zombie and reservation.seconds <= age + CLOCK_TOLERANCE:
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
    query = _connection_query(reservation.connection_id, reservation.time)
    return query is not None and dj.conn().query(*query).fetchone() is not None


def _connection_query(
    connection_id: int, time: datetime, select: str = "1"
) -> tuple[str, tuple] | None:
    """Return a query that finds a connection that was open at a time, and its values.

    None if MySQL was restarted later: it then gives the same numbers to other connections.
    """
    if dj.conn().adapter.backend == "postgresql":
        opened = "backend_start::timestamp <= %s"
        query = f"SELECT {select} FROM pg_stat_activity WHERE pid = %s AND {opened}"
        return query, (connection_id, time)
    uptime = int(dj.conn().query("SHOW GLOBAL STATUS LIKE 'Uptime'").fetchone()[1])
    seconds = dj.conn().query(f"SELECT {sql.seconds_since('%s')}", (time,)).fetchone()[0]
    if float(seconds) > uptime:
        return None
    query = f"SELECT {select} FROM information_schema.processlist WHERE id = %s"
    return query, (connection_id,)


def _requeue_reservation(reservation: Reservation) -> None:
    job_table = reservation.table().jobs
    statement = (
        f"UPDATE {job_table.full_table_name} SET status = 'pending', duration = NULL "
        "WHERE status = 'reserved' AND host = %s AND pid = %s AND connection_id = %s"
    )
    _update(job_table, statement, (reservation.host, reservation.pid, reservation.connection_id))


class JobLost(Exception):
    """Another worker has reclaimed the job of this process, because this worker seemed dead."""


LOCK_SECONDS = 20.0
"""Time for which a worker waits for rows that another worker has locked, e.g. a stalled one."""


WORKER = "bwm worker: "
"""Beginning of the names of workers' connections to PostgreSQL."""


def prepare(connection: dj.Connection) -> None:
    """Prepare the connection of a worker.

    No statement waits longer than `LOCK_SECONDS` for locked rows. PostgreSQL can name the worker.
    """
    if connection.adapter.backend == "mysql":
        connection.query(f"SET SESSION innodb_lock_wait_timeout = {math.ceil(LOCK_SECONDS)}")
        return
    name = f"{WORKER}process {os.getpid()} on {platform.node()}"
    connection.query(
        f"SET lock_timeout = {int(1000 * LOCK_SECONDS)}; SET application_name = %s", (name,)
    )


def restore(connection: dj.Connection) -> None:
    """Undo what `prepare` did: other code may use the connection next."""
    if connection.adapter.backend == "mysql":
        connection.query("SET SESSION innodb_lock_wait_timeout = DEFAULT")
    else:
        connection.query("RESET lock_timeout; RESET application_name")


def connected_workers(url: str) -> list[str]:
    """Name the workers that are connected to the PostgreSQL server of an address.

    None of a server that takes no connection, e.g. because its disk is full.
    """
    query = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE %s"
    try:
        server = psycopg2.connect(url, connect_timeout=10)
    except psycopg2.OperationalError:
        return []
    with closing(server), server.cursor() as cursor:
        cursor.execute(query, (f"{WORKER}%",))
        return sorted(name.removeprefix(WORKER) for (name,) in cursor)


def require_reservation(job_table: dj.jobs.Job, key: Key, connection_id: int) -> None:
    """Raise `JobLost` unless this process still has the job, and lock the job until the commit.

    Call this at the end of the transaction that inserts the rows of the job: until then nothing
    keeps other workers from reclaiming the job.
    """
    condition, values = own_job_condition(job_table, key, connection_id)
    query = f"SELECT pid FROM {job_table.full_table_name} WHERE {condition} FOR UPDATE"
    if job_table.connection.query(query, values).fetchone() is None:
        raise JobLost


def postpone(job_table: dj.jobs.Job, key: Key, connection_id: int, seconds: float) -> None:
    """Requeue a job of this process, to be run in some seconds or later."""
    condition, values = own_job_condition(job_table, key, connection_id)
    later = job_table.adapter.interval_expr(seconds, "second")
    statement = (
        f"UPDATE {job_table.full_table_name} SET status = 'pending', duration = NULL, "
        f"scheduled_time = CURRENT_TIMESTAMP(3) + {later} WHERE {condition}"
    )
    _update(job_table, statement, values)


def own_job_condition(
    job_table: dj.jobs.Job, key: Key, connection_id: int
) -> tuple[str, list[Any]]:
    """Return the SQL condition that selects a job while this process has it, and its values.

    `connection_id` is that of the reservation: containers may share host names and process numbers.
    """
    condition, values = _key_condition(job_table, key)
    return (
        f"status = 'reserved' AND host = %s AND pid = %s AND connection_id = %s AND {condition}",
        [platform.node(), os.getpid(), connection_id, *values],
    )


ABANDONED_REMEDY = (
    "They were killed, ran out of memory, or sent data that the server refuses: see the log of the "
    "workers. Raise bwm.memory or run fewer workers, then run `bwm retry`."
)


def _reap_reservation(reservation: Reservation, settings: WorkerSettings) -> list[AbandonedJob]:
    """Requeue a dead worker's jobs, or mark them failed after too many deaths."""
    job_table = reservation.table().jobs
    abandoned = []
    owner = {name: getattr(reservation, name) for name in ("host", "pid", "connection_id")}
    for job in (job_table.reserved & owner).to_dicts():
        deaths = _count_deaths(job["error_message"]) + 1
        failed = deaths >= settings.deaths_allowed
        message = _death_message(deaths)
        if failed:
            message = f"WorkerDied: {message}. {ABANDONED_REMEDY}"
        key = {name: job[name] for name in job_table.primary_key}
        condition, values = _key_condition(job_table, key)
        _disconnect(job_table, job)
        # `reserved_time` protects a job that was reaped and reserved again in the meantime.
        statement = (
            f"UPDATE {job_table.full_table_name} SET status = %s, duration = NULL, "
            "error_message = %s "
            f"WHERE status = 'reserved' AND reserved_time = %s AND {condition}"
        )
        status = "error" if failed else "pending"
        updated = _update(job_table, statement, (status, message, job["reserved_time"], *values))
        if failed and updated:
            seconds, pid = reservation.seconds, reservation.pid
            abandoned.append(AbandonedJob(reservation.table, key, message, seconds, pid))
    return abandoned


def _update(job_table: dj.jobs.Job, statement: str, values: Sequence[Any]) -> int:
    """Run an UPDATE and return the number of rows that it changed."""
    return retry_on_deadlock(lambda: int(job_table.connection.query(statement, values).rowcount))


def _disconnect(job_table: dj.jobs.Job, job: dict[str, Any]) -> None:
    """Close the connection of a stalled worker: it may hold locks, or still commit."""
    terminate = "pg_terminate_backend(pid)"
    query = _connection_query(job["connection_id"], job["reserved_time"], terminate)
    if query is None or job["connection_id"] == job_table.connection.connection_id:
        return
    # The connection may be closed already, or this user may lack the right to close it.
    with suppress(pymysql.err.Error, psycopg2.Error, dj.errors.DataJointError):
        if job_table.adapter.backend == "mysql":
            job_table.connection.query(f"KILL {int(job['connection_id'])}")
        else:
            job_table.connection.query(*query)


def _death_message(n: int) -> str:
    return f"{n} worker{'s' * (n > 1)} died, or lost the server, while running it"


def _count_deaths(message: str) -> int:
    """Read the number in a `_death_message`; 0 for any other message."""
    found = re.match(r"\d+(?= workers? died)", message)
    return int(found[0]) if found else 0


def _key_condition(job_table: dj.jobs.Job, key: Key) -> tuple[str, list[Any]]:
    """Return the SQL condition that selects a key, and its values."""
    quote = job_table.adapter.quote_identifier
    return " AND ".join(f"{quote(name)} = %s" for name in key), list(key.values())


def fail(job_table: dj.jobs.Job, key: Key, connection_id: int, error: str, stack: str) -> bool:
    """Mark a job of this process as failed; return False if another worker has reclaimed it."""

    def mark() -> None:
        with job_table.connection.transaction:
            require_reservation(job_table, key, connection_id)
            job_table.error(key, error, stack)

    try:
        retry_on_deadlock(mark)
    except JobLost:
        return False
    return True
