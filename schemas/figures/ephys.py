"""Spikes around events, units along a probe; the rates of regions are those of `regions`.

Every function draws into the Axes it is given, best those of a figure with
`layout="constrained"`, which keeps room for labels beside the Axes. Many small marks are drawn as
pixels also in a vector file. What cannot be drawn is counted in the figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from schemas.figures.regions import plot_region_rates as plot_region_rates
from schemas.figures.regions import plot_region_summary as plot_region_summary
from schemas.figures.regions import region_summary_size as region_summary_size
from schemas.figures.style import (
    choose_colours,
    floats,
    head,
    height,
    left_out,
    name_condition,
    say_empty,
    to_conditions,
    to_floats,
)

LABEL_COLOURS = {True: "#0072B2", False: "#E69F00"}
"""Good units, and the others."""

EMPTY_PROBE = (0.0, 3840.0)
"""Reach of the sites of a Neuropixels 1.0 (um from the tip), for an Axes without units."""

MARKS = ("o", "^", "s", "D")


def plot_raster(
    ax: Axes,
    spikes: np.ndarray,
    events: np.ndarray,
    conditions: Sequence[Any] | np.ndarray | pd.Series | None = None,
    *,
    window: tuple[float, float] = (-0.5, 1.0),
    event_name: str = "event",
    marks: Mapping[str, np.ndarray] | None = None,
    colours: Mapping[Any, str] | None = None,
    title: str = "",
) -> Axes:
    """Draw the spikes of a unit around an event, a row a trial, the trials by condition.

    Within a condition the trials stand in the order given, or, with `marks`, by the latency of
    the first mark. The first trial is on top.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    spikes : (S,) float array
        Spike times of the unit (s), ascending.
    events : (n,) float array
        Time of each trial's event (s).
    conditions : (n,) sequence, optional
        Condition of each trial. Trials whose event or condition is missing are left out, counted.
    window : (float, float)
        Start and end from the event (s), both included.
    event_name : str
        What happens at 0 s, e.g. `stimulus onset`.
    marks : mapping of str to (n,) float array, optional
        Other events of the trials (s, of the same clock as `events`), by name; NaN is not drawn.
    colours : mapping, optional
        Colour of each condition from top to bottom; ValueError if one lacks. Default:
        `choose_colours`.
    title : str, optional
    """
    trials = _raster_trials(events, conditions, marks or {})
    shown = trials.dropna(subset=["event", "condition"])
    palette = choose_colours(shown.condition, colours)
    rank = shown.condition.map({condition: i for i, condition in enumerate(palette)})
    keys = ["rank", *(f"mark {name}" for name in [*(marks or ())][:1])]
    shown = shown.assign(rank=rank.astype(float)).sort_values(keys, kind="stable")
    _draw_spikes(ax, spikes, shown, window, palette)
    for name, marker in zip(marks or (), MARKS * len(marks or ()), strict=False):
        _draw_mark(ax, shown[f"mark {name}"].to_numpy(), window, marker, name)
    ax.set(xlim=window, ylim=(max(len(shown), 1) - 0.5, -0.5))
    ax.set_xlabel(f"time from {event_name} (s)")
    ax.set_ylabel("trial" if conditions is None else "trials by condition (n)")
    if conditions is not None:
        _label_conditions(ax, shown.condition, palette)
    _mark_event(ax)
    head(ax, title, left_out(len(trials) - len(shown), "trials"))
    if not len(shown):
        say_empty(ax, "no trials")
    return ax


def _raster_trials(
    events: np.ndarray, conditions: Any, marks: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Return one row per trial: event, condition, and each mark from the event (s)."""
    trials = pd.DataFrame({"event": to_floats(events)})
    trials["condition"] = "" if conditions is None else to_conditions(conditions)
    for name, times in marks.items():
        trials[f"mark {name}"] = to_floats(times) - trials.event
    return trials


