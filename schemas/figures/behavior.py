"""Reaction times."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

SIDE_COLOURS = {"left": "#0072B2", "right": "#D55E00"}
"""Blue and vermilion: told apart by every kind of colour vision."""


def plot_reaction_times(ax: Axes, summary: pd.DataFrame, title: str = "") -> Axes:
    """Draw the median reaction time by signed contrast, with the middle half of the trials.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    summary : DataFrame
        One row a side and contrast: `side`, `contrast` (fraction), `median`, `q25`, `q75` (s).
    title : str, optional
    """
    for side, group in summary.sort_values("contrast").groupby("side"):
        sign = -1 if side == "left" else 1
        contrast = sign * 100 * group["contrast"]
        colour = SIDE_COLOURS[str(side)]
        ax.plot(contrast, group["median"], "o-", color=colour, label=f"stimulus {side}")
        ax.fill_between(contrast, group["q25"], group["q75"], color=colour, alpha=0.2, linewidth=0)
    ax.axvline(0, color="0.8", linewidth=0.8, zorder=0)
    ax.set_ylim(bottom=0)
    ax.set(
        xlabel="contrast (%), left negative",
        ylabel="reaction time (s), median and quartiles",
        title=title,
    )
    if len(summary):
        ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
