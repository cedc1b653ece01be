"""What a path says: kind of data, probe, sorter, camera, tracker, band and revision."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from schemas.sources.alf.kinds import KINDS, TASK
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


OLD_ATTRIBUTES = {
    "wheel.times": "wheel.timestamps",
    "channels.sitePositions": "channels.localCoordinates",
    "channels.rawRow": "channels.rawInd",
    "clusters.peakChannel": "clusters.channels",
    "clusters.waveformDuration": "clusters.peakToTrough",
}
"""Earlier names of objects and attributes of files that are read."""

_NAME = re.compile(r"(?:_[a-z]+_)?(\w+\.\w+)\.\w+")
_FORMS = [(prefix, end) for prefix in ("_ibl_", "", "_iblqc_") for end in ("npy", "pqt", "csv")]


def current_name(record: DatasetRecord) -> str | None:
    """Return the name under which a file would be read, if its name is an earlier one.

    Earlier names lack the prefix, have another one or another format, or one of `OLD_ATTRIBUTES`.
    """
    return _current_name(record.collection, record.name) if record.kind == "other" else None


@lru_cache(maxsize=65536)
def _current_name(collection: str, name: str) -> str | None:
    old = _NAME.fullmatch(name)
    if old is None:
        return None
    stem = OLD_ATTRIBUTES.get(old[1], old[1])
    names = (f"{prefix}{stem}.{end}" for prefix, end in _FORMS)
    return next((new for new in names if _kind(collection, new)[0] != "other"), None)


def is_unread(record: DatasetRecord) -> bool:
    """Whether an array or table of processed data is read by no table of ours."""
    is_data = record.name.endswith((".npy", ".pqt", ".csv", ".tsv"))
    return record.kind == "other" and record.collection.startswith("alf") and is_data


def task_collections(datasets: Iterable[DatasetRecord]) -> list[str]:
    """Return the folders of tasks that some files are in, sorted."""
    return sorted({d.collection for d in datasets if re.fullmatch(TASK, d.collection)})


def tasks_by_kind(datasets: Iterable[DatasetRecord]) -> dict[str, list[str]]:
    """Return the folders of tasks by kind of data, for kinds that are in more than one.

    Parameters
    ----------
    datasets : iterable of DatasetRecord
        All datasets of one session.
    """
    groups: dict[tuple[str, str | None], list[DatasetRecord]] = {}
    for record in datasets:
        if KINDS[record.kind].reader:
            groups.setdefault((record.kind, record.camera), []).append(record)
    found: dict[str, list[str]] = {}
    for (kind, _), group in groups.items():
        if len(tasks := task_collections(group)) > 1:
            found[kind] = sorted({*tasks, *found.get(kind, [])})
    return found


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
        One for each sorter and revision of the spike times, or of the clusters where a sorter
        has no spike times; ordered by session, probe, sorter and revision. The default has
        spikes if any sort of its probe has.
    """
    datasets = tuple(datasets)
    times = [d for d in datasets if d.kind == "spikes" and d.name == "spikes.times.npy"]
    with_spikes = {(d.eid, d.probe_name, d.sorter) for d in times}
    times += [
        d
        for d in datasets
        if d.kind == "clusters"
        and d.name == "clusters.channels.npy"
        and (d.eid, d.probe_name, d.sorter) not in with_spikes
    ]
    default: dict[tuple[str, str | None], DatasetRecord] = {}
    latest_first = sorted(times, key=lambda d: d.revision, reverse=True)
    for record in sorted(
        latest_first,
        key=lambda d: (d.kind != "spikes", sorter_rank(d.sorter or ""), not d.is_default),
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
