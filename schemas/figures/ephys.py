"""Firing rates of regions."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes


def plot_region_rates(ax: Axes, rates: pd.DataFrame, title: str = "") -> Axes:
    """Draw the mean rate of each region in its colour of the Allen atlas.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    rates : DataFrame
        Indexed by acronym, top to bottom: `mean` (Hz), `n` units, `rgb`.
    title : str, optional
    """
    shown = rates[::-1]
    ax.barh(shown.index, shown["mean"], color=shown["rgb"], edgecolor="0.4", linewidth=0.6)
    for position, (mean, n) in enumerate(zip(shown["mean"], shown["n"], strict=True)):
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
    return ax
