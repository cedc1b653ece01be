"""Psychometric fits against closed forms, an independent optimiser and planted curves."""

import math

import numpy as np
import pytest
from scipy import optimize, stats

from schemas import behavior
from schemas.maths import psychometric as maths

NAN = float("nan")
RULES = {row["psychometric_definition"]: row for row in behavior.PsychometricDefinition.contents}
CONTRASTS = np.array([-100, -25, -12.5, -6.25, 0, 6.25, 12.5, 25, 100])
WEIGHTS = np.array([2, 2, 2, 2, 1, 2, 2, 2, 2]) / 17


def draw(rng, n, parameters):
    """Answers of `n` trials, by a curve that is written out here once more."""
    bias, threshold, low, high = parameters
    shown = rng.multinomial(n, WEIGHTS)
    p = [low + (1 - low - high) * (math.erf((c - bias) / threshold) + 1) / 2 for c in CONTRASTS]
    right = rng.binomial(shown, p)
    there = shown > 0
    return maths.Answers(CONTRASTS[there], shown[there].astype(float), right[there].astype(float))


def minus_likelihood(parameters, answers):
    bias, threshold, low, high = parameters
    total = 0.0
    for contrast, n, right in zip(answers.contrast, answers.n, answers.n_right, strict=True):
        p = low + (1 - low - high) * (math.erf((contrast - bias) / threshold) + 1) / 2
        p = min(max(p, 2.3e-16), 1 - 2.3e-16)
        total -= right * math.log(p) + (n - right) * math.log(1 - p)
    return total


def bounds(answers, rule):
    least = rule["bias_min"] if rule["bias_min"] is not None else answers.contrast.min()
    most = rule["bias_max"] if rule["bias_max"] is not None else answers.contrast.max()
    steep = max(rule["threshold_min"], 1e-3)
    return [(least, most), (steep, rule["threshold_max"]), *[(0.0, rule["lapse_max"])] * 2]


def test_curve_manually():
    """erf(0) is 0, and far from the bias it is +-1: what is left are the lapses."""
    curve = maths.compute_curve(np.array([10.0, 20.0, 0.1, 0.3]), np.array([-1e6, 10.0, 1e6]))
    np.testing.assert_allclose(curve, [0.1, 0.1 + 0.6 / 2, 0.7], rtol=1e-12)
    one = maths.compute_curve(np.array([0.0, 20.0, 0.0, 0.0]), np.array([20.0]))
    assert one[0] == pytest.approx((1 + math.erf(1)) / 2, rel=1e-12)
    many = maths.compute_curve(np.array([[0.0, 20.0, 0.0, 0.0], [0.0, 5.0, 0.5, 0.0]]), CONTRASTS)
    assert many.shape == (2, 9)


def test_likelihood_is_the_binomial_one_without_its_coefficients():
    answers = maths.Answers(
        np.array([-25.0, 0.0, 25.0]), np.array([8.0, 5, 9]), np.array([1.0, 2, 8])
    )
    parameters = np.array([3.0, 30.0, 0.05, 0.02])
    p = maths.compute_curve(parameters, answers.contrast)
    whole = stats.binom.logpmf(answers.n_right, answers.n, p).sum()
    coefficients = sum(
        math.log(math.comb(int(n), int(k))) for n, k in zip(answers.n, answers.n_right, strict=True)
    )
    found = maths.compute_log_likelihood(parameters, answers)
    assert found == pytest.approx(whole - coefficients, rel=1e-10)


def test_a_certain_answer_that_was_not_given_is_finite():
    answers = maths.Answers(np.array([-100.0, 100.0]), np.array([1.0, 1]), np.array([1.0, 1]))
    found = maths.compute_log_likelihood(np.array([0.0, 1.0, 0.0, 0.0]), answers)
    assert found == pytest.approx(math.log(np.finfo(float).eps), rel=1e-6)


