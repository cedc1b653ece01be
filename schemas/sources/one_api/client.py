"""REST requests to Alyx by ONE's client: limited, retried where that helps, errors explained.

Each call of the client is one HTTP request, so that all are counted; retries and logins are done
here. The client has no time limit for a reply: a call that takes too long is left to its thread,
and a new client is made.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import re
import threading
import time
import urllib.parse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from schemas.errors import SourceError
from schemas.settings import AlyxSettings
from schemas.sources.one_api.limits import LONGEST_PAUSE, RateLimiter, locked

T = TypeVar("T")

LOG_IN = "Set BWM_ALYX_USER with BWM_ALYX_PASSWORD or BWM_ALYX_TOKEN (alyx.user, ...)."
LATER = "Run the command again later: it goes on where it stopped."


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long to retry requests to a server.

    Attributes
    ----------
    attempts : int
        Attempts at a request that fails temporarily.
    attempts_at_500 : int
        Attempts at a request with status 500, by which Alyx also refuses wrong queries.
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
        self._client: Any = None

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
        complete if it has as many different rows as the server counts.

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
            The list was incomplete at every attempt.
        """
        query = urllib.parse.urlencode({**filters, "limit": self._settings.page_size})
        for _ in range(self._retry_policy.attempts):
            rows, count = self._pages(f"/{endpoint}?{query}")
            try:
                different = {row[key]: row for row in rows}
            except (KeyError, TypeError):
                raise self._strange(f"/{endpoint}", f"has rows without {key}") from None
            if len(different) == count:
                return list(different.values())
        what = f"The pages of its list of {endpoint} do not fit: rows are repeated or missing."
        raise UnstablePages(what, self._url, "Choose fewer recordings at a time, or try later.")

    def _pages(self, path: str) -> tuple[list[dict[str, Any]], int]:
        """Get all pages of a list, one request each, and the count that the server gives."""
        try:
            first = self._ask(path)
        except NotThere:
            raise self._strange(path, "is that it does not exist") from None
        if isinstance(first, list):
            return first, len(first)
        try:
            size, following = first.limit, first.query
        except AttributeError:
            raise self._strange(path, "is no list") from None
        if not size or not isinstance(following, str) or not following.startswith(self._url):
            what = f"It says that its next page is at {following!r}."
            raise SourceError(what, self._url, "Use the address by which it knows itself.")
        rows = [first[k] for k in range(size)]
        first.add_callback(rows.extend)
        for start in range(size, len(first), size):

            def turn(client: Any, start: int = start) -> Any:
                first.alyx = client  # it may be another one by now, after a new login
                return first.populate(start)

            self._call(turn, path)
        return rows, len(first)  # the count may have changed on the way

    def _strange(self, path: str, what: str) -> SourceError:
        return SourceError(
            f"Its reply to {path} {what}.", self._url, "Check that the URL is that of an Alyx."
        )

    # --- one request --------------------------------------------------------------------------

    def _ask(self, path: str) -> Any:
        return self._call(lambda client: client.get(path), path)

    def _call(self, call: Callable[[Any], T], path: str) -> T:
        """Make a call of one request, after a login, and repeat it once after a new login."""
        with self._lock:
            fresh = self._client is None
            try:
                return self._persist(call, path)
            except _Refused:
                self._client = None
                # The login may have expired.
                if fresh or not self._settings.password:
                    raise self._not_let_in() from None
            try:
                return self._persist(call, path)
            except _Refused:
                raise self._not_let_in() from None

    def _persist(self, call: Callable[[Any], T], path: str) -> T:
        failures = pauses = 0
        while True:
            try:
                if self._client is None:
                    self._client = self._once(lambda _: self._log_in(), "/auth-token")
                return self._once(call, path)
            except _Busy as busy:  # noqa: PERF203
                pauses += 1
                if pauses > self._retry_policy.pauses or busy.args[0] > LONGEST_PAUSE:
                    what = f"It wants to be asked again in {busy.args[0]:.0f} s."
                    raise SourceError(what, self._url, LATER) from None
                self._limits.pause(busy.args[0])
            except _Transient as failure:
                failures += 1
                if failures >= failure.attempts:
                    what = f"It failed {failures} times at {_short(path)}: {failure}."
                    raise SourceError(what, self._url, LATER) from None
                time.sleep(self._retry_policy.wait(failures))

    def _once(self, call: Callable[[Any], T], path: str) -> T:
        with self._limits.request():
            try:
                return self._in_time(call)
            # A truncated body, or a body that is not JSON.
            except (requests.exceptions.JSONDecodeError, json.JSONDecodeError):
                raise _Transient("its reply is no JSON", self._retry_policy.attempts) from None
            except requests.HTTPError as error:
                raise self._of_status(error, path) from None
            except (requests.RequestException, ConnectionError, TimeoutError) as error:
                raise _Transient(reason(error), self._retry_policy.attempts) from None

    def _of_status(self, error: requests.HTTPError, path: str) -> Exception:
        response = error.response
        if response is None:
            return _Transient("an error without a reply", self._retry_policy.attempts)
        status = response.status_code
        at_login = response.url.endswith("/auth-token")
        if status == 404:
            return self._strange(path, "is that it does not exist") if at_login else NotThere(path)
        if at_login and path != "/auth-token":
            self._limits.count()  # ONE has asked for a new login by itself
        if status in (401, 403) or (status == 400 and at_login):
            return _Refused()
        if status == 429 or (status == 503 and "Retry-After" in response.headers):
            return _Busy(retry_after(response))
        if status >= 500:
            known = (
                self._retry_policy.attempts_at_500 if status == 500 else self._retry_policy.attempts
            )
            return _Transient(f"status {status}", known)
        what = f"It does not understand {_short(path)} (status {status})."
        return SourceError(what, self._url, "Check what was asked for.")

    def _in_time(self, call: Callable[[Any], T]) -> T:
        """Make a call in its own thread, with a time limit."""
        done: list[Any] = []
        client = self._client

        def run() -> None:
            try:
                with _quiet():
                    done.append((call(client), None))
            except BaseException as error:  # it is raised in the thread that waits
                done.append((None, error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(self._retry_policy.reply)
        if not done:
            self._client = None  # it may still be at work
            raise TimeoutError(f"no reply within {self._retry_policy.reply:.0f} s")
        result, error = done[0]
        if error is not None:
            raise error
        return result

    # --- login --------------------------------------------------------------------------------

    def _log_in(self) -> Any:
        """Create ONE's client and log in, without writing password or token to disk."""
        from one.webclient import AlyxClient

        with self.parameters() as known:
            client = AlyxClient(
                base_url=self._url, cache_dir=self._cache, silent=True, cache_rest=None
            )
        client.max_retry_attempts = 0  # these requests would not be counted
        user, password, token = self._login()
        if token is None and password is None and not _is_kept(known, user):
            # A server that cannot be reached refuses nobody: that is another error.
            timeout = self._retry_policy.reply
            with requests.get(self._url, timeout=timeout, stream=True) as reply:
                if reply.status_code >= 500:
                    reply.raise_for_status()
            raise _Refused
        try:
            client.authenticate(user, password, cache_token=False, token=token)
        except AssertionError:
            raise self._strange("/auth-token", "has no token") from None
        except (requests.RequestException, json.JSONDecodeError):
            raise
        except ValueError:
            raise _Refused from None  # it cannot tell whose token it is
        return client

    def _login(self) -> tuple[str | None, str | None, str | None]:
        password, token = self._settings.password, self._settings.token
        return (
            self._settings.user,
            password.get_secret_value() if password else None,
            token.get_secret_value() if token else None,
        )

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
            raise SourceError(what, self._url, "Remove that file; it is made anew.") from None

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
        return NotLetIn(f"The server does not let in {who}.", self._url, LOG_IN)


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


def _is_kept(known: Any, user: str | None) -> bool:
    """Whether ONE's own setup has stored a login for this server."""
    name = user or getattr(known, "ALYX_LOGIN", None)
    kept = getattr(known, "TOKEN", None) or {}
    return name in kept or bool(name and getattr(known, "ALYX_PWD", None))


def retry_after(response: requests.Response) -> float:
    """Return the pause (s) that a server asks for; 5 if it gives none in seconds."""
    said = response.headers.get("Retry-After", "")
    return float(said) if re.fullmatch(r"\d+(\.\d+)?", said) else 5.0


def _short(path: str) -> str:
    return path if len(path) <= 100 else f"{path[:100]}..."


def reason(error: Exception) -> str:
    """Describe a network failure, without the address that libraries put into it."""
    if isinstance(error, (requests.Timeout, TimeoutError)):
        return str(error) if isinstance(error, TimeoutError) else "no reply in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "its reply was cut"
    return "it cannot be reached, or broke the connection"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence ONE's log and warnings: ONE logs tokens and asks for a login by other means."""
    log = logging.getLogger("one.webclient")
    if log.getEffectiveLevel() < logging.INFO:
        log.setLevel(logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
