"""Task and wheel: trials by the rules of the task, movements that lead to the choices.

Trials are generated with every value present; `blank_events` makes the holes that real files have.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import scipy

# What P(answer "right") was drawn from, by probability of a left stimulus.
PSYCHOMETRIC = {
    p: {"bias": bias, "slope": 16.0, "lapse_low": 0.04, "lapse_high": 0.04}
    for p, bias in ((0.5, 0.0), (0.2, -5.0), (0.8, 5.0))
}
RT_MEDIAN, RT_SIGMA = 0.2, 0.8
CONTRAST_FACTORS = {0.0: 1.6, 0.0625: 1.35, 0.125: 1.15, 0.25: 0.9, 1.0: 0.7}
EARLY, EARLY_FRACTION = (-0.15, 0.08), 0.12
SLOW_FROM, SLOW_MEAN, SLOW_FRACTION = 2.0, 3.0, 0.1
NAN_FRACTION = 0.015
NO_GO_FRACTION, TIMEOUT = 0.007, 60.0
CONTRASTS, CONTRAST_WEIGHTS = (0.0, 0.0625, 0.125, 0.25, 1.0), (1 / 9, 2 / 9, 2 / 9, 2 / 9, 2 / 9)
UNBIASED = 90
# Turn of the wheel that answers (35 degrees at 4 degrees/mm), and a step of the encoder, radians.
THRESHOLD, WHEEL_STEP = 0.28, 2 * np.pi / 4096
EVENTS = ("stimOn_times", "goCue_times", "firstMovement_times", "response_times", "feedback_times")
COLUMNS = (
    "intervals_0",
    "intervals_1",
    "goCue_times",
    "response_times",
    "choice",
    "stimOn_times",
    "contrastLeft",
    "contrastRight",
    "feedback_times",
    "feedbackType",
    "rewardVolume",
    "probabilityLeft",
    "firstMovement_times",
)
TRAINING_COLUMNS = (
    "choice",
    "contrastLeft",
    "contrastRight",
    "feedbackType",
    "probabilityLeft",
    "response_times",
    "stimOn_times",
)


def reaction_time_truth() -> dict[str, float]:
    """Tell what reaction times (firstMovement - stimOn, s) are drawn from."""
    lognormal = 1 - EARLY_FRACTION - SLOW_FRACTION
    shorter = scipy.special.ndtr(np.log(0.08 / RT_MEDIAN) / RT_SIGMA)
    below = EARLY_FRACTION + lognormal * float(shorter)
    return {
        "median": RT_MEDIAN,
        "sigma": RT_SIGMA,
        "early_fraction": EARLY_FRACTION,
        "slow_fraction": SLOW_FRACTION,
        "fraction_below_80ms": below,
        "nan_fraction": NAN_FRACTION,
    }


def simulate_trials(
    rng: np.random.Generator,
    n_trials: int,
    last: float,
    no_go: int | None = None,
    by_contrast: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Run the task.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of this session.
    n_trials : int
        Trials wanted.
    last : float
        Trials that end after this time (s) are dropped.
    no_go : int, optional
        A trial that surely gets no answer.
    by_contrast : bool
        Whether reaction times fall with contrast, by `CONTRAST_FACTORS`.

    Returns
    -------
    trials : DataFrame
        `COLUMNS` (times s, contrasts as fraction, volume ul), and `stimOff_times`,
        `goCueTrigger_times`, `quiescencePeriod`.
    movements : DataFrame
        trial, onset (s), duration (s), amplitude (rad, + counter-clockwise), in order of onset.
    """
    task = _design(rng, n_trials)
    task["choice"] = _choices(rng, task, no_go)
    contrast = task["contrastLeft"].fillna(task["contrastRight"])
    factor = contrast.map(CONTRAST_FACTORS).to_numpy() if by_contrast else np.ones(len(task))
    events, movements = _events(rng, task, factor)
    trials = pd.concat([task.drop(columns="side"), events], axis=1)
    trials = trials.iloc[: np.searchsorted(trials["intervals_1"], last, side="right")]
    movements = movements[movements["trial"] < len(trials)].sort_values("onset", ignore_index=True)
    return trials, movements


def _design(rng: np.random.Generator, n: int) -> pd.DataFrame:
    """Blocks, sides (+1 right) and contrasts."""
    probability = np.full(n, 0.5)
    begin, biased = UNBIASED, rng.choice([0.2, 0.8])
    while begin < n:
        length = 0.0
        while not 20 < length < 100:
            length = rng.exponential(60.0)
        probability[begin : begin + int(length)] = biased
        begin, biased = begin + int(length), round(1 - biased, 1)
    side = np.where(rng.random(n) < probability, -1, 1)
    first = min(n, UNBIASED)
    side[:first] = rng.permutation(np.resize([-1, 1], first))
    contrast = rng.choice(CONTRASTS, size=n, p=CONTRAST_WEIGHTS)
    return pd.DataFrame(
        {
            "side": side,
            "probabilityLeft": probability,
            "contrastLeft": np.where(side < 0, contrast, np.nan),
            "contrastRight": np.where(side > 0, contrast, np.nan),
        }
    )


