"""The upgrades in their order: step N makes tables of version N - 1 those of version N.

A step stays as it is once it is released. It is written out, because a later definition may
differ; see "A changed definition" in CONTRIBUTING.md.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from populate.upgrade.changes import (
    Change,
    Column,
    Compute,
    Database,
    Index,
    Insert,
    Rebuild,
    Reference,
    Update,
)
from schemas import probe, storage
from schemas.maths.activity import list_rates
from schemas.maths.wheel import infer_unit


@dataclass(frozen=True)
class Step:
    """A numbered upgrade.

    Attributes
    ----------
    number : int
        Version that the tables have afterwards.
    title : str
        What the step is for, after a verb in the imperative.
    changes : tuple of Change
        In their order; each can be repeated.
    """

    number: int
    title: str
    changes: tuple[Change, ...]


def _wrong_wheels(db: Database) -> Iterator[str]:
    """Yield the sessions whose trace 0.4.0 took for radians and is not: some of 2018 are in cm."""
    table = db.quote(*db.split("wheel._wheel"))
    for eid, stored in db.run(f"SELECT eid, wheel_trace FROM {table}"):
        trace = storage.reference(json.loads(stored) if isinstance(stored, str) else stored)
        if infer_unit(np.asarray(trace.read(["position"])["position"], float)) != "rad":
            yield eid


def _remove_wrong_wheels(db: Database) -> None:
    """Remove the traces of other units; populate imports them again."""
    for eid in _wrong_wheels(db):
        for dependant in db.dependants("wheel._wheel"):
            db.run(f"DELETE FROM {db.quote(*dependant)} WHERE eid = %s", eid)


def _users_of_wrong_wheels(db: Database) -> list[str]:
    """Name the users' tables that refer to wheels, if a trace must be removed."""
    users = db.not_filled("wheel._wheel")
    return users if users and any(_wrong_wheels(db)) else []


def _hash_sites(db: Database) -> None:
    """Hash the sites of each trajectory, as a registration does."""
    key = ("eid", "probe_name", "provenance")
    columns = ", ".join([*key, "site", *probe.SITE_COLUMNS])
    sites = db.run(f"SELECT {columns} FROM {db.quote(*db.split('probe.trajectory__site'))}")
    where = " AND ".join(f"{name} = %s" for name in key)
    trajectory = db.quote(*db.split("probe.trajectory"))
    for values, group in itertools.groupby(sorted(sites, key=lambda r: r[:4]), lambda r: r[:3]):
        digest = probe.hash_sites([row[4:] for row in group])
        db.run(f"UPDATE {trajectory} SET sites_md5 = %s WHERE {where}", digest, *values)


def _list_unit_rates(db: Database) -> None:
    """List the rates of the good units of each sort, window and criterion by region."""
    sort, master = ("eid", "probe_name", "sorting_name"), "activity.__region_rate"
    tables = ("activity.__unit_rate__unit", "ephys.__good_units__unit")
    rate, good, cluster, computed = (
        db.quote(*db.split(name)) for name in (*tables, "ephys._spike_sorting__cluster", master)
    )
    where, key = " AND ".join(f"{name} = %s" for name in sort), ", ".join(sort)
    asked = (
        f"SELECT window_name, criterion, region_id, rate FROM {rate} "
        f"JOIN {good} USING ({key}, cluster_id) JOIN {cluster} USING ({key}, cluster_id) "
        f"WHERE {where} AND is_good AND region_id IS NOT NULL AND rate IS NOT NULL "
        "ORDER BY window_name, criterion, cluster_id"
    )
    changed = f"UPDATE {computed} SET unit_rates = %s WHERE {where}"
    for one in db.run(f"SELECT DISTINCT {key} FROM {computed}"):
        for names, units in itertools.groupby(db.run(asked, *one), lambda row: row[:2]):
            regions, rates = map(np.array, zip(*(row[2:] for row in units), strict=True))
            listed = json.dumps(list_rates(rates, regions))
            db.run(f"{changed} AND window_name = %s AND criterion = %s", listed, *one, *names)


SATURATION_FILES = (
    *(f"{band}.{end}" for band in ("", "AP") for end in ("samples.pqt", "intervals.npy")),
    *(f"{band}.intervals.pqt" for band in ("", "AP")),
)
WAVEFORM_FILES = (
    *("clusters.waveforms", "clusters.waveformsChannels"),
    *("templates.waveforms", "templates.waveformsChannels"),
)

