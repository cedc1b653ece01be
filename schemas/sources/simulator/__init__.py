"""A seeded simulator that writes a release as a real ONE cache, and knows what is true of it.

`simulate` writes the tables of the cache, the metadata of Alyx, ALF files at their places and a
release list; the `Truth` it returns says what was planted, so that tests and demonstrations have
an answer to compare with. Rates, spike trains, amplitudes and choices are drawn from the planted
values; all metrics in the files are computed from the spikes in the files.
"""

from schemas.sources.simulator.ephys import STIMULUS_WINDOW
from schemas.sources.simulator.plan import FAULTS, RESORT, SIZES, TRIALS_REVISION, Size
from schemas.sources.simulator.release import RELEASE_NAME, simulate
from schemas.sources.simulator.truth import EdgeCase, Fault, Truth

__all__ = [
    "FAULTS",
    "RELEASE_NAME",
    "RESORT",
    "SIZES",
    "STIMULUS_WINDOW",
    "TRIALS_REVISION",
    "EdgeCase",
    "Fault",
    "Size",
    "Truth",
    "simulate",
]
