"""The twelve questions in which a database must not be slower than pandas.

Each is asked of the connected database, of pandas and of DuckDB; both read the same rows from
Parquet files, which `export` writes. The answers are equal row for row, which a test holds at small
size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import (
    activity,
    atlas,
    behavior,
    ephys,
    probe,
    quality,
    release,
    rows,
    session,
    subject,
    views,
)
from schemas.maths import inclusion

KEY = ["eid", "probe_name", "sorting_name", "cluster_id"]
CRITERION, METRICS, WINDOW, REACTION = "ibl_2022", "ibl_2024", "recording", "first_movement"
TOLERANCE = 1e-6


def export(folder: Path) -> None:
    """Write the rows that the questions need as Parquet files, a table each."""
    default = rows.frame((ephys.OfferedSorting & "is_default_sorting = TRUE").proj())
    measured = views.session_measures().proj("n_trials", "performance", "rt_median", "bias_shift")
    tables = {
        "units": rows.frame(ephys.SpikeSorting.Cluster),
        "good": rows.frame(ephys.GoodUnits.Unit),
        "rates": rows.frame(activity.UnitRate.Unit & {"window_name": WINDOW}),
        "metrics": rows.frame(ephys.UnitMetrics.Unit & {"metrics_definition": METRICS}),
        "default": default,
        "regions": rows.frame(atlas.BrainRegion),
        "ancestors": rows.frame(atlas.BrainRegion.Ancestor),
        "sessions": rows.frame(session.Session * subject.Subject.proj("lab")),
        "insertions": rows.frame(probe.ProbeInsertion),
        "members": rows.frame(release.Release.Insertion),
        "measures": rows.frame(measured),
        "trials": rows.frame(behavior.Trials.Trial),
        "masks": rows.frame(behavior.TrialMask.Trial),
    }
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)


class Files:
    """Tables as pandas reads them; `columns` alone, as who knows Parquet would do."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._kept = folder, {}

    def read(self, name: str, *columns: str) -> pd.DataFrame:
        """Read a table, once for each choice of columns."""
        if (name, columns) not in self._kept:
            path = self._folder / f"{name}.parquet"
            self._kept[name, columns] = pd.read_parquet(path, columns=list(columns) or None)
        return self._kept[name, columns]


@dataclass(frozen=True)
class Question:
    """A question, how each of the three is asked, and by which columns its answer is sorted."""

    name: str
    ours: Callable[[], pd.DataFrame]
    pandas: Callable[[Files], pd.DataFrame]
    duckdb: str
    order: tuple[str, ...] = ()


def _region(acronym: str) -> int:
    return views.find_region(acronym)


# --- units of a region ----------------------------------------------------------------------------

SHOWN = ["firing_rate", "amp_median", "cluster_depth", "spike_count"]


def _units_of_th() -> pd.DataFrame:
    return rows.frame(views.units("TH", CRITERION).proj(*SHOWN))


def _good(files: Files) -> pd.DataFrame:
    good = files.read("good", *KEY, "criterion", "is_good")
    chosen = good[(good.criterion == CRITERION) & good.is_good.fillna(False).astype(bool)][KEY]
    return chosen.merge(files.read("default"), on=KEY[:3])


def _below(files: Files, acronym: str) -> pd.Series:
    regions = files.read("regions", "region_id", "region_acronym")
    (region,) = regions.region_id[regions.region_acronym == acronym]
    ancestors = files.read("ancestors")
    return ancestors.region_id[ancestors.ancestor_id == region]


def _units_of_th_pandas(files: Files) -> pd.DataFrame:
    units = files.read("units", *KEY, "region_id", *SHOWN)
    units = units[units.region_id.isin(_below(files, "TH"))]
    return units.merge(_good(files), on=KEY)[[*KEY, *SHOWN]]


