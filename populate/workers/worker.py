"""A worker: reserves jobs, makes them, records what fails, stops cleanly.

Any number of workers on any number of machines share the work through the job tables of the
database that they are connected to. Whatever ends a worker, and however often the server goes
away, a key is made whole or not at all, and no job stays reserved for ever.
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

from populate import catalog
from populate.verify.objects import refuse_lost_store
from populate.workers import queue, work
from schemas import connection
from schemas.database import io_counters
from schemas.database.declared import with_parts
from schemas.errors import ServerAway, ServerError
from schemas.settings import WorkerSettings

Key = dict[str, Any]


@dataclass
class TableResult:
    """What was done for a table.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    made : int
        Number of keys made.
    failed : list of tuple
        Keys that failed, with why.
    kept : list of tuple
        Keys that were to be made again and stay as they are, with why.
    """

    table: str
    made: int = 0
    failed: list[tuple[Key, str]] = field(default_factory=list)
    kept: list[tuple[Key, str]] = field(default_factory=list)


@dataclass(frozen=True)
class JobResult:
    """A job that is done.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    key : dict
        What was made.
    seconds : float
        From the reservation to the end.
    rows : int
        Rows inserted, those of part tables included.
    read, stored : int
        Bytes of the files that were read, and of the objects that were written.
    error : str or None
        Why it failed.
    pid : int
        The process that did it.
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
"""Called with the table, the number of keys tried and the number of keys to try."""

Housekeeping = Callable[[], None]
"""Called between jobs, to keep house."""

OnResult = Callable[[JobResult], None]
"""Called with each job that is done."""

HOUSEKEEPING_SECONDS = 0.5
"""Time between two calls of `Housekeeping`, where jobs are shorter than that."""

SLICE_SECONDS = 10.0
"""Time after which a worker turns to the next table, so that a slow one holds up no other."""

PATIENCE = 300.0
"""Seconds for which a server that is gone is waited for."""

AT_ONCE_SECONDS = 1.0
"""Time within which a server answers again that was not gone: a job then lost the connection."""

REQUEUE_SECONDS = 3.0
"""Time to give back the job in hand: a server that hangs holds up nobody who wants to stop."""


# --- what people call ---------------------------------------------------------------------------


def run(
    tables: Sequence[type[dj.Table]] | None = None,
    progress: Progress | None = None,
    housekeeping: Housekeeping | None = None,
    on_result: OnResult | None = None,
) -> list[TableResult]:
    """Make every key that can be made now, in this process.

    Jobs that other workers hold are left to them.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all, in the order of the plan.
    progress : callable, optional
        See `Progress`.
    keep : callable, optional
        See `Housekeeping`.
    tell : callable, optional
        See `OnResult`.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        Asked to stop. What is made stays, the job in hand is released.
    ServerError
        The server has been gone for too long.
    """
    worker = Worker(
        tables or catalog.tables(),
        progress=progress,
        housekeeping=housekeeping,
        on_result=on_result,
    )
    with worker.at_work():
        while worker.round():
            pass
    return worker.outcomes


def fill(
    table: type[dj.Table],
    progress: Progress | None = None,
    only: Sequence[Key] | None = None,
    housekeeping: Housekeeping | None = None,
) -> TableResult:
    """Make every key of a table that can be made now, or only some of them."""
    worker = Worker([table], progress=progress, housekeeping=housekeeping)
    with worker.at_work():
        worker.fill(table, only)
    return worker.outcomes[0]


