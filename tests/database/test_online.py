"""From a metadata server to rows: the same as from the folder that the server serves."""

import pytest
from typer.testing import CliRunner

from populate import cli, status, worker
from schemas.sources.base import Selection
from tests.support.alyx import AlyxServer
from tests.support.databases import Database, differences, snapshot

PROJECT = "ibl_neuropixel_brainwide_01"
PER_MINUTE = 100_000
"""Requests that the tests allow: a real server is asked 60 times a minute."""


def online(backend, folder, alyx, **more):
    """A database whose downloads have a cache of their own."""
    settings = {
        "alyx.url": alyx.url,
        "alyx.user": alyx.user,
        "alyx.password": alyx.password,
        "alyx.data_server": alyx.files_url,
        "alyx.cache": str(folder / "cache"),
        "alyx.requests_per_minute": PER_MINUTE,
        **more,
    }
    return Database(backend, folder / "home", **settings)


@pytest.fixture(scope="module")
def alyx(release):
    with AlyxServer(release.folder) as server:
        yield server


OF_THE_SOURCE = ("data_source", "release_name", "release_origin", "release_rule", "release_md5")
"""What says where rows come from: it differs, of course."""


@pytest.fixture(scope="module")
def expected(_populated):
    """What the database holds that was filled from the folder."""
    _populated.connect()
    return snapshot(OF_THE_SOURCE)


@pytest.fixture
def client_home(tmp_path, monkeypatch):
    """A home of its own for what the client of the server keeps."""
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def database(backend, alyx, client_home, tmp_path):
    database = online(backend, tmp_path, alyx)
    database.connect()
    alyx.forget()
    yield database
    database.drop()


def test_one_register_and_one_populate_bring_a_release(database, alyx, expected):
    def bwm(*arguments):
        result = CliRunner().invoke(cli.app, arguments, env=database.environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    bwm("register", "--alyx", alyx.url, "--project", PROJECT, "--name", "everything")
    bwm("populate")
    database.connect()
    assert differences(snapshot(OF_THE_SOURCE), expected) == {}
    assert set(alyx.downloads().values()) == {1}
    assert alyx.most_in_flight() <= 2
    again = database.register(alyx.url, selection=Selection(project=PROJECT))
    assert not any(report.changed for report in again)
    assert sum(outcome.made for outcome in worker.run()) == 0
    assert not [state for state in status.status() if state.stale or state.failed or state.pending]
