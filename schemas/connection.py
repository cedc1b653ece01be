"""Connect to the database: the only file that names databases.

Examples
--------
>>> from schemas import connection, views
>>> connection.connect()
>>> views.units("TH", "ibl_2022")
"""

from __future__ import annotations

import logging
import os
import re
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import datajoint as dj
from datajoint.dependencies import Dependencies

from schemas import MODULES, activation, disk, storage
from schemas import settings as settings_module
from schemas.activation import schema_name
from schemas.database import embedded, locks, restrictions, upstream
from schemas.database.driver_errors import (
    AccessDenied,
    explain_denied_rights,
    is_disk_full,
    is_server_away,
)
from schemas.database.postgres_log import LEAST_ROOM
from schemas.errors import DiskFull, ServerAway, ServerError, SettingsError, StorageError
from schemas.settings import Settings
from schemas.sources import base, registry

_active: Settings | None = None
_has_tables = False


def connect(
    settings: Settings | None = None, *, demo: bool = False, tables: bool = True
) -> dj.Connection:
    """Connect, and create or attach to all schemas.

    With no host configured, the embedded server of `settings.home` is started if it does not
    run. Connecting again with the same settings does nothing.

    Parameters
    ----------
    settings : Settings, optional
        Default: `schemas.settings.load()`.
    demo : bool, optional
        Use the database of `bwm demo` instead of your own.
    tables : bool, optional
        Whether to attach to the tables; `bwm upgrade` does not, and takes tables of any version.

    Returns
    -------
    datajoint.Connection

    Raises
    ------
    ServerError
        The server cannot be started or reached, or refuses the user or what connecting takes.
    StorageError
        The folder of the store cannot be made.
    """
    global _active, _has_tables
    settings = settings or settings_module.load()
    settings = settings.for_demo() if demo else settings
    if _active == settings and dj.conn().is_connected and (_has_tables or not tables):
        return dj.conn()
    disconnect()
    upstream.apply()
    restrictions.warn_of_unknown_names()
    _configure(settings)
    connection = _open(settings)
    try:
        if tables:
            activation.activate(connection, settings.prefix, settings.command)
    except BaseException as error:  # tables that stay attached could not be attached again
        _detach()
        connection.close()
        if full := full_disk(error, settings):
            raise full from error
        if isinstance(error, ServerError) or not isinstance(error, dj.errors.DataJointError):
            raise
        raise ServerError(f"the tables cannot be created ({error}).", settings.prefix) from error
    base.use_opener(lambda location: _open_source(location, settings))
    storage.use_owner(_owner(connection, settings))
    _active, _has_tables = settings, tables
    return connection


def disconnect() -> None:
    """Close the connection and detach all tables, so that another database can be used."""
    global _active
    if _active:
        _detach()
        dj.conn().close()
    base.use_opener(None)
    storage.use_owner(None)
    _active = None


def active() -> Settings:
    """Return the settings of the connection.

    Raises
    ------
    ServerError
        Nothing is connected.
    """
    if _active is None:
        raise ServerError("nothing is connected.", None, CONNECT_FIRST)
    return _active


def open_another() -> dj.Connection:
    """Open a second connection with the same login, for another thread of this process."""
    given = dj.conn().conn_info
    return dj.Connection(
        given["host"], given["user"], given["passwd"], given["port"], given["ssl_input"]
    )


def reconnect() -> None:
    """Make a lost connection again; what was open on it is rolled back.

    Raises
    ------
    ServerError, Exception
        The server cannot be reached: drivers raise errors of their own.
    """
    if _active and _active.embedded:
        found = embedded.start(_active.home)
        dj.conn().conn_info.update(host=found.host, port=found.port)
    with suppress(Exception):
        dj.conn().close()
    dj.conn().connect()
    upstream.forget_transaction(dj.conn())


def _detach() -> None:
    """Make the tables forget their database: DataJoint would refuse to activate another."""
    for module in activation.table_modules():
        module.schema.database = None
        module.schema.connection = None


def drop(prefix: str) -> None:
    """Drop every schema under a prefix from the connected server, with all that is in them."""
    connection = dj.conn()
    mysql = connection.adapter.backend == "mysql"
    if mysql:
        connection.query("SET FOREIGN_KEY_CHECKS = 0")
    for module in reversed(MODULES):
        connection.query(connection.adapter.drop_schema_sql(schema_name(module, prefix)))
    if mysql:
        connection.query("SET FOREIGN_KEY_CHECKS = 1")


