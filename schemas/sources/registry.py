"""Types of sources: the locations of each type, and the function that opens one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.settings import AlyxSettings, expand
from schemas.sources.base import Source

if TYPE_CHECKING:
    from schemas.sources.one_api import Known


@dataclass(frozen=True)
class SourceType:
    """A type of source.

    Attributes
    ----------
    prefixes : tuple of str
        Beginnings of its locations.
    is_server : bool
        Whether a server has the recordings: registration then needs a selection, and files are
        downloaded into a cache.
    open : callable
        Opens a location; its parameters are those of `open_source`.
    """

    prefixes: tuple[str, ...]
    is_server: bool
    open: Callable[[str, Path, Known | None, AlyxSettings | None], Source]


def _open_alyx(
    location: str, home: Path, _known: Known | None, alyx: AlyxSettings | None
) -> Source:
    expand("~")  # ONE keeps its settings there, and looks for them while it is imported
    from schemas.sources.one_api.alyx import AlyxSource

    return AlyxSource(location, home, alyx)


def _open_folder(
    location: str, home: Path, known: Known | None, _alyx: AlyxSettings | None
) -> Source:
    from schemas.sources.one_api.folder import OneSource

    return OneSource(location, home, known)


TYPES = [
    SourceType(("http://", "https://"), True, _open_alyx),
    SourceType(("",), False, _open_folder),
]
"""All types; the first one with a matching prefix is taken. Put a new type before the folder."""


def type_of(location: str) -> SourceType:
    """Return the type of a location, without opening it."""
    return next(kind for kind in TYPES if location.startswith(kind.prefixes))


def open_source(
    location: str | Path,
    home: str | Path,
    known: Known | None = None,
    alyx: AlyxSettings | None = None,
) -> Source:
    """Open a source by its location.

    Parameters
    ----------
    location : str or Path
        Folder of ONE, or URL of a metadata server.
    home : str or Path
        Home folder of the project, where sources write their own tables and caches.
    known : mapping, optional
        Ids of sessions that are already registered; bare folders keep them.
    alyx : AlyxSettings, optional
        Settings of the metadata server. The login is sent to `alyx.url` and to no other server.
    """
    return type_of(str(location)).open(str(location), Path(home), known, alyx)
