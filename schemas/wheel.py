"""The steering wheel."""

from __future__ import annotations

from typing import Any

import datajoint as dj

from schemas import rows, session, storage
from schemas.sources import base

schema = dj.Schema()


@schema
class Wheel(session.FromFiles, dj.Imported):
    """The trace of the wheel: `time` (s, uneven), `position` (rad, + counter-clockwise)."""

    definition = f"""
    # one row per session with a wheel
    -> session.Session
    ---
    n_samples   : int32    # number of samples
    wheel_start : float64  # (s) time of the first sample
    wheel_end   : float64  # (s) time of the last sample
    wheel_trace : <parquet@{storage.STORE}>  # columns time (s) and position (rad)
    """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("wheel",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the trace."""
        source, datasets = session.open_datasets(listed)
        wheel = source.load_wheel(datasets)
        return wheel, storage.pack({"time": wheel.time, "position": wheel.position})

    def make_insert(self, key: dict[str, Any], wheel: base.Wheel, trace: storage.Packed) -> None:
        """Insert the trace and the files that it was read from."""
        span = {"wheel_start": wheel.time[0], "wheel_end": wheel.time[-1]}
        rows.insert1(self, {**key, "n_samples": trace.n_rows, **span, "wheel_trace": trace})
        session.insert_sources(self.Source(), key, wheel.files)
