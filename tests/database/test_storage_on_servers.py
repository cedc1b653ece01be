"""Stored objects through a table of either server: exact, lazy, and kept by the collector."""

import hashlib
import itertools
import os
from pathlib import Path

import datajoint as dj
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from datajoint.gc import GarbageCollector

from schemas import rows, storage
from schemas.database import upstream
from schemas.errors import StorageError

number = itertools.count()


@pytest.fixture
def folder(tmp_path):
    """Folder of the store while a test runs."""
    before = dj.config.stores
    bulk = {"protocol": "file", "location": str(tmp_path / "my store")}
    (tmp_path / "my store").mkdir()
    dj.config.stores = {"default": storage.STORE, storage.STORE: bulk}
    yield tmp_path / "my store"
    dj.config.stores = before


@pytest.fixture
def schema(backend, folder):
    upstream.apply()
    with dj.config.override(database__backend=backend.name, database__port=backend.port):
        connection = dj.Connection(
            backend.host, backend.user, backend.password, port=backend.port, use_tls=False
        )
    schema = dj.Schema(f"bwm_storage_{os.getpid()}_{next(number)}", connection=connection)
    yield schema
    schema.drop(prompt=False)
    connection.close()


@pytest.fixture
def table(schema):
    @schema
    class Recording(dj.Manual):
        definition = """
        # one row per recording
        recording : varchar(32)  # name
        ---
        n = null      : int32           # anything
        trace = null  : <parquet@bulk>  # the object
        """

    return Recording


TRACE = {
    "time": np.array([0.1, np.nan, -0.0, 5e-324, np.inf]),
    "amplitude": np.array([0.1, 0.2, 0.3, np.nan, -0.0], np.float32),
    "cluster": np.array([0, 65_535, 1, 2, 3], np.uint16),
}


def insert(table, name, columns=TRACE):
    rows.insert1(table, {"recording": name, "n": len(name), "trace": columns})


def objects(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def orphans(schema):
    found = GarbageCollector(schema, store=storage.STORE).collect(dry_run=True)
    assert found["errors"] == 0
    return found["orphaned_schema_paths"], found["schema_paths_stored"]


def test_an_object_comes_back_to_the_last_bit(table, folder):
    insert(table, "a b/ü")
    ref = table.fetch1("trace")
    for name, column in TRACE.items():
        found = ref.read()[name]
        assert (found.dtype, found.tobytes()) == (column.dtype, column.tobytes())
    (path,) = objects(folder)
    assert ref.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ref.stored["n_bytes"] == path.stat().st_size
    assert (ref.columns, len(ref)) == (tuple(TRACE), 5)


@pytest.mark.parametrize("make", [pd.DataFrame, storage.pack])
def test_frames_and_packed_columns_are_stored_as_well(table, make):
    insert(table, "a", make({"x": np.arange(3.0)}))
    assert table.fetch1("trace").read()["x"].tolist() == [0, 1, 2]


def test_fetching_opens_no_file(table, folder, monkeypatch):
    for name in "abc":
        insert(table, name)
    for path in objects(folder):
        path.rename(path.with_suffix(".away"))
    monkeypatch.setattr(pq, "ParquetFile", lambda *_, **__: pytest.fail("a file is opened"))
    refs = [row["trace"] for row in table.to_dicts(order_by="recording")]
    assert [len(ref) for ref in refs] == [5, 5, 5]
    monkeypatch.undo()
    for path in folder.rglob("*.away"):
        path.rename(path.with_suffix(".parquet"))
    assert refs[1].read_slices("cluster", [3, 0], [2, 2])[1].tolist() == [0, 65_535]


def test_a_reference_outlives_the_query(table, schema):
    insert(table, "a")
    stored = table.fetch1("trace").stored
    assert storage.reference(stored).read(["cluster"])["cluster"].tolist() == [0, 65_535, 1, 2, 3]


def test_a_frame_leaves_objects_out(table):
    insert(table, "a")
    assert list(rows.frame(table()).columns) == ["recording", "n"]


def test_no_object_is_null(table, folder):
    rows.insert1(table, {"recording": "a", "n": None, "trace": None})
    assert table.fetch1("trace") is None
    assert objects(folder) == []


def test_the_collector_keeps_every_object_that_a_row_names(table, schema, folder):
    assert orphans(schema) == ([], 0)
    for name in ("a", "b/c", "d e", "ü%'"):
        insert(table, name)
    assert orphans(schema) == ([], 4)
    gone = (table & {"recording": "b/c"}).fetch1("trace").path
    (table & {"recording": "b/c"}).delete_quick()
    assert orphans(schema) == ([gone], 4)
    GarbageCollector(schema, store=storage.STORE).collect(dry_run=False)
    assert orphans(schema) == ([], 3)
    for ref in table.to_arrays("trace"):
        assert len(ref.read()["time"]) == 5


def test_a_refused_value_leaves_neither_row_nor_object(table, folder):
    with pytest.raises(StorageError, match="columns must have one length"):
        insert(table, "a", {"x": np.arange(2), "y": np.arange(3)})
    assert len(table()) == 0
    assert objects(folder) == []


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"PAR1")])
def test_a_damaged_object_is_an_error_when_it_is_read(table, folder, damage):
    insert(table, "a")
    (path,) = objects(folder)
    damage(path)
    ref = table.fetch1("trace")
    with pytest.raises(StorageError, match="cannot be read") as error:
        ref.read()
    assert error.value.where == str(path)
    assert error.value.remedy
