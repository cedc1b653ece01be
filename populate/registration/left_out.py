"""What of registered sessions is not imported, and why: notes of a registration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from populate.registration import upsert
from schemas import session
from schemas.sources import alf
from schemas.sources.names import bounded
from schemas.sources.records import SessionRecord


class Notes:
    """Collects the notes of sessions that are registered.

    Parameters
    ----------
    task : str, optional
        Task that is chosen of sessions that ran several, e.g. `task_01` or `alf/task_01`.
    """

    def __init__(self, task: str | None = None) -> None:
        self._task = task
        chosen = session.TaskChoice.to_dicts()
        self._chosen = {(row["eid"], row["data_kind"]) for row in chosen}
        self._tasks: list[str] = []
        self._old: Counter[tuple[str, str]] = Counter()
        self._unread: Counter[str] = Counter()

    def take(self, records: Iterable[SessionRecord], report: upsert.Report) -> None:
        """Note what is left out of sessions, and write which task is chosen of them."""
        choices = []
        for record in records:
            choices += self._choose(record)
            names = {(d.collection, d.name) for d in record.datasets}
            for dataset in record.datasets:
                new = alf.current_name(dataset)
                if new is None:
                    self._unread[dataset.name] += alf.is_unread(dataset)
                elif (dataset.collection, new) not in names:
                    self._old[dataset.name, new] += 1
        upsert.choose_tasks(choices, report)

    def _choose(self, record: SessionRecord) -> list[upsert.Row]:
        """Return the rows of a session's choice; note the choice that is open."""
        rows, left = [], {}
        for kind, tasks in alf.tasks_by_kind(record.datasets).items():
            wanted = [task for task in tasks if self._task in (task, task.rpartition("/")[2])]
            key = {"eid": record.eid, "data_kind": kind}
            if wanted:
                rows.append({**key, "task_collection": wanted[0]})
            elif (record.eid, kind) not in self._chosen:
                left[kind] = tasks
        if left:
            tasks = sorted({task for found in left.values() for task in found})
            self._tasks.append(
                f"{' and '.join(tasks)} of session {record.eid} both have {', '.join(left)}, "
                f"which is not imported before one is chosen: register --eid {record.eid} "
                f"--task {tasks[-1]}."
            )
        return rows

    def lines(self) -> list[str]:
        """Return the notes; what many sessions have in common is one note."""
        old = [
            f"{name} is an old name that is not read ({n} files): it would be read as {new}."
            for (name, new), n in sorted(self._old.items())
        ]
        unread = [f"{name} ({n} files)" for name, n in sorted(self._unread.items()) if n]
        lines = bounded(self._tasks) + bounded(old)
        if unread:
            lines.append(f"no table reads {', '.join(bounded(unread))}.")
        return lines
