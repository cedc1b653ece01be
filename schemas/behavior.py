"""Trials of the task, and reaction times by named definitions."""

from __future__ import annotations

from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import definitions, imported, rows, session  # noqa: F401  (session: foreign keys)
from schemas.maths import behavior as maths
from schemas.maths import psychometric, training
from schemas.sources import data

schema = dj.Schema()


@schema
class TrialEvent(definitions.Checked, dj.Lookup):
    """All events of a trial, under the names of their columns in `Trials.Trial`."""

    definition = """
    # one row per event that a trial has a time for
    trial_event             : varchar(32)   # column of Trials.Trial
    ---
    trial_event_description : varchar(128)  # what happens then
    """
    contents = rows.lookup(
        "trial_event, trial_event_description",
        ("trial_start_time", "the trial starts"),
        ("stim_on_time", "the stimulus appears, by photodiode"),
        ("go_cue_time", "the go tone starts"),
        ("first_movement_time", "the wheel starts the movement that leads to the choice"),
        ("response_time", "the wheel crosses a threshold, or 60 s have passed"),
        ("feedback_time", "the valve opens or the error noise starts"),
        ("stim_off_time", "the stimulus disappears"),
        ("trial_end_time", "the inter-trial interval ends"),
    )
    names: ClassVar = {"trial_event": [row["trial_event"] for row in contents]}


@schema
class Trials(imported.ImportedFromFiles, dj.Imported):
    """The task of a session."""

    definition = """
    # one row per session with trials
    -> session.Session
    ---
    n_trials : int32  # number of trials
    """

    class Trial(dj.Part):
        """A trial with every column as released; what the release lacks is null."""

        definition = """
        # one row per trial of a session
        -> master
        trial                        : int32    # row in the released table, from 0
        ---
        trial_start_time = null      : float64  # (s) start of the trial
        trial_end_time = null        : float64  # (s) end of the inter-trial interval
        stim_on_time = null          : float64  # (s) stimulus onset, by photodiode
        go_cue_time = null           : float64  # (s) onset of the go tone
        first_movement_time = null   : float64  # (s) onset of the choice's movement
        response_time = null         : float64  # (s) end of the closed loop
        feedback_time = null         : float64  # (s) valve opening or error noise
        choice = null                : int8     # -1 wheel counter-clockwise, +1 clockwise, 0 no-go
        feedback_type = null         : int8     # +1 reward, -1 error, no-go included
        contrast_left = null         : float64  # (fraction) null if the stimulus is right
        contrast_right = null        : float64  # (fraction) null if the stimulus is left
        probability_left = null      : float64  # (fraction) prior of a left stimulus in the block
        reward_volume = null         : float64  # (ul) water given
        stim_off_time = null         : float64  # (s) stimulus offset
        go_cue_trigger_time = null   : float64  # (s) command to play the go tone
        stim_on_trigger_time = null  : float64  # (s) command to show the stimulus
        stim_off_trigger_time = null : float64  # (s) command to hide the stimulus
        quiescence_period = null     : float64  # (s) stillness that was asked for
        trial_included = null        : bool     # released flag of inclusion
        rep_num = null               : int32    # repetition of a trial after an error, in training
        bpod_start_time = null       : float64  # (s) start of the trial on the Bpod's own clock
        bpod_end_time = null         : float64  # (s) end of the trial on the Bpod's own clock
        extra_columns = null         : json     # released columns that are none of the above
        """

    kinds = ("trials",)

    def as_rows(self, loaded: data.Trials) -> imported.AsRows:
        """Return the number of trials, and each trial."""
        table = loaded.frame.assign(extra_columns=_extra(loaded.extra))
        return {"n_trials": len(table)}, {"Trial": table.rename_axis("trial").reset_index()}


def _extra(extra: pd.DataFrame) -> list[dict[str, Any]] | None:
    return rows.records(extra) if len(extra.columns) else None


