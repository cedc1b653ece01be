"""Autocorrelograms of 540 units with 8.6 million spikes, beside a loop over units.

`python -m tests.benchmarks.autocorrelogram` prints figures and judges nothing.
"""
# ruff: noqa: T201

import numpy as np

from schemas.ephys import AutoCorrelogramDefinition
from schemas.maths import autocorrelogram as maths
from tests.benchmarks.psth import SPIKES, UNITS, simulate
from tests.benchmarks.table import Row
from tests.benchmarks.timing import best

ROUNDS = 3


def loop(times, offsets, counts, edges):
    """Do the same unit by unit, as one would write it: a histogram for each n-th successor."""
    found = np.zeros((len(counts), len(edges) - 1), dtype=np.int64)
    for unit, (start, n) in enumerate(zip(offsets, counts, strict=True)):
        train, shift = times[start : start + n], 1
        while shift < n:
            lags = train[shift:] - train[:-shift]
            if lags.min() >= edges[-1]:
                break
            found[unit] += np.histogram(lags, edges)[0]
            shift += 1
    return found


def table_rows(quick=False):
    """Time the pairs of spikes by their lag, beside the loop."""
    (times, offsets, counts), _, _ = simulate(np.random.default_rng(0))
    edges = edges_of(AutoCorrelogramDefinition.contents[0])
    ours, found = best(lambda: maths.count_pairs(times, counts, edges), 1 if quick else ROUNDS)
    theirs, expected = best(lambda: loop(times, offsets, counts, edges), 1)
    # Lags are rounded to a microsecond: a few change places with a neighbouring bin.
    assert np.abs(found - expected).max() <= 1e-3 * expected.max()
    return [Row(f"autocorrelograms of {UNITS} units", {"ours, no server": ours, "loop": theirs})]


def edges_of(definition):
    names = "acg_start", "acg_end", "n_acg_bins"
    return maths.compute_log_edges(*(definition[name] for name in names))


def main():
    (times, _, counts), _, _ = simulate(np.random.default_rng(0))
    edges = edges_of(AutoCorrelogramDefinition.contents[0])
    ours, found = best(lambda: maths.count_pairs(times, counts, edges), ROUNDS)
    print(f"{SPIKES:,} spikes of {UNITS} units, {len(edges) - 1} bins up to {edges[-1]:g} s")
    print(f"  {found.sum():,} pairs: {ours:6.2f} s, {1e9 * ours / found.sum():.1f} ns a pair")


if __name__ == "__main__":
    main()
