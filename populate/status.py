"""State of tables and jobs, from DataJoint's job tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import datajoint as dj

from populate import catalog, sql, stale
from populate.error_groups import kind_of
from schemas import connection
from schemas.database import upstream

WINDOW, LONG_WINDOW = 600.0, 3600.0
"""Seconds over which the rate of a table is averaged; the long window if few jobs were done in
the short one."""

FEW = 5
"""The short window gives a good rate only with this many jobs done, or if no job is running."""

AHEAD = 60.0
"""Seconds by which the clock of a worker may be ahead of the server's."""


@dataclass(frozen=True)
class TableStatus:
    """Numbers of jobs of a table.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    total : int
        Sum of the next four.
    done, running, failed, pending : int
        Jobs that are done, reserved by a worker, failed, and still to do.
    absent : int
        Sessions or insertions that have no such file: nothing is wrong with them.
    stale : int
        Rows whose source files changed.
    rate : float or None
        Recent jobs done per hour; None if there were none.
    time_left : float or None
        Seconds until all pending jobs are done at that rate; None if unknown.
    """

    table: str
    total: int
    done: int
    running: int
    failed: int
    pending: int
    absent: int
    stale: int
    rate: float | None
    time_left: float | None


@dataclass(frozen=True)
class Running:
    """A job that a worker has reserved.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    key : dict
        Primary key of the job.
    host, pid
        Host and process of the worker.
    since : datetime
        When the worker reserved it, by the clock of this machine.
    seconds : float
        Seconds since then.
    stalled : float
        Seconds since the last heartbeat of the worker.
    is_stalled : bool
        Whether that exceeds `bwm.stale_after`: another worker will reclaim the job.
    note : str
        What happened to the job before, e.g. that a worker died.
    """

    table: str
    key: dict[str, Any]
    host: str
    pid: int
    since: datetime
    seconds: float
    stalled: float
    is_stalled: bool
    note: str


@dataclass(frozen=True)
class Failure:
    """A job that failed, and its error."""

    table: str
    key: dict[str, Any]
    error: str


@dataclass(frozen=True)
class ErrorGroup:
    """Failures whose errors differ only in keys, paths and numbers.

    Attributes
    ----------
    kind : str
        Class and message of the error, with keys, paths and numbers masked.
    count : int
        Number of failures.
    tables : dict
        Number of failures by table.
    n_sessions : int
        Number of sessions with such a failure.
    example : Failure
        The first of them.
    retry : str
        Command that retries all failures in these tables.
    """

    kind: str
    count: int
    tables: dict[str, int]
    n_sessions: int
    example: Failure
    retry: str


def status(
    tables: Sequence[type[dj.Table]] | None = None,
    eid: str | None = None,
    replaced: Sequence[stale.Stale] | None = None,
) -> list[TableStatus]:
    """Return the state of tables, in the order of the catalog.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only of one session, and only tables that have `eid` in their primary key.
    replaced : sequence of Stale, optional
        What `stale.find` returned for the same tables and session; default: call it.
    """
    tables = catalog.of_session(tables, eid)
    replaced = stale.find(tables, eid) if replaced is None else replaced
    n_stale = Counter(found.table for found in replaced)
    key = catalog.session_key(eid)
    counts = sql.fetch_each(tables, lambda table: _counts(table, key))
    return [_state(catalog.name_of(table), n_stale, *values) for table, *values in counts]


def running(
    tables: Sequence[type[dj.Table]] | None = None,
    eid: str | None = None,
    stale_after: float | None = None,
) -> list[Running]:
    """Return the jobs that workers have reserved.

    Parameters
    ----------
    tables, eid : optional
        See `status`.
    stale_after : float, optional
        Seconds without a heartbeat after which a worker counts as dead; default the setting.
    """
    limit = connection.active().worker.stale_after if stale_after is None else stale_after
    held = sql.seconds_since("reserved_time")
    columns = f"host, pid, {held}, {held} - COALESCE(duration, 0), error_message"
    found, now = _fetch_jobs(tables, eid, "reserved", columns), datetime.now().astimezone()
    return [
        Running(
            catalog.name_of(table),
            key,
            host=host,
            pid=int(pid),
            since=now - timedelta(seconds=float(seconds)),
            seconds=float(seconds),
            stalled=float(stalled),
            is_stalled=float(stalled) > limit,
            note=note,
        )
        for table, key, host, pid, seconds, stalled, note in found
    ]


def failures(
    tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None
) -> list[Failure]:
    """Return the failed jobs of some tables or of one session; default all.

    Jobs that have a row by now are left out: `populate` in a notebook inserts the row, but deletes
    no job.
    """
    found = _fetch_jobs(tables, eid, "error", "error_message")
    return [Failure(catalog.name_of(table), key, error) for table, key, error in found]


def errors(
    tables: Sequence[type[dj.Table]] | None = None,
    eid: str | None = None,
    found: Sequence[Failure] | None = None,
) -> list[ErrorGroup]:
    """Return the failed jobs by the kind of their error, the most frequent kind first.

    Parameters
    ----------
    tables, eid : optional
        See `status`.
    found : sequence of Failure, optional
        What `failures` returned for the same tables and session; default: call it.
    """
    found = failures(tables, eid) if found is None else found
    groups: dict[str, list[Failure]] = {}
    for failure in found:
        groups.setdefault(kind_of(failure.error, failure.key), []).append(failure)
    kinds = [_error_group(kind, group) for kind, group in groups.items()]
    return sorted(kinds, key=lambda one: (-one.count, one.kind))


