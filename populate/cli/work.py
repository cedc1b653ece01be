"""Commands of those who run workers: populate, retry."""

from __future__ import annotations

from typing import Annotated

import typer

from populate import show
from populate.cli.base import app, connect, find_eid
from populate.show import err, out


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
    settings = connect(cache_limit)
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
            show.keyed("kept", "yellow", outcome.table, key)
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
    connect()
    from populate import plan, worker

    forgotten = worker.retry(plan.find(only), find_eid(recording))
    out.print(f"Failures forgotten: {forgotten}. `bwm populate` tries their keys again.")
