"""Logins at a server and its data server, and ONE's own parameters."""

import json
import logging
from pathlib import Path

import pytest

from schemas.errors import SourceError
from schemas.settings import AlyxSettings
from schemas.sources.one_api.alyx import AlyxSource
from schemas.sources.records import Selection
from schemas.sources.registry import open_source
from tests.support.online import impatient, settings, source

pytestmark = pytest.mark.usefixtures("own_home")


def everything(opened):
    return list(opened.sessions())


def text_below(folder):
    return b"".join(path.read_bytes() for path in Path(folder).rglob("*") if path.is_file())


def test_the_login_is_nowhere_on_disk_or_in_logs(alyx, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    everything(source(alyx, tmp_path / "cache"))
    for secret in (alyx.password, alyx.token):
        assert secret.encode() not in text_below(tmp_path)
        assert secret not in caplog.text
    assert not (tmp_path / "user" / "Downloads").exists()


@pytest.mark.parametrize(
    "login",
    [
        {"password": "guessed-wrong"},
        {"password": None, "token": "f" * 40},
        {"password": None},
        {"user": None, "password": None},
    ],
)
def test_who_is_not_let_in_is_told_what_to_set(alyx, tmp_path, login):
    with pytest.raises(SourceError, match="BWM_ALYX_USER with BWM_ALYX_PASSWORD or") as caught:
        source(alyx, tmp_path / "cache", **login).find(Selection())
    assert "guessed-wrong" not in str(caught.value)
    assert "f" * 40 not in str(caught.value)
    assert len(alyx.requests) <= 4


def test_a_token_is_a_login(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache", password=None, token=alyx.token)
    assert everything(opened) == offline
    assert alyx.asked("/auth-token") == []


def test_a_token_that_ends_meanwhile_is_renewed(alyx, offline, tmp_path):
    opened = source(alyx, tmp_path / "cache", page_size=3)
    coming = opened.sessions([r.eid for r in offline])
    opened.find(Selection(lab=offline[0].lab))
    alyx.expire_token()
    assert list(coming) == offline


def test_a_server_that_refuses_all_tokens_is_an_error_at_once(alyx, offline, tmp_path):
    alyx.refuse_tokens = True
    with pytest.raises(SourceError, match="refuses user"):
        list(source(alyx, tmp_path / "cache").sessions([r.eid for r in offline]))
    assert len(alyx.requests) <= 4


def test_the_login_goes_to_no_other_server(alyx, tmp_path):
    given = settings(alyx, tmp_path / "cache", url="https://elsewhere.test")
    opened = open_source(alyx.url, tmp_path, alyx=given)
    with pytest.raises(SourceError, match="refuses a request without a user"):
        opened.find(Selection())
    assert [(request.method, request.path) for request in alyx.requests] == [("GET", "/")]


def test_a_server_that_cannot_be_reached_is_not_said_to_refuse_a_user(tmp_path):
    quick = impatient(attempts=2)
    opened = AlyxSource("http://127.0.0.1:9", tmp_path, AlyxSettings(cache=tmp_path), quick)
    with pytest.raises(SourceError, match=r"failed 2 times at .*: it cannot be reached"):
        opened.find(Selection())


def test_a_server_in_trouble_is_not_said_to_refuse_a_user(alyx, tmp_path):
    alyx.fault("status", "/", status=502)
    given = AlyxSettings(cache=tmp_path)
    opened = AlyxSource(alyx.url, tmp_path, given, impatient(attempts=2))
    with pytest.raises(SourceError, match=r"failed 2 times at .*: status 502"):
        opened.find(Selection())


def test_a_url_opens_a_server_with_or_without_its_last_slash(tmp_path):
    given = AlyxSettings(cache=tmp_path)
    opened = open_source("http://127.0.0.1:9/", tmp_path, alyx=given)
    assert isinstance(opened, AlyxSource)
    assert opened.location == "http://127.0.0.1:9"


def test_the_login_of_a_data_server_goes_to_no_other(alyx, tmp_path):
    import one.params

    opened = source(alyx, tmp_path / "cache")
    opened.find(Selection())
    known = one.params.get(alyx.url, silent=True)
    for name, value in (("", "https://files.test/public"), ("_LOGIN", "iblmember"), ("_PWD", "p")):
        known = known.set(f"HTTP_DATA_SERVER{name}", value)
    one.params.save(known, alyx.url)
    login = opened._client.data_login
    assert login("https://files.test/public/lab/x.npy") == ("iblmember", "p")
    assert login("https://files.test/publications/x.npy") is None
    assert login("https://elsewhere.test/public/x.npy") is None


def test_parameters_of_one_are_whole_whenever_it_is_killed(alyx, own_home, tmp_path, monkeypatch):
    def cut(values, file, **_):
        file.write('{"half')
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("iblutil.io.params.json.dump", cut)
        with pytest.raises(KeyboardInterrupt):
            everything(source(alyx, tmp_path / "cache"))
    assert everything(source(alyx, tmp_path / "cache"))
    kept = [path for path in (own_home / ".one").iterdir() if not path.name.endswith(".saving")]
    assert len(kept) == 2
    for path in kept:
        json.loads(path.read_text())


def test_parameters_of_one_that_are_cut_are_named(alyx, own_home, tmp_path):
    everything(source(alyx, tmp_path / "cache"))
    (own_home / ".one" / ".caches").write_text('{"half')
    with pytest.raises(SourceError, match=r"parameters .* cannot be read .*\.caches.*Remove that"):
        everything(source(alyx, tmp_path / "another"))