FACTORS = ("side", "contrast", "choice", "outcome", "block", "parity")
OF_HALVES = ", each of even and of odd trials"

PARITY_SPLITS = [
    {
        "trial_split": name,
        **{f"by_{factor}": factor in factors for factor in FACTORS},
        "split_description": shows,
    }
    for name, factors, shows in (
        ("side_parity", ("side", "parity"), "left and right stimulus" + OF_HALVES),
        (
            "contrast_parity",
            ("side", "contrast", "parity"),
            "signed contrast, two zeros" + OF_HALVES,
        ),
        ("choice_parity", ("choice", "parity"), "left and right choice, and none" + OF_HALVES),
        ("outcome_parity", ("outcome", "parity"), "correct, error and no_go" + OF_HALVES),
        ("block_parity", ("block", "parity"), "blocks of the prior 0.2, 0.5 and 0.8" + OF_HALVES),
        ("parity", ("parity",), "even and odd trials"),
    )
]

PARITY_HISTOGRAMS = [
    {
        "psth_definition": f"{name}_parity",
        "trial_event": event,
        "psth_start": -0.5,
        "psth_end": 1.0,
        "bin_width": 0.05,
        "trial_split": f"{split}_parity",
        "trial_mask": "bwm",
        "criterion": "ibl_2022",
        "psth_description": shows + OF_HALVES,
    }
    for name, event, split, shows in (
        ("stimulus_side", "stim_on_time", "side", "stimulus, left and right"),
        ("movement_choice", "first_movement_time", "choice", "movement by choice"),
        ("feedback_outcome", "feedback_time", "outcome", "reward and error"),
    )
]

