"""Workers on a full disk: one error, nothing lost, and the same command continues."""

import re

import pytest

from populate import catalog, needed_space, status
from populate.workers import pool, worker
from schemas import connection, disk
from schemas.errors import DiskFull
from schemas.sources.records import Selection
from tests.support import servers
from tests.support.alyx import DEFAULT_TAG, AlyxServer
from tests.support.databases import Database, held_objects, stored_objects
from tests.support.disks import fill, small_disk

TABLES = ("Trials", "Wheel", "Channels", "SpikeSorting", "Spikes", "WheelMoves")
SIZES = {"postgresql": 120, "mysql": 400}


def assert_all_done(database, tables):
    """Everything is there once, and no job is left."""
    worker.run(tables)
    assert status.failures() == []
    assert [len(table().jobs) for table in tables] == [0] * len(tables)
    assert all(len(table()) == len(table().key_source) for table in tables)
    assert held_objects(database) == stored_objects()


def states(tables):
    return {job["status"] for table in tables for job in table().jobs.to_dicts()}


def test_a_full_store_stops_the_workers_and_no_job_fails(lend, release, tmp_path):
    with (
        small_disk(60) as disk,
        lend(tmp_path / "home", settings={"bwm.store": str(disk)}) as database,
    ):
        database.register(release.folder, release.truth.release)
        tables = catalog.find(TABLES)
        filler = fill(disk, leave=20_000)
        with pytest.raises(DiskFull, match=r"MB are free, [\d.]+ MB are needed"):
            worker.run(tables)
        with pytest.raises(DiskFull):
            pool.run(2, tables)
        assert states(tables) <= {"pending"}
        assert held_objects(database) - {"filler"} == stored_objects()
        filler.unlink()
        assert_all_done(database, tables)


@pytest.fixture
def full_server(backend):
    """A server of its own, and the small disk with its data."""
    with small_disk(SIZES[backend.name]) as disk:
        (disk / "data").mkdir(mode=0o711)
        try:
            with servers.restartable(backend.name, home=disk / "data") as server:
                yield server, disk
                connection.disconnect()
        except servers.NoMySQL as reason:
            if servers.requires_mysql():
                raise
            pytest.skip(str(reason))


def test_a_full_disk_of_the_server_stops_the_worker_and_no_job_fails(
    full_server, release, tmp_path
):
    server, disk = full_server
    database = Database(server.backend, tmp_path / "home")
    database.connect()
    database.register(release.folder, release.truth.release)
    tables = catalog.find(TABLES)
    filler = fill(disk)
    with pytest.raises(DiskFull, match="disk of the database server is full"):
        worker.run(tables)
    filler.unlink()
    assert "error" not in states(tables)
    assert_all_done(database, tables)


def test_populate_warns_of_too_little_room_before_it_starts(lend, release, tmp_path, monkeypatch):
    online = tmp_path / "online"
    with AlyxServer(release.folder) as alyx, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path))
        of_server = {"alyx.url": alyx.url, "alyx.user": alyx.user, "alyx.password": alyx.password}
        more = {**of_server, "alyx.cache": str(online), "alyx.requests_per_minute": 100_000}
        with lend(tmp_path / "home", settings=more) as database:
            database.register(alyx.url, selection=Selection(tag=DEFAULT_TAG))
            tables = catalog.find(TABLES)
            assert needed_space.warnings(tables, database.settings) == []
            patch.setattr(disk, "free", lambda _: 1_000_000)
            (text,) = needed_space.warnings(tables, database.settings)
            found = re.search(r"about (\S+) MB of downloads and (\S+) MB of objects are", text)
            downloads, objects = (float(n) for n in found.groups())
            assert downloads > objects > 0
            limited = database.settings.with_cache_limit("10kB")
            assert "about 0.0 MB of downloads" in needed_space.warnings(tables, limited)[0]
            worker.run(tables)
            for text in needed_space.warnings(tables, database.settings):  # files without a key
                assert float(re.search(r"about (\S+) MB", text)[1]) < downloads / 5
            read = sum(p.stat().st_size for p in online.glob("*/Subjects/**/*") if p.is_file())
            held = sum(p.stat().st_size for p in (tmp_path / "home").rglob("*.parquet"))
            assert 0.8 < downloads / (read / 1e6) < 2
            assert 0.5 < objects / (held / 1e6) < 2
