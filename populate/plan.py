"""The tables to fill, in the order of their foreign keys."""

from __future__ import annotations

import importlib
import inspect

import datajoint as dj

from schemas import MODULES
from schemas.errors import QueryError


def tables() -> list[type[dj.Table]]:
    """Return every imported and computed table, parents first."""
    found = []
    for name in MODULES:
        module = importlib.import_module(f"schemas.{name}")
        found += [
            table
            for table in vars(module).values()
            if inspect.isclass(table)
            and issubclass(table, (dj.Imported, dj.Computed))
            and table.__module__ == module.__name__
        ]
    return found


def name_of(table: type[dj.Table]) -> str:
    """Name of a table as users write it, e.g. `behavior.Trials`."""
    return f"{table.__module__.rpartition('.')[2]}.{table.__name__}"


def find(names: list[str] | None) -> list[type[dj.Table]]:
    """Find tables by name, e.g. `Trials` or `behavior.Trials`; None for all.

    Raises
    ------
    QueryError
        No table has that name; says which there are.
    """
    every = tables()
    if not names:
        return every
    known = {name_of(table).lower(): table for table in every}
    known |= {table.__name__.lower(): table for table in every}
    for name in names:
        if name.lower() not in known:
            raise QueryError(
                f"no table {name!r}.", None, f"There are {', '.join(map(name_of, every))}."
            )
    chosen = {known[name.lower()] for name in names}
    return [table for table in every if table in chosen]
