"""Run one `bwm register`: register a release list, a source, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from populate.registration import releases, sessions
from populate.registration.upsert import Report
from schemas.errors import RegistrationError
from schemas.sources import base, registry
from schemas.sources.records import Selection

ProgressFactory = Callable[[str], sessions.Progress]
"""Takes the title of a part of the registration; returns its `Progress` callback."""


def register(
    location: str | None,
    listing: Path | None = None,
    selection: Selection | None = None,
    name: str | None = None,
    progress_of: ProgressFactory | None = None,
    task: str | None = None,
) -> list[Report]:
    """Register a release list, a source, or both.

    Parameters
    ----------
    location : str or None
        Folder of ONE, or URL of Alyx. From a server, only what the list or the selection names is
        registered; from a folder without a selection, everything.
    listing : Path, optional
        Release list.
    selection : Selection, optional
        Which recordings to register; default all.
    name : str, optional
        Name of the release. Default: the name of the list or of the tag. Other selections make a
        release only if a name is given.
    progress_of : callable, optional
        See `ProgressFactory`.
    task : str, optional
        Task to import for sessions with several tasks, e.g. `task_01`.

    Returns
    -------
    list of Report
        One for the list, one for the source.

    Raises
    ------
    RegistrationError
        A list and a selection are both given; or neither is, for a server.
    """
    chosen = selection if selection != Selection() else None
    is_server = location is not None and registry.type_of(location).is_server
    if listing is not None and chosen is not None:
        what = f"the list and {describe_selection(chosen)} both choose recordings."
        raise RegistrationError(what, listing, "Leave out one of the two.")
    if is_server and chosen is None and listing is None:
        what = "no recordings of this server are chosen."
        raise RegistrationError(what, location, "Choose some, e.g. by --tag or --release.")
    reports, eids = [], None
    if listing is not None:
        progress = progress_of and progress_of(listing.name)
        reports.append(releases.register_list(listing, name, progress))
        eids = releases.sessions_of(listing) if is_server else None
    if location is None:
        return reports
    source, progress = base.open_source(location), progress_of and progress_of(_title(location))
    report, found = sessions.register_source(source, chosen, progress, eids=eids, task=task)
    reports.append(report)
    if found is not None and chosen is not None and (release_name := name or chosen.tag):
        origin = "tag" if chosen == Selection(tag=chosen.tag) else "query"
        releases.register_found(release_name, origin, describe_selection(chosen), found, report)
    return reports


def describe_selection(selection: Selection) -> str:
    """Write a selection in a line, e.g. `lab=cortexlab, region=TH`; of a tag alone, its name."""
    given = {
        field.name: getattr(selection, field.name)
        for field in fields(selection)
        if getattr(selection, field.name) != field.default
    }
    if list(given) == ["tag"]:
        return str(given["tag"])
    texts = {n: " ".join(v) if isinstance(v, tuple) else str(v) for n, v in given.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items())


def _title(location: str) -> str:
    return location if registry.type_of(location).is_server else Path(location).name
