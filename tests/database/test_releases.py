"""Releases from lists, tags and queries, and what one has that another has not."""

from datetime import date

import pandas as pd
import pytest
from typer.testing import CliRunner

from populate import cli
from populate.registration import register, releases, sessions
from populate.registration.upsert import Report
from schemas import release, rows
from schemas.errors import Contradiction, QueryError, RegistrationError
from schemas.sources.records import Found, InsertionRecord, Selection, SessionRecord


def uuid(n):
    return f"{n:08x}-0000-4000-8000-000000000000"


def pid(n):
    return uuid(0xF000 + n)


def record(n, lab):
    insertion = InsertionRecord(uuid(n), "probe00", pid(n))
    day = date(2021, 2, 1 + n % 28)
    return SessionRecord(uuid(n), f"M_{n:03d}", day, 1, lab, insertions=(insertion,))


LABS = {1: "eastlab", 2: "eastlab", 3: "westlab", 4: "westlab", 5: "westlab"}


def found(*numbers):
    return Found(
        tuple(uuid(n) for n in numbers), tuple((uuid(n), "probe00", pid(n)) for n in numbers)
    )


@pytest.fixture(scope="module")
def _database(lend):
    with lend() as database:
        sessions.register_sessions([record(n, lab) for n, lab in LABS.items()], None, Report())
        releases.register_found("old", "tag", "old", found(1, 2, 3), Report())
        releases.register_found("new", "query", "lab=westlab", found(2, 3, 4, 5), Report())
        yield database


@pytest.fixture
def registered(_database):
    _database.connect()
    return _database


def test_a_release_tells_where_it_comes_from_and_what_it_holds(registered):
    table = releases.summary().set_index("release_name")
    assert table.loc["old"].to_dict() == {
        "origin": "tag",
        "rule": "old",
        "insertions": 3,
        "sessions": 3,
        "mice": 3,
        "labs": 2,
        "first": date(2021, 2, 2),
        "last": date(2021, 2, 4),
    }
    assert table.loc["new", ["origin", "rule", "insertions"]].tolist() == [
        "query",
        "lab=westlab",
        4,
    ]
    counts = releases.by_lab("new")
    assert counts.set_index("lab").insertions.to_dict() == {"eastlab": 1, "westlab": 3}
    assert list(counts.columns) == ["lab", "insertions", "sessions", "mice"]


def test_the_difference_of_two_releases(registered):
    table = releases.diff("old", "new")
    assert list(zip(table.change, table.pid, strict=True)) == [
        ("added", pid(4)),
        ("added", pid(5)),
        ("removed", pid(1)),
    ]
    assert table.lab.tolist() == ["westlab", "westlab", "eastlab"]
    swapped = releases.diff("new", "old")
    assert set(zip(swapped.change, swapped.pid, strict=True)) == {
        ("removed", pid(4)),
        ("removed", pid(5)),
        ("added", pid(1)),
    }
    assert releases.diff("old", "old").empty
    by_lab = releases.diff_by_lab(table)
    assert by_lab[["lab", "change", "insertions"]].to_numpy().tolist() == [
        ["eastlab", "removed", 1],
        ["westlab", "added", 2],
    ]


@pytest.mark.parametrize("ask", [releases.by_lab, releases.describe_release])
def test_an_unknown_release_is_an_error_that_names_what_there_is(registered, ask):
    with pytest.raises(QueryError, match=r"no release 'newer'. There are: new, old"):
        ask("newer")


def test_a_tag_that_grew_is_not_the_release_that_it_was(registered):
    report = Report()
    releases.register_found("old", "tag", "old", found(1, 2, 3), report)
    assert report.known["releases"] == 1
    with pytest.raises(Contradiction, match=r"4 \(0 removed, 1 added\)"):
        releases.register_found("old", "tag", "old", found(1, 2, 3, 4), report)


def test_a_release_is_registered_without_refused_sessions_and_completed_later(registered):
    report = Report(problems=[RegistrationError("it cannot be read.", "session 9")])
    releases.register_found("holed", "tag", "holed", found(1, 2, 9), report)
    assert report.new["releases"] == 1
    assert "release holed: 1 of its 3 insertions are missing" in str(report.problems[-1])
    members = release.Release.Insertion & {"release_name": "holed"}
    assert len(members) == 2
    again = Report()
    releases.register_found("holed", "tag", "holed", found(1, 2, 9), again)
    assert (again.known["releases"], len(again.problems)) == (1, 1)
    sessions.register_sessions([record(9, "eastlab")], None, Report())
    whole = Report()
    releases.register_found("holed", "tag", "holed", found(1, 2, 9), whole)
    assert (whole.updated["releases"], whole.problems, len(members)) == (1, [], 3)
    with pytest.raises(Contradiction):
        releases.register_found("holed", "tag", "holed", found(1, 2, 3, 9), Report())


def test_a_release_of_which_no_session_is_registered_is_none(registered):
    report = Report()
    releases.register_found("nothing", "tag", "nothing", found(77), report)
    assert "1 of its 1 insertions are missing" in str(report.problems[0])
    assert not release.Release & {"release_name": "nothing"}


def test_a_release_without_insertions_is_refused(registered):
    with pytest.raises(RegistrationError, match="no insertion was found"):
        releases.register_found("empty", "query", "lab=nolab", found(), Report())


def test_a_selection_is_written_in_a_line():
    assert register.describe_selection(Selection(tag="Brainwidemap")) == "Brainwidemap"
    chosen = Selection(lab="westlab", eids=(uuid(1), uuid(2)), bwm_rule=True)
    assert (
        register.describe_selection(chosen)
        == f"lab=westlab, eids={uuid(1)} {uuid(2)}, bwm_rule=True"
    )


def test_the_real_release_and_a_subset_of_it(database, real, tmp_path):
    listing = real / "2022_10_bwm_release.csv"
    rows_of_list = pd.read_csv(listing, index_col=0, dtype=str)
    subset = tmp_path / "subset.csv"
    rows_of_list.query("lab != 'cortexlab'").to_csv(subset)

    def bwm(*arguments):
        result = CliRunner().invoke(cli.app, arguments, env=database.environment)
        assert result.exit_code == 0, result.output
        return result.stdout

    for path in (listing, subset):
        bwm("register", "--release", str(path))
    shown = bwm("release", "show", "2022_10_bwm_release")
    assert "547 insertions, 354 sessions, 115 mice, 12 labs" in shown
    assert "2019-11-26 to 2022-08-23" in shown
    database.connect()
    counts = releases.by_lab("2022_10_bwm_release").set_index("lab")
    by_lab = rows_of_list.groupby("lab")
    assert counts.insertions.to_dict() == by_lab.pid.nunique().to_dict()
    assert counts.sessions.to_dict() == by_lab.eid.nunique().to_dict()
    assert counts.mice.to_dict() == by_lab.subject.nunique().to_dict()
    for lab, n in counts.insertions.items():
        assert [str(lab), str(n)] in [line.split()[:2] for line in shown.splitlines()]
    removed = rows_of_list.query("lab == 'cortexlab'")
    printed = bwm("release", "diff", "2022_10_bwm_release", "subset", "--format", "csv")
    lines = printed.splitlines()
    assert len(lines) == 1 + len(removed)
    assert {line.split(",")[-2] for line in lines[1:]} == set(removed.pid)
    assert {line.split(",")[0] for line in lines[1:]} == {"removed"}
    assert "subset" in bwm("release", "list")
    assert len(rows.frame(release.Release())) == 2
