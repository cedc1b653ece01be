"""Units by region, criterion, release and behaviour."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import pandas as pd

from schemas import activity, atlas, ephys, probe, quality, release, rows, session
from schemas.errors import QueryError
from schemas.views.atlas import below
from schemas.views.errata import warn_of
from schemas.views.located import KEY, LOCATION, add_location
from schemas.views.session import find_recording, join_measures, require, sessions


def sorts(
    sorting: str | None = None, release_name: str | None = None, recording: str | None = None
) -> dj.expression.QueryExpression:
    """Return imported spike sortings: the default one of each insertion, or the named one.

    Parameters
    ----------
    sorting : str, optional
        Name of a sort, e.g. `pykilosort`; by default the sort that the source marks as default,
        so that no unit counts twice. Insertions without the sort are left out; where
        `recording` names such an insertion, that is an error.
    release_name : str, optional
        Only insertions of that release.
    recording : str, optional
        Only that session (eid) or insertion (pid).

    Raises
    ------
    QueryError
        No such sort, release or recording, or an insertion of the recording lacks the sort;
        the error lists those that exist.
    """
    return of_sorts(ephys.SpikeSorting(), sorting, release_name, recording)


def of_sorts(
    table: dj.expression.QueryExpression,
    sorting: str | None,
    release_name: str | None,
    recording: str | None,
) -> dj.expression.QueryExpression:
    """Return the rows of a table that is keyed by sorts; parameters and errors as of `sorts`."""
    key = {} if recording is None else find_recording(recording)
    chosen = sorts_of(key, sorting, table)
    if release_name is None:
        return chosen
    require(release.Release, "release_name", release_name)
    return chosen & (release.Release.Insertion & {"release_name": release_name}).proj()


def sorts_of(
    key: dict[str, str], sorting: str | None, table: dj.expression.QueryExpression | None = None
) -> dj.expression.QueryExpression:
    """Return the sorts of a recording that `find_recording` found; of all for an empty key.

    `table` is any table that is keyed by sorts, default `ephys.SpikeSorting`.
    """
    every = ephys.SpikeSorting() if table is None else table
    if sorting is None:
        # The few other sorts are left out: MySQL would begin with the default ones, whatever
        # else the units are chosen by.
        others = ephys.OfferedSorting & "is_default_sorting = FALSE"
        return (every & key) - others.proj()
    require(ephys.OfferedSorting, "sorting_name", sorting)
    if key:
        _require_sort(key, sorting)
    return every & {"sorting_name": sorting} & key


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
        A name is not known (the error lists those that are), or an insertion of the recording
        lacks the sort.
    """
    units = ephys.SpikeSorting.Cluster()
    if criterion is None:
        return of_sorts(units & _inside(region), sorting, release_name, recording)
    good = _good_units(criterion, region)
    # The servers are to begin with the good units of a region, which are few. PostgreSQL does so if
    # these are restricted by the sort, MySQL if all units are.
    if region is None or dj.conn().adapter.backend == "mysql":
        return of_sorts(units, sorting, release_name, recording) & good.proj()
    return units & of_sorts(good, sorting, release_name, recording).proj()


def good_units(
    criterion: str,
    region: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
    recording: str | None = None,
) -> dj.expression.QueryExpression:
    """Return good units with the columns that `fetch_units` shows, faster than `units`.

    The good units of a criterion stand together in a table of their own.

    Parameters
    ----------
    criterion, region, release_name, sorting, recording
        As in `units`.

    Returns
    -------
    expression
        One row per unit, keyed by the unit and the criterion, to restrict and join further:
        `region_id`, `cluster_uuid`, `unit_x` (um), `cluster_depth` (um), `spike_count`,
        `firing_rate` (Hz), `amp_median` (V). For other columns of the same units, restrict or join
        `ephys.SpikeSorting.Cluster` by its `.proj()`.

    Raises
    ------
    QueryError
        As `units`.

    Examples
    --------
    >>> fast = views.good_units("ibl_2022") & "firing_rate > 10"  # doctest: +SKIP
    """
    good = _good_units(criterion, region)
    if good.full_table_name != quality.GoodUnitSummary.GoodUnit.full_table_name:
        good = good.proj() * ephys.SpikeSorting.Cluster.proj(*quality.SHOWN)
    return of_sorts(good, sorting, release_name, recording)


def _inside(region: str | None) -> Any:
    return True if region is None else below(region).proj()


def _good_units(criterion: str, region: str | None) -> dj.expression.QueryExpression:
    """Return the good units in a region, from the table that has no others if it is complete."""
    require(ephys.UnitCriterion, "criterion", criterion)
    judged = ephys.GoodUnits & {"criterion": criterion}
    if judged.proj() - quality.GoodUnitSummary.proj():
        good = ephys.GoodUnits.Unit & {"criterion": criterion, "is_good": True}
        return good & (ephys.SpikeSorting.Cluster & _inside(region)).proj()
    return quality.GoodUnitSummary.GoodUnit & {"criterion": criterion} & _inside(region)


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
    """Return the units of a region in sessions chosen by behaviour, with their rates.

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
        One row per unit, keyed by the unit, the criterion if one is given, the window and the two
        definitions: `region_id` and `region_acronym`, `rate` (Hz; null where the session has no
        such event), and the session's `n_trials`, `performance` and `performance_easy` (fraction),
        `rt_median` (s) and `bias_shift` (percent contrast). Units without a region and units of
        sessions without trials have no row.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.

    Examples
    --------
    >>> units = views.region_by_behavior(
    ...     "TH", "ibl_2022", max_reaction_time=0.3, min_easy_performance=0.9
    ... )  # doctest: +SKIP
    """
    require(activity.Window, "window_name", window)
    chosen = sessions(
        rt_definition=rt_definition, psychometric_definition=psychometric_definition, **behaviour
    )
    if criterion is None:
        located = units(region, None, release_name, sorting)
    else:
        located = good_units(criterion, region, release_name, sorting)
    located = (located & chosen.proj()).proj("region_id")
    rates = (activity.UnitRate.Unit & {"window_name": window}).proj("rate")
    regions = atlas.BrainRegion.proj("region_acronym")
    return located * regions * rates * join_measures(rt_definition, psychometric_definition)


