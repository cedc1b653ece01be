"""Import of modules in which users define tables of their own."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import datajoint as dj

from schemas import activation, connection
from schemas.database.declared import filled_tables_of, with_parts
from schemas.errors import BwmError, SettingsError
from schemas.settings import expand

Table = type[dj.Table]

NAME_OR_PATH = "Give the name as in `import NAME`, or the path of the file."


def import_tables(names: Sequence[str]) -> list[Table]:
    """Import modules by name or path, and return their tables that workers fill.

    Raises
    ------
    SettingsError
        See `catalog.use`.
    """
    found: dict[Table, None] = {}
    for name in names:
        module = _import(name)
        _check(module)
        found |= dict.fromkeys(filled_tables_of(module))
    return list(found)


def is_connected(table: Table) -> bool:
    """Return whether a table belongs to the open connection, or to no schema yet."""
    return table.database is None or table().connection is dj.conn()


def _import(name: str) -> ModuleType:
    """Import a module; import it again if its tables belong to another connection."""
    path = expand(name).resolve() if name.endswith(".py") else None
    folder, dotted = (path.parent, path.stem) if path else (Path.cwd(), name)
    if path and not path.is_file():
        raise SettingsError("there is no such file.", name, NAME_OR_PATH)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    loaded = sys.modules.get(dotted)
    try:
        if loaded and not all(_is_on_server(table) for table in filled_tables_of(loaded)):
            for inner in [name for name in sys.modules if name.startswith(f"{dotted}.")]:
                del sys.modules[inner]
            module = importlib.reload(loaded)
        else:
            module = importlib.import_module(dotted)
    except Exception as error:
        raise _explain(name, dotted, error) from error
    if path and Path(module.__file__ or "").resolve() != path:
        raise SettingsError(
            f"another module has the name {dotted!r}: {module.__file__}.", name, "Rename yours."
        )
    return module


def _is_on_server(table: Table) -> bool:
    """Whether a table is on the connected server, and was not dropped."""
    return is_connected(table) and (table.database is None or table().is_declared)


def _explain(name: str, dotted: str, error: Exception) -> SettingsError:
    """Explain that a module was not found, or on which line its import failed."""
    parents = [dotted.rsplit(".", i)[0] for i in range(dotted.count(".") + 1)]
    if isinstance(error, ModuleNotFoundError) and error.name in parents:
        where = f"in {Path.cwd()} or on Python's path (PYTHONPATH)"
        return SettingsError(f"no such module {where}.", name, NAME_OR_PATH)
    if isinstance(error, SyntaxError) and error.filename:
        file, line = error.filename, error.lineno
    else:
        # The last line of the user's own code: an error in a library usually begins there.
        steps = [step for step in traceback.extract_tb(error.__traceback__) if _is_users(step)]
        file, line = (steps[-1].filename, steps[-1].lineno) if steps else (name, None)
    what = str(error) if isinstance(error, BwmError) else f"{type(error).__name__}: {error}"
    at = f"{file}, line {line}" if line else file
    return SettingsError(f"cannot be imported ({what}).", at, "Fix it and run the command again.")


def _is_users(step: traceback.FrameSummary) -> bool:
    """Return whether a step of a traceback is in the user's own code."""
    ours = (Path(__file__).parent, Path(connection.__file__).parent)
    path = Path(step.filename)
    return not (
        step.filename.startswith("<")
        or "site-packages" in path.parts
        or path.is_relative_to(Path(traceback.__file__).parent)
        or any(path.is_relative_to(folder) for folder in ours)
    )


def _check(module: ModuleType) -> None:
    """Reject a module without a table to fill, and tables that cannot be filled.

    Raises
    ------
    SettingsError
    """
    place = module.__file__ or module.__name__
    if not filled_tables_of(module):
        remedy = "Add a class of dj.Imported or dj.Computed: workers fill these."
        raise SettingsError("it has no table to fill.", place, remedy)
    for table in filled_tables_of(module):
        where = f"{place}, {table.__name__}"
        if table.database is None:
            raise SettingsError(
                "the table is in no schema of the database.",
                where,
                'Write `schema = connection.schema("NAME")`, and `@schema` above each class.',
            )
        for declared in with_parts(table):
            if missing := activation.missing_columns(declared):
                raise SettingsError(
                    f"{declared.__qualname__} on the server lacks {', '.join(sorted(missing))}: "
                    "its definition has changed since the table was created.",
                    where,
                    "Drop it with its jobs, and populate again: "
                    f"`{table.__name__}.jobs.drop()`, then `{table.__name__}.drop()`.",
                )