@schema
class ReactionTimeDefinition(definitions.Checked, dj.Lookup):
    """What is called a reaction time; bounds flag trials, they remove none."""

    definition = """
    # one row per definition of a reaction time
    rt_definition      : varchar(32)   # name of the definition
    ---
    -> TrialEvent.proj(rt_start_event="trial_event")
    -> TrialEvent.proj(rt_end_event="trial_event")
    rt_shortest = null : float64       # (s) a shorter one is too fast
    rt_longest = null  : float64       # (s) a longer one is too slow
    rt_description     : varchar(128)  # where the definition is used
    """
    ascending = (("rt_shortest", "rt_longest"),)
    different = (("rt_start_event", "rt_end_event"),)
    contents = rows.lookup(
        "rt_definition, rt_start_event, rt_end_event, rt_shortest, rt_longest, rt_description",
        (
            "response",
            "stim_on_time",
            "response_time",
            None,
            None,
            "movement included, up to 60 s; example 10 of the training deck",
        ),
        (
            "first_movement",
            "stim_on_time",
            "first_movement_time",
            0.08,
            2.0,
            "trial mask of the Brain-Wide Map",
        ),
        (
            "go_cue_movement",
            "go_cue_time",
            "first_movement_time",
            None,
            None,
            "wheel reaction time; negative where the wheel moves before the go cue",
        ),
        (
            "go_cue_response",
            "go_cue_time",
            "response_time",
            None,
            None,
            "used to sort trials",
        ),
        (
            "feedback",
            "stim_on_time",
            "feedback_time",
            None,
            None,
            "trial table of IBL's data viewer",
        ),
        (
            "go_cue_feedback",
            "go_cue_time",
            "feedback_time",
            None,
            None,
            "trial length, by which masks may leave trials out",
        ),
    )


@schema
class ReactionTime(dj.Computed):
    """Reaction times of a session by a definition."""

    definition = """
    # one row per session and definition of a reaction time
    -> Trials
    -> ReactionTimeDefinition
    ---
    n_reactions      : int32    # trials with a reaction time within bounds
    n_missing        : int32    # trials in which an event is missing
    n_too_fast       : int32    # trials below the lower bound
    n_too_slow       : int32    # trials above the upper bound
    rt_mean = null   : float64  # (s) mean of the trials within bounds
    rt_median = null : float64  # (s) median of the trials within bounds
    """

    class Trial(dj.Part):
        """A trial's reaction time."""

        definition = """
        # one row per trial and definition
        -> master
        -> Trials.Trial
        ---
        reaction_time = null : float64  # (s) null where an event is missing
        rt_in_bounds = null  : bool     # within the bounds; null where an event is missing
        """

    class Condition(dj.Part):
        """Trials within bounds, by side, contrast and outcome."""

        definition = """
        # one row per condition with at least one trial within bounds
        -> master
        stimulus_side        : varchar(5)    # left or right; that of zero contrast is kept
        stimulus_contrast    : decimal(7,6)  # (fraction) contrast of the stimulus
        outcome              : varchar(8)    # correct, error or no_go
        ---
        n_condition_trials   : int32         # number of trials
        condition_mean       : float64       # (s) mean reaction time
        condition_median     : float64       # (s) median reaction time
        condition_sem = null : float64       # (s) standard error of the mean
        """

    def make(self, key: dict[str, Any]) -> None:
        """Compute from the events of the session's trials."""
        rule = (ReactionTimeDefinition & key).fetch1()
        insert_parts(self, key, *self.as_rows(trial_columns(key), rule))

    @staticmethod
    def as_rows(trials: dict[str, np.ndarray], rule: dict[str, Any]) -> imported.AsRows:
        """Compute the row of a session, and the rows of its part tables."""
        reaction = _react(trials, rule)
        conditions = maths.summarise_conditions(
            reaction,
            *maths.compute_stimulus(trials["contrast_left"], trials["contrast_right"]),
            maths.compute_outcome(trials["choice"], trials["feedback_type"]),
        )
        parts = {
            "Trial": _reaction_rows(trials["trial"], reaction),
            "Condition": pd.DataFrame(conditions).rename(columns=CONDITION_COLUMNS),
        }
        return maths.summarise_reaction_times(reaction), parts


CONDITION_COLUMNS = {
    "n": "n_condition_trials",
    "mean": "condition_mean",
    "median": "condition_median",
    "sem": "condition_sem",
}


def _reaction_rows(trial: np.ndarray, reaction: dict[str, np.ndarray]) -> pd.DataFrame:
    seconds = reaction["reaction_time"]
    in_bounds = pd.array(reaction["is_valid"], dtype="boolean")
    in_bounds[np.isnan(seconds)] = pd.NA
    return pd.DataFrame({"trial": trial, "reaction_time": seconds, "rt_in_bounds": in_bounds})


