"""Spikes counted by trial, unit and time bin: of a session, session by session, or pooled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import datajoint as dj
import numpy as np
import pandas as pd
from rich.progress import track

from schemas import ephys, rows
from schemas.errors import BwmError, QueryError
from schemas.maths import psth
from schemas.views.ephys import unit_rows, units_or_recording
from schemas.views.errata import one_warning, warn_of, without_warning
from schemas.views.events import Times, Trials, fetch_events, kind_of_event, require_event
from schemas.views.frames import choose_units, plain_array, require_spikes
from schemas.views.located import KEY, LOCATION, add_location

if TYPE_CHECKING:
    import xarray

SHOWN = ["region_id", "unit_x", "firing_rate", "cluster_depth", "cluster_uuid"]
UNIT_COLUMNS = [*KEY, "region_id", *LOCATION, *SHOWN[2:]]


@dataclass(frozen=True)
class SpikeCounts:
    """Spikes counted around events: numbers, never rates; `rates` gives Hz.

    Attributes
    ----------
    counts : (E, U, B) array of uint8, uint16 or uint32
        Spikes of each unit in each bin around each event. The smallest type that holds them:
        change the type before you subtract.
    events : DataFrame
        The E events, in the order of `counts`, as `views.fetch_events` gives them.
    units : DataFrame
        The U units, in the order of `counts`: key, `region_id`, the columns of
        `views.fetch_location` except the coordinates, `firing_rate` (Hz), `cluster_depth` (um),
        `cluster_uuid`.
    edges : (B + 1,) float array
        Edges of the bins (s from the event); a bin holds its left edge, not its right one.
    left_out : DataFrame
        Events and units that are not counted: `what` (event or unit), `eid`, `probe_name` (of a
        unit), `number` (row of the chosen events, or cluster_id), `reason`.
    """

    counts: np.ndarray
    events: pd.DataFrame
    units: pd.DataFrame
    edges: np.ndarray
    left_out: pd.DataFrame

    @property
    def time(self) -> np.ndarray:
        """Centres of the bins (s from the event), (B,)."""
        return (self.edges[:-1] + self.edges[1:]) / 2

    @property
    def rates(self) -> np.ndarray:
        """Counts over the width of a bin (Hz), (E, U, B) float32."""
        return (self.counts / np.diff(self.edges)).astype(np.float32)

    def to_xarray(self) -> xarray.DataArray:
        """Return the counts as an array with named dimensions, coordinates and units.

        Raises
        ------
        BwmError
            xarray is not installed.
        """
        try:
            import xarray
        except ImportError as error:
            remedy = "Install it: pip install xarray"
            raise BwmError(f"xarray cannot be imported ({error}).", None, remedy) from None
        dimensions = ("event", "unit", "time")
        coordinates: dict[str, Any] = {"time": ("time", self.time, {"units": "s"})}
        for dimension, frame in (("event", self.events), ("unit", self.units)):
            for name in frame.columns:
                own = f"event_{name}" if dimension == "event" and name in ("time", "eid") else name
                coordinates[own] = (dimension, plain_array(frame[name]))
        attributes = {
            "units": "spikes per bin",
            "bin_width_s": round(float(np.diff(self.edges)[0]), 12),
        }
        return xarray.DataArray(self.counts, coordinates, dimensions, "spike_count", attributes)


@one_warning
def spike_counts(
    units: dj.expression.QueryExpression | str,
    event: str | Times,
    window: tuple[float, float] = (-0.2, 0.5),
    bin: float = 0.02,  # noqa: A002  (the word of the field)
    trials: Trials = None,
) -> SpikeCounts:
    """Count the spikes of units of one session by event, unit and time bin.

    Parameters
    ----------
    units : expression or str
        Any expression with the key of a unit, e.g. `views.units("TH", "ibl_2024")`, of one session;
        or the eid of a session or pid of an insertion, for all units of its default sorts.
    event, trials
        As in `views.fetch_events`.
    window : (float, float)
        Start and end (s from the event). Bins that an end cuts are whole.
    bin : float
        Width of a bin (s); the event is an edge.

    Returns
    -------
    SpikeCounts
        Events without a time, and those whose window is not within the recording of every sort (its
        first to its last spike), are left out and named in `left_out`.

    Raises
    ------
    QueryError
        The units are of several sessions or of none, their spikes are not imported, the window or
        the bin is not positive, or an error of `views.fetch_events`.
    """
    return _count_session(units, event, trials, bin_edges(window, bin))


def _count_session(
    units: dj.expression.QueryExpression | str,
    event: str | Times,
    trials: Trials,
    edges: np.ndarray,
) -> SpikeCounts:
    """Count the spikes of units of one session between edges (s from the event)."""
    table = _fetch_units(units)
    eids = table.eid.unique()
    if len(eids) != 1:
        what = f"the units are of {len(eids)} sessions, each of which has events of its own."
        remedy = "Use views.each_session(...), views.pseudo_population(...), or restrict by eid."
        raise QueryError(what, None, remedy if len(eids) else "Restrict less.")
    return _counted(table, fetch_events(eids[0], event, trials), edges)


def fetch_trial_rates(
    units: dj.expression.QueryExpression | str,
    event: str | Times,
    window: tuple[float, float] = (0.0, 0.1),
    trials: Trials = None,
) -> pd.DataFrame:
    """Fetch the rate of each unit in a window around each event, with every column of the events.

    Parameters
    ----------
    units, event, trials
        As in `spike_counts`.
    window : (float, float)
        Start and end (s from the event).

    Returns
    -------
    pandas.DataFrame
        One row per event and unit, in that order: the columns of `views.fetch_events` (for an event
        of trials those of `views.fetch_trials`); `probe_name`, `sorting_name`, `cluster_id`,
        `region_acronym`, `hemisphere`; `rate` (Hz); and for an event of trials `laterality`,
        whether the stimulus is ipsilateral or contralateral to the unit.

    Raises
    ------
    QueryError
        As `spike_counts`.
    """
    start, end = window
    bin_edges(window, end - start)  # refuses a wrong window
    found = _count_session(units, event, trials, np.array([start, end], float))
    n_events, n_units, _ = found.counts.shape
    of_event = np.repeat(np.arange(n_events), n_units)
    of_unit = np.tile(np.arange(n_units), n_events)
    shown = ["probe_name", "sorting_name", "cluster_id", "region_acronym", "hemisphere"]
    left = found.events.iloc[of_event].reset_index(drop=True)
    right = found.units[shown].iloc[of_unit].reset_index(drop=True)
    table = pd.concat([left, right], axis=1)
    table["rate"] = found.counts.sum(axis=2, dtype=float).ravel() / (end - start)
    if "side" in table:
        same = (table.side == table.hemisphere).map({True: "ipsilateral", False: "contralateral"})
        table["laterality"] = same.where(table.side.notna() & table.hemisphere.notna())
    return table


@dataclass(frozen=True)
class EachSession:
    """Counts of many sessions, of which one is held at a time; `len` is the number of sessions."""

    units: pd.DataFrame
    event: str | Times
    edges: np.ndarray
    trials: Trials
    progress: bool

    def __len__(self) -> int:
        return self.units.eid.nunique()

    def __iter__(self) -> Iterator[SpikeCounts]:
        groups = self.units.groupby("eid", sort=False)
        numbered = track(groups, "sessions", len(self), disable=not self.progress)
        for eid, table in numbered:
            with without_warning():  # `each_session` has warned
                found = fetch_events(str(eid), self.event, self.trials)
            yield _counted(table.reset_index(drop=True), found, self.edges)


@one_warning
def each_session(
    units: dj.expression.QueryExpression,
    event: str,
    window: tuple[float, float] = (-0.2, 0.5),
    bin: float = 0.02,  # noqa: A002
    trials: Trials = None,
    progress: bool = True,
) -> EachSession:
    """Count spikes session by session, in the order of eids, with a progress bar.

    Parameters
    ----------
    units, event, window, bin, trials
        As in `spike_counts`, but of any number of sessions.
    progress : bool
        Whether to draw a progress bar.

    Returns
    -------
    EachSession
        Iterate to get a `SpikeCounts` for each session; `len` gives the number of sessions.

    Raises
    ------
    QueryError
        As `spike_counts`; while iterating, where the data of a session's event are not imported.
    """
    require_event(event, trials)
    table = _fetch_units(units)
    warn_of(kind_of_event(event), table[["eid"]])
    return EachSession(table, event, bin_edges(window, bin), trials, progress)


@one_warning
def pseudo_population(
    units: dj.expression.QueryExpression,
    event: str,
    by: Sequence[str],
    n_trials: int,
    window: tuple[float, float] = (-0.2, 0.5),
    bin: float = 0.02,  # noqa: A002
    trials: Trials = None,
    seed: int = 0,
    progress: bool = True,
) -> SpikeCounts:
    """Put units of many sessions side by side, as if they had been recorded together.

    Every session gives `n_trials` trials of each condition (a combination of values of `by` that
    occurs), drawn without replacement, and all its units the same trials.

    Parameters
    ----------
    units, event, window, bin, trials, progress
        As in `each_session`.
    by : sequence of str
        Columns of `views.fetch_trials` that tell conditions apart, e.g. `["side", "choice"]`.
        Trials in which one is missing are not drawn.
    n_trials : int
        Trials of each condition.
    seed : int
        Seed of the draw.

    Returns
    -------
    SpikeCounts
        `events` has one row per condition and draw: the columns `by`, and `draw` from 0. Units of
        sessions with fewer than `n_trials` trials of a condition are left out, and named.

    Raises
    ------
    QueryError
        As `each_session`; `by` names no column; or no session has enough trials.
    """
    require_event(event, trials)
    edges, by = bin_edges(window, bin), list(by)
    if n_trials < 1:
        raise QueryError(
            f"{n_trials} trials of a condition were asked for.", None, "Ask for 1 or more."
        )
    tables = [table for _, table in _fetch_units(units).groupby("eid", sort=False)]
    events = [fetch_events(table.eid.iloc[0], event, trials) for table in tables]
    for one in events:
        _require_columns(by, one)
    chosen = [_choose_events(*pair, edges) for pair in zip(tables, events, strict=True)]
    conditions, rng = _conditions([kept[by] for kept, _ in chosen], by), np.random.default_rng(seed)
    drawn = [_draw(kept, conditions, by, n_trials, rng) for kept, _ in chosen]
    counts, pooled, few = _count_drawn(tables, drawn, edges, progress)
    if not len(pooled):
        what = f"no session has {n_trials} trials of each of {len(conditions)} conditions."
        raise QueryError(what, None, "Ask for fewer trials, or for fewer conditions.")
    left_out = [others for _, others in chosen] + [_too_few(table, n_trials) for table in few]
    together = conditions.loc[conditions.index.repeat(n_trials)].reset_index(drop=True)
    together["draw"] = np.tile(np.arange(n_trials), len(conditions))
    return SpikeCounts(counts, together, pooled, edges, pd.concat(left_out, ignore_index=True))


def _count_drawn(
    tables: list[pd.DataFrame], drawn: list[np.ndarray], edges: np.ndarray, progress: bool
) -> tuple[np.ndarray, pd.DataFrame, list[pd.DataFrame]]:
    """Count spikes around the drawn times of each session; return also its units, and the rest."""
    enough = [(table, times) for table, times in zip(tables, drawn, strict=True) if len(times)]
    few = [table for table, times in zip(tables, drawn, strict=True) if not len(times)]
    if not enough:
        return np.empty((0, 0, 0)), pd.DataFrame(), few
    bar = track(enough, "sessions", len(enough), disable=not progress)
    counts = [_count(table.reset_index(drop=True), times, edges) for table, times in bar]
    pooled = pd.concat([table[UNIT_COLUMNS] for table, _ in enough], ignore_index=True)
    return np.concatenate(counts, axis=1), pooled, few


def _conditions(parts: list[pd.DataFrame], by: list[str]) -> pd.DataFrame:
    """Return the combinations of values that occur, sorted."""
    if not parts:
        raise QueryError("there are no units.", None, "Restrict less.")
    every = pd.concat(parts).dropna().drop_duplicates()
    if every.empty:
        what = f"no event has a value of {' and '.join(by)}."
        raise QueryError(what, None, "Choose other columns, or a shorter window.")
    return every.sort_values(by, ignore_index=True)


def _too_few(units: pd.DataFrame, n_trials: int) -> pd.DataFrame:
    reason = f"its session has fewer than {n_trials} trials of a condition"
    left_out = units[["eid", "probe_name"]].assign(number=units.cluster_id, reason=reason)
    left_out.insert(0, "what", "unit")
    return left_out


def _require_columns(by: list[str], events: pd.DataFrame) -> None:
    unknown = [name for name in by if name not in events]
    if unknown or not by:
        known = ", ".join(map(str, events.columns))
        what = f"the events have no column {unknown[0]!r}." if unknown else "`by` names no column."
        raise QueryError(what, None, f"There are: {known}.")


def _draw(
    events: pd.DataFrame,
    conditions: pd.DataFrame,
    by: list[str],
    n_trials: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw events of each condition, and return their times (s); none if there are too few."""
    numbered = conditions.rename_axis("condition").reset_index()
    found = events[[*by, "time"]].merge(numbered, on=by)
    times = [found.time[found.condition == k].to_numpy(float) for k in conditions.index]
    if min(map(len, times)) < n_trials:
        return np.empty(0)
    return np.concatenate([rng.choice(of_one, n_trials, replace=False) for of_one in times])


