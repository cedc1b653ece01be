"""The Allen ontology of brain regions, as rows.

Ids have no side: the atlas package negates the ids of the left hemisphere, but this project keeps
the side in the coordinates. Use ids as keys, not acronyms: `CM` and `cm` are different structures.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd


def load_ontology() -> pd.DataFrame:
    """Load the structures of the Allen ontology.

    Returns
    -------
    pandas.DataFrame
        One row a structure (1328, with void 0 and root 997): `region_id`, `region_acronym`,
        `region_name`, `region_level` (steps below root), `region_order` (position in the
        flattened tree), `region_rgb` (`'#rrggbb'`), `parent_id` (nullable; none for void and
        root), `beryl_id` and `cosmos_id` (structure that the region belongs to in the coarser
        parcellations; root where these leave it out).
    """
    return _ontology().copy()


def load_ancestors() -> pd.DataFrame:
    """Load the ancestors of each structure.

    Returns
    -------
    pandas.DataFrame
        One row a pair `region_id`, `ancestor_id`, each region being its own ancestor too.
    """
    return _ancestors().copy()


@lru_cache(maxsize=1)
def region_ids() -> frozenset[int]:
    """Ids of all structures of the ontology."""
    return frozenset(_ontology()["region_id"].tolist())


@lru_cache(maxsize=1)
def _ontology() -> pd.DataFrame:
    # Imported late: it costs most of a second, and most commands need no atlas.
    from iblatlas.regions import BrainRegions

    regions = BrainRegions()
    right = regions.id >= 0
    # The mappings are row indices. The package's own converters drop unknown ids.
    return pd.DataFrame(
        {
            "region_id": regions.id[right].astype(np.int64),
            "region_acronym": regions.acronym[right].astype(str),
            "region_name": regions.name[right].astype(str),
            "region_level": regions.level[right].astype(np.int64),
            "region_order": regions.order[right].astype(np.int64),
            "region_rgb": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in regions.rgb[right].tolist()],
            "parent_id": pd.Series(regions.parent[right]).astype("Int64"),
            "beryl_id": regions.id[regions.mappings["Beryl"]][right].astype(np.int64),
            "cosmos_id": regions.id[regions.mappings["Cosmos"]][right].astype(np.int64),
        }
    )


@lru_cache(maxsize=1)
def _ancestors() -> pd.DataFrame:
    tree = _ontology()
    parent = tree.set_index("region_id")["parent_id"]
    pairs = pd.DataFrame({"region_id": tree["region_id"], "ancestor_id": tree["region_id"]})
    floors = []
    # Each turn climbs one step for all regions at once; the tree is ten steps high.
    while len(pairs):
        floors.append(pairs)
        above = parent.loc[pairs["ancestor_id"]].to_numpy()
        pairs = pairs.assign(ancestor_id=above).dropna().astype(np.int64)
    return pd.concat(floors).sort_values(["region_id", "ancestor_id"], ignore_index=True)
