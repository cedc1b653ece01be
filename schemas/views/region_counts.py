"""Units, responses and places by region, everything that lies in a region included."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, atlas, ephys, probe, release, rows
from schemas.views.activity import fetch_groups, responses
from schemas.views.atlas import find_region
from schemas.views.ephys import sorts
from schemas.views.session import require

SHOWN = ("region_acronym", "region_name", "region_level", "region_order", "region_rgb", "parent_id")


def fetch_region_counts(
    criterion: str,
    mapping: str = "Allen",
    release_name: str | None = None,
    sorting: str | None = None,
) -> pd.DataFrame:
    """Count units, insertions and sessions by region.

    Parameters
    ----------
    criterion : str
        What a good unit is: a row of `ephys.UnitCriterion`.
    mapping : str
        A row of `atlas.Mapping`. In the mapping Allen a unit counts for its structure and for
        every structure that this one lies in; in the others for one region.
    release_name, sorting : str, optional
        As in `sorts`.

    Returns
    -------
    pandas.DataFrame
        One row per region with a unit, in the order of the atlas: `region_id`, `region_acronym`,
        `region_name`, `region_level`, `region_order`, `region_rgb`, `parent_id`, `n_units`,
        `n_good`, `n_insertions`, `n_sessions`. Units without a region have no row.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    require(ephys.UnitCriterion, "criterion", criterion)
    groups = fetch_groups(criterion, sorts(sorting, release_name).proj())
    groups = groups[groups.region_id.notna()]
    groups = groups.assign(n_good=groups.n_units.where(groups.is_good, 0))
    spread = _spread(groups, mapping)
    by_region = spread.groupby("region_id")
    counts = by_region[["n_units", "n_good"]].sum()
    insertions = spread[["region_id", "eid", "probe_name"]].drop_duplicates()
    counts["n_insertions"] = insertions.groupby("region_id").size()
    counts["n_sessions"] = by_region.eid.nunique()
    return _with_names(counts)


def fetch_responding_fractions(
    response_definition: str,
    mapping: str = "Allen",
    release_name: str | None = None,
    sorting: str | None = None,
    alpha: float = 0.01,
) -> pd.DataFrame:
    """Count the units of each region whose rate in a window differs from their baseline.

    No correction for the number of units is made: of units without a response, a fraction of
    `alpha` is counted.

    Parameters
    ----------
    response_definition : str
        A row of `activity.ResponseDefinition`, which also says of which units it is.
    mapping, release_name, sorting
        As in `fetch_region_counts`.
    alpha : float
        Units with a smaller p of the signed-rank test count.

    Returns
    -------
    pandas.DataFrame
        One row per region with a tested unit, as of `fetch_region_counts`, and `n_tested`,
        `n_responding`, and `responding` (fraction of those tested).

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    tested = responses(response_definition, None, None, release_name, sorting)
    counted = dj.U("region_id").aggr(
        tested & "wilcoxon_p IS NOT NULL AND region_id IS NOT NULL",
        n_tested="count(*)",
        n_responding=f"count(case when wilcoxon_p < {float(alpha)!r} then 1 end)",
    )
    own = rows.frame(counted)
    own = own.astype({"n_tested": int, "n_responding": int})
    counts = _spread(own, mapping).groupby("region_id")[["n_tested", "n_responding"]].sum()
    return _with_names(counts.assign(responding=counts.n_responding / counts.n_tested))


def fetch_responding(
    region: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
    alpha: float = 0.01,
) -> pd.DataFrame:
    """Count the units of one region that respond, by each definition of a response.

    Parameters
    ----------
    region : str, optional
        Acronym; structures in that region are included. Default: all regions.
    release_name, sorting, alpha
        As in `fetch_responding_fractions`.

    Returns
    -------
    pandas.DataFrame
        One row per row of `activity.ResponseDefinition`, in the order of their names:
        `response_definition`, `response_description`, `n_tested`, `n_responding`.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    tests = (activity.UnitResponse.Unit & sorts(sorting, release_name).proj()).proj(p="wilcoxon_p")
    counts = _count_by_definition(tests, activity.ResponseDefinition, region, alpha)
    return counts.rename(columns={"n_smaller": "n_responding"})


