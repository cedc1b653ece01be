"""The passive protocol after the task, and receptive fields from its sparse noise."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import definitions, ephys, imported, rows, session, storage  # noqa: F401  (session: foreign keys)
from schemas.maths import receptive as maths
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


SQUARES = tuple(f"square_{i:02d}_{j:02d}" for i in range(SIDE) for j in range(SIDE))
"""Columns of the squares of a frame, row after row."""


def _squares(pattern: np.ndarray | None) -> dict[str, np.ndarray]:
    return {} if pattern is None else dict(zip(SQUARES, pattern.T, strict=True))


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


@schema
class FieldDefinition(definitions.Checked, dj.Lookup):
    """How receptive fields are computed from spikes after onsets of squares, and for which units.

    The largest average of a unit is compared with that of permutations of the frames.
    """

    definition = """
    # one row per definition of a receptive field
    field_definition   : varchar(32)   # name of the definition
    ---
    lag_start          : float64       # (s) from the onset of a square
    lag_end            : float64       # (s) from the onset of a square
    field_permutations : int32         # number of permutations of the frames
    field_seed         : int32         # seed of the permutations
    field_level        : float64       # (fraction) of permutations up to which a field is one
    -> [nullable] ephys.UnitCriterion
    field_description  : varchar(128)  # what it shows; without criterion it is of all units
    """
    ascending = (("lag_start", "lag_end"),)
    positive = ("field_level",)
    contents = rows.lookup(
        "field_definition, lag_start, lag_end, field_permutations, field_seed, field_level, "
        "criterion, field_description",
        ("early", 0.03, 0.13, 199, 0, 0.01, "ibl_2022", "first spikes after the onset of a square"),
    )


@schema
class UnitReceptiveField(dj.Computed):
    """Receptive fields of units: mean spikes after onsets of white (on) and black (off) squares.

    Columns of the object, sorted by the first three: `cluster`, `row`, `column` (of the square),
    `on` and `off` (spikes per onset), `on_z` and `off_z` (standard deviations from what
    permutations of the frames give); NaN where a square has no onset.
    """

    definition = f"""
    # one row per sort of an insertion and definition of a receptive field
    -> ephys.Spikes
    -> ReceptiveField
    -> FieldDefinition
    ---
    -> [nullable] ephys.GoodUnits
    n_onset_frames   : int32  # frames with an onset whose window lies within the recording
    n_field_units    : int32  # units that the object holds
    n_field_rows     : int32  # rows of the object: units x squares
    receptive_fields : <parquet@{storage.STORE}>  # cluster, row, column, on, off, on_z, off_z
    """

    class Unit(dj.Part):
        """A unit's slice of the object, and the square with the largest z; null without any z."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        field_offset          : int64       # first row of the unit in the object
        n_unit_squares        : int32       # number of rows
        peak_polarity = null  : varchar(3)  # on (white) or off (black)
        peak_row = null       : int16       # row of the square, from 0
        peak_column = null    : int16       # column of the square, from 0
        peak_count = null     : float64     # (count) mean spikes after its onsets
        peak_field_z = null   : float64     # (sd) from the mean of permutations
        field_p = null        : float64     # (probability) of so large a z in any square by chance
        has_field = null      : bool        # whether this is no more than the level
        """

    lengths = (("receptive_fields", "n_field_rows"),)

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort, noise and definition whose units are known."""
        noise = (ReceptiveField & "has_pattern = TRUE").proj()
        return ephys.with_labels(ephys.Spikes.proj() * noise * FieldDefinition.proj("criterion"))

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the units' slices, and where spikes and frames are."""
        definition = (FieldDefinition & key).fetch1()
        slices = ephys.fetch_slices(key, definition["criterion"])
        sort = (ephys.Spikes & key).fetch1()
        noise = (ReceptiveField & key).fetch1("sparse_noise")
        return definition, slices, sort | {"spikes": sort["spikes"].stored}, noise.stored

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        slices: np.ndarray,
        sort: dict[str, Any],
        noise: dict[str, Any],
    ) -> tuple:
        """Compute the fields."""
        frames = storage.reference(noise).read()
        time = frames.pop("time")
        squares = np.column_stack([frames[name] for name in SQUARES])
        lag = definition["lag_start"], definition["lag_end"]
        onsets = np.hstack([maths.find_onsets(squares, level) for level in maths.LEVELS.values()])
        within = _within(time, lag, sort)
        chance = definition["field_permutations"], definition["field_seed"]
        trains = ephys.read_trains(sort["spikes"], slices)
        found = maths.compute_fields(*trains, time[within], onsets[within], lag, *chance)
        return definition, found["n_frames"], _field_rows(slices[:, 0], found, definition)

    def make_insert(
        self, key: dict[str, Any], definition: dict[str, Any], n_frames: int, found: tuple
    ) -> None:
        """Insert the object and the units' slices and peaks."""
        units, packed = found
        counts = {"n_onset_frames": n_frames, "n_field_units": len(units)}
        counts["n_field_rows"] = packed.n_rows
        sources = {"criterion": definition["criterion"]}
        rows.insert1(self, {**key, **sources, **counts, "receptive_fields": packed})
        rows.insert(self.Unit(), units, key)


def _within(time: np.ndarray, lag: tuple[float, float], sort: dict[str, Any]) -> np.ndarray:
    """Find the frames whose window lies within a recording, from its first to its last spike."""
    if sort["first_spike"] is None:
        return np.zeros(len(time), dtype=bool)
    return (time + lag[0] >= sort["first_spike"]) & (time + lag[1] <= sort["last_spike"])


def _field_rows(
    cluster_id: np.ndarray, found: dict[str, Any], definition: dict[str, Any]
) -> tuple[pd.DataFrame, storage.Packed]:
    """Return the rows of units, and the object with their fields."""
    n_units, n_squares = len(cluster_id), SIDE**2
    row, column = (np.tile(of.ravel(), n_units) for of in np.indices((SIDE, SIDE)))
    columns = {"cluster": np.repeat(cluster_id, n_squares), "row": row, "column": column}
    shape = n_units, len(maths.LEVELS), n_squares
    fields = {name: found[name].reshape(shape) for name in ("mean", "z")}
    for k, polarity in enumerate(maths.LEVELS):
        columns[polarity] = fields["mean"][:, k].ravel()
        columns[f"{polarity}_z"] = fields["z"][:, k].ravel()
    is_known = found["peak"] >= 0
    peak = np.where(is_known, found["peak"], 0)
    at = np.arange(n_units), peak
    units = pd.DataFrame(
        {
            "cluster_id": cluster_id,
            "field_offset": np.arange(n_units) * n_squares,
            "n_unit_squares": n_squares,
            "peak_polarity": np.array(list(maths.LEVELS), object)[peak // n_squares],
            "peak_row": pd.array(peak % n_squares // SIDE, dtype="Int64"),
            "peak_column": pd.array(peak % SIDE, dtype="Int64"),
            "peak_count": found["mean"][at],
            "peak_field_z": found["z"][at],
            "field_p": found["p"],
            "has_field": pd.array(found["p"] <= definition["field_level"], dtype="boolean"),
        }
    )
    units.loc[~is_known, list(PEAK_COLUMNS)] = pd.NA
    return units, storage.pack(columns)


PEAK_COLUMNS = (
    "peak_polarity",
    "peak_row",
    "peak_column",
    "peak_count",
    "peak_field_z",
    "has_field",
)
"""Columns of a unit that are null where it has no z."""
