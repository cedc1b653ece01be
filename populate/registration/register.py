"""What one `bwm register` brings in: a list, a source, or a source as far as a list goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from populate.registration import releases, sessions
from populate.registration.upsert import Report
from schemas.errors import RegistrationError
from schemas.sources import base, registry
from schemas.sources.records import Selection

Bar = Callable[[str], sessions.Progress]
"""Makes what is called with the numbers of sessions done and of all, for a part by its title."""


def register(
    location: str | None,
    listing: Path | None = None,
    selection: Selection | None = None,
    name: str | None = None,
    bar: Bar | None = None,
    task: str | None = None,
) -> list[Report]:
    """Register a release list, a source, or both.

    Parameters
    ----------
    location : str or None
        Folder of ONE, or URL of Alyx. Of a server, what the list or the selection names is
        registered; of a folder without a selection, everything.
    listing : Path, optional
        Release list.
    selection : Selection, optional
        Which recordings of the source.
    name : str, optional
        Name of the release that the list or the selection makes. Default: that of the list or
        tag; what other selections find becomes a release only under a name.
    bar : callable, optional
        Makes a progress bar.
    task : str, optional
        Task that is imported of sessions that ran several, e.g. `task_01`.

    Returns
    -------
    list of Report
        One for the list, one for the source.

    Raises
    ------
    RegistrationError
        A server without a list or selection: nobody wants all of it. Or both of them.
    """
    chosen = selection if selection != Selection() else None
    online = location is not None and registry.type_of(location).is_server
    if listing is not None and chosen is not None:
        what = f"it says which recordings, and so does {describe(chosen)}."
        raise RegistrationError(what, listing, "Leave out one of the two.")
    if online and chosen is None and listing is None:
        what = "nothing of this server is selected."
        raise RegistrationError(what, location, "Say which recordings, e.g. by --tag or --release.")
    reports, eids = [], None
    if listing is not None:
        reports.append(releases.register_list(listing, name, bar and bar(listing.name)))
        eids = releases.sessions_of(listing) if online else None
    if location is None:
        return reports
    source, progress = base.open_source(location), bar and bar(_title(location))
    report, found = sessions.register_source(source, chosen, progress, eids=eids, task=task)
    reports.append(report)
    if found is not None and chosen is not None:
        named = name or chosen.tag
        if named:
            origin = "tag" if chosen == Selection(tag=chosen.tag) else "query"
            releases.register_found(named, origin, describe(chosen), found, report)
    return reports


def describe(selection: Selection) -> str:
    """Write a selection in a line, e.g. `lab=cortexlab, region=TH`; a tag alone as itself."""
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
