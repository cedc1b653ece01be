"""A line for each table with a hash of its definition: what an upgrade must bring about.

`python -m tests.support.definitions` stores them, after a step was added to `populate.upgrade`.
"""

import hashlib
from pathlib import Path

import datajoint as dj

from schemas import activation
from schemas.database.declared import tables_of, with_parts

STORED = Path(__file__).parents[1] / "data" / "definitions.txt"


def lines():
    """Return the version, and table and hash of each definition with its rows of a lookup."""
    found = [f"version {activation.VERSION}"]
    for module in activation.table_modules():
        for master in tables_of(module):
            for table in with_parts(master):
                text = "\n".join(" ".join(line.split()) for line in table.definition.splitlines())
                if issubclass(table, dj.Lookup):
                    text += repr(list(getattr(table, "contents", [])))
                digest = hashlib.md5(text.encode()).hexdigest()[:12]
                found.append(f"{module.__name__}.{table.__qualname__} {digest}")
    return found


if __name__ == "__main__":
    STORED.write_text("\n".join(lines()) + "\n")
