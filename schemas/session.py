"""Sessions, and the datasets that a source lists for them."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import datajoint as dj

from schemas import rows, subject  # noqa: F401  (subject: foreign keys)
from schemas.errors import InconsistentData, MissingDataset
from schemas.sources import base

schema = dj.Schema()


@schema
class QC(dj.Lookup):
    """Outcomes of quality control, in order of severity."""

    definition = """
    # one row per outcome of quality control
    qc          : varchar(8)  # name of the outcome
    ---
    qc_severity : int8        # rank, 0 not set to 4 critical
    """
    contents = rows.lookup("qc_severity, qc", *enumerate(base.QC_OUTCOMES))


@schema
class DataKind(dj.Lookup):
    """What a dataset is part of; a table imports the datasets of one kind."""

    definition = """
    # one row per kind of data
    data_kind             : varchar(16)   # name of the kind
    ---
    data_kind_description : varchar(128)  # what it holds
    """
    contents = rows.lookup("data_kind, data_kind_description", *base.DATA_KINDS.items())


@schema
class DataSource(dj.Manual):
    """A place that recordings are read from."""

    definition = """
    # one row per source that was registered
    data_source : varchar(512)  # folder or URL
    """


@schema
class Session(dj.Manual):
    """A mouse at the task."""

    definition = """
    # one row per session
    eid                  : char(36)      # session UUID, lower case
    ---
    -> subject.Subject
    session_date         : date          # day of the recording
    session_number       : int16         # number of the session on that day, from 1
    session_start = null : datetime(6)   # start, UTC
    task_protocol = null : varchar(255)  # protocol that the rig ran
    projects = null      : varchar(255)  # projects of Alyx, comma-separated
    -> [nullable] QC.proj(session_qc="qc")
    unique index (subject, session_date, session_number)
    """


@schema
class Dataset(dj.Manual):
    """A file, as its source lists it: a pointer, never a copy."""

    definition = """
    # one row per file that a source lists, or has listed, for a session
    -> Session
    dataset_path      : varchar(255)  # path below the session folder, revision included
    ---
    -> DataSource
    -> DataKind
    collection        : varchar(128)  # folder below the session, without the revision
    dataset_name      : varchar(128)  # file name
    revision          : varchar(64)   # revision; empty for the original
    dataset_id = null : varchar(36)   # dataset UUID of Alyx
    file_size = null  : int64         # (byte) size
    md5 = null        : varchar(32)   # hash as listed
    is_default = null : bool          # flagged as the default revision; null where none is
    is_listed         : bool          # whether its source still lists it
    -> [nullable] QC.proj(dataset_qc="qc")
    """


SOURCE = """
# one row per file that was on offer; with its hash where it was really read
-> master
-> session.Dataset
---
source_revision    : varchar(64)  # revision on offer; empty for the original
source_md5 = null  : varchar(32)  # hash of the bytes that were read; null where not needed
source_size = null : int64        # (byte) size of the file that was read; null where not needed
"""
"""Definition of the part `Source` that every imported table has."""


class KeyProduct:
    """Keys of several tables, crossed.

    The query is made when it is asked for: tables know no server while they are defined.
    """

    def __init__(self, *tables: type[dj.Table]) -> None:
        self._tables = tables

    def proj(self) -> dj.expression.QueryExpression:
        """Return every combination of the keys."""
        first, *others = (table.proj() for table in self._tables)
        return functools.reduce(operator.mul, others, first)


def listed(*kinds: str) -> dj.expression.QueryExpression:
    """Return the datasets of some kinds that a source lists."""
    return Dataset & {"is_listed": True} & [{"data_kind": kind} for kind in kinds]


class ImportedFromFiles:
    """What the tables have in common that are read from the files of a session.

    Attributes
    ----------
    kinds : tuple of str
        Kinds of data that are read, one of `DataKind` each. A key can be made where a source
        lists the first of them.
    candidates
        Keys that a complete release would have.
    """

    kinds: tuple[str, ...]
    candidates: Any = Session

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Datasets on offer for each key, every revision of them."""
        return listed(*self.kinds)

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Keys for which a source lists the data."""
        offered = self.listed & {"data_kind": self.kinds[0]}
        every = self.candidates.proj()
        finer = [name for name in every.primary_key if name not in offered.primary_key]
        return every & offered.proj(*finer)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch what the source lists."""
        return (fetch_datasets(self.listed & key),)


def fetch_days() -> dict[tuple[str, date, int], str]:
    """Fetch the eid of every session by subject, date and number, which name it as well."""
    named = Session.proj("subject", "session_date", "session_number").to_dicts()
    return {
        (row["subject"], rows.as_date(row["session_date"]), row["session_number"]): row["eid"]
        for row in named
    }


def fetch_datasets(datasets: dj.expression.QueryExpression) -> list[dict[str, Any]]:
    """Fetch rows of `listed` (joined or not), in order of their paths."""
    return datasets.to_dicts(order_by="dataset_path")


def as_records(listed: Sequence[Mapping[str, Any]]) -> list[base.DatasetRecord]:
    """Describe rows of `Dataset` as sources know them."""
    return [
        base.DatasetRecord(
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
        for row in listed
    ]


def open_datasets(
    listed: Sequence[Mapping[str, Any]], revision: str | None = None
) -> tuple[base.Source, tuple[base.DatasetRecord, ...]]:
    """Open the source of rows of `Dataset`, and choose the revision of each file.

    Parameters
    ----------
    listed : sequence of mappings
        As `fetch_datasets` returns them.
    revision : str, optional
        As in `schemas.sources.base.select_revision`.

    Raises
    ------
    MissingDataset
        No file is listed, or none of that revision or an older one.
    InconsistentData
        The files are listed by different sources, of which each would read its own.
    """
    records = as_records(listed)
    chosen = base.select_revision(records, revision)
    if not chosen:
        raise _missing(records, revision)
    locations = {row["dataset_path"]: row["data_source"] for row in listed}
    sources = sorted({locations[record.path] for record in chosen})
    if len(sources) > 1:
        raise InconsistentData(
            f"the {chosen[0].kind} are split between the sources {' and '.join(sources)}.",
            f"session {chosen[0].eid}",
            "Register again the one that has all their files.",
        )
    return base.open_source(sources[0]), chosen


def _missing(records: Sequence[base.DatasetRecord], revision: str | None) -> MissingDataset:
    if not records:
        return MissingDataset("no source lists the files any more.", None, "Register it again.")
    there = ", ".join(sorted({record.revision or "the original" for record in records}))
    return MissingDataset(
        f"no {records[0].kind} of revision {revision!r} or older are listed.",
        f"session {records[0].eid}",
        f"There are: {there}.",
    )


def insert_sources(part: dj.Part, key: Mapping[str, Any], files: Sequence[base.FileRead]) -> None:
    """Record the files that a row was read from, and those that were not needed for it."""
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
