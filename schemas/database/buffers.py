"""Values out of the bytes of rows, those of all rows at once."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def take(buffer: np.ndarray, at: np.ndarray, kind: str) -> np.ndarray:
    """Return the values of a type at any bytes, aligned or not."""
    size = np.dtype(kind).itemsize
    if not len(at):
        return np.empty(0, kind)
    return np.ndarray(len(buffer) - size + 1, kind, buffer, strides=(1,))[at]


def take_text(buffer: np.ndarray, at: np.ndarray, size: np.ndarray) -> pa.StringArray:
    """Return the texts that begin at some bytes, of so many bytes each."""
    offsets = np.zeros(len(at) + 1, np.int32)
    np.cumsum(size, out=offsets[1:])
    if offsets[-1] and (size == size[0]).all():  # as that of UUIDs
        text = take(buffer, at, f"S{size[0]}")
    else:
        text = buffer[np.arange(offsets[-1]) + np.repeat(at - offsets[:-1], size)]
    return pa.StringArray.from_buffers(len(at), pa.py_buffer(offsets), pa.py_buffer(text))


def spread(values: pa.Array, known: np.ndarray) -> pa.Array:
    """Return the values of rows, of which only the known ones have one, (rows,)."""
    return values.take(pa.array(np.cumsum(known) - 1, mask=~known))
