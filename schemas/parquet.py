"""Columns written as a Parquet object in memory: the stored format.

Every value stays exact. Compression is zstd; row groups are small enough that a slice is read in
milliseconds. A column of floats is written by BYTE_STREAM_SPLIT, or by a dictionary where that is
smaller: spikes have a new value in each row, points on frames are released with two decimals.
Whatever reads Parquet (pandas, polars, DuckDB, Spark) reads the objects without this project, and
this project reads those of its earlier versions, which differ in encoding and compression.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import StorageError

ROW_GROUP = 65_536
"""Rows in a row group: the least that is read, about 0.5 MB of a float64 column."""


@dataclass(frozen=True)
class Packed:
    """Columns written as a Parquet object in memory, ready to be stored."""

    columns: tuple[str, ...]
    n_rows: int
    buffer: memoryview
    sha256: str


def pack(value: Any) -> Packed:
    """Write columns as a Parquet object in memory.

    Done before an insert, so that no transaction is open meanwhile.

    Parameters
    ----------
    value : mapping of str to (n,) array, DataFrame or Arrow table

    Raises
    ------
    StorageError
        The value is not columns of one length.
    """
    if isinstance(value, Mapping):
        lengths = {name: len(column) for name, column in value.items()}
        if not lengths or len(set(lengths.values())) > 1:
            raise StorageError(f"columns must have one length, got {lengths}.")
    elif not isinstance(value, (pa.Table, pd.DataFrame)):
        raise StorageError(f"<parquet@> takes columns of arrays, not {type(value).__name__}.")
    table = _table(value)
    buffer = _write(table, _repetitive(table))
    digest = hashlib.sha256(buffer).hexdigest()
    return Packed(tuple(table.column_names), table.num_rows, buffer, digest)


def _table(value: Any) -> pa.Table:
    if isinstance(value, pa.Table):
        return value
    if isinstance(value, pd.DataFrame):
        return pa.Table.from_pandas(value, preserve_index=False)
    return pa.table({name: pa.array(column, from_pandas=False) for name, column in value.items()})


def _floats(table: pa.Table) -> list[str]:
    return [field.name for field in table.schema if pa.types.is_floating(field.type)]


def _repetitive(table: pa.Table) -> list[str]:
    """Name the columns of floats that a dictionary makes smaller: the middle row group is tried."""
    floats = _floats(table)
    if not floats or table.num_rows < ROW_GROUP // 4:  # small in either encoding
        return []
    first = max(0, table.num_rows - ROW_GROUP) // 2
    sample = table.select(floats).slice(first, ROW_GROUP)
    split, dictionary = (_sizes(_write(sample, names)) for names in ([], floats))
    return [name for name, a, b in zip(floats, split, dictionary, strict=True) if b < a]


def _sizes(content: memoryview) -> list[int]:
    """Return the bytes that each column takes in the first row group."""
    metadata = pq.read_metadata(pa.BufferReader(content))
    group = metadata.row_group(0)
    return [group.column(i).total_compressed_size for i in range(metadata.num_columns)]


def _write(table: pa.Table, repetitive: list[str]) -> memoryview:
    floats = _floats(table)
    rest = [name for name in table.column_names if name not in floats]
    sink = io.BytesIO()  # grows without a copy; a stream of Arrow is copied to memory that is new
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        compression="zstd",
        compression_level=1,
        use_dictionary=[*rest, *repetitive],
        use_byte_stream_split=[name for name in floats if name not in repetitive],
        write_statistics=rest,
        write_page_checksum=True,  # a damaged page of floats would be read as other floats
    )
    return sink.getbuffer()
