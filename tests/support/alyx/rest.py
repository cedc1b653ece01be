"""Alyx's endpoints over the records of a folder: filters, pages, and the form of the replies."""

from __future__ import annotations

import random
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.alyx import query
from tests.support.alyx.query import BadQuery, Row
from tests.support.alyx.records import PROVENANCES, QC, Records, folder_of_lab, identifier

QC_NAMES = {number: name for name, number in QC.items()}
PROVENANCE_NAMES = {number: name for name, number in PROVENANCES.items()}
PAGE, LARGEST_PAGE = 250, 1000
NOT_SERVED = 501


class Refusal(Exception):
    """A reply other than 200."""

    def __init__(self, status: int, body: Any):
        super().__init__(status, body)
        self.status = status
        self.body = body


@dataclass
class EdgeCases:
    """What may be wrong or unusual with the records; change it at any time.

    Attributes
    ----------
    shuffle : bool
        Whether lists without an order come in another order with each request.
    null_sizes, empty_hashes : set of str
        Datasets whose `file_size` is null, whose `hash` is empty.
    personal : set of str
        Datasets that are on the computer of their lab alone: not for download, and missing in the
        records of sessions and insertions.
    unaddressed : set of str
        Datasets whose own repository has no address.
    mirrors : list of (str or None)
        Addresses of further repositories, which have all files; None is one without an address.
    """

    shuffle: bool = False
    null_sizes: set[str] = field(default_factory=set)
    empty_hashes: set[str] = field(default_factory=set)
    personal: set[str] = field(default_factory=set)
    unaddressed: set[str] = field(default_factory=set)
    mirrors: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class Endpoint:
    """One kind of record under one path.

    Attributes
    ----------
    model : str
        Name of the model, as the replies say it.
    key : str or None
        Field in the path of a single record; None where there is only a list.
    parameters : tuple of str
        All filters that Alyx knows; of one that is not in `filters` the server says so.
    filters : dict of str to callable
        `(rest, rows, value) -> rows`.
    ordered : bool
        Whether Alyx sorts the list.
    writable : str
        Methods that change a single record.
    """

    model: str
    key: str | None
    parameters: tuple[str, ...]
    filters: dict[str, Callable[[Rest, list[Row], str], list[Row]]]
    ordered: bool = False
    creatable: bool = True
    changes: tuple[str, ...] = ("PUT", "PATCH", "DELETE")


