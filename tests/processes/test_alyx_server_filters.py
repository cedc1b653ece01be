"""Filters and pages of the server of the tests, as those of Alyx."""

from collections import Counter

import pandas as pd
import pytest

from tests.support.alyx import AlyxServer
from tests.support.alyx.plain import odd_id, write

# As Django 5.2 turns them into SQL, and PostgreSQL judges that: numbers of the rows of `odd`.
QUERIES = [
    ("insertions", "json__qc,PASS", {3}),
    ("insertions", "json__qc__iexact,PASS", {3, 5}),
    ("insertions", "~json__qc,CRITICAL", {0, 2, 3, 5}),
    ("insertions", "json__qc,None", {2}),
    ("insertions", "json__qc__isnull,True", {0, 1}),
    ("insertions", "json__isnull,True", {0}),
    ("insertions", "json__extended_qc__alignment_resolved,True", {3}),
    ("insertions", "~json__extended_qc__alignment_resolved,True", {0, 4}),
    ("insertions", "json__extended_qc__alignment_count__gt,0", {3, 4}),
    ("insertions", "json__qc__in,['PASS', 'pass']", {3, 5}),
    ("insertions", "json__qc,PASS,json__extended_qc__alignment_count__gte,3", set()),
    ("insertions", "session__qc,50", {0, 1}),
    ("insertions", "~session__qc__gte,50", {2, 3, 4, 5}),
    ("insertions", "session__qc__lt,50,~json__qc,CRITICAL", {2, 3, 5}),
    ("insertions", "session__projects__name,ibl_other", {0, 1, 4, 5}),
    ("insertions", "session__projects__name__icontains,BRAINWIDE", {0, 1}),
    ("insertions", "~session__projects__name__icontains,brainwide", {2, 3, 4, 5}),
    ("insertions", "session__projects__isnull,True", {2, 3}),
    ("insertions", "session__extended_qc__behavior,1", {0, 1}),
    ("insertions", "session__extended_qc__behavior,True", {2, 3}),
    ("insertions", "session__extended_qc___task_x__gte,0.9", {0, 1}),
    ("insertions", "~session__extended_qc___task_x__gte,0.9", {2, 3, 4, 5}),
    ("insertions", "session__start_time__date__lte,2020-01-09", {0, 1, 2, 3}),
    ("insertions", "session__subject__nickname__in,['B_2', 'C']", {4, 5}),
    ("insertions", "name__in,['probe00a']", {1, 3, 5}),
    ("insertions", "name,probe00,name,probe00a", {1, 3, 5}),
    ("insertions", "model__isnull,True", {1, 3, 5}),
    ("insertions", f"session__in,['{odd_id('session', 1)}']", {2, 3}),
    ("insertions", f"session,{odd_id('session', 1)}", {2, 3}),
    ("insertions", f"pk__in,('{odd_id('insertion', 2)}',)", {2}),
    ("insertions", f"id__in,['{odd_id('insertion', 2)}', '{odd_id('insertion', 4)}']", {2, 4}),
    ("sessions", "probe_insertion__json__qc,PASS", {1}),
    ("sessions", "~probe_insertion__json__qc,PASS", {0, 2}),
    ("sessions", "number__gt,1", {1}),
    ("sessions", "extended_qc__isnull,True", {2}),
    ("datasets", "session__isnull,True", set()),
    ("datasets", "revision__isnull,False", {3, 7, 11}),
    ("datasets", "collection__contains,probe00a,default_dataset,True", {3, 7, 11}),
    ("datasets", f"session,{odd_id('session', 0)},name__startswith,_ibl", {0}),
]


@pytest.mark.parametrize(("name", "query", "wanted"), QUERIES)
def test_django_query(name, query, wanted, odd, connect):
    with AlyxServer(odd) as server:
        found = connect(server).ids(name, django=query)
    assert found == {odd_id(name.removesuffix("s"), number) for number in wanted}


@pytest.mark.parametrize(
    "query",
    [
        "session__project__name__icontains,brainwide",
        "session__nothing,1",
        "id__in,['no-uuid']",
        "session__qc,PASS",
        "session__start_time__date,today",
        "name__like,probe",
        "name__in,[probe00]",
    ],
)
def test_odd_query_fails_within_alyx(query, client):
    reply = client.get("/insertions", django=query)
    assert reply.status_code == 500
    assert set(reply.json()) == {"status_code", "detail"}


