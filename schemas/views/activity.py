"""Histograms and responses of units, and the units and rates of the regions."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, atlas, behavior, ephys, quality, rows
from schemas.maths import inclusion as maths
from schemas.views import ephys as unit_views
from schemas.views.errata import one_warning, warn_of
from schemas.views.located import KEY as UNIT
from schemas.views.located import add_location
from schemas.views.session import require


@one_warning
def fetch_psth(
    units: dj.expression.QueryExpression | str, psth_definition: str, lateral: bool = False
) -> pd.DataFrame:
    """Fetch the rates of units around an event.

    Parameters
    ----------
    units : expression or str
        Any expression with the key of a unit, e.g. `views.units(...)`; or the pid of an insertion
        or the eid of a session, for all units of its default sort.
    psth_definition : str
        A row of `activity.PsthDefinition`.
    lateral : bool
        Name sides by the hemisphere of the unit, e.g. `contralateral 0.25` instead of `left 0.25`.
        Units whose hemisphere is not known are left out.

    Returns
    -------
    pandas.DataFrame
        One row per unit, condition and bin, in that order: `eid`, `probe_name`, `sorting_name`,
        `cluster_id`, `condition` (its name), `time` (s, from the event to the centre of the
        bin), `mean` and `sem` (Hz), `n_events` (number of averaged trials). Units that the
        definition leaves out have no rows; conditions without an event have NaN.

    Raises
    ------
    QueryError
        No such definition or recording.
    """
    require(activity.PsthDefinition, "psth_definition", psth_definition)
    chosen = unit_views.units_or_recording(units).proj()
    of_definition = {"psth_definition": psth_definition}
    slices = rows.frame(activity.Psth.Unit & of_definition & chosen)
    warn_of("spikes", slices)
    warn_of("trials", slices[["eid"]])
    of_sort = slices.groupby(UNIT[:-1], sort=False).indices
    objects = (activity.Psth & of_definition & chosen).to_dicts(order_by=UNIT[:-1])
    keyed = [(tuple(row[name] for name in UNIT[:-1]), row) for row in objects]
    parts = [_read_psth(row, slices.iloc[of_sort[key]]) for key, row in keyed if key in of_sort]
    nothing = pd.DataFrame(columns=[*UNIT[:-1], *PSTH_COLUMNS.values()])
    table = pd.concat(parts) if parts else nothing
    names = ["condition_number", "psth_condition", "n_psth_events"]
    conditions = activity.Psth.Condition & of_definition & chosen
    conditions = rows.frame(conditions.proj(*names[1:]))
    table = table.merge(conditions[[*UNIT[:-1], *names]], "left", [*UNIT[:-1], names[0]])
    table = table.rename(columns={"psth_condition": "condition", "n_psth_events": "n_events"})
    table = table[[*UNIT, "condition", "time", "mean", "sem", "n_events"]]
    return _name_sides(table, chosen) if lateral else table


def _name_sides(table: pd.DataFrame, chosen: dj.expression.QueryExpression) -> pd.DataFrame:
    """Replace left and right in the names of conditions by contralateral and ipsilateral."""
    places = rows.frame((ephys.SpikeSorting.Cluster & chosen).proj("region_id", "unit_x"))
    sides = add_location(places).dropna(subset=["hemisphere"])
    table = table.merge(sides[[*UNIT, "hemisphere"]], on=UNIT)
    for hemisphere, other in (("left", "right"), ("right", "left")):
        of_side = table.hemisphere == hemisphere
        named = {hemisphere: "ipsilateral", other: "contralateral"}
        renamed = table.condition[of_side].str.replace(
            r"^(left|right)\b", lambda found, named=named: named[found[1]], regex=True
        )
        table.loc[of_side, "condition"] = renamed
    return table.drop(columns="hemisphere")


PSTH_COLUMNS = {
    "cluster": "cluster_id",
    "condition": "condition_number",
    "time": "time",
    "mean": "mean",
    "sem": "sem",
}


def _read_psth(row: dict, units: pd.DataFrame) -> pd.DataFrame:
    """Read the slices of some units from one object."""
    columns = {
        ours: np.concatenate(row["psth"].read_slices(stored, units.psth_offset, units.n_psth_rows))
        for stored, ours in PSTH_COLUMNS.items()
    }
    return pd.DataFrame({**{name: row[name] for name in UNIT[:-1]}, **columns})


def responses(
    response_definition: str,
    region: str | None = None,
    criterion: str | None = None,
    release_name: str | None = None,
    sorting: str | None = None,
) -> dj.expression.QueryExpression:
    """Return units with their response, to restrict and join further, e.g. `& "wilcoxon_p < 0.01"`.

    Parameters
    ----------
    response_definition : str
        A row of `activity.ResponseDefinition`.
    region, criterion, release_name, sorting : str, optional
        As in `units`.

    Returns
    -------
    expression
        One row per unit for which the response is computed: `rate_before` and `rate_in` (Hz),
        `wilcoxon_statistic`, `wilcoxon_p`, `n_changed_trials`, `n_response_trials`,
        `n_incomparable`, `region_id`.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    require(activity.ResponseDefinition, "response_definition", response_definition)
    chosen = unit_views.units(region, criterion, release_name, sorting).proj()
    of_units = activity.UnitResponse.Unit & {"response_definition": response_definition} & chosen
    trials = activity.UnitResponse.proj("n_response_trials", "n_incomparable")
    return of_units * trials * ephys.SpikeSorting.Cluster.proj("region_id")