def fetch_units(units: dj.expression.QueryExpression) -> pd.DataFrame:
    """Fetch units as a table to read: who, when, where, and the main measures.

    `fetch_clusters` has every column.

    Parameters
    ----------
    units : expression
        Any expression with the key of a unit, e.g. `views.units(...)`; of `views.good_units(...)`
        the columns are read where they stand together.

    Returns
    -------
    pandas.DataFrame
        One row per unit: subject, date, probe, cluster, region (acronym and name in the Allen
        ontology, acronyms in the mappings Beryl and Cosmos), hemisphere, rate (Hz), median
        amplitude (V), depth (um), and the ids `pid`, `eid` and `cluster_uuid`.

    Raises
    ------
    QueryError
        Text is given, e.g. the acronym of a region, instead of an expression.
    """
    is_good = _is_whole(units, quality.GoodUnitSummary.GoodUnit())
    table = rows.frame((units if is_good else unit_rows(units)).proj(*quality.SHOWN))
    if is_good and (table.criterion != table.criterion.iloc[:1].max()).any():
        table = table.drop_duplicates(KEY)
    where = session.Session.proj("subject", "session_date", "session_number")
    insertions = rows.frame(where * probe.ProbeInsertion.proj("pid"))
    insertions = insertions.sort_values(UNIT_COLUMNS[:4]).assign(place=range(len(insertions)))
    table = add_location(table.merge(insertions, on=KEY[:2]))
    warn_of("clusters", table)
    order = ["place", "sorting_name", "cluster_id"]
    return table.sort_values(order, ignore_index=True)[UNIT_COLUMNS]


def units_or_recording(
    chosen: dj.expression.QueryExpression | str,
) -> dj.expression.QueryExpression:
    """Return rows of `ephys.SpikeSorting.Cluster`: those of an expression, or all of a recording.

    `chosen` is an expression with the key of a unit; or the pid of an insertion or the eid of a
    session, for all units of its default sort.

    Raises
    ------
    QueryError
        As `units`.
    """
    return units(recording=chosen) if isinstance(chosen, str) else unit_rows(chosen)


def unit_rows(units: dj.expression.QueryExpression) -> dj.expression.QueryExpression:
    """Return the rows of `ephys.SpikeSorting.Cluster` of any expression with the key of a unit."""
    cluster = ephys.SpikeSorting.Cluster()
    # Choosing the rows of `views.units(...)` once more would take as long.
    return units if _is_whole(units, cluster) else cluster & units.proj()


def _is_whole(units: dj.expression.QueryExpression, table: dj.Table) -> bool:
    """Tell whether an expression consists of rows of a table, with every column as it is stored."""
    if isinstance(units, str):
        what = f"units are due here as an expression, not as the text {units!r}."
        raise QueryError(what, None, f"For the units of a region, write views.units({units!r}).")
    columns = units.heading.attributes
    return (
        isinstance(units, dj.Table)
        and units.full_table_name == table.full_table_name
        and columns.keys() == table.heading.attributes.keys()
        and not any(column.attribute_expression for column in columns.values())
    )


def summaries(judged: dj.expression.QueryExpression) -> dj.expression.QueryExpression:
    """Return the rows of `quality.GoodUnitSummary` of rows of `ephys.GoodUnits`.

    Raises
    ------
    QueryError
        Some of them are not computed: their good units would be missing without a word.
    """
    found = quality.GoodUnitSummary & judged.proj()
    if missing := len(judged.proj() - found.proj()):
        what = f"{missing} rows of ephys.GoodUnits are not summarised yet."
        raise QueryError(what, None, "Run `bwm populate --only GoodUnitSummary`.")
    return found


UNIT_COLUMNS = [
    "subject",
    "session_date",
    "session_number",
    "probe_name",
    "cluster_id",
    *LOCATION,
    "firing_rate",
    "amp_median",
    "cluster_depth",
    "spike_count",
    "sorting_name",
    "pid",
    "eid",
    "cluster_uuid",
]


def _require_sort(key: dict[str, str], sorting: str) -> None:
    """Raise an error where an insertion of a recording lacks the named sort."""
    imported = ephys.SpikeSorting & {"sorting_name": sorting}
    for insertion in ((probe.ProbeInsertion & key).proj() - imported.proj()).to_dicts():
        there = ephys.SpikeSorting & insertion
        offered = (ephys.OfferedSorting & insertion).proj() - there.proj()
        lists = [", ".join(sorted(sort.to_arrays("sorting_name"))) for sort in (there, offered)]
        raise QueryError(
            f"the spike sorting {sorting} is not imported.",
            f"{insertion['probe_name']} of session {insertion['eid']}",
            f"Imported: {lists[0] or 'none'}; not imported yet (run `bwm populate`): "
            f"{lists[1] or 'none'}.",
        )
