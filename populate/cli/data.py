"""Commands that register, download and list data, and draw the tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from populate.cli import display
from populate.cli.base import (
    SHOWN,
    As,
    Out,
    app,
    check_format,
    connect,
    exit_with,
    write_frame,
)
from populate.cli.display import out

if TYPE_CHECKING:
    from schemas.sources.records import Selection


Task = Annotated[
    str | None, typer.Option(help="Task to import if a session has several, e.g. task_01.")
]


@app.command()
def register(
    one: Annotated[
        Path | None, typer.Option("--one", help="Folder of a ONE cache, or of bare ALF sessions.")
    ] = None,
    alyx: Annotated[
        str | None,
        typer.Option("--alyx", help="URL of a metadata server; default the setting alyx.url."),
    ] = None,
    release: Annotated[
        Path | None, typer.Option("--release", help="CSV file that lists a release.")
    ] = None,
    tag: Annotated[
        str | None, typer.Option(help="Only recordings with this tag; makes a release.")
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
        bool,
        typer.Option("--bwm-query", help="Only recordings that meet the criteria of the releases."),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the release; default: of the list or tag."),
    ] = None,
    task: Task = None,
) -> None:
    """Register the recordings of a ONE folder, a metadata server or a release list.

    Register again to add new recordings, and to find replaced or withdrawn files.

    Example: bwm register --one ~/Downloads/ONE --release 2022_10_bwm_release.csv

    Example: bwm register --alyx https://openalyx.internationalbrainlab.org --region TH --name TH
    """
    from schemas.sources.records import Selection

    selection = Selection(
        tag, subject, lab, project, tuple(eid or ()), tuple(pid or ()), region, bwm_query
    )
    location = _connect(one, alyx, release, selection)
    from populate.registration import register as registration

    with display.bars() as bars:
        reports = registration.register(
            location, release, selection, name, lambda title: display.bar(bars, title), task
        )
    for report in reports:
        display.report(report)
    problems = [problem for report in reports for problem in report.problems]
    exit_with(problems, "refused; everything else is registered.")


def _connect(
    one: Path | None, alyx: str | None, release: Path | None, selection: Selection
) -> str | None:
    """Check the options, connect, and return the location of the source."""
    has_selection = selection != type(selection)()
    if one is not None and alyx is not None:
        raise typer.BadParameter("give --one FOLDER or --alyx URL, not both")
    if not (one is not None or alyx is not None or release is not None or has_selection):
        raise typer.BadParameter(
            "give --one FOLDER, --alyx URL, --release FILE.csv, or two of them"
        )
    settings = connect()
    location = str(one) if one is not None else alyx
    if location is None and has_selection:
        location = settings.alyx.url
        if location is None:
            raise typer.BadParameter("give --one FOLDER or --alyx URL to select from")
    return location


@app.command()
def fetch(
    recording: Annotated[str, typer.Argument(help="eid of a session, or pid of an insertion.")],
    like: Annotated[
        str, typer.Option(help="Pattern of the path in the session folder, or of the file name.")
    ],
    revision: Annotated[
        str | None, typer.Option(help="Only this revision; default the current one.")
    ] = None,
    only_list: Annotated[
        bool, typer.Option("--list", help="List the files and their sizes; download nothing.")
    ] = False,
) -> None:
    """Download files that no table imports, such as raw recordings, into the ONE cache.

    Example: bwm fetch 56f2a378-78d2-4132-b3c8-8c1ba82be598 --like 'raw_ephys_data/*lf*'
    """
    connect()
    from populate import downloads as files

    found = files.find(recording, like, revision)
    n_bytes, n_unknown = files.size(found)
    out.print(f"{len(found)} files, {display.size(n_bytes, n_unknown)}:")
    for row in found:
        size = "?" if row["file_size"] is None else display.size(row["file_size"])
        out.print(f"  {size:>9}  {row['dataset_path']}", soft_wrap=True)
    if only_list:
        return
    with display.download("fetch", n_bytes if not n_unknown else None) as progress:
        paths = files.fetch(found, progress)
    out.print("Downloaded:")
    for path in paths:
        out.print(f"  {path}", soft_wrap=True)


@app.command()
def units(
    region: Annotated[
        str | None, typer.Option(help="Acronym of a brain region, e.g. TH; default all units.")
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(help="Only good units by this criterion, e.g. ibl_2022.")
    ] = None,
    release: Annotated[str | None, typer.Option(help="Only units of this release.")] = None,
    sorting: Annotated[
        str | None,
        typer.Option(help="Name of a spike sorting; default: the default one of each insertion."),
    ] = None,
    form: As = "table",
    target: Out = None,
) -> None:
    """List the units of a brain region and of all structures in it, or all units.

    Without a region, units outside the brain or without a place are included.

    Example: bwm units --region TH --criterion ibl_2022 --format csv --out thalamus.csv
    """
    check_format(form, target)
    connect()
    from schemas import views

    if criterion is None:
        chosen = views.units(region, None, release, sorting)
    else:
        chosen = views.good_units(criterion, region, release, sorting)
    table = views.fetch_units(chosen)
    if form == "table" and target is None:
        title = f"{len(table):,} units" + (f" of {region}" if region else "")
        shown = table.head(SHOWN).assign(amp_median=1e6 * table.amp_median)
        display.frame(title, shown, UNIT_LABELS)
        if len(table) > SHOWN:
            out.print(f"The first {SHOWN}; --format csv prints all of them.")
        return
    write_frame(table, form, target)


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
def diagram(
    target: Annotated[
        Path | None, typer.Option("--write", help="File that holds the diagram: replace it there.")
    ] = None,
) -> None:
    """Draw the tables as a Mermaid diagram.

    Example: bwm diagram --write schemas/README.md
    """
    from populate import diagram as drawing

    if target is None:
        print(drawing.mermaid())
    else:
        changed = drawing.write(target)
        out.print(f"{target}: {'changed' if changed else 'up to date already'}.", soft_wrap=True)
