"""A full disk is one error: nothing half-written stays, and there is no other attempt."""

import errno
import os

import pytest
from typer.testing import CliRunner

from populate import cli
from schemas import connection
from schemas.database import embedded
from schemas.errors import DiskFull, StorageError
from schemas.sources.one_api import OneSource
from tests.support.alyx import AlyxServer
from tests.support.disks import fill, small_disk
from tests.support.online import source

NEEDED = r"MB are free, [\d.,]+ MB are needed"


@pytest.fixture
def small():
    with small_disk(20) as folder:
        yield folder


@pytest.fixture
def online(release, tmp_path, monkeypatch):
    """A server, and the largest file of spikes that it has."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with AlyxServer(release.folder) as alyx:
        listed = [d for r in OneSource(release.folder, tmp_path).sessions() for d in r.datasets]
        yield alyx, max((d for d in listed if d.kind == "spikes"), key=lambda d: d.file_size)


def test_a_download_onto_a_full_disk_leaves_nothing_and_asks_no_other_server(online, small):
    alyx, dataset = online
    opened = source(alyx, small / "ONE")
    list(opened.sessions([dataset.eid]))
    filler, came = fill(small, leave=100_000), []
    asked = len(alyx.requests)
    with pytest.raises(DiskFull, match=NEEDED):
        opened.fetch([dataset], came.append)
    assert len(alyx.requests) == asked + 1
    assert sum(came) == 0
    partial = small / "ONE" / ".bwm" / "partial"
    assert [path for path in partial.iterdir() if path.suffix != ".lock"] == []
    filler.unlink()
    (path,) = opened.fetch([dataset])
    assert path.stat().st_size == dataset.file_size


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.EDQUOT, DiskFull), (errno.EACCES, StorageError)]
)
def test_no_other_server_is_asked_after_an_error_of_this_machine(
    online, tmp_path, monkeypatch, number, kind
):
    alyx, dataset = online
    opened = source(alyx, tmp_path / "ONE")
    list(opened.sessions([dataset.eid]))

    def refuse(_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    asked = len(alyx.requests)
    with pytest.raises(StorageError) as caught:
        opened.fetch([dataset])
    assert type(caught.value) is kind
    assert len(alyx.requests) == asked + 1


def test_tables_of_a_cache_are_written_whole_or_not_at_all(online, small):
    alyx, _ = online
    opened = source(alyx, small / "ONE")
    filler = fill(small, leave=20_000)
    with pytest.raises(DiskFull):
        list(opened.sessions())
    assert [path for path in small.rglob("*") if path.name.startswith(".sessions")] == []
    filler.unlink()
    assert len(list(opened.sessions())) > 0


# --- the embedded server ------------------------------------------------------------------------


def test_a_new_database_needs_room(small):
    with pytest.raises(DiskFull, match=NEEDED):
        embedded.start(small)
    assert not embedded.folder(small).exists()


def test_a_full_disk_of_the_database_is_not_blamed_on_the_host(tmp_path, monkeypatch):
    with small_disk(100) as home:
        monkeypatch.setenv("BWM_HOME", str(home))
        monkeypatch.setenv("BWM_STORE", str(tmp_path / "store"))
        monkeypatch.chdir(tmp_path)
        try:
            embedded.start(home)
            CliRunner().invoke(cli.app, ["status"])
            filler = fill(home)
            asked = CliRunner().invoke(cli.app, ["status"])
            assert asked.exit_code == 0 or asked.stderr.startswith("DiskFull: ")
            connection.disconnect()
            assert CliRunner().invoke(cli.app, ["server", "stop"]).exit_code == 0
            for command in ("status", "populate"):
                result = CliRunner().invoke(cli.app, [command])
                assert result.exit_code == 1
                assert result.stderr.startswith("DiskFull: ")
                assert "DJ_HOST" not in result.stderr
            filler.unlink()
            assert CliRunner().invoke(cli.app, ["status"]).exit_code == 0
        finally:
            connection.disconnect()
            embedded.stop(home)
