"""Columns whose values are stored objects, and the references of rows to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from populate import catalog, sql
from schemas import storage
from schemas.errors import StorageError

Table = type[dj.Table]
Key = dict[str, Any]


@dataclass(frozen=True)
class ObjectColumn:
    """A column whose values are stored as objects.

    Attributes
    ----------
    table : table
        Imported or computed table, or one of its part tables.
    column, store : str
        Name of the column, and of the store.
    """

    table: Table
    column: str
    store: str

    @property
    def table_name(self) -> str:
        """Name of the table, e.g. `ephys.Spikes`."""
        return catalog.name_of(self.table)

    @property
    def path_pattern(self) -> re.Pattern[str]:
        """Pattern of the paths of its objects, and of objects that were not fully written."""
        folder = f"{re.escape(self.table.database)}/{re.escape(self.table.table_name)}"
        name = rf"{re.escape(self.column)}_[0-9a-f]{{12}}\.parquet((\.[0-9a-f]{{8}})?\.saving)?"
        return re.compile(rf"(?:.*/)?{folder}/(?:.*/)?{name}")


@dataclass(frozen=True)
class Reference:
    """The reference of a row to its object; a damaged row can hold any JSON.

    Attributes
    ----------
    column : ObjectColumn
    key : dict
        Primary key of the row.
    stored : any
        Value of the column.
    """

    column: ObjectColumn
    key: Key
    stored: Any

    @property
    def fault(self) -> str | None:
        """Why the value cannot lead to an object; None if it can."""
        return storage.fault(self.stored)

    @property
    def store(self) -> str:
        """Name of the store; empty if the row has none."""
        return self._text("store")

    @property
    def path(self) -> str:
        """Path in the store; empty if the row has none."""
        return self._text("path")

    @property
    def place(self) -> tuple[str, str]:
        """Store and path."""
        return self.store, self.path

    def _text(self, name: str) -> str:
        value = self.stored.get(name) if isinstance(self.stored, dict) else None
        return value if isinstance(value, str) else ""


COLUMN = re.compile(r"^\s*(\w+)[^:\n]*:\s*<parquet@(\w+)>", re.MULTILINE)


def object_columns() -> list[ObjectColumn]:
    """List the columns of all tables whose values are stored as objects."""
    return [
        ObjectColumn(table, column, store)
        for table in catalog.all_with_parts()
        for column, store in COLUMN.findall(table().definition)
    ]


def fetch_references(columns: Iterable[ObjectColumn], eid: str | None = None) -> list[Reference]:
    """Fetch the references of all rows, or of one session, in one statement."""
    of_session = " AND eid = %s" if eid is not None else ""
    found = sql.fetch_each(
        (c for c in columns if eid is None or "eid" in c.table.primary_key),
        lambda c: (
            f"{sql.pack_key(c.table, c.table.primary_key)}, {sql.text(sql.quote(c.column))} "
            f"FROM {c.table.full_table_name} WHERE {sql.quote(c.column)} IS NOT NULL{of_session}"
        ),
        eid,
    )
    return [
        Reference(
            column, sql.unpack_key(key, column.table, column.table.primary_key), json.loads(stored)
        )
        for column, key, stored in found
    ]


def session_of(path: str) -> str | None:
    """Return the session that the path of an object names; None if it names none."""
    found = re.search(r"/eid=([^/]+)/", path)
    return found[1] if found else None


def remove_loose(path: str, store: str, written: float, referred: set[tuple[str, str]]) -> bool:
    """Remove an object unless a row refers to it or it was written since; return whether it went.

    A worker that stores an object again marks it as new, and then inserts its row.
    """
    held = storage.look_up(path, store)
    if held is None or held.written != written or (store, path) in referred:
        return False
    storage.remove(path, store)
    return True


def require_store() -> None:
    """Raise an error if the store is empty though rows refer to objects in it.

    Raises
    ------
    StorageError
        The store is not mounted, or the settings name another store.
    """
    columns = [column for column in object_columns() if column.store == storage.STORE]
    try:
        # Checked again after the rows: another worker may just have stored the first object.
        is_lost = storage.is_empty() and (found := fetch_references(columns)) and storage.is_empty()
    except StorageError:
        return  # jobs that need the store will report it
    if is_lost:
        raise StorageError(
            f"the store is empty, but {len(found):,} rows refer to objects in it.",
            storage.place(""),
            "Mount the store, or correct bwm.store. If its objects are lost, run "
            "`bwm verify --repair --lost-store` and then `bwm populate`, which recomputes them.",
        )
