"""How much a server is asked: by all processes of a machine together, across kill and restart.

The state is in files of the cache folder, kept by locks that end with their process. Times are
those of `time.monotonic`, which all processes of a machine share and which nobody sets back; it
begins again when the machine does, and then what was asked before counts as asked just now.
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

from schemas.errors import SourceError

MINUTE = 60.0
LONGEST_PAUSE = 300.0
"""Seconds that a server can make us wait; if it wants more, somebody has to know."""

POLLS = (0.02, 0.25)
"""Seconds between two looks for a free place: at first, and in the long run."""


@contextlib.contextmanager
def locked(path: Path, shared: bool = False, wait: bool = True) -> Iterator[IO[bytes] | None]:
    """Hold a lock on a file, which is made; None where it is not free and `wait` is false.

    A file that its last holder removed is another one by now, and locked anew.
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
    """Tell whether an open file is the one that a path leads to."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(handle.fileno()), there)


@dataclass
class _State:
    """What was asked in the last minute, by the time at which it was done.

    `flying` are requests that are under way, by their place. `pause` ends when the server wants
    to be asked again.
    """

    done: list[float]
    flying: dict[int, float]
    pause: float


class RateLimiter:
    """Places for requests, and their number in any minute.

    Parameters
    ----------
    folder : Path
        Where the state is kept; all that share it share the limits.
    at_once : int
        Requests that may be under way, to the REST interface and for files.
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

        It counts until a minute after its end: whenever the server saw it, no minute of the
        server's has more than allowed.
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
        """Wait until one file may be asked for."""
        _, handle = self._take(counted=False)
        try:
            yield
        finally:
            handle.close()

    def count(self) -> None:
        """Count a request that somebody else has sent."""
        with self._state() as state:
            state.done.append(self._clock())

    def pause(self, seconds: float) -> None:
        """Let nobody ask the REST interface for a time, since the server said so."""
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
        """Seconds until the next request may be sent, as far as the minute goes."""
        now = self._clock()
        self._land(state)
        if len(state.done) + len(state.flying) < self._per_minute:
            return state.pause - now
        if not state.done:
            return POLLS[0]
        return max(min(state.done) + MINUTE - now, state.pause - now)

    def _land(self, state: _State) -> None:
        """Count requests of killed processes as done now: their place is free."""
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
        """Read the state, and write it back, while no other process does."""
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
            what = f"The count of requests cannot be kept ({error.strerror})."
            remedy = "Make room, or set alyx.cache (BWM_ALYX_CACHE) to a folder of your own."
            raise SourceError(what, self._folder, remedy) from error

    def _read(self, held: bytes) -> _State:
        if not held:
            return _State([], {}, 0.0)
        now = self._clock()
        try:
            done, flying, pause = json.loads(held)
            # What lies ahead was asked before the machine began anew, or is no time at all.
            return _State(
                [min(float(t), now) for t in done if now - float(t) < MINUTE],
                {int(place): float(t) for place, t in flying.items()},
                float(pause) if pause - now < LONGEST_PAUSE else 0.0,
            )
        except (ValueError, TypeError, AttributeError):
            # Nobody knows what was asked: as much as is allowed, and just now.
            return _State([now] * self._per_minute, {}, 0.0)
