"""Where probes lie: levels, picks, trajectories, and the regions that may be stored or may not."""

import numpy as np
import pandas as pd
import pytest

from populate import stale
from populate.workers import worker
from schemas import ephys, probe, rows, views
from schemas.errors import MissingDataset, QueryError
from schemas.sources import data
from schemas.sources.records import LEVELS, PROVENANCES
from tests.support import prepared
from tests.support.prepared import EID

KEY = {"eid": EID, "probe_name": "probe00"}
SITES = "alf/probe00/pykilosort/channels.localCoordinates.npy"
CLUSTERS = "alf/probe00/pykilosort/clusters.channels.npy"
SPIKES = "alf/probe00/pykilosort/spikes.times.npy"


def add_probe(level, **facts):
    prepared.add_session()
    prepared.add_insertion(insertion_level=level, **facts)
    prepared.add_file("channels", SITES, probe_name="probe00", dataset_sorter="pykilosort")


def add_trajectory(provenance, *, current, sites=()):
    row = {**KEY, "provenance": provenance, "is_current_trajectory": current}
    row |= {"sites_md5": probe.hash_sites(sites)}
    row |= {"entry_x": -2400.5, "insertion_depth": 4000.0, "theta": 15.0, "phi": 180.0}
    rows.insert1(probe.Trajectory(), row)
    columns = ("site_axial", "site_lateral", "site_x", "site_y", "site_z", "site_region_id")
    located = [{"site": i, **dict(zip(columns, s, strict=True))} for i, s in enumerate(sites)]
    rows.insert(probe.Trajectory.Site(), located, {**KEY, "provenance": provenance})


FINAL = "Ephys aligned histology track"
LOCATED = [
    (20.0, 43.0, -1000.5, -2000.0, -3000.0, 385),
    (40.0, 11.0, None, -2001.0, -2980.0, None),
]


def unlocated(datasets):
    axial = np.array([20.0, 20.0, 40.0])
    return data.Channels(pd.DataFrame({"axial_um": axial, "lateral_um": [43.0, 11, 59]}), "")


def populate(*tables):
    """Make everything; return the failures as text."""
    return [error for outcome in worker.run(list(tables)) for _, error in outcome.failed]


@pytest.mark.parametrize("level", [None, *LEVELS[:4]])
def test_an_insertion_is_imported_at_its_level_and_without_a_guessed_region(database, level):
    add_probe(level)
    add_trajectory("Histology track", current=True, sites=LOCATED if level != "resolved" else ())
    source = prepared.use(prepared.Prepared(channels=unlocated))
    assert populate(probe.Channels) == []
    ((*_, located),) = source.calls
    assert located is None
    assert (probe.Channels & KEY).fetch1("location_level") == (level or "none")
    stored = rows.frame(probe.Channels.Channel())
    assert len(stored) == 3
    assert stored[["channel_region_id", "channel_x", "hemisphere"]].isna().all(axis=None)
    assert stored.channel_axial.tolist() == [20.0, 20.0, 40.0]


def test_sites_of_the_current_trajectory_of_a_resolved_insertion_locate_its_channels(database):
    add_probe("resolved")
    add_trajectory("Histology track", current=False, sites=[(1.0, 2.0, 3.0, 4.0, 5.0, 997)])
    add_trajectory(FINAL, current=True, sites=LOCATED)
    frame = pd.DataFrame(
        {
            "axial_um": [20.0, 40.0, 60.0, 80.0],
            "lateral_um": [43.0, 11.0, 43.0, 11.0],
            "x_um": [-1000.5, 0.0, 12.25, np.nan],
            "y_um": [1.0, 2.0, 3.0, np.nan],
            "z_um": [-1.0, -2.0, -3.0, np.nan],
            "region_id": pd.array([385, 0, 997, None], dtype="Int64"),
            "raw_index": [3, 2, 1, 0],
        }
    )
    source = prepared.use(prepared.Prepared(channels=data.Channels(frame, "resolved")))
    assert populate(probe.Channels) == []
    ((*_, located),) = source.calls
    expected = pd.DataFrame(
        {
            "axial_um": [20.0, 40.0],
            "lateral_um": [43.0, 11.0],
            "x_um": [-1000.5, np.nan],
            "y_um": [-2000.0, -2001.0],
            "z_um": [-3000.0, -2980.0],
            "region_id": pd.array([385, None], dtype="Int64"),
        }
    )
    pd.testing.assert_frame_equal(located, expected)
    assert (probe.Channels & KEY).fetch1("location_level") == "resolved"
    stored = rows.frame(probe.Channels.Channel())
    assert [side or None for side in stored.hemisphere.fillna("")] == ["left", None, "right", None]
    assert stored.channel_region_id.tolist()[:3] == [385, 0, 997]
    assert stored.raw_index.tolist() == [3, 2, 1, 0]


