"""Responses to stimuli of the task that are replayed after it, while nothing is asked."""

from __future__ import annotations

from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import definitions, ephys, passive, rows
from schemas.activity.base import fetch_slices, read_trains, schema
from schemas.activity.responses import ResponseDefinition  # noqa: F401  (foreign keys)
from schemas.maths import activity as maths
from schemas.maths import psth

GABOR = "gabor"
"""Kind of replayed stimulus besides those of `passive.StimulusKind`."""


@schema
class PassiveResponseDefinition(definitions.Checked, dj.Lookup):
    """What a response to a replayed stimulus is: a window, a baseline as long, and units.

    `response_definition` is the response of the task that `views.fetch_passive_responses` shows
    beside it.
    """

    definition = """
    # one row per definition of a response to a replayed stimulus
    passive_definition  : varchar(32)   # name of the definition
    ---
    replayed_kind       : varchar(8)    # valve, tone, noise or gabor
    replay_start        : float64       # (s) start of the window from the stimulus
    replay_end          : float64       # (s) end of the window from the stimulus
    replay_baseline_end : float64       # (s) from the stimulus; its length is that of the window
    -> [nullable] ResponseDefinition
    -> [nullable] ephys.UnitCriterion
    passive_description : varchar(128)  # what it shows; without criterion it is of all units
    """
    names: ClassVar = {
        "replayed_kind": [row["stimulus_kind"] for row in passive.StimulusKind.contents] + [GABOR]
    }
    ascending = (("replay_start", "replay_end"),)
    contents = rows.lookup(
        "passive_definition, replayed_kind, replay_start, replay_end, replay_baseline_end, "
        "response_definition, criterion, passive_description",
        *(
            (kind, kind, 0.0, end, 0.0, response, "ibl_2022", f"{kind} against just before")
            for kind, end, response in (
                ("valve", 0.2, "feedback"),
                ("tone", 0.1, "stimulus"),
                ("noise", 0.2, "feedback"),
                (GABOR, 0.1, "stimulus"),
            )
        ),
    )


