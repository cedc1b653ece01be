"""Attach to the tables of a database, and create those that are not there.

Attaching takes no lock, so that a client that hangs delays no other. Creating takes one, for as
long as it creates.
"""

from __future__ import annotations

import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from types import ModuleType

import datajoint as dj

from schemas import MODULES, __version__
from schemas.database import locks
from schemas.database.declared import FILLED, tables_of, with_parts
from schemas.database.driver_errors import AccessDenied
from schemas.errors import ServerError

VERSION = 5
"""Number of the newest definitions of the tables: the last step of `populate.upgrade`."""

VERSION_TABLE = "~version"
"""Table of the first schema, hidden as the other tables that users do not see."""

VERSION_COLUMNS = {
    "prefix": ("varchar(32) NOT NULL PRIMARY KEY", "prefix of the schemas"),
    "schema_version": ("int NOT NULL", "number of the last upgrade that the tables have"),
    "software_version": ("varchar(32) NOT NULL", "version of the software that made them so"),
}


@dataclass(frozen=True)
class Version:
    """Version of the tables of a database, and of the software that made or upgraded them."""

    number: int
    software: str


FIRST = Version(0, "0.4.0")
"""Version of tables that have no row that says it."""


def schema_name(module: str, prefix: str) -> str:
    """Name of the database (MySQL) or schema (PostgreSQL) of a table module."""
    return f"{prefix}_{module}"


def activate(connection: dj.Connection, prefix: str) -> None:
    """Attach to all tables; create what is missing of them.

    Raises
    ------
    ServerError
        The tables are of an older or newer version. Or tables are missing, and the user may not
        create them, or another process creates them for too long.
    """
    held = held_columns(connection, prefix)
    if found := read_version(connection, prefix, held):
        refuse_newer(found, prefix)
        if found.number < VERSION:
            made = f"This database was made by {found.software}."
            raise ServerError(made, None, "An admin must run `bwm upgrade`.")
    _refuse_older_tables(held, prefix)
    # Where every table is there, DataJoint needs to read nothing of one before it is used.
    missing = wanted_tables(prefix) - held.keys()
    try:
        if not missing:
            attach(connection, prefix)
        if missing or not importlib.import_module("schemas.atlas").BrainRegion():
            create(connection, prefix)
    except dj.errors.DataJointError as error:
        # DataJoint has its own words for a schema or table that it may not create.
        if not {type(error), type(error.__context__)} & {AccessDenied}:
            raise
        raise _missing_tables_error(connection.conn_info["user"], missing, prefix) from error


def attach(connection: dj.Connection, prefix: str, create: bool = False) -> None:
    """Let the table classes use the tables of a database, parents first."""
    for module in table_modules():
        name = schema_name(module.__name__.rpartition(".")[2], prefix)
        if create and connection.adapter.backend == "mysql":
            _create_schema(connection, name)
        module.schema.activate(name, connection=connection, create_tables=create)
        for table in tables_of(module):
            if create and issubclass(table, FILLED):
                # Declares the job table: DataJoint would at first use, by several workers at once.
                getattr(table(), "jobs")  # noqa: B009  (mypy knows nothing of it)


def _create_schema(connection: dj.Connection, name: str) -> None:
    if connection.adapter.backend == "mysql":
        # Names and acronyms are exact, as on PostgreSQL: the default collation ignores case.
        connection.query(f"CREATE DATABASE IF NOT EXISTS `{name}` COLLATE utf8mb4_bin")
    else:
        connection.query(f'CREATE SCHEMA IF NOT EXISTS "{name}"')


def create(connection: dj.Connection, prefix: str) -> None:
    """Create what is missing of the tables, and attach to them; one process at a time."""
    with locks.one_at_a_time(connection, prefix):
        if not held_columns(connection, prefix):
            # First of all: tables without a version are those of 0.4.0.
            _create_schema(connection, schema_name(MODULES[0], prefix))
            write_version(connection, prefix, VERSION)
        attach(connection, prefix, create=True)
        atlas = importlib.import_module("schemas.atlas")
        if not atlas.BrainRegion():
            from schemas.sources import ontology

            atlas.BrainRegion.fill(ontology.load_ontology(), ontology.load_ancestors())


