"""Registration: whole sessions or nothing, the same facts for ever, an error that names the row."""

import shutil
from datetime import date

import numpy as np
import pandas as pd
import pytest

from populate.registration import releases, sessions
from populate.workers import worker
from schemas import behavior, ephys, probe, release, rows, session, subject
from schemas.errors import BwmError, Contradiction, RegistrationError, SourceError
from schemas.sources.records import DatasetRecord, InsertionRecord, SessionRecord, SortingRecord

COLUMNS = list(releases.COLUMNS)
TABLES = (
    subject.Lab,
    subject.Subject,
    session.Session,
    session.DataSource,
    session.Dataset,
    probe.ProbeInsertion,
    probe.ProbeInsertion.Dataset,
    ephys.Sorting,
    ephys.OfferedSorting,
    release.Release,
    release.Release.Insertion,
)


def uuid(n):
    return f"{n:08x}-0000-4000-8000-000000000000"


def row(n, **changes):
    """A row of a release list: probe n of session n of mouse n, but for what is changed."""
    facts = {
        "pid": uuid(0xF000 + n),
        "eid": uuid(n),
        "probe_name": "probe00",
        "session_number": "1",
        "date": "2021-02-03",
        "subject": f"M_{n:03d}",
        "lab": "eastlab",
    }
    return facts | changes


def write(path, listed):
    pd.DataFrame(listed, columns=COLUMNS).to_csv(path)
    return path


def contents():
    """Every row that registration can write."""
    return {table: rows.frame(table()) for table in TABLES}


def same(before, after):
    return all(before[name].equals(after[name]) for name in before)


def record(n, **changes):
    """A session as a source lists it, with a probe."""
    facts = {"eid": uuid(n), "subject": f"M_{n:03d}", "date": date(2021, 2, 3), "number": 1}
    facts |= {"lab": "eastlab", "insertions": (InsertionRecord(uuid(n), "probe00"),)}
    return SessionRecord(**facts | changes)


class Fixed:
    """A source that lists what it is given."""

    location = "memory"
    problems = ()

    def __init__(self, *records):
        self.records = records

    def sessions(self):
        return self.records


def offer(*records):
    report, _ = sessions.register_source(Fixed(*records))
    return report


@pytest.fixture(scope="module")
def _registered(lend, tmp_path_factory):
    """A database of which every test registers sessions of its own."""
    with lend() as database:
        database.register(release=write(tmp_path_factory.mktemp("list") / "first.csv", [row(1)]))
        yield database


@pytest.fixture
def registered(_registered):
    _registered.connect()
    return _registered


# --- release lists ------------------------------------------------------------------------------

FAULTY_ROWS = {
    "malformed pid": (row(20, pid="56f2a378"), "malformed pid '56f2a378'"),
    "upper-case pid": (row(21, pid=uuid(0xF021).upper()), "not a lower-case UUID"),
    "no pid": (row(22, pid=""), "malformed pid ''"),
    "malformed eid": (row(23, eid="not-a-uuid"), "malformed eid 'not-a-uuid'"),
    "repeated pid": (row(24, pid=row(10)["pid"]), "is in an earlier row too"),
    "repeated probe": (row(25, eid=row(10)["eid"], subject="M_010"), "is in an earlier row"),
    "no date": (row(26, date=""), "'' is not a date"),
    "American date": (row(27, date="02/03/2021"), "'02/03/2021' is not a date"),
    "short date": (row(28, date="2021-2-3"), "'2021-2-3' is not a date"),
    "impossible date": (row(29, date="2021-02-30"), "'2021-02-30' is not a date"),
    "bad number": (row(30, session_number="one"), "session number 'one'"),
    "negative number": (row(31, session_number="-1"), "session number '-1'"),
    "fraction": (row(32, session_number="1.0"), "session number '1.0'"),
    "large number": (row(33, session_number="1000"), "session number '1000'"),
    "no probe": (row(34, probe_name=""), "'' is not a valid probe name"),
    "long probe": (row(35, probe_name="probe" + 12 * "0"), "is not a valid probe name"),
    "no lab": (row(36, lab=""), "no lab"),
    "other subject": (
        row(37, eid=row(10)["eid"], probe_name="probe01"),
        "differ from an earlier row",
    ),
    "other date": (
        row(38, eid=row(10)["eid"], probe_name="probe01", subject="M_010", date="2021-02-04"),
        "differ from an earlier row",
    ),
}
REFUSED_SESSIONS = {
    "pid of another probe": (row(40, pid=row(1)["pid"]), "pid is registered as probe00 of session"),
    "other pid": (row(1, pid=uuid(0xF041)), f"pid is registered as {row(1)['pid']}"),
    "other subject": (row(1, subject="M_099"), "eid is registered as"),
    "other day": (row(1, date="2022-02-03"), "eid is registered as"),
    "other number": (row(1, session_number="2"), "eid is registered as"),
    "other lab": (row(1, lab="westlab"), "lab of M_001 is registered as eastlab, not westlab"),
    "other session of that day": (row(47, subject="M_001"), "session is registered as"),
    "lab with a space": (row(48, lab="east lab"), "is not a valid name of a lab"),
    "long lab": (row(49, lab=65 * "l"), "lab has 65 characters, 64 fit"),
}


