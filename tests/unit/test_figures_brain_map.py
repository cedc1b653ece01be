"""The map of the brain: tiles, colours, and what has no place or no value."""

import csv

import matplotlib
import numpy as np
import pandas as pd
import pytest
from iblatlas.regions import BrainRegions
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from schemas.figures import brain_map
from schemas.figures.brain_map import BRAIN_MAP_SIZE, NO_VALUE, plot_brain_map
from tests.support.axes import legend
from tests.unit.test_figures import VISION, assert_fits, perceive

DIVISIONS = ["Isocortex", "OLF", "HPF", "CTXsp", "CNU", "TH", "HY", "MB", "HB", "CB"]
VALUES = {"VISp": 2.0, "CA1": 8.0, "LP": 5.0}


@pytest.fixture
def ax():
    return Figure(figsize=BRAIN_MAP_SIZE, layout="constrained").subplots()


def rectangles(collection):
    """Left, top, right and bottom of each tile."""
    vertices = [path.vertices for path in collection.get_paths()]
    return np.array([[*v.min(axis=0), *v.max(axis=0)] for v in vertices]).reshape(-1, 4)


def tiles(ax):
    """Colour and rectangle of each tile, by the name that stands in its middle."""
    ax.figure.draw_without_rendering()
    found = {}
    for drawn in (c for c in ax.collections if isinstance(c, PolyCollection)):
        places = rectangles(drawn)
        colours = np.broadcast_to(drawn.get_facecolor(), (len(places), 4)) if len(places) else []
        for (left, top, right, bottom), colour in zip(places, colours, strict=True):
            names = [
                text.get_text()
                for text in ax.texts
                if text.get_position() == pytest.approx(((left + right) / 2, (top + bottom) / 2))
            ]
            assert len(names) == 1
            found[names[0]] = to_hex(colour), (left, top, right, bottom)
    return found


def area(place):
    left, top, right, bottom = place
    return (right - left) * (bottom - top)


