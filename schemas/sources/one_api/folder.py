"""A folder of ONE: cache tables with the files that they list, or a bare tree of files.

No login, no network. Nothing is written into the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from schemas.errors import MissingDataset, SourceError
from schemas.settings import expand
from schemas.sources import alf
from schemas.sources.names import bounded, is_dataset_path, is_lab_name, is_subject_name
from schemas.sources.one_api.bare import (
    Known,
    is_source,
    list_tree,
    skipped_folders,
    unlisted_sessions,
)
from schemas.sources.one_api.loads import AlfLoader
from schemas.sources.one_api.records import session_records
from schemas.sources.one_api.selection import select
from schemas.sources.one_api.tables import (
    Tables,
    has_tables,
    read_tables,
    write_tables,
)
from schemas.sources.records import DatasetRecord, Found, Selection, SessionRecord


class OneSource(AlfLoader):
    """Recordings in a folder of ONE.

    Parameters
    ----------
    folder : str or Path
        Folder with cache tables, or a tree `[lab/Subjects/]subject/yyyy-mm-dd/nnn`; or the folder
        above one such folder.
    home : str or Path
        Folder of this project.
    known : mapping, optional
        Ids that bare sessions have elsewhere, e.g. in a release list.

    Raises
    ------
    SourceError
        The folder is missing, has neither tables nor sessions, or has unreadable tables; or
        several folders below it have them.
    """

    def __init__(self, folder: str | Path, home: str | Path, known: Known | None = None) -> None:
        # Links are kept: a folder keeps its name when the disk behind the link changes.
        given = Path(os.path.abspath(expand(folder)))  # noqa: PTH100
        if not given.is_dir():
            raise SourceError("There is no such folder.", given, "Check its name.")
        self._folder = given if is_source(given) else _host_folder(given)
        self._taken = [] if self._folder == given else [f"{self._folder} was taken."]
        self._known = known or {}
        self.problems: list[SourceError] = []
        self.notes: list[str] = []
        self._has_tables = has_tables(self._folder)
        self._tables = self._folder
        if not self._has_tables:
            digest = hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
            self._tables = expand(home) / "tables" / digest
        self._places: dict[str, Path] = {}

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
        tables = self._list()
        records, self.problems = session_records(tables, self._folder, from_alyx=self._has_tables)
        if self._has_tables:
            left_out = unlisted_sessions(self._folder, tables["sessions"])
        else:
            left_out = skipped_folders(self._folder)
        self.notes = self._taken + bounded([f"{path} is skipped: {why}." for path, why in left_out])
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
        if self._has_tables:
            tables = read_tables(self._folder)
        else:
            tables = list_tree(self._folder, self._known)
            write_tables(tables, self._tables, str(self._folder), ("sessions", "datasets"))
        self._places = _places(tables, self._folder)
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
        if not self._places and (self._tables / "sessions.pqt").is_file():
            self._places = _places(read_tables(self._tables, ("sessions",)), self._folder)
        if eid not in self._places and not self._has_tables:
            # The tree may have new sessions since another process wrote its tables.
            self._list()
        if eid not in self._places:
            remedy = "Register the folder again, or use the folder that the session came from."
            raise MissingDataset(f"Session {eid} is not there any more.", self._folder, remedy)
        return self._places[eid]


def _host_folder(folder: Path) -> Path:
    """Return the one folder of ONE below a folder: ONE has a folder for each server."""
    if (folder / "Subjects").is_dir():
        raise SourceError("It is the folder of a laboratory.", folder, "Give the folder above it.")
    try:
        found = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_source(path)]
    except OSError as error:
        what = f"It cannot be read ({error.strerror})."
        raise SourceError(what, folder, "Check the rights of this account.") from None
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(bounded([path.name for path in found]))
        raise SourceError(f"It holds several folders of ONE: {names}.", folder, "Give one of them.")
    what = "It has neither cache tables of ONE nor sessions, and neither has a folder below it."
    remedy = "Give the folder that holds sessions.pqt, or the folders of labs or mice."
    raise SourceError(what, folder, remedy)


def _places(tables: Tables, folder: Path) -> dict[str, Path]:
    """Return the folders of sessions by eid, without those that are refused for their names."""
    names = ["eid", "lab", "subject", "date", "number"]
    sessions = tables["sessions"].dropna(subset=["subject", "date", "number"])
    places = {}
    for eid, lab, subject, day, number in sessions[names].itertuples(index=False):
        if isinstance(subject, str) and is_subject_name(subject):
            above = (lab, "Subjects") if isinstance(lab, str) and is_lab_name(lab) else ()
            places[eid] = folder.joinpath(*above, subject, str(day), f"{int(number):03d}")
    return places
