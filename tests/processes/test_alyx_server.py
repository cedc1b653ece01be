"""The server of the tests against replies of the real Alyx, its real client, and the folder."""

import concurrent.futures
import functools
import hashlib
import json
import re
import subprocess
import sys
import time
import urllib.parse
import uuid
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import one.params
import pandas as pd
import pytest
import requests
from iblutil.io import parquet
from one.api import OneAlyx

from schemas.sources import ontology
from tests.conftest import REAL
from tests.support.alyx import DEFAULT_TAG, UMBRELLA, AlyxServer

REPLIES = REAL / "alyx" / "replies"
NOBODY = "00000000-0000-4000-8000-000000000000"
OUTCOMES = ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"]


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


@pytest.fixture
def connect():
    with requests.Session() as session:
        yield lambda server: Client(server, session)


@pytest.fixture(scope="module")
def shared(release):
    """A server over the simulated release that no test changes."""
    with AlyxServer(release.folder) as server:
        yield server


@pytest.fixture
def alyx(release):
    """A server over the simulated release, for a test that changes it."""
    with AlyxServer(release.folder) as server:
        yield server


@pytest.fixture
def client(shared, connect):
    return connect(shared)


@pytest.fixture
def own(alyx, connect):
    return connect(alyx)


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


@pytest.fixture
def odd(tmp_path):
    """A folder with few rows of all kinds: probe00 beside probe00a, JSON of all sorts."""
    folder = tmp_path / "odd"
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


# --- The forms of the replies, against those of the real Alyx

