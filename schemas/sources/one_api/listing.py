"""Replies of Alyx become rows of cache tables."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import pandas as pd

from schemas.errors import SourceError
from schemas.sources import alf
from schemas.sources.names import bounded
from schemas.sources.one_api import forms
from schemas.sources.one_api.forms import REPORT_TO_KEEPERS
from schemas.sources.one_api.records import insertion_level, json_object
from schemas.sources.one_api.tables import ALYX_TABLES, Tables, empty_tables
from schemas.sources.records import PLACE, PROVENANCES

Reply = Mapping[str, Any]

Addresses = Mapping[str, Sequence[str]]
"""Addresses of files by the ids of these files."""

LOCATED = "brainLocationIds_ccf_2017"

_SESSION = r"/{lab}/Subjects/{subject}/{day}/{number:03d}/"
_REPOSITORY = "Ask the administrators for its address; the other files are not affected."
_COMPLETE = "Complete it on the server, and register it again; the others are not affected."


def session_rows(
    reply: Reply, url: str, addresses: Callable[[list[str]], Addresses] | None = None
) -> dict[str, list[Any]]:
    """Turn what Alyx says of one session into rows, by name of the table.

    `addresses` returns those of files in all repositories, by id; it is called for files that have
    none in their own repository. `problems` has an error for the files that are in no folder of the
    session, and for files and probes that cannot be understood: these are left out. `incomplete`
    has the session if it lacks a probe.

    Raises
    ------
    SourceError
        It is not what Alyx says of a session.
    """
    where = f"{url}/sessions/{reply.get('id')}"
    session = _parsed_session(reply, where)
    files, problems = _sound("file", session["data_dataset_session_related"], forms.Dataset, where)
    if addresses and (lacking := [file["id"] for file in files if not file["data_url"]]):
        others = addresses(lacking)
        for file in files:
            file["data_url"] = file["data_url"] or next(iter(others.get(file["id"], ())), None)
    probes, more = _sound("probe", session["probe_insertion"], forms.Insertion, where)
    datasets: list[dict[str, Any]] = []
    astray: dict[bool, list[Reply]] = defaultdict(list)
    for dataset in files:
        row = _dataset_row(session, dataset)
        if row is None:
            astray[not dataset["data_url"]].append(dataset)
        else:
            datasets.append(row)
    servers = Counter(row.pop("server") for row in datasets)
    extended_qc = session["extended_qc"]
    known = {
        "eid": session["id"],
        "start_time": session["start_time"],
        "qc": session["qc"],
        "extended_qc": None if extended_qc is None else json.dumps(extended_qc),
        "data_server": servers.most_common(1)[0][0] if servers else None,
    }
    return {
        "problems": [_astray(session, some, where) for some in astray.values()] + problems + more,
        "incomplete": [session["id"]] if more else [],
        "sessions": [_session_row(session)],
        "datasets": datasets,
        "insertions": [_insertion_row(session["id"], row) for row in probes],
        "alyx/sessions": [known],
    }


def _parsed_session(reply: Reply, where: str) -> dict[str, Any]:
    """Return the fields of a session that are used, its day among them."""
    try:
        session = forms.parsed(forms.Session, reply)
        for name in ("lab", "subject", "start_time", "number"):
            if session[name] is None:
                raise SourceError(f"The session has no {name}.", where, _COMPLETE)
        return {**session, "day": date.fromisoformat(session["start_time"][:10])}
    except ValueError as error:
        what = f"Its record of a session cannot be understood: {error}."
        raise SourceError(what, where, REPORT_TO_KEEPERS) from None


def _sound(
    thing: str, records: Iterable[Any], form: type[Any], where: str
) -> tuple[list[dict[str, Any]], list[SourceError]]:
    """Return the records that have their form, and an error that names the others, if any."""
    sound, faults = [], {}
    for k, record in enumerate(records):
        try:
            sound.append(forms.parsed(form, record))
        except forms.BadForm as fault:  # noqa: PERF203  (each leaves the others)
            name = record.get("name") if isinstance(record, Mapping) else None
            faults[f"{name!r:.60} (row {k})"] = fault
    if not faults:
        return sound, []
    first, *others = faults
    what = f"Its record of {thing} {first} cannot be understood: {faults[first]}. It is left out."
    if others:
        what += f" So are {', '.join(bounded(others))}."
    return sound, [SourceError(what, where, REPORT_TO_KEEPERS)]


def _session_row(session: Reply) -> dict[str, Any]:
    return {
        "eid": session["id"],
        "lab": session["lab"],
        "subject": session["subject"],
        "date": session["day"],
        "number": session["number"],
        "task_protocol": session["task_protocol"] or "",
        "projects": ",".join(sorted(session["projects"] or ())),
    }


_FOLDER = re.compile(r"/(?P<lab>[^/]+)/Subjects/(?P<subject>[^/]+)/(?P<day>[^/]+)/(?P<number>\d+)/")


def _astray(session: Reply, datasets: Sequence[Reply], where: str) -> SourceError:
    """Say which files are in no folder of their session, and by what they differ."""
    address = datasets[0]["data_url"]
    first, others = datasets[0]["name"], f" and {len(datasets) - 1} others" * (len(datasets) > 1)
    if not address:
        what = f"{first}{others}: no repository of the server has an address of it."
        return SourceError(f"{what} It is left out.", where, _REPOSITORY)
    facts = {"lab": session["lab"], "subject": session["subject"]}
    facts |= {"day": str(session["day"]), "number": f"{session['number']:03d}"}
    named = match.groupdict() if (match := _FOLDER.search(address)) else facts
    differ = [name for name in facts if named[name] != facts[name]]
    if not differ:
        return SourceError(
            f"{first}{others}: {address!r} is not the address of such a file.", where, _REPOSITORY
        )
    name = differ[0]
    differ_in = f"the files are of {name} {named[name]}, the session is of {facts[name]}"
    cause = f"the {name} was changed on the server, but its files were not"
    what = f"{first}{others}: {differ_in}: {cause}. They are left out."
    return SourceError(what, where, "Ask the administrators of the server to move the files.")


def _dataset_row(session: Reply, reply: Reply) -> dict[str, Any] | None:
    """Describe a file; None if its address is not in the folder of the session.

    The path of a file, with the revision's name, is in its address and nowhere else.
    """
    place = _SESSION.format(
        lab=session["lab"],
        subject=session["subject"],
        day=session["day"],
        number=session["number"],
    )
    address = reply["data_url"]
    if not address or place not in address:
        return None
    server, _, path = address.partition(place)
    return {
        "eid": session["id"],
        "id": reply["id"],
        "rel_path": path.replace(f".{reply['id']}.", "."),
        "file_size": reply["file_size"],
        "hash": reply["hash"] or None,
        "exists": True,
        "qc": reply["qc"],
        "default_revision": str(reply["default_revision"]) == "True",
        "server": server,
    }


def _insertion_row(eid: str, reply: Reply) -> dict[str, Any]:
    """Describe a probe. Its list of datasets is not used: it has those of others, too."""
    return {
        "eid": eid,
        "id": reply["id"],
        "name": reply["name"],
        "model": reply["model"],
        "serial": reply["serial"],
        "json": None if reply["json"] is None else json.dumps(reply["json"]),
    }


def trajectory_rows(
    replies: Iterable[Reply], insertions: Iterable[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Describe the trajectories of insertions; those of chronic ones are of no session."""
    probes = {row["id"]: (row["eid"], row["name"]) for row in insertions}
    rows = []
    for reply in replies:
        if reply["probe_insertion"] in probes:
            eid, name = probes[reply["probe_insertion"]]
            facts = {"id": reply["id"], "eid": eid, "probe_name": name}
            place = {axis: reply[axis] for axis in PLACE}
            rows.append({**facts, "provenance": reply["provenance"], **place})
    return rows


