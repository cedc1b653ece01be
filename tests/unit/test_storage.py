"""Parquet objects in a folder: exact, read in slices, and honest about damage."""

import errno
import hashlib
import os
import shutil
import struct
import time
from pathlib import Path

import datajoint as dj
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import disk, parquet, storage
from schemas.errors import DiskFull, StorageError

on_one_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


class Store:
    """A store in a folder, with the codec that writes to it."""

    def __init__(self, folder):
        self.folder = folder
        self.codec = storage.ParquetCodec()
        self.written = 0

    def encode(self, value):
        self.written += 1
        context = {"schema": "bwm_ephys", "table": "spikes", "field": "spikes"}
        return self.codec.encode(
            value, key={"eid": f"e{self.written}"}, context=context, store_name=storage.STORE
        )

    def put(self, value):
        return self.codec.decode(self.encode(value))

    def file(self, ref):
        return self.folder / ref.path


@pytest.fixture
def store(tmp_path):
    before = dj.config.stores
    bulk = {"protocol": "file", "location": str(tmp_path)}
    dj.config.stores = {"default": storage.STORE, storage.STORE: bulk}
    yield Store(tmp_path)
    dj.config.stores = before


@pytest.fixture
def small_groups(monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP", 7)


def bits(array):
    return array.tobytes(), array.dtype, array.shape


# --- what goes in comes out ---------------------------------------------------------------------

ODD_DOUBLES = struct.pack(
    "<10Q",
    0x7FF8000000000000,  # the usual NaN
    0x7FF8DEADBEEF0001,  # one with a payload
    0xFFF0000000000001,  # a signalling one, negative
    0x8000000000000000,  # -0.0
    0x0000000000000001,  # the smallest subnormal
    0x800FFFFFFFFFFFFF,  # the largest negative subnormal
    0x7FF0000000000000,  # inf
    0xFFF0000000000000,  # -inf
    0x7FEFFFFFFFFFFFFF,  # the largest number
    0x3FB999999999999A,  # 0.1
)


def test_float64_comes_back_to_the_last_bit(store):
    odd = np.frombuffer(ODD_DOUBLES, "<f8")
    assert bits(store.put({"a": odd}).read()["a"]) == bits(odd)


@on_one_folder
@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_any_sixty_four_bits_come_back(store, words):
    numbers = np.array(words, np.uint64).view(np.float64)
    assert bits(store.put({"a": numbers}).read()["a"]) == bits(numbers)


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.1, np.nan, -0.0, 1e-45, np.inf], np.float32),
        np.array([0, 1, 65_535], np.uint16),
        np.array([0, 2**32 - 1], np.uint32),
        np.array([-(2**63), 2**63 - 1], np.int64),
        np.array([-128, 127], np.int8),
        np.array([True, False, True]),
        np.array([], np.float64),
        np.array([], np.uint16),
    ],
    ids=lambda array: f"{array.dtype} {len(array)}",
)
def test_a_column_keeps_its_type_and_values(store, small_groups, array):
    ref = store.put({"a": array, "b": np.arange(len(array), dtype=float)})
    assert bits(ref.read()["a"]) == bits(array)
    assert bits(ref.read_slices("a", [0], [len(array)])[0]) == bits(array)


@pytest.mark.parametrize(
    "make",
    [dict, pd.DataFrame, lambda columns: pa.table(columns), storage.pack],
    ids=["mapping", "frame", "arrow", "packed"],
)
def test_columns_may_come_as_a_mapping_a_frame_an_arrow_table_or_packed(store, make):
    columns = {"time": np.array([1.0, 2.0]), "cluster": np.array([3, 4], np.uint16)}
    ref = store.put(make(columns))
    assert (ref.columns, ref.n_rows, len(ref)) == (("time", "cluster"), 2, 2)
    found = ref.read()
    assert list(found) == ["time", "cluster"]
    for name, column in columns.items():
        assert bits(found[name]) == bits(column)
    pd.testing.assert_frame_equal(ref.to_pandas(), pd.DataFrame(columns))


def test_an_object_of_many_row_groups_is_read_whole(store, small_groups, monkeypatch):
    monkeypatch.setattr(storage, "GROUPS_AT_ONCE", 2)
    columns = {
        "x": np.arange(50) / 7,
        "n": np.arange(50, dtype=np.int16),
        "y": np.where(np.arange(50) % 9, np.arange(50), np.nan).astype(np.float32),
    }
    ref = store.put(columns)
    for names in (None, ["y", "n"], ["n"]):
        found = ref.read(names)
        assert list(found) == (names or ["x", "n", "y"])
        for name, array in found.items():
            assert bits(array) == bits(columns[name])
    missing = store.put(pd.DataFrame({"n": pd.array([1, None] * 25, "Int64")})).read()["n"]
    np.testing.assert_array_equal(missing, [1, np.nan] * 25)


