"""A server that asks for the password in clear text gets it over TLS only."""

import contextlib
import socket
import ssl
import struct
import threading

import pytest

from schemas import connection
from schemas.errors import ServerError
from schemas.settings import Settings
from tests.support import tls
from tests.support.servers import LOOPBACK

PASSWORD = "a password that nobody may read"
GREETING = struct.pack("<B6sI8sxHBHHB10x", 10, b"8.4.0", 1, b"8 bytes.", 0x8208, 45, 2, 0x8, 21)
GREETING += b"12 more....." + b"\0mysql_native_password\0"


def mysql(client, context):
    """Ask for the plugin of clear text, after the handshake."""
    able = struct.pack("<H", 0x8208 | (0x800 if context else 0))
    send(client, 0, GREETING[:20] + able + GREETING[22:])
    if context:
        tls._read_packet(client)
        client = context.wrap_socket(client, server_side=True)
    heard = [tls._read_packet(client)]
    send(client, heard[0][3] + 1, b"\xfemysql_clear_password\0")
    return client, heard


def send(client, number, content):
    client.sendall(len(content).to_bytes(3, "little") + bytes([number]) + content)


def postgresql(client, context):
    """Ask for the password as it is, after the start."""
    first = tls._read(client, 8)
    if first == tls.REQUEST_OF_POSTGRESQL:
        client.sendall(b"S" if context else b"N")
        if context:
            client = context.wrap_socket(client, server_side=True)
        first = tls._read(client, 8)
    (length,) = struct.unpack("!i", first[:4])
    heard = [tls._read(client, length - 8)]
    client.sendall(b"R" + struct.pack("!ii", 8, 3))
    return client, heard


@contextlib.contextmanager
def asking(ask, certificate=None):
    """Serve a server that asks; yields its port and what it heard."""
    context = None
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    heard = []

    def serve():
        while not stopped.is_set():
            with contextlib.suppress(OSError, EOFError):
                client, _ = listener.accept()
                client.settimeout(20)
                with contextlib.closing(client):
                    asked, first = ask(client, context)
                    with contextlib.closing(asked):
                        heard.extend(first)
                        heard.append(asked.recv(1000))

    stopped = threading.Event()
    with socket.create_server((LOOPBACK, 0)) as listener:
        listener.settimeout(0.2)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1], heard
        finally:
            stopped.set()
            thread.join()


def connect(backend, port, **more):
    given = {"host": LOOPBACK, "port": port, "user": "ann", "password": PASSWORD, **more}
    with pytest.raises(ServerError) as error:
        connection.connect(
            Settings.model_validate(
                {"database.backend": backend} | {f"database.{k}": v for k, v in given.items()}
            )
        )
    return str(error.value)


@pytest.mark.parametrize("ask", [mysql, postgresql])
@pytest.mark.parametrize("use_tls", [None, False])
def test_no_password_is_sent_in_clear_text(ask, use_tls):
    with asking(ask) as (port, heard):
        said = connect(ask.__name__, port, use_tls=use_tls)
    assert "the server asks for the password in clear text" in said
    assert "DJ_USE_TLS" in said
    assert b"ann" in b"".join(heard)
    assert PASSWORD.encode() not in b"".join(heard)


@pytest.mark.parametrize("ask", [mysql, postgresql])
def test_a_password_is_sent_in_clear_text_over_tls(ask, tmp_path):
    authority = tls.Authority(tmp_path, "ours")
    with asking(ask, authority.certificate(LOOPBACK)) as (port, heard):
        connect(ask.__name__, port, tls_ca=str(authority.path))
    assert PASSWORD.encode() in b"".join(heard)
