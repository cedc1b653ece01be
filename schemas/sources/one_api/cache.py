"""Eviction from the cache: a reader holds a shared lock on its file, removal needs all of it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from schemas.sources.one_api.limits import is_at


def use(path: Path) -> IO[bytes] | None:
    """Lock a file for reading, until the returned handle is closed; None if it is missing."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return None
    fcntl.flock(handle, fcntl.LOCK_SH)
    if not is_at(handle, path):
        handle.close()
        return None
    # Many file systems do not record when a file is read.
    os.utime(handle.fileno(), ns=(time.time_ns(), os.fstat(handle.fileno()).st_mtime_ns))
    return handle


def size(folder: Path) -> int:
    """Return the size of all files of sessions in a cache (bytes)."""
    return sum(_sizes(folder))


def _sizes(folder: Path) -> Iterator[int]:
    for subjects in folder.glob("*/Subjects"):
        for parent, _, names in os.walk(subjects):
            for name in names:
                if stat := _stat(Path(parent, name)):
                    yield stat.st_size


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def evict(folder: Path, keep_below: int, droppable: Iterable[Path]) -> int:
    """Remove files, the least recently used first; return the removed bytes."""
    excess = size(folder) - keep_below
    if excess <= 0:
        return 0
    there = ((stat.st_atime_ns, path) for path in set(droppable) if (stat := _stat(path)))
    freed = 0
    for _, path in sorted(there):
        if freed >= excess:
            break
        freed += _drop(path)
    return freed


def _drop(path: Path) -> int:
    """Remove a file unless it is in use; return its size (bytes), 0 if it stays."""
    try:
        handle = path.open("rb")
    except FileNotFoundError:
        return 0
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        if not is_at(handle, path):
            return 0
        held = os.fstat(handle.fileno()).st_size
        path.unlink()
        return held
