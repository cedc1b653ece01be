"""The HTTP server: authentication, files, faults on demand, and a record of what was asked."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO

from tests.support.alyx.query import BadQuery
from tests.support.alyx.records import Records
from tests.support.alyx.rest import ENDPOINTS, UUID_KEYS, EdgeCases, Refusal, Rest

LOOPBACK = "127.0.0.1"
USER, PASSWORD = "intbrainlab", "international"
CHUNK = 64 * 1024
SCHEMA_TYPE = "application/vnd.oai.openapi+json"
PLAIN_HTML = "text/html; charset=utf-8"
FAULT_KINDS = ("slow", "status", "close", "cut", "corrupt", "repeat")

NOT_FOUND = """
<!doctype html>
<html lang="en">
<head>
  <title>Not Found</title>
</head>
<body>
  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>
</body>
</html>
"""
NO_FILE = """<!DOCTYPE HTML>
<html lang="en">
    <head>
        <meta charset="utf-8">
        <title>Error response</title>
    </head>
    <body>
        <h1>Error response</h1>
        <p>Error code: 404</p>
        <p>Message: File not found.</p>
        <p>Error code explanation: 404 - Nothing matches the given URI.</p>
    </body>
</html>
"""


@dataclass
class Fault:
    """Something that goes wrong with requests whose path, with the query, matches.

    Attributes
    ----------
    kind : str
        ``slow``, ``status``, ``close``, ``cut``, ``corrupt`` or ``repeat``.
    pattern : str
        Regular expression, searched in the unescaped path and query.
    times : int or None
        How often it happens; None for always.
    seconds, per_chunk : float
        Of a slow reply: the wait before it, and between its pieces of 64 KiB.
    status : int
        The status that is answered.
    retry_after : str or None
        Header that goes with the status.
    keep : float
        Share of the body that is sent before the connection breaks.
    hits : int
        How often it has happened.
    """

    kind: str
    pattern: str
    times: int | None = None
    seconds: float = 0.0
    per_chunk: float = 0.0
    status: int = 500
    retry_after: str | None = None
    keep: float = 0.5
    hits: int = 0

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"{self.kind} is not one of {FAULT_KINDS}")
        self._searched = re.compile(self.pattern)

    def strikes(self, target: str) -> bool:
        """Whether this request is struck, and count it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if not self._searched.search(target):
            return False
        self.hits += 1
        return True

    def stop(self) -> None:
        """Let it happen no more."""
        self.times = self.hits


@dataclass
class Request:
    """What was asked and what became of it.

    Attributes
    ----------
    at, leaving, ended : float
        `time.monotonic` at its begin, before the last write (from then on the client may have
        the reply and ask again), and at its end; None while it is in work.
    method, path, query : str
        Path unescaped, query as it was sent.
    status : int or None
        None where the connection was closed instead.
    length, sent : int
        Bytes of the body as announced, and as sent.
    """

    at: float
    method: str
    path: str
    query: str
    leaving: float | None = None
    ended: float | None = None
    status: int | None = None
    length: int = 0
    sent: int = 0

    @property
    def is_file(self) -> bool:
        """Whether a file of data was asked for, not the REST interface."""
        return self.path.startswith("/public/")

    @property
    def whole(self) -> bool:
        """Whether the reply went out with its whole body."""
        return self.ended is not None and self.status is not None and self.sent == self.length


