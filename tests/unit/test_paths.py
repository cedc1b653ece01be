"""Names from a source lead into its folder, the cache and the store, and nowhere else."""

import dataclasses
import shutil
from types import SimpleNamespace

import pytest
from iblutil.io import parquet

from populate.registration.sessions import _State
from schemas import storage
from schemas.errors import RegistrationError, SourceError, StorageError
from schemas.sources.alf.paths import place
from schemas.sources.names import is_dataset_path, is_probe_name
from schemas.sources.one_api import OneSource
from schemas.sources.records import InsertionRecord
from tests.support.hostile import HOSTILE, outside

FINE = ["alf/#2024-05-06#/spikes.times.npy", "alf/probe00/pykilosort/spikes.times.npy", "a b.é.npy"]
PROBES = [
    "../../x",
    "/etc",
    "..",
    "a/b",
    "a\\b",
    "a\0b",
    "C:",
    "a b",
    "",
    "p" * 17,
    "a\n",
    "\ud800",
]


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
def test_a_path_that_leads_elsewhere_is_none_of_a_dataset(path):
    assert not is_dataset_path(path)


def test_names_that_are_used_are_fine():
    assert all(map(is_dataset_path, FINE))
    assert all(map(is_probe_name, ["probe00", "probe00a", "probe_left", "3A", "probe00.1"]))
    assert not any(map(is_probe_name, PROBES))


@pytest.mark.parametrize("name", ["probe00", "probe.00", "probe00.1", "probe_left", "probe-1"])
def test_a_probe_whose_name_is_allowed_has_files_of_every_kind(name):
    assert is_probe_name(name)
    for folder, file, kind in (
        (f"alf/{name}/pykilosort", "spikes.times.npy", "spikes"),
        (f"alf/{name}", "channels.localCoordinates.npy", "channels"),
        (f"raw_ephys_data/{name}", "_iblqc_ephysTimeRmsAP.rms.npy", "rms"),
    ):
        found = place(f"{folder}/{file}")
        assert (found.probe_name, found.kind) == (name, kind)


# --- a folder with tables -----------------------------------------------------------------------


@pytest.fixture
def listed(release, tmp_path):
    """The tables of a release, without its files."""
    folder = tmp_path / "listed" / "below" / "ONE"
    folder.mkdir(parents=True)
    for path in release.folder.glob("*.pqt"):
        shutil.copy(path, folder)
    return folder


def rewrite(folder, name, column, value):
    """Give the first row of a table another value; return the eid."""
    frame, meta = parquet.load(folder / f"{name}.pqt")
    frame = frame.astype({column: object})
    eid = str(frame.index.get_level_values("eid")[0])
    frame.iloc[0, frame.columns.get_loc(column)] = value
    parquet.save(folder / f"{name}.pqt", frame, meta)
    return eid


@pytest.mark.parametrize("path", [p for p in HOSTILE.values() if p != HOSTILE["a lone surrogate"]])
def test_files_that_tables_list_elsewhere_are_refused_by_name(listed, tmp_path, path):
    eid = rewrite(listed, "datasets", "rel_path", path)
    before = outside(listed)
    opened = OneSource(listed, tmp_path / "home")
    records = opened.sessions()
    assert len(records) > 1
    (own,) = [record for record in records if record.eid == eid]
    assert len(own.datasets) > 1
    assert path not in {dataset.path for dataset in own.datasets}
    (problem,) = opened.problems
    assert "whose path does not lead into the session" in str(problem)
    assert eid in str(problem)
    assert repr(path) in str(problem)
    assert outside(listed) == before