# Requests that must be answered as the recorded ones were. Names in braces are those of a record
# of the simulated release.
SAME = {
    "me_404": "/me",
    "cache_info_redirect_301": "/cache/info",
    "cache_info_200": "/cache/info/",
    "cache_info_tag_200": "/cache/info/{tag}/",
    "cache_info_unknown_tag_404": "/cache/info/NoSuchTag/",
    "sessions_list_200": "/sessions",
    "sessions_list_paged_first_200": "/sessions?limit=1",
    "sessions_list_paged_middle_200": "/sessions?limit=1&offset=1",
    "sessions_list_paged_third_200": "/sessions?limit=1&offset=2",
    "sessions_list_paged_last_200": "/sessions?limit=1&offset=6",
    "sessions_list_offset_past_end_200": "/sessions?limit=2&offset=99",
    "sessions_list_limit_0_200": "/sessions?limit=0",
    "sessions_list_empty_200": "/sessions?subject=NOBODY",
    "sessions_list_date_range_200": "/sessions?date_range={date},{date}",
    "sessions_list_datasets_200": "/sessions?datasets=_ibl_trials.table.pqt",
    "sessions_list_tag_200": "/sessions?tag=2022_q4",
    "sessions_list_atlas_acronym_200": "/sessions?atlas_acronym=TH",
    "sessions_list_atlas_none_200": "/sessions?atlas_acronym=MOB",
    "sessions_list_django_pk_200": "/sessions?django=pk,{eid}",
    "sessions_list_unknown_param_200": "/sessions?foo=bar",
    "sessions_list_number_002_200": "/sessions?number=002",
    "sessions_read_200": "/sessions/{eid}",
    "sessions_read_nulls_200": "/sessions/{untold_eid}",
    "sessions_read_404": f"/sessions/{NOBODY}",
    "sessions_read_bad_uuid_404_html": "/sessions/not-a-uuid",
    "insertions_list_200": "/insertions",
    "insertions_list_by_session_200": "/insertions?session={eid}",
    "insertions_list_atlas_200": "/insertions?atlas_acronym=TH",
    "insertions_list_django_200": "/insertions?django=json__extended_qc__alignment_resolved,True",
    "insertions_read_200": "/insertions/{pid}",
    "insertions_read_nulls_200": "/insertions/{untold_pid}",
    "insertions_read_name_leak_200": "/insertions/{pid}",
    "insertions_read_404": f"/insertions/{NOBODY}",
    "datasets_list_by_session_200": "/datasets?session={eid}",
    "datasets_list_id_in_200": "/datasets?exists=True&django=id__in,['{did}', '{other_did}']",
    "datasets_list_name_session_200": "/datasets?name=_ibl_wheel.position.npy&session={eid}",
    "datasets_read_200": "/datasets/{did}",
    "datasets_list_session_unknown_400": f"/datasets?session={NOBODY}",
    "datasets_list_probe_insertion_unknown_500": f"/datasets?probe_insertion={NOBODY}",
    "subjects_list_200": "/subjects",
    "subjects_read_200": "/subjects/{subject}",
    "subjects_read_nulls_200": "/subjects/{untold_subject}",
    "error_404_subject": "/subjects/nobody",
    "trajectories_list_200": "/trajectories",
    "trajectories_read_200": "/trajectories/{trajectory}",
    "trajectories_by_insertion_200": (
        "/trajectories?probe_insertion={pid}&provenance=Ephys aligned histology track"
    ),
    "channels_by_trajectory_200": "/channels?trajectory_estimate={trajectory}",
    "channels_list_200": "/channels?limit=1000",
    "labs_list_200": "/labs",
    "labs_read_200": "/labs/{lab}",
    "projects_list_200": "/projects",
    "projects_read_200": "/projects/ibl_neuropixel_brainwide_01",
    "revisions_list_200": "/revisions",
    "revisions_read_200": "/revisions/2024-05-06",
    "tags_list_200": "/tags",
    "tags_read_200": "/tags/{tag}",
    "files_list_200": "/files",
    "dataset_types_list_200": "/dataset-types",
    "dataset_types_read_200": "/dataset-types/spikes.times",
    "data_repository_list_200": "/data-repository",
    "data_repository_read_200": "/data-repository/flatiron_{lab}",
    "data_repository_aws_cortexlab_404": "/data-repository/aws_cortexlab",
    "brain_regions_list_200": "/brain-regions",
    "brain_regions_list_limit_5000_200": "/brain-regions?limit=5000",
    "brain_regions_descendants_200": "/brain-regions?descendants=VISp",
    "brain_regions_ancestors_200": "/brain-regions?ancestors=CA1",
    "brain_regions_read_200": "/brain-regions/382",
    "chronic_insertions_list_empty_200": "/chronic-insertions",
    "file_200": "/public/{file}",
    "file_404": "/public/{lab}/Subjects/nothing.npy",
    "error_500_bad_enum": "/sessions?qc=NONSENSE",
    "error_500_bad_date": "/sessions?date_range=yesterday,today",
    "error_500_one_date": "/sessions?date_range=2020-01-08",
    "error_500_django_unknown_field": "/sessions?django=nofield,3",
    "error_500_django_odd": "/sessions?django=number",
    "error_400_bad_uuid_filter": "/insertions?session=not-a-uuid",
    "error_400_bad_number_filter": "/sessions?number=abc",
    "error_404_unknown_url_html": "/nope",
    "error_404_trailing_slash_html": "/sessions/",
    "error_405": "/tags",
    "error_403_public_user_write": "/sessions/{eid}",
    "error_403_no_token": "/sessions",
    "error_403_invalid_token": "/sessions",
    "error_403_invalid_token_client": "/api/schema",
    "error_403_malformed_header": "/sessions",
    "error_406": "/tags",
    "cache_zip_no_token_403": "/cache.zip",
    "auth_token_get_405": "/auth-token",
    "auth_token_wrong_password_400": "/auth-token",
    "auth_token_no_password_400": "/auth-token",
    "auth_token_200": "/auth-token",
}
OTHERWISE = {
    "api_schema_200": "test_schema_names_the_filters_of_alyx",
    "cache_zip_200": "test_zipped_tables_are_those_of_the_folder",
    "cache_info_no_tables_500": "test_without_tables",
    "cache_info_tag_no_tables_500": "test_without_tables",
    "error_429_throttled": "test_throttled_reply_is_that_of_alyx",
}
NOT_SERVED = {
    "data_repository_aws_cortexlab_200": "there is no S3",
    "datasets_list_no_session_200": "a folder of sessions has no aggregates",
    "datasets_delete_protected_403": "said to those who may write",
    "error_400_bad_json": "said to those who may write",
    "root_redirect_302": "the pages for people",
    "users_list_200": "never asked for",
    "users_read_200": "never asked for",
    "notes_list_200": "never asked for",
    "locations_list_200": "never asked for",
    "data_formats_list_200": "never asked for",
}
# Whatever a laboratory or an analysis wrote into it.
FREE = {"json", "extended_qc"}
# Fields that were null, or that alyx-rest.md calls nullable; `x` to `z` are those of channels.
# Null according to alyx-rest.md, though in no reply that was recorded.
UNSEEN_NULLS = {"x", "y", "z", "depth", "theta", "phi", "brain_region", "file_size"}
# A folder need not know it; whether Alyx always does was not seen.
UNSEEN_NULLS |= {"species"}
# Lists that are empty with a folder, whatever it is made of.
MAY_BE_EMPTY = {"sessions_read_nulls_200.probe_insertion"}  # it is a session of training
ALWAYS_EMPTY = {"wateradmin_session_related", "water_administrations", "notes", "genotype"}


