"""The replies of the server of the tests, against those of the real Alyx."""

import functools
import json
import urllib.parse
import zipfile
from io import BytesIO

import pandas as pd
import pytest

from tests.support.alyx import DEFAULT_TAG, UMBRELLA
from tests.support.alyx.plain import REPLIES, recorded

NOBODY = "00000000-0000-4000-8000-000000000000"

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
    there = {entry["file"].removesuffix(".json") for entry in recorded("INDEX")["files"]}
    assert there == {*SAME, *OTHERWISE, *NOT_SERVED}
    assert len(there) == len(SAME) + len(OTHERWISE) + len(NOT_SERVED)
    assert {*OTHERWISE.values()} <= {*globals()}


@pytest.mark.parametrize("name", SAME)
def test_reply_is_that_of_alyx(name, replies, shared, client, names):
    real = recorded(name)
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
    real = recorded("api_schema_200")["body"]["paths"]
    reply = client.get("/api/schema")
    assert reply.headers["Content-Type"] == "application/vnd.oai.openapi+json"

    def filters(paths, path):
        return {each["name"] for each in paths[path]["get"].get("parameters", [])}

    ours = reply.json()["paths"]
    assert {"/sessions", "/sessions/{id}", "/insertions", "/datasets", "/subjects"} <= set(ours)
    for path in set(ours) - {"/auth-token"}:
        assert filters(ours, path) == filters(real, path), path


def test_zipped_tables_are_those_of_the_folder(replies, release, client):
    real = recorded("cache_zip_200")["body"]["zip_members"]
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
    real = recorded(name)
    reply = own.get(path)
    assert reply.status_code == real["status"] == 500
    assert reply.json()["detail"] == real["body"]["detail"].replace("Internal", UMBRELLA)


def test_throttled_reply_is_that_of_alyx(replies, alyx, own):
    real = recorded("error_429_throttled")
    alyx.throttle = 0
    reply = own.get("/tags/Internal")
    wait = reply.headers["Retry-After"]
    assert reply.status_code == real["status"]
    assert reply.headers["Allow"] == real["headers"]["Allow"]
    shown = real["body"]["detail"].replace(real["headers"]["Retry-After"], wait)
    assert reply.json() == {**real["body"], "detail": shown}
