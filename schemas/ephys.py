"""Spike sorts: their units, spikes and good-unit labels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, definitions, imported, probe, rows, session, storage  # noqa: F401  (atlas: foreign keys)
from schemas.errors import DefinitionError, InconsistentData, MissingDataset
from schemas.maths import ephys as maths
from schemas.maths import metrics
from schemas.sources import data

schema = dj.Schema()


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


NUMBERS = tuple(re.findall(r"^ *(\w+) = null +: (?:float|int)", Cluster.definition, re.M))
"""Columns of a unit that a criterion may test."""

METRICS = NUMBERS[NUMBERS.index("spike_count") :]
"""Those that a sort is released with, or lacks."""

RULE = ("refractory_metric", "min_refractory", "max_noise_cutoff", "min_amplitude")


@schema
class UnitCriterion(definitions.Checked, dj.Lookup):
    """What makes a unit good: tests of refractory period, noise and amplitude, and bounds."""

    definition = """
    # one row per definition of a good unit
    criterion                : varchar(32)   # name of the definition
    ---
    refractory_metric = null : varchar(32)   # column of SpikeSorting.Cluster; null: no such test
    min_refractory = null    : float64       # (metric) pass if at least this
    max_noise_cutoff = null  : float64       # (sd) pass if below this; null: no such test
    min_amplitude = null     : float64       # (V) pass if the median is above; null: no such test
    criterion_description    : varchar(128)  # where the definition is used
    """
    names: ClassVar = {"refractory_metric": NUMBERS}
    together: ClassVar = (RULE[:2],)
    one_of: tuple[str, ...] = RULE[1:]
    contents = rows.lookup(
        "criterion, refractory_metric, min_refractory, max_noise_cutoff, min_amplitude, "
        "criterion_description",
        ("ibl_2022", "sliding_rp_viol", 1.0, 20.0, 50e-6, "release of 2022, papers and slides"),
        ("ibl_2022_10", "sliding_rp_viol", 1.0, 5.0, 50e-6, "labels from 2022-10-04 to 2024"),
        ("ibl_2024", "max_confidence", 90.0, 5.0, 50e-6, "metrics since 2024"),
    )

    class Bound(definitions.Checked, dj.Part):
        """A metric of a good unit lies within bounds; a unit without the metric is not good."""

        definition = """
        # one row per criterion and metric
        -> master
        metric          : varchar(32)  # column of SpikeSorting.Cluster
        ---
        least = null    : float64      # (metric) least value that passes
        greatest = null : float64      # (metric) greatest value that passes
        """
        names: ClassVar = {"metric": NUMBERS}
        one_of = ("least", "greatest")

        def refuse_wrong(self, row: Mapping[str, Any]) -> None:
            """Refuse a bound that bounds nothing, or comes after units were labelled."""
            super().refuse_wrong(row)
            where = f"bound on {row['metric']} of the criterion {row['criterion']!r}"
            least, greatest = (row.get(name) for name in ("least", "greatest"))
            if None not in (least, greatest) and least > greatest:
                raise DefinitionError(f"least, {least!r}, is above greatest, {greatest!r}.", where)
            if GoodUnits & {"criterion": row["criterion"]}:
                remedy = "Give the new criterion a name of its own."
                raise DefinitionError("this criterion has labelled units already.", where, remedy)

    def refuse_wrong(self, row: Mapping[str, Any]) -> None:
        """Refuse a criterion that tests nothing; one with bounds tests these."""
        if self.Bound & {"criterion": row["criterion"]}:
            self.one_of = ()
        super().refuse_wrong(row)

    @classmethod
    def add(
        cls,
        criterion: str,
        description: str,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
        **tests: Any,
    ) -> None:
        """Add a criterion with its bounds in one transaction, so that no worker sees a part.

        `bounds` are (least, greatest) by metric, in its unit: both values pass, None is no bound.
        `tests` are other columns of the table; default none of the three tests.
        """
        parts = [
            {"criterion": criterion, "metric": metric, "least": least, "greatest": greatest}
            for metric, (least, greatest) in (bounds or {}).items()
        ]
        master = cls()
        master.one_of = () if parts else cls.one_of
        with master.connection.transaction:
            row = {"criterion": criterion, "criterion_description": description, **tests}
            rows.insert1(master, row)
            rows.insert(cls.Bound(), parts)


@schema
class GoodUnits(dj.Computed):
    """The good units of a sort by a criterion, from the released metrics."""

    definition = """
    # one row per sort of an insertion and criterion
    -> SpikeSorting
    -> UnitCriterion
    ---
    n_units         : int32         # number of units
    n_good          : int32         # number of units that pass all tests
    n_undecided     : int32         # number of units that pass what could be tested, not all
    missing_metrics : varchar(128)  # metrics that the sort lacks, comma-separated, or empty
    """

    class Unit(dj.Part):
        """A unit's tests kept apart: NaN fails; no test, or a metric that is missing, is null."""

        definition = """
        # one row per cluster of a sort and criterion
        -> master
        -> SpikeSorting.Cluster
        ---
        refractory_pass = null : bool     # passes the refractory test
        noise_pass = null      : bool     # passes the noise cut-off
        amplitude_pass = null  : bool     # passes the median amplitude
        bounds_pass = null     : bool     # within every bound
        unit_label = null      : float64  # (fraction) of the tests passed
        is_good = null         : bool     # passes all tests
        index (criterion, is_good, eid, probe_name, sorting_name, cluster_id)
        """

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Return every sort with every criterion that tests anything."""
        tests = [f"{name} IS NOT NULL" for name in RULE[1:]]
        return SpikeSorting.proj() * (UnitCriterion & [*tests, UnitCriterion.Bound.proj()]).proj()

    def make(self, key: dict[str, Any]) -> None:
        """Compare the released metrics with the thresholds and bounds."""
        rule = (UnitCriterion & key).fetch1()
        bounds = {r["metric"]: (r["least"], r["greatest"]) for r in UnitCriterion.Bound & key}
        there = (SpikeSorting & key).fetch1("released_metrics")
        tested = ["cluster_id", *self.tested(rule, bounds)]
        units = rows.frame(SpikeSorting.Cluster & key, columns=tested)
        row, units = self.as_rows(units, rule, bounds, there)
        rows.insert1(self, {**key, **row})
        rows.insert(self.Unit(), units, key)

    @staticmethod
    def tested(rule: dict[str, Any], bounds: dict[str, Any]) -> list[str]:
        """Name the metrics that a criterion tests."""
        tests = zip(RULE[1:], (rule[RULE[0]], "noise_cutoff", "amp_median"), strict=True)
        names = [metric for threshold, metric in tests if rule[threshold] is not None]
        return list(dict.fromkeys([*names, *bounds]))

    @classmethod
    def as_rows(
        cls, units: pd.DataFrame, rule: dict[str, Any], bounds: dict[str, Any], there: list[str]
    ) -> tuple[dict[str, Any], pd.DataFrame]:
        """Compute the row of a sort, released with the metrics `there`, and those of its units."""
        names = cls.tested(rule, bounds)
        missing = [name for name in names if name in METRICS and name not in there]
        released = {n: None if n in missing else units[n].to_numpy(float) for n in names}
        passes = maths.compute_passes(released, len(units), *map(rule.get, RULE), bounds=bounds)
        good, row = passes["is_good"], {"n_units": len(units), "missing_metrics": ",".join(missing)}
        row |= {"n_good": int(np.nansum(good)), "n_undecided": int(np.isnan(good).sum())}
        table = pd.DataFrame({"cluster_id": units.cluster_id, **passes})
        tests = [name for name in passes if name != "unit_label"]
        return row, table.astype(dict.fromkeys(tests, "boolean"))


UNCHANGED = (10.0, 0.0015, 0.0001, 10, 50, 4.0, 100, 10.0, 90.0)
"""Parameters of the metrics, from `presence_bin` on, that are the same in 2022 and 2024."""


@schema
class MetricsDefinition(definitions.Checked, dj.Lookup):
    """How unit metrics are computed from spikes, and the criterion that labels them."""

    definition = """
    # one row per definition of the unit metrics
    metrics_definition    : varchar(32)   # name of the definition
    ---
    -> UnitCriterion
    presence_bin          : float64       # (s) bin in which a unit is present
    refractory_period     : float64       # (s) intervals below are violations
    duplicate_interval    : float64       # (s) spikes no further apart are one
    missed_spikes_per_bin : int32         # spikes per bin of the distribution of amplitudes
    missed_min_bins       : int32         # bins that the distribution must have more spikes for
    missed_smoothing      : float64       # (bins) standard deviation of the smoothing
    noise_edges           : int32         # edges of the histogram of the noise cut-off
    sliding_contamination : float64       # (percent) contamination to be excluded
    sliding_confidence    : float64       # (percent) with what confidence
    noise_method          : varchar(16)   # filled_bins, or last_change as until October 2022
    noise_top_start       : float64       # (fraction) of the way from peak to end of the histogram
    sliding_method        : varchar(16)   # confidence, or counts as until 2022
    sliding_sampling      : float64       # (Hz) rate to which spike times are cut down
    sliding_start = null  : float64       # (s) periods up to this are not judged
    """
    names: ClassVar = metrics.METHODS
    positive = ("presence_bin", "refractory_period", "missed_spikes_per_bin", "sliding_sampling")
    contents = rows.lookup(
        "metrics_definition, criterion, presence_bin, refractory_period, duplicate_interval, "
        "missed_spikes_per_bin, missed_min_bins, missed_smoothing, noise_edges, "
        "sliding_contamination, sliding_confidence, noise_method, noise_top_start, "
        "sliding_method, sliding_sampling, sliding_start",
        ("ibl_2022", "ibl_2022", *UNCHANGED, "last_change", 0.6, "counts", 20_000.0, None),
        ("ibl_2024", "ibl_2024", *UNCHANGED, "filled_bins", 0.5, "confidence", 30_000.0, 0.0005),
    )


@schema
class UnitMetrics(dj.Computed):
    """The metrics of the units of a sort, computed from the stored spikes."""

    definition = """
    # one row per sort of an insertion and definition of the metrics
    -> Spikes
    -> MetricsDefinition
    ---
    n_metric_units : int32  # number of units
    n_label_good   : int32  # number of units that pass all three tests of the label
    """

    class Unit(dj.Part):
        """A unit's metrics; null where a metric is undefined, or unknown to the definition."""

        definition = """
        # one row per cluster of a sort and definition of the metrics
        -> master
        -> SpikeSorting.Cluster
        ---
        computed_spike_count                   : int64    # number of spikes
        computed_firing_rate = null            : float64  # (Hz) over the recording
        computed_amp_min = null                : float64  # (V) smallest spike
        computed_amp_max = null                : float64  # (V) largest spike
        computed_amp_median = null             : float64  # (V) median spike
        computed_amp_std_db = null             : float64  # (dB) spread of amplitudes
        computed_presence_ratio = null         : float64  # (fraction) of bins with a spike
        computed_presence_ratio_std = null     : float64  # (count) spread of spikes in those bins
        computed_drift = null                  : float64  # (um/h) sum of depth changes
        computed_contamination = null          : float64  # (fraction) from refractory spikes
        computed_contamination_alt = null      : float64  # (fraction) another such estimate
        computed_missed_spikes_est = null      : float64  # (fraction) spikes below threshold
        computed_noise_cutoff = null           : float64  # (sd) low end of amplitudes against top
        computed_sliding_rp_viol = null        : float64  # (bool) 1 is a pass of the sliding test
        computed_sliding_rp_viol_forced = null : float64  # (bool) 1 is let pass all the same
        computed_max_confidence = null         : float64  # (percent) that contamination is low
        computed_min_contamination = null      : float64  # (percent) least that can be excluded
        computed_n_spikes_below2 = null        : int64    # pairs of spikes closer than 2 ms
        computed_label                         : float64  # (fraction) of criteria passed
        computed_bitwise_fail                  : int16    # bits: 1 refractory, 2 noise, 4 amplitude
        """

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch the definition, its criterion, where the spikes are, and the units' counts."""
        definition = (MetricsDefinition & key).fetch1()
        rule = (UnitCriterion & {"criterion": definition["criterion"]}).fetch1()
        units = rows.frame(Spikes.Unit & key, columns=["cluster_id", "n_unit_spikes"])
        stored = (Spikes & key).fetch1("spikes").stored
        return definition, rule, stored, units.to_numpy()

    def make_compute(
        self,
        key: dict[str, Any],
        definition: dict[str, Any],
        rule: dict[str, Any],
        stored: dict[str, Any],
        units: np.ndarray,
    ) -> tuple:
        """Compute the metrics and the label."""
        spikes = storage.reference(stored).read(["time", "amplitude", "depth"])
        names = definition.keys() - {"metrics_definition", "criterion"}
        parameters = metrics.MetricParameters(**{name: definition[name] for name in names})
        cluster_id, counts = units.T
        columns = spikes["time"], spikes["amplitude"], spikes["depth"]
        found = metrics.compute_unit_metrics(*columns, counts, parameters)
        passes = maths.compute_passes(found, len(units), *map(rule.get, RULE))
        table = pd.DataFrame({**found, **metrics.compute_label(passes)}).add_prefix("computed_")
        return (table.assign(cluster_id=cluster_id),)

    def make_insert(self, key: dict[str, Any], units: pd.DataFrame) -> None:
        """Insert the units."""
        good = int((units.computed_bitwise_fail == 0).sum())
        rows.insert1(self, {**key, "n_metric_units": len(units), "n_label_good": good})
        rows.insert(self.Unit(), units, key)
