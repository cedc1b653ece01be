"""Servers of metadata and of files that send what no sound server sends: one error, and limits."""

import contextlib
import hashlib
import http.server
import json
import resource
import threading
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest

from schemas.errors import SourceError
from schemas.sources.one_api import client, replies
from schemas.sources.one_api.download import Downloader
from schemas.sources.one_api.limits import RateLimiter
from schemas.sources.records import Selection
from tests.support.online import impatient, source

TOKEN = {"token": "0" * 40}
QUICK = impatient(attempts=3, attempts_in_time=2, reply=1.0, silence=1.0)
MOST_MEMORY = 800 << 20
"""Bytes by which the memory may grow: 32 MB of JSON as objects of Python, and the server's own."""


class Server(http.server.ThreadingHTTPServer):
    """Answers by a function of the handler, and counts the requests."""

    daemon_threads = True

    def __init__(self, answer):
        self.answer, self.asked, self.over = answer, [], threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    """One connection."""

    def handle_any(self):
        self.server.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with contextlib.suppress(OSError):  # the client had enough
            self.server.answer(self)
        self.close_connection = True

    do_GET = do_POST = handle_any  # noqa: N815

    def log_message(self, *_):
        pass

    def tell(self, body=b"", kind="application/json", status=200, **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        for piece in [body] if isinstance(body, bytes) else body:
            if self.server.over.is_set():
                return
            self.wfile.write(piece)


def as_json(value):
    return json.dumps(value).encode()


def bomb(gigabytes=20):
    """A body of gzip that unpacks to zeros: one block, again and again."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes([32]) * (16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(gigabytes * 64):
        yield block


def endless(piece=b" " * (1 << 20), seconds=0.0):
    while True:
        time.sleep(seconds)
        yield piece


def trickle_headers(handler):
    for byte in endless(b"x", 0.05):
        if handler.server.over.is_set():
            return
        handler.wfile.write(byte)
        handler.wfile.flush()


COUNTED = {"next": None, "previous": None}
METADATA = {
    "a count of 1e9": (
        lambda h: h.tell(as_json({**COUNTED, "count": 10**9, "results": [{"id": "a"}]})),
        "counts 1,000,000,000",
    ),
    "a count without rows": (
        lambda h: h.tell(as_json({**COUNTED, "count": 10**9, "results": []})),
        "counts 1,000,000,000",
    ),
    "more rows than counted": (
        lambda h: h.tell(as_json({**COUNTED, "count": 1, "results": [{"id": "a"}] * 9})),
        "is no list",
    ),
    "a bomb": (lambda h: h.tell(bomb(), Content_Encoding="gzip"), "is larger than 32 MB"),
    "another packing": (lambda h: h.tell(b"xx", Content_Encoding="br"), "is packed by 'br'"),
    "no end": (lambda h: h.tell(endless()), "is larger than 32 MB"),
    "no end of lists": (lambda h: h.tell(endless(b"[" * (1 << 20))), "is larger than 32 MB"),
    "a deep list": (lambda h: h.tell(b"[" * 100_000 + b"]" * 100_000), "more than 50 levels"),
    "a list of 60 levels": (lambda h: h.tell(b"[" * 60 + b"]" * 60), "more than 50 levels"),
    "deep objects": (lambda h: h.tell(b'{"a":' * 70 + b"1" + b"}" * 70), "more than 50 levels"),
    "an integer of 10,000 digits": (lambda h: h.tell(b"1" * 10_000), "integer that is too large"),
    "an integer of 65 bits": (
        lambda h: h.tell(as_json({**COUNTED, "count": 2**64, "results": []})),
        "integer that is too large",
    ),
    "redirects": (lambda h: h.tell(status=302, Location=h.path + "x"), "redirects .* to"),
    "a redirect with a body": (
        lambda h: h.tell(endless(), status=301, Location="/"),
        "redirects .* to '/'",
    ),
    "a page": (lambda h: h.tell(b"<html>", "text/html; charset=utf-8"), "is 'text/html'"),
    "a text": (lambda h: h.tell(b"Hello", "text/plain"), "is 'text/plain' instead of JSON"),
    "a byte now and then": (lambda h: h.tell(endless(b" ", 0.05)), r"only \d+ bytes within 1 s"),
    "headers without end": (trickle_headers, r"no reply within 1 s"),
    "a status of an endless text": (lambda h: h.tell(endless(), status=418), "status 418"),
}


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()


@contextlib.contextmanager
def bounded(seconds=20.0):
    """Hold a test to limits of time and memory."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert time.monotonic() - start < seconds
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < MOST_MEMORY, grown


def metadata(server, folder, **more):
    known = SimpleNamespace(url=server.url, user="me", password="secret")
    return source(known, folder / "cache", QUICK, **more)


def after_login(answer):
    def answered(handler):
        if handler.path == "/auth-token":
            handler.tell(as_json(TOKEN))
        else:
            answer(handler)

    return answered


@pytest.mark.parametrize("name", METADATA)
def test_a_hostile_list_is_one_error_within_limits(tmp_path, name):
    answer, text = METADATA[name]
    with Server(after_login(answer)) as server, bounded():
        with pytest.raises(SourceError, match=text) as caught:
            metadata(server, tmp_path).find(Selection())
        assert server.url in str(caught.value)
        assert caught.value.remedy
        assert len(server.asked) <= 4


@pytest.mark.parametrize("name", [n for n in METADATA if "count" not in n])
def test_a_hostile_login_is_one_error_within_limits(tmp_path, name):
    answer, text = METADATA[name]
    with Server(answer) as server, bounded():
        with pytest.raises(SourceError, match=text):
            metadata(server, tmp_path).find(Selection())
        assert len(server.asked) <= 3


@pytest.mark.parametrize("token", [None, ["a"], "", "two\nlines", "x" * 10_000, {"a": 1}])
def test_a_token_that_is_none_is_reported(tmp_path, token):
    with (
        Server(lambda h: h.tell(as_json({"token": token}))) as server,
        pytest.raises(SourceError, match="/auth-token has no token"),
    ):
        metadata(server, tmp_path).find(Selection())


def test_pages_without_end_are_left(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "MOST_PAGES", 5)
    page = {**COUNTED, "count": 6, "results": [{"id": "a"}]}
    with Server(after_login(lambda h: h.tell(as_json(page)))) as server:
        with pytest.raises(SourceError, match="counts 6 insertions, 1 a page; at most 5"):
            metadata(server, tmp_path).find(Selection())
        page["count"] = 5
        with pytest.raises(SourceError, match="rows are repeated or missing"):
            metadata(server, tmp_path).find(Selection())
        assert len(server.asked) <= 2 + 1 + 5 * 3 + 1


def test_a_list_of_large_pages_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "LARGEST_LIST", 3000)
    row = {"id": "a", "more": "x" * 1000}
    page = {**COUNTED, "count": 100, "results": [row]}
    with Server(after_login(lambda h: h.tell(as_json(page)))) as server:
        with pytest.raises(SourceError, match="list of insertions is larger"):
            metadata(server, tmp_path).find(Selection())
        assert len(server.asked) == 1 + 3


