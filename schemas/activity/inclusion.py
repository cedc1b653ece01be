"""Which regions have enough units to be analysed."""

from __future__ import annotations

import datajoint as dj

from schemas import atlas, behavior, definitions, rows  # noqa: F401  (atlas, behavior: foreign keys)
from schemas.activity.base import schema


@schema
class InclusionRule(definitions.Checked, dj.Lookup):
    """Thresholds of `views.fetch_inclusion_chain`: which regions have enough units."""

    definition = """
    # one row per rule of which regions are analysed
    inclusion_rule        : varchar(32)   # name of the rule
    ---
    -> atlas.Mapping
    -> behavior.TrialMaskDefinition
    min_error_trials      : int32         # error trials of a session among the trials in use
    min_session_units     : int32         # units of a region in a session for it to count
    min_region_sessions   : int32         # such sessions of a region
    min_region_units      : int32         # units of a region in such sessions
    inclusion_description : varchar(128)  # where the rule is used
    """
    contents = rows.lookup(
        "inclusion_rule, mapping, trial_mask, min_error_trials, min_session_units, "
        "min_region_sessions, min_region_units, inclusion_description",
        ("bwm", "Beryl", "bwm", 3, 5, 2, 20, "region analyses of the Brain-Wide Map"),
        ("any_unit", "Beryl", "all", 0, 1, 1, 1, "every region in which a unit is"),
    )
