"""Bytes that this process has read from files and written to the store, for the log of workers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """Counts that only go up.

    Attributes
    ----------
    read : int
        Bytes of the files that were read.
    stored : int
        Bytes of the objects that were written.
    """

    read: int = 0
    stored: int = 0


total = Counters()
