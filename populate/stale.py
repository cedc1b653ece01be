"""Rows that came from files which were replaced since, and how they are made again.

Every imported row knows which files were on offer and which of them were read, with their hash
(part `Source`). It is stale when the same choice would read other bytes today. Nothing is marked
in the database, so nothing can be marked wrongly: staleness follows from what is registered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from populate import plan, worker
from schemas import rows
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
    of = {"eid": eid} if eid else {}
    return [
        found
        for table in tables or plan.tables()
        if hasattr(table, "listed")
        for found in _of_table(table, of)
    ]


def _of_table(table: type[dj.Table], of: dict[str, str]) -> list[Stale]:
    """Compare what was on offer when rows were made with what is on offer now."""
    key = list(table.primary_key)
    was = rows.frame(table.Source & of)
    if was.empty:
        return []
    now = _chosen(rows.frame(table().listed & (table & of).proj()), key)
    place = [*key, "dataset_path"]
    both = was.merge(now, on=place, how="outer", indicator="there")
    read, listed = both["source_md5"].notna(), both["md5"].notna()
    both["reason"] = np.select(
        [
            both["there"].eq("right_only"),
            both["there"].eq("left_only"),
            read & listed & both["source_md5"].ne(both["md5"]),
        ],
        ["added", "withdrawn", "replaced"],
        default="",
    )
    found = both[both["reason"] != ""]
    return [
        Stale(plan.name_of(table), dict(zip(key, values, strict=True)), *_told(files))
        for values, files in found.groupby(key, sort=True)
    ]


def _told(files: pd.DataFrame) -> tuple[str, tuple[str, ...]]:
    """Tell why a row is stale: a file that came as another of its name went is a revision."""
    reasons = set(files["reason"])
    if {"added", "withdrawn"} <= reasons:
        return "revised", tuple(files.loc[files["reason"].ne("withdrawn"), "dataset_path"])
    return min(reasons, key=REASONS.index), tuple(files["dataset_path"])


def _chosen(listed: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Choose one revision of each file, as `sources.base.select_revision` does for one row."""
    if "sorter_revision" in listed:
        listed = listed[listed["revision"] <= listed["sorter_revision"]]
        flagged = pd.Series(False, listed.index)
    else:
        flagged = listed["is_default"].fillna(False).astype(bool)
    # Of flagged revisions the first counts, of the others the last.
    rank = listed["revision"].rank(method="dense")
    order = pd.DataFrame({"flag": ~flagged, "rank": rank.where(flagged, -rank)})
    listed = listed.loc[order.sort_values(["flag", "rank"]).index]
    chosen = listed.drop_duplicates([*key, "collection", "dataset_name"])
    return chosen[[*key, "dataset_path", "md5"]]


# --- making them again --------------------------------------------------------------------------


def remake(
    tables: Sequence[type[dj.Table]] | None = None,
    progress: worker.Progress | None = None,
    keep: worker.Keep | None = None,
) -> list[worker.Outcome]:
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
    keep : callable, optional
        See `worker.Keep`.

    Returns
    -------
    list of Outcome
        One a table that had something to make, in the order of the plan.
    """
    every = plan.tables()
    stale: dict[type[dj.Table], list[dict[str, Any]]] = {}
    outcomes = {table: worker.Outcome(plan.name_of(table)) for table in every}
    for table in tables or every:
        for found in find([table]):
            if problem := _problem(table, found):
                outcomes[table].kept.append((found.key, problem))
            else:
                stale.setdefault(table, []).append(found.key)
    doomed = {table: _doomed(table, stale) for table in every}
    for table, keys in stale.items():
        (table & keys).delete(prompt=False)
    for table, keys in doomed.items():
        if keys:
            made = worker.fill(table, progress, keys, keep)
            outcomes[table].made += made.made
            outcomes[table].failed += made.failed
    return [done for done in outcomes.values() if done.made or done.failed or done.kept]


def _problem(table: type[dj.Table], found: Stale) -> str | None:
    """Tell why a row cannot be made again, having tried everything but to write it."""
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
