"""Database servers for tests: private, on this machine alone, gone afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import psutil
import psycopg2
import pymysql

from schemas.database import embedded
from tests.support import docker_files

LOOPBACK = "127.0.0.1"
DOCKER_IMAGE = "mysql:8.4"
DOCKER_TIMEOUT = 90.0
MYSQLD_TIMEOUT = 30.0

PLAIN_MYSQL = ["--skip-log-bin", "--skip-name-resolve", "--innodb-flush-method=nosync"]
FAST_MYSQL = [*PLAIN_MYSQL, "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=OFF"]
# What is committed is the system's: it survives the death of the server, not a loss of power.
LASTING_MYSQL = [*PLAIN_MYSQL, "--innodb-flush-log-at-trx-commit=2"]

NO_MYSQL = """no MySQL server for tests: {reasons}. Do one of these:
- set BWM_TEST_MYSQL=mysql://user:password@host:port to a server whose schemas may be dropped;
- start Docker, which then runs the image mysql:8.4;
- put `mysqld` (MySQL 8.4 or newer) on PATH; a private server is started from it."""


ONLY_OWN = "a test that ends its server takes no other: put `mysqld` (8.4 or newer) on PATH"


class NoMySQL(Exception):
    """No MySQL server can be had; the text says what to do about it."""


class _Unavailable(Exception):
    """This way to a server does not exist here."""


@dataclass(frozen=True)
class Backend:
    """A server that tests may use.

    Attributes
    ----------
    name : str
        As DataJoint calls it: ``mysql`` or ``postgresql``.
    host : str
        A name, an address, or the folder of a socket.
    """

    name: str
    host: str
    port: int
    user: str
    password: str

    @property
    def url(self) -> str:
        """The server as BWM_TEST_MYSQL names it."""
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"{self.name}://{login}@{self.host}:{self.port}"


@contextmanager
def embedded_postgresql() -> Iterator[Backend]:
    """Run the embedded PostgreSQL in a temporary home folder; durability is switched off."""
    with _temporary_folder() as home:
        try:
            found = embedded.start(home)
            # What a power cut leaves of a test's data is of no interest.
            _set(embedded.url(home), fsync="off", full_page_writes="off", synchronous_commit="off")
            yield Backend("postgresql", found.host, found.port, found.user, found.password)
        finally:
            embedded.stop(home)


@contextmanager
def mysql(*options: str) -> Iterator[Backend]:
    """Give a MySQL server: the one that BWM_TEST_MYSQL names, else one in Docker, else `mysqld`.

    Parameters
    ----------
    *options : str
        Further options of a server that is started.

    Raises
    ------
    NoMySQL
        When neither is there.
    """
    with ExitStack() as stack:
        reasons = []
        for way in (_named, _in_docker, _from_path):
            found = _attempt(partial(way, options=[*FAST_MYSQL, *options]), stack)
            if isinstance(found, Backend):
                yield found
                return
            reasons.append(found)
    raise NoMySQL(NO_MYSQL.format(reasons="; ".join(reasons)))


START = {"postgresql": embedded_postgresql, "mysql": mysql}
"""What starts a server of each kind."""

SHIPPED = ("innodb_buffer_pool_size", "innodb_adaptive_hash_index")
"""Settings of `docker/my.cnf` on which the speed of queries depends."""


def as_shipped(name: str) -> AbstractContextManager[Backend]:
    """Start a server with the settings that the project ships, for a database of some GB."""
    if name != "mysql":
        return START[name]()
    return mysql(*(f"--{setting}={docker_files.options()[setting]}" for setting in SHIPPED))


def _attempt(way: Callable[[ExitStack], Backend], stack: ExitStack) -> Backend | str:
    """Return a server, or the reason why there is none; nothing of a failed attempt remains."""
    with ExitStack() as trial:
        try:
            backend = way(trial)
        except _Unavailable as reason:
            return str(reason)
        stack.push(trial.pop_all())
    return backend


def requires_mysql() -> bool:
    """Tell whether a missing MySQL server is a failure, not a reason to skip."""
    return os.environ.get("BWM_TEST_REQUIRE_MYSQL") == "1"


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """Make a folder with a short path that the account of a server can pass, and remove it."""
    # The temporary folder that TMPDIR names may be private; then a server of `nobody`, which runs
    # for root, could not reach its data.
    top = tempfile.gettempdir()
    parents = [Path(top), *Path(top).parents]
    if os.geteuid() == 0 and not all(place.stat().st_mode & 0o001 for place in parents):
        top = "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="bwm-test-", dir=top))
    try:
        if os.geteuid() == 0:
            folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


def _set(url: str, **settings: str) -> None:
    """Change settings of a PostgreSQL."""
    connection = psycopg2.connect(url)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for name, value in settings.items():
                cursor.execute(f"ALTER SYSTEM SET {name} = {value}")
            cursor.execute("SELECT pg_reload_conf()")
    finally:
        connection.close()


def _named(_: ExitStack, options: list[str]) -> Backend:
    """Return the server that the environment names."""
    url = os.environ.get("BWM_TEST_MYSQL")
    if not url:
        raise _Unavailable("BWM_TEST_MYSQL is not set")
    parts = urlsplit(url)
    if parts.scheme != "mysql" or not parts.hostname or not parts.username:
        # Who names a server wants that one: neither another one nor a skipped test.
        raise ValueError("BWM_TEST_MYSQL is not of the form mysql://user:password@host:port")
    return Backend(
        name="mysql",
        host=parts.hostname,
        port=parts.port or 3306,
        user=unquote(parts.username),
        password=unquote(parts.password or ""),
    )


def _in_docker(stack: ExitStack, options: list[str]) -> Backend:
    """Start a container; it is removed when the stack is unwound."""
    try:
        import docker
        from docker.errors import DockerException, ImageNotFound
        from requests.exceptions import RequestException
    except ImportError as error:
        raise _Unavailable(f"no Docker client ({error})") from None
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        raise _Unavailable("no Docker daemon")  # asking the client would leak a socket
    password = secrets.token_hex(16)
    try:
        client = docker.from_env()
        stack.callback(client.close)
        try:
            client.images.get(DOCKER_IMAGE)
        except ImageNotFound:
            client.images.pull(DOCKER_IMAGE)
        container = client.containers.run(
            DOCKER_IMAGE,
            ["mysqld", *options],
            detach=True,
            environment={"MYSQL_ROOT_PASSWORD": password, "MYSQL_ROOT_HOST": "%"},
            ports={"3306/tcp": (LOOPBACK, None)},
            tmpfs={"/var/lib/mysql": ""},
        )
        stack.callback(container.remove, force=True, v=True)
        container.reload()
        port = int(container.ports["3306/tcp"][0]["HostPort"])
    except (DockerException, RequestException) as error:
        raise _Unavailable(f"no Docker daemon to use ({error})") from None
    backend = Backend("mysql", LOOPBACK, port, "root", password)
    _await_mysql(backend, DOCKER_TIMEOUT, lives=lambda: True)
    return backend


def _from_path(stack: ExitStack, options: list[str]) -> Backend:
    """Start a private server from the `mysqld` on PATH; it ends when the stack is unwound."""
    found = PrivateMySQL(stack.enter_context(_temporary_folder()), options)
    stack.callback(found.kill)  # its data are thrown away: no need to let it write them out
    found.start()
    return found.backend


@contextmanager
def restartable(
    name: str, *addresses: str, home: Path | None = None
) -> Iterator[PrivateMySQL | PrivatePostgreSQL]:
    """Run a server that a test may end and start again: nothing that was committed is lost then.

    Parameters
    ----------
    name : str
        As of `Backend`.
    *addresses : str
        Where MySQL listens beside loopback.
    home : Path, optional
        Folder for its data; default a temporary one.

    Raises
    ------
    NoMySQL
        There is no `mysqld` on PATH: servers of others are not for a test to end.
    """
    with nullcontext(home) if home else _temporary_folder() as folder, ExitStack() as stack:
        found: PrivateMySQL | PrivatePostgreSQL
        if name == "postgresql":
            stack.callback(embedded.stop, folder)
            found = PrivatePostgreSQL(folder)
        else:
            try:
                found = PrivateMySQL(folder, LASTING_MYSQL, addresses)
            except _Unavailable as reason:
                raise NoMySQL(f"{reason}, and {ONLY_OWN}") from None
            stack.callback(found.kill)
            found.start()
        yield found


@contextmanager
def frozen(found: PrivateMySQL | PrivatePostgreSQL) -> Iterator[None]:
    """Let a server hang: connections to it are accepted by the system, and nothing is said."""
    held = found.processes()
    try:
        for process in held:
            process.suspend()
        yield
    finally:
        for process in held:
            with suppress(psutil.NoSuchProcess):
                process.resume()


class PrivateMySQL:
    """A MySQL of our own: when it is started again, it has the same data, address and password.

    Raises
    ------
    _Unavailable
        There is no `mysqld` on PATH, or it cannot make its data folder.
    """

    def __init__(self, folder: Path, options: list[str], addresses: tuple[str, ...] = ()) -> None:
        program = shutil.which("mysqld")
        if program is None:
            raise _Unavailable("no mysqld on PATH")
        self.backend = Backend("mysql", LOOPBACK, _free_port(), "root", secrets.token_hex(16))
        self._log = folder / "log"
        command = [program, "--no-defaults", f"--datadir={folder / 'data'}", "--mysqlx=OFF"]
        command += ["--secure-file-priv=", *options]
        if os.geteuid() == 0:
            shutil.chown(folder, user="nobody")
            command.append("--user=nobody")
        _initialise(command, folder, self.backend.password)
        self._command = [
            *command,
            f"--bind-address={','.join([LOOPBACK, *addresses])}",
            f"--port={self.backend.port}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'pid'}",
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts a login."""
        with self._log.open("ab") as out:
            process = self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for the tests, which then end the server
            )
        _await_mysql(self.backend, MYSQLD_TIMEOUT, lambda: process.poll() is None, self._log)

    def stop(self) -> None:
        """Let it end its connections and write out its data."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def processes(self) -> list[psutil.Process]:
        """Its processes, as long as it runs."""
        return [psutil.Process(self._process.pid)] if self._process else []

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


class PrivatePostgreSQL:
    """An embedded PostgreSQL of a home folder of its own."""

    def __init__(self, home: Path) -> None:
        self._home = home
        found = embedded.start(home)
        self.backend = Backend("postgresql", found.host, found.port, found.user, found.password)
        # It need not survive the loss of power, but its own death.
        _set(embedded.url(home), fsync="off")

    def start(self) -> None:
        """Start it, unless it runs, and wait until it accepts a login."""
        embedded.start(self._home)

    def stop(self) -> None:
        """Let it end its connections and write out its data."""
        embedded.stop(self._home)

    def kill(self) -> None:
        """End it as a crash does."""
        family = self.processes()
        for process in family[:1]:
            process.kill()
        psutil.wait_procs(family, MYSQLD_TIMEOUT)  # the others end when they notice

    def processes(self) -> list[psutil.Process]:
        """Its processes, the first of which the others serve."""
        with suppress(FileNotFoundError, psutil.NoSuchProcess):
            pid = int((embedded.folder(self._home) / "postmaster.pid").read_text().split()[0])
            first = psutil.Process(pid)
            return [first, *first.children()]
        return []


def _initialise(command: list[str], folder: Path, password: str) -> None:
    """Make the data folder, with a root account that logs in through loopback."""
    opening = folder / "opening.sql"
    opening.write_text(
        f"ALTER USER root@localhost IDENTIFIED BY '{password}';\n"
        f"CREATE USER root@'{LOOPBACK}' IDENTIFIED BY '{password}';\n"
        f"GRANT ALL ON *.* TO root@'{LOOPBACK}' WITH GRANT OPTION;\n"
    )
    opening.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(opening, user="nobody")
    with (folder / "log").open("wb") as log:
        done = subprocess.run(
            [*command, "--initialize-insecure", f"--init-file={opening}"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            check=False,
        )
    opening.unlink()
    if done.returncode != 0:
        raise _Unavailable(f"mysqld --initialize-insecure failed: {_tail(folder / 'log')}")


def _await_mysql(
    backend: Backend, timeout: float, lives: Callable[[], bool], log: Path | None = None
) -> None:
    """Wait until a server accepts a login."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            pymysql.connect(
                host=backend.host,
                port=backend.port,
                user=backend.user,
                password=backend.password,
                connect_timeout=2,
            ).close()
            return
        except pymysql.err.MySQLError as error:
            if not lives() or time.monotonic() > deadline:
                more = f": {_tail(log)}" if log is not None else ""
                raise _Unavailable(f"MySQL does not come up ({error}){more}") from None
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-8:])
