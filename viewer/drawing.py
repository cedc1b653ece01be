"""What several panels draw alike: histograms, strips of regions, colours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from schemas.figures.ephys import LABEL_COLOURS
from viewer.page import Shown

GOOD = {"good": LABEL_COLOURS[True], "other": LABEL_COLOURS[False]}
GOOD_SHAPES = {"good": "circle", "other": "triangle"}
GREATEST_POINTS = 6000
"""Most points that are drawn one by one: a screen shows no more."""


def histogram(
    values: pd.Series,
    label: str,
    *,
    log: bool = False,
    bins: int = 40,
    what: str = "units",
    of: pd.Series | None = None,
    colours: dict[str, str] | None = None,
) -> Shown:
    """Show how many values lie in each bin.

    Parameters
    ----------
    values : Series
        Missing values, and those that a logarithmic axis cannot show, are counted in the note.
    label : str
        What the values are, with their unit.
    log : bool
        Whether the axis is logarithmic.
    bins : int
        Number of bins.
    what : str
        What is counted.
    of : Series, optional
        Group of each value; each group has bars of its own.
    colours : dict, optional
        Colour of each group.
    """
    numbers = values.to_numpy(float, na_value=np.nan)
    known = np.isfinite(numbers) & ((numbers > 0) if log else True)
    shown = numbers[known]
    edges = bin_edges(shown, log, bins)
    group = np.full(len(numbers), "") if of is None else of.astype(str).to_numpy(object)
    parts = []
    for name in dict.fromkeys([*(colours or {}), *sorted(set(group))]):
        counts = np.histogram(numbers[known & (group == name)], edges)[0]
        part = {"from": edges[:-1], "to": edges[1:], "n": counts}
        parts.append(pd.DataFrame(part if of is None else {"group": name, **part}))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    layer: dict[str, Any] = {"type": "bars", "table": "data", "x0": "from", "x1": "to", "y": "n"}
    if of is not None:
        layer |= {"by": "group", "colours": colours or {}}
    missing = int((~known).sum())
    note = f"{missing:,} {what} without such a value are left out." if missing else ""
    axis: dict[str, Any] = {"label": label, "log": log}
    if not len(shown):
        table = table.iloc[:0]
    return Shown({"data": table}, [layer], axis, {"label": f"{what} (n)"}, note=note, height=260)


def bin_edges(values: np.ndarray, log: bool, bins: int) -> np.ndarray:
    """Return the edges of bins that hold every value."""
    if not len(values):
        return np.geomspace(0.1, 10, bins + 1) if log else np.linspace(0, 1, bins + 1)
    low, high = float(values.min()), float(values.max())
    if log:
        return np.geomspace(low / 1.001, max(high, low * 1.1) * 1.001, bins + 1)
    return np.linspace(low, high if high > low else low + 1, bins + 1)


def region_strip(sites: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of sites of one region along a probe: `y0`, `y1` (um), `name`, `colour`.

    Parameters
    ----------
    sites : DataFrame
        As of `views.fetch_sites`.
    """
    rows = sites.dropna(subset=["axial"]).drop_duplicates("axial").sort_values("axial")
    axial = rows.axial.to_numpy(float)
    if not len(axial):
        return pd.DataFrame({"y0": [], "y1": [], "name": [], "colour": []})
    pitch = float(np.median(np.diff(axial))) if len(axial) > 1 else 20.0
    middle = (axial[1:] + axial[:-1]) / 2
    low = np.r_[axial[0] - pitch / 2, middle]
    high = np.r_[middle, axial[-1] + pitch / 2]
    name = rows.region_acronym.to_numpy(object, na_value="")
    first = np.flatnonzero(np.r_[True, name[1:] != name[:-1]])
    last = np.r_[first[1:], len(name)] - 1
    named = [text or None for text in name[first]]
    colour = rows.region_rgb.to_numpy(object, na_value=None)[first]
    return pd.DataFrame({"y0": low[first], "y1": high[last], "name": named, "colour": colour})


STRIP = {"type": "strip", "table": "regions"}


def thin(table: pd.DataFrame, most: int = GREATEST_POINTS) -> tuple[pd.DataFrame, str]:
    """Return evenly chosen rows of a long table, and a note that says so."""
    if len(table) <= most:
        return table, ""
    chosen = np.linspace(0, len(table) - 1, most).astype(int)
    note = f"{most:,} of {len(table):,} points are drawn; the data have all."
    return table.iloc[chosen], note


def mention(*notes: str) -> str:
    """Join notes to a text."""
    return " ".join(note for note in notes if note)
