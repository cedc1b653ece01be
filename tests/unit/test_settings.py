"""Settings: where they come from, which are refused, and what is never shown."""

import json
import os
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

import schemas
from schemas import settings
from schemas.database import server_account
from schemas.errors import ServerError, SettingsError
from schemas.sources import registry

EXAMPLE = Path(__file__).parents[2] / "dj_local_conf.json.example"


def write(folder, values):
    path = folder / settings.FILE_NAME
    path.write_text(values if isinstance(values, str) else json.dumps(values))
    return path


def load(folder, environment=None):
    return settings.load(folder, environment or {})


def refused(folder, environment=None):
    with pytest.raises(SettingsError) as error:
        load(folder, environment)
    return str(error.value)


# --- where they come from -----------------------------------------------------------------------


OTHERS = {
    "file of another account": lambda place: os.chown(place / settings.FILE_NAME, 12345, 12345),
    "folder of another account": lambda place: os.chown(place, 12345, 12345),
    "file that all may write": lambda place: (place / settings.FILE_NAME).chmod(0o666),
    "folder that all may write": lambda place: place.chmod(0o777),
    "file that a group may write": lambda place: _of_group(place / settings.FILE_NAME, 0o664),
}


def _of_group(path, mode):
    os.chown(path, os.geteuid(), 12345)
    path.chmod(mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("case", OTHERS)
def test_settings_above_that_others_could_have_written_are_not_read(tmp_path, case):
    write(tmp_path, {"bwm.prefix": "outer"})
    place, inner = tmp_path / "shared", tmp_path / "shared" / "inner"
    inner.mkdir(parents=True)
    write(place, {"bwm.prefix": "theirs", "bwm.modules": ["theirs"]})
    assert load(inner).prefix == "theirs"
    OTHERS[case](place)
    with pytest.warns(UserWarning, match="is not read: .*(belongs to another|may write)"):
        assert load(inner).prefix == "outer"
    # In the folder itself, the settings are read, but no code is taken from them.
    with pytest.warns(UserWarning, match=r"bwm\.modules of .* is not used"):
        found = load(place)
    assert (found.prefix, found.modules) == ("theirs", ())


def test_settings_in_a_folder_that_keeps_what_others_own_are_read(tmp_path):
    place, inner = tmp_path / "like tmp", tmp_path / "like tmp" / "inner"
    inner.mkdir(parents=True)
    write(place, {"bwm.prefix": "own"})
    place.chmod(0o1777)
    assert load(inner).prefix == "own"


def test_defaults_are_the_embedded_server_below_home(tmp_path):
    found = load(tmp_path)
    home = Path("~/.bwm").expanduser().resolve()
    assert found.embedded
    assert found.server_backend == "postgresql"
    assert (found.home, found.prefix) == (home, "bwm")
    assert found.store.spec() == {"protocol": "file", "location": str(home / "store")}


def test_the_file_overrules_defaults_and_the_environment_overrules_the_file(tmp_path):
    write(
        tmp_path,
        {"database.host": "file.example", "database.user": "file", "bwm.prefix": "file"},
    )
    found = load(tmp_path, {"DJ_USER": "variable", "BWM_PREFIX": "variable"})
    assert (found.host, found.user, found.prefix) == ("file.example", "variable", "variable")
    assert load(tmp_path).user == "file"
    assert load(tmp_path).port is None


EVERY = {
    "DJ_HOST": ("db.example", "host", "db.example"),
    "DJ_PORT": ("3307", "port", 3307),
    "DJ_USER": ("alice", "user", "alice"),
    "DJ_BACKEND": ("postgresql", "backend", "postgresql"),
    "DJ_USE_TLS": ("true", "use_tls", True),
    "DJ_TLS_CA": ("/somewhere/ca.pem", "tls_ca", Path("/somewhere/ca.pem")),
    "BWM_HOME": ("/somewhere", "home", Path("/somewhere")),
    "BWM_PREFIX": ("mine", "prefix", "mine"),
    "BWM_DEMO_SERVER": ("configured", "demo_server", "configured"),
    "BWM_MODULES": ("my_tables, lab.pupil", "modules", ("my_tables", "lab.pupil")),
}


@pytest.mark.parametrize("variable", EVERY)
def test_each_variable_sets_what_its_key_in_the_file_sets(tmp_path, variable):
    text, name, value = EVERY[variable]
    host = {"database.host": "db.example"}
    by_variable = load(tmp_path, {"DJ_HOST": "db.example", variable: text})
    write(tmp_path, {**host, settings.ENVIRONMENT[variable]: text})
    assert getattr(load(tmp_path), name) == getattr(by_variable, name) == value


def test_every_variable_is_tried_and_sets_a_field():
    of_groups = {*OF_ALYX, *OF_WORKER}
    assert {*EVERY, "DJ_PASS", "BWM_STORE", *of_groups} == set(settings.ENVIRONMENT)
    aliases = {field.alias for field in settings.Settings.model_fields.values()} - {None}
    of_alyx = {f"alyx.{name}" for name in settings.AlyxSettings.model_fields}
    of_worker = {f"bwm.{name}" for name in settings.WorkerSettings.model_fields}
    assert set(settings.ENVIRONMENT.values()) == aliases | of_alyx | of_worker


OF_WORKER = {
    "BWM_MEMORY": ("8GB", 8_000_000_000),
    "BWM_STALE_AFTER": ("60", 60.0),
    "BWM_DEATHS_ALLOWED": ("5", 5),
    "BWM_WATCH_EVERY": ("2.5", 2.5),
}


@pytest.mark.parametrize("variable", OF_WORKER)
def test_each_variable_of_workers_sets_what_its_key_sets(tmp_path, variable):
    text, value = OF_WORKER[variable]
    key = settings.ENVIRONMENT[variable]
    by_variable = load(tmp_path, {variable: text}).worker
    write(tmp_path, {key: text})
    assert load(tmp_path).worker == by_variable
    assert getattr(by_variable, key[len("bwm.") :]) == value


def test_what_is_wrong_with_workers_is_said_by_the_name_of_its_key(tmp_path):
    for text in ("much", "10MB"):
        with pytest.raises(SettingsError, match=r"^BWM_MEMORY: bwm.memory is not usable"):
            load(tmp_path, {"BWM_MEMORY": text})
        with pytest.raises(SettingsError, match=r"^--memory: memory is not usable"):
            load(tmp_path).with_memory(text)
    assert load(tmp_path).with_memory("3GB").worker.memory == 3_000_000_000


OF_ALYX = {
    "BWM_ALYX_URL": ("https://alyx.example", "https://alyx.example"),
    "BWM_ALYX_USER": ("alice", "alice"),
    "BWM_ALYX_PASSWORD": ("sesame", SecretStr("sesame")),
    "BWM_ALYX_TOKEN": ("sesame", SecretStr("sesame")),
    "BWM_ALYX_DATA_SERVER": ("http://files.example/public", "http://files.example/public"),
    "BWM_ALYX_CACHE": ("/somewhere", Path("/somewhere")),
    "BWM_ALYX_CACHE_LIMIT": ("50GB", 50_000_000_000),
    "BWM_ALYX_REQUESTS_AT_ONCE": ("4", 4),
    "BWM_ALYX_REQUESTS_PER_MINUTE": ("120", 120),
    "BWM_ALYX_PAGE_SIZE": ("250", 250),
}


@pytest.mark.parametrize("variable", OF_ALYX)
def test_each_variable_of_alyx_sets_what_its_key_sets_beside_the_others(tmp_path, variable):
    text, value = OF_ALYX[variable]
    key = settings.ENVIRONMENT[variable]
    write(tmp_path, {"alyx.user": "bob", key: text})
    by_key = load(tmp_path).alyx
    by_variable = load(tmp_path, {variable: text}).alyx
    assert getattr(by_key, key[len("alyx.") :]) == value
    assert by_key == by_variable
    assert by_key.user == ("alice" if variable == "BWM_ALYX_USER" else "bob")


def test_the_cache_of_alyx_is_below_home_and_its_secrets_are_not_shown(tmp_path):
    secret = {"BWM_ALYX_PASSWORD": "sesame", "BWM_ALYX_TOKEN": "sesame"}
    found = load(tmp_path, {"BWM_HOME": str(tmp_path), **secret})
    assert found.alyx.cache == tmp_path.resolve() / "ONE"
    for shown in (repr(found), str(found), found.model_dump_json()):
        assert "sesame" not in shown


def test_empty_variables_count_as_not_set(tmp_path):
    write(tmp_path, {"database.host": "db.example", "bwm.prefix": "mine"})
    found = load(tmp_path, dict.fromkeys(settings.ENVIRONMENT, ""))
    assert (found.host, found.prefix, found.port) == ("db.example", "mine", None)


def test_the_nearest_file_upwards_is_read_alone(tmp_path):
    inner = tmp_path / "a" / "b" / "c"
    inner.mkdir(parents=True)
    outer = write(tmp_path, {"bwm.prefix": "outer", "database.user": "outer"})
    assert settings.find_file(inner) == outer
    assert load(inner).prefix == "outer"
    nearer = write(tmp_path / "a", {"bwm.prefix": "nearer"})
    assert settings.find_file(inner) == nearer
    assert (load(inner).prefix, load(inner).user) == ("nearer", None)
    assert load(tmp_path).prefix == "outer"
    (tmp_path / "a" / "b" / settings.FILE_NAME).mkdir()  # a folder of that name is no file
    assert settings.find_file(inner) == nearer


def test_a_folder_that_may_not_be_read_is_refused_by_name(tmp_path, monkeypatch):
    def refuse(path, **_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)
    said = refused(tmp_path)
    assert said == (
        f"{tmp_path / settings.FILE_NAME}: cannot be looked for (Permission denied). "
        "Work in a folder that you may read."
    )


def test_the_working_directory_and_the_environment_are_the_default(tmp_path, monkeypatch):
    write(tmp_path, {"bwm.prefix": "here", "database.user": "file"})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJ_USER", "variable")
    found = settings.load()
    assert (found.prefix, found.user) == ("here", "variable")


def test_the_example_names_every_key_and_is_accepted(tmp_path):
    text = EXAMPLE.read_text()
    write(tmp_path, text)
    assert list(json.loads(text)) == list(settings.ENVIRONMENT.values())
    found = load(tmp_path)
    assert (found.host, found.port, found.backend) == ("db.example.org", 3306, "mysql")
    assert found.store.location == "/data/bwm/store"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("my_tables", ("my_tables",)),
        (" my_tables , lab.pupil,", ("my_tables", "lab.pupil")),
        ('["my_tables", "lab/pupil.py"]', ("my_tables", "lab/pupil.py")),
        (["a, b.py", "c"], ("a, b.py", "c")),
        ([], ()),
        (",", ()),
    ],
)
def test_modules_are_a_list_or_a_text(tmp_path, given, expected):
    write(tmp_path, {"bwm.modules": given})
    assert load(tmp_path).modules == expected
    if isinstance(given, str):
        assert load(tmp_path.parent, {"BWM_MODULES": given}).modules == expected


