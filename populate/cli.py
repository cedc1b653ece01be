"""The command `bwm`: each command parses, makes one call, and prints."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from typer.core import TyperGroup

from schemas.errors import BwmError

if TYPE_CHECKING:
    import click
    import pandas as pd

    from populate.register import Report
    from schemas.settings import Settings

WIDE = 160
"""Columns of what is printed into a file or pipe: nothing is cut there."""

# Folders and names may hold [brackets], which are markup unless it is off.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, highlight=False)


class _OneMessage(TyperGroup):
    """A group whose errors are one message and a non-zero exit, the traceback with `--debug`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BwmError as error:
            if ctx.params.get("debug"):
                raise
            err.print(f"[bold red]{type(error).__name__}:[/]", end=" ")
            err.print(str(error), markup=False)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            err.print("Stopped. What is done is kept; the same command goes on from there.")
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_OneMessage,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="The Brain-Wide Map of the International Brain Laboratory as a relational database.",
)
server_app = typer.Typer(
    no_args_is_help=True, help="The embedded server, used when no host is configured."
)
app.add_typer(server_app, name="server")

_use_demo = False


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Use the database of `bwm demo` instead of yours.")
    ] = False,
) -> None:
    global _use_demo
    _use_demo = demo


def _settings() -> Settings:
    from schemas import settings

    loaded = settings.load()
    return loaded.for_demo() if _use_demo else loaded


def _connect() -> Settings:
    from schemas import connection

    settings = _settings()
    connection.connect(settings)
    return settings


@app.command()
def demo() -> None:
    """Simulate a small release, import it, and show what the database answers.

    Example: bwm demo
    """
    global _use_demo
    _use_demo = True
    from populate import demo as steps

    settings = _settings()
    started = time.monotonic()
    with _bars() as bars:
        written = steps.simulate(settings, _bar(bars, "simulate"))
    said = "Simulated a release in" if written else "The simulated release is there already:"
    out.print(f"{said} {steps.folder(settings)}", soft_wrap=True)
    with _step("Starting the embedded server") as say:
        _connect()
        say("running")
    with _bars() as bars:
        report = steps.register_release(settings, _bar(bars, "register"))
        outcomes = steps.populate(_table_bars(bars))
    _print_report(report)
    _print_outcomes(outcomes)
    if not (written or report.changed or any(o.made for o in outcomes)):
        out.print("Everything was there already: nothing was done twice.\n")
    _print_contents()
    for question in (steps.RATES, steps.REACTIONS):
        _print_question(question.title, question.code, question.ask())
    figure = steps.draw(settings.home / "demo" / "overview.png")
    out.print(f"Figure: {figure}\n", soft_wrap=True)
    out.print("To go on with this database, in Python or a notebook:\n")
    lines = "\nconnection.connect(demo=True)\n"
    _print_code(steps.IMPORTS + lines)
    out.print("and in the shell: bwm --demo units --region TH\n")
    out.print(f"Done in {time.monotonic() - started:.0f} s. `bwm server stop` stops the server.")


@app.command()
def register(
    one: Annotated[
        Path | None, typer.Option("--one", help="Folder of a ONE cache, or of bare ALF sessions.")
    ] = None,
    release: Annotated[
        Path | None, typer.Option("--release", help="CSV file that lists a release.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the release; default the file's.")
    ] = None,
) -> None:
    """Register the sessions of a ONE folder, of a release list, or of both.

    Registering again adds what is new and changes nothing else.

    Example: bwm register --one ~/Downloads/ONE --release 2022_10_bwm_release.csv
    """
    if one is None and release is None:
        raise typer.BadParameter("give --one FOLDER, --release FILE.csv, or both")
    _connect()
    from populate import register as registration
    from schemas.sources import base

    problems: list[BwmError] = []
    with _bars() as bars:
        reports = []
        if release is not None:
            bar = _bar(bars, release.name)
            reports.append(registration.register_release(release, name, bar))
        if one is not None:
            source = base.open_source(str(one))
            reports.append(registration.register_source(source, _bar(bars, one.name)))
    for report in reports:
        _print_report(report)
        problems += report.problems
    _exit_with(problems, "refused; everything else is registered.")


@app.command()
def populate(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")
    ] = None,
) -> None:
    """Import and compute everything that is registered and not there yet.

    Example: bwm populate --only Trials --only ReactionTime
    """
    _connect()
    from populate import plan, worker

    tables = plan.find(only)
    with _bars() as bars:
        outcomes = worker.run(tables, _table_bars(bars))
    _print_outcomes(outcomes)
    failed = sum(len(outcome.failed) for outcome in outcomes)
    if failed:
        err.print(
            f"{failed} failed; `bwm status` says why. Mend the cause, then `bwm retry` and "
            "`bwm populate`."
        )
        raise typer.Exit(1)
    if not any(outcome.made for outcome in outcomes):
        out.print("Nothing to do: everything that can be made is there. See `bwm status`.")


