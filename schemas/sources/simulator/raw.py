"""Raw recordings: their quality along the probe, and files that stand for them.

The raw files hold random bytes, a few kilobytes where real ones have gigabytes: they are there to
be downloaded, not to be read.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from schemas.sources.records import BANDS
from schemas.sources.simulator.ephys import N_SITES
from schemas.sources.simulator.writing import Content

WINDOW, LEAST_WINDOWS = 3.0, 4
# Typical root mean square, V, and size of the files, bytes.
NOISE = {"ap": 12e-6, "lf": 150e-6}
RAW_SIZES = {"ap": 6_000, "lf": 3_000}
VIDEO_SIZE = 5_000
CLOCK_STEP = 60.0
"""(s) Between two points of the clock of a probe."""


def quality_files(
    rng: np.random.Generator, duration: float, factor: float, n_frequencies: int, dead: int
) -> dict[str, np.ndarray]:
    """Simulate root mean square (V) and power spectrum (V**2/Hz) of both bands of a probe.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of this probe.
    duration : float
        Of the recording, s.
    factor : float
        Number of windows over the real one.
    n_frequencies : int
        From 0 to half the sampling rate.
    dead : int
        Site that shows next to nothing.
    """
    files: dict[str, np.ndarray] = {}
    n = max(LEAST_WINDOWS, int(duration / WINDOW * factor))
    for band, rate in BANDS.items():
        level = NOISE[band] * np.exp(0.1 * rng.standard_normal(N_SITES))
        level[dead] *= 0.02
        rms = level * np.exp(0.05 * rng.standard_normal((n, N_SITES)))
        freqs = np.linspace(0, rate / 2, n_frequencies)
        # Flat up to a knee, and falling above; its integral is the mean square.
        shape = 1 / (1 + (freqs / (rate / 20)) ** 2)
        power = np.outer(shape / (shape.mean() * rate / 2), level**2)
        power *= np.exp(0.1 * rng.standard_normal(power.shape))
        files[f"_iblqc_ephysTimeRms{band.upper()}.rms.npy"] = rms.astype(np.float32)
        files[f"_iblqc_ephysTimeRms{band.upper()}.timestamps.npy"] = (np.arange(n) + 0.5) * (
            duration / n
        )
        files[f"_iblqc_ephysSpectralDensity{band.upper()}.power.npy"] = power.astype(np.float32)
        files[f"_iblqc_ephysSpectralDensity{band.upper()}.freqs.npy"] = freqs
    return files


def recording_files(
    rng: np.random.Generator, number: int, serial: str, duration: float
) -> dict[str, Content]:
    """Stand for the raw recording of a probe: both bands, with their descriptions."""
    files: dict[str, Content] = {}
    for band, rate in BANDS.items():
        base = f"_spikeglx_ephysData_g0_t0.imec{number}.{band}."
        files[base + "cbin"] = rng.bytes(RAW_SIZES[band] + int(rng.integers(500)))
        files[base + "ch"] = {"sample_rate": rate, "n_channels": N_SITES + 1, "duration": duration}
        meta = {"imDatPrb_sn": serial, "imSampRate": f"{rate:g}", "nSavedChans": str(N_SITES + 1)}
        files[base + "meta"] = "".join(f"{k}={v}\n" for k, v in meta.items()).encode()
    return files


def saturation_files(
    rng: np.random.Generator, number: int, duration: float, is_clean: bool
) -> tuple[dict[str, Content], pd.DataFrame]:
    """Simulate when the recording of a probe is saturated, on the clock of the probe.

    Returns
    -------
    files : dict
        The table of samples, and the clock of the recording as points (sample, time).
    intervals : DataFrame
        `start_sample`, `stop_sample`, and as times of the session (s) `start` and `stop`.
    """
    rate = BANDS["ap"]
    # A clock that runs a little fast, begins a little late, and is not quite even.
    sample = np.arange(0, (duration + CLOCK_STEP) * rate, CLOCK_STEP * rate)
    drift = 1 + rng.uniform(-30e-6, 30e-6) + rng.uniform(-2e-6, 2e-6, len(sample))
    time = rng.uniform(0, 0.4) + np.cumsum(drift * CLOCK_STEP) - CLOCK_STEP
    n = 0 if is_clean else int(rng.integers(4, 9))
    # Each in a part of the recording of its own.
    start = (np.arange(n) + rng.uniform(0.1, 0.6, n)) * (duration / max(n, 1))
    length = np.minimum(0.2 * np.exp(0.8 * rng.standard_normal(n)), 0.3 * duration / max(n, 1))
    first = np.round(start * rate).astype(np.int64)
    last = first + np.maximum(np.round(length * rate), 1).astype(np.int64)
    table = pd.DataFrame({"start_sample": first, "stop_sample": last})
    files: dict[str, Content] = {
        "_iblqc_ephysSaturationAP.samples.pqt": table,
        f"_spikeglx_ephysData_g0_t0.imec{number}.timestamps.npy": np.c_[sample, time],
    }
    edges = {"start": np.interp(first, sample, time), "stop": np.interp(last, sample, time)}
    return files, table.assign(**edges)


def video_bytes(rng: np.random.Generator) -> bytes:
    """Stand for the raw video of a camera."""
    return rng.bytes(VIDEO_SIZE + int(rng.integers(500)))
