"""The only package that imports ONE: recordings that ONE-api lists and finds.

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

from typing import TYPE_CHECKING

from schemas.sources.one_api.bare import NAMESPACE, Known, session_id
from schemas.sources.one_api.folder import OneSource

if TYPE_CHECKING:
    from schemas.sources.one_api.alyx import AlyxSource

__all__ = ["NAMESPACE", "AlyxSource", "Known", "OneSource", "session_id"]
