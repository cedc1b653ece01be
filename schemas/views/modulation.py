"""Modulation and latency of units and regions."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, atlas, ephys, rows
from schemas.errors import QueryError
from schemas.maths.modulation import compute_fdr
from schemas.views.activity import locate
from schemas.views.ephys import sorts
from schemas.views.located import fetch_located
from schemas.views.session import require


def fetch_modulation(
    modulation_definition: str,
    release_name: str | None = None,
    sorting: str | None = None,
    recording: str | None = None,
) -> pd.DataFrame:
    """Fetch whether units tell two levels of a factor apart, with the false discovery rate.

    Parameters
    ----------
    modulation_definition : str
        A row of `activity.ModulationDefinition`, e.g. `side`, `choice`, `outcome` or `block`.
    release_name, sorting, recording : str, optional
        As in `sorts`. The false discovery rate is of the units that these choose, so that
        `release_name` gives that of a release.

    Returns
    -------
    pandas.DataFrame
        One row per unit, ordered by key: the key, `region_id` and the columns of
        `views.fetch_location`; `rate_first`, `rate_second` (Hz); `modulation_effect` (fraction of
        pairs of trials in which the first level has more spikes; 0.5 without effect);
        `modulation_p`; `modulation_q`, the least false discovery rate at which the unit counts as
        modulated (Benjamini and Hochberg); `contralateral_effect`, the effect of the
        contralateral against the ipsilateral side for the factors side and choice, else NaN.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    row = require(activity.ModulationDefinition, "modulation_definition", modulation_definition)
    tested = activity.Modulation.Unit & {"modulation_definition": modulation_definition}
    table = fetch_located(tested, sorts(sorting, release_name, recording).proj())
    table["modulation_q"] = compute_fdr(table.modulation_p.to_numpy(float, na_value=np.nan))
    table["contralateral_effect"] = np.nan
    if row["task_factor"] in ("side", "choice"):
        # The first level is the left side, which is contralateral to the right hemisphere.
        effect = table.modulation_effect.to_numpy(float, na_value=np.nan)
        of_side = {"right": effect, "left": 1 - effect}
        for hemisphere, values in of_side.items():
            is_there = (table.hemisphere == hemisphere).fillna(False).to_numpy(bool)
            table.loc[is_there, "contralateral_effect"] = values[is_there]
    return table.drop(columns="modulation_definition")


def fetch_modulated_fractions(
    modulation_definition: str,
    mapping: str = "Beryl",
    release_name: str | None = None,
    sorting: str | None = None,
    level: float = 0.05,
    min_units: int = 1,
) -> pd.DataFrame:
    """Fetch which part of the units of each region is modulated.

    Parameters
    ----------
    modulation_definition, release_name, sorting
        As in `fetch_modulation`.
    mapping : str
        `Allen`, `Beryl` or `Cosmos`.
    level : float
        Greatest false discovery rate, over all units of the release.
    min_units : int
        Regions with fewer tested units are left out.

    Returns
    -------
    pandas.DataFrame
        One row per region, most modulated first: `region` (acronym), `n_units` (tested),
        `n_modulated` (q at most `level`), `fraction`, and `n_nominal` (p at most `level`).

    Raises
    ------
    QueryError
        A name is not known (the error lists those that are), or the level is no fraction.
    """
    require(activity.ModulationDefinition, "modulation_definition", modulation_definition)
    if not 0 < level < 1:
        raise QueryError(f"the level is {level}.", None, "Give a fraction, e.g. 0.05.")
    tested = activity.Modulation.Unit & {"modulation_definition": modulation_definition}
    found = _fetch_by_region(tested, "modulation_p", mapping, release_name, sorting)
    p = found.modulation_p.to_numpy(float, na_value=np.nan)
    found = found.assign(n_modulated=compute_fdr(p) <= level, n_nominal=p <= level)
    by_region = found[~np.isnan(p)].groupby("region")
    counts = by_region[["n_modulated", "n_nominal"]].sum()
    counts.insert(0, "n_units", by_region.size())
    counts.insert(2, "fraction", counts.n_modulated / counts.n_units)
    counts = counts[counts.n_units >= min_units].reset_index()
    return counts.sort_values(["fraction", "region"], ascending=[False, True], ignore_index=True)


