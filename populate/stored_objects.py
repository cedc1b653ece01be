"""Columns whose values are objects of a store, and what their rows say of the objects."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from populate import catalog, sql
from schemas import storage
from schemas.database.declared import with_parts
from schemas.errors import StorageError

Table = type[dj.Table]
Key = dict[str, Any]


@dataclass(frozen=True)
class ObjectColumn:
    """A column whose objects are in a store."""

    table: Table
    column: str
    store: str

    @property
    def name(self) -> str:
        """Name of the table."""
        return catalog.name_of(self.table)

    @property
    def files(self) -> re.Pattern[str]:
        """Pattern of the paths of its objects, and of objects that were written only in part."""
        folder = f"{re.escape(self.table.database)}/{re.escape(self.table.table_name)}"
        name = rf"{re.escape(self.column)}_[0-9a-f]{{12}}\.parquet(\.saving)?"
        return re.compile(rf"(?:.*/)?{folder}/(?:.*/)?{name}")


@dataclass(frozen=True)
class Reference:
    """The value of an object column in one row: it should lead to an object."""

    column: ObjectColumn
    key: Key
    stored: Any

    @property
    def fault(self) -> str | None:
        """Why the value cannot lead to an object; None where it can."""
        return storage.fault(self.stored)

    @property
    def store(self) -> str:
        """Name of the store; empty where the value has none."""
        return self._text("store")

    @property
    def path(self) -> str:
        """Path in the store; empty where the value has none."""
        return self._text("path")

    def _text(self, name: str) -> str:
        value = self.stored.get(name) if isinstance(self.stored, dict) else None
        return value if isinstance(value, str) else ""

    @property
    def place(self) -> tuple[str, str]:
        """Store and path."""
        return self.store, self.path


OBJECT = re.compile(r"^\s*(\w+)[^:\n]*:\s*<parquet@(\w+)>", re.MULTILINE)


def object_columns() -> list[ObjectColumn]:
    """Return the object columns of all tables."""
    return [
        ObjectColumn(table, column, store)
        for master in catalog.tables()
        for table in with_parts(master)
        for column, store in OBJECT.findall(table().definition)
    ]


def fetch_references(columns: list[ObjectColumn], eid: str | None = None) -> list[Reference]:
    """Fetch the references of all rows, or of the rows of a session, in one statement."""
    wanted = [c for c in columns if eid is None or "eid" in c.table.primary_key]
    of_session = " AND m.eid = %s" if eid is not None else ""
    selects = [
        f"SELECT {i}, {sql.as_json(c.table.primary_key, 'm')}, "
        f"{sql.text(f'm.{sql.quote(c.column)}')} FROM {c.table.full_table_name} m "
        f"WHERE m.{sql.quote(c.column)} IS NOT NULL{of_session}"
        for i, c in enumerate(wanted)
    ]
    return [
        Reference(wanted[i], sql.read_key(key, wanted[i].table.primary_key), json.loads(stored))
        for i, key, stored in sql.fetch(selects, eid)
    ]


def require_store() -> None:
    """Raise an error if the store is empty though rows point to objects in it.

    Raises
    ------
    StorageError
        The store is not mounted, or the settings name another store.
    """
    columns = [column for column in object_columns() if column.store == storage.STORE]
    try:
        # The second check follows the rows: another worker may just have stored the first object.
        lost = storage.is_empty() and (found := fetch_references(columns)) and storage.is_empty()
    except StorageError:
        return  # the jobs that need the store report the error
    if lost:
        raise StorageError(
            f"the store is empty, but {len(found):,} rows point to objects in it.",
            storage.place(""),
            "Mount the store, or correct bwm.store. If its objects are lost, run "
            "`bwm verify --repair --lost-store` and then `bwm populate`, which recomputes them.",
        )