@pytest.mark.parametrize("given", ['["my_tables"', "[1]", "{}"])
def test_modules_that_are_no_list_of_names_are_refused(tmp_path, given):
    write(tmp_path, '{"bwm.modules": %s}' % (json.dumps(given) if given != "{}" else given))
    assert "bwm.modules" in refused(tmp_path)


def test_modules_of_the_command_come_after_those_of_the_setting_each_once():
    found = load(Path("/"), {"BWM_MODULES": "a,b"})
    assert found.with_modules(["c", "a"]).modules == ("a", "b", "c")
    assert found.with_modules([]) == found


# --- folders ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [("~/my mice", "{home}/my mice"), ("/a b/c", "/a b/c"), ("~", "{home}"), ("x/../y", "{cwd}/y")],
)
def test_folders_may_have_a_tilde_and_spaces(tmp_path, monkeypatch, given, expected):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    expected = Path(expected.format(home=tmp_path / "home", cwd=tmp_path))
    assert load(tmp_path, {"BWM_HOME": given}).home == expected
    assert load(tmp_path, {"BWM_HOME": given}).store.location == str(expected / "store")
    assert load(tmp_path, {"BWM_STORE": given}).store.location == str(expected)


def test_a_store_is_a_folder_or_a_table_of_keys(tmp_path):
    write(tmp_path, {"bwm.store": "/data/store"})
    assert load(tmp_path).store.spec() == {"protocol": "file", "location": "/data/store"}
    write(tmp_path, {"bwm.store": {"location": "/data/store"}})
    assert load(tmp_path).store.spec() == {"protocol": "file", "location": "/data/store"}
    assert load(tmp_path, {"BWM_STORE": "/other"}).store.location == "/other"


