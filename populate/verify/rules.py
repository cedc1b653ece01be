"""What must hold across tables: numbers of rows, spikes and their slices, regions of units."""

from __future__ import annotations

from functools import partial

import datajoint as dj
import pandas as pd

from populate import catalog, sql
from populate.verify.counts import Count, Rows, Rule, Total
from populate.verify.damage import Key
from schemas import activity, behavior, ephys, passive, probe, quality, video, wheel

PROMISES = {
    "rows": "a row that says how many rows, files or samples it has, has them",
    "trials": "every trial has its row in every table of trials, and the counts add up",
    "units": "every unit has its row in every table of units, and the counts add up",
    "spikes": "spikes = sum of units = released count, and slices fill their object",
    "regions": "every unit has the region of its site, or there is none to have",
}
"""What must hold, by check."""

Table = type[dj.Table]


def rules() -> list[Rule]:
    """Return everything that must hold, parents before what is computed from them."""
    return [*_rows(), *_trials(), *_units(), *_spikes(), *_regions()]


# --- numbers of rows, files and samples ---------------------------------------------------------

PARTS = (
    (behavior.Trials, "n_trials", behavior.Trials.Trial),
    (ephys.SpikeSorting, "n_clusters", ephys.SpikeSorting.Cluster),
    (probe.Channels, "n_channels", probe.Channels.Channel),
    (wheel.WheelMoves, "n_moves", wheel.WheelMoves.Move),
    (passive.PassivePeriods, "n_periods", passive.PassivePeriods.Period),
    (passive.PassiveStimuli, "n_stimuli", passive.PassiveStimuli.Stimulus),
    (passive.PassiveGabors, "n_gabors", passive.PassiveGabors.Gabor),
    (ephys.GoodUnits, "n_units", ephys.GoodUnits.Unit),
    (ephys.UnitMetrics, "n_metric_units", ephys.UnitMetrics.Unit),
    (activity.Psth, "n_psth_units", activity.Psth.Unit),
)
LENGTHS = (
    (wheel.Wheel, "n_samples", "wheel_trace"),
    (video.FrameTimes, "n_frame_times", "frame_times"),
    (video.Pose, "n_pose_frames", "pose"),
    (video.Pupil, "n_pupil_frames", "pupil"),
    (video.MotionEnergy, "n_energy_frames", "motion_energy"),
    (video.Licks, "n_licks", "licks"),
    (passive.ReceptiveField, "n_noise_frames", "sparse_noise"),
    (quality.RMS, "n_rms_windows", "rms"),
    (quality.SpectralDensity, "n_frequencies", "spectral_density"),
    (ephys.Spikes, "n_spikes", "spikes"),
)


def _rows() -> list[Rule]:
    read = "CASE WHEN p.source_md5 IS NOT NULL THEN 1 ELSE 0 END"
    return [
        *(
            Total("rows", table, column, "{n}", f"m.{column}", {"n": Count(part)})
            for table, column, part in PARTS
        ),
        *(
            Total("rows", table, column, _length(column_of_object), f"m.{column}")
            for table, column, column_of_object in LENGTHS
        ),
        *(
            Total(
                "rows",
                table,
                "files that were read",
                "1",
                "{n}",
                {"n": Count(table.Source, f"MAX({read})")},
            )
            for table in catalog.tables()
            if hasattr(table, "Source")
        ),
    ]


def _length(column: str) -> str:
    """Write the number of rows of an object, as its row has it."""
    if sql.is_mysql():
        return f"CAST(JSON_EXTRACT(m.{column}, '$.n_rows') AS SIGNED)"
    # What is no number is none of rows, and would end the statement.
    return (
        f"CASE WHEN json_typeof(m.{column}::json->'n_rows') = 'number' "
        f"THEN CAST(m.{column}::json->>'n_rows' AS NUMERIC) END"
    )


# --- trials -------------------------------------------------------------------------------------