GOOD = f"""
    SELECT good.* FROM good JOIN "default" USING (eid, probe_name, sorting_name)
    WHERE criterion = '{CRITERION}' AND is_good
"""
BELOW_TH = """
    SELECT a.region_id FROM ancestors a JOIN regions r ON r.region_id = a.ancestor_id
    WHERE r.region_acronym = 'TH'
"""
UNITS_OF_TH = f"""
    SELECT {", ".join([*KEY, *SHOWN])} FROM units JOIN ({GOOD}) USING ({", ".join(KEY)})
    WHERE region_id IN ({BELOW_TH})
"""


# --- counts by region and criterion ---------------------------------------------------------------


def _region_counts() -> pd.DataFrame:
    of_sorts = quality.GoodUnitSummary.Region & "n_good_in_region > 0" & views.sorts().proj()
    return rows.frame(
        dj.U("region_id", "criterion").aggr(of_sorts, n_units="sum(n_good_in_region)")
    )


def _region_counts_pandas(files: Files) -> pd.DataFrame:
    good = files.read("good", *KEY, "criterion", "is_good")
    good = good[good.is_good.fillna(False).astype(bool)].merge(files.read("default"), on=KEY[:3])
    located = good.merge(files.read("units", *KEY, "region_id"), on=KEY)
    counts = located.dropna(subset="region_id").groupby(["region_id", "criterion"]).size()
    return counts.rename("n_units").reset_index()


REGION_COUNTS = """
    SELECT region_id, criterion, count(*) AS n_units FROM good
    JOIN "default" USING (eid, probe_name, sorting_name)
    JOIN units USING (eid, probe_name, sorting_name, cluster_id)
    WHERE is_good AND region_id IS NOT NULL GROUP BY ALL
"""


# --- inclusion chain ------------------------------------------------------------------------------


def _chain_pandas(files: Files) -> pd.DataFrame:
    units = files.read("units", *KEY, "region_id").merge(files.read("default"), on=KEY[:3])
    units = units.merge(_good(files).assign(is_good=True), "left", KEY)
    regions = files.read("regions", "region_id", "beryl_id").set_index("region_id")
    region = units.region_id.map(regions.beryl_id)
    masks = files.read("masks", "eid", "trial_mask", "trial", "is_used")
    used = masks[(masks.trial_mask == "bwm") & masks.is_used.fillna(False).astype(bool)]
    trials = files.read("trials", "eid", "trial", "feedback_type")
    errors = trials[trials.feedback_type == -1].merge(used, on=["eid", "trial"])
    outside = region.isna() | region.isin(atlas.OUTSIDE)
    steps = inclusion.compute_chain(
        region.fillna(atlas.OUTSIDE[0]).to_numpy(np.int64),
        outside.to_numpy(bool),
        units.is_good.fillna(False).to_numpy(bool),
        units.eid.to_numpy(),
        units.eid.map(errors.groupby("eid").size()).fillna(0).to_numpy(int),
        *(activity.InclusionRule & {"inclusion_rule": "bwm"}).fetch1(*LIMITS),
    )
    return pd.DataFrame({"units": [left.sum() for left in steps.values()]})


LIMITS = [f"min_{name}" for name in inclusion.STEPS if name not in ("all", "good", "in_region")]


def _chain() -> pd.DataFrame:
    return views.fetch_inclusion_chain(CRITERION).reset_index()[["units"]]


CHAIN = f"""
    WITH located AS (
        SELECT u.eid, r.beryl_id AS region, g.is_good FROM units u
        JOIN "default" USING (eid, probe_name, sorting_name)
        LEFT JOIN ({GOOD}) g USING ({", ".join(KEY)}) LEFT JOIN regions r USING (region_id)
    ), errors AS (
        SELECT eid, count(*) AS n FROM trials JOIN masks USING (eid, trial)
        WHERE feedback_type = -1 AND trial_mask = 'bwm' AND is_used GROUP BY eid
    ), some_errors AS (SELECT located.* FROM located JOIN errors USING (eid) WHERE n >= 3),
    good AS (SELECT * FROM some_errors WHERE is_good),
    inside AS (SELECT * FROM good WHERE region IS NOT NULL AND region NOT IN {atlas.OUTSIDE}),
    pairs AS (SELECT region, eid, count(*) AS n FROM inside GROUP BY ALL HAVING n >= 5),
    several AS (SELECT region, sum(n) AS n FROM pairs GROUP BY region HAVING count(*) >= 2)
    SELECT unnest([
        (SELECT count(*) FROM located), (SELECT count(*) FROM some_errors),
        (SELECT count(*) FROM good), (SELECT count(*) FROM inside),
        (SELECT coalesce(sum(n), 0) FROM pairs),
        (SELECT coalesce(sum(n), 0) FROM several),
        (SELECT coalesce(sum(n), 0) FROM several WHERE n >= 20)
    ]) AS units
"""


