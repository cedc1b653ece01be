"""Unit metrics as released beside those computed from the spikes."""

from __future__ import annotations

import math

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import ephys, quality, rows
from schemas.errors import QueryError
from schemas.views.ephys import sorts, units
from schemas.views.errata import warn_of
from schemas.views.session import require


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
        raise QueryError(f"the tolerance is {tolerance}.", None, "Give 0 or more, e.g. 1e-6.")
    definition = require(ephys.MetricsDefinition, "metrics_definition", metrics_definition)
    compared = quality.comparable(definition["sliding_method"])
    names, columns = list(compared.values()), [f"computed_{name}" for name in compared]
    chosen = sorts(sorting, release_name, recording)
    both = _fetch_different(metrics_definition, chosen, names, columns, tolerance)
    theirs, ours = (both[of].to_numpy(dtype=float, na_value=np.nan) for of in (names, columns))
    apart = _differ(theirs, ours, tolerance) & _released(chosen, both, names)
    unit, metric = np.nonzero(apart)
    table = both[ephys.SpikeSorting.Cluster.primary_key].iloc[unit].reset_index(drop=True)
    warn_of("clusters", table)
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

    These are units released without metrics, and units whose metrics are not computed or not
    compared yet.
    Parameters and errors are those of `fetch_metric_differences`.

    Returns
    -------
    expression
        Rows of `ephys.SpikeSorting.Cluster`, to restrict and join further.
    """
    require(ephys.MetricsDefinition, "metrics_definition", metrics_definition)
    chosen = units(None, None, release_name, sorting, recording)
    compared = quality.MetricDifferences & {"metrics_definition": metrics_definition}
    return chosen - (chosen & quality.WITH_METRICS & compared.proj()).proj()


def _fetch_different(
    metrics_definition: str,
    sorts: dj.expression.QueryExpression,
    names: list[str],
    columns: list[str],
    tolerance: float,
) -> pd.DataFrame:
    """Fetch released and computed metrics of the units that may differ by more than a tolerance."""
    least = min(tolerance, 2) * (1 - 1e-9)  # the stored fraction is rounded, and 2 at most
    definition = {"metrics_definition": metrics_definition}
    different = quality.MetricDifferences.Unit & definition & f"largest_difference > {least!r}"
    released = ephys.SpikeSorting.Cluster.proj(*names)
    computed = (ephys.UnitMetrics.Unit & definition).proj(*columns)
    return rows.frame((different & sorts.proj()).proj() * released * computed)


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
