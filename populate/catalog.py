"""The tables to fill, in the order of their foreign keys: ours, then those of one's own modules."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from types import ModuleType

import datajoint as dj
from datajoint.dependencies import Dependencies

from schemas import MODULES, connection
from schemas.database.declared import FILLED, tables_of, with_parts
from schemas.errors import BwmError, QueryError, SettingsError

_own: list[type[dj.Table]] = []


def tables() -> list[type[dj.Table]]:
    """Return every imported and computed table, parents first; those of `use` after ours.

    Connected to another database, `use` is to be called again.
    """
    modules = (importlib.import_module(f"schemas.{name}") for name in MODULES)
    ours = [table for module in modules for table in _filled(module)]
    return ours + [table for table in _own if _is_connected(table)]


def name_of(table: type[dj.Table]) -> str:
    """Name of a table or part table as users write it, e.g. `ephys.Spikes.Unit`."""
    name = table.__qualname__.rpartition("<locals>.")[2]
    return f"{table.__module__.rpartition('.')[2]}.{name}"


def find(names: Sequence[str] | None) -> list[type[dj.Table]]:
    """Find tables by name, e.g. `Trials` or `behavior.Trials`; None for all.

    Raises
    ------
    QueryError
        No table has that name, or several have; says which there are.
    """
    every = tables()
    if not names:
        return every
    chosen = [_find(name, every) for name in names]
    return [table for table in every if table in chosen]


def of_session(chosen: Sequence[type[dj.Table]] | None, eid: str | None) -> list[type[dj.Table]]:
    """Return the tables, of those chosen (default all), that have rows of one session.

    DataJoint ignores the names in a restriction that a table has not: of a table of one's own
    without `eid` in its key, all rows would be taken for those of the session.

    Parameters
    ----------
    chosen : sequence of tables or None
        None for all.
    eid : str or None
        None where no session is asked for: nothing is left out.
    """
    every = tables() if chosen is None else chosen
    return [table for table in every if eid is None or "eid" in table().jobs.primary_key]


def _find(name: str, every: list[type[dj.Table]]) -> type[dj.Table]:
    wanted = name.lower()
    whole = [table for table in every if name_of(table).lower() == wanted]
    found = whole or [table for table in every if table.__name__.lower() == wanted]
    if not found:
        raise QueryError(
            f"no table {name!r}.", None, f"There are {', '.join(map(name_of, every))}."
        )
    if len(found) > 1:
        both = " and ".join(map(name_of, found))
        raise QueryError(f"the name {name!r} is that of {both}.", None, "Name the module too.")
    return found[0]


def use(modules: Sequence[str]) -> None:
    """Import modules with tables of one's own, so that `tables` and `find` know them.

    They replace those of an earlier call. Connect first: a module creates its tables as it is
    imported. One that was imported over another connection, or whose tables were dropped, is
    imported anew.

    Parameters
    ----------
    modules : sequence of str
        Names as after `import`, looked for in the working directory and where Python looks, or
        paths of files, e.g. `'my_tables'` or `'analysis/my_tables.py'`.

    Raises
    ------
    SettingsError
        A module is not there, cannot be imported, has no table to fill, or names one as another
        module does.
    """
    _own.clear()
    if not modules:
        return
    found: dict[type[dj.Table], None] = {}
    with connection.making_tables():
        for name in modules:
            module = _imported(name)
            _check(module)
            found |= dict.fromkeys(_filled(module))
        for table in found:
            # Declares the job table: DataJoint would at first use, by several workers at once.
            getattr(table(), "jobs")  # noqa: B009  (mypy knows nothing of it)
    _refuse_same_names([*tables(), *found])
    _own.extend(_in_order(list(found)))


def _filled(module: ModuleType) -> list[type[dj.Table]]:
    """List the tables of a module that workers fill."""
    return [table for table in tables_of(module) if issubclass(table, FILLED)]


def _imported(name: str) -> ModuleType:
    """Import a module by name or path; import it anew if its tables are of another connection."""
    path = Path(name).expanduser().resolve() if name.endswith(".py") else None
    folder, dotted = (path.parent, path.stem) if path else (Path.cwd(), name)
    if path and not path.is_file():
        raise SettingsError("there is no such file.", name, ELSEWHERE)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    there = sys.modules.get(dotted)
    try:
        if there and not all(_is_there(table) for table in _filled(there)):
            for inner in [one for one in sys.modules if one.startswith(f"{dotted}.")]:
                del sys.modules[inner]
            module = importlib.reload(there)
        else:
            module = importlib.import_module(dotted)
    except Exception as error:
        raise _explained(name, dotted, error) from error
    if path and Path(module.__file__ or "").resolve() != path:
        raise SettingsError(
            f"another module has the name {dotted!r}: {module.__file__}.", name, "Rename yours."
        )
    return module


def _is_connected(table: type[dj.Table]) -> bool:
    return table.database is None or table().connection is dj.conn()


def _is_there(table: type[dj.Table]) -> bool:
    """Whether a table is on the connected server: it may be of another, or have been dropped."""
    return _is_connected(table) and (table.database is None or table().is_declared)


ELSEWHERE = "Say the name as after `import`, or the path of the file."


def _explained(name: str, dotted: str, error: Exception) -> SettingsError:
    """Say that a module is not there, or on which line its import failed."""
    parents = [dotted.rsplit(".", i)[0] for i in range(dotted.count(".") + 1)]
    if isinstance(error, ModuleNotFoundError) and error.name in parents:
        where = f"in {Path.cwd()}, nor where Python looks (PYTHONPATH)"
        return SettingsError(f"no such module {where}.", name, ELSEWHERE)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    else:
        # The last line that is not of a library: what it called may be far from what is wrong.
        steps = [step for step in traceback.extract_tb(error.__traceback__) if _is_own(step)]
        file, line = (steps[-1].filename, steps[-1].lineno) if steps else (name, None)
    what = str(error) if isinstance(error, BwmError) else f"{type(error).__name__}: {error}"
    at = f"{file}, line {line}" if line else file
    return SettingsError(f"cannot be imported ({what}).", at, "Mend it and say the same again.")


def _is_own(step: traceback.FrameSummary) -> bool:
    """Whether a step of a traceback is in code of the user: not ours, not a library's."""
    ours = (Path(__file__).parent, Path(connection.__file__).parent)
    path = Path(step.filename)
    return not (
        step.filename.startswith("<")
        or "site-packages" in path.parts
        or path.is_relative_to(Path(traceback.__file__).parent)
        or any(path.is_relative_to(folder) for folder in ours)
    )


