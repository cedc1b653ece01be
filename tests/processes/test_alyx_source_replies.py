"""Replies of a server become records: recorded ones, and those with bad values."""

import copy
import urllib.parse

import pandas as pd
import pytest

from schemas.errors import SourceError
from schemas.settings import AlyxSettings
from schemas.sources.one_api import OneSource, forms, listing
from schemas.sources.one_api.alyx import AlyxSource
from schemas.sources.one_api.client import Client
from schemas.sources.one_api.records import session_records
from schemas.sources.one_api.selection import BWM_PROJECT
from schemas.sources.one_api.tables import (
    ALYX_TABLES,
    TABLES,
    empty_tables,
    merge,
    write_tables,
)
from schemas.sources.records import CheckRecord, Selection
from tests.support.alyx.plain import recorded
from tests.support.alyx.records import Records
from tests.support.alyx.rest import EdgeCases, Rest
from tests.support.online import source

pytestmark = pytest.mark.usefixtures("own_home")


def everything(opened):
    return list(opened.sessions())


def test_a_recorded_session_is_understood(replies, tmp_path):
    reply = recorded("sessions_read_200")["body"]
    rows = listing.session_rows(reply, "http://alyx.test")
    tracks = recorded("trajectories_list_200")["body"]["results"]
    rows["alyx/trajectories"] = listing.trajectory_rows(tracks, rows["insertions"])
    rows["alyx/subjects"] = listing.subject_rows(recorded("subjects_list_200")["body"]["results"])
    (record,), problems = session_records(listing.as_tables(rows), tmp_path, from_alyx=True)
    assert problems == []
    assert (record.lab, record.subject, record.number) == ("alphalab", "AL_001", 1)
    assert str(record.start) == "2020-01-08 11:03:12.345678"
    assert (record.qc, record.mouse.sex, str(record.mouse.death_date)) == (
        "WARNING",
        "M",
        "2020-03-02",
    )
    checks = {check.name: check for check in record.checks}
    assert checks["behavior"] == CheckRecord("behavior", value=1.0)
    assert checks["task"] == CheckRecord("task", outcome="PASS")
    assert checks["_videoLeft_pin_state"] == CheckRecord("_videoLeft_pin_state")
    assert checks["_videoLeft_dropped_frames"].text == "[true, 4, 0]"
    # The revision's name is in the address alone: the field holds a uuid.
    (trials,) = (d for d in record.datasets if d.path == "alf/#2025-03-03#/_ibl_trials.table.pqt")
    assert (trials.revision, trials.is_default, trials.collection) == ("2025-03-03", True, "alf")
    assert trials.md5 == "18cab2a2408596fda89d5764597ed511"
    assert rows["alyx/sessions"][0]["data_server"] == "http://files.test/public"
    first, second = record.insertions
    assert (first.probe_name, first.level, second.level) == ("probe00", "resolved", "aligned")
    assert first.picks[0] == (1234.0, -2345.0, -700.0)
    assert [t.provenance for t in first.trajectories if t.is_current] == [
        "Ephys aligned histology track"
    ]


def test_a_recorded_session_without_anything_is_understood(replies, tmp_path):
    rows = listing.session_rows(recorded("sessions_read_nulls_200")["body"], "http://alyx.test")
    (record,), problems = session_records(listing.as_tables(rows), tmp_path, from_alyx=True)
    assert problems == []
    assert (record.qc, record.checks, record.mouse) == ("NOT_SET", (), None)
    (insertion,) = record.insertions
    assert (insertion.model, insertion.serial, insertion.level, insertion.qc) == (None,) * 4


