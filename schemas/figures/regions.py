"""Rates and other measures of brain regions, in the colours of the Allen atlas."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from schemas.figures.style import floats, head, height, say_empty


def plot_region_summary(
    ax: Axes,
    summary: pd.DataFrame,
    *,
    spread: str = "sem",
    label: str = "firing rate (Hz)",
    title: str = "",
) -> Axes:
    """Draw the mean of each region with its spread, and how many units and sessions it is over.

    Acronyms shrink to the height there is; `region_summary_size` gives a figure in which they
    can be read.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    summary : DataFrame
        Indexed by acronym in the order of the atlas, which runs from top to bottom: `mean`, the
        column named by `spread` (same unit; NaN draws none), `n_units`, `n_sessions`, `rgb`
        (#rrggbb, of the Allen atlas). A region whose mean is NaN keeps its row, without a point.
    spread : str
        Column of the spread, e.g. `sem` or `sd`.
    label : str
        What the values are, with their unit.
    title : str, optional

    Returns
    -------
    Axes
        Without regions an empty one, with its labels.
    """
    row, step = np.arange(len(summary)), height(ax) / max(len(summary), 1)
    mean, width = (floats(summary, name) for name in ("mean", spread))
    ax.hlines(row, mean - width, mean + width, color="0.45", linewidth=1)
    area = min(22.0, (0.8 * step) ** 2)
    ax.scatter(
        mean, row, s=area, c=list(summary["rgb"]), edgecolors="0.25", linewidths=0.6, zorder=3
    )
    size = min(8.0, 0.85 * step)
    if not (mean - np.nan_to_num(width) < 0).any():
        ax.set_xlim(0, None if np.isfinite(mean).any() else 1)
    ax.set_yticks(row, list(summary.index), fontsize=size)
    ax.set_ylim(max(len(summary), 1) - 0.4, -0.6)
    ax.set(xlabel=f"{label}, mean ± {spread}", ylabel="region")
    counts = ax.secondary_yaxis("right")
    numbers = zip(summary["n_units"], summary["n_sessions"], strict=True)
    counts.set_yticks(row, [f"{units} / {sessions}" for units, sessions in numbers], fontsize=size)
    counts.tick_params(length=0, labelcolor="0.3")
    counts.set_ylabel("units / sessions")
    counts.spines["right"].set_visible(False)
    ax.grid(axis="y", color="0.92", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    head(ax, title)
    if not len(summary):
        say_empty(ax, "no regions")
    return ax


def region_summary_size(n_regions: int) -> tuple[float, float]:
    """Return width and height (inch) of a figure in which `n_regions` rows can be read."""
    return 6.4, max(2.5, 1.2 + 0.14 * n_regions)


def plot_region_rates(ax: Axes, rates: pd.DataFrame, title: str = "") -> Axes:
    """Draw the mean rate of each region in its colour of the Allen atlas.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    rates : DataFrame
        Indexed by acronym, top to bottom: `unit_mean` (Hz), `n_units`, `rgb`.
    title : str, optional
    """
    shown = rates[::-1]
    ax.barh(shown.index, shown.unit_mean, color=shown.rgb, edgecolor="0.4", linewidth=0.6)
    for position, (mean, n) in enumerate(zip(shown.unit_mean, shown.n_units, strict=True)):
        ax.annotate(
            f"n = {n}",
            (mean, position),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            color="0.3",
        )
    ax.margins(x=0.15)
    ax.set(xlabel="firing rate (Hz), mean of good units", ylabel="region", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    if not len(shown):
        ax.set(xlim=(0, 1), yticks=[])
        say_empty(ax, "no units")
    return ax