@pytest.fixture
def replies():
    if not REPLIES.is_dir():
        pytest.skip("no recorded replies beside the project")
    return REPLIES


@functools.cache
def nullable(replies):
    """Fields that are null in any of the recorded replies."""
    found = set()

    def visit(value):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if each is None and isinstance(key, str):
                found.add(key)
            elif isinstance(each, dict | list):
                visit(each)

    for path in replies.glob("*_200.json"):
        body = json.loads(path.read_text())["body"]
        if isinstance(body, dict):
            visit(body)
    return found | FREE | UNSEEN_NULLS


def recorded(replies, name):
    return json.loads((replies / f"{name}.json").read_text())


@pytest.fixture
def names(release, shared):
    """Names and identifiers of the release for the requests."""
    datasets = release.truth.datasets
    first = release.truth.insertions.iloc[0]
    session = release.truth.sessions.set_index("eid").loc[first["eid"]]
    tables = release.folder / "alyx"
    subjects = pd.read_parquet(tables / "subjects.pqt")
    quality = pd.read_parquet(tables / "sessions.pqt")
    trajectories = pd.read_parquet(tables / "trajectories.pqt")
    aligned = trajectories.query(
        "eid == @first.eid and probe_name == @first.probe_name and provenance.str.startswith('Eph')"
    )
    texts = pd.read_parquet(release.folder / "insertions.pqt")["json"]
    own = datasets[(datasets["eid"] == first["eid"]) & datasets["rel_path"].str.contains("wheel")]
    untold = quality.loc[quality["extended_qc"].isna(), "eid"]
    stem, extension = own["rel_path"].iloc[0].rsplit(".", 1)
    folder = f"{session['lab']}/Subjects/{session['subject']}/{session['date']}"
    return {
        "eid": first["eid"],
        "pid": first["pid"],
        "lab": session["lab"],
        "date": session["date"],
        "subject": subjects.loc[subjects["birth_date"].notna(), "nickname"].iloc[0],
        "untold_subject": subjects.loc[subjects["birth_date"].isna(), "nickname"].iloc[0],
        "untold_eid": untold.iloc[0] if len(untold) else first["eid"],
        "untold_pid": texts.index.get_level_values("id")[texts.isna()][0],
        "trajectory": aligned["id"].iloc[0],
        "did": own["id"].iloc[0],
        "other_did": own["id"].iloc[1],
        "tag": DEFAULT_TAG,
        "file": f"{folder}/{session['number']:03d}/{stem}.{own['id'].iloc[0]}.{extension}",
    }


def test_no_recorded_reply_is_forgotten(replies):
    there = {entry["file"].removesuffix(".json") for entry in recorded(replies, "INDEX")["files"]}
    assert there == {*SAME, *OTHERWISE, *NOT_SERVED}
    assert len(there) == len(SAME) + len(OTHERWISE) + len(NOT_SERVED)
    assert {*OTHERWISE.values()} <= {*globals()}


@pytest.mark.parametrize("name", SAME)
def test_reply_is_that_of_alyx(name, replies, shared, client, names):
    real = recorded(replies, name)
    place, _, query = SAME[name].format(**names).partition("?")
    url = shared.url + urllib.parse.quote(place)
    reply = client.session.request(
        real["request"]["method"],
        f"{url}?{urllib.parse.quote(query, '=&')}" if query else url,
        headers=sent(real["request"], client),
        data=(real["request"]["body"] or "")
        .replace("<password>", shared.password)
        .replace("root", shared.user),
        allow_redirects=False,
        timeout=20,
    )

    assert reply.status_code == real["status"], reply.text
    given = {key.lower(): value for key, value in real["headers"].items()}
    for key in ("content-type", "allow", "location"):
        assert reply.headers.get(key) == given.get(key), key
    assert "content-length" in reply.headers or real["status"] == 301
    if name == "file_200":
        assert len(reply.content) == int(reply.headers["Content-Length"]) > 0
    elif not isinstance(real["body"], dict):
        assert reply.text == real["body"]
    elif name == "error_500_django_unknown_field":
        assert same_form(real["body"], reply.json(), name)
        assert reply.json()["detail"].split(":")[0] == real["body"]["detail"].split(":")[0]
    elif real["status"] >= 400:
        assert reply.json() == real["body"]
    else:
        same_form(real["body"], reply.json(), name)


