"""Tables as modules declare them: masters, and the part tables inside them."""

from __future__ import annotations

import inspect
from types import ModuleType

import datajoint as dj

from schemas.database import upstream

FILLED = (dj.Imported, dj.Computed)
"""Tables that workers fill; DataJoint keeps a table of jobs for each."""


def tables_of(module: ModuleType) -> list[type[dj.Table]]:
    """List the tables of a module and of the modules inside it, without part tables."""
    within = (module.__name__, f"{module.__name__}.")
    return [
        table
        for table in dict.fromkeys(filter(inspect.isclass, vars(module).values()))
        if issubclass(table, dj.Table)
        and not issubclass(table, dj.Part)
        and (table.__module__ == within[0] or table.__module__.startswith(within[1]))
    ]


def parts_of(master: type[dj.Table]) -> list[type[dj.Part]]:
    """List the part tables of a table."""
    parts = [
        part
        for part in vars(master).values()
        if inspect.isclass(part) and issubclass(part, dj.Part)
    ]
    for part in parts:
        upstream.set_master(part, master)
    return parts


def with_parts(master: type[dj.Table]) -> list[type[dj.Table]]:
    """List a table and its part tables."""
    return [master, *parts_of(master)]


def filled_tables_of(module: ModuleType) -> list[type[dj.Table]]:
    """List the tables of a module that workers fill."""
    return [table for table in tables_of(module) if issubclass(table, FILLED)]
