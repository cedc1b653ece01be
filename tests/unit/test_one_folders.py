"""Folders of ONE as others leave them: hosts, left-out folders, tables of other programs."""

import os
import re
from pathlib import Path

import pandas as pd
import pytest
from iblutil.io import parquet

from schemas.errors import SourceError
from schemas.sources.one_api import OneSource
from schemas.sources.records import SUBJECT
from tests.support.one_folder import (
    EIDS,
    WHEEL,
    dataset_rows,
    session_row,
    tables,
    write,
    write_tree,
)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "mes données" / "ONE")


def plain(path):
    pd.read_parquet(path).to_parquet(path)


# --- folders above, beside and left out -----------------------------------------------------------

HOST = "openalyx.internationalbrainlab.org"


@pytest.mark.parametrize("kind", ["tables", "bare"])
def test_the_folder_of_a_host_is_found_one_level_down(tmp_path, home, kind):
    host = tmp_path / "ONE" / HOST
    write(host / "lab/Subjects/NYU-47/2021-06-24/003", *WHEEL)
    (tmp_path / "ONE" / ".one").mkdir()
    (tmp_path / "ONE" / "alyx.internationalbrainlab.org").mkdir()
    if kind == "tables":
        tables(host, [session_row()], dataset_rows(*WHEEL))
    source = OneSource(tmp_path / "ONE", home)
    (session,) = source.sessions()
    assert source.location == str(host)
    assert source.notes == [f"{host} was taken."]
    assert len(source.load("wheel", session.datasets).time) == 3


def test_several_hosts_are_one_error_that_lists_them(tmp_path, home):
    for name in ("alyx.a.org", "alyx.b.org"):
        tables(tmp_path / "ONE" / name, [session_row()], dataset_rows(*WHEEL))
    with pytest.raises(SourceError, match=r"several folders of ONE: alyx\.a\.org, alyx\.b\.org"):
        OneSource(tmp_path / "ONE", home)


def test_many_hosts_are_listed_up_to_a_bound(tmp_path, home):
    for k in range(13):
        write(tmp_path / f"mine{k:02d}/mouse/2021-06-24/003", *WHEEL)
    with pytest.raises(SourceError, match="mine09, and 3 more"):
        OneSource(tmp_path, home)


def test_the_folder_of_a_laboratory_is_named_as_such(tmp_path, home):
    write(tmp_path / "lab/Subjects/NYU-47/2021-06-24/003", *WHEEL)
    with pytest.raises(SourceError, match=r"folder of a laboratory\. Give the folder above it"):
        OneSource(tmp_path / "lab", home)


def test_folders_that_are_skipped_are_named_with_the_reason(tree, home, monkeypatch):
    (tree / "figures").mkdir()
    (tree / ".git").mkdir()
    (tree / "ALK01/20200103/001").mkdir(parents=True)
    (tree / "ALK01/2020-01-02/12b").mkdir()
    (tree / "ALK01/2020-01-09").mkdir()
    (tree / "somelab/notes").mkdir()
    write(tree / "elsewhere/lab/Subjects/m/2021-06-24/003", *WHEEL)
    (tree / "ALK01/2020-01-02/012/alf/linked").symlink_to(tree / "somelab")
    (tree / "closed").mkdir()
    can = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p).name != "closed" and can(p, mode))
    source = OneSource(tree, home)
    assert len(source.sessions()) == 3
    expected = {
        "figures": "no folder of a session is found in it",
        "ALK01/20200103": "its name is not a date yyyy-mm-dd",
        "ALK01/2020-01-02/12b": "its name is not a session number of one to three digits",
        "ALK01/2020-01-09": "no folder of a session is found in it",
        "somelab/notes": "no folder of a session is found in it",
        "elsewhere": "it is a folder of ONE by itself; register it, too",
        "ALK01/2020-01-02/012/alf/linked": "it is a link to a folder",
        "closed": "this account may not read it",
    }
    assert set(source.notes) == {f"{tree / k} is skipped: {v}." for k, v in expected.items()}


def test_skipped_folders_are_named_up_to_a_bound(tree, home):
    for k in range(25):
        (tree / f"old{k:02d}").mkdir()
    source = OneSource(tree, home)
    source.sessions()
    assert len(source.notes) == 11
    assert source.notes[-1] == "and 15 more"


def test_sessions_that_the_tables_do_not_list_are_named(tmp_path, home):
    folder = tmp_path / "ONE"
    tables(folder, [session_row()], dataset_rows(*WHEEL))
    for name in ("lab/Subjects/NYU-47/2021-06-24/003", "lab/Subjects/NYU-47/2021-06-24/004"):
        write(folder / name, *WHEEL)
    source = OneSource(folder, home)
    source.sessions()
    left = folder / "lab/Subjects/NYU-47/2021-06-24/004"
    assert source.notes == [f"{left} is skipped: sessions.pqt does not list it."]


# --- tables as others save them -------------------------------------------------------------------


def without_date(path):
    table, _ = parquet.load(path)
    parquet.save(path, table, {"origin": "test"})


def ids_as_columns(path):
    pd.read_parquet(path).reset_index().to_parquet(path, index=False)


def ids_in_capitals(path):
    table = pd.read_parquet(path).reset_index()
    ids = [name for name in ("eid", "id") if name in table]
    table.assign(**{name: table[name].str.upper() for name in ids}).set_index(ids).to_parquet(path)


