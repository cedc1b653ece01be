"""Probes and spike sorts: sites on a chain of regions, units with planted properties, spikes.

A unit fires at its own rate with a dead time after each spike, and at another rate for 0.1 s after
every stimulus. Whether it passes a criterion is planted: the refractory period by the dead time,
the noise cut-off by cutting the low end of its amplitudes, the amplitude by their median.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np
import pandas as pd
import scipy
from iblatlas.regions import BrainRegions

from schemas.sources.simulator.metrics import UnitSpikes, noise_cutoff
from schemas.sources.simulator.tuning import STEP

N_SITES = 384
STIMULUS_WINDOW = (0.0, 0.1)
# Chains from tip to surface: Allen acronym and share of the probe.
CHAINS: tuple[tuple[tuple[str, float], ...], ...] = (
    (
        ("PO", 0.17),
        ("LP", 0.17),
        ("fiber tracts", 0.05),
        ("DG-mo", 0.1),
        ("DG-sg", 0.05),
        ("CA1", 0.16),
        ("scwm", 0.05),
        ("VISa6a", 0.06),
        ("VISa5", 0.08),
        ("VISa2/3", 0.06),
        ("void", 0.05),
    ),
    (
        ("ACB", 0.17),
        ("root", 0.05),
        ("CP", 0.32),
        ("fa", 0.06),
        ("MOs6a", 0.1),
        ("MOs5", 0.14),
        ("MOs2/3", 0.11),
        ("void", 0.05),
    ),
    (
        ("SPVI", 0.22),
        ("sptV", 0.06),
        ("PRM", 0.28),
        ("arb", 0.06),
        ("CB", 0.06),
        ("ANcr2", 0.27),
        ("void", 0.05),
    ),
)
# Tip of each chain's probe (ML, AP, DV; um from bregma) and its direction towards the surface.
TRACKS = (
    ((-1400.0, -2000.0, -4100.0), (-0.26, 0.0, 0.966)),
    ((-1500.0, 1600.0, -4700.0), (0.09, -0.06, 0.994)),
    ((-2300.0, -6600.0, -5200.0), (-0.17, 0.1, 0.98)),
)
# Mean rate of good units, Hz; the same for all layers of an area.
REGION_RATES = {
    "PO": 10.0,
    "LP": 8.0,
    "DG": 4.0,
    "CA1": 5.0,
    "VISa": 7.0,
    "ACB": 5.0,
    "CP": 4.5,
    "MOs": 6.0,
    "SPVI": 12.0,
    "PRM": 16.0,
    "ANcr2": 18.0,
    "CB": 14.0,
}
OTHER_RATE = 4.0
RATE_SIGMA = 0.5
MAX_RATE = 80.0
# Below so many spikes, chance decides on the noise cut-off, and amplitudes are too few for a plan.
MIN_SPIKES_NOISE, MIN_SPIKES_AMPLITUDE = 1500, 50
NOISE_BANDS = {"mid": (6.0, 18.0), "high": (24.0, np.inf)}


@lru_cache(maxsize=1)
def region_ids() -> dict[str, int]:
    """Atlas id of each Allen acronym, right hemisphere."""
    regions = BrainRegions()
    kept = regions.id >= 0
    return {str(a): int(i) for a, i in zip(regions.acronym[kept], regions.id[kept], strict=True)}


def region_rate(acronym: str) -> float:
    """Planted mean rate of the good units of a region, Hz."""
    for area, rate in REGION_RATES.items():
        if acronym == area or (acronym.startswith(area) and acronym[len(area)] in "-123456"):
            return rate
    return OTHER_RATE


def simulate_channels(chain: int, model: str) -> pd.DataFrame:
    """Lay the sites of a probe on its chain of regions.

    Returns
    -------
    DataFrame, 384 rows
        lateral and axial (um from the tip), x, y, z (um: ML, AP, DV), acronym, region_id,
        raw_index, label (0 good, 1 dead, 2 noisy, 3 outside the brain).
    """
    site = np.arange(N_SITES)
    if model == "NP2.4":
        lateral, axial = np.resize([8.0, 40.0], N_SITES), 15.0 * (site // 2) + 15
    else:
        lateral, axial = np.resize([43.0, 11.0, 59.0, 27.0], N_SITES), 20.0 * (site // 2) + 20
    names, shares = zip(*CHAINS[chain], strict=True)
    top = np.cumsum(shares) / np.sum(shares) * axial[-1]
    acronym = np.array(names, dtype=object)[np.searchsorted(top[:-1], axial)]
    tip, direction = (np.array(v) for v in TRACKS[chain])
    xyz = tip + axial[:, None] * direction / np.linalg.norm(direction)
    label = np.where(acronym == "void", 3, 0)
    label[[191, 37]] = 1, 2
    return pd.DataFrame(
        {
            "lateral": lateral,
            "axial": axial,
            "x": xyz[:, 0],
            "y": xyz[:, 1],
            "z": xyz[:, 2],
            "acronym": acronym,
            "region_id": np.array([region_ids()[a] for a in acronym], dtype=np.int32),
            "raw_index": site,
            "label": label,
        }
    )


def plan_units(
    rng: np.random.Generator,
    n_units: int,
    channels: pd.DataFrame,
    duration: float,
    good_fraction: float,
    unit_rate: float,
) -> pd.DataFrame:
    """Plant the properties of the units of a sort.

    Returns
    -------
    DataFrame, one row a unit
        channel, acronym, region_id, depth (um), rate and evoked_rate (Hz), dead_time (s),
        refractory (bool), noise (low, mid, high), amplitude (median, V), spread (dB).
    """
    channel = rng.permutation((np.arange(n_units) + rng.random(n_units)) / n_units * N_SITES)
    sites = channels.iloc[channel.astype(int)]
    kind = _kinds(rng, n_units, good_fraction)
    mean = np.array([region_rate(a) for a in sites["acronym"]])
    z = rng.standard_normal(n_units)
    good_rate = mean * np.exp(RATE_SIGMA * z - RATE_SIGMA**2 / 2)
    other_rate = unit_rate * mean / 8 * np.exp(1.2 * z)
    chosen = np.where(kind["clean"], good_rate, other_rate)
    # Rates too low to show what is planted are spread above the least, not piled up on it.
    least = _least_rates(kind, duration)
    rate = np.where(chosen < least, least * rng.uniform(1.0, 1.6, n_units), chosen)
    rate = np.minimum(rate, MAX_RATE)
    gain = rng.choice([1, 0, 0.4], size=n_units, p=[0.5, 0.4, 0.1])
    gain = np.where(gain == 0, rng.uniform(1.5, 3.0, n_units), gain)
    loud = np.clip(80e-6 * np.exp(0.3 * rng.standard_normal(n_units)), 58e-6, 300e-6)
    return kind.assign(
        channel=channel.astype(int),
        acronym=sites["acronym"].to_numpy(),
        region_id=sites["region_id"].to_numpy(),
        depth=sites["axial"].to_numpy() + rng.uniform(-8, 8, n_units),
        rate=rate,
        evoked_rate=rate * gain,
        dead_time=np.where(kind["refractory"], np.minimum(0.004, 0.2 / rate), 0.0),
        amplitude=np.where(kind["loud"], loud, rng.uniform(28e-6, 43e-6, n_units)),
        spread=rng.uniform(1.6, 2.4, n_units),
    )


def _kinds(rng: np.random.Generator, n: int, good_fraction: float) -> pd.DataFrame:
    """Choose which criteria each unit is to pass."""
    order = rng.permutation(n)
    good, mid = order < round(good_fraction * n), order >= n - max(2, n // 12)
    refractory, loud = rng.random((2, n)) < 0.5
    noise = rng.choice(["low", "mid", "high"], size=n, p=[0.5, 0.2, 0.3])
    noise = np.where(good, "low", np.where(mid, "mid", noise))
    refractory, loud = refractory | good | mid, loud | good | mid
    # A unit that is not to be good, and passes all three by chance, is made small.
    loud = loud & (good | ~(refractory & (noise == "low")))
    return pd.DataFrame(
        {"refractory": refractory, "noise": noise, "loud": loud, "clean": good | mid}
    )


def _least_rates(kind: pd.DataFrame, duration: float) -> np.ndarray:
    """Rate (Hz) below which what is planted cannot be seen in the spikes (n,)."""
    # Twice the 2.3 spikes that must be missing in the dead time for a confidence of 90 %.
    seen = np.sqrt(4.6 / (0.2 * duration * 0.004))
    least = np.where(kind["clean"], seen, 5 / duration)
    enough = 1.2 * MIN_SPIKES_NOISE / duration
    return np.where(kind["noise"] != "low", np.maximum(least, enough), least)


def simulate_spikes(
    rng: np.random.Generator,
    units: pd.DataFrame,
    stimuli: np.ndarray,
    duration: float,
    gains: Mapping[int, np.ndarray] = MappingProxyType({}),
) -> UnitSpikes:
    """Draw the spikes of the units.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of this sort.
    units : DataFrame
        As `plan_units` gives them; a column `n_spikes`, where there is one, overrides the count
        where it is not negative.
    stimuli : ndarray, (T,)
        Onsets, s, further apart than the window.
    duration : float
        Of the recording, s.
    gains : mapping of int to ndarray
        For tuned units, by their row: the gain over `rate` in each bin of `tuning.STEP`, in place
        of that in the windows after stimuli.
    """
    counts, times = _spike_times(rng, units, stimuli, duration, gains)
    start = np.r_[0, np.cumsum(counts)]
    amps = _amplitudes(rng, units, start)
    depths = np.repeat(units["depth"].to_numpy(), counts)
    depths += 10 * rng.standard_normal(len(times))
    return UnitSpikes(start, times, amps, depths)


def _spike_times(
    rng: np.random.Generator,
    units: pd.DataFrame,
    stimuli: np.ndarray,
    duration: float,
    gains: Mapping[int, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Draw counts (U,) and times (S,), unit after unit.

    Spikes are drawn at a constant rate on a clock that runs faster, by the gain of the unit, in
    the windows after stimuli. The dead time is stretched by the gain, so that it holds there too.
    """
    rate, gain = (
        units["rate"].to_numpy(),
        (units["evoked_rate"] / units["rate"]).to_numpy(copy=True),
    )
    width = STIMULUS_WINDOW[1] - STIMULUS_WINDOW[0]
    length = duration + (gain - 1) * width * len(stimuli)
    dead = units["dead_time"].to_numpy() * np.maximum(gain, 1)
    for row, of_bin in gains.items():
        gain[row], length[row] = 1, of_bin.sum() * STEP
        dead[row] *= max(of_bin.max(), 1)
    counts = rng.poisson(rate * length)
    if "n_spikes" in units:
        counts = np.where(units["n_spikes"] >= 0, units["n_spikes"], counts)
    start = np.r_[0, np.cumsum(counts)]
    unit = np.repeat(np.arange(len(units)), counts)
    free = length - np.maximum(counts - 1, 0) * dead
    times = _sorted_uniforms(rng, start, unit) * free[unit]
    times += (np.arange(start[-1]) - start[unit]) * dead[unit]
    knots, inside = _window_knots(stimuli, duration)
    for u in np.flatnonzero(gain != 1):
        part = slice(start[u], start[u + 1])
        times[part] = np.interp(times[part], knots + (gain[u] - 1) * inside, knots)
    for row, of_bin in gains.items():
        part, grid = slice(start[row], start[row + 1]), np.arange(len(of_bin) + 1) * STEP
        times[part] = np.interp(times[part], np.r_[0, np.cumsum(of_bin)] * STEP, grid)
    return counts, times