@schema
class PassiveResponse(dj.Computed):
    """Whether units fire otherwise after a replayed stimulus than before, by a test.

    `stimuli_eid` or `gabors_eid` has a value: rates go with the stimuli that they were computed
    from.
    """

    definition = """
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> PassiveResponseDefinition
    ---
    -> [nullable] passive.PassiveStimuli.proj(stimuli_eid="eid")
    -> [nullable] passive.PassiveGabors.proj(gabors_eid="eid")
    -> [nullable] ephys.GoodUnits
    n_replayed_stimuli : int32  # stimuli that are told apart
    n_unplaced         : int32  # Gabor patches without side or contrast, which are left out
    """

    class Stimulus(dj.Part):
        """A replayed stimulus; Gabor patches are told apart by side and contrast."""

        definition = """
        # one row per stimulus that is told apart
        -> master
        replayed_stimulus        : varchar(32)  # name, e.g. valve, or left 0.25
        ---
        replayed_side = null     : varchar(5)   # side of a Gabor patch
        replayed_contrast = null : float64      # (fraction) contrast of a Gabor patch
        n_replayed               : int32        # times that are averaged
        n_undetected             : int32        # times whose start was not detected
        """

    class Unit(dj.Part):
        """A unit's rates, and Wilcoxon's signed-rank test of their difference."""

        definition = """
        # one row per unit and stimulus
        -> master
        -> PassiveResponse.Stimulus
        -> ephys.SpikeSorting.Cluster
        ---
        passive_rate_before = null : float64  # (Hz) mean in the baseline; null without stimuli
        passive_rate_in = null     : float64  # (Hz) mean in the window; null without stimuli
        n_changed_replays          : int32    # stimuli with two rates that differ
        passive_statistic = null   : float64  # (ranks) smaller of the two sums of ranks
        passive_p = null           : float64  # (probability) two-sided; null where none differs
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition whose stimuli and units are known."""
        definition = PassiveResponseDefinition.proj("replayed_kind", "criterion")
        every = ephys.Spikes.proj() * definition
        every = every & [f"replayed_kind = '{GABOR}'", passive.PassiveStimuli.proj()]
        every = every & [f"replayed_kind <> '{GABOR}'", passive.PassiveGabors.proj()]
        return ephys.with_labels(every)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the stimuli, the units' slices and where the spikes are."""
        definition = (PassiveResponseDefinition & key).fetch1()
        replayed = _fetch_replayed(definition["replayed_kind"], key["eid"])
        slices = fetch_slices(key, definition["criterion"])
        return definition, replayed, slices, (ephys.Spikes & key).fetch1("spikes").stored

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        replayed: dict[str, np.ndarray],
        slices: np.ndarray,
        stored: dict[str, Any],
    ) -> tuple:
        """Compare the rates."""
        condition, stimuli = _tell_apart(definition["replayed_kind"], replayed)
        start, end = definition["replay_start"], definition["replay_end"]
        baseline = definition["replay_baseline_end"] - (end - start)
        found = maths.compute_condition_responses(
            *read_trains(stored, slices),
            replayed["time"],
            condition,
            len(stimuli),
            (baseline, definition["replay_baseline_end"]),
            (start, end),
        )
        return definition, stimuli, int((condition < 0).sum()), slices[:, 0], found

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        stimuli: pd.DataFrame,
        n_unplaced: int,
        cluster_id: np.ndarray,
        found: dict[str, np.ndarray],
    ) -> None:
        """Insert the stimuli, the rates and the tests."""
        is_gabor = definition["replayed_kind"] == GABOR
        row = {"gabors_eid" if is_gabor else "stimuli_eid": key["eid"]}
        row |= {"criterion": definition["criterion"], "n_unplaced": n_unplaced}
        rows.insert1(self, {**key, **row, "n_replayed_stimuli": len(stimuli)})
        counts = {"n_replayed": found["n_trials"], "n_undetected": found["n_missing"]}
        rows.insert(self.Stimulus(), stimuli.assign(**counts), key)
        stimulus = np.repeat(stimuli.replayed_stimulus.to_numpy(), len(cluster_id))
        units = {"replayed_stimulus": stimulus, "cluster_id": np.tile(cluster_id, len(stimuli))}
        units |= {ours: found[theirs].ravel() for ours, theirs in PASSIVE_COLUMNS.items()}
        rows.insert(self.Unit(), pd.DataFrame(units), key)


def _fetch_replayed(kind: str, eid: str) -> dict[str, np.ndarray]:
    """Fetch the time of each replayed stimulus (s), and of Gabor patches side and contrast."""
    if kind != GABOR:
        stimuli = passive.PassiveStimuli.Stimulus & {"eid": eid, "stimulus_kind": kind}
        return {"time": rows.frame(stimuli, columns=["stimulus_start"]).to_numpy(float)[:, 0]}
    names = ["gabor_start", "gabor_position", "gabor_contrast"]
    gabors = rows.frame(passive.PassiveGabors.Gabor & {"eid": eid}, columns=names)
    time, position, contrast = gabors.to_numpy(float).T
    # Left is side 0, right 1; a patch straight ahead has none.
    side = np.where(position == 0, np.nan, np.where(np.isnan(position), np.nan, position > 0))
    return {"time": time, "side": side, "contrast": contrast}


def _tell_apart(kind: str, replayed: dict[str, np.ndarray]) -> tuple[np.ndarray, pd.DataFrame]:
    """Return which stimulus was replayed each time, -1 for none, and what is told apart."""
    if kind != GABOR:
        one = {"replayed_stimulus": [kind], "replayed_side": None, "replayed_contrast": np.nan}
        return np.zeros(len(replayed["time"]), int), pd.DataFrame(one)
    condition, levels = psth.split_trials({name: replayed[name] for name in ("side", "contrast")})
    sides = psth.name_levels("side", levels["side"])
    contrasts = levels["contrast"].tolist()
    names = [f"{side} {psth.name_level(c)}" for side, c in zip(sides, contrasts, strict=True)]
    table = {"replayed_stimulus": names, "replayed_side": sides, "replayed_contrast": contrasts}
    return condition, pd.DataFrame(table)


PASSIVE_COLUMNS = {
    "passive_rate_before": "rate_before",
    "passive_rate_in": "rate_in",
    "n_changed_replays": "n_changed",
    "passive_statistic": "statistic",
    "passive_p": "p",
}
