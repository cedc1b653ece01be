"""Spike sorts: their units and spikes, as released."""

from __future__ import annotations

from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, imported, probe, rows, session, storage  # noqa: F401  (atlas: foreign keys)
from schemas.ephys.base import schema
from schemas.errors import InconsistentData, MissingDataset
from schemas.maths import ephys as maths
from schemas.sources import data


@schema
class Sorting(dj.Lookup):
    """A way in which spikes were sorted; new ones are added when a source lists them."""

    definition = """
    # one row per sorter and revision
    sorting_name    : varchar(64)  # sorter, and after @ the revision, e.g. pykilosort@2024-05-06
    ---
    sorter          : varchar(32)  # folder of the sorter; empty for the probe's own folder
    sorter_revision : varchar(64)  # revision of the spike times; empty for the original
    unique index (sorter, sorter_revision)
    """
    contents = rows.lookup(
        "sorting_name, sorter, sorter_revision",
        ("pykilosort", "pykilosort", ""),
        ("pykilosort@2024-05-06", "pykilosort", "2024-05-06"),
    )


def name_sorting(sorter: str, revision: str) -> str:
    """Name a sort, e.g. `pykilosort@2024-05-06`; `ks2_matlab` for the probe's own folder."""
    return (sorter or "ks2_matlab") + (f"@{revision}" if revision else "")


@schema
class OfferedSorting(dj.Manual):
    """Sorts that a source lists: old and new ones of an insertion stand side by side."""

    definition = """
    # one row per insertion and sort that a source offers
    -> probe.ProbeInsertion
    -> Sorting
    ---
    is_default_sorting : bool  # the one to use where nobody asks for another
    """


class FromSortFiles(imported.ImportedFromFiles):
    """Shared by the tables that are read from the files of a sort."""

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Listed datasets of each sort, older revisions included."""
        return _listed_sorts(*self.kinds)


@schema
class SpikeSorting(FromSortFiles, dj.Imported):
    """A sort of an insertion."""

    definition = """
    # one row per sort of an insertion
    -> OfferedSorting
    ---
    n_clusters               : int32     # number of clusters, with spikes or without
    released_metrics         : json      # names of the metrics that the sort was released with
    cluster_sites_md5 = null : char(32)  # hash of the sites of the trajectory; null without sites
    """

    class Cluster(dj.Part):
        """A unit, with site and metrics as released; the region is that of its peak channel."""

        definition = """
        # one row per cluster of a sort
        -> master
        cluster_id                    : int32        # row in the released arrays, from 0
        ---
        -> [nullable] atlas.BrainRegion
        cluster_uuid = null           : char(36)     # UUID of the unit, new with every sort
        peak_channel = null           : int16        # row of the peak channel among the sites
        unit_axial = null             : float64      # (um) site along the probe, from the tip
        unit_lateral = null           : float64      # (um) site across the probe
        unit_x = null                 : float64      # (um) medio-lateral, right of bregma positive
        unit_y = null                 : float64      # (um) antero-posterior, anterior positive
        unit_z = null                 : float64      # (um) dorso-ventral, above bregma positive
        cluster_depth = null          : float64      # (um) centre of the template, from the tip
        cluster_amp = null            : float64      # (V) amplitude of the template
        peak_to_trough = null         : float64      # (ms) width of the waveform, signed
        spike_count = null            : int64        # number of spikes
        firing_rate = null            : float64      # (Hz) over the recording
        amp_min = null                : float64      # (V) smallest spike
        amp_max = null                : float64      # (V) largest spike
        amp_median = null             : float64      # (V) median spike
        amp_std_db = null             : float64      # (dB) spread of amplitudes
        presence_ratio = null         : float64      # (fraction) of 10 s bins with a spike
        presence_ratio_std = null     : float64      # (count) spread of spikes in those bins
        drift = null                  : float64      # (um/h) sum of depth changes
        contamination = null          : float64      # (fraction) estimate from refractory spikes
        contamination_alt = null      : float64      # (fraction) another such estimate
        missed_spikes_est = null      : float64      # (fraction) spikes below threshold
        noise_cutoff = null           : float64      # (sd) low end of amplitudes against the top
        sliding_rp_viol = null        : float64      # (bool) 1 is a pass of the sliding test
        sliding_rp_viol_forced = null : float64      # (bool) 1 is a rare unit let pass all the same
        max_confidence = null         : float64      # (percent) that contamination is below a tenth
        min_contamination = null      : float64      # (percent) least that can be excluded
        n_spikes_below2 = null        : int64        # pairs of spikes closer than 2 ms
        released_label = null         : float64      # (fraction) of criteria passed, as released
        bitwise_fail = null           : int16        # bits: 1 refractory, 2 noise, 4 amplitude
        ks2_label = null              : varchar(16)  # label of Kilosort
        index (cluster_depth, firing_rate)
        """

    kinds = ("clusters", "channels")
    sites_column = "cluster_sites_md5"
    candidates = probe.ProbeInsertion

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every listed sort."""
        return OfferedSorting.proj()

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the sort, what the source lists, and the sites the insertion is known by."""
        files = imported.fetch_datasets(self.listed & key)
        return _fetch_sorting(key), files, probe.fetch_sites(key)

    def make_compute(  # type: ignore[override]
        self,
        key: dict[str, Any],
        sorting: dict[str, Any],
        listed: list[dict[str, Any]],
        located: probe.Sites,
    ) -> tuple:
        """Load the units."""
        source, datasets = imported.open_datasets(listed, sorting["sorter_revision"])
        clusters = source.load("clusters", datasets, located=located.frame())
        table = clusters.frame.rename(columns=CLUSTER_COLUMNS)
        table = table.rename_axis("cluster_id").reset_index()
        row = {"n_clusters": len(table), "released_metrics": list(clusters.metrics)}
        row["cluster_sites_md5"] = located.md5
        return row, {"Cluster": table}, clusters.files


Cluster = SpikeSorting.Cluster

CLUSTER_COLUMNS = {f"{name}_um": f"unit_{name}" for name in ("axial", "lateral", "x", "y", "z")}
CLUSTER_COLUMNS["channel"] = "peak_channel"


def _listed_sorts(*kinds: str) -> dj.expression.QueryExpression:
    """Return the files of each sort; sites of the probe's own folder belong to every sort."""
    files = imported.listed_datasets(*kinds) * probe.ProbeInsertion.Dataset
    return (OfferedSorting.proj() * Sorting * files) & [
        "dataset_sorter = sorter",
        "data_kind = 'channels' AND dataset_sorter IS NULL",
    ]