@schema
class TrialMaskDefinition(definitions.Checked, dj.Lookup):
    """Which trials are left out of an analysis: rules to be named, so that they can be compared."""

    definition = """
    # one row per rule of which trials are used
    trial_mask                        : varchar(32)   # name of the rule
    ---
    -> [nullable] ReactionTimeDefinition
    drops_incomplete                  : bool          # without an event or outcome that is needed
    drops_unbiased                    : bool          # with prior 0.5
    drops_no_go                       : bool          # without an answer
    shortest_trial = null             : float64       # (s) shortest from go cue to feedback
    longest_trial = null              : float64       # (s) longest from go cue to feedback
    truncation_min_trials = null      : int32         # more first trials than this must remain
    truncation_min_performance = null : float64       # (fraction) easy ones must do better
    mask_description                  : varchar(255)  # where the rule is used
    """
    ascending = (("shortest_trial", "longest_trial"),)
    together = (("truncation_min_trials", "truncation_min_performance"),)
    contents = rows.lookup(
        "trial_mask, rt_definition, drops_incomplete, drops_unbiased, drops_no_go, "
        "shortest_trial, longest_trial, truncation_min_trials, truncation_min_performance, "
        "mask_description",
        ("all", *(None, False, False, False), *(None, None), *(None, None), "every trial"),
        (
            "bwm",
            *("first_movement", True, False, False),
            *(None, None),
            *(None, None),
            "Brain-Wide Map with ibllib 3.2 or later, whose truncation drops nothing",
        ),
        (
            "bwm_truncated",
            *("first_movement", True, False, False),
            *(None, None),
            *(400, 0.9),
            "Brain-Wide Map as documented: last trials dropped until the session is good enough",
        ),
    )


@schema
class TrialMask(dj.Computed):
    """Which trials of a session a rule leaves in use."""

    definition = """
    # one row per session and rule of which trials are used
    -> Trials
    -> TrialMaskDefinition
    ---
    n_used               : int32  # trials in use
    n_truncated          : int32  # last trials dropped to meet the criterion; 0 where it is not met
    criterion_met = null : bool   # whether some first trials are good enough; null if not asked
    """

    class Trial(dj.Part):
        """A trial, in use or not."""

        definition = """
        # one row per trial and rule
        -> master
        -> Trials.Trial
        ---
        is_used   : bool         # whether the trial is used
        exclusion : varchar(16)  # first reason why not; empty where it is used
        """

    def make(self, key: dict[str, Any]) -> None:
        """Apply the rule to the session's trials."""
        rule = (TrialMaskDefinition & key).fetch1()
        limits = ReactionTimeDefinition & {"rt_definition": rule["rt_definition"]}
        limits = limits.fetch1() if rule["rt_definition"] else None
        insert_parts(self, key, *self.as_rows(trial_columns(key), rule, limits))

    @staticmethod
    def as_rows(
        trials: dict[str, np.ndarray], rule: dict[str, Any], limits: dict[str, Any] | None
    ) -> imported.AsRows:
        """Compute the row of a session, and those of its trials.

        `limits` is the definition of the reaction time that the rule names.
        """
        reaction = _react(trials, limits) if limits else None
        mask = maths.compute_trial_mask(trials, reaction, rule)
        table = pd.DataFrame({n: mask.pop(n) for n in ("is_used", "exclusion")})
        return mask, {"Trial": table.assign(trial=trials["trial"])}


@schema
class Performance(dj.Computed):
    """How well the mouse did."""

    definition = """
    # one row per session with trials
    -> Trials
    ---
    n_correct               : int32    # rewarded trials
    n_no_go                 : int32    # trials without an answer; they are not correct
    n_easy                  : int32    # trials with a contrast of at least 0.5
    n_blocks                : int32    # runs of trials with the same prior
    performance = null      : float64  # (fraction) rewarded trials; null without trials
    performance_easy = null : float64  # (fraction) rewarded easy trials; null without easy trials
    """

    def make(self, key: dict[str, Any]) -> None:
        """Count over all trials."""
        rows.insert1(self, {**key, **maths.compute_performance(trial_columns(key))})


@schema
class PsychometricDefinition(definitions.Checked, dj.Lookup):
    """How a psychometric curve is fitted: where searches start, and what bounds hold them."""

    definition = """
    # one row per way to fit a psychometric curve
    psychometric_definition : varchar(32)   # name of the way
    ---
    bias_start = null       : float64       # (percent) first search; null is the mean contrast
    threshold_start         : float64       # (percent) first search
    lapse_start             : float64       # (fraction) first search, both lapses
    bias_min = null         : float64       # (percent) least bias; null is the least contrast
    bias_max = null         : float64       # (percent) largest bias; null is the largest contrast
    threshold_min           : float64       # (percent) least threshold
    threshold_max           : float64       # (percent) largest threshold
    lapse_max               : float64       # (fraction) largest lapse; the least is 0
    n_fits                  : int32         # searches, all but the first from places drawn
    fit_seed                : int32         # seed of these places
    ci_level                : float64       # (fraction) confidence of the intervals
    psychometric_use        : varchar(128)  # what the fit is used for
    """
    ascending = (("bias_min", "bias_max"), ("threshold_min", "threshold_max"))
    positive = ("n_fits", "ci_level")
    contents = rows.lookup(
        "psychometric_definition, bias_start, threshold_start, lapse_start, bias_min, bias_max, "
        "threshold_min, threshold_max, lapse_max, n_fits, fit_seed, ci_level, psychometric_use",
        (
            "training",
            *(None, 20.0, 0.05),
            *(None, None, 0.0, 100.0, 1.0),
            *(5, 0, 0.95, "training criteria"),
        ),
        (
            "plots",
            *(0.0, 40.0, 0.1),
            *(-50.0, 50.0, 10.0, 50.0, 0.2),
            *(10, 0, 0.95, "figures, and comparison of sessions"),
        ),
    )


