"""Headings of all tables in five statements, where DataJoint sends eight for each table.

DataJoint reads the heading of a table when the table is first used: its comment, columns, key,
lineage and indexes. `read_ahead` asks for those of all tables at once, and answers DataJoint's
statements from the result until a statement changes a table.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import datajoint as dj

Row = dict[str, Any]
Table = tuple[str, str]
"""Schema and name of a table."""

MYSQL = {
    "get_table_info_sql": (
        "SELECT table_schema AS s, table_name AS t, table_comment AS table_comment "
        "FROM information_schema.tables WHERE table_schema IN ({schemas})"
    ),
    "get_columns_sql": (
        "SELECT table_schema AS s, table_name AS t, column_name AS `Field`, column_type AS `Type`, "
        "is_nullable AS `Null`, column_default AS `Default`, column_comment AS `Comment`, "
        "column_key AS `Key`, extra AS `Extra` FROM information_schema.columns "
        "WHERE table_schema IN ({schemas}) ORDER BY s, t, ordinal_position"
    ),
    "get_primary_key_sql": (
        "SELECT table_schema AS s, table_name AS t, column_name AS column_name "
        "FROM information_schema.key_column_usage WHERE table_schema IN ({schemas}) "
        "AND constraint_name = 'PRIMARY' ORDER BY s, t, ordinal_position"
    ),
    "get_indexes_sql": (
        "SELECT table_schema AS s, table_name AS t, index_name AS index_name, "
        "column_name AS column_name, non_unique AS non_unique, seq_in_index AS seq_in_index "
        "FROM information_schema.statistics WHERE table_schema IN ({schemas}) "
        "AND index_name != 'PRIMARY' ORDER BY s, t, index_name, seq_in_index"
    ),
}

OF_TABLE = (
    "JOIN pg_namespace n ON nspname = table_schema "
    "JOIN pg_class c ON relname = table_name AND relnamespace = n.oid"
)
POSTGRESQL = {
    "get_table_info_sql": (
        "SELECT table_schema AS s, table_name AS t, obj_description(c.oid, 'pg_class') "
        f"AS table_comment FROM information_schema.tables {OF_TABLE} "
        "WHERE table_schema IN ({schemas})"
    ),
    "get_columns_sql": (
        "SELECT table_schema AS s, table_name AS t, column_name, data_type, udt_name, is_nullable, "
        "column_default, character_maximum_length, numeric_precision, numeric_scale, "
        "col_description(c.oid, ordinal_position) AS column_comment "
        f"FROM information_schema.columns {OF_TABLE} "
        "WHERE table_schema IN ({schemas}) ORDER BY s, t, ordinal_position"
    ),
    # As of `upstream.show_keys_to_readers`: the information schema shows readers no keys.
    "get_primary_key_sql": (
        "SELECT nspname AS s, relname AS t, attname AS column_name FROM pg_index "
        "JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace "
        "JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) "
        "WHERE indisprimary AND nspname IN ({schemas}) "
        "ORDER BY s, t, array_position(indkey::int2[], attnum)"
    ),
    "get_indexes_sql": (
        "SELECT schemaname AS s, tablename AS t, indexname, indexdef FROM pg_indexes "
        "WHERE schemaname IN ({schemas})"
    ),
}

LINEAGE = "~lineage"
"""Table of each schema in which DataJoint keeps from where the columns of its tables come."""

CHANGES = re.compile(rf"\s*(ALTER|CREATE|DROP|RENAME|COMMENT|INSERT INTO \S*{LINEAGE})\b", re.I)
"""Statements after which a heading may be another one."""


def read_ahead(connection: dj.Connection, schemas: Sequence[str]) -> dict[Table, set[str]]:
    """Read the headings of all tables of some schemas, and answer DataJoint from them.

    Parameters
    ----------
    connection : datajoint.Connection
        Its `query` is replaced.
    schemas : sequence of str
        Names of schemas; those that do not exist have no tables.

    Returns
    -------
    dict
        Names of the columns of each table, by schema and table.
    """
    listed = ", ".join(map(connection.adapter.quote_string, schemas))
    mysql = connection.adapter.backend == "mysql"
    found = {
        question: _by_table(connection.query(query.format(schemas=listed), as_dict=True))
        for question, query in (MYSQL if mysql else POSTGRESQL).items()
    }
    answers = {
        (getattr(connection.adapter, question)(*table), ()): rows.get(table, [])
        for question, rows in found.items()
        for table in found["get_table_info_sql"]
    }
    answers |= _lineages(connection, list(found["get_table_info_sql"]))

    def query(query: str, args: Any = (), *, as_dict: bool = False, **options: Any) -> Any:
        rows = answers.get(_key(query, args))
        if rows is None:
            if CHANGES.match(query):
                answers.clear()
            return dj.Connection.query(connection, query, args, as_dict=as_dict, **options)
        return _Answer(rows if as_dict else [tuple(row.values()) for row in rows])

    connection.query = query
    names = "Field" if mysql else "column_name"
    return {table: {row[names] for row in rows} for table, rows in found["get_columns_sql"].items()}


def _key(query: str, args: Any) -> tuple[str, Any]:
    """Return the key of an answer: DataJoint indents the statement that reads lineages."""
    return (" ".join(query.split()), tuple(args)) if LINEAGE in query else (query, ())


def _by_table(rows: Iterable[Row]) -> dict[Table, list[Row]]:
    found = defaultdict(list)
    for row in rows:
        found[row.pop("s"), row.pop("t")].append(dict(row))
    return found


def _lineages(connection: dj.Connection, tables: list[Table]) -> dict[tuple[str, Any], list[Row]]:
    quote, text = connection.adapter.quote_identifier, connection.adapter.quote_string
    kept = {schema: f"{quote(schema)}.{quote(LINEAGE)}" for schema, t in tables if t == LINEAGE}
    if not kept:
        return {}
    found = connection.query(
        " UNION ALL ".join(
            f"SELECT {text(schema)} AS s, table_name AS t, attribute_name, lineage FROM {table}"
            for schema, table in kept.items()
        ),
        as_dict=True,
    )
    rows = _by_table(found)
    question = "SELECT attribute_name, lineage FROM {} WHERE table_name = %s"
    return {
        (question.format(kept[schema]), (name,)): rows.get((schema, name), [])
        for schema, name in tables
        if schema in kept
    }


class _Answer:
    """Rows of an answer, as a cursor of the server would give them."""

    def __init__(self, rows: list[Any]) -> None:
        self.rowcount = len(rows)
        self._rows = iter(rows)

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)

    def fetchall(self) -> list[Any]:
        return list(self._rows)