def fetch_listed_sorts(restriction: Any) -> set[tuple[str, str, str, str]]:
    """Fetch eid, probe, sorter and revision of the sorts whose files are listed.

    A sort has the revision of its spike times, or of its clusters where none are listed.
    """
    names = [{"dataset_name": n} for n in ("spikes.times.npy", "clusters.channels.npy")]
    files = imported.listed_datasets("spikes", "clusters") * probe.ProbeInsertion.Dataset & names
    found: dict[str, set[tuple[str, str, str, str]]] = {"spikes": set(), "clusters": set()}
    for row in (files & restriction).to_dicts():
        sort = (row["eid"], row["probe_name"], row["dataset_sorter"], row["revision"])
        found[row["data_kind"]].add(sort)
    with_spikes = {sort[:3] for sort in found["spikes"]}
    return found["spikes"] | {sort for sort in found["clusters"] if sort[:3] not in with_spikes}


def _fetch_sorting(key: dict[str, Any]) -> dict[str, Any]:
    """Fetch a sort.

    Raises
    ------
    MissingDataset
        No files of that sorter and revision are listed: older ones are not read in their place.
    """
    sorting = (Sorting & key).fetch1()
    there = {sort[2:] for sort in fetch_listed_sorts(key)}
    if (sorting["sorter"], sorting["sorter_revision"]) not in there:
        names = ", ".join(sorted(name_sorting(*sort) for sort in there))
        raise MissingDataset(
            f"the files of the sort {sorting['sorting_name']} are not listed.",
            f"session {key['eid']}, {key['probe_name']}",
            f"There are: {names or 'none'}.",
        )
    return sorting


