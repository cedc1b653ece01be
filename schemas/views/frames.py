"""Recordings as frames: trials, wheel, units and spikes of a session or an insertion."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, behavior, ephys, probe, rows
from schemas import wheel as wheel_tables
from schemas.errors import QueryError
from schemas.maths import behavior as maths
from schemas.maths.wheel import preprocess
from schemas.views.ephys import sorts
from schemas.views.session import find_recording

POPULATE = "Import it with `bwm populate`; `bwm status` says what failed and what is not released."


def trials(recording: str) -> pd.DataFrame:
    """Fetch the trials of a session.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions, in either case.

    Returns
    -------
    pandas.DataFrame
        One row a trial in the order of the session: every column of `behavior.Trials.Trial`,
        released columns that are none of them under the name they were released with, and
        `side` (left or right, that of zero contrast kept; missing where neither or both sides
        have a contrast), `contrast` (fraction), `signed_contrast` (percent, left negative; zero
        on the left is -0.0) and `block` (number of the block, from 0; missing where the prior is).

    Raises
    ------
    QueryError
        No such recording, or its trials are not imported.
    """
    key = {"eid": find_recording(recording)["eid"]}
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
    more = _extra_columns(key)
    return table.merge(
        more, left_on="trial", right_index=True, how="left", suffixes=("", "_released")
    )


def _extra_columns(key: dict[str, Any]) -> pd.DataFrame:
    """Fetch the released columns that have no column of their own, indexed by trial."""
    more = (behavior.Trials.Trial & key & "extra_columns IS NOT NULL").proj("extra_columns")
    held = {row["trial"]: row["extra_columns"] for row in more.to_dicts()}
    return pd.DataFrame.from_dict(held, orient="index")


def wheel(recording: str, rate: float = 1000.0) -> pd.DataFrame:
    """Fetch the wheel of a session at even times.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions, in either case.
    rate : float
        Samples a second (Hz); more than twice the corner of the filter, which is 20 Hz.

    Returns
    -------
    pandas.DataFrame
        One row a sample: `time` (s), `position` (rad, interpolated linearly), `velocity` (rad/s)
        and `acceleration` (rad/s2) of the low-passed position; see `maths.wheel.preprocess`. No
        row where the trace has fewer than two samples.

    Raises
    ------
    QueryError
        No such recording, its wheel is not imported, or the rate is too low.
    """
    if not rate > 2 * CORNER:
        what = f"{rate:g} Hz are too few for a wheel that is low-passed at {CORNER:g} Hz."
        raise QueryError(what, None, f"Ask for more than {2 * CORNER:g} Hz.")
    key = {"eid": find_recording(recording)["eid"]}
    traces = (wheel_tables.Wheel & key).to_arrays("wheel_trace")
    if not len(traces):
        raise QueryError("no wheel is imported.", f"session {key['eid']}", POPULATE)
    trace = traces[0].read()
    return pd.DataFrame(preprocess(trace["time"], trace["position"], rate, CORNER))


CORNER = 20.0
"""Corner frequency of the wheel's low-pass filter (Hz)."""


def clusters(
    found: str | dj.expression.QueryExpression, sorting: str | None = None
) -> pd.DataFrame:
    """Fetch the units of an insertion, or any units, with all that is known of each.

    Parameters
    ----------
    found, sorting
        As in `spikes`.

    Returns
    -------
    pandas.DataFrame
        One row a unit, ordered by its key: every column of `ephys.SpikeSorting.Cluster`, the
        acronym of its region in each mapping (`region_allen`, `region_beryl`, `region_cosmos`;
        missing where it is not located), and by criterion its label (fraction of the three tests
        passed) and whether it is good (`label_ibl_2022`, `good_ibl_2022`; missing where the sort
        lacks a metric).

    Raises
    ------
    QueryError
        No such insertion or sort, its units are not imported, or the expression is of something
        else.
    """
    chosen = choose_units(found, sorting)
    table = rows.frame(ephys.SpikeSorting.Cluster & chosen)
    regions = rows.frame(atlas.BrainRegion.proj("region_acronym", "beryl_id", "cosmos_id"))
    acronym = regions.set_index("region_id").region_acronym
    of_unit = table[["region_id"]].merge(regions, on="region_id", how="left")
    for mapping, column in atlas.REGION_COLUMN.items():
        table[f"region_{mapping.lower()}"] = of_unit[column].map(acronym).astype(rows.TEXT)
    judged = rows.frame((ephys.GoodUnits.Unit & chosen).proj("unit_label", "is_good"))
    for criterion in ephys.UnitCriterion.to_arrays("criterion"):
        names = {"unit_label": f"label_{criterion}", "is_good": f"good_{criterion}"}
        by_one = judged[judged.criterion == criterion].drop(columns="criterion")
        table = table.merge(by_one.rename(columns=names), on=KEY, how="left")
        table[f"good_{criterion}"] = table[f"good_{criterion}"].astype("boolean")
    return table


