"""The command `bwm`: each command parses, makes one call, and prints."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from populate import show
from populate.show import err, out
from schemas.errors import BwmError

if TYPE_CHECKING:
    import click
    import pandas as pd

    from schemas.settings import Settings


class _OneMessage(TyperGroup):
    """A group whose errors are one message and a non-zero exit, the traceback with `--debug`."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BwmError as error:
            if ctx.params.get("debug"):
                raise
            show.error(error)
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
release_app = typer.Typer(no_args_is_help=True, help="Releases: named lists of insertions.")
app.add_typer(release_app, name="release")
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


def _connect(cache_limit: str | None = None) -> Settings:
    from schemas import connection

    settings = _settings()
    if cache_limit is not None:
        settings = settings.with_cache_limit(cache_limit)
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
    with show.bars() as bars:
        written = steps.simulate(settings, show.bar(bars, "simulate"))
    said = "Simulated a release in" if written else "The simulated release is there already:"
    out.print(f"{said} {steps.folder(settings)}", soft_wrap=True)
    with show.step("Starting the embedded server") as say:
        _connect()
        say("running")
    with show.bars() as bars:
        reports = steps.register(settings, lambda title: show.bar(bars, title))
        outcomes = steps.populate(show.table_bars(bars))
    for report in reports:
        show.report(report)
    show.outcomes(outcomes)
    _exit_with([p for r in reports for p in r.problems], "refused of the demo's own release.")
    if not (written or any(r.changed for r in reports) or any(o.made for o in outcomes)):
        out.print("Everything was there already: nothing was done twice.\n")
    show.contents()
    for question in (steps.RATES, steps.REACTIONS):
        show.question(question.title, question.code, question.ask())
    figure = steps.draw(settings.home / "demo" / "overview.png")
    out.print(f"Figure: {figure}\n", soft_wrap=True)
    out.print("To go on with this database, in Python or a notebook:\n")
    lines = "\nconnection.connect(demo=True)\n"
    show.code(steps.IMPORTS + lines)
    out.print("and in the shell: bwm --demo units --region TH\n")
    out.print("The project's folder notebooks/ has a dozen pages of questions to it.\n")
    out.print(f"Done in {time.monotonic() - started:.0f} s. `bwm server stop` stops the server.")


class Format(str, Enum):
    """How a table is written."""

    table = "table"
    csv = "csv"
    parquet = "parquet"


SHOWN = 50
"""Rows of a table that are printed."""


