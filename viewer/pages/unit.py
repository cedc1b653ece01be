"""A unit: its spikes around events by condition, its waveform and intervals, its quality."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from schemas import activity, ephys, passive, rows, views
from schemas.errors import QueryError
from schemas.figures.style import choose_colours
from schemas.maths import spikes as maths
from viewer import drawing, packed, parameters
from viewer.errors import NotFound
from viewer.page import CRITERION, RELEASE, Page, Panel, Shown, call
from viewer.pages import insertion, names, session
from viewer.parameters import Field, Values

KEYS = (
    insertion.PID,
    Field("sort_name", parameters.row_of(ephys.Sorting, "sorting_name"), None, "spike sorting"),
    Field("cluster", parameters.whole(0, 1_000_000), None, "unit"),
)

FIELDS = (
    RELEASE,
    CRITERION,
    Field("event", parameters.one_of(session.TRIAL_EVENTS), "stim_on_time", "aligned to"),
)

SPLITS = {
    "block": "Block",
    "contrast": "Contrast",
    "side": "Side of the stimulus",
    "choice": "Choice",
    "outcome": "Outcome",
}

WINDOW, BIN = (-0.4, 1.0), 0.05
FEW = 5
"""Rates over fewer trials are not drawn: they would stretch the axis."""
TUNING = (0.05, 0.4)
"""(s) From the event, in which the rate is taken for tuning curves."""

TUNED = {"stim_on_time": "stimulus", "first_movement_time": "movement", "feedback_time": "feedback"}
TUNED_COLOURS = {"stimulus": "#0072B2", "movement": "#009E73", "feedback": "#D55E00"}

POPULATE = "`bwm status` says which jobs are pending."


def key_of(values: Values) -> dict[str, Any]:
    """Return the key of the unit.

    Raises
    ------
    NotFound
        No such unit is imported.
    """
    row = names.insertion_row(values["pid"])
    key = {"eid": row["eid"], "probe_name": row["probe_name"]}
    key |= {"sorting_name": values["sort_name"], "cluster_id": values["cluster"]}
    if not ephys.SpikeSorting.Cluster & key:
        what = f"no unit {values['cluster']} of {values['sort_name']} is imported."
        raise NotFound(what, f"insertion {values['pid']}", "See the units of the insertion.")
    return key


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    key = key_of(values)
    row = names.insertion_row(values["pid"])
    unit = (ephys.SpikeSorting.Cluster & key).to_dicts()[0]
    region = names.regions().get(unit["region_id"]) if unit["region_id"] is not None else None
    of_sort = {name: key[name] for name in ephys.SpikeSorting.primary_key}
    ids = rows.frame((ephys.SpikeSorting.Cluster & of_sort).proj())
    every = ids.cluster_id.tolist()
    at = every.index(values["cluster"])
    return {
        "insertion": row,
        "unit": unit,
        "region": region,
        "title": f"Unit {values['cluster']} of {names.title_of(row)}, {row['probe_name']}",
        "criteria": _criteria(key),
        "tests": _tests(key, unit),
        "responses": _responses(key),
        "before": every[at - 1] if at else None,
        "after": every[at + 1] if at + 1 < len(every) else None,
        "events": session.TRIAL_EVENTS,
        "splits": SPLITS,
        "metrics": [(name, unit[name]) for name in ephys.METRICS],
        "code": "from schemas import connection, ephys, views\n\nconnection.connect()\n"
        f"unit = ephys.SpikeSorting.Cluster & {key!r}\nspikes = views.fetch_spikes(unit)",
    }


def _criteria(key: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what each criterion says of the unit."""
    return (ephys.GoodUnits.Unit & key).to_dicts(order_by="criterion")