def sent(asked, client):
    """Headers of a recorded request, its token being the one of our own server."""
    names = ("Accept", "Authorization", "Content-Type")
    headers = {key: asked["headers"].get(key) for key in names}  # None: not that of the session
    if "0123456789abcdef" in (headers["Authorization"] or ""):
        headers["Authorization"] = client.session.headers["Authorization"]
    return headers


def same_form(real, ours, place):
    """Assert that two JSON values have the same keys at every level and types that agree."""
    field = place.rsplit(".", 1)[-1].removesuffix("[]")
    if real is None or ours is None:
        assert real is ours or field in nullable(REPLIES), place
    elif isinstance(real, dict):
        assert isinstance(ours, dict), place
        if field not in FREE:
            assert set(ours) == set(real), place
            for key, value in real.items():
                same_form(value, ours[key], f"{place}.{key}")
    elif isinstance(real, list):
        assert isinstance(ours, list), place
        if place not in MAY_BE_EMPTY and field not in ALWAYS_EMPTY:
            assert ours or not real, f"{place} is empty"
        items = [item for item in real if not (isinstance(item, dict) and "..." in item)]
        for item in ours if items else []:
            same_form(items[0], item, f"{place}[]")
    else:
        wanted = (int, float) if type(real) is float else type(real)
        assert isinstance(ours, wanted), place
        assert isinstance(ours, bool) == isinstance(real, bool), place
    return True


def test_schema_names_the_filters_of_alyx(replies, client):
    real = recorded(replies, "api_schema_200")["body"]["paths"]
    reply = client.get("/api/schema")
    assert reply.headers["Content-Type"] == "application/vnd.oai.openapi+json"

    def filters(paths, path):
        return {each["name"] for each in paths[path]["get"].get("parameters", [])}

    ours = reply.json()["paths"]
    assert {"/sessions", "/sessions/{id}", "/insertions", "/datasets", "/subjects"} <= set(ours)
    for path in set(ours) - {"/auth-token"}:
        assert filters(ours, path) == filters(real, path), path


def test_zipped_tables_are_those_of_the_folder(replies, release, client):
    real = recorded(replies, "cache_zip_200")["body"]["zip_members"]
    reply = client.get("/cache.zip")
    assert reply.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(BytesIO(reply.content)) as archive:
        assert set(archive.namelist()) == set(real)
        same_form(real["cache_info.json"], json.loads(archive.read("cache_info.json")), "info")
        for name in ("sessions.pqt", "datasets.pqt"):
            table = pd.read_parquet(BytesIO(archive.read(name)))
            assert set(table.reset_index().columns) == set(real[name]["parquet_columns"])
            assert table.equals(pd.read_parquet(release.folder / name))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cache_info_no_tables_500", "/cache/info/"),
        ("cache_info_tag_no_tables_500", f"/cache/info/{UMBRELLA}/"),
    ],
)
def test_without_tables(name, path, replies, alyx, own):
    alyx.cache_tables = False
    real = recorded(replies, name)
    reply = own.get(path)
    assert reply.status_code == real["status"] == 500
    assert reply.json()["detail"] == real["body"]["detail"].replace("Internal", UMBRELLA)


# --- The real client


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


# --- Records


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
    before = client_datasets(own, eid)
    assert before[unknown]["file_size"] is not None
    alyx.edge_cases.null_sizes.add(unknown)
    alyx.edge_cases.empty_hashes.add(unhashed)
    alyx.edge_cases.personal.add(far)
    after = client_datasets(own, eid)
    assert after[unknown]["file_size"] is None
    assert after[unhashed]["hash"] == ""
    assert set(before) - set(after) == {far}
    (row,) = own.list("datasets", id=far)
    assert [record["data_url"] for record in row["file_records"]] == [None]
    assert requests.get(before[far]["data_url"].replace("#", "%23"), timeout=20).status_code == 404


def client_datasets(client, eid):
    session = client.get(f"/sessions/{eid}").json()
    return {row["id"]: row for row in session["data_dataset_session_related"]}


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


# --- Filters

