"""What may stand in an address: each field is read by its own rule, or refused with status 400."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from schemas.errors import QueryError
from viewer.errors import BadParameter

LONGEST = 200
"""Most characters of a value."""

Values = dict[str, Any]


@dataclass(frozen=True)
class Field:
    """A field of an address.

    Attributes
    ----------
    name : str
        Its name in the query.
    read : callable
        Takes the text and returns the value; raises ValueError with a reason.
    default : object
        Its value where it is absent or empty.
    label : str
        What it is, with its unit, for forms.
    """

    name: str
    read: Callable[[str], Any]
    default: Any = None
    label: str = ""


def read(fields: Iterable[Field], given: Sequence[tuple[str, str]]) -> Values:
    """Read the values of fields from the pairs of an address.

    Raises
    ------
    BadParameter
        A name is unknown or repeated, or a value is not what its field takes.
    """
    known = {field.name: field for field in fields}
    values = {name: field.default for name, field in known.items()}
    seen = set()
    for name, text in given:
        if name not in known:
            listed = ", ".join(known) or "none"
            raise BadParameter(f"no parameter {shorten(name)}.", None, f"There are: {listed}.")
        if name in seen:
            raise BadParameter("it is given twice.", f"parameter {name}", "Give it once.")
        seen.add(name)
        if text:
            values[name] = _read(known[name], text)
    return values


def _read(field: Field, text: str) -> Any:
    where = f"parameter {field.name}"
    if len(text) > LONGEST:
        raise BadParameter(f"it has {len(text)} characters.", where, f"Give at most {LONGEST}.")
    if not text.isprintable():
        raise BadParameter("it has characters that cannot be printed.", where, "Leave them out.")
    try:
        return field.read(text)
    except QueryError as error:
        raise BadParameter(error.what, where, error.remedy) from None
    except ValueError as error:
        raise BadParameter(f"{shorten(text)} {error}.", where) from None


def shorten(text: str) -> str:
    """Quote a text for a message, its first 60 characters at most."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


# --- rules --------------------------------------------------------------------------------------


def uuid(text: str) -> str:
    """Read a UUID, in upper or lower case."""
    if not re.fullmatch(r"[0-9a-fA-F-]{32,36}", text):
        raise ValueError("is not a UUID")
    return str(UUID(text))


def words(text: str) -> str:
    """Read a text for a search."""
    return text.strip()


def name(text: str) -> str:
    """Read a name, e.g. of a probe or a spike sorting."""
    if not re.fullmatch(r"[\w.@+-]{1,64}", text, re.ASCII):
        raise ValueError("is not a name: use letters, digits and . @ + - _")
    return text


def acronym(text: str) -> str:
    """Read the acronym of a region; some have spaces, commas or slashes."""
    if not re.fullmatch(r"[A-Za-z0-9][\w ,./-]{0,15}", text, re.ASCII):
        raise ValueError("is not an acronym of the Allen atlas")
    return text


def flag(text: str) -> bool:
    """Read yes or no, as 1 or 0."""
    if text not in ("0", "1"):
        raise ValueError("is neither 0 nor 1")
    return text == "1"


def whole(least: int, greatest: int) -> Callable[[str], int]:
    """Return a rule for whole numbers within bounds."""

    def rule(text: str) -> int:
        if not re.fullmatch(r"-?\d{1,12}", text, re.ASCII):
            raise ValueError("is not a whole number")
        if not least <= int(text) <= greatest:
            raise ValueError(f"is not between {least} and {greatest}")
        return int(text)

    return rule


def number(least: float = -math.inf, greatest: float = math.inf) -> Callable[[str], float]:
    """Return a rule for finite numbers within bounds."""

    def rule(text: str) -> float:
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", text, re.ASCII):
            raise ValueError("is not a number")
        value = float(text)
        if not math.isfinite(value) or not least <= value <= greatest:
            raise ValueError(f"is not between {least:g} and {greatest:g}")
        return value

    return rule


def one_of(values: Iterable[str]) -> Callable[[str], str]:
    """Return a rule for a fixed list of names."""
    known = tuple(values)

    def rule(text: str) -> str:
        if text not in known:
            raise ValueError(f"is not one of {', '.join(known)}")
        return text

    return rule


def row_of(table: Any, column: str) -> Callable[[str], str]:
    """Return a rule for names in a column of a table."""

    def rule(text: str) -> str:
        known = sorted(map(str, table.proj(column).to_arrays(column)))
        if text not in known:
            shown = ", ".join(known[:40]) or "none yet"
            raise ValueError(f"is no {column}; there are: {shown}")
        return text

    return rule


def write(values: Mapping[str, Any], fields: Iterable[Field]) -> list[tuple[str, str]]:
    """Write values as pairs of an address, those at their default left out."""
    return [
        (field.name, write_value(values[field.name]))
        for field in fields
        if values.get(field.name) is not None and values[field.name] != field.default
    ]


def write_value(value: Any) -> str:
    """Write a value so that its rule reads the same."""
    if isinstance(value, bool):
        return str(int(value))
    return repr(value) if isinstance(value, float) else str(value)
