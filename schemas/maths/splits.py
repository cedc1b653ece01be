"""Splits of groups into parts of given shares, balanced and the same everywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np


def assign_groups(
    names: Sequence[str], sizes: Sequence[int], fractions: Mapping[str, float], seed: int
) -> np.ndarray:
    """Assign each group to one part, so that the sizes of the parts come near their shares.

    Greedy: from the largest group to the smallest, each goes to the part that lacks most. So a
    part exceeds its share by less than the largest group. Equal groups are taken in the order of
    a hash of seed and name, and the hash also decides between parts that lack the same: the result
    depends on names, sizes, fractions and seed only, and on no order of rows, no version of a
    library and no database.

    Parameters
    ----------
    names : sequence of str
        Names of the G groups, each once.
    sizes : sequence of int
        Number of members of each group.
    fractions : mapping of str to float
        Share of each part, by its name; they sum to 1.
    seed : int
        Another seed gives another split of the same balance, if there are groups of equal size.

    Returns
    -------
    (G,) int array
        Number of the part of each group, in the order of `fractions`.
    """
    parts = list(fractions)
    lacks = np.array([share * sum(sizes) for share in fractions.values()])
    part = np.zeros(len(names), dtype=int)
    for group in sorted(range(len(names)), key=lambda g: (-sizes[g], _hash(seed, names[g]))):
        # Rounded: shares that are equal but for their last digit are equal.
        most = np.flatnonzero(np.round(lacks, 6) == np.round(lacks, 6).max())
        part[group] = min(most, key=lambda k: _hash(seed, names[group], parts[k]))
        lacks[part[group]] -= sizes[group]
    return part


def _hash(*words: object) -> str:
    return hashlib.sha256("\n".join(map(str, words)).encode()).hexdigest()
