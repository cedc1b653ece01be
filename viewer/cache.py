"""Answers of the last minute, so that a page that many look at is computed once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

SECONDS = 60.0
BYTES = 200_000_000


class Cache:
    """Keeps answers for some seconds, up to a number of bytes; the least recently used go first."""

    def __init__(self, seconds: float = SECONDS, n_bytes: int = BYTES) -> None:
        self._seconds, self._n_bytes = seconds, n_bytes
        self._held: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return the answer for a key, made anew where none is held; errors are not kept."""
        with self._lock:
            made, answer = self._held.get(key, (0.0, b""))
            if made and time.monotonic() - made < self._seconds:
                self._held.move_to_end(key)
                return answer
        answer = make()
        if len(answer) < self._n_bytes / 4:
            self._put(key, answer)
        return answer

    def _put(self, key: Hashable, answer: bytes) -> None:
        with self._lock:
            self._size += len(answer) - len(self._held.pop(key, (0.0, b""))[1])
            self._held[key] = time.monotonic(), answer
            while self._size > self._n_bytes:
                _, (_, oldest) = self._held.popitem(last=False)
                self._size -= len(oldest)