KEY = ["eid", "probe_name", "sorting_name", "cluster_id"]
"""What a unit is known by."""


def spikes(found: str | dj.expression.QueryExpression, sorting: str | None = None) -> pd.DataFrame:
    """Fetch the spikes of an insertion, or of any units.

    Each stored object is opened once; of units that are chosen one by one, little more than
    their own spikes is read.

    Parameters
    ----------
    found : str or expression
        pid of an insertion, in either case, or what has the key of a unit, e.g. what
        `views.units` returns; of an expression with only the first part of that key, e.g.
        `views.sorts` or `views.sessions`, all units are taken.
    sorting : str, optional
        Name of a sort of the insertion; default the one that the source flags. An expression
        names its sorts itself.

    Returns
    -------
    pandas.DataFrame
        One row a spike, unit after unit and ascending in time: `eid`, `probe_name` and
        `sorting_name` (categories), `cluster_id`, `time` (s), `amplitude` (V), `depth` (um).

    Raises
    ------
    QueryError
        No such insertion or sort, the spikes are not imported, or the expression is of
        something else.
    """
    key = ephys.Spikes.primary_key
    chosen = choose_units(found, sorting)
    require_spikes(chosen)
    wanted = rows.frame(ephys.Spikes.Unit.proj("spike_offset", "n_unit_spikes") & chosen)
    stored = {
        tuple(row[n] for n in key): row["spikes"] for row in (ephys.Spikes & chosen).to_dicts()
    }
    parts = [_read(stored[sort], units) for sort, units in wanted.groupby(key, sort=False)]
    columns = {
        name: np.concatenate([empty, *(part[name] for part in parts)])
        for name, empty in NO_SPIKES.items()
    }
    names = {
        name: pd.Categorical(wanted[name]).repeat(wanted.n_unit_spikes.to_numpy(int))
        for name in key
    }
    return pd.DataFrame({**names, **columns})


NO_SPIKES = {
    "cluster_id": np.empty(0, np.int64),
    "time": np.empty(0, np.float64),
    "amplitude": np.empty(0, np.float32),
    "depth": np.empty(0, np.float32),
}
"""Columns of spikes, in the least precision that they are released with."""


def _read(stored: Any, units: pd.DataFrame) -> dict[str, np.ndarray]:
    """Read units of one stored object, unit after unit."""
    offset, n = units.spike_offset.to_numpy(int), units.n_unit_spikes.to_numpy(int)
    columns = {
        name: np.concatenate(stored.read_slices(name, offset, n))
        for name in ("time", "amplitude", "depth")
    }
    return {"cluster_id": np.repeat(units.cluster_id.to_numpy(int), n), **columns}


def choose_units(
    found: str | dj.expression.QueryExpression, sorting: str | None = None
) -> dj.expression.QueryExpression:
    """Return keys that restrict tables of units to those that `spikes` describes as `found`.

    Raises
    ------
    QueryError
        No such insertion or sort, its units are not imported, or the expression is of something
        else.
    """
    chosen = ephys.SpikeSorting & _find_sort(found, sorting) if isinstance(found, str) else found
    if "eid" not in chosen.primary_key:
        raise QueryError(
            "this is no expression of units or recordings.",
            f"key {', '.join(chosen.primary_key) or 'none'}",
            "Use for instance views.units(...).",
        )
    return chosen.proj()


def require_spikes(chosen: dj.expression.QueryExpression) -> None:
    """Refuse sorts of which the units are imported and the spikes are not.

    Raises
    ------
    QueryError
        Names the first of them.
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
    found = sorts(sorting, None, pid).keys()
    if not found:
        raise QueryError("the units are not imported.", _where(key), POPULATE)
    return found[0]


def _where(key: dict[str, Any]) -> str:
    return f"{key['probe_name']} of session {key['eid']}"
