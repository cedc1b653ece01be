"""Numbers that differ only by rounding are one condition; percent is no fraction."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from schemas.figures import behavior as behavior_figures
from schemas.figures import ephys, style, wheel
from schemas.maths import behavior, psth, psychometric, training

SAME = {
    "float32": (0.1, float(np.float32(0.1))),
    "sum": (0.3, 0.1 + 0.2),
    "difference": (0.2, 1 - 0.8),
    "quotient": (0.7, 4.9 / 7),
    "tiny": (0.125, 0.125 - 1e-9),
}
same = pytest.mark.parametrize("pair", SAME.values(), ids=SAME)


def left(values):
    """Contrasts on the left, and none on the right."""
    return np.array(values), np.full(len(values), np.nan)


@same
def test_priors_make_one_block(pair):
    assert behavior.compute_blocks(np.array(pair))["length"].tolist() == [2]


@same
@pytest.mark.parametrize("part", ["contrast", "block"])
def test_levels_of_a_histogram_are_one(pair, part):
    contrast_left, contrast_right = left(pair)
    trials = {"contrast_left": contrast_left, "contrast_right": contrast_right}
    trials["probability_left"] = np.array(pair)
    assert len(np.unique(psth.compute_factor(part, trials))) == 1


@same
def test_contrasts_are_one_in_reaction_times_and_curves(pair):
    side, contrast = behavior.compute_stimulus(*left(pair))
    reaction = behavior.compute_reaction_times(np.zeros(2), np.ones(2), None, None)
    conditions = behavior.summarise_conditions(reaction, side, contrast, np.zeros(2, int))
    assert conditions["n"].tolist() == [2]
    signed = behavior.compute_signed_contrast(*left(pair))
    assert behavior.compute_chronometric_curve(signed, np.ones(2))["n"].tolist() == [2]
    answers = psychometric.count_answers(signed, np.ones(2), np.full(2, 0.5))
    assert answers.n.tolist() == [2]


@pytest.mark.parametrize("prior", [0.2, 0.5, 0.8])
def test_trials_of_a_prior_are_counted_in_its_block(prior):
    near = np.array([prior, float(np.float32(prior)), prior + 4e-7, prior - 4e-7])
    answers = psychometric.count_answers(np.zeros(4), np.ones(4), near, prior)
    assert answers.n.tolist() == [4]


def mask(prior):
    names = (*behavior.NEEDED, "go_cue_time", "contrast_left", "contrast_right")
    trials = dict.fromkeys(names, np.ones(len(prior))) | {"probability_left": prior}
    limits = ("shortest_trial", "longest_trial", "truncation_min_trials", "drops_no_go")
    rule = dict.fromkeys(limits) | {"drops_unbiased": True, "drops_incomplete": False}
    return behavior.compute_trial_mask(trials, None, rule)["exclusion"].tolist()


def test_unbiased_easy_and_zero_are_what_they_are_but_for_rounding():
    assert mask(np.array([0.5, 0.5 + 1e-9, 0.1 * 5, 0.2])) == ["unbiased"] * 3 + [""]
    contrast_left, contrast_right = left([0.5 - 1e-9, 0.1 + 0.2 + 0.2, 0.3 - 0.1 - 0.2])
    trials = {"contrast_left": contrast_left, "contrast_right": contrast_right}
    trials |= {n: np.ones(3) for n in ("choice", "feedback_type", "stim_on_time", "response_time")}
    trials["probability_left"] = np.full(3, 0.5)
    assert behavior.compute_performance(trials)["n_easy"] == 2
    assert training.compute_zero_contrast(trials)["zero_contrast_rt"] == 0
    assert behavior.compute_truncation(100 * contrast_left, np.ones(3), 1, 0.5) == 3


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def legend(ax):
    return [name for name in ax.get_legend_handles_labels()[1] if "not shown" not in name]


@same
@pytest.mark.parametrize("colours", [None, "given"])
def test_conditions_of_figures_are_one(ax, pair, colours):
    conditions = [pair[0], np.float32(pair[0]), pair[1], pair[1]]
    colours = colours and {pair[1]: "red"}
    assert len(style.choose_colours(conditions, colours)) == 1
    wheel.plot_wheel(ax, np.ones((4, 3)), np.arange(3.0), conditions, colours=colours)
    assert legend(ax) == [f"{pair[0]:g} (n = 4)"]
    ephys.plot_raster(ax, np.arange(4.0), np.arange(4.0), conditions, colours=colours)
    rates = pd.DataFrame({"condition": [pair[0], pair[1]], "time": [0.0, 1.0], "n_events": 2})
    ephys.plot_psth(ax, rates.assign(mean=1.0, sem=0.1), colours=colours)
    assert legend(ax)[-1] == f"{pair[0]:g} (n = 2)"


def test_a_block_is_shaded_once_and_only_where_its_prior_is_meant(ax):
    prior = [0.2, 1 - 0.8, float(np.float32(0.2)), 0.16, 0.84, 0.8]
    trials = pd.DataFrame({"trial": range(6), "probability_left": prior, "reaction_time": 0.3})
    trials = trials.assign(side="left", choice=1, feedback_type=1)
    behavior_figures.plot_session_reaction_times(ax, trials)
    shaded = [patch.get_extents().width for patch in ax.patches]
    assert len(shaded) == 2
    assert shaded[0] == pytest.approx(3 * shaded[1])


CURVE = {"psychometric_block": ["all"], "signed_contrast": [25.0], "n": [10]}
TRIAL = {
    "trial": [0],
    "reaction_time": [0.3],
    "side": ["left"],
    "choice": [1],
    "feedback_type": [1],
}
QUARTILES = {"side": ["left"], "median": [0.3], "q25": [0.2], "q75": [0.4]}


@pytest.mark.parametrize(
    ("plot", "frame", "column"),
    [
        (behavior_figures.plot_psychometric, CURVE, "p_right"),
        (behavior_figures.plot_session_reaction_times, TRIAL, "probability_left"),
        (behavior_figures.plot_reaction_times, QUARTILES, "contrast"),
    ],
)
def test_percent_where_a_figure_needs_a_fraction_is_refused(ax, plot, frame, column):
    plot(ax, pd.DataFrame(frame | {column: [0.2]}))
    with pytest.raises(ValueError, match=f"{column} .* 20.0"):
        plot(ax, pd.DataFrame(frame | {column: [20.0]}))
