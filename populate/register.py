"""Register what a source or a release list names: idempotent, whole sessions or nothing.

Facts that identify (subject, lab, date, number, pid, model, serial) never change: a second
registration that contradicts one is an error. Facts that are expected to move on (qc, projects,
protocol, the state of datasets) are updated. What was unknown is filled in.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import datajoint as dj
import pandas as pd

from schemas import ephys, probe, release, rows, session, subject
from schemas.errors import BwmError, Contradiction, RegistrationError
from schemas.sources import base
from schemas.sources.base import DatasetRecord, InsertionRecord, SessionRecord, Source

RELEASE_COLUMNS = ("pid", "eid", "probe_name", "session_number", "date", "subject", "lab")
BATCH_ROWS = 4_000
"""Rows in a transaction: large enough to be fast, small enough to lose little when stopped."""

Progress = Callable[[int, int], None]


@dataclass
class Report:
    """What a registration did: new, known and updated rows by kind, and what was refused."""

    new: dict[str, int] = field(default_factory=dict)
    known: dict[str, int] = field(default_factory=dict)
    updated: dict[str, int] = field(default_factory=dict)
    problems: list[BwmError] = field(default_factory=list)

    def count(self, kind: str, *, new: int = 0, known: int = 0, updated: int = 0) -> None:
        """Add to the counts of a kind."""
        for counts, n in ((self.new, new), (self.known, known), (self.updated, updated)):
            counts[kind] = counts.get(kind, 0) + n

    @property
    def changed(self) -> bool:
        """Whether anything was written."""
        return any(self.new.values()) or any(self.updated.values())


def register_source(source: Source, progress: Progress | None = None) -> Report:
    """Register every session that a source lists, with its insertions, sorts and datasets."""
    records = list(source.sessions())
    report = Report(problems=list(getattr(source, "problems", ())))
    if long := _too_long({"data_source": source.location}, _text_limits(session.DataSource)):
        raise RegistrationError(long, source.location, "Link to the folder by a shorter path.")
    rows.insert1(session.DataSource(), {"data_source": source.location}, skip_duplicates=True)
    register_sessions(records, source.location, report, progress)
    return report


def register_release(
    path: Path, name: str | None = None, progress: Progress | None = None
) -> Report:
    """Register a release list and the sessions and insertions that it names.

    Parameters
    ----------
    path : Path
        CSV file with the columns `RELEASE_COLUMNS`.
    name : str, optional
        Name of the release; default the file's, without ending.

    Raises
    ------
    RegistrationError
        The file cannot be read or lacks columns. Bad rows are refused one by one in
        `Report.problems`; the release itself is then not registered, its good rows are.
    Contradiction
        The release is registered with other members.
    """
    path = Path(path)
    row = {"release_name": name or path.stem, "release_file": path.name}
    if long := _too_long(row, _text_limits(release.Release)):
        raise RegistrationError(long, path, "Give a shorter one by --name, or rename the file.")
    table, problems = _read_release(path)
    report = Report(problems=problems)
    records = [_session_of(group) for _, group in table.groupby("eid", sort=False)]
    accepted = register_sessions(records, None, report, progress)
    if report.problems:
        report.problems.append(
            RegistrationError(
                f"release {name or path.stem!r} is not registered, its good rows are.",
                path,
                "Correct the rows named above and register it again.",
            )
        )
        return report
    members = table[table.eid.isin(accepted)][["eid", "probe_name"]]
    _register_members(name or path.stem, path, members, report)
    return report


def register_sessions(
    records: Sequence[SessionRecord],
    location: str | None,
    report: Report,
    progress: Progress | None = None,
) -> set[str]:
    """Register sessions in transactions of whole sessions.

    Returns
    -------
    set of str
        The eids that were accepted, new or known.
    """
    state = _State.fetch()
    accepted = []
    for record in records:
        problem = state.problem_with(record)
        if problem:
            report.problems.append(problem)
        else:
            state.add(record)
            accepted.append(record)
    done = 0
    for batch in _batches(accepted):
        _write(batch, location, report)
        done += len(batch)
        if progress:
            progress(done, len(accepted))
    return {record.eid for record in accepted}


def _batches(records: Sequence[SessionRecord]) -> Iterator[list[SessionRecord]]:
    batch: list[SessionRecord] = []
    size = 0
    for record in records:
        batch.append(record)
        size += 4 + len(record.datasets)
        if size >= BATCH_ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


@dataclass
class _State:
    """What is registered: enough to check any record without a query."""

    labs: dict[str, str | None]
    sessions: dict[str, tuple]
    dates: dict[tuple, str]
    pids: dict[str, tuple[str, str]]
    insertions: dict[tuple[str, str], dict[str, Any]]
    limits: dict[str, int]

    @classmethod
    def fetch(cls) -> _State:
        mice = subject.Subject.proj("lab").to_dicts()
        names = ("pid", "probe_model", "probe_serial")
        insertions = probe.ProbeInsertion.proj(*names).to_dicts()
        days = session.fetch_days()
        return cls(
            labs={mouse["subject"]: mouse["lab"] for mouse in mice},
            sessions={eid: day for day, eid in days.items()},
            dates=days,
            pids={i["pid"]: (i["eid"], i["probe_name"]) for i in insertions if i["pid"]},
            insertions={(i["eid"], i["probe_name"]): i for i in insertions},
            limits=_text_limits(
                subject.Subject,
                session.Session,
                session.Dataset,
                probe.ProbeInsertion,
                probe.ProbeInsertion.Dataset,
                ephys.Sorting,
            ),
        )

    def problem_with(self, record: SessionRecord) -> BwmError | None:
        """Return what forbids to register a session, if anything does."""
        day = (record.subject, record.date, record.number)
        where = f"session {record.eid} ({record.subject} {record.date} {record.number})"
        if not _is_uuid(record.eid):
            return RegistrationError("malformed eid.", where, "It must be a lower-case UUID.")
        if not base.is_subject_name(record.subject):
            return RegistrationError(
                f"{record.subject!r} cannot name a subject.",
                where,
                "Letters, digits, '_', '-' and single dots are allowed.",
            )
        if record.lab and not LAB_NAME.fullmatch(record.lab):
            return RegistrationError(
                f"{record.lab!r} cannot name a lab.", where, "Letters, digits and '_' are allowed."
            )
        long = (_too_long(row, self.limits) for row in _rows_of(record))
        if found := next(filter(None, long), None):
            return RegistrationError(found, where, "Shorten it in the source, register it again.")
        if self.sessions.get(record.eid, day) != day:
            return _contradiction(where, "eid", self.sessions[record.eid], day)
        if self.dates.get(day, record.eid) != record.eid:
            return _contradiction(where, "session", self.dates[day], record.eid)
        lab = self.labs.get(record.subject)
        if lab and record.lab and lab != record.lab:
            return _contradiction(where, f"lab of {record.subject}", lab, record.lab)
        pids = [insertion.pid for insertion in record.insertions if insertion.pid]
        if len(set(pids)) < len(pids):
            return RegistrationError("two probes have the same pid.", where, "Correct the source.")
        problems = (self._insertion_problem(insertion) for insertion in record.insertions)
        return next((problem for problem in problems if problem), None)

    def _insertion_problem(self, new: InsertionRecord) -> BwmError | None:
        where = f"insertion {new.pid} ({new.probe_name} of session {new.eid})"
        if new.pid and not _is_uuid(new.pid):
            return RegistrationError("malformed pid.", where, "It must be a lower-case UUID.")
        place = (new.eid, new.probe_name)
        if new.pid and self.pids.get(new.pid, place) != place:
            other = " of session ".join(reversed(self.pids[new.pid]))
            return _contradiction(where, "pid", other, f"{new.probe_name} of session {new.eid}")
        held = self.insertions.get(place, {})
        facts = {"pid": new.pid, "probe_model": new.model, "probe_serial": new.serial}
        for name, value in facts.items():
            if held.get(name) and value and held[name] != value:
                return _contradiction(where, name, held[name], value)
        return None

    def add(self, record: SessionRecord) -> None:
        """Note a record, so that the next ones are checked against it too."""
        day = (record.subject, record.date, record.number)
        self.sessions[record.eid], self.dates[day] = day, record.eid
        self.labs[record.subject] = self.labs.get(record.subject) or record.lab
        for new in record.insertions:
            place = (new.eid, new.probe_name)
            if new.pid:
                self.pids[new.pid] = place
            facts = {"pid": new.pid, "probe_model": new.model, "probe_serial": new.serial}
            held = self.insertions.setdefault(place, {})
            held.update({name: value for name, value in facts.items() if value})


LAB_NAME = re.compile(r"\w+")


def _rows_of(record: SessionRecord) -> Iterator[dict[str, Any]]:
    """Yield the rows of a session whose texts could be too long."""
    yield {**_session_row(record), "lab": record.lab}
    yield from map(_insertion_row, record.insertions)
    for dataset in record.datasets:
        yield {**_dataset_row(dataset, ""), "dataset_sorter": dataset.sorter}
    for sort in record.sortings:
        yield {"sorting_name": ephys.name_sorting(sort.sorter, sort.revision)}


def _text_limits(*tables: type[dj.Table]) -> dict[str, int]:
    """Tell how many characters fit into each column of text."""
    found = {}
    for table in tables:
        for name, attribute in table().heading.attributes.items():
            sized = re.search(r"char\D*\((\d+)\)", str(attribute.original_type or attribute.type))
            if sized:
                found[name] = int(sized[1])
    return found


def _too_long(row: Mapping[str, Any], limits: Mapping[str, int]) -> str | None:
    """Say which text of a row does not fit: the error of a server names neither row nor value."""
    for name, value in row.items():
        if isinstance(value, str) and len(value) > limits.get(name, len(value)):
            return f"{name} has {len(value)} characters, {limits[name]} fit: {value[:60]!r}."
    return None


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _contradiction(where: str, name: str, held: object, new: object) -> Contradiction:
    return Contradiction(
        f"{name} is registered as {held}, not {new}.",
        where,
        "Correct the source, or delete the registered row first if that one is wrong.",
    )


def _write(batch: Sequence[SessionRecord], location: str | None, report: Report) -> None:
    """Insert or update a batch of sessions in one transaction."""
    sortings = {
        (s.sorter, s.revision): ephys.name_sorting(s.sorter, s.revision)
        for record in batch
        for s in record.sortings
    }
    with dj.conn().transaction:
        own = session.Session & _in("eid", [record.eid for record in batch])
        labs = [{"lab": r.lab} for r in batch if r.lab]
        mice = [{"subject": r.subject, "lab": r.lab} for r in batch]
        names = [r.subject for r in batch]
        _merge(subject.Lab, labs, _in("lab", [r["lab"] for r in labs]), "labs", report)
        _merge(subject.Subject, mice, _in("subject", names), "subjects", report)
        _merge(session.Session, map(_session_row, batch), own.proj(), "sessions", report)
        _merge(
            probe.ProbeInsertion,
            (_insertion_row(i) for r in batch for i in r.insertions),
            own.proj(),
            "insertions",
            report,
        )
        if location is None:
            return
        _merge(
            session.Dataset,
            (_dataset_row(d, location) for r in batch for d in r.datasets),
            own.proj(),
            "datasets",
            report,
        )
        links = [
            {
                "eid": d.eid,
                "probe_name": d.probe_name,
                "dataset_path": d.path,
                "dataset_sorter": d.sorter,
            }
            for r in batch
            for d in r.datasets
            if d.probe_name
        ]
        _merge(probe.ProbeInsertion.Dataset, links, own.proj(), None, report)
        known = [
            {"sorting_name": name, "sorter": sorter, "sorter_revision": revision}
            for (sorter, revision), name in sortings.items()
        ]
        _merge(ephys.Sorting, known, {}, None, report)
        offered = [
            {
                "eid": s.eid,
                "probe_name": s.probe_name,
                "sorting_name": sortings[s.sorter, s.revision],
                "is_default_sorting": s.is_default,
            }
            for r in batch
            for s in r.sortings
        ]
        _merge(ephys.OfferedSorting, offered, own.proj(), "sorts", report)


def _in(name: str, values: Iterable[str]) -> list[dict[str, str]]:
    return [{name: value} for value in dict.fromkeys(values)]


def _session_row(record: SessionRecord) -> dict[str, Any]:
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


def _insertion_row(record: InsertionRecord) -> dict[str, Any]:
    return {
        "eid": record.eid,
        "probe_name": record.probe_name,
        "pid": record.pid,
        "probe_model": record.model,
        "probe_serial": record.serial,
        "insertion_qc": record.qc,
    }


def _dataset_row(record: DatasetRecord, location: str) -> dict[str, Any]:
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
        "dataset_qc": record.qc,
    }


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
    key_names = table.primary_key
    fresh: dict[tuple, dict[str, Any]] = {}
    for row in wanted:
        merged = fresh.setdefault(tuple(row[name] for name in key_names), {})
        merged.update(
            {n: v for n, v in rows.clean(row).items() if v is not None or n not in merged}
        )
    if not fresh:
        return
    held = {
        tuple(row[name] for name in key_names): row
        for row in (table & restriction).proj(*next(iter(fresh.values()))).to_dicts()
    }
    new = [row for key, row in fresh.items() if key not in held]
    changed = [
        {**dict(zip(key_names, key, strict=True)), **change}
        for key, row in fresh.items()
        if key in held and (change := _change(held[key], row))
    ]
    rows.insert(table(), new)
    for row in changed:
        table.update1(row)
    if kind:
        n_known = len(fresh) - len(new) - len(changed)
        report.count(kind, new=len(new), known=n_known, updated=len(changed))


def _change(held: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None and value != held[name]}


def _read_release(path: Path) -> tuple[pd.DataFrame, list[BwmError]]:
    """Read a release list: its good rows, and what is wrong with the others."""
    try:
        # Blank lines are read so that the others keep their numbers.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise RegistrationError(
            f"cannot be read as CSV ({error}).", path, "Give the path of a release list."
        ) from None
    absent = [name for name in RELEASE_COLUMNS if name not in table.columns]
    if absent:
        raise RegistrationError(
            f"lacks the columns {', '.join(absent)}.",
            path,
            f"A release list has the columns {', '.join(RELEASE_COLUMNS)}.",
        )
    table = table[list(RELEASE_COLUMNS)].reset_index(drop=True)
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise RegistrationError("lists no insertion.", path, "Give the path of a release list.")
    faults = _row_faults(table)
    problems: list[BwmError] = [
        RegistrationError(fault, f"{path}, line {row + 2}", "Correct the row.")
        for row, fault in faults.items()
    ]
    return table.drop(index=list(faults)), problems


def _row_faults(table: pd.DataFrame) -> dict[int, str]:
    """Find the rows of a release list that cannot be meant, by position."""
    faults: dict[int, str] = {}
    written = table.date.where(table.date.str.fullmatch(r"\d{4}-\d{2}-\d{2}"))
    dates = pd.to_datetime(written, format="%Y-%m-%d", errors="coerce")
    checks = [
        (~table.pid.map(_is_uuid), "malformed pid {pid!r}, not a lower-case UUID."),
        (~table.eid.map(_is_uuid), "malformed eid {eid!r}, not a lower-case UUID."),
        (table.pid.duplicated(), "pid {pid} stands in an earlier row too."),
        (table.duplicated(["eid", "probe_name"]), "{probe_name} of {eid} is in an earlier row."),
        (
            ~table.session_number.str.fullmatch(r"[0-9]{1,3}"),
            "session number {session_number!r} is not between 0 and 999.",
        ),
        (dates.isna(), "{date!r} is not a date of the form 2020-12-31."),
        (
            ~table.probe_name.str.fullmatch(r"[A-Za-z0-9_-]{1,16}"),
            "{probe_name!r} cannot name a probe: 1 to 16 letters, digits, '_' and '-' can.",
        ),
        (table.lab == "", "no lab."),
        (_differs(table), "subject, date, number or lab differ from an earlier row of {eid}."),
    ]
    for failed, text in checks:
        for row in table.index[failed]:
            faults.setdefault(int(row), text.format(**table.loc[row].to_dict()))
    return faults


def _differs(table: pd.DataFrame) -> pd.Series:
    facts = ["subject", "date", "session_number", "lab"]
    return (table.groupby("eid")[facts].transform("first") != table[facts]).any(axis=1)


def _session_of(group: pd.DataFrame) -> SessionRecord:
    first = group.iloc[0]
    insertions = tuple(
        InsertionRecord(row.eid, row.probe_name, row.pid) for row in group.itertuples()
    )
    return SessionRecord(
        eid=first.eid,
        subject=first.subject,
        date=rows.as_date(first.date),
        number=int(first.session_number),
        lab=first.lab,
        insertions=insertions,
    )


def _register_members(name: str, path: Path, members: pd.DataFrame, report: Report) -> None:
    """Register a release, or check that it has the members that it is registered with."""
    row = {"release_name": name}
    given = set(members.itertuples(index=False, name=None))
    if release.Release & row:
        held = rows.frame(release.Release.Insertion & row)
        if set(held[["eid", "probe_name"]].itertuples(index=False, name=None)) != given:
            raise Contradiction(
                f"release {name} is registered with {len(held)} other members, not {len(given)}.",
                path,
                "A release does not change: register this list under another --name.",
            )
        report.count("releases", known=1)
        return
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    with dj.conn().transaction:
        rows.insert1(release.Release(), {**row, "release_file": path.name, "release_md5": digest})
        rows.insert(release.Release.Insertion(), members, row)
    report.count("releases", new=1)
