"""SQL over many tables in one statement.

DataJoint queries one table at a time. Here each table has a SELECT, which is written from
DataJoint's own expressions; the server gets them all as one UNION ALL.
"""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import datajoint as dj

Table = type[dj.Table]
Item = TypeVar("Item")


def fetch(selections: Iterable[str], eid: str | None = None) -> list[tuple[Any, ...]]:
    """Fetch the rows of several SELECTs in one statement, which sees one snapshot.

    Parameters
    ----------
    selections : iterable of str
        SELECT statements with the same columns. If there are none, no statement is sent.
    eid : str, optional
        Value of each `%s` in them.
    """
    statement = " UNION ALL ".join(selections)
    if not statement:
        return []
    values = (eid,) * statement.count("%s") if eid is not None else ()
    return list(dj.conn().query(statement, values).fetchall())


def fetch_each(
    items: Iterable[Item], select: Callable[[Item], str], eid: str | None = None
) -> list[tuple[Any, ...]]:
    """Fetch the rows of several items, e.g. tables, in one statement, as `fetch` does.

    Parameters
    ----------
    items : iterable
    select : callable
        Returns the selection of an item, without the word SELECT.
    eid : str, optional
        Value of each `%s` in the selections.

    Returns
    -------
    list of tuple
        The item and the columns of each row, in the order of the items.
    """
    each = list(items)
    found = fetch((f"SELECT {i}, {select(item)}" for i, item in enumerate(each)), eid)
    found.sort(key=lambda row: row[0])
    return [(each[i], *columns) for i, *columns in found]


def fetch_keyed(selections: Iterable[tuple[Table, Sequence[str], str]]) -> list[tuple]:
    """Fetch rows of several tables, each with its key, in one statement.

    Parameters
    ----------
    selections : iterable of tuple
        Table, names of its key, and the rest of the selection: further columns and FROM.

    Returns
    -------
    list of tuple
        The table, the key as dict, and the columns; in the order of the selections and their keys.
        Dates and times in a key are text.
    """
    found = fetch_each(selections, lambda one: f"{pack_key(one[0], one[1])}, {one[2]}")
    rows = [(one[0], unpack_key(packed, *one[:2]), *columns) for one, packed, *columns in found]
    groups = itertools.groupby(rows, key=lambda row: row[0])
    return [row for _, group in groups for row in sorted(group, key=lambda r: [*r[1].values()])]


def count(expressions: Iterable[dj.expression.QueryExpression]) -> list[int]:
    """Count the rows of several tables, each with its restriction, in one statement."""
    found = fetch_each(
        expressions, lambda one: f"COUNT(*) FROM {one.full_table_name}{one.where_clause()}"
    )
    return [int(n) for _, n in found]


# --- keys ---------------------------------------------------------------------------------------


def pack_key(table: Table, names: Sequence[str], alias: str | None = None) -> str:
    """Write columns as one column of JSON text, a type that all tables share."""
    heading = table().heading
    prefix = f"{alias}." if alias else ""
    pairs = []
    for name in names:
        column = f"{prefix}{quote(name)}"
        # MySQL stores a UUID as bytes.
        pairs += [f"'{name}'", f"hex({column})" if is_mysql() and heading[name].uuid else column]
    return text(f"{'JSON_OBJECT' if is_mysql() else 'json_build_object'}({', '.join(pairs)})")


def unpack_key(packed: str | None, table: Table, names: Sequence[str]) -> dict[str, Any]:
    """Read a key that `pack_key` wrote; NULL becomes an empty key."""
    values = json.loads(packed) if packed else {}
    heading = table().heading
    return {
        name: uuid.UUID(values[name]) if heading[name].uuid else values[name]
        for name in names
        if name in values
    }


# --- fragments of statements ----------------------------------------------------------------------


def columns(names: Iterable[str], alias: str | None = None) -> str:
    """Write names of columns as the server quotes them."""
    prefix = f"{alias}." if alias else ""
    return ", ".join(f"{prefix}{quote(name)}" for name in names)


def same(names: Iterable[str], left: str, right: str) -> str:
    """Write the condition that columns of two aliases are equal."""
    return " AND ".join(f"{left}.{quote(n)} = {right}.{quote(n)}" for n in names) or "TRUE"


def differ(left: str, right: str) -> str:
    """Write the condition that two values differ; two NULLs do not."""
    return f"NOT ({left} <=> {right})" if is_mysql() else f"({left}) IS DISTINCT FROM ({right})"


def seconds_since(column: str) -> str:
    """Write the number of seconds since a time, by the clock of the server."""
    if is_mysql():
        return f"(TIMESTAMPDIFF(MICROSECOND, {column}, CURRENT_TIMESTAMP(3)) / 1000000)"
    return f"EXTRACT(EPOCH FROM LOCALTIMESTAMP(3) - {column})"


def computable_keys(
    table: Table, of: Mapping[str, Any] | None = None
) -> dj.expression.QueryExpression:
    """Return the keys that a table can be populated with, with or without a row."""
    # DataJoint keeps this instance with the jobs, so that headings are not fetched again.
    return table().jobs.target.key_source.proj() & dict(of or {})


def done(table: Table) -> str:
    """Write the condition that a job, whose alias is `job`, has its row already."""
    target = table().jobs.target
    names = target.jobs.primary_key
    return (
        f"EXISTS (SELECT 1 FROM {target.full_table_name} AS made "
        f"WHERE {same(names, 'made', 'job')})"
    )


def undone(table: Table, computable: dj.expression.QueryExpression, *states: str) -> str:
    """Write the condition that a key has no row, and no job in some states.

    `key_source - table` would be NOT IN: PostgreSQL compares every key with every row if the keys
    do not fit into its working memory.

    Parameters
    ----------
    table : table
        Imported or computed.
    computable : expression
        Its `computable_keys`, whose alias in the statement is `computable`.
    states : str
        States of jobs. None given: the key has no job at all.
    """
    target = table().jobs.target
    keys = [name for name in computable.primary_key if name in target.heading]
    jobs = [name for name in target.jobs.primary_key if name in keys]
    listed = ", ".join(f"'{state}'" for state in states)
    where = f"status IN ({listed}) AND " if states else ""
    return (
        f"NOT EXISTS (SELECT 1 FROM {target.full_table_name} AS made "
        f"WHERE {same(keys, 'made', 'computable')}) AND "
        f"NOT EXISTS (SELECT 1 FROM {target.jobs.full_table_name} AS job "
        f"WHERE {where}{same(jobs, 'job', 'computable')})"
    )


def is_mysql() -> bool:
    """Whether the server is MySQL."""
    return dj.conn().adapter.backend == "mysql"


def quote(name: str) -> str:
    """Quote the name of a column."""
    return dj.conn().adapter.quote_identifier(name)


def text(expression: str) -> str:
    """Write the conversion of an expression to text."""
    return f"CAST({expression} AS {'CHAR' if is_mysql() else 'TEXT'})"
