"""Sites and units of insertions, and the results that tables compute from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.special

from populate.release_size.definitions import Definitions
from populate.release_size.gathered import Gathered
from populate.release_size.recordings import SITE, Insertion
from populate.release_size.tasks import Task
from schemas import activity, atlas, ephys, probe, quality
from schemas.maths import activity as maths
from schemas.maths import ephys as unit_maths
from schemas.maths import metrics
from schemas.sources.simulator.population import draw_uuids

Good = dict[str, np.ndarray]

DIFFERENT, DIFFERENCE = 0.015, 0.05
"""Fraction of computed metrics that differ from the released ones, and the relative difference."""

APART = 2**40
"""A number above all region ids."""

UNKNOWN_TO = {
    "counts": ("max_confidence", "min_contamination", "sliding_rp_viol_forced", "n_spikes_below2")
}
"""Metrics that a method of the sliding refractory test does not give."""


def add(
    insertions: Sequence[Insertion],
    tasks: Mapping[str, Task],
    definitions: Definitions,
    gathered: Gathered,
    rng: np.random.Generator,
) -> None:
    """Add sites, units, spikes, good units, metrics, rates and responses of insertions."""
    for one in insertions:
        task = tasks[one.key["eid"]]
        _add_sites(one, gathered)
        clusters = _add_units(one, gathered, rng)
        good = _add_good_units(one, clusters, definitions, gathered)
        _add_metrics(one, definitions, gathered, rng)
        rates = _add_rates(one, task, definitions, gathered, rng)
        _add_region_rates(one, rates, good, definitions, gathered)
        _add_responses(one, task, rates, good, definitions, gathered, rng)


def _add_sites(one: Insertion, gathered: Gathered) -> None:
    sites = one.sites[["region_id", *SITE]].add_prefix("channel_").rename_axis("channel")
    side = np.sign(sites["channel_x"])
    table = sites.reset_index().assign(
        hemisphere=side.map(probe.SIDES), raw_index=np.arange(len(sites)), channel_label=0
    )
    key = {name: one.key[name] for name in ("eid", "probe_name")}
    row = {"n_channels": len(table), "location_level": "alf"}
    gathered.add(probe.Channels, key, row, {"Channel": table})


def _add_units(one: Insertion, gathered: Gathered, rng: np.random.Generator) -> pd.DataFrame:
    """Add units and spikes, and return the units."""
    n = len(one.released)
    places = one.units[list(SITE)].add_prefix("unit_")
    table = places.join(one.released).assign(
        cluster_id=np.arange(n),
        region_id=one.units["region_id"],
        peak_channel=one.units["channel"],
        cluster_uuid=draw_uuids(rng, n),
        cluster_depth=one.units["axial"] + rng.uniform(-8, 8, n),
        cluster_amp=one.released["amp_median"] * rng.uniform(0.9, 1.1, n),
        peak_to_trough=rng.choice([-1, 1], n, p=[0.15, 0.85]) * rng.uniform(0.15, 0.8, n),
    )
    row = {"n_clusters": n, "released_metrics": list(one.released.columns)}
    gathered.add(ephys.SpikeSorting, one.key, row, {"Cluster": table})
    spikes = one.spikes
    first, last = spikes.span
    slices = {
        "cluster_id": np.arange(n),
        "spike_offset": np.cumsum(spikes.counts) - spikes.counts,
        "n_unit_spikes": spikes.counts,
        "first_unit_spike": spikes.first,
        "last_unit_spike": spikes.last,
    }
    row = {"n_spikes": spikes.packed.n_rows, "first_spike": first, "last_spike": last}
    row["spikes"] = spikes.packed
    gathered.add(ephys.Spikes, one.key, row, {"Unit": pd.DataFrame(slices)})
    return table


def _add_good_units(
    one: Insertion, clusters: pd.DataFrame, definitions: Definitions, gathered: Gathered
) -> Good:
    """Add and return the good units of each criterion that has a test."""
    good = {}
    units = one.released.assign(cluster_id=np.arange(len(one.released)))
    for rule in definitions.criteria:
        bounds = definitions.bounds_of(rule["criterion"])
        if not ephys.GoodUnits.tested(rule, bounds):
            continue
        row, table = ephys.GoodUnits.as_rows(units, rule, bounds, list(one.released.columns))
        key = {**one.key, "criterion": rule["criterion"]}
        gathered.add(ephys.GoodUnits, key, row, {"Unit": table})
        is_good = table["is_good"].fillna(False).astype(bool)
        labelled = clusters.assign(unit_label=table["unit_label"], is_good=table["is_good"])
        gathered.add(quality.GoodUnitSummary, key, *quality.GoodUnitSummary.as_rows(labelled))
        good[rule["criterion"]] = is_good.to_numpy()
    return good


def _add_metrics(
    one: Insertion, definitions: Definitions, gathered: Gathered, rng: np.random.Generator
) -> None:
    """Add metrics as if computed from the spikes: a few differ from the released ones."""
    n = len(one.released)
    for rule in definitions.metrics:
        found = {}
        for name in ephys.METRICS[:-2]:
            told = name not in UNKNOWN_TO.get(rule["sliding_method"], ())
            found[name] = one.known[name].to_numpy(float) if told else np.full(n, np.nan)
        for name in ("noise_cutoff", "drift", "missed_spikes_est", "amp_std_db"):
            differs = rng.random(n) < DIFFERENT
            found[name] = found[name] * np.where(differs, 1 + DIFFERENCE, 1)
        criterion = next(c for c in definitions.criteria if c["criterion"] == rule["criterion"])
        passes = unit_maths.compute_passes(found, n, *map(criterion.get, ephys.RULE))
        table = pd.DataFrame({**found, **metrics.compute_label(passes)}).add_prefix("computed_")
        key = {**one.key, "metrics_definition": rule["metrics_definition"]}
        row = {
            "n_metric_units": n,
            "n_label_good": int((table["computed_bitwise_fail"] == 0).sum()),
        }
        parts = {"Unit": table.assign(cluster_id=np.arange(n))}
        gathered.add(ephys.UnitMetrics, key, row, parts)
        compared = quality.comparable(rule["sliding_method"])
        released = one.released.reindex(columns=list(compared.values()))
        computed = table[[f"computed_{name}" for name in compared]]
        apart = quality.MetricDifferences.as_rows(released, computed, list(one.released.columns))
        gathered.add(quality.MetricDifferences, key, {"n_different": len(apart)}, {"Unit": apart})


def _add_rates(
    one: Insertion,
    task: Task,
    definitions: Definitions,
    gathered: Gathered,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Add the rates of all windows, (n,) Hz: counts of spikes drawn around each unit's rate."""
    rates, counts = {}, one.spikes.counts
    whole = maths.compute_recording_rates(counts, *one.spikes.span)
    for window in definitions.windows:
        event, name = window["trial_event"], window["window_name"]
        row: dict[str, Any] = {"trials_eid": None, "n_events": 0, "n_dropped_events": 0}
        rates[name] = whole
        if event:
            n_events = int(task.known(event).sum())
            seconds = n_events * (window["window_end"] - window["window_start"])
            expected = whole * rng.lognormal(0, 0.3, len(whole)) * seconds
            rates[name] = rng.poisson(expected) / seconds
            row = {"trials_eid": one.key["eid"], "n_events": n_events}
            row["n_dropped_events"] = task.n_trials - n_events
        table = pd.DataFrame({"cluster_id": np.arange(len(whole)), "rate": rates[name]})
        gathered.add(activity.UnitRate, {**one.key, "window_name": name}, row, {"Unit": table})
    return rates


