"""Three cameras: times of their frames, and what was measured on them."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np

from schemas import rows, session, storage
from schemas.sources import base

schema = dj.Schema()


@schema
class Camera(dj.Lookup):
    """A camera of the rig."""

    definition = """
    # one row per camera
    camera     : varchar(8)  # name; left and right are the mouse's sides
    ---
    frame_rate : float64     # (Hz) nominal frame rate
    """
    contents = rows.lookup("camera, frame_rate", *base.CAMERAS.items())


@schema
class Tracker(dj.Lookup):
    """What tracked points on the frames."""

    definition = """
    # one row per tracker of points
    tracker : varchar(16)  # name
    """
    contents = rows.lookup("tracker", *((name,) for name in base.TRACKERS))


@schema
class CameraDataset(dj.Manual):
    """Which of a session's files belong to a camera."""

    definition = """
    # one row per dataset of a camera
    -> session.Dataset
    ---
    -> Camera
    -> [nullable] Tracker
    """


class FromCameraFiles(session.ImportedFromFiles):
    """What the tables have in common that are read from the files of a camera."""

    candidates: Any = session.KeyProduct(session.Session, Camera)

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Datasets on offer for each key, every revision of them."""
        of_camera = CameraDataset.proj("camera", dataset_tracker="tracker")
        return session.listed(*self.kinds) * of_camera


@schema
class FrameTimes(FromCameraFiles, dj.Imported):
    """Times of the frames: `time` (s), often more than the video has frames."""

    definition = f"""
    # one row per session and camera with times
    -> session.Session
    -> Camera
    ---
    n_frame_times      : int32    # number of times
    first_frame = null : float64  # (s) first time; null where there is none
    last_frame = null  : float64  # (s) last time; null where there is none
    frame_times        : <parquet@{storage.STORE}>  # column time (s)
    """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("frame_times",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the times."""
        source, datasets = session.open_datasets(listed)
        times = source.load_frame_times(datasets)
        return times, storage.pack({"time": times.time})

    def make_insert(
        self, key: dict[str, Any], times: base.FrameTimes, packed: storage.Packed
    ) -> None:
        """Insert the times and the files that they were read from."""
        first, last = _span(times.time)
        summary = {"n_frame_times": packed.n_rows, "first_frame": first, "last_frame": last}
        rows.insert1(self, {**key, **summary, "frame_times": packed})
        session.insert_sources(self.Source(), key, times.files)


@schema
class Pose(FromCameraFiles, dj.Imported):
    """Points on each frame: `time` (s), and `_x`, `_y` (px), `_likelihood` of each point."""

    definition = f"""
    # one row per session, camera and tracker with a pose
    -> session.Session
    -> Camera
    -> Tracker
    ---
    n_pose_frames  : int32  # number of frames
    n_pose_dropped : int32  # first times of the camera that are left out: no frame has them
    pose           : <parquet@{storage.STORE}>  # time (s); _x, _y (px), _likelihood of each point
    """

    class Point(dj.Part):
        """A point, which three columns of the object are about."""

        definition = """
        # one row per point that is tracked
        -> master
        pose_point : varchar(32)  # name, e.g. nose_tip
        """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("pose", "frame_times")
    candidates = session.KeyProduct(session.Session, Camera, Tracker)

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Datasets on offer for each key; the times of the frames belong to every tracker."""
        own = ["dataset_tracker = tracker", "dataset_tracker IS NULL"]
        return super().listed * Tracker & own

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the points."""
        source, datasets = session.open_datasets(listed)
        pose = source.load_pose(datasets)
        return pose, _pack(pose)

    def make_insert(self, key: dict[str, Any], pose: base.Frames, packed: storage.Packed) -> None:
        """Insert the points and the files that they were read from."""
        points = dict.fromkeys(name.rpartition("_")[0] for name in pose.frame.columns)
        counts = {"n_pose_frames": packed.n_rows, "n_pose_dropped": pose.n_dropped}
        rows.insert1(self, {**key, **counts, "pose": packed})
        rows.insert(self.Point(), ({"pose_point": name} for name in points), key)
        session.insert_sources(self.Source(), key, pose.files)