def _sorted_uniforms(rng: np.random.Generator, start: np.ndarray, unit: np.ndarray) -> np.ndarray:
    """Draw numbers between 0 and 1 (S,), ascending within each unit.

    Running sums of exponentials over their total are just that, and need no sorting.
    """
    n_units = len(start) - 1
    total = np.r_[0, np.cumsum(rng.standard_exponential(start[-1] + n_units))]
    # Each unit has a gap more than spikes: the one after its last.
    first = start + np.arange(n_units + 1)
    base = total[first[:-1]]
    fraction = total[1:][np.arange(start[-1]) + unit] - base[unit]
    return fraction / (total[first[1:]] - base)[unit]


def _window_knots(stimuli: np.ndarray, duration: float) -> tuple[np.ndarray, np.ndarray]:
    """Give the limits of the windows, and the time within windows up to each (s)."""
    limits = np.stack([stimuli + STIMULUS_WINDOW[0], stimuli + STIMULUS_WINDOW[1]], axis=1)
    knots = np.r_[0.0, limits.ravel(), duration]
    spent = np.cumsum(limits[:, 1] - limits[:, 0])
    inside = np.stack([np.r_[0.0, spent[:-1]], spent], axis=1) if len(stimuli) else limits
    return knots, np.r_[0.0, inside.ravel(), spent[-1] if len(stimuli) else 0.0]


