"""Recordings as objects of pynapple, a package of its own: `pip install pynapple`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import ephys, rows
from schemas.errors import BwmError, QueryError
from schemas.views import frames, located

if TYPE_CHECKING:
    import pynapple as nap


def fetch_trials(recording: str) -> nap.IntervalSet:
    """Fetch the trials of a session as intervals from their starts to their ends.

    Parameters
    ----------
    recording : str
        As in `views.fetch_trials`.

    Returns
    -------
    pynapple.IntervalSet
        One interval per trial, with every column of `views.fetch_trials` as metadata. pynapple
        joins intervals that touch, so an end at or after the next start is moved to 1 us before
        that start; `trial_end_time` keeps the recorded end.

    Warns
    -----
    UserWarning
        Trials without a start or an end, and trials that do not end after they start, are left
        out; the warning gives their number.

    Raises
    ------
    BwmError
        pynapple is not installed; or an error of `views.fetch_trials`.
    """
    pynapple = _import()
    table = frames.fetch_trials(recording)
    start, end = (table[f"trial_{edge}_time"].to_numpy() for edge in ("start", "end"))
    usable = start < end
    if not usable.all():
        what = f"{(~usable).sum()} of {len(table)} trials have no start before an end: left out."
        warnings.warn(what, UserWarning, stacklevel=2)
    start, end, table = start[usable], end[usable], table[usable]
    end = np.minimum(end, np.append(start[1:], np.inf) - RESOLUTION)
    return pynapple.IntervalSet(start, end, metadata=_metadata(table))


RESOLUTION = 1e-6
"""Gap between touching intervals (s)."""


def fetch_wheel(recording: str, rate: float = 1000.0) -> nap.TsdFrame:
    """Fetch the wheel of a session at even times.

    Parameters
    ----------
    recording, rate
        As in `views.fetch_wheel`.

    Returns
    -------
    pynapple.TsdFrame
        Columns `position` (rad), `velocity` (rad/s) and `acceleration` (rad/s2).

    Raises
    ------
    BwmError
        pynapple is not installed; or an error of `views.fetch_wheel`.
    """
    pynapple = _import()
    trace = frames.fetch_wheel(recording, rate)
    columns = ["position", "velocity", "acceleration"]
    return pynapple.TsdFrame(trace.time.to_numpy(), trace[columns].to_numpy(), columns=columns)


def fetch_spikes(
    units: str | dj.expression.QueryExpression, sorting: str | None = None
) -> nap.TsGroup:
    """Fetch the spike trains of an insertion, or of any units of one session.

    Parameters
    ----------
    units, sorting
        As in `views.fetch_spikes`.

    Returns
    -------
    pynapple.TsGroup
        One train per unit, numbered from 0 in the order of `views.fetch_clusters`, whose columns
        are the metadata; for a whole insertion the number is the `cluster_id`. The time support
        runs from the first to the last spike of any unit of the sorts, so that `rate` (Hz) is
        the rate over the recording.

    Raises
    ------
    BwmError
        pynapple is not installed; an error of `views.fetch_spikes`; there is no unit; or the
        units are of several sessions, each of which has a clock of its own.
    """
    pynapple = _import()
    chosen = frames.choose_units(units, sorting)
    frames.require_spikes(chosen)
    table = frames.fetch_clusters(chosen)
    eids = table.eid.unique()
    if len(eids) != 1:
        what = f"the units are of {len(eids)} sessions; pynapple has one clock."
        raise QueryError(what, None, "Choose units of one session.")
    spans = rows.frame((ephys.Spikes & chosen).proj("first_spike", "last_spike"))
    support = pynapple.IntervalSet(spans.first_spike.min(), spans.last_spike.max())
    trains = ephys.spike_times(chosen).reindex(pd.MultiIndex.from_frame(table[located.KEY]))
    times = {
        number: pynapple.Ts(train, time_support=support) for number, train in enumerate(trains)
    }
    return pynapple.TsGroup(times, time_support=support, metadata=_metadata(table))


def _metadata(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Turn columns into plain arrays: pynapple cannot hold the missing values of pandas."""
    return {name: frames.plain_array(table[name]) for name in table.columns}


def _import() -> Any:
    try:
        import pynapple
    except ImportError as error:
        remedy = "Install it: pip install pynapple"
        raise BwmError(f"pynapple cannot be imported ({error}).", None, remedy) from None
    return pynapple
