"""The output of `bwm status`: tables, running jobs, failures and stale rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from populate.cli.display import grid, named, right
from populate.stale import Stale
from populate.status import ErrorGroup, Failure, Running, TableStatus

SHOWN = 10
"""Largest number of kinds of failures, of single failures and of stale rows that are shown."""

WIDE = 92
"""Columns of a screen on which numbers have thousands separators and wider gaps."""

BESIDE = 15
"""Lines that a screen that is redrawn keeps free below the table of tables."""


@dataclass(frozen=True)
class StatusView:
    """The status at one time, and how it is shown."""

    tables: Sequence[TableStatus]
    running: Sequence[Running]
    errors: Sequence[ErrorGroup]
    stale: Sequence[Stale]

    def parts(self, width: int = WIDE, height: int | None = None) -> Iterator[RenderableType]:
        """Yield the parts of the output, from top to bottom.

        Parameters
        ----------
        width : int
            Columns of the screen.
        height : int, optional
            Lines of a screen that is redrawn. If it is too low for all tables, those with
            nothing left to do are left out.
        """
        shown = list(self.tables)
        if height is not None and len(shown) + BESIDE > height:
            shown = [table for table in shown if not _is_complete(table)]
        blank = Text("")
        if shown:
            yield from (blank, _table(shown, width), blank)
        yield self._summary(len(self.tables) - len(shown))
        if self.running:
            yield from (blank, _running(self.running))
        if self.errors:
            yield blank
            yield from _errors(self.errors)
        if self.stale:
            yield blank
            yield from _stale(self.stale)

    def _summary(self, n_hidden: int) -> Text:
        """Write the total numbers of jobs in one sentence."""
        total, done, pending, running, failed = (
            sum(getattr(table, name) for table in self.tables)
            for name in ("total", "done", "pending", "running", "failed")
        )
        text = Text(f"{done:,} of {total:,} jobs done")
        for n, word, style in (
            (running, "running", "green"),
            (pending, "pending", ""),
            (failed, "failed", "bold red"),
        ):
            if n:
                text.append(f", {n:,} {word}", style=style)
        text.append(".")
        if n_hidden:
            text.append(f" Complete tables, not shown: {n_hidden}.")
        if any(table.absent for table in self.tables):
            text.append("\nabsent: this session has no such file, so there is nothing to import.")
        return text


def _is_complete(table: TableStatus) -> bool:
    return not (table.running or table.pending or table.failed or table.stale)


def _table(tables: Sequence[TableStatus], width: int) -> Table:
    """Build the table of tables, without empty columns."""
    counts = {"total": "", "done": "", "pending": "", "running": "green", "failed": "bold red"}
    if any(table.absent for table in tables):
        counts["absent"] = ""
    if any(table.stale for table in tables):
        counts["stale"] = "yellow"
    timed = any(table.rate for table in tables)
    titles = [*counts, *(["/hour", "left"] if timed else [])]
    # On a narrow screen names are cut, never numbers.
    name, numbers = Column("table", overflow="ellipsis"), [right(title) for title in titles]
    shown = grid(name, *numbers, padding=0 if width < WIDE else (0, 1), **TIGHT)
    comma = "" if width < WIDE else ","
    for table in tables:
        counted = ((getattr(table, name), style) for name, style in counts.items())
        cells = [Text(f"{n:{comma}}", style=style if n else "dim") for n, style in counted]
        if timed:
            cells.append(Text(_rate(table.rate, comma) if table.rate else "-"))
            cells.append(Text(duration(table.time_left) if table.time_left else "-"))
        shown.add_row(table.table, *cells)
    return shown


TIGHT: dict[str, Any] = {"show_edge": False, "collapse_padding": True, "pad_edge": False}
"""Style of the tables, which have to fit narrow screens."""


def _rate(rate: float, comma: str = ",") -> str:
    return f"{rate:{comma}.0f}" if rate >= 10 else f"{rate:.1f}"


def duration(seconds: float) -> str:
    """Write a duration in a suitable unit, e.g. `40 s`, `12 min`, `5.2 h`, `3 d`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} d"


def _running(running: Sequence[Running]) -> Table:
    """Build the table of running jobs; each key is below its table, to save width."""
    columns = (Column("running", overflow="fold"), Column("worker", overflow="fold"), right("for"))
    shown = grid(*columns, **TIGHT)
    for job in running:
        cell = Text(job.table)
        cell.append("\n" + " ".join(map(str, job.key.values())), style="dim")
        worker = Text(f"{job.host}:{job.pid}")
        if job.is_stalled:
            worker.append(f"\nstalled for {duration(job.stalled)}", style="bold yellow")
        if job.note:
            worker.append(f"\n{job.note}", style="yellow")
        shown.add_row(cell, worker, duration(job.seconds))
    return shown


def _errors(errors: Sequence[ErrorGroup]) -> Iterator[RenderableType]:
    """Yield the kinds of several failures as a table, and single failures in full."""
    several = [kind for kind in errors if kind.count > 1]
    single = [kind for kind in errors if kind.count == 1]
    if several:
        shown = grid(right("failed"), Column("why", overflow="fold"), "where", **TIGHT)
        for kind in several[:SHOWN]:
            shown.add_row(Text(f"{kind.count:,}", "bold red"), kind.kind, "\n".join(kind.tables))
        yield from (shown, Text(""))
    for kind in single[:SHOWN]:
        yield from _of_key("failed", "bold red", kind.example, kind.example.error)
    rest = sum(kind.count for kind in (*several[SHOWN:], *single[SHOWN:]))
    if rest:
        yield Text(f"{rest:,} more failed.")
    yield Text("`bwm status --errors` shows an example of each kind, and how to retry it.")


def _of_key(state: str, style: str, found: Failure | Stale, why: str) -> tuple[RenderableType, ...]:
    """Return the state of one key of a table, and the reason."""
    return Text.assemble((state, style), f" {named(found.table, found.key)}"), Text(f"  {why}")


def details(errors: Sequence[ErrorGroup]) -> Iterator[RenderableType]:
    """Yield each kind of failures: tables, an example, and the command to retry it."""
    if not errors:
        yield Text("Nothing has failed.")
    for kind in errors:
        where = ", ".join(f"{table} ({n:,})" for table, n in kind.tables.items())
        sessions = f"; {kind.n_sessions:,} sessions" if kind.n_sessions > 1 else ""
        yield Text.assemble((f"{kind.count:,} failed", "bold red"), f"  {kind.kind}")
        yield Text.assemble(("  in       ", "dim"), where, sessions)
        yield Text.assemble(("  example  ", "dim"), named(kind.example.table, kind.example.key))
        yield Text.assemble("           ", kind.example.error)
        yield Text.assemble(("  retry    ", "dim"), (kind.retry, "cyan"))
        yield Text("")


def _stale(stale: Sequence[Stale]) -> Iterator[RenderableType]:
    """Yield the stale rows and what changed."""
    yield Text("stale: files or sites changed; `bwm populate --stale` recomputes these rows.")
    for found in stale[:SHOWN]:
        yield from _of_key("stale", "yellow", found, str(found))
    if len(stale) > SHOWN:
        yield Text(f"{len(stale) - SHOWN:,} more are stale; `bwm status --json` lists them all.")