@schema
class Psychometric(dj.Computed):
    """How often the mouse answers right, by contrast and block."""

    definition = """
    # one row per session and way to fit a psychometric curve
    -> Trials
    -> PsychometricDefinition
    ---
    bias_shift = null : float64  # (percent) bias in block 0.8 minus 0.2; null without both
    """

    class Block(dj.Part):
        """A curve: low + (1 - low - high) (1 + erf((contrast - bias) / threshold)) / 2."""

        definition = """
        # one row per session, way to fit and block with trials
        -> master
        psychometric_block        : varchar(8)  # prior of a left stimulus, or all
        ---
        n_fit_trials              : int32       # trials with contrast and choice, no-go included
        psych_bias                : float64     # (percent) contrast at the middle of the curve
        psych_bias_ci_low         : float64     # (percent) lower end of the interval
        psych_bias_ci_high        : float64     # (percent) upper end of the interval
        psych_threshold           : float64     # (percent) contrast over which the curve rises
        psych_threshold_ci_low    : float64     # (percent) lower end of the interval
        psych_threshold_ci_high   : float64     # (percent) upper end of the interval
        psych_lapse_low           : float64     # (fraction) right answers at the far left
        psych_lapse_low_ci_low    : float64     # (fraction) lower end of the interval
        psych_lapse_low_ci_high   : float64     # (fraction) upper end of the interval
        psych_lapse_high          : float64     # (fraction) other answers at the far right
        psych_lapse_high_ci_low   : float64     # (fraction) lower end of the interval
        psych_lapse_high_ci_high  : float64     # (fraction) upper end of the interval
        log_likelihood            : float64     # (nat) without the binomial coefficients
        """

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the way to fit and the trials."""
        return (PsychometricDefinition & key).fetch1(), trial_columns(key)

    def make_compute(
        self, key: dict[str, Any], rule: dict[str, Any], trials: dict[str, np.ndarray]
    ) -> tuple:
        """Fit each block."""
        return (psychometric.fit_blocks(trials, rule),)

    def make_insert(self, key: dict[str, Any], fits: dict[str, dict[str, float]]) -> None:
        """Insert the fits."""
        rows.insert1(self, {**key, "bias_shift": psychometric.compute_bias_shift(fits)})
        table = ({"psychometric_block": block, **fit} for block, fit in fits.items())
        rows.insert(self.Block(), table, key)


@schema
class TrainingCriterion(definitions.Checked, dj.Lookup):
    """What a trained mouse must do, by IBL's protocol for the training of mice."""

    definition = """
    # one row per criterion of training
    training_criterion          : varchar(32)   # name of the criterion
    ---
    -> PsychometricDefinition
    min_session_trials          : int32         # every session must have more
    min_easy_performance        : float64       # (fraction) every session must do better
    needs_zero_contrast         : bool          # whether zero contrast must have been shown
    in_biased_blocks            : bool          # lapses in blocks 0.2 and 0.8, not over all trials
    max_bias = null             : float64       # (percent) the bias, either way, must be smaller
    max_threshold = null        : float64       # (percent) the threshold must be smaller
    max_lapse                   : float64       # (fraction) both lapses must be smaller
    min_shift = null            : float64       # (percent) the bias must shift more between blocks
    max_zero_contrast_rt = null : float64       # (s) median from stimulus to response, at zero
    criterion_meaning           : varchar(128)  # what a mouse that meets it is ready for
    """
    contents = rows.lookup(
        "training_criterion, psychometric_definition, min_session_trials, min_easy_performance, "
        "needs_zero_contrast, in_biased_blocks, max_bias, max_threshold, max_lapse, min_shift, "
        "max_zero_contrast_rt, criterion_meaning",
        (
            *("trained_1a", "training", 200, 0.8, True, False),
            *(16.0, 19.0, 0.2, None, None, "knows the task"),
        ),
        (
            *("trained_1b", "training", 400, 0.9, True, False),
            *(10.0, 20.0, 0.1, None, 2.0, "ready for biased blocks"),
        ),
        (
            *("ready4ephysrig", "training", 400, 0.9, False, True),
            *(None, None, 0.1, 5.0, 2.0, "ready for recordings"),
        ),
    )


