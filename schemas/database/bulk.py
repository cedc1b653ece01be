"""Many rows in one statement, written and read column by column.

DataJoint makes a placeholder and a value for each cell, and the driver writes each value into the
statement. For a thousand rows the client takes several times as long as the server. PostgreSQL
reads many rows fastest by COPY, MySQL by an INSERT of many rows. Drivers make a Python object for
each fetched cell; `copied_rows` takes columns out of PostgreSQL's binary COPY, several times as
fast, and `binary_rows` out of MySQL's binary protocol.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import datajoint as dj

from schemas.database import upstream

if TYPE_CHECKING:
    import pyarrow as pa

COPY_FROM = 100
"""Smallest number of rows that PostgreSQL gets by COPY instead of INSERT."""


def has_own_insert(table: Any) -> bool:
    """Return whether a table overrides DataJoint's insert, to check its rows first."""
    return isinstance(table, dj.Table) and table.insert.__func__ is not dj.Table.insert


def takes(table: Any, columns: Mapping[str, Sequence[Any]]) -> bool:
    """Return whether DataJoint need not encode these columns: no codec, UUID or blob.

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


def fetch_columns(
    query: dj.expression.QueryExpression,
    types: Mapping[str, str],
    order_by: Sequence[str],
) -> pa.Table | None:
    """Fetch columns of plain numbers, text and times as an Arrow table.

    Parameters
    ----------
    query : dj.expression.QueryExpression
        Any expression.
    types : mapping of str to str
        For each column to fetch its SQL type, of either server.
    order_by : sequence of str
        Columns.

    Returns
    -------
    pyarrow.Table or None
        None if a column is of another type, or its type is not known.
    """
    arrow = {name: _arrow_type(sql_type) for name, sql_type in types.items()}
    if None in arrow.values():
        return None
    # Arrow sorts faster than the servers, which would sort lines of text.
    sorts = arrow.keys() >= set(order_by)
    quote = query.connection.adapter.quote_identifier
    statement = query.make_sql(list(arrow))
    if order_by and not sorts:
        statement += f" ORDER BY {', '.join(map(quote, order_by))}"
    if not upstream.driver_connection(query.connection).encoding.lower().startswith("utf8"):
        return None
    is_mysql = query.connection.adapter.backend == "mysql"
    fetch = upstream.fetch_binary if is_mysql else upstream.copy_out
    table = fetch(query.connection, statement, arrow)
    return _sort(table, order_by) if sorts and order_by else table


def _sort(table: pa.Table, order_by: Sequence[str]) -> pa.Table:
    """Sort rows; missing values come last, as on PostgreSQL."""
    from pyarrow import compute

    keys = [(name, "ascending") for name in order_by]
    order = compute.sort_indices(table, keys).to_numpy()
    is_sorted = (order[1:] > order[:-1]).all()
    return table if is_sorted else table.take(order)


def _arrow_type(sql_type: str) -> pa.DataType | None:
    """Return the Arrow type of a column, or None if Arrow cannot read its values."""
    import pyarrow as pa

    kind = kind_of(sql_type)
    plain = {"bool": pa.bool_(), "int": pa.int64(), "date": pa.date32()}
    if kind in plain:
        return plain[kind]
    # The driver reads single precision.
    if sql_type.lower().startswith(("float64", "double", "decimal", "numeric")):
        return pa.float64()
    if kind.startswith(("varchar", "char", "enum", "text")):
        return pa.string()
    return pa.timestamp("us") if kind.startswith(("datetime", "timestamp")) else None


def kind_of(sql_type: str) -> str:
    """Return the kind of values of a column: bool, int, float, or else its SQL type."""
    kind = sql_type.lower()
    if kind.startswith("bool") or kind == "tinyint(1)":
        return "bool"
    if kind.startswith(("int", "smallint", "bigint", "tinyint")):
        return "int"
    return "float" if kind.startswith(("float", "double")) else kind


def _as_json(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else json.dumps(value) for value in values]


def _as_csv(table: dj.Table, columns: Mapping[str, Sequence[Any]]) -> io.BytesIO | None:
    """Write columns as COPY reads them; None if only an INSERT stores them as DataJoint does."""
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
        except (ValueError, TypeError, OverflowError):  # values of mixed or unknown types
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
    """Write the rows of an INSERT for the driver, which needs each percent sign twice."""
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
