"""A session: the mouse's choices and reactions, and what it did around events."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from schemas import behavior, ephys, rows, session, video, views
from schemas.errors import QueryError
from schemas.figures.behavior import BLOCK_COLOURS, BLOCK_NAMES, SIDE_COLOURS
from schemas.views.aligned import AlignedSignal
from viewer import packed, parameters
from viewer.page import LENS, Page, Panel, Shown, call
from viewer.pages import insertion, names
from viewer.parameters import Field, Values

EID = Field("eid", parameters.uuid, None, "session")

TRIAL_EVENTS = [row["trial_event"] for row in behavior.TrialEvent.contents]

FIELDS = (
    *LENS,
    Field("event", parameters.one_of(TRIAL_EVENTS), None, "aligned to"),
    Field(
        "rt_definition",
        parameters.row_of(behavior.ReactionTimeDefinition, "rt_definition"),
        "first_movement",
        "reaction time",
    ),
)

SIGNALS = {
    "wheel": ("Wheel velocity", "wheel_velocity", "first_movement_time"),
    "paw": ("Paw speed", "paw_r_speed", "stim_on_time"),
    "nose": ("Nose speed", "nose_tip_speed", "stim_on_time"),
    "whisker": ("Whisker motion energy", "motion_energy", "stim_on_time"),
    "pupil": ("Pupil diameter", "pupil", "stim_on_time"),
}
"""Title of a panel, signal as of `views.aligned`, and event unless another one is chosen."""

WINDOW, BIN = (-0.5, 1.5), 0.025
OUTCOMES = {"correct": "#0072B2", "error": "#D55E00", "no-go": "#7F7F7F"}
N_RUNNING = 21


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    eid = values["eid"]
    row = names.session_row(eid)
    return {
        "session": row,
        "title": names.title_of(row),
        "facts": _facts(eid),
        "insertions": _insertions(eid),
        "others": _others(row),
        "events": TRIAL_EVENTS,
        "rt_definitions": sorted(behavior.ReactionTimeDefinition.to_arrays("rt_definition")),
        "choices": names.lens_choices(),
        "code": "from schemas import connection, views\n\nconnection.connect()\n"
        f"trials = {call('views.fetch_trials', eid)}\n"
        f"wheel = {call('views.fetch_wheel', eid)}",
    }


def _facts(eid: str) -> dict[str, Any]:
    """Return the measures of the session; None where its trials are not imported."""
    found = rows.frame(views.session_measures() & {"eid": eid}).to_dict("records")
    trials = (behavior.Trials & {"eid": eid}).to_dicts()
    return {**(trials[0] if trials else {"n_trials": None}), **(found[0] if found else {})}


def _insertions(eid: str) -> list[dict[str, Any]]:
    """Return the insertions with the number of units and spikes of their default sort."""
    insertions = names.insertions_of(eid)
    sorts = {row["probe_name"]: row for row in views.sorts(recording=eid).to_dicts()}
    spikes = rows.frame((ephys.Spikes & views.sorts(recording=eid).proj()).proj("n_spikes"))
    n_spikes = dict(zip(spikes.probe_name, spikes.n_spikes, strict=True))
    for one in insertions:
        one["n_clusters"] = sorts.get(one["probe_name"], {}).get("n_clusters")
        one["n_spikes"] = n_spikes.get(one["probe_name"])
    return insertions


def _others(row: dict[str, Any]) -> dict[str, Any]:
    """Return the sessions of the mouse before and after this one."""
    columns = ("session_date", "session_number")
    found = (session.Session & {"subject": row["subject"]}).proj(*columns)
    table = rows.frame(found, order_by="session_date, session_number")
    at = table.eid.tolist().index(row["eid"])
    return {
        "before": table.eid[at - 1] if at else None,
        "after": table.eid[at + 1] if at + 1 < len(table) else None,
        "n": len(table),
        "at": at + 1,
    }


# --- choices and reaction times -------------------------------------------------------------------


def show_psychometric(values: Values) -> Shown:
    """Show the fraction of rightward choices by contrast and block."""
    points, curves = views.fetch_psychometric_curve(values["eid"])
    points = points[points.n > 0]
    colours: dict[str, Any] = {
        "by": "psychometric_block",
        "colours": BLOCK_COLOURS,
        "names": BLOCK_NAMES,
    }
    place: dict[str, Any] = {"x": "signed_contrast", "y": "p_right", **colours}
    layers: list[dict[str, Any]] = [
        {"type": "line", "table": "curves", **place, "legend": False},
        {"type": "points", "table": "data", **place, "size": 4, "alpha": 1},
    ]
    axes = (
        {"label": "contrast (%), left negative"},
        {"label": "rightward choices", "min": 0, "max": 1},
    )
    return Shown({"data": points, "curves": curves}, layers, *axes)


def show_chronometric(values: Values) -> Shown:
    """Show the median reaction time by contrast and block."""
    curve = views.fetch_chronometric_curve(values["eid"], values["rt_definition"], by_block=True)
    curve = curve.dropna(subset=["median"])
    place: dict[str, Any] = {"x": "signed_contrast", "y": "median", "by": "psychometric_block"}
    place |= {"colours": BLOCK_COLOURS, "names": BLOCK_NAMES}
    quartiles = {"low": "lower_quartile", "high": "upper_quartile"}
    layers: list[dict[str, Any]] = [
        {"type": "line", "table": "data", **place, "legend": False},
        {"type": "points", "table": "data", **place, **quartiles, "size": 4, "alpha": 1},
    ]
    axes = {"label": "contrast (%), left negative"}, {"label": "reaction time (s)", "min": 0}
    return Shown({"data": curve}, layers, *axes, note="Medians, and quartiles as bars.")


def fetch_reactions(values: Values) -> pd.DataFrame:
    """Fetch the reaction time of each trial, with its stimulus, outcome and block."""
    found = views.fetch_reaction_times(values["rt_definition"], values["eid"])
    trials = views.fetch_trials(values["eid"])[["trial", "probability_left", "signed_contrast"]]
    table = found.merge(trials, on="trial").sort_values("trial", ignore_index=True)
    table["outcome"] = outcomes(table)
    return table


def outcomes(trials: pd.DataFrame) -> np.ndarray:
    """Name the outcome of each trial; None where it is not known."""
    choice, feedback = (
        trials[name].to_numpy(float, na_value=np.nan) for name in ("choice", "feedback_type")
    )
    named = np.where(choice == 0, "no-go", np.where(feedback > 0, "correct", "error"))
    found = named.astype(object)
    found[np.isnan(choice) | np.isnan(feedback)] = None
    return found


def blocks(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the runs of trials of biased blocks: `x0`, `x1` (trial), `prior`."""
    prior = trials.probability_left.round(6)
    run = (prior != prior.shift()).cumsum()
    found = (
        trials.assign(prior=prior)
        .groupby(run)
        .agg(x0=("trial", "min"), x1=("trial", "max"), prior=("prior", "first"))
    )
    found = found.assign(x0=found.x0 - 0.5, x1=found.x1 + 0.5)
    found = found.assign(prior=[f"{p:g}" for p in found.prior])
    return found[found.prior.isin(["0.2", "0.8"])].reset_index(drop=True)


