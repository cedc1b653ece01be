"""Unit metrics as released beside those computed from the spikes."""

from __future__ import annotations

import math

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import ephys, rows
from schemas.errors import QueryError
from schemas.maths.metrics import CONFIDENCE_METRICS, METRICS
from schemas.views.ephys import sorts, units
from schemas.views.session import require

RELEASED = {name: name for name in METRICS} | {
    "label": "released_label",
    "bitwise_fail": "bitwise_fail",
}
"""Columns of released metrics, by the name of the computed one without its prefix."""

RELEASED_WITH_METRICS = " OR ".join(f"{name} IS NOT NULL" for name in RELEASED.values())
"""Restriction to units with at least one released metric."""


def fetch_metric_differences(
    metrics_definition: str = "ibl_2024",
    tolerance: float = 1e-6,
    sorting: str | None = None,
    release_name: str | None = None,
    recording: str | None = None,
) -> pd.DataFrame:
    """List where released and computed metrics of units disagree.

    Metrics that the sort was released without, metrics that the definition does not know, and
    units that `uncompared_units` returns are not compared. Compare a sort by the definition of
    its release: the labels of 2022 differ from those of 2024.

    Parameters
    ----------
    metrics_definition : str
        A row of `ephys.MetricsDefinition`.
    tolerance : float
        Largest difference to be ignored, as a fraction of the larger absolute value.
    sorting, release_name, recording : str, optional
        As in `units`.

    Returns
    -------
    pandas.DataFrame
        One row per unit and metric: `eid`, `probe_name`, `sorting_name`, `cluster_id`, `metric`
        (its column in `ephys.SpikeSorting.Cluster`), `released` and `computed` in the unit of
        that column, `difference`, computed - released, NaN where one of them is null. Labels are
        the metrics `released_label` and `bitwise_fail`.

    Raises
    ------
    QueryError
        A name is not known (the error lists those that are), or the tolerance is no fraction.
    """
    if not 0 <= tolerance < math.inf:
        raise QueryError(f"the tolerance is {tolerance}.", None, "Give a fraction, e.g. 1e-6.")
    definition = require(ephys.MetricsDefinition, "metrics_definition", metrics_definition)
    released = units(None, None, release_name, sorting, recording) & RELEASED_WITH_METRICS
    counts = definition["sliding_method"] == "counts"
    metrics = [m for m in RELEASED if not (counts and m in CONFIDENCE_METRICS)]
    names = [RELEASED[metric] for metric in metrics]
    computed = ephys.UnitMetrics.Unit & {"metrics_definition": metrics_definition}
    columns = [f"computed_{metric}" for metric in metrics]
    joined = released.proj(*names) * computed.proj(*columns)
    both = rows.frame(joined & _any_differs(names, columns, tolerance))
    theirs, ours = (
        both[chosen].to_numpy(dtype=float, na_value=np.nan) for chosen in (names, columns)
    )
    chosen = sorts(sorting, release_name, recording)
    apart = _differ(theirs, ours, tolerance) & _released(chosen, both, names)
    unit, metric = np.nonzero(apart)
    table = both[ephys.SpikeSorting.Cluster.primary_key].iloc[unit].reset_index(drop=True)
    return table.assign(
        metric=np.array(names, dtype=object)[metric],
        released=theirs[apart],
        computed=ours[apart],
        difference=ours[apart] - theirs[apart],
    )


def uncompared_units(
    metrics_definition: str = "ibl_2024",
    sorting: str | None = None,
    release_name: str | None = None,
    recording: str | None = None,
) -> dj.expression.QueryExpression:
    """Return the units that `fetch_metric_differences` leaves out.

    These are units released without metrics, and units whose metrics are not computed yet.
    Parameters and errors are those of `fetch_metric_differences`.

    Returns
    -------
    expression
        Rows of `ephys.SpikeSorting.Cluster`, to restrict and join further.
    """
    require(ephys.MetricsDefinition, "metrics_definition", metrics_definition)
    chosen = units(None, None, release_name, sorting, recording)
    computed = ephys.UnitMetrics.Unit & {"metrics_definition": metrics_definition}
    return chosen - (chosen & RELEASED_WITH_METRICS & computed.proj()).proj()


def _any_differs(names: list[str], columns: list[str], tolerance: float) -> str:
    """Write the restriction to units that differ in anything, so that no others are fetched."""
    # Most metrics are equal, so that is tested first.
    return " OR ".join(
        f"({name} IS NULL) <> ({column} IS NULL) OR {column} <> {name} AND "
        f"abs({column} - {name}) > {float(tolerance)!r} * greatest(abs({column}), abs({name}))"
        for name, column in zip(names, columns, strict=True)
    )


def _differ(released: np.ndarray, computed: np.ndarray, tolerance: float) -> np.ndarray:
    missing = np.isnan(released), np.isnan(computed)
    with np.errstate(invalid="ignore"):
        size = np.maximum(np.abs(released), np.abs(computed))
        far = np.abs(computed - released) > tolerance * size
    return np.where(missing[0] | missing[1], missing[0] != missing[1], far)


def _released(
    sorts: dj.expression.QueryExpression, both: pd.DataFrame, names: list[str]
) -> np.ndarray:
    """Return which metrics the sort of each unit was released with (units, metrics)."""
    found = sorts.to_dicts()
    lists = {tuple(row[k] for k in ephys.SpikeSorting.primary_key): row for row in found}
    released = [[name in row["released_metrics"] for name in names] for row in lists.values()]
    of_unit = pd.MultiIndex.from_frame(both[ephys.SpikeSorting.primary_key])
    table = np.array(released, dtype=bool).reshape(-1, len(names))
    return table[pd.Index(lists).get_indexer(of_unit)]
