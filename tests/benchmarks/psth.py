"""Rates of 540 units around 600 trials, beside a loop over units.

`python -m tests.benchmarks.psth` prints figures, judges nothing.
"""
# ruff: noqa: T201

import numpy as np

from schemas.maths import activity, psth
from tests.benchmarks.table import Row
from tests.benchmarks.timing import best

UNITS, SPIKES, DURATION, TRIALS = 540, 8_600_000, 4500.0, 600
WINDOW, BIN_WIDTH, ROUNDS = (-0.5, 1.0), 0.05, 5


def simulate(rng):
    """Trains of rates as they are spread among clusters, unit after unit; events and sides."""
    share = rng.lognormal(0.5, 1.6, UNITS)
    counts = rng.multinomial(SPIKES, share / share.sum())
    times = np.concatenate([np.sort(rng.uniform(0, DURATION, n)) for n in counts])
    events = np.sort(rng.uniform(10, DURATION - 10, TRIALS))
    return (times, np.cumsum(counts) - counts, counts), events, rng.integers(0, 2, TRIALS)


def loop(trains, events, condition, edges):
    """Do the same unit by unit, as one would write it: mean and sem (Hz) by condition."""
    times, offsets, counts = trains
    mean, sem = np.empty((2, len(counts), 2, len(edges) - 1))
    for unit, (start, n) in enumerate(zip(offsets, counts, strict=True)):
        train = times[start : start + n]
        rate = np.diff(np.searchsorted(train, events[:, None] + edges), axis=1) / BIN_WIDTH
        for side in (0, 1):
            of_side = rate[condition == side]
            mean[unit, side] = of_side.mean(axis=0)
            sem[unit, side] = of_side.std(axis=0, ddof=1) / np.sqrt(len(of_side))
    return mean, sem


def table_rows(quick=False):
    """Time rates around events, beside the loop."""
    trains, events, condition = simulate(np.random.default_rng(0))
    edges = psth.compute_bin_edges(*WINDOW, BIN_WIDTH)
    n = 2 if quick else ROUNDS
    ours, _ = best(lambda: psth.compute_psth(*trains, events, condition, 2, edges), n)
    theirs, _ = best(lambda: loop(trains, events, condition, edges), n)
    return [
        Row(f"rates of {UNITS} units, {TRIALS} trials", {"ours, no server": ours, "loop": theirs})
    ]


def main():
    trains, events, condition = simulate(np.random.default_rng(0))
    edges = psth.compute_bin_edges(*WINDOW, BIN_WIDTH)
    print(f"{SPIKES:,} spikes of {UNITS} units, {TRIALS} trials of 2 sides, {len(edges) - 1} bins")
    ours, found = best(lambda: psth.compute_psth(*trains, events, condition, 2, edges), ROUNDS)
    theirs, (mean, sem) = best(lambda: loop(trains, events, condition, edges), ROUNDS)
    print(f"  mean and sem of all units at once {ours:6.2f} s")
    print(f"  loop over units                   {theirs:6.2f} s")
    apart = max(np.abs(found["mean"] - mean).max(), np.abs(found["sem"] - sem).max())
    print(f"  largest difference                {apart:.0e} Hz")
    before, during = (events, (-0.2, -0.1)), (events, (0.0, 0.1))
    seconds, _ = best(lambda: activity.compute_responses(*trains, before, during), ROUNDS)
    print(f"  responses, signed-rank test       {seconds:6.2f} s")


if __name__ == "__main__":
    main()
