"""Domains of all imported columns: unit, bounds, order, and whether a value may be missing.

The readers check every column by this table, and `schemas/domains.md` prints it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

LATEST = 86_400.0
"""(s) Latest time in a session: one day."""

USUAL_TIME = 21_600.0
"""(s) At least half of the times of a file are within six hours."""

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass(frozen=True, slots=True)
class Domain:
    """Values that a column may have.

    Attributes
    ----------
    unit : str
        Unit, or what a number counts.
    least, greatest : float
        Bounds, allowed themselves. Infinite values are never allowed.
    usual : float
        Bound that at least half of the values keep: beyond it the file is in another unit.
    missing : bool
        Whether a value may be NaN or null.
    order : str
        `ascending` where no value is less than the one before it, `strictly ascending` where each
        is greater; empty where values may come in any order. Missing values are passed over.
    whole : bool
        Whether values are whole numbers.
    choices : tuple of int
        The only values, in place of bounds.
    pattern : str
        Regular expression of the values of a column of text.
    """

    unit: str
    least: float = 0.0
    greatest: float = 0.0
    usual: float = math.inf
    missing: bool = False
    order: str = ""
    whole: bool = False
    choices: tuple[int, ...] = ()
    pattern: str = ""

    def holds(self, value: float) -> bool:
        """Tell whether a number lies within the bounds."""
        return self.least <= value <= self.greatest

    @property
    def allowed(self) -> str:
        """Describe the allowed values in words."""
        if self.pattern:
            return f"matches `{self.pattern}`"
        if self.choices:
            return ", ".join(map(str, self.choices))
        return f"{self.least:,g} to {self.greatest:,g}"


TIME = Domain("s", 0, LATEST, USUAL_TIME, order="ascending")
EVENT = replace(TIME, missing=True)
MOMENT = replace(EVENT, order="")
BPOD = Domain("s", -LATEST, LATEST, missing=True, order="ascending")
FRACTION = Domain("fraction", 0, 1, missing=True)
FLAG = Domain("flag", choices=(0, 1))
RESULT = Domain("flag", missing=True, choices=(0, 1))
SIGN = Domain("sign", missing=True, choices=(-1, 0, 1))
AMPLITUDE = Domain("V", 0, 0.2, 0.005, missing=True)
DEPTH = Domain("um", -1000, 20_000, missing=True)
PIXEL = Domain("px", -500, 10_000, missing=True)
PERCENT = Domain("percent", 0, 100, missing=True)
ESTIMATE = Domain("fraction", 0, 1e9, missing=True)
COUNT = Domain("count", 0, 1e9, missing=True, whole=True)
SAMPLE = Domain("sample", 0, 30_000 * LATEST, order="ascending", whole=True)
DEGREES = Domain("deg", -360, 360, missing=True)

LOCATION = {
    "x_um": Domain("um", -8_000, 8_000, missing=True),
    "y_um": Domain("um", -12_000, 8_000, missing=True),
    "z_um": Domain("um", -12_000, 3_000, missing=True),
    "region_id": Domain("Allen id", -(2**31), 2**31, missing=True, whole=True),
}

METRICS = {
    "amp_max": AMPLITUDE,
    "amp_min": AMPLITUDE,
    "amp_median": AMPLITUDE,
    "amp_std_dB": Domain("dB", 0, 100, missing=True),
    "contamination": ESTIMATE,
    "contamination_alt": ESTIMATE,
    "drift": Domain("um/h", 0, 1e12, missing=True),
    "missed_spikes_est": FRACTION,
    "noise_cutoff": Domain("sd", -100, 1e9, missing=True),
    "presence_ratio": FRACTION,
    "presence_ratio_std": Domain("count", 0, 1e9, missing=True),
    "slidingRP_viol": RESULT,
    "slidingRP_viol_forced": RESULT,
    "max_confidence": PERCENT,
    "min_contamination": PERCENT,
    "n_spikes_below2": COUNT,
    "spike_count": COUNT,
    "firing_rate": Domain("Hz", 0, 1e6, missing=True),
    "label": FRACTION,
    "bitwise_fail": Domain("bits", missing=True, choices=tuple(range(8))),
    "ks2_label": Domain("text", missing=True, pattern="[A-Za-z_ ]{0,16}"),
}

INSERTIONS = {
    "x": LOCATION["x_um"],
    "y": LOCATION["y_um"],
    "z": LOCATION["z_um"],
    "depth": Domain("um", -20_000, 20_000, missing=True),
    "theta": DEGREES,
    "phi": DEGREES,
    "roll": DEGREES,
    "axial": Domain("um", 0, 20_000, missing=True),
    "lateral": Domain("um", 0, 2_000, missing=True),
}
"""Domains of the trajectories, picked points and sites that the metadata know."""

DOMAINS: dict[str, dict[str, Domain]] = {
    "trials": {
        "intervals_0": EVENT,
        "intervals_1": EVENT,
        "stimOn_times": EVENT,
        "goCue_times": EVENT,
        "firstMovement_times": EVENT,
        "response_times": EVENT,
        "feedback_times": EVENT,
        "choice": SIGN,
        "feedbackType": SIGN,
        "contrastLeft": FRACTION,
        "contrastRight": FRACTION,
        "rewardVolume": Domain("ul", 0, 1000, missing=True),
        "probabilityLeft": FRACTION,
        "goCueTrigger_times": EVENT,
        "stimOff_times": EVENT,
        "stimOnTrigger_times": EVENT,
        "stimOffTrigger_times": EVENT,
        "quiescencePeriod": Domain("s", 0, 60, missing=True),
        "included": FLAG,
        "repNum": Domain("count", 0, 999, missing=True, whole=True),
        # The clock of the Bpod has an origin of its own.
        "intervals_bpod_0": BPOD,
        "intervals_bpod_1": BPOD,
    },
    "wheel": {
        "timestamps": TIME,
        "sample": Domain("sample", 0, 1e9, order="strictly ascending"),
        "position": Domain("rad, cm or deg", -1e7, 1e7),
    },
    "licks": {"times": TIME},
    "frame_times": {"times": TIME},
    "pose": {
        "x": PIXEL,
        "y": PIXEL,
        # Trackers add up probabilities in float32.
        "likelihood": Domain("fraction", 0, 1.000001, missing=True),
    },
    "pupil": dict.fromkeys(
        ("pupilDiameter_raw", "pupilDiameter_smooth"), Domain("px", 0, 1000, missing=True)
    ),
    "motion_energy": {
        "ROIMotionEnergy": Domain("grey level", 0, 255, missing=True),
        "position": Domain("px", 0, 10_000, whole=True),
    },
    "passive_periods": {"start": MOMENT, "stop": MOMENT},
    "passive_stimuli": {
        f"{stimulus}{edge}": EVENT
        for stimulus in ("valve", "tone", "noise")
        for edge in ("On", "Off")
    },
    "passive_gabors": {
        "start": TIME,
        "stop": TIME,
        "position": Domain("deg", -180, 180),
        "contrast": replace(FRACTION, missing=False),
        "phase": Domain("as released", -360, 360),
    },
    "receptive_field": {"times": TIME, "squares": Domain("grey level", 0, 255, whole=True)},
    "channels": {
        "lateral_um": replace(INSERTIONS["lateral"], missing=False),
        "axial_um": replace(INSERTIONS["axial"], missing=False),
        **LOCATION,
        "raw_index": Domain("row", 0, 32_767, whole=True),
        "channel_label": Domain("label", missing=True, choices=(0, 1, 2, 3)),
    },
    "clusters": {
        "channels": Domain("row", 0, 32_767, whole=True),
        "depths": DEPTH,
        "amps": AMPLITUDE,
        "peakToTrough": Domain("ms", -10, 10, missing=True),
        "uuids": Domain("UUID", pattern=UUID),
        "cluster_id": Domain("row", 0, 2**31, whole=True),
        **METRICS,
    },
    "spikes": {
        "times": TIME,
        "clusters": Domain("row", 0, 2**32 - 1, whole=True),
        "amps": AMPLITUDE,
        "depths": DEPTH,
    },
    "waveforms": {
        "waveforms": Domain("V", -0.2, 0.2, missing=True),
        "waveformsChannels": Domain("row", -1, 32_767, whole=True),
    },
    "rms": {"rms": Domain("V", 0, 0.0125, 0.002, missing=True), "timestamps": TIME},
    "saturation": {
        "start_sample": SAMPLE,
        "stop_sample": SAMPLE,
        # Of the clock of the recording: a probe may start before the clock of the session.
        "clock_sample": replace(SAMPLE, least=-1e8, order="strictly ascending", whole=False),
        "clock_time": Domain("s", -LATEST, LATEST, USUAL_TIME, order="strictly ascending"),
        "intervals_0": TIME,
        "intervals_1": TIME,
    },
    "spectral_density": {
        "power": Domain("V**2/Hz", 0, 1e-3, missing=True),
        "freqs": Domain("Hz", 0, 30_000, order="ascending"),
    },
}
"""Domain of each column, by kind of data and name in the files (`channels`: our names)."""
