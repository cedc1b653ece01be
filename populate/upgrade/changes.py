"""Changes that upgrades consist of; each can be repeated after it was interrupted.

MySQL commits each statement that changes a table, so an upgrade that is killed may have made a
part of a change. The statements are our own: `alter` of DataJoint 2.3.5 writes MySQL's MODIFY for
PostgreSQL, and leaves comments as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import datajoint as dj
from datajoint import lineage

from schemas import MODULES
from schemas.activation import schema_name
from schemas.database import upstream


@dataclass(frozen=True)
class Database:
    """The tables of a prefix on a server."""

    connection: dj.Connection
    prefix: str

    @property
    def is_mysql(self) -> bool:
        """Whether the server is MySQL."""
        return self.connection.adapter.backend == "mysql"

    def run(self, statement: str, *values: Any) -> list[tuple]:
        """Run a statement; without values, a percent sign is one."""
        text = statement if values else statement.replace("%", "%%")
        found = self.connection.query(text, values)
        return list(found.fetchall()) if found.description else []

    def split(self, table: str) -> tuple[str, str]:
        """Return schema and name of a table that is written as `module.name`."""
        module, _, name = table.partition(".")
        return schema_name(module, self.prefix), name

    def quote(self, *names: str) -> str:
        """Quote the parts of a name."""
        return ".".join(map(self.connection.adapter.quote_identifier, names))

    def columns(self, table: str) -> dict[str, bool]:
        """Return the columns of a table, each with whether it may be null; none if not there."""
        asked = (
            "SELECT column_name, is_nullable FROM information_schema.columns "
            "WHERE table_schema = %s AND table_name = %s"
        )
        return {name: word == "YES" for name, word in self.run(asked, *self.split(table))}

    def links(self) -> set[tuple[str, str, str, str]]:
        """Return the foreign keys of all tables that the user sees: child, then parent."""
        if self.is_mysql:
            asked = (
                "SELECT table_schema, table_name, referenced_table_schema, referenced_table_name "
                "FROM information_schema.key_column_usage WHERE referenced_table_name IS NOT NULL"
            )
        else:
            asked = (
                "SELECT c.relnamespace::regnamespace::text, c.relname, "
                "p.relnamespace::regnamespace::text, p.relname FROM pg_constraint "
                "JOIN pg_class AS c ON c.oid = conrelid JOIN pg_class AS p ON p.oid = confrelid "
                "WHERE contype = 'f'"
            )
        return {tuple(row) for row in self.run(asked)}

    def dependants(self, table: str) -> list[tuple[str, str]]:
        """Return the table and all tables that refer to it, by schema and name, children first."""
        links = self.links()
        found: dict[tuple[str, str], None] = {}

        def visit(one: tuple[str, str]) -> None:
            for child in sorted(link[:2] for link in links if link[2:] == one != link[:2]):
                visit(child)
            found[one] = None

        visit(self.split(table))
        return list(found)

    def not_filled(self, table: str) -> list[str]:
        """Name those of the dependants that populate does not fill: users' tables, above all."""
        ours = {schema_name(module, self.prefix) for module in MODULES}
        return [
            f"{schema}.{name}"
            for schema, name in self.dependants(table)
            if schema not in ours or not name.startswith("_")
        ]


class Change:
    """A change of the tables or rows, which does nothing where it is made already."""

    def __str__(self) -> str:
        """Say in one line what is changed."""
        raise NotImplementedError

    def run(self, db: Database) -> None:
        """Make the change."""
        raise NotImplementedError

    def blockers(self, db: Database) -> list[str]:  # noqa: ARG002
        """Name users' tables that must be dropped before."""
        return []


