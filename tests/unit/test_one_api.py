"""Small folders of ONE, with and without cache tables."""

import datetime
import logging
import re
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from iblutil.io import parquet

from schemas.errors import DamagedFile, MissingDataset, SourceError
from schemas.sources.base import select_revision
from schemas.sources.one_api import OneSource, session_id
from schemas.sources.one_api.tables import _flags
from schemas.sources.records import PLACE, InsertionRecord
from schemas.sources.registry import open_source
from tests.support.one_folder import (
    DAY,
    EIDS,
    WHEEL,
    dataset_rows,
    session_row,
    tables,
    write,
    write_tree,
)

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "real" / "ONE"


def snapshot(folder):
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in Path(folder).rglob("*")}


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "mes données" / "ONE")


# --- bare trees ---------------------------------------------------------------------------------


def test_a_bare_tree_is_listed_in_order(tree, home):
    source = OneSource(tree, home)
    sessions = source.sessions()
    assert [(s.lab, s.subject, str(s.date), s.number) for s in sessions] == [
        (None, "ALK01", "2020-01-02", 12),
        ("somelab", "NYU-47", "2021-06-24", 1),
        ("somelab", "NYU-47", "2021-06-24", 3),
    ]
    assert source.problems == []
    assert source.location == str(tree)
    assert {s.start for s in sessions} == {s.qc for s in sessions} == {None}
    assert {s.task_protocol for s in sessions} == {s.projects for s in sessions} == {None}


def test_a_bare_tree_tells_its_files_probes_and_sorts(tree, home):
    session = OneSource(tree, home).sessions()[-1]
    assert [(d.path, d.kind, d.probe_name, d.sorter) for d in session.datasets] == [
        ("alf/_ibl_wheel.position.npy", "wheel", None, None),
        ("alf/_ibl_wheel.timestamps.npy", "wheel", None, None),
        ("alf/probe00a/electrodeSites.mlapdv.npy", "channels", "probe00a", None),
        (
            "alf/probe01/pykilosort/#2024-05-06#/spikes.times.npy",
            "spikes",
            "probe01",
            "pykilosort",
        ),
        ("alf/probe01/pykilosort/spikes.times.npy", "spikes", "probe01", "pykilosort"),
        (
            "raw_ephys_data/probe01/_spikeglx_ephysData_g0_t0.imec1.ap.cbin.npy",
            "other",
            "probe01",
            None,
        ),
    ]
    for record in session.datasets:
        path = tree / "somelab/Subjects/NYU-47/2021-06-24/003" / record.path
        assert record.file_size == path.stat().st_size
        assert (record.md5, record.qc, record.is_default, record.dataset_id) == (None,) * 4
    assert session.insertions == (
        InsertionRecord(session.eid, "probe00a"),
        InsertionRecord(session.eid, "probe01"),
    )
    assert [(s.revision, s.is_default) for s in session.sortings] == [
        ("", False),
        ("2024-05-06", True),
    ]


def test_ids_of_a_bare_tree_are_the_same_wherever_it_is(tree, home, tmp_path):
    first = OneSource(tree, home).sessions()
    moved = tree.rename(tmp_path / "elsewhere")
    assert [s.eid for s in OneSource(moved, tmp_path / "other").sessions()] == [
        s.eid for s in first
    ]
    assert first[0].eid == session_id(None, "ALK01", datetime.date(2020, 1, 2), 12)


def test_ids_never_change():
    # Rows of databases are keyed on them.
    assert session_id("somelab", "NYU-47", DAY, 3) == PINNED
    assert uuid.UUID(PINNED).version == 5


PINNED = "89d92a2f-7248-579b-a5fa-ed16f7e8365f"


names = st.text("abcXYZ019_-é", min_size=1, max_size=6)
sessions_of_mice = st.tuples(
    st.none() | names, names, st.dates(datetime.date(2018, 1, 1)), st.integers(0, 999)
)


@given(sessions_of_mice, sessions_of_mice)
def test_different_sessions_have_different_ids(one, other):
    assert (session_id(*one) == session_id(*other)) == (one == other)


def test_ids_do_not_depend_on_how_a_file_system_spells_an_accent():
    assert session_id(None, "Zo\u00e9", DAY, 1) == session_id(None, "Zoe\u0301", DAY, 1)


