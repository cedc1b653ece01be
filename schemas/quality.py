"""Quality control: what was checked, the quality of raw recordings, and rows computed again."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from schemas import imported, probe, session, storage  # noqa: F401  (session: foreign keys)
from schemas.sources import data

schema = dj.Schema()


@schema
class SessionQC(dj.Manual):
    """Extended quality control of a session, typed, so that a release's rule is a query."""

    definition = """
    # one row per check of a session
    -> session.Session
    session_check              : varchar(128)   # name of the check, as released
    ---
    session_check_value = null : float64        # (number) value; 1 for true, 0 for false
    -> [nullable] session.QC.proj(session_check_outcome="qc")
    session_check_text = null  : varchar(4000)  # what is neither number nor outcome, as JSON
    """


@schema
class InsertionQC(dj.Manual):
    """Extended quality control of an insertion, its histology and alignment included."""

    definition = """
    # one row per check of an insertion
    -> probe.ProbeInsertion
    insertion_check              : varchar(128)   # name of the check, as released
    ---
    insertion_check_value = null : float64        # (number) value; 1 for true, 0 for false
    -> [nullable] session.QC.proj(insertion_check_outcome="qc")
    insertion_check_text = null  : varchar(4000)  # what is neither number nor outcome, as JSON
    """


class FromRawFiles(probe.FromProbeFiles):
    """Shared by the tables that are read from the quality files of a raw recording."""

    candidates: Any = imported.KeyProduct(probe.ProbeInsertion, probe.Band)


@schema
class RMS(FromRawFiles, dj.Imported):
    """Root mean square of the raw recording in windows: `time` (s), `channel_0` and on (V)."""

    definition = f"""
    # one row per insertion and band with a root mean square
    -> probe.ProbeInsertion
    -> probe.Band
    ---
    n_rms_windows     : int32    # number of windows
    n_rms_channels    : int16    # number of channels of the raw file
    rms_median = null : float64  # (V) median over windows and channels; null where there is none
    rms               : <parquet@{storage.STORE}>  # time (s), channel_0 and on (V)
    """

    kinds = ("rms",)
    lengths = (("rms", "n_rms_windows"),)

    def as_rows(self, loaded: data.RawQuality) -> imported.AsRows:
        """Return the windows, their number, and their median."""
        packed = storage.pack({"time": loaded.at, **_channels(loaded.values)})
        known = loaded.values[np.isfinite(loaded.values)]
        row = {
            "n_rms_windows": packed.n_rows,
            "n_rms_channels": loaded.values.shape[1],
            "rms_median": np.median(known) if len(known) else None,
            "rms": packed,
        }
        return row, {}


@schema
class SpectralDensity(FromRawFiles, dj.Imported):
    """Power spectrum of the raw recording: `frequency` (Hz), `channel_0` and on (V**2/Hz)."""

    definition = f"""
    # one row per insertion and band with a power spectrum
    -> probe.ProbeInsertion
    -> probe.Band
    ---
    n_frequencies       : int32  # number of frequencies
    n_spectral_channels : int16  # number of channels of the raw file
    spectral_density    : <parquet@{storage.STORE}>  # frequency (Hz), channel_0 and on (V**2/Hz)
    """

    kinds = ("spectral_density",)
    lengths = (("spectral_density", "n_frequencies"),)

    def as_rows(self, loaded: data.RawQuality) -> imported.AsRows:
        """Return the spectrum and its size."""
        packed = storage.pack({"frequency": loaded.at, **_channels(loaded.values)})
        counts = {"n_frequencies": packed.n_rows, "n_spectral_channels": loaded.values.shape[1]}
        return {**counts, "spectral_density": packed}, {}


def _channels(values: np.ndarray) -> dict[str, np.ndarray]:
    return {f"channel_{k}": column for k, column in enumerate(values.T)}


@schema
class Recomputed(dj.Manual):
    """What `bwm verify --recompute` has covered; a new round begins once every row is covered."""

    definition = """
    # one row per stored row that was computed again and found equal
    recomputed_table : varchar(128)  # name of the table, e.g. behavior.Trials
    key_md5          : char(32)      # hash of the primary key of the row
    ---
    recomputed_at    : datetime(6)   # (UTC) when it was computed again
    """
