"""What a source tells beside the names of sessions: mice, quality, histology, files that go."""

from dataclasses import replace
from datetime import date, datetime

import pytest

from populate.registration import sessions
from populate.registration.upsert import Report
from schemas import ephys, probe, quality, rows, session, subject, video
from schemas.sources.records import (
    CheckRecord,
    DatasetRecord,
    InsertionRecord,
    SessionRecord,
    SortingRecord,
    SubjectRecord,
    TrajectoryRecord,
)


@pytest.fixture(scope="module")
def _database(lend):
    with lend() as database:
        rows.insert(session.DataSource(), [{"data_source": "memory"}, {"data_source": "elsewhere"}])
        yield database


@pytest.fixture
def registered(_database):
    _database.connect()
    return _database


def uuid(n):
    return f"{n:08x}-0000-4000-8000-000000000000"


def record(n, **facts):
    named = {"eid": uuid(n), "subject": f"M_{n:03d}", "date": date(2021, 2, 3), "number": 1}
    return SessionRecord(**{**named, "lab": "eastlab", **facts})


def offer(*records, location="memory"):
    report = Report()
    sessions.register_sessions(records, location, report)
    assert not report.problems
    return report


def of(table, n):
    """Rows of a session, without its eid."""
    found = (table & {"eid": uuid(n)}).to_dicts(order_by=table.primary_key)
    return [{name: value for name, value in row.items() if name != "eid"} for row in found]


def test_a_mouse_is_registered_with_its_public_fields(registered):
    mouse = SubjectRecord(
        "M_001", "F", date(2020, 1, 2), date(2021, 3, 4), "C57BL/6J", "Pvalb-Cre", "Mus musculus"
    )
    start = datetime(2021, 2, 3, 11, 3, 12, 345678)
    offer(record(1, mouse=mouse, start=start, qc="PASS"))
    (row,) = (subject.Subject & {"subject": "M_001"}).to_dicts()
    assert row == {
        "subject": "M_001",
        "lab": "eastlab",
        "sex": "F",
        "birth_date": date(2020, 1, 2),
        "death_date": date(2021, 3, 4),
        "strain": "C57BL/6J",
        "line": "Pvalb-Cre",
        "species": "Mus musculus",
    }
    (row,) = of(session.Session, 1)
    assert (row["session_start"], row["session_qc"]) == (start, "PASS")
    # A source that knows nothing of mice takes nothing away.
    assert not offer(record(1)).changed
    assert (subject.Subject & {"subject": "M_001"}).fetch1("strain") == "C57BL/6J"


CHECKS = (
    CheckRecord("behavior", value=1.0),
    CheckRecord("task", outcome="FAIL"),
    CheckRecord("_videoLeft_dropped_frames", text="[true, 4, 0]"),
    CheckRecord("_videoLeft_pin_state"),
)


@pytest.mark.parametrize("of_probe", [False, True], ids=["session", "insertion"])
def test_quality_is_what_the_source_tells_now(registered, of_probe):
    n = 10 + of_probe
    kind = "insertion" if of_probe else "session"
    table = quality.InsertionQC if of_probe else quality.SessionQC

    def told(checks):
        if not of_probe:
            return record(n, checks=checks)
        return record(n, insertions=(InsertionRecord(uuid(n), "probe00", checks=checks),))

    def held():
        names = (f"{kind}_check_value", f"{kind}_check_outcome", f"{kind}_check_text")
        return {row[f"{kind}_check"]: tuple(row[name] for name in names) for row in of(table, n)}

    offer(told(CHECKS))
    assert held() == {
        "behavior": (1.0, None, None),
        "task": (None, "FAIL", None),
        "_videoLeft_dropped_frames": (None, None, "[true, 4, 0]"),
        "_videoLeft_pin_state": (None, None, None),
    }
    offer(told((CheckRecord("behavior", outcome="PASS"), CHECKS[1], CheckRecord("new", value=0.5))))
    assert held() == {
        "behavior": (None, "PASS", None),
        "task": (None, "FAIL", None),
        "new": (0.5, None, None),
    }
    offer(told(()))  # a source without quality control: what is known stays
    assert len(held()) == 3


