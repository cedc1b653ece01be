"""Rows of many keys, gathered by table and inserted together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import datajoint as dj
import pandas as pd

from schemas import rows
from schemas.database.declared import with_parts

Table = type[dj.Table]


class Gathered:
    """Rows by table; the tables are inserted in the order in which they were first named."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[dict[str, Any]]] = defaultdict(list)
        self._frames: dict[Table, list[pd.DataFrame]] = defaultdict(list)

    def add(
        self,
        table: Table,
        key: Mapping[str, Any],
        row: Mapping[str, Any],
        parts: Mapping[str, pd.DataFrame] | None = None,
    ) -> None:
        """Add the row of a key, and the rows of its part tables."""
        self._rows[table].append({**key, **row})
        for name, frame in (parts or {}).items():
            self._frames[getattr(table, name)].append(frame.assign(**key))

    def insert(self) -> None:
        """Insert all rows, each table's before those of its part tables."""
        for table, of_table in self._rows.items():
            rows.insert(table, of_table, allow_direct_insert=True)
            for part in with_parts(table)[1:]:
                if part in self._frames:
                    rows.insert(part, pd.concat(self._frames[part], ignore_index=True))
