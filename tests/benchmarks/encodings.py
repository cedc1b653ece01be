"""Bytes that a spike takes in each encoding of Parquet, on real spikes; what rounding would save.

    python -m tests.benchmarks.encodings ../shared/real/reference/ephys_120s_metrics_input.npz

The file has arrays `times` (s), `clusters`, `amps` (V) and `depths` (um). Prints Markdown. The six
low bytes of a float64 are the end of its mantissa: where their entropy is 6 bytes, no code that
keeps them takes less.
"""
# ruff: noqa: T201

import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas import parquet

WAYS = {
    "PLAIN": {"use_dictionary": False},
    "dictionary": {"use_dictionary": True},
    "BYTE_STREAM_SPLIT": {"use_dictionary": False, "column_encoding": "BYTE_STREAM_SPLIT"},
    "DELTA_BINARY_PACKED, bits as int64": {
        "use_dictionary": False,
        "column_encoding": "DELTA_BINARY_PACKED",
    },
}
COMPRESSIONS = (("none", None), ("lz4", None), ("zstd", 1), ("zstd", 3), ("zstd", 19))
DELTA = WAYS["DELTA_BINARY_PACKED, bits as int64"]
SPLIT = WAYS["BYTE_STREAM_SPLIT"]


def size(values, way, compression="zstd", level=1):
    """Bytes a value in row groups as they are stored."""
    sink = pa.BufferOutputStream()
    options = {**way, "compression": compression, "compression_level": level}
    options |= {"row_group_size": parquet.ROW_GROUP, "write_statistics": False}
    pq.write_table(pa.table({"x": values}), sink, write_page_checksum=True, **options)
    return sink.tell() / len(values)


def entropy(values):
    """Bytes a value that the six low bytes take at least, each coded alone."""
    total = 0.0
    for column in values.view(np.uint8).reshape(len(values), -1)[:, :6].T:
        share = np.bincount(column, minlength=256) / len(column)
        share = share[share > 0]
        total -= (share * np.log2(share)).sum() / 8
    return total


def rounded(columns):
    """Give each way to round, and its bytes a value."""
    time, amplitude, depth = columns.values()
    yield "time at 0.1 ms, int32", size(np.round(time * 1e4).astype(np.int32), DELTA)
    yield "time at 2^-14 s (0.06 ms), float64", size(np.round(time * 2**14) / 2**14, SPLIT)
    yield "amplitude as float32", size(amplitude.astype(np.float32), SPLIT)
    yield "amplitude at 0.1 uV, int32", size(np.round(amplitude * 1e7).astype(np.int32), DELTA)
    yield "depth as float32", size(depth.astype(np.float32), SPLIT)
    yield "depth at 0.1 um, int32", size(np.round(depth * 10).astype(np.int32), DELTA)


def main():
    stored = np.load(sys.argv[1])
    order = np.argsort(stored["clusters"], kind="stable")
    names = {"time": "times", "amplitude": "amps", "depth": "depths"}
    columns = {ours: stored[name][order].astype(np.float64) for ours, name in names.items()}
    print(f"{len(order):,} spikes of {len(np.unique(stored['clusters']))} clusters\n")
    print(f"| exact | {' | '.join(columns)} | all |\n|---|---|---|---|---|")
    for name, way in WAYS.items():
        for compression, level in COMPRESSIONS:
            of_type = {n: c.view(np.int64) if way is DELTA else c for n, c in columns.items()}
            found = [size(c, way, compression, level) for c in of_type.values()]
            shown = " | ".join(f"{n:.2f}" for n in (*found, sum(found)))
            print(f"| {name}, {compression} {level or ''} | {shown} |")
    least = [entropy(c) for c in columns.values()]
    print(
        f"| entropy of the six low bytes | {' | '.join(f'{n:.2f}' for n in (*least, sum(least)))} |"
    )
    print("\n| rounded | bytes a spike |\n|---|---|")
    for name, n_bytes in rounded(columns):
        print(f"| {name} | {n_bytes:.2f} |")


if __name__ == "__main__":
    main()