# --- region and behaviour -------------------------------------------------------------------------

FAST, WELL = 0.25, 0.75


def _region_by_behavior() -> pd.DataFrame:
    chosen = views.region_by_behavior(
        "TH", CRITERION, WINDOW, max_reaction_time=FAST, min_performance=WELL
    )
    return rows.frame(chosen.proj("rate", "rt_median", "performance"))[
        [*KEY, "rate", "rt_median", "performance"]
    ]


def _region_by_behavior_pandas(files: Files) -> pd.DataFrame:
    measures = files.read("measures", "eid", "rt_median", "performance")
    fast = measures[(measures.rt_median <= FAST) & (measures.performance >= WELL)]
    units = files.read("units", *KEY, "region_id")
    units = units[units.region_id.isin(_below(files, "TH"))][KEY]
    rates = files.read("rates", *KEY, "rate")
    return units.merge(fast, on="eid").merge(_good(files), on=KEY).merge(rates, on=KEY)


REGION_BY_BEHAVIOR = f"""
    SELECT {", ".join(KEY)}, rate, rt_median, performance
    FROM units JOIN ({GOOD}) USING ({", ".join(KEY)}) JOIN rates USING ({", ".join(KEY)})
    JOIN measures USING (eid)
    WHERE region_id IN ({BELOW_TH}) AND rt_median <= {FAST} AND performance >= {WELL}
"""


# --- sessions by reaction time --------------------------------------------------------------------


def _sessions() -> pd.DataFrame:
    return rows.frame(views.sessions(max_reaction_time=FAST))[["eid", "subject"]]


def _sessions_pandas(files: Files) -> pd.DataFrame:
    measures = files.read("measures", "eid", "rt_median")
    fast = measures[measures.rt_median <= FAST]
    return fast.merge(files.read("sessions", "eid", "subject"), on="eid")[["eid", "subject"]]


SESSIONS = f"""
    SELECT eid, subject FROM sessions JOIN measures USING (eid) WHERE rt_median <= {FAST}
"""


# --- units by depth and rate ----------------------------------------------------------------------

DEEP, ACTIVE = (1000.0, 1100.0), 5.0


def _deep_units() -> pd.DataFrame:
    deep = f"cluster_depth >= {DEEP[0]} AND cluster_depth < {DEEP[1]} AND firing_rate > {ACTIVE}"
    return rows.frame((views.units() & deep).proj(*SHOWN))


def _deep_units_pandas(files: Files) -> pd.DataFrame:
    units = files.read("units", *KEY, *SHOWN)
    inside = (units.cluster_depth >= DEEP[0]) & (units.cluster_depth < DEEP[1])
    return units[inside & (units.firing_rate > ACTIVE)].merge(files.read("default"), on=KEY[:3])


DEEP_UNITS = f"""
    SELECT {", ".join([*KEY, *SHOWN])} FROM units
    JOIN "default" USING (eid, probe_name, sorting_name)
    WHERE cluster_depth >= {DEEP[0]} AND cluster_depth < {DEEP[1]} AND firing_rate > {ACTIVE}
"""


# --- published counts -----------------------------------------------------------------------------


