"""What an interrupted registration from a server has written already."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from schemas import connection, session

FOR_SECONDS = 86_400.0
"""Time for which an interrupted registration is continued; later its facts may have changed."""


class Resumed:
    """A file in the home folder with the eids that were written, until the registration ends.

    Parameters
    ----------
    location : str
        URL of the server.
    eids : sequence of str
        Sessions to register: another choice of sessions is another registration.

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
        if self._path.is_file() and time.time() - self._path.stat().st_mtime < FOR_SECONDS:
            written = self._path.read_text().split()
            self.done = frozenset(written) & set(session.Session.to_arrays("eid"))
        else:
            self.end()

    def notes(self) -> list[str]:
        """Say how many sessions are not requested again."""
        if not self.done:
            return []
        return [f"continued: {len(self.done):,} sessions were registered before an interruption."]

    def add(self, eids: Sequence[str]) -> None:
        """Note sessions that were written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as file:
            file.writelines(f"{eid}\n" for eid in eids)

    def end(self) -> None:
        """Forget the registration, which is complete."""
        self._path.unlink(missing_ok=True)
