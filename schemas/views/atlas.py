"""Brain regions by acronym."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

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
    return find_regions([acronym])[acronym]


def find_regions(acronyms: Sequence[str]) -> dict[str, int]:
    """Return the ids of regions by their acronyms, in the order given; errors as `find_region`."""
    asked = [{"region_acronym": acronym} for acronym in acronyms]
    found = rows.frame((atlas.BrainRegion & asked).proj("region_acronym"))
    ids = dict(zip(found.region_acronym, found.region_id.tolist(), strict=True))
    for acronym in acronyms:
        if acronym not in ids:
            raise _unknown_region(acronym)
    return {acronym: ids[acronym] for acronym in acronyms}


def _unknown_region(acronym: str) -> QueryError:
    known = rows.frame(atlas.BrainRegion.proj("region_acronym")).region_acronym.tolist()
    same = [name for name in known if name.lower() == acronym.lower()]
    near = same or difflib.get_close_matches(acronym, known, 3, 0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else "Use an acronym of the Allen atlas."
    return QueryError(f"no region {acronym!r}.", None, hint)


def below(acronym: str) -> dj.expression.QueryExpression:
    """Return a region and everything in it, keyed by `region_id`."""
    inside = atlas.BrainRegion.Ancestor & {"ancestor_id": find_region(acronym)}
    return atlas.BrainRegion & dj.U("region_id") & inside
