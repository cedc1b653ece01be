"""Stimuli, outcomes, reaction times and masks of trials; times in seconds of the session clock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from schemas.maths.groups import summarise_groups

SIDES = ("left", "right")
OUTCOMES = ("correct", "error", "no_go")
EASY = 50.0
"""Contrast (percent) from which on a trial is easy, on either side."""

NEEDED = (
    "stim_on_time",
    "choice",
    "feedback_time",
    "probability_left",
    "first_movement_time",
    "feedback_type",
)
"""Columns without which a trial is incomplete."""


def compute_stimulus(
    contrast_left: np.ndarray, contrast_right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Find the side and contrast of each trial's stimulus.

    The side of a zero-contrast trial is kept: it is the side whose contrast is not NaN.

    Parameters
    ----------
    contrast_left, contrast_right : (n,) float arrays
        Contrast as a fraction; NaN on the side without stimulus.

    Returns
    -------
    side : (n,) int array
        0 left, 1 right, -1 where neither or both sides have a contrast.
    contrast : (n,) float array
        Contrast on that side, rounded as by `round_levels`; NaN where the side is unknown.
    """
    left, right = ~np.isnan(contrast_left), ~np.isnan(contrast_right)
    side = np.where(left & ~right, 0, np.where(right & ~left, 1, -1))
    contrast = np.where(side == 0, contrast_left, np.where(side == 1, contrast_right, np.nan))
    return side, round_levels(contrast)


def compute_signed_contrast(contrast_left: np.ndarray, contrast_right: np.ndarray) -> np.ndarray:
    """Give each stimulus one number: its contrast, negative on the left.

    Parameters
    ----------
    contrast_left, contrast_right : (n,) float arrays
        Contrast as a fraction; NaN on the side without stimulus.

    Returns
    -------
    (n,) float array
        Percent. A zero-contrast stimulus on the left is -0.0: equal to 0.0, and `np.signbit` tells
        its side. NaN where neither or both sides have a contrast.

    Notes
    -----
    100 (right - left), as `brainbox.behavior.training.get_signed_contrast`; equal to it to the
    bit wherever one side has a contrast. Where both lack it, that function gives 0.
    """
    side, contrast = compute_stimulus(contrast_left, contrast_right)
    return 100 * np.where(side == 0, -contrast, contrast)


def compute_blocks(probability_left: np.ndarray) -> dict[str, np.ndarray]:
    """Give each block of a session a number: trials in a row with the same prior.

    Parameters
    ----------
    probability_left : (n,) float array
        Prior of a left stimulus (fraction); a NaN belongs to no block and ends none.

    Returns
    -------
    dict
        `block` (n,) int, from 0, -1 where the prior is NaN; and by block, (k,) arrays: `length`
        (trials) and `block_probability` (fraction).
    """
    known = ~np.isnan(probability_left)
    prior = round_levels(probability_left[known])
    starts = np.flatnonzero(np.diff(prior, prepend=np.nan) != 0)
    block = np.full(len(probability_left), -1)
    lengths = np.diff(np.append(starts, len(prior)))
    block[known] = np.repeat(np.arange(len(starts)), lengths)
    return {"block": block, "length": lengths, "block_probability": prior[starts]}


def round_levels(values: np.ndarray) -> np.ndarray:
    """Round contrasts or priors to 6 decimals: 0.2 and 1 - 0.8 are one level."""
    return np.round(values, 6)


def compute_performance(trials: Mapping[str, np.ndarray]) -> dict[str, float | int | None]:
    """Summarise how well a session was done.

    Parameters
    ----------
    trials : mapping of str to (n,) float arrays
        `contrast_left`, `contrast_right`, `choice`, `feedback_type`, `probability_left`, as
        released; NaN where missing. Trials of at least 50 percent on either side are easy.

    Returns
    -------
    dict
        Counts `n_correct`, `n_no_go`, `n_easy` and `n_blocks`; `performance` and
        `performance_easy`, the fraction of rewarded trials among all and among the easy ones. A
        no-go, and a trial without feedback, count as not correct. A fraction is None without
        trials to count, or where no trial at all has a feedback.

    Notes
    -----
    Equal to `brainbox.behavior.training.compute_performance_easy` (tolerance 1e-12) where there
    are easy trials; that function divides by zero where there are none.
    """
    signed = compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    correct, easy = trials["feedback_type"] == 1, np.abs(signed) >= EASY
    known = not np.isnan(trials["feedback_type"]).all()
    return {
        "n_correct": int(correct.sum()),
        "n_no_go": int((trials["choice"] == 0).sum()),
        "n_easy": int(easy.sum()),
        "performance": float(correct.mean()) if known else None,
        "performance_easy": float(correct[easy].mean()) if known and easy.any() else None,
        "n_blocks": len(compute_blocks(trials["probability_left"])["length"]),
    }