@pytest.mark.parametrize("case", FAULTY_ROWS)
def test_a_faulty_row_is_refused_alone(registered, tmp_path, case):
    n = 100 + list(FAULTY_ROWS).index(case)
    faulty, says = FAULTY_ROWS[case]
    # The rows that the faulty one refers to are of this list, so that each case is on its own.
    first = row(10, subject="M_010")
    path = write(tmp_path / f"case{n}.csv", [first, faulty, row(n)])
    before = contents()
    found = releases.register_list(path)
    problem, closing = found.problems
    assert isinstance(problem, RegistrationError)
    assert f"{path}, line 3: " in str(problem)
    assert says in str(problem)
    assert "Correct the row." in str(problem)
    assert f"release 'case{n}' is not registered; the sessions and insertions" in str(closing)
    after = contents()
    added = set(after[session.Session].eid) - set(before[session.Session].eid)
    assert added - {first["eid"]} == {uuid(n)}
    assert len(probe.ProbeInsertion & {"eid": first["eid"]}) == 1
    assert not release.Release & {"release_name": f"case{n}"}


@pytest.mark.parametrize("case", REFUSED_SESSIONS)
def test_a_session_that_contradicts_the_database_is_refused(registered, tmp_path, case):
    n = 200 + list(REFUSED_SESSIONS).index(case)
    faulty, says = REFUSED_SESSIONS[case]
    path = write(tmp_path / f"case{n}.csv", [faulty, row(n)])
    before = contents()
    problem, _ = releases.register_list(path).problems
    assert isinstance(problem, RegistrationError)
    assert says in str(problem)
    assert faulty["eid"] in str(problem)
    assert isinstance(problem, Contradiction) == ("registered as" in says)
    assert problem.remedy
    after = contents()
    assert set(after[session.Session].eid) - set(before[session.Session].eid) == {uuid(n)}
    assert not release.Release & {"release_name": f"case{n}"}
    held = rows.frame(probe.ProbeInsertion * session.Session & {"eid": uuid(1)})
    assert len(held) == 1
    assert held.pid[0] == row(1)["pid"]


def _nothing(path):
    path.write_bytes(b"")


def _header_only(path):
    path.write_text(",".join(["", *COLUMNS]) + "\n")


def _binary(path):
    path.write_bytes(bytes(range(256)) * 40)


def _parquet(path):
    pd.DataFrame([row(1)]).to_parquet(path)


def _too_many_fields(path):
    path.write_text("\n".join([",".join(COLUMNS), ",".join(row(50).values()), 20 * "x,"]))


def _without_columns(path):
    pd.DataFrame([row(50)]).drop(columns=["lab", "pid"]).to_csv(path)


