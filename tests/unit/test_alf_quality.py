"""Hand-made files of the quality of raw recordings."""

import numpy as np
import pytest

from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources import alf
from tests.support.alf import EID, Watched, read_paths, write

NAN = float("nan")
RAW, SORTS = "raw_ephys_data/probe00", "alf/probe00"
NAMES = {
    "rms": ("_iblqc_ephysTimeRmsAP.rms.npy", "_iblqc_ephysTimeRmsAP.timestamps.npy"),
    "spectral_density": (
        "_iblqc_ephysSpectralDensityAP.power.npy",
        "_iblqc_ephysSpectralDensityAP.freqs.npy",
    ),
}
READ = {"rms": alf.quality.read_rms, "spectral_density": alf.quality.read_spectral_density}
kinds = pytest.mark.parametrize("kind", NAMES)


def quality(kind, values=((1e-5, 2e-5, NAN), (3e-5, 4e-5, NAN)), at=(0.5, 1.5), folder=RAW):
    names = (f"{folder}/{name}" for name in NAMES[kind])
    return {n: c for n, c in zip(names, (values, at), strict=True) if c is not None}


@kinds
@pytest.mark.parametrize("dtype", ["<f4", "<f8", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("channels", [384, 385])
def test_values_are_read_as_they_were_released(tmp_path, kind, dtype, order, channels):
    values = np.random.default_rng(0).uniform(0, 1e-5, (5, channels)).astype(dtype)
    at = np.array([0.0, 0.1, 0.30000000000000004, 7.0, 8.0])
    contents = quality(kind, np.asarray(values, order=order), at)
    read = READ[kind](write(tmp_path, contents))
    assert read.at.tobytes() == at.tobytes()
    np.testing.assert_array_equal(read.values, values)
    assert read.values.dtype == np.dtype(dtype).newbyteorder("=")
    assert read_paths(read) == list(contents)


@kinds
def test_a_channel_may_not_have_been_measured(tmp_path, kind):
    read = READ[kind](write(tmp_path, quality(kind)))
    assert np.isnan(read.values).tolist() == [[False, False, True]] * 2


@kinds
def test_older_sessions_have_them_beside_their_sorts(tmp_path, kind):
    read = READ[kind](write(tmp_path, quality(kind, folder=SORTS)))
    assert read.values[1, 1] == 4e-5


@kinds
def test_the_raw_folder_is_preferred_and_the_other_not_asked_for(tmp_path, kind):
    old = quality(kind, [[9e-5], [9e-5]], folder=SORTS)
    files = Watched(write(tmp_path, old | quality(kind)))
    read = READ[kind](files)
    assert read.values[0, 0] == 1e-5
    assert sorted(files.asked) == sorted(read_paths(read)) == sorted(quality(kind))
    assert {f.path for f in read.files if f.md5 is None} == old.keys()


@kinds
def test_both_files_are_of_one_folder(tmp_path, kind):
    half = quality(kind, at=None)
    read = READ[kind](write(tmp_path, half | quality(kind, [[9e-5, 8e-5]], [3.0], folder=SORTS)))
    assert read.values.tolist() == [[9e-5, 8e-5]]
    assert set(read_paths(read)) == set(quality(kind, folder=SORTS))


@kinds
@pytest.mark.parametrize("lacking", ["values", "at"])
def test_both_files_are_needed(tmp_path, kind, lacking):
    part = NAMES[kind][lacking == "at"].split(".")[1]
    with pytest.raises(MissingDataset, match=f"The {part} of {kind} is not among") as caught:
        READ[kind](write(tmp_path, quality(kind, **{lacking: None})))
    assert EID in str(caught.value)
    # Nor is one of each folder enough.
    other = quality(kind, **{"at" if lacking == "values" else "values": None}, folder=SORTS)
    with pytest.raises(MissingDataset):
        READ[kind](write(tmp_path, quality(kind, **{lacking: None}) | other))


@kinds
@pytest.mark.parametrize(
    ("changed", "which", "fault"),
    [
        ({"values": np.zeros((3, 2))}, 0, r"\(3, 2\) instead of 2 x channels: there are 2 rows in"),
        ({"values": np.zeros(2)}, 0, r"\(2,\) instead of 2 x channels"),
        ({"values": np.zeros((2, 3, 1))}, 0, r"\(2, 3, 1\) instead of 2 x channels"),
        ({"values": [["a", "b"], ["c", "d"]]}, 0, r"(rms|power) is not numeric \(<U1\)"),
        ({"values": [[0.0, 1e-5], [2e-5, -3e-5]]}, 0, "row 1, column 1 is -3e-05"),
        ({"values": [[0.0, np.inf], [2e-5, 3e-5]]}, 0, "row 0, column 1 is inf"),
        ({"at": [1.0, 2.0, 3.0]}, 0, r"instead of 3 x channels: there are 3 rows in"),
        ({"at": [[1.0, 2.0], [2.0, 3.0]]}, 1, r"An array of \(2, 2\) instead of n"),
        ({"at": [1.0, 0.5]}, 1, "(timestamps|freqs) in row 1 is 0.5, less than 1.0"),
        ({"at": [NAN, 0.5]}, 1, "(timestamps|freqs) in row 0 is nan"),
    ],
)
def test_quality_that_contradicts_itself_is_refused(tmp_path, kind, changed, which, fault):
    with pytest.raises(InconsistentData, match=fault) as caught:
        READ[kind](write(tmp_path, quality(kind, **changed)))
    assert f"{RAW}/{NAMES[kind][which]}: " in str(caught.value)
    assert caught.value.remedy


@kinds
def test_a_transposed_table_is_refused(tmp_path, kind):
    with pytest.raises(InconsistentData, match=r"\(384, 5\) instead of 5 x channels"):
        READ[kind](write(tmp_path, quality(kind, np.zeros((384, 5)), np.arange(5.0))))


@kinds
def test_a_cut_file_is_damaged(tmp_path, kind):
    files = write(tmp_path, quality(kind))
    path = next(iter(files.values()))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DamagedFile, match="Not a readable npy file"):
        READ[kind](files)


@kinds
def test_two_bands_are_a_mistake_of_the_caller(tmp_path, kind):
    other = {path.replace("AP.", "LF."): values for path, values in quality(kind).items()}
    with pytest.raises(ValueError, match=r"more than one band: \['ap', 'lf'\]"):
        READ[kind](write(tmp_path, quality(kind) | other))


@kinds
def test_two_probes_are_a_mistake_of_the_caller(tmp_path, kind):
    other = quality(kind, folder="raw_ephys_data/probe00a")
    with pytest.raises(ValueError, match="more than one session or probe"):
        READ[kind](write(tmp_path, quality(kind) | other))
