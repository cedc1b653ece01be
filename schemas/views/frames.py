"""Recordings as frames: trials, wheel, units and spikes of a session or an insertion."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, ephys, probe, rows
from schemas import wheel as wheel_tables
from schemas.errors import QueryError
from schemas.maths import behavior as maths
from schemas.maths.wheel import preprocess
from schemas.views.ephys import sorts_of, summaries, unit_rows
from schemas.views.errata import warn_of
from schemas.views.located import add_location
from schemas.views.session import find_recording, session_key

POPULATE = "Import it with `bwm populate`; `bwm status` says what failed and what is not released."


def fetch_trials(recording: str) -> pd.DataFrame:
    """Fetch the trials of a session.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions, in upper or lower case.

    Returns
    -------
    pandas.DataFrame
        One row per trial in the order of the session: every column of `behavior.Trials.Trial`;
        further released columns under their released names; and `side` (left or right, also for
        zero contrast; missing where neither or both sides have a contrast), `contrast`
        (fraction), `signed_contrast` (percent, left negative; zero on the left is -0.0) and
        `block` (number of the block, from 0) and `trial_in_block` (from 0), both missing where the
        prior is missing.

    Raises
    ------
    QueryError
        No such recording, or its trials are not imported.
    """
    key = session_key(recording)
    if not behavior.Trials & key:
        raise QueryError("no trials are imported.", f"session {key['eid']}", POPULATE)
    table = rows.frame(behavior.Trials.Trial & key)
    left, right = (table[f"contrast_{side}"].to_numpy(float) for side in maths.SIDES)
    side, contrast = maths.compute_stimulus(left, right)
    block = maths.compute_blocks(table.probability_left.to_numpy(float))["block"]
    table["side"] = pd.Series(side).map(dict(enumerate(maths.SIDES))).astype(rows.TEXT)
    table["contrast"] = contrast
    table["signed_contrast"] = maths.compute_signed_contrast(left, right)
    table["block"] = pd.array(block, dtype="Int64")
    table.loc[block < 0, "block"] = pd.NA
    in_block = table.groupby(block).cumcount().to_numpy()
    table["trial_in_block"] = pd.array(in_block, dtype="Int64")
    table.loc[block < 0, "trial_in_block"] = pd.NA
    extra = _extra_columns(key)
    warn_of("trials", key)
    return table.merge(
        extra, left_on="trial", right_index=True, how="left", suffixes=("", "_released")
    )


def _extra_columns(key: dict[str, Any]) -> pd.DataFrame:
    """Fetch the released columns that have no column of their own, indexed by trial."""
    trials = (behavior.Trials.Trial & key & "extra_columns IS NOT NULL").proj("extra_columns")
    extra = {row["trial"]: row["extra_columns"] for row in trials.to_dicts()}
    return pd.DataFrame.from_dict(extra, orient="index")


def fetch_wheel(recording: str, rate: float = 1000.0) -> pd.DataFrame:
    """Fetch the wheel of a session at even times.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions, in upper or lower case.
    rate : float
        Samples per second (Hz); more than twice the corner frequency of the filter, 20 Hz.

    Returns
    -------
    pandas.DataFrame
        One row per sample: `time` (s), `position` (rad, interpolated linearly), `velocity` (rad/s)
        and `acceleration` (rad/s2) of the low-passed position; see `maths.wheel.preprocess`. A
        trace of fewer than two samples gives no rows.

    Raises
    ------
    QueryError
        No such recording, its wheel is not imported, or the rate is too low.
    """
    if not rate > 2 * CORNER:
        what = f"a rate of {rate:g} Hz is too low: the wheel is low-passed at {CORNER:g} Hz."
        raise QueryError(what, None, f"Ask for more than {2 * CORNER:g} Hz.")
    key = session_key(recording)
    traces = (wheel_tables.Wheel & key).to_arrays("wheel_trace")
    if not len(traces):
        raise QueryError("no wheel is imported.", f"session {key['eid']}", POPULATE)
    trace = traces[0].read()
    warn_of("wheel", key)
    return pd.DataFrame(preprocess(trace["time"], trace["position"], rate, CORNER))


CORNER = 20.0
"""Corner frequency of the wheel's low-pass filter (Hz)."""


def fetch_clusters(
    units: str | dj.expression.QueryExpression, sorting: str | None = None
) -> pd.DataFrame:
    """Fetch the units of an insertion, or any units, with every column.

    Parameters
    ----------
    units, sorting
        As in `fetch_spikes`.

    Returns
    -------
    pandas.DataFrame
        One row per unit, ordered by key: every column of `ephys.SpikeSorting.Cluster`; the
        acronym of the region in each mapping (`region_allen`, `region_beryl`, `region_cosmos`),
        `region_name` and `hemisphere` (left or right), missing where the unit is not located; and
        for each criterion the label (fraction of the tests passed) and whether the unit is good
        (`label_ibl_2022`, `good_ibl_2022`; missing where the sort lacks a metric).

    Raises
    ------
    QueryError
        No such insertion or sort, its units are not imported, or the expression has no key of
        units or recordings.
    """
    chosen = choose_units(units, sorting)
    table = rows.frame(unit_rows(chosen if isinstance(units, str) else units))
    table = add_location(table).rename(columns={"region_acronym": "region_allen"})
    for criterion, (label, is_good) in _fetch_labels(table).items():
        table[f"label_{criterion}"] = label
        table[f"good_{criterion}"] = pd.array(is_good, dtype="boolean")
    warn_of("clusters", table)
    return table


