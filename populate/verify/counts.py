"""Rules across tables, which the server checks in one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj

from populate import catalog, sql
from populate.verify.damage import Damage, Key
from schemas.errors import BwmError

Table = type[dj.Table]


@dataclass(frozen=True)
class Count:
    """An aggregate of the rows of a table that belong to one row of another table.

    Attributes
    ----------
    table : table
        Its rows are aggregated.
    of : str
        SQL of the aggregate; the alias of the table is `p`.
    where : str
        SQL condition on the rows.
    """

    table: Table
    of: str = "COUNT(*)"
    where: str = ""

    def joined(self, name: str, master: Table, of_session: bool) -> str:
        """Write the join of the counts to a table `m`, by the primary key that both share."""
        shared = [c for c in self.table.primary_key if c in master().heading.names]
        listed = sql.columns(shared, "p")
        tests = [self.where] if self.where else []
        tests += ["p.eid = %s"] if of_session and "eid" in shared else []
        where = f" WHERE {' AND '.join(f'({test})' for test in tests)}" if tests else ""
        counted = (
            f"SELECT {listed}, {self.of} AS n FROM {self.table.full_table_name} p{where} "
            f"GROUP BY {listed}"
        )
        return f" LEFT JOIN ({counted}) {name} ON {sql.same(shared, name, 'm')}"


@dataclass(frozen=True)
class Total:
    """Two numbers of a row that must be equal.

    Attributes
    ----------
    check : str
        Name of the check that the rule is part of.
    table : table
        Its row is damaged if the numbers differ.
    what : str
        What is counted.
    expected, found : str
        SQL of both numbers; the alias of the table is `m`, and `{name}` is one of `counts`.
    counts : mapping of str to Count
        Counts of other tables.
    unless : tuple of tables
        A damaged row of these tables with the same key explains the difference.
    """

    check: str
    table: Table
    what: str
    expected: str
    found: str
    counts: Mapping[str, Count] = field(default_factory=dict)
    unless: tuple[Table, ...] = ()

    def select(self, of_session: bool) -> str:
        """Write the selection of the rows whose numbers differ."""
        named = {name: f"COALESCE({name}.n, 0)" for name in self.counts}
        expected, found = self.expected.format(**named), self.found.format(**named)
        joins = "".join(c.joined(n, self.table, of_session) for n, c in self.counts.items())
        rows = f"{self.table.full_table_name} m{joins}"
        return _select(self.table, "NULL", expected, found, rows, of_session)


@dataclass(frozen=True)
class Rows:
    """Two values in each row of a part table that must be equal.

    Attributes
    ----------
    check, table, what, unless
        See `Total`.
    part : table
        Part table whose rows are compared.
    rows : callable
        Returns SQL of the rows: the key of the part table, `expected` and `found`.
    files : callable, optional
        Reads the values from the files of a row of `table`, as text by row number of the part
        table. If they equal the values found, the files of the source contradict each other: the
        rows are not removed, because they would be computed as they are.
    """

    check: str
    table: Table
    what: str
    part: Table
    rows: Callable[[], str]
    unless: tuple[Table, ...] = ()
    files: Callable[[Key], Mapping[Any, str | None]] | None = None

    def select(self, of_session: bool) -> str:
        """Write the selection of the rows whose values differ."""
        own = [c for c in self.part.primary_key if c not in self.table.primary_key]
        row, rows = sql.pack_key(self.part, own, "m"), f"({self.rows()}) m"
        return _select(self.table, row, "m.expected", "m.found", rows, of_session)


def _select(table: Table, row: str, expected: str, found: str, rows: str, of_session: bool) -> str:
    session = " AND m.eid = %s" if of_session else ""
    return (
        f"{sql.pack_key(table, table.primary_key, 'm')}, {row}, "
        f"{sql.text(expected)}, {sql.text(found)} FROM {rows} "
        f"WHERE {sql.differ(expected, found)}{session}"
    )


Rule = Total | Rows


def find(rules: Sequence[Rule], eid: str | None, known: Sequence[Damage]) -> list[Damage]:
    """Find the rows that break a rule.

    Parameters
    ----------
    rules : sequence of Total or Rows
    eid : str, optional
        Only of one session.
    known : sequence of Damage
        Damage that other checks found; what it explains is left out.
    """
    rules = [rule for rule in rules if eid is None or "eid" in rule.table.primary_key]
    wrong: dict[tuple, tuple[Rule, Key, list[tuple[Key, Any, Any]]]] = {}
    each = sql.fetch_each(rules, lambda rule: rule.select(eid is not None), eid)
    for rule, packed, packed_row, expected, found in each:
        key = sql.unpack_key(packed, rule.table, rule.table.primary_key)
        part = rule.part if isinstance(rule, Rows) else rule.table
        row = sql.unpack_key(packed_row, part, part.primary_key)
        *_, rows = wrong.setdefault((id(rule), *key.values()), (rule, key, []))
        rows.append((row, expected, found))
    damage = [(rule, _damage(rule, key, rows)) for rule, key, rows in wrong.values()]
    causes = Causes([*known, *(one for _, one in damage)])
    return [one for rule, one in damage if not causes.explain(rule.unless, one.key)]


def _damage(rule: Rule, key: Key, rows: list[tuple[Key, Any, Any]]) -> Damage:
    rows = sorted(rows, key=lambda row: list(map(str, row[0].values())))
    _, expected, found = rows[0]
    of_rows = tuple(row for row, _, _ in rows if row)
    what = f"{rule.what}, {_name_rows(of_rows)}" if of_rows else rule.what
    kind, found = "rows", str(found)
    if isinstance(rule, Rows) and rule.files:
        kind, more = _compare_files(rule.files, key, rows)
        found += more
    return Damage(
        rule.check, kind, catalog.name_of(rule.table), key, what, str(expected), found, of_rows
    )


def _compare_files(
    read: Callable[[Key], Mapping[Any, str | None]], key: Key, rows: list[tuple[Key, Any, Any]]
) -> tuple[str, str]:
    """Return the kind of the damage, which depends on what the files hold, and a note."""
    try:
        in_files = read(key)
    except BwmError as error:
        return "unread", f"; its files cannot be read to compare: {error.what}"
    agree = all(in_files.get(*row.values()) == found for row, _, found in rows)
    return "source" if agree else "rows", ""


def _name_rows(rows: tuple[Key, ...]) -> str:
    """Name the first row, and the number of further rows."""
    first = ", ".join(f"{name} {value}" for name, value in rows[0].items())
    return first if len(rows) == 1 else f"{first} and {len(rows) - 1} more"


class Causes:
    """Damaged rows, by table and key, so that a difference finds its cause at once."""

    def __init__(self, damage: Iterable[Damage]) -> None:
        self._keys: dict[str, list[Key]] = defaultdict(list)
        for one in damage:
            if one.kind == "rows":
                self._keys[one.table].append(one.key)
        self._values: dict[tuple[str, ...], set[tuple]] = {}

    def explain(self, tables: Sequence[Table], key: Key) -> bool:
        """Whether a damaged row of these tables has the values of a key, where it has its names."""
        return any(self._is_damaged(catalog.name_of(table), key) for table in tables)

    def _is_damaged(self, table: str, key: Key) -> bool:
        if table not in self._keys:
            return False
        shared = [name for name in self._keys[table][0] if name in key]
        of = (table, *shared)
        if of not in self._values:
            self._values[of] = {_values(one, shared) for one in self._keys[table]}
        return _values(key, shared) in self._values[of]


def _values(key: Key, names: Sequence[str]) -> tuple:
    return tuple(key[name] for name in names)


def count_rows(rules: Sequence[Rule], eid: str | None) -> dict[Table, int]:
    """Count the rows that rules check, by table."""
    tables = list(dict.fromkeys(rule.table for rule in rules))
    tables = [table for table in tables if eid is None or "eid" in table.primary_key]
    key = catalog.session_key(eid)
    return dict(zip(tables, sql.count(table & key for table in tables), strict=True))
