"""Figures draw what they are given, and say what they show."""

import io
import warnings

import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from schemas.figures.behavior import SIDE_COLOURS, plot_reaction_times
from schemas.figures.ephys import plot_region_rates

RATES = pd.DataFrame(
    {"mean": [4.0, 2.5, 8.0], "n": [3, 1, 12], "rgb": ["#08858c", "#ff7080", "#98d6f9"]},
    index=["VISp", "LP", "CA1"],
)
TIMES = pd.DataFrame(
    {
        "side": ["left", "left", "right", "right", "right"],
        "contrast": [1.0, 0.0, 0.25, 0.0, 1.0],
        "median": [0.2, 0.5, 0.3, 0.6, 0.25],
        "q25": [0.15, 0.4, 0.2, 0.5, 0.2],
        "q75": [0.3, 0.9, 0.5, 1.1, 0.4],
    }
)
KINDS = {"rates": (plot_region_rates, RATES), "times": (plot_reaction_times, TIMES)}


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


@pytest.mark.parametrize("dpi", [100, 300])
@pytest.mark.parametrize("n", [None, 1, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_is_drawn_without_warning(ax, kind, n, dpi):
    plot, data = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot(ax, data if n is None else data.head(n), "Title") is ax
        drawn = io.BytesIO()
        ax.figure.savefig(drawn, dpi=dpi)
    assert drawn.getvalue().startswith(b"\x89PNG")
    width, height = (int.from_bytes(drawn.getvalue()[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (6.4 * dpi, 4.8 * dpi)
    assert ax.get_title() == "Title"


@pytest.mark.parametrize(
    ("kind", "axis", "unit"), [("rates", "x", "(Hz)"), ("times", "x", "(%)"), ("times", "y", "(s)")]
)
def test_an_axis_names_its_unit(ax, kind, axis, unit):
    plot, data = KINDS[kind]
    plot(ax, data)
    assert unit in getattr(ax, f"get_{axis}label")()
    assert ax.get_xlabel()
    assert ax.get_ylabel()


def test_a_region_is_a_bar_of_its_colour_the_first_on_top(ax):
    plot_region_rates(ax, RATES)
    bars = ax.containers[0]
    assert [bar.get_width() for bar in bars] == [8.0, 2.5, 4.0]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == ["#98d6f9", "#ff7080", "#08858c"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["CA1", "LP", "VISp"]
    assert [text.get_text() for text in ax.texts] == ["n = 12", "n = 1", "n = 3"]


def test_a_bar_and_its_number_fit_into_the_axes(ax):
    plot_region_rates(ax, RATES)
    ax.figure.draw_without_rendering()
    assert ax.get_xlim()[0] == 0
    right = ax.get_window_extent().x1
    for text in ax.texts:
        assert text.get_window_extent().x1 <= right + 1


def test_a_side_is_a_line_over_signed_contrast(ax):
    plot_reaction_times(ax, TIMES)
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    assert set(lines) == {"stimulus left", "stimulus right"}
    left, right = lines["stimulus left"], lines["stimulus right"]
    assert left.get_xydata().tolist() == [[0, 0.5], [-100, 0.2]]
    assert right.get_xydata().tolist() == [[0, 0.6], [25, 0.3], [100, 0.25]]
    assert {left.get_color(), right.get_color()} == set(SIDE_COLOURS.values())
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(lines)
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
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["stimulus right"]


def test_without_trials_there_is_no_legend(ax):
    plot_reaction_times(ax, TIMES.head(0))
    assert ax.get_legend() is None


def test_without_units_there_is_no_bar(ax):
    plot_region_rates(ax, RATES.head(0))
    assert len(ax.containers[0]) == 0
    assert not ax.texts
