"""What a selection names on a server, and in the folder that it serves."""

import uuid

import pytest

from schemas.errors import QueryError
from schemas.sources.one_api import OneSource, query
from schemas.sources.one_api.selection import BWM_PROJECT
from schemas.sources.records import CheckRecord, Found, Selection
from tests.support.alyx import AlyxServer
from tests.support.alyx.plain import write_many
from tests.support.online import source

pytestmark = pytest.mark.usefixtures("own_home")


def named(records, keep=None):
    pairs = [(r, i) for r in records for i in r.insertions if i.pid]
    pairs = [pair for pair in pairs if keep is None or keep(*pair)]
    return {(r.eid, i.probe_name, i.pid) for r, i in pairs}


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("kind", ["subject", "lab", "project", "eids", "pids"])
def test_a_selection_names_what_it_says(alyx, release, offline, tmp_path, kind, online):
    session = offline[2]
    insertion = next(i for i in session.insertions if i.pid)
    value = {
        "subject": session.subject,
        "lab": session.lab,
        "project": "ibl_neuropixel_brainwide_01",
        "eids": (session.eid, offline[0].eid),
        "pids": (insertion.pid,),
    }[kind]

    def keep(r, i):
        return {
            "subject": r.subject == value,
            "lab": r.lab == value,
            "project": value in r.projects.split(","),
            "eids": r.eid in value,
            "pids": i is not None and i.pid in value,
        }[kind]

    opened = source(alyx, tmp_path / "c") if online else OneSource(release.folder, tmp_path)
    found = opened.find(Selection(**{kind: value}))
    assert set(found.insertions) == named(offline, keep)
    if kind == "pids":
        assert found.eids == (session.eid,)
    else:
        assert list(found.eids) == [r.eid for r in offline if keep(r, None)]
    assert found.eids


def test_tags_are_exact(release, offline, tmp_path):
    one = next(i for r in offline for i in r.insertions if i.pid)
    tags = {"2022_Q4": [one.pid], "2022_Q4_more": None}
    with AlyxServer(release.folder, tags) as alyx:
        opened = source(alyx, tmp_path / "cache")
        found = opened.find(Selection(tag="2022_Q4"))
        assert [pid for *_, pid in found.insertions] == [one.pid]
        assert one.eid in found.eids
        with pytest.raises(QueryError, match=r"no tag '2022_q4'.*Did you mean '2022_Q4'"):
            opened.find(Selection(tag="2022_q4"))