class AlyxServer:
    """Alyx and its file server over a folder of ONE; see the package for how to use it.

    Parameters
    ----------
    folder : str or Path
        A ONE cache, e.g. one that was simulated.
    tags : mapping of str to iterable of str, or None
        Insertions by tag, None for all: by default `2022_Q4_IBL_et_al_BWM` for those of the
        release list in the folder, and `Brainwidemap` for everything.
    port : int
        0 for any that is free.
    log : Path, optional
        Where to write a line of JSON for each request that has ended.
    **edge_cases
        Attributes of `EdgeCases`.
    """

    def __init__(
        self,
        folder: str | Path,
        tags: Mapping[str, Iterable[str] | None] | None = None,
        *,
        port: int = 0,
        log: Path | None = None,
        **edge_cases: Any,
    ):
        self.folder = Path(folder)
        self.tags = tags
        self.edge_cases = EdgeCases(**edge_cases)
        self.user, self.password = USER, PASSWORD
        self.token = _new_token()
        self.refuse_tokens = False
        self.throttle: int | None = None
        self.throttle_window = 60.0
        self.external_url: str | None = None
        self.cache_tables = True
        self._faults: list[Fault] = []
        self._asked: list[Request] = []
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._counted: list[float] = []
        self._log: TextIO | None = None if log is None else log.open("a", buffering=1)
        records = Records(self.folder, tags)
        self._http = _Http((LOOPBACK, port), self)
        self.rest = Rest(records, self.url, self.edge_cases)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    # --- Life

    def start(self) -> AlyxServer:
        self._thread.start()
        return self

    def stop(self) -> None:
        """End all connections, and wait for the threads that serve them."""
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        if self._log is not None:
            self._log.close()

    def __enter__(self) -> AlyxServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def reload(self) -> None:
        """Read the folder again: what changed in it is told from now on."""
        records = Records(self.folder, self.tags)
        self.rest = Rest(records, self.url, self.edge_cases)

    # --- Addresses

    @property
    def port(self) -> int:
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """The `base_url` for clients."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def files_url(self) -> str:
        """What `HTTP_DATA_SERVER` has to be."""
        return f"{self.url}/public"

    @property
    def credentials(self) -> dict[str, str]:
        """The form of a login."""
        return {"username": self.user, "password": self.password}

    # --- What goes wrong

    def expire_token(self) -> None:
        """Refuse the tokens that were given out; a login gives another one."""
        self.token = _new_token()

    def fault(self, kind: str, pattern: str = "", **details: Any) -> Fault:
        """Make requests fail from now on; see `Fault` for the kinds and their details."""
        fault = Fault(kind, pattern, **details)
        with self._changed:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        with self._changed:
            self._faults.clear()

    def struck(self, target: str) -> dict[str, Fault]:
        """Faults that strike a request, by kind."""
        with self._changed:
            return {fault.kind: fault for fault in self._faults if fault.strikes(target)}

    def throttled(self) -> float | None:
        """Seconds to wait before a further request is accepted; None if it is accepted now."""
        if self.throttle is None:
            return None
        now = time.monotonic()
        with self._changed:
            self._counted = [at for at in self._counted if at > now - self.throttle_window]
            if len(self._counted) < self.throttle:
                self._counted.append(now)
                return None
            oldest = self._counted[0] if self._counted else now
            return oldest + self.throttle_window - now

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        if seconds > 0:
            self._stopping.wait(seconds)

    # --- What was asked

    @property
    def requests(self) -> list[Request]:
        """All requests so far, in the order of their arrival."""
        with self._changed:
            return list(self._asked)

    def forget(self) -> None:
        """Begin a new record of requests."""
        self.settle()
        with self._changed:
            self._asked = [request for request in self._asked if request.ended is None]

    def settle(self, retry_policy: float = 5.0) -> None:
        """Wait until no request is in work: a client can have its reply before it is recorded."""
        with self._changed:
            self._changed.wait_for(
                lambda: all(request.ended is not None for request in self._asked), retry_policy
            )

    def downloads(self) -> Counter[str]:
        """Files that went out whole: how often each, by path below the folder."""
        self.settle()
        return Counter(
            _without_uuid(request.path.removeprefix("/public/"))
            for request in self.requests
            if request.is_file and request.status == 200 and request.whole
        )

    def asked(self, pattern: str = "", method: str | None = None) -> list[Request]:
        """Requests whose unescaped path and query match."""
        self.settle()
        return [
            request
            for request in self.requests
            if re.search(pattern, _target(request.path, request.query))
            and method in (None, request.method)
        ]

    def most_in_flight(self, files: bool | None = None) -> int:
        """Count how many requests were in work at once; of files alone, of others, or of all."""
        self.settle()
        events = []
        for request in self.requests:
            if files in (None, request.is_file):
                left = request.leaving or request.ended or time.monotonic()
                events += [(request.at, 1), (left, -1)]
        most = now = 0
        for _, change in sorted(events):
            now += change
            most = max(most, now)
        return most

    def most_within(self, seconds: float = 60.0) -> int:
        """Count the REST requests of the busiest span of that length."""
        times = [request.at for request in self.requests if not request.is_file]
        most = first = 0
        for last, at in enumerate(times):
            while times[first] <= at - seconds:
                first += 1
            most = max(most, last - first + 1)
        return most

    # --- For the handlers

    def begin(self, request: Request) -> None:
        with self._changed:
            self._asked.append(request)

    def end(self, request: Request) -> None:
        with self._changed:
            request.ended = time.monotonic()
            if self._log is not None and not self._log.closed:
                self._log.write(json.dumps(vars(request)) + "\n")
            self._changed.notify_all()


def _new_token() -> str:
    return secrets.token_hex(20)


def _target(path: str, query: str) -> str:
    return f"{path}?{urllib.parse.unquote_plus(query)}" if query else path


def _without_uuid(path: str) -> str:
    folder, _, name = path.rpartition("/")
    stem, uid, extension = name.rsplit(".", 2)
    uuid.UUID(uid)
    return f"{folder}/{stem}.{extension}"


class _Http(ThreadingHTTPServer):
    """Threads for connections; closing the server ends them all."""

    daemon_threads = False  # so that `server_close` waits for them
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], alyx: AlyxServer):
        self.alyx = alyx
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._guard:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._guard:
            self._open.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        super().server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that went away."""
        import sys

        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Cut(ConnectionError):
    """The connection has to end here."""


