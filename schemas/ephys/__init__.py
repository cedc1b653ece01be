"""Spike sorts: their units, spikes, good-unit labels and metrics."""

# The tables stand in the order of their foreign keys, parents first.
# isort: off
from schemas.ephys.base import schema
from schemas.ephys.sorting import (
    Sorting,
    name_sorting,
    OfferedSorting,
    FromSortFiles,
    SpikeSorting,
    Cluster,
    fetch_listed_sorts,
    Spikes,
    spike_times,
)
from schemas.ephys.waveforms import Waveform
from schemas.ephys.criteria import METRICS, NUMBERS, RULE, UnitCriterion, GoodUnits
from schemas.ephys.metrics import MetricsDefinition, UnitMetrics
from schemas.ephys.autocorrelogram import AutoCorrelogramDefinition, AutoCorrelogram
from schemas.ephys.trains import fetch_slices, read_trains, with_labels
# isort: on

__all__ = [
    "METRICS",
    "NUMBERS",
    "RULE",
    "AutoCorrelogram",
    "AutoCorrelogramDefinition",
    "Cluster",
    "FromSortFiles",
    "GoodUnits",
    "MetricsDefinition",
    "OfferedSorting",
    "Sorting",
    "SpikeSorting",
    "Spikes",
    "UnitCriterion",
    "UnitMetrics",
    "Waveform",
    "fetch_listed_sorts",
    "fetch_slices",
    "name_sorting",
    "read_trains",
    "schema",
    "spike_times",
    "with_labels",
]
