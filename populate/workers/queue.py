"""Jobs of tables, in DataJoint's own job tables: what is due, who holds it, who lost it.

A row of `~~table` is a job: pending, reserved by a process of a host, or failed ("error"). A
worker that holds one is heard from: `duration` is how long it had held the job when it last said
so, in seconds. How many workers died of a job stands in its `error_message` until it is done.
"""

from __future__ import annotations

import os
import platform
import random
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import datajoint as dj
import psutil
import psycopg2
import pymysql
from datajoint.condition import Not

from populate import sql
from schemas import connection, rows
from schemas.settings import WorkerSettings

Key = dict[str, Any]
Table = type[dj.Table]
T = TypeVar("T")

CLOCKS_DIFFER = 1.0
"""Seconds by which two ways to measure a time may differ."""

AT_ONCE = 32
"""Jobs that are looked up at once; other workers may take some of them meanwhile."""

FORGOTTEN_AT_ONCE = 500
"""Jobs that one statement deletes by their keys: MySQL takes long to read a longer one."""


# --- what is to be done -------------------------------------------------------------------------


def refresh(table: Table, only: Sequence[Key] | None = None) -> None:
    """Add a job for each key that is to be made and has none; forget jobs that have no cause.

    As DataJoint's `jobs.refresh`, in a few statements instead of one a job. It also forgets what
    waits or failed and is made, as by `populate` in a notebook, which knows nothing of jobs.

    Parameters
    ----------
    table : table
        Imported or computed.
    only : sequence of dict, optional
        Add jobs for these keys alone.
    """
    target, jobs = table(), table().jobs
    causes = target.key_source.proj()
    idle = jobs & "status in ('pending', 'success', 'error')"
    retry(idle.restrict(Not(causes), semantic_check=False).delete_quick)
    # Looked up first: within a DELETE, MySQL waits for whoever is making one of these keys.
    undone = jobs & "status in ('pending', 'error')"
    made = undone.restrict(target.proj(), semantic_check=False).keys()
    for first in range(0, len(made), FORGOTTEN_AT_ONCE):
        retry((undone & made[first : first + FORGOTTEN_AT_ONCE]).delete_quick)
    wanted = causes if only is None else causes & list(only)
    new = (wanted - target.proj()).restrict(Not(jobs), semantic_check=False).proj()
    shared = {"status": "pending", "priority": dj.config.jobs.default_priority}
    keys = new.keys()
    retry(lambda: rows.insert(jobs, keys, shared, skip_duplicates=True))


def due(table: Table, only: Sequence[Key] | None = None) -> dj.jobs.Job:
    """Return the jobs that can be done now, or those of them that have one of some keys."""
    found = table().jobs.pending & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    return found if only is None else found & list(only)


def next_keys(pending: dj.jobs.Job) -> list[Key]:
    """Return the keys of the first of some jobs, in the order in which they are to be done."""
    return pending.keys(order_by="priority ASC, scheduled_time ASC", limit=AT_ONCE)


# --- who lost it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reservation:
    """A process that holds jobs of a table.

    Attributes
    ----------
    table : table
        Of the jobs.
    host, pid
        The process.
    held : float
        Seconds since it reserved one of them.
    stalled : float
        Seconds since it was last heard from.
    connection_id : int
        Of its connection, as the server numbers it.
    since : datetime
        When it reserved the job, by the clock of the server.
    """

    table: Table
    host: str
    pid: int
    held: float
    stalled: float
    connection_id: int
    since: datetime

    @property
    def is_this_process(self) -> bool:
        """Whether it has the name and number of this process."""
        return (self.host, self.pid) == (platform.node(), os.getpid())


def reservations(tables: Sequence[Table]) -> list[Reservation]:
    """Find who holds jobs of tables, in one statement."""
    if not tables:
        return []
    held = sql.seconds_since("reserved_time")
    each = [
        f"SELECT {i}, host, pid, {held}, {held} - COALESCE(duration, 0), connection_id, "
        f"reserved_time FROM {table().jobs.full_table_name} WHERE status = 'reserved'"
        for i, table in enumerate(tables)
    ]
    found = dj.conn().query(" UNION ALL ".join(each)).fetchall()
    return [
        Reservation(tables[i], host, pid, float(held), float(stalled), *connected)
        for i, host, pid, held, stalled, *connected in found
    ]


@dataclass(frozen=True)
class AbandonedJob:
    """A job that fails because too many workers died of it.

    Attributes
    ----------
    table : table
    key : dict
        What was to be made.
    problem : str
        What is recorded.
    held : float
        Seconds for which the last of them had held it.
    """

    table: Table
    key: Key
    problem: str
    held: float


