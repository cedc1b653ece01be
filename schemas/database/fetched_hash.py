"""Tell whether two things that `make_fetch` returned are equal, by a hash of each."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
from deepdiff import DeepHash

SCALARS = (
    *(type(None), str, bytes, int, float, Decimal, UUID, PurePath, np.generic),
    *(datetime.date, datetime.time, datetime.timedelta),
)
"""Types whose `repr` says everything."""


class FetchedHash:
    """Stands in for `deepdiff.DeepHash` where DataJoint compares what was fetched twice.

    Equal values have equal hashes: numbers, text and times by their `repr`, arrays by type, shape
    and bytes, frames by column, containers by their items in order, and other objects as
    `DeepHash` does. NaN is equal to NaN.
    """

    def __init__(self, value: Any, **_: Any) -> None:
        self._digest = hashlib.blake2b(digest_size=16)
        self._add(value)

    def __getitem__(self, _: Any) -> str:
        return self._digest.hexdigest()

    def _add(self, value: Any) -> None:
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            self._say("array", value.dtype.descr, value.shape)
            self._digest.update(value.tobytes())
        elif isinstance(value, np.ndarray):
            self._say("objects", value.shape)
            self._add(value.ravel().tolist())
        elif isinstance(value, pd.DataFrame):
            self._add({"index": value.index, **{str(name): value[name] for name in value}})
        elif isinstance(value, (pd.Series, pd.Index)):
            self._say("column", value.dtype, len(value))
            self._digest.update(pd.util.hash_pandas_object(value, index=False).to_numpy().data)
        elif isinstance(value, Mapping):
            self._say("mapping", len(value))
            for key, item in value.items():
                self._say(key)
                self._add(item)
        elif isinstance(value, (list, tuple)):
            self._say("sequence", len(value))
            for item in value:
                self._add(item)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            self._say(type(value).__name__)
            self._add(vars(value))
        elif isinstance(value, SCALARS):
            self._say(type(value).__name__, value)
        else:
            self._say(DeepHash(value)[value])

    def _say(self, *parts: Any) -> None:
        self._digest.update(repr(parts).encode(errors="surrogatepass"))
