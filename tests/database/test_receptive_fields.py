"""Receptive fields of units, beside loops over frames, squares and spikes."""

import shutil

import numpy as np
import pandas as pd
import pytest

from populate import catalog, stale, status
from populate.workers import worker
from schemas import ephys, passive, rows, views
from schemas.errors import DefinitionError, QueryError
from schemas.sources import simulator
from tests.support.databases import Release
from tests.support.revising import revise, withdraw

SORT = ["eid", "probe_name", "sorting_name"]
UNIT = [*SORT, "cluster_id"]
LAG = (0.03, 0.13)


def count_slowly(train, time, frames):
    """Mean counts after onsets of white and of black squares, by loops."""
    counts = [((train >= t + LAG[0]) & (train < t + LAG[1])).sum() for t in time]
    found = {}
    for name, level in (("on", 255), ("off", 0)):
        found[name] = np.full((15, 15), np.nan)
        for i in range(15):
            for j in range(15):
                after = [
                    counts[f]
                    for f in range(len(time))
                    if frames[f, i, j] == level and (f == 0 or frames[f - 1, i, j] != level)
                ]
                if after:
                    found[name][i, j] = np.mean(after)
    return found


def test_fields_are_those_of_loops_over_frames_and_squares(populated):
    eid = (passive.UnitReceptiveField & "n_field_units > 0").to_arrays("eid")[0]
    units = views.units(criterion="ibl_2022") & {"eid": eid}
    peaks, fields = views.fetch_receptive_fields(units)
    assert len(peaks) == len(units) > 0
    trains = ephys.spike_times(units)
    time, frames = views.fetch_sparse_noise(eid)
    span = rows.frame(ephys.Spikes & {"eid": eid})
    assert time[0] + LAG[0] > span.first_spike.max()
    assert time[-1] + LAG[1] < span.last_spike.min()
    n_onsets = (passive.UnitReceptiveField & units.proj()).to_arrays("n_onset_frames")
    assert set(n_onsets) <= {len(time), len(time) - 1}
    for u, unit in enumerate(peaks[UNIT].itertuples(index=False, name=None)):
        expected = count_slowly(trains[unit], time, frames)
        for name, field in expected.items():
            np.testing.assert_allclose(fields[name][u], field, rtol=1e-12)
        polarity, i, j = peaks.loc[u, ["polarity", "row", "column"]]
        if pd.isna(polarity):
            assert np.isnan(fields["on_z"][u]).all()
            assert peaks.loc[u, ["count", "z", "p", "has_field"]].isna().all()
            continue
        largest = np.nanmax([fields["on_z"][u], fields["off_z"][u]])
        assert fields[f"{polarity}_z"][u, i, j] == peaks.z[u] == largest
        assert expected[polarity][i, j] == pytest.approx(peaks["count"][u])
        assert peaks.has_field[u] == (peaks.p[u] <= 0.01)
    assert peaks.z.notna().any()


def test_fields_are_of_the_units_that_are_asked_for(populated):
    row = (passive.UnitReceptiveField & "n_field_units > 2").to_dicts()[0]
    sort = {name: row[name] for name in SORT}
    whole, fields = views.fetch_receptive_fields(views.units() & {"eid": row["eid"]})
    unit = whole.iloc[2][UNIT].to_dict()
    peaks, field = views.fetch_receptive_fields(ephys.SpikeSorting.Cluster & unit)
    pd.testing.assert_frame_equal(peaks, whole.iloc[[2]].reset_index(drop=True))
    for name, one in field.items():
        np.testing.assert_array_equal(one[0], fields[name][2])
    none, field = views.fetch_receptive_fields(ephys.SpikeSorting.Cluster & sort & "cluster_id < 0")
    assert (len(none), list(none)) == (0, list(whole))
    assert field["on"].shape == (0, 15, 15)
    with pytest.raises(QueryError, match="early"):
        views.fetch_receptive_fields(views.units(), "late")


SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}
PARENTS = ["Channels", "SpikeSorting", "Spikes", "GoodUnits", "ReceptiveField"]
FILES = "alf/_ibl_passiveRFM.times.npy", "raw_passive_data/_iblrig_RFMapStim.raw.bin"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=6, **SMALL))


def test_a_definition_is_a_row_and_one_that_makes_no_sense_says_so(database, original):
    late = {
        "field_definition": "late",
        "lag_start": 0.1,
        "lag_end": 0.2,
        "field_permutations": 9,
        "field_seed": 1,
        "field_level": 0.1,
        "criterion": None,
        "field_description": "every unit",
    }
    for wrong, says in (
        ({"lag_end": 0.1}, "lag_start is 0.1, which is not below lag_end"),
        ({"field_level": 1.5}, "not between 0 and 1"),
        ({"field_permutations": -1}, "field_permutations is -1"),
        ({"criterion": "good"}, "criterion takes no 'good'"),
    ):
        with pytest.raises(DefinitionError, match=says):
            rows.insert1(passive.FieldDefinition(), late | wrong)
    rows.insert1(passive.FieldDefinition(), late)
    database.register(original.folder)
    worker.run(catalog.find([*PARENTS, "UnitReceptiveField"]))
    assert status.failures() == []
    found = rows.frame(passive.UnitReceptiveField.Unit & {"field_definition": "late"})
    assert set(found[UNIT].itertuples(index=False, name=None)) == set(
        rows.frame(ephys.SpikeSorting.Cluster.proj()).itertuples(index=False, name=None)
    )
    silent = found.merge(rows.frame(ephys.Spikes.Unit & "n_unit_spikes = 0"), on=UNIT)
    assert len(silent)
    assert silent[["peak_polarity", "peak_row", "peak_field_z", "has_field"]].isna().all(axis=None)
    assert found.field_p.dropna().between(0.1, 1).all()


def test_noise_without_its_pattern_has_no_fields_and_replaced_noise_new_ones(
    database, original, tmp_path
):
    folder = tmp_path / "release"
    shutil.copytree(original.folder, folder)
    eid, other = original.truth.sessions.eid[:2]
    withdraw(folder, other, FILES[1])
    database.register(folder)
    worker.run(catalog.find([*PARENTS, "UnitReceptiveField"]))
    assert status.failures() == []
    has_pattern = rows.frame(passive.ReceptiveField).set_index("eid").has_pattern
    assert has_pattern.to_dict() == {eid: True, other: False}
    before = rows.frame(passive.UnitReceptiveField)
    assert set(before.eid) == {eid}
    with pytest.raises(QueryError, match="raw stimulus of the sparse noise was not released"):
        views.fetch_sparse_noise(other)
    revise(folder, eid, FILES[0], "2025-01-01", seed=3)
    database.register(folder)
    made = {done.table: done.n_done for done in stale.remake()}
    assert made["passive.UnitReceptiveField"] == len(before) > 0
    assert rows.frame(passive.UnitReceptiveField.proj()).equals(before[[*SORT, "field_definition"]])