class Rest:
    """Answers of Alyx.

    Parameters
    ----------
    records : Records
        What there is to tell.
    url : str
        Of the server itself, without a slash at its end.
    edge_cases : EdgeCases
        Read with each request.
    """

    def __init__(self, records: Records, url: str, edge_cases: EdgeCases):
        self.records = records
        self.url = url
        self.edge_cases = edge_cases
        self._random = random.Random(0)
        self._lock = threading.Lock()

    def list(self, name: str, parameters: list[tuple[str, str]], base: str) -> Row:
        """One page of a list."""
        endpoint = ENDPOINTS[name]
        rows = self._rows(endpoint)
        # Of a parameter that is there twice, Django takes the last.
        given = {key: value for key, value in parameters if value}
        for key, value in given.items():
            if key in endpoint.filters:
                rows = endpoint.filters[key](self, rows, value)
            elif key in endpoint.parameters and key not in ("limit", "offset"):
                raise Refusal(NOT_SERVED, _error(NOT_SERVED, f"no filter {key} in this server"))
        if self.edge_cases.shuffle:
            with self._lock:
                mixed = self._random.sample(rows, len(rows))
            if name == "sessions":  # those of one start time come in any order
                rows = sorted(mixed, key=lambda row: row["start_time"] or "", reverse=True)
            elif not endpoint.ordered:
                rows = mixed
        return self._page(name, rows, given, base)

    def _rows(self, endpoint: Endpoint) -> list[Row]:
        return [] if endpoint.model in EMPTY else self.records.rows(endpoint.model)

    def _page(self, name: str, rows: list[Row], given: dict[str, str], base: str) -> Row:
        limit = _whole(given.get("limit", "")) or PAGE
        limit = min(limit, LARGEST_PAGE)
        offset = _whole(given.get("offset", ""))
        show = LISTED[name]

        def link(at: int) -> str:
            new = {**given, "limit": str(limit)}
            new.pop("offset", None)
            if at > 0:
                new["offset"] = str(at)
            return f"{base}/{name}?{urllib.parse.urlencode(sorted(new.items()))}"

        return {
            "count": len(rows),
            "next": link(offset + limit) if offset + limit < len(rows) else None,
            "previous": link(offset - limit) if offset > 0 else None,
            "results": [show(self, row) for row in rows[offset : offset + limit]],
        }

    def read(self, name: str, key: str) -> Row:
        """One record."""
        endpoint = ENDPOINTS[name]
        found = [row for row in self._rows(endpoint) if str(row[endpoint.key]) == key]
        if len(found) > 1:  # two laboratories can have a mouse of one nickname
            what = f"get() returned more than one {endpoint.model} -- it returned {len(found)}!"
            raise Refusal(500, _error(500, what))
        if found:
            return READ.get(name, LISTED[name])(self, found[0])
        raise Refusal(404, _error(404, f"No {endpoint.model} matches the given query."))

    def schema(self) -> Row:
        """OpenAPI document of what is served: paths, methods, and the names of parameters."""
        paths: dict[str, Row] = {
            "/api/schema": {"get": {"parameters": [{"in": "query", "name": "format"}]}},
            "/auth-token": {"post": {}},
            "/cache.zip": {"get": {"parameters": []}},
            "/cache/info/": {"get": {"parameters": []}},
        }
        for name, endpoint in ENDPOINTS.items():
            shown = [{"in": "query", "name": each} for each in endpoint.parameters]
            paths[f"/{name}"] = {"get": {"parameters": shown}}
            if endpoint.key is not None:
                single = [{"in": "path", "name": endpoint.key}]
                paths[f"/{name}/{{{endpoint.key}}}"] = {"get": {"parameters": single}}
        return {"openapi": "3.0.3", "info": {"title": "", "version": "0.0.0"}, "paths": paths}

    def reachable(self, datasets: Iterable[Row]) -> list[Row]:
        """Datasets that are on a server, not only on the computer of a lab."""
        return [row for row in datasets if row["id"] not in self.edge_cases.personal]

    def data_url(self, dataset: Row) -> str | None:
        """Where to download a file; `#` is not escaped, as in Alyx."""
        if dataset["id"] in self.edge_cases.unaddressed:
            return None
        return self.address(dataset, self.url)

    def address(self, dataset: Row, url: str) -> str:
        """Where a server of files has a file."""
        name = dataset["name"]
        stem, dot, extension = name.rpartition(".")
        revision = dataset["revision"]
        folder = "/".join(
            [
                dataset["session"]["folder"],
                *([dataset["collection"]] if dataset["collection"] else []),
                *([f"#{revision['name']}#"] if revision else []),
            ]
        )
        lab = folder_of_lab(dataset)
        return f"{url}/public/{lab}/Subjects/{folder}/{stem}.{dataset['id']}{dot}{extension}"

    def size(self, dataset: Row) -> int | None:
        return None if dataset["id"] in self.edge_cases.null_sizes else dataset["file_size"]

    def hash(self, dataset: Row) -> str:
        return "" if dataset["id"] in self.edge_cases.empty_hashes else dataset["hash"]


def _error(status: int, detail: str) -> Row:
    """Body of an error: failures within Alyx name the status first, like nothing else does."""
    if status == 500:
        return {"status_code": status, "detail": detail}
    return {"detail": detail, "status_code": status}


def _whole(text: str) -> int:
    """A positive number; 0 for everything else."""
    return int(text) if text.isdecimal() else 0


def _field_error(name: str, message: str) -> Refusal:
    return Refusal(400, {name: [message], "status_code": 400})


# --- Forms of the replies


def _name(row: Row | None) -> str | None:
    return row["name"] if row else None


def _session_info(row: Row | None) -> Row | None:
    if row is None:  # a chronic insertion is of no session
        return None
    return {
        "subject": row["subject"]["nickname"],
        "start_time": row["start_time"],
        "number": row["number"],
        "lab": _name(row["lab"]),
        "id": row["id"],
        "projects": [project["name"] for project in row["projects"]],
        "task_protocol": row["task_protocol"],
    }


