"""The demo as users run it, on the server that it is to have."""

import os
import pty
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from schemas import connection
from schemas.database import embedded
from tests.support.databases import Database

ROOT = Path(__file__).parents[2]


@contextmanager
def shown(backend):
    """Run the demo twice in a home with a space, the second time in a narrow terminal.

    On PostgreSQL it has its own embedded server, on MySQL the configured one.
    """
    with tempfile.TemporaryDirectory(prefix="bwm-test-", dir="/tmp") as folder:
        Path(folder).chmod(0o711)  # a server of root's is another user's, who must pass
        home = Path(folder) / "my home"
        own = {"BWM_HOME": str(home)}
        database = Database(backend, home, **{"bwm.demo_server": "configured"})
        if backend.name == "mysql":
            own = database.environment
        environment = {**os.environ, **own}
        command = [sys.executable, "-m", "populate", "demo"]
        try:
            started = time.monotonic()
            first = subprocess.run(
                command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
            )
            between = time.monotonic()
            narrow = {"COLUMNS": "60", "TERM": "xterm"}
            code, second = _in_a_terminal(command, {**environment, **narrow})
            ended = time.monotonic()
            yield SimpleNamespace(
                home=home,
                own=own,
                environment=environment,
                first=first,
                code=code,
                second=second,
                seconds=(between - started, ended - between),
            )
        finally:
            connection.disconnect()
            if backend.name == "mysql":
                _drop(database.settings)
            embedded.stop(home)


def _drop(settings):
    """Leave nothing on the configured server: neither the demo nor the tables beside it."""
    connection.connect(settings)
    for each in (settings, settings.for_demo()):
        connection.drop(each.prefix)
    connection.disconnect()


def _in_a_terminal(command, environment):
    """Run a program whose output is a terminal; return its exit code and what it printed."""
    ours, its = pty.openpty()
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=its, stderr=subprocess.DEVNULL
    ) as process:
        os.close(its)
        printed = b""
        while True:
            try:
                chunk = os.read(ours, 65_536)
            except OSError:  # so ends a terminal that nobody writes to any more
                break
            if not chunk:
                break
            printed += chunk
    os.close(ours)
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", printed.decode()).replace("\r\n", "\n")
    return process.returncode, text