def _configure(settings: Settings) -> None:
    """Hand the settings to DataJoint, whose own configuration files are not read."""
    location = settings.store.location
    if settings.store.protocol == "file":
        try:
            with disk.room_for(Path(location)):
                os.makedirs(location, exist_ok=True)  # noqa: PTH103  (expanded already)
        except OSError as error:
            raise StorageError(
                f"the folder of the store cannot be made ({error.strerror}).",
                location,
                "Set bwm.store (or BWM_STORE) to a folder that you can write.",
            ) from None
    dj.config.stores = {"default": storage.STORE, storage.STORE: settings.store.spec()}
    dj.config["database.backend"] = settings.server_backend
    dj.config["database.use_tls"] = settings.use_tls
    dj.config["safemode"] = False
    dj.config.jobs.add_job_metadata = True
    logging.getLogger("datajoint").setLevel(logging.CRITICAL)


def _open(settings: Settings) -> dj.Connection:
    if settings.embedded:
        endpoint = embedded.start(settings.home)
        where, port = endpoint.host, endpoint.port
        user, password = endpoint.user, endpoint.password
    else:
        assert settings.host is not None
        where, port = settings.host, settings.server_port
        user = settings.user or ""
        password = settings.password.get_secret_value() if settings.password else ""
    dj.config["database.port"] = port
    tls = _tls(settings)
    try:
        connection = dj.conn(where, user, password, reset=True, use_tls=tls)
    except Exception as error:  # drivers raise their own kinds, before DataJoint can translate
        raise (full_disk(error, settings) or _explained(error, user, f"{where}:{port}")) from None
    if (
        tls
        and settings.server_backend == "postgresql"
        and not upstream.driver_connection(connection).info.ssl_in_use
    ):
        connection.close()
        raise ServerError(
            "a socket is never encrypted, but database.use_tls is set.",
            where,
            "Set database.host to a name or address, or leave out use_tls and tls_ca.",
        )
    explain_denied_rights(connection.adapter, user)
    return connection


def _tls(settings: Settings) -> bool | dict[str, Any] | None:
    """Say to DataJoint whether to encrypt, and whose certificate to trust."""
    if settings.embedded:
        return False
    if settings.tls_ca is None:
        return settings.use_tls
    try:
        ssl.create_default_context(cafile=str(settings.tls_ca))
    except OSError as error:  # an ssl.SSLError is one
        raise SettingsError(
            f"{settings.tls_ca} holds no certificate that can be read ({error}).",
            "database.tls_ca",
            "Give the file of the certificate authority, as PEM.",
        ) from None
    return {"ca": str(settings.tls_ca), "check_hostname": True, "verify_mode": True}


def _explained(error: Exception, user: str, where: str) -> ServerError:
    text = " ".join(str(part) for part in error.args)
    if "certificate" in text.lower():
        return ServerError(
            f"the server's certificate is not trusted ({text.strip()}).",
            where,
            "Set database.tls_ca (DJ_TLS_CA) to the authority that signed it, and database.host "
            "to a name that it bears.",
        )
    if "SSL" in text and "support" in text:
        return ServerError(
            f"the server has no TLS, but database.use_tls asks for it ({text.strip()}).",
            where,
            "Let the server have a certificate, or set database.use_tls (DJ_USE_TLS) to false.",
        )
    if "clear text" in text or "cleartext password" in text:
        return ServerError(
            "the server asks for the password in clear text, which is sent over TLS only.",
            where,
            "Set database.use_tls (DJ_USE_TLS) to true, or let the server ask in another way.",
        )
    denied = ("Access denied", "password authentication failed", f'role "{user}" does not exist')
    if any(words in text for words in denied):
        return ServerError(
            f"the server refuses user {user!r} with this password.",
            where,
            "Set DJ_USER and DJ_PASS, or database.user and database.password.",
        )
    return ServerAway(
        f"the server cannot be reached ({text.strip()}).",
        where,
        "Check DJ_HOST and DJ_PORT, or unset DJ_HOST to use the embedded server.",
    )


def full_disk(error: BaseException | None, settings: Settings | None = None) -> DiskFull | None:
    """Return the error of a full disk, if an error is one or comes from one; else None.

    Parameters
    ----------
    error : Exception
        Of ours, the system or a driver.
    settings : Settings, optional
        Default: those of the connection.
    """
    settings = settings or _active
    while error is not None:
        if isinstance(error, DiskFull):
            return error
        if isinstance(error, OSError) and disk.is_full(error):
            return disk.full(_written_place(error, settings))
        if is_disk_full(error) or (is_server_away(error) and _lacks_room(settings)):
            return _full_server(error, settings)
        error = error.__cause__ or error.__context__
    return None


def _lacks_room(settings: Settings | None) -> bool:
    """Return whether the disk of the embedded server is so full that it ends."""
    if settings is None or not settings.embedded:
        return False
    return disk.free(embedded.folder(settings.home)) < LEAST_ROOM


