"""Progress and failures as plain rows, from DataJoint's own job tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from populate import plan, stale


@dataclass(frozen=True)
class TableStatus:
    """State of a table, in keys.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    done, running, failed, pending : int
        Keys that are made, being made, recorded as failed, and yet to be made.
    absent : int
        Sessions or insertions for which no source lists the data: nothing is wrong with them.
    stale : int
        Keys made from files that were replaced since.
    """

    table: str
    done: int
    running: int
    failed: int
    pending: int
    absent: int
    stale: int


@dataclass(frozen=True)
class Failure:
    """A key that failed, and why."""

    table: str
    key: dict[str, Any]
    error: str


def status(
    tables: Sequence[type[dj.Table]] | None = None,
    eid: str | None = None,
    replaced: Sequence[stale.Stale] | None = None,
) -> list[TableStatus]:
    """Return the state of tables (default all) in the order of the plan.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only of one session.
    replaced : sequence of Stale, optional
        What `stale.find` returned for the same tables and session, if it was asked already.
    """
    replaced = stale.find(tables, eid) if replaced is None else replaced
    counts = Counter(found.table for found in replaced)
    of = {"eid": eid} if eid else {}
    return [_of_table(table, of, counts) for table in tables or plan.tables()]


def failures(
    tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None
) -> list[Failure]:
    """Return every recorded failure of tables (default all), or of one session."""
    found = []
    for table in tables or plan.tables():
        names = table.primary_key
        errors = table().jobs.errors & ({"eid": eid} if eid else {})
        found += [
            Failure(plan.name_of(table), {n: row[n] for n in names}, row["error_message"])
            for row in errors.to_dicts(order_by=names)
        ]
    return found


def absent_keys(table: type[dj.Table]) -> dj.expression.QueryExpression | None:
    """Return the keys for which no source lists the data; None where a table has no such keys."""
    candidates = getattr(table, "candidates", None)
    return None if candidates is None else candidates.proj() - table().key_source.proj()


def _of_table(table: type[dj.Table], of: dict[str, str], n_stale: Counter[str]) -> TableStatus:
    jobs = table().jobs
    absent = absent_keys(table)
    running, failed = len(jobs.reserved & of), len(jobs.errors & of)
    undone = len((table().key_source.proj() & of) - table.proj())
    return TableStatus(
        table=plan.name_of(table),
        done=len(table & of),
        running=running,
        failed=failed,
        pending=max(0, undone - running - failed),
        absent=0 if absent is None else len(absent & of),
        stale=n_stale[plan.name_of(table)],
    )
