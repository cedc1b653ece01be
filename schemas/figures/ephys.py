"""Units along a probe; spikes around events are those of `events`, regions those of `regions`.

Every function draws into the Axes it is given, best those of a figure with
`layout="constrained"`, which keeps room for labels beside the Axes. Many small marks are drawn as
pixels also in a vector file. What cannot be drawn is counted in the figure.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from schemas.figures.events import plot_psth as plot_psth
from schemas.figures.events import plot_raster as plot_raster
from schemas.figures.events import plot_raster_and_psth as plot_raster_and_psth
from schemas.figures.regions import plot_region_by_behavior as plot_region_by_behavior
from schemas.figures.regions import plot_region_rates as plot_region_rates
from schemas.figures.regions import plot_region_summary as plot_region_summary
from schemas.figures.regions import region_summary_size as region_summary_size
from schemas.figures.style import floats, head, left_out, points, say_empty, spread, stroke

LABEL_COLOURS = {True: "#0072B2", False: "#E69F00"}
"""Good units, and the others."""

EMPTY_PROBE = (0.0, 3840.0)
"""Reach of the sites of a Neuropixels 1.0 (um from the tip), for an Axes without units."""


def plot_rates_along_probe(
    ax: Axes, units: pd.DataFrame, sites: pd.DataFrame, *, title: str = ""
) -> Axes:
    """Draw the firing rate of each unit at its depth, beside the regions that the probe crosses.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    units : DataFrame
        One row a unit: `cluster_depth` (um from the tip), `firing_rate` (Hz); with `is_good`
        (bool, missing is not good) the good units stand out. Units of NaN depth or rate, or
        without a spike, are left out and counted.
    sites : DataFrame
        One row a recording site: `channel_axial` (um from the tip), `region_acronym`,
        `region_rgb` (#rrggbb, of the Allen atlas). A site without region (None or NaN) is drawn
        white; of several sites at one depth the first counts.
    title : str, optional

    Returns
    -------
    Axes
        Rate on a logarithmic axis, depth upwards, and as its child to the right the column of
        regions. Without units and sites an empty one, with its labels.
    """
    depth, rate = (floats(units, name) for name in ("cluster_depth", "firing_rate"))
    known = ~np.isnan(depth) & (rate > 0)
    ax.set_xscale("log")
    ax.set_xlim(_reach(rate[known]))
    ax.xaxis.set_major_formatter(_plain)
    _scatter_labelled(ax, rate[known], depth[known], _labels(units, known))
    ax.set_xlabel("firing rate (Hz)")
    ax.set_ylabel("distance from the tip (µm)")
    _draw_regions(ax, sites, depth[known])
    _finish_units(ax, known, title)
    return ax


def plot_amplitude_by_depth(
    ax: Axes, units: pd.DataFrame, *, colour_by: str = "firing_rate", title: str = ""
) -> Axes:
    """Draw the median spike amplitude of each unit at its depth.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    units : DataFrame
        One row a unit: `cluster_depth` (um from the tip), `amp_median` (V, drawn in uV), and the
        column to colour by. Units without depth or amplitude, or without the rate that they are
        coloured by, are left out and counted; where it is missing whether a unit is good, it is
        not.
    colour_by : {"firing_rate", "is_good"}
        `firing_rate` (Hz) on a logarithmic scale with a colour bar, or `is_good` (bool) in two
        colours and markers.
    title : str, optional

    Returns
    -------
    Axes
        Without units an empty one, with its labels.

    Raises
    ------
    ValueError
        `colour_by` is neither.
    """
    if colour_by not in ("firing_rate", "is_good"):
        raise ValueError(f"colour_by={colour_by!r}: use 'firing_rate' or 'is_good'.")
    depth, volt = (floats(units, name) for name in ("cluster_depth", "amp_median"))
    known = ~np.isnan(depth) & ~np.isnan(volt)
    if colour_by == "firing_rate":
        known &= floats(units, "firing_rate") > 0
        _scatter_by_rate(ax, 1e6 * volt[known], depth[known], floats(units, "firing_rate")[known])
    else:
        _scatter_labelled(ax, 1e6 * volt[known], depth[known], _labels(units, known))
    ax.set_xlim(0, None if known.any() else 300)
    if not known.any():
        ax.set_ylim(EMPTY_PROBE)
    ax.set_xlabel("spike amplitude (µV), median")
    ax.set_ylabel("distance from the tip (µm)")
    _finish_units(ax, known, title)
    return ax


def _draw_regions(ax: Axes, sites: pd.DataFrame, depth: np.ndarray) -> None:
    """Draw the column of regions to the right of the Axes; runs of sites are one block each."""
    rows = sites.dropna(subset=["channel_axial"]).drop_duplicates("channel_axial")
    rows = rows.sort_values("channel_axial")
    axial = floats(rows, "channel_axial")
    pitch = np.median(np.diff(axial)) if len(axial) > 1 else 20.0
    middle = (axial[1:] + axial[:-1]) / 2
    low = np.concatenate([axial[:1] - pitch / 2, middle])
    high = np.concatenate([middle, axial[-1:] + pitch / 2])
    name = rows["region_acronym"].to_numpy(object, na_value="")
    first = np.flatnonzero(np.r_[True, name[1:] != name[:-1]]) if len(name) else np.arange(0)
    last = np.r_[first[1:], len(name)][: len(first)] - 1
    reach = np.concatenate([depth, low, high]) if len(depth) + len(low) else np.array(EMPTY_PROBE)
    margin = 0.02 * max(float(np.ptp(reach)), 1.0)
    ax.set_ylim(reach.min() - margin, reach.max() + margin)
    column = ax.inset_axes((1.02, 0, 0.05, 1), sharey=ax)
    colour = rows["region_rgb"].where(rows["region_acronym"].notna(), "#ffffff").to_numpy()
    column.bar(
        0.5,
        high[last] - low[first],
        1.0,
        low[first],
        color=list(colour[first]),
        edgecolor="0.4",
        linewidth=stroke(0.5),
    )
    column.set_xlim(0, 1)
    column.axis("off")
    column.set_title("region", fontsize=points(8), loc="left")
    centre = (low[first] + high[last]) / 2
    named = name[first] != ""
    places, size = spread(ax, centre[named], *ax.get_ylim())
    for acronym, at, place in zip(name[first][named], centre[named], places, strict=True):
        column.annotate(
            acronym,
            (1, at),
            (1.6, place),
            va="center",
            fontsize=size,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": stroke(0.4), "shrinkA": 0},
            annotation_clip=False,
        )


def _scatter_by_rate(ax: Axes, x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> None:
    """Draw units in the colour of their rate (Hz), with a logarithmic colour bar."""
    style: dict[str, Any] = {
        "s": 14 * stroke(1) ** 2,
        "edgecolors": "0.3",
        "linewidths": stroke(0.3),
        "rasterized": True,
    }
    drawn = ax.scatter(x, y, c=rate, norm=LogNorm(*_reach(rate)), cmap="cividis", **style)
    plain = FuncFormatter(_plain)
    bar = ax.figure.colorbar(drawn, ax=ax, label="firing rate (Hz)", format=plain, aspect=30)
    if rate.max(initial=1) < 100 * rate.min(initial=1):  # few powers of ten to label
        bar.ax.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        bar.ax.yaxis.set_minor_formatter(plain)
    else:
        bar.ax.yaxis.set_minor_formatter(NullFormatter())


def _labels(units: pd.DataFrame, known: np.ndarray) -> np.ndarray | None:
    """Return whether each known unit is good, or nothing where the frame does not say."""
    if "is_good" not in units:
        return None
    return units["is_good"].to_numpy(bool, na_value=False)[known]


def _scatter_labelled(ax: Axes, x: np.ndarray, y: np.ndarray, good: np.ndarray | None) -> None:
    """Draw units as points, the good ones last and in a colour and marker of their own."""
    if good is None:
        _scatter(ax, x, y, LABEL_COLOURS[True], "o", "units")
        return
    for is_good, name, marker in ((False, "other", "^"), (True, "good", "o")):
        of = good == is_good
        _scatter(ax, x[of], y[of], LABEL_COLOURS[is_good], marker, name)


def _finish_units(ax: Axes, known: np.ndarray, title: str) -> None:
    head(ax, title, left_out(int((~known).sum()), "units"))
    if not known.any():
        say_empty(ax, "no units")


def _scatter(ax: Axes, x: np.ndarray, y: np.ndarray, colour: str, marker: str, name: str) -> None:
    ax.scatter(
        x,
        y,
        s=12 * stroke(1) ** 2,
        c=colour,
        marker=marker,
        alpha=0.7,
        linewidths=0,
        rasterized=True,
        label=f"{name} (n = {len(x)})" if len(x) else None,
    )


def _reach(rate: np.ndarray) -> tuple[float, float]:
    """Return ends of a logarithmic scale that holds every rate and a power of ten."""
    if not len(rate):
        return 0.1, 100.0
    low, high = float(rate.min()) / 1.2, float(rate.max()) * 1.2
    return (low, high) if high >= 10 * low else (low / 3.2, high * 3.2)


def _plain(value: float, _: float) -> str:
    return f"{value:g}"
