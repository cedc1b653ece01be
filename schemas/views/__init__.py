"""Queries ready to use and to refine: DataJoint expressions and frames, nothing is inserted."""

from schemas.views.activity import (
    included_units,
    inclusion_chain,
    psth,
    region_summary,
    responses,
)
from schemas.views.atlas import below, find_region
from schemas.views.behavior import reaction_times
from schemas.views.ephys import region_by_behavior, region_rates, sorts, unit_table, units
from schemas.views.frames import clusters, spikes, trials, wheel
from schemas.views.metrics import metric_differences, uncompared_units
from schemas.views.performance import chronometric_curve, psychometric_curve, training_status
from schemas.views.quality import bwm_candidates
from schemas.views.session import find_recording, session_measures, sessions

__all__ = [
    "below",
    "bwm_candidates",
    "chronometric_curve",
    "clusters",
    "find_recording",
    "find_region",
    "included_units",
    "inclusion_chain",
    "metric_differences",
    "psth",
    "psychometric_curve",
    "reaction_times",
    "region_by_behavior",
    "region_rates",
    "region_summary",
    "responses",
    "session_measures",
    "sessions",
    "sorts",
    "spikes",
    "training_status",
    "trials",
    "uncompared_units",
    "unit_table",
    "units",
    "wheel",
]
