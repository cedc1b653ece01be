"""A server over the simulated release, and what the tests of it and of its source share."""

import pytest
import requests

from schemas.sources.one_api import OneSource
from tests.support.alyx import AlyxServer
from tests.support.alyx.plain import REPLIES, Client, write_odd


@pytest.fixture
def own_home(tmp_path, monkeypatch):
    """A home folder for a test in which ONE writes into it."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    return tmp_path / "user"


@pytest.fixture
def alyx(release):
    """A server over the simulated release, for a test that changes it."""
    with AlyxServer(release.folder) as server:
        yield server


@pytest.fixture(scope="module")
def shared(release):
    """A server over the simulated release that no test changes."""
    with AlyxServer(release.folder) as server:
        yield server


@pytest.fixture(scope="module")
def offline(release, tmp_path_factory):
    """The records of the folder that is served."""
    return OneSource(release.folder, tmp_path_factory.mktemp("home")).sessions()


@pytest.fixture
def connect():
    with requests.Session() as session:
        yield lambda server: Client(server, session)


@pytest.fixture
def client(shared, connect):
    return connect(shared)


@pytest.fixture
def own(alyx, connect):
    return connect(alyx)


@pytest.fixture
def odd(tmp_path):
    """A folder with few rows of all kinds."""
    return write_odd(tmp_path / "odd")


@pytest.fixture
def replies():
    """The recorded replies of the real Alyx."""
    if not REPLIES.is_dir():
        pytest.skip("the recorded replies are not beside the repository")
    return REPLIES
