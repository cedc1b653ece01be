"""Whether a mouse is trained, by the criteria of the International Brain Laboratory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schemas.maths.behavior import compute_signed_contrast
from schemas.maths.psychometric import BIASED, compute_bias_shift

PARTS = (
    "meets_trials",
    "meets_performance",
    "meets_zero_contrast",
    "meets_bias",
    "meets_threshold",
    "meets_lapses",
    "meets_bias_shift",
    "meets_reaction_time",
)
"""Parts of a criterion, each True, False, or None where the criterion does not ask for it."""


def compute_zero_contrast(trials: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Summarise the trials without contrast.

    Parameters
    ----------
    trials : mapping of str to (n,) float arrays
        `contrast_left`, `contrast_right` (fraction), `stim_on_time`, `response_time` (s).

    Returns
    -------
    dict
        `has_zero_contrast`; `zero_contrast_rt`, the median of response - stimulus onset (s), NaN
        without such a trial. Equal to
        `brainbox.behavior.training.compute_median_reaction_time` (tolerance 1e-12 s).
    """
    signed = compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    seconds = (trials["response_time"] - trials["stim_on_time"])[signed == 0]
    known = seconds[~np.isnan(seconds)]
    median = float(np.median(known)) if len(known) else np.nan
    return {"has_zero_contrast": bool((signed == 0).any()), "zero_contrast_rt": median}


def judge_training(
    rule: Mapping[str, Any],
    n_trials: Sequence[int],
    performance_easy: Sequence[float | None],
    fits: Mapping[str, Mapping[str, Any]],
    zero_contrast: Mapping[str, Any],
) -> dict[str, bool | None]:
    """Judge one session, or several pooled, by a criterion.

    Parameters
    ----------
    rule : mapping
        `min_session_trials` and `min_easy_performance`, to be exceeded in every session;
        `max_bias` (percent, of its size), `max_threshold` (percent), `max_lapse` (fraction) and
        `max_zero_contrast_rt` (s), not to be reached; `min_shift` (percent), to be exceeded.
        None: not asked. `in_biased_blocks`: the lapses are those in the blocks 0.2 and 0.8, else
        those of all trials. `needs_zero_contrast`: whether zero contrast must have been shown.
    n_trials, performance_easy : sequences
        By session; the performance is None without easy trials.
    fits : mapping of str to mapping
        Fits of all trials together, by `BLOCKS`, as `fit_psychometric` returns them; blocks
        without trials are absent.
    zero_contrast : mapping
        As `compute_zero_contrast` returns it for all trials together.

    Returns
    -------
    dict
        `PARTS`, and `is_met`: all parts that are asked for. A value that is not known does not
        meet what is asked for.

    Notes
    -----
    The parts are those of `criterion_1a`, `criterion_1b` and `criterion_ephys` in
    `brainbox.behavior.training`; given the same numbers the answers are the same.
    """
    judged = BIASED if rule["in_biased_blocks"] else ("all",)
    lapses = [
        fits[block][f"psych_lapse_{end}"] if block in fits else np.nan
        for block in judged
        for end in ("low", "high")
    ]
    whole = fits.get("all", {"psych_bias": np.nan, "psych_threshold": np.nan})
    met = {
        "meets_trials": _exceed(n_trials, rule["min_session_trials"]),
        "meets_performance": _exceed(performance_easy, rule["min_easy_performance"]),
        "meets_zero_contrast": zero_contrast["has_zero_contrast"]
        if rule["needs_zero_contrast"]
        else None,
        "meets_bias": _stay_below([abs(whole["psych_bias"])], rule["max_bias"]),
        "meets_threshold": _stay_below([whole["psych_threshold"]], rule["max_threshold"]),
        "meets_lapses": _stay_below(lapses, rule["max_lapse"]),
        "meets_bias_shift": _exceed([compute_bias_shift(fits)], rule["min_shift"]),
        "meets_reaction_time": _stay_below(
            [zero_contrast["zero_contrast_rt"]], rule["max_zero_contrast_rt"]
        ),
    }
    return {**met, "is_met": all(part is not False for part in met.values())}


def name_status(is_training: Sequence[bool], met: Mapping[str, bool]) -> str:
    """Name how far a mouse is, from its last sessions together.

    Parameters
    ----------
    is_training : sequence of bool
        By session, whether its protocol was that of the training without blocks.
    met : mapping of str to bool
        Whether the criteria `trained_1a` and `trained_1b` (where all sessions were of training)
        or `ready4ephysrig` (where none was) are met.

    Returns
    -------
    str
        `in_training`, `trained_1a`, `trained_1b` or `ready4ephysrig`. Once a session has blocks
        the mouse is taken to have been trained 1b, as in the reference.

    Notes
    -----
    As `brainbox.behavior.training.get_training_status`, but for its two last steps, ready4delay
    and ready4recording: they ask for the rig and the delay of a session, which no release has.
    """
    if all(is_training):
        reached = [name for name in ("trained_1b", "trained_1a") if met[name]]
        return reached[0] if reached else "in_training"
    if any(is_training) or not met["ready4ephysrig"]:
        return "trained_1b"
    return "ready4ephysrig"


def _exceed(values: Sequence[float | None], least: float | None) -> bool | None:
    return None if least is None else bool((np.array(values, float) > least).all())


def _stay_below(values: Sequence[float], most: float | None) -> bool | None:
    return None if most is None else bool((np.array(values, float) < most).all())