def test_data_of_a_bare_tree_are_loaded_by_another_process_than_listed_them(tree, home):
    listed = OneSource(tree, home).sessions()
    before = snapshot(home)
    source = open_source(str(tree), home)
    wheels = [source.load("wheel", [d for d in s.datasets if d.kind == "wheel"]) for s in listed]
    assert [w.time[0] for w in wheels] == [2.0, 1.0, 0.0]
    assert snapshot(home) == before


def test_data_of_a_bare_tree_are_loaded_where_nobody_listed_it(tree, home, tmp_path):
    session = OneSource(tree, home).sessions()[0]
    wheel = [d for d in session.datasets if d.kind == "wheel"]
    assert OneSource(tree, tmp_path / "new home").load("wheel", wheel).time[0] == 2.0


def test_a_session_that_came_later_is_found(tree, home, tmp_path):
    worker = OneSource(tree, home)
    worker.load("wheel", [d for d in worker.sessions()[0].datasets if d.kind == "wheel"])
    write(tree / "ALK01/2020-01-03/001", *WHEEL, value=7.0)
    (new,) = (
        s for s in OneSource(tree, tmp_path / "b").sessions() if s.date.isoformat() == "2020-01-03"
    )
    assert worker.load("wheel", [d for d in new.datasets if d.kind == "wheel"]).time[0] == 7.0


def test_nothing_is_written_into_the_folder(tree, home):
    before = snapshot(tree)
    source = OneSource(tree, home)
    source.load("wheel", [d for d in source.sessions()[0].datasets if d.kind == "wheel"])
    assert snapshot(tree) == before
    (tables_folder,) = (home / "tables").iterdir()
    assert sorted(p.name for p in tables_folder.iterdir()) == ["datasets.pqt", "sessions.pqt"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:one")
def test_the_tables_of_a_bare_tree_are_good_for_one_itself(tree, home):
    from one.api import One

    sessions = OneSource(tree, home).sessions()
    (tables_folder,) = (home / "tables").iterdir()
    one = One(cache_dir=tree, tables_dir=tables_folder, mode="local")
    found = one.search(subject="NYU-47", number=3)
    assert [str(eid) for eid in found] == [sessions[-1].eid]
    assert one.list_datasets(found[0]) == [d.path for d in sessions[-1].datasets]


def test_a_link_that_leads_nowhere_is_listed_and_missing_when_it_is_read(tree, home):
    path = tree / "ALK01/2020-01-02/012" / WHEEL[0]
    path.unlink()
    path.symlink_to("not fetched yet")
    source = OneSource(tree, home)
    wheel = source.sessions()[0].datasets
    assert wheel[0].file_size is None
    with pytest.raises(MissingDataset, match="listed but not there"):
        source.load("wheel", wheel)


@pytest.mark.parametrize(
    ("session", "text"),
    [
        ("my mouse/2020-01-01/001", "'my mouse' cannot be the name of a subject"),
        ("o'hara/2020-01-01/001", "cannot be the name of a subject"),
        ("a..b/2020-01-01/001", "cannot be the name of a subject"),
        (".hidden/2020-01-01/001", "cannot be the name of a subject"),
        ("my lab/Subjects/mouse/2020-01-01/001", "'my lab' cannot be the name of a lab"),
        ("mouse/2020-13-01/001", "not a day of the calendar"),
        ("ALK01/2020-01-02/12", "not called 012"),
    ],
)
def test_a_bad_session_is_told_and_does_not_stop_the_others(tree, home, session, text):
    good = OneSource(tree, home).sessions()
    write(tree / session, *WHEEL)
    source = OneSource(tree, home)
    assert source.sessions() == good
    (problem,) = source.problems
    assert isinstance(problem, SourceError)
    assert text in str(problem)
    assert str(tree / session) in str(problem)
    assert problem.remedy in str(problem)
    source.load("wheel", [d for d in good[0].datasets if d.kind == "wheel"])


def test_a_tree_of_bad_sessions_alone_has_only_problems(tmp_path, home):
    write(tmp_path / "ONE" / "my mouse/2020-01-01/001", *WHEEL)
    source = OneSource(tmp_path / "ONE", home)
    assert source.sessions() == []
    assert source.sessions() == []
    assert len(source.problems) == 1


def test_a_session_may_have_no_file(tmp_path, home):
    (tmp_path / "ONE" / "mouse/2020-01-01/001").mkdir(parents=True)
    (session,) = OneSource(tmp_path / "ONE", home).sessions()
    assert (session.datasets, session.insertions, session.sortings) == ((), (), ())


def test_a_home_that_cannot_be_written_is_reported(tree, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="cannot be written there"):
        OneSource(tree, tmp_path / "file" / "home").sessions()


# --- folders with tables ------------------------------------------------------------------------


def test_tables_give_true_ids_and_facts(tmp_path, home):
    rows = dataset_rows(*WHEEL[:1], md5="0" * 32, qc="WARNING") + dataset_rows(*WHEEL[1:])
    folder = tmp_path / "ONE"
    tables(
        folder,
        [
            session_row(protocol="_iblrig_tasks", project="ibl_a,ibl_b"),
            session_row(EIDS[1], lab="", subject="ALK01"),
        ],
        rows,
        file_size=pd.array([12, None], dtype="UInt64"),
        default_revision=[True, False],
    )
    source = OneSource(folder, home)
    alk, nyu = source.sessions()
    assert source.problems == []
    assert (alk.eid, alk.lab, alk.subject, alk.datasets) == (EIDS[1], None, "ALK01", ())
    assert (alk.task_protocol, alk.projects) == (None, None)
    assert (nyu.eid, nyu.lab, nyu.date, nyu.number) == (EIDS[0], "lab", DAY, 3)
    assert type(nyu.number) is int
    assert (nyu.task_protocol, nyu.projects) == ("_iblrig_tasks", "ibl_a,ibl_b")
    first, second = nyu.datasets
    assert (first.dataset_id, first.md5, first.qc) == (rows[0][1], "0" * 32, "WARNING")
    assert (first.file_size, first.is_default) == (12, True)
    assert (second.md5, second.qc, second.file_size) == (None, "NOT_SET", None)
    assert second.is_default is False
    assert not home.exists()


def test_without_a_flag_nothing_is_said_of_defaults(tmp_path, home):
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL))
    (session,) = OneSource(tmp_path / "ONE", home).sessions()
    assert {d.is_default for d in session.datasets} == {None}