def test_rows_are_stale_once_their_alignment_is_resolved_or_changes(database):
    add_probe("aligned")
    add_trajectory(FINAL, current=True, sites=LOCATED)
    prepared.add_file("clusters", CLUSTERS, probe_name="probe00", dataset_sorter="pykilosort")
    prepared.add_sort()
    units = data.Clusters(pd.DataFrame({"channel": [1, 0]}), ())
    source = prepared.use(prepared.Prepared(channels=unlocated, clusters=units))
    tables = (probe.Channels, ephys.SpikeSorting)
    names = ["probe.Channels", "ephys.SpikeSorting"]

    def found():
        return [(row.table, row.reason, row.paths) for row in stale.find()]

    def remade():
        assert [(done.table, done.n_done) for done in stale.remake()] == [(n, 1) for n in names]
        assert found() == []
        return [located for *_, located in source.calls[-2:]]

    assert populate(*tables) == []
    assert found() == []
    for level in ("traced", "aligned", "resolved"):
        probe.ProbeInsertion.update1({**KEY, "insertion_level": level})
        # No site is used below `resolved`, so that the level of the channels alone changes.
        moved = {"traced": names[:1], "aligned": [], "resolved": names}[level]
        assert found() == [(name, "relocated", ()) for name in moved]
    assert [located.axial_um.tolist() for located in remade()] == [[20.0, 40.0]] * 2
    (probe.Trajectory.Site & KEY).delete_quick()
    (probe.Trajectory & KEY).delete_quick()
    add_trajectory(FINAL, current=True, sites=LOCATED[:1])
    assert [name for name, *_ in found()] == names
    assert [located.axial_um.tolist() for located in remade()] == [[20.0]] * 2
    probe.ProbeInsertion.update1({**KEY, "insertion_level": "aligned"})
    assert [name for name, *_ in found()] == names
    assert remade() == [None, None]


def test_what_the_files_locate_is_final(database):
    add_probe("aligned")
    frame = pd.DataFrame({"axial_um": [20.0], "lateral_um": [11.0], "x_um": [5.0]})
    prepared.use(prepared.Prepared(channels=data.Channels(frame, "alf")))
    assert populate(probe.Channels) == []
    assert (probe.Channels & KEY).fetch1("location_level") == "alf"


def test_units_are_located_as_the_channels_are(database):
    add_probe("resolved")
    add_trajectory(FINAL, current=True, sites=LOCATED)
    for kind, path in (("clusters", CLUSTERS), ("spikes", SPIKES)):
        prepared.add_file(kind, path, probe_name="probe00", dataset_sorter="pykilosort")
    prepared.add_sort()
    frame = pd.DataFrame({"channel": [1, 0]})
    source = prepared.use(prepared.Prepared(clusters=data.Clusters(frame, ())))
    assert populate(ephys.SpikeSorting) == []
    ((_, datasets, located),) = source.calls
    assert {d.path for d in datasets} == {SITES, CLUSTERS}
    assert located.axial_um.tolist() == [20.0, 40.0]


def test_picks_trajectories_and_their_sites_are_kept(database):
    add_probe("resolved", probe_model="3B2")
    picks = [{"pick": i, "pick_x": -1.5 * i, "pick_y": 2.0, "pick_z": 3.0} for i in range(3)]
    rows.insert(probe.ProbeInsertion.Pick(), picks, KEY)
    for provenance in PROVENANCES:
        add_trajectory(provenance, current=provenance == FINAL, sites=LOCATED)
    ranked = probe.Trajectory * probe.Provenance
    in_order = ranked.to_arrays("provenance", order_by="provenance_rank")
    assert tuple(in_order) == PROVENANCES
    current = (probe.Trajectory & {"is_current_trajectory": True}).fetch1()
    assert current["provenance"] == FINAL
    assert (current["entry_x"], current["entry_y"], current["roll"]) == (-2400.5, None, None)
    sites = rows.frame(probe.Trajectory.Site & {"provenance": FINAL})
    assert np.isnan(sites.site_x[1])
    assert sites.site_region_id[0] == 385
    assert (probe.ProbeInsertion.Pick & {"pick": 2}).fetch1("pick_x") == -3.0


def test_a_file_that_is_no_longer_listed_is_not_read(database):
    add_probe("none")
    newer = "alf/probe00/pykilosort/#2024-05-06#/channels.localCoordinates.npy"
    prepared.add_file(
        "channels", newer, listed=False, probe_name="probe00", dataset_sorter="pykilosort"
    )
    source = prepared.use(prepared.Prepared(channels=unlocated))
    assert populate(probe.Channels) == []
    assert source.paths("channels") == [[SITES]]
    assert set(prepared.read(probe.Channels)) == {SITES}


