"""Figures of units and regions draw the numbers that they are given."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm, to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from schemas.figures.ephys import (
    LABEL_COLOURS,
    plot_amplitude_by_depth,
    plot_psth,
    plot_raster,
    plot_raster_and_psth,
    plot_rates_along_probe,
    plot_region_rates,
    plot_region_summary,
    region_summary_size,
)
from schemas.figures.style import CONDITION_COLOURS, choose_colours
from tests.support.axes import legend, named
from tests.unit.test_figures import (
    PSTH,
    RATES,
    SITES,
    SUMMARY,
    UNITS,
    assert_fits,
    overlaps,
)


@pytest.fixture
def ax():
    return Figure(layout="constrained").subplots()


def spikes_drawn(ax):
    """Time, row and colour of every spike of a raster."""
    return sorted(
        (round(segment[0, 0], 9), float(segment[:, 1].mean()), to_hex(lines.get_colors()[0]))
        for lines in ax.collections
        if isinstance(lines, LineCollection)
        for segment in lines.get_segments()
    )


def test_a_raster_has_every_spike_of_the_window_in_its_trials_row(ax):
    rng = np.random.default_rng(0)
    spikes = np.sort(rng.uniform(0, 60, 300))
    events = rng.uniform(5, 55, 20)
    events[[4, 11]] = np.nan
    sides = rng.choice(["left", "right"], 20)
    plot_raster(ax, spikes, events, sides, window=(-0.4, 0.8))
    kept = [i for i in range(20) if not np.isnan(events[i])]
    order = [i for i in kept if sides[i] == "left"] + [i for i in kept if sides[i] == "right"]
    colour = {
        "left": CONDITION_COLOURS[0].lower(),
        "right": CONDITION_COLOURS[1].lower(),
    }
    expected = sorted(
        (round(spike - events[i], 9), float(row), colour[sides[i]])
        for row, i in enumerate(order)
        for spike in spikes
        if -0.4 <= spike - events[i] <= 0.8
    )
    assert spikes_drawn(ax) == expected
    assert ax.get_xlim() == (-0.4, 0.8)
    assert ax.get_ylim() == (17.5, -0.5)
    n_left = sum(sides[i] == "left" for i in kept)
    names = [text.get_text() for text in ax.get_yticklabels()]
    assert names == [f"left ({n_left})", f"right ({18 - n_left})"]


def test_trials_of_a_condition_are_sorted_by_the_first_mark(ax):
    events = np.array([10.0, 20.0, 30.0, 40.0])
    move = events + np.array([0.3, 0.1, np.nan, 0.2])
    plot_raster(ax, events + 0.05, events, ["a", "a", "a", "b"], marks={"move": move, "end": move})
    assert named(ax)["move"].get_xydata() == pytest.approx(np.array([[0.1, 0], [0.3, 1], [0.2, 3]]))
    assert named(ax)["move"].get_marker() != named(ax)["end"].get_marker()
    assert [row for _, row, _ in spikes_drawn(ax)] == [0, 1, 2, 3]


def test_trials_without_condition_are_left_out_of_the_raster(ax):
    events = np.array([10.0, 20.0, 30.0])
    plot_raster(ax, events, events, ["a", None, "a"])
    assert [row for _, row, _ in spikes_drawn(ax)] == [0, 1]
    assert legend(ax) == ["not shown: 1 trials"]


def test_columns_of_a_frame_may_be_nullable(ax):
    trials = pd.DataFrame({"on": [1.0, None, 3.0], "side": ["left", "left", None]}, [7, 8, 9])
    trials = trials.convert_dtypes()
    plot_raster(ax, np.array([1.1]), trials.on, trials.side, marks={"move": trials.on})
    assert spikes_drawn(ax) == [(0.1, 0.0, CONDITION_COLOURS[0].lower())]
    assert legend(ax) == ["move", "not shown: 2 trials"]


def test_a_raster_without_conditions_is_in_the_order_of_trials(ax):
    plot_raster(ax, np.array([1.1, 2.2]), np.array([1.0, 2.0, 3.0]), event_name="go cue")
    assert [(time, row) for time, row, _ in spikes_drawn(ax)] == [(0.1, 0), (0.2, 1)]
    assert ax.get_ylabel() == "trial"
    assert ax.get_xlabel() == "time from go cue (s)"


@pytest.mark.parametrize("spikes", [[], [12.0]])
def test_a_unit_of_no_or_one_spike_has_a_raster(ax, spikes):
    plot_raster(ax, np.array(spikes), np.array([12.0, 30.0]), ["a", "b"])
    assert len(spikes_drawn(ax)) == len(spikes)


def test_many_spikes_are_pixels_and_each_at_least_one_high(ax):
    events = np.arange(600) * 3.0 + 2
    spikes = np.sort(np.random.default_rng(0).uniform(0, 1802, 24_000))
    plot_raster(ax, spikes, events, np.arange(600) % 9)
    assert len(ax.collections) == 9
    assert all(lines.get_rasterized() for lines in ax.collections)
    ax.figure.set_dpi(100)
    ax.figure.draw_without_rendering()
    segment = ax.transData.transform(ax.collections[0].get_segments()[0])
    assert abs(np.diff(segment[:, 1])) >= 1
    assert not overlaps(ax.get_yticklabels())


def test_names_of_small_conditions_do_not_overlap(ax):
    condition = np.r_[np.zeros(391), np.arange(1, 10)]
    plot_raster(ax, np.array([1.0]), np.arange(400) * 1.0, condition)
    ax.figure.draw_without_rendering()
    assert not overlaps(ax.get_yticklabels())
    assert [text.get_text() for text in ax.get_yticklabels()][:2] == ["0 (391)", "1 (1)"]
    assert_fits(ax.figure, 100)


def test_a_psth_is_a_line_of_the_mean_in_a_band_of_the_sem(ax):
    plot_psth(ax, PSTH[::-1])
    left, right = named(ax).values()
    assert list(named(ax)) == ["left (n = 12)", "right (n = 1)"]
    assert left.get_xydata().tolist() == [[-0.05, 3.0], [0.05, 9.0]]
    assert right.get_ydata()[0] == 3.5
    assert np.isnan(right.get_ydata()[1])
    assert [left.get_color(), right.get_color()] == list(CONDITION_COLOURS[:2])
    band = {tuple(point) for point in ax.collections[0].get_paths()[0].vertices}
    assert {(-0.05, 2.5), (-0.05, 3.5), (0.05, 8.0), (0.05, 10.0)} <= band
    assert not ax.collections[1].get_paths()
    assert ax.get_ylim()[0] == 0


def test_a_psth_is_of_one_unit(ax):
    with pytest.raises(ValueError, match="one unit"):
        plot_psth(ax, pd.concat([PSTH, PSTH]))


def test_raster_and_psth_share_time_and_colours():
    figure = Figure(figsize=(5, 6), layout="constrained")
    events = np.arange(1.0, 9)
    sides = np.array(["left", "right"] * 4)
    above, below = plot_raster_and_psth(
        figure, events + 0.1, events, PSTH, sides, window=(-0.1, 0.3), event_name="cue"
    )
    assert above.get_xlim() == below.get_xlim() == (-0.1, 0.3)
    assert {colour for _, _, colour in spikes_drawn(above)} == {
        line.get_color().lower() for line in named(below).values()
    }
    assert below.get_xlabel() == "time from cue (s)"
    assert not above.get_xlabel()
    for dpi in (100, 300):
        assert_fits(figure, dpi)


def test_raster_and_psth_without_events():
    figure = Figure(layout="constrained")
    none = np.array([])
    above, below = plot_raster_and_psth(figure, none, none, PSTH.head(0), [])
    assert [above.texts[0].get_text(), below.texts[0].get_text()] == ["no trials", "no events"]
    assert_fits(figure, 100)


def test_a_raster_of_all_trials_stands_above_a_psth_by_condition():
    figure = Figure(layout="constrained")
    above, below = plot_raster_and_psth(figure, np.array([1.0]), np.array([1.0]), PSTH)
    assert len(spikes_drawn(above)) == 1
    assert len(named(below)) == 2


@pytest.mark.parametrize(
    ("conditions", "order"),
    [
        (["right", "left", None, "right"], ["left", "right"]),
        ([100.0, -6.25, 0.0, np.nan], [-6.25, 0.0, 100.0]),
        (["1.0", "0.0625", "0.25", "0.125"], ["0.0625", "0.125", "0.25", "1.0"]),
        (["left 1.0", "left 0.25", "0.5"], ["0.5", "left 0.25", "left 1.0"]),
        ([True, False], [False, True]),
        ([], []),
    ],
)
def test_conditions_are_in_the_order_of_numbers_then_names(conditions, order):
    colours = choose_colours(conditions)
    assert list(colours) == order
    assert len(set(colours.values())) == len(order)


def test_given_colours_set_the_order_and_must_be_complete():
    given = {"right": "#D55E00", "no_go": "#000000", "left": "#0072B2"}
    assert list(choose_colours(["left", "right"], given)) == ["right", "left"]
    with pytest.raises(ValueError, match="up"):
        choose_colours(["left", "up"], given)


def points(ax):
    """Offsets of the points of each scatter, by its label without the number."""
    return {
        drawn.get_label().split(" (")[0]: drawn.get_offsets().data.tolist()
        for drawn in ax.collections
    }


def test_a_unit_is_a_point_at_its_rate_and_depth(ax):
    plot_rates_along_probe(ax, UNITS, SITES)
    assert points(ax) == {"good": [[0.2, 100], [40, 3000]], "other": [[5, 1500]]}
    colours = [to_hex(drawn.get_facecolor()[0]) for drawn in ax.collections]
    assert colours == [LABEL_COLOURS[False].lower(), LABEL_COLOURS[True].lower()]
    assert ax.get_xscale() == "log"
    assert legend(ax) == ["other (n = 1)", "good (n = 2)", "not shown: 2 units"]
    low, high = ax.get_xlim()
    assert low < 0.2
    assert high > 40


def test_units_of_one_rate_have_an_axis_with_a_number(ax):
    plot_rates_along_probe(ax, UNITS.assign(firing_rate=3.0).drop(columns="is_good"), SITES)
    low, high = ax.get_xlim()
    assert low < 1 < 3 < high
    assert legend(ax) == ["units (n = 4)", "not shown: 1 units"]


def blocks(column):
    return [
        (bar.get_y(), bar.get_y() + bar.get_height(), to_hex(bar.get_facecolor()))
        for bar in column.patches
    ]


def test_a_region_is_a_block_over_its_sites(ax):
    plot_rates_along_probe(ax, UNITS, SITES)
    (column,) = ax.child_axes
    assert blocks(column) == [
        (10, 30, "#ff909f"),
        (30, 50, "#7ed04b"),
        (50, 70, "#ffffff"),
    ]
    assert [text.get_text() for text in column.texts] == ["LP", "CA1"]
    assert column.get_ylim() == ax.get_ylim()


def test_a_region_that_returns_is_a_block_of_its_own(ax):
    sites = pd.DataFrame(
        {
            "channel_axial": np.arange(60.0, 0, -20),
            "region_acronym": ["LP", "PO", "LP"],
            "region_rgb": "#ff909f",
        }
    )
    plot_rates_along_probe(ax, UNITS.head(0), sites)
    (column,) = ax.child_axes
    assert [text.get_text() for text in column.texts] == ["LP", "PO", "LP"]
    assert ax.get_ylim()[0] < 10 < 70 < ax.get_ylim()[1]


def test_one_site_is_a_block(ax):
    plot_rates_along_probe(ax, UNITS, SITES.head(1))
    assert blocks(ax.child_axes[0]) == [(10, 30, "#ff909f")]


@pytest.mark.parametrize(("n", "dpi"), [(12, 300), (70, 100)])
def test_names_of_regions_neither_overlap_nor_leave_the_figure(dpi, n):
    figure = Figure(figsize=(4.5, 6), layout="constrained")
    ax = figure.subplots()
    region = np.minimum(np.arange(192) // 2, n - 1)  # blocks too thin for their names
    sites = pd.DataFrame(
        {
            "channel_axial": 20.0 + 20 * np.arange(192),
            "region_acronym": [f"SSp-bfd{i}" for i in region],
            "region_rgb": "#7ed04b",
        }
    )
    plot_rates_along_probe(ax, UNITS, sites, title="Title")
    assert_fits(figure, dpi)
    names = ax.child_axes[0].texts
    assert [text.get_text() for text in names] == [f"SSp-bfd{i}" for i in range(n)]
    places = [text.get_position()[1] for text in names]
    assert places == sorted(places)
    heights = [Text.get_window_extent(text).height for text in names]  # without its line
    at = ax.transData.transform([(1, place) for place in places])[:, 1]
    assert (np.diff(at) >= 0.75 * max(heights)).all()  # an extent has room above and below


def test_an_amplitude_is_in_microvolt_and_coloured_by_rate(ax):
    plot_amplitude_by_depth(ax, UNITS)
    (drawn,) = ax.collections
    assert drawn.get_offsets().data == pytest.approx(np.array([[50, 100], [120, 1500]]))
    assert drawn.get_array().tolist() == [0.2, 5.0]
    assert isinstance(drawn.norm, LogNorm)
    assert drawn.norm.vmin < 0.2
    assert drawn.norm.vmax > 5
    assert ax.figure.axes[1].get_ylabel() == "firing rate (Hz)"
    assert ax.get_xlim()[0] == 0


def test_an_amplitude_may_be_coloured_by_label(ax):
    plot_amplitude_by_depth(ax, UNITS, colour_by="is_good")
    drawn = points(ax)
    assert np.array(drawn["good"]) == pytest.approx(np.array([[50, 100]]))
    assert np.array(drawn["other"]) == pytest.approx(np.array([[120, 1500], [60, 2000]]))
    shapes = [len(collection.get_paths()[0].vertices) for collection in ax.collections]
    assert shapes[0] != shapes[1]


def test_an_unknown_colouring_is_refused(ax):
    with pytest.raises(ValueError, match="firing_rate"):
        plot_amplitude_by_depth(ax, UNITS, colour_by="depth")


def test_all_units_without_depth_are_an_empty_figure(ax):
    plot_amplitude_by_depth(ax, UNITS.assign(cluster_depth=np.nan))
    assert [text.get_text() for text in ax.texts] == ["no units"]
    assert legend(ax) == ["not shown: 5 units"]


def test_a_region_is_a_point_with_its_spread_the_first_on_top(ax):
    plot_region_summary(ax, SUMMARY)
    lines, drawn = ax.collections
    assert drawn.get_offsets().data.tolist() == [[4, 0], [2.5, 1], [8, 2]]
    assert [to_hex(colour) for colour in drawn.get_facecolor()] == list(SUMMARY.rgb)
    ends = [segment[:, 0].tolist() for segment in lines.get_segments() if segment.size]
    assert ends == [[3.5, 4.5], [7.0, 9.0]]
    assert ax.yaxis_inverted()
    assert [text.get_text() for text in ax.get_yticklabels()] == ["VISp", "LP", "CA1"]
    (counts,) = ax.child_axes
    assert [text.get_text() for text in counts.get_yticklabels()] == ["3 / 2", "1 / 1", "12 / 5"]
    assert counts.get_ylabel() == "units / sessions"
    assert ax.get_xlabel() == "firing rate (Hz), mean ± sem"
    assert ax.get_xlim()[0] == 0


def test_a_spread_below_zero_is_not_cut_off(ax):
    plot_region_summary(ax, SUMMARY.assign(sd=6.0), spread="sd", label="change (Hz)")
    assert ax.get_xlim()[0] < 2.5 - 6
    assert ax.get_xlabel() == "change (Hz), mean ± sd"


def test_a_region_without_mean_keeps_its_row(ax):
    plot_region_summary(ax, SUMMARY.assign(mean=[np.nan, np.nan, 8.0]))
    assert len(ax.get_yticklabels()) == 3
    assert_fits(ax.figure, 100)


def test_regions_without_any_mean_are_drawn(ax):
    plot_region_summary(ax, SUMMARY.assign(mean=np.nan))
    assert_fits(ax.figure, 100)


@pytest.mark.parametrize(("size", "dpi"), [(None, 300), ((6.4, 4.8), 100)])
def test_seventy_regions_can_be_told_apart(size, dpi):
    figure = Figure(figsize=size or region_summary_size(70), layout="constrained")
    ax = figure.subplots()
    many = SUMMARY.iloc[np.arange(70) % 3].set_axis([f"SSp-bfd{i}" for i in range(70)])
    plot_region_summary(ax, many, title="Title")
    assert_fits(figure, dpi)
    step = abs(np.diff(ax.transData.transform([(1, 0), (1, 1)])[:, 1]))[0] * 72 / dpi
    sizes = {text.get_fontsize() for text in ax.get_yticklabels()}
    assert max(sizes) <= step
    if size is None:
        assert min(sizes) >= 7


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


def test_without_units_there_is_no_bar(ax):
    plot_region_rates(ax, RATES.head(0))
    assert len(ax.containers[0]) == 0
