"""Files on request, and the cache of downloads below its limit."""

import pytest
from typer.testing import CliRunner

from populate import cache_eviction, cli, downloads, stale
from populate.workers import worker
from schemas import probe, session
from schemas.errors import MissingDataset, QueryError
from schemas.sources import base, simulator
from tests.support.alyx import AlyxServer
from tests.support.databases import Release, differences, snapshot

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    folder = tmp_path_factory.mktemp("little")
    return Release(folder, simulator.simulate(folder, "tiny", seed=5, **SMALL))


@pytest.fixture(scope="module")
def alyx(little):
    with AlyxServer(little.folder) as server:
        yield server


@pytest.fixture
def database(lend, alyx, little, tmp_path, monkeypatch):
    """A database that the little release is registered in, from the server."""
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = {
        "alyx.url": alyx.url,
        "alyx.user": alyx.user,
        "alyx.password": alyx.password,
        "alyx.data_server": alyx.files_url,
        "alyx.cache": str(tmp_path / "cache"),
        "alyx.requests_per_minute": 100_000,
    }
    with lend(tmp_path / "home", settings) as database:
        database.register(alyx.url, little.truth.release)
        alyx.forget()
        yield database


@pytest.fixture
def bwm(database):
    return lambda *arguments: CliRunner().invoke(cli.app, arguments, env=database.environment)


def raw(truth, pattern):
    """Raw files that are there, of the session that has some, by their path."""
    rows = truth.datasets[truth.datasets.rel_path.str.contains(pattern, regex=True)]
    rows = rows[[(truth.folder / place(truth, r)).is_file() for r in rows.itertuples()]]
    return rows[rows.eid == rows.eid.iloc[0]]


def place(truth, row):
    s = truth.sessions.set_index("eid").loc[row.eid]
    return f"{s.lab}/Subjects/{s.subject}/{s.date}/{int(s.number):03d}/{row.rel_path}"


def test_the_size_is_said_first_then_the_files_come(bwm, alyx, little, database):
    expected = raw(little.truth, r"raw_ephys_data/.*lf")
    eid = expected.eid.iloc[0]
    listed = bwm("fetch", eid, "--like", "raw_ephys_data/*lf*", "--list")
    assert listed.exit_code == 0, listed.output
    assert f"{len(expected)} files, " in listed.stdout.splitlines()[0]
    assert all(path in listed.stdout for path in expected.rel_path)
    assert not alyx.downloads()
    result = bwm("fetch", eid, "--like", "raw_ephys_data/*lf*")
    assert result.exit_code == 0, result.output
    for row in expected.itertuples():
        name = place(little.truth, row)
        here = database.settings.alyx.cache / name
        assert here.read_bytes() == (little.folder / name).read_bytes()
        assert str(here) in result.stdout
    assert sum(alyx.downloads().values()) == len(expected)
    assert bwm("fetch", eid, "--like", "raw_ephys_data/*lf*").exit_code == 0
    assert sum(alyx.downloads().values()) == len(expected)


def test_of_an_insertion_only_its_own_files(database, little):
    probes = (probe.ProbeInsertion & "pid IS NOT NULL").to_dicts()
    for row in probes:
        found = downloads.find(row["pid"])
        assert {r["eid"] for r in found} == {row["eid"]}
        assert all(f"/{row['probe_name']}" in r["collection"] for r in found)
    every = downloads.find(probes[0]["eid"])
    assert len(every) > len(downloads.find(probes[0]["pid"]))


def test_a_revision_that_is_not_there_names_what_is(database, little):
    times = little.truth.datasets[little.truth.datasets.rel_path.str.endswith("spikes.times.npy")]
    eid = times.eid.iloc[0]
    found = downloads.find(eid, "*spikes.times.npy", "2024-05-06")
    assert {row["revision"] for row in found} == {"2024-05-06"}
    with pytest.raises(MissingDataset, match=r"revision '2024-05-07'. Revisions: .*2024-05-06"):
        downloads.find(eid, "*spikes.times.npy", "2024-05-07")
    assert {row["revision"] for row in downloads.find(eid, "*spikes.times.npy", "")} == {""}


def test_what_is_not_there_is_an_error_that_says_what_is(database, little):
    eid = little.truth.sessions.eid.iloc[0]
    with pytest.raises(MissingDataset, match=r"no file matches '\*.avi'. Folders: alf, alf/probe"):
        downloads.find(eid, "*.avi")
    with pytest.raises(QueryError, match="is not a UUID"):
        downloads.find("NYU-11")
    with pytest.raises(QueryError, match="is registered"):
        downloads.find("00000000-0000-4000-8000-000000000000")


def cached(database):
    source = base.open_source(session.DataSource.fetch1("data_source"))
    return source.cached_bytes()


def test_the_cache_stays_below_its_limit_and_the_rows_are_the_same(lend, database, alyx, little):
    limit = 1_000_000
    settings = database.settings.alyx.model_copy(update={"cache_limit": limit})
    sizes = []

    keep = cache_eviction.housekeeping(settings)
    worker.run(housekeeping=lambda: (keep(), sizes.append(cached(database))))
    assert max(sizes) <= limit
    total = little.truth.datasets.file_size.sum()
    assert total > 2 * limit
    held = snapshot(("data_source",))
    with lend() as other:
        other.register(little.folder, little.truth.release)
        other.populate()
        expected = snapshot(("data_source",))
    database.connect()
    assert {n: d for n, d in differences(held, expected).items() if n != "session.DataSource"} == {}
    assert stale.find() == []
    # A later need downloads again.
    eid = little.truth.sessions.eid.iloc[0]
    gone = [
        r
        for r in downloads.find(eid, "spikes.*")
        if not list(settings.cache.rglob(r["dataset_path"]))
    ]
    assert gone
    assert all(path.is_file() for path in downloads.fetch(gone))
