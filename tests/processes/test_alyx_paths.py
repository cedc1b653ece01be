"""A server that names files elsewhere writes nothing there."""

import pytest

from schemas.errors import SourceError
from tests.support.hostile import HOSTILE, outside
from tests.support.online import source

pytestmark = pytest.mark.usefixtures("own_home")


@pytest.mark.parametrize("path", HOSTILE.values(), ids=HOSTILE)
def test_a_server_that_lists_files_elsewhere_is_refused_by_name(alyx, tmp_path, monkeypatch, path):
    cache = tmp_path / "some" / "where" / "cache"
    truly = alyx.rest.data_url
    victim = alyx.rest.records.datasets[0]
    eid = victim["session"]["id"]

    def data_url(dataset):
        address = truly(dataset)
        if dataset is not victim:
            return address
        session = address[: address.index(f"/{dataset['session']['number']:03d}/") + 5]
        return session + path

    monkeypatch.setattr(alyx.rest, "data_url", data_url)
    opened = source(alyx, cache)
    others = [row["id"] for row in alyx.rest.records.sessions if row["id"] != eid][:1]
    records = list(opened.sessions([eid, *others]))
    listed = {d.dataset_id for record in records for d in record.datasets}
    assert victim["id"] not in listed
    assert {record.eid for record in records} >= set(others)
    (problem,) = opened.problems
    assert isinstance(problem, SourceError)
    assert eid in str(problem)
    assert alyx.downloads() == {}
    assert {p.name for p in tmp_path.iterdir()} <= {"some", "user"}
    assert [p for p in outside(cache) if p.is_file()] == []


@pytest.mark.parametrize("name", ["../../x", "/etc", "a\0b", "\ud800"])
def test_a_probe_that_would_be_elsewhere_is_left_out_alone_by_name(alyx, tmp_path, name):
    victim = alyx.rest.records.insertions[0]
    known, victim["name"] = victim["name"], name
    eid = victim["session"]["id"]
    opened = source(alyx, tmp_path / "some" / "cache")
    (record,) = opened.sessions([eid])
    assert record.datasets
    # The files of a probe are of one without an id, once its own name is another.
    assert {i.pid for i in record.insertions if i.probe_name == known} <= {None}
    assert name not in {i.probe_name for i in record.insertions}
    assert not record.is_complete  # what was left out was not deleted
    (problem,) = opened.problems
    assert repr(name) in str(problem)
    assert eid in str(problem)
    assert {p.name for p in tmp_path.iterdir()} <= {"some", "user"}
    assert [p.name for p in (tmp_path / "some").iterdir()] == ["cache"]
