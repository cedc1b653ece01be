"""Modulation: whether units tell side, choice, outcome or block apart, other things equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import behavior, definitions, ephys, rows  # noqa: F401  (foreign keys)
from schemas.activity.base import defined, fetch_slices, fetch_trials, read_trains, schema, sources
from schemas.activity.rates import Window
from schemas.errors import DefinitionError
from schemas.maths import activity as activity_maths
from schemas.maths import modulation as maths
from schemas.maths import psth


@schema
class TaskFactor(dj.Lookup):
    """What may differ between trials, with the two levels that are compared."""

    definition = """
    # one row per factor of the task
    task_factor        : varchar(16)   # name of the factor
    ---
    first_level        : float64       # (number) level in the computation, compared with the second
    second_level       : float64       # (number) level in the computation
    factor_description : varchar(128)  # the first level against the second
    """
    contents = rows.lookup(
        "task_factor, first_level, second_level, factor_description",
        ("side", 0.0, 1.0, "left against right stimulus"),
        ("choice", -1.0, 1.0, "left against right choice"),
        ("outcome", 0.0, 1.0, "correct against error"),
        ("block", 0.8, 0.2, "block of left stimuli against block of right stimuli"),
    )


@schema
class ModulationDefinition(definitions.Checked, dj.Lookup):
    """What is compared with what: a factor in a window, within conditions of other factors.

    Labels are exchanged within conditions, and within blocks of trials where that is asked for, so
    that a drift of rates over the session is no modulation.
    """

    definition = """
    # one row per definition of a modulation
    modulation_definition  : varchar(32)   # name of the definition
    ---
    -> Window
    -> TaskFactor
    within_side            : bool          # trials are compared within sides of the stimulus
    within_choice          : bool          # trials are compared within choices
    within_prior           : bool          # trials are compared within priors, 0.2 and 0.8
    shuffled_within_blocks : bool          # labels are exchanged within each block of trials only
    drops_zero_contrast    : bool          # trials without a visible stimulus are left out
    modulation_statistic   : varchar(16)   # signed, or smaller as in the code of the release
    n_permutations         : int32         # exchanges of the labels
    permutation_seed       : int32         # seed of the exchanges
    -> behavior.TrialMaskDefinition
    -> [nullable] ephys.UnitCriterion
    modulation_description : varchar(128)  # what it shows; without criterion it is of all units
    """
    names: ClassVar = {"modulation_statistic": maths.STATISTICS}
    positive = ("n_permutations",)
    contents = rows.lookup(
        "modulation_definition, window_name, task_factor, within_side, within_choice, "
        "within_prior, shuffled_within_blocks, drops_zero_contrast, modulation_statistic, "
        "n_permutations, permutation_seed, trial_mask, criterion, modulation_description",
        *(
            (name, window, name, *within, True, "signed", 3000, 1, "bwm", "ibl_2022", shows)
            for name, window, within, shows in (
                ("side", "stimulus", (False, True, True, True), "left or right stimulus"),
                ("choice", "choice", (True, False, True, True), "left or right choice"),
                ("outcome", "feedback", (True, False, True, True), "reward or error"),
                ("block", "block", (True, True, False, False), "prior before the stimulus"),
            )
        ),
    )

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse a window around no event, and conditions that hold the factor itself."""
        super().refuse_wrong(row)
        where = f"ModulationDefinition {row['modulation_definition']!r}"
        if Window & {"window_name": row["window_name"]} & "trial_event IS NULL":
            what = f"window_name is {row['window_name']!r}, which is around no event."
            raise DefinitionError(what, where, "Name a window that a trial has.")
        factor = {"block": "prior"}.get(row["task_factor"], row["task_factor"])
        if row.get(f"within_{factor}"):
            what = f"trials within one {factor} do not differ in {row['task_factor']}."
            raise DefinitionError(what, where, f"Set within_{factor} to False.")


@schema
class Modulation(dj.Computed):
    """Whether units tell two levels of a factor apart: Mann-Whitney tests over conditions."""

    definition = """
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> ModulationDefinition
    ---
    -> behavior.TrialMask
    -> [nullable] ephys.GoodUnits
    n_first_level         : int32  # trials of the first level that are compared
    n_second_level        : int32  # trials of the second level that are compared
    n_compared_conditions : int32  # conditions that have trials of both levels
    """

    class Unit(dj.Part):
        """A unit's rates, the size of the effect, and the test; null without trials to compare."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        rate_first = null        : float64  # (Hz) mean over the trials of the first level
        rate_second = null       : float64  # (Hz) mean over the trials of the second level
        modulation_effect = null : float64  # (fraction) of pairs in which the first level has more
        modulation_p = null      : float64  # (probability) two-sided, by exchanged labels
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition whose trials and units are known."""
        return defined(ModulationDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the trials, the units' slices and where the spikes are."""
        definition = (ModulationDefinition * Window * TaskFactor & key).fetch1()
        needed = {column for columns in psth.SPLIT_COLUMNS.values() for column in columns}
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
        """Count the spikes of the compared trials, and test."""
        chosen, is_first, condition, stratum = maths.choose_trials(definition, trials)
        events = trials[definition["trial_event"]][chosen]
        window = definition["window_start"], definition["window_end"]
        counts = activity_maths.count_in_windows(*read_trains(stored, slices), events, window)
        rng = np.random.default_rng(definition["permutation_seed"])
        permutations = maths.draw_permutations(stratum, definition["n_permutations"], rng)
        how = definition["modulation_statistic"]
        found = maths.compute_modulation(counts, is_first, condition, permutations, how)
        rates = counts / (window[1] - window[0])
        found |= maths.average_levels(rates, is_first, condition)
        return definition, slices[:, 0], found

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        cluster_id: np.ndarray,
        found: dict[str, Any],
    ) -> None:
        """Insert the counts and the units."""
        counts = {name: found[theirs] for name, theirs in COUNTS.items()}
        rows.insert1(self, {**key, **sources(definition), **counts})
        table = {name: found[theirs] for name, theirs in MODULATION_COLUMNS.items()}
        rows.insert(self.Unit(), pd.DataFrame({"cluster_id": cluster_id, **table}), key)


COUNTS = {
    "n_first_level": "n_first",
    "n_second_level": "n_second",
    "n_compared_conditions": "n_conditions",
}
MODULATION_COLUMNS = {
    "rate_first": "rate_first",
    "rate_second": "rate_second",
    "modulation_effect": "effect",
    "modulation_p": "p",
}
