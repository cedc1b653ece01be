"""Mean waveforms of units: a trough and a peak as far apart as is planted, on the sites around."""

from __future__ import annotations

import numpy as np
import pandas as pd

SAMPLING = 30_000.0
"""Hz."""

N_SAMPLES, N_SITES = 82, 12
TROUGH = 40
"""Sample of the trough."""

REACH = 60.0
"""Distance over which a waveform falls to 1 / e, um."""


def plan_waveforms(rng: np.random.Generator, width: np.ndarray, silent: np.ndarray) -> pd.DataFrame:
    """Plant the shapes of waveforms.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of waveforms alone.
    width : (U,) float array
        Time of the peak after the trough, ms; negative where the peak comes first.
    silent : (U,) bool array
        Units without spikes, which have no waveform.

    Returns
    -------
    DataFrame, one row a unit
        waveform_width (ms), waveform_ratio (peak over depth of the trough), waveform_rise (ms, from
        rest to the trough), waveform_half_width (ms, of the trough); NaN for silent units.
    """
    n = len(width)
    ratio, rise = rng.uniform(0.2, 0.6, n), rng.uniform(0.15, 0.35, n)
    # Ramps are half periods of a cosine: this is where the one to the peak passes half the depth.
    part = np.arccos(ratio / (1 + ratio)) / np.pi
    frame = pd.DataFrame(
        {
            "waveform_width": width,
            "waveform_ratio": ratio,
            "waveform_rise": rise,
            "waveform_half_width": rise / 2 + np.abs(width) * part,
        }
    )
    return frame.mask(pd.Series(silent))


def simulate_waveforms(
    planted: pd.DataFrame, amplitude: np.ndarray, channel: np.ndarray, sites: pd.DataFrame
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the waveforms on the sites nearest to each unit in the order of the channels.

    Parameters
    ----------
    planted : DataFrame
        As `plan_waveforms` returns it.
    amplitude : (U,) float array
        Depth of the trough, V.
    channel : (U,) int array
        Peak channel.
    sites : DataFrame
        As `ephys.simulate_channels` returns them.

    Returns
    -------
    waveforms : (U, `N_SAMPLES`, `N_SITES`) float32 array
        V; 0 for silent units, and where the probe has no such site.
    channels : (U, `N_SITES`) int32 array
        The peak channel first; -1 where the probe has no such site.
    """
    shape = _shapes(planted) * amplitude[:, None]
    step = np.r_[0, np.arange(1, N_SITES // 2 + 1), -np.arange(1, N_SITES - N_SITES // 2)]
    channels = channel[:, None] + step
    channels = np.where((channels >= 0) & (channels < len(sites)), channels, -1)
    place = sites[["lateral", "axial"]].to_numpy()
    distance = np.linalg.norm(place[channels] - place[channel][:, None], axis=2)
    share = np.where(channels >= 0, np.exp(-distance / REACH), 0)
    waveforms = np.nan_to_num(shape)[:, :, None] * share[:, None, :]
    return waveforms.astype(np.float32), channels.astype(np.int32)


def _shapes(planted: pd.DataFrame) -> np.ndarray:
    """Draw each waveform with a trough of depth 1 (U, `N_SAMPLES`)."""
    time = (np.arange(N_SAMPLES) - TROUGH) / SAMPLING * 1e3
    columns = planted[["waveform_width", "waveform_ratio", "waveform_rise"]].to_numpy()
    width, ratio, rise = columns.T[:, :, None]
    # Mirrored where the peak comes first: then time runs from the peak's side.
    time = time * np.sign(width)
    width = np.abs(width)
    to_trough = -_ramp((time + rise) / rise)
    to_peak = -1 + (1 + ratio) * _ramp(time / width)
    to_rest = ratio * (1 - _ramp((time - width) / (2 * rise)))
    return np.where(time < 0, to_trough, np.where(time < width, to_peak, to_rest))


def _ramp(part: np.ndarray) -> np.ndarray:
    """Rise from 0 to 1 between 0 and 1 as half a period of a cosine."""
    return (1 - np.cos(np.pi * np.clip(part, 0, 1))) / 2
