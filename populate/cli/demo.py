"""Commands of simulated data: the demo, and further simulated releases."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich import filesize

from populate.cli import display
from populate.cli.base import app, connect, exit_with, load_settings, use_demo
from populate.cli.display import err, out
from populate.cli.view import serve_connected


@app.command()
def demo(
    view: Annotated[
        bool, typer.Option("--view", help="Then serve the pages of the demo, until Ctrl-C.")
    ] = False,
) -> None:
    """Simulate a small release, import it, and query the database.

    Example: bwm demo --view
    """
    use_demo()
    from populate import demo as steps
    from populate.workers import pool, worker

    settings = load_settings()
    started = time.monotonic()
    with display.bars() as bars:
        written = steps.simulate(settings, display.bar(bars, "simulate"))
    title = "Simulated a release in" if written else "The simulated release is there already:"
    out.print(f"{title} {steps.folder(settings)}", soft_wrap=True)
    with err.status("Starting the embedded server ..."):
        connect()
    with display.bars() as bars:
        reports = steps.register(settings, lambda title: display.bar(bars, title))
        n_workers = steps.count_workers(written)
        if n_workers > 1:
            results = pool.run(n_workers, on_result=display.job_bar(bars))
        else:
            results = worker.run(progress=display.table_bars(bars))
    for report in reports:
        display.report(report)
    display.results(results)
    exit_with(
        [p for r in reports for p in r.problems], "sessions or lists of the demo were refused."
    )
    if not (written or any(r.changed for r in reports) or any(r.n_done for r in results)):
        out.print("Everything was there already: nothing was done twice.\n")
    display.contents()
    for question in (steps.RATES, steps.REACTIONS):
        answer = question.ask()
        display.frame(question.title, answer.reset_index() if answer.index.name else answer)
        display.code(question.code)
    figure = steps.draw(settings.home / "demo" / "overview.png")
    out.print(f"Figure: {figure}\n", soft_wrap=True)
    out.print("Continue in the shell:\n")
    for line in steps.shell_lines():
        out.print(f"  {line}", soft_wrap=True)
    out.print("\nor in Python or a notebook:\n")
    display.code(steps.SNIPPET)
    out.print("The folder notebooks/ of the project asks this database a dozen more questions.")
    size = filesize.decimal(steps.disk_used(settings))
    out.print(f"Done in {time.monotonic() - started:.0f} s. The demo uses {size} of disk.")
    out.print("`bwm server stop` stops the server.")
    if view:
        serve_connected()


@app.command()
def simulate(
    folder: Annotated[
        Path | None, typer.Argument(help="New folder for the release; none with --release-size.")
    ] = None,
    size: Annotated[
        str, typer.Option(help="tiny, small or full (one insertion of 540 clusters, 8.6 M spikes).")
    ] = "small",
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = 0,
    faults: Annotated[
        bool, typer.Option("--faults", help="Add sessions with one fault each.")
    ] = False,
    release_size: Annotated[
        str | None,
        typer.Option(help="2022 or 2024: fill the database with as many rows, without files."),
    ] = None,
    listing: Annotated[
        Path | None, typer.Option("--from", help="CSV file with the sessions of --release-size.")
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option(help="Folder with tables of real units and sites; default that of --from."),
    ] = None,
    insertions: Annotated[
        int | None, typer.Option(help="Insertions of --release-size; default all.", min=1)
    ] = None,
    spikes: Annotated[
        int, typer.Option(help="Insertions of --release-size with spikes drawn one by one.", min=0)
    ] = 0,
) -> None:
    """Write a simulated release as a ONE cache, or fill the database with one.

    Example: bwm simulate /tmp/release --size small

    Example: BWM_PREFIX=size2022 bwm simulate --release-size 2022
    """
    if (folder is None) == (release_size is None):
        raise typer.BadParameter("give a FOLDER or --release-size, and not both")
    if release_size is not None:
        _fill(release_size, listing, like, insertions, spikes, seed)
        return
    from schemas.sources import simulator

    assert folder is not None
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise typer.BadParameter(f"{folder} is not empty: give a new folder")
    with display.bars() as bars:
        truth = simulator.simulate_whole(
            folder, size, seed=seed, faults=faults, progress=display.bar(bars, "simulate")
        )
    counts = ", ".join(f"{n:,} {kind}" for kind, n in truth.counts.items())
    out.print(f"{folder}: {counts}", soft_wrap=True)
    out.print(f"Next: bwm register --one '{folder}' --release '{truth.release}'", soft_wrap=True)


def _fill(
    size: str,
    listing: Path | None,
    like: Path | None,
    n_insertions: int | None,
    n_spikes: int,
    seed: int,
) -> None:
    """Fill the database with the rows of a release."""
    connect()
    from populate import release_size

    with display.bars() as bars:
        report = release_size.fill(
            size,
            listing,
            like or (listing.parent if listing else None),
            n_insertions=n_insertions,
            n_spikes=n_spikes,
            seed=seed,
            progress=display.bar(bars, "simulate"),
        )
    display.report(report)
    display.contents()
