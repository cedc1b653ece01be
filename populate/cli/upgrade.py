"""The command that upgrades the tables of an older version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from populate.cli.base import app, load_settings
from populate.cli.display import out

if TYPE_CHECKING:
    from populate.upgrade.steps import Step


@app.command()
def upgrade(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be changed, and change nothing.")
    ] = False,
) -> None:
    """Upgrade the tables of an older version; their rows are kept.

    It needs the role admin. Stop all workers first, and make a backup.
    To continue an upgrade that was interrupted, run the command again.

    Example: bwm upgrade --dry-run
    """
    from populate import upgrade as upgrades

    settings = load_settings()
    steps = upgrades.pending(settings)
    if not steps:
        out.print(f"{settings.prefix} has the newest tables.", markup=False)
    if not dry_run:
        upgrades.upgrade(settings, _show)
        return
    for step in steps:
        _show(step)
        for change in step.changes:
            out.print(f"   {change}", markup=False, soft_wrap=True)


def _show(step: Step) -> None:
    out.print(f"{step.number}  {step.title}", markup=False, soft_wrap=True)
