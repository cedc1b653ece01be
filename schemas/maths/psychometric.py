"""Psychometric curves: how often the mouse answers "right", by the contrast of the stimulus."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy

from schemas.maths.behavior import compute_signed_contrast, round_levels

PARAMETERS = ("bias", "threshold", "lapse_low", "lapse_high")
BLOCKS: Mapping[str, float | None] = {"all": None, "0.2": 0.2, "0.5": 0.5, "0.8": 0.8}
"""Prior of a left stimulus in the trials of a fit; None is any prior."""
BIASED = ("0.2", "0.8")

OUTSIDE = 1e7
"""Cost of parameters outside the bounds, as in the reference."""

STEEPEST = 1e-3
"""Threshold (percent) below which the curve is a step: it keeps 0 out of the division."""

ROUNDING = np.finfo(float).eps
STEPS, TRIES = 25, 25
"""At most so many steps to a maximum, and places tried for an end of an interval."""

SETTLED, STIFF = 1e-8, 1e6
"""A search ends where a step changes the log-likelihood by less, or is damped by more."""

NEAR = 5e-3
"""How near the end of an interval must come to the quantile, in standard errors."""


@dataclass(frozen=True)
class Answers:
    """Answers by contrast: `contrast` (k,) percent ascending, `n` and `n_right` (k,) trials."""

    contrast: np.ndarray
    n: np.ndarray
    n_right: np.ndarray


def count_answers(
    signed_contrast: np.ndarray,
    choice: np.ndarray,
    probability_left: np.ndarray,
    prior: float | None = None,
) -> Answers:
    """Count the answers "right" at each contrast.

    Parameters
    ----------
    signed_contrast : (n,) float array
        Percent, left negative; the two sides of zero are one.
    choice : (n,) float array
        -1 answers "right", +1 "left". 0, no answer, counts as a trial that is not "right", as in
        `brainbox.behavior.training.compute_performance`.
    probability_left : (n,) float array
        Prior of a left stimulus (fraction).
    prior : float, optional
        Trials with this prior only.

    Returns
    -------
    Answers
        Trials whose contrast or choice is NaN are left out (that function counts a choice that
        is NaN as not "right").
    """
    used = ~np.isnan(signed_contrast) & ~np.isnan(choice)
    if prior is not None:
        used &= round_levels(probability_left) == prior
    contrast, level = np.unique(round_levels(signed_contrast[used]) + 0.0, return_inverse=True)
    n = np.bincount(level, minlength=len(contrast)).astype(float)
    right = np.bincount(level, weights=choice[used] == -1, minlength=len(contrast))
    return Answers(contrast, n, right)


def compute_curve(parameters: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Evaluate the psychometric function.

    P(right) = low + (1 - low - high) (1 + erf((contrast - bias) / threshold)) / 2

    Parameters
    ----------
    parameters : (..., 4) float array
        `PARAMETERS`: bias and threshold (percent), lapse at the low end (P of answering "right" at
        the far left) and at the high end (P of not answering "right" at the far right).
    contrast : (k,) float array
        Percent, left negative.

    Returns
    -------
    (..., k) float array
        Probabilities. Equal to `psychofit.erf_psycho_2gammas` (tolerance 1e-12).
    """
    bias, threshold, low, high = np.moveaxis(parameters, -1, 0)[..., None]
    return low + (1 - low - high) * _rise((contrast - bias) / threshold)


