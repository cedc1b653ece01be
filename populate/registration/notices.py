"""Notices of releases, read from a file and written as rows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import datajoint as dj
import pandas as pd

from populate.registration.sessions import text_limits, text_problem
from populate.registration.upsert import Report
from schemas import probe, release, rows, session
from schemas.errors import RegistrationError
from schemas.views import errata

COLUMNS = ("notice", "release", "kind", "since", "text", "source", "recording")
"""Columns of a file of notices; `kind` and `recording` may be empty."""

FIELDS = dict(
    zip(
        COLUMNS[:-1],
        (
            *("notice_name", "release_name", "data_kind"),
            *("notice_since", "notice_text", "notice_source"),
        ),
        strict=True,
    )
)
"""Column of `release.Notice` of each column of a file."""

EXAMPLE = (
    "A CSV file has the columns " + ", ".join(COLUMNS) + " and a row for each recording (eid or "
    "pid; empty for the whole release); a JSON file has a list of objects with these names, "
    "`recording` being a list."
)

Row = dict[str, Any]


def register_notices(path: Path) -> Report:
    """Write the notices of a file as rows of `release.Notice` and its part tables.

    A notice that is registered becomes what the file says; others stay as they are.

    Parameters
    ----------
    path : Path
        A CSV file with the columns `COLUMNS` and a row for each recording that a notice is about,
        or a JSON file with a list of objects with these names, whose `recording` is a list. A
        recording is an eid or a pid. A notice without recordings is about the whole release, one
        without kind about all kinds of data.

    Returns
    -------
    Report
        Numbers of new, updated and known notices.

    Raises
    ------
    RegistrationError
        The file cannot be read, or is wrong: the error names the first fault and its place, and
        the number of all. Then nothing is written.
    """
    path = Path(path)
    described = _read_json(path) if path.suffix.lower() == ".json" else _read_csv(path)
    faults: list[tuple[str, str]] = []
    notices = _merge(described, faults)
    parts = _parts(notices, faults)
    _check(notices, faults)
    if faults:
        where, what = faults[0]
        more = f" There are {len(faults)} such faults." if len(faults) > 1 else ""
        raise RegistrationError(what + more, f"{path}, {where}", "Correct it; nothing is written.")
    report = Report()
    with dj.conn().transaction:
        for name, notice in notices.items():
            report.count("notices", **{_write(notice["row"], parts[name]): 1})
    errata.forget()
    return report


def _read_csv(path: Path) -> list[tuple[str, Row]]:
    """Read the rows of a CSV file, each with its place."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise RegistrationError(f"cannot be read as CSV ({error}).", path, EXAMPLE) from None
    _require_names(table.columns, path)
    table = table[(table != "").any(axis=1)].rename_axis("line").reset_index()
    found = [(f"line {row.pop('line') + 2}", row) for row in table.to_dict("records")]
    return [(where, row | {"recording": _listed(row["recording"])}) for where, row in found]


def _listed(recording: str) -> list[str]:
    return [recording] if recording else []