def _session_listed(rest: Rest, row: Row) -> Row:
    info = _session_info(row)
    order = ("id", "subject", "start_time", "number", "lab", "projects")
    return {
        **{name: info[name] for name in order},
        "url": f"{rest.url}/sessions/{row['id']}",
        "task_protocol": info["task_protocol"],
    }


def _session_read(rest: Rest, row: Row) -> Row:
    return {
        "subject": row["subject"]["nickname"],
        "users": ["root"],
        "location": None,
        "procedures": ["Ephys recording with acute probe(s)"] if row["probe_insertion"] else [],
        "lab": _name(row["lab"]),
        "projects": [project["name"] for project in row["projects"]],
        "type": row["type"],
        "task_protocol": row["task_protocol"],
        "number": row["number"],
        "start_time": row["start_time"],
        "end_time": row["end_time"],
        "narrative": row["narrative"],
        "parent_session": None,
        "n_correct_trials": row["n_correct_trials"],
        "n_trials": row["n_trials"],
        "url": f"{rest.url}/sessions/{row['id']}",
        "extended_qc": row["extended_qc"],
        "qc": QC_NAMES[row["qc"]],
        "wateradmin_session_related": [],
        "data_dataset_session_related": [
            _dataset_of_session(rest, each)
            for each in rest.reachable(row["data_dataset_session_related"])
        ],
        "auto_datetime": row["auto_datetime"],
        "id": row["id"],
        "json": row["json"],
        "probe_insertion": [_insertion_listed(rest, each) for each in row["probe_insertion"]],
        "field_of_view": [],
        "notes": [],
    }


def _dataset_of_insertion(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "name": row["name"],
        "dataset_type": row["dataset_type"]["name"],
        "data_url": rest.data_url(row),
        "url": f"{rest.url}/datasets/{row['id']}",
        "file_size": rest.size(row),
        "hash": rest.hash(row),
        "version": row["version"],
        "collection": row["collection"],
        "qc": row["qc"],
    }


def _dataset_of_session(rest: Rest, row: Row) -> Row:
    # The uuid of the revision, a text that says True or False, and the name of the outcome: the
    # lists of datasets say all three in another way.
    return {
        **_dataset_of_insertion(rest, row),
        "revision": row["revision"]["id"] if row["revision"] else "",
        "default_revision": str(row["default_dataset"]),
        "qc": QC_NAMES[row["qc"]],
    }


def _insertion_listed(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "session": row["session"]["id"] if row["session"] else None,
        "model": row["model"]["probe_model"] if row["model"] else None,
        "session_info": _session_info(row["session"]),
        "name": row["name"],
        "json": row["json"],
        "serial": row["serial"],
        "auto_datetime": row["auto_datetime"],
        "chronic_insertion": None,
        "datasets": [each["id"] for each in row["datasets"]],
    }


def _leaking(row: Row) -> list[Row]:
    """Datasets of an insertion by part of their collection: probe00 has those of probe00a too."""
    datasets = row["session"]["data_dataset_session_related"]
    return [each for each in datasets if row["name"] in each["collection"]]


def _insertion_read(rest: Rest, row: Row) -> Row:
    datasets = rest.reachable(_leaking(row))
    return {
        **_insertion_listed(rest, row),
        "datasets": [_dataset_of_insertion(rest, each) for each in datasets],
    }


def _dataset_read(rest: Rest, row: Row) -> Row:
    return {
        "url": f"{rest.url}/datasets/{row['id']}",
        "name": row["name"],
        "created_by": "root",
        "created_datetime": row["created_datetime"],
        "dataset_type": row["dataset_type"]["name"],
        "data_format": row["data_format"]["name"],
        "collection": row["collection"],
        "session": f"{rest.url}/sessions/{row['session']['id']}",
        "file_size": rest.size(row),
        "hash": rest.hash(row),
        "version": row["version"],
        "experiment_number": row["session"]["number"],
        "file_records": [
            *(_file_of_dataset(rest, each) for each in _copies(rest, row)),
            *(_file_of_mirror(rest, row, k) for k in range(len(rest.edge_cases.mirrors))),
        ],
        "auto_datetime": row["auto_datetime"],
        "revision": row["revision"]["name"] if row["revision"] else "",
        "default_dataset": row["default_dataset"],
        "tags": [tag["name"] for tag in row["tags"]],
        "qc": QC_NAMES[row["qc"]],
        "json": row["json"],
    }


