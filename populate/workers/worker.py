"""A worker: reserves jobs, runs them, records failures, and stops cleanly.

Any number of workers on any number of machines share the work through the job tables of one
database. Even if a worker is killed or the server goes away, the rows of a key are inserted
completely or not at all, and no job stays reserved for ever.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj
import psycopg2
from pydantic import ByteSize

from populate import catalog, sql, stored_objects
from populate.workers import queue
from populate.workers.heartbeat import Heartbeat
from populate.workers.queue import Key
from schemas import connection, memory
from schemas.database import io_counters, upstream
from schemas.database.declared import with_parts
from schemas.database.driver_errors import is_lock_timeout, is_server_away, retry_on_deadlock
from schemas.errors import ServerError
from schemas.settings import WorkerSettings


@dataclass
class TableResult:
    """What workers did for one table.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    n_done : int
        Number of jobs done.
    failed : list of tuple
        Keys of failed jobs, each with its error message.
    kept : list of tuple
        Keys of stale rows that `populate.stale` kept, each with the reason why they cannot be
        recomputed. No worker adds to it.
    """

    table: str
    n_done: int = 0
    failed: list[tuple[Key, str]] = field(default_factory=list)
    kept: list[tuple[Key, str]] = field(default_factory=list)


@dataclass(frozen=True)
class JobResult:
    """What one job did.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    key : dict
        Primary key of the job.
    seconds : float
        Time from the reservation to the end.
    rows : int
        Number of inserted rows, part tables included.
    read, stored : int
        Bytes read from files, and bytes written to the object store.
    error : str or None
        Error message of a failed job.
    pid : int
        Number of the process that ran the job; for an abandoned job, of the process that ran it
        last, perhaps on another host.
    """

    table: str
    key: Key
    seconds: float
    rows: int = 0
    read: int = 0
    stored: int = 0
    error: str | None = None
    pid: int = field(default_factory=os.getpid)


Progress = Callable[[str, int, int], None]
"""Called with the name of a table, the number of jobs tried, and the number of jobs to try."""

Housekeeping = Callable[[], None]
"""Housekeeping callback, called between jobs."""

OnResult = Callable[[JobResult], None]
"""Called with the result of each job that inserted rows or failed."""

HOUSEKEEPING_SECONDS = 0.5
"""Shortest time between two calls of `Housekeeping`."""

SLICE_SECONDS = 10.0
"""Shortest slice of time for a table; see `Worker.run_slices`."""

AWAY_SECONDS = 300.0
"""Time for which a worker waits for a server that is away."""

INSTANT_SECONDS = 1.0
"""If a server answers again within this time, it was not away: the job broke the connection."""

REQUEUE_SECONDS = 3.0
"""Time that a stopping worker waits for the server to take back its job."""


# --- functions to call --------------------------------------------------------------------------


def run(
    tables: Sequence[type[dj.Table]] | None = None,
    progress: Progress | None = None,
    housekeeping: Housekeeping | None = None,
    on_result: OnResult | None = None,
) -> list[TableResult]:
    """Run all jobs that can run now, except those that other workers have reserved.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all, parents first.
    progress, housekeeping, on_result : callable, optional
        See `Progress`, `Housekeeping`, `OnResult`.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        On Ctrl-C or SIGTERM. Inserted rows stay; the current job returns to the queue.
    ServerError
        The server has been away for too long.
    """
    worker = Worker(
        tables or catalog.tables(),
        progress=progress,
        housekeeping=housekeeping,
        on_result=on_result,
    )
    with worker.working():
        while worker.run_slices():
            pass
    return worker.results


def fill(
    table: type[dj.Table],
    progress: Progress | None = None,
    only: Sequence[Key] | None = None,
    housekeeping: Housekeeping | None = None,
) -> TableResult:
    """Run all jobs of a table that can run now, or only those of some keys."""
    worker = Worker([table], progress=progress, housekeeping=housekeeping)
    with worker.working():
        worker.fill(table, only)
    return worker.results[0]


def retry(tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None) -> int:
    """Delete recorded failures, so that their jobs run again; return their number.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only failures of this session.
    """
    n_deleted = 0
    for table in catalog.of_session(tables, eid):
        failed = table().jobs.errors & catalog.session_key(eid)
        n_deleted += len(failed)
        retry_on_deadlock(failed.delete_quick)
    return n_deleted


@contextmanager
def terminable() -> Iterator[None]:
    """Make SIGTERM raise SystemExit within the block, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with _interruptible_queries():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _interruptible_queries() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM interrupt a running query.

    Without this, psycopg2 would handle them only after the query. PyMySQL handles them at once.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_cut_connection, args=(receiver,), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        sender.close()