def _draw_spikes(
    ax: Axes,
    spikes: np.ndarray,
    trials: pd.DataFrame,
    window: tuple[float, float],
    palette: Mapping[Any, str],
) -> None:
    """Draw the spikes of each trial in its row, in the colour of its condition."""
    time, row = _align(np.asarray(spikes, float), trials.event.to_numpy(), window)
    # Thin rows overlap, so that a spike among hundreds of trials is still a pixel high.
    half = max(0.45, len(trials) / 400)
    condition = trials.condition.to_numpy()[row]
    for name, colour in palette.items():
        of = condition == name
        low, high = row[of] - half, row[of] + half
        style: dict[str, Any] = {
            "color": colour,
            "linewidth": 0.8,
            "rasterized": True,
            "label": f"_{name}",
        }
        ax.vlines(time[of], low, high, **style)


def _draw_mark(
    ax: Axes, latency: np.ndarray, window: tuple[float, float], marker: str, name: str
) -> None:
    """Draw an event of each trial in its row, where it is inside of the window."""
    inside = (latency >= window[0]) & (latency <= window[1])
    ax.plot(
        latency[inside],
        np.flatnonzero(inside),
        marker,
        color="0.15",
        markersize=1.8,
        markeredgewidth=0,
        linestyle="none",
        rasterized=True,
        label=name if inside.any() else None,
    )


def plot_psth(
    ax: Axes,
    psth: pd.DataFrame,
    *,
    event_name: str = "event",
    colours: Mapping[Any, str] | None = None,
    title: str = "",
) -> Axes:
    """Draw the firing rate of a unit around an event, a line a condition.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    psth : DataFrame
        Of one unit, one row a condition and bin: `condition`; `time` (s, centre of the bin from
        the event); `mean` (Hz, over the events); `sem` (Hz, over the events; NaN, as for a
        single event, draws no band); `n_events`. A NaN mean is a gap.
    event_name, colours, title
        As in `plot_raster`.

    Returns
    -------
    Axes
        With lines of the mean, bands of one standard error to each side, and the number of
        events in the legend; without rows an empty one, with its labels.

    Raises
    ------
    ValueError
        A condition has two rows for a time: the frame is of several units. Or `colours` lacks a
        condition.
    """
    psth = psth.assign(condition=to_conditions(psth["condition"]).to_numpy())
    if psth.duplicated(["condition", "time"]).any():
        raise ValueError(
            "a condition has several rates for a time: restrict the frame to one unit."
        )
    for condition, colour in choose_colours(psth["condition"], colours).items():
        rows = psth[psth["condition"] == condition].sort_values("time")
        mean, sem = (floats(rows, name) for name in ("mean", "sem"))
        n = int(rows["n_events"].iloc[0])
        name = f"{name_condition(condition)} (n = {n})"
        ax.plot(rows["time"], mean, color=colour, linewidth=1.2, label=name)
        ax.fill_between(rows["time"], mean - sem, mean + sem, color=colour, alpha=0.25, linewidth=0)
    ax.set_xlabel(f"time from {event_name} (s)")
    ax.set_ylabel("firing rate (Hz), mean ± sem")
    ax.margins(x=0)
    ax.set_ylim(bottom=0)
    _mark_event(ax)
    head(ax, title)
    if not len(psth):
        ax.set_xlim(-0.5, 1)
        say_empty(ax, "no events")
    return ax


