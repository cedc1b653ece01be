"""Cache tables: read, merged and written in ONE's form.

ONE has tables of sessions, datasets and insertions. Further tables of Alyx (`ALYX_TABLES`) are
plain Parquet files in the folder `alyx/`, which ONE does not read.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import disk
from schemas.errors import SourceError
from schemas.sources.records import PLACE, QC_OUTCOMES, SUBJECT

Tables = dict[str, pd.DataFrame]
"""Tables by name; ids are columns of text, and missing values are null."""

TABLES = ("sessions", "datasets", "insertions")
KEYS = {"sessions": ("eid",), "datasets": ("eid", "id"), "insertions": ("eid", "id")}
COLUMNS = {
    "sessions": ("lab", "subject", "date", "number"),
    "datasets": ("rel_path",),
    "insertions": ("name",),
}
ALYX_TABLES = {
    "subjects": SUBJECT,
    "sessions": ("eid", "start_time", "qc", "extended_qc"),
    "trajectories": ("id", "eid", "probe_name", "provenance", *PLACE),
    "channels": ("trajectory_id", "axial", "lateral", "x", "y", "z", "brain_region"),
}
"""Columns of the tables in `alyx/`; they are `alyx/subjects` and so on among `Tables`."""

_NUMBERS = frozenset([*PLACE, "axial", "lateral"])

TEXTS = (
    *("lab", "subject", "task_protocol", "projects", "name", "model", "serial"),
    *("rel_path", "hash"),
)
"""Columns of names, which tables also hold as numbers."""

FLAGS = ("exists", "default_revision")
FLAG_TEXTS: dict[str, bool | None] = {
    **dict.fromkeys(("True", "true", "1", "1.0"), True),
    **dict.fromkeys(("False", "false", "0", "0.0"), False),
    **dict.fromkeys(("None", ""), None),
}

REBUILD = "Download the tables again, or remove them: the folder is then listed as it is."


def empty_tables() -> Tables:
    """Return all tables, without rows."""
    ones = {name: (*KEYS[name], *COLUMNS[name]) for name in TABLES}
    ours = {f"alyx/{name}": columns for name, columns in ALYX_TABLES.items()}
    return {
        name: pd.DataFrame({c: [] for c in columns}, dtype=object)
        for name, columns in (ones | ours).items()
    }


def has_tables(folder: Path) -> bool:
    """Whether a folder has cache tables; raise an error if they are unreadable."""
    there = [table for table in TABLES if (folder / f"{table}.pqt").is_file()]
    for table in there:
        with explained(folder / f"{table}.pqt"):
            pq.read_schema(folder / f"{table}.pqt")
    missing = [f"{table}.pqt" for table in TABLES[:2] if table not in there]
    if there and missing:
        what = f"It has {there[0]}.pqt, but no {' and no '.join(missing)}."
        raise SourceError(what, folder, REBUILD)
    return bool(there)


def read_tables(folder: Path, only: Collection[str] | None = None) -> Tables:
    """Read the tables of a folder, or only some; optional tables that are missing are empty."""
    tables = empty_tables()
    for name in TABLES:
        path = folder / f"{name}.pqt"
        if (only is None or name in only) and (name != "insertions" or path.is_file()):
            tables[name] = _read_one(path, KEYS[name], COLUMNS[name])
    for name, columns in ALYX_TABLES.items():
        path = folder / "alyx" / f"{name}.pqt"
        if (only is None or f"alyx/{name}" in only) and path.is_file():
            tables[f"alyx/{name}"] = _read_ours(path, columns)
    sessions = tables["sessions"]
    if sessions.empty:
        raise SourceError("It lists no session.", folder / "sessions.pqt", REBUILD)
    days = pd.to_datetime(sessions["date"], format="ISO8601", errors="coerce").dt.date
    numbers = pd.to_numeric(sessions["number"], errors="coerce")
    numbers = numbers.where(numbers.between(0, 999) & (numbers % 1 == 0))  # others are refused
    tables["sessions"] = sessions.assign(date=days, number=numbers)
    return tables


def _read_one(path: Path, keys: tuple[str, ...], columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a cache table, patched as ONE does, its index as columns of text.

    ONE itself refuses a table without the date of its making, which no reader here needs.
    """
    from one.alf.cache import patch_tables

    with explained(path):
        raw = pq.read_table(path)
        table = raw.to_pandas()
        if isinstance(table.index, pd.RangeIndex):
            table = table.set_index(sorted(table.filter(regex="^e?id(_[01])?$")))
        meta = json.loads((raw.schema.metadata or {}).get(b"one_metadata", b"{}"))
        table = patch_tables(table, meta.get("min_api_version"), path.stem)
        if table.index.nlevels != len(keys):
            raise ValueError(f"its index is not {', '.join(keys)}")
        _require(table, columns)
        table = table.assign(**{n: _flags(table[n]) for n in FLAGS if n in table})
        table = _with_texts(table, TEXTS)
        levels = {key: table.index.get_level_values(k) for k, key in enumerate(keys)}
        table = table.reset_index(drop=True)
        return table.assign(**{key: [_as_id(v) for v in level] for key, level in levels.items()})