def _trials() -> list[Rule]:
    trials = Count(behavior.Trials.Trial)
    used = Count(behavior.TrialMask, "MAX(p.n_used)")
    reaction, mask, first = behavior.ReactionTime, behavior.TrialMask, wheel.FirstMovement
    above = (behavior.Trials,)
    return [
        *(
            Total(
                "trials",
                table,
                "rows of Trial",
                "{trials}",
                "{n}",
                {"trials": trials, "n": Count(table.Trial)},
                above,
            )
            for table in (reaction, mask, first)
        ),
        *(
            Total("trials", table, total, "{trials}", _sum(total), {"trials": trials}, above)
            for table, total in (
                (reaction, "n_reactions + n_missing + n_too_fast + n_too_slow"),
                (first, "n_first_moves + n_without_move + n_unknown_move"),
            )
        ),
        *(
            Total(
                "trials",
                table,
                column,
                "{n}",
                f"m.{column}",
                {"n": Count(part, where=where)},
                unless,
            )
            for table, column, part, where, unless in (
                (reaction, "n_reactions", reaction.Trial, "p.rt_in_bounds", ()),
                (reaction, "n_missing", reaction.Trial, "p.reaction_time IS NULL", ()),
                (mask, "n_used", mask.Trial, "p.is_used", ()),
                (first, "n_first_moves", first.Trial, "p.detected_movement_time IS NOT NULL", ()),
                (behavior.Performance, "n_correct", above[0].Trial, "p.feedback_type = 1", above),
                (behavior.Performance, "n_no_go", above[0].Trial, "p.choice = 0", above),
            )
        ),
        Total(
            "trials",
            activity.UnitRate,
            "n_events + n_dropped_events",
            "CASE WHEN m.trials_eid IS NULL THEN 0 ELSE {trials} END",
            "m.n_events + m.n_dropped_events",
            {"trials": trials},
            above,
        ),
        Total(
            "trials",
            activity.Psth,
            "n_psth_events + n_psth_dropped + n_unsplit_trials",
            "{used}",
            "{n} + m.n_unsplit_trials",
            {
                "used": used,
                "n": Count(activity.Psth.Condition, "SUM(p.n_psth_events + p.n_psth_dropped)"),
            },
            (mask,),
        ),
        Total(
            "trials",
            activity.UnitResponse,
            "n_response_trials + n_incomparable",
            "{used}",
            "m.n_response_trials + m.n_incomparable",
            {"used": used},
            (mask,),
        ),
    ]


def _sum(names: str) -> str:
    return " + ".join(f"m.{name}" for name in names.split(" + "))


# --- units --------------------------------------------------------------------------------------


def _units() -> list[Rule]:
    units = Count(ephys.SpikeSorting.Cluster)
    good = Count(ephys.GoodUnits.Unit, where="p.is_good")
    sort, chosen = (ephys.SpikeSorting,), (ephys.SpikeSorting, ephys.GoodUnits)
    asked = "CASE WHEN m.criterion IS NULL THEN {units} ELSE {good} END"
    rates, metrics = activity.RegionRate, ephys.UnitMetrics
    return [
        *(
            Total(
                "units",
                table,
                "rows of Unit",
                "{units}",
                "{n}",
                {"units": units, "n": Count(table.Unit)},
                sort,
            )
            for table in (ephys.Spikes, ephys.GoodUnits, metrics, activity.UnitRate)
        ),
        *(
            Total(
                "units",
                table,
                "rows of Unit",
                asked,
                "{n}",
                {"units": units, "good": good, "n": Count(table.Unit)},
                chosen,
            )
            for table in (activity.Psth, activity.UnitResponse)
        ),
        *(
            Total(
                "units", table, column, "{n}", f"m.{column}", {"n": Count(table.Unit, where=where)}
            )
            for table, column, where in (
                (ephys.GoodUnits, "n_good", "p.is_good"),
                (ephys.GoodUnits, "n_undecided", "p.is_good IS NULL"),
                (metrics, "n_label_good", "p.computed_bitwise_fail = 0"),
            )
        ),
        Total(
            "units",
            rates,
            "n_located_units + n_unlocated_units",
            "{good}",
            "m.n_located_units + m.n_unlocated_units",
            {"good": good},
            chosen,
        ),
    ]


# --- spikes -------------------------------------------------------------------------------------