def test_a_bucket_is_handed_on_as_it_is_given(tmp_path):
    bucket = {
        "protocol": "s3",
        "endpoint": "s3.example.org",
        "bucket": "mice",
        "location": "bwm",
        "access_key": "open",
        "secret_key": "sesame",
        "secure": True,
    }
    write(tmp_path, {"bwm.store": bucket})
    found = load(tmp_path)
    assert found.store.spec() == bucket
    for shown in (repr(found), str(found), found.model_dump_json()):
        assert "sesame" not in shown


def test_a_bucket_may_be_said_by_variables_alone(tmp_path):
    bucket = {"protocol": "s3", "endpoint": "s3.example.org", "bucket": "mice", "secure": True}
    keys = {"BWM_STORE_ACCESS_KEY": "open", "BWM_STORE_SECRET_KEY": "sesame"}
    found = load(tmp_path, {"BWM_STORE": json.dumps(bucket), **keys})
    write(tmp_path, {"bwm.store": {**bucket, "access_key": "open", "secret_key": "sesame"}})
    assert found.store == load(tmp_path).store
    assert found.store.spec()["secret_key"] == "sesame"


def test_keys_of_variables_overrule_those_of_a_bucket_in_the_file(tmp_path):
    bucket = {"protocol": "s3", "endpoint": "s3.example.org", "bucket": "mice"}
    write(tmp_path, {"bwm.store": {**bucket, "access_key": "old", "secret_key": "older"}})
    found = load(tmp_path, {"BWM_STORE_SECRET_KEY": "new"}).store.spec()
    assert (found["access_key"], found["secret_key"]) == ("old", "new")