def show_reactions(values: Values) -> Shown:
    """Show the reaction time of each trial over the session, with blocks and a running median."""
    table = fetch_reactions(values)
    known = table[(table.reaction_time > 0) & table.side.notna()]
    median = known.reaction_time.astype(float).rolling(N_RUNNING, center=True, min_periods=1)
    running = pd.DataFrame({"trial": known.trial, "median": median.median()})
    eid = values["eid"]
    shown = known[["trial", "reaction_time", "side", "contrast", "outcome"]]
    shown = shown.assign(href=[f"/trial/{eid}/{trial}" for trial in known.trial])
    shapes = {"left": "circle", "right": "triangle"}
    layers: list[dict[str, Any]] = [
        {"type": "spans", "table": "blocks", "by": "prior", "colours": BLOCK_COLOURS}
        | {"names": BLOCK_NAMES},
        {"type": "points", "table": "data", "x": "trial", "y": "reaction_time", "by": "side"}
        | {"colours": SIDE_COLOURS, "shapes": shapes, "size": 2.5, "href": "href"},
        {"type": "line", "table": "running", "x": "trial", "y": "median", "width": 2},
    ]
    tables = {"data": shown, "blocks": blocks(views.fetch_trials(eid)), "running": running}
    missing = len(table) - len(known)
    note = f"{missing} trials with a time of 0 s or less are left out. " if missing else ""
    note += f"The line is the median of {N_RUNNING} trials. Choose a point to open its trial."
    axes = {"label": "trial"}, {"label": "reaction time (s)", "log": True}
    return Shown(tables, layers, *axes, note=note)


def show_contrasts(values: Values) -> Shown:
    """Show contrast and outcome of each trial over the session, with the blocks."""
    trials = views.fetch_trials(values["eid"])
    eid = values["eid"]
    table = trials[["trial", "signed_contrast"]].assign(
        outcome=outcomes(trials), href=[f"/trial/{eid}/{trial}" for trial in trials.trial]
    )
    table = table[table.signed_contrast.notna()]
    # Steps of contrasts are doublings: by rank each is as far from the next.
    levels = sorted({round(float(v), 6) + 0.0 for v in table.signed_contrast})
    rank = {level: i for i, level in enumerate(levels)}
    table["level"] = [rank[round(float(v), 6) + 0.0] for v in table.signed_contrast]
    shapes = {"correct": "circle", "error": "cross", "no-go": "square"}
    layers: list[dict[str, Any]] = [
        {"type": "spans", "table": "blocks", "by": "prior", "colours": BLOCK_COLOURS}
        | {"names": BLOCK_NAMES},
        {"type": "points", "table": "data", "x": "trial", "y": "level", "by": "outcome"}
        | {"colours": OUTCOMES, "shapes": shapes, "size": 2.5, "href": "href"},
    ]
    tables = {"data": table, "blocks": blocks(trials)}
    y: dict[str, Any] = {
        "label": "contrast (%), left negative",
        "names": [f"{v:g}" for v in levels],
    }
    return Shown(tables, layers, {"label": "trial"}, y, height=260)


