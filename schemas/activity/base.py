"""What several tables of activity share: the schema, and how trials and spikes are fetched."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from schemas import behavior, ephys, rows, storage

schema = dj.Schema()


def defined(definition: type[dj.Lookup]) -> dj.expression.QueryExpression:
    """Return every sort and definition for which the trials and units that it asks for are."""
    every = ephys.Spikes.proj() * definition.proj("trial_mask", "criterion")
    every = every & behavior.TrialMask.proj()
    # NULL in a join is equal to nothing.
    return (every & ["criterion IS NULL", ephys.GoodUnits.proj()]).proj()


def fetch_slices(key: dict[str, Any], criterion: str | None = None) -> np.ndarray:
    """Fetch cluster, offset and number of spikes of the units, all or the good ones (U, 3)."""
    names = "cluster_id", "spike_offset", "n_unit_spikes"
    units = rows.frame(ephys.Spikes.Unit & key, columns=names).to_numpy()
    if criterion is None:
        return units
    good = ephys.GoodUnits.Unit & key & {"criterion": criterion, "is_good": True}
    return units[np.isin(units[:, 0], rows.frame(good, columns=["cluster_id"]).cluster_id)]


def fetch_trials(key: dict[str, Any], trial_mask: str, *columns: str) -> dict[str, np.ndarray]:
    """Fetch columns of all trials as floats, in order, and which of them are used."""
    trials = rows.frame(behavior.Trials.Trial & key, columns=["trial", *columns])
    mask = behavior.TrialMask.Trial & {"eid": key["eid"], "trial_mask": trial_mask}
    used = rows.frame(mask & {"is_used": True}, columns=["trial"]).trial
    found = {name: trials[name].to_numpy(float, na_value=np.nan) for name in columns}
    return {**found, "is_used": trials.trial.isin(used).to_numpy()}


def read_trains(
    stored: dict[str, Any], slices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the spikes of some units: times (s) unit after unit, offsets and counts."""
    _, offsets, counts = slices.T
    trains = storage.reference(stored).read_slices("time", offsets, counts)
    return np.concatenate([*trains, np.empty(0)]), np.cumsum(counts) - counts, counts


def sources(definition: dict[str, Any]) -> dict[str, Any]:
    """Return what refers to the trials and units that a row is computed from."""
    return {name: definition[name] for name in ("trial_mask", "criterion")}