@pytest.mark.parametrize("key", ["BWM_STORE_ACCESS_KEY", "BWM_STORE_SECRET_KEY"])
def test_a_folder_has_no_keys(tmp_path, key):
    where = f"{key}: bwm.store is a folder, which has no keys. Unset it, or "
    assert refused(tmp_path, {key: "sesame"}).startswith(where)
    assert refused(tmp_path, {"BWM_STORE": "/data", key: "sesame"}).startswith(where)
    assert refused(tmp_path, {"BWM_STORE": '{"location": "/a"}', key: "x"}).startswith(where)


def test_a_store_that_is_not_json_is_refused(tmp_path):
    said = refused(tmp_path, {"BWM_STORE": '{"protocol": s3, "secret_key": "sesame"}'})
    assert said.startswith("BWM_STORE: it cannot be read as JSON (")
    assert "sesame" not in said


@pytest.mark.parametrize(
    ("store", "says"),
    [
        ({"protocol": "s3"}, "a bucket needs endpoint and bucket"),
        ({"protocol": "s3", "endpoint": "a", "location": "b"}, "a bucket needs endpoint and"),
        ({"protocol": "s3", "endpoint": "a", "bucket": "b", "access_key": "c"}, "both, or neither"),
        ({"protocol": "s3", "endpoint": "a", "bucket": "b", "secret_key": "c"}, "both, or neither"),
        ({"location": "/a", "bucket": "b"}, "a folder has no bucket: set protocol to s3"),
        ({"secure": False, "secret_key": "c"}, "a folder has no secret_key, secure: set protocol"),
    ],
)
def test_a_store_that_contradicts_itself_is_refused(tmp_path, store, says):
    said = refused(tmp_path, {"BWM_STORE": json.dumps(store)})
    assert said.startswith("BWM_STORE: bwm.store is not usable: ")
    assert says in said


