"""Summaries of spikes that fit a screen: densities, intervals, correlograms, rates by depth."""

from __future__ import annotations

import numpy as np


def compute_density(
    x: np.ndarray, y: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray
) -> np.ndarray:
    """Count points in the cells of an even grid.

    Parameters
    ----------
    x, y : (S,) float arrays
        Points; NaN, and those outside of the grid, are not counted.
    x_edges, y_edges : (X + 1,), (Y + 1,) float arrays
        Evenly spaced; a cell holds its lower edges, not its upper ones.

    Returns
    -------
    (Y, X) int array
    """
    n_x, n_y = len(x_edges) - 1, len(y_edges) - 1
    counts = np.zeros(n_x * n_y, dtype=np.int64)
    for start in range(0, len(x), CHUNK):
        chunk = slice(start, start + CHUNK)
        with np.errstate(invalid="ignore"):
            column = np.floor((x[chunk] - x_edges[0]) * (n_x / (x_edges[-1] - x_edges[0])))
            row = np.floor((y[chunk] - y_edges[0]) * (n_y / (y_edges[-1] - y_edges[0])))
            inside = (column >= 0) & (column < n_x) & (row >= 0) & (row < n_y)
        cell = (row[inside] * n_x + column[inside]).astype(np.int64)
        counts += np.bincount(cell, minlength=n_x * n_y)
    return counts.reshape(n_y, n_x)


CHUNK = 1 << 18
"""Points that are counted at a time: their arrays stay in the cache of the processor."""


def compute_intervals(times: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count the intervals between successive spikes.

    Parameters
    ----------
    times : (S,) float array
        Spike times of a unit (s), ascending.
    edges : (B + 1,) float array
        Edges of the bins (s); a bin holds its left edge, not its right one.

    Returns
    -------
    (B,) int array
    """
    placed = np.searchsorted(edges, np.diff(times), side="right") - 1
    return np.bincount(placed[(placed >= 0) & (placed < len(edges) - 1)], minlength=len(edges) - 1)


def compute_depth_rates(
    time: np.ndarray,
    depth: np.ndarray,
    events: np.ndarray,
    time_edges: np.ndarray,
    depth_edges: np.ndarray,
) -> np.ndarray:
    """Average the rate of all spikes by depth and time around events.

    Parameters
    ----------
    time, depth : (S,) float arrays
        Spikes (s, um), ascending in time; those without a depth are not counted.
    events : (E,) float array
        Event times (s), without NaN.
    time_edges : (T + 1,) float array
        Evenly spaced, from the event (s).
    depth_edges : (D + 1,) float array
        Evenly spaced (um).

    Returns
    -------
    (D, T) float array
        (Hz) Spikes in a cell over the number of events and the width of a bin; NaN without events.
    """
    lag, _, index = _align(time, events, (time_edges[0], time_edges[-1]))
    found = compute_density(lag, depth[index], time_edges, depth_edges)
    width = (time_edges[-1] - time_edges[0]) / (len(time_edges) - 1)
    return found / (len(events) * width) if len(events) else np.full(found.shape, np.nan)


def find_near(
    times: np.ndarray, events: np.ndarray, window: tuple[float, float], step: float = 0.01
) -> np.ndarray:
    """Find the times that may lie in the window of an event, much faster than sorting them.

    Parameters
    ----------
    times : (S,) float array
        (s) In any order.
    events : (E,) float array
        (s) Without NaN.
    window : (float, float)
        Start and end (s from the event).
    step : float
        (s) All times in a window are found, and some that are up to two steps beside.

    Returns
    -------
    (S,) bool array
    """
    if not (len(times) and len(events)):
        return np.zeros(len(times), dtype=bool)
    low = times.min()
    cell = ((times - low) / step).astype(np.int32)
    ends = (events[:, None] + np.asarray(window) - low) / step
    beside = np.floor(ends).astype(np.int64) + np.array([-1, 2])
    n = int(cell.max()) + 1
    first, last = np.clip(beside, 0, n).T
    change = np.bincount(first, minlength=n + 1) - np.bincount(last, minlength=n + 1)
    return (np.cumsum(change) > 0)[cell]


def compute_z_scores(rates: np.ndarray, baseline: np.ndarray) -> np.ndarray:
    """Express rates as deviations from a baseline, in its standard deviations.

    Parameters
    ----------
    rates : (D, T) float array
    baseline : (T,) bool array
        Bins of the baseline.

    Returns
    -------
    (D, T) float array
        (sd) NaN for a row whose baseline does not vary.
    """
    rest = rates[:, baseline]
    mean, sd = rest.mean(axis=1, keepdims=True), rest.std(axis=1, keepdims=True)
    return np.divide(rates - mean, sd, out=np.full(rates.shape, np.nan), where=sd > 0)


def align_spikes(
    times: np.ndarray, events: np.ndarray, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Find the spikes around each event.

    Parameters
    ----------
    times : (S,) float array
        Spike times (s), ascending.
    events : (E,) float array
        Event times (s), without NaN.
    window : (float, float)
        Start and end (s from the event); a spike at the end is outside.

    Returns
    -------
    lag : (n,) float array
        Time from the event (s), event after event.
    event : (n,) int array
        Event of each.
    """
    return _align(times, events, window)[:2]


def _align(
    times: np.ndarray, events: np.ndarray, window: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return lag, event and index of the spikes around each event."""
    first = np.searchsorted(times, events + window[0], side="left")
    counts = np.searchsorted(times, events + window[1], side="left") - first
    index = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
    event = np.repeat(np.arange(len(events)), counts)
    return times[index] - events[event], event, index
