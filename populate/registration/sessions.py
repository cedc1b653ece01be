"""Register what a source or a release list names: idempotent, whole sessions or nothing.

Facts that identify (subject, lab, date, number, pid, model, serial) never change: a second
registration that contradicts one is an error. Facts that are expected to move on (qc, projects,
protocol, the state of datasets) are updated. What was unknown is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import datajoint as dj

from populate.registration import left_out, upsert
from populate.registration.resumed import Resumed
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
    """Register the sessions that a source lists, with insertions, sorts, datasets and quality.

    Sessions are written as the source yields them, so that an interrupted registration keeps
    what it has. If a server is asked for the same sessions again within a day, those that were
    written are not requested again.

    Parameters
    ----------
    source : Source
        Where recordings are.
    selection : Selection, optional
        Which of them; default all.
    progress : callable, optional
        Called with the number of sessions written and of all sessions.
    eids : sequence of str, optional
        Instead of a selection: these sessions. One that the source lacks is refused alone, where
        a selection that names it is an error.
    task : str, optional
        Task that is imported of sessions that ran several, e.g. `task_01`.

    Returns
    -------
    Report
        What was done, and what was refused.
    Found or None
        What the selection names: sessions and insertions; None without a selection.
    """
    if long := too_long({"data_source": source.location}, text_limits(session.DataSource)):
        raise RegistrationError(long, source.location, "Link to the folder by a shorter path.")
    found = None if selection is None else source.find(selection)
    eids = eids if found is None else found.eids
    report, resumed = Report(), None
    if eids is not None and registry.type_of(source.location).is_server:
        resumed = Resumed(source.location, eids)
        eids = [eid for eid in eids if eid not in resumed.done]
        report.notes += resumed.notes()
    records = source.sessions() if eids is None else source.sessions(eids)
    total = None if eids is None else len(eids)
    rows.insert1(session.DataSource(), {"data_source": source.location}, skip_duplicates=True)
    written = resumed.add if resumed else None
    register_sessions(records, source.location, report, progress, total, task, written)
    if resumed:
        resumed.end()
    report.problems[:0] = getattr(source, "problems", ())
    report.notes[:0] = getattr(source, "notes", ())
    return report, found


def register_sessions(
    records: Iterable[SessionRecord],
    location: str | None,
    report: Report,
    progress: Progress | None = None,
    total: int | None = None,
    task: str | None = None,
    written: Callable[[list[str]], None] | None = None,
) -> set[str]:
    """Register sessions in transactions of whole sessions, as they come.

    `written` is called with the eids of each transaction.

    Returns
    -------
    set of str
        The eids that were accepted, new or known.
    """
    state, notes = _State.fetch(), left_out.Notes(task)
    accepted: set[str] = set()
    done = 0
    for batch in _batches(records):
        good = []
        for record in map(state.named, batch):
            problem = state.problem_with(record)
            if problem:
                report.problems.append(problem)
            else:
                state.add(record)
                good.append(record)
        if good:
            state.note_deleted(good)
            upsert.write(good, location, report)
            notes.take(good, report)
            accepted.update(record.eid for record in good)
            if written:
                written([record.eid for record in good])
        done += len(batch)
        if progress:
            progress(done, total or done)
    report.notes += [*notes.lines(), *bounded(state.renamed), *bounded(state.deleted)]
    return accepted


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
        if batch:  # what came before an outage is not lost
            yield batch
        raise
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
    renamed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

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
            limits=text_limits(*upsert.TABLES),
        )

    def named(self, record: SessionRecord) -> SessionRecord:
        """Name a mouse `nickname@lab` if another laboratory has a mouse of its nickname.

        A mouse that the source knows as the only one of its nickname has moved, if a session is
        of another laboratory: it stays that of the first.
        """
        held, mouse = self.labs.get(record.subject), record.mouse
        name = f"{record.subject}@{record.lab}"
        if not held or not record.lab or held == record.lab:
            return record
        if name not in self.labs:
            if mouse is None:
                return record
            if mouse.is_unique:
                return replace(record, lab=held)
            what = f"{record.subject} of {record.lab} is registered as the subject {name}"
            self.renamed.append(f"{what}, because {held} has a mouse of this nickname.")
        return replace(record, subject=name, mouse=mouse and replace(mouse, nickname=name))

    def problem_with(self, record: SessionRecord) -> BwmError | None:
        """Return what forbids to register a session, if anything does."""
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
        strange = (d.path for d in record.datasets if not is_dataset_path(d.path))
        if found := next(strange, None):
            what = f"the path of a dataset does not lead into the session: {found[:80]!r}."
            return RegistrationError(what, where, "Rename it in the source, register it again.")
        long = (too_long(row, self.limits) for row in upsert.rows_with_text(record))
        if found := next(filter(None, long), None):
            return RegistrationError(found, where, "Shorten it in the source, register it again.")
        if self.sessions.get(record.eid, day) != day:
            registered = _day_text(self.sessions[record.eid])
            return _contradiction(where, "eid", registered, _day_text(day))
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
        if not is_probe_name(new.probe_name):
            return RegistrationError(
                f"{new.probe_name!r} is not a valid probe name.",
                where,
                f"Use {PROBE_NAME_RULE}.",
            )
        if new.pid and not is_uuid(new.pid):
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

    def note_deleted(self, records: Iterable[SessionRecord]) -> None:
        """Note the registered insertions that the source had under a pid, and has no longer."""
        listed = {r.eid: {i.probe_name for i in r.insertions} for r in records if r.is_complete}
        for (eid, name), held in self.insertions.items():
            if eid in listed and held.get("pid") and name not in listed[eid]:
                what = f"insertion {held['pid']} ({name} of session {eid})"
                self.deleted.append(f"{what} is listed no longer; its rows are kept.")

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


NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""Characters that databases cannot store: NUL and lone surrogates."""


def text_limits(*tables: type[dj.Table]) -> dict[str, int]:
    """Tell how many characters fit into each column of text."""
    found = {}
    for table in tables:
        for name, attribute in table().heading.attributes.items():
            sized = re.search(r"char\D*\((\d+)\)", str(attribute.original_type or attribute.type))
            if sized:
                found[name] = int(sized[1])
    return found


def too_long(row: Mapping[str, Any], limits: Mapping[str, int]) -> str | None:
    """Say which text of a row does not fit: the error of a server names neither row nor value."""
    for name, value in row.items():
        if isinstance(value, str) and NO_TEXT.search(value):
            return f"{name} holds a character that no text has: {value[:60]!r}."
        if isinstance(value, str) and len(value) > limits.get(name, len(value)):
            return f"{name} has {len(value)} characters, {limits[name]} fit: {value[:60]!r}."
    return None


def is_uuid(text: str) -> bool:
    """Tell whether a text is a lower-case UUID."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def _day_text(day: tuple) -> str:
    """Return subject, date and number of a session as text."""
    return " ".join(map(str, day))


def _contradiction(where: str, name: str, held: object, new: object) -> Contradiction:
    return Contradiction(
        f"{name} is registered as {held}, not {new}.",
        where,
        "Correct the source, or delete the registered row first if that one is wrong.",
    )
