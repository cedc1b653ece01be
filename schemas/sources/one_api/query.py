"""Queries to Alyx for a selection.

Alyx matches tags and projects by parts of their names, ignoring case. Names are therefore looked up
first, and replies are filtered again.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.errors import QueryError
from schemas.maths.quality import BWM_PROJECT, BWM_TASK_CHECKS, BWM_TASK_PASS
from schemas.sources import ontology
from schemas.sources.one_api import forms
from schemas.sources.one_api.client import Client, NotThere
from schemas.sources.one_api.records import json_object
from schemas.sources.one_api.selection import unknown
from schemas.sources.records import Found, Selection

Reply = Mapping[str, Any]

BATCH = 50
"""Number of ids in a request: addresses may have at most 4,000 characters."""

CRITICAL = 50
"""Number of the outcome CRITICAL in filters of Alyx."""

TAGGED = {"sessions": "data_dataset_session_related", "insertions": "datasets"}
"""Name of the datasets of a record in filters of Alyx."""


def find(client: Client, selection: Selection, where: str) -> Found:
    """Return the sessions and insertions that a selection names.

    Raises
    ------
    QueryError
        A name or id is unknown to the server.
    """
    _check_names(client, selection, where)
    by_insertion = bool(selection.pids or selection.region or selection.bwm_rule)
    insertions = _insertions(client, selection, where)
    sessions = {row["session"]: row["session_info"] for row in insertions.values()}
    if not by_insertion or selection.eids:
        named = _sessions(client, selection, where)
        _check_ids("eid", selection, named, where)
        if not (selection.region or selection.bwm_rule):
            sessions |= named
    order = sorted(sessions, key=lambda eid: _order(sessions[eid]))
    rank = {eid: k for k, eid in enumerate(order)}
    found = [(row["session"], row["name"], pid) for pid, row in insertions.items()]
    return Found(tuple(order), tuple(sorted(found, key=lambda i: (rank[i[0]], i[1]))))


def django(terms: Mapping[str, Any]) -> dict[str, str]:
    """Write conditions for Alyx's filter `django`; lists are for terms with `__in`."""
    words = [f"{term},{value}" for term, value in terms.items()]
    return {"django": ",".join(words)} if words else {}


def _order(info: Reply) -> tuple[Any, ...]:
    """Return the place of a session; the server may know neither its start nor its number."""
    return info["subject"] or "", (info["start_time"] or "")[:10], info["number"] or 0


# --- names --------------------------------------------------------------------------------------


def _check_names(client: Client, selection: Selection, where: str) -> None:
    """Refuse unknown names, for which the server would return an empty list."""
    known = (("tag", "tags"), ("lab", "labs"), ("project", "projects"), ("subject", "subjects"))
    for kind, endpoint in known:
        name = getattr(selection, kind)
        if name is None:
            continue
        if not _is_known(client, endpoint, name):
            names = _names(client, endpoint) if kind != "subject" else []
            raise unknown(kind, name, names, where)
    for kind, ids in (("eid", selection.eids), ("pid", selection.pids)):
        for text in ids:
            if not _is_uuid(text):
                raise QueryError(f"{text!r} is no {kind}.", where, "Give a UUID, in lower case.")
    if selection.region is not None:
        _region_id(selection.region)


def _is_known(client: Client, endpoint: str, name: str) -> bool:
    """Whether the server has this name, which it looks up ignoring case."""
    if "," in name:
        return False
    if endpoint == "subjects":  # a nickname can be that of several mice: it reads none of them
        mice = client.rows(endpoint, **django({"nickname__in": [name]}))
        return any(mouse.get("nickname") == name for mouse in mice)
    try:
        return client.read(endpoint, name).get("name") == name
    except NotThere:
        return False


def _names(client: Client, endpoint: str) -> list[str]:
    names = (row["name"] for row in client.rows(endpoint, key="name"))
    return [name for name in names if isinstance(name, str)]


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _region_id(acronym: str) -> int:
    """Return the id of a region; the server does not tell acronyms apart by case."""
    regions = ontology.load_ontology()
    ids = dict(zip(regions["region_acronym"], regions["region_id"], strict=True))
    if acronym not in ids:
        raise unknown("region", acronym, ids, "Allen atlas")
    return int(ids[acronym])


def _check_ids(kind: str, selection: Selection, there: Mapping[str, Any], where: str) -> None:
    asked = selection.eids if kind == "eid" else selection.pids
    missing = [name for name in asked if name not in there]
    if not missing:
        return
    if _filters(selection) or selection.tag or selection.project:
        what = f"No {kind} {missing[0]!r} meets the other criteria."
        raise QueryError(what, where, "Check the id, or leave the other criteria out.")
    raise unknown(kind, missing[0], (), where)


