"""Rows that came from files which were replaced since, and how they are made again.

Every imported row knows which files were on offer and which of them were read, with their hash
(part `Source`). It is stale when the same choice would read other bytes today. Nothing is marked
in the database, so nothing can be marked wrongly: staleness follows from what is registered.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datajoint as dj

from populate import catalog, sql
from populate.removal import remove_rows
from populate.workers import worker
from schemas.errors import BwmError

REASONS = ("replaced", "revised", "added", "withdrawn")
"""Why a row is stale: a file has other bytes, another revision is chosen, a file is new on offer,
a file is listed no more."""


@dataclass(frozen=True)
class Stale:
    """A row that is out of date.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    key : dict
        Primary key of the row.
    reason : str
        One of `REASONS`.
    paths : tuple of str
        Files that tell it, by their path below the session.
    """

    table: str
    key: dict[str, Any]
    reason: str
    paths: tuple[str, ...]


def find(tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None) -> list[Stale]:
    """Find the stale rows of imported tables (default all), in the order of the plan.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only those of one session.
    """
    of = {"eid": eid} if eid is not None else {}
    files = sql.fetch_keyed(
        (table, table.primary_key, f"reason, dataset_path FROM ({_differences(table, of)}) AS d")
        for table in catalog.of_session(tables, eid)
        if hasattr(table, "listed")
    )
    return [
        Stale(catalog.name_of(table), key, *_told([(reason, path) for _, _, reason, path in group]))
        for (table, key), group in itertools.groupby(files, key=lambda row: row[:2])
    ]


def _differences(table: type[dj.Table], of: Mapping[str, str]) -> str:
    """Write the selection of files that were on offer when rows were made or are now, not both.

    And of files that were read and have another hash now: key, reason, dataset_path.
    """
    key = sql.columns(table.primary_key)
    was = table.Source & of
    return (
        f"SELECT {key}, dataset_path, CASE WHEN count(*) = 2 THEN 'replaced' "
        "WHEN max(was) = 1 THEN 'withdrawn' ELSE 'added' END AS reason FROM ("
        f"SELECT {key}, dataset_path, source_md5 AS md5, 1 AS was "
        f"FROM {was.full_table_name}{was.where_clause()} UNION ALL "
        f"SELECT {key}, dataset_path, md5, 0 FROM ({_chosen(table, of)}) AS chosen) AS files "
        f"GROUP BY {key}, dataset_path HAVING count(*) = 1 OR min(md5) <> max(md5)"
    )


def _chosen(table: type[dj.Table], of: Mapping[str, str]) -> str:
    """Write the selection of the files now on offer for rows that are made.

    Of each file one revision is chosen, as `sources.base.select_revision` does for one row: of
    flagged ones the first, of others the last.
    """
    listed = table().listed & (table & of).proj()
    # Revisions are compared as Python does it, whatever the language of the database.
    exact = ' COLLATE "C"' if listed.connection.adapter.backend == "postgresql" else ""
    order, where = f"revision{exact} DESC", ""
    if "sorter_revision" in listed.heading:
        where = f" WHERE revision{exact} <= sorter_revision"
    else:
        flagged = f"CASE WHEN is_default THEN revision{exact} END"
        order = f"CASE WHEN is_default THEN 0 ELSE 1 END, {flagged}, {order}"
    key = sql.columns(table.primary_key)
    return (
        f"SELECT {key}, dataset_path, md5 FROM (SELECT {key}, dataset_path, md5, row_number() "
        f"OVER (PARTITION BY {key}, collection, dataset_name ORDER BY {order}) AS place "
        f"FROM ({listed.make_sql()}) AS listed{where}) AS ranked WHERE place = 1"
    )


def _told(files: Sequence[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
    """Explain why a row is stale: a file that came as another of its name went is a revision."""
    reasons = {reason for reason, _ in files}
    if {"added", "withdrawn"} <= reasons:
        return "revised", tuple(sorted(path for reason, path in files if reason != "withdrawn"))
    return min(reasons, key=REASONS.index), tuple(sorted(path for _, path in files))


# --- making them again --------------------------------------------------------------------------


def remake(
    tables: Sequence[type[dj.Table]] | None = None,
    progress: worker.Progress | None = None,
    housekeeping: worker.Housekeeping | None = None,
) -> list[worker.TableResult]:
    """Make stale rows again, and the rows that depend on them, and nothing else.

    A row goes only after what replaces it was computed once: a row whose files cannot be had or
    used, or are withdrawn, stays as it is. Stopped half-way, what is gone is pending, and
    `worker.run` makes it.

    Parameters
    ----------
    tables : sequence of tables, optional
        Imported tables whose stale rows are made again; default all.
    progress : callable, optional
        See `worker.Progress`.
    housekeeping : callable, optional
        See `worker.Housekeeping`.

    Returns
    -------
    list of TableResult
        One a table that had something to make, in the order of the plan.
    """
    every = catalog.tables()
    stale: dict[type[dj.Table], list[dict[str, Any]]] = {}
    outcomes = {table: worker.TableResult(catalog.name_of(table)) for table in every}
    for table in tables or every:
        for found in find([table]):
            if problem := _problem(table, found):
                outcomes[table].kept.append((found.key, problem))
            else:
                stale.setdefault(table, []).append(found.key)
    doomed = {table: _doomed(table, stale) for table in every}
    for table, keys in stale.items():
        for gone in remove_rows(table, keys):
            if not gone.is_gone:
                outcomes[table].kept.append((gone.key or {}, gone.why))
    for table, keys in doomed.items():
        if keys:
            made = worker.fill(table, progress, keys, housekeeping)
            outcomes[table].made += made.made
            outcomes[table].failed += made.failed
    return [done for done in outcomes.values() if done.made or done.failed or done.kept]


def _problem(table: type[dj.Table], found: Stale) -> str | None:
    """Explain why a row cannot be made again, having tried everything but to write it."""
    target = table()
    if not target.key_source & found.key:
        return f"{', '.join(found.paths)}: withdrawn, and nothing is there to replace it."
    try:
        target.make_compute(found.key, *target.make_fetch(found.key))
    except BwmError as error:
        return f"{type(error).__name__}: {error}"
    return None


def _doomed(
    table: type[dj.Table], stale: dict[type[dj.Table], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the keys of a table that go with the stale rows."""
    above = set(table().ancestors())
    found: dict[tuple, dict[str, Any]] = {}
    for parent, keys in stale.items():
        if parent.full_table_name in above:
            going = (table.proj() & keys).to_dicts()
            found.update({tuple(key.values()): key for key in going})
    return list(found.values())
