"""The only door to ONE: recordings that are listed and found by ONE-api.

- A folder with cache tables (`sessions.pqt`, `datasets.pqt`, perhaps `insertions.pqt`) has the
  true ids of Alyx. It is opened in ONE's local mode, with no login and no network, and nothing is
  ever written into it.
- A bare tree of ALF files has none. Its sessions get ids that depend on lab, subject, date and
  number alone (`session_id`), so that they are the same at every run and on every machine; the
  tables that ONE needs are written below the project's home.
- A URL is a metadata server (Alyx). What it lists is written into the tables of a cache folder,
  and files are downloaded beside them when they are needed: the cache is at every time a folder
  of the first kind, for a machine without network.

Files and tables become records in one place (`records`), whichever way they came.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from schemas.settings import AlyxSettings
from schemas.sources.base import Source, is_url
from schemas.sources.one_api.bare import NAMESPACE, Known, session_id
from schemas.sources.one_api.folder import OneSource

if TYPE_CHECKING:
    from schemas.sources.one_api.alyx import AlyxSource

__all__ = ["NAMESPACE", "AlyxSource", "Known", "OneSource", "open_source", "session_id"]


def open_source(
    location: str | Path,
    home: str | Path,
    known: Known | None = None,
    alyx: AlyxSettings | None = None,
) -> Source:
    """Open a place that offers recordings.

    Parameters
    ----------
    location : str or Path
        Folder of ONE, or URL of a metadata server.
    home : str or Path
        Folder of this project, where tables of its own may be written.
    known : mapping, optional
        Ids that are known already: bare sessions get those instead of made ones.
    alyx : AlyxSettings, optional
        How a metadata server is asked. Its login is for `alyx.url` and for no other server.
    """
    if is_url(str(location)):
        from schemas.sources.one_api.alyx import AlyxSource

        return AlyxSource(str(location), home, alyx)
    return OneSource(location, home, known)
