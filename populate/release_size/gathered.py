"""Rows of many keys, gathered by table and inserted together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import rows
from schemas.database.declared import with_parts

Table = type[dj.Table]
Row = Mapping[str, Any]


class Gathered:
    """Rows by table, in the order in which tables were first added; part tables follow."""

    def __init__(self) -> None:
        self._rows: dict[Table, list[Row]] = defaultdict(list)
        self._parts: dict[Table, list[tuple[Row, pd.DataFrame]]] = defaultdict(list)

    def add(
        self, table: Table, key: Row, row: Row, parts: Mapping[str, pd.DataFrame] | None = None
    ) -> None:
        """Add the row of a key, and the rows of its part tables."""
        self._rows[table].append({**key, **row})
        for name, frame in (parts or {}).items():
            self.add_part(getattr(table, name), key, frame)

    def add_part(self, part: Table, key: Row, frame: pd.DataFrame) -> None:
        """Add rows of a part table; `key` gives the columns that the frame lacks."""
        self._parts[part].append((key, frame))

    def insert(self) -> None:
        """Insert all rows."""
        for table, of_table in self._rows.items():
            rows.insert(table, of_table, allow_direct_insert=True)
            for part in with_parts(table)[1:]:
                if part in self._parts:
                    _insert_part(part, *zip(*self._parts[part], strict=True))


def _insert_part(part: Table, keys: tuple[Row, ...], frames: tuple[pd.DataFrame, ...]) -> None:
    own = rows.as_columns(part(), pd.concat(frames, ignore_index=True))
    place = np.repeat(np.arange(len(frames)), [len(frame) for frame in frames]).tolist()
    shared = {name: [key[name] for key in keys] for name in keys[0]}
    of_keys = {name: [values[k] for k in place] for name, values in shared.items()}
    rows.insert_columns(part(), {**of_keys, **own})
