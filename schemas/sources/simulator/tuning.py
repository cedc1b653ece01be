"""Units whose rate follows task, movement, passive stimuli, or a slow process of their own.

The rate of such a unit is its rest rate times a gain, which is constant within bins of 1 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike

STEP = 0.001
"""Width of the bins in which a gain is constant (s)."""

RATE = 12.0
"""Rest rate of tuned units, Hz."""

LATENCIES = (0.04, 0.055, 0.07, 0.09)
TIMESCALES = (0.1, 0.2, 0.4, 0.8)
FIELDS = ((3, 4), (7, 7), (10, 2), (12, 12))
"""What is planted in the four units of a kind: s, s, and row and column of a square."""

KINDS = ("side", "choice", "outcome", "block", "movement", "noise", "replay", "process")
"""What a unit may be tuned to."""

STIMULUS_GAIN, STIMULUS_LENGTH = (6.0, 1.3), 0.15
MOVEMENT_GAIN, FIELD_GAIN, REPLAY_GAIN = 2.5, 4.0, 3.0
FIELD_WINDOW, REPLAY_LENGTH, LOG_SPREAD = (0.04, 0.1), 0.2, 0.5


@dataclass(frozen=True)
class Shown:
    """What happens in a session to which units can be tuned; times in s.

    `trials` and `movements` are those of `behavior.simulate_trials`; `noise` are times and pattern
    of `passive.simulate_sparse_noise`; `replayed` the onsets by kind of replayed stimulus.
    """

    duration: float
    trials: pd.DataFrame
    movements: pd.DataFrame
    noise: tuple[np.ndarray, np.ndarray]
    replayed: dict[str, np.ndarray]


def plan_tuning(is_good: np.ndarray) -> pd.DataFrame:
    """Choose good units for each kind of tuning, four of each as long as there are units.

    Returns
    -------
    DataFrame, one row a tuned unit
        cluster_id, tuned_to (a of `KINDS`), number (0 to 3 among the units of a kind),
        latency (s, of side), timescale (s, of process), field_row and field_column (of noise).
    """
    clusters = np.flatnonzero(is_good)[: 4 * len(KINDS)]
    place = np.arange(len(clusters))
    table = pd.DataFrame({"cluster_id": clusters, "number": place // len(KINDS)})
    table["tuned_to"] = np.array(KINDS)[place % len(KINDS)]
    number = table["number"].to_numpy()
    table["latency"] = np.where(table["tuned_to"] == "side", np.array(LATENCIES)[number], np.nan)
    of_process = table["tuned_to"] == "process"
    table["timescale"] = np.where(of_process, np.array(TIMESCALES)[number], np.nan)
    of_noise = table["tuned_to"] == "noise"
    for column, values in zip(("field_row", "field_column"), np.array(FIELDS).T, strict=True):
        table[column] = np.where(of_noise, values[number], -1)
    return table


def compute_gain(rng: np.random.Generator, unit: pd.Series, shown: Shown) -> np.ndarray:
    """Compute the gain of a tuned unit in each bin of the recording, (B,)."""
    n_bins = int(np.ceil(shown.duration / STEP))
    if unit["tuned_to"] == "process":
        return _follow_process(rng, unit["timescale"], n_bins)
    gain = np.ones(n_bins)
    for start, length, by in _WINDOWS[unit["tuned_to"]](unit, shown):
        gain[_within(np.asarray(start, float), length, n_bins)] *= by
    return gain


Windows: TypeAlias = list[tuple[ArrayLike, float | np.ndarray, float]]
"""Starts (s), length or lengths (s) and gain of windows."""


def _within(start: np.ndarray, length: float | np.ndarray, n_bins: int) -> np.ndarray:
    """Return which bins lie in a window, (B,)."""
    known = ~np.isnan(start)
    edges = np.zeros(n_bins + 1, int)
    for at, sign in ((start, 1), (start + length, -1)):
        bins = np.round(at[known] / STEP).astype(int)
        np.add.at(edges, np.clip(bins, 0, n_bins), sign)
    return np.cumsum(edges[:-1]) > 0


def _of_task(unit: pd.Series, shown: Shown) -> Windows:
    """Side: after stimuli, more for the left. Choice, outcome and block: for one level only."""
    trials = shown.trials
    kind = unit["tuned_to"]
    if kind == "side":
        onsets = (
            trials["stimOn_times"][trials[column].notna()] + unit["latency"]
            for column in ("contrastLeft", "contrastRight")
        )
        return [(on, STIMULUS_LENGTH, by) for on, by in zip(onsets, STIMULUS_GAIN, strict=True)]
    event, column, level, start, length, by = TASK_WINDOWS[kind]
    return [(trials[event][trials[column] == level] + start, length, by)]


TASK_WINDOWS = {
    "choice": ("firstMovement_times", "choice", 1, -0.12, 0.12, 2.0),
    "outcome": ("feedback_times", "feedbackType", 1, 0.0, 0.2, 3.0),
    "block": ("stimOn_times", "probabilityLeft", 0.8, -0.45, 0.4, 2.0),
}
"""Event, column and level of the trials, start and length (s), and gain."""


def _of_movement(_: pd.Series, shown: Shown) -> Windows:
    moves = shown.movements
    return [(moves["onset"].to_numpy(), moves["duration"].to_numpy(), MOVEMENT_GAIN)]


def _of_noise(unit: pd.Series, shown: Shown) -> Windows:
    """After the square of the receptive field turns white."""
    times, pattern = shown.noise
    white = pattern[unit["field_row"], unit["field_column"]] == pattern.max()
    turns = white & ~np.concatenate([[False], white[:-1]])
    start, end = FIELD_WINDOW
    return [(times[turns] + start, end - start, FIELD_GAIN)]


def _of_replay(unit: pd.Series, shown: Shown) -> Windows:
    """After one kind of replayed stimulus; for the fourth unit, after every kind."""
    kinds = list(shown.replayed)
    chosen = kinds if unit["number"] >= len(kinds) else [kinds[unit["number"]]]
    return [(shown.replayed[kind], REPLAY_LENGTH, REPLAY_GAIN) for kind in chosen]


def _follow_process(rng: np.random.Generator, timescale: float, n_bins: int) -> np.ndarray:
    """Follow exp(x), where x is an Ornstein-Uhlenbeck process of that time constant."""
    kept = np.exp(-0.01 / timescale)
    noise = rng.standard_normal(n_bins // 10 + 1) * LOG_SPREAD * np.sqrt(1 - kept**2)
    noise[0] /= np.sqrt(1 - kept**2)
    level = np.repeat(scipy.signal.lfilter([1.0], [1.0, -kept], noise), 10)[:n_bins]
    # exp(x) has a mean of exp(spread ** 2 / 2); the rest rate remains the mean.
    return np.clip(np.exp(level - LOG_SPREAD**2 / 2), 0.2, 3.0)


_WINDOWS: dict[str, Callable[[pd.Series, Shown], Windows]] = {
    **dict.fromkeys(("side", "choice", "outcome", "block"), _of_task),
    "movement": _of_movement,
    "noise": _of_noise,
    "replay": _of_replay,
}
