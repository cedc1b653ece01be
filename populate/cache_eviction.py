"""Eviction of files from the cache of downloads, to keep it below its limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pandas as pd

from populate import catalog
from schemas import rows, session
from schemas.settings import AlyxSettings
from schemas.sources import base, registry

ROOM = 0.9
"""Share of the limit that is left in use, so that not every download evicts a file."""


def housekeeping(settings: AlyxSettings) -> Callable[[], None] | None:
    """Return a function that evicts files from the cache; None without a limit.

    It evicts only files whose rows are in the database: first those that no pending job needs,
    and of these the least recently used. A file in use is kept.
    """
    limit = settings.cache_limit
    return None if limit is None else lambda: _evict(int(limit))


def _evict(limit: int) -> None:
    for location in session.DataSource.to_arrays("data_source"):
        if not registry.type_of(location).is_server:
            continue
        source = base.open_source(location)
        if not isinstance(source, base.Cached) or source.cached_bytes() <= limit:
            continue
        read, needed = _read(), _needed()
        source.evict(int(ROOM * limit), read - needed)
        if source.cached_bytes() > limit:
            source.evict(int(ROOM * limit), read & needed)


def _read() -> set[tuple[str, str]]:
    """Return the files, as eid and path, that rows were read from."""
    return _files(
        rows.frame(table.Source.proj("source_md5")).dropna(subset="source_md5")
        for table in catalog.tables()
        if hasattr(table, "Source")
    )


def _needed() -> set[tuple[str, str]]:
    """Return the listed files, as eid and path, of keys that have no row yet."""
    return _files(
        rows.frame((table().listed & (table().key_source.proj() - table.proj())).proj())
        for table in catalog.tables()
        if hasattr(table, "listed")
    )


def _files(frames: Iterable[pd.DataFrame]) -> set[tuple[str, str]]:
    names = ["eid", "dataset_path"]
    return set(pd.concat([f[names] for f in frames]).itertuples(index=False, name=None))
