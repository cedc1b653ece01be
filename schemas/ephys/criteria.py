"""Which units are good."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import definitions, rows
from schemas.ephys.base import schema
from schemas.ephys.sorting import Cluster, SpikeSorting
from schemas.errors import DefinitionError
from schemas.maths import ephys as maths

NUMBERS = tuple(re.findall(r"^ *(\w+) = null +: (?:float|int)", Cluster.definition, re.M))
"""Columns of a unit that a criterion may test."""

METRICS = NUMBERS[NUMBERS.index("spike_count") :]
"""Those that a sort is released with, or lacks."""

RULE = ("refractory_metric", "min_refractory", "max_noise_cutoff", "min_amplitude")


@schema
class UnitCriterion(definitions.Checked, dj.Lookup):
    """What makes a unit good: tests of refractory period, noise and amplitude, and bounds."""

    definition = """
    # one row per definition of a good unit
    criterion                : varchar(32)   # name of the definition
    ---
    refractory_metric = null : varchar(32)   # column of SpikeSorting.Cluster; null: no such test
    min_refractory = null    : float64       # (metric) pass if at least this
    max_noise_cutoff = null  : float64       # (sd) pass if below this; null: no such test
    min_amplitude = null     : float64       # (V) pass if the median is above; null: no such test
    criterion_description    : varchar(128)  # where the definition is used
    """
    names: ClassVar = {"refractory_metric": NUMBERS}
    together: ClassVar = (RULE[:2],)
    one_of: tuple[str, ...] = RULE[1:]
    contents = rows.lookup(
        "criterion, refractory_metric, min_refractory, max_noise_cutoff, min_amplitude, "
        "criterion_description",
        ("ibl_2022", "sliding_rp_viol", 1.0, 20.0, 50e-6, "release of 2022, papers and slides"),
        ("ibl_2022_10", "sliding_rp_viol", 1.0, 5.0, 50e-6, "labels from 2022-10-04 to 2024"),
        ("ibl_2024", "max_confidence", 90.0, 5.0, 50e-6, "metrics since 2024"),
    )

    class Bound(definitions.Checked, dj.Part):
        """A metric of a good unit lies within bounds; a unit without the metric is not good."""

        definition = """
        # one row per criterion and metric
        -> master
        metric          : varchar(32)  # column of SpikeSorting.Cluster
        ---
        least = null    : float64      # (metric) least value that passes
        greatest = null : float64      # (metric) greatest value that passes
        """
        names: ClassVar = {"metric": NUMBERS}
        one_of = ("least", "greatest")

        def refuse_wrong(self, row: Mapping[str, Any]) -> None:
            """Refuse a bound that bounds nothing, or comes after units were labelled."""
            super().refuse_wrong(row)
            where = f"bound on {row['metric']} of the criterion {row['criterion']!r}"
            least, greatest = (row.get(name) for name in ("least", "greatest"))
            if None not in (least, greatest) and least > greatest:
                raise DefinitionError(f"least, {least!r}, is above greatest, {greatest!r}.", where)
            if GoodUnits & {"criterion": row["criterion"]}:
                remedy = "Give the new criterion a name of its own."
                raise DefinitionError("this criterion has labelled units already.", where, remedy)

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse a criterion that tests nothing; one with bounds tests these."""
        if self.Bound & {"criterion": row["criterion"]}:
            self.one_of = ()
        super().refuse_wrong(row)

    @classmethod
    def add(
        cls,
        criterion: str,
        description: str,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
        **tests: Any,
    ) -> None:
        """Add a criterion with its bounds in one transaction, so that no worker sees a part.

        `bounds` are (least, greatest) by metric, in its unit: both values pass, None is no bound.
        `tests` are other columns of the table; default none of the three tests.
        """
        parts = [
            {"criterion": criterion, "metric": metric, "least": least, "greatest": greatest}
            for metric, (least, greatest) in (bounds or {}).items()
        ]
        master = cls()
        master.one_of = () if parts else cls.one_of
        with master.connection.transaction:
            row = {"criterion": criterion, "criterion_description": description, **tests}
            rows.insert1(master, row)
            rows.insert(cls.Bound(), parts)


@schema
class GoodUnits(dj.Computed):
    """The good units of a sort by a criterion, from the released metrics."""

    definition = """
    # one row per sort of an insertion and criterion
    -> SpikeSorting
    -> UnitCriterion
    ---
    n_units         : int32         # number of units
    n_good          : int32         # number of units that pass all tests
    n_undecided     : int32         # number of units that pass what could be tested, not all
    missing_metrics : varchar(128)  # metrics that the sort lacks, comma-separated, or empty
    """

    class Unit(dj.Part):
        """A unit's tests kept apart: NaN fails; no test, or a metric that is missing, is null."""

        definition = """
        # one row per cluster of a sort and criterion
        -> master
        -> SpikeSorting.Cluster
        ---
        refractory_pass = null : bool     # passes the refractory test
        noise_pass = null      : bool     # passes the noise cut-off
        amplitude_pass = null  : bool     # passes the median amplitude
        bounds_pass = null     : bool     # within every bound
        unit_label = null      : float64  # (fraction) of the tests passed
        is_good = null         : bool     # passes all tests
        index (criterion, is_good, eid, probe_name, sorting_name, cluster_id)
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort with every criterion that tests anything."""
        tests = [f"{name} IS NOT NULL" for name in RULE[1:]]
        return SpikeSorting.proj() * (UnitCriterion & [*tests, UnitCriterion.Bound.proj()]).proj()

    def make(self, key: dict[str, Any]) -> None:
        """Compare the released metrics with the thresholds and bounds."""
        rule = (UnitCriterion & key).fetch1()
        bounds = {r["metric"]: (r["least"], r["greatest"]) for r in UnitCriterion.Bound & key}
        there = (SpikeSorting & key).fetch1("released_metrics")
        tested = ["cluster_id", *self.tested(rule, bounds)]
        units = rows.frame(SpikeSorting.Cluster & key, columns=tested)
        row, units = self.as_rows(units, rule, bounds, there)
        rows.insert1(self, {**key, **row})
        rows.insert(self.Unit(), units, key)

    @staticmethod
    def tested(rule: dict[str, Any], bounds: dict[str, Any]) -> list[str]:
        """Name the metrics that a criterion tests."""
        tests = zip(RULE[1:], (rule[RULE[0]], "noise_cutoff", "amp_median"), strict=True)
        names = [metric for threshold, metric in tests if rule[threshold] is not None]
        return list(dict.fromkeys([*names, *bounds]))

    @classmethod
    def as_rows(
        cls, units: pd.DataFrame, rule: dict[str, Any], bounds: dict[str, Any], there: list[str]
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """Compute the row of a sort, released with the metrics `there`, and those of its units."""
        names = cls.tested(rule, bounds)
        missing = [name for name in names if name in METRICS and name not in there]
        released = {n: None if n in missing else units[n].to_numpy(float) for n in names}
        passes = maths.compute_passes(released, len(units), *map(rule.get, RULE), bounds=bounds)
        good, row = passes["is_good"], {"n_units": len(units), "missing_metrics": ",".join(missing)}
        row |= {"n_good": int(np.nansum(good)), "n_undecided": int(np.isnan(good).sum())}
        table = pd.DataFrame({"cluster_id": units.cluster_id, **passes})
        tests = [name for name in passes if name != "unit_label"]
        return row, table.astype(dict.fromkeys(tests, "boolean"))
