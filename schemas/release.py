"""Releases: named lists of insertions."""

from __future__ import annotations

import datajoint as dj

from schemas import probe  # noqa: F401  (foreign keys)

schema = dj.Schema()


@schema
class Release(dj.Manual):
    """A freeze of the data; every published count is a query on its members."""

    definition = """
    # one row per release
    release_name        : varchar(64)   # name, e.g. 2022_10_bwm_release
    ---
    release_file = null : varchar(255)  # name of the list that it was registered from
    release_md5 = null  : varchar(32)   # hash of that list
    """

    class Insertion(dj.Part):
        """A member."""

        definition = """
        # one row per insertion of a release
        -> master
        -> probe.ProbeInsertion
        """
