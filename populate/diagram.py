"""The diagram of the tables, drawn from their definitions without a server."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import datajoint as dj

from schemas import MODULES
from schemas.database.declared import parts_of, tables_of
from schemas.errors import BwmError

BEGIN, END = "<!-- diagram: begin -->", "<!-- diagram: end -->"

SHAPES = {
    dj.Manual: ("[", "]", "manual"),
    dj.Lookup: ("[/", "/]", "lookup"),
    dj.Imported: ("([", "])", "imported"),
    dj.Computed: ("([", "])", "computed"),
}
COLOURS = {
    "manual": "fill:#e3f1e6,stroke:#2e7d43,color:#14401f",
    "lookup": "fill:#eeeeee,stroke:#777777,color:#333333",
    "imported": "fill:#dcefff,stroke:#0072b2,color:#003a5c",
    "computed": "fill:#ffe8d6,stroke:#d55e00,color:#6b2f00",
}
REFERENCE = re.compile(r"-> *(?:\[nullable\] *)?([\w.]+)")


def mermaid() -> str:
    """Return a Mermaid diagram of all tables; arrows point to the children.

    Part tables are left out. A solid arrow is a foreign key in the primary key of the child.
    """
    lines = ["```mermaid", "flowchart LR"]
    edges: list[str] = []
    for name in MODULES:
        lines.append(f"  subgraph {name}")
        for table in tables_of(importlib.import_module(f"schemas.{name}")):
            left, right, tier = next(s for t, s in SHAPES.items() if issubclass(table, t))
            node = f"{name}_{table.__name__}"
            lines.append(f"    {node}{left}{table.__name__}{right}:::{tier}")
            edges += _edges(name, table)
        lines.append("  end")
    lines += [f"  {edge}" for edge in dict.fromkeys(edges)]
    lines += [f"  classDef {tier} {colour}" for tier, colour in COLOURS.items()]
    return "\n".join([*lines, "```"])


def write(path: Path) -> bool:
    """Replace the diagram between its marks in a file; return whether that changed it.

    Raises
    ------
    BwmError
        The file has no such marks.
    """
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise BwmError(
            f"has no lines {BEGIN} and {END}.", path, "Add both where the diagram belongs."
        )
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    drawn = f"{before}{BEGIN}\n{mermaid()}\n{END}{after}"
    path.write_text(drawn, encoding="utf-8")
    return drawn != text


def _edges(name: str, table: type[dj.Table]) -> Iterator[str]:
    node = f"{name}_{table.__name__}"
    key, _, rest = table.definition.partition("---")
    parts = (part for part in parts_of(table) if part.__name__ != "Source")
    rest += "".join(part.definition for part in parts)
    held = set()
    for text, arrow in ((key, "-->"), (rest, "-.->")):
        for target in REFERENCE.findall(text):
            parent = _master(name, target)
            if parent not in (node, f"{name}_master") and parent not in held:
                held.add(parent)
                yield f"{parent} {arrow} {node}"


def _master(name: str, target: str) -> str:
    """Return the node of a reference; `SpikeSorting.Cluster` has that of its master."""
    parts = target.split(".")
    return "_".join(parts[:2]) if parts[0] in MODULES else f"{name}_{parts[0]}"
