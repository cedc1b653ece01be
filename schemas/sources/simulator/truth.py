"""The truth of a simulated release: what a reader of its files must find."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd


@dataclass(frozen=True)
class EdgeCase:
    """Something unusual that must be imported.

    Attributes
    ----------
    kind : str
        Name, e.g. `'silent_cluster'`.
    eid : str
        Session.
    probe_name, revision, path : str or None
        Probe, revision of the spike sorting, and path below the session folder, if concerned.
    rows : tuple of int
        Cluster ids, trial numbers or spike numbers.
    """

    kind: str
    eid: str
    probe_name: str | None = None
    revision: str | None = None
    path: str | None = None
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Fault:
    """The fault of a session, for which importing the kind `fails` must raise an error.

    Attributes
    ----------
    kind : str
        Key of `FAULTS`.
    eid : str
        Session.
    probe_name : str or None
        Probe, if concerned.
    fails : str
        Kind of data whose import fails: a key of `alf.KINDS`.
    path, detail : str
        Path of the damaged file below the session folder, and the damage.
    """

    kind: str
    eid: str
    probe_name: str | None
    fails: str
    path: str
    detail: str


@dataclass(frozen=True, eq=False, repr=False)
class Truth:
    """What was planted, and how many rows of each kind there are.

    Attributes
    ----------
    folder : Path
        The ONE cache.
    release : Path
        Release list (CSV), all insertions of the folder.
    subjects : DataFrame
        The subjects table as written: nickname, lab, sex, birth_date, death_date, strain, line,
        species (text or null).
    sessions : DataFrame
        One row a session: eid, lab, subject, date, number, n_trials, n_probes, n_wheel (samples,
        0 without wheel), n_licks (0 without video), qc, project, training, fault (kind or None).
    insertions : DataFrame
        pid, eid, probe_name, model, serial, located (by files or metadata), sites_in_files (by
        files), level (of its metadata alone, null where unknown), qc, n_picks, n_trajectories,
        satisfies_bwm_rule.
    sortings : DataFrame
        eid, pid, probe_name, revision, is_default, n_clusters, n_spikes, n_metrics (rows).
    units : DataFrame
        One row a cluster of a sort: eid, pid, probe_name, revision, cluster_id, channel, acronym
        and region_id (null where not located), rate (planted, outside stimulus windows, Hz),
        evoked_rate (planted, within `STIMULUS_WINDOW` of every true stimulus onset, Hz),
        n_spikes; planted_refractory, planted_noise (`'low'`, `'mid'`, `'high'`),
        planted_amplitude (each null where too few spikes leave it to chance);
        passes_refractory, passes_noise_2022 (< 20), passes_noise_2024 (< 5), passes_amplitude,
        is_good_2022, is_good_2024 (by the values that were written); in_metrics; waveforms_of
        (clusters, templates, or empty where none were released) and, null for units without
        spikes, waveform_width (ms), waveform_ratio and waveform_half_width (ms).
    tuned : DataFrame
        One row a tuned unit: eid, probe_name, revision, cluster_id, tuned_to (of
        `tuning.KINDS`), number, latency and timescale (s), field_row and field_column.
    regions : DataFrame
        Indexed by region_id: acronym, mean_rate (planted mean of good units, Hz, before those
        too low to be judged are raised), n_units and unit_rate (units of all sorts: number
        and mean of their planted rates, Hz).
    trials : Mapping of str to DataFrame
        By eid: the trials as simulated, before any value was blanked, all 13 columns.
    cameras : DataFrame
        One row a camera of a session: eid, camera, n_times, n_frames, and whether there is dlc,
        lightningPose, pupil, motion_energy.
    passive : DataFrame
        One row a session with the passive protocol: eid, n_periods, n_noise_frames, n_stimuli
        (valve, tone and noise together), n_gabors (0 without their table).
    saturations : DataFrame
        One row an interval in which a recording is saturated: eid, probe_name, start_sample,
        stop_sample (clock of the probe), start, stop (s).
    trajectories : DataFrame
        The trajectories table as written.
    checks : DataFrame
        One row an entry of extended quality control: eid or pid, name, json (its value as text).
    reaction_time : Mapping of str to float
        Of firstMovement - stimOn: median (s) and sigma of the lognormal part, early_fraction
        (uniform in EARLY), slow_fraction (SLOW_FROM s plus an exponential), fraction_below_80ms
        (that follows), nan_fraction.
    psychometric : Mapping of float to Mapping
        By probabilityLeft: bias (% contrast), slope (%), lapse_low, lapse_high.
    edge_cases : tuple of EdgeCase
        What is unusual, and where.
    faults : tuple of Fault
        What is wrong, and where; empty unless asked for.
    datasets : DataFrame
        The datasets table as written, its index as columns of str.
    """

    folder: Path
    release: Path
    subjects: pd.DataFrame
    sessions: pd.DataFrame
    insertions: pd.DataFrame
    sortings: pd.DataFrame
    units: pd.DataFrame
    tuned: pd.DataFrame
    regions: pd.DataFrame
    trials: Mapping[str, pd.DataFrame]
    cameras: pd.DataFrame
    passive: pd.DataFrame
    saturations: pd.DataFrame
    trajectories: pd.DataFrame
    checks: pd.DataFrame
    reaction_time: Mapping[str, float]
    psychometric: Mapping[float, Mapping[str, float]]
    edge_cases: tuple[EdgeCase, ...]
    faults: tuple[Fault, ...]
    datasets: pd.DataFrame

    @property
    def counts(self) -> dict[str, int]:
        """Rows of each kind in the whole folder, faulty sessions included."""
        return {
            "labs": int(self.sessions["lab"].nunique()),
            "subjects": int(self.sessions["subject"].nunique()),
            "sessions": len(self.sessions),
            "insertions": len(self.insertions),
            "sortings": len(self.sortings),
            "trials": int(self.sessions["n_trials"].sum()),
            "clusters": int(self.sortings["n_clusters"].sum()),
            "spikes": int(self.sortings["n_spikes"].sum()),
            "cameras": len(self.cameras),
            "frames": int(self.cameras["n_frames"].sum()),
            "licks": int(self.sessions["n_licks"].sum()),
            "passive_sessions": len(self.passive),
            "trajectories": len(self.trajectories),
            "datasets": len(self.datasets),
        }

    def __repr__(self) -> str:
        return f"Truth({str(self.folder)!r}, {self.counts})"

    def odd(self, kind: str) -> tuple[EdgeCase, ...]:
        """All edge cases of a kind."""
        return tuple(o for o in self.edge_cases if o.kind == kind)
