"""Events of a session that activity and behaviour are aligned to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, passive, rows, wheel
from schemas.errors import QueryError
from schemas.views.errata import warn_of
from schemas.views.frames import POPULATE, fetch_trials
from schemas.views.session import require, session_key
from schemas.views.video import fetch_licks

WHEEL_MOVEMENT, LICK, GABOR = "wheel_movement", "lick", "gabor"
"""Events that are not of the trials, besides the kinds of `passive.StimulusKind`."""

MOVES_DEFINITION = "ibl"
"""Which movements of the wheel are events: a row of `wheel.MovesDefinition`."""

Times: TypeAlias = Sequence[float] | np.ndarray | pd.Series
Trials: TypeAlias = str | pd.DataFrame | dj.expression.QueryExpression | None


def fetch_events(
    recording: str,
    event: str | Times,
    trials: Trials = None,
) -> pd.DataFrame:
    """Fetch the events of a session, each with its time.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions.
    event : str or array of float
        A row of `behavior.TrialEvent`, e.g. `stim_on_time`; `wheel_movement` (onsets of movements);
        `lick`; `valve`, `tone` or `noise` (replayed in the passive protocol); `gabor`; or times (s)
        on the clock of the session.
    trials : str, DataFrame or expression, optional
        For an event of the trials: only the trials that a row of `behavior.TrialMaskDefinition`
        leaves in use, or the trials of a frame or expression with the column `trial`. Default all.

    Returns
    -------
    pandas.DataFrame
        One row per event, ordered by number: `time` (s; NaN where the event is missing) and, for
        events of trials, the columns of `fetch_trials`; for others the columns of their table.

    Raises
    ------
    QueryError
        No such recording or event, its data are not imported, or trials are chosen for an event
        that is not of the trials.
    """
    require_event(event, trials)
    if not isinstance(event, str):
        return pd.DataFrame({"time": np.asarray(event, dtype=float)})
    key = session_key(recording)
    if event == LICK:
        return pd.DataFrame({"time": fetch_licks(recording)})
    if event in (WHEEL_MOVEMENT, GABOR):
        return {WHEEL_MOVEMENT: _moves, GABOR: _gabors}[event](key)
    if event in OF_TRIALS:
        table = _of_trials(fetch_trials(recording), trials)
        return table.assign(time=table[event].to_numpy(float, na_value=np.nan))
    _require_imported(passive.PassiveStimuli & key, "replayed stimuli", key)
    found = rows.frame(passive.PassiveStimuli.Stimulus & key & {"stimulus_kind": event})
    warn_of("passive_stimuli", key)
    return found.assign(time=found.stimulus_start)


OF_TRIALS = [row["trial_event"] for row in behavior.TrialEvent.contents]
REPLAYED = [row["stimulus_kind"] for row in passive.StimulusKind.contents]


def kind_of_event(event: str) -> str:
    """Return the kind of data that an event is of, as in `session.DataKind`."""
    if event in OF_TRIALS:
        return "trials"
    others = {WHEEL_MOVEMENT: "wheel", LICK: "licks", GABOR: "passive_gabors"}
    return others.get(event, "passive_stimuli")


def require_event(event: str | Times, trials: Trials) -> None:
    """Check the name of an event, and that trials are chosen only for an event of trials.

    Raises
    ------
    QueryError
        No such event or mask of trials, or trials are chosen for an event that is not of trials.
    """
    known = [*OF_TRIALS, WHEEL_MOVEMENT, LICK, *REPLAYED, GABOR]
    if isinstance(event, str) and event not in known:
        listed = ", ".join(known)
        raise QueryError(f"no event {event!r}.", None, f"There are: {listed}; or give times (s).")
    if isinstance(event, str) and event in OF_TRIALS:
        if isinstance(trials, str):
            require(behavior.TrialMaskDefinition, "trial_mask", trials)
    elif trials is not None:
        named = event if isinstance(event, str) else "times"
        what = f"trials are chosen, but {named} are no events of trials."
        raise QueryError(what, None, "Leave out `trials`, and choose among the events.")


def _of_trials(table: pd.DataFrame, trials: Trials) -> pd.DataFrame:
    """Keep the chosen trials of the table of one session."""
    if trials is None:
        return table
    chosen = choose_trials(trials, table.eid.unique().tolist())
    return table[table.trial.isin(chosen.trial)].reset_index(drop=True)


def choose_trials(trials: Any, eids: Sequence[str]) -> pd.DataFrame:
    """Return `trial`, and `eid` where it is known, of the chosen trials of some sessions.

    Parameters
    ----------
    trials : str, DataFrame or expression
        As in `fetch_events`.
    eids : sequence of str
        The sessions.

    Raises
    ------
    QueryError
        The frame or expression has no column `trial`.
    """
    if isinstance(trials, str):
        trials = behavior.TrialMask.Trial & {"trial_mask": trials, "is_used": True}
    known = trials.columns if isinstance(trials, pd.DataFrame) else trials.heading.names
    if "trial" not in known:
        remedy = "Use for instance behavior.Trials.Trial & 'choice = 1', or fetch_trials(...)."
        raise QueryError("the chosen trials have no column trial.", None, remedy)
    if not isinstance(trials, pd.DataFrame):
        of_sessions = [{"eid": eid} for eid in eids]
        trials = rows.frame((trials & of_sessions).proj(), columns=["eid", "trial"])
    if "eid" not in trials:
        return trials[["trial"]]
    return trials.loc[trials.eid.isin(eids), ["eid", "trial"]]


def _moves(key: dict[str, Any]) -> pd.DataFrame:
    _require_imported(wheel.WheelMoves & key, "movements of the wheel", key)
    moves = rows.frame(wheel.WheelMoves.Move & key & {"moves_definition": MOVES_DEFINITION})
    warn_of("wheel", key)
    return moves.assign(time=moves.move_onset)


def _gabors(key: dict[str, Any]) -> pd.DataFrame:
    _require_imported(passive.PassiveGabors & key, "replayed Gabor patches", key)
    gabors = rows.frame(passive.PassiveGabors.Gabor & key)
    warn_of("passive_gabors", key)
    return gabors.assign(time=gabors.gabor_start)


def _require_imported(found: dj.expression.QueryExpression, what: str, key: dict[str, Any]) -> None:
    if not found:
        raise QueryError(f"no {what} are stored.", f"session {key['eid']}", POPULATE)
