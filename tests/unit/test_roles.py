"""Statements of roles: on whose schemas, with which rights, and which names are refused."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as some
from typer.testing import CliRunner

from populate import cli, permissions
from schemas import MODULES, activation, connection
from schemas.errors import ServerError
from schemas.settings import DEMO

BACKENDS = ("mysql", "postgresql")
WRITING = {
    *("INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE", "ALTER", "DROP"),
    *("INDEX", "TRIGGER", "ALL", "OWNER"),
}


def text(backend, role, user="ann", **more):
    return "\n".join(permissions.statements(backend, "bwm", role, user, **more))


def rights_on_ours(backend, role):
    """Words between GRANT and ON, where our schemas are what is granted on."""
    ours = r"`bwm\\_" if backend == "mysql" else r"(?:ALL TABLES IN )?SCHEMA \"bwm_"
    pattern = rf"GRANT ([A-Z, ]+) ON {ours}"
    lines = permissions.statements(backend, "bwm", role, "ann")
    group = f'"bwm_{role}"'
    mine = [line for line in lines if backend == "mysql" or group in line]
    return {word for line in mine for found in re.findall(pattern, line) for word in found.split()}


@pytest.mark.parametrize("backend", BACKENDS)
def test_who_only_reads_is_granted_nothing_else(backend):
    assert {"SELECT"} <= rights_on_ours(backend, "reader") <= {"SELECT", "USAGE"}
    assert not rights_on_ours(backend, "analyst") & WRITING


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_worker_writes_rows_and_no_tables(backend):
    found = {word.strip(",") for word in rights_on_ours(backend, "worker")}
    assert found - {"USAGE"} == {"SELECT", "INSERT", "UPDATE", "DELETE"}


@pytest.mark.parametrize("role", permissions.ROLES)
def test_mysql_grants_on_the_schemas_of_the_prefix_alone(role):
    """MySQL takes `_` for any character and `%` for any number of them."""
    found = set(re.findall(r"ON `([^`]+)`\.\*", text("mysql", role, schemas=None)))
    ours = {rf"bwm\_{name}" for name in MODULES}
    assert found - ours == ({"ann"} if role == "analyst" else set())
    for pattern in ours & found:
        matches = re.compile(pattern.replace(r"\_", "\0").replace("_", ".").replace("\0", "_"))
        assert matches.fullmatch(pattern.replace("\\", ""))
        assert not matches.fullmatch("bwmx" + pattern.replace("\\", "")[4:])
        assert not matches.fullmatch("bwm_demo_1_" + pattern.replace("\\", "")[4:])


@pytest.mark.parametrize("role", permissions.ROLES)
def test_postgresql_grants_on_the_schemas_of_the_prefix_alone(role):
    listed = re.findall(r"(?:IN|ON) SCHEMA ((?:\"\w+\"(?:, )?)+)", text("postgresql", role))
    named = {name for one in listed for name in re.findall(r'"(\w+)"', one)}
    assert named - {f"bwm_{name}" for name in MODULES} == ({"ann"} if role == "analyst" else set())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("role", permissions.ROLES)
def test_statements_are_one_each_and_hold_no_password(backend, role):
    for statement in permissions.statements(backend, "bwm", role, "ann"):
        assert ";" not in re.sub(r"\$do\$.*\$do\$", "", statement)
        assert not re.search(r"IDENTIFIED BY '|PASSWORD '", statement)


@pytest.mark.parametrize("backend", BACKENDS)
def test_further_schemas_are_read_and_filled_as_ours_are(backend):
    assert re.search(r'GRANT SELECT ON [^\n]*["`]bob', text(backend, "reader", schemas=["bob"]))
    filled = text(backend, "worker", schemas=["bob", "eve_lfp"])
    for name in ("bob", "eve_lfp", r"eve\_lfp")[: 2 if backend == "postgresql" else 1]:
        assert re.search(rf'GRANT SELECT, INSERT, UPDATE, DELETE ON [^\n]*["`]{name}["`]', filled)
    assert not re.search(r"(CREATE|ALL|DROP)[^\n]* ON [^\n]*bob", filled)


HOSTILE = (
    *("", " ", "a b", "'; DROP TABLE x; --", "a'b", 'a"b', "a`b", "a\\", "a\0b", "%", "a%", "$do$"),
    *("-a", "@", "a;b", "a\nb", "public", "none", "pg_read_all_data", "bwm_admin", "😀", "a" * 64),
    *("a\ud800", "a" * 10_000, "ann@%", "a/*"),
)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("user", HOSTILE, ids=ascii)
def test_names_of_users_that_cannot_be_are_refused(backend, user):
    with pytest.raises(ServerError, match="cannot be the name of a user") as refused:
        permissions.statements(backend, "bwm", "reader", user)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize("user", ["ann", "Ann.Lee-2", "ann@lab.org", "müller", "_x", "1ann"])
def test_names_of_users_are_quoted(user):
    assert f"`{user}`@`10.0.0.%`" in text("mysql", "reader", user, host="10.0.0.%")
    assert f'GRANT "bwm_reader" TO "{user}"' in text("postgresql", "reader", user)


def test_a_name_that_postgresql_would_cut_off_is_refused():
    with pytest.raises(ServerError, match="up to 63"):
        permissions.statements("postgresql", "bwm", "reader", "ü" * 32)
    with pytest.raises(ServerError, match="up to 32"):
        permissions.statements("mysql", "bwm", "reader", "u" * 33)


@pytest.mark.parametrize("host", ["", "a b", "'", "`", "a\\", "a\0", "ü", "x" * 256])
def test_hosts_that_cannot_be_are_refused(host):
    with pytest.raises(ServerError, match="cannot be a host"):
        permissions.statements("mysql", "bwm", "reader", "ann", host)


@pytest.mark.parametrize(
    "name",
    [
        *("bwm", "bwm_session", "bwm_of_ann", "mysql", "sys", "public", "pg_x"),
        *("Ann", "a`b", "a b", "a%", "_a", "", "a" * 64, 'a"'),
    ],
)
@pytest.mark.parametrize("role", ["reader", "analyst", "worker"])
def test_schemas_that_are_ours_or_the_servers_or_nobodys_are_refused(role, name):
    with pytest.raises(
        ServerError, match=r"is (ours or the server's|not a valid name of a schema)"
    ):
        permissions.statements("mysql", "bwm", role, "ann", schemas=[name])


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_schemas_of_an_analyst_are_those_alone_whose_names_are_said(backend):
    """Not `ann_lee`, who is somebody else, nor on MySQL those of the demo beside one's own."""
    for prefix, own in (("bwm", "ann"), (f"bwm_{DEMO}", f"ann_{DEMO}"), (DEMO, f"ann_{DEMO}")):
        found = "\n".join(permissions.statements(backend, prefix, "analyst", "ann"))
        named = {
            one.replace("\\", "") for one in re.findall(r"[`\"]([\w\\%]*ann[\w\\%]*)[`\"]", found)
        }
        assert named == {"ann", own}
        assert connection.own_name("ann", prefix) == own


