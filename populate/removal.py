"""Removal of rows with their dependants, stored objects and failed jobs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from populate import catalog, sql, stored_objects
from schemas import storage
from schemas.database.driver_errors import explain_blocked_deletes, retry_on_deadlock
from schemas.errors import ServerError

Table = type[dj.Table]
Key = dict[str, Any]
Object = tuple[str, storage.Held]
"""The store of an object, and its file as it was before its row was deleted."""


@dataclass(frozen=True)
class Removed:
    """Rows, a file or a job that were removed, requeued or kept.

    Attributes
    ----------
    what : str
        `'rows'`, `'object'`, `'download'`, `'job'`, `'returned'` (a job is pending again) or
        `'kept'`.
    name : str
        Name of a table, or place of a file.
    number : int
        Number of rows, jobs or files.
    why : str
        Why it was kept.
    key : dict or None
        Primary key of a row or job that was kept.
    """

    what: str
    name: str
    number: int
    why: str = ""
    key: Key | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it was removed or requeued."""
        return self.what != "kept"


class _InsertedByHand(Exception):
    """Rows that were inserted by hand refer to the rows to be removed."""


def remove_rows(table: Table, keys: list[Key]) -> Iterator[Removed]:
    """Remove rows of an imported or computed table with their dependants.

    Dependants are the rows that refer to them, the stored objects, and failed jobs that need the
    rows. A row is kept if a row that was inserted by hand refers to it, or if the server refuses
    the removal, e.g. because an analyst's table refers to the row.
    """
    try:
        with explain_blocked_deletes():
            counts, objects = retry_on_deadlock(lambda: _delete(table, keys))
    except (ServerError, _InsertedByHand) as error:
        if len(keys) == 1:
            yield Removed("kept", catalog.name_of(table), 1, _explain(error, keys[0]), keys[0])
        else:  # a single row may block the removal of all rows
            for key in keys:
                yield from remove_rows(table, [key])
        return
    gone = _remove_objects(objects)
    names = {one.full_table_name: catalog.name_of(one) for one in catalog.all_with_parts()}
    for full_name, n in counts.items():
        if n:
            yield Removed("rows", names.get(full_name, full_name), n)
    for store, path in gone:
        yield Removed("object", storage.place(path, store), 1)


def _delete(table: Table, keys: list[Key]) -> tuple[dict[str, int], list[Object]]:
    """Delete rows, their dependants and failed jobs in one transaction; return their objects."""
    doomed = table() & keys
    cascade = list(dj.Diagram.cascade(doomed))
    counts = {table.full_table_name: len(table) for table in cascade}
    # `populate` can insert the rows of imported and computed tables again, and no others.
    unfilled = [table.full_table_name for table in cascade if not table.table_name.startswith("_")]
    if manual := [name for name in unfilled if counts[name]]:
        raise _InsertedByHand(", ".join(manual))
    found = [(store, storage.look_up(path, store)) for store, path in _objects(cascade)]
    with doomed.connection.transaction:
        doomed.delete(prompt=False)
        _forget_failures(table, keys)
    return counts, [(store, held) for store, held in found if held]


def _remove_objects(objects: Sequence[Object]) -> list[tuple[str, str]]:
    """Remove the objects of deleted rows; return the store and path of each.

    If this is interrupted, verify finds the objects that are left, as no row refers to them.
    """
    columns = stored_objects.object_columns()
    referred: dict[str | None, set[tuple[str, str]]] = {}
    gone = []
    for store, held in objects:
        eid = stored_objects.session_of(held.path)
        if eid not in referred:
            found = stored_objects.fetch_references(columns, eid)
            referred[eid] = {ref.place for ref in found}
        if stored_objects.remove_loose(held.path, store, held.written, referred[eid]):
            gone.append((store, held.path))
    return gone


def _explain(error: Exception, key: Key) -> str:
    """Explain why a row is kept."""
    if isinstance(error, ServerError):
        return f"{key}: {error.what} {error.remedy}"
    return f"rows that were inserted by hand refer to {key}: {error}."


def _objects(cascade: Sequence[dj.Table]) -> list[tuple[str, str]]:
    """List the objects, by store and path, that rows refer to.

    DataJoint's own fetch fails if a damaged row refers to no object.
    """
    columns = defaultdict(list)
    for column in stored_objects.object_columns():
        columns[column.table.full_table_name].append(sql.text(sql.quote(column.column)))
    found = sql.fetch(
        f"SELECT {column} FROM {table.full_table_name}{table.where_clause()}"
        for table in cascade
        for column in columns[table.full_table_name]
    )
    held = [json.loads(stored) for (stored,) in found if stored is not None]
    return [(one["store"], one["path"]) for one in held if not storage.fault(one)]


def _forget_failures(table: Table, keys: list[Key]) -> None:
    """Delete failed jobs of the rows, and of rows to be computed from them."""
    for child in catalog.tables():
        failed = child().jobs.errors
        shared = [name for name in keys[0] if name in failed.primary_key]
        if shared and table.full_table_name in child().ancestors():
            (failed & [{name: key[name] for name in shared} for key in keys]).delete_quick()
