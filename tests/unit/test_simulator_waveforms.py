"""Simulated waveforms: as wide as planted, on the sites around the unit, of a draw of their own."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from schemas.sources.simulator import Size, ephys, session, simulate, waveforms

SIZE = Size(2, 2, 2, 40, 300.0, 30)
SAMPLE = 1e3 / waveforms.SAMPLING
"""(ms)"""


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(1)
    width = rng.choice([-1, 1], 200) * rng.uniform(0.15, 0.8, 200)
    silent = np.arange(200) == 7
    return waveforms.plan_waveforms(rng, width, silent), silent


@pytest.fixture(scope="module")
def drawn(planted):
    sites = ephys.simulate_channels(0, "3B2")
    channel = np.r_[0, 383, np.linspace(1, 382, 198).astype(int)]
    amplitude = np.linspace(5e-5, 3e-4, 200)
    return (*waveforms.simulate_waveforms(planted[0], amplitude, channel, sites), channel)


def test_trough_and_peak_are_as_far_apart_as_planted(planted, drawn):
    table, silent = planted
    largest = drawn[0][~silent, :, 0]
    of = table[~silent]
    apart = (largest.argmax(axis=1) - largest.argmin(axis=1)) * SAMPLE
    # The peak is steeper on one side: the highest sample may be the second nearest.
    assert np.abs(apart - of.waveform_width).max() < SAMPLE
    np.testing.assert_allclose(
        largest.max(axis=1) / -largest.min(axis=1), of.waveform_ratio, rtol=0.04
    )
    np.testing.assert_allclose(-largest.min(axis=1), np.linspace(5e-5, 3e-4, 200)[~silent], 1e-6)
    # Half widths counted on lines between samples, one unit after the other.
    for samples, expected in zip(largest, of.waveform_half_width, strict=True):
        fine = np.interp(np.arange(0, 81, 0.001), np.arange(82), samples)
        beyond = np.count_nonzero(fine < samples.min() / 2) * 0.001 * SAMPLE
        assert beyond == pytest.approx(expected, abs=0.6 * SAMPLE)


def test_a_silent_unit_has_none(planted, drawn):
    table, silent = planted
    assert table[silent].isna().all(axis=None)
    assert not drawn[0][silent].any()
    assert (drawn[1] >= -1).all()


def test_channels_are_those_around_the_unit(drawn):
    waveform, channels, channel = drawn
    assert (channels[:, 0] == channel).all()
    height = np.ptp(waveform, axis=1)
    assert (height[:, 1:] <= height[:, :1]).all()
    assert (channels[0] == -1).sum() == 5  # no sites below the tip
    assert (channels[1] == -1).sum() == 6
    assert not height[channels < 0].any()
    inside = channels[2:100]
    for row in inside[(inside >= 0).all(axis=1)]:
        assert len(set(row)) == len(row)


def digest(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.md5(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.*"))
        if path.is_file() and ".waveforms" not in path.name and path.name != "datasets.pqt"
    }


def test_no_other_value_depends_on_them(tmp_path, monkeypatch):
    with_waveforms = simulate(tmp_path / "a", SIZE, seed=2)
    columns = list(session.WAVEFORM_COLUMNS)

    def without(made, probe, revision, units, frame):
        return pd.DataFrame(np.nan, units.index, columns)

    monkeypatch.setattr(session, "_waveform_files", without)
    others = simulate(tmp_path / "b", SIZE, seed=2)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    names = with_waveforms.units.columns.difference(columns)
    pd.testing.assert_frame_equal(with_waveforms.units[names], others.units[names])


def test_a_release_says_what_each_sort_has(tmp_path):
    truth = simulate(tmp_path, "tiny", seed=2)
    of_sort = truth.units.groupby(["eid", "probe_name", "revision"]).waveforms_of.first()
    assert set(of_sort) == {"clusters", "templates", ""}
    files = truth.datasets.rel_path
    for (eid, probe_name, revision), of in of_sort.items():
        base = f"alf/{probe_name}/pykilosort/" + (f"#{revision}#/" if revision else "")
        listed = set(files[(truth.datasets.eid == eid) & files.str.startswith(base)])
        own = {path.removeprefix(base) for path in listed if ".waveforms" in path}
        found = {name.split(".")[0] for name in own if "/" not in name}
        assert found == ({of} if of else set())
