"""Files of the IBL: what a path says, and how each kind of file is read.

The one place that knows IBL's file names, column names and traps. It opens local files and
nothing else: sources know where the files come from.

Each file is read once, as a whole, so that the reported hash is that of the bytes that were used.
No file is opened that is not needed, because opening a file may download it.
"""

from schemas.sources.alf import (  # noqa: F401  (kinds)
    behavior,
    ephys,
    passive,
    quality,
    video,
    waveforms,
)
from schemas.sources.alf.kinds import KINDS
from schemas.sources.alf.names import METRIC_COLUMNS, SPIKE_FILES, TRIAL_COLUMNS
from schemas.sources.alf.paths import (
    classify,
    current_name,
    dataset_record,
    is_unread,
    sorter_rank,
    sortings,
    tasks_by_kind,
)
from schemas.sources.alf.reading import Files

__all__ = [
    "KINDS",
    "METRIC_COLUMNS",
    "SPIKE_FILES",
    "TRIAL_COLUMNS",
    "Files",
    "classify",
    "current_name",
    "dataset_record",
    "is_unread",
    "sorter_rank",
    "sortings",
    "tasks_by_kind",
]
