"""Plain requests to the server of the tests, recorded replies of Alyx, and a folder of odd rows."""

import json
import urllib.parse
import uuid

import numpy as np
import pandas as pd
from iblutil.io import parquet

from tests.conftest import REAL

REPLIES = REAL / "alyx" / "replies"
OUTCOMES = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]


def recorded(name):
    """A recorded request and the reply of the real Alyx."""
    return json.loads((REPLIES / f"{name}.json").read_text())


class Client:
    """Plain requests with a token, which ends with the test."""

    def __init__(self, server, session):
        self.server = server
        self.session = session
        self.login()

    def login(self):
        found = self.session.post(self.server.url + "/auth-token", data=self.server.credentials)
        self.session.headers["Authorization"] = "Token " + found.json()["token"]

    def get(self, path, **parameters):
        return self.session.get(self.server.url + path, params=parameters, timeout=20)

    def list(self, name, /, **parameters):
        """All rows of a list that fits on one page."""
        reply = self.get("/" + name, **{"limit": 1000, **parameters})
        assert reply.status_code == 200, reply.text
        assert reply.json()["next"] is None
        return reply.json()["results"]

    def ids(self, name, /, **parameters):
        rows = self.list(name, **parameters)
        return {row.get("id") or row["url"][-36:] for row in rows}

    def pages(self, name, /, **parameters):
        """Results by page, following the links."""
        url = f"{self.server.url}/{name}?{urllib.parse.urlencode(parameters)}"
        while url:
            page = self.session.get(url, timeout=20).json()
            yield page["results"]
            url = page["next"]


def datasets_of(client, eid):
    """The files in the reply of a session, by their ids."""
    session = client.get(f"/sessions/{eid}").json()
    return {row["id"]: row for row in session["data_dataset_session_related"]}


def write(folder, name, frame):
    path = folder / f"{name}.pqt"
    path.parent.mkdir(exist_ok=True)
    if "/" in name:
        frame.to_parquet(path)
    else:
        parquet.save(path, frame, {"date_created": "2024-01-01 00:00", "origin": "test"})


# What the insertions of `odd` say, in the order of their numbers.
JSONS = [
    None,
    "{}",
    '{"qc": null}',
    '{"qc": "PASS", "extended_qc": {"alignment_resolved": true, "alignment_count": 2}}',
    '{"qc": "CRITICAL", "extended_qc": {"alignment_resolved": false, "alignment_count": 1}}',
    '{"qc": "pass", "extended_qc": {"tracing_exists": true}}',
]


def odd_id(kind, number):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{number}"))


def write_odd(folder):
    """Write a folder with few rows of all kinds: probe00 beside probe00a, JSON of all sorts."""
    folder.mkdir()
    sessions = pd.DataFrame(
        {
            "lab": ["alab", "alab", "blab"],
            "subject": ["A-1", "A-1", "B_2"],
            "date": [pd.Timestamp(2020, 1, day).date() for day in (8, 9, 10)],
            "number": np.array([1, 2, 1], dtype=np.uint16),
            "task_protocol": ["ephys", "Ephys_other", "training"],
            "projects": ["ibl_brainwide,ibl_other", "", "ibl_other"],
        },
        index=pd.Index([odd_id("session", i) for i in range(3)], name="id"),
    )
    insertions = pd.DataFrame(
        {
            "eid": [odd_id("session", i // 2) for i in range(6)],
            "id": [odd_id("insertion", i) for i in range(6)],
            "name": ["probe00", "probe00a"] * 3,
            "model": ["3B2", None] * 3,
            "serial": [str(i) for i in range(6)],
            "json": JSONS,
        }
    ).set_index(["eid", "id"])
    paths = ["alf/_ibl_wheel.position.npy", "alf/probe00/spikes.times.npy"]
    paths += ["alf/probe00a/spikes.times.npy", "alf/probe00a/#2024-05-06#/spikes.times.npy"]
    datasets = pd.DataFrame(
        {
            "eid": np.repeat([odd_id("session", i) for i in range(3)], len(paths)),
            "id": [odd_id("dataset", i) for i in range(3 * len(paths))],
            "rel_path": paths * 3,
            "file_size": pd.array([10] * 3 * len(paths), dtype="UInt64"),
            "hash": "d41d8cd98f00b204e9800998ecf8427e",
            "exists": True,
            "qc": pd.Categorical(["NOT_SET"] * 3 * len(paths), categories=OUTCOMES, ordered=True),
            "default_revision": [True, True, False, True] * 3,
        }
    ).set_index(["eid", "id"])
    write(folder, "sessions", sessions)
    write(folder, "insertions", insertions)
    write(folder, "datasets", datasets)
    quality = ['{"behavior": 1, "_task_x": 0.95}', '{"behavior": true, "_task_x": 0.5}', None]
    more = pd.DataFrame(
        {
            "eid": sessions.index,
            "start_time": [f"{day}T1{i}:02:03" for i, day in enumerate(sessions["date"])],
            "qc": ["CRITICAL", "PASS", "NOT_SET"],
            "extended_qc": quality,
        }
    )
    write(folder, "alyx/sessions", more)
    return folder


def write_many(folder, n_sessions, n_datasets):
    """Write sessions of one start time, each with a probe, and the files of the first of them."""
    folder.mkdir()
    eids = [odd_id("session", i) for i in range(n_sessions)]
    day = pd.Timestamp(2020, 1, 8)
    sessions = {
        "lab": "alab",
        "subject": [f"A-{i // 999}" for i in range(n_sessions)],
        "date": day.date(),
        "number": np.array([i % 999 for i in range(n_sessions)], np.uint16),
        "task_protocol": "ephys",
        "projects": "ibl_brainwide",
    }
    write(folder, "sessions", pd.DataFrame(sessions, index=pd.Index(eids, name="id")))
    insertions = {
        "eid": eids,
        "id": [odd_id("insertion", i) for i in range(n_sessions)],
        "name": "probe00",
        "model": "3B2",
        "serial": "1",
        "json": None,
    }
    write(folder, "insertions", pd.DataFrame(insertions).set_index(["eid", "id"]))
    datasets = {
        "eid": eids[0],
        "id": [odd_id("dataset", i) for i in range(n_datasets)],
        "rel_path": [f"alf/_ibl_extra.part{i}.npy" for i in range(n_datasets)],
        "file_size": pd.array([10] * n_datasets, "UInt64"),
        "hash": "d41d8cd98f00b204e9800998ecf8427e",
        "exists": True,
        "qc": pd.Categorical(["NOT_SET"] * n_datasets, categories=OUTCOMES, ordered=True),
        "default_revision": True,
    }
    write(folder, "datasets", pd.DataFrame(datasets).set_index(["eid", "id"]))
    return folder
