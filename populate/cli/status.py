"""The command `bwm status`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from populate import show
from populate.cli.base import Modules, app, connect, find_eid
from populate.show import out


@app.command()
def status(
    recording: Annotated[
        str | None, typer.Option("--session", help="Only this session (eid, or pid of a probe).")
    ] = None,
    module: Modules = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show what is done, pending, failed (and why), stale, and what no source lists.

    Example: bwm status --json
    """
    connect(modules=module or ())
    from populate import stale
    from populate import status as state

    eid = find_eid(recording)
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
        show.keyed("stale", "yellow", found_stale.table, found_stale.key)
        out.print(f"  {found_stale.reason}: {', '.join(found_stale.paths)}", soft_wrap=True)
    for failure in failures:
        show.keyed("failed", "bold red", failure.table, failure.key)
        out.print(f"  {failure.error}", soft_wrap=True)