def test_a_region_has_its_parts(alyx, release, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    everywhere = opened.find(Selection(region="root"))
    assert everywhere.insertions
    assert set(everywhere.insertions) <= named(offline)
    parts = [opened.find(Selection(region=name)) for name in ("TH", "LP", "MD")]
    assert set(parts[1].insertions) | set(parts[2].insertions) <= set(parts[0].insertions)
    with pytest.raises(QueryError, match="no region 'th'"):
        opened.find(Selection(region="th"))


def test_criteria_hold_together(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    lab, subject = offline[0].lab, offline[-1].subject
    found = opened.find(Selection(lab=lab, subject=subject))
    assert set(found.eids) == {r.eid for r in offline if (r.lab, r.subject) == (lab, subject)}


@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize(
    "selection",
    [
        {"tag": "nothing"},
        {"subject": "nobody"},
        {"lab": "nolab"},
        {"project": "brainwide"},
        {"project": "IBL_neuropixel_brainwide_01"},
        {"region": "Atlantis"},
        {"eids": ("11111111-1111-4111-8111-111111111111",)},
        {"pids": ("11111111-1111-4111-8111-111111111111",)},
    ],
)
def test_what_is_unknown_is_named(alyx, release, tmp_path, selection, online):
    opened = source(alyx, tmp_path / "c") if online else OneSource(release.folder, tmp_path)
    (value,) = selection.values()
    name = value if isinstance(value, str) else value[0]
    pattern = f"There is no .*{name}"
    if not online and selection.keys() & {"tag", "region"}:
        pattern = "Cache tables do not hold"
    with pytest.raises(QueryError, match=pattern):
        opened.find(Selection(**selection))


def test_an_id_that_other_criteria_leave_out_is_reported(alyx, offline, tmp_path):
    one = offline[0]
    other = next(r.subject for r in offline if r.subject != one.subject)
    with pytest.raises(QueryError, match=f"{one.eid}' meets the other criteria"):
        source(alyx, tmp_path / "cache").find(Selection(eids=(one.eid,), subject=other))


def test_an_id_that_is_none_is_told_before_it_is_asked(alyx, tmp_path):
    with pytest.raises(QueryError, match="'not-an-id' is no eid"):
        source(alyx, tmp_path / "cache").find(Selection(eids=("not-an-id",)))
    assert alyx.requests == []


def follows_rule(session, insertion):
    """The rule, as the reference tells it, on the records of the folder."""
    checks = {c.name: c for c in session.checks}
    of_task = [
        "stimOn_goCue_delays",
        "response_feedback_delays",
        "wheel_move_before_feedback",
        "wheel_freeze_during_quiescence",
        "error_trial_event_sequence",
        "correct_trial_event_sequence",
        "reward_volumes",
        "reward_volume_set",
        "stimulus_move_before_goCue",
        "audio_pre_trial",
    ]
    none = CheckRecord("")
    values = [checks.get(f"_task_{name}", none).value for name in of_task]
    return (
        "ibl_neuropixel_brainwide_01" in session.projects.split(",")
        and session.qc != "CRITICAL"
        and insertion.qc != "CRITICAL"
        and checks.get("behavior", none).value == 1
        and CheckRecord("tracing_exists", value=1.0) in insertion.checks
        and insertion.level == "resolved"
        and (
            all(v is not None and v >= 0.9 for v in values)
            or checks.get("_experimenter_task", none).outcome == "PASS"
        )
    )


@pytest.mark.parametrize("online", [True, False])
def test_the_rule_of_the_releases_selects(alyx, release, offline, tmp_path, online):
    opened = source(alyx, tmp_path / "c") if online else OneSource(release.folder, tmp_path)
    found = opened.find(Selection(bwm_rule=True))
    wanted = named(offline, follows_rule)
    assert set(found.insertions) == wanted
    assert set(found.eids) == {eid for eid, *_ in wanted}
    assert 0 < len(wanted) < len(named(offline))


class Answers:
    """A client whose server has these insertions, and holds every condition for true."""

    def __init__(self, insertions, mock=()):
        self.insertions, self.mock, self.asked = insertions, mock, []

    def rows(self, endpoint, **filters):
        self.asked.append((endpoint, filters.get("django", "")))
        return self.insertions if endpoint == "insertions" else [{"id": eid} for eid in self.mock]


def own_id(letter):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, letter))


def answer(pid, eid, project=BWM_PROJECT, **facts):
    info = {"subject": "m", "lab": "l", "start_time": "2020-01-01T00:00:00", "number": 1}
    checks = {"tracing_exists": True, "alignment_resolved": True}
    return {
        "id": own_id(pid),
        "session": own_id(eid),
        "name": "probe00",
        "session_info": {**info, "projects": [project]},
        "json": {"extended_qc": checks, **facts},
    }


def test_what_the_server_selects_by_the_rule_is_looked_at_again():
    unresolved = answer("c", "3", extended_qc={"tracing_exists": True})
    rows = [
        answer("a", "1"),  # it has no quality: the server's own exclusion would drop it
        answer("b", "2", qc="CRITICAL"),
        unresolved,
        answer("d", "4", project=BWM_PROJECT + "_more"),
        answer("e", "5"),
        {**answer("f", "6"), "json": None},
    ]
    client = Answers(rows, mock=[own_id("5")])
    found = query.find(client, Selection(bwm_rule=True), "here")
    assert found == Found((own_id("1"),), ((own_id("1"), "probe00", own_id("a")),))
    by_task, by_word = (terms for endpoint, terms in client.asked if endpoint == "insertions")
    assert by_task.count("__gte,0.9") == 10
    assert "session__extended_qc___task_stimOn_goCue_delays__gte,0.9" in by_task
    assert "session__extended_qc___experimenter_task,PASS" in by_word
    assert all("session__extended_qc__behavior,1" in terms for terms in (by_task, by_word))


