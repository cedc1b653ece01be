"""Whether units tell two levels of a factor apart: a Mann-Whitney test combined over conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy

from schemas.maths import psth

STATISTICS = {"signed", "smaller"}
"""How conditions are combined: by the sum of U, or by the sum of the smaller U of each."""


CONDITIONS = {"side": "within_side", "choice": "within_choice", "block": "within_prior"}
"""Factors that conditions may consist of, and their columns."""

UNBIASED, NO_GO = 0.5, 0


def draw_permutations(
    stratum: np.ndarray, n_permutations: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw permutations of trials in which each trial stays within its stratum.

    Parameters
    ----------
    stratum : (E,) int array
        Stratum of each trial; labels are exchanged within a stratum only.
    n_permutations : int
        Number of permutations P.
    rng : numpy.random.Generator

    Returns
    -------
    (P, E) int array
        Number of the trial whose label each trial gets.
    """
    place = np.argsort(stratum, kind="stable")
    rank = np.unique(stratum[place], return_inverse=True)[1]
    # The numbers are below 1: strata stay apart, and the trials of one are in a random order.
    drawn = np.argsort(rank + rng.random((n_permutations, len(stratum))), axis=1)
    permutations = np.empty_like(drawn)
    permutations[:, place] = place[drawn]
    return permutations


def compute_modulation(
    counts: np.ndarray,
    is_first: np.ndarray,
    condition: np.ndarray,
    permutations: np.ndarray,
    statistic: str = "signed",
) -> dict[str, np.ndarray | int]:
    """Test whether units fire more in trials of one level than of another, other things equal.

    Trials are compared within conditions, e.g. left with right stimuli among trials of one block
    and one choice. U counts the pairs in which the trial of the first level has more spikes, ties
    by half; the conditions' U are added. The null distribution is that of exchanged labels, as
    in Steinmetz et al. 2019 and the tests of single neurons of the Brain-Wide Map.

    Parameters
    ----------
    counts : (U, E) array
        Spikes (or rate) of each unit in each trial.
    is_first : (E,) bool array
        Whether a trial is of the first level; else it is of the second.
    condition : (E,) int array
        Condition of each trial, from 0.
    permutations : (P, E) int array
        As `draw_permutations` gives them, of strata that lie within conditions.
    statistic : str
        `signed` adds U over conditions, and takes its distance from a half in either direction.
        `smaller` adds the smaller of the two U of each condition, so that opposite effects in
        two conditions do not cancel; the released code of the Brain-Wide Map does so.

    Returns
    -------
    dict
        `effect` (U,) fraction of pairs in which the first level has more spikes (the area under
        the ROC curve; 0.5 without effect), `p` (U,) two-sided: the share of labels, the true ones
        included, with a statistic at least as far; both NaN where no condition has both levels.
        `n_first`, `n_second`, `n_conditions`: trials and conditions that are compared.
    """
    levels = _count_levels(is_first, condition)
    compared = np.flatnonzero(levels.all(axis=0))
    n_first, n_second = levels[:, compared].sum(axis=1).tolist()
    found = {"n_first": n_first, "n_second": n_second, "n_conditions": len(compared)}
    if not len(compared):
        nothing = np.full(len(counts), np.nan)
        return {"effect": nothing, "p": nothing, **found}
    signed, distance = _sum_over_conditions(counts, is_first, condition, permutations, compared)
    pairs = float((levels[0] * levels[1])[compared].sum())
    if statistic == "signed":
        distance = np.abs(signed - pairs / 2)
    at_least = (distance[1:] >= distance[0]).sum(axis=0)
    return {"effect": signed[0] / pairs, "p": (at_least + 1) / len(signed), **found}


def _count_levels(is_first: np.ndarray, condition: np.ndarray) -> np.ndarray:
    """Count the trials of the first and of the second level in each condition, (2, conditions)."""
    n = int(condition.max(initial=-1)) + 1
    return np.array([np.bincount(condition[level], minlength=n) for level in (is_first, ~is_first)])