def test_some_columns_are_read_in_the_order_that_is_asked_for(store):
    ref = store.put({"a": np.arange(3), "b": np.arange(3.0), "c": np.arange(3)})
    assert list(ref.read(["c", "a"])) == ["c", "a"]


def test_the_index_of_a_frame_is_left_out(store):
    ref = store.put(pd.DataFrame({"a": [1, 2]}, index=["x", "y"]))
    assert ref.columns == ("a",)
    assert pq.ParquetFile(store.file(ref)).schema_arrow.names == ["a"]


def test_other_programs_read_the_object(store):
    ref = store.put({"a": np.arange(100) / 3, "b": np.arange(100, dtype=np.uint16)})
    frame = pd.read_parquet(store.file(ref))
    assert frame.a.tolist() == [n / 3 for n in range(100)]
    assert frame.b.dtype == np.uint16


def test_an_object_of_an_earlier_version_is_read(store):
    columns = {"time": np.arange(20) / 7, "cluster": np.arange(20, dtype=np.uint16)}
    sink = pa.BufferOutputStream()
    pq.write_table(  # as 0.4.0 did
        pa.table(columns),
        sink,
        row_group_size=7,
        compression="lz4",
        use_dictionary=["cluster"],
        use_byte_stream_split=["time"],
        write_statistics=["cluster"],
        write_page_checksum=True,
    )
    buffer = memoryview(sink.getvalue())
    digest = hashlib.sha256(buffer).hexdigest()
    ref = store.put(storage.Packed(tuple(columns), 20, buffer, digest))
    into = {name: np.empty(4, column.dtype) for name, column in columns.items()}
    ref.copy_slices(into, [5, 19], [3, 1])
    for name, column in columns.items():
        assert bits(ref.read()[name]) == bits(column)
        assert bits(into[name]) == bits(column[[5, 6, 7, 19]])


# --- what a row holds ---------------------------------------------------------------------------


def test_a_row_holds_what_its_object_is(store):
    row = store.encode({"a": np.arange(5.0), "b": np.arange(5)})
    content = (store.folder / row["path"]).read_bytes()
    assert row["path"].endswith(".parquet")
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert row["n_bytes"] == len(content)
    assert (row["store"], row["columns"], row["n_rows"]) == ("bulk", ["a", "b"], 5)
    assert [path.name for path in store.folder.rglob("*") if path.is_file()] == [
        Path(row["path"]).name
    ]


def test_equal_columns_give_equal_bytes(store):
    first, second = (store.put({"a": np.arange(1000) / 7}) for _ in range(2))
    assert first.sha256 == second.sha256
    assert first.path != second.path


def test_a_reference_is_made_again_from_its_row(store):
    ref = store.put({"a": np.arange(5.0)})
    again = storage.reference(ref.stored)
    assert again.read()["a"].tolist() == [0, 1, 2, 3, 4]
    assert repr(again) == f"ParquetRef({ref.path}: 5 rows of a)"


def test_nothing_is_opened_before_it_is_read(store):
    row = store.encode({"a": np.arange(5.0)})
    (store.folder / row["path"]).unlink()
    ref = store.codec.decode(row)
    assert (len(ref), ref.columns, ref.sha256) == (5, ("a",), row["sha256"])
    assert "5 rows" in repr(ref)
    with pytest.raises(StorageError):
        ref.read()


def test_a_reference_opens_its_object_once(store):
    ref = store.put({"a": np.arange(5.0)})
    assert ref.open() is ref.open()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "columns must have one length, got {}."),
        ({"a": [1, 2], "b": [1]}, "columns must have one length, got {'a': 2, 'b': 1}."),
        ([1, 2], "<parquet@> takes columns of arrays, not list."),
        (np.arange(3), "<parquet@> takes columns of arrays, not ndarray."),
        ("text", "<parquet@> takes columns of arrays, not str."),
        (None, "<parquet@> takes columns of arrays, not NoneType."),
    ],
)
def test_what_is_not_columns_of_one_length_is_refused(store, value, message):
    with pytest.raises(StorageError) as error:
        store.encode(value)
    assert str(error.value) == message
    assert not list(store.folder.iterdir())