def fetch_inclusion_chain(
    criterion: str,
    release_name: str | None = None,
    sorting: str | None = None,
    rule: str = "bwm",
) -> pd.DataFrame:
    """Count what the inclusion chain of the Brain-Wide Map leaves, step by step.

    Units are counted per region and session, both probes together. A unit of which it is not
    known whether it is good counts as not good.

    Parameters
    ----------
    criterion : str
        What a good unit is: a row of `ephys.UnitCriterion`.
    release_name, sorting : str, optional
        As in `sorts`.
    rule : str
        Thresholds and mapping: a row of `activity.InclusionRule`.

    Returns
    -------
    pandas.DataFrame
        Indexed by `step`, under the published names; by the rule `bwm` these are: Session and
        insertion QC; Minimum 3 error trials (of the session, among the trials that the mask of
        the rule leaves in use; sessions without imported trials have none); Single unit QC; Gray
        matter regions (located, and not in void or root); Minimum 5 units per region (in the
        session); Minimum 2 sessions per region; Minimum 20 units per region. Columns `units`,
        `regions` (of the mapping; void and root count in the first three), `insertions`,
        `sessions`.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    groups, steps = _apply_chain(criterion, release_name, sorting, rule)
    counts = {name: _count(groups[left]) for name, left in steps.items()}
    return pd.DataFrame.from_dict(counts, orient="index").rename_axis("step")


def _count(left: pd.DataFrame) -> dict[str, int]:
    return {
        "units": left.n_units.sum(),
        "regions": left.region_id.nunique(),
        "insertions": len(left[["eid", "probe_name"]].drop_duplicates()),
        "sessions": left.eid.nunique(),
    }


def fetch_included_units(
    criterion: str,
    release_name: str | None = None,
    sorting: str | None = None,
    rule: str = "bwm",
) -> pd.DataFrame:
    """Fetch the units that the whole chain leaves.

    Parameters
    ----------
    criterion, release_name, sorting, rule
        As in `fetch_inclusion_chain`.

    Returns
    -------
    pandas.DataFrame
        The key of each unit, and `region_id`, its region in the mapping of the rule.
    """
    groups, steps = _apply_chain(criterion, release_name, sorting, rule)
    left = groups.loc[list(steps.values())[-1], ["eid", "region_id"]].drop_duplicates()
    mapping = require(activity.InclusionRule, "inclusion_rule", rule)["mapping"]
    good = rows.frame(unit_views.units(None, criterion, release_name, sorting).proj("region_id"))
    return locate(good, mapping).merge(left, on=["eid", "region_id"])[[*UNIT, "region_id"]]


def _apply_chain(
    criterion: str, release_name: str | None, sorting: str | None, rule: str
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Count units by region, insertion and goodness, and find which groups each step leaves."""
    require(ephys.UnitCriterion, "criterion", criterion)
    limits = require(activity.InclusionRule, "inclusion_rule", rule)
    chosen = unit_views.sorts(sorting, release_name).proj()
    groups = locate(fetch_groups(criterion, chosen), limits["mapping"])
    steps = maths.compute_chain(
        groups.region_id.fillna(atlas.OUTSIDE[0]).to_numpy(np.int64),
        (groups.region_id.isna() | groups.region_id.isin(atlas.OUTSIDE)).to_numpy(bool),
        groups.is_good.to_numpy(),
        groups.eid.to_numpy(),
        groups.eid.map(_count_errors(limits["trial_mask"])).fillna(0).to_numpy(int),
        n_units=groups.n_units.to_numpy(),
        **{name: limit for name, limit in limits.items() if name.startswith("min_")},
    )
    return groups, {maths.STEPS[name].format(**limits): left for name, left in steps.items()}