# --- secrets in files ---------------------------------------------------------------------------

BUCKET = {"protocol": "s3", "endpoint": "s3.example.org", "bucket": "mice"}


def secret_of(found, name):
    return {
        "DJ_PASS": found.password,
        "BWM_ALYX_PASSWORD": found.alyx.password,
        "BWM_ALYX_TOKEN": found.alyx.token,
        "BWM_STORE_ACCESS_KEY": found.store.access_key,
        "BWM_STORE_SECRET_KEY": found.store.secret_key,
    }[name]


@pytest.mark.parametrize("name", settings.SECRETS)
def test_every_secret_may_be_in_a_file(tmp_path, name):
    write(tmp_path, {"bwm.store": {**BUCKET, "access_key": "file", "secret_key": "file"}})
    (tmp_path / "secret").write_text(" open sesame\n")
    found = load(tmp_path, {f"{name}_FILE": str(tmp_path / "secret"), name: ""})
    assert secret_of(found, name) == SecretStr(" open sesame")
    others = [secret_of(found, other) for other in settings.SECRETS if other != name]
    assert SecretStr(" open sesame") not in others
    assert "sesame" not in repr(found)


@pytest.mark.parametrize("name", settings.SECRETS)
def test_a_secret_and_its_file_are_refused_together(tmp_path, name):
    (tmp_path / "secret").write_text("sesame")
    said = refused(tmp_path, {name: "sesame", f"{name}_FILE": str(tmp_path / "secret")})
    assert said == f"{name}, {name}_FILE: both are set. Unset one of them."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read (No such file or directory)."),
        (b"", "must hold one line, the secret."),
        (b"\n", "must hold one line, the secret."),
        (b"open\nsesame\n", "must hold one line, the secret."),
        (b"sesame\xff", "cannot be read (it is not text)."),
    ],
)
def test_a_file_without_a_secret_is_refused_by_its_variable(tmp_path, content, says):
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    said = refused(tmp_path, {"DJ_PASS_FILE": str(path)})
    assert said == f"DJ_PASS_FILE: {path} {says}"


def test_a_file_is_named_from_the_home_folder_and_only_for_a_secret(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("sesame\r\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    found = load(tmp_path, {"DJ_PASS_FILE": "~/secret"})
    assert found.password.get_secret_value() == "sesame"
    assert "unknown setting 'BWM_PREFIX_FILE'" in refused(tmp_path, {"BWM_PREFIX_FILE": "x"})


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("database.hots", "Did you mean 'database.host'?"),
        ("bwm.store_", "Did you mean 'bwm.store'?"),
        ("DJ_HOST", "Known are alyx.cache, alyx.cache_limit, alyx.data_server, "),
        ("alyx.usr", "Did you mean 'alyx.user'?"),
        ("quite.different", "Known are alyx.cache, "),
    ],
)
def test_an_unknown_key_is_refused_with_what_was_meant(tmp_path, key, hint):
    path = write(tmp_path, {key: "x"})
    assert refused(tmp_path).startswith(f"{path}: unknown setting {key!r}. {hint}")


