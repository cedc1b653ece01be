"""What every figure keeps: it says what it shows in which unit, fits, and warns of nothing."""

import io
import itertools

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from schemas.figures import behavior, brain_map, ephys, style, wheel

RATES = pd.DataFrame(
    {"unit_mean": [4.0, 2.5, 8.0], "n_units": [3, 1, 12], "rgb": ["#08858c", "#ff7080", "#98d6f9"]},
    index=["VISp", "LP", "CA1"],
)
SUMMARY = RATES.assign(mean=RATES.unit_mean, sem=[0.5, np.nan, 1.0], n_sessions=[2, 1, 5])
TIMES = pd.DataFrame(
    {
        "side": ["left", "left", "right", "right", "right"],
        "contrast": [1.0, 0.0, 0.25, 0.0, 1.0],
        "median": [0.2, 0.5, 0.3, 0.6, 0.25],
        "q25": [0.15, 0.4, 0.2, 0.5, 0.2],
        "q75": [0.3, 0.9, 0.5, 1.1, 0.4],
    }
)
PSTH = pd.DataFrame(
    {
        "condition": ["left", "left", "right", "right"],
        "time": [-0.05, 0.05, -0.05, 0.05],
        "mean": [3.0, 9.0, 3.5, np.nan],
        "sem": [0.5, 1.0, np.nan, np.nan],
        "n_events": [12, 12, 1, 1],
    }
)
UNITS = pd.DataFrame(
    {
        "cluster_depth": [100.0, 1500.0, 3000.0, np.nan, 2000.0],
        "firing_rate": [0.2, 5.0, 40.0, 3.0, 0.0],
        "amp_median": [50e-6, 120e-6, np.nan, 80e-6, 60e-6],
        "is_good": [True, False, True, False, False],
    }
)
SITES = pd.DataFrame(
    {
        "channel_axial": [20.0, 20.0, 40.0, 60.0, np.nan],
        "region_acronym": ["LP", "LP", "CA1", None, "VISp"],
        "region_rgb": ["#ff909f", "#ff909f", "#7ed04b", None, "#08858c"],
    }
)
POINTS = pd.DataFrame(
    {
        "psychometric_block": ["0.2", "0.2", "0.8", "0.8"],
        "signed_contrast": [-100.0, 100.0, -100.0, 100.0],
        "n": [10, 20, 0, 8],
        "p_right": [0.1, 1.0, np.nan, 0.75],
    }
)
CURVE = pd.DataFrame(
    {
        "signed_contrast": [-100.0, 0.0, 100.0],
        "n": [10, 0, 12],
        "median": [0.2, np.nan, 0.3],
        "lower_quartile": [0.1, np.nan, 0.2],
        "upper_quartile": [0.5, np.nan, 0.4],
    }
)
TRIALS = pd.DataFrame(
    {
        "trial": np.arange(6),
        "reaction_time": [0.2, np.nan, 0.5, -0.1, 1.5, 0.3],
        "side": ["left", "left", "right", "right", "left", None],
        "choice": [1.0, 1.0, 1.0, -1.0, 0.0, 1.0],
        "feedback_type": [1.0, 1.0, -1.0, 1.0, -1.0, 1.0],
        "probability_left": [0.5, 0.5, 0.2, 0.2, 0.8, 0.8],
    }
)
CONTRASTS = ["left 1", "left 0.25", "left 0", "right 0", "right 0.25", "right 1"]
CONTRAST_PSTH = pd.DataFrame(
    {
        "condition": np.repeat(CONTRASTS, 3),
        "time": np.tile([-0.1, 0.1, 0.3], 6),
        "mean": np.arange(18.0),
        "sem": 1.0,
        "n_events": np.repeat([20, 4, 9, 8, 5, 21], 3),
    }
)
JOINED = pd.DataFrame(
    {
        "eid": ["a", "a", "b", "c", "c", "d"],
        "region_acronym": ["LP", "PO", "PO", "LP", "LP", "LP"],
        "rate": [2.0, 4.0, 10.0, 5.0, np.nan, 7.0],
        "rt_median": [0.2, 0.2, 0.3, 0.25, 0.25, np.nan],
    }
)
EVENTS = np.array([1.0, 2.0, np.nan, 3.0])
SPIKES = np.array([0.7, 1.1, 1.2, 1.95, 2.4, 3.3])
SAMPLES = np.linspace(-0.2, 0.4, 7)
TRACES = np.vstack([SAMPLES, -SAMPLES, np.full(7, np.nan), np.r_[np.full(3, np.nan), np.ones(4)]])
SIDES = ["left", "right", "left", "left"]


