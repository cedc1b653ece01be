"""How columns are written: each in the encoding that takes fewer bytes, and exact."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import parquet


def chunks(packed, number=0):
    """What a row group says of each column."""
    group = pq.read_metadata(pa.BufferReader(packed.buffer)).row_group(number)
    return {c.path_in_schema: c for c in map(group.column, range(group.num_columns))}


def test_a_column_of_floats_is_written_in_the_smaller_encoding():
    rng = np.random.default_rng(0)
    columns = {
        "time": np.sort(rng.uniform(0, 4000, 70_000)),
        "nose_x": rng.normal(250, 0.4, 70_000).round(2),
        "energy": rng.gamma(2.0, 0.15, 70_000).astype(np.float32),
        "cluster": np.repeat(np.arange(70, dtype=np.uint32), 1000),
    }
    packed = parquet.pack(columns)
    found = chunks(packed)
    assert {c.compression for c in found.values()} == {"ZSTD"}
    for name in ("time", "energy"):
        assert set(found[name].encodings) == {"BYTE_STREAM_SPLIT", "RLE"}
    for name in ("nose_x", "cluster"):
        assert "RLE_DICTIONARY" in found[name].encodings
        # With few values, a byte a row and a little more.
        assert found[name].total_compressed_size < 1.2 * parquet.ROW_GROUP
    table = pq.read_table(pa.BufferReader(packed.buffer))
    for name, column in columns.items():
        assert table[name].to_numpy().tobytes() == column.tobytes()


def test_the_middle_of_a_column_chooses_its_encoding(monkeypatch):
    monkeypatch.setattr(parquet, "ROW_GROUP", 1000)
    rng = np.random.default_rng(0)
    # A camera looks at nothing at first: all values are equal, and then none is.
    values = np.r_[np.zeros(1000), rng.normal(size=9000)]
    assert "RLE_DICTIONARY" not in chunks(parquet.pack({"x": values}))["x"].encodings
    # Zeros of two signs and any NaN come back from a dictionary too.
    odd = np.array([0.0, -0.0, np.nan, -np.nan, 1.5])[rng.integers(0, 5, 5000)]
    packed = parquet.pack({"x": odd})
    assert "RLE_DICTIONARY" in chunks(packed)["x"].encodings
    assert pq.read_table(pa.BufferReader(packed.buffer))["x"].to_numpy().tobytes() == odd.tobytes()
