"""Files from a data server: each downloaded once, whole, by one process at a time.

A file is downloaded into `.bwm/partial/` of the cache, under a name that ends with its announced
length. It is complete when it has that length, also after a crash, and moves to its place in one
step when its hash is the listed one.

ONE's own download has no limits and keeps a truncated file as if it were complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path

import requests

from schemas import disk
from schemas.errors import DamagedFile, MissingDataset, SourceError, StorageError
from schemas.sources.one_api.client import LATER, RetryPolicy, reason, retry_after
from schemas.sources.one_api.limits import LONGEST_PAUSE, RateLimiter, locked
from schemas.sources.one_api.replies import opened, pieces

Progress = Callable[[int], None]
Login = Callable[[str], tuple[str, str] | None]

CHUNK = 1 << 20
STATE = ".bwm"
"""Folder in the cache for what is neither a table nor a file of a session."""

SLOWEST = 64 << 10
"""Bytes that must come within the time limit of a silence."""

SLACK = 1 << 30
"""Bytes by which a file with a listed hash may be larger than listed, because sizes get stale."""

REDIRECTS = 5
"""Most redirects of a download."""

_REPORT = "Try again later; if the error stays, report it to the administrators of the server."
_ROOM = "Make room, limit the cache (BWM_ALYX_CACHE_LIMIT), or move it (BWM_ALYX_CACHE)."
_LOG_IN = "Store HTTP_DATA_SERVER_LOGIN and HTTP_DATA_SERVER_PWD for it by ONE.setup()."


class _Again(Exception):
    """A download failed and may be retried, after `wait` seconds if given."""

    def __init__(self, what: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(what)


class _LoginWanted(Exception):
    """The data server wants a login."""


class Downloader:
    """Downloads files into a cache folder.

    Parameters
    ----------
    cache : Path
        Cache folder.
    limits : RateLimiter
        Limits that all processes share.
    retry_policy : RetryPolicy
        How often and how long to retry.
    login : callable
        Returns user and password for a URL, or None; called when the server wants a login.
    """

    def __init__(
        self, cache: Path, limits: RateLimiter, retry_policy: RetryPolicy, login: Login
    ) -> None:
        self._cache, self._limits, self._retry_policy = cache, limits, retry_policy
        self._login = login
        self._partial = cache / STATE / "partial"
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
        self._clean()

    def is_whole(self, path: Path, md5: str | None) -> bool:
        """Whether a file is in its place, and has the listed hash if there is one."""
        try:
            stat = path.stat()
            if md5 is None:
                return True
            state = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
            held = self._hashes.get(path)
            if held is None or held[0] != state:
                held = self._hashes[path] = (state, _md5(path))
        except FileNotFoundError:
            return False
        return held[1] == md5.lower()

    def fetch(
        self,
        path: Path,
        url: str,
        md5: str | None = None,
        file_size: int | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Download a file unless it is in its place.

        Parameters
        ----------
        path : Path
            Place of the file in the cache.
        url : str
            Address of the file.
        md5 : str, optional
            Listed hash. Without it, any complete file is accepted.
        file_size : int, optional
            Listed size (bytes); checks a partial file of an earlier process that has no hash.
        progress : callable, optional
            Called with the received bytes; with a negative number if these are discarded.

        Raises
        ------
        MissingDataset
            The server does not have the file.
        DamagedFile
            The file has another hash than the listed one, twice.
        SourceError
            The download fails.
        StorageError
            The file cannot be written here.
        """
        if self.is_whole(path, md5):
            return
        name = path.relative_to(self._cache).as_posix()
        key = hashlib.sha1(name.encode(), usedforsecurity=False).hexdigest()
        lock = self._partial / f"{key}.lock"
        with locked(lock):
            # Another process may have downloaded the file in the meantime.
            if not self.is_whole(path, md5):
                body = self._verified(key, url, md5, file_size, progress or _ignore)
                path.parent.mkdir(parents=True, exist_ok=True)
                body.replace(path)
            lock.unlink()

    def _verified(
        self, key: str, url: str, md5: str | None, file_size: int | None, progress: Progress
    ) -> Path:
        """Return a complete file with the listed hash: an earlier download, or else a new one."""
        md5, found = md5 and md5.lower(), ""
        for body in self._left_behind(key):
            if _is_complete(body) and (_md5(body) == md5 if md5 else _fits(body, file_size)):
                return body
            body.unlink()
        most = math.inf if file_size is None else file_size + SLACK * (md5 is not None)
        for _ in range(2):
            body = self._persist(key, url, most, progress)
            found = _md5(body)
            if md5 in (None, found):
                return body
            progress(-body.stat().st_size)
            body.unlink()
        what = f"It was downloaded twice with md5 {found}, but {md5} is listed."
        raise DamagedFile(what, url, _REPORT)

    def _left_behind(self, key: str) -> list[Path]:
        return [p for p in self._partial.glob(f"{key}.*") if p.suffix != ".lock"]

    def _persist(self, key: str, url: str, most: float, progress: Progress) -> Path:
        failures = pauses = 0
        auth = None
        while True:
            try:
                with self._limits.file():
                    return self._receive(key, url, auth, most, progress)
            except _Again as again:  # noqa: PERF203
                failures += again.wait is None
                pauses += again.wait is not None
                if failures >= self._retry_policy.attempts or pauses > self._retry_policy.pauses:
                    what = f"Its download failed {failures + pauses} times: {again}."
                    raise SourceError(what, url, LATER) from None
                time.sleep(self._retry_policy.wait(failures) if again.wait is None else again.wait)
            except _LoginWanted:
                auth = self._login(url) if auth is None else None
                if auth is None:
                    what = "The data server refuses the login."
                    raise SourceError(what, url, _LOG_IN) from None

    def _receive(
        self, key: str, url: str, auth: tuple[str, str] | None, most: float, progress: Progress
    ) -> Path:
        """Receive a file of at most so many bytes in one request, and one for each redirect."""
        came = 0
        body = self._partial / f"{key}.0"  # until the length is known
        try:
            with self._opened(url, auth) as reply:
                length = self._length(reply, url, most)
                body = self._partial / f"{key}.{length}"
                with body.open("wb") as file:
                    for piece in pieces(reply, self._retry_policy.silence, SLOWEST):
                        if came + len(piece) > length:  # as a reply in chunks can be
                            body.unlink()
                            progress(-came)
                            raise _Again("it is longer than announced")
                        came += file.write(piece)
                        progress(len(piece))
                    file.flush()
                    os.fsync(file.fileno())
        except (requests.RequestException, TimeoutError) as error:
            progress(-came)
            raise _Again(reason(error)) from None
        except OSError as error:
            progress(-came)
            body.unlink(missing_ok=True)
            # No SourceError: another repository would not help.
            if disk.is_full(error):
                raise disk.full(self._cache, int(body.suffix[1:])) from error
            what = f"A file cannot be written there ({error.strerror})."
            raise StorageError(what, self._partial, _ROOM) from error
        if not _is_complete(body):
            progress(-came)
            raise _Again("it was cut")
        return body

    @contextlib.contextmanager
    def _opened(self, url: str, auth: tuple[str, str] | None) -> Iterator[requests.Response]:
        """Yield the reply to a request for a file; the login goes to the first server alone."""
        address, headers = url, {"Accept-Encoding": "identity"}
        for _ in range(REDIRECTS + 1):
            wait = self._retry_policy.silence
            with opened("GET", address, wait, auth=auth, headers=headers) as reply:
                if not reply.is_redirect:
                    yield reply
                    return
                address, auth = urllib.parse.urljoin(address, reply.headers["Location"]), None
        what = f"The data server redirects more than {REDIRECTS} times, now to {address:.200}."
        raise SourceError(what, url, _REPORT)

    def _length(self, reply: requests.Response, url: str, most: float) -> int:
        """Return the announced length (bytes) of a reply, or raise the error that it means."""
        status = reply.status_code
        if status == 404:
            raise MissingDataset(
                "It is listed, but the data server does not have it.", url, _REPORT
            )
        if status in (401, 403):
            raise _LoginWanted
        if status == 429 or (status == 503 and "Retry-After" in reply.headers):
            wait = retry_after(reply)
            if wait > LONGEST_PAUSE:
                what = f"The data server asks to wait {wait:.0f} s."
                raise SourceError(what, url, LATER)
            raise _Again(f"status {status}", wait)
        if status >= 500:
            raise _Again(f"status {status}")
        if status != 200:
            raise SourceError(f"The data server answers with status {status}.", url, _REPORT)
        announced = reply.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d+", announced):
            raise _Again("the data server does not state the size of the file")
        packing = reply.headers.get("Content-Encoding", "identity")
        if packing != "identity":
            what = f"The data server packs it by {packing!r:.80}, which was not requested."
            raise SourceError(what, url, _REPORT)
        if int(announced) > most:
            what = f"The data server announces {int(announced):,} bytes; {most:,} are allowed"
            raise SourceError(f"{what} by its listed size.", url, _REPORT)
        disk_size, _, free = shutil.disk_usage(self._partial)
        if int(announced) > disk_size:
            what = f"{url} needs {int(announced):,} bytes, and {free:,} are free."
            raise SourceError(what, self._partial, _ROOM)
        if int(announced) > free:
            raise disk.full(self._cache, int(announced))
        return int(announced)

    def _clean(self) -> None:
        """Remove incomplete files of killed processes."""
        for key in {path.stem for path in self._partial.glob("*.*")}:
            lock = self._partial / f"{key}.lock"
            with locked(lock, wait=False) as free:
                if free is None:
                    continue
                for body in self._left_behind(key):
                    if not _is_complete(body):
                        body.unlink()
                lock.unlink()


def _is_complete(body: Path) -> bool:
    """Whether a file is as long as its name says."""
    return body.stat().st_size == int(body.suffix[1:])


def _fits(body: Path, file_size: int | None) -> bool:
    return file_size is None or body.stat().st_size == file_size


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _ignore(_: int) -> None:
    """Show no progress."""
