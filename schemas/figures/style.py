"""What the figures have in common: colours of conditions, legends, missing values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

CONDITION_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
"""Of Okabe and Ito, told apart by every kind of colour vision: by which conditions differ."""


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
        to bright. A single unnamed condition is dark grey.

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


def _rank(condition: Any) -> tuple[float, str]:
    try:
        return float(condition), ""
    except (TypeError, ValueError):
        return np.inf, str(condition)


def name_condition(condition: Any) -> str:
    """Write a condition for a legend."""
    return f"{condition:g}" if isinstance(condition, float) else str(condition)


def to_conditions(values: Sequence[Any] | np.ndarray | pd.Series) -> pd.Series:
    """Return conditions with numbers rounded to 6 decimals: 0.2 and 1 - 0.8 are one condition."""
    rounded = [
        round(float(value), 6) if isinstance(value, (float, np.floating)) else value
        for value in pd.Series(values, dtype=object)
    ]
    return pd.Series(rounded, dtype=object)


def to_floats(values: np.ndarray | pd.Series) -> np.ndarray:
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
    columns = max(1, int(width // (28 + 4.5 * max(map(len, names), default=0))))
    if names:
        ax.legend(
            handles,
            names,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=columns,
            fontsize=7,
            frameon=False,
            borderaxespad=0.2,
            handlelength=1.2,
            columnspacing=1.2,
        )
    ax.set_title(title, pad=6 + 11 * -(-len(names) // columns))
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