def test_an_unknown_variable_is_refused_and_those_of_others_are_not(tmp_path):
    expected = "the environment: unknown setting 'BWM_PREFIKS'. Did you mean 'BWM_PREFIX'?"
    assert refused(tmp_path, {"BWM_PREFIKS": "x"}) == expected
    load(tmp_path, {"BWM_TEST_MYSQL": "x", "DJ_IGNORE_CONFIG_FILE": "true", "PATH": "/bin"})


INVALID = [
    ("DJ_PORT", "many"),
    ("DJ_PORT", "0"),
    ("DJ_PORT", "65536"),
    ("DJ_PORT", "-1"),
    ("DJ_BACKEND", "sqlite"),
    ("DJ_BACKEND", "mysql"),  # which needs a host
    ("DJ_USE_TLS", "perhaps"),
    ("BWM_PREFIX", "Bwm"),
    ("BWM_PREFIX", "1bwm"),
    ("BWM_PREFIX", "b-w-m"),
    ("BWM_PREFIX", "b" * 17),
    ("BWM_PREFIX", "bwm`; DROP"),
    ("BWM_PREFIX", "bwm\n"),
    ("BWM_DEMO_SERVER", "mine"),
    ("BWM_ALYX_URL", "alyx.example"),
    ("BWM_ALYX_DATA_SERVER", "ftp://files.example"),
    ("BWM_ALYX_CACHE_LIMIT", "five apples"),
    ("BWM_ALYX_CACHE_LIMIT", "0"),
    ("BWM_ALYX_REQUESTS_AT_ONCE", "0"),
    ("BWM_ALYX_REQUESTS_PER_MINUTE", "-1"),
    ("BWM_ALYX_PAGE_SIZE", "1001"),
]


@pytest.mark.parametrize(("variable", "value"), INVALID)
def test_an_unusable_value_is_refused_with_its_key_and_variable_or_file(tmp_path, variable, value):
    key = settings.ENVIRONMENT[variable]
    by_variable = refused(tmp_path, {variable: value})
    assert by_variable.startswith(f"{variable}: ")
    assert key in by_variable
    path = write(tmp_path, {key: value})
    by_file = refused(tmp_path)
    assert by_file.startswith(f"{path}: ")
    assert key in by_file


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"database.host": ""}, "database.host"),
        ({"database.host": 5}, "database.host"),
        ({"database.port": 3306.5}, "database.port"),
        ({"database.password": 12345}, "database.password"),
        ({"bwm.home": None}, "bwm.home"),
        ({"bwm.prefix": None}, "bwm.prefix"),
        ({"bwm.store": None}, "bwm.store"),
        ({"bwm.store": ["/data"]}, "bwm.store"),
        ({"bwm.store": {"protocol": "ftp"}}, "bwm.store.protocol"),
        ({"bwm.store": {"folder": "/data"}}, "bwm.store.folder"),
        ({"bwm.store": {"secure": "perhaps"}}, "bwm.store.secure"),
    ],
)
def test_an_unusable_value_of_the_file_is_refused_with_its_key(tmp_path, values, key):
    path = write(tmp_path, values)
    assert refused(tmp_path).startswith(f"{path}: {key} is not usable: ")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        ('{"bwm.prefix": "a",}', "cannot be read as JSON"),
        ("[]", "must hold one JSON object."),
        ('"bwm"', "must hold one JSON object."),
    ],
)
def test_a_file_that_is_not_one_object_is_refused(tmp_path, text, says):
    path = write(tmp_path, text)
    assert refused(tmp_path).startswith(f"{path}: {says}")


DEEP = '{"a": ' * 100_000


def test_json_of_too_many_levels_is_refused_by_name(tmp_path):
    for variable, value in (("BWM_STORE", DEEP), ("BWM_MODULES", "[" * 100_000)):
        with pytest.raises(SettingsError, match=variable):
            settings.load(tmp_path, {variable: value})
    (tmp_path / settings.FILE_NAME).write_text(DEEP)
    with pytest.raises(SettingsError, match="cannot be read as JSON"):
        settings.load(tmp_path, {})


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / settings.FILE_NAME).write_bytes(b"\xff\xfe{")
    assert "cannot be read as JSON" in refused(tmp_path)


