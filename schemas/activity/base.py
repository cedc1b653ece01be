"""What several tables of activity share: the schema, and how trials and spikes are fetched."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from schemas import behavior, ephys, rows
from schemas.ephys import fetch_slices, read_trains

__all__ = ["defined", "fetch_slices", "fetch_trials", "read_trains", "schema", "sources"]

schema = dj.Schema()


def defined(definition: type[dj.Lookup]) -> dj.expression.QueryExpression:
    """Return every sort and definition for which the trials and units that it asks for are."""
    every = ephys.Spikes.proj() * definition.proj("trial_mask", "criterion")
    return ephys.with_labels(every & ["trial_mask IS NULL", behavior.TrialMask.proj()])


def fetch_trials(key: dict[str, Any], trial_mask: str, *columns: str) -> dict[str, np.ndarray]:
    """Fetch columns of all trials as floats, in order, and which of them are used."""
    trials = rows.frame(behavior.Trials.Trial & key, columns=["trial", *columns])
    mask = behavior.TrialMask.Trial & {"eid": key["eid"], "trial_mask": trial_mask}
    used = rows.frame(mask & {"is_used": True}, columns=["trial"]).trial
    found = {name: trials[name].to_numpy(float, na_value=np.nan) for name in columns}
    return {**found, "is_used": trials.trial.isin(used).to_numpy()}


def sources(definition: dict[str, Any]) -> dict[str, Any]:
    """Return what refers to the trials and units that a row is computed from."""
    return {name: definition[name] for name in ("trial_mask", "criterion")}
