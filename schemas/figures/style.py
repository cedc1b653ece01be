"""What the figures have in common: colours of conditions, sizes, legends, missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

CONDITION_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
"""Of Okabe and Ito, told apart by every kind of colour vision: by which conditions differ."""

CONTRASTS = (0.0625, 0.125, 0.25, 0.5, 1.0)
"""Contrasts of the task other than zero (fraction): each has the same shade in every figure."""

SHADES = {-1: ("#79BDEB", "#0072B2", "#012A4A"), 1: ("#F2A65A", "#D55E00", "#5C1A00")}
"""Of a side, from the lowest contrast to the highest: blue is left, vermilion right."""

ZERO_COLOUR = "#7F7F7F"
"""Of zero contrast, on either side."""

SIDE_SIGNS = {"left": -1, "contralateral": -1, "right": 1, "ipsilateral": 1}
"""Sides by which conditions are named, as in `left 0.25`, and the sign of their contrast."""

TALK: Any = {
    "figure.figsize": (10.0, 5.625),
    "savefig.dpi": 200,
    "font.size": 17.0,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": "medium",
    "axes.linewidth": 1.4,
    "lines.linewidth": 2.55,
    "lines.markersize": 10.2,
    **{f"{axis}tick.{part}.width": 1.4 for axis in "xy" for part in ("major", "minor")},
    **{f"{axis}tick.major.size": 6.0 for axis in "xy"},
    **{f"{axis}tick.minor.size": 3.5 for axis in "xy"},
    "pdf.fonttype": 42,
}
"""Settings of matplotlib for talks: see `talk`."""


def talk() -> AbstractContextManager[None]:
    """Return a context in which figures are drawn for a slide.

    A figure of 10 x 5.6 inch fills a slide of 16:9. Text, lines and marks are 1.7 times as large as
    else; the font is one that matplotlib ships, so that a figure is the same on every machine.
    Outside of the context nothing changes. `plt.rcParams.update(style.TALK)` does the same for all
    figures that follow.

    Examples
    --------
    >>> with style.talk():  # doctest: +SKIP
    ...     figure, ax = plt.subplots(layout="constrained")
    ...     ephys.plot_psth(ax, psth, event_name="stimulus onset")
    ...     figure.savefig("psth.png")
    """
    return matplotlib.rc_context(TALK)


def points(size: float) -> float:
    """Return the size of a font in points, in proportion to `font.size` of matplotlib (10)."""
    return size * float(matplotlib.rcParams["font.size"]) / 10


def stroke(width: float) -> float:
    """Return a line's width or a mark's size, in proportion to `lines.linewidth` (1.5)."""
    return width * float(matplotlib.rcParams["lines.linewidth"]) / 1.5


def choose_colours(
    conditions: Sequence[Any] | np.ndarray | pd.Series, colours: Mapping[Any, str] | None = None
) -> dict[Any, str]:
    """Give each condition its colour, in the order in which they are drawn.

    Parameters
    ----------
    conditions : sequence
        With repetitions; what is missing (None or NaN) is no condition.
    colours : mapping, optional
        Colours to use, in their order; those of no condition here are left out.

    Returns
    -------
    dict
        Without `colours`: numbers (also as text) by size, then names by the alphabet;
        `CONDITION_COLOURS` for up to five names or three numbers, beyond that shades from dark
        to bright. A single unnamed condition is dark grey. Signed contrasts, which are numbers
        some of which are negative or names such as `left 0.25`, are in the order of their value:
        shades of blue on the left, of vermilion on the right, the stronger the darker; zero is
        grey, for either side, see `choose_line`.

    Raises
    ------
    ValueError
        `colours` lacks a condition.
    """
    found = list(to_conditions(conditions).dropna().unique())
    if colours is not None:
        colours = dict(zip(to_conditions(list(colours)), colours.values(), strict=True))
        if missing := [condition for condition in found if condition not in colours]:
            raise ValueError(f"no colour for {missing}: there are colours for {list(colours)}.")
        return {condition: colours[condition] for condition in colours if condition in found}
    if signed := _sign(found):
        return _diverge(signed)
    found.sort(key=_rank)
    if found == [""]:
        return {"": "0.2"}
    are_levels = len(found) > 3 and np.isfinite([_rank(condition)[0] for condition in found]).all()
    if len(found) <= len(CONDITION_COLOURS) and not are_levels:
        return dict(zip(found, CONDITION_COLOURS, strict=False))
    shades = matplotlib.colormaps["viridis"](np.linspace(0, 0.8, len(found)))
    return {
        condition: matplotlib.colors.to_hex(shade)
        for condition, shade in zip(found, shades, strict=True)
    }


def choose_line(condition: Any) -> str:
    """Return the style of a condition's line: dashed for zero contrast on the left, else solid."""
    side, value = _read_contrast(condition)
    return "--" if (side, value) == (-1, 0.0) else "-"


