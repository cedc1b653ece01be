"""Files on this machine: opened only if they are files, hashed, and written whole or not at all.

A full disk is one error, `DiskFull`, wherever a file is written.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from schemas.errors import DiskFull

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
    aside = path.with_name(f"{path.name}.{secrets.token_hex(4)}.saving")
    with room_for(path, len(content)):
        path.parent.mkdir(parents=True, exist_ok=True)
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


# --- full disks ---------------------------------------------------------------------------------

NO_ROOM = re.compile(
    "No space left on device|Disk quota exceeded|Check free disk space"
    "|minimum free drive threshold|Bucket quota exceeded"
)
"""What the system, PostgreSQL and MinIO write of full disks; MySQL has numbers of errors."""


def is_full(error: OSError) -> bool:
    """Return whether a write failed because the disk is full or the quota of this user is."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT) or NO_ROOM.search(str(error)) is not None


def free(path: Path) -> int:
    """Return the bytes that this user may still write where a path is, or would be."""
    return shutil.disk_usage(existing(path)).free


def existing(path: Path) -> Path:
    """Return a path, or the nearest folder above it that exists."""
    return next(p for p in (path, *path.parents) if p.exists())


def full(path: Path, needed: int | None = None) -> DiskFull:
    """Return the error of a full disk, with the bytes that are free there and those needed."""
    wanted = "more" if needed is None else megabytes(needed)
    what = f"the disk or quota is full: {megabytes(free(path))} are free, {wanted} are needed."
    return DiskFull(what, path, MAKE_ROOM)


def megabytes(n_bytes: int) -> str:
    """Return the text of a number of bytes."""
    return f"{n_bytes / 1e6:,.1f} MB"


MAKE_ROOM = "Nothing is lost: make room there, then run the same command again; it continues."


@contextmanager
def room_for(path: Path, needed: int | None = None) -> Iterator[None]:
    """Raise `DiskFull` where what is written within has no room.

    Parameters
    ----------
    path : Path
        What is written, or its folder.
    needed : int, optional
        Its size (bytes).
    """
    try:
        yield
    except OSError as error:
        if not is_full(error):
            raise
        raise full(path, needed) from error