@dataclass(frozen=True)
class Column(Change):
    """Add a column, or change whether it may be null, its default, comment or type.

    Attributes
    ----------
    table : str
        Table as `module.name`, with the name that it has on the server.
    line : str
        Line of the definition, written out: a later definition may differ.
    value : str, optional
        SQL of the value for rows without one.
    retyped : bool
        Whether the type changes: PostgreSQL refuses this for columns that a view uses.
    """

    table: str
    line: str
    value: str | None = None
    retyped: bool = False

    def __str__(self) -> str:
        """Say in one line what is changed."""
        filled = f"; rows without a value get {self.value}" if self.value else ""
        return f"{self.table}: {' '.join(self.line.split())}{filled}"

    def run(self, db: Database) -> None:
        """Make the change."""
        name, sql, comment = upstream.compile_column(self.line, db.connection.adapter)
        self._make(db, name, sql, comment)

    def _make(self, db: Database, name: str, sql: str, comment: str | None) -> None:
        """Add the column so that it may be null, fill it, and make it as it is defined."""
        table = db.quote(*db.split(self.table))
        if name not in db.columns(self.table):
            db.run(f"ALTER TABLE {table} ADD COLUMN {sql.replace('NOT NULL', 'NULL', 1)}")
        if self.value is not None:
            quoted = db.quote(name)
            db.run(f"UPDATE {table} SET {quoted} = {self.value} WHERE {quoted} IS NULL")
        if db.is_mysql:
            db.run(f"ALTER TABLE {table} MODIFY COLUMN {sql}")
            return
        parts = re.fullmatch(r'("\w+") (.+?)( NOT NULL)?(?: DEFAULT (.+))?', sql)
        assert parts, sql
        quoted, kind, required, default = parts.groups()
        changes = [f"{'SET' if required else 'DROP'} NOT NULL"]
        changes.append(f"SET DEFAULT {default}" if default else "DROP DEFAULT")
        if self.retyped:
            changes.insert(0, f"TYPE {kind} USING {quoted}::{kind}")
        altered = ", ".join(f"ALTER COLUMN {quoted} {change}" for change in changes)
        db.run(f"ALTER TABLE {table} {altered}")
        if comment:
            db.run(db.connection.adapter.column_comment_ddl(table, name, comment))


@dataclass(frozen=True)
class Reference(Column):
    """Add a foreign key on one new column that has the name of the parent's key.

    `line` describes the column as the parent does; `parent` is a table as `module.name`.
    """

    parent: str = ""

    def run(self, db: Database) -> None:
        """Add the column with its index, the foreign key, and what DataJoint knows of it."""
        adapter = db.connection.adapter
        name, sql, _ = upstream.compile_column(self.line, adapter)
        if db.is_mysql:  # the comment of a foreign key does not repeat the type
            sql = re.sub(r'COMMENT ":[^:]+:', 'COMMENT "', sql)
        (schema, table), parent = db.split(self.table), db.split(self.parent)
        self._make(db, name, sql, None)
        if (schema, table, *parent) not in db.links():
            db.run(
                f"ALTER TABLE {db.quote(schema, table)} ADD FOREIGN KEY ({db.quote(name)}) "
                f"REFERENCES {db.quote(*parent)} ({db.quote(name)}) "
                "ON UPDATE CASCADE ON DELETE RESTRICT"
            )
        if not db.is_mysql:
            index = adapter.create_index_ddl(db.quote(schema, table), [name])
            db.run(index.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1))
        origin = lineage.get_lineage(db.connection, *parent, name)
        db.run(
            f"DELETE FROM {db.quote(schema, '~lineage')} "
            "WHERE table_name = %s AND attribute_name = %s",
            *(table, name),
        )
        lineage.insert_lineages(db.connection, schema, [(table, name, origin)])