def overlap(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide > 1e-6 and high > 1e-6


def regions_of_iblatlas():
    """Division and acronym of each region of Beryl in the order of the ontology."""
    atlas = BrainRegions()
    index = np.unique(atlas.mappings["Beryl"][: len(atlas.id) // 2 + 1])
    index = index[np.argsort(atlas.order[index], kind="stable")]
    division = atlas.acronym[atlas.mappings["Cosmos"][index]]
    pairs = zip(division, atlas.acronym[index], strict=True)
    return [list(pair) for pair in pairs if pair[0] not in ("void", "root")]


def test_the_regions_are_those_of_iblatlas():
    path = brain_map.Path(brain_map.__file__).with_name("regions_beryl.csv")
    with path.open(newline="", encoding="utf-8") as file:
        header, *listed = csv.reader(file)
    assert header == ["division", "acronym"]
    assert listed == regions_of_iblatlas()
    assert len(listed) == 306


def test_every_region_has_a_tile_in_the_colour_of_its_value(ax):
    plot_brain_map(ax, VALUES, label="change (Hz)")
    drawn = tiles(ax)
    assert sorted(drawn) == sorted(acronym for _, acronym in regions_of_iblatlas())
    viridis = matplotlib.colormaps["viridis"]
    expected = {"VISp": viridis(0.0), "CA1": viridis(1.0), "LP": viridis(0.5)}
    for acronym, (colour, _) in drawn.items():
        assert colour == to_hex(expected.get(acronym, NO_VALUE))
    assert legend(ax) == ["no value (n = 303)"]
    assert ax.figure.axes[1].get_ylabel() == "change (Hz)"
    assert ax.figure.axes[1].get_ylim() == (2, 8)


def test_tiles_have_one_area_cover_no_other_and_follow_the_ontology(ax):
    plot_brain_map(ax, VALUES)
    drawn = tiles(ax)
    places = [drawn[acronym][1] for _, acronym in regions_of_iblatlas()]
    assert [area(place) for place in places] == pytest.approx([area(places[0])] * 306)
    right, bottom = ax.get_xlim()[1], ax.get_ylim()[0]
    assert min(place[0] for place in places) >= -1e-6
    assert max(place[2] for place in places) <= right + 1e-6
    assert max(place[3] for place in places) <= bottom + 1e-6
    assert not any(overlap(a, b) for i, a in enumerate(places) for b in places[:i])
    division = {acronym: name for name, acronym in regions_of_iblatlas()}
    for name in DIVISIONS:
        of = [drawn[acronym][1] for acronym in division if division[acronym] == name]
        read = sorted(of, key=lambda place: (round(place[1], 3), place[0]))
        assert of == read


def test_a_division_is_a_block_under_its_name(ax):
    plot_brain_map(ax, VALUES)
    drawn = tiles(ax)
    blocks = [(*b.get_xy(), b.get_width(), b.get_height()) for b in ax.patches]
    headings = [text.get_text() for text in ax.texts if text.get_weight() == "bold"]
    assert headings == DIVISIONS
    for name, (x, y, wide, high) in zip(headings, blocks, strict=True):
        of = [drawn[a][1] for division, a in regions_of_iblatlas() if division == name]
        assert min(place[0] for place in of) == pytest.approx(x, abs=1e-6)
        assert max(place[2] for place in of) == pytest.approx(x + wide)
        assert max(place[3] for place in of) == pytest.approx(y + high)
        assert y + 10 < min(place[1] for place in of) < y + 12


def test_what_has_no_place_is_counted_and_named(ax):
    strange = {"TH": 1.0, "VISp5": 2.0, "root": 99.0, "void": 3.0, "LGd": np.nan, "xx": np.nan}
    plot_brain_map(ax, VALUES | strange)
    assert legend(ax) == ["no value (n = 303)", "not shown: 4 regions (TH, VISp5, root, …)"]
    assert ax.figure.axes[1].get_ylim() == (2, 8)


@pytest.mark.parametrize("kind", ["mapping", "series", "frame", "nullable"])
def test_values_are_a_mapping_a_series_or_a_column(ax, kind):
    series = pd.Series(VALUES)
    frame = pd.DataFrame({"rate": series, "mean": 1.0})
    given = {"mapping": VALUES, "series": series, "frame": frame, "nullable": frame}[kind]
    if kind == "nullable":
        given = frame.convert_dtypes()
    plot_brain_map(ax, given, column="rate")
    assert ax.collections[1].get_array().tolist() == [2, 8, 5]  # VISp, CA1, LP


def test_the_area_may_be_a_number(ax):
    index = ["VISp", "CA1", "LP", "LGd", "PO", "TH"]
    numbers = [300, 100, 50, np.nan, 25, 9]
    values = pd.DataFrame({"mean": [1.0, 2, 3, 4, np.nan, 6], "n_units": numbers}, index)
    plot_brain_map(ax, values, area="n_units")
    drawn = tiles(ax)
    assert sorted(drawn) == ["CA1", "LP", "PO", "VISp"]
    per_unit = [area(drawn[name][1]) / values.n_units[name] for name in drawn]
    assert per_unit == pytest.approx([per_unit[0]] * 4)
    assert drawn["PO"][0] == NO_VALUE.lower()
    assert legend(ax) == ["no value (n = 1)", "not shown: 2 regions (LGd, TH)"]


def test_divisions_alone_are_ten_tiles(ax):
    plot_brain_map(ax, {"TH": 1.0, "CB": 3.0, "VISp": 2.0}, mapping="Cosmos")
    drawn = tiles(ax)
    assert sorted(drawn) == sorted(DIVISIONS)
    assert [area(place) for _, place in drawn.values()] == pytest.approx(
        [area(drawn["TH"][1])] * 10
    )
    assert legend(ax) == ["no value (n = 8)", "not shown: 1 regions (VISp)"]


@pytest.mark.parametrize(
    ("given", "ends", "tip"),
    [
        ({}, (2, 8), "neither"),
        ({"centre": 4.0}, (0, 8), "neither"),
        ({"centre": 7.0}, (2, 12), "neither"),
        ({"limits": (0, 10)}, (0, 10), "neither"),
        ({"limits": (3, 10)}, (3, 10), "min"),
        ({"limits": (0, 6)}, (0, 6), "max"),
        ({"limits": (3, 6), "centre": 0.0}, (3, 6), "both"),
    ],
)
def test_the_scale_of_colours(ax, given, ends, tip):
    plot_brain_map(ax, VALUES, **given)
    filled = ax.collections[1]
    assert (filled.norm.vmin, filled.norm.vmax) == ends
    assert filled.colorbar.extend == tip
    assert filled.get_cmap().name == ("RdBu_r" if "centre" in given else "viridis")


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("scale", brain_map.SCALES.values())
def test_grey_is_told_from_the_colours_of_values(scale, vision):
    colours = matplotlib.colormaps[scale](np.linspace(0, 1, 41))
    grey = perceive(NO_VALUE, vision)
    assert min(np.linalg.norm(perceive(colour[:3], vision) - grey) for colour in colours) > 10


def test_names_are_in_black_or_white_whichever_stands_out(ax):
    plot_brain_map(ax, VALUES)
    ink = {text.get_text(): text.get_color() for text in ax.texts}
    assert [ink["VISp"], ink["CA1"]] == ["white", "black"]


@pytest.mark.parametrize("values", [{"CA1": 3.0}, {"CA1": 3.0, "VISp": 3.0}])
def test_one_value_has_a_scale(ax, values):
    plot_brain_map(ax, values)
    assert ax.collections[1].norm.vmin < 3 < ax.collections[1].norm.vmax


@pytest.mark.parametrize("dpi", [100, 300])
@pytest.mark.parametrize("size", [BRAIN_MAP_SIZE, (6.4, 4.8), (12, 4)])
def test_names_stay_in_their_tiles(size, dpi):
    ax = Figure(figsize=size, layout="constrained").subplots()
    plot_brain_map(ax, VALUES, title="Title")
    assert_fits(ax.figure, dpi)
    places = {name: place for name, (_, place) in tiles(ax).items()}
    assert len(places) == 306
    for text in (text for text in ax.texts if text.get_weight() != "bold"):
        left, top, right, bottom = places[text.get_text()]
        (x0, y0), (x1, y1) = ax.transData.transform([(left, bottom), (right, top)])
        box = text.get_window_extent()
        assert x0 - 1 <= box.x0 < box.x1 <= x1 + 1, text.get_text()
        assert box.height <= 1.5 * (y1 - y0)
    if size == BRAIN_MAP_SIZE:
        assert np.quantile([t.get_fontsize() for t in ax.texts], 0.05) >= 6


SQUARE = np.array([(0.0, 0), (1, 0), (1, 1), (0, 1)])


def test_outlines_are_drawn_in_place_of_tiles(ax):
    outlines = {"A": [SQUARE], "B": [SQUARE + 2, SQUARE + np.array([4, 0])], "C": [SQUARE + 6]}
    plot_brain_map(ax, {"A": 1.0, "B": 3.0, "VISp": 2.0}, outlines=outlines)
    empty, filled = ax.collections
    assert rectangles(filled).tolist() == [[0, 0, 1, 1], [2, 2, 3, 3], [4, 0, 5, 1]]
    assert filled.get_array().tolist() == [1, 3, 3]
    assert rectangles(empty).tolist() == [[6, 6, 7, 7]]
    assert not ax.texts
    assert ax.get_aspect() == 1
    assert ax.yaxis_inverted()
    assert ax.get_xlim()[0] <= 0
    assert ax.get_xlim()[1] >= 7
    assert legend(ax) == ["no value (n = 1)", "not shown: 1 regions (VISp)"]


@pytest.mark.parametrize("values", [{}, {"TH": 2.0}, {"CA1": np.nan}, pd.Series(dtype=float)])
def test_a_map_without_values_is_grey_and_says_so(ax, values):
    plot_brain_map(ax, values)
    assert len(ax.collections[0].get_paths()) == 306
    assert ax.texts[-1].get_text() == "no region of the map has a value"
    assert len(ax.figure.axes) == 1


def test_a_map_without_any_area_says_that_it_is_empty(ax):
    plot_brain_map(ax, pd.DataFrame({"mean": [1.0], "n_units": [0]}, ["CA1"]), area="n_units")
    assert ax.texts[-1].get_text() == "no region of the map has a value"
    assert legend(ax) == ["not shown: 1 regions (CA1)"]


def test_two_values_of_a_region_and_another_mapping_are_refused(ax):
    with pytest.raises(ValueError, match="CA1 has several values"):
        plot_brain_map(ax, pd.Series([1.0, 2.0], ["CA1", "CA1"]))
    with pytest.raises(ValueError, match=r"Allen.*Beryl"):
        plot_brain_map(ax, VALUES, mapping="Allen")
