"""Firing rates of units and regions, in windows around events of the task."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, behavior, definitions, ephys, rows, storage
from schemas.activity.base import fetch_slices, schema
from schemas.maths import activity as maths


@schema
class Window(definitions.Checked, dj.Lookup):
    """A window around an event, [start, end); `recording` is the whole recording."""

    definition = """
    # one row per window
    window_name         : varchar(32)   # name of the window
    ---
    -> [nullable] behavior.TrialEvent
    window_start = null : float64       # (s) start from the event
    window_end = null   : float64       # (s) end from the event
    window_description  : varchar(128)  # what it is used for
    """
    ascending = (("window_start", "window_end"),)
    together = (("trial_event", "window_start", "window_end"),)
    contents = rows.lookup(
        "window_name, trial_event, window_start, window_end, window_description",
        ("recording", None, None, None, "first to last spike of any unit"),
        ("stimulus", "stim_on_time", 0.0, 0.1, "canonical analyses of the stimulus"),
        ("choice", "first_movement_time", -0.1, 0.0, "canonical analyses of the choice"),
        ("feedback", "feedback_time", 0.0, 0.2, "canonical analyses of the feedback"),
        ("block", "stim_on_time", -0.4, -0.1, "canonical analyses of the prior"),
    )


@schema
class UnitRate(dj.Computed):
    """Firing rates of the units of a sort in a window, over all trials with the event.

    `trials_eid` is the session's `eid` for a window around an event: rates go with the trials
    that they were computed from. It is null for `recording`, which needs none.
    """

    definition = """
    # one row per sort of an insertion and window
    -> ephys.Spikes
    -> Window
    ---
    -> [nullable] behavior.Trials.proj(trials_eid="eid")
    n_events         : int32  # events that the rates are over; 0 for the recording
    n_dropped_events : int32  # trials without the event
    """

    class Unit(dj.Part):
        """A unit's rate."""

        definition = """
        # one row per cluster of a sort and window
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        rate = null : float64  # (Hz) mean over the events; null without events
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and window; those around events need the session's trials."""
        every = ephys.Spikes.proj() * Window.proj()
        return every & [(Window & "trial_event IS NULL").proj(), behavior.Trials.proj()]

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the window, the events, the units' slices and where the spikes are."""
        window = (Window & key).fetch1()
        sort = (ephys.Spikes & key).fetch1()
        event = window["trial_event"]
        trials = behavior.Trials.Trial & key
        events = rows.frame(trials, columns=[event])[event].to_numpy() if event else np.empty(0)
        return window, sort | {"spikes": sort["spikes"].stored}, fetch_slices(key), events

    def make_compute(
        self,
        key: dict[str, Any],
        window: dict[str, Any],
        sort: dict[str, Any],
        slices: np.ndarray,
        events: np.ndarray,
    ) -> tuple:
        """Count the spikes."""
        cluster_id, offsets, counts = slices.T
        if window["trial_event"] is None:
            first, last = (sort[name] or 0.0 for name in ("first_spike", "last_spike"))
            rates = maths.compute_recording_rates(counts, first, last)
            return cluster_id, {"rate": rates, "n_events": 0, "n_dropped": 0}, None
        time = storage.reference(sort["spikes"]).read(["time"])["time"]
        span = window["window_start"], window["window_end"]
        around = maths.compute_window_rates(time, offsets, counts, events, span)
        return cluster_id, around, key["eid"]

    def make_insert(
        self, key: dict[str, Any], cluster_id: np.ndarray, rates: dict, trials_eid: str | None
    ) -> None:
        """Insert the rates."""
        events = {"n_events": rates["n_events"], "n_dropped_events": rates["n_dropped"]}
        rows.insert1(self, {**key, **events, "trials_eid": trials_eid})
        table = pd.DataFrame({"cluster_id": cluster_id, "rate": rates["rate"]})
        rows.insert(self.Unit(), table, key)


@schema
class RegionRate(dj.Computed):
    """Firing rates of the good units of a sort by region, each unit counting once."""

    definition = """
    # one row per sort of an insertion, window and criterion
    -> UnitRate
    -> ephys.GoodUnits
    ---
    n_located_units   : int32  # good units that a region is known for
    n_unlocated_units : int32  # good units that no region is known for
    unit_rates        : json   # (Hz) rates of the good units of each structure, by its region_id
    """

    class Region(dj.Part):
        """A region's rate; in the mapping Allen a unit counts for its own structure only."""

        definition = """
        # one row per mapping and region with a good unit
        -> master
        -> atlas.Mapping
        -> atlas.BrainRegion
        ---
        is_outside       : bool     # void or root: no region, to be left out of analyses
        n_region_units   : int32    # good units with a rate
        mean_rate        : float64  # (Hz) mean over units
        median_rate      : float64  # (Hz) median over units
        sd_rate = null   : float64  # (Hz) standard deviation over units, n - 1
        sem_rate = null  : float64  # (Hz) standard error of the mean
        """

    def make(self, key: dict[str, Any]) -> None:
        """Summarise the good units' rates in every mapping."""
        n_good = (ephys.GoodUnits & key).fetch1("n_good")
        # Three frames, joined here: PostgreSQL joins rows that it has no statistics of yet by
        # comparing each with each.
        rates = rows.frame(UnitRate.Unit & key, columns=["cluster_id", "rate"])
        rates = rates.set_index("cluster_id").rate
        good = ephys.GoodUnits.Unit & key & {"is_good": True}
        good = rows.frame(good, columns=["cluster_id"]).cluster_id
        regions = atlas.BrainRegion.proj("beryl_id", "cosmos_id")
        located = (ephys.SpikeSorting.Cluster & key).proj("region_id") * regions
        located = rows.frame(located, columns=["cluster_id", *atlas.REGION_COLUMN.values()])
        units = located[located.cluster_id.isin(good) & located.cluster_id.isin(rates.index)]
        rate = rates.reindex(units.cluster_id).to_numpy()
        ids = {m: units[column].to_numpy() for m, column in atlas.REGION_COLUMN.items()}
        row = {"n_located_units": len(units), "n_unlocated_units": n_good - len(units)}
        row["unit_rates"] = maths.list_rates(rate, ids["Allen"])
        rows.insert1(self, {**key, **row})
        rows.insert(self.Region(), summarise_region_rates(rate, ids), key)


def summarise_region_rates(rate: np.ndarray, ids: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the rows of `RegionRate.Region` of units by their rates and regions by mapping."""
    table = pd.DataFrame(maths.summarise_mappings(rate, ids)).rename(columns=REGION_RATE_COLUMNS)
    return table.assign(is_outside=table.region_id.isin(atlas.OUTSIDE))


REGION_RATE_COLUMNS = {
    "n": "n_region_units",
    "mean": "mean_rate",
    "median": "median_rate",
    "sd": "sd_rate",
    "sem": "sem_rate",
}