def test_a_role_that_there_is_not_is_refused():
    with pytest.raises(ServerError, match="Roles: reader, analyst, worker, admin"):
        permissions.statements("mysql", "bwm", "owner", "ann")
    with pytest.raises(ServerError, match="Leave out --schema"):
        permissions.statements("mysql", "bwm", "admin", "ann", schemas=["ann"])


@given(user=some.text(max_size=40), host=some.text(max_size=12), schema=some.text(max_size=12))
@pytest.mark.parametrize("backend", BACKENDS)
def test_no_name_leaves_its_quotes(backend, user, host, schema):
    """What is not refused is in the statements as it is, within quotes that it cannot end."""
    try:
        found = permissions.statements(backend, "bwm", "analyst", user, host, [schema])
    except ServerError:
        return
    assert not set(user + host + schema) & set("'\"`\\;\0\n$ ")
    plain = permissions.statements(backend, "bwm", "analyst", "u", "h", ["s"])
    assert len(found) == len(plain)


# --- the command --------------------------------------------------------------------------------


@pytest.fixture
def bwm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    home = {"BWM_HOME": str(tmp_path / "home")}
    return lambda *words, **more: CliRunner().invoke(cli.app, words, env={**home, **more})


def test_the_command_prints_the_statements_without_a_server(bwm):
    printed = bwm("server", "grant", "reader", "ann", "--host", "10.%", DJ_HOST="256.0.0.1")
    expected = permissions.statements("mysql", "bwm", "reader", "ann", "10.%")
    assert printed.exit_code == 0
    assert printed.stdout == "".join(f"{line};\n" for line in expected)
    assert "once" in printed.stderr


def test_the_command_refuses_what_does_not_go_together(bwm, tmp_path):
    refused = bwm("server", "grant", "reader", "ann", "--host", "10.%")
    assert refused.exit_code == 2
    assert "pg_hba.conf" in refused.stderr
    refused = bwm("server", "grant", "reader", "ann", "--password-file", "x")
    assert refused.exit_code == 2
    assert "--apply" in refused.stderr
    refused = bwm("server", "grant", "owner", "ann")
    assert refused.exit_code == 2


@pytest.mark.parametrize("content", [None, "", "\n", "two\nlines", b"\xff"])
def test_the_command_refuses_a_password_file_without_showing_it(bwm, tmp_path, content):
    path = tmp_path / "password"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused = bwm("server", "grant", "reader", "ann", "--apply", "--password-file", str(path))
    assert refused.exit_code == 1
    assert "password" in refused.stderr
    assert "two" not in refused.stderr


@pytest.mark.parametrize(
    ("missing", "what"),
    [
        (
            {("bwm_atlas", "region")},
            "tables are missing (bwm_atlas.region), and user 'ann' may not",
        ),
        (set(), "the brain regions are missing, and user 'ann' may not insert them"),
    ],
)
def test_a_user_who_may_not_create_tables_is_told_which_are_missing(missing, what):
    assert what in str(activation._missing_tables_error("ann", missing, "bwm"))
