"""Releases: named lists of insertions, from a file, a tag or a query; shown and compared."""

from __future__ import annotations

import hashlib
from pathlib import Path

import datajoint as dj
import pandas as pd

from populate.registration.sessions import (
    Progress,
    is_uuid,
    register_sessions,
    text_limits,
    text_problem,
)
from populate.registration.upsert import Report
from schemas import probe, release, rows, session, subject
from schemas.errors import BwmError, Contradiction, QueryError, RegistrationError
from schemas.sources.names import PROBE_NAME_RULE, is_probe_name
from schemas.sources.records import Found, InsertionRecord, SessionRecord

COLUMNS = ("pid", "eid", "probe_name", "session_number", "date", "subject", "lab")
"""Columns of a release list."""

Member = tuple[str, str]
"""An insertion: eid and name of the probe."""


def register_list(path: Path, name: str | None = None, progress: Progress | None = None) -> Report:
    """Register a release list and the sessions and insertions that it names.

    Parameters
    ----------
    path : Path
        CSV file with the columns `COLUMNS`.
    name : str, optional
        Name of the release; default: that of the file, without its ending.
    progress : callable, optional
        Called with the number of sessions written and of all sessions.

    Raises
    ------
    RegistrationError
        The file cannot be read or lacks columns. Bad rows are problems of the report: then the
        sessions and insertions of the good rows are registered, but not the release.
    Contradiction
        The release is registered with other members.
    """
    path = Path(path)
    row = {"release_name": name or path.stem, "release_origin": "list", "release_rule": path.name}
    if fault := text_problem(row, text_limits(release.Release)):
        raise RegistrationError(fault, path, "Give a shorter one by --name, or rename the file.")
    table, problems = read_list(path)
    report = Report(problems=problems)
    records = [_session_of(group) for _, group in table.groupby("eid", sort=False)]
    register_sessions(records, None, report, progress, len(records))
    if report.problems:
        problem = (
            f"release {row['release_name']!r} is not registered; the sessions and insertions of "
            "its good rows are."
        )
        remedy = "Correct the rows named above and register it again."
        report.problems.append(RegistrationError(problem, path, remedy))
        return report
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    members = set(table[["eid", "probe_name"]].itertuples(index=False, name=None))
    _write({**row, "release_md5": digest}, members, report)
    return report


def register_found(name: str, origin: str, rule: str, found: Found, report: Report) -> None:
    """Register the insertions that a tag or a query found as a release.

    Parameters
    ----------
    name : str
        Name of the release.
    origin : {'tag', 'query'}
        How its members were selected.
    rule : str
        The tag, or the selection.
    found : Found
        Its members; those whose sessions are not registered are left out.
    report : Report
        The release is counted here. If members are left out, a problem is added; registering the
        release again adds them.

    Raises
    ------
    Contradiction
        The release is registered with other members: a tag that grew needs a new name.
    """
    row = {"release_name": name, "release_origin": origin, "release_rule": rule}
    if fault := text_problem(row, text_limits(release.Release)):
        raise RegistrationError(fault, name, "Give a shorter one by --name.")
    members = {(eid, probe_name) for eid, probe_name, _ in found.insertions}
    if not members:
        raise RegistrationError("no insertion was found.", f"release {name}", "Choose others.")
    registered = members & _registered({eid for eid, _ in members})
    digest = hashlib.md5(repr(sorted(members)).encode(), usedforsecurity=False).hexdigest()
    if registered:
        _write({**row, "release_md5": digest}, registered, report)
    if missing := len(members - registered):
        what = f"{missing} of its {len(members)} insertions are missing."
        remedy = "Register the release again when the sessions named above can be read."
        report.problems.append(RegistrationError(what, f"release {name}", remedy))


def _registered(eids: set[str]) -> set[Member]:
    """Fetch the registered insertions of some sessions."""
    found = rows.frame(probe.ProbeInsertion.proj(), columns=["eid", "probe_name"])
    return {member for member in found.itertuples(index=False, name=None) if member[0] in eids}


