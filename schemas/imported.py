"""Base class and functions of all imported tables: read the files of a key, insert its rows.

DataJoint calls three functions for each key. `make_fetch` fetches the rows of `Dataset` for the
files that a source (a folder of ONE, or Alyx) lists, `make_compute` loads the files while no
transaction is open, and `make_insert` inserts the rows. A table states the kinds of data that it
reads, and turns loaded data into rows in `as_rows`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import datajoint as dj

from schemas import rows
from schemas.errors import InconsistentData, MissingDataset
from schemas.session import Dataset, Session, TaskChoice
from schemas.sources import base
from schemas.sources.records import DatasetRecord, FileRead

SOURCE = """
# one row per file that was on offer; with its hash where it was really read
-> master
-> session.Dataset
---
source_revision    : varchar(64)  # revision on offer; empty for the original
source_md5 = null  : varchar(32)  # hash of the bytes that were read; null where not needed
source_size = null : int64        # (byte) size of the file that was read; null where not needed
"""
"""Definition of the part table `Source`, which every imported table has."""

AsRows = tuple[dict[str, Any], dict[str, Any]]
"""Attributes of the row without its primary key, and {name of a part table: its rows}."""


class KeyProduct:
    """The product of the primary keys of several tables.

    The query is built by `proj`, because tables have no connection while they are defined.
    """

    def __init__(self, *tables: type[dj.Table]) -> None:
        self._tables = tables

    def proj(self) -> dj.expression.QueryExpression:
        """Return every combination of the keys."""
        first, *others = (table.proj() for table in self._tables)
        return functools.reduce(operator.mul, others, first)


def listed_datasets(*kinds: str) -> dj.expression.QueryExpression:
    """Return the listed datasets of some kinds.

    For a session with a row of `TaskChoice`, only those in the folder of the chosen task.
    """
    with_choice = Dataset.proj("data_kind", "collection") * TaskChoice
    other_tasks = (with_choice & "collection <> task_collection").proj()
    found = Dataset & {"is_listed": True} & [{"data_kind": kind} for kind in kinds]
    return found - other_tasks


class ImportedFromFiles:
    """Base class of the tables whose rows are read from files of a session.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of data, as in `session.DataKind`. The first is the kind that the table imports: a
        key can be imported if a source lists a file of that kind. The reader of the first kind
        also gets the files of the other kinds.
    sites_column : str or None
        For a table whose rows depend on where the probe is: the column with the hash of the sites
        of the trajectory that was used.
    candidates
        Table or `KeyProduct` of all keys that could exist, e.g. all sessions. `key_source` has
        those with files, and `bwm status` counts the others as absent.
    lengths : tuple of (str, str)
        Pairs of columns: one that stores an array, and one with its number of rows.
    Source : type of dj.Part
        The files that were listed when the row was made; created for each table from `SOURCE`.
    """

    kinds: tuple[str, ...]
    sites_column: str | None = None
    lengths: tuple[tuple[str, str], ...] = ()
    candidates: Any = Session
    Source: type[dj.Part]

    def __init_subclass__(cls, **options: Any) -> None:
        """Give each imported table its part table `Source`."""
        super().__init_subclass__(**options)
        if issubclass(cls, dj.Imported) and "Source" not in vars(cls):

            class Source(dj.Part):
                """The files that were listed."""

                definition = SOURCE

            Source.__module__, Source.__qualname__ = cls.__module__, f"{cls.__qualname__}.Source"
            cls.Source = Source

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """All revisions of the datasets that are listed for each key."""
        return listed_datasets(*self.kinds)

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Keys for which a source lists files of the first kind."""
        files = self.listed & {"data_kind": self.kinds[0]}
        candidates = self.candidates.proj()
        # `proj` keeps the key of Dataset; the key of this table may have more, e.g. the camera.
        extra = [name for name in candidates.primary_key if name not in files.primary_key]
        return candidates & files.proj(*extra)

    def as_rows(self, loaded: Any) -> AsRows:
        """Turn loaded data into the row of a key and the rows of its part tables.

        Arrays are packed here; `make_insert` writes them to the object store.
        """
        raise NotImplementedError

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the rows of `Dataset` for the files of this key."""
        return (fetch_datasets(self.listed & key),)

    def make_compute(self, key: dict[str, Any], dataset_rows: list[dict[str, Any]]) -> tuple:
        """Load the files and turn their data into rows."""
        source, datasets = open_datasets(dataset_rows)
        loaded = source.load(self.kinds[0], datasets)
        return (*self.as_rows(loaded), loaded.files)

    def make_insert(
        self,
        key: dict[str, Any],
        row: dict[str, Any],
        parts: dict[str, Any],
        files: Sequence[FileRead],
    ) -> None:
        """Insert the row, the rows of the part tables, and those of `Source`."""
        rows.insert1(self, {**key, **row})
        for name, table in parts.items():
            rows.insert(getattr(self, name)(), table, key)
        insert_sources(self.Source(), key, files)


def span(names: str, time: Any) -> dict[str, float | None]:
    """Return {first name: first time, second name: last time}; both None if there are no times.

    `names` has both names, e.g. `"wheel_start, wheel_end"`.
    """
    ends = (time[0], time[-1]) if len(time) else (None, None)
    return dict(zip(names.split(", "), ends, strict=True))


def fetch_datasets(datasets: dj.expression.QueryExpression) -> list[dict[str, Any]]:
    """Fetch the rows of a query of datasets, ordered by path."""
    return datasets.to_dicts(order_by="dataset_path")


def as_records(dataset_rows: Sequence[Mapping[str, Any]]) -> list[DatasetRecord]:
    """Turn rows of `Dataset` into the records that sources load."""
    return [
        DatasetRecord(
            eid=row["eid"],
            path=row["dataset_path"],
            kind=row["data_kind"],
            collection=row["collection"],
            name=row["dataset_name"],
            revision=row["revision"],
            dataset_id=row["dataset_id"],
            file_size=row["file_size"],
            md5=row["md5"],
            qc=row["dataset_qc"],
            is_default=row["is_default"],
            probe_name=row.get("probe_name"),
            sorter=row.get("dataset_sorter"),
            camera=row.get("camera"),
            tracker=row.get("dataset_tracker"),
            band=row.get("band"),
        )
        for row in dataset_rows
    ]


def open_datasets(
    dataset_rows: Sequence[Mapping[str, Any]], revision: str | None = None
) -> tuple[base.Source, tuple[DatasetRecord, ...]]:
    """Open the source of listed files, and choose one revision of each file.

    Parameters
    ----------
    dataset_rows : sequence of mappings
        As `fetch_datasets` returns them.
    revision : str, optional
        As in `schemas.sources.base.select_revision`.

    Raises
    ------
    MissingDataset
        No file is listed, or no file of that revision or an older one.
    InconsistentData
        The chosen files are listed by different sources.
    """
    records = as_records(dataset_rows)
    chosen = base.select_revision(records, revision)
    if not chosen:
        raise _missing_error(records, revision)
    source_of = {row["dataset_path"]: row["data_source"] for row in dataset_rows}
    sources = sorted({source_of[record.path] for record in chosen})
    if len(sources) > 1:
        raise InconsistentData(
            f"the {chosen[0].kind} are split between the sources {' and '.join(sources)}.",
            f"session {chosen[0].eid}",
            "Register again the source that has all of these files.",
        )
    return base.open_source(sources[0]), chosen


def _missing_error(records: Sequence[DatasetRecord], revision: str | None) -> MissingDataset:
    if not records:
        return MissingDataset(
            "no source lists the files any more.", None, "Register their source again."
        )
    revisions = ", ".join(sorted({record.revision or "the original" for record in records}))
    return MissingDataset(
        f"no {records[0].kind} of revision {revision!r} or older are listed.",
        f"session {records[0].eid}",
        f"There are: {revisions}.",
    )


def insert_sources(part: dj.Part, key: Mapping[str, Any], files: Sequence[FileRead]) -> None:
    """Insert a row into `Source` for each listed file, whether it was read or not."""
    rows.insert(
        part,
        [
            {
                "dataset_path": file.path,
                "source_revision": file.revision,
                "source_md5": file.md5,
                "source_size": file.file_size,
            }
            for file in files
        ],
        key,
    )
