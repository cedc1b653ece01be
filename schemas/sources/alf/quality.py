"""Quality of raw recordings."""

from __future__ import annotations

from schemas.errors import InconsistentData
from schemas.sources.alf.kinds import RAW_QUALITY, reads
from schemas.sources.alf.reading import REPORT, Files, Reader, by_name, checked, need, read_times
from schemas.sources.data import RawQuality
from schemas.sources.records import DatasetRecord


@reads(
    "rms",
    "root mean square of the raw recording of a probe, in windows",
    (RAW_QUALITY, r"_iblqc_ephysTimeRms(?P<band>AP|LF)\.(?:rms|timestamps)\.npy"),
    is_of_sorting=False,
)
def read_rms(files: Files) -> RawQuality:
    """Read the root mean square of one band of a raw recording, in windows.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Values (n, channels), volts, and timestamps (n,), seconds.

    Returns
    -------
    RawQuality
        As released; a channel that was not measured is NaN.

    Raises
    ------
    InconsistentData
        The values are no table of windows and channels, negative, or not finite; or the times
        are not ascending.
    """
    return _read_quality(files, "rms", "rms", "timestamps")


@reads(
    "spectral_density",
    "power spectrum of the raw recording of a probe",
    (RAW_QUALITY, r"_iblqc_ephysSpectralDensity(?P<band>AP|LF)\.(?:power|freqs)\.npy"),
    is_of_sorting=False,
)
def read_spectral_density(files: Files) -> RawQuality:
    """Read the power spectrum of one band of a raw recording.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Power (n, channels), V**2/Hz, and frequencies (n,), Hz.

    Returns
    -------
    RawQuality
        As released; a channel that was not measured is NaN.

    Raises
    ------
    InconsistentData
        As in `read_rms`.
    """
    return _read_quality(files, "spectral_density", "power", "freqs")


def _read_quality(files: Files, kind: str, values: str, at: str) -> RawQuality:
    reader = Reader(files)
    records = _choose(reader, kind, (values, at))
    reader.read_ahead(records)
    array, path = reader.array(records[0]), reader.path(records[0])
    rows = read_times(reader, records[1], kind, at)
    if array.ndim != 2 or len(array) != len(rows):
        what = f"An array of {array.shape} instead of {len(rows)} x channels"
        where = f"there are {len(rows)} rows in {reader.path(records[1])}"
        raise InconsistentData(f"{what}: {where}.", path, REPORT)
    return RawQuality(rows, checked(array, kind, values, path), reader.files)


def _choose(reader: Reader, kind: str, parts: tuple[str, str]) -> list[DatasetRecord]:
    """Choose the two files, both of one folder.

    They lie with the raw recording, or in older sessions with the sorts, or in both places.
    """
    folders: dict[str, list[DatasetRecord]] = {}
    for record in reader.offered:
        if record.kind == kind:
            folders.setdefault(record.collection, []).append(record)
    found: dict[str, DatasetRecord] = {}
    for folder in sorted(folders, key=lambda name: name.startswith("alf/")):
        named = by_name(folders[folder])
        found = {name.split(".")[1]: record for name, record in named.items()}
        if found.keys() >= set(parts):
            break
    return [found.get(part) or need(reader, {}, f"The {part} of {kind}") for part in parts]
