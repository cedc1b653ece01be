"""Video: times of frames, and what was measured on each frame."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from schemas.errors import InconsistentData
from schemas.sources.alf.kinds import CAMERA, TASK, reads
from schemas.sources.alf.names import PUPIL_COLUMNS
from schemas.sources.alf.paths import place
from schemas.sources.alf.reading import (
    REPORT,
    Files,
    Reader,
    by_name,
    checked,
    need,
    read_times,
    refuse,
    vector,
)
from schemas.sources.data import Frames, Times
from schemas.sources.records import TRACKERS, DatasetRecord

_OF_A_POINT = ("x", "y", "likelihood")
_TOO_SHORT = (
    "The frame of each time is unknown: download both again. If the error stays, leave the camera "
    "out and report it to those who released the files."
)


@reads(
    "frame_times",
    "times of the frames of a camera",
    (TASK, rf"_ibl_{CAMERA}Camera\.times\.npy"),
)
def read_frame_times(files: Files) -> Times:
    """Read the times of the frames of a camera.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Times (n,) of one camera, seconds.

    Raises
    ------
    InconsistentData
        Times are not finite, negative or not ascending.
    """
    reader = Reader(files)
    return Times(read_times(reader, _the_file(reader, "frame_times"), "frame_times"), reader.files)


@reads(
    "pose",
    "points tracked on the frames of a camera",
    (TASK, rf"_ibl_{CAMERA}Camera\.(?P<tracker>{'|'.join(TRACKERS)})\.pqt"),
)
def read_pose(files: Files) -> Frames:
    """Read the points that one tracker found on the frames of a camera.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        The table of one tracker, and the times of the frames.

    Returns
    -------
    Frames
        `{point}_x`, `{point}_y` (px) and `{point}_likelihood` of every point of the table, in
        the float type of the release. Columns that are of no point are left out.

    Raises
    ------
    InconsistentData
        There are fewer times than frames, or a point lacks one of its columns.
    """
    reader = Reader(files)
    record = _the_file(reader, "pose")
    times = _times_of(reader, record)
    reader.read_ahead([record, times])
    table, path = reader.table(record), reader.path(record)
    columns = {}
    for name in _point_columns(table, path):
        part = name.rpartition("_")[2]
        columns[name] = checked(table[name], "pose", part, path, name)
    return _on_frames(reader, record, times, pd.DataFrame(columns, copy=False))


@reads(
    "pupil",
    "diameter of the pupil on the frames of a camera",
    (TASK, r"_ibl_(?P<camera>left|right)Camera\.features\.pqt"),
)
def read_pupil(files: Files) -> Frames:
    """Read the diameter of the pupil on the frames of a camera.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        The table of features of one camera, and the times of its frames.

    Returns
    -------
    Frames
        `diameter_raw` and `diameter_smooth` (px), as far as released.

    Raises
    ------
    InconsistentData
        There are fewer times than frames, or neither diameter is there.
    """
    reader = Reader(files)
    record = _the_file(reader, "pupil")
    times = _times_of(reader, record)
    reader.read_ahead([record, times])
    table, path = reader.table(record), reader.path(record)
    columns = {
        ours: checked(table[theirs], "pupil", theirs, path)
        for theirs, ours in PUPIL_COLUMNS.items()
        if theirs in table
    }
    if not columns:
        raise InconsistentData(f"It has no column of {', '.join(PUPIL_COLUMNS)}.", path, REPORT)
    return _on_frames(reader, record, times, pd.DataFrame(columns, copy=False))


@reads(
    "motion_energy",
    "motion energy in a region of interest of a camera",
    (TASK, rf"{CAMERA}(?:Camera\.ROIMotionEnergy|ROIMotionEnergy\.position)\.npy"),
)
def read_motion_energy(files: Files) -> Frames:
    """Read the motion energy of a camera, and the region that it was measured in.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        Energies (n,) of one camera, the times of its frames, and the region (4,) if released.

    Returns
    -------
    Frames
        `energy` (a.u.); `region` is None where it was not released.

    Raises
    ------
    InconsistentData
        There are fewer times than frames, or the region does not lie in a picture.
    """
    reader = Reader(files)
    named = by_name(d for d in files if d.kind == "motion_energy")
    energies, regions = (
        [d for name, d in named.items() if name.endswith(ending)]
        for ending in ("Camera.ROIMotionEnergy.npy", "ROIMotionEnergy.position.npy")
    )
    record = energies[0] if energies else need(reader, {}, "Camera.ROIMotionEnergy.npy")
    times = _times_of(reader, record)
    reader.read_ahead([record, times, *regions])
    array, path = reader.array(record), reader.path(record)
    frame = pd.DataFrame(
        {"energy": checked(vector(array, path), "motion_energy", "ROIMotionEnergy", path)}
    )
    region = _read_region(reader, regions[0]) if regions else None
    return _on_frames(reader, record, times, frame, region)


def _the_file(reader: Reader, kind: str) -> DatasetRecord:
    """Choose the one file of a kind."""
    named = by_name(d for d in reader.offered if d.kind == kind)
    return need(reader, named, next(iter(named), f"A file of {kind}"))


def _times_of(reader: Reader, record: DatasetRecord) -> DatasetRecord:
    named = by_name(d for d in reader.offered if d.kind == "frame_times")
    return need(reader, named, f"_ibl_{place(record.path).camera}Camera.times.npy")


def _point_columns(table: pd.DataFrame, path: Path) -> list[str]:
    names = [str(name) for name in table]
    pattern = f"(.+)_(?:{'|'.join(_OF_A_POINT)})"
    points = dict.fromkeys(match[1] for n in names if (match := re.fullmatch(pattern, n)))
    if not points:
        raise InconsistentData("It has no column of a point, as nose_tip_x is.", path, REPORT)
    wanted = [f"{point}_{part}" for point in points for part in _OF_A_POINT]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise InconsistentData(f"It lacks the column {missing[0]}.", path, REPORT)
    return wanted


def _read_region(reader: Reader, record: DatasetRecord) -> tuple[int, int, int, int]:
    array, path = reader.array(record), reader.path(record)
    if array.shape != (4,):
        what = f"An array of {array.shape} instead of 4: x, y, width, height."
        raise InconsistentData(what, path, REPORT)
    numbers = checked(array, "motion_energy", "position", path)
    refuse(numbers < [0, 0, 1, 1], numbers, "not x, y, width, height", path, "position")
    x, y, width, height = map(int, numbers)
    return x, y, width, height


def _on_frames(
    reader: Reader,
    record: DatasetRecord,
    times_record: DatasetRecord,
    frame: pd.DataFrame,
    region: tuple[int, int, int, int] | None = None,
) -> Frames:
    """Give each frame its time: the last times are those of the frames."""
    times = read_times(reader, times_record, "frame_times")
    n_dropped = len(times) - len(frame)
    if n_dropped < 0:
        what = f"{len(frame)} frames, and only {len(times)} times in {reader.path(times_record)}."
        raise InconsistentData(what, reader.path(record), _TOO_SHORT)
    return Frames(times[n_dropped:], frame, n_dropped, region, reader.files)
