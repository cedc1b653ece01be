"""The wheel around events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from schemas.figures.style import (
    choose_colours,
    choose_line,
    head,
    left_out,
    name_condition,
    require_lengths,
    say_empty,
    stroke,
    to_conditions,
    to_floats,
)

QUANTITIES = {"position": "wheel position (rad)", "velocity": "wheel velocity (rad/s)"}
"""What can be drawn, with its unit; both are positive counter-clockwise, as the subject sees it."""


def plot_wheel(
    ax: Axes,
    traces: np.ndarray,
    time: np.ndarray,
    conditions: Sequence[Any] | np.ndarray | pd.Series | None = None,
    *,
    quantity: str = "position",
    onsets: np.ndarray | None = None,
    event_name: str = "event",
    colours: Mapping[Any, str] | None = None,
    title: str = "",
) -> Axes:
    """Draw the wheel around an event: each trial thin, the mean of each condition thick.

    Parameters
    ----------
    ax : Axes
        Where to draw, best of a figure with `layout="constrained"`.
    traces : (n, T) float array
        Position (rad, from that at the event) or velocity (rad/s) of each trial. NaN is a gap,
        over which the mean skips the trial; a trial of NaN alone is left out and counted.
    time : (T,) float array
        Time of the samples from the event (s), ascending.
    conditions : (n,) sequence, optional
        Condition of each trial; a trial whose condition is missing (None or NaN) is left out and
        counted.
    quantity : {"position", "velocity"}
        What the traces are.
    onsets : (n,) float array, optional
        Start of a movement of each trial (s from the event), marked on its trace inside of `time`.
    event_name : str
        What happens at 0 s, e.g. `go cue`.
    colours : mapping, optional
        Colour of each condition in the order of the legend; default see `style.choose_colours`.
    title : str, optional

    Raises
    ------
    KeyError
        `quantity` is neither.
    ValueError
        Conditions or onsets are not as many as traces, or `colours` lacks a condition.
    """
    traces, time = np.asarray(traces, float).reshape(-1, max(len(time), 1)), np.asarray(time, float)
    given = np.full(len(traces), "") if conditions is None else conditions
    require_lengths(traces, conditions=conditions, onsets=onsets)
    condition = to_conditions(given).to_numpy(copy=True)
    shown = ~np.isnan(traces).all(axis=1) & ~pd.isna(condition)
    condition[~shown] = None
    for name, colour in choose_colours(condition[shown], colours).items():
        of = shown & (condition == name)
        label = f"{name_condition(name) or 'mean'} (n = {of.sum()})"
        _draw_condition(ax, traces[of], time, colour, label, choose_line(name))
    if onsets is not None:
        _mark_onsets(ax, traces[shown], time, to_floats(onsets)[shown])
    _label_axes(ax, time, event_name, QUANTITIES[quantity])
    head(ax, title, left_out(int((~shown).sum()), "trials"))
    if not shown.any():
        say_empty(ax, "no trials")
    return ax


def _label_axes(ax: Axes, time: np.ndarray, event_name: str, quantity: str) -> None:
    """Label both axes, and mark the event and zero."""
    ax.set_xlabel(f"time from {event_name} (s)")
    ax.set_ylabel(quantity)
    if len(time):
        ax.set_xlim(time[0], time[-1])
    ax.axvline(0, color="0.4", linewidth=stroke(0.8), linestyle="--", zorder=0)
    ax.axhline(0, color="0.8", linewidth=stroke(0.8), zorder=0)


def _draw_condition(
    ax: Axes, traces: np.ndarray, time: np.ndarray, colour: str, name: str, line: str
) -> None:
    """Draw trials and their mean; the more trials, the fainter each."""
    lines = np.stack([np.broadcast_to(time, traces.shape), traces], axis=-1)
    alpha = float(np.clip(8 / len(traces), 0.08, 0.5))
    trials = LineCollection(
        list(lines), colors=colour, linewidths=stroke(0.5), alpha=alpha, rasterized=True
    )
    ax.add_collection(trials)
    n = (~np.isnan(traces)).sum(axis=0)
    mean = np.where(n > 0, np.nansum(traces, axis=0) / np.maximum(n, 1), np.nan)
    ax.plot(time, mean, color="white", linewidth=stroke(3.2))
    ax.plot(time, mean, line, color=colour, linewidth=stroke(2), label=name)
    ax.autoscale_view()


def _mark_onsets(ax: Axes, traces: np.ndarray, time: np.ndarray, onsets: np.ndarray) -> None:
    """Mark the start of a movement at the sample of the trace that is nearest before it."""
    if not len(time):
        return
    inside = np.flatnonzero((onsets >= time[0]) & (onsets <= time[-1]))
    sample = np.searchsorted(time, onsets[inside], "right") - 1
    ax.plot(
        onsets[inside],
        traces[inside, sample],
        "o",
        color="0.1",
        markersize=stroke(2.5),
        markeredgewidth=0,
        rasterized=True,
        label="movement onset" if len(inside) else None,
    )