def test_insertions_come_from_their_table_and_from_folders_that_it_lacks(tmp_path, home):
    pids = [str(uuid.uuid4()) for _ in range(3)]
    insertions = pd.DataFrame(
        {
            "eid": [EIDS[0], EIDS[0], EIDS[1]],
            "id": pids,
            "name": ["probe01", "probe00", "probe00"],
            "model": ["3B2", "", None],
            "serial": ["19011", None, ""],
            "json": ['{"qc": "PASS", "n_units": 3}', "not json", None],
        }
    )
    sessions = [session_row(), session_row(EIDS[1], number=4), session_row(EIDS[2], number=5)]
    rows = dataset_rows("alf/probe02/spikes.times.npy")
    rows += dataset_rows("alf/probe00a/spikes.times.npy", eid=EIDS[2])
    tables(tmp_path / "ONE", sessions, rows, insertions)
    listed = OneSource(tmp_path / "ONE", home).sessions()
    assert listed[0].insertions == (
        InsertionRecord(EIDS[0], "probe00", pids[1]),
        InsertionRecord(EIDS[0], "probe01", pids[0], "3B2", "19011", "PASS", "none"),
        InsertionRecord(EIDS[0], "probe02"),
    )
    assert listed[1].insertions == (InsertionRecord(EIDS[1], "probe00", pids[2]),)
    assert listed[2].insertions == (InsertionRecord(EIDS[2], "probe00a"),)


def test_facts_of_an_insertion_may_be_a_structure(tmp_path, home):
    insertions = pd.DataFrame(
        {"eid": EIDS[:1], "id": EIDS[1:2], "name": ["p"], "json": [{"qc": "FAIL"}]}
    )
    tables(tmp_path / "ONE", [session_row()], [], insertions)
    assert OneSource(tmp_path / "ONE", home).sessions()[0].insertions[0].qc == "FAIL"


