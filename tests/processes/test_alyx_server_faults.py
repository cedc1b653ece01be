"""Faults of the server of the tests, its record of requests, and its life."""

import concurrent.futures
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.support.alyx import AlyxServer
from tests.support.alyx.plain import datasets_of


@pytest.fixture
def some_file(alyx, own, release):
    """URL of a file, its path, its bytes."""
    rows = release.truth.datasets
    row = rows[rows["rel_path"] == "alf/_ibl_wheel.position.npy"].iloc[0]
    told = datasets_of(own, row["eid"])[row["id"]]
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
    url = datasets_of(own, row["eid"])[row["id"]]["data_url"]
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
    alyx.fault("repeat", r"offset=50\b")
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
