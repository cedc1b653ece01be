"""The passive protocol as rows and as one object."""

import numpy as np
import pandas as pd
import pytest

from populate.workers import worker
from schemas import passive, rows
from schemas.errors import DamagedFile
from schemas.sources import data
from tests.support import prepared
from tests.support.prepared import EID, same

KEY = {"eid": EID}
FILES = {
    "passive_periods": ["alf/_ibl_passivePeriods.intervalsTable.csv"],
    "receptive_field": [
        "alf/_ibl_passiveRFM.times.npy",
        "raw_passive_data/_iblrig_RFMapStim.raw.bin",
    ],
    "passive_stimuli": ["alf/_ibl_passiveStims.table.csv"],
    "passive_gabors": ["alf/_ibl_passiveGabor.table.csv"],
}
TABLES = {
    "passive_periods": passive.PassivePeriods,
    "receptive_field": passive.ReceptiveField,
    "passive_stimuli": passive.PassiveStimuli,
    "passive_gabors": passive.PassiveGabors,
}


def add(*kinds):
    prepared.add_session()
    for kind in kinds:
        for path in FILES[kind]:
            prepared.add_file(kind, path)


def populate(*tables):
    """Make everything; return the failures as text."""
    return [error for outcome in worker.run(list(tables)) for _, error in outcome.failed]


def equal(stored, expected):
    """Whether rows hold what was loaded, column by column, missing values included."""
    for name, values in expected.items():
        np.testing.assert_array_equal(stored[name].to_numpy(dtype=np.asarray(values).dtype), values)
    return len(stored) == len(values) > 0


def test_periods(database):
    add("passive_periods")
    periods = {
        "period": ["passiveProtocol", "spontaneousActivity", "RFM", "taskReplay"],
        "start": [3600.25, 3600.5, np.nan, 4200.125],
        "stop": [4500.0, 3900.0, np.nan, 4499.0],
    }
    prepared.use(prepared.Prepared(passive_periods=data.Events(pd.DataFrame(periods))))
    assert populate(passive.PassivePeriods) == []
    assert (passive.PassivePeriods & KEY).fetch1("n_periods") == 4
    stored = rows.frame(passive.PassivePeriods.Period()).set_index("passive_period")
    stored = stored.loc[periods["period"]]
    assert equal(stored, {"period_start": periods["start"], "period_stop": periods["stop"]})


def test_sparse_noise_is_stored_to_the_byte(database):
    add("receptive_field")
    rng = np.random.default_rng(1)
    time = 3900 + np.cumsum(rng.exponential(1 / 60, 9_000))
    pattern = rng.integers(0, 256, (9_000, 225), dtype=np.uint8)
    prepared.use(prepared.Prepared(receptive_field=data.ReceptiveField(time, pattern)))
    assert populate(passive.ReceptiveField) == []
    row = (passive.ReceptiveField & KEY).fetch1()
    assert (row["n_noise_frames"], bool(row["has_pattern"])) == (9_000, True)
    assert (row["noise_start"], row["noise_stop"]) == (time[0], time[-1])
    found = row["sparse_noise"].read()
    assert len(found) == 1 + 225
    assert same(found["time"], time)
    for i in range(15):
        for j in range(15):
            assert same(found[f"square_{i:02d}_{j:02d}"], pattern[:, 15 * i + j])
    assert set(prepared.read(passive.ReceptiveField)) == set(FILES["receptive_field"])


def test_noise_without_its_pattern_has_times_only(database):
    add("receptive_field")
    noise = data.ReceptiveField(np.array([1.5, 1.75]), None)
    prepared.use(prepared.Prepared(receptive_field=noise, unread=["raw.bin"]))
    assert populate(passive.ReceptiveField) == []
    row = (passive.ReceptiveField & KEY).fetch1()
    assert not row["has_pattern"]
    assert row["sparse_noise"].columns == ("time",)
    times, raw = FILES["receptive_field"]
    assert prepared.read(passive.ReceptiveField) == {
        times: ("", prepared.md5(times), len(times)),
        raw: ("", None, None),
    }


def test_stimuli(database):
    add("passive_stimuli")
    stimuli = {
        "stimulus": ["valve", "noise", "tone", "valve"],
        "start": [1.0, 2.0, 3.5, 4.0],
        "stop": [1.125, np.nan, 3.6, 4.125],
    }
    # The index of what was loaded says nothing: rows are numbered in their order.
    frame = pd.DataFrame(stimuli, index=[7, 7, 3, 0])
    prepared.use(prepared.Prepared(passive_stimuli=data.Events(frame)))
    assert populate(passive.PassiveStimuli) == []
    assert (passive.PassiveStimuli & KEY).fetch1("n_stimuli") == 4
    stored = rows.frame(passive.PassiveStimuli.Stimulus(), order_by="stimulus")
    assert stored.stimulus.tolist() == [0, 1, 2, 3]
    assert stored.stimulus_kind.tolist() == stimuli["stimulus"]
    assert equal(stored, {"stimulus_start": stimuli["start"], "stimulus_stop": stimuli["stop"]})


def test_gabors(database):
    add("passive_gabors")
    gabors = {
        "start": [1.0, 2.0, 3.0],
        "stop": [1.3, 2.3, np.nan],
        "position": [-35.0, 35.0, 35.0],
        "contrast": [0.0625, 0.0, 1.0],
        "phase": [1.57, np.nan, 4.0],
    }
    prepared.use(prepared.Prepared(passive_gabors=data.Events(pd.DataFrame(gabors))))
    assert populate(passive.PassiveGabors) == []
    assert (passive.PassiveGabors & KEY).fetch1("n_gabors") == 3
    stored = rows.frame(passive.PassiveGabors.Gabor(), order_by="gabor")
    assert equal(stored, {f"gabor_{name}": values for name, values in gabors.items()})


@pytest.mark.parametrize("kind", FILES)
def test_what_is_not_listed_is_absent_and_what_is_damaged_failed(database, kind):
    add(kind)
    prepared.add_session(prepared.OTHER)
    prepared.use(prepared.Prepared(**{kind: DamagedFile("cannot be read.", FILES[kind][0])}))
    (error,) = populate(*TABLES.values())
    assert error.startswith("DamagedFile: ")
    for other, table in TABLES.items():
        state = database.status()[f"passive.{table.__name__}"]
        listed = other == kind
        assert (state.failed, state.pending, state.absent) == (listed, 0, 2 - listed)
        assert len(table()) == len(table.Source()) == 0