def _published() -> pd.DataFrame:
    (name,) = release.Release.to_arrays("release_name")
    members = (release.Release.Insertion & {"release_name": name}).proj()
    of_lab = session.Session.proj("subject") * subject.Subject.proj("lab")
    judged = ephys.GoodUnits & {"criterion": CRITERION} & views.sorts().proj()
    counted = judged.proj("n_units", "n_good") * members * of_lab
    return rows.frame(
        dj.U("lab").aggr(
            counted,
            insertions="count(*)",
            sessions="count(distinct eid)",
            mice="count(distinct subject)",
            units="sum(n_units)",
            good="sum(n_good)",
        )
    )


def _published_pandas(files: Files) -> pd.DataFrame:
    good = files.read("good", *KEY, "criterion", "is_good")
    good = good[good.criterion == CRITERION].merge(files.read("default"), on=KEY[:3])
    good = good.assign(is_good=good.is_good.fillna(False).astype(bool))
    of_sort = good.groupby(KEY[:2]).agg(units=("is_good", "size"), good=("is_good", "sum"))
    members = files.read("members").merge(of_sort.reset_index(), on=KEY[:2])
    members = members.merge(files.read("sessions", "eid", "subject", "lab"), on="eid")
    return (
        members.groupby("lab")
        .agg(
            insertions=("probe_name", "size"),
            sessions=("eid", "nunique"),
            mice=("subject", "nunique"),
            units=("units", "sum"),
            good=("good", "sum"),
        )
        .reset_index()
    )


PUBLISHED = f"""
    WITH judged AS (
        SELECT eid, probe_name, count(*) AS units, count(*) FILTER (is_good) AS good FROM good
        JOIN "default" USING (eid, probe_name, sorting_name)
        WHERE criterion = '{CRITERION}' GROUP BY ALL
    )
    SELECT lab, count(*) AS insertions, count(DISTINCT eid) AS sessions,
        count(DISTINCT subject) AS mice, sum(units)::BIGINT AS units, sum(good)::BIGINT AS good
    FROM members JOIN judged USING (eid, probe_name) JOIN sessions USING (eid) GROUP BY lab
"""


# --- metric differences ---------------------------------------------------------------------------

COMPARED = list(quality.RELEASED.items())


def _differences() -> pd.DataFrame:
    found = views.fetch_metric_differences(METRICS, TOLERANCE)
    return found[found.released.notna() & found.computed.notna()][[*KEY, "metric", "difference"]]


def _differences_pandas(files: Files) -> pd.DataFrame:
    units = files.read("units", *KEY, *(name for _, name in COMPARED))
    computed = files.read("metrics", *KEY, *(f"computed_{name}" for name, _ in COMPARED))
    both = units.merge(files.read("default"), on=KEY[:3]).merge(computed, on=KEY)
    parts = []
    for metric, name in COMPARED:
        ours, theirs = both[f"computed_{metric}"].astype(float), both[name].astype(float)
        apart = (ours - theirs).abs() > TOLERANCE * np.maximum(ours.abs(), theirs.abs())
        parts.append(both.loc[apart, KEY].assign(metric=name, difference=(ours - theirs)[apart]))
    return pd.concat(parts)


DIFFERENCES = " UNION ALL ".join(
    f"""
    SELECT {", ".join(KEY)}, '{name}' AS metric, computed_{metric} - {name} AS difference
    FROM units JOIN "default" USING (eid, probe_name, sorting_name)
    JOIN metrics USING ({", ".join(KEY)})
    WHERE abs(computed_{metric} - {name}) > {TOLERANCE} * greatest(abs(computed_{metric}), abs({name}))
    """  # noqa: E501
    for metric, name in COMPARED
)


# --- everything of one subject --------------------------------------------------------------------


def _mouse() -> str:
    counted = dj.U("subject").aggr(session.Session * probe.ProbeInsertion.proj(), n="count(*)")
    return rows.frame(counted).sort_values(["n", "subject"]).subject.iloc[-1]


