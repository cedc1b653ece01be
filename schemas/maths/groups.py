"""Statistics of values by group, for all groups at once."""

from __future__ import annotations

import numpy as np


def summarise_groups(values: np.ndarray, group: np.ndarray, n_groups: int) -> dict[str, np.ndarray]:
    """Summarise values by group.

    Parameters
    ----------
    values : (n,) float array
        Without NaN.
    group : (n,) int array
        Group of each value, 0 to `n_groups` - 1.
    n_groups : int
        Number of groups.

    Returns
    -------
    dict
        (n_groups,) arrays: `n`; `mean`, `median` (NaN for an empty group); `sd` (sample, n - 1)
        and `sem` (`sd` / sqrt n), both NaN below two values.
    """
    n = np.bincount(group, minlength=n_groups)
    order = np.lexsort((values, group))
    ordered, first = values[order], np.concatenate([[0], np.cumsum(n)[:-1]]).astype(int)
    filled = n > 0
    median = np.full(n_groups, np.nan)
    low, high = first[filled] + (n[filled] - 1) // 2, first[filled] + n[filled] // 2
    median[filled] = (ordered[low] + ordered[high]) / 2
    mean = np.full(n_groups, np.nan)
    mean[filled] = np.bincount(group, weights=values, minlength=n_groups)[filled] / n[filled]
    squares = np.bincount(group, weights=(values - mean[group]) ** 2, minlength=n_groups)
    sd = np.full(n_groups, np.nan)
    sd[n > 1] = np.sqrt(squares[n > 1] / (n[n > 1] - 1))
    return {"n": n, "mean": mean, "median": median, "sd": sd, "sem": sd / np.sqrt(np.maximum(n, 1))}
