"""Metadata of a simulated release, as Alyx has it: subjects, quality control, trajectories.

The tables are plain Parquet files in the folder `alyx`, as `one_api` writes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.maths.quality import BWM_TASK_CHECKS
from schemas.sources.records import PLACE, PROVENANCES, SUBJECT
from schemas.sources.simulator import ephys
from schemas.sources.simulator.plan import (
    FIRST_DATE,
    FIRST_FAULT,
    PROJECT,
    Probe,
    Session,
    identifier,
)
from schemas.sources.simulator.session import SimulatedSession

FOLDER = "alyx"
FAILED_CHECK = "_task_wheel_freeze_during_quiescence"
# Random numbers of mice are drawn beyond those of all sessions.
MICE = 10_000_000
# The mouse of which nothing is known, where edge cases are wanted.
UNKNOWN_MOUSE = 2

TEXT, NUMBER = pa.string(), pa.float64()
SCHEMAS = {
    "subjects": pa.schema([(name, TEXT) for name in SUBJECT]),
    "sessions": pa.schema([(name, TEXT) for name in ("eid", "start_time", "qc", "extended_qc")]),
    "trajectories": pa.schema(
        [(name, TEXT) for name in ("id", "eid", "probe_name", "provenance")]
        + [(name, NUMBER) for name in PLACE]
    ),
    "channels": pa.schema(
        [("trajectory_id", TEXT)]
        + [(name, NUMBER) for name in ("axial", "lateral", "x", "y", "z")]
        + [("brain_region", pa.int64())]
    ),
}


@dataclass
class Metadata:
    """Rows of the tables, and the JSON of each insertion by its pid (None: there is none)."""

    subjects: list[dict[str, Any]] = field(default_factory=list)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    trajectories: list[dict[str, Any]] = field(default_factory=list)
    channels: list[dict[str, Any]] = field(default_factory=list)
    insertions: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    satisfied: dict[str, bool] = field(default_factory=dict)

    def insertion_text(self, pid: str) -> str | None:
        """JSON of an insertion as text."""
        content = self.insertions[pid]
        return None if content is None else json.dumps(content)

    def write(self, folder: Path) -> None:
        """Write the tables below a cache folder."""
        (folder / FOLDER).mkdir(exist_ok=True)
        for name, schema in SCHEMAS.items():
            table = pa.Table.from_pylist(getattr(self, name), schema=schema)
            pq.write_table(table, folder / FOLDER / f"{name}.pqt")

    def frame(self, name: str) -> pd.DataFrame:
        """Rows of a table."""
        return pd.DataFrame(getattr(self, name), columns=SCHEMAS[name].names)

    def checks(self) -> pd.DataFrame:
        """List what extended quality control says: eid or pid, name, value as JSON text."""
        texts = [("eid", s["eid"], json.loads(s["extended_qc"] or "{}")) for s in self.sessions]
        texts += [("pid", p, (j or {}).get("extended_qc", {})) for p, j in self.insertions.items()]
        rows = [
            {"eid": None, "pid": None, of: owner, "name": name, "json": json.dumps(value)}
            for of, owner, entries in texts
            for name, value in entries.items()
        ]
        return pd.DataFrame(rows, columns=["eid", "pid", "name", "json"])


def gather_metadata(sessions: Iterable[SimulatedSession], edge_cases: bool) -> Metadata:
    """Gather the metadata of the sessions of a release.

    Parameters
    ----------
    sessions : iterable of SimulatedSession
        In order of their index.
    edge_cases : bool
        Whether there is a mouse without metadata.
    """
    found = Metadata()
    mice: dict[str, dict[str, Any]] = {}
    for made in sessions:
        plan = made.plan
        if plan.subject not in mice:
            mice[plan.subject] = _subject(made, edge_cases)
        checks = session_checks(made)
        found.sessions.append(
            {
                "eid": plan.eid,
                "start_time": _start(made).isoformat(),
                "qc": plan.role.qc,
                "extended_qc": None if checks is None else json.dumps(checks),
            }
        )
        for probe in plan.probes:
            content = insertion_content(made, probe)
            found.insertions[probe.pid] = content
            found.satisfied[probe.pid] = satisfies_bwm_rule(plan, checks, content)
            rows = _trajectories(made, probe)
            found.trajectories += rows
            if probe.name in plan.role.sites_in_metadata:
                found.channels += _sites(made, probe, rows[-1]["id"])
    found.subjects = [mice[name] for name in sorted(mice)]
    return found


def satisfies_bwm_rule(
    plan: Session, checks: Mapping[str, Any] | None, content: Mapping[str, Any] | None
) -> bool:
    """Whether the rule of the Brain-Wide Map's releases selects an insertion.

    It is written independently of `one_api.selection.follows_bwm_rule`, which it checks.
    """
    if checks is None or content is None or plan.role.project != PROJECT:
        return False
    task = all(checks[name] >= 0.9 for name in BWM_TASK_CHECKS)
    told = content["extended_qc"]
    return (
        plan.role.qc != "CRITICAL"
        and checks["behavior"] == 1
        and (task or checks.get("_experimenter_task") == "PASS")
        and content["qc"] != "CRITICAL"
        and told["tracing_exists"] is True
        and told["alignment_resolved"] is True
    )


def level(content: Mapping[str, Any] | None) -> str | None:
    """Return the level of an insertion's location by its JSON."""
    if content is None:
        return None
    return "resolved" if content["extended_qc"]["alignment_resolved"] else "aligned"