def bin_edges(window: tuple[float, float], width: float) -> np.ndarray:
    """Return the edges (s) of the bins of a window.

    Raises
    ------
    QueryError
        The window does not end after it starts, or the bin is not positive.
    """
    start, end = window
    if not (np.isfinite([start, end, width]).all() and start < end and width > 0):
        what = f"the window is {window} and the bin {width} s."
        raise QueryError(
            what, None, "The window has to end after it starts, the bin to be positive."
        )
    return psth.compute_bin_edges(start, end, width)


def recorded(sorts: Any) -> tuple[float, float]:
    """Return the first and last time (s) that all sorts cover; NaN without spikes.

    `sorts` restricts `ephys.Spikes`.
    """
    spans = rows.frame((ephys.Spikes & sorts).proj("first_spike", "last_spike"))
    return float(spans.first_spike.max()), float(spans.last_spike.min())


def _fetch_units(units: dj.expression.QueryExpression | str) -> pd.DataFrame:
    """Fetch the chosen units with where their spikes are, ordered by key."""
    chosen = choose_recording(units)
    require_spikes(chosen.proj())
    columns = unit_rows(chosen).proj(*SHOWN) * ephys.Spikes.Unit.proj(
        "spike_offset", "n_unit_spikes"
    )
    table = rows.frame(columns)
    table["region_id"] = table.region_id.astype("Int64")  # whether a unit has none or not
    warn_of("spikes", table)
    return add_location(table)


