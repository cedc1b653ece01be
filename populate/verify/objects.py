"""Stored objects against the rows that point to them, and the other way round."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import datajoint as dj

from populate import catalog, sql
from populate.verify.damage import Damage, Key
from schemas import storage
from schemas.errors import StorageError

OBJECTS = "objects"
WHOLE = "every object that a row points to is there, with its size"
WHOLE_DEEP = "every object that a row points to is there, byte for byte as it was written"
ORPHANS = "orphans"
NO_ORPHANS = "a row points to every object in the store"

Table = type[dj.Table]


@dataclass(frozen=True)
class Holder:
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
        """Paths of its objects, and of what is left of them when their writing is cut short."""
        folder = f"{re.escape(self.table.database)}/{re.escape(self.table.table_name)}"
        name = rf"{re.escape(self.column)}_[0-9a-f]{{12}}\.parquet(\.saving)?"
        return re.compile(rf"(?:.*/)?{folder}/(?:.*/)?{name}")


@dataclass(frozen=True)
class Reference:
    """What a row says of its object, whatever it is."""

    holder: Holder
    key: Key
    stored: Any

    @property
    def fault(self) -> str | None:
        """Why it cannot lead to an object; None where it can."""
        return storage.fault(self.stored)

    @property
    def store(self) -> str:
        """Name of the store; empty where the row has none."""
        return self._text("store")

    @property
    def path(self) -> str:
        """Path in the store; empty where the row has none."""
        return self._text("path")

    def _text(self, name: str) -> str:
        held = self.stored.get(name) if isinstance(self.stored, dict) else None
        return held if isinstance(held, str) else ""

    @property
    def place(self) -> tuple[str, str]:
        """Store and path."""
        return self.store, self.path

    def damage(self, expected: str, found: str, kind: str = "rows") -> Damage:
        """Tell that the object is not what the row says."""
        return Damage(
            OBJECTS,
            kind,
            self.holder.name,
            self.key,
            self._where(),
            expected,
            found,
            path=self.path,
            store=self.store,
        )

    def _where(self) -> str:
        try:
            return storage.place(self.path, self.store)
        except StorageError:
            return f"{self.path} of store {self.store}"

    def misleads(self, fault: str) -> Damage:
        """Tell that the row leads to no object: there is none to be removed with it."""
        name, column = self.holder.name, self.holder.column
        return Damage(OBJECTS, "rows", name, self.key, column, "a reference to an object", fault)


def holders() -> list[Holder]:
    """Find the columns of all tables whose objects are in a store."""
    return [
        Holder(table, column, store)
        for table in catalog.all_with_parts()
        for column, store in OBJECT.findall(table().definition)
    ]


OBJECT = re.compile(r"^\s*(\w+)[^:\n]*:\s*<parquet@(\w+)>", re.MULTILINE)


def references(every: list[Holder], eid: str | None = None) -> list[Reference]:
    """Fetch what rows say of their objects, of one session or all, in one statement."""
    wanted = [h for h in every if eid is None or "eid" in h.table.primary_key]
    of_session = " AND m.eid = %s" if eid is not None else ""
    selects = [
        f"SELECT {i}, {sql.as_json(h.table.primary_key, 'm')}, "
        f"{sql.text(f'm.{sql.quote(h.column)}')} FROM {h.table.full_table_name} m "
        f"WHERE m.{sql.quote(h.column)} IS NOT NULL{of_session}"
        for i, h in enumerate(wanted)
    ]
    return [
        Reference(wanted[i], sql.read_key(key, wanted[i].table.primary_key), json.loads(stored))
        for i, key, stored in sql.fetch(selects, eid)
    ]


def refuse_lost_store() -> None:
    """Refuse a store that is empty though rows point into it: it is not the one, or not mounted.

    Raises
    ------
    StorageError
    """
    every = [holder for holder in holders() if holder.store == storage.STORE]
    try:
        # Once more after the rows: another worker may just have stored the first object.
        is_lost = storage.is_empty() and (held := references(every)) and storage.is_empty()
    except StorageError:
        return  # those jobs say so that need it
    if is_lost:
        raise StorageError(
            f"the store is empty, but {len(held):,} rows point to objects in it.",
            storage.place(""),
            "Mount it, or name the right one (bwm.store). If it is lost: "
            "`bwm verify --repair --lost-store`, and populate makes everything again.",
        )


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
        self._holders = holders()
        # The store first: what is written meanwhile may lack its row, never the other way round.
        schemas = {(h.table.database, h.store) for h in self._holders}
        self._held = {
            (store, path): held
            for schema, store in sorted(schemas)
            for path, held in storage.list_schema(schema, store).items()
        }
        self.n_held = sum(self._is_meant(path) for _, path in self._held)
        self.references = references(self._holders, eid)
        self._is_of_others = storage.is_of_others()
        self._is_elsewhere = self._is_of_others or not (self._held or is_lost)

    def suspects(self) -> list[Damage]:
        """Compare what is there with what rows say, by size."""
        found = (self._compare(ref, self._held.get(ref.place)) for ref in self.references)
        return [damage for damage in found if damage]

    @staticmethod
    def _compare(ref: Reference, held: storage.Held | None) -> Damage | None:
        if fault := ref.fault:
            return ref.misleads(fault)
        n_bytes = ref.stored["n_bytes"]
        if held is None:
            return ref.damage(f"{n_bytes} bytes", "nothing")
        if held.n_bytes != n_bytes:
            return ref.damage(f"{n_bytes} bytes", f"{held.n_bytes} bytes")
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
        now = [r for r in references(self._holders, self._eid) if r.fault or r.path in paths]
        misleading = [ref.misleads(fault) for ref in now if (fault := ref.fault)]
        found = (self._look_again(ref, deep) for ref in now if not ref.fault)
        damaged = [damage for damage in found if damage]
        if damaged and self._is_elsewhere:
            damaged = [self._of_store(len(damaged))]
        return misleading + damaged

    def _look_again(self, ref: Reference, deep: bool) -> Damage | None:
        try:
            held = storage.look_up(ref.path, ref.store)
        except StorageError as error:  # that of a row may be none that is known here
            return ref.damage("a store that can be read", error.what, "unread")
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
            (place, holder, held)
            for place, held in self._held.items()
            if place not in pointed and held.written <= before and self._is_meant(held.path)
            for holder in self._holders
            if holder.store == place[0] and holder.files.fullmatch(held.path)
        ]
        if not loose or self._is_of_others:
            return []
        pointed = {ref.place for ref in references(self._holders)}
        return [
            self._orphan(holder, held, "object" if pointed else "store")
            for place, holder, held in loose
            if place not in pointed and storage.look_up(held.path, holder.store)
        ]

    def _is_meant(self, path: str) -> bool:
        return self._eid is None or f"/eid={self._eid}/" in path

    @staticmethod
    def _orphan(holder: Holder, held: storage.Held, kind: str) -> Damage:
        return Damage(
            ORPHANS,
            kind,
            holder.name,
            {},
            storage.place(held.path, holder.store),
            "a row that points to it",
            f"none; {held.n_bytes} bytes",
            path=held.path,
            store=holder.store,
            written=held.written,
        )


def _compare_bytes(ref: Reference, advance: storage.Advance) -> Damage | None:
    """Compare an object with what was written, and its footer with what its row says."""
    try:
        found = storage.hash_object(ref.path, ref.store, advance)
        if found != ref.stored["sha256"]:
            return ref.damage(f"sha256 {ref.stored['sha256']}", f"sha256 {found}")
        file = storage.reference(ref.stored).open()
        columns, n_rows = file.schema_arrow.names, file.metadata.num_rows
    except StorageError as error:
        # A store that fails for a moment is no reason to remove rows.
        if storage.look_up(ref.path, ref.store):
            return ref.damage("an object that can be read", error.what, "unread")
        return ref.damage(f"{ref.stored['n_bytes']} bytes", "nothing")
    said = (ref.stored["n_rows"], ref.stored["columns"])
    if (n_rows, columns) != said:
        return ref.damage(f"{n_rows} rows of {columns}", f"{said[0]} rows of {said[1]} in the row")
    return None
