"""Where units are: their regions in every mapping, with names, and their hemisphere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, ephys, rows

KEY = ["eid", "probe_name", "sorting_name", "cluster_id"]
"""Primary key of a unit."""

LOCATION = ["region_acronym", "region_name", "region_beryl", "region_cosmos", "hemisphere"]
"""Columns that say where a unit is."""


def fetch_located(table: dj.expression.QueryExpression, units: Any) -> pd.DataFrame:
    """Fetch the rows of a table that has the key of a unit, with where their units are.

    Parameters
    ----------
    table : expression
        E.g. a part table of units.
    units
        Units whose rows are fetched: any restriction by their key.

    Returns
    -------
    pandas.DataFrame
        The rows in the order of their key: `KEY`, `region_id`, `LOCATION`, the other columns.
    """
    where = ephys.SpikeSorting.Cluster.proj("region_id", "unit_x")
    found = add_location(rows.frame((table & units) * where))
    first = [*KEY, "region_id", *LOCATION]
    return found[[*first, *(name for name in found.columns if name not in {*first, "unit_x"})]]


def add_location(units: pd.DataFrame) -> pd.DataFrame:
    """Add `LOCATION` to a frame with `region_id` and `unit_x` (um, right of bregma positive).

    All are missing where a unit has no region or no place; `region_acronym` is of the Allen
    ontology.
    """
    columns = ["region_acronym", "region_name", "beryl_id", "cosmos_id"]
    regions = rows.frame(atlas.BrainRegion.proj(*columns)).set_index("region_id")
    acronym = regions.region_acronym
    texts = {
        "region_acronym": acronym,
        "region_name": regions.region_name,
        "region_beryl": regions.beryl_id.map(acronym),
        "region_cosmos": regions.cosmos_id.map(acronym),
    }
    place = regions.index.get_indexer(units.region_id.fillna(NO_REGION).astype(np.int64))
    found = {name: _take(of_region, place) for name, of_region in texts.items()}
    x = units.unit_x.to_numpy(float, na_value=np.nan)
    found["hemisphere"] = _take(["left", "right"], np.select([x < 0, x > 0], [0, 1], -1))
    return units.assign(**found)


def _take(texts: Sequence[str] | pd.Series, place: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """Return the text at each place, missing at -1."""
    return pd.array(np.asarray(texts, object), dtype=rows.TEXT).take(place, allow_fill=True)


NO_REGION = -1