def _missing_tables_error(user: str, missing: set[tuple[str, str]], prefix: str) -> ServerError:
    """Describe missing tables to a user who may not create them."""
    if len(missing) == len(wanted_tables(prefix)):
        what = f"user {user!r} sees no tables, and may not create them."
        return ServerError(what, prefix, GRANT_FIRST)
    names = [f"{schema}.{table}" for schema, table in sorted(missing)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    what = (
        f"tables are missing ({', '.join(names[:3])}{more}), and user {user!r} may not create them."
    )
    if not names:
        what = f"the brain regions are missing, and user {user!r} may not insert them."
    return ServerError(what, prefix, ADMIN_FIRST)


GRANT_FIRST = (
    "Ask an administrator of the database for a role: `bwm server grant`. Check bwm.prefix too."
)
ADMIN_FIRST = (
    "Ask an administrator of the database to run `bwm status` once with this version, which "
    "creates what is missing, and `bwm server grant` if they run it already."
)


# --- version ------------------------------------------------------------------------------------


def read_version(
    connection: dj.Connection,
    prefix: str,
    held: dict[tuple[str, str], set[str]] | None = None,
) -> Version | None:
    """Read the version of the tables; None if there are no tables.

    `held` is what `held_columns` returned, which is fetched if it is not given.
    """
    held = held_columns(connection, prefix) if held is None else held
    if (schema_name(MODULES[0], prefix), VERSION_TABLE) in held:
        table = _version_table(connection, prefix)
        query = f"SELECT schema_version, software_version FROM {table} WHERE prefix = %s"
        if found := connection.query(query, (prefix,)).fetchone():
            return Version(*found)
    return FIRST if held else None


def refuse_newer(found: Version, prefix: str) -> None:
    """Refuse tables of a newer version: what their rows mean is not known here."""
    if found.number > VERSION:
        what = f"the database was made by {found.software}, and this is {__version__}."
        raise ServerError(what, prefix, f"Install bwm-datajoint {found.software} or newer.")


def write_version(
    connection: dj.Connection, prefix: str, number: int, software: str = __version__
) -> None:
    """Record the version of the tables in the one row of the prefix."""
    quote, table = connection.adapter.quote_identifier, _version_table(connection, prefix)
    mysql = connection.adapter.backend == "mysql"
    columns = [
        f"{quote(name)} {kind}" + (f" COMMENT '{comment}'" if mysql else "")
        for name, (kind, comment) in VERSION_COLUMNS.items()
    ]
    grain = "one row per prefix of schemas"
    end = f" COMMENT '{grain}' COLLATE utf8mb4_bin" if mysql else ""
    connection.query(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}){end}")
    if not mysql:
        connection.query(f"COMMENT ON TABLE {table} IS '{grain}'")
        for name, (_, comment) in VERSION_COLUMNS.items():
            connection.query(f"COMMENT ON COLUMN {table}.{quote(name)} IS '{comment}'")
    conflict = "ON DUPLICATE KEY UPDATE" if mysql else "ON CONFLICT (prefix) DO UPDATE SET"
    connection.query(
        f"INSERT INTO {table} VALUES (%s, %s, %s) {conflict} schema_version = %s, "
        "software_version = %s",
        (prefix, number, software, number, software),
    )


def _version_table(connection: dj.Connection, prefix: str) -> str:
    quote = connection.adapter.quote_identifier
    return f"{quote(schema_name(MODULES[0], prefix))}.{quote(VERSION_TABLE)}"


# --- tables that are there, and that there are to be ---------------------------------------------


def held_columns(connection: dj.Connection, prefix: str) -> dict[tuple[str, str], set[str]]:
    """Fetch the columns of every table under a prefix, by schema and table, job tables included."""
    listed = ", ".join(f"'{schema_name(module, prefix)}'" for module in MODULES)
    held = defaultdict(set)
    found = connection.query(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns "
        f"WHERE table_schema IN ({listed})"
    )
    for schema, table, column in found.fetchall():
        held[schema, table].add(column)
    return dict(held)


def wanted_tables(prefix: str) -> set[tuple[str, str]]:
    """Name every table that there is to be, by schema, those of jobs included."""
    wanted = set()
    for module in table_modules():
        schema = schema_name(module.__name__.rpartition(".")[2], prefix)
        for table in tables_of(module):
            wanted |= {(schema, one.table_name) for one in with_parts(table)}
            if issubclass(table, FILLED):
                wanted.add((schema, f"~~{table.table_name.lstrip('_')}"))
    return wanted


def _refuse_older_tables(held: dict[tuple[str, str], set[str]], prefix: str) -> None:
    """Look for columns that definitions have and tables have not: DataJoint would not."""
    for module in table_modules():
        schema = schema_name(module.__name__.rpartition(".")[2], prefix)
        for table in chain.from_iterable(map(with_parts, tables_of(module))):
            there = held.get((schema, table.table_name), set())
            missing = _columns(table.definition) - there
            if there and missing:
                what = f"{schema}.{table.table_name} lacks {', '.join(sorted(missing))}"
                raise ServerError(f"{what}: it is of an older version.", prefix, OLDER)


def _columns(definition: str) -> set[str]:
    """Name the attributes of a definition, those that a foreign key renames included."""
    found = set(re.findall(r"^ *(\w+) *(?:=[^:\n]*)?:", definition, re.MULTILINE))
    for renamed in re.findall(r"^ *->.*\.proj\((.*)\)", definition, re.MULTILINE):
        found |= set(re.findall(r"(\w+) *=", renamed))
    return found


OLDER = (
    "Use another prefix (bwm.prefix) and register and populate again; downloads are kept. "
    "`schemas.connection.drop` removes the old tables."
)


def table_modules() -> Iterator[ModuleType]:
    """Import the table modules, parents first."""
    return (importlib.import_module(f"schemas.{name}") for name in MODULES)


def missing_columns(table: type[dj.Table]) -> set[str]:
    """Name what the definition of a table has and its table on the server has not."""
    return _columns(table.definition) - set(table.heading.names)
