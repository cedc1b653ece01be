"""Latencies: when the response of a unit leaves its baseline."""

from __future__ import annotations

from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, ephys, rows  # noqa: F401  (foreign keys)
from schemas.activity.base import defined, fetch_slices, fetch_trials, read_trains, schema, sources
from schemas.maths import behavior as behavior_maths
from schemas.maths import latency as maths
from schemas.maths import psth

CONTRASTS = ("contrast_left", "contrast_right")


@schema
class LatencyDefinition(definitions.Checked, dj.Lookup):
    """What a latency is: the event, the time that is searched, the baseline and the method.

    `change_point` takes the most likely time at which a Poisson process changes its rate, with an
    interval by the likelihood. `threshold` takes the first of some bins in a row that are beyond
    some standard deviations of the baseline, with an interval by resampled trials.
    """

    definition = """
    # one row per definition of a latency
    latency_definition     : varchar(32)   # name of the definition
    ---
    -> behavior.TrialEvent
    search_start           : float64       # (s) from the event
    search_end             : float64       # (s) from the event
    -> behavior.TrialEvent.proj(latency_baseline_event="trial_event")
    latency_baseline_start : float64       # (s) from the event of the baseline
    latency_baseline_end   : float64       # (s) from the event of the baseline
    latency_bin            : float64       # (s) width of a bin, the resolution of the latency
    min_contrast           : float64       # (fraction) trials of a lower contrast are left out
    latency_method         : varchar(16)   # change_point or threshold
    min_log_ratio = null   : float64       # (nats) least log likelihood ratio of a response
    threshold_sd = null    : float64       # (sd) of the bins of the baseline
    threshold_bins = null  : int32         # bins in a row beyond the threshold
    n_resamples = null     : int32         # resamples of the trials for the interval
    resampling_seed = null : int32         # seed of the resamples
    -> behavior.TrialMaskDefinition
    -> [nullable] ephys.UnitCriterion
    latency_description    : varchar(128)  # what it shows; without criterion it is of all units
    """
    names: ClassVar = {"latency_method": maths.METHODS}
    ascending = (
        ("search_start", "search_end"),
        ("latency_baseline_start", "latency_baseline_end"),
    )
    positive = ("latency_bin", "min_log_ratio", "threshold_sd", "threshold_bins", "n_resamples")
    together = (("threshold_sd", "threshold_bins", "n_resamples", "resampling_seed"),)
    one_of = ("min_log_ratio", "threshold_sd")
    contents = rows.lookup(
        "latency_definition, trial_event, search_start, search_end, latency_baseline_event, "
        "latency_baseline_start, latency_baseline_end, latency_bin, min_contrast, "
        "latency_method, min_log_ratio, threshold_sd, threshold_bins, n_resamples, "
        "resampling_seed, trial_mask, criterion, latency_description",
        *(
            (name, event, *search, "stim_on_time", -0.4, -0.1, *how, "bwm", "ibl_2022", shows)
            for name, event, search, how, shows in (
                (
                    "stimulus",
                    "stim_on_time",
                    (0.0, 0.2),
                    (0.001, 0.25, "change_point", 8.0, None, None, None, None),
                    "change of the rate after a clear stimulus",
                ),
                (
                    "stimulus_threshold",
                    "stim_on_time",
                    (0.0, 0.2),
                    (0.01, 0.25, "threshold", None, 4.0, 2, 200, 1),
                    "rate beyond four standard deviations after a clear stimulus",
                ),
                (
                    "movement",
                    "first_movement_time",
                    (-0.2, 0.2),
                    (0.001, 0.0, "change_point", 8.0, None, None, None, None),
                    "change of the rate around the first movement",
                ),
                (
                    "feedback",
                    "feedback_time",
                    (0.0, 0.3),
                    (0.001, 0.0, "change_point", 8.0, None, None, None, None),
                    "change of the rate after reward or error, from that before the trial",
                ),
            )
        ),
    )

    def refuse_wrong(self, row: Any) -> None:
        """Refuse a method without its parameters."""
        super().refuse_wrong(row)
        needed = NEEDED[row["latency_method"]]
        if row.get(needed) is None:
            what = f"latency_method is {row['latency_method']!r}, and {needed} is missing."
            raise definitions.DefinitionError(
                what, f"LatencyDefinition {row['latency_definition']!r}"
            )


