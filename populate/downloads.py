"""Download of files on request."""

from __future__ import annotations

import fnmatch
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas import imported, session, views
from schemas import probe as probes
from schemas.errors import MissingDataset
from schemas.sources import base

Row = dict[str, Any]


def find(name: str, like: str = "*", revision: str | None = None) -> list[Row]:
    """Find the files of a session or an insertion.

    Parameters
    ----------
    name : str
        eid or pid.
    like : str
        Pattern (`*`, `?`, `[]`) of the path below the session, or of the file name alone.
    revision : str, optional
        Only this revision (`''`: the originals). Default: for each file, the revision that is
        flagged as default, or else the last revision.

    Returns
    -------
    list of dict
        Rows of `session.Dataset`, sorted by path.

    Raises
    ------
    QueryError
        No session or insertion with this id is registered.
    MissingDataset
        No file matches, or no matching file has that revision; the message lists what exists.
    """
    key = views.find_recording(name)
    recording = (probes.ProbeInsertion.Dataset & key).proj() if "probe_name" in key else key
    listed = imported.fetch_datasets(session.Dataset & recording & {"is_listed": True})
    alike = [row for row in listed if _is_like(row, like)]
    if not alike:
        folders = ", ".join(sorted({row["collection"] for row in listed})) or "no file"
        raise MissingDataset(f"no file matches {like!r}.", name, f"Folders: {folders}.")
    if revision is None:
        chosen = {record.path for record in base.select_revision(imported.as_records(alike))}
        return [row for row in alike if row["dataset_path"] in chosen]
    exact = [row for row in alike if row["revision"] == revision]
    if not exact:
        revisions = ", ".join(sorted({row["revision"] or "the original" for row in alike}))
        what = f"no file that matches {like!r} has the revision {revision!r}."
        raise MissingDataset(what, name, f"Revisions: {revisions}.")
    return exact


def _is_like(row: Row, like: str) -> bool:
    names = (row["dataset_path"], f"{row['collection']}/{row['dataset_name']}", row["dataset_name"])
    return any(fnmatch.fnmatchcase(name, like) for name in names)


def size(listed: list[Row]) -> tuple[int, int]:
    """Return the bytes of files, and the number of files whose size is unknown."""
    sizes = [row["file_size"] for row in listed]
    return sum(filter(None, sizes)), sizes.count(None)


def fetch(listed: list[Row], progress: Callable[[int], None] | None = None) -> list[Path]:
    """Fetch files from the sources that list them.

    Parameters
    ----------
    listed : list of dict
        As `find` returns them.
    progress : callable, optional
        Called with the number of bytes downloaded since the last call.

    Returns
    -------
    list of Path
        Their paths, in the order of `listed`.

    Raises
    ------
    MissingDataset, DamagedFile
        The source lacks a file, or it differs from the list. Complete downloads are kept.
    """
    of_source: dict[str, list[Row]] = defaultdict(list)
    for row in listed:
        of_source[row["data_source"]].append(row)
    places: dict[str, Path] = {}
    for location, rows in of_source.items():
        records = imported.as_records(rows)
        paths = base.open_source(location).fetch(records, progress)
        places.update({record.path: path for record, path in zip(records, paths, strict=True)})
    return [places[row["dataset_path"]] for row in listed]
