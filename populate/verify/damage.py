"""Records of the checks of verify, and of the damage that they found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

Key = dict[str, Any]

REMEDIES = {
    "rows": "Repair removes the row and all that depends on it; `bwm populate` computes it again.",
    "object": "Repair removes the file.",
    "download": "Repair removes the download; it is downloaded again when it is needed.",
    "job": "Repair removes the job; `bwm populate` runs it again if its row is missing.",
    "held": "Repair requeues the job, as workers do; `bwm populate` runs it.",
    "source": "The rows agree with their files, which contradict each other: ask their publisher.",
    "file": "The rows are unchanged. Put the file back, or register its folder again.",
    "unread": "It cannot be checked. Make sure that its disk or server works, and verify again.",
    "store": "The store is empty or of another database: see bwm.store. Nothing is removed.",
}
"""What repair does, by the kind of damage; it does nothing about the last four kinds."""


@dataclass(frozen=True)
class Damage:
    """A row, object, file or job that is damaged.

    Attributes
    ----------
    check : str
        Name of the check that found it.
    kind : str
        What repair does: a key of `REMEDIES`.
    table : str
        Name, e.g. `ephys.Spikes`.
    key : dict
        Primary key of the row; empty if there is no row.
    what : str
        The damaged column or part table, or the place of the object or file.
    expected, found : str
        The right value, and the value that was found.
    rows : tuple of dict
        Keys of the wrong rows of a part table, without the columns of `key`.
    path, store : str
        Of an object, its path and its store; of a file, its path below the session and its source.
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
        """What repair does, or what the user can do."""
        return REMEDIES[self.kind]

    @property
    def can_be_repaired(self) -> bool:
        """Whether repair removes or requeues it."""
        return self.kind not in ("source", "file", "unread", "store")

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes as plain values, for JSON."""
        return {**asdict(self), "remedy": self.remedy}


@dataclass
class Checked:
    """A check: what must hold, the number of things checked, and of damaged ones."""

    check: str
    promise: str
    looked: int = 0
    damaged: int = 0


@dataclass
class Report:
    """The result of all checks.

    Attributes
    ----------
    checks : list of Checked
        In the order in which they were made.
    damage : list of Damage
        Empty if nothing is damaged.
    read : int
        Bytes that were read and hashed.
    """

    checks: list[Checked] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    read: int = 0

    def add(self, check: str, promise: str, looked: int, found: list[Damage]) -> None:
        """Add a check and the damage that it found."""
        self.checks.append(Checked(check, promise, looked, len(found)))
        self.damage += found