def _spikes() -> list[Rule]:
    spikes, psth = ephys.Spikes, activity.Psth
    return [
        Total(
            "spikes",
            spikes,
            "sum of n_unit_spikes",
            "m.n_spikes",
            "{n}",
            {"n": Count(spikes.Unit, "SUM(p.n_unit_spikes)")},
        ),
        Total(
            "spikes",
            psth,
            "sum of n_psth_rows",
            _length("psth"),
            "{n}",
            {"n": Count(psth.Unit, "SUM(p.n_psth_rows)")},
        ),
        Rows(
            "spikes",
            spikes,
            "spike_offset",
            spikes.Unit,
            partial(_slices, spikes, "spike_offset", "n_unit_spikes"),
        ),
        Rows(
            "spikes",
            psth,
            "psth_offset",
            psth.Unit,
            partial(_slices, psth, "psth_offset", "n_psth_rows"),
        ),
        Rows(
            "spikes",
            ephys.SpikeSorting,
            "spike_count against n_unit_spikes",
            ephys.SpikeSorting.Cluster,
            partial(
                _pairs, ephys.SpikeSorting.Cluster, "spike_count", spikes.Unit, "n_unit_spikes"
            ),
            (spikes,),
            partial(_read, ephys.SpikeSorting, "spike_count"),
        ),
        Rows(
            "spikes",
            ephys.UnitMetrics,
            "computed_spike_count against n_unit_spikes",
            ephys.UnitMetrics.Unit,
            partial(
                _pairs, ephys.UnitMetrics.Unit, "computed_spike_count", spikes.Unit, "n_unit_spikes"
            ),
            (spikes,),
        ),
    ]


def _slices(table: Table, offset: str, length: str) -> str:
    """Write where the slice of each unit starts, and where it must: after those before it."""
    of_table = sql.columns(table.primary_key, "p")
    return (
        f"SELECT {sql.columns(table.Unit.primary_key, 'p')}, p.{offset} AS found, "
        f"COALESCE(SUM(p.{length}) OVER (PARTITION BY {of_table} ORDER BY p.cluster_id "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS expected "
        f"FROM {table.Unit.full_table_name} p"
    )


def _pairs(table: Table, column: str, other: Table, expected: str) -> str:
    """Write a column of a table beside that of another, row by row; what is null says nothing."""
    shared = [name for name in other.primary_key if name in table.primary_key]
    same = " AND ".join(f"p.{name} = o.{name}" for name in shared)
    return (
        f"SELECT {sql.columns(table.primary_key, 'p')}, p.{column} AS found, "
        f"o.{expected} AS expected FROM {table.full_table_name} p "
        f"JOIN {other.full_table_name} o ON {same} WHERE p.{column} IS NOT NULL"
    )


def _read(table: Table, column: str, key: Key) -> dict[int, str | None]:
    """Read whole numbers of a part from files, as the table does when it makes the row.

    Metrics and regions are released in files of their own, and no release promises that they are
    those of its spikes and sites. Only the files tell that from a row which was changed; they are
    read for damaged rows alone, each as it is made.
    """
    target = table()
    loaded, *_ = target.make_compute(key, *target.make_fetch(key))
    values = loaded.frame.get(column, ())
    return {row: None if pd.isna(value) else str(int(value)) for row, value in enumerate(values)}


# --- regions ------------------------------------------------------------------------------------


def _regions() -> list[Rule]:
    sort, sites = ephys.SpikeSorting, probe.Channels
    return [
        Rows(
            "regions",
            sort,
            "region_id against that of its site",
            sort.Cluster,
            partial(_placed, sort.Cluster),
            files=partial(_read, sort, "region_id"),
        ),
        Rows(
            "regions",
            sites,
            "channel_region_id against that of its units",
            sites.Channel,
            partial(_placed, sites.Channel),
            files=partial(_read, sites, "region_id"),
        ),
    ]


def _placed(table: Table) -> str:
    """Write the region of each unit beside that of the site which has the unit's very place."""
    places = ("axial", "lateral", "x", "y", "z")
    moved = " OR ".join(sql.differ(f"u.unit_{name}", f"s.channel_{name}") for name in places)
    of_unit = table is ephys.SpikeSorting.Cluster
    found, expected = ("u.region_id", "s.channel_region_id")[:: 1 if of_unit else -1]
    # A unit without a region at a site that has one is at fault alone.
    both = "" if of_unit else " AND u.region_id IS NOT NULL"
    return (
        f"SELECT DISTINCT {sql.columns(table.primary_key, 'u' if of_unit else 's')}, "
        f"{found} AS found, {expected} AS expected "
        f"FROM {ephys.SpikeSorting.Cluster.full_table_name} u "
        f"JOIN {probe.Channels.Channel.full_table_name} s ON u.eid = s.eid "
        f"AND u.probe_name = s.probe_name AND u.peak_channel = s.channel WHERE NOT ({moved}){both}"
    )