def test_answers_are_counted_with_no_go_and_without_what_is_missing():
    signed = np.array([-0.0, 0.0, 0.0, 25, 25, 25, NAN, 25])
    choice = np.array([-1.0, 1, 0, -1, -1, 1, -1, NAN])
    prior = np.array([0.2, 0.8, 0.2, 0.2, 0.8, 0.2, 0.2, 0.2])
    every = maths.count_answers(signed, choice, prior)
    assert every.contrast.tolist() == [0, 25]
    assert every.n.tolist() == [3, 3]
    assert every.n_right.tolist() == [1, 2]
    block = maths.count_answers(signed, choice, prior, 0.2)
    assert block.n.tolist() == [2, 2]
    assert block.n_right.tolist() == [1, 1]
    none = maths.count_answers(signed, choice, prior, 0.5)
    assert len(none.contrast) == len(none.n) == len(none.n_right) == 0


@pytest.mark.parametrize("definition", ["training", "plots"])
@pytest.mark.parametrize(
    ("n", "planted"),
    [(60, (0, 16, 0.04, 0.04)), (650, (5, 16, 0.04, 0.04)), (650, (-20, 35, 0.15, 0.0))],
)
def test_a_fit_reaches_what_an_independent_optimiser_finds(definition, n, planted):
    rule = RULES[definition]
    for seed in range(2):
        answers = draw(np.random.default_rng([seed, n]), n, planted)
        fit = maths.fit_psychometric(answers, rule)
        limits = bounds(answers, rule)
        best = optimize.differential_evolution(
            minus_likelihood, limits, (answers,), seed=0, tol=1e-10, maxiter=150, popsize=8
        )
        assert fit["log_likelihood"] >= -best.fun - 1e-4
        parameters = [fit[f"psych_{name}"] for name in maths.PARAMETERS]
        assert all(a <= p <= b for p, (a, b) in zip(parameters, limits, strict=True))
        assert fit["log_likelihood"] == pytest.approx(-minus_likelihood(parameters, answers))
        assert fit["n_fit_trials"] == n


def test_the_second_derivatives_are_those_of_differences():
    answers = draw(np.random.default_rng(0), 300, (5, 16, 0.04, 0.04))
    at = np.array([[2.0, 13.0, 0.05, 0.08], [-7.0, 30.0, 0.02, 0.2]])
    gradient, curvature = maths._derive(at, answers)
    step = 1e-5 * np.eye(4)
    for i in range(4):
        up, down = at + step[i], at - step[i]
        slope = maths.compute_log_likelihood(up, answers)
        slope = (slope - maths.compute_log_likelihood(down, answers)) / 2e-5
        np.testing.assert_allclose(gradient[:, i], slope, rtol=1e-4, atol=1e-4)
        bend = maths._derive(up, answers)[0] - maths._derive(down, answers)[0]
        np.testing.assert_allclose(-curvature[:, i], bend / 2e-5, rtol=1e-4, atol=1e-3)


def test_the_ends_of_an_interval_are_those_of_the_profile():
    """Each end, looked up by minimising over the other three parameters with another method."""
    answers = draw(np.random.default_rng(3), 650, (5, 16, 0.04, 0.04))
    rule = RULES["plots"]
    fit, limits = maths.fit_psychometric(answers, rule), bounds(answers, rule)
    best = np.array([fit[f"psych_{name}"] for name in maths.PARAMETERS])
    fall = stats.chi2.ppf(0.95, 1) / 2
    n_ends = 0
    for i, name in enumerate(maths.PARAMETERS):
        others = [k for k in range(4) if k != i]
        for end in ("low", "high"):
            place = fit[f"psych_{name}_ci_{end}"]
            if place in limits[i]:
                continue

            def of_others(rest, i=i, others=others, place=place):
                whole = np.empty(4)
                whole[i], whole[others] = place, rest
                return minus_likelihood(whole, answers)

            # The point at the bound, and one inside, to be sure of the largest.
            found = min(
                optimize.minimize(
                    of_others,
                    start,
                    method="L-BFGS-B",
                    bounds=[limits[k] for k in others],
                ).fun
                for start in (best[others], np.array([0, 20, 0.05, 0.05])[others])
            )
            assert found == pytest.approx(-fit["log_likelihood"] + fall, abs=0.03), (name, end)
            n_ends += 1
    assert n_ends >= 6


