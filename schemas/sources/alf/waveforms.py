"""Mean waveforms of units."""

from __future__ import annotations

import numpy as np

from schemas.errors import InconsistentData
from schemas.sources.alf.kinds import SORTING, reads
from schemas.sources.alf.names import WAVEFORMS_OF
from schemas.sources.alf.reading import REPORT, Files, Reader, by_name, checked, need
from schemas.sources.data import Waveforms


@reads(
    "waveforms",
    "mean waveforms of the units of a spike sorting",
    (SORTING, rf"(?:{'|'.join(WAVEFORMS_OF)})\.waveforms(?:Channels)?\.npy"),
)
def read_waveforms(files: Files) -> Waveforms:
    """Read the mean waveforms of the units of a sort, on the channels near each unit.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        `clusters.waveforms` (U, T, C), V, and `clusters.waveformsChannels` (U, C), rows of the
        channels arrays or -1; or the same of `templates`, which are read only where one of the
        former is not listed.

    Returns
    -------
    Waveforms
        As released. NaN is allowed: a cluster without spikes may have no waveform.

    Raises
    ------
    InconsistentData
        The arrays are not of the same units and channels, or values are not in volts.
    """
    reader, named = Reader(files), by_name(files)
    names = {of: [f"{of}.{attribute}.npy" for attribute in ATTRIBUTES] for of in WAVEFORMS_OF}
    whole = (of for of in WAVEFORMS_OF if named.keys() >= set(names[of]))
    of = next(whole, WAVEFORMS_OF[0])
    records = [need(reader, named, name) for name in names[of]]
    reader.read_ahead(records)
    (waveform, channel), paths = map(reader.array, records), list(map(reader.path, records))
    if channel.ndim == 1:  # a single channel, of which the reader made a vector
        channel = channel[:, np.newaxis]
    if waveform.ndim != 3 or waveform[:, 0].shape != channel.shape:
        what = f"An array of {waveform.shape} instead of units x samples x channels"
        where = f"there are {' x '.join(map(str, channel.shape))} channels in {paths[1]}"
        raise InconsistentData(f"{what}: {where}.", paths[0], REPORT)
    values, rows = (
        checked(array, "waveforms", name, path)
        for array, name, path in zip((waveform, channel), ATTRIBUTES, paths, strict=True)
    )
    # Most samples are near 0 in any unit: the largest of each unit tells which it is.
    largest = np.abs(values).max(axis=(1, 2), initial=0)
    checked(largest, "clusters", "amps", paths[0], "the largest sample")
    return Waveforms(values, rows.astype(np.int64), of, reader.files)


ATTRIBUTES = ("waveforms", "waveformsChannels")
