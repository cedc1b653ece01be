"""REST requests to Alyx: limited, retried where that helps, errors explained.

Parameters and stored logins are those of ONE. ONE's own client is not used, because a hostile or
broken server can fill the memory with it; see `schemas.sources.one_api.replies`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import re
import threading
import time
import urllib.parse
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from schemas.errors import SourceError
from schemas.settings import AlyxSettings
from schemas.sources.one_api.limits import LONGEST_PAUSE, RateLimiter, locked
from schemas.sources.one_api.replies import BadReply, opened, read_json

LOG_IN = "Set BWM_ALYX_USER with BWM_ALYX_PASSWORD or BWM_ALYX_TOKEN (alyx.user, ...)."
LATER = "Run the command again later: it goes on where it stopped."

MOST_PAGES = 1000
"""Most requests for one list: a million rows with pages of the default size."""

MOST_ATTEMPTS = 20
"""Most attempts at one list whose pages do not fit, as long as each brings new rows."""

LARGEST_LIST = 256 << 20
"""Largest unpacked JSON (bytes) of all pages of one list."""

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip"}
_CHECK = "Check that the URL is that of an Alyx."
_FEWER = "Choose fewer recordings at a time, or larger pages (BWM_ALYX_PAGE_SIZE)."


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry requests to a server.

    Attributes
    ----------
    attempts : int
        Attempts at a request that fails temporarily.
    attempts_at_500 : int
        Attempts at a request with status 500, by which Alyx also refuses wrong queries.
    attempts_in_time : int
        Attempts at a request to which no reply came within `reply`.
    pauses : int
        How often the server may ask for a pause.
    first_wait : float
        Wait (s) before the second attempt; doubled for each further attempt, and jittered.
    reply : float
        Time limit (s) of a reply of the REST interface.
    silence : float
        Time limit (s) without a byte of a file.
    """

    attempts: int = 5
    attempts_at_500: int = 4
    attempts_in_time: int = 2
    pauses: int = 8
    first_wait: float = 1.0
    reply: float = 120.0
    silence: float = 60.0

    def wait(self, failures: int) -> float:
        """Return the time (s) to wait after so many failures."""
        return self.first_wait * 2 ** (failures - 1) * random.uniform(0.5, 1.5)


class NotThere(Exception):
    """The server has no such record."""


class NotLetIn(SourceError):
    """The server refuses the login."""


class _Refused(Exception):
    """The server refuses this request's login; a new login may help."""


class UnstablePages(SourceError):
    """The pages of a list repeat rows, or miss some."""


class _Busy(Exception):
    """The server asks for a pause of so many seconds."""


class _Transient(Exception):
    """A temporary failure; `attempts` limits the retries."""

    def __init__(self, what: str, attempts: int) -> None:
        self.attempts = attempts
        super().__init__(what)


