"""Many rows in one statement, written column by column.

DataJoint makes a placeholder and a value of each cell, and the driver then writes each value into
the statement: for a thousand rows this takes several times as long as the server needs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datajoint as dj

from schemas.database import upstream


def has_own_insert(table: Any) -> bool:
    """Return whether a table checks its rows before DataJoint's insert gets them."""
    return isinstance(table, dj.Table) and table.insert.__func__ is not dj.Table.insert


def takes(table: Any, columns: dict[str, list[Any]]) -> bool:
    """Return whether these columns need nothing of DataJoint's: no codec, JSON, UUID or blob.

    A table that refuses direct inserts, and fields that it lacks, are left to DataJoint's errors.
    """
    if not isinstance(table, dj.Table) or upstream.refuses_inserts(table):
        return False
    attributes = table.heading.attributes
    if not columns.keys() <= attributes.keys():
        return False
    return not any(a.codec or a.json or a.uuid or a.is_blob for a in map(attributes.get, columns))


def insert(table: dj.Table, columns: dict[str, list[Any]]) -> None:
    """Insert rows that are given as columns, all of one length."""
    quote = table.connection.adapter.quote_identifier
    literal = upstream.literals(table.connection)
    names = ",".join(map(quote, columns))
    texts = [_literals(values, literal) for values in columns.values()]
    values = "),(".join(map(",".join, zip(*texts, strict=True)))
    # The query is a format of Python's, where a percent sign is written twice.
    statement = f"INSERT INTO {table.full_table_name} ({names}) VALUES ({values})"
    try:
        table.connection.query(statement.replace("%", "%%"))
    except dj.errors.DuplicateError as error:
        advice = "To ignore duplicate entries in insert, set skip_duplicates=True"
        raise error.suggest(advice) from None


def _literals(values: list[Any], literal: Callable[[Any], str]) -> list[str]:
    """Write the values of a column as SQL; None takes the column's default, as in DataJoint."""
    types = set(map(type, values)) - {type(None)}
    if types <= {int, bool}:
        return ["DEFAULT" if value is None else str(value) for value in values]
    if types == {float}:
        return ["DEFAULT" if value is None else _number(value) for value in values]
    if len(types) > 1:
        return ["DEFAULT" if value is None else literal(value) for value in values]
    known = {value: literal(value) for value in set(values) - {None}} | {None: "DEFAULT"}
    return [known[value] for value in values]


def _number(value: float) -> str:
    """Write a number so that MySQL takes it for a double, not for an exact decimal."""
    text = repr(value)
    return text if "e" in text else text + "e0"
