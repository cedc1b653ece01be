"""Maps of the brain: each region a circle at the mean place of its recording sites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

WIDTH, HEIGHT, EDGE = 460.0, 300.0, 34.0
"""Size of a map, and its margin, in the units of the drawing."""

VIEWS = {
    "sagittal": ("y", "z", "anterior", "from the side"),
    "coronal": ("x", "z", "lateral", "from the front"),
}

LOW, HIGH = np.array([222, 235, 247]), np.array([8, 48, 107])
"""Colours of the least and the greatest value, from bright to dark blue."""


def draw(places: pd.DataFrame, table: pd.DataFrame, measure: str) -> dict[str, Any]:
    """Return circles of the regions in two views, and the ends of the scale of colours.

    Parameters
    ----------
    places : DataFrame
        As of `views.fetch_region_places`.
    table : DataFrame
        One row per region: `region_id`, `n_units`, and the column `measure`.
    measure : str
        Column to colour by; regions without a value are hollow.
    """
    found = places.merge(table[["region_id", *{measure, "n_units"}]], on="region_id")
    found = found[~found.region_id.isin((0, 997))]
    value = found[measure].to_numpy(float, na_value=np.nan)
    known = value[np.isfinite(value)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    share = (
        (value - low) / (high - low) if high > low else np.where(np.isfinite(value), 1.0, np.nan)
    )
    found = found.assign(
        value=value,
        fill=[_colour(one) for one in share],
        radius=3 + 9 * np.sqrt(found.n_units / max(found.n_units.max(), 1)),
    )
    maps = {name: _place(found, *axes) for name, axes in VIEWS.items()}
    stops = [_colour(one) for one in np.linspace(0, 1, 6)]
    return {"views": maps, "low": low, "high": high, "stops": stops, "n": len(found)}


def _colour(share: float) -> str:
    if not np.isfinite(share):
        return "none"
    red, green, blue = np.round(LOW + (HIGH - LOW) * share).astype(int)
    return f"#{red:02x}{green:02x}{blue:02x}"


def _place(found: pd.DataFrame, across: str, up: str, title: str, seen: str) -> dict[str, Any]:
    """Put circles on a map, in one scale for both axes; small ones are drawn last."""
    reach = found[[across, up]].agg(["min", "max"]) if len(found) else None
    if reach is None or reach.isna().to_numpy().any():
        return {
            "circles": [],
            "height": HEIGHT,
            "width": WIDTH,
            "seen": seen,
            "title": title,
            "bar": 0,
        }
    span = {axis: max(float(np.ptp(reach[axis])), 1000.0) for axis in (across, up)}
    scale = min((WIDTH - 2 * EDGE) / span[across], (HEIGHT - 2 * EDGE) / span[up])
    left = (WIDTH - span[across] * scale) / 2
    drawn = found.assign(
        cx=left + (found[across] - reach.loc["min", across]) * scale,
        cy=HEIGHT - EDGE - (found[up] - reach.loc["min", up]) * scale,
    ).sort_values("radius", ascending=False)
    return {
        "circles": drawn.to_dict("records"),
        "height": HEIGHT,
        "width": WIDTH,
        "seen": seen,
        "title": title,
        "bar": 1000 * scale,
    }
