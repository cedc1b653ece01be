"""Kinds of data: the files of each, by folder and name, and the function that reads them.

A reader declares its kind with `@reads`. The rules that tell the kind of a path, the lookup table
`session.DataKind` and `Source.load` follow from these declarations.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from schemas.sources.names import PROBE_FOLDER
from schemas.sources.records import BANDS, CAMERAS

TASK = r"alf(?:/task_\d+)?"
SORTING = f"alf/{PROBE_FOLDER}(?:/.+)?"
RAW_EPHYS = f"raw_ephys_data/{PROBE_FOLDER}"
RAW_QUALITY = f"(?:raw_ephys_data|alf)/{PROBE_FOLDER}"
CAMERA = f"(?P<camera>{'|'.join(CAMERAS)})"
BAND = f"(?P<band>{'|'.join(BANDS)})"

Reader = TypeVar("Reader", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes
    ----------
    name : str
        Name, as in `session.DataKind`; 16 characters at most.
    description : str
        What the data are; 128 characters at most.
    files : tuple of (Pattern, Pattern)
        Folder below the session and file name, as regular expressions. The groups `camera`,
        `tracker` and `band` say which of these a file belongs to.
    reader : callable or None
        Function of the files. None for data that are listed but never imported.
    is_of_sorting : bool
        Whether a file in the folder of a spike sorting belongs to that spike sorting, and not
        to the probe.
    """

    name: str
    description: str
    files: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]
    reader: Callable[..., Any] | None = None
    is_of_sorting: bool = True


KINDS: dict[str, Kind] = {}
"""All kinds by name. `schemas.sources.alf` imports every module that declares one."""


def names_of(*files: str) -> str:
    """Return a regular expression that matches these file names."""
    return "|".join(map(re.escape, files))


def declare(
    name: str,
    description: str,
    *files: tuple[str, str],
    reader: Callable[..., Any] | None = None,
    is_of_sorting: bool = True,
) -> None:
    """Declare a kind of data; see `Kind` for the parameters."""
    patterns = tuple((re.compile(folder), re.compile(file)) for folder, file in files)
    KINDS[name] = Kind(name, description, patterns, reader, is_of_sorting)


def reads(
    name: str, description: str, *files: tuple[str, str], is_of_sorting: bool = True
) -> Callable[[Reader], Reader]:
    """Declare a kind of data together with the function that reads it."""

    def add(reader: Reader) -> Reader:
        declare(name, description, *files, reader=reader, is_of_sorting=is_of_sorting)
        return reader

    return add


declare(
    "raw_ephys",
    "raw recording of a probe: a pointer, fetched on request",
    (RAW_EPHYS, rf"(?!_iblqc_).+\.(?:{BAND}\.(?:cbin|ch|meta|bin)|sync\.npy)"),
)
declare(
    "raw_clock",
    "clock of the raw recording of a probe: read with its saturation",
    (RAW_EPHYS, r"(?!_iblqc_).+\.timestamps\.npy"),
)
declare(
    "raw_video",
    "raw video of a camera: a pointer, fetched on request",
    ("raw_video_data", rf"_iblrig_{CAMERA}Camera\.raw\.mp4"),
)
declare("other", "listed, but not imported by any table yet")
