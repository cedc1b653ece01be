"""Errors of the two drivers: denied rights, deadlocks, a server that is away.

PyMySQL and psycopg2 raise classes of their own. This module alone knows their codes.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg2
import pymysql
from datajoint import errors

from schemas import disk
from schemas.errors import QueryError, ServerAway, ServerError

DENIED_BY_MYSQL = (1044, 1045, 1095, 1142, 1143, 1227, 1370, 1410)
DENIED_BY_POSTGRESQL = ("42501", "0LP01")
AWAY = (
    ServerAway,
    errors.LostConnectionError,
    pymysql.err.InterfaceError,
    psycopg2.InterfaceError,
    psycopg2.errors.AdminShutdown,
    psycopg2.errors.CrashShutdown,
    psycopg2.errors.CannotConnectNow,
    psycopg2.errors.TooManyConnections,
)
AWAY_MYSQL = {1040, 1053, 1152, 1184, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031}
DEADLOCK = (
    psycopg2.errors.DeadlockDetected,
    psycopg2.errors.LockNotAvailable,
    psycopg2.errors.SerializationFailure,
)
LOCK_TIMEOUT_MYSQL = 1205
DEADLOCK_MYSQL = {LOCK_TIMEOUT_MYSQL, 1213}
FULL_MYSQL, FULL_POSTGRESQL = (1021, 1114), "53100"
TRIES = 5
"""How often a statement or transaction runs that the server ends because of a deadlock."""

QUOTES = str.maketrans("", "", '`"')

ROLE_NEEDED = (
    "Ask an administrator of the database for a role that may: `bwm server grant` (populating and "
    "registering take a worker, creating tables an admin, making users the server's own account)."
)


T = TypeVar("T")


def is_server_away(error: BaseException) -> bool:
    """Return whether an error means that the server is stopped or cannot be reached."""
    if isinstance(error, pymysql.err.OperationalError):
        return error.args[0] in AWAY_MYSQL
    # psycopg2 raises this very class, without a code, where no server answered.
    return isinstance(error, AWAY) or type(error) is psycopg2.OperationalError


def is_disk_full(error: BaseException) -> bool:
    """Return whether a server could not write because its disk, or a quota, is full."""
    if isinstance(error, pymysql.err.MySQLError):
        return (
            error.args[0] in FULL_MYSQL
            or re.search(r"(errno:?|error) (28|122)\b", str(error)) is not None
        )
    if not isinstance(error, psycopg2.Error):
        return False
    return error.pgcode == FULL_POSTGRESQL or disk.NO_ROOM.search(str(error)) is not None


def is_deadlock(error: BaseException) -> bool:
    """Return whether the server ended a transaction in favour of another one."""
    if isinstance(error, pymysql.err.OperationalError):
        return error.args[0] in DEADLOCK_MYSQL
    return isinstance(error, DEADLOCK)


def is_lock_timeout(error: BaseException) -> bool:
    """Return whether a statement waited for a locked row for too long."""
    if isinstance(error, pymysql.err.OperationalError):
        return bool(error.args[0] == LOCK_TIMEOUT_MYSQL)
    return isinstance(error, psycopg2.errors.LockNotAvailable)


def retry_on_deadlock(
    run: Callable[[], T], unless: Callable[[BaseException], bool] = lambda _: False
) -> T:
    """Run a statement or transaction, and run it again after a deadlock.

    Deadlocks, lock time-outs and serialization failures are ordinary where several workers write
    to the same tables. The pause is random, so that two workers do not collide again.

    Parameters
    ----------
    run : callable
        Without arguments. It runs up to `TRIES` times; the last error is raised.
    unless : callable, optional
        Whether an error is raised at once, though it is one of these.
    """
    for _ in range(TRIES - 1):
        try:
            return run()
        except Exception as error:
            if unless(error) or not is_deadlock(error):
                raise
        time.sleep(random.uniform(0, 0.2))
    return run()


class AccessDenied(ServerError, errors.AccessError):
    """A right that the server denies: our error, and the class that DataJoint expects."""


def explain_denied_rights(adapter: Any, user: str) -> None:
    """Make a connection raise `AccessDenied` where its server denies a right.

    Parameters
    ----------
    adapter : datajoint.adapters.DatabaseAdapter
        Adapter of the connection.
    user : str
        Name of the connected user.
    """
    translate = type(adapter).translate_error

    def explained(error: Exception, query: str = "") -> Exception:
        if _has_forbidden_text(query) or _failed_on_text(error):
            what = "a name holds a character that databases cannot store, such as NUL."
            return QueryError(what, "the query", "Remove that character.")
        if not _is_denied(error):
            return translate(adapter, error, query)
        said = " ".join(str(error.args[-1]).split("\n")[0].split()) if error.args else "denied"
        what = f"user {user!r} may not {_describe(query)} ({said})."
        return AccessDenied(what, "the server", ROLE_NEEDED)

    adapter.translate_error = explained


@contextmanager
def explain_blocked_deletes() -> Iterator[None]:
    """Explain why rows cannot be deleted to which tables of other users refer.

    DataJoint first deletes the rows that refer to a row. Its own error does not name tables that
    the user may not see.

    Raises
    ------
    ServerError
        Tables of an analyst refer to the rows; nothing is deleted.
    """
    try:
        yield
    except errors.DataJointError as error:
        text = str(error)
        hidden = re.search(r"The table (\S+) is not defined", text)
        if not hidden and "Delete blocked" not in text:
            raise
        table = hidden[1] if hidden else "a table of another schema"
        what = f"rows are not deleted: {table} refers to them, and you may not change that table"
        raise ServerError(f"{what}.", "the server", BLOCKED) from error


BLOCKED = (
    "Ask its owner to delete the rows there, or an administrator of the database for rights on "
    "its schema: `bwm server grant worker USER --schema SCHEMA`."
)


def _is_denied(error: Exception) -> bool:
    if getattr(error, "pgcode", None) in DENIED_BY_POSTGRESQL:
        return True
    return bool(error.args) and error.args[0] in DENIED_BY_MYSQL


def _has_forbidden_text(query: str) -> bool:
    """Return whether a query has text that PostgreSQL refuses: NUL or a lone surrogate."""
    return re.search("[\0\ud800-\udfff]", query) is not None


def _failed_on_text(error: Exception) -> bool:
    """Return whether a driver refused such text among the values of a query."""
    return isinstance(error, UnicodeEncodeError) or (
        isinstance(error, ValueError) and "NUL" in str(error)
    )


def _describe(query: str) -> str:
    """Describe a query by its verb and table, without its values."""
    words = re.match(r"\s*(\w+(?: USER| ROLE)?)", query)
    verb = words[1].upper() if words else "QUERY"
    names = r'[`"][^`"]+[`"](?:\.[`"][^`"]+[`"])?'
    named = re.search(rf"(?:INTO|FROM|UPDATE|TABLE|DATABASE|SCHEMA)[A-Z ]*\s+({names})", query)
    return f"{verb} {named[1].translate(QUOTES)}" if named else verb
