"""Repairs to DataJoint 2.3, applied once by :func:`apply`.

Each repair says what is wrong and how one tells that it is needed no more. For each there is a
test that the unrepaired DataJoint still has the fault; when that test fails, the repair goes.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

import datajoint
import deepdiff
from datajoint import errors
from datajoint.adapters.postgres import PostgreSQLAdapter
from datajoint.autopopulate import AutoPopulate
from datajoint.condition import make_condition
from datajoint.connection import Connection
from datajoint.heading import Attribute, Heading
from datajoint.jobs import Job

from schemas.database import clear_text
from schemas.database.fetched_hash import FetchedHash

if TYPE_CHECKING:
    import pyarrow as pa

UNKNOWN_FROM = (2, 4)


@functools.cache
def apply() -> None:
    """Apply every repair that the installed DataJoint needs; further calls do nothing."""
    found = tuple(int(part) for part in re.findall(r"\d+", datajoint.__version__)[:2])
    if found < UNKNOWN_FROM:
        reconnect_postgresql()
        number_connections()
        rename_after_join()
        cache_attributes()
        keep_jobs()
        stamp_by_server()
        show_keys_to_readers()
        obey_tls()
        clear_text.refuse()


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


def number_connections() -> None:
    """Let `connection_id` be that of the connection that is open.

    Wrong in 2.3.5: `connect` sets it only for the first one. After a lost connection was made
    again, jobs are reserved under the number of the old one, which by then may be another's: who
    ends the connection of a worker that is dead would end that. Needed no more when it equals
    what the server says after a connection was lost.
    """
    connect = Connection.connect

    def connected(self: Connection) -> None:
        connect(self)
        self.connection_id = self.adapter.get_connection_id(self._conn)

    Connection.connect = connected


class _CursorOfClosed:
    """Fails when it is used, not when it is made: there DataJoint looks for a lost connection."""

    def execute(self, *_: object) -> NoReturn:
        import psycopg2

        raise psycopg2.InterfaceError("connection already closed")

    copy_expert = mogrify = execute


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
    """Keep the table of jobs with the class whose jobs they are; write its definition when asked.

    Wrong in 2.3.5: every instance makes it anew, for which all foreign keys of all schemas are
    read, though they are needed only to declare it: a third of the time of short jobs. Needed no
    more when `Table().jobs is Table().jobs`.
    """
    generate, descriptor = Job._generate_definition, AutoPopulate._JobsDescriptor
    Job._generate_definition = lambda _: ""  # called as an instance is made
    Job.definition = property(generate)
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


def show_keys_to_readers() -> None:
    """Let users who may only read see primary keys on PostgreSQL.

    Wrong in 2.3.5: `information_schema.table_constraints`, which is asked for them, shows a table
    to those alone who own it or may do more than SELECT. For a reader no table has a key, and
    most queries fail, and all tables of jobs. Needed no more when a user with SELECT alone has
    `Table().primary_key` and `Table().jobs`.
    """
    of_keys = (
        "FROM pg_index JOIN pg_class ON pg_class.oid = indrelid "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY(indkey) WHERE indisprimary"
    )

    def get_primary_key_sql(self: PostgreSQLAdapter, schema_name: str, table_name: str) -> str:
        return (
            f"SELECT attname AS column_name {of_keys} "
            f"AND nspname = {self.quote_string(schema_name)} "
            f"AND relname = {self.quote_string(table_name)} "
            "ORDER BY array_position(indkey::int2[], attnum)"
        )

    def load_primary_keys_sql(_: PostgreSQLAdapter, schemas_list: str, like_pattern: str) -> str:
        table = "'\"' || nspname || '\".\"' || relname || '\"'"
        return (
            f"SELECT {table} AS tab, attname AS column_name {of_keys} "
            f"AND relname NOT LIKE {like_pattern} AND nspname IN ({schemas_list})"
        )

    PostgreSQLAdapter.get_primary_key_sql = get_primary_key_sql
    PostgreSQLAdapter.load_primary_keys_sql = load_primary_keys_sql


def obey_tls() -> None:
    """Let `use_tls` say whether a connection is encrypted, and whose certificate it trusts.

    Wrong in 2.3.5: False is not handed on, so that both drivers encrypt where the server can;
    True becomes `{}` for PyMySQL, which takes that for nothing said, and goes on in clear text
    where the server cannot; and of a dict psycopg2 gets nothing, so that no certificate is
    verified. Needed no more when the tests of `tests/database/test_tls.py` pass without it.
    """
    import psycopg2

    build = Connection._build_connect_kwargs

    def build_kwargs(self: Connection, use_tls: Any = None) -> dict[str, Any]:
        kwargs = build(self, use_tls)
        wanted = self.conn_info["ssl_input"] if use_tls is None else use_tls
        if wanted is False:
            kwargs["use_tls"] = False
        elif wanted is True and self.adapter.backend == "mysql":
            kwargs["use_tls"] = {"ca": None}
        return kwargs

    def connect(
        self: PostgreSQLAdapter, host: str, port: int, user: str, password: str, **kwargs: Any
    ) -> Any:
        tls = kwargs.get("use_tls")
        asked = tls if isinstance(tls, dict) else {}
        mode = {False: "disable", None: "prefer"}.get(None if asked else tls, "require")
        connection = psycopg2.connect(
            host=host,
            port=port,
            user=user,
            password=password,
            dbname=kwargs.get("dbname", "postgres"),
            sslmode="verify-full" if asked.get("ca") else "require" if asked else mode,
            connect_timeout=kwargs.get("connect_timeout", 10),
            **({"sslrootcert": asked["ca"]} if asked.get("ca") else {}),
            **({} if tls else clear_text.LIBPQ),
        )
        connection.autocommit = True
        self._register_numpy_adapters()
        return connection

    Connection._build_connect_kwargs = build_kwargs
    PostgreSQLAdapter.connect = connect


def stamp_by_server() -> None:
    """Let the server say when a key was begun.

    Wrong in 2.3.5: `_job_start_time` is the local time of the worker, without its time zone, while
    all times of jobs are the server's: of workers in containers (UTC) and on machines with a local
    time it cannot be told what was made of late. Needed no more when a worker with another TZ
    notes the time of the server.
    """

    def update(
        self: Any,
        key: dict[str, Any],
        start_time: Any,  # noqa: ARG001  (DataJoint passes it by name)
        duration: float,
        version: str,
    ) -> None:
        mysql = self.connection.adapter.backend == "mysql"
        since = "INTERVAL %s SECOND" if mysql else "%s * INTERVAL '1 second'"
        self.connection.query(
            f"UPDATE {self.full_table_name} SET _job_start_time = CURRENT_TIMESTAMP(3) - {since}, "
            f"_job_duration = %s, _job_version = %s WHERE {make_condition(self, key, set())}",
            (duration, duration, (version or "")[:64]),
        )

    AutoPopulate._update_job_metadata = update


# --- DataJoint's private names ------------------------------------------------------------------


def compile_column(line: str, adapter: Any) -> tuple[str, str, str | None]:
    """Return name, SQL and comment of the column that a line of a definition declares.

    The comment is the one that DataJoint stores, with the type; that of MySQL is in the SQL too.
    """
    name, sql, _, comment = datajoint.declare.compile_attribute(line, False, [], {}, adapter)
    return name, sql, comment


def populate_key(
    table: datajoint.Table, key: dict[str, Any], before_commit: Callable[[], None]
) -> int:
    """Compute and insert the rows of one key; return 0 if there is nothing to do.

    `before_commit` is called at the end of the transaction; if it raises, the rows are rolled back.

    `populate(key)` does the same in the end, but first evaluates `key_source` for one key, and
    compares what `make_fetch` returned before and after the computation with `DeepHash`, which
    takes up to a third of the time of a small job.
    """
    options = {"suppress_errors": False, "return_exception_objects": False}
    connection, slow = table.connection, deepdiff.DeepHash
    commit = connection.commit_transaction

    def checked_commit() -> None:
        try:
            before_commit()
        except BaseException:
            connection.cancel_transaction()
            raise
        commit()

    deepdiff.DeepHash = FetchedHash  # type: ignore[assignment, misc]
    connection.commit_transaction = checked_commit
    try:
        return int(table._populate1(key, None, **options))
    finally:
        del connection.commit_transaction
        deepdiff.DeepHash = slow  # type: ignore[misc]


def has_job_metadata(table: datajoint.Table) -> bool:
    """Whether the rows of a table hold when their jobs started and how long they took."""
    heading = table.heading
    return bool(heading.names) and "_job_start_time" in heading._attributes


def set_master(part: type[datajoint.Part], master: type[datajoint.Table]) -> None:
    """Set the master of a part table, on which its name depends, before it is declared."""
    part._master = master


def driver_connection(connection: datajoint.Connection) -> Any:
    """Return the connection of the driver, PyMySQL or psycopg2."""
    return connection._conn


def copy_in(connection: datajoint.Connection, statement: str, text: io.BytesIO) -> None:
    """Send a COPY with its rows as DataJoint sends a query: errors and lost connections alike."""

    def send(cursor: Any, query: str, _: object) -> None:
        text.seek(0)
        cursor.copy_expert(query, text)

    _query_by(connection, statement, send)


def copy_out(
    connection: datajoint.Connection, query: str, types: Mapping[str, pa.DataType]
) -> pa.Table:
    """Fetch a query's rows by PostgreSQL's binary COPY, sent as DataJoint sends a query."""
    from schemas.database import copied_rows

    messages: list[bytes] = []
    # A method of a list, written in C: no signal can end it within the COPY.
    sink = SimpleNamespace(write=messages.append)

    def fetch(cursor: Any, query: str, values: object) -> None:
        messages.clear()
        plain = cursor.mogrify(query, values).decode()  # `%%` becomes `%`
        quote = connection.adapter.quote_identifier
        cursor.copy_expert(copied_rows.write_copy(plain, types, quote), sink)

    _query_by(connection, query, fetch)
    return copied_rows.read_table(messages, types)


def fetch_binary(
    connection: datajoint.Connection, query: str, types: Mapping[str, pa.DataType]
) -> pa.Table:
    """Fetch a query's rows by MySQL's binary protocol, sent as DataJoint sends a query."""
    from schemas.database import binary_rows

    tables = []

    def fetch(cursor: Any, query: str, values: object) -> None:
        plain = cursor.mogrify(query, values)  # `%%` becomes `%`
        tables.append(binary_rows.fetch(cursor.connection, plain, types))

    _query_by(connection, query, fetch)
    return tables[-1]


def _query_by(
    connection: datajoint.Connection, query: str, execute: Callable[[Any, str, Any], None]
) -> None:
    """Let `Connection.query` call a function of a cursor instead of its `execute`."""
    adapter = connection.adapter
    get_cursor = adapter.get_cursor

    class Cursor:
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._cursor = get_cursor(*arguments, **options)

        def execute(self, sent: str, values: Any) -> None:
            if sent is query:
                execute(self._cursor, sent, values)
            else:  # ROLLBACK, where the connection was lost in a transaction
                self._cursor.execute(sent, values)

    adapter.get_cursor = Cursor
    try:
        connection.query(query)
    finally:
        del adapter.get_cursor


def forget_transaction(connection: datajoint.Connection) -> None:
    """Forget the transaction of a connection that was lost: the server has rolled it back."""
    connection._in_transaction = False


def full_path(store: Any, path: str) -> str:
    """Return where an object of a store is: its path on this machine, or bucket and key."""
    return str(store._full_path(path))


def literals(connection: datajoint.Connection) -> Callable[[Any], str]:
    """Return the function with which the driver of a connection writes a value as SQL."""
    driver = driver_connection(connection)
    if connection.adapter.backend == "mysql":
        return lambda value: driver.escape(value, driver.encoders)
    import psycopg2.extensions

    def literal(value: Any) -> str:
        adapted = psycopg2.extensions.adapt(value)
        if hasattr(adapted, "prepare"):
            adapted.prepare(driver)
        return adapted.getquoted().decode()

    return literal


def refuses_inserts(table: datajoint.Table) -> bool:
    """Return whether rows come from `make` alone, or carry a record of their origin."""
    return not getattr(table, "_allow_insert", True) or table._has_prov_attribute()