def _of_mouse() -> pd.DataFrame:
    of_mouse = (session.Session & {"subject": _mouse()}).proj()
    trials = rows.frame(behavior.Trials.Trial & of_mouse)
    units = views.fetch_clusters(views.units() & of_mouse)
    rates = rows.frame(activity.UnitRate.Unit & {"window_name": WINDOW} & of_mouse)
    units = units.merge(rates, on=KEY)
    return pd.DataFrame({"table": ["trials", "units"], "n": [len(trials), len(units)]})


def _of_mouse_pandas(files: Files) -> pd.DataFrame:
    sessions = files.read("sessions", "eid", "subject")
    counted = sessions.merge(files.read("insertions", "eid"), on="eid").groupby("subject").size()
    mouse = counted.rename("n").reset_index().sort_values(["n", "subject"]).subject.iloc[-1]
    eids = sessions.eid[sessions.subject == mouse]
    trials, units = files.read("trials"), files.read("units")
    trials = trials[trials.eid.isin(eids)]
    units = units[units.eid.isin(eids)].merge(files.read("default"), on=KEY[:3])
    good = files.read("good", *KEY, "criterion", "is_good", "unit_label")
    good = good[good.eid.isin(eids)].set_index([*KEY, "criterion"]).unstack()  # noqa: PD010
    good.columns = ["_".join(names) for names in good.columns]
    units = units.merge(good, on=KEY).merge(files.read("rates"), on=KEY)
    return pd.DataFrame({"table": ["trials", "units"], "n": [len(trials), len(units)]})


OF_MOUSE = """
    WITH mouse AS (
        SELECT subject FROM sessions JOIN insertions USING (eid) GROUP BY subject
        ORDER BY count(*) DESC, subject DESC LIMIT 1
    ), mine AS (SELECT eid FROM sessions JOIN mouse USING (subject))
    SELECT 'trials' AS "table", count(*) AS n
    FROM (SELECT * FROM trials JOIN mine USING (eid)) UNION ALL
    SELECT 'units', count(*) FROM (
        SELECT * FROM units JOIN mine USING (eid)
        JOIN "default" USING (eid, probe_name, sorting_name)
        JOIN rates USING (eid, probe_name, sorting_name, cluster_id)
    )
"""


# --- all good units -------------------------------------------------------------------------------

EXPORTED = ["cluster_uuid", "region_id", *SHOWN]


def _export() -> pd.DataFrame:
    return rows.frame(views.good_units(CRITERION).proj(*EXPORTED))[[*KEY, *EXPORTED]]


def _export_pandas(files: Files) -> pd.DataFrame:
    return files.read("units", *KEY, *EXPORTED).merge(_good(files), on=KEY)


EXPORT = f"""
    SELECT {", ".join([*KEY, *EXPORTED])} FROM units JOIN ({GOOD}) USING ({", ".join(KEY)})
"""


def _region_rates() -> pd.DataFrame:
    found = views.fetch_region_summary(CRITERION, WINDOW).reset_index()
    return found[["region_acronym", "unit_mean", "n_units", "n_sessions"]]


def _region_rates_pandas(files: Files) -> pd.DataFrame:
    units = files.read("units", *KEY, "region_id").merge(_good(files), on=KEY)
    regions = files.read("regions", "region_id", "beryl_id", "region_acronym")
    units = units.merge(regions[["region_id", "beryl_id"]], on="region_id")
    units = units[units.beryl_id.notna() & ~units.beryl_id.isin(atlas.OUTSIDE)]
    units = units.merge(files.read("rates", *KEY, "rate"), on=KEY).dropna(subset="rate")
    grouped = units.groupby("beryl_id").agg(
        unit_mean=("rate", "mean"), n_units=("rate", "size"), n_sessions=("eid", "nunique")
    )
    named = grouped.join(regions.set_index("region_id").region_acronym)
    return named.reset_index()[["region_acronym", "unit_mean", "n_units", "n_sessions"]]


