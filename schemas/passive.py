"""The passive protocol after the task: nothing is asked of the mouse."""

from __future__ import annotations

import datajoint as dj
import numpy as np

from schemas import imported, rows, session, storage  # noqa: F401  (session: foreign keys)
from schemas.sources import data

schema = dj.Schema()


@schema
class PassivePeriods(imported.ImportedFromFiles, dj.Imported):
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

    kinds = ("passive_periods",)

    def as_rows(self, loaded: data.Events) -> imported.AsRows:
        """Return the number of periods, and each period."""
        names = {"period": "passive_period", "start": "period_start", "stop": "period_stop"}
        return {"n_periods": len(loaded.frame)}, {"Period": loaded.frame.rename(columns=names)}


@schema
class ReceptiveField(imported.ImportedFromFiles, dj.Imported):
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

    kinds = ("receptive_field",)
    lengths = (("sparse_noise", "n_noise_frames"),)

    def as_rows(self, loaded: data.ReceptiveField) -> imported.AsRows:
        """Return the frames, their number and their span."""
        packed = storage.pack({"time": loaded.time, **_squares(loaded.pattern)})
        row = {
            "n_noise_frames": packed.n_rows,
            "has_pattern": loaded.pattern is not None,
            **imported.span("noise_start, noise_stop", loaded.time),
            "sparse_noise": packed,
        }
        return row, {}


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
class PassiveStimuli(imported.ImportedFromFiles, dj.Imported):
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

    kinds = ("passive_stimuli",)

    def as_rows(self, loaded: data.Events) -> imported.AsRows:
        """Return the number of stimuli, and each stimulus."""
        names = {"stimulus": "stimulus_kind", "start": "stimulus_start", "stop": "stimulus_stop"}
        table = loaded.frame.reset_index(drop=True).rename(columns=names)
        table = table.rename_axis("stimulus").reset_index()
        return {"n_stimuli": len(table)}, {"Stimulus": table}


@schema
class PassiveGabors(imported.ImportedFromFiles, dj.Imported):
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

    kinds = ("passive_gabors",)

    def as_rows(self, loaded: data.Events) -> imported.AsRows:
        """Return the number of patches, and each patch."""
        table = loaded.frame.reset_index(drop=True).add_prefix("gabor_")
        table = table.rename_axis("gabor").reset_index()
        return {"n_gabors": len(table)}, {"Gabor": table}