@pytest.mark.parametrize("prefix", ["b", "bwm", "b2_", "a" * 16])
def test_prefixes_that_every_server_takes(tmp_path, prefix):
    assert load(tmp_path, {"BWM_PREFIX": prefix}).prefix == prefix


# --- what is never shown ------------------------------------------------------------------------


def test_a_password_is_never_shown(tmp_path):
    login = {"DJ_HOST": "db.example", "DJ_USER": "alice", "DJ_PASS": "sesame"}
    found = load(tmp_path, login)
    assert found.password.get_secret_value() == "sesame"
    for shown in (repr(found), str(found), f"{found.model_dump()}", found.model_dump_json()):
        assert "alice" in shown
        assert "sesame" not in shown


@pytest.mark.parametrize(("variable", "value"), [*INVALID, ("BWM_PREFIKS", "x")])
def test_no_error_shows_the_password(tmp_path, variable, value):
    write(tmp_path, {"database.password": "sesame"})
    with pytest.raises(SettingsError) as error:
        load(tmp_path, {variable: value})
    assert "sesame" not in "".join(traceback.format_exception(error.value))


def test_an_unusable_password_is_not_shown_either(tmp_path):
    write(tmp_path, {"database.password": ["sesame"]})
    message = refused(tmp_path)
    assert "database.password" in message
    assert "sesame" not in message


# --- what follows from them ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "embedded", "backend", "port"),
    [
        ({}, True, "postgresql", 5432),
        ({"DJ_BACKEND": "postgresql"}, True, "postgresql", 5432),
        ({"DJ_HOST": "db"}, False, "mysql", 3306),
        ({"DJ_HOST": "db", "DJ_BACKEND": "mysql"}, False, "mysql", 3306),
        ({"DJ_HOST": "db", "DJ_BACKEND": "postgresql"}, False, "postgresql", 5432),
        ({"DJ_HOST": "db", "DJ_PORT": "9"}, False, "mysql", 9),
    ],
)
def test_the_server_that_follows(tmp_path, environment, embedded, backend, port):
    found = load(tmp_path, environment)
    assert (found.embedded, found.server_backend, found.server_port) == (embedded, backend, port)


def test_settings_are_not_changed_afterwards(tmp_path):
    found = load(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        found.prefix = "other"
    assert found == load(tmp_path)


def test_the_demo_has_the_embedded_server_and_schemas_of_its_own(tmp_path):
    environment = {
        "DJ_HOST": "db.example",
        "DJ_PORT": "3307",
        "DJ_USER": "alice",
        "DJ_PASS": "sesame",
        "DJ_BACKEND": "mysql",
        "DJ_USE_TLS": "true",
        "BWM_HOME": str(tmp_path / "home"),
        "BWM_STORE": str(tmp_path / "store"),
        "BWM_PREFIX": "mine",
    }
    mine = load(tmp_path, environment)
    demo = mine.for_demo()
    assert demo.embedded
    assert demo.prefix == settings.DEMO == f"demo_{schemas.__version__.replace('.', '_')}"
    assert {demo.port, demo.user, demo.password, demo.backend, demo.use_tls} == {None}
    assert (demo.home, demo.store) == (mine.home, mine.store)
    assert (demo.command, mine.command) == ("bwm --demo", "bwm")
    assert demo.for_demo() == demo
    assert (mine.host, mine.prefix) == ("db.example", "mine")


def on_the_configured_server(folder, **more):
    return load(folder, {"BWM_DEMO_SERVER": "configured", "BWM_PREFIX": "mine", **more})


def test_the_demo_may_be_on_the_configured_server_beside_ones_own_tables(tmp_path):
    login = {"DJ_HOST": "db.example", "DJ_PORT": "3307", "DJ_USER": "alice", "DJ_PASS": "sesame"}
    mine = on_the_configured_server(tmp_path, **login)
    demo = mine.for_demo()
    assert demo == mine.model_copy(update={"prefix": f"mine_{settings.DEMO}"})
    assert (demo.host, demo.port, demo.user) == ("db.example", 3307, "alice")
    assert demo.for_demo() == demo
    longest = {**login, "BWM_PREFIX": "a" * 16}
    other = on_the_configured_server(tmp_path, **longest).for_demo()
    assert other.prefix == "a" * 16 + f"_{settings.DEMO}"


def test_the_demo_is_embedded_where_no_server_is_configured(tmp_path):
    demo = on_the_configured_server(tmp_path).for_demo()
    assert demo.embedded
    assert demo.prefix == settings.DEMO


# --- what is not ours ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"database.host": None, "database.reconnect": True, "loglevel": "INFO", "safemode": True},
        {"database.host": "lab", "stores": {}, "custom": {}},
        {"display.limit": 12},
    ],
)
def test_a_file_that_datajoint_saved_is_skipped_with_a_note(tmp_path, values):
    write(tmp_path, {"bwm.prefix": "mine"})
    saved = write(made(tmp_path / "above"), values)
    with pytest.warns(UserWarning, match=f"{saved} holds settings that DataJoint saved"):
        found = load(made(tmp_path / "above" / "below"))
    assert found.prefix == "mine"
    assert found.host is None