def test_the_revision_that_is_asked_for_is_the_one_that_is_loaded(tmp_path, home):
    folder = tmp_path / "ONE with a space"
    session = folder / "lab/Subjects/NYU-47/2021-06-24/003"
    revised = [path.replace("alf/", "alf/#2024-05-06#/") for path in WHEEL]
    write(session, *WHEEL, value=1.0)
    write(session, *revised, value=2.0)
    # A critical dataset is hidden by ONE's own lists, and no reason not to find it.
    rows = dataset_rows(*WHEEL, qc="CRITICAL") + dataset_rows(*revised)
    tables(folder, [session_row()], rows, default_revision=[True, True, False, False])
    before = snapshot(folder)
    source = OneSource(folder, home)
    (listed,) = source.sessions()
    loaded = {
        asked: source.load("wheel", select_revision(listed.datasets, asked))
        for asked in (None, "", "2024-01-01", "2025-01-01")
    }
    assert {k: w.time[0] for k, w in loaded.items()} == {
        None: 1.0,
        "": 1.0,
        "2024-01-01": 1.0,
        "2025-01-01": 2.0,
    }
    assert {f.revision for f in loaded["2025-01-01"].files} == {"2024-05-06"}
    assert snapshot(folder) == before


@pytest.mark.parametrize("lab", ["", None])
def test_a_session_without_lab_is_found(tmp_path, home, lab):
    write(tmp_path / "ONE/NYU-47/2021-06-24/003", *WHEEL)
    sessions = [session_row(lab=lab), session_row(EIDS[1], number=4)]
    tables(tmp_path / "ONE", sessions, dataset_rows(*WHEEL))
    source = OneSource(tmp_path / "ONE", home)
    assert source.sessions()[0].lab is None
    assert len(source.load("wheel", source.sessions()[0].datasets).time) == 3


def test_what_is_listed_but_not_there_is_missing_when_it_is_loaded(tmp_path, home):
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL), exists=False)
    source = OneSource(tmp_path / "ONE", home)
    (session,) = source.sessions()
    assert len(session.datasets) == 2
    with pytest.raises(MissingDataset, match=r"_ibl_wheel\.timestamps\.npy is listed but"):
        source.load("wheel", session.datasets)


def test_a_file_that_is_not_the_listed_one_is_damaged(tmp_path, home):
    write(tmp_path / "ONE/lab/Subjects/NYU-47/2021-06-24/003", *WHEEL)
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL, md5="0" * 32))
    source = OneSource(tmp_path / "ONE", home)
    with pytest.raises(DamagedFile, match=r"0{32} is listed"):
        source.load("wheel", source.sessions()[0].datasets)


def test_a_session_that_was_taken_away_is_missing(tmp_path, home):
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL))
    source = OneSource(tmp_path / "ONE", home)
    datasets = source.sessions()[0].datasets
    tables(tmp_path / "ONE", [session_row(EIDS[1])], dataset_rows(*WHEEL, eid=EIDS[1]))
    with pytest.raises(MissingDataset, match=f"{EIDS[0]} is not there any more"):
        OneSource(tmp_path / "ONE", home).load("wheel", datasets)


GOOD = session_row(EIDS[2], subject="good")


@pytest.mark.parametrize(
    ("sessions", "datasets", "text"),
    [
        ([session_row(subject="a mouse")], [], "'a mouse' cannot be the name of a subject"),
        ([session_row(subject="../up")], [], "cannot be the name of a subject"),
        ([session_row(subject="")], [], "'' cannot be the name of a subject"),
        ([session_row(lab="a/b")], [], "'a/b' cannot be the name of a lab"),
        ([session_row(day="yesterday")], [], "not a day of the calendar"),
        ([session_row(number=1000)], [], "number is not between 0 and 999"),
        ([session_row(eid=str(uuid.UUID(int=1)))], [], "Its id is no UUID"),
        ([session_row(), session_row(number=5)], [], "Its id is there twice"),
    ],
)
def test_a_bad_row_is_told_and_does_not_stop_the_others(tmp_path, home, sessions, datasets, text):
    days = [str(row[3]) for row in (*sessions, GOOD)]
    rows = [(*row[:3], day, *row[4:]) for row, day in zip((*sessions, GOOD), days, strict=True)]
    tables(tmp_path / "ONE", rows, datasets + dataset_rows("alf/x.y.npy", eid=EIDS[2]))
    source = OneSource(tmp_path / "ONE", home)
    assert [s.subject for s in source.sessions()] == ["good"]
    (problem,) = source.problems
    assert text in str(problem)
    assert str(tmp_path / "ONE") in str(problem)
    assert problem.remedy in str(problem)