# As Django 5.2 turns them into SQL, and PostgreSQL judges that: numbers of the rows of `odd`.
QUERIES = [
    ("insertions", "json__qc,PASS", {3}),
    ("insertions", "json__qc__iexact,PASS", {3, 5}),
    ("insertions", "~json__qc,CRITICAL", {0, 2, 3, 5}),
    ("insertions", "json__qc,None", {2}),
    ("insertions", "json__qc__isnull,True", {0, 1}),
    ("insertions", "json__isnull,True", {0}),
    ("insertions", "json__extended_qc__alignment_resolved,True", {3}),
    ("insertions", "~json__extended_qc__alignment_resolved,True", {0, 4}),
    ("insertions", "json__extended_qc__alignment_count__gt,0", {3, 4}),
    ("insertions", "json__qc__in,['PASS', 'pass']", {3, 5}),
    ("insertions", "json__qc,PASS,json__extended_qc__alignment_count__gte,3", set()),
    ("insertions", "session__qc,50", {0, 1}),
    ("insertions", "~session__qc__gte,50", {2, 3, 4, 5}),
    ("insertions", "session__qc__lt,50,~json__qc,CRITICAL", {2, 3, 5}),
    ("insertions", "session__projects__name,ibl_other", {0, 1, 4, 5}),
    ("insertions", "session__projects__name__icontains,BRAINWIDE", {0, 1}),
    ("insertions", "~session__projects__name__icontains,brainwide", {2, 3, 4, 5}),
    ("insertions", "session__projects__isnull,True", {2, 3}),
    ("insertions", "session__extended_qc__behavior,1", {0, 1}),
    ("insertions", "session__extended_qc__behavior,True", {2, 3}),
    ("insertions", "session__extended_qc___task_x__gte,0.9", {0, 1}),
    ("insertions", "~session__extended_qc___task_x__gte,0.9", {2, 3, 4, 5}),
    ("insertions", "session__start_time__date__lte,2020-01-09", {0, 1, 2, 3}),
    ("insertions", "session__subject__nickname__in,['B_2', 'C']", {4, 5}),
    ("insertions", "name__in,['probe00a']", {1, 3, 5}),
    ("insertions", "name,probe00,name,probe00a", {1, 3, 5}),
    ("insertions", "model__isnull,True", {1, 3, 5}),
    ("insertions", f"session__in,['{odd_id('session', 1)}']", {2, 3}),
    ("insertions", f"session,{odd_id('session', 1)}", {2, 3}),
    ("insertions", f"pk__in,('{odd_id('insertion', 2)}',)", {2}),
    ("insertions", f"id__in,['{odd_id('insertion', 2)}', '{odd_id('insertion', 4)}']", {2, 4}),
    ("sessions", "probe_insertion__json__qc,PASS", {1}),
    ("sessions", "~probe_insertion__json__qc,PASS", {0, 2}),
    ("sessions", "number__gt,1", {1}),
    ("sessions", "extended_qc__isnull,True", {2}),
    ("datasets", "session__isnull,True", set()),
    ("datasets", "revision__isnull,False", {3, 7, 11}),
    ("datasets", "collection__contains,probe00a,default_dataset,True", {3, 7, 11}),
    ("datasets", f"session,{odd_id('session', 0)},name__startswith,_ibl", {0}),
]


@pytest.mark.parametrize(("name", "query", "wanted"), QUERIES)
def test_django_query(name, query, wanted, odd, connect):
    with AlyxServer(odd) as server:
        found = connect(server).ids(name, django=query)
    assert found == {odd_id(name.removesuffix("s"), number) for number in wanted}


@pytest.mark.parametrize(
    "query",
    [
        "session__project__name__icontains,brainwide",
        "session__nothing,1",
        "id__in,['no-uuid']",
        "session__qc,PASS",
        "session__start_time__date,today",
        "name__like,probe",
        "name__in,[probe00]",
    ],
)
def test_odd_query_fails_within_alyx(query, client):
    reply = client.get("/insertions", django=query)
    assert reply.status_code == 500
    assert set(reply.json()) == {"status_code", "detail"}


