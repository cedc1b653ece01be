"""Firing rates of units in the intervals of a state: movement, quiescence, task, passive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, ephys, passive, rows, wheel
from schemas.activity.base import fetch_slices, read_trains, schema
from schemas.errors import DefinitionError
from schemas.maths import states as maths

TASK, PASSIVE, RECORDING = "task", "passive", "recording"


@schema
class State(definitions.Checked, dj.Lookup):
    """Which time of a session is a state: a part of it, and in or outside movements of the wheel.

    The part is `task` (start of the first trial to end of the last), `passive` (the periods of
    `passive.PassivePeriods`, or one of them) or `recording`. Each is cut to the recording (first
    to last spike of any unit), and a state of movement or stillness to the trace of the wheel.
    """

    definition = """
    # one row per state
    state               : varchar(32)   # name of the state
    ---
    state_within        : varchar(16)   # task, passive or recording: the time it is part of
    state_period = null : varchar(32)   # only this passive period; null for all together
    -> [nullable] wheel.MovesDefinition
    is_moving = null    : bool          # true in these movements, false outside; null for both
    state_description   : varchar(128)  # what it is used for
    """
    names: ClassVar = {
        "state_within": (TASK, PASSIVE, RECORDING),
        "state_period": ("passiveProtocol", "spontaneousActivity", "RFM", "taskReplay"),
    }
    together = (("moves_definition", "is_moving"),)
    contents = rows.lookup(
        "state, state_within, state_period, moves_definition, is_moving, state_description",
        ("movement", TASK, None, "ibl", True, "the wheel moves during the task"),
        ("quiescence", TASK, None, "ibl", False, "the wheel rests during the task"),
        ("passive", PASSIVE, None, None, None, "periods of the passive protocol together"),
        ("task", TASK, None, None, None, "start of the first trial to end of the last"),
    )

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse a passive period of another time."""
        super().refuse_wrong(row)
        period, within = row.get("state_period"), row["state_within"]
        if period is not None and within != PASSIVE:
            what = f"state_period is {period!r}, which is no part of {within!r}."
            remedy = f"Set state_within to {PASSIVE!r}, or leave out the period."
            raise DefinitionError(what, f"State {row['state']!r}", remedy)


@schema
class StateRate(dj.Computed):
    """Firing rates of the units of a sort in the intervals of a state.

    `task_eid`, `passive_eid` and `moves_definition` have a value where the state depends on
    trials, passive periods or movements: rates go with the rows that they were computed from.
    """

    definition = """
    # one row per sort of an insertion and state
    -> ephys.Spikes
    -> State
    ---
    -> [nullable] behavior.Trials.proj(task_eid="eid")
    -> [nullable] passive.PassivePeriods.proj(passive_eid="eid")
    -> [nullable] wheel.WheelMoves
    n_state_intervals : int32    # intervals, those that touch or overlap counted as one
    state_duration    : float64  # (s) total length of the intervals; 0 for no such time
    """

    class Unit(dj.Part):
        """A unit's rate."""

        definition = """
        # one row per cluster of a sort and state
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        state_rate = null : float64  # (Hz) spikes over the total length; null for no such time
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and state whose trials, periods and movements are known."""
        every = ephys.Spikes.proj() * State.proj("state_within", "moves_definition")
        every = every & [f"state_within <> '{TASK}'", behavior.Trials.proj()]
        every = every & [f"state_within <> '{PASSIVE}'", passive.PassivePeriods.proj()]
        return (every & ["moves_definition IS NULL", wheel.WheelMoves.proj()]).proj()

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the state, its intervals, the units' slices and where the spikes are."""
        state = (State & key).fetch1()
        sort = (ephys.Spikes & key).fetch1()
        recorded = _span(sort, "first_spike", "last_spike")
        within = _fetch_within(state, key["eid"], recorded)
        intervals = {"within": within, "recorded": recorded, **_fetch_moves(state, key["eid"])}
        return state, intervals, fetch_slices(key), sort["spikes"].stored

    def make_compute(
        self,
        key: dict[str, Any],
        state: dict[str, Any],
        intervals: dict[str, Any],
        slices: np.ndarray,
        stored: dict[str, Any],
    ) -> tuple:
        """Count the spikes."""
        found = maths.find_state(**intervals, is_moving=state["is_moving"])
        rates = maths.compute_state_rates(*read_trains(stored, slices), found)
        return state, slices[:, 0], rates

    def make_insert(
        self, key: dict[str, Any], state: dict[str, Any], cluster_id: np.ndarray, rates: dict
    ) -> None:
        """Insert the rates."""
        sources = {
            "task_eid": key["eid"] if state["state_within"] == TASK else None,
            "passive_eid": key["eid"] if state["state_within"] == PASSIVE else None,
            "moves_definition": state["moves_definition"],
        }
        time = {"n_state_intervals": rates["n_intervals"], "state_duration": rates["duration"]}
        rows.insert1(self, {**key, **sources, **time})
        table = pd.DataFrame({"cluster_id": cluster_id, "state_rate": rates["rate"]})
        rows.insert(self.Unit(), table, key)


def _span(row: Mapping[str, Any], first: str, last: str) -> tuple[float, float]:
    """Return two times of a row; NaN where it has none."""
    begin, end = (np.nan if row[name] is None else float(row[name]) for name in (first, last))
    return begin, end


def _fetch_within(state: dict[str, Any], eid: str, recorded: tuple[float, float]) -> np.ndarray:
    """Fetch the time that a state is part of, (N, 2)."""
    if state["state_within"] == RECORDING:
        return np.array([recorded])
    if state["state_within"] == TASK:
        names = ["trial_start_time", "trial_end_time"]
        trials = rows.frame(behavior.Trials.Trial & {"eid": eid}, columns=names)
        return np.array([[trials[names[0]].min(), trials[names[1]].max()]], dtype=float)
    chosen = {"eid": eid}
    if state["state_period"] is not None:
        chosen["passive_period"] = state["state_period"]
    periods = passive.PassivePeriods.Period & chosen
    return rows.frame(periods, columns=["period_start", "period_stop"]).to_numpy(float)


def _fetch_moves(state: dict[str, Any], eid: str) -> dict[str, Any]:
    """Fetch the movements of the wheel (M, 2) and the span of its trace, if they are needed."""
    if state["moves_definition"] is None:
        return {}
    of_definition = {"eid": eid, "moves_definition": state["moves_definition"]}
    columns = ["move_onset", "move_offset"]
    moves = rows.frame(wheel.WheelMoves.Move & of_definition, columns=columns)
    trace = (wheel.Wheel & {"eid": eid}).proj("wheel_start", "wheel_end").fetch1()
    return {"moves": moves.to_numpy(float), "traced": _span(trace, "wheel_start", "wheel_end")}
