"""Check of the stored objects: each row has its object, and each object has a row."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from populate.stored_objects import ObjectColumn, Reference, fetch_references, object_columns
from populate.verify.damage import Damage
from schemas import disk, storage
from schemas.errors import StorageError

OBJECTS = "objects"
WHOLE = "every object that a row refers to is there, with its size"
WHOLE_DEEP = "every object that a row refers to is there, byte for byte as it was written"
ORPHANS = "orphans"
NO_ORPHANS = "a row refers to every object in the store"


def _damage(ref: Reference, expected: str, found: str, kind: str = "rows") -> Damage:
    """Return the damage of an object that differs from its row."""
    try:
        place = storage.place(ref.path, ref.store)
    except StorageError:
        place = f"{ref.path} of store {ref.store}"
    name = ref.column.table_name
    return Damage(
        OBJECTS, kind, name, ref.key, place, expected, found, path=ref.path, store=ref.store
    )


def _broken_reference(ref: Reference, fault: str) -> Damage:
    """Return the damage of a row that refers to no object."""
    name, column = ref.column.table_name, ref.column.column  # no path: no object is removed
    return Damage(OBJECTS, "rows", name, ref.key, column, "a reference to an object", fault)


@dataclass(frozen=True)
class Task:
    """A file or object to read in full: its size, and the function that reads it."""

    n_bytes: int
    run: Callable[[disk.Advance], Damage | None]


class Objects:
    """The files in the store, and the rows that refer to them.

    Parameters
    ----------
    eid : str, optional
        Only of one session.
    is_lost : bool
        If the store is empty, it was lost; otherwise it may be unmounted or the wrong store.
    """

    def __init__(self, eid: str | None = None, is_lost: bool = False) -> None:
        self._eid = eid
        self._columns = object_columns()
        # The store is listed before the rows, because a worker writes the object before the row.
        schemas = {(column.table.database, column.store) for column in self._columns}
        self._held = {
            (store, path): held
            for schema, store in sorted(schemas)
            for path, held in storage.list_schema(schema, store).items()
        }
        self.n_held = sum(self._is_of_session(path) for _, path in self._held)
        self.references = fetch_references(self._columns, eid)
        self._is_of_others = storage.is_of_others()
        self._is_elsewhere = self._is_of_others or not (self._held or is_lost)

    def suspects(self) -> list[Damage]:
        """Compare the sizes of objects with those in their rows."""
        found = (_compare_size(ref, self._held.get(ref.place)) for ref in self.references)
        return [damage for damage in found if damage]

    def tasks(self, known: list[Damage]) -> list[Task]:
        """Return the objects to hash, without those that are known to be damaged."""
        bad = {damage.path for damage in known}
        return [
            Task(ref.stored["n_bytes"], partial(_compare_bytes, ref))
            for ref in self.references
            if not ref.fault and ref.path not in bad
        ]

    def confirm(self, suspected: list[Damage], deep: bool) -> list[Damage]:
        """Check suspected objects again: workers may have changed rows and objects by now."""
        if not suspected:
            return []
        paths = {damage.path for damage in suspected}
        now = [r for r in fetch_references(self._columns, self._eid) if r.fault or r.path in paths]
        broken = [_broken_reference(ref, fault) for ref in now if (fault := ref.fault)]
        found = (_check_again(ref, deep) for ref in now if not ref.fault)
        damaged = [damage for damage in found if damage]
        if damaged and self._is_elsewhere:
            damaged = [self._wrong_store(len(damaged))]
        return broken + damaged

    def _wrong_store(self, n_rows: int) -> Damage:
        """Return the damage of a wrong store: neither rows nor files may be removed."""
        found = "those of another database" if self._is_of_others else "an empty store"
        expected = f"the objects of {n_rows:,} row{'s' * (n_rows > 1)}"
        return Damage(OBJECTS, "store", "the store", {}, storage.place(""), expected, found)

    def orphans(self, older_than: float) -> list[Damage]:
        """Find files of our tables that no row refers to.

        Parameters
        ----------
        older_than : float
            Age (s): a worker may be about to insert the row of a younger file.
        """
        before = time.time() - older_than
        referred = {ref.place for ref in self.references}
        loose = [
            (place, column, held)
            for place, held in self._held.items()
            if place not in referred and held.written <= before and self._is_of_session(held.path)
            for column in self._columns
            if column.store == place[0] and column.path_pattern.fullmatch(held.path)
        ]
        if not loose or self._is_of_others:
            return []
        referred = {ref.place for ref in fetch_references(self._columns)}
        return [
            _orphan(column, held, "object" if referred else "store")
            for place, column, held in loose
            if place not in referred and storage.look_up(held.path, column.store)
        ]

    def _is_of_session(self, path: str) -> bool:
        return self._eid is None or f"/eid={self._eid}/" in path


def _orphan(column: ObjectColumn, held: storage.Held, kind: str) -> Damage:
    return Damage(
        ORPHANS,
        kind,
        column.table_name,
        {},
        storage.place(held.path, column.store),
        "a row that refers to it",
        f"none; {held.n_bytes} bytes",
        path=held.path,
        store=column.store,
        written=held.written,
    )


def _compare_size(ref: Reference, held: storage.Held | None) -> Damage | None:
    if fault := ref.fault:
        return _broken_reference(ref, fault)
    n_bytes = ref.stored["n_bytes"]
    if held is None:
        return _damage(ref, f"{n_bytes} bytes", "nothing")
    if held.n_bytes != n_bytes:
        return _damage(ref, f"{n_bytes} bytes", f"{held.n_bytes} bytes")
    return None


def _check_again(ref: Reference, deep: bool) -> Damage | None:
    try:
        held = storage.look_up(ref.path, ref.store)
    except StorageError as error:  # a row may name a store that is not configured here
        return _damage(ref, "a store that can be read", error.what, "unread")
    return _compare_size(ref, held) or (_compare_bytes(ref, lambda _: None) if deep else None)


def _compare_bytes(ref: Reference, advance: disk.Advance) -> Damage | None:
    """Compare the hash of an object, then its rows and columns, with those in its row."""
    try:
        found = storage.hash_object(ref.path, ref.store, advance)
        if found != ref.stored["sha256"]:
            return _damage(ref, f"sha256 {ref.stored['sha256']}", f"sha256 {found}")
        storage.reference(ref.stored).open()
    except storage.WrongObject as error:
        return _damage(ref, "the object that its row describes", error.what)
    except StorageError as error:
        # If the object is there, the store may have failed for a moment only: the row is kept.
        if storage.look_up(ref.path, ref.store):
            return _damage(ref, "an object that can be read", error.what, "unread")
        return _damage(ref, f"{ref.stored['n_bytes']} bytes", "nothing")
    return None