def test_a_session_without_files_and_probes_is_kept(replies, tmp_path):
    reply = recorded("sessions_read_nulls_200")["body"]
    reply |= {"data_dataset_session_related": [], "probe_insertion": []}
    new = listing.as_tables(listing.session_rows(reply, "http://alyx.test"))
    names = [*TABLES, *(f"alyx/{name}" for name in ALYX_TABLES)]
    write_tables(merge(empty_tables(), new), tmp_path / "cache", "http://alyx.test", names)
    (record,) = OneSource(tmp_path / "cache", tmp_path / "home").sessions()
    assert (record.eid, record.datasets, record.insertions) == (reply["id"], (), ())


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"data_dataset_session_related": None}, "cannot be understood"),
        ({"start_time": "long ago"}, "cannot be understood"),
    ],
)
def test_a_reply_that_is_no_session_is_reported(replies, change, text):
    reply = recorded("sessions_read_200")["body"] | change
    with pytest.raises(SourceError, match=text):
        listing.session_rows(reply, "http://alyx.test")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("lab", "otherlab", "the lab was changed on the server, but its files were not"),
        ("subject", "other", "the subject was changed on the server, but its files were not"),
        ("number", 77, "the number was changed on the server, but its files were not"),
        ("start_time", "2001-02-03T04:05:06", "the day was changed on the server"),
    ],
)
def test_files_of_another_folder_are_left_out_and_the_cause_is_named(replies, name, value, says):
    reply = recorded("sessions_read_200")["body"] | {name: value}
    rows = listing.session_rows(reply, "http://alyx.test")
    (problem,) = rows["problems"]
    assert says in str(problem)
    assert "folder" not in str(problem)
    assert rows["datasets"] == []
    assert len(rows["sessions"]) == 1


def test_recorded_sites_are_understood(replies):
    rows = listing.site_rows(recorded("channels_by_trajectory_200")["body"]["results"])
    assert rows[0] == {
        "trajectory_id": "88daf401-6b40-43ef-a54b-0c4e010c4759",
        "axial": 20.0,
        "lateral": 43.0,
        "x": -2311.0,
        "y": -2100.0,
        "z": -3900.0,
        "brain_region": 0,
    }


def test_the_address_of_a_file_has_its_id_as_the_recorded_one(replies):
    for dataset in recorded("sessions_read_200")["body"]["data_dataset_session_related"]:
        server, _, rest = dataset["data_url"].partition("/alphalab/")
        folder = "alphalab/Subjects/AL_001/2020-01-08/001"
        path = f"alphalab/{rest}".removeprefix(f"{folder}/").replace(f".{dataset['id']}", "")
        made = listing.file_url(server, folder, path, dataset["id"])
        assert made == dataset["data_url"].replace("#", "%23")


# --- bad values ---------------------------------------------------------------------------------


def put(folder, name, **values):
    """Change the first row of a table of ours."""
    path = folder / "alyx" / f"{name}.pqt"
    table = pd.read_parquet(path)
    for column, value in values.items():
        table[column] = table[column].astype(object)
        table.loc[table.index[0], column] = value
    table.to_parquet(path)
    return table.iloc[0]


@pytest.mark.parametrize(
    ("table", "values", "text"),
    [
        ("sessions", {"start_time": "noon"}, "start 'noon' is no time"),
        ("sessions", {"qc": "GOOD"}, "'GOOD' is not one of"),
        ("sessions", {"extended_qc": "{"}, "is no JSON"),
        ("sessions", {"extended_qc": "[1]"}, "is no JSON object"),
        ("trajectories", {"provenance": "Guess"}, "unknown provenance 'Guess'"),
        ("trajectories", {"probe_name": "probe09"}, "trajectory of 'probe09'"),
    ],
)
def test_a_bad_value_is_told_and_does_not_stop_the_others(
    alyx, offline, tmp_path, table, values, text
):
    everything(source(alyx, tmp_path / "cache"))
    bad = put(tmp_path / "cache", table, **values)["eid"]
    folder = OneSource(tmp_path / "cache", tmp_path / "home")
    assert folder.sessions() == [record for record in offline if record.eid != bad]
    (problem,) = folder.problems
    assert text in str(problem)
    assert bad in str(problem)


