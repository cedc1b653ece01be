"""What is damaged, and what was looked at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

Key = dict[str, Any]

REMEDIES = {
    "rows": "Repair removes the row and what depends on it; `bwm populate` makes them again.",
    "object": "Repair removes the file.",
    "download": "Repair removes the download; it comes again when it is needed.",
    "job": "Repair removes the job; `bwm populate` makes its key if it is still to be made.",
    "held": "Repair gives the job back, as workers do; `bwm populate` makes its key.",
    "source": "The rows are as their files say, which disagree: ask those who released them.",
    "file": "The rows are as they were. Put the file back, or register its folder again.",
    "unread": "It cannot be told. See that its disk or server works, and look again.",
    "store": "The store is empty, or it is another database's: see bwm.store. Nothing is removed.",
}
"""What is done about damage, by its kind; nothing about the last four."""


@dataclass(frozen=True)
class Damage:
    """Something that is not as it must be.

    Attributes
    ----------
    check : str
        Name of the check that found it.
    kind : str
        What repair does: a key of `REMEDIES`.
    table : str
        Name, e.g. `ephys.Spikes`.
    key : dict
        Primary key of the row, empty where there is none.
    what : str
        What of it: a column or part, the place of an object, or that of a file.
    expected, found : str
        What must be there, and what is.
    rows : tuple of dict
        Rows of a part that are wrong, by what of their key the row's own has not.
    path, store : str
        Of an object, its path and the store that it is in; of a file, its path below the session.
    written : float
        When an orphan was written (s since 1970).
    """

    check: str
    kind: str
    table: str
    key: Key
    what: str
    expected: str
    found: str
    rows: tuple[Key, ...] = ()
    path: str = ""
    store: str = ""
    written: float = 0.0

    @property
    def remedy(self) -> str:
        """What is done about it."""
        return REMEDIES[self.kind]

    @property
    def can_be_repaired(self) -> bool:
        """Whether anything is done about it."""
        return self.kind not in ("source", "file", "unread", "store")

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "remedy": self.remedy}


@dataclass
class Checked:
    """A check: what must hold, how much was looked at, and what was found damaged."""

    check: str
    promise: str
    looked: int = 0
    damaged: int = 0


@dataclass
class Report:
    """Everything that was looked at.

    Attributes
    ----------
    checks : list of Checked
        In the order in which they were made.
    damage : list of Damage
        Empty where everything is whole.
    read : int
        Bytes that were read and hashed.
    """

    checks: list[Checked] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    read: int = 0

    def add(self, check: str, promise: str, looked: int, found: list[Damage]) -> None:
        """Add a check and what it found."""
        self.checks.append(Checked(check, promise, looked, len(found)))
        self.damage += found