def compute_outcome(choice: np.ndarray, feedback_type: np.ndarray) -> np.ndarray:
    """Name the outcome of each trial.

    Parameters
    ----------
    choice, feedback_type : (n,) float arrays
        As released: choice -1, 0 (no-go), +1; feedback +1 reward, -1 error (no-go included).

    Returns
    -------
    (n,) int array
        Index into `OUTCOMES`, -1 where choice or feedback is NaN.
    """
    outcome = np.where(choice == 0, 2, np.where(feedback_type > 0, 0, 1))
    return np.where(np.isnan(choice) | np.isnan(feedback_type), -1, outcome)


def compute_reaction_times(
    start: np.ndarray, end: np.ndarray, shortest: float | None, longest: float | None
) -> dict[str, np.ndarray]:
    """Take the time from one event to another, and flag what lies outside the bounds.

    Parameters
    ----------
    start, end : (n,) float arrays
        Event times (s); NaN where the event is missing.
    shortest, longest : float or None
        Bounds (s), themselves within bounds; None is no bound.

    Returns
    -------
    dict
        `reaction_time` (n,) seconds, NaN where an event is missing; `too_fast`, `too_slow` and
        `is_valid` (n,) bool: not missing and within bounds.
    """
    seconds = end - start
    known = ~np.isnan(seconds)
    too_fast = known & (seconds < (-np.inf if shortest is None else shortest))
    too_slow = known & (seconds > (np.inf if longest is None else longest))
    return {
        "reaction_time": seconds,
        "too_fast": too_fast,
        "too_slow": too_slow,
        "is_valid": known & ~too_fast & ~too_slow,
    }


def summarise_reaction_times(reaction: dict[str, np.ndarray]) -> dict[str, float | int | None]:
    """Summarise a session: counts, and mean and median (s) of the trials within bounds."""
    valid = reaction["reaction_time"][reaction["is_valid"]]
    return {
        "n_reactions": len(valid),
        "n_missing": int(np.isnan(reaction["reaction_time"]).sum()),
        "n_too_fast": int(reaction["too_fast"].sum()),
        "n_too_slow": int(reaction["too_slow"].sum()),
        "rt_mean": float(valid.mean()) if len(valid) else None,
        "rt_median": float(np.median(valid)) if len(valid) else None,
    }


def summarise_conditions(
    reaction: dict[str, np.ndarray], side: np.ndarray, contrast: np.ndarray, outcome: np.ndarray
) -> dict[str, np.ndarray]:
    """Summarise the trials within bounds by side, contrast and outcome.

    Parameters
    ----------
    reaction : dict
        As `compute_reaction_times` returns it.
    side, contrast, outcome : (n,) arrays
        As `compute_stimulus` and `compute_outcome` return them; trials of unknown side or
        outcome belong to no condition.

    Returns
    -------
    dict
        (k,) arrays, one entry a condition with at least one trial: `stimulus_side` and
        `outcome` (text), `stimulus_contrast` (fraction), `n`, `mean`, `median`, `sem` (s; NaN
        for a single trial).
    """
    used = reaction["is_valid"] & (side >= 0) & (outcome >= 0)
    labels = np.column_stack([side[used], contrast[used], outcome[used]])
    conditions, group = np.unique(labels, axis=0, return_inverse=True)
    summary = summarise_groups(reaction["reaction_time"][used], group.ravel(), len(conditions))
    return {
        "stimulus_side": np.array(SIDES, dtype=object)[conditions[:, 0].astype(int)],
        "stimulus_contrast": conditions[:, 1],
        "outcome": np.array(OUTCOMES, dtype=object)[conditions[:, 2].astype(int)],
        **{name: summary[name] for name in ("n", "mean", "median", "sem")},
    }


def compute_chronometric_curve(
    signed_contrast: np.ndarray, reaction_time: np.ndarray
) -> dict[str, np.ndarray]:
    """Summarise reaction times by signed contrast.

    Parameters
    ----------
    signed_contrast : (n,) float array
        Percent, left negative; the two sides of zero are one. Trials with NaN are left out.
    reaction_time : (n,) float array
        Seconds; NaN where an event is missing.

    Returns
    -------
    dict
        (k,) arrays by signed contrast, ascending: `signed_contrast` (percent), `n` trials with a
        reaction time, `n_missing` without, `median`, `lower_quartile` and `upper_quartile` (s;
        linear between values; NaN where no trial has a reaction time).

    Notes
    -----
    Medians equal `brainbox.behavior.training.compute_reaction_time` (tolerance 1e-12 s).
    """
    shown = ~np.isnan(signed_contrast)
    levels, level = np.unique(round_levels(signed_contrast[shown]) + 0.0, return_inverse=True)
    seconds = reaction_time[shown]
    known = ~np.isnan(seconds)
    order = np.argsort(level[known], kind="stable")
    n = np.bincount(level[known], minlength=len(levels))
    groups = np.split(seconds[known][order], np.cumsum(n)[:-1]) if len(levels) else []
    quartiles = [np.quantile(g, (0.25, 0.5, 0.75)) if len(g) else [np.nan] * 3 for g in groups]
    lower, median, upper = np.reshape(quartiles, (-1, 3)).T
    return {
        "signed_contrast": levels,
        "n": n,
        "n_missing": np.bincount(level[~known], minlength=len(levels)),
        "median": median,
        "lower_quartile": lower,
        "upper_quartile": upper,
    }


