"""What the server of the tests lists, against the tables of its folder."""

import json
import re
import uuid
from collections import Counter

import numpy as np
import pandas as pd
import requests

from tests.support.alyx import AlyxServer
from tests.support.alyx.plain import datasets_of, odd_id, write


def test_unlisted_tables_of_alyx_may_lack(release, tmp_path, connect):
    folder = tmp_path / "bare"
    folder.mkdir()
    for name in ("sessions", "datasets", "insertions"):
        (folder / f"{name}.pqt").write_bytes((release.folder / f"{name}.pqt").read_bytes())
    with AlyxServer(folder) as server:
        client = connect(server)
        assert client.ids("sessions") == set(release.truth.sessions["eid"])
        assert client.list("trajectories") == []
        assert {row["sex"] for row in client.list("subjects")} == {"U"}
        row = client.get(f"/sessions/{release.truth.sessions['eid'].iloc[0]}").json()
        assert row["qc"] == "NOT_SET"
        assert row["extended_qc"] is None


def test_tables_of_alyx_are_reported(release, client):
    tables = {
        name: pd.read_parquet(release.folder / "alyx" / f"{name}.pqt").astype(object)
        for name in ("subjects", "sessions", "trajectories", "channels")
    }
    tables = {name: frame.where(frame.notna(), None) for name, frame in tables.items()}
    told = {row["nickname"]: row for row in client.list("subjects")}
    for row in tables["subjects"].to_dict("records"):
        assert {key: told[row["nickname"]][key] for key in row} == row
    for row in tables["sessions"].to_dict("records"):
        session = client.get(f"/sessions/{row['eid']}").json()
        assert (session["start_time"], session["qc"]) == (row["start_time"], row["qc"])
        assert session["extended_qc"] == json.loads(row["extended_qc"] or "null")
    told = {row["id"]: row for row in client.list("trajectories")}
    assert set(told) == set(tables["trajectories"]["id"])
    for row in tables["trajectories"].to_dict("records"):
        session = told[row["id"]].pop("session")
        assert session["id"] == row.pop("eid")
        assert {key: told[row["id"]][key] for key in row} == row
    trajectory = tables["channels"]["trajectory_id"].iloc[0]
    told = client.list("channels", trajectory_estimate=trajectory)
    wanted = tables["channels"].query("trajectory_id == @trajectory")
    columns = ["axial", "lateral", "x", "y", "z", "brain_region"]
    assert Counter(tuple(row[c] for c in columns) for row in told) == Counter(
        wanted[columns].itertuples(index=False, name=None)
    )


def test_channels_of_files_are_told_too(release, client):
    channels = pd.read_parquet(release.folder / "alyx" / "channels.pqt")
    trajectories = pd.read_parquet(release.folder / "alyx" / "trajectories.pqt")
    aligned = trajectories[trajectories["provenance"] == "Ephys aligned histology track"]
    other = aligned[~aligned["id"].isin(channels["trajectory_id"])].iloc[0]
    told = client.list("channels", trajectory_estimate=other["id"])
    pattern = f"*/Subjects/*/*/*/alf/{other['probe_name']}/pykilosort/**/channels.mlapdv.npy"
    eids = release.truth.datasets.set_index("eid")
    assert other["eid"] in eids.index
    places = np.array([[row["x"], row["y"], row["z"]] for row in told])
    assert any(np.array_equal(places, np.load(path)) for path in release.folder.glob(pattern))


def test_datasets_of_a_session_are_those_of_the_table(release, client):
    table = release.truth.datasets
    eid = table["eid"].iloc[0]
    rows = table[table["eid"] == eid].set_index("id")
    session = client.get(f"/sessions/{eid}").json()["data_dataset_session_related"]
    listed = {row["url"][-36:]: row for row in client.list("datasets", session=eid)}
    assert {row["id"] for row in session} == set(rows.index) == set(listed)
    for told in session:
        row, other = rows.loc[told["id"]], listed[told["id"]]
        assert told["file_size"] == other["file_size"] == row["file_size"]
        assert told["hash"] == other["hash"] == row["hash"]
        assert told["default_revision"] == str(bool(row["default_revision"]))
        assert other["default_dataset"] is bool(row["default_revision"])
        revision = re.search("#(.*)#", row["rel_path"])
        assert other["revision"] == (revision[1] if revision else "")
        assert told["revision"] == "" if not revision else uuid.UUID(told["revision"])
        assert f"/{row['rel_path'].rsplit('.', 1)[0]}.{told['id']}." in told["data_url"]


def test_probe00_has_the_datasets_of_probe00a_too(odd, connect):
    with AlyxServer(odd) as server:
        client = connect(server)
        pid, other = odd_id("insertion", 0), odd_id("insertion", 1)
        collections = {"alf/probe00", "alf/probe00a"}
        read = client.get(f"/insertions/{pid}").json()["datasets"]
        assert {row["collection"] for row in read} == collections
        listed = client.list("datasets", probe_insertion=pid)
        assert {row["collection"] for row in listed} == collections
        (row,) = client.list("insertions", id=pid)
        assert row["datasets"] == [odd_id("dataset", 1)]
        read = client.get(f"/insertions/{other}").json()["datasets"]
        assert {row["collection"] for row in read} == {"alf/probe00a"}
        assert {type(row["qc"]) for row in read} == {int}


def test_tags(odd, connect):
    pids = [odd_id("insertion", 0)]
    with AlyxServer(odd, tags={"Chosen": pids, "All": None}) as server:
        client = connect(server)
        assert client.ids("insertions", tag="chos") == set(pids)
        assert client.ids("sessions", tag="CHOSEN") == {odd_id("session", 0)}
        assert len(client.ids("insertions", tag="all")) == 6
        assert client.ids("insertions", tag="other") == set()
        tagged = client.ids("datasets", tag="Chosen")
        # That of the probe, and that of no probe.
        assert tagged == {odd_id("dataset", 0), odd_id("dataset", 1)}


def test_edge_case_of_datasets(alyx, own, release):
    rows = release.truth.datasets
    eid = rows["eid"].iloc[0]
    unknown, unhashed, far = rows.loc[rows["eid"] == eid, "id"].iloc[:3]
    before = datasets_of(own, eid)
    assert before[unknown]["file_size"] is not None
    alyx.edge_cases.null_sizes.add(unknown)
    alyx.edge_cases.empty_hashes.add(unhashed)
    alyx.edge_cases.personal.add(far)
    after = datasets_of(own, eid)
    assert after[unknown]["file_size"] is None
    assert after[unhashed]["hash"] == ""
    assert set(before) - set(after) == {far}
    (row,) = own.list("datasets", id=far)
    assert [record["data_url"] for record in row["file_records"]] == [None]
    assert requests.get(before[far]["data_url"].replace("#", "%23"), timeout=20).status_code == 404


def test_folder_is_read_again(odd, connect):
    with AlyxServer(odd) as server:
        client = connect(server)
        first = client.get(f"/insertions/{odd_id('insertion', 3)}").json()
        table = pd.read_parquet(odd / "insertions.pqt")
        write(odd, "insertions", table.iloc[:5].assign(json='{"qc": "FAIL"}'))
        assert client.get(f"/insertions/{first['id']}").json() == first
        server.reload()
        assert client.get(f"/insertions/{first['id']}").json()["json"] == {"qc": "FAIL"}
        assert client.get(f"/insertions/{odd_id('insertion', 5)}").status_code == 404
