"""Files of a few rows of every imported kind, with values as they are released."""

import numpy as np

from schemas.sources.alf.domains import DOMAINS, METRICS

N = 12
K = np.arange(N)
RNG = np.random.default_rng(0)
SORT, QUALITY = "alf/probe00/pykilosort", "raw_ephys_data/probe00/_iblqc_ephys"
SEEN = np.tile([True, False], N // 2)


def trial_array(column):
    """Values of a column of trials, as a mouse and a rig produce them."""
    if column == "included":
        return SEEN.copy()
    if column in ("choice", "feedbackType"):
        return np.resize([1.0, -1.0, -1.0], N)
    if column.startswith("contrast"):
        seen = SEEN if column == "contrastLeft" else ~SEEN
        return np.where(seen, np.resize([0.25, 0.5, 1.0], N), np.nan)
    made = {
        "rewardVolume": np.resize([3.0, 0.0], N),
        "probabilityLeft": np.resize([0.2, 0.8], N),
        "quiescencePeriod": RNG.uniform(0.4, 0.7, N),
        "repNum": 1.0 + K,
    }
    return made.get(column, 100.0 + 5 * K + RNG.uniform(0, 1))


TABLE = list(DOMAINS["trials"])[:13]
POINT = {
    "nose_tip_x": RNG.uniform(400, 800, N),
    "nose_tip_y": RNG.uniform(550, 900, N),
    "nose_tip_likelihood": RNG.uniform(0.1, 1, N),
}
METRIC_VALUES = {
    name: np.resize([1.0, 0.0, 0.0], N)
    if domain.choices
    else RNG.uniform(0.2, 0.9, N)
    if domain.greatest == 1
    else np.round(RNG.uniform(20, 90, N) * (5 if name == "noise_cutoff" else 1))
    for name, domain in METRICS.items()
} | {name: RNG.uniform(5e-5, 9e-4, N) for name in ("amp_max", "amp_min", "amp_median")}
STIMULI = dict.fromkeys(DOMAINS["passive_stimuli"], 2000.0 + 5 * K)

FILES = {
    "trials": {
        "alf/_ibl_trials.table.pqt": {name: trial_array(name) for name in TABLE},
        **{
            f"alf/_ibl_trials.{name}.npy": trial_array(name)
            for name in DOMAINS["trials"]
            if name not in TABLE and "bpod" not in name
        },
        "alf/_ibl_trials.intervals_bpod.npy": np.c_[90.0 + 5 * K, 94.0 + 5 * K],
    },
    "wheel": {
        "alf/_ibl_wheel.timestamps.npy": 100.0 + np.arange(40),
        "alf/_ibl_wheel.position.npy": 2 * np.pi / 4096 * (np.arange(40) + 5),
    },
    "licks": {"alf/licks.times.npy": 100.0 + K},
    "frame_times": {"alf/_ibl_leftCamera.times.npy": 100.0 + K},
    "pose": {"alf/_ibl_leftCamera.dlc.pqt": POINT, "alf/_ibl_leftCamera.times.npy": 100.0 + K},
    "pupil": {
        "alf/_ibl_leftCamera.features.pqt": {
            name: RNG.uniform(9, 40, N) for name in DOMAINS["pupil"]
        },
        "alf/_ibl_leftCamera.times.npy": 100.0 + K,
    },
    "motion_energy": {
        "alf/leftCamera.ROIMotionEnergy.npy": RNG.uniform(1, 30, N),
        "alf/leftROIMotionEnergy.position.npy": np.array([300, 400, 120, 90]),
        "alf/_ibl_leftCamera.times.npy": 100.0 + K,
    },
    "passive_periods": {
        "alf/_ibl_passivePeriods.intervalsTable.csv": {
            "": ["start", "stop"],
            "RFM": [3000.0, 3300.0],
            "taskReplay": [3400.0, 3700.0],
        }
    },
    "passive_stimuli": {"alf/_ibl_passiveStims.table.csv": STIMULI},
    "passive_gabors": {
        "alf/_ibl_passiveGabor.table.csv": {
            "start": 2000.0 + K,
            "stop": 2000.3 + K,
            "position": np.resize([-35.0, 35.0], N),
            "contrast": np.resize([0.25, 0.125, 1.0], N),
            "phase": RNG.uniform(1, 6, N),
        }
    },
    "receptive_field": {
        "alf/_ibl_passiveRFM.times.npy": 2000.0 + K,
        "raw_passive_data/_iblrig_RFMapStim.raw.bin": RNG.choice([1, 128, 255], N * 225),
    },
    "channels": {
        f"{SORT}/channels.localCoordinates.npy": np.c_[np.resize([11.0, 43.0], N), 20.0 + 300 * K],
        f"{SORT}/channels.mlapdv.npy": np.c_[-2000.0 - 9 * K, -3000.0 - 9 * K, -4000.0 + 300 * K],
        f"{SORT}/channels.brainLocationIds_ccf_2017.npy": np.resize([385, 997], N),
        f"{SORT}/channels.rawInd.npy": K + 40,
        f"{SORT}/channels.labels.npy": np.resize([1, 2, 3], N),
    },
    "clusters": {
        f"{SORT}/clusters.channels.npy": K[::-1],
        f"{SORT}/clusters.depths.npy": 1100.0 + 200 * K,
        f"{SORT}/clusters.amps.npy": RNG.uniform(5e-5, 9e-4, N),
        f"{SORT}/clusters.peakToTrough.npy": np.resize([0.3, 0.7, -0.2], N),
        f"{SORT}/clusters.uuids.csv": {"uuids": [f"{k:08x}-0000-4000-8000-{k:012x}" for k in K]},
        f"{SORT}/clusters.metrics.pqt": {"cluster_id": K}
        | METRIC_VALUES
        | {"ks2_label": np.resize(["good", "mua"], N)},
    },
    "spikes": {
        f"{SORT}/spikes.times.npy": 100.0 + K,
        f"{SORT}/spikes.clusters.npy": np.resize([3, 1, 2], N),
        f"{SORT}/spikes.amps.npy": RNG.uniform(5e-5, 9e-4, N),
        f"{SORT}/spikes.depths.npy": 1100.0 + 200 * K,
    },
    "waveforms": {
        f"{SORT}/clusters.waveforms.npy": RNG.uniform(-9e-4, 9e-4, (N, 5, 3)),
        f"{SORT}/clusters.waveformsChannels.npy": K[:, np.newaxis] + [40, 41, 42],
    },
    "rms": {
        f"{QUALITY}TimeRmsAP.rms.npy": RNG.uniform(1.5e-5, 3e-5, (N, 3)),
        f"{QUALITY}TimeRmsAP.timestamps.npy": 100.0 + K,
    },
    "spectral_density": {
        f"{QUALITY}SpectralDensityAP.power.npy": RNG.uniform(1e-17, 1e-14, (N, 3)),
        f"{QUALITY}SpectralDensityAP.freqs.npy": 100.0 + 30 * K,
    },
}
FILES["saturation"] = {
    f"{QUALITY}SaturationAP.samples.pqt": {
        "start_sample": 3_000_000 + 30_000 * K,
        "stop_sample": 3_006_000 + 30_000 * K,
    },
    "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.timestamps.npy": np.c_[
        [0.0, 30_000.0, 60_000.0], [0.5, 1.5, 2.502]
    ],
}
FILES["clusters"] |= FILES["channels"]
"""Files of a few rows of each kind, with values as they are released."""

SYNC = {"alf/_ibl_wheel.timestamps.npy": np.c_[[0.0, 4.0, 39.0], [100.0, 110.0, 130.0]]}
"""Times of the wheel as points (sample, time)."""

SECONDS = {f"{QUALITY}SaturationAP.intervals.npy": np.c_[100.0 + K, 100.2 + K]}
"""Saturation in seconds."""

VARIANTS = {
    ("wheel", "sample"): SYNC,
    ("saturation", "intervals_0"): SECONDS,
    ("saturation", "intervals_1"): SECONDS,
}
"""Files in place of those of a kind, or besides them, that have a column which those lack."""

ARRAYS = {
    "intervals_bpod_0": ("intervals_bpod", 0),
    "intervals_bpod_1": ("intervals_bpod", 1),
    "sample": ("timestamps", 0),
    "clock_sample": ("timestamps", 0),
    "clock_time": ("timestamps", 1),
    "intervals_0": ("intervals", 0),
    "intervals_1": ("intervals", 1),
    "lateral_um": ("localCoordinates", 0),
    "axial_um": ("localCoordinates", 1),
    "x_um": ("mlapdv", 0),
    "y_um": ("mlapdv", 1),
    "z_um": ("mlapdv", 2),
    "region_id": ("brainLocationIds", None),
    "raw_index": ("rawInd", None),
    "channel_label": ("labels", None),
    "squares": ("RFMapStim", None),
}
"""Attribute and column of the arrays that hold several columns or go by another name."""


def place(kind, name):
    """File of a column, and its column in the file."""
    attribute, column = ARRAYS.get(name, (name, None))
    for path, content in (FILES[kind] | VARIANTS.get((kind, name), {})).items():
        if isinstance(content, dict):
            found = [
                key for key in content if key == name or (kind == "pose" and key.endswith(name))
            ]
            if found or kind == "passive_periods":
                return path, (found or [name])[0]
        elif f".{attribute}" in path or (attribute == "RFMapStim" and attribute in path):
            return path, column
    raise AssertionError(f"{kind} has no file with {name}")


def as_written(path, content):
    """What a file holds: bytes of squares, and what no byte holds as it is."""
    if not path.endswith(".bin"):
        return content
    is_small = content.dtype.kind == "i" and ((content >= 0) & (content < 256)).all()
    return content.astype(np.uint8 if is_small else content.dtype).tobytes()
