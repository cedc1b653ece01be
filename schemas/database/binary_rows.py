"""Rows of MySQL as typed columns, by its binary protocol.

PyMySQL asks for rows as text: the server writes each number as digits, and the driver makes a
Python object of each cell. A prepared statement returns numbers as they are stored. Its rows are
read here block by block, and each column of a block is taken out of the bytes at once, while the
server prepares the next block. The connection, its transaction and its snapshot stay DataJoint's.

The protocol: https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_binary_resultset.html
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pymysql import err
from pymysql.constants import COMMAND, CR, FIELD_TYPE
from pymysql.protocol import FieldDescriptorPacket

from schemas.database.buffers import spread, take, take_text

BLOCK = 2**20
"""Bytes of rows that are decoded at a time."""

RECEIVED = 2**18
"""Bytes that are read from the socket at a time."""

END = 0xFE
"""First byte of the packet after the last row; a row begins with 0, an error with 255."""

UNSIGNED = 32
"""Flag of a field."""

NUMBERS = {
    FIELD_TYPE.TINY: "i1",
    FIELD_TYPE.SHORT: "<i2",
    FIELD_TYPE.YEAR: "<i2",
    FIELD_TYPE.INT24: "<i4",
    FIELD_TYPE.LONG: "<i4",
    FIELD_TYPE.LONGLONG: "<i8",
    FIELD_TYPE.FLOAT: "<f4",
    FIELD_TYPE.DOUBLE: "<f8",
}
TIMES = (FIELD_TYPE.DATE, FIELD_TYPE.NEWDATE, FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP)


def fetch(driver: Any, statement: str, types: Mapping[str, pa.DataType]) -> pa.Table:
    """Fetch the rows of a statement.

    Parameters
    ----------
    driver : pymysql.Connection
        An open connection.
    statement : str
        A SELECT, without placeholders.
    types : mapping of str to pyarrow.DataType
        For each column of the statement its type in the table: a boolean, 64-bit number, string,
        date or time.

    Raises
    ------
    pymysql.MySQLError
        As by `cursor.execute`.
    """
    driver._execute_command(COMMAND.COM_STMT_PREPARE, statement)
    prepared = driver._read_packet().get_all_data()
    number, n_columns, _ = struct.unpack_from("<IHH", prepared, 1)
    for _ in range(n_columns + 1):  # and the end of the list
        driver._read_packet()
    try:
        driver._execute_command(COMMAND.COM_STMT_EXECUTE, struct.pack("<IBI", number, 0, 1))
        driver._read_packet()  # the number of columns
        fields = [driver._read_packet(FieldDescriptorPacket) for _ in range(n_columns)]
        driver._read_packet()
        return _read_table(driver, fields, types)
    finally:
        if driver.open:
            driver._execute_command(COMMAND.COM_STMT_CLOSE, struct.pack("<I", number))


def _read_table(
    driver: Any, fields: Sequence[FieldDescriptorPacket], types: Mapping[str, pa.DataType]
) -> pa.Table:
    schema = pa.schema([(field.name, types[field.name]) for field in fields])
    batches = []
    try:
        for data, at in _read_blocks(driver):
            columns = zip(_decode(data, at, fields), schema.types, strict=True)
            arrays = [column.cast(wanted) for column, wanted in columns]
            batches.append(pa.record_batch(arrays, schema=schema))
    except err.MySQLError:  # the server has told the end, or the connection is closed
        raise
    except BaseException:
        driver._force_close()  # rows that nobody reads would be taken for the next answer
        raise
    return pa.Table.from_batches(batches, schema).select(list(types))


def _read_blocks(driver: Any) -> Iterator[tuple[bytearray, np.ndarray]]:
    """Yield packets of rows, and where in them the rows begin, (n,).

    A packet can hold 16 MB, which no row of plain columns reaches.
    """
    data, at, place = bytearray(), array("q"), 0
    while True:
        data += _receive(driver)
        end = len(data)
        while place + 4 < end:
            begin = place + 4
            after = begin + (data[place] | data[place + 1] << 8 | data[place + 2] << 16)
            if after > end:
                break
            if data[begin]:
                yield data, np.array(at, np.int64)
                if data[begin] == END:
                    return
                err.raise_mysql_exception(bytes(data[begin:after]))
            at.append(begin)
            place = after
        if place > BLOCK:
            yield data, np.array(at, np.int64)
            data, at, place = data[place:], array("q"), 0


def _receive(driver: Any) -> bytes:
    """Receive what has come; a lost connection is told as PyMySQL tells it."""
    lost = "Lost connection to MySQL server during query"
    try:
        received = driver._rfile.read1(RECEIVED)
    except OSError as error:
        driver._force_close()
        raise err.OperationalError(CR.CR_SERVER_LOST, f"{lost} ({error})") from None
    if not received:
        driver._force_close()
        raise err.OperationalError(CR.CR_SERVER_LOST, lost)
    return bytes(received)


def _decode(
    data: bytearray, at: np.ndarray, fields: Sequence[FieldDescriptorPacket]
) -> Iterator[pa.Array]:
    """Yield the columns of rows, one after the other: the length of text moves what follows."""
    buffer = np.frombuffer(data, np.uint8)
    nulls = at + 1  # a bit for each column, from the third on, tells whether it is null
    at = nulls + (len(fields) + 9) // 8
    for number, field in enumerate(fields, 2):
        if number == 2 or number % 8 == 0:
            bits = buffer[nulls + number // 8]
        known = bits & 1 << number % 8 == 0
        if known.all():
            values, size = _take(buffer, at, field)
            at = at + size
        else:
            values, size = _take(buffer, at[known], field)
            values = spread(values, known)
            at[known] += size
        yield values


def _take(
    buffer: np.ndarray, at: np.ndarray, field: FieldDescriptorPacket
) -> tuple[pa.Array, int | np.ndarray]:
    """Return the values at some places, and how many bytes they take."""
    if field.type_code in NUMBERS:
        kind = NUMBERS[field.type_code]
        if field.flags & UNSIGNED:
            kind = kind.replace("i", "u")
        values = take(buffer, at, kind)
        return pa.array(values), values.itemsize
    return _times(buffer, at) if field.type_code in TIMES else _texts(buffer, at)


def _texts(buffer: np.ndarray, at: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Return texts, and decimals, which are written as text."""
    size = buffer[at].astype(np.int64)
    begin = at + 1
    for mark, width in ((252, 2), (253, 3)):  # the bytes that follow tell the length
        long = size == mark
        size[long] = sum(buffer[begin[long] + k].astype(np.int64) << 8 * k for k in range(width))
        begin[long] += width
    return take_text(buffer, begin, size), begin - at + size


def _times(buffer: np.ndarray, at: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """Return dates and times, of which the zeros at the end are left out."""
    size = buffer[at]

    def part(place: int, kind: str, least: int) -> np.ndarray:
        values, there = np.zeros(len(at), np.int64), size >= least
        values[there] = take(buffer, at[there] + place, kind)
        return values

    month = 12 * (part(1, "<u2", 4) - 1970) + part(3, "u1", 4) - 1
    days = month.astype("M8[M]").astype("M8[D]") + (part(4, "u1", 4) - 1)
    seconds = 3600 * part(5, "u1", 7) + 60 * part(6, "u1", 7) + part(7, "u1", 7)
    times = days.astype("M8[us]") + (1_000_000 * seconds + part(8, "<u4", 11))
    # A time without a day is MySQL's zero, which is no day of any calendar.
    return pa.array(times, mask=size == 0), size.astype(np.int64) + 1
