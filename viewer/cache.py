"""Answers of the last minute, so that a page that many look at is computed once."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

BYTES = 200_000_000


class Cache:
    """Keeps answers for some seconds, up to a number of bytes; the least recently used go first."""

    def __init__(self, n_bytes: int = BYTES) -> None:
        self._n_bytes = n_bytes
        self._held: OrderedDict[Hashable, tuple[float, bytes]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()
        self._making: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, make: Callable[[], bytes], seconds: float) -> bytes:
        """Return the answer for a key that is not older than some seconds, or make a new one.

        Those who ask while an answer is made wait for that answer. Errors are not kept.
        """
        with self._lock:
            if (answer := self._find(key, seconds)) is not None:
                return answer
            maker = self._making.setdefault(key, threading.Lock())
        with maker:
            with self._lock:
                if (answer := self._find(key, seconds)) is not None:
                    return answer
            try:
                answer = make()
                if len(answer) < self._n_bytes / 4:
                    self._put(key, answer)
                return answer
            finally:
                with self._lock:
                    self._making.pop(key, None)

    def _find(self, key: Hashable, seconds: float) -> bytes | None:
        made, answer = self._held.get(key, (0.0, b""))
        if not made or time.monotonic() - made >= seconds:
            return None
        self._held.move_to_end(key)
        return answer

    def _put(self, key: Hashable, answer: bytes) -> None:
        with self._lock:
            self._size += len(answer) - len(self._held.pop(key, (0.0, b""))[1])
            self._held[key] = time.monotonic(), answer
            while self._size > self._n_bytes:
                _, (_, oldest) = self._held.popitem(last=False)
                self._size -= len(oldest)
