"""Reading files, each once and whole, and what must hold of what they say."""

from __future__ import annotations

import hashlib
import io
import math
import re
import threading
import tokenize
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import disk, memory
from schemas.database import io_counters
from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources.alf.domains import DOMAINS, Domain
from schemas.sources.alf.paths import place, task_collections
from schemas.sources.records import DatasetRecord, FileRead

T = TypeVar("T")
R = TypeVar("R")

Files = Mapping[DatasetRecord, Path]
"""Paths of listed datasets; reading a path downloads the file if it is missing."""

AGAIN = "Download it again, or remove it and register the folder again."
GET_IT = "Download it, or register the folder again as it is now."
REPORT = "Download it again; if the error stays, leave the file out and report it to its lab."


class Reader:
    """Reads files once each, and keeps what was read of which.

    Only what is read is looked up in the mapping, since looking up may be downloading.
    """

    def __init__(self, files: Files) -> None:
        owners = {(d.eid, place(d.path).probe_name) for d in files}
        if len(owners) > 1:
            raise ValueError(
                f"Datasets of more than one session or probe: {sorted(map(str, owners))}."
            )
        for what in ("camera", "tracker", "band"):
            found = {getattr(place(d.path), what) for d in files} - {None}
            if len(found) > 1:
                raise ValueError(f"Datasets of more than one {what}: {sorted(found)}.")
        self.offered = tuple(files)
        self._files = files
        self._paths: dict[DatasetRecord, Path] = {}
        self._ahead: dict[DatasetRecord, np.ndarray] = {}
        self._read: list[FileRead] = []

    @property
    def files(self) -> tuple[FileRead, ...]:
        """The files that were read, in that order, then the other listed files."""
        read = {file.path for file in self._read}
        others = sorted((d.path, d.revision) for d in self.offered if d.path not in read)
        return (*self._read, *(FileRead(*other, md5=None, file_size=None) for other in others))

    def path(self, record: DatasetRecord) -> Path:
        """Tell where a file is that is about to be read, or was read."""
        if record not in self._paths:
            self._paths[record] = self._files[record]
        return self._paths[record]

    def read_ahead(self, records: Sequence[DatasetRecord]) -> None:
        """Get several files at once: downloading, reading, hashing do not hold Python's lock."""
        for record, (raw, read) in zip(records, _in_threads(self._load, records), strict=True):
            self._ahead[record] = raw
            self._note(read)

    def raw(self, record: DatasetRecord) -> np.ndarray:
        """Read the bytes of a file."""
        if record not in self._ahead:
            ((raw, read),) = _in_threads(self._load, [record])
            self._note(read)
            return raw
        return self._ahead.pop(record)

    def _note(self, read: FileRead) -> None:
        self._read.append(read)
        io_counters.total.read += read.file_size or 0

    def array(self, record: DatasetRecord) -> np.ndarray:
        """Read an npy file; n x 1 arrays, which Matlab writes, become vectors."""
        raw, path = self.raw(record), self.path(record)
        try:
            array = _parse_npy(raw)
        # The header is a Python literal: garbage in it fails in as many ways as Python source.
        except (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError) as error:
            raise DamagedFile(f"Not a readable npy file ({error}).", path, AGAIN) from error
        array = _native(array)
        return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array

    def table(self, record: DatasetRecord) -> pd.DataFrame:
        """Read a Parquet file; what pandas made an index of is a column again."""
        raw, path = self.raw(record), self.path(record)
        try:
            metadata = pq.read_metadata(pa.BufferReader(pa.py_buffer(raw)))
            memory.require(_unpacked(metadata), path)
            table = pq.read_table(pa.BufferReader(pa.py_buffer(raw)))
            frame = table.to_pandas(split_blocks=True)  # columns stay where they are: no copy
        # Pandas reads its own metadata back, and does not expect them to be damaged.
        except (pa.ArrowException, OSError, ValueError, TypeError, LookupError) as error:
            raise DamagedFile(f"Not a readable Parquet file ({error}).", path, AGAIN) from error
        named = [name for name in frame.index.names if name and name not in frame]
        return (frame.reset_index(named) if named else frame).reset_index(drop=True)

    def csv(self, record: DatasetRecord) -> pd.DataFrame:
        """Read a CSV file; all values are text."""
        raw, path = self.raw(record), self.path(record)
        try:
            return pd.read_csv(io.BytesIO(raw.tobytes()), dtype=str)
        except ValueError as error:
            raise DamagedFile(f"Not a readable CSV file ({error}).", path, AGAIN) from error

    def _load(self, record: DatasetRecord) -> tuple[np.ndarray, FileRead]:
        path = self.path(record)
        try:
            with disk.open_file(path) as file:
                raw = np.fromfile(file, dtype=np.uint8)
        except FileNotFoundError as error:
            raise MissingDataset(f"{record.path} is listed but not there.", path, GET_IT) from error
        except OSError as error:
            raise DamagedFile(f"Cannot be read ({error}).", path, AGAIN) from error
        md5 = hashlib.md5(raw.data, usedforsecurity=False).hexdigest()
        if record.md5 and record.md5.lower() != md5:
            raise DamagedFile(f"Its md5 is {md5}, and {record.md5} is listed.", path, AGAIN)
        if record.md5 is None and record.file_size not in (None, raw.size):
            size = f"It has {raw.size} bytes, and {record.file_size} are listed."
            raise DamagedFile(size, path, AGAIN)
        return raw, FileRead(record.path, record.revision, md5, raw.size)


