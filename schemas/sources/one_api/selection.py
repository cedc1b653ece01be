"""Selection of sessions and insertions among records; the rule of the releases."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from schemas.errors import QueryError
from schemas.maths.quality import BWM_PROJECT, BWM_TASK_CHECKS, BWM_TASK_PASS
from schemas.sources.records import Found, InsertionRecord, Selection, SessionRecord


def select(records: Sequence[SessionRecord], selection: Selection, where: Path) -> Found:
    """Choose among the sessions of a folder.

    Raises
    ------
    QueryError
        No record has a name of the selection, or cache tables lack its criterion.
    """
    if selection.tag or selection.region:
        what = "tags" if selection.tag else "the regions of insertions"
        remedy = "Ask the metadata server (--alyx URL), or choose by the other criteria."
        raise QueryError(f"Cache tables do not hold {what}.", where, remedy)
    if selection.bwm_rule and not any(record.checks for record in records):
        remedy = "Ask the metadata server (--alyx URL), or choose by the other criteria."
        raise QueryError("Its tables hold no quality checks of sessions.", where, remedy)
    _check_names(records, selection, where)
    by_insertion = bool(selection.pids or selection.bwm_rule)
    eids, insertions = [], []
    for session in records:
        if not _is_meant(session, selection):
            continue
        chosen = [i for i in session.insertions if _is_chosen(i, session, selection)]
        named = session.eid in selection.eids and not selection.bwm_rule
        if chosen or named or not by_insertion:
            eids.append(session.eid)
            insertions += [(i.eid, i.probe_name, i.pid) for i in chosen if i.pid]
    return Found(tuple(eids), tuple(insertions))


def _check_names(records: Iterable[SessionRecord], selection: Selection, where: Path) -> None:
    known = {
        "subject": {record.subject for record in records},
        "lab": {record.lab for record in records if record.lab},
        "project": {name for record in records for name in projects(record)},
    }
    for kind, names in known.items():
        asked = getattr(selection, kind)
        if asked is not None and asked not in names:
            raise unknown(kind, asked, names, where)
    eids = {record.eid for record in records}
    pids = {i.pid for record in records for i in record.insertions}
    for kind, asked, there in (("eid", selection.eids, eids), ("pid", selection.pids, pids)):
        if missing := [name for name in asked if name not in there]:
            raise unknown(kind, missing[0], (), where)


def unknown(kind: str, name: str, names: Iterable[str], where: object) -> QueryError:
    """Return the error of an unknown name, with the nearest known name."""
    near = difflib.get_close_matches(name, sorted(names), 1)
    remedy = f"Did you mean {near[0]!r}?" if near else "Check how it is written."
    return QueryError(f"There is no {kind} {name!r}.", where, remedy)


def projects(session: SessionRecord) -> list[str]:
    """Return the projects of a session."""
    return [name.strip() for name in (session.projects or "").split(",") if name.strip()]


def _is_meant(session: SessionRecord, selection: Selection) -> bool:
    named = not (selection.eids or selection.pids) or session.eid in selection.eids
    named = named or any(i.pid in selection.pids for i in session.insertions)
    return (
        named
        and selection.subject in (None, session.subject)
        and selection.lab in (None, session.lab)
        and (selection.project is None or selection.project in projects(session))
    )


def _is_chosen(insertion: InsertionRecord, session: SessionRecord, selection: Selection) -> bool:
    named = not (selection.eids or selection.pids) or session.eid in selection.eids
    named = named or insertion.pid in selection.pids
    return named and (not selection.bwm_rule or follows_bwm_rule(session, insertion))


def follows_bwm_rule(session: SessionRecord, insertion: InsertionRecord) -> bool:
    """Whether the rule of the Brain-Wide Map's releases selects an insertion.

    Session: project, quality below CRITICAL, behaviour criterion met, and each task check passed on
    90 % of trials or the task passed by the experimenter. Insertion: quality below CRITICAL,
    traced, alignment resolved. Mock sessions are excluded, too, but cache tables do not mark them.
    """
    checks = {check.name: check for check in session.checks}
    probe = {check.name: check.value for check in insertion.checks}
    values: Mapping[str, float | None] = {name: c.value for name, c in checks.items()}
    task = [values.get(name) for name in BWM_TASK_CHECKS]
    word = checks.get("_experimenter_task")
    return (
        BWM_PROJECT in projects(session)
        and session.qc != "CRITICAL"
        and values.get("behavior") == 1
        and (
            all(value is not None and value >= BWM_TASK_PASS for value in task)
            or (word is not None and word.outcome == "PASS")
        )
        and insertion.qc != "CRITICAL"
        and probe.get("tracing_exists") == 1
        and insertion.level == "resolved"
    )
