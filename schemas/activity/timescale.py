"""Intrinsic timescales of units, from the autocorrelation of their spike counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, ephys, rows  # noqa: F401  (foreign keys)
from schemas.activity.base import defined, fetch_slices, fetch_trials, read_trains, schema, sources
from schemas.errors import DefinitionError
from schemas.maths import psth
from schemas.maths import timescale as maths


@schema
class TimescaleDefinition(definitions.Checked, dj.Lookup):
    """How a timescale is fitted: across trials or over the session, with which bins and lags.

    `trials` correlates the counts of two bins around an event across trials, as Murray et al. 2014
    (Nature Neuroscience 17:1661); `session` those of all bins of the recording with later ones.
    """

    definition = """
    # one row per definition of an intrinsic timescale
    timescale_definition   : varchar(32)   # name of the definition
    ---
    timescale_method       : varchar(16)   # trials, or session
    -> [nullable] behavior.TrialEvent
    timescale_start = null : float64       # (s) first bin, from the event; of trials alone
    timescale_end = null   : float64       # (s) end of the last bin, from the event
    timescale_bin          : float64       # (s) width of the bins of counts
    least_lag              : float64       # (s) shortest lag that is fitted, in whole bins
    greatest_lag           : float64       # (s) longest lag that is fitted, in whole bins
    n_timescale_blocks     : int32         # parts of the data whose spread gives the intervals
    min_timescale_spikes   : int32         # counted spikes below which a unit is not fitted
    -> [nullable] behavior.TrialMaskDefinition
    -> [nullable] ephys.UnitCriterion
    timescale_description  : varchar(128)  # what it shows; without criterion it is of all units
    """
    names: ClassVar = {"timescale_method": maths.METHODS}
    ascending = (("timescale_start", "timescale_end"), ("least_lag", "greatest_lag"))
    positive = ("timescale_bin", "least_lag")
    together = (("trial_event", "timescale_start", "timescale_end", "trial_mask"),)
    contents = rows.lookup(
        "timescale_definition, timescale_method, trial_event, timescale_start, timescale_end, "
        "timescale_bin, least_lag, greatest_lag, n_timescale_blocks, min_timescale_spikes, "
        "trial_mask, criterion, timescale_description",
        (
            *("session", "session", None, None, None, 0.02, 0.02, 1.0, 20, 1000),
            *(None, "ibl_2022", "counts in bins of 20 ms over the whole recording"),
        ),
        (
            *("before_stimulus", "trials", "stim_on_time", -0.5, 0.0, 0.05, 0.05, 0.45, 20, 100),
            *("bwm", "ibl_2022", "counts in bins of 50 ms before the stimulus, across trials"),
        ),
    )

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse events without trials, trials without events, and too few lags or blocks."""
        super().refuse_wrong(row)
        if not self.heading.attributes.keys() <= row.keys():
            return  # the database says what is missing
        if problem := _problem(row):
            raise DefinitionError(problem, f"TimescaleDefinition {row['timescale_definition']!r}")


def _problem(row: Mapping[str, Any]) -> str | None:
    """Say why no timescale can be fitted by a definition, if so."""
    of_trials = row["timescale_method"] == "trials"
    if of_trials == pd.isna(row["trial_event"]):
        what = "needs a trial_event" if of_trials else "takes no trial_event"
        return f"the method {row['timescale_method']!r} {what}."
    first, last = _lags(row)
    if last - first < 2:
        n = max(last - first + 1, 0)
        return f"least_lag and greatest_lag leave {n} lags of whole bins: three are needed."
    n_bins = len(_edges(row)) - 1 if of_trials else last + 1
    if last >= n_bins:
        return f"greatest_lag is {row['greatest_lag']!r}, as long as the {n_bins} bins or longer."
    if row["n_timescale_blocks"] < maths.LEAST_BLOCKS:
        return f"n_timescale_blocks is {row['n_timescale_blocks']!r}: three are needed."
    return None