def _dataset_listed(rest: Rest, row: Row) -> Row:
    return {**_dataset_read(rest, row), "protected": len(row["tags"]), "public": len(row["tags"])}


def _copies(rest: Rest, row: Row) -> list[Row]:
    public = rest.reachable([row])
    return [
        each
        for each in row["file_records"]
        if public or each["data_repository"]["globus_is_personal"]
    ]


def _file_of_dataset(rest: Rest, row: Row) -> Row:
    repository = row["data_repository"]
    personal = repository["globus_is_personal"]
    return {
        "id": row["id"],
        "data_repository": repository["name"],
        "data_repository_path": repository["globus_path"],
        "relative_path": row["relative_path"],
        "data_url": None if personal else rest.data_url(row["dataset"]),
        "exists": row["exists"],
    }


def _file_of_mirror(rest: Rest, dataset: Row, k: int) -> Row:
    url, own = rest.edge_cases.mirrors[k], dataset["file_records"][-1]
    return {
        **_file_of_dataset(rest, own),
        "id": identifier("mirror", dataset["id"], k),
        "data_repository": f"mirror_{k}",
        "data_url": None if url is None else rest.address(dataset, url),
    }


def _file(rest: Rest, row: Row) -> Row:
    return {
        "url": f"{rest.url}/files/{row['id']}",
        "dataset": f"{rest.url}/datasets/{row['dataset']['id']}",
        "data_repository": row["data_repository"]["name"],
        "name": "",
        "json": row["json"],
        "relative_path": row["relative_path"],
        "exists": row["exists"],
    }


def _subject_listed(rest: Rest, row: Row) -> Row:
    names = {project["name"] for s in row["actions_sessions"] for project in s["projects"]}
    return {
        "nickname": row["nickname"],
        "url": f"{rest.url}/subjects/{row['nickname']}",
        "id": row["id"],
        "responsible_user": "root",
        "birth_date": row["birth_date"],
        "age_weeks": 0,
        "death_date": row["death_date"],
        "species": row["species"],
        "sex": row["sex"],
        "litter": None,
        "strain": row["strain"],
        "source": None,
        "line": row["line"],
        "projects": sorted(names),
        "session_projects": sorted(names),
        "lab": _name(row["lab"]),
        "genotype": [],
        "description": row["description"],
        "alive": row["death_date"] is None,
        "reference_weight": 0.0,
        "last_water_restriction": None,
        "expected_water": 0.0,
        "remaining_water": 0.0,
        "json": row["json"],
    }


def _subject_read(rest: Rest, row: Row) -> Row:
    return {**_subject_listed(rest, row), "weighings": [], "water_administrations": []}


def _trajectory(rest: Rest, row: Row) -> Row:
    insertion = row["probe_insertion"]
    return {
        "id": row["id"],
        "probe_insertion": insertion["id"],
        **{name: row[name] for name in ("x", "y", "z", "depth", "theta", "phi", "roll")},
        "provenance": PROVENANCE_NAMES[row["provenance"]],
        "session": _session_info(insertion["session"]),
        "probe_name": insertion["name"],
        "coordinate_system": None,
        "datetime": row["datetime"],
        "json": row["json"],
        "chronic_insertion": None,
    }


def _channel(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "trajectory_estimate": row["trajectory_estimate"]["id"],
        "brain_region": row["brain_region"]["id"] if row["brain_region"] else None,
        "name": row["name"],
        "json": row["json"],
        **{name: row[name] for name in ("axial", "lateral", "x", "y", "z")},
    }