N_THREADS = 8
"""Files that are read at once."""


def _in_threads(load: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """Call a function for each item, several at once, and yield the results in order.

    A call may hang for ever, on a mount whose server is away, and then no signal is handled in its
    thread. This thread waits for it, where Ctrl-C and SIGTERM are, and daemon threads end with the
    process.
    """
    waiting = deque((item, Future[R]()) for item in items)
    results = deque(result for _, result in waiting)

    def run() -> None:
        with suppress(IndexError):  # no item is left
            while True:
                item, result = waiting.popleft()
                try:
                    result.set_result(load(item))
                except BaseException as error:
                    result.set_exception(error)

    for _ in range(min(N_THREADS, len(results))):
        threading.Thread(target=run, daemon=True, name="reading").start()
    try:
        while results:
            result = results.popleft()
            # In steps: a signal just before a wait does not wake Python from it.
            while not wait([result], timeout=1).done:
                pass
            yield result.result()
    finally:
        waiting.clear()


WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4}
"""Bytes of a value in memory, by physical type of Parquet; 8 of all others."""


def _unpacked(metadata: pq.FileMetaData) -> int:
    """Return how many bytes a Parquet file has in memory, at least."""
    columns = [metadata.schema.column(i) for i in range(metadata.num_columns)]
    return metadata.num_rows * sum(WIDTHS.get(column.physical_type, 8) for column in columns)


def _native(array: np.ndarray) -> np.ndarray:
    """Return numbers in the byte order of this machine, as float32 or float64; no copy if so."""
    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        return array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _parse_npy(raw: np.ndarray) -> np.ndarray:
    """Interpret the bytes of an npy file where they are: no copy, whatever the size."""
    head = io.BytesIO(raw[:70_000].tobytes())
    version = np.lib.format.read_magic(head)
    parsers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in parsers:
        raise ValueError(f"npy format {version} is not known")
    with warnings.catch_warnings():
        # Headers written by Python 2 are fine.
        warnings.simplefilter("ignore", UserWarning)
        shape, fortran, dtype = parsers[version](head)
    if dtype.hasobject or dtype.kind not in "biufSU":
        raise ValueError(f"values of type {dtype} are not numbers")
    body = raw[head.tell() :]
    size = math.prod(shape) * dtype.itemsize
    if body.size != size:
        raise ValueError(f"{body.size} bytes of data instead of {size}")
    return body.view(dtype).reshape(shape, order="F" if fortran else "C")


def by_name(records: Iterable[DatasetRecord]) -> dict[str, DatasetRecord]:
    """Give the records by file name, and make sure that there is one of each."""
    records = tuple(records)
    named: dict[str, DatasetRecord] = {}
    tasks = task_collections(records)
    if len(tasks) > 1:
        what = f"{' and '.join(tasks)} both have {records[0].kind}."
        remedy = f"Choose one: register the session again with --task {tasks[-1]}, then retry."
        raise InconsistentData(what, f"session {records[0].eid}", remedy)
    for record in records:
        if record.name in named:
            both = f"{named[record.name].path} and {record.path}"
            remedy = "Choose one of them: one revision, and one sort."
            raise InconsistentData(f"{both} are the same data twice.", record.eid, remedy)
        named[record.name] = record
    return named


def need(reader: Reader, named: Mapping[str, DatasetRecord], name: str) -> DatasetRecord:
    """Give the record of a file that there is no way without."""
    if name in named:
        return named[name]
    where = next((f"session {d.eid}, {d.collection}" for d in reader.offered), None)
    raise MissingDataset(f"{name} is not among its datasets.", where, GET_IT)


def check_lengths(lengths: Mapping[Path, int]) -> None:
    """Make sure that files have the same number of rows."""
    (first, length), *others = lengths.items()
    for path, other in others:
        if other != length:
            what = f"{other} rows, and {length} in {first}."
            raise InconsistentData(what, path, REPORT)


