"""The only door to ONE: recordings that are listed and found by ONE-api.

A folder is opened in ONE's local mode, with no login, no network and no shared instance. Nothing
is ever written into it.

- A folder with cache tables (`sessions.pqt`, `datasets.pqt`, perhaps `insertions.pqt`) has the
  true ids of Alyx.
- A bare tree of ALF files has none. Its sessions get ids that depend on lab, subject, date and
  number alone (`session_id`), so that they are the same at every run and on every machine; the
  tables that ONE needs are written below the project's home.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import unicodedata
import uuid
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import MissingDataset, SourceError
from schemas.sources import alf
from schemas.sources.base import (
    QC_OUTCOMES,
    Channels,
    Clusters,
    DatasetRecord,
    InsertionRecord,
    SessionRecord,
    Source,
    Spikes,
    Trials,
    Wheel,
    is_subject_name,
)

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://www.internationalbrainlab.com/bwm-datajoint")
"""Namespace of the ids of sessions that have none (version 5 UUIDs)."""

TABLES = ("sessions", "datasets", "insertions")
SESSION_COLUMNS = ("lab", "subject", "date", "number")
DATASET_COLUMNS = ("rel_path",)
_DATASET = re.compile(r"(?!/)(?:(?!\.\.?/)[^/\\]+/)*(?!\.\.?$)[^/\\]+")
_TREES = ("*/????-??-??/*", "*/Subjects/*/????-??-??/*")

_REBUILD = "Download the tables again, or remove them: the folder is then listed as it is."
_RENAME = "Rename it and register the folder again; the other sessions are not affected."
_CORRECT = "Correct the cache tables and register the folder again."


Known = Mapping[tuple[str, date, int], str]
"""Ids of sessions by subject, date and number."""


def open_source(location: str | Path, home: str | Path, known: Known | None = None) -> Source:
    """Open a place that offers recordings.

    Parameters
    ----------
    location : str or Path
        Folder of ONE.
    home : str or Path
        Folder of this project, where tables of its own may be written.
    known : mapping, optional
        Ids that are known already: bare sessions get those instead of made ones.
    """
    return OneSource(location, home, known)


def session_id(lab: str | None, subject: str, day: date, number: int) -> str:
    """Make the id of a session that has none.

    The version 5 UUID, in `NAMESPACE`, of `lab/subject/yyyy-mm-dd/nnn` (no lab: an empty name),
    in Unicode's composed form, since file systems differ in theirs.
    """
    name = f"{lab or ''}/{subject}/{day.isoformat()}/{number:03d}"
    return str(uuid.uuid5(NAMESPACE, unicodedata.normalize("NFC", name)))


class OneSource:
    """Recordings in a folder of ONE.

    Parameters
    ----------
    folder : str or Path
        Folder with cache tables, or a tree `[lab/Subjects/]subject/yyyy-mm-dd/nnn`.
    home : str or Path
        Folder of this project.
    known : mapping, optional
        Ids that bare sessions have elsewhere, e.g. in a release list.

    Attributes
    ----------
    problems : list of SourceError
        What `sessions` left out, and why.

    Raises
    ------
    SourceError
        The folder is not there, has neither tables nor sessions, or its tables cannot be read.
    """

    def __init__(self, folder: str | Path, home: str | Path, known: Known | None = None) -> None:
        # Links stay links: they are how a folder keeps its name when the disk behind it changes.
        self._folder = Path(os.path.abspath(Path(folder).expanduser()))  # noqa: PTH100
        self._known = known or {}
        self.problems: list[SourceError] = []
        if not self._folder.is_dir():
            raise SourceError("There is no such folder.", self._folder, "Check its name.")
        self._has_tables = _has_tables(self._folder)
        self._tables = self._folder
        if not self._has_tables:
            if next(_session_folders(self._folder), None) is None:
                what = "It has neither cache tables of ONE nor sessions."
                remedy = "Give the folder that holds sessions.pqt, or the folders of labs or mice."
                raise SourceError(what, self._folder, remedy)
            digest = hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
            self._tables = Path(home).expanduser() / "tables" / digest
        self._one: Any = None

    @property
    def location(self) -> str:
        """Absolute path of the folder."""
        return str(self._folder)

    def sessions(self) -> list[SessionRecord]:
        """List every session with what it has, in order of subject, date, number.

        What cannot be used is left out, and told in `problems`.
        """
        tables = self._list()
        sessions = tables["sessions"]
        refused = {
            **_dataset_problems(tables["datasets"], sessions, self._folder),
            **_insertion_problems(tables["insertions"], self._folder),
            **_session_problems(sessions, self._folder),
        }
        self.problems = list(refused.values())
        datasets = _dataset_records(tables["datasets"], from_alyx=self._has_tables)
        insertions = _insertion_records(tables["insertions"])
        good = sessions[~sessions["eid"].isin(list(refused))]
        return [
            _session_record(row, datasets[row["eid"]], insertions[row["eid"]])
            for row in _rows(good.sort_values(["subject", "date", "number"]))
        ]

    def load_trials(self, datasets: Sequence[DatasetRecord]) -> Trials:
        """Load the task events of a session."""
        return alf.read_trials(self._locate(datasets))

    def load_wheel(self, datasets: Sequence[DatasetRecord]) -> Wheel:
        """Load the wheel trace of a session."""
        return alf.read_wheel(self._locate(datasets))

    def load_channels(self, datasets: Sequence[DatasetRecord]) -> Channels:
        """Load the recording sites of a probe."""
        return alf.read_channels(self._locate(datasets))

    def load_clusters(self, datasets: Sequence[DatasetRecord]) -> Clusters:
        """Load the units of a sort, with metrics and site of the peak channel."""
        return alf.read_clusters(self._locate(datasets))

    def load_spikes(self, datasets: Sequence[DatasetRecord]) -> Spikes:
        """Load the spikes of a sort."""
        return alf.read_spikes(self._locate(datasets))

    def _list(self) -> dict[str, pd.DataFrame]:
        """List sessions, datasets and insertions, from the tables or from the tree."""
        self._one = None
        if self._has_tables:
            return _read_tables(self._folder)
        tables = _list_tree(self._folder, self._known)
        _write_tables(tables, self._tables, self._folder)
        return tables

    def _locate(self, datasets: Sequence[DatasetRecord]) -> dict[DatasetRecord, Path]:
        """Tell where ONE has each dataset, without loading or changing anything.

        By session folder and the path that the tables list: exact, whichever revision is the
        default by now, and whatever quality was set since.
        """
        folders = {eid: self._session_folder(eid) for eid in {d.eid for d in datasets}}
        return {d: folders[d.eid] / d.path for d in datasets}

    def _session_folder(self, eid: str) -> Path:
        from one.converters import session_record2path

        session = self._details(eid)
        if session is None and not self._has_tables:
            # The tree may have got sessions since its tables were written, by another process.
            self._list()
            session = self._details(eid)
        if session is None:
            remedy = "Register the folder again, or open the one that the session came from."
            raise MissingDataset(f"Session {eid} is not there any more.", self._folder, remedy)
        return Path(session_record2path(session, self._folder))

    def _details(self, eid: str) -> dict[str, Any] | None:
        """Ask ONE for a session, by `get_details`: `eid2path` refuses version 5 UUIDs."""
        from one.alf.exceptions import ALFObjectNotFound

        try:
            known = self._open().get_details(uuid.UUID(eid))
        except ALFObjectNotFound:
            return None
        return {
            "lab": _text(known["lab"]) or "",
            "subject": known["subject"],
            "date": pd.Timestamp(known["date"]).date(),
            "number": int(known["number"]),
        }

    def _open(self) -> Any:
        """Open ONE on first use, an instance of our own: its shared one is not for this folder."""
        if self._one is None:
            if not (self._has_tables or (self._tables / "sessions.pqt").is_file()):
                self._list()
            from one.api import One

            with _quiet(), _explained(self._tables):
                self._one = One(cache_dir=self._folder, tables_dir=self._tables, mode="local")
        return self._one


# --- what ONE says meanwhile --------------------------------------------------------------------


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what ONE says of tables: not its own ones, large ones, how it reads them."""
    log = logging.getLogger("one.alf.cache")
    was = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Large cache tables affect performance")
            # Its own use of pandas is for its makers to mend.
            for category in (DeprecationWarning, FutureWarning):
                warnings.filterwarnings("ignore", category=category, module=r"one\.")
            yield
    finally:
        log.disabled = was