def _choices(rng: np.random.Generator, task: pd.DataFrame, no_go: int | None) -> np.ndarray:
    """Draw answers (n,): -1 right, +1 left, 0 none."""
    percent = 100 * (task["contrastRight"].fillna(0) - task["contrastLeft"].fillna(0)).to_numpy()
    probability = task["probabilityLeft"].to_numpy()
    p_right = np.empty(len(task))
    for block, p in PSYCHOMETRIC.items():
        rise = (scipy.special.erf((percent - p["bias"]) / p["slope"]) + 1) / 2
        curve = p["lapse_low"] + (1 - p["lapse_low"] - p["lapse_high"]) * rise
        p_right = np.where(probability == block, curve, p_right)
    choice = np.where(rng.random(len(task)) < p_right, -1.0, 1.0)
    choice[rng.random(len(task)) < NO_GO_FRACTION] = 0
    if no_go is not None:
        choice[no_go] = 0
    return choice


def _reaction_times(rng: np.random.Generator, factor: np.ndarray) -> np.ndarray:
    """Draw firstMovement - stimOn (n,), s, with medians of `RT_MEDIAN` times the factor."""
    n = len(factor)
    part = rng.random(n)
    time = RT_MEDIAN * factor * np.exp(RT_SIGMA * rng.standard_normal(n))
    time = np.where(part < EARLY_FRACTION, rng.uniform(*EARLY, n), time)
    return np.where(part > 1 - SLOW_FRACTION, SLOW_FROM + rng.exponential(SLOW_MEAN, n), time)


def _movement_plan(rng: np.random.Generator, choice: np.ndarray) -> tuple[np.ndarray, ...]:
    """Plan up to three movements towards each choice.

    Returns
    -------
    gap, duration : ndarray, (n, 3)
        Pause before a movement and its length, s; the first gap is 0.
    amplitude : ndarray, (n, 3)
        Radians; 0 for movements that are not made. The last one ends beyond the threshold.
    """
    n = len(choice)
    count = rng.choice([1, 2, 3], size=n, p=[0.6, 0.3, 0.1])
    made = np.arange(3) < count[:, None]
    gap, duration = rng.uniform(0.15, 0.3, (n, 3)), rng.uniform(0.15, 0.4, (n, 3))
    gap[:, 0] = 0
    # Changes of mind: large enough to count as a movement, together too small for an answer.
    tries = rng.uniform(0.11, 0.13, (n, 3)) * np.array([1, -1, 0]) * rng.choice([-1, 1], (n, 1))
    tries[np.arange(3) >= count[:, None] - 1] = 0
    net = -choice * rng.uniform(THRESHOLD, THRESHOLD + 0.04, n)
    amplitude = tries
    amplitude[np.arange(n), count - 1] = net - tries.sum(axis=1)
    return np.where(made, gap, 0), np.where(made, duration, 0), np.where(made, amplitude, 0)


