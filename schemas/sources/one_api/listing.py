"""Replies of Alyx become rows of cache tables."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from schemas.errors import SourceError
from schemas.sources import alf
from schemas.sources.one_api.records import insertion_level, json_object
from schemas.sources.one_api.tables import ALYX_TABLES, Tables, empty_tables
from schemas.sources.records import PLACE, PROVENANCES

Reply = Mapping[str, Any]

LOCATED = "brainLocationIds_ccf_2017"

_SESSION = r"/{lab}/Subjects/{subject}/{day}/{number:03d}/"
_REPOSITORY = "Ask those who keep the server for its address; the other files are not affected."
_COMPLETE = "Complete it on the server, and register it again; the others are not affected."
_REPORT = "Report it to those who keep the server; the other sessions are not affected."


def session_rows(reply: Reply, url: str) -> dict[str, list[Any]]:
    """Turn what Alyx says of one session into rows, by name of the table.

    `problems` has an error for the files that are left out, which are in no folder of the session.

    Raises
    ------
    SourceError
        It is not what Alyx says of a session.
    """
    where = f"{url}/sessions/{reply.get('id')}"
    for name in ("lab", "subject", "start_time", "number"):
        if reply.get(name) is None:
            raise SourceError(f"The session has no {name}.", where, _COMPLETE)
    try:
        json.dumps(reply, ensure_ascii=False).encode()  # databases cannot store a lone surrogate
        datasets: list[dict[str, Any]] = []
        astray: dict[bool, list[Reply]] = defaultdict(list)
        for dataset in reply["data_dataset_session_related"]:
            row = _dataset_row(reply, dataset)
            if row is None:
                astray[dataset["data_url"] is None].append(dataset)
            else:
                datasets.append(row)
        servers = Counter(row.pop("server") for row in datasets)
        extended_qc = reply["extended_qc"]
        known = {
            "eid": reply["id"],
            "start_time": reply["start_time"],
            "qc": reply["qc"],
            "extended_qc": None if extended_qc is None else json.dumps(extended_qc),
            "data_server": servers.most_common(1)[0][0] if servers else None,
        }
        return {
            "problems": [_astray(reply, some, where) for some in astray.values()],
            "sessions": [_session_row(reply)],
            "datasets": datasets,
            "insertions": [_insertion_row(row) for row in reply["probe_insertion"]],
            "alyx/sessions": [known],
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        what = f"What it says of a session cannot be understood ({type(error).__name__}: {error})."
        raise SourceError(what, where, _REPORT) from error


def _session_row(reply: Reply) -> dict[str, Any]:
    return {
        "eid": reply["id"],
        "lab": reply["lab"],
        "subject": reply["subject"],
        "date": pd.Timestamp(reply["start_time"]).date(),
        "number": int(reply["number"]),
        "task_protocol": reply["task_protocol"] or "",
        "projects": ",".join(sorted(reply["projects"] or ())),
    }


_FOLDER = re.compile(r"/(?P<lab>[^/]+)/Subjects/(?P<subject>[^/]+)/(?P<day>[^/]+)/(?P<number>\d+)/")


def _astray(session: Reply, datasets: Sequence[Reply], where: str) -> SourceError:
    """Say which files are in no folder of their session, and by what they differ."""
    address = datasets[0]["data_url"]
    first, others = datasets[0]["name"], f" and {len(datasets) - 1} others" * (len(datasets) > 1)
    if address is None:
        what = f"{first}{others}: no repository of the server has an address of it."
        return SourceError(f"{what} It is left out.", where, _REPOSITORY)
    facts = {"lab": session["lab"], "subject": session["subject"]}
    facts |= {"day": session["start_time"][:10], "number": f"{int(session['number']):03d}"}
    named = match.groupdict() if (match := _FOLDER.search(address)) else facts
    differ = [name for name in facts if named[name] != facts[name]]
    if not differ:
        return SourceError(f"{first}{others}: {address!r} is no address of it.", where, _REPOSITORY)
    name = differ[0]
    differ_in = f"the files are of {name} {named[name]}, the session is of {facts[name]}"
    cause = f"the {name} was changed on the server, but its files were not"
    what = f"{first}{others}: {differ_in}: {cause}. They are left out."
    return SourceError(what, where, "Ask those who keep the server to move the files.")


def _dataset_row(session: Reply, reply: Reply) -> dict[str, Any] | None:
    """Describe a file; None if its address is not in the folder of the session.

    The path of a file, with the revision's name, is in its address and nowhere else.
    """
    place = _SESSION.format(
        lab=session["lab"],
        subject=session["subject"],
        day=session["start_time"][:10],
        number=int(session["number"]),
    )
    address = reply["data_url"]
    if address is None or place not in address:
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


def _insertion_row(reply: Reply) -> dict[str, Any]:
    """Describe a probe. Its list of datasets is not used: it has those of others, too."""
    return {
        "eid": reply["session"],
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


def addresses(reply: Reply) -> list[str]:
    """Return the addresses of a file in every repository that has it and says where."""
    copies = reply.get("file_records") or ()
    found = [copy["data_url"] for copy in copies if copy.get("exists") and copy.get("data_url")]
    return list(dict.fromkeys(found))
