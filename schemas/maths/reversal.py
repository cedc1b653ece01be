"""How choices change after the prior of a block is reversed."""

from __future__ import annotations

import numpy as np

from schemas.maths.behavior import compute_blocks, round_levels

BIASED = (0.2, 0.8)


def number_from_reversal(probability_left: np.ndarray, before: int) -> np.ndarray:
    """Return the number of each trial, counted from the nearest reversal of the prior.

    A reversal is a change of the prior from 0.2 to 0.8 or back.

    Parameters
    ----------
    probability_left : (n,) float array
        Prior of a left stimulus (fraction); trials without a prior are skipped.
    before : int
        Trials before a reversal that count as negative numbers; the rest of their block counts
        from its own beginning.

    Returns
    -------
    (n,) float array
        0 is the first trial after a reversal, -1 the last one before; NaN before the first
        reversal (but for its `before` trials), and in blocks of another prior.
    """
    blocks = compute_blocks(probability_left)
    number = np.full(len(probability_left), np.nan)
    known = np.flatnonzero(blocks["block"] >= 0)
    length = blocks["length"]
    first = np.cumsum(length) - length
    prior = round_levels(blocks["block_probability"])
    is_biased = np.isin(prior, BIASED)
    is_reversal = np.zeros(len(prior), dtype=bool)
    is_reversal[1:] = is_biased[1:] & is_biased[:-1]
    place = np.arange(len(known)) - np.repeat(first, length)
    after = np.where(np.repeat(is_reversal, length), place, np.nan)
    ends = np.zeros(len(prior), dtype=bool)
    ends[:-1] = is_reversal[1:]
    until = np.repeat(length, length) - place
    leads = np.repeat(ends, length) & (until <= before)
    number[known] = np.where(leads, -until, after)
    return number
