"""Reaction times of trials, from event times in seconds of the session clock."""

from __future__ import annotations

import numpy as np

from schemas.maths.groups import summarise_groups

SIDES = ("left", "right")
OUTCOMES = ("correct", "error", "no_go")


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
        Contrast on that side, NaN where the side is unknown.
    """
    left, right = ~np.isnan(contrast_left), ~np.isnan(contrast_right)
    side = np.where(left & ~right, 0, np.where(right & ~left, 1, -1))
    contrast = np.where(side == 0, contrast_left, np.where(side == 1, contrast_right, np.nan))
    return side, contrast


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
