"""The command `bwm status`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from populate.cli.base import AsJson, Modules, Session, app, connect, find_eid
from populate.cli.display import err, out

if TYPE_CHECKING:
    from populate.cli.status_view import StatusView
    from populate.status import ErrorGroup

STALE_EVERY = 60.0
"""Seconds between two searches for stale rows, the slowest part of the status."""


@app.command()
def status(
    recording: Session = None,
    by_kind: Annotated[
        bool,
        typer.Option("--errors", help="Only failures, each kind with the command to retry it."),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Refresh the status until Ctrl-C.")
    ] = False,
    every: Annotated[
        float, typer.Option(min=0.1, help="With --watch: seconds between refreshes.")
    ] = 5.0,
    as_json: AsJson = False,
    module: Modules = None,
) -> None:
    """Show which jobs are done, running, pending, failed (and why), stale or absent.

    Example: bwm status --watch
    """
    settings = connect(modules=module or ())
    from populate.cli import status_view

    eid = find_eid(recording)
    options = [settings.command]
    options += [f" --module {name}" for name in module or ()]
    query = _Query(eid, *options)

    def show(height: int | None = None) -> list[Any]:
        found = query()
        if as_json:
            return [json.dumps(_plain(found, query.failures), indent=None if watch else 2)]
        return list(
            status_view.details(found.errors) if by_kind else found.parts(out.width, height)
        )

    if not watch:
        _print(show())
        return
    try:
        _watch(
            lambda height=None: _show_or_wait(show, height),
            every,
            in_place=out.is_terminal and not as_json,
        )
    except KeyboardInterrupt:
        return


class _Query:
    """Queries the status; searches for stale rows only every `STALE_EVERY` seconds."""

    def __init__(self, eid: str | None, command: str, *options: str) -> None:
        self._eid = eid
        self._command, self._options = command, "".join(options)
        self._stale_at = -STALE_EVERY
        self.failures: list[Any] = []

    def __call__(self) -> StatusView:
        from populate import stale
        from populate import status as state
        from populate.cli.status_view import StatusView

        eid = self._eid
        if time.monotonic() - self._stale_at >= STALE_EVERY:
            self._stale = stale.find(eid=eid)
            self._stale_at = time.monotonic()
        self.failures = state.failures(eid=eid)
        return StatusView(
            state.status(eid=eid, replaced=self._stale),
            state.running(eid=eid),
            [self._with_options(kind) for kind in state.errors(found=self.failures)],
            self._stale,
        )

    def _with_options(self, kind: ErrorGroup) -> ErrorGroup:
        """Give the retry command the options of this command: its database and modules."""
        return replace(kind, retry=kind.retry.replace("bwm", self._command, 1) + self._options)


def _show_or_wait(show: Callable[..., list[Any]], height: int | None) -> list[Any]:
    """Query and show the status; if the server is away, reconnect and show nothing."""
    from schemas import connection
    from schemas.database.driver_errors import is_server_away

    try:
        return show(height)
    except Exception as error:
        if not is_server_away(error):
            raise
    with suppress(Exception):  # the server is still away
        connection.reconnect()
    err.print("The server does not answer. Trying again.")
    return []


def _plain(found: StatusView, failures: list[Any]) -> dict[str, Any]:
    """Return the status as plain values, for JSON."""
    running = [
        asdict(job) | {"since": job.since.isoformat("T", "seconds")} for job in found.running
    ]
    return {
        "tables": [asdict(table) for table in found.tables],
        "running": running,
        "failures": [asdict(failure) for failure in failures],
        "errors": [asdict(kind) for kind in found.errors],
        "stale": [asdict(row) for row in found.stale],
    }


def _print(parts: list[Any]) -> None:
    for part in parts:
        if isinstance(part, str):  # JSON, for programs
            print(part, flush=True)
        else:
            # Text is not wrapped, so that a command can be copied from a narrow terminal.
            out.print(part, soft_wrap=isinstance(part, Text))


def _watch(show: Callable[..., list[Any]], every: float, in_place: bool) -> None:
    """Refresh the status: in place on a terminal, one below the other elsewhere."""
    if not in_place:
        while True:
            _print(show())
            time.sleep(every)
    with Live(console=out, auto_refresh=False) as live:
        while True:
            last = Text(f"{time.strftime('%H:%M:%S')}, every {every:g} s; Ctrl-C ends it.", "dim")
            live.update(Group(*show(out.height), last), refresh=True)
            time.sleep(every)
