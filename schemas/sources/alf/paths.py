"""What a path says: kind of data, probe, sorter, camera, tracker, band and revision."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.sources.alf.kinds import KINDS
from schemas.sources.names import PROBE_FOLDER
from schemas.sources.records import DatasetRecord, SortingRecord

SORTERS = ("iblsorter", "pykilosort")

_PROBE = re.compile(f"(?:raw_ephys_data|alf)/(?P<probe>{PROBE_FOLDER})(?:/(?P<below>.+))?")


class _Place(NamedTuple):
    kind: str
    collection: str
    name: str
    revision: str
    probe_name: str | None
    sorter: str | None
    camera: str | None
    tracker: str | None
    band: str | None


@lru_cache(maxsize=65536)
def place(path: str) -> _Place:
    """Take a path below the session folder apart."""
    folder, _, name = path.rpartition("/")
    above, _, last = folder.rpartition("/")
    revised = re.fullmatch(r"#([^#]+)#", last)
    collection, revision = (above, revised[1]) if revised else (folder, "")
    kind, found = _kind(collection, name)
    probe = _PROBE.fullmatch(collection)
    sorter = None
    # Electrode sites belong to the probe: they hold for every sort, so they are of none.
    in_sorting = collection.startswith("alf/") and KINDS[kind].is_of_sorting
    if probe and in_sorting and not name.startswith("electrodeSites."):
        sorter = probe["below"] or ""
    return _Place(
        kind,
        collection,
        name,
        revision,
        probe_name=probe["probe"] if probe else None,
        sorter=sorter,
        camera=found.get("camera"),
        tracker=found.get("tracker"),
        band=(found.get("band") or "").lower() or None,
    )


def _kind(collection: str, name: str) -> tuple[str, dict[str, str | None]]:
    """Return the kind of a file, and the camera, tracker or band in its name."""
    for kind in KINDS.values():
        for folder, file in kind.files:
            if folder.fullmatch(collection) and (match := file.fullmatch(name)):
                return kind.name, match.groupdict()
    return "other", {}


def classify(path: str) -> str:
    """Tell which kind of data a file belongs to.

    Parameters
    ----------
    path : str
        POSIX path below the session folder.

    Returns
    -------
    str
        A name in `KINDS`; `'other'` for files that no reader here uses.
    """
    return place(path).kind


def dataset_record(eid: str, path: str, **facts: Any) -> DatasetRecord:
    """Describe a file by its path.

    Parameters
    ----------
    eid : str
        Session UUID.
    path : str
        POSIX path below the session folder, its revision folder included.
    **facts
        What the source says besides: the other attributes of `DatasetRecord`.
    """
    return DatasetRecord(eid=eid, path=path, **place(path)._asdict(), **facts)


def sorter_rank(sorter: str) -> tuple[int, int, str]:
    """Order of preference of sorters: the lower, the rather used where nobody asks."""
    known = SORTERS.index(sorter) if sorter in SORTERS else len(SORTERS)
    return known, len(sorter), sorter


def sortings(datasets: Iterable[DatasetRecord]) -> tuple[SortingRecord, ...]:
    """Return the listed spike sorts of a session; one of each probe is the default.

    Parameters
    ----------
    datasets : iterable of DatasetRecord
        All datasets of one or more sessions.

    Returns
    -------
    tuple of SortingRecord
        One for each sorter and revision of the spike times, ordered by session, probe, sorter
        and revision.
    """
    times = [d for d in datasets if d.kind == "spikes" and d.name == "spikes.times.npy"]
    default: dict[tuple[str, str | None], DatasetRecord] = {}
    latest_first = sorted(times, key=lambda d: d.revision, reverse=True)
    for record in sorted(
        latest_first, key=lambda d: (sorter_rank(d.sorter or ""), not d.is_default)
    ):
        default.setdefault((record.eid, record.probe_name), record)
    return tuple(
        SortingRecord(
            eid=record.eid,
            probe_name=record.probe_name or "",
            sorter=record.sorter or "",
            revision=record.revision,
            is_default=record is default[record.eid, record.probe_name],
        )
        for record in sorted(
            times, key=lambda d: (d.eid, d.probe_name or "", d.sorter or "", d.revision)
        )
    )