def test_filters_against_the_tables(release, client):
    truth = release.truth
    sessions, insertions = truth.sessions, truth.insertions.merge(truth.sessions, on="eid")
    mouse, lab = sessions["subject"].iloc[0], sessions["lab"].iloc[0]
    eids = lambda rows: set(rows["eid"])  # noqa: E731
    assert client.ids("sessions", subject=mouse) == eids(sessions.query("subject == @mouse"))
    assert client.ids("sessions", subject=mouse[:-1]) == set()
    assert client.ids("sessions", lab=lab) == eids(sessions.query("lab == @lab"))
    assert client.ids("sessions", lab=",".join(sessions["lab"].unique())) == set()
    assert client.ids("sessions", project="BRAINWIDE") == eids(sessions)
    assert client.ids("sessions", number="002") == eids(sessions.query("number == 2"))
    assert client.ids("sessions", foo="bar") == eids(sessions)
    assert client.ids("sessions", task_protocol="training") == eids(sessions.query("training"))
    days = sorted(sessions["date"].astype(str))
    between = sessions[sessions["date"].astype(str).between(days[1], days[3])]
    assert client.ids("sessions", date_range=f"{days[1]},{days[3]}") == eids(between)
    assert client.ids("sessions", date_range=f"{days[1]},2262-04-11") == eids(
        sessions[sessions["date"].astype(str) >= days[1]]
    )
    wheels = truth.datasets[truth.datasets["rel_path"] == "alf/_ibl_wheel.position.npy"]
    found = client.ids("sessions", datasets="_ibl_wheel.position.npy,_ibl_trials.table.pqt")
    assert set() < found == eids(wheels) < eids(sessions)
    wanted = insertions.query("subject == @mouse and probe_name == 'probe00'")
    assert client.ids("insertions", subject=mouse, name="probe00") == set(wanted["pid"])
    models = insertions.query("model == '3B2'")
    assert client.ids("insertions", model="Neuropixel 3B2") == set(models["pid"])
    assert client.ids("insertions", model="3B2") == set()
    trajectories = pd.read_parquet(release.folder / "alyx" / "trajectories.pqt")
    some = list(sessions["eid"].iloc[:3])
    found = client.ids("trajectories", django=f"probe_insertion__session__in,{some}")
    assert found == set(trajectories[trajectories["eid"].isin(some)]["id"])
    nicknames = list(sessions["subject"].unique()[:2])
    found = client.list("subjects", django=f"nickname__in,{nicknames}")
    assert {row["nickname"] for row in found} == set(nicknames)


def test_only_sites_of_aligned_tracks_are_searched(odd, connect):
    tracks = ("Histology track", "Ephys aligned histology track")
    trajectories = pd.DataFrame(
        {
            "id": [odd_id("trajectory", i) for i in range(2)],
            "eid": odd_id("session", 0),
            "probe_name": ["probe00", "probe00a"],
            "provenance": tracks,
            **dict.fromkeys(("x", "y", "z", "depth", "theta", "phi", "roll"), 1.0),
        }
    )
    channels = pd.DataFrame(
        {
            "trajectory_id": trajectories["id"],
            **dict.fromkeys(("axial", "lateral", "x", "y", "z"), 20.0),
            "brain_region": [463, 382],  # CA3, CA1
        }
    )
    write(odd, "alyx/trajectories", trajectories)
    write(odd, "alyx/channels", channels)
    with AlyxServer(odd) as server:
        client = connect(server)
        assert {row["brain_region"] for row in client.list("channels")} == {463, 382}
        assert client.ids("insertions", atlas_acronym="CA3") == set()
        assert client.ids("sessions", atlas_acronym="CA3") == set()
        aligned = {odd_id("insertion", 1)}
        for acronym in ("CA1", "ca1", "HPF"):  # the hippocampal formation has both
            assert client.ids("insertions", atlas_acronym=acronym) == aligned
        assert client.ids("insertions", atlas_id=382) == aligned
        assert client.ids("sessions", atlas_name="Field CA1") == {odd_id("session", 0)}
        shown = client.list("trajectories", provenance=tracks[0])
        assert [row["id"] for row in shown] == [odd_id("trajectory", 0)]
        assert client.get("/trajectories", provenance="Guess").status_code == 500


def test_a_session_of_two_projects_that_match_is_listed_twice(odd, connect):
    with AlyxServer(odd) as server:
        rows = connect(server).list("sessions", project="IBL_")
    counts = Counter(row["id"] for row in rows)
    assert counts == {odd_id("session", 0): 2, odd_id("session", 2): 1}


