"""Brain regions by acronym."""

from __future__ import annotations

import difflib

import datajoint as dj

from schemas import atlas, rows
from schemas.errors import QueryError


def find_region(acronym: str) -> int:
    """Return the id of a region.

    Raises
    ------
    QueryError
        No region has that acronym; names the nearest.
    """
    found = (atlas.BrainRegion & {"region_acronym": acronym}).keys()
    if found:
        return found[0]["region_id"]
    known = rows.frame(atlas.BrainRegion.proj("region_acronym")).region_acronym.tolist()
    same = [name for name in known if name.lower() == acronym.lower()]
    near = same or difflib.get_close_matches(acronym, known, 3, 0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else "Use an acronym of the Allen atlas."
    raise QueryError(f"no region {acronym!r}.", None, hint)


def below(acronym: str) -> dj.expression.QueryExpression:
    """Return a region and everything in it, keyed by `region_id`."""
    inside = atlas.BrainRegion.Ancestor & {"ancestor_id": find_region(acronym)}
    return atlas.BrainRegion & dj.U("region_id") & inside
