"""The rules: numbers of rows, spikes and their slices, regions of units."""

from __future__ import annotations

from functools import partial

import datajoint as dj
import pandas as pd

from populate import catalog, sql
from populate.verify.counts import Count, Rows, Rule, Total
from populate.verify.damage import Key
from schemas import activity, behavior, ephys, passive, probe, quality, wheel

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
    (ephys.Waveform, "n_waveforms", ephys.Waveform.Unit),
    (quality.Saturation, "n_saturations", quality.Saturation.Interval),
    (ephys.GoodUnits, "n_units", ephys.GoodUnits.Unit),
    (ephys.UnitMetrics, "n_metric_units", ephys.UnitMetrics.Unit),
    (ephys.AutoCorrelogram, "n_acg_units", ephys.AutoCorrelogram.Unit),
    (quality.MetricDifferences, "n_different", quality.MetricDifferences.Unit),
    (activity.Psth, "n_psth_units", activity.Psth.Unit),
    (activity.PassiveResponse, "n_replayed_stimuli", activity.PassiveResponse.Stimulus),
    (passive.UnitReceptiveField, "n_field_units", passive.UnitReceptiveField.Unit),
)


def lengths() -> list[tuple[Table, str, str]]:
    """Return table, column with the number of rows, and column of objects, as tables declare."""
    return [
        (table, n_rows, of_object)
        for table in catalog.tables()
        for of_object, n_rows in getattr(table, "lengths", ())
    ]


def _rows() -> list[Rule]:
    is_read = "MAX(CASE WHEN p.source_md5 IS NOT NULL THEN 1 ELSE 0 END)"
    files = "files that were read"
    return [
        *(_counted("rows", table, column, part) for table, column, part in PARTS),
        *(
            Total("rows", table, column, _length(of_object), f"m.{column}")
            for table, column, of_object in lengths()
        ),
        *(
            Total("rows", table, files, "1", "{n}", {"n": Count(table.Source, is_read)})
            for table in catalog.tables()
            if hasattr(table, "Source")
        ),
    ]


def _counted(
    check: str, table: Table, column: str, of: Table, where: str = "", *unless: Table
) -> Total:
    """Return the rule that a column equals the number of rows of another table."""
    return _total(
        check, table, column, "{n}", *unless, found=f"m.{column}", n=Count(of, where=where)
    )


def _total(
    check: str, table: Table, what: str, expected: str, *unless: Table, found: str = "", **n: Count
) -> Total:
    """Return the rule that a number, default the sum in `what`, is as expected."""
    return Total(check, table, what, expected, found or _sum(what), n, unless)


def _rows_of(
    check: str, table: Table, part: Table, expected: str, *unless: Table, **n: Count
) -> Total:
    """Return the rule that a row has as many rows of a part table as expected."""
    what = f"rows of {part.__name__}"
    return _total(check, table, what, expected, *unless, found="{n}", n=Count(part), **n)


