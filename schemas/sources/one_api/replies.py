"""Replies of servers, received within limits of time and size, whatever a server sends.

`requests` and ONE's own client follow redirects through bodies of any size, unpack a body as a
whole, and limit only the time between two bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import requests
import urllib3

T = TypeVar("T")

BLOCK = 64 << 10
"""Bytes that are read at once."""

LARGEST = 32 << 20
"""Largest unpacked JSON (bytes): as Python's objects, these take up to 20 times as much."""

DEEPEST = 50
"""Most levels of lists and objects in JSON."""


class BadReply(Exception):
    """A reply that would be no better at another attempt; the text follows "its reply"."""


class _Session(requests.Session):
    """Follows no redirect, because `requests` reads the body of each as a whole."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no address."""


@contextlib.contextmanager
def opened(method: str, url: str, seconds: float, **more: Any) -> Iterator[requests.Response]:
    """Send a request, and yield the reply once its headers have come.

    Parameters
    ----------
    method, url : str
        The request.
    seconds : float
        Time limit (s) of the headers, and of the silence between two bytes of the body.
    **more
        Further arguments of `requests.request`.

    Raises
    ------
    requests.RequestException, TimeoutError
        There is no reply, or none in time.
    """
    with _Session() as session:

        def send() -> requests.Response:
            return session.request(method, url, stream=True, timeout=seconds, **more)

        try:
            reply = _in_time(send, seconds)
        except requests.Timeout:
            raise TimeoutError(f"no reply within {seconds:g} s") from None
        with reply:
            yield reply


def _in_time(call: Callable[[], T], seconds: float) -> T:
    """Make a call in a thread of its own, which is left behind after a time limit (s)."""
    done: list[Any] = []

    def run() -> None:
        try:
            done.append((call(), None))
        except BaseException as error:  # it is raised in the thread that waits
            done.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not done:
        raise TimeoutError(f"no reply within {seconds:g} s")
    result, error = done[0]
    if error is not None:
        raise error
    return result


def pieces(reply: requests.Response, seconds: float, at_least: float = math.inf) -> Iterator[bytes]:
    """Yield a body as it comes, packed as it was sent.

    Parameters
    ----------
    reply : requests.Response
        A reply that `opened` has yielded.
    seconds : float
        Time limit (s) for `at_least` bytes; once they are there, it begins anew.
    at_least : float
        Bytes; by default, the limit is that of the whole body.

    Raises
    ------
    requests.RequestException, TimeoutError
        The body was cut, or comes too slowly.
    """
    since, came = time.monotonic(), 0
    while True:
        try:
            piece = reply.raw.read1(BLOCK, decode_content=False)
        except urllib3.exceptions.ReadTimeoutError:
            raise TimeoutError(f"no byte within {seconds:g} s") from None
        except urllib3.exceptions.HTTPError as error:
            raise requests.exceptions.ChunkedEncodingError(error) from None
        if not piece:
            return
        came += len(piece)
        now = time.monotonic()
        if came >= at_least:
            since, came = now, 0
        elif now - since > seconds:
            raise TimeoutError(f"only {came} bytes within {seconds:g} s")
        yield piece


def read_json(reply: requests.Response, seconds: float) -> tuple[Any, int]:
    """Return what a body of JSON says, and its unpacked size (bytes).

    Parameters
    ----------
    reply : requests.Response
        A reply that `opened` has yielded.
    seconds : float
        Time limit (s) of the body.

    Raises
    ------
    BadReply
        It exceeds a limit, or is of another type.
    ValueError
        It is no JSON, perhaps because it was cut.
    """
    kind = reply.headers.get("Content-Type", "json")
    if "json" not in kind:
        raise BadReply(f"is {kind.split(';')[0]!r:.80} instead of JSON")
    body = _unpacked(reply, seconds)
    try:
        found = json.loads(body, parse_int=_whole)
    except RecursionError:
        raise BadReply(f"has more than {DEEPEST} levels of lists") from None
    if _is_deep(found):
        raise BadReply(f"has more than {DEEPEST} levels of lists")
    return found, len(body)


def _unpacked(reply: requests.Response, seconds: float) -> bytearray:
    packing = reply.headers.get("Content-Encoding", "identity")
    if packing not in ("identity", "gzip"):
        raise BadReply(f"is packed by {packing!r:.80}, which was not asked for")
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16) if packing == "gzip" else None
    body = bytearray()
    try:
        for piece in pieces(reply, seconds):
            left = LARGEST + 1 - len(body)
            body += unpacker.decompress(piece, left) if unpacker else piece
            if len(body) > LARGEST:
                raise BadReply(f"is larger than {LARGEST >> 20} MB")
    except zlib.error as error:
        raise ValueError(str(error)) from None
    return body


def _whole(digits: str) -> int:
    """Return an integer that databases can store."""
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise BadReply(f"has an integer that is too large: {digits:.25}")
    return int(digits)


def _is_deep(found: Any) -> bool:
    level = [found] if isinstance(found, (dict, list)) else []
    for _ in range(DEEPEST):
        within = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for some in within for each in some if isinstance(each, (dict, list))]
    return bool(level)
