"""Parts of the viewer that need no database: what addresses hold, bytes, tokens, numbers."""

import asyncio
import json
import math
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from typer.testing import CliRunner

from populate import cli
from viewer import access, cache, drawing, packed, parameters, serve, tables
from viewer.errors import BadParameter
from viewer.parameters import Field

FIELDS = (
    Field("n", parameters.whole(0, 10), 3),
    Field("x", parameters.number(0, 1)),
    Field("id", parameters.uuid),
    Field("on", parameters.flag, False),
)


def read(*pairs):
    return parameters.read(FIELDS, pairs)


def test_what_is_absent_or_empty_has_its_default():
    assert read() == {"n": 3, "x": None, "id": None, "on": False}
    assert read(("n", ""))["n"] == 3


def test_values_are_read():
    given = ("n", "7"), ("x", ".5"), ("id", "12345678-ABCD-4000-8000-000000000001"), ("on", "1")
    expected = {"n": 7, "x": 0.5, "id": "12345678-abcd-4000-8000-000000000001", "on": True}
    assert read(*given) == expected


@pytest.mark.parametrize(
    "pair",
    [
        *(("n", text) for text in ("11", "-1", "1.5", "1e3", "٣", "nan", " 1", "1 OR 1=1")),
        *(("x", text) for text in ("2", "-0.1", "nan", "inf", "1e999", "0x1", "1_0", "--1")),
        *(("id", text) for text in ("x", "1" * 200, "12345678", "{12345678}", "'; DROP")),
        *(("on", text) for text in ("yes", "2", "true")),
        ("n", "1" * 201),
        ("n", "1\x00"),
        ("other", "1"),
    ],
    ids=repr,
)
def test_anything_else_is_refused(pair):
    with pytest.raises(BadParameter):
        read(pair)


def test_a_repeated_name_is_refused():
    with pytest.raises(BadParameter, match="twice"):
        read(("n", "1"), ("n", "2"))


@pytest.mark.parametrize("text", ["VISp2/3", "CUL4 5", "DG-mo", "CM"])
def test_acronyms_of_the_atlas_are_read(text):
    assert parameters.acronym(text) == text


@pytest.mark.parametrize("text", ["", "' OR 1=1", "../etc", "a" * 17, "<b>", "TH;", "%27"])
def test_other_acronyms_are_not(text):
    with pytest.raises(ValueError, match="acronym"):
        parameters.acronym(text)


def test_what_is_written_is_read_again():
    values = {"n": 4, "x": 0.1, "id": "12345678-abcd-4000-8000-000000000001", "on": True}
    assert parameters.read(FIELDS, parameters.write(values, FIELDS)) == values
    assert parameters.write({"n": 3, "x": None, "id": None, "on": False}, FIELDS) == []


# --- bytes ----------------------------------------------------------------------------------------


def unpack(data):
    """Read as `static/draw.js` does."""
    length = int.from_bytes(data[:4], "little")
    header = json.loads(data[4 : 4 + length])
    types = {"f4": "<f4", "f8": "<f8", "i4": "<i4", "text": "<i4"}
    found = {}
    for name, table in header["tables"].items():
        columns = {}
        for one in table["columns"]:
            begin = 4 + length + one["at"]
            assert begin % np.dtype(types[one["type"]]).itemsize == 0
            values = np.frombuffer(data, types[one["type"]], table["n"], begin)
            if one["type"] == "text":
                values = [None if code < 0 else one["levels"][code] for code in values]
            columns[one["name"]] = list(values)
        found[name] = columns
    images = {
        name: np.frombuffer(data, "u1", math.prod(one["shape"]), 4 + length + one["at"]).reshape(
            one["shape"]
        )
        for name, one in header["images"].items()
    }
    return header, found, images


