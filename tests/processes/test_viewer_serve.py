"""Where the viewer listens, and whom it asks for a token."""

import socket

import pytest

from schemas.errors import ServerError
from viewer import serve


def test_elsewhere_than_on_loopback_a_token_is_made(monkeypatch):
    told, made = [], []
    monkeypatch.setattr(serve.app, "make", lambda *given: made.append(given))
    monkeypatch.setattr(serve.uvicorn.Server, "run", lambda *_, **__: None)
    serve.serve("0.0.0.0", 0, told=told.append)
    serve.serve("127.0.0.1", 0, told=told.append)
    (token, hosts), (none, local) = made
    assert len(token) >= 24
    assert hosts == ()
    assert told[0].endswith(f"/?token={token}")
    assert none is None
    assert local == serve.LOOPBACK
    assert "token" not in told[1]


def test_a_port_that_is_taken_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServerError, match=f"127.0.0.1:{port}: cannot listen"):
            serve.serve(port=port)
