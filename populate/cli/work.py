"""Commands of those who run workers: populate, retry."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer

from populate.cli import display
from populate.cli.base import Modules, app, connect, find_eid
from populate.cli.display import err, out


class LogFormat(str, Enum):
    """How the log of workers is written."""

    text = "text"
    json = "json"


@app.command()
def populate(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of worker processes, each with its log.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on as new sessions are registered.")
    ] = False,
    stale: Annotated[
        bool, typer.Option("--stale", help="Only rows whose files were replaced, and dependants.")
    ] = False,
    module: Modules = None,
    memory: Annotated[
        str | None, typer.Option(help="Data that a worker may hold, e.g. 8GB; default its share.")
    ] = None,
    cache_limit: Annotated[
        str | None,
        typer.Option(help="Keep downloads below this size, e.g. 50GB; default the setting."),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(
            help="Print a line for each job, for people or machines. Without a terminal: text."
        ),
    ] = None,
) -> None:
    """Import and compute everything that is registered and not there yet.

    Any number of machines that are connected to the same database share the work. Ctrl-C and
    SIGTERM end it within ten seconds; whatever ends it, the same command goes on from there.

    Example: bwm populate --only Trials --only ReactionTime

    Example: bwm populate --workers 4 --watch --log-format json
    """
    many = workers is not None or watch
    if stale and (many or log_format):
        raise typer.BadParameter("--stale goes without --workers, --watch and --log-format")
    settings = connect(cache_limit, module or (), memory)
    from populate import cache_eviction, catalog, status
    from populate import stale as replaced
    from populate.workers import log, pool, worker

    tables = catalog.find(only)
    housekeeping = cache_eviction.housekeeping(settings.alyx)
    pool.limit_memory(None if many else settings.worker.memory)
    if many:
        on_result = log.printer(log_format or LogFormat.text)
        outcomes = pool.run(workers or 1, tables, watch=watch, on_result=on_result)
    elif stale:
        with display.bars() as bars:
            outcomes = replaced.remake(tables, display.table_bars(bars), housekeeping)
    elif log_format is not None or not out.is_terminal:
        outcomes = worker.run(
            tables, housekeeping=housekeeping, on_result=log.printer(log_format or LogFormat.text)
        )
    else:
        with display.bars() as bars:
            outcomes = worker.run(tables, display.table_bars(bars), housekeeping)
    if log_format is LogFormat.json:
        raise typer.Exit(1 if any(outcome.failed for outcome in outcomes) else 0)
    display.outcomes(outcomes)
    for outcome in outcomes:
        for key, reason in outcome.kept:
            display.keyed("kept", "yellow", outcome.table, key)
            out.print(f"  {reason}", soft_wrap=True)
    failed = sum(len(outcome.failed) for outcome in outcomes)
    earlier = len(status.failures(tables)) - failed
    if earlier > 0:
        err.print(f"{earlier} failed earlier and wait for `bwm retry`; `bwm status` says why.")
    if failed:
        err.print(
            f"{failed} failed; `bwm status` says why. Fix the cause, then run `bwm retry` and "
            "`bwm populate`."
        )
        raise typer.Exit(1)
    if any(outcome.kept for outcome in outcomes):
        err.print("What is kept cannot be made again now, and is as it was.")
        raise typer.Exit(1)
    if not any(outcome.made for outcome in outcomes):
        what = "no row is out of date" if stale else "everything that can be made is there"
        but = ", but for what failed" if earlier > 0 else ""
        out.print(f"Nothing to do: {what}{but}. See `bwm status`.")


@app.command()
def retry(
    only: Annotated[
        list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")
    ] = None,
    recording: Annotated[
        str | None, typer.Option("--session", help="Only this session (eid, or pid of a probe).")
    ] = None,
    module: Modules = None,
) -> None:
    """Forget recorded failures, so that `bwm populate` tries them again.

    Example: bwm retry --only Spikes
    """
    connect(modules=module or ())
    from populate import catalog
    from populate.workers import worker

    forgotten = worker.retry(catalog.find(only), find_eid(recording))
    out.print(f"Failures forgotten: {forgotten}. `bwm populate` tries their keys again.")
