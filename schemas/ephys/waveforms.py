"""Mean waveforms of units, as released, and their shapes."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import imported, session, storage  # noqa: F401  (session: foreign keys)
from schemas.ephys.base import schema
from schemas.ephys.sorting import FromSortFiles, SpikeSorting
from schemas.errors import InconsistentData
from schemas.maths import waveform as maths
from schemas.sources import data

SAMPLING = 30_000.0
"""(Hz) Samples of a waveform in a second, the same in all released recordings."""


@schema
class Waveform(FromSortFiles, dj.Imported):
    """The mean waveform of each unit of a sort on its largest channel, as one object.

    Columns, sorted by the first two: `cluster`, `time` (ms, from the first sample), `amplitude` (V,
    as released; 0 or NaN for a unit without a waveform).
    """

    definition = f"""
    # one row per sort of an insertion
    -> SpikeSorting
    ---
    waveforms_of    : varchar(16)  # clusters, or templates where those of clusters are not listed
    n_waveforms     : int32        # number of units
    n_waveform_rows : int64        # number of rows of the object: units x samples
    waveforms       : <parquet@{storage.STORE}>  # cluster, time (ms), amplitude (V)
    """

    class Unit(dj.Part):
        """A unit's slice of the object, and its shape; null where a waveform has none."""

        definition = """
        # one row per cluster of a sort
        -> master
        -> SpikeSorting.Cluster
        ---
        waveform_offset                 : int64    # first row of the unit in the object
        n_waveform_samples              : int32    # number of rows: samples
        waveform_channel = null         : int16    # row of its channel among the sites
        waveform_height = null          : float64  # (V) from the lowest to the highest sample
        waveform_peak_to_trough = null  : float64  # (ms) highest after lowest sample, signed
        waveform_ratio = null           : float64  # (ratio) highest sample over depth of lowest
        waveform_half_width = null      : float64  # (ms) time beyond half of the larger of both
        """

    kinds = ("waveforms",)
    lengths = (("waveforms", "n_waveform_rows"),)
    candidates = SpikeSorting

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Listed datasets of each sort, of its own revision: others are of other units."""
        return super().listed & "revision = sorter_revision"

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Every imported spike sorting whose waveforms are listed."""
        return SpikeSorting.proj() & self.listed.proj()

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch what the source lists, and the sort's number of units."""
        n_clusters = (SpikeSorting & key).fetch1("n_clusters")
        return imported.fetch_datasets(self.listed & key), n_clusters

    def make_compute(  # type: ignore[override]
        self, key: dict[str, Any], listed: list[dict[str, Any]], n_clusters: int
    ) -> tuple:
        """Load the waveforms, and measure each on its largest channel."""
        source, datasets = imported.open_datasets(listed)
        loaded = source.load("waveforms", datasets)
        _check_units(loaded, n_clusters, f"{source.location}, session {key['eid']}")
        place = maths.pick_channels(loaded.waveform, loaded.channel)
        unit = np.arange(n_clusters)
        waveform = loaded.waveform[unit, :, place]  # without a channel, the last one
        units = pd.DataFrame(maths.compute_shapes(waveform, SAMPLING)).add_prefix("waveform_")
        channel = pd.Series(loaded.channel[unit, place], dtype="Int64")
        units["waveform_channel"] = channel.where(place >= 0)
        n_samples = waveform.shape[1]
        units = units.assign(cluster_id=unit, waveform_offset=unit * n_samples)
        row = {"waveforms_of": loaded.of, "n_waveforms": n_clusters}
        row |= {"n_waveform_rows": waveform.size, "waveforms": _pack(waveform)}
        return row, {"Unit": units.assign(n_waveform_samples=n_samples)}, loaded.files


def _check_units(loaded: data.Waveforms, n_clusters: int, where: str) -> None:
    """Raise an error if the waveforms are not those of the units of the spike sorting."""
    if len(loaded.waveform) != n_clusters:
        raise InconsistentData(
            f"{len(loaded.waveform)} {loaded.of}.waveforms, but the spike sorting has "
            f"{n_clusters} clusters.",
            f"{where}, {loaded.files[0].path}",
            "The waveforms and clusters are of different spike sortings: download both again.",
        )


def _pack(waveform: np.ndarray) -> storage.Packed:
    """Write waveforms (U, T) as columns."""
    unit, sample = (index.ravel() for index in np.indices(waveform.shape))
    return storage.pack(
        {
            "cluster": unit.astype(np.int32),
            "time": sample / SAMPLING * 1e3,
            "amplitude": waveform.ravel(),
        }
    )
