"""Releases: named lists of insertions, with notices about their data, and splits into parts."""

from __future__ import annotations

import datajoint as dj

from schemas import probe, rows, session  # noqa: F401  (foreign keys)

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


@schema
class Notice(dj.Manual):
    """An erratum or note about data of a release; views that fetch such data warn of it.

    A notice without rows in its part tables is about the whole release, one without a kind of data
    about all kinds.
    """

    definition = """
    # one row per notice about data of a release
    notice_name   : varchar(64)    # name of the notice, e.g. flipped_wheels
    ---
    -> Release
    -> [nullable] session.DataKind
    notice_since  : date           # day since which it is known
    notice_text   : varchar(2000)  # what is wrong or new, and what to do
    notice_source : varchar(512)   # URL or document that says so
    """

    class Session(dj.Part):
        """A session whose data the notice is about."""

        definition = """
        # one row per session that a notice is about
        -> master
        -> session.Session
        """

    class Insertion(dj.Part):
        """An insertion whose data the notice is about."""

        definition = """
        # one row per insertion that a notice is about
        -> master
        -> probe.ProbeInsertion
        """


@schema
class SplitGroup(dj.Lookup):
    """What the parts of a split have nothing of in common."""

    definition = """
    # one row per way to group insertions, of which a split keeps each group together
    split_by             : varchar(8)    # name of the way
    ---
    split_by_description : varchar(128)  # which insertions are kept together
    """
    contents = rows.lookup(
        "split_by, split_by_description",
        ("subject", "all insertions of a mouse"),
        ("lab", "all insertions of a laboratory"),
        ("session", "all insertions of a session"),
    )


@schema
class Split(dj.Manual):
    """A split of a release into parts, e.g. for exploration and confirmation; `bwm split`."""

    definition = """
    # one row per stored split of a release
    split_name : varchar(64)  # name of the split
    ---
    -> Release
    -> SplitGroup
    split_seed : int64        # seed of the order of equal groups
    """

    class Part(dj.Part):
        """A part with the share that was asked for."""

        definition = """
        # one row per part of a split
        -> master
        split_part    : varchar(32)  # name of the part, e.g. exploration
        ---
        part_fraction : float64      # (fraction) share of the insertions that was asked for
        """

    class Insertion(dj.Part):
        """An insertion of the release, in one part."""

        definition = """
        # one row per insertion of a split
        -> master
        -> probe.ProbeInsertion
        ---
        -> Split.Part
        """
