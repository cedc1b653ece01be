"""Queries ready to use and to refine: DataJoint expressions and frames, nothing is inserted."""

from schemas.views.atlas import below, find_region
from schemas.views.behavior import reaction_times
from schemas.views.ephys import region_rates, sorts, unit_table, units
from schemas.views.frames import clusters, spikes, trials, wheel
from schemas.views.quality import bwm_candidates
from schemas.views.session import find_recording

__all__ = [
    "below",
    "bwm_candidates",
    "clusters",
    "find_recording",
    "find_region",
    "reaction_times",
    "region_rates",
    "sorts",
    "spikes",
    "trials",
    "unit_table",
    "units",
    "wheel",
]
