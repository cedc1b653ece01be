"""Histograms of many units as one matrix, and as halves of even and odd trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import datajoint as dj
import numpy as np
import pandas as pd

from schemas import activity, rows
from schemas.errors import QueryError
from schemas.maths.psth import compute_bin_edges
from schemas.views import ephys as unit_views
from schemas.views.errata import one_warning, warn_of
from schemas.views.located import KEY

CONDITION = ["side", "contrast", "choice", "outcome", "prior", "parity"]
"""What tells the conditions of a histogram apart, in the order of the columns."""


@dataclass(frozen=True)
class PsthMatrix:
    """Rates of units around events, all conditions and bins of a unit in one row.

    Attributes
    ----------
    rates : (U, K) float array
        Mean rate (Hz); NaN where the session of the unit has no such condition, or too few events.
    units : DataFrame
        The U units, ordered by key: `eid`, `probe_name`, `sorting_name`, `cluster_id`.
    columns : DataFrame
        The K columns, conditions in order and the bins of each: `psth_definition`, `condition` (its
        name), `side`, `contrast` (fraction), `choice`, `outcome`, `prior`, `parity` (missing where
        a definition does not split by it), `time` (s, from the event to the centre of the bin).
    """

    rates: np.ndarray
    units: pd.DataFrame
    columns: pd.DataFrame

    def complete(self, min_units: float = 0.5) -> PsthMatrix:
        """Return a matrix without NaN, e.g. for Rastermap.

        Parameters
        ----------
        min_units : float
            Conditions that a smaller fraction of the units has are left out, e.g. a rare no-go;
            then the units that lack one of the others.
        """
        known = ~np.isnan(self.rates)
        frequent = known.mean(axis=0) >= min_units
        kept = known[:, frequent].all(axis=1)
        return replace(
            self,
            rates=self.rates[kept][:, frequent],
            units=self.units[kept].reset_index(drop=True),
            columns=self.columns[frequent].reset_index(drop=True),
        )

    def halves(self) -> tuple[PsthMatrix, PsthMatrix]:
        """Return the rates of even and of odd trials, with the same columns but for the parity.

        Conditions that occur in one of the halves only are left out.

        Raises
        ------
        QueryError
            The definitions do not split by even and odd trials.
        """
        known = [name for name in self.columns if name not in ("condition", "parity")]
        found = self.columns.rename_axis("column").reset_index()
        even, odd = (found[found.parity == half] for half in ("even", "odd"))
        if even.empty or odd.empty:
            what = "the histograms are not split into even and odd trials."
            raise QueryError(what, None, "Use for instance stimulus_side_parity.")
        both = even.merge(odd, on=known, suffixes=("_even", "_odd"))
        return tuple(  # type: ignore[return-value]
            replace(
                self,
                rates=self.rates[:, both[f"column_{half}"]],
                columns=self.columns.loc[both[f"column_{half}"]].reset_index(drop=True),
            )
            for half in ("even", "odd")
        )


@one_warning
def fetch_psth_matrix(
    units: dj.expression.QueryExpression | str,
    psth_definition: str | Sequence[str],
    min_events: int = 1,
) -> PsthMatrix:
    """Fetch the histograms of units as a matrix of units and (condition, bin).

    Parameters
    ----------
    units : expression or str
        As in `fetch_psth`, of any number of sessions.
    psth_definition : str or sequence of str
        Rows of `activity.PsthDefinition`; the columns of several stand side by side. Those named
        `..._parity`, e.g. `stimulus_side_parity`, have halves of even and odd trials.
    min_events : int
        Conditions with fewer averaged events in a session are NaN for its units.

    Returns
    -------
    PsthMatrix
        Of the units that at least one definition has. The columns are the conditions that occur
        in one of their sessions.

    Raises
    ------
    QueryError
        No such definition or recording, or no histogram of these units is stored.

    Examples
    --------
    >>> halves = ["stimulus_side_parity", "feedback_outcome_parity"]
    >>> found = views.fetch_psth_matrix(views.units("TH"), halves)  # doctest: +SKIP
    >>> even, odd = found.complete().halves()  # doctest: +SKIP
    """
    names = [psth_definition] if isinstance(psth_definition, str) else list(psth_definition)
    time = _fetch_times(names)
    of_names = [{"psth_definition": name} for name in names]
    chosen = unit_views.units_or_recording(units).proj()
    slices = rows.frame(activity.Psth.Unit & of_names & chosen)
    if slices.empty:
        what = f"no histogram {' or '.join(names)} of these units is stored."
        raise QueryError(what, None, "Run `bwm populate --only Psth`, or choose other units.")
    warn_of("spikes", slices)
    warn_of("trials", slices[["eid"]])
    conditions = rows.frame(activity.Psth.Condition & of_names & chosen)
    conditions["is_used"] = conditions.n_psth_events >= min_events
    columns, conditions = _lay_columns(conditions, names, time)
    keys = slices[KEY].drop_duplicates().sort_values(KEY, ignore_index=True)
    of_key = pd.MultiIndex.from_frame(keys)
    slices["row"] = of_key.get_indexer(pd.MultiIndex.from_frame(slices[KEY]))
    rates = np.full((len(keys), len(columns)), np.nan)
    objects = (activity.Psth & of_names & chosen).to_dicts()
    _fill(rates, objects, slices, conditions)
    return PsthMatrix(rates, keys, columns)


def _fetch_times(names: list[str]) -> dict[str, np.ndarray]:
    """Fetch the centres of the bins (s) of definitions, which must exist."""
    known = {row["psth_definition"]: row for row in activity.PsthDefinition.to_dicts()}
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        what = f"no psth_definition {unknown[0]!r}." if unknown else "no definition is given."
        raise QueryError(what, None, f"There are: {', '.join(sorted(known))}.")
    limits = {name: [known[name][n] for n in LIMITS] for name in names}
    edges = {name: compute_bin_edges(*limits[name]) for name in names}
    return {name: (edge[:-1] + edge[1:]) / 2 for name, edge in edges.items()}


LIMITS = ("psth_start", "psth_end", "bin_width")


def _lay_columns(
    conditions: pd.DataFrame, names: list[str], time: dict[str, np.ndarray]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Put the conditions that occur in order, with the bins of each.

    Returns also the conditions of each object with `first_column` and `n_bins`.
    """
    told = {f"psth_{name}": name for name in CONDITION} | {"psth_condition": "condition"}
    conditions = conditions.rename(columns=told)
    order = {name: k for k, name in enumerate(names)}
    kinds = conditions[["psth_definition", "condition", *CONDITION]].drop_duplicates()
    kinds = kinds.assign(position=kinds.psth_definition.map(order))
    kinds = kinds.sort_values(["position", *CONDITION], ignore_index=True)
    kinds["n_bins"] = kinds.psth_definition.map({name: len(of) for name, of in time.items()})
    kinds["first_column"] = kinds.n_bins.cumsum() - kinds.n_bins
    columns = kinds.loc[kinds.index.repeat(kinds.n_bins)].reset_index(drop=True)
    columns["time"] = np.concatenate([np.empty(0), *(time[n] for n in kinds.psth_definition)])
    placed = kinds[["psth_definition", "condition", "first_column", "n_bins"]]
    placed = conditions.merge(placed, on=["psth_definition", "condition"])
    return columns[["psth_definition", "condition", *CONDITION, "time"]], placed


