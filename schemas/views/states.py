"""Firing rates of units in movement, quiescence, task and passive protocol."""

from __future__ import annotations

import datajoint as dj
import pandas as pd

from schemas import activity, ephys
from schemas.views import ephys as unit_views
from schemas.views.located import KEY as UNIT
from schemas.views.located import LOCATION, fetch_located
from schemas.views.session import require


def state_rates(
    state: str | None = None,
    region: str | None = None,
    criterion: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
) -> dj.expression.QueryExpression:
    """Return units with their rates by state, to restrict and join further.

    Parameters
    ----------
    state : str, optional
        A row of `activity.State`, e.g. `quiescence`; default all.
    region, criterion, release_name, sorting : str, optional
        As in `units`.

    Returns
    -------
    expression
        One row per unit and state for which the rate is computed: `state_rate` (Hz; null where the
        session has no such time), `n_state_intervals`, `state_duration` (s), `region_id`.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    of_state = {} if state is None else {"state": require(activity.State, "state", state)["state"]}
    chosen = unit_views.units(region, criterion, release_name, sorting).proj()
    time = activity.StateRate.proj("n_state_intervals", "state_duration")
    of_units = activity.StateRate.Unit & of_state & chosen
    return of_units * time * ephys.SpikeSorting.Cluster.proj("region_id")


def fetch_state_rates(units: dj.expression.QueryExpression | str) -> pd.DataFrame:
    """Fetch the rates of units in every state.

    Parameters
    ----------
    units : expression or str
        Any expression with the key of a unit, e.g. `views.units(...)`; or the pid of an insertion
        or the eid of a session, for all units of its default sort.

    Returns
    -------
    pandas.DataFrame
        One row per unit and state: the key, `region_id` and the columns of `views.fetch_location`;
        `state` (a row of `activity.State`), `rate` (Hz; NaN where the session has no such time),
        `n_intervals`, `duration` (s, their total length). States for which a session lacks the
        data, e.g. a wheel, have no row.

    Raises
    ------
    QueryError
        No such recording.
    """
    chosen = unit_views.units_or_recording(units).proj()
    time = activity.StateRate.proj("n_state_intervals", "state_duration")
    table = fetch_located(activity.StateRate.Unit * time, chosen).rename(columns=STATE_COLUMNS)
    return table[[*UNIT, "region_id", *LOCATION, "state", *STATE_COLUMNS.values()]]


STATE_COLUMNS = {
    "state_rate": "rate",
    "n_state_intervals": "n_intervals",
    "state_duration": "duration",
}