def _tests(key: dict[str, Any], unit: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tests of each criterion: metric, value, bound, and whether it passes."""
    judged = {row["criterion"]: row for row in _criteria(key)}
    found: list[dict[str, Any]] = []
    about: dict[str, Any]
    for rule in ephys.UnitCriterion.to_dicts(order_by="criterion"):
        passed = judged.get(rule["criterion"], {})
        tests = [
            (rule["refractory_metric"], "at least", rule["min_refractory"], "refractory_pass"),
            ("noise_cutoff", "below", rule["max_noise_cutoff"], "noise_pass"),
            ("amp_median", "above", rule["min_amplitude"], "amplitude_pass"),
        ]
        for metric, sign, bound, name in tests:
            if bound is not None:
                about = {
                    "criterion": rule["criterion"],
                    "metric": metric,
                    "sign": sign,
                }
                about |= {"bound": bound, "value": unit[metric], "passed": passed.get(name)}
                found.append(about)
        for one in (ephys.UnitCriterion.Bound & {"criterion": rule["criterion"]}).to_dicts():
            for sign, bound in (("at least", one["least"]), ("at most", one["greatest"])):
                if bound is not None:
                    about = {
                        "criterion": rule["criterion"],
                        "metric": one["metric"],
                        "sign": sign,
                    }
                    about |= {"bound": bound, "value": unit[one["metric"]]}
                    found.append({**about, "passed": passed.get("bounds_pass")})
    return found


def _responses(key: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the unit's responses, of each definition that is computed for it."""
    return (activity.UnitResponse.Unit & key).to_dicts(order_by="response_definition")


def train(values: Values) -> np.ndarray:
    """Return the spike times (s) of the unit, ascending."""
    found = ephys.spike_times(ephys.SpikeSorting.Cluster & key_of(values))
    if not len(found):
        raise QueryError("the spikes of this unit are not imported.", None, "See the jobs.")
    return found.iloc[0]


def conditions(events: pd.DataFrame, split: str) -> pd.Series:
    """Name the condition of each event; missing where it is not known."""
    if split == "outcome":
        return pd.Series(session.outcomes(events), dtype=object)
    if split == "choice":
        names_of = {-1: "right", 1: "left", 0: "none"}
        choice = events.choice.to_numpy(float, na_value=np.nan)
        return pd.Series([names_of.get(value) for value in choice], dtype=object)
    if split == "side":
        return events.side.astype(object).where(events.side.notna(), None)
    column = {"block": events.probability_left, "contrast": 100 * events.contrast}[split]
    unit = " %" if split == "contrast" else " left"
    named = [None if value != value else f"{round(float(value), 4):g}{unit}" for value in column]
    return pd.Series(named, dtype=object)


def palette(split: str, found: pd.Series) -> dict[str, str]:
    """Return the colour of each condition, in the order in which they are drawn."""
    known = list(found.dropna().unique())
    if split == "block":
        colours: dict[str, Any] = {
            f"{prior} left": colour for prior, colour in session.BLOCK_COLOURS.items()
        }
        return {name: colours.get(name, "#000000") for name in sorted(known)}
    if split == "outcome":
        return {name: colour for name, colour in session.OUTCOMES.items() if name in known}
    if split == "contrast":
        levels = sorted(known, key=lambda name: float(name.split()[0]))
        shades = choose_colours([float(name.split()[0]) for name in levels])
        return dict(zip(levels, shades.values(), strict=True))
    sides = {**session.SIDE_COLOURS, "none": "#7F7F7F"}
    return {name: colour for name, colour in sides.items() if name in known}


def show_raster(values: Values, split: str) -> Shown:
    """Show the spikes around the event, the trials by condition."""
    times = train(values)
    pid, event = values["pid"], values["event"]
    found, events = views.fetch_unit_events(times, pid, event, WINDOW)
    named = conditions(events, split)
    colours = palette(split, named)
    rank = named.map({name: i for i, name in enumerate(colours)}).astype(float)
    order = np.argsort(rank.fillna(np.inf).to_numpy(), kind="stable")
    row_of = np.empty(len(order), int)
    row_of[order] = np.arange(len(order))
    at = found.event.to_numpy(int)
    spikes = pd.DataFrame({"time": found.lag, "row": row_of[at]})
    spikes["condition"] = named.to_numpy(object)[at]
    spikes["trial"] = events.trial.to_numpy()[at]
    spikes = spikes[spikes.condition.notna()].reset_index(drop=True)
    n = int(named.notna().sum())
    layers: list[dict[str, Any]] = [
        {"type": "ticks", "table": "data", "x": "time", "y": "row", "by": "condition"}
        | {"colours": colours, "least": 2.5},
        {"type": "vlines", "at": [0]},
    ]
    y: dict[str, Any] = {
        "label": "trials by condition",
        "down": True,
        "min": -0.5,
        "max": max(n, 1) - 0.5,
    }
    x, y = session.axes_of(values, event, y)
    x |= {"min": WINDOW[0], "max": WINDOW[1]}
    missing = len(named) - n
    note = f"{missing} trials without a condition are left out." if missing else ""
    return Shown({"data": spikes}, layers, x, y, note=note, height=300)


def show_psth(values: Values, split: str) -> Shown:
    """Show the mean rate around the event by condition."""
    table = fetch_psth(values, split)
    few = sorted(set(table.condition[table.n_events < FEW]))
    table = table[table.n_events >= FEW].reset_index(drop=True)
    table = table.assign(low=table["mean"] - table["sem"], high=table["mean"] + table["sem"])
    colours = palette(split, table.condition.astype(object))
    line: dict[str, Any] = {
        "type": "line",
        "table": "data",
        "x": "time",
        "y": "mean",
        "by": "condition",
    }
    if len(colours) <= 3:  # bands of more lie over each other
        line |= {"low": "low", "high": "high"}
    n = table.groupby("condition").n_events.first()
    line |= {"names": {name: f"{name} (n = {n[name]})" for name in colours if name in n}}
    layers: list[dict[str, Any]] = [{"type": "vlines", "at": [0]}, {**line, "colours": colours}]
    x, y = session.axes_of(values, values["event"], {"label": "rate (Hz)", "min": 0})
    note = "Bands are one standard error." if len(colours) <= 3 else ""
    if few:
        note += f" Not drawn, with fewer than {FEW} trials: {', '.join(few)}."
    x |= {"min": WINDOW[0], "max": WINDOW[1]}
    return Shown({"data": table}, layers, x, y, note=note, height=240)


def _events_code(values: Values) -> str:
    given = call("views.fetch_unit_events", "times", values["pid"], values["event"], WINDOW)
    given = given.replace("'times'", "times")
    return f"times = ephys.spike_times(unit).iloc[0]\nspikes, events = {given}"


def _around(split: str) -> tuple[Panel, Panel]:
    """Return the raster and the rates of a split."""
    title, raster = SPLITS[split], partial(show_raster, split=split)
    rates, exact = partial(show_psth, split=split), partial(fetch_psth, split=split)
    return (
        Panel(f"{title}: raster", "Spikes around the event, a row a trial.", raster, _events_code),
        Panel(f"{title}: rate", "Mean over trials, in bins of 50 ms.", rates, _events_code, exact),
    )


def fetch_psth(values: Values, split: str) -> pd.DataFrame:
    """Fetch the mean rate of the unit around the event by condition."""
    found, events = views.fetch_unit_events(train(values), values["pid"], values["event"], WINDOW)
    return views.average_events(found, conditions(events, split), WINDOW, BIN)


def fetch_tuning(values: Values) -> pd.DataFrame:
    """Fetch the mean rate after three events by signed contrast."""
    times, parts = train(values), []
    for event, name in TUNED.items():
        found, events = views.fetch_unit_events(times, values["pid"], event, TUNING)
        named = events.signed_contrast.map(lambda v: None if v != v else f"{v + 0.0:g}")
        table = views.average_events(found, named.astype(object), TUNING)
        parts.append(table.assign(event=name, contrast=table.condition.astype(float)))
    table = pd.concat(parts, ignore_index=True).sort_values(["event", "contrast"])
    return table[["event", "contrast", "mean", "sem", "n_events"]].reset_index(drop=True)


def show_tuning(values: Values) -> Shown:
    """Show the mean rate after three events by signed contrast."""
    table = fetch_tuning(values)
    table = table.assign(low=table["mean"] - table["sem"], high=table["mean"] + table["sem"])
    place: dict[str, Any] = {"x": "contrast", "y": "mean", "by": "event", "colours": TUNED_COLOURS}
    layers: list[dict[str, Any]] = [
        {"type": "line", "table": "data", **place, "legend": False},
        {"type": "points", "table": "data", **place, "low": "low", "high": "high", "alpha": 1},
    ]
    axes = {"label": "contrast (%), left negative"}, {"label": "rate (Hz)", "min": 0}
    return Shown({"data": table}, layers, *axes, note="Mean and standard error over trials.")


def show_place(values: Values) -> Shown:
    """Show amplitude by depth of all units of the insertion, this one marked."""
    shown = insertion.show_by_quality({**values, "sorting": values["sort_name"]})
    own = shown.tables["data"][shown.tables["data"].unit == values["cluster"]]
    mark: dict[str, Any] = {
        "type": "points",
        "table": "own",
        "x": "amplitude",
        "y": "depth",
        "shape": "ring",
    }
    tables = {**shown.tables, "own": own}
    layers = [*shown.layers, {**mark, "alpha": 1, "size": 4}]
    return Shown(tables, layers, shown.x, shown.y, note=shown.note, height=360)


def fetch_waveform(values: Values) -> pd.DataFrame:
    """Fetch the mean waveform of the unit on its largest channel: `time` (ms), `amplitude` (V)."""
    unit = ephys.SpikeSorting.Cluster & key_of(values)
    found = views.fetch_waveforms(unit)
    if not len(found):
        width = unit.fetch1("peak_to_trough")
        known = "" if width is None else f" Its peak and trough are {abs(width):.3g} ms apart."
        raise QueryError(f"no waveform of this unit is imported.{known}")
    return found[["time", "amplitude"]].reset_index(drop=True)


def show_waveform(values: Values) -> Shown:
    """Show the mean waveform of the unit."""
    found = fetch_waveform(values)
    # Not called time: it is of milliseconds, and few.
    shown = pd.DataFrame({"lag": found.time, "amplitude": 1e6 * found.amplitude})
    layer = {"type": "line", "table": "data", "x": "lag", "y": "amplitude", "width": 2}
    axes = {"label": "time (ms)"}, {"label": "amplitude (µV)"}
    return Shown({"data": shown}, [layer], *axes, height=240)


def fetch_autocorrelogram(values: Values) -> pd.DataFrame:
    """Fetch the stored autocorrelogram of the unit: `lag` (s), `rate` (Hz)."""
    found = views.fetch_autocorrelograms(ephys.SpikeSorting.Cluster & key_of(values))
    if not len(found):
        raise QueryError(f"the autocorrelogram of this unit is not computed. {POPULATE}")
    return found[["lag", "rate"]].reset_index(drop=True)


def show_autocorrelogram(values: Values) -> Shown:
    """Show the autocorrelogram of the unit."""
    layer = {"type": "line", "table": "data", "x": "lag", "y": "rate", "width": 2}
    axes = {"label": "lag (s)", "log": True}, {"label": "rate after a spike (Hz)", "min": 0}
    return Shown({"data": fetch_autocorrelogram(values)}, [layer], *axes, height=260)


def fetch_intervals(values: Values) -> pd.DataFrame:
    """Fetch the intervals between spikes of the unit, in bins of 1 ms up to 100 ms."""
    edges = np.arange(101) / 1000
    counts = maths.compute_intervals(train(values), edges)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "n": counts})


