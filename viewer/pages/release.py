"""The first page: what is in the database, by region, and how far it is populated."""

from __future__ import annotations

from typing import Any

import pandas as pd

from populate import summary
from schemas import activity, atlas, probe, release, rows, session, subject, views
from viewer import database, parameters
from viewer.page import LENS, Page, call
from viewer.pages import brain_map, names
from viewer.parameters import Field, Values

COLUMNS = {
    "region_order": "order",
    "region_acronym": "acronym",
    "region_name": "name",
    "n_units": "units",
    "n_good": "good units",
    "n_sessions": "sessions",
    "n_insertions": "insertions",
    "rate": "rate (Hz), mean",
    "shown": "colour of the map",
}

MEASURES = {
    "n_units": "units",
    "n_good": "good units",
    "rate": "mean rate of good units (Hz)",
    "responding": "fraction of tested units whose rate changes (p < 0.01)",
    "modulated": "fraction of modulated units (false discovery rate 0.05)",
    "latency": "latency (ms), median of responding units",
}

OF_UNITS = ("responding", "modulated", "latency")
"""Measures that are counted from a row of each unit."""

PLACES_SECONDS = 300.0
"""Time for which the places of regions are kept: they move when insertions are imported."""

FIELDS = (
    *LENS,
    Field("mapping", parameters.one_of(atlas.REGION_COLUMN), "Beryl", "regions"),
    Field(
        "response",
        parameters.row_of(activity.ResponseDefinition, "response_definition"),
        "stimulus",
        "response",
    ),
    Field(
        "modulation",
        parameters.row_of(activity.ModulationDefinition, "modulation_definition"),
        "side",
        "modulation",
    ),
    Field(
        "latency",
        parameters.row_of(activity.LatencyDefinition, "latency_definition"),
        "stimulus",
        "latency",
    ),
    Field("measure", parameters.one_of(MEASURES), "n_good", "colour of the map"),
    Field("q", parameters.words, None, "region"),
    Field("sort", parameters.one_of(COLUMNS), "region_order", "sorted by"),
    Field("down", parameters.flag, False, "from the largest"),
)


def fetch_regions(values: Values) -> pd.DataFrame:
    """Fetch the units of each region, their mean rate, and `shown`, the measure of the map.

    Measures that are counted from a row of each unit are fetched where they are chosen alone.
    """
    lens, mapping, measure = _lens(values), values["mapping"], values["measure"]
    table = views.fetch_region_counts(values["criterion"], mapping, **lens)
    rates = views.fetch_region_summary(values["criterion"], "recording", mapping, **lens)
    table["rate"] = table.region_acronym.map(rates.unit_mean)
    if measure == "responding":
        tested = views.fetch_responding_fractions(values["response"], mapping, **lens)
        shown = table.region_id.map(tested.set_index("region_id").responding)
    elif measure == "modulated":
        found = views.fetch_modulated_fractions(values["modulation"], mapping, **lens)
        shown = table.region_acronym.map(found.set_index("region").fraction)
    elif measure == "latency":
        found = views.fetch_region_latencies(values["latency"], mapping, **lens)
        shown = 1e3 * table.region_acronym.map(found.set_index("region").latency)
    else:
        shown = table[measure]
    return table.assign(shown=shown)


def _lens(values: Values) -> dict[str, Any]:
    return {"release_name": values["release"], "sorting": values["sorting"]}


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    table = fetch_regions(values)
    shown = table
    if values["q"]:
        text = values["q"].lower()
        is_hit = table.region_acronym.str.lower().str.startswith(text)
        is_hit |= table.region_name.str.lower().str.contains(text, regex=False)
        shown = table[is_hit]
    shown = shown.sort_values(values["sort"], ascending=not values["down"], kind="stable")
    where = values["mapping"], values["release"]
    places = database.keep(
        ("places", *where), PLACES_SECONDS, lambda: views.fetch_region_places(*where)
    )
    lens, criterion = _lens(values), values["criterion"]
    every = (
        table
        if values["mapping"] == "Allen"
        else views.fetch_region_counts(criterion, "Allen", **lens)
    )
    return {
        "counts": _count(values["release"]),
        "chain": views.fetch_inclusion_chain(criterion, **lens).reset_index().to_dict("records"),
        "regions": shown.to_dict("records"),
        "n_regions": len(table),
        "tree": _as_tree(every),
        "maps": brain_map.draw(places, table, "shown"),
        "measures": MEASURES,
        "columns": COLUMNS,
        "choices": names.lens_choices(),
        "mappings": list(atlas.REGION_COLUMN),
        "definitions": {
            "response": sorted(activity.ResponseDefinition.to_arrays("response_definition")),
            "modulation": sorted(activity.ModulationDefinition.to_arrays("modulation_definition")),
            "latency": sorted(activity.LatencyDefinition.to_arrays("latency_definition")),
        },
        "is_extra": values["measure"] in OF_UNITS,
        "code": _code(values),
    }


def _count(name: str | None) -> dict[str, int]:
    """Count what the database holds, or a release of it."""
    if name is None:
        return summary.recordings()
    members = (release.Release.Insertion & {"release_name": name}).proj()
    sessions = session.Session & members
    found = rows.frame(sessions * subject.Subject.proj("lab"))
    return {
        "laboratories": found.lab.nunique(),
        "mice": found.subject.nunique(),
        "sessions": len(found),
        "insertions": len(probe.ProbeInsertion & members),
    }


def _as_tree(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Nest the rows of regions below their parents."""
    nodes = {row["region_id"]: {**row, "inside": []} for row in table.to_dict("records")}
    top: list[dict[str, Any]] = []
    for node in nodes.values():
        parent = node["parent_id"]
        above = nodes.get(int(parent)) if parent is not None and parent == parent else None
        (above["inside"] if above else top).append(node)
    return top


def _code(values: Values) -> str:
    lens, criterion, mapping = _lens(values), values["criterion"], values["mapping"]
    lines = [
        call("views.fetch_region_counts", criterion, mapping, **lens),
        call("views.fetch_region_summary", criterion, mapping=mapping, **lens),
        call("views.fetch_inclusion_chain", criterion, **lens),
    ]
    if values["measure"] == "responding":
        lines.append(call("views.fetch_responding_fractions", values["response"], mapping, **lens))
    if values["measure"] == "modulated":
        lines.append(call("views.fetch_modulated_fractions", values["modulation"], mapping, **lens))
    if values["measure"] == "latency":
        lines.append(call("views.fetch_region_latencies", values["latency"], mapping, **lens))
    return "from schemas import connection, views\n\nconnection.connect()\n" + "\n".join(lines)


def fetch_chain(values: Values) -> pd.DataFrame:
    """Fetch the inclusion chain."""
    return views.fetch_inclusion_chain(values["criterion"], **_lens(values)).reset_index()


PAGE = Page(
    "release",
    "/",
    FIELDS,
    (),
    build,
    tables={"regions": fetch_regions, "chain": fetch_chain},
)
