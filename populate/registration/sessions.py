"""Register the sessions that a source or a release list names.

A session is written completely or not at all; repeating a registration changes nothing. Facts that
identify (subject, lab, date, number, pid, model, serial) never change: a registration that
contradicts one is an error. Facts that may change (qc, projects, protocol, the state of datasets)
are updated. Unknown facts are filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import datajoint as dj

from populate.registration import left_out, upsert
from populate.registration.checkpoint import Checkpoint
from populate.registration.upsert import Report
from schemas import probe, rows, session, subject
from schemas.errors import BwmError, Contradiction, RegistrationError
from schemas.sources import registry
from schemas.sources.base import Source
from schemas.sources.names import (
    PROBE_NAME_RULE,
    bounded,
    is_dataset_path,
    is_lab_name,
    is_probe_name,
    is_subject_name,
)
from schemas.sources.records import Found, InsertionRecord, Selection, SessionRecord

BATCH_ROWS = 4_000
"""Rows in a transaction: large enough to be fast, small enough to lose little when stopped."""

Progress = Callable[[int, int], None]


def register_source(
    source: Source,
    selection: Selection | None = None,
    progress: Progress | None = None,
    *,
    eids: Sequence[str] | None = None,
    task: str | None = None,
) -> tuple[Report, Found | None]:
    """Register the sessions that a source lists, with all that it lists of them.

    Sessions are written as the source yields them, so that an interrupted registration keeps those
    that it has written. If the same sessions are registered from the same server again within a
    day, those that were written are not requested again.

    Parameters
    ----------
    source : Source
        Folder or server with recordings.
    selection : Selection, optional
        Which sessions to register; default all.
    progress : callable, optional
        Called with the number of sessions written and of all sessions.
    eids : sequence of str, optional
        Sessions to register; not together with `selection`. A session that the source lacks
        becomes a problem of the report; in a selection it raises an error.
    task : str, optional
        Task to import for sessions with several tasks, e.g. `task_01`.

    Returns
    -------
    Report
        Counts of rows, problems and notes.
    Found or None
        Sessions and insertions that the selection names; None without a selection.
    """
    row = {"data_source": source.location}
    if problem := text_problem(row, text_limits(session.DataSource)):
        raise RegistrationError(problem, source.location, "Link to the folder by a shorter path.")
    found = None if selection is None else source.find(selection)
    eids = eids if found is None else found.eids
    report, checkpoint = Report(), None
    if eids is not None and registry.type_of(source.location).is_server:
        checkpoint = Checkpoint(source.location, eids)
        eids = [eid for eid in eids if eid not in checkpoint.done]
        report.notes += checkpoint.notes()
    records = source.sessions() if eids is None else source.sessions(eids)
    total = None if eids is None else len(eids)
    rows.insert1(session.DataSource(), row, skip_duplicates=True)
    on_written = checkpoint.add if checkpoint else None
    register_sessions(records, source.location, report, progress, total, task, on_written)
    if checkpoint:
        checkpoint.delete()
    # Only now: a source finds them while it yields its sessions.
    report.problems[:0] = source.problems
    report.notes[:0] = getattr(source, "notes", ())  # not every source has notes
    return report, found


def register_sessions(
    records: Iterable[SessionRecord],
    location: str | None,
    report: Report,
    progress: Progress | None = None,
    total: int | None = None,
    task: str | None = None,
    on_written: Callable[[list[str]], None] | None = None,
) -> None:
    """Register sessions batch by batch; each batch is one transaction.

    `on_written` is called with the eids of each batch.
    """
    state, notes = _State.fetch(), left_out.Notes(task)
    done = 0
    for batch in _batches(records):
        good = []
        for record in map(state.with_unique_subject, batch):
            problem = state.problem_with(record)
            if problem:
                report.problems.append(problem)
            else:
                state.add(record)
                good.append(record)
        if good:
            state.note_deleted(good)
            upsert.write(good, location, report)
            upsert.choose_tasks(notes.add(good))
            if on_written:
                on_written([record.eid for record in good])
        done += len(batch)
        if progress:
            progress(done, total or done)
    report.notes += [*notes.lines(), *bounded(state.renamed), *bounded(state.deleted)]


def _batches(records: Iterable[SessionRecord]) -> Iterator[list[SessionRecord]]:
    batch: list[SessionRecord] = []
    size = 0
    try:
        for record in records:
            batch.append(record)
            size += upsert.size_of(record)
            if size >= BATCH_ROWS:
                yield batch
                batch, size = [], 0
    except BwmError:
        if batch:  # the sessions before the error are not lost
            yield batch
        raise
    if batch:
        yield batch


@dataclass
class _State:
    """The registered facts with which any record is checked without a query.

    Attributes
    ----------
    lab_of_subject : dict
    day_of_eid : dict
        Subject, date and number of each session.
    eid_of_day : dict
        The reverse of `day_of_eid`.
    insertion_of_pid : dict
        Eid and probe name of each pid.
    insertions : dict
        Known facts of each insertion (pid, model, serial), by eid and probe name.
    limits : dict
        Number of characters that fit into each column of text.
    renamed, deleted : list of str
        Notes on subjects that were renamed, and on insertions that are no longer listed.
    """

    lab_of_subject: dict[str, str | None]
    day_of_eid: dict[str, tuple]
    eid_of_day: dict[tuple, str]
    insertion_of_pid: dict[str, tuple[str, str]]
    insertions: dict[tuple[str, str], dict[str, Any]]
    limits: dict[str, int]
    renamed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    @classmethod
    def fetch(cls) -> _State:
        mice = subject.Subject.proj("lab").to_dicts()
        names = ("pid", "probe_model", "probe_serial")
        found = probe.ProbeInsertion.proj(*names).to_dicts()
        days = session.fetch_days()
        return cls(
            lab_of_subject={mouse["subject"]: mouse["lab"] for mouse in mice},
            day_of_eid={eid: day for day, eid in days.items()},
            eid_of_day=days,
            insertion_of_pid={i["pid"]: (i["eid"], i["probe_name"]) for i in found if i["pid"]},
            insertions={
                (i["eid"], i["probe_name"]): {name: i[name] for name in names if i[name]}
                for i in found
            },
            limits=text_limits(*upsert.TABLES_WITH_TEXT),
        )

    def with_unique_subject(self, record: SessionRecord) -> SessionRecord:
        """Rename the subject of a record if another lab has a registered mouse of that nickname.

        The name becomes `nickname@lab`. If no subject of that name is registered, there are two
        exceptions. If the source knows only one mouse of the nickname, the mouse has moved: it
        keeps its registered lab. If the source says nothing of mice, the record stays as it is, and
        `problem_with` refuses it.
        """
        lab, mouse = self.lab_of_subject.get(record.subject), record.mouse
        name = f"{record.subject}@{record.lab}"
        if not lab or not record.lab or lab == record.lab:
            return record
        if name not in self.lab_of_subject:
            if mouse is None:
                return record
            if mouse.is_unique:
                return replace(record, lab=lab)
            what = f"{record.subject} of {record.lab} is registered as the subject {name}"
            self.renamed.append(f"{what}, because {lab} has a mouse of this nickname.")
        return replace(record, subject=name, mouse=mouse and replace(mouse, nickname=name))

    def problem_with(self, record: SessionRecord) -> BwmError | None:
        """Return the reason why a session cannot be registered, or None."""
        day = (record.subject, record.date, record.number)
        where = f"session {record.eid} ({_day_text(day)})"
        if not is_uuid(record.eid):
            return RegistrationError("malformed eid.", where, "It must be a lower-case UUID.")
        if not is_subject_name(record.subject.removesuffix(f"@{record.lab}")):
            return RegistrationError(
                f"{record.subject!r} is not a valid name of a subject.",
                where,
                "Letters, digits, '_', '-' and single dots are allowed.",
            )
        if record.lab and not is_lab_name(record.lab):
            return RegistrationError(
                f"{record.lab!r} is not a valid name of a lab.",
                where,
                "Letters, digits and '_' are allowed.",
            )
        outside = (d.path for d in record.datasets if not is_dataset_path(d.path))
        if path := next(outside, None):
            what = f"the path of a dataset is not below the session folder: {path[:80]!r}."
            return RegistrationError(
                what, where, "Rename the file in the source, and register again."
            )
        problems = (text_problem(row, self.limits) for row in upsert.rows_with_text(record))
        if problem := next(filter(None, problems), None):
            return RegistrationError(problem, where, "Change it in the source, and register again.")
        if self.day_of_eid.get(record.eid, day) != day:
            registered = _day_text(self.day_of_eid[record.eid])
            return _contradiction(where, "eid", registered, _day_text(day))
        if self.eid_of_day.get(day, record.eid) != record.eid:
            return _contradiction(where, "session", self.eid_of_day[day], record.eid)
        lab = self.lab_of_subject.get(record.subject)
        if lab and record.lab and lab != record.lab:
            return _contradiction(where, f"lab of {record.subject}", lab, record.lab)
        pids = [insertion.pid for insertion in record.insertions if insertion.pid]
        if len(set(pids)) < len(pids):
            return RegistrationError("two probes have the same pid.", where, "Correct the source.")
        return next(filter(None, map(self._insertion_problem, record.insertions)), None)

    def _insertion_problem(self, new: InsertionRecord) -> BwmError | None:
        where = f"insertion {new.pid} ({new.probe_name} of session {new.eid})"
        if not is_probe_name(new.probe_name):
            return RegistrationError(
                f"{new.probe_name!r} is not a valid probe name.",
                where,
                f"Use {PROBE_NAME_RULE}.",
            )
        if new.pid and not is_uuid(new.pid):
            return RegistrationError("malformed pid.", where, "It must be a lower-case UUID.")
        key = (new.eid, new.probe_name)
        eid, probe_name = self.insertion_of_pid.get(new.pid or "", key)
        if (eid, probe_name) != key:
            registered = f"{probe_name} of session {eid}"
            return _contradiction(
                where, "pid", registered, f"{new.probe_name} of session {new.eid}"
            )
        registered_facts = self.insertions.get(key, {})
        for name, value in _insertion_facts(new).items():
            if registered_facts.get(name, value) != value:
                return _contradiction(where, name, registered_facts[name], value)
        return None

    def note_deleted(self, records: Iterable[SessionRecord]) -> None:
        """Note registered insertions with a pid that a complete record no longer lists."""
        listed = {r.eid: {i.probe_name for i in r.insertions} for r in records if r.is_complete}
        for (eid, name), facts in self.insertions.items():
            if eid in listed and "pid" in facts and name not in listed[eid]:
                what = f"insertion {facts['pid']} ({name} of session {eid})"
                self.deleted.append(f"{what} is no longer listed; its rows are kept.")

    def add(self, record: SessionRecord) -> None:
        """Add the facts of a record, so that later records are checked against them too."""
        day = (record.subject, record.date, record.number)
        self.day_of_eid[record.eid], self.eid_of_day[day] = day, record.eid
        lab = self.lab_of_subject.get(record.subject) or record.lab
        self.lab_of_subject[record.subject] = lab
        for new in record.insertions:
            key = (new.eid, new.probe_name)
            if new.pid:
                self.insertion_of_pid[new.pid] = key
            self.insertions.setdefault(key, {}).update(_insertion_facts(new))


def _insertion_facts(record: InsertionRecord) -> dict[str, str]:
    """Return the known facts of an insertion that identify it."""
    facts = {"pid": record.pid, "probe_model": record.model, "probe_serial": record.serial}
    return {name: value for name, value in facts.items() if value}


UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""Characters that databases cannot store: NUL and lone surrogates."""


