"""Trials of sessions, and the results that tables compute from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from populate.release_size.definitions import Definitions
from populate.release_size.gathered import Gathered
from schemas import behavior
from schemas.maths import behavior as maths
from schemas.maths import psychometric
from schemas.sources.alf import TRIAL_COLUMNS
from schemas.sources.simulator import behavior as simulated
from schemas.sources.simulator.population import DURATION

LEAST_TRIALS, MOST_TRIALS = 400, 900


@dataclass(frozen=True)
class Task:
    """Trials of a session, (n,) arrays by column, and which are in use by trial mask."""

    trials: dict[str, np.ndarray]
    used: dict[str, np.ndarray]

    @property
    def n_trials(self) -> int:
        """Number of trials."""
        return len(self.trials["trial"])

    def known(self, *events: str) -> np.ndarray:
        """Return which trials have all of these events."""
        return ~np.any([np.isnan(self.trials[event]) for event in events], axis=0)


def add(
    eids: Sequence[str], definitions: Definitions, gathered: Gathered, rng: np.random.Generator
) -> dict[str, Task]:
    """Add trials and all that tables compute from them; return the tasks by eid."""
    done = {}
    for eid in eids:
        table = _draw_trials(rng)
        gathered.add(behavior.Trials, {"eid": eid}, {"n_trials": len(table)}, {"Trial": table})
        done[eid] = _compute(eid, table, definitions, gathered)
        _add_training(eid, done[eid].trials, definitions, gathered, rng)
    return done


def _draw_trials(rng: np.random.Generator) -> pd.DataFrame:
    n_trials = int(rng.integers(LEAST_TRIALS, MOST_TRIALS))
    trials, _ = simulated.simulate_trials(rng, n_trials, 0.93 * DURATION)
    blank, _ = simulated.blank_events(rng, trials, odd=False)
    return blank.rename(columns=TRIAL_COLUMNS).rename_axis("trial").reset_index()


def _compute(eid: str, table: pd.DataFrame, definitions: Definitions, gathered: Gathered) -> Task:
    trials = {name: table[name].to_numpy(float) for name in ("trial", *behavior.COLUMNS)}
    limits: dict[str | None, dict[str, Any]] = {}
    for rule in definitions.reaction_times:
        name = rule["rt_definition"]
        limits[name] = rule
        key = {"eid": eid, "rt_definition": name}
        gathered.add(behavior.ReactionTime, key, *behavior.ReactionTime.as_rows(trials, rule))
    used = {}
    for rule in definitions.masks:
        key = {"eid": eid, "trial_mask": rule["trial_mask"]}
        limit = limits.get(rule["rt_definition"])
        row, parts = behavior.TrialMask.as_rows(trials, rule, limit)
        gathered.add(behavior.TrialMask, key, row, parts)
        used[rule["trial_mask"]] = parts["Trial"]["is_used"].to_numpy()
    gathered.add(behavior.Performance, {"eid": eid}, maths.compute_performance(trials))
    return Task(trials, used)


def _add_training(
    eid: str,
    trials: dict[str, np.ndarray],
    definitions: Definitions,
    gathered: Gathered,
    rng: np.random.Generator,
) -> None:
    fits = {}
    for rule in definitions.curves:
        name = rule["psychometric_definition"]
        key = {"eid": eid, "psychometric_definition": name}
        fits[name] = _draw_fits(trials, rng)
        shift = psychometric.compute_bias_shift(fits[name])
        blocks = [{"psychometric_block": block, **fit} for block, fit in fits[name].items()]
        parts = {"Block": pd.DataFrame(blocks)}
        gathered.add(behavior.Psychometric, key, {"bias_shift": shift}, parts)
    for rule in definitions.training:
        key = {"eid": eid, "training_criterion": rule["training_criterion"]}
        fitted = fits[rule["psychometric_definition"]]
        row = behavior.TrainingStatus.as_row(trials, rule, fitted)
        gathered.add(behavior.TrainingStatus, key, row)


def _draw_fits(
    trials: dict[str, np.ndarray], rng: np.random.Generator
) -> dict[str, dict[str, float]]:
    """Draw the curve of each block near the planted one; a fit would take 1 s for each session."""
    signed = maths.compute_signed_contrast(trials["contrast_left"], trials["contrast_right"])
    fits = {}
    for block, prior in psychometric.BLOCKS.items():
        found = psychometric.count_answers(
            signed, trials["choice"], trials["probability_left"], prior
        )
        if not len(found.n):
            continue
        n, planted = int(found.n.sum()), simulated.PSYCHOMETRIC[prior or 0.5]
        fit: dict[str, float] = {"n_fit_trials": n, "log_likelihood": -0.45 * n}
        for name, value, spread in (
            ("bias", planted["bias"], 2.0),
            ("threshold", planted["slope"], 2.0),
            ("lapse_low", planted["lapse_low"], 0.01),
            ("lapse_high", planted["lapse_high"], 0.01),
        ):
            drawn = float(rng.normal(value, spread))
            fit[f"psych_{name}"] = drawn if name == "bias" else max(drawn, 0.0)
            fit[f"psych_{name}_ci_low"] = fit[f"psych_{name}"] - 2 * spread
            fit[f"psych_{name}_ci_high"] = fit[f"psych_{name}"] + 2 * spread
        fits[block] = fit
    return fits
