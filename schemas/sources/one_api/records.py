"""Records of cache tables, and errors of the sessions that cannot be used."""

from __future__ import annotations

import contextlib
import json
import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from schemas.errors import SourceError
from schemas.sources import alf
from schemas.sources.alf.domains import INSERTIONS
from schemas.sources.names import is_dataset_path, is_lab_name, is_probe_name, is_subject_name
from schemas.sources.one_api.tables import Tables
from schemas.sources.ontology import region_ids
from schemas.sources.records import (
    PLACE,
    PROVENANCES,
    QC_OUTCOMES,
    CheckRecord,
    DatasetRecord,
    InsertionRecord,
    SessionRecord,
    SubjectRecord,
    TrajectoryRecord,
)

SEXES = ("M", "F", "U")

_RENAME = "Rename it and register the folder again; the other sessions are not affected."
_CORRECT = "Correct the cache tables and register the folder again."
"""Remedies of errors in names of folders, and in cache tables."""


def session_records(
    tables: Tables, where: Path, *, from_alyx: bool
) -> tuple[list[SessionRecord], list[SourceError]]:
    """Return the sessions of tables, in order of subject, date, number.

    Parameters
    ----------
    tables : dict of DataFrame
        As `schemas.sources.one_api.tables.read_tables` returns them.
    where : Path
        Folder of the tables.
    from_alyx : bool
        Whether the ids are those of Alyx.

    Returns
    -------
    records : list of SessionRecord
    problems : list of SourceError
        One error for each session that was left out, and for each session and fault of its
        datasets or probes, which alone are left out.
    """
    sessions = tables["sessions"]
    datasets, problems = _sound_datasets(tables["datasets"], sessions, where)
    given = tables["insertions"]
    insertions, more = _sound_insertions(given, sessions, where)
    problems += more
    tables = {**tables, "datasets": datasets, "insertions": insertions}
    tables["alyx/trajectories"] = _of_sound_probes(tables["alyx/trajectories"], given, insertions)
    refused = {**_stray_problems(tables, where), **_session_problems(sessions, where)}
    facts = _Facts.of(tables, from_alyx)
    good = sessions[~sessions["eid"].isin(list(refused))]
    records = []
    for row in _rows(good.sort_values(["subject", "date", "number"])):
        try:
            records.append(_session_record(row, facts))
        except _Unusable as fault:  # noqa: PERF203  (one bad session leaves the others)
            place = f"{where / 'alyx'}, session {row['eid']}"
            refused[row["eid"]] = SourceError(str(fault), place, _CORRECT)
    return records, [*problems, *refused.values()]


class _Unusable(ValueError):
    """A value that Alyx released is not what it should be."""


# --- errors of sessions -------------------------------------------------------------------------


def _session_problems(sessions: pd.DataFrame, folder: Path) -> dict[str, SourceError]:
    """Return the errors of sessions by eid."""
    refused: dict[str, SourceError] = {}
    repeated = sessions["eid"].duplicated(keep=False)
    for row, twice in zip(_rows(sessions), repeated, strict=True):
        problem = _session_problem(row, folder)
        if problem is None and twice:
            problem = SourceError("Its id is there twice.", _where(row, folder), _CORRECT)
        if problem is not None:
            refused[row["eid"]] = problem
    return refused


def _session_problem(row: dict[str, Any], folder: Path) -> SourceError | None:
    where, subject, lab = _where(row, folder), row["subject"], _text(row["lab"])
    if not isinstance(subject, str) or not is_subject_name(subject):
        what = f"{subject!r} cannot be the name of a subject: letters, digits, _, - and . can."
        return SourceError(what, where, _RENAME)
    if lab and not is_lab_name(lab):
        what = f"{lab!r} cannot be the name of a lab: letters, digits and _ can."
        return SourceError(what, where, _RENAME)
    if pd.isna(row["date"]):
        return SourceError("Its date is not a day of the calendar.", where, _RENAME)
    if pd.isna(row["number"]) or not 0 <= row["number"] <= 999:
        return SourceError("Its number is not between 0 and 999.", where, _CORRECT)
    if "folder" in row and row["folder"].name != f"{row['number']:03d}":
        return SourceError(f"Its folder is not called {row['number']:03d}.", where, _RENAME)
    if not _is_uuid(row["eid"]) or uuid.UUID(row["eid"]).version not in (3, 4, 5):
        return SourceError("Its id is no UUID that ONE takes.", where, _CORRECT)
    return None


