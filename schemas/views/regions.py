"""Sessions in which several regions were recorded together."""

from __future__ import annotations

import datajoint as dj
import pandas as pd

from schemas import atlas, ephys, quality, rows, session
from schemas.errors import QueryError
from schemas.views.atlas import find_regions
from schemas.views.ephys import of_sorts, units
from schemas.views.session import require


def co_recorded(
    *regions: str,
    criterion: str | None = None,
    min_units: int = 1,
    release_name: str | None = None,
    sorting: str | None = None,
) -> dj.expression.QueryExpression:
    """Return the sessions in which each of some regions has enough units recorded together.

    Parameters
    ----------
    *regions : str
        Acronyms; structures in a region are included. A unit counts for each region that it is in.
    criterion : str, optional
        Count only units that are good by it: a row of `ephys.UnitCriterion`. Default all units.
    min_units : int
        Least number of units in each region, on all probes of the session together.
    release_name, sorting : str, optional
        As in `sorts`: which insertions and which spike sorting of them are counted.

    Returns
    -------
    expression
        Rows of `session.Session`, to restrict and join further, e.g. with `views.units`.

    Raises
    ------
    QueryError
        No region is given, `min_units` is below 1, or a name is not known (the error lists those
        that are).

    Examples
    --------
    >>> both = views.co_recorded("VISp", "LP", criterion="ibl_2024", min_units=10)
    >>> counts = views.spike_counts(views.units("LP") & both.proj(), ...)  # doctest: +SKIP
    """
    ids = _ids_of(regions, min_units)
    counted = _count(list(ids.values()), criterion, release_name, sorting)
    # DataJoint would restrict the rows that are counted, not the counts.
    enough = (counted & f"n_together >= {int(min_units)}").make_subquery()
    of_session = dj.U("eid").aggr(enough, n_regions="count(ancestor_id)")
    return session.Session & (of_session & f"n_regions = {len(ids)}").proj()


def fetch_co_recorded(
    *regions: str,
    criterion: str | None = None,
    min_units: int = 1,
    release_name: str | None = None,
    sorting: str | None = None,
) -> pd.DataFrame:
    """Fetch the sessions of `co_recorded` with the number of units in each region.

    Parameters
    ----------
    *regions, criterion, min_units, release_name, sorting
        As in `co_recorded`.

    Returns
    -------
    pandas.DataFrame
        One row per session, ordered by subject, date and number: `eid`, `subject`, `session_date`,
        `session_number`, and for each region, under its acronym, its number of units.

    Raises
    ------
    QueryError
        As `co_recorded`.
    """
    asked = {"criterion": criterion, "release_name": release_name, "sorting": sorting}
    ids = _ids_of(regions, min_units)
    together = co_recorded(*regions, min_units=min_units, **asked)
    counted = _count(list(ids.values()), **asked) & together.proj()
    shown = session.Session.proj(*SHOWN)
    found = rows.frame(counted * shown, order_by=", ".join([*SHOWN, "eid"]))
    by_region = found.pivot_table("n_together", "eid", "ancestor_id", aggfunc="sum")
    by_region = by_region.reindex(columns=list(ids.values())).set_axis(list(ids), axis=1)
    sessions = found[["eid", *SHOWN]].drop_duplicates(ignore_index=True)
    return sessions.merge(by_region.astype(int), left_on="eid", right_index=True)


SHOWN = ("subject", "session_date", "session_number")


def _ids_of(regions: tuple[str, ...], min_units: int) -> dict[str, int]:
    """Return the ids of regions by acronym, each once."""
    if not regions:
        what = "no region is given."
        raise QueryError(what, None, 'Write for instance views.co_recorded("VISp", "LP").')
    if not min_units >= 1:
        what = f"at least {min_units} units of each region were asked for."
        raise QueryError(what, None, "Ask for 1 or more.")
    return find_regions(list(dict.fromkeys(regions)))


def _count(
    region_ids: list[int], criterion: str | None, release_name: str | None, sorting: str | None
) -> dj.expression.QueryExpression:
    """Count units by session and region that holds them: `eid`, `ancestor_id`, `n_together`."""
    inside = atlas.BrainRegion.Ancestor & [{"ancestor_id": region} for region in region_ids]
    by_region = dj.U("eid", "ancestor_id")
    summarised = _find_summarised(criterion)
    if summarised is None:
        chosen = units(None, criterion, release_name, sorting).proj("region_id")
        return by_region.aggr(chosen * inside, n_together="count(*)")
    counts = quality.GoodUnitSummary.Region & {"criterion": summarised}
    chosen = of_sorts(counts, sorting, release_name, None)
    column = "n_in_region" if criterion is None else "n_good_in_region"
    return by_region.aggr(chosen * inside, n_together=f"sum({column})")


def _find_summarised(criterion: str | None) -> str | None:
    """Return a criterion by which the units of every sort are counted by region, if there is one.

    For all units any criterion will do; for good ones only theirs, and the sorts that it judged.
    """
    counted = dj.U("criterion").aggr(quality.GoodUnitSummary.proj(), n_summaries="count(*)")
    if criterion is None:
        complete = counted & f"n_summaries = {len(ephys.SpikeSorting())}"
    else:
        require(ephys.UnitCriterion, "criterion", criterion)
        n_judged = len(ephys.GoodUnits & {"criterion": criterion})
        complete = counted & {"criterion": criterion} & f"n_summaries = {n_judged}"
    names = complete.to_arrays("criterion")
    return min(names) if len(names) else None
