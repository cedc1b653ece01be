"""The passive protocol after the task: spontaneous activity, sparse noise, replayed stimuli."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Begin and end of each period, as shares of the recording. The task ends before all of them.
PERIODS = {
    "passiveProtocol": (0.935, 0.995),
    "spontaneousActivity": (0.935, 0.955),
    "RFM": (0.957, 0.967),
    "taskReplay": (0.97, 0.995),
}
SQUARES, NOISE_RATE, LEAST_FRAMES = 15, 60.0, 20
GREY, BLACK, WHITE = 128, 0, 255
CONTRASTS = {0.0: 20, 0.0625: 40, 0.125: 40, 0.25: 40, 1.0: 40}
N_STIMULI = 40
STIMULI = ("valve", "tone", "noise")


def simulate_periods(duration: float) -> pd.DataFrame:
    """Give the periods of a recording: rows start and stop (s), one column a period."""
    frame = pd.DataFrame({name: np.array(span) * duration for name, span in PERIODS.items()})
    return _with_index(frame, ["start", "stop"])


def simulate_sparse_noise(
    rng: np.random.Generator, duration: float, factor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Show sparse noise.

    Returns
    -------
    times : ndarray, (f,)
        Of the frames, s ascending.
    pattern : ndarray, (15, 15, f), uint8
        Squares, most of them grey.
    """
    start, stop = np.array(PERIODS["RFM"]) * duration
    n = max(LEAST_FRAMES, int((stop - start) * NOISE_RATE * factor))
    times = start + (np.arange(n) + rng.uniform(0.4, 0.6, n)) * (stop - start) / n
    shades, odds = np.array([GREY, BLACK, WHITE], np.uint8), [0.9, 0.05, 0.05]
    return times, rng.choice(shades, (SQUARES, SQUARES, n), p=odds)


def simulate_replay(rng: np.random.Generator, duration: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Replay Gabor patches, valve, tone and noise one after the other, in random order.

    Returns
    -------
    gabors : DataFrame, 180 rows
        start, stop (s), position (deg), contrast (fraction), phase (rad).
    stimuli : DataFrame, 40 rows
        `{stimulus}On`, `{stimulus}Off` (s) of each of `STIMULI`.
    """
    contrast = rng.permutation(np.repeat(list(CONTRASTS), list(CONTRASTS.values())))
    n = len(contrast)
    start, stop = np.array(PERIODS["taskReplay"]) * duration
    kind = rng.permutation(np.r_[np.zeros(n, int), np.repeat([1, 2, 3], N_STIMULI)])
    slot = (stop - start) / len(kind)
    on = start + slot * np.arange(len(kind))
    gabors = pd.DataFrame(
        {
            "start": on[kind == 0],
            "stop": on[kind == 0] + 0.6 * slot,
            "position": rng.permutation(np.resize([-35.0, 35.0], n)),
            "contrast": contrast,
            "phase": rng.uniform(0, 2 * np.pi, n),
        }
    )
    columns = {}
    for number, name in enumerate(STIMULI, 1):
        columns[f"{name}On"] = on[kind == number]
        columns[f"{name}Off"] = on[kind == number] + 0.2 * number * slot
    stimuli = pd.DataFrame(columns)
    return _with_index(gabors, range(n)), _with_index(stimuli, range(N_STIMULI))


def _with_index(frame: pd.DataFrame, index: object) -> pd.DataFrame:
    """Put the index first under no name, as files have it."""
    frame.insert(0, "", index)
    return frame
