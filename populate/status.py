"""What is done, running, failed and to be done, as plain rows, from DataJoint's own job tables."""

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

WINDOW, LONG_WINDOW = 600.0, 3600.0
"""Seconds over which the rate of a table is taken; the second where few keys are made in the
first."""

FEW = 5
"""Keys in a window that are too few to tell a rate, while more are being made."""

AHEAD = 60.0
"""Seconds by which the clock of a worker may be ahead of the server's."""


@dataclass(frozen=True)
class TableStatus:
    """State of a table, in keys.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    total : int
        Keys that can be made now: done, running, failed or pending.
    done, running, failed, pending : int
        Keys that are made, being made, recorded as failed, and yet to be made.
    absent : int
        Sessions or insertions for which no source lists the data: nothing is wrong with them.
    stale : int
        Keys made from files that were replaced since.
    rate : float or None
        Keys made an hour, of late; None where none was made.
    time_left : float or None
        Seconds until what is pending is made at that rate; None where that is unknown.
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
    """A key that is being made.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    key : dict
        Primary key of the job.
    host, pid
        The worker that holds it.
    since : datetime
        When the worker took it, by the clock of this machine.
    seconds : float
        For how long it has held it.
    stalled : float
        Seconds since the worker was last heard from.
    is_stalled : bool
        Whether that is longer than `bwm.stale_after`: another worker then takes the job over.
    note : str
        What is known of the job from before, e.g. that a worker died of it.
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
    """A key that failed, and why."""

    table: str
    key: dict[str, Any]
    error: str


@dataclass(frozen=True)
class Kind:
    """Failures that differ in nothing but keys, paths and numbers.

    Attributes
    ----------
    kind : str
        Class and message of the error, with what differs masked.
    count : int
        Number of failures.
    tables : dict
        Number of failures by table.
    n_sessions : int
        Number of sessions that have one.
    example : Failure
        The first of them.
    retry : str
        Command that has all of them tried again, with what else failed in these tables.
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
    """Return the state of tables (default all) in the order of the plan.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only of one session, and of the tables that have `eid` in their key.
    replaced : sequence of Stale, optional
        What `stale.find` returned for the same tables and session, if it was asked already.
    """
    tables = catalog.of_session(tables, eid)
    replaced = stale.find(tables, eid) if replaced is None else replaced
    n_stale = Counter(found.table for found in replaced)
    counts = sql.fetch(_counts(i, table, _of(eid)) for i, table in enumerate(tables))
    return [_state(catalog.name_of(tables[i]), n_stale, *values) for i, *values in sorted(counts)]


def running(
    tables: Sequence[type[dj.Table]] | None = None,
    eid: str | None = None,
    stale_after: float | None = None,
) -> list[Running]:
    """Return what is being made now in tables (default all), or of one session.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only of one session.
    stale_after : float, optional
        Seconds of silence after which a worker is taken for dead; default the setting.
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
    """Return every recorded failure of tables (default all), or of one session.

    Not of keys that were made since, as by `populate` in a notebook, which knows nothing of jobs.
    """
    found = _fetch_jobs(tables, eid, "error", "error_message")
    return [Failure(catalog.name_of(table), key, error) for table, key, error in found]


def errors(
    tables: Sequence[type[dj.Table]] | None = None,
    eid: str | None = None,
    found: Sequence[Failure] | None = None,
) -> list[Kind]:
    """Return the recorded failures of tables (default all) by kind, the most frequent first.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only of one session.
    found : sequence of Failure, optional
        What `failures` returned, if it was asked already.
    """
    found = failures(tables, eid) if found is None else found
    groups: dict[str, list[Failure]] = {}
    for failure in found:
        groups.setdefault(kind_of(failure.error, failure.key), []).append(failure)
    kinds = [_kind(kind, group) for kind, group in groups.items()]
    return sorted(kinds, key=lambda one: (-one.count, one.kind))


