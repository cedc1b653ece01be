"""Saturation of raw recordings: samples by the clock of the probe, or seconds."""

import numpy as np
import pytest
from scipy.interpolate import interp1d

from schemas.errors import InconsistentData, MissingDataset
from schemas.sources import alf
from tests.support.alf import write

PLACE = "raw_ephys_data/probe00/"
SAMPLES = f"{PLACE}_iblqc_ephysSaturationAP.samples.pqt"
CLOCK = f"{PLACE}_spikeglx_ephysData_g0_t0.imec0.timestamps.npy"
POINTS = np.c_[[300.0, 30_000.0, 90_000.0], [1.0, 2.01, 4.0]]
START = np.array([0, 300, 20_000, 30_000, 61_234, 90_000, 120_000])
STOP = START + np.array([5, 200, 0, 1, 20_000, 3, 9_000])


def read(folder, **files):
    return alf.KINDS["saturation"].reader(write(folder, files))


def table(start=START, stop=STOP):
    return {"start_sample": start, "stop_sample": stop}


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (SAMPLES, "saturation"),
        ("alf/probe00/_iblqc_ephysSaturation.intervals.npy", "saturation"),
        ("raw_ephys_data/probe00a/_iblqc_ephysSaturation.samples.pqt", "saturation"),
        ("raw_ephys_data/probe00/_iblqc_ephysSaturation.samples.npy", "other"),
        ("raw_ephys_data/_iblqc_ephysSaturation.samples.pqt", "other"),
        (CLOCK, "raw_clock"),
        ("raw_ephys_data/probe00/_iblqc_ephysTimeRmsAP.timestamps.npy", "rms"),
    ],
)
def test_the_kind_of_a_path(path, kind):
    assert alf.classify(path) == kind


def test_samples_become_seconds_as_by_interpolation_and_extrapolation(tmp_path):
    """`samples2times` of brainbox is scipy's `interp1d` with `fill_value="extrapolate"`."""
    found = read(tmp_path, **{SAMPLES: table(), CLOCK: POINTS})
    expected = interp1d(*POINTS.T, fill_value="extrapolate")
    assert np.allclose(found.start, expected(START), rtol=0, atol=1e-9)
    assert np.allclose(found.stop, expected(STOP), rtol=0, atol=1e-9)
    assert [file.path for file in found.files] == [SAMPLES, CLOCK]
    assert all(file.md5 for file in found.files)


def test_values_worked_out_here(tmp_path):
    """30,000 samples a second, and 0.5 s late."""
    points = np.c_[[0.0, 30_000.0], [0.5, 1.5]]
    found = read(tmp_path, **{SAMPLES: table([3_000, 60_000], [6_000, 75_000]), CLOCK: points})
    assert found.start.tolist() == [0.6, 2.5]
    assert found.stop.tolist() == [0.7, 3.0]


@pytest.mark.parametrize("end", ["npy", "pqt"])
def test_seconds_are_read_as_they_are_and_before_samples(tmp_path, end):
    start, stop = np.array([1.5, 2.5]), np.array([1.75, 2.5])
    content = np.c_[start, stop] if end == "npy" else {"intervals_0": start, "intervals_1": stop}
    path = f"{PLACE}_iblqc_ephysSaturationAP.intervals.{end}"
    found = read(tmp_path, **{SAMPLES: table(), path: content})
    assert found.start.tolist() == start.tolist()
    assert found.stop.tolist() == stop.tolist()
    assert found.files[0].path == path
    assert found.files[1].md5 is None


def test_no_interval_needs_no_clock(tmp_path):
    found = read(tmp_path, **{SAMPLES: table(np.empty(0), np.empty(0))})
    assert len(found.start) == len(found.stop) == 0
    assert found.start.dtype == np.float64


@pytest.mark.parametrize(
    ("content", "clock", "says"),
    [
        (table(), None, "clock of the raw recording (timestamps.npy) is not among"),
        (table(), POINTS[:1], "Its 1 points (sample, time) give nan samples per second"),
        (table(), POINTS * [[1, 1000]], "give 29.7783 samples per second"),
        (table(), POINTS.T[:1].T, "An array of"),
        (table(STOP, START), POINTS, "in row 0 lasts from 5 to 0"),
        (table(START[::-1], STOP[::-1]), POINTS, "start_sample in row 1"),
        (table(START + 0.5), POINTS, "start_sample in row 0 is 0.5"),
        (table(-START), POINTS, "start_sample in row 1 is -300"),
        ({"start_sample": START}, POINTS, "lacks the column stop_sample"),
        ({"start": START, "stop": STOP}, POINTS, "lacks the column start_sample"),
    ],
)
def test_a_wrong_file_is_one_error(tmp_path, content, clock, says):
    files = {SAMPLES: content} | ({} if clock is None else {CLOCK: clock})
    with pytest.raises((InconsistentData, MissingDataset)) as refused:
        read(tmp_path, **files)
    assert says in str(refused.value)