def _read_json(path: Path) -> list[tuple[str, Row]]:
    """Read the objects of a JSON file, each with its place."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RegistrationError(f"cannot be read as JSON ({error}).", path, EXAMPLE) from None
    if not isinstance(held, list) or not all(isinstance(one, dict) for one in held):
        raise RegistrationError("is no list of objects.", path, EXAMPLE)
    found = []
    for number, one in enumerate(held, 1):
        where = f"notice {number}"
        row = {"kind": None, "recording": None, **one}
        _require_names(row, f"{path}, {where}")
        recordings = row["recording"] or []
        texts = [row[name] for name in FIELDS if row[name] is not None]
        is_right = isinstance(recordings, list) and all(
            isinstance(text, str) for text in (*texts, *recordings)
        )
        if not is_right:
            what = "has a value that is no text, or a `recording` that is no list of texts."
            raise RegistrationError(what, f"{path}, {where}", EXAMPLE)
        plain = {name: row[name] or "" for name in FIELDS}
        found.append((where, plain | {"recording": recordings}))
    return found


def _require_names(names: Iterable[str], where: object) -> None:
    """Refuse a file that lacks a name or has one that is not known."""
    names = set(names)
    for what, wrong in (("lacks", set(COLUMNS) - names), ("has the unknown", names - set(COLUMNS))):
        if wrong:
            raise RegistrationError(f"{what} {', '.join(sorted(wrong))}.", where, EXAMPLE)


def _merge(
    described: list[tuple[str, Row]], faults: list[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    """Put the rows of each notice together: its row, its recordings and its first place."""
    if not described:
        faults.append(("no row", "it has no notice."))
    notices: dict[str, dict[str, Any]] = {}
    for where, given in described:
        row = {ours: given[name] for name, ours in FIELDS.items()}
        row["data_kind"] = row["data_kind"] or None
        notice = notices.setdefault(
            row["notice_name"], {"row": row, "where": where, "recordings": []}
        )
        if notice["row"] != row:
            what = f"it says of {row['notice_name']!r} other things than {notice['where']}."
            faults.append((where, what))
        recordings = [text.lower() for text in given["recording"]]
        is_repeat = notice["where"] != where
        if is_repeat and not (recordings and notice["recordings"]):
            what = f"{row['notice_name']!r} has a row without a recording beside others."
            faults.append((where, what))
        notice["recordings"] += [(where, text) for text in recordings]
    return notices


def _check(notices: Mapping[str, dict[str, Any]], faults: list[tuple[str, str]]) -> None:
    """Note what cannot be stored: empty or long texts, no dates, unknown releases and kinds."""
    limits = text_limits(release.Notice)
    releases = set(release.Release.to_arrays("release_name"))
    kinds = {None, *session.DataKind.to_arrays("data_kind")}
    for notice in notices.values():
        row, where = notice["row"], notice["where"]
        empty = [name for name, ours in FIELDS.items() if row[ours] == ""]
        if empty:
            faults.append((where, f"{empty[0]} is empty."))
        elif fault := text_problem(row, limits):
            faults.append((where, fault))
        elif row["release_name"] not in releases:
            known = ", ".join(sorted(releases)) or "none yet"
            faults.append((where, f"no release {row['release_name']!r}. There are: {known}."))
        elif row["data_kind"] not in kinds:
            known = ", ".join(sorted(filter(None, kinds)))
            faults.append((where, f"no kind of data {row['data_kind']!r}. There are: {known}."))
        elif (day := _as_day(row["notice_since"])) is None:
            text = row["notice_since"]
            faults.append((where, f"since is {text!r}, no date of the form 2025-12-31."))
        else:
            row["notice_since"] = day


def _as_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text) else None
    except ValueError:
        return None


def _parts(
    notices: Mapping[str, dict[str, Any]], faults: list[tuple[str, str]]
) -> dict[str, tuple[list[Row], list[Row]]]:
    """Find the sessions and the insertions of each notice, which must be of its release."""
    members = rows.frame(release.Release.Insertion * probe.ProbeInsertion.proj("pid"))
    known: dict[str, dict[str, Row]] = {}
    for name, eid, probe_name, pid in zip(
        *(members[column] for column in ("release_name", "eid", "probe_name", "pid")), strict=True
    ):
        of_release = known.setdefault(name, {})
        of_release[eid] = {"eid": eid}
        of_release[pid or ""] = {"eid": eid, "probe_name": probe_name}
    found = {}
    for name, notice in notices.items():
        of_release = known.get(notice["row"]["release_name"], {})
        keys = {}
        for where, recording in notice["recordings"]:
            if recording in of_release:
                keys[recording] = of_release[recording]
            elif notice["row"]["release_name"] in known:
                what = f"recording {recording!r} is not in the release: give an eid or pid of it."
                faults.append((where, what))
        insertions = [key for key in keys.values() if "probe_name" in key]
        found[name] = ([key for key in keys.values() if "probe_name" not in key], insertions)
    return found


def _write(row: Row, parts: tuple[list[Row], list[Row]]) -> str:
    """Make the stored notice what the file says; return new, updated or known."""
    key = {"notice_name": row["notice_name"]}
    tables: tuple[Any, ...] = (release.Notice.Session, release.Notice.Insertion)
    stored = (release.Notice & key).to_dicts()
    if stored:
        held = [sorted((table & key).to_dicts(), key=str) for table in tables]
        asked = [sorted(({**key, **one} for one in part), key=str) for part in parts]
        if stored == [row] and held == asked:
            return "known"
        for table in tables:
            (table & key).delete_quick()
        release.Notice().update1(row)
    else:
        rows.insert1(release.Notice(), row)
    for table, part in zip(tables, parts, strict=True):
        rows.insert(table(), part, key)
    return "updated" if stored else "new"
