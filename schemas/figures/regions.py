"""Rates and other measures of brain regions, in the colours of the Allen atlas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

from schemas.figures.style import (
    CONDITION_COLOURS,
    choose_colours,
    floats,
    head,
    height,
    left_out,
    points,
    say_empty,
    stroke,
)

MEASURES = {
    "rt_median": "reaction time of the session (s), median",
    "performance": "performance of the session (fraction correct)",
    "performance_easy": "performance of the session, high contrast (fraction correct)",
    "bias_shift": "shift of bias between blocks (% contrast)",
    "n_trials": "trials of the session (number)",
}
"""Measures of a session that rates can be drawn against, with their unit."""

MARKERS = ("o", "^", "s", "D", "v")
"""Of regions that are drawn together."""


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
    ax.hlines(row, mean - width, mean + width, color="0.45", linewidth=stroke(1))
    area = min(22 * stroke(1) ** 2, (0.8 * step) ** 2)
    style: dict[str, Any] = {"edgecolors": "0.25", "linewidths": stroke(0.6), "zorder": 3}
    ax.scatter(mean, row, s=area, c=list(summary["rgb"]), **style)
    size = min(points(8), 0.85 * step)
    if not (mean - np.nan_to_num(width) < 0).any():
        ax.set_xlim(0, None if np.isfinite(mean).any() else 1)
    ax.set_yticks(row, list(summary.index), fontsize=size)
    ax.set_ylim(max(len(summary), 1) - 0.4, -0.6)
    ax.set(xlabel=f"{label}, mean ± {spread}", ylabel="region")
    _write_counts(ax, row, summary, size)
    ax.grid(axis="y", color="0.92", linewidth=stroke(0.6))
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    head(ax, title)
    if not len(summary):
        say_empty(ax, "no regions")
    return ax


def _write_counts(ax: Axes, row: np.ndarray, summary: pd.DataFrame, size: float) -> None:
    """Write the numbers of units and sessions on the right."""
    counts = ax.secondary_yaxis("right")
    numbers = zip(summary["n_units"], summary["n_sessions"], strict=True)
    counts.set_yticks(row, [f"{units} / {sessions}" for units, sessions in numbers], fontsize=size)
    counts.tick_params(length=0, labelcolor="0.3")
    counts.set_ylabel("units / sessions")
    counts.spines["right"].set_visible(False)


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
    ax.barh(shown.index, shown.unit_mean, color=shown.rgb, edgecolor="0.4", linewidth=stroke(0.6))
    for position, (mean, n) in enumerate(zip(shown.unit_mean, shown.n_units, strict=True)):
        ax.annotate(
            f"n = {n}",
            (mean, position),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=points(7),
            color="0.3",
        )
    ax.margins(x=0.15)
    ax.set(xlabel="firing rate (Hz), mean of good units", ylabel="region", title=title)
    ax.spines[["top", "right"]].set_visible(False)
    if not len(shown):
        ax.set(xlim=(0, 1), yticks=[])
        say_empty(ax, "no units")
    return ax


def plot_region_by_behavior(
    ax: Axes,
    units: pd.DataFrame,
    *,
    measure: str = "rt_median",
    by_region: bool = False,
    label: str = "firing rate (Hz)",
    title: str = "",
) -> Axes:
    """Draw the rates of a region's units against the behaviour of their sessions.

    A large point is the mean over the units of a session, with one standard error over these
    units to each side (none for a single unit); small points are the units. Units of a session
    share its behaviour, therefore sessions are counted, not units, in the rank correlation
    (Spearman's rho, of the means; ties have their mean rank). From three sessions on it is in the
    legend; it is no test.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    units : DataFrame
        One row a unit, as of `views.region_by_behavior`: `eid`, `region_acronym`, `rate` (Hz) and
        the measure. Units whose rate, measure or, where it is drawn, region is missing are left out
        and counted.
    measure : str
        Column of the session's behaviour: one of `MEASURES`.
    by_region : bool
        Draw each region of the frame in its own colour and marker, at most five; they are moved
        sideways by a few points, so as not to hide each other.
    label : str
        What the rates are, with their unit.
    title : str, optional

    Returns
    -------
    Axes
        Without units an empty one, with its labels.

    Raises
    ------
    ValueError
        The measure is not one of these, a session has two values of it, or there are too many
        regions.
    """
    shown, n_missing = _choose_units(units, measure, by_region)
    palette = choose_colours(shown["group"])
    for i, (name, colour) in enumerate(palette.items()):
        right = stroke(4.5) * (i - (len(palette) - 1) / 2)
        of = shown[shown["group"] == name]
        _draw_sessions(ax, of, name, colour, MARKERS[i], right)
    ax.set_ylim(bottom=min(0.0, float(shown["rate"].min())) if len(shown) else 0.0)
    ax.set(xlabel=MEASURES[measure], ylabel=f"{label}, mean ± sem of units")
    head(ax, title, left_out(n_missing, "units"))
    if not len(shown):
        say_empty(ax, "no units")
    return ax


def _choose_units(units: pd.DataFrame, measure: str, by_region: bool) -> tuple[pd.DataFrame, int]:
    """Return eid, rate, value and group of the units that can be drawn, and count the others."""
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}: use one of {list(MEASURES)}.")
    rate, value = floats(units, "rate"), floats(units, measure)
    known = ~np.isnan(rate) & ~np.isnan(value)
    group = units["region_acronym"].to_numpy(object) if by_region else np.full(len(units), "units")
    known &= ~pd.isna(group)
    shown = pd.DataFrame({"eid": units["eid"].to_numpy(), "rate": rate, "value": value})
    shown = shown.assign(group=group)[known]
    if len(shown[["eid", "value"]].drop_duplicates()) > len(shown["eid"].drop_duplicates()):
        raise ValueError(f"a session has several values of {measure}: choose one definition.")
    if shown["group"].nunique() > len(CONDITION_COLOURS):
        raise ValueError(f"by_region draws at most {len(CONDITION_COLOURS)} regions: choose some.")
    return shown, int((~known).sum())


def _draw_sessions(
    ax: Axes, units: pd.DataFrame, name: str, colour: str, marker: str, right: float
) -> None:
    """Draw the units of a group, and the mean of each session with its standard error."""
    sessions = units.groupby("eid").agg(
        value=("value", "first"), mean=("rate", "mean"), sem=("rate", "sem")
    )
    rho = ""
    ranks = sessions[["value", "mean"]].rank().to_numpy()
    if len(sessions) >= 3 and (np.ptp(ranks, axis=0) > 0).all():
        rho = f", Spearman {np.corrcoef(ranks.T)[0, 1]:.2f}"
    faint: dict[str, Any] = {"alpha": 0.25, "linewidths": 0, "rasterized": True}
    area = 8 * stroke(1) ** 2
    dots = ax.scatter(units["value"], units["rate"], s=area, color=colour, **faint)
    line, _, bars = ax.errorbar(
        sessions["value"],
        sessions["mean"],
        yerr=sessions["sem"],
        fmt=marker,
        color=colour,
        markersize=stroke(6),
        markeredgecolor="white",
        elinewidth=stroke(1.2),
    )
    line.set_label(f"{name} (n = {len(units)}, {len(sessions)} sessions{rho})")
    # Moved on paper only: the data, and so the limits of the axis, stay what they are.
    moved = ax.transData + ScaledTranslation(right / 72, 0, ax.figure.dpi_scale_trans)
    dots.set_offset_transform(moved)
    for artist in (line, *bars):
        artist.set_transform(moved)