def test_a_packed_reply_is_unpacked_up_to_the_limit(monkeypatch):
    def packed(handler):
        handler.tell(zlib.compress(b'["aaaa"]', wbits=31), Content_Encoding="gzip")

    for limit, fits in ((8, True), (7, False)):
        monkeypatch.setattr(replies, "LARGEST", limit)
        with Server(packed) as server, replies.opened("GET", server.url, 5.0) as reply:
            if fits:
                assert replies.read_json(reply, 5.0) == (["aaaa"], 8)
            else:
                with pytest.raises(replies.BadReply):
                    replies.read_json(reply, 5.0)


# --- files --------------------------------------------------------------------------------------

SIZE = 1000


def fixed(body, announced=None, **headers):
    length = str(len(body) if announced is None else announced)
    return lambda h: h.tell(body, "application/x", Content_Length=length, **headers)


def in_chunks(handler):
    """Send chunks without end, though a length was announced; the chunks overrule the length."""
    handler.protocol_version = "HTTP/1.1"
    pieces = endless(b"10000\r\n" + b"x" * 65536 + b"\r\n")
    handler.tell(pieces, "application/x", Content_Length=str(SIZE), Transfer_Encoding="chunked")


FILES = {
    "longer than listed": (fixed(b"x", 5000), "announces 5,000 bytes; 1,000 are allowed", {}),
    "longer than the disk": (
        fixed(b"x", 10**17),
        "needs 100,000,000,000,000,000 bytes, and .* are free",
        {"file_size": None},
    ),
    "much longer than listed, with a hash": (
        fixed(b"x", 2 << 30),
        "announces 2,147,483,648 bytes",
        {"md5": "0" * 32},
    ),
    "chunks without end": (in_chunks, "longer than announced", {}),
    "a bomb": (
        lambda h: h.tell(bomb(), Content_Length=str(SIZE), Content_Encoding="gzip"),
        "packs it by 'gzip'",
        {},
    ),
    "redirects": (lambda h: h.tell(status=302, Location=h.path + "x"), "more than 5 times", {}),
    "redirects with a body": (
        lambda h: h.tell(endless(), status=307, Location=h.path + "x"),
        "more than 5 times",
        {},
    ),
    "a redirect to a file of this machine": (
        lambda h: h.tell(status=302, Location="file:///etc/passwd"),
        "cannot be reached",
        {},
    ),
    "a page": (fixed(b"<html>"), "downloaded twice with md5", {"md5": "0" * 32}),
    "a byte now and then": (
        lambda h: h.tell(endless(b"x", 0.05), Content_Length=str(SIZE)),
        r"failed 3 times: only \d+ bytes within 1 s",
        {},
    ),
    "headers without end": (trickle_headers, "failed 3 times: no reply within 1 s", {}),
    "no length": (lambda h: h.tell(endless()), "does not state the size", {}),
    "a length that is none": (lambda h: h.tell(Content_Length="-5"), "does not state the size", {}),
}


