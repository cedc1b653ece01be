"""Hand-made files of the waveforms of units."""

import numpy as np
import pytest

from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources import alf
from tests.support.alf import Watched, read_paths, write

NAN = float("nan")
SORT = "alf/probe00/pykilosort"
READ = alf.waveforms.read_waveforms


def waveforms(of="clusters", values=None, channels=((5, 6), (7, -1), (0, 1)), folder=SORT):
    values = 1e-4 * np.arange(24).reshape(3, 4, 2) if values is None else values
    names = (f"{folder}/{of}.{name}.npy" for name in ("waveforms", "waveformsChannels"))
    given = (values, channels)
    return {name: c for name, c in zip(names, given, strict=True) if c is not None}


@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4", "<f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_waveforms_are_read_as_they_were_released(tmp_path, dtype, order):
    values = np.random.default_rng(0).uniform(-1e-3, 1e-3, (3, 4, 2)).astype(dtype)
    values[1] = 0
    contents = waveforms(values=np.asarray(values, order=order))
    read = READ(write(tmp_path, contents))
    np.testing.assert_array_equal(read.waveform, values.astype(float))
    assert read.waveform.dtype == ("<f8" if dtype == "<f8" else "<f4")
    assert read.channel.tolist() == [[5, 6], [7, -1], [0, 1]]
    assert (read.of, read_paths(read)) == ("clusters", list(contents))


def test_a_unit_without_a_waveform_is_nan(tmp_path):
    values = np.full((3, 4, 2), 1e-4)
    values[1] = NAN
    read = READ(write(tmp_path, waveforms(values=values)))
    np.testing.assert_array_equal(read.waveform, values)


def test_templates_are_read_where_those_of_clusters_are_not_whole(tmp_path):
    templates = waveforms("templates", values=np.full((2, 4, 2), 1e-4), channels=((1, 2), (3, 4)))
    read = READ(write(tmp_path / "a", templates))
    assert (read.of, len(read.waveform)) == ("templates", 2)
    read = READ(write(tmp_path / "b", templates | waveforms(channels=None)))
    assert (read.of, read_paths(read)) == ("templates", list(templates))


def test_templates_are_not_opened_where_those_of_clusters_are_there(tmp_path):
    files = Watched(write(tmp_path, waveforms("templates", values=[[[1e9]]]) | waveforms()))
    read = READ(files)
    assert (read.of, len(read.waveform)) == ("clusters", 3)
    assert not [path for path in files.asked if "templates" in path]
    assert sorted(file.path for file in read.files) == sorted(r.path for r in files)


def test_one_channel_and_no_unit(tmp_path):
    read = READ(write(tmp_path / "a", waveforms(values=np.zeros((3, 4, 1)), channels=[[3]] * 3)))
    assert (read.waveform.shape, read.channel.shape) == ((3, 4, 1), (3, 1))
    empty = waveforms(values=np.empty((0, 4, 2)), channels=np.empty((0, 2), int))
    read = READ(write(tmp_path / "b", empty))
    assert (read.waveform.shape, read.channel.shape) == ((0, 4, 2), (0, 2))


@pytest.mark.parametrize(
    ("contents", "error", "says"),
    [
        (waveforms(channels=None), MissingDataset, "clusters.waveformsChannels.npy is not among"),
        (waveforms("templates", channels=None), MissingDataset, "clusters.waveforms.npy"),
        (waveforms(channels=[[1, 2]] * 2), InconsistentData, r"\(3, 4, 2\).*2 x 2 channels"),
        (waveforms(channels=[[1, 2, 3]] * 3), InconsistentData, "3 x 3 channels"),
        (waveforms(values=np.zeros((3, 8))), InconsistentData, "instead of units x samples"),
        (waveforms(channels=[[1, -2]] * 3), InconsistentData, "row 0, column 1 is -2, not within"),
        (waveforms(channels=[[1, 1.5]] * 3), InconsistentData, "not a whole number"),
        (waveforms(values=np.full((3, 4, 2), 60.0)), InconsistentData, "not within -0.2 to 0.2 V"),
        (waveforms(values=np.full((3, 4, 2), -0.06)), InconsistentData, "in another unit"),
        (waveforms(values=np.full((3, 4, 2), np.inf)), InconsistentData, "is inf"),
        ({**waveforms(), f"{SORT}/clusters.waveforms.npy": b"no"}, DamagedFile, "npy file"),
    ],
)
def test_what_is_no_waveform_is_refused(tmp_path, contents, error, says):
    with pytest.raises(error, match=says):
        READ(write(tmp_path, contents))