def reclaim(tables: Sequence[Table], settings: WorkerSettings) -> list[AbandonedJob]:
    """Let the jobs be done again whose worker is dead or was silent for too long.

    Called while nothing is in hand: what this very process holds, it does not know of. Machines
    and containers may share a name and numbers of processes: what is connected is alive.

    Returns
    -------
    list of AbandonedJob
        Those that killed too many, and fail.
    """
    poison = []
    for found in set(reservations(tables)):
        if found.stalled > settings.stale_after or _is_dead(found):
            poison += _reap(found, settings)
        elif found.is_this_process and (
            found.connection_id == dj.conn().connection_id or not _is_connected(found)
        ):
            _requeue(found)
    return poison


def release(tables: Sequence[Table], pid: int) -> None:
    """Let the jobs be done again that a process of this host held and gave back."""
    for found in _held_by(tables, platform.node(), pid):
        _requeue(found)


def reap(
    tables: Sequence[Table], host: str, pid: int, settings: WorkerSettings
) -> list[AbandonedJob]:
    """Let the jobs be done again that a dead process held; return those that fail, as above."""
    held = _held_by(tables, host, pid)
    return [poison for found in held for poison in _reap(found, settings)]


def _held_by(tables: Sequence[Table], host: str, pid: int) -> set[Reservation]:
    return {found for found in reservations(tables) if (found.host, found.pid) == (host, pid)}


def _is_dead(holder: Reservation) -> bool:
    """Whether a process of this machine is no more; another may have its number since.

    So it is in a container that was restarted, where numbers are few.
    """
    if holder.host != platform.node():
        return False
    try:
        process = psutil.Process(holder.pid)
        age = time.time() - process.create_time()
        # A zombie: its parent died too, and nobody has taken notice of its end.
        alive = process.status() != psutil.STATUS_ZOMBIE and holder.held <= age + CLOCKS_DIFFER
    except psutil.NoSuchProcess:
        alive = False
    if alive:
        return False
    for _ in range(DYING_LOOKS):
        if not _is_connected(holder):
            return True
        time.sleep(DYING_SECONDS / DYING_LOOKS)
    return False  # a process of its number runs in another container of the same name


DYING_SECONDS, DYING_LOOKS = 1.0, 10
"""How long a server is given to notice that a client is dead, and how often it is asked."""


def _is_connected(holder: Reservation) -> bool:
    """Whether the connection over which a job was reserved is open."""
    asked = _of_connection(holder.connection_id, holder.since)
    return asked is not None and dj.conn().query(*asked).fetchone() is not None


