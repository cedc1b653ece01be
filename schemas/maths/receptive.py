"""Receptive fields of many units: reverse correlation of spikes with squares of sparse noise."""

from __future__ import annotations

import numpy as np
import scipy

from schemas.maths.activity import count_in_windows

LEVELS = {"on": 255, "off": 0}
"""Grey level of the squares whose onsets make a field: white ones and black ones."""


def find_onsets(frames: np.ndarray, level: int) -> np.ndarray:
    """Find where squares turn to a grey level.

    Parameters
    ----------
    frames : (F, S) uint8 array
        Grey level of each square in each frame.
    level : int
        Grey level, e.g. 255. A square that keeps it has its onset in the first such frame; a
        square that has it in the first frame of all has its onset there.

    Returns
    -------
    (F, S) bool array
    """
    has = frames == level
    found = has.copy()
    found[1:] &= ~has[:-1]
    return found


def compute_fields(
    times: np.ndarray,
    offsets: np.ndarray,
    counts: np.ndarray,
    shown: np.ndarray,
    onsets: np.ndarray,
    lag: tuple[float, float],
    n_permutations: int,
    seed: int,
) -> dict[str, np.ndarray | int]:
    """Average each unit's spikes after the onsets of each square, and test the largest average.

    Only frames with an onset of any square count, so that a response to every change of the screen
    makes no field. If spikes had nothing to do with squares, those with an onset of one square
    would be a random choice among them: `z` is the distance of the sum of their counts from its
    mean over all such choices, in standard deviations, both exact. Permutations assign the counts
    of all units to other frames, and `p` compares the largest z: it allows for all squares.

    Parameters
    ----------
    times, offsets, counts
        As in `schemas.maths.activity.search_units`.
    shown : (F,) float array
        Onset of each frame (s).
    onsets : (F, K) bool array
        Whether a square has an onset in the frame: K are squares, of one level or of several.
    lag : (start, end)
        Spikes are counted in [frame + start, frame + end), in seconds.
    n_permutations, seed : int
        Number of permutations, and their seed.

    Returns
    -------
    dict
        `n_frames` that count; `mean` (U, K), spikes per onset, NaN where a square has none; `z`
        (U, K), NaN where a square has no onset or the counts of a unit are all equal; `peak`
        (U,), index of the largest z, -1 where a unit has no z; `p` (U,), the fraction of
        permutations whose largest z is as large, the real order counted as one of them; NaN
        where a unit has no z.
    """
    used = onsets.any(axis=1)
    # One row a frame, so that a permutation copies whole rows; a square has few onsets.
    of_frame = count_in_windows(times, offsets, counts, shown[used], lag).T.astype(float)
    square = scipy.sparse.csr_array(onsets[used].T.astype(float))
    n_onsets = onsets[used].sum(axis=0)
    chance = _chance(of_frame, n_onsets)
    total = square @ of_frame
    z = (total - chance[0]) / chance[1]
    p, n = _compare(square, of_frame, chance, z, n_permutations, seed), n_onsets[:, None]
    return {
        "n_frames": len(of_frame),
        "mean": np.divide(total, n, out=np.full(z.shape, np.nan), where=n > 0).T,
        "z": z.T,
        "peak": np.where(np.isnan(p), -1, np.argmax(np.nan_to_num(z, nan=-np.inf), axis=0)),
        "p": p,
    }


def _compare(
    square: scipy.sparse.csr_array,
    of_frame: np.ndarray,
    chance: tuple[np.ndarray, np.ndarray],
    z: np.ndarray,
    n_permutations: int,
    seed: int,
) -> np.ndarray:
    """Return how many of permutations have a z as large as the largest of a unit (U,)."""
    largest, rng = _largest(z), np.random.default_rng(seed)
    n_as_large = np.ones(len(largest))
    for _ in range(n_permutations):
        permuted = square @ of_frame[rng.permutation(len(of_frame))]
        n_as_large += _largest((permuted - chance[0]) / chance[1]) >= largest
    return np.where(np.isfinite(largest), n_as_large / (1 + n_permutations), np.nan)


def _chance(of_frame: np.ndarray, n_onsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (K, U) of the sum of counts (F, U) over random frames.

    As many frames as a square has onsets (K,) are drawn without replacement: the variance is that
    of independent draws times (F - n) / (F - 1). NaN where it is zero.
    """
    n_frames, n_units = of_frame.shape
    if not n_frames:
        return np.zeros((len(n_onsets), n_units)), np.full((len(n_onsets), n_units), np.nan)
    expected = np.outer(n_onsets, of_frame.sum(axis=0)) / n_frames
    spread = n_onsets * (n_frames - n_onsets) / max(n_frames - 1, 1)
    deviation = np.sqrt(np.outer(spread, of_frame.var(axis=0)))
    deviation[deviation == 0] = np.nan
    return expected, deviation


def _largest(z: np.ndarray) -> np.ndarray:
    """Return the largest value of each column, NaN left out; -inf without any."""
    return np.fmax.reduce(z, axis=0, initial=-np.inf)
