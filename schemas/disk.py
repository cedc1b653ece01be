"""Files on this machine: opened only if they are files, hashed, and written whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import secrets
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

BLOCK = 8 << 20
"""Bytes that are read at once of a file that is read from end to end."""

Advance = Callable[[int], None]
"""Called with the number of bytes that were read since the last call."""


def size(path: Path) -> int:
    """Return the size of a file (bytes).

    Raises
    ------
    OSError
        It is not there, or is a FIFO or a device: to open one may take for ever.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))
    return found.st_size


def open_file(path: Path) -> io.FileIO:
    """Open a file for reading; raise an OSError for what is no regular file."""
    size(path)
    return path.open("rb", buffering=0)


def hash_file(path: Path, algorithm: str, advance: Advance | None = None) -> str:
    """Hash a file (`'md5'` or `'sha256'`), read once from end to end."""
    with open_file(path) as file:
        return digest(file, algorithm, advance)


def digest(file: Any, algorithm: str, advance: Advance | None = None) -> str:
    """Hash what is left to read of an open file."""
    found = hashlib.new(algorithm, usedforsecurity=False)
    block = memoryview(bytearray(BLOCK))
    while n_bytes := file.readinto(block):
        found.update(block[:n_bytes])
        if advance:
            advance(n_bytes)
    return found.hexdigest()


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file under another name, and rename it once it is on the disk.

    Each write has a name of its own, because two processes may write the same file at once.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.saving")
    try:
        with aside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise
    with suppress(OSError):  # some file systems cannot flush a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