@schema
class TrainingStatus(dj.Computed):
    """Which parts of a criterion a session meets on its own; null where it asks for none.

    IBL pools three sessions: see `schemas.views.fetch_training_status`.
    """

    definition = """
    # one row per session and criterion of training
    -> Trials
    -> TrainingCriterion
    ---
    -> Psychometric
    meets_trials = null        : bool     # enough trials
    meets_performance = null   : bool     # good enough at easy trials
    meets_zero_contrast = null : bool     # zero contrast was shown
    meets_bias = null          : bool     # small enough bias
    meets_threshold = null     : bool     # steep enough curve
    meets_lapses = null        : bool     # small enough lapses
    meets_bias_shift = null    : bool     # large enough shift of the bias between blocks
    meets_reaction_time = null : bool     # fast enough at zero contrast
    zero_contrast_rt = null    : float64  # (s) median from stimulus to response; null without one
    is_met                     : bool     # all parts that are asked for
    """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every session and criterion whose curves are fitted."""
        fitted = Psychometric.proj() * TrainingCriterion.proj("psychometric_definition")
        return (Trials.proj() * TrainingCriterion.proj()) & fitted.proj()

    def make(self, key: dict[str, Any]) -> None:
        """Judge the session by the criterion."""
        rule = (TrainingCriterion & key).fetch1()
        used = {**key, "psychometric_definition": rule["psychometric_definition"]}
        fits = {row["psychometric_block"]: row for row in (Psychometric.Block & used).to_dicts()}
        rows.insert1(self, {**key, **self.as_row(trial_columns(key), rule, fits)})

    @staticmethod
    def as_row(
        trials: dict[str, np.ndarray], rule: dict[str, Any], fits: dict[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Compute the row of a session from its trials and the fits of its blocks."""
        done = maths.compute_performance(trials)
        zero = training.compute_zero_contrast(trials)
        easy, n = done["performance_easy"], len(trials["trial"])
        met = training.judge_training(rule, [n], [easy], fits, zero)
        definition = {"psychometric_definition": rule["psychometric_definition"]}
        return {**definition, **met, "zero_contrast_rt": zero["zero_contrast_rt"]}


def insert_parts(
    table: dj.Table, key: dict[str, Any], row: dict[str, Any], parts: dict[str, Any]
) -> None:
    """Insert the row of a key, and the rows of its part tables."""
    rows.insert1(table, {**key, **row})
    for name, of_part in parts.items():
        rows.insert(getattr(table, name)(), of_part, key)


def trial_columns(key: dict[str, Any]) -> dict[str, np.ndarray]:
    """Fetch the trials of a session as float arrays (n,), in order; NaN where missing.

    Parameters
    ----------
    key : dict
        Key of the session.

    Returns
    -------
    dict
        `trial`, and each of `COLUMNS`; empty arrays where no trial is stored.
    """
    return _to_arrays(rows.frame(Trials.Trial & key, order_by="trial", columns=["trial", *COLUMNS]))


def trials_by_session(
    sessions: dj.expression.QueryExpression,
) -> dict[str, dict[str, np.ndarray]]:
    """Fetch the trials of many sessions at once: by eid, what `trial_columns` returns of it.

    Parameters
    ----------
    sessions : expression
        Whatever has the key of a session. One without a trial has no entry.
    """
    trials = rows.frame((Trials.Trial & sessions.proj()).proj(*COLUMNS), order_by="eid, trial")
    return {eid: _to_arrays(of_session) for eid, of_session in trials.groupby("eid")}


def _to_arrays(trials: pd.DataFrame) -> dict[str, np.ndarray]:
    return {name: trials[name].to_numpy(float, na_value=np.nan) for name in ("trial", *COLUMNS)}


def _react(trials: dict[str, np.ndarray], rule: dict[str, Any]) -> dict[str, np.ndarray]:
    start, end = trials[rule["rt_start_event"]], trials[rule["rt_end_event"]]
    return maths.compute_reaction_times(start, end, rule["rt_shortest"], rule["rt_longest"])


COLUMNS = (
    *TrialEvent.names["trial_event"],
    *("choice", "feedback_type", "contrast_left", "contrast_right", "probability_left"),
)
"""Columns of `Trials.Trial` that are computed with."""
