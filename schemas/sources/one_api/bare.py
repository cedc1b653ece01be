"""Bare trees of ALF files: listed as cache tables would list them."""

from __future__ import annotations

import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from schemas.sources.one_api.tables import TABLES, Tables, empty_tables

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://www.internationalbrainlab.com/bwm-datajoint")
"""Namespace of the ids of sessions that have none (version 5 UUIDs)."""

Known = Mapping[tuple[str, date, int], str]
"""Ids of sessions by subject, date and number."""

_TREES = ("*/????-??-??/*", "*/Subjects/*/????-??-??/*")
_DAY = re.compile("....-..-..")
_UNREADABLE = "this account may not read it"


def session_id(lab: str | None, subject: str, day: date, number: int) -> str:
    """Return the id of a session without one.

    The id is the version 5 UUID, in `NAMESPACE`, of `lab/subject/yyyy-mm-dd/nnn` (lab may be empty)
    in Unicode's composed form, because file systems use different forms.
    """
    name = f"{lab or ''}/{subject}/{day.isoformat()}/{number:03d}"
    return str(uuid.uuid5(NAMESPACE, unicodedata.normalize("NFC", name)))


def session_folders(folder: Path) -> Iterator[Path]:
    """Find the folders of sessions in a tree `[lab/Subjects/]subject/yyyy-mm-dd/nnn`."""
    for tree in _TREES:
        for path in sorted(folder.glob(tree)):
            if re.fullmatch(r"\d{1,3}", path.name) and path.is_dir():
                yield path


def is_source(folder: Path) -> bool:
    """Whether a folder has cache tables of ONE, or sessions."""
    tables = any((folder / f"{name}.pqt").is_file() for name in TABLES)
    return tables or next(session_folders(folder), None) is not None


def skipped_folders(folder: Path) -> list[tuple[Path, str]]:
    """Return the folders of a tree in which no session is found, each with the reason."""
    sessions = set(session_folders(folder))
    days = {session.parent for session in sessions}
    mice = {day.parent for day in days}
    above = {path for mouse in mice for path in mouse.parents if path.is_relative_to(folder)}
    kept = sessions | days | mice | above
    found = []
    for parent in sorted(days | mice | above):
        for path in sorted(parent.iterdir()):
            if path in kept or path.name.startswith(".") or not path.is_dir():
                continue
            if not os.access(path, os.R_OK | os.X_OK):
                why = _UNREADABLE
            elif parent in days:
                why = "its name is not a session number of one to three digits"
            elif parent in mice and not _DAY.fullmatch(path.name):
                why = "its name is not a date yyyy-mm-dd"
            elif is_source(path):
                why = "it is a folder of ONE by itself; register it, too"
            else:
                why = "no folder of a session is found in it"
            found.append((path, why))
    return found + list(_not_walked(sessions))


def _not_walked(sessions: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Find the folders in sessions that `os.walk` passes over: a link may lead in a circle."""
    for session in sorted(sessions):
        for parent, folders, _ in os.walk(session):
            for path in (Path(parent, name) for name in sorted(folders)):
                if path.is_symlink():
                    yield path, "it is a link to a folder"
                elif not os.access(path, os.R_OK | os.X_OK):
                    yield path, _UNREADABLE


def unlisted_sessions(folder: Path, sessions: pd.DataFrame) -> list[tuple[Path, str]]:
    """Return the folders of sessions that cache tables do not list."""
    rows = zip(sessions["subject"], sessions["date"], sessions["number"], strict=True)
    listed = {(subject, str(day), number) for subject, day, number in rows}
    return [
        (path, "sessions.pqt does not list it")
        for path in session_folders(folder)
        if (path.parts[-3], path.parts[-2], int(path.name)) not in listed
    ]


def list_tree(folder: Path, known: Known) -> Tables:
    """List a tree as cache tables would, with ids that are known, or else made from names."""
    sessions, datasets = [], []
    for path in session_folders(folder):
        session = _session_of(path, folder, known)
        sessions.append(session)
        datasets += [{"eid": session["eid"], **file} for file in _files_of(path, session["eid"])]
    files = pd.DataFrame(datasets, columns=["eid", "id", "rel_path", "file_size"])
    return empty_tables() | {"sessions": pd.DataFrame(sessions), "datasets": files}


def _session_of(path: Path, folder: Path, known: Known) -> dict[str, Any]:
    *above, subject, day, number = path.relative_to(folder).parts
    lab = above[0] if above else None
    try:
        held = date.fromisoformat(day)
    except ValueError:
        held = None
    if held and len(number) == 3:
        made = session_id(lab, subject, held, int(number))
        eid = known.get((subject, held, int(number)), made)
    else:
        # This session will be refused, and must not share the id of a good one.
        eid = str(uuid.uuid5(NAMESPACE, str(path.relative_to(folder))))
    facts = {"lab": lab, "subject": subject, "date": held, "number": int(number)}
    return {"eid": eid, **facts, "folder": path}


def _files_of(session: Path, eid: str) -> Iterator[dict[str, Any]]:
    for parent, folders, names in os.walk(session):
        folders.sort()
        for name in sorted(filter(_is_dataset, names)):
            path = Path(parent, name)
            relative = path.relative_to(session).as_posix()
            # A link without its target is listed, and reading it raises an error.
            size = path.stat().st_size if path.exists() else None
            own = str(uuid.uuid5(uuid.UUID(eid), relative))
            yield {"id": own, "rel_path": relative, "file_size": size}


@lru_cache(maxsize=65536)
def _is_dataset(name: str) -> bool:
    from one.alf.spec import is_valid

    return is_valid(name)