@pytest.mark.parametrize(
    ("datasets", "text"),
    [
        (dataset_rows(*WHEEL, eid=EIDS[1]), "whose session is not listed"),
        (dataset_rows("../up/a.b.npy"), "does not lead into the session"),
        (dataset_rows("/etc/a.b.npy"), "does not lead into the session"),
        (dataset_rows("alf/.."), "does not lead into the session"),
        (dataset_rows(None), "does not lead into the session"),
        (dataset_rows(None, None), "does not lead into the session"),
        (dataset_rows("alf/a.b.npy", "alf/a.b.npy"), "that is listed twice"),
    ],
)
def test_a_bad_dataset_is_told_and_left_out_alone(tmp_path, home, datasets, text):
    tables(tmp_path / "ONE", [session_row(), GOOD], datasets + dataset_rows("alf/x.y.npy"))
    source = OneSource(tmp_path / "ONE", home)
    listed = {record.eid: [d.path for d in record.datasets] for record in source.sessions()}
    assert listed == {EIDS[0]: ["alf/x.y.npy"], EIDS[2]: []}
    (problem,) = source.problems
    assert text in str(problem)
    assert str(tmp_path / "ONE") in str(problem)


PIDS = [str(uuid.uuid4()) for _ in range(3)]
ODD_PROBES = {
    "a name twice": (["probe00", "probe00", "probe01"], PIDS, "listed twice: 'probe00'", [2]),
    "no name": (["probe00", None, "probe01"], PIDS, "without a name", [0, 2]),
    "an empty name": (["probe00", "", "probe01"], PIDS, "without a name", [0, 2]),
    "an id twice": (["probe00", "probe01", "probe02"], [*PIDS[:2], PIDS[1]], "id of another", [0]),
}


@pytest.mark.parametrize("odd", ODD_PROBES)
def test_a_probe_that_cannot_be_told_apart_is_left_out_alone(tmp_path, home, odd):
    names, pids, text, kept = ODD_PROBES[odd]
    insertions = pd.DataFrame({"eid": EIDS[:1] * 3, "id": pids, "name": names})
    tables(tmp_path / "ONE", [session_row(), GOOD], [], insertions)
    tracks = {"id": PIDS, "eid": EIDS[0], "probe_name": names, "provenance": "Planned"}
    tracks = pd.DataFrame(tracks | dict.fromkeys(PLACE, 1.0)).dropna(subset="probe_name")
    (tmp_path / "ONE" / "alyx").mkdir()
    tracks.to_parquet(tmp_path / "ONE" / "alyx" / "trajectories.pqt")
    source = OneSource(tmp_path / "ONE", home)
    records = {record.eid: record for record in source.sessions()}
    assert set(records) == {EIDS[0], EIDS[2]}
    listed = {i.probe_name: i.pid for i in records[EIDS[0]].insertions}
    assert listed == {names[k]: pids[k] for k in kept}
    assert all(len(i.trajectories) == 1 for i in records[EIDS[0]].insertions)
    (problem,) = source.problems
    assert text in str(problem)
    assert "It is left out" in str(problem)
    assert EIDS[0] in str(problem)


def cut(path):
    path.write_bytes(path.read_bytes()[:-50])


def plain(path):
    pd.read_parquet(path).to_parquet(path)


def drop(path):
    table, meta = parquet.load(path)
    parquet.save(
        path, table.iloc[:, 3:] if path.name != "insertions.pqt" else table.iloc[:, :0], meta
    )


@pytest.mark.parametrize("damage", [cut, drop, lambda path: path.write_text("no table")])
@pytest.mark.parametrize("table", ["sessions", "datasets", "insertions"])
def test_tables_that_cannot_be_read_are_named_with_a_remedy(tmp_path, home, damage, table):
    insertions = pd.DataFrame({"eid": EIDS[:1], "id": EIDS[1:2], "name": ["probe00"]})
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL), insertions)
    damage(tmp_path / "ONE" / f"{table}.pqt")
    with pytest.raises(SourceError, match=rf"{table}\.pqt: .*Download the tables again"):
        OneSource(tmp_path / "ONE", home).sessions()


def test_an_id_that_is_no_uuid_refuses_its_session_alone(tmp_path, home):
    tables(tmp_path / "ONE", [session_row(), session_row(eid="not-an-id", number=4)], [])
    source = OneSource(tmp_path / "ONE", home)
    assert [s.eid for s in source.sessions()] == [EIDS[0]]
    assert "Its id is no UUID" in str(source.problems[0])


@pytest.mark.parametrize("table", ["sessions", "datasets"])
def test_half_of_the_tables_is_not_enough(tmp_path, home, table):
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL))
    (tmp_path / "ONE" / f"{table}.pqt").unlink()
    with pytest.raises(SourceError, match=rf"but no {table}\.pqt.*Download the tables again"):
        OneSource(tmp_path / "ONE", home)


