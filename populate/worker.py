"""Fill tables: reserve a job, make it, record what fails, stop cleanly.

DataJoint's own job tables hold what is reserved and what failed; a failed job is not repeated
until it is asked for.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import datajoint as dj
import psutil

from populate import plan


@dataclass
class Outcome:
    """What was done for a table.

    Attributes
    ----------
    table : str
        Name, e.g. `behavior.Trials`.
    made : int
        Number of keys made.
    failed : list of tuple
        Keys that failed, with why.
    kept : list of tuple
        Keys that were to be made again and stay as they are, with why.
    """

    table: str
    made: int = 0
    failed: list[tuple[dict[str, Any], str]] = field(default_factory=list)
    kept: list[tuple[dict[str, Any], str]] = field(default_factory=list)


BATCH_SECONDS = 0.5
"""Time between two looks at the progress, where jobs are shorter than that."""

Progress = Callable[[str, int, int], None]
"""Called with the table, the number of keys tried and the number of keys to try."""

Keep = Callable[[], None]
"""Called between jobs, to keep house."""


def run(
    tables: Sequence[type[dj.Table]] | None = None,
    progress: Progress | None = None,
    keep: Keep | None = None,
) -> list[Outcome]:
    """Make every key that can be made now, table after table.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all, in the order of the plan.
    progress : callable, optional
        See `Progress`.
    keep : callable, optional
        See `Keep`.

    Raises
    ------
    KeyboardInterrupt, SystemExit
        Asked to stop. What is made stays, the job in hand is released.
    """
    return [fill(table, progress, keep=keep) for table in tables or plan.tables()]


def retry(tables: Sequence[type[dj.Table]] | None = None, eid: str | None = None) -> int:
    """Forget recorded failures, so that the next run tries their keys again.

    Parameters
    ----------
    tables : sequence of tables, optional
        Default: all.
    eid : str, optional
        Only those of one session.

    Returns
    -------
    int
        Number of failures forgotten.
    """
    forgotten = 0
    for table in tables or plan.tables():
        failed = table().jobs.errors & ({"eid": eid} if eid else {})
        forgotten += len(failed)
        failed.delete_quick()
    return forgotten


def fill(
    table: type[dj.Table],
    progress: Progress | None = None,
    only: Sequence[dict[str, Any]] | None = None,
    keep: Keep | None = None,
) -> Outcome:
    """Make every key of a table that can be made now, or only some of them."""
    target = table()
    jobs = target.jobs
    restriction = () if only is None else (list(only),)
    _release_dead(jobs)
    jobs.refresh(*restriction, delay=-1)
    outcome = Outcome(plan.name_of(table))
    total, tried, batch = len(jobs.pending & (only or {})), 0, 1
    while tried < total:
        if progress:
            progress(outcome.table, tried, total)
        started = time.monotonic()
        try:
            result = target.populate(
                *restriction,
                reserve_jobs=True,
                refresh=False,
                max_calls=batch,
                suppress_errors=True,
                return_exception_objects=True,
            )
        except SystemExit as stop:
            # SIGTERM, which DataJoint raises and yet records as a failure of the key in hand.
            message = f"SystemExit: {stop}" if str(stop) else "SystemExit"
            (_held_here(jobs.errors) & {"error_message": message}).delete_quick()
            raise
        outcome.made += result["success_count"]
        for key, error in result["error_list"]:
            _stop_if_asked(jobs, key, error)
            outcome.failed.append((key, f"{type(error).__name__}: {error}"))
        tried += batch
        if keep:
            keep()
        each = (time.monotonic() - started) / batch
        batch = max(1, min(int(BATCH_SECONDS / each), total - tried))
    if progress and total:
        progress(outcome.table, total, total)
    return outcome


def _stop_if_asked(jobs: dj.jobs.Job, key: dict[str, Any], error: BaseException) -> None:
    """Raise what asked to stop: DataJoint records it as a failure of the key and goes on."""
    if isinstance(error, (KeyboardInterrupt, SystemExit)):
        (jobs.errors & key).delete_quick()
        raise error


def _release_dead(jobs: dj.jobs.Job) -> None:
    """Release the jobs that processes of this machine held when they were killed."""
    held = jobs.reserved & {"host": platform.node()}
    for pid in {row["pid"] for row in held.to_dicts()}:
        # Nothing is in hand here yet: what has our own pid was held by a process that had it
        # before us (as in a container, whose pids are few), or was interrupted.
        if pid == os.getpid() or not psutil.pid_exists(pid):
            (held & {"pid": pid}).delete_quick()


def _held_here(jobs: dj.jobs.Job) -> dj.jobs.Job:
    return jobs & {"host": platform.node(), "pid": os.getpid()}