def _fill(
    rates: np.ndarray, objects: list[dict[str, Any]], slices: pd.DataFrame, conditions: pd.DataFrame
) -> None:
    """Read the units of each object into their rows."""
    key = [*KEY[:-1], "psth_definition"]
    of_object = conditions.sort_values("condition_number").groupby(key, sort=False)
    parts = slices.groupby(key, sort=False).indices
    for stored in objects:
        one = tuple(stored[name] for name in key)
        if one in parts and one in of_object.indices:
            _fill_object(rates, stored["psth"], slices.iloc[parts[one]], of_object.get_group(one))


def _fill_object(
    rates: np.ndarray, stored: Any, units: pd.DataFrame, conditions: pd.DataFrame
) -> None:
    n_bins, used = int(conditions.n_bins.iloc[0]), conditions.is_used.to_numpy(bool)
    offsets, counts = (units[name].to_numpy(int) for name in ("psth_offset", "n_psth_rows"))
    means = np.concatenate(stored.read_slices("mean", offsets, counts))
    means = means.reshape(len(units), len(conditions), n_bins)[:, used]
    first = conditions.first_column.to_numpy(int)[used]
    column = (first[:, None] + np.arange(n_bins)).ravel()
    rates[units.row.to_numpy()[:, None], column] = means.reshape(len(units), -1)
