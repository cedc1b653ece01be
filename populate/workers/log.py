"""The log of workers: one line per job, for people or for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone

from rich.filesize import decimal

from populate.workers.worker import JobResult


def printer(form: str) -> Callable[[JobResult], None]:
    """Return a function that prints a result as a line, in the form "text" or "json"."""
    write = {"text": as_text, "json": as_json}[form]

    def print_result(result: JobResult) -> None:
        sys.stdout.write(f"{write(result)}\n")
        sys.stdout.flush()

    return print_result


def as_text(result: JobResult) -> str:
    """Return a result as a line for people.

    Examples
    --------
    `2026-11-24 09:30:00 done behavior.Trials (eid 4b7f...) 0.52 s, 421 rows, read 1.2 MB`
    """
    key = ", ".join(f"{name} {value}" for name, value in result.key.items())
    state, seconds = _state(result), f"{result.seconds:.2f} s"
    line = f"{_now():%Y-%m-%d %H:%M:%S} {state} {result.table} ({key}) {seconds}"
    if result.error is not None:
        return f"{line}: {' '.join(result.error.split())}"
    sizes = [(verb, n) for verb, n in (("read", result.read), ("stored", result.stored)) if n]
    counts = [f"{result.rows:,} rows", *(f"{verb} {decimal(n)}" for verb, n in sizes)]
    return f"{line}, {', '.join(counts)}"


def as_json(result: JobResult) -> str:
    """Return a result as a line for machines: a JSON object.

    Its names are `time` (UTC), `state` (done or failed), `table`, `key`, `seconds`, `rows`,
    `bytes_read`, `bytes_stored`, `error` and `pid`.
    """
    values = asdict(result)
    values["bytes_read"], values["bytes_stored"] = values.pop("read"), values.pop("stored")
    now = _now().astimezone(timezone.utc).isoformat(timespec="milliseconds")
    return json.dumps({"time": now, "state": _state(result), **values}, default=str)


def _state(result: JobResult) -> str:
    return "done" if result.error is None else "failed"


def _now() -> datetime:
    return datetime.now().astimezone()
