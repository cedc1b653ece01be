"""Of one session: what is absent, what failed and why, what is pending; and what is tried again."""

import json
import os
import shlex
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import datajoint as dj
import pytest
from typer.testing import CliRunner

from populate import catalog, cli, stale, status
from populate.workers import queue, worker
from schemas import behavior, video, wheel
from schemas.sources import simulator
from schemas.sources.records import CAMERAS
from tests.support import processes
from tests.support.databases import Release

WHEEL = "alf/_ibl_wheel.position.npy"
LEFT = "alf/_ibl_leftCamera.times.npy"
SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
TRIALS, WHEELS, TIMES = "behavior.Trials", "wheel.Wheel", "video.FrameTimes"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    """Three sessions: the wheel of two and a camera of one of them are cut; one has no wheel."""
    folder = tmp_path_factory.mktemp("damaged")
    truth = simulator.simulate(folder, "tiny", seed=5, n_sessions=3, **SMALL)
    for path, n in ((WHEEL, 2), (LEFT, 1)):
        for s in truth.sessions[truth.sessions.n_wheel > 0][:n].itertuples():
            session = folder / s.lab / "Subjects" / s.subject / str(s.date) / f"{s.number:03d}"
            content = (session / path).read_bytes()
            (session / path).write_bytes(content[: len(content) // 2])
    return Release(folder, truth)


@pytest.fixture(scope="module")
def _filled(lend, damaged):
    with lend() as database:
        database.register(damaged.folder)
        worker.run([wheel.Wheel, video.FrameTimes])
        yield database


@pytest.fixture
def filled(_filled):
    """A database in which wheels and cameras were imported as far as they can be; no trials."""
    _filled.connect()
    yield _filled
    worker.run([wheel.Wheel, video.FrameTimes])


@pytest.fixture
def eids(damaged):
    """Sessions: with wheel and camera cut, with the wheel cut, without wheel and body camera."""
    sessions = damaged.truth.sessions
    (bare,) = damaged.truth.odd("no_wheel")
    assert {o.eid for o in damaged.truth.odd("no_body_camera")} == {bare.eid}
    return [*sessions.eid[sessions.n_wheel > 0], bare.eid]


def states(eid=None):
    """Counts of each table: done, failed, pending, absent."""
    found = status.status([behavior.Trials, wheel.Wheel, video.FrameTimes], eid)
    return {s.table: (s.done, s.failed, s.pending, s.absent) for s in found}


def test_absent_failed_and_pending_are_told_apart_in_each_session(filled, eids):
    n = len(CAMERAS)
    expected = [
        {TRIALS: (0, 0, 1, 0), WHEELS: (0, 1, 0, 0), TIMES: (n - 1, 1, 0, 0)},
        {TRIALS: (0, 0, 1, 0), WHEELS: (0, 1, 0, 0), TIMES: (n, 0, 0, 0)},
        {TRIALS: (0, 0, 1, 0), WHEELS: (0, 0, 0, 1), TIMES: (n - 1, 0, 0, 1)},
    ]
    assert [states(eid) for eid in eids] == expected
    total = {t: tuple(map(sum, zip(*(e[t] for e in expected), strict=True))) for t in expected[0]}
    assert states() == total


def test_the_failures_of_a_session_are_its_own_with_file_and_error(filled, eids):
    both, one, bare = (status.failures(eid=eid) for eid in eids)
    assert [f.table for f in both] == [WHEELS, TIMES]
    assert [f.table for f in one] == [WHEELS]
    assert bare == []
    for failure in (*both, *one):
        path = LEFT if failure.table == TIMES else WHEEL
        assert failure.error.startswith("DamagedFile: ")
        assert path in failure.error
    assert both[1].key == {"eid": eids[0], "camera": "left"}
    assert len(status.failures()) == len(both) + len(one)


def test_only_the_session_that_is_asked_for_is_tried_again(filled, eids):
    kept = status.failures(eid=eids[1])
    assert worker.retry(eid=eids[2]) == 0
    assert worker.retry(eid=eids[0]) == 2
    assert status.failures(eid=eids[0]) == []
    assert status.failures() == kept
    assert states(eids[0])[WHEELS] == (0, 0, 1, 0)
    outcomes = worker.run([wheel.Wheel, video.FrameTimes])
    tried = [(o.table, o.n_done, [key["eid"] for key, _ in o.failed]) for o in outcomes]
    assert tried == [(WHEELS, 0, [eids[0]]), (TIMES, 0, [eids[0]])]


def test_the_command_takes_a_session_or_a_probe(filled, eids, damaged):
    def run(*arguments):
        done = CliRunner().invoke(cli.app, arguments, env=filled.environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    insertions = damaged.truth.insertions
    pid = insertions.pid[insertions.eid == eids[0]].iloc[0]
    told, again = (
        json.loads(run("status", "--session", recording, "--json")) for recording in (eids[0], pid)
    )
    found, other = ({t["table"]: t for t in one.pop("tables")} for one in (told, again))
    assert told == again
    assert [t["failed"] for t in found.values()] == [t["failed"] for t in other.values()]
    assert {name: found[name]["failed"] for name in (TRIALS, WHEELS, TIMES)} == {
        TRIALS: 0,
        WHEELS: 1,
        TIMES: 1,
    }
    assert [f["table"] for f in told["failures"]] == [WHEELS, TIMES]
    assert WHEEL in " ".join(run("status", "--session", eids[1]).split())
    assert run("retry", "--session", eids[1]).startswith("Failures forgotten: 1.")
    assert run("retry", "--session", pid, "--only", "Wheel").startswith("Failures forgotten: 1.")
    filled.connect()
    assert [f.table for f in status.failures()] == [TIMES]


# --- how fast -----------------------------------------------------------------------------------


@pytest.fixture
def made_at(filled):
    """Set when the keys of a table were begun, in seconds before now, and how long each took."""

    def set_times(table, ages, duration=1.0):
        target, quote = table(), dj.conn().adapter.quote_identifier
        interval = (
            "INTERVAL %s MICROSECOND"
            if dj.conn().adapter.backend == "mysql"
            else "%s * INTERVAL '1 microsecond'"
        )
        where = " AND ".join(f"{quote(name)} = %s" for name in target.primary_key)
        for age, key in zip(ages, target.keys(order_by="KEY"), strict=True):
            dj.conn().query(
                f"UPDATE {target.full_table_name} SET _job_duration = %s, "
                f"_job_start_time = CURRENT_TIMESTAMP(3) - {interval} WHERE {where}",
                (duration, int(age * 1e6), *key.values()),
            )

    return set_times


def timed(table=video.FrameTimes):
    (state,) = status.status([table])
    return state.rate, state.time_left


def test_the_rate_is_that_of_the_last_ten_minutes(made_at):
    n = len(video.FrameTimes())
    old, soon = 5000.0, -7200.0  # made long ago, and by a clock of another time zone
    made_at(video.FrameTimes, [old] * (n - 4) + [soon, 700.0, 500.0, 300.0])
    assert timed()[0] == pytest.approx(2 * 3600 / 500, rel=0.01)
    made_at(video.FrameTimes, [old] * (n - 4) + [90.0, 60.0, 30.0, 10.0])
    assert timed()[0] == pytest.approx(4 * 3600 / 90, rel=0.05)
    made_at(video.FrameTimes, [old] * (n - 1) + [2000.0], duration=1900.0)
    assert timed()[0] == pytest.approx(3600 / 600)  # it was begun before, and made within them
    made_at(video.FrameTimes, [old] * n)
    assert timed() == (None, None)


def test_what_is_pending_takes_time_at_that_rate(made_at):
    n = len(video.FrameTimes())
    made_at(video.FrameTimes, [5000.0] * (n - 2) + [120.0, 100.0])
    assert timed()[1] == 0
    jobs = video.FrameTimes().jobs
    jobs.errors.delete_quick()
    (state,) = status.status([video.FrameTimes])
    assert (state.total, state.done, state.pending, state.failed) == (n + 1, n, 1, 0)
    assert state.time_left == pytest.approx(60, rel=0.05)
    jobs.refresh(delay=-1)
    assert len(jobs.pending) == 1
    assert status.status([video.FrameTimes])[0].pending == 1


def test_a_slow_table_is_looked_at_for_an_hour_while_it_runs(made_at):
    n = len(video.FrameTimes())
    made_at(video.FrameTimes, [5000.0] * (n - 2) + [3000.0, 1200.0])
    assert timed()[0] is None
    jobs = video.FrameTimes().jobs
    (jobs & jobs.errors.keys(limit=1)).delete_quick()
    (key,) = (video.FrameTimes().key_source - video.FrameTimes.proj()).keys()
    jobs.insert1({**key, "status": "reserved", "priority": 5})
    assert timed()[0] == pytest.approx(2 * 3600 / 3000, rel=0.01)
    jobs.delete_quick()


# --- what is running ----------------------------------------------------------------------------


def test_what_is_running_names_its_worker_and_whether_it_is_stalled(filled, eids):
    jobs = behavior.Trials().jobs
    held = {"status": "reserved", "priority": 5, "host": "node-2", "pid": 4321}
    jobs.insert1({"eid": eids[0], **held, "duration": 90.0, "error_message": "1 worker died"})
    jobs.insert1({"eid": eids[1], **held})
    now = dj.conn().query("SELECT CURRENT_TIMESTAMP(3)").fetchone()[0].replace(tzinfo=None)
    for eid, seconds in ((eids[0], 100), (eids[1], 20)):
        taken = now - timedelta(seconds=seconds)
        jobs.update1({"eid": eid, "reserved_time": taken})
    found = {job.key["eid"]: job for job in status.running(stale_after=15)}
    (job,) = status.running([behavior.Trials], eids[0])
    assert (job.table, job.key) == (TRIALS, {"eid": eids[0]})
    assert (job.host, job.pid, job.note) == ("node-2", 4321, "1 worker died")
    assert (job.seconds, job.stalled) == pytest.approx((100, 10), abs=5)
    assert abs(datetime.now().astimezone() - job.since - timedelta(seconds=100)).seconds < 5
    assert not job.is_stalled
    assert {eid: job.is_stalled for eid, job in found.items()} == {eids[0]: False, eids[1]: True}
    trials, wheels = status.status([behavior.Trials, wheel.Wheel])
    assert (trials.running, trials.pending, wheels.running) == (2, 1, 0)
    jobs.insert1({"eid": eids[2], "status": "ignore", "priority": 5})
    (ignored,) = status.status([behavior.Trials])
    assert (ignored.running, ignored.pending) == (2, 0)
    told = CliRunner().invoke(cli.app, ["status", "--json"], env=filled.environment).stdout
    assert [row["key"]["eid"] for row in json.loads(told)["running"]] == sorted(eids[:2])
    jobs.delete_quick()


# --- failures by kind ---------------------------------------------------------------------------


def test_a_fault_in_two_sessions_and_tables_is_one_kind_with_what_retries_it(filled, eids):
    (kind,) = status.errors()
    assert kind.count == len(status.failures()) == 3
    assert kind.tables == {WHEELS: 2, TIMES: 1}
    assert kind.n_sessions == 2
    assert kind.example == status.failures()[0]
    (one,) = status.errors(eid=eids[1])
    assert one.retry == f"bwm retry --only {WHEELS} --session {eids[1]}"

    def run(*arguments):
        return CliRunner().invoke(cli.app, arguments, env=filled.environment)

    told = run("status", "--errors").stdout
    assert f"3 failed  {kind.kind}\n" in told
    assert f"{kind.example.error}\n" in told
    (command,) = (line.split("  ")[-1] for line in told.splitlines() if "  retry" in line)
    assert command == kind.retry
    assert json.loads(run("status", "--json").stdout)["errors"][0]["retry"] == command
    assert run(*shlex.split(command)[1:]).stdout.startswith("Failures forgotten: 3.")
    assert "Nothing has failed." in run("status", "--errors").stdout


def test_what_failed_and_was_made_by_hand_since_is_done_and_no_failure(filled, eids):
    made, failed, _ = ({"eid": eid} for eid in eids)
    jobs = behavior.Trials().jobs
    held = {"status": "error", "priority": 5, "error_message": "DamagedFile: it was"}
    jobs.insert({**key, **held} for key in (made, failed))
    behavior.Trials.populate(made)  # as in a notebook: it knows nothing of jobs

    def seen(eid=None):
        (state,) = status.status([behavior.Trials], eid)
        keys = [failure.key for failure in status.failures([behavior.Trials], eid)]
        return (state.total, state.done, state.failed, state.pending), keys

    assert seen() == ((3, 1, 1, 1), [failed])
    assert [seen(eid) for eid in eids[:2]] == [((1, 1, 0, 0), []), ((1, 0, 1, 0), [failed])]
    assert [kind.count for kind in status.errors([behavior.Trials])] == [1]
    words = ["populate", "--only", "Trials"]
    again = CliRunner().invoke(cli.app, words, env=filled.environment)
    assert "1 failed earlier" in again.stderr
    assert jobs.keys() == [failed]
    assert seen() == ((3, 2, 1, 0), [failed])
    behavior.Trials.delete()
    jobs.delete_quick()


# --- watching -----------------------------------------------------------------------------------


def test_watching_ends_with_ctrl_c_and_without_a_trace(filled):
    watching = subprocess.Popen(
        [sys.executable, "-m", "populate", "status", "--watch", "--every", "0.1"],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **filled.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=processes.hear_ctrl_c,
    )
    n_seen = 0
    for line in watching.stdout:
        n_seen += "jobs done" in line
        if n_seen == 2:
            watching.send_signal(signal.SIGINT)
            break
    rest, errors = watching.communicate(timeout=60)
    assert (watching.returncode, errors) == (0, "")
    assert "Traceback" not in rest


# --- in few statements --------------------------------------------------------------------------


def test_all_tables_are_asked_in_one_statement(filled, statements):
    questions = (status.status, status.running, status.failures, stale.find)
    for question in questions:
        question()  # reads the columns of the tables
    statements.clear()
    for question, n in zip(questions, (2, 1, 1, 1), strict=True):
        question()
        assert len(statements) == n, question
        statements.clear()


def by_datajoint(table):
    """Count the same as `queue.count_runnable` as DataJoint does, in several queries."""
    target = table()
    jobs = target.jobs
    due = jobs.pending & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    undone = target.key_source - target.proj()
    new = undone.restrict(dj.Not(jobs), semantic_check=False)
    return table, len(due), len(new)


def test_what_there_is_to_do_is_found_in_one_statement(filled, statements):
    tables = catalog.tables()
    jobs, wheels = behavior.Trials().jobs, wheel.Wheel().jobs
    wheels.errors.delete_quick()
    wheels.refresh(delay=-1)
    first, second, third = behavior.Trials().key_source.keys(order_by="eid")
    jobs.insert1({**first, "status": "pending", "priority": 5})
    jobs.insert1({**second, "status": "reserved", "priority": 5})
    later = "2100-01-01 00:00:00"
    jobs.insert1({**third, "status": "pending", "priority": 5, "scheduled_time": later})
    (wheels & wheels.keys(limit=1)).delete_quick()
    queue.count_runnable(tables)  # reads the columns of the tables
    statements.clear()
    found = queue.count_runnable(tables)
    assert len(statements) == 1
    assert found == [by_datajoint(table) for table in tables]
    states = {catalog.name_of(table): (pending, new) for table, pending, new in found}
    assert (states[TRIALS], states[WHEELS], states[TIMES]) == ((1, 0), (1, 1), (0, 0))
    assert sum(n_new for _, _, n_new in found) > 1
    assert queue.count_runnable([]) == []
    assert queue.count_runnable([wheel.Wheel]) == [(wheel.Wheel, 1, 1)]
    jobs.delete_quick()
