"""Rows of MySQL that are read as columns, beside what PyMySQL makes of them."""

import datetime
from decimal import Decimal

import datajoint as dj
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from schemas import rows
from schemas.database import binary_rows, upstream
from tests.support.databases import connect

INT, FLOAT, TEXT, TIME = pa.int64(), pa.float64(), pa.string(), pa.timestamp("us")


@pytest.fixture(scope="module")
def _connection(backend):
    if backend.name != "mysql":
        pytest.skip("a protocol of MySQL")
    upstream.apply()
    connection = connect(backend)
    connection.query("CREATE DATABASE bwm_binary_rows COLLATE utf8mb4_bin")
    yield connection
    connection.query("DROP DATABASE bwm_binary_rows")
    connection.close()


@pytest.fixture
def connection(_connection):
    yield _connection
    _connection.query("DROP TABLE IF EXISTS bwm_binary_rows.one")


@pytest.fixture
def many(connection):
    """A table of 3,000 rows, in which each column but the first is null in some rows."""
    connection.query(
        "CREATE TABLE bwm_binary_rows.one (n INT PRIMARY KEY, tiny TINYINT, small SMALLINT, "
        "middle MEDIUMINT, whole INT, large BIGINT, plus INT UNSIGNED, level DOUBLE, "
        "money DECIMAL(20, 3), code CHAR(36), word VARCHAR(600), kind ENUM('x', 'y'), "
        "day DATE, time DATETIME(6))"
    )
    random = np.random.default_rng(0)
    statements = []
    for n in range(3000):
        time = datetime.datetime(1000 + 3 * n, 1 + n % 12, 1 + n % 28, n % 24, n % 60, n % 59, n)
        word = "é€🐭x" * (n % 7) if n % 100 else "ü" * random.integers(120, 300)
        of_row = [int(random.integers(-(2**bits), 2**bits)) for bits in (7, 15, 23, 31, 62)]
        of_row += [2**32 - 1 - n, random.normal() * 10.0 ** random.integers(-300, 300)]
        of_row += [Decimal(n * 10**9) / 7, f"{n:036}", word, "xy"[n % 2], time.date()]
        of_row += [[time, time.replace(microsecond=0), time.replace(2, 3, 4, 0, 0, 0, 0)][n % 3]]
        is_null = random.random(len(of_row)) < [0, 0.1, 0.9][n // 1000]
        of_row = [None if null else value for null, value in zip(is_null, of_row, strict=True)]
        statements.append((n, *of_row))
    connection._conn.cursor().executemany(
        f"INSERT INTO bwm_binary_rows.one VALUES ({','.join(['%s'] * 14)})", statements
    )
    types = dict.fromkeys(("n", "tiny", "small", "middle", "whole", "large", "plus"), INT)
    types |= {"level": FLOAT, "money": FLOAT, "code": TEXT, "word": TEXT, "kind": TEXT}
    return types | {"day": pa.date32(), "time": TIME}


def same(found, connection, statement, types):
    """Compare with the driver's rows, cell by cell."""
    expected = connection.query(statement).fetchall()
    columns = [column.to_pylist() for column in found.columns]
    assert found.column_names == list(types)
    assert [list(row) for row in zip(*columns, strict=True)] == [
        [float(value) if isinstance(value, Decimal) else value for value in row] for row in expected
    ]
    return len(expected)


@pytest.mark.parametrize(("received", "block"), [(2**18, 2**20), (7, 10), (4096, 3000)])
def test_every_type_is_what_the_driver_reads(connection, many, monkeypatch, received, block):
    monkeypatch.setattr(binary_rows, "RECEIVED", received)
    monkeypatch.setattr(binary_rows, "BLOCK", block)
    statement = f"SELECT {', '.join(many)} FROM bwm_binary_rows.one ORDER BY n"
    found = binary_rows.fetch(connection._conn, statement, many)
    assert same(found, connection, statement, many) == 3000
    assert found.schema.types == list(many.values())
    assert all(column.null_count > 900 for column in found.columns[1:])


def test_no_row_and_columns_of_nulls(connection, many):
    nothing = [f"NULLIF({name}, {name}) AS {name}" for name in many]
    asked = f"SELECT {', '.join(nothing)} FROM bwm_binary_rows.one"
    found = binary_rows.fetch(connection._conn, asked, many)
    assert same(found, connection, asked, many) == 3000
    assert all(column.null_count == 3000 for column in found.columns)
    asked = f"SELECT {', '.join(many)} FROM bwm_binary_rows.one WHERE n < 0"
    found = binary_rows.fetch(connection._conn, asked, many)
    assert (len(found), found.schema.types) == (0, list(many.values()))


@pytest.mark.parametrize("length", [0, 1, 250, 251, 255, 256, 65_535, 65_536, 2_000_000])
def test_text_of_every_length(connection, length):
    asked = f"SELECT 1 AS n, REPEAT('x', {length}) AS word UNION ALL SELECT 2, 'yz'"
    found = binary_rows.fetch(connection._conn, asked, {"n": INT, "word": TEXT})
    assert found.to_pydict() == {"n": [1, 2], "word": ["x" * length, "yz"]}


def test_the_zero_of_dates_is_no_date(connection):
    connection.query("SET SESSION sql_mode = ''")
    connection.query("CREATE TABLE bwm_binary_rows.one (day DATE, time DATETIME(6))")
    connection.query("INSERT INTO bwm_binary_rows.one VALUES (0, 0), ('1969-12-31', '1970-01-01')")
    asked = "SELECT day, time FROM bwm_binary_rows.one"
    found = binary_rows.fetch(connection._conn, asked, {"day": pa.date32(), "time": TIME})
    assert found.to_pydict() == {
        "day": [None, datetime.date(1969, 12, 31)],
        "time": [None, datetime.datetime(1970, 1, 1)],
    }


def test_columns_come_in_the_order_of_their_types(connection, many):
    asked = "SELECT level, n FROM bwm_binary_rows.one"
    found = binary_rows.fetch(connection._conn, asked, {"n": INT, "level": FLOAT})
    assert found.column_names == ["n", "level"]
    assert found["n"].to_pylist() == list(range(3000))


def prepared(connection):
    return int(connection.query("SHOW GLOBAL STATUS LIKE 'Prepared_stmt_count'").fetchone()[1])


@pytest.mark.parametrize(
    "column",
    ["no_such_column", "IF(n < 2500, n, (SELECT n FROM bwm_binary_rows.one))"],
    ids=["before the rows", "in the middle of the rows"],
)
def test_after_an_error_the_connection_goes_on(connection, many, monkeypatch, column):
    monkeypatch.setattr(binary_rows, "BLOCK", 1000)
    before = prepared(connection)
    for _ in range(3):
        asked = f"SELECT {column} AS n, word FROM bwm_binary_rows.one"
        with pytest.raises(dj.errors.DataJointError if "no" in column else Exception) as error:
            upstream.fetch_binary(connection, asked, {"n": INT, "word": TEXT})
        assert "no_such_column" in str(error.value) or "more than 1 row" in str(error.value)
        assert connection.query("SELECT 'mine'").fetchall() == (("mine",),)
    assert prepared(connection) == before


@pytest.fixture
def table(connection, many):
    return dj.FreeTable(connection, "`bwm_binary_rows`.`one`")


class Cut:
    """The file of a connection that is lost after some bytes: its end, or an error."""

    def __init__(self, file, error):
        self._file, self._error, self._n_reads = file, error, 0

    def read1(self, size):
        self._n_reads += 1
        if self._n_reads < 3:
            return self._file.read1(size)
        if self._error:
            raise ConnectionResetError("cut")
        return b""

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.mark.parametrize("error", [True, False], ids=["by an error", "by the end"])
def test_a_connection_that_is_lost_between_rows_is_made_again(
    connection, table, monkeypatch, error
):
    whole = rows.frame(table.proj("word"))
    monkeypatch.setattr(binary_rows, "RECEIVED", 1000)
    lost = connection._conn
    lost._rfile = Cut(lost._rfile, error)
    pd.testing.assert_frame_equal(rows.frame(table.proj("word")), whole)
    assert connection._conn is not lost


def test_an_interrupted_read_leaves_no_rows_to_the_next_query(connection, table, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(binary_rows, "_decode", interrupt)
        with pytest.raises(KeyboardInterrupt):
            rows.frame(table.proj("word"))
    assert connection.query("SELECT 'mine'").fetchall() == (("mine",),)
    assert len(rows.frame(table.proj("word"))) == 3000


def test_rows_of_the_open_transaction_are_seen(connection, table):
    with connection.transaction:
        connection.query("DELETE FROM bwm_binary_rows.one WHERE n >= 10")
        assert rows.frame(table.proj()).n.tolist() == list(range(10))
        connection.cancel_transaction()
        assert len(rows.frame(table.proj())) == 3000
        connection.start_transaction()


def test_a_connection_of_another_encoding_reads_the_same(connection, table, backend):
    with dj.config.override(connection__charset="latin1"):
        other = connect(backend)
    word = "SELECT word FROM bwm_binary_rows.one WHERE word LIKE %s ORDER BY n"
    expected = [row[0] for row in connection.query(word, ("%ü%",)).fetchall()]
    found = rows.frame(dj.FreeTable(other, "`bwm_binary_rows`.`one`") & "word LIKE '%ü%'")
    other.close()
    assert found.word.tolist() == expected
    assert len(expected) > 15
