"""Notices of releases, and warnings where fetched data are touched by one."""

from __future__ import annotations

import functools
import inspect
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import datajoint as dj
import pandas as pd

from schemas import release
from schemas.errors import NoticeWarning
from schemas.views.session import find_recording, require

P = ParamSpec("P")
R = TypeVar("R")
Recordings = set[tuple[str, str | None]]
"""Recordings: eid, and name of the probe or None for data of the session."""


def notices(
    recording: str | None = None, release_name: str | None = None
) -> dj.expression.QueryExpression:
    """Return notices about data of releases: errata and notes.

    Parameters
    ----------
    recording : str, optional
        Only notices that touch this session (eid) or insertion (pid): that name it, or, of an
        insertion, its session, or that are about a whole release with it.
    release_name : str, optional
        Only notices about this release.

    Returns
    -------
    expression
        Rows of `release.Notice`: `notice_name`, `release_name`, `data_kind` (null for all kinds),
        `notice_since`, `notice_text`, `notice_source`.

    Raises
    ------
    QueryError
        No such recording or release.
    """
    found = release.Notice()
    if release_name is not None:
        require(release.Release, "release_name", release_name)
        found = found & {"release_name": release_name}
    if recording is None:
        return found
    key = find_recording(recording)
    return found & _touching({(key["eid"], key.get("probe_name"))})


def warn_of(kind: str, recordings: pd.DataFrame | Mapping[str, Any]) -> None:
    """Warn, once, of the notices that touch fetched data.

    Within a function that has `one_warning`, the warning waits for the end of that function.

    Parameters
    ----------
    kind : str
        Kind of the data: a row of `session.DataKind`.
    recordings : DataFrame or mapping
        Recordings that the data are of: `eid`, and `probe_name` of data of insertions.
    """
    if isinstance(recordings, pd.DataFrame):
        columns = [name for name in KEY if name in recordings]
        found = recordings[columns].drop_duplicates().to_dict("records")
    else:
        found = [dict(recordings)]
    touched = {(str(row["eid"]), row.get("probe_name")) for row in found}
    waiting = _waiting.get()
    if waiting is None:
        _warn({kind: touched})
    else:
        waiting.setdefault(kind, set()).update(touched)


KEY = ("eid", "probe_name")

_waiting: ContextVar[dict[str, Recordings] | None] = ContextVar("waiting", default=None)


def one_warning(view: Callable[P, R]) -> Callable[P, R]:
    """Let a view, which fetches by other views, warn of notices in one warning and query."""

    @functools.wraps(view)
    def asked(*arguments: P.args, **options: P.kwargs) -> R:
        if _waiting.get() is not None:
            return view(*arguments, **options)
        with _collecting() as touched:
            found = view(*arguments, **options)
        _warn(touched)
        return found

    return asked


@contextmanager
def _collecting() -> Iterator[dict[str, Recordings]]:
    """Collect what views would warn of; without `_warn`, nothing is said."""
    touched: dict[str, Recordings] = {}
    token = _waiting.set(touched)
    try:
        yield touched
    finally:
        _waiting.reset(token)


without_warning = _collecting
"""Context in which views do not warn, because the whole result was checked before."""


def _warn(touched: Mapping[str, Recordings]) -> None:
    """Warn of the notices that touch data, in one query; in none if there are no notices."""
    touched = {kind: recordings for kind, recordings in touched.items() if recordings}
    if not touched or _is_known_empty():
        return
    about = [
        (release.Notice & _of_kind(kind) & _touching(recordings, kind)).proj()
        for kind, recordings in touched.items()
    ]
    found = (release.Notice & about).to_dicts(order_by="KEY")
    if found:
        warnings.warn(_say(found), NoticeWarning, stacklevel=_users_level())
    elif not release.Notice():
        _remember_empty()


def _of_kind(kind: str) -> list[Any]:
    return [{"data_kind": kind}, "data_kind IS NULL"]


def _touching(recordings: Recordings, kind: str | None = None) -> list[Any]:
    """Return restrictions, of which one must hold, of notices that touch some recordings.

    A notice about insertions touches data of their session only if it names that kind of data:
    trials are as they were where a probe is not.
    """
    # Ids and names of probes come from the database, which has none with a quote.
    eids = ", ".join(f"'{eid}'" for eid in sorted({eid for eid, _ in recordings}))
    eids = f"eid IN ({eids})"
    with_probe = [(eid, probe) for eid, probe in recordings if probe is not None]
    exact = eids
    if with_probe:
        pairs = ", ".join(f"('{eid}', '{probe}')" for eid, probe in sorted(with_probe))
        exact = f"(eid, probe_name) IN ({pairs})"
    of_insertions = release.Notice.Insertion & exact
    if kind is not None and not with_probe:
        of_insertions = of_insertions & (release.Notice & {"data_kind": kind}).proj()
    named = [release.Notice.Session.proj(), release.Notice.Insertion.proj()]
    whole = release.Notice.proj("release_name") - named[0] - named[1]
    whole = whole & (release.Release.Insertion & exact).proj()
    return [(release.Notice.Session & eids).proj(), of_insertions.proj(), whole.proj()]


def _say(found: list[dict[str, Any]]) -> str:
    said = "; ".join(
        f"{row['notice_name']} (since {row['notice_since']}"
        f"{', ' + row['data_kind'] if row['data_kind'] else ''}): {row['notice_text']} "
        f"[{row['notice_source']}]"
        for row in found
    )
    number = f"{len(found)} notices touch" if len(found) > 1 else "A notice touches"
    return f"{number} these data: {said}"


def _users_level() -> int:
    """Return the level in the stack of the user's line, for a warning raised by the caller."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").startswith("schemas."):
        frame, level = frame.f_back, level + 1
    return level


# --- whether there are notices at all ------------------------------------------------------------

ASK_AGAIN = 60.0
"""(s) How long a process takes for granted that there is no notice."""

_empty: list[Any] = []
"""Connection, database and time (s) of the last answer that there is no notice."""


def _is_known_empty() -> bool:
    return (
        len(_empty) == 3
        and _empty[0] is dj.conn()
        and _empty[1] == release.schema.database
        and time.monotonic() - _empty[2] < ASK_AGAIN
    )


def _remember_empty() -> None:
    _empty[:] = [dj.conn(), release.schema.database, time.monotonic()]


def forget() -> None:
    """Let the next view ask whether there are notices: this process has written some."""
    _empty.clear()
