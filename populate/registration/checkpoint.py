"""The checkpoint of a registration from a server: which sessions are written already."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from schemas import connection, session

RESUME_SECONDS = 86_400.0
"""An interrupted registration is continued within this time; later the server may list other
facts."""


class Checkpoint:
    """A file in `settings.home` that lists the sessions that a registration has written.

    It stays if the registration is interrupted, and is deleted when the registration is complete.

    Parameters
    ----------
    location : str
        URL of the server.
    eids : sequence of str
        Sessions to register; another choice of sessions has another file.

    Attributes
    ----------
    done : frozenset of str
        Eids that an interrupted registration of the same sessions has written.
    """

    def __init__(self, location: str, eids: Sequence[str]) -> None:
        settings = connection.active()
        server = f"{settings.host}:{settings.server_port} {settings.prefix}"
        text = "\n".join([server, location, *sorted(eids)])
        name = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        self._path = settings.home / "registration" / f"{name}.txt"
        self.done: frozenset[str] = frozenset()
        if self._path.is_file() and time.time() - self._path.stat().st_mtime < RESUME_SECONDS:
            written = self._path.read_text().split()
            self.done = frozenset(written) & set(session.Session.to_arrays("eid"))
        else:
            self.delete()

    def notes(self) -> list[str]:
        """Return a note on how many sessions are not requested again, if any."""
        if not self.done:
            return []
        return [f"continued: {len(self.done):,} sessions were registered before an interruption."]

    def add(self, eids: Sequence[str]) -> None:
        """Add sessions that were written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.writelines(f"{eid}\n" for eid in eids)

    def delete(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)
