"""Stored objects against the rows that point to them, and the other way round."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from populate.stored_objects import ObjectColumn, Reference, fetch_references, object_columns
from populate.verify.damage import Damage
from schemas import storage
from schemas.errors import StorageError

OBJECTS = "objects"
WHOLE = "every object that a row points to is there, with its size"
WHOLE_DEEP = "every object that a row points to is there, byte for byte as it was written"
ORPHANS = "orphans"
NO_ORPHANS = "a row points to every object in the store"


def damage_of(ref: Reference, expected: str, found: str, kind: str = "rows") -> Damage:
    """Return the damage of an object that is not as its row says."""
    name, place = ref.column.name, _place(ref)
    return Damage(
        OBJECTS, kind, name, ref.key, place, expected, found, path=ref.path, store=ref.store
    )


def _place(ref: Reference) -> str:
    try:
        return storage.place(ref.path, ref.store)
    except StorageError:
        return f"{ref.path} of store {ref.store}"


def _misleading(ref: Reference, fault: str) -> Damage:
    """Return the damage of a row that leads to no object: repair has no object to remove."""
    name, column = ref.column.name, ref.column.column
    return Damage(OBJECTS, "rows", name, ref.key, column, "a reference to an object", fault)


@dataclass(frozen=True)
class Task:
    """Something to be read from end to end: how much, and what does it."""

    n_bytes: int
    run: Callable[[storage.Advance], Damage | None]


class Objects:
    """A look at the store and at the rows that point into it.

    Parameters
    ----------
    eid : str, optional
        Only of one session.
    is_lost : bool
        An empty store was lost, and is not one that is not mounted or wrongly named.
    """

    def __init__(self, eid: str | None = None, is_lost: bool = False) -> None:
        self._eid = eid
        self._columns = object_columns()
        # The store first: what is written meanwhile may lack its row, never the other way round.
        schemas = {(c.table.database, c.store) for c in self._columns}
        self._held = {
            (store, path): held
            for schema, store in sorted(schemas)
            for path, held in storage.list_schema(schema, store).items()
        }
        self.n_held = sum(self._is_meant(path) for _, path in self._held)
        self.references = fetch_references(self._columns, eid)
        self._is_of_others = storage.is_of_others()
        self._is_elsewhere = self._is_of_others or not (self._held or is_lost)

    def suspects(self) -> list[Damage]:
        """Compare what is there with what rows say, by size."""
        found = (self._compare(ref, self._held.get(ref.place)) for ref in self.references)
        return [damage for damage in found if damage]

    @staticmethod
    def _compare(ref: Reference, held: storage.Held | None) -> Damage | None:
        if fault := ref.fault:
            return _misleading(ref, fault)
        n_bytes = ref.stored["n_bytes"]
        if held is None:
            return damage_of(ref, f"{n_bytes} bytes", "nothing")
        if held.n_bytes != n_bytes:
            return damage_of(ref, f"{n_bytes} bytes", f"{held.n_bytes} bytes")
        return None

    def tasks(self, known: list[Damage]) -> list[Task]:
        """Return what is to be read to compare the objects byte for byte, but for known ones."""
        bad = {damage.path for damage in known}
        return [
            Task(ref.stored["n_bytes"], partial(_compare_bytes, ref))
            for ref in self.references
            if not ref.fault and ref.path not in bad
        ]

    def confirm(self, suspected: list[Damage], deep: bool) -> list[Damage]:
        """Look again: rows may have gone meanwhile, or come as the store was being listed."""
        if not suspected:
            return []
        paths = {damage.path for damage in suspected}
        now = [r for r in fetch_references(self._columns, self._eid) if r.fault or r.path in paths]
        misleading = [_misleading(ref, fault) for ref in now if (fault := ref.fault)]
        found = (self._look_again(ref, deep) for ref in now if not ref.fault)
        damaged = [damage for damage in found if damage]
        if damaged and self._is_elsewhere:
            damaged = [self._of_store(len(damaged))]
        return misleading + damaged

    def _look_again(self, ref: Reference, deep: bool) -> Damage | None:
        try:
            held = storage.look_up(ref.path, ref.store)
        except StorageError as error:  # that of a row may be none that is known here
            return damage_of(ref, "a store that can be read", error.what, "unread")
        return self._compare(ref, held) or (_compare_bytes(ref, lambda _: None) if deep else None)

    def _of_store(self, n_rows: int) -> Damage:
        """Tell that the store is not the one: no reason to remove rows, or what others stored."""
        found = "those of another database" if self._is_of_others else "an empty store"
        expected = f"the objects of {n_rows:,} row{'s' * (n_rows > 1)}"
        return Damage(OBJECTS, "store", "the store", {}, storage.place(""), expected, found)

    def orphans(self, older_than: float) -> list[Damage]:
        """Find files of our tables that no row points to.

        Parameters
        ----------
        older_than : float
            Seconds; a younger file may be one that a worker is about to point to.
        """
        before = time.time() - older_than
        pointed = {ref.place for ref in self.references}
        loose = [
            (place, column, held)
            for place, held in self._held.items()
            if place not in pointed and held.written <= before and self._is_meant(held.path)
            for column in self._columns
            if column.store == place[0] and column.files.fullmatch(held.path)
        ]
        if not loose or self._is_of_others:
            return []
        pointed = {ref.place for ref in fetch_references(self._columns)}
        return [
            self._orphan(column, held, "object" if pointed else "store")
            for place, column, held in loose
            if place not in pointed and storage.look_up(held.path, column.store)
        ]

    def _is_meant(self, path: str) -> bool:
        return self._eid is None or f"/eid={self._eid}/" in path

    @staticmethod
    def _orphan(column: ObjectColumn, held: storage.Held, kind: str) -> Damage:
        return Damage(
            ORPHANS,
            kind,
            column.name,
            {},
            storage.place(held.path, column.store),
            "a row that points to it",
            f"none; {held.n_bytes} bytes",
            path=held.path,
            store=column.store,
            written=held.written,
        )


def _compare_bytes(ref: Reference, advance: storage.Advance) -> Damage | None:
    """Compare an object with what was written, and its footer with what its row says."""
    try:
        found = storage.hash_object(ref.path, ref.store, advance)
        if found != ref.stored["sha256"]:
            return damage_of(ref, f"sha256 {ref.stored['sha256']}", f"sha256 {found}")
        file = storage.reference(ref.stored).open()
        columns, n_rows = file.schema_arrow.names, file.metadata.num_rows
    except StorageError as error:
        # A store that fails for a moment is no reason to remove rows.
        if storage.look_up(ref.path, ref.store):
            return damage_of(ref, "an object that can be read", error.what, "unread")
        return damage_of(ref, f"{ref.stored['n_bytes']} bytes", "nothing")
    said = (ref.stored["n_rows"], ref.stored["columns"])
    if (n_rows, columns) != said:
        return damage_of(
            ref, f"{n_rows} rows of {columns}", f"{said[0]} rows of {said[1]} in the row"
        )
    return None
