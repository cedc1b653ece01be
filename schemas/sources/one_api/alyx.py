"""A metadata server (Alyx): what it lists, asked politely; its files, downloaded when needed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from schemas.errors import SourceError
from schemas.settings import AlyxSettings
from schemas.sources.base import DatasetRecord, Found, Selection, SessionRecord
from schemas.sources.one_api.loads import Loads


class AlyxSource(Loads):
    """Recordings that a metadata server lists, with a cache folder for their files.

    Parameters
    ----------
    url : str
        Base URL of the server.
    home : str or Path
        Folder of this project, below which the cache is where none is set.
    settings : AlyxSettings, optional
        Login, limits and cache.
    """

    def __init__(self, url: str, home: str | Path, settings: AlyxSettings | None = None) -> None:
        self._url = url.rstrip("/")
        self.problems: list[SourceError] = []

    @property
    def location(self) -> str:
        """Base URL of the server, without a slash at its end."""
        return self._url

    def find(self, selection: Selection) -> Found:
        """Ask which sessions and insertions a selection names."""
        raise NotImplementedError

    def sessions(
        self,
        eids: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[SessionRecord]:
        """List sessions, and write what comes into the tables of the cache."""
        raise NotImplementedError

    def fetch(
        self, datasets: Sequence[DatasetRecord], progress: Callable[[int], None] | None = None
    ) -> tuple[Path, ...]:
        """Make sure that files are in the cache, whole, and return where."""
        raise NotImplementedError

    def cached_bytes(self) -> int:
        """Return the size of all files of sessions that the cache holds (bytes)."""
        raise NotImplementedError

    def evict(self, keep_below: int, droppable: Collection[tuple[str, str]]) -> int:
        """Drop files that were not used for longest, until the cache is small enough.

        Parameters
        ----------
        keep_below : int
            Size that the cache may have (bytes).
        droppable : collection of (eid, dataset path)
            Files that may be dropped. Those in use, by any process, stay.

        Returns
        -------
        int
            Bytes that were freed.
        """
        raise NotImplementedError
