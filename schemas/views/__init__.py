"""Questions ready to use and to refine.

Nouns (`units`, `sessions`) are DataJoint expressions, to restrict and join further; `fetch_*`
functions return data as frames; `find_*` functions return an id. Nothing is inserted.

Functions that return data of recordings warn once (`errors.NoticeWarning`) if a notice of a release
touches these data: `notices` lists the notices.
"""

from schemas.views.activity import (
    fetch_included_units,
    fetch_inclusion_chain,
    fetch_psth,
    fetch_region_summary,
    responses,
)
from schemas.views.aligned import aligned, binned
from schemas.views.atlas import below, find_region
from schemas.views.behavior import fetch_reaction_times
from schemas.views.cohort import cohort, count_cohort, fetch_measures
from schemas.views.curves import fetch_autocorrelograms, fetch_timescales, fetch_waveforms
from schemas.views.ephys import fetch_units, good_units, region_by_behavior, sorts, units
from schemas.views.errata import notices
from schemas.views.events import fetch_events
from schemas.views.frames import fetch_clusters, fetch_spikes, fetch_trials, fetch_wheel
from schemas.views.metrics import fetch_metric_differences, uncompared_units
from schemas.views.modulation import (
    fetch_latencies,
    fetch_modulated_fractions,
    fetch_modulation,
    fetch_region_latencies,
)
from schemas.views.passive import fetch_passive_responses, fetch_receptive_fields
from schemas.views.performance import (
    fetch_chronometric_curve,
    fetch_psychometric_curve,
    fetch_reversal_curve,
    fetch_training_status,
)
from schemas.views.places import fetch_cortical_depth, fetch_location
from schemas.views.psth_matrix import fetch_psth_matrix
from schemas.views.quality import bwm_candidates
from schemas.views.rasters import (
    average_events,
    fetch_depth_rates,
    fetch_spike_density,
    fetch_spikes_between,
    fetch_unit_events,
)
from schemas.views.recorded import fetch_band_power, fetch_trial_frames
from schemas.views.region_counts import (
    fetch_modulated,
    fetch_region_counts,
    fetch_region_places,
    fetch_responding,
    fetch_responding_fractions,
)
from schemas.views.regions import co_recorded, fetch_co_recorded
from schemas.views.saturation import unsaturated_trials
from schemas.views.session import find_recording, session_measures, sessions
from schemas.views.sites import fetch_rms, fetch_sites, fetch_slice, fetch_spectrum
from schemas.views.splits import split, split_part
from schemas.views.states import fetch_state_rates, state_rates
from schemas.views.tensor import (
    each_session,
    fetch_trial_rates,
    pseudo_population,
    spike_counts,
)
from schemas.views.video import (
    fetch_licks,
    fetch_motion_energy,
    fetch_passive,
    fetch_pose,
    fetch_pupil,
    fetch_sparse_noise,
)

__all__ = [
    "aligned",
    "average_events",
    "below",
    "binned",
    "bwm_candidates",
    "co_recorded",
    "cohort",
    "count_cohort",
    "each_session",
    "fetch_autocorrelograms",
    "fetch_band_power",
    "fetch_chronometric_curve",
    "fetch_clusters",
    "fetch_co_recorded",
    "fetch_cortical_depth",
    "fetch_depth_rates",
    "fetch_events",
    "fetch_included_units",
    "fetch_inclusion_chain",
    "fetch_latencies",
    "fetch_licks",
    "fetch_location",
    "fetch_measures",
    "fetch_metric_differences",
    "fetch_modulated",
    "fetch_modulated_fractions",
    "fetch_modulation",
    "fetch_motion_energy",
    "fetch_passive",
    "fetch_passive_responses",
    "fetch_pose",
    "fetch_psth",
    "fetch_psth_matrix",
    "fetch_psychometric_curve",
    "fetch_pupil",
    "fetch_reaction_times",
    "fetch_receptive_fields",
    "fetch_region_counts",
    "fetch_region_latencies",
    "fetch_region_places",
    "fetch_region_summary",
    "fetch_responding",
    "fetch_responding_fractions",
    "fetch_reversal_curve",
    "fetch_rms",
    "fetch_sites",
    "fetch_slice",
    "fetch_sparse_noise",
    "fetch_spectrum",
    "fetch_spike_density",
    "fetch_spikes",
    "fetch_spikes_between",
    "fetch_state_rates",
    "fetch_timescales",
    "fetch_training_status",
    "fetch_trial_frames",
    "fetch_trial_rates",
    "fetch_trials",
    "fetch_unit_events",
    "fetch_units",
    "fetch_waveforms",
    "fetch_wheel",
    "find_recording",
    "find_region",
    "good_units",
    "notices",
    "pseudo_population",
    "region_by_behavior",
    "responses",
    "session_measures",
    "sessions",
    "sorts",
    "spike_counts",
    "split",
    "split_part",
    "state_rates",
    "uncompared_units",
    "units",
    "unsaturated_trials",
]

RENAMED = {
    "unit_table": "fetch_units",
    "region_rates": "fetch_region_summary",
    **{name.removeprefix("fetch_"): name for name in __all__ if name.startswith("fetch_")},
}
"""Names of version 0.4 and the names that replaced them."""


def __getattr__(name: str) -> object:
    """Name the new name to users of an old one."""
    new = f"; version 0.5 calls it `{RENAMED[name]}`" if name in RENAMED else ""
    raise AttributeError(f"schemas.views has no {name!r}{new}.")
