"""Names and choices that several pages show, and where the page of a thing is."""

from __future__ import annotations

from typing import Any

import datajoint as dj

from schemas import atlas, ephys, probe, release, rows, session
from viewer.errors import NotFound


def lens_choices() -> dict[str, list[str]]:
    """Return the releases, criteria and spike sortings to choose from."""
    return {
        "releases": sorted(release.Release.to_arrays("release_name")),
        "criteria": sorted(ephys.UnitCriterion.to_arrays("criterion")),
        "sortings": sorted((dj.U("sorting_name") & ephys.SpikeSorting).to_arrays("sorting_name")),
    }


def count_releases() -> int:
    """Count the releases: the cheapest question."""
    return len(release.Release())


def session_row(eid: str) -> dict[str, Any]:
    """Return what is registered of a session and its mouse.

    Raises
    ------
    NotFound
        No such session.
    """
    from schemas import subject

    found = (session.Session * subject.Subject & {"eid": eid}).to_dicts()
    if not found:
        raise NotFound(f"no session {eid} is registered.", None, "Search for its subject.")
    return found[0]


def insertion_row(pid: str) -> dict[str, Any]:
    """Return what is registered of an insertion, its session and mouse.

    Raises
    ------
    NotFound
        No such insertion.
    """
    found = (probe.ProbeInsertion & {"pid": pid}).to_dicts()
    if not found:
        raise NotFound(f"no insertion {pid} is registered.", None, "Search for its subject.")
    return {**session_row(found[0]["eid"]), **found[0]}


def insertions_of(eid: str) -> list[dict[str, Any]]:
    """Return the insertions of a session, by name."""
    return (probe.ProbeInsertion & {"eid": eid}).to_dicts(order_by="probe_name")


def title_of(row: dict[str, Any]) -> str:
    """Write the name of a session: mouse, day, number."""
    return f"{row['subject']} {row['session_date']} no. {row['session_number']}"


def regions() -> dict[int, dict[str, Any]]:
    """Return acronym, name and colour of each region by its id."""
    table = rows.frame(atlas.BrainRegion.proj("region_acronym", "region_name", "region_rgb"))
    return {row["region_id"]: row for row in table.to_dict("records")}


def unit_path(uuid: str) -> str:
    """Return the path of the page of a unit.

    Raises
    ------
    NotFound
        No such unit.
    """
    found = rows.frame(
        (ephys.SpikeSorting.Cluster & {"cluster_uuid": uuid}).proj()
        * probe.ProbeInsertion.proj("pid")
    )
    if not len(found):
        raise NotFound(
            f"no unit {uuid} is imported.", None, "Units have new UUIDs in each sorting."
        )
    first = found.iloc[0]
    return f"/unit/{first.pid}/{first.sorting_name}/{first.cluster_id}"
