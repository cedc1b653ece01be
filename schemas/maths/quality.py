"""The rule that the releases of the Brain-Wide Map were drawn by, as names and numbers.

Source: the selection of recordings of the International Brain Laboratory's Brain-Wide Map.
"""

BWM_PROJECT = "ibl_neuropixel_brainwide_01"
"""Project of the sessions."""

BWM_TASK_CHECKS = (
    "_task_stimOn_goCue_delays",
    "_task_response_feedback_delays",
    "_task_wheel_move_before_feedback",
    "_task_wheel_freeze_during_quiescence",
    "_task_error_trial_event_sequence",
    "_task_correct_trial_event_sequence",
    "_task_reward_volumes",
    "_task_reward_volume_set",
    "_task_stimulus_move_before_goCue",
    "_task_audio_pre_trial",
)
"""Checks of the task: fractions of trials that pass."""

BWM_TASK_PASS = 0.9
"""Each of the checks passes on this fraction of trials, or an experimenter lets the task pass."""
