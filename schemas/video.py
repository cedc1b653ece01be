"""Three cameras: times of their frames, and what was measured on them."""

from __future__ import annotations

from typing import Any

import datajoint as dj

from schemas import imported, rows, session, storage
from schemas.sources import data
from schemas.sources.records import CAMERAS, TRACKERS

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
    contents = rows.lookup("camera, frame_rate", *CAMERAS.items())


@schema
class Tracker(dj.Lookup):
    """What tracked points on the frames."""

    definition = """
    # one row per tracker of points
    tracker : varchar(16)  # name
    """
    contents = rows.lookup("tracker", *((name,) for name in TRACKERS))


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


class FromCameraFiles(imported.ImportedFromFiles):
    """Shared by the tables that are read from the files of a camera."""

    candidates: Any = imported.KeyProduct(session.Session, Camera)

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Listed datasets of each key, every revision included."""
        of_camera = CameraDataset.proj("camera", dataset_tracker="tracker")
        return imported.listed_datasets(*self.kinds) * of_camera


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

    kinds = ("frame_times",)
    lengths = (("frame_times", "n_frame_times"),)

    def as_rows(self, loaded: data.Times) -> imported.AsRows:
        """Return the times, their number and their span."""
        packed = storage.pack({"time": loaded.time})
        span = imported.span("first_frame, last_frame", loaded.time)
        return {"n_frame_times": packed.n_rows, **span, "frame_times": packed}, {}


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

    kinds = ("pose", "frame_times")
    lengths = (("pose", "n_pose_frames"),)
    candidates = imported.KeyProduct(session.Session, Camera, Tracker)

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """All revisions of the listed datasets; the times of frames belong to every tracker."""
        own = ["dataset_tracker = tracker", "dataset_tracker IS NULL"]
        return super().listed * Tracker & own

    def as_rows(self, loaded: data.Frames) -> imported.AsRows:
        """Return the table of points, and the name of each point."""
        points = dict.fromkeys(name.rpartition("_")[0] for name in loaded.frame.columns)
        packed = _pack(loaded)
        row = {"n_pose_frames": packed.n_rows, "n_pose_dropped": loaded.n_dropped, "pose": packed}
        return row, {"Point": [{"pose_point": name} for name in points]}


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

    kinds = ("pupil", "frame_times")
    lengths = (("pupil", "n_pupil_frames"),)

    def as_rows(self, loaded: data.Frames) -> imported.AsRows:
        """Return the table of diameters and its length."""
        packed = _pack(loaded)
        counts = {"n_pupil_frames": packed.n_rows, "n_pupil_dropped": loaded.n_dropped}
        return {**counts, "pupil": packed}, {}


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

    kinds = ("motion_energy", "frame_times")
    lengths = (("motion_energy", "n_energy_frames"),)

    def as_rows(self, loaded: data.Frames) -> imported.AsRows:
        """Return the motion energy, its length and its region of interest."""
        packed = _pack(loaded)
        region = dict(zip(REGION, loaded.region or [None] * len(REGION), strict=True))
        counts = {"n_energy_frames": packed.n_rows, "n_energy_dropped": loaded.n_dropped}
        return {**counts, **region, "motion_energy": packed}, {}


REGION = ("region_x", "region_y", "region_width", "region_height")


@schema
class Licks(imported.ImportedFromFiles, dj.Imported):
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

    kinds = ("licks",)
    lengths = (("licks", "n_licks"),)

    def as_rows(self, loaded: data.Times) -> imported.AsRows:
        """Return the times, their number and their span."""
        packed = storage.pack({"time": loaded.time})
        span = imported.span("first_lick, last_lick", loaded.time)
        return {"n_licks": packed.n_rows, **span, "licks": packed}, {}


def _pack(frames: data.Frames) -> storage.Packed:
    columns = {name: frames.frame[name].to_numpy() for name in frames.frame}
    return storage.pack({"time": frames.time, **columns})