def _lab(rest: Rest, row: Row) -> Row:
    return {
        "name": row["name"],
        "institution": f"Institute of {row['name']}",
        "address": "",
        "timezone": "Europe/London",
        "repositories": [
            each["name"] for each in rest.records.repositories if each["lab"] == row["name"]
        ],
        "reference_weight_pct": 0.0,
        "zscore_weight_pct": 0.0,
        "json": None,
    }


def _project(rest: Rest, row: Row) -> Row:
    return {"name": row["name"], "description": "", "users": ["root"]}


def _tag(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "json": None,
        "name": row["name"],
        "description": "",
        "protected": row["protected"],
        "public": row["public"],
        "hash": None,
    }


def _revision(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "json": None,
        "name": row["name"],
        "description": "",
        "created_datetime": "2026-01-02T03:04:05.678901",
    }


def _dataset_type(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "name": row["name"],
        "created_by": None,
        "description": "",
        "filename_pattern": f"*{row['name']}*",
    }


def _repository(rest: Rest, row: Row) -> Row:
    personal = row["globus_is_personal"]
    return {
        "name": row["name"],
        "timezone": "UTC",
        "globus_path": row["globus_path"],
        "hostname": "",
        "data_url": None if personal else f"{rest.url}{row['globus_path']}",
        "repository_type": "Fileserver",
        "globus_endpoint_id": identifier("endpoint", row["name"]),
        "globus_is_personal": personal,
        "json": None,
    }


def _region(rest: Rest, row: Row) -> Row:
    return {
        "id": row["id"],
        "acronym": row["acronym"],
        "name": row["name"],
        "description": None,
        "parent": row["parent"]["id"] if row["parent"] else None,
        "related_descriptions": [],
    }


# --- Filters

Filter = Callable[[Rest, list[Row], str], list[Row]]


def _condition(model: str, term: str) -> Filter:
    """Filter by one of Django's terms, the value being text."""

    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        return query.select_term(rows, rest.records.models, model, term, value)

    return apply


def _of_project(session: str) -> Filter:
    """Filter by part of a project's name: whatever has two such projects is there twice."""

    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        return [
            row
            for row in rows
            for project in (row[session] if session else row)["projects"]
            if value.upper() in project["name"].upper()
        ]

    return apply


def _django(model: str, prefix: str = "") -> Filter:
    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        models = rest.records.models
        for term, wanted in query.parse(value).items():
            rows = query.select_term(rows, models, model, prefix + term, wanted)
        return rows

    return apply


def _uuid(model: str, name: str, term: str, known: str | None = None) -> Filter:
    """Filter by an identifier; where `known` names a model, there must be such a record."""

    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        try:
            wanted = str(uuid.UUID(value))
        except ValueError:
            if known:
                raise _field_error(name, f"“{value}” is not a valid UUID.") from None
            raise _field_error(name, "Enter a valid UUID.") from None
        if known and all(row["id"] != wanted for row in rest.records.rows(known)):
            raise _field_error(
                name,
                "Select a valid choice. That choice is not one of the available choices.",
            )
        return query.select_term(rows, rest.records.models, model, term, wanted)

    return apply


def _number(model: str, name: str, term: str) -> Filter:
    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        try:
            wanted = float(value)
        except ValueError:
            raise _field_error(name, "Enter a number.") from None
        return query.select_term(rows, rest.records.models, model, term, wanted)

    return apply


def _enum(name: str, choices: dict[str, int]) -> Filter:
    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        found = {key.lower(): number for key, number in choices.items()}
        wanted = found.get(value.lower().strip())
        if wanted is None:
            raise BadQuery(f"Invalid{name}, choices are: " + ", ".join(choices))
        return [row for row in rows if row[name] == wanted]

    return apply


def _date_range(rest: Rest, rows: list[Row], value: str) -> list[Row]:
    days = value.split(",")
    if len(days) < 2:
        raise BadQuery("list index out of range")
    first, last = (query.parse_time(day) for day in days[:2])
    return [row for row in rows if first <= (row["start_time"] or "")[:10] <= last]


def _date(model: str, term: str) -> Filter:
    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        try:
            wanted = query.parse_time(value)
        except BadQuery:
            raise _field_error("date", "Enter a valid date.") from None
        return query.select_term(rows, rest.records.models, model, term, wanted)

    return apply


