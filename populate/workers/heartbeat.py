"""The heartbeat of a worker: a thread that records that the worker is alive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import datajoint as dj

from populate import sql
from populate.workers.queue import Key, own_job_condition
from schemas import connection


class Heartbeat(threading.Thread):
    """Sets the column `duration` of the current job regularly, over its own connection.

    The column is the heartbeat of a reserved job: see `queue`. None is sent for a job that ends
    within the first interval.

    Parameters
    ----------
    interval : float
        Seconds between two heartbeats.
    """

    def __init__(self, interval: float) -> None:
        super().__init__(daemon=True, name="heartbeat")
        self._interval = interval
        self._job: tuple[dj.jobs.Job, Key, int] | None = None
        self._changed = threading.Condition()
        self._stopped = False
        self._connection: dj.Connection | None = None

    @contextmanager
    def during(self, job_table: dj.jobs.Job, key: Key, connection_id: int) -> Iterator[None]:
        """Send heartbeats for a job until the block ends."""
        self._set_job((job_table, key, connection_id))
        try:
            yield
        finally:
            self._set_job(None)

    def _set_job(self, job: tuple[dj.jobs.Job, Key, int] | None) -> None:
        with self._changed:
            self._job = job
            self._changed.notify()

    def stop(self) -> None:
        """Stop the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def run(self) -> None:
        """Send heartbeats for the current job until `stop` is called."""
        while True:
            with self._changed:
                if self._stopped:
                    break
                job = self._job
                changed = self._changed.wait(self._interval if job else None)
            if job and not changed:  # the interval has passed, and the job is the same
                self._send(*job)
        self._close()

    def _send(self, job_table: dj.jobs.Job, key: Key, connection_id: int) -> None:
        condition, values = own_job_condition(job_table, key, connection_id)
        try:
            if self._connection is None:
                self._connection = connection.open_another()
            self._connection.query(
                f"UPDATE {job_table.full_table_name} "
                f"SET duration = {sql.seconds_since('reserved_time')} WHERE {condition}",
                values,
            )
        except Exception:
            self._close()  # after any error, the next update opens a new connection

    def _close(self) -> None:
        if self._connection is not None:
            with suppress(Exception):
                self._connection.close()
        self._connection = None
