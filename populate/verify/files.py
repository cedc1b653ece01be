"""Check of the files that rows were read from, if they are on this machine."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import datajoint as dj

from populate import catalog, sql
from populate.verify.damage import Damage
from populate.verify.objects import Task
from schemas import disk, session
from schemas.errors import SourceError
from schemas.sources import base
from schemas.sources.names import is_dataset_path

FILES = "files"
SIZES = "each file that rows were read from has the size that was listed, now or at the import"
HASHES = "each file that rows were read from has the md5 that was listed, now or at the import"


@dataclass
class File:
    """A file of a source.

    Attributes
    ----------
    source, eid, dataset_path : str
        Location of its source, its session, and its path below the session.
    md5, sizes : set
        Those listed now, and those at the import. If they differ, the source has replaced the
        file: both are valid, and the rows are stale.
    tables : set of str
        Tables with rows that were read from it.
    path : Path or None
        Its path on this machine, if it is there.
    n_bytes : int
        Its size on this machine.
    """

    source: str
    eid: str
    dataset_path: str
    md5: set[str] = field(default_factory=set)
    sizes: set[int] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    path: Path | None = None
    n_bytes: int = 0

    def damage(self, expected: str, found: str, kind: str) -> Damage:
        """Return the damage of a file that differs from the list and from the import."""
        return Damage(
            FILES,
            kind,
            "session.Dataset",
            {"eid": self.eid, "dataset_path": self.dataset_path},
            f"{self.path or self.dataset_path}, read by {', '.join(sorted(self.tables))}",
            expected,
            found,
            path=self.dataset_path,
            store=self.source,
        )


def read_files(eid: str | None = None) -> list[File]:
    """Fetch the files that rows were read from, in one statement."""
    tables = [table for table in catalog.tables() if hasattr(table, "Source")]
    same = sql.same(session.Dataset.primary_key, "s", "d")
    of_session = " AND d.eid = %s" if eid is not None else ""
    each = sql.fetch_each(
        tables,
        lambda table: (
            "f.* FROM (SELECT DISTINCT d.data_source, d.eid, d.dataset_path, d.md5, d.file_size, "
            f"s.source_md5, s.source_size FROM {table.Source.full_table_name} s "
            f"JOIN {session.Dataset.full_table_name} d ON {same} "
            f"WHERE s.source_md5 IS NOT NULL{of_session}) AS f"
        ),
        eid,
    )
    found: dict[tuple[str, str], File] = {}
    for table, source, of, path, md5, size, read_md5, read_size in each:
        file = found.setdefault((of, path), File(source, of, path))
        file.tables.add(catalog.name_of(table))
        file.md5 |= {text.lower() for text in (md5, read_md5) if text}
        file.sizes |= {n for n in (size, read_size) if n is not None}
    return list(found.values())


def missing_files(
    tables: Sequence[type[dj.Table]], eid: str | None = None, known: Sequence[Damage] = ()
) -> Iterator[tuple[type[dj.Table], dict[str, Any]]]:
    """Yield the table and key of each row that was read from a file that is not on this machine.

    `known` is damage: a damaged file counts as not here.
    """
    read = read_files(eid)
    here = {(file.eid, file.dataset_path) for file in _locate(read)}
    here -= {(one.key["eid"], one.path) for one in known if one.check == FILES}
    missing = {(file.eid, file.dataset_path) for file in read} - here
    if not missing:
        return
    of_session = catalog.session_key(eid)
    read_by = [(table, table.Source) for table in tables if hasattr(table, "Source")]
    selections = (
        (
            table,
            table.primary_key,
            "eid, dataset_path FROM "
            f"({(part & 'source_md5 IS NOT NULL' & of_session).proj().make_sql()}) AS files",
        )
        for table, part in read_by
    )
    for table, key, *file in sql.fetch_keyed(selections):
        if tuple(file) in missing:
            yield table, key


class Files:
    """The files that rows were read from, as far as they are on this machine.

    Parameters
    ----------
    eid : str, optional
        Only of one session.
    """

    def __init__(self, eid: str | None = None) -> None:
        self._eid = eid
        read = read_files(eid)
        self.here = list(_locate(read))
        self._outside = _find_outside(read)

    def suspects(self) -> list[Damage]:
        """Compare sizes, and find paths that lead out of the folder of their session."""
        return [*self._outside, *(damage for file in self.here if (damage := _compare(file)))]

    def tasks(self, known: list[Damage]) -> list[Task]:
        """Return the files to hash, without those that are known to be damaged."""
        bad = {(damage.key["eid"], damage.path) for damage in known}
        return [
            Task(file.n_bytes, partial(_compare_bytes, file))
            for file in self.here
            if (file.eid, file.dataset_path) not in bad
        ]

    def confirm(self, suspected: list[Damage], deep: bool) -> list[Damage]:
        """Check suspected files again: they may have been replaced or downloaded by now."""
        if not suspected:
            return []
        bad = {(damage.key["eid"], damage.path) for damage in suspected}
        again = [f for f in read_files(self._eid) if (f.eid, f.dataset_path) in bad]
        found = (
            _compare(file) or (_compare_bytes(file, lambda _: None) if deep else None)
            for file in _locate(again)
        )
        return [*_find_outside(again), *(damage for damage in found if damage)]


def _find_outside(files: list[File]) -> list[Damage]:
    """Find files whose path leads out of their session; no source can locate them."""
    return [
        file.damage("a path below the session", "a path that leads out of the session", "file")
        for file in files
        if not is_dataset_path(file.dataset_path)
    ]


def _locate(files: list[File]) -> Iterator[File]:
    """Yield the files on this machine; others were not downloaded, or evicted."""
    by_source = defaultdict(list)
    for file in files:
        if is_dataset_path(file.dataset_path):
            by_source[file.source].append(file)
    for location, listed in by_source.items():
        try:
            source = base.open_source(location)
            if not isinstance(source, base.OnDisk):
                continue
            places = source.places([(file.eid, file.dataset_path) for file in listed])
        except SourceError:
            continue  # its folder is on another machine
        for file, place in zip(listed, places, strict=True):
            if place is not None and place.is_file():
                file.path, file.n_bytes = place, place.stat().st_size
                yield file


def _kind(file: File) -> str:
    return "download" if isinstance(base.open_source(file.source), base.Cached) else "file"


def _compare(file: File) -> Damage | None:
    if not file.sizes or file.n_bytes in file.sizes:
        return None
    sizes = " or ".join(map(str, sorted(file.sizes)))
    return file.damage(f"{sizes} bytes", f"{file.n_bytes} bytes", _kind(file))


def _compare_bytes(file: File, advance: disk.Advance) -> Damage | None:
    assert file.path is not None
    try:
        found = disk.hash_file(file.path, "md5", advance)
    except FileNotFoundError:
        return None  # it has been evicted
    except OSError as error:
        what = f"a file that cannot be read ({error.strerror})"
        return file.damage("a file that can be read", what, "unread")
    if found in file.md5:
        return None
    expected = " or ".join(sorted(file.md5))
    return file.damage(f"md5 {expected}", f"md5 {found}", _kind(file))


def remove_download(damage: Damage) -> bool:
    """Remove a damaged file from the cache; return whether it was removed."""
    source = base.open_source(damage.store)
    return isinstance(source, base.Cached) and bool(
        source.evict(0, [(damage.key["eid"], damage.path)])
    )
