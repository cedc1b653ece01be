"""Write files and tables of a ONE cache, with what the tables say of the files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from iblutil.io import parquet

from schemas.errors import DamagedFile, SettingsError
from schemas.sources.records import QC_OUTCOMES
from schemas.sources.simulator.plan import Session, identifier

ORIGIN = "simulated"
# No clock: the same arguments give the same bytes.
TABLE_INFO = {"date_created": "2021-01-01 00:00", "origin": ORIGIN, "min_api_version": "3.0.0"}
QC_TYPE = pd.CategoricalDtype(categories=list(QC_OUTCOMES), ordered=True)

# A file to be: array (.npy), frame (.pqt or .csv), list or dict (.json), or bytes as they are.
Content: TypeAlias = np.ndarray | pd.DataFrame | list | dict | bytes


def encode(name: str, content: Content) -> bytes:
    """Bytes of a file of that name."""
    if isinstance(content, bytes):
        return content
    buffer = io.BytesIO()
    if isinstance(content, np.ndarray):
        np.save(buffer, content)
    elif not isinstance(content, pd.DataFrame):
        buffer.write(json.dumps(content, indent=1).encode())
    elif name.endswith(".csv"):
        buffer.write(content.to_csv(index=False, lineterminator="\n").encode())
    else:
        parquet.save(buffer, content, {})
    return buffer.getvalue()


def md5(data: bytes) -> str:
    """Hash of bytes, hexadecimal."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def check_folder(folder: Path) -> None:
    """Refuse a folder with the tables of a ONE cache that was not simulated.

    Raises
    ------
    SettingsError
        Writing here would replace the tables of another cache.
    DamagedFile
        A table of the folder cannot be read.
    """
    for name in ("sessions", "datasets", "insertions"):
        path = folder / f"{name}.pqt"
        if not path.exists():
            continue
        try:
            metadata = pq.read_schema(path).metadata or {}
        except (OSError, ValueError) as error:
            raise DamagedFile("cannot be read as a table", path, "Use a new folder.") from error
        if json.loads(metadata.get(b"one_metadata", b"{}")).get("origin") != ORIGIN:
            raise SettingsError(
                "this folder is a ONE cache that was not simulated", folder, "Use a new folder."
            )


def write_session(
    folder: Path,
    session: Session,
    files: Mapping[str, Content],
    cut: Mapping[str, bool],
    pointers: Mapping[str, int],
) -> pd.DataFrame:
    """Write the files of a session.

    Parameters
    ----------
    folder : Path
        The ONE cache.
    session : Session
        Whose files they are.
    files : mapping of str to content
        By path below the session folder.
    cut : mapping of str to bool
        Files of which only the first half is written; True lists the hash and size of that half,
        False those of the whole.
    pointers : mapping of str to int
        Files that are listed with that size (bytes), but not there.

    Returns
    -------
    DataFrame
        Rows of the datasets table, eid and id as columns.
    """
    rows = []
    for path, content in files.items():
        data = encode(path, content)
        target = folder / session.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        written = data[: len(data) // 2] if path in cut else data
        target.write_bytes(written)
        listed = written if cut.get(path) else data
        rows.append((path, len(listed), md5(listed), True))
    rows += [(path, size, md5(path.encode()), False) for path, size in pointers.items()]
    frame = pd.DataFrame(rows, columns=["rel_path", "file_size", "hash", "exists"])
    trials, left = (frame["rel_path"].str.contains(n) for n in ("_ibl_trials", "/_ibl_leftCamera"))
    outcome = np.select([trials, left], ["PASS", "WARNING"], "NOT_SET")
    return frame.assign(
        eid=session.eid,
        id=[identifier(session.eid, path) for path in frame["rel_path"]],
        qc=pd.Categorical(outcome, dtype=QC_TYPE),
        default_revision=_default_flags(frame["rel_path"].tolist()),
    )


def split_revision(path: str) -> tuple[str, str]:
    """Path without its revision folder, and the revision (`''` for none)."""
    parent, name = PurePosixPath(path).parent, PurePosixPath(path).name
    if parent.name.startswith("#"):
        return (parent.parent / name).as_posix(), parent.name.strip("#")
    return path, ""


def _default_flags(paths: Sequence[str]) -> list[bool]:
    """Flag the last revision of each file."""
    last: dict[str, str] = {}
    for path in paths:
        name, revision = split_revision(path)
        last[name] = max(revision, last.get(name, ""))
    return [last[name] == revision for name, revision in map(split_revision, paths)]


def write_tables(
    folder: Path,
    sessions: Sequence[Session],
    datasets: Sequence[pd.DataFrame],
    insertion_texts: Sequence[str | None],
) -> pd.DataFrame:
    """Write the three tables of the cache; return the datasets, index as columns.

    `insertion_texts` are the JSON of the insertions in the order of the sessions.
    """
    tables = {
        "sessions": _sessions_table(sessions),
        "insertions": insertions_frame(sessions)
        .assign(json=pd.Series(insertion_texts, dtype=object))
        .rename(columns={"pid": "id", "probe_name": "name"})
        .set_index(["eid", "id"]),
    }
    listed = pd.concat(datasets, ignore_index=True).astype({"file_size": "UInt64", "qc": QC_TYPE})
    listed = listed.sort_values(["eid", "id"], ignore_index=True)
    columns = ["rel_path", "file_size", "hash", "exists", "qc", "default_revision"]
    tables["datasets"] = listed.set_index(["eid", "id"])[columns]
    for name, table in tables.items():
        parquet.save(str(folder / f"{name}.pqt"), table.sort_index(), TABLE_INFO)
    return tables["datasets"].reset_index()


def _sessions_table(sessions: Sequence[Session]) -> pd.DataFrame:
    protocol = "_iblrig_tasks_ephysChoiceWorld6.4.2"
    frame = pd.DataFrame(
        {
            "lab": [s.lab for s in sessions],
            "subject": [s.subject for s in sessions],
            "date": pd.Series([s.date for s in sessions], dtype=object),
            "number": np.array([s.number for s in sessions], dtype=np.uint16),
            "task_protocol": [
                "_iblrig_tasks_trainingChoiceWorld6.4.2" if s.role.training else protocol
                for s in sessions
            ],
            "projects": [s.role.project for s in sessions],
        }
    )
    frame.index = pd.Index([s.eid for s in sessions], name="id")
    return frame


def insertions_frame(sessions: Sequence[Session]) -> pd.DataFrame:
    """List the insertions: pid, eid, probe_name, model, serial."""
    rows = [(p.pid, s.eid, p.name, p.model, p.serial) for s in sessions for p in s.probes]
    return pd.DataFrame(rows, columns=["pid", "eid", "probe_name", "model", "serial"], dtype=str)


def write_release(path: Path, sessions: Sequence[Session]) -> None:
    """Write the list of insertions as the released ones are: an unnamed index first."""
    columns = ["pid", "eid", "probe_name", "session_number", "date", "subject", "lab"]
    rows = [
        (p.pid, s.eid, p.name, s.number, s.date.isoformat(), s.subject, s.lab)
        for s in sessions
        for p in s.probes
    ]
    pd.DataFrame(rows, columns=columns).to_csv(path, lineterminator="\n")
