"""Firing rates of units and regions, in windows around events of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, behavior, definitions, ephys, rows, storage
from schemas.errors import DefinitionError, InconsistentData
from schemas.maths import activity as maths
from schemas.maths import psth as psth_maths

schema = dj.Schema()


@schema
class Window(definitions.Checked, dj.Lookup):
    """A window around an event, [start, end); `recording` is the whole recording."""

    definition = """
    # one row per window
    window_name         : varchar(32)   # name of the window
    ---
    -> [nullable] behavior.TrialEvent
    window_start = null : float64       # (s) start from the event
    window_end = null   : float64       # (s) end from the event
    window_description  : varchar(128)  # what it is used for
    """
    ascending = (("window_start", "window_end"),)
    together = (("trial_event", "window_start", "window_end"),)
    contents = rows.lookup(
        "window_name, trial_event, window_start, window_end, window_description",
        ("recording", None, None, None, "first to last spike of any unit"),
        ("stimulus", "stim_on_time", 0.0, 0.1, "canonical analyses of the stimulus"),
        ("choice", "first_movement_time", -0.1, 0.0, "canonical analyses of the choice"),
        ("feedback", "feedback_time", 0.0, 0.2, "canonical analyses of the feedback"),
        ("block", "stim_on_time", -0.4, -0.1, "canonical analyses of the prior"),
    )


@schema
class UnitRate(dj.Computed):
    """Firing rates of the units of a sort in a window, over all trials with the event.

    `trials_eid` is the session's `eid` for a window around an event: rates go with the trials
    that they were computed from. It is null for `recording`, which needs none.
    """

    definition = """
    # one row per sort of an insertion and window
    -> ephys.Spikes
    -> Window
    ---
    -> [nullable] behavior.Trials.proj(trials_eid="eid")
    n_events         : int32  # events that the rates are over; 0 for the recording
    n_dropped_events : int32  # trials without the event
    """

    class Unit(dj.Part):
        """A unit's rate."""

        definition = """
        # one row per cluster of a sort and window
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        rate = null : float64  # (Hz) mean over the events; null without events
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and window; those around events need the session's trials."""
        every = ephys.Spikes.proj() * Window.proj()
        return every & [(Window & "trial_event IS NULL").proj(), behavior.Trials.proj()]

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the window, the events, the units' slices and where the spikes are."""
        window = (Window & key).fetch1()
        sort = (ephys.Spikes & key).fetch1()
        event = window["trial_event"]
        trials = behavior.Trials.Trial & key
        events = rows.frame(trials, columns=[event])[event].to_numpy() if event else np.empty(0)
        return window, sort | {"spikes": sort["spikes"].stored}, _fetch_slices(key), events

    def make_compute(
        self,
        key: dict[str, Any],
        window: dict[str, Any],
        sort: dict[str, Any],
        slices: np.ndarray,
        events: np.ndarray,
    ) -> tuple:
        """Count the spikes."""
        cluster_id, offsets, counts = slices.T
        if window["trial_event"] is None:
            first, last = (sort[name] or 0.0 for name in ("first_spike", "last_spike"))
            rates = maths.compute_recording_rates(counts, first, last)
            return cluster_id, {"rate": rates, "n_events": 0, "n_dropped": 0}, None
        time = storage.reference(sort["spikes"]).read(["time"])["time"]
        span = window["window_start"], window["window_end"]
        around = maths.compute_window_rates(time, offsets, counts, events, span)
        return cluster_id, around, key["eid"]

    def make_insert(
        self, key: dict[str, Any], cluster_id: np.ndarray, rates: dict, trials_eid: str | None
    ) -> None:
        """Insert the rates."""
        events = {"n_events": rates["n_events"], "n_dropped_events": rates["n_dropped"]}
        rows.insert1(self, {**key, **events, "trials_eid": trials_eid})
        table = pd.DataFrame({"cluster_id": cluster_id, "rate": rates["rate"]})
        rows.insert(self.Unit(), table, key)


