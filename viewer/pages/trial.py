"""A trial: its place in the session, its spikes, the wheel and the paw, and rates by depth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from schemas import ephys, rows, views
from schemas.errors import QueryError
from viewer import drawing, packed, parameters
from viewer.errors import NotFound
from viewer.page import LENS, Page, Panel, Shown, call
from viewer.pages import insertion, names, session
from viewer.parameters import Field, Values

TRIAL = Field("trial", parameters.whole(0, 1_000_000), None, "trial")

FIELDS = (*LENS, Field("pid", parameters.uuid, None, "insertion"))

EVENTS = {
    "stim_on_time": ("stimulus", "#0072B2"),
    "go_cue_time": ("go cue", "#7F7F7F"),
    "first_movement_time": ("movement", "#009E73"),
    "response_time": ("response", "#CC79A7"),
    "feedback_time": ("feedback", "#D55E00"),
}

DEPTH_EVENTS = {
    "stimulus": "stim_on_time",
    "movement": "first_movement_time",
    "feedback": "feedback_time",
}

BEFORE, AFTER = 1.0, 1.5
"""(s) Shown before the stimulus and after the feedback, within the trial."""

GREATEST_TICKS = 40_000


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    row = names.session_row(values["eid"])
    trials, trial = find(values)
    start, stop = span(trial)
    there = _with_spikes(values["eid"])
    number = int(trial["trial"])
    return {
        "session": row,
        "title": f"Trial {number} of {names.title_of(row)}",
        "trial": trial,
        "outcome": session.outcomes(pd.DataFrame([trial]))[0],
        "span": (start, stop),
        "before": number - 1 if number > int(trials.trial.min()) else None,
        "after": number + 1 if number < int(trials.trial.max()) else None,
        "n_trials": len(trials),
        "events": [(EVENTS[name][0], trial[name], trial[name] - start) for name in EVENTS],
        "insertions": there,
        "pid": values["pid"] or (there[0]["pid"] if there else None),
        "code": "from schemas import connection, views\n\nconnection.connect()\n"
        f"trial = {call('views.fetch_trials', values['eid'])}.query('trial == {number}')",
    }


def find(values: Values) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the trials of the session, and the row of this one.

    Raises
    ------
    NotFound
        The session has no such trial.
    """
    trials = views.fetch_trials(values["eid"])
    found = trials[trials.trial == values["trial"]]
    if not len(found):
        what = f"the session has no trial {values['trial']}."
        raise NotFound(what, None, f"Its trials are 0 to {len(trials) - 1}.")
    return trials, found.iloc[0].to_dict()


def span(trial: dict[str, Any]) -> tuple[float, float]:
    """Return when the shown part of a trial starts and ends (s)."""
    known = [float(trial[name]) for name in EVENTS if pd.notna(trial[name])]
    begin, end = (
        float(trial[name]) if pd.notna(trial[name]) else None
        for name in ("trial_start_time", "trial_end_time")
    )
    if not known:
        known = [value for value in (begin, end) if value is not None] or [0.0]
    start, stop = min(known) - BEFORE, max(known) + AFTER
    start = start if begin is None else max(start, begin)
    stop = stop if end is None else min(stop, end)
    return start, max(stop, start + 0.1)


def _with_spikes(eid: str) -> list[dict[str, Any]]:
    """Return the insertions of a session whose spikes are imported, and whose pid is known."""
    sorts = rows.frame((ephys.Spikes & {"eid": eid}).proj())
    there = set(sorts.probe_name)
    return [one for one in names.insertions_of(eid) if one["pid"] and one["probe_name"] in there]


def of_probe(values: Values) -> Values:
    """Return the values with an insertion of the session: the chosen one, or the first.

    Raises
    ------
    QueryError
        The session has no such insertion with spikes.
    """
    there = {one["pid"] for one in _with_spikes(values["eid"])}
    if values["pid"] is None:
        pids = [one["pid"] for one in _with_spikes(values["eid"])]
        if not pids:
            raise QueryError("no spikes of this session are imported.")
        return {**values, "pid": pids[0]}
    if values["pid"] not in there:
        raise NotFound(f"the session has no insertion {values['pid']} with spikes.")
    return values


def _event_lines(trial: dict[str, Any]) -> dict[str, Any]:
    there = [(name, float(trial[name])) for name in EVENTS if pd.notna(trial[name])]
    return {
        "type": "vlines",
        "at": [at for _, at in there],
        "names": [EVENTS[name][0] for name, _ in there],
        "colours": [EVENTS[name][1] for name, _ in there],
    }


def show_session(values: Values) -> Shown:
    """Show the raster of the session with a marker of the trial."""
    _, trial = find(values)
    start, _ = span(trial)
    return insertion.show_raster(of_probe(values), [(start, f"trial {values['trial']}")])


def fetch_spikes(values: Values) -> pd.DataFrame:
    """Fetch the spikes during the trial, and whether each is of a good unit."""
    start, stop = span(find(values)[1])
    values = of_probe(values)
    found = views.fetch_spikes_between(values["pid"], start, stop, values["sorting"])
    units = insertion.fetch_units(values)
    group = found.cluster_id.map(units.set_index("cluster_id").group)
    return found.assign(group=group)