class Client:
    """Sends requests to the REST interface of one server, one at a time in a process.

    Parameters
    ----------
    url : str
        Base URL of the server.
    settings : AlyxSettings
        Login and page size. The login is sent to `url` alone.
    cache : Path
        Cache folder.
    limits : RateLimiter
        Limits that all processes share.
    retry_policy : RetryPolicy
        How often and how long to retry.
    """

    def __init__(
        self,
        url: str,
        settings: AlyxSettings,
        cache: Path,
        limits: RateLimiter,
        retry_policy: RetryPolicy,
    ) -> None:
        self._url, self._settings, self._cache = url, settings, cache
        self._limits, self._retry_policy = limits, retry_policy
        self._lock = threading.RLock()
        self._token: str | None = None
        self._received = 0

    def read(self, endpoint: str, key: str) -> dict[str, Any]:
        """Read one record.

        Raises
        ------
        NotThere
            There is no such record.
        """
        found = self._ask(f"/{endpoint}/{urllib.parse.quote(key, safe='')}")
        if not isinstance(found, dict):
            raise self._strange(f"/{endpoint}/{key}", "is no record")
        return found

    def rows(self, endpoint: str, key: str = "id", **filters: Any) -> list[dict[str, Any]]:
        """List all records that pass filters.

        Lists of Alyx have no fixed order, so that pages may repeat rows and miss others. A list is
        asked for until it has as many different rows as the server counts, or until several
        attempts brought no new row.

        Parameters
        ----------
        endpoint : str
            Name of the list.
        key : str
            Field that identifies a row.
        **filters
            Query parameters of Alyx.

        Raises
        ------
        UnstablePages
            The list stayed incomplete.
        """
        query = urllib.parse.urlencode({**filters, "limit": self._settings.page_size})
        found: dict[Any, dict[str, Any]] = {}
        counted, failures = 0, 1  # the first attempt counts, too
        for _ in range(MOST_ATTEMPTS):
            rows, count = self._pages(endpoint, query)
            try:
                more = {row[key]: row for row in rows}
            except (KeyError, TypeError):
                raise self._strange(f"/{endpoint}", f"has rows without {key}") from None
            if count != counted or len(found) > count:  # rows were added or deleted
                found, counted = {}, count
            # Rows of one start time come in any order: what one attempt misses, another has.
            failures += more.keys() <= found.keys()
            found |= more
            if len(found) == count:
                return list(found.values())
            if failures >= self._retry_policy.attempts:
                break
        what = f"The pages of its list of {endpoint} do not fit: rows are repeated or missing."
        raise UnstablePages(what, self._url, "Choose fewer recordings at a time, or try later.")

    def _pages(self, endpoint: str, query: str) -> tuple[list[dict[str, Any]], int]:
        """Get all pages of a list, one request each, and the count that the server gives."""
        before = self._received
        rows, count = self._page(f"/{endpoint}?{query}")
        size = len(rows) or 1
        if math.ceil(count / size) > MOST_PAGES:
            what = f"It counts {count:,} {endpoint}, {size} a page; at most {MOST_PAGES} are asked."
            raise SourceError(what, self._url, _FEWER)
        for start in range(len(rows), count, size):
            more, count = self._page(f"/{endpoint}?{query}&offset={start}")
            rows += more
            if self._received - before > LARGEST_LIST:
                what = f"Its list of {endpoint} is larger than {LARGEST_LIST >> 20} MB."
                raise SourceError(what, self._url, _FEWER)
        return rows, count  # the count may have changed on the way

    def _page(self, path: str) -> tuple[list[dict[str, Any]], int]:
        try:
            found = self._ask(path)
        except NotThere:
            raise self._strange(path, "is that it does not exist") from None
        if isinstance(found, list):
            return found, len(found)
        try:
            rows, count = found["results"], found["count"]
        except (LookupError, TypeError):
            raise self._strange(path, "is no list") from None
        if not (isinstance(rows, list) and isinstance(count, int) and len(rows) <= count):
            raise self._strange(path, "is no list")
        return rows, count

    def _strange(self, path: str, what: str) -> SourceError:
        return SourceError(f"Its reply to {_short(path)} {what}.", self._url, _CHECK)

    # --- one request --------------------------------------------------------------------------

    def _ask(self, path: str) -> Any:
        """Send a request, after a login, and repeat it once after a new login."""
        with self._lock:
            fresh = self._token is None
            try:
                return self._persist(path)
            except _Refused:
                self._token = None
                # The login may have expired.
                if fresh or not self._settings.password:
                    raise self._not_let_in() from None
            try:
                return self._persist(path)
            except _Refused:
                raise self._not_let_in() from None

    def _persist(self, path: str) -> Any:
        failures = pauses = 0
        while True:
            try:
                if self._token is None:
                    self._token = self._log_in()
                return self._once("GET", path, headers={"Authorization": f"Token {self._token}"})
            except _Busy as busy:  # noqa: PERF203
                pauses += 1
                if pauses > self._retry_policy.pauses or busy.args[0] > LONGEST_PAUSE:
                    what = f"It asks to wait {busy.args[0]:.0f} s."
                    raise SourceError(what, self._url, LATER) from None
                self._limits.pause(busy.args[0])
            except _Transient as failure:
                failures += 1
                if failures >= failure.attempts:
                    what = f"It failed {failures} times at {_short(path)}: {failure}."
                    raise SourceError(what, self._url, LATER) from None
                time.sleep(self._retry_policy.wait(failures))

    def _once(self, method: str, path: str, **more: Any) -> Any:
        """Send one request, and return what its reply says."""
        more["headers"] = {**_HEADERS, **more.get("headers", {})}
        policy = self._retry_policy
        with self._limits.request():
            try:
                with opened(method, self._url + path, policy.reply, **more) as reply:
                    if reply.status_code != 200:
                        raise self._of_status(reply, path)
                    found, n_bytes = read_json(reply, policy.reply)
            except BadReply as fault:
                raise self._strange(path, str(fault)) from None
            except TimeoutError as error:
                raise _Transient(reason(error), policy.attempts_in_time) from None
            except (requests.RequestException, ConnectionError) as error:
                raise _Transient(reason(error), policy.attempts) from None
            except ValueError:
                raise _Transient("its reply is no JSON", policy.attempts) from None
        self._received += n_bytes
        return found

    def _of_status(self, reply: requests.Response, path: str) -> Exception:
        """Return the error that another status than 200 means."""
        status = reply.status_code
        at_login = path == "/auth-token"
        if status == 404:
            return self._strange(path, "is that it does not exist") if at_login else NotThere(path)
        if status in (401, 403) or (status == 400 and at_login):
            return _Refused()
        if status == 429 or (status == 503 and "Retry-After" in reply.headers):
            return _Busy(retry_after(reply))
        if status >= 500:
            known = self._retry_policy
            return _Transient(
                f"status {status}", known.attempts_at_500 if status == 500 else known.attempts
            )
        if "Location" in reply.headers:
            what = f"It redirects {_short(path)} to {reply.headers['Location']!r:.200}."
            return SourceError(what, self._url, "Use the address to which it redirects.")
        what = f"It refuses the request {_short(path)} (status {status})."
        return SourceError(what, self._url, "Check the names and ids in the command.")

    # --- login --------------------------------------------------------------------------------

    def _log_in(self) -> str:
        """Return the token of the settings or of ONE's setup, or else log in for one."""
        with self.parameters() as known:
            user = self._settings.user or getattr(known, "ALYX_LOGIN", None)
            stored = (getattr(known, "TOKEN", None) or {}).get(user) or {}
            kept = getattr(known, "ALYX_PWD", None)
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        given = self._settings.password
        secret = kept if given is None else given.get_secret_value()
        if not secret and stored:
            return str(stored["token"])
        if not user or not secret:
            self._reach()
            raise _Refused
        login = {"username": user, "password": secret}
        found = self._once("POST", "/auth-token", data=login)
        token = found.get("token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not re.fullmatch(r"[!-~]{1,1000}", token):
            raise self._strange("/auth-token", "has no token")
        return token

    def _reach(self) -> None:
        """Raise an error if the server cannot be reached: such a server refuses nobody."""
        with self._limits.request():
            try:
                with opened("GET", self._url, self._retry_policy.reply) as reply:
                    if reply.status_code >= 500:
                        raise self._of_status(reply, "/")
            except (requests.RequestException, ConnectionError, TimeoutError) as error:
                raise _Transient(reason(error), self._retry_policy.attempts) from None

    @contextlib.contextmanager
    def parameters(self) -> Iterator[Any]:
        """Yield ONE's parameters for this server, under a lock."""
        import one.params
        from iblutil.io import params

        lock = locked(self._cache / ".bwm" / "parameters.lock")
        with lock, _quiet(), _written_whole(params), self._read_whole():
            try:
                known = bool(params.read("one/caches", {}))
                known = known and bool(one.params.get_cache_dir(self._url))
            except KeyError:
                known = False
            if not known:
                # With the folder of the cache given, ONE creates no other one.
                one.params.setup(self._url, silent=True, make_default=False, cache_dir=self._cache)
            yield one.params.get(self._url, silent=True)

    @contextlib.contextmanager
    def _read_whole(self) -> Iterator[None]:
        """Report unreadable parameters, which would look like an invalid reply of the server."""
        try:
            yield
        except json.JSONDecodeError as error:
            what = f"ONE's parameters for it cannot be read ({error.args[0]})."
            raise SourceError(what, self._url, "Remove that file: it is written again.") from None

    def data_login(self, url: str) -> tuple[str, str] | None:
        """Return the login of the data server, if ONE has one for this server."""
        with self.parameters() as known:
            server = getattr(known, "HTTP_DATA_SERVER", None)
            user = getattr(known, "HTTP_DATA_SERVER_LOGIN", None)
            password = getattr(known, "HTTP_DATA_SERVER_PWD", None)
        if not (server and user and password and url.startswith(f"{server.rstrip('/')}/")):
            return None
        return user, password

    def _not_let_in(self) -> NotLetIn:
        user = self._settings.user
        who = f"user {user!r}" if user else "a request without a user"
        return NotLetIn(f"The server refuses {who}.", self._url, LOG_IN)


@contextlib.contextmanager
def _written_whole(params: Any) -> Iterator[None]:
    """Replace ONE's parameter files in one step: a killed process would truncate the file."""
    write = params.write

    def replace(name: str, values: Any) -> None:
        write(f"{name}.saving", values)
        os.replace(params.getfile(f"{name}.saving"), params.getfile(name))  # noqa: PTH105

    params.write = replace
    try:
        yield
    finally:
        params.write = write


def retry_after(response: requests.Response) -> float:
    """Return the pause (s) that a server asks for; 5 if it gives none in seconds."""
    said = response.headers.get("Retry-After", "")
    return float(said) if re.fullmatch(r"\d+(\.\d+)?", said) else 5.0


def _short(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}..."


def reason(error: Exception) -> str:
    """Describe a network failure, without the address that libraries put into it."""
    if isinstance(error, TimeoutError):
        return str(error)
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "its reply was cut"
    return "it cannot be reached, or broke the connection"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings about ONE's parameters, which are not the reader's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
