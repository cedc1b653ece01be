"""Write what a source lists as rows: a batch of whole sessions in one transaction.

Two ways to bring rows up to date. `_merge` adds and fills in: what a record does not say stays as
it is, no row goes. `_mirror` makes the rows of an owner equal to the record, for facts that are
replaced as a whole (quality control, histology); an owner for whom a record lists none is left
alone, since many a source knows nothing of them, unless the source says that it lists all.
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

TABLES = (
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
    """What a registration did: new, known and updated rows by kind, and what was refused.

    `notes` name what is not read, which is no error.
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
        Checked already.
    location : str or None
        The source that lists their datasets; None for records that say nothing of datasets.
    report : Report
        Counts are added to it.
    """
    own = _in("eid", [record.eid for record in batch])
    with dj.conn().transaction:
        _write_facts(batch, own, report)
        if location is not None:
            _write_datasets(batch, own, location, report)
            _write_sortings(batch, own, report)


def choose_tasks(choices: Sequence[Row], report: Report) -> None:
    """Insert or update which task is imported of sessions that ran several."""
    own = _in("eid", [row["eid"] for row in choices])
    _merge(session.TaskChoice, choices, own, None, report)


def size_of(record: SessionRecord) -> int:
    """Count the rows of a session, roughly."""
    of_probes = sum(
        1 + len(i.checks) + sum(1 + len(t.sites) for t in i.trajectories) for i in record.insertions
    )
    return 3 + len(record.checks) + len(record.datasets) + of_probes


def rows_with_text(record: SessionRecord) -> Iterator[Row]:
    """Yield the rows of a session whose texts could be too long."""
    yield _subject_row(record)
    yield _session_row(record)
    yield from _checks("session", record.checks)
    for insertion in record.insertions:
        yield _insertion_row(insertion)
        yield from _checks("insertion", insertion.checks)
        yield from map(_trajectory_row, insertion.trajectories)
    for dataset in record.datasets:
        yield {**_dataset_row(dataset, ""), "dataset_sorter": dataset.sorter}
    for sort in record.sortings:
        yield {"sorting_name": ephys.name_sorting(sort.sorter, sort.revision)}


# --- tables -------------------------------------------------------------------------------------


def _write_facts(batch: Sequence[SessionRecord], own: list[Row], report: Report) -> None:
    labs = [{"lab": r.lab} for r in batch if r.lab]
    mice = [_subject_row(record) for record in batch]
    names = [record.subject for record in batch]
    probes = [insertion for record in batch for insertion in record.insertions]
    _merge(subject.Lab, labs, _in("lab", [r["lab"] for r in labs]), "labs", report)
    _merge(subject.Subject, mice, _in("subject", names), "subjects", report)
    _merge(session.Session, map(_session_row, batch), own, "sessions", report)
    _merge(probe.ProbeInsertion, map(_insertion_row, probes), own, "insertions", report)
    checks = [{"eid": r.eid, **row} for r in batch for row in _checks("session", r.checks)]
    _mirror((quality.SessionQC, checks), owner=("eid",))
    told = [insertion for record in batch if record.is_complete for insertion in record.insertions]
    if n_gone := _write_histology(probes, told):
        report.notes.append(f"{n_gone} trajectories were removed: the source has them no longer.")


def _write_histology(probes: Sequence[InsertionRecord], told: Sequence[InsertionRecord]) -> int:
    """Write checks, picks and trajectories; return the number of trajectories removed.

    Of the insertions in `told`, the source lists every trajectory.
    """
    checks, picks, trajectories, sites = [], [], [], []
    for record in probes:
        key = {"eid": record.eid, "probe_name": record.probe_name}
        checks += [{**key, **row} for row in _checks("insertion", record.checks)]
        for k, (x, y, z) in enumerate(record.picks):
            picks.append({**key, "pick": k, "pick_x": x, "pick_y": y, "pick_z": z})
        for trajectory in record.trajectories:
            row = {**key, **_trajectory_row(trajectory)}
            trajectories.append(row)
            path = {name: row[name] for name in ("eid", "probe_name", "provenance")}
            sites += [
                {**path, "site": k, **dict(zip(SITE_COLUMNS, site, strict=True))}
                for k, site in enumerate(trajectory.sites)
            ]
    owner = ("eid", "probe_name")
    _mirror((quality.InsertionQC, checks), owner=owner)
    _mirror((probe.ProbeInsertion.Pick, picks), owner=owner)
    located = (probe.Trajectory, trajectories), (probe.Trajectory.Site, sites)
    return _mirror(*located, owner=owner, told=[(one.eid, one.probe_name) for one in told])


def _write_datasets(
    batch: Sequence[SessionRecord], own: list[Row], location: str, report: Report
) -> None:
    datasets = [dataset for record in batch for dataset in record.datasets]
    listed = [_dataset_row(dataset, location) for dataset in datasets]
    listed += _unlisted(own, location, listed)
    _merge(session.Dataset, listed, own, "datasets", report)
    of_probes = [_probe_dataset_row(d) for d in datasets if d.probe_name]
    _merge(probe.ProbeInsertion.Dataset, of_probes, own, None, report)
    of_cameras = [_camera_dataset_row(d) for d in datasets if d.camera]
    _merge(video.CameraDataset, of_cameras, own, None, report)


def _unlisted(own: list[Row], location: str, listed: Sequence[Row]) -> list[Row]:
    """Return changed rows of the datasets that the source listed once, and no longer does."""
    held = session.Dataset & own & {"data_source": location, "is_listed": True}
    there = {_key(session.Dataset, row) for row in listed}
    gone = [key for key in held.proj().to_dicts() if _key(session.Dataset, key) not in there]
    return [{**key, "is_listed": False} for key in gone]


def _write_sortings(batch: Sequence[SessionRecord], own: list[Row], report: Report) -> None:
    sortings = [sort for record in batch for sort in record.sortings]
    known = [
        {
            "sorting_name": ephys.name_sorting(s.sorter, s.revision),
            "sorter": s.sorter,
            "sorter_revision": s.revision,
        }
        for s in sortings
    ]
    _merge(ephys.Sorting, known, {}, None, report)
    offered = [
        {
            "eid": s.eid,
            "probe_name": s.probe_name,
            "sorting_name": ephys.name_sorting(s.sorter, s.revision),
            "is_default_sorting": s.is_default,
        }
        for s in sortings
    ]
    _merge(ephys.OfferedSorting, offered, own, "sorts", report)
    _forget_sortings(own)


def _forget_sortings(own: list[Row]) -> None:
    """Take back the offer of sorts whose files are listed no more, unless they are imported."""
    there = ephys.fetch_listed_sorts(own)
    offered = (ephys.OfferedSorting * ephys.Sorting & own) - ephys.SpikeSorting.proj()
    names = ("eid", "probe_name", "sorter", "sorter_revision")
    gone = [
        {name: row[name] for name in ephys.OfferedSorting.primary_key}
        for row in offered.to_dicts()
        if tuple(row[name] for name in names) not in there
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


def _checks(of: str, checks: Iterable[CheckRecord]) -> Iterator[Row]:
    for check in checks:
        yield {
            f"{of}_check": check.name,
            f"{of}_check_value": check.value,
            f"{of}_check_outcome": check.outcome,
            f"{of}_check_text": check.text,
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


# --- up to date ---------------------------------------------------------------------------------


def _in(name: str, values: Iterable[str]) -> list[Row]:
    return [{name: value} for value in dict.fromkeys(values)]


def _merge(
    table: type[dj.Table],
    wanted: Iterable[Mapping[str, Any]],
    restriction: Any,
    kind: str | None,
    report: Report,
) -> None:
    """Insert the rows that are new, update those that say more or other than the held ones.

    A value that is not given (None) leaves the held one as it is.
    """
    fresh: dict[tuple, Row] = {}
    for row in wanted:
        merged = fresh.setdefault(_key(table, row), {})
        merged.update(
            {n: v for n, v in rows.clean(row).items() if v is not None or n not in merged}
        )
    if not fresh:
        return
    held = _held(table & restriction, table)
    new = [row for key, row in fresh.items() if key not in held]
    changed = [
        {**dict(zip(table.primary_key, key, strict=True)), **change}
        for key, row in fresh.items()
        if key in held and (change := _change(held[key], row))
    ]
    rows.insert(table(), new)
    for row in changed:
        table.update1(row)
    if kind:
        n_known = len(fresh) - len(new) - len(changed)
        report.count(kind, new=len(new), known=n_known, updated=len(changed))


def _mirror(
    *tables: tuple[type[dj.Table], Sequence[Row]],
    owner: tuple[str, ...],
    told: Sequence[tuple] = (),
) -> int:
    """Make the rows of each owner equal to the wanted ones; return how many rows were removed.

    Parameters
    ----------
    *tables
        Tables with their wanted rows, a parent before its part. The first tells the owners.
    owner : tuple of str
        Names of the key that the rows of one owner share.
    told : sequence of tuple
        Keys of owners that may have no wanted row.
    """
    keys = dict.fromkeys([*_owners(tables[0][1], owner), *told])
    owners = [dict(zip(owner, key, strict=True)) for key in keys]
    if not owners:
        return 0
    steps = []
    for table, wanted in tables:
        fresh = {_key(table, row): rows.clean(row) for row in wanted}
        steps.append((table, fresh, _held(table & owners, table)))
    n_gone = 0
    for table, fresh, held in reversed(steps):
        gone = [key for key in held if key not in fresh]
        n_gone = len(gone)  # of the first table in the end
        if gone:
            doomed = [dict(zip(table.primary_key, key, strict=True)) for key in gone]
            (table & doomed).delete_quick()
    for table, fresh, held in steps:
        rows.insert(table(), [row for key, row in fresh.items() if key not in held])
        for key, row in fresh.items():
            if key in held and any(held[key][name] != value for name, value in row.items()):
                table.update1(row)
    return n_gone


def _owners(wanted: Iterable[Row], owner: tuple[str, ...]) -> list[tuple]:
    return list(dict.fromkeys(tuple(row[name] for name in owner) for row in wanted))


def _held(found: dj.expression.QueryExpression, table: type[dj.Table]) -> dict[tuple, Row]:
    return {_key(table, row): row for row in found.to_dicts()}


def _key(table: type[dj.Table], row: Mapping[str, Any]) -> tuple:
    return tuple(row[name] for name in table.primary_key)


def _change(held: Mapping[str, Any], row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if value is not None and value != held[name]}