# --- the same object, stored again --------------------------------------------------------------


def again(store, value):
    """Store an object under the key of the last one."""
    store.written -= 1
    return store.put(value)


def age(path):
    os.utime(path, (0, 0))
    return path.stat().st_ino


def test_an_object_that_is_there_and_whole_is_kept_and_as_young_as_a_new_one(store, monkeypatch):
    ref = store.put({"a": np.arange(1000) / 7})
    inode = age(store.file(ref))
    monkeypatch.setattr(disk, "write_file", lambda *_: pytest.fail("it is written again"))
    assert again(store, {"a": np.arange(1000) / 7}).stored == ref.stored
    assert store.file(ref).stat().st_ino == inode
    assert time.time() - store.file(ref).stat().st_mtime < 60


def test_a_damaged_object_is_replaced_at_once_and_is_never_away(store, monkeypatch):
    columns = {"a": np.arange(1000) / 7}
    ref = store.put(columns)
    flip_a_bit(store.file(ref))
    seen, plain = [], Path.replace

    def watched(self, target):
        seen.append((target.exists(), self.read_bytes() == whole))
        return plain(self, target)

    whole = storage.pack(columns).buffer.tobytes()
    monkeypatch.setattr(Path, "replace", watched)
    assert again(store, columns).read()["a"].tolist() == columns["a"].tolist()
    assert seen == [(True, True)]


def test_a_write_that_fails_leaves_the_object_that_is_there(store, monkeypatch):
    ref = store.put({"a": np.arange(1000) / 7})
    flip_a_bit(store.file(ref))
    damaged = store.file(ref).read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match=r"MB are free, [\d.]+ MB are needed"):
        again(store, {"a": np.arange(1000) / 7})
    assert [path.read_bytes() for path in store.folder.rglob("*") if path.is_file()] == [damaged]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Storage backend has reached its minimum free drive threshold.", DiskFull),
        ("Bucket quota exceeded", DiskFull),
        ("We encountered an internal error", StorageError),
    ],
)
def test_a_full_bucket_is_a_full_disk(store, monkeypatch, text, kind):
    def refuse(*_):
        raise OSError(errno.EIO, text)

    monkeypatch.setattr(storage, "_put", refuse)
    with pytest.raises(StorageError, match=text) as caught:
        store.put({"a": np.arange(3)})
    assert type(caught.value) is kind


def test_file_and_folder_are_on_the_disk_before_a_row_can_refer_to_them(store, monkeypatch):
    flushed, plain = [], os.fsync

    def watched(handle):
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        plain(handle)

    monkeypatch.setattr(os, "fsync", watched)
    path = store.file(store.put({"a": np.arange(3)}))
    assert [where.name.endswith(".saving") for where in flushed] == [True, False]
    assert flushed[1] == path.parent