def made(folder):
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BWM_SERVICE_HOST", "10.0.0.1"),
        ("BWM_SERVICE_PORT_HTTP", "80"),
        ("BWM_DB_SERVICE_PORT", "3306"),
        ("BWM_PORT", "tcp://10.0.0.1:80"),
        ("BWM_DB_PORT", "tcp://10.0.0.1:3306"),
        ("BWM_DB_PORT_3306_TCP_ADDR", "10.0.0.1"),
        ("BWM_PORT_53_UDP", "udp://10.0.0.1:53"),
    ],
)
def test_variables_that_service_managers_set_are_ignored(tmp_path, name, value):
    assert load(tmp_path, {name: value}) == load(tmp_path)


@pytest.mark.parametrize("name", ["BWM_PORT", "BWM_SERVICE", "BWM_PORT_NAME"])
def test_variables_that_look_like_theirs_are_still_refused(tmp_path, name):
    assert name in refused(tmp_path, {name: "3306"})


def test_an_account_without_a_home_folder_is_told_what_to_set(tmp_path, monkeypatch):
    def no_home(_path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert "no home folder; set BWM_HOME" in refused(tmp_path)


# --- accounts without a home folder or a name -----------------------------------------------------


@pytest.fixture
def homeless(monkeypatch):
    """An account as `docker run --user 12345` gives it."""
    monkeypatch.delenv("HOME", raising=False)

    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)


def test_settings_that_need_no_home_folder_are_read_without_one(homeless, tmp_path):
    assert load(tmp_path, {"BWM_HOME": str(tmp_path / "own")}).home == tmp_path / "own"


@pytest.mark.parametrize(
    "use",
    [
        lambda: settings.expand("~/data"),
        lambda: load(Path("/"), {"BWM_HOME": "/own", "DJ_PASS_FILE": "~/secret"}),
        lambda: registry.open_source("~/Downloads/ONE", "/own"),
        lambda: registry.open_source("https://alyx.example.org", "/own"),
    ],
)
def test_what_needs_a_home_folder_says_what_to_set(homeless, use):
    with pytest.raises(SettingsError, match=r"^HOME: ~.* has no home folder\. Set HOME"):
        use()


def test_the_embedded_server_says_that_its_account_needs_a_name(homeless, tmp_path):
    account = server_account.Account(12345, 12345)
    with pytest.raises(ServerError, match=r"without a name \(uid 12345\).*passwd, or set DJ_HOST"):
        server_account.require_name(account, tmp_path)
