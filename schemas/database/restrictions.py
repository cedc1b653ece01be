"""Warn where the user's code restricts by a name that no column has.

DataJoint ignores such a name: `activity.UnitRate & {"window": "stimulus"}` gives the rates of all
windows, because the column is `window_name`. A key may hold columns of other tables, as in
`Session & key`, so only names that no declared table has cause a warning.
"""

from __future__ import annotations

import difflib
import functools
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

import datajoint as dj
import numpy as np
from datajoint import condition as conditions
from datajoint import expression as expressions

OWN_PACKAGES = ("schemas", "populate", "viewer")
INDEX = "index"
"""Name that pandas gives to the index of a frame by which a table is restricted."""

COLUMN = re.compile(r"^\s*(\w+)\s*(?:=[^:#]*)?:|(\w+)\s*=\s*['\"]", re.MULTILINE)
"""Names in a definition: `name : type`, `name = default : type` and `proj(name='other')`."""


@functools.cache
def warn_of_unknown_names() -> None:
    """Check every restriction by a dict or a record; further calls do nothing."""
    make = conditions.make_condition

    @functools.wraps(make)
    def checked(query: Any, condition: Any, columns: set[str], *args: Any, **options: Any) -> Any:
        names = _names_of(condition)
        if names:
            _warn(query, names - set(query.heading.names))
        return make(query, condition, columns, *args, **options)

    # DataJoint calls the function by both names: for the restriction, and for its parts.
    conditions.make_condition = checked
    expressions.make_condition = checked


def _names_of(condition: Any) -> set[str]:
    """Return the column names in a dict or a record, and none for other restrictions."""
    while isinstance(condition, dj.Not):
        condition = condition.restriction
    if isinstance(condition, Mapping):
        return {str(name).split(".", 1)[0] for name in condition}
    if isinstance(condition, np.void) and condition.dtype.names:
        return set(condition.dtype.names) - {INDEX}
    return set()


def _warn(query: Any, unmatched: set[str]) -> None:
    level = _level_of_user() if unmatched else None
    if level is None:
        return
    for name in sorted(unmatched - set(_declared_names())):
        near = difflib.get_close_matches(name, query.heading.names, 1, 0.5)
        known = ", ".join(query.heading.names)
        hint = f"did you mean {near[0]!r}?" if near else f"columns: {known}."
        warnings.warn(
            f"no column is called {name!r}, so DataJoint ignores it and selects more rows: {hint}",
            UserWarning,
            stacklevel=level,
        )


def _level_of_user() -> int | None:
    """Return the stack level of the line that restricts, or None where it is in our packages."""
    frame: FrameType | None = sys._getframe(1)
    level = 1
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != __name__ and not module.startswith("datajoint."):
            return None if module.partition(".")[0] in OWN_PACKAGES else level
        frame, level = frame.f_back, level + 1
    return None


def _declared_names() -> Iterator[str]:
    """Yield the column names in the definitions of all declared tables."""
    tables = [dj.Table]
    for table in tables:
        tables += table.__subclasses__()
        definition = vars(table).get("definition")
        if isinstance(definition, str):
            for names in COLUMN.findall(definition):
                yield from filter(None, names)
