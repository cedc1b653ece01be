"""What the cameras saw, and the passive protocol, as the views give them."""

import numpy as np
import pytest

from schemas import passive, rows, session, video, views
from schemas.errors import QueryError

FROM_CAMERA = [
    (views.fetch_pupil, video.Pupil, "pupil"),
    (views.fetch_motion_energy, video.MotionEnergy, "motion_energy"),
    (views.fetch_pose, video.Pose, "pose"),
]
each_view = pytest.mark.parametrize(("fetch", "table", "column"), FROM_CAMERA)


@each_view
def test_every_stored_frame_is_fetched(populated, fetch, table, column):
    for row in table.to_dicts():
        options = {"tracker": row["tracker"], "min_likelihood": 0} if "tracker" in row else {}
        found = fetch(row["eid"], row["camera"], **options)
        for name, values in row[column].read().items():
            assert np.array_equal(found[name], values, equal_nan=True)


@each_view
def test_the_only_camera_needs_no_name_and_several_are_listed(populated, fetch, table, column):
    cameras = rows.frame(table).groupby("eid").camera.agg(list)
    several = cameras.index[cameras.map(len) > 1]
    with pytest.raises(QueryError, match=r"there are \d\. Choose: .*camera='") as told:
        fetch(several[0])
    assert all(name in str(told.value) for name in cameras[several[0]])


@each_view
def test_what_is_not_there_is_one_error(populated, fetch, table, column):
    (eid, *_) = (session.Session - table.proj()).keys()
    with pytest.raises(QueryError, match="is imported"):
        fetch(eid["eid"])
    with pytest.raises(QueryError, match="no camera 'top'"):
        fetch(eid["eid"], "top")


def test_speeds_are_distances_over_times_where_both_places_are_likely(populated):
    row = video.Pose.to_dicts()[0]
    point = (video.Pose.Point & {k: row[k] for k in video.Pose.primary_key}).to_arrays(
        "pose_point"
    )[0]
    found = views.fetch_pose(row["eid"], row["camera"], row["tracker"], min_likelihood=0.5)
    held = row["pose"].read()
    likely = held[f"{point}_likelihood"] >= 0.5
    assert 0 < likely.sum() < len(likely) or likely.all()
    for k in range(1, min(len(likely), 300)):
        step = [held[f"{point}_{axis}"][k] - held[f"{point}_{axis}"][k - 1] for axis in "xy"]
        expected = np.hypot(*step) / (held["time"][k] - held["time"][k - 1])
        speed = found[f"{point}_speed"][k]
        if likely[k] and likely[k - 1]:
            assert speed == pytest.approx(expected, nan_ok=True)
        else:
            assert np.isnan(speed)
            assert likely[k] or np.isnan(found[f"{point}_x"][k])
    assert np.isnan(found[f"{point}_speed"][0])


def test_licks_are_ascending_times(populated):
    row = video.Licks.to_dicts()[0]
    found = views.fetch_licks(row["eid"])
    assert len(found) == row["n_licks"] > 0
    assert (np.diff(found) >= 0).all()
    assert (found[0], found[-1]) == (row["first_lick"], row["last_lick"])


def test_the_passive_protocol_is_in_the_order_of_time(populated):
    chosen = session.Session & passive.PassiveStimuli.proj() & passive.PassiveGabors.proj()
    (key,) = (chosen & passive.PassivePeriods.proj()).keys()[:1]
    found = views.fetch_passive(key["eid"])
    counts = found.what.value_counts()
    assert counts.to_dict() == {
        "gabor": len(passive.PassiveGabors.Gabor & key),
        "stimulus": len(passive.PassiveStimuli.Stimulus & key),
        "period": len(passive.PassivePeriods.Period & key),
    }
    assert found.start.dropna().is_monotonic_increasing
    gabor = rows.frame(passive.PassiveGabors.Gabor & key)
    shown = found[found.what == "gabor"].sort_values("start")
    expected = gabor.sort_values("gabor_start")
    for name in ("start", "stop", "position", "contrast", "phase"):
        assert np.array_equal(shown[name], expected[f"gabor_{name}"].astype(float), equal_nan=True)
    assert set(found.name[found.what == "stimulus"]) <= {"valve", "tone", "noise"}


def test_sparse_noise_is_an_array_of_frames(populated):
    row = (passive.ReceptiveField & "has_pattern").to_dicts()[0]
    time, frames = views.fetch_sparse_noise(row["eid"])
    held = row["sparse_noise"].read()
    assert frames.shape == (len(time), 15, 15) == (row["n_noise_frames"], 15, 15)
    assert (frames[:, 3, 7] == held["square_03_07"]).all()
    assert (time == held["time"]).all()
    without = (passive.ReceptiveField & "NOT has_pattern").keys()
    for key in without[:1]:
        with pytest.raises(QueryError, match="was not released"):
            views.fetch_sparse_noise(key["eid"])
