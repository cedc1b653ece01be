"""Probes in sessions, and where their recording sites lie."""

from __future__ import annotations

from typing import Any

import datajoint as dj

from schemas import atlas, rows, session  # noqa: F401  (atlas: foreign keys)
from schemas.sources import base

schema = dj.Schema()


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
        """


@schema
class LocationLevel(dj.Lookup):
    """How far the location of a probe's sites can be trusted."""

    definition = """
    # one row per level of localisation
    location_level             : varchar(16)   # name of the level
    ---
    location_level_description : varchar(128)  # what the locations rest on
    """
    contents = rows.lookup(
        "location_level, location_level_description",
        ("alf", "final: released with the data, equals resolved"),
        ("resolved", "final: the experimenters agree on the alignment"),
        ("aligned", "provisional: at least one alignment, none agreed"),
        ("traced", "provisional: histology track only, depths may be off"),
        ("none", "not located: sites have no region"),
    )


@schema
class Channels(dj.Imported):
    """The recording sites of an insertion, from electrodeSites or the channels of its sort."""

    definition = """
    # one row per insertion whose sites are released
    -> ProbeInsertion
    ---
    n_channels : int32  # number of sites
    -> LocationLevel
    """

    class Channel(dj.Part):
        """A site; x is ML (right +), y AP (anterior +), z DV (up +), origin bregma."""

        definition = """
        # one row per recording site
        -> master
        channel                : int16    # row in the released arrays, from 0
        ---
        -> [nullable] atlas.BrainRegion.proj(channel_region_id="region_id")
        channel_x = null       : float64  # (um) medio-lateral, right of bregma positive
        channel_y = null       : float64  # (um) antero-posterior, anterior of bregma positive
        channel_z = null       : float64  # (um) dorso-ventral, above bregma positive
        channel_axial = null   : float64  # (um) along the probe, from the tip
        channel_lateral = null : float64  # (um) across the probe
        raw_index = null       : int16    # channel in the raw file
        channel_label = null   : int8     # 0 good, 1 dead, 2 noisy, 3 outside the brain
        """

    class Source(dj.Part):
        """The files that were read."""

        definition = session.SOURCE

    candidates = ProbeInsertion
    """Keys that a complete release would have."""

    @property
    def key_source(self) -> dj.expression.QueryExpression:
        """Insertions with released sites."""
        # Projected: the job table has a pid of its own, that of a process.
        return ProbeInsertion.proj() & (ProbeInsertion.Dataset & _released("channels")).proj()

    def make_fetch(self, key: dict[str, Any]) -> tuple:
        """Fetch what the source lists."""
        return (fetch_datasets(key, "channels"),)

    def make_compute(self, key: dict[str, Any], listed: list[dict[str, Any]]) -> tuple:
        """Load the sites."""
        source, datasets = session.open_datasets(listed)
        return (source.load_channels(datasets),)

    def make_insert(self, key: dict[str, Any], channels: base.Channels) -> None:
        """Insert the sites and the files that they were read from."""
        sites = channels.frame.rename(columns=CHANNEL_COLUMNS).rename_axis("channel").reset_index()
        level = channels.level or "none"
        rows.insert1(self, {**key, "n_channels": len(sites), "location_level": level})
        rows.insert(self.Channel(), sites, key)
        session.insert_sources(self.Source(), key, channels.files)


CHANNEL_COLUMNS = {
    "region_id": "channel_region_id",
    "x_um": "channel_x",
    "y_um": "channel_y",
    "z_um": "channel_z",
    "axial_um": "channel_axial",
    "lateral_um": "channel_lateral",
}


def _released(kind: str) -> dj.expression.QueryExpression:
    return (session.Dataset & {"data_kind": kind}).proj()


def fetch_datasets(key: dict[str, Any], *kinds: str) -> list[dict[str, Any]]:
    """Fetch the datasets of an insertion that are of some kinds, in order of their paths."""
    of_probe = session.Dataset * ProbeInsertion.Dataset & key
    return session.fetch_datasets(of_probe & [{"data_kind": kind} for kind in kinds])
