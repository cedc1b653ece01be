"""Attach to the tables of a database, and create the missing ones.

Attaching takes no lock, so that a client that hangs delays no other. `create` holds a lock while
it runs.
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
from schemas.database import headings, locks
from schemas.database.declared import FILLED, tables_of, with_parts
from schemas.database.driver_errors import AccessDenied
from schemas.errors import ServerError

VERSION = 8
"""Version of the table definitions in this code: the number of the last step of an upgrade."""

VERSION_TABLE = "~version"
"""Name of the version table, in the first schema; DataJoint hides names that begin with `~`."""

VERSION_COLUMNS = {
    "prefix": ("varchar(32) NOT NULL PRIMARY KEY", "prefix of the schemas"),
    "schema_version": ("int NOT NULL", "number of the last upgrade step that was applied"),
    "software_version": ("varchar(32) NOT NULL", "version of bwm-datajoint that applied it"),
}


@dataclass(frozen=True)
class Version:
    """Version of the tables of a database, and of the software that created or upgraded them."""

    number: int
    software: str


UNVERSIONED = Version(0, "0.4.0")
"""Version of tables without a row in the version table."""


def schema_name(module: str, prefix: str) -> str:
    """Return the name of the database (MySQL) or schema (PostgreSQL) of a table module."""
    return f"{prefix}_{module}"


def activate(connection: dj.Connection, prefix: str, command: str = "bwm") -> None:
    """Attach to all tables; create the missing ones.

    `command` is what an error advises to run for this database, e.g. `bwm --demo`.

    Raises
    ------
    ServerError
        The tables are older or newer than this code. Or tables are missing, and the user may not
        create them, or another process holds the lock for too long.
    """
    schemas = [schema_name(module, prefix) for module in MODULES]
    existing = headings.read_ahead(connection, schemas)
    if found := read_version(connection, prefix, existing):
        reject_newer(found, prefix)
        if found.number < VERSION:
            made = f"This database was made by {found.software}."
            raise ServerError(made, None, UPGRADE.format(command))
    _reject_older_tables(existing, prefix, command)
    missing = expected_tables(prefix) - existing.keys()
    try:
        if not missing:
            attach(connection, prefix)
        # `create` fills the regions last: without them, it was interrupted.
        if missing or not importlib.import_module("schemas.atlas").BrainRegion():
            create(connection, prefix)
    except dj.errors.DataJointError as error:
        # DataJoint may replace AccessDenied by an error of its own.
        if not any(type(one) is AccessDenied for one in (error, error.__context__)):
            raise
        raise _missing_tables_error(connection.conn_info["user"], missing, prefix) from error


def attach(connection: dj.Connection, prefix: str, create: bool = False) -> None:
    """Let the table classes use the tables of a database, parents first.

    With `create`, create missing schemas, tables and job tables before.
    """
    for module in table_modules():
        name = schema_name(module.__name__.rpartition(".")[2], prefix)
        if create and connection.adapter.backend == "mysql":
            _create_schema(connection, name)  # DataJoint would take the default collation
        module.schema.activate(name, connection=connection, create_tables=create)
        for table in tables_of(module):
            if create and issubclass(table, FILLED):
                # Reading `jobs` creates the job table. Otherwise several workers would create it
                # at once, at its first use.
                getattr(table(), "jobs")  # noqa: B009  (mypy does not know this attribute)
        if create and connection.adapter.backend == "mysql":
            parts = [part for table in tables_of(module) for part in with_parts(table)[1:]]
            _sample_more(connection, name, {part.table_name for part in parts})


def _sample_more(connection: dj.Connection, schema: str, parts: set[str]) -> None:
    """Let MySQL read more pages when it estimates how many rows a key of the master has.

    With the default of 20 pages it takes the 8,800 rates of units of a session for 130, and joins
    begin at the wrong table.
    """
    there = connection.query(
        "SELECT table_name, table_rows FROM information_schema.tables WHERE table_schema = %s "
        "AND create_options NOT LIKE '%%stats_sample_pages%%'",
        (schema,),
    ).fetchall()
    for table, n_rows in there:
        if table in parts:
            part = f"`{schema}`.`{table}`"
            connection.query(f"ALTER TABLE {part} STATS_SAMPLE_PAGES = {SAMPLE_PAGES}")
            if n_rows:
                connection.query(f"ANALYZE TABLE {part}")


SAMPLE_PAGES = 1000
"""Pages of an index that MySQL reads for its estimates: enough for some ten million rows."""


def _create_schema(connection: dj.Connection, name: str) -> None:
    if connection.adapter.backend == "mysql":
        # Texts are compared by case, as on PostgreSQL; the default collation ignores case.
        connection.query(f"CREATE DATABASE IF NOT EXISTS `{name}` COLLATE utf8mb4_bin")
    else:
        connection.query(f'CREATE SCHEMA IF NOT EXISTS "{name}"')


def create(connection: dj.Connection, prefix: str) -> None:
    """Create the missing tables, and attach to all; one process at a time."""
    with locks.one_at_a_time(connection, prefix):
        if not existing_columns(connection, prefix):
            # The version comes before any table: if this is interrupted, tables without a version
            # would be taken for those of 0.4.0.
            _create_schema(connection, schema_name(MODULES[0], prefix))
            write_version(connection, prefix, VERSION)
        attach(connection, prefix, create=True)
        atlas = importlib.import_module("schemas.atlas")
        if not atlas.BrainRegion():
            from schemas.sources import ontology

            atlas.BrainRegion.fill(ontology.load_ontology(), ontology.load_ancestors())


def _missing_tables_error(user: str, missing: set[tuple[str, str]], prefix: str) -> ServerError:
    """Describe missing tables to a user who may not create them."""
    if len(missing) == len(expected_tables(prefix)):
        what = f"user {user!r} sees no tables, and may not create them."
        return ServerError(what, prefix, NO_ROLE_REMEDY)
    names = [f"{schema}.{table}" for schema, table in sorted(missing)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    what = (
        f"tables are missing ({', '.join(names[:3])}{more}), and user {user!r} may not create them."
    )
    if not names:
        what = f"the brain regions are missing, and user {user!r} may not insert them."
    return ServerError(what, prefix, MISSING_TABLES_REMEDY)


NO_ROLE_REMEDY = (
    "Ask an administrator of the database for a role: `bwm server grant`. Check bwm.prefix too."
)
MISSING_TABLES_REMEDY = (
    "Ask an administrator of the database to run `bwm status` once with this version: it creates "
    "what is missing. If that was done, ask for `bwm server grant`."
)


# --- version ------------------------------------------------------------------------------------


def read_version(
    connection: dj.Connection,
    prefix: str,
    existing: dict[tuple[str, str], set[str]] | None = None,
) -> Version | None:
    """Read the version of the tables; None if there are no tables.

    `existing` is the result of `existing_columns`; fetched by default.
    """
    existing = existing_columns(connection, prefix) if existing is None else existing
    if (schema_name(MODULES[0], prefix), VERSION_TABLE) in existing:
        table = _version_table(connection, prefix)
        query = f"SELECT schema_version, software_version FROM {table} WHERE prefix = %s"
        if found := connection.query(query, (prefix,)).fetchone():
            return Version(*found)
    return UNVERSIONED if existing else None


def reject_newer(found: Version, prefix: str) -> None:
    """Raise ServerError if the tables are newer than this code."""
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
    table_comment = "one row per prefix of schemas"
    options = f" COMMENT '{table_comment}' COLLATE utf8mb4_bin" if mysql else ""
    connection.query(f"CREATE TABLE IF NOT EXISTS {table} ({', '.join(columns)}){options}")
    if not mysql:
        connection.query(f"COMMENT ON TABLE {table} IS '{table_comment}'")
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


# --- existing and expected tables ---------------------------------------------------------------


def existing_columns(connection: dj.Connection, prefix: str) -> dict[tuple[str, str], set[str]]:
    """Fetch the columns of every table under a prefix, by schema and table, job tables included."""
    listed = ", ".join(f"'{schema_name(module, prefix)}'" for module in MODULES)
    existing = defaultdict(set)
    found = connection.query(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns "
        f"WHERE table_schema IN ({listed})"
    )
    for schema, table, column in found.fetchall():
        existing[schema, table].add(column)
    return dict(existing)


def expected_tables(prefix: str) -> set[tuple[str, str]]:
    """Return schema and name of every table that this code defines, job tables included."""
    expected = set()
    for module in table_modules():
        schema = schema_name(module.__name__.rpartition(".")[2], prefix)
        for table in tables_of(module):
            expected |= {(schema, one.table_name) for one in with_parts(table)}
            if issubclass(table, FILLED):
                expected.add((schema, f"~~{table.table_name.lstrip('_')}"))  # its job table
    return expected


def _reject_older_tables(
    existing: dict[tuple[str, str], set[str]], prefix: str, command: str
) -> None:
    """Raise ServerError if a table lacks a column; DataJoint would notice only when it is used."""
    for module in table_modules():
        schema = schema_name(module.__name__.rpartition(".")[2], prefix)
        for table in chain.from_iterable(map(with_parts, tables_of(module))):
            columns = existing.get((schema, table.table_name), set())
            missing = _columns(table.definition) - columns
            if columns and missing:
                what = f"{schema}.{table.table_name} lacks {', '.join(sorted(missing))}"
                remedy = f"{UPGRADE.format(command)} If no step adds the column, restore a backup."
                raise ServerError(f"{what}: it is of an older version.", prefix, remedy)


def _columns(definition: str) -> set[str]:
    """Return the attributes that a definition names itself, also by renaming a foreign key."""
    found = set(re.findall(r"^ *(\w+) *(?:=[^:\n]*)?:", definition, re.MULTILINE))
    for renamed in re.findall(r"^ *->.*\.proj\((.*)\)", definition, re.MULTILINE):
        found |= set(re.findall(r"(\w+) *=", renamed))
    return found


UPGRADE = "An admin must run `{} upgrade`."


def table_modules() -> Iterator[ModuleType]:
    """Import the table modules, parents first."""
    return (importlib.import_module(f"schemas.{name}") for name in MODULES)


def missing_columns(table: type[dj.Table]) -> set[str]:
    """Return the columns of a definition that the table on the server lacks."""
    return _columns(table.definition) - set(table.heading.names)
