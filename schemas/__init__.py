"""The data of the Brain-Wide Map as tables, one module a schema.

Importing this package, or a table module, needs no server and starts none.
`connection.connect()` does.
"""

import importlib.machinery
import os
import sys
from types import ModuleType
from typing import Any

from schemas.errors import SettingsError

__version__ = "0.5.0.dev0"

# Settings have one reader, schemas.settings; DataJoint would let its own files overrule it.
os.environ.setdefault("DJ_IGNORE_CONFIG_FILE", "true")

MODULES = (
    "atlas",
    "subject",
    "session",
    "probe",
    "release",
    "behavior",
    "wheel",
    "video",
    "ephys",
    "passive",
    "quality",
    "activity",
)
"""The table modules in the order of their foreign keys: parents first."""


class _ExplainedImport:
    """Finds DataJoint's settings, whose import fails for an unusable variable `DJ_...`."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != "datajoint.settings":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def explained(module: ModuleType) -> None:
                try:
                    run(module)
                except ValueError as error:
                    raise _of_variable(error) from None

            spec.loader.exec_module = explained  # type: ignore[method-assign]
        return spec


def _of_variable(error: Any) -> Exception:
    """Name the variable in an error of pydantic; its value is in no message."""
    if not hasattr(error, "errors"):
        return error
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return SettingsError(f"{first['msg']}.", where, "Correct or unset this variable.")


sys.meta_path.insert(0, _ExplainedImport())