def compute_truncation(
    signed_contrast: np.ndarray, feedback_type: np.ndarray, min_trials: int, min_performance: float
) -> int | None:
    """Find how many trials to keep, from the first, so that a session meets a criterion.

    Parameters
    ----------
    signed_contrast, feedback_type : (n,) float arrays
        Percent; +1 reward, anything else (NaN included) is not correct.
    min_trials : int
        More trials than this are needed.
    min_performance : float
        A higher fraction of easy trials (at least 50 percent contrast) must be correct.

    Returns
    -------
    int or None
        The largest number of first trials that meets both; None where none does.

    Notes
    -----
    The documented rule of the Brain-Wide Map: trailing trials are dropped one by one until the
    criterion is met, and the session fails when only `min_trials` remain.
    """
    easy = np.abs(round_levels(signed_contrast)) >= EASY
    n_easy, n_right = np.cumsum(easy), np.cumsum(easy & (feedback_type == 1))
    performance = n_right / np.maximum(n_easy, 1)
    n = np.arange(1, len(easy) + 1)
    met = (n > min_trials) & (n_easy > 0) & (performance > min_performance)
    return int(n[met][-1]) if met.any() else None


def _truncate(trials: Mapping[str, np.ndarray], rule: Mapping[str, Any]) -> int | None:
    """Return how many first trials meet the criterion of a rule; None if no number does."""
    signed = compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    limits = rule["truncation_min_trials"], rule["truncation_min_performance"]
    return compute_truncation(signed, trials["feedback_type"], *limits)


def compute_trial_mask(
    trials: Mapping[str, np.ndarray],
    reaction: Mapping[str, np.ndarray] | None,
    rule: Mapping[str, Any],
) -> dict[str, Any]:
    """Say which trials are used, and why the others are not.

    Parameters
    ----------
    trials : mapping of str to (n,) float arrays
        Columns `NEEDED`, `go_cue_time`, `contrast_left` and `contrast_right`; NaN where missing.
    reaction : mapping or None
        As `compute_reaction_times` returns it; None if the reaction time is no matter.
    rule : mapping
        `drops_incomplete` (a NaN in one of `NEEDED`), `drops_unbiased` (prior 0.5), `drops_no_go`;
        `shortest_trial`, `longest_trial` (s from go cue to feedback, themselves allowed);
        `truncation_min_trials` and `truncation_min_performance`, see `compute_truncation`. None
        is no limit.

    Returns
    -------
    dict
        `is_used` (n,) bool; `exclusion` (n,) text, the first reason that holds of criterion,
        truncated, incomplete, too_fast, too_slow, too_short, too_long, unbiased and no_go, empty
        where used; `n_used`, `n_truncated`; `criterion_met`, None without truncation. A session
        that does not meet the criterion has no trial in use: each says criterion, none truncated.

    Notes
    -----
    A comparison with NaN excludes nothing: only `drops_incomplete` does. Truncation looks at all
    trials, before any other is excluded.
    """
    n, min_trials = len(trials["choice"]), rule["truncation_min_trials"]
    kept = n if min_trials is None else _truncate(trials, rule)
    length = trials["feedback_time"] - trials["go_cue_time"]
    none = np.zeros(n, bool)
    shortest, longest = rule["shortest_trial"], rule["longest_trial"]
    reasons = {
        "criterion": np.full(n, kept is None),
        "truncated": np.arange(n) >= (n if kept is None else kept),
        "incomplete": np.any([np.isnan(trials[name]) for name in NEEDED], axis=0)
        & bool(rule["drops_incomplete"]),
        "too_fast": none if reaction is None else reaction["too_fast"],
        "too_slow": none if reaction is None else reaction["too_slow"],
        "too_short": none if shortest is None else length < shortest,
        "too_long": none if longest is None else length > longest,
        "unbiased": (round_levels(trials["probability_left"]) == 0.5)
        & bool(rule["drops_unbiased"]),
        "no_go": (trials["choice"] == 0) & bool(rule["drops_no_go"]),
    }
    exclusion = np.select(list(reasons.values()), list(reasons), default="")
    return {
        "is_used": exclusion == "",
        "exclusion": exclusion,
        "n_used": int((exclusion == "").sum()),
        "n_truncated": int(reasons["truncated"].sum()),
        "criterion_met": None if min_trials is None else kept is not None,
    }
