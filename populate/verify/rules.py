"""The rules across tables: numbers of rows, spikes and their slices, regions of units."""

from __future__ import annotations

from functools import partial

import datajoint as dj
import pandas as pd

from populate import catalog, sql
from populate.verify.counts import Count, Rows, Rule, Total
from populate.verify.damage import Key
from schemas import activity, behavior, ephys, passive, probe, quality, video, wheel

PROMISES = {
    "rows": "each row has as many rows of part tables, files or samples as it says",
    "trials": "every trial has its row in every table of trials, and the counts add up",
    "units": "every unit has its row in every table of units, and the counts add up",
    "spikes": "number of spikes = sum over units = released count; slices fill their object",
    "regions": "every unit has the region of its recording site, or neither has one",
}
"""What must hold, by check."""

Table = type[dj.Table]


def rules() -> list[Rule]:
    """Return all rules, those of parents before those of tables computed from them."""
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
    is_read = "MAX(CASE WHEN p.source_md5 IS NOT NULL THEN 1 ELSE 0 END)"
    files = "files that were read"
    return [
        *(_counted("rows", table, column, Count(part)) for table, column, part in PARTS),
        *(
            Total("rows", table, column, _length(of_object), f"m.{column}")
            for table, column, of_object in LENGTHS
        ),
        *(
            Total("rows", table, files, "1", "{n}", {"n": Count(table.Source, is_read)})
            for table in catalog.tables()
            if hasattr(table, "Source")
        ),
    ]


def _counted(
    check: str, table: Table, column: str, count: Count, unless: tuple[Table, ...] = ()
) -> Total:
    """Return the rule that a column of a table equals a count."""
    return Total(check, table, column, "{n}", f"m.{column}", {"n": count}, unless)


def _length(column: str) -> str:
    """Write the number of rows of an object, as its reference has it."""
    if sql.is_mysql():
        return f"CAST(JSON_EXTRACT(m.{column}, '$.n_rows') AS SIGNED)"
    # Non-numeric JSON would abort the query.
    return (
        f"CASE WHEN json_typeof(m.{column}::json->'n_rows') = 'number' "
        f"THEN CAST(m.{column}::json->>'n_rows' AS NUMERIC) END"
    )


# --- trials -------------------------------------------------------------------------------------


def _trials() -> list[Rule]:
    trials, reaction, mask = behavior.Trials, behavior.ReactionTime, behavior.TrialMask
    first, psth = wheel.FirstMovement, activity.Psth
    all_trials = {"trials": Count(trials.Trial)}
    used = {"used": Count(mask, "MAX(p.n_used)")}
    conditions = Count(psth.Condition, "SUM(p.n_psth_events + p.n_psth_dropped)")
    events = "n_events + n_dropped_events"
    responses = "n_response_trials + n_incomparable"
    return [
        *(
            Total(
                "trials",
                table,
                "rows of Trial",
                "{trials}",
                "{n}",
                {**all_trials, "n": Count(table.Trial)},
                (trials,),
            )
            for table in (reaction, mask, first)
        ),
        *(
            Total("trials", table, total, "{trials}", _sum(total), all_trials, (trials,))
            for table, total in (
                (reaction, "n_reactions + n_missing + n_too_fast + n_too_slow"),
                (first, "n_first_moves + n_without_move + n_unknown_move"),
            )
        ),
        *(
            _counted("trials", table, column, Count(table.Trial, where=where))
            for table, column, where in (
                (reaction, "n_reactions", "p.rt_in_bounds"),
                (reaction, "n_missing", "p.reaction_time IS NULL"),
                (mask, "n_used", "p.is_used"),
                (first, "n_first_moves", "p.detected_movement_time IS NOT NULL"),
            )
        ),
        *(
            _counted(
                "trials", behavior.Performance, column, Count(trials.Trial, where=where), (trials,)
            )
            for column, where in (("n_correct", "p.feedback_type = 1"), ("n_no_go", "p.choice = 0"))
        ),
        Total(
            "trials",
            activity.UnitRate,
            events,
            "CASE WHEN m.trials_eid IS NULL THEN 0 ELSE {trials} END",
            _sum(events),
            all_trials,
            (trials,),
        ),
        Total(
            "trials",
            psth,
            "n_psth_events + n_psth_dropped + n_unsplit_trials",
            "{used}",
            "{n} + m.n_unsplit_trials",
            {**used, "n": conditions},
            (mask,),
        ),
        Total("trials", activity.UnitResponse, responses, "{used}", _sum(responses), used, (mask,)),
    ]


def _sum(names: str) -> str:
    return " + ".join(f"m.{name}" for name in names.split(" + "))


# --- units --------------------------------------------------------------------------------------