def _with_datasets(place: str, field_name: str, existing: bool) -> Filter:
    """Filter by the datasets that a record must have, all of them."""

    def name_of(row: Row) -> str:
        return str(row["name"] if field_name == "name" else row[field_name]["name"])

    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        wanted = set(value.split(","))

        def has(row: Row) -> bool:
            there = rest.reachable(row[place]) if existing else row[place]
            return wanted <= {name_of(each) for each in there}

        return [row for row in rows if has(row)]

    return apply


def _region_ids(rest: Rest, column: str, value: str) -> set[int]:
    """Structures of that name; Alyx ignores the case, so that there can be two."""
    return {row["id"] for row in rest.records.regions if str(row[column]).lower() == value.lower()}


def _atlas(column: str, insertions_of: Callable[[Row], list[Row]]) -> Filter:
    """Filter by a structure in which, or in a part of which, aligned sites lie."""

    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        if column == "id" and not value.isdecimal():
            raise _field_error("atlas_id", "Enter a number.")
        wanted = _region_ids(rest, column, value)
        located = rest.records.located
        return [
            row for row in rows if any(located[each["id"]] & wanted for each in insertions_of(row))
        ]

    return apply


def _of_insertion(rest: Rest, rows: list[Row], value: str) -> list[Row]:
    try:
        wanted = str(uuid.UUID(value))
    except ValueError:
        raise _field_error("probe_insertion", "Enter a valid UUID.") from None
    for insertion in rest.records.insertions:
        if insertion["id"] == wanted:
            found = {row["id"] for row in _leaking(insertion)}
            return [row for row in rows if row["id"] in found]
    raise BadQuery("ProbeInsertion matching query does not exist.")


def _exists(rest: Rest, rows: list[Row], value: str) -> list[Row]:
    if value.lower() not in ("true", "false"):
        return rows
    return rows if value.lower() == "true" else []


def _truth(name: str) -> Filter:
    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        if value.lower() not in ("true", "false"):
            return rows
        return [row for row in rows if row[name] == (value.lower() == "true")]

    return apply


def _relatives(downwards: bool) -> Filter:
    """Filter regions by being within, or around, the one of that acronym; itself included."""

    def chain(row: Row | None) -> set[int]:
        found = set()
        while row is not None:
            found.add(row["id"])
            row = row["parent"]
        return found

    def apply(rest: Rest, rows: list[Row], value: str) -> list[Row]:
        wanted = _region_ids(rest, "acronym", value)
        if downwards:
            return [row for row in rows if chain(row) & wanted]
        by_id = rest.records.region_by_id
        around = set().union(*(chain(by_id[each]) for each in wanted)) - {0}
        return [row for row in rows if row["id"] in around]

    return apply


def _common(model: str, session: str, insertion_datasets: str) -> dict[str, Filter]:
    """Filters that sessions and insertions share."""
    return {
        "django": _django(model),
        "id": _uuid(model, "id", "id"),
        "subject": _condition(model, f"{session}subject__nickname__iexact"),
        "lab": _condition(model, f"{session}lab__name__iexact"),
        "project": _of_project(session.removesuffix("__")),
        "task_protocol": _condition(model, f"{session}task_protocol__icontains"),
        "tag": _condition(model, f"{insertion_datasets}__tags__name__icontains"),
        "datasets": _with_datasets(insertion_datasets, "name", existing=True),
        "dataset_types": _with_datasets(insertion_datasets, "dataset_type", existing=False),
    }


def _atlases(insertions_of: Callable[[Row], list[Row]]) -> dict[str, Filter]:
    columns = {"atlas_acronym": "acronym", "atlas_id": "id", "atlas_name": "name"}
    return {name: _atlas(column, insertions_of) for name, column in columns.items()}


PAGING = ("limit", "offset")
EMPTY = {"ChronicInsertion"}


def _names(text: str) -> tuple[str, ...]:
    return tuple(sorted({*text.split(), *PAGING}))


