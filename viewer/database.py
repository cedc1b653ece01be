"""The one connection to the database: held by one request at a time, and read-only."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar

import datajoint as dj

from schemas import connection
from schemas.database.driver_errors import is_server_away
from schemas.errors import BwmError
from viewer.errors import Busy

Answer = TypeVar("Answer")

QUERY_SECONDS = 30
"""Time after which the server ends a query."""

WAIT_SECONDS = 60
"""Time for which a request waits for those before it."""

TIMED_OUT = ("canceling statement due to statement timeout", "maximum statement execution time")

_lock = threading.Lock()
_prepared: Any = None
_prepared_id: int | None = None
_kept: dict[Hashable, tuple[Any, float, Any]] = {}


def ask(question: Callable[[], Answer]) -> Answer:
    """Run a question while no other request uses the connection, and return its answer.

    The tables of DataJoint share one connection in a process, which takes one query at a time. A
    question that finds the connection lost is asked once more over a new one.

    Raises
    ------
    Busy
        The server is away, a query takes too long, or the requests before this one do.
    """
    if not _lock.acquire(timeout=WAIT_SECONDS):
        remedy = "Reload the page in a minute."
        raise Busy("the requests before this one take too long.", None, remedy)
    try:
        try:
            return _ask(question)
        except Exception as error:
            if not is_server_away(error):
                raise
        with suppress(Exception):
            connection.reconnect()
        return _ask(question)
    except BwmError:
        raise
    except Exception as error:
        if busy := _explain(error):
            raise busy from error
        raise
    finally:
        _lock.release()


def _ask(question: Callable[[], Answer]) -> Answer:
    _prepare()
    return question()


def _prepare() -> None:
    """Let the connection read only, and no query run for long; once for each connection."""
    global _prepared, _prepared_id
    server: Any = dj.conn()
    if server is _prepared and server.connection_id == _prepared_id:
        return
    if server.adapter.backend == "mysql":
        server.query("SET SESSION TRANSACTION READ ONLY")
        server.query(f"SET SESSION max_execution_time = {1000 * QUERY_SECONDS}")
    else:
        server.query("SET default_transaction_read_only = on")
        server.query(f"SET statement_timeout = '{QUERY_SECONDS}s'")
    _prepared, _prepared_id = server, server.connection_id


def keep(key: Hashable, seconds: float, make: Callable[[], Answer]) -> Answer:
    """Return what was made for a key over this connection some seconds ago at most, or make it."""
    of, at, found = _kept.get(key, (None, 0.0, None))
    if of is not dj.conn() or time.monotonic() - at >= seconds:
        found = make()
        _kept[key] = dj.conn(), time.monotonic(), found
    return found


def release() -> None:
    """Give the connection back as it was: other code of the process may write with it."""
    global _prepared, _prepared_id
    with _lock:
        if _prepared is not None and _prepared.is_connected:
            if _prepared.adapter.backend == "mysql":
                _prepared.query("SET SESSION TRANSACTION READ WRITE")
                _prepared.query("SET SESSION max_execution_time = DEFAULT")
            else:
                _prepared.query("RESET default_transaction_read_only; RESET statement_timeout")
        _prepared = _prepared_id = None


def _explain(error: Exception) -> Busy | None:
    if is_server_away(error):
        return Busy("the database server does not answer.", None, "Reload the page in a minute.")
    if any(words in str(error) for words in TIMED_OUT):
        what = f"a query took longer than {QUERY_SECONDS} s, and was ended."
        return Busy(what, None, "Choose fewer data, or run the query of this page yourself.")
    return None
