"""Rights that the server denies, as one error that says whose, which, and what to do."""

from __future__ import annotations

import re
from typing import Any

from datajoint import errors

from schemas.errors import ServerError

DENIED_BY_MYSQL = (1044, 1142, 1143, 1227, 1370, 1410)
DENIED_BY_POSTGRESQL = "42501"
QUOTES = str.maketrans("", "", '`"')

ROLE_NEEDED = (
    "Ask an administrator of the database for a role that may: `bwm server grant` (populating and "
    "registering take a worker, creating tables an admin)."
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
        if not _is_denial(error):
            return translate(adapter, error, query)
        said = " ".join(str(error.args[-1]).split("\n")[0].split()) if error.args else "denied"
        what = f"user {user!r} may not {_asked(query)} ({said})."
        return AccessDenied(what, "the server", ROLE_NEEDED)

    adapter.translate_error = explained


def _is_denial(error: Exception) -> bool:
    if getattr(error, "pgcode", None) == DENIED_BY_POSTGRESQL:
        return True
    return bool(error.args) and error.args[0] in DENIED_BY_MYSQL


def _asked(query: str) -> str:
    """Name what a query does, and where, without its values."""
    words = re.match(r"\s*(\w+)", query)
    verb = words[1].upper() if words else "QUERY"
    names = r'[`"][^`"]+[`"](?:\.[`"][^`"]+[`"])?'
    named = re.search(rf"(?:INTO|FROM|UPDATE|TABLE|DATABASE|SCHEMA)[A-Z ]*\s+({names})", query)
    return f"{verb} {named[1].translate(QUOTES)}" if named else verb