def checked(
    values: pd.Series | np.ndarray, kind: str, name: str, path: Path, called: str = ""
) -> np.ndarray:
    """Return a column as numbers of a native type, after a check against its domain.

    Parameters
    ----------
    values : Series or ndarray
        Values in any type. Nothing is copied but what is not native, half or extended precision.
    kind, name : str
        Entry of `DOMAINS`.
    path : Path
        File of the column, for errors.
    called : str, optional
        Name of the column in errors, where it is not that of the entry.

    Raises
    ------
    InconsistentData
        Values are no numbers, or not in the domain.
    """
    domain, called = DOMAINS[kind][name], called or name
    array = _numbers(values, domain, path, called)
    if domain.choices:
        inside, fault = np.isin(array, domain.choices), f"not one of {domain.allowed}"
    else:
        inside = array >= domain.least
        inside &= array <= domain.greatest
        fault = f"not within {domain.allowed} {domain.unit}"
    if domain.missing:
        inside |= array != array
    refuse(~inside, array, fault, path, called)
    if domain.usual < domain.greatest:
        above = array > domain.usual
        fault = f"above {domain.usual:,g} {domain.unit} as most values: they are in another unit"
        refuse(above & (2 * np.count_nonzero(above) > array.size), array, fault, path, called)
    if domain.whole and array.dtype.kind == "f":
        refuse(array % 1 > 0, array, "not a whole number", path, called)
    if domain.order:
        _check_order(array, domain, path, called)
    return array


def _numbers(values: pd.Series | np.ndarray, domain: Domain, path: Path, name: str) -> np.ndarray:
    """Return real numbers in a native type; missing ones are NaN."""
    kind = "O" if isinstance(values.dtype, pd.CategoricalDtype) else values.dtype.kind
    if kind == "b" and domain.choices == (0, 1):
        values, kind = values.astype("float64"), "f"
    if kind == "O" and pd.isna(values).all():
        return np.full(len(values), np.nan)
    if kind not in "iuf":
        raise InconsistentData(f"{name} is not numeric ({values.dtype}).", path, REPORT)
    if isinstance(values, pd.Series):
        missing = {} if isinstance(values.dtype, np.dtype) else {"na_value": np.nan}
        values = values.to_numpy(np.float64 if missing else None, **missing)
    return _native(values if kind == "f" or domain.whole else values.astype(np.float64))


def _check_order(array: np.ndarray, domain: Domain, path: Path, name: str) -> None:
    """Raise an error for values that are not in the order of their domain."""
    known = array[~np.isnan(array)] if domain.missing else array
    strictly = domain.order != "ascending"
    back = known[1:] <= known[:-1] if strictly else known[1:] < known[:-1]
    if back.any():
        wrong = np.zeros(len(array), bool)
        wrong[np.flatnonzero(array == array)[1:][back]] = True
        before = known[np.argmax(back)]
        fault = f"not above {before} before it" if strictly else f"less than {before} before it"
        refuse(wrong, array, fault, path, name)


def checked_text(values: pd.Series, kind: str, name: str, path: Path) -> pd.Series:
    """Return a column of text after a check against its domain."""
    domain = DOMAINS[kind][name]
    wrong = [
        not (isinstance(value, str) and re.fullmatch(domain.pattern, value))
        and not (domain.missing and pd.api.types.is_scalar(value) and pd.isna(value))
        for value in values
    ]
    refuse(np.array(wrong, bool), values.to_numpy(object), f"no {domain.unit}", path, name)
    return values


def split_columns(array: np.ndarray, names: tuple[str, ...], path: Path) -> dict[str, np.ndarray]:
    """Split an n x k array into k named vectors."""
    shape = (len(names),) if len(names) > 1 else ()
    if array.ndim == 0 or array.shape[1:] != shape:
        want = " x ".join(("n", *map(str, shape)))
        raise InconsistentData(f"An array of {array.shape} instead of {want}.", path, REPORT)
    if len(names) == 1:
        return {names[0]: array}
    return {name: array[:, k] for k, name in enumerate(names)}


def vector(array: np.ndarray, path: Path) -> np.ndarray:
    """Make sure that an array has one dimension."""
    return split_columns(array, ("values",), path)["values"]


def refuse(wrong: np.ndarray, values: np.ndarray, fault: str, path: Path, name: str) -> None:
    """Raise an error with the first wrong value and the number of them, if there is one."""
    count = np.count_nonzero(wrong)
    if count:
        place = np.unravel_index(np.argmax(wrong), wrong.shape)
        where = f"row {place[0]}" + "".join(f", column {k}" for k in place[1:])
        number = f"{count} such value{'s' if count > 1 else ''}"
        what = f"{name} in {where} is {values[place]}, {fault} ({number})."
        raise InconsistentData(what, path, REPORT)


def read_times(reader: Reader, record: DatasetRecord, kind: str, name: str = "times") -> np.ndarray:
    """Read a vector of ascending times (or frequencies), float64."""
    array, path = reader.array(record), reader.path(record)
    return checked(vector(array, path), kind, name, path).astype(np.float64, copy=False)
