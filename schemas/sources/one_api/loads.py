"""What every source of ONE loads: the files of a kind, as `schemas.sources.alf` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from schemas.sources import alf
from schemas.sources.base import (
    Channels,
    Clusters,
    DatasetRecord,
    Events,
    Frames,
    FrameTimes,
    Licks,
    RawQuality,
    ReceptiveField,
    Spikes,
    Trials,
    Wheel,
)

T = TypeVar("T")


class LazyFiles(Mapping[DatasetRecord, Path]):
    """Files of datasets, each looked for when it is first asked for; threads may ask at once."""

    def __init__(
        self, datasets: Sequence[DatasetRecord], find: Callable[[DatasetRecord], Path]
    ) -> None:
        self._datasets = dict.fromkeys(datasets)
        self._find = find
        self._found: dict[DatasetRecord, Path] = {}

    def __getitem__(self, record: DatasetRecord) -> Path:
        if record not in self._datasets:
            raise KeyError(record)
        if record not in self._found:
            self._found[record] = self._find(record)
        return self._found[record]

    def __contains__(self, record: object) -> bool:
        return record in self._datasets

    def __iter__(self) -> Iterator[DatasetRecord]:
        return iter(self._datasets)

    def __len__(self) -> int:
        return len(self._datasets)


class AlfLoader:
    """The loaders of a source, given where its files are.

    A file is looked for, or downloaded, when its reader asks for it and not before: of all that
    is listed for a kind of data, a reader needs but some.
    """

    def _files(self, datasets: Sequence[DatasetRecord]) -> AbstractContextManager[alf.Files]:
        """Give the files of datasets, which are left alone as long as the context lasts."""
        raise NotImplementedError

    def _load(self, read: Callable[..., T], datasets: Sequence[DatasetRecord], *given: Any) -> T:
        with self._files(datasets) as files:
            return read(files, *given)

    def load_trials(self, datasets: Sequence[DatasetRecord]) -> Trials:
        """Load the task events of a session."""
        return self._load(alf.read_trials, datasets)

    def load_wheel(self, datasets: Sequence[DatasetRecord]) -> Wheel:
        """Load the wheel trace of a session."""
        return self._load(alf.read_wheel, datasets)

    def load_channels(
        self, datasets: Sequence[DatasetRecord], located: pd.DataFrame | None = None
    ) -> Channels:
        """Load the recording sites of a probe, by `located` where no file locates them."""
        return self._load(alf.read_channels, datasets, located)

    def load_clusters(
        self, datasets: Sequence[DatasetRecord], located: pd.DataFrame | None = None
    ) -> Clusters:
        """Load the units of a sort, with metrics and site of the peak channel."""
        return self._load(alf.read_clusters, datasets, located)

    def load_spikes(self, datasets: Sequence[DatasetRecord]) -> Spikes:
        """Load the spikes of a sort."""
        return self._load(alf.read_spikes, datasets)

    def load_frame_times(self, datasets: Sequence[DatasetRecord]) -> FrameTimes:
        """Load the times of the frames of a camera."""
        return self._load(alf.read_frame_times, datasets)

    def load_pose(self, datasets: Sequence[DatasetRecord]) -> Frames:
        """Load the points that one tracker found on the frames of a camera."""
        return self._load(alf.read_pose, datasets)

    def load_pupil(self, datasets: Sequence[DatasetRecord]) -> Frames:
        """Load the diameter of the pupil on the frames of a camera."""
        return self._load(alf.read_pupil, datasets)

    def load_motion_energy(self, datasets: Sequence[DatasetRecord]) -> Frames:
        """Load the motion energy of a camera."""
        return self._load(alf.read_motion_energy, datasets)

    def load_licks(self, datasets: Sequence[DatasetRecord]) -> Licks:
        """Load the times of licks."""
        return self._load(alf.read_licks, datasets)

    def load_passive_periods(self, datasets: Sequence[DatasetRecord]) -> Events:
        """Load the periods of the passive protocol."""
        return self._load(alf.read_passive_periods, datasets)

    def load_receptive_field(self, datasets: Sequence[DatasetRecord]) -> ReceptiveField:
        """Load the sparse noise and the times of its frames."""
        return self._load(alf.read_receptive_field, datasets)

    def load_passive_stimuli(self, datasets: Sequence[DatasetRecord]) -> Events:
        """Load the valve openings, tones and noises of the passive protocol."""
        return self._load(alf.read_passive_stimuli, datasets)

    def load_passive_gabors(self, datasets: Sequence[DatasetRecord]) -> Events:
        """Load the Gabor patches of the passive protocol."""
        return self._load(alf.read_passive_gabors, datasets)

    def load_rms(self, datasets: Sequence[DatasetRecord]) -> RawQuality:
        """Load the root mean square of one band of a raw recording."""
        return self._load(alf.read_rms, datasets)

    def load_spectral_density(self, datasets: Sequence[DatasetRecord]) -> RawQuality:
        """Load the power spectrum of one band of a raw recording."""
        return self._load(alf.read_spectral_density, datasets)