def _as_id(value: Any) -> str:
    """Return a UUID in lower case; other texts as they are, to be refused with their row."""
    try:
        return str(uuid.UUID(str(value)))
    except ValueError:
        return str(value)


def _with_texts(table: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    for name in set(names) & set(table):
        if table[name].map(pd.api.types.is_list_like).any():
            raise TypeError(f"{name} has lists")
    texts = {n: table[n].astype(object).map(_as_text) for n in names if n in table}
    return table.assign(**texts)


def _as_text(value: Any) -> Any:
    """Return the text of a name that was saved as a number; pandas makes 12 of a gap 12.0."""
    if isinstance(value, (bool, np.bool_)):
        return value
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        value = int(value)
    if isinstance(value, (int, np.integer)):
        return str(value)
    return value.decode() if isinstance(value, bytes) else value


def _flags(column: pd.Series) -> pd.Series:
    """Read flags of any type: tables hold true and false also as 0 and 1, and Alyx as text."""
    texts = column.astype(object).where(column.notna(), None).map(str)
    unknown = set(texts) - set(FLAG_TEXTS)
    if unknown:
        raise ValueError(f"{column.name} is neither true nor false: {min(unknown)!r}")
    return texts.map(FLAG_TEXTS).astype("boolean")


def _read_ours(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    with explained(path):
        table = pq.read_table(path).to_pandas()
        _require(table, columns)
        return _with_texts(table, set(columns) - _NUMBERS - {"brain_region"})


def _require(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = sorted(set(columns) - set(table.columns))
    if missing:
        raise ValueError(f"it has no column {', '.join(missing)}")


# --- writing ------------------------------------------------------------------------------------


def merge(held: Tables, new: Tables) -> Tables:
    """Replace everything that is held of the sessions and mice in `new`."""
    eids = set(new["sessions"]["eid"])
    gone = held["alyx/trajectories"]["eid"].isin(eids)
    trajectories = set(held["alyx/trajectories"]["id"][gone]) | set(new["alyx/trajectories"]["id"])
    mice = set(_mice(new["alyx/subjects"]))
    merged = {}
    for name, table in held.items():
        if name == "alyx/channels":
            replaced = table["trajectory_id"].isin(trajectories)
        elif name == "alyx/subjects":
            replaced = pd.Series([mouse in mice for mouse in _mice(table)], table.index, bool)
        else:
            replaced = table["eid"].isin(eids)
        parts = [part for part in (table[~replaced], new[name]) if len(part)]
        merged[name] = pd.concat(parts, ignore_index=True) if parts else table.iloc[:0]
    return merged


def _mice(subjects: pd.DataFrame) -> Iterator[tuple[Any, Any]]:
    return zip(subjects["nickname"], subjects["lab"], strict=True)


def write_tables(tables: Tables, target: Path, origin: str, names: Collection[str]) -> None:
    """Write tables in ONE's form, replacing each table in one step.

    Sessions come last: after a crash, incomplete tables list only rows of unlisted sessions.
    """
    from iblutil.io import parquet

    meta = {"date_created": pd.Timestamp.now().isoformat(" ", "minutes"), "origin": origin}
    try:
        for name in sorted(names, key=lambda name: (name == "sessions", name)):
            path = target / f"{name}.pqt"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.stem}.{os.getpid()}")
            with disk.room_for(target), _removed_at_last(partial):
                if name in TABLES:
                    parquet.save(partial, _in_form(name, tables[name]), meta)
                else:
                    columns = ALYX_TABLES[name.removeprefix("alyx/")]
                    pq.write_table(_plain(tables[name], columns), partial)
                partial.replace(path)
    except (OSError, UnicodeEncodeError) as error:
        what = f"The tables of {origin} cannot be written there ({error})."
        raise SourceError(what, target, "Choose another home.") from error


@contextlib.contextmanager
def _removed_at_last(partial: Path) -> Iterator[None]:
    """Remove a file, if it is still there, when the block ends."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _in_form(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the columns, types and index that ONE expects."""
    form = {"sessions": _sessions_form, "datasets": _datasets_form}.get(name)
    table = form(table) if form else table.astype(object)
    index = ["id"] if name == "sessions" else list(KEYS[name])
    return table.set_index(index).sort_index()


def _sessions_form(table: pd.DataFrame) -> pd.DataFrame:
    table = table[table["date"].notna() & ~table["eid"].duplicated()]
    texts = {name: _texts(table, name) for name in ("lab", "subject", "task_protocol", "projects")}
    return pd.DataFrame(
        {
            "id": table["eid"].to_numpy(object),
            **texts,
            "date": table["date"].to_numpy(object),
            "number": table["number"].to_numpy(np.uint16),
        }
    )


def _datasets_form(table: pd.DataFrame) -> pd.DataFrame:
    outcomes = pd.CategoricalDtype(list(QC_OUTCOMES), ordered=True)
    sizes = (table["file_size"] if "file_size" in table else table["eid"]).astype("UInt64")
    qc = table["qc"].astype(object) if "qc" in table else pd.Series("NOT_SET", table.index)
    table = table.assign(
        file_size=sizes,
        hash=table.get("hash"),
        exists=table["exists"].fillna(value=True).astype(bool)
        if "exists" in table
        else sizes.notna(),
        qc=qc.where(qc.isin(QC_OUTCOMES), "NOT_SET").astype(outcomes),
    )
    if "default_revision" in table:
        table = table.assign(default_revision=table["default_revision"].astype("boolean"))
    return table


def _texts(table: pd.DataFrame, name: str) -> list[str]:
    if name not in table:
        return [""] * len(table)
    return [text if isinstance(text, str) else "" for text in table[name]]


def _plain(table: pd.DataFrame, columns: Collection[str]) -> pa.Table:
    """Return an `alyx` table with fixed types, whatever its rows; extra columns are text."""
    names = [*columns, *(name for name in table if name not in columns)]
    types = {name: pa.float64() if name in _NUMBERS else pa.string() for name in names}
    types |= {"brain_region": pa.int64()} if "brain_region" in names else {}
    arrays = [pa.array(table[name].astype(object), types[name], from_pandas=True) for name in names]
    return pa.Table.from_arrays(arrays, names=names)


# --- errors -------------------------------------------------------------------------------------


@contextlib.contextmanager
def explained(where: Path) -> Iterator[None]:
    """Raise one error for all failures to read a table."""
    try:
        yield
    except (
        pa.ArrowException,
        OSError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        what = f"Not a readable cache table of ONE ({type(error).__name__}: {error})."
        raise SourceError(what, where, REBUILD) from error