def _amplitudes(rng: np.random.Generator, units: pd.DataFrame, start: np.ndarray) -> np.ndarray:
    """Draw the amplitude of each spike (S,), V: lognormal, its low end cut where so planted."""
    counts = np.diff(start)
    level = rng.standard_normal(start[-1])
    for u in np.flatnonzero((units["noise"] != "low") & (counts >= MIN_SPIKES_NOISE)):
        part = slice(start[u], start[u + 1])
        spread, noise = units["spread"].iloc[u], units["noise"].iloc[u]
        level[part] = _cut_levels(rng, counts[u], spread, NOISE_BANDS[noise])
    level *= np.repeat(units["spread"].to_numpy() / 20 * np.log(10), counts)
    return np.repeat(units["amplitude"].to_numpy(), counts) * np.exp(level)


def _cut_levels(
    rng: np.random.Generator, n: int, spread: float, band: tuple[float, float]
) -> np.ndarray:
    """Draw normal levels (n,) of median 0 without their lowest share, so as to meet the band.

    The noise cut-off of a draw grows with the share, but not evenly, and hangs on its largest
    value: halve the interval on one draw, and draw again if that leads nowhere.
    """
    for _ in range(20):
        uniform, low, high = rng.random(n), -12.0, np.log(0.95)
        for _ in range(10):
            share = np.exp((low + high) / 2)
            level = scipy.special.ndtri(share + (1 - share) * uniform)
            level -= scipy.special.ndtri((1 + share) / 2)
            cutoff = noise_cutoff(10 ** (spread * level / 20))
            if band[0] <= cutoff <= band[1]:
                return level
            low, high = (np.log(share), high) if cutoff < band[0] else (low, np.log(share))
    raise AssertionError(f"no share of {n} amplitudes gives a noise cut-off within {band}")