@pytest.mark.parametrize("name", [name for name in PROBES if name != "\ud800"])
def test_a_probe_that_would_be_elsewhere_is_left_out_alone_by_name(listed, tmp_path, name):
    whole = OneSource(listed, tmp_path / "home").sessions()
    eid = rewrite(listed, "insertions", "name", name)
    before = outside(listed)
    opened = OneSource(listed, tmp_path / "home")
    records = opened.sessions()
    assert [record.eid for record in records] == [record.eid for record in whole]
    assert [r for r in records if r.eid != eid] == [r for r in whole if r.eid != eid]
    own, was = (next(r for r in some if r.eid == eid) for some in (records, whole))
    assert own.datasets == was.datasets
    names = {i.probe_name for i in own.insertions}
    assert names == {d.probe_name for d in own.datasets if d.probe_name}
    assert name not in names
    (problem,) = opened.problems
    says = "whose name cannot be that of a probe" if name else "without a name"
    assert f"{says}: {name!r}. It is left out" in str(problem)
    assert eid in str(problem)
    assert outside(listed) == before


@pytest.mark.parametrize("folder", ["probe..00", "probe00_of_a_long_name", "probe0..1/pykilosort"])
def test_a_file_in_a_folder_that_cannot_be_that_of_a_probe_is_left_out_alone(
    listed, tmp_path, folder
):
    path = f"alf/{folder}/spikes.times.npy"
    eid = rewrite(listed, "datasets", "rel_path", path)
    opened = OneSource(listed, tmp_path / "home")
    (own,) = [record for record in opened.sessions() if record.eid == eid]
    assert path not in {dataset.path for dataset in own.datasets}
    assert all(is_probe_name(insertion.probe_name) for insertion in own.insertions)
    (problem,) = opened.problems
    assert "whose folder cannot be that of a probe" in str(problem)
    assert repr(path) in str(problem)


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
def test_a_row_of_the_database_leads_nowhere_else(release, tmp_path, path):
    """Whoever may write rows may have written this one."""
    opened = OneSource(release.folder, tmp_path / "home")
    good = opened.sessions()[0].datasets[0]
    for asked in (
        lambda: opened.fetch([dataclasses.replace(good, path=path)]),
        lambda: opened.places([(good.eid, path)]),
    ):
        with pytest.raises(SourceError, match="does not lead into a session"):
            asked()


def test_a_link_is_read_and_never_written(listed, tmp_path):
    """Folders of links to files on other disks are in use: reading through them is wanted."""
    opened = OneSource(listed, tmp_path / "home")
    record = opened.sessions()[0].datasets[0]
    (place,) = opened.places([(record.eid, record.path)])
    place.parent.mkdir(parents=True)
    target = tmp_path / "elsewhere.npy"
    target.write_bytes(b"as it was")
    place.symlink_to(target)
    assert opened.fetch([record]) == (place,)
    assert target.read_bytes() == b"as it was"


# --- what is registered, and the store ----------------------------------------------------------


@pytest.mark.parametrize("name", PROBES)
def test_probes_that_would_be_elsewhere_are_not_registered(name):
    state = _State({}, {}, {}, {}, {}, {})
    problem = state._insertion_problem(InsertionRecord("eid", name))
    assert isinstance(problem, RegistrationError)
    assert repr(name) in str(problem)


WITHIN = {"a drive", "a drive's folder", "a stream", "too long"}
"""What stays in the store, whose own place comes first."""


@pytest.mark.parametrize("path", [p for name, p in HOSTILE.items() if name not in WITHIN])
def test_no_row_leads_out_of_the_store(tmp_path, monkeypatch, path):
    """Not to read, to hash or, worst of all, to remove."""
    store = tmp_path / "some" / "where" / "store"
    store.mkdir(parents=True)
    kept = tmp_path / "stolen.npy"
    kept.write_bytes(b"as it was")
    backend = SimpleNamespace(
        protocol="file",
        _full_path=lambda path: f"{store}/{path}",
        remove=lambda path: (_ for _ in ()).throw(AssertionError(path)),
        fs=SimpleNamespace(invalidate_cache=lambda: None),
    )
    monkeypatch.setattr(storage, "_backend", lambda *_: backend)
    stored = {"path": path, "columns": ["a"], "n_rows": 1, "sha256": "0", "store": "bulk"}
    for asked in (storage.remove, storage.hash_object, storage.look_up):
        with pytest.raises(StorageError, match="is not the path of an object"):
            asked(path)
    with pytest.raises(StorageError, match="is not the path of an object"):
        storage.reference(stored).read()
    assert kept.read_bytes() == b"as it was"