@dataclass
class _Reply:
    status: int
    kind: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, *_: object) -> None:
        """Say nothing: `AlyxServer.requests` has it all."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._handle
        raise AttributeError(name)

    def _handle(self) -> None:
        alyx = self.server.alyx
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        request = Request(time.monotonic(), self.command, path, parts.query)
        alyx.begin(request)
        try:
            faults = alyx.struck(_target(path, parts.query))
            if "slow" in faults:
                alyx.pause(faults["slow"].seconds)
            if "close" in faults:
                raise _Cut
            with self._reply(path, parts.query, body, faults) as (reply, source):
                self._send(request, reply, source, faults)
        except ConnectionError:
            self.close_connection = True
        finally:
            alyx.end(request)

    @contextlib.contextmanager
    def _reply(
        self, path: str, query: str, body: bytes, faults: dict[str, Fault]
    ) -> Iterator[tuple[_Reply, Any]]:
        """What to answer, and an open file where the body is one."""
        if "status" in faults:
            fault = faults["status"]
            headers = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
            detail = {"detail": "made to fail", "status_code": fault.status}
            yield _json(fault.status, detail, headers), None
        elif path.startswith("/public/"):
            found = self.server.alyx.rest.records.files.get(path.removeprefix("/public/"))
            place = None if found is None else self.server.alyx.rest.records.path(found)
            if place is None or not self._reachable(found) or not place.is_file():
                yield _Reply(404, "text/html;charset=utf-8", NO_FILE.encode()), None
                return
            with place.open("rb") as source:
                length = str(place.stat().st_size)
                yield (
                    _Reply(200, "application/octet-stream", b"", {"Content-Length": length}),
                    source,
                )
        else:
            yield self._answer(path, query, body, faults), None

    def _reachable(self, dataset: Any) -> bool:
        return bool(self.server.alyx.rest.reachable([dataset]))

    def _send(self, request: Request, reply: _Reply, source: Any, faults: dict[str, Fault]) -> None:
        alyx = self.server.alyx
        headers = {"Content-Type": reply.kind, **reply.headers}
        headers.setdefault("Content-Length", str(len(reply.body)))
        request.status, request.length = reply.status, int(headers["Content-Length"])
        end = request.length
        if "cut" in faults:
            end = int(end * faults["cut"].keep)
        wrong = request.length // 2 if "corrupt" in faults else None
        self.send_response(reply.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            request.sent = request.length
            return
        slow = faults["slow"].per_chunk if "slow" in faults else 0.0
        while request.sent < end:
            size = min(CHUNK, end - request.sent)
            if source is None:
                chunk = reply.body[request.sent : request.sent + size]
            else:
                chunk = source.read(size)
            if wrong is not None and request.sent <= wrong < request.sent + len(chunk):
                chunk = _flipped(chunk, wrong - request.sent)
            alyx.pause(slow)
            request.leaving = time.monotonic()
            self.wfile.write(chunk)
            request.sent += len(chunk)
        if request.sent < request.length:
            raise _Cut

    # --- REST

    def _answer(self, path: str, query: str, body: bytes, faults: dict[str, Fault]) -> _Reply:
        alyx = self.server.alyx
        try:
            allowed = self._allowed(path)
        except LookupError:
            return _html(404)
        if allowed is None:
            return _Reply(301, PLAIN_HTML, b"", {"Location": path + "/"})
        headers = {"Vary": "Accept, Cookie", "Allow": allowed}
        try:
            if path == "/auth-token":
                headers["Vary"] = "Cookie"
                return _json(200, self._login(body), headers)
            self._authorise(path)
            wait = alyx.throttled()
            if wait is not None:
                seconds = str(max(1, int(wait + 0.999)))
                headers["Retry-After"] = seconds
                detail = f"Request was throttled. Expected available in {seconds} seconds."
                raise _refusal(429, detail)
            if self.command not in allowed.split(", "):
                raise _refusal(405, f'Method "{self.command}" not allowed.')
            if not _acceptable(self.headers.get("Accept", "*/*"), path):
                raise _refusal(406, "Could not satisfy the request Accept header.")
            if self.command not in ("GET", "HEAD", "OPTIONS"):
                raise _refusal(403, "You do not have permission to perform this action.")
            return self._get(path, query, headers, faults)
        except Refusal as refusal:
            return self._refused(refusal.status, refusal.body, headers)
        except BadQuery as error:
            return self._refused(500, {"status_code": 500, "detail": str(error)}, headers)

    def _refused(self, status: int, body: Any, headers: dict[str, str]) -> _Reply:
        if isinstance(body, str):
            return _Reply(status, PLAIN_HTML, body.encode(), headers)
        reply = _json(status, body, headers)
        if SCHEMA_TYPE in self.headers.get("Accept", ""):
            reply.kind = SCHEMA_TYPE
        return reply

    def _allowed(self, path: str) -> str | None:
        """Methods of a path; None for one that lacks the slash at its end.

        Raises
        ------
        LookupError
            There is no such path.
        """
        if path == "/auth-token":
            return "POST, OPTIONS"
        if path in ("/api/schema", "/cache.zip") or re.fullmatch(r"/cache/info/([^/]+/)?", path):
            return "GET, HEAD, OPTIONS"
        if re.fullmatch(r"/cache/info(/[^/]+)?", path):
            return None
        name, slash, key = path.removeprefix("/").partition("/")
        endpoint = ENDPOINTS[name]
        if not slash:
            create = ["POST"] if endpoint.creatable else []
            return ", ".join(["GET", *create, "HEAD", "OPTIONS"])
        if not key or "/" in key:
            raise LookupError
        if name in UUID_KEYS and not _is_uuid(key):
            raise LookupError
        return ", ".join(["GET", *endpoint.changes, "HEAD", "OPTIONS"])

    def _login(self, body: bytes) -> dict[str, str]:
        if self.command != "POST":
            raise _refusal(405, f'Method "{self.command}" not allowed.')
        form = dict(urllib.parse.parse_qsl(body.decode()))
        missing = [name for name in ("username", "password") if not form.get(name)]
        if missing:
            required = {name: ["This field is required."] for name in missing}
            raise Refusal(400, {**required, "status_code": 400})
        alyx = self.server.alyx
        if (form["username"], form["password"]) != (alyx.user, alyx.password):
            errors = ["Unable to log in with provided credentials."]
            raise Refusal(400, {"non_field_errors": errors, "status_code": 400})
        return {"token": alyx.token}

    def _authorise(self, path: str) -> None:
        alyx = self.server.alyx
        words = self.headers.get("Authorization", "").split()
        if not words or words[0].lower() != "token":
            if path != "/api/schema":
                raise _refusal(403, "Authentication credentials were not provided.")
            return
        if len(words) == 1:
            raise _refusal(403, "Invalid token header. No credentials provided.")
        if len(words) > 2:
            raise _refusal(403, "Invalid token header. Token string should not contain spaces.")
        if alyx.refuse_tokens or words[1] != alyx.token:
            raise _refusal(403, "Invalid token.")

    def _get(
        self, path: str, query: str, headers: dict[str, str], faults: dict[str, Fault]
    ) -> _Reply:
        alyx = self.server.alyx
        if path == "/api/schema":
            reply = _json(200, alyx.rest.schema(), headers)
            reply.kind = SCHEMA_TYPE
            reply.headers["Content-Disposition"] = 'inline; filename="schema.json"'
            return reply
        if path == "/cache.zip":
            self._need_tables("")
            disposition = {"Content-Disposition": 'inline; filename="cache.zip"'}
            zipped = alyx.rest.records.cache_zip
            return _Reply(200, "application/zip", zipped, {**headers, **disposition})
        if path.startswith("/cache/info/"):
            return _json(200, self._cache_info(path), headers)
        name, slash, key = path.removeprefix("/").partition("/")
        if slash:
            key = str(uuid.UUID(key)) if name in UUID_KEYS else key
            return _json(200, alyx.rest.read(name, key), headers)
        base = alyx.external_url or f"http://{self.headers.get('Host', alyx.url[7:])}"
        given = urllib.parse.parse_qsl(query, keep_blank_values=True)
        return _json(200, self._listed(name, given, base, faults), headers)

    def _listed(
        self, name: str, given: list[tuple[str, str]], base: str, faults: dict[str, Fault]
    ) -> Any:
        rest = self.server.alyx.rest
        page = rest.list(name, given, base)
        offset = int(dict(given).get("offset") or 0)
        if "repeat" in faults and offset > 0:
            size = len(page["results"])
            before = [(k, v) for k, v in given if k != "offset"]
            limit = int(dict(given).get("limit") or 250)
            before.append(("offset", str(max(offset - limit, 0))))
            page["results"] = rest.list(name, before, base)["results"][:size]
        return page

    def _cache_info(self, path: str) -> Any:
        records = self.server.alyx.rest.records
        tag = path.removeprefix("/cache/info/").strip("/")
        if tag and tag not in {row["name"] for row in records.tags}:
            raise Refusal(404, "Tag matching query does not exist.")
        self._need_tables(tag)
        info = dict(records.cache_info)
        if tag:
            # No location: the client then takes the tables of everything for those of the tag.
            tables = info.pop("tables")
            info |= {"database_tags": [tag], "tables": tables}
        return info

    def _need_tables(self, tag: str) -> None:
        if not self.server.alyx.cache_tables:
            place = "/srv/tables/" + (f"{tag}/" if tag else "")
            detail = f"[Errno 2] No such file or directory: '{place}cache_info.json'"
            raise Refusal(500, {"status_code": 500, "detail": detail})


def _refusal(status: int, detail: str) -> Refusal:
    return Refusal(status, {"detail": detail, "status_code": status})


def _json(status: int, body: Any, headers: dict[str, str]) -> _Reply:
    return _Reply(status, "application/json", _compact(body), dict(headers))


def _compact(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def _html(status: int) -> _Reply:
    return _Reply(status, PLAIN_HTML, NOT_FOUND.encode())


def _acceptable(accept: str, path: str) -> bool:
    offered = [SCHEMA_TYPE if path == "/api/schema" else "application/json"]
    if path == "/cache.zip":
        return True
    kinds = [kind.split(";")[0].strip() for kind in accept.split(",")]
    return any(kind in ("*/*", "application/*", *offered) for kind in kinds)


def _is_uuid(text: str) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", text))


def _flipped(chunk: bytes, at: int) -> bytes:
    return chunk[:at] + bytes([chunk[at] ^ 0xFF]) + chunk[at + 1 :]
