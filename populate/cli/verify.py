"""The command `bwm verify`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from populate.cli import display
from populate.cli.base import AsJson, Modules, Session, app, connect, find_eid
from populate.cli.display import err, out

if TYPE_CHECKING:
    from populate.verify import Damage, Removed, Report


@app.command()
def verify(
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Hash every object and file, and compare imported rows with files."
        ),
    ] = False,
    with_repair: Annotated[
        bool,
        typer.Option("--repair", help="Remove damaged rows and files; populate makes them again."),
    ] = False,
    recording: Session = None,
    older_than: Annotated[
        float,
        typer.Option(
            min=0, help="Minutes: a younger file without a row may belong to a running job."
        ),
    ] = 10.0,
    share: Annotated[
        float | None,
        typer.Option(
            "--recompute",
            min=0,
            max=1,
            help="Compute this share of all rows again (1: all) and compare every column.",
        ),
    ] = None,
    lost: Annotated[
        bool,
        typer.Option("--lost-store", help="An empty store was lost: its rows are damaged too."),
    ] = False,
    module: Modules = None,
    as_json: AsJson = False,
) -> None:
    """Check files, stored objects, counts and jobs, and list the damage.

    With --recompute, each run takes rows that earlier runs have not covered.
    A run can be stopped and continued, and several runs share the rows.

    Example: bwm verify --recompute 0.1

    Example: bwm verify --deep --repair
    """
    connect(modules=module or ())
    from populate import verify as checks

    eid = find_eid(recording)
    with display.byte_bar("verify") as progress:
        report = checks.verify(deep, eid, 60 * older_than, progress, lost)
    covered = _recompute(report, deep, share, eid)
    if not as_json:
        _print(report, covered)
    removed = (
        checks.repair(report.damage, None if as_json else _print_removed) if with_repair else []
    )
    if as_json:
        print(json.dumps(_plain(report, removed), indent=2))
    _conclude(report, removed, with_repair)


def _recompute(report: Report, deep: bool, share: float | None, eid: str | None) -> list[str]:
    """Compute rows again, add what differs to the report, and say what is covered."""
    from populate import catalog
    from populate.verify import recompute

    imported = [table for table in catalog.tables() if hasattr(table, "Source")]
    rounds = [(1.0, imported, recompute.PROMISE_DEEP)] if deep else []
    if share is not None:
        rounds.append((share, catalog.tables(), recompute.PROMISE))
    told = []
    for part, tables, promise in rounds:
        with display.bars() as bars:
            progress = display.bar(bars, "recompute")
            covered = recompute.recompute(part, eid, tables, progress, report.damage)
        report.add(recompute.RECOMPUTED, promise, covered.n_computed, covered.damage)
        told.append(str(covered))
    return told


def _conclude(report: Report, removed: list[Removed], with_repair: bool) -> None:
    """Say what is left to do, and exit with 1 unless all is sound or repaired."""
    if report.damage and not with_repair:
        err.print(
            f"{len(report.damage)} damaged. `bwm verify --repair` removes what can be recomputed."
        )
        raise typer.Exit(1)
    if not all(one.can_be_repaired for one in report.damage) or not all(o.is_gone for o in removed):
        err.print("Not everything could be repaired.")
        raise typer.Exit(1)
    if report.damage:
        err.print("Repaired. `bwm populate` computes the removed rows again.")


def _plain(report: Report, removed: list[Removed]) -> dict:
    return {
        "checks": [asdict(one) for one in report.checks],
        "damage": [one.as_dict() for one in report.damage],
        "removed": [asdict(one) for one in removed],
        "bytes_read": report.read,
    }


def _print(report: Report, covered: list[str]) -> None:
    shown = display.grid(
        "check", display.right("checked"), display.right("damaged"), "what must hold"
    )
    for one in report.checks:
        shown.add_row(one.check, f"{one.looked:,}", str(one.damaged), one.promise)
    out.print(shown)
    for damage in report.damage:
        _print_damage(damage)
    for line in covered:
        out.print(line)


def _print_damage(damage: Damage) -> None:
    display.keyed("damaged", "bold red", damage.table, damage.key)
    out.print(f"  {damage.what}", soft_wrap=True)
    out.print(f"  expected {damage.expected}; found {damage.found}", soft_wrap=True)
    out.print(f"  {damage.remedy}", soft_wrap=True)


def _print_removed(removed: Removed) -> None:
    if not removed.is_gone:
        out.print(f"kept: {removed.name}: {removed.why}", soft_wrap=True)
    elif removed.what == "returned":
        out.print(f"requeued: {removed.number} of {removed.name} (jobs)", soft_wrap=True)
    elif removed.what in ("rows", "job"):
        jobs = " (jobs)" if removed.what == "job" else ""
        out.print(f"removed: {removed.number} of {removed.name}{jobs}", soft_wrap=True)
    else:
        out.print(f"removed: {removed.name}", soft_wrap=True)