def retry(tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None) -> int:
    """Forget recorded failures, so that the next run tries their keys again.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only those of one session.

    Returns
    -------
    int
        Number of failures forgotten.
    """
    forgotten = 0
    for table in catalog.of_session(tables, eid):
        failed = table().jobs.errors & ({"eid": eid} if eid is not None else {})
        forgotten += len(failed)
        queue.retry(failed.delete_quick)
    return forgotten


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does, where Python delivers signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with _ending_queries():
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _ending_queries() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a query: psycopg2 lets Python hear nothing while one runs."""
    heard, rung = socket.socketpair()
    rung.setblocking(False)
    before = signal.set_wakeup_fd(rung.fileno(), warn_on_full_buffer=False)
    threading.Thread(target=_end_query, args=(heard,), daemon=True, name="end query").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        rung.close()


def _end_query(heard: socket.socket) -> None:
    """Cut the connection on which a query runs when a signal is heard.

    To cancel the query, psycopg2 would ask the server, and hold up all threads until it answers.
    """
    with heard:
        while number := heard.recv(1):
            if number[0] in (signal.SIGINT, signal.SIGTERM) and _is_postgresql():
                with suppress(AttributeError, psycopg2.Error, OSError):  # it is closed
                    link = os.dup(dj.conn()._conn.fileno())
                    with socket.socket(fileno=link) as own:
                        own.shutdown(socket.SHUT_RDWR)


def _is_postgresql() -> bool:
    return dj.conn().adapter.backend == "postgresql"


# --- at work ------------------------------------------------------------------------------------


class Worker:
    """One worker.

    Parameters
    ----------
    tables : sequence of tables
        To fill, in this order.
    settings : WorkerSettings, optional
        How workers share the work.
    patience : float, optional
        Seconds for which a server that is gone is waited for.
    progress, keep, tell : callable, optional
        See `Progress`, `Housekeeping`, `OnResult`.
    """

    def __init__(
        self,
        tables: Sequence[type[dj.Table]],
        settings: WorkerSettings | None = None,
        *,
        patience: float = PATIENCE,
        progress: Progress | None = None,
        housekeeping: Housekeeping | None = None,
        on_result: OnResult | None = None,
    ) -> None:
        self._tables = tables
        self._settings = settings or connection.active().worker
        self._patience = patience
        self._progress = progress
        self._housekeeping = housekeeping
        self._on_result = on_result
        self._of = {table: TableResult(catalog.name_of(table)) for table in tables}
        self._tried = dict.fromkeys(tables, 0)
        self._kept_at = time.monotonic()
        self._in_hand = False
        self._longest = 0.0
        self._heartbeat = queue.Heartbeat(self._settings.stale_after / 4)

    @property
    def outcomes(self) -> list[TableResult]:
        """What was done so far, by table."""
        return list(self._of.values())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hold jobs only within this block: whatever ends it, they are given back.

        Raises
        ------
        KeyboardInterrupt, SystemExit
            Asked to stop, by Ctrl-C or SIGTERM.
        StorageError
            The store is empty, though rows point into it.
        """
        refuse_lost_store()
        self._heartbeat.start()
        try:
            with terminable():
                yield
        except BaseException as error:
            self._requeue()
            if (asked := _asked_by(error)) is not None:
                raise asked from None
            raise
        finally:
            self._heartbeat.end()

    def round(self) -> bool:
        """Do what can be done now, table after table; tell whether there was anything.

        A table whose jobs are long gets one of them in the time that every other gets.
        """
        each, self._longest = max(SLICE_SECONDS, self._longest), 0.0
        try:
            self._note(queue.reclaim(self._tables, self._settings))
            found = work.count_runnable(self._tables)
            todo = [work.table for work in found if work.n_pending or work.n_new]
            return sum([self.fill(table, seconds=each) for table in todo]) > 0
        except Exception as error:
            if _asked_by(error) or not queue.is_server_away(error):
                raise
            self._come_back()
            return True

    def fill(
        self,
        table: type[dj.Table],
        only: Sequence[Key] | None = None,
        seconds: float = math.inf,
    ) -> int:
        """Make keys of a table for so many seconds; return how many were tried."""
        queue.refresh(table, only)
        pending = queue.due(table, only)
        tried, total, until = 0, len(pending), time.monotonic() + seconds
        before: list[Key] = []
        while time.monotonic() < until:
            n_before, keys = tried, queue.next_keys(pending)
            for key in keys:
                self._show(table, tried, total)
                tried += self._do(table, key)
                self._do_housekeeping()
                if time.monotonic() >= until:
                    break
            if tried == n_before and keys == before:
                break  # nothing is left, or nothing that this worker can have
            before = keys
        if total:
            self._show(table, total, total)
        self._tried[table] += tried
        return tried

    def _do(self, table: type[dj.Table], key: Key) -> bool:
        """Make a key, or record why it cannot be made; False if another worker is at it."""
        held = table().jobs
        link = held.connection.connection_id
        if not queue.retry(lambda: held.reserve(key)):
            return False
        if link != held.connection.connection_id:
            raise dj.errors.LostConnectionError("The connection was lost as a job was reserved.")
        began, read, stored = time.monotonic(), io_counters.total.read, io_counters.total.stored
        made, problem = 0, None
        self._in_hand = True
        try:
            with self._heartbeat.holding(held, key):
                made = self._make(table, key)
        except Exception as error:
            if _asked_by(error) or queue.is_server_away(error):
                raise
            self._in_hand = False
            problem = self._told(error)
            queue.fail(held, key, problem, traceback.format_exc())
            self._of[table].failed.append((key, problem))
        else:
            self._in_hand = False
            queue.retry(lambda: held.complete(key))
            self._of[table].made += made
        self._longest = max(self._longest, time.monotonic() - began)
        if self._on_result and (made or problem):
            self._on_result(
                JobResult(
                    self._of[table].table,
                    key,
                    seconds=time.monotonic() - began,
                    rows=_count_rows(table, key) if made else 0,
                    read=io_counters.total.read - read,
                    stored=io_counters.total.stored - stored,
                    error=problem,
                )
            )
        return True

    def _make(self, table: type[dj.Table], key: Key) -> int:
        """Make a key; return 0 if it is there already, or can be made no more."""
        # As `populate(key)` in the end does. That would build and ask `key_source` once more.
        alone = {"suppress_errors": False, "return_exception_objects": False}
        try:
            return int(queue.retry(lambda: table()._populate1(key, None, **alone)))
        except dj.errors.DuplicateError:
            if not table & key:
                raise
            return 0  # another worker, which had been taken for dead, was quicker

    def _told(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if not isinstance(error, MemoryError):
            return text
        limit = self._settings.memory
        budget = f"the {limit.human_readable(decimal=True)} of bwm.memory" if limit else "memory"
        return f"{text}. It needs more than {budget}: allow more, with fewer workers, and retry."

    # --- progress -------------------------------------------------------------------------------

    def _show(self, table: type[dj.Table], tried: int, total: int) -> None:
        if self._progress:
            before = self._tried[table]
            self._progress(self._of[table].table, before + tried, before + max(tried, total))

    def _do_housekeeping(self) -> None:
        if self._housekeeping and time.monotonic() - self._kept_at > HOUSEKEEPING_SECONDS:
            self._housekeeping()
            self._kept_at = time.monotonic()

    # --- what ends or interrupts it -------------------------------------------------------------

    def _requeue(self) -> None:
        """Let the job in hand be done again, over a new connection: the old may be mid-word."""
        requeue(self._tables, [os.getpid()])

    def _come_back(self) -> None:
        """Wait for the server, and give back what was in hand when it went.

        A server that was not gone lost the connection to the job: if that is so each time, the
        job is to blame, as one that kills its workers.
        """
        is_suspect, self._in_hand = self._in_hand, False
        began = time.monotonic()

        def again() -> None:
            connection.reconnect()
            if is_suspect and time.monotonic() - began < AT_ONCE_SECONDS:
                own = platform.node(), os.getpid()
                self._note(queue.reap(self._tables, *own, self._settings))
            else:
                queue.release(self._tables, os.getpid())

        wait_for_server(again, self._patience)

    def _note(self, poison: Sequence[queue.AbandonedJob]) -> None:
        """Take in jobs that fail because too many workers died of them."""
        for one in poison:
            self._of[one.table].failed.append((one.key, one.problem))
            if self._on_result:
                self._on_result(result_of(one))


def requeue(tables: Sequence[type[dj.Table]], pids: Sequence[int]) -> None:
    """Let jobs be done again that processes of this host held, if the server answers soon.

    Else they will be taken over, as from dead workers. Only what is ending calls this.
    """
    problems: list[BaseException] = []

    def give() -> None:
        try:
            connection.reconnect()
            for pid in pids:
                queue.release(tables, pid)
        except Exception as error:
            if not queue.is_server_away(error):
                problems.append(error)

    giving = threading.Thread(target=give, daemon=True, name="give back")
    giving.start()
    giving.join(REQUEUE_SECONDS)
    if problems:
        raise problems[0]


def result_of(poison: queue.AbandonedJob) -> JobResult:
    """Report an abandoned job like any other failure."""
    return JobResult(catalog.name_of(poison.table), poison.key, poison.held, error=poison.problem)


def wait_for_server(connect: Callable[[], Any], patience: float) -> None:
    """Connect, for so many seconds if the server is away.

    Raises
    ------
    ServerError
        It stayed away, or is there and refuses to be used.
    """
    until, pause = time.monotonic() + patience, 0.1
    while True:
        problem = _attempt(connect)
        if problem is None:
            return
        if time.monotonic() > until:
            what = f"the server has been gone for {patience:.0f} s ({problem})."
            raise ServerError(what, None, "Start it; the same command goes on.") from problem
        time.sleep(pause)
        pause = min(2 * pause, 10.0)


def _attempt(connect: Callable[[], Any]) -> Exception | None:
    """Connect; return why the server is away, if it is."""
    try:
        connect()
    except Exception as error:
        if not (queue.is_server_away(error) or isinstance(error, ServerAway)):
            raise
        return error
    return None


def _asked_by(error: BaseException | None) -> BaseException | None:
    """Return what asked to stop, if anything: cleaning up after it may have failed in turn."""
    while error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
        error = error.__context__
    return error


def _count_rows(table: type[dj.Table], key: Key) -> int:
    """Count the rows of a key, those of part tables included, in one statement."""
    counts = [
        f"(SELECT count(*) FROM {one().full_table_name}{(one() & key).where_clause()})"
        for one in with_parts(table)
    ]
    found = table().connection.query(f"SELECT {' + '.join(counts)}").fetchone()
    return int(found[0])
