"""Figures of choices and reaction times draw the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.stats import binomtest

from schemas.figures.behavior import (
    BLOCK_COLOURS,
    BLOCK_SHIFTS,
    SIDE_COLOURS,
    plot_chronometric,
    plot_psychometric,
    plot_reaction_times,
    plot_session_reaction_times,
)
from tests.support.axes import legend, named
from tests.unit.test_figures import CURVE, POINTS, TIMES, TRIALS, assert_fits


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def test_a_side_is_a_line_over_signed_contrast(ax):
    plot_reaction_times(ax, TIMES)
    lines = named(ax)
    assert set(lines) == {"stimulus left", "stimulus right"}
    left, right = lines["stimulus left"], lines["stimulus right"]
    assert left.get_xydata().tolist() == [[0, 0.5], [-100, 0.2]]
    assert right.get_xydata().tolist() == [[0, 0.6], [25, 0.3], [100, 0.25]]
    assert {left.get_color(), right.get_color()} == set(SIDE_COLOURS.values())
    assert legend(ax) == list(lines)
    assert ax.get_ylim()[0] == 0


def test_the_band_is_between_the_quartiles(ax):
    plot_reaction_times(ax, TIMES)
    assert len(ax.collections) == 2
    for band, side in zip(ax.collections, ("left", "right"), strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        given = TIMES[TIMES.side == side]
        assert {*given.q25, *given.q75} <= set(heights)
        assert (heights.min(), heights.max()) == (given.q25.min(), given.q75.max())


def test_one_side_alone_has_a_legend_of_one(ax):
    plot_reaction_times(ax, TIMES[TIMES.side == "right"])
    assert legend(ax) == ["stimulus right"]


def test_without_trials_there_is_no_legend(ax):
    plot_reaction_times(ax, TIMES.head(0))
    assert ax.get_legend() is None


def bars(container):
    """Ends of the error bars of a container, (k, 2)."""
    (lines,) = container.lines[2]
    return np.array([segment[:, 1] for segment in lines.get_segments()])


def test_a_psychometric_point_has_the_binomial_interval_of_its_trials(ax):
    plot_psychometric(ax, POINTS)
    first, second = ax.containers
    x, y = first.lines[0].get_data()
    assert x.tolist() == [-100 + BLOCK_SHIFTS["0.2"], 100 + BLOCK_SHIFTS["0.2"]]
    assert y.tolist() == [0.1, 1.0]
    for ends, (k, n) in zip(bars(first), [(1, 10), (20, 20)], strict=True):
        expected = binomtest(k, n).proportion_ci(method="wilson")
        assert ends == pytest.approx([expected.low, expected.high], abs=1e-6)
    assert second.lines[0].get_ydata().tolist() == [0.75]
    assert [to_hex(c.lines[0].get_color()) for c in ax.containers] == [
        to_hex(BLOCK_COLOURS["0.2"]),
        to_hex(BLOCK_COLOURS["0.8"]),
    ]
    assert legend(ax) == ["block 0.2 left (n = 30)", "block 0.8 left (n = 8)"]
    assert ax.get_ylim()[0] < 0 < 1 < ax.get_ylim()[1]


def test_a_fitted_curve_is_drawn_in_the_colour_of_its_points(ax):
    contrast = np.linspace(-100, 100, 21)
    curves = pd.concat(
        pd.DataFrame({"psychometric_block": block, "signed_contrast": contrast, "p_right": p})
        for block, p in (("0.8", 0.2), ("0.2", 0.7))
    )
    plot_psychometric(ax, POINTS, curves.sample(frac=1, random_state=0))
    fits = {line.get_color(): line for line in ax.lines if len(line.get_xdata()) == 21}
    for block, p in (("0.8", 0.2), ("0.2", 0.7)):
        assert fits[BLOCK_COLOURS[block]].get_xdata().tolist() == contrast.tolist()
        assert set(fits[BLOCK_COLOURS[block]].get_ydata()) == {p}


def test_points_of_different_blocks_do_not_hide_each_other():
    shifts = [BLOCK_SHIFTS[block] for block in ("0.2", "0.5", "0.8")]
    assert len(set(shifts)) == 3
    assert max(map(abs, shifts)) < 6.25 / 2


def test_a_chronometric_curve_has_the_quartiles_as_bars(ax):
    plot_chronometric(ax, CURVE[::-1])
    (container,) = ax.containers
    assert container.lines[0].get_xydata().tolist() == [[-100, 0.2], [100, 0.3]]
    assert bars(container) == pytest.approx(np.array([[0.1, 0.5], [0.2, 0.4]]))
    assert legend(ax) == ["all trials (n = 22)"]
    assert ax.get_ylim()[0] == 0


def test_a_chronometric_curve_may_be_by_block(ax):
    blocks = pd.concat(CURVE.assign(psychometric_block=block) for block in ("0.8", "0.2"))
    plot_chronometric(ax, blocks)
    assert [to_hex(c.lines[0].get_color()) for c in ax.containers] == [
        to_hex(BLOCK_COLOURS["0.2"]),
        to_hex(BLOCK_COLOURS["0.8"]),
    ]


def test_a_trial_of_the_session_is_a_point_of_its_side_and_outcome(ax):
    plot_session_reaction_times(ax, TRIALS)
    lines = named(ax)
    assert lines["left, correct (n = 1)"].get_xydata().tolist() == [[0, 0.2]]
    assert lines["right, error (n = 1)"].get_xydata().tolist() == [[2, 0.5]]
    assert lines["left, no-go (n = 1)"].get_xydata().tolist() == [[4, 1.5]]
    assert lines["right, error (n = 1)"].get_color() == SIDE_COLOURS["right"]
    markers = [lines[name].get_marker() for name in list(lines)[:3]]
    assert len(set(markers)) == 3
    assert ax.get_yscale() == "log"
    assert "not shown: 3 trials" in legend(ax)


def test_a_trial_of_unknown_outcome_is_left_out(ax):
    plot_session_reaction_times(ax, TRIALS.assign(choice=[1, np.nan, np.nan, 1, 0, 1]))
    assert "not shown: 4 trials" in legend(ax)


def test_the_running_median_is_over_the_trials_around(ax):
    rng = np.random.default_rng(1)
    n = 50
    times = rng.lognormal(-1, 0.5, n)
    trials = pd.DataFrame(
        {
            "trial": np.arange(n),
            "reaction_time": times,
            "side": "left",
            "choice": 1,
            "feedback_type": 1,
            "probability_left": 0.5,
        }
    )
    plot_session_reaction_times(ax, trials.sample(frac=1, random_state=2), n_running=5)
    drawn = named(ax)["median of 5 trials"]
    expected = [np.median(times[max(i - 2, 0) : i + 3]) for i in range(n)]
    assert drawn.get_xdata().tolist() == list(range(n))
    assert drawn.get_ydata() == pytest.approx(expected)


def test_a_biased_block_is_shaded_over_its_trials(ax):
    plot_session_reaction_times(ax, TRIALS)
    spans = [
        (patch.get_x(), patch.get_x() + patch.get_width(), to_hex(patch.get_facecolor()))
        for patch in ax.patches
    ]
    assert spans == [
        (1.5, 3.5, BLOCK_COLOURS["0.2"].lower()),
        (3.5, 5.5, BLOCK_COLOURS["0.8"].lower()),
    ]
    assert {"block 0.2 left", "block 0.8 left"} <= set(legend(ax))


def test_a_second_block_of_a_kind_is_not_named_again(ax):
    trials = TRIALS.assign(probability_left=[0.2, 0.8, 0.2, 0.8, 0.2, np.nan])
    plot_session_reaction_times(ax, trials)
    assert len(ax.patches) == 5
    assert legend(ax).count("block 0.2 left") == legend(ax).count("block 0.8 left") == 1


def test_many_decades_of_seconds_are_not_crowded():
    ax = Figure(figsize=(4, 2.5), layout="constrained").subplots()
    times = [0.0004, 0.01, 0.1, 1.0, 10.0, 59.0]
    plot_session_reaction_times(ax, TRIALS.assign(reaction_time=times, side="left"), title="Title")
    assert_fits(ax.figure, 100)


def test_seconds_are_written_without_powers_of_ten(ax):
    plot_session_reaction_times(ax, TRIALS)
    ax.figure.draw_without_rendering()
    low, high = ax.get_ylim()
    shown = [
        tick.label1.get_text()
        for tick in ax.yaxis.get_major_ticks()
        if low <= tick.get_loc() <= high
    ]
    assert shown == ["0.2", "0.5", "1"]
