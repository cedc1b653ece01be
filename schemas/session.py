"""Sessions, and the datasets that a source lists for them."""

from __future__ import annotations

from datetime import date

import datajoint as dj

from schemas import rows, subject  # noqa: F401  (subject: foreign keys)
from schemas.sources.alf import KINDS
from schemas.sources.records import QC_OUTCOMES

schema = dj.Schema()


@schema
class QC(dj.Lookup):
    """Outcomes of quality control, in order of severity."""

    definition = """
    # one row per outcome of quality control
    qc          : varchar(8)  # name of the outcome
    ---
    qc_severity : int8        # rank, 0 not set to 4 critical
    """
    contents = rows.lookup("qc_severity, qc", *enumerate(QC_OUTCOMES))


@schema
class DataKind(dj.Lookup):
    """What a dataset is part of; a table imports the datasets of one kind."""

    definition = """
    # one row per kind of data
    data_kind             : varchar(16)   # name of the kind
    ---
    data_kind_description : varchar(128)  # what it holds
    """
    contents = rows.lookup(
        "data_kind, data_kind_description",
        *((kind.name, kind.description) for kind in KINDS.values()),
    )


@schema
class DataSource(dj.Manual):
    """A place that recordings are read from."""

    definition = """
    # one row per source that was registered
    data_source : varchar(512)  # folder or URL
    """


@schema
class Session(dj.Manual):
    """A mouse at the task."""

    definition = """
    # one row per session
    eid                  : char(36)      # session UUID, lower case
    ---
    -> subject.Subject
    session_date         : date          # day of the recording
    session_number       : int16         # number of the session on that day, from 1
    session_start = null : datetime(6)   # start, UTC
    task_protocol = null : varchar(255)  # protocol that the rig ran
    projects = null      : varchar(255)  # projects of Alyx, comma-separated
    -> [nullable] QC.proj(session_qc="qc")
    unique index (subject, session_date, session_number)
    """


@schema
class Dataset(dj.Manual):
    """A file, as its source lists it: a pointer, never a copy."""

    definition = """
    # one row per file that a source lists, or has listed, for a session
    -> Session
    dataset_path      : varchar(255)  # path below the session folder, revision included
    ---
    -> DataSource
    -> DataKind
    collection        : varchar(128)  # folder below the session, without the revision
    dataset_name      : varchar(128)  # file name
    revision          : varchar(64)   # revision; empty for the original
    dataset_id = null : varchar(36)   # dataset UUID of Alyx
    file_size = null  : int64         # (byte) size
    md5 = null        : varchar(32)   # hash as listed
    is_default = null : bool          # flagged as the default revision; null where none is
    is_listed         : bool          # whether its source still lists it
    -> [nullable] QC.proj(dataset_qc="qc")
    """


@schema
class TaskChoice(dj.Manual):
    """Which task is imported of a session that ran several; `bwm register --task` chooses."""

    definition = """
    # one row per session and kind of data that several tasks of the session have
    -> Session
    -> DataKind
    ---
    task_collection : varchar(128)  # folder that the data are read from, e.g. alf/task_01
    """


def fetch_days() -> dict[tuple[str, date, int], str]:
    """Fetch the eid of every session by subject, date and number, which name it as well."""
    named = Session.proj("subject", "session_date", "session_number").to_dicts()
    return {
        (row["subject"], rows.as_date(row["session_date"]), row["session_number"]): row["eid"]
        for row in named
    }
