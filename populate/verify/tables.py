"""Tables with their parts, and what they are called."""

from __future__ import annotations

import datajoint as dj


def with_parts(master: type[dj.Table]) -> list[type[dj.Table]]:
    """Return a table and its parts."""
    classes = (one for one in vars(master).values() if isinstance(one, type))
    return [master, *(one for one in classes if issubclass(one, dj.Part))]


def name_of(table: type[dj.Table]) -> str:
    """Name of a table or part as users write it, e.g. `ephys.Spikes.Unit`."""
    return f"{table.__module__.rpartition('.')[2]}.{table.__qualname__}"
