"""Sessions and insertions by the names that users have for them."""

from __future__ import annotations

from uuid import UUID

from schemas import probe, session
from schemas.errors import QueryError


def find_recording(name: str) -> dict[str, str]:
    """Return the key of a session or an insertion.

    Parameters
    ----------
    name : str
        eid of a session, or pid of an insertion; upper case and lower case are the same.

    Returns
    -------
    dict
        `eid`, and for an insertion `probe_name`.

    Raises
    ------
    QueryError
        It is no UUID, or nothing of that id is registered.
    """
    try:
        uuid = str(UUID(name))
    except ValueError:
        remedy = "Give the eid of a session or the pid of an insertion."
        raise QueryError(f"{name!r} is no UUID.", None, remedy) from None
    if session.Session & {"eid": uuid}:
        return {"eid": uuid}
    found = (probe.ProbeInsertion & {"pid": uuid}).proj().to_dicts()
    if not found:
        remedy = "Register it first: see `bwm register --help`."
        raise QueryError(f"no session and no insertion {uuid} is registered.", None, remedy)
    return found[0]
