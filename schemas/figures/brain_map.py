"""A map of the brain, coloured by a value of each region.

iblatlas 1.3 ships the ontology of the Allen atlas and its mappings, but no shapes: the annotation
volume, the flat map of Swanson and the outlines of slices are downloads. The map that is always
there is therefore one of the hierarchy: divisions as blocks, their regions as tiles. Outlines that
the caller has are drawn in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from schemas.figures.style import floats, head, height, left_out, points, say_empty, stroke

BRAIN_MAP_SIZE = (9.0, 6.0)
"""Width and height (inch) of a figure in which every region of Beryl can be read."""

MAPPINGS = ("Beryl", "Cosmos")

NO_VALUE = "#C8C8C8"
"""Told from every colour of both scales by every kind of colour vision."""

SCALES = {False: "viridis", True: "RdBu_r"}
"""Colours from low to high, and of a scale that has a centre."""

WIDE = 1.7
"""Width of a tile divided by its height, at best: acronyms are wider than high."""

GLYPH = 0.68
"""Mean width of a character, of the size of the font."""

SMALLEST = 3.0
"""Size of the smallest name that is written (points)."""

FEW = 50
"""Number of tiles up to which their names are as large as other text."""

HEADING = 11
"""Height of the heading of a block, of the size of a font of 1 (see `points`)."""

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Of red, green and blue (Rec. 601)."""


class Block(NamedTuple):
    """A division of the brain: its name, the acronyms of its regions, and the area of each."""

    name: str
    acronyms: list[str]
    areas: np.ndarray


def plot_brain_map(
    ax: Axes,
    values: pd.DataFrame | pd.Series | Mapping[str, float],
    *,
    column: str = "mean",
    label: str = "firing rate (Hz)",
    mapping: str = "Beryl",
    area: str | None = None,
    centre: float | None = None,
    limits: tuple[float, float] | None = None,
    outlines: Mapping[str, Sequence[np.ndarray]] | None = None,
    title: str = "",
) -> Axes:
    """Draw every region of a mapping in the colour of its value.

    The map shows the hierarchy, not the shape of the brain, for which nothing ships with iblatlas:
    the ten divisions of Cosmos are blocks, the regions of a division its tiles. Both follow the
    order of the Allen ontology, in rows as text does. All tiles have one area, or an area in
    proportion to a number. With `outlines` it is a flat map or a slice instead.

    Parameters
    ----------
    ax : Axes
        Where to draw; in a figure of `BRAIN_MAP_SIZE` all regions of Beryl can be read.
    values : DataFrame, Series or mapping
        One value a region, by its acronym (the index of a frame or Series). Regions without a value
        are grey and counted; values of regions that the map lacks are left out, counted and named.
    column, label : str
        Column of the frame that has the values, and what these are, with their unit.
    mapping : {"Beryl", "Cosmos"}
        Which regions the map has: 306 regions, or the 10 divisions alone.
    area : str, optional
        Column of the frame by which tiles are large, e.g. `n_units`; regions of none have no tile.
    centre : float, optional
        Where a scale of two colours has its middle, e.g. 0 for a change.
    limits : (float, float), optional
        Ends of the scale. Default: lowest and highest value, or both as far from the centre.
    outlines : mapping of str to sequence of (k, 2) float arrays, optional
        Polygons of each region by its acronym (x, y downwards), drawn in place of tiles.
    title : str, optional

    Returns
    -------
    Axes
        With a colour bar beside it; without values a grey map that says so.

    Raises
    ------
    ValueError
        A region has two values, or the mapping is neither.
    """
    table = _tabulate(values, column, area)
    shapes, frames = _place(ax, table["area"], mapping, outlines)
    _colour(ax, table["value"], shapes, frames, label, centre, limits)
    ax.set(xticks=[], yticks=[])
    strange = table.index[table["value"].notna() & ~table.index.isin(list(shapes))]
    head(ax, title, _name_missing(list(strange)))
    ax.spines[:].set_visible(False)
    return ax


def _colour(
    ax: Axes,
    values: pd.Series,
    shapes: dict[str, list[np.ndarray]],
    frames: dict[str, tuple[float, float, float, float]] | None,
    label: str,
    centre: float | None,
    limits: tuple[float, float] | None,
) -> None:
    """Draw the polygons in the colours of their values; write the names of tiles and blocks."""
    shown = values.reindex(list(shapes)).dropna()
    dark = _fill(ax, shapes, shown, _scale(shown.to_numpy(), centre, limits), centre is not None)
    if len(shown):
        _add_bar(ax, shown, label)
    if frames is None:
        ax.autoscale_view()
    else:
        _write(ax, shapes, dark)
        _head_blocks(ax, frames)
    if not len(shown):
        say_empty(ax, "no region of the map has a value")