def fetch(url, folder, md5=None, file_size=SIZE):
    limits = RateLimiter(folder / ".bwm", 2, 60)
    downloader = Downloader(folder, limits, QUICK, lambda _: ("me", "secret"))
    came = []
    try:
        downloader.fetch(folder / "lab" / "file", url, md5, file_size, came.append)
    except SourceError:
        assert sum(came) == 0
        raise
    return folder / "lab" / "file"


@pytest.mark.parametrize("name", FILES)
def test_a_hostile_file_is_one_error_within_limits(tmp_path, name):
    answer, text, listed = FILES[name]
    with Server(answer) as server, bounded():
        with pytest.raises(SourceError, match=text) as caught:
            fetch(f"{server.url}/file", tmp_path, **listed)
        assert server.url in str(caught.value)
        assert caught.value.remedy
        assert len(server.asked) <= 6
    assert not (tmp_path / "lab").exists()
    assert sum(path.stat().st_size for path in Path(tmp_path).rglob("*")) < 1 << 20


def test_a_file_with_a_hash_may_be_larger_than_its_stale_size(tmp_path):
    body = b"x" * 5000
    with Server(fixed(body)) as server:
        path = fetch(f"{server.url}/file", tmp_path, hashlib.md5(body).hexdigest())
    assert path.read_bytes() == body


def test_a_download_follows_a_redirect_without_its_login(tmp_path):
    seen = []

    def answer(handler):
        seen.append(handler.headers.get("Authorization"))
        if seen[-1] is None and not handler.path.endswith("/there"):
            handler.tell(status=401)
        elif handler.path == "/file":
            handler.tell(status=302, Location="/there")
        else:
            fixed(b"x" * SIZE)(handler)

    with Server(answer) as server:
        assert fetch(f"{server.url}/file", tmp_path).stat().st_size == SIZE
    assert [login is None for login in seen] == [True, False, True]