def _kind(kind: str, group: Sequence[Failure]) -> Kind:
    tables = Counter(failure.table for failure in group)
    sessions = {failure.key.get("eid") for failure in group}
    words = ["bwm retry", *(f"--only {table}" for table in tables)]
    if len(sessions) == 1 and sessions != {None}:
        words.append(f"--session {group[0].key['eid']}")
    return Kind(
        kind,
        count=len(group),
        tables=dict(tables),
        n_sessions=len(sessions - {None}),
        example=group[0],
        retry=" ".join(words),
    )


# --- asking the server --------------------------------------------------------------------------


def _of(eid: str | None) -> dict[str, str]:
    return {"eid": eid} if eid is not None else {}


def _fetch_jobs(
    tables: Sequence[type[dj.Table]] | None, eid: str | None, state: str, columns: str
) -> list[tuple]:
    """Fetch the jobs of tables that are in a state: table, key, columns."""
    selections = []
    for table in catalog.of_session(tables, eid):
        jobs = table().jobs & {"status": state} & _of(eid)
        rest = f"{columns} FROM {jobs.full_table_name} AS job{jobs.where_clause()}"
        if state == "error":
            rest += f" AND NOT {sql.done(table)}"
        selections.append((table, jobs.primary_key, rest))
    return sql.fetch_keyed(selections)


def _counts(i: int, table: type[dj.Table], of: dict[str, str]) -> str:
    """Write the selection of what `_state` takes."""
    made, jobs, able = table & of, table().jobs & of, sql.able(table, of)
    is_running, has_failed = "status = 'reserved'", f"status = 'error' AND NOT {sql.done(table)}"
    is_pending = sql.undone(table, "reserved", "error", "ignore")
    wanted, offered = _wanted(table, of)
    return (
        f"SELECT {i}, made.*, jobs.*, able.pending, {wanted} - able.offered FROM "
        f"(SELECT count(*) AS done, {_made_of_late(table)} "
        f"FROM {made.full_table_name}{made.where_clause()}) AS made CROSS JOIN "
        f"(SELECT count({_if(is_running, '1')}) AS running, "
        f"count({_if(has_failed, '1')}) AS failed "
        f"FROM {jobs.full_table_name} AS job{jobs.where_clause()}) AS jobs CROSS JOIN "
        f"(SELECT count({_if(is_pending, '1')}) AS pending, {offered} AS offered "
        f"FROM ({able.make_sql()}) AS able) AS able"
    )


def _wanted(table: type[dj.Table], of: dict[str, str]) -> tuple[str, str]:
    """Write how many keys a complete release has, and how many of them a source lists."""
    candidates = getattr(table, "candidates", None)
    if candidates is None:
        return "0", "0"
    every = candidates.proj() & of
    names = sql.columns(every.primary_key)
    if every.connection.adapter.backend == "postgresql":
        names = f"({names})"  # as one value: it counts no columns side by side
    n_wanted = f"(SELECT count(*) FROM ({every.make_sql()}) AS every)"
    return n_wanted, f"count(DISTINCT {names})"


def _made_of_late(table: type[dj.Table]) -> str:
    """Write how many keys were made in each window, and the seconds since the first was begun.

    Workers note when they began a key by their own clock, and the server has another: what seems
    to be made in another hour, as by a worker whose clock has another time zone, is not counted.
    """
    heading = table().heading
    names = ("n_short", "span_short", "n_long", "span_long")
    if not heading.names or "_job_start_time" not in heading._attributes:
        return ", ".join(f"0 AS {name}" for name in names)
    began = sql.seconds_since("_job_start_time")
    each = []
    for window in (WINDOW, LONG_WINDOW):
        within = f"{began} - _job_duration BETWEEN {-AHEAD} AND {window}"
        each += [
            f"count(CASE WHEN {within} THEN 1 END)",
            f"max(CASE WHEN {within} THEN {began} END)",
        ]
    return ", ".join(f"{value} AS {name}" for value, name in zip(each, names, strict=True))


def _if(condition: str, value: str) -> str:
    return f"CASE WHEN {condition} THEN {value} END"


def _state(name: str, n_stale: Counter[str], *values: Any) -> TableStatus:
    """Make a row of what was fetched."""
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
    """Return keys an hour: over the window, or since work began where that is shorter."""
    return 3600 * n / min(max(span, 1.0), window) if n else None
