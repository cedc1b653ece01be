"""One session: what was recorded as files, and what is true of them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from schemas.sources.records import CAMERAS, TRACKERS
from schemas.sources.simulator import (
    behavior,
    ephys,
    metrics,
    passive,
    raw,
    tuning,
    video,
    waveforms,
)
from schemas.sources.simulator.plan import TRIALS_REVISION, Probe, Session, Size
from schemas.sources.simulator.truth import EdgeCase
from schemas.sources.simulator.writing import Content

# A session ends well before its recording, as passive stimuli follow.
TASK_SHARE = 0.93
CAMERA_COLUMNS = ("eid", "camera", "n_times", "n_frames", *TRACKERS, "pupil", "motion_energy")
TUNED_COLUMNS = (
    *("eid", "probe_name", "revision", "cluster_id"),
    *("tuned_to", "number", "latency", "timescale", "field_row", "field_column"),
)
# Planted in the first session, where edge cases are wanted: cluster ids.
SILENT_CLUSTER, ONE_SPIKE_CLUSTER = 3, 7
WAVEFORM_COLUMNS = ("waveforms_of", "waveform_width", "waveform_ratio", "waveform_half_width")


@dataclass
class SimulatedSession:
    """A session in the making: its files, and what is true of them."""

    plan: Session
    size: Size
    seed: int
    files: dict[str, Content] = field(default_factory=dict)
    cut: dict[str, bool] = field(default_factory=dict)
    pointers: dict[str, int] = field(default_factory=dict)
    edge_cases: list[EdgeCase] = field(default_factory=list)
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    movements: pd.DataFrame = field(default_factory=pd.DataFrame)
    n_wheel: int = 0
    n_licks: int = 0
    cameras: list[dict[str, object]] = field(default_factory=list)
    passive: dict[str, int] = field(default_factory=dict)
    # Sites of each probe, by its name.
    channels: dict[str, pd.DataFrame] = field(default_factory=dict)
    units: list[pd.DataFrame] = field(default_factory=list)
    tuned: list[pd.DataFrame] = field(default_factory=list)
    noise: tuple[np.ndarray, np.ndarray] = (np.empty(0), np.empty((0, 0, 0)))
    replayed: dict[str, np.ndarray] = field(default_factory=dict)
    sortings: list[dict[str, object]] = field(default_factory=list)
    saturations: list[pd.DataFrame] = field(default_factory=list)

    def rng(self, *stream: int) -> np.random.Generator:
        """Return random numbers that depend only on seed, session and stream."""
        return np.random.default_rng([self.seed, self.plan.index, *stream])

    def odd(
        self,
        kind: str,
        probe: str | None = None,
        revision: str | None = None,
        path: str | None = None,
        rows: tuple[int, ...] = (),
    ) -> None:
        """Record an edge case of this session."""
        self.edge_cases.append(EdgeCase(kind, self.plan.eid, probe, revision, path, rows))


def make_session(plan: Session, size: Size, seed: int) -> SimulatedSession:
    """Simulate a session, without writing it."""
    made = SimulatedSession(plan, size, seed)
    _behave(made)
    _film(made)
    _show_passive_stimuli(made)
    for probe in plan.probes:
        _record(made, probe)
    if plan.probes:
        made.files["alf/probes.description.json"] = [
            {"label": p.name, "model": p.model, "serial": p.serial, "raw_file_name": p.name}
            for p in plan.probes
        ]
    if len(plan.probes) > 1 and plan.role.odd_units:
        made.odd("two_probes")
    if plan.role.raw == "absent" and plan.probes:
        _point_to_raw_files(made)
    elif plan.role.raw == "there":
        _raw_files(made)
    return made


def _behave(made: SimulatedSession) -> None:
    """Simulate trials and wheel."""
    role, size, rng = made.plan.role, made.size, made.rng(0)
    no_go = size.n_trials // 3 if role.odd_events else None
    trials, movements = behavior.simulate_trials(
        rng, size.n_trials, TASK_SHARE * size.duration, no_go, by_contrast=role.tuned
    )
    made.trials, made.movements = trials[list(behavior.COLUMNS)], movements
    if role.odd_events:
        made.odd("no_go", rows=tuple(np.flatnonzero(trials["choice"] == 0).tolist()))
    blank, rows = behavior.blank_events(rng, trials, role.odd_events)
    for event, numbers in rows.items():
        made.odd(f"nan_{event}", rows=numbers)
    _trials_files(made, rng, blank)
    if not role.wheel:
        made.odd("no_wheel")
        return
    times, position = behavior.simulate_wheel(movements, size.duration - 1)
    made.files["alf/_ibl_wheel.timestamps.npy"] = times
    made.files["alf/_ibl_wheel.position.npy"] = position
    made.n_wheel = len(times)


def _trials_files(made: SimulatedSession, rng: np.random.Generator, trials: pd.DataFrame) -> None:
    """Write trials as a table and as arrays beside it."""
    role, n = made.plan.role, len(trials)
    table = "alf/_ibl_trials.table.pqt"
    if role.training:
        made.files[table] = trials[list(behavior.TRAINING_COLUMNS)]
        made.odd("training_columns", path=table)
        return
    frame = trials[list(behavior.COLUMNS)]
    if role.integer_choice:
        frame = frame.astype({"choice": np.int64, "feedbackType": np.int64})
        made.odd("integer_choice", path=table)
    if role.revised_trials:
        # The original is what was wrong with it: a clock that ran 10 ms late.
        times = [c for c in frame if c.endswith("_times") or c.startswith("intervals")]
        made.files[table] = frame.assign(**{c: frame[c] + 0.01 for c in times})
        table = f"alf/#{TRIALS_REVISION}#/_ibl_trials.table.pqt"
        made.odd("revised_trials", path=table)
    made.files[table] = frame
    for name in ("stimOff_times", "goCueTrigger_times", "quiescencePeriod"):
        made.files[f"alf/_ibl_trials.{name}.npy"] = trials[name].to_numpy()
    bpod = trials[["intervals_0", "intervals_1"]].to_numpy() * (1 + 2e-6) - 12.5
    made.files["alf/_ibl_trials.intervals_bpod.npy"] = bpod
    if role.iti:
        path = "alf/_ibl_trials.itiDuration.npy"
        made.files[path] = rng.uniform(0.5, 1.0, n - 1)
        made.odd("iti_length", path=path)


def _film(made: SimulatedSession) -> None:
    """Simulate the cameras, and the licks that they show."""
    role, rng = made.plan.role, made.rng(3)
    if not role.cameras:
        made.odd("no_video")
        return
    last = made.size.duration - 1
    feedback = made.trials["feedback_times"].to_numpy()
    rewards = feedback[made.trials["feedbackType"] == 1]
    licks = video.simulate_licks(rng, rewards, last)
    phases = rng.uniform(0, 2 * np.pi, len(video.PUPIL_PERIODS))
    scene = video.Scene(made.movements, feedback, licks, phases)
    made.files["alf/licks.times.npy"], made.n_licks = licks, len(licks)
    for number, camera in enumerate(CAMERAS):
        if camera in role.cameras:
            _film_with(made, scene, number, camera)
        else:
            made.odd(f"no_{camera}_camera")


def _film_with(made: SimulatedSession, scene: video.Scene, number: int, camera: str) -> None:
    """Simulate one camera: times, pose by each tracker, pupil and motion energy."""
    role, size, rng = made.plan.role, made.size, made.rng(2, number)
    times = video.frame_times(rng, CAMERAS[camera] * size.frame_rate_factor, size.duration)
    path = f"alf/_ibl_{camera}Camera.times.npy"
    made.files[path] = times
    n_early = role.n_early if camera == "left" else 0
    if n_early:
        made.odd("early_camera_times", path=path)
    frames = times[n_early:]
    trackers = TRACKERS if role.lightning_pose else TRACKERS[:1]
    for k, tracker in enumerate(trackers, 1):
        pose = video.simulate_pose(made.rng(2, number, k), scene, frames, camera, size.points)
        made.files[f"alf/_ibl_{camera}Camera.{tracker}.pqt"] = pose
    if camera != "body":
        features = video.simulate_features(rng, scene, frames, camera)
        made.files[f"alf/_ibl_{camera}Camera.features.pqt"] = features
    energy = video.simulate_motion_energy(rng, scene, frames)
    made.files[f"alf/{camera}Camera.ROIMotionEnergy.npy"] = energy
    made.files[f"alf/{camera}ROIMotionEnergy.position.npy"] = np.array(video.REGIONS[camera])
    made.cameras.append(
        {
            "eid": made.plan.eid,
            "camera": camera,
            "n_times": len(times),
            "n_frames": len(frames),
            **{tracker: tracker in trackers for tracker in TRACKERS},
            "pupil": camera != "body",
            "motion_energy": True,
        }
    )


def _show_passive_stimuli(made: SimulatedSession) -> None:
    """Simulate the passive protocol."""
    role, size, rng = made.plan.role, made.size, made.rng(4)
    if not role.passive:
        made.odd("no_passive")
        return
    times, pattern = passive.simulate_sparse_noise(rng, size.duration, size.frame_rate_factor)
    gabors, stimuli = passive.simulate_replay(rng, size.duration)
    periods = passive.simulate_periods(size.duration)
    made.noise = times, pattern
    made.replayed = {name: stimuli[f"{name}On"].to_numpy() for name in passive.STIMULI}
    made.files["alf/_ibl_passivePeriods.intervalsTable.csv"] = periods
    made.files["alf/_ibl_passiveRFM.times.npy"] = times
    made.files["raw_passive_data/_iblrig_RFMapStim.raw.bin"] = pattern.tobytes(order="F")
    made.files["alf/_ibl_passiveStims.table.csv"] = stimuli
    if role.gabors:
        made.files["alf/_ibl_passiveGabor.table.csv"] = gabors
    else:
        made.odd("no_gabors")
    made.passive = {
        "n_periods": len(passive.PERIODS),
        "n_noise_frames": len(times),
        "n_stimuli": len(passive.STIMULI) * len(stimuli),
        "n_gabors": len(gabors) if role.gabors else 0,
    }


def _raw_files(made: SimulatedSession) -> None:
    """Write small files where the raw recordings of probes and cameras are."""
    for number, probe in enumerate(made.plan.probes):
        rng, base = made.rng(6, probe.tag), f"raw_ephys_data/{probe.name}/"
        files = raw.recording_files(rng, number, probe.serial, made.size.duration)
        made.files.update({base + name: content for name, content in files.items()})
    for number, camera in enumerate(CAMERAS):
        if camera in made.plan.role.cameras:
            path = f"raw_video_data/_iblrig_{camera}Camera.raw.mp4"
            made.files[path] = raw.video_bytes(made.rng(7, number))


def _point_to_raw_files(made: SimulatedSession) -> None:
    """List raw files that are too large to be here."""
    probe = made.plan.probes[0].name
    made.pointers = {
        "raw_video_data/_iblrig_leftCamera.raw.mp4": 1_572_864_000,
        f"raw_ephys_data/{probe}/_spikeglx_ephysData_g0_t0.imec0.ap.cbin": 31_457_280_000,
    }
    for path in made.pointers:
        made.odd("absent_raw_file", path=path)


def _record(made: SimulatedSession, probe: Probe) -> None:
    """Simulate the sorts of a probe."""
    role = made.plan.role
    channels = ephys.simulate_channels(probe.tag % len(ephys.CHAINS), probe.model)
    made.channels[probe.name] = channels
    for number, revision in enumerate(probe.revisions):
        is_last = revision == probe.revisions[-1]
        n_units = made.size.n_units if is_last else round(0.6 * made.size.n_units)
        if number == 0 or role.own_channels:
            _channel_files(made, probe, revision, channels)
        else:
            made.odd("channels_of_original", probe.name, revision)
        _make_sort(made, probe, revision, n_units, channels)
    _quality_files(made, probe, channels)
    if not role.located:
        made.odd("not_located", probe.name)
    if probe.name in role.sites_in_metadata:
        made.odd("sites_in_metadata", probe.name)
    if not role.resorted:
        made.odd("unrevised_only", probe.name)
    if len(probe.revisions) > 1 and role.odd_units:
        made.odd("resorted", probe.name, probe.revisions[-1])
    if probe.name[-1].isalpha():
        made.odd("shank", probe.name)


def _collection(probe: Probe, revision: str) -> str:
    """Folder of a sort, ending in a slash."""
    return f"alf/{probe.name}/pykilosort/" + (f"#{revision}#/" if revision else "")


def _channel_files(
    made: SimulatedSession, probe: Probe, revision: str, channels: pd.DataFrame
) -> None:
    base = _collection(probe, revision) + "channels."
    made.files[base + "localCoordinates.npy"] = channels[["lateral", "axial"]].to_numpy()
    made.files[base + "rawInd.npy"] = channels["raw_index"].to_numpy()
    if revision:
        made.files[base + "labels.npy"] = channels["label"].to_numpy()
    role = made.plan.role
    if role.located and probe.name not in role.sites_in_metadata:
        made.files[base + "mlapdv.npy"] = channels[["x", "y", "z"]].to_numpy()
        ids = channels["region_id"].to_numpy(np.int32)
        made.files[base + "brainLocationIds_ccf_2017.npy"] = ids


def _quality_files(made: SimulatedSession, probe: Probe, channels: pd.DataFrame) -> None:
    """Simulate the quality of the raw recording of a probe."""
    size = made.size
    files = raw.quality_files(
        made.rng(5, probe.tag),
        size.duration,
        size.frame_rate_factor,
        size.n_frequencies,
        dead=int(channels.index[channels["label"] == 1][0]),
    )
    base = f"raw_ephys_data/{probe.name}/"
    made.files.update({base + name: values for name, values in files.items()})
    if made.plan.role.raw == "unlisted":
        made.odd("no_saturation_file", probe.name)
        return
    number = made.plan.probes.index(probe)
    is_clean = number > 0 and made.plan.role.odd_units
    found, intervals = raw.saturation_files(made.rng(8, probe.tag), number, size.duration, is_clean)
    made.files.update({base + name: content for name, content in found.items()})
    key = {"eid": made.plan.eid, "probe_name": probe.name}
    made.saturations.append(intervals.assign(**key))
    if intervals.empty:
        made.odd("never_saturated", probe.name)


def _make_sort(
    made: SimulatedSession, probe: Probe, revision: str, n_units: int, channels: pd.DataFrame
) -> None:
    """Simulate a sort: its units, spikes, metrics, and their files."""
    rng, size = made.rng(1, probe.tag, int(bool(revision))), made.size
    units = ephys.plan_units(
        rng, n_units, channels, size.duration, size.good_fraction, size.unit_rate
    )
    odd = made.plan.role.odd_units and probe is made.plan.probes[0]
    if odd:
        _plant_counts(made, probe, revision, units)
    stimuli = made.trials["stimOn_times"].to_numpy()
    gains = _tune(made, probe, revision, units) if made.plan.role.tuned else {}
    spikes = ephys.simulate_spikes(rng, units, stimuli, size.duration, gains)
    order = np.argsort(spikes.times, kind="stable")
    if odd:
        # A spike in the middle, of whichever unit.
        spike = len(order) // 2
        spikes.depths[order[spike]] = np.nan
        made.odd("nan_depth", probe.name, revision, rows=(spike,))
    frame = metrics.sort_metrics(spikes)
    missing: list[int] = []
    if odd and revision == probe.revisions[-1]:
        missing = _missing_metrics(frame, units)
        made.odd("missing_metrics", probe.name, revision, rows=tuple(missing))
    base = _collection(probe, revision)
    _spike_files(made, base, revision, spikes, order)
    _cluster_files(made, base, rng, units, frame)
    released = metrics.released_metrics(frame, revision).drop(index=missing)
    made.files[base + "clusters.metrics.pqt"] = released.reset_index(drop=True)
    units = pd.concat([units, _waveform_files(made, probe, revision, units, frame)], axis=1)
    _sort_truth(made, probe, revision, units, frame, missing)


def _tune(
    made: SimulatedSession, probe: Probe, revision: str, units: pd.DataFrame
) -> dict[int, np.ndarray]:
    """Tune good units, and return the gain of each in time."""
    chosen = tuning.plan_tuning(units["clean"].to_numpy() & (units["noise"] == "low").to_numpy())
    units.loc[chosen["cluster_id"], ["rate", "evoked_rate"]] = tuning.RATE
    # The dead time is stretched by the highest gain: a short one leaves slow correlations alone.
    units.loc[chosen["cluster_id"], "dead_time"] = 0.002
    shown = tuning.Shown(made.size.duration, made.trials, made.movements, made.noise, made.replayed)
    where = {"eid": made.plan.eid, "probe_name": probe.name, "revision": revision}
    made.tuned.append(chosen.assign(**where)[list(TUNED_COLUMNS)])
    return {
        int(unit["cluster_id"]): tuning.compute_gain(made.rng(8, probe.tag, row), unit, shown)
        for row, unit in chosen.iterrows()
    }


def _plant_counts(made: SimulatedSession, probe: Probe, revision: str, units: pd.DataFrame) -> None:
    """Make one unit silent and leave another one spike."""
    units["n_spikes"] = -1
    for kind, cluster, count in (
        ("silent_cluster", SILENT_CLUSTER, 0),
        ("one_spike_cluster", ONE_SPIKE_CLUSTER, 1),
    ):
        units.loc[cluster, "n_spikes"] = count
        made.odd(kind, probe.name, revision, rows=(cluster,))


def _missing_metrics(frame: pd.DataFrame, units: pd.DataFrame) -> list[int]:
    """Clusters to leave out of the metrics: the silent one, and the first small one."""
    small = frame.index[~units["loud"] & (frame["spike_count"] > 1)]
    return [SILENT_CLUSTER, *small[:1].tolist()]


def _spike_files(
    made: SimulatedSession, base: str, revision: str, spikes: metrics.UnitSpikes, order: np.ndarray
) -> None:
    clusters = spikes.unit[order].astype(np.uint32 if revision else np.uint16)
    made.files[base + "spikes.times.npy"] = spikes.times[order]
    made.files[base + "spikes.clusters.npy"] = clusters
    made.files[base + "spikes.amps.npy"] = spikes.amps[order]
    made.files[base + "spikes.depths.npy"] = spikes.depths[order]


def _cluster_files(
    made: SimulatedSession,
    base: str,
    rng: np.random.Generator,
    units: pd.DataFrame,
    frame: pd.DataFrame,
) -> None:
    n = len(units)
    width = rng.choice([-1, 1], n, p=[0.15, 0.85]) * rng.uniform(0.15, 0.8, n)
    uuids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(n)]
    base += "clusters."
    made.files[base + "channels.npy"] = units["channel"].to_numpy()
    made.files[base + "depths.npy"] = units["depth"].to_numpy()
    # The sorter's own estimate from the template, so there is one without spikes as well.
    made.files[base + "amps.npy"] = frame["amp_median"].fillna(units["amplitude"]).to_numpy()
    made.files[base + "peakToTrough.npy"] = width
    made.files[base + "uuids.csv"] = pd.DataFrame({"uuids": uuids})


def _waveform_files(
    made: SimulatedSession, probe: Probe, revision: str, units: pd.DataFrame, frame: pd.DataFrame
) -> pd.DataFrame:
    """Simulate the waveforms of a sort, as wide as its clusters say; return what was planted.

    The sort that a newer one replaced has them as its templates alone.
    """
    base = _collection(probe, revision)
    width = made.files[base + "clusters.peakToTrough.npy"]
    silent = frame["spike_count"].to_numpy() == 0
    rng = made.rng(8, probe.tag, int(bool(revision)))
    planted = waveforms.plan_waveforms(rng, np.asarray(width), silent)
    if not made.plan.role.waveforms:
        made.odd("no_waveforms", probe.name, revision)
        return planted.assign(waveforms_of="")
    of = "clusters" if revision == probe.revisions[-1] else "templates"
    if of == "templates" and made.plan.role.odd_units:
        made.odd("templates_only", probe.name, revision)
    amplitude, channel = units["amplitude"].to_numpy(), units["channel"].to_numpy()
    arrays = waveforms.simulate_waveforms(planted, amplitude, channel, made.channels[probe.name])
    for name, array in zip(("waveforms", "waveformsChannels"), arrays, strict=True):
        made.files[f"{base}{of}.{name}.npy"] = array
    return planted.assign(waveforms_of=of)


def _sort_truth(
    made: SimulatedSession,
    probe: Probe,
    revision: str,
    units: pd.DataFrame,
    frame: pd.DataFrame,
    missing: list[int],
) -> None:
    """Note what is true of a sort and of its units."""
    sort = {"eid": made.plan.eid, "pid": probe.pid, "probe_name": probe.name, "revision": revision}
    counts = {
        "is_default": revision == probe.revisions[-1],
        "n_clusters": len(units),
        "n_spikes": int(frame["spike_count"].sum()),
        "n_metrics": len(units) - len(missing),
    }
    made.sortings.append({**sort, **counts})
    located = made.plan.role.located
    told = units[["channel", "rate", "evoked_rate", *WAVEFORM_COLUMNS]].assign(
        **sort,
        cluster_id=np.arange(len(units)),
        acronym=units["acronym"] if located else None,
        region_id=units["region_id"].astype("Int64") if located else pd.NA,
        in_metrics=~units.index.isin(missing),
        n_spikes=frame["spike_count"],
    )
    made.units.append(pd.concat([told, _planted(units, frame), _passed(frame)], axis=1))
    if located and made.plan.role.odd_units:
        _note_places(made, probe, revision, units)


def _planted(units: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Tell what was planted for each criterion; null where it is left to chance."""
    count = frame["spike_count"]
    # A clean unit of a low rate may have too few spikes to be sure of it.
    sure = (~units["refractory"] | units["clean"]) & (count > 1)
    loud = units["loud"].astype("boolean").where(count >= ephys.MIN_SPIKES_AMPLITUDE)
    return pd.DataFrame(
        {
            "planted_refractory": units["refractory"].astype("boolean").where(sure),
            "planted_noise": units["noise"].where(count >= ephys.MIN_SPIKES_NOISE),
            "planted_amplitude": loud,
        }
    )


def _passed(frame: pd.DataFrame) -> pd.DataFrame:
    """Tell which criteria each unit passes by its metrics."""
    old, new = metrics.judge(frame, "ibl_2022"), metrics.judge(frame, "ibl_2024")
    return pd.DataFrame(
        {
            "passes_refractory": old["refractory"],
            "passes_noise_2022": old["noise"],
            "passes_noise_2024": new["noise"],
            "passes_amplitude": old["amplitude"],
            "is_good_2022": old.all(axis=1),
            "is_good_2024": new.all(axis=1),
        }
    )


def _note_places(made: SimulatedSession, probe: Probe, revision: str, units: pd.DataFrame) -> None:
    """Note units outside grey matter."""
    white = ("fiber tracts", "scwm", "fa", "sptV", "arb")
    for kind, acronyms in (("root", ("root",)), ("void", ("void",)), ("white_matter", white)):
        rows = np.flatnonzero(units["acronym"].isin(acronyms))
        if rows.size:
            made.odd(f"units_in_{kind}", probe.name, revision, rows=tuple(rows.tolist()))