def test_tables_and_images_are_read_again():
    frame = pd.DataFrame(
        {
            "time": [1234.567891, 2.0],
            "rate": [0.5, np.nan],
            "n": pd.array([1, None], dtype="Int64"),
            "whole": [3, -4],
            "name": ["a", None],
            "flag": [True, False],
        }
    )
    image = np.arange(6, dtype=np.uint8).reshape(2, 3)
    data = packed.pack({"data": frame, "none": frame.iloc[:0]}, {"im": image}, {"note": "µV"})
    header, found, images = unpack(data)
    assert header["note"] == "µV"
    assert found["data"]["time"] == [1234.567891, 2.0]  # exact
    assert found["data"]["rate"][0] == 0.5
    assert np.isnan(found["data"]["rate"][1])
    assert np.isnan(found["data"]["n"][1])
    assert found["data"]["whole"] == [3, -4]
    assert found["data"]["name"] == ["a", None]
    assert found["data"]["flag"] == ["yes", "no"]
    assert all(len(column) == 0 for column in found["none"].values())
    assert np.array_equal(images["im"], image)
    assert data[0] != ord("{")  # by which the browser tells it from a reason


def test_an_image_is_scaled_to_levels_and_zero_is_missing():
    found = packed.scale(np.array([[0.0, 0.5, 1.0], [-5.0, 9.0, np.nan]]), 0, 1)
    assert found.tolist() == [[1, 128, 255], [1, 255, 0]]


# --- figures --------------------------------------------------------------------------------------


def test_a_histogram_counts_every_value_once():
    values = pd.Series([0.1, 1.0, 10.0, 10.0, 0.0, np.nan, -1])
    shown = drawing.histogram(values, "rate (Hz)", log=True, bins=4)
    table = shown.tables["data"]
    assert table.n.sum() == 4
    assert "3 units" in shown.note
    assert table["from"].iloc[0] <= 0.1
    assert table["to"].iloc[-1] >= 10


def test_a_histogram_of_groups_counts_each():
    values, of = pd.Series([1.0, 2.0, 3.0]), pd.Series(["a", "b", "b"])
    table = drawing.histogram(values, "x", of=of, colours={"b": "#fff", "a": "#000"}).tables["data"]
    assert table.groupby("group").n.sum().to_dict() == {"a": 1, "b": 2}
    assert len(drawing.histogram(values[:0], "x").tables["data"]) == 0


def test_runs_of_sites_are_one_strip_each():
    sites = pd.DataFrame(
        {
            "axial": [0, 20, 40, 60, 60, np.nan],
            "region_acronym": ["A", "A", None, "B", "X", "A"],
            "region_rgb": ["#1", "#1", None, "#2", "#3", "#1"],
        }
    )
    strip = drawing.region_strip(sites)
    assert strip.y0.tolist() == [-10, 30, 50]
    assert strip.y1.tolist() == [30, 50, 70]
    assert [None if pd.isna(n) else n for n in strip.name] == ["A", None, "B"]


def test_a_thinned_table_has_its_ends_and_says_so():
    table, note = drawing.thin(pd.DataFrame({"x": range(1000)}), 10)
    assert table.x.tolist()[::9] == [0, 999]
    assert "10 of 1,000" in note
    assert drawing.thin(table, 10) == (table, "") or drawing.thin(table, 10)[1] == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (0.000123456, "0.0001235"),
        (np.float64(2.0), "2"),
        (np.int64(5), "5"),
        (float("nan"), tables.MISSING),
        (None, tables.MISSING),
        (pd.NA, tables.MISSING),
        ("text", "text"),
    ],
)
def test_numbers_are_written(value, text):
    assert tables.number(value) == text


# --- who may ask ----------------------------------------------------------------------------------


def client(token=None, hosts=()):
    inner = Starlette(routes=[Route("/{path:path}", lambda _: PlainTextResponse("in"))])
    wrapped = access.Access(inner, token, hosts)
    return TestClient(wrapped, base_url="http://localhost", follow_redirects=False)


def test_without_a_token_everyone_on_loopback_may_read():
    answer = client(hosts=serve.LOOPBACK).get("/page")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_reading_is_let_through(method):
    assert client().request(method, "/page").status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "[", "", "127.0.0.2"])
