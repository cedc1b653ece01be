"""Performance of a mouse: psychometric and chronometric curves, and its training status."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, rows, session
from schemas.errors import QueryError
from schemas.maths import psychometric, training
from schemas.maths.behavior import (
    compute_chronometric_curve,
    compute_performance,
    compute_reaction_times,
    compute_signed_contrast,
    round_levels,
)
from schemas.maths.reversal import number_from_reversal
from schemas.views.errata import warn_of
from schemas.views.session import require, session_key

POOLED = 3
"""Number of last sessions whose trials IBL judges together."""

TRAINING = ("trained_1a", "trained_1b")
BIASED = ("ready4ephysrig",)

NO_TRIALS = dict.fromkeys(("trial", *behavior.COLUMNS), np.empty(0))

SHOWN = np.linspace(-100, 100, 401)
"""Contrasts (percent, left negative) at which fitted curves are evaluated."""


def fetch_psychometric_curve(
    recording: str, psychometric_definition: str = "plots"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fetch how often a mouse answered "right" by contrast and block, and the fitted curves.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions.
    psychometric_definition : str
        Row of `behavior.PsychometricDefinition`.

    Returns
    -------
    points : pandas.DataFrame
        One row per block and contrast: `psychometric_block` (prior, or all), `signed_contrast`
        (percent, left negative), `n` trials, `n_right`, `p_right` (fraction; a no-go counts as
        not "right").
    curves : pandas.DataFrame
        The stored fits: `psychometric_block`, `signed_contrast` (percent), `p_right`.

    Raises
    ------
    QueryError
        No such recording or definition.
    """
    key = session_key(recording)
    require(behavior.PsychometricDefinition, "psychometric_definition", psychometric_definition)
    trials = behavior.trial_columns(key)
    signed = compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    points = {}
    for block, prior in psychometric.BLOCKS.items():
        counted = psychometric.count_answers(
            signed, trials["choice"], trials["probability_left"], prior
        )
        columns = {"n": counted.n.astype(int), "n_right": counted.n_right.astype(int)}
        fraction = counted.n_right / counted.n
        points[block] = {"signed_contrast": counted.contrast, **columns, "p_right": fraction}
    fitted = behavior.Psychometric.Block & key
    fits = rows.frame(fitted & {"psychometric_definition": psychometric_definition})
    parameters = fits[[f"psych_{name}" for name in psychometric.PARAMETERS]].to_numpy()
    warn_of("trials", key)
    curves = {
        block: {"signed_contrast": SHOWN, "p_right": psychometric.compute_curve(values, SHOWN)}
        for block, values in zip(fits.psychometric_block, parameters, strict=True)
    }
    return _by_block(points, "p_right"), _by_block(curves, "p_right")


def fetch_chronometric_curve(
    recording: str, rt_definition: str = "first_movement", by_block: bool = False
) -> pd.DataFrame:
    """Fetch the reaction times of a session by signed contrast.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions.
    rt_definition : str
        Row of `behavior.ReactionTimeDefinition`. Its bounds remove no trial.
    by_block : bool
        Whether to give each prior a curve of its own besides the curve of all trials.

    Returns
    -------
    pandas.DataFrame
        One row per block and contrast: `psychometric_block` (prior, or all), `signed_contrast`
        (percent, left negative), `n` trials with and `n_missing` without a reaction time,
        `median`, `lower_quartile`, `upper_quartile` (s; NaN without reaction times).

    Raises
    ------
    QueryError
        No such recording or definition.
    """
    key = session_key(recording)
    rule = require(behavior.ReactionTimeDefinition, "rt_definition", rt_definition)
    trials = behavior.trial_columns(key)
    signed = compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    start, end = trials[rule["rt_start_event"]], trials[rule["rt_end_event"]]
    seconds = compute_reaction_times(start, end, None, None)["reaction_time"]
    curves = {}
    for block, prior in psychometric.BLOCKS.items():
        if prior is None or by_block:
            of = slice(None) if prior is None else round_levels(trials["probability_left"]) == prior
            curves[block] = compute_chronometric_curve(signed[of], seconds[of])
    warn_of("trials", key)
    return _by_block(curves, "median")


def fetch_reversal_curve(
    sessions: dj.expression.QueryExpression | str, before: int = 10, after: int = 30
) -> pd.DataFrame:
    """Fetch how often mice chose the likelier side of the new block, by trial from a switch.

    Parameters
    ----------
    sessions : expression or str
        Any expression with the key of a session, e.g. `views.sessions(lab="northlab")`; or the eid
        of a session or pid of one of its insertions.
    before, after : int
        Trials before and after a switch between blocks of the priors 0.2 and 0.8.

    Returns
    -------
    pandas.DataFrame
        One row per trial number and kind of trial: `from_switch` (-1 is the last trial before it,
        0 the first after it), `is_zero_contrast`, `n_trials` with a choice and `p_new_side`, the
        fraction of choices of the side that the block after the switch makes likelier.

    Raises
    ------
    QueryError
        No such recording, or the expression has no key of a session.
    """
    if before < 0 or after < 1:
        what = f"{before} trials before and {after} after a switch were asked for."
        raise QueryError(what, None, "Ask for 0 or more before, and 1 or more after.")
    chosen = session_key(sessions) if isinstance(sessions, str) else sessions
    if not isinstance(chosen, dict):
        if "eid" not in chosen.primary_key:
            what = f"this expression has the key {', '.join(chosen.primary_key)}."
            raise QueryError(what, None, "Use for instance views.sessions(...).")
        chosen = dj.U("eid") & chosen.proj()
    columns = ("contrast_left", "contrast_right", "choice", "probability_left")
    trials = rows.frame((behavior.Trials.Trial & chosen).proj(*columns))
    prior = trials.probability_left.astype(float)
    of_session = prior.groupby(trials.eid, sort=False)
    number = of_session.transform(lambda p: number_from_reversal(p.to_numpy(), before))
    choice = trials.choice.astype(float)
    # The left is likelier after a switch to 0.8; before it, the prior is still the old one.
    is_left = (prior > 0.5) ^ (number < 0)
    signed = trials[["contrast_left", "contrast_right"]].astype(float).max(axis=1)
    table = pd.DataFrame(
        {
            "from_switch": number,
            "is_zero_contrast": signed == 0,
            "is_new_side": (choice > 0) == is_left,
        }
    )
    kept = number.between(-before, after - 1) & choice.isin([-1, 1])
    grouped = table[kept].astype({"from_switch": int}).groupby(["from_switch", "is_zero_contrast"])
    found = grouped.is_new_side.agg(n_trials="size", p_new_side="mean")
    return found.reset_index()


