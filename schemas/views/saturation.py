"""Trials in which the raw recording is not saturated."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, probe, quality, rows
from schemas.errors import QueryError
from schemas.maths.intervals import count_overlapping
from schemas.views.errata import one_warning, warn_of
from schemas.views.events import OF_TRIALS, Trials, choose_trials, require_event
from schemas.views.frames import POPULATE
from schemas.views.session import find_recording


@one_warning
def unsaturated_trials(
    recording: str | dj.expression.QueryExpression,
    margin: float = 0.0,
    event: str | None = None,
    window: tuple[float, float] = (0.0, 0.4),
    trials: Trials = None,
) -> pd.DataFrame:
    """Fetch the trials that overlap no interval in which the raw recording is saturated.

    No mask of trials is stored for it: `behavior.TrialMask` is of a session, and saturation of an
    insertion, so a mask would leave trials out for the units of the other probe too.

    Parameters
    ----------
    recording : str or expression
        pid of an insertion; eid of a session, for all of its insertions; or an expression with
        the key of sessions or insertions, e.g. `views.units(...)`: a trial is left out if any of
        the insertions is saturated then.
    margin : float
        Seconds by which the trial, or the window, is longer at either end.
    event : str, optional
        A row of `behavior.TrialEvent`: look at a window around it instead of the whole trial.
    window : (float, float)
        Start and end (s from the event). The Brain-Wide Map looks at 0 to 0.4 s from `stim_on_time`
        and `feedback_time`, and at -0.2 to 0 s from `first_movement_time`.
    trials : str, DataFrame or expression, optional
        As in `views.fetch_events`: only trials among these.

    Returns
    -------
    pandas.DataFrame
        `eid` and `trial`, ordered, to be given as `trials` to `views.spike_counts`. Trials without
        a start, an end or the event are left out: of them it is not known.

    Raises
    ------
    QueryError
        No such recording or event; the saturation of an insertion, or no trial, is imported; or the
        margin or the window is negative.
    """
    _check(margin, event, window, trials)
    insertions = _find_insertions(recording)
    names = (event, event) if event else ("trial_start_time", "trial_end_time")
    table = _fetch_trials(insertions, sorted(set(names)), trials)
    intervals = rows.frame(quality.Saturation.Interval & insertions)
    begin, end = (table[name].to_numpy(float, na_value=np.nan) for name in names)
    before, after = window if event else (0.0, 0.0)
    kept = _overlap_none(table.eid, begin + before - margin, end + after + margin, intervals)
    return table.loc[kept, ["eid", "trial"]].reset_index(drop=True)


def _check(margin: float, event: str | None, window: tuple[float, float], trials: Trials) -> None:
    if not (margin >= 0 and window[0] <= window[1]):
        what = f"the margin is {margin} s and the window {window}."
        raise QueryError(what, None, "Give a margin of 0 or more, and a window that ends last.")
    if event is not None and event not in OF_TRIALS:
        known = ", ".join(OF_TRIALS)
        raise QueryError(f"no event {event!r} of trials.", None, f"There are: {known}.")
    require_event(event or OF_TRIALS[0], trials)


def _overlap_none(
    eid: pd.Series, begin: np.ndarray, end: np.ndarray, intervals: pd.DataFrame
) -> np.ndarray:
    """Tell which windows overlap no interval of their session; those with NaN are not known."""
    kept = ~(np.isnan(begin) | np.isnan(end))
    of_session = eid.groupby(eid).indices
    for session, saturated in intervals.groupby("eid"):
        at = of_session.get(session, np.array([], int))
        edges = (saturated[f"saturation_{edge}"].to_numpy() for edge in ("start", "stop"))
        kept[at] &= count_overlapping(begin[at], end[at], *edges) == 0
    return kept


def _find_insertions(recording: str | dj.expression.QueryExpression) -> Any:
    """Return the keys of insertions, all of which have their saturation imported."""
    chosen: Any = find_recording(recording) if isinstance(recording, str) else recording.proj()
    if not isinstance(recording, str) and "eid" not in recording.primary_key:
        what = "this expression has no key of sessions or insertions."
        raise QueryError(what, None, "Use for instance views.units(...).")
    insertions = (probe.ProbeInsertion & chosen).proj()
    found = rows.frame(insertions)
    missing = rows.frame(insertions - quality.Saturation.proj())
    if found.empty or len(missing):
        where = None if missing.empty else f"{missing.probe_name[0]} of session {missing.eid[0]}"
        number = f" ({len(missing)} such insertions)" if len(missing) > 1 else ""
        remedy = f"{POPULATE} Leave these insertions out by & quality.Saturation.proj()."
        raise QueryError(f"no saturation is imported{number}.", where, remedy)
    warn_of("saturation", found)
    warn_of("trials", found[["eid"]])
    return insertions


def _fetch_trials(insertions: Any, columns: list[str], trials: Trials) -> pd.DataFrame:
    """Fetch the times of the chosen trials of the sessions of insertions."""
    found = (behavior.Trials.Trial & insertions).proj(*columns)
    table = rows.frame(found, order_by="eid, trial")
    if table.empty:
        raise QueryError("no trials are imported.", None, POPULATE)
    if trials is None:
        return table
    chosen = choose_trials(trials, table.eid.unique().tolist()).drop_duplicates()
    return table.merge(chosen)
