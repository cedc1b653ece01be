"""Commands that run workers and return failed jobs to them: populate, retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from populate.cli import display
from populate.cli.base import Modules, Only, Session, app, connect, find_eid
from populate.cli.display import err, out

if TYPE_CHECKING:
    import datajoint as dj

    from populate.workers.worker import OnResult, TableResult
    from schemas.settings import Settings


LogFormat = Literal["text", "json"]


@app.command()
def populate(
    only: Only = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Number of worker processes.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Wait for new sessions, until Ctrl-C.")
    ] = False,
    stale: Annotated[
        bool,
        typer.Option(
            "--stale", help="Recompute rows whose source files changed, and rows derived from them."
        ),
    ] = False,
    module: Modules = None,
    memory: Annotated[
        str | None,
        typer.Option(help="Memory for the data of each worker, e.g. 8GB; default its share."),
    ] = None,
    cache_limit: Annotated[
        str | None,
        typer.Option(help="Keep downloads below this size, e.g. 50GB; default the setting."),
    ] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(help="Print a line for each job, for people or for machines."),
    ] = None,
) -> None:
    """Import and compute all missing rows of the registered sessions.

    Any number of machines that use the same database share the work.
    Ctrl-C and SIGTERM stop it within 10 s; the same command continues it.

    Example: bwm populate --only Trials --only ReactionTime

    Example: bwm populate --workers 4 --watch --log-format json
    """
    many = workers is not None or watch
    if stale and (many or log_format):
        raise typer.BadParameter("--stale goes without --workers, --watch and --log-format")
    settings = connect(cache_limit, module or (), memory)
    from populate import catalog, needed_space
    from populate.workers import pool

    tables = catalog.find(only)
    if not stale:
        for text in needed_space.warnings(tables, settings):
            err.print(f"Warning: {text}", markup=False)
    if not many:
        pool.limit_memory(settings.worker.memory or pool.share_of_memory(1))
    if many:
        on_result = _log_printer(log_format)
        results = pool.run(workers or 1, tables, watch=watch, on_result=on_result)
    else:
        results = _run_here(tables, settings, stale, log_format)
    n_failed = sum(len(result.failed) for result in results)
    if log_format != "json":
        _print_results(results, tables, n_failed, stale)
    if n_failed or any(result.kept for result in results):
        raise typer.Exit(1)


def _log_printer(form: LogFormat | None) -> OnResult:
    from populate.workers import log

    return log.printer(form or "text")


def _run_here(
    tables: list[type[dj.Table]], settings: Settings, stale: bool, log_format: LogFormat | None
) -> list[TableResult]:
    """Run the jobs in this process; a terminal shows bars, other outputs a log."""
    from populate import cache_eviction
    from populate import stale as replaced
    from populate.workers import worker

    housekeeping = cache_eviction.housekeeping(settings.alyx)
    if not stale and (log_format is not None or not out.is_terminal):
        on_result = _log_printer(log_format)
        return worker.run(tables, housekeeping=housekeeping, on_result=on_result)
    with display.bars() as bars:
        run = replaced.remake if stale else worker.run
        return run(tables, display.table_bars(bars), housekeeping)


def _print_results(
    results: list[TableResult], tables: list[type[dj.Table]], n_failed: int, stale: bool
) -> None:
    from populate import status

    display.results(results)
    kept = [(result.table, *found) for result in results for found in result.kept]
    for table, key, reason in kept:
        display.keyed("kept", "yellow", table, key)
        out.print(f"  {reason}", soft_wrap=True)
    n_earlier = len(status.failures(tables)) - n_failed
    if n_earlier > 0:
        err.print(f"{n_earlier} failed earlier and wait for `bwm retry`; `bwm status` says why.")
    if n_failed:
        err.print(
            f"{n_failed} failed; `bwm status` says why. Fix the cause, then run `bwm retry` and "
            "`bwm populate`."
        )
    elif kept:
        err.print("The rows that were kept cannot be recomputed now; they are unchanged.")
    elif not any(result.n_done for result in results):
        what = "no row is stale" if stale else "all rows that can be computed are there"
        but = ", except those of the failed jobs" if n_earlier > 0 else ""
        out.print(f"Nothing to do: {what}{but}. See `bwm status`.")


@app.command()
def retry(
    only: Only = None,
    recording: Session = None,
    module: Modules = None,
) -> None:
    """Forget recorded failures, so that `bwm populate` runs these jobs again.

    Example: bwm retry --only Spikes
    """
    connect(modules=module or ())
    from populate import catalog
    from populate.workers import worker

    forgotten = worker.retry(catalog.find(only), find_eid(recording))
    out.print(f"Failures forgotten: {forgotten}. `bwm populate` runs these jobs again.")