def _sum_over_conditions(
    counts: np.ndarray,
    is_first: np.ndarray,
    condition: np.ndarray,
    permutations: np.ndarray,
    compared: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Sum U, and the distances of U from half the pairs, over conditions: (1 + P, U) each.

    The first row is of the true labels.
    """
    labels = np.vstack([is_first, is_first[permutations]]).astype(np.float32)
    signed, distance = np.zeros((2, len(labels), len(counts)))
    for trials in (condition == one for one in compared):
        first = int(is_first[trials].sum())
        second = int(trials.sum()) - first
        # Halves of whole numbers below 2**23: sums of ranks are exact in single precision.
        rank = scipy.stats.rankdata(counts[:, trials], axis=1).astype(np.float32)
        u = labels[:, trials] @ rank.T - first * (first + 1) / 2
        signed += u
        distance += np.abs(u - first * second / 2)
    return signed, distance


def number_blocks(prior: np.ndarray) -> np.ndarray:
    """Return the block of each trial, (E,) int from 0; a change of the prior begins another."""
    is_new = np.zeros(len(prior), dtype=int)
    is_new[1:] = prior[1:] != prior[:-1]
    return is_new.cumsum()


def compute_fdr(p: np.ndarray) -> np.ndarray:
    """Adjust p-values so that a bound on them bounds the false discovery rate.

    Benjamini and Hochberg 1995, which `scipy.stats.false_discovery_control` computes.

    Parameters
    ----------
    p : (n,) float array
        p-values; NaN is not counted, and stays NaN.

    Returns
    -------
    (n,) float array
        Adjusted p-values.
    """
    adjusted, known = np.full(len(p), np.nan), ~np.isnan(p)
    if known.any():
        adjusted[known] = scipy.stats.false_discovery_control(p[known])
    return adjusted


def average_levels(
    rates: np.ndarray, is_first: np.ndarray, condition: np.ndarray
) -> dict[str, np.ndarray]:
    """Average the rates of both levels over the trials that `compute_modulation` compares.

    Parameters
    ----------
    rates : (U, E) float array
        Rate of each unit in each trial (Hz).
    is_first, condition
        As in `compute_modulation`.

    Returns
    -------
    dict
        `rate_first`, `rate_second` (U,) Hz; NaN where no condition has both levels.
    """
    has_both: np.ndarray = _count_levels(is_first, condition).min(axis=0, initial=1) > 0
    compared = has_both[condition]
    if not compared.any():
        return dict.fromkeys(("rate_first", "rate_second"), np.full(len(rates), np.nan))
    found = (rates[:, compared & level].mean(axis=1) for level in (is_first, ~is_first))
    return dict(zip(("rate_first", "rate_second"), found, strict=True))


def choose_trials(
    definition: Mapping[str, Any], trials: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Choose the trials that a definition compares.

    Parameters
    ----------
    definition : mapping
        Columns of `activity.ModulationDefinition`, of its window and of its factor.
    trials : mapping of str to (n,) arrays
        The event, the columns of `psth.SPLIT_COLUMNS`, and `is_used`.

    Returns
    -------
    chosen : (n,) bool array
        Trials in use that have the event and one of the two levels, and lack no condition.
    is_first, condition, stratum : (m,) arrays
        Of the chosen trials: whether they have the first level, their condition, and the stratum
        within which labels are exchanged.
    """
    factor = psth.compute_factor(definition["task_factor"], dict(trials))
    levels = definition["first_level"], definition["second_level"]
    chosen = trials["is_used"] & np.isin(factor, levels)
    chosen &= ~np.isnan(trials[definition["trial_event"]])
    within = [name for name, column in CONDITIONS.items() if definition[column]]
    conditions = {name: psth.compute_factor(name, dict(trials)) for name in within}
    if "block" in conditions:
        chosen &= conditions["block"] != UNBIASED
    if "choice" in conditions:
        chosen &= conditions["choice"] != NO_GO
    if definition["drops_zero_contrast"]:
        chosen &= psth.compute_factor("contrast", dict(trials)) > 0
    split = {name: values[chosen] for name, values in conditions.items()}
    condition, _ = psth.split_trials(split or {"all": np.zeros(chosen.sum())})
    block = number_blocks(trials["probability_left"])[chosen]
    of_stratum = {"condition": condition, "block": block * definition["shuffled_within_blocks"]}
    stratum, _ = psth.split_trials(of_stratum)
    kept = condition >= 0
    chosen[np.flatnonzero(chosen)[~kept]] = False
    return chosen, factor[chosen] == levels[0], condition[kept], stratum[kept]