def _where(row: dict[str, Any], folder: Path) -> str:
    if "folder" in row:
        return str(row["folder"])
    name = f"{row['subject']} {row['date']} {row['number']}"
    return f"{folder / 'sessions.pqt'}, session {row['eid']} ({name})"


def _is_uuid(text: Any) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except (ValueError, TypeError, AttributeError):
        return False


def _sound_datasets(
    datasets: pd.DataFrame, sessions: pd.DataFrame, folder: Path
) -> tuple[pd.DataFrame, list[SourceError]]:
    """Return the datasets that can be used, and an error for each session and fault of others."""
    # Sessions have mostly the same paths, so each path is checked once.
    paths = [path for path in datasets["rel_path"].unique() if isinstance(path, str)]
    good = [path for path in paths if is_dataset_path(path)]
    probes = {path: alf.dataset_record("", path).probe_name for path in good}
    odd = [path for path, probe in probes.items() if probe and not is_probe_name(probe)]
    leads_out = ~datasets["rel_path"].isin(good)
    faults = {
        "whose session is not listed": ~datasets["eid"].isin(sessions["eid"]),
        # Nothing tells which of the two is meant.
        "that is listed twice": datasets.duplicated(["eid", "rel_path"], keep=False) & ~leads_out,
        "whose path does not lead into the session": leads_out,
        "whose folder cannot be that of a probe": datasets["rel_path"].isin(odd),
        "whose size is no number of bytes": _is_no_size(datasets),
        "whose hash is no text": _is_no_text(datasets, "hash"),
    }
    is_bare = "folder" in sessions
    where, remedy = (folder, _RENAME) if is_bare else (folder / "datasets.pqt", _CORRECT)
    return _without(datasets, faults, ("a dataset", "rel_path"), where, remedy)


def _is_no_size(datasets: pd.DataFrame) -> pd.Series:
    if "file_size" not in datasets:
        return pd.Series(False, datasets.index)
    given = datasets["file_size"]
    sizes = pd.to_numeric(given.astype(object), errors="coerce").astype(float)
    return given.notna() & ~((sizes >= 0) & (sizes < 2**63) & (sizes % 1 == 0))


def _is_no_text(table: pd.DataFrame, column: str) -> pd.Series:
    if column not in table:
        return pd.Series(False, table.index)
    return table[column].notna() & ~table[column].map(lambda value: isinstance(value, str))


def _sound_insertions(
    insertions: pd.DataFrame, sessions: pd.DataFrame, folder: Path
) -> tuple[pd.DataFrame, list[SourceError]]:
    """Return the probes that can be used, and an error for each session and fault of others."""
    names = [name for name in insertions["name"].unique() if _text(name)]
    usable = [name for name in names if is_probe_name(name)]
    repeated = insertions.duplicated(["eid", "name"], keep=False) & insertions["name"].isin(usable)
    with_pid = insertions["id"].map(_is_uuid)
    faults = {
        "whose session is not listed": ~insertions["eid"].isin(sessions["eid"]),
        "whose name cannot be that of a probe": insertions["name"].isin(set(names) - set(usable)),
        "without a name": ~insertions["name"].isin(names),
        # Nothing tells which of the two is meant.
        "that is listed twice": repeated,
        "that has the id of another": insertions.duplicated(["eid", "id"], keep=False) & with_pid,
    }
    where = folder / "insertions.pqt"
    return _without(insertions, faults, ("a probe", "name"), where, _CORRECT)


def _of_sound_probes(
    trajectories: pd.DataFrame, all_probes: pd.DataFrame, sound: pd.DataFrame
) -> pd.DataFrame:
    """Return the trajectories but for those of probes that were left out."""
    keys = ["eid", "name"]
    left_out = set(map(tuple, all_probes[keys].values)) - set(map(tuple, sound[keys].values))
    owners = zip(trajectories["eid"], trajectories["probe_name"], strict=True)
    return trajectories[np.array([owner not in left_out for owner in owners], bool)]


