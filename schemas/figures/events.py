"""Spikes around events: raster and peri-stimulus time histogram of a unit.

Conditions have the same colours, order and names in both. Signed contrasts diverge from grey: see
`style.choose_colours`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from schemas.figures.style import (
    choose_colours,
    choose_line,
    floats,
    head,
    left_out,
    name_condition,
    name_subject,
    require_lengths,
    say_empty,
    spread,
    stroke,
    to_conditions,
    to_floats,
)

MARKS = ("o", "^", "s", "D")

MOST_BANDS = 3
"""Number of conditions whose bands of the standard error can be told apart."""


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
    unit: Any = None,
    region: str | None = None,
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
        Colour of each condition from top to bottom. Default: `choose_colours`.
    title : str, optional
    unit : int or str, optional
        Number or name of the unit, for the title.
    region : str, optional
        Where the unit is, for the title.

    Raises
    ------
    ValueError
        Conditions or marks are not as many as events, spike times do not ascend, or `colours`
        lacks a condition.
    """
    trials = _raster_trials(events, conditions, marks or {})
    shown = _draw_trials(ax, _require_ascending(spikes), trials, marks or {}, window, colours)
    ax.set_xlabel(f"time from {event_name} (s)")
    ax.set_ylabel("trial" if conditions is None else "trials by condition (n)")
    if conditions is not None:
        _label_conditions(ax, shown.condition, choose_colours(shown.condition, colours))
    _mark_event(ax)
    head(ax, name_subject(title, unit, region), left_out(len(trials) - len(shown), "trials"))
    if not len(shown):
        say_empty(ax, "no trials")
    return ax


def _draw_trials(
    ax: Axes,
    spikes: np.ndarray,
    trials: pd.DataFrame,
    marks: Mapping[str, np.ndarray],
    window: tuple[float, float],
    colours: Mapping[Any, str] | None,
) -> pd.DataFrame:
    """Draw the spikes and marks of trials by condition; return the trials in the order drawn."""
    shown = trials.dropna(subset=["event", "condition"])
    palette = choose_colours(shown.condition, colours)
    rank = shown.condition.map({condition: i for i, condition in enumerate(palette)})
    keys = ["rank", *(f"mark {name}" for name in [*marks][:1])]
    shown = shown.assign(rank=rank.astype(float)).sort_values(keys, kind="stable")
    _draw_spikes(ax, spikes, shown, window, palette)
    for name, marker in zip(marks, MARKS * len(marks), strict=False):
        _draw_mark(ax, shown[f"mark {name}"].to_numpy(), window, marker, name)
    ax.set(xlim=window, ylim=(max(len(shown), 1) - 0.5, -0.5))
    return shown


