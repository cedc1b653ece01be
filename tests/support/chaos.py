"""Workers at work, seen from the server, and killed at it."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg2
import pymysql

from populate import catalog
from tests.support import processes

ROOT = Path(__file__).parents[2]
LOOK_AGAIN = 0.005
LONGEST_PAUSE = 0.2
"""Between choosing a worker and stopping it (s): so it is met at any moment of its work."""

# Connections that have written rows and not committed them yet.
WRITING = {
    "mysql": "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx "
    "WHERE trx_rows_modified > 0",
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE backend_xid IS NOT NULL",
}

REMEMBERED = 0.11
"""MySQL tells of transactions what it told last, until nobody has asked for so long (s)."""


@dataclass(frozen=True, order=True)
class Held:
    """A job that a worker holds."""

    table: str
    host: str
    pid: int
    connection_id: int
    since: Any


@dataclass(frozen=True)
class Death:
    """What a worker held when it was stopped, and whether it had written rows of it."""

    job: Held
    writing: bool


class Look:
    """Look at a database on a connection of its own, whatever becomes of the server.

    `database` is connected while this is made, and not needed any more afterwards.
    """

    def __init__(self, database: Any, timeout: float = 30.0) -> None:
        self._settings = database.settings
        self._timeout = timeout
        self._connection: Any = None
        self.renew()

    def renew(self) -> None:
        """Look at all tables of the plan, as they are now."""
        tables = {catalog.name_of(table): table() for table in catalog.tables()}
        self._held = " UNION ALL ".join(
            f"SELECT '{name}', host, pid, connection_id, reserved_time "
            f"FROM {table.jobs.full_table_name} WHERE status = 'reserved'"
            for name, table in tables.items()
        )
        counts = " UNION ALL ".join(
            f"SELECT COUNT(*) AS n FROM {table.full_table_name}" for table in tables.values()
        )
        self._made = f"SELECT SUM(n) FROM ({counts}) AS counts"

    def held(self) -> list[Held]:
        """Jobs that are held now."""
        return [Held(*row) for row in self.query(self._held)]

    def made(self) -> int:
        """Number of keys made."""
        return int(self.query(self._made)[0][0])

    def writing(self) -> set[int]:
        """Ids of connections that have written rows and not committed them yet."""
        if self._settings.server_backend == "mysql":
            time.sleep(REMEMBERED)
        return {row[0] for row in self.query(WRITING[self._settings.server_backend])}

    def query(self, text: str) -> Sequence[tuple]:
        """Ask the server; while it is away, ask again."""
        deadline = time.monotonic() + self._timeout
        while (found := self._asked(text, time.monotonic() > deadline)) is None:
            time.sleep(0.1)
        return found

    def _asked(self, text: str, at_last: bool) -> Sequence[tuple] | None:
        try:
            if self._connection is None:
                self._connection = self._connect()
            with self._connection.cursor() as cursor:
                cursor.execute(text)
                return cursor.fetchall()
        except (pymysql.err.MySQLError, psycopg2.Error):
            self.close()
            if at_last:
                raise
            return None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(pymysql.err.MySQLError, psycopg2.Error):
                self._connection.close()
        self._connection = None

    def _connect(self) -> Any:
        s = self._settings
        login = {"host": s.host, "port": s.port, "user": s.user}
        login["password"] = s.password.get_secret_value()
        if s.server_backend == "mysql":
            return pymysql.connect(**login, autocommit=True)
        connection = psycopg2.connect(**login, dbname="postgres")
        connection.autocommit = True
        return connection


class PoolProcess:
    """`bwm populate` in a process group of its own; what it says goes to a file.

    Parameters
    ----------
    database : Database
        What it works on.
    log : Path
        File for both streams.
    *arguments : str
        Of the command.
    within : sequence of str
        Words before the command, as of `ip netns exec`.
    **environment : str
        More variables.
    """

    def __init__(
        self,
        database: Any,
        log: Path,
        *arguments: str,
        within: Sequence[str] = (),
        **environment: str,
    ) -> None:
        self.log = log
        kept = {k: v for k, v in os.environ.items() if not k.startswith("BWM_TEST")}
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*within, sys.executable, "-m", "populate", "populate", *arguments],
                env=kept | database.environment | environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=processes.hear_ctrl_c,
            )

    def family(self) -> list[psutil.Process]:
        """Every process of it that lives, also when the first one does not."""
        return [p for p in psutil.process_iter() if _lives_in(self.process.pid, p)]

    def said(self) -> str:
        """Return what it has printed."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout: float) -> int:
        """Wait for its end; return its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end; it said\n{self.said()}") from None

    def end(self) -> None:
        """Kill what is left of it."""
        left = self.family()
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(left, 10)


def _lives_in(group: int, process: psutil.Process) -> bool:
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        return os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE
    return False


@contextmanager
def pool(*args: Any, **kwargs: Any) -> Iterator[PoolProcess]:
    """Run a pool; nothing of it lives afterwards."""
    running = PoolProcess(*args, **kwargs)
    try:
        yield running
    finally:
        running.end()


class NotMet(AssertionError):
    """No worker was met at work."""


@contextmanager
def frozen_at_work(
    pool: PoolProcess,
    look: Look,
    rng: random.Random,
    timeout: float = 60.0,
    table: str | None = None,
    writing: bool = False,
) -> Iterator[tuple[psutil.Process, Death]]:
    """Stop a worker at a moment when it holds a job, for as long as the context lasts.

    A worker at random; or one that holds a job of `table`, or that is `writing` its rows.
    """
    deadline = time.monotonic() + timeout
    while (met := _meet(pool, look, rng, table, writing)) is None:
        assert pool.process.poll() is None, f"it ended before it was met; it said\n{pool.said()}"
        if time.monotonic() > deadline:
            raise NotMet(f"no worker was met at work; it said\n{pool.said()}")
        time.sleep(LOOK_AGAIN)
    try:
        yield met
    finally:
        with suppress(psutil.NoSuchProcess):
            met[0].resume()


def _meet(
    pool: PoolProcess, look: Look, rng: random.Random, table: str | None, writing: bool
) -> tuple[psutil.Process, Death] | None:
    """Stop a worker; let it go on if it holds no job, or not such a one."""
    own = {process.pid: process for process in pool.family()}
    found = sorted(job for job in look.held() if job.pid in own and not _is_frozen(own[job.pid]))
    if not found:
        return None
    victim = own[rng.choice(found).pid]
    if not (table or writing):
        time.sleep(rng.uniform(0, LONGEST_PAUSE))
    with suppress(psutil.NoSuchProcess):
        victim.suspend()
        for job in [job for job in look.held() if job.pid == victim.pid]:
            at_it = job.connection_id in look.writing()
            if job.table == (table or job.table) and at_it >= writing:
                return victim, Death(job, at_it)
        victim.resume()
    return None


def _is_frozen(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_STOPPED
    return False


def kill_one_at_work(pool: PoolProcess, look: Look, rng: random.Random) -> Death:
    """Kill a random worker with SIGKILL while it holds a job."""
    with frozen_at_work(pool, look, rng) as (victim, death):
        kill(victim)
    return death


def kill(victim: psutil.Process) -> None:
    """Kill a process and wait until it is gone: it is not to be met again as it dies."""
    victim.kill()
    psutil.wait_procs([victim], 10)


def await_made(look: Look, pool: PoolProcess, n: float, timeout: float) -> None:
    """Wait until that many keys are made."""
    deadline = time.monotonic() + timeout
    while (made := look.made()) < n:
        assert pool.process.poll() is None, f"ended with {made} keys; it said\n{pool.said()}"
        assert time.monotonic() < deadline, f"stuck at {made} keys; it said\n{pool.said()}"
        time.sleep(LOOK_AGAIN)


def on_result(deaths: Sequence[Death], how: str = "killed") -> str:
    """Say what was hit."""
    tables = Counter(death.job.table for death in deaths)
    writing = sum(death.writing for death in deaths)
    counted = ", ".join(f"{name} {n}" for name, n in sorted(tables.items()))
    return f"{len(deaths)} workers {how} at {counted}; {writing} of them in the act of writing"
