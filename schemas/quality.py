"""Quality control: what was checked, with what outcome."""

from __future__ import annotations

import datajoint as dj

from schemas import probe, session  # noqa: F401  (foreign keys)

schema = dj.Schema()


@schema
class SessionQC(dj.Manual):
    """Extended quality control of a session, typed, so that a release's rule is a query."""

    definition = """
    # one row per check of a session
    -> session.Session
    session_check              : varchar(128)   # name of the check, as released
    ---
    session_check_value = null : float64        # (number) value; 1 for true, 0 for false
    -> [nullable] session.QC.proj(session_check_outcome="qc")
    session_check_text = null  : varchar(4000)  # what is neither number nor outcome, as JSON
    """


@schema
class InsertionQC(dj.Manual):
    """Extended quality control of an insertion, its histology and alignment included."""

    definition = """
    # one row per check of an insertion
    -> probe.ProbeInsertion
    insertion_check              : varchar(128)   # name of the check, as released
    ---
    insertion_check_value = null : float64        # (number) value; 1 for true, 0 for false
    -> [nullable] session.QC.proj(insertion_check_outcome="qc")
    insertion_check_text = null  : varchar(4000)  # what is neither number nor outcome, as JSON
    """
