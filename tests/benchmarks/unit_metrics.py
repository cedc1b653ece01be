"""Metrics of 540 units with 8.6 million spikes, beside a loop over units.

`python -m tests.benchmarks.unit_metrics` prints figures and judges nothing.
"""
# ruff: noqa: T201

import tracemalloc

import numpy as np
from scipy import ndimage, stats

from schemas.ephys import MetricsDefinition
from schemas.maths import metrics
from tests.benchmarks.table import Row
from tests.benchmarks.timing import best

UNITS, SPIKES, DURATION, ROUNDS = 540, 8_600_000, 4500.0, 3
REFRACTORY, DUPLICATE = 0.0015, 0.0001
CONTAMINATIONS = np.arange(0.5, 35, 0.5)


def simulate(rng):
    """Draw spikes of rates as they are spread among clusters: times, amplitudes, depths, counts."""
    share = rng.lognormal(0.5, 1.6, UNITS)
    counts = rng.multinomial(SPIKES, share / share.sum())
    times = np.concatenate([np.sort(rng.uniform(0, DURATION, n)) for n in counts])
    level = rng.lognormal(0, 0.25, SPIKES) * np.repeat(rng.lognormal(-9.6, 0.4, UNITS), counts)
    depths = rng.normal(0, 10, SPIKES) + np.repeat(rng.uniform(20, 3840, UNITS), counts)
    return times, level, depths, counts


def loop(times, amplitudes, depths, counts):
    """Do the same unit by unit, as one would write it; the metrics whose loop is not hopeless."""
    first, last = times.min(), times.max()
    start = np.cumsum(counts) - counts
    parts = [slice(s, s + n) for s, n in zip(start, counts, strict=True)]
    rows = [_one_unit(times[p], amplitudes[p], depths[p], first, last) for p in parts]
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def _one_unit(t, a, d, first, last):
    n, seconds, level = len(t), last - first, 20 * np.log10(a)
    bins = np.histogram(t, np.arange(first, last + 15, 10))[0][
        : len(np.arange(first, last + 5, 10))
    ]
    kept = t[np.r_[True, np.diff(t) > DUPLICATE]]
    close, many = (np.diff(kept) < REFRACTORY).sum(), len(kept)
    return {
        "spike_count": n,
        "firing_rate": n / seconds,
        "amp_min": a.min(),
        "amp_max": a.max(),
        "amp_median": 10 ** (np.median(level) / 20),
        "amp_std_db": level.std(ddof=1),
        "presence_ratio": (bins > 0).mean(),
        "presence_ratio_std": bins.std(),
        "drift": np.abs(np.diff(d)).sum() / seconds * 3600,
        "contamination": close / (2 * many * (REFRACTORY - DUPLICATE)) / (many / seconds),
        "contamination_alt": _root((t[-1] - t[0]) * (np.diff(t) < REFRACTORY).sum(), n),
        "missed_spikes_est": _missed(a),
        "noise_cutoff": _noise(a),
        **_sliding(t),
    }


def _root(violations, n):
    return np.abs(np.roots([-1, 1, violations / (2 * REFRACTORY * n**2)])).min()


def _missed(a):
    if len(a) <= 500:
        return np.nan
    pdf = ndimage.gaussian_filter1d(np.histogram(a, len(a) // 10, density=True)[0], 4)
    peak = pdf.argmax()
    return min(0.5, pdf[peak + np.abs(pdf[peak:] - pdf[0]).argmin() :].sum() / pdf.sum())


def _noise(a):
    counts = np.histogram(a, np.linspace(0, a.max(), 100))[0]
    peak = counts.argmax()
    top = counts[int(np.ceil(0.5 * (counts[peak:-1] > 0).sum() + peak)) :]
    top = top[top > 0]
    return (counts[counts > 0][1] - top.mean()) / top.std() if len(top) and top.std() else np.nan


def _sliding(t):
    samples, n = (t * 30_000).astype(int), len(t)
    far = np.searchsorted(samples, samples + 60_000) - np.searchsorted(samples, samples + 30_000)
    rate, lags, step = far.sum() / n, np.zeros(300, int), 1
    while (near := (lag := samples[step:] - samples[:-step]) < 300).any():
        lags += np.bincount(lag[near], minlength=300)
        step += 1
    expected = rate * CONTAMINATIONS[:, None] / 100 * (np.arange(300) + 1) / 30_000 * 2 * n
    confidence = 100 * (1 - stats.poisson.cdf(np.cumsum(lags), expected))[:, 15:].max(axis=1)
    excluded = CONTAMINATIONS[confidence >= 90]
    least, below = excluded.min() if len(excluded) else np.nan, lags[:61].sum()
    return {
        "sliding_rp_viol": float(least <= 10),
        "sliding_rp_viol_forced": float(np.isnan(least) and below == 0 and rate > 0.5),
        "max_confidence": confidence[CONTAMINATIONS == 10].item(),
        "min_contamination": least,
        "n_spikes_below2": below,
    }


def peak(call):
    """Most memory that a call holds at a time besides what is there before (MB)."""
    tracemalloc.start()
    call()
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return most


def table_rows(quick=False):
    """Time the metrics of `ibl_2024`, beside the loop."""
    spikes = simulate(np.random.default_rng(0))
    (row,) = (r for r in MetricsDefinition.contents if r["metrics_definition"] == "ibl_2024")
    chosen = {k: row[k] for k in metrics.MetricParameters.__dataclass_fields__}
    parameters = metrics.MetricParameters(**chosen)
    n = 1 if quick else ROUNDS
    ours, _ = best(lambda: metrics.compute_unit_metrics(*spikes, parameters), n)
    theirs, _ = best(lambda: loop(*spikes), 1)
    what = f"metrics of {UNITS} units, {SPIKES / 1e6:.1f} M spikes"
    return [Row(what, {"ours, no server": ours, "loop": theirs})]


def main():
    spikes = simulate(np.random.default_rng(0))
    print(f"{SPIKES:,} spikes of {UNITS} units, {DURATION:.0f} s, {len(metrics.METRICS)} metrics")
    for row in MetricsDefinition.contents:
        name = row["metrics_definition"]
        chosen = {k: row[k] for k in metrics.MetricParameters.__dataclass_fields__}
        parameters = metrics.MetricParameters(**chosen)

        def call(parameters=parameters):
            return metrics.compute_unit_metrics(*spikes, parameters)

        ours, found = best(call, ROUNDS)
        print(f"  all units at once, {name}   {ours:7.2f} s, {peak(call):5.0f} MB besides", end="")
        print(f" the {sum(a.nbytes for a in spikes) / 2**20:.0f} MB of spikes")
    theirs, expected = best(lambda: loop(*spikes), ROUNDS)
    print(f"  loop over units, ibl_2024        {theirs:9.2f} s")
    print("  largest differences, as a fraction:")
    for name, values in expected.items():
        apart = np.abs(found[name] - values) / np.maximum(np.abs(values), 1e-300)
        same = (found[name] == values) | (np.isnan(found[name]) & np.isnan(values))
        print(f"    {name:24}{np.where(same, 0, apart).max():.0e}")


if __name__ == "__main__":
    main()
