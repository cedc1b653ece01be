"""Notices of releases: the files that they come from, the list, and the warnings of views."""

import json
import re
import warnings
from datetime import date

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from populate import cli
from populate.registration.notices import COLUMNS, register_notices
from schemas import activity, ephys, passive, probe, release, rows, session, video, views, wheel
from schemas.errors import NoticeWarning, QueryError, RegistrationError
from schemas.views import errata

SOURCE = "https://example.org/notes"


def entry(notice, name, kind="", recording="", text="It is wrong."):
    return dict(
        zip(COLUMNS, (notice, name, kind, "2025-02-03", text, SOURCE, recording), strict=True)
    )


def write(path, *entries):
    pd.DataFrame(entries, columns=list(COLUMNS)).to_csv(path, index=False)
    return path


@pytest.fixture
def clean(populated):
    """The database that others read too, without notices before and after."""
    errata.forget()
    yield populated
    populated.connect()
    for table in (release.Notice.Session, release.Notice.Insertion, release.Notice):
        table().delete_quick()
    errata.forget()


@pytest.fixture
def name(populated):
    return release.Release.to_arrays("release_name")[0]


@pytest.fixture
def pair(populated):
    """Two sessions of the release with all that is fetched below, the first of two probes."""
    tables = (wheel.Wheel, video.Licks, video.Pupil, passive.PassiveStimuli, passive.PassiveGabors)
    chosen = session.Session & release.Release.Insertion.proj() & ephys.Spikes.proj()
    for table in (*tables, passive.ReceptiveField & "has_pattern"):
        chosen = chosen & table.proj()
    eids = rows.frame(chosen).eid.tolist()
    probes = rows.frame(probe.ProbeInsertion()).groupby("eid").size()
    first = next(eid for eid in eids if probes[eid] > 1)
    return first, next(eid for eid in eids if eid != first)


