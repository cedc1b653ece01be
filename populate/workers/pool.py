"""A pool: worker processes on this machine, and the process that supervises them.

Workers share the work through the database; no worker knows of another. The pool starts the
workers, replaces those that die, wakes idle workers when there may be new jobs, and stops them.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import multiprocessing
import os
import platform
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import datajoint as dj
import psutil
import pyarrow as pa
from pydantic import ByteSize

from populate import cache_eviction, catalog
from populate.workers import queue, worker
from schemas import MODULES, connection, memory
from schemas.database.driver_errors import is_server_away
from schemas.errors import BwmError, ServerError
from schemas.settings import Settings

GRACE_SECONDS = 8.0
"""Time in which a worker can return its job to the queue before it is killed."""

IDLE_SECONDS = 0.5
"""An idle worker looks for jobs at most once in this time."""

EARLY_SECONDS = 10.0
"""A worker that dies before this age, without any result, has failed to start."""

MAX_FAILED_STARTS, MAX_KILLED_STARTS = 3, 10
"""Failed starts in a row after which the pool gives up: the second number if the last worker was
ended by a signal, the first otherwise."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker process gets from its pool.

    Attributes
    ----------
    settings : Settings
        Settings of the connection, with the memory budget of one worker.
    tables : tuple of str
        Names of the tables to fill.
    n_threads : int
        Number of threads for computations.
    away_seconds : float
        Time for which the worker waits for a server that is away.
    """

    settings: Settings
    tables: tuple[str, ...]
    n_threads: int
    away_seconds: float


def run(
    n_workers: int,
    tables: Sequence[type[dj.Table]] | None = None,
    *,
    watch: bool = False,
    on_result: worker.OnResult | None = None,
) -> list[worker.TableResult]:
    """Run all jobs that can run, in several worker processes.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    tables, on_result : optional
        See `worker.run`.
    watch : bool
        Wait for new sessions when no job is left, until Ctrl-C or SIGTERM.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        On Ctrl-C or SIGTERM. All workers stop within 10 s; unfinished jobs return to the queue.
    ServerError
        Workers die as they start, or the server has been away for too long.
    """
    with worker.terminable():
        return _Pool(n_workers, tables or catalog.tables(), watch, on_result).run()


# --- the supervising process --------------------------------------------------------------------


@dataclass
class WorkerHandle:
    """A worker process as the pool sees it.

    Attributes
    ----------
    process : multiprocessing.Process
    pipe : Connection
        The worker sends a `JobResult` for each job, `Idle` when it found none, or a `BwmError`
        that ends the pool; the pool sends wake-ups.
    lifeline : Connection
        Carries no message. It closes when the pool ends, and then the worker ends too.
    started : float
        Time of the start (s, monotonic).
    idle_since : float
        Start of the last search that found no job (s, monotonic); -1 while the worker may have
        a job.
    has_results : bool
        Whether a job of this worker has ended.
    """

    process: BaseProcess
    pipe: Connection
    lifeline: Connection
    started: float = field(default_factory=time.monotonic)
    idle_since: float = -1.0
    has_results: bool = False

    @property
    def pid(self) -> int:
        """Number of the process, which has been started."""
        return self.process.pid or 0


@dataclass(frozen=True)
class Idle:
    """Message of a worker that found no job; `since` is the start of its search (s, monotonic)."""

    since: float


class _Pool:
    def __init__(
        self,
        n_workers: int,
        tables: Sequence[type[dj.Table]],
        watch: bool,
        on_result: worker.OnResult | None,
    ) -> None:
        settings = connection.active()
        budget = settings.worker.memory or share_of_memory(n_workers)
        self._worker_settings = settings.worker.model_copy(update={"memory": ByteSize(budget)})
        self._tables = tables
        self._config = WorkerConfig(
            settings=settings.model_copy(update={"worker": self._worker_settings}),
            tables=tuple(catalog.name_of(table) for table in tables),
            n_threads=max(1, (os.cpu_count() or 1) // n_workers),
            away_seconds=math.inf if watch else worker.AWAY_SECONDS,
        )
        self._n_workers, self._watch, self._on_result = n_workers, watch, on_result
        self._results = {name: worker.TableResult(name) for name in self._config.tables}
        self._workers: list[WorkerHandle] = []
        self._dead_pids: deque[int] = deque()
        self._last_result_at = 0.0
        self._n_failed_starts = 0

    def run(self) -> list[worker.TableResult]:
        try:
            while not self._is_finished():
                while len(self._workers) < self._n_workers:
                    self._workers.append(self._start_worker())
                self._receive()
                self._reap_dead_workers()
        finally:
            self._stop()
        return list(self._results.values())

    def _start_worker(self) -> WorkerHandle:
        context = _context()
        pipe, worker_pipe = context.Pipe()
        worker_lifeline, lifeline = context.Pipe(duplex=False)
        threads = {name: str(self._config.n_threads) for name in THREAD_VARIABLES}
        with _environment(threads), _ctrl_c_blocked():
            arguments = (self._config, worker_pipe, worker_lifeline)
            process = context.Process(target=_main, args=arguments)
            process.start()
        worker_pipe.close()
        worker_lifeline.close()
        return WorkerHandle(process, pipe, lifeline)

    def _receive(self) -> None:
        """Wait until a worker sends a message or dies, and process all messages."""
        pipes = [handle.pipe for handle in self._workers]
        sentinels = [handle.process.sentinel for handle in self._workers]
        ready = wait([*pipes, *sentinels], timeout=1.0)
        talking = [handle for handle in self._workers if handle.pipe in ready]
        dead = [handle for handle in self._workers if not handle.process.is_alive()]
        for handle in talking + dead:
            for message in _messages(handle.pipe):
                self._process_message(handle, message)
        for handle in dead:
            self._workers.remove(handle)
            self._dead_pids.append(handle.pid)
            self._check_start(handle)
            handle.pipe.close()
            handle.lifeline.close()

    def _process_message(self, handle: WorkerHandle, message: Any) -> None:
        if isinstance(message, BwmError):
            raise message
        if isinstance(message, Idle):
            handle.idle_since = message.since
            if message.since <= self._last_result_at:  # it may have searched before the new rows
                _wake(handle)
        else:
            handle.has_results, handle.idle_since = True, -1.0
            self._n_failed_starts = 0
            self._record(message)

    def _record(self, result: worker.JobResult) -> None:
        table_result = self._results[result.table]
        if result.error is None:
            table_result.n_done += 1
        else:
            table_result.failed.append((result.key, result.error))
        self._last_result_at = time.monotonic()
        if self._on_result:
            self._on_result(result)
        for handle in self._workers:  # an idle worker may have been waiting for the new rows
            if handle.idle_since >= 0:
                _wake(handle)

    def _check_start(self, handle: WorkerHandle) -> None:
        """Raise an error if too many workers in a row died while they started."""
        if handle.has_results or time.monotonic() - handle.started > EARLY_SECONDS:
            return
        self._n_failed_starts += 1
        code = handle.process.exitcode or 0
        # More starts are allowed after signals: their cause, e.g. lack of memory, may soon end.
        if self._n_failed_starts >= (MAX_KILLED_STARTS if code < 0 else MAX_FAILED_STARTS):
            cause = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            what = f"workers end right after their start; the last one {cause}."
            remedy = "See the output of the workers, or the log of the system, for the reason."
            raise ServerError(what, None, remedy)
        if code < 0:
            time.sleep(min(1.0, 0.01 * 2**self._n_failed_starts))

    def _reap_dead_workers(self) -> None:
        """Requeue the jobs of dead workers; if the server is away, leave them for the next call."""
        try:
            while self._dead_pids:
                pid = self._dead_pids[0]
                for job in queue.reap_process(
                    self._tables, platform.node(), pid, self._worker_settings
                ):
                    self._record(worker.result_of(job))
                self._dead_pids.popleft()
        except Exception as error:
            if not is_server_away(error):
                raise
            with contextlib.suppress(Exception):
                connection.reconnect()

    def _is_finished(self) -> bool:
        """Return whether every worker has searched since the last result and found no job."""
        if self._watch or self._dead_pids or len(self._workers) < self._n_workers:
            return False
        return all(handle.idle_since > self._last_result_at for handle in self._workers)

    def _stop(self) -> None:
        """Terminate all workers, and kill those that do not end in time."""
        until = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(KeyboardInterrupt, SystemExit):  # a second request: do not wait
            for handle in self._workers:
                handle.process.terminate()
            for handle in self._workers:
                handle.process.join(max(0.0, until - time.monotonic()))
        with _signals_ignored():
            self._requeue_unfinished()
            for handle in self._workers:
                for message in _messages(handle.pipe):
                    if isinstance(message, worker.JobResult):
                        self._record(message)

    def _requeue_unfinished(self) -> None:
        """Kill the workers that still run, and requeue the jobs of all busy workers.

        A worker that stops requeues its own job, but may not have had the time.
        """
        pids = set()
        for handle in self._workers:
            if is_alive := handle.process.is_alive():
                handle.process.kill()
                handle.process.join()
            if is_alive or handle.idle_since < 0:
                pids.add(handle.pid)
        if pids:
            worker.requeue_before_exit(self._tables, list(pids))


def _wake(handle: WorkerHandle) -> None:
    """Let an idle worker search again."""
    with contextlib.suppress(OSError):
        handle.pipe.send("wake up")
        handle.idle_since = -1.0


def _messages(pipe: Connection) -> Iterator[Any]:
    """Yield the messages that a worker has sent, even if the worker has died since."""
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll():
            yield pipe.recv()


ONLY_FOR_COMPUTING = [f"scipy.{part}" for part in ("ndimage", "optimize", "signal", "stats")]
"""Modules that `schemas.maths` imports late, so that commands that compute nothing start fast.
Workers import them in advance."""


def _context() -> SpawnContext | ForkServerContext:
    """Return the multiprocessing context that starts workers.

    On Linux, workers are forked in milliseconds from a process of multiprocessing, the fork server,
    that has imported all modules; a new interpreter takes seconds. On other systems forking is not
    safe.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    schemas = ["schemas.sources.one_api", *(f"schemas.{name}" for name in MODULES)]
    context.set_forkserver_preload([__name__, *schemas, *ONLY_FOR_COMPUTING])
    return context


