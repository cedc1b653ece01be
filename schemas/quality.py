"""Quality control: checks, raw recordings, good units by region, metrics, rows computed again."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, ephys, imported, probe, rows, session, storage  # noqa: F401  (foreign keys)
from schemas.maths import metrics
from schemas.sources import data

schema = dj.Schema()


@schema
class SessionQC(dj.Manual):
    """Extended quality control of a session, typed, so that a release's rule is a query."""

    definition = """
    # one row per check of a session
    -> session.Session
    session_check              : varchar(128)   # name of the check, as released
    ---
    session_check_value = null : float64        # (number) value; 1 for true, 0 for false
    -> [nullable] session.QC.proj(session_check_outcome="qc")
    session_check_text = null  : varchar(4000)  # what is neither number nor outcome, as JSON
    """


@schema
class InsertionQC(dj.Manual):
    """Extended quality control of an insertion, its histology and alignment included."""

    definition = """
    # one row per check of an insertion
    -> probe.ProbeInsertion
    insertion_check              : varchar(128)   # name of the check, as released
    ---
    insertion_check_value = null : float64        # (number) value; 1 for true, 0 for false
    -> [nullable] session.QC.proj(insertion_check_outcome="qc")
    insertion_check_text = null  : varchar(4000)  # what is neither number nor outcome, as JSON
    """


class FromRawFiles(probe.FromProbeFiles):
    """Shared by the tables that are read from the quality files of a raw recording."""

    candidates: Any = imported.KeyProduct(probe.ProbeInsertion, probe.Band)


@schema
class RMS(FromRawFiles, dj.Imported):
    """Root mean square of the raw recording in windows: `time` (s), `channel_0` and on (V)."""

    definition = f"""
    # one row per insertion and band with a root mean square
    -> probe.ProbeInsertion
    -> probe.Band
    ---
    n_rms_windows     : int32    # number of windows
    n_rms_channels    : int16    # number of channels of the raw file
    rms_median = null : float64  # (V) median over windows and channels; null where there is none
    rms               : <parquet@{storage.STORE}>  # time (s), channel_0 and on (V)
    """

    kinds = ("rms",)
    lengths = (("rms", "n_rms_windows"),)

    def as_rows(self, loaded: data.RawQuality) -> imported.AsRows:
        """Return the windows, their number, and their median."""
        values = loaded.values  # noqa: PD011 (an array)
        packed = storage.pack({"time": loaded.at, **_channels(values)})
        known = values[np.isfinite(values)]
        row = {
            "n_rms_windows": packed.n_rows,
            "n_rms_channels": values.shape[1],
            "rms_median": np.median(known) if len(known) else None,
            "rms": packed,
        }
        return row, {}


@schema
class SpectralDensity(FromRawFiles, dj.Imported):
    """Power spectrum of the raw recording: `frequency` (Hz), `channel_0` and on (V**2/Hz)."""

    definition = f"""
    # one row per insertion and band with a power spectrum
    -> probe.ProbeInsertion
    -> probe.Band
    ---
    n_frequencies       : int32  # number of frequencies
    n_spectral_channels : int16  # number of channels of the raw file
    spectral_density    : <parquet@{storage.STORE}>  # frequency (Hz), channel_0 and on (V**2/Hz)
    """

    kinds = ("spectral_density",)
    lengths = (("spectral_density", "n_frequencies"),)

    def as_rows(self, loaded: data.RawQuality) -> imported.AsRows:
        """Return the spectrum and its size."""
        values = loaded.values  # noqa: PD011 (an array)
        packed = storage.pack({"frequency": loaded.at, **_channels(values)})
        counts = {"n_frequencies": packed.n_rows, "n_spectral_channels": values.shape[1]}
        return {**counts, "spectral_density": packed}, {}


