"""Files of the IBL: what a path says, and how each kind of file is read.

The one place that knows IBL's file names, column names and traps. It opens local files and
nothing else: where they come from is for the source to know.

Each file is read once, whole, so that the hash that is reported is the hash of the very bytes
that were used; and none is asked for that is not read, since asking may be downloading.
"""

from schemas.sources.alf.behavior import read_licks, read_trials, read_wheel
from schemas.sources.alf.ephys import read_channels, read_clusters, read_spikes
from schemas.sources.alf.names import METRIC_COLUMNS, SPIKE_FILES, TRIAL_COLUMNS
from schemas.sources.alf.passive import (
    read_passive_gabors,
    read_passive_periods,
    read_passive_stimuli,
    read_receptive_field,
)
from schemas.sources.alf.paths import classify, dataset_record, sorter_rank, sortings
from schemas.sources.alf.quality import read_rms, read_spectral_density
from schemas.sources.alf.reading import Files
from schemas.sources.alf.video import (
    read_frame_times,
    read_motion_energy,
    read_pose,
    read_pupil,
)

__all__ = [
    "METRIC_COLUMNS",
    "SPIKE_FILES",
    "TRIAL_COLUMNS",
    "Files",
    "classify",
    "dataset_record",
    "read_channels",
    "read_clusters",
    "read_frame_times",
    "read_licks",
    "read_motion_energy",
    "read_passive_gabors",
    "read_passive_periods",
    "read_passive_stimuli",
    "read_pose",
    "read_pupil",
    "read_receptive_field",
    "read_rms",
    "read_spectral_density",
    "read_spikes",
    "read_trials",
    "read_wheel",
    "sorter_rank",
    "sortings",
]