def choose_recording(
    units: dj.expression.QueryExpression | str,
) -> dj.expression.QueryExpression:
    """Return units of an expression; of a session or insertion, those of its default sorts."""
    if isinstance(units, str):
        return units_or_recording(units)
    return ephys.SpikeSorting.Cluster & choose_units(units)


def _choose_events(
    table: pd.DataFrame, events: pd.DataFrame, edges: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the events whose window lies within every recording, and the others with a reason."""
    first, last = recorded(_sorts(table))
    time = events.time.to_numpy(float)
    kept = (time + edges[0] >= first) & (time + edges[-1] <= last)
    reason = np.where(np.isnan(time), "it has no time", "its window is not within the recording")
    number = np.arange(len(events))
    found = {"what": "event", "eid": table.eid.iloc[0], "probe_name": None, "number": number}
    left_out = pd.DataFrame({**found, "reason": reason})[~kept]
    return events[kept].reset_index(drop=True), left_out.reset_index(drop=True)


def _sorts(table: pd.DataFrame) -> list[dict[str, Any]]:
    return table[KEY[:-1]].drop_duplicates().to_dict("records")


def _count(table: pd.DataFrame, time: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Count the spikes of units of one session, (E, U, B), around times."""
    stored = (ephys.Spikes & _sorts(table)).to_dicts(order_by=KEY[:-1])
    return np.concatenate([_count_sort(row, table, time, edges) for row in stored], axis=1)


def _counted(table: pd.DataFrame, events: pd.DataFrame, edges: np.ndarray) -> SpikeCounts:
    """Count the spikes of units of one session around its events."""
    kept, left_out = _choose_events(table, events, edges)
    counts = _count(table, kept.time.to_numpy(float), edges)
    return SpikeCounts(counts, kept, table[UNIT_COLUMNS], edges, left_out)


def _count_sort(
    row: dict[str, Any], table: pd.DataFrame, time: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Count the spikes of the units of one sort, reading no others."""
    is_own = np.logical_and.reduce([table[name] == row[name] for name in KEY[:-1]])
    own = table[is_own]
    counts = own.n_unit_spikes.to_numpy(np.int64)
    trains = {"time": np.empty(counts.sum())}
    row["spikes"].copy_slices(trains, own.spike_offset.to_numpy(np.int64), counts)
    return psth.count_by_trial(trains["time"], np.cumsum(counts) - counts, counts, time, edges)
