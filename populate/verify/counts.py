"""Counts across tables, compared by the server: one statement, which sees one moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj

from populate import catalog, sql
from populate.verify.damage import Damage, Key
from schemas.errors import BwmError

Table = type[dj.Table]


@dataclass(frozen=True)
class Count:
    """Rows of a table counted, or summed up, for each row of another that they are about.

    Attributes
    ----------
    table : table
        Whose rows are counted.
    of : str
        SQL of the aggregate, `p` being the table.
    where : str
        SQL that the rows must meet.
    """

    table: Table
    of: str = "COUNT(*)"
    where: str = ""

    def joined(self, name: str, master: Table, of_session: bool) -> str:
        """Write the join of the counts to a table `m`, by the columns that both have."""
        about = [c for c in self.table.primary_key if c in master().heading.names]
        listed = sql.columns(about, "p")
        tests = [self.where] if self.where else []
        tests += ["p.eid = %s"] if of_session and "eid" in about else []
        where = f" WHERE {' AND '.join(f'({test})' for test in tests)}" if tests else ""
        counted = (
            f"SELECT {listed}, {self.of} AS n FROM {self.table.full_table_name} p{where} "
            f"GROUP BY {listed}"
        )
        same = " AND ".join(f"{name}.{sql.quote(c)} = m.{sql.quote(c)}" for c in about)
        return f" LEFT JOIN ({counted}) {name} ON {same}"


@dataclass(frozen=True)
class Total:
    """Two numbers about a row of a table that must be equal.

    Attributes
    ----------
    check : str
        Name of the check that it is part of.
    table : table
        Whose row is damaged where they differ.
    what : str
        What is counted.
    expected, found : str
        SQL of both, `m` being the table and `{name}` one of `counts`.
    counts : mapping of str to Count
        Counts of other tables.
    unless : tuple of tables
        Where a row of these is damaged that the row is about, that is why.
    """

    check: str
    table: Table
    what: str
    expected: str
    found: str
    counts: Mapping[str, Count] = field(default_factory=dict)
    unless: tuple[Table, ...] = ()

    def select(self, number: int, of_session: bool) -> str:
        """Write the statement that finds the rows for which they differ."""
        named = {name: f"COALESCE({name}.n, 0)" for name in self.counts}
        expected, found = self.expected.format(**named), self.found.format(**named)
        joins = "".join(c.joined(n, self.table, of_session) for n, c in self.counts.items())
        session = " AND m.eid = %s" if of_session else ""
        return (
            f"SELECT {number}, {sql.as_json(self.table.primary_key, 'm')}, NULL, "
            f"{sql.text(expected)}, {sql.text(found)} "
            f"FROM {self.table.full_table_name} m{joins} "
            f"WHERE {sql.differ(expected, found)}{session}"
        )


@dataclass(frozen=True)
class Rows:
    """Two values of rows of a part that must be equal.

    Attributes
    ----------
    check, table, what, unless
        As those of `Total`.
    part : table
        Whose rows are told.
    rows : callable
        Returns SQL of the rows: the key of the part, and `expected` and `found`.
    files : callable, optional
        Reads what the files of a row of `table` say is to be found, as text by the number of the
        row of the part. Where it is what was found, files of the source disagree with each other:
        the rows would be made again as they are, and be damaged again, so they are not removed.
    """

    check: str
    table: Table
    what: str
    part: Table
    rows: Callable[[], str]
    unless: tuple[Table, ...] = ()
    files: Callable[[Key], Mapping[Any, str | None]] | None = None

    def select(self, number: int, of_session: bool) -> str:
        """Write the statement that finds the rows for which they differ."""
        own = [c for c in self.part.primary_key if c not in self.table.primary_key]
        session = " AND m.eid = %s" if of_session else ""
        return (
            f"SELECT {number}, {sql.as_json(self.table.primary_key, 'm')}, "
            f"{sql.as_json(own, 'm')}, {sql.text('m.expected')}, {sql.text('m.found')} "
            f"FROM ({self.rows()}) m WHERE {sql.differ('m.expected', 'm.found')}{session}"
        )


Rule = Total | Rows


def find(rules: Sequence[Rule], eid: str | None, known: Sequence[Damage]) -> list[Damage]:
    """Find the rows for which a rule does not hold.

    Parameters
    ----------
    rules : sequence of Total or Rows
        What must hold.
    eid : str, optional
        Only of one session.
    known : sequence of Damage
        Found by other checks: what follows from it is not told.
    """
    rules = [rule for rule in rules if eid is None or "eid" in rule.table.primary_key]
    found: dict[tuple, list[tuple[Key, Any, Any]]] = defaultdict(list)
    keys: dict[tuple, Key] = {}
    selects = [rule.select(i, eid is not None) for i, rule in enumerate(rules)]
    for i, written, row, expected, got in sql.fetch(selects, eid):
        key = sql.read_key(written, rules[i].table.primary_key)
        place = (i, *key.values())
        keys[place] = key
        found[place].append((sql.read_key(row, _part_key(rules[i])), expected, got))
    damage = {place: _damage(rules[place[0]], keys[place], found[place]) for place in found}
    causes = [*known, *damage.values()]
    return [
        damage[place]
        for place in sorted(damage, key=lambda place: place[0])
        if not any(_explains(one, rules[place[0]].unless, keys[place]) for one in causes)
    ]


def _part_key(rule: Rule) -> list[str]:
    return rule.part.primary_key if isinstance(rule, Rows) else []


def _damage(rule: Rule, key: Key, rows: list[tuple[Key, Any, Any]]) -> Damage:
    rows = sorted(rows, key=lambda row: list(map(str, row[0].values())))
    _, expected, found = rows[0]
    of_rows = tuple(row for row, _, _ in rows if row)
    what = f"{rule.what}, {_told(of_rows)}" if of_rows else rule.what
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
    """Tell what kind of damage it is if rows are as their files say, or not, or none can tell."""
    try:
        said = read(key)
    except BwmError as error:
        return "unread", f"; whether its files say so cannot be read: {error.what}"
    as_read = all(said.get(*row.values()) == found for row, _, found in rows)
    return "source" if as_read else "rows", ""


def _told(rows: tuple[Key, ...]) -> str:
    """Name the first of some rows, and how many there are."""
    first = ", ".join(f"{name} {value}" for name, value in rows[0].items())
    return first if len(rows) == 1 else f"{first} and {len(rows) - 1} more"


def _explains(damage: Damage, tables: tuple[Table, ...], key: Key) -> bool:
    """Whether damage is of a row of one of these tables that a key is about."""
    return (
        damage.kind == "rows"
        and any(damage.table == catalog.name_of(table) for table in tables)
        and all(damage.key.get(name, value) == value for name, value in key.items())
    )


def count_rows(rules: Sequence[Rule], eid: str | None) -> dict[Table, int]:
    """Count the rows that rules are about, by table."""
    tables = list(dict.fromkeys(rule.table for rule in rules))
    tables = [table for table in tables if eid is None or "eid" in table.primary_key]
    session = " WHERE eid = %s" if eid is not None else ""
    selects = [
        f"SELECT {i}, COUNT(*) FROM {table.full_table_name}{session}"
        for i, table in enumerate(tables)
    ]
    return {tables[i]: int(n) for i, n in sql.fetch(selects, eid)}