def test_filters_against_the_tables(release, client):
    truth = release.truth
    sessions, insertions = truth.sessions, truth.insertions.merge(truth.sessions, on="eid")
    mouse, lab = sessions["subject"].iloc[0], sessions["lab"].iloc[0]
    eids = lambda rows: set(rows["eid"])  # noqa: E731
    assert client.ids("sessions", subject=mouse) == eids(sessions.query("subject == @mouse"))
    assert client.ids("sessions", subject=mouse[:-1]) == set()
    assert client.ids("sessions", lab=lab) == eids(sessions.query("lab == @lab"))
    assert client.ids("sessions", lab=",".join(sessions["lab"].unique())) == set()
    assert client.ids("sessions", project="BRAINWIDE") == eids(sessions)
    assert client.ids("sessions", number="002") == eids(sessions.query("number == 2"))
    assert client.ids("sessions", foo="bar") == eids(sessions)
    assert client.ids("sessions", task_protocol="training") == eids(sessions.query("training"))
    days = sorted(sessions["date"].astype(str))
    between = sessions[sessions["date"].astype(str).between(days[1], days[3])]
    assert client.ids("sessions", date_range=f"{days[1]},{days[3]}") == eids(between)
    assert client.ids("sessions", date_range=f"{days[1]},2262-04-11") == eids(
        sessions[sessions["date"].astype(str) >= days[1]]
    )
    wheels = truth.datasets[truth.datasets["rel_path"] == "alf/_ibl_wheel.position.npy"]
    found = client.ids("sessions", datasets="_ibl_wheel.position.npy,_ibl_trials.table.pqt")
    assert set() < found == eids(wheels) < eids(sessions)
    wanted = insertions.query("subject == @mouse and probe_name == 'probe00'")
    assert client.ids("insertions", subject=mouse, name="probe00") == set(wanted["pid"])
    models = insertions.query("model == '3B2'")
    assert client.ids("insertions", model="Neuropixel 3B2") == set(models["pid"])
    assert client.ids("insertions", model="3B2") == set()
    trajectories = pd.read_parquet(release.folder / "alyx" / "trajectories.pqt")
    some = list(sessions["eid"].iloc[:3])
    found = client.ids("trajectories", django=f"probe_insertion__session__in,{some}")
    assert found == set(trajectories[trajectories["eid"].isin(some)]["id"])
    nicknames = list(sessions["subject"].unique()[:2])
    found = client.list("subjects", django=f"nickname__in,{nicknames}")
    assert {row["nickname"] for row in found} == set(nicknames)


def test_only_sites_of_aligned_tracks_are_searched(odd, connect):
    tracks = ("Histology track", "Ephys aligned histology track")
    trajectories = pd.DataFrame(
        {
            "id": [odd_id("trajectory", i) for i in range(2)],
            "eid": odd_id("session", 0),
            "probe_name": ["probe00", "probe00a"],
            "provenance": tracks,
            **dict.fromkeys(("x", "y", "z", "depth", "theta", "phi", "roll"), 1.0),
        }
    )
    channels = pd.DataFrame(
        {
            "trajectory_id": trajectories["id"],
            **dict.fromkeys(("axial", "lateral", "x", "y", "z"), 20.0),
            "brain_region": [463, 382],  # CA3, CA1
        }
    )
    write(odd, "alyx/trajectories", trajectories)
    write(odd, "alyx/channels", channels)
    with AlyxServer(odd) as server:
        client = connect(server)
        assert {row["brain_region"] for row in client.list("channels")} == {463, 382}
        assert client.ids("insertions", atlas_acronym="CA3") == set()
        assert client.ids("sessions", atlas_acronym="CA3") == set()
        aligned = {odd_id("insertion", 1)}
        for acronym in ("CA1", "ca1", "HPF"):  # the hippocampal formation has both
            assert client.ids("insertions", atlas_acronym=acronym) == aligned
        assert client.ids("insertions", atlas_id=382) == aligned
        assert client.ids("sessions", atlas_name="Field CA1") == {odd_id("session", 0)}
        shown = client.list("trajectories", provenance=tracks[0])
        assert [row["id"] for row in shown] == [odd_id("trajectory", 0)]
        assert client.get("/trajectories", provenance="Guess").status_code == 500


def test_filter_that_is_not_served_says_so(client):
    assert client.get("/sessions", histology="True").status_code == 501


# --- Pages


def test_pages_follow_each_other(client, release):
    rows = [row for page in client.pages("datasets", limit=100) for row in page]
    assert sorted(row["url"][-36:] for row in rows) == sorted(release.truth.datasets["id"])
    sizes = [len(page) for page in client.pages("datasets")]
    assert sizes[0] == 250
    assert sum(sizes) == len(rows)
    assert max(len(page) for page in client.pages("channels", limit=5000)) == 1000
    first = client.get("/datasets", limit=100, offset=100).json()
    assert first["previous"] == f"{client.server.url}/datasets?limit=100"
    assert first["next"] == f"{client.server.url}/datasets?limit=100&offset=200"
    for limit in ("0", "-3", "many"):
        assert len(client.get("/datasets", limit=limit).json()["results"]) == 250