def test_histology_is_replaced_as_a_whole(registered):
    sites = ((20.0, 43.0, -2311.0, -2100.0, -3900.0, 218), (40.0, 11.0, None, None, None, None))
    tracks = (
        TrajectoryRecord("Planned", None, -2243.0, -2000.0, -120.0, 4000.0, 15.0, 180.0, 0.0),
        TrajectoryRecord("Histology track", uuid(0xA), 1.0, 2.0, 3.0, is_current=True, sites=sites),
    )
    first = InsertionRecord(
        uuid(20), "probe00", level="traced", picks=((1.0, 2.0, 3.0), (4.0, 5.0, 6.0)),
        trajectories=tracks,
    )  # fmt: skip
    other = InsertionRecord(uuid(20), "probe01", picks=((7.0, 8.0, 9.0),), trajectories=tracks[:1])
    offer(record(20, insertions=(first, other)))
    names = ("probe_name", "provenance", "is_current_trajectory", "entry_x", "theta")
    found = [tuple(row[name] for name in names) for row in of(probe.Trajectory, 20)]
    assert found == [
        ("probe00", "Histology track", True, 1.0, None),
        ("probe00", "Planned", False, -2243.0, 15.0),
        ("probe01", "Planned", False, -2243.0, 15.0),
    ]
    held = of(probe.Trajectory.Site, 20)
    assert [row["site_region_id"] for row in held] == [218, None]
    assert [row["site_axial"] for row in held] == [20.0, 40.0]
    assert len(of(probe.ProbeInsertion.Pick, 20)) == 3

    aligned = replace(
        tracks[1], provenance="Ephys aligned histology track", sites=sites[:1], trajectory_id=None
    )
    later = replace(
        first, level="aligned", picks=((1.0, 2.0, 3.5),), trajectories=(tracks[0], aligned)
    )
    offer(record(20, insertions=(later, replace(other, picks=(), trajectories=()))))
    found = [(row["probe_name"], row["provenance"]) for row in of(probe.Trajectory, 20)]
    assert found == [
        ("probe00", "Ephys aligned histology track"),
        ("probe00", "Planned"),
        ("probe01", "Planned"),
    ]
    assert len(of(probe.Trajectory.Site, 20)) == 1
    picks = [(row["probe_name"], row["pick_z"]) for row in of(probe.ProbeInsertion.Pick, 20)]
    assert picks == [("probe00", 3.5), ("probe01", 9.0)]
    levels = [row["insertion_level"] for row in of(probe.ProbeInsertion, 20)]
    assert levels == ["aligned", None]


def dataset(n, path, kind="other", **facts):
    collection, _, name = path.rpartition("/")
    return DatasetRecord(uuid(n), path, kind, collection, name, **facts)


def listed(n):
    return {row["dataset_path"]: row["is_listed"] for row in of(session.Dataset, n)}


def test_files_that_the_source_lists_no_more_are_kept_as_such(registered):
    a, b = dataset(30, "alf/a.npy", md5="0" * 32), dataset(30, "alf/b.npy")
    offer(record(30, datasets=(a, b)))
    offer(record(31, datasets=(dataset(31, "alf/a.npy"),)))
    report = offer(record(30, datasets=(a,)))
    assert (report.updated["datasets"], report.new["datasets"]) == (1, 0)
    assert listed(30) == {"alf/a.npy": True, "alf/b.npy": False}
    assert listed(31) == {"alf/a.npy": True}
    assert not offer(record(30, datasets=(a,))).changed
    # Another source that lists less says nothing of what this one lists.
    offer(record(30, datasets=(b,)), location="elsewhere")
    assert listed(30) == {"alf/a.npy": True, "alf/b.npy": True}
    assert offer(record(30, datasets=(replace(a, md5="1" * 32), b))).updated["datasets"] == 2
    assert listed(30) == {"alf/a.npy": True, "alf/b.npy": True}


def test_files_are_linked_to_probe_band_camera_and_tracker(registered):
    insertion = InsertionRecord(uuid(40), "probe00")
    files = (
        dataset(40, "raw_ephys_data/probe00/x.ap.cbin", probe_name="probe00", band="ap"),
        dataset(40, "alf/_ibl_leftCamera.dlc.pqt", camera="left", tracker="dlc"),
        dataset(40, "alf/_ibl_bodyCamera.times.npy", camera="body"),
    )
    offer(record(40, insertions=(insertion,), datasets=files))
    (row,) = of(probe.ProbeInsertion.Dataset, 40)
    assert (row["probe_name"], row["band"], row["dataset_sorter"]) == ("probe00", "ap", None)
    cameras = [(row["camera"], row["tracker"]) for row in of(video.CameraDataset, 40)]
    assert cameras == [("body", None), ("left", "dlc")]


def test_the_offer_of_a_sort_goes_with_its_files(registered):
    def told(*revisions):
        files, sorts = [], []
        for revision in revisions:
            folder = f"alf/probe00/pykilosort{f'/#{revision}#' if revision else ''}"
            path = f"{folder}/spikes.times.npy"
            facts = {"probe_name": "probe00", "sorter": "pykilosort", "revision": revision}
            files.append(dataset(50, path, "spikes", **facts))
            default = revision == revisions[-1]
            sorts.append(SortingRecord(uuid(50), "probe00", "pykilosort", revision, default))
        probes = (InsertionRecord(uuid(50), "probe00"),)
        return record(50, insertions=probes, datasets=tuple(files), sortings=tuple(sorts))

    def offered():
        held = of(ephys.OfferedSorting, 50)
        return {row["sorting_name"]: row["is_default_sorting"] for row in held}

    offer(told("", "2024-05-06"))
    assert offered() == {"pykilosort": False, "pykilosort@2024-05-06": True}
    offer(told(""))
    assert offered() == {"pykilosort": True}
