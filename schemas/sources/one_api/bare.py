"""Bare trees of ALF files: listed as cache tables would list them."""

from __future__ import annotations

import os
import re
import unicodedata
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from schemas.sources.one_api.tables import Tables, empty_tables

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://www.internationalbrainlab.com/bwm-datajoint")
"""Namespace of the ids of sessions that have none (version 5 UUIDs)."""

Known = Mapping[tuple[str, date, int], str]
"""Ids of sessions by subject, date and number."""

_TREES = ("*/????-??-??/*", "*/Subjects/*/????-??-??/*")


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