def _written_place(error: OSError, settings: Settings | None) -> Path:
    """Return where a write failed: without a name of the file, the fullest place of ours."""
    if error.filename is not None:
        return Path(os.fsdecode(error.filename))
    places = [Path(tempfile.gettempdir())]
    if settings is not None:
        places += [settings.home, settings.alyx.cache or settings.home]
        if settings.store.protocol == "file":
            places.append(Path(settings.store.location))
    return min(places, key=disk.free)


def _full_server(error: BaseException, settings: Settings | None) -> DiskFull:
    """Return the error of a server whose disk is full."""
    if settings is not None and settings.embedded:
        return disk.full(embedded.folder(settings.home), LEAST_ROOM)
    said = " ".join(str(error.args[-1]).split()) if error.args else ""
    where = "the database server" if settings is None else f"{settings.host}:{settings.server_port}"
    return DiskFull(f"the disk of the database server is full ({said}).", where, disk.MAKE_ROOM)


def _owner(connection: dj.Connection, settings: Settings) -> storage.Owner | None:
    """Tell who writes into the store; None where the server does not tell its identity."""
    asked = "SELECT system_identifier FROM pg_control_system()"
    if connection.adapter.backend == "mysql":
        asked = "SELECT @@server_uuid"
    try:
        (identity,) = connection.query(asked).fetchone()
    except AccessDenied:
        return None
    where = settings.home if settings.embedded else f"{settings.host}:{settings.server_port}"
    return storage.Owner(str(identity), str(where), settings.prefix)


def _open_source(location: str, settings: Settings) -> base.Source:
    from schemas import session

    return registry.open_source(location, settings.home, session.fetch_days(), settings.alyx)


# --- tables of one's own ------------------------------------------------------------------------


def schema(name: str) -> dj.Schema:
    """Create or attach to a schema of one's own, for tables over these.

    As `dj.Schema(name)`, with what foreign keys to these tables need on MySQL. The demo has
    schemas of its own: there the name is followed by that of the demo.

    Parameters
    ----------
    name : str
        Name of the database (MySQL) or schema (PostgreSQL), e.g. `'alice'`. Analysts have one
        of their user name.

    Raises
    ------
    ServerError
        Nothing is connected, the name cannot be used, the server refuses to create the schema,
        or it holds tables over another database of this project.
    """
    if _active is None:
        raise ServerError("nothing is connected.", f"schema {name}", CONNECT_FIRST)
    ours = f"{name}_".startswith(f"{_active.prefix}_")
    if ours or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ServerError(
            f"a schema of your own cannot be named {name!r}.",
            None,
            f"Use up to 40 lower-case letters, digits and _; those of {_active.prefix}_ are ours.",
        )
    name = own_name(name, _active.prefix)
    connection = dj.conn()
    try:
        with making_tables():
            if connection.adapter.backend == "mysql":
                _collate(connection, name)
            own = dj.Schema(name, connection=connection)
    except dj.errors.DataJointError as error:
        raise ServerError(
            f"the schema cannot be created ({error}).",
            name,
            "Use one that is yours: see `bwm server grant`.",
        ) from None
    _refuse_other_prefix(connection, name, _active.prefix)
    return own


def own_name(name: str, prefix: str) -> str:
    """Name of a schema of one's own over the database of a prefix: the demo has others."""
    return f"{name}_{settings_module.DEMO}" if prefix.endswith(settings_module.DEMO) else name


CONNECT_FIRST = "Call `connection.connect()` first."


def _collate(connection: dj.Connection, name: str) -> None:
    """Let a database compare text as ours do: MySQL refuses foreign keys between others."""
    found = connection.query(
        "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = %s",
        (name,),
    ).fetchone()
    if found is None:
        connection.query(f"CREATE DATABASE IF NOT EXISTS `{name}` COLLATE utf8mb4_bin")
    elif found[0] != "utf8mb4_bin":
        connection.query(f"ALTER DATABASE `{name}` COLLATE utf8mb4_bin")


def _refuse_other_prefix(connection: dj.Connection, name: str, prefix: str) -> None:
    """Refuse a schema whose tables refer to ours under another prefix: their rows are others."""
    links = Dependencies(connection)
    links.load(schema_names={name})
    parents = {tuple(full[1:-1].split(full[-1] + "." + full[-1])) for full in links}
    for schema, table in sorted(parents):
        found = schema.rpartition("_")[0]
        if found != prefix and (schema, table) in activation.expected_tables(found):
            raise ServerError(
                f"it holds tables over the database {found}, and {prefix} is connected.",
                f"schema {name}",
                "Name another schema, or drop this one if nobody needs it.",
            )


@contextmanager
def making_tables() -> Iterator[None]:
    """Hold the lock under which tables are created, for those of one's own.

    Raises
    ------
    ServerError
        Nothing is connected.
    """
    if _active is None:
        raise ServerError("nothing is connected.", None, CONNECT_FIRST)
    with locks.one_at_a_time(dj.conn(), _active.prefix):
        yield
