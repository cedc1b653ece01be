"""Write the records of a source as rows: a batch of whole sessions in one transaction.

There are two ways. `_merge` inserts and updates, and never deletes; values that a record lacks
(None) stay as they are. `_mirror` also deletes: the rows of an owner (a session or an insertion)
become those of its record, for facts that are replaced as a whole (quality control, histology). If
a record has none, the rows of the owner stay, because many sources do not list such facts; they are
deleted if the source is known to list all of them (`is_complete`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj

from schemas import ephys, probe, quality, rows, session, subject, video
from schemas.errors import BwmError
from schemas.sources.records import (
    CheckRecord,
    DatasetRecord,
    InsertionRecord,
    SessionRecord,
    SubjectRecord,
    TrajectoryRecord,
)

Row = dict[str, Any]

TABLES_WITH_TEXT = (
    subject.Subject,
    session.Session,
    quality.SessionQC,
    session.Dataset,
    probe.ProbeInsertion,
    probe.ProbeInsertion.Dataset,
    probe.Trajectory,
    quality.InsertionQC,
    ephys.Sorting,
)
"""Tables whose texts come from a source, and could be too long."""


@dataclass
class Report:
    """Result of a registration: numbers of new, known and updated rows by kind, and problems.

    `notes` has what the user should know, though it is no error.
    """

    new: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    updated: dict[str, int] = field(default_factory=dict)
    problems: list[BwmError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, kind: str, *, new: int = 0, known: int = 0, updated: int = 0) -> None:
        """Add to the counts of a kind."""
        for counts, n in ((self.new, new), (self.known, known), (self.updated, updated)):
            counts[kind] = counts.get(kind, 0) + n

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return any(self.new.values()) or any(self.updated.values())


def write(batch: Sequence[SessionRecord], location: str | None, report: Report) -> None:
    """Insert or update a batch of sessions in one transaction.

    Parameters
    ----------
    batch : sequence of SessionRecord
        Records that have been checked.
    location : str or None
        The source that lists their datasets; None for records without datasets.
    report : Report
        Counts are added to it.
    """
    in_batch = _any_of("eid", [record.eid for record in batch])
    with dj.conn().transaction:
        _write_sessions(batch, in_batch, report)
        if location is not None:
            _write_datasets(batch, in_batch, location, report)
            _write_sortings(batch, in_batch, report)


def choose_tasks(choices: Sequence[Row]) -> None:
    """Insert or update rows of `TaskChoice`."""
    _merge(session.TaskChoice, choices, _any_of("eid", [row["eid"] for row in choices]))


def size_of(record: SessionRecord) -> int:
    """Count the rows of a session, roughly."""
    of_probes = sum(
        1 + len(i.checks) + sum(1 + len(t.sites) for t in i.trajectories) for i in record.insertions
    )
    return 3 + len(record.checks) + len(record.datasets) + of_probes


def rows_with_text(record: SessionRecord) -> Iterator[Row]:
    """Yield the rows of a session that have texts, to check that the database can store them."""
    yield _subject_row(record)
    yield _session_row(record)
    yield from _checks("session", record.checks)
    for insertion in record.insertions:
        yield _insertion_row(insertion)
        yield from _checks("insertion", insertion.checks)
        yield from map(_trajectory_row, insertion.trajectories)
    for dataset in record.datasets:
        # `register_source` has checked the location.
        yield {**_dataset_row(dataset, ""), "dataset_sorter": dataset.sorter}
    for sorting in record.sortings:
        yield {"sorting_name": ephys.name_sorting(sorting.sorter, sorting.revision)}


# --- tables -------------------------------------------------------------------------------------


def _write_sessions(batch: Sequence[SessionRecord], in_batch: list[Row], report: Report) -> None:
    """Write everything about sessions except their files: labs, subjects, probes and checks too."""
    labs = [{"lab": r.lab} for r in batch if r.lab]
    mice = [_subject_row(record) for record in batch]
    names = [record.subject for record in batch]
    probes = [insertion for record in batch for insertion in record.insertions]
    _merge(subject.Lab, labs, _any_of("lab", [r["lab"] for r in labs]), report, "labs")
    _merge(subject.Subject, mice, _any_of("subject", names), report, "subjects")
    _merge(session.Session, map(_session_row, batch), in_batch, report, "sessions")
    _merge(probe.ProbeInsertion, map(_insertion_row, probes), in_batch, report, "insertions")
    checks = [{"eid": r.eid, **row} for r in batch for row in _checks("session", r.checks)]
    _mirror((quality.SessionQC, checks), owner=("eid",))
    complete = [
        (insertion.eid, insertion.probe_name)
        for record in batch
        if record.is_complete
        for insertion in record.insertions
    ]
    if n := _write_histology(probes, complete):
        report.notes.append(f"{n} trajectories were removed: the source no longer lists them.")


def _write_histology(probes: Sequence[InsertionRecord], complete: Sequence[tuple[str, str]]) -> int:
    """Write checks, picks and trajectories; return the number of trajectories that were deleted.

    `complete` has the keys of the insertions of which the source lists every trajectory.
    """
    checks, picks, trajectories, sites = [], [], [], []
    for record in probes:
        key = {"eid": record.eid, "probe_name": record.probe_name}
        checks += [{**key, **row} for row in _checks("insertion", record.checks)]
        for k, (x, y, z) in enumerate(record.picks):
            picks.append({**key, "pick": k, "pick_x": x, "pick_y": y, "pick_z": z})
        for trajectory in record.trajectories:
            trajectories.append({**key, **_trajectory_row(trajectory)})
            trajectory_key = {**key, "provenance": trajectory.provenance}
            sites += [
                {**trajectory_key, "site": k, **dict(zip(SITE_COLUMNS, site, strict=True))}
                for k, site in enumerate(trajectory.sites)
            ]
    owner = ("eid", "probe_name")
    _mirror((quality.InsertionQC, checks), owner=owner)
    _mirror((probe.ProbeInsertion.Pick, picks), owner=owner)
    located = (probe.Trajectory, trajectories), (probe.Trajectory.Site, sites)
    return _mirror(*located, owner=owner, complete=complete)


def _write_datasets(
    batch: Sequence[SessionRecord], in_batch: list[Row], location: str, report: Report
) -> None:
    datasets = [dataset for record in batch for dataset in record.datasets]
    listed = [_dataset_row(dataset, location) for dataset in datasets]
    changed = listed + _no_longer_listed(in_batch, location, listed)
    _merge(session.Dataset, changed, in_batch, report, "datasets")
    of_probes = [_probe_dataset_row(d) for d in datasets if d.probe_name]
    _merge(probe.ProbeInsertion.Dataset, of_probes, in_batch)
    of_cameras = [_camera_dataset_row(d) for d in datasets if d.camera]
    _merge(video.CameraDataset, of_cameras, in_batch)


def _no_longer_listed(in_batch: list[Row], location: str, listed: Sequence[Row]) -> list[Row]:
    """Return rows that mark as not listed the datasets that the source no longer lists."""
    earlier = session.Dataset & in_batch & {"data_source": location, "is_listed": True}
    now = {_key(session.Dataset, row) for row in listed}
    gone = [key for key in earlier.proj().to_dicts() if _key(session.Dataset, key) not in now]
    return [{**key, "is_listed": False} for key in gone]


def _write_sortings(batch: Sequence[SessionRecord], in_batch: list[Row], report: Report) -> None:
    sortings = [sorting for record in batch for sorting in record.sortings]
    sorting_rows = [
        {
            "sorting_name": ephys.name_sorting(s.sorter, s.revision),
            "sorter": s.sorter,
            "sorter_revision": s.revision,
        }
        for s in sortings
    ]
    _merge(ephys.Sorting, sorting_rows, {})
    offered = [
        {
            "eid": s.eid,
            "probe_name": s.probe_name,
            "sorting_name": ephys.name_sorting(s.sorter, s.revision),
            "is_default_sorting": s.is_default,
        }
        for s in sortings
    ]
    _merge(ephys.OfferedSorting, offered, in_batch, report, "sorts")
    _delete_unlisted_sortings(in_batch)


def _delete_unlisted_sortings(in_batch: list[Row]) -> None:
    """Delete rows of `OfferedSorting` that are not imported and whose files are not listed."""
    listed = ephys.fetch_listed_sorts(in_batch)
    offered = (ephys.OfferedSorting * ephys.Sorting & in_batch) - ephys.SpikeSorting.proj()
    names = ("eid", "probe_name", "sorter", "sorter_revision")
    gone = [
        {name: row[name] for name in ephys.OfferedSorting.primary_key}
        for row in offered.to_dicts()
        if tuple(row[name] for name in names) not in listed
    ]
    if gone:
        (ephys.OfferedSorting & gone).delete_quick()


# --- rows ---------------------------------------------------------------------------------------

SITE_COLUMNS = ("site_axial", "site_lateral", "site_x", "site_y", "site_z", "site_region_id")


def _subject_row(record: SessionRecord) -> Row:
    mouse = record.mouse or SubjectRecord(record.subject)
    return {
        "subject": record.subject,
        "lab": record.lab,
        "sex": mouse.sex,
        "birth_date": mouse.birth_date,
        "death_date": mouse.death_date,
        "strain": mouse.strain,
        "line": mouse.line,
        "species": mouse.species,
    }


def _session_row(record: SessionRecord) -> Row:
    return {
        "eid": record.eid,
        "subject": record.subject,
        "session_date": record.date,
        "session_number": record.number,
        "session_start": record.start,
        "task_protocol": record.task_protocol or None,
        "projects": record.projects or None,
        "session_qc": record.qc,
    }


def _insertion_row(record: InsertionRecord) -> Row:
    return {
        "eid": record.eid,
        "probe_name": record.probe_name,
        "pid": record.pid,
        "probe_model": record.model,
        "probe_serial": record.serial,
        "insertion_qc": record.qc,
        "insertion_level": record.level,
    }


def _checks(prefix: str, checks: Iterable[CheckRecord]) -> Iterator[Row]:
    for check in checks:
        yield {
            f"{prefix}_check": check.name,
            f"{prefix}_check_value": check.value,
            f"{prefix}_check_outcome": check.outcome,
            f"{prefix}_check_text": check.text,
        }


def _trajectory_row(record: TrajectoryRecord) -> Row:
    return {
        "provenance": record.provenance,
        "trajectory_id": record.trajectory_id,
        "sites_md5": probe.hash_sites(record.sites),
        "is_current_trajectory": record.is_current,
        "entry_x": record.x,
        "entry_y": record.y,
        "entry_z": record.z,
        "insertion_depth": record.depth,
        "theta": record.theta,
        "phi": record.phi,
        "roll": record.roll,
    }


def _dataset_row(record: DatasetRecord, location: str) -> Row:
    return {
        "eid": record.eid,
        "dataset_path": record.path,
        "data_source": location,
        "data_kind": record.kind,
        "collection": record.collection,
        "dataset_name": record.name,
        "revision": record.revision,
        "dataset_id": record.dataset_id,
        "file_size": record.file_size,
        "md5": record.md5,
        "is_default": record.is_default,
        "is_listed": True,
        "dataset_qc": record.qc,
    }


def _probe_dataset_row(record: DatasetRecord) -> Row:
    return {
        "eid": record.eid,
        "probe_name": record.probe_name,
        "dataset_path": record.path,
        "dataset_sorter": record.sorter,
        "band": record.band,
    }


def _camera_dataset_row(record: DatasetRecord) -> Row:
    return {
        "eid": record.eid,
        "dataset_path": record.path,
        "camera": record.camera,
        "tracker": record.tracker,
    }


# --- insert, update, delete ---------------------------------------------------------------------


def _any_of(name: str, values: Iterable[str]) -> list[Row]:
    """Return a restriction to rows with one of some values."""
    return [{name: value} for value in dict.fromkeys(values)]


def _merge(
    table: type[dj.Table],
    wanted: Iterable[Mapping[str, Any]],
    restriction: Any,
    report: Report | None = None,
    kind: str = "",
) -> None:
    """Insert new rows, and update rows of which a value differs.

    A value that is None leaves the existing one as it is.

    Parameters
    ----------
    table : table
    wanted : iterable of mappings
        Rows.
    restriction
        Selects the existing rows; it must select all whose keys are in `wanted`.
    report : Report, optional
        Counts the rows under the name `kind`.
    """
    merged: dict[tuple, Row] = {}
    for row in wanted:
        # Rows with the same key are merged: the last value wins, unless it is None.
        earlier = merged.setdefault(_key(table, row), {})
        new_values = rows.clean(row).items()
        earlier.update({n: v for n, v in new_values if v is not None or n not in earlier})
    if not merged:
        return
    existing = _fetch_by_key(table & restriction, table)
    new = [row for key, row in merged.items() if key not in existing]
    changed = [
        {**dict(zip(table.primary_key, key, strict=True)), **change}
        for key, row in merged.items()
        if key in existing and (change := _change(existing[key], row))
    ]
    rows.insert(table(), new)
    for row in changed:
        table.update1(row)
    if report:
        n_known = len(merged) - len(new) - len(changed)
        report.count(kind, new=len(new), known=n_known, updated=len(changed))


def _mirror(
    *tables: tuple[type[dj.Table], Sequence[Row]],
    owner: tuple[str, ...],
    complete: Sequence[tuple] = (),
) -> int:
    """Make the rows of each owner equal to the wanted ones.

    Parameters
    ----------
    *tables
        Tables with their wanted rows, a parent before its part. The owners are those of the rows
        of the first table, and `complete`.
    owner : tuple of str
        Attributes that are the key of an owner.
    complete : sequence of tuple
        Keys of owners whose rows are all deleted if none is wanted.

    Returns
    -------
    int
        Number of rows of the first table that were deleted.
    """
    owner_keys = [*(tuple(row[name] for name in owner) for row in tables[0][1]), *complete]
    owners = [dict(zip(owner, key, strict=True)) for key in dict.fromkeys(owner_keys)]
    if not owners:
        return 0
    steps = []
    for table, wanted in tables:
        wanted_rows = {_key(table, row): rows.clean(row) for row in wanted}
        steps.append((table, wanted_rows, _fetch_by_key(table & owners, table)))
    for table, wanted_rows, existing in reversed(steps):
        gone = [key for key in existing if key not in wanted_rows]
        if gone:
            keys = [dict(zip(table.primary_key, key, strict=True)) for key in gone]
            (table & keys).delete_quick()
    for table, wanted_rows, existing in steps:
        rows.insert(table(), [row for key, row in wanted_rows.items() if key not in existing])
        for key, row in wanted_rows.items():
            if key in existing and any(existing[key][n] != value for n, value in row.items()):
                table.update1(row)
    _, wanted_rows, existing = steps[0]
    return len(existing.keys() - wanted_rows.keys())


def _fetch_by_key(found: dj.expression.QueryExpression, table: type[dj.Table]) -> dict[tuple, Row]:
    return {_key(table, row): row for row in found.to_dicts()}


def _key(table: type[dj.Table], row: Mapping[str, Any]) -> tuple:
    return tuple(row[name] for name in table.primary_key)


def _change(existing: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    return {n: value for n, value in row.items() if value is not None and value != existing[n]}
