"""The guide to tables of one's own: what it tells to run, in order."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[2] / "notebooks" / "own_tables.md"
FENCED = re.compile(r"(?:`(\w+\.py)`:\n\n)?^```(sh|python)\n(.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """Lines of a shell (`sh`), or Python, which goes into a file where the page names one."""

    file: str
    language: str
    text: str


def blocks():
    """Return what is run, as it stands on the page; what only shows is fenced otherwise."""
    return [Block(*found) for found in FENCED.findall(PAGE.read_text(encoding="utf-8"))]
