"""Waveforms and autocorrelograms of units, and the timescales of their decay."""

from __future__ import annotations

from collections.abc import Mapping

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, ephys, rows
from schemas.views import ephys as unit_views
from schemas.views.located import KEY as UNIT
from schemas.views.located import fetch_located
from schemas.views.session import require


def fetch_waveforms(units: dj.expression.QueryExpression | str) -> pd.DataFrame:
    """Fetch the mean waveforms of units, each on its largest channel.

    `ephys.Waveform.Unit` has their channel, height, width, ratio and half width.

    Parameters
    ----------
    units : expression or str
        As in `fetch_autocorrelograms`.

    Returns
    -------
    pandas.DataFrame
        One row per unit and sample, in that order: `eid`, `probe_name`, `sorting_name`,
        `cluster_id`, `time` (ms, from the first sample), `amplitude` (V). Units of sorts that were
        released without waveforms have no rows.

    Raises
    ------
    QueryError
        No such recording.
    """
    slices = {"waveform_offset": "offset", "n_waveform_samples": "n_rows"}
    columns = {"time": "time", "amplitude": "amplitude"}
    parts = ephys.Waveform.Unit()
    return _read(ephys.Waveform(), "waveforms", parts, slices, columns, units)


def fetch_autocorrelograms(
    units: dj.expression.QueryExpression | str, acg_definition: str = "log_1s"
) -> pd.DataFrame:
    """Fetch the autocorrelograms of units.

    `ephys.AutoCorrelogram.Unit` has the lag of the highest rate, and indices of bursts and of the
    refractory period.

    Parameters
    ----------
    units : expression or str
        Any expression with the key of a unit, e.g. `views.units(...)`; or the pid of an insertion
        or the eid of a session, for all units of its default sort.
    acg_definition : str
        A row of `ephys.AutoCorrelogramDefinition`.

    Returns
    -------
    pandas.DataFrame
        One row per unit and bin, in that order: `eid`, `probe_name`, `sorting_name`, `cluster_id`,
        `lag` (s, centre of the bin on a logarithmic axis), `rate` (Hz, of the unit at that lag
        after a spike of its own; NaN for a unit without spikes).

    Raises
    ------
    QueryError
        No such definition or recording.
    """
    require(ephys.AutoCorrelogramDefinition, "acg_definition", acg_definition)
    table = ephys.AutoCorrelogram & {"acg_definition": acg_definition}
    parts = ephys.AutoCorrelogram.Unit & {"acg_definition": acg_definition}
    slices = {"acg_offset": "offset", "n_acg_rows": "n_rows"}
    columns = {"lag": "lag", "rate": "rate"}
    return _read(table, "autocorrelograms", parts, slices, columns, units)


def fetch_timescales(
    units: dj.expression.QueryExpression | str, timescale_definition: str = "session"
) -> pd.DataFrame:
    """Fetch the intrinsic timescales of units.

    Parameters
    ----------
    units : expression or str
        As in `fetch_autocorrelograms`.
    timescale_definition : str
        A row of `activity.TimescaleDefinition`.

    Returns
    -------
    pandas.DataFrame
        One row per unit of the definition, ordered by key: the key, `region_id` and the columns of
        `views.fetch_location`; `tau`, `tau_low` and `tau_high` (s, the interval is of 95 %),
        `tau_amplitude` and `tau_offset` (correlations), `n_correlated_spikes`, and
        `timescale_failure`: why there is no timescale, missing where there is one. The names are
        those of `maths.timescale.FAILURES`.

    Raises
    ------
    QueryError
        No such definition or recording.
    """
    require(activity.TimescaleDefinition, "timescale_definition", timescale_definition)
    chosen = unit_views.units_or_recording(units).proj()
    of_definition = {"timescale_definition": timescale_definition}
    table = fetch_located(activity.Timescale.Unit & of_definition, chosen)
    return table.drop(columns="timescale_definition")


def _read(
    table: dj.expression.QueryExpression,
    column: str,
    parts: dj.expression.QueryExpression,
    slices: Mapping[str, str],
    columns: Mapping[str, str],
    units: dj.expression.QueryExpression | str,
) -> pd.DataFrame:
    """Read the slices of some units from the objects of a table, each object opened once.

    Parameters
    ----------
    table, column
        Rows that hold the objects, and their column.
    parts, slices
        Rows of the units, and which of their columns are the `offset` and `n_rows` of the slice.
    columns
        Columns of the object, and their names in the frame.
    units
        As in `fetch_autocorrelograms`.
    """
    chosen = unit_views.units_or_recording(units).proj()
    wanted = rows.frame(parts & chosen, columns=[*UNIT, *slices], order_by=", ".join(UNIT))
    wanted = wanted.rename(columns=slices)
    stored = {
        tuple(row[name] for name in UNIT[:-1]): row[column] for row in (table & chosen).to_dicts()
    }
    read: dict[str, list[np.ndarray]] = {name: [] for name in columns.values()}
    for sort, of_sort in wanted.groupby(UNIT[:-1], sort=False):
        for name, ours in columns.items():
            read[ours] += stored[sort].read_slices(name, of_sort.offset, of_sort.n_rows)
    keys = wanted[UNIT].loc[wanted.index.repeat(wanted.n_rows)].reset_index(drop=True)
    return keys.assign(**{name: np.concatenate([*of, np.empty(0)]) for name, of in read.items()})