def test_an_interval_holds_the_estimate_and_stays_within_the_bounds():
    rng = np.random.default_rng(5)
    for definition, rule in RULES.items():
        for n in (1, 3, 20, 200):
            answers = draw(rng, n, (5, 16, 0.04, 0.04))
            fit = maths.fit_psychometric(answers, rule)
            for name, (least, most) in zip(maths.PARAMETERS, bounds(answers, rule), strict=True):
                low, estimate, high = (
                    fit[f"psych_{name}{end}"] for end in ("_ci_low", "", "_ci_high")
                )
                assert least <= low <= estimate <= high <= most, (definition, n, name)


def test_a_lapse_of_zero_has_an_interval_that_ends_where_the_likelihood_says():
    """All of n trials at the far right are answered right: (1 - high)^n falls by the quantile."""
    n = 200
    answers = maths.Answers(np.array([-100.0, 100]), np.array([n, n]), np.array([0.0, n]))
    fit = maths.fit_psychometric(answers, RULES["plots"])
    expected = 1 - math.exp(-stats.chi2.ppf(0.95, 1) / 2 / n)
    for name in ("lapse_low", "lapse_high"):
        assert fit[f"psych_{name}"] == pytest.approx(0, abs=1e-6)
        assert fit[f"psych_{name}_ci_low"] == 0
        assert fit[f"psych_{name}_ci_high"] == pytest.approx(expected, rel=0.01)


def test_intervals_cover_what_was_planted():
    """95 percent: 60 sets of 500 trials, each share at most 4 binomial standard errors below."""
    planted, n_sets = (5.0, 16.0, 0.04, 0.06), 60
    rule = RULES["plots"] | {"n_fits": 2}
    rng = np.random.default_rng(11)
    covered = np.zeros(4)
    for _ in range(n_sets):
        fit = maths.fit_psychometric(draw(rng, 500, planted), rule)
        covered += [
            fit[f"psych_{name}_ci_low"] <= true <= fit[f"psych_{name}_ci_high"]
            for name, true in zip(maths.PARAMETERS, planted, strict=True)
        ]
    error = math.sqrt(0.95 * 0.05 / n_sets)
    assert (covered / n_sets > 0.95 - 4 * error).all(), covered / n_sets
    # An interval that always held would be too wide to be one of 95 percent.
    assert (covered < n_sets).any(), covered


def test_a_fit_is_the_same_again_and_mirrored():
    answers = draw(np.random.default_rng(8), 400, (5, 16, 0.02, 0.1))
    fit = maths.fit_psychometric(answers, RULES["plots"])
    assert fit == maths.fit_psychometric(answers, RULES["plots"])
    mirrored = maths.Answers(
        -answers.contrast[::-1], answers.n[::-1], (answers.n - answers.n_right)[::-1]
    )
    other = maths.fit_psychometric(mirrored, RULES["plots"])
    assert other["log_likelihood"] == pytest.approx(fit["log_likelihood"], abs=1e-6)
    assert other["psych_bias"] == pytest.approx(-fit["psych_bias"], abs=0.01)
    assert other["psych_lapse_low"] == pytest.approx(fit["psych_lapse_high"], abs=1e-3)


def test_blocks_without_trials_are_absent_and_the_shift_needs_both():
    n = 60
    side = np.resize([True, False], n)
    trials = {
        "contrast_left": np.where(side, 0.25, NAN),
        "contrast_right": np.where(side, NAN, 0.25),
        "choice": np.where(side, 1.0, -1.0),
        "probability_left": np.full(n, 0.5),
    }
    fits = maths.fit_blocks(trials, RULES["plots"])
    assert set(fits) == {"all", "0.5"}
    assert maths.compute_bias_shift(fits) is None
    assert maths.compute_bias_shift({"0.2": {"psych_bias": -4.0}, "0.8": {"psych_bias": 5.0}}) == 9
    none = {name: values[:0] for name, values in trials.items()}
    assert maths.fit_blocks(none, RULES["plots"]) == {}
    missing = trials | {"choice": np.full(n, NAN)}
    assert maths.fit_blocks(missing, RULES["training"]) == {}
