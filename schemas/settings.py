"""Typed settings with one reader: defaults, then `dj_local_conf.json`, then the environment.

DataJoint 2 no longer reads `dj_local_conf.json`, so it is read here: the nearest one from the
working directory upwards. Unknown keys are refused by name; a password is never shown.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import stat
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ByteSize,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from schemas import __version__
from schemas.errors import SettingsError

FILE_NAME = "dj_local_conf.json"

ENVIRONMENT = {
    "DJ_HOST": "database.host",
    "DJ_PORT": "database.port",
    "DJ_USER": "database.user",
    "DJ_PASS": "database.password",
    "DJ_BACKEND": "database.backend",
    "DJ_USE_TLS": "database.use_tls",
    "DJ_TLS_CA": "database.tls_ca",
    "BWM_HOME": "bwm.home",
    "BWM_PREFIX": "bwm.prefix",
    "BWM_STORE": "bwm.store",
    "BWM_DEMO_SERVER": "bwm.demo_server",
    "BWM_MODULES": "bwm.modules",
    "BWM_MEMORY": "bwm.memory",
    "BWM_STALE_AFTER": "bwm.stale_after",
    "BWM_DEATHS_ALLOWED": "bwm.deaths_allowed",
    "BWM_WATCH_EVERY": "bwm.watch_every",
    "BWM_ALYX_URL": "alyx.url",
    "BWM_ALYX_USER": "alyx.user",
    "BWM_ALYX_PASSWORD": "alyx.password",
    "BWM_ALYX_TOKEN": "alyx.token",
    "BWM_ALYX_DATA_SERVER": "alyx.data_server",
    "BWM_ALYX_CACHE": "alyx.cache",
    "BWM_ALYX_CACHE_LIMIT": "alyx.cache_limit",
    "BWM_ALYX_REQUESTS_AT_ONCE": "alyx.requests_at_once",
    "BWM_ALYX_REQUESTS_PER_MINUTE": "alyx.requests_per_minute",
    "BWM_ALYX_PAGE_SIZE": "alyx.page_size",
}
"""Environment variables and the keys of the file that they overrule."""

OF_DATAJOINT = frozenset(
    (
        "connection.charset",
        "connection.init_function",
        "custom",
        "database.reconnect",
        "display.limit",
        "display.show_tuple_count",
        "display.width",
        "enable_python_native_blobs",
        "add_hidden_timestamp",
        "fetch_format",
        "filepath_checksum_size_limit",
        "loglevel",
        "query_cache",
        "safemode",
        "stores",
    )
)
"""Keys of a `dj_local_conf.json` that DataJoint itself saved; none of them is ours."""

OWN_KEYS = ("bwm.", "alyx.")
"""Beginnings of keys that only our files have."""

SERVICE_LINK = re.compile(
    r"BWM_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes and Docker set for services whose names begin with `bwm`."""

STORE_KEYS = {"BWM_STORE_ACCESS_KEY": "access_key", "BWM_STORE_SECRET_KEY": "secret_key"}
"""Environment variables that go into `bwm.store`, when it is a bucket."""

SECRETS = ("DJ_PASS", "BWM_ALYX_PASSWORD", "BWM_ALYX_TOKEN", *STORE_KEYS)
"""Variables that a file may hold instead: `DJ_PASS_FILE` names it for `DJ_PASS`."""

DEMO = "demo_" + __version__.replace(".", "_")
"""Prefix of the schemas of the demo, or its end on a configured server."""

DEFAULT_PORT = {"mysql": 3306, "postgresql": 5432}


