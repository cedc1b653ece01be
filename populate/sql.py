"""SQL that asks the server of all tables at once.

DataJoint asks of one table at a time, in several queries. Here a selection is written for each
table from DataJoint's own expressions, and all of them go to the server as one statement.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datajoint as dj

Table = type[dj.Table]


def fetch(selections: Iterable[str], eid: str | None = None) -> list[tuple[Any, ...]]:
    """Fetch the rows of several selections in one statement: all are of one moment.

    Parameters
    ----------
    selections : iterable of str
        SELECT statements with the same columns. No statement is sent where there is none.
    eid : str, optional
        Value of each `%s` in them.
    """
    statement = " UNION ALL ".join(selections)
    if not statement:
        return []
    values = (eid,) * statement.count("%s") if eid is not None else ()
    return list(dj.conn().query(statement, values).fetchall())


def fetch_keyed(selections: Iterable[tuple[Table, Sequence[str], str]]) -> list[tuple]:
    """Fetch rows of several tables, each with its key, in one statement.

    Parameters
    ----------
    selections : iterable of tuple
        For a table: the names of its key, and what to select beside them and from where. What is
        selected has the same columns for every table.

    Returns
    -------
    list of tuple
        The table, the key as dict, and the columns; in the order of the selections and their keys.
        Days and times of a key are text.
    """
    each = list(selections)
    found = fetch(
        f"SELECT {i}, {_packed(table, names)}, {rest}"
        for i, (table, names, rest) in enumerate(each)
    )
    rows = [(i, _unpacked(packed, *each[i][:2]), *columns) for i, packed, *columns in found]
    rows.sort(key=lambda row: (row[0], *row[1].values()))
    return [(each[i][0], *values) for i, *values in rows]


def _packed(table: Table, names: Sequence[str]) -> str:
    """Write a key as one column, which keys of all tables share: JSON."""
    adapter = dj.conn().adapter
    mysql = adapter.backend == "mysql"
    pairs = []
    for name in names:
        column = adapter.quote_identifier(name)
        # MySQL keeps a UUID as bytes.
        pairs += [f"'{name}'", f"hex({column})" if mysql and table().heading[name].uuid else column]
    return f"{'json_object' if mysql else 'json_build_object'}({', '.join(pairs)})"


def _unpacked(packed: Any, table: Table, names: Sequence[str]) -> dict[str, Any]:
    values = json.loads(packed) if isinstance(packed, str) else packed
    heading = table().heading
    return {n: uuid.UUID(values[n]) if heading[n].uuid else values[n] for n in names}


# --- parts of statements ------------------------------------------------------------------------


def columns(names: Iterable[str], alias: str | None = None) -> str:
    """Write names of columns as the server quotes them."""
    quote = dj.conn().adapter.quote_identifier
    prefix = f"{alias}." if alias else ""
    return ", ".join(f"{prefix}{quote(name)}" for name in names)


def same(names: Iterable[str], one: str, other: str) -> str:
    """Write the condition that columns of two aliases are the same."""
    quote = dj.conn().adapter.quote_identifier
    return " AND ".join(f"{one}.{quote(n)} = {other}.{quote(n)}" for n in names) or "TRUE"


def seconds_since(column: str) -> str:
    """Write how many seconds ago a time was, by the clock of the server."""
    if dj.conn().adapter.backend == "mysql":
        return f"(TIMESTAMPDIFF(MICROSECOND, {column}, CURRENT_TIMESTAMP(3)) / 1000000)"
    return f"EXTRACT(EPOCH FROM LOCALTIMESTAMP(3) - {column})"


def able(table: Table, of: Mapping[str, Any] | None = None) -> dj.expression.QueryExpression:
    """Return the keys of a table that can be made, whether they are or not."""
    # The instance that is kept with the jobs has read the columns of its parents already.
    return table().jobs.target.key_source.proj() & dict(of or {})


def done(table: Table) -> str:
    """Write the condition that the key of a job is made. The alias of the jobs is `job`."""
    target = table().jobs.target
    names = target.jobs.primary_key
    return (
        f"EXISTS (SELECT 1 FROM {target.full_table_name} AS made "
        f"WHERE {same(names, 'made', 'job')})"
    )


def undone(table: Table, *states: str) -> str:
    """Write the condition that a key is not made, and has no job, or none in one of some states.

    `key_source - table` is NOT IN, which PostgreSQL answers by comparing all with all where the
    keys do not fit its working memory.

    Parameters
    ----------
    table : table
        Imported or computed. The alias of its keys, as of `able`, is `able`.
    states : str
        Of jobs.
    """
    target = table().jobs.target
    keys = [name for name in target.key_source.primary_key if name in target.heading]
    jobs = [name for name in target.jobs.primary_key if name in keys]
    listed = ", ".join(f"'{state}'" for state in states)
    where = f"status IN ({listed}) AND " if states else ""
    return (
        f"NOT EXISTS (SELECT 1 FROM {target.full_table_name} AS made "
        f"WHERE {same(keys, 'made', 'able')}) AND "
        f"NOT EXISTS (SELECT 1 FROM {target.jobs.full_table_name} AS job "
        f"WHERE {where}{same(jobs, 'job', 'able')})"
    )


def is_mysql() -> bool:
    """Whether the server is MySQL."""
    return dj.conn().adapter.backend == "mysql"


def quote(name: str) -> str:
    """Quote the name of a column."""
    return dj.conn().adapter.quote_identifier(name)


def text(expression: str) -> str:
    """Write an expression as text."""
    return f"CAST({expression} AS {'CHAR' if is_mysql() else 'TEXT'})"


def as_json(names: Iterable[str], alias: str) -> str:
    """Write columns of a table as one JSON object."""
    pairs = ", ".join(f"'{name}', {alias}.{quote(name)}" for name in names)
    return text(f"{'JSON_OBJECT' if is_mysql() else 'json_build_object'}({pairs})")


def read_key(written: str | None, order: Sequence[str]) -> dict[str, Any]:
    """Read a key that `as_json` has written; the servers have orders of their own."""
    held = json.loads(written) if written else {}
    return {name: held[name] for name in order if name in held}


def differ(left: str, right: str) -> str:
    """Write that two values are not equal, null being equal to null alone."""
    return f"NOT ({left} <=> {right})" if is_mysql() else f"({left}) IS DISTINCT FROM ({right})"
