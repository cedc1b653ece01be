"""Three cameras and what was tracked on their videos: pose, pupil, motion energy; and licks.

Paws move with the wheel, motion energy rises with it, licks follow rewards and show the tongue,
the pupil is slow and dilates after feedback. The left camera has twice the resolution of the
right one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

# Where points rest on the right camera, px.
PLACES = {
    "nose_tip": (250.0, 200.0),
    "paw_l": (230.0, 330.0),
    "paw_r": (300.0, 320.0),
    "pupil_top_r": (330.0, 120.0),
    "pupil_bottom_r": (330.0, 120.0),
    "pupil_left_r": (330.0, 120.0),
    "pupil_right_r": (330.0, 120.0),
    "tongue_end_l": (235.0, 250.0),
    "tongue_end_r": (245.0, 250.0),
    "tube_top": (220.0, 240.0),
    "tube_bottom": (220.0, 260.0),
    "tail_start": (320.0, 200.0),
}
BODY_POINTS = ("tail_start",)
# Side of the pupil that a point marks, in radii.
PUPIL_SIDES = {
    "pupil_top_r": (0.0, -1.0),
    "pupil_bottom_r": (0.0, 1.0),
    "pupil_left_r": (-1.0, 0.0),
    "pupil_right_r": (1.0, 0.0),
}
# x, y, width, height of the whisker pad, or of the body, px.
REGIONS = {"left": (420, 360, 160, 120), "right": (210, 180, 80, 60), "body": (100, 60, 400, 300)}
RESOLUTION = {"left": 2.0, "right": 1.0, "body": 1.0}
# Paw over wheel, px a radian; licking, Hz; time around a lick in which the tongue is out, s.
PAW_TRAVEL, LICK_RATE, TONGUE_OUT = 60.0, 7.0, 0.06
PUPIL_PERIODS = (40.0, 95.0, 230.0)


@dataclass(frozen=True)
class Scene:
    """What happens before the cameras: `movements` and times (s) of feedback and of licks.

    `pupil_phases` (3,) are those of the slow waves of the pupil, radians.
    """

    movements: pd.DataFrame
    feedback: np.ndarray
    licks: np.ndarray
    pupil_phases: np.ndarray


def simulate_licks(rng: np.random.Generator, rewards: np.ndarray, last: float) -> np.ndarray:
    """Draw licks (n,), s ascending: a burst after each reward, and some at any time."""
    count = rng.integers(4, 10, len(rewards))
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    burst = np.repeat(rewards + rng.uniform(0.1, 0.2, len(rewards)), count) + number / LICK_RATE
    burst += rng.uniform(-0.01, 0.01, len(burst))
    other = rng.uniform(1.0, last, rng.poisson(last / 60))
    licks = np.sort(np.r_[burst, other])
    return licks[licks < last]


def frame_times(rng: np.random.Generator, rate: float, duration: float) -> np.ndarray:
    """Draw the times of the frames of a camera (n,), s ascending, about a second off the ends."""
    n = int((duration - 2) * rate)
    return rng.uniform(0.5, 1.0) + (np.arange(n) + rng.uniform(-0.02, 0.02, n)) / rate


def simulate_pose(
    rng: np.random.Generator, scene: Scene, times: np.ndarray, camera: str, points: tuple[str, ...]
) -> pd.DataFrame:
    """Track the points on the frames of a camera.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of this tracker on this camera.
    times : ndarray, (n,)
        Of the frames, s.
    camera : str
        Key of `CAMERAS`; the body camera sees `BODY_POINTS` only.

    Returns
    -------
    DataFrame, n rows
        `{point}_x`, `{point}_y` (px), `{point}_likelihood`.
    """
    turn, _ = _movement(scene.movements, times)
    radius = pupil_diameter(scene, times) / 2
    out = _near(scene.licks, times, TONGUE_OUT)
    columns = {}
    for point in BODY_POINTS if camera == "body" else points:
        offset = np.zeros((2, len(times)))
        sure = 1 - np.minimum(rng.exponential(0.01, len(times)), 0.9)
        if point in PUPIL_SIDES:
            offset += np.outer(PUPIL_SIDES[point], radius)
        elif point.startswith("paw"):
            offset[0] += PAW_TRAVEL * turn
        elif point.startswith("tongue"):
            # A tongue that is not out is found anywhere, with little confidence.
            offset += np.where(out, 0.0, rng.normal(0, 40, (2, len(times))))
            sure = np.where(out, sure, 1 - sure)
        offset += rng.normal(0, 0.4, (2, len(times)))
        place = RESOLUTION[camera] * (np.array(PLACES[point])[:, None] + offset)
        # As many digits as say something: files stay small.
        columns[f"{point}_x"], columns[f"{point}_y"] = place.round(2)
        columns[f"{point}_likelihood"] = sure.round(3)
    return pd.DataFrame(columns)


def pupil_diameter(scene: Scene, times: np.ndarray) -> np.ndarray:
    """Diameter of the pupil on the right camera (n,), px."""
    waves = 2 * np.pi * times[:, None] / np.array(PUPIL_PERIODS) + scene.pupil_phases
    diameter = 16 + 1.2 * np.sin(waves).sum(axis=1)
    if not len(scene.feedback):
        return diameter
    last = np.searchsorted(scene.feedback, times, side="right") - 1
    since = np.where(last < 0, 0.0, times - scene.feedback[np.maximum(last, 0)])
    return diameter + 1.5 * since * np.exp(1 - since)


def simulate_features(
    rng: np.random.Generator, scene: Scene, times: np.ndarray, camera: str
) -> pd.DataFrame:
    """Measure the pupil on each frame (n rows): raw with noise and gaps, and smoothed, px."""
    smooth = RESOLUTION[camera] * pupil_diameter(scene, times)
    raw = smooth + rng.normal(0, 0.8, len(times))
    raw[rng.random(len(times)) < 0.02] = np.nan
    return pd.DataFrame(
        {"pupilDiameter_raw": raw.round(3), "pupilDiameter_smooth": smooth.round(3)}
    )


def simulate_motion_energy(rng: np.random.Generator, scene: Scene, times: np.ndarray) -> np.ndarray:
    """Measure the motion energy on each frame (n,), a.u."""
    _, speed = _movement(scene.movements, times)
    return 1.0 + rng.gamma(2.0, 0.15, len(times)) + 2.0 * speed


def _movement(movements: pd.DataFrame, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Deflection (rad, out and back) and speed (rad/s) of the wheel at each time (n,)."""
    if movements.empty:
        return np.zeros(len(times)), np.zeros(len(times))
    onset, duration, amplitude = movements[["onset", "duration", "amplitude"]].to_numpy().T
    last = np.maximum(np.searchsorted(onset, times, side="right") - 1, 0)
    share = (times - onset[last]) / duration[last]
    share = np.where((share > 0) & (share < 1), share, 0.0)
    speed = np.abs(amplitude / duration)[last] * 6 * share * (1 - share)
    return amplitude[last] * np.sin(np.pi * share), speed


def _near(events: np.ndarray, times: np.ndarray, within: float) -> np.ndarray:
    """Whether an event (ascending) is no further from each time than that (n,)."""
    first = np.searchsorted(events, times - within)
    return np.searchsorted(events, times + within, side="right") > first
