"""Releases: named lists of insertions."""

from __future__ import annotations

import datajoint as dj

from schemas import probe, rows  # noqa: F401  (probe: foreign keys)

schema = dj.Schema()


@schema
class Origin(dj.Lookup):
    """How the members of a release were told."""

    definition = """
    # one row per way to tell the members of a release
    release_origin             : varchar(8)    # name of the way
    ---
    release_origin_description : varchar(128)  # what names the members
    """
    contents = rows.lookup(
        "release_origin, release_origin_description",
        ("list", "a published list of insertions"),
        ("tag", "a tag of the metadata server, on the day of its registration"),
        ("query", "a rule over the metadata, on the day of its registration"),
    )


@schema
class Release(dj.Manual):
    """A freeze of the data; every published count is a query on its members."""

    definition = """
    # one row per release
    release_name       : varchar(64)   # name, e.g. 2022_10_bwm_release
    ---
    -> Origin
    release_rule       : varchar(512)  # name of the list, tag, or selection
    release_md5 = null : varchar(32)   # hash of the list
    """

    class Insertion(dj.Part):
        """A member."""

        definition = """
        # one row per insertion of a release
        -> master
        -> probe.ProbeInsertion
        """
