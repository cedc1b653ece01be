"""The server of the tests, asked by ONE's own client."""

import uuid

import numpy as np
import one.params
import pandas as pd
import pytest
from one.api import OneAlyx

from schemas.sources import ontology
from tests.support.alyx import DEFAULT_TAG


@pytest.fixture
def one_client(shared, tmp_path, monkeypatch):
    """ONE-api's own client, whose settings and files are in the folder of the test."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("one.params.iopar.getfile", lambda name: str(tmp_path / name))
    settings = one.params.get(client=shared.url, silent=True)
    settings = settings.set("HTTP_DATA_SERVER", shared.files_url).set("ALYX_LOGIN", shared.user)
    one.params.save(settings.set("CACHE_DIR", str(tmp_path / "ONE")), shared.url)
    client = OneAlyx(
        base_url=shared.url,
        username=shared.user,
        password=shared.password,
        silent=True,
        cache_dir=tmp_path / "ONE",
        cache_rest=None,
    )
    shared.forget()
    return client


def test_real_client_searches_what_the_folder_has(one_client, release):
    truth = release.truth
    found = one_client.search(project="brainwide")
    assert {str(eid) for eid in found} == set(truth.sessions["eid"])
    lab = truth.sessions["lab"].iloc[0]
    found = one_client.search(lab=lab, task_protocol="EPHYS")
    wanted = truth.sessions.query("lab == @lab and not training")
    assert {str(eid) for eid in found} == set(wanted["eid"])
    day = str(truth.sessions["date"].iloc[1])
    (found,) = one_client.search(date_range=[day, day])
    assert str(found) == truth.sessions["eid"].iloc[1]


def test_real_client_converts_names_of_insertions(one_client, release):
    for eid, rows in release.truth.insertions.groupby("eid"):
        pids, names = one_client.eid2pid(eid)
        assert {str(pid): name for pid, name in zip(pids, names, strict=True)} == dict(
            zip(rows["pid"], rows["probe_name"], strict=True)
        )
        for row in rows.itertuples():
            assert one_client.pid2eid(row.pid) == (uuid.UUID(eid), row.probe_name)


def test_real_client_lists_and_loads_datasets(one_client, release, shared):
    eid = release.truth.insertions["eid"].iloc[0]
    rows = release.truth.datasets.query("eid == @eid and qc != 'CRITICAL'")
    listed = one_client.list_datasets(eid)
    default = rows[rows["default_revision"].astype(bool)]
    assert set(listed) <= set(rows["rel_path"])
    assert {"alf/_ibl_trials.table.pqt", "alf/_ibl_wheel.position.npy"} <= set(listed)
    assert set(default["rel_path"]) <= set(listed)
    spikes = default.loc[default["rel_path"].str.endswith("spikes.times.npy"), "rel_path"].iloc[0]
    place = spikes.rsplit("/", 2)[0] if "#" in spikes else spikes.rsplit("/", 1)[0]
    loaded = one_client.load_dataset(eid, "spikes.times.npy", collection=place)

    session = release.truth.sessions.set_index("eid").loc[eid]
    folder = f"{session['lab']}/Subjects/{session['subject']}/{session['date']}"
    path = f"{folder}/{session['number']:03d}/{spikes}"
    np.testing.assert_array_equal(loaded, np.load(release.folder / path))
    assert shared.downloads() == {path: 1}
    assert (one_client.cache_dir / path).read_bytes() == (release.folder / path).read_bytes()


def located_within(release, acronym):
    """Insertions with a site within a structure, from the files and tables themselves."""
    ids = ontology.load_ontology().set_index("region_acronym")["region_id"]
    pairs = ontology.load_ancestors()
    within = pairs.loc[pairs["ancestor_id"] == ids[acronym], "region_id"]
    datasets = release.truth.datasets[release.truth.datasets["default_revision"].astype(bool)]
    found = set()
    tables = [
        pd.read_parquet(release.folder / "alyx" / f"{n}.pqt") for n in ("trajectories", "channels")
    ]
    sites = tables[0].merge(tables[1], left_on="id", right_on="trajectory_id")
    sites = sites[sites["brain_region"].isin(within) & sites["provenance"].str.startswith("Ephys")]
    for row in release.truth.insertions.itertuples():
        session = release.truth.sessions.set_index("eid").loc[row.eid]
        folder = release.folder / session["lab"] / "Subjects" / session["subject"]
        folder = folder / str(session["date"]) / f"{session['number']:03d}"
        own = datasets[(datasets["eid"] == row.eid)]["rel_path"]
        own = own[own.str.contains(f"/{row.probe_name}/.*brainLocationIds", regex=True)]
        regions = [np.abs(np.load(folder / path)) for path in own]
        listed = ((sites["eid"] == row.eid) & (sites["probe_name"] == row.probe_name)).any()
        if listed or (regions and np.isin(np.concatenate(regions), within).any()):
            found.add(row.pid)
    return found


def test_real_client_searches_insertions_by_structure(one_client, release):
    every = set(release.truth.insertions["pid"])
    for acronym in ("TH", "CTX", "VISp"):
        wanted = located_within(release, acronym)
        found = one_client.search_insertions(
            atlas_acronym=acronym.lower() if acronym == "TH" else acronym
        )
        assert {str(pid) for pid in found} == wanted
    assert set() < located_within(release, "TH") < every
    assert len(one_client.search_insertions(atlas_acronym="no such place")) == 0


def test_real_client_takes_all_tables_for_those_of_a_tag(alyx, release, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("one.params.iopar.getfile", lambda name: str(tmp_path / name))
    one.params.save(one.params.get(client=alyx.url, silent=True), alyx.url)
    client = OneAlyx(
        base_url=alyx.url,
        username=alyx.user,
        password=alyx.password,
        silent=True,
        cache_dir=tmp_path / "ONE",
    )
    client.load_cache(tag=DEFAULT_TAG)
    assert len(client._cache["sessions"]) == len(release.truth.sessions)
    assert [r.path for r in alyx.asked("/cache")] == [
        f"/cache/info/{DEFAULT_TAG}",
        f"/cache/info/{DEFAULT_TAG}/",
        "/cache.zip",
    ]
