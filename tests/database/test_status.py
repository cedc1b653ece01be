"""Of one session: what is absent, what failed and why, what is pending; and what is tried again."""

import json

import datajoint as dj
import pytest
from typer.testing import CliRunner

from populate import cli, look, plan, status, worker
from schemas import behavior, video, wheel
from schemas.sources import base, simulator
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
    n = len(base.CAMERAS)
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
    tried = [(o.table, o.made, [key["eid"] for key, _ in o.failed]) for o in outcomes]
    assert tried == [(WHEELS, 0, [eids[0]]), (TIMES, 0, [eids[0]])]


def test_the_command_takes_a_session_or_a_probe(filled, eids, damaged):
    def run(*arguments):
        done = CliRunner().invoke(cli.app, arguments, env=filled.environment)
        assert done.exit_code == 0, done.output
        return done.stdout

    insertions = damaged.truth.insertions
    pid = insertions.pid[insertions.eid == eids[0]].iloc[0]
    told = run("status", "--session", eids[0], "--json")
    assert run("status", "--session", pid, "--json") == told
    found = {t["table"]: t for t in json.loads(told)["tables"]}
    assert {name: found[name]["failed"] for name in (TRIALS, WHEELS, TIMES)} == {
        TRIALS: 0,
        WHEELS: 1,
        TIMES: 1,
    }
    assert [f["table"] for f in json.loads(told)["failures"]] == [WHEELS, TIMES]
    assert WHEEL in " ".join(run("status", "--session", eids[1]).split())
    assert run("retry", "--session", eids[1]).startswith("Failures forgotten: 1.")
    assert run("retry", "--session", pid, "--only", "Wheel").startswith("Failures forgotten: 1.")
    filled.connect()
    assert [f.table for f in status.failures()] == [TIMES]


# --- what there is to do ------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """Statements that the server was asked."""
    statements, query = [], dj.Connection.query

    def counted(self, statement, *arguments, **options):
        statements.append(statement)
        return query(self, statement, *arguments, **options)

    monkeypatch.setattr(dj.Connection, "query", counted)
    return statements


def by_datajoint(table):
    """Count the same as `look.look` as DataJoint does, in several queries."""
    target = table()
    jobs = target.jobs
    due = jobs.pending & "scheduled_time <= CURRENT_TIMESTAMP(3)"
    undone = target.key_source - target.proj()
    new = undone.restrict(dj.Not(jobs), semantic_check=False)
    return look.Work(table, len(due), len(new))


def test_what_there_is_to_do_is_found_in_one_statement(filled, asked):
    tables = plan.tables()
    jobs, wheels = behavior.Trials().jobs, wheel.Wheel().jobs
    wheels.errors.delete_quick()
    wheels.refresh(delay=-1)
    first, second, third = behavior.Trials().key_source.keys(order_by="eid")
    jobs.insert1({**first, "status": "pending", "priority": 5})
    jobs.insert1({**second, "status": "reserved", "priority": 5})
    later = "2100-01-01 00:00:00"
    jobs.insert1({**third, "status": "pending", "priority": 5, "scheduled_time": later})
    (wheels & wheels.keys(limit=1)).delete_quick()
    look.look(tables)  # reads the columns of the tables
    asked.clear()
    found = look.look(tables)
    assert len(asked) == 1
    assert found == [by_datajoint(table) for table in tables]
    states = {plan.name_of(one.table): (one.n_pending, one.n_new) for one in found}
    assert (states[TRIALS], states[WHEELS], states[TIMES]) == ((1, 0), (1, 1), (0, 0))
    assert sum(n_new for _, _, n_new in found) > 1
    assert look.look([]) == []
    assert look.look([wheel.Wheel]) == [(wheel.Wheel, 1, 1)]
    jobs.delete_quick()
