"""Remove what is damaged, so that `bwm populate` makes it again."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import datajoint as dj

from populate import catalog, sql, stored_objects
from populate.verify import files, jobs
from populate.verify.damage import Damage, Key
from populate.workers import queue as queue
from schemas import storage
from schemas.database.declared import with_parts
from schemas.database.driver_errors import explain_blocked_deletes, retry_on_deadlock
from schemas.errors import ServerError

Table = type[dj.Table]


@dataclass(frozen=True)
class Removed:
    """Something that was removed, given back, or kept.

    Attributes
    ----------
    what : str
        `'rows'`, `'object'`, `'download'`, `'job'`, `'returned'` (a job) or `'kept'`.
    name : str
        Name of a table, or place of a file.
    number : int
        How many rows or files.
    why : str
        Of what is kept: why.
    key : dict or None
        Of a row that is kept.
    """

    what: str
    name: str
    number: int
    why: str = ""
    key: Key | None = None

    @property
    def is_gone(self) -> bool:
        """Whether it was removed or given back indeed."""
        return self.what != "kept"


OnResult = Callable[[Removed], None]


def repair(damage: Sequence[Damage], on_result: OnResult | None = None) -> list[Removed]:
    """Remove what is damaged, and what depends on it.

    Rows go with the rows that refer to them, their objects, and the failures that workers had
    with them. Rows that somebody typed are never removed, nor what they refer to; rows that cannot
    be removed are kept, as where a table of an analyst refers to them whose schema is closed. What
    a silent worker holds is given back.

    Parameters
    ----------
    damage : sequence of Damage
        As `verify` found it.
    tell : callable, optional
        Called with what was removed, as soon as it is.

    Returns
    -------
    list of Removed

    Raises
    ------
    StorageError
        An object cannot be removed; its rows stay then.
    """
    done = []
    for removed in _all(damage):
        done.append(removed)
        if on_result:
            on_result(removed)
    return done


def _all(damage: Sequence[Damage]) -> Iterator[Removed]:
    dj.conn().dependencies.clear()  # others may have made tables over ours since they were read
    for table, keys in _rows(damage).items():
        for start in range(0, len(keys), AT_ONCE):
            yield from remove_rows(table, keys[start : start + AT_ONCE])
    yield from _remove_orphans([one for one in damage if one.kind == "object"])
    yield from _remove_downloads([one for one in damage if one.kind == "download"])
    yield from _mend_jobs([one for one in damage if one.kind in ("job", "held")])


# --- rows ---------------------------------------------------------------------------------------

AT_ONCE = 50
"""Rows that are removed in one transaction."""


def _rows(damage: Sequence[Damage]) -> dict[Table, list[Key]]:
    """Collect the keys of the rows to go, by table; a part goes with its master."""
    masters = {catalog.name_of(table): table for table in catalog.tables()}
    found: dict[Table, dict[tuple, Key]] = {}
    for one in damage:
        if one.kind == "rows":
            table = masters[".".join(one.table.split(".")[:2])]
            key = {name: one.key[name] for name in table.primary_key}
            found.setdefault(table, {})[tuple(key.values())] = key
    return {table: list(keys.values()) for table, keys in found.items()}


class _MustStay(Exception):
    """Rows that somebody typed refer to the rows that are to go."""


def remove_rows(table: Table, keys: list[Key]) -> Iterator[Removed]:
    """Remove rows of an imported or computed table with all that depends on them.

    Objects of the rows go too, and failures of jobs that needed them. Rows that somebody typed
    are kept, with what they refer to, and rows that the server or an analyst's table holds fast.
    """
    try:
        with explain_blocked_deletes():
            counts, going = _delete(table() & keys)
    except (ServerError, _MustStay) as error:
        if len(keys) == 1:
            yield Removed("kept", catalog.name_of(table), 1, _why(error, keys[0]), keys[0])
        else:  # one of them may hold all others
            for key in keys:
                yield from remove_rows(table, [key])
        return
    _forget_failures(table, keys)
    names = {
        one.full_table_name: catalog.name_of(one)
        for master in catalog.tables()
        for one in with_parts(master)
    }
    for full_name, n in counts.items():
        if n:
            yield Removed("rows", names.get(full_name, full_name), n)
    for store, path in going:
        yield Removed("object", storage.place(path, store), 1)


def _delete(doomed: dj.Table) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Delete rows, what depends on them, and their objects, or nothing of it.

    Objects go before the rows are gone for others: until then no worker makes them again, and
    what it then writes may have the same name.
    """
    cascade = list(dj.Diagram.cascade(doomed))
    counts = {one.full_table_name: len(one) for one in cascade}
    typed = [name for one in cascade if _is_typed(one) and counts[name := one.full_table_name]]
    if typed:
        raise _MustStay(", ".join(typed))
    going = _objects(cascade)
    with doomed.connection.transaction:
        doomed.delete(prompt=False)
        for store, path in going:
            storage.remove(path, store)
    return counts, going


