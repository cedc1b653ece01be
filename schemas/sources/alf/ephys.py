"""Electrophysiology: recording sites, units and spikes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from schemas.errors import InconsistentData
from schemas.sources.alf.domains import DOMAINS
from schemas.sources.alf.kinds import SORTING, names_of, reads
from schemas.sources.alf.names import (
    CLUSTER_COLUMNS,
    CLUSTER_FILES,
    METRIC_COLUMNS,
    PEAK_COLUMNS,
    SITE_COLUMNS,
    SPIKE_FILES,
)
from schemas.sources.alf.paths import sorter_rank
from schemas.sources.alf.reading import (
    REPORT,
    Files,
    Reader,
    by_name,
    check_lengths,
    checked,
    checked_text,
    need,
    refuse,
    split_columns,
    vector,
)
from schemas.sources.data import Channels, Clusters, Spikes
from schemas.sources.ontology import region_ids
from schemas.sources.records import DatasetRecord

_POSITION = ["axial_um", "lateral_um"]
_LOCATION = ["x_um", "y_um", "z_um", "region_id"]


@reads(
    "channels",
    "recording sites of a probe and where they lie in the brain",
    (SORTING, rf"(?:channels|electrodeSites)\.(?:{'|'.join(SITE_COLUMNS)})\.npy"),
)
def read_channels(files: Files, located: pd.DataFrame | None = None) -> Channels:
    """Read the recording sites of a probe, and where they lie.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        `channels.*` of one or more sorts of the probe, of which the preferred one is read, and
        `electrodeSites.*`, which override them.
    located : DataFrame, optional
        Sites that the metadata locate, as in `base.Source.load`.

    Returns
    -------
    Channels
        One row a site; lengths in micrometres, region ids without a side. The level is `'alf'`
        where files locate the sites, `'resolved'` where `located` does (a site that it lacks
        has nulls), and `''` where neither does.

    Raises
    ------
    InconsistentData
        A region id is not in the ontology, or `located` has two places for one site.
    """
    reader = Reader(files)
    records = _site_records(files)
    if "localCoordinates" not in records:
        need(reader, {}, "channels.localCoordinates.npy")
    frame, level = _read_sites(reader, records, located)
    return Channels(frame, level, reader.files)


def _site_records(
    files: Iterable[DatasetRecord], collection: str | None = None
) -> dict[str, DatasetRecord]:
    """Choose the file of each attribute; `collection` is the sort to prefer to all others."""
    sites = [d for d in files if d.kind == "channels" and _attribute(d) in SITE_COLUMNS]
    of_probe = [d for d in sites if d.sorter is None]
    of_sorts = sorted(
        (d for d in sites if d.sorter is not None),
        key=lambda d: (
            d.collection != collection,
            # A sort that lacks its geometry is no use, however good.
            not any(o.collection == d.collection and "local" in o.name for o in sites),
            sorter_rank(d.sorter or ""),
        ),
    )
    chosen = [d for d in of_sorts if d.collection == of_sorts[0].collection]
    return {_attribute(d): d for d in (*by_name(chosen).values(), *by_name(of_probe).values())}


def _attribute(record: DatasetRecord) -> str:
    parts = record.name.split(".")
    return parts[1] if len(parts) == 3 and parts[2] == "npy" else ""


def _read_sites(
    reader: Reader, records: Mapping[str, DatasetRecord], located: pd.DataFrame | None
) -> tuple[pd.DataFrame, str]:
    """Read the sites, locate them if need be, and tell how far the location is settled."""
    reader.read_ahead([records[attribute] for attribute in SITE_COLUMNS if attribute in records])
    columns: dict[str, pd.Series | np.ndarray] = {}
    lengths: dict[Path, int] = {}
    for attribute, names in SITE_COLUMNS.items():
        if attribute not in records:
            continue
        array, path = reader.array(records[attribute]), reader.path(records[attribute])
        for name, values in split_columns(array, names, path).items():
            columns[name] = _site_column(name, values, path)
        lengths[path] = len(array)
    check_lengths(lengths)
    frame = pd.DataFrame(columns)
    if frame.columns.isin(_LOCATION).any():
        return frame, "alf"
    if located is None or not frame.columns.isin(_POSITION).any():
        return frame, ""
    found = _locate(frame, located, next(iter(lengths)))
    if not found.notna().any(axis=None):
        return frame, ""
    return pd.concat([frame, found], axis=1), "resolved"


def _locate(frame: pd.DataFrame, located: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Find the location of each site by its position on the probe, to the nanometre."""
    columns = located.dropna(subset=_POSITION).reset_index(drop=True)
    places = pd.DataFrame({n: _site_column(n, columns[n], path) for n in (*_POSITION, *_LOCATION)})
    places[_POSITION] = places[_POSITION].round(3)
    places = places.drop_duplicates()
    doubled = places[places.duplicated(_POSITION)]
    if len(doubled):
        axial, lateral = doubled.iloc[0][_POSITION]
        what = f"The site at {axial} um, {lateral} um is located in two places by the metadata."
        raise InconsistentData(what, path, "Register the session again from its source.")
    return frame[_POSITION].round(3).merge(places, how="left", on=_POSITION)[_LOCATION]


