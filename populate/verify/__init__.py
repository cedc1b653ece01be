"""Verification of files, stored objects, counts across tables, and jobs.

Workers may run at the same time, because nothing is locked. Apparent damage is therefore checked
again before it is reported.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

from populate.removal import Removed
from populate.verify import counts, files, jobs, objects, rules
from populate.verify.damage import Damage, Report
from populate.verify.objects import Task
from populate.verify.repair import repair

__all__ = ["OLDER_THAN", "Damage", "Removed", "Report", "repair", "verify"]

OLDER_THAN = 600.0
"""Age (s) from which a file without a row is an orphan: workers write the file before the row."""

Progress = Callable[[int, int], None]
"""Called with the number of bytes that were read, and the number of bytes to read in total."""


def verify(
    deep: bool = False,
    eid: str | None = None,
    older_than: float = OLDER_THAN,
    progress: Progress | None = None,
    is_lost: bool = False,
) -> Report:
    """Check files, stored objects, counts and jobs, and report what is damaged.

    Parameters
    ----------
    deep : bool
        Read and hash every object and file; otherwise only their sizes are compared.
    eid : str, optional
        Only one session.
    older_than : float
        Age from which a file without a row is an orphan (s).
    progress : callable, optional
        See `Progress`.
    is_lost : bool
        If the store is empty, it was lost: all rows that refer to it are damaged.

    Raises
    ------
    StorageError
        The store cannot be opened or listed.
    """
    report = Report()
    store, listed = objects.Objects(eid, is_lost), files.Files(eid)
    of_store, of_files = store.suspects(), listed.suspects()
    if deep:
        tasks = store.tasks(of_store), listed.tasks(of_files)
        report.read = sum(task.n_bytes for some in tasks for task in some)
        found = _run([*tasks[0], *tasks[1]], progress)
        of_store += [damage for damage in found if damage.check == objects.OBJECTS]
        of_files += [damage for damage in found if damage.check == files.FILES]
    of_files = listed.confirm(of_files, deep)
    report.add(files.FILES, files.HASHES if deep else files.SIZES, len(listed.here), of_files)
    whole = objects.WHOLE_DEEP if deep else objects.WHOLE
    report.add(objects.OBJECTS, whole, len(store.references), store.confirm(of_store, deep))
    report.add(objects.ORPHANS, objects.NO_ORPHANS, store.n_held, store.orphans(older_than))
    _compare_counts(report, eid)
    report.add(jobs.JOBS, jobs.PROMISE, jobs.count(eid), jobs.find(eid))
    return report


def _compare_counts(report: Report, eid: str | None) -> None:
    every = rules.rules()
    n_rows = counts.count_rows(every, eid)
    found = counts.find(every, eid, report.damage)
    for check, promise in rules.PROMISES.items():
        tables = {rule.table for rule in every if rule.check == check}
        n_checked = sum(n_rows.get(table, 0) for table in tables)
        report.add(check, promise, n_checked, [one for one in found if one.check == check])


def _run(tasks: Sequence[Task], progress: Progress | None) -> list[Damage]:
    """Run tasks in threads, since hashing releases the interpreter lock."""
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
