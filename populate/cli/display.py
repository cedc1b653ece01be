"""What the command prints: tables, progress bars, errors."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Column, Table

if TYPE_CHECKING:
    import pandas as pd

    from populate.registration.upsert import Report
    from populate.workers.worker import JobResult, TableResult

WIDE = 160
"""Columns of what is printed into a file or pipe: nothing is cut there."""

# Folders and names may hold [brackets], which are markup unless it is off.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)
# In a log each message is one line, so that a search for its words finds it.
err = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())


# --- progress -----------------------------------------------------------------------------------


@contextmanager
def bars(*columns: ProgressColumn) -> Iterator[Progress]:
    """Show progress bars until the block ends; by default they count."""
    shown = (
        SpinnerColumn(),
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        *(columns or (MofNCompleteColumn(),)),
        TimeElapsedColumn(),
    )
    with Progress(*shown, console=err, transient=True) as progress:
        yield progress


def bar(progress: Progress, title: str) -> Callable[[int, int], None]:
    """Add a bar; return a function that takes the number done and the total."""
    task = progress.add_task(title, total=None)
    return lambda done, total: progress.update(task, completed=done, total=total)


def job_bar(progress: Progress) -> Callable[[JobResult], None]:
    """Add a bar; return a function that counts a job of any table."""
    task = progress.add_task("populate", total=None)
    return lambda done: progress.update(task, advance=1, description=done.table)


def table_bars(progress: Progress) -> Callable[[str, int, int], None]:
    """Return a function that moves the bar of a table, and adds it at first."""
    tasks: dict[str, Any] = {}

    def update(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = progress.add_task(name, total=total)
        progress.update(tasks[name], completed=done, total=total)

    return update


@contextmanager
def download(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show a bar of bytes; yield a function that takes the number of further bytes."""
    with bars(DownloadColumn(), TransferSpeedColumn()) as progress:
        task = progress.add_task(title, total=total)
        yield lambda n_bytes: progress.advance(task, n_bytes)


@contextmanager
def byte_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar of bytes; yield a function that takes the number done and the total."""
    with bars(DownloadColumn(), TransferSpeedColumn()) as progress:
        yield bar(progress, title)


# --- tables -------------------------------------------------------------------------------------


def right(title: str) -> Column:
    """Return a column of numbers."""
    return Column(title, justify="right", no_wrap=True)


def grid(*columns: str | Column, title: str | None = None, **style: Any) -> Table:
    """Return an empty table."""
    return Table(
        *columns, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, **style
    )


def frame(title: str | None, table: pd.DataFrame, labels: dict[str, str] | None = None) -> None:
    """Print a frame; with labels, only the labelled columns."""
    labels = labels or {}
    names = [name for name in table.columns if not labels or name in labels]
    numeric = {name for name in names if table[name].dtype.kind in "iuf"}
    titled = zip(names, [labels.get(n, n) for n in names], strict=True)
    shown = grid(*(right(c) if n in numeric else c for n, c in titled), title=title)
    for row in table[names].itertuples(index=False):
        shown.add_row(*(plain(value) for value in row))
    out.print(shown)


def plain(value: Any) -> str:
    """Return the text of a value in a table."""
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def size(n_bytes: int, n_unknown: int = 0) -> str:
    """Return the text of a number of bytes, and of the files that it leaves out."""
    unknown = f" and {n_unknown} of unknown size" if n_unknown else ""
    return decimal(n_bytes) + unknown


def report(done: Report) -> None:
    """Print what a registration did, and what it left out."""
    shown = grid("registered", *(right(n) for n in ("new", "known", "updated")))
    for kind in done.new:
        counts = (done.new[kind], done.known[kind], done.updated[kind])
        shown.add_row(kind, *map(str, counts))
    out.print(shown)
    for note in done.notes:
        err.print(f"Note: {note}", markup=False)


def results(done: Sequence[TableResult]) -> None:
    """Print the numbers of jobs done and failed, by table."""
    shown = grid("populated", right("done"), right("failed"))
    for result in done:
        if result.n_done or result.failed:
            shown.add_row(result.table, str(result.n_done), str(len(result.failed)))
    if shown.rows:
        out.print(shown)


def named(table: str, key: Mapping[str, Any]) -> str:
    """Return the name of a table with the names and values of a key."""
    values = ", ".join(f"{name} {value}" for name, value in key.items())
    return f"{table} ({values})" if values else table


def keyed(state: str, style: str, table: str, key: Mapping[str, Any]) -> None:
    """Print the state of one key of a table."""
    out.print(f"\n{state}", style=style, end=" ")
    out.print(named(table, key), soft_wrap=True)


def contents() -> None:
    """Print a summary of the database."""
    from populate.summary import contents

    shown = grid("in the database", right("rows"))
    for title, n in contents().items():
        shown.add_row(title, f"{n:,}")
    out.print(shown)


def code(lines: str) -> None:
    """Print code without line breaks of the terminal, so that it can be copied."""
    out.print(lines.rstrip(), style="cyan", soft_wrap=True)
    out.print()


def error(problem: Exception) -> None:
    """Print an error as one message."""
    err.print(f"[bold red]{type(problem).__name__}:[/]", end=" ")
    err.print(str(problem), markup=False)
