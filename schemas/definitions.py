"""Check the rows that users add to definition tables, before they are inserted.

A wrong name or number would otherwise fail later, once in every job that uses the definition.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, ClassVar

import datajoint as dj
import pandas as pd

from schemas.errors import DefinitionError
from schemas.rows import clean, kind_of

LIMITS = {"fraction": (0.0, 1.0), "percent": (-100.0, 100.0), "Hz": (0.0, math.inf)}
"""Least and greatest value of a column by the unit in its comment; others are finite numbers."""


class Checked:
    """Checks rows as they are inserted or updated: the first base of a definition table.

    Attributes
    ----------
    names : mapping of str to collection of str
        The texts that a column takes, by its name. Names of rows of other tables are known.
    ascending : tuple of (str, str)
        Columns of which the first must be below the second, where both have a value.
    positive : tuple of str
        Columns that must be above zero.
    different : tuple of (str, str)
        Columns that must not have the same value.
    together : tuple of tuple of str
        Columns that mean nothing without each other: all have a value, or none has.
    one_of : tuple of str
        Columns of which at least one must have a value.
    """

    names: ClassVar[Mapping[str, Collection[str]]] = {}
    ascending: ClassVar[tuple[tuple[str, str], ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()
    different: ClassVar[tuple[tuple[str, str], ...]] = ()
    together: ClassVar[tuple[tuple[str, ...], ...]] = ()
    one_of: tuple[str, ...] = ()

    def insert(self, rows: Any, *args: Any, **options: Any) -> None:
        """Insert rows after a check of each; see `datajoint.Table.insert`.

        Raises
        ------
        DefinitionError
            A value is no name or number that its column takes.
        """
        given = _as_dicts(rows, self.heading.names)  # type: ignore[attr-defined]
        own = getattr(self, "contents", ())
        for row in given:
            if row not in own:
                self.refuse_wrong(row)
        super().insert([clean(row) for row in given], *args, **options)  # type: ignore[misc]

    def update1(self, row: Mapping[str, Any]) -> None:
        """Update a row after a check of the whole of it; see `datajoint.Table.update1`."""
        key = {name: row[name] for name in self.primary_key if name in row}  # type: ignore[attr-defined]
        held = (self & key).to_dicts()
        self.refuse_wrong({**held[0], **row} if len(held) == 1 else dict(row))
        super().update1(row)  # type: ignore[misc]

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Raise a DefinitionError that names the value, if one of a row is wrong."""
        where = f"{type(self).__qualname__} {row.get(self.primary_key[0])!r}"  # type: ignore[attr-defined]
        allowed = {**_names_of_parents(self, row), **self.names}
        for name, value in row.items():
            attribute = self.heading.attributes.get(name)  # type: ignore[attr-defined]
            if value is None or (_is_null(value) and attribute is not None and attribute.nullable):
                continue
            if name in allowed and value not in allowed[name]:
                raise _unknown(name, value, allowed[name], where)
            if attribute is not None and (problem := _number_problem(attribute, value)):
                raise DefinitionError(f"{name} is {value!r}, {problem}.", where)
            if name in self.positive and not float(value) > 0:
                raise DefinitionError(f"{name} is {value!r}, which is not above zero.", where)
        if problem := self._problem_of_columns(row):
            raise DefinitionError(problem, where)

    def _problem_of_columns(self, row: Mapping[str, Any]) -> str | None:
        """Say which columns of a row contradict each other, if so."""
        there = {name: value for name, value in row.items() if not _is_null(value)}
        for first, second in self.ascending:
            if first in there and second in there and not there[first] < there[second]:
                low, high = there[first], there[second]
                return f"{first} is {low!r}, which is not below {second}, {high!r}."
        for first, second in self.different:
            if first in there and there[first] == there.get(second):
                return f"{first} and {second} are both {there[first]!r}."
        for names in self.together:
            given = [name for name in names if name in there]
            if 0 < len(given) < len(names):
                lacking = next(name for name in names if name not in there)
                return f"{given[0]} is {there[given[0]]!r}, which means nothing without {lacking}."
        if self.one_of and not there.keys() & set(self.one_of):
            return f"it has no value of {' or '.join(self.one_of)}: it defines nothing."
        return None


def _is_null(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and pd.isna(value))


def _unknown(name: str, value: Any, allowed: Collection[str], where: str) -> DefinitionError:
    near = difflib.get_close_matches(str(value), list(allowed), 1, 0.5)
    remedy = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(sorted(allowed))}."
    return DefinitionError(f"{name} takes no {value!r}.", where, remedy)


def _number_problem(attribute: Any, value: Any) -> str | None:
    """Say why a number is none that its column takes, if so."""
    kind = kind_of(str(attribute.original_type or attribute.type))
    if kind not in ("int", "float"):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return "which is no number"
    unit = re.match(r"\((\w+)\)", attribute.comment or "")
    least, greatest = LIMITS.get(unit[1] if unit else "", (-math.inf, math.inf))
    least = 0.0 if kind == "int" else least
    if not math.isfinite(number):
        return "which is not finite"
    if not least <= number <= greatest:
        return f"which is not between {least:g} and {greatest:g}" + (f" {unit[0]}" if unit else "")
    return None


def _names_of_parents(table: Any, row: Mapping[str, Any]) -> dict[str, Collection[str]]:
    """Return the names that the foreign keys of a table take, for the texts of a row."""
    found: dict[str, Collection[str]] = {}
    for parent, link in table.parents(as_objects=True, foreign_key_info=True):
        for column, name in link["attr_map"].items():
            if isinstance(row.get(column), str):
                found[column] = set(parent.proj().to_arrays(name).tolist())
    return found


def _as_dicts(rows: Any, names: Iterable[str]) -> list[dict[str, Any]]:
    """Read whatever `insert` of DataJoint takes as dicts."""
    if isinstance(rows, type) and issubclass(rows, dj.Table):
        rows = rows()
    if isinstance(rows, dj.expression.QueryExpression):
        return rows.to_dicts()
    if hasattr(rows, "to_pylist"):  # a table of pyarrow
        return rows.to_pylist()
    if type(rows).__module__.startswith("polars"):
        return rows.to_dicts()
    if isinstance(rows, pd.DataFrame):
        return rows.reset_index(drop=rows.index.names == [None]).to_dict("records")
    if hasattr(rows, "read_text"):  # the path of a file of CSV
        return pd.read_csv(rows).to_dict("records")
    return [
        dict(row)
        if isinstance(row, Mapping)
        else {name: row[name] for name in row.dtype.names}
        if hasattr(row, "dtype")
        else dict(zip(names, row, strict=True))
        for row in rows
    ]