def _site_column(name: str, values: pd.Series | np.ndarray, path: Path) -> pd.Series | np.ndarray:
    numbers, domain = checked(values, "channels", name, path), DOMAINS["channels"][name]
    if not (domain.whole or domain.choices):
        return numbers.astype(np.float64, copy=False)
    whole = pd.Series(numbers).astype("Int64")
    return _without_side(whole, path) if name == "region_id" else whole


def _without_side(ids: pd.Series, path: Path) -> pd.Series:
    """Give region ids without a side, and make sure that the ontology knows each of them."""
    unknown = np.flatnonzero(ids.notna() & ~ids.abs().isin(list(region_ids())))
    if len(unknown):
        what = f"Row {unknown[0]}: region id {ids[unknown[0]]} is not in the Allen ontology"
        remedy = "Ask for the probe to be aligned again, or leave this file out and register again."
        raise InconsistentData(f"{what} ({len(unknown)} such values).", path, remedy)
    return ids.abs()


@reads(
    "clusters",
    "units of a spike sorting, with their metrics",
    (SORTING, names_of(*CLUSTER_FILES)),
)
def read_clusters(files: Files, located: pd.DataFrame | None = None) -> Clusters:
    """Read the units of a sort, their metrics, and the site of their peak channel.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        `clusters.*` of the sort, `channels.*` of its collection, and `electrodeSites.*` of the
        probe, which override them.
    located : DataFrame, optional
        As in `read_channels`.

    Returns
    -------
    Clusters
        One row a cluster, as many as `clusters.channels` has. Metrics are joined by cluster id,
        whatever order they were released in; all are float64, but for `ks2_label`.
    """
    reader = Reader(files)
    named = by_name(d for d in files if d.kind == "clusters")
    peak = need(reader, named, "clusters.channels.npy")
    reader.read_ahead(list(named.values()))
    frame = _read_cluster_arrays(reader, named, peak)
    metrics: dict[str, np.ndarray] = {}
    if "clusters.metrics.pqt" in named:
        metrics = _read_metrics(reader, named["clusters.metrics.pqt"], len(frame))
    records = _site_records(files, peak.collection)
    if records:
        sites, _ = _read_sites(reader, records, located)
        sites = _at_peak(sites, frame["channel"], reader.path(peak))
        frame = pd.concat([frame, sites], axis=1)
    frame = pd.concat([frame, pd.DataFrame(metrics, frame.index)], axis=1)
    return Clusters(frame, tuple(metrics), reader.files)


def _read_cluster_arrays(
    reader: Reader, named: Mapping[str, DatasetRecord], peak: DatasetRecord
) -> pd.DataFrame:
    array, path = reader.array(peak), reader.path(peak)
    channel = checked(vector(array, path), "clusters", "channels", path)
    columns: dict[str, Any] = {"channel": channel.astype(np.int64)}
    lengths = {path: len(channel)}
    if "clusters.uuids.csv" in named:
        table = reader.csv(named["clusters.uuids.csv"])
        path = reader.path(named["clusters.uuids.csv"])
        columns["cluster_uuid"] = _uuids(table, path)
        lengths[path] = len(columns["cluster_uuid"])
    for name, ours in CLUSTER_COLUMNS.items():
        if name in named:
            array, path = reader.array(named[name]), reader.path(named[name])
            numbers = checked(vector(array, path), "clusters", name.split(".")[1], path)
            columns[ours] = numbers.astype(np.float64, copy=False)
            lengths[path] = len(columns[ours])
    check_lengths(lengths)
    return pd.DataFrame(columns)