def _units() -> list[Rule]:
    sorting, good_units, metrics = ephys.SpikeSorting, ephys.GoodUnits, ephys.UnitMetrics
    units = {"units": Count(sorting.Cluster)}
    good = {"good": Count(good_units.Unit, where="p.is_good")}
    chosen = "CASE WHEN m.criterion IS NULL THEN {units} ELSE {good} END"
    total = "n_located_units + n_unlocated_units"
    return [
        *(
            Total(
                "units",
                table,
                "rows of Unit",
                expected,
                "{n}",
                {**counts, "n": Count(table.Unit)},
                unless,
            )
            for tables, expected, counts, unless in (
                (
                    (ephys.Spikes, good_units, metrics, activity.UnitRate),
                    "{units}",
                    units,
                    (sorting,),
                ),
                (
                    (activity.Psth, activity.UnitResponse),
                    chosen,
                    units | good,
                    (sorting, good_units),
                ),
            )
            for table in tables
        ),
        *(
            _counted("units", table, column, Count(table.Unit, where=where))
            for table, column, where in (
                (good_units, "n_good", "p.is_good"),
                (good_units, "n_undecided", "p.is_good IS NULL"),
                (metrics, "n_label_good", "p.computed_bitwise_fail = 0"),
            )
        ),
        Total(
            "units",
            activity.RegionRate,
            total,
            "{good}",
            _sum(total),
            good,
            (sorting, good_units),
        ),
    ]


# --- spikes -------------------------------------------------------------------------------------


def _spikes() -> list[Rule]:
    spikes, psth, sorting = ephys.Spikes, activity.Psth, ephys.SpikeSorting
    rules: list[Rule] = []
    for table, n_rows, length, offset in (
        (spikes, "m.n_spikes", "n_unit_spikes", "spike_offset"),
        (psth, _length("psth"), "n_psth_rows", "psth_offset"),
    ):
        total = Count(table.Unit, f"SUM(p.{length})")
        slices = partial(_slices, table, offset, length)
        rules += [
            Total("spikes", table, f"sum of {length}", n_rows, "{n}", {"n": total}),
            Rows("spikes", table, offset, table.Unit, slices),
        ]
    for table, part, column, files in (
        (
            sorting,
            sorting.Cluster,
            "spike_count",
            partial(_read, sorting, "Cluster", "spike_count"),
        ),
        (ephys.UnitMetrics, ephys.UnitMetrics.Unit, "computed_spike_count", None),
    ):
        what = f"{column} against n_unit_spikes"
        pairs = partial(_pairs, part, column, spikes.Unit, "n_unit_spikes")
        rules.append(Rows("spikes", table, what, part, pairs, (spikes,), files))
    return rules


def _slices(table: Table, offset: str, length: str) -> str:
    """Write where the slice of each unit starts, and where it must: after all earlier ones."""
    of_table = sql.columns(table.primary_key, "p")
    return (
        f"SELECT {sql.columns(table.Unit.primary_key, 'p')}, p.{offset} AS found, "
        f"COALESCE(SUM(p.{length}) OVER (PARTITION BY {of_table} ORDER BY p.cluster_id "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS expected "
        f"FROM {table.Unit.full_table_name} p"
    )


def _pairs(table: Table, column: str, other: Table, expected: str) -> str:
    """Write a column of a table beside that of another, row by row, without NULLs."""
    shared = [name for name in other.primary_key if name in table.primary_key]
    return (
        f"SELECT {sql.columns(table.primary_key, 'p')}, p.{column} AS found, "
        f"o.{expected} AS expected FROM {table.full_table_name} p "
        f"JOIN {other.full_table_name} o ON {sql.same(shared, 'p', 'o')} "
        f"WHERE p.{column} IS NOT NULL"
    )


def _read(table: Table, part: str, column: str, key: Key) -> dict[int, str | None]:
    """Read integers of a part table from the source files, as `make` does.

    Metrics and regions are released in their own files, which may contradict the files of spikes
    and sites. Only the files can tell this from a changed row; they are read for damaged rows only.
    """
    target = table()
    _, parts, _ = target.make_compute(key, *target.make_fetch(key))
    values = parts[part].get(column, ())
    return {row: None if pd.isna(value) else str(int(value)) for row, value in enumerate(values)}


# --- regions ------------------------------------------------------------------------------------


def _regions() -> list[Rule]:
    sorting, sites = ephys.SpikeSorting, probe.Channels
    return [
        Rows(
            "regions",
            sorting,
            "region_id against that of its site",
            sorting.Cluster,
            partial(_placed, sorting.Cluster),
            files=partial(_read, sorting, "Cluster", "region_id"),
        ),
        Rows(
            "regions",
            sites,
            "channel_region_id against that of its units",
            sites.Channel,
            partial(_placed, sites.Channel),
            files=partial(_read, sites, "Channel", "channel_region_id"),
        ),
    ]


def _placed(table: Table) -> str:
    """Write the region of each unit beside that of the site with the same coordinates."""
    places = ("axial", "lateral", "x", "y", "z")
    moved = " OR ".join(sql.differ(f"u.unit_{name}", f"s.channel_{name}") for name in places)
    of_unit = table is ephys.SpikeSorting.Cluster
    found, expected = ("u.region_id", "s.channel_region_id")[:: 1 if of_unit else -1]
    # If only the site has a region, the unit is wrong, and the site is not.
    both = "" if of_unit else " AND u.region_id IS NOT NULL"
    return (
        f"SELECT DISTINCT {sql.columns(table.primary_key, 'u' if of_unit else 's')}, "
        f"{found} AS found, {expected} AS expected "
        f"FROM {ephys.SpikeSorting.Cluster.full_table_name} u "
        f"JOIN {probe.Channels.Channel.full_table_name} s ON u.eid = s.eid "
        f"AND u.probe_name = s.probe_name AND u.peak_channel = s.channel WHERE NOT ({moved}){both}"
    )
