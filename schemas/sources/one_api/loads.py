"""Loading of the files of a kind by its reader in `schemas.sources.alf`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from schemas.sources import alf
from schemas.sources.records import DatasetRecord


class LazyFiles(Mapping[DatasetRecord, Path]):
    """Paths of datasets; each file is found or downloaded when it is first looked up."""

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
    """Base class of sources with ALF files.

    A file is downloaded when its reader opens it, because a reader needs only some of the files.
    """

    def _files(self, datasets: Sequence[DatasetRecord]) -> AbstractContextManager[alf.Files]:
        """Return the files of datasets, which are kept in the cache during the context."""
        raise NotImplementedError

    def load(self, kind: str, datasets: Sequence[DatasetRecord], **options: Any) -> Any:
        """Load the data of one kind; see `schemas.sources.base.Source.load`."""
        reader = alf.KINDS[kind].reader
        if reader is None:
            raise ValueError(f"no reader imports {kind!r}")
        with self._files(datasets) as files:
            return reader(files, **options)
