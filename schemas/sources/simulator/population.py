"""A whole release as tables: its insertions, their sites, and the metrics of their units.

Nothing is simulated spike by spike. Regions and metrics are drawn from tables of real sites and
units where such tables are given, else from the distributions of `ephys`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from schemas.errors import SettingsError
from schemas.sources.alf.names import METRIC_COLUMNS
from schemas.sources.simulator import ephys, metrics
from schemas.sources.simulator.plan import FIRST_DATE, RESORT, identifier

DURATION = 4800.0
"""Length of a recording, s."""

CLUSTERS, CHANNELS = "clusters_real_*.pqt", "channels_real_*.pqt"
"""Names of the tables of real units and sites."""

MAX_RATE = 60.0
POOL_UNITS, N_CHAINS = 40_000, 80
GOOD_FRACTION, UNIT_RATE = 0.06, 1.66

TRIAL_FILES = ("table.pqt", "stimOff_times.npy", "goCueTrigger_times.npy", "quiescencePeriod.npy")
CHANNEL_FILES = ("localCoordinates", "mlapdv", "brainLocationIds_ccf_2017", "rawInd", "labels")


@dataclass(frozen=True)
class Freeze:
    """Numbers of a release of the Brain-Wide Map, and the revision of its spike sortings."""

    n_insertions: int
    n_sessions: int
    n_subjects: int
    n_labs: int
    n_units: int
    revision: str


FREEZES = {
    "2022": Freeze(547, 354, 115, 12, 295_501, ""),
    "2024": Freeze(699, 459, 139, 12, 621_733, RESORT),
}


def plan_insertions(freeze: Freeze, seed: int) -> pd.DataFrame:
    """List insertions as a release does: pid, eid, probe_name, session_number, date, subject, lab.

    The first sessions have two probes, as many as the numbers of the release ask for.
    """
    session = np.arange(freeze.n_sessions)
    number = np.concatenate([session, session[: freeze.n_insertions - freeze.n_sessions]])
    probe = (np.arange(freeze.n_insertions) >= freeze.n_sessions).astype(int)
    mouse = number % freeze.n_subjects
    return pd.DataFrame(
        {
            "pid": [identifier(seed, "pid", *one) for one in zip(number, probe, strict=True)],
            "eid": [identifier(seed, "eid", one) for one in number],
            "probe_name": [f"probe0{k}" for k in probe],
            "session_number": 1,
            "date": [str(FIRST_DATE + timedelta(days=int(k))) for k in number],
            "subject": [f"SIM_{k:03d}" for k in mouse],
            "lab": [f"simulatedlab{k:02d}" for k in mouse % freeze.n_labs],
        }
    )


@dataclass(frozen=True)
class Proportions:
    """Real or simulated sites and units, from which those of a release are drawn.

    Attributes
    ----------
    chains : list of DataFrame
        Sites, one frame for each insertion: region_id, x, y, z, axial and lateral (um).
    by_pid : dict
        Place in `chains` by the pid of a real insertion.
    units : DataFrame
        By region_id: refractory (bool), noise_cutoff, amp_median (V), rate (Hz).
    density : Series
        Units per site, by region_id.
    """

    chains: list[pd.DataFrame]
    by_pid: dict[str, int]
    units: pd.DataFrame
    density: pd.Series

    def draw_sites(self, rng: np.random.Generator, pid: str) -> pd.DataFrame:
        """Return the known sites of the insertion, or else those of a random other insertion."""
        return self.chains[self.by_pid.get(pid, int(rng.integers(len(self.chains))))]

    def draw_units(self, rng: np.random.Generator, sites: pd.DataFrame, n: int) -> pd.DataFrame:
        """Draw n units: columns of `sites`, channel (row among the sites), columns of `units`."""
        weight = self.density.reindex(sites["region_id"], fill_value=0.0).to_numpy() + 1e-6
        channel = rng.choice(len(sites), n, p=weight / weight.sum())
        region = sites["region_id"].to_numpy()[channel]
        known = self.units["region_id"].to_numpy()
        first, last = np.searchsorted(known, region), np.searchsorted(known, region, side="right")
        first, last = np.where(first < last, [first, last], [[0], [len(known)]])
        drawn = self.units.iloc[first + (rng.random(n) * (last - first)).astype(int)]
        places = sites.iloc[channel].assign(channel=channel).reset_index(drop=True)
        return places.join(drawn.drop(columns="region_id").reset_index(drop=True))


def read_proportions(folder: Path | None, seed: int) -> Proportions:
    """Read the tables of real units and sites in a folder; without them, use own distributions.

    Raises
    ------
    SettingsError
        The folder has one of the tables only.
    """
    found = [sorted(folder.glob(name)) if folder else [] for name in (CLUSTERS, CHANNELS)]
    if not any(found):
        return _own_proportions(np.random.default_rng([seed, 1]))
    if not all(found):
        remedy = f"Give a folder with {CLUSTERS} and {CHANNELS}, or none."
        raise SettingsError(
            "one of the two tables of real units and sites is missing.", str(folder), remedy
        )
    units, sites = (pd.read_parquet(paths[-1]).reset_index() for paths in found)
    chains: list[pd.DataFrame] = []
    by_pid: dict[str, int] = {}
    for pid, of_probe in sites.groupby("pid"):
        by_pid[str(pid)] = len(chains)
        place = {f"{name}": 1e6 * of_probe[name].to_numpy() for name in "xyz"}
        along = {name: of_probe[f"{name}_um"].to_numpy() for name in ("axial", "lateral")}
        chains.append(
            pd.DataFrame({"region_id": of_probe["atlas_id"].to_numpy(), **place, **along})
        )
    columns = {"atlas_id": "region_id", "firing_rate": "rate", "slidingRP_viol": "refractory"}
    return _proportions(chains, by_pid, units.rename(columns=columns), units["pid"].nunique())


def _proportions(
    chains: list[pd.DataFrame], by_pid: dict[str, int], units: pd.DataFrame, n_insertions: int
) -> Proportions:
    per_region = units["region_id"].value_counts() / n_insertions
    sites = pd.concat(chains)["region_id"].value_counts() / len(chains)
    columns = ["region_id", "refractory", "noise_cutoff", "amp_median", "rate"]
    pool = units[columns].sort_values("region_id", ignore_index=True).astype({"refractory": bool})
    return Proportions(chains, by_pid, pool, (per_region / sites).dropna())


def _own_proportions(rng: np.random.Generator) -> Proportions:
    """Draw sites in a row of neighbours in the atlas, and units as `ephys.plan_units` does."""
    acronyms, ids = map(np.array, zip(*ephys.region_ids().items(), strict=True))
    chains = []
    for number in range(N_CHAINS):
        sites = ephys.simulate_channels(number % len(ephys.CHAINS), "3B2")
        first = rng.integers(len(ids) - 12)
        chosen = first + np.sort(rng.choice(12, 7, replace=False))
        kind = np.searchsorted(np.sort(rng.random(6)), np.linspace(0, 0.95, len(sites)))
        outside = sites["acronym"] == "void"
        sites["acronym"] = np.where(outside, "void", acronyms[chosen][kind])
        sites["region_id"] = np.where(outside, 0, ids[chosen][kind])
        chains.append(sites)
    pool = pd.concat(
        ephys.plan_units(rng, POOL_UNITS // N_CHAINS, sites, DURATION, GOOD_FRACTION, UNIT_RATE)
        for sites in chains
    )
    noise = {"low": (-2.0, 4.5), "mid": (6.0, 18.0), "high": (24.0, 500.0)}
    low, high = np.array([noise[name] for name in pool["noise"]]).T
    pool = pool.assign(noise_cutoff=rng.uniform(low, high), amp_median=pool["amplitude"])
    return _proportions(chains, {}, pool, N_CHAINS)


def draw_counts(rng: np.random.Generator, proportions: Proportions, n_units: int) -> np.ndarray:
    """Draw the number of spikes of each unit of a recording, (n_units,), at least one."""
    rate = proportions.units["rate"].to_numpy()[rng.integers(len(proportions.units), size=n_units)]
    return np.maximum(1, np.round(DURATION * np.minimum(rate, MAX_RATE))).astype(np.int64)


def match_counts(units: pd.DataFrame, counts: np.ndarray) -> pd.DataFrame:
    """Order units so that the unit of the n-th highest rate has the n-th highest count."""
    order = np.empty(len(units), dtype=int)
    order[np.argsort(counts, kind="stable")] = np.argsort(units["rate"].to_numpy(), kind="stable")
    return units.iloc[order].reset_index(drop=True)


def complete_metrics(
    rng: np.random.Generator, units: pd.DataFrame, counts: np.ndarray, seconds: float, revision: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Draw the metrics that depend on those already drawn.

    Parameters
    ----------
    rng : numpy.random.Generator
    units : DataFrame, n rows
        As `Proportions.draw_units` returns them.
    counts : (n,) int array
        Spikes of each unit.
    seconds : float
        Time from the first to the last spike of the recording.
    revision : str
        Of the spike sorting.

    Returns
    -------
    released, known : DataFrame, n rows
        Metrics that a sort of that revision is released with, labels included, and all metrics
        without labels; named as in the tables.
    """
    n, rate, passes = len(units), counts / seconds, units["refractory"].to_numpy()
    amp = units["amp_median"].to_numpy()
    few = np.where(passes, rng.uniform(0, 0.1, n), rng.uniform(0.05, 1.0, n))
    present = -np.expm1(-10 * rate)
    frame = pd.DataFrame(
        {
            "amp_max": amp * rng.uniform(1.2, 3.0, n),
            "amp_min": amp * rng.uniform(0.3, 0.9, n),
            "amp_median": amp,
            "amp_std_dB": np.where(counts > 1, rng.uniform(1.0, 4.0, n), np.nan),
            "contamination": few,
            "contamination_alt": few * rng.uniform(0.4, 0.6, n),
            "drift": rng.lognormal(9, 1, n),
            "missed_spikes_est": np.where(counts > 500, rng.uniform(0, 0.5, n), np.nan),
            "noise_cutoff": units["noise_cutoff"].to_numpy(),
            "presence_ratio": present,
            "presence_ratio_std": np.sqrt(10 * rate),
            "slidingRP_viol": passes.astype(float),
            "slidingRP_viol_forced": 0.0,
            "max_confidence": np.where(passes, rng.uniform(90, 100, n), rng.uniform(0, 89.9, n)),
            "min_contamination": np.where(passes, rng.integers(1, 21, n) / 2, np.nan),
            "n_spikes_below2": rng.poisson(few * rate),
            "spike_count": counts,
            "firing_rate": rate,
        }
    )
    released = metrics.released_metrics(frame.assign(cluster_id=np.arange(n)), revision)
    released = released.drop(columns="cluster_id").rename(columns=METRIC_COLUMNS)
    return released, frame.rename(columns=METRIC_COLUMNS)


def draw_uuids(rng: np.random.Generator, n: int) -> list[str]:
    """Draw UUIDs of version 4, lower case."""
    drawn = np.frombuffer(rng.bytes(16 * n), dtype=np.uint8).reshape(n, 16).copy()
    drawn[:, 6], drawn[:, 8] = drawn[:, 6] & 0x0F | 0x40, drawn[:, 8] & 0x3F | 0x80
    text = drawn.tobytes().hex()
    return [
        f"{text[i : i + 8]}-{text[i + 8 : i + 12]}-{text[i + 12 : i + 16]}-"
        f"{text[i + 16 : i + 20]}-{text[i + 20 : i + 32]}"
        for i in range(0, 32 * n, 32)
    ]


def md5_of(*parts: str) -> str:
    """Return a hash for a file that is listed but never written."""
    return hashlib.md5("/".join(parts).encode(), usedforsecurity=False).hexdigest()