def _write(row: dict[str, str], members: set[Member], report: Report) -> None:
    """Insert a release with its members.

    If the release exists, insert the missing members if the list is the same, and raise
    `Contradiction` if its members differ otherwise.
    """
    key = {"release_name": row["release_name"]}
    registered = _members(row["release_name"])
    known = (release.Release & key).to_dicts()
    is_same_list = bool(known) and known[0]["release_md5"] == row["release_md5"]
    can_grow = is_same_list and registered < members
    if known and registered != members and not can_grow:
        raise Contradiction(
            f"it is registered with {len(registered)} insertions; now it would have "
            f"{len(members)} ({len(registered - members)} removed, "
            f"{len(members - registered)} added).",
            f"release {row['release_name']}",
            "A release does not change: register the new one under another --name.",
        )
    new = [{"eid": eid, "probe_name": name} for eid, name in sorted(members - registered)]
    with dj.conn().transaction:
        if not known:
            rows.insert1(release.Release(), row)
        rows.insert(release.Release.Insertion(), new, key)
    kind = "new" if not known else "updated" if new else "known"
    report.count("releases", **{kind: 1})


def _members(name: str) -> set[Member]:
    found = rows.frame(release.Release.Insertion & {"release_name": name})
    return set(found[["eid", "probe_name"]].itertuples(index=False, name=None))


# --- registered releases ------------------------------------------------------------------------

MEMBER_COLUMNS = ("eid", "probe_name", "pid", "subject", "session_date", "session_number", "lab")
"""Columns that `_fetch_members` returns, apart from the release."""

COUNTS = {
    "insertions": ("probe_name", "size"),
    "sessions": ("eid", "nunique"),
    "mice": ("subject", "nunique"),
    "labs": ("lab", "nunique"),
}
FIRST, LAST = ("session_date", "min"), ("session_date", "max")


def summary() -> pd.DataFrame:
    """Count insertions, sessions, mice and labs of each release.

    Returns
    -------
    DataFrame
        One row a release, by name: `release_name`, `origin`, `rule`, numbers of `insertions`,
        `sessions`, `mice` and `labs`, `first` and `last` day.
    """
    members = _fetch_members(release.Release.Insertion())
    counts = members.groupby("release_name").agg(**COUNTS, first=FIRST, last=LAST)
    releases = rows.frame(release.Release()).rename(
        columns={"release_origin": "origin", "release_rule": "rule"}
    )
    releases = releases[["release_name", "origin", "rule"]]
    return releases.merge(counts, on="release_name", how="left")


def by_lab(name: str) -> pd.DataFrame:
    """Count insertions, sessions and mice of each lab in a release.

    Returns
    -------
    DataFrame
        One row a laboratory, by name: `lab`, numbers of `insertions`, `sessions` and `mice`.

    Raises
    ------
    QueryError
        There is no such release; the message lists the releases.
    """
    _require_release(name)
    members = _fetch_members(release.Release.Insertion & {"release_name": name})
    return members.groupby("lab", dropna=False).agg(**COUNTS).drop(columns="labs").reset_index()


def diff(old: str, new: str) -> pd.DataFrame:
    """List the insertions that only one of two releases has.

    Parameters
    ----------
    old, new : str
        Names of the releases.

    Returns
    -------
    DataFrame
        One row an insertion: `change` (`'added'`: only in `new`, `'removed'`: only in `old`), then
        lab, subject, date, number, probe, pid and eid.

    Raises
    ------
    QueryError
        There is no such release; the message lists the releases.
    """
    _require_release(old)
    _require_release(new)
    before, after = (
        _fetch_members(release.Release.Insertion & {"release_name": name}) for name in (old, new)
    )
    both = before.merge(after, how="outer", on=list(MEMBER_COLUMNS), indicator="change")
    table = both.assign(change=both["change"].map({"left_only": "removed", "right_only": "added"}))
    table = table.dropna(subset="change").astype({"change": str})
    order = ["change", "lab", "subject", "session_date", "session_number", "probe_name"]
    return table.sort_values(order, ignore_index=True)[[*order, "pid", "eid"]]


def describe_release(name: str) -> str:
    """Describe a release in a line: its counts, first and last day, and origin.

    Raises
    ------
    QueryError
        There is no such release; the message lists the releases.
    """
    _require_release(name)
    (row,) = summary().query("release_name == @name").to_dict("records")
    counts = ", ".join(f"{row[kind]:,} {kind}" for kind in COUNTS)
    return f"{counts}; {row['first']} to {row['last']}; from the {row['origin']} {row['rule']}"


