"""The data of the Brain-Wide Map as tables, one module a schema.

Importing this package, or a table module, needs no server and starts none.
`connection.connect()` does.
"""

import os

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
    "passive",
    "ephys",
    "quality",
    "activity",
)
"""The table modules in the order of their foreign keys: parents first."""
