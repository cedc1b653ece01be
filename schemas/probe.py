"""Probes in sessions, and where their recording sites lie."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import atlas, imported, rows, session  # noqa: F401  (atlas: foreign keys)
from schemas.sources.records import BANDS, PROVENANCES

schema = dj.Schema()


@schema
class Band(dj.Lookup):
    """A band of the raw recording of a probe."""

    definition = """
    # one row per band of a raw recording
    band          : varchar(2)  # name of the band
    ---
    sampling_rate : float64     # (Hz) nominal sampling rate
    """
    contents = rows.lookup("band, sampling_rate", *BANDS.items())


@schema
class LocationLevel(dj.Lookup):
    """How far the location of a probe can be trusted."""

    definition = """
    # one row per level of localisation
    location_level             : varchar(16)   # name of the level
    ---
    location_level_description : varchar(128)  # what the locations rest on
    """
    contents = rows.lookup(
        "location_level, location_level_description",
        ("none", "not located: sites have no region"),
        ("traced", "not settled: the track is known from histology, the sites have no region"),
        ("aligned", "not settled: aligned, but not agreed upon, the sites have no region"),
        ("resolved", "final: the experimenters agree on the alignment"),
        ("alf", "final: released with the data, equals resolved"),
    )


@schema
class ProbeInsertion(dj.Manual):
    """A Neuropixels probe in a session."""

    definition = """
    # one row per probe of a session
    -> session.Session
    probe_name          : varchar(16)  # name, e.g. probe00; probe00a for a shank
    ---
    pid = null          : char(36)     # insertion UUID, lower case; null where not known
    probe_model = null  : varchar(16)  # model, e.g. 3B2, NP2.4
    probe_serial = null : varchar(32)  # serial number
    -> [nullable] session.QC.proj(insertion_qc="qc")
    -> [nullable] LocationLevel.proj(insertion_level="location_level")
    unique index (pid)
    """

    class Dataset(dj.Part):
        """Which of the session's files belong to the probe."""

        definition = """
        # one row per dataset of an insertion
        -> master
        -> session.Dataset
        ---
        dataset_sorter = null : varchar(32)  # spike sorter that wrote it; empty for the first
        -> [nullable] Band
        """

    class Pick(dj.Part):
        """The track that was followed in histology; axes as in `Channels.Channel`."""

        definition = """
        # one row per point of the track in histology
        -> master
        pick   : int16    # number of the point, from 0
        ---
        pick_x : float64  # (um) medio-lateral, right of bregma positive
        pick_y : float64  # (um) antero-posterior, anterior of bregma positive
        pick_z : float64  # (um) dorso-ventral, above bregma positive
        """


@schema
class Provenance(dj.Lookup):
    """What a trajectory was estimated from."""

    definition = """
    # one row per kind of estimate of a trajectory
    provenance      : varchar(32)  # name of the kind
    ---
    provenance_rank : int8         # rank; a higher one overrules a lower one
    """
    contents = rows.lookup("provenance_rank, provenance", *enumerate(PROVENANCES))


@schema
class Trajectory(dj.Manual):
    """An estimate of where a probe went in; axes as in `Channels.Channel`."""

    definition = """
    # one row per insertion and kind of estimate
    -> ProbeInsertion
    -> Provenance
    ---
    trajectory_id = null   : char(36)  # trajectory UUID, lower case; null where not known
    sites_md5 = null       : char(32)  # hash of the sites that it locates; null without sites
    is_current_trajectory  : bool      # the one that overrules the others of the insertion
    entry_x = null         : float64   # (um) entry into the brain, medio-lateral
    entry_y = null         : float64   # (um) entry into the brain, antero-posterior
    entry_z = null         : float64   # (um) entry into the brain, dorso-ventral
    insertion_depth = null : float64   # (um) from the entry to the tip
    theta = null           : float64   # (deg) polar angle, 0 vertical
    phi = null             : float64   # (deg) azimuth, anticlockwise from the right
    roll = null            : float64   # (deg) rotation about the axis of the probe
    """

    class Site(dj.Part):
        """A site that the source locates by the trajectory."""

        definition = """
        # one row per located site of a trajectory
        -> master
        site                : int16    # number in order of position along the probe, from 0
        ---
        -> [nullable] atlas.BrainRegion.proj(site_region_id="region_id")
        site_axial = null   : float64  # (um) along the probe, from the tip
        site_lateral = null : float64  # (um) across the probe
        site_x = null       : float64  # (um) medio-lateral, right of bregma positive
        site_y = null       : float64  # (um) antero-posterior, anterior of bregma positive
        site_z = null       : float64  # (um) dorso-ventral, above bregma positive
        """


SITE_COLUMNS = {
    "site_axial": "axial_um",
    "site_lateral": "lateral_um",
    "site_x": "x_um",
    "site_y": "y_um",
    "site_z": "z_um",
    "site_region_id": "region_id",
}


def hash_sites(sites: Sequence[tuple]) -> str | None:
    """Hash the places of sites (axial, lateral, x, y, z, region id), None without sites."""
    if not sites:
        return None
    return hashlib.md5(repr(list(sites)).encode(), usedforsecurity=False).hexdigest()


