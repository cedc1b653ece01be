"""Forms of Alyx's replies: the fields that are used, and their types.

A reply of another form would end in a traceback somewhere between the server and the database.
Fields that no reader uses are not checked. Names, places and JSON are judged when the records are
made, because cache tables have them, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from schemas.errors import SourceError

REPORT_TO_KEEPERS = "Report it to the administrators of the server; the others are not affected."
"""Remedy of an error in what a server says of one record."""


def _without_surrogate(text: str) -> str:
    """Return a text that can be stored: neither files nor databases take a lone surrogate."""
    text.encode()
    return text


Storable = Annotated[str, AfterValidator(_without_surrogate)]
Text = Storable | None
Id = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Start = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\d")]
Number = Annotated[int, Field(ge=0, le=999)]
Place = float | None


class Session(TypedDict):
    """A session that was read by its id."""

    id: Id
    lab: Text
    subject: Text
    start_time: Start | None
    number: Number | None
    task_protocol: Text
    projects: list[Storable] | None
    qc: Text
    extended_qc: Any
    data_dataset_session_related: list[Any]
    probe_insertion: list[Any]


class Dataset(TypedDict):
    """A file in the reply of its session."""

    id: Id
    name: Storable
    data_url: Text
    file_size: Annotated[int, Field(ge=0)] | None
    hash: Text
    qc: Storable | int | None
    default_revision: Storable | bool | None


class Insertion(TypedDict):
    """A probe in the reply of its session."""

    id: Id
    name: Storable
    model: Text
    serial: Text
    json: Any


class SessionInfo(TypedDict):
    """A session in a list, or in an insertion."""

    subject: Text
    lab: Text
    start_time: Text
    number: int | None
    projects: list[Storable] | None


class ListedSession(SessionInfo):
    """A session in a list."""

    id: Id


class ListedInsertion(TypedDict):
    """A probe in a list; a chronic one is of no session."""

    id: Id
    session: Id | None
    name: Storable
    session_info: SessionInfo | None
    json: Any


class Trajectory(TypedDict):
    """An estimate of the track of a probe; that of a chronic one is of no insertion."""

    id: Id
    probe_insertion: Id | None
    provenance: Storable
    x: Place
    y: Place
    z: Place
    depth: Place
    theta: Place
    phi: Place
    roll: Place


class Channel(TypedDict):
    """A located site of a trajectory."""

    trajectory_estimate: Id
    axial: Place
    lateral: Place
    x: Place
    y: Place
    z: Place
    brain_region: int | None


class Subject(TypedDict):
    """The public fields of a mouse."""

    nickname: Storable
    lab: Text
    sex: Text
    birth_date: Text
    death_date: Text
    strain: Text
    line: Text
    species: Text


class FileRecord(TypedDict):
    """A copy of a file in a repository."""

    data_url: Text
    exists: bool | None


class DatasetRead(TypedDict):
    """A file in a list of files, which has all its copies."""

    url: Storable
    file_records: list[FileRecord] | None


@cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


class BadForm(ValueError):
    """A record has not the form of its kind; the text names the field."""


def parsed(form: Any, record: Any) -> dict[str, Any]:
    """Return the fields of a record that are used.

    Raises
    ------
    BadForm
        A field is missing, or of another type.
    """
    try:
        return dict(_adapter(form).validate_python(record, strict=True))
    except ValidationError as error:
        raise BadForm(_describe(error, record)) from None


def parsed_rows(form: Any, records: Iterable[Any], listed: str, where: str) -> list[dict[str, Any]]:
    """Return the rows of a list, each of which must have the form.

    Raises
    ------
    SourceError
        A row has another form; `listed` says in the error what the list is of.
    """
    rows = []
    for record in records:
        try:
            rows.append(parsed(form, record))
        except BadForm as fault:  # noqa: PERF203  (the error names the row)
            own = record.get("id") if isinstance(record, Mapping) else None
            what = f"In its list of {listed}, row {own!r:.60} cannot be understood: {fault}."
            raise SourceError(what, where, REPORT_TO_KEEPERS) from None
    return rows


def _describe(error: ValidationError, record: Any) -> str:
    """Name the first wrong field and its value."""
    path = error.errors(include_url=False)[0]["loc"]
    if not isinstance(record, Mapping) or not path:
        return f"{record!r:.80} is no record"
    name = path[0]
    return f"{name} is {record[name]!r:.80}" if name in record else f"it has no {name}"
