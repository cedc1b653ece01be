"""Serve the application."""

from __future__ import annotations

import ipaddress
import os
import secrets
import socket
import threading
import webbrowser
from collections.abc import Callable

import uvicorn

from schemas.errors import ServerError
from viewer import app

LOOPBACK = ("localhost", "127.0.0.1", "::1")


def serve(
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    browse: bool = False,
    told: Callable[[str], None] = print,
) -> None:
    """Serve the connected database until Ctrl-C or SIGTERM.

    Parameters
    ----------
    host : str
        Address to listen on. Anything but loopback takes a token.
    port : int
        0 takes a free one.
    token : str, optional
        Default: none on loopback, elsewhere a new one.
    browse : bool
        Whether to open a browser.
    told : callable
        Called with the address once the viewer listens.

    Raises
    ------
    ServerError
        The address cannot be listened on.
    """
    if not is_loopback(host):
        token = token or secrets.token_urlsafe(24)
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
    hosts = LOOPBACK if is_loopback(host) else ()
    config = uvicorn.Config(
        app.make(token, hosts),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_keep_alive=20,
        limit_concurrency=200,
        h11_max_incomplete_event_size=32_768,
    )
    told(address)
    if browse:
        threading.Timer(0.5, webbrowser.open, [address]).start()
    with listening:
        uvicorn.Server(config).run(sockets=[listening])


def is_loopback(host: str) -> bool:
    """Return whether an address is reached from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
            listening.listen()
        except OSError:
            listening.close()
            raise
    except OSError as error:
        remedy = "Give another --port or --host."
        raise ServerError(f"cannot listen ({error.strerror}).", f"{host}:{port}", remedy) from None
    return listening
