"""What a full disk looks like: of the system, of the two servers, and of what they cause."""

import errno

import psycopg2
import pymysql
import pytest

from schemas import connection, disk
from schemas.database.driver_errors import is_disk_full
from schemas.errors import DiskFull, SourceError


class OfPostgresql(psycopg2.errors.DiskFull):
    pgcode = "53100"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (pymysql.err.OperationalError(1021, "Disk full (/tmp/x); waiting"), True),
        (pymysql.err.OperationalError(1114, "The table 't' is full"), True),
        (pymysql.err.InternalError(3, "Error writing file 'x' (OS errno 28 - No space)"), True),
        (pymysql.err.OperationalError(1030, "Got error 28 - 'No space' from storage engine"), True),
        (pymysql.err.OperationalError(3, "Error writing file 'x' (OS errno 5 - I/O)"), False),
        (pymysql.err.OperationalError(1205, "Lock wait timeout exceeded"), False),
        (OfPostgresql('could not extend file "base/5/1"'), True),
        (
            psycopg2.OperationalError("FATAL:  could not write init file: No space left on device"),
            True,
        ),
        (psycopg2.OperationalError("server closed the connection unexpectedly"), False),
        (ValueError("No space left on device"), False),
    ],
)
def test_errors_of_a_server_with_a_full_disk(error, full):
    assert is_disk_full(error) == full
    assert (connection.full_disk(error) is not None) == full


def caused(error):
    """An error that another one caused."""
    try:
        try:
            raise error
        except Exception as cause:
            raise SourceError("it failed.") from cause
    except SourceError as result:
        return result


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_what_a_full_disk_caused_is_its_error(number, tmp_path):
    found = connection.full_disk(caused(OSError(number, "full", str(tmp_path / "x" / "file"))))
    assert isinstance(found, DiskFull)
    assert found.where == tmp_path / "x" / "file"
    assert "MB are free, more are needed" in found.what
    assert connection.full_disk(caused(found)) is found
    assert connection.full_disk(caused(OSError(errno.EACCES, "no", str(tmp_path)))) is None


def test_the_message_has_the_free_and_the_needed_space(tmp_path):
    with (
        pytest.raises(DiskFull, match=r"[\d,]+\.\d MB are free, 1,234\.5 MB are needed"),
        disk.room_for(tmp_path / "not there" / "file", 1_234_500_000),
    ):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(PermissionError), disk.room_for(tmp_path):
        raise PermissionError(errno.EACCES, "no")