def unlocated(
    datasets: Iterable[Mapping[str, Any]],
    insertions: Iterable[Mapping[str, Any]],
    trajectories: Iterable[Mapping[str, Any]],
) -> list[str]:
    """Return the trajectories whose sites are needed: resolved, but located by no file."""
    located = {
        (row["eid"], alf.dataset_record(row["eid"], row["rel_path"]).probe_name)
        for row in datasets
        if LOCATED in row["rel_path"]
    }
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for row in sorted(trajectories, key=lambda row: _rank(row["provenance"])):
        last[row["eid"], row["probe_name"]] = row
    wanted = [
        (row["eid"], row["name"])
        for row in insertions
        if _level(row["json"]) == "resolved" and (row["eid"], row["name"]) not in located
    ]
    return [last[probe]["id"] for probe in wanted if probe in last]


def _rank(provenance: str) -> int:
    return PROVENANCES.index(provenance) if provenance in PROVENANCES else -1


def _level(released: str | None) -> str | None:
    checks = (json_object(released) or {}).get("extended_qc")
    return insertion_level(checks) if isinstance(checks, dict) else None


def site_rows(replies: Iterable[Reply]) -> list[dict[str, Any]]:
    """Describe the located sites of a trajectory."""
    return [
        {"trajectory_id": reply["trajectory_estimate"]}
        | {name: reply[name] for name in ALYX_TABLES["channels"][1:]}
        for reply in replies
    ]


def subject_rows(replies: Iterable[Reply]) -> list[dict[str, Any]]:
    """Describe mice by their public fields."""
    return [{name: reply[name] for name in ALYX_TABLES["subjects"]} for reply in replies]


def as_tables(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> Tables:
    """Make tables of rows; those without a row are empty."""
    made = {name: pd.DataFrame(list(found), dtype=object) for name, found in rows.items() if found}
    return empty_tables() | made


def file_url(server: str, folder: str, path: str, dataset_id: str) -> str:
    """Return the address of a file: on the server its name has the dataset's id in it."""
    stem, dot, extension = path.rpartition(".")
    name = f"{stem}.{dataset_id}{dot}{extension}" if dot else f"{path}.{dataset_id}"
    return f"{server}/{urllib.parse.quote(f'{folder}/{name}')}"


def addresses_of(files: Iterable[Reply]) -> dict[str, list[str]]:
    """Return the addresses of files in every repository that has them and says where, by id."""
    found = {}
    for file in files:
        copies = file["file_records"] or ()
        own = [copy["data_url"] for copy in copies if copy["exists"] and copy["data_url"]]
        found[file["url"].rpartition("/")[2]] = list(dict.fromkeys(own))
    return found
