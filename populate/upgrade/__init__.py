"""Upgrade the tables of an older version; their rows are kept."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence

import datajoint as dj
import psutil

from populate import sql
from populate.upgrade.changes import Database
from populate.upgrade.steps import STEPS, Step
from schemas import __version__, activation, connection
from schemas.database import locks
from schemas.database.driver_errors import AccessDenied
from schemas.errors import ServerError
from schemas.settings import Settings


def pending(settings: Settings) -> list[Step]:
    """Connect, and return the steps that the tables lack; nothing is written.

    Raises
    ------
    ServerError
        The database is newer or has no tables, the user is no admin, workers run, or a table of a
        user must be dropped before.
    """
    db = _open(settings)
    steps = _missing_steps(db)
    if steps:
        _require_admin(db)
        _require_no_workers(db, settings.worker.stale_after)
        _require_no_blockers(db, steps)
    return steps


def upgrade(settings: Settings, on_step: Callable[[Step], None] = lambda _: None) -> None:
    """Run the steps that the tables lack, one upgrade at a time, and connect.

    An upgrade that was interrupted goes on with the step that it did not finish.

    Parameters
    ----------
    settings : schemas.settings.Settings
    on_step : callable, optional
        Gets each step before it is run.

    Raises
    ------
    ServerError
        As `pending`; nothing is changed then.
    """
    db = _open(settings)
    with locks.one_at_a_time(db.connection, db.prefix):
        steps, found = pending(settings), activation.read_version(db.connection, db.prefix)
        for step in steps:
            on_step(step)
            for change in step.changes:
                change.run(db)
            software = __version__ if step is steps[-1] or found is None else found.software
            activation.write_version(db.connection, db.prefix, step.number, software)
    connection.disconnect()
    connection.connect(settings)  # creates new tables


def _open(settings: Settings) -> Database:
    return Database(connection.connect(settings, tables=False), settings.prefix)


def _missing_steps(db: Database) -> list[Step]:
    found = activation.read_version(db.connection, db.prefix)
    if found is None:
        raise ServerError("there are no tables to upgrade.", db.prefix, "Check bwm.prefix.")
    activation.reject_newer(found, db.prefix)
    return [step for step in STEPS if step.number > found.number]


def _require_admin(db: Database) -> None:
    """Refuse users who may not alter the tables, before the first of them is altered."""
    held = activation.existing_columns(db.connection, db.prefix)
    if db.is_mysql:
        if all(_may_alter(db, schema) for schema in {schema for schema, _ in held}):
            return
    else:
        listed = ", ".join(f"'{schema}'" for schema, _ in held)
        others = db.run(
            "SELECT 1 FROM pg_class WHERE relkind = 'r' AND NOT pg_has_role(relowner, 'USAGE') "
            f"AND relnamespace::regnamespace::text IN ({listed})"
        )
        if not others:
            return
    user = db.connection.conn_info["user"]
    raise ServerError(f"user {user!r} may not alter the tables.", db.prefix, ADMIN_NEEDED)


def _may_alter(db: Database, schema: str) -> bool:
    """Ask MySQL for a right by altering no table: it checks the right before the table."""
    try:
        db.run(f"ALTER TABLE {db.quote(schema, '~none')} COMMENT ''")
    except AccessDenied:
        return False
    except dj.errors.MissingTableError:
        pass
    return True


ADMIN_NEEDED = "An admin must run `bwm upgrade`: see `bwm server grant`."


def _require_no_workers(db: Database, stale_after: float) -> None:
    """Refuse while workers have reserved jobs, unless they died or stalled."""
    held = sql.seconds_since("reserved_time")
    columns = f"host, pid, {held} - COALESCE(duration, 0)"
    jobs = [
        key for key in activation.existing_columns(db.connection, db.prefix) if key[1][:2] == "~~"
    ]
    found = sql.fetch(
        f"SELECT {columns} FROM {db.quote(*key)} WHERE status = 'reserved'" for key in jobs
    )
    alive = {
        f"{pid} on {host}"
        for host, pid, stalled in found
        if float(stalled) <= stale_after
        and (host != platform.node() or psutil.pid_exists(int(pid)))
    }
    if alive:
        what = f"workers run: process {', '.join(sorted(alive))}."
        raise ServerError(what, db.prefix, "Stop them, and run `bwm upgrade` again.")


def _require_no_blockers(db: Database, steps: Sequence[Step]) -> None:
    """Refuse if a table of a user refers to what must be removed; name all of them."""
    named = {name for step in steps for change in step.changes for name in change.blockers(db)}
    if named:
        what = f"{', '.join(sorted(named))} refer to rows or tables that must be removed."
        remedy = "Drop these, and create and populate them again after `bwm upgrade`."
        raise ServerError(what, db.prefix, remedy)
