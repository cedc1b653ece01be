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
    too_long,
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
        Name of the release; default the file's, without ending.
    progress : callable, optional
        Called with the number of sessions written and of all sessions.

    Raises
    ------
    RegistrationError
        The file cannot be read or lacks columns. Bad rows are refused one by one in
        `Report.problems`; the release itself is then not registered, its good rows are.
    Contradiction
        The release is registered with other members.
    """
    path = Path(path)
    row = {"release_name": name or path.stem, "release_origin": "list", "release_rule": path.name}
    if long := too_long(row, text_limits(release.Release)):
        raise RegistrationError(long, path, "Give a shorter one by --name, or rename the file.")
    table, problems = read_list(path)
    report = Report(problems=problems)
    records = [_session_of(group) for _, group in table.groupby("eid", sort=False)]
    register_sessions(records, None, report, progress, len(records))
    if report.problems:
        problem = f"release {row['release_name']!r} is not registered, its good rows are."
        remedy = "Correct the rows named above and register it again."
        report.problems.append(RegistrationError(problem, path, remedy))
        return report
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    members = set(table[["eid", "probe_name"]].itertuples(index=False, name=None))
    _write({**row, "release_md5": digest}, members, report)
    return report


def register_found(name: str, origin: str, rule: str, found: Found, report: Report) -> None:
    """Register what a tag or a query found as a release.

    Parameters
    ----------
    name : str
        Name of the release.
    origin : {'tag', 'query'}
        How its members were told.
    rule : str
        The tag, or the selection.
    found : Found
        Its members, whose sessions are registered.
    report : Report
        Where the release is counted, and named if members are missing because their sessions were
        refused: registering the release again then adds them.

    Raises
    ------
    Contradiction
        The release is registered with other members: a tag that grew needs another name.
    """
    row = {"release_name": name, "release_origin": origin, "release_rule": rule}
    if long := too_long(row, text_limits(release.Release)):
        raise RegistrationError(long, name, "Give a shorter one by --name.")
    members = {(eid, probe_name) for eid, probe_name, _ in found.insertions}
    if not members:
        raise RegistrationError("it has no insertion.", f"release {name}", "Select more.")
    registered = members & _registered({eid for eid, _ in members})
    digest = hashlib.md5(repr(sorted(members)).encode(), usedforsecurity=False).hexdigest()
    if registered:
        _write({**row, "release_md5": digest}, registered, report)
    if missing := len(members - registered):
        what = f"{missing} of its {len(members)} insertions are missing."
        remedy = "Register it again when the sessions named above can be read: they are added."
        report.problems.append(RegistrationError(what, f"release {name}", remedy))


def _registered(eids: set[str]) -> set[Member]:
    """Fetch the insertions of sessions that are registered."""
    held = rows.frame(probe.ProbeInsertion.proj(), columns=["eid", "probe_name"])
    return {one for one in held.itertuples(index=False, name=None) if one[0] in eids}


def _write(row: dict[str, str], members: set[Member], report: Report) -> None:
    """Register a release, add what it lacked of the same list, or check that it has the members."""
    name = {"release_name": row["release_name"]}
    held = _members(row["release_name"])
    known = (release.Release & name).to_dicts()
    is_same_list = bool(known) and known[0]["release_md5"] == row["release_md5"]
    if known and held != members and not (is_same_list and held < members):
        raise Contradiction(
            f"it is registered with {len(held)} insertions, of which {len(held - members)} are "
            f"not among these {len(members)}, and {len(members - held)} of these are new.",
            f"release {row['release_name']}",
            "A release does not change: register this one under another --name.",
        )
    given = [{"eid": eid, "probe_name": probe} for eid, probe in sorted(members - held)]
    with dj.conn().transaction:
        if not known:
            rows.insert1(release.Release(), row)
        rows.insert(release.Release.Insertion(), given, name)
    kind = "new" if not known else "updated" if given else "known"
    report.count("releases", **{kind: 1})


def _members(name: str) -> set[Member]:
    held = rows.frame(release.Release.Insertion & {"release_name": name})
    return set(held[["eid", "probe_name"]].itertuples(index=False, name=None))


# --- looking at releases ------------------------------------------------------------------------


def summary() -> pd.DataFrame:
    """Count what each release holds.

    Returns
    -------
    DataFrame
        One row a release, by name: `release_name`, `origin`, `rule`, numbers of `insertions`,
        `sessions`, `mice` and `labs`, `first` and `last` day.
    """
    members = _table(release.Release.Insertion())
    counts = members.groupby("release_name").agg(**COUNTS, first=FIRST, last=LAST)
    told = rows.frame(release.Release()).rename(
        columns={"release_origin": "origin", "release_rule": "rule"}
    )
    told = told[["release_name", "origin", "rule"]]
    return told.merge(counts, on="release_name", how="left")


def by_lab(name: str) -> pd.DataFrame:
    """Count what a release holds of each laboratory.

    Returns
    -------
    DataFrame
        One row a laboratory, by name: `lab`, numbers of `insertions`, `sessions` and `mice`.

    Raises
    ------
    QueryError
        No such release; names those there are.
    """
    _require(name)
    members = _table(release.Release.Insertion & {"release_name": name})
    return members.groupby("lab", dropna=False).agg(**COUNTS).drop(columns="labs").reset_index()


def diff(old: str, new: str) -> pd.DataFrame:
    """Tell what a release has that another has not.

    Parameters
    ----------
    old, new : str
        Names of the releases.

    Returns
    -------
    DataFrame
        One row an insertion that is in one of them only: `change` (`'added'`: only in `new`,
        `'removed'`: only in `old`), then lab, subject, date, number, probe, pid and eid.

    Raises
    ------
    QueryError
        No such release; names those there are.
    """
    _require(old)
    _require(new)
    tables = [_table(release.Release.Insertion & {"release_name": name}) for name in (old, new)]
    both = tables[0].merge(tables[1], how="outer", on=list(MEMBER), indicator="change")
    table = both.assign(change=both["change"].map({"left_only": "removed", "right_only": "added"}))
    table = table.dropna(subset="change").astype({"change": str})
    order = ["change", "lab", "subject", "session_date", "session_number", "probe_name"]
    return table.sort_values(order, ignore_index=True)[[*order, "pid", "eid"]]


def describe(name: str) -> str:
    """Tell in a line what a release holds.

    Raises
    ------
    QueryError
        No such release; names those there are.
    """
    _require(name)
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


MEMBER = ("eid", "probe_name", "pid", "subject", "session_date", "session_number", "lab")
"""What `_table` tells of a member."""

COUNTS = {
    "insertions": ("probe_name", "size"),
    "sessions": ("eid", "nunique"),
    "mice": ("subject", "nunique"),
    "labs": ("lab", "nunique"),
}
FIRST, LAST = ("session_date", "min"), ("session_date", "max")


def _table(members: dj.expression.QueryExpression) -> pd.DataFrame:
    """Fetch members with what a reader knows them by."""
    where = session.Session.proj("subject", "session_date", "session_number")
    found = members * probe.ProbeInsertion.proj("pid") * where
    return rows.frame(found).merge(
        rows.frame(subject.Subject.proj("lab")), on="subject", how="left"
    )


def _require(name: str) -> None:
    if not release.Release & {"release_name": name}:
        known = ", ".join(sorted(release.Release.to_arrays("release_name"))) or "none yet"
        raise QueryError(f"no release {name!r}.", None, f"There are: {known}.")


# --- lists --------------------------------------------------------------------------------------


def sessions_of(path: Path) -> tuple[str, ...]:
    """Return the eids of the good rows of a release list, each once, in its order."""
    table, _ = read_list(path)
    return tuple(table["eid"].drop_duplicates())


def read_list(path: Path) -> tuple[pd.DataFrame, list[BwmError]]:
    """Read a release list: its good rows, and what is wrong with the others."""
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
    """Find the rows of a release list that cannot be meant, by position."""
    faults: dict[int, str] = {}
    written = table.date.where(table.date.str.fullmatch(r"\d{4}-\d{2}-\d{2}"))
    dates = pd.to_datetime(written, format="%Y-%m-%d", errors="coerce")
    checks = [
        (~table.pid.map(is_uuid), "malformed pid {pid!r}, not a lower-case UUID."),
        (~table.eid.map(is_uuid), "malformed eid {eid!r}, not a lower-case UUID."),
        (table.pid.duplicated(), "pid {pid} stands in an earlier row too."),
        (table.duplicated(["eid", "probe_name"]), "{probe_name} of {eid} is in an earlier row."),
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