@schema
class Saturation(probe.FromProbeFiles, dj.Imported):
    """When the raw recording is saturated, e.g. by licks: spikes are missing or false then."""

    definition = """
    # one row per insertion with saturation intervals, or with a file that says there are none
    -> probe.ProbeInsertion
    ---
    n_saturations   : int32    # number of intervals
    saturation_time : float64  # (s) sum of their durations
    """

    class Interval(dj.Part):
        """An interval in which the recording is saturated."""

        definition = """
        # one row per interval of saturation
        -> master
        saturation_number : int32    # number of the interval, from 0
        ---
        saturation_start  : float64  # (s) time of the first saturated sample
        saturation_stop   : float64  # (s) time of the sample after the last saturated one
        """

    kinds = ("saturation", "raw_clock")

    def as_rows(self, loaded: data.Intervals) -> imported.AsRows:
        """Return the intervals, their number and their sum."""
        edges = {"saturation_start": loaded.start, "saturation_stop": loaded.stop}
        intervals = pd.DataFrame(edges).rename_axis("saturation_number").reset_index()
        total = float((loaded.stop - loaded.start).sum())
        row = {"n_saturations": len(intervals), "saturation_time": total}
        return row, {"Interval": intervals}


def _channels(values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"channel_{k}": column for k, column in enumerate(values.T)}


@schema
class GoodUnitSummary(dj.Computed):
    """The labels of all units of a sort by a criterion, its good units, and their number by region.

    Questions about many sorts read these rows instead of one row for each unit.
    """

    definition = """
    # one row per sort of an insertion and criterion
    -> ephys.GoodUnits
    ---
    n_unlocated      : int32  # units that no region is known for
    n_unlocated_good : int32  # good units that no region is known for
    unit_labels      : <blob> # unit_label (fraction) and is_good, (2, units); NaN is null
    """

    class Region(dj.Part):
        """The units of a region; a unit counts for its own structure only."""

        definition = """
        # one row per region with a unit
        -> master
        -> atlas.BrainRegion
        ---
        n_in_region      : int32  # units
        n_good_in_region : int32  # units that pass all tests
        """

    class GoodUnit(dj.Part):
        """A unit that passes all tests, with the columns by which units are found and shown.

        They are repeated because looking up the good units of a release takes several times as long
        as reading them where they stand together.
        """

        definition = """
        # one row per unit of a sort that passes all tests of a criterion
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        -> [nullable] atlas.BrainRegion
        cluster_uuid = null  : char(36)  # UUID of the unit, new with every sort
        unit_x = null        : float64   # (um) medio-lateral, right of bregma positive
        cluster_depth = null : float64   # (um) centre of the template, from the tip
        spike_count = null   : int64     # number of spikes
        firing_rate = null   : float64   # (Hz) over the recording
        amp_median = null    : float64   # (V) median spike
        index (region_id, criterion)
        """

    def make(self, key: dict[str, Any]) -> None:
        """List the labels and the good units, and count both by region."""
        units = rows.frame(ephys.SpikeSorting.Cluster & key, columns=["cluster_id", *SHOWN])
        columns = ["cluster_id", "unit_label", "is_good"]
        units = units.merge(rows.frame(ephys.GoodUnits.Unit & key, columns=columns))
        row, parts = self.as_rows(units)
        rows.insert1(self, {**key, **row})
        for name, part in parts.items():
            rows.insert(getattr(self, name)(), part, key)

    @staticmethod
    def as_rows(units: pd.DataFrame) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
        """Make the row of a sort, and the rows of its part tables, from its units.

        `units` has `cluster_id` (from 0, without a gap), `unit_label`, `is_good` and `SHOWN`.
        """
        passes = units.is_good.astype("boolean")
        is_good = passes.fillna(False).astype(bool)
        counted = is_good.groupby(units.region_id, dropna=False).agg(["size", "sum"])
        counted.columns = ["n_in_region", "n_good_in_region"]
        outside = counted[counted.index.isna()].sum()
        row: dict[str, Any] = {"n_unlocated": int(outside.n_in_region)}
        labels = units.unit_label, passes
        row["unit_labels"] = np.stack([label.to_numpy(float, na_value=np.nan) for label in labels])
        row["n_unlocated_good"] = int(outside.n_good_in_region)
        regions = counted[counted.index.notna()].rename_axis("region_id").reset_index()
        return row, {"Region": regions, "GoodUnit": units.loc[is_good, ["cluster_id", *SHOWN]]}