# --- signals around events ------------------------------------------------------------------------


def camera_of(eid: str, signal: str) -> str | None:
    """Return the camera that a signal is taken from: the left one where there are several."""
    table = {"motion_energy": video.MotionEnergy, "pupil": video.Pupil}.get(signal, video.Pose)
    if signal.startswith("wheel"):
        return None
    there = sorted(set((table & {"eid": eid}).to_arrays("camera")))
    return "left" if "left" in there else there[0] if there else None


def _aligned(values: Values, name: str) -> AlignedSignal:
    _, signal, event = SIGNALS[name]
    camera = camera_of(values["eid"], signal)
    return views.aligned(
        values["eid"], signal, values["event"] or event, WINDOW, BIN, camera=camera
    )


def average(found: AlignedSignal) -> pd.DataFrame:
    """Average a signal around events by outcome, with the standard error."""
    outcome = outcomes(found.events)
    centre = (found.edges[:-1] + found.edges[1:]) / 2
    parts = []
    for one in OUTCOMES:
        own = found.means[outcome == one]
        if len(own):
            known = np.isfinite(own).sum(axis=0)
            mean = np.divide(
                np.nansum(own, axis=0), known, out=np.full(len(centre), np.nan), where=known > 0
            )
            spread = np.sqrt(np.nansum((own - mean) ** 2, axis=0) / np.maximum(known - 1, 1))
            sem = np.where(known > 1, spread / np.sqrt(np.maximum(known, 1)), np.nan)
            columns = {"outcome": one, "time": centre, "mean": mean, "sem": sem, "n": known}
            parts.append(pd.DataFrame(columns))
    names_of = ["outcome", "time", "mean", "sem", "n"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=names_of)


def _signal(name: str) -> tuple[Panel, Panel]:
    title, signal, event = SIGNALS[name]

    def code(values: Values) -> str:
        camera = camera_of(values["eid"], signal)
        chosen = values["event"] or event
        return call("views.aligned", values["eid"], signal, chosen, WINDOW, BIN, camera=camera)

    def show(values: Values) -> Shown:
        found = _aligned(values, name)
        known = found.means[np.isfinite(found.means)]
        low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
        if signal == "wheel_velocity":
            low, high = -max(-low, high), max(-low, high)
        n = len(found.means)
        layers: list[dict[str, Any]] = [
            _image(found.edges, (-0.5, n - 0.5), low, high, found.unit, signal == "wheel_velocity"),
            {"type": "vlines", "at": [0]},
        ]
        table = found.events[["trial", "time"]].assign(outcome=outcomes(found.events))
        axes = axes_of(values, event, {"label": "trial", "down": True, "min": -0.5, "max": n - 0.5})
        note = (
            f"{len(found.left_out)} trials without the event are left out."
            if len(found.left_out)
            else ""
        )
        image = {"signal": packed.scale(found.means, low, high)}
        return Shown({"data": table}, layers, *axes, image, note=note)

    def exact(values: Values) -> pd.DataFrame:
        found = _aligned(values, name)
        centre = (found.edges[:-1] + found.edges[1:]) / 2
        long = pd.DataFrame(found.means, columns=np.round(centre, 6))
        long = long.assign(trial=found.events.trial).melt(
            "trial", var_name="time", value_name=signal
        )
        return long.sort_values(["trial", "time"], ignore_index=True)

    def show_means(values: Values) -> Shown:
        found = _aligned(values, name)
        table = average(found)
        table = table.assign(low=table["mean"] - table["sem"], high=table["mean"] + table["sem"])
        place: dict[str, Any] = {"x": "time", "y": "mean", "by": "outcome", "colours": OUTCOMES}
        layers: list[dict[str, Any]] = [
            {"type": "vlines", "at": [0]},
            {"type": "line", "table": "data", **place, "low": "low", "high": "high"},
        ]
        axes = axes_of(values, event, {"label": f"{title.lower()} ({found.unit})"})
        return Shown({"data": table}, layers, *axes, height=220)

    caption = "One row a trial, from the first on top; {} in bins of 25 ms."
    return (
        Panel(title, caption.format(title.lower()), show, code, exact),
        Panel(
            f"{title}, mean",
            "Mean over trials by outcome, and its standard error.",
            show_means,
            code,
        ),
    )