def _fetch_labels(units: pd.DataFrame) -> dict[str, np.ndarray]:
    """Fetch label and goodness of units, (2, units), by criterion; NaN where there is none."""
    criteria = ephys.UnitCriterion.to_arrays("criterion")
    found = {criterion: np.full((2, len(units)), np.nan) for criterion in criteria}
    if not len(units):
        return found
    sort = ephys.SpikeSorting.primary_key
    of_sort = units.groupby(sort, sort=False).indices
    listed = ", ".join(f"'{eid}'" for eid in units.eid.unique())
    judged = ephys.GoodUnits & f"eid IN ({listed})"
    cluster_id = units.cluster_id.to_numpy()
    for *of, criterion, labels in rows.blobs(summaries(judged), "unit_labels"):
        at = of_sort.get(tuple(of))
        if at is not None:
            found[criterion][:, at] = labels[:, cluster_id[at]]
    return found


def fetch_spikes(
    units: str | dj.expression.QueryExpression, sorting: str | None = None
) -> pd.DataFrame:
    """Fetch the spikes of an insertion, or of any units.

    Each stored object is opened once, and little more than the spikes of the chosen units is
    read.

    Parameters
    ----------
    units : str or expression
        pid of an insertion, in upper or lower case; or an expression with the key of a unit,
        e.g. `views.units(...)`. An expression with only the first part of that key, e.g.
        `views.sorts(...)` or `views.sessions(...)`, stands for all units of its rows.
    sorting : str, optional
        Name of a sort of the insertion; by default the sort that the source marks as default.
        Not used with an expression, which names its sorts itself.

    Returns
    -------
    pandas.DataFrame
        One row per spike, unit after unit and ascending in time: `eid`, `probe_name` and
        `sorting_name` (categories), `cluster_id`, `time` (s), `amplitude` (V), `depth` (um).

    Raises
    ------
    QueryError
        No such insertion or sort, the spikes are not imported, or the expression has no key of
        units or recordings.
    """
    key = ephys.Spikes.primary_key
    chosen = choose_units(units, sorting)
    require_spikes(chosen)
    wanted = rows.frame(ephys.Spikes.Unit.proj("spike_offset", "n_unit_spikes") & chosen)
    warn_of("spikes", wanted)
    counts = wanted.n_unit_spikes.to_numpy(int)
    stored = {
        tuple(row[n] for n in key): row["spikes"] for row in (ephys.Spikes & chosen).to_dicts()
    }
    columns = {
        name: np.empty(
            counts.sum(), np.result_type(least, *(_dtype(o, name) for o in stored.values()))
        )
        for name, least in SPIKE_COLUMNS.items()
    }
    end = 0
    for sort, slices in wanted.groupby(key, sort=False):
        n = slices.n_unit_spikes.to_numpy(int)
        begin, end = end, end + n.sum()
        part = {name: column[begin:end] for name, column in columns.items()}
        stored[sort].copy_slices(part, slices.spike_offset.to_numpy(int), n)
    names = {name: pd.Categorical(wanted[name]).repeat(counts) for name in key}
    cluster = np.repeat(wanted.cluster_id.to_numpy(np.int64), counts)
    # Without a copy: the columns are as large as all else together.
    return pd.DataFrame({**names, "cluster_id": cluster, **columns}, copy=False)


SPIKE_COLUMNS = {"time": np.float64, "amplitude": np.float32, "depth": np.float32}
"""Columns of spikes, and the lowest precision in which each is released."""


def _dtype(stored: Any, name: str) -> np.dtype:
    """Return the type of a column of a stored object."""
    return np.dtype(stored.open().schema_arrow.field(name).type.to_pandas_dtype())


def choose_units(
    units: str | dj.expression.QueryExpression, sorting: str | None = None
) -> dj.expression.QueryExpression:
    """Return keys that restrict tables of units; parameters are those of `fetch_spikes`.

    Raises
    ------
    QueryError
        No such insertion or sort, its units are not imported, or the expression has no key of
        units or recordings.
    """
    chosen = ephys.SpikeSorting & _find_sort(units, sorting) if isinstance(units, str) else units
    if "eid" not in chosen.primary_key:
        raise QueryError(
            "this expression has no key of units or recordings.",
            f"key {', '.join(chosen.primary_key) or 'none'}",
            "Use for instance views.units(...).",
        )
    return chosen.proj()


def require_spikes(chosen: dj.expression.QueryExpression) -> None:
    """Raise an error for sorts whose units are imported and whose spikes are not.

    Raises
    ------
    QueryError
        Names the first such sort.
    """
    left = ((ephys.SpikeSorting & chosen).proj() - ephys.Spikes.proj()).to_dicts()
    if left:
        raise QueryError("the spikes are not imported.", _where(left[0]), POPULATE)


def _find_sort(pid: str, sorting: str | None) -> dict[str, Any]:
    """Return the key of an imported sort of an insertion."""
    key = find_recording(pid)
    if "probe_name" not in key:
        probes = (probe.ProbeInsertion & key).to_dicts(order_by="probe_name")
        there = ", ".join(f"{row['probe_name']} {row['pid']}" for row in probes)
        what = f"{key['eid']} is a session, not an insertion."
        raise QueryError(what, None, f"Its insertions: {there or 'none'}.")
    imported = sorts_of(key, sorting).keys()
    if not imported:
        raise QueryError("the units are not imported.", _where(key), POPULATE)
    return imported[0]


def _where(key: dict[str, Any]) -> str:
    return f"{key['probe_name']} of session {key['eid']}"


def plain_array(column: pd.Series) -> np.ndarray:
    """Turn a column into an array for a library that cannot hold the missing values of pandas."""
    if column.hasnans and pd.api.types.is_numeric_dtype(column):
        return column.to_numpy(float, na_value=np.nan)
    return column.to_numpy()
