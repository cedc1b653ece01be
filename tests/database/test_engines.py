"""Engines that scientists have already count stored spikes, with no code of ours in the loop."""

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset
import pytest

from schemas import ephys, rows, storage

SQL = """
SELECT eid, probe_name, sorting_name, cluster AS cluster_id, count(*) AS n_unit_spikes
FROM read_parquet($files, hive_partitioning = true)
WHERE eid IN $eids
GROUP BY ALL ORDER BY ALL
"""


@pytest.mark.parametrize("n_sessions", [1, None])
def test_duckdb_counts_the_spikes_of_all_units(populated, n_sessions):
    # From the table of objects: files that no row refers to would be counted with a pattern.
    files = [storage.place(one.path) for one in ephys.Spikes.to_arrays("spikes")]
    eids = sorted(set(ephys.Spikes.to_arrays("eid")))[:n_sessions]
    found = duckdb.execute(SQL, {"files": files, "eids": eids}).df()
    units = rows.frame(ephys.Spikes.Unit & "n_unit_spikes > 0")
    expected = units[units.eid.isin(eids)][list(found)].sort_values(list(found)[:-1])
    assert len(found) == len(expected) > 0
    for name in found:
        assert found[name].tolist() == expected[name].tolist()


OBJECT = ["eid", "probe_name", "sorting_name"]


def test_dask_counts_the_spikes_of_all_units_with_two_processes(populated):
    dask = pytest.importorskip(
        "dask", reason="dask is not installed: pip install 'dask[dataframe]'"
    )
    import dask.dataframe as dd

    files = [[str(storage.place(one.path))] for one in ephys.Spikes.to_arrays("spikes")]
    key = pa.schema([(name, pa.string()) for name in OBJECT])
    spikes = dd.from_map(
        pd.read_parquet,
        files,
        columns=[*OBJECT, "cluster"],
        partitioning=pa.dataset.partitioning(key, flavor="hive"),
    )
    counts = spikes.groupby([*OBJECT, "cluster"]).size()
    with dask.config.set(scheduler="processes", num_workers=2):
        found = counts.compute().rename("n_unit_spikes").reset_index()
    found = found.rename(columns={"cluster": "cluster_id"})
    order = [*OBJECT, "cluster_id"]
    found = found.sort_values(order)
    units = rows.frame(ephys.Spikes.Unit & "n_unit_spikes > 0")
    expected = units[list(found)].sort_values(order)
    assert len(files) > 1
    assert len(found) == len(expected) > 0
    for name in found:
        assert found[name].tolist() == expected[name].tolist()
