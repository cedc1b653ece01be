"""Units by region, criterion and release, and the rates of regions."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import pandas as pd

from schemas import activity, atlas, ephys, probe, release, rows, session
from schemas.errors import QueryError
from schemas.views.atlas import below
from schemas.views.session import find_recording, require, session_measures, sessions


def sorts(
    sorting: str | None = None, release_name: str | None = None, recording: str | None = None
) -> dj.expression.QueryExpression:
    """Return imported sorts: one an insertion, unless a sort is named.

    Parameters
    ----------
    sorting : str, optional
        Name of a sort, e.g. `pykilosort`; default the one that the source flags, so that no
        unit counts twice. Insertions that lack it are left out, unless `recording` names them.
    release_name : str, optional
        Only insertions of that release.
    recording : str, optional
        Only that session (eid) or insertion (pid).

    Raises
    ------
    QueryError
        No such sort, release or recording, or an insertion of the recording lacks the sort;
        names those there are.
    """
    if sorting is None:
        chosen = ephys.SpikeSorting & (ephys.OfferedSorting & "is_default_sorting = TRUE").proj()
    else:
        require(ephys.OfferedSorting, "sorting_name", sorting)
        chosen = ephys.SpikeSorting & {"sorting_name": sorting}
    if recording is not None:
        key = find_recording(recording)
        chosen = chosen & key
        if sorting is not None:
            _require_sort(key, sorting)
    if release_name is None:
        return chosen
    require(release.Release, "release_name", release_name)
    return chosen & (release.Release.Insertion & {"release_name": release_name}).proj()


def units(
    region: str | None = None,
    criterion: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
    recording: str | None = None,
) -> dj.expression.QueryExpression:
    """Return units, as rows of `ephys.SpikeSorting.Cluster` to restrict and join further.

    Parameters
    ----------
    region : str, optional
        Acronym; structures in that region are included.
    criterion : str, optional
        Only units that are good by it.
    release_name, sorting, recording : str, optional
        As in `sorts`.

    Raises
    ------
    QueryError
        A name is not known, or an insertion of the recording lacks the sort; says which are.
    """
    found = ephys.SpikeSorting.Cluster & sorts(sorting, release_name, recording).proj()
    if region is not None:
        found = found & below(region).proj()
    if criterion is not None:
        require(ephys.UnitCriterion, "criterion", criterion)
        good = ephys.GoodUnits.Unit & {"criterion": criterion, "is_good": True}
        found = found & good.proj()
    return found


def region_by_behavior(
    region: str | None,
    criterion: str | None,
    window: str = "stimulus",
    release_name: str | None = None,
    sorting: str | None = None,
    rt_definition: str = "first_movement",
    psychometric_definition: str = "plots",
    **behaviour: Any,
) -> dj.expression.QueryExpression:
    """Return units of a region in sessions of some behaviour, with their rates.

    Parameters
    ----------
    region, criterion, release_name, sorting
        As in `units`.
    window : str
        Window of the rate: a row of `activity.Window`.
    rt_definition, psychometric_definition, **behaviour
        As in `sessions`, e.g. `max_reaction_time=0.3, min_easy_performance=0.9`.

    Returns
    -------
    expression
        One row a unit, keyed by the unit, the window and the two definitions: `region_id` and
        `region_acronym`, `rate` (Hz; null where the session has no such event), and the session's
        `n_trials`, `performance` and `performance_easy` (fraction), `rt_median` (s) and
        `bias_shift` (percent contrast). Units of sessions without trials have no row, nor have
        units without a region.

    Raises
    ------
    QueryError
        A name is not known; says which are.

    Examples
    --------
    >>> found = views.region_by_behavior(
    ...     "TH", "ibl_2022", max_reaction_time=0.3, min_easy_performance=0.9
    ... )  # doctest: +SKIP
    """
    require(activity.Window, "window_name", window)
    definitions = (rt_definition, psychometric_definition)
    chosen = sessions(
        rt_definition=rt_definition, psychometric_definition=psychometric_definition, **behaviour
    )
    located = (units(region, criterion, release_name, sorting) & chosen.proj()).proj("region_id")
    rates = (activity.UnitRate.Unit & {"window_name": window}).proj("rate")
    regions = atlas.BrainRegion.proj("region_acronym")
    return located * regions * rates * session_measures(*definitions)


def unit_table(found: dj.expression.QueryExpression) -> pd.DataFrame:
    """Fetch units with what a reader wants to see beside them.

    Parameters
    ----------
    found : expression
        What has the key of a unit, e.g. what `units` or `region_by_behavior` returns.

    Returns
    -------
    pandas.DataFrame
        One row a unit: subject, date, probe, cluster, region, rate (Hz), median amplitude (V),
        depth (um), and the ids `pid`, `eid` and `cluster_uuid`.
    """
    regions = atlas.BrainRegion.proj("region_acronym", "region_name")
    where = session.Session.proj("subject", "session_date", "session_number")
    plain = (ephys.SpikeSorting.Cluster & found.proj()).proj(
        "region_id", "firing_rate", "spike_count", "amp_median", "cluster_depth", "cluster_uuid"
    )
    table = rows.frame(plain * where * probe.ProbeInsertion.proj("pid"))
    table = table.merge(rows.frame(regions), on="region_id", how="left")
    return table.sort_values(
        ["subject", "session_date", "session_number", "probe_name", "sorting_name", "cluster_id"],
        ignore_index=True,
    )[UNIT_COLUMNS]


UNIT_COLUMNS = [
    "subject",
    "session_date",
    "session_number",
    "probe_name",
    "cluster_id",
    "region_acronym",
    "firing_rate",
    "amp_median",
    "cluster_depth",
    "spike_count",
    "sorting_name",
    "pid",
    "eid",
    "cluster_uuid",
]


def region_rates(
    criterion: str,
    window: str = "recording",
    mapping: str = "Beryl",
    release_name: str | None = None,
    sorting: str | None = None,
) -> pd.DataFrame:
    """Summarise rates by region over all insertions, each good unit counting once.

    Void and root are left out.

    Returns
    -------
    pandas.DataFrame
        Indexed by acronym in the order of the atlas: `mean` (Hz), `median` (Hz), `n` units,
        `rgb` of the region.
    """
    require(activity.Window, "window_name", window)
    require(atlas.Mapping, "mapping", mapping)
    located = units(None, criterion, release_name, sorting).proj("region_id")
    of_window = activity.UnitRate.Unit & {"window_name": window}
    rates = rows.frame(of_window.proj("rate") * located).dropna(subset=["rate", "region_id"])
    regions = rows.frame(atlas.BrainRegion()).set_index("region_id", drop=False)
    rates["region_id"] = rates.region_id.map(regions[atlas.REGION_COLUMN[mapping]])
    rates = rates[~rates.region_id.isin(atlas.OUTSIDE)]
    summary = rates.groupby("region_id").rate.agg(["mean", "median", "count"])
    summary = summary.rename(columns={"count": "n"}).join(
        regions[["region_acronym", "region_order", "region_rgb"]]
    )
    summary = summary.sort_values("region_order").set_index("region_acronym")
    return summary.rename(columns={"region_rgb": "rgb"})[["mean", "median", "n", "rgb"]]


def _require_sort(key: dict[str, str], sorting: str) -> None:
    """Refuse a sort that an insertion lacks: another one would not be what was asked for."""
    imported = ephys.SpikeSorting & {"sorting_name": sorting}
    for insertion in ((probe.ProbeInsertion & key).proj() - imported.proj()).to_dicts():
        there = ephys.SpikeSorting & insertion
        offered = (ephys.OfferedSorting & insertion).proj() - there.proj()
        lists = [", ".join(sorted(sort.to_arrays("sorting_name"))) for sort in (there, offered)]
        raise QueryError(
            f"the sort {sorting} is not imported.",
            f"{insertion['probe_name']} of session {insertion['eid']}",
            f"Imported: {lists[0] or 'none'}; offered, to be had by `bwm populate`: "
            f"{lists[1] or 'none'}.",
        )