class StoreSettings(BaseModel):
    """Where bulk arrays are kept: a folder, or a bucket of an S3-compatible store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["file", "s3"] = "file"
    location: str = ""
    endpoint: str | None = None
    bucket: str | None = None
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    secure: bool | None = None

    @model_validator(mode="after")
    def _complete(self) -> StoreSettings:
        of_bucket = ("endpoint", "bucket", "access_key", "secret_key", "secure")
        given = {name for name in of_bucket if getattr(self, name) is not None}
        if self.protocol == "file" and given:
            raise ValueError(f"a folder has no {', '.join(sorted(given))}: set protocol to s3")
        if self.protocol == "s3" and not {"endpoint", "bucket"} <= given:
            raise ValueError("a bucket needs endpoint and bucket")
        if ("access_key" in given) != ("secret_key" in given):
            raise ValueError("access_key and secret_key are needed both, or neither")
        return self

    def spec(self) -> dict[str, Any]:
        """Return the store as DataJoint's configuration wants it, secrets in clear."""
        given = self.model_dump(exclude_none=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in given.items()
        }


class AlyxSettings(BaseModel):
    """How a metadata server (Alyx) is asked, and where its files are kept.

    `user`, `password` and `token` log in at `url`. Files come from `data_server` (default: the
    one that the server's replies name) into `cache`, a folder of ONE with cache tables. All
    processes of this machine that share `cache` share its limits: `requests_at_once` in flight,
    `requests_per_minute` to the REST interface.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+")
    user: str | None = None
    password: SecretStr | None = None
    token: SecretStr | None = None
    data_server: str | None = Field(default=None, pattern=r"^https?://[^\s/]+")
    cache: Path | None = None
    cache_limit: ByteSize | None = Field(default=None, gt=0)
    requests_at_once: int = Field(default=2, ge=1, le=16)
    requests_per_minute: int = Field(default=60, ge=1)
    page_size: int = Field(default=1000, ge=1, le=1000)


class WorkerSettings(BaseModel):
    """How workers share the work.

    A job is held by a worker that is heard from; one that is silent for `stale_after` seconds
    loses it to another. A job whose workers died `deaths_allowed` times fails. A worker may hold
    `memory` bytes of data (default: its share of nine tenths of the machine's). With nothing to
    do, work is looked for every `watch_every` seconds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: ByteSize | None = Field(default=None, ge=100_000_000)
    stale_after: float = Field(default=300.0, ge=1)
    deaths_allowed: int = Field(default=3, ge=1)
    watch_every: float = Field(default=10.0, ge=0.1)


class Settings(BaseModel):
    """Everything that can be configured.

    Field aliases are the keys of `dj_local_conf.json`. Without a host the embedded PostgreSQL
    below `home` is used, with one the backend is MySQL unless it is said. The connection is
    encrypted if the server can; with `use_tls` it must be, and with False it is not. `tls_ca`, the
    file of a certificate authority, has it encrypted and the server's certificate and name
    verified. The demo keeps to the embedded server even then, unless `demo_server` is
    `'configured'`: for a demo that several people share, or a machine that runs no server of its
    own. `modules` are those with tables of one's own, as `populate.catalog.use` takes them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str | None = Field(None, alias="database.host", min_length=1)
    port: int | None = Field(None, alias="database.port", gt=0, lt=65536)
    user: str | None = Field(None, alias="database.user")
    password: SecretStr | None = Field(None, alias="database.password")
    backend: Literal["mysql", "postgresql"] | None = Field(None, alias="database.backend")
    use_tls: bool | None = Field(None, alias="database.use_tls")
    tls_ca: Path | None = Field(None, alias="database.tls_ca")
    home: Path = Field(Path("~/.bwm"), alias="bwm.home", validate_default=True)
    prefix: str = Field("bwm", alias="bwm.prefix", pattern=r"^[a-z][a-z0-9_]{0,15}$")
    store: StoreSettings = Field(StoreSettings(), alias="bwm.store")
    demo_server: Literal["embedded", "configured"] = Field("embedded", alias="bwm.demo_server")
    modules: tuple[str, ...] = Field((), alias="bwm.modules")
    alyx: AlyxSettings = AlyxSettings()
    worker: WorkerSettings = WorkerSettings()

    @model_validator(mode="before")
    @classmethod
    def _keys_of_a_group_belong_together(cls, values: dict[str, Any]) -> dict[str, Any]:
        groups = {
            "alyx": {f"alyx.{name}": name for name in AlyxSettings.model_fields},
            "worker": {f"bwm.{name}": name for name in WorkerSettings.model_fields},
        }
        for group, keys in groups.items():
            given = {keys[key]: value for key, value in values.items() if key in keys}
            if given:
                values = {key: value for key, value in values.items() if key not in keys}
                values[group] = given
        return values

    @model_validator(mode="before")
    @classmethod
    def _folder_is_a_file_store(cls, values: dict[str, Any]) -> dict[str, Any]:
        store = values.get("bwm.store")
        if isinstance(store, str):
            values = {**values, "bwm.store": {"protocol": "file", "location": store}}
        return values

    @field_validator("modules", mode="before")
    @classmethod
    def _modules_may_be_a_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        if value.lstrip().startswith("["):
            try:
                return json.loads(value)
            except RecursionError:
                raise ValueError("it has too many levels of lists") from None
        return [name.strip() for name in value.split(",") if name.strip()]

    @model_validator(mode="after")
    def _complete(self) -> Settings:
        if self.host is None and self.backend == "mysql":
            raise ValueError("database.backend is mysql, but there is no database.host")
        if self.tls_ca is not None:
            if self.use_tls is False:
                raise ValueError("database.tls_ca is set, but database.use_tls is false")
            object.__setattr__(self, "tls_ca", _absolute(self.tls_ca))
        home = _absolute(self.home)
        object.__setattr__(self, "home", home)
        if self.store.protocol == "file":
            location = _absolute(Path(self.store.location or home / "store"))
            filled = self.store.model_copy(update={"location": str(location)})
            object.__setattr__(self, "store", filled)
        cache = _absolute(self.alyx.cache or home / "ONE")
        object.__setattr__(self, "alyx", self.alyx.model_copy(update={"cache": cache}))
        return self

    def for_demo(self) -> Settings:
        """Return the settings of the demo: the server that it is to have, and schemas of its own.

        They are those of this version, so that an upgrade meets no tables of an older one. On a
        configured server they are beside those of `prefix`, so that each has its own demo.
        """
        if self.demo_server == "configured" and not self.embedded:
            own = self.prefix.removesuffix(f"_{DEMO}")
            return self.model_copy(update={"prefix": f"{own}_{DEMO}"})
        away = dict.fromkeys(("host", "port", "user", "password", "backend", "use_tls", "tls_ca"))
        return self.model_copy(update={**away, "prefix": DEMO})

    @property
    def command(self) -> str:
        """How the command is called for this database: `bwm`, or `bwm --demo`."""
        return "bwm --demo" if self.prefix.endswith(DEMO) else "bwm"

    def with_cache_limit(self, text: str) -> Settings:
        """Return the settings with another limit of the cache, e.g. `'50GB'`."""
        try:
            limit = TypeAdapter(ByteSize).validate_python(text)
        except ValidationError as error:
            raise _explained(error, {}, "--cache-limit") from None
        alyx = self.alyx.model_copy(update={"cache_limit": limit})
        return self.model_copy(update={"alyx": alyx})

    def with_memory(self, text: str) -> Settings:
        """Return the settings with another budget of a worker, e.g. `'8GB'`."""
        given = {**self.worker.model_dump(), "memory": text}
        try:
            worker = WorkerSettings.model_validate(given)
        except ValidationError as error:
            raise _explained(error, {"memory": "--memory"}) from None
        return self.model_copy(update={"worker": worker})

    def with_modules(self, names: Sequence[str]) -> Settings:
        """Return the settings with more modules, each once."""
        modules = tuple(dict.fromkeys([*self.modules, *names]))
        return self.model_copy(update={"modules": modules})

    @property
    def embedded(self) -> bool:
        """Whether the embedded server is used."""
        return self.host is None

    @property
    def server_backend(self) -> str:
        """Backend in use: `'mysql'` or `'postgresql'`."""
        return "postgresql" if self.embedded else (self.backend or "mysql")

    @property
    def server_port(self) -> int:
        """Port in use on a configured host."""
        return self.port or DEFAULT_PORT[self.server_backend]


def _absolute(path: Path) -> Path:
    """Resolve a path, `~` included."""
    try:
        return path.expanduser().resolve()
    except RuntimeError:
        text = f"{path} cannot be resolved, because this account has no home folder; set BWM_HOME"
        raise ValueError(f"{text} to a folder that this account may write") from None


def expand(path: str | Path) -> Path:
    """Replace `~` in a path.

    Raises
    ------
    SettingsError
        The account has no home folder: neither `HOME` nor an entry among the users.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        what = f"{path} cannot be resolved, because this account has no home folder."
        remedy = "Set HOME to a folder that this account may write, or write the path in full."
        raise SettingsError(what, "HOME", remedy) from None


def find_file(start: Path | None = None) -> Path | None:
    """Find the nearest `dj_local_conf.json` from a folder (default: working directory) upwards.

    A file that DataJoint saved is skipped with a warning: versions before 2 kept their own
    settings under this name. So is a file in a folder above that another account than this one and
    root could have written.

    Raises
    ------
    SettingsError
        A folder on the way may not be looked into.
    """
    start = (start or Path.cwd()).resolve()
    for place in (folder / FILE_NAME for folder in (start, *start.parents)):
        try:
            place.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            reason = f"cannot be looked for ({error.strerror})."
            raise SettingsError(reason, place, "Work in a folder that you may read.") from None
        if not place.is_file() or _is_of_datajoint(place):
            continue
        if place.parent != start and (why := _others_may_write(place)):
            warnings.warn(f"{place} is not read: {why}.", UserWarning, stacklevel=2)
            continue
        return place
    return None


def _others_may_write(path: Path) -> str | None:
    """Say which other account can change a file, or exchange it with one of its folders.

    The group that has the number of the account is that of the account alone. In a folder like
    `/tmp`, which all may write, nobody can exchange what others own.
    """
    if not hasattr(os, "geteuid"):
        return None
    for place in (path, *path.parents):
        known = place.stat()
        if known.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to another account"
        by_all = known.st_mode & stat.S_IWOTH or (
            known.st_mode & stat.S_IWGRP and known.st_gid not in (0, os.geteuid())
        )
        if by_all and not (place.is_dir() and known.st_mode & stat.S_ISVTX):
            return f"other accounts may write {place}"
    return None


def _is_service_link(variable: str, environment: Mapping[str, str]) -> bool:
    """Whether Kubernetes or Docker set a variable for a service; its port is a URL."""
    is_port = variable.endswith("_PORT") and "://" in environment[variable]
    return is_port or SERVICE_LINK.fullmatch(variable) is not None


def _is_of_datajoint(path: Path) -> bool:
    """Whether DataJoint saved a file, with settings that are not ours; warn if so."""
    try:
        keys = set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return False  # reading the file for its values gives the error
    saved = bool(keys & OF_DATAJOINT) and not any(key.startswith(OWN_KEYS) for key in keys)
    if saved:
        text = f"{path} holds settings that DataJoint saved; it is skipped."
        warnings.warn(text, UserWarning, stacklevel=3)
    return saved


def load(start: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Parameters
    ----------
    start : Path, optional
        Folder from which the file is looked for upwards; default the working directory.
    environment : mapping, optional
        Default `os.environ`. Empty variables count as not set. Each of `SECRETS` may be in a file
        that the variable with `_FILE` at its end names.

    Raises
    ------
    SettingsError
        A key or value is not understood; names the file or variable and what is accepted.
    """
    environment = os.environ if environment is None else environment
    path = find_file(start)
    values = _read_file(path) if path else {}
    if path and "bwm.modules" in values and (why := _others_may_write(path)):
        del values["bwm.modules"]  # modules are code that runs
        warnings.warn(f"bwm.modules of {path} is not used: {why}.", UserWarning, stacklevel=2)
    origin = dict.fromkeys(values, str(path))
    known = (*ENVIRONMENT, *STORE_KEYS, *(f"{name}_FILE" for name in SECRETS))
    for variable in environment:
        ours = variable.startswith("BWM_") and not _is_service_link(variable, environment)
        if ours and variable not in known:
            _refuse_unknown(variable, known, "the environment", ("BWM_TEST_",))
    secrets = _read_secrets(environment)
    for variable, key in ENVIRONMENT.items():
        if environment.get(variable):
            values[key], origin[key] = environment[variable], variable
        if variable in secrets:
            values[key], origin[key] = secrets[variable]
    if "BWM_STORE" in origin.values():
        values["bwm.store"] = _parse_store(values["bwm.store"])
    for variable, name in STORE_KEYS.items():
        if variable in secrets:
            secret, where = secrets[variable]
            values["bwm.store"] = _with_key(values.get("bwm.store"), name, secret, where)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise _explained(error, origin) from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"cannot be read as JSON ({error}).", path) from None
    if not isinstance(values, dict):
        raise SettingsError("must hold one JSON object.", path)
    for key in values:
        if key not in ENVIRONMENT.values():
            _refuse_unknown(key, ENVIRONMENT.values(), path)
    return values


def _read_secrets(environment: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Read the secrets that are set, each with the variable that gave it."""
    found = {}
    for name in SECRETS:
        by_file = f"{name}_FILE"
        if environment.get(name) and environment.get(by_file):
            raise SettingsError("both are set.", f"{name}, {by_file}", "Unset one of them.")
        if environment.get(name):
            found[name] = environment[name], name
        elif environment.get(by_file):
            found[name] = _read_secret(expand(environment[by_file]), by_file), by_file
    return found


def _read_secret(path: Path, variable: str) -> str:
    """Read the one line of a file; its content is in no message."""
    try:
        secret = path.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{path} cannot be read ({reason}).", variable) from None
    if not secret or "\n" in secret:
        raise SettingsError(f"{path} must hold one line, the secret.", variable)
    return secret


def _parse_store(text: str) -> str | dict[str, Any]:
    """Read what BWM_STORE says: a folder, or what the file says as a JSON object."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError(
            f"it cannot be read as JSON ({error}).", "BWM_STORE", "Give a folder or an object."
        ) from None


def _with_key(store: Any, name: str, secret: str, variable: str) -> dict[str, Any]:
    """Add a key to a store that is a bucket."""
    if not isinstance(store, dict) or store.get("protocol") != "s3":
        what = "bwm.store is a folder, which has no keys."
        raise SettingsError(what, variable, "Unset it, or set bwm.store to a bucket.")
    return {**store, name: secret}


def _refuse_unknown(name: str, known: Any, where: object, exempt: tuple[str, ...] = ()) -> None:
    if name.startswith(exempt or ("\0",)):
        return
    near = difflib.get_close_matches(name, list(known), 1)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(sorted(known))}."
    raise SettingsError(f"unknown setting {name!r}.", where, hint)


def _explained(
    error: ValidationError, origin: Mapping[str, str], name: str = "settings"
) -> SettingsError:
    first = error.errors(include_input=False, include_url=False)[0]
    inner = ".".join(map(str, first["loc"])).replace("worker.", "bwm.", 1)
    # What contradicts each other has no place of its own, but its message names the keys.
    own = [inner if inner in origin else str(first["loc"][0])] if inner else []
    keys = own or [key for key in origin if key in first["msg"]]
    places = dict.fromkeys(origin.get(key, "settings") for key in keys)
    return SettingsError(
        f"{inner or name} is not usable: {first['msg']}.", ", ".join(places) or "settings"
    )
