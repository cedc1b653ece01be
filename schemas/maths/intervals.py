"""Intervals of time that overlap others."""

from __future__ import annotations

import numpy as np


def count_overlapping(
    first: np.ndarray, last: np.ndarray, start: np.ndarray, stop: np.ndarray
) -> np.ndarray:
    """Count the intervals [start, stop) that overlap each window [first, last).

    Parameters
    ----------
    first, last : (W,) float arrays
        Begin and end of the windows (s), first <= last; NaN gives a count of zero.
    start, stop : (N,) float arrays
        Begin and end of the intervals (s), start <= stop, in any order; they may overlap.

    Returns
    -------
    (W,) int array
        Intervals that begin before the window ends, less those that end before it begins.
    """
    begun = np.searchsorted(np.sort(start), last, side="left")
    over = np.searchsorted(np.sort(stop), first, side="right")
    known = ~(np.isnan(first) | np.isnan(last))
    return np.where(known, np.maximum(begun - over, 0), 0)