def test_links_keep_the_filters(client, release):
    eid = release.truth.insertions["eid"].iloc[0]
    query = f"session__in,['{eid}']"
    rows = [row for page in client.pages("datasets", limit=7, django=query) for row in page]
    wanted = release.truth.datasets.query("eid == @eid")["id"]
    assert sorted(row["url"][-36:] for row in rows) == sorted(wanted)


def test_lists_without_order_are_shuffled(alyx, own, release):
    alyx.edge_cases.shuffle = True
    first, second = ([row["url"] for row in own.list("datasets")] for _ in range(2))
    assert first != second
    assert sorted(first) == sorted(second)
    rows = [row["url"] for page in own.pages("datasets", limit=50) for row in page]
    assert len(rows) == len(release.truth.datasets)
    assert len(set(rows)) < len(rows)
    times = [row["start_time"] for row in own.list("sessions")]
    assert times == sorted(times, reverse=True)
    names = [row["nickname"] for row in own.list("subjects")]
    assert names == sorted(names)


def test_links_of_a_server_behind_a_proxy(alyx, own):
    alyx.external_url = "https://alyx.test"
    assert own.get("/sessions", limit=2).json()["next"].startswith("https://alyx.test/sessions?")


# --- Faults


@pytest.fixture
def some_file(alyx, own, release):
    """URL of a file, its path, its bytes."""
    rows = release.truth.datasets
    row = rows[rows["rel_path"] == "alf/_ibl_wheel.position.npy"].iloc[0]
    told = client_datasets(own, row["eid"])[row["id"]]
    session = release.truth.sessions.set_index("eid").loc[row["eid"]]
    path = f"{session['lab']}/Subjects/{session['subject']}/{session['date']}"
    path += f"/{session['number']:03d}/{row['rel_path']}"
    alyx.forget()
    return told["data_url"], path, (release.folder / path).read_bytes()


def fetch(url):
    return requests.get(url, timeout=20, headers={"Connection": "close"})


def test_file_needs_no_token(alyx, some_file):
    url, path, data = some_file
    reply = fetch(url)
    assert reply.content == data
    assert int(reply.headers["Content-Length"]) == len(data)
    assert alyx.downloads() == {path: 1}


def test_file_of_a_revision_is_asked_for_with_an_escape(alyx, own, release):
    rows = release.truth.datasets
    row = rows[rows["rel_path"].str.contains("#.*times.npy", regex=True)].iloc[0]
    url = client_datasets(own, row["eid"])[row["id"]]["data_url"]
    assert "#" in url
    reply = fetch(url.replace("#", "%23"))
    assert hashlib.md5(reply.content, usedforsecurity=False).hexdigest() == row["hash"]
    assert fetch(url).status_code == 404


def test_fault_slow(alyx, own):
    fault = alyx.fault("slow", "/labs", times=1, seconds=0.3)
    begin = time.monotonic()
    assert own.get("/tags").status_code == 200
    assert time.monotonic() - begin < 0.3
    begin = time.monotonic()
    own.get("/labs")
    assert time.monotonic() - begin >= 0.3
    assert fault.hits == 1