@pytest.mark.parametrize("save", [without_date, plain, ids_as_columns, ids_in_capitals])
def test_tables_that_one_did_not_save_are_read(tmp_path, home, save):
    folder = tmp_path / "ONE"
    write(folder / "lab/Subjects/NYU-47/2021-06-24/003", *WHEEL)
    insertions = pd.DataFrame({"eid": EIDS[:1], "id": EIDS[1:2], "name": ["probe00"]})
    tables(folder, [session_row()], dataset_rows(*WHEEL), insertions)
    expected = OneSource(folder, home).sessions()
    for path in folder.glob("*.pqt"):
        save(path)
    source = OneSource(folder, home)
    assert source.sessions() == expected
    assert source.problems == []
    assert len(source.load("wheel", expected[0].datasets).time) == 3


@pytest.mark.parametrize(
    ("subjects", "names"),
    [
        (["0012", "12"], ["0012", "12"]),
        ([12, 345], ["12", "345"]),
        (pd.array([12, 345], dtype="Int64"), ["12", "345"]),
        ([12.0, 345.0], ["12", "345"]),
        (pd.Categorical(["0012", "7"]), ["0012", "7"]),
        (pd.Categorical([12, 7]), ["12", "7"]),
        ([b"0012", b"7"], ["0012", "7"]),
    ],
)
def test_subjects_that_are_numbers_are_their_text(tmp_path, home, subjects, names):
    folder = tmp_path / "ONE"
    for name in names:
        write(folder / f"lab/Subjects/{name}/2021-06-24/003", *WHEEL)
    rows = dataset_rows(*WHEEL) + dataset_rows(*WHEEL, eid=EIDS[1])
    tables(
        folder, [session_row(subject=n, eid=e) for n, e in zip(names, EIDS[:2], strict=True)], rows
    )
    table, meta = parquet.load(folder / "sessions.pqt")
    parquet.save(folder / "sessions.pqt", table.assign(subject=subjects, lab="lab"), meta)
    source = OneSource(folder, home)
    sessions = source.sessions()
    assert source.problems == []
    assert sorted(s.subject for s in sessions) == sorted(names)
    for session in sessions:
        assert len(source.load("wheel", session.datasets).time) == 3


def test_names_of_probes_and_mice_that_are_numbers_are_their_text(tmp_path, home):
    folder = tmp_path / "ONE"
    probes = pd.DataFrame({"eid": EIDS[:1], "id": EIDS[1:2], "name": [0], "serial": [19011.0]})
    tables(folder, [session_row(subject="12")], [], probes.assign(model=3))
    (folder / "alyx").mkdir()
    mouse = dict.fromkeys(SUBJECT) | {"nickname": 12, "lab": "lab", "sex": "F"}
    pd.DataFrame([mouse]).to_parquet(folder / "alyx" / "subjects.pqt")
    (session,) = OneSource(folder, home).sessions()
    (probe,) = session.insertions
    assert (probe.probe_name, probe.serial, probe.model) == ("0", "19011", "3")
    assert session.mouse.sex == "F"


def test_a_bare_mouse_named_by_digits_keeps_its_zeros(tmp_path, home):
    for name in ("0012", "12"):
        write(tmp_path / f"{name}/2021-06-24/003", *WHEEL)
    listed = OneSource(tmp_path, home).sessions()
    assert [s.subject for s in listed] == ["0012", "12"]
    for session in listed:
        assert len(OneSource(tmp_path, home).load("wheel", session.datasets).time) == 3


# --- tables with values of other types ------------------------------------------------------------


def with_value(folder, name, column, value):
    """Give the first row of a cache table another value; a list to all, as Parquet wants it."""
    frame, meta = parquet.load(folder / f"{name}.pqt")
    values = list(frame[column]) if column in frame else [None] * len(frame)
    new = [value] * len(values) if isinstance(value, list) else [value, *values[1:]]
    frame[column] = pd.Series(new, frame.index, dtype=object)
    parquet.save(folder / f"{name}.pqt", frame, meta)


@pytest.mark.parametrize(
    ("name", "column", "value", "says"),
    [
        ("sessions", "subject", [True], "subject has lists"),
        ("sessions", "lab", ["a"], "lab has lists"),
        ("sessions", "number", float("inf"), "number is not between 0 and 999"),
        ("sessions", "number", 0.5, "number is not between 0 and 999"),
        ("datasets", "rel_path", ["alf/a.b.npy"], "rel_path has lists"),
        ("datasets", "file_size", -1, "size is no number of bytes"),
        ("datasets", "file_size", "large", "size is no number of bytes"),
        ("datasets", "file_size", float("inf"), "size is no number of bytes"),
        ("insertions", "name", ["probe00"], "name has lists"),
    ],
)
def test_a_value_of_another_type_is_one_error(tmp_path, home, name, column, value, says):
    folder = tmp_path / "ONE"
    insertions = pd.DataFrame({"eid": EIDS[:2], "id": EIDS[1:], "name": ["probe00", "probe01"]})
    other = session_row(eid=EIDS[1], number=4)
    tables(folder, [session_row(), other], dataset_rows(*WHEEL, eid=EIDS[1]), insertions)
    with_value(folder, name, column, value)
    source = OneSource(folder, home)
    try:
        source.sessions()
        source.places([(eid, WHEEL[0]) for eid in EIDS])
        problems = source.problems
    except SourceError as error:
        problems = [error]
    (problem,) = problems
    assert re.search(says, str(problem))