def fetch_latencies(
    latency_definition: str,
    release_name: str | None = None,
    sorting: str | None = None,
    recording: str | None = None,
) -> pd.DataFrame:
    """Fetch when the responses of units leave their baseline.

    Parameters
    ----------
    latency_definition : str
        A row of `activity.LatencyDefinition`, e.g. `stimulus`.
    release_name, sorting, recording : str, optional
        As in `sorts`.

    Returns
    -------
    pandas.DataFrame
        One row per unit, ordered by key: the key, `region_id` and the columns of
        `views.fetch_location`; `latency`, `latency_low` and `latency_high` (s from the event,
        missing where the unit does not respond), `latency_log_ratio`, `rate_baseline` and
        `rate_after` (Hz).

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    require(activity.LatencyDefinition, "latency_definition", latency_definition)
    measured = activity.Latency.Unit & {"latency_definition": latency_definition}
    table = fetch_located(measured, sorts(sorting, release_name, recording).proj())
    return table.drop(columns="latency_definition")


def fetch_region_latencies(
    latency_definition: str,
    mapping: str = "Beryl",
    release_name: str | None = None,
    sorting: str | None = None,
    min_units: int = 5,
    seed: int = 0,
) -> pd.DataFrame:
    """Fetch the latency of each region: the median over its responding units.

    Parameters
    ----------
    latency_definition, release_name, sorting
        As in `fetch_latencies`.
    mapping : str
        `Allen`, `Beryl` or `Cosmos`.
    min_units : int
        Regions with fewer responding units are left out.
    seed : int
        Seed of the resampled units, from which the interval follows.

    Returns
    -------
    pandas.DataFrame
        One row per region, shortest latency first: `region` (acronym), `n_units` (searched),
        `n_responding`, `latency` (s, median), `latency_low` and `latency_high` (s; percentiles 2.5
        and 97.5 of the median over 1,000 resamples of the responding units).

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    require(activity.LatencyDefinition, "latency_definition", latency_definition)
    searched = activity.Latency.Unit & {"latency_definition": latency_definition}
    table = _fetch_by_region(searched, "latency", mapping, release_name, sorting)
    rng = np.random.default_rng(seed)
    found = []
    for region, units in table.groupby("region"):
        known = np.sort(units.latency.dropna().to_numpy(float))
        if len(known) >= max(min_units, 1):
            medians = np.median(rng.choice(known, (1000, len(known))), axis=1)
            low, high = np.percentile(medians, [2.5, 97.5])
            found.append((region, len(units), len(known), np.median(known), low, high))
    names = ["region", "n_units", "n_responding", "latency", "latency_low", "latency_high"]
    return pd.DataFrame(found, columns=names).sort_values(["latency", "region"], ignore_index=True)


def _fetch_by_region(
    units: dj.expression.QueryExpression,
    column: str,
    mapping: str,
    release_name: str | None,
    sorting: str | None,
) -> pd.DataFrame:
    """Fetch a column of a part table of units, and their `region` (acronym, missing if unknown).

    The keys of the units are not fetched: they are most of what there is to send.
    """
    require(atlas.Mapping, "mapping", mapping)
    located = units & sorts(sorting, release_name).proj()
    located = located * ephys.SpikeSorting.Cluster.proj("region_id")
    found = rows.frame(located, columns=["region_id", column], order_by="region_id")
    acronym = rows.frame(atlas.BrainRegion.proj("region_acronym")).set_index("region_id")
    mapped = locate(found, mapping).region_id
    return found.assign(region=mapped.map(acronym.region_acronym))
