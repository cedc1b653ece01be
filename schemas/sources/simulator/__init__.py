"""A seeded simulator of releases, written as ONE caches, with the planted truth.

`simulate` writes cache tables, metadata of Alyx, ALF files and a release list, and returns the
planted `Truth`, with which tests and demonstrations compare results; `simulate_whole` leaves no
folder that is half-written. Rates, spikes, amplitudes and choices are drawn from planted values;
metrics are computed from the spikes.
"""

from schemas.sources.simulator.ephys import STIMULUS_WINDOW
from schemas.sources.simulator.plan import FAULTS, RESORT, SIZES, TRIALS_REVISION, Size
from schemas.sources.simulator.release import RELEASE_NAME, simulate, simulate_whole
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
    "simulate_whole",
]
