"""Rows of the lookup tables that define the computed results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from schemas import activity, atlas, behavior, ephys, rows

Row = dict[str, Any]


@dataclass(frozen=True)
class Definitions:
    """All definitions, and the regions of the atlas by their id."""

    reaction_times: list[Row]
    masks: list[Row]
    curves: list[Row]
    training: list[Row]
    criteria: list[Row]
    bounds: list[Row]
    metrics: list[Row]
    windows: list[Row]
    responses: list[Row]
    regions: pd.DataFrame

    @classmethod
    def fetch(cls) -> Definitions:
        """Fetch them from the database."""
        regions = rows.frame(atlas.BrainRegion.proj("beryl_id", "cosmos_id"))
        return cls(
            behavior.ReactionTimeDefinition.to_dicts(),
            behavior.TrialMaskDefinition.to_dicts(),
            behavior.PsychometricDefinition.to_dicts(),
            behavior.TrainingCriterion.to_dicts(),
            ephys.UnitCriterion.to_dicts(),
            ephys.UnitCriterion.Bound.to_dicts(),
            ephys.MetricsDefinition.to_dicts(),
            activity.Window.to_dicts(),
            (activity.ResponseDefinition * activity.Window.proj("trial_event")).to_dicts(),
            regions.set_index("region_id"),
        )

    def bounds_of(self, criterion: str) -> dict[str, tuple[float | None, float | None]]:
        """Return the bounds of a criterion, by metric."""
        own = (row for row in self.bounds if row["criterion"] == criterion)
        return {row["metric"]: (row["least"], row["greatest"]) for row in own}
