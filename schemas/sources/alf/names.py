"""Names of the IBL: files, columns, and what we call the columns."""

from __future__ import annotations

import re

TRIAL_COLUMNS = {
    "intervals_0": "trial_start_time",
    "intervals_1": "trial_end_time",
    "stimOn_times": "stim_on_time",
    "goCue_times": "go_cue_time",
    "firstMovement_times": "first_movement_time",
    "response_times": "response_time",
    "feedback_times": "feedback_time",
    "choice": "choice",
    "feedbackType": "feedback_type",
    "contrastLeft": "contrast_left",
    "contrastRight": "contrast_right",
    "rewardVolume": "reward_volume",
    "probabilityLeft": "probability_left",
    "goCueTrigger_times": "go_cue_trigger_time",
    "stimOff_times": "stim_off_time",
    "stimOnTrigger_times": "stim_on_trigger_time",
    "stimOffTrigger_times": "stim_off_trigger_time",
    "quiescencePeriod": "quiescence_period",
    "included": "trial_included",
    "repNum": "rep_num",
    "intervals_bpod_0": "bpod_start_time",
    "intervals_bpod_1": "bpod_end_time",
}
"""Released name of a trials column (`_0`, `_1`: columns of an n x 2 array) -> ours."""

METRIC_COLUMNS = {
    "amp_max": "amp_max",
    "amp_min": "amp_min",
    "amp_median": "amp_median",
    "amp_std_dB": "amp_std_db",
    "contamination": "contamination",
    "contamination_alt": "contamination_alt",
    "drift": "drift",
    "missed_spikes_est": "missed_spikes_est",
    "noise_cutoff": "noise_cutoff",
    "presence_ratio": "presence_ratio",
    "presence_ratio_std": "presence_ratio_std",
    "slidingRP_viol": "sliding_rp_viol",
    "slidingRP_viol_forced": "sliding_rp_viol_forced",
    "max_confidence": "max_confidence",
    "min_contamination": "min_contamination",
    "n_spikes_below2": "n_spikes_below2",
    "spike_count": "spike_count",
    "firing_rate": "firing_rate",
    "label": "released_label",
    "bitwise_fail": "bitwise_fail",
    "ks2_label": "ks2_label",
}
"""Released name of a cluster metric -> ours."""

CLUSTER_COLUMNS = {
    "clusters.depths.npy": "cluster_depth",
    "clusters.amps.npy": "cluster_amp",
    "clusters.peakToTrough.npy": "peak_to_trough",
}
SITE_COLUMNS = {
    "localCoordinates": ("lateral_um", "axial_um"),
    "mlapdv": ("x_um", "y_um", "z_um"),
    "brainLocationIds_ccf_2017": ("region_id",),
    "rawInd": ("raw_index",),
    "labels": ("channel_label",),
}
PEAK_COLUMNS = ("axial_um", "lateral_um", "x_um", "y_um", "z_um", "region_id")

TRIALS_TABLE = "_ibl_trials.table.pqt"
TRIAL_FILES = {
    f"_ibl_trials.{attribute}.npy": tuple(
        column for column in TRIAL_COLUMNS if re.sub(r"_[01]$", "", column) == attribute
    )
    for attribute in dict.fromkeys(re.sub(r"_[01]$", "", column) for column in TRIAL_COLUMNS)
}
TRIAL_TABLE_FILES = (
    TRIALS_TABLE,
    "_ibl_trials.intervals.npy",
    "_ibl_trials.stimOn_times.npy",
    "_ibl_trials.goCue_times.npy",
    "_ibl_trials.firstMovement_times.npy",
    "_ibl_trials.response_times.npy",
    "_ibl_trials.feedback_times.npy",
    "_ibl_trials.choice.npy",
    "_ibl_trials.feedbackType.npy",
    "_ibl_trials.contrastLeft.npy",
    "_ibl_trials.contrastRight.npy",
    "_ibl_trials.rewardVolume.npy",
    "_ibl_trials.probabilityLeft.npy",
)
"""Files of which one is enough to import trials; all other files only add columns."""
WHEEL_FILES = ("_ibl_wheel.timestamps.npy", "_ibl_wheel.position.npy")
CLUSTER_FILES = (
    "clusters.channels.npy",
    *CLUSTER_COLUMNS,
    "clusters.uuids.csv",
    "clusters.metrics.pqt",
)
SPIKE_FILES = ("spikes.times.npy", "spikes.clusters.npy", "spikes.amps.npy", "spikes.depths.npy")
WAVEFORMS_OF = ("clusters", "templates")
"""Objects that have waveforms, the preferred one first; without manual curation they are equal."""

LICK_TIMES = "licks.times.npy"
PUPIL_COLUMNS = {"pupilDiameter_raw": "diameter_raw", "pupilDiameter_smooth": "diameter_smooth"}

PASSIVE_PERIODS = "_ibl_passivePeriods.intervalsTable.csv"
PERIODS = ("passiveProtocol", "spontaneousActivity", "RFM", "taskReplay")
PASSIVE_STIMULI = "_ibl_passiveStims.table.csv"
PASSIVE_GABORS = "_ibl_passiveGabor.table.csv"
NOISE_TIMES = "_ibl_passiveRFM.times.npy"
NOISE_FRAMES = "_iblrig_RFMapStim.raw.bin"