@contextlib.contextmanager
def _explained(where: Path) -> Iterator[None]:
    """Turn the ways in which tables fail to be read into one."""
    try:
        yield
    # The client takes keys and types for granted: it has no error of its own for a bad table.
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        what = f"Not a readable cache table of ONE ({type(error).__name__}: {error})."
        raise SourceError(what, where, _REBUILD) from error


# --- folders with tables ------------------------------------------------------------------------


def _has_tables(folder: Path) -> bool:
    """Tell whether a folder has cache tables, which then must be readable."""
    there = [table for table in TABLES if (folder / f"{table}.pqt").is_file()]
    for table in there:
        with _explained(folder / f"{table}.pqt"):
            pq.read_schema(folder / f"{table}.pqt")
    missing = [f"{table}.pqt" for table in TABLES[:2] if table not in there]
    if there and missing:
        what = f"It has {there[0]}.pqt, but no {' and no '.join(missing)}."
        raise SourceError(what, folder, _REBUILD)
    return bool(there)


def _read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    tables = {
        "sessions": _read_table(folder / "sessions.pqt", ("eid",), SESSION_COLUMNS),
        "datasets": _read_table(folder / "datasets.pqt", ("eid", "id"), DATASET_COLUMNS),
        "insertions": _no_insertions(),
    }
    if (folder / "insertions.pqt").is_file():
        path = folder / "insertions.pqt"
        tables["insertions"] = _read_table(path, ("eid", "id"), ("name",))
    if tables["sessions"].empty:
        raise SourceError("It lists no session.", folder / "sessions.pqt", _REBUILD)
    sessions = tables["sessions"]
    days = pd.to_datetime(sessions["date"], format="ISO8601", errors="coerce").dt.date
    numbers = pd.to_numeric(sessions["number"], errors="coerce")
    tables["sessions"] = sessions.assign(date=days, number=numbers)
    return tables


