"""Tables and images as bytes for the browser: a header as JSON, then arrays, little-endian.

    4 bytes    length n of the header (uint32)
    n bytes    header: JSON, padded with spaces so that arrays begin at a multiple of 8
    arrays     one after the other, each padded to a multiple of 8

The header holds what `pack` is given as `facts`, and of each table its number of rows and its
columns: `name`, `type` (f4, f8, i4, u1 or text) and `at`, the offset of its array from the end of
the header. Text is an array of numbers (i4) into `levels`, -1 where it is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

EXACT = ("time", "start", "stop", "x0", "x1")
"""Columns that are sent as f8: seconds of a recording lose milliseconds as f4."""

TYPES = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "u1": "u1"}


def pack(
    tables: Mapping[str, pd.DataFrame],
    images: Mapping[str, np.ndarray] | None = None,
    facts: Mapping[str, Any] | None = None,
) -> bytes:
    """Pack tables and images.

    Parameters
    ----------
    tables : mapping of str to DataFrame
        Numbers are sent as float32 or int32, `EXACT` columns as float64, anything else as text.
    images : mapping of str to (rows, columns) uint8 array, optional
    facts : mapping, optional
        Further entries of the header, which JSON can hold.
    """
    header: dict[str, Any] = {**(facts or {}), "tables": {}, "images": {}}
    arrays: list[bytes] = []
    end = 0

    def put(array: np.ndarray) -> int:
        nonlocal end
        data, begin = array.tobytes(), end
        data += b"\0" * (-len(data) % 8)
        arrays.append(data)
        end += len(data)
        return begin

    for name, frame in tables.items():
        columns = [_column(str(column), frame[column]) for column in frame.columns]
        placed = [{**about, "at": put(array)} for about, array in columns]
        header["tables"][name] = {"n": len(frame), "columns": placed}
    for name, image in (images or {}).items():
        array = np.ascontiguousarray(image, np.uint8)
        header["images"][name] = {"shape": list(array.shape), "at": put(array)}
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return len(text).to_bytes(4, "little") + text + b"".join(arrays)


def _column(name: str, values: pd.Series) -> tuple[dict[str, Any], np.ndarray]:
    """Return the description of a column, and its array."""
    if pd.api.types.is_bool_dtype(values.dtype):
        values = values.map({True: "yes", False: "no"})
    if not pd.api.types.is_numeric_dtype(values.dtype):
        codes, levels = pd.factorize(values.astype(object).map(_text), sort=False)
        return {"name": name, "type": "text", "levels": list(levels)}, codes.astype("<i4")
    if pd.api.types.is_integer_dtype(values.dtype) and not values.hasnans:
        numbers = values.to_numpy(np.int64)
        if not len(numbers) or np.abs(numbers).max() < 2**31:
            return {"name": name, "type": "i4"}, numbers.astype("<i4")
    kind = "f8" if name in EXACT else "f4"
    return {"name": name, "type": kind}, values.to_numpy(float, na_value=np.nan).astype(TYPES[kind])


def _text(value: Any) -> str | None:
    return None if value is None or value != value or value is pd.NA else str(value)


def scale(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale values to uint8: 1 at `low`, 255 at `high`, clipped to them; 0 where NaN.

    Parameters
    ----------
    values : float array
        Of any shape.
    low, high : float
    """
    span = high - low if high > low else 1.0
    with np.errstate(invalid="ignore"):
        levels = 1 + np.clip((values - low) / span, 0, 1) * 254
    return np.where(np.isfinite(values), np.round(levels), 0).astype(np.uint8)