# --- the worker process -------------------------------------------------------------------------


def _main(config: WorkerConfig, pipe: Connection, lifeline: Connection) -> None:
    """Run jobs until the pool stops this process: the main function of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the pool receives Ctrl-C and stops its workers
    _end_with_pool(lifeline)
    pa.set_cpu_count(config.n_threads)
    settings = config.settings
    try:
        worker.wait_for_server(lambda: _connect(settings), config.away_seconds)
        this_worker = worker.Worker(
            catalog.find(config.tables),
            settings.worker,
            away_seconds=config.away_seconds,
            housekeeping=cache_eviction.housekeeping(settings.alyx),
            on_result=pipe.send,
        )
        limit_memory(settings.worker.memory)
        with this_worker.working():
            while True:
                began = time.monotonic()
                if not this_worker.run_slices():
                    pipe.send(Idle(began))
                    pipe.poll(settings.worker.watch_every)  # until a wake-up arrives
                    time.sleep(max(0.0, began + IDLE_SECONDS - time.monotonic()))
                    while pipe.poll():
                        pipe.recv()  # one search answers all wake-ups
    except BwmError as error:
        pipe.send(error)


def _connect(settings: Settings) -> None:
    connection.connect(settings)
    catalog.use(settings.modules)


def _end_with_pool(lifeline: Connection) -> None:
    """Make this worker end when its pool is gone, however the pool ended.

    On Linux the kernel then sends SIGIO, which ends the worker at once, even inside C code; other
    workers reclaim its job. A thread ends the worker on other systems, and if the pool was gone
    before this call.
    """
    if sys.platform == "linux":
        fcntl.fcntl(lifeline.fileno(), fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline.fileno(), fcntl.F_SETFL, os.O_ASYNC)
    threading.Thread(target=_end_when_closed, args=(lifeline,), daemon=True).start()


def _end_when_closed(lifeline: Connection) -> None:
    wait([lifeline])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


@contextmanager
def _signals_ignored() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM within the block, if this is the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Block Ctrl-C for processes that start within the block.

    This process handles a Ctrl-C when the block ends.
    """
    resource_tracker.ensure_running()  # its start within the block would unblock Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that are not set yet, for processes that start within the block."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


# --- memory -------------------------------------------------------------------------------------

CONTAINER_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_of_machine() -> int:
    """Return the memory of this machine, or of its container if less (bytes)."""
    found = [psutil.virtual_memory().total]
    for path in map(Path, CONTAINER_LIMITS):
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            found.append(int(path.read_text()))
    return min(found)


def share_of_memory(n_workers: int) -> int:
    """Return the memory budget of one of `n_workers` workers on this machine (bytes).

    It is an equal share of nine tenths of the memory of the machine.
    """
    return int(0.9 * memory_of_machine() / n_workers)


def limit_memory(budget: int | None) -> None:
    """Limit the bytes that this process may still allocate.

    On Linux, allocating more raises MemoryError. On other systems only `schemas.memory` refuses
    files that unpack to more than the budget.
    """
    memory.budget = budget
    used = getattr(psutil.Process().memory_info(), "data", None)
    if budget is not None and used is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = used + budget
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
