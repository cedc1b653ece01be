"""A folder of ONE: cache tables with the files that they list, or a bare tree of files.

ONE opens the folder in its local mode: no login, no network. Nothing is written into the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from schemas.errors import MissingDataset, SourceError
from schemas.sources import alf
from schemas.sources.names import is_dataset_path
from schemas.sources.one_api.bare import Known, list_tree, session_folders
from schemas.sources.one_api.loads import AlfLoader
from schemas.sources.one_api.records import session_records
from schemas.sources.one_api.selection import select
from schemas.sources.one_api.tables import (
    Tables,
    explained,
    has_tables,
    quiet,
    read_tables,
    write_tables,
)
from schemas.sources.records import DatasetRecord, Found, Selection, SessionRecord


class OneSource(AlfLoader):
    """Recordings in a folder of ONE.

    Parameters
    ----------
    folder : str or Path
        Folder with cache tables, or a tree `[lab/Subjects/]subject/yyyy-mm-dd/nnn`.
    home : str or Path
        Folder of this project.
    known : mapping, optional
        Ids that bare sessions have elsewhere, e.g. in a release list.

    Raises
    ------
    SourceError
        The folder is missing, has neither tables nor sessions, or has unreadable tables.
    """

    def __init__(self, folder: str | Path, home: str | Path, known: Known | None = None) -> None:
        # Links are kept: a folder keeps its name when the disk behind the link changes.
        self._folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100
        self._known = known or {}
        self.problems: list[SourceError] = []
        if not self._folder.is_dir():
            raise SourceError("There is no such folder.", self._folder, "Check its name.")
        self._has_tables = has_tables(self._folder)
        self._tables = self._folder
        if not self._has_tables:
            if next(session_folders(self._folder), None) is None:
                what = "It has neither cache tables of ONE nor sessions."
                remedy = "Give the folder that holds sessions.pqt, or the folders of labs or mice."
                raise SourceError(what, self._folder, remedy)
            digest = hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
            self._tables = Path(home).expanduser() / "tables" / digest
        self._one: Any = None

    @property
    def location(self) -> str:
        """Absolute path of the folder."""
        return str(self._folder)

    def find(self, selection: Selection) -> Found:
        """Return the sessions and insertions that a selection names, by the cache tables."""
        return select(self.sessions(), selection, self._folder)

    def sessions(
        self, eids: Sequence[str] | None = None, progress: Callable[[int, int], None] | None = None
    ) -> list[SessionRecord]:
        """List sessions; see `schemas.sources.base.Source.sessions`."""
        records, self.problems = session_records(
            self._list(), self._folder, from_alyx=self._has_tables
        )
        if eids is not None:
            records = self._chosen(records, eids)
        if progress:
            progress(len(records), len(records))
        return records

    def fetch(
        self, datasets: Sequence[DatasetRecord], progress: Callable[[int], None] | None = None
    ) -> tuple[Path, ...]:
        """Return the paths of files, in order; raise an error if one is missing."""
        with self._files(datasets) as files:
            paths = tuple(files[record] for record in datasets)
        for record, path in zip(datasets, paths, strict=True):
            if not path.is_file():
                what, remedy = f"{record.path} is listed but not there.", "Download it."
                raise MissingDataset(what, path, remedy)
        return paths

    def places(self, files: Sequence[tuple[str, str]]) -> tuple[Path | None, ...]:
        """Return the paths of files; see `schemas.sources.base.OnDisk.places`."""
        folders: dict[str, Path] = {}
        for eid in {eid for eid, _ in files}:
            with contextlib.suppress(MissingDataset):
                folders[eid] = self._session_folder(eid)
        return tuple(
            self._path(folders[eid], path) if eid in folders else None for eid, path in files
        )

    def _chosen(self, records: list[SessionRecord], eids: Sequence[str]) -> list[SessionRecord]:
        refused = [str(problem) for problem in self.problems]
        listed = {record.eid: record for record in records}
        for eid in eids:
            if eid not in listed and not any(eid in text for text in refused):
                what = f"Session {eid} is not listed."
                self.problems.append(MissingDataset(what, self._folder, "Check the id."))
        return [listed[eid] for eid in eids if eid in listed]

    def _list(self) -> Tables:
        """List sessions, datasets and insertions, from the tables or from the tree."""
        self._one = None
        if self._has_tables:
            return read_tables(self._folder)
        tables = list_tree(self._folder, self._known)
        write_tables(tables, self._tables, str(self._folder), ("sessions", "datasets"))
        return tables

    @contextlib.contextmanager
    def _files(self, datasets: Sequence[DatasetRecord]) -> Iterator[alf.Files]:
        """Return the path of each dataset: the session folder and the path in the tables.

        ONE is not asked for datasets: it would choose revisions and filter by quality.
        """
        folders = {eid: self._session_folder(eid) for eid in {d.eid for d in datasets}}
        yield {d: self._path(folders[d.eid], d.path) for d in datasets}

    def _path(self, folder: Path, path: str) -> Path:
        """Return the path of a file; refuse a name that leads out of the session folder."""
        if not is_dataset_path(path):
            what = f"{path!r} does not lead into a session."
            raise SourceError(what, self._folder, "Register the folder again.")
        return folder / path

    def _session_folder(self, eid: str) -> Path:
        from one.converters import session_record2path

        session = self._details(eid)
        if session is None and not self._has_tables:
            # The tree may have new sessions since another process wrote its tables.
            self._list()
            session = self._details(eid)
        if session is None:
            remedy = "Register the folder again, or open the one that the session came from."
            raise MissingDataset(f"Session {eid} is not there any more.", self._folder, remedy)
        return Path(session_record2path(session, self._folder))

    def _details(self, eid: str) -> dict[str, Any] | None:
        """Ask ONE for a session by `get_details`, because `eid2path` refuses version 5 UUIDs."""
        from one.alf.exceptions import ALFObjectNotFound

        try:
            known = self._open().get_details(uuid.UUID(eid))
        except ALFObjectNotFound:
            return None
        return {
            "lab": known["lab"] if isinstance(known["lab"], str) else "",
            "subject": known["subject"],
            "date": pd.Timestamp(known["date"]).date(),
            "number": int(known["number"]),
        }

    def _open(self) -> Any:
        """Open ONE on first use: an own instance, because ONE's shared one has another folder."""
        if self._one is None:
            if not (self._has_tables or (self._tables / "sessions.pqt").is_file()):
                self._list()
            from one.api import One

            with quiet(), explained(self._tables):
                self._one = One(cache_dir=self._folder, tables_dir=self._tables, mode="local")
        return self._one
