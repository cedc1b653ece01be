"""A simulated release that is changed after the fact."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from iblutil.io import parquet

from schemas.errors import MissingDataset, SettingsError
from schemas.sources.simulator import RESORT, Size, Truth, simulate
from tests.support.revising import revise, withdraw

SORT = f"alf/probe00/pykilosort/#{RESORT}#/"
TIMES = SORT + "spikes.times.npy"


@pytest.fixture
def truth(tmp_path):
    return simulate(tmp_path, Size(1, 1, 1, 16, 300.0, 30), seed=1)


def eid_of(truth: Truth) -> str:
    return truth.sessions["eid"].iloc[0]


def file_of(truth: Truth, path: str) -> Path:
    (s,) = truth.sessions.itertuples()
    folder = truth.folder / s.lab / "Subjects" / s.subject / str(s.date) / f"{s.number:03d}"
    return folder / path


def listed(truth: Truth) -> pd.DataFrame:
    table, info = parquet.load(truth.folder / "datasets.pqt")
    assert info["origin"] == "simulated"
    assert table.index.is_monotonic_increasing
    assert table["file_size"].dtype == "UInt64"
    assert table["default_revision"].dtype == bool
    assert table["qc"].cat.ordered
    assert not list(truth.folder.rglob("*.part"))
    return table.reset_index().set_index("rel_path")


def check_hashes(truth: Truth) -> None:
    for path, row in listed(truth).iterrows():
        if row["exists"]:
            data = file_of(truth, path).read_bytes()
            assert (hashlib.md5(data).hexdigest(), len(data)) == (row["hash"], row["file_size"])


def test_replaced_in_place(truth):
    before, old = listed(truth), np.load(file_of(truth, TIMES))
    assert revise(truth.folder, eid_of(truth), TIMES) == TIMES
    after, new = listed(truth), np.load(file_of(truth, TIMES))
    changed = [p for p in before.index if before.loc[p, "hash"] != after.loc[p, "hash"]]
    assert changed == [TIMES]
    pd.testing.assert_frame_equal(before.drop(columns="hash"), after.drop(columns="hash"))
    assert len(old) == len(new)
    assert (np.diff(new) >= 0).all()
    assert np.ptp(new - old) < 1e-9
    assert 0 < (new - old)[0] < 1e-3
    check_hashes(truth)


def test_revision_beside(truth):
    before = listed(truth)
    old = file_of(truth, TIMES).read_bytes()
    path = revise(truth.folder, eid_of(truth), TIMES, "2025-01-01")
    assert path == "alf/probe00/pykilosort/#2025-01-01#/spikes.times.npy"
    after = listed(truth)
    assert set(after.index) - set(before.index) == {path}
    assert set(before.index) <= set(after.index)
    versions = after[after.index.str.contains("probe00/.*spikes.times")]["default_revision"]
    assert versions.to_dict() == {
        "alf/probe00/pykilosort/spikes.times.npy": False,
        TIMES: False,
        path: True,
    }
    assert file_of(truth, TIMES).read_bytes() == old != file_of(truth, path).read_bytes()
    assert after["id"].is_unique
    check_hashes(truth)
    with pytest.raises(SettingsError, match="is there"):
        revise(truth.folder, eid_of(truth), TIMES, "2025-01-01")
    # ONE takes the new one now.
    from one.api import One

    one = One(cache_dir=truth.folder, mode="local")
    loaded = one.load_dataset(
        eid_of(truth), "spikes.times.npy", collection="alf/probe00/pykilosort"
    )
    np.testing.assert_array_equal(loaded, np.load(file_of(truth, path)))


def test_change_follows_from_its_arguments(truth, tmp_path_factory):
    other = simulate(tmp_path_factory.mktemp("other"), Size(1, 1, 1, 16, 300.0, 30), seed=1)
    made = [
        file_of(t, revise(t.folder, eid_of(t), TIMES, name, seed=seed)).read_bytes()
        for t, name, seed in ((truth, "2025-01-01", 4), (other, "2025-01-01", 4))
    ]
    assert made[0] == made[1]
    again = revise(truth.folder, eid_of(truth), TIMES, "2025-01-02", seed=5)
    assert file_of(truth, again).read_bytes() != made[0]
    tables = [(t.folder / "insertions.pqt").read_bytes() for t in (truth, other)]
    assert tables[0] == tables[1]


@pytest.mark.parametrize(
    "path",
    [
        SORT + "spikes.amps.npy",
        SORT + "clusters.metrics.pqt",
        SORT + "clusters.uuids.csv",
        "alf/_ibl_trials.table.pqt",
        "alf/_ibl_wheel.timestamps.npy",
        "alf/_ibl_leftCamera.times.npy",
        "alf/_ibl_leftCamera.dlc.pqt",
        "alf/_ibl_passivePeriods.intervalsTable.csv",
        "alf/_ibl_passiveGabor.table.csv",
        "raw_passive_data/_iblrig_RFMapStim.raw.bin",
        "raw_ephys_data/probe00/_iblqc_ephysTimeRmsAP.rms.npy",
    ],
)
def test_every_kind_of_file_keeps_its_form(truth, path):
    def load():
        file = file_of(truth, path)
        if path.endswith(".npy"):
            return pd.DataFrame({"": np.load(file).ravel()})
        if path.endswith(".bin"):
            return pd.DataFrame({"": np.fromfile(file, np.uint8)})
        return pd.read_parquet(file) if path.endswith(".pqt") else pd.read_csv(file)

    old = load()
    revise(truth.folder, eid_of(truth), path)
    new = load()
    assert not new.equals(old)
    assert list(new) == list(old)
    assert new.dtypes.tolist() == old.dtypes.tolist()
    assert new.shape == old.shape
    assert (new.isna() == old.isna()).all(axis=None)
    if path.endswith("trials.table.pqt"):
        moved = [c for c in old if not old[c].equals(new[c])]
        assert set(moved) == {c for c in old if "times" in c or "intervals" in c}
    check_hashes(truth)


def test_withdrawn(truth):
    before = listed(truth)
    withdraw(truth.folder, eid_of(truth), TIMES)
    after = listed(truth)
    assert set(before.index) - set(after.index) == {TIMES}
    assert not file_of(truth, TIMES).exists()
    assert after.loc["alf/probe00/pykilosort/spikes.times.npy", "default_revision"]
    licks = "alf/licks.times.npy"
    withdraw(truth.folder, eid_of(truth), licks)
    assert licks not in listed(truth).index
    assert not file_of(truth, licks).exists()
    check_hashes(truth)


def test_what_cannot_be_changed(truth, tmp_path_factory):
    eid = eid_of(truth)
    tables = (truth.folder / "datasets.pqt").read_bytes()
    with pytest.raises(MissingDataset, match="not listed"):
        revise(truth.folder, eid, "alf/nothing.npy")
    with pytest.raises(MissingDataset, match="not listed"):
        withdraw(truth.folder, eid, "alf/nothing.npy")
    (pointer, *_) = truth.odd("absent_raw_file")
    with pytest.raises(MissingDataset, match="not there"):
        revise(truth.folder, eid, pointer.path)
    with pytest.raises(SettingsError, match="whole numbers"):
        revise(truth.folder, eid, SORT + "spikes.clusters.npy")
    with pytest.raises(SettingsError, match="no numbers"):
        revise(truth.folder, eid, "alf/probes.description.json")
    with pytest.raises(SettingsError, match="no release"):
        withdraw(tmp_path_factory.mktemp("empty"), eid, TIMES)
    assert (truth.folder / "datasets.pqt").read_bytes() == tables
