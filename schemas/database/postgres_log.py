"""The log of the embedded PostgreSQL, and what it says about a server that did not start."""

from __future__ import annotations

import re
from pathlib import Path

from schemas import disk
from schemas.errors import BwmError, ServerAway, ServerError

LARGEST = 8_000_000
"""Size of a log (bytes) above which the next start of the server begins a new one."""

LEAST_ROOM = 16 << 20
"""Bytes that PostgreSQL needs to write anything: one segment of its write-ahead log."""

NOT_READY = "is not ready yet"

NO_REASON = re.compile(r"\] (LOG|HINT|DETAIL): |the database system is ")
"""Lines of the log of a server that could start: what it does, and what it answers until then."""


def file(data: Path) -> Path:
    """Return the path of the log of the server of a data folder."""
    return data.parent / "server.log"


def prepare(data: Path) -> int:
    """Put a large log aside; return where this start's lines will begin."""
    log = file(data)
    if log.exists() and log.stat().st_size > LARGEST:
        log.replace(log.with_name(f"{log.name}.1"))
    return log.stat().st_size if log.exists() else 0


def not_up(data: Path, state: str, offset: int) -> BwmError:
    """Return the error of a server that does not accept connections.

    Parameters
    ----------
    data : Path
        Data folder.
    state : str
        What is known of the server.
    offset : int
        Where the lines of this start begin.
    """
    lines = _tail(file(data), offset)
    text = "\n".join(lines) or "its log is empty."
    if disk.NO_ROOM.search(text):
        return disk.full(data, LEAST_ROOM)
    # Nobody has the exit code of a server that was killed, but it has written no reason to end.
    was_killed = all(NO_REASON.search(line) for line in lines)
    kind = ServerAway if state == NOT_READY or was_killed else ServerError
    return kind(
        f"the embedded PostgreSQL {state}:\n{text}",
        file(data),
        "\nCorrect what the log names, then retry.",
    )


def _tail(log: Path, offset: int) -> list[str]:
    """Return the last lines that were written after an offset."""
    if not log.exists():
        return []
    with log.open("rb") as text:
        text.seek(offset)
        return text.read().decode("utf-8", "replace").splitlines()[-8:]