def _error_group(kind: str, group: Sequence[Failure]) -> ErrorGroup:
    tables = Counter(failure.table for failure in group)
    sessions = {failure.key.get("eid") for failure in group}
    words = ["bwm retry", *(f"--only {table}" for table in tables)]
    if len(sessions) == 1 and sessions != {None}:
        words.append(f"--session {group[0].key['eid']}")
    return ErrorGroup(
        kind,
        count=len(group),
        tables=dict(tables),
        n_sessions=len(sessions - {None}),
        example=group[0],
        retry=" ".join(words),
    )


# --- queries ------------------------------------------------------------------------------------


def _fetch_jobs(
    tables: Sequence[type[dj.Table]] | None, eid: str | None, state: str, columns: str
) -> list[tuple]:
    """Fetch the jobs in a state: table, key, columns."""
    selections = []
    for table in catalog.of_session(tables, eid):
        jobs = table().jobs & {"status": state} & catalog.session_key(eid)
        rest = f"{columns} FROM {jobs.full_table_name} AS job{jobs.where_clause()}"
        if state == "error":
            rest += f" AND NOT {sql.done(table)}"
        selections.append((table, jobs.primary_key, rest))
    return sql.fetch_keyed(selections)


def _counts(table: type[dj.Table], session: dict[str, str]) -> str:
    """Write the selection of the numbers that `_state` takes."""
    made, jobs = table & session, table().jobs & session
    computable = sql.computable_keys(table, session)
    is_running, has_failed = "status = 'reserved'", f"status = 'error' AND NOT {sql.done(table)}"
    is_pending = sql.undone(table, computable, "reserved", "error", "ignore")
    wanted, offered = _wanted(table, session)
    return (
        f"made.*, jobs.*, computable.pending, {wanted} - computable.offered FROM "
        f"(SELECT count(*) AS done, {_recently_done(table)} "
        f"FROM {made.full_table_name}{made.where_clause()}) AS made CROSS JOIN "
        f"(SELECT {_count_if(is_running)} AS running, "
        f"{_count_if(has_failed)} AS failed "
        f"FROM {jobs.full_table_name} AS job{jobs.where_clause()}) AS jobs CROSS JOIN "
        f"(SELECT {_count_if(is_pending)} AS pending, {offered} AS offered "
        f"FROM ({computable.make_sql()}) AS computable) AS computable"
    )


def _wanted(table: type[dj.Table], session: dict[str, str]) -> tuple[str, str]:
    """Write the number of keys of a complete release, and of keys with files."""
    candidates = getattr(table, "candidates", None)
    if candidates is None:
        return "0", "0"
    every = candidates.proj() & session
    names = sql.columns(every.primary_key)
    if not sql.is_mysql():
        names = f"({names})"  # a row value: PostgreSQL counts distinct values, not columns
    n_wanted = f"(SELECT count(*) FROM ({every.make_sql()}) AS every)"
    return n_wanted, f"count(DISTINCT {names})"


def _recently_done(table: type[dj.Table]) -> str:
    """Write the numbers of jobs done in each window, and the seconds they span.

    Start times are by the clocks of the workers, which may differ from the server's, e.g. in
    their time zone. Jobs that seem to end in the future are not counted.
    """
    names = ("n_short", "span_short", "n_long", "span_long")
    if not upstream.has_job_metadata(table()):
        return ", ".join(f"0 AS {name}" for name in names)
    began = sql.seconds_since("_job_start_time")
    each = []
    for window in (WINDOW, LONG_WINDOW):
        within = f"{began} - _job_duration BETWEEN {-AHEAD} AND {window}"
        each += [_count_if(within), f"max(CASE WHEN {within} THEN {began} END)"]
    return ", ".join(f"{value} AS {name}" for value, name in zip(each, names, strict=True))


def _count_if(condition: str) -> str:
    return f"count(CASE WHEN {condition} THEN 1 END)"


def _state(name: str, n_stale: Counter[str], *values: Any) -> TableStatus:
    """Build the state of a table from the numbers of `_counts`."""
    done, n_short, span_short, n_long, span_long, n_running, failed, pending, absent = (
        float(value or 0) for value in values
    )
    rate = _rate(n_short, span_short, WINDOW)
    if n_short < FEW and n_running:
        rate = _rate(n_long, span_long, LONG_WINDOW)
    return TableStatus(
        table=name,
        total=int(done + n_running + failed + pending),
        done=int(done),
        running=int(n_running),
        failed=int(failed),
        pending=int(pending),
        absent=int(absent),
        stale=n_stale[name],
        rate=rate,
        time_left=3600 * pending / rate if rate else None,
    )


def _rate(n: float, span: float, window: float) -> float | None:
    """Return jobs per hour over the window, or over the span if it is shorter."""
    return 3600 * n / min(max(span, 1.0), window) if n else None
