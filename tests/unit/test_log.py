"""The log of workers: one line a job."""

import json
import re
from datetime import datetime, timezone

import pytest

from populate.workers import log
from populate.workers.queue import AbandonedJob
from populate.workers.worker import JobResult, result_of
from schemas.behavior import Trials

KEY = {"eid": "4b7fbad4-f6de-43b4-9b15-c7c7ef44db4b", "probe_name": "probe00"}
DONE = JobResult("ephys.Spikes", KEY, 1.234, rows=1043, read=1_200_000, stored=860_000, pid=7)
FAILED = JobResult("ephys.Spikes", KEY, 0.5, error="DamagedFile: one line\nand another", pid=7)
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


def test_a_line_for_people_names_table_key_duration_rows_and_bytes():
    line = log.as_text(DONE)
    expected = (
        f" done ephys.Spikes (eid {KEY['eid']}, probe_name probe00) 1.23 s, 1,043 rows, "
        "read 1.2 MB, stored 860.0 kB"
    )
    assert re.fullmatch(TIME + re.escape(expected), line)


def test_a_failure_is_one_line_too():
    line = log.as_text(FAILED)
    expected = (
        f" failed ephys.Spikes (eid {KEY['eid']}, probe_name probe00) 0.50 s: "
        "DamagedFile: one line and another"
    )
    assert re.fullmatch(TIME + re.escape(expected), line)


def test_bytes_are_told_where_there_are_any():
    assert log.as_text(JobResult("behavior.ReactionTime", {"eid": "x"}, 0.1, rows=3)).endswith(
        " 0.10 s, 3 rows"
    )


@pytest.mark.parametrize(("done", "state"), [(DONE, "done"), (FAILED, "failed")])
def test_a_line_for_machines_is_an_object_with_everything(done, state):
    line = log.as_json(done)
    assert "\n" not in line
    told = json.loads(line)
    age = datetime.now(timezone.utc) - datetime.fromisoformat(told.pop("time"))
    assert abs(age.total_seconds()) < 60
    assert told == {
        "state": state,
        "table": done.table,
        "key": KEY,
        "seconds": done.seconds,
        "rows": done.rows,
        "bytes_read": done.read,
        "bytes_stored": done.stored,
        "error": done.error,
        "pid": 7,
    }


def test_an_abandoned_job_is_reported_with_the_process_that_ran_it():
    result = result_of(AbandonedJob(Trials, KEY, "WorkerDied: 3 workers died", 2.0, pid=7))
    assert (result.table, result.seconds, result.pid) == ("behavior.Trials", 2.0, 7)


def test_lines_are_printed_as_jobs_are_done(capsys):
    on_result = log.printer("json")
    on_result(DONE)
    on_result(FAILED)
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["state"] for line in lines] == ["done", "failed"]
