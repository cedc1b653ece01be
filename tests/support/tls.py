"""A throw-away certificate authority, and servers that have TLS, or have not, in front of others.

The embedded PostgreSQL is built without TLS, and no certificate can be handed to a MySQL server in
a container. A relay has what is wanted: the client speaks TLS to it, with the certificate of the
test, and the server behind it is the real one.
"""

import contextlib
import datetime
import ipaddress
import select
import socket
import ssl
import struct
import threading
from dataclasses import replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.servers import LOOPBACK

REQUEST_OF_POSTGRESQL = struct.pack("!ii", 8, 80877103)
TLS_OF_MYSQL = 0x0800  # a bit of what a server or client says it is capable of


class Authority:
    """A certificate authority that signs certificates of servers; files are below a folder."""

    def __init__(self, folder, name):
        self._folder, self._name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._signed = self._sign(name, self._key, of_authority=True)
        self.path = self._write("ca.pem", self._signed)

    def certificate(self, host):
        """Give a file with the certificate of a host, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        found = self._write(f"{host}.pem", self._sign(host, key, of_authority=False))
        with found.open("ab") as file:
            file.write(
                key.private_bytes(
                    serialization.Encoding.PEM,
                    serialization.PrivateFormat.PKCS8,
                    serialization.NoEncryption(),
                )
            )
        return found

    def _sign(self, name, key, of_authority):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self._name)])
        now = datetime.datetime.now(datetime.timezone.utc)
        try:
            alternative = x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            alternative = x509.DNSName(name)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(of_authority, None), critical=True)
            .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, name, certificate):
        path = self._folder / f"{self._name}-{name}"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path


@contextlib.contextmanager
def relay(backend, certificate=None):
    """Run a relay to a server; without a certificate it has no TLS.

    Yields
    ------
    Backend, list of bool
        How to connect to the relay; whether each connection so far was encrypted.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    encrypted = []
    serve = {"mysql": _serve_mysql, "postgresql": _serve_postgresql}[backend.name]
    with socket.create_server((LOOPBACK, 0)) as listener:
        stopped = threading.Event()

        def accept():
            while not stopped.is_set():
                with contextlib.suppress(OSError):
                    client, _ = listener.accept()
                    threading.Thread(
                        target=_quietly, args=(serve, client, backend, context, encrypted)
                    ).start()

        thread = threading.Thread(target=accept)
        thread.start()
        port = listener.getsockname()[1]
        try:
            yield replace(backend, host=LOOPBACK, port=port), encrypted
        finally:
            stopped.set()
            with contextlib.suppress(OSError):
                socket.create_connection((LOOPBACK, port), 1).close()
            thread.join()


def _quietly(serve, client, backend, context, encrypted):
    """Serve one client; that one of the two ends goes away is no error."""
    with contextlib.suppress(OSError, EOFError), contextlib.closing(client):
        serve(client, backend, context, encrypted)


def _serve_postgresql(client, backend, context, encrypted):
    first = _read(client, 8)
    if first == REQUEST_OF_POSTGRESQL:
        client.sendall(b"S" if context else b"N")
        if context:
            client = context.wrap_socket(client, server_side=True)
        first = b""
    encrypted.append(isinstance(client, ssl.SSLSocket))
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{backend.host}/.s.PGSQL.{backend.port}")
        server.sendall(first)
        _pump(client, server)


def _serve_mysql(client, backend, context, encrypted):
    with socket.create_connection((backend.host, backend.port)) as server:
        greeting = _read_packet(server)
        at = 4 + 1 + greeting[5:].index(b"\0") + 1 + 4 + 8 + 1
        (able,) = struct.unpack_from("<H", greeting, at)
        able = able | TLS_OF_MYSQL if context else able & ~TLS_OF_MYSQL
        client.sendall(greeting[:at] + struct.pack("<H", able) + greeting[at + 2 :])
        reply = _read_packet(client)
        server.sendall(reply)
        (asked,) = struct.unpack_from("<I", reply, 4)
        if asked & TLS_OF_MYSQL:
            # Both ways, so that the packets of both keep their numbers.
            client = context.wrap_socket(client, server_side=True)
            trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
            server = trusting.wrap_socket(server)
        encrypted.append(isinstance(client, ssl.SSLSocket))
        _pump(client, server)


def _read(source, n):
    found = b""
    while len(found) < n:
        more = source.recv(n - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _read_packet(source):
    head = _read(source, 4)
    return head + _read(source, int.from_bytes(head[:3], "little"))


def _pump(client, server):
    """Carry bytes both ways until one end closes, in one thread: TLS bears no two."""
    to = {client: server, server: client}
    with contextlib.closing(client), contextlib.closing(server):
        while True:
            held = [one for one in to if isinstance(one, ssl.SSLSocket) and one.pending()]
            for one in held or select.select(list(to), [], [])[0]:
                try:
                    one.setblocking(False)
                    piece = one.recv(65536)
                except (ssl.SSLWantReadError, BlockingIOError):
                    continue  # of TLS itself
                if not piece:
                    return
                to[one].setblocking(True)
                to[one].sendall(piece)