class Sites(NamedTuple):
    """The sites that the trajectory of an insertion locates, and their hash.

    The hash is None and `rows` is empty where no site is known.
    """

    md5: str | None
    rows: list[dict[str, Any]]

    def frame(self) -> pd.DataFrame | None:
        """Make the table that `Source.load` takes as `located`."""
        if not self.rows:
            return None
        table = pd.DataFrame(self.rows)[list(SITE_COLUMNS)].rename(columns=SITE_COLUMNS)
        return table.astype(dict.fromkeys(table.columns[:-1], float) | {"region_id": "Int64"})


def fetch_sites(key: dict[str, Any]) -> Sites:
    """Fetch the sites that the current trajectory of a resolved insertion locates.

    Below that level the alignment may still move, and its regions would be a guess.
    """
    resolved = (ProbeInsertion & key & {"insertion_level": "resolved"}).proj()
    trajectory = Trajectory & {"is_current_trajectory": True} & resolved
    hashes = trajectory.to_arrays("sites_md5")
    sites = (Trajectory.Site & trajectory.proj()).to_dicts(order_by="site")
    return Sites(hashes[0] if len(hashes) else None, sites)


def relocated(table: Any) -> dj.expression.QueryExpression:
    """Return the rows of a table that other sites located than an import would use today."""
    # Not `Trajectory & ...`: DataJoint drops the insertions for which a restricted group is empty.
    final = "CASE WHEN is_current_trajectory AND insertion_level = 'resolved' THEN sites_md5 END"
    now = ProbeInsertion.aggr(Trajectory, "insertion_level", sites_md5=f"max({final})")
    other = ["coalesce(located_md5, '') <> coalesce(sites_md5, '')"]
    names = []
    if "location_level" in table().heading:
        names.append("location_level")
        level = "location_level <> coalesce(insertion_level, 'none')"
        other.append(f"location_level <> 'alf' AND {level}")
    return (table.proj(*names, located_md5=table.sites_column) * now) & other


class FromProbeFiles(imported.ImportedFromFiles):
    """Shared by the tables that are read from the files of a probe."""

    candidates: Any = ProbeInsertion

    @property
    def listed(self) -> dj.expression.QueryExpression:
        """Listed datasets of each key, every revision included."""
        return imported.listed_datasets(*self.kinds) * ProbeInsertion.Dataset


@schema
class Channels(FromProbeFiles, dj.Imported):
    """The recording sites of an insertion, from electrodeSites or the channels of its sort."""

    definition = """
    # one row per insertion whose sites are released
    -> ProbeInsertion
    ---
    n_channels               : int32     # number of sites
    -> LocationLevel
    channel_sites_md5 = null : char(32)  # hash of the sites of the trajectory; null without sites
    """

    class Channel(dj.Part):
        """A site; x is ML (right +), y AP (anterior +), z DV (up +), origin bregma."""

        definition = """
        # one row per recording site
        -> master
        channel                : int16       # row in the released arrays, from 0
        ---
        -> [nullable] atlas.BrainRegion.proj(channel_region_id="region_id")
        channel_x = null       : float64     # (um) medio-lateral, right of bregma positive
        channel_y = null       : float64     # (um) antero-posterior, anterior of bregma positive
        channel_z = null       : float64     # (um) dorso-ventral, above bregma positive
        hemisphere = null      : varchar(5)  # left or right; null on the midline or not located
        channel_axial = null   : float64     # (um) along the probe, from the tip
        channel_lateral = null : float64     # (um) across the probe
        raw_index = null       : int16       # channel in the raw file
        channel_label = null   : int8        # 0 good, 1 dead, 2 noisy, 3 outside the brain
        """

    kinds = ("channels",)
    sites_column = "channel_sites_md5"

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch what the source lists, the level of the insertion and the sites it is known by."""
        level = (ProbeInsertion & key).fetch1("insertion_level")
        return imported.fetch_datasets(self.listed & key), fetch_sites(key), level

    def make_compute(  # type: ignore[override]
        self,
        key: dict[str, Any],
        listed: list[dict[str, Any]],
        located: Sites,
        level: str | None,
    ) -> tuple:
        """Load the sites."""
        source, datasets = imported.open_datasets(listed)
        channels = source.load("channels", datasets, located=located.frame())
        table = channels.frame.rename(columns=CHANNEL_COLUMNS).rename_axis("channel").reset_index()
        level = channels.level or level or "none"
        row = {"n_channels": len(table), "location_level": level}
        row["channel_sites_md5"] = located.md5
        return row, {"Channel": _with_hemisphere(table)}, channels.files


CHANNEL_COLUMNS = {
    "region_id": "channel_region_id",
    "x_um": "channel_x",
    "y_um": "channel_y",
    "z_um": "channel_z",
    "axial_um": "channel_axial",
    "lateral_um": "channel_lateral",
}


def _with_hemisphere(sites: pd.DataFrame) -> pd.DataFrame:
    if "channel_x" not in sites:
        return sites
    side = np.sign(sites.channel_x.to_numpy(float))
    return sites.assign(hemisphere=[SIDES.get(sign) for sign in side])


SIDES = {-1.0: "left", 1.0: "right"}
