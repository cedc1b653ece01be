"""Servers, simulated releases and databases for tests.

`tests/unit` needs none of the servers, and starts no process. A test that asks for `backend`,
directly or through another fixture, runs once on each server and is marked `database`.
"""

import os
import re
import sys
from contextlib import contextmanager
from pathlib import Path

os.environ["DJ_IGNORE_CONFIG_FILE"] = "true"
for variable in [name for name in os.environ if name.startswith(("DJ_", "BWM_"))]:
    if not variable.startswith(("BWM_TEST_", "DJ_IGNORE")):
        del os.environ[variable]  # a test never touches the database of the one who runs it
# Hundreds of processes are started: none compiles the project that another one compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

import pytest

from tests.support import demo as demos
from tests.support import servers
from tests.support.databases import Database, Release

REAL = Path(__file__).parents[1].parent / "shared" / "real"


def pytest_collection_modifyitems(config, items):
    for item in items:
        if "backend" in item.fixturenames:
            item.add_marker(pytest.mark.database)
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=turn)


SHARES = {
    **dict.fromkeys(("test_pool", "test_stale", "test_worker", "test_cluster"), 1),
    **dict.fromkeys(("test_online", "test_own_tables", "test_alyx_registration"), 2),
    **dict.fromkeys(("test_bad_input", "test_empty", "test_roles", "test_upgrade"), 2),
}
"""Files whose tests fill databases of their own, in shares that take about as long as the rest."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Give each share of a server's tests to one process, and the others file by file.

    So three servers of each kind are started, one is filled for all tests that only read, and each
    file simulates its releases once. The groups of xdist do as much, but are lost with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            found = re.search(r"\[(postgresql|mysql)[]-]", nodeid)
            if found is None:
                return file
            return f"{found[1]} {SHARES.get(Path(file).stem, 0)}"

    config.option.loadscopereorder = False  # in the order of `turn`
    return ByServer(config, log)


def turn(item):
    """Return when a test has its turn: what takes long begins first, so that no process waits."""
    if "backend" not in item.fixturenames:
        return 0 if item.path.stem == "test_readme_commands" else 4
    return (2, 1, 3)[SHARES.get(item.path.stem, 0)]


@pytest.fixture(scope="session", params=["postgresql", "mysql"])
def backend(request):
    """A database server of each kind."""
    try:
        with {"postgresql": servers.embedded_postgresql, "mysql": servers.mysql}[
            request.param
        ]() as found:
            yield found
    except servers.NoMySQL as reason:
        if servers.requires_mysql():
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def release(tmp_path_factory):
    """A simulated release with every edge case, and its truth."""
    from schemas.sources import simulator

    folder = tmp_path_factory.mktemp("release")
    return Release(folder, simulator.simulate(folder, "tiny", seed=1))


@pytest.fixture(scope="session")
def faulty(tmp_path_factory):
    """A simulated release in which some sessions have one fault each."""
    from schemas.sources import simulator

    folder = tmp_path_factory.mktemp("faulty")
    return Release(folder, simulator.simulate(folder, "tiny", seed=2, faults=True, n_sessions=7))


@pytest.fixture(scope="session")
def lend(backend, tmp_path_factory):
    """Lend empty databases: `with lend() as database`; settings by their keys, as of `Database`.

    Making one takes seconds, emptying one a moment.
    """
    spare = []

    @contextmanager
    def lending(home=None, settings=()):
        home = home or tmp_path_factory.mktemp("home")
        database = Database(backend, home, spare.pop() if spare else None, **dict(settings))
        database.connect()
        yield database
        database.connect()
        database.clear()
        spare.append(database.settings.prefix)

    yield lending
    for prefix in spare:
        database = Database(backend, tmp_path_factory.mktemp("home"), prefix)
        database.connect()
        database.drop()


@pytest.fixture
def database(lend, tmp_path):
    """An empty database, emptied again afterwards."""
    with lend(tmp_path / "home") as database:
        yield database


@pytest.fixture(scope="session")
def _populated(lend, release):
    with lend() as database:
        database.register(release.folder, release.truth.release)
        database.populate()
        yield database


@pytest.fixture
def populated(_populated):
    """A database with the simulated release in every table: tests only read it."""
    _populated.connect()
    return _populated


@pytest.fixture(scope="session")
def _tuned(lend, tmp_path_factory):
    from schemas.sources import simulator

    folder = tmp_path_factory.mktemp("tuned")
    size = {"n_sessions": 1, "n_tuned": 1, "n_units": 64, "n_frequencies": 513}
    truth = simulator.simulate(folder, "tiny", seed=3, **size)
    with lend() as database:
        database.register(folder, truth.release)
        assert not database.populate()
        yield database, Release(folder, truth)


@pytest.fixture
def tuned(_tuned):
    """A populated database with a session of tuned units, and its truth: tests only read it."""
    database, found = _tuned
    database.connect()
    return found


@pytest.fixture(scope="session")
def demo(backend):
    """What `bwm demo` printed and left behind: tests only read it."""
    with demos.shown(backend) as found:
        yield found


@pytest.fixture
def statements(monkeypatch):
    """Statements that reach the server."""
    import datajoint as dj

    sent, query = [], dj.Connection.query

    def noted(self, statement, *arguments, **options):
        sent.append(statement)
        return query(self, statement, *arguments, **options)

    monkeypatch.setattr(dj.Connection, "query", noted)
    return sent


@pytest.fixture(scope="session")
def real():
    """Folder of real recordings, where there is one beside the project."""
    if not REAL.is_dir():
        pytest.skip(f"no real data in {REAL.name}/ beside the project")
    return REAL