def raster(ax, events, title=""):
    of = slice(len(events))
    return ephys.plot_raster(
        ax, SPIKES, events, SIDES[of], marks={"move": events + 0.2}, event_name="cue", title=title
    )


def rates_along_probe(ax, units, title=""):
    return ephys.plot_rates_along_probe(ax, units, SITES.head(len(units)), title=title)


def good_amplitudes(ax, units, title=""):
    return ephys.plot_amplitude_by_depth(ax, units, colour_by="is_good", title=title)


def moves(ax, events, title=""):
    of = slice(len(events))
    return wheel.plot_wheel(
        ax, TRACES[of], SAMPLES, SIDES[of], onsets=events - 1, event_name="cue", title=title
    )


def keyword_title(plot):
    return lambda ax, data, title="": plot(ax, data, title=title)


KINDS = {
    "region rates": (ephys.plot_region_rates, RATES, ("(Hz)", "region")),
    "region summary": (keyword_title(ephys.plot_region_summary), SUMMARY, ("(Hz)", "region")),
    "contrasts": (keyword_title(ephys.plot_psth), CONTRAST_PSTH, ("(s)", "(Hz)")),
    "region by behavior": (
        keyword_title(ephys.plot_region_by_behavior),
        JOINED,
        ("(s)", "(Hz)"),
    ),
    "brain map": (keyword_title(brain_map.plot_brain_map), SUMMARY, ("", "")),
    "raster": (raster, EVENTS, ("time from cue (s)", "(n)")),
    "psth": (keyword_title(ephys.plot_psth), PSTH, ("(s)", "(Hz)")),
    "rates along probe": (rates_along_probe, UNITS, ("(Hz)", "tip (µm)")),
    "amplitudes": (keyword_title(ephys.plot_amplitude_by_depth), UNITS, ("(µV)", "tip (µm)")),
    "good amplitudes": (good_amplitudes, UNITS, ("(µV)", "tip (µm)")),
    "reaction times": (behavior.plot_reaction_times, TIMES, ("(%)", "(s)")),
    "psychometric": (keyword_title(behavior.plot_psychometric), POINTS, ("(%)", "(fraction)")),
    "chronometric": (behavior.plot_chronometric, CURVE, ("(%)", "(s)")),
    "session": (keyword_title(behavior.plot_session_reaction_times), TRIALS, ("trial", "(s)")),
    "wheel": (moves, EVENTS, ("time from cue (s)", "(rad)")),
}


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def overlaps(labels):
    """Whether two neighbours among the labels of an axis overlap."""
    boxes = [text.get_window_extent() for text in labels if text.get_text() and text.get_visible()]
    return any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def assert_fits(figure, dpi):
    figure.set_dpi(dpi)
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= 0, drawn
    assert drawn.y0 >= 0, drawn
    assert drawn.x1 <= width, drawn
    assert drawn.y1 <= height, drawn
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            labels = [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
            assert not overlaps(labels), [text.get_text() for text in labels]


@pytest.mark.parametrize(("n", "dpi"), [(None, 100), (None, 300), (1, 100), (0, 100)])
@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_is_drawn_within_its_edges_without_warning(ax, kind, n, dpi):
    plot, data, _ = KINDS[kind]
    assert plot(ax, data if n is None else data[:n], "Title") is ax
    assert_fits(ax.figure, dpi)
    drawn = io.BytesIO()
    ax.figure.savefig(drawn, dpi=dpi)
    assert drawn.getvalue().startswith(b"\x89PNG")
    width, height = (int.from_bytes(drawn.getvalue()[i : i + 4], "big") for i in (16, 20))
    assert (width, height) == (6.4 * dpi, 4.8 * dpi)
    assert ax.get_title() == "Title"


@pytest.mark.parametrize("n", [None, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_an_axis_names_its_unit(ax, kind, n):
    plot, data, (x, y) = KINDS[kind]
    plot(ax, data if n is None else data[:n])
    assert x in ax.get_xlabel()
    assert y in ax.get_ylabel()


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"reaction times"}))
def test_an_empty_figure_says_that_it_is_empty(ax, kind):
    plot, data, _ = KINDS[kind]
    plot(ax, data[:0])
    assert [text.get_text() for text in ax.texts if text.get_text().startswith("no ")]
    assert ax.get_legend() is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_without_constrained_layout_is_drawn_too(kind):
    ax = Figure().subplots()
    plot, data, _ = KINDS[kind]
    plot(ax, data)
    ax.figure.draw_without_rendering()
    assert ax.has_data()
    legend = ax.get_legend()
    assert legend is None or legend.get_window_extent().width > 0