@schema
class Pupil(FromCameraFiles, dj.Imported):
    """Diameter of the pupil on each frame: `time` (s), `diameter_raw`, `diameter_smooth` (px)."""

    definition = f"""
    # one row per session and camera with a pupil
    -> session.Session
    -> Camera
    ---
    n_pupil_frames  : int32  # number of frames
    n_pupil_dropped : int32  # first times of the camera that are left out: no frame has them
    pupil           : <parquet@{storage.STORE}>  # time (s), diameter_raw, diameter_smooth (px)
    """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("pupil", "frame_times")

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the diameters."""
        source, datasets = session.open_datasets(listed)
        pupil = source.load_pupil(datasets)
        return pupil, _pack(pupil)

    def make_insert(self, key: dict[str, Any], pupil: base.Frames, packed: storage.Packed) -> None:
        """Insert the diameters and the files that they were read from."""
        counts = {"n_pupil_frames": packed.n_rows, "n_pupil_dropped": pupil.n_dropped}
        rows.insert1(self, {**key, **counts, "pupil": packed})
        session.insert_sources(self.Source(), key, pupil.files)


@schema
class MotionEnergy(FromCameraFiles, dj.Imported):
    """Motion energy on each frame in a region of interest: `time` (s), `energy` (a.u.)."""

    definition = f"""
    # one row per session and camera with a motion energy
    -> session.Session
    -> Camera
    ---
    n_energy_frames      : int32  # number of frames
    n_energy_dropped     : int32  # first times of the camera that are left out
    region_x = null      : int32  # (px) left edge of the region of interest
    region_y = null      : int32  # (px) upper edge of the region of interest
    region_width = null  : int32  # (px) width of the region of interest
    region_height = null : int32  # (px) height of the region of interest
    motion_energy        : <parquet@{storage.STORE}>  # time (s), energy (a.u.)
    """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("motion_energy", "frame_times")

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the motion energy."""
        source, datasets = session.open_datasets(listed)
        energy = source.load_motion_energy(datasets)
        return energy, _pack(energy)

    def make_insert(self, key: dict[str, Any], energy: base.Frames, packed: storage.Packed) -> None:
        """Insert the motion energy and the files that it was read from."""
        region = dict(zip(REGION, energy.region or [None] * len(REGION), strict=True))
        counts = {"n_energy_frames": packed.n_rows, "n_energy_dropped": energy.n_dropped}
        rows.insert1(self, {**key, **counts, **region, "motion_energy": packed})
        session.insert_sources(self.Source(), key, energy.files)


REGION = ("region_x", "region_y", "region_width", "region_height")


@schema
class Licks(session.ImportedFromFiles, dj.Imported):
    """Times of licks, told from the tracked tongue: `time` (s)."""

    definition = f"""
    # one row per session with licks
    -> session.Session
    ---
    n_licks           : int32    # number of licks
    first_lick = null : float64  # (s) first lick; null where there is none
    last_lick = null  : float64  # (s) last lick; null where there is none
    licks             : <parquet@{storage.STORE}>  # column time (s)
    """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    kinds = ("licks",)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the licks."""
        source, datasets = session.open_datasets(listed)
        licks = source.load_licks(datasets)
        return licks, storage.pack({"time": licks.time})

    def make_insert(self, key: dict[str, Any], licks: base.Licks, packed: storage.Packed) -> None:
        """Insert the licks and the files that they were read from."""
        first, last = _span(licks.time)
        summary = {"n_licks": packed.n_rows, "first_lick": first, "last_lick": last}
        rows.insert1(self, {**key, **summary, "licks": packed})
        session.insert_sources(self.Source(), key, licks.files)


def _pack(frames: base.Frames) -> storage.Packed:
    columns = {name: frames.frame[name].to_numpy() for name in frames.frame}
    return storage.pack({"time": frames.time, **columns})


def _span(time: np.ndarray) -> tuple[float | None, float | None]:
    return (time[0], time[-1]) if len(time) else (None, None)
