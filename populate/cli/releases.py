"""Commands of releases."""

from __future__ import annotations

from typing import Annotated

import typer

from populate.cli import display
from populate.cli.base import (
    SHOWN,
    As,
    Out,
    check_format,
    connect,
    release_app,
    write_frame,
)
from populate.cli.display import out


@release_app.command("list")
def list_releases() -> None:
    """List the releases that are registered.

    Example: bwm release list
    """
    connect()
    from populate.registration import releases

    table = releases.summary()
    if table.empty:
        out.print("No release is registered yet: see `bwm register --help`.")
        return
    display.frame(None, table)


@release_app.command("show")
def show_release(name: Annotated[str, typer.Argument(help="Name of the release.")]) -> None:
    """Count the mice, sessions and insertions of a release by laboratory.

    Example: bwm release show 2022_10_bwm_release
    """
    connect()
    from populate.registration import releases

    table = releases.by_lab(name)
    out.print(f"{name}: {releases.describe_release(name)}", soft_wrap=True)
    display.frame(None, table)


@release_app.command("diff")
def diff_releases(
    old: Annotated[str, typer.Argument(help="Name of a release.")],
    new: Annotated[str, typer.Argument(help="Name of the release to compare with it.")],
    form: As = "table",
    target: Out = None,
) -> None:
    """List the insertions that a release added to another, and those that it left out.

    Example: bwm release diff 2022_10_bwm_release 2023_12_bwm_release
    """
    check_format(form, target)
    connect()
    from populate.registration import releases

    table = releases.diff(old, new)
    if form != "table" or target is not None:
        write_frame(table, form, target)
        return
    display.frame(f"From {old} to {new}", releases.diff_by_lab(table))
    display.frame(None, table.head(SHOWN))
    if len(table) > SHOWN:
        out.print(f"The first {SHOWN}; --format csv prints all of them.")