def _sum(names: str) -> str:
    return " + ".join(f"m.{name}" for name in names.split(" + "))


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
    first, performance = wheel.FirstMovement, behavior.Performance
    every, used = Count(trials.Trial), Count(mask, "MAX(p.n_used)")
    conditions = Count(activity.Psth.Condition, "SUM(p.n_psth_events + p.n_psth_dropped)")
    reactions = "n_reactions + n_missing + n_too_fast + n_too_slow"
    moves = "n_first_moves + n_without_move + n_unknown_move"
    if_trials = "CASE WHEN m.trials_eid IS NULL THEN 0 ELSE {trials} END"
    unsplit = "n_psth_events + n_psth_dropped + n_unsplit_trials"
    total, counted = partial(_total, "trials"), partial(_counted, "trials")
    return [
        *(
            _rows_of("trials", table, table.Trial, "{trials}", trials, trials=every)
            for table in (reaction, mask, first)
        ),
        total(reaction, reactions, "{trials}", trials, trials=every),
        total(first, moves, "{trials}", trials, trials=every),
        counted(reaction, "n_reactions", reaction.Trial, "p.rt_in_bounds"),
        counted(reaction, "n_missing", reaction.Trial, "p.reaction_time IS NULL"),
        counted(mask, "n_used", mask.Trial, "p.is_used"),
        counted(first, "n_first_moves", first.Trial, "p.detected_movement_time IS NOT NULL"),
        counted(performance, "n_correct", trials.Trial, "p.feedback_type = 1", trials),
        counted(performance, "n_no_go", trials.Trial, "p.choice = 0", trials),
        total(activity.UnitRate, "n_events + n_dropped_events", if_trials, trials, trials=every),
        total(
            activity.Psth,
            unsplit,
            "{used}",
            mask,
            found="{n} + m.n_unsplit_trials",
            used=used,
            n=conditions,
        ),
        *(
            total(table, what, "{used}", mask, used=used)
            for table, what in (
                (activity.UnitResponse, "n_response_trials + n_incomparable"),
                (activity.Timescale, "n_timescale_trials + n_timescale_eventless"),
            )
        ),
    ]


# --- units --------------------------------------------------------------------------------------


def _units() -> list[Rule]:
    sorting, good_units, metrics = ephys.SpikeSorting, ephys.GoodUnits, ephys.UnitMetrics
    of_all = (ephys.AutoCorrelogram, activity.UnitRate, activity.StateRate)
    timescale = activity.Timescale
    of_chosen = (
        *(activity.Psth, activity.UnitResponse, activity.Modulation, activity.Latency),
        *(timescale, passive.UnitReceptiveField),
    )
    replayed, rates = activity.PassiveResponse, activity.RegionRate
    units, good = Count(sorting.Cluster), Count(good_units.Unit, where="p.is_good")
    chosen = "CASE WHEN m.criterion IS NULL THEN {units} ELSE {good} END"
    # Not the column, which another rule compares with these rows.
    n = {"stimuli": Count(replayed.Stimulus), "units": units, "good": good}
    sources, regions = (sorting, good_units), quality.GoodUnitSummary
    counted = partial(_counted, "units")
    return [
        *(
            _rows_of("units", table, table.Unit, "{units}", sorting, units=units)
            for table in (ephys.Spikes, ephys.Waveform, good_units, metrics, *of_all)
        ),
        *(
            _rows_of("units", table, table.Unit, chosen, *sources, units=units, good=good)
            for table in of_chosen
        ),
        counted(activity.Latency, "n_responding", activity.Latency.Unit, "p.latency IS NOT NULL"),
        _rows_of("units", replayed, replayed.Unit, f"{{stimuli}} * ({chosen})", *sources, **n),
        _rows_of("units", regions, regions.GoodUnit, "{good}", *sources, good=good),
        counted(good_units, "n_good", good_units.Unit, "p.is_good"),
        counted(good_units, "n_undecided", good_units.Unit, "p.is_good IS NULL"),
        *(
            _total(
                "units",
                regions,
                f"n_unlocated{end} + sum over regions",
                "{every}",
                *sources,
                found=f"m.n_unlocated{end} + {{n}}",
                every=every,
                n=Count(regions.Region, f"SUM(p.{column})"),
            )
            for end, every, column in (
                ("", units, "n_in_region"),
                ("_good", good, "n_good_in_region"),
            )
        ),
        counted(timescale, "n_timescales", timescale.Unit, "p.tau IS NOT NULL"),
        counted(timescale, "n_without_timescale", timescale.Unit, "p.tau IS NULL"),
        counted(metrics, "n_label_good", metrics.Unit, "p.computed_bitwise_fail = 0"),
        _total(
            "units", rates, "n_located_units + n_unlocated_units", "{good}", *sources, good=good
        ),
    ]


# --- spikes -------------------------------------------------------------------------------------


