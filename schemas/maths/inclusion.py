"""Which units enter an analysis of regions, step by step, and rates by unit and by session."""

from __future__ import annotations

import numpy as np

from schemas.maths.groups import summarise_groups

STEPS = {
    "all": "Session and insertion QC",
    "error_trials": "Minimum {min_error_trials} error trials",
    "good": "Single unit QC",
    "in_region": "Gray matter regions",
    "session_units": "Minimum {min_session_units} units per region",
    "region_sessions": "Minimum {min_region_sessions} sessions per region",
    "region_units": "Minimum {min_region_units} units per region",
}
"""Steps of the chain of the Brain-Wide Map, each on the units that the step before has left, with
the names in which they were published."""


def compute_chain(
    region_id: np.ndarray,
    is_outside: np.ndarray,
    is_good: np.ndarray,
    session: np.ndarray,
    n_error_trials: np.ndarray,
    min_error_trials: int,
    min_session_units: int,
    min_region_sessions: int,
    min_region_units: int,
    n_units: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Apply the inclusion chain of the Brain-Wide Map.

    Units are counted per region and session: those of both probes of a session together. An
    element of the arrays is a unit, or a group of units that are alike in all of them.

    Parameters
    ----------
    region_id : (U,) int array
        Region of each unit in the mapping of the analysis.
    is_outside : (U,) bool array
        Whether the unit is in no region: in void or root, or not located.
    is_good : (U,) bool array
        Whether the unit is good.
    session : (U,) array
        Session of each unit.
    n_error_trials : (U,) int array
        Error trials of the session of each unit.
    min_error_trials : int
        Step `error_trials` keeps the sessions with at least so many error trials.
    min_session_units : int
        Step `session_units` keeps the pairs of region and session with at least so many units.
    min_region_sessions : int
        Step `region_sessions` keeps the regions with at least so many such sessions.
    min_region_units : int
        Step `region_units` keeps the regions with at least so many units in these.
    n_units : (U,) int array, optional
        Number of units in each group; default one.

    Returns
    -------
    dict
        (U,) bool array of each of `STEPS`, in their order: units that are left after it.
    """
    region, session = (np.unique(name, return_inverse=True)[1] for name in (region_id, session))
    pair = region * (session.max(initial=0) + 1) + session
    left = [np.ones(len(region), dtype=bool)]
    left.append(left[-1] & (n_error_trials >= min_error_trials))
    left.append(left[-1] & is_good)
    left.append(left[-1] & ~is_outside)
    n_units = np.ones(len(region), dtype=int) if n_units is None else n_units
    left.append(left[-1] & (_count(pair, left[-1], n_units) >= min_session_units))
    first_of_pair = np.zeros(len(pair), dtype=bool)
    chosen = np.flatnonzero(left[-1])
    first_of_pair[chosen[np.unique(pair[chosen], return_index=True)[1]]] = True
    left.append(left[-1] & (_count(region, first_of_pair, 1) >= min_region_sessions))
    left.append(left[-1] & (_count(region, left[-1], n_units) >= min_region_units))
    return dict(zip(STEPS, left, strict=True))


def _count(label: np.ndarray, chosen: np.ndarray, weight: np.ndarray | int) -> np.ndarray:
    """Add up for each element the weights of the chosen ones that have its label (U,)."""
    return np.bincount(label, chosen * weight, minlength=label.max(initial=0) + 1)[label]


def summarise_by_session(
    rate: np.ndarray, region_id: np.ndarray, session: np.ndarray
) -> dict[str, np.ndarray]:
    """Summarise rates by region, each unit counting once, and each session counting once.

    Parameters
    ----------
    rate : (U,) float array
        Hz; units without a rate (NaN) are left out.
    region_id, session : (U,) arrays
        Region and session of each unit.

    Returns
    -------
    dict
        (R,) arrays, regions ascending: `region_id`; `n_units`, `unit_mean`, `unit_median`,
        `unit_sem` over units; `n_sessions`, `session_mean`, `session_sem` over the means of the
        sessions, units of both probes together. Hz; standard errors (sample, n - 1) are NaN below
        two.
    """
    known = ~np.isnan(rate)
    rate, region_id = rate[known], region_id[known]
    regions, region = np.unique(region_id, return_inverse=True)
    session = np.unique(session[known], return_inverse=True)[1]
    n_sessions = session.max(initial=0) + 1
    pairs, pair = np.unique(region * n_sessions + session, return_inverse=True)
    by_unit = summarise_groups(rate, region, len(regions))
    means = summarise_groups(rate, pair, len(pairs))["mean"]
    by_session = summarise_groups(means, pairs // n_sessions, len(regions))
    return {
        "region_id": regions,
        **{f"unit_{name}": by_unit[name] for name in ("mean", "median", "sem")},
        **{f"session_{name}": by_session[name] for name in ("mean", "sem")},
        "n_units": by_unit["n"],
        "n_sessions": by_session["n"],
    }
