"""Insertions by their quality control."""

from __future__ import annotations

import datajoint as dj

from schemas import probe, quality, session
from schemas.maths.quality import BWM_PROJECT, BWM_TASK_CHECKS, BWM_TASK_PASS


def bwm_candidates() -> dj.expression.QueryExpression:
    """Return the insertions that satisfy the rule of the Brain-Wide Map's releases.

    The session is of the project and no mock, its quality is below CRITICAL and the mouse passes
    the criterion of behaviour; each of `BWM_TASK_CHECKS` is passed by nine trials in ten, or the
    experimenters let the task pass; the insertion is not CRITICAL, traced, and its alignment
    resolved.

    Quality that is not set or not known is not CRITICAL, since the rule leaves out what somebody
    found critical; a check that is not known is not passed, since the rule asks for it. Mock
    sessions have no flag in what is registered: those whose projects or protocol say `mock` are
    left out.

    Returns
    -------
    expression
        Rows of `probe.ProbeInsertion`, to restrict and join further.
    """
    insertions = probe.ProbeInsertion & "coalesce(insertion_qc, 'NOT_SET') <> 'CRITICAL'"
    for check in ("tracing_exists", "alignment_resolved"):
        passed = quality.InsertionQC & {"insertion_check": check, "insertion_check_value": 1}
        insertions = insertions & passed.proj()
    return insertions & _candidate_sessions().proj()


def _candidate_sessions() -> dj.expression.QueryExpression:
    # LIKE would take the underscores of the project for wildcards.
    of_project = f"position(',{BWM_PROJECT},' in concat(',', replace(projects, ' ', ''), ',')) > 0"
    recorded = (
        "position('mock' in lower(concat(coalesce(task_protocol, ''), coalesce(projects, '')))) = 0"
    )
    sessions = session.Session & of_project & recorded
    sessions = sessions & "coalesce(session_qc, 'NOT_SET') <> 'CRITICAL'"
    behaves = quality.SessionQC & {"session_check": "behavior", "session_check_value": 1}
    let_pass = quality.SessionQC & {
        "session_check": "_experimenter_task",
        "session_check_outcome": "PASS",
    }
    return sessions & behaves.proj() & [_passing_task().proj(), let_pass.proj()]


def _passing_task() -> dj.expression.QueryExpression:
    """Sessions of which every check of the task passes."""
    checks = quality.SessionQC & [{"session_check": name} for name in BWM_TASK_CHECKS]
    passed = checks & f"session_check_value >= {BWM_TASK_PASS}"
    counted = session.Session.proj().aggr(passed.proj(), n_passed="count(session_check)")
    return counted & f"n_passed = {len(BWM_TASK_CHECKS)}"
