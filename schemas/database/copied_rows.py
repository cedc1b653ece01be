"""Rows of PostgreSQL as typed columns, by its binary COPY.

The driver asks for rows as text: the server writes each number as digits, and somebody has to read
them again. COPY can send numbers as they are stored. The rows are read here block by block, and
each column of a block is taken out of the bytes at once. The numbers that are floats come as one
array a row, which the server's parallel workers write.

The format: https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-BINARY-FORMAT
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa

from schemas.database.buffers import spread, take, take_text

BLOCK = 8192
"""Rows that are decoded at a time: some MB."""

HEADER = 19
"""Bytes before the first row."""

END = -1
"""Number of fields of what comes after the last row."""

FLOAT = np.dtype([("size", ">i4"), ("value", ">f8")])
"""An element of an array of floats."""

ARRAY_HEADER = 20
"""Bytes before the first element of an array."""

EPOCH = np.datetime64("2000-01-01", "us")
"""Time 0 of PostgreSQL."""


def write_copy(query: str, types: Mapping[str, pa.DataType], quote: Callable[[str], str]) -> str:
    """Write the COPY that sends the rows of a query.

    Parameters
    ----------
    query : str
        A SELECT of the columns.
    types : mapping of str to pyarrow.DataType
        For each column its type: a boolean, 64-bit number, string, date or time.
    quote : callable
        Quotes a name.
    """
    floats, others = _parted(types)
    values = [quote(name) for name in others]
    if floats:
        elements = (f"coalesce(CAST({quote(name)} AS float8), 'NaN')" for name in floats)
        values.append(f"array_send(ARRAY[{', '.join(elements)}])")
    return f"COPY (SELECT {', '.join(values)} FROM ({query}) AS found) TO STDOUT (FORMAT binary)"


def read_table(messages: Sequence[bytes], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Read what the COPY of `write_copy` sent: a message a row, with a header and an end.

    Missing floats are NaN, other missing values null.
    """
    floats, others = _parted(types)
    schema = pa.schema([(name, types[name]) for name in (*others, *floats)])
    batches = []
    for start in range(0, len(messages), BLOCK):
        data, at = _join(messages[start : start + BLOCK], 0 if start else HEADER)
        arrays = _decode(data, at, list(map(types.get, others)), len(floats))
        batches.append(pa.record_batch(list(arrays), schema=schema))
    return pa.Table.from_batches(batches, schema).select(list(types))


def _parted(types: Mapping[str, pa.DataType]) -> tuple[list[str], list[str]]:
    """Name the columns of floats, and the others."""
    floats = [name for name, kind in types.items() if pa.types.is_floating(kind)]
    return floats, [name for name in types if name not in floats]


def _join(messages: Sequence[bytes], header: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the bytes of messages, and where in them the fields of each row begin, (n,)."""
    data = np.frombuffer(b"".join(messages), np.uint8)
    size = np.fromiter(map(len, messages), np.int64, len(messages))
    at = size.cumsum() - size
    at[0] += header
    at = at[at < size.cumsum()]  # the header may come alone
    return data, at[take(data, at, ">i2") != END] + 2


def _decode(
    data: np.ndarray, at: np.ndarray, types: Sequence[pa.DataType], n_floats: int
) -> Iterator[pa.Array]:
    """Yield the columns of rows, one after the other: the length of text moves what follows."""
    for kind in types:
        size = take(data, at, ">i4").astype(np.int64)
        at = at + 4
        known = size >= 0
        if known.all():
            yield _values(data, at, size, kind)
        else:
            yield spread(_values(data, at[known], size[known], kind), known)
        at = at + np.maximum(size, 0)
    if n_floats:
        width = ARRAY_HEADER + n_floats * FLOAT.itemsize
        arrays = take(data, at + 4, f"V{width}").view(np.uint8).reshape(-1, width)
        elements = np.ascontiguousarray(arrays[:, ARRAY_HEADER:]).view(FLOAT)
        yield from map(pa.array, elements["value"].T.astype(float, order="C"))


def _values(data: np.ndarray, at: np.ndarray, size: np.ndarray, kind: pa.DataType) -> pa.Array:
    """Return the values at some places, none of which is missing."""
    if pa.types.is_string(kind):
        return take_text(data, at, size)
    if pa.types.is_boolean(kind):
        return pa.array(take(data, at, "?"))
    if pa.types.is_date(kind):
        days = EPOCH.astype("M8[D]") + take(data, at, ">i4").astype(np.int64)
        return pa.array(days)
    if pa.types.is_timestamp(kind):
        return pa.array(EPOCH + take(data, at, ">i8").astype(np.int64))
    width = size[0] if len(size) else 8
    return pa.array(take(data, at, f">i{width}").astype(np.int64))