def test_a_bad_mouse_is_told_for_its_sessions(alyx, offline, tmp_path):
    everything(source(alyx, tmp_path / "cache"))
    bad = put(tmp_path / "cache", "subjects", sex="X", birth_date="long ago")["nickname"]
    folder = OneSource(tmp_path / "cache", tmp_path / "home")
    assert folder.sessions() == [record for record in offline if record.subject != bad]
    assert len(folder.problems) == len([r for r in offline if r.subject == bad])


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("subject", lambda s: s["subject"].update(nickname="renamed")),
        ("lab", lambda s: s.update(lab={"name": "otherlab"})),
        ("number", lambda s: s.update(number=77)),
        ("day", lambda s: s.update(start_time="2001-02-03T04:05:06")),
    ],
)
def test_files_that_were_not_renamed_with_their_session_are_left_out(
    alyx, offline, tmp_path, name, change
):
    session = alyx.rest.records.sessions[0]
    change(session)
    opened = source(alyx, tmp_path / "cache")
    (record,) = opened.sessions([session["id"]])
    assert record.datasets == ()
    (problem,) = opened.problems
    assert f"the {name} was changed on the server, but its files were not" in str(problem)


# --- replies of any form --------------------------------------------------------------------------

BAD = (None, True, 3, -1, 0.5, "x", "", "\ud800", "x" * 300, [], [1], [None], {"a": 1}, 2**62)
FORMS = {
    "sessions/": forms.Session,
    "sessions/ file": forms.Dataset,
    "sessions/ probe": forms.Insertion,
    "sessions": forms.ListedSession,
    "insertions": forms.ListedInsertion,
    "trajectories": forms.Trajectory,
    "channels": forms.Channel,
    "subjects": forms.Subject,
    "datasets": forms.DatasetRead,
}
LISTS = {"file": "data_dataset_session_related", "probe": "probe_insertion"}


@pytest.fixture
def changed(release, offline, tmp_path, monkeypatch):
    """Return a function that lists a session whose server says something else of one field.

    No request is sent: the replies are those of the server of the tests, once each.
    """
    rest = Rest(Records(release.folder), "http://alyx.test", EdgeCases())
    rest.edge_cases.unaddressed = {d["id"] for d in rest.records.datasets[::7]}
    rest.edge_cases.mirrors = ["http://mirror.test"]
    located = (r for r in offline if any(t.sites for i in r.insertions for t in i.trajectories))
    eids = [next(located).eid, offline[0].eid]
    replies, wrong = {}, {}

    def ask(_, path):
        if path not in replies:
            place, _, terms = path.partition("?")
            endpoint, _, key = place.strip("/").partition("/")
            found = urllib.parse.parse_qsl(terms)
            replies[path] = rest.read(endpoint, key) if key else rest.list(endpoint, found, "")
        reply = copy.deepcopy(replies[path])
        for (name, field), value in wrong.items():
            endpoint, _, within = name.partition(" ")
            rows = reply.get("results", [reply])
            place = f"/sessions/{eids[0]}" if "/" in endpoint else f"/{endpoint}?"
            if path.startswith(place):
                row = rows[0][LISTS[within]][0] if within else rows[0]
                row[field] = value
                listed.changed[name] = row
        return reply

    monkeypatch.setattr(Client, "_ask", ask)

    def listed(name="", field="", value=None):
        wrong.clear()
        if name:
            wrong[name, field] = value
        given = AlyxSettings(cache=tmp_path / "cache", user="u", token="t")
        opened = AlyxSource("http://alyx.test", tmp_path, given)
        try:
            opened.find(Selection(project=BWM_PROJECT))
            return list(opened.sessions(eids)), opened.problems
        except SourceError as error:
            return [], [error]

    listed.changed = {}
    return listed


def is_refused(form, record):
    try:
        forms.parsed(form, record)
    except forms.BadForm:
        return True
    return False


@pytest.mark.parametrize("name", FORMS)
def test_a_field_of_any_form_is_read_or_named_and_never_a_traceback(changed, name):
    whole, problems = changed()
    assert len(whole) == 2
    assert problems == []
    for k, field in enumerate(FORMS[name].__annotations__):
        for value in (BAD[(k + j) % len(BAD)] for j in (0, 7)):
            records, told = changed(name, field, value)
            if is_refused(FORMS[name], changed.changed[name]):
                assert told, (field, value)
                assert field in str(told[0]) or name in ("datasets", "sessions/"), (field, value)
            if "/" in name:  # what is wrong with one session is not that of the other
                assert whole[1] in records
