"""The Allen ontology of brain regions, and its coarser mappings."""

from __future__ import annotations

import datajoint as dj
import pandas as pd

from schemas import rows

schema = dj.Schema()


@schema
class Mapping(dj.Lookup):
    """How finely a brain is divided."""

    definition = """
    # one row per mapping of the Allen structures onto a set of regions
    mapping             : varchar(16)   # name of the mapping
    ---
    mapping_description : varchar(128)  # what it divides the brain into
    """
    contents = rows.lookup(
        "mapping, mapping_description",
        ("Allen", "every structure of the Allen CCF 2017 ontology"),
        ("Beryl", "308 regions of the IBL, layers and subfields merged; white matter is root"),
        ("Cosmos", "12 major divisions of the brain"),
    )


REGION_COLUMN = {"Allen": "region_id", "Beryl": "beryl_id", "Cosmos": "cosmos_id"}
"""Column of `BrainRegion` that holds a structure's region in each mapping."""

OUTSIDE = (0, 997)
"""Ids of void and root: a unit there is in no region."""


@schema
class BrainRegion(dj.Lookup):
    """A brain structure, keyed by its Allen id: `CM` and `cm` differ only by case."""

    definition = """
    # one row per structure of the Allen CCF 2017 ontology
    region_id        : int32         # Allen structure id, without hemisphere; 0 void, 997 root
    ---
    region_acronym   : varchar(16)   # acronym, exact in case
    region_name      : varchar(128)  # full name
    region_level     : int16         # depth in the tree, root 0
    region_order     : int32         # position in the order of the ontology
    region_rgb       : varchar(7)    # colour of the Allen atlas, #rrggbb
    parent_id = null : int32         # structure it lies in directly
    beryl_id         : int32         # its region in the Beryl mapping
    cosmos_id        : int32         # its division in the Cosmos mapping
    unique index (region_acronym)
    """

    class Ancestor(dj.Part):
        """Makes "everything in the thalamus" one exact join."""

        definition = """
        # one row per structure and structure that it lies in, itself included
        -> master
        -> BrainRegion.proj(ancestor_id="region_id")
        """

    @classmethod
    def fill(cls, ontology: pd.DataFrame, ancestors: pd.DataFrame) -> None:
        """Insert the ontology, all or nothing."""
        with cls.connection.transaction:
            rows.insert(cls(), ontology)
            rows.insert(cls.Ancestor(), ancestors)
