"""Repair: remove damaged rows and files, so that `bwm populate` makes them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import datajoint as dj

from populate import catalog
from populate.removal import Removed, remove_rows
from populate.stored_objects import fetch_references, object_columns, remove_loose
from populate.verify import files, jobs
from populate.verify.damage import Damage, Key

Table = type[dj.Table]

OnResult = Callable[[Removed], None]

AT_ONCE = 50
"""Rows that are removed in one transaction."""


def repair(damage: Sequence[Damage], on_result: OnResult | None = None) -> list[Removed]:
    """Remove damaged rows with their dependants, and damaged files and jobs.

    `removal.remove_rows` describes which rows are kept. Jobs of stalled workers are requeued.

    Parameters
    ----------
    damage : sequence of Damage
        As `verify` returns it.
    on_result : callable, optional
        Called after each removal.

    Raises
    ------
    StorageError
        An object cannot be removed. Its row is deleted: the next repair removes the object.
    """
    done = []
    for removed in _repair(damage):
        done.append(removed)
        if on_result:
            on_result(removed)
    return done


def _repair(damage: Sequence[Damage]) -> Iterator[Removed]:
    dj.conn().dependencies.clear()  # an analyst may have created tables since they were loaded
    for table, keys in _keys_of_rows(damage).items():
        for start in range(0, len(keys), AT_ONCE):
            yield from remove_rows(table, keys[start : start + AT_ONCE])
    yield from _remove_orphans([one for one in damage if one.kind == "object"])
    yield from _remove_downloads([one for one in damage if one.kind == "download"])
    yield from _repair_jobs([one for one in damage if one.kind in ("job", "held")])


def _keys_of_rows(damage: Sequence[Damage]) -> dict[Table, list[Key]]:
    """Collect the keys of damaged rows, or of their masters, by table."""
    masters = {catalog.name_of(table): table for table in catalog.tables()}
    found: dict[Table, dict[tuple, Key]] = {}
    for one in damage:
        if one.kind == "rows":
            table = masters[".".join(one.table.split(".")[:2])]
            key = {name: one.key[name] for name in table.primary_key}
            found.setdefault(table, {})[tuple(key.values())] = key
    return {table: list(keys.values()) for table, keys in found.items()}


def _repair_jobs(damage: Sequence[Damage]) -> Iterator[Removed]:
    """Requeue the jobs of stalled workers; remove the jobs that have their row."""
    for one, why in jobs.reclaim([one for one in damage if one.kind == "held"]):
        kept = Removed("kept", one.table, 1, why, one.key)
        yield kept if why else Removed("returned", one.table, 1)
    found = [(one.table, one.key) for one in damage]
    for one in jobs.find_once(None) if damage else ():
        if one.kind == "job" and (one.table, one.key) in found and jobs.remove(one):
            yield Removed("job", one.table, 1)


def _remove_orphans(damage: Sequence[Damage]) -> Iterator[Removed]:
    """Remove files of the store that still have no row and are unchanged."""
    columns = object_columns() if damage else []
    referred = {ref.place for ref in fetch_references(columns)}
    for one in damage:
        if remove_loose(one.path, one.store, one.written, referred):
            yield Removed("object", one.what, 1)


def _remove_downloads(damage: Sequence[Damage]) -> Iterator[Removed]:
    for one in damage:
        gone = files.remove_download(one)
        yield Removed("download" if gone else "kept", one.what, 1, "" if gone else "it is in use.")
