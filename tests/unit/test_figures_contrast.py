"""Signed contrasts in raster and histogram: colours, names, lines, and what does not match."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure

from schemas.figures.ephys import plot_psth, plot_raster, plot_raster_and_psth
from schemas.figures.style import ZERO_COLOUR, choose_colours, choose_line, name_contrasts
from schemas.figures.wheel import plot_wheel
from tests.support.axes import named
from tests.unit.test_figures import CONTRAST_PSTH, CONTRASTS, PSTH, perceive

EVENTS = np.arange(10.0, 70.0, 10)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def hue(colour):
    """Whether a colour is rather blue, rather red, or neither."""
    red, _, blue = to_rgb(colour)
    return np.sign(round(red - blue, 6))


@pytest.mark.parametrize(
    ("conditions", "order"),
    [
        (["right 0", "left 0.25", "left 0", "right 1", "left 1", "left 1"], [4, 1, 2, 0, 3]),
        (["right 0.0", "ipsilateral 0.25", "contralateral 0.0625"], [2, 0, 1]),
        ([0.0, 25.0, -100.0, 100.0, -6.25], [2, 4, 0, 1, 3]),
        (["0.5", "-0.5", "0"], [1, 2, 0]),
        ([3.0, -7.0, 2.0, 0.0, -1.0], [1, 4, 3, 2, 0]),
    ],
)
def test_signed_contrasts_diverge_from_grey(conditions, order):
    colours = choose_colours(conditions)
    assert list(colours) == [conditions[i] for i in order]
    sign = {"left": -1, "contralateral": -1, "right": 1, "ipsilateral": 1}
    signed = {c: float(str(c).split()[-1]) * sign.get(str(c).split()[0], 1) for c in colours}
    assert [hue(colours[c]) for c in colours] == [np.sign(signed[c]) for c in colours]
    for side in (-1, 1):
        of_side = sorted((abs(v), c) for c, v in signed.items() if np.sign(v) == side)
        light = [perceive(colours[c], "trichromacy")[0] for _, c in of_side]
        assert light == sorted(light, reverse=True)
        assert len(set(light)) == len(light)


def test_a_contrast_has_one_shade_whatever_it_is_beside():
    few, many = choose_colours(["left 0.25", "right 0"]), choose_colours(CONTRASTS)
    assert few["left 0.25"] == many["left 0.25"]
    assert choose_colours([-25.0, 0.0])[-25.0] == many["left 0.25"]
    assert choose_colours([-25.0, 100.0])[100.0] == many["right 1"]


@pytest.mark.parametrize(
    "conditions",
    [["left", "right"], ["left 0.25 correct", "right 0.25 error"], [0.0, 0.25, 1.0], ["up 1", "0"]],
)
def test_what_is_no_signed_contrast_does_not_diverge(conditions):
    assert ZERO_COLOUR not in choose_colours(conditions).values()


def test_only_zero_on_the_left_is_dashed():
    dashed = ["left 0", "left 0.0", "contralateral 0"]
    solid = ["right 0", "ipsilateral 0", "left 0.25", "left", "0", 0.0, -1.0, "all", "up 0"]
    assert {choose_line(condition) for condition in dashed} == {"--"}
    assert {choose_line(condition) for condition in solid} == {"-"}


def test_both_zeros_of_a_histogram_are_told_apart_by_their_line(ax):
    plot_psth(ax, CONTRAST_PSTH)
    lines = named(ax)
    assert list(lines) == [
        f"{name} (n = {n})" for name, n in zip(CONTRASTS, [20, 4, 9, 8, 5, 21], strict=True)
    ]
    assert [line.get_ydata().tolist() for line in lines.values()] == [
        [3.0 * i, 3.0 * i + 1, 3.0 * i + 2] for i in range(6)
    ]
    left, right = list(lines.values())[2:4]
    assert left.get_color() == right.get_color() == ZERO_COLOUR
    assert [line.get_linestyle() for line in lines.values()] == ["-", "-", "--", "-", "-", "-"]


def test_zeros_stay_told_apart_in_colours_of_the_caller_and_of_the_wheel(ax):
    zeros = ["left 0", "right 0"]
    rows = CONTRAST_PSTH[CONTRAST_PSTH.condition.isin(zeros)]
    plot_psth(ax, rows, colours=dict.fromkeys(zeros, "red"))
    assert [line.get_linestyle() for line in named(ax).values()] == ["--", "-"]
    ax = ax.figure.add_subplot()
    plot_wheel(ax, np.eye(2), np.array([0.0, 1.0]), zeros)
    assert [line.get_linestyle() for line in named(ax).values()] == ["--", "-"]


@pytest.mark.parametrize(("n", "n_bands"), [(1, 1), (3, 3), (4, 0), (6, 0)])
def test_bands_are_drawn_only_where_they_can_be_told_apart(ax, n, n_bands):
    plot_psth(ax, CONTRAST_PSTH[CONTRAST_PSTH.condition.isin(CONTRASTS[:n])])
    assert len(named(ax)) == n
    assert len(ax.collections) == n_bands
    assert ("sem" in ax.get_ylabel()) == bool(n_bands)


def spikes_of_each_condition():
    """Six trials of one condition each, not in its order, and spikes that say which trial."""
    conditions = [CONTRASTS[i] for i in (4, 0, 3, 5, 2, 1)]
    return EVENTS + 0.1 + 0.01 * np.arange(6), conditions


def test_raster_and_histogram_have_the_same_names_order_and_colours():
    spikes, conditions = spikes_of_each_condition()
    figure = Figure(figsize=(6, 6), layout="constrained")
    above, below = plot_raster_and_psth(
        figure, spikes, EVENTS, CONTRAST_PSTH, conditions, unit=7, region="VISp"
    )
    labels = above.get_yticklabels()
    assert [text.get_text() for text in labels] == [f"{name} (1)" for name in CONTRASTS]
    lines = named(below)
    assert [name.split(" (")[0] for name in lines] == CONTRASTS
    drawn = [to_hex(collection.get_colors()[0]) for collection in above.collections]
    colours = [to_hex(line.get_color()) for line in lines.values()]
    assert drawn == colours == [to_hex(text.get_color()) for text in labels]
    times = [collection.get_segments()[0][0, 0] for collection in above.collections]
    assert times == pytest.approx([0.11, 0.15, 0.14, 0.12, 0.10, 0.13])
    assert above.get_title() == "unit 7, VISp"
    assert below.get_title() == ""


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ({}, ""),
        ({"title": "Title"}, "Title"),
        ({"unit": 0}, "unit 0"),
        ({"region": "VISp"}, "VISp"),
        ({"title": "NYU-11", "unit": np.int64(12), "region": "VISp"}, "NYU-11: unit 12, VISp"),
        ({"unit": "probe00 12"}, "probe00 12"),
    ],
)
def test_unit_and_region_stand_in_the_title(ax, given, title):
    plot_psth(ax, PSTH, **given)
    assert ax.get_title() == title
    other = Figure().subplots()
    plot_raster(other, np.array([1.0]), np.array([1.0]), **given)
    assert other.get_title() == title


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"conditions": ["a", "b"]}, "6 trials, but conditions has 2"),
        ({"conditions": pd.Series(["a"] * 7)}, "6 trials, but conditions has 7"),
        ({"marks": {"move": np.ones(5)}}, "6 trials, but move has 5"),
        ({"conditions": [], "marks": {"move": []}}, "conditions has 0, move has 0"),
    ],
)
def test_conditions_that_are_not_one_for_each_trial_are_refused(ax, given, message):
    with pytest.raises(ValueError, match=message):
        plot_raster(ax, np.array([1.0]), EVENTS, **given)
    assert not ax.has_data()


def test_conditions_of_a_wheel_are_one_for_each_trace(ax):
    with pytest.raises(ValueError, match="2 trials, but conditions has 3"):
        plot_wheel(ax, np.ones((2, 3)), np.arange(3.0), ["a", "b", "a"])


@pytest.mark.parametrize("spikes", [[1.0, 0.5], [1.0, np.nan], [np.nan], [2.0, 3.0, 2.5, 4.0]])
def test_spikes_that_do_not_ascend_are_refused(ax, spikes):
    with pytest.raises(ValueError, match="one unit"):
        plot_raster(ax, np.array(spikes), EVENTS)


def test_a_histogram_of_conditions_that_no_trial_has_is_refused():
    figure = Figure()
    spikes, _ = spikes_of_each_condition()
    signed = [25.0, -100.0, 0.0, 100.0, 0.0, -25.0]
    with pytest.raises(ValueError, match=r"'left 1'.*name_contrasts"):
        plot_raster_and_psth(figure, spikes, EVENTS, CONTRAST_PSTH, signed)
    with pytest.raises(ValueError, match=r"\['right 1'\]"):
        plot_raster_and_psth(figure, spikes, EVENTS, CONTRAST_PSTH, [*CONTRASTS[:5], None])
    assert not figure.axes


def test_a_histogram_may_lack_conditions_and_trials_of_the_raster():
    spikes, conditions = spikes_of_each_condition()
    few = CONTRAST_PSTH[CONTRAST_PSTH.condition != "left 0"]
    unused = few.head(3).assign(condition="left 0.5", n_events=0, mean=np.nan)
    above, below = plot_raster_and_psth(
        Figure(), spikes, EVENTS, pd.concat([few, unused]), conditions
    )
    assert len(above.get_yticks()) == 6
    assert len(named(below)) == 6


def test_trials_are_named_as_the_histograms_name_them():
    side = pd.Series(["left", "right", None, "left", "right"], [4, 5, 6, 7, 8])
    contrast = pd.Series([0.0625, 0.0, 1.0, np.nan, 1.0], [4, 5, 6, 7, 8])
    named_so = name_contrasts(side, contrast)
    assert named_so.tolist() == ["left 0.0625", "right 0", None, None, "right 1"]
    assert name_contrasts(side.convert_dtypes(), contrast.convert_dtypes()).tolist() == (
        named_so.tolist()
    )
    with pytest.raises(ValueError, match="fraction"):
        name_contrasts(["left"], [25.0])
    with pytest.raises(ValueError, match="contrast has 1"):
        name_contrasts(["left", "right"], [0.25])


def test_conditions_of_the_tables_have_these_names():
    from schemas.maths.psth import name_level

    contrasts = [0.0, 0.0625, 0.125, 0.25, 0.5, 1.0]
    expected = [f"left {name_level(contrast)}" for contrast in contrasts]
    assert name_contrasts(["left"] * 6, contrasts).tolist() == expected