def _cut_connection(receiver: socket.socket) -> None:
    """Shut down the connection of this process when a signal arrives.

    `cancel` of psycopg2 is no alternative: it blocks all threads until the server answers.
    """
    with receiver:
        while number := receiver.recv(1):  # Python writes the number of each signal as a byte
            if number[0] not in (signal.SIGINT, signal.SIGTERM):
                continue
            if dj.conn().adapter.backend == "postgresql":
                with suppress(AttributeError, psycopg2.Error, OSError):  # closed already
                    # A copy: closing it at the end leaves the socket of psycopg2 open.
                    copy = os.dup(upstream.driver_connection(dj.conn()).fileno())
                    with socket.socket(fileno=copy) as connected:
                        connected.shutdown(socket.SHUT_RDWR)


# --- the worker ---------------------------------------------------------------------------------


class Worker:
    """Reserves and runs the jobs of some tables.

    Parameters
    ----------
    tables : sequence of tables
        Tables to fill, in this order.
    settings : WorkerSettings, optional
        Default: those of the active connection.
    away_seconds : float, optional
        Time for which the worker waits for a server that is away.
    progress, housekeeping, on_result : callable, optional
        See `Progress`, `Housekeeping`, `OnResult`.
    """

    def __init__(
        self,
        tables: Sequence[type[dj.Table]],
        settings: WorkerSettings | None = None,
        *,
        away_seconds: float = AWAY_SECONDS,
        progress: Progress | None = None,
        housekeeping: Housekeeping | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self._tables = tables
        self._settings = settings or connection.active().worker
        self._away_seconds = away_seconds
        self._progress = progress
        self._housekeeping = housekeeping
        self._on_result = on_result
        self._results = {table: TableResult(catalog.name_of(table)) for table in tables}
        self._n_tried = dict.fromkeys(tables, 0)
        self._last_housekeeping = time.monotonic()
        self._has_job = False
        self._prepared_connection_id: int | None = None
        self._longest_job = 0.0
        self._heartbeat = Heartbeat(self._settings.stale_after / 4)

    @property
    def results(self) -> list[TableResult]:
        """What the worker has done until now, by table."""
        return list(self._results.values())

    @contextmanager
    def working(self) -> Iterator[None]:
        """Send heartbeats during the block; if an error ends it, requeue the job.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            On Ctrl-C or SIGTERM.
        DiskFull
            A disk is full. The current job returns to the queue.
        StorageError
            The object store is empty, though rows refer to objects in it.
        """
        stored_objects.require_store()
        self._heartbeat.start()
        try:
            with terminable():
                yield
            with suppress(Exception):  # the work is done, whether the server answers or not
                queue.restore(dj.conn())
                self._prepared_connection_id = None
        except BaseException as error:
            requeue_before_exit(self._tables, [os.getpid()])
            if (request := _stop_request(error)) is not None:
                raise request from None
            if (full := connection.full_disk(error)) is not None:
                raise full from error
            raise
        finally:
            self._heartbeat.stop()

    def run_slices(self) -> bool:
        """Work once on each table that has jobs; return whether any job was tried.

        Each table gets the same slice of time. A slice is at least as long as the longest job of
        the last call, so that a table with long jobs gets no larger share.
        """
        seconds, self._longest_job = max(SLICE_SECONDS, self._longest_job), 0.0
        try:
            self._prepare_connection()
            self._record(queue.reclaim(self._tables, self._settings))
            n_tried = 0
            for table, n_pending, n_new in queue.count_runnable(self._tables):
                if n_pending or n_new:
                    n_tried += self.fill(table, seconds=seconds)
            return n_tried > 0
        except Exception as error:
            if _stop_request(error) or connection.full_disk(error) or not is_server_away(error):
                raise
            self._reconnect()
            return True

    def fill(
        self,
        table: type[dj.Table],
        only: Sequence[Key] | None = None,
        seconds: float = math.inf,
    ) -> int:
        """Run jobs of a table for some seconds; return the number of jobs tried."""
        queue.refresh(table, only)
        pending = queue.pending_jobs(table, only)
        n_tried, n_total, until = 0, len(pending), time.monotonic() + seconds
        earlier_keys: list[Key] = []
        while time.monotonic() < until:
            n_before, keys = n_tried, queue.next_keys(pending)
            for key in keys:
                self._show_progress(table, n_tried, n_total)
                n_tried += self._run_job(table, key)
                self._do_housekeeping()
                if time.monotonic() >= until:
                    break
            if n_tried == n_before and keys == earlier_keys:
                break  # no job is left, or other workers have reserved all of them
            earlier_keys = keys
        if n_total:
            self._show_progress(table, n_total, n_total)
        self._n_tried[table] += n_tried
        return n_tried

    def _run_job(self, table: type[dj.Table], key: Key) -> bool:
        """Run a job or record its error; return False if another worker has reserved it."""
        job_table = table().jobs
        connection_id = job_table.connection.connection_id
        if not retry_on_deadlock(lambda: job_table.reserve(key)):
            return False
        if connection_id != job_table.connection.connection_id:
            # DataJoint has reconnected: the job is reserved under the number of the old connection.
            raise dj.errors.LostConnectionError("Connection lost while a job was reserved.")
        self._prepare_connection()
        began, read, stored = time.monotonic(), io_counters.total.read, io_counters.total.stored
        n_done, message = 0, None
        self._has_job = True
        try:
            with self._heartbeat.during(job_table, key, connection_id):
                n_done = _populate(
                    table, key, lambda: queue.require_reservation(job_table, key, connection_id)
                )
        except queue.JobLost:
            self._has_job = False
        except Exception as error:
            if _stop_request(error) or is_server_away(error) or connection.full_disk(error):
                raise  # `_has_job` stays set for `_reconnect`
            self._has_job = False
            if is_lock_timeout(error):
                # By then, the worker that has the lock has committed, or its job is reclaimed.
                queue.postpone(job_table, key, connection_id, self._settings.stale_after)
                return True
            message = self._describe(error)
            if not queue.fail(job_table, key, connection_id, message, traceback.format_exc()):
                return True
            self._results[table].failed.append((key, message))
        else:
            self._has_job = False
            retry_on_deadlock(lambda: job_table.complete(key))
            self._results[table].n_done += n_done
        seconds = time.monotonic() - began
        self._longest_job = max(self._longest_job, seconds)
        if self._on_result and (n_done or message):
            n_rows = _count_rows(table, key) if n_done else 0
            n_read, n_stored = io_counters.total.read - read, io_counters.total.stored - stored
            name = self._results[table].table
            self._on_result(JobResult(name, key, seconds, n_rows, n_read, n_stored, message))
        return True

    def _prepare_connection(self) -> None:
        """Prepare the connection, unless it is prepared; DataJoint may have replaced a lost one."""
        if self._prepared_connection_id != dj.conn().connection_id:
            queue.prepare(dj.conn())
            self._prepared_connection_id = dj.conn().connection_id

    def _describe(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if not isinstance(error, MemoryError):
            return text
        limit = ByteSize(self._settings.memory or memory.budget or 0)
        budget = f" ({limit.human_readable(decimal=True)})" if limit else ""
        return (
            f"{text}. The job needs more than bwm.memory{budget}: raise it, run fewer workers, "
            "then run `bwm retry`."
        )

    def _show_progress(self, table: type[dj.Table], n_tried: int, n_total: int) -> None:
        if self._progress:
            before = self._n_tried[table]
            self._progress(
                self._results[table].table, before + n_tried, before + max(n_tried, n_total)
            )

    def _do_housekeeping(self) -> None:
        waited = time.monotonic() - self._last_housekeeping
        if self._housekeeping and waited > HOUSEKEEPING_SECONDS:
            self._housekeeping()
            self._last_housekeeping = time.monotonic()

    def _reconnect(self) -> None:
        """Wait for the server, and requeue the current job.

        If the server answers at once, the job itself broke the connection. That counts as the
        death of a worker, so that the job is not tried for ever.
        """
        had_job, self._has_job = self._has_job, False
        began = time.monotonic()

        def reconnect() -> None:
            connection.reconnect()
            if had_job and time.monotonic() - began < INSTANT_SECONDS:
                host, pid = platform.node(), os.getpid()
                self._record(queue.reap_process(self._tables, host, pid, self._settings))
            else:
                queue.requeue_process(self._tables, os.getpid())

        wait_for_server(reconnect, self._away_seconds)

    def _record(self, abandoned: Sequence[queue.AbandonedJob]) -> None:
        """Record abandoned jobs as failed."""
        for job in abandoned:
            self._results[job.table].failed.append((job.key, job.error))
            if self._on_result:
                self._on_result(result_of(job))


def result_of(job: queue.AbandonedJob) -> JobResult:
    """Return the result of an abandoned job, which is reported like any other failure."""
    return JobResult(catalog.name_of(job.table), job.key, job.seconds, error=job.error, pid=job.pid)


def requeue_before_exit(tables: Sequence[type[dj.Table]], pids: Sequence[int]) -> None:
    """Requeue the jobs of processes of this host.

    If the server does not answer in time, other workers reclaim the jobs. Call this function only
    before the process ends: it opens a new connection, because the old one may be in the middle
    of a query.
    """
    errors: list[BaseException] = []

    def requeue_all() -> None:
        try:
            connection.reconnect()
            for pid in pids:
                queue.requeue_process(tables, pid)
        except Exception as error:
            if not (is_server_away(error) or connection.full_disk(error)):
                errors.append(error)

    thread = threading.Thread(target=requeue_all, daemon=True, name="requeue")
    thread.start()
    thread.join(REQUEUE_SECONDS)
    if errors:
        raise errors[0]


def wait_for_server(connect: Callable[[], Any], seconds: float) -> None:
    """Call `connect` until the server answers.

    Raises
    ------
    ServerError
        The server was away for so many seconds, or it refuses the connection.
    """
    until, pause = time.monotonic() + seconds, 0.1
    while True:
        try:
            connect()
            return
        except Exception as error:
            if not is_server_away(error):
                raise
            if time.monotonic() > until:
                what = f"the server has been away for {seconds:.0f} s ({error})."
                remedy = "Start the server and run the same command again: it continues."
                raise ServerError(what, None, remedy) from error
        time.sleep(pause)
        pause = min(2 * pause, 10.0)


def _populate(table: type[dj.Table], key: Key, before_commit: Callable[[], None]) -> int:
    """Insert the rows of a key; return 1, or 0 if they exist already or the key is gone."""

    def populate() -> int:
        return upstream.populate_key(table(), key, before_commit)

    try:
        # Not tried again at once after a lock time-out: the worker that has the lock may have
        # stalled.
        return retry_on_deadlock(populate, unless=is_lock_timeout)
    except dj.errors.DuplicateError:
        if not table & key:
            raise
        # Another worker reclaimed the job, because this worker seemed dead, and inserted the rows.
        return 0


def _stop_request(error: BaseException | None) -> BaseException | None:
    """Return the KeyboardInterrupt or SystemExit among an error and its contexts, if any."""
    while error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
        error = error.__context__
    return error


def _count_rows(table: type[dj.Table], key: Key) -> int:
    """Count the rows of a key, part tables included."""
    return sum(sql.count(one & key for one in with_parts(table)))
