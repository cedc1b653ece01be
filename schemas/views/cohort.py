"""Units chosen by everything that is measured: of themselves, their session and their mouse."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import datajoint as dj
import pandas as pd

from schemas import activity, ephys, rows
from schemas import subject as subjects
from schemas.errors import QueryError
from schemas.views.ephys import units
from schemas.views.session import require, sessions

SEXES = ("F", "M", "U")

DIRECTIONS = {"up": "rate_in > rate_before", "down": "rate_in < rate_before"}
"""Restrictions to units that fire more, or less, in the window than before."""


def cohort(
    region: str | None = None,
    criterion: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
    *,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
    response_definition: str | None = None,
    max_p: float = 0.01,
    direction: str | None = None,
    sex: str | None = None,
    **of_sessions: Any,
) -> dj.expression.QueryExpression:
    """Return units by region, metrics, response, behaviour and mouse, all combined.

    Parameters
    ----------
    region, criterion, release_name, sorting : str, optional
        As in `units`.
    bounds : mapping, optional
        Least and greatest value, or None, of any numeric column of `ephys.SpikeSorting.Cluster`,
        e.g. `{"firing_rate": (1, None), "presence_ratio": (0.9, None)}`, in the unit of the column;
        both are inclusive. A unit without the metric is left out.
    response_definition : str, optional
        Only units that respond by this row of `activity.ResponseDefinition`.
    max_p : float
        Greatest p of the signed-rank test for a response.
    direction : {"up", "down"}, optional
        Only units that fire more, or less, than in the baseline.
    sex : {"F", "M", "U"}, optional
        Only of such mice.
    **of_sessions
        As in `sessions`: lab, subject, protocol, project, min_trials, min_performance,
        min_easy_performance, max_reaction_time, min_bias_shift, and the two definitions.

    Returns
    -------
    expression
        Rows of `ephys.SpikeSorting.Cluster`, to restrict and join further.

    Raises
    ------
    QueryError
        A name is not known (the error lists those that are), or a bound is not a number.
    """
    chosen = units(region, criterion, release_name, sorting)
    for metric, limits in (bounds or {}).items():
        chosen = chosen & _within(metric, *limits)
    if response_definition is not None:
        chosen = chosen & _responding(response_definition, max_p, direction).proj()
    elif direction is not None:
        what = "a direction is given without a response."
        raise QueryError(what, None, "Name a row of activity.ResponseDefinition.")
    given = {name: value for name, value in of_sessions.items() if value is not None}
    if given or sex is not None:
        chosen = chosen & _sessions(sex, given).proj()
    return chosen


def _sessions(sex: str | None, given: dict[str, Any]) -> dj.expression.QueryExpression:
    """Return sessions by the sex of the mouse and what `sessions` takes."""
    found = sessions(**given)
    if sex is None:
        return found
    if sex not in SEXES:
        raise QueryError(f"no sex {sex!r}.", None, f"There are: {', '.join(SEXES)}.")
    return found & (subjects.Subject & {"sex": sex}).proj()


def count_cohort(units: dj.expression.QueryExpression) -> dict[str, int]:
    """Count the units of an expression, and the insertions, sessions and regions they are of.

    Parameters
    ----------
    units : expression
        Rows of `ephys.SpikeSorting.Cluster`, e.g. `cohort(...)`.

    Returns
    -------
    dict
        `units`, `insertions`, `sessions`, `regions` (Allen structures).
    """
    by_insertion = dj.U("eid", "probe_name").aggr(units, n="count(*)")
    counted = rows.frame(by_insertion)
    by_region = rows.frame(dj.U("region_id").aggr(units, n="count(*)"))
    return {
        "units": int(counted.n.sum()),
        "insertions": len(counted),
        "sessions": int(counted.eid.nunique()),
        "regions": int(by_region.region_id.notna().sum()),
    }


def fetch_measures(
    units: dj.expression.QueryExpression, columns: Sequence[str], limit: int | None = None
) -> pd.DataFrame:
    """Fetch measures of units, and their region.

    Parameters
    ----------
    units : expression
        Rows of `ephys.SpikeSorting.Cluster`, e.g. `cohort(...)`.
    columns : sequence of str
        Numeric columns of `ephys.SpikeSorting.Cluster`, or `cluster_uuid`.
    limit : int, optional
        Greatest number of units, in the order of their keys; default all.

    Returns
    -------
    pandas.DataFrame
        `eid`, `probe_name`, `sorting_name`, `cluster_id`, `region_id` and the columns.

    Raises
    ------
    QueryError
        There is no such column; the error lists those that there are.
    """
    known = (*ephys.NUMBERS, "cluster_uuid")
    if unknown := [name for name in columns if name not in known]:
        raise QueryError(f"no measure {unknown[0]!r}.", None, f"There are: {', '.join(known)}.")
    if limit is not None:
        units = units & dj.Top(limit, list(units.primary_key))
        units = units.make_subquery()
    return rows.frame(units.proj("region_id", *columns))


def _within(metric: str, least: float | None, greatest: float | None) -> str:
    """Write the restriction to units whose metric is within bounds."""
    if metric not in ephys.NUMBERS:
        raise QueryError(f"no metric {metric!r}.", None, f"There are: {', '.join(ephys.NUMBERS)}.")
    parts = [f"{metric} IS NOT NULL"]
    for bound, sign in ((least, ">="), (greatest, "<=")):
        if bound is not None:
            if not math.isfinite(bound):
                what = f"a bound on {metric} is {bound}."
                raise QueryError(what, None, "Give a finite number, or none.")
            parts.append(f"{metric} {sign} {float(bound)!r}")
    return " AND ".join(parts)


def _responding(
    response_definition: str, max_p: float, direction: str | None
) -> dj.expression.QueryExpression:
    require(activity.ResponseDefinition, "response_definition", response_definition)
    if not 0 < max_p <= 1:
        raise QueryError(f"max_p is {max_p}.", None, "Give a probability above 0, up to 1.")
    found = activity.UnitResponse.Unit & {"response_definition": response_definition}
    found = found & f"wilcoxon_p <= {float(max_p)!r}"
    if direction is None:
        return found
    if direction not in DIRECTIONS:
        known = ", ".join(DIRECTIONS)
        raise QueryError(f"no direction {direction!r}.", None, f"There are: {known}.")
    return found & DIRECTIONS[direction]
