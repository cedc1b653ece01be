"""How regular spike trains are: an example of tables of one's own, to copy and change.

`own_tables.md` says how. Connect before you import this.
"""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import connection, ephys, rows, storage
from schemas.errors import InconsistentData

schema = connection.schema("alice")


@schema
class RegularityDefinition(dj.Lookup):
    """Which intervals between spikes count."""

    definition = """
    # one row per definition of regularity
    regularity_definition  : varchar(32)   # name of the definition
    ---
    longest_interval       : float64       # (s) longer intervals are pauses, and left out
    min_intervals          : int32         # units with fewer intervals are not judged
    regularity_description : varchar(128)  # what it is for
    """
    contents = rows.lookup(
        "regularity_definition, longest_interval, min_intervals, regularity_description",
        ("session", 10.0, 100, "the whole recording, but for long pauses"),
        ("active", 0.5, 100, "while a unit fires at 2 Hz or more"),
    )


@schema
class Regularity(dj.Computed):
    """How regular the spike trains of the good units of a sort are."""

    definition = """
    # one row per sort of an insertion, criterion of good units and definition of regularity
    -> ephys.Spikes
    -> ephys.GoodUnits
    -> RegularityDefinition
    ---
    n_regularity_units : int32  # good units with enough intervals
    """

    class Unit(dj.Part):
        """A good unit; the measures are null where it has too few intervals."""

        definition = """
        # one row per good unit of a sort, criterion and definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        n_intervals            : int64    # intervals that count
        mean_interval = null   : float64  # (s) mean of the intervals
        interval_cv = null     : float64  # (ratio) standard deviation over mean; Poisson 1
        local_variation = null : float64  # (ratio) of neighbouring intervals; Poisson 1, clock 0
        """

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the good units' slices, and where the spikes are."""
        definition = (RegularityDefinition & key).fetch1()
        good = (ephys.GoodUnits.Unit & key & {"is_good": True}).proj()
        units = rows.frame(ephys.Spikes.Unit.proj("spike_offset", "n_unit_spikes") & good)
        return definition, units, (ephys.Spikes & key).fetch1("spikes").stored

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        units: pd.DataFrame,
        stored: dict[str, Any],
    ) -> tuple:
        """Read the spike times of the good units, and compute."""
        longest, n_min = definition["longest_interval"], definition["min_intervals"]
        if longest <= 0:
            raise InconsistentData("longest_interval must be above 0 s.", f"Regularity, {key}")
        spikes = storage.reference(stored)
        trains = spikes.read_slices("time", units.spike_offset, units.n_unit_spikes)
        measures = compute_regularity(trains, longest, n_min)
        return (pd.DataFrame({"cluster_id": units.cluster_id, **measures}),)

    def make_insert(self, key: dict[str, Any], units: pd.DataFrame) -> None:
        """Insert the units."""
        rows.insert1(self, {**key, "n_regularity_units": int(units.interval_cv.count())})
        rows.insert(self.Unit(), units, key)


def compute_regularity(
    trains: list[np.ndarray], longest: float, n_min: int
) -> dict[str, np.ndarray]:
    """Compute how regular spike trains are.

    Parameters
    ----------
    trains : list of U float arrays
        Spike times (s) of each unit, ascending.
    longest : float
        Intervals longer than this (s) are left out, and those of 0 s.
    n_min : int
        Units with fewer intervals get NaN.

    Returns
    -------
    dict
        Of (U,) arrays: `n_intervals`; `mean_interval` (s); `interval_cv`, the standard deviation
        over the mean; `local_variation`, the mean of 3 (a - b)^2 / (a + b)^2 over intervals a, b
        that follow each other (Shinomoto et al. 2003, Neural Computation 15:2823).
    """
    n_units = len(trains)
    unit = np.repeat(np.arange(n_units), np.array([len(train) for train in trains], dtype=int))
    interval = np.diff(np.concatenate([*trains, np.empty(0)]))
    # From the last spike of a unit to the first of the next there is no interval.
    chosen = (np.diff(unit) == 0) & (interval > 0) & (interval <= longest)
    pairs = chosen[:-1] & chosen[1:]
    a, b = interval[:-1][pairs], interval[1:][pairs]
    of, interval = unit[:-1][chosen], interval[chosen]
    n_intervals = np.bincount(of, minlength=n_units)

    def mean_by_unit(of: np.ndarray, values: np.ndarray) -> np.ndarray:
        n_values = np.bincount(of, minlength=n_units)
        judged = (n_intervals >= n_min) & (n_values > 0)
        return np.bincount(of, values, n_units) / np.where(judged, n_values, np.nan)

    mean = mean_by_unit(of, interval)
    return {
        "n_intervals": n_intervals,
        "mean_interval": mean,
        "interval_cv": np.sqrt(mean_by_unit(of, (interval - mean[of]) ** 2)) / mean,
        "local_variation": mean_by_unit(unit[:-2][pairs], 3 * ((a - b) / (a + b)) ** 2),
    }
