"""The `Source` protocol: listing of recordings, and loading of their data.

Times are seconds of the session clock, lengths micrometres, amplitudes volts, angles radians.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from schemas.errors import SourceError
from schemas.sources.records import DatasetRecord, Found, Selection, SessionRecord


class Source(Protocol):
    """A folder or server with recordings.

    Readers get the datasets of one kind, session, probe and spike sorting, one revision of each
    file: the rows of the database decide what is read, not the state of a cache.

    Raises
    ------
    MissingDataset
        A listed or needed file is missing.
    DamagedFile
        A file is unreadable, or its md5 is not the listed one.
    InconsistentData
        The files contradict themselves or each other.
    """

    @property
    def location(self) -> str:
        """Folder or URL, with which `open_source` opens the source in another process."""
        ...

    @property
    def problems(self) -> Sequence[SourceError]:
        """Errors of the sessions that the last call of `sessions` left out."""
        ...

    def find(self, selection: Selection) -> Found:
        """Return the sessions and insertions that a selection names.

        Raises
        ------
        QueryError
            The source does not know a name or id of the selection, or cannot select by it.
        """
        ...

    def sessions(
        self, eids: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
    ) -> Iterable[SessionRecord]:
        """List sessions (default: all) with their datasets and insertions.

        The order is subject, date, number, or the order of `eids`. Sessions that cannot be used
        are left out; `problems` then says why. `progress` is called with the number of sessions
        that are done and the number of all.
        """
        ...

    def load(self, kind: str, datasets: Sequence[DatasetRecord], **options: Any) -> Any:
        """Load the data of one kind.

        Parameters
        ----------
        kind : str
            Kind of data, a name in `schemas.sources.alf.KINDS` that has a reader.
        datasets : sequence of DatasetRecord
            Files of that kind, one revision of each.
        **options
            For channels and clusters, `located`: a table of the sites located by the metadata
            (columns `axial_um`, `lateral_um`, `x_um`, `y_um`, `z_um`, `region_id`), used by
            position if no file locates the sites.

        Returns
        -------
        object
            A class of `schemas.sources.data`.
        """
        ...

    def fetch(
        self, datasets: Sequence[DatasetRecord], progress: Callable[[int], None] | None = None
    ) -> tuple[Path, ...]:
        """Download files that are missing or incomplete, and return the paths of all, in order.

        `progress` is called with the number of bytes that arrived since its last call.
        """
        ...


@runtime_checkable
class OnDisk(Protocol):
    """A source with files on this machine."""

    def places(self, files: Sequence[tuple[str, str]]) -> tuple[Path | None, ...]:
        """Return the paths of files (eid, path below the session), without fetching any.

        A file need not exist. The path is None where the source does not know the session.
        """
        ...


@runtime_checkable
class Cached(Protocol):
    """A source that keeps downloaded files in a cache."""

    def cached_bytes(self) -> int:
        """Return the size of the cache (bytes)."""
        ...

    def evict(self, keep_below: int, droppable: Collection[tuple[str, str]]) -> int:
        """Remove files until the cache is smaller than `keep_below` (bytes).

        Only files among `droppable` (eid, path below the session) are removed, the least recently
        used first, and never a file in use. Returns the removed bytes.
        """
        ...


def select_revision(
    datasets: Sequence[DatasetRecord], revision: str | None = None
) -> tuple[DatasetRecord, ...]:
    """Choose one revision of each file.

    Parameters
    ----------
    datasets : sequence of DatasetRecord
        All revisions of the files of one session.
    revision : str, optional
        None takes the file that is flagged as default, or else the last revision. A revision
        (`''` for the original) takes the last one that is not later, ignoring flags, as ONE does.

    Returns
    -------
    tuple of DatasetRecord
        At most one for each (collection, name), in the order of their paths.
    """
    chosen: dict[tuple[str, str], DatasetRecord] = {}
    for record in sorted(datasets, key=lambda d: d.revision):
        if revision is not None and record.revision > revision:
            continue
        name = (record.collection, record.name)
        held = chosen.get(name)
        if held is None or revision is not None or not held.is_default:
            chosen[name] = record
    return tuple(sorted(chosen.values(), key=lambda d: d.path))


_opener: Callable[[str], Source] | None = None
_opened: dict[tuple[int, str], Source] = {}


def use_opener(opener: Callable[[str], Source] | None) -> None:
    """Set the function that opens a location; table modules import no source."""
    global _opener
    _opener = opener
    _opened.clear()


def open_source(location: str) -> Source:
    """Return the source of a location: one instance in each process, a new one after a fork."""
    if _opener is None:
        raise SourceError(
            "no source can be opened.", location, "Call schemas.connection.connect() first."
        )
    here = (os.getpid(), location)
    if here not in _opened:
        _opened[here] = _opener(location)
    return _opened[here]