def _why(error: Exception, key: Key) -> str:
    """Explain why a row is kept."""
    if isinstance(error, ServerError):
        return f"{key}: {error.what} {error.remedy}"
    return f"rows that were typed refer to {key}: {error}."


def _is_typed(table: dj.Table) -> bool:
    """Whether nobody could make the rows of a table again: all but imported and computed ones."""
    return not table.table_name.startswith("_")


def _objects(cascade: Sequence[dj.Table]) -> list[tuple[str, str]]:
    """List the objects, by store and path, that rows point to.

    DataJoint's own fetch fails where what a row holds leads to no object.
    """
    columns = defaultdict(list)
    for one in stored_objects.object_columns():
        columns[one.table.full_table_name].append(sql.text(sql.quote(one.column)))
    found = sql.fetch(
        f"SELECT {column} FROM {table.full_table_name}{table.where_clause()}"
        for table in cascade
        for column in columns[table.full_table_name]
    )
    held = [json.loads(stored) for (stored,) in found if stored is not None]
    return [(one["store"], one["path"]) for one in held if not storage.fault(one)]


def _forget_failures(table: Table, keys: list[Key]) -> None:
    """Forget the failures of jobs that had to do with rows: of these, and of what needs them."""
    for below in catalog.tables():
        failed = below().jobs.errors
        shared = [name for name in keys[0] if name in failed.primary_key]
        if shared and table.full_table_name in below().ancestors():
            doomed = failed & [{name: key[name] for name in shared} for key in keys]
            retry_on_deadlock(doomed.delete_quick)


# --- jobs ---------------------------------------------------------------------------------------


def _mend_jobs(damage: Sequence[Damage]) -> Iterator[Removed]:
    """Give back jobs that silent workers hold, then remove those whose key is made."""
    for one, why in jobs.reclaim([one for one in damage if one.kind == "held"]):
        kept = Removed("kept", one.table, 1, why, one.key)
        yield kept if why else Removed("returned", one.table, 1)
    found = [(one.table, one.key) for one in damage]
    for one in jobs.look(None) if damage else ():
        if one.kind == "job" and (one.table, one.key) in found and jobs.remove(one):
            yield Removed("job", one.table, 1)


# --- files --------------------------------------------------------------------------------------


def _remove_orphans(damage: Sequence[Damage]) -> Iterator[Removed]:
    """Remove files of the store that still no row points to, and that are as they were."""
    columns = stored_objects.object_columns() if damage else []
    pointed = {ref.place for ref in stored_objects.fetch_references(columns)}
    for one in damage:
        held = storage.look_up(one.path, one.store)
        if held and held.written == one.written and (one.store, one.path) not in pointed:
            storage.remove(one.path, one.store)
            yield Removed("object", one.what, 1)


def _remove_downloads(damage: Sequence[Damage]) -> Iterator[Removed]:
    for one in damage:
        gone = files.remove_download(one)
        yield Removed("download" if gone else "kept", one.what, 1, "" if gone else "it is in use.")
