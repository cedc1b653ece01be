"""Roles on the database server: reader, analyst, worker, admin.

A role is granted to a user of the server, on the schemas of one prefix only. The SQL statements
are printed for the administrator of the server, or run.

========  =========================================================================
reader    reads all tables
analyst   reads all tables; owns schemas, whose tables may refer to ours
worker    reads, inserts, updates and deletes rows: populate, retry, verify, register
admin     creates, alters and drops the tables, and grants the roles reader and worker
========  =========================================================================

A worker may not create tables, so that unattended processes can neither drop nor alter them. After
an upgrade an admin connects once, which creates new tables. Only the administrator of the server
creates users and schemas of analysts, and makes admins: on MySQL an account that may create users
can also change the accounts of other projects.

On MySQL the rights belong to the users. On PostgreSQL they belong to four groups, which are named
after the prefix and have users as members; the group of the admins owns all tables.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import datajoint as dj

from schemas import MODULES, connection
from schemas.database import upstream
from schemas.errors import ServerError

ROLES = ("reader", "analyst", "worker", "admin")

RIGHTS = {
    "reader": "SELECT",
    "analyst": "SELECT, REFERENCES",
    "worker": "SELECT, INSERT, UPDATE, DELETE",
}
"""Rights of roles on our tables; an admin has all rights."""

OWN_RIGHTS = (
    "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES, CREATE VIEW, SHOW VIEW"
)
"""Rights of an analyst on MySQL in their own schemas."""

RESERVED = ("information_schema", "mysql", "performance_schema", "public", "sys")
RESERVED_USERS = ("none", "public", "session_user", "current_user", "current_role")
LONGEST = {"mysql": 32, "postgresql": 63}
"""Longest name of a user: characters on MySQL, bytes on PostgreSQL, which cuts longer names."""


def statements(
    backend: str,
    prefix: str,
    role: str,
    user: str,
    host: str = "%",
    schemas: Sequence[str] | None = None,
) -> list[str]:
    """Write the statements that grant a role; they can be run again.

    They set no password: MySQL chooses a password for a new user and shows it once; on PostgreSQL
    a new user cannot log in by password before a password is set.

    Parameters
    ----------
    backend : str
        `'mysql'` or `'postgresql'`.
    prefix : str
        Prefix of the schemas.
    role : str
        One of `ROLES`.
    user : str
        User of the server.
    host : str
        Host from which the user may connect, in MySQL's notation. PostgreSQL ignores it: hosts
        are in pg_hba.conf.
    schemas : sequence of str, optional
        Further schemas, by the name that `connection.schema` takes. An analyst owns them; default
        is a schema with the name of the user. A reader may read them, and a worker fill them.

    Raises
    ------
    ServerError
        The name of the role, user, host or schema is invalid.
    """
    _check(backend, prefix, role, user, host)
    schemas = _further(prefix, role, user, schemas)
    if backend == "mysql":
        account = _account(user, host)
        new = [f"CREATE USER IF NOT EXISTS {account} IDENTIFIED BY RANDOM PASSWORD"]
        return new + _on_mysql(prefix, role, account, schemas)
    return [
        *_groups(prefix),
        _create_role(user, "LOGIN"),
        *_on_postgresql(prefix, role, user, schemas),
    ]


def apply(
    prefix: str,
    role: str,
    user: str,
    host: str = "%",
    schemas: Sequence[str] | None = None,
    password: str | None = None,
) -> None:
    """Grant a role on the connected server; this can be repeated.

    Parameters
    ----------
    prefix, role, user, host, schemas
        See `statements`.
    password : str, optional
        New password of the user; a new user needs one. No statement that is logged holds it.

    Raises
    ------
    ServerError
        A name is invalid, a new user has no password, a schema belongs to another user, or the
        connected user may not grant rights.
    """
    server, backend = dj.conn(), dj.conn().adapter.backend
    wanted = statements(backend, prefix, role, user, host, schemas)
    if password is None and not exists(user, host):
        raise _refused(f"user {user!r} is new and has no password.", "Give --password-file FILE.")
    if password is not None and not (password and password.isascii() and password.isprintable()):
        # Drivers and servers encode other characters differently.
        raise _refused(
            f"the password of user {user!r} cannot be used.",
            "Use letters without accents, digits, signs and spaces.",
        )
    if role == "analyst":
        _reject_taken(user, host, _further(prefix, role, user, schemas))
    if backend == "mysql":
        account = _account(user, host)
        if password is not None:
            for verb in ("CREATE USER IF NOT EXISTS", "ALTER USER"):
                server.query(f"{_literal(verb)} {_literal(account)} IDENTIFIED BY %s", (password,))
        for statement in wanted[1:]:
            server.query(_literal(statement))
        return
    with server.transaction:
        for statement in wanted:
            server.query(_literal(statement))
        if password is not None:
            server.query(
                f"ALTER ROLE {_literal(_quoted(user))} PASSWORD %s", (_hashed(password, user),)
            )


def exists(user: str, host: str = "%") -> bool:
    """Whether the connected server has a user."""
    server = dj.conn()
    if server.adapter.backend == "mysql":
        asked = "SELECT 1 FROM mysql.user WHERE user = %s AND host = %s"
        return server.query(asked, (user, host)).fetchone() is not None
    asked = "SELECT 1 FROM pg_roles WHERE rolname = %s"
    return server.query(asked, (user,)).fetchone() is not None


def _check(backend: str, prefix: str, role: str, user: str, host: str) -> None:
    """Reject names that a server would reject or misread."""
    if role not in ROLES:
        raise _refused(f"there is no role {role!r}.", f"Roles: {', '.join(ROLES)}.")
    longest = LONGEST[backend]
    # A lone surrogate cannot be encoded; the pattern below rejects it, since it is no letter.
    n_taken = len(user if backend == "mysql" else user.encode(errors="replace"))
    taken = user.lower() in RESERVED_USERS or user.lower().startswith("pg_")
    groups = [f"{prefix}_{role}" for role in ROLES]
    if not re.fullmatch(r"\w[\w.@-]*", user) or n_taken > longest or taken or user in groups:
        raise _refused(
            f"{_shown(user)} cannot be the name of a user.",
            f"Use up to {longest} letters, digits, and _ - . @ after the first.",
        )
    if not re.fullmatch(r"[\w.%:/-]{1,255}", host, re.ASCII):
        raise _refused(
            f"{_shown(host)} cannot be a host.",
            "Use a name or address, with % for any part, e.g. 10.0.0.%.",
        )


def _further(prefix: str, role: str, user: str, schemas: Sequence[str] | None) -> list[str]:
    """Return the full names of further schemas; reject names that are taken."""
    named = list(schemas or ())
    if role == "analyst" and not named:
        named = [user]
    if role == "admin" and named:
        raise _refused("an admin has no further schemas.", "Leave out --schema.")
    for name in named:
        fine = re.fullmatch(r"[a-z][a-z0-9_]{0,47}", name)
        ours = name == prefix or name.startswith(f"{prefix}_")
        if not fine or ours or name in RESERVED or name.startswith("pg_"):
            why = "ours or the server's" if fine else "not a valid name of a schema"
            raise _refused(
                f"{_shown(name)} is {why}.",
                "Name another with --schema: lower-case letters, digits and underscores.",
            )
    return [connection.own_name(name, prefix) for name in named]


def _on_mysql(prefix: str, role: str, account: str, schemas: Sequence[str]) -> list[str]:
    own = [_escaped(name) for name in schemas]
    granted = [(_escaped(name), RIGHTS.get(role, "ALL PRIVILEGES")) for name in _ours(prefix)]
    granted += [(name, OWN_RIGHTS if role == "analyst" else RIGHTS[role]) for name in own]
    more = " WITH GRANT OPTION" if role == "admin" else ""
    found = [f"GRANT {what} ON `{name}`.* TO {account}{more}" for name, what in granted]
    if role == "admin":
        # Lets an admin see the names of users, but not the hashes of their passwords.
        found.append(f"GRANT SELECT (user, host) ON `mysql`.`user` TO {account}")
    return found


def _on_postgresql(prefix: str, role: str, user: str, schemas: Sequence[str]) -> list[str]:
    found = _rights(prefix)
    group = _quoted(f"{prefix}_{role}")
    if role == "admin":
        found += _ownership(prefix)
    found.append(f"GRANT {group} TO {_quoted(user)}")
    if role == "admin":
        # The group owns the tables that an admin creates, so that other admins can alter them.
        found.append(f"ALTER ROLE {_quoted(user)} SET role TO {group}")
    for name in schemas:
        if role == "analyst":
            found += [
                f"CREATE SCHEMA IF NOT EXISTS {_quoted(name)}",
                f"GRANT ALL ON SCHEMA {_quoted(name)} TO {_quoted(user)}",
            ]
        else:
            found += [
                f"GRANT USAGE ON SCHEMA {_quoted(name)} TO {_quoted(user)}",
                f"GRANT {RIGHTS[role]} ON ALL TABLES IN SCHEMA {_quoted(name)} TO {_quoted(user)}",
                _later_tables(name, RIGHTS[role], user),
            ]
    return found


def _later_tables(schema: str, what: str, user: str) -> str:
    """Grant rights on tables that anybody will create in a schema of PostgreSQL."""
    return (
        "DO $do$ DECLARE maker text; BEGIN FOR maker IN SELECT rolname FROM pg_roles "
        f"WHERE NOT rolsuper AND has_schema_privilege(oid, '{schema}', 'CREATE') "
        "LOOP EXECUTE format('ALTER DEFAULT PRIVILEGES FOR ROLE %I "
        f"IN SCHEMA {_quoted(schema)} GRANT {what} ON TABLES TO {_quoted(user)}', maker); "
        "END LOOP; END $do$"
    )


def _groups(prefix: str) -> list[str]:
    """Create the groups of PostgreSQL, unless they exist."""
    names = {f"{prefix}_{role}": "CREATEROLE" if role == "admin" else "" for role in ROLES}
    made = [_create_role(name, f"NOLOGIN {more}".strip()) for name, more in names.items()]
    admins = f"{prefix}_admin"
    # Only a member of the group can give tables to it.
    join = (
        f"DO $do$ BEGIN IF NOT pg_has_role(current_user, '{admins}', 'MEMBER') "
        f"THEN GRANT {_quoted(admins)} TO CURRENT_USER; END IF; END $do$"
    )
    return [*made, join]


def _create_role(name: str, what: str) -> str:
    """Create a role unless it exists: PostgreSQL has no CREATE ROLE IF NOT EXISTS."""
    return (
        f"DO $do$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') "
        f"THEN CREATE ROLE {_quoted(name)} {what}; END IF; END $do$"
    )


def _rights(prefix: str) -> list[str]:
    """Grant the groups their rights on present and future tables."""
    schemas = ", ".join(map(_quoted, _ours(prefix)))
    groups = {role: _quoted(f"{prefix}_{role}") for role in ROLES}
    found = [f"GRANT USAGE ON SCHEMA {schemas} TO {', '.join(groups[role] for role in RIGHTS)}"]
    for role, what in RIGHTS.items():
        found.append(f"GRANT {what} ON ALL TABLES IN SCHEMA {schemas} TO {groups[role]}")
        found += [
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {maker} IN SCHEMA {schemas} "
            f"GRANT {what} ON TABLES TO {groups[role]}"
            for maker in ("CURRENT_USER", groups["admin"])
        ]
    return found


def _ownership(prefix: str) -> list[str]:
    """Make the group of admins the owner of all tables, so that it may alter them."""
    admins = _quoted(f"{prefix}_admin")
    others = ", ".join(_quoted(f"{prefix}_{role}") for role in RIGHTS)
    listed = ", ".join(f"'{name}'" for name in _ours(prefix))
    return [
        f"DO $do$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {admins}', "
        "current_database()); END $do$",
        f"GRANT {others} TO {admins} WITH ADMIN OPTION",
        "DO $do$ DECLARE one record; BEGIN FOR one IN "
        f"SELECT nspname AS name FROM pg_namespace WHERE nspname IN ({listed}) "
        f"LOOP EXECUTE format('ALTER SCHEMA %I OWNER TO {admins}', one.name); END LOOP; "
        "FOR one IN SELECT nspname AS place, relname AS name FROM pg_class "
        "JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        f"WHERE relkind = 'r' AND nspname IN ({listed}) "
        f"LOOP EXECUTE format('ALTER TABLE %I.%I OWNER TO {admins}', one.place, one.name); "
        "END LOOP; "
        "FOR one IN SELECT nspname AS place, typname AS name FROM pg_type "
        f"JOIN pg_namespace ON pg_namespace.oid = typnamespace "
        f"WHERE typtype = 'e' AND nspname IN ({listed}) "
        f"LOOP EXECUTE format('ALTER TYPE %I.%I OWNER TO {admins}', one.place, one.name); "
        "END LOOP; END $do$",
    ]


def _reject_taken(user: str, host: str, schemas: Sequence[str]) -> None:
    """Reject schemas that exist and do not belong to the analyst."""
    server = dj.conn()
    mysql = server.adapter.backend == "mysql"
    exists = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
    owned = (
        "SELECT 1 FROM pg_roles, pg_namespace WHERE rolname = %s AND nspname = %s "
        "AND has_schema_privilege(pg_roles.oid, pg_namespace.oid, 'CREATE')"
    )
    if mysql:
        exists = "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s"
        owned = "SELECT 1 FROM mysql.db WHERE user = %s AND host = %s AND db = %s"
    for name in schemas:
        owner = (user, host, _escaped(name)) if mysql else (user, name)
        if server.query(exists, (name,)).fetchone() and not server.query(owned, owner).fetchone():
            raise _refused(
                f"{name} exists and does not belong to {user!r}.",
                "Name another with --schema, or grant rights on it by hand.",
            )


def _ours(prefix: str) -> list[str]:
    return [connection.schema_name(module, prefix) for module in MODULES]


def _account(user: str, host: str) -> str:
    return "@".join("`" + name.replace("`", "``") + "`" for name in (user, host))


def _escaped(name: str) -> str:
    """Escape the name of a schema for MySQL's GRANT: `_` and `%` are wildcards."""
    return re.sub(r"([_%\\])", r"\\\1", name)


def _quoted(name: str) -> str:
    """Quote a name for PostgreSQL."""
    return '"' + name.replace('"', '""') + '"'


def _literal(statement: str) -> str:
    """Escape percent signs, which the drivers read as placeholders."""
    return statement.replace("%", "%%")


def _hashed(password: str, user: str) -> str:
    """Hash a password as PostgreSQL stores it, so that no log holds the password."""
    from psycopg2.extensions import encrypt_password

    scope = upstream.driver_connection(dj.conn())
    return encrypt_password(password, user, scope=scope, algorithm="scram-sha-256")


def _refused(what: str, remedy: str) -> ServerError:
    return ServerError(what, "server", remedy)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}...")
