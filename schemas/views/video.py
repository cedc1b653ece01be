"""What the cameras saw, and the passive protocol, as frames and arrays."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import passive, rows, video
from schemas.errors import QueryError
from schemas.views.errata import one_warning, warn_of
from schemas.views.frames import POPULATE
from schemas.views.session import require, session_key


def fetch_pupil(recording: str, camera: str | None = None) -> pd.DataFrame:
    """Fetch the diameter of the pupil.

    Parameters
    ----------
    recording : str
        eid of the session, or pid of one of its insertions.
    camera : str, optional
        A row of `video.Camera`; default the only camera of the session with such data.

    Returns
    -------
    pandas.DataFrame
        One row per video frame: `time` (s), `diameter_raw` and `diameter_smooth` (px).

    Raises
    ------
    QueryError
        No such recording or camera, the pupil is not imported, or there are several cameras.
    """
    return _read(video.Pupil, "pupil", "pupil", recording, camera)


def fetch_motion_energy(recording: str, camera: str | None = None) -> pd.DataFrame:
    """Fetch the motion energy in the region of interest of a camera.

    Parameters
    ----------
    recording, camera
        As in `fetch_pupil`.

    Returns
    -------
    pandas.DataFrame
        One row per video frame: `time` (s), `energy` (a.u.).

    Raises
    ------
    QueryError
        As `fetch_pupil`.
    """
    return _read(video.MotionEnergy, "motion_energy", "motion energy", recording, camera)


def fetch_pose(
    recording: str,
    camera: str | None = None,
    tracker: str | None = None,
    min_likelihood: float = 0.9,
) -> pd.DataFrame:
    """Fetch the tracked points, with the speed of each.

    Parameters
    ----------
    recording, camera
        As in `fetch_pupil`.
    tracker : str, optional
        A row of `video.Tracker`; default the only tracker of the camera with a pose.
    min_likelihood : float
        Places with a lower likelihood are NaN, and so are the speeds beside them.

    Returns
    -------
    pandas.DataFrame
        One row per video frame: `time` (s); of each point `_x` and `_y` (px), `_likelihood`, and
        `_speed` (px/s), the distance to the place in the frame before over the time between.

    Raises
    ------
    QueryError
        As `fetch_pupil`, or there are several trackers.
    """
    more = {}
    if tracker is not None:
        require(video.Tracker, "tracker", tracker)
        more["tracker"] = tracker
    table = _read(video.Pose, "pose", "pose", recording, camera, more)
    points = [name.removesuffix("_x") for name in table if name.endswith("_x")]
    speeds = {}
    for point in points:
        names = [f"{point}_x", f"{point}_y"]
        table.loc[~(table[f"{point}_likelihood"] >= min_likelihood), names] = np.nan
        steps = np.diff(table[names].to_numpy(float), axis=0, prepend=np.nan)
        between = np.diff(table.time.to_numpy(float), prepend=np.nan)
        speeds[f"{point}_speed"] = np.hypot(*steps.T) / between
    return pd.concat([table, pd.DataFrame(speeds)], axis=1)


def fetch_licks(recording: str) -> np.ndarray:
    """Fetch the times of licks (s), ascending.

    Parameters
    ----------
    recording : str
        As in `fetch_pupil`.

    Raises
    ------
    QueryError
        No such recording, or its licks are not imported.
    """
    row = _only(video.Licks & session_key(recording), "licks", recording)
    warn_of("licks", row)
    return row["licks"].read()["time"]


@one_warning
def fetch_passive(recording: str) -> pd.DataFrame:
    """Fetch the passive protocol: its periods, replayed stimuli and Gabor patches.

    Parameters
    ----------
    recording : str
        As in `fetch_pupil`.

    Returns
    -------
    pandas.DataFrame
        One row per period or stimulus, in the order of `start`: `what` (period, stimulus or gabor),
        `name` (of the period, or the kind of stimulus), `start` and `stop` (s; NaN where it did not
        run or was not detected), and of Gabor patches `position` (deg, right positive), `contrast`
        (fraction) and `phase`.

    Raises
    ------
    QueryError
        No such recording, or nothing of its passive protocol is imported.
    """
    key = session_key(recording)
    parts = {
        "period": rows.frame(passive.PassivePeriods.Period & key),
        "stimulus": rows.frame(passive.PassiveStimuli.Stimulus & key),
        "gabor": rows.frame(passive.PassiveGabors.Gabor & key),
    }
    if not sum(map(len, parts.values())):
        raise _missing("passive protocol", recording)
    for kind in ("passive_periods", "passive_stimuli", "passive_gabors"):
        warn_of(kind, key)
    named = {"passive_period": "name", "stimulus_kind": "name"}
    found = []
    for what, part in parts.items():
        part = part.rename(columns={f"{what}_{n}": n for n in PASSIVE_COLUMNS} | named)
        found.append(part.assign(what=what).reindex(columns=["what", "name", *PASSIVE_COLUMNS]))
    table = pd.concat([part for part in found if len(part)], ignore_index=True)
    table["name"] = table.name.fillna("gabor")
    return table.sort_values("start", ignore_index=True)


PASSIVE_COLUMNS = ("start", "stop", "position", "contrast", "phase")


def fetch_sparse_noise(recording: str) -> tuple[np.ndarray, np.ndarray]:
    """Fetch the sparse noise of the passive protocol.

    Parameters
    ----------
    recording : str
        As in `fetch_pupil`.

    Returns
    -------
    time : (F,) float array
        Onset of each frame (s).
    frames : (F, 15, 15) uint8 array
        Grey level of each square: row, column.

    Raises
    ------
    QueryError
        No such recording, its noise is not imported, or the raw stimulus was not released.
    """
    row = _only(passive.ReceptiveField & session_key(recording), "sparse noise", recording)
    if not row["has_pattern"]:
        where = f"session {row['eid']}"
        raise QueryError("the raw stimulus of the sparse noise was not released.", where)
    warn_of("receptive_field", row)
    columns = row["sparse_noise"].read()
    time = columns.pop("time")
    side = passive.SIDE
    return time, np.stack(list(columns.values()), axis=1).reshape(len(time), side, side)


def _read(
    table: type[dj.Table],
    column: str,
    what: str,
    recording: str,
    camera: str | None,
    more: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Read the stored object of the only row of a recording."""
    key = session_key(recording) | (more or {})
    if camera is not None:
        require(video.Camera, "camera", camera)
        key["camera"] = camera
    row = _only(table & key, what, recording)
    warn_of(column, row)
    return pd.DataFrame(row[column].read())


def _only(found: dj.expression.QueryExpression, what: str, recording: str) -> dict[str, Any]:
    """Return the only row, or say that there is none, or which there are."""
    held = found.to_dicts()
    if not held:
        raise _missing(what, recording)
    if len(held) > 1:
        names = [name for name in found.primary_key if len({row[name] for row in held}) > 1]
        there = "; ".join(", ".join(f"{n}={row[n]!r}" for n in names) for row in held)
        raise QueryError(f"there are {len(held)}.", f"{what} of {recording}", f"Choose: {there}.")
    return held[0]


def _missing(what: str, recording: str) -> QueryError:
    return QueryError(f"no {what} is imported.", f"recording {recording}", POPULATE)
