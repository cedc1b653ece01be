"""An insertion: its spikes and units by depth, the quality of the recording, its place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from schemas import ephys, probe, rows, views
from schemas.errors import QueryError
from viewer import drawing, packed, parameters
from viewer.page import LENS, Page, Panel, Shown, call
from viewer.pages import names
from viewer.parameters import Field, Values

PID = Field("pid", parameters.uuid, None, "insertion")

DELTA = (0.0, 4.0)
"""(Hz) Band of the local field potential that is shown."""

DEPTH_AXIS = {"label": "distance from the tip (µm)"}


def build(values: Values) -> dict[str, Any]:
    """Return what the page shows."""
    pid = values["pid"]
    row = names.insertion_row(pid)
    key = {"eid": row["eid"], "probe_name": row["probe_name"]}
    return {
        "insertion": row,
        "title": f"{names.title_of(row)}, {row['probe_name']}",
        "facts": _facts(key),
        "sorts": fetch_sorts(values).to_dict("records"),
        "regions": _regions(values),
        "trajectories": rows.frame(probe.Trajectory & key).to_dict("records"),
        "picks": len(probe.ProbeInsertion.Pick & key),
        "choices": names.lens_choices(),
        "code": "from schemas import connection, views\n\nconnection.connect()\n"
        f"units = {call('views.fetch_clusters', pid, values['sorting'])}\n"
        f"spikes = {call('views.fetch_spikes', pid, values['sorting'])}\n"
        f"sites = {call('views.fetch_sites', pid)}",
    }


def _facts(key: dict[str, str]) -> dict[str, Any]:
    sites = (probe.Channels & key).to_dicts()
    return sites[0] if sites else {"n_channels": None, "location_level": "no sites"}


def fetch_sorts(values: Values) -> pd.DataFrame:
    """Fetch the spike sortings of the insertion side by side, with their good units."""
    row = names.insertion_row(values["pid"])
    key = {"eid": row["eid"], "probe_name": row["probe_name"]}
    offered = rows.frame(ephys.OfferedSorting & key)
    there = rows.frame((ephys.SpikeSorting & key).proj("n_clusters"))
    spikes = rows.frame((ephys.Spikes & key).proj("n_spikes", "first_spike", "last_spike"))
    good = rows.frame(ephys.GoodUnits & key & {"criterion": values["criterion"]})
    good = good[["eid", "probe_name", "sorting_name", "n_good", "n_undecided", "missing_metrics"]]
    table = offered
    for found in (there, spikes, good):
        table = table.merge(found, "left", on=["eid", "probe_name", "sorting_name"])
    return table


def _regions(values: Values) -> list[dict[str, Any]]:
    """Return the regions that the probe crosses, from the tip upwards."""
    try:
        strip = drawing.region_strip(views.fetch_sites(values["pid"]))
    except QueryError:
        return []
    return strip[strip.name.notna()].to_dict("records")


def strip_of(pid: str) -> pd.DataFrame:
    """Return the strip of regions of an insertion; empty where its sites are not imported."""
    try:
        return drawing.region_strip(views.fetch_sites(pid))
    except QueryError:
        return pd.DataFrame({"y0": [], "y1": [], "name": [], "colour": []})


def fetch_units(values: Values) -> pd.DataFrame:
    """Fetch the units of the insertion, and whether each is good by the criterion."""
    table = views.fetch_clusters(values["pid"], values["sorting"])
    is_good = table[f"good_{values['criterion']}"]
    return table.assign(group=np.where(is_good.fillna(False).astype(bool), "good", "other"))


# --- figures --------------------------------------------------------------------------------------


def show_raster(values: Values, marks: list[tuple[float, str]] | None = None) -> Shown:
    """Show the spikes of the insertion by time and depth, and the regions beside them."""
    found = views.fetch_spike_density(values["pid"], values["sorting"])
    top = float(np.percentile(found.grid[found.grid > 0], 98)) if found.grid.any() else 1.0
    width = float(found.time_edges[1] - found.time_edges[0])
    depth = found.depth_edges
    layers: list[dict[str, Any]] = [
        {
            "type": "image",
            "image": "density",
            "x0": float(found.time_edges[0]),
            "x1": float(found.time_edges[-1]),
            "y0": float(depth[0]),
            "y1": float(depth[-1]),
            "map": "ink",
            "low_text": "0",
            "high_text": f"{top:.0f} spikes or more in {width:.2g} s and 20 µm",
        },
        drawing.STRIP,
    ]
    if marks:
        at, named = zip(*marks, strict=True)
        layers.append({"type": "vlines", "at": list(at), "names": list(named), "colour": "#D55E00"})
    total = pd.DataFrame(
        {"depth": (depth[:-1] + depth[1:]) / 2, "n_spikes": found.grid.sum(axis=1)}
    )
    image = {"density": packed.scale(np.sqrt(found.grid), 0, np.sqrt(top))}
    tables = {"data": total, "regions": strip_of(values["pid"])}
    x, y = {"label": "time (s)"}, DEPTH_AXIS
    note = "The table has the spikes by depth; the data have every spike."
    return Shown(tables, layers, x, y, image, note=note, height=420)


def _points(values: Values, x: str, label: str, by: dict[str, Any], log: bool = False) -> Shown:
    """Show the units by depth and another measure."""
    units = fetch_units(values)
    shown = pd.DataFrame(
        {
            "unit": units.cluster_id,
            "depth": units.cluster_depth,
            "amplitude": 1e6 * units.amp_median,
            "rate": units.firing_rate,
            "group": units.group,
            "region": units.region_allen,
            "href": [
                f"/unit/{values['pid']}/{sort}/{cluster}"
                for sort, cluster in zip(units.sorting_name, units.cluster_id, strict=True)
            ],
        }
    )
    known = shown[x].gt(0) & shown.depth.notna() & (shown.rate.gt(0) if "value" in by else True)
    missing = int((~known).sum())
    shown = shown[known].sort_values("group", ascending=False, ignore_index=True)
    layer: dict[str, Any] = {
        "type": "points",
        "table": "data",
        "x": x,
        "y": "depth",
        "href": "href",
        "size": 3,
    }
    tables = {"data": shown, "regions": strip_of(values["pid"])}
    note = f"{missing} units without these measures are left out." if missing else ""
    axes = {"label": label, "log": log}, DEPTH_AXIS
    return Shown(tables, [layer | by, drawing.STRIP], *axes, note=note, height=420)


BY_QUALITY = {"by": "group", "colours": drawing.GOOD, "shapes": drawing.GOOD_SHAPES}


def show_by_quality(values: Values) -> Shown:
    """Show amplitude by depth, coloured by quality."""
    return _points(values, "amplitude", "median amplitude (µV)", BY_QUALITY)


def show_by_rate(values: Values) -> Shown:
    """Show amplitude by depth, coloured by rate."""
    rate = fetch_units(values).firing_rate.to_numpy(float, na_value=np.nan)
    known = rate[rate > 0]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.1, 100.0)
    scale: dict[str, Any] = {
        "value": "rate",
        "map": "heat",
        "log": True,
        "low_value": low,
        "high_value": high,
    }
    scale |= {"low_text": f"{low:.2g}", "high_text": f"{high:.3g} Hz"}
    return _points(values, "amplitude", "median amplitude (µV)", scale)


def show_rates(values: Values) -> Shown:
    """Show rate by depth, coloured by quality."""
    return _points(values, "rate", "rate (Hz)", BY_QUALITY, log=True)


def _by_channel(values: Values) -> pd.DataFrame:
    """Return the sites with their channel of the raw file."""
    row = names.insertion_row(values["pid"])
    key = {"eid": row["eid"], "probe_name": row["probe_name"]}
    found = rows.frame(probe.Channels.Channel & key)
    raw = found.raw_index.astype("Int64").fillna(found.channel.astype("Int64"))
    return found.assign(raw=raw.astype(int)).dropna(subset=["channel_axial"])


def fetch_rms(values: Values) -> pd.DataFrame:
    """Fetch the AP RMS by channel and time, in long form."""
    time, rms = views.fetch_rms(values["pid"])
    columns = {
        "time": np.repeat(time, rms.shape[1]),
        "channel": np.tile(range(rms.shape[1]), len(time)),
    }
    return pd.DataFrame({**columns, "rms": rms.ravel()})


def show_rms(values: Values) -> Shown:
    """Show the AP RMS by depth and time."""
    time, rms = views.fetch_rms(values["pid"])
    depth, order = _depth_of(values, rms.shape[1])
    image = 1e6 * rms[:, order].T
    known = image[np.isfinite(image)]
    low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    layer: dict[str, Any] = {"type": "image", "image": "rms", "map": "heat"}
    layer |= (
        {"x0": float(time[0] - step / 2), "x1": float(time[-1] + step / 2)}
        if len(time)
        else {"x0": 0, "x1": 1}
    )
    layer |= {"y0": depth[0], "y1": depth[1]}
    layer |= {"low_text": f"{low:.3g}", "high_text": f"{high:.3g} µV"}
    median = pd.DataFrame({"channel": range(rms.shape[1]), "rms": np.median(rms, axis=0)})
    tables = {"data": median, "regions": strip_of(values["pid"])}
    note = "The table has the median of each channel (V); the data have every window."
    images = {"rms": packed.scale(image, low, high)}
    axes = {"label": "time (s)"}, DEPTH_AXIS
    return Shown(tables, [layer, drawing.STRIP], *axes, images, note=note, height=420)


def _depth_of(values: Values, n_channels: int) -> tuple[tuple[float, float], np.ndarray]:
    """Return the reach of the channels (um), and their order from the tip upwards."""
    sites = _by_channel(values)
    sites = sites[sites.raw < n_channels].sort_values(["channel_axial", "channel_lateral"])
    if len(sites):
        axial = sites.channel_axial.to_numpy(float)
        return (float(axial.min()) - 10, float(axial.max()) + 10), sites.raw.to_numpy(int)
    return (0.0, 10.0 * n_channels), np.arange(n_channels)


def fetch_power(values: Values) -> pd.DataFrame:
    """Fetch the power of the delta band of the local field potential, by channel and depth."""
    frequency, density = views.fetch_spectrum(values["pid"])
    inside = (frequency >= DELTA[0]) & (frequency <= DELTA[1])
    if not inside.any():
        raise QueryError("the spectrum has no frequency of the delta band.")
    power = density[inside].mean(axis=0)
    with np.errstate(divide="ignore"):
        decibel = 10 * np.log10(power)
    table = pd.DataFrame({"channel": range(len(power)), "power": power, "decibel": decibel})
    sites = _by_channel(values)[["raw", "channel_axial"]]
    sites = sites.rename(columns={"raw": "channel", "channel_axial": "depth"})
    return table.merge(sites, "left", on="channel").sort_values("depth", ignore_index=True)


def show_power(values: Values) -> Shown:
    """Show the power of the delta band by depth."""
    table = fetch_power(values)
    layer: dict[str, Any] = {
        "type": "points",
        "table": "data",
        "x": "decibel",
        "y": "depth",
        "size": 2,
    }
    tables = {"data": table, "regions": strip_of(values["pid"])}
    x: dict[str, Any] = {"label": "power, 0 to 4 Hz (dB of V²/Hz)"}
    return Shown(tables, [layer, drawing.STRIP], x, DEPTH_AXIS, height=420)


def show_channels(values: Values) -> Shown:
    """Show the recording sites on the probe, in the colours of their regions."""
    sites = views.fetch_sites(values["pid"])
    sites = sites.assign(colour=sites.region_rgb)
    layer: dict[str, Any] = {
        "type": "points",
        "table": "data",
        "x": "lateral",
        "y": "axial",
        "rgb": "colour",
    }
    layer |= {"shape": "square", "size": 2.5, "alpha": 1}
    tables = {"data": sites, "regions": drawing.region_strip(sites)}
    bad = int((sites.label.fillna(0) != 0).sum())
    note = f"{bad} sites are dead, noisy or outside the brain." if bad else ""
    axes = {"label": "across the probe (µm)", "min": -10, "max": 80}, DEPTH_AXIS
    return Shown(tables, [layer, drawing.STRIP], *axes, note=note, height=420)


def _slice(plane: str) -> Panel:
    across = {"coronal": "medio-lateral (µm), right positive", "sagittal": "antero-posterior (µm)"}

    def show(values: Values) -> Shown:
        sites, middle = views.fetch_slice(values["pid"], plane)
        own = sites[sites.is_own].drop(columns="is_own")
        others, note = drawing.thin(sites[~sites.is_own].drop(columns="is_own"))
        place: dict[str, Any] = {"x": "across", "y": "up", "rgb": "region_rgb"}
        layers: list[dict[str, Any]] = [
            {"type": "points", "table": "others", **place, "size": 2, "alpha": 0.35},
            {"type": "points", "table": "data", "x": "across", "y": "up", "size": 2.6, "alpha": 1},
            {"type": "points", "table": "data", **place, "size": 1.8, "alpha": 1},
        ]
        what = "anterior of bregma" if plane == "coronal" else "from the midline"
        note = drawing.mention(f"The slice is 300 µm thick, at {middle:.0f} µm {what}.", note)
        axes = {"label": across[plane], "equal": True}, {"label": "dorso-ventral (µm)"}
        return Shown({"data": own, "others": others}, layers, *axes, note=note, height=340)

    return Panel(
        f"Place in the brain, {plane} slice",
        "Sites of this probe, bold, among the sites of all probes in the slice, in Allen colours.",
        show,
        lambda v: f"sites, middle = {call('views.fetch_slice', v['pid'], plane)}",
    )


def show_sorts(values: Values) -> Shown:
    """Show the amplitudes of the units by depth, for each spike sorting."""
    key = names.insertion_row(values["pid"])
    key = {name: key[name] for name in ("eid", "probe_name")}
    units = rows.frame((ephys.SpikeSorting.Cluster & key).proj("amp_median", "cluster_depth"))
    table = pd.DataFrame(
        {
            "sorting": units.sorting_name,
            "unit": units.cluster_id,
            "amplitude": 1e6 * units.amp_median,
            "depth": units.cluster_depth,
        }
    ).dropna()
    colours = dict(zip(sorted(set(table.sorting)), ("#0072B2", "#D55E00", "#009E73"), strict=False))
    shapes = dict(zip(colours, ("circle", "cross", "square"), strict=False))
    layer: dict[str, Any] = {
        "type": "points",
        "table": "data",
        "x": "amplitude",
        "y": "depth",
        "by": "sorting",
    }
    layer |= {"colours": colours, "shapes": shapes, "size": 2.5, "alpha": 0.6}
    tables = {"data": table, "regions": strip_of(values["pid"])}
    x: dict[str, Any] = {"label": "median amplitude (µV)"}
    return Shown(tables, [layer, drawing.STRIP], x, DEPTH_AXIS, height=420)


def _units_code(values: Values) -> str:
    return call("views.fetch_clusters", values["pid"], values["sorting"])


PANELS: dict[str, Panel] = {
    "raster": Panel(
        "Raster by depth",
        "Spikes of all units over the recording, with the regions beside them.",
        show_raster,
        lambda v: call("views.fetch_spike_density", v["pid"], v["sorting"]),
        lambda v: views.fetch_spikes(v["pid"], v["sorting"]),
        wide=True,
    ),
    "by_quality": Panel(
        "Amplitude by depth, by quality",
        "Each point is a unit; choose one to open it.",
        show_by_quality,
        _units_code,
        fetch_units,
    ),
    "by_rate": Panel(
        "Amplitude by depth, by rate", "Colour: rate (Hz).", show_by_rate, _units_code, fetch_units
    ),
    "rates": Panel(
        "Rate by depth", "Good units and the others.", show_rates, _units_code, fetch_units
    ),
    "rms": Panel(
        "AP RMS by depth and time",
        "Root mean square of the action potential band of the raw recording.",
        show_rms,
        lambda v: f"time, rms = {call('views.fetch_rms', v['pid'])}",
        fetch_rms,
    ),
    "power": Panel(
        "LFP power by depth",
        "Mean power spectral density of the local field potential from 0 to 4 Hz (delta).",
        show_power,
        lambda v: f"frequency, density = {call('views.fetch_spectrum', v['pid'])}",
    ),
    "channels": Panel(
        "Recording sites",
        "Sites on the probe, in the colours of their regions.",
        show_channels,
        lambda v: call("views.fetch_sites", v["pid"]),
    ),
    "coronal": _slice("coronal"),
    "sagittal": _slice("sagittal"),
    "sorts": Panel(
        "Spike sortings side by side",
        "Units of every imported spike sorting of this insertion.",
        show_sorts,
        lambda v: f"[views.fetch_clusters({v['pid']!r}, name) for name in sortings]",
    ),
}

PAGE = Page(
    "insertion",
    "/insertion/{pid}",
    LENS,
    (PID,),
    build,
    PANELS,
    {"units": fetch_units, "sortings": fetch_sorts},
    check=lambda v: names.insertion_row(v["pid"]),
)
