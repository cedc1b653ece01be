"""Where units are: their regions in every mapping, with names, and their hemisphere."""

from __future__ import annotations

import numpy as np
import pandas as pd

from schemas import atlas, rows

KEY = ["eid", "probe_name", "sorting_name", "cluster_id"]
"""Primary key of a unit."""

LOCATION = ["region_acronym", "region_name", "region_beryl", "region_cosmos", "hemisphere"]
"""Columns that say where a unit is."""


def add_location(units: pd.DataFrame) -> pd.DataFrame:
    """Add `LOCATION` to a frame with `region_id` and `unit_x` (um, right of bregma positive).

    All are missing where a unit has no region or no place; `region_acronym` is of the Allen
    ontology.
    """
    columns = ["region_acronym", "region_name", "beryl_id", "cosmos_id"]
    regions = rows.frame(atlas.BrainRegion.proj(*columns)).set_index("region_id")
    acronym = regions.region_acronym
    of_unit = regions.reindex(units.region_id)
    place = units.unit_x.to_numpy(float, na_value=np.nan)
    side = pd.Series(np.sign(place)).map({-1.0: "left", 1.0: "right"}).to_numpy()
    found = {
        "region_acronym": of_unit.region_acronym.to_numpy(),
        "region_name": of_unit.region_name.to_numpy(),
        "region_beryl": of_unit.beryl_id.map(acronym).to_numpy(),
        "region_cosmos": of_unit.cosmos_id.map(acronym).to_numpy(),
        "hemisphere": side,
    }
    texts = {name: pd.array(values, dtype=rows.TEXT) for name, values in found.items()}
    return units.assign(**texts)