def _without(
    table: pd.DataFrame,
    faults: dict[str, pd.Series],
    thing: tuple[str, str],
    where: Path,
    remedy: str,
) -> tuple[pd.DataFrame, list[SourceError]]:
    """Return the rows without a fault, and an error for each session and fault of the others.

    `thing` says what a row is, and which column names it.
    """
    (called, column), problems = thing, []
    for fault, wrong in faults.items():
        for row in _rows(table[wrong].drop_duplicates("eid")):
            what = f"Session {row['eid']} has {called} {fault}: {row[column]!r}. It is left out."
            problems.append(SourceError(what, where, remedy))
    return table[~np.logical_or.reduce(list(faults.values()))], problems


def _stray_problems(tables: Tables, folder: Path) -> dict[str, SourceError]:
    """Return errors by eid of rows in the `alyx` tables that have no session."""
    refused: dict[str, SourceError] = {}
    for name in ("alyx/sessions", "alyx/trajectories"):
        eids = tables[name]["eid"]
        for eid in eids[~eids.isin(tables["sessions"]["eid"])].drop_duplicates():
            what = f"It has facts on session {eid!r}, which is not listed."
            refused[eid] = SourceError(what, folder / f"{name}.pqt", _CORRECT)
    return refused


# --- rows to records ---------------------------------------------------------------------------


def _dataset_records(table: pd.DataFrame, from_alyx: bool) -> dict[str, list[DatasetRecord]]:
    """Return all datasets by eid, in order of their paths."""
    table = table.sort_values(["eid", "rel_path"])
    ids = table["id"].tolist() if from_alyx else [None] * len(table)
    sizes = _optional(table, "file_size", int)
    hashes = _optional(table, "hash", lambda text: text or None)
    outcomes = _optional(table, "qc", lambda name: name if _text(name) in QC_OUTCOMES else None)
    flags = _optional(table, "default_revision", bool)
    found: dict[str, list[DatasetRecord]] = defaultdict(list)
    for eid, path, own, size, md5, qc, flag in zip(
        table["eid"], table["rel_path"], ids, sizes, hashes, outcomes, flags, strict=True
    ):
        if isinstance(path, str):
            record = alf.dataset_record(
                eid, path, dataset_id=own, file_size=size, md5=md5, qc=qc, is_default=flag
            )
            found[eid].append(record)
    return found


def _optional(table: pd.DataFrame, column: str, convert: Any) -> list[Any]:
    """Return the converted values of a column, None where column or value is missing."""
    if column not in table:
        return [None] * len(table)
    values = table[column].astype(object)
    known = values.notna().tolist()
    return [convert(v) if k else None for v, k in zip(values.tolist(), known, strict=True)]


@dataclass(frozen=True)
class _Facts:
    """Rows of the tables other than sessions, by their owner."""

    datasets: Mapping[str, list[DatasetRecord]]
    insertions: Mapping[str, list[dict[str, Any]]]
    sessions: Mapping[str, list[dict[str, Any]]]
    trajectories: Mapping[str, list[dict[str, Any]]]
    sites: Mapping[str, list[dict[str, Any]]]
    mice: Mapping[str, list[dict[str, Any]]]

    @classmethod
    def of(cls, tables: Tables, from_alyx: bool) -> _Facts:
        return cls(
            datasets=_dataset_records(tables["datasets"], from_alyx),
            insertions=_grouped(tables["insertions"], "eid"),
            sessions=_grouped(tables["alyx/sessions"], "eid"),
            trajectories=_grouped(tables["alyx/trajectories"], "eid"),
            sites=_grouped(tables["alyx/channels"], "trajectory_id"),
            mice=_grouped(tables["alyx/subjects"], "nickname"),
        )