def _subject(made: SimulatedSession, edge_cases: bool) -> dict[str, Any]:
    """Return the row of the mouse of a session; it depends only on the seed and its number."""
    plan, mouse = made.plan, made.plan.index % made.size.n_subjects
    if edge_cases and mouse == UNKNOWN_MOUSE:
        made.odd("unknown_subject")
        return {"nickname": plan.subject, "lab": plan.lab, "sex": "U"}
    rng = np.random.default_rng([made.seed, MICE, mouse])
    birth = FIRST_DATE - timedelta(days=int(rng.integers(90, 270)))
    # Beyond the last session, faulty ones included.
    death = FIRST_DATE + timedelta(days=3 * FIRST_FAULT // 6 + int(rng.integers(100)))
    return {
        "nickname": plan.subject,
        "lab": plan.lab,
        "sex": str(rng.choice(["M", "F"])),
        "birth_date": birth.isoformat(),
        "death_date": death.isoformat() if mouse % 2 == 0 else None,
        "strain": "C57BL/6J",
        "line": "C57BL/6J line" if mouse % 2 == 0 else None,
        "species": "Laboratory mouse",
    }


def _start(made: SimulatedSession) -> datetime:
    """Return the start of a session."""
    begin = datetime.combine(made.plan.date, time(9))
    return begin + timedelta(microseconds=int(made.rng(8, 1).integers(8 * 3600 * 10**6)))


def session_checks(made: SimulatedSession) -> dict[str, Any] | None:
    """Return the quality checks of a session; None for a session without extended QC."""
    role, rng = made.plan.role, made.rng(8)
    if not role.extended:
        made.odd("no_extended_qc")
        return None
    checks: dict[str, Any] = {
        "task": "WARNING" if role.failed_check else "PASS",
        "behavior": role.behavior,
        "experimenter": "PASS",
    }
    if role.experimenter_task:
        checks["_experimenter_task"] = role.experimenter_task
    checks |= {name: round(float(rng.uniform(0.95, 1)), 4) for name in BWM_TASK_CHECKS}
    if role.failed_check:
        checks[FAILED_CHECK] = 0.85
    checks |= {"_task_goCue_delays": 0.99, "_task_wheel_integrity": 1.0}
    for camera in role.cameras:
        name, dropped = camera.capitalize(), int(rng.integers(1, 9))
        checks |= {
            f"video{name}": "WARNING" if camera == "left" else "PASS",
            f"dlc{name}": "PASS",
            f"_video{name}_pin_state": None if camera == "left" else [True, 4, 0],
            f"_video{name}_dropped_frames": [camera != "left", dropped, 0],
            f"_video{name}_focus": bool(rng.random() < 0.8),
            f"_dlc{name}_lick_detection": None,
        }
    return checks


def insertion_content(made: SimulatedSession, probe: Probe) -> dict[str, Any] | None:
    """JSON of an insertion: quality, units, picks of the track (um), state of the alignment."""
    role, rng = made.plan.role, made.rng(9, probe.tag)
    if probe.name in role.unknown:
        made.odd("no_insertion_json", probe.name)
        return None
    day = made.plan.date + timedelta(days=120)
    stored = f"{day.isoformat()}T16:40:14_tracer"
    told: dict[str, Any] = {
        "experimenter": "PASS",
        "tracing_exists": True,
        "alignment_count": 2 if role.located else 1,
        "alignment_stored": stored,
        "alignment_resolved": role.located,
    }
    if role.located:
        told |= {
            "alignment_qc": "PASS",
            "_alignment_number": 1,
            "alignment_resolved_by": "experimenter",
            "alignment_resolved_date": (day + timedelta(days=5)).isoformat(),
            f"_alignment_{stored}": round(float(rng.uniform(0.8, 1)), 2),
        }
    return {
        "qc": "CRITICAL" if probe.name in role.critical else "PASS",
        **_units(made, probe),
        "xyz_picks": _picks(rng, made.channels[probe.name]),
        "drift_rms_um": round(float(rng.uniform(2, 8)), 1),
        "extended_qc": told,
    }


def _units(made: SimulatedSession, probe: Probe) -> dict[str, Any]:
    """Return number and rates (Hz) of the units of the last spike sorting of a probe."""
    (units,) = (u for u in made.units[::-1] if _is_last_sort(u, probe))
    rates = units["n_spikes"] / made.size.duration
    return {
        "n_units": len(units),
        "n_units_qc_pass": int(units["is_good_2024"].sum()),
        "firing_rate_max": round(float(rates.max()), 2),
        "firing_rate_median": round(float(rates.median()), 2),
    }


def _is_last_sort(units: pd.DataFrame, probe: Probe) -> bool:
    pid, revision = units[["pid", "revision"]].iloc[0]
    return pid == probe.pid and revision == probe.revisions[-1]


def _picks(rng: np.random.Generator, channels: pd.DataFrame) -> list[list[int]]:
    """Points along a track from its surface to its tip, whole um, a little off the sites."""
    rows = np.linspace(len(channels) - 1, 0, 6).astype(int)
    track = channels[["x", "y", "z"]].to_numpy()[rows]
    return (track + rng.normal(0, 15, track.shape)).round().astype(int).tolist()


def _trajectories(made: SimulatedSession, probe: Probe) -> list[dict[str, Any]]:
    """Rows of the trajectories of a probe, as far as its alignment goes."""
    rng, channels = made.rng(10, probe.tag), made.channels[probe.name]
    points = channels[["x", "y", "z"]].to_numpy()
    known = PROVENANCES[: 2 if probe.name in made.plan.role.unknown else 4]
    along = points[-1] - points[0]
    depth = float(np.linalg.norm(along))
    angles = {
        "depth": depth,
        "theta": np.degrees(np.arccos(along[2] / depth)),
        "phi": np.degrees(np.arctan2(along[1], along[0])) % 360,
    }
    rows = []
    for number, provenance in enumerate(known):
        # Each is nearer to the truth than the one before it; histology knows no rotation.
        spread = (200.0, 60.0, 25.0, 0.0)[number]
        place = dict(zip("xyz", points[-1] + spread * rng.standard_normal(3), strict=True))
        off = {name: value + spread / 100 * rng.normal() for name, value in angles.items()}
        row = {name: round(float(value), 2) for name, value in (place | off).items()}
        rows.append(
            {
                "id": identifier(probe.pid, provenance),
                "eid": made.plan.eid,
                "probe_name": probe.name,
                "provenance": provenance,
                **row,
                "roll": 0.0 if number < 2 else None,
            }
        )
    return rows


def _sites(made: SimulatedSession, probe: Probe, trajectory: str) -> list[dict[str, Any]]:
    """Rows of the located sites of a probe, in no order, as a server gives them."""
    channels = made.channels[probe.name]
    mixed = channels.iloc[made.rng(11, probe.tag).permutation(ephys.N_SITES)]
    mixed = mixed.rename(columns={"region_id": "brain_region"})
    columns = SCHEMAS["channels"].names[1:]
    return [
        {"trajectory_id": trajectory, **row}
        for row in mixed[columns].astype({"brain_region": int}).to_dict("records")
    ]