def _read_contrast(condition: Any) -> tuple[int, float]:
    """Return the side that a condition names, or 0, and its signed contrast, or NaN."""
    name, _, number = str(condition).rpartition(" ")
    side = SIDE_SIGNS.get(name, 0)
    try:
        value = np.nan if name and not side else float(number)
    except ValueError:
        value = np.nan
    return side, side * value if side else value


def _sign(conditions: list[Any]) -> dict[Any, float]:
    """Return the signed contrast of each condition in order; nothing if they are none."""
    read = {condition: _read_contrast(condition) for condition in conditions}
    sides, values = np.array(list(read.values()), float).reshape(-1, 2).T
    of_sides = sides.all() if sides.any() else (values < 0).any()
    if not of_sides or not np.isfinite(values).all():
        return {}
    return {
        condition: read[condition][1] for condition in sorted(read, key=lambda c: read[c][::-1])
    }


def _diverge(signed: Mapping[Any, float]) -> dict[Any, str]:
    """Give signed contrasts their shades; contrasts of other tasks are spread evenly."""
    level = np.abs(list(signed.values()))
    level = level / 100 if level.max() > 1 else level
    known = np.array(
        CONTRASTS if np.isin(level, (0.0, *CONTRASTS)).all() else sorted({*level} - {0})
    )
    place = np.interp(level, known, np.linspace(0, 1, len(known))) if len(known) > 1 else level > 0
    anchors = {side: matplotlib.colors.to_rgba_array(SHADES[side])[:, :3] for side in SHADES}
    colours = {}
    for at, (condition, value) in zip(place, signed.items(), strict=True):
        r, g, b = (np.interp(at, (0, 0.5, 1), part) for part in anchors[1 if value > 0 else -1].T)
        colours[condition] = matplotlib.colors.to_hex((r, g, b)) if value else ZERO_COLOUR
    return colours


def _rank(condition: Any) -> tuple[float, str]:
    try:
        return float(condition), ""
    except (TypeError, ValueError):
        return np.inf, str(condition)


def name_condition(condition: Any) -> str:
    """Write a condition for a legend."""
    return f"{condition:g}" if isinstance(condition, float) else str(condition)


def name_contrasts(
    side: Sequence[Any] | np.ndarray | pd.Series, contrast: Sequence[Any] | np.ndarray | pd.Series
) -> pd.Series:
    """Name the side and contrast of trials as the histograms do, e.g. `left 0.25`.

    Parameters
    ----------
    side : (n,) sequence of str
        Side of the stimulus; missing is None or NaN.
    contrast : (n,) sequence of float
        Contrast (fraction).

    Returns
    -------
    (n,) Series
        Conditions for `events.plot_raster`, None where side or contrast is missing.
    """
    require_lengths(side, contrast=contrast)
    values = fractions(pd.DataFrame({"contrast": to_floats(contrast)}), "contrast")
    return pd.Series(
        [
            None if pd.isna(where) or np.isnan(value) else f"{where} {value:g}"
            for where, value in zip(side, values, strict=True)
        ],
        dtype=object,
    )


def to_conditions(values: Sequence[Any] | np.ndarray | pd.Series) -> pd.Series:
    """Return conditions with numbers rounded to 6 decimals: 0.2 and 1 - 0.8 are one condition."""
    rounded = [
        round(float(value), 6) if isinstance(value, (float, np.floating)) else value
        for value in pd.Series(values, dtype=object)
    ]
    return pd.Series(rounded, dtype=object)