def fetch_training_status(subject: str) -> pd.DataFrame:
    """Fetch the training status of a mouse after each of its sessions, as IBL judges it.

    Each status is judged over that session and the two before it. Nothing is stored: a session
    that is added or replaced changes the status of the sessions after it.

    Parameters
    ----------
    subject : str
        Name of the mouse.

    Returns
    -------
    pandas.DataFrame
        One row per session with trials, in their order: `eid`, `session_date`, `session_number`,
        `task_protocol`; `status` (see `schemas.maths.training.name_status`; a session of unknown
        protocol counts as a session with blocks); `n_pooled`, the number of sessions judged
        together (fewer than three for the first two). Over the pooled sessions: `least_trials`
        and `least_easy_performance` (fraction) of one session, and `zero_contrast_rt` (s, median
        of all trials). From the fits of the training criteria to all pooled trials: `psych_bias`
        and `psych_threshold` (percent; null once blocks are judged), `largest_lapse` (fraction)
        and `bias_shift` (percent; null before blocks are judged).

    Raises
    ------
    QueryError
        No session of that mouse has trials.
    """
    columns = ("session_date", "session_number", "task_protocol")
    held = (session.Session & {"subject": subject} & behavior.Trials.proj()).proj(*columns)
    table = rows.frame(held, order_by="session_date, session_number")
    if not len(table):
        remedy = "`subject.Subject` has the names; import trials with `bwm populate`."
        raise QueryError("no trials are imported.", f"mouse {subject}", remedy)
    warn_of("trials", table)
    by_session = behavior.trials_by_session(held)
    trials = [by_session.get(eid, NO_TRIALS) for eid in table.eid]
    is_training = ["training" in str(name).lower() for name in table.task_protocol]
    criteria = {row["training_criterion"]: row for row in behavior.TrainingCriterion.to_dicts()}
    definitions = behavior.PsychometricDefinition.to_dicts()
    fitting = {row["psychometric_definition"]: row for row in definitions}
    judged = []
    for last in range(1, len(table) + 1):
        of = slice(max(0, last - POOLED), last)
        judged.append(_judge(trials[of], is_training[of], criteria, fitting))
    return pd.concat([table, pd.DataFrame(judged)], axis=1)


def _judge(
    sessions: list[dict[str, np.ndarray]],
    is_training: list[bool],
    criteria: dict[str, dict[str, Any]],
    fitting: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Judge pooled sessions by the criteria of their protocols."""
    pooled = {name: np.concatenate([s[name] for s in sessions]) for name in sessions[0]}
    biased = not any(is_training)
    names = BIASED if biased else TRAINING
    n_trials = [len(s["trial"]) for s in sessions]
    easy = [compute_performance(s)["performance_easy"] for s in sessions]
    zero = training.compute_zero_contrast(pooled)
    blocks = psychometric.BIASED if biased else ("all",)
    definition = fitting[criteria[names[0]]["psychometric_definition"]]
    fits = psychometric.fit_blocks(pooled, definition, blocks)
    met = {
        name: bool(training.judge_training(criteria[name], n_trials, easy, fits, zero)["is_met"])
        for name in names
    }
    whole = fits.get("all", {})
    lapses = [fit[f"psych_lapse_{end}"] for fit in fits.values() for end in ("low", "high")]
    shift = psychometric.compute_bias_shift(fits)
    return {
        "status": training.name_status(is_training, met),
        "n_pooled": len(sessions),
        "least_trials": min(n_trials),
        "least_easy_performance": np.min(np.array(easy, float)),
        "zero_contrast_rt": zero["zero_contrast_rt"],
        "psych_bias": whole.get("psych_bias", np.nan),
        "psych_threshold": whole.get("psych_threshold", np.nan),
        "largest_lapse": max(lapses, default=np.nan),
        "bias_shift": np.nan if shift is None else shift,
    }


def _by_block(tables: dict[str, Any], needed: str) -> pd.DataFrame:
    """Stack the tables of the blocks; without blocks the columns are there all the same."""
    if not tables:
        return pd.DataFrame({"psychometric_block": [], "signed_contrast": [], needed: []})
    frames = {block: pd.DataFrame(columns) for block, columns in tables.items()}
    stacked = pd.concat(frames, names=["psychometric_block"])
    return stacked.reset_index(level=0).reset_index(drop=True)
