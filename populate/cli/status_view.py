"""What `bwm status` shows: the state of the tables, what is running, what failed, what is stale."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Column, Table
from rich.text import Text

from populate.cli.display import right
from populate.stale import Stale
from populate.status import Kind, Running, TableStatus

SHOWN = 10
"""Kinds of failures, single failures and stale rows that are shown at most, each."""

WIDE = 92
"""Columns of a screen from which numbers are set apart."""

BESIDE = 15
"""Lines that are kept for what stands below the tables, on a screen that is redrawn."""


@dataclass(frozen=True)
class Board:
    """What is known at one time."""

    tables: Sequence[TableStatus]
    running: Sequence[Running]
    errors: Sequence[Kind]
    stale: Sequence[Stale]

    def parts(self, width: int = WIDE, height: int | None = None) -> Iterator[RenderableType]:
        """Yield what is shown, part by part.

        Parameters
        ----------
        width : int
            Columns of the screen.
        height : int, optional
            Lines of a screen that is redrawn: where not all tables have room, those are left out
            in which there is nothing to do.
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
        """Say in one sentence how far everything is."""
        total, done, pending, running, failed = (
            sum(getattr(table, name) for table in self.tables)
            for name in ("total", "done", "pending", "running", "failed")
        )
        text = Text(f"{done:,} of {total:,} keys done")
        for n, word, style in (
            (running, "running", "green"),
            (pending, "pending", ""),
            (failed, "failed", "bold red"),
        ):
            if n:
                text.append(f", {n:,} {word}", style=style)
        text.append(".")
        if n_hidden:
            text.append(f" Not shown: {n_hidden} in which there is nothing to do.")
        if any(table.absent for table in self.tables):
            text.append("\nabsent: no source lists the data, so there is nothing to import.")
        return text


def _is_complete(table: TableStatus) -> bool:
    return not (table.running or table.pending or table.failed or table.stale)


def _table(tables: Sequence[TableStatus], width: int) -> Table:
    """Make the table of tables; columns in which nothing stands are left out."""
    counts = {"total": "", "done": "", "pending": "", "running": "green", "failed": "bold red"}
    if any(table.absent for table in tables):
        counts["absent"] = ""
    if any(table.stale for table in tables):
        counts["stale"] = "yellow"
    timed = any(table.rate for table in tables)
    titles = [*counts, *(["/hour", "left"] if timed else [])]
    # Where there is no room for all, names are cut and never numbers.
    name, numbers = Column("table", overflow="ellipsis"), [right(title) for title in titles]
    shown = _grid(name, *numbers, narrow=width < WIDE)
    comma = "" if width < WIDE else ","
    for table in tables:
        counted = ((getattr(table, name), style) for name, style in counts.items())
        cells = [Text(f"{n:{comma}}", style=style if n else "dim") for n, style in counted]
        if timed:
            cells.append(Text(_rate(table.rate, comma) if table.rate else "-"))
            cells.append(Text(duration(table.time_left) if table.time_left else "-"))
        shown.add_row(table.table, *cells)
    return shown


def _grid(*columns: Column, narrow: bool = False) -> Table:
    """Make an empty table."""
    return Table(
        *columns,
        box=SIMPLE_HEAD,
        show_edge=False,
        collapse_padding=True,
        pad_edge=False,
        padding=0 if narrow else (0, 1),
    )


def _rate(rate: float, comma: str = ",") -> str:
    return f"{rate:{comma}.0f}" if rate >= 10 else f"{rate:.1f}"


def duration(seconds: float) -> str:
    """Write a duration in the unit that suits it, e.g. `40 s`, `12 min`, `5.2 h`, `3 d`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.0f} d"


def named(key: Mapping[str, Any]) -> str:
    """Write a key with the names of its columns."""
    return ", ".join(f"{name} {value}" for name, value in key.items())


def _running(running: Sequence[Running]) -> Table:
    """Make the table of what is running: the key stands below its table, for narrow screens."""
    shown = _grid(Column("running", overflow="fold"), Column("worker", overflow="fold"))
    shown.add_column("for", justify="right", no_wrap=True)
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


def _errors(errors: Sequence[Kind]) -> Iterator[RenderableType]:
    """Yield the kinds of failures, and those in full that are alone of their kind."""
    several = [kind for kind in errors if kind.count > 1]
    single = [kind for kind in errors if kind.count == 1]
    if several:
        shown = _grid(right("failed"), Column("why", overflow="fold"), Column("where"))
        for kind in several[:SHOWN]:
            shown.add_row(Text(f"{kind.count:,}", "bold red"), kind.kind, "\n".join(kind.tables))
        yield from (shown, Text(""))
    for kind in single[:SHOWN]:
        yield Text.assemble(
            ("failed", "bold red"), f" {kind.example.table} ({named(kind.example.key)})"
        )
        yield Text(f"  {kind.example.error}")
    rest = sum(kind.count for kind in (*several[SHOWN:], *single[SHOWN:]))
    if rest:
        yield Text(f"{rest:,} more failed.")
    yield Text("`bwm status --errors` tells of each kind an example, and what tries it again.")


def details(errors: Sequence[Kind]) -> Iterator[RenderableType]:
    """Yield all that is known of each kind of failures."""
    if not errors:
        yield Text("Nothing has failed.")
    for kind in errors:
        where = ", ".join(f"{table} ({n:,})" for table, n in kind.tables.items())
        sessions = f"; {kind.n_sessions:,} sessions" if kind.n_sessions > 1 else ""
        yield Text.assemble((f"{kind.count:,} failed", "bold red"), f"  {kind.kind}")
        yield Text.assemble(("  in       ", "dim"), where, sessions)
        yield Text.assemble(
            ("  example  ", "dim"), f"{kind.example.table} ({named(kind.example.key)})"
        )
        yield Text.assemble("           ", kind.example.error)
        yield Text.assemble(("  retry    ", "dim"), (kind.retry, "cyan"))
        yield Text("")


def _stale(stale: Sequence[Stale]) -> Iterator[RenderableType]:
    """Yield the rows whose files were replaced."""
    yield Text("stale: the files were replaced since; `bwm populate --stale` makes them again.")
    for found in stale[:SHOWN]:
        yield Text.assemble(("stale", "yellow"), f" {found.table} ({named(found.key)})")
        yield Text(f"  {found.reason}: {', '.join(found.paths)}")
    if len(stale) > SHOWN:
        yield Text(f"{len(stale) - SHOWN:,} more are stale; `bwm status --json` lists them all.")
