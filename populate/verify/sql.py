"""Statements that both servers take: keys as JSON, so that rows of many tables come in one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import datajoint as dj

from populate.verify.damage import Key


def is_mysql() -> bool:
    """Whether the server is MySQL."""
    return dj.conn().adapter.backend == "mysql"


def quote(name: str) -> str:
    """Quote the name of a column."""
    return dj.conn().adapter.quote_identifier(name)


def columns(names: Iterable[str], alias: str) -> str:
    """Write columns of a table, comma-separated."""
    return ", ".join(f"{alias}.{quote(name)}" for name in names)


def text(expression: str) -> str:
    """Write an expression as text."""
    return f"CAST({expression} AS {'CHAR' if is_mysql() else 'TEXT'})"


def as_json(names: Iterable[str], alias: str) -> str:
    """Write columns of a table as one JSON object."""
    pairs = ", ".join(f"'{name}', {alias}.{quote(name)}" for name in names)
    return text(f"{'JSON_OBJECT' if is_mysql() else 'json_build_object'}({pairs})")


def read_key(written: str | None, order: Sequence[str]) -> Key:
    """Read a key that `as_json` has written; the servers have orders of their own."""
    held = json.loads(written) if written else {}
    return {name: held[name] for name in order if name in held}


def differ(left: str, right: str) -> str:
    """Write that two values are not equal, null being equal to null alone."""
    return f"NOT ({left} <=> {right})" if is_mysql() else f"({left}) IS DISTINCT FROM ({right})"


def fetch(selects: Sequence[str], eid: str | None = None) -> list[tuple[Any, ...]]:
    """Fetch the rows of several selects in one statement: all are of one moment.

    Each `%s` in them stands for the eid.
    """
    if not selects:
        return []
    statement = " UNION ALL ".join(selects)
    return list(dj.conn().query(statement, (eid,) * statement.count("%s")).fetchall())