ENDPOINTS: dict[str, Endpoint] = {
    "sessions": Endpoint(
        "Session",
        "id",
        _names(
            "atlas_acronym atlas_id atlas_name auto_datetime dataset_qc_lte dataset_types datasets "
            "date_range django end_time extended_qc histology id json lab location "
            "n_correct_trials n_trials name narrative nickname number parent_session "
            "performance_gte performance_lte procedures project projects qc start_time subject "
            "tag task_protocol type users"
        ),
        {
            **_common("Session", "", "data_dataset_session_related"),
            **_atlases(lambda row: row["probe_insertion"]),
            "nickname": _condition("Session", "subject__nickname__icontains"),
            "number": _number("Session", "number", "number"),
            "date_range": _date_range,
            "qc": _enum("qc", QC),
            "extended_qc": _django("Session", "extended_qc__"),
            "json": _django("Session", "json__"),
        },
        ordered=True,
    ),
    "insertions": Endpoint(
        "ProbeInsertion",
        "id",
        _names(
            "atlas_acronym atlas_id atlas_name auto_datetime chronic_insertion dataset_qc_lte "
            "dataset_types datasets date django experiment_number id lab model name project "
            "serial session subject tag task_protocol"
        ),
        {
            **_common("ProbeInsertion", "session__", "datasets"),
            **_atlases(lambda row: [row]),
            "session": _uuid("ProbeInsertion", "session", "session"),
            "name": _condition("ProbeInsertion", "name__iexact"),
            "serial": _condition("ProbeInsertion", "serial"),
            "model": _condition("ProbeInsertion", "model__name"),
            "date": _date("ProbeInsertion", "session__start_time__date"),
            "experiment_number": _number("ProbeInsertion", "experiment_number", "session__number"),
        },
        ordered=True,
    ),
    "datasets": Endpoint(
        "Dataset",
        "id",
        _names(
            "auto_datetime collection content_type created_by created_date created_date_gte "
            "created_date_lte created_datetime data_format dataset_type date default_dataset "
            "django exists experiment_number file_size generating_software hash id lab md5 name "
            "object_id probe_insertion protected provenance_directory public qc revision session "
            "subject tag tags version"
        ),
        {
            "django": _django("Dataset"),
            "id": _uuid("Dataset", "id", "id"),
            "session": _uuid("Dataset", "session", "session", known="Session"),
            "subject": _condition("Dataset", "session__subject__nickname"),
            "lab": _condition("Dataset", "session__lab__name"),
            "date": _date("Dataset", "session__start_time__date"),
            "name": _condition("Dataset", "name"),
            "collection": _condition("Dataset", "collection"),
            "dataset_type": _condition("Dataset", "dataset_type__name"),
            "default_dataset": _truth("default_dataset"),
            "exists": _exists,
            "hash": _condition("Dataset", "hash"),
            "probe_insertion": _of_insertion,
            "qc": _enum("qc", QC),
            "revision": _condition("Dataset", "revision__name"),
            "tag": _condition("Dataset", "tags__name__icontains"),
        },
    ),
    "subjects": Endpoint(
        "Subject",
        "nickname",
        _names(
            "actual_severity adverse_effects alive birth_date cage death_date description django "
            "ear_mark genotype genotype_date genotype_test id json lab line litter name nickname "
            "project projects protocol_number reduced_date request responsible_user sex source "
            "species stock strain to_be_culled to_be_genotyped water_restricted wean_date"
        ),
        {
            "django": _django("Subject"),
            "id": _uuid("Subject", "id", "id"),
            "lab": _condition("Subject", "lab__name__iexact"),
            "nickname": _condition("Subject", "nickname__iexact"),
            "sex": _condition("Subject", "sex"),
        },
        ordered=True,
    ),
    "trajectories": Endpoint(
        "TrajectoryEstimate",
        "id",
        _names(
            "chronic_insertion coordinate_system date datetime depth django experiment_number id "
            "phi probe probe_insertion project provenance roll session subject theta x y z"
        ),
        {
            "django": _django("TrajectoryEstimate"),
            "id": _uuid("TrajectoryEstimate", "id", "id"),
            "probe": _condition("TrajectoryEstimate", "probe_insertion__name"),
            "probe_insertion": _uuid(
                "TrajectoryEstimate", "probe_insertion", "probe_insertion", known="ProbeInsertion"
            ),
            "provenance": _enum("provenance", PROVENANCES),
            "session": _uuid("TrajectoryEstimate", "session", "probe_insertion__session"),
            "subject": _condition(
                "TrajectoryEstimate", "probe_insertion__session__subject__nickname"
            ),
            "project": _condition(
                "TrajectoryEstimate", "probe_insertion__session__projects__name__icontains"
            ),
        },
    ),
    "channels": Endpoint(
        "Channel",
        "id",
        _names(
            "axial brain_region django id lab lateral name probe_insertion session subject "
            "trajectory_estimate x y z"
        ),
        {
            "django": _django("Channel"),
            "id": _uuid("Channel", "id", "id"),
            "trajectory_estimate": _uuid(
                "Channel", "trajectory_estimate", "trajectory_estimate", "TrajectoryEstimate"
            ),
            "probe_insertion": _uuid(
                "Channel", "probe_insertion", "trajectory_estimate__probe_insertion"
            ),
            "session": _uuid("Channel", "session", "trajectory_estimate__probe_insertion__session"),
        },
    ),
    "labs": Endpoint(
        "Lab",
        "name",
        _names(
            "address cage_cleaning_frequency_days cage_type django enrichment food id institution "
            "light_cycle name reference_weight_pct repositories timezone zscore_weight_pct"
        ),
        {"django": _django("Lab"), "name": _condition("Lab", "name")},
    ),
    "projects": Endpoint("Project", "name", _names(""), {}),
    "tags": Endpoint(
        "Tag", "name", _names("name"), {"name": _condition("Tag", "name")}, ordered=True
    ),
    "revisions": Endpoint(
        "Revision", "name", _names("name"), {"name": _condition("Revision", "name")}, ordered=True
    ),
    "dataset-types": Endpoint("DatasetType", "name", _names(""), {}),
    "data-repository": Endpoint(
        "DataRepository",
        "name",
        _names("globus_endpoint_id globus_is_personal name"),
        {
            "name": _condition("DataRepository", "name"),
            "globus_is_personal": _truth("globus_is_personal"),
        },
    ),
    "files": Endpoint(
        "FileRecord",
        "id",
        _names(
            "data_repository dataset django exists globus_is_personal id lab name relative_path"
        ),
        {
            "django": _django("FileRecord"),
            "dataset": _uuid("FileRecord", "dataset", "dataset", known="Dataset"),
            "exists": _exists,
        },
    ),
    "brain-regions": Endpoint(
        "BrainRegion",
        "id",
        _names("acronym ancestors descendants description django id name parent"),
        {
            "django": _django("BrainRegion"),
            "acronym": _condition("BrainRegion", "acronym__iexact"),
            "name": _condition("BrainRegion", "name"),
            "id": _number("BrainRegion", "id", "id"),
            "descendants": _relatives(downwards=True),
            "ancestors": _relatives(downwards=False),
        },
        ordered=True,
        creatable=False,
        changes=("PUT", "PATCH"),
    ),
    "chronic-insertions": Endpoint(
        "ChronicInsertion",
        "id",
        _names(
            "atlas_acronym atlas_id atlas_name django end_time id lab location model name "
            "narrative probe procedures serial session start_time subject users"
        ),
        {},
    ),
}

LISTED: dict[str, Callable[[Rest, Row], Row]] = {
    "sessions": _session_listed,
    "insertions": _insertion_listed,
    "datasets": _dataset_listed,
    "subjects": _subject_listed,
    "trajectories": _trajectory,
    "channels": _channel,
    "labs": _lab,
    "projects": _project,
    "tags": _tag,
    "revisions": _revision,
    "dataset-types": _dataset_type,
    "data-repository": _repository,
    "files": _file,
    "brain-regions": _region,
    "chronic-insertions": lambda _, row: row,
}
READ: dict[str, Callable[[Rest, Row], Row]] = {
    "sessions": _session_read,
    "insertions": _insertion_read,
    "datasets": _dataset_read,
    "subjects": _subject_read,
}
UUID_KEYS = {name for name, endpoint in ENDPOINTS.items() if endpoint.key == "id"} - {
    "brain-regions"
}
