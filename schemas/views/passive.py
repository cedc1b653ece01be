"""Receptive fields of units, and their responses to what is replayed after the task."""

from __future__ import annotations

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, passive, rows
from schemas.views import ephys as unit_views
from schemas.views.located import KEY as UNIT
from schemas.views.located import LOCATION, fetch_located
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
        One row per unit, ordered by key: the key, `region_id` and the columns of
        `views.fetch_location`; of the square with the largest z, `polarity` (on or off), `row`,
        `column` (from 0), `count` (mean spikes after its onsets), `z` (standard deviations), `p`
        (of so large a z in any square by chance) and `has_field` (whether p is no more than the
        level of the definition).
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
    chosen = unit_views.units_or_recording(units).proj()
    of_definition = {"field_definition": field_definition}
    peaks = fetch_located(passive.UnitReceptiveField.Unit & of_definition, chosen)
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
    names = [*UNIT, "region_id", *LOCATION, *PEAK_COLUMNS.values()]
    return peaks.rename(columns=PEAK_COLUMNS)[names], fields


def fetch_passive_responses(
    units: dj.expression.QueryExpression | str, passive_definition: str | None = None
) -> pd.DataFrame:
    """Fetch the responses of units to replayed stimuli, beside their responses in the task.

    Parameters
    ----------
    units
        As in `fetch_receptive_fields`.
    passive_definition : str, optional
        A row of `activity.PassiveResponseDefinition`; default all.

    Returns
    -------
    pandas.DataFrame
        One row per unit and replayed stimulus: the key, `region_id` and the columns of
        `views.fetch_location`; `passive_definition`; `stimulus` (valve, tone, noise, or side and
        contrast of a Gabor patch), `side`, `contrast` (fraction), `n_stimuli`; `rate_before` and
        `rate_in` (Hz), `p` (of their difference); `task_response` (the row of
        `activity.ResponseDefinition` that the definition names), `task_rate_before`,
        `task_rate_in` (Hz) and `task_p`, all missing where that response of the unit is not
        computed.

    Raises
    ------
    QueryError
        No such definition or recording.
    """
    of_definition = {}
    if passive_definition is not None:
        require(activity.PassiveResponseDefinition, "passive_definition", passive_definition)
        of_definition["passive_definition"] = passive_definition
    chosen = unit_views.units_or_recording(units).proj()
    stimuli = rows.frame(activity.PassiveResponse.Stimulus & of_definition & chosen)
    responses = fetch_located(activity.PassiveResponse.Unit & of_definition, chosen)
    beside = rows.frame(activity.PassiveResponseDefinition.proj("response_definition"))
    table = responses.merge(stimuli, "left", activity.PassiveResponse.Stimulus.primary_key)
    table = table.merge(beside, "left", "passive_definition").rename(columns=RESPONSE_COLUMNS)
    task = rows.frame(activity.UnitResponse.Unit & chosen).rename(columns=TASK_COLUMNS)
    table = table.merge(task.assign(is_there=True), "left", [*UNIT, "task_response"])
    table["task_response"] = table.task_response.where(table.is_there.notna())
    table = table.sort_values([*UNIT, "passive_definition", "side", "contrast"], ignore_index=True)
    names = ["passive_definition", *RESPONSE_COLUMNS.values(), *TASK_COLUMNS.values()]
    return table[list(dict.fromkeys([*UNIT, "region_id", *LOCATION, *names]))]


RESPONSE_COLUMNS = {
    "replayed_stimulus": "stimulus",
    "replayed_side": "side",
    "replayed_contrast": "contrast",
    "n_replayed": "n_stimuli",
    "passive_rate_before": "rate_before",
    "passive_rate_in": "rate_in",
    "passive_p": "p",
    "response_definition": "task_response",
}
TASK_COLUMNS = {
    "response_definition": "task_response",
    "rate_before": "task_rate_before",
    "rate_in": "task_rate_in",
    "wilcoxon_p": "task_p",
}


PEAK_COLUMNS = {
    "peak_polarity": "polarity",
    "peak_row": "row",
    "peak_column": "column",
    "peak_count": "count",
    "peak_field_z": "z",
    "field_p": "p",
    "has_field": "has_field",
}
