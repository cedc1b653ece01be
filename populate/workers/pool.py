"""A crew: worker processes of this machine, and the one that looks after them.

Workers share the work through the database and know nothing of each other. This module starts
them, replaces those that die, lets them look again when there may be something new, and ends them.
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
from schemas import MODULES, connection
from schemas.errors import BwmError, ServerError
from schemas.settings import Settings

GRACE_SECONDS = 8.0
"""Time that a worker has to give back its job, before it is killed."""

AT_LEAST = 0.5
"""Seconds between two looks of a worker with nothing to do."""

SHORT_LIVED = 10.0
"""Seconds; a worker that dies younger than that, without having done anything, has a fault."""

FAULTS, KILLED = 3, 10
"""Workers with a fault, or killed, in a row after which there is no point in starting another."""

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is told when it starts.

    Attributes
    ----------
    settings : Settings
        Of the connection, with the budget of one worker.
    tables : tuple of str
        Names of the tables to fill.
    n_threads : int
        Threads of computations.
    patience : float
        Seconds for which a server that is gone is waited for.
    """

    settings: Settings
    tables: tuple[str, ...]
    n_threads: int
    patience: float


def run(
    n_workers: int,
    tables: Sequence[type[dj.Table]] | None = None,
    *,
    watch: bool = False,
    on_result: worker.OnResult | None = None,
) -> list[worker.TableResult]:
    """Let so many worker processes make every key that can be made.

    Parameters
    ----------
    n_workers : int
        Number of processes.
    tables : sequence of tables, optional
        Default: all.
    watch : bool
        Go on as new sessions are registered, until asked to stop.
    tell : callable, optional
        Called with each job that is done, see `worker.JobResult`.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        Asked to stop. Within ten seconds all workers have ended and given back their jobs.
    ServerError
        Workers die as they start, or the server has been gone for too long.
    """
    with worker.terminable():
        return _Pool(n_workers, tables or catalog.tables(), watch, on_result).run()


# --- the one that looks after them --------------------------------------------------------------


@dataclass
class WorkerHandle:
    """A worker as its crew sees it."""

    process: BaseProcess
    pipe: Connection
    alive: Connection  # closed by nobody: with this process it ends
    born: float = field(default_factory=time.monotonic)
    looked: float = -1.0  # when it began the last look that found nothing; -1 while at work
    useful: bool = False