@schema
class Timescale(dj.Computed):
    """Intrinsic timescales of units, by an exponential decay with an offset."""

    definition = """
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> TimescaleDefinition
    ---
    -> [nullable] behavior.TrialMask
    -> [nullable] ephys.GoodUnits
    n_timescales          : int32  # units with a timescale
    n_without_timescale   : int32  # units without, each with its reason
    n_timescale_trials    : int32  # trials that are compared; 0 over the session
    n_timescale_eventless : int32  # trials in use that lack the event; 0 over the session
    """

    class Unit(dj.Part):
        """A unit's timescale, or why it has none, as in `maths.timescale.FAILURES`."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        tau = null               : float64      # (s) timescale; null where the fit fails
        tau_low = null           : float64      # (s) lower end of the interval of 95 percent
        tau_high = null          : float64      # (s) upper end of the interval
        tau_amplitude = null     : float64      # (correlation) of the decay, at a lag of 0
        tau_offset = null        : float64      # (correlation) at long lags
        timescale_failure = null : varchar(16)  # why there is no timescale; null where there is
        n_correlated_spikes      : int64        # spikes that are counted
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition for which the trials and units that it asks for are."""
        return defined(TimescaleDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the events, the units' slices and where the spikes are."""
        definition, events = (TimescaleDefinition & key).fetch1(), None
        if definition["timescale_method"] == "trials":
            trials = fetch_trials(key, definition["trial_mask"], definition["trial_event"])
            events = trials[definition["trial_event"]][trials["is_used"]]
        sort = (ephys.Spikes & key).fetch1()
        slices = fetch_slices(key, definition["criterion"])
        return definition, events, slices, sort | {"spikes": sort["spikes"].stored}

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        events: np.ndarray | None,
        slices: np.ndarray,
        sort: dict[str, Any],
    ) -> tuple:
        """Correlate the counts and fit the decay."""
        known = None if events is None else events[~np.isnan(events)]
        correlation = _correlate(definition, known, slices, sort)
        (first, n_lags), width = _lags(definition), definition["timescale_bin"]
        lags = np.arange(1, n_lags + 1) * width
        least, limits = definition["min_timescale_spikes"], (width / 2, 2 * lags[-1])
        found = maths.fit_decay(correlation, lags, first - 1, least, limits)
        units = pd.DataFrame(found).rename(columns=UNIT_COLUMNS)
        failure = units.timescale_failure
        units["timescale_failure"] = failure.where(failure != "", None)
        units = units.assign(cluster_id=slices[:, 0], n_correlated_spikes=correlation.n_spikes)
        n_known, n_used = (0 if each is None else len(each) for each in (known, events))
        return definition, units, n_known, n_used - n_known

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        units: pd.DataFrame,
        n_events: int,
        n_lacking: int,
    ) -> None:
        """Insert the timescales."""
        counts = {
            "n_timescales": int(units.tau.notna().sum()),
            "n_without_timescale": int(units.tau.isna().sum()),
            "n_timescale_trials": n_events,
            "n_timescale_eventless": n_lacking,
        }
        rows.insert1(self, {**key, **sources(definition), **counts})
        rows.insert(self.Unit(), units, key)


UNIT_COLUMNS = {
    "amplitude": "tau_amplitude",
    "offset": "tau_offset",
    "failure": "timescale_failure",
}


def _correlate(
    definition: dict[str, Any], events: np.ndarray | None, slices: np.ndarray, sort: dict[str, Any]
) -> maths.Correlation:
    """Correlate counts around events, or those of the recording where there are none."""
    times, offsets, counts = read_trains(sort["spikes"], slices)
    n_lags, n_blocks = _lags(definition)[1], definition["n_timescale_blocks"]
    if events is None:
        span = (sort["first_spike"] or 0.0, sort["last_spike"] or 0.0)
        width = definition["timescale_bin"]
        return maths.correlate_session(times, counts, span, width, n_lags, n_blocks)
    n_spikes = psth.count_spikes(times, offsets, counts, events, _edges(definition))
    return maths.correlate_trials(n_spikes, n_lags, n_blocks)


def _lags(definition: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first and last lag in bins: the nearest whole ones."""
    first, last = (definition[name] for name in ("least_lag", "greatest_lag"))
    width = definition["timescale_bin"]
    return max(round(first / width), 1), round(last / width)


def _edges(definition: Mapping[str, Any]) -> np.ndarray:
    limits = (definition[f"timescale_{name}"] for name in ("start", "end", "bin"))
    return psth.compute_bin_edges(*limits)