def said(call):
    """Names of the notices that a call warns of, one list for each warning."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        call()
    texts = [str(one.message) for one in heard if issubclass(one.category, NoticeWarning)]
    return [re.findall(r"(\w+) \(since 2025-02-03", text) for text in texts]


def leaves(eid, other):
    """Views of a session, by the kind of its data."""
    camera = (video.Pupil & {"eid": eid}).to_arrays("camera")[0]
    tracker = (video.Pose & {"eid": eid, "camera": camera}).to_arrays("tracker")[0]
    units = views.units() & {"eid": eid}
    yield "trials", lambda: views.fetch_trials(eid)
    yield "trials", lambda: views.fetch_reaction_times("first_movement", eid)
    yield "trials", lambda: views.fetch_psychometric_curve(eid)
    yield "trials", lambda: views.fetch_chronometric_curve(eid)
    yield "wheel", lambda: views.fetch_wheel(eid)
    yield "wheel", lambda: views.fetch_events(eid, "wheel_movement")
    yield "licks", lambda: views.fetch_licks(eid)
    yield "pupil", lambda: views.fetch_pupil(eid, camera)
    yield "motion_energy", lambda: views.fetch_motion_energy(eid, camera)
    yield "pose", lambda: views.fetch_pose(eid, camera, tracker)
    yield "passive_gabors", lambda: views.fetch_passive(eid)
    yield "passive_stimuli", lambda: views.fetch_events(eid, "valve")
    yield "receptive_field", lambda: views.fetch_sparse_noise(eid)
    yield "clusters", lambda: views.fetch_clusters(units)
    yield "clusters", lambda: views.fetch_units(units)
    yield "spikes", lambda: views.fetch_spikes(units)
    yield "spikes", lambda: views.spike_counts(units, "lick")
    yield "licks", lambda: views.spike_counts(units, "lick")
    yield "spikes", lambda: views.fetch_psth(units, "stimulus_side")
    yield "trials", lambda: views.fetch_psth(units, "stimulus_side")
    yield "trials", lambda: views.aligned(eid, "wheel_speed", "stim_on_time")
    yield "wheel", lambda: views.binned(units)


def test_each_view_warns_once_of_its_kind_of_data_and_its_recordings(clean, name, pair, tmp_path):
    eid, other = pair
    kinds = {kind for kind, _ in leaves(eid, other)}
    entries = [entry(f"of_{kind}", name, kind, eid) for kind in sorted(kinds)]
    register_notices(write(tmp_path / "n.csv", *entries))
    for kind, call in leaves(eid, other):
        (names,) = said(call)
        assert f"of_{kind}" in names, kind
        assert len(names) == len(set(names)) <= 3, kind
    for kind, call in leaves(other, eid):
        assert said(call) == [], kind


def test_a_frame_of_many_sessions_warns_once_of_all(clean, name, pair, tmp_path):
    entries = [entry("one", name, "spikes", pair[0]), entry("two", name, "trials", pair[1])]
    register_notices(write(tmp_path / "n.csv", *entries))
    units = views.units(criterion="ibl_2022") & [{"eid": eid} for eid in pair]
    assert said(lambda: views.fetch_spikes(units)) == [["one"]]
    ask = {"event": "stim_on_time", "window": (0, 0.1), "bin": 0.05, "progress": False}
    assert said(lambda: list(views.each_session(units, **ask))) == [["one", "two"]]
    ask |= {"by": ["side"], "n_trials": 2}
    assert said(lambda: views.pseudo_population(units, **ask)) == [["one", "two"]]
    assert said(lambda: views.fetch_reaction_times("first_movement")) == [["two"]]


def test_a_notice_touches_its_session_insertion_or_release(clean, name, pair, tmp_path):
    eid, other = pair
    probes = rows.frame(probe.ProbeInsertion & {"eid": eid}).set_index("probe_name").pid
    outside = set(rows.frame(session.Session()).eid) - set(
        rows.frame(release.Release.Insertion()).eid
    )
    entries = [
        entry("session", name, "", eid),
        entry("probe", name, "", probes.iloc[0]),
        entry("clock", name, "trials", probes.iloc[0]),
        entry("everything", name),
        entry("wheels", name, "wheel"),
    ]
    register_notices(write(tmp_path / "n.csv", *entries))

    def listed(*asked, **named):
        return set(rows.frame(views.notices(*asked, **named)).notice_name)

    every = {"session", "probe", "clock", "everything", "wheels"}
    assert listed() == listed(release_name=name) == listed(eid) == every
    assert listed(probes.iloc[0].upper()) == every
    assert listed(probes.iloc[1]) == {"session", "everything", "wheels"}
    assert listed(other) == {"everything", "wheels"}
    assert listed(eid, name) == every
    for stranger in outside:
        assert listed(stranger) == set()
    assert said(lambda: views.fetch_trials(eid)) == [["clock", "everything", "session"]]
    assert said(lambda: views.fetch_wheel(other)) == [["everything", "wheels"]]
    first, second = (said(lambda pid=pid: views.fetch_clusters(pid)) for pid in probes[:2])
    assert (first, second) == ([["everything", "probe", "session"]], [["everything", "session"]])
    for wrong in ({"recording": "x"}, {"release_name": "x"}):
        with pytest.raises(QueryError):
            views.notices(**wrong)


def test_one_query_for_a_result_and_none_without_notices(
    clean, name, pair, tmp_path, statements, monkeypatch
):
    def asked(call):
        statements.clear()
        found = said(call)
        return found, sum("notice" in one for one in statements)

    units = views.units(criterion="ibl_2022")
    ask = {"event": "stim_on_time", "window": (0, 0.1), "bin": 0.05, "progress": False}
    for call in (lambda: views.fetch_spikes(units), lambda: list(views.each_session(units, **ask))):
        errata.forget()
        assert asked(call) == ([], 2)  # which notices touch them, and whether there are any
        assert asked(call) == ([], 0)
    now = errata.time.monotonic()
    monkeypatch.setattr(errata.time, "monotonic", lambda: now + errata.ASK_AGAIN)
    assert asked(lambda: views.fetch_trials(pair[0])) == ([], 2)
    register_notices(write(tmp_path / "n.csv", entry("one", name, "spikes", pair[0])))
    for call in (lambda: views.fetch_spikes(units), lambda: list(views.each_session(units, **ask))):
        assert asked(call) == ([["one"]], 1)


def test_the_warning_says_what_since_when_and_where_of_the_users_line(clean, name, pair, tmp_path):
    text = "The polarity of the wheel was flipped; re-import it."
    register_notices(write(tmp_path / "n.csv", entry("flipped", name, "wheel", pair[0], text)))
    with pytest.warns(NoticeWarning) as heard:
        views.fetch_wheel(pair[0])
    (one,) = heard
    expected = f"A notice touches these data: flipped (since 2025-02-03, wheel): {text} [{SOURCE}]"
    assert str(one.message) == expected
    assert one.filename == __file__
    with pytest.warns(NoticeWarning) as heard:
        views.aligned(pair[0], "wheel_speed", "stim_on_time")
    assert [one.filename for one in heard] == [__file__]


def test_a_file_is_registered_again_and_changed(clean, name, pair, tmp_path):
    pid = rows.frame(probe.ProbeInsertion & {"eid": pair[0]}).pid.iloc[0]
    entries = [entry("a", name, "wheel", pair[0]), entry("a", name, "wheel", pair[1])]
    path = write(tmp_path / "n.csv", *entries, entry("b", name, "", pid.upper()))
    report = register_notices(path)
    assert (report.new, report.known) == ({"notices": 2}, {"notices": 0})
    (row,) = (release.Notice & {"notice_name": "a"}).to_dicts()
    assert row == {
        "notice_name": "a",
        "release_name": name,
        "data_kind": "wheel",
        "notice_since": date(2025, 2, 3),
        "notice_text": "It is wrong.",
        "notice_source": SOURCE,
    }
    of_sessions = rows.frame(release.Notice.Session())
    assert set(zip(of_sessions.notice_name, of_sessions.eid, strict=True)) == {
        ("a", eid) for eid in pair
    }
    (touched,) = release.Notice.Insertion.to_dicts()
    assert (touched["notice_name"], touched["eid"]) == ("b", pair[0])
    assert register_notices(path).known == {"notices": 2}
    described = [
        {**entry("a", name, None, None, "Better known."), "recording": [pair[1], pid]},
        {name: value for name, value in entry("c", name).items() if name != "recording"},
    ]
    path = tmp_path / "n.json"
    path.write_text(json.dumps(described))
    report = register_notices(path)
    assert (report.new, report.updated) == ({"notices": 1}, {"notices": 1})
    assert rows.frame(release.Notice.Session()).eid.tolist() == [pair[1]]
    assert rows.frame(release.Notice.Insertion()).notice_name.tolist() == ["a", "b"]
    held = rows.frame(release.Notice()).set_index("notice_name")
    assert held.notice_text["a"] == "Better known."
    assert held.data_kind.isna()[["a", "c"]].all()


def test_a_wrong_file_is_one_error_and_nothing_is_written(clean, name, pair, tmp_path):
    right, path = entry("right", name), tmp_path / "n.csv"
    stranger = "00000000-0000-4000-8000-000000000000"
    for wrong, says in (
        ({"since": "3 May"}, r"line 3: since is '3 May', no date of the form 2025-12-31\. Corr"),
        ({"since": "2025-02-30"}, "line 3: since is '2025-02-30'"),
        ({"release": "none"}, "line 3: no release 'none'. There are: "),
        ({"kind": "weel"}, "line 3: no kind of data 'weel'. There are: .*wheel"),
        ({"recording": stranger}, f"line 3: recording '{stranger}' is not in the release"),
        ({"text": ""}, "line 3: text is empty"),
        ({"notice": "n" * 65}, "line 3: notice_name has 65 characters"),
        (
            {"notice": "right", "text": "other"},
            "line 3: it says of 'right' other things than line 2",
        ),
        ({"notice": "right"}, "line 3: 'right' has a row without a recording beside others"),
        ({"since": "", "source": ""}, "line 3: since is empty"),
    ):
        write(path, right, {**entry("wrong", name), **wrong})
        with pytest.raises(RegistrationError, match=says):
            register_notices(path)
        assert not release.Notice()
    write(path, *({**right, "notice": f"n{k}", "kind": "?"} for k in range(3)))
    with pytest.raises(RegistrationError, match=r"line 2: no kind .* There are 3 such faults"):
        register_notices(path)
    texts = {
        "n.csv": ("notice,release\na,b\n", "lacks kind, recording, since, source, text"),
        "more.csv": (",".join([*COLUMNS, "eid"]) + "\n", "has the unknown eid"),
        "empty.csv": (",".join(COLUMNS) + "\n", "no row: it has no notice"),
        "none.csv": ("", "cannot be read as CSV"),
        "n.json": ("[{]", "cannot be read as JSON"),
        "object.json": ("{}", "is no list of objects"),
        "lacks.json": ('[{"notice": "a"}]', "notice 1: lacks release, since, source, text"),
        "text.json": (
            json.dumps([{**right, "recording": pair[0]}]),
            "notice 1: has a value that is no text, or a `recording` that is no list",
        ),
        "number.json": (json.dumps([{**right, "recording": [], "text": 3}]), "that is no text"),
    }
    for file, (text, says) in texts.items():
        (tmp_path / file).write_text(text)
        with pytest.raises(RegistrationError, match=re.escape(says)):
            register_notices(tmp_path / file)
    with pytest.raises(RegistrationError, match="cannot be read"):
        register_notices(tmp_path / "absent.csv")
    assert not release.Notice()


def test_the_command_registers_a_file(clean, name, tmp_path):
    path = write(tmp_path / "n.csv", entry("one", name))
    shown = CliRunner().invoke(cli.app, ["notices", str(path)], env=clean.environment)
    assert shown.exit_code == 0, shown.output
    assert re.search(r"notices +1 +0 +0", shown.stdout)
    clean.connect()
    assert release.Notice.to_arrays("notice_name").tolist() == ["one"]


def test_what_is_read_is_the_same_with_and_without_notices(clean, name, pair, tmp_path):
    before = views.spike_counts(pair[0], "stim_on_time", (0, 0.1), 0.05)
    register_notices(write(tmp_path / "n.csv", entry("one", name)))
    with pytest.warns(NoticeWarning):
        after = views.spike_counts(pair[0], "stim_on_time", (0, 0.1), 0.05)
    assert np.array_equal(before.counts, after.counts)
    assert activity.Psth()
