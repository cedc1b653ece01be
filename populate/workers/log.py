"""The log of workers: one line a job, for people or for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone

from rich.filesize import decimal

from populate.workers.worker import JobResult


def printer(form: str) -> Callable[[JobResult], None]:
    """Return what prints the line of a job, as `"text"` or `"json"`, at once as it is done."""
    write = {"text": as_text, "json": as_json}[form]

    def print_result(done: JobResult) -> None:
        sys.stdout.write(f"{write(done)}\n")
        sys.stdout.flush()

    return print_result


def as_text(done: JobResult) -> str:
    """Write a line for people.

    Examples
    --------
    `2026-11-24 09:30:00 made behavior.Trials (eid 4b7f...) 0.52 s, 421 rows, read 1.2 MB`
    """
    key = ", ".join(f"{name} {value}" for name, value in done.key.items())
    told = f"{_now():%Y-%m-%d %H:%M:%S} {_state(done)} {done.table} ({key}) {done.seconds:.2f} s"
    if done.error is not None:
        return f"{told}: {' '.join(done.error.split())}"
    n_bytes = ((what, n) for what, n in (("read", done.read), ("stored", done.stored)) if n)
    counted = [f"{done.rows:,} rows", *(f"{what} {decimal(n)}" for what, n in n_bytes)]
    return f"{told}, {', '.join(counted)}"


def as_json(done: JobResult) -> str:
    """Write a line for machines: a JSON object.

    `time` (UTC), `state` (made or failed), `table`, `key`, `seconds`, `rows`, `bytes_read`,
    `bytes_stored`, `error` and `pid`.
    """
    told = asdict(done)
    told["bytes_read"], told["bytes_stored"] = told.pop("read"), told.pop("stored")
    now = _now().astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "state": _state(done), **told}, default=str)


def _state(done: JobResult) -> str:
    return "made" if done.error is None else "failed"


def _now() -> datetime:
    return datetime.now().astimezone()
