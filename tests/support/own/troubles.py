"""Tables of one's own whose jobs do what they are told: wait, compute, starve, or die."""

from __future__ import annotations

import os
import signal
import time

import datajoint as dj
import numpy as np

from schemas import connection, rows

schema = connection.schema(f"own_{connection.active().prefix}")


@schema
class Task(dj.Manual):
    """What is to be done."""

    definition = """
    # one row per job
    task   : int32        # number
    ---
    kind   : varchar(16)  # as the functions of this module are called
    amount : float64      # (s) or bytes
    """


@schema
class Result(dj.Computed):
    """What was done."""

    definition = """
    # one row per job
    -> Task
    ---
    pid : int32  # the process that did it
    """

    def make_fetch(self, key):
        """Fetch what is to be done."""
        return (Task & key).fetch1("kind", "amount")

    def make_compute(self, key, kind, amount):  # noqa: ARG002
        """Do it."""
        if kind != "dawdle":
            KINDS[kind](amount)
        return os.getpid(), amount if kind == "dawdle" else 0.0

    def make_insert(self, key, pid, seconds):
        """Say who did it, and wait before it is final."""
        rows.insert1(self, {**key, "pid": pid})
        time.sleep(seconds)


def wait(seconds):
    """Wait, as for a network."""
    time.sleep(seconds)


def compute(seconds):
    """Compute on one core, for as long as a core of its own would take so many seconds."""
    values, until = np.linspace(0, 1, 100_000), time.process_time() + seconds
    while time.process_time() < until:
        np.sin(values).sum()


def hold(seconds):
    """Stay in one call of C that lets no other thread and no signal's handler run."""
    sum(range(int(seconds * 50_000_000)))


def fill(n_bytes):
    """Fill memory."""
    np.ones(int(n_bytes) // 8)


def die(_):
    """End as if there were no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)


def lose(_):
    """Lose the connection to a server that is there, as by a statement that it does not take."""
    mysql = dj.conn().adapter.backend == "mysql"
    ends = "KILL {}" if mysql else "SELECT pg_terminate_backend({})"
    connection.open_another().query(ends.format(dj.conn().connection_id))
    dj.conn().query("SELECT 1", reconnect=False)


def ask(seconds):
    """Ask the server for something that takes long."""
    mysql = dj.conn().adapter.backend == "mysql"
    dj.conn().query(f"SELECT {'SLEEP' if mysql else 'pg_sleep'}({seconds})")


KINDS = {each.__name__: each for each in (wait, compute, hold, fill, die, lose, ask)}


def give(*tasks):
    """Insert tasks: each a kind and an amount."""
    given = [(number, *task) for number, task in enumerate(tasks)]
    Task.insert(dict(zip(Task.heading.names, row, strict=True)) for row in given)
