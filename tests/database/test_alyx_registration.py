"""Registration from a server in trouble: what was read is kept, and then all is as it should be."""

import json
import shutil

import pytest

from populate.registration import sessions
from populate.workers import worker
from schemas import behavior, probe, rows, session, subject, wheel
from schemas.errors import SourceError
from schemas.sources import base
from schemas.sources.one_api.client import RetryPolicy
from schemas.sources.records import Selection
from tests.database.test_online import PROJECT, online
from tests.support.alyx import AlyxServer
from tests.support.databases import differences, snapshot


@pytest.fixture
def alyx(release):
    with AlyxServer(release.folder) as server:
        yield server


@pytest.fixture
def database(lend, alyx, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(RetryPolicy, "wait", lambda *_: 0.01)
    with lend(tmp_path / "home", online(tmp_path, alyx)) as database:
        yield database


def requested(alyx):
    return [request.path for request in alyx.asked(r"^/sessions/[0-9a-f-]{36}")]


def test_what_was_read_before_an_outage_is_kept_and_the_rest_is_requested_alone(database, alyx):
    eids = base.open_source(alyx.url).find(Selection(project=PROJECT)).eids
    n_read = len(eids) - 3
    read = []

    def break_down(eid):
        read.append(eid)
        if len(read) == n_read:
            alyx.fault("status", "/", status=502)

    source = base.open_source(alyx.url)
    read_one = source._session

    def session_of(eid, tracks):
        found = read_one(eid, tracks)
        break_down(eid)
        return found

    source._session = session_of
    with pytest.raises(SourceError, match="502"):
        sessions.register_source(source, None, eids=eids)
    assert set(session.Session.to_arrays("eid")) == set(eids[:n_read])
    alyx.clear_faults()
    alyx.forget()
    del source._session
    report, _ = sessions.register_source(source, None, eids=eids)
    assert len(requested(alyx)) == 3
    assert f"continued: {n_read} sessions" in " ".join(report.notes)
    assert set(session.Session.to_arrays("eid")) == set(eids)
    alyx.forget()
    after = snapshot()
    again, _ = sessions.register_source(source, None, eids=eids)
    assert len(requested(alyx)) == len(eids)
    assert not again.changed
    assert differences(snapshot(), after) == {}


def test_two_mice_of_one_nickname_both_register(database, alyx):
    """The mouse of the second laboratory is named after it, and keeps this name."""
    records = alyx.rest.records
    labs = {row["lab"]["name"] for row in records.subjects}
    first, second = (
        next(m for m in records.subjects if m["lab"]["name"] == lab) for lab in sorted(labs)[:2]
    )
    nickname, lab = first["nickname"], second["lab"]["name"]
    eids = [s["id"] for m in (first, second) for s in m["actions_sessions"]]
    for one in records.sessions:
        if one["subject"] is second:
            one["folder"] = one["folder"].replace(second["nickname"], nickname)
            for dataset in one["data_dataset_session_related"]:
                for file in dataset["file_records"]:
                    path = file["relative_path"]
                    file["relative_path"] = path.replace(second["nickname"], nickname)
    second["nickname"] = nickname
    for _ in range(2):
        report, _ = sessions.register_source(base.open_source(alyx.url), None, eids=eids)
        assert not report.problems
        held = rows.frame(subject.Subject)
        assert set(held.subject) == {nickname, f"{nickname}@{lab}"}
        assert len(session.Session()) == len(eids)
    own = rows.frame(session.Session & {"subject": f"{nickname}@{lab}"})
    assert set(own.eid) == {s["id"] for s in second["actions_sessions"]}


def test_a_mouse_of_another_laboratory_keeps_its_facts(database, alyx):
    mouse = next(m for m in alyx.rest.records.subjects if m["actions_sessions"] and m["sex"] != "U")
    other = next(lab for lab in alyx.rest.records.labs if lab is not mouse["lab"])
    mouse["lab"] = other
    eids = [s["id"] for s in mouse["actions_sessions"]]
    report, _ = sessions.register_source(base.open_source(alyx.url), None, eids=eids)
    assert not report.problems
    held = (subject.Subject & {"subject": mouse["nickname"]}).fetch1()
    assert held["sex"] == mouse["sex"]
    assert held["birth_date"]
    assert len(probe.ProbeInsertion())


def test_insertions_and_trajectories_that_were_deleted_are_named(database, alyx):
    records = alyx.rest.records
    sessions_of_two = [s for s in records.sessions if len(s["probe_insertion"]) == 2]
    one = next(s for s in sessions_of_two if s["probe_insertion"][0]["trajectory_estimate"])
    kept, gone = one["probe_insertion"]

    def register():
        source = base.open_source(alyx.url)
        return sessions.register_source(source, None, eids=[one["id"]])[0]

    assert not register().problems
    n_tracks = len(probe.Trajectory & {"probe_name": kept["name"]})
    assert n_tracks
    trajectories = list(records.trajectories)
    records.trajectories[:] = [t for t in trajectories if t["probe_insertion"] is not kept]
    records.insertions.remove(gone)
    one["probe_insertion"].remove(gone)
    one["data_dataset_session_related"] = [
        d
        for d in one["data_dataset_session_related"]
        if not (d["collection"] or "").startswith(f"alf/{gone['name']}")
        and gone["name"] not in (d["collection"] or "")
    ]
    report = register()
    assert not report.problems
    assert f"insertion {gone['id']} ({gone['name']}" in " ".join(report.notes)
    assert f"{n_tracks} trajectories were removed" in " ".join(report.notes)
    assert len(probe.ProbeInsertion & {"pid": gone["id"]}) == 1
    assert not probe.Trajectory & {"probe_name": kept["name"]}
    assert not [note for note in register().notes if "trajectories" in note]


NULLS = {
    "start_time": "has no start_time",
    "number": "has no number",
    "lab": "has no lab",
}


@pytest.mark.parametrize("name", NULLS)
def test_a_session_with_a_null_is_named_and_registers_once_it_is_complete(database, alyx, name):
    one, *others = alyx.rest.records.sessions
    eids = [s["id"] for s in (one, *others)]
    with pytest.MonkeyPatch.context() as patch:
        source = base.open_source(alyx.url)
        read = source._client.read
        patch.setattr(
            source._client,
            "read",
            lambda endpoint, key: (
                {**read(endpoint, others[0]["id"]), "id": key, name: None}
                if key == one["id"]
                else read(endpoint, key)
            ),
        )
        report, _ = sessions.register_source(source, None, eids=eids)
    assert NULLS[name] in str(report.problems[0])
    assert one["id"] in str(report.problems[0])
    assert len(report.problems) == 1
    assert len(session.Session()) == len(others)
    report, _ = sessions.register_source(base.open_source(alyx.url), None, eids=eids)
    assert not report.problems
    assert len(session.Session()) == len(eids)


@pytest.mark.parametrize("shape", [list, str], ids=["list", "text"])
def test_json_as_a_list_tells_nothing_and_as_text_is_read(database, alyx, shape):
    facts = {"extended_qc": {"tracing_exists": True}}
    for insertion in alyx.rest.records.insertions:
        insertion["json"] = [facts] if shape is list else json.dumps(facts)
    found = Selection(project=PROJECT)
    report, _ = sessions.register_source(base.open_source(alyx.url), found)
    assert not report.problems
    levels = set(probe.ProbeInsertion.to_arrays("insertion_level"))
    assert levels == ({None} if shape is list else {"traced"})


@pytest.mark.parametrize("name", ["../away", "", "probe 00", None])
def test_an_impossible_probe_is_left_out_alone_and_registers_once_it_is_named(database, alyx, name):
    one = next(s for s in alyx.rest.records.sessions if len(s["probe_insertion"]) == 2)
    odd, sound = one["probe_insertion"]
    proper, odd["name"] = odd["name"], name

    def register():
        return sessions.register_source(base.open_source(alyx.url), None, eids=[one["id"]])[0]

    problems = " ".join(map(str, register().problems))
    assert one["id"] in problems
    assert "left out" in problems
    # Its files are there, in the folder of the probe, but nothing tells that they are of its row.
    pids = dict(zip(*probe.ProbeInsertion.to_arrays("probe_name", "pid"), strict=True))
    assert pids == {sound["name"]: sound["id"], proper: None}
    odd["name"] = proper
    assert not register().problems
    corrected = snapshot()
    session.Session().delete()
    assert not register().problems
    assert differences(snapshot(), corrected) == {}


def assert_a_clean_run_gives_the_same(alyx, selection):
    """Register again into no rows: what the trouble left is no different."""
    base_run, _ = sessions.register_source(base.open_source(alyx.url), selection)
    assert not base_run.problems
    after_trouble = snapshot()
    session.Session().delete()
    assert not sessions.register_source(base.open_source(alyx.url), selection)[0].problems
    assert differences(snapshot(), after_trouble) == {}


def test_a_session_of_two_projects_that_match_is_registered_once(database, alyx):
    """A project is chosen by its exact name; the server's own filter finds parts of names."""
    records, chosen = alyx.rest.records, Selection(project=PROJECT)
    more = {"name": f"{PROJECT}_more"}
    records.projects.append(more)
    *both, other = records.sessions
    before = [one["projects"] for one in records.sessions]
    for one in both:
        one["projects"] = [*one["projects"], more]
    other["projects"] = [more]
    report, _ = sessions.register_source(base.open_source(alyx.url), chosen)
    assert not report.problems
    assert set(session.Session.to_arrays("eid")) == {one["id"] for one in both}
    records.projects.remove(more)
    for one, projects in zip(records.sessions, before, strict=True):
        one["projects"] = projects
    assert_a_clean_run_gives_the_same(alyx, chosen)
    assert len(session.Session()) == len(records.sessions)


@pytest.fixture
def without_data_server(lend, alyx, tmp_path, monkeypatch):
    """A database whose files come from the repositories that the metadata name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(RetryPolicy, "wait", lambda *_: 0.01)
    settings = online(tmp_path, alyx)
    del settings["alyx.data_server"]
    with lend(tmp_path / "home", settings) as database:
        yield database


NOWHERE = "http://127.0.0.1:1"


@pytest.mark.parametrize("trouble", ["without an address", "offline", "lacks the file"])
def test_files_come_from_the_next_repository(without_data_server, alyx, release, tmp_path, trouble):
    eids = [one["id"] for one in alyx.rest.records.sessions[:1]]
    tables = [behavior.Trials, wheel.Wheel]

    def bring():
        report, _ = sessions.register_source(base.open_source(alyx.url), None, eids=eids)
        assert not report.problems
        assert not [outcome for outcome in worker.run(tables) if outcome.failed]
        assert len(behavior.Trials()) == len(wheel.Wheel()) == 1
        return snapshot()

    with AlyxServer(release.folder) as mirror:
        alyx.edge_cases.mirrors = [NOWHERE if trouble == "offline" else None, mirror.url]
        if trouble == "without an address":
            alyx.edge_cases.unaddressed = {one["id"] for one in alyx.rest.records.datasets}
        else:
            alyx.fault("status", "/public/", status=404)
        in_trouble = bring()
        assert mirror.downloads()
        assert not alyx.downloads()
    alyx.edge_cases.mirrors, alyx.edge_cases.unaddressed = [], set()
    alyx.clear_faults()
    session.Session().delete()
    shutil.rmtree(tmp_path / "cache")
    assert differences(bring(), in_trouble) == {}
    assert alyx.downloads()