@schema
class Spikes(FromSortFiles, dj.Imported):
    """The spikes of a sort as one object, sorted by cluster, then time.

    Columns: `cluster`, `time` (s, as released to the bit), `amplitude` (V), `depth` (um).
    """

    definition = f"""
    # one row per sort of an insertion
    -> SpikeSorting
    ---
    n_spikes           : int64    # number of spikes
    first_spike = null : float64  # (s) first spike of any unit
    last_spike = null  : float64  # (s) last spike of any unit
    spikes             : <parquet@{storage.STORE}>  # cluster, time (s), amplitude (V), depth (um)
    """

    class Unit(dj.Part):
        """A unit's slice of the object; a unit without spikes has a slice of none."""

        definition = """
        # one row per cluster of a sort
        -> master
        -> SpikeSorting.Cluster
        ---
        spike_offset            : int64    # first row of the unit in the object
        n_unit_spikes           : int64    # number of spikes
        first_unit_spike = null : float64  # (s) first spike
        last_unit_spike = null  : float64  # (s) last spike
        """

    kinds = ("spikes",)
    lengths = (("spikes", "n_spikes"),)
    candidates = SpikeSorting
    """Keys that could have spikes: absent are those of sorts that were released without."""

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Every imported spike sorting whose spikes are listed."""
        return SpikeSorting.proj() & self.listed.proj()

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the sort, what the source lists, and its number of units."""
        n_clusters = (SpikeSorting & key).fetch1("n_clusters")
        return _fetch_sorting(key), imported.fetch_datasets(self.listed & key), n_clusters

    def make_compute(  # type: ignore[override]
        self,
        key: dict[str, Any],
        sorting: dict[str, Any],
        listed: list[dict[str, Any]],
        n_clusters: int,
    ) -> tuple:
        """Load the spikes and sort them by cluster."""
        source, datasets = imported.open_datasets(listed, sorting["sorter_revision"])
        spikes = source.load("spikes", datasets)
        _check_clusters(spikes, n_clusters, f"{source.location}, session {key['eid']}")
        order, counts = maths.sort_by_cluster(spikes.cluster, n_clusters)
        columns = {"cluster": np.repeat(np.arange(n_clusters, dtype=spikes.cluster.dtype), counts)}
        columns |= {name: getattr(spikes, name)[order] for name in ("time", "amplitude", "depth")}
        packed = storage.pack(columns)
        units = pd.DataFrame(maths.slice_by_cluster(columns["time"], counts))
        row = {
            "n_spikes": packed.n_rows,
            "first_spike": units.first_unit_spike.min(),
            "last_spike": units.last_unit_spike.max(),
            "spikes": packed,
        }
        return row, {"Unit": units}, spikes.files


def _check_clusters(spikes: data.Spikes, n_clusters: int, where: str) -> None:
    """Raise an error if a spike belongs to a cluster that the spike sorting does not have."""
    highest = int(spikes.cluster.max()) if len(spikes.cluster) else -1
    if highest >= n_clusters:
        path = next(file.path for file in spikes.files if "clusters" in file.path)
        raise InconsistentData(
            f"spikes of cluster {highest}, but the spike sorting has {n_clusters} clusters.",
            f"{where}, {path}",
            "The spikes and clusters are of different spike sortings: download both again.",
        )


def spike_times(units: dj.expression.QueryExpression) -> pd.Series:
    """Fetch the spike trains of any restricted set of units.

    Parameters
    ----------
    units : expression
        Whatever has the key of a unit, e.g. `ephys.GoodUnits.Unit & "is_good"`.

    Returns
    -------
    pandas.Series
        Of float64 arrays (s, ascending), indexed by `eid`, `probe_name`, `sorting_name` and
        `cluster_id`. Each stored object is opened once.
    """
    key = SpikeSorting.Cluster.primary_key
    chosen = (SpikeSorting.Cluster & units.proj()).proj()
    wanted = rows.frame(Spikes.Unit.proj("spike_offset", "n_unit_spikes") & chosen)
    trains = pd.Series(np.empty(len(wanted), dtype=object), dtype=object)
    of_sort = wanted.groupby(key[:-1], sort=False).indices
    for row in (Spikes & chosen).to_dicts():
        index = of_sort[tuple(row[name] for name in key[:-1])]
        part = wanted.iloc[index]
        slices = row["spikes"].read_slices("time", part.spike_offset, part.n_unit_spikes)
        trains.iloc[index] = pd.Series(slices, index=index, dtype=object)
    trains.index = pd.MultiIndex.from_frame(wanted[key])
    return trains.rename("time")