def show_spikes(values: Values) -> Shown:
    """Show the spikes of the trial by depth, with its events and the regions."""
    _, trial = find(values)
    start, stop = span(trial)
    found = fetch_spikes(values).sort_values("group", ascending=False, ignore_index=True)
    found, note = drawing.thin(found, GREATEST_TICKS)
    colours: dict[str, Any] = {"other": "#8a94a6", "good": drawing.GOOD["good"]}
    layers: list[dict[str, Any]] = [
        {"type": "ticks", "table": "data", "x": "time", "y": "depth", "by": "group"}
        | {"colours": colours, "height": 20, "least": 3},
        _event_lines(trial),
        drawing.STRIP,
    ]
    tables = {"data": found, "regions": insertion.strip_of(of_probe(values)["pid"])}
    x: dict[str, Any] = {"label": "time (s)", "min": start, "max": stop}
    return Shown(tables, layers, x, insertion.DEPTH_AXIS, note=note, height=460)


def _trace(title: str, signal: str, unit: str) -> Panel:
    def fetch(values: Values) -> pd.DataFrame:
        start, stop = span(find(values)[1])
        if signal.startswith("wheel"):
            wheel = views.fetch_wheel(values["eid"], 200.0)
            wheel = wheel[(wheel.time >= start) & (wheel.time <= stop)]
            return wheel[["time", signal.removeprefix("wheel_")]].reset_index(drop=True)
        camera = session.camera_of(values["eid"], signal)
        pose = views.fetch_pose(values["eid"], camera)
        if signal not in pose:
            raise QueryError(f"no {signal.replace('_', ' ')} is tracked by the {camera} camera.")
        pose = pose[(pose.time >= start) & (pose.time <= stop)]
        return pose[["time", signal]].reset_index(drop=True)

    def show(values: Values) -> Shown:
        _, trial = find(values)
        start, stop = span(trial)
        table = fetch(values)
        layers: list[dict[str, Any]] = [
            {"type": "line", "table": "data", "x": "time", "y": table.columns[1]},
            _event_lines(trial),
        ]
        x: dict[str, Any] = {"label": "time (s)", "min": start, "max": stop}
        return Shown({"data": table}, layers, x, {"label": f"{title.lower()} ({unit})"}, height=220)

    def code(values: Values) -> str:
        if signal.startswith("wheel"):
            return call("views.fetch_wheel", values["eid"], 200.0)
        return call("views.fetch_pose", values["eid"], session.camera_of(values["eid"], signal))

    return Panel(title, f"{title} during the trial, with its events.", show, code, wide=True)


def _depth_rates(name: str, event: str) -> Panel:
    def show(values: Values) -> Shown:
        pid = of_probe(values)["pid"]
        found = views.fetch_depth_rates(pid, event, values["sorting"])
        edges, depth = found.time_edges, found.depth_edges
        layer: dict[str, Any] = {"type": "image", "image": "z", "map": "diverging"}
        layer |= {"x0": float(edges[0]), "x1": float(edges[-1])}
        layer |= {"y0": float(depth[0]), "y1": float(depth[-1])}
        layer |= {"low_text": "-6 sd", "high_text": "6 sd of before"}
        layers: list[dict[str, Any]] = [layer, {"type": "vlines", "at": [0]}, drawing.STRIP]
        tables = {
            "data": _long(found).groupby("depth", as_index=False).score.mean(),
            "regions": insertion.strip_of(pid),
        }
        note = f"Over {found.n_events} trials; the table has the mean by depth, the data every bin."
        axes = {"label": f"time from {name} (s)"}, insertion.DEPTH_AXIS
        images = {"z": packed.scale(found.grid, -6, 6)}
        return Shown(tables, layers, *axes, images, note=note, height=420)

    def code(values: Values) -> str:
        return call("views.fetch_depth_rates", values["pid"] or "pid", event, values["sorting"])

    def exact(values: Values) -> pd.DataFrame:
        return _long(views.fetch_depth_rates(of_probe(values)["pid"], event, values["sorting"]))

    title = f"Rates by depth around the {name}"
    caption = "Rate of all spikes over all trials of the session, z-scored by the time before."
    return Panel(title, caption, show, code, exact)


def _long(found: Any) -> pd.DataFrame:
    """Write a density as one row a cell."""
    time = (found.time_edges[:-1] + found.time_edges[1:]) / 2
    depth = (found.depth_edges[:-1] + found.depth_edges[1:]) / 2
    columns = {"depth": np.repeat(depth, len(time)), "time": np.tile(time, len(depth))}
    return pd.DataFrame({**columns, "score": found.grid.ravel()})


PANELS = {
    "spikes": Panel(
        "Spikes of the trial",
        "Spikes by depth from 1 s before the first event to 1.5 s after the last, in the trial.",
        show_spikes,
        lambda v: f"views.fetch_spikes_between({(v['pid'] or 'pid')!r}, start, stop)",
        fetch_spikes,
        wide=True,
    ),
    "wheel_position": _trace("Wheel position", "wheel_position", "rad"),
    "wheel_velocity": _trace("Wheel velocity", "wheel_velocity", "rad/s"),
    "paw": _trace("Paw speed", "paw_r_speed", "px/s"),
    "session": Panel(
        "Place in the session",
        "Raster of the whole recording, with a marker of the trial.",
        show_session,
        lambda v: call("views.fetch_spike_density", v["pid"] or "pid", v["sorting"]),
        wide=True,
    ),
    **{f"depth_{name}": _depth_rates(name, event) for name, event in DEPTH_EVENTS.items()},
}

PAGE = Page(
    "trial",
    "/trial/{eid}/{trial}",
    FIELDS,
    (session.EID, TRIAL),
    build,
    PANELS,
    check=find,
)
