"""Peri-stimulus time histograms by condition."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, ephys, rows, storage  # noqa: F401  (foreign keys)
from schemas.activity.base import defined, fetch_slices, fetch_trials, read_trains, schema, sources
from schemas.errors import InconsistentData
from schemas.maths import psth as maths

SPLITS = (
    ("side", True, False, False, False, False, "left and right stimulus"),
    ("contrast", True, True, False, False, False, "signed contrast, two zeros"),
    ("choice", False, False, True, False, False, "left and right choice, and none"),
    ("outcome", False, False, False, True, False, "correct, error and no_go"),
    ("block", False, False, False, False, True, "blocks of the prior 0.2, 0.5 and 0.8"),
)
"""Splits that are made with and without halves of even and odd trials."""

HALVES = ", each of even and of odd trials"

HISTOGRAMS = (
    ("stimulus_side", "stim_on_time", "side", "stimulus, left and right"),
    ("stimulus_contrast", "stim_on_time", "contrast", "stimulus by signed contrast"),
    ("stimulus_block", "stim_on_time", "block", "stimulus by block of the prior"),
    ("movement_choice", "first_movement_time", "choice", "movement by choice"),
    ("feedback_outcome", "feedback_time", "outcome", "reward and error"),
)
"""Histograms of all trials: definition, event, split, and what it shows."""

HALVED = ("stimulus_side", "movement_choice", "feedback_outcome")
"""Those that are made of even and of odd trials too, as `<name>_parity`."""


@schema
class TrialSplit(definitions.Checked, dj.Lookup):
    """Into which conditions trials are split: every combination of what is told apart.

    Even and odd trials are halves for cross-validation.
    """

    definition = """
    # one row per way to split trials into conditions
    trial_split       : varchar(32)   # name of the split
    ---
    by_side           : bool          # side of the stimulus, that of zero contrast kept
    by_contrast       : bool          # contrast of the stimulus, whatever its side
    by_choice         : bool          # side of the choice, or none
    by_outcome        : bool          # correct, error or no_go
    by_block          : bool          # prior of a left stimulus
    by_parity         : bool          # even or odd number of the trial in its session
    split_description : varchar(128)  # conditions that it makes
    """
    contents = rows.lookup(
        "trial_split, by_side, by_contrast, by_choice, by_outcome, by_block, by_parity, "
        "split_description",
        *(
            (name + suffix, *factors, is_halved, shows + halves)
            for is_halved, suffix, halves in ((False, "", ""), (True, "_parity", HALVES))
            for name, *factors, shows in SPLITS
        ),
        ("none", False, False, False, False, False, False, "all trials together"),
        ("parity", False, False, False, False, False, True, "even and odd trials"),
    )


@schema
class PsthDefinition(definitions.Checked, dj.Lookup):
    """What a peri-stimulus time histogram is: event, bins, conditions, trials and units."""

    definition = """
    # one row per definition of a histogram
    psth_definition  : varchar(32)   # name of the definition
    ---
    -> behavior.TrialEvent
    psth_start       : float64       # (s) from the event; a bin that it cuts is whole
    psth_end         : float64       # (s) from the event; a bin that it cuts is whole
    bin_width        : float64       # (s) width of a bin; the event is the edge of two
    -> TrialSplit
    -> behavior.TrialMaskDefinition
    -> [nullable] ephys.UnitCriterion
    psth_description : varchar(128)  # what it shows; without criterion it is of all units
    """
    ascending = (("psth_start", "psth_end"),)
    positive = ("bin_width",)
    contents = rows.lookup(
        "psth_definition, trial_event, psth_start, psth_end, bin_width, trial_split, trial_mask, "
        "criterion, psth_description",
        *(
            (name + suffix, event, -0.5, 1.0, 0.05, split + suffix, "bwm", "ibl_2022", shows + end)
            for suffix, end in (("", ""), ("_parity", HALVES))
            for name, event, split, shows in HISTOGRAMS
            if not suffix or name in HALVED
        ),
    )


@schema
class Psth(dj.Computed):
    """Rates around an event by condition, mean and standard error over trials, as one object.

    Columns of the object, sorted by the first three: `cluster`, `condition` (its number), `time`
    (s, centre of the bin from the event), `mean` (Hz), `sem` (Hz); NaN where there are too few
    trials.
    """

    definition = f"""
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> PsthDefinition
    ---
    -> behavior.TrialMask
    -> [nullable] ephys.GoodUnits
    n_psth_units     : int32  # units that the object holds
    n_unsplit_trials : int32  # trials in use that lack what tells conditions apart
    psth             : <parquet@{storage.STORE}>  # cluster, condition, time (s), mean, sem (Hz)
    """

    class Condition(dj.Part):
        """A condition that occurs in the session; null is what the definition does not split by."""

        definition = """
        # one row per condition of a definition
        -> master
        condition_number     : int16        # number in the object, from 0
        ---
        psth_condition       : varchar(64)  # name, e.g. left 0.25
        psth_side = null     : varchar(5)   # side of the stimulus
        psth_contrast = null : float64      # (fraction) contrast of the stimulus
        psth_choice = null   : varchar(5)   # side of the choice, or no_go
        psth_outcome = null  : varchar(8)   # correct, error or no_go
        psth_prior = null    : float64      # (fraction) prior of a left stimulus
        psth_parity = null   : varchar(4)   # even or odd number of the trial
        n_psth_events        : int32        # events that are averaged
        n_psth_dropped       : int32        # trials in use that lack the event
        """

    class Unit(dj.Part):
        """A unit's slice of the object."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        psth_offset : int64  # first row of the unit in the object
        n_psth_rows : int32  # number of rows: conditions x bins
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition whose trials and units are known."""
        return defined(PsthDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the trials, the units' slices and where the spikes are."""
        definition = (PsthDefinition * TrialSplit & key).fetch1()
        split = maths.SPLIT_COLUMNS
        needed = {column for name in _split_by(definition) for column in split[name]}
        columns = sorted({definition["trial_event"], *needed})
        trials = fetch_trials(key, definition["trial_mask"], *columns)
        slices = fetch_slices(key, definition["criterion"])
        return definition, trials, slices, (ephys.Spikes & key).fetch1("spikes").stored

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        trials: dict[str, np.ndarray],
        slices: np.ndarray,
        stored: dict[str, Any],
    ) -> tuple:
        """Average the rates."""
        edges = _edges(definition)
        factors = {name: maths.compute_factor(name, trials) for name in _split_by(definition)}
        whole = {"all": np.zeros(len(trials["is_used"]))}
        condition, levels = maths.split_trials(factors or whole)
        used = np.where(trials["is_used"], condition, -1)
        n_conditions = int(condition.max(initial=-1)) + 1
        found = maths.compute_psth(
            *read_trains(stored, slices),
            trials[definition["trial_event"]],
            used,
            n_conditions,
            edges,
        )
        n_unsplit = int((trials["is_used"] & (condition < 0)).sum())
        conditions = _condition_rows(levels, n_conditions, found)
        return definition, slices[:, 0], conditions, n_unsplit, _pack(slices[:, 0], edges, found)

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        cluster_id: np.ndarray,
        conditions: pd.DataFrame,
        n_unsplit: int,
        psth: storage.Packed,
    ) -> None:
        """Insert the object, the conditions and the units' slices."""
        counts = {"n_psth_units": len(cluster_id), "n_unsplit_trials": n_unsplit}
        rows.insert1(self, {**key, **sources(definition), **counts, "psth": psth})
        rows.insert(self.Condition(), conditions, key)
        n_rows = psth.n_rows // max(len(cluster_id), 1)
        offset = np.arange(len(cluster_id)) * n_rows
        units = {"cluster_id": cluster_id, "psth_offset": offset, "n_psth_rows": n_rows}
        rows.insert(self.Unit(), pd.DataFrame(units), key)