UNREADABLE = {
    "not there": (lambda _: None, "cannot be read as CSV"),
    "a folder": (lambda path: path.mkdir(), "cannot be read as CSV"),
    "empty": (_nothing, "cannot be read as CSV"),
    "only a header": (_header_only, "lists no insertion"),
    "binary": (_binary, "cannot be read as CSV"),
    "parquet": (_parquet, "cannot be read as CSV"),
    "ragged": (_too_many_fields, "cannot be read as CSV"),
    "lacks columns": (_without_columns, "lacks the columns pid, lab"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_what_is_no_release_list_is_one_error(registered, tmp_path, case):
    make, says = UNREADABLE[case]
    path = tmp_path / "list.csv"
    make(path)
    before = contents()
    with pytest.raises(RegistrationError) as raised:
        releases.register_list(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert says in str(raised.value)
    assert raised.value.remedy
    assert same(before, contents())


def test_lines_are_counted_as_an_editor_counts_them(registered, tmp_path):
    path = write(tmp_path / "gaps.csv", [row(60), row(61, pid="?")])
    first, good, bad = path.read_text().splitlines()
    path.write_text("\n".join([first, "", good, "", "", bad, ""]))
    problem, _ = releases.register_list(path).problems
    assert str(problem).startswith(f"{path}, line 6: malformed pid '?'")


def test_a_name_that_is_too_long_is_no_error_of_the_server(registered, tmp_path):
    path = write(tmp_path / "short.csv", [row(62)])
    with pytest.raises(RegistrationError, match="release_name has 65 characters, 64 fit"):
        releases.register_list(path, name=65 * "r")


def test_a_release_does_not_change(registered, tmp_path):
    path = write(tmp_path / "frozen.csv", [row(63), row(64)])
    assert releases.register_list(path).new["releases"] == 1
    again = releases.register_list(path)
    assert not again.changed
    assert again.known["releases"] == 1
    before = contents()
    write(path, [row(63)])
    with pytest.raises(
        Contradiction, match=r"frozen: it is registered with 2 insertions; .* 1 \(1 removed"
    ) as raised:
        releases.register_list(path)
    assert "under another --name" in str(raised.value)
    assert same(before, contents())
    assert releases.register_list(path, name="thawed").new["releases"] == 1


# --- names --------------------------------------------------------------------------------------

BAD_SUBJECTS = {
    "spaces": "NYU 11",
    "space at the end": "NYU-11 ",
    "quotes": "NYU'11",
    "double quotes": 'NYU"11',
    "parent": "..",
    "parent within": "NYU..11",
    "path": "../../NYU",
    "SQL": "x'; DROP TABLE subject; --",
    "semicolon": "NYU;11",
    "percent": "NYU%s",
    "backslash": "NYU\\11",
    "line feed": "NYU\n11",
    "empty": "",
    "100 characters": 100 * "N",
}


@pytest.mark.parametrize("case", BAD_SUBJECTS)
def test_a_subject_that_no_folder_could_have_is_refused(registered, tmp_path, case):
    n = 300 + list(BAD_SUBJECTS).index(case)
    name = BAD_SUBJECTS[case]
    path = write(tmp_path / f"case{n}.csv", [row(70, subject=name), row(n)])
    problem, _ = releases.register_list(path).problems
    assert isinstance(problem, RegistrationError)
    assert (uuid(70) in str(problem)) or "line 2" in str(problem)
    assert repr(name) in str(problem)
    assert problem.remedy
    assert not session.Session & {"eid": uuid(70)}
    assert name not in set(subject.Subject.to_arrays("subject"))
    assert len(session.Session & {"eid": uuid(n)}) == 1


def test_the_longest_name_fits(registered):
    offer(record(80, subject=64 * "N", lab=64 * "l"))
    assert (session.Session & {"eid": uuid(80)}).fetch1("subject") == 64 * "N"


def test_names_are_exact_in_case(registered, tmp_path):
    listed = [row(81, subject="ab"), row(82, subject="AB"), row(83, subject="aB", lab="EastLab")]
    assert not releases.register_list(write(tmp_path / "case.csv", listed)).problems
    for n, name, lab in ((81, "ab", "eastlab"), (82, "AB", "eastlab"), (83, "aB", "EastLab")):
        assert (session.Session & {"subject": name}).fetch1("eid") == uuid(n)
        assert (subject.Subject & {"subject": name}).fetch1("lab") == lab


LONG = {
    "probe_name": {"insertions": (InsertionRecord(uuid(84), "probe" + 12 * "x"),)},
    "probe_model": {"insertions": (InsertionRecord(uuid(84), "probe00", model=17 * "m"),)},
    "probe_serial": {"insertions": (InsertionRecord(uuid(84), "probe00", serial=33 * "1"),)},
    "task_protocol": {"task_protocol": 256 * "t"},
    "projects": {"projects": 256 * "p"},
    "lab": {"lab": 65 * "l"},
    "dataset_path": {
        "datasets": (
            DatasetRecord(uuid(84), 128 * "d/" + "d", kind="other", collection="", name="d"),
        )
    },
    "dataset_name": {
        "datasets": (DatasetRecord(uuid(84), "d", kind="other", collection="", name=129 * "d"),)
    },
    "sorting_name": {"sortings": (SortingRecord(uuid(84), "probe00", "s", 63 * "r", True),)},
}


@pytest.mark.parametrize("column", LONG)
def test_what_no_column_can_hold_is_refused_with_its_session(registered, column):
    before = contents()
    found = offer(record(84, **LONG[column]), record(1))
    (problem,) = found.problems
    assert f"{column} has " in str(problem)
    assert uuid(84) in str(problem)
    assert "Change it in the source" in str(problem)
    assert not session.Session & {"eid": uuid(84)}
    after = contents()
    for table in TABLES:
        if table is not session.DataSource:
            assert before[table].equals(after[table])


# --- a second registration ----------------------------------------------------------------------

PROBE = InsertionRecord(uuid(90), "probe00", pid=uuid(0xF090), model="3B2", serial="18005")
CHANGED_FACTS = {
    "subject": ({"subject": "M_091"}, "eid is registered as"),
    "date": ({"date": date(2021, 2, 4)}, "eid is registered as"),
    "number": ({"number": 2}, "eid is registered as"),
    "lab": ({"lab": "westlab"}, "lab of M_090 is registered as eastlab, not westlab"),
    "eid": ({"eid": uuid(91)}, f"session is registered as {uuid(90)}, not {uuid(91)}"),
    "pid": (
        {"insertions": (InsertionRecord(uuid(90), "probe00", pid=uuid(0xF091)),)},
        f"pid is registered as {uuid(0xF090)}, not {uuid(0xF091)}",
    ),
    "model": (
        {"insertions": (InsertionRecord(uuid(90), "probe00", model="NP2.4"),)},
        "probe_model is registered as 3B2, not NP2.4",
    ),
    "serial": (
        {"insertions": (InsertionRecord(uuid(90), "probe00", serial="18006"),)},
        "probe_serial is registered as 18005, not 18006",
    ),
    "probe of a pid": (
        {"insertions": (InsertionRecord(uuid(90), "probe01", pid=uuid(0xF090)),)},
        "pid is registered as probe00 of session",
    ),
    "pid of two probes": (
        {
            "insertions": (
                InsertionRecord(uuid(90), "probe02", pid=uuid(0xF092)),
                InsertionRecord(uuid(90), "probe03", pid=uuid(0xF092)),
            )
        },
        "two probes have the same pid",
    ),
}


@pytest.mark.parametrize("fact", CHANGED_FACTS)
def test_a_registered_fact_never_changes(registered, fact):
    offer(record(90, insertions=(PROBE,)))
    changes, says = CHANGED_FACTS[fact]
    before = contents()
    # What else the second registration says is not taken over either.
    found = offer(record(90, **{"projects": "other", **changes}))
    (problem,) = found.problems
    assert isinstance(problem, Contradiction) == ("registered as" in says)
    assert says in str(problem)
    assert uuid(90) in str(problem)
    assert problem.remedy
    assert not found.changed
    assert same(before, contents())


def test_what_moves_on_is_updated(registered):
    listed = DatasetRecord(
        uuid(92),
        "alf/_ibl_trials.table.pqt",
        kind="trials",
        collection="alf",
        name="_ibl_trials.table.pqt",
        file_size=10,
        md5=32 * "a",
        qc="NOT_SET",
    )
    first = {"projects": "one", "qc": "NOT_SET", "task_protocol": "p1", "datasets": (listed,)}
    offer(record(92, **first))
    moved = DatasetRecord(
        uuid(92),
        "alf/_ibl_trials.table.pqt",
        kind="trials",
        collection="alf",
        name="_ibl_trials.table.pqt",
        file_size=12,
        md5=32 * "b",
        qc="PASS",
    )
    insertion = InsertionRecord(uuid(92), "probe00", qc="WARNING")
    later = {"projects": "one,two", "qc": "PASS", "task_protocol": "p2", "datasets": (moved,)}
    found = offer(record(92, **later, insertions=(insertion,)))
    assert not found.problems
    assert {kind: n for kind, n in found.updated.items() if n} == {
        "sessions": 1,
        "insertions": 1,
        "datasets": 1,
    }
    held = (session.Session & {"eid": uuid(92)}).fetch1()
    assert (held["projects"], held["session_qc"], held["task_protocol"]) == (
        "one,two",
        "PASS",
        "p2",
    )
    held = (session.Dataset & {"eid": uuid(92)}).fetch1()
    assert (held["md5"], held["file_size"], held["dataset_qc"]) == (32 * "b", 12, "PASS")
    assert (probe.ProbeInsertion & {"eid": uuid(92)}).fetch1("insertion_qc") == "WARNING"


def test_what_was_unknown_is_filled_in_and_stays(registered, tmp_path):
    offer(record(93, lab=None), record(94))
    assert (subject.Subject & {"subject": "M_093"}).fetch1("lab") is None
    assert (probe.ProbeInsertion & {"eid": uuid(93)}).fetch1("pid") is None
    found = releases.register_list(write(tmp_path / "later.csv", [row(93), row(94)]))
    assert not found.problems
    updated = {kind: n for kind, n in found.updated.items() if n}
    assert updated == {"subjects": 1, "insertions": 2}
    for _ in range(2):
        assert (subject.Subject & {"subject": "M_093"}).fetch1("lab") == "eastlab"
        assert (probe.ProbeInsertion & {"eid": uuid(93)}).fetch1("pid") == row(93)["pid"]
        assert not offer(record(93, lab=None), record(94)).changed


def test_a_mouse_listed_with_and_without_lab_keeps_it(registered):
    second = {"subject": "M_095", "date": date(2021, 2, 4), "lab": None}
    offer(record(95), record(96, **second))
    assert (subject.Subject & {"subject": "M_095"}).fetch1("lab") == "eastlab"


# --- folders ------------------------------------------------------------------------------------


def tree(folder, *names):
    """A bare tree of ALF sessions with a file of trials in each."""
    table = pd.DataFrame({"choice": [1.0, -1.0], "response_times": [1.0, 2.0]})
    for name in names:
        alf = folder / name / "2021-03-04" / "001" / "alf"
        alf.mkdir(parents=True)
        table.to_parquet(alf / "_ibl_trials.table.pqt")
    return folder


@pytest.mark.parametrize("name", ["NYU 11", "NYU'11", "NYU..11", "NYU;11", 'a"b', 100 * "N"])
def test_a_folder_with_an_unusable_name_is_left_out(registered, tmp_path, name):
    tree(tmp_path / "data", f"eastlab/Subjects/{name}", "eastlab/Subjects/fine")
    before = set(session.Session.to_arrays("eid"))
    (found,) = registered.register(tmp_path / "data")
    (problem,) = found.problems
    assert isinstance(problem, BwmError)
    assert name[:60] in str(problem)
    assert problem.remedy
    added = set(session.Session.to_arrays("eid")) - before
    names = {s["subject"] for s in (session.Session & [{"eid": e} for e in added]).to_dicts()}
    assert names <= {"fine"}
    assert name not in set(subject.Subject.to_arrays("subject"))
    # The same mouse and day elsewhere is the same session.
    assert len(session.Session & {"subject": "fine"}) == 1


def test_bare_sessions_take_the_ids_of_a_release_list(registered, tmp_path):
    listed = row(700, subject="listed", date="2021-03-04")
    (report,) = registered.register(release=write(tmp_path / "own.csv", [listed]))
    assert not report.problems
    folder = tree(tmp_path / "tree", "eastlab/Subjects/listed", "eastlab/Subjects/other")
    (report,) = registered.register(folder)
    assert not report.problems
    assert (report.new["sessions"], report.known["sessions"]) == (1, 1)
    key = {"eid": listed["eid"]}
    worker.run([behavior.Trials])
    assert (behavior.Trials & key).fetch1("n_trials") == 2


def test_a_read_only_folder_with_spaces_is_registered(registered, tmp_path):
    folder = tree(tmp_path / "my data (old)", "eastlab/Subjects/spaced")
    places = [folder, *folder.rglob("*")]
    for place in places:
        place.chmod(0o555 if place.is_dir() else 0o444)
    before = {place: place.stat().st_mtime_ns for place in places}
    try:
        (found,) = registered.register(folder)
        assert not found.problems
        assert {place: place.stat().st_mtime_ns for place in [folder, *folder.rglob("*")]} == before
    finally:
        for place in places:
            if place.is_dir():
                place.chmod(0o755)
    key = session.Session & {"subject": "spaced"}
    assert (session.Dataset & key.proj()).fetch1("data_source") == str(folder)


def test_a_folder_that_is_not_there_is_one_error(registered, tmp_path):
    with pytest.raises(SourceError, match="There is no such folder"):
        registered.register(tmp_path / "nowhere")


def test_a_source_with_a_long_name_is_no_error_of_the_server(registered, tmp_path):
    folder = tmp_path
    while len(str(folder)) < 513:
        folder = folder / (100 * "d")
    tree(folder, "eastlab/Subjects/far")
    with pytest.raises(RegistrationError, match=r"data_source has .* characters, 512 fit"):
        registered.register(folder)
    assert not session.Session & {"subject": "far"}
    shutil.rmtree(tmp_path / (100 * "d"))


# --- real data ----------------------------------------------------------------------------------

BOTH_SEQUENCES = [("list", "folder"), ("folder", "list")]


@pytest.mark.parametrize("order", BOTH_SEQUENCES, ids=" then ".join)
def test_the_real_release_and_real_sessions(database, real, order):
    listed, folder = real / "2022_10_bwm_release.csv", real / "ONE"
    steps = {"list": {"release": listed}, "folder": {"folder": folder}}
    for step in order:
        assert not any(report.problems for report in database.register(**steps[step]))
    members = release.Release.Insertion & {"release_name": "2022_10_bwm_release"}
    assert len(members) == 547
    assert len(session.Session & members.proj()) == 354
    of_release = rows.frame((session.Session & members.proj()) * subject.Subject.proj("lab"))
    assert of_release.subject.nunique() == 115
    assert of_release.lab.nunique() == 12
    assert len(session.Session()) == 354 + 6
    assert len(subject.Subject()) == 115
    for report in database.register(folder, listed):
        assert not report.changed


def test_real_trials_and_reaction_times(database, real):
    database.register(folder=real / "ONE")
    assert database.populate() == []
    states = database.status()
    assert (states["behavior.Trials"].done, states["behavior.Trials"].absent) == (6, 0)
    assert (states["wheel.Wheel"].done, states["wheel.Wheel"].absent) == (0, 6)
    assert states["wheel.Wheel"].failed == 0
    assert len(probe.ProbeInsertion()) == 0
    paths = sorted((real / "ONE").rglob("_ibl_trials.table.pqt"))
    tables = {path.parts[-4]: pd.read_parquet(path) for path in paths}
    assert len(behavior.Trials.Trial()) == sum(map(len, tables.values())) == 3903
    of_response = behavior.ReactionTime.Trial & {"rt_definition": "response"}
    stored = rows.frame(of_response * session.Session.proj("session_date"))
    n_missing = 0
    for day, found in stored.groupby(stored.session_date.astype(str)):
        expected = tables[day].response_times - tables[day].stimOn_times
        times = found.sort_values("trial").reaction_time
        np.testing.assert_array_equal(times.to_numpy(), expected.to_numpy())
        n_missing += int(expected.isna().sum())
    assert n_missing == 3