def _raster_trials(
    events: np.ndarray, conditions: Any, marks: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """Return one row per trial: event, condition, and each mark from the event (s)."""
    require_lengths(events, conditions=conditions, **marks)
    trials = pd.DataFrame({"event": to_floats(events)})
    trials["condition"] = "" if conditions is None else to_conditions(conditions)
    for name, times in marks.items():
        trials[f"mark {name}"] = to_floats(times) - trials.event
    return trials


def _require_ascending(spikes: np.ndarray) -> np.ndarray:
    """Return spike times as floats; ValueError if they do not ascend, or one is missing."""
    times = to_floats(spikes)
    if not (np.diff(times) >= 0).all() or np.isnan(times[:1]).any():
        raise ValueError("spike times must ascend: give those of one unit, in order of time.")
    return times


def _draw_spikes(
    ax: Axes,
    spikes: np.ndarray,
    trials: pd.DataFrame,
    window: tuple[float, float],
    palette: Mapping[Any, str],
) -> None:
    """Draw the spikes of each trial in its row, in the colour of its condition."""
    time, row = _align(spikes, trials.event.to_numpy(), window)
    # Thin rows overlap, so that a spike among hundreds of trials is still a pixel high.
    half = max(0.45, len(trials) / 400)
    condition = trials.condition.to_numpy()[row]
    for name, colour in palette.items():
        of = condition == name
        low, high = row[of] - half, row[of] + half
        style: dict[str, Any] = {
            "color": colour,
            "linewidth": stroke(0.8),
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
        markersize=stroke(1.8),
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
    unit: Any = None,
    region: str | None = None,
) -> Axes:
    """Draw the firing rate of a unit around an event, a line a condition.

    Zero contrast on the left is a dashed line. More than three conditions have no bands: they
    would hide each other.

    Parameters
    ----------
    ax : Axes
        Where to draw.
    psth : DataFrame
        Of one unit, one row a condition and bin: `condition`; `time` (s, centre of the bin from
        the event); `mean` (Hz, over the events); `sem` (Hz, over the events; NaN, as for a
        single event, draws no band); `n_events`. A NaN mean is a gap.
    event_name, colours, title, unit, region
        As in `plot_raster`.

    Returns
    -------
    Axes
        With lines of the mean, for up to three conditions bands of one standard error to each
        side, and the number of events in the legend; without rows an empty one, with its labels.

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
    palette = choose_colours(psth["condition"], colours)
    for condition, colour in palette.items():
        of = psth[psth["condition"] == condition].sort_values("time")
        _draw_rate(ax, of, condition, colour, len(palette) <= MOST_BANDS)
    ax.set_xlabel(f"time from {event_name} (s)")
    ax.set_ylabel("firing rate (Hz), mean" + " ± sem" * (len(palette) <= MOST_BANDS))
    ax.margins(x=0)
    ax.set_ylim(bottom=0)
    _mark_event(ax)
    head(ax, name_subject(title, unit, region))
    if not len(psth):
        ax.set_xlim(-0.5, 1)
        say_empty(ax, "no events")
    return ax


def _draw_rate(ax: Axes, rows: pd.DataFrame, condition: Any, colour: str, has_band: bool) -> None:
    """Draw the line of a condition, and the band of its standard error."""
    mean, sem = (floats(rows, name) for name in ("mean", "sem"))
    name = f"{name_condition(condition)} (n = {int(rows['n_events'].iloc[0])})"
    style: dict[str, Any] = {"color": colour, "linestyle": choose_line(condition)}
    ax.plot(rows["time"], mean, linewidth=stroke(1.2), label=name, **style)
    if has_band:
        band: dict[str, Any] = {"color": colour, "alpha": 0.25, "linewidth": 0}
        ax.fill_between(rows["time"], mean - sem, mean + sem, **band)


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
    unit: Any = None,
    region: str | None = None,
) -> tuple[Axes, Axes]:
    """Draw the raster of a unit above its PSTH, with one time axis and the same colours.

    Parameters
    ----------
    figure : Figure or SubFigure
        Where to draw, best empty and with `layout="constrained"`.
    spikes, events, conditions, window, event_name, marks, colours, title, unit, region
        As in `plot_raster`.
    psth : DataFrame
        As in `plot_psth`, of the same unit and conditions. It may leave out trials or conditions
        of the raster, and beside a raster without conditions it may have any.

    Returns
    -------
    (Axes, Axes)
        Raster and PSTH.

    Raises
    ------
    ValueError
        As by `plot_raster` and `plot_psth`, or the histogram has events of a condition that no
        trial of the raster has: spikes and conditions are not of the same trials, or the same
        condition has two names.
    """
    if conditions is not None:
        _require_shared(to_conditions(conditions), psth)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    if colours is None:
        every = psth["condition"] if conditions is None else pd.Series(conditions, dtype=object)
        colours = choose_colours(pd.concat([every, psth["condition"]]))
    colours = {"": "0.2", **colours} if conditions is None else colours
    told: dict[str, Any] = {"title": title, "unit": unit, "region": region}
    shown: dict[str, Any] = {"window": window, "event_name": event_name, "colours": colours}
    plot_raster(above, spikes, events, conditions, marks=marks, **shown, **told)
    plot_psth(below, psth, event_name=event_name, colours=colours)
    below.set_xlim(window)
    above.set_xlabel("")
    return above, below


def _require_shared(conditions: pd.Series, psth: pd.DataFrame) -> None:
    """Raise a ValueError for a condition that has events in the histogram, but no trial."""
    found = set(conditions.dropna())
    averaged = psth[floats(psth, "n_events") > 0]
    if strange := [c for c in to_conditions(averaged["condition"].unique()) if c not in found]:
        raise ValueError(
            f"the histogram has events of the conditions {strange}, the raster has no trial of "
            f"them, only of {sorted(found, key=str)}: give both the same trials, and name "
            "conditions alike (style.name_contrasts writes `left 0.25`)."
        )


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
        ax.axhline(end, color="0.7", linewidth=stroke(0.5), zorder=0)
    middle = ends - counts / 2
    places, size = spread(ax, middle, -0.5, max(len(conditions), 1) - 0.5)
    names = [
        f"{name_condition(condition)} ({n})" for condition, n in zip(palette, counts, strict=True)
    ]
    ax.set_yticks(places, names, fontsize=size)
    ax.tick_params(axis="y", length=0)
    for text, colour in zip(ax.get_yticklabels(), palette.values(), strict=True):
        text.set_color(colour)


def _mark_event(ax: Axes) -> None:
    ax.axvline(0, color="0.4", linewidth=stroke(0.8), linestyle="--", zorder=0)
