"""Reading files, each once and whole, and what must hold of what they say."""

from __future__ import annotations

import hashlib
import io
import math
import tokenize
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.database import io_counters
from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources.alf.paths import place
from schemas.sources.records import DatasetRecord, FileRead

Files = Mapping[DatasetRecord, Path]
"""Paths of listed datasets; reading a path downloads the file if it is missing."""

LATEST = 86_400.0
"""(s) Latest time in a session: one day."""

AGAIN = "Download it again, or remove it and register the folder again."
GET_IT = "Download it, or register the folder again as it is now."
REPORT = "Download it again; if it stays so, leave it out and report it to those who released it."


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
        with ThreadPoolExecutor(max_workers=8) as pool:
            for record, (raw, read) in zip(records, pool.map(self._load, records), strict=True):
                self._ahead[record] = raw
                self._note(read)

    def raw(self, record: DatasetRecord) -> np.ndarray:
        """Read the bytes of a file."""
        if record not in self._ahead:
            raw, read = self._load(record)
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
            frame = pq.read_table(pa.BufferReader(pa.py_buffer(raw))).to_pandas()
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
            raw = np.fromfile(path, dtype=np.uint8)
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
    named: dict[str, DatasetRecord] = {}
    for record in records:
        if record.name in named:
            both = f"{named[record.name].path} and {record.path}"
            remedy = "Choose one of them: one revision, and one task or sort."
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


def floats(values: pd.Series | np.ndarray, path: Path, name: str = "values") -> np.ndarray:
    """Give numbers as float64 (no copy if they are), missing ones as NaN."""
    series = pd.Series(values)
    if series.dtype.kind == "c" or isinstance(series.iloc[0] if len(series) else 0, np.ndarray):
        raise InconsistentData(f"{name} does not hold one real number per row.", path, REPORT)
    if not pd.api.types.is_numeric_dtype(series.dtype) and series.notna().any():
        raise InconsistentData(f"{name} is not numeric ({series.dtype}).", path, REPORT)
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def integers(values: pd.Series | np.ndarray, path: Path, name: str) -> pd.Series:
    """Give whole numbers as nullable integers, whatever type they were released in."""
    numbers = floats(values, path, name)
    # Beyond 2**53 a float64 cannot tell neighbours apart, and an integer may not hold it.
    whole = (numbers == np.round(numbers)) & (np.abs(numbers) <= 2**53)
    wrong = np.flatnonzero(~np.isnan(numbers) & ~whole)
    if len(wrong):
        what = f"{name} is {numbers[wrong[0]]} in row {wrong[0]}, not a whole number."
        raise InconsistentData(what, path, REPORT)
    return pd.Series(numbers).astype("Int64")


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


def refuse(
    wrong: np.ndarray, values: np.ndarray, fault: str, path: Path, name: str = "The value"
) -> None:
    """Raise an error with the first wrong value and the number of them, if there is one."""
    rows = np.flatnonzero(wrong)
    if len(rows):
        others = f" ({len(rows)} such values)" if len(rows) > 1 else ""
        what = f"{name} in row {rows[0]} is {values[rows[0]]}, {fault}{others}."
        raise InconsistentData(what, path, REPORT)


def check_times(times: np.ndarray, path: Path, name: str = "Time", latest: float = LATEST) -> None:
    """Make sure that times (or frequencies) are finite, not negative, and ascend.

    Neighbours may be equal. Times of a session end within `LATEST`: milliseconds, and seconds
    since 1970, are later.
    """
    # NaN fails every comparison, so that one pass over the pairs finds it too.
    if not len(times) or (
        times[0] >= 0
        and np.isfinite(times[-1])
        and times[-1] <= latest
        and (times[1:] >= times[:-1]).all()
    ):
        return
    unreal = ~np.isfinite(times) | (times < 0)
    back = np.r_[False, times[1:] < times[:-1]]
    if not (unreal | back).any():
        refuse_late(times, path, name, latest)
    row = np.flatnonzero(unreal | back)[0]
    before = "" if unreal[row] else f", after {times[row - 1]}"
    fault = f"not a {name.lower()}" if unreal[row] else "less than the one before it"
    raise InconsistentData(f"{name} {row} is {times[row]}{before}: {fault}.", path, REPORT)


def refuse_late(times: np.ndarray, path: Path, name: str, latest: float = LATEST) -> None:
    """Raise an error for times after the end of any session; NaN is missing."""
    refuse(times > latest, times, f"after {latest:,.0f} s: no time of a session", path, name)


def read_times(
    reader: Reader, record: DatasetRecord, name: str = "Time", latest: float = LATEST
) -> np.ndarray:
    """Read a vector of ascending times (or frequencies)."""
    array, path = reader.array(record), reader.path(record)
    if array.dtype.kind == "b":
        raise InconsistentData(f"{name} is true or false, not a number.", path, REPORT)
    times = floats(vector(array, path), path, name)
    check_times(times, path, name, latest)
    return times


def measured(
    values: pd.Series | np.ndarray,
    path: Path,
    name: str,
    least: float = -np.inf,
    greatest: float = np.inf,
) -> np.ndarray:
    """Return measured numbers within bounds, in the float type of the release; NaN is missing."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        array = floats(values, path, name)
    refuse(np.isinf(array), array, "not a number", path, name)
    refuse_outside(array, least, greatest, path, name)
    return _native(array)


def refuse_outside(
    values: np.ndarray, least: float, greatest: float, path: Path, name: str = "The value"
) -> None:
    """Raise an error for values outside bounds, which are allowed themselves; NaN is missing."""
    bounds = f"below {least:g}" if greatest == np.inf else f"not between {least:g} and {greatest:g}"
    refuse((values < least) | (values > greatest), values, bounds, path, name)