@dataclass(frozen=True)
class Index(Change):
    """Add an index, as an `index (...)` line of a definition declares it."""

    table: str
    columns: tuple[str, ...]

    def __str__(self) -> str:
        """Say in one line what is changed."""
        return f"{self.table}: index ({', '.join(self.columns)})"

    def run(self, db: Database) -> None:
        """Make the change."""
        table = db.quote(*db.split(self.table))
        if not db.is_mysql:
            index = db.connection.adapter.create_index_ddl(table, list(self.columns))
            db.run(index.replace("CREATE INDEX", "CREATE INDEX IF NOT EXISTS", 1))
            return
        asked = (
            "SELECT group_concat(column_name ORDER BY seq_in_index) "
            "FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s "
            "GROUP BY index_name"
        )
        if (",".join(self.columns),) not in db.run(asked, *db.split(self.table)):
            db.run(f"ALTER TABLE {table} ADD INDEX ({', '.join(map(db.quote, self.columns))})")


@dataclass(frozen=True)
class Update(Change):
    """Change rows of ours, e.g. of a lookup table."""

    table: str
    column: str
    value: str
    where: str

    def __str__(self) -> str:
        """Say in one line what is changed."""
        return f"{self.table}: {self.column} is {self.value} where {self.where}"

    def run(self, db: Database) -> None:
        """Make the change."""
        table = db.quote(*db.split(self.table))
        db.run(f"UPDATE {table} SET {db.quote(self.column)} = {self.value} WHERE {self.where}")


@dataclass(frozen=True)
class Insert(Change):
    """Insert a row of ours, whose first column is its key, unless it is there."""

    table: str
    row: Mapping[str, Any]

    def __str__(self) -> str:
        """Say in one line what is changed."""
        return f"{self.table}: new row {next(iter(self.row.values()))}"

    def run(self, db: Database) -> None:
        """Make the change."""
        table, names = db.quote(*db.split(self.table)), list(self.row)
        key, *_ = names
        if not db.run(f"SELECT 1 FROM {table} WHERE {db.quote(key)} = %s", self.row[key]):
            columns, values = ", ".join(map(db.quote, names)), ", ".join(["%s"] * len(names))
            db.run(f"INSERT INTO {table} ({columns}) VALUES ({values})", *self.row.values())


@dataclass(frozen=True)
class Describe(Change):
    """Change the comment of a table, which is its grain."""

    table: str
    grain: str

    def __str__(self) -> str:
        """Say in one line what is changed."""
        return f"{self.table}: {self.grain}"

    def run(self, db: Database) -> None:
        """Make the change."""
        table, grain = db.quote(*db.split(self.table)), self.grain.replace("'", "''")
        ddl = f"ALTER TABLE {table} COMMENT = '{grain}'"
        db.run(ddl if db.is_mysql else f"COMMENT ON TABLE {table} IS '{grain}'")


@dataclass(frozen=True)
class Compute(Change):
    """Let a function change rows, e.g. because their values are computed from other rows.

    `blocked_by` names the users' tables whose rows it would have to remove.
    """

    what: str
    function: Callable[[Database], None]
    blocked_by: Callable[[Database], list[str]] = lambda _: []

    def __str__(self) -> str:
        """Say in one line what is changed."""
        return self.what

    def blockers(self, db: Database) -> list[str]:
        """Name users' tables that must be dropped before."""
        return self.blocked_by(db)

    def run(self, db: Database) -> None:
        """Make the change."""
        self.function(db)


@dataclass(frozen=True)
class Rebuild(Change):
    """Drop a computed table with its dependants; populate fills them again."""

    table: str

    def __str__(self) -> str:
        """Say in one line what is changed."""
        return f"{self.table} and what depends on it: dropped, for `bwm populate` to fill again"

    def blockers(self, db: Database) -> list[str]:
        """Name users' tables that refer to it."""
        return db.not_filled(self.table)

    def run(self, db: Database) -> None:
        """Drop the tables and their job tables."""
        for schema, table in db.dependants(self.table):
            db.run(f"DROP TABLE IF EXISTS {db.quote(schema, table)}")
            if "__" not in table.lstrip("_"):
                db.run(f"DROP TABLE IF EXISTS {db.quote(schema, '~~' + table.lstrip('_'))}")
