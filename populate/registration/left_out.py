"""Notes on files of registered sessions that are not imported, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from populate.registration import upsert
from schemas import session
from schemas.sources import alf
from schemas.sources.names import bounded
from schemas.sources.records import SessionRecord


class Notes:
    """Collects such notes during a registration.

    Parameters
    ----------
    task : str, optional
        Task to import for sessions with several tasks, e.g. `task_01` or `alf/task_01`.
    """

    def __init__(self, task: str | None = None) -> None:
        self._task = task
        chosen = session.TaskChoice.to_dicts()
        self._chosen = {(row["eid"], row["data_kind"]) for row in chosen}
        self._task_notes: list[str] = []
        self._old: Counter[tuple[str, str]] = Counter()
        self._unread: Counter[str] = Counter()

    def add(self, records: Iterable[SessionRecord]) -> list[upsert.Row]:
        """Add the notes on sessions; return the rows of `TaskChoice` for these sessions."""
        choices = []
        for record in records:
            choices += self._choose(record)
            names = {(d.collection, d.name) for d in record.datasets}
            for dataset in record.datasets:
                new = alf.current_name(dataset)
                if new is None and alf.is_unread(dataset):
                    self._unread[dataset.name] += 1
                elif new is not None and (dataset.collection, new) not in names:
                    self._old[dataset.name, new] += 1
        return choices

    def _choose(self, record: SessionRecord) -> list[upsert.Row]:
        """Return the rows of `TaskChoice` for a session.

        The kinds of data for which no task is chosen yet become a note.
        """
        rows, undecided = [], {}
        for kind, tasks in alf.tasks_by_kind(record.datasets).items():
            wanted = [task for task in tasks if self._task in (task, task.rpartition("/")[2])]
            key = {"eid": record.eid, "data_kind": kind}
            if wanted:
                rows.append({**key, "task_collection": wanted[0]})
            elif (record.eid, kind) not in self._chosen:
                undecided[kind] = tasks
        if undecided:
            tasks = sorted({task for found in undecided.values() for task in found})
            self._task_notes.append(
                f"session {record.eid} has {', '.join(undecided)} in {' and '.join(tasks)}: choose "
                f"the one to import, e.g. `bwm register ... --eid {record.eid} --task {tasks[-1]}`."
            )
        return rows

    def lines(self) -> list[str]:
        """Return the notes, one for all sessions that have the same file name."""
        old = [
            f"{name} is an old name and not imported ({n} files): rename it to {new}."
            for (name, new), n in sorted(self._old.items())
        ]
        unread = [f"{name} ({n} files)" for name, n in sorted(self._unread.items())]
        lines = bounded(self._task_notes) + bounded(old)
        if unread:
            lines.append(f"no table reads {', '.join(bounded(unread))}.")
        return lines