def _grouped(table: pd.DataFrame, column: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in _rows(table):
        found[row[column]].append(row)
    return found


def _session_record(row: dict[str, Any], facts: _Facts) -> SessionRecord:
    eid, lab = row["eid"], _text(row["lab"])
    datasets = facts.datasets.get(eid, [])
    more = facts.sessions.get(eid, [{}])
    if len(more) > 1:
        raise _Unusable("What Alyx knows of it is there twice.")
    mice = facts.mice.get(row["subject"], [])
    mouse = _own_mouse(mice, lab)
    return SessionRecord(
        eid=eid,
        subject=row["subject"],
        date=row["date"],
        number=int(row["number"]),
        lab=lab,
        start=_time(more[0].get("start_time")),
        task_protocol=_text(row.get("task_protocol")),
        projects=_text(row.get("projects")),
        qc=_outcome(more[0].get("qc")),
        mouse=_mouse(mouse, len(mice) == 1) if mouse else None,
        checks=_checks(_json(more[0].get("extended_qc"))),
        datasets=tuple(datasets),
        insertions=_insertions(eid, datasets, facts),
        sortings=alf.sortings(datasets),
    )


def _insertions(
    eid: str, datasets: Iterable[DatasetRecord], facts: _Facts
) -> tuple[InsertionRecord, ...]:
    found = {row["name"]: _insertion(row) for row in facts.insertions.get(eid, [])}
    # Files of a probe that is in no table belong to an insertion, too.
    for name in {d.probe_name for d in datasets if d.probe_name} - set(found):
        found[name] = InsertionRecord(eid, name)
    tracks = defaultdict(list)
    for row in facts.trajectories.get(eid, []):
        tracks[row["probe_name"]].append(_trajectory(row, facts.sites.get(row["id"], [])))
    if strange := sorted(set(tracks) - set(found), key=str):
        raise _Unusable(f"It has a trajectory of {strange[0]!r}, but no such probe.")
    return tuple(
        replace(found[name], trajectories=_in_order(name, tracks[name])) for name in sorted(found)
    )


def _insertion(row: dict[str, Any]) -> InsertionRecord:
    released = json_object(row.get("json"))
    known = released or {}
    checks = _dict(known.get("extended_qc"), "extended_qc of an insertion")
    return InsertionRecord(
        eid=row["eid"],
        probe_name=row["name"],
        pid=row["id"] if _is_uuid(row["id"]) else None,
        model=_text(row.get("model")),
        serial=_text(row.get("serial")),
        qc=known.get("qc") if known.get("qc") in QC_OUTCOMES else None,
        level=None if released is None else insertion_level(checks),
        checks=_checks(checks),
        picks=_picks(known.get("xyz_picks")),
    )


def insertion_level(checks: Mapping[str, Any]) -> str:
    """Return the level of a probe's location (one of `LEVELS`) by its checks in Alyx."""
    if checks.get("alignment_resolved") is True:
        return "resolved"
    count = checks.get("alignment_count")
    if isinstance(count, (int, float)) and count > 0:
        return "aligned"
    return "traced" if checks.get("tracing_exists") is True else "none"


def json_object(released: Any) -> dict[str, Any] | None:
    """Return a JSON object that is stored as a structure, as text, or as text of text.

    Anything else, e.g. a list, tells nothing: None.
    """
    for _ in range(2):
        if isinstance(released, str):
            try:
                released = json.loads(released)
            except (ValueError, RecursionError):
                return None
    return released if isinstance(released, dict) else None


def _picks(released: Any) -> tuple[tuple[float, float, float], ...]:
    points = released if released is not None else []
    try:
        picks = tuple((float(x), float(y), float(z)) for x, y, z in points)
    except (TypeError, ValueError, OverflowError):
        raise _Unusable(f"The track of a probe is no list of points: {points!r:.80}.") from None
    for point in picks:
        for name, value in zip("xyz", point, strict=True):
            _check_place(name, value)
    return picks


def _trajectory(row: dict[str, Any], sites: list[dict[str, Any]]) -> TrajectoryRecord:
    if row["provenance"] not in PROVENANCES:
        raise _Unusable(f"It has a trajectory of unknown provenance {row['provenance']!r}.")
    place = {name: _number(row, name) for name in PLACE}
    at = [
        (*(_number(site, name) for name in ("axial", "lateral", "x", "y", "z")), _region(site))
        for site in sites
    ]
    return TrajectoryRecord(
        provenance=row["provenance"],
        trajectory_id=_text(row["id"]),
        **place,  # type: ignore[arg-type]
        sites=tuple(sorted(at, key=lambda site: [(v is not None, v or 0.0) for v in site])),
    )


def _in_order(name: str, tracks: list[TrajectoryRecord]) -> tuple[TrajectoryRecord, ...]:
    """Sort the trajectories of a probe, and flag the furthest."""
    tracks.sort(key=lambda track: PROVENANCES.index(track.provenance))
    for one, other in pairwise(tracks):
        if one.provenance == other.provenance:
            raise _Unusable(f"{name} has two trajectories of provenance {one.provenance!r}.")
    last = len(tracks) - 1
    return tuple(replace(track, is_current=k == last) for k, track in enumerate(tracks))


def _own_mouse(mice: list[dict[str, Any]], lab: str | None) -> dict[str, Any] | None:
    """Choose among the mice of a nickname: that of the laboratory, or else the only one.

    A mouse that moved is of another laboratory than its earlier sessions.
    """
    own = [mouse for mouse in mice if _text(mouse["lab"]) == lab] or mice
    return own[0] if len(own) == 1 else None


def _mouse(row: dict[str, Any], is_unique: bool) -> SubjectRecord:
    sex = _text(row["sex"])
    if sex not in (None, *SEXES):
        raise _Unusable(f"The sex of {row['nickname']} is {sex!r}, none of {', '.join(SEXES)}.")
    return SubjectRecord(
        nickname=row["nickname"],
        lab=_text(row["lab"]),
        is_unique=is_unique,
        sex=sex,
        birth_date=_day(row["birth_date"]),
        death_date=_day(row["death_date"]),
        strain=_text(row["strain"]),
        line=_text(row["line"]),
        species=_text(row["species"]),
    )


def _checks(released: Mapping[str, Any]) -> tuple[CheckRecord, ...]:
    return tuple(_check(name, released[name]) for name in sorted(released))


def _check(name: str, value: Any) -> CheckRecord:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return CheckRecord(name)
    if isinstance(value, (bool, int, float)):
        with contextlib.suppress(OverflowError):  # a longer whole number is kept as text
            return CheckRecord(name, value=float(value))
    if isinstance(value, str) and value in QC_OUTCOMES:
        return CheckRecord(name, outcome=value)
    return CheckRecord(name, text=json.dumps(value))


# --- values of Alyx -----------------------------------------------------------------------------


def _json(text: Any) -> dict[str, Any]:
    if _text(text) is None:
        return {}
    try:
        released = json.loads(text)
        if isinstance(released, str):  # it was encoded twice
            released = json.loads(released)
    except (ValueError, RecursionError) as error:
        raise _Unusable(f"Its extended_qc is no JSON ({error}).") from None
    return _dict(released, "extended_qc")


def _dict(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _Unusable(f"The {name} is no JSON object: {value!r:.80}.")
    return value


def _time(text: Any) -> datetime | None:
    if _text(text) is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise _Unusable(f"Its start {text!r} is no time.") from None
    return time.astimezone(timezone.utc).replace(tzinfo=None) if time.tzinfo else time


def _day(text: Any) -> date | None:
    if _text(text) is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise _Unusable(f"Of its mouse, {text!r} is no day of the calendar.") from None


def _outcome(name: Any) -> str | None:
    if _text(name) not in (None, *QC_OUTCOMES):
        raise _Unusable(f"Its qc {name!r} is not one of {', '.join(QC_OUTCOMES)}.")
    return _text(name)


def _number(row: Mapping[str, Any], name: str) -> float | None:
    if row[name] is None or row[name] is pd.NA:
        return None
    try:
        value = float(row[name])
    except (TypeError, ValueError, OverflowError):
        raise _Unusable(f"In a place of a probe, {name} is {row[name]!r}.") from None
    if math.isnan(value):
        return None
    if name in INSERTIONS:
        _check_place(name, value)
    return value


def _check_place(name: str, value: float) -> None:
    domain = INSERTIONS[name]
    if not domain.holds(value):
        what = f"{name} is {value}, not within {domain.allowed} {domain.unit}"
        raise _Unusable(f"In a place of a probe, {what}.")


def _region(row: Mapping[str, Any]) -> int | None:
    value = _number(row, "brain_region")
    if value is not None and not value.is_integer():
        raise _Unusable(f"A brain region has the id {value!r}.")
    if value is not None and int(value) not in region_ids():
        raise _Unusable(f"A site is in region {int(value)}, which is not in the Allen ontology.")
    return None if value is None else int(value)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