def text_limits(*tables: type[dj.Table]) -> dict[str, int]:
    """Return how many characters fit into each column of text."""
    found = {}
    for table in tables:
        for name, attribute in table().heading.attributes.items():
            sized = re.search(r"char\D*\((\d+)\)", str(attribute.original_type or attribute.type))
            if sized:
                found[name] = int(sized[1])
    return found


def text_problem(row: Mapping[str, Any], limits: Mapping[str, int]) -> str | None:
    """Return which text of a row the database cannot store, or None.

    The error of a server names neither the row nor the value.
    """
    for name, value in row.items():
        if isinstance(value, str) and UNSTORABLE.search(value):
            return f"{name} has a character that databases cannot store: {value[:60]!r}."
        if isinstance(value, str) and len(value) > limits.get(name, len(value)):
            return f"{name} has {len(value)} characters, {limits[name]} fit: {value[:60]!r}."
    return None


def is_uuid(text: str) -> bool:
    """Return whether a text is a lower-case UUID."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _day_text(day: tuple) -> str:
    """Return subject, date and number of a session as text."""
    return " ".join(map(str, day))


def _contradiction(where: str, name: str, registered: object, new: object) -> Contradiction:
    return Contradiction(
        f"{name} is registered as {registered}, not {new}.",
        where,
        "Correct the source, or delete the registered row first if that row is wrong.",
    )
