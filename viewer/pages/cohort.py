"""Units chosen by anything that is measured: counts, figures, tables, files, and the query."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, behavior, ephys, rows, session, subject, views
from schemas.views.cohort import DIRECTIONS, SEXES
from viewer import drawing, parameters
from viewer.errors import TooMuch
from viewer.page import RELEASE, SORTING, Page, Panel, Shown, call
from viewer.pages import names
from viewer.parameters import Field, Values

METRICS = {
    "firing_rate": "rate (Hz)",
    "spike_count": "spikes (n)",
    "amp_median": "median amplitude (µV)",
    "cluster_depth": "depth (µm from the tip)",
    "presence_ratio": "presence (fraction)",
    "noise_cutoff": "noise cut-off (sd)",
    "max_confidence": "confidence of low contamination (%)",
    "contamination": "contamination (fraction)",
    "missed_spikes_est": "missed spikes (fraction)",
    "drift": "drift (µm/h)",
    "peak_to_trough": "peak to trough (ms)",
}

SCALE = {"amp_median": 1e-6}
"""What a value of the form is multiplied by to be in the unit of the column."""

SORTS = ("firing_rate", "amp_median", "cluster_depth", "spike_count")
ROWS = 50
"""Units of a page of the table."""

MOST = 1_000_000
"""Most units of a file."""


def _criterion(text: str) -> str:
    return text if text == ANY else parameters.row_of(ephys.UnitCriterion, "criterion")(text)


def _region(text: str) -> str:
    views.find_region(parameters.acronym(text))
    return text


ANY = "any"

OF_SESSION = (
    Field("lab", parameters.row_of(subject.Lab, "lab"), None, "laboratory"),
    Field("subject", parameters.row_of(subject.Subject, "subject"), None, "mouse"),
    Field("min_trials", parameters.whole(0, 100_000), None, "trials, at least"),
    Field("min_performance", parameters.number(0, 1), None, "performance (fraction), at least"),
    Field(
        "min_easy_performance",
        parameters.number(0, 1),
        None,
        "performance at easy trials, at least",
    ),
    Field("max_reaction_time", parameters.number(), None, "median reaction time (s), at most"),
    Field(
        "rt_definition",
        parameters.row_of(behavior.ReactionTimeDefinition, "rt_definition"),
        "first_movement",
        "reaction time",
    ),
    Field("min_bias_shift", parameters.number(), None, "bias shift (% contrast), at least"),
)

RESPONSE = (
    Field(
        "response",
        parameters.row_of(activity.ResponseDefinition, "response_definition"),
        None,
        "responds to",
    ),
    Field("max_p", parameters.number(0, 1), 0.01, "p, at most"),
    Field("direction", parameters.one_of(DIRECTIONS), None, "direction"),
)

BOUNDS = tuple(
    Field(f"{end}_{metric}", parameters.number(), None, f"{label}, {word}")
    for metric, label in METRICS.items()
    for end, word in (("least", "at least"), ("most", "at most"))
)

FIELDS = (
    RELEASE,
    Field("criterion", _criterion, "ibl_2022", "good units by"),
    SORTING,
    Field("region", _region, None, "region"),
    Field("sex", parameters.one_of(SEXES), None, "sex"),
    *OF_SESSION,
    *RESPONSE,
    *BOUNDS,
    Field("sort", parameters.one_of(SORTS), None, "sorted by"),
    Field("down", parameters.flag, False, "from the largest"),
    Field("page", parameters.whole(1, 100_000), 1, "page of the table"),
)


def options(values: Values) -> dict[str, Any]:
    """Return the arguments of `views.cohort` that differ from their defaults."""
    given = {m: tuple(values[f"{end}_{m}"] for end in ("least", "most")) for m in METRICS}
    bounds = {
        metric: tuple(None if v is None else v * SCALE.get(metric, 1) for v in limits)
        for metric, limits in given.items()
        if limits != (None, None)
    }
    found = {
        "region": values["region"],
        "criterion": None if values["criterion"] == ANY else values["criterion"],
        "release_name": values["release"],
        "sorting": values["sorting"],
        "bounds": bounds or None,
        "response_definition": values["response"],
        "max_p": values["max_p"] if values["response"] else None,
        "direction": values["direction"] if values["response"] else None,
        "sex": values["sex"],
        **{field.name: values[field.name] for field in OF_SESSION},
    }
    if values["max_reaction_time"] is None:
        del found["rt_definition"]
    return {name: value for name, value in found.items() if value is not None}


def choose(values: Values) -> dj.expression.QueryExpression:
    """Return the chosen units."""
    return views.cohort(**options(values))


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    chosen = choose(values)
    counts = views.count_cohort(chosen)
    n_pages = max(1, -(-counts["units"] // ROWS))
    return {
        "counts": counts,
        "units": _page_of_units(chosen, values).to_dict("records"),
        "n_pages": n_pages,
        "sorts": SORTS,
        "metrics": METRICS,
        "bounds": BOUNDS,
        "of_session": OF_SESSION,
        "is_filtered": bool(set(options(values)) - {"criterion"}),
        "labs": sorted(subject.Lab.to_arrays("lab")),
        "sexes": SEXES,
        "directions": list(DIRECTIONS),
        "responses": sorted(activity.ResponseDefinition.to_arrays("response_definition")),
        "rt_definitions": sorted(behavior.ReactionTimeDefinition.to_arrays("rt_definition")),
        "choices": names.lens_choices(),
        "code": code(values),
        "sql": chosen.make_sql(),
    }


def _page_of_units(chosen: dj.expression.QueryExpression, values: Values) -> pd.DataFrame:
    """Fetch the units of one page of the table, in its order."""
    key = list(ephys.SpikeSorting.Cluster.primary_key)
    order = key
    if values["sort"]:
        # The servers place what is missing at different ends.
        chosen = chosen & f"{values['sort']} IS NOT NULL"
        order = [f"{values['sort']} {'DESC' if values['down'] else 'ASC'}", *key]
    top = dj.Top(ROWS, order, ROWS * (values["page"] - 1))
    keys = (chosen.proj(*([values["sort"]] if values["sort"] else [])) & top).to_dicts()
    keys = [{name: row[name] for name in key} for row in keys]
    if not keys:
        return views.fetch_units(ephys.SpikeSorting.Cluster & "FALSE")
    table = views.fetch_units(ephys.SpikeSorting.Cluster & keys)
    rank = {tuple(row.values()): i for i, row in enumerate(keys)}
    place = [rank[row] for row in zip(*(table[name] for name in key), strict=True)]
    return table.iloc[np.argsort(place)]


def code(values: Values) -> str:
    """Write the Python that gives the chosen units."""
    return (
        "from schemas import connection, views\n\nconnection.connect()\n"
        f"units = {call('views.cohort', **options(values))}\n"
        "views.count_cohort(units), views.fetch_units(units)"
    )


def fetch_units(values: Values) -> pd.DataFrame:
    """Fetch the chosen units as a table."""
    chosen = choose(values)
    n_units = views.count_cohort(chosen)["units"]
    if n_units > MOST:
        what = f"these are {n_units:,} units, and at most {MOST:,} are handed out."
        raise TooMuch(what, None, "Filter more, or run the query of the page.")
    return views.fetch_units(chosen)


def fetch_sessions(values: Values) -> pd.DataFrame:
    """Fetch the sessions of the chosen units with their numbers of units and their behaviour."""
    counted = rows.frame(dj.U("eid").aggr(choose(values), n_units="count(*)"))
    named = session.Session.proj("subject", "session_date", "session_number")
    about = rows.frame(named * subject.Subject.proj("lab", "sex"))
    measures = rows.frame(views.session_measures(values["rt_definition"]))
    shown = ["eid", "n_trials", "performance", "performance_easy", "rt_median", "bias_shift"]
    table = counted.merge(about, on="eid").merge(measures[shown], on="eid", how="left")
    return table.sort_values(["subject", "session_date", "session_number"], ignore_index=True)


def fetch_regions(values: Values) -> pd.DataFrame:
    """Fetch the regions of the chosen units with their numbers of units."""
    counted = rows.frame(dj.U("region_id").aggr(choose(values), n_units="count(*)"))
    table = counted.merge(pd.DataFrame(names.regions().values()), on="region_id", how="left")
    return table.sort_values("n_units", ascending=False, ignore_index=True)


def _histogram(metric: str, label: str, log: bool) -> Panel:
    def show(values: Values) -> Shown:
        found = views.fetch_measures(choose(values), [metric])
        return drawing.histogram(found[metric] / SCALE.get(metric, 1), label, log=log)

    def exact(values: Values) -> pd.DataFrame:
        return views.fetch_measures(choose(values), [metric])

    def text(values: Values) -> str:
        chosen = call("views.cohort", **options(values))
        return f"views.fetch_measures({chosen}, {[metric]!r})"

    title = f"{label.partition(' (')[0].capitalize()} of the units"
    return Panel(title, f"{label}; 40 bins.", show, text, exact)


def show_scatter(values: Values) -> Shown:
    """Show rate and amplitude of the units, each a link."""
    table = views.fetch_measures(choose(values), ("firing_rate", "amp_median", "cluster_uuid"))
    table = table[(table.firing_rate > 0) & table.amp_median.notna()]
    table, note = drawing.thin(table)
    shown = pd.DataFrame(
        {
            "unit": table.cluster_uuid,
            "rate": table.firing_rate,
            "amplitude": 1e6 * table.amp_median,
            "href": "/unit/" + table.cluster_uuid.astype(str),
        }
    )
    layer: dict[str, Any] = {
        "type": "points",
        "table": "data",
        "x": "amplitude",
        "y": "rate",
        "href": "href",
    }
    axes = {"label": "median amplitude (µV)", "log": True}, {"label": "rate (Hz)", "log": True}
    return Shown({"data": shown}, [{**layer, "size": 2, "alpha": 0.5}], *axes, note=note)


def show_regions(values: Values) -> Shown:
    """Show the number of units of the regions that have most."""
    table = fetch_regions(values)
    top = table[table.region_acronym.notna()].head(16).reset_index(drop=True)
    left_out = len(table) - len(top)
    shown = pd.DataFrame(
        {
            "region": top.region_acronym,
            "n_units": top.n_units,
            "from": np.arange(len(top)) - 0.4,
            "to": np.arange(len(top)) + 0.4,
        }
    )
    colours = dict(zip(top.region_acronym, top.region_rgb, strict=True))
    layer: dict[str, Any] = {
        "type": "bars",
        "table": "data",
        "x0": "from",
        "x1": "to",
        "y": "n_units",
    }
    layer |= {"by": "region", "colours": colours, "legend": False}
    axis: dict[str, Any] = {"label": "region", "names": list(top.region_acronym), "min": -0.6}
    axis["max"] = max(len(top), 1) - 0.4
    note = f"{left_out} more are in the data." if left_out else ""
    return Shown({"data": shown}, [layer], axis, {"label": "units (n)"}, note=note, height=260)


PANELS = {
    "rate": _histogram("firing_rate", "rate (Hz)", True),
    "amplitude": _histogram("amp_median", "median amplitude (µV)", True),
    "depth": _histogram("cluster_depth", "depth (µm from the tip)", False),
    "scatter": Panel(
        "Rate and amplitude",
        "Each point is a unit; choose one to open it.",
        show_scatter,
        lambda v: (
            f"units = {call('views.cohort', **options(v))}\n"
            "views.fetch_measures(units, ['firing_rate', 'amp_median'])"
        ),
    ),
    "by_region": Panel(
        "Units by region",
        "Allen structures with most units, in the colours of the atlas.",
        show_regions,
        lambda v: (
            f"units = {call('views.cohort', **options(v))}\n"
            'rows.frame(dj.U("region_id").aggr(units, n_units="count(*)"))'
        ),
        fetch_regions,
    ),
}

PAGE = Page(
    "cohort",
    "/cohort",
    FIELDS,
    (),
    build,
    PANELS,
    {"units": fetch_units, "sessions": fetch_sessions},
)
