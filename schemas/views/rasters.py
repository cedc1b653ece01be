"""Spikes of an insertion reduced to what a screen can show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from schemas import ephys
from schemas.errors import QueryError
from schemas.maths import psth, spikes
from schemas.views.events import Times, Trials, fetch_events
from schemas.views.frames import choose_units, require_spikes
from schemas.views.tensor import bin_edges

DEPTH = (0.0, 3840.0)
"""Reach of the sites of a Neuropixels 1.0 (um from the tip), where no spike has a depth."""


@dataclass(frozen=True)
class Density:
    """Numbers of spikes, or their rates, in the cells of a grid.

    Attributes
    ----------
    grid : (D, T) array
        Depth upwards, time to the right.
    time_edges, depth_edges : float arrays
        (s), (um from the tip)
    n_events : int
        Events that are averaged; 0 for a whole recording.
    """

    grid: np.ndarray
    time_edges: np.ndarray
    depth_edges: np.ndarray
    n_events: int = 0


def fetch_spike_density(
    recording: str, sorting: str | None = None, n_times: int = 1000, depth_bin: float = 20.0
) -> Density:
    """Count the spikes of an insertion by time and depth.

    Parameters
    ----------
    recording : str
        pid of the insertion.
    sorting : str, optional
        Name of a sort; default the one that the source marks as default.
    n_times : int
        Bins from the first spike to the last one.
    depth_bin : float
        (um) Height of a bin.

    Returns
    -------
    Density
        Counts; spikes without a depth are not counted.

    Raises
    ------
    QueryError
        No such insertion or sort, its spikes are not imported, or a bin is not positive.
    """
    if not (n_times >= 1 and depth_bin > 0):
        raise QueryError(f"the bins are {n_times} and {depth_bin} um.", None, "Give positive ones.")
    time, depth = _read(recording, sorting)
    first, last = (float(time.min()), float(time.max())) if len(time) else (0.0, 1.0)
    time_edges = np.linspace(first, np.nextafter(max(last, first + 1e-3), np.inf), n_times + 1)
    depth_edges = _depth_edges(depth, depth_bin)
    counts = spikes.compute_density(time, depth, time_edges, depth_edges)
    return Density(counts, time_edges, depth_edges)


def fetch_depth_rates(
    recording: str,
    event: str | Times,
    sorting: str | None = None,
    window: tuple[float, float] = (-0.3, 0.6),
    bin: float = 0.01,  # noqa: A002  (the word of the field)
    depth_bin: float = 20.0,
    trials: Trials = None,
) -> Density:
    """Average the rate of all spikes by depth around an event, in deviations from before it.

    Parameters
    ----------
    recording, sorting, depth_bin
        As in `fetch_spike_density`.
    event, trials
        As in `fetch_events`.
    window : (float, float)
        Start and end (s from the event).
    bin : float
        (s) Width of a bin.

    Returns
    -------
    Density
        (sd) Rate minus its mean in the bins before the event, over their standard deviation; NaN
        where these do not vary.

    Raises
    ------
    QueryError
        As `fetch_spike_density` and `fetch_events`, or the window does not begin before the event.
    """
    edges = bin_edges(window, bin)
    if not edges[0] < 0:
        raise QueryError(f"the window is {window}.", None, "It has to begin before the event.")
    time, depth = _read(recording, sorting)
    at = fetch_events(recording, event, trials).time.dropna().to_numpy(float)
    depth_edges = _depth_edges(depth, depth_bin)
    near = np.flatnonzero(spikes.find_near(time, at, (edges[0], edges[-1])))
    near = near[np.argsort(time[near], kind="stable")]
    rates = spikes.compute_depth_rates(time[near], depth[near], at, edges, depth_edges)
    scores = spikes.compute_z_scores(rates, edges[1:] <= 1e-9)
    return Density(scores, edges, depth_edges, len(at))


def fetch_spikes_between(
    recording: str, start: float, stop: float, sorting: str | None = None
) -> pd.DataFrame:
    """Fetch the spikes of an insertion within a span of time.

    Parameters
    ----------
    recording, sorting
        As in `fetch_spike_density`.
    start, stop : float
        (s) The span, both ends included.

    Returns
    -------
    pandas.DataFrame
        One row per spike, ascending in time: `time` (s), `depth` (um), `cluster_id`.

    Raises
    ------
    QueryError
        As `fetch_spike_density`.
    """
    table = _object(recording, sorting).read(["time", "depth", "cluster"])
    inside = (table["time"] >= start) & (table["time"] <= stop)
    found = pd.DataFrame({name: column[inside] for name, column in table.items()})
    return found.rename(columns={"cluster": "cluster_id"}).sort_values("time", ignore_index=True)


def fetch_unit_events(
    times: np.ndarray,
    recording: str,
    event: str | Times,
    window: tuple[float, float] = (-0.2, 0.5),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Fetch the events of a session, and the spikes of a unit around each.

    Parameters
    ----------
    times : (S,) float array
        Spike times of the unit (s), ascending.
    recording, event
        As in `fetch_events`.
    window : (float, float)
        Start and end (s from the event).

    Returns
    -------
    spikes : pandas.DataFrame
        One row per spike in a window: `lag` (s from the event), `event` (row of `events`).
    events : pandas.DataFrame
        As of `fetch_events`, those without a time left out.

    Raises
    ------
    QueryError
        As `fetch_events`, or the window does not end after it starts.
    """
    bin_edges(window, 1.0)
    events = fetch_events(recording, event)
    events = events[events.time.notna()].reset_index(drop=True)
    lag, row = spikes.align_spikes(times, events.time.to_numpy(float), window)
    return pd.DataFrame({"lag": lag, "event": row}), events


