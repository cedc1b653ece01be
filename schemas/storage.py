"""Bulk arrays as Parquet objects in a store: the `<parquet@bulk>` codec.

One object a row, columns of equal length; `schemas.parquet` writes them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datajoint.builtin_codecs.schema import SchemaCodec
from datajoint.errors import DataJointError, MissingExternalFile

from schemas import disk
from schemas.database import io_counters
from schemas.database.upstream import full_path
from schemas.errors import DiskFull, StorageError
from schemas.parquet import Packed, pack

STORE = "bulk"
WRITABLE = "Check that the folder of bwm.store exists, is writable and has space."
REACHABLE = "Check bwm.store: endpoint, bucket, and keys that may read and write it."
GROUPS_AT_ONCE = 8
"""Row groups that are copied at a time: what fits into the cache of a processor."""
REPAIR = "Delete its row and populate the table again."


class WrongObject(StorageError):
    """An object is not the one that its row describes."""


class ParquetRef:
    """Lazy reference to a stored Parquet object: nothing is read until it is asked for.

    Attributes
    ----------
    path : str
        Path in the store.
    columns : tuple of str
        Names of the columns.
    n_rows : int
        Length of every column.
    sha256 : str
        Hash of the object as it was written.
    stored : dict
        What its row holds: enough for `reference` to make this object again, with no query.
    """

    def __init__(self, stored: Mapping[str, Any], backend: Any) -> None:
        self.stored = dict(stored)
        self.path: str = stored["path"]
        self.columns = tuple(stored["columns"])
        self.n_rows = int(stored["n_rows"])
        self.sha256: str = stored["sha256"]
        self._backend = backend
        self._file: pq.ParquetFile | None = None

    def __len__(self) -> int:
        return self.n_rows

    def __repr__(self) -> str:
        return f"ParquetRef({self.path}: {self.n_rows} rows of {', '.join(self.columns)})"

    def open(self) -> pq.ParquetFile:
        """Open the object; the file is opened once and kept.

        Raises
        ------
        StorageError
            The object is missing or damaged.
        WrongObject
            The object is not the one that its row describes.
        """
        if self._file is None:
            location = _inside(self._backend, self.path)
            is_local = self._backend.protocol == "file"
            with _faults_explained(self._backend, self.path):
                source: Any = location if is_local else self._backend.fs.open(location, "rb")
                n_bytes = disk.size(Path(location)) if is_local else source.size
                # Not mapped: pages of a mapped file count as memory, and a file that is cut short
                # meanwhile would end the process.
                file = pq.ParquetFile(source, page_checksum_verification=True)
            found = n_bytes, file.metadata.num_rows, file.schema_arrow.names
            if found != (self.stored["n_bytes"], self.n_rows, list(self.columns)):
                where = full_path(self._backend, self.path)
                raise WrongObject(self._describe(*found), where, REPAIR)
            self._file = file
        return self._file

    def _describe(self, n_bytes: int, n_rows: int, columns: Sequence[str]) -> str:
        """Describe an object that is not the one of its row."""
        folders = self.path.split("/")[:-1]
        key = [name for name in folders if "=" in name]
        table = ".".join(name for name in folders[-len(key) - 2 :] if name not in key)
        return (
            f"the object has {n_rows:,} rows of {', '.join(columns)} in {n_bytes:,} bytes, and its "
            f"row of {table} ({', '.join(key)}) says {self.n_rows:,} rows of "
            f"{', '.join(self.columns)} in {self.stored['n_bytes']:,} bytes."
        )

    def read(self, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Read whole columns (default all) as arrays of length `n_rows`.

        Raises
        ------
        StorageError
            The object is missing or damaged.
        """
        names = list(columns or self.columns)
        file = self.open()
        found: dict[str, np.ndarray] = {}
        if file.num_row_groups > GROUPS_AT_ONCE:  # else Arrow would hold what is copied once more
            types = {name: file.schema_arrow.field(name).type for name in names}
            floats = {name: t for name, t in types.items() if pa.types.is_floating(t)}
            found = {name: np.empty(len(self), t.to_pandas_dtype()) for name, t in floats.items()}
            self.copy_slices(found, [0], [len(self)])
        rest = [name for name in names if name not in found]
        with _faults_explained(self._backend, self.path):
            found |= _arrays(file.read(columns=rest), rest)
        return {name: found[name] for name in names}

    def to_pandas(self) -> pd.DataFrame:
        """Read the whole object as a frame."""
        return pd.DataFrame(self.read())

    def read_slices(self, column: str, offsets: np.ndarray, counts: np.ndarray) -> list[np.ndarray]:
        """Read many slices of one column, each row group at most once.

        Parameters
        ----------
        column : str
            Name of the column.
        offsets, counts : (n,) int arrays
            First row and number of rows of each slice, in any order, overlapping or not.

        Returns
        -------
        list of n arrays

        Raises
        ------
        StorageError
            A slice lies beyond the object, or the object is missing or damaged.
        """
        groups, starts = self._groups_of(offsets, counts)
        with _faults_explained(self._backend, self.path):
            table = self.open().read_row_groups(groups, columns=[column])
        values = _arrays(table, [column])[column]
        return [values[s : s + n] if n else values[:0] for s, n in zip(starts, counts, strict=True)]

    def copy_slices(
        self,
        into: Mapping[str, np.ndarray],
        offsets: Sequence[int] | np.ndarray,
        counts: Sequence[int] | np.ndarray,
    ) -> None:
        """Copy many slices of some columns into arrays, one slice after another.

        Only some row groups are in memory at a time; each is read at most once.

        Parameters
        ----------
        into : mapping of str to (sum of counts,) array
            Array to fill, for each column.
        offsets, counts : (n,) int arrays
            As in `read_slices`.

        Raises
        ------
        StorageError
            A slice lies beyond the object, or the object is missing or damaged.
        """
        groups, starts = self._groups_of(offsets, counts)
        source, target, length = _joined(starts, np.asarray(counts, dtype=np.int64))
        file, end = self.open(), 0
        for first in range(0, len(groups) if into else 0, GROUPS_AT_ONCE):
            with _faults_explained(self._backend, self.path):
                some = groups[first : first + GROUPS_AT_ONCE]
                table = file.read_row_groups(some, columns=list(into))
            begin, end = end, end + table.num_rows
            near = np.flatnonzero((source < end) & (source + length > begin))
            low = np.maximum(source, begin)[near]
            n = np.minimum(source + length, end)[near] - low
            to = target[near] + low - source[near]
            for name, array in into.items():
                values = table.column(name).to_numpy()
                for i, j, k in zip(low - begin, to, n, strict=True):
                    array[j : j + k] = values[i : i + k]

    def _groups_of(self, offsets: Any, counts: Any) -> tuple[list[int], np.ndarray]:
        """Return the row groups that slices lie in, and where each begins in the rows of these."""
        offsets = np.asarray(offsets, dtype=np.int64)
        counts = np.asarray(counts, dtype=np.int64)
        ends = offsets + counts
        if len(offsets) and (offsets.min() < 0 or ends.max() > self.n_rows):
            raise StorageError("a slice lies beyond the object.", self.path, REPAIR)
        file = self.open()
        rows = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        bounds = np.concatenate([[0], np.cumsum(rows, dtype=np.int64)])
        filled = counts > 0
        first = np.searchsorted(bounds, offsets, side="right") - 1
        last = np.searchsorted(bounds, ends, side="left")
        steps = np.zeros(len(bounds) + 1, dtype=np.int64)
        np.add.at(steps, first[filled], 1)
        np.add.at(steps, last[filled], -1)
        groups = np.flatnonzero(np.cumsum(steps)[: len(rows)] > 0)
        skipped = np.zeros(len(bounds), dtype=np.int64)
        skipped[1:] = np.cumsum(np.where(np.isin(np.arange(len(rows)), groups), 0, rows))
        return groups.tolist(), offsets - skipped[np.clip(first, 0, len(rows))]