def _bars(fetch: Any, label: str, what: str) -> Any:
    def show(values: Values) -> Shown:
        layer: dict[str, Any] = {
            "type": "bars",
            "table": "data",
            "x0": "from",
            "x1": "to",
            "y": "n",
        }
        table = fetch(values)
        axes = {"label": label}, {"label": what}
        return Shown({"data": table}, [layer], *axes, height=240)

    return show


def fetch_amplitudes(values: Values) -> pd.DataFrame:
    """Fetch time and amplitude of every spike of the unit."""
    found = views.fetch_spikes(ephys.SpikeSorting.Cluster & key_of(values))
    return found[["time", "amplitude", "depth"]]


def show_amplitudes(values: Values) -> Shown:
    """Show the amplitude of the spikes over the recording, and their running median."""
    found = fetch_amplitudes(values)
    found = found.assign(amplitude=1e6 * found.amplitude)
    n = max(51, len(found) // 200)
    median = found.amplitude.rolling(n, center=True, min_periods=1).median()
    line, _ = drawing.thin(pd.DataFrame({"time": found.time, "median": median}), 1000)
    shown, note = drawing.thin(found, 4000)
    layers: list[dict[str, Any]] = [
        {
            "type": "points",
            "table": "data",
            "x": "time",
            "y": "amplitude",
            "size": 1.2,
            "alpha": 0.5,
        },
        {
            "type": "line",
            "table": "line",
            "x": "time",
            "y": "median",
            "colour": "#D55E00",
            "width": 2,
        },
    ]
    note = drawing.mention(note, f"The line is the median of {n} spikes.")
    axes = {"label": "time (s)"}, {"label": "amplitude (µV)"}
    return Shown({"data": shown, "line": line}, layers, *axes, note=note, height=260)


def fetch_field(values: Values) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Fetch the stored receptive field of the unit, as of `views.fetch_receptive_fields`."""
    peak, fields = views.fetch_receptive_fields(ephys.SpikeSorting.Cluster & key_of(values))
    if not len(peak):
        what = "no receptive field of this unit is computed: the session has no sparse noise,"
        raise QueryError(f"{what} the unit is not good, or the job is pending. {POPULATE}")
    return peak, fields


def show_field(values: Values) -> Shown:
    """Show the receptive field: squares that turned white left, those that turned black right."""
    peak, fields = fetch_field(values)
    on, off = fields["on"][0], fields["off"][0]
    row, column = (index.ravel() for index in np.indices(on.shape))
    parts = {"on": on, "off": off, "on_z": fields["on_z"][0], "off_z": fields["off_z"][0]}
    columns = {name: field.ravel() for name, field in parts.items()}
    table = pd.DataFrame({"row": row, "column": column, **columns})
    known = np.r_[on[np.isfinite(on)], off[np.isfinite(off)]]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    side = passive.SIDE
    image = np.hstack([on, np.full((side, 1), np.nan), off])
    layer: dict[str, Any] = {"type": "image", "image": "field", "map": "heat"}
    layer |= {"x0": -0.5, "x1": 2 * side + 0.5, "y0": -0.5, "y1": side - 0.5}
    layer |= {"low_text": f"{low:.3g}", "high_text": f"{high:.3g} spikes"}
    marks = {"type": "vlines", "at": [-0.3, side + 0.7], "names": ["white", "black"]}
    rows_down = {"label": "row", "down": True, "min": -4, "max": side - 0.5}
    axes = {"label": "column (white, then black)"}, rows_down
    found = peak.iloc[0]
    note = (
        f"Largest: {found.z:.2g} sd in row {found.row}, column {found.column} ({found.polarity}),"
    )
    note += f" p = {found.p:.2g}: {'a' if found.has_field else 'no'} receptive field."
    images = {"field": packed.scale(image, low, high)}
    return Shown({"data": table}, [layer, marks], *axes, images, note=note, height=260)


def _times_code(_values: Values) -> str:
    return "times = ephys.spike_times(unit).iloc[0]"


def _metrics(values: Values) -> pd.DataFrame:
    return views.fetch_clusters(ephys.SpikeSorting.Cluster & key_of(values))


PANELS: dict[str, Panel] = {}
for _split in SPLITS:
    PANELS[f"raster_{_split}"], PANELS[f"psth_{_split}"] = _around(_split)
PANELS |= {
    "tuning": Panel(
        "Tuning", "Rate 50 to 400 ms after three events, by contrast.", show_tuning, _times_code
    ),
    "place": Panel(
        "Among the units of the probe",
        "Amplitude by depth; the ring is this unit.",
        show_place,
        lambda v: call("views.fetch_clusters", v["pid"], v["sort_name"]),
    ),
    "waveform": Panel(
        "Waveform",
        "Mean waveform on the largest channel.",
        show_waveform,
        lambda _: "views.fetch_waveforms(unit)",
        fetch_waveform,
    ),
    "autocorrelogram": Panel(
        "Autocorrelogram",
        "Rate of the unit after each of its spikes, by the logarithm of the lag.",
        show_autocorrelogram,
        lambda _: "views.fetch_autocorrelograms(unit)",
    ),
    "intervals": Panel(
        "Inter-spike intervals",
        "Intervals up to 100 ms, in bins of 1 ms.",
        _bars(fetch_intervals, "interval (s)", "intervals (n)"),
        lambda v: f"{_times_code(v)}\nnp.diff(times)",
    ),
    "amplitudes": Panel(
        "Amplitude over time",
        "Each point is a spike.",
        show_amplitudes,
        lambda _: "views.fetch_spikes(unit)",
        fetch_amplitudes,
        wide=True,
    ),
    "field": Panel(
        "Receptive field",
        "Mean number of spikes after a square of the sparse noise turned white or black.",
        show_field,
        lambda _: "peaks, fields = views.fetch_receptive_fields(unit)",
    ),
}

PAGE = Page(
    "unit",
    "/unit/{pid}/{sort_name}/{cluster}",
    FIELDS,
    KEYS,
    build,
    PANELS,
    {"metrics": _metrics},
    check=key_of,
)
