"""TLS to the server: when it is asked for, when it cannot be, and whose certificate is trusted."""

import datajoint as dj
import pytest

from schemas import connection, subject
from schemas.errors import ServerError, SettingsError
from schemas.settings import Settings
from tests.support import tls
from tests.support.servers import LOOPBACK


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return tls.Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def _encrypted(backend, authority):
    with tls.relay(backend, authority.certificate(LOOPBACK)) as found:
        yield found


@pytest.fixture(scope="module")
def _plain(backend):
    with tls.relay(backend) as found:
        yield found


@pytest.fixture
def through(populated, request):
    """Connect through a relay; return whether the connection was encrypted."""

    def connect(relay, **given):
        reached, encrypted = request.getfixturevalue(relay)
        encrypted.clear()
        new = {"host": reached.host, "port": reached.port, "use_tls": None, "tls_ca": None}
        connection.connect(populated.settings.model_copy(update={**new, **given}))
        assert dj.conn().query("SELECT 1").fetchone()[0] == 1
        assert len(subject.Lab()) > 0
        return encrypted[-1]

    yield connect
    populated.connect()


def refused(connect, kind=ServerError):
    with pytest.raises(kind) as error:
        connect()
    assert str(error.value).count("\n") == 0
    return str(error.value)


def test_a_connection_is_encrypted_where_the_server_can(through):
    assert through("_encrypted") is True
    assert through("_plain") is False


def test_a_connection_that_must_be_encrypted_is_so_or_is_not(through):
    assert through("_encrypted", use_tls=True) is True
    said = refused(lambda: through("_plain", use_tls=True))
    assert "the server has no TLS, but database.use_tls asks for it" in said


def test_a_connection_that_must_not_be_encrypted_is_not(through):
    assert through("_encrypted", use_tls=False) is False
    assert through("_plain", use_tls=False) is False


def test_the_certificate_of_the_authority_is_trusted(through, authority):
    assert through("_encrypted", tls_ca=authority.path) is True
    assert through("_encrypted", tls_ca=authority.path, use_tls=True) is True
    said = refused(lambda: through("_plain", tls_ca=authority.path))
    assert "the server has no TLS" in said


def test_the_certificate_of_another_authority_is_not(through, tmp_path):
    other = tls.Authority(tmp_path, "another")
    said = refused(lambda: through("_encrypted", tls_ca=other.path))
    assert "certificate is not trusted" in said
    assert "database.tls_ca" in said


def test_the_certificate_of_another_host_is_not(through, authority, backend):
    """A server that can show a certificate of the authority is not yet the one that is meant."""
    with tls.relay(backend, authority.certificate("elsewhere.example")) as found:
        said = refused(lambda: through("_encrypted", tls_ca=authority.path, port=found[0].port))
    assert "certificate is not trusted" in said


def test_a_connection_made_again_is_encrypted_as_the_first(through, authority):
    through("_encrypted", tls_ca=authority.path)
    dj.conn()._conn.close()
    assert through("_encrypted", tls_ca=authority.path) is True


def test_what_is_no_certificate_is_refused_by_the_name_of_the_setting(through, tmp_path):
    for path in (tmp_path / "missing.pem", tmp_path / "empty.pem", tmp_path):
        if path.name == "empty.pem":
            path.write_text("no certificate")
        said = refused(lambda path=path: through("_encrypted", tls_ca=path), SettingsError)
        assert said.startswith("database.tls_ca: ")


def test_a_socket_is_refused_where_encryption_is_asked_for(populated, backend):
    if backend.name == "mysql":
        pytest.skip("MySQL is reached through the network")
    settings = populated.settings.model_copy(update={"use_tls": True})
    with pytest.raises(ServerError, match="a socket is never encrypted"):
        connection.connect(settings)


def test_an_authority_without_encryption_is_a_contradiction():
    given = {"database.host": "x", "database.use_tls": False, "database.tls_ca": "ca.pem"}
    with pytest.raises(ValueError, match=r"tls_ca is set, but database.use_tls is false"):
        Settings.model_validate(given)
