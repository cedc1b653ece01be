"""Metrics of units, computed from their spikes."""

from __future__ import annotations

from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import definitions, rows, storage
from schemas.ephys.base import schema
from schemas.ephys.criteria import RULE, UnitCriterion
from schemas.ephys.sorting import Spikes, SpikeSorting  # noqa: F401  (SpikeSorting: foreign keys)
from schemas.maths import ephys as maths
from schemas.maths import metrics

UNCHANGED = (10.0, 0.0015, 0.0001, 10, 50, 4.0, 100, 10.0, 90.0)
"""Parameters of the metrics, from `presence_bin` on, that are the same in 2022 and 2024."""


@schema
class MetricsDefinition(definitions.Checked, dj.Lookup):
    """How unit metrics are computed from spikes, and the criterion that labels them."""

    definition = """
    # one row per definition of the unit metrics
    metrics_definition    : varchar(32)   # name of the definition
    ---
    -> UnitCriterion
    presence_bin          : float64       # (s) bin in which a unit is present
    refractory_period     : float64       # (s) intervals below are violations
    duplicate_interval    : float64       # (s) spikes no further apart are one
    missed_spikes_per_bin : int32         # spikes per bin of the distribution of amplitudes
    missed_min_bins       : int32         # bins that the distribution must have more spikes for
    missed_smoothing      : float64       # (bins) standard deviation of the smoothing
    noise_edges           : int32         # edges of the histogram of the noise cut-off
    sliding_contamination : float64       # (percent) contamination to be excluded
    sliding_confidence    : float64       # (percent) with what confidence
    noise_method          : varchar(16)   # filled_bins, or last_change as until October 2022
    noise_top_start       : float64       # (fraction) of the way from peak to end of the histogram
    sliding_method        : varchar(16)   # confidence, or counts as until 2022
    sliding_sampling      : float64       # (Hz) rate to which spike times are cut down
    sliding_start = null  : float64       # (s) periods up to this are not judged
    """
    names: ClassVar = metrics.METHODS
    positive = ("presence_bin", "refractory_period", "missed_spikes_per_bin", "sliding_sampling")
    contents = rows.lookup(
        "metrics_definition, criterion, presence_bin, refractory_period, duplicate_interval, "
        "missed_spikes_per_bin, missed_min_bins, missed_smoothing, noise_edges, "
        "sliding_contamination, sliding_confidence, noise_method, noise_top_start, "
        "sliding_method, sliding_sampling, sliding_start",
        ("ibl_2022", "ibl_2022", *UNCHANGED, "last_change", 0.6, "counts", 20_000.0, None),
        ("ibl_2024", "ibl_2024", *UNCHANGED, "filled_bins", 0.5, "confidence", 30_000.0, 0.0005),
    )


@schema
class UnitMetrics(dj.Computed):
    """The metrics of the units of a sort, computed from the stored spikes."""

    definition = """
    # one row per sort of an insertion and definition of the metrics
    -> Spikes
    -> MetricsDefinition
    ---
    n_metric_units : int32  # number of units
    n_label_good   : int32  # number of units that pass all three tests of the label
    """

    class Unit(dj.Part):
        """A unit's metrics; null where a metric is undefined, or unknown to the definition."""

        definition = """
        # one row per cluster of a sort and definition of the metrics
        -> master
        -> SpikeSorting.Cluster
        ---
        computed_spike_count                   : int64    # number of spikes
        computed_firing_rate = null            : float64  # (Hz) over the recording
        computed_amp_min = null                : float64  # (V) smallest spike
        computed_amp_max = null                : float64  # (V) largest spike
        computed_amp_median = null             : float64  # (V) median spike
        computed_amp_std_db = null             : float64  # (dB) spread of amplitudes
        computed_presence_ratio = null         : float64  # (fraction) of bins with a spike
        computed_presence_ratio_std = null     : float64  # (count) spread of spikes in those bins
        computed_drift = null                  : float64  # (um/h) sum of depth changes
        computed_contamination = null          : float64  # (fraction) from refractory spikes
        computed_contamination_alt = null      : float64  # (fraction) another such estimate
        computed_missed_spikes_est = null      : float64  # (fraction) spikes below threshold
        computed_noise_cutoff = null           : float64  # (sd) low end of amplitudes against top
        computed_sliding_rp_viol = null        : float64  # (bool) 1 is a pass of the sliding test
        computed_sliding_rp_viol_forced = null : float64  # (bool) 1 is let pass all the same
        computed_max_confidence = null         : float64  # (percent) that contamination is low
        computed_min_contamination = null      : float64  # (percent) least that can be excluded
        computed_n_spikes_below2 = null        : int64    # pairs of spikes closer than 2 ms
        computed_label                         : float64  # (fraction) of criteria passed
        computed_bitwise_fail                  : int16    # bits: 1 refractory, 2 noise, 4 amplitude
        """

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, its criterion, where the spikes are, and the units' counts."""
        definition = (MetricsDefinition & key).fetch1()
        rule = (UnitCriterion & {"criterion": definition["criterion"]}).fetch1()
        units = rows.frame(Spikes.Unit & key, columns=["cluster_id", "n_unit_spikes"])
        stored = (Spikes & key).fetch1("spikes").stored
        return definition, rule, stored, units.to_numpy()

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        rule: dict[str, Any],
        stored: dict[str, Any],
        units: np.ndarray,
    ) -> tuple:
        """Compute the metrics and the label."""
        spikes = storage.reference(stored).read(["time", "amplitude", "depth"])
        names = definition.keys() - {"metrics_definition", "criterion"}
        parameters = metrics.MetricParameters(**{name: definition[name] for name in names})
        cluster_id, counts = units.T
        columns = spikes["time"], spikes["amplitude"], spikes["depth"]
        found = metrics.compute_unit_metrics(*columns, counts, parameters)
        passes = maths.compute_passes(found, len(units), *map(rule.get, RULE))
        table = pd.DataFrame({**found, **metrics.compute_label(passes)}).add_prefix("computed_")
        return (table.assign(cluster_id=cluster_id),)

    def make_insert(self, key: dict[str, Any], units: pd.DataFrame) -> None:
        """Insert the units."""
        good = int((units.computed_bitwise_fail == 0).sum())
        rows.insert1(self, {**key, "n_metric_units": len(units), "n_label_good": good})
        rows.insert(self.Unit(), units, key)
