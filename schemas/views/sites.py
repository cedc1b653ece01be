"""Recording sites of an insertion: where they lie, and the quality of what they recorded."""

from __future__ import annotations

import numpy as np
import pandas as pd

from schemas import atlas, probe, quality, rows
from schemas.errors import QueryError
from schemas.views.frames import POPULATE
from schemas.views.session import find_recording

SITE_COLUMNS = {
    "channel": "channel",
    "channel_axial": "axial",
    "channel_lateral": "lateral",
    "channel_x": "x",
    "channel_y": "y",
    "channel_z": "z",
    "channel_label": "label",
    "hemisphere": "hemisphere",
}

PLANES = {"coronal": ("x", "z", "y"), "sagittal": ("y", "z", "x")}
"""Axes of a slice: from left to right, from bottom to top, and the axis it stands on."""


def fetch_sites(recording: str) -> pd.DataFrame:
    """Fetch the recording sites of an insertion, from the tip upwards.

    Parameters
    ----------
    recording : str
        pid of the insertion.

    Returns
    -------
    pandas.DataFrame
        One row per site: `channel`, `axial` (um from the tip), `lateral` (um), `x`, `y`, `z` (um,
        axes as in `probe.Channels.Channel`), `label` (0 good, 1 dead, 2 noisy, 3 outside the
        brain), `hemisphere`, and `region_acronym`, `region_rgb` of its Allen structure; missing
        where the site is not located.

    Raises
    ------
    QueryError
        No such insertion, or its sites are not imported.
    """
    found = rows.frame(probe.Channels.Channel & _insertion(recording))
    if not len(found):
        raise QueryError("no recording sites are imported.", f"insertion {recording}", POPULATE)
    regions = rows.frame(atlas.BrainRegion.proj("region_acronym", "region_rgb"))
    found = found.merge(regions, "left", left_on="channel_region_id", right_on="region_id")
    table = found.rename(columns=SITE_COLUMNS)
    table = table[[*SITE_COLUMNS.values(), "region_acronym", "region_rgb"]]
    return table.sort_values(["axial", "lateral"], ignore_index=True)


def fetch_slice(
    recording: str, plane: str = "coronal", thickness: float = 300.0
) -> tuple[pd.DataFrame, float]:
    """Fetch the sites of all insertions that lie in a slice through an insertion.

    The atlas of the database has regions, but no shapes: the located sites of all probes take the
    place of a slice of the atlas.

    Parameters
    ----------
    recording : str
        pid of the insertion.
    plane : {"coronal", "sagittal"}
    thickness : float
        (um) Thickness of the slice, in whose middle the insertion lies.

    Returns
    -------
    sites : pandas.DataFrame
        One row per site: `across` and `up` (um; x or y, and z), `region_acronym`, `region_rgb`,
        `is_own` (whether it is of the insertion; all of its sites are there). In a sagittal slice
        both hemispheres are laid over each other.
    middle : float
        (um) Where the slice stands: y of a coronal one, the distance from the midline of a sagittal
        one.

    Raises
    ------
    QueryError
        No such insertion or plane, or its sites are not located.
    """
    if plane not in PLANES:
        raise QueryError(f"no plane {plane!r}.", None, f"There are: {', '.join(PLANES)}.")
    across, up, depth = PLANES[plane]
    key = _insertion(recording)
    own = rows.frame(probe.Channels.Channel & key & "channel_x IS NOT NULL")
    if not len(own):
        raise QueryError("its sites are not located.", f"insertion {recording}", POPULATE)
    at = own[f"channel_{depth}"].to_numpy(float)
    middle = float(np.median(np.abs(at) if depth == "x" else at))
    column = "abs(channel_x)" if depth == "x" else f"channel_{depth}"
    near = f"{column} BETWEEN {middle - thickness / 2!r} AND {middle + thickness / 2!r}"
    columns = ["eid", "probe_name", "channel", "channel_region_id"]
    columns += [f"channel_{axis}" for axis in (across, up)]
    others = rows.frame(probe.Channels.Channel & near, columns=columns)
    is_own = (others.eid == key["eid"]) & (others.probe_name == key["probe_name"])
    table = pd.concat([others[~is_own].assign(is_own=False), own[columns].assign(is_own=True)])
    regions = rows.frame(atlas.BrainRegion.proj("region_acronym", "region_rgb"))
    table = table.merge(regions, "left", left_on="channel_region_id", right_on="region_id")
    table = table.rename(columns={f"channel_{across}": "across", f"channel_{up}": "up"})
    return table[["across", "up", "region_acronym", "region_rgb", "is_own"]], middle


def fetch_rms(recording: str, band: str = "ap") -> tuple[np.ndarray, np.ndarray]:
    """Fetch the root mean square of the raw recording of an insertion.

    Parameters
    ----------
    recording : str
        pid of the insertion.
    band : str
        A row of `probe.Band`.

    Returns
    -------
    time : (W,) float array
        Window (s).
    rms : (W, C) float array
        (V) Root mean square of each channel of the raw file.

    Raises
    ------
    QueryError
        No such insertion, or nothing of that band is imported.
    """
    return _read(quality.RMS, "rms", "time", "root mean square", recording, band)


def fetch_spectrum(recording: str, band: str = "lf") -> tuple[np.ndarray, np.ndarray]:
    """Fetch the power spectrum of the raw recording of an insertion.

    Parameters
    ----------
    recording, band : str
        As in `fetch_rms`.

    Returns
    -------
    frequency : (F,) float array
        (Hz)
    density : (F, C) float array
        (V**2/Hz) Power spectral density of each channel of the raw file.

    Raises
    ------
    QueryError
        As `fetch_rms`.
    """
    table, column = quality.SpectralDensity, "spectral_density"
    return _read(table, column, "frequency", "power spectrum", recording, band)


def _read(
    table: type, column: str, at: str, what: str, recording: str, band: str
) -> tuple[np.ndarray, np.ndarray]:
    stored = (table & _insertion(recording) & {"band": band}).to_arrays(column)
    if not len(stored):
        where = f"insertion {recording}"
        raise QueryError(f"no {what} of the {band} band is imported.", where, POPULATE)
    columns = stored[0].read()
    first = columns.pop(at)
    return first, np.stack([*columns.values()], axis=1) if columns else np.empty((len(first), 0))


def _insertion(recording: str) -> dict[str, str]:
    key = find_recording(recording)
    if "probe_name" not in key:
        raise QueryError(f"{recording} is a session.", None, "Give the pid of an insertion.")
    return key
