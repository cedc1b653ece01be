"""The only package that imports ONE: recordings that ONE-api lists and finds.

- A folder with cache tables (`sessions.pqt`, `datasets.pqt`, optionally `insertions.pqt`) has the
  ids of Alyx. It is opened in ONE's local mode, without login or network, and is never changed.
- A bare tree of ALF files has no ids. Ids are computed from lab, subject, date and number
  (`session_id`), the same on every machine; the tables for ONE are in the project's home.
- A URL is a metadata server (Alyx). Its sessions are written into the tables of a cache folder, and
  files are downloaded when they are needed. The cache is a folder of the first type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from schemas.sources.one_api.bare import NAMESPACE, Known, session_id
from schemas.sources.one_api.folder import OneSource

if TYPE_CHECKING:
    from schemas.sources.one_api.alyx import AlyxSource

__all__ = ["NAMESPACE", "AlyxSource", "Known", "OneSource", "session_id"]
