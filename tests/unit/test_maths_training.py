"""Training criteria at and beside each of their limits."""

import numpy as np
import pytest

from schemas import behavior
from schemas.maths import training as maths

NAN = float("nan")
RULES = {row["training_criterion"]: row for row in behavior.TrainingCriterion.contents}
ZERO = {"has_zero_contrast": True, "zero_contrast_rt": 1.0}


def fit(bias=0.0, threshold=10.0, low=0.05, high=0.05):
    names = ("psych_bias", "psych_threshold", "psych_lapse_low", "psych_lapse_high")
    return dict(zip(names, (bias, threshold, low, high), strict=True))


def judge(criterion, n=(500, 500, 500), easy=(0.95, 0.95, 0.95), fits=None, zero=ZERO):
    fits = fits or {"all": fit(), "0.2": fit(-5), "0.8": fit(5)}
    return maths.judge_training(RULES[criterion], n, easy, fits, zero)


@pytest.mark.parametrize("criterion", RULES)
def test_a_good_mouse_meets_every_criterion(criterion):
    found = judge(criterion)
    assert set(found) == {*maths.PARTS, "is_met"}
    assert found["is_met"]


def test_a_part_that_is_not_asked_for_is_null():
    asked = {c: {p for p, v in judge(c).items() if v is not None} - {"is_met"} for c in RULES}
    both = {"meets_trials", "meets_performance", "meets_lapses"}
    of_1a = both | {"meets_zero_contrast", "meets_bias", "meets_threshold"}
    assert asked == {
        "trained_1a": of_1a,
        "trained_1b": of_1a | {"meets_reaction_time"},
        "ready4ephysrig": both | {"meets_bias_shift", "meets_reaction_time"},
    }


@pytest.mark.parametrize(
    ("criterion", "part", "changed", "met"),
    [
        ("trained_1a", "meets_trials", {"n": (201, 300, 300)}, True),
        ("trained_1a", "meets_trials", {"n": (200, 300, 300)}, False),
        ("trained_1b", "meets_trials", {"n": (500, 400, 500)}, False),
        ("ready4ephysrig", "meets_trials", {"n": (401,)}, True),
        ("trained_1a", "meets_performance", {"easy": (0.81, 0.9)}, True),
        ("trained_1a", "meets_performance", {"easy": (0.8, 0.9)}, False),
        ("trained_1b", "meets_performance", {"easy": (0.95, 0.9)}, False),
        ("trained_1b", "meets_performance", {"easy": (0.95, None)}, False),
        ("trained_1a", "meets_bias", {"fits": {"all": fit(bias=-15.9)}}, True),
        ("trained_1a", "meets_bias", {"fits": {"all": fit(bias=-16)}}, False),
        ("trained_1b", "meets_bias", {"fits": {"all": fit(bias=10)}}, False),
        ("trained_1a", "meets_threshold", {"fits": {"all": fit(threshold=19)}}, False),
        ("trained_1b", "meets_threshold", {"fits": {"all": fit(threshold=19.9)}}, True),
        ("trained_1b", "meets_threshold", {"fits": {"all": fit(threshold=20)}}, False),
        ("trained_1a", "meets_lapses", {"fits": {"all": fit(low=0.2)}}, False),
        ("trained_1a", "meets_lapses", {"fits": {"all": fit(low=0.19, high=0.19)}}, True),
        ("trained_1b", "meets_lapses", {"fits": {"all": fit(high=0.1)}}, False),
        (
            "ready4ephysrig",
            "meets_lapses",
            {"fits": {"0.2": fit(-5), "0.8": fit(5, low=0.1)}},
            False,
        ),
        ("ready4ephysrig", "meets_lapses", {"fits": {"0.2": fit(-5)}}, False),
        ("ready4ephysrig", "meets_bias_shift", {"fits": {"0.2": fit(0), "0.8": fit(5)}}, False),
        ("ready4ephysrig", "meets_bias_shift", {"fits": {"0.2": fit(0), "0.8": fit(5.1)}}, True),
        ("ready4ephysrig", "meets_bias_shift", {"fits": {"0.8": fit(5.1)}}, False),
        ("trained_1b", "meets_reaction_time", {"zero": ZERO | {"zero_contrast_rt": 2.0}}, False),
        ("trained_1b", "meets_reaction_time", {"zero": ZERO | {"zero_contrast_rt": NAN}}, False),
        ("trained_1a", "meets_zero_contrast", {"zero": ZERO | {"has_zero_contrast": False}}, False),
        ("trained_1a", "meets_bias", {"fits": {"0.5": fit()}}, False),
    ],
)
def test_limits(criterion, part, changed, met):
    found = judge(criterion, **changed)
    assert found[part] is met
    if not met:
        assert not found["is_met"]


def test_zero_contrast_manually():
    trials = {
        "contrast_left": np.array([0.0, NAN, 0, 1, NAN]),
        "contrast_right": np.array([NAN, 0.0, NAN, NAN, NAN]),
        "stim_on_time": np.array([1.0, 11, 21, 31, 41]),
        "response_time": np.array([1.5, 14.5, NAN, 31.25, 41.25]),
    }
    found = maths.compute_zero_contrast(trials)
    assert found == {"has_zero_contrast": True, "zero_contrast_rt": 2.0}
    without = maths.compute_zero_contrast({n: v[3:] for n, v in trials.items()})
    assert not without["has_zero_contrast"]
    assert np.isnan(without["zero_contrast_rt"])


@pytest.mark.parametrize(
    ("is_training", "met", "status"),
    [
        ([True] * 3, {"trained_1a": False, "trained_1b": False}, "in_training"),
        ([True] * 3, {"trained_1a": True, "trained_1b": False}, "trained_1a"),
        ([True] * 3, {"trained_1a": True, "trained_1b": True}, "trained_1b"),
        # The limit of the threshold is higher in 1b: a mouse may skip 1a.
        ([True], {"trained_1a": False, "trained_1b": True}, "trained_1b"),
        ([True, True, False], {"trained_1a": False, "trained_1b": False}, "trained_1b"),
        ([False] * 3, {"ready4ephysrig": False}, "trained_1b"),
        ([False] * 3, {"ready4ephysrig": True}, "ready4ephysrig"),
    ],
)
def test_status(is_training, met, status):
    assert maths.name_status(is_training, met) == status
