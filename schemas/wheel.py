"""The steering wheel: its trace, its movements, and the first movement of each trial."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, imported, rows, session, storage  # noqa: F401  (session: foreign keys)
from schemas.maths import wheel as maths
from schemas.sources import data

schema = dj.Schema()


@schema
class Wheel(imported.ImportedFromFiles, dj.Imported):
    """The trace of the wheel: `time` (s, uneven), `position` (rad, + counter-clockwise)."""

    definition = f"""
    # one row per session with a wheel
    -> session.Session
    ---
    n_samples          : int32       # number of samples
    wheel_start = null : float64     # (s) time of the first sample; null where there is none
    wheel_end = null   : float64     # (s) time of the last sample; null where there is none
    wheel_unit         : varchar(3)  # unit of the released positions: rad, cm or deg
    wheel_trace        : <parquet@{storage.STORE}>  # columns time (s) and position (rad)
    """

    kinds = ("wheel",)
    lengths = (("wheel_trace", "n_samples"),)

    def as_rows(self, loaded: data.Wheel) -> imported.AsRows:
        """Return the trace, its length and its span."""
        trace = storage.pack({"time": loaded.time, "position": loaded.position})
        span = imported.span("wheel_start, wheel_end", loaded.time)
        facts = {"n_samples": trace.n_rows, **span, "wheel_unit": loaded.unit}
        return {**facts, "wheel_trace": trace}, {}


@schema
class MovesDefinition(definitions.Checked, dj.Lookup):
    """What is called a movement of the wheel, and a trial's first movement."""

    definition = """
    # one row per definition of a movement
    moves_definition    : varchar(32)   # name of the definition
    ---
    moves_rate          : float64       # (Hz) samples a second of the trace that is searched
    moving_threshold    : float64       # (count) the wheel moves if it covers more in the window
    moving_window       : float64       # (s) length of that window, from the sample on
    onset_threshold     : float64       # (count) a movement starts when it is farther from rest
    min_move_gap        : float64       # (s) movements closer than this are one
    min_move_duration   : float64       # (s) a shorter one is none
    smoothing_points    : int16         # length of the Gaussian for the peak velocity, in samples
    smoothing_sd        : float64       # (sample) its standard deviation
    filter_corner       : float64       # (Hz) low pass of the velocity that tells directions
    filter_order        : int16         # order of that filter, a Butterworth run both ways
    min_first_amplitude : float64       # (rad) a smaller movement is not a trial's first
    default_quiescence  : float64       # (s) quiescence of a trial that tells none
    moves_description   : varchar(128)  # where the definition is used
    """
    positive = ("moves_rate", "moving_window", "smoothing_points", "smoothing_sd", "filter_corner")
    contents = rows.lookup(
        "moves_definition, moves_rate, moving_threshold, moving_window, onset_threshold, "
        "min_move_gap, min_move_duration, smoothing_points, smoothing_sd, "
        "filter_corner, filter_order, min_first_amplitude, default_quiescence, moves_description",
        (
            *("ibl", 1000.0, 8.0, 0.2, 1.5, 0.1, 0.05, 10, 1.8, 20.0, 8, 0.1, 0.2),
            "extraction of the International Brain Laboratory",
        ),
    )


DETECTION = (
    "moves_rate",
    "moving_threshold",
    "moving_window",
    "onset_threshold",
    "min_move_gap",
    "min_move_duration",
    "smoothing_points",
    "smoothing_sd",
    "filter_corner",
    "filter_order",
)
"""Columns of `MovesDefinition` that movements are found and measured by."""


@schema
class WheelMoves(dj.Computed):
    """Movements of the wheel, in and between trials."""

    definition = """
    # one row per session with a wheel and definition of a movement
    -> Wheel
    -> MovesDefinition
    ---
    n_moves            : int32  # number of movements
    encoder_resolution : int32  # counts a revolution, inferred from the median step
    """

    class Move(dj.Part):
        """A movement; its direction is the sign of its amplitude, + counter-clockwise."""

        definition = """
        # one row per movement
        -> master
        move                : int32    # number of the movement in the session, from 0
        ---
        move_onset          : float64  # (s) start
        move_offset         : float64  # (s) end
        peak_amplitude      : float64  # (rad) largest excursion from the start, signed
        peak_velocity_time  : float64  # (s) time of the highest speed
        n_direction_changes : int32    # changes of direction between start and end
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every wheel and definition."""
        return Wheel.proj() * MovesDefinition.proj()

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition and where the trace is."""
        definition = (MovesDefinition & key).fetch1()
        trace = (Wheel & key).fetch1("wheel_trace")
        return {name: definition[name] for name in DETECTION}, trace.stored

    def make_compute(
        self, key: dict[str, Any], detection: dict[str, Any], stored: dict[str, Any]
    ) -> tuple:
        """Find and measure the movements."""
        trace = storage.reference(stored).read()
        moves = maths.compute_moves(trace["time"], trace["position"], **detection)
        resolution = moves.pop("encoder_resolution")
        return resolution, pd.DataFrame(moves).rename_axis("move").reset_index()

    def make_insert(self, key: dict[str, Any], resolution: int, moves: pd.DataFrame) -> None:
        """Insert the movements."""
        rows.insert1(self, {**key, "n_moves": len(moves), "encoder_resolution": resolution})
        rows.insert(self.Move(), moves, key)


@schema
class FirstMovement(dj.Computed):
    """The first large movement of each trial, found anew: the released one is in the trial."""

    definition = """
    # one row per session with wheel and trials and definition of a movement
    -> WheelMoves
    -> behavior.Trials
    ---
    n_first_moves  : int32  # trials with a first movement
    n_without_move : int32  # trials without, though both events are known
    n_unknown_move : int32  # trials whose go cue or feedback is missing
    """

    class Trial(dj.Part):
        """When the wheel started to move in a trial; it may precede the stimulus."""

        definition = """
        # one row per trial and definition of a movement
        -> master
        -> behavior.Trials.Trial
        ---
        detected_movement_time = null : float64  # (s) onset; null where there is none
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every session with movements and trials."""
        return WheelMoves.proj() * behavior.Trials.proj()

    def make(self, key: dict[str, Any]) -> None:
        """Find them between the start of the quiescence and the feedback."""
        definition = (MovesDefinition & key).fetch1()
        moves = rows.frame(WheelMoves.Move & key)
        trials = rows.frame(behavior.Trials.Trial & key)
        go_cue, feedback, quiescence = (trials[name].to_numpy(float) for name in EVENTS)
        first = maths.find_first_moves(
            moves.move_onset.to_numpy(float),
            moves.peak_amplitude.to_numpy(float),
            go_cue,
            feedback,
            quiescence,
            definition["min_first_amplitude"],
            definition["default_quiescence"],
        )
        found, unknown = ~np.isnan(first), np.isnan(go_cue) | np.isnan(feedback)
        counts = {"n_first_moves": found.sum(), "n_unknown_move": unknown.sum()}
        counts["n_without_move"] = (~found & ~unknown).sum()
        rows.insert1(self, {**key, **counts})
        trials["detected_movement_time"] = first
        rows.insert(self.Trial(), trials[["trial", "detected_movement_time"]], key)


EVENTS = ("go_cue_time", "feedback_time", "quiescence_period")
"""Columns of a trial that bound its first movement."""
