"""A region: its units, their rates and responses, and what it lies in and holds."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, rows, session, subject, views
from schemas.figures.style import choose_colours
from viewer import drawing, parameters
from viewer.errors import NotFound
from viewer.page import LENS, Page, Panel, Shown, call
from viewer.pages import names
from viewer.pages.cohort import SCALE
from viewer.parameters import Field, Values

ACRONYM = Field("acronym", parameters.acronym, None, "region")

PSTHS = {
    "stimulus_side": ("Mean response to the stimulus", "stimulus onset"),
    "movement_choice": ("Mean response to the movement", "first movement"),
    "feedback_outcome": ("Mean response to the feedback", "feedback"),
}
"""Rows of `activity.PsthDefinition`, the title of a panel, and what happens at 0 s."""

GREATEST_UNITS = 400
"""Most units whose histograms are averaged."""


def _lens(values: Values) -> dict[str, Any]:
    return {"release_name": values["release"], "sorting": values["sorting"]}


def _code(values: Values, criterion: bool = True) -> str:
    chosen = values["criterion"] if criterion else None
    return call("views.units", values["acronym"], chosen, **_lens(values))


def find(values: Values) -> dict[str, Any]:
    """Return the row of the region.

    Raises
    ------
    NotFound
        No region has the acronym.
    """
    found = (atlas.BrainRegion & {"region_acronym": values["acronym"]}).to_dicts()
    if not found:
        views.find_region(values["acronym"])  # says which are near
        raise NotFound(f"no region {values['acronym']!r}.")
    return found[0]


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    row = find(values)
    counts = views.fetch_region_counts(values["criterion"], "Allen", **_lens(values))
    own = counts[counts.region_id == row["region_id"]].to_dict("records")
    above = rows.frame(atlas.BrainRegion.Ancestor & {"region_id": row["region_id"]})
    regions = rows.frame(atlas.BrainRegion())
    parents = regions[regions.region_id.isin(above.ancestor_id)].sort_values("region_level")
    children = regions[regions.parent_id == row["region_id"]].sort_values("region_order")
    children = children.merge(
        counts[["region_id", "n_units", "n_good", "n_sessions"]], "left", on="region_id"
    )
    return {
        "region": row,
        "counts": own[0] if own else None,
        "parents": parents[parents.region_id != row["region_id"]].to_dict("records"),
        "children": children.to_dict("records"),
        "responding": views.fetch_responding(values["acronym"], **_lens(values)).to_dict("records"),
        "modulated": views.fetch_modulated(values["acronym"], **_lens(values)).to_dict("records"),
        "sessions": fetch_sessions(values).to_dict("records"),
        "choices": names.lens_choices(),
        "code": "from schemas import connection, views\n\nconnection.connect()\n"
        f"units = {_code(values)}\n"
        "views.fetch_units(units), views.fetch_clusters(units)",
    }


def fetch_measures(values: Values) -> pd.DataFrame:
    """Fetch the measures of the units of the region, and whether each is good."""
    every = views.units(values["acronym"], None, **_lens(values))
    columns = ("firing_rate", "amp_median", "cluster_depth", "presence_ratio", "cluster_uuid")
    table = views.fetch_measures(every, columns)
    good = rows.frame(views.units(values["acronym"], values["criterion"], **_lens(values)).proj())
    table = table.merge(good.assign(group="good"), "left", on=list(good.columns))
    return table.assign(group=table.group.fillna("other"))


def fetch_sessions(values: Values) -> pd.DataFrame:
    """Fetch the sessions with units in the region, and their laboratories."""
    every = views.units(values["acronym"], None, **_lens(values))
    good = views.units(values["acronym"], values["criterion"], **_lens(values))
    counted = rows.frame(dj.U("eid").aggr(every, n_units="count(*)"))
    counted_good = rows.frame(dj.U("eid").aggr(good, n_good="count(*)"))
    named = session.Session.proj("subject", "session_date", "session_number")
    about = rows.frame(named * subject.Subject.proj("lab"))
    table = counted.merge(counted_good, "left", on="eid").merge(about, on="eid")
    table["n_good"] = table.n_good.fillna(0).astype(int)
    return table.sort_values(["lab", "subject", "session_date"], ignore_index=True)


def _histogram(metric: str, label: str, log: bool) -> Panel:
    def show(values: Values) -> Shown:
        table = fetch_measures(values)
        colours = drawing.GOOD
        numbers = table[metric] / SCALE.get(metric, 1)
        return drawing.histogram(numbers, label, log=log, of=table.group, colours=colours)

    title = label.partition(" (")[0].capitalize()
    caption = f"{label}; good units and the others."
    return Panel(
        title, caption, show, lambda v: f"views.fetch_clusters({_code(v, False)})", fetch_measures
    )


def show_scatter(values: Values) -> Shown:
    """Show rate and depth of the units of the region."""
    table = fetch_measures(values)
    table = table[(table.firing_rate > 0) & table.cluster_depth.notna()]
    table, note = drawing.thin(table.sort_values("group", ascending=False, ignore_index=True))
    shown = pd.DataFrame(
        {
            "unit": table.cluster_uuid,
            "rate": table.firing_rate,
            "depth": table.cluster_depth,
            "group": table.group,
            "href": "/unit/" + table.cluster_uuid.astype(str),
        }
    )
    layer: dict[str, Any] = {
        "type": "points",
        "table": "data",
        "x": "rate",
        "y": "depth",
        "by": "group",
    }
    layer |= {"colours": drawing.GOOD, "shapes": drawing.GOOD_SHAPES, "href": "href", "size": 2.5}
    axes = {"label": "rate (Hz)", "log": True}, {"label": "depth (µm from the tip)"}
    return Shown({"data": shown}, [layer], *axes, note=note)


def _response(definition: str) -> Panel:
    title, event = PSTHS[definition]

    def fetch(values: Values) -> pd.DataFrame:
        chosen = views.units(values["acronym"], values["criterion"], **_lens(values))
        keys = rows.frame(chosen.proj())
        if len(keys) > GREATEST_UNITS:
            at = np.linspace(0, len(keys) - 1, GREATEST_UNITS).astype(int)
            chosen = chosen & keys.iloc[at].to_dict("records")
        return views.fetch_psth(chosen, definition)

    def show(values: Values) -> Shown:
        table = fetch(values)
        n_units = len(table[["eid", "probe_name", "sorting_name", "cluster_id"]].drop_duplicates())
        averaged = table.groupby(["condition", "time"])["mean"].agg(["mean", "sem"]).reset_index()
        averaged["low"], averaged["high"] = (
            averaged["mean"] - averaged["sem"],
            averaged["mean"] + averaged["sem"],
        )
        colours = choose_colours(averaged.condition)
        layers: list[dict[str, Any]] = [
            {"type": "vlines", "at": [0]},
            {"type": "line", "table": "data", "x": "time", "y": "mean", "by": "condition"}
            | {"low": "low", "high": "high", "colours": colours},
        ]
        axes = {"label": f"time from {event} (s)"}, {"label": "rate (Hz)"}
        note = f"Mean and standard error over {n_units:,} units."
        if n_units == 0:
            note = ""
        elif n_units >= GREATEST_UNITS:
            note += " They are evenly chosen among more; the query has all."
        return Shown({"data": averaged}, layers, *axes, note=note, height=260)

    caption = f"Mean rate of good units with a histogram ({definition}), around {event}."
    code = f"views.fetch_psth({{}}, {definition!r})"
    return Panel(title, caption, show, lambda v: code.format(_code(v)), fetch)


PANELS = {
    "scatter": Panel(
        "Rate by depth",
        "Each point is a unit; choose one to open it.",
        show_scatter,
        lambda v: f"views.fetch_clusters({_code(v, False)})",
        fetch_measures,
    ),
    "rate": _histogram("firing_rate", "rate (Hz)", True),
    "amplitude": _histogram("amp_median", "median amplitude (µV)", True),
    "presence": _histogram("presence_ratio", "presence (fraction of 10 s bins)", False),
    **{name: _response(name) for name in PSTHS},
}

PAGE = Page(
    "region",
    "/region/{acronym:path}",
    LENS,
    (ACRONYM,),
    build,
    PANELS,
    {"units": fetch_measures, "sessions": fetch_sessions},
    check=find,
)