def diff_by_lab(changes: pd.DataFrame) -> pd.DataFrame:
    """Count the changes that `diff` returns, by laboratory.

    Returns
    -------
    DataFrame
        One row a laboratory and change: `lab`, `change`, numbers of `insertions`, `sessions` and
        `mice` concerned.
    """
    counts = changes.groupby(["lab", "change"], dropna=False).agg(**COUNTS)
    return counts.drop(columns="labs").reset_index()


def _fetch_members(members: dj.expression.QueryExpression) -> pd.DataFrame:
    """Fetch insertions of releases with pid, subject, date, number and lab."""
    sessions = session.Session.proj("subject", "session_date", "session_number")
    found = members * probe.ProbeInsertion.proj("pid") * sessions
    return rows.frame(found).merge(
        rows.frame(subject.Subject.proj("lab")), on="subject", how="left"
    )


def _require_release(name: str) -> None:
    if not release.Release & {"release_name": name}:
        known = ", ".join(sorted(release.Release.to_arrays("release_name"))) or "none yet"
        raise QueryError(f"no release {name!r}.", None, f"There are: {known}.")


# --- lists --------------------------------------------------------------------------------------


def sessions_of(path: Path) -> tuple[str, ...]:
    """Return the eids of the good rows of a release list, each once, in its order."""
    table, _ = read_list(path)
    return tuple(table["eid"].drop_duplicates())


def read_list(path: Path) -> tuple[pd.DataFrame, list[BwmError]]:
    """Read a release list; return its good rows, and a problem for each of the others."""
    try:
        # Blank lines are read so that the others keep their numbers.
        table = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:
        raise RegistrationError(
            f"cannot be read as CSV ({error}).", path, "Give the path of a release list."
        ) from None
    absent = [name for name in COLUMNS if name not in table.columns]
    if absent:
        raise RegistrationError(
            f"lacks the columns {', '.join(absent)}.",
            path,
            f"A release list has the columns {', '.join(COLUMNS)}.",
        )
    table = table[list(COLUMNS)].reset_index(drop=True)
    table = table[(table != "").any(axis=1)]
    if table.empty:
        raise RegistrationError("lists no insertion.", path, "Give the path of a release list.")
    faults = _row_faults(table)
    problems: list[BwmError] = [
        RegistrationError(fault, f"{path}, line {row + 2}", "Correct the row.")
        for row, fault in faults.items()
    ]
    return table.drop(index=list(faults)), problems


def _row_faults(table: pd.DataFrame) -> dict[int, str]:
    """Return what is wrong with each bad row of a release list, by position."""
    faults: dict[int, str] = {}
    well_formed = table.date.where(table.date.str.fullmatch(r"\d{4}-\d{2}-\d{2}"))
    dates = pd.to_datetime(well_formed, format="%Y-%m-%d", errors="coerce")
    checks = [
        (~table.pid.map(is_uuid), "malformed pid {pid!r}, not a lower-case UUID."),
        (~table.eid.map(is_uuid), "malformed eid {eid!r}, not a lower-case UUID."),
        (table.pid.duplicated(), "pid {pid} is in an earlier row too."),
        (
            table.duplicated(["eid", "probe_name"]),
            "{probe_name} of {eid} is in an earlier row too.",
        ),
        (
            ~table.session_number.str.fullmatch(r"[0-9]{1,3}"),
            "session number {session_number!r} is not between 0 and 999.",
        ),
        (dates.isna(), "{date!r} is not a date of the form 2020-12-31."),
        (
            ~table.probe_name.map(is_probe_name),
            f"{{probe_name!r}} is not a valid probe name: use {PROBE_NAME_RULE}.",
        ),
        (table.lab == "", "no lab."),
        (_differs(table), "subject, date, number or lab differ from an earlier row of {eid}."),
    ]
    for failed, text in checks:
        for row in table.index[failed]:
            faults.setdefault(int(row), text.format(**table.loc[row].to_dict()))
    return faults


def _differs(table: pd.DataFrame) -> pd.Series:
    facts = ["subject", "date", "session_number", "lab"]
    return (table.groupby("eid")[facts].transform("first") != table[facts]).any(axis=1)


def _session_of(group: pd.DataFrame) -> SessionRecord:
    first = group.iloc[0]
    insertions = tuple(
        InsertionRecord(row.eid, row.probe_name, row.pid) for row in group.itertuples()
    )
    return SessionRecord(
        eid=first.eid,
        subject=first.subject,
        date=rows.as_date(first.date),
        number=int(first.session_number),
        lab=first.lab,
        insertions=insertions,
    )
