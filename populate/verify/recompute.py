"""Compute stored rows again in memory and compare every column; no data are written.

The rows are taken round by round: a round computes each row once, in random order, so that several
commands can share it and an interrupted command loses nothing. `quality.Recomputed` holds the rows
that the round has covered.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import datajoint as dj
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datajoint import blob
from datajoint.autopopulate import AutoPopulate

from populate import catalog, sql, stale
from populate.verify.damage import Damage, Key
from populate.verify.files import missing_files
from schemas import quality, rows, storage
from schemas.database.declared import with_parts
from schemas.errors import BwmError

RECOMPUTED = "recomputed"
PROMISE = "each row equals, column by column, the row that is computed again"
PROMISE_DEEP = "each imported row equals, column by column, what its files hold"

TOLERANCE = 1e-9
"""Relative difference up to which two numbers are equal: other processors round otherwise."""

SHARED_EVERY = 5.0
"""Time (s) after which a command asks again which rows the others have covered."""

CHUNK = 2_000
"""Rows that one statement removes from the record of a round."""

Table = type[dj.Table]
Progress = Callable[[int, int], None]
"""Called with the number of rows that were computed, and the number of rows to compute."""


@dataclass
class Coverage:
    """What a round of recomputing has covered.

    Attributes
    ----------
    n_rows : int
        Number of rows of all imported and computed tables, without their part tables.
    n_covered : int
        Number of rows that the round has computed until now.
    since : datetime or None
        When the first of them was computed (UTC).
    n_stale : int
        Number of rows that were left out because they are stale.
    n_without_files : int
        Number of rows that were left out because their files are damaged or not on this machine.
    n_computed : int
        Number of rows that this command computed.
    damage : list of Damage
        The rows that differ.
    """

    n_rows: int = 0
    n_covered: int = 0
    since: datetime | None = None
    n_stale: int = 0
    n_without_files: int = 0
    n_computed: int = 0
    damage: list[Damage] = field(default_factory=list)

    def __str__(self) -> str:
        """Say in a line what is covered."""
        since = f" since {self.since:%Y-%m-%d %H:%M} UTC" if self.since else ""
        left_out = [
            f"{n:,} left out, {why}"
            for n, why in (
                (self.n_stale, "stale"),
                (self.n_without_files, "their files are damaged or not on this machine"),
            )
            if n
        ]
        return "; ".join(
            [f"recomputed {self.n_covered:,} of {self.n_rows:,} rows{since}", *left_out]
        )


def recompute(
    share: float = 1.0,
    eid: str | None = None,
    tables: Sequence[Table] | None = None,
    progress: Progress | None = None,
    known: Sequence[Damage] = (),
) -> Coverage:
    """Compute rows again and compare them with the stored ones.

    Parameters
    ----------
    share : float
        Part of all rows to compute (0 to 1), of those that the round has not covered yet.
    eid : str, optional
        Only rows of one session.
    tables : sequence of tables, optional
        Default: every imported and computed table.
    progress : callable, optional
        See `Progress`.
    known : sequence of Damage
        Rows that were read from files that are known to be damaged are left out.
    """
    every = _Rows.fetch(catalog.of_session(tables, eid), eid, known)
    found = Coverage(n_rows=len(every.keys), n_stale=every.n_stale, damage=every.strays)
    found.n_without_files = every.n_without_files
    due = list(every.due())
    random.shuffle(due)
    wanted = min(len(due), math.ceil(share * len(every.keys)))
    asked = time.monotonic()
    for identity in due:
        if found.n_computed >= wanted:
            break
        if time.monotonic() - asked > SHARED_EVERY:
            every.covered, asked = _fetch_covered(), time.monotonic()
        if identity in every.covered:
            continue
        damage = list(differences(*every.keys[identity]))
        found.damage += damage
        found.n_computed += 1
        if not damage:
            _cover(identity)
        if progress:
            progress(found.n_computed, wanted)
    covered = _fetch_covered()
    times = [covered[identity] for identity in every.keys if identity in covered]
    found.n_covered, found.since = len(times), min(times, default=None)
    return found


# --- which rows ---------------------------------------------------------------------------------

Identity = tuple[str, str]
"""Name of a table, and hash of a primary key."""


@dataclass
class _Rows:
    """The rows that can be computed again, and those that the round has covered."""

    keys: dict[Identity, tuple[Table, Key]]
    covered: dict[Identity, datetime]
    strays: list[Damage] = field(default_factory=list)
    n_stale: int = 0
    n_without_files: int = 0

    @classmethod
    def fetch(cls, tables: Sequence[Table], eid: str | None, known: Sequence[Damage]) -> _Rows:
        of_session = catalog.session_key(eid)
        keys = _fetch_keys((table, table & of_session) for table in tables)
        made = cls({_identity(*one): one for one in keys}, _fetch_covered())
        gone = {(one.table, _hash(one.key)) for one in stale.find(tables, eid)}
        made.n_stale = made._leave_out(gone)
        without = {_identity(*one) for one in missing_files(tables, eid, known)}
        made.n_without_files = made._leave_out(without)
        found = strays(tables, of_session)
        made.strays = [one for one in found if made._leave_out({(one.table, _hash(one.key))})]
        return made

    def _leave_out(self, identities: set[Identity]) -> int:
        return sum(self.keys.pop(identity, None) is not None for identity in identities)

    def due(self) -> Iterator[Identity]:
        """Return the rows that the round lacks; if it lacks none, begin a new round."""
        if self.keys and self.keys.keys() <= self.covered.keys():
            names = ("recomputed_table", "key_md5")
            own = [dict(zip(names, identity, strict=True)) for identity in self.keys]
            for start in range(
                0, len(own), CHUNK
            ):  # of other tables and sessions, the round goes on
                (quality.Recomputed & own[start : start + CHUNK]).delete_quick()
            self.covered = {}
        return (identity for identity in self.keys if identity not in self.covered)


def _identity(table: Table, key: Key) -> Identity:
    return catalog.name_of(table), _hash(key)


def _hash(key: Key) -> str:
    text = json.dumps({name: str(value) for name, value in key.items()}, sort_keys=True)
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _fetch_covered() -> dict[Identity, datetime]:
    covered = rows.frame(quality.Recomputed)
    identities = zip(covered.recomputed_table, covered.key_md5, strict=True)
    return dict(zip(identities, covered.recomputed_at.dt.to_pydatetime(), strict=True))


def _cover(identity: Identity) -> None:
    row = dict(zip(("recomputed_table", "key_md5"), identity, strict=True))
    now = datetime.now(timezone.utc).replace(microsecond=0, tzinfo=None)
    rows.insert1(quality.Recomputed(), {**row, "recomputed_at": now}, skip_duplicates=True)


# --- one row ------------------------------------------------------------------------------------


def strays(tables: Sequence[Table], restriction: Any) -> list[Damage]:
    """Find the rows whose key leads to nothing that they could be computed from."""
    found = _fetch_keys(
        (table, (table() & restriction).proj() - table().key_source) for table in tables
    )
    what = ("the row", "none: no row above has this key", "a row")
    return [Damage(RECOMPUTED, "rows", catalog.name_of(table), key, *what) for table, key in found]


def _fetch_keys(
    rows_of: Iterable[tuple[Table, dj.expression.QueryExpression]],
) -> list[tuple[Table, Key]]:
    """Fetch the keys of rows of several tables in one statement."""
    selections = (
        (table, table.primary_key, f"1 FROM ({some.proj().make_sql()}) AS chosen")
        for table, some in rows_of
    )
    return [(table, key) for table, key, _ in sql.fetch_keyed(selections)]


def differences(table: Table, key: Key) -> Iterator[Damage]:
    """Compute a row and its part rows again, and yield what differs from the stored ones."""
    try:
        computed = compute(table, key)
    except BwmError as error:
        if table & key:
            name, what = catalog.name_of(table), f"an error: {error}"
            yield Damage(
                RECOMPUTED, "unread", name, key, "the row", "a row that can be computed", what
            )
    else:
        yield from compare(table, key, computed)


def compare(
    table: Table, key: Key, computed: Mapping[Table, dict[str, list[Any]]]
) -> Iterator[Damage]:
    """Compare what `compute` returned with the stored rows, and yield what differs."""
    stored = {one: _fetch(one, key) for one in computed}
    if not stored[table].rows:
        return  # it was removed meanwhile
    name = catalog.name_of(table)
    for one, columns in computed.items():
        what = "" if one is table else f"{one.__name__}, "
        for column, expected, found, of in _compare(one, columns, stored[one]):
            yield Damage(RECOMPUTED, "rows", name, key, f"{what}{column}", expected, found, rows=of)


def compute(table: Table, key: Key) -> dict[Table, dict[str, list[Any]]]:
    """Compute the rows of a key for a table and its part tables, as columns; insert nothing."""
    target = table()
    with _captured(with_parts(table)) as captured:
        if table.make is AutoPopulate.make:
            fetched = target.make_fetch(key)
            target.make_insert(key, *target.make_compute(key, *fetched))
        else:
            target.make(key)
    return {one: rows.as_columns(one(), made) for one, made in captured.items()}


@contextmanager
def _captured(tables: Sequence[Table]) -> Iterator[dict[Table, list[Mapping[str, Any]]]]:
    """Collect the rows that would be inserted into tables during the block."""
    captured: dict[Table, list[Mapping[str, Any]]] = {table: [] for table in tables}

    def insert(self: dj.Table, rows: Any, **_: Any) -> None:
        captured[type(self)] += list(rows)

    for table in tables:
        table.insert = insert
    try:
        yield captured
    finally:
        for table in tables:
            del table.insert


@dataclass
class _Stored:
    """Stored rows: names of their columns, and values by primary key."""

    names: list[str]
    rows: dict[tuple, tuple]


def _fetch(table: Table, key: Key) -> _Stored:
    query = table & key
    names = list(table().heading.names)
    fetched = dj.conn().query(query.make_sql(names)).fetchall()
    n_key = [names.index(name) for name in table.primary_key]
    return _Stored(names, {tuple(_plain(row[i]) for i in n_key): tuple(row) for row in fetched})


def _compare(
    table: Table, columns: dict[str, list[Any]], stored: _Stored
) -> Iterator[tuple[str, str, str, tuple[Key, ...]]]:
    """Yield each column that differs: name, computed and stored value, keys of the wrong rows."""
    primary = table.primary_key
    keys = list(zip(*(map(_plain, columns.get(name, ())) for name in primary), strict=True))
    computed = {key: i for i, key in enumerate(keys)}
    for gone, expected, found in (
        (computed.keys() - stored.rows.keys(), "a row", "none"),
        (stored.rows.keys() - computed.keys(), "no row", "one"),
    ):
        if gone:
            which = tuple(dict(zip(primary, one, strict=True)) for one in sorted(gone, key=repr))
            yield f"row {which[0]}", expected, found, which
    both = [key for key in computed if key in stored.rows]
    attributes = table().heading.attributes
    for k, name in enumerate(stored.names):
        if name in primary:
            continue
        equal = _equality(attributes[name])
        made = columns.get(name)
        wrong = [
            key
            for key in both
            if not equal(made[computed[key]] if made else None, stored.rows[key][k])
        ]
        if wrong:
            which = tuple(dict(zip(primary, one, strict=True)) for one in wrong)
            expected = _shown(made[computed[wrong[0]]] if made else None)
            shown = f"{name} of {len(wrong):,} rows" if len(wrong) > 1 else name
            yield shown, expected, _shown(stored.rows[wrong[0]][k]), which


def _equality(attribute: Any) -> Callable[[Any, Any], bool]:
    """Return how a computed value of an attribute is compared with the stored one."""
    if not attribute.codec:
        return _equal
    return partial(_equal_object, attribute.store) if attribute.store else _equal_array


def _shown(value: Any) -> str:
    if isinstance(value, storage.Packed):
        return f"{value.n_rows} rows of {', '.join(value.columns)}, sha256 {value.sha256}"
    return f"{_plain(value)!r:.200}"


def _equal_object(store: str, computed: Any, stored: Any) -> bool:
    """Whether a row refers to the object that holds what was computed."""
    held = json.loads(stored) if isinstance(stored, str) else stored
    if computed is None or held is None:
        return computed is held
    if storage.fault(held) or held["store"] != store:
        return False
    return _refers_to(held, computed)


def _refers_to(stored: Mapping[str, Any], packed: storage.Packed) -> bool:
    said = tuple(stored["columns"]), stored["n_rows"]
    named = stored["path"].endswith(f"_{stored['sha256'][:12]}.parquet")
    if not named or said != (packed.columns, packed.n_rows):
        return False
    if stored["sha256"] == packed.sha256:
        return bool(stored["n_bytes"] == len(packed.buffer))
    # Another version of Arrow writes the same values as other bytes.
    if storage.hash_object(stored["path"], stored["store"]) != stored["sha256"]:
        return False
    computed = pq.read_table(pa.BufferReader(packed.buffer)).to_pandas()
    return storage.reference(stored).to_pandas().equals(computed)


def _equal_array(computed: np.ndarray, stored: Any) -> bool:
    """Whether a `<blob>` holds the array that was computed."""
    try:
        held = blob.unpack(bytes(stored))
    except Exception:  # bytes that are no blob can end in any error
        return False
    return np.array_equal(computed, held, equal_nan=True)


def _equal(computed: Any, stored: Any) -> bool:
    a, b = _plain(computed), _plain(stored)
    if isinstance(a, (dict, list)) or isinstance(b, (dict, list)):
        return _same_json(a, json.loads(b) if isinstance(b, str) else b)
    if isinstance(a, float) or isinstance(b, float):
        return _close(a, b)
    return a == b


def _same_json(a: Any, b: Any) -> bool:
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same_json(a[name], b[name]) for name in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_json, a, b))
    return _close(a, b) if isinstance(a, float) or isinstance(b, float) else a == b


def _close(a: Any, b: Any) -> bool:
    if not isinstance(a, (int, float)) or not isinstance(b, (int, float)):
        return False
    return math.isclose(a, b, rel_tol=TOLERANCE)


def _plain(value: Any) -> Any:
    """Turn a value of either driver, or of a computation, into one that can be compared."""
    value = rows.clean(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return str(UUID(bytes=value)) if len(value) == 16 else value.hex()
    return value