def average_events(
    spikes_of_events: pd.DataFrame,
    condition: pd.Series,
    window: tuple[float, float],
    bin: float | None = None,  # noqa: A002
) -> pd.DataFrame:
    """Average the rate of a unit around events by condition.

    Parameters
    ----------
    spikes_of_events : DataFrame
        As of `fetch_unit_events`.
    condition : Series
        Condition of each event, as text; events where it is missing are left out.
    window : (float, float)
        As in `fetch_unit_events`.
    bin : float, optional
        (s) Width of a bin; the event is an edge. Default: the whole window is one bin.

    Returns
    -------
    pandas.DataFrame
        One row per condition and bin: `condition`, `time` (s, centre of the bin), `mean` and `sem`
        (Hz; NaN for a single event), `n_events`.
    """
    edges = np.array(window) if bin is None else bin_edges(window, bin)
    lag = spikes_of_events.lag.to_numpy(float)
    row = spikes_of_events.event.to_numpy(np.int64)
    rows_edges = np.arange(len(condition) + 1) - 0.5
    counts = spikes.compute_density(lag, row.astype(float), edges, rows_edges)
    rates = counts * (len(edges) - 1) / float(edges[-1] - edges[0])
    parts = []
    for name in condition.dropna().unique():
        own = rates[(condition == name).to_numpy(bool)]
        n = len(own)
        sem = own.std(axis=0, ddof=1) / np.sqrt(n) if n > 1 else np.full(len(edges) - 1, np.nan)
        centre = (edges[:-1] + edges[1:]) / 2
        columns = {"condition": name, "time": centre, "mean": own.mean(axis=0), "sem": sem}
        parts.append(pd.DataFrame({**columns, "n_events": n}))
    names = ["condition", "time", "mean", "sem", "n_events"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names)


def _object(recording: str, sorting: str | None) -> Any:
    chosen = choose_units(recording, sorting)
    require_spikes(chosen)
    return (ephys.Spikes & chosen).fetch1("spikes")


def _read(recording: str, sorting: str | None) -> tuple[np.ndarray, np.ndarray]:
    found = _object(recording, sorting).read(["time", "depth"])
    return found["time"], found["depth"].astype(float, copy=False)


def _depth_edges(depth: np.ndarray, width: float) -> np.ndarray:
    known = depth[np.isfinite(depth)]
    low, high = (float(known.min()), float(known.max())) if len(known) else DEPTH
    return psth.compute_bin_edges(low, max(high, low + width) + 1e-6, width)