def _place(
    ax: Axes,
    areas: pd.Series,
    mapping: str,
    outlines: Mapping[str, Sequence[np.ndarray]] | None,
) -> tuple[dict[str, list[np.ndarray]], dict[str, tuple[float, float, float, float]] | None]:
    """Return the polygons of each region, and the frames of blocks; None where tiles are none."""
    size = (72 * ax.get_window_extent().width / ax.figure.dpi, height(ax))
    if outlines is None:
        ax.set(xlim=(0, size[0]), ylim=(size[1], 0))
        return _lay_out(_list_blocks(mapping, areas), *size)
    ax.set_aspect("equal")
    ax.yaxis.set_inverted(True)
    return {name: [np.asarray(p, float) for p in parts] for name, parts in outlines.items()}, None


def _tabulate(values: object, column: str, area: str | None) -> pd.DataFrame:
    """Return `value` and `area` by acronym; without a column of areas they are NaN."""
    frame = values if isinstance(values, pd.DataFrame) else pd.Series(values, dtype=float)
    if not isinstance(frame, pd.DataFrame):
        frame = frame.to_frame(column)
    if (twice := frame.index[frame.index.duplicated()]).size:
        raise ValueError(f"{twice[0]} has several values: give one value a region.")
    areas = np.full(len(frame), np.nan) if area is None else np.nan_to_num(floats(frame, area))
    return pd.DataFrame({"value": floats(frame, column), "area": areas}, frame.index)


@lru_cache(1)
def _read_regions() -> pd.DataFrame:
    """Return division and acronym of the regions of Beryl, in the order of the ontology."""
    path = Path(__file__).with_name("regions_beryl.csv")
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def _list_blocks(mapping: str, area: pd.Series) -> list[Block]:
    """Return the blocks of a map, without regions of no area; all areas are 1 if none is given."""
    if mapping not in MAPPINGS:
        raise ValueError(f"mapping={mapping!r}: use one of {list(MAPPINGS)}.")
    regions = _read_regions()
    if mapping == "Cosmos":
        regions = pd.DataFrame({"division": "", "acronym": regions["division"].unique()})
    given = area.notna().any()
    areas = regions["acronym"].map(area).fillna(0).to_numpy() if given else np.ones(len(regions))
    regions = regions.assign(area=areas)[areas > 0]
    return [
        Block(str(name), group["acronym"].tolist(), group["area"].to_numpy())
        for name, group in regions.groupby("division", sort=False)
    ]


def _lay_out(
    blocks: list[Block], width: float, full: float
) -> tuple[dict[str, list[np.ndarray]], dict[str, tuple[float, float, float, float]]]:
    """Return the polygon of each tile by its acronym, and x, y, width and height of each block.

    An ordered treemap of strips, after Bederson, Shneiderman and Wattenberg (2002). Rows of blocks
    are higher than theirs by the heading, so that equal numbers have equal areas in all blocks.
    """
    line = HEADING * points(1) if any(block.name for block in blocks) else 0.0
    total = np.array([block.areas.sum() for block in blocks])
    rectangles = [tuple(map(float, place)) for place in _tile(total, width, full, line)]
    tiles: dict[str, list[np.ndarray]] = {}
    frames: dict[str, tuple[float, float, float, float]] = {}
    for block, (x, y, wide, high) in zip(blocks, rectangles, strict=True):
        if block.name:
            frames[block.name] = x, y, wide, high
        corners = _corners(_tile(block.areas, wide, high - line)) + np.array([x, y + line])
        tiles |= {name: [part] for name, part in zip(block.acronyms, corners, strict=True)}
    return tiles, frames


def _tile(areas: np.ndarray, width: float, full: float, line: float = 0.0) -> np.ndarray:
    """Return x, y, width and height (n, 4) of tiles in rows, each row with a heading above it.

    Of all numbers of rows, that one is taken whose tiles are nearest to `WIDE`.
    """
    share = np.cumsum(areas) / areas.sum() if len(areas) else areas
    best, least = np.empty((0, 4)), np.inf
    for n in range(1, len(areas) + 1):
        if n * line >= full:
            break
        row = np.minimum(((share - areas / areas.sum() / 2) * n).astype(int), n - 1)
        row = np.unique(row, return_inverse=True)[1]
        of_row = np.bincount(row, areas)
        room = full - line * len(of_row)
        high = room * of_row / areas.sum() + line
        wide = width * areas / of_row[row]
        top = np.cumsum(high) - high
        before = np.cumsum(wide) - wide
        left = before - width * row
        rect = np.column_stack([left, top[row], wide, high[row]])
        cost = np.average(np.abs(np.log(wide / (high[row] - line) / WIDE)), weights=areas)
        if cost < least:
            best, least = rect, cost
    return best