def _read_table(path: Path, keys: tuple[str, ...], columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a cache table as ONE reads it, its index as columns of text."""
    from one.alf.cache import load_tables

    with _quiet(), _explained(path):
        tables = load_tables(path.parent, glob_pattern=path.name)
        if tables["_meta"]["loaded_time"] is None:
            raise ValueError("it was not saved by ONE: its metadata are missing")
        table = tables[path.stem]
        if table.index.nlevels != len(keys):
            raise ValueError(f"its index is not {', '.join(keys)}")
        missing = sorted(set(columns) - set(table.columns))
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        levels = {key: table.index.get_level_values(k) for k, key in enumerate(keys)}
        table = table.reset_index(drop=True)
        return table.assign(**{key: level.map(str).to_numpy() for key, level in levels.items()})


def _no_insertions() -> pd.DataFrame:
    return pd.DataFrame({"eid": [], "id": [], "name": []}, dtype=object)


# --- bare trees ---------------------------------------------------------------------------------


def _session_folders(folder: Path) -> Iterator[Path]:
    for tree in _TREES:
        for path in sorted(folder.glob(tree)):
            if re.fullmatch(r"\d{1,3}", path.name) and path.is_dir():
                yield path


def _list_tree(folder: Path, known: Known) -> dict[str, pd.DataFrame]:
    """List a tree as cache tables would, with ids that are known, or else made from names."""
    sessions, datasets = [], []
    for path in _session_folders(folder):
        session = _session_of(path, folder, known)
        sessions.append(session)
        datasets += [{"eid": session["eid"], **file} for file in _files_of(path, session["eid"])]
    return {
        "sessions": pd.DataFrame(sessions),
        "datasets": pd.DataFrame(datasets, columns=["eid", "id", "rel_path", "file_size"]),
        "insertions": _no_insertions(),
    }


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
        # It will be refused, and must not take the id of a good one with it.
        eid = str(uuid.uuid5(NAMESPACE, str(path.relative_to(folder))))
    facts = {"lab": lab, "subject": subject, "date": held, "number": int(number)}
    return {"eid": eid, **facts, "folder": path}


def _files_of(session: Path, eid: str) -> Iterator[dict[str, Any]]:
    for parent, folders, names in os.walk(session):
        folders.sort()
        for name in sorted(filter(_is_dataset, names)):
            path = Path(parent, name)
            relative = path.relative_to(session).as_posix()
            # A link whose target has not been fetched is listed, and missing when it is read.
            size = path.stat().st_size if path.exists() else None
            own = str(uuid.uuid5(uuid.UUID(eid), relative))
            yield {"id": own, "rel_path": relative, "file_size": size}


@lru_cache(maxsize=65536)
def _is_dataset(name: str) -> bool:
    from one.alf.spec import is_valid

    return is_valid(name)


def _write_tables(tables: dict[str, pd.DataFrame], target: Path, folder: Path) -> None:
    """Write the tables that ONE needs to know the sessions of a tree."""
    from iblutil.io import parquet

    meta = {"date_created": pd.Timestamp.now().isoformat(" ", "minutes"), "origin": str(folder)}
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, table in _cache_tables(tables).items():
            # Other processes may read it at this moment: they see the old table or the new one.
            partial = target / f".{name}.{os.getpid()}"
            parquet.save(partial, table.sort_index(), meta)
            partial.replace(target / f"{name}.pqt")
    except OSError as error:
        what = f"The tables of {folder} cannot be written there ({error})."
        raise SourceError(what, target, "Make room, or choose another home.") from error


def _cache_tables(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """Give sessions and datasets the columns, types and index of ONE's own tables."""
    sessions, datasets = tables["sessions"], tables["datasets"]
    sessions = sessions[sessions["date"].notna() & ~sessions["eid"].duplicated()]
    sessions = sessions.drop(columns="folder").rename(columns={"eid": "id"})
    sessions = sessions.assign(
        lab=[_text(lab) or "" for lab in sessions["lab"]],
        number=sessions["number"].astype(np.uint16),
        task_protocol="",
        projects="",
    )
    outcomes = pd.CategoricalDtype(list(QC_OUTCOMES), ordered=True)
    datasets = datasets.assign(
        file_size=datasets["file_size"].astype("UInt64"),
        hash=None,
        exists=datasets["file_size"].notna(),
        qc=pd.Series("NOT_SET", datasets.index, dtype=outcomes),
    )
    return {"sessions": sessions.set_index("id"), "datasets": datasets.set_index(["eid", "id"])}


# --- what is wrong with a session ---------------------------------------------------------------


def _session_problems(sessions: pd.DataFrame, folder: Path) -> dict[str, SourceError]:
    """Tell by eid which sessions cannot be used, and why."""
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
    if lab and not re.fullmatch(r"\w+", lab):
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


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def _dataset_problems(
    datasets: pd.DataFrame, sessions: pd.DataFrame, folder: Path
) -> dict[str, SourceError]:
    """Tell by eid which sessions list files that cannot be theirs."""
    # Checked once each: sessions have much the same files.
    paths = [path for path in datasets["rel_path"].unique() if isinstance(path, str)]
    good = [path for path in paths if _DATASET.fullmatch(path)]
    faults = {
        "whose session is not listed": ~datasets["eid"].isin(sessions["eid"]),
        "that is listed twice": datasets.duplicated(["eid", "rel_path"]),
        "whose path does not lead into the session": ~datasets["rel_path"].isin(good),
    }
    return _row_problems(datasets, faults, "a dataset", "rel_path", folder / "datasets.pqt")


def _insertion_problems(insertions: pd.DataFrame, folder: Path) -> dict[str, SourceError]:
    """Tell by eid which sessions have probes that cannot be told apart."""
    faults = {
        "that is listed twice": insertions.duplicated(["eid", "name"]),
        "without a name": ~insertions["name"].isin([n for n in insertions["name"] if _text(n)]),
    }
    return _row_problems(insertions, faults, "a probe", "name", folder / "insertions.pqt")


def _row_problems(
    table: pd.DataFrame, faults: dict[str, pd.Series], thing: str, column: str, where: Path
) -> dict[str, SourceError]:
    refused = {}
    for fault, wrong in faults.items():
        for row in _rows(table[wrong].drop_duplicates("eid")):
            what = f"Session {row['eid']} has {thing} {fault}: {row[column]!r}."
            refused[row["eid"]] = SourceError(what, where, _CORRECT)
    return refused


# --- rows to records ----------------------------------------------------------------------------


def _dataset_records(table: pd.DataFrame, from_alyx: bool) -> dict[str, list[DatasetRecord]]:
    """Describe all datasets, by eid, in order of their paths."""
    table = table.sort_values(["eid", "rel_path"])
    ids = table["id"].tolist() if from_alyx else [None] * len(table)
    sizes = _optional(table, "file_size", int)
    hashes = _optional(table, "hash", lambda text: text or None)
    outcomes = _optional(table, "qc", lambda name: name if name in QC_OUTCOMES else None)
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
    """Give the values of a column that may be missing, or have missing values."""
    if column not in table:
        return [None] * len(table)
    values = table[column].astype(object)
    known = values.notna().tolist()
    return [convert(v) if k else None for v, k in zip(values.tolist(), known, strict=True)]


def _insertion_records(table: pd.DataFrame) -> dict[str, list[InsertionRecord]]:
    found: dict[str, list[InsertionRecord]] = defaultdict(list)
    texts = {name: _optional(table, name, lambda v: str(v) or None) for name in ("model", "serial")}
    facts = _optional(table, "json", _facts)
    for k, (eid, pid, name) in enumerate(
        zip(table["eid"], table["id"], table["name"], strict=True)
    ):
        qc = (facts[k] or {}).get("qc")
        found[eid].append(
            InsertionRecord(
                eid=eid,
                probe_name=name,
                pid=pid if _is_uuid(pid) else None,
                model=texts["model"][k],
                serial=texts["serial"][k],
                qc=qc if qc in QC_OUTCOMES else None,
            )
        )
    return found


def _facts(released: Any) -> dict[str, Any]:
    """Take the free-form facts of Alyx as a dict: tables hold them as text or as a structure."""
    if isinstance(released, str):
        try:
            released = json.loads(released)
        except ValueError:
            return {}
    return released if isinstance(released, dict) else {}


def _session_record(
    row: dict[str, Any], datasets: list[DatasetRecord], insertions: list[InsertionRecord]
) -> SessionRecord:
    eid = row["eid"]
    known = {insertion.probe_name for insertion in insertions}
    # Files of a probe that no table knows are data of an insertion all the same.
    others = sorted({d.probe_name for d in datasets if d.probe_name} - known)
    insertions = [*insertions, *(InsertionRecord(eid, name) for name in others)]
    return SessionRecord(
        eid=eid,
        subject=row["subject"],
        date=row["date"],
        number=int(row["number"]),
        lab=_text(row["lab"]),
        task_protocol=_text(row.get("task_protocol")),
        projects=_text(row.get("projects")),
        datasets=tuple(datasets),
        insertions=tuple(sorted(insertions, key=lambda i: i.probe_name)),
        sortings=alf.sortings(datasets),
    )


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