def fetch_modulated(
    region: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Count the units of one region that tell two levels apart, by each definition.

    The counts are of p alone, which a fraction `alpha` of unmodulated units has by chance;
    `fetch_modulated_fractions` counts with the false discovery rate of a release.

    Parameters
    ----------
    region, release_name, sorting
        As in `fetch_responding`.
    alpha : float
        Units with a smaller p of the permutations count.

    Returns
    -------
    pandas.DataFrame
        One row per row of `activity.ModulationDefinition`, in the order of their names:
        `modulation_definition`, `modulation_description`, `n_tested`, `n_nominal`.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    tests = (activity.Modulation.Unit & sorts(sorting, release_name).proj()).proj(p="modulation_p")
    counts = _count_by_definition(tests, activity.ModulationDefinition, region, alpha)
    return counts.rename(columns={"n_smaller": "n_nominal"})


def _count_by_definition(
    tests: dj.expression.QueryExpression,
    definitions: type[dj.Lookup],
    region: str | None,
    alpha: float,
) -> pd.DataFrame:
    """Count by definition the units of a region with a p, `n_tested`, and with a smaller one."""
    (name,) = definitions.primary_key
    top = {} if region is None else {"ancestor_id": find_region(region)}
    inside = set(rows.frame(atlas.BrainRegion.Ancestor & top).region_id)
    # Counted for all regions at once: PostgreSQL takes long to look for many regions in each unit.
    located = tests * ephys.SpikeSorting.Cluster.proj("region_id") & "region_id IS NOT NULL"
    smaller = f"count(case when p < {float(alpha)!r} then 1 end)"
    by_region = dj.U(name, "region_id")
    found = rows.frame(by_region.aggr(located, n_tested="count(p)", n_smaller=smaller))
    own = found[found.region_id.isin(inside)]
    names = ["n_tested", "n_smaller"]
    counts = own.astype(dict.fromkeys(names, int)).groupby(name)[names].sum()
    every = rows.frame(definitions.proj(name.replace("_definition", "_description")))
    table = every.merge(counts, "left", on=name)
    table[names] = table[names].fillna(0).astype(int)
    return table.sort_values(name, ignore_index=True)


def fetch_region_places(mapping: str = "Beryl", release_name: str | None = None) -> pd.DataFrame:
    """Fetch where the recording sites of each region lie on average.

    Parameters
    ----------
    mapping : str
        As in `fetch_region_counts`.
    release_name : str, optional
        Only insertions of that release.

    Returns
    -------
    pandas.DataFrame
        One row per region with a located site, as of `fetch_region_counts`, and `n_sites`,
        `x` (um, from the midline, whatever the side), `y` (um, anterior of bregma positive) and
        `z` (um, above bregma positive), each the mean over the sites.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    sites = probe.Channels.Channel & "channel_region_id IS NOT NULL AND channel_x IS NOT NULL"
    if release_name is not None:
        require(release.Release, "release_name", release_name)
        sites = sites & (release.Release.Insertion & {"release_name": release_name}).proj()
    sums = {
        "sum_x": "sum(abs(channel_x))",
        "sum_y": "sum(channel_y)",
        "sum_z": "sum(channel_z)",
        "n_sites": "count(*)",
    }
    own = rows.frame(dj.U("channel_region_id").aggr(sites, **sums))
    own = own.astype({name: int if name == "n_sites" else float for name in sums})
    own = own.rename(columns={"channel_region_id": "region_id"})
    counts = _spread(own, mapping).groupby("region_id")[list(sums)].sum()
    for axis in "xyz":
        counts[axis] = counts.pop(f"sum_{axis}") / counts.n_sites
    return _with_names(counts)


def _spread(table: pd.DataFrame, mapping: str) -> pd.DataFrame:
    """Repeat each row for every region of a mapping that its Allen structure counts for."""
    require(atlas.Mapping, "mapping", mapping)
    if mapping == "Allen":
        above = rows.frame(atlas.BrainRegion.Ancestor())
        spread = table.merge(above, on="region_id")
        return spread.drop(columns="region_id").rename(columns={"ancestor_id": "region_id"})
    column = atlas.REGION_COLUMN[mapping]
    regions = rows.frame(atlas.BrainRegion.proj(column)).set_index("region_id")[column]
    return table.assign(region_id=table.region_id.astype(np.int64).map(regions))


def _with_names(counts: pd.DataFrame) -> pd.DataFrame:
    """Put names of regions before their counts, in the order of the atlas."""
    regions = rows.frame(atlas.BrainRegion.proj(*SHOWN))
    found = regions.merge(counts.reset_index(), on="region_id")
    return found.sort_values("region_order", ignore_index=True)