SHOWN = ["region_id"]
SHOWN += ["cluster_uuid", "unit_x", "cluster_depth", "spike_count", "firing_rate", "amp_median"]
"""Columns of `ephys.SpikeSorting.Cluster` that `GoodUnitSummary.GoodUnit` repeats."""


RELEASED = {name: name for name in metrics.METRICS} | {
    "label": "released_label",
    "bitwise_fail": "bitwise_fail",
}
"""Columns of released metrics, by the name of the computed one without its prefix."""


WITH_METRICS = " OR ".join(f"{name} IS NOT NULL" for name in RELEASED.values())
"""Restriction to units with at least one released metric; others are not compared."""


def comparable(sliding_method: str) -> dict[str, str]:
    """Return those of `RELEASED` that a definition of the metrics knows, by its sliding method."""
    unknown = metrics.CONFIDENCE_METRICS if sliding_method == "counts" else ()
    return {name: column for name, column in RELEASED.items() if name not in unknown}


@schema
class MetricDifferences(dj.Computed):
    """How far the computed metrics of units are from those that they were released with."""

    definition = """
    # one row per sort of an insertion and definition of the metrics
    -> ephys.UnitMetrics
    ---
    n_different : int32  # units that differ in a metric
    """

    class Unit(dj.Part):
        """A unit that differs in a metric that both its release and the definition know."""

        definition = """
        # one row per unit that differs
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        largest_difference : float64  # (fraction) of the larger value; 2 if one of the two is null
        index (metrics_definition, largest_difference)
        """

    def make(self, key: dict[str, Any]) -> None:
        """Compare the metrics of the units."""
        compared = comparable((ephys.MetricsDefinition & key).fetch1("sliding_method"))
        there = (ephys.SpikeSorting & key).fetch1("released_metrics")
        columns = ["cluster_id", *compared.values()]
        released = rows.frame(ephys.SpikeSorting.Cluster & key & WITH_METRICS, columns=columns)
        columns = ["cluster_id", *(f"computed_{name}" for name in compared)]
        computed = rows.frame(ephys.UnitMetrics.Unit & key, columns=columns)
        released, computed = (table.set_index("cluster_id") for table in (released, computed))
        different = self.as_rows(released, computed.loc[released.index], there)
        rows.insert1(self, {**key, "n_different": len(different)})
        rows.insert(self.Unit(), different, key)

    @staticmethod
    def as_rows(released: pd.DataFrame, computed: pd.DataFrame, there: list[str]) -> pd.DataFrame:
        """Return the units that differ, of two frames with the same units and metrics.

        `there` are the metrics that the sort was released with; `cluster_id` is the index.
        """
        is_released = np.isin(released.columns, there)
        pairs = (frame.to_numpy(float, na_value=np.nan) for frame in (released, computed))
        apart = metrics.compute_relative_differences(*(pair[:, is_released] for pair in pairs))
        largest = apart.max(axis=1, initial=0)
        table = pd.DataFrame({"cluster_id": released.index, "largest_difference": largest})
        return table[largest > 0]


@schema
class Recomputed(dj.Manual):
    """What `bwm verify --recompute` has covered; a new round begins once every row is covered."""

    definition = """
    # one row per stored row that was computed again and found equal
    recomputed_table : varchar(128)  # name of the table, e.g. behavior.Trials
    key_md5          : char(32)      # hash of the primary key of the row
    ---
    recomputed_at    : datetime(6)   # (UTC) when it was computed again
    """
