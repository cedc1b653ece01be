"""The `Source` protocol: what a place that offers recordings lists, and what it loads.

Names and units are ours from here on: times in seconds of the session clock, lengths in
micrometres, amplitudes in volts, angles in radians.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from schemas.errors import SourceError
from schemas.sources.records import DatasetRecord, Found, Selection, SessionRecord


class Source(Protocol):
    """A place that offers recordings.

    The loaders get the datasets of one kind of one session (and probe, and sort), already
    narrowed to the revision that is to be read, so that what is read is decided by the rows of
    the database and not by the state of a cache.

    Raises
    ------
    MissingDataset
        A file that is listed, or that the kind of data needs, is not there.
    DamagedFile
        A file cannot be read, or its md5 is not the listed one.
    InconsistentData
        The files contradict themselves or each other.
    """

    @property
    def location(self) -> str:
        """Folder or URL: enough for `open_source` to open it again in another process."""
        ...

    @property
    def problems(self) -> Sequence[SourceError]:
        """What the last `sessions` left out, and why."""
        ...

    def find(self, selection: Selection) -> Found:
        """Tell which sessions and insertions a selection names.

        Raises
        ------
        QueryError
            A name or id of the selection is unknown here, or the source cannot tell.
        """
        ...

    def sessions(
        self,
        eids: Sequence[str] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterable[SessionRecord]:
        """List sessions (default: every one) with what they have.

        They come in order of subject, date, number, or in the order of `eids`. What cannot be
        used is left out, and told in `problems`. `progress` is called with the number of
        sessions that are done, and of all.
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
            For channels and clusters, `located`: a table of the sites that the metadata locate
            (columns `axial_um`, `lateral_um`, `x_um`, `y_um`, `z_um`, `region_id`). It is used,
            by position, where no file locates the sites.

        Returns
        -------
        object
            A class of `schemas.sources.data`.
        """
        ...

    def fetch(
        self, datasets: Sequence[DatasetRecord], progress: Callable[[int], None] | None = None
    ) -> tuple[Path, ...]:
        """Make sure that files are there, whole, and return where: in the order asked for.

        `progress` is called with the number of bytes that have come in since the last call.
        """
        ...


@runtime_checkable
class OnDisk(Protocol):
    """A source whose files are on this machine, or some of them."""

    def places(self, files: Sequence[tuple[str, str]]) -> tuple[Path | None, ...]:
        """Tell where files (eid, path below the session) are, or would be, without fetching any.

        None where the source does not know the session.
        """
        ...


@runtime_checkable
class Cached(Protocol):
    """A source that keeps files which it can fetch again."""

    def cached_bytes(self) -> int:
        """Return the bytes of the files that are kept."""
        ...

    def evict(self, keep_below: int, droppable: Collection[tuple[str, str]]) -> int:
        """Remove files until the others take less than so many bytes.

        Those used longest ago go first, none that is in use, and none that is not among
        `droppable` (eid, path below the session). Returns the bytes that were removed.
        """
        ...


def is_url(location: str) -> bool:
    """Whether a location is the URL of a server, and no folder."""
    return location.startswith(("http://", "https://"))


def is_subject_name(text: str) -> bool:
    """Whether a text can name a subject: letters, digits, `_`, `-` and single dots, 64 at most."""
    return bool(re.fullmatch(r"[\w-][\w.-]{0,63}", text)) and ".." not in text


@lru_cache(maxsize=65536)
def is_dataset_path(text: str) -> bool:
    """Whether a path leads into the session folder and nowhere else, on every system.

    Its parts are separated by `/`, and are names of files: no `..`, no drive, nothing that cannot
    be printed, 255 bytes at most.
    """
    parts = text.split("/")
    return (
        text.isprintable()
        and not set(text) & set("\\:")
        and all(part not in ("", ".", "..") and len(part.encode()) <= 255 for part in parts)
    )


def is_probe_name(text: str) -> bool:
    """Whether a text can name a probe: letters, digits, `_`, `-` and single dots, 16 at most."""
    return bool(re.fullmatch(r"\w[\w.-]{0,15}", text)) and ".." not in text


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
    """Say how a location is opened. Table modules know neither ONE nor the simulator."""
    global _opener
    _opener = opener
    _opened.clear()


def open_source(location: str) -> Source:
    """Open a source, one instance a process (and never one from before a fork)."""
    if _opener is None:
        raise SourceError(
            "no source can be opened.", location, "Call schemas.connection.connect() first."
        )
    here = (os.getpid(), location)
    if here not in _opened:
        _opened[here] = _opener(location)
    return _opened[here]
