"""Objects in a bucket: the same as in a folder, and one clear error where it cannot be reached."""

import datajoint as dj
import numpy as np
import pytest

from schemas import disk, storage
from schemas.errors import StorageError
from schemas.settings import StoreSettings
from tests.support import buckets


@pytest.fixture(scope="module")
def bucket():
    with buckets.bucket() as found:
        yield found


@pytest.fixture
def use(bucket):
    """Let a bucket be the store, with settings of one's own."""
    before = dj.config.stores

    def set_up(**more):
        spec = StoreSettings(**bucket.store(**more)).spec()
        dj.config.stores = {"default": storage.STORE, storage.STORE: spec}

    set_up()
    yield set_up
    dj.config.stores = before


def put(columns, name="e1"):
    codec = storage.ParquetCodec()
    context = {"schema": "bwm_ephys", "table": "_spikes", "field": "spikes"}
    return codec.decode(
        codec.encode(columns, key={"eid": name}, context=context, store_name=storage.STORE)
    )


COLUMNS = {"x": np.arange(200_000) / 7, "y": np.arange(200_000)}


@pytest.mark.parametrize("location", ["store", "store/", ""])
def test_an_object_comes_back_from_a_bucket(use, bucket, location):
    use(location=location)
    ref = put(COLUMNS, f"e{len(location)}")
    assert {name: column.tobytes() for name, column in ref.read().items()} == {
        name: column.tobytes() for name, column in COLUMNS.items()
    }
    found = ref.read_slices("x", [199_990, 3], [10, 2])
    assert [part.tolist() for part in found] == [
        COLUMNS["x"][-10:].tolist(),
        COLUMNS["x"][3:5].tolist(),
    ]
    held = storage.list_schema("bwm_ephys")
    assert held[ref.path].n_bytes == ref.stored["n_bytes"]
    assert storage.look_up(ref.path) == held[ref.path]
    assert storage.place(ref.path).endswith(ref.path)
    assert storage.hash_object(ref.path) == ref.sha256


def test_an_object_that_is_there_is_never_away_while_it_is_stored_again(use, monkeypatch):
    ref = put(COLUMNS)
    backend = storage._backend(storage.STORE)
    removed = []
    monkeypatch.setattr(type(backend), "remove", lambda _, path: removed.append(path))
    assert put(COLUMNS).stored == ref.stored
    assert removed == []


def test_what_another_process_writes_is_seen(use, bucket):
    path = put({"x": np.arange(3)}).path
    other = path.replace("e1", "e2")
    before = storage.list_schema("bwm_ephys")
    bucket.write(other, bucket.read(path))
    assert storage.list_schema("bwm_ephys").keys() - before.keys() == {other}
    bucket.write(path, b"other bytes")
    assert storage.look_up(path).n_bytes == 11
    bucket.remove(path)
    assert storage.look_up(path) is None
    storage.remove(other)
    storage.remove(other)
    assert not {path, other} & bucket.paths()


def test_an_object_is_hashed_block_by_block(use, monkeypatch):
    monkeypatch.setattr(disk, "BLOCK", 100_000)
    ref, read = put(COLUMNS), []
    assert storage.hash_object(ref.path, advance=read.append) == ref.sha256
    assert (sum(read), max(read)) == (ref.stored["n_bytes"], 100_000)


def test_a_missing_object_is_one_error(use, bucket):
    ref = put({"x": np.arange(3)})
    bucket.remove(ref.path)
    for read in (ref.read, lambda: storage.hash_object(ref.path)):
        with pytest.raises(StorageError, match="the stored object cannot be read") as error:
            read()
        assert error.value.where == f"{buckets.BUCKET}/store/{ref.path}"


@pytest.mark.parametrize("wrong", [{"bucket": "none-of-ours"}, {"endpoint": "127.0.0.1:1"}])
def test_a_bucket_that_cannot_be_reached_is_one_error(use, wrong, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    use(**wrong)
    with pytest.raises(StorageError, match="the object cannot be written") as error:
        put({"x": np.arange(3)})
    assert "endpoint, bucket, and keys" in error.value.remedy
    with pytest.raises(StorageError):
        storage.hash_object("_schema/bwm_ephys/x.parquet")
