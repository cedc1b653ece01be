"""Spike trains of the units of a sort, as tables that are computed from them need them."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from schemas import rows, storage
from schemas.ephys.criteria import GoodUnits
from schemas.ephys.sorting import Spikes


def with_labels(keys: dj.expression.QueryExpression) -> dj.expression.QueryExpression:
    """Return keys of sorts and definitions whose criterion is null or has labelled the sort."""
    # NULL in a join is equal to nothing.
    return (keys & ["criterion IS NULL", GoodUnits.proj()]).proj()


def fetch_slices(key: dict[str, Any], criterion: str | None = None) -> np.ndarray:
    """Fetch cluster, offset and number of spikes of the units, all or the good ones (U, 3)."""
    names = "cluster_id", "spike_offset", "n_unit_spikes"
    units = rows.frame(Spikes.Unit & key, columns=names).to_numpy()
    if criterion is None:
        return units
    good = GoodUnits.Unit & key & {"criterion": criterion, "is_good": True}
    return units[np.isin(units[:, 0], rows.frame(good, columns=["cluster_id"]).cluster_id)]


def read_trains(
    stored: dict[str, Any], slices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the spikes of some units: times (s) unit after unit, offsets and counts."""
    _, offsets, counts = slices.T
    trains = storage.reference(stored).read_slices("time", offsets, counts)
    return np.concatenate([*trains, np.empty(0)]), np.cumsum(counts) - counts, counts
