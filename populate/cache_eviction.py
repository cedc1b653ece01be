"""The cache of downloads, kept below its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from populate import catalog
from schemas import rows, session
from schemas.settings import AlyxSettings
from schemas.sources import base

ROOM = 0.9
"""Share of the limit that is left filled, so that not every download makes another go."""


def housekeeping(settings: AlyxSettings) -> Callable[[], None] | None:
    """Return what keeps the cache below its limit when it is called; None without a limit.

    Files go whose rows are in the database, those used longest ago first: first files that no
    key needs that is yet to be made, then others. A file in use stays.
    """
    limit = settings.cache_limit
    return None if limit is None else lambda: _keep(int(limit))


def _keep(limit: int) -> None:
    for location in session.DataSource.to_arrays("data_source"):
        if not base.is_url(location):
            continue
        source = base.open_source(location)
        if not isinstance(source, base.Cached) or source.cached_bytes() <= limit:
            continue
        read, needed = _read(), _needed()
        source.evict(int(ROOM * limit), read - needed)
        if source.cached_bytes() > limit:
            source.evict(int(ROOM * limit), read & needed)


def _read() -> set[tuple[str, str]]:
    """Return the files, by eid and path, that rows were read from."""
    return _files(
        rows.frame(table.Source.proj("source_md5")).dropna(subset="source_md5")
        for table in catalog.tables()
        if hasattr(table, "Source")
    )


def _needed() -> set[tuple[str, str]]:
    """Return the files on offer to keys that are yet to be made."""
    return _files(
        rows.frame((table().listed & (table().key_source.proj() - table.proj())).proj())
        for table in catalog.tables()
        if hasattr(table, "listed")
    )


def _files(frames: Iterable[pd.DataFrame]) -> set[tuple[str, str]]:
    names = ["eid", "dataset_path"]
    return set(pd.concat([f[names] for f in frames]).itertuples(index=False, name=None))
