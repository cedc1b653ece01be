"""Change a simulated release after the fact, as those who release data do.

Only the files and the table of datasets change: the `Truth` of the release stays what it was.
"""

from __future__ import annotations

import io
import re
import uuid
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from iblutil.io import parquet

from schemas.errors import MissingDataset, SettingsError
from schemas.sources.simulator.plan import identifier
from schemas.sources.simulator.writing import (
    Content,
    check_folder,
    encode,
    md5,
    split_revision,
)

# Times are shifted by about so many seconds, other values scaled by about so much.
SHIFT, SCALE = 1e-4, 1e-3
_TIMES = re.compile(r"times|timestamps|intervals|^start$|^stop$|O(n|ff)$")


def revise(
    folder: str | Path, eid: str, path: str, revision: str | None = None, *, seed: int = 0
) -> str:
    """Release other values of a dataset: in its place, or as a revision beside it.

    Times are shifted and other numbers scaled by a little, so that a sort stays a sort; raw
    files get other bytes. Hash and size are those of the new file.

    Parameters
    ----------
    folder : str or Path
        A simulated release.
    eid : str
        Session.
    path : str
        File below the session folder, its revision folder included.
    revision : str, optional
        Add the new values under this revision and make it the default; None replaces the file.
    seed : int
        How much values change follows from it and the path.

    Returns
    -------
    str
        Path of the new values below the session folder.

    Raises
    ------
    MissingDataset
        The release has no such file.
    SettingsError
        The folder is not simulated, the revision is there, or the file has no number to change.
    """
    folder = Path(folder)
    table, info = _datasets(folder)
    row, source = _find(folder, table, eid, path)
    rng = np.random.default_rng([seed, *path.encode()])
    data = _changed(path, source.read_bytes(), rng)
    facts = {"file_size": len(data), "hash": md5(data)}
    if revision is None:
        _replace(source, data)
        table.loc[row, list(facts)] = list(facts.values())
        _save(folder, table, info)
        return path
    base = PurePosixPath(split_revision(path)[0])
    new = (base.parent / f"#{revision}#" / base.name).as_posix()
    versions = _versions(table, eid, path)
    if new in table.loc[versions, "rel_path"].tolist():
        raise SettingsError(f"{new} is there.", folder, "Use another revision.")
    target = _session_folder(folder, eid) / new
    target.parent.mkdir(parents=True, exist_ok=True)
    _replace(target, data)
    added = table[row].assign(rel_path=new, default_revision=True, **facts)
    added.index = pd.MultiIndex.from_tuples([(eid, identifier(eid, new))], names=table.index.names)
    table.loc[versions, "default_revision"] = False
    _save(folder, pd.concat([table, added.astype(table.dtypes)]), info)
    return new


def withdraw(folder: str | Path, eid: str, path: str) -> None:
    """Take a dataset out of a release, file and row; another revision becomes the default.

    Parameters
    ----------
    folder : str or Path
        A simulated release.
    eid : str
        Session.
    path : str
        File below the session folder, its revision folder included.

    Raises
    ------
    MissingDataset
        The release has no such file.
    SettingsError
        The folder is not simulated.
    """
    folder = Path(folder)
    table, info = _datasets(folder)
    row, source = _find(folder, table, eid, path)
    was_default = bool(table.loc[row, "default_revision"].iloc[0])
    table = table[~row].copy()
    left = table.loc[_versions(table, eid, path), "rel_path"]
    if was_default and len(left):
        last = max(left, key=lambda p: split_revision(p)[1])
        is_last = _of(table, eid) & (table["rel_path"] == last)
        table.loc[is_last, "default_revision"] = True
    # The row goes first: a file that is not listed harms less than a row without a file.
    _save(folder, table, info)
    source.unlink()


def _datasets(folder: Path) -> tuple[pd.DataFrame, dict]:
    """Load the table of datasets, and what was written with it."""
    if not (folder / "datasets.pqt").exists():
        raise SettingsError("this folder holds no release", folder, "Simulate one first.")
    check_folder(folder)
    table, info = parquet.load(folder / "datasets.pqt")
    return table, info


def _of(table: pd.DataFrame, eid: str) -> np.ndarray:
    """Which rows are of a session (n,)."""
    return table.index.get_level_values("eid") == eid


def _versions(table: pd.DataFrame, eid: str, path: str) -> np.ndarray:
    """Which rows are revisions of a file (n,)."""
    name = split_revision(path)[0]
    return _of(table, eid) & (table["rel_path"].map(lambda p: split_revision(p)[0]) == name)


def _find(folder: Path, table: pd.DataFrame, eid: str, path: str) -> tuple[np.ndarray, Path]:
    """Find the row of a file (as a mask, (n,)) and the file."""
    row = np.asarray(_of(table, eid) & (table["rel_path"] == path))
    if not row.any():
        raise MissingDataset(f"{path} is not listed.", eid, "Name a file of this session.")
    file = _session_folder(folder, eid) / path
    if not file.exists():
        raise MissingDataset(f"{path} is listed, but not there.", eid, "Name another file.")
    return row, file


def _session_folder(folder: Path, eid: str) -> Path:
    sessions, _ = parquet.load(folder / "sessions.pqt")
    s = sessions.loc[eid]
    return folder / s["lab"] / "Subjects" / s["subject"] / str(s["date"]) / f"{s['number']:03d}"


def _save(folder: Path, table: pd.DataFrame, info: dict) -> None:
    path = folder / "datasets.pqt"
    part = path.with_name(".datasets.part")
    parquet.save(str(part), table.sort_index(), info)
    part.replace(path)


def _replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _changed(path: str, data: bytes, rng: np.random.Generator) -> bytes:
    """Bytes of a file with other values."""
    name, content = PurePosixPath(path).name, io.BytesIO(data)
    size = float(rng.uniform(0.5, 1.5))
    changed: Content
    if name.endswith(".npy"):
        values = np.load(content)
        if values.dtype.kind != "f":
            raise SettingsError(f"{path} holds whole numbers.", remedy="Revise another file.")
        changed = _other_values(name, values, size)
    elif name.endswith((".pqt", ".csv")):
        table = pd.read_parquet(content) if name.endswith(".pqt") else pd.read_csv(content)
        changed = _other_table(path, table.rename(columns={"Unnamed: 0": ""}), size, rng)
    elif name.endswith(".json"):
        raise SettingsError(f"{path} holds no numbers.", remedy="Revise another file.")
    else:
        changed = rng.permutation(np.frombuffer(data, np.uint8)).tobytes()
    return encode(name, changed)


def _other_values(name: str, values: np.ndarray, size: float) -> np.ndarray:
    times = _TIMES.search(name)
    changed = values + size * SHIFT if times else values * (1 + size * SCALE)
    return changed.astype(values.dtype)


def _other_table(
    path: str, table: pd.DataFrame, size: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Shift all times of a table, or else scale its first numbers, or else renew its UUIDs."""
    if "uuids" in table:
        fresh = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(len(table))]
        return table.assign(uuids=fresh)
    numbers = [column for column in table if table[column].dtype.kind == "f"]
    if not numbers:
        raise SettingsError(f"{path} holds no numbers.", remedy="Revise another file.")
    times = [column for column in numbers if _TIMES.search(column)]
    new = {c: _other_values(c, table[c].to_numpy(), size) for c in times or numbers[:1]}
    return table.assign(**new)