def _events(
    rng: np.random.Generator, task: pd.DataFrame, factor: np.ndarray
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Time the events of each trial, and the movements that make them (s of the session)."""
    n, choice = len(task), task["choice"].to_numpy()
    go = choice != 0
    quiescence = 0.2 + _truncated_exponential(rng, n, 0.35, 0.2, 0.5)
    on = quiescence + rng.uniform(0.05, 0.1, n)
    cue = on + rng.uniform(0.0005, 0.012, n)
    move = on + _reaction_times(rng, factor)
    gap, duration, amplitude = _movement_plan(rng, choice)
    late = np.maximum(0, cue + 0.08 - (move + (gap + duration).sum(axis=1)))
    duration[np.arange(n), np.maximum((amplitude != 0).sum(axis=1) - 1, 0)] += late
    response = np.where(go, move + (gap + duration).sum(axis=1), cue + TIMEOUT)
    correct = choice == -task["side"].to_numpy()
    feedback = response + rng.uniform(0.0002, 0.008, n)
    off = feedback + np.where(correct, 1.0, 2.0)
    end = off + 0.5
    begin = rng.uniform(15, 25) + np.r_[0, np.cumsum(end + rng.lognormal(-0.5, 0.5, n))[:-1]]
    within = {
        "intervals_0": np.zeros(n),
        "intervals_1": end,
        "stimOn_times": on,
        "goCue_times": cue,
        "firstMovement_times": np.where(go, move, np.nan),
        "response_times": response,
        "feedback_times": feedback,
        "stimOff_times": off,
        "goCueTrigger_times": cue - rng.uniform(0.0002, 0.0004, n),
    }
    events = pd.DataFrame({name: begin + time for name, time in within.items()}).assign(
        feedbackType=np.where(correct, 1.0, -1.0),
        rewardVolume=np.where(correct, 1.5, 0.0),
        quiescencePeriod=quiescence,
    )
    movements = _movements(begin + move, gap, duration, np.where(go[:, None], amplitude, 0))
    return events, pd.concat([movements, _idle_movements(rng, events)], ignore_index=True)


def _movements(
    first: np.ndarray, gap: np.ndarray, duration: np.ndarray, amplitude: np.ndarray
) -> pd.DataFrame:
    """List the movements that are made, from the onset of the first of each trial (n,)."""
    end = first[:, None] + np.cumsum(gap + duration, axis=1)
    made = amplitude != 0
    return pd.DataFrame(
        {
            "trial": np.nonzero(made)[0],
            "onset": (end - duration)[made],
            "duration": duration[made],
            "amplitude": amplitude[made],
        }
    )


def _idle_movements(rng: np.random.Generator, events: pd.DataFrame) -> pd.DataFrame:
    """Move after the feedback of some trials, until before the stimulus disappears."""
    trial = np.flatnonzero(rng.random(len(events)) < 0.3)
    m = len(trial)
    return pd.DataFrame(
        {
            "trial": trial,
            "onset": events["feedback_times"].to_numpy()[trial] + rng.uniform(0.3, 0.5, m),
            "duration": rng.uniform(0.2, 0.4, m),
            "amplitude": rng.choice([-1, 1], m) * rng.uniform(0.05, 0.3, m),
        }
    )


def _truncated_exponential(
    rng: np.random.Generator, n: int, scale: float, low: float, high: float
) -> np.ndarray:
    """Draw from an exponential of that scale between `low` and `high` (n,)."""
    floor, ceiling = np.exp(-low / scale), np.exp(-high / scale)
    return -scale * np.log(floor + rng.random(n) * (ceiling - floor))


def simulate_wheel(movements: pd.DataFrame, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Wheel as its encoder tells it: a sample at each step.

    Parameters
    ----------
    movements : DataFrame
        As `simulate_trials` gives them.
    last : float
        Time of the last sample, s.

    Returns
    -------
    timestamps, position : ndarray
        Seconds ascending; radians, + counter-clockwise.
    """
    amplitude = movements["amplitude"].to_numpy()
    steps = np.maximum(1, np.round(np.abs(amplitude) / WHEEL_STEP)).astype(int)
    number = np.arange(steps.sum()) - np.repeat(np.cumsum(steps) - steps, steps)
    # The time at which a smooth rise 3x^2 - 2x^3 reaches its share of the steps; half a step off,
    # so that no sample falls on the limits of its movement.
    share = (number + 0.5) / np.repeat(steps, steps)
    course = 0.5 - np.sin(np.arcsin(1 - 2 * share) / 3)
    onset, duration = movements["onset"].to_numpy(), movements["duration"].to_numpy()
    times = np.repeat(onset, steps) + course * np.repeat(duration, steps)
    position = WHEEL_STEP * np.cumsum(np.repeat(np.sign(amplitude), steps))
    final = position[-1] if len(position) else 0.0
    return np.r_[0.2, times, last], np.r_[0.0, position, final]


def blank_events(
    rng: np.random.Generator, trials: pd.DataFrame, odd: bool
) -> tuple[pd.DataFrame, dict[str, tuple[int, ...]]]:
    """Put NaN where files have it.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of this session.
    trials : DataFrame
        As `simulate_trials` gives them; not changed.
    odd : bool
        Whether each event is NaN in some trial, and the last trial lacks its outcome.

    Returns
    -------
    trials : DataFrame
        A copy with holes.
    rows : dict of str to tuple of int
        Trials without the event, by event; those without movement only where `odd`.
    """
    blank, rows = trials.copy(), {}
    n = len(blank)
    blank.loc[rng.random(n) < NAN_FRACTION, "firstMovement_times"] = np.nan
    if odd:
        for k, event in enumerate(EVENTS):
            blank.loc[blank.index[(5 + 7 * k) % n], event] = np.nan
        blank.loc[blank.index[-1], ["response_times", "feedback_times"]] = np.nan
        rows = {e: tuple(np.flatnonzero(blank[e].isna()).tolist()) for e in EVENTS}
    return blank, rows