# --- slices -------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 6, 7, 8, 14, 50])
def test_an_object_has_row_groups_of_the_set_size(store, small_groups, n):
    file = store.put({"a": np.arange(n)}).open()
    sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert [size for size in sizes if size] == [7] * (n // 7) + [n % 7] * (n % 7 > 0)


@on_one_folder
@given(st.data())
def test_slices_are_those_of_the_whole_column(store, small_groups, data):
    n = data.draw(st.integers(0, 50))
    wanted = data.draw(
        st.lists(st.integers(0, n).flatmap(lambda a: st.tuples(st.just(a), st.integers(0, n - a))))
    )
    column = np.arange(n) / 3
    ref = store.put({"x": column, "y": np.zeros(n)})
    offsets, counts = (np.array([pair[i] for pair in wanted], int) for i in (0, 1))
    found = ref.read_slices("x", offsets, counts)
    assert len(found) == len(wanted)
    for array, (offset, count) in zip(found, wanted, strict=True):
        assert bits(array) == bits(column[offset : offset + count])
    into = {"y": np.full(counts.sum(), -1.0), "x": np.full(counts.sum(), -1.0)}
    ref.copy_slices(into, offsets, counts)
    assert bits(into["x"]) == bits(np.concatenate([column[:0], *found]))
    assert bits(into["y"]) == bits(np.zeros(counts.sum()))


@pytest.mark.parametrize(
    "wanted",
    [
        [],
        [(0, 0)],
        [(50, 0)],
        [(7, 0), (14, 0)],
        [(0, 7)],
        [(7, 7), (0, 7)],
        [(6, 2)],
        [(49, 1), (0, 1)],
        [(0, 50), (3, 1), (3, 1)],
        [(20, 30), (0, 0), (0, 21)],
    ],
)
def test_slices_at_the_edges_of_row_groups(store, small_groups, wanted):
    ref = store.put({"x": np.arange(50, dtype=np.uint16)})
    found = ref.read_slices("x", [a for a, _ in wanted], [n for _, n in wanted])
    assert [array.tolist() for array in found] == [list(range(a, a + n)) for a, n in wanted]
    assert all(array.dtype == np.uint16 for array in found)


def test_only_the_row_groups_that_are_needed_are_read(store, small_groups, monkeypatch):
    ref = store.put({"x": np.arange(70.0)})
    read, plain = [], pq.ParquetFile.read_row_groups

    def watched(self, groups, **options):
        read.append(list(groups))
        return plain(self, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    found = ref.read_slices("x", [60, 2, 3, 7, 35], [3, 3, 1, 1, 0])
    assert read == [[0, 1, 8]]
    assert [array.tolist() for array in found] == [[60, 61, 62], [2, 3, 4], [3], [7], []]


def test_slices_are_copied_from_a_few_row_groups_at_a_time(store, small_groups, monkeypatch):
    monkeypatch.setattr(storage, "GROUPS_AT_ONCE", 3)
    ref = store.put({"x": np.arange(70.0)})
    read, plain = [], pq.ParquetFile.read_row_groups

    def watched(self, groups, **options):
        read.append(list(groups))
        return plain(self, groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", watched)
    into = {"x": np.empty(43, np.float32)}  # of another precision than the object
    ref.copy_slices(into, [40, 60, 0, 60, 68], [5, 2, 33, 2, 1])
    assert read == [[0, 1, 2], [3, 4, 5], [6, 8, 9]]
    wanted = [*range(40, 45), 60, 61, *range(33), 60, 61, 68]
    assert into["x"].tolist() == wanted


@pytest.mark.parametrize(("offset", "count"), [(-1, 1), (0, 51), (50, 1), (51, 0), (10**12, 1)])
def test_a_slice_beyond_the_object_is_refused(store, offset, count):
    ref = store.put({"x": np.arange(50)})
    with pytest.raises(StorageError, match="a slice lies beyond the object"):
        ref.read_slices("x", [0, offset], [1, count])
    with pytest.raises(StorageError, match="a slice lies beyond the object"):
        ref.copy_slices({"x": np.empty(99)}, [0, offset], [1, count])


# --- damage -------------------------------------------------------------------------------------


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-20])


def make_empty(path):
    path.write_bytes(b"")


def overwrite(path):
    path.write_bytes(b"x" * 1000)


def flip_a_bit(path):
    """Change one bit of a page: of a float, which would be another float."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [Path.unlink, cut_short, make_empty, overwrite, flip_a_bit]
READS = {
    "read": lambda ref: ref.read(),
    "one column": lambda ref: ref.read(["x"]),
    "to_pandas": lambda ref: ref.to_pandas(),
    "read_slices": lambda ref: ref.read_slices("x", [0], [5000]),
    "copy_slices": lambda ref: ref.copy_slices({"x": np.empty(5000)}, [0], [5000]),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_or_missing_object_is_an_error_with_place_and_remedy(store, damage, read):
    ref = store.put({"x": np.random.default_rng(0).normal(size=5000)})
    damage(store.file(ref))
    with pytest.raises(StorageError) as error:
        READS[read](ref)
    assert error.value.where == str(store.file(ref))
    assert error.value.what.startswith("the stored object cannot be read (")
    assert error.value.remedy == "Delete its row and populate the table again."
    assert error.value.__suppress_context__


def test_no_changed_bit_of_the_data_goes_unnoticed(store):
    ref = store.put({"x": np.random.default_rng(0).normal(size=200)})
    path = store.file(ref)
    content = path.read_bytes()
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(0)
    whole = range(chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size)
    sound = ref.read()["x"]
    for position in whole[::7]:
        path.write_bytes(
            content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1 :]
        )
        try:
            found = storage.reference(ref.stored).read()["x"]
        except StorageError:
            continue
        assert bits(found) == bits(sound)  # of a header, a bit that is not used


@pytest.mark.parametrize("read", READS)
def test_an_object_that_is_exchanged_is_an_error_with_its_table_and_key(store, read):
    one, other = (store.put({"x": np.arange(float(n))}) for n in (5000, 6000))
    shutil.copy(store.file(other), store.file(one))
    with pytest.raises(storage.WrongObject) as error:
        READS[read](one)
    assert error.value.where == str(store.file(one))
    assert "the object has 6,000 rows of x" in error.value.what
    assert "row of bwm_ephys.spikes (eid=e1) says 5,000 rows of x" in error.value.what
    with pytest.raises(storage.WrongObject, match=f"in {one.stored['n_bytes'] + 1:,} bytes"):
        storage.reference({**other.stored, "n_bytes": one.stored["n_bytes"] + 1}).open()


def test_a_fifo_in_the_place_of_an_object_is_an_error_at_once(store):
    ref = store.put({"x": np.arange(3)})
    store.file(ref).unlink()
    os.mkfifo(store.file(ref))
    for read in (ref.read, lambda: storage.hash_object(ref.path)):
        with pytest.raises(StorageError, match="not a regular file"):
            read()


def test_what_cannot_be_written_is_an_error_and_leaves_nothing(store):
    ref = store.put({"x": np.arange(3)})
    occupied = store.file(ref).parents[1]
    shutil.rmtree(occupied)
    occupied.write_text("a file where a folder must be")
    before = sorted(store.folder.rglob("*"))
    with pytest.raises(StorageError) as error:
        store.encode({"x": np.arange(3)})
    assert error.value.what.startswith("the object cannot be written (")
    assert Path(error.value.where).is_relative_to(occupied)
    assert "writable and has space" in error.value.remedy
    assert sorted(store.folder.rglob("*")) == before


# --- what a store holds -------------------------------------------------------------------------


def test_a_store_lists_its_objects_by_schema(store):
    refs = [store.put({"x": np.arange(n)}) for n in (1, 2)]
    held = storage.list_schema("bwm_ephys")
    assert held.keys() == {ref.path for ref in refs}
    for ref in refs:
        path = store.file(ref)
        assert held[ref.path] == storage.Held(
            ref.path, path.stat().st_size, pytest.approx(path.stat().st_mtime)
        )
        assert storage.look_up(ref.path) == held[ref.path]
        assert storage.place(ref.path) == str(path)
    assert storage.list_schema("bwm") == {}
    assert storage.list_schema("bwm_wheel") == {}


def test_an_object_is_hashed_as_it_is_now(store, monkeypatch):
    monkeypatch.setattr(disk, "BLOCK", 1000)
    ref, read = store.put({"x": np.arange(9999.0)}), []
    assert storage.hash_object(ref.path, advance=read.append) == ref.sha256
    assert sum(read) == ref.stored["n_bytes"]
    assert max(read) == 1000
    flip_a_bit(store.file(ref))
    content = store.file(ref).read_bytes()
    assert storage.hash_object(ref.path) == hashlib.sha256(content).hexdigest() != ref.sha256
    assert disk.hash_file(store.file(ref), "md5") == hashlib.md5(content).hexdigest()


def test_an_object_is_removed_once(store):
    ref = store.put({"x": np.arange(3)})
    for _ in range(2):
        storage.remove(ref.path)
        assert storage.look_up(ref.path) is None
    with pytest.raises(StorageError, match="cannot be read") as error:
        storage.hash_object(ref.path)
    assert error.value.where == str(store.file(ref))


def test_what_cannot_be_removed_is_an_error_with_its_place(store):
    folder = store.file(store.put({"x": np.arange(3)})).parent
    path = str(folder.relative_to(store.folder))
    with pytest.raises(StorageError, match="it cannot be removed") as error:
        storage.remove(path)
    assert error.value.where == str(folder)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"protocol": "file", "location": "/nowhere/at/all"}, "Inaccessible local directory"),
        ({"protocol": "s3", "location": "x", "endpoint": "", "bucket": "b"}, "endpoint"),
        ({"protocol": "tape", "location": "x"}, "Unknown protocol"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_error(store, spec, says):
    dj.config.stores = {"default": storage.STORE, storage.STORE: spec}
    with pytest.raises(StorageError, match=says) as error:
        storage.list_schema("bwm_ephys")
    assert str(error.value).startswith("store bulk: it cannot be opened")
    assert "bwm.store" in error.value.remedy


def test_without_its_library_a_bucket_is_one_error(store, monkeypatch):
    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.filesystem", missing)
    bucket = {"protocol": "s3", "location": "x", "endpoint": "localhost:1", "bucket": "b"}
    dj.config.stores = {"default": storage.STORE, storage.STORE: bucket}
    with pytest.raises(StorageError, match="Install s3fs") as error:
        storage.list_schema("bwm_ephys")
    assert "bwm-datajoint[s3]" in error.value.remedy
