"""The passive protocol after the task: nothing is asked of the mouse."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from schemas import rows, session, storage
from schemas.sources import base

schema = dj.Schema()


@schema
class PassivePeriods(session.ImportedFromFiles, dj.Imported):
    """When each part of the passive protocol ran."""

    definition = """
    # one row per session with a passive protocol
    -> session.Session
    ---
    n_periods : int16  # number of periods
    """

    class Period(dj.Part):
        """A part of the protocol, under the name that it was released with."""

        definition = """
        # one row per period of a passive protocol
        -> master
        passive_period      : varchar(32)  # name, e.g. spontaneousActivity
        ---
        period_start = null : float64      # (s) start; null where it did not run
        period_stop = null  : float64      # (s) end; null where it did not run
        """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("passive_periods",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the periods."""
        source, datasets = session.open_datasets(listed)
        return (source.load_passive_periods(datasets),)

    def make_insert(self, key: dict[str, Any], periods: base.Events) -> None:
        """Insert the periods and the files that they were read from."""
        names = {"period": "passive_period", "start": "period_start", "stop": "period_stop"}
        table = periods.frame.rename(columns=names)
        rows.insert1(self, {**key, "n_periods": len(table)})
        rows.insert(self.Period(), table, key)
        session.insert_sources(self.Source(), key, periods.files)


@schema
class ReceptiveField(session.ImportedFromFiles, dj.Imported):
    """Sparse noise: `time` (s) of each frame, and the grey level of each of its 15 x 15 squares.

    The squares are the columns `square_00_00` to `square_14_14` (row, column); where the raw
    stimulus was not released, there are none.
    """

    definition = f"""
    # one row per session with sparse noise
    -> session.Session
    ---
    n_noise_frames     : int32    # number of frames
    has_pattern        : bool     # whether the raw stimulus was released
    noise_start = null : float64  # (s) first frame; null where there is none
    noise_stop = null  : float64  # (s) last frame; null where there is none
    sparse_noise       : <parquet@{storage.STORE}>  # time (s), square_00_00 to square_14_14
    """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("receptive_field",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the times and the pattern."""
        source, datasets = session.open_datasets(listed)
        noise = source.load_receptive_field(datasets)
        return noise, storage.pack({"time": noise.time, **_squares(noise.pattern)})

    def make_insert(
        self, key: dict[str, Any], noise: base.ReceptiveField, packed: storage.Packed
    ) -> None:
        """Insert the frames and the files that they were read from."""
        first, last = (noise.time[0], noise.time[-1]) if len(noise.time) else (None, None)
        summary = {
            "n_noise_frames": packed.n_rows,
            "has_pattern": noise.pattern is not None,
            "noise_start": first,
            "noise_stop": last,
        }
        rows.insert1(self, {**key, **summary, "sparse_noise": packed})
        session.insert_sources(self.Source(), key, noise.files)


SIDE = 15
"""Squares along each side of a frame of sparse noise."""


def _squares(pattern: np.ndarray | None) -> dict[str, np.ndarray]:
    if pattern is None:
        return {}
    names = (f"square_{i:02d}_{j:02d}" for i in range(SIDE) for j in range(SIDE))
    return dict(zip(names, pattern.T, strict=True))


@schema
class StimulusKind(dj.Lookup):
    """What of the task is replayed, beside Gabor patches."""

    definition = """
    # one row per kind of replayed stimulus
    stimulus_kind             : varchar(8)    # name
    ---
    stimulus_kind_description : varchar(128)  # what the mouse sees, hears or gets
    """
    contents = rows.lookup(
        "stimulus_kind, stimulus_kind_description",
        ("valve", "the valve opens, as for a reward"),
        ("tone", "the go tone"),
        ("noise", "the white noise of an error"),
    )


@schema
class PassiveStimuli(session.ImportedFromFiles, dj.Imported):
    """Valve, tone and noise, replayed."""

    definition = """
    # one row per session with replayed stimuli
    -> session.Session
    ---
    n_stimuli : int16  # number of stimuli
    """

    class Stimulus(dj.Part):
        """A replayed stimulus."""

        definition = """
        # one row per replayed stimulus
        -> master
        stimulus              : int16    # number in order of time, from 0
        ---
        -> StimulusKind
        stimulus_start = null : float64  # (s) start; null where it was not detected
        stimulus_stop = null  : float64  # (s) end; null where it was not detected
        """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("passive_stimuli",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the stimuli."""
        source, datasets = session.open_datasets(listed)
        return (source.load_passive_stimuli(datasets),)

    def make_insert(self, key: dict[str, Any], stimuli: base.Events) -> None:
        """Insert the stimuli and the files that they were read from."""
        names = {"stimulus": "stimulus_kind", "start": "stimulus_start", "stop": "stimulus_stop"}
        table = stimuli.frame.reset_index(drop=True).rename(columns=names)
        rows.insert1(self, {**key, "n_stimuli": len(table)})
        rows.insert(self.Stimulus(), table.rename_axis("stimulus").reset_index(), key)
        session.insert_sources(self.Source(), key, stimuli.files)


@schema
class PassiveGabors(session.ImportedFromFiles, dj.Imported):
    """Gabor patches, replayed."""

    definition = """
    # one row per session with replayed Gabor patches
    -> session.Session
    ---
    n_gabors : int16  # number of patches
    """

    class Gabor(dj.Part):
        """A replayed Gabor patch."""

        definition = """
        # one row per replayed Gabor patch
        -> master
        gabor                 : int16    # number in order of time, from 0
        ---
        gabor_start = null    : float64  # (s) start; null where it was not detected
        gabor_stop = null     : float64  # (s) end; null where it was not detected
        gabor_position = null : float64  # (deg) azimuth, right positive
        gabor_contrast = null : float64  # (fraction) contrast
        gabor_phase = null    : float64  # (raw) phase, in the unit that it was released in
        """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("passive_gabors",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the patches."""
        source, datasets = session.open_datasets(listed)
        return (source.load_passive_gabors(datasets),)

    def make_insert(self, key: dict[str, Any], gabors: base.Events) -> None:
        """Insert the patches and the files that they were read from."""
        table = gabors.frame.reset_index(drop=True).add_prefix("gabor_")
        rows.insert1(self, {**key, "n_gabors": len(table)})
        rows.insert(self.Gabor(), table.rename_axis("gabor").reset_index(), key)
        session.insert_sources(self.Source(), key, gabors.files)
