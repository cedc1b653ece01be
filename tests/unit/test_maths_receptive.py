"""Receptive fields against loops over frames, squares and all permutations."""

import itertools
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.maths import receptive as maths
from tests.unit.test_maths_activity import packed

NAN = float("nan")
LAG = (0.25, 1.0)
quick = settings(max_examples=60, deadline=None)

grey = st.sampled_from([0, 128, 255])


@quick
@given(st.lists(st.lists(grey, min_size=3, max_size=3), min_size=1, max_size=12), grey)
def test_an_onset_is_a_change_to_the_level(frames, level):
    found = maths.find_onsets(np.array(frames, np.uint8), level)
    for f, frame in enumerate(frames):
        for s, now in enumerate(frame):
            is_onset = now == level and (f == 0 or frames[f - 1][s] != level)
            assert found[f, s] == is_onset


ticks = st.integers(0, 64).map(lambda n: n / 8)
trains = st.lists(st.lists(ticks, max_size=30).map(sorted), min_size=1, max_size=4)
noise = st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=6)


def count(train, time):
    return sum(bool(time + LAG[0] <= spike < time + LAG[1]) for spike in train)


@quick
@given(trains, noise)
def test_means_and_z_are_those_of_all_choices_of_frames(trains, noise):
    onsets = np.array(noise)
    shown = np.arange(len(onsets)) * 1.25
    found = maths.compute_fields(*packed(trains), shown, onsets, LAG, 0, 1)
    used = [f for f in range(len(onsets)) if onsets[f].any()]
    assert found["n_frames"] == len(used)
    for u, train in enumerate(trains):
        spikes = [count(train, shown[f]) for f in used]
        for square in range(4):
            after = [n for n, f in zip(spikes, used, strict=True) if onsets[f, square]]
            if not after:
                assert np.isnan(found["mean"][u, square])
                assert np.isnan(found["z"][u, square])
                continue
            assert found["mean"][u, square] == pytest.approx(statistics.fmean(after))
            # Any choice of as many frames would have been as likely.
            sums = [sum(chosen) for chosen in itertools.combinations(spikes, len(after))]
            deviation = statistics.pstdev(sums)
            if deviation == 0:
                assert np.isnan(found["z"][u, square])
            else:
                z = (sum(after) - statistics.fmean(sums)) / deviation
                assert found["z"][u, square] == pytest.approx(z, abs=1e-9)
        known = found["z"][u][~np.isnan(found["z"][u])]
        if len(known):
            assert found["z"][u, found["peak"][u]] == known.max()
            assert found["p"][u] == 1  # without permutations nothing is rarer
        else:
            assert found["peak"][u] == -1
            assert np.isnan(found["p"][u])


def sparse_noise(rng, n_frames, n_squares=30, odds=0.05):
    return rng.random((n_frames, n_squares)) < odds, np.arange(n_frames) * 0.1


def poisson_trains(rng, n_units, rate, duration):
    return [np.sort(rng.uniform(0, duration, rng.poisson(rate * duration))) for _ in range(n_units)]


def test_a_planted_field_is_found_and_p_is_rare():
    rng = np.random.default_rng(1)
    onsets, shown = sparse_noise(rng, 1500)
    trains = poisson_trains(rng, 3, 5.0, 150.0)
    for u, square in ((0, 7), (2, 21)):
        evoked = [t + rng.uniform(0.03, 0.09, rng.poisson(2)) for t in shown[onsets[:, square]]]
        trains[u] = np.sort(np.concatenate([trains[u], *evoked]))
    found = maths.compute_fields(*packed(trains), shown, onsets, (0.0, 0.1), 199, 1)
    assert found["peak"][[0, 2]].tolist() == [7, 21]
    assert found["p"][[0, 2]].tolist() == [1 / 200] * 2
    excess = [
        found["mean"][u, s] - np.delete(found["mean"][u], s).mean() for u, s in ((0, 7), (2, 21))
    ]
    n = onsets.sum(axis=0)[[7, 21]]
    assert excess == pytest.approx([2, 2], abs=4 * np.sqrt(2.5 / n.min()))
    assert found["p"][1] > 0.02


def test_without_a_field_p_is_uniform_and_seeds_repeat():
    rng = np.random.default_rng(2)
    onsets, shown = sparse_noise(rng, 400)
    trains = poisson_trains(rng, 300, 8.0, 40.0)
    found = maths.compute_fields(*packed(trains), shown, onsets, (0.0, 0.1), 99, 1)
    for level in (0.05, 0.2, 0.5):
        n = (found["p"] <= level).sum()
        assert abs(n - 300 * level) < 3.5 * np.sqrt(300 * level * (1 - level))
    again = maths.compute_fields(*packed(trains), shown, onsets, (0.0, 0.1), 99, 1)
    other = maths.compute_fields(*packed(trains), shown, onsets, (0.0, 0.1), 99, 2)
    assert (found["p"] == again["p"]).all()
    assert (found["p"] != other["p"]).any()
    assert (found["z"][~np.isnan(found["z"])] == other["z"][~np.isnan(other["z"])]).all()


def test_a_response_to_every_change_of_the_screen_makes_no_field():
    rng = np.random.default_rng(3)
    onsets, shown = sparse_noise(rng, 1200)
    onsets[::2] = False  # every second frame shows nothing new
    trains = poisson_trains(rng, 40, 2.0, 120.0)
    for u, train in enumerate(trains):
        changes = shown[onsets.any(axis=1)]
        trains[u] = np.sort(
            np.concatenate([train, changes + rng.uniform(0.02, 0.08, len(changes))])
        )
    found = maths.compute_fields(*packed(trains), shown, onsets, (0.0, 0.1), 99, 1)
    assert (found["p"] <= 0.05).sum() <= 8


@pytest.mark.parametrize("n_frames", [0, 1, 5])
def test_without_onsets_or_spikes_nothing_is_known(n_frames):
    silent = packed([[], [0.1]])
    none = np.zeros((n_frames, 4), bool)
    found = maths.compute_fields(*silent, np.arange(n_frames) * 1.0, none, LAG, 9, 1)
    assert found["n_frames"] == 0
    assert np.isnan(found["mean"]).all()
    assert found["peak"].tolist() == [-1, -1]
    assert np.isnan(found["p"]).all()
    assert found["z"].shape == (2, 4)
