"""Numbers and tables as text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

MISSING = "\N{EN DASH}"
"""What stands where a value is missing."""


def number(value: Any, digits: int = 4) -> str:
    """Write a value: numbers with `digits` digits that count, - where it is missing."""
    if value is None or value is pd.NA or value != value:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        try:
            value = value.item()  # type: ignore[union-attr]
        except AttributeError:
            return str(value)
        return number(value, digits)
    if isinstance(value, int) or (value == int(value) if math.isfinite(value) else False):
        return f"{int(value):,}"
    return f"{value:.{digits}g}"


def percent(value: Any) -> str:
    """Write a fraction as percent."""
    return MISSING if value is None or value != value else f"{100 * value:.0f} %"


def microvolts(value: Any) -> str:
    """Write volts as microvolts."""
    return MISSING if value is None or value != value else f"{1e6 * value:.1f}"


def duration(seconds: Any) -> str:
    """Write a time span."""
    if seconds is None or seconds != seconds:
        return MISSING
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min"
        if hours
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def plain(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of a frame and its rows as text, for a plain table."""
    numeric = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]
    columns = [
        [number(value, 6) for value in frame[name]]
        if is_number
        else [_word(v) for v in frame[name]]
        for name, is_number in zip(frame.columns, numeric, strict=True)
    ]
    return {
        "names": list(map(str, frame.columns)),
        "numeric": numeric,
        "rows": list(zip(*columns, strict=True)),
    }


def _word(value: Any) -> str:
    return MISSING if value is None or value is pd.NA or value != value else str(value)


FILTERS = {"number": number, "percent": percent, "microvolts": microvolts, "duration": duration}
