"""The state of the jobs: what is done, running and failed, and what retries it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pandas as pd

from populate import stale, status
from schemas import connection
from viewer import database
from viewer.page import Page
from viewer.parameters import Values

STALE_SECONDS = 300.0
"""Time between two searches for stale rows, which take longer than all else here."""


def build(_values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    tables = _tables()
    failures = status.failures()
    totals = {
        name: sum(getattr(table, name) for table in tables)
        for name in ("done", "running", "pending", "failed", "absent", "stale")
    }
    return {
        "tables": [asdict(table) for table in tables],
        "totals": totals,
        "running": [asdict(job) for job in status.running()],
        "errors": [asdict(kind) for kind in status.errors(found=failures)],
        "command": _command(),
    }


def _tables() -> list[status.TableStatus]:
    return status.status(replaced=database.keep("stale", STALE_SECONDS, stale.find))


def _command() -> str:
    """Return the command of this database, to put before a command of the page."""
    from schemas.settings import DEMO

    return "bwm --demo" if connection.active().prefix.endswith(DEMO) else "bwm"


def fetch_tables(_values: Values) -> pd.DataFrame:
    """Fetch the numbers of jobs of each table."""
    return pd.DataFrame([asdict(table) for table in _tables()])


def fetch_failures(_values: Values) -> pd.DataFrame:
    """Fetch the failed jobs, their keys and errors."""
    found = status.failures()
    keyed = [{"table": one.table, "key": str(one.key), "error": one.error} for one in found]
    return pd.DataFrame(keyed, columns=["table", "key", "error"])


PAGE = Page(
    "jobs",
    "/jobs",
    (),
    (),
    build,
    tables={"tables": fetch_tables, "failures": fetch_failures},
    lasts=2.0,
)