def _of_connection(number: int, since: datetime) -> tuple[str, tuple] | None:
    """Write the query for a connection; None if it was of an earlier life of the server.

    Then its number may be another's: numbers begin anew with the server.
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


def _requeue(holder: Reservation) -> None:
    jobs = holder.table().jobs
    statement = (
        f"UPDATE {jobs.full_table_name} SET status = 'pending', duration = NULL "
        "WHERE status = 'reserved' AND host = %s AND pid = %s"
    )
    _update(jobs, statement, (holder.host, holder.pid))


def _reap(holder: Reservation, settings: WorkerSettings) -> list[AbandonedJob]:
    jobs = holder.table().jobs
    poison = []
    for job in (jobs.reserved & {"host": holder.host, "pid": holder.pid}).to_dicts():
        deaths = _deaths(job["error_message"]) + 1
        failed = deaths >= settings.deaths_allowed
        told = f"{deaths} worker{'s' * (deaths > 1)} died, or lost the server, while making it"
        if failed:
            told = f"WorkerDied: {told}. {POISON}"
        key = {name: job[name] for name in jobs.primary_key}
        where, values = _is(jobs, key)
        _cut_off(jobs, job)
        # Another worker may have done the same, and one be at work again: then it is not touched.
        statement = (
            f"UPDATE {jobs.full_table_name} SET status = %s, duration = NULL, error_message = %s "
            f"WHERE status = 'reserved' AND reserved_time = %s AND {where}"
        )
        status = "error" if failed else "pending"
        updated = _update(jobs, statement, (status, told, job["reserved_time"], *values))
        if failed and updated:
            poison.append(AbandonedJob(holder.table, key, told, holder.held))
    return poison


def _update(jobs: dj.jobs.Job, statement: str, values: Sequence[Any]) -> int:
    """Run an UPDATE of jobs, and return the number of rows that it changed."""
    return retry(lambda: int(jobs.connection.query(statement, values).rowcount))


def _cut_off(jobs: dj.jobs.Job, job: dict[str, Any]) -> None:
    """End the connection of a worker that is silent: it may hold locks, and must not commit."""
    asked = _of_connection(job["connection_id"], job["reserved_time"])
    if asked is None or job["connection_id"] == jobs.connection.connection_id:
        return
    # It may be gone meanwhile, or be of a user whose connections are not ours to end.
    with suppress(pymysql.err.Error, psycopg2.Error, dj.errors.DataJointError):
        if jobs.adapter.backend == "mysql":
            jobs.connection.query(f"KILL {int(job['connection_id'])}")
        else:
            query, values = asked
            jobs.connection.query(query.replace("pid", "pg_terminate_backend(pid)", 1), values)


POISON = (
    "They were killed, ran out of memory, or sent what the server does not take: see the log of "
    "that time. A larger bwm.memory with fewer workers may help; then retry."
)


def _deaths(text: str) -> int:
    found = re.match(r"\d+(?= workers? died)", text)
    return int(found[0]) if found else 0


def _is(jobs: dj.jobs.Job, key: Key) -> tuple[str, list[Any]]:
    quote = jobs.adapter.quote_identifier
    return " AND ".join(f"{quote(name)} = %s" for name in key), list(key.values())


def fail(held: dj.jobs.Job, key: Key, problem: str, stack: str) -> None:
    """Record why a job failed, unless another worker has taken it over."""
    own = {"host": platform.node(), "pid": os.getpid()}
    if held.reserved & key & own:
        retry(lambda: held.error(key, problem, stack))


# --- heard from ---------------------------------------------------------------------------------


class Heartbeat(threading.Thread):
    """Says now and then that the job in hand is being worked on, over a connection of its own.

    Short jobs are over before it first speaks, and cost nothing.

    Parameters
    ----------
    every : float
        Seconds.
    """

    def __init__(self, every: float) -> None:
        super().__init__(daemon=True, name="pulse")
        self._every = every
        self._held: tuple[dj.jobs.Job, Key] | None = None
        self._changed = threading.Condition()
        self._ended = False
        self._own: dj.Connection | None = None

    @contextmanager
    def holding(self, held: dj.jobs.Job, key: Key) -> Iterator[None]:
        """Speak for a job until the block ends."""
        self._hold((held, key))
        try:
            yield
        finally:
            self._hold(None)

    def _hold(self, held: tuple[dj.jobs.Job, Key] | None) -> None:
        with self._changed:
            self._held = held
            self._changed.notify()

    def end(self) -> None:
        """End."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def run(self) -> None:
        """Speak for what is held, until it is ended."""
        while True:
            with self._changed:
                if self._ended:
                    break
                held = self._held
                told = self._changed.wait(self._every if held else None)
            if held and not told:
                self._speak(*held)
        self._close()

    def _speak(self, jobs: dj.jobs.Job, key: Key) -> None:
        where, values = _is(jobs, key)
        held = sql.seconds_since("reserved_time")
        try:
            if self._own is None:
                self._own = connection.another()
            self._own.query(
                f"UPDATE {jobs.full_table_name} SET duration = {held} WHERE "
                f"status = 'reserved' AND host = %s AND pid = %s AND {where}",
                (platform.node(), os.getpid(), *values),
            )
        except Exception:
            self._close()  # whatever it is, the next time it speaks over a new one

    def _close(self) -> None:
        if self._own is not None:
            with suppress(Exception):
                self._own.close()
        self._own = None


# --- what goes wrong on the way -----------------------------------------------------------------

LOST = (
    dj.errors.LostConnectionError,
    pymysql.err.InterfaceError,
    psycopg2.InterfaceError,
    psycopg2.errors.AdminShutdown,
    psycopg2.errors.CrashShutdown,
    psycopg2.errors.CannotConnectNow,
    psycopg2.errors.TooManyConnections,
)
LOST_MYSQL = {1040, 1053, 1152, 1184, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031}
PASSING = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.SerializationFailure,
)
PASSING_MYSQL = {1205, 1213}


def is_server_away(error: BaseException) -> bool:
    """Whether an error says that the server is gone, or cannot be reached for a while."""
    if isinstance(error, pymysql.err.OperationalError):
        return error.args[0] in LOST_MYSQL
    # What has no code of the server did not come from there.
    return isinstance(error, LOST) or type(error) is psycopg2.OperationalError


def is_deadlock(error: BaseException) -> bool:
    """Whether an error says that two transactions were in each other's way."""
    if isinstance(error, pymysql.err.OperationalError):
        return error.args[0] in PASSING_MYSQL
    return isinstance(error, PASSING)


TRIES = 5
"""How often a statement or transaction is run that other transactions are in the way of."""


def retry(run: Callable[[], T]) -> T:
    """Run a statement or transaction, again if the server ended it in favour of another one.

    Deadlocks, lock time-outs and serialization failures are ordinary where several workers write
    to the same tables. The pause before a new try is random, so that two do not meet again.
    """
    for _ in range(TRIES - 1):
        try:
            return run()
        except Exception as error:
            if not is_deadlock(error):
                raise
        time.sleep(random.uniform(0, 0.2))
    return run()