# --- requests -----------------------------------------------------------------------------------


def _insertions(client: Client, selection: Selection, where: str) -> dict[str, Reply]:
    filters = _filters(selection)
    if selection.region is not None:
        filters["atlas_id"] = _region_id(selection.region)
    found: dict[str, Reply] = {}
    for named in _named("insertions", selection):
        for rule in _bwm_terms() if selection.bwm_rule else [{}]:
            terms = {**_terms("insertions", selection), **named, **rule}
            rows = client.rows("insertions", **filters, **django(terms))
            rows = forms.parsed_rows(forms.ListedInsertion, rows, "insertions", where)
            # A chronic insertion is of no session.
            of_sessions = (row for row in rows if row["session"] and row["session_info"])
            found |= {r["id"]: r for r in of_sessions if _is_meant(r["session_info"], selection)}
    if selection.bwm_rule:
        mock = {row["id"] for row in client.rows("sessions", **django({"json__IS_MOCK": True}))}
        found = {
            pid: row
            for pid, row in found.items()
            if row["session"] not in mock and _may_follow_bwm_rule(row)
        }
    elif not selection.region:
        _check_ids("pid", selection, found, where)
    return found


def _sessions(client: Client, selection: Selection, where: str) -> dict[str, Reply]:
    found: dict[str, Reply] = {}
    for named in _named("sessions", selection):
        terms = {**_terms("sessions", selection), **named}
        rows = client.rows("sessions", **_filters(selection), **django(terms))
        rows = forms.parsed_rows(forms.ListedSession, rows, "sessions", where)
        found |= {row["id"]: row for row in rows if _is_meant(row, selection)}
    return found


def _named(endpoint: str, selection: Selection) -> Iterator[dict[str, Any]]:
    """Yield conditions for the named sessions and insertions, in batches."""
    own = "id__in"
    sessions = "session__in" if endpoint == "insertions" else own
    for start in range(0, len(selection.eids), BATCH):
        yield {sessions: list(selection.eids[start : start + BATCH])}
    if endpoint == "insertions":
        for start in range(0, len(selection.pids), BATCH):
            yield {own: list(selection.pids[start : start + BATCH])}
    if not (selection.eids or selection.pids):
        yield {}


def _filters(selection: Selection) -> dict[str, Any]:
    asked = {"subject": selection.subject, "lab": selection.lab}
    return {name: value for name, value in asked.items() if value is not None}


def _terms(endpoint: str, selection: Selection) -> dict[str, Any]:
    """Return conditions by exact name, for which no session comes twice.

    The server's own filter by project lists a session once for each project that has the name as
    a part of its own.
    """
    of_session = "session__" if endpoint == "insertions" else ""
    asked = {
        f"{TAGGED[endpoint]}__tags__name": selection.tag,
        f"{of_session}projects__name": selection.project,
    }
    return {term: value for term, value in asked.items() if value is not None}


def _is_meant(info: Reply, selection: Selection) -> bool:
    """Whether a reply matches exactly: the server matches projects by parts of their names."""
    return (
        selection.subject in (None, info["subject"])
        and selection.lab in (None, info["lab"])
        and (selection.project is None or selection.project in (info["projects"] or ()))
    )


# --- the rule of the releases ---------------------------------------------------------------------


def _bwm_terms() -> list[dict[str, Any]]:
    """Return the two sets of conditions of the rule: task checks, or the experimenter's PASS."""
    both = {
        "session__projects__name": BWM_PROJECT,
        "session__qc__lt": CRITICAL,
        "session__extended_qc__behavior": 1,
        "json__extended_qc__tracing_exists": True,
        "json__extended_qc__alignment_resolved": True,
    }
    task = {f"session__extended_qc__{check}__gte": BWM_TASK_PASS for check in BWM_TASK_CHECKS}
    return [both | task, both | {"session__extended_qc___experimenter_task": "PASS"}]


def _may_follow_bwm_rule(insertion: Reply) -> bool:
    """Check the rule by the fields in the list of insertions.

    Only this function excludes CRITICAL insertions: the server's own filter drops some insertions
    that have no quality.
    """
    facts = json_object(insertion["json"]) or {}
    checks = json_object(facts.get("extended_qc")) or {}
    return (
        BWM_PROJECT in (insertion["session_info"]["projects"] or ())
        and facts.get("qc") != "CRITICAL"
        and checks.get("tracing_exists") is True
        and checks.get("alignment_resolved") is True
    )
