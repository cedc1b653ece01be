"""Units and their spikes: the good-unit label, and the order in which spikes are stored."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LABEL_CRITERIA = ("refractory_pass", "noise_pass", "amplitude_pass")


def compute_passes(
    metrics: Mapping[str, np.ndarray | None],
    n_units: int,
    refractory_metric: str,
    min_refractory: float,
    max_noise_cutoff: float,
    min_amplitude: float,
) -> dict[str, np.ndarray]:
    """Compare unit metrics with the thresholds of a criterion.

    The three parts of the IBL's label: refractory period (metric >= minimum), noise cut-off
    (< maximum), median amplitude (> minimum). NaN fails.

    Parameters
    ----------
    metrics : mapping of str to (n,) float array or None
        `noise_cutoff`, `amp_median` (V) and the refractory metric; None where the sort lacks it.
    n_units : int
        Number of units n.
    refractory_metric : str
        `'max_confidence'` (%) or `'sliding_rp_viol'` (1 is a pass, despite its name).
    min_refractory, max_noise_cutoff, min_amplitude : float
        Thresholds, in the units of the metrics.

    Returns
    -------
    dict
        Of (n,) float arrays, 1 pass, 0 fail, NaN unknown: `refractory_pass`, `noise_pass`,
        `amplitude_pass`; `unit_label`, their mean; `is_good`, 1 when all pass, 0 when one fails.
    """
    unknown = np.full(n_units, np.nan)
    refractory, noise, amplitude = (
        metrics[name] for name in (refractory_metric, "noise_cutoff", "amp_median")
    )
    passes = {
        "refractory_pass": unknown if refractory is None else refractory >= min_refractory,
        "noise_pass": unknown if noise is None else noise < max_noise_cutoff,
        "amplitude_pass": unknown if amplitude is None else amplitude > min_amplitude,
    }
    passes = {name: passed.astype(float) for name, passed in passes.items()}
    stacked = np.stack([passes[name] for name in LABEL_CRITERIA])
    return {
        **passes,
        "unit_label": stacked.sum(axis=0) / len(LABEL_CRITERIA),
        "is_good": np.where((stacked == 0).any(axis=0), 0.0, stacked.prod(axis=0)),
    }


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
