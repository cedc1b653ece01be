"""What was recorded besides spikes: power of the raw signal, and frames of the videos."""

from __future__ import annotations

import numpy as np
import pandas as pd

from schemas import atlas, behavior, probe, rows, video
from schemas.errors import QueryError
from schemas.views.frames import POPULATE
from schemas.views.session import find_recording, require, session_key
from schemas.views.sites import fetch_spectrum


def fetch_band_power(recording: str, low: float, high: float, band: str = "lf") -> pd.DataFrame:
    """Fetch the power of the raw signal between two frequencies, by channel.

    Parameters
    ----------
    recording : str
        pid of an insertion.
    low, high : float
        Frequencies (Hz), e.g. 1 and 4 for delta.
    band : str
        `lf` (local field potential) or `ap`: a row of `probe.Band`.

    Returns
    -------
    pandas.DataFrame
        One row per channel of the raw file: `raw_index` (from 0), `power` (V**2, the mean density
        between the two frequencies times their difference), `power_db` (dB of V**2),
        `channel_axial` and `channel_lateral` (um from the tip) and `region_acronym`; the last three
        are missing where the site is not known.

    Raises
    ------
    QueryError
        No such insertion or band, no spectrum is imported, or the spectrum has no frequency between
        the two.
    """
    require(probe.Band, "band", band)
    frequency, density = fetch_spectrum(recording, band)
    inside = (frequency >= low) & (frequency <= high)
    if not inside.any():
        what = f"no frequency of the spectrum lies between {low} and {high} Hz."
        known = ", ".join(f"{one:g}" for one in frequency[:3])
        raise QueryError(what, None, f"It has {len(frequency)} frequencies: {known} Hz ...")
    power = density[inside].mean(axis=0) * (high - low)
    with np.errstate(divide="ignore"):
        table = pd.DataFrame({"power": power, "power_db": 10 * np.log10(power)})
    sites = _fetch_sites(find_recording(recording))
    return table.rename_axis("raw_index").reset_index().merge(sites, "left", on="raw_index")


def _fetch_sites(insertion: dict[str, str]) -> pd.DataFrame:
    """Fetch where the channels of the raw file are."""
    places = ["raw_index", "channel_axial", "channel_lateral", "channel_region_id"]
    sites = rows.frame((probe.Channels.Channel & insertion).proj(*places))[places]
    regions = rows.frame(atlas.BrainRegion.proj("region_acronym")).set_index("region_id")
    acronym = sites.channel_region_id.map(regions.region_acronym)
    sites = sites.assign(region_acronym=acronym).dropna(subset=["raw_index"])
    return sites.astype({"raw_index": int}).drop(columns="channel_region_id")


def fetch_trial_frames(recording: str, trial: int, camera: str = "left") -> pd.DataFrame:
    """Fetch which frames of a video were taken in a trial, to cut them out.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions.
    trial : int
        Number of the trial, from 0.
    camera : str
        A row of `video.Camera`.

    Returns
    -------
    pandas.DataFrame
        One row per frame, in order: `frame` (number in the video, from 0), `time` (s, on the clock
        of the spikes) and `from_stimulus` (s; NaN where the stimulus has no time).

    Raises
    ------
    QueryError
        No such recording, camera or trial, or its times are not imported.
    """
    require(video.Camera, "camera", camera)
    key = session_key(recording)
    at = (behavior.Trials.Trial & key & {"trial": trial}).to_dicts()
    if not at:
        raise QueryError(f"no trial {trial} is imported.", f"session {key['eid']}", POPULATE)
    stored = (video.FrameTimes & key & {"camera": camera}).to_dicts()
    if not stored:
        raise QueryError(f"no times of the {camera} camera are imported.", None, POPULATE)
    # Where a video has fewer frames than times, the first times have no frame.
    dropped = (video.MotionEnergy & key & {"camera": camera}).to_arrays("n_energy_dropped")
    first = int(dropped[0]) if len(dropped) else 0
    time = stored[0]["frame_times"].read()["time"][first:]
    limits = [at[0][name] for name in ("trial_start_time", "trial_end_time")]
    if None in limits:
        raise QueryError(f"trial {trial} has no start or end.", f"session {key['eid']}", None)
    frames = np.arange(*np.searchsorted(time, limits))
    start = np.nan if at[0]["stim_on_time"] is None else at[0]["stim_on_time"]
    taken = time[frames]
    return pd.DataFrame({"frame": frames, "time": taken, "from_stimulus": taken - start})
