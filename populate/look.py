"""What there is to do, asked of the server in one statement for all tables.

A worker with nothing in hand asks it every few seconds: it has to be cheap. DataJoint's own way
is several queries a table, and `key_source - target` is NOT IN, which PostgreSQL answers by
comparing all with all where the keys do not fit its working memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import datajoint as dj


class Work(NamedTuple):
    """What there is to do for a table.

    Attributes
    ----------
    table : type of dj.Table
    n_pending : int
        Jobs that wait and are due.
    n_new : int
        Keys that can be made, are not made, and have no job yet.
    """

    table: type[dj.Table]
    n_pending: int
    n_new: int


def look(tables: Sequence[type[dj.Table]]) -> list[Work]:
    """Count what there is to do for some tables, in their order, in one statement."""
    if not tables:
        return []
    counts = fetch(
        tables,
        [
            f"SELECT {i}, ({due(table)}), ({count(undone(table, of_jobs(table)))})"
            for i, table in enumerate(tables)
        ],
    )
    return [Work(tables[i], int(n_pending), int(n_new)) for i, n_pending, n_new in sorted(counts)]


def fetch(tables: Sequence[type[dj.Table]], selections: Iterable[str]) -> Sequence[tuple]:
    """Ask the server of some tables for several selections in one statement."""
    return tables[0]().connection.query(" UNION ALL ".join(selections)).fetchall()


def count(keys: str) -> str:
    """Write the selection of how many keys a selection has."""
    return f"SELECT count(*) FROM ({keys}) AS counted"


def due(table: type[dj.Table]) -> str:
    """Write the selection of how many jobs of a table wait and are due."""
    jobs = table().jobs
    return (
        f"SELECT count(*) FROM {jobs.full_table_name} WHERE status = 'pending' "
        "AND scheduled_time <= CURRENT_TIMESTAMP(3)"
    )


def of_jobs(table: type[dj.Table], *states: str) -> str:
    """Write the selection of the keys that have a job, or one in one of some states."""
    jobs = table().jobs
    listed = ", ".join(f"'{state}'" for state in states)
    where = f" WHERE status IN ({listed})" if states else ""
    return f"SELECT {columns(jobs, jobs.primary_key)} FROM {jobs.full_table_name}{where}"


def undone(table: type[dj.Table], but: str, of: Mapping[str, Any] | None = None) -> str:
    """Write the selection of the keys that can be made and are not, without those of `but`."""
    # The instance that is kept with the jobs has read its parents' columns already.
    target = table().jobs.target
    source = target.key_source.proj() & dict(of or {})
    keys = [name for name in source.primary_key if name in target.heading]
    jobs = [name for name in target.jobs.primary_key if name in keys]
    return without(source, {target.full_table_name: keys, f"({but})": jobs})


def without(source: dj.expression.QueryExpression, others: Mapping[str, Sequence[str]]) -> str:
    """Write the selection of the keys of an expression that others have not.

    Parameters
    ----------
    source : dj.expression.QueryExpression
        Keys alone.
    others : mapping of str to sequence of str
        Names of tables, or selections in brackets, and the columns by which they are compared.
    """
    quote = source.connection.adapter.quote_identifier
    wanted = columns(source, source.primary_key, "able")
    absent = []
    for other, names in others.items():
        same = " AND ".join(f"other.{quote(n)} = able.{quote(n)}" for n in names) or "TRUE"
        absent.append(f"NOT EXISTS (SELECT 1 FROM {other} AS other WHERE {same})")
    return f"SELECT {wanted} FROM ({source.make_sql()}) AS able WHERE {' AND '.join(absent)}"


def columns(
    expression: dj.expression.QueryExpression, names: Iterable[str], alias: str | None = None
) -> str:
    """Write names of columns as the server of an expression quotes them."""
    quote = expression.connection.adapter.quote_identifier
    prefix = f"{alias}." if alias else ""
    return ", ".join(f"{prefix}{quote(name)}" for name in names)