class _Pool:
    def __init__(
        self,
        n_workers: int,
        tables: Sequence[type[dj.Table]],
        watch: bool,
        on_result: worker.OnResult | None,
    ) -> None:
        settings = connection.active()
        budget = settings.worker.memory or int(0.9 * memory_of_machine() / n_workers)
        shared = settings.worker.model_copy(update={"memory": ByteSize(budget)})
        self._tables = tables
        self._orders = WorkerConfig(
            settings.model_copy(update={"worker": shared}),
            tuple(catalog.name_of(table) for table in tables),
            max(1, (os.cpu_count() or 1) // n_workers),
            math.inf if watch else worker.PATIENCE,
        )
        self._settings = shared
        self._n, self._watch, self._on_result = n_workers, watch, on_result
        self._outcomes = {name: worker.TableResult(name) for name in self._orders.tables}
        self._hands: list[WorkerHandle] = []
        self._dead: deque[int] = deque()
        self._last_done = 0.0
        self._n_faults = 0

    def run(self) -> list[worker.TableResult]:
        try:
            while not self._is_over():
                while len(self._hands) < self._n:
                    self._hands.append(self._start())
                self._listen()
                self._reap()
        finally:
            self._end()
        return list(self._outcomes.values())

    def _start(self) -> WorkerHandle:
        context = _context()
        ours, theirs = context.Pipe()
        ended, alive = context.Pipe(duplex=False)
        threads = {name: str(self._orders.n_threads) for name in THREADS}
        with _environment(threads), _deaf_to_ctrl_c():
            process = context.Process(target=_work, args=(self._orders, theirs, ended))
            process.start()
        theirs.close()
        ended.close()
        return WorkerHandle(process, ours, alive)

    def _listen(self) -> None:
        """Wait until a worker says something, or dies, and take it in."""
        by_pipe = {hand.pipe: hand for hand in self._hands}
        said = wait([*by_pipe, *(hand.process.sentinel for hand in self._hands)], timeout=1.0)
        dead = [hand for hand in self._hands if not hand.process.is_alive()]
        for hand in [by_pipe[one] for one in said if one in by_pipe] + dead:
            for told in _all_said(hand.pipe):
                self._take_in(hand, told)
        for hand in dead:
            self._hands.remove(hand)
            self._dead.append(hand.process.pid or 0)
            self._judge(hand)
            hand.pipe.close()
            hand.alive.close()

    def _take_in(self, hand: WorkerHandle, said: Any) -> None:
        if isinstance(said, BwmError):
            raise said
        if isinstance(said, worker.JobResult):
            hand.useful, hand.looked = True, -1.0
            self._n_faults = 0
            self._note(said)
        else:
            hand.looked = said

    def _note(self, done: worker.JobResult) -> None:
        outcome = self._outcomes[done.table]
        if done.error is None:
            outcome.made += 1
        else:
            outcome.failed.append((done.key, done.error))
        self._last_done = time.monotonic()
        if self._on_result:
            self._on_result(done)
        for hand in self._hands:  # what is made may be what another waits for
            if hand.looked >= 0:
                with contextlib.suppress(OSError):
                    hand.pipe.send("look")
                    hand.looked = -1.0

    def _judge(self, hand: WorkerHandle) -> None:
        """Return whether there is a point in starting another worker for one that died."""
        if hand.useful or time.monotonic() - hand.born > SHORT_LIVED:
            return
        self._n_faults += 1
        code = hand.process.exitcode or 0
        # Whoever kills them may soon have done.
        if self._n_faults >= (KILLED if code < 0 else FAULTS):
            ended = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            what = f"workers end as they start (the last {ended})."
            raise ServerError(what, None, "What they printed, or the log of the system, says why.")
        if code < 0:
            time.sleep(min(1.0, 0.01 * 2**self._n_faults))

    def _reap(self) -> None:
        """Let the jobs be done again that dead workers held; later, if the server is gone."""
        try:
            while self._dead:
                dead = self._dead[0]
                for poison in queue.reap(self._tables, platform.node(), dead, self._settings):
                    self._note(worker.result_of(poison))
                self._dead.popleft()
        except Exception as error:
            if not queue.is_server_away(error):
                raise
            with contextlib.suppress(Exception):
                connection.reconnect()

    def _is_over(self) -> bool:
        """Whether every worker has looked since the last job was done, and found nothing."""
        if self._watch or self._dead or len(self._hands) < self._n:
            return False
        return all(hand.looked > self._last_done for hand in self._hands)

    def _end(self) -> None:
        """End the workers; those that do not end by themselves are killed."""
        until = time.monotonic() + GRACE_SECONDS
        with contextlib.suppress(KeyboardInterrupt, SystemExit):  # asked again: no more waiting
            for hand in self._hands:
                hand.process.terminate()
            for hand in self._hands:
                hand.process.join(max(0.0, until - time.monotonic()))
        with _undisturbed():
            self._kill_the_slow()
            for hand in self._hands:
                for told in _all_said(hand.pipe):
                    if isinstance(told, worker.JobResult):
                        self._note(told)

    def _kill_the_slow(self) -> None:
        slow = [hand.process for hand in self._hands if hand.process.is_alive()]
        for process in slow:
            process.kill()
            process.join()
        if not slow:
            return
        worker.requeue(self._tables, [process.pid or 0 for process in slow])


def _all_said(pipe: Connection) -> Iterator[Any]:
    """Yield what a worker has said, and may have left behind."""
    with contextlib.suppress(EOFError, OSError):
        while pipe.poll():
            yield pipe.recv()


def _context() -> SpawnContext | ForkServerContext:
    """Choose how workers are started.

    On Linux they are forked from a process that has imported everything, and is as new: in
    milliseconds instead of seconds. Elsewhere forking is not safe beside the system's libraries.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        [__name__, "schemas.sources.one_api", *(f"schemas.{name}" for name in MODULES)]
    )
    return context


# --- a worker -----------------------------------------------------------------------------------


def _work(orders: WorkerConfig, pipe: Connection, alive: Connection) -> None:
    """Work until the crew says that it is over: the main function of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the crew, which then says so
    _end_with_crew(alive)
    pa.set_cpu_count(orders.n_threads)
    settings = orders.settings
    try:
        worker.wait_for_server(lambda: _connect(settings), orders.patience)
        hand = worker.Worker(
            catalog.find(orders.tables),
            settings.worker,
            patience=orders.patience,
            housekeeping=cache_eviction.housekeeping(settings.alyx),
            on_result=pipe.send,
        )
        limit_memory(settings.worker.memory)
        with hand.at_work():
            while True:
                began = time.monotonic()
                if not hand.round():
                    pipe.send(began)
                    pipe.poll(settings.worker.watch_every)
                    time.sleep(max(0.0, began + AT_LEAST - time.monotonic()))
                    while pipe.poll():
                        pipe.recv()
    except BwmError as error:
        pipe.send(error)


def _connect(settings: Settings) -> None:
    connection.connect(settings)
    catalog.use(settings.modules)


def _end_with_crew(alive: Connection) -> None:
    """See to it that this worker ends when its crew is gone, however that ended.

    `alive` is the end of a pipe on which nothing is ever said: it closes as the crew ends.
    """
    if sys.platform == "linux":
        # The kernel then sends SIGIO, which ends a process whatever it is in.
        fcntl.fcntl(alive.fileno(), fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(alive.fileno(), fcntl.F_SETFL, os.O_ASYNC)
    threading.Thread(target=_end_after, args=(alive,), daemon=True).start()


def _end_after(alive: Connection) -> None:
    wait([alive])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(1)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let no signal interrupt the block, where Python delivers signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in asked]
    try:
        yield
    finally:
        for number, handler in zip(asked, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Let processes that are started within the block not hear Ctrl-C, even as they import.

    This process hears it when the block ends.
    """
    resource_tracker.ensure_running()  # when that starts by itself, it lets all hear again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables that are not set, for a process that is started within the block."""
    own = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            del os.environ[name]


# --- memory -------------------------------------------------------------------------------------

LIMITS_OF_CONTAINERS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_of_machine() -> int:
    """Return the memory of this machine, or of the container if it has less, in bytes."""
    found = [psutil.virtual_memory().total]
    for path in map(Path, LIMITS_OF_CONTAINERS):
        with contextlib.suppress(OSError, ValueError):  # another kind of machine; or "max"
            found.append(int(path.read_text()))
    return min(found)


def limit_memory(budget: int | None) -> None:
    """Let this process hold so many bytes of data beside what it holds; more is a MemoryError.

    Only where the system counts them (Linux): elsewhere nothing is limited.
    """
    held = getattr(psutil.Process().memory_info(), "data", None)
    if budget is not None and held is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = held + budget
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
