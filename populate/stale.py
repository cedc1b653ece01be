"""Rows whose source files or sites changed since the import, and their recomputation.

The part table `Source` of an imported table holds, for each row, the files that were listed and
the hash of those that were read. A row is stale if an import today would read other bytes, or
would locate the sites of a probe otherwise. The database holds no mark: staleness is computed
from the registered datasets and trajectories.
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
from schemas import probe
from schemas.errors import BwmError

REASONS = ("replaced", "revised", "added", "withdrawn", "relocated")
"""A row is stale because a file has other bytes, another revision is chosen, a file was added to
the list, a file is no longer listed, or the alignment of the probe changed."""


@dataclass(frozen=True)
class Stale:
    """A row whose source files or sites changed.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    key : dict
        Primary key of the row.
    reason : str
        One of `REASONS`.
    paths : tuple of str
        Files that changed, by their path below the session.
    """

    table: str
    key: dict[str, Any]
    reason: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        """Say what changed."""
        return f"{self.reason}: {', '.join(self.paths) or 'the alignment of the probe changed'}"


def find(tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None) -> list[Stale]:
    """Find the stale rows of imported tables, in the order of the catalog.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only those of one session.
    """
    key = catalog.session_key(eid)
    files = sql.fetch_keyed(
        (table, table.primary_key, f"reason, dataset_path FROM ({_differences(table, key)}) AS d")
        for table in catalog.of_session(tables, eid)
        if hasattr(table, "listed")
    )
    return [
        Stale(catalog.name_of(table), key, *_reason([(why, path) for _, _, why, path in group]))
        for (table, key), group in itertools.groupby(files, key=lambda row: row[:2])
    ]


def _differences(table: type[dj.Table], session: Mapping[str, str]) -> str:
    """Write the selection of changes: key, reason, dataset_path (empty for changed sites).

    A laboratory's own table need not derive from `ImportedFromFiles`.
    """
    changes = _changed_files(table, session)
    if getattr(table, "sites_column", None):
        moved = probe.relocated(table) & session
        key = sql.columns(table.primary_key)
        changes += f" UNION ALL SELECT {key}, '', 'relocated' FROM ({moved.make_sql()}) AS moved"
    return changes


def _changed_files(table: type[dj.Table], session: Mapping[str, str]) -> str:
    """Write the selection of changed files.

    They were listed either at the import or now, but not both; or they have another hash now.
    """
    key = sql.columns(table.primary_key)
    was = table.Source & session
    return (
        f"SELECT {key}, dataset_path, CASE WHEN count(*) = 2 THEN 'replaced' "
        "WHEN max(was) = 1 THEN 'withdrawn' ELSE 'added' END AS reason FROM ("
        f"SELECT {key}, dataset_path, source_md5 AS md5, 1 AS was "
        f"FROM {was.full_table_name}{was.where_clause()} UNION ALL "
        f"SELECT {key}, dataset_path, md5, 0 FROM ({_chosen(table, session)}) AS chosen) AS files "
        f"GROUP BY {key}, dataset_path HAVING count(*) = 1 OR min(md5) <> max(md5)"
    )


def _chosen(table: type[dj.Table], session: Mapping[str, str]) -> str:
    """Write the selection of the files that an import would choose today.

    As `sources.base.select_revision`, it takes the first revision of a file that is flagged as
    default, or else the last revision.
    """
    listed = table().listed & (table & session).proj()
    # Revisions are compared as in Python, whatever the collation of the database is.
    exact = ' COLLATE "C"' if not sql.is_mysql() else ""
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


def _reason(files: Sequence[tuple[str, str]]) -> tuple[str, tuple[str, ...]]:
    """Return why a row is stale, and the files that changed."""
    reasons = {reason for reason, _ in files}
    paths = tuple(sorted(path for _, path in files if path))
    if {"added", "withdrawn"} <= reasons:  # a new revision replaces the file
        return "revised", tuple(sorted(path for reason, path in files if reason != "withdrawn"))
    return min(reasons, key=REASONS.index), paths


# --- recomputing --------------------------------------------------------------------------------


def remake(
    tables: Sequence[type[dj.Table]] | None = None,
    progress: worker.Progress | None = None,
    housekeeping: worker.Housekeeping | None = None,
) -> list[worker.TableResult]:
    """Recompute stale rows and everything that depends on them.

    A row is removed only after a trial computation without an insert: if its files are withdrawn
    or damaged, or cannot be downloaded, the row is kept. If the process is stopped, `worker.run`
    computes the removed rows.

    Parameters
    ----------
    tables : sequence of tables, optional
        Imported tables whose stale rows are recomputed; default all.
    progress, housekeeping : callable, optional
        See `worker.Progress`, `worker.Housekeeping`.

    Returns
    -------
    list of TableResult
        One for each table with stale rows or their dependants, in the order of the catalog.
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
    dependants = {table: _dependants(table, stale) for table in every}
    for table, keys in stale.items():
        for gone in remove_rows(table, keys):
            if not gone.is_gone:
                outcomes[table].kept.append((gone.key or {}, gone.why))
    for table, keys in dependants.items():
        if keys:
            made = worker.fill(table, progress, keys, housekeeping)
            outcomes[table].n_done += made.n_done
            outcomes[table].failed += made.failed
    return [done for done in outcomes.values() if done.n_done or done.failed or done.kept]


def _problem(table: type[dj.Table], found: Stale) -> str | None:
    """Compute a row without inserting it; return why that fails, or None."""
    target = table()
    if not target.key_source & found.key:
        return f"{', '.join(found.paths)}: withdrawn, and no other file replaces it."
    try:
        target.make_compute(found.key, *target.make_fetch(found.key))
    except BwmError as error:
        return f"{type(error).__name__}: {error}"
    return None


def _dependants(
    table: type[dj.Table], stale: dict[type[dj.Table], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Return the keys of the rows of a table that are stale or depend on stale rows."""
    above = set(table().ancestors())
    found: dict[tuple, dict[str, Any]] = {}
    for parent, keys in stale.items():
        if parent.full_table_name in above:
            going = (table.proj() & keys).to_dicts()
            found.update({tuple(key.values()): key for key in going})
    return list(found.values())