NEEDED = {"change_point": "min_log_ratio", "threshold": "threshold_sd"}
"""Parameter without which a method is not defined."""


@schema
class Latency(dj.Computed):
    """When the rates of units leave their baseline, over the trials in use."""

    definition = """
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> LatencyDefinition
    ---
    -> behavior.TrialMask
    -> [nullable] ephys.GoodUnits
    n_latency_trials : int32  # trials that are searched
    n_responding     : int32  # units with a latency
    """

    class Unit(dj.Part):
        """A unit's latency, with the interval in which it lies with 95 %."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        latency = null           : float64  # (s) from the event; null without a response
        latency_low = null       : float64  # (s) lower end of the interval; null if unknown
        latency_high = null      : float64  # (s) upper end of the interval; null if unknown
        latency_log_ratio = null : float64  # (nats) log likelihood ratio; null for a threshold
        rate_baseline = null     : float64  # (Hz) in the baseline; null without trials
        rate_after = null        : float64  # (Hz) from the latency to the end of the search
        index (latency_definition, latency)
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition whose trials and units are known."""
        return defined(LatencyDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the events, the units' slices and where the spikes are."""
        definition = (LatencyDefinition & key).fetch1()
        events = {definition["trial_event"], definition["latency_baseline_event"]}
        trials = fetch_trials(key, definition["trial_mask"], *sorted(events), *CONTRASTS)
        slices = fetch_slices(key, definition["criterion"])
        return definition, trials, slices, (ephys.Spikes & key).fetch1("spikes").stored

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        trials: dict[str, np.ndarray],
        slices: np.ndarray,
        stored: dict[str, Any],
    ) -> tuple:
        """Count the spikes, and search for the changes."""
        events = [trials[definition[n]] for n in ("latency_baseline_event", "trial_event")]
        _, contrast = behavior_maths.compute_stimulus(*(trials[name] for name in CONTRASTS))
        chosen = trials["is_used"] & ~np.isnan(events[0] + events[1])
        chosen &= ~(contrast < definition["min_contrast"])
        spans = [
            [definition[f"{name}_{end}"] for end in ("start", "end")]
            for name in ("latency_baseline", "search")
        ]
        trains, width = read_trains(stored, slices), definition["latency_bin"]
        edges = [psth.compute_bin_edges(start, end, width) for start, end in spans]
        pairs = zip(events, edges, strict=True)
        counts = [psth.count_by_trial(*trains, event[chosen], edge) for event, edge in pairs]
        found = _search(definition, counts, float(edges[1][0]), int(chosen.sum()))
        return definition, slices[:, 0], int(chosen.sum()), found

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        cluster_id: np.ndarray,
        n_trials: int,
        found: dict[str, np.ndarray],
    ) -> None:
        """Insert the units and how many respond."""
        table = {name: found.get(theirs) for name, theirs in LATENCY_COLUMNS.items()}
        units = pd.DataFrame({"cluster_id": cluster_id, **table})
        counts = {"n_latency_trials": n_trials, "n_responding": int(units.latency.notna().sum())}
        rows.insert1(self, {**key, **sources(definition), **counts})
        rows.insert(self.Unit(), units, key)


LATENCY_COLUMNS = {
    "latency": "latency",
    "latency_low": "low",
    "latency_high": "high",
    "latency_log_ratio": "log_ratio",
    "rate_baseline": "rate_before",
    "rate_after": "rate_after",
}


def _search(
    definition: dict[str, Any], counts: list[np.ndarray], start: float, n_trials: int
) -> dict[str, np.ndarray]:
    """Search by the method of the definition; NaN without trials."""
    if not n_trials:
        nothing = np.full(counts[0].shape[1], np.nan)
        return dict.fromkeys(LATENCY_COLUMNS.values(), nothing)
    before, after = (count.transpose(1, 0, 2) for count in counts)
    at = before, after, definition["latency_bin"], start
    if definition["latency_method"] == "change_point":
        return maths.compute_change_latencies(*at, definition["min_log_ratio"])
    rng = np.random.default_rng(definition["resampling_seed"])
    weights = maths.draw_resamples(n_trials, definition["n_resamples"], rng)
    rule = definition["threshold_sd"], definition["threshold_bins"]
    return maths.compute_threshold_latencies(*at, *rule, weights)
