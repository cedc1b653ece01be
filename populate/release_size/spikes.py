"""Spikes of a spike sorting: drawn one by one, or at a few times, so that their object is small."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import parquet, storage
from schemas.sources.simulator import ephys
from schemas.sources.simulator.population import DURATION

N_TIMES = 32
"""Number of times at which all spikes lie that are not drawn one by one."""

GAIN = (0.8, 1.6)


@dataclass(frozen=True)
class Spikes:
    """Spikes of n units as they are stored.

    Attributes
    ----------
    counts : (n,) int array
        Spikes of each unit, one at least.
    first, last : (n,) float arrays
        First and last spike of each unit (s).
    packed : Packed
        Object with the columns cluster, time, amplitude and depth.
    """

    counts: np.ndarray
    first: np.ndarray
    last: np.ndarray
    packed: storage.Packed

    @property
    def span(self) -> tuple[float, float]:
        """First and last spike of any unit (s)."""
        return float(self.first.min()), float(self.last.max())


def few_times(rng: np.random.Generator, counts: np.ndarray) -> Spikes:
    """Spread the spikes of each unit evenly over a few times.

    Amplitude and depth are those of the unit; Parquet stores runs of equal values in few bytes.
    """
    n = len(counts)
    edges = counts[:, None] * np.arange(N_TIMES + 1) // N_TIMES
    runs = np.diff(edges, axis=1)
    times = np.linspace(0.5, DURATION - 0.5, N_TIMES)
    place = np.repeat(np.tile(np.arange(N_TIMES, dtype=np.int32), n), runs.ravel())
    unit = pa.array(np.repeat(np.arange(n, dtype=np.int32), counts))
    columns = {
        "cluster": (unit, np.arange(n, dtype=np.int32)),
        "time": (pa.array(place), times),
        "amplitude": (unit, rng.lognormal(np.log(70e-6), 0.4, n)),
        "depth": (unit, rng.uniform(0, 3840, n)),
    }
    table = pa.table(
        {
            name: pa.DictionaryArray.from_arrays(index, pa.array(values))
            for name, (index, values) in columns.items()
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=parquet.ROW_GROUP,
        compression="lz4",
        store_schema=False,
        write_page_checksum=True,
        write_statistics=False,
    )
    buffer = memoryview(sink.getvalue())
    digest = hashlib.sha256(buffer).hexdigest()
    packed = storage.Packed(tuple(columns), table.num_rows, buffer, digest)
    first = (runs > 0).argmax(axis=1)
    last = N_TIMES - 1 - (runs[:, ::-1] > 0).argmax(axis=1)
    return Spikes(counts, times[first], times[last], packed)


def draw_spikes(
    rng: np.random.Generator, units: pd.DataFrame, counts: np.ndarray, stimuli: np.ndarray
) -> Spikes:
    """Draw each spike of the units, as `ephys.simulate_spikes` does.

    Parameters
    ----------
    rng : numpy.random.Generator
    units : DataFrame
        With `amp_median` (V) and `axial` (um).
    counts : (n,) int array
        Spikes of each unit.
    stimuli : (T,) float array
        Onsets of the stimuli (s), after which units fire at another rate.
    """
    rate = counts / DURATION
    planned = pd.DataFrame(
        {
            "rate": rate,
            "evoked_rate": rate * rng.uniform(*GAIN, len(rate)),
            "dead_time": np.minimum(0.002, 0.2 / rate),
            "n_spikes": counts,
            "depth": units["axial"].to_numpy(),
            "amplitude": units["amp_median"].to_numpy(),
            "spread": 2.0,
            "noise": "low",
        }
    )
    spikes = ephys.simulate_spikes(rng, planned, stimuli, DURATION)
    ends = spikes.start[1:] - 1
    columns = {
        "cluster": spikes.unit.astype(np.uint32),
        "time": spikes.times,
        "amplitude": spikes.amps,
        "depth": spikes.depths,
    }
    return Spikes(
        counts, spikes.times[spikes.start[:-1]], spikes.times[ends], storage.pack(columns)
    )
