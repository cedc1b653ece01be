"""Many rows in one statement, written column by column.

DataJoint makes a placeholder and a value of each cell, and the driver then writes each value into
the statement: for a thousand rows this takes several times as long as the server needs. PostgreSQL
reads many rows fastest by COPY, MySQL by an INSERT of many rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datajoint as dj

from schemas.database import upstream

COPY_FROM = 100
"""Rows from which PostgreSQL gets a COPY."""


def has_own_insert(table: Any) -> bool:
    """Return whether a table checks its rows before DataJoint's insert gets them."""
    return isinstance(table, dj.Table) and table.insert.__func__ is not dj.Table.insert


def takes(table: Any, columns: dict[str, list[Any]]) -> bool:
    """Return whether these columns need nothing of DataJoint's: no codec, UUID or blob.

    A table that refuses direct inserts, and fields that it lacks, are left to DataJoint's errors.
    """
    if not isinstance(table, dj.Table) or upstream.refuses_inserts(table):
        return False
    attributes = table.heading.attributes
    if not columns.keys() <= attributes.keys():
        return False
    return not any(a.codec or a.uuid or a.is_blob for a in map(attributes.get, columns))


def insert_many(table: dj.Table, columns: Mapping[str, Sequence[Any]]) -> None:
    """Insert rows that are given as columns, in one statement on DataJoint's connection.

    Parameters
    ----------
    table : dj.Table
        A table that `takes` the columns.
    columns : mapping of str to sequence
        Values as `rows.as_columns` returns them, all of one length. None takes the column's
        default, as in DataJoint.

    Raises
    ------
    DuplicateError
        A row is there already.
    """
    attributes = table.heading.attributes
    columns = {
        name: _as_json(values) if attributes[name].json else values
        for name, values in columns.items()
    }
    copied = _as_csv(table, columns)
    names = ",".join(map(table.connection.adapter.quote_identifier, columns))
    target = f"{table.full_table_name} ({names})"
    try:
        if copied is None:
            table.connection.query(f"INSERT INTO {target} VALUES {_values(table, columns)}")
        else:
            statement = f"COPY {target} FROM STDIN WITH (FORMAT csv)"
            upstream.copy_in(table.connection, statement, copied)
    except dj.errors.DuplicateError as error:
        advice = "To ignore duplicate entries in insert, set skip_duplicates=True"
        raise error.suggest(advice) from None


def _as_json(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else json.dumps(value) for value in values]


def _as_csv(table: dj.Table, columns: Mapping[str, Sequence[Any]]) -> io.BytesIO | None:
    """Write columns as COPY reads them; None where only an INSERT stores them as DataJoint does."""
    connection, attributes = table.connection, table.heading.attributes
    if connection.adapter.backend == "mysql" or len(next(iter(columns.values()))) < COPY_FROM:
        return None
    if upstream.driver_connection(connection).encoding != "UTF8":
        return None
    import pyarrow as pa
    from pyarrow import csv, types

    known = [types.is_null, types.is_boolean, types.is_integer, types.is_floating]
    known += [types.is_string, types.is_date, types.is_timestamp, types.is_decimal]
    arrays = {}
    for name, values in columns.items():
        try:
            array = pa.array(values, from_pandas=False)
        except (ValueError, TypeError, OverflowError):  # values of several types, or of none
            return None
        has_default = attributes[name].default is not None and not attributes[name].nullable
        if (array.null_count and has_default) or not any(test(array.type) for test in known):
            return None
        arrays[name] = array
    text = io.BytesIO()
    # Text is quoted, so that an empty one differs from NULL.
    options = csv.WriteOptions(include_header=False, quoting_style="needed")
    csv.write_csv(pa.table(arrays), text, options)
    return text


def _values(table: dj.Table, columns: Mapping[str, Sequence[Any]]) -> str:
    """Write the rows of an INSERT, as a format of Python's: a percent sign is written twice."""
    literal = upstream.literals(table.connection)
    texts = [_literals(values, literal) for values in columns.values()]
    return f"({'),('.join(map(','.join, zip(*texts, strict=True)))})".replace("%", "%%")


def _literals(values: Sequence[Any], literal: Callable[[Any], str]) -> list[str]:
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