STEPS = (
    Step(
        1,
        "record the unit of wheel traces, which may be empty",
        (
            Compute(
                "wheel._wheel: traces that are not in radians are removed",
                _remove_wrong_wheels,
                _users_of_wrong_wheels,
            ),
            Column(
                "wheel._wheel",
                "wheel_start = null : float64  "
                "# (s) time of the first sample; null where there is none",
            ),
            Column(
                "wheel._wheel",
                "wheel_end = null : float64  "
                "# (s) time of the last sample; null where there is none",
            ),
            Column(
                "wheel._wheel",
                "wheel_unit : varchar(3)  # unit of the released positions: rad, cm or deg",
                "'rad'",
            ),
        ),
    ),
    Step(
        2,
        "count error trials in rules of inclusion",
        (
            # 0.4.0 counted no error trials; our own rule has the name of the published one.
            Reference(
                "activity.#inclusion_rule",
                "trial_mask : varchar(32)  # name of the rule",
                "CASE WHEN inclusion_rule = 'bwm' THEN 'bwm' ELSE 'all' END",
                parent="behavior.#trial_mask_definition",
            ),
            Column(
                "activity.#inclusion_rule",
                "min_error_trials : int32  # error trials of a session among the trials in use",
                "CASE WHEN inclusion_rule = 'bwm' THEN 3 ELSE 0 END",
            ),
        ),
    ),
    Step(
        3,
        "let criteria of good units have bounds and lack tests",
        (
            Column(
                "ephys.#unit_criterion",
                "refractory_metric = null : varchar(32)  "
                "# column of SpikeSorting.Cluster; null: no such test",
            ),
            Column(
                "ephys.#unit_criterion",
                "min_refractory = null : float64  # (metric) pass if at least this",
            ),
            Column(
                "ephys.#unit_criterion",
                "max_noise_cutoff = null : float64  # (sd) pass if below this; null: no such test",
            ),
            Column(
                "ephys.#unit_criterion",
                "min_amplitude = null : float64  "
                "# (V) pass if the median is above; null: no such test",
            ),
            Column("ephys.__good_units", "n_good : int32  # number of units that pass all tests"),
            Insert(
                "ephys.#unit_criterion",
                {
                    "criterion": "ibl_2022_10",
                    "refractory_metric": "sliding_rp_viol",
                    "min_refractory": 1.0,
                    "max_noise_cutoff": 5.0,
                    "min_amplitude": 50e-6,
                    "criterion_description": "labels from 2022-10-04 to 2024",
                },
            ),
            # Null is what a criterion without bounds gives.
            Column("ephys.__good_units__unit", "bounds_pass = null : bool  # within every bound"),
            Column(
                "ephys.__good_units__unit",
                "unit_label = null : float64  # (fraction) of the tests passed",
            ),
            Column("ephys.__good_units__unit", "is_good = null : bool  # passes all tests"),
        ),
    ),
    Step(
        4,
        "hash the sites that locate channels and units",
        (
            Column(
                "probe.trajectory",
                "sites_md5 = null : char(32)  "
                "# hash of the sites that it locates; null without sites",
            ),
            Compute("probe.trajectory: sites_md5 is computed", _hash_sites),
            # Null, although sites may have located them: such rows are stale, and can be imported
            # again with `bwm populate --stale`. The sites may have been others then.
            Column(
                "probe._channels",
                "channel_sites_md5 = null : char(32)  "
                "# hash of the sites of the trajectory; null without sites",
            ),
            Column(
                "ephys._spike_sorting",
                "cluster_sites_md5 = null : char(32)  "
                "# hash of the sites of the trajectory; null without sites",
            ),
        ),
    ),
    Step(
        5,
        "describe kinds of data in the words of the field",
        (
            Update(
                "session.#data_kind",
                "data_kind_description",
                "'units of a spike sorting, with their metrics'",
                "data_kind = 'clusters'",
            ),
            Update(
                "session.#data_kind",
                "data_kind_description",
                "'spikes of a spike sorting'",
                "data_kind = 'spikes'",
            ),
        ),
    ),
    Step(
        6,
        "find the good units of a criterion by an index",
        (
            Index(
                "ephys.__good_units__unit",
                ("criterion", "is_good", "eid", "probe_name", "sorting_name", "cluster_id"),
            ),
        ),
    ),
    Step(
        7,
        "find units by depth by an index, and keep the rates of units with those of regions",
        (
            Index("ephys._spike_sorting__cluster", ("cluster_depth", "firing_rate")),
            Column(
                "activity.__region_rate",
                "unit_rates : json  "
                "# (Hz) rates of the good units of each structure, by its region_id",
                "'{}'",
            ),
            Compute("activity.__region_rate: unit_rates is computed", _list_unit_rates),
        ),
    ),
    Step(
        8,
        "list the good units with their regions, import saturation and waveforms, and split "
        "histograms by even and odd trials",
        (
            Rebuild("quality.__good_unit_summary"),
            Insert(
                "session.#data_kind",
                {
                    "data_kind": "saturation",
                    "data_kind_description": "intervals in which the raw recording of a probe is "
                    "saturated",
                },
            ),
            Insert(
                "session.#data_kind",
                {
                    "data_kind": "raw_clock",
                    "data_kind_description": "clock of the raw recording of a probe: read with its "
                    "saturation",
                },
            ),
            Insert(
                "session.#data_kind",
                {
                    "data_kind": "waveforms",
                    "data_kind_description": "mean waveforms of the units of a spike sorting",
                },
            ),
            Update(
                "session.dataset",
                "data_kind",
                "'waveforms'",
                "data_kind = 'other' AND collection LIKE 'alf/%' AND dataset_name IN ("
                + ", ".join(f"'{name}.npy'" for name in WAVEFORM_FILES)
                + ")",
            ),
            Update(
                "session.dataset",
                "data_kind",
                "'raw_clock'",
                "data_kind = 'raw_ephys' AND dataset_name LIKE '%.timestamps.npy'",
            ),
            # As a registration would name them: those in the folder of a probe.
            Update(
                "session.dataset",
                "data_kind",
                "'saturation'",
                "data_kind = 'other' AND dataset_name IN ("
                + ", ".join(f"'_iblqc_ephysSaturation{name}'" for name in SATURATION_FILES)
                + ") AND (collection LIKE 'raw_ephys_data/%' OR collection LIKE 'alf/%') "
                "AND collection NOT LIKE '%/%/%'",
            ),
            Column(
                "activity.#trial_split",
                "by_parity : bool  # even or odd number of the trial in its session",
                "FALSE",
            ),
            Column(
                "activity.__psth__condition",
                "psth_parity = null : varchar(4)  # even or odd number of the trial",
            ),
            *(Insert("activity.#trial_split", row) for row in PARITY_SPLITS),
            *(Insert("activity.#psth_definition", row) for row in PARITY_HISTOGRAMS),
        ),
    ),
)
