"""Reaction times over sessions."""

from __future__ import annotations

import pandas as pd

from schemas import behavior, rows
from schemas.maths.behavior import SIDES, compute_stimulus
from schemas.views.errata import warn_of
from schemas.views.session import require, session_key


def fetch_reaction_times(definition: str, recording: str | None = None) -> pd.DataFrame:
    """Fetch the reaction time of every trial with its stimulus.

    Parameters
    ----------
    definition : str
        A row of `behavior.ReactionTimeDefinition`.
    recording : str, optional
        Only the session of that eid, or of the insertion of that pid.

    Returns
    -------
    pandas.DataFrame
        One row per trial with a reaction time: `eid`, `trial`, `side`, `contrast` (fraction),
        `choice`, `feedback_type`, `reaction_time` (s), `rt_in_bounds`.

    Raises
    ------
    QueryError
        No definition has that name (the error lists those that exist), or no such recording.
    """
    require(behavior.ReactionTimeDefinition, "rt_definition", definition)
    measured = behavior.ReactionTime.Trial & {"rt_definition": definition}
    if recording is not None:
        measured = measured & session_key(recording)
    shown = behavior.Trials.Trial.proj("contrast_left", "contrast_right", "choice", "feedback_type")
    trials = rows.frame((measured & "reaction_time IS NOT NULL") * shown)
    side, contrast = compute_stimulus(
        trials.contrast_left.to_numpy(float), trials.contrast_right.to_numpy(float)
    )
    trials["side"] = pd.Series(side).map(dict(enumerate(SIDES)))
    trials["contrast"] = contrast
    warn_of("trials", trials)
    return trials.drop(columns=["rt_definition", "contrast_left", "contrast_right"])
