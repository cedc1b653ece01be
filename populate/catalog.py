"""The tables that workers fill, parents first; the tables of a user come last."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from collections.abc import Sequence
from graphlib import TopologicalSorter

import datajoint as dj
from datajoint.dependencies import Dependencies

from populate import own_modules
from schemas import MODULES, connection
from schemas.database.declared import filled_tables_of, with_parts
from schemas.errors import QueryError, SettingsError

Table = type[dj.Table]

_own: list[Table] = []


def tables() -> list[Table]:
    """List every imported and computed table, parents first.

    A call of `use` adds the tables of a user's modules, until the connection changes.
    """
    modules = (importlib.import_module(f"schemas.{name}") for name in MODULES)
    ours = [table for module in modules for table in filled_tables_of(module)]
    return ours + [table for table in _own if own_modules.is_connected(table)]


def all_with_parts() -> list[Table]:
    """List every imported and computed table, each followed by its part tables."""
    return [table for master in tables() for table in with_parts(master)]


def name_of(table: Table) -> str:
    """Name of a table or part table as users write it, e.g. `ephys.Spikes.Unit`."""
    name = table.__qualname__.rpartition("<locals>.")[2]
    module = table.__module__.removeprefix("schemas.").split(".")
    is_ours = module[0] in MODULES
    return f"{module[0] if is_ours else module[-1]}.{name}"


def find(names: Sequence[str] | None) -> list[Table]:
    """Find tables by name, e.g. `Trials` or `behavior.Trials`; None for all.

    Raises
    ------
    QueryError
        No table has that name, or several have.
    """
    every = tables()
    if not names:
        return every
    chosen = [_find(name, every) for name in names]
    return [table for table in every if table in chosen]


def of_session(chosen: Sequence[Table] | None, eid: str | None) -> list[Table]:
    """Return the chosen tables (None: all); for a session, those keyed by `eid`.

    DataJoint ignores a name in a restriction that a table lacks, and would return all rows.
    """
    every = tables() if chosen is None else chosen
    return [table for table in every if eid is None or "eid" in table().jobs.primary_key]


def session_key(eid: str | None) -> dict[str, str]:
    """Return the restriction by a session; None restricts nothing."""
    return {} if eid is None else {"eid": eid}


def _find(name: str, every: list[Table]) -> Table:
    wanted = name.lower()
    exact = [table for table in every if name_of(table).lower() == wanted]
    found = exact or [table for table in every if table.__name__.lower() == wanted]
    if not found:
        raise QueryError(f"no table {name!r}.", None, f"Tables: {', '.join(map(name_of, every))}.")
    if len(found) > 1:
        both = " and ".join(map(name_of, found))
        raise QueryError(f"{both} have the name {name!r}.", None, "Give the module too.")
    return found[0]


def use(modules: Sequence[str]) -> None:
    """Import a user's modules, so that `tables` and `find` include their tables.

    They replace the modules of an earlier call. Connect first: the import creates the tables. A
    module is imported again if the connection has changed or its tables were dropped.

    Parameters
    ----------
    modules : sequence of str
        Names as in `import NAME`, e.g. `'my_tables'`, in the working directory or on Python's
        path; or paths of files, e.g. `'analysis/my_tables.py'`.

    Raises
    ------
    SettingsError
        A module is not found, cannot be imported or has no table to fill, or two tables have the
        same name.
    """
    _own.clear()
    if not modules:
        return
    with connection.making_tables():
        found = own_modules.import_tables(modules)
        for table in found:
            # Declares the job table: workers that declare it at the same time would fail.
            getattr(table(), "jobs")  # noqa: B009  (mypy does not know the attribute)
    _reject_same_names([*tables(), *found])
    _own.extend(_in_order(found))


def _reject_same_names(every: list[Table]) -> None:
    names = Counter(map(name_of, every))
    for name in (name for name, count in names.items() if count > 1):
        files = [sys.modules[t.__module__].__file__ for t in every if name_of(t) == name]
        raise SettingsError(
            f"two tables have the name {name}.", " and ".join(map(str, files)), "Rename a module."
        )


def _in_order(own: list[Table]) -> list[Table]:
    """Sort tables by their foreign keys, parents first."""
    links = Dependencies(dj.conn())
    links.load(schema_names={table.database for table in own})
    by_name = {table.full_table_name: table for table in own}
    parents = {name: set(links.ancestors(name)) & by_name.keys() - {name} for name in by_name}
    return [by_name[name] for name in TopologicalSorter(parents).static_order()]