@schema
class RegionRate(dj.Computed):
    """Firing rates of the good units of a sort by region, each unit counting once."""

    definition = """
    # one row per sort of an insertion, window and criterion
    -> UnitRate
    -> ephys.GoodUnits
    ---
    n_located_units   : int32  # good units that a region is known for
    n_unlocated_units : int32  # good units that no region is known for
    unit_rates        : json   # (Hz) rates of the good units of each structure, by its region_id
    """

    class Region(dj.Part):
        """A region's rate; in the mapping Allen a unit counts for its own structure only."""

        definition = """
        # one row per mapping and region with a good unit
        -> master
        -> atlas.Mapping
        -> atlas.BrainRegion
        ---
        is_outside       : bool     # void or root: no region, to be left out of analyses
        n_region_units   : int32    # good units with a rate
        mean_rate        : float64  # (Hz) mean over units
        median_rate      : float64  # (Hz) median over units
        sd_rate = null   : float64  # (Hz) standard deviation over units, n - 1
        sem_rate = null  : float64  # (Hz) standard error of the mean
        """

    def make(self, key: dict[str, Any]) -> None:
        """Summarise the good units' rates in every mapping."""
        n_good = (ephys.GoodUnits & key).fetch1("n_good")
        # Three frames, joined here: PostgreSQL joins rows that it has no statistics of yet by
        # comparing each with each.
        rates = rows.frame(UnitRate.Unit & key, columns=["cluster_id", "rate"])
        rates = rates.set_index("cluster_id").rate
        good = ephys.GoodUnits.Unit & key & {"is_good": True}
        good = rows.frame(good, columns=["cluster_id"]).cluster_id
        regions = atlas.BrainRegion.proj("beryl_id", "cosmos_id")
        located = (ephys.SpikeSorting.Cluster & key).proj("region_id") * regions
        located = rows.frame(located, columns=["cluster_id", *atlas.REGION_COLUMN.values()])
        units = located[located.cluster_id.isin(good) & located.cluster_id.isin(rates.index)]
        rate = rates.reindex(units.cluster_id).to_numpy()
        ids = {m: units[column].to_numpy() for m, column in atlas.REGION_COLUMN.items()}
        row = {"n_located_units": len(units), "n_unlocated_units": n_good - len(units)}
        row["unit_rates"] = maths.list_rates(rate, ids["Allen"])
        rows.insert1(self, {**key, **row})
        rows.insert(self.Region(), summarise_region_rates(rate, ids), key)


def summarise_region_rates(rate: np.ndarray, ids: dict[str, np.ndarray]) -> pd.DataFrame:
    """Return the rows of `RegionRate.Region` of units by their rates and regions by mapping."""
    table = pd.DataFrame(maths.summarise_mappings(rate, ids)).rename(columns=REGION_RATE_COLUMNS)
    return table.assign(is_outside=table.region_id.isin(atlas.OUTSIDE))


REGION_RATE_COLUMNS = {
    "n": "n_region_units",
    "mean": "mean_rate",
    "median": "median_rate",
    "sd": "sd_rate",
    "sem": "sem_rate",
}


@schema
class TrialSplit(definitions.Checked, dj.Lookup):
    """Into which conditions trials are split: every combination of what is told apart."""

    definition = """
    # one row per way to split trials into conditions
    trial_split       : varchar(32)   # name of the split
    ---
    by_side           : bool          # side of the stimulus, that of zero contrast kept
    by_contrast       : bool          # contrast of the stimulus, whatever its side
    by_choice         : bool          # side of the choice, or none
    by_outcome        : bool          # correct, error or no_go
    by_block          : bool          # prior of a left stimulus
    split_description : varchar(128)  # conditions that it makes
    """
    contents = rows.lookup(
        "trial_split, by_side, by_contrast, by_choice, by_outcome, by_block, split_description",
        ("side", True, False, False, False, False, "left and right stimulus"),
        ("contrast", True, True, False, False, False, "signed contrast, two zeros"),
        ("choice", False, False, True, False, False, "left and right choice, and none"),
        ("outcome", False, False, False, True, False, "correct, error and no_go"),
        ("block", False, False, False, False, True, "blocks of the prior 0.2, 0.5 and 0.8"),
        ("none", False, False, False, False, False, "all trials together"),
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
            (name, event, -0.5, 1.0, 0.05, split, "bwm", "ibl_2022", shows)
            for name, event, split, shows in (
                ("stimulus_side", "stim_on_time", "side", "stimulus, left and right"),
                ("stimulus_contrast", "stim_on_time", "contrast", "stimulus by signed contrast"),
                ("stimulus_block", "stim_on_time", "block", "stimulus by block of the prior"),
                ("movement_choice", "first_movement_time", "choice", "movement by choice"),
                ("feedback_outcome", "feedback_time", "outcome", "reward and error"),
            )
        ),
    )


def _defined(definition: type[dj.Lookup]) -> dj.expression.QueryExpression:
    """Return every sort and definition for which the trials and units that it asks for are."""
    every = ephys.Spikes.proj() * definition.proj("trial_mask", "criterion")
    every = every & behavior.TrialMask.proj()
    # NULL in a join is equal to nothing.
    return (every & ["criterion IS NULL", ephys.GoodUnits.proj()]).proj()