def test_another_host_name_is_refused_on_loopback(host):
    assert client(hosts=serve.LOOPBACK).get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_names_of_loopback_are_let_through(host):
    assert client(hosts=serve.LOOPBACK).get("/", headers={"Host": host}).status_code == 200


def test_a_token_is_asked_for_and_kept_in_a_cookie():
    asking = client("secret-token")
    for path in ("/", "/static/x", "/?token=wrong", "/?token=", "/?token=secret-token%00"):
        assert asking.get(path).status_code == 401
    assert asking.get("/", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert asking.get("/", headers={"Cookie": "bwm_view=wrong"}).status_code == 401
    assert asking.get("/health").status_code == 200
    answer = asking.get("/a?x=1&token=secret-token&y=%20")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/a?x=1&y=+"
    assert "httponly" in answer.headers["set-cookie"].lower()
    assert "samesite=strict" in answer.headers["set-cookie"].lower()
    assert asking.get("/a").status_code == 200
    fresh = client("secret-token")
    assert fresh.get("/", headers={"Authorization": "Bearer secret-token"}).status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/a?b", "/\\\\evil.example/a?b"])
def test_the_redirect_after_a_token_stays_here(path):
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"token=secret-token"}
    wrapped = access.Access(None, "secret-token", ())
    asyncio.run(wrapped({**scope, "headers": []}, None, send))
    assert dict(sent[0]["headers"])[b"location"] == b"/evil.example/a%3Fb"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("127.0.0.1", "::1", "localhost")),
        *((host, False) for host in ("0.0.0.0", "example.org", "10.0.0.1")),
    ],
)
def test_loopback_is_recognised(host, expected):
    assert serve.is_loopback(host) is expected


# --- answers that are kept ------------------------------------------------------------------------


def test_an_answer_is_made_once_and_a_failure_is_not_kept():
    kept, calls = cache.Cache(), []

    def make():
        calls.append(1)
        if len(calls) == 1:
            raise ValueError
        return b"answer"

    with pytest.raises(ValueError):  # noqa: PT011
        kept.get("key", make, 60)
    assert kept.get("key", make, 60) == kept.get("key", make, 60) == b"answer"
    assert len(calls) == 2


def test_old_and_superfluous_answers_go():
    kept = cache.Cache()
    assert [kept.get("key", lambda: b"1", 0), kept.get("key", lambda: b"2", 0)] == [b"1", b"2"]
    small = cache.Cache(n_bytes=100)
    for i in range(20):
        small.get(i, lambda: b"x" * 20, 60)
    assert small.get(19, lambda: b"new", 60) == b"x" * 20
    assert small.get(0, lambda: b"new", 60) == b"new"


def test_those_who_ask_at_once_wait_for_one_answer():
    kept, calls, asked = cache.Cache(), [], threading.Barrier(5)

    def make():
        calls.append(1)
        time.sleep(0.2)
        return b"answer"

    def ask(_):
        asked.wait()
        return kept.get("key", make, 60)

    with ThreadPoolExecutor(5) as threads:
        assert set(threads.map(ask, range(5))) == {b"answer"}
    assert len(calls) == 1


# --- the command ----------------------------------------------------------------------------------


def invoke(*words):
    return CliRunner().invoke(cli.app, ["view", *words], env={"COLUMNS": "200"})


@pytest.mark.parametrize("text", ["", "short", "has a space in the middle", "é" * 20, "a\n" * 20])
def test_a_token_that_cannot_be_sent_is_refused(tmp_path, text):
    path = tmp_path / "token"
    path.write_text(text, encoding="utf-8")
    answer = invoke("--token-file", str(path))
    assert answer.exit_code == 1
    assert "16 or more letters" in answer.stderr
    assert invoke("--token-file", str(tmp_path / "none")).exit_code == 1


def test_without_its_libraries_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setattr("populate.cli.view.connect", lambda: None)
    monkeypatch.setitem(sys.modules, "viewer", None)
    answer = invoke()
    assert answer.exit_code == 1
    assert "pip install 'bwm-datajoint[view]'" in answer.stderr
