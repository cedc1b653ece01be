"""What there is to do, asked of the server in one statement for all tables.

A worker with nothing in hand asks it every few seconds: it has to be cheap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import datajoint as dj

from populate import sql


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


def count_runnable(tables: Sequence[type[dj.Table]]) -> list[Work]:
    """Count what there is to do for some tables, in their order, in one statement."""
    counts = sql.fetch(
        f"SELECT {i}, ({_due(table)}), ({_new(table)})" for i, table in enumerate(tables)
    )
    return [Work(tables[i], int(n_pending), int(n_new)) for i, n_pending, n_new in sorted(counts)]


def _due(table: type[dj.Table]) -> str:
    """Write the selection of how many jobs of a table wait and are due."""
    return (
        f"SELECT count(*) FROM {table().jobs.full_table_name} WHERE status = 'pending' "
        "AND scheduled_time <= CURRENT_TIMESTAMP(3)"
    )


def _new(table: type[dj.Table]) -> str:
    """Write the selection of how many keys have no job yet."""
    keys = sql.able(table).make_sql()
    return f"SELECT count(*) FROM ({keys}) AS able WHERE {sql.undone(table)}"
