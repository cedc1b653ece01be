"""Damage the files of a session in one way that an import must not take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from schemas.sources.simulator import passive
from schemas.sources.simulator.plan import FAULTS, Session
from schemas.sources.simulator.truth import Fault
from schemas.sources.simulator.writing import Content

# In no version of the Allen atlas.
UNKNOWN_REGION = 987_654_321

TRIALS = "alf/_ibl_trials.table.pqt"
# Files that are cut in half: whether the listed md5 is that of the half.
CUT = {
    "truncated_spike_times": ("spikes.times.npy", False),
    "truncated_metrics": ("clusters.metrics.pqt", True),
    "truncated_trials": (TRIALS, False),
    "truncated_pose": ("alf/_ibl_rightCamera.dlc.pqt", True),
}
# Imports that concern a probe; the others concern the session.
OF_PROBES = ("channels", "clusters", "spikes")


def damage(plan: Session, files: dict[str, Content], cut: dict[str, bool]) -> Fault:
    """Damage a file of a session.

    Parameters
    ----------
    plan : Session
        With its fault.
    files : dict of str to content
        By path below the session folder; the file at fault is replaced.
    cut : dict of str to bool
        As `write_session` takes it; the file at fault is added where it is to be cut.
    """
    kind = str(plan.fault)
    fails, detail = FAULTS[kind]
    probe = plan.probes[0].name if fails in OF_PROBES else None
    base = f"alf/{probe}/pykilosort/" if probe else ""
    if kind in CUT:
        name, agrees = CUT[kind]
        path = base + name
        cut[path] = agrees
    else:
        name, change = CHANGES[kind]
        path = base + name
        files[path] = change(files[path])
    return Fault(kind, plan.eid, probe, fails, path, detail)


def _shorter(n: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: values[:-n]


def _with_value(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        changed = values.copy()
        changed[row] = value
        return changed

    return change


def _unsorted(times: np.ndarray) -> np.ndarray:
    changed, row = times.copy(), len(times) // 2
    changed[[row, row + 1]] = times[[row + 1, row]]
    return changed


def _beyond_table(clusters: np.ndarray) -> np.ndarray:
    changed = clusters.copy()
    changed[100:103] = clusters.max() + 50
    return changed


def _repeated_id(metrics: pd.DataFrame) -> pd.DataFrame:
    ids = metrics["cluster_id"].to_numpy().copy()
    ids[4] = ids[5]
    return metrics.assign(cluster_id=ids)


def _longer(pose: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([pose, pose.tail(3)], ignore_index=True)


def _other_columns(table: pd.DataFrame) -> pd.DataFrame:
    return table[[""]].assign(quietProtocol=1.0)


def _more_noise(pattern: bytes) -> bytes:
    return pattern + pattern[: 2 * passive.SQUARES**2]


CHANGES: dict[str, tuple[str, Callable]] = {
    "wheel_lengths": ("alf/_ibl_wheel.position.npy", _shorter(1)),
    "trials_extra_length": ("alf/_ibl_trials.stimOff_times.npy", _shorter(2)),
    "unknown_region": ("channels.brainLocationIds_ccf_2017.npy", _with_value(200, UNKNOWN_REGION)),
    "cluster_beyond_table": ("spikes.clusters.npy", _beyond_table),
    "unsorted_spike_times": ("spikes.times.npy", _unsorted),
    "nan_spike_time": ("spikes.times.npy", _with_value(150, np.nan)),
    "negative_spike_time": ("spikes.times.npy", _with_value(0, -0.25)),
    "repeated_metrics": ("clusters.metrics.pqt", _repeated_id),
    "pose_beyond_times": ("alf/_ibl_leftCamera.dlc.pqt", _longer),
    "passive_columns": ("alf/_ibl_passivePeriods.intervalsTable.csv", _other_columns),
    "receptive_field_lengths": ("raw_passive_data/_iblrig_RFMapStim.raw.bin", _more_noise),
}