REGION_RATES = f"""
    SELECT b.region_acronym, avg(rate) AS unit_mean, count(*) AS n_units,
        count(DISTINCT eid) AS n_sessions
    FROM units JOIN ({GOOD}) USING ({", ".join(KEY)}) JOIN rates USING ({", ".join(KEY)})
    JOIN regions r USING (region_id) JOIN regions b ON b.region_id = r.beryl_id
    WHERE rate IS NOT NULL AND b.region_id NOT IN {atlas.OUTSIDE} GROUP BY b.region_acronym
"""


def _clusters() -> pd.DataFrame:
    return views.fetch_clusters(views.units(None, CRITERION))


def _clusters_pandas(files: Files) -> pd.DataFrame:
    units = files.read("units").merge(_good(files), on=KEY)
    names = ["region_acronym", "region_name", "beryl_id", "cosmos_id"]
    regions = files.read("regions", "region_id", *names)
    acronym = regions.set_index("region_id").region_acronym
    units = units.merge(regions, "left", on="region_id")
    for mapping, column in atlas.REGION_COLUMN.items():
        units[f"region_{mapping.lower()}"] = units[column].map(acronym)
    units["hemisphere"] = np.select([units.unit_x < 0, units.unit_x > 0], ["left", "right"], None)
    labels = files.read("good", *KEY, "criterion", "unit_label", "is_good")
    for criterion, of in labels.groupby("criterion"):
        named = {"unit_label": f"label_{criterion}", "is_good": f"good_{criterion}"}
        units = units.merge(of.drop(columns="criterion").rename(columns=named), "left", on=KEY)
    return units


LABELS = [
    f"max({column}) FILTER (criterion = '{row['criterion']}') AS {name}_{row['criterion']}"
    for row in ephys.UnitCriterion.contents
    for column, name in (("unit_label", "label"), ("is_good", "good"))
]
CLUSTERS = f"""
    SELECT units.*, r.region_acronym AS region_allen, b.region_acronym AS region_beryl,
        c.region_acronym AS region_cosmos, r.region_name,
        CASE WHEN unit_x < 0 THEN 'left' WHEN unit_x > 0 THEN 'right' END AS hemisphere,
        labels.* EXCLUDE ({", ".join(KEY)})
    FROM units JOIN ({GOOD}) USING ({", ".join(KEY)}) LEFT JOIN regions r USING (region_id)
    LEFT JOIN regions b ON b.region_id = r.beryl_id
    LEFT JOIN regions c ON c.region_id = r.cosmos_id
    LEFT JOIN (
        SELECT {", ".join([*KEY, *LABELS])} FROM good GROUP BY ALL
    ) labels USING ({", ".join(KEY)})
"""

KEYED = tuple(KEY)
QUESTIONS = (
    Question("good units of TH", _units_of_th, _units_of_th_pandas, UNITS_OF_TH, KEYED),
    Question(
        "counts by region and criterion",
        _region_counts,
        _region_counts_pandas,
        REGION_COUNTS,
        ("region_id", "criterion"),
    ),
    Question("inclusion chain", _chain, _chain_pandas, CHAIN),
    Question(
        "region and behaviour",
        _region_by_behavior,
        _region_by_behavior_pandas,
        REGION_BY_BEHAVIOR,
        KEYED,
    ),
    Question("sessions by reaction time", _sessions, _sessions_pandas, SESSIONS, ("eid",)),
    Question("units by depth and rate", _deep_units, _deep_units_pandas, DEEP_UNITS, KEYED),
    Question("published counts", _published, _published_pandas, PUBLISHED, ("lab",)),
    Question(
        "metric differences",
        _differences,
        _differences_pandas,
        DIFFERENCES,
        (*KEY, "metric"),
    ),
    Question("one subject's everything", _of_mouse, _of_mouse_pandas, OF_MOUSE, ("table",)),
    Question("export of good units", _export, _export_pandas, EXPORT, KEYED),
    Question(
        "rates by region",
        _region_rates,
        _region_rates_pandas,
        REGION_RATES,
        ("region_acronym",),
    ),
    Question("all columns of good units", _clusters, _clusters_pandas, CLUSTERS, KEYED),
)