def axes_of(values: Values, event: str, y: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the axis of time from an event, and the other one."""
    named = (values["event"] or event).removesuffix("_time").replace("_", " ")
    return {"label": f"time from {named} (s)"}, y


def _image(
    edges: np.ndarray, y: tuple[float, float], low: float, high: float, unit: str, diverging: bool
) -> dict[str, Any]:
    return {
        "type": "image",
        "image": "signal",
        "x0": float(edges[0]),
        "x1": float(edges[-1]),
        "y0": y[0],
        "y1": y[1],
        "map": "diverging" if diverging else "heat",
        "low_text": f"{low:.3g}",
        "high_text": f"{high:.3g} {unit}",
    }


def show_licks(values: Values) -> Shown:
    """Show the licks around the feedback, a row a trial."""
    event = values["event"] or "feedback_time"
    licks = views.fetch_licks(values["eid"])
    found, events = views.fetch_unit_events(licks, values["eid"], event, WINDOW)
    table = pd.DataFrame({"time": found.lag, "row": found.event})
    table["outcome"] = outcomes(events)[found.event.to_numpy(int)]
    table = table.assign(trial=events.trial.to_numpy()[found.event.to_numpy(int)])
    layers: list[dict[str, Any]] = [
        {"type": "vlines", "at": [0]},
        {"type": "ticks", "table": "data", "x": "time", "y": "row", "by": "outcome"}
        | {"colours": OUTCOMES, "least": 1.5},
    ]
    n = len(events)
    y: dict[str, Any] = {"label": "trial", "down": True, "min": -0.5, "max": max(n, 1) - 0.5}
    x, y = axes_of(values, "feedback_time", y)
    return Shown({"data": table}, layers, x | {"min": WINDOW[0], "max": WINDOW[1]}, y)


def _raster(number: int) -> Panel:
    def pid_of(values: Values) -> str:
        there = [one["pid"] for one in names.insertions_of(values["eid"]) if one["pid"]]
        if number >= len(there):
            what = "this session has no second probe." if there else "this session has no probe."
            raise QueryError(what)
        return there[number]

    def show(values: Values) -> Shown:
        return insertion.show_raster({**values, "pid": pid_of(values)})

    word = ("first", "second")[number]
    return Panel(
        f"Raster of the {word} probe",
        "Spikes by depth over the recording; regions are beside it.",
        show,
        lambda _: f"views.fetch_spike_density({word}_pid)",
        lambda v: views.fetch_spikes(pid_of(v), v["sorting"]),
        wide=True,
    )


_PSYCHOMETRIC = Panel(
    "Psychometric curves",
    "Rightward choices by contrast and block (prior of a left stimulus), with the stored fits.",
    show_psychometric,
    lambda v: f"points, curves = {call('views.fetch_psychometric_curve', v['eid'])}",
)
_CHRONOMETRIC = Panel(
    "Chronometric curve",
    "Reaction time by contrast and block.",
    show_chronometric,
    lambda v: call("views.fetch_chronometric_curve", v["eid"], v["rt_definition"], by_block=True),
)
_REACTIONS = Panel(
    "Reaction times over the session",
    "Each point is a trial; biased blocks are shaded.",
    show_reactions,
    lambda v: call("views.fetch_reaction_times", v["rt_definition"], v["eid"]),
    fetch_reactions,
    wide=True,
)
_CONTRASTS = Panel(
    "Contrasts and outcomes over the session",
    "Each point is a trial; biased blocks are shaded.",
    show_contrasts,
    lambda v: call("views.fetch_trials", v["eid"]),
    lambda v: views.fetch_trials(v["eid"]),
    wide=True,
)
_LICKS = Panel(
    "Licks",
    "Licks around the feedback, unless another event is chosen; a row a trial.",
    show_licks,
    lambda v: call("views.fetch_licks", v["eid"]),
)

PANELS: dict[str, Panel] = {
    "psychometric": _PSYCHOMETRIC,
    "chronometric": _CHRONOMETRIC,
    "reactions": _REACTIONS,
    "contrasts": _CONTRASTS,
    "raster_1": _raster(0),
    "raster_2": _raster(1),
}
for _name in SIGNALS:
    PANELS[_name], PANELS[f"{_name}_mean"] = _signal(_name)
PANELS["licks"] = _LICKS


def fetch_trials(values: Values) -> pd.DataFrame:
    """Fetch the trials of the session."""
    return views.fetch_trials(values["eid"])


PAGE = Page(
    "session",
    "/session/{eid}",
    FIELDS,
    (EID,),
    build,
    PANELS,
    {"trials": fetch_trials},
    check=lambda v: names.session_row(v["eid"]),
)
