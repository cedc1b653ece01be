"""Limits on the requests of all processes of a machine together, also after a crash.

The state is in files of the cache folder, under locks that end with their process. Times are those
of `time.monotonic`, which all processes share. That clock restarts with the machine; requests from
before then count as sent just now.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from schemas import disk
from schemas.errors import StorageError

MINUTE = 60.0
LONGEST_PAUSE = 300.0
"""Longest pause (s) that a server may ask for; a longer one is an error."""

POLLS = (0.02, 0.25)
"""Shortest and longest time (s) between two searches for a free place."""


@contextlib.contextmanager
def locked(path: Path, shared: bool = False, wait: bool = True) -> Iterator[IO[bytes] | None]:
    """Lock a file, which is created; yield None if it is locked and `wait` is false.

    If the last holder removed the file, the new file of that name is locked.
    """
    mode = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as handle:
            try:
                fcntl.flock(handle, mode)
            except BlockingIOError:
                yield None
                return
            if is_at(handle, path):
                yield handle
                return


def is_at(handle: IO[bytes], path: Path) -> bool:
    """Whether an open file is still the file at a path."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle.fileno()), there)


@dataclass
class _State:
    """End times of the requests of the last minute.

    `flying` holds the start times of running requests by place; `pause` the end of a pause that
    the server asked for.
    """

    done: list[float]
    flying: dict[int, float]
    pause: float


class RateLimiter:
    """Limits how many requests run at once, and how many are sent in any minute.

    Parameters
    ----------
    folder : Path
        Folder of the state; all processes with this folder share the limits.
    at_once : int
        Requests that may run at once, to the REST interface and for files.
    per_minute : int
        Requests to the REST interface in any 60 seconds.
    clock, sleep : callable
        For tests.
    """

    def __init__(
        self,
        folder: Path,
        at_once: int,
        per_minute: int,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._folder = folder
        self._at_once, self._per_minute = at_once, per_minute
        self._clock, self._sleep = clock, sleep

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        """Wait until one request may be sent to the REST interface, and count it.

        It counts until a minute after its end, because the server may count it at any time before.
        """
        place, handle = self._take(counted=True)
        try:
            yield
        finally:
            with self._state() as state:
                state.flying.pop(place, None)
                state.done.append(self._clock())
            handle.close()

    @contextlib.contextmanager
    def file(self) -> Iterator[None]:
        """Wait until one file may be downloaded."""
        _, handle = self._take(counted=False)
        try:
            yield
        finally:
            handle.close()

    def count(self) -> None:
        """Count a request that ONE sent by itself."""
        with self._state() as state:
            state.done.append(self._clock())

    def pause(self, seconds: float) -> None:
        """Send no request to the REST interface for a time (s), as the server asked."""
        with self._state() as state:
            state.pause = max(state.pause, self._clock() + seconds)

    def _take(self, counted: bool) -> tuple[int, IO[bytes]]:
        poll, longest = POLLS
        while True:
            with self._state() as state:
                wait = self._wait(state) if counted else 0.0
                taken = self._free_place() if wait <= 0 else None
                if taken is not None:
                    if taken[0] in state.flying:  # its process was killed
                        state.done.append(self._clock())
                        del state.flying[taken[0]]
                    if counted:
                        state.flying[taken[0]] = self._clock()
                    return taken
            self._sleep(min(max(wait, poll), 1.0))
            poll = min(poll * 1.5, longest)

    def _wait(self, state: _State) -> float:
        """Return the time (s) until the limits of the minute allow the next request."""
        now = self._clock()
        self._land(state)
        if len(state.done) + len(state.flying) < self._per_minute:
            return state.pause - now
        if not state.done:
            return POLLS[0]
        # Never 0: rounding may let a minute end before `_read` forgets the request.
        return max(min(state.done) + MINUTE - now, state.pause - now, POLLS[0])

    def _land(self, state: _State) -> None:
        """Count requests of killed processes, whose places are free, as done now."""
        for place in list(state.flying):
            with locked(self._place(place), wait=False) as handle:
                if handle is not None:
                    del state.flying[place]
                    state.done.append(self._clock())

    def _free_place(self) -> tuple[int, IO[bytes]] | None:
        for place in range(self._at_once):
            handle = self._place(place).open("ab")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
            else:
                return place, handle
        return None

    def _place(self, number: int) -> Path:
        return self._folder / f"place{number:02d}"

    @contextlib.contextmanager
    def _state(self) -> Iterator[_State]:
        """Read the state and write it back, under a lock."""
        path = self._folder / "requests.json"
        try:
            with locked(self._folder / "requests.lock"):
                held = path.read_bytes() if path.exists() else b""
                state = self._read(held)
                yield state
                now = json.dumps([state.done, state.flying, state.pause]).encode()
                if now != held:
                    partial = path.with_suffix(".new")
                    partial.write_bytes(now)
                    partial.replace(path)
        except OSError as error:
            if disk.is_full(error):
                raise disk.full(self._folder) from error
            what = f"The count of requests cannot be kept ({error.strerror})."
            remedy = "Set alyx.cache (BWM_ALYX_CACHE) to a folder of your own."
            raise StorageError(what, self._folder, remedy) from error

    def _read(self, held: bytes) -> _State:
        if not held:
            return _State([], {}, 0.0)
        now = self._clock()
        try:
            done, flying, pause = json.loads(held)
            # Times in the future are from before a restart of the machine.
            return _State(
                [min(float(t), now) for t in done if now - float(t) < MINUTE],
                {int(place): float(t) for place, t in flying.items()},
                float(pause) if pause - now < LONGEST_PAUSE else 0.0,
            )
        except (ValueError, TypeError, AttributeError):
            # The count is lost: assume that the limit was just reached.
            return _State([now] * self._per_minute, {}, 0.0)