def _rise(z: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * scipy.special.erf(z)


def _bernoulli(p: np.ndarray, answers: Answers) -> np.ndarray:
    """Log-likelihood (...) of answers whose probabilities (..., k) are kept off 0 and 1."""
    p = np.minimum(np.maximum(p, ROUNDING), 1 - ROUNDING)
    return np.log(p) @ answers.n_right + np.log(1 - p) @ (answers.n - answers.n_right)


def compute_log_likelihood(parameters: np.ndarray, answers: Answers) -> np.ndarray:
    """Take the binomial log-likelihood of answers, without the term of the coefficients.

    Parameters
    ----------
    parameters : (..., 4) float array
        As for `compute_curve`.
    answers : Answers
        As `count_answers` returns them.

    Returns
    -------
    (...) float array
        Natural logarithm. Probabilities of 0 and 1 are moved by one rounding error. Equal to
        minus `psychofit.neg_likelihood` within the bounds (tolerance 1e-9).
    """
    return _bernoulli(compute_curve(parameters, answers.contrast), answers)


def fit_psychometric(answers: Answers, rule: Mapping[str, Any]) -> dict[str, float | int]:
    """Fit the psychometric function by maximum likelihood, with confidence intervals.

    Parameters
    ----------
    answers : Answers
        With at least one trial.
    rule : mapping
        Starts `bias_start`, `threshold_start`, `lapse_start`; bounds `bias_min`, `bias_max`,
        `threshold_min`, `threshold_max`, `lapse_max` (percent contrast; lapses as fractions, from
        0); a bias of None is the mean, the least or the largest contrast. `n_fits` searches, the
        first from the start, the others from places drawn with `fit_seed` between the bounds;
        `ci_level` (fraction).

    Returns
    -------
    dict
        `n_fit_trials`, `log_likelihood`; and of `bias`, `threshold` (percent), `lapse_low` and
        `lapse_high` (fractions) `psych_<name>`, `psych_<name>_ci_low` and `psych_<name>_ci_high`.

    Notes
    -----
    The model, its bounds and the searches (Nelder-Mead, 1e7 outside the bounds) are those of
    `psychofit` as `brainbox.behavior.training.compute_psychometric` calls it. The searches stop
    earlier; each is then carried to its maximum by Newton steps within the bounds. Where the
    reference reaches the same maximum (log-likelihood within 1e-6, 300 trials or more) bias and
    threshold agree within 0.01 percent, lapses within 1e-4. With the bounds of plots the
    log-likelihood is never lower than the reference's by more than 1e-9. With those of training,
    which let the curve be a step, fits of few trials have several maxima, and the unseeded
    searches of the reference end in another of them, mostly a lower one.

    Intervals are those of the profile likelihood: all values of a parameter, next to the estimate
    and within the bounds, for which the others can be chosen so that the log-likelihood falls by
    less than half the quantile of chi-squared with one degree of freedom. Their ends are exact to
    0.5 percent of a standard error, but for fits of few trials, whose profile has several maxima.
    A bootstrap would give an interval of no length where a lapse is estimated as 0, which is
    common.
    """
    lower, upper, start = _limits(answers.contrast, rule)
    found, heights = _climb(_search(answers, lower, upper, start, rule), answers, lower, upper)
    best, peak = found[heights.argmax()], heights.max()
    low, high = _profile(best, peak, answers, lower, upper, rule["ci_level"])
    fitted = {"n_fit_trials": int(answers.n.sum()), "log_likelihood": float(peak)}
    for i, name in enumerate(PARAMETERS):
        fitted[f"psych_{name}"] = float(best[i])
        fitted[f"psych_{name}_ci_low"] = float(low[i])
        fitted[f"psych_{name}_ci_high"] = float(high[i])
    return fitted


def fit_blocks(
    trials: Mapping[str, np.ndarray], rule: Mapping[str, Any], blocks: Iterable[str] = BLOCKS
) -> dict[str, dict[str, float | int]]:
    """Fit the trials of each block, and all trials.

    Parameters
    ----------
    trials : mapping of str to (n,) float arrays
        `contrast_left`, `contrast_right`, `choice` and `probability_left`, as released.
    rule : mapping
        As for `fit_psychometric`.
    blocks : iterable of str, optional
        Which of `BLOCKS`.

    Returns
    -------
    dict
        What `fit_psychometric` returns, by block; those without trials are absent.
    """
    signed = compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    answers = {
        block: count_answers(signed, trials["choice"], trials["probability_left"], BLOCKS[block])
        for block in blocks
    }
    return {block: fit_psychometric(a, rule) for block, a in answers.items() if len(a.n)}


def compute_bias_shift(fits: Mapping[str, Mapping[str, Any]]) -> float | None:
    """Take the bias in the 0.8 block minus that in the 0.2 block (percent); None without both."""
    if not fits.keys() >= set(BIASED):
        return None
    return float(fits["0.8"]["psych_bias"] - fits["0.2"]["psych_bias"])


def _limits(contrast: np.ndarray, rule: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
    """Bounds and start (4,), those of the bias taken from the contrasts where they are None."""
    of_data = {
        "bias_min": contrast.min(),
        "bias_max": contrast.max(),
        "bias_start": contrast.mean(),
    }
    bias = {name: of_data[name] if rule[name] is None else rule[name] for name in of_data}
    steepest = max(rule["threshold_min"], STEEPEST)
    lapse = rule["lapse_start"]
    return (
        np.array([bias["bias_min"], steepest, 0.0, 0.0]),
        np.array([bias["bias_max"], rule["threshold_max"], rule["lapse_max"], rule["lapse_max"]]),
        np.array([bias["bias_start"], rule["threshold_start"], lapse, lapse]),
    )


def _search(
    answers: Answers,
    lower: np.ndarray,
    upper: np.ndarray,
    start: np.ndarray,
    rule: Mapping[str, Any],
) -> np.ndarray:
    """Find the neighbourhoods of maxima (n_fits, 4)."""
    random = np.random.default_rng(rule["fit_seed"])
    drawn = lower + random.random((rule["n_fits"] - 1, 4)) * (upper - lower)
    least, most = lower.tolist(), upper.tolist()

    def cost(parameters: np.ndarray) -> float:
        """Evaluate one set of parameters: as `compute_log_likelihood`, without its overhead."""
        values = parameters.tolist()
        if not all(map(_between, least, values, most)):
            return OUTSIDE
        bias, threshold, low, high = values
        rise = _rise((answers.contrast - bias) / threshold)
        return -float(_bernoulli(low + (1 - low - high) * rise, answers))

    options = {"xatol": 2.0, "fatol": 0.05}
    places = (start, *drawn)
    return np.array(
        [scipy.optimize.minimize(cost, x, method="Nelder-Mead", options=options).x for x in places]
    )


def _between(least: float, value: float, most: float) -> bool:
    return least <= value <= most


def _climb(
    parameters: np.ndarray,
    answers: Answers,
    lower: np.ndarray,
    upper: np.ndarray,
    free: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Carry each row to a maximum of the likelihood within the bounds, all rows at once.

    Damped Newton steps. What is not `free` (m, 4), and what is at a bound that the likelihood
    pushes against, stays.

    Returns
    -------
    parameters, log_likelihood : (m, 4) and (m,) float arrays
    """
    at = np.clip(parameters, lower, upper)
    free = np.ones(at.shape, bool) if free is None else free
    height = compute_log_likelihood(at, answers)
    damping, settled = np.full(len(at), 1e-3), np.zeros(len(at), bool)
    for _ in range(STEPS):
        gradient, curvature = _derive(at, answers)
        moving = free & ~((at <= lower) & (gradient < 0)) & ~((at >= upper) & (gradient > 0))
        tried = np.clip(at + _step(gradient, curvature, moving, damping), lower, upper)
        gain = compute_log_likelihood(tried, answers) - height
        better = gain > 0
        at = np.where(better[:, None], tried, at)
        height = np.where(better, height + gain, height)
        damping = np.where(better, np.maximum(damping / 10, 1e-8), damping * 10)
        settled |= (abs(gain) < SETTLED) | (damping > STIFF)
        if settled.all():
            break
    return at, height


def _derive(at: np.ndarray, answers: Answers) -> tuple[np.ndarray, np.ndarray]:
    """First (m, 4) and minus the second derivatives (m, 4, 4) of the log-likelihood."""
    bias, threshold, low, high = at.T[..., None]
    z = (answers.contrast - bias) / threshold
    rise = _rise(z)
    p = np.minimum(np.maximum(low + (1 - low - high) * rise, ROUNDING), 1 - ROUNDING)
    steep = np.exp(-(z**2)) / np.sqrt(np.pi) / threshold
    height = (1 - low - high) * steep
    by_parameter = np.stack([-height, -height * z, 1 - rise, -rise], axis=1)
    right, other = answers.n_right / p, (answers.n - answers.n_right) / (1 - p)
    pull = right - other
    gradient = (by_parameter @ pull[..., None])[..., 0]
    weighted = by_parameter * (right / p + other / (1 - p))[:, None]
    curvature = weighted @ by_parameter.swapaxes(1, 2)
    bent, by_lapse = pull * height * z / threshold, pull * steep
    curvature[:, 0, 0] += 2 * bent.sum(axis=1)
    bias_threshold = (bent * 2 * z - pull * height / threshold).sum(axis=1)
    curvature[:, [0, 1], [1, 0]] += bias_threshold[:, None]
    curvature[:, 1, 1] += 2 * (bent * (z**2 - 1)).sum(axis=1)
    for i, mixed in enumerate((by_lapse.sum(axis=1), (by_lapse * z).sum(axis=1))):
        curvature[:, i, 2:] -= mixed[:, None]
        curvature[:, 2:, i] -= mixed[:, None]
    return gradient, curvature


def _step(
    gradient: np.ndarray, curvature: np.ndarray, moving: np.ndarray, damping: np.ndarray
) -> np.ndarray:
    """Solve for the step (m, 4), uphill also where the likelihood is not concave.

    What does not move has no gradient, and so no step.
    """
    scale = np.sqrt(np.maximum(np.abs(np.einsum("mii->mi", curvature)), ROUNDING))
    scaled = curvature / (scale[:, :, None] * scale[:, None])
    size, axes = np.linalg.eigh(scaled * (moving[:, :, None] & moving[:, None]))
    along = ((np.where(moving, gradient, 0) / scale)[:, None] @ axes)[:, 0]
    step = axes @ (along / (np.abs(size) + damping[:, None]))[..., None]
    return step[..., 0] / scale


def _profile(
    best: np.ndarray,
    peak: float,
    answers: Answers,
    lower: np.ndarray,
    upper: np.ndarray,
    level: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Find how far each parameter can go (4,), down and up, by regula falsi of all eight at once.

    The root of twice the fall of the log-likelihood is nearly linear in the parameter.
    """
    quantile = np.sqrt(scipy.stats.chi2.ppf(level, 1))
    own = np.tile(np.eye(4, dtype=bool), (2, 1))
    inside, outside = np.tile(best, (8, 1)), np.concatenate([lower, upper])
    low, high = np.zeros(8), np.full(8, np.inf)
    share = np.ones(8)  # of the way to the bound, which is tried first
    for _ in range(TRIES):
        place = inside[own] + share * (outside - inside[own])
        tried = np.where(own, place[:, None], inside)
        tried, height = _climb(tried, answers, lower, upper, ~own)
        fall = np.sqrt(2 * np.maximum(peak - height, 0))
        found = abs(fall - quantile) < NEAR
        holds = (fall < quantile) | found
        outside, high = np.where(holds & ~found, (outside, high), (place, fall))
        inside, low = np.where(holds[:, None], tried, inside), np.where(holds, fall, low)
        if (inside[own] == outside).all():
            break
        share = np.clip((quantile - low) / np.maximum(high - low, NEAR), 0.05, 0.95)
    return inside[own][:4], inside[own][4:]