def _edges(definition: dict[str, Any]) -> np.ndarray:
    limits = [definition[name] for name in ("psth_start", "psth_end", "bin_width")]
    if not (limits[2] > 0 and limits[0] < limits[1]):
        raise InconsistentData(
            f"there are no bins of {limits[2]} s from {limits[0]} to {limits[1]} s.",
            f"activity.PsthDefinition, {definition['psth_definition']}",
            "Give a start before the end, and a width above 0.",
        )
    return maths.compute_bin_edges(*limits)


def _split_by(definition: dict[str, Any]) -> list[str]:
    return [name for name in maths.SPLIT_COLUMNS if definition[f"by_{name}"]]


def _condition_rows(
    levels: dict[str, np.ndarray], n_conditions: int, found: dict[str, np.ndarray]
) -> pd.DataFrame:
    levels = {name: values for name, values in levels.items() if name in maths.SPLIT_COLUMNS}
    told = {name: maths.name_levels(name, values) for name, values in levels.items()}
    labels = [" ".join(map(maths.name_level, row)) for row in zip(*told.values(), strict=True)]
    names = {name: "prior" if name == "block" else name for name in maths.SPLIT_COLUMNS}
    return pd.DataFrame(
        {
            "condition_number": np.arange(n_conditions),
            "psth_condition": labels or ["all"] * n_conditions,
            **{f"psth_{names[name]}": told.get(name) for name in names},
            "n_psth_events": found["n_events"],
            "n_psth_dropped": found["n_dropped"],
        }
    )


def _pack(
    cluster_id: np.ndarray, edges: np.ndarray, found: dict[str, np.ndarray]
) -> storage.Packed:
    """Write mean and sem (U, C, B) as columns."""
    shape = found["mean"].shape
    unit, condition, time_bin = (index.ravel() for index in np.indices(shape))
    return storage.pack(
        {
            "cluster": cluster_id.astype(np.int32)[unit],
            "condition": condition.astype(np.int16),
            "time": ((edges[:-1] + edges[1:]) / 2)[time_bin],
            "mean": found["mean"].ravel(),
            "sem": found["sem"].ravel(),
        }
    )