@pytest.mark.parametrize(
    ("kind", "left_out"),
    [
        ("raster", "1 trials"),
        ("rates along probe", "2 units"),
        ("amplitudes", "3 units"),
        ("good amplitudes", "2 units"),
        ("session", "3 trials"),
        ("region by behavior", "2 units"),
        ("wheel", "1 trials"),
    ],
)
def test_what_is_not_shown_is_counted(ax, kind, left_out):
    plot, data, _ = KINDS[kind]
    plot(ax, data)
    assert f"not shown: {left_out}" in [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("n", [None, 0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_figure_for_a_talk_is_larger_and_fits(kind, n):
    plot, data, _ = KINDS[kind]
    plain = Figure(layout="constrained").subplots()
    plot(plain, data if n is None else data[:n], "Title")
    with style.talk():
        ax = Figure(layout="constrained").subplots()
        plot(ax, data if n is None else data[:n], "Title")
        assert_fits(ax.figure, 100)
    for small, large in ((plain.title, ax.title), (plain.xaxis.label, ax.xaxis.label)):
        assert large.get_fontsize() >= 1.4 * small.get_fontsize()
    if plain.get_legend():
        small, large = (axes.get_legend().get_texts()[0].get_fontsize() for axes in (plain, ax))
        assert large == pytest.approx(1.7 * small)
    widths = [
        [line.get_linewidth() for line in axes.lines if line.get_linewidth()]
        for axes in (plain, ax)
    ]
    assert widths[1] == pytest.approx([1.7 * width for width in widths[0]])


def test_outside_of_a_talk_nothing_changes():
    before = dict(matplotlib.rcParams)
    with style.talk():
        assert matplotlib.rcParams["font.size"] == 17
    assert dict(matplotlib.rcParams) == before
    assert style.points(7) == 7
    assert style.stroke(1.2) == pytest.approx(1.2)


def test_a_legend_is_above_the_data_and_below_the_title(ax):
    ephys.plot_psth(ax, PSTH, title="Title")
    ax.figure.draw_without_rendering()
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1 - 1
    assert ax.title.get_window_extent().y0 >= legend.y1 - 1


# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB.
VISION = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "trichromacy": np.eye(3),
}
TO_XYZ = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
WHITE = np.array([0.9505, 1.0, 1.089])


def perceive(colour, vision):
    """CIELAB coordinates of a colour as it is seen."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.array(VISION[vision]) @ linear, 0, 1)
    xyz = np.array(TO_XYZ) @ seen / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours, vision):
    seen = [perceive(colour, vision) for colour in colours]
    return min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2))


def test_the_measure_of_colours_fails_red_beside_green():
    assert nearest(["#009E00", "#A05A00"], "deuteranopia") < 10
    assert nearest(["#009E00", "#A05A00"], "trichromacy") > 50
    assert perceive("#ffffff", "deuteranopia") == pytest.approx([100, 0, 0], abs=0.1)


# 2.3 is a difference that is just noticed.
@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize(
    ("colours", "least"),
    [
        (behavior.SIDE_COLOURS.values(), 15),
        (behavior.BLOCK_COLOURS.values(), 15),
        (style.CONDITION_COLOURS, 15),
        (ephys.LABEL_COLOURS.values(), 15),
        (style.choose_colours(range(5)).values(), 15),
        (style.choose_colours(range(9)).values(), 5),
        (style.choose_colours([-100, -50, -25, -12.5, -6.25, 0]).values(), 8),
        (style.choose_colours([-100, -50, -25, -12.5, -6.25, 0, 6.25, 25, 100]).values(), 8),
    ],
    ids=[
        *("sides", "blocks", "conditions", "labels", "five levels", "nine levels"),
        *("left contrasts", "signed contrasts"),
    ],
)
def test_colours_used_together_are_told_apart(colours, least, vision):
    assert nearest(colours, vision) >= least


def test_colours_stand_out_from_white():
    signed = style.choose_colours(np.arange(-5, 6)).values()
    for colours in (style.CONDITION_COLOURS, style.choose_colours(range(9)).values(), signed):
        assert all(perceive(colour, "trichromacy")[0] < 80 for colour in colours)


@pytest.mark.parametrize(
    "kind", sorted(kind for kind, (_, data, _) in KINDS.items() if isinstance(data, pd.DataFrame))
)
def test_frames_of_the_database_are_drawn_alike(kind):
    """Their columns are of the nullable types of pandas, with NA instead of NaN."""
    plot, data, _ = KINDS[kind]
    drawn = []
    for frame in (data, data.convert_dtypes()):
        ax = Figure(layout="constrained").subplots()
        plot(ax, frame)
        ax.figure.draw_without_rendering()
        offsets = [points.get_offsets().data.tolist() for points in ax.collections]
        drawn.append((offsets, [line.get_xydata().tolist() for line in ax.lines]))
    assert repr(drawn[0]) == repr(drawn[1])