def _add_region_rates(
    one: Insertion,
    rates: Mapping[str, np.ndarray],
    good: Good,
    definitions: Definitions,
    gathered: Gathered,
) -> None:
    regions = definitions.regions.loc[one.units["region_id"]].reset_index()
    region_id = regions["region_id"].to_numpy()
    pairs = [(window, criterion) for criterion in good for window in rates]
    for window, criterion in pairs:
        row: dict[str, Any] = {"n_located_units": int(good[criterion].sum())}
        row["n_unlocated_units"] = 0
        of_good = (column[good[criterion]] for column in (rates[window], region_id))
        row["unit_rates"] = maths.list_rates(*of_good)
        key = {**one.key, "window_name": window, "criterion": criterion}
        gathered.add(activity.RegionRate, key, row)
    # All pairs at once: each pair numbers its regions separately.
    number = np.repeat(np.arange(len(pairs)), [good[criterion].sum() for _, criterion in pairs])
    units = np.concatenate([np.flatnonzero(good[criterion]) for _, criterion in pairs])
    rate = np.concatenate([rates[window][good[criterion]] for window, criterion in pairs])
    ids = {m: regions[c].to_numpy()[units] for m, c in atlas.REGION_COLUMN.items()}
    apart = {mapping: of_units + APART * number for mapping, of_units in ids.items()}
    table = activity.summarise_region_rates(rate, apart)
    number, table["region_id"] = np.divmod(table["region_id"].to_numpy(), APART)
    table["is_outside"] = table["region_id"].isin(atlas.OUTSIDE)
    table["window_name"], table["criterion"] = np.array(pairs)[number].T
    gathered.add_part(activity.RegionRate.Region, one.key, table)


def _add_responses(
    one: Insertion,
    task: Task,
    rates: Mapping[str, np.ndarray],
    good: Good,
    definitions: Definitions,
    gathered: Gathered,
    rng: np.random.Generator,
) -> None:
    for rule in definitions.responses:
        used = task.used[rule["trial_mask"]]
        known = used & task.known(rule["trial_event"], rule["baseline_event"])
        row = {name: rule[name] for name in ("trial_mask", "criterion")}
        row |= {"n_response_trials": int(known.sum())}
        row |= {"n_incomparable": int((used & ~known).sum())}
        units = (
            np.flatnonzero(good[rule["criterion"]])
            if rule["criterion"]
            else np.arange(len(one.units))
        )
        z = rng.normal(0, 2.5, len(units))
        n_changed = rng.binomial(int(known.sum()), 0.5, len(units))
        half = n_changed * (n_changed + 1) / 4
        spread = np.sqrt(half * (2 * n_changed + 1) / 6)
        rate = rates[rule["window_name"]][units]
        table = pd.DataFrame(
            {
                "cluster_id": units,
                "rate_before": rate * np.exp(-0.1 * z),
                "rate_in": rate,
                "n_changed_trials": n_changed,
                "wilcoxon_statistic": np.maximum(0, np.round(half - np.abs(z) * spread)),
                "wilcoxon_p": scipy.special.erfc(np.abs(z) / np.sqrt(2)),
            }
        )
        key = {**one.key, "response_definition": rule["response_definition"]}
        gathered.add(activity.UnitResponse, key, row, {"Unit": table})
