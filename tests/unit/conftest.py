"""A unit test starts no process and no server: what tries to is stopped by name."""

import multiprocessing.util
import sys

import pytest

STARTS = {
    "subprocess.Popen",
    "os.posix_spawn",
    "os.fork",
    "os.forkpty",
    "os.system",
    "os.exec",
    "socket.bind",
}
_running = []


def _refuse(event, arguments):
    # Matplotlib lists the fonts of a new machine with `fc-list`, once.
    if _running and event in STARTS and "fc-list" not in str(arguments):
        raise AssertionError(f"{_running[-1]} starts something ({event}): see tests/processes")


sys.addaudithook(_refuse)


@pytest.fixture(autouse=True)
def _starts_nothing(request, monkeypatch):
    # A process of multiprocessing is started below what Python reports to its hooks.
    monkeypatch.setattr(
        multiprocessing.util, "spawnv_passfds", lambda *_: _refuse("os.posix_spawn", _)
    )
    _running.append(request.node.nodeid)
    yield
    _running.pop()