def _corners(rectangles: np.ndarray) -> np.ndarray:
    """Return the corners (n, 4, 2) of rectangles (n, 4) of x, y, width and height."""
    unit = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
    return rectangles[:, None, :2] + unit * rectangles[:, None, 2:]


def _scale(
    values: np.ndarray, centre: float | None, limits: tuple[float, float] | None
) -> Normalize:
    """Return the scale of colours, which has a width also for one value, or none."""
    if limits is not None:
        return Normalize(*limits, clip=True)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if centre is not None:
        reach = max(high - centre, centre - low)
        low, high = centre - reach, centre + reach
    if low == high:
        low, high = low - 0.5, high + 0.5
    return Normalize(low, high, clip=True)


def _fill(
    ax: Axes,
    shapes: Mapping[str, list[np.ndarray]],
    values: pd.Series,
    norm: Normalize,
    has_centre: bool,
) -> dict[str, bool]:
    """Draw regions, those without a value in grey; return whether the others are dark."""
    style: dict[str, Any] = {"edgecolors": "white", "linewidths": stroke(0.6)}
    empty = [name for name in shapes if name not in values.index]
    name = f"no value (n = {len(empty)})" if len(values) and empty else "_no value"
    grey = [polygon for name in empty for polygon in shapes[name]]
    ax.add_collection(PolyCollection(grey, facecolors=NO_VALUE, label=name, **style))
    parts = [polygon for name in values.index for polygon in shapes[name]]
    number = np.repeat(values.to_numpy(float), [len(shapes[name]) for name in values.index])
    scale: dict[str, Any] = {"array": number, "norm": norm, "cmap": SCALES[has_centre]}
    ax.add_collection(PolyCollection(parts, label="_value", **scale, **style))
    colours = matplotlib.colormaps[SCALES[has_centre]](norm(values.to_numpy(float)))
    return dict(zip(values.index, colours[:, :3] @ LUMINANCE < 0.5, strict=True))


def _add_bar(ax: Axes, values: pd.Series, label: str) -> None:
    """Draw the colour bar, with a tip where values lie beyond its ends."""
    filled = ax.collections[-1]
    beyond = bool(values.min() < filled.norm.vmin), bool(values.max() > filled.norm.vmax)
    tips = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    bar = ax.figure.colorbar(
        filled, ax=ax, label=label, aspect=30, pad=0.02, extend=tips.get(beyond, "both")
    )
    bar.outline.set_visible(False)


def _write(ax: Axes, shapes: Mapping[str, list[np.ndarray]], dark: Mapping[str, bool]) -> None:
    """Write the names of tiles as large as they fit; what could not be read is left out."""
    largest = points(7 if len(shapes) > FEW else 10)
    for name, (polygon,) in shapes.items():
        wide, high = np.ptp(polygon, axis=0)
        size = min(largest, wide / (GLYPH * len(name) + 0.4), 0.8 * high)
        ink = {None: "0.3", True: "white", False: "black"}[dark.get(name)]
        if size >= SMALLEST:
            x, y = polygon.mean(axis=0)
            ax.text(x, y, name, fontsize=size, color=ink, ha="center", va="center")


def _head_blocks(ax: Axes, frames: Mapping[str, tuple[float, float, float, float]]) -> None:
    """Part the blocks by white lines, and write their names above their tiles."""
    for name, (x, y, wide, high) in frames.items():
        edge: dict[str, Any] = {"fill": False, "edgecolor": "white", "linewidth": stroke(2.5)}
        ax.add_patch(Rectangle((x, y), wide, high, **edge))
        size = min(points(8), wide / (1.15 * GLYPH * len(name) + 0.4))
        if size >= SMALLEST:
            middle = y + HEADING * points(1) / 2
            ax.text(x + 0.2 * size, middle, name, fontsize=size, weight="bold", va="center")


def _name_missing(acronyms: list[str]) -> str:
    """Say how many values have no place on the map, and name the first of them."""
    named = ", ".join(map(str, acronyms[:3])) + ", …" * (len(acronyms) > 3)
    return left_out(len(acronyms), f"regions ({named})")