def _spikes() -> list[Rule]:
    spikes, sorting, metrics = ephys.Spikes, ephys.SpikeSorting, ephys.UnitMetrics
    fields = passive.UnitReceptiveField
    released = partial(_read, sorting, "Cluster", "spike_count")
    return [
        *_slice_rules(spikes, "m.n_spikes", "n_unit_spikes", "spike_offset"),
        *_slice_rules(
            ephys.Waveform, _length("waveforms"), "n_waveform_samples", "waveform_offset"
        ),
        *_slice_rules(
            ephys.AutoCorrelogram, _length("autocorrelograms"), "n_acg_rows", "acg_offset"
        ),
        *_slice_rules(activity.Psth, _length("psth"), "n_psth_rows", "psth_offset"),
        *_slice_rules(fields, _length("receptive_fields"), "n_unit_squares", "field_offset"),
        *(
            Rows(
                "spikes",
                table,
                f"{column} against n_unit_spikes",
                part,
                partial(_pairs, part, column, spikes.Unit, "n_unit_spikes"),
                (spikes,),
                files,
            )
            for table, part, column, files in (
                (sorting, sorting.Cluster, "spike_count", released),
                (metrics, metrics.Unit, "computed_spike_count", None),
            )
        ),
    ]


def _slice_rules(table: Table, n_rows: str, length: str, offset: str) -> list[Rule]:
    """Return the rules that the slices of units fill the object without gaps."""
    total = Count(table.Unit, f"SUM(p.{length})")
    slices = partial(_slices, table, offset, length)
    return [
        _total("spikes", table, f"sum of {length}", n_rows, found="{n}", n=total),
        Rows("spikes", table, offset, table.Unit, slices),
    ]


def _slices(table: Table, offset: str, length: str) -> str:
    """Write the start of each slice, and the sum of the slices before it."""
    of_table = sql.columns(table.primary_key, "p")
    return (
        f"SELECT {sql.columns(table.Unit.primary_key, 'p')}, p.{offset} AS found, "
        f"COALESCE(SUM(p.{length}) OVER (PARTITION BY {of_table} ORDER BY p.cluster_id "
        "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS expected "
        f"FROM {table.Unit.full_table_name} p"
    )


def _pairs(table: Table, column: str, other: Table, expected: str) -> str:
    """Write a column of a table beside a column of another table, without NULLs."""
    shared = [name for name in other.primary_key if name in table.primary_key]
    return (
        f"SELECT {sql.columns(table.primary_key, 'p')}, p.{column} AS found, "
        f"o.{expected} AS expected FROM {table.full_table_name} p "
        f"JOIN {other.full_table_name} o ON {sql.same(shared, 'p', 'o')} "
        f"WHERE p.{column} IS NOT NULL"
    )


def _read(table: Table, part: str, column: str, key: Key) -> dict[int, str | None]:
    """Read integers of a part table from the source files, as `make` does.

    Metrics and regions are released in files of their own, which may contradict the files of
    spikes and sites. Only a look into the files tells such a contradiction from a changed row.
    """
    target = table()
    _, parts, _ = target.make_compute(key, *target.make_fetch(key))
    values = parts[part].get(column, ())
    return {row: None if pd.isna(value) else str(int(value)) for row, value in enumerate(values)}


# --- regions ------------------------------------------------------------------------------------


def _regions() -> list[Rule]:
    return [
        Rows(
            "regions",
            table,
            f"{column} against that of its {other}",
            part,
            partial(_placed, part),
            files=partial(_read, table, part.__name__, column),
        )
        for table, part, column, other in (
            (ephys.SpikeSorting, ephys.SpikeSorting.Cluster, "region_id", "site"),
            (probe.Channels, probe.Channels.Channel, "channel_region_id", "units"),
        )
    ]


def _placed(table: Table) -> str:
    """Write the region of each unit beside that of its site, at equal coordinates."""
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