def test_a_nickname_of_two_mice_is_an_error_of_the_server(odd, connect):
    with AlyxServer(odd) as server:
        for mouse in server.rest.records.subjects:
            mouse["nickname"] = "A-1"
        reply = connect(server).get("/subjects/A-1")
    assert reply.status_code == 500
    assert "more than one Subject" in reply.json()["detail"]


def test_an_atlas_id_that_is_no_number_is_refused(client):
    reply = client.get("/insertions", atlas_id="CA1")
    assert reply.status_code == 400
    assert reply.json()["atlas_id"] == ["Enter a number."]


def test_mock_sessions_are_marked_in_their_json(odd, connect):
    with AlyxServer(odd) as server:
        session = server.rest.records.sessions[0]
        session["json"] = {"IS_MOCK": True}
        assert connect(server).ids("sessions", django="json__IS_MOCK,True") == {session["id"]}


# Value of a record of `odd`, and whether parts of it, and other cases, find the record.
CASES = [
    ("sessions", "subject", "A-1", False, True),
    ("sessions", "lab", "alab", False, True),
    ("sessions", "project", "ibl_brainwide", True, True),
    ("sessions", "task_protocol", "training", True, True),
    ("sessions", "tag", "Brainwidemap", True, True),
    ("sessions", "nickname", "A-1", True, True),
    ("sessions", "datasets", "_ibl_wheel.position.npy", False, False),
    ("insertions", "name", "probe00a", False, True),
    ("insertions", "model", "Neuropixel 3B2", False, False),
    ("datasets", "name", "spikes.times.npy", False, False),
    ("datasets", "collection", "alf/probe00a", False, False),
    ("datasets", "subject", "A-1", False, False),
    ("datasets", "revision", "2024-05-06", False, None),
    ("subjects", "nickname", "A-1", False, True),
    ("labs", "name", "alab", False, False),
]


@pytest.mark.parametrize(("name", "by", "value", "by_part", "by_any_case"), CASES)
def test_filters_tell_parts_and_cases_apart_as_those_of_alyx(
    odd, connect, name, by, value, by_part, by_any_case
):
    with AlyxServer(odd) as server:
        client = connect(server)
        count = {given: len(client.list(name, **{by: given})) for given in (value, value[1:])}
        changed = len(client.list(name, **{by: value.swapcase()}))
    assert count[value] > 0
    assert (count[value[1:]] > 0) == by_part
    if by_any_case is not None:
        assert (changed > 0) == by_any_case


def test_filter_that_is_not_served_says_so(client):
    assert client.get("/sessions", histology="True").status_code == 501


# --- Pages


def test_pages_follow_each_other(client, release):
    rows = [row for page in client.pages("datasets", limit=100) for row in page]
    assert sorted(row["url"][-36:] for row in rows) == sorted(release.truth.datasets["id"])
    sizes = [len(page) for page in client.pages("datasets")]
    assert sizes[0] == 250
    assert sum(sizes) == len(rows)
    assert max(len(page) for page in client.pages("channels", limit=5000)) == 1000
    first = client.get("/datasets", limit=100, offset=100).json()
    assert first["previous"] == f"{client.server.url}/datasets?limit=100"
    assert first["next"] == f"{client.server.url}/datasets?limit=100&offset=200"
    for limit in ("0", "-3", "many"):
        assert len(client.get("/datasets", limit=limit).json()["results"]) == 250


def test_links_keep_the_filters(client, release):
    eid = release.truth.insertions["eid"].iloc[0]
    query = f"session__in,['{eid}']"
    rows = [row for page in client.pages("datasets", limit=7, django=query) for row in page]
    wanted = release.truth.datasets.query("eid == @eid")["id"]
    assert sorted(row["url"][-36:] for row in rows) == sorted(wanted)


def test_lists_without_order_are_shuffled(alyx, own, release):
    alyx.edge_cases.shuffle = True
    first, second = ([row["url"] for row in own.list("datasets")] for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)
    rows = [row["url"] for page in own.pages("datasets", limit=50) for row in page]
    assert len(rows) == len(release.truth.datasets)
    assert len(set(rows)) < len(rows)
    times = [row["start_time"] for row in own.list("sessions")]
    assert times == sorted(times, reverse=True)
    names = [row["nickname"] for row in own.list("subjects")]
    assert names == sorted(names)


def test_links_of_a_server_behind_a_proxy(alyx, own):
    alyx.external_url = "https://alyx.test"
    assert own.get("/sessions", limit=2).json()["next"].startswith("https://alyx.test/sessions?")