def _check(module: ModuleType) -> None:
    """Refuse a module that has nothing to fill, or tables that are in no schema or older ones."""
    place = module.__file__ or module.__name__
    if not _filled(module):
        remedy = "Workers fill classes of dj.Imported and dj.Computed."
        raise SettingsError("it has no table to fill.", place, remedy)
    for table in _filled(module):
        where = f"{place}, {table.__name__}"
        if table.database is None:
            raise SettingsError(
                "the table is in no schema of the database.",
                where,
                'Write `schema = connection.schema("NAME")`, and `@schema` above each class.',
            )
        for one in with_parts(table):
            if missing := connection.missing_columns(one):
                raise SettingsError(
                    f"{one.__qualname__} on the server lacks {', '.join(sorted(missing))}: its "
                    "definition was changed since.",
                    where,
                    "Drop it with its jobs, and populate again: "
                    f"`{table.__name__}.jobs.drop()`, then `{table.__name__}.drop()`.",
                )


def _refuse_same_names(every: list[type[dj.Table]]) -> None:
    names = Counter(map(name_of, every))
    for name in (name for name, count in names.items() if count > 1):
        files = [sys.modules[t.__module__].__file__ for t in every if name_of(t) == name]
        raise SettingsError(
            f"two tables have the name {name}.", " and ".join(map(str, files)), "Rename a module."
        )


def _in_order(own: list[type[dj.Table]]) -> list[type[dj.Table]]:
    """Sort tables by their foreign keys, parents first."""
    links = Dependencies(dj.conn())
    links.load(schema_names={table.database for table in own})
    of = {table.full_table_name: table for table in own}
    above = {name: set(links.ancestors(name)) & of.keys() - {name} for name in of}
    return [of[name] for name in TopologicalSorter(above).static_order()]
