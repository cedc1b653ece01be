"""Hand-made files of the passive protocol."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.errors import DamagedFile, InconsistentData, MissingDataset
from schemas.sources import alf
from tests.support.alf import Watched, read_paths, write

PERIODS = "alf/_ibl_passivePeriods.intervalsTable.csv"
STIMULI = "alf/_ibl_passiveStims.table.csv"
GABORS = "alf/_ibl_passiveGabor.table.csv"
NOISE_TIMES = "alf/_ibl_passiveRFM.times.npy"
NOISE = "raw_passive_data/_iblrig_RFMapStim.raw.bin"
on_any_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40
)


def text(*lines):
    return "\n".join([*lines, ""]).encode()


# --- periods ------------------------------------------------------------------------------------

HEAD = ",passiveProtocol,spontaneousActivity,RFM,taskReplay"


@pytest.mark.parametrize(
    "lines",
    [
        ("start,10.5,10.5,400.0,350.25", "stop,700,340.125,600.5,399.0"),
        ("stop,700,340.125,600.5,399.0", "start,10.5,10.5,400.0,350.25"),
    ],
)
def test_periods_are_rows_in_order_of_their_start(tmp_path, lines):
    periods = alf.passive.read_passive_periods(write(tmp_path, {PERIODS: text(HEAD, *lines)}))
    assert periods.frame.to_dict("list") == {
        "period": ["passiveProtocol", "spontaneousActivity", "taskReplay", "RFM"],
        "start": [10.5, 10.5, 350.25, 400.0],
        "stop": [700.0, 340.125, 399.0, 600.5],
    }
    assert read_paths(periods) == [PERIODS]


def test_a_protocol_that_was_not_run_has_no_period(tmp_path):
    contents = {PERIODS: text(HEAD, "start,,,,", "stop,,,,")}
    assert alf.passive.read_passive_periods(write(tmp_path, contents)).frame.empty


@pytest.mark.parametrize("nothing", ["", "nan", "NaN"])
def test_a_period_that_was_not_shown_is_left_out(tmp_path, nothing):
    lines = f"start,1,1,{nothing},3", f"stop,9,2,{nothing},4"
    periods = alf.passive.read_passive_periods(write(tmp_path, {PERIODS: text(HEAD, *lines)}))
    assert "RFM" not in periods.frame["period"].tolist()
    assert len(periods.frame) == 3


@on_any_folder
@given(start=st.floats(0, 1e4), length=st.floats(0, 1e4))
def test_times_of_periods_are_read_to_the_last_bit(tmp_path_factory, start, length):
    stop = start + length
    table = text(",RFM", f"start,{start!r}", f"stop,{stop!r}")
    frame = alf.passive.read_passive_periods(
        write(tmp_path_factory.mktemp("p"), {PERIODS: table})
    ).frame
    assert frame.to_dict("list") == {"period": ["RFM"], "start": [start], "stop": [stop]}


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ((",", "start,", "stop,"), "It has no period"),
        ((",quietProtocol", "start,1", "stop,2"), "It has no period"),
        ((HEAD, "start,1,1,3,4"), r"rows are \['start'\] instead of start and stop"),
        ((HEAD, "start,1,1,3,4", "start,2,2,4,5"), "instead of start and stop"),
        ((HEAD, "start,1,1,3,4", "end,2,2,4,5"), "instead of start and stop"),
        ((HEAD, "start,1,1,3,4", ",2,2,4,5"), "instead of start and stop"),
        ((HEAD, "start,1,1,3,4", "stop,2,2,,5"), "RFM lasts from 3.0 s to nan s"),
        ((HEAD, "start,1,1,3,4", "stop,2,2,2.5,5"), "RFM lasts from 3.0 s to 2.5 s"),
        ((HEAD, "start,1,1,-3,4", "stop,2,2,4,5"), "start in row 2 is -3.0"),
        ((HEAD, "start,1,1,3,4", "stop,2,2,inf,5"), "stop in row 2 is inf"),
        ((HEAD, "start,1,1,soon,4", "stop,2,2,4,5"), "start is not numeric .*soon"),
    ],
)
def test_periods_that_contradict_themselves_are_refused(tmp_path, lines, fault):
    with pytest.raises(InconsistentData, match=fault) as caught:
        alf.passive.read_passive_periods(write(tmp_path, {PERIODS: text(*lines)}))
    assert PERIODS in str(caught.value)
    assert caught.value.remedy


# --- stimuli ------------------------------------------------------------------------------------

REPLAYED = {
    "valveOn": [10.0, 30.0, np.nan],
    "valveOff": [10.1, 30.1, np.nan],
    "toneOn": [5.0, 20.0, 40.0],
    "toneOff": [5.5, 20.5, 40.5],
    "noiseOn": [np.nan, 25.0, np.nan],
    "noiseOff": [np.nan, 25.5, np.nan],
}


def test_stimuli_are_rows_in_order_of_their_start(tmp_path):
    stimuli = alf.passive.read_passive_stimuli(write(tmp_path, {STIMULI: REPLAYED}))
    assert stimuli.frame.to_dict("list") == {
        "stimulus": ["tone", "valve", "tone", "noise", "valve", "tone"],
        "start": [5.0, 10.0, 20.0, 25.0, 30.0, 40.0],
        "stop": [5.5, 10.1, 20.5, 25.5, 30.1, 40.5],
    }
    assert read_paths(stimuli) == [STIMULI]


@on_any_folder
@given(counts=st.tuples(*[st.integers(0, 40)] * 3))
def test_every_stimulus_is_a_row(tmp_path_factory, counts):
    names, rows = ("valve", "tone", "noise"), max(*counts, 1)
    table = pd.DataFrame(index=range(rows))
    for name, count in zip(names, counts, strict=True):
        table[f"{name}On"] = np.where(np.arange(rows) < count, np.arange(rows) + 1.0, np.nan)
        table[f"{name}Off"] = table[f"{name}On"] + 0.5
    files = write(tmp_path_factory.mktemp("stimuli"), {STIMULI: table})
    frame = alf.passive.read_passive_stimuli(files).frame
    assert tuple((frame["stimulus"] == name).sum() for name in names) == counts
    assert frame["start"].is_monotonic_increasing
    assert frame.index.tolist() == list(range(sum(counts)))
    np.testing.assert_array_equal(frame["stop"] - frame["start"], 0.5)


def test_a_numbered_table_is_read_as_well(tmp_path):
    table = pd.DataFrame(REPLAYED)
    numbered = table.to_csv().encode()
    pd.testing.assert_frame_equal(
        alf.passive.read_passive_stimuli(write(tmp_path / "a", {STIMULI: numbered})).frame,
        alf.passive.read_passive_stimuli(write(tmp_path / "b", {STIMULI: table})).frame,
    )


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"toneOff": None}, "lacks the column toneOff"),
        ({"toneOn": [20.0, 5.0, 40.0]}, "toneOn in row 1 is 5.0, less than 20.0"),
        ({"toneOn": [5.0, np.inf, 40.0]}, "toneOn in row 1 is inf"),
        ({"valveOn": [-10.0, 30.0, np.nan]}, "valveOn in row 0 is -10.0"),
        ({"valveOff": [10.1, 29.0, np.nan]}, "valve lasts from 30.0 s to 29.0 s"),
        ({"valveOff": [np.nan, 30.1, np.nan]}, "valve lasts from 10.0 s to nan s"),
        ({"noiseOn": [np.nan] * 3}, "noise lasts from nan s to 25.5 s"),
        ({"noiseOn": ["a", "b", "c"]}, "noiseOn is not numeric"),
    ],
)
def test_stimuli_that_contradict_themselves_are_refused(tmp_path, changed, fault):
    table = {name: values for name, values in (REPLAYED | changed).items() if values is not None}
    with pytest.raises(InconsistentData, match=fault) as caught:
        alf.passive.read_passive_stimuli(write(tmp_path, {STIMULI: table}))
    assert STIMULI in str(caught.value)
    assert caught.value.remedy


# --- Gabor patches ------------------------------------------------------------------------------

PATCHES = {
    "start": [1.0, 2.0, 3.0],
    "stop": [1.3, 2.3, 3.3],
    "position": [-35.0, 35.0, 35.0],
    "contrast": [0.0, 0.0625, 1.0],
    "phase": [0.1, 3.0, 6.2],
}


def test_patches_are_read_as_they_were_released(tmp_path):
    gabors = alf.passive.read_passive_gabors(write(tmp_path, {GABORS: PATCHES | {"id": [7, 8, 9]}}))
    assert gabors.frame.to_dict("list") == PATCHES
    assert read_paths(gabors) == [GABORS]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"phase": None}, "lacks the column phase"),
        ({"start": [1.0, np.nan, 3.0]}, "start in row 1 is nan"),
        ({"start": [2.0, 1.0, 3.0]}, "start in row 1 is 1.0, less than 2.0"),
        ({"stop": [1.3, 1.9, 3.3]}, "Row 1 lasts from 2.0 s to 1.9 s"),
        ({"stop": [1.3, np.nan, 3.3]}, "stop in row 1 is nan"),
        ({"contrast": [0.0, 6.25, 100.0]}, "contrast in row 1 is 6.25, not within 0 to 1 fraction"),
        ({"contrast": [0.0, -0.25, 1.0]}, "contrast in row 1 is -0.25, not within 0 to 1"),
        ({"position": [-35.0, 35.0, np.nan]}, "position in row 2 is nan, not within"),
        ({"phase": [np.inf, 0.0, 0.0]}, "phase in row 0 is inf, not within"),
        ({"position": ["left", "right", "left"]}, "position is not numeric"),
    ],
)
def test_patches_that_contradict_themselves_are_refused(tmp_path, changed, fault):
    table = {name: values for name, values in (PATCHES | changed).items() if values is not None}
    with pytest.raises(InconsistentData, match=fault) as caught:
        alf.passive.read_passive_gabors(write(tmp_path, {GABORS: table}))
    assert GABORS in str(caught.value)
    assert caught.value.remedy


# --- sparse noise -------------------------------------------------------------------------------


@on_any_folder
@given(n=st.integers(0, 4), seed=st.integers(0, 99))
def test_each_square_is_where_it_was_shown(tmp_path_factory, n, seed):
    shown = np.random.default_rng(seed).integers(0, 256, (15, 15, n), dtype=np.uint8)
    times = np.arange(n) / 60
    contents = {NOISE_TIMES: times, NOISE: shown.tobytes(order="F")}
    noise = alf.passive.read_receptive_field(write(tmp_path_factory.mktemp("noise"), contents))
    assert noise.time.tolist() == times.tolist()
    assert noise.pattern.shape == (n, 225)
    assert noise.pattern.dtype == np.uint8
    assert noise.pattern.flags.c_contiguous
    for frame, i, j in np.ndindex(n, 15, 15):
        assert noise.pattern[frame, 15 * i + j] == shown[i, j, frame]


def test_the_bytes_of_a_frame_run_down_its_columns(tmp_path):
    # The second byte of a file in Fortran order is square (1, 0).
    contents = {NOISE_TIMES: [1.0], NOISE: bytes([0, 1, *[2] * 223])}
    noise = alf.passive.read_receptive_field(write(tmp_path, contents))
    assert np.flatnonzero(noise.pattern[0] == 1).tolist() == [15]
    assert read_paths(noise) == [NOISE_TIMES, NOISE]


def test_noise_that_is_not_listed_has_times_alone(tmp_path):
    noise = alf.passive.read_receptive_field(write(tmp_path, {NOISE_TIMES: [1.0, 2.0]}))
    assert noise.pattern is None
    assert noise.time.tolist() == [1.0, 2.0]


def test_times_of_the_noise_are_needed(tmp_path):
    with pytest.raises(MissingDataset, match=r"_ibl_passiveRFM\.times\.npy"):
        alf.passive.read_receptive_field(write(tmp_path, {NOISE: bytes(225)}))


@pytest.mark.parametrize(
    ("contents", "name", "fault"),
    [
        ({NOISE: bytes(225)}, NOISE, "1 frames, and 2 times in .*passiveRFM"),
        ({NOISE: bytes(675)}, NOISE, "3 frames, and 2 times in .*passiveRFM"),
        ({NOISE: bytes(449)}, NOISE, "449 bytes are not whole frames of 15 x 15"),
        ({NOISE: b""}, NOISE, "0 frames, and 2 times"),
        ({NOISE_TIMES: [2.0, 1.0]}, NOISE_TIMES, "times in row 1 is 1.0, less than 2.0"),
    ],
)
def test_noise_that_contradicts_its_times_is_refused(tmp_path, contents, name, fault):
    whole = {NOISE_TIMES: [1.0, 2.0], NOISE: bytes(450)}
    with pytest.raises(InconsistentData, match=fault) as caught:
        alf.passive.read_receptive_field(write(tmp_path, whole | contents))
    assert name in str(caught.value)
    assert caught.value.remedy


# --- files --------------------------------------------------------------------------------------

READERS = {
    alf.passive.read_passive_periods: ({PERIODS: text(",RFM", "start,1", "stop,2")}, PERIODS),
    alf.passive.read_passive_stimuli: ({STIMULI: REPLAYED}, STIMULI),
    alf.passive.read_passive_gabors: ({GABORS: PATCHES}, GABORS),
}


@pytest.mark.parametrize(("read", "given"), READERS.items())
def test_tables_of_others_are_not_asked_for(tmp_path, read, given):
    contents, path = given
    every = {p: c for table, _ in READERS.values() for p, c in table.items()}
    files = Watched(write(tmp_path, every | contents))
    assert read_paths(read(files)) == [path]
    assert files.asked == [path]


@pytest.mark.parametrize("read", READERS)
def test_a_table_that_is_not_listed_is_missing(tmp_path, read):
    with pytest.raises(MissingDataset, match="is not among its datasets"):
        read(write(tmp_path, {NOISE_TIMES: [1.0]}))


@pytest.mark.parametrize(("read", "given"), READERS.items())
@pytest.mark.parametrize("content", [b"", b'a,b\n1,2,3\n"', b"\xff\xfe\x00"])
def test_a_broken_table_is_named_with_a_remedy(tmp_path, read, given, content):
    with pytest.raises((DamagedFile, InconsistentData)) as caught:
        read(write(tmp_path, {given[1]: content}))
    assert given[1] in str(caught.value)
    assert caught.value.remedy
