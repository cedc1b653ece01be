"""Repairs to DataJoint 2.3, applied once by :func:`apply`.

Each repair says what is wrong and how one tells that it is needed no more. For each there is a
test that the unrepaired DataJoint still has the fault; when that test fails, the repair goes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NoReturn

import datajoint
from datajoint import errors
from datajoint.adapters.postgres import PostgreSQLAdapter
from datajoint.autopopulate import AutoPopulate
from datajoint.heading import Attribute, Heading

UNKNOWN_FROM = (2, 4)


@functools.cache
def apply() -> None:
    """Apply every repair that the installed DataJoint needs; further calls do nothing."""
    found = tuple(int(part) for part in re.findall(r"\d+", datajoint.__version__)[:2])
    if found < UNKNOWN_FROM:
        reconnect_postgresql()
        rename_after_join()
        cache_attributes()
        keep_jobs()


def reconnect_postgresql() -> None:
    """Let a lost PostgreSQL connection be made again, as a lost MySQL connection is.

    Wrong in 2.3.5: psycopg2 reports a lost connection as an error without a code, which
    `translate_error` passes through, so that `Connection.query` never sees a LostConnectionError;
    and a connection known to be closed fails in `get_cursor`, where nothing catches it. Every
    query fails until the process ends. Needed no more when a query after
    `pg_terminate_backend` gives its rows.
    """
    import psycopg2  # an optional dependency of DataJoint

    translate = PostgreSQLAdapter.translate_error
    get_cursor = PostgreSQLAdapter.get_cursor

    def translate_error(self: PostgreSQLAdapter, error: Exception, query: str = "") -> Exception:
        if isinstance(error, psycopg2.OperationalError):
            # 57P02: another process of the server crashed, and the server ended all connections.
            lost = error.pgcode in (None, "57P02")
        else:
            lost = isinstance(error, psycopg2.InterfaceError) and "connection" in str(error)
        return errors.LostConnectionError(str(error)) if lost else translate(self, error, query)

    def cursor_or_loss(self: PostgreSQLAdapter, connection: Any, as_dict: bool = False) -> Any:
        if connection.closed:
            return _CursorOfClosed()
        return get_cursor(self, connection, as_dict=as_dict)

    PostgreSQLAdapter.translate_error = translate_error
    PostgreSQLAdapter.get_cursor = cursor_or_loss


class _CursorOfClosed:
    """Fails when it is used, not when it is made: there DataJoint looks for a lost connection."""

    def execute(self, *_: object) -> NoReturn:
        import psycopg2

        raise psycopg2.InterfaceError("connection already closed")


def rename_after_join() -> None:
    """Let `proj` rename attributes of a join, aggregation, U or subquery on PostgreSQL.

    Wrong in 2.3.5: `Heading.select` takes the adapter, which knows how names are quoted, from
    `table_info`. `join`, `set_primary_key` and `make_subquery_heading` return headings without
    it, and names are then quoted with backticks: a syntax error on PostgreSQL. Needed no more
    when `(A * B).proj(new='old')` can be fetched there.
    """

    def carrying(derive: Callable[..., Heading]) -> Callable[..., Heading]:
        @functools.wraps(derive)
        def derived(self: Heading, *args: Any, **kwargs: Any) -> Heading:
            result = derive(self, *args, **kwargs)
            others = (arg.table_info for arg in args if isinstance(arg, Heading))
            result.table_info = self.table_info or next(others, None)
            return result

        return derived

    for name in ("join", "set_primary_key", "make_subquery_heading"):
        setattr(Heading, name, carrying(getattr(Heading, name)))


def cache_attributes() -> None:
    """Keep the dict of visible attributes with the heading.

    Wrong in 2.3.5: `Heading.attributes` builds a new dict at each access, and inserts and fetches
    access it once a cell. Keeping it makes them up to 1.5 times as fast. Needed no more when
    `heading.attributes is heading.attributes`.
    """

    def attributes(self: Heading) -> dict[str, Attribute]:
        if self._attributes is None:
            self._init_from_database()
        # A heading read anew has another `_attributes`: compare, do not trust.
        source, visible = self.__dict__.get("_bwm_visible", (None, None))
        if source is not self._attributes:
            visible = {k: v for k, v in self._attributes.items() if not v.is_hidden}
            self._bwm_visible = (self._attributes, visible)
        return visible

    Heading.attributes = property(attributes, doc=Heading.attributes.__doc__)


def keep_jobs() -> None:
    """Keep the table of jobs with the class whose jobs they are.

    Wrong in 2.3.5: every instance makes it anew, for which all foreign keys of all schemas are
    read, though they are needed only to declare it: a third of the time of short jobs. Needed no
    more when `Table().jobs is Table().jobs`.
    """
    descriptor = AutoPopulate._JobsDescriptor
    make = descriptor.__get__

    def kept(self: Any, table: Any, owner: type | None = None) -> Any:
        table = (owner or type(table))()  # unrestricted, as the jobs are of the whole table
        held = type(table).__dict__.get("_bwm_jobs")
        if (
            held is None
            or held.connection is not table.connection  # equal ones may be of another time
            or held.database != table.database
        ):
            held = make(self, table, type(table))
            type(table)._bwm_jobs = held
        return held

    descriptor.__get__ = kept
