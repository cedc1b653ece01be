"""A new kind of data: a reader that declares itself, and a table. Nothing else changes."""

import datajoint as dj
import numpy as np
import pytest

from populate import status
from populate.workers import worker
from schemas import connection, imported, rows, session, storage
from schemas.sources import alf, data
from schemas.sources.alf import domains, kinds, paths
from schemas.sources.alf.reading import Reader, read_times

PULSES = [0.5, 1.25, 7.0]


@pytest.fixture
def kind(monkeypatch):
    """The first change: a reader with its declaration."""
    monkeypatch.setattr(kinds, "KINDS", dict(alf.KINDS))
    for module in (alf, paths):
        monkeypatch.setattr(module, "KINDS", kinds.KINDS)
    paths.place.cache_clear()
    monkeypatch.setitem(domains.DOMAINS, "pulses", {"times": domains.TIME})

    @kinds.reads("pulses", "times of pulses", (kinds.TASK, r"_toy_pulses\.times\.npy"))
    def read_pulses(files):
        reader = Reader(files)
        (record,) = reader.offered
        return data.Times(read_times(reader, record, "pulses"), reader.files)

    yield "pulses"
    paths.place.cache_clear()


@pytest.fixture
def table(database, kind):
    """The second change: a table of the kind."""
    rows.insert1(session.DataKind(), {"data_kind": kind, "data_kind_description": "a toy"})
    schema = connection.schema("own_toys")

    class Pulses(imported.ImportedFromFiles, dj.Imported):
        definition = f"""
        # one row per session with pulses
        -> session.Session
        ---
        n_pulses : int32  # number of pulses
        pulses   : <parquet@{storage.STORE}>  # column time (s)
        """

        class Source(dj.Part):
            definition = imported.SOURCE

        kinds = ("pulses",)

        def as_rows(self, loaded):
            packed = storage.pack({"time": loaded.time})
            return {"n_pulses": packed.n_rows, "pulses": packed}, {}

    yield schema(Pulses, context=globals())
    schema.drop(prompt=False)
    for rest in (session.Dataset, session.DataKind):
        (rest & {"data_kind": kind}).delete_quick()


def test_a_new_kind_is_registered_imported_and_read(database, table, tmp_path):
    folder = tmp_path / "ONE" / "toylab" / "Subjects" / "toy" / "2024-01-01" / "001" / "alf"
    folder.mkdir(parents=True)
    np.save(folder / "_toy_pulses.times.npy", PULSES)

    reports = database.register(tmp_path / "ONE")
    assert not any(report.problems for report in reports)
    assert (session.Dataset & {"data_kind": "pulses"}).fetch1("dataset_name").startswith("_toy")
    (result,) = worker.run([table])
    assert (result.n_done, result.failed) == (1, [])
    assert status.failures([table]) == []
    row = table.fetch1()
    assert row["n_pulses"] == 3
    np.testing.assert_array_equal(row["pulses"].read()["time"], PULSES)
    assert table.Source.fetch1("dataset_path") == "alf/_toy_pulses.times.npy"
