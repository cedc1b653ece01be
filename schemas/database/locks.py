"""The lock under which tables are created or upgraded: each wait has a limit and says its cause."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import datajoint as dj

from schemas.database.driver_errors import is_deadlock
from schemas.errors import ServerError

LONGEST_WAIT = 120.0
"""Seconds to wait for another process that creates or upgrades tables."""

LONGEST_TABLE_WAIT = 60
"""Seconds to wait for another connection that uses a table which is to be created or altered."""

PAUSE = 0.2

TRY = {"mysql": "SELECT GET_LOCK(%s, 0)", "postgresql": "SELECT pg_try_advisory_lock(hashtext(%s))"}
RELEASE = {
    "mysql": "SELECT RELEASE_LOCK(%s)",
    "postgresql": "SELECT pg_advisory_unlock(hashtext(%s))",
}
HOLDER = {
    "mysql": "SELECT IS_USED_LOCK(%s)",
    "postgresql": "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND objid = hashtext(%s)::oid",
}
LIMIT = {
    "mysql": f"SET SESSION lock_wait_timeout = {LONGEST_TABLE_WAIT}",
    "postgresql": f"SET lock_timeout = '{LONGEST_TABLE_WAIT}s'",
}
NO_LIMIT = {
    "mysql": "SET SESSION lock_wait_timeout = DEFAULT",
    "postgresql": "RESET lock_timeout",
}


@contextmanager
def one_at_a_time(
    connection: dj.Connection, prefix: str, seconds: float | None = None
) -> Iterator[None]:
    """Hold the lock of a prefix: processes that create tables at once would disturb each other.

    The server releases the lock when the connection ends. Statements within wait for other users
    of a table no longer than `LONGEST_TABLE_WAIT`.

    Parameters
    ----------
    connection : datajoint.Connection
    prefix : str
        Prefix of the databases.
    seconds : float, optional
        Longest wait for the lock; default `LONGEST_WAIT`.

    Raises
    ------
    ServerError
        Another connection holds the lock, or uses a table, for too long.
    """
    # Version 0.4.0 has the same name of the lock: it waits while tables are upgraded.
    backend, name = connection.adapter.backend, (f"bwm activate {prefix}",)
    _acquire(connection, prefix, LONGEST_WAIT if seconds is None else seconds)
    try:
        connection.query(LIMIT[backend])
        yield
    except Exception as error:
        if not is_deadlock(error):
            raise
        text = str(error.args[-1]).splitlines()[0]
        what = f"another connection uses a table for more than {LONGEST_TABLE_WAIT} s ({text})."
        raise ServerError(what, prefix, "Run the command again when it has ended.") from error
    finally:
        if connection.is_connected:
            connection.query(NO_LIMIT[backend])
            connection.query(RELEASE[backend], name).fetchall()


def _acquire(connection: dj.Connection, prefix: str, seconds: float) -> None:
    backend, name = connection.adapter.backend, (f"bwm activate {prefix}",)
    deadline = time.monotonic() + seconds
    is_holder_named = False
    while not connection.query(TRY[backend], name).fetchone()[0]:
        found = connection.query(HOLDER[backend], name).fetchone()
        holder = f"connection {found[0]}" if found and found[0] else "another connection"
        if time.monotonic() > deadline:
            what = f"{holder} creates or upgrades the tables for more than {seconds:g} s."
            raise ServerError(what, prefix, END_IT)
        if not is_holder_named:
            text = f"Waiting up to {seconds:g} s for {holder}, which creates or upgrades {prefix}."
            warnings.warn(text, stacklevel=2)
            is_holder_named = True
        time.sleep(PAUSE)


END_IT = (
    "Run the command again when it has ended. If its process hangs, end the process, or let an "
    "administrator of the server end the connection."
)
