"""Estimate of the disk space that jobs will need, from the sizes of the listed files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import datajoint as dj
import pandas as pd

from schemas import disk, rows
from schemas.settings import Settings
from schemas.sources import base, registry

FILE = ["eid", "dataset_path"]


def warnings(tables: Sequence[type[dj.Table]], settings: Settings) -> list[str]:
    """Warn of each disk that has less room than the jobs of some tables will need there.

    Downloads are the files that are not in the cache yet. Objects are about as large as the files
    that they are made of. Files of unknown size and rows of the database are not counted.
    """
    files = {table: _files_to_read(table) for table in tables if hasattr(table, "listed")}
    if not files:
        return []
    wanted = _downloads(pd.concat(files.values()).drop_duplicates(FILE), settings)
    if settings.store.protocol == "file":
        of_objects = [held for table, held in files.items() if getattr(table, "lengths", ())]
        n_bytes = sum(int(held.file_size.sum()) for held in of_objects)
        wanted.append((Path(settings.store.location), n_bytes, "objects"))
    by_disk = defaultdict(list)
    for place, n_bytes, what in wanted:
        if n_bytes:
            by_disk[disk.existing(place).stat().st_dev].append((place, n_bytes, what))
    return [text for needs in by_disk.values() if (text := _describe(needs))]


def _describe(needs: list[tuple[Path, int, str]]) -> str | None:
    """Describe what one disk needs, if it has less."""
    place, free = needs[0][0], disk.free(needs[0][0])
    if sum(n_bytes for _, n_bytes, _ in needs) <= free:
        return None
    each = " and ".join(f"{disk.megabytes(n_bytes)} of {what}" for _, n_bytes, what in needs)
    return (
        f"about {each} are needed at {place}, where {disk.megabytes(free)} are free. Make room, "
        "limit the downloads (--cache-limit), or populate fewer tables (--only)."
    )


def _files_to_read(table: type[dj.Table]) -> pd.DataFrame:
    """Return the files of an imported table whose keys have no row, computable or not yet."""
    columns = [*FILE, "data_source", "collection", "dataset_name", "is_default", "revision"]
    listed = (table().listed - table.proj()).proj(*columns[2:], "file_size")
    found = rows.frame(listed, columns=[*columns, "file_size"])
    if "sorting_name" in table.primary_key:
        return found.drop_duplicates(FILE)  # every revision is a sort of its own
    # One revision of each file is read: that which is flagged as default, or else the last.
    found = found.assign(is_default=found.is_default.fillna(value=False).astype(bool))
    found = found.sort_values(["is_default", "revision"])
    return found.drop_duplicates(["eid", "collection", "dataset_name"], keep="last")


def _downloads(files: pd.DataFrame, settings: Settings) -> list[tuple[Path, int, str]]:
    """Return the bytes to download into the cache of each server, and the place of the cache."""
    wanted = []
    for location, held in files.groupby("data_source"):
        source = base.open_source(str(location))
        if not registry.type_of(str(location)).is_server or not isinstance(source, base.OnDisk):
            continue
        places = source.places(list(held[FILE].itertuples(index=False, name=None)))
        sizes = zip(places, held.file_size.fillna(0), strict=True)
        missing = [(place, int(size)) for place, size in sizes if place and not place.exists()]
        n_bytes = sum(size for _, size in missing)
        if settings.alyx.cache_limit is not None and isinstance(source, base.Cached):
            n_bytes = min(n_bytes, max(0, settings.alyx.cache_limit - source.cached_bytes()))
        if missing:
            wanted.append((missing[0][0], n_bytes, "downloads"))
    return wanted