def _fetch_slices(key: dict[str, Any], criterion: str | None = None) -> np.ndarray:
    """Fetch cluster, offset and number of spikes of the units, all or the good ones (U, 3)."""
    names = "cluster_id", "spike_offset", "n_unit_spikes"
    units = rows.frame(ephys.Spikes.Unit & key, columns=names).to_numpy()
    if criterion is None:
        return units
    good = ephys.GoodUnits.Unit & key & {"criterion": criterion, "is_good": True}
    return units[np.isin(units[:, 0], rows.frame(good, columns=["cluster_id"]).cluster_id)]


def _fetch_trials(key: dict[str, Any], trial_mask: str, *columns: str) -> dict[str, np.ndarray]:
    """Fetch columns of all trials as floats, in order, and which of them are used."""
    trials = rows.frame(behavior.Trials.Trial & key, columns=["trial", *columns])
    mask = behavior.TrialMask.Trial & {"eid": key["eid"], "trial_mask": trial_mask}
    used = rows.frame(mask & {"is_used": True}, columns=["trial"]).trial
    found = {name: trials[name].to_numpy(float, na_value=np.nan) for name in columns}
    return {**found, "is_used": trials.trial.isin(used).to_numpy()}


def _read_trains(
    stored: dict[str, Any], slices: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the spikes of some units: times (s) unit after unit, offsets and counts."""
    _, offsets, counts = slices.T
    trains = storage.reference(stored).read_slices("time", offsets, counts)
    return np.concatenate([*trains, np.empty(0)]), np.cumsum(counts) - counts, counts


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
        return _defined(PsthDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the trials, the units' slices and where the spikes are."""
        definition = (PsthDefinition * TrialSplit & key).fetch1()
        split = psth_maths.SPLIT_COLUMNS
        needed = {column for name in _split_by(definition) for column in split[name]}
        columns = sorted({definition["trial_event"], *needed})
        trials = _fetch_trials(key, definition["trial_mask"], *columns)
        slices = _fetch_slices(key, definition["criterion"])
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
        factors = {name: psth_maths.compute_factor(name, trials) for name in _split_by(definition)}
        whole = {"all": np.zeros(len(trials["is_used"]))}
        condition, levels = psth_maths.split_trials(factors or whole)
        used = np.where(trials["is_used"], condition, -1)
        n_conditions = int(condition.max(initial=-1)) + 1
        found = psth_maths.compute_psth(
            *_read_trains(stored, slices),
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
        rows.insert1(self, {**key, **_sources(definition), **counts, "psth": psth})
        rows.insert(self.Condition(), conditions, key)
        n_rows = psth.n_rows // max(len(cluster_id), 1)
        offset = np.arange(len(cluster_id)) * n_rows
        units = {"cluster_id": cluster_id, "psth_offset": offset, "n_psth_rows": n_rows}
        rows.insert(self.Unit(), pd.DataFrame(units), key)


def _sources(definition: dict[str, Any]) -> dict[str, Any]:
    """Return what refers to the trials and units that a row is computed from."""
    return {name: definition[name] for name in ("trial_mask", "criterion")}


def _edges(definition: dict[str, Any]) -> np.ndarray:
    limits = [definition[name] for name in ("psth_start", "psth_end", "bin_width")]
    if not (limits[2] > 0 and limits[0] < limits[1]):
        raise InconsistentData(
            f"there are no bins of {limits[2]} s from {limits[0]} to {limits[1]} s.",
            f"activity.PsthDefinition, {definition['psth_definition']}",
            "Give a start before the end, and a width above 0.",
        )
    return psth_maths.compute_bin_edges(*limits)


def _split_by(definition: dict[str, Any]) -> list[str]:
    return [name for name in psth_maths.SPLIT_COLUMNS if definition[f"by_{name}"]]


def _condition_rows(
    levels: dict[str, np.ndarray], n_conditions: int, found: dict[str, np.ndarray]
) -> pd.DataFrame:
    levels = {name: values for name, values in levels.items() if name in psth_maths.SPLIT_COLUMNS}
    told = {name: psth_maths.name_levels(name, values) for name, values in levels.items()}
    labels = [" ".join(map(psth_maths.name_level, row)) for row in zip(*told.values(), strict=True)]
    names = {name: "prior" if name == "block" else name for name in psth_maths.SPLIT_COLUMNS}
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


@schema
class ResponseDefinition(definitions.Checked, dj.Lookup):
    """What a response is: a window, a baseline to compare it with, trials and units.

    The baseline is as long as the window: rates over unequal times differ by chance more often to
    one side than to the other, which the test would take for a response.
    """

    definition = """
    # one row per definition of a response
    response_definition  : varchar(32)   # name of the definition
    ---
    -> Window
    -> behavior.TrialEvent.proj(baseline_event="trial_event")
    baseline_end         : float64       # (s) from that event; its length is that of the window
    -> behavior.TrialMaskDefinition
    -> [nullable] ephys.UnitCriterion
    response_description : varchar(128)  # what it shows; without criterion it is of all units
    """
    contents = rows.lookup(
        "response_definition, window_name, baseline_event, baseline_end, trial_mask, criterion, "
        "response_description",
        *(
            (n, n, "stim_on_time", -0.1, "bwm", "ibl_2022", f"{n} against before the trial")
            for n in ("stimulus", "choice", "feedback")
        ),
    )

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse a window around no event, which has no length."""
        super().refuse_wrong(row)
        if Window & {"window_name": row["window_name"]} & "trial_event IS NULL":
            where = f"ResponseDefinition {row['response_definition']!r}"
            what = f"window_name is {row['window_name']!r}, which is around no event."
            raise DefinitionError(what, where, "Name a window that a trial has.")


@schema
class UnitResponse(dj.Computed):
    """Whether units fire otherwise in a window than in a baseline, by a test over trials."""

    definition = """
    # one row per sort of an insertion and definition
    -> ephys.Spikes
    -> ResponseDefinition
    ---
    -> behavior.TrialMask
    -> [nullable] ephys.GoodUnits
    n_response_trials : int32  # trials that are compared
    n_incomparable    : int32  # trials in use that lack an event
    """

    class Unit(dj.Part):
        """A unit's rates, and Wilcoxon's signed-rank test of their difference over trials."""

        definition = """
        # one row per unit of a definition
        -> master
        -> ephys.SpikeSorting.Cluster
        ---
        rate_before = null        : float64  # (Hz) mean in the baseline; null without trials
        rate_in = null            : float64  # (Hz) mean in the window; null without trials
        n_changed_trials          : int32    # trials with two rates that differ
        wilcoxon_statistic = null : float64  # (ranks) smaller of the two sums of ranks
        wilcoxon_p = null         : float64  # (probability) two-sided; null where none differs
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort and definition whose trials and units are known."""
        return _defined(ResponseDefinition)

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, the events, the units' slices and where the spikes are."""
        definition = (ResponseDefinition * Window & key).fetch1()
        events = {definition["trial_event"], definition["baseline_event"]}
        trials = _fetch_trials(key, definition["trial_mask"], *sorted(events))
        slices = _fetch_slices(key, definition["criterion"])
        return definition, trials, slices, (ephys.Spikes & key).fetch1("spikes").stored

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        trials: dict[str, np.ndarray],
        slices: np.ndarray,
        stored: dict[str, Any],
    ) -> tuple:
        """Compare the rates."""
        window = definition["window_start"], definition["window_end"]
        end = definition["baseline_end"]
        before, during = (
            (trials[definition[event]][trials["is_used"]], limits)
            for event, limits in (
                ("baseline_event", (end - (window[1] - window[0]), end)),
                ("trial_event", window),
            )
        )
        found = maths.compute_responses(*_read_trains(stored, slices), before, during)
        return definition, slices[:, 0], found

    def make_insert(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        cluster_id: np.ndarray,
        found: dict[str, Any],
    ) -> None:
        """Insert the rates and tests."""
        counts = {
            "n_response_trials": found["n_trials"],
            "n_incomparable": found["n_missing"],
        }
        rows.insert1(self, {**key, **_sources(definition), **counts})
        table = {ours: found[theirs] for ours, theirs in RESPONSE_COLUMNS.items()}
        rows.insert(self.Unit(), pd.DataFrame({"cluster_id": cluster_id, **table}), key)


RESPONSE_COLUMNS = {
    "rate_before": "rate_before",
    "rate_in": "rate_in",
    "n_changed_trials": "n_changed",
    "wilcoxon_statistic": "statistic",
    "wilcoxon_p": "p",
}


@schema
class InclusionRule(definitions.Checked, dj.Lookup):
    """Thresholds of `views.fetch_inclusion_chain`: which regions have enough units."""

    definition = """
    # one row per rule of which regions are analysed
    inclusion_rule        : varchar(32)   # name of the rule
    ---
    -> atlas.Mapping
    -> behavior.TrialMaskDefinition
    min_error_trials      : int32         # error trials of a session among the trials in use
    min_session_units     : int32         # units of a region in a session for it to count
    min_region_sessions   : int32         # such sessions of a region
    min_region_units      : int32         # units of a region in such sessions
    inclusion_description : varchar(128)  # where the rule is used
    """
    contents = rows.lookup(
        "inclusion_rule, mapping, trial_mask, min_error_trials, min_session_units, "
        "min_region_sessions, min_region_units, inclusion_description",
        ("bwm", "Beryl", "bwm", 3, 5, 2, 20, "region analyses of the Brain-Wide Map"),
        ("any_unit", "Beryl", "all", 0, 1, 1, 1, "every region in which a unit is"),
    )