def _joined(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Join slices that follow one another: where each begins, where its copy begins, its length."""
    target = np.cumsum(counts) - counts
    new = np.ones(len(starts), dtype=bool)
    new[1:] = starts[1:] != starts[:-1] + counts[:-1]
    if not len(starts):
        return starts, target, counts
    return starts[new], target[new], np.add.reduceat(counts, np.flatnonzero(new))


def reference(stored: Mapping[str, Any]) -> ParquetRef:
    """Make a reference from what its row holds, with no query."""
    return ParquetRef(stored, _backend(stored["store"]))


def _backend(store: str | None, config: Any = None) -> Any:
    """Open a store."""
    from datajoint.hash_registry import get_store_backend

    where = f"store {store}"
    try:
        backend = get_store_backend(store, config=config)
        if backend.protocol != "file":
            getattr(backend, "fs")  # noqa: B009  (made on first use, which tells what is missing)
    except ImportError as error:
        remedy = "Install the project with the extra s3: pip install 'bwm-datajoint[s3]'."
        raise StorageError(f"it cannot be opened ({error}).", where, remedy) from None
    except (OSError, DataJointError) as error:
        remedy = WRITABLE if isinstance(error, OSError) else REACHABLE
        raise StorageError(f"it cannot be opened ({error}).", where, remedy) from None
    return backend


def _faults(backend: Any) -> tuple[type[Exception], ...]:
    """Name what is raised where a store cannot be read or written."""
    if backend.protocol != "s3":
        return OSError, pa.ArrowException
    # What it raises without server or login is no OSError.
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    return OSError, pa.ArrowException, BotoCoreError


@contextmanager
def _faults_explained(backend: Any, path: str) -> Iterator[None]:
    try:
        yield
    except _faults(backend) as error:
        raise StorageError(
            f"the stored object cannot be read ({error}).",
            full_path(backend, path),
            REPAIR,
        ) from None


@contextmanager
def _access_explained(backend: Any, path: str, what: str) -> Iterator[None]:
    try:
        yield
    except _faults(backend) as error:
        kind, remedy = StorageError, WRITABLE if backend.protocol == "file" else REACHABLE
        if disk.NO_ROOM.search(str(error)):
            kind, remedy = DiskFull, disk.MAKE_ROOM
        raise kind(f"{what} ({error}).", full_path(backend, path), remedy) from None


FIELDS: dict[str, type] = {
    "path": str,
    "store": str,
    "columns": list,
    "n_rows": int,
    "n_bytes": int,
    "sha256": str,
}
"""What a row holds of an object."""


def fault(stored: Any) -> str | None:
    """Tell why what a row holds cannot lead to an object; None where it can."""
    if not isinstance(stored, Mapping):
        return f"{json.dumps(stored)[:200]}, which is no reference"
    for name, kind in FIELDS.items():
        if name not in stored:
            return f"no {name}"
        if type(stored[name]) is not kind:
            return f"{name} {json.dumps(stored[name])[:200]}"
    if not _is_path(stored["path"]):
        return f"path {stored['path'][:200]!r}, which leads out of the store"
    return None


def _is_path(path: str) -> bool:
    """Whether a path stays in the store."""
    parts = path.split("/")
    return path.isprintable() and "\\" not in path and not set(parts) & {"", ".", ".."}


def _inside(backend: Any, path: str) -> str:
    """Return where an object is, and refuse a path that leaves the store, whoever wrote it."""
    if not _is_path(path):
        raise StorageError(f"{path[:200]!r} is not the path of an object.", "the store", REPAIR)
    return full_path(backend, path)


def _arrays(table: pa.Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: table.column(name).to_numpy() for name in names}


class ParquetCodec(SchemaCodec):
    """`<parquet@store>`: what `pack` returns, or takes."""

    name = "parquet"

    def validate(self, value: Any) -> None:
        """Leave it to `pack`, which is done once."""

    def encode(
        self,
        value: Any,
        *,
        key: dict | None = None,
        context: dict | None = None,
        store_name: str | None = None,
    ) -> dict[str, Any]:
        """Write the object and return what its row holds."""
        packed = value if isinstance(value, Packed) else pack(value)
        schema, table, field, primary_key = self._extract_context(key, context)
        config = self._codec_config(key, context)
        path, token = self._build_path(
            schema, table, field, primary_key, ext=".parquet", store_name=store_name, config=config
        )
        # Named by its content, not by chance: what a failed insert leaves is what the next one
        # writes, so that no object is left without a row.
        path = path.replace(f"_{token}.", f"_{packed.sha256[:12]}.")
        backend = _backend(store_name, config)
        _inside(backend, path)
        _claim(backend)
        with _access_explained(backend, path, "the object cannot be written"):
            if backend.protocol != "file" or not _keep(Path(full_path(backend, path)), packed):
                _put(backend, path, packed.buffer)
        io_counters.total.stored += len(packed.buffer)
        return {
            "path": path,
            "store": store_name,
            "columns": list(packed.columns),
            "n_rows": packed.n_rows,
            "n_bytes": len(packed.buffer),
            "sha256": packed.sha256,
        }

    def decode(
        self, stored: dict, *, key: dict | None = None, context: dict | None = None
    ) -> ParquetRef:
        """Return a lazy reference."""
        config = self._codec_config(key, context)
        return ParquetRef(stored, _backend(stored.get("store"), config))


def _keep(path: Path, packed: Packed) -> bool:
    """Return whether an object is there already and whole, and mark it as new if so.

    A row will refer to it: repair removes objects without a row by their age.
    """
    try:
        whole = disk.size(path) == len(packed.buffer)
        whole = whole and disk.hash_file(path, "sha256") == packed.sha256
        if whole:
            os.utime(path)
    except OSError:
        return False
    return whole


def _put(backend: Any, path: str, content: bytes | memoryview) -> None:
    """Write a file of a store; readers see it whole, or the one before: a bucket does as much."""
    if backend.protocol == "file":
        disk.write_file(Path(full_path(backend, path)), content)
    else:
        backend.put_buffer(bytes(content), path)


# --- whose a store is ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Owner:
    """The database that writes into a store, below its prefix.

    Objects are named by key and content: two databases of one prefix would overwrite, and as
    orphans remove, each other's.

    Attributes
    ----------
    server : str
        What the server calls itself, whatever its address: it is made with the server.
    address : str
        Where it was when it first wrote: for people.
    prefix : str
        Of its schemas.
    """

    server: str
    address: str
    prefix: str

    @property
    def path(self) -> str:
        """Where in the store it is said."""
        return f"{self.prefix}.owner.json"

    def is_other(self, found: Owner | None) -> bool:
        """Whether that is another database."""
        return found is not None and found.server != self.server


@dataclass
class _Use:
    """The store that the connected database uses, and whether it has said so there."""

    owner: Owner
    spec: dict[str, Any]
    is_claimed: bool = False


_use: _Use | None = None


def use_owner(owner: Owner | None) -> None:
    """Let a database be the one that writes into the store that is configured now."""
    global _use
    _use = None if owner is None else _Use(owner, dj.config.get_store_spec(STORE))


def find_owner() -> Owner | None:
    """Tell which database writes below the prefix in use; None where none has said so yet.

    Raises
    ------
    StorageError
        The store cannot be read.
    """
    return None if _use is None else _read_owner(_backend(STORE), _use.owner.path)


def is_of_others() -> bool:
    """Whether the objects below the prefix in use are those of another database."""
    return _use is not None and _use.owner.is_other(find_owner())


def _read_owner(backend: Any, path: str) -> Owner | None:
    with _access_explained(backend, path, "it cannot be read"):
        try:
            return Owner(**json.loads(backend.get_buffer(path)))
        except MissingExternalFile:
            return None
        except (TypeError, ValueError) as error:
            raise StorageError(
                f"it does not name the database that owns the store ({error}).",
                full_path(backend, path),
                "Remove the file, if no other database writes into this store.",
            ) from None


def _claim(backend: Any) -> None:
    """Write the owner file of a store before any change; raise if another database owns it."""
    if _use is None or _use.is_claimed or backend.spec != _use.spec:
        return
    own = _use.owner
    if _read_owner(backend, own.path) is None:
        with _access_explained(backend, own.path, "it cannot be written"):
            _put(backend, own.path, json.dumps(asdict(own), indent=2).encode())
    found = _read_owner(backend, own.path)  # once more: two may have come at once
    if found and own.is_other(found):
        raise StorageError(
            f"another database writes here, {found.prefix} of {found.address}, and {own.address} "
            "is connected.",
            full_path(backend, own.path),
            "Set bwm.store, or bwm.prefix, to one of its own. If that database is no more, or was "
            "moved here, remove this file.",
        )
    _use.is_claimed = True


# --- what a store holds -------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """A file of a store: path in the store, size, and when it was written (s since 1970)."""

    path: str
    n_bytes: int
    written: float


def list_schema(schema: str, store: str = STORE) -> dict[str, Held]:
    """List the files that a store holds for the tables of a schema, by path, in one listing.

    Raises
    ------
    StorageError
        The store cannot be opened or listed.
    """
    backend = _backend(store)
    top = backend.spec["schema_prefix"].strip("/")
    folder = f"{top}/{schema}" if top else schema
    root = full_path(backend, "").rstrip("/") + "/"
    with _faults_explained(backend, folder):
        backend.fs.invalidate_cache()  # other processes write as well
        found = backend.fs.find(full_path(backend, folder), detail=True)
    held = (_held(name.removeprefix(root).lstrip("/"), info) for name, info in found.items())
    return {one.path: one for one in held}


def is_empty(store: str = STORE) -> bool:
    """Tell whether nothing was ever written into a store: it is new, or not mounted, or lost."""
    backend = _backend(store)
    top = full_path(backend, backend.spec["schema_prefix"].strip("/"))
    with _access_explained(backend, "", "it cannot be read"):
        backend.fs.invalidate_cache()
        return find_owner() is None and not backend.fs.exists(top)


def look_up(path: str, store: str = STORE) -> Held | None:
    """Look for one file of a store; None where it is not there."""
    backend = _backend(store)
    location = _inside(backend, path)
    with _faults_explained(backend, path):
        backend.fs.invalidate_cache()
        try:
            return _held(path, backend.fs.info(location))
        except FileNotFoundError:
            return None


def _held(path: str, info: Mapping[str, Any]) -> Held:
    written = info["mtime"] if "mtime" in info else info["LastModified"].timestamp()
    return Held(path, int(info["size"]), float(written))


def place(path: str, store: str = STORE) -> str:
    """Tell where an object is: its path on this machine, or bucket and key."""
    return full_path(_backend(store), path)


def remove(path: str, store: str = STORE) -> None:
    """Remove a file of a store; one that is not there is no error.

    Raises
    ------
    StorageError
        It cannot be removed, or the store is another database's.
    """
    backend = _backend(store)
    location = _inside(backend, path)
    _claim(backend)
    # Not `backend.remove`, which ignores that the server of a bucket refuses.
    with _access_explained(backend, path, "it cannot be removed"), suppress(FileNotFoundError):
        backend.fs.rm_file(location)


def hash_object(path: str, store: str = STORE, advance: disk.Advance | None = None) -> str:
    """Hash an object as it is now (SHA-256), read once from end to end.

    Raises
    ------
    StorageError
        It is not there, or cannot be read.
    """
    backend = _backend(store)
    location = _inside(backend, path)
    with _faults_explained(backend, path):
        if backend.protocol == "file":
            return disk.hash_file(Path(location), "sha256", advance)
        # Without a cache of its own, each block is one request.
        with backend.fs.open(location, "rb", block_size=disk.BLOCK, cache_type="none") as file:
            return disk.digest(file, "sha256", advance)
