"""Whether everything is whole: files, stored objects, counts across tables, and jobs.

Nothing is locked, and workers may run meanwhile: what looks damaged is looked at once more before
it is told.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from populate.verify import objects
from populate.verify.damage import Damage, Report
from populate.verify.objects import Task
from populate.verify.repair import Removed, repair

__all__ = ["OLDER_THAN", "Damage", "Removed", "Report", "repair", "verify"]

OLDER_THAN = 600.0
"""Age (s) from which a file that no row points to is an orphan: workers write it before the row."""

Progress = Callable[[int, int], None]
"""Called with the number of bytes that were read, and of all that are to be read."""


def verify(
    deep: bool = False,
    eid: str | None = None,
    older_than: float = OLDER_THAN,
    progress: Progress | None = None,
) -> Report:
    """Look whether everything is whole.

    Parameters
    ----------
    deep : bool
        Read every object and file, and compare what they hold; else their size.
    eid : str, optional
        Only what is of one session.
    older_than : float
        Seconds; a file that no row points to is an orphan when it is older.
    progress : callable, optional
        See `Progress`.

    Raises
    ------
    StorageError
        The store cannot be opened or listed.
    """
    report = Report()
    store = objects.Objects(eid)
    suspected = store.suspects()
    if deep:
        tasks = store.tasks(suspected)
        suspected += _run(tasks, progress)
        report.read = sum(task.n_bytes for task in tasks)
    whole = objects.WHOLE_DEEP if deep else objects.WHOLE
    found = store.confirm(suspected, deep)
    report.add(objects.OBJECTS, whole, len(store.references), found)
    loose = store.orphans(older_than)
    report.add(objects.ORPHANS, objects.NO_ORPHANS, store.n_held, loose)
    return report


def _run(tasks: Sequence[Task], progress: Progress | None) -> list[Damage]:
    """Read what is to be read, some at a time: hashing leaves other threads to run."""
    total, done, lock = sum(task.n_bytes for task in tasks), 0, threading.Lock()

    def advance(n_bytes: int) -> None:
        nonlocal done
        with lock:
            done += n_bytes
            if progress:
                progress(min(done, total), total)

    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        running = [pool.submit(task.run, advance) for task in tasks]
        try:
            results = [each.result() for each in as_completed(running)]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [damage for damage in results if damage]