def test_what_no_source_lists_any_more_is_absent(database):
    prepared.add_session()
    prepared.add_insertion()
    prepared.add_file("channels", SITES, listed=False, probe_name="probe00")
    state = database.status()["probe.Channels"]
    assert (state.pending, state.absent) == (0, 1)


def test_files_of_one_object_in_two_sources_are_refused(database):
    add_probe("none")
    prepared.add_file(
        "channels", "alf/probe00/pykilosort/channels.rawInd.npy", source="elsewhere",
        probe_name="probe00", dataset_sorter="pykilosort",
    )  # fmt: skip
    source = prepared.use(prepared.Prepared(channels=unlocated))
    (error,) = populate(probe.Channels)
    assert "elsewhere and prepared" in error
    assert source.calls == []
    assert len(probe.Channels()) == len(probe.Channels.Channel()) == 0


def test_a_sort_whose_revision_is_not_listed_is_an_error_and_no_older_file(database):
    add_probe("none")
    for kind, path in (("clusters", CLUSTERS), ("spikes", SPIKES)):
        prepared.add_file(kind, path, probe_name="probe00", dataset_sorter="pykilosort")
    prepared.add_sort(sorting="pykilosort@2024-05-06")
    source = prepared.use(prepared.Prepared(clusters=data.Clusters(pd.DataFrame(), ())))
    (error,) = populate(ephys.SpikeSorting)
    assert MissingDataset.__name__ in error
    assert "the sort pykilosort@2024-05-06 are not listed" in error
    assert "There are: pykilosort." in error
    assert source.calls == []


def test_units_of_a_sort_that_an_insertion_lacks_are_an_error_that_says_what_is_there(database):
    pid = "33333333-0000-4000-8000-000000000003"
    add_probe("none", pid=pid)
    newer = "alf/probe00/pykilosort/#2024-05-06#"
    for kind, path in (
        ("clusters", CLUSTERS),
        ("spikes", SPIKES),
        ("spikes", f"{newer}/spikes.times.npy"),
    ):
        prepared.add_file(kind, path, probe_name="probe00", dataset_sorter="pykilosort")
    prepared.add_sort()
    frame = pd.DataFrame({"channel": [1, 0]})
    prepared.use(prepared.Prepared(clusters=data.Clusters(frame, ())))
    assert populate(ephys.SpikeSorting) == []
    prepared.add_sort(sorting="pykilosort@2024-05-06", default=False)
    for recording in (EID, pid, pid.upper()):
        assert len(views.units(sorting="pykilosort", recording=recording)) == 2
        assert len(views.units(recording=recording)) == 2
        says = r"probe00 of session 1.*Imported: pykilosort; not .*: pykilosort@2024-05-06\."
        with pytest.raises(QueryError, match=says):
            views.units(sorting="pykilosort@2024-05-06", recording=recording)
    with pytest.raises(QueryError, match="There are: pykilosort, pykilosort@2024-05-06"):
        views.units(sorting="kilosort9", recording=pid)
    with pytest.raises(QueryError, match="no session and no insertion"):
        views.units(recording=prepared.OTHER)


def test_each_sort_is_read_from_its_own_revision_or_an_older_file(database):
    add_probe("none")
    newer = "alf/probe00/pykilosort/#2024-05-06#"
    names = ("clusters.channels.npy", "spikes.times.npy")
    files = [CLUSTERS, SPIKES, *(f"{newer}/{name}" for name in names)]
    files.append("alf/probe00/pykilosort/#2025-01-01#/clusters.channels.npy")
    files.append("alf/probe00/ks2_matlab/clusters.channels.npy")
    for path in files:
        kind = "spikes" if "spikes" in path else "clusters"
        sorter = path.split("/")[2]
        prepared.add_file(kind, path, probe_name="probe00", dataset_sorter=sorter)
    sites = "alf/probe00/electrodeSites.localCoordinates.npy"
    prepared.add_file("channels", sites, probe_name="probe00")
    for name in ("pykilosort", "pykilosort@2024-05-06"):
        prepared.add_sort(sorting=name, default=name == "pykilosort")
    frame = pd.DataFrame({"channel": [1, 0]})
    prepared.use(prepared.Prepared(clusters=data.Clusters(frame, ())))
    assert populate(ephys.SpikeSorting) == []
    original = prepared.read(ephys.SpikeSorting, sorting_name="pykilosort")
    assert set(original) == {CLUSTERS, SITES, sites}
    later = prepared.read(ephys.SpikeSorting, sorting_name="pykilosort@2024-05-06")
    assert set(later) == {f"{newer}/clusters.channels.npy", SITES, sites}
