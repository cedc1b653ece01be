"""Responses: rates in a window against a baseline, by a test over trials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, ephys, rows  # noqa: F401  (foreign keys)
from schemas.activity.base import defined, fetch_slices, fetch_trials, read_trains, schema, sources
from schemas.activity.rates import Window
from schemas.errors import DefinitionError
from schemas.maths import activity as maths


@schema
class ResponseDefinition(definitions.Checked, dj.Lookup):
    """What a response is: a window, a baseline to compare it with, trials and units.

    The baseline is as long as the window: rates over unequal times differ by chance more often to
    one side than to the other, which the test would take for a response.
    """

    definition = """
    # one row per definition of a response
    response_definition  : varchar(32)   # name of the definition
    ---
    -> Window
    -> behavior.TrialEvent.proj(baseline_event="trial_event")
    baseline_end         : float64       # (s) from that event; its length is that of the window
    -> behavior.TrialMaskDefinition
    -> [nullable] ephys.UnitCriterion
    response_description : varchar(128)  # what it shows; without criterion it is of all units
    """
    contents = rows.lookup(
        "response_definition, window_name, baseline_event, baseline_end, trial_mask, criterion, "
        "response_description",
        *(
            (n, n, "stim_on_time", -0.1, "bwm", "ibl_2022", f"{n} against before the trial")
            for n in ("stimulus", "choice", "feedback")
        ),
    )

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse a window around no event, which has no length."""
        super().refuse_wrong(row)
        if Window & {"window_name": row["window_name"]} & "trial_event IS NULL":
            where = f"ResponseDefinition {row['response_definition']!r}"
            what = f"window_name is {row['window_name']!r}, which is around no event."
            raise DefinitionError(what, where, "Name a window that a trial has.")


@schema
class UnitResponse(dj.Computed):
    """Whether units fire otherwise in a window than in a baseline, by a test over trials."""

    definition = """
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> ResponseDefinition
    ---
    -> behavior.TrialMask
    -> [nullable] ephys.GoodUnits
    n_response_trials : int32  # trials that are compared
    n_incomparable    : int32  # trials in use that lack an event
    """

    class Unit(dj.Part):
        """A unit's rates, and Wilcoxon's signed-rank test of their difference over trials."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        rate_before = null        : float64  # (Hz) mean in the baseline; null without trials
        rate_in = null            : float64  # (Hz) mean in the window; null without trials
        n_changed_trials          : int32    # trials with two rates that differ
        wilcoxon_statistic = null : float64  # (ranks) smaller of the two sums of ranks
        wilcoxon_p = null         : float64  # (probability) two-sided; null where none differs
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition whose trials and units are known."""
        return defined(ResponseDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the events, the units' slices and where the spikes are."""
        definition = (ResponseDefinition * Window & key).fetch1()
        events = {definition["trial_event"], definition["baseline_event"]}
        trials = fetch_trials(key, definition["trial_mask"], *sorted(events))
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
        """Compare the rates."""
        window = definition["window_start"], definition["window_end"]
        end = definition["baseline_end"]
        before, during = (
            (trials[definition[event]][trials["is_used"]], limits)
            for event, limits in (
                ("baseline_event", (end - (window[1] - window[0]), end)),
                ("trial_event", window),
            )
        )
        found = maths.compute_responses(*read_trains(stored, slices), before, during)
        return definition, slices[:, 0], found

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        cluster_id: np.ndarray,
        found: dict[str, Any],
    ) -> None:
        """Insert the rates and tests."""
        counts = {
            "n_response_trials": found["n_trials"],
            "n_incomparable": found["n_missing"],
        }
        rows.insert1(self, {**key, **sources(definition), **counts})
        table = {ours: found[theirs] for ours, theirs in RESPONSE_COLUMNS.items()}
        rows.insert(self.Unit(), pd.DataFrame({"cluster_id": cluster_id, **table}), key)


RESPONSE_COLUMNS = {
    "rate_before": "rate_before",
    "rate_in": "rate_in",
    "n_changed_trials": "n_changed",
    "wilcoxon_statistic": "statistic",
    "wilcoxon_p": "p",
}
