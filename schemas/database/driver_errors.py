"""Rights that the server denies, as one error that says whose, which, and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from datajoint import errors

from schemas.errors import QueryError, ServerError

DENIED_BY_MYSQL = (1044, 1045, 1142, 1143, 1227, 1370, 1410)
DENIED_BY_POSTGRESQL = ("42501", "0LP01")
QUOTES = str.maketrans("", "", '`"')

ROLE_NEEDED = (
    "Ask an administrator of the database for a role that may: `bwm server grant` (populating and "
    "registering take a worker, creating tables an admin, making users the server's own account)."
)


class AccessDenied(ServerError, errors.AccessError):
    """The server denies a user a right: an error of ours, and the one that DataJoint expects."""


def explain_denials(adapter: Any, user: str) -> None:
    """Let a connection raise `AccessDenied` where its server denies a right.

    Parameters
    ----------
    adapter : datajoint.adapters.DatabaseAdapter
        That of the connection.
    user : str
        Who is connected.
    """
    translate = type(adapter).translate_error

    def explained(error: Exception, query: str = "") -> Exception:
        if _is_no_text(query) or _found_no_text(error):
            what = "a name holds a character that no text has, as NUL."
            return QueryError(what, "the question", "Leave it out.")
        if not _is_denial(error):
            return translate(adapter, error, query)
        said = " ".join(str(error.args[-1]).split("\n")[0].split()) if error.args else "denied"
        what = f"user {user!r} may not {_asked(query)} ({said})."
        return AccessDenied(what, "the server", ROLE_NEEDED)

    adapter.translate_error = explained


@contextmanager
def explain_blocked_deletes() -> Iterator[None]:
    """Say what to do where rows cannot be deleted because tables of others refer to them.

    DataJoint deletes what refers to a row before the row, and has no words for tables that the
    user may not even see.

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
        what = f"rows are not deleted, because {table} refers to them, which is not yours to change"
        raise ServerError(f"{what}.", "the server", BLOCKED) from error


BLOCKED = (
    "Ask its owner to delete the rows there, or an administrator of the database for rights on "
    "its schema: `bwm server grant worker USER --schema SCHEMA`."
)


def _is_denial(error: Exception) -> bool:
    if getattr(error, "pgcode", None) in DENIED_BY_POSTGRESQL:
        return True
    return bool(error.args) and error.args[0] in DENIED_BY_MYSQL


def _is_no_text(query: str) -> bool:
    """Whether a server cannot take a text: PostgreSQL no NUL, and neither half a character."""
    return re.search("[\0\ud800-\udfff]", query) is not None


def _found_no_text(error: Exception) -> bool:
    """Whether a driver found such a text among values: psycopg2 takes NUL for their end."""
    return isinstance(error, UnicodeEncodeError) or (
        isinstance(error, ValueError) and "NUL" in str(error)
    )


def _asked(query: str) -> str:
    """Name what a query does, and where, without its values."""
    words = re.match(r"\s*(\w+(?: USER| ROLE)?)", query)
    verb = words[1].upper() if words else "QUERY"
    names = r'[`"][^`"]+[`"](?:\.[`"][^`"]+[`"])?'
    named = re.search(rf"(?:INTO|FROM|UPDATE|TABLE|DATABASE|SCHEMA)[A-Z ]*\s+({names})", query)
    return f"{verb} {named[1].translate(QUOTES)}" if named else verb
