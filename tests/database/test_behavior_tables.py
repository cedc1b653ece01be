"""Masks, performance, psychometric fits and training status against brute force and the truth."""

import pytest

from schemas import behavior, rows

NEEDED = (
    "stim_on_time",
    "choice",
    "feedback_time",
    "probability_left",
    "first_movement_time",
    "feedback_type",
)


@pytest.fixture
def trials(populated):
    """Trials of all sessions as stored, numbers as floats."""
    stored = rows.frame(behavior.Trials.Trial())
    numbers = [n for n in stored if n not in ("eid", "trial")]
    return stored.astype(dict.fromkeys(numbers, float))


def test_the_masks_are_those_of_a_computation_by_frames(trials):
    reaction = trials.first_movement_time - trials.stim_on_time
    used = trials[list(NEEDED)].notna().all(axis=1) & (reaction >= 0.08) & (reaction <= 2.0)
    stored = rows.frame(behavior.TrialMask.Trial())
    assert set(stored.trial_mask) == {"all", "bwm", "bwm_truncated"}
    both = stored.merge(trials.assign(expected=used)[["eid", "trial", "expected"]])
    assert len(both) == 3 * len(trials)
    of = both.groupby("trial_mask")
    assert of.get_group("all").is_used.all()
    bwm = of.get_group("bwm")
    assert (bwm.is_used.astype(bool) == bwm.expected).all()
    assert 0 < bwm.is_used.sum() < len(bwm)
    assert ((stored.exclusion == "") == stored.is_used.astype(bool)).all()
    # No session of this release has the 400 trials that the truncation asks for.
    truncated = of.get_group("bwm_truncated")
    assert not truncated.is_used.any()
    assert set(truncated.exclusion) == {"criterion"}


def test_every_session_is_fitted_and_judged(trials, populated):
    n = trials.eid.nunique()
    assert len(behavior.Psychometric()) == 2 * n
    assert len(behavior.TrainingStatus()) == 3 * n
    assert set(behavior.TrainingStatus.to_arrays("psychometric_definition")) == {"training"}
