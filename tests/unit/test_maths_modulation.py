"""Modulation against scipy, planted effects, and the level of the test on units without effect."""

import numpy as np
import pytest
import scipy

from schemas.maths import modulation as maths


def blocks_of(n, length=25):
    return np.where((np.arange(n) // length) % 2, 0.2, 0.8)


@pytest.fixture(scope="module")
def task():
    """Sides that follow the block, choices that follow the side: what makes shuffling all wrong."""
    rng = np.random.default_rng(1)
    prior = blocks_of(400)
    left = rng.random(400) < prior
    choice = np.where(rng.random(400) < 0.8, left, ~left)
    block = maths.number_blocks(prior)
    condition = 2 * (prior > 0.5) + choice
    stratum = np.unique(np.column_stack([condition, block]), axis=0, return_inverse=True)[1].ravel()
    return {"left": left, "choice": choice, "prior": prior, "condition": condition, "s": stratum}


def test_blocks_are_numbered_at_each_change():
    assert maths.number_blocks(np.array([0.5, 0.5, 0.2, 0.8, 0.8])).tolist() == [0, 0, 1, 2, 2]
    assert maths.number_blocks(np.empty(0)).tolist() == []


def test_permuted_labels_stay_within_their_stratum_and_are_all_kept(task):
    permutations = maths.draw_permutations(task["s"], 50, np.random.default_rng(0))
    assert (np.sort(permutations, axis=1) == np.arange(400)).all()
    assert (task["s"][permutations] == task["s"]).all()
    assert len(np.unique(permutations, axis=0)) == 50


def test_every_order_of_a_stratum_is_as_likely():
    permutations = maths.draw_permutations(np.array([5, 0, 5, 5]), 6000, np.random.default_rng(0))
    assert (permutations[:, 1] == 1).all()
    _, n = np.unique(permutations, axis=0, return_counts=True)
    assert len(n) == 6
    assert scipy.stats.chisquare(n).pvalue > 0.001


def test_one_condition_is_the_mann_whitney_test():
    rng = np.random.default_rng(2)
    counts = rng.poisson([[3.0], [5.0]], (2, 60))
    is_first = rng.random(60) < 0.4
    permutations = maths.draw_permutations(np.zeros(60, int), 4000, rng)
    found = maths.compute_modulation(counts, is_first, np.zeros(60, int), permutations)
    for unit, row in enumerate(counts):
        known = scipy.stats.mannwhitneyu(row[is_first], row[~is_first], method="asymptotic")
        pairs = is_first.sum() * (~is_first).sum()
        assert found["effect"][unit] == pytest.approx(known.statistic / pairs, abs=1e-12)
        assert found["p"][unit] == pytest.approx(known.pvalue, abs=0.03)
    assert (found["n_first"], found["n_second"]) == (is_first.sum(), (~is_first).sum())


def test_the_statistic_is_that_of_pairs_compared_one_by_one(task):
    rng = np.random.default_rng(3)
    counts = rng.poisson(2, (2, 400))
    left, condition = task["left"], task["condition"]
    permutations = maths.draw_permutations(task["s"], 10, rng)
    found = maths.compute_modulation(counts, left, condition, permutations)
    won = pairs = 0.0
    for c in range(4):
        a = counts[0, left & (condition == c)][:, None]
        b = counts[0, ~left & (condition == c)]
        won, pairs = won + (a > b).sum() + (a == b).sum() / 2, pairs + a.size * b.size
    assert found["effect"][0] == won / pairs


@pytest.mark.parametrize("statistic", sorted(maths.STATISTICS))
def test_a_thousand_units_without_an_effect_are_at_the_nominal_level(task, statistic):
    """Their rates drift and follow block and choice: neither is an effect of the side."""
    rng = np.random.default_rng(4)
    drift = 1 + 0.5 * np.sin(np.arange(400) / 60 + rng.uniform(0, 6, (1000, 1)))
    rate = 4 * drift * np.where(task["choice"], 1.5, 1) * np.where(task["prior"] > 0.5, 1.3, 1)
    counts = rng.poisson(rate)
    permutations = maths.draw_permutations(task["s"], 1000, rng)
    found = maths.compute_modulation(
        counts, task["left"], task["condition"], permutations, statistic
    )
    # One set of labels for all units correlates their p little; four standard errors are allowed.
    for level in (0.01, 0.05, 0.2):
        error = np.sqrt(level * (1 - level) / 1000)
        assert abs((found["p"] <= level).mean() - level) < 4 * error


def test_planted_effects_are_found_in_their_direction(task):
    rng = np.random.default_rng(5)
    gain = np.where(task["left"], 1.6, 1.0)
    counts = rng.poisson(np.vstack([4 * gain, 4 / gain, 4 * np.ones(400)]))
    permutations = maths.draw_permutations(task["s"], 1000, rng)
    found = maths.compute_modulation(counts, task["left"], task["condition"], permutations)
    assert found["effect"][0] > 0.6 > 0.4 > found["effect"][1]
    assert (found["p"][:2] < 0.01).all()
    assert found["p"][2] > 0.01


def test_opposite_effects_in_two_conditions_cancel_in_one_statistic_only():
    rng = np.random.default_rng(6)
    condition, is_first = np.repeat([0, 1], 100), np.tile([True, False], 100)
    counts = rng.poisson(np.where(is_first == (condition == 0), 8, 3))[None]
    permutations = maths.draw_permutations(condition, 500, rng)
    signed, smaller = (
        maths.compute_modulation(counts, is_first, condition, permutations, how)["p"][0]
        for how in ("signed", "smaller")
    )
    assert signed > 0.05 > 0.01 > smaller


def test_without_trials_of_both_levels_there_is_no_result():
    counts = np.ones((2, 3))
    permutations = maths.draw_permutations(np.zeros(3, int), 10, np.random.default_rng(0))
    found = maths.compute_modulation(counts, np.ones(3, bool), np.zeros(3, int), permutations)
    assert np.isnan([found["effect"], found["p"]]).all()
    assert (found["n_first"], found["n_second"], found["n_conditions"]) == (0, 0, 0)
    none = maths.compute_modulation(
        np.ones((2, 0)), np.ones(0, bool), np.ones(0, int), permutations[:, :0]
    )
    assert np.isnan(none["p"]).all()


def test_adjusted_p_values_bound_the_false_discovery_rate():
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.5])
    # Worked out by hand: p * 4 / rank, then the least of those above.
    expected = [0.04, np.nan, 0.16 / 3, 0.16 / 3, 0.5]
    np.testing.assert_allclose(maths.compute_fdr(p), expected)
    assert np.isnan(maths.compute_fdr(np.full(2, np.nan))).all()
