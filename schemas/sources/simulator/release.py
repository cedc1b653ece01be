"""Simulate a release: each session with its own random numbers, then the tables of all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from schemas.errors import SettingsError
from schemas.sources.simulator import behavior, ephys, writing
from schemas.sources.simulator.faults import damage
from schemas.sources.simulator.metadata import Metadata, gather_metadata, level
from schemas.sources.simulator.plan import SIZES, Session, Size, enlarge, plan_release
from schemas.sources.simulator.session import (
    CAMERA_COLUMNS,
    TUNED_COLUMNS,
    SimulatedSession,
    make_session,
)
from schemas.sources.simulator.truth import Fault, Truth

RELEASE_NAME = "simulated_bwm_release.csv"
# Least values with which all edge cases can be planted.
LEAST = {"n_subjects": 1, "n_labs": 1, "n_sessions": 1}
LEAST |= {"n_units": 16, "n_trials": 30, "duration": 300}
FAULT_UNITS, FAULT_TRIALS, FAULT_DURATION = 12, 30, 200.0


def simulate(
    folder: str | Path,
    size: str | Size = "tiny",
    *,
    seed: int = 0,
    edge_cases: bool = True,
    faults: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **changes: Any,
) -> Truth:
    """Write a simulated release as a ONE cache, and return what was planted in it.

    The same arguments write the same bytes. A session depends only on the seed and its index. Use
    one folder for each seed, because existing files are kept.

    Parameters
    ----------
    folder : str or Path
        Folder of the cache, created if missing.
    size : str or Size
        `'tiny'` (tests), `'small'` (demonstration), `'full'` (one insertion of real size).
    seed : int
        Seed of all random numbers, 0 or more.
    edge_cases : bool
        Whether unusual data occur that must be imported.
    faults : bool
        Whether to add sessions with one fault each, on which imports must fail.
    progress : callable, optional
        Called with the number of written sessions and of all sessions.
    **changes
        Fields of `Size` to change, e.g. ``n_units=20``.

    Returns
    -------
    Truth

    Raises
    ------
    SettingsError
        The size is unknown or too small, or the folder holds another ONE cache.
    """
    chosen = _size(size, changes)
    if seed < 0:
        raise SettingsError(f"the seed is {seed}", remedy="Use 0 or a positive number.")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writing.check_folder(folder)
    plans = plan_release(chosen, seed, edge_cases, faults)
    parts = []
    for done, plan in enumerate(plans, 1):
        parts.append(_write(folder, plan, chosen, seed))
        if progress is not None:
            progress(done, len(plans))
    made, found, listed = zip(*parts, strict=True)
    said = gather_metadata(made, edge_cases)
    said.write(folder)
    texts = [said.insertion_text(pid) for pid in said.insertions]
    datasets = writing.write_tables(folder, plans, listed, texts)
    writing.write_release(folder / RELEASE_NAME, plans)
    return _truth(folder, made, said, tuple(filter(None, found)), datasets)


UNFINISHED = ".unfinished"
"""End of the name of the folder that a release is written to before it is whole."""


def simulate_whole(folder: Path, size: str | Size, **options: Any) -> Truth:
    """Write a simulated release into a new folder, which appears when the release is whole.

    If this is ended, the rest is in a folder beside it, and the next call replaces that folder.

    Parameters
    ----------
    folder : Path
        New or empty folder of the cache.
    size, **options
        As of `simulate`.

    Returns
    -------
    Truth

    Raises
    ------
    SettingsError
        As `simulate`, or the folder beside it is not one that this function wrote.
    """
    folder = folder.absolute()
    beside = folder.with_name(folder.name + UNFINISHED)
    marker = beside / UNFINISHED
    if marker.exists():
        shutil.rmtree(beside)
    elif beside.exists() and any(beside.iterdir()):
        raise SettingsError("it is in the way of the simulation.", beside, "Move it elsewhere.")
    _size(size, {})  # an unknown size makes no folder
    beside.mkdir(parents=True, exist_ok=True)
    marker.touch()
    truth = simulate(beside, size, **options)
    marker.unlink()
    if folder.exists():
        folder.rmdir()  # empty; Windows does not rename to a folder that is there
    beside.rename(folder)
    return replace(truth, folder=folder, release=folder / RELEASE_NAME)


def _size(size: str | Size, changes: dict[str, Any]) -> Size:
    if isinstance(size, str):
        if size not in SIZES:
            raise SettingsError(f"there is no size {size!r}.", remedy=f"One of {list(SIZES)}.")
        size = SIZES[size]
    unknown = set(changes) - set(size.__dataclass_fields__)
    if unknown:
        raise SettingsError(f"a size has no {sorted(unknown)}")
    size = replace(size, **changes)
    for name, least in LEAST.items():
        if getattr(size, name) < least:
            raise SettingsError(f"{name} is {getattr(size, name)}", remedy=f"Use {least} or more.")
    return size


def _write(
    folder: Path, plan: Session, size: Size, seed: int
) -> tuple[SimulatedSession, Fault | None, pd.DataFrame]:
    """Simulate and write a session, and release its arrays."""
    if plan.fault:
        size = replace(size, n_units=FAULT_UNITS, n_trials=FAULT_TRIALS, duration=FAULT_DURATION)
    if plan.role.tuned:
        size = enlarge(size)
    made = make_session(plan, size, seed)
    fault = damage(plan, made.files, made.cut) if plan.fault else None
    datasets = writing.write_session(folder, plan, made.files, made.cut, made.pointers)
    made.files.clear()
    return made, fault, datasets


def _truth(
    folder: Path,
    made: Sequence[SimulatedSession],
    said: Metadata,
    found: tuple[Fault, ...],
    datasets: pd.DataFrame,
) -> Truth:
    """Gather the truth of all sessions."""
    units = pd.concat([u for m in made for u in m.units], ignore_index=True)
    return Truth(
        folder=folder,
        release=folder / RELEASE_NAME,
        subjects=said.frame("subjects"),
        sessions=pd.DataFrame([_session_truth(m) for m in made]),
        insertions=_insertion_truth([m.plan for m in made], said),
        sortings=pd.DataFrame([s for m in made for s in m.sortings]),
        units=units,
        tuned=pd.concat([t for m in made for t in m.tuned], ignore_index=True)
        if any(m.tuned for m in made)
        else pd.DataFrame(columns=list(TUNED_COLUMNS)),
        regions=_region_truth(units),
        trials={m.plan.eid: m.trials for m in made},
        cameras=pd.DataFrame([c for m in made for c in m.cameras], columns=list(CAMERA_COLUMNS)),
        saturations=pd.concat([s for m in made for s in m.saturations], ignore_index=True),
        passive=pd.DataFrame([{"eid": m.plan.eid, **m.passive} for m in made if m.passive]),
        trajectories=said.frame("trajectories"),
        checks=said.checks(),
        reaction_time=behavior.reaction_time_truth(),
        psychometric=behavior.PSYCHOMETRIC,
        edge_cases=tuple(o for m in made for o in m.edge_cases),
        faults=found,
        datasets=datasets,
    )


def _insertion_truth(plans: list[Session], said: Metadata) -> pd.DataFrame:
    """Rows of `Truth.insertions`."""
    frame = writing.insertions_frame(plans)
    roles = [p.role for p in plans for _ in p.probes]
    in_metadata = [
        name in role.sites_in_metadata
        for name, role in zip(frame["probe_name"], roles, strict=True)
    ]
    located = pd.Series([role.located for role in roles], dtype=bool)
    contents = [said.insertions[pid] for pid in frame["pid"]]
    trajectories = said.frame("trajectories").groupby(["eid", "probe_name"]).size()
    keys = list(zip(frame["eid"], frame["probe_name"], strict=True))
    return frame.assign(
        located=located,
        sites_in_files=located & ~pd.Series(in_metadata, dtype=bool),
        level=pd.Series([level(c) for c in contents], dtype=object),
        qc=pd.Series([c and c["qc"] for c in contents], dtype=object),
        n_picks=[len(c["xyz_picks"]) if c else 0 for c in contents],
        n_trajectories=[int(trajectories[key]) for key in keys],
        satisfies_bwm_rule=[said.satisfied[pid] for pid in frame["pid"]],
    )


def _session_truth(made: SimulatedSession) -> dict[str, object]:
    """Row of `Truth.sessions`."""
    plan = made.plan
    return {
        "eid": plan.eid,
        "subject": plan.subject,
        "lab": plan.lab,
        "date": plan.date,
        "number": plan.number,
        "n_trials": len(made.trials),
        "n_probes": len(plan.probes),
        "n_wheel": made.n_wheel,
        "n_licks": made.n_licks,
        "qc": plan.role.qc,
        "project": plan.role.project,
        "training": plan.role.training,
        "fault": plan.fault,
    }


def _region_truth(units: pd.DataFrame) -> pd.DataFrame:
    """Planted rates by region."""
    groups = units.dropna(subset="region_id").groupby("region_id")
    frame = groups.agg(acronym=("acronym", "first"), n_units=("rate", "size"))
    frame["unit_rate"] = groups["rate"].mean()
    frame.insert(1, "mean_rate", [ephys.region_rate(a) for a in frame["acronym"]])
    return frame
