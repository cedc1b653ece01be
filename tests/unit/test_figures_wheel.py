"""Wheel traces are drawn as given, with their mean and the starts of movements."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from schemas.figures.wheel import plot_wheel
from tests.support.axes import named

TIME = np.array([-0.1, 0.0, 0.1, 0.2])
TRACES = np.array(
    [[0.0, 0.0, 0.1, 0.3], [0.0, 0.0, -0.1, np.nan], [np.nan] * 4, [0.0, 0.0, 0.3, 0.5]]
)
COLOURS = {"right": "#D55E00", "left": "#0072B2"}


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def test_trials_are_thin_and_the_mean_is_thick(ax):
    plot_wheel(ax, TRACES, TIME)
    (trials,) = ax.collections
    assert len(trials.get_segments()) == 3
    assert trials.get_segments()[0].tolist() == np.column_stack([TIME, TRACES[0]]).tolist()
    mean = named(ax)["mean (n = 3)"]
    assert mean.get_ydata() == pytest.approx([0, 0, 0.1, 0.4])
    assert mean.get_linewidth() > 2 * trials.get_linewidths()[0]
    assert trials.get_rasterized()
    assert ax.get_xlim() == (-0.1, 0.2)
    assert ax.get_ylim()[0] <= -0.1
    assert ax.get_ylim()[1] >= 0.5


def test_a_condition_has_its_mean_and_colour_in_the_order_given(ax):
    plot_wheel(ax, TRACES, TIME, ["left", "right", "left", None], colours=COLOURS)
    lines = named(ax)
    assert list(lines) == ["right (n = 1)", "left (n = 1)"]
    assert lines["left (n = 1)"].get_ydata().tolist() == [0, 0, 0.1, 0.3]
    assert [line.get_color() for line in lines.values()] == list(COLOURS.values())
    assert [to_hex(c.get_colors()[0]) for c in ax.collections] == ["#d55e00", "#0072b2"]
    assert ax.get_legend().get_texts()[-1].get_text() == "not shown: 2 trials"


def test_columns_of_a_frame_may_be_nullable(ax):
    trials = pd.DataFrame({"side": ["left", "right", "left", None], "onset": [0.1, None, 0.1, 0.2]})
    trials = trials.convert_dtypes()
    plot_wheel(ax, TRACES, TIME, trials.side, onsets=trials.onset)
    assert list(named(ax)) == ["left (n = 1)", "right (n = 1)", "movement onset"]
    assert named(ax)["movement onset"].get_xydata().tolist() == [[0.1, 0.1]]


def test_a_time_without_any_trial_is_a_gap_of_the_mean(ax):
    plot_wheel(ax, TRACES[1:2], TIME)
    assert np.isnan(named(ax)["mean (n = 1)"].get_ydata()).tolist() == [False] * 3 + [True]


def test_conditions_without_colours_are_sorted_as_numbers(ax):
    plot_wheel(ax, np.ones((4, 4)), TIME, [100.0, -100.0, 6.25, 0.0])
    assert list(named(ax)) == ["-100 (n = 1)", "0 (n = 1)", "6.25 (n = 1)", "100 (n = 1)"]


def test_the_start_of_a_movement_is_on_its_trace(ax):
    onsets = np.array([0.1, np.nan, 0.0, 0.15])
    plot_wheel(ax, TRACES, TIME, onsets=onsets)
    assert named(ax)["movement onset"].get_xydata().tolist() == [[0.1, 0.1], [0.15, 0.3]]


def test_a_start_outside_of_the_window_is_not_drawn(ax):
    plot_wheel(ax, TRACES, TIME, onsets=np.array([-0.2, 0.3, np.nan, 0.2]))
    assert named(ax)["movement onset"].get_xydata().tolist() == [[0.2, 0.5]]


@pytest.mark.parametrize(("quantity", "unit"), [("position", "(rad)"), ("velocity", "(rad/s)")])
def test_the_quantity_has_its_unit(ax, quantity, unit):
    plot_wheel(ax, TRACES, TIME, quantity=quantity, event_name="go cue")
    assert ax.get_ylabel() == f"wheel {quantity} {unit}"
    assert ax.get_xlabel() == "time from go cue (s)"


def test_an_unknown_quantity_or_colour_is_refused(ax):
    with pytest.raises(KeyError, match="speed"):
        plot_wheel(ax, TRACES, TIME, quantity="speed")
    with pytest.raises(ValueError, match="up"):
        plot_wheel(ax, TRACES, TIME, ["up"] * 4, colours=COLOURS)