@app.command()
def register(
    one: Annotated[
        Path | None, typer.Option("--one", help="Folder of a ONE cache, or of bare ALF sessions.")
    ] = None,
    alyx: Annotated[
        str | None,
        typer.Option("--alyx", help="URL of a metadata server; default the one that is set."),
    ] = None,
    release: Annotated[
        Path | None, typer.Option("--release", help="CSV file that lists a release.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Only what has this tag; makes a release.")
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Only this mouse.")] = None,
    lab: Annotated[str | None, typer.Option(help="Only this laboratory.")] = None,
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    eid: Annotated[
        list[str] | None, typer.Option("--eid", help="Only this session; may be repeated.")
    ] = None,
    pid: Annotated[
        list[str] | None, typer.Option("--pid", help="Only this insertion; may be repeated.")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Only insertions through this region or a part of it.")
    ] = None,
    bwm_query: Annotated[
        bool, typer.Option("--bwm-query", help="Only what the rule of the releases selects.")
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the release; default that of the list or tag."),
    ] = None,
) -> None:
    """Register what a ONE folder, a metadata server or a release list names.

    Registering again adds what is new, and notices files that were replaced or withdrawn.

    Example: bwm register --one ~/Downloads/ONE --release 2022_10_bwm_release.csv

    Example: bwm register --alyx https://openalyx.internationalbrainlab.org --region TH --name TH
    """
    from schemas.sources.base import Selection

    selection = Selection(
        tag, subject, lab, project, tuple(eid or ()), tuple(pid or ()), region, bwm_query
    )
    if one is not None and alyx is not None:
        raise typer.BadParameter("give --one FOLDER or --alyx URL, not both")
    if one is None and alyx is None and release is None and selection == Selection():
        raise typer.BadParameter(
            "give --one FOLDER, --alyx URL, --release FILE.csv, or two of them"
        )
    settings = _connect()
    location = str(one) if one is not None else alyx
    if location is None and selection != Selection():
        location = settings.alyx.url
        if location is None:
            raise typer.BadParameter("give --one FOLDER or --alyx URL to select from")
    from populate.intake import intake

    with show.bars() as bars:
        reports = intake(location, release, selection, name, lambda title: show.bar(bars, title))
    for report in reports:
        show.report(report)
    problems = [problem for report in reports for problem in report.problems]
    _exit_with(problems, "refused; everything else is registered.")


@app.command()
def populate(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")
    ] = None,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only rows whose files were replaced, and dependants.")
    ] = False,
    cache_limit: Annotated[
        str | None,
        typer.Option(help="Keep downloads below this size, e.g. 50GB; default the setting."),
    ] = None,
) -> None:
    """Import and compute everything that is registered and not there yet.

    Example: bwm populate --only Trials --only ReactionTime
    """
    settings = _connect(cache_limit)
    from populate import cache, plan, worker
    from populate import stale as replaced

    tables = plan.find(only)
    keep = cache.keeper(settings.alyx)
    with show.bars() as bars:
        run = replaced.remake if stale else worker.run
        outcomes = run(tables, show.table_bars(bars), keep)
    show.outcomes(outcomes)
    for outcome in outcomes:
        for key, reason in outcome.kept:
            _print_row("kept", "yellow", outcome.table, key)
            out.print(f"  {reason}", soft_wrap=True)
    failed = sum(len(outcome.failed) for outcome in outcomes)
    if failed:
        err.print(
            f"{failed} failed; `bwm status` says why. Mend the cause, then `bwm retry` and "
            "`bwm populate`."
        )
        raise typer.Exit(1)
    if any(outcome.kept for outcome in outcomes):
        err.print("What is kept cannot be made again now, and is as it was.")
        raise typer.Exit(1)
    if not any(outcome.made for outcome in outcomes):
        what = "no row is out of date" if stale else "everything that can be made is there"
        out.print(f"Nothing to do: {what}. See `bwm status`.")


@app.command()
def retry(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")
    ] = None,
    recording: Annotated[
        str | None, typer.Option("--session", help="Only this session (eid, or pid of a probe).")
    ] = None,
) -> None:
    """Forget recorded failures, so that `bwm populate` tries them again.

    Example: bwm retry --only Spikes
    """
    _connect()
    from populate import plan, worker

    forgotten = worker.retry(plan.find(only), _eid(recording))
    out.print(f"Failures forgotten: {forgotten}. `bwm populate` tries their keys again.")


