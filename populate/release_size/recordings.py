"""Sessions and insertions of a release as a source lists them, with drawn units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd

from populate.release_size.spikes import Spikes, draw_spikes, few_times
from populate.release_size.tasks import Task
from schemas import ephys, rows
from schemas.maths.quality import BWM_TASK_CHECKS
from schemas.sources import alf
from schemas.sources.alf.names import CLUSTER_FILES
from schemas.sources.records import (
    PROVENANCES,
    CheckRecord,
    DatasetRecord,
    InsertionRecord,
    SessionRecord,
    SubjectRecord,
    TrajectoryRecord,
)
from schemas.sources.simulator import population
from schemas.sources.simulator.plan import PROJECT

SORTER = "pykilosort"
SITE = ("axial", "lateral", "x", "y", "z")
TEMPLATES = 24
"""Numbers of spikes that insertions share: their objects are written once in memory."""


@dataclass(frozen=True)
class Insertion:
    """An insertion: sites, units and their places, their released and all metrics, and spikes."""

    key: dict[str, Any]
    sites: pd.DataFrame
    units: pd.DataFrame
    released: pd.DataFrame
    known: pd.DataFrame
    spikes: Spikes


class Recordings:
    """The insertions of a release, each drawn from a seed of its own.

    Parameters
    ----------
    table : DataFrame
        Rows of a release list, in order of eid.
    freeze : Freeze
    proportions : Proportions
    n_units : int
        Units of all insertions together.
    n_spikes : int
        Insertions whose spikes are drawn one by one.
    seed : int
    """

    def __init__(
        self,
        table: pd.DataFrame,
        freeze: population.Freeze,
        proportions: population.Proportions,
        n_units: int,
        n_spikes: int,
        seed: int,
    ) -> None:
        self.table = table.reset_index(drop=True)
        self._freeze, self._proportions = freeze, proportions
        self._n_spikes, self._seed = n_spikes, seed
        self._n_units = _spread(n_units, len(table), np.random.default_rng([seed, 3]))
        self._templates: dict[int, Spikes] = {}

    @property
    def eids(self) -> list[str]:
        """The sessions, in order of their eid."""
        return self.table["eid"].drop_duplicates().tolist()

    @property
    def n_large(self) -> int:
        """Sessions whose insertions have spikes that are drawn one by one: the first ones."""
        return self.table["eid"].head(self._n_spikes).nunique()

    def of_sessions(self, tasks: Mapping[str, Task]) -> list[Insertion]:
        """Draw the insertions of the sessions whose tasks are given by eid."""
        eids = self.table["eid"]
        return [
            self._draw(number, tasks[eids[number]].trials["stim_on_time"])
            for number in np.flatnonzero(eids.isin(list(tasks))).tolist()
        ]

    def _draw(self, number: int, stimuli: np.ndarray) -> Insertion:
        """Draw an insertion; spikes may follow the onsets of the stimuli (s)."""
        row, revision = self.table.iloc[number], self._freeze.revision
        rng = np.random.default_rng([self._seed, 4, number])
        sites, spikes = self._sites(number), self._spikes(number)
        units = self._proportions.draw_units(rng, sites, len(spikes.counts))
        units = population.match_counts(units, spikes.counts)
        if number < self._n_spikes:
            spikes = draw_spikes(rng, units, spikes.counts, stimuli)
        first, last = spikes.span
        released, known = population.complete_metrics(
            rng, units, spikes.counts, last - first, revision
        )
        key = {"eid": row.eid, "probe_name": row.probe_name}
        key["sorting_name"] = ephys.name_sorting(SORTER, revision)
        places = units[["channel", "region_id", *SITE]]
        return Insertion(key, sites, places, released, known, spikes)

    def _sites(self, number: int) -> pd.DataFrame:
        rng = np.random.default_rng([self._seed, 5, number])
        return self._proportions.draw_sites(rng, self.table["pid"][number])

    def _spikes(self, number: int) -> Spikes:
        """Return the spikes of the template of an insertion."""
        n = int(self._n_units[number])
        if n not in self._templates:
            rng = np.random.default_rng([self._seed, 6, n])
            counts = population.draw_counts(rng, self._proportions, n)
            self._templates[n] = few_times(rng, counts)
        return self._templates[n]

    # --- what a source lists ---------------------------------------------------------------------

    def records(self) -> Iterator[SessionRecord]:
        """Yield each session as a source lists it."""
        for number, (_, probes) in enumerate(self.table.groupby("eid", sort=False)):
            yield self._session(number, probes)

    def _session(self, number: int, probes: pd.DataFrame) -> SessionRecord:
        rng, first = np.random.default_rng([self._seed, 7, number]), probes.iloc[0]
        day = rows.as_date(first.date)
        start = datetime.combine(day, time(9)) + timedelta(seconds=int(rng.integers(8 * 3600)))
        checks = [CheckRecord(name, float(rng.uniform(0.95, 1))) for name in BWM_TASK_CHECKS]
        files = list(self._files(probes))
        return SessionRecord(
            eid=first.eid,
            subject=first.subject,
            date=day,
            number=int(first.session_number),
            lab=first.lab,
            start=start,
            task_protocol="_iblrig_tasks_ephysChoiceWorld6.6.1",
            projects=PROJECT,
            qc="PASS",
            mouse=_mouse(first.subject, first.lab),
            checks=(*checks, CheckRecord("behavior", 1.0), CheckRecord("task", outcome="PASS")),
            datasets=tuple(files),
            insertions=tuple(self._insertion(k) for k in probes.index),
            sortings=tuple(alf.sortings(files)),
        )

    def _insertion(self, number: int) -> InsertionRecord:
        row, track = self.table.iloc[number], self._sites(number)[["x", "y", "z"]].to_numpy()
        along = track[-1] - track[0]
        depth = float(np.linalg.norm(along))
        x, y, z = map(float, track[-1])
        trajectory = TrajectoryRecord(
            PROVENANCES[-1],
            x=x,
            y=y,
            z=z,
            depth=depth,
            theta=float(np.degrees(np.arccos(along[2] / depth))),
            phi=float(np.degrees(np.arctan2(along[1], along[0])) % 360),
            is_current=True,
        )
        picks = track[np.linspace(len(track) - 1, 0, 6).astype(int)]
        return InsertionRecord(
            row.eid,
            row.probe_name,
            row.pid,
            model="NP2.4" if row.probe_name[-1].isalpha() else "3B2",
            serial=str(18_005_100_000 + number),
            qc="PASS",
            level="resolved",
            checks=(CheckRecord("alignment_resolved", 1.0), CheckRecord("tracing_exists", 1.0)),
            picks=tuple((float(x), float(y), float(z)) for x, y, z in picks),
            trajectories=(trajectory,),
        )

    def _files(self, probes: pd.DataFrame) -> Iterator[DatasetRecord]:
        eid = probes["eid"].iloc[0]
        for name in population.TRIAL_FILES:
            yield _file(eid, f"alf/_ibl_trials.{name}")
        revision = self._freeze.revision
        for probe in probes["probe_name"]:
            folder = f"alf/{probe}/{SORTER}/" + (f"#{revision}#/" if revision else "")
            names = [f"channels.{name}.npy" for name in population.CHANNEL_FILES]
            names += [*alf.SPIKE_FILES, *CLUSTER_FILES]
            for name in names:
                yield _file(eid, folder + name, is_default=True)


def _spread(n_units: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Spread units over n insertions, of which most share one of a few numbers of units."""
    share = rng.lognormal(0, 0.35, min(TEMPLATES, n))[np.arange(n) % TEMPLATES]
    each = np.maximum(20, np.floor(share / share.sum() * n_units)).astype(int)
    each[-1] = max(20, n_units - each[:-1].sum())
    return each


def _mouse(nickname: str, lab: str) -> SubjectRecord:
    rng = np.random.default_rng(list(nickname.encode()))
    born = datetime(2019, 1, 1) + timedelta(days=int(rng.integers(300)))
    strain = "C57BL/6J"
    return SubjectRecord(
        nickname, str(rng.choice(["M", "F"])), born.date(), None, strain, None, "Mus musculus", lab
    )


def _file(eid: str, path: str, **facts: Any) -> DatasetRecord:
    md5 = population.md5_of(eid, path)
    size = 1_000 + int(md5[:5], 16)
    return alf.dataset_record(eid, path, md5=md5, file_size=size, **facts)
