"""Autocorrelograms of units, computed from their spikes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import definitions, rows, storage
from schemas.ephys.base import schema
from schemas.ephys.sorting import Spikes, SpikeSorting  # noqa: F401  (SpikeSorting: foreign keys)
from schemas.errors import DefinitionError
from schemas.maths import autocorrelogram as maths


@schema
class AutoCorrelogramDefinition(definitions.Checked, dj.Lookup):
    """What an autocorrelogram is: its bins, and the lags that its indices compare."""

    definition = """
    # one row per definition of an autocorrelogram
    acg_definition     : varchar(32)   # name of the definition
    ---
    acg_start          : float64       # (s) least lag of the first bin
    acg_end            : float64       # (s) lag at which the last bin ends
    n_acg_bins         : int32         # bins, each wider than the one before by the same factor
    refractory_end     : float64       # (s) lags from 0 up to this are refractory
    burst_start        : float64       # (s) least lag of spikes of a burst
    burst_end          : float64       # (s) lag that is above those of a burst
    acg_baseline_start : float64       # (s) least lag of the baseline of both indices
    acg_baseline_end   : float64       # (s) lag that is above those of the baseline
    acg_description    : varchar(128)  # what it shows
    """
    ascending = (
        ("acg_start", "acg_end"),
        ("burst_start", "burst_end"),
        ("acg_baseline_start", "acg_baseline_end"),
    )
    positive = ("acg_start", "n_acg_bins", "refractory_end")
    contents = rows.lookup(
        "acg_definition, acg_start, acg_end, n_acg_bins, refractory_end, burst_start, burst_end, "
        "acg_baseline_start, acg_baseline_end, acg_description",
        ("log_1s", 0.001, 1.0, 60, 0.002, 0.003, 0.005, 0.2, 0.3, "twenty bins a decade, to 1 s"),
    )

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse lags beyond the longest that is counted, and bins narrower than the clock."""
        super().refuse_wrong(row)
        if not self.heading.attributes.keys() <= row.keys():
            return  # the database says what is missing
        where = f"AutoCorrelogramDefinition {row['acg_definition']!r}"
        for name in ("acg_end", "burst_end", "acg_baseline_end", "refractory_end"):
            if not row[name] <= maths.MAX_LAG:
                what = f"{name} is {row[name]!r}, beyond the longest lag, {maths.MAX_LAG:g} s."
                raise DefinitionError(what, where)
        if not (np.diff(_edges(row)) > maths.TICK / 2).all():
            what = f"n_acg_bins is {row['n_acg_bins']!r}: the first bins are below a microsecond."
            raise DefinitionError(what, where, "Give fewer bins, or a later acg_start.")


@schema
class AutoCorrelogram(dj.Computed):
    """Autocorrelograms of the units of a sort, as one object.

    Columns of the object, sorted by the first two: `cluster`, `lag` (s, centre of the bin on a
    logarithmic axis), `rate` (Hz) of the unit at that lag after a spike of its own; NaN for a unit
    without spikes.
    """

    definition = f"""
    # one row per sort of an insertion and definition
    -> Spikes
    -> AutoCorrelogramDefinition
    ---
    n_acg_units      : int32  # units that the object holds
    autocorrelograms : <parquet@{storage.STORE}>  # cluster, lag (s), rate (Hz)
    """

    class Unit(dj.Part):
        """A unit's slice of the object, and indices of its short lags."""

        definition = """
        # one row per cluster of a sort and definition
        -> master
        -> SpikeSorting.Cluster
        ---
        acg_offset              : int64    # first row of the unit in the object
        n_acg_rows              : int32    # number of rows: bins
        acg_peak_lag = null     : float64  # (s) lag of the highest rate; null without pairs
        burst_index = null      : float64  # (ratio) rate in a burst over that of the baseline
        refractory_index = null : float64  # (ratio) refractory rate over that of the baseline
        """

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, where the spikes are, and the units' counts."""
        definition = (AutoCorrelogramDefinition & key).fetch1()
        units = rows.frame(Spikes.Unit & key, columns=["cluster_id", "n_unit_spikes"])
        return definition, (Spikes & key).fetch1("spikes").stored, units.to_numpy()

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        stored: dict[str, Any],
        units: np.ndarray,
    ) -> tuple:
        """Compute the rates and indices."""
        times = storage.reference(stored).read(["time"])["time"]
        edges, (cluster_id, counts) = _edges(definition), units.T
        burst, baseline = (
            (definition[f"{name}_start"], definition[f"{name}_end"])
            for name in ("burst", "acg_baseline")
        )
        found = maths.compute_autocorrelograms(
            times, counts, edges, definition["refractory_end"], burst, baseline
        )
        rate = found.pop("rate")
        table = pd.DataFrame(found).rename(columns={"peak_lag": "acg_peak_lag"})
        table["acg_offset"] = np.arange(len(units)) * rate.shape[1]
        return table.assign(cluster_id=cluster_id, n_acg_rows=rate.shape[1]), _pack(
            cluster_id, maths.compute_bin_centres(edges), rate
        )

    def make_insert(
        self, key: dict[str, Any], units: pd.DataFrame, autocorrelograms: storage.Packed
    ) -> None:
        """Insert the object, and the units' slices and indices."""
        row = {"n_acg_units": len(units), "autocorrelograms": autocorrelograms}
        rows.insert1(self, {**key, **row})
        rows.insert(self.Unit(), units, key)


def _edges(definition: Mapping[str, Any]) -> np.ndarray:
    start, end, n_bins = (definition[name] for name in ("acg_start", "acg_end", "n_acg_bins"))
    return maths.compute_log_edges(start, end, int(n_bins))


def _pack(cluster_id: np.ndarray, lag: np.ndarray, rate: np.ndarray) -> storage.Packed:
    """Write rates (U, B) as columns."""
    unit, lag_bin = (index.ravel() for index in np.indices(rate.shape))
    return storage.pack(
        {
            "cluster": cluster_id.astype(np.int32)[unit],
            "lag": lag[lag_bin],
            "rate": rate.ravel(),
        }
    )
