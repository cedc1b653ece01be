"""Units and their spikes: the good-unit label, and the order in which spikes are stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LABEL_CRITERIA = ("refractory_pass", "noise_pass", "amplitude_pass")


def compute_passes(
    metrics: Mapping[str, np.ndarray | None],
    n_units: int,
    refractory_metric: str | None,
    min_refractory: float | None,
    max_noise_cutoff: float | None,
    min_amplitude: float | None,
    *,
    bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
) -> dict[str, np.ndarray]:
    """Compare unit metrics with the tests of a criterion.

    The three parts of the IBL's label: refractory period (metric >= minimum), noise cut-off
    (< maximum), median amplitude (> minimum); and bounds, which pass themselves. NaN fails. A
    threshold that is None is no test.

    Parameters
    ----------
    metrics : mapping of str to (n,) float array or None
        The metrics that are tested, e.g. `noise_cutoff`, `amp_median` (V); None where the sort
        lacks it.
    n_units : int
        Number of units n.
    refractory_metric : str or None
        `'max_confidence'` (%) or `'sliding_rp_viol'` (1 is a pass, despite its name).
    min_refractory, max_noise_cutoff, min_amplitude : float or None
        Thresholds, in the units of the metrics.
    bounds : mapping of str to (least, greatest), optional
        Bounds by metric, in its unit; None is no bound.

    Returns
    -------
    dict
        (n,) float arrays, 1 pass, 0 fail, NaN unknown: the three, `bounds_pass`; `unit_label`, the
        fraction of tests passed, each bound being one; `is_good`, whether all pass.
    """
    unknown = np.full(n_units, np.nan)
    passes, made = {}, []
    for name, metric, compare, threshold in (
        ("refractory_pass", refractory_metric, np.greater_equal, min_refractory),
        ("noise_pass", "noise_cutoff", np.less, max_noise_cutoff),
        ("amplitude_pass", "amp_median", np.greater, min_amplitude),
    ):
        values = None if threshold is None else metrics[metric or ""]
        passes[name] = unknown if values is None else compare(values, threshold).astype(float)  # type: ignore[arg-type]
        if threshold is not None:
            made.append(passes[name])
    within = []
    for metric, (low, high) in (bounds or {}).items():
        least, greatest = -np.inf if low is None else low, np.inf if high is None else high
        v = metrics[metric]
        within.append(unknown if v is None else ((v >= least) & (v <= greatest)).astype(float))
    stacked = np.stack([*made, *within])
    return {
        **passes,
        "bounds_pass": _all(np.stack(within)) if within else unknown,
        "unit_label": stacked.sum(axis=0) / len(stacked),
        "is_good": _all(stacked),
    }


def _all(passed: np.ndarray) -> np.ndarray:
    """Whether all tests pass, by unit: 0 where one fails, NaN where one is unknown."""
    return np.where((passed == 0).any(axis=0), 0.0, passed.prod(axis=0))


def sort_by_cluster(cluster: np.ndarray, n_clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Order spikes by cluster, then time.

    Parameters
    ----------
    cluster : (S,) unsigned int array
        Cluster of each spike, spikes in order of time.
    n_clusters : int
        Number of clusters, spiking or not.

    Returns
    -------
    order : (S,) int array
        Indices that sort the spikes; spikes of one cluster stay in order of time.
    counts : (n_clusters,) int array
        Spikes of each cluster.
    """
    # A stable sort of 16-bit integers is a radix sort: ten times faster than a comparison sort.
    narrow = cluster.astype(np.uint16, copy=False) if n_clusters <= 65_536 else cluster
    order = np.argsort(narrow, kind="stable")
    return order, np.bincount(cluster, minlength=n_clusters)


def slice_by_cluster(time: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Return where the spikes of each cluster are, among spikes that are sorted by cluster.

    Parameters
    ----------
    time : ndarray
        (S,) spike times, ascending within each cluster.
    counts : ndarray
        (C,) number of spikes of each cluster.

    Returns
    -------
    dict
        (C,) arrays `cluster_id`, `spike_offset`, `n_unit_spikes`, `first_unit_spike` and
        `last_unit_spike`; times are NaN for a cluster without spikes.
    """
    offset = np.concatenate([[0], np.cumsum(counts)])
    first, last = np.full((2, len(counts)), np.nan)
    filled = counts > 0
    first[filled] = time[offset[:-1][filled]]
    last[filled] = time[offset[1:][filled] - 1]
    return {
        "cluster_id": np.arange(len(counts)),
        "spike_offset": offset[:-1],
        "n_unit_spikes": counts,
        "first_unit_spike": first,
        "last_unit_spike": last,
    }