@app.command()
def retry(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")
    ] = None,
) -> None:
    """Forget recorded failures, so that `bwm populate` tries them again.

    Example: bwm retry --only Spikes
    """
    _connect()
    from populate import plan, worker

    forgotten = worker.retry(plan.find(only))
    out.print(f"Failures forgotten: {forgotten}. `bwm populate` tries their keys again.")


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what is done, pending, failed (and why), and what no source lists.

    Example: bwm status --json
    """
    _connect()
    from populate import status as state

    tables, failures = state.status(), state.failures()
    if as_json:
        found = {"tables": [asdict(t) for t in tables], "failures": [asdict(f) for f in failures]}
        print(json.dumps(found, indent=2))
        return
    shown = _table(
        "table", *(_right(n) for n in ("done", "running", "pending", "failed", "absent"))
    )
    for row in tables:
        counts = (row.done, row.running, row.pending, row.failed, row.absent)
        shown.add_row(row.table, *map(str, counts))
    out.print(shown)
    out.print("absent: no source lists the data, so there is nothing to import.")
    for failure in failures:
        key = ", ".join(f"{name} {value}" for name, value in failure.key.items())
        out.print("\nfailed", style="bold red", end=" ")
        out.print(f"{failure.table} ({key})", soft_wrap=True)
        out.print(f"  {failure.error}", soft_wrap=True)


class Format(str, Enum):
    """How `bwm units` writes its answer."""

    table = "table"
    csv = "csv"
    parquet = "parquet"


@app.command()
def units(
    region: Annotated[str, typer.Option(help="Acronym; everything inside the region counts.")],
    criterion: Annotated[
        str | None, typer.Option(help="Only units that are good by it, e.g. ibl_2022.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="Only units of that release.")] = None,
    sorting: Annotated[
        str | None, typer.Option(help="A sort by name; default the newest of each insertion.")
    ] = None,
    form: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.table,
    target: Annotated[Path | None, typer.Option("--out", help="File to write to.")] = None,
) -> None:
    """List the units of a brain region, structures inside it included.

    Example: bwm units --region TH --criterion ibl_2022 --format csv --out thalamus.csv
    """
    if form is Format.parquet and target is None:
        raise typer.BadParameter("--format parquet needs --out FILE")
    _connect()
    from schemas import views

    table = views.unit_table(views.units(region, criterion, release, sorting))
    if form is Format.table and target is None:
        title = f"{len(table):,} units of {region}"
        shown = table.head(50).assign(amp_median=1e6 * table.amp_median)
        _print_frame(title, shown, UNIT_LABELS)
        if len(table) > 50:
            out.print("The first 50; --format csv prints all of them.")
        return
    _write_frame(table, form, target)


UNIT_LABELS = {
    "subject": "subject",
    "session_date": "date",
    "session_number": "no.",
    "probe_name": "probe",
    "cluster_id": "unit",
    "region_acronym": "region",
    "firing_rate": "rate (Hz)",
    "amp_median": "ampl. (uV)",
    "cluster_depth": "depth (um)",
}


@app.command()
def simulate(
    folder: Annotated[Path, typer.Argument(help="New folder for the release.")],
    size: Annotated[
        str, typer.Option(help="tiny, small or full (one insertion of 540 clusters, 8.6 M spikes).")
    ] = "small",
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
    faults: Annotated[
        bool, typer.Option("--faults", help="Add sessions with one fault each.")
    ] = False,
) -> None:
    """Write a simulated release as a ONE cache.

    Example: bwm simulate /tmp/release --size small
    """
    from schemas.sources import simulator

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter(f"{folder} is not empty: give a new folder")
    with _bars() as bars:
        truth = simulator.simulate(
            folder, size, seed=seed, faults=faults, progress=_bar(bars, "simulate")
        )
    counts = ", ".join(f"{n:,} {kind}" for kind, n in truth.counts.items())
    out.print(f"{folder}: {counts}", soft_wrap=True)
    out.print(f"Next: bwm register --one '{folder}' --release '{truth.release}'", soft_wrap=True)


@app.command()
def diagram(
    target: Annotated[
        Path | None, typer.Option("--write", help="File with the marks to write it between.")
    ] = None,
) -> None:
    """Draw the tables as a Mermaid diagram.

    Example: bwm diagram --write README.md
    """
    from populate import diagram as drawing

    if target is None:
        print(drawing.mermaid())
    else:
        changed = drawing.write(target)
        out.print(f"{target} {'is changed' if changed else 'was up to date'}.", soft_wrap=True)


@server_app.command()
def start() -> None:
    """Start the embedded server and print its address.

    Example: bwm server start
    """
    from schemas import server

    home = _settings().home
    server.start(home)
    out.print(server.url(home), soft_wrap=True)


@server_app.command()
def stop() -> None:
    """Stop the embedded server.

    Example: bwm server stop
    """
    from schemas import server

    stopped = server.stop(_settings().home)
    out.print("The embedded server is stopped." if stopped else "The embedded server did not run.")


@server_app.command()
def url() -> None:
    """Print the address of the running embedded server, e.g. for psql.

    Example: psql "$(bwm server url)"
    """
    from schemas import server

    out.print(server.url(_settings().home), soft_wrap=True)


@contextmanager
def _step(title: str) -> Iterator[Callable[[str], None]]:
    """Show a step that takes a while, and how it ended."""
    ended = [""]
    with err.status(f"{title} ..."):
        yield lambda text: ended.__setitem__(0, text)
    out.print(f"{title}: {ended[0]}", soft_wrap=True)


@contextmanager
def _bars() -> Iterator[Progress]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars:
        yield bars


def _bar(bars: Progress, title: str) -> Callable[[int, int], None]:
    task = bars.add_task(title, total=None)
    return lambda done, total: bars.update(task, completed=done, total=total)


def _table_bars(bars: Progress) -> Callable[[str, int, int], None]:
    tasks: dict[str, Any] = {}

    def update(table: str, done: int, total: int) -> None:
        if table not in tasks:
            tasks[table] = bars.add_task(table, total=total)
        bars.update(tasks[table], completed=done, total=total)

    return update


def _right(title: str) -> Column:
    return Column(title, justify="right", no_wrap=True)


def _table(*columns: str | Column, title: str | None = None) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)


def _print_report(report: Report) -> None:
    shown = _table("registered", *(_right(n) for n in ("new", "known", "updated")))
    for kind in report.new:
        counts = (report.new[kind], report.known[kind], report.updated[kind])
        shown.add_row(kind, *map(str, counts))
    out.print(shown)


def _print_outcomes(outcomes: list[Any]) -> None:
    busy = [outcome for outcome in outcomes if outcome.made or outcome.failed]
    if not busy:
        return
    shown = _table("populated", _right("made"), _right("failed"))
    for outcome in busy:
        shown.add_row(outcome.table, str(outcome.made), str(len(outcome.failed)))
    out.print(shown)


def _print_contents() -> None:
    from populate.contents import contents

    shown = _table("in the database", _right("rows"))
    for title, n in contents().items():
        shown.add_row(title, f"{n:,}")
    out.print(shown)


def _print_question(title: str, code: str, answer: pd.DataFrame) -> None:
    named = answer.reset_index() if answer.index.name else answer
    _print_frame(title, named, {})
    _print_code(code)


def _print_code(code: str) -> None:
    """Print lines that can be copied whole, however narrow the terminal."""
    out.print(code.rstrip(), style="cyan", soft_wrap=True)
    out.print()


def _print_frame(title: str, table: pd.DataFrame, labels: dict[str, str]) -> None:
    names = [name for name in table.columns if not labels or name in labels]
    numeric = {name for name in names if table[name].dtype.kind in "iuf"}
    columns = [labels.get(n, n) for n in names]
    titled = zip(names, columns, strict=True)
    shown = _table(*(_right(c) if n in numeric else c for n, c in titled), title=title)
    for row in table[names].itertuples(index=False):
        shown.add_row(*(_plain(value) for value in row))
    out.print(shown)


def _plain(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_frame(table: pd.DataFrame, form: Format, target: Path | None) -> None:
    if target is None:
        table.to_csv(sys.stdout, index=False)
        return
    write = table.to_parquet if form is Format.parquet else table.to_csv
    try:
        write(target, index=False)
    except OSError as error:
        raise typer.BadParameter(f"{target} cannot be written ({error})") from None
    err.print(f"{len(table)} units written to {target}", markup=False, soft_wrap=True)


def _exit_with(problems: list[BwmError], text: str) -> None:
    for problem in problems:
        err.print(f"[bold red]{type(problem).__name__}:[/]", end=" ")
        err.print(str(problem), markup=False)
    if problems:
        err.print(f"{len(problems)} {text}")
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    app()