def to_floats(values: Sequence[Any] | np.ndarray | pd.Series) -> np.ndarray:
    """Return values as floats, NaN where one is missing, whatever pandas holds them as."""
    return pd.Series(values).to_numpy(float, na_value=np.nan)


def floats(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column as floats, see `to_floats`."""
    return to_floats(frame[column])


def fractions(frame: pd.DataFrame, column: str) -> np.ndarray:
    """Return a column of fractions as floats; ValueError if one is not between 0 and 1."""
    values = floats(frame, column)
    if (wrong := values[(values < 0) | (values > 1)]).size:
        raise ValueError(f"{column} is a fraction, between 0 and 1, not {wrong[0]}.")
    return values


def head(ax: Axes, title: str, missing: str = "") -> None:
    """Put the legend above the Axes, where it hides no data, and the title above that."""
    handles, names = ax.get_legend_handles_labels()
    if missing:
        handles, names = [*handles, Line2D([], [], linestyle="none")], [*names, missing]
    width = 72 * ax.get_window_extent().width / ax.figure.dpi
    longest = max(map(len, names), default=0)
    columns = max(1, int(width // points(28 + 4.5 * longest)))
    if names:
        ax.legend(
            handles,
            names,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=columns,
            fontsize=points(7),
            frameon=False,
            borderaxespad=0.2,
            handlelength=1.2,
            columnspacing=1.2,
        )
    ax.set_title(title, pad=points(6 + 11 * -(-len(names) // columns)))
    ax.spines[["top", "right"]].set_visible(False)


def say_empty(ax: Axes, what: str) -> None:
    """Write in the middle of the Axes that there is nothing."""
    ax.text(
        0.5,
        0.5,
        what,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color="0.4",
        backgroundcolor="white",
    )


def left_out(n: int, what: str) -> str:
    """Say how much is not shown, for the legend; nothing where all is."""
    return f"not shown: {n} {what}" if n else ""


def height(ax: Axes) -> float:
    """Return the height of the Axes in points, as it is before the layout is final."""
    return 72 * ax.get_window_extent().height / ax.figure.dpi


def spread(ax: Axes, centres: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float]:
    """Move ascending places of labels as little as it takes for them not to overlap.

    Returns
    -------
    places : (n,) float array
        Within `low` and `high`, in the same order.
    size : float
        Size of the font (points): 8 (see `points`), or less where that many would not fit.
    """
    n = len(centres)
    line = 1.35  # of the size of the font; the layout may still take height from the Axes
    size = min(points(8), 0.85 * height(ax) / (line * max(n, 1)))
    gap = min(line * size / (0.85 * height(ax)), 1 / max(n, 1)) * (high - low)
    # Pools of labels that touch stand around the mean of where they ought to be.
    pools: list[tuple[float, int]] = []
    for centre in centres - gap * np.arange(n):
        mean, count = float(centre), 1
        while pools and pools[-1][0] > mean:
            before, k = pools.pop()
            mean, count = (mean * count + before * k) / (count + k), count + k
        pools.append((mean, count))
    means, counts = (np.array(column) for column in zip(*pools, strict=True)) if n else ([], [])
    start = np.repeat(np.asarray(means, float), np.asarray(counts, int))
    lowest, highest = low + gap / 2, high - gap * (n - 0.5)
    return np.clip(start, lowest, max(lowest, highest)) + gap * np.arange(n), size


def name_subject(title: str, unit: Any = None, region: str | None = None) -> str:
    """Return a title with the unit and the region that a figure shows, where they are given."""
    shown = [] if unit is None else [str(unit) if isinstance(unit, str) else f"unit {unit}"]
    shown += [region] if region else []
    return ": ".join(part for part in (title, ", ".join(shown)) if part)


def require_lengths(trials: Any, **of_trials: Any) -> None:
    """Raise a ValueError that names what has not one value for each trial; None is nothing."""
    n = len(trials)
    wrong = {
        name: len(values)
        for name, values in of_trials.items()
        if values is not None and len(values) != n
    }
    if wrong:
        told = ", ".join(f"{name} has {k}" for name, k in wrong.items())
        raise ValueError(
            f"there are {n} trials, but {told}: give one value for each, in their order."
        )
