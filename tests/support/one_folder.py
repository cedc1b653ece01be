"""Small folders of ONE, with and without cache tables."""

import datetime
import uuid

import numpy as np
import pandas as pd
from iblutil.io import parquet

EIDS = [str(uuid.uuid4()) for _ in range(3)]
DAY = datetime.date(2021, 6, 24)
WHEEL = ("alf/_ibl_wheel.position.npy", "alf/_ibl_wheel.timestamps.npy")


def write(folder, *paths, value=0.0):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        # Steps of one count of the encoder, in radians.
        np.save(folder / path, value + 2 * np.pi / 4096 * np.arange(3))


def write_tree(folder):
    """Two mice, one of them in a lab, and files of many kinds."""
    write(folder / "somelab/Subjects/NYU-47/2021-06-24/003", *WHEEL)
    write(
        folder / "somelab/Subjects/NYU-47/2021-06-24/003",
        "alf/probe01/pykilosort/spikes.times.npy",
        "alf/probe01/pykilosort/#2024-05-06#/spikes.times.npy",
        "alf/probe00a/electrodeSites.mlapdv.npy",
        "raw_ephys_data/probe01/_spikeglx_ephysData_g0_t0.imec1.ap.cbin.npy",
        "alf/notes.npy",
    )
    write(folder / "somelab/Subjects/NYU-47/2021-06-24/001", *WHEEL, value=1.0)
    write(folder / "ALK01/2020-01-02/012", *WHEEL, value=2.0)
    return folder


def tables(folder, sessions, datasets, insertions=None, **columns):
    """Save cache tables as ONE does."""
    folder.mkdir(parents=True, exist_ok=True)
    meta = {"date_created": "2024-01-01 00:00", "origin": "test"}
    names = ["id", "lab", "subject", "date", "number", "task_protocol", "projects"]
    table = pd.DataFrame(sessions, columns=names).astype({"number": np.uint16})
    parquet.save(folder / "sessions.pqt", table.set_index("id"), meta)
    table = pd.DataFrame(datasets, columns=["eid", "id", "rel_path", "hash", "qc"])
    outcomes = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]
    table = table.assign(
        file_size=pd.array([None] * len(table), dtype="UInt64"),
        exists=True,
        qc=pd.Categorical(table["qc"], categories=outcomes, ordered=True),
    ).assign(**columns)
    parquet.save(folder / "datasets.pqt", table.set_index(["eid", "id"]).sort_index(), meta)
    if insertions is not None:
        table = insertions.set_index(["eid", "id"])
        parquet.save(folder / "insertions.pqt", table, meta)


def session_row(
    eid=EIDS[0], lab="lab", subject="NYU-47", day=DAY, number=3, protocol="", project=""
):
    return (eid, lab, subject, day, number, protocol, project)


def dataset_rows(*paths, eid=EIDS[0], md5="", qc="NOT_SET"):
    return [(eid, str(uuid.uuid4()), path, md5, qc) for path in paths]