def test_tables_without_a_session_are_no_source(tmp_path, home):
    tables(tmp_path / "ONE", [], [])
    with pytest.raises(SourceError, match="It lists no session"):
        OneSource(tmp_path / "ONE", home).sessions()


def test_other_tables_in_the_folder_are_no_trouble_and_make_no_noise(tmp_path, home, caplog):
    write(tmp_path / "ONE/lab/Subjects/NYU-47/2021-06-24/003", *WHEEL)
    tables(tmp_path / "ONE", [session_row()], dataset_rows(*WHEEL))
    pd.DataFrame({"firing_rate": [1.0]}).to_parquet(tmp_path / "ONE" / "clusters.pqt")
    caplog.set_level(logging.DEBUG)
    source = OneSource(tmp_path / "ONE", home)
    source.load("wheel", source.sessions()[0].datasets)
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert not logging.getLogger("one.alf.cache").disabled


def test_an_empty_or_missing_folder_is_no_source(tmp_path, home):
    with pytest.raises(SourceError, match=r"no such folder.*Check its name"):
        OneSource(tmp_path / "nowhere", home)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"neither cache tables of ONE nor sessions.*Give"):
        OneSource(tmp_path / "empty", home)


def test_a_relative_folder_is_told_as_an_absolute_one(tree, home, monkeypatch):
    monkeypatch.chdir(tree.parent)
    source = OneSource("ONE", home)
    monkeypatch.chdir("/")
    assert source.location == str(tree)
    assert len(source.sessions()) == 3


# --- real data ----------------------------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="the real sessions are not beside the repository")
def test_real_sessions_are_listed_and_loaded(home):
    source = OneSource(REAL, home)
    sessions = source.sessions()
    assert source.problems == []
    assert [str(s.date) for s in sessions] == [
        "2020-08-21",
        "2020-08-24",
        "2020-08-26",
        "2020-08-31",
        "2020-09-02",
        "2020-09-04",
    ]
    assert {(s.lab, s.subject, s.number) for s in sessions} == {("mrsicflogellab", "SWC_054", 1)}
    assert [len(source.load("trials", s.datasets).frame) for s in sessions] == [
        719,
        532,
        752,
        626,
        387,
        887,
    ]


@pytest.mark.parametrize(
    ("table", "column", "value", "text"),
    [
        ("channels", "brain_region", 987654321, "987654321, which is not in the Allen ontology"),
        ("channels", "x", np.inf, "x is inf, not within -8,000 to 8,000 um"),
        ("channels", "axial", -20.0, "axial is -20.0, not within 0 to 20,000 um"),
        ("trajectories", "depth", 4e6, "depth is 4000000.0, not within"),
        ("trajectories", "theta", -1e300, r"theta is -1e\+300, not within -360 to 360 deg"),
    ],
)
def test_a_place_outside_its_domain_refuses_its_session_alone(
    release, tmp_path, table, column, value, text
):
    for path in [*release.folder.glob("*.pqt"), *release.folder.glob("alyx/*.pqt")]:
        target = tmp_path / path.relative_to(release.folder)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    places = pd.read_parquet(tmp_path / "alyx" / f"{table}.pqt")
    places.loc[places.index[3], column] = value
    places.to_parquet(tmp_path / "alyx" / f"{table}.pqt")
    found = OneSource(tmp_path, tmp_path / "home")
    listed = found.sessions()
    (problem,) = found.problems
    assert re.search(text, str(problem))
    assert len(listed) == release.truth.counts["sessions"] - 1


# --- flags ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["True", "False"], [True, False]),
        ([1, 0], [True, False]),
        ([1.0, None], [True, None]),
        (["false", ""], [False, None]),
        ([True, pd.NA], [True, None]),
    ],
)
def test_flags_of_tables_are_read_whatever_their_type(flags, expected):
    found = _flags(pd.Series(flags, dtype=object, name="default_revision"))
    assert [None if flag is pd.NA else flag for flag in found] == expected


@pytest.mark.parametrize("flag", ["yes", 2, "tru", b"True"])
def test_what_is_neither_true_nor_false_is_refused_by_column(flag):
    with pytest.raises(ValueError, match="default_revision is neither true nor false"):
        _flags(pd.Series([True, flag], dtype=object, name="default_revision"))