# --- what laboratories and servers may have -------------------------------------------------------


def test_a_session_of_two_projects_that_match_is_found_once(alyx, offline, tmp_path):
    """The server's own filter lists it twice."""
    more = {"name": f"{BWM_PROJECT}_more"}
    for session in alyx.rest.records.sessions:
        session["projects"].append(more)
    alyx.rest.records.projects.append(more)
    found = source(alyx, tmp_path / "cache").find(Selection(project=BWM_PROJECT))
    assert list(found.eids) == [r.eid for r in offline]
    assert set(found.insertions) == named(offline)


def test_a_nickname_of_two_mice_selects_the_sessions_of_both(alyx, offline, tmp_path):
    first, second = alyx.rest.records.subjects[:2]
    second["nickname"] = first["nickname"]
    both = {s["id"] for mouse in (first, second) for s in mouse["actions_sessions"]}
    opened = source(alyx, tmp_path / "cache")
    assert set(opened.find(Selection(subject=first["nickname"])).eids) == both
    with pytest.raises(QueryError, match="no subject"):
        opened.find(Selection(subject=first["nickname"].lower()))


def test_mock_sessions_do_not_follow_the_rule(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    whole = opened.find(Selection(bwm_rule=True))
    mock = whole.eids[0]
    (session,) = (s for s in alyx.rest.records.sessions if s["id"] == mock)
    session["json"] = {"IS_MOCK": True}
    found = opened.find(Selection(bwm_rule=True))
    assert set(found.insertions) == {i for i in whole.insertions if i[0] != mock}
    assert set(found.insertions) < set(whole.insertions)


def test_a_chronic_insertion_is_of_no_session(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache")
    chronic = alyx.rest.records.insertions[0]
    kept = {**chronic}
    chronic["session"] = None
    found = opened.find(Selection())
    assert set(found.eids) == {r.eid for r in offline}
    assert set(found.insertions) == {i for i in named(offline) if i[2] != kept["id"]}


@pytest.mark.parametrize("name", ["start_time", "number", "lab"])
def test_a_session_with_a_null_is_found(alyx, offline, tmp_path, name):
    alyx.rest.records.sessions[0][name] = None
    found = source(alyx, tmp_path / "cache").find(Selection())
    assert set(found.eids) == {r.eid for r in offline}
    assert set(found.insertions) == named(offline)


def test_lists_longer_than_a_page_are_whole(tmp_path):
    """Pages of sessions of one start time repeat some of them and miss others."""
    folder = write_many(tmp_path / "many", 1_100, 1_050)
    with AlyxServer(folder, shuffle=True) as alyx:
        opened = source(alyx, tmp_path / "cache")
        eids = tuple(row["id"] for row in alyx.rest.records.sessions)
        pids = tuple(row["id"] for row in alyx.rest.records.insertions)
        for selection in (
            Selection(project="ibl_brainwide"),
            Selection(lab="alab"),
            Selection(eids=eids),
            Selection(pids=pids),
        ):
            found = opened.find(selection)
            assert set(found.eids) == set(eids)
            assert {pid for *_, pid in found.insertions} == set(pids)
            assert list(found.eids) == sorted(
                found.eids, key=lambda eid: _place_of(alyx.rest.records, eid)
            )
        assert len(alyx.asked("/sessions.*offset=")) > 2
        # Files without an address are not asked for one by one.
        files = alyx.rest.records.datasets
        alyx.edge_cases.unaddressed = {row["id"] for row in files}
        alyx.edge_cases.mirrors = [None, alyx.url]
        (record,) = opened.sessions([files[0]["session"]["id"]])
        assert len(record.datasets) == 1_050
        assert opened.problems == []
        assert len(alyx.asked("/datasets")) == 21


def _place_of(records, eid):
    session = next(row for row in records.sessions if row["id"] == eid)
    return session["subject"]["nickname"], session["number"]
