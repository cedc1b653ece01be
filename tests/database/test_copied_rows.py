"""Rows of PostgreSQL that are read as columns, beside what psycopg2 makes of them."""

import datetime
from decimal import Decimal

import datajoint as dj
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from schemas import rows
from schemas.database import copied_rows, upstream
from tests.support.databases import connect

INT, FLOAT, TEXT, TIME = pa.int64(), pa.float64(), pa.string(), pa.timestamp("us")
TYPES = {"n": INT, "small": INT, "large": INT, "level": FLOAT, "money": FLOAT, "flag": pa.bool_()}
TYPES |= {"code": TEXT, "word": TEXT, "kind": TEXT, "day": pa.date32(), "time": TIME}


@pytest.fixture(scope="module")
def _connection(backend):
    if backend.name != "postgresql":
        pytest.skip("a protocol of PostgreSQL")
    upstream.apply()
    connection = connect(backend)
    connection.query("CREATE SCHEMA bwm_copied_rows")
    connection.query("CREATE TYPE bwm_copied_rows.kind AS ENUM ('x', 'y')")
    yield connection
    connection.query("DROP SCHEMA bwm_copied_rows CASCADE")
    connection.close()


@pytest.fixture
def connection(_connection):
    yield _connection
    _connection.query("DROP TABLE IF EXISTS bwm_copied_rows.one")


@pytest.fixture
def table(connection):
    """A table of 3,000 rows, in which each column but the first is null in some rows."""
    connection.query(
        "CREATE TABLE bwm_copied_rows.one (n integer PRIMARY KEY, small smallint, large bigint, "
        "level double precision, money numeric(20, 3), flag boolean, code char(36), word varchar, "
        "kind bwm_copied_rows.kind, day date, time timestamp)"
    )
    random = np.random.default_rng(0)
    statements = []
    for n in range(3000):
        time = datetime.datetime(1000 + 3 * n, 1 + n % 12, 1 + n % 28, n % 24, n % 60, n % 59, n)
        of_row = [int(random.integers(-(2**bits), 2**bits)) for bits in (15, 62)]
        of_row += [random.normal() * 10.0 ** random.integers(-300, 300), Decimal(n * 10**9) / 7]
        of_row += [bool(n % 2), f"{n:036}", "é€🐭x" * (n % 7) if n % 100 else "ü" * n, "xy"[n % 2]]
        of_row += [time.date(), time]
        is_null = random.random(len(of_row)) < [0, 0.1, 0.9][n // 1000]
        of_row = [None if null else value for null, value in zip(is_null, of_row, strict=True)]
        statements.append((n, *of_row))
    connection._conn.cursor().executemany(
        f"INSERT INTO bwm_copied_rows.one VALUES ({','.join(['%s'] * len(TYPES))})", statements
    )
    return dj.FreeTable(connection, '"bwm_copied_rows"."one"')


def same(connection, query, types):
    """Fetch rows, compare them with the driver's, cell by cell, and return their number."""
    found = upstream.copy_out(connection, query, types)
    columns = [[None if v != v else v for v in column.to_pylist()] for column in found.columns]
    assert found.schema == pa.schema(types.items())
    expected = connection.query(query).fetchall()
    assert [list(row) for row in zip(*columns, strict=True)] == [
        [float(value) if isinstance(value, Decimal) else value for value in row] for row in expected
    ]
    return len(expected)


@pytest.mark.parametrize("block", [1, 7, 1500, copied_rows.BLOCK])
def test_every_value_of_every_type_is_what_the_driver_reads(connection, table, monkeypatch, block):
    monkeypatch.setattr(copied_rows, "BLOCK", block)
    some = " WHERE mod(n, 50) = 0" if block == 1 else ""
    statement = f"SELECT {', '.join(TYPES)} FROM bwm_copied_rows.one{some} ORDER BY n"
    assert same(connection, statement, TYPES) == (60 if block == 1 else 3000)


@pytest.mark.parametrize("names", [["level"], ["level", "money"], ["word"], ["flag", "time"]])
def test_columns_of_one_kind_and_no_row(connection, table, names):
    types = {name: TYPES[name] for name in names}
    for where, n in (("TRUE", 3000), ("n = 2999", 1), ("n < 0", 0)):
        statement = f"SELECT {', '.join(names)} FROM bwm_copied_rows.one WHERE {where} ORDER BY n"
        assert same(connection, statement, types) == n


def test_a_column_of_nothing_is_null(connection, table):
    connection.query("UPDATE bwm_copied_rows.one SET small = NULL, level = NULL, word = NULL")
    types = {name: TYPES[name] for name in ("n", "small", "level", "word")}
    statement = f"SELECT {', '.join(types)} FROM bwm_copied_rows.one ORDER BY n"
    assert same(connection, statement, types) == 3000


def test_infinity_and_the_names_of_columns_are_kept(connection, table):
    connection.query("UPDATE bwm_copied_rows.one SET level = '-Infinity' WHERE n = 5")
    found = rows.frame((table & "n = 5").proj(Odd_name="level"))
    assert found.Odd_name.tolist() == [-np.inf]


@pytest.mark.parametrize("text", ["100 %", "%s", "it's", 'say "it"', "a\tb\n\\N"])
def test_signs_that_a_statement_gives_a_meaning_to(connection, table, text):
    connection._conn.cursor().execute(
        "UPDATE bwm_copied_rows.one SET word = %s WHERE n = 7", (text,)
    )
    assert rows.frame(table.proj("word") & "n = 7").word.tolist() == [text]


def test_rows_come_in_the_order_of_a_column_that_is_not_fetched(table):
    found = rows.frame(table & "n < 1000", columns=["n"], order_by="code")
    assert found.n.tolist() == list(range(1000))
    found = rows.frame(table & "n < 1000", columns=["n"], order_by="large, n").n
    large = rows.frame(table & "n < 1000", columns=["n", "large"])
    assert found.tolist() == large.sort_values(["large", "n"]).n.tolist()


def test_an_error_of_the_server_leaves_the_connection_usable(connection, table):
    divided = f"SELECT {', '.join(TYPES)} FROM bwm_copied_rows.one WHERE 1 / (n - 2500) < 2"
    with pytest.raises(Exception, match="division by zero"):
        upstream.copy_out(connection, divided, TYPES)
    assert len(rows.frame(table)) == 3000


def test_a_connection_that_is_lost_is_made_again(connection, table, backend):
    whole = rows.frame(table)
    number = connection.connection_id
    cursor = connection._conn.cursor()
    with pytest.raises(Exception, match="terminat"):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    pd.testing.assert_frame_equal(rows.frame(table), whole)
    assert connection.connection_id != number


def test_rows_of_the_open_transaction_are_seen(connection, table):
    with connection.transaction:
        connection.query("DELETE FROM bwm_copied_rows.one WHERE n >= 10")
        assert rows.frame(table.proj()).n.tolist() == list(range(10))
        connection.cancel_transaction()
        assert len(rows.frame(table.proj())) == 3000
        connection.start_transaction()


def test_a_connection_of_another_encoding_reads_the_same(connection, table):
    connection.query("UPDATE bwm_copied_rows.one SET word = 'é' || n")
    expected = rows.frame(table)
    connection._conn.set_client_encoding("LATIN1")
    try:
        found = rows.frame(table)
    finally:
        connection._conn.set_client_encoding("UTF8")
    pd.testing.assert_frame_equal(found, expected)
    assert found.word[7] == "é7"