@app.command()
def status(
    recording: Annotated[
        str | None, typer.Option("--session", help="Only this session (eid, or pid of a probe).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what is done, pending, failed (and why), stale, and what no source lists.

    Example: bwm status --json
    """
    _connect()
    from populate import stale
    from populate import status as state

    eid = _eid(recording)
    replaced = stale.find(eid=eid)
    tables, failures = state.status(eid=eid, replaced=replaced), state.failures(eid=eid)
    if as_json:
        found = {
            "tables": [asdict(t) for t in tables],
            "failures": [asdict(f) for f in failures],
            "stale": [asdict(s) for s in replaced],
        }
        print(json.dumps(found, indent=2))
        return
    names = ("done", "running", "pending", "failed", "absent", "stale")
    shown = show.grid("table", *(show.right(name) for name in names))
    for row in tables:
        shown.add_row(row.table, *(str(getattr(row, name)) for name in names))
    out.print(shown)
    out.print("absent: no source lists the data, so there is nothing to import.")
    if replaced:
        out.print("stale: the files were replaced since; `bwm populate --stale` makes them again.")
    for found_stale in replaced:
        _print_row("stale", "yellow", found_stale.table, found_stale.key)
        out.print(f"  {found_stale.reason}: {', '.join(found_stale.paths)}", soft_wrap=True)
    for failure in failures:
        _print_row("failed", "bold red", failure.table, failure.key)
        out.print(f"  {failure.error}", soft_wrap=True)


def _print_row(state: str, style: str, table: str, key: dict[str, Any]) -> None:
    named = ", ".join(f"{name} {value}" for name, value in key.items())
    out.print(f"\n{state}", style=style, end=" ")
    out.print(f"{table} ({named})", soft_wrap=True)


def _eid(recording: str | None) -> str | None:
    from schemas import views

    return views.find_recording(recording)["eid"] if recording else None


@app.command()
def fetch(
    recording: Annotated[str, typer.Argument(help="eid of a session, or pid of an insertion.")],
    like: Annotated[
        str, typer.Option(help="Pattern of the path below the session, or of the file name.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="That revision and no other; default the current one.")
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="Say what and how much it would be, and stop.")
    ] = False,
) -> None:
    """Download files that no table holds, such as raw recordings, into the ONE cache.

    Example: bwm fetch 56f2a378-78d2-4132-b3c8-8c1ba82be598 --like 'raw_ephys_data/*lf*'
    """
    _connect()
    from populate import fetch as files

    found = files.find(recording, like, revision)
    n_bytes, n_unknown = files.size(found)
    out.print(f"{len(found)} files, {show.size(n_bytes, n_unknown)}:")
    for row in found:
        size = "?" if row["file_size"] is None else show.size(row["file_size"])
        out.print(f"  {size:>9}  {row['dataset_path']}", soft_wrap=True)
    if only_list:
        return
    with show.download("fetch", n_bytes if not n_unknown else None) as progress:
        paths = files.fetch(found, progress)
    out.print("They are at:")
    for path in paths:
        out.print(f"  {path}", soft_wrap=True)


@release_app.command("list")
def list_releases() -> None:
    """List the releases that are registered.

    Example: bwm release list
    """
    _connect()
    from populate import releases

    table = releases.summary()
    if table.empty:
        out.print("No release is registered yet: see `bwm register --help`.")
        return
    show.frame(None, table)


@release_app.command("show")
def show_release(name: Annotated[str, typer.Argument(help="Name of the release.")]) -> None:
    """Count what a release holds, by laboratory.

    Example: bwm release show 2022_10_bwm_release
    """
    _connect()
    from populate import releases

    table = releases.by_lab(name)
    out.print(f"{name}: {releases.describe(name)}", soft_wrap=True)
    show.frame(None, table)


@release_app.command("diff")
def diff_releases(
    old: Annotated[str, typer.Argument(help="Name of a release.")],
    new: Annotated[str, typer.Argument(help="Name of another.")],
    form: Annotated[Format, typer.Option("--format", help="How to write them.")] = Format.table,
    target: Annotated[Path | None, typer.Option("--out", help="File to write to.")] = None,
) -> None:
    """Tell what one release added to another, and what it left out.

    Example: bwm release diff 2022_10_bwm_release 2023_12_bwm_release
    """
    _check_format(form, target)
    _connect()
    from populate import releases

    table = releases.diff(old, new)
    if form is not Format.table or target is not None:
        _write_frame(table, form, target)
        return
    show.frame(f"From {old} to {new}", releases.diff_by_lab(table))
    show.frame(None, table.head(SHOWN))
    if len(table) > SHOWN:
        out.print(f"The first {SHOWN}; --format csv prints all of them.")


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
    _check_format(form, target)
    _connect()
    from schemas import views

    table = views.unit_table(views.units(region, criterion, release, sorting))
    if form is Format.table and target is None:
        title = f"{len(table):,} units of {region}"
        shown = table.head(SHOWN).assign(amp_median=1e6 * table.amp_median)
        show.frame(title, shown, UNIT_LABELS)
        if len(table) > SHOWN:
            out.print(f"The first {SHOWN}; --format csv prints all of them.")
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
    with show.bars() as bars:
        truth = simulator.simulate(
            folder, size, seed=seed, faults=faults, progress=show.bar(bars, "simulate")
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


def _check_format(form: Format, target: Path | None) -> None:
    if form is Format.parquet and target is None:
        raise typer.BadParameter("--format parquet needs --out FILE")


def _write_frame(table: pd.DataFrame, form: Format, target: Path | None) -> None:
    if target is None:
        table.to_csv(sys.stdout, index=False)
        return
    write = table.to_parquet if form is Format.parquet else table.to_csv
    try:
        write(target, index=False)
    except OSError as error:
        raise typer.BadParameter(f"{target} cannot be written ({error})") from None
    err.print(f"{len(table)} rows written to {target}", markup=False, soft_wrap=True)


def _exit_with(problems: list[BwmError], text: str) -> None:
    for problem in problems:
        show.error(problem)
    if problems:
        err.print(f"{len(problems)} {text}")
        raise typer.Exit(1)


def main() -> None:
    """Run the command."""
    app()