def test_fault_slow_between_pieces(alyx, own):
    alyx.fault("slow", "/channels", per_chunk=0.1)
    begin = time.monotonic()
    size = len(own.get("/channels", limit=1000).content)
    assert time.monotonic() - begin >= 0.1 * (size // 65536) > 0


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_fault_status(status, alyx, own):
    fault = alyx.fault("status", r"/labs\?limit=1$", times=2, status=status, retry_after="7")
    for _ in range(2):
        reply = own.get("/labs", limit=1)
        assert reply.status_code == status
        assert reply.headers["Retry-After"] == "7"
    assert own.get("/labs", limit=1).status_code == 200
    assert fault.hits == 2
    assert [request.status for request in alyx.asked("/labs")] == [status, status, 200]


def test_fault_close(alyx, some_file):
    url, _, data = some_file
    alyx.fault("close", "wheel", times=1)
    with pytest.raises(requests.ConnectionError):
        fetch(url)
    assert fetch(url).content == data
    assert [request.status for request in alyx.asked("wheel")] == [None, 200]


def test_fault_cut(alyx, some_file):
    url, path, data = some_file
    fault = alyx.fault("cut", "wheel", keep=0.25)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        fetch(url)
    assert alyx.downloads() == {}
    (request,) = alyx.asked("wheel")
    assert (request.length, request.sent) == (len(data), len(data) // 4)
    fault.stop()
    assert fetch(url).content == data
    assert alyx.downloads() == {path: 1}


def test_fault_corrupt(alyx, some_file):
    url, _, data = some_file
    alyx.fault("corrupt", "wheel", times=1)
    spoilt = fetch(url).content
    assert len(spoilt) == len(data)
    assert np.count_nonzero(np.frombuffer(spoilt, "u1") != np.frombuffer(data, "u1")) == 1
    assert fetch(url).content == data


def test_fault_repeated_page(alyx, own):
    alyx.fault("repeat", "offset=50")
    pages = [[row["url"] for row in page] for page in own.pages("datasets", limit=50)]
    assert pages[1] == pages[0]
    assert len({url for page in pages for url in page}) == sum(map(len, pages)) - 50


def test_faults_can_be_cleared(alyx, own):
    alyx.fault("status", status=500)
    assert own.get("/labs").status_code == 500
    alyx.clear_faults()
    assert own.get("/labs").status_code == 200
    with pytest.raises(ValueError, match="nonsense"):
        alyx.fault("nonsense")


def test_expired_token_is_refused_until_login(alyx, own):
    alyx.expire_token()
    reply = own.get("/sessions")
    assert reply.status_code == 403
    assert '"Invalid token."' in reply.text
    own.login()
    assert own.get("/sessions").status_code == 200
    alyx.refuse_tokens = True
    own.login()
    assert own.get("/sessions").status_code == 403


def test_throttle(alyx, own, some_file):
    alyx.throttle, alyx.throttle_window = 3, 1.0
    statuses = [own.get("/labs").status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    reply = own.get("/labs")
    wait = int(reply.headers["Retry-After"])
    assert reply.json()["detail"].endswith(f" in {wait} seconds.")
    assert fetch(some_file[0]).status_code == 200
    time.sleep(wait)
    assert own.get("/labs").status_code == 200


def test_throttled_reply_is_that_of_alyx(replies, alyx, own):
    real = recorded(replies, "error_429_throttled")
    alyx.throttle = 0
    reply = own.get("/tags/Internal")
    wait = reply.headers["Retry-After"]
    assert reply.status_code == real["status"]
    assert reply.headers["Allow"] == real["headers"]["Allow"]
    shown = real["body"]["detail"].replace(real["headers"]["Retry-After"], wait)
    assert reply.json() == {**real["body"], "detail": shown}


# --- The record of requests, and the server itself


def test_requests_in_flight_are_counted(alyx, own):
    alyx.forget()
    alyx.fault("slow", "/labs", seconds=2)
    headers = dict(own.session.headers)

    def ask(_):
        return requests.get(alyx.url + "/labs", headers=headers, timeout=20).status_code

    with concurrent.futures.ThreadPoolExecutor(5) as pool:
        assert set(pool.map(ask, range(5))) == {200}
    assert alyx.most_in_flight() == alyx.most_in_flight(files=False) == 5
    assert alyx.most_in_flight(files=True) == 0
    own.get("/tags")
    assert alyx.most_within(60) == 6
    assert alyx.most_within(0.2) == 5


def test_stopping_ends_what_is_slow(odd):
    server = AlyxServer(odd).start()
    server.fault("slow", "/labs", seconds=60)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(requests.get, server.url + "/labs", timeout=30)
        while not server.requests:
            time.sleep(0.01)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 5
        asked.exception(timeout=5)
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=5)


def test_server_as_a_process(odd, tmp_path):
    log = tmp_path / "log.jsonl"
    command = [
        sys.executable,
        "-m",
        "tests.support.alyx",
        str(odd),
        "--port",
        "0",
        "--log",
        str(log),
    ]
    top = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=top) as process:
        url = process.stdout.readline().strip()
        try:
            assert requests.get(url + "/api/schema", timeout=20).status_code == 200
        finally:
            process.terminate()
        assert process.wait(20) == 0
    (line,) = map(json.loads, log.read_text().splitlines())
    assert (line["path"], line["status"]) == ("/api/schema", 200)
    assert line["sent"] == line["length"] > 0
