"""Splits of a release: what no two parts share, and the rows that are stored."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from populate import cli
from populate.registration import releases, splits
from populate.registration.sessions import register_sessions
from populate.registration.upsert import Report
from schemas import release, rows, session, subject, views
from schemas.errors import Contradiction, QueryError, RegistrationError
from schemas.sources.records import Found
from tests.database.test_releases import pid, record, uuid

THREE = {"train": 0.5, "validation": 0.3, "test": 0.2}
SIZES = (9, 7, 6, 4, 4, 3, 2, 2, 1, 1, 1)


def of_mouse(number, mouse, lab):
    """A session of one of several mice, with one or two insertions."""
    made = record(number, lab)
    insertions = made.insertions
    if number % 3 == 0:
        second = insertions[0].__class__(uuid(number), "probe01", pid(0x1000 + number))
        insertions = (*insertions, second)
    return made.__class__(made.eid, f"M_{mouse:02d}", made.date, number, lab, insertions=insertions)


@pytest.fixture(scope="module")
def _database(lend):
    with lend() as database:
        number, made = 0, []
        for mouse, size in enumerate(SIZES):
            for _ in range(size):
                number += 1
                made.append(of_mouse(number, mouse, f"lab{mouse % 4}"))
        register_sessions(made, None, Report())
        insertions = tuple((i.eid, i.probe_name, i.pid) for m in made for i in m.insertions)
        found = Found(tuple(m.eid for m in made), insertions)
        releases.register_found("all", "tag", "all", found, Report())
        few = Found((uuid(1), uuid(2)), tuple(i for i in insertions if i[0] in (uuid(1), uuid(2))))
        releases.register_found("few", "tag", "few", few, Report())
        stray = record(60, None)
        register_sessions([stray], None, Report())
        alone = Found((stray.eid,), ((stray.eid, "probe00", pid(60)),))
        releases.register_found("stray", "tag", "stray", alone, Report())
        yield database


@pytest.fixture
def registered(_database):
    _database.connect()
    return _database


def facts():
    """Every insertion with its mouse and laboratory, by pandas."""
    sessions = rows.frame(session.Session()).merge(rows.frame(subject.Subject()), on="subject")
    members = rows.frame(release.Release.Insertion & {"release_name": "all"})
    return members.merge(sessions[["eid", "subject", "lab"]], on="eid")


@pytest.mark.parametrize(
    ("by", "column"), [("subject", "subject"), ("lab", "lab"), ("session", "eid")]
)
@pytest.mark.parametrize("fractions", [None, THREE])
def test_no_two_parts_share_a_group_and_all_insertions_are_in_one(
    registered, by, column, fractions
):
    table = views.split("all", by, fractions)
    known = facts()
    key = ["eid", "probe_name"]
    pd.testing.assert_frame_equal(table[key], known[key])
    assert (table[["subject", "lab"]] == known[["subject", "lab"]]).all(axis=None)
    assert not table[[column, "part"]].drop_duplicates()[column].duplicated().any()
    shares = fractions or {"exploration": 0.5, "confirmation": 0.5}
    found = table.part.value_counts()
    largest = known[column].value_counts().max()
    for part, share in shares.items():
        assert found[part] - share * len(table) < largest
    if by == "session" and fractions is None:
        assert abs(np.diff(found.to_numpy()))[0] <= 1


def test_a_seed_gives_the_same_split_whatever_the_order_of_rows(registered, monkeypatch):
    first = views.split("all", seed=4)
    pd.testing.assert_frame_equal(views.split("all", seed=4), first)
    assert (views.split("all", "session", seed=1).part != views.split("all", "session").part).any()
    frame, rng = rows.frame, np.random.default_rng(0)

    def shuffled(query, **options):
        return frame(query, **options).sample(frac=1, random_state=int(rng.integers(99)))

    monkeypatch.setattr(rows, "frame", shuffled)
    mixed = views.split("all", seed=4).sort_values(["eid", "probe_name"], ignore_index=True)
    pd.testing.assert_frame_equal(mixed, first)


def test_the_split_is_that_of_every_server(registered):
    """The same on both: see `tests/unit/test_maths_splits.py`."""
    part = views.split("all", seed=4).groupby("subject").part.first()
    halves = "".join(name[0] for name in part)
    assert halves == "eccceeceece"


def test_a_split_is_stored_once_and_restricts_views(registered):
    table = splits.store_split("thirds", "all", "lab", THREE, 2)
    held = rows.frame(release.Split.Insertion & {"split_name": "thirds"})
    assert held.split_part.tolist() == table.part.tolist()
    assert held.eid.tolist() == table.eid.tolist()
    splits.store_split("thirds", "all", "lab", THREE, 2)
    (row,) = (release.Split & {"split_name": "thirds"}).to_dicts()
    assert (row["release_name"], row["split_by"], row["split_seed"]) == ("all", "lab", 2)
    asked = rows.frame(release.Split.Part & {"split_name": "thirds"})
    assert dict(zip(asked.split_part, asked.part_fraction, strict=True)) == THREE
    seen = set()
    for part in THREE:
        eids = set(rows.frame(views.sessions() & views.split_part("thirds", part)).eid)
        assert eids == set(table.eid[table.part == part])
        assert not eids & seen
        seen |= eids
    counted = splits.count_parts(table).set_index("part")
    assert counted.insertions.to_dict() == table.part.value_counts().to_dict()
    for other in (("thirds", "all", "lab", THREE, 3), ("thirds", "all", "lab", None, 2)):
        with pytest.raises(Contradiction, match="split thirds: another split"):
            splits.store_split(*other)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (("none",), "no release_name 'none'"),
        (("all", "mouse"), "no split_by 'mouse'. There are: lab, session, subject"),
        (("all", "subject", {"a": 0.5, "b": 0.6}), "which sum to 1"),
        (("all", "subject", {"a": 1.5, "b": -0.5}), "a share above 0"),
        (("all", "subject", {"a": "half", "b": 0.5}), "the parts are"),
        (("all", "subject", {"": 0.5, "b": 0.5}), "Give each part a name"),
        (("all", "subject", {}), "the parts are {}"),
        (("stray", "lab"), "1 insertions of the release have no lab, e.g. of M_060"),
        (("few",), "part '(exploration|confirmation)' would be empty: there are 1 groups"),
        (("all", "lab", dict.fromkeys("abcde", 0.2)), "would be empty: there are 4 groups by lab"),
    ],
)
def test_what_cannot_be_split_is_one_error(registered, asked, says):
    with pytest.raises(QueryError, match=says):
        views.split(*asked)


def test_what_is_not_stored_or_cannot_be_is_one_error(registered):
    with pytest.raises(QueryError, match="no split_name 'nothing'"):
        views.split_part("nothing", "exploration")
    splits.store_split("halves", "all")
    with pytest.raises(QueryError, match="no split_part 'train'"):
        views.split_part("halves", "train")
    for name in ("x" * 65, "a\0b", ""):
        with pytest.raises(RegistrationError):
            splits.store_split(name, "all")
    with pytest.raises(RegistrationError, match="split_part has 33 characters"):
        splits.store_split("long", "all", fractions={"p" * 33: 0.5, "b": 0.5})
    assert not release.Split & {"split_name": "long"}


def test_the_command_stores_a_split(registered):
    words = ["split", "by mouse", "all", "--part", "train=0.7", "--part", "test=0.3"]
    shown = CliRunner().invoke(cli.app, words, env=registered.environment)
    assert shown.exit_code == 0, shown.output
    registered.connect()
    held = rows.frame(release.Split.Insertion & {"split_name": "by mouse"})
    for part, n in held.split_part.value_counts().items():
        assert any(part in line and f" {n} " in line for line in shown.stdout.splitlines())
    refused = CliRunner().invoke(cli.app, ["split", "a", "none"], env=registered.environment)
    assert refused.exit_code == 1
    assert "no release_name 'none'" in refused.output
