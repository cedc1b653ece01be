"""Checks of a record against what is registered, without a database."""

from dataclasses import replace
from datetime import date

import pandas as pd

from populate.registration.releases import COLUMNS, _row_faults
from populate.registration.sessions import _State
from schemas.sources.records import InsertionRecord, SessionRecord

EID = "00000001-0000-4000-8000-000000000000"
PID = "0000f001-0000-4000-8000-000000000000"
RECORD = SessionRecord(EID, "a", date(2020, 1, 1), 1, lab="lab", is_complete=True)


def registered(*records):
    state = _State({}, {}, {}, {}, {}, {})
    for record in records:
        state.add(record)
    return state


def test_a_new_insertion_without_a_pid_is_not_a_deleted_one():
    record = replace(RECORD, insertions=(InsertionRecord(EID, "probe00"),))
    state = registered(record)
    state.note_deleted([RECORD])
    assert state.deleted == []


def test_an_insertion_with_a_pid_that_is_no_longer_listed_is_noted():
    state = registered(replace(RECORD, insertions=(InsertionRecord(EID, "probe00", PID),)))
    state.note_deleted([RECORD])
    assert len(state.deleted) == 1
    assert PID in state.deleted[0]


def test_a_contradiction_names_subject_day_and_number_as_text():
    problem = registered(RECORD).problem_with(replace(RECORD, subject="b"))
    assert problem.what == "eid is registered as a 2020-01-01 1, not b 2020-01-01 1."


def test_a_release_list_allows_the_names_of_probes_that_sources_may_use():
    row = dict(zip(COLUMNS, (PID, EID, "probe00.1", "1", "2020-01-01", "a", "lab"), strict=True))
    assert _row_faults(pd.DataFrame([row])) == {}
    faults = _row_faults(pd.DataFrame([row | {"probe_name": "-probe"}]))
    assert "is not a valid probe name" in faults[0]