def fetch_groups(criterion: str, sorts: dj.expression.QueryExpression) -> pd.DataFrame:
    """Count the units of sorts by region, insertion and whether they are good.

    A release has some hundred thousand units, but some ten thousand of these groups.
    """
    of_criterion = {"criterion": criterion}
    judged = (ephys.GoodUnits & of_criterion & sorts).proj()
    outside = rows.frame(unit_views.summaries(judged)).rename(columns=OF_NO_REGION)
    inside = rows.frame(quality.GoodUnitSummary.Region & of_criterion & sorts)
    parts = [inside, outside]
    if not_judged := (sorts - judged).keys():  # else MySQL searches all units in vain
        unknown = ephys.SpikeSorting.Cluster & not_judged
        by_region = dj.U("eid", "probe_name", "region_id").aggr(unknown, n_in_region="count(*)")
        parts.append(rows.frame(by_region).assign(n_good_in_region=0))
    every = pd.concat(parts, ignore_index=True)
    every = every.astype(dict.fromkeys(OF_NO_REGION.values(), int))  # no row has no type
    n_good = every.n_good_in_region
    good = every.assign(n_units=n_good, is_good=True)
    others = every.assign(n_units=every.n_in_region - n_good, is_good=False)
    found = pd.concat([good, others], ignore_index=True)
    return found[found.n_units > 0].reset_index(drop=True)


OF_NO_REGION = {"n_unlocated": "n_in_region", "n_unlocated_good": "n_good_in_region"}
"""Columns of counts of units without a region, and those of units of a region."""


def _count_errors(trial_mask: str) -> pd.Series:
    """Count the error trials of each session among the trials that a mask leaves in use."""
    used = behavior.TrialMask.Trial & {"trial_mask": trial_mask, "is_used": True}
    errors = (behavior.Trials.Trial & "feedback_type = -1").proj() & used.proj()
    return rows.frame(dj.U("eid").aggr(errors, n_errors="count(*)")).set_index("eid").n_errors


def locate(table: pd.DataFrame, mapping: str) -> pd.DataFrame:
    """Replace regions of the Allen atlas by those of a mapping; null where there are none."""
    regions = rows.frame(atlas.BrainRegion).set_index("region_id", drop=False)
    region = table.region_id.map(regions[atlas.REGION_COLUMN[mapping]])
    return table.assign(region_id=region.astype("Int64"))


def fetch_region_summary(
    criterion: str,
    window: str = "recording",
    mapping: str = "Beryl",
    release_name: str | None = None,
    sorting: str | None = None,
) -> pd.DataFrame:
    """Summarise rates by region, over units and over sessions.

    Parameters
    ----------
    criterion : str
        What a good unit is: a row of `ephys.UnitCriterion`.
    window : str
        Window of the rate: a row of `activity.Window`.
    mapping : str
        A row of `atlas.Mapping`; void and root are left out.
    release_name, sorting : str, optional
        As in `sorts`.

    Returns
    -------
    pandas.DataFrame
        Indexed by acronym in the order of the atlas: `unit_mean`, `unit_median` and `unit_sem`
        (Hz), over units; `session_mean` and `session_sem` (Hz), over the means of the sessions;
        `n_units`, `n_sessions`; `rgb` of the region. Units without a rate are left out, and spike
        sortings that `activity.RegionRate` is not computed for.

    Raises
    ------
    QueryError
        A name is not known; the error lists those that are.
    """
    require(activity.Window, "window_name", window)
    require(atlas.Mapping, "mapping", mapping)
    require(ephys.UnitCriterion, "criterion", criterion)
    of_both = {"criterion": criterion, "window_name": window}
    chosen = activity.RegionRate & of_both & unit_views.sorts(sorting, release_name).proj()
    table = locate(_list_rates(chosen), mapping)
    table = table[table.region_id.notna() & ~table.region_id.isin(atlas.OUTSIDE)]
    summary = maths.summarise_by_session(
        table.rate.to_numpy(float), table.region_id.to_numpy(np.int64), table.eid.to_numpy()
    )
    shown = ("region_acronym", "region_order", "region_rgb")
    regions = rows.frame(atlas.BrainRegion.proj(*shown))
    summary = pd.DataFrame(summary).merge(regions, on="region_id").sort_values("region_order")
    summary = summary.set_index("region_acronym").rename(columns={"region_rgb": "rgb"})
    return summary.drop(columns=["region_id", "region_order"])


def _list_rates(sorts: dj.expression.QueryExpression) -> pd.DataFrame:
    """List the rate of each located unit that a row of `RegionRate` counts."""
    eids, by_region = sorts.to_arrays("eid", "unit_rates")
    lists = [
        (eid, int(region), rates)
        for eid, regions in zip(eids, by_region, strict=True)
        for region, rates in regions.items()
    ]
    listed = pd.DataFrame(lists, columns=["eid", "region_id", "rate"])
    n_units = listed.rate.map(len).to_numpy(int)
    rate = np.concatenate([np.empty(0), *listed.pop("rate")])
    return listed.loc[listed.index.repeat(n_units)].reset_index(drop=True).assign(rate=rate)
