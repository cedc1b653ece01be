"""Where units are in the brain, and how deep in the cortex."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import rows
from schemas.errors import BwmError
from schemas.views.ephys import unit_rows
from schemas.views.located import KEY, LOCATION, add_location


def fetch_location(units: dj.expression.QueryExpression) -> pd.DataFrame:
    """Fetch where units are.

    Parameters
    ----------
    units : expression
        Any expression with the key of a unit, e.g. `views.units(...)`.

    Returns
    -------
    pandas.DataFrame
        One row per unit, ordered by key: the key; `region_id`; `region_acronym` and `region_name`
        of the Allen ontology; `region_beryl` and `region_cosmos`, acronyms; `hemisphere` (left or
        right); `unit_x`, `unit_y`, `unit_z` (um from bregma: right, anterior and up positive).

    Raises
    ------
    QueryError
        Text is given instead of an expression.
    """
    places = ["unit_x", "unit_y", "unit_z"]
    table = rows.frame(unit_rows(units).proj("region_id", *places))
    return add_location(table)[[*KEY, "region_id", *LOCATION, *places]]


def fetch_cortical_depth(units: dj.expression.QueryExpression) -> pd.DataFrame:
    """Fetch how deep units lie below the surface of the cortex, along its streamlines.

    The depths are those of `iblatlas.streamlines`, in voxels of 25 um. iblatlas downloads two files
    once, and keeps them in the folder of ONE.

    Parameters
    ----------
    units : expression
        Any expression with the key of a unit, e.g. `views.units("Isocortex", "ibl_2024")`.

    Returns
    -------
    pandas.DataFrame
        As `fetch_location`, and `cortical_depth` (um from the surface) and `cortical_fraction`
        (fraction of the thickness of the cortex, 0 at the surface); NaN outside the isocortex and
        for units without a place.

    Raises
    ------
    QueryError
        Text is given instead of an expression.
    BwmError
        iblatlas cannot read or download the depths.
    """
    table = fetch_location(units)
    place = table[["unit_x", "unit_y", "unit_z"]].to_numpy(float, na_value=np.nan) / 1e6
    known = ~np.isnan(place).any(axis=1)
    for name, is_fraction in (("cortical_depth", False), ("cortical_fraction", True)):
        depth = np.full(len(table), np.nan)
        if known.any():
            depth[known] = _look_up(place[known], is_fraction)
        table[name] = depth / 100 if is_fraction else depth
    return table


def _look_up(place: np.ndarray, is_fraction: bool) -> np.ndarray:
    """Return the depth of places (n, 3; m from bregma), um or percent."""
    try:
        from iblatlas.streamlines.utils import xyz_to_depth

        return xyz_to_depth(place, per=is_fraction)
    except Exception as error:  # whatever a download raises
        remedy = "Run it once on a machine with internet; see iblatlas.streamlines."
        what = f"the depths of the cortex cannot be read ({error})."
        raise BwmError(what, None, remedy) from error