def plot_raster_and_psth(
    figure: FigureBase,
    spikes: np.ndarray,
    events: np.ndarray,
    psth: pd.DataFrame,
    conditions: Sequence[Any] | np.ndarray | pd.Series | None = None,
    *,
    window: tuple[float, float] = (-0.5, 1.0),
    event_name: str = "event",
    marks: Mapping[str, np.ndarray] | None = None,
    colours: Mapping[Any, str] | None = None,
    title: str = "",
) -> tuple[Axes, Axes]:
    """Draw the raster of a unit above its PSTH, with one time axis and the same colours.

    Parameters
    ----------
    figure : Figure or SubFigure
        Where to draw, best empty and with `layout="constrained"`.
    spikes, events, conditions, window, event_name, marks, colours, title
        As in `plot_raster`.
    psth : DataFrame
        As in `plot_psth`, of the same unit and conditions.

    Returns
    -------
    (Axes, Axes)
        Raster and PSTH.
    """
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    if colours is None:
        every = psth["condition"] if conditions is None else pd.Series(conditions, dtype=object)
        colours = choose_colours(pd.concat([every, psth["condition"]]))
    colours = {"": "0.2", **colours} if conditions is None else colours
    plot_raster(
        above,
        spikes,
        events,
        conditions,
        window=window,
        event_name=event_name,
        marks=marks,
        colours=colours,
        title=title,
    )
    plot_psth(below, psth, event_name=event_name, colours=colours)
    below.set_xlim(window)
    above.set_xlabel("")
    return above, below


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


def _align(
    spikes: np.ndarray, events: np.ndarray, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return time from the event and row of every spike in the window of an event."""
    first = np.searchsorted(spikes, events + window[0], "left")
    counts = np.searchsorted(spikes, events + window[1], "right") - first
    row = np.repeat(np.arange(len(events)), counts)
    start = np.repeat(first - (np.cumsum(counts) - counts), counts)
    return spikes[start + np.arange(len(row))] - events[row], row


def _label_conditions(ax: Axes, conditions: pd.Series, palette: Mapping[Any, str]) -> None:
    """Name the conditions at the middle of their trials, and part them by lines."""
    counts = conditions.value_counts().reindex(list(palette)).to_numpy(int)
    ends = np.cumsum(counts) - 0.5
    for end in ends[:-1]:
        ax.axhline(end, color="0.7", linewidth=0.5, zorder=0)
    middle = ends - counts / 2
    places, size = _spread(ax, middle, -0.5, max(len(conditions), 1) - 0.5)
    names = [
        f"{name_condition(condition)} ({n})" for condition, n in zip(palette, counts, strict=True)
    ]
    ax.set_yticks(places, names, fontsize=size)
    ax.tick_params(axis="y", length=0)
    for text, colour in zip(ax.get_yticklabels(), palette.values(), strict=True):
        text.set_color(colour)


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
        linewidth=0.5,
    )
    column.set_xlim(0, 1)
    column.axis("off")
    column.set_title("region", fontsize=8, loc="left")
    centre = (low[first] + high[last]) / 2
    named = name[first] != ""
    places, size = _spread(ax, centre[named], *ax.get_ylim())
    for acronym, at, place in zip(name[first][named], centre[named], places, strict=True):
        column.annotate(
            acronym,
            (1, at),
            (1.6, place),
            va="center",
            fontsize=size,
            arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.4, "shrinkA": 0},
            annotation_clip=False,
        )


def _scatter_by_rate(ax: Axes, x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> None:
    """Draw units in the colour of their rate (Hz), with a logarithmic colour bar."""
    style: dict[str, Any] = {"s": 14, "edgecolors": "0.3", "linewidths": 0.3, "rasterized": True}
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
        s=12,
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


def _spread(ax: Axes, centres: np.ndarray, low: float, high: float) -> tuple[np.ndarray, float]:
    """Move ascending places of labels as little as it takes for them not to overlap.

    Returns
    -------
    places : (n,) float array
        Within `low` and `high`, in the same order.
    size : float
        Size of the font (points): 8, or less where that many would not fit.
    """
    n = len(centres)
    line = 1.35  # of the size of the font; the layout may still take height from the Axes
    size = min(8.0, 0.85 * height(ax) / (line * max(n, 1)))
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


def _mark_event(ax: Axes) -> None:
    ax.axvline(0, color="0.4", linewidth=0.8, linestyle="--", zorder=0)
