"""Receptive fields of units, and their responses to what is replayed after the task."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import ephys, passive, rows
from schemas.views import ephys as unit_views
from schemas.views.located import KEY as UNIT
from schemas.views.session import require

FIELDS = ("on", "off", "on_z", "off_z")


def fetch_receptive_fields(
    units: dj.expression.QueryExpression | str, field_definition: str = "early"
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Fetch the receptive fields of units from the sparse noise of the passive protocol.

    Parameters
    ----------
    units : expression or str
        Any expression with the key of a unit, e.g. `views.units(...)`; or the pid of an insertion
        or the eid of a session, for all units of its default sort.
    field_definition : str
        A row of `passive.FieldDefinition`.

    Returns
    -------
    peaks : DataFrame
        One row per unit, ordered by key: `eid`, `probe_name`, `sorting_name`, `cluster_id`, and the
        square with the largest z: `polarity` (on or off), `row`, `column` (from 0), `count` (mean
        spikes after its onsets), `z` (standard deviations), `p` (of so large a z in any square by
        chance), `has_field` (whether p is no more than the level of the definition).
    fields : dict
        (U, 15, 15) float arrays in the order of `peaks`, row and column of a square: `on` and `off`
        (mean spikes after onsets of white and of black squares), `on_z` and `off_z`. NaN where a
        square has no onset.

    Raises
    ------
    QueryError
        No such definition or recording.
    """
    require(passive.FieldDefinition, "field_definition", field_definition)
    if isinstance(units, str):
        units = unit_views.units(recording=units)
    chosen = (ephys.SpikeSorting.Cluster & units.proj()).proj()
    of_definition = {"field_definition": field_definition}
    peaks = rows.frame(passive.UnitReceptiveField.Unit & of_definition & chosen)
    stored = (passive.UnitReceptiveField & of_definition & chosen).to_dicts()
    of_sort = peaks.groupby(UNIT[:-1], sort=False).indices
    side = passive.SIDE
    fields = {name: np.empty((len(peaks), side, side)) for name in FIELDS}
    for row in stored:
        at = of_sort.get(tuple(row[name] for name in UNIT[:-1]), [])
        slices = peaks.field_offset.iloc[at], peaks.n_unit_squares.iloc[at]
        for name, field in fields.items():
            found = row["receptive_fields"].read_slices(name, *slices)
            field[at] = np.reshape(found, (-1, side, side))
    return peaks.rename(columns=PEAK_COLUMNS)[[*UNIT, *PEAK_COLUMNS.values()]], fields


PEAK_COLUMNS = {
    "peak_polarity": "polarity",
    "peak_row": "row",
    "peak_column": "column",
    "peak_count": "count",
    "peak_field_z": "z",
    "field_p": "p",
    "has_field": "has_field",
}