def _uuids(table: pd.DataFrame, path: Path) -> pd.Series:
    if "uuids" not in table:
        raise InconsistentData("It has no column uuids.", path, REPORT)
    return checked_text(table["uuids"].str.lower(), "clusters", "uuids", path)


def _at_peak(sites: pd.DataFrame, channel: pd.Series, path: Path) -> pd.DataFrame:
    outside = np.flatnonzero((channel < 0) | (channel >= len(sites)))
    if len(outside):
        row = outside[0]
        what = f"Cluster {row} has channel {channel[row]}, and there are {len(sites)} channels."
        raise InconsistentData(what, path, REPORT)
    columns = [name for name in PEAK_COLUMNS if name in sites]
    return sites[columns].iloc[channel.to_numpy()].reset_index(drop=True)


def _read_metrics(reader: Reader, record: DatasetRecord, count: int) -> dict[str, np.ndarray]:
    table, path = reader.table(record), reader.path(record)
    rows = _metric_rows(table, count, path)
    metrics = {}
    for released, ours in METRIC_COLUMNS.items():
        if released not in table:
            continue
        if ours == "ks2_label":
            column = np.full(count, None, dtype=object)
            column[rows] = checked_text(table[released], "clusters", released, path)
        else:
            column = np.full(count, np.nan)
            column[rows] = checked(table[released], "clusters", released, path)
        metrics[ours] = column
    return metrics


def _metric_rows(table: pd.DataFrame, count: int, path: Path) -> np.ndarray:
    """Tell which cluster each row of the metrics is about."""
    if "cluster_id" not in table:
        if len(table) != count:
            what = f"{len(table)} rows without cluster_id, and there are {count} clusters."
            raise InconsistentData(what, path, REPORT)
        return np.arange(count)
    ids = checked(table["cluster_id"], "clusters", "cluster_id", path).astype(np.int64)
    refuse(pd.Series(ids).duplicated().to_numpy(), ids, "repeated", path, "cluster_id")
    refuse(ids >= count, ids, f"not among the {count} clusters", path, "cluster_id")
    return ids


@reads("spikes", "spikes of a spike sorting", (SORTING, names_of(*SPIKE_FILES)))
def read_spikes(files: Files) -> Spikes:
    """Read the spikes of a sort.

    Nothing is copied but the clusters, where a smaller type holds them.

    Parameters
    ----------
    files : mapping of DatasetRecord to Path
        The four `spikes.*` arrays (S,).

    Returns
    -------
    Spikes
        In order of time: float64 seconds; clusters as uint16, or uint32 where they do not fit;
        amplitudes (V) and depths (um) in the type they were released in.

    Raises
    ------
    InconsistentData
        Lengths differ, or times are not finite, negative or not ascending.
    """
    reader, named = Reader(files), by_name(files)
    records = [need(reader, named, name) for name in SPIKE_FILES]
    reader.read_ahead(records)
    read = [reader.array(record) for record in records]
    paths = [reader.path(record) for record in records]
    arrays = [vector(array, path) for array, path in zip(read, paths, strict=True)]
    check_lengths({path: len(array) for path, array in zip(paths, arrays, strict=True)})
    times, clusters, amplitudes, depths = (
        checked(array, "spikes", name, path)
        for array, name, path in zip(arrays, DOMAINS["spikes"], paths, strict=True)
    )
    fits = not len(clusters) or clusters.max() <= np.iinfo(np.uint16).max
    clusters = clusters.astype(np.uint16 if fits else np.uint32, copy=False)
    times = times.astype(np.float64, copy=False)
    return Spikes(times, clusters, amplitudes, depths, reader.files)
