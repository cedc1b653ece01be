"""Commands of releases."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from populate.cli import display
from populate.cli.base import (
    SHOWN,
    As,
    Out,
    app,
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


@app.command()
def notices(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON file of notices.")],
) -> None:
    """Register notices about releases: errata and notes, of which views then warn.

    The file has notice, release, kind, since, text, source and recording.
    A recording is an eid or a pid. Without one, the whole release is meant.

    Example: bwm notices errata_2025.csv
    """
    connect()
    from populate.registration import notices as registration

    display.report(registration.register_notices(path))


@app.command()
def split(
    name: Annotated[str, typer.Argument(help="Name of the split.")],
    release: Annotated[str, typer.Argument(help="Name of the release to split.")],
    by: Annotated[
        str, typer.Option(help="What no two parts share: subject, lab or session.")
    ] = "subject",
    part: Annotated[
        list[str] | None,
        typer.Option(help="A part and its share, e.g. test=0.2; may be repeated. Default halves."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the order of equal groups.")] = 0,
) -> None:
    """Split a release into parts that share no mouse, and store the split as rows.

    Without parts, it makes halves for exploration and confirmation.

    Example: bwm split thirds 2022_10_bwm_release --part train=0.7 --part test=0.3
    """
    shares = dict(map(_share, part)) if part else None
    connect()
    from populate.registration import splits

    table = splits.store_split(name, release, by, shares, seed)
    display.frame(f"{name}: {release} by {by}", splits.count_parts(table))


def _share(text: str) -> tuple[str, float]:
    """Read a part and its share."""
    name, _, share = text.partition("=")
    try:
        return name, float(share)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a part and its share, e.g. test=0.2") from None
