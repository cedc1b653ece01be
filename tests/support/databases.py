"""Databases of the project on a test server."""

import importlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datajoint as dj
import pandas as pd
from iblutil.io import parquet

from populate import catalog, status
from populate.registration.register import register
from populate.workers import worker
from schemas import MODULES, connection, rows
from schemas.database.declared import tables_of, with_parts
from schemas.settings import ENVIRONMENT, Settings
from schemas.sources.simulator.writing import md5

_number = itertools.count()


@dataclass(frozen=True)
class Release:
    """A simulated release and what was planted in it."""

    folder: Path
    truth: Any


def relist(folder, path):
    """List a file of a release as it is now."""
    listed, info = parquet.load(folder / "datasets.pqt")
    of_file = listed.rel_path.map(lambda name: path.as_posix().endswith(name))
    assert of_file.sum() == 1
    listed.loc[of_file, ["hash", "file_size"]] = [md5(path.read_bytes()), path.stat().st_size]
    parquet.save(str(folder / "datasets.pqt"), listed, info)


def environment(settings):
    """Variables with which the command finds a database, as the user of the settings."""
    return {
        "DJ_HOST": settings.host,
        "DJ_PORT": str(settings.port),
        "DJ_USER": settings.user,
        "DJ_PASS": settings.password.get_secret_value(),
        "DJ_BACKEND": settings.backend,
        "DJ_USE_TLS": "false",
        "BWM_HOME": str(settings.home),
        "BWM_PREFIX": settings.prefix,
    }


def connect(backend):
    """Open a connection of DataJoint's to a server, beside that of the project."""
    with dj.config.override(database__backend=backend.name, database__port=backend.port):
        return dj.Connection(
            backend.host, backend.user, backend.password, port=backend.port, use_tls=False
        )


class Database:
    """The project's schemas under a prefix of their own; `more` are settings by their keys."""

    def __init__(self, backend, home, prefix=None, **more):
        self.more = more
        self.settings = Settings.model_validate(
            {
                "database.host": backend.host,
                "database.port": backend.port,
                "database.user": backend.user,
                "database.password": backend.password,
                "database.backend": backend.name,
                "database.use_tls": False,
                "bwm.home": str(home),
                "bwm.prefix": prefix or f"t{os.getpid()}_{next(_number)}",
                **more,
            }
        )

    @property
    def environment(self):
        """Variables with which the command finds this database."""
        named = {name: str(self.more[key]) for name, key in ENVIRONMENT.items() if key in self.more}
        return {**environment(self.settings), **named}

    def connect(self):
        connection.connect(self.settings)

    def clear(self):
        """Make it as it was when it was new: far quicker than a new one."""
        held = self._tables()
        if self.settings.server_backend == "postgresql":
            dj.conn().query(f"TRUNCATE {', '.join(held)}")
        else:
            dj.conn().query("SET FOREIGN_KEY_CHECKS = 0")
            for table in held:
                dj.conn().query(f"DELETE FROM {table}")
            dj.conn().query("SET FOREIGN_KEY_CHECKS = 1")
        for name, table in tables().items():
            if issubclass(table, dj.Lookup) and not name.startswith("atlas."):
                rows.insert(table(), table.contents)

    def _tables(self):
        """Tables below the prefix, those of jobs included, as the server names them."""
        quote = dj.conn().adapter.quote_identifier
        found = dj.conn().query(
            "SELECT table_schema, table_name FROM information_schema.tables "
            f"WHERE table_schema LIKE '{self.settings.prefix}!_%%' ESCAPE '!'"
        )
        return [
            f"{quote(schema)}.{quote(table)}"
            for schema, table in found.fetchall()
            if not schema.endswith("_atlas") and (table[0] != "~" or table.startswith("~~"))
        ]

    def drop(self):
        connection.drop(self.settings.prefix)
        connection.disconnect()

    def register(self, folder=None, release=None, selection=None):
        """Register as the command does; return the reports."""
        location = None if folder is None else str(folder)
        return register(location, None if release is None else Path(release), selection)

    def populate(self):
        """Make everything that can be made; return the failures."""
        worker.run()
        return status.failures()

    def status(self):
        """State of each table by its name."""
        return {row.table: row for row in status.status()}


def tables():
    """Every table and part table of the project, by its name."""
    return {
        catalog.name_of(one): one
        for module in MODULES
        for table in tables_of(importlib.import_module(f"schemas.{module}"))
        for one in with_parts(table)
    }


def object_columns():
    """Columns that point to stored objects, by the name of their table."""
    found = {}
    for name, table in tables().items():
        columns = [c for c, a in table().heading.attributes.items() if a.store]
        if columns:
            found[name] = columns
    return found


def stored_objects():
    """Paths of the objects that rows point to."""
    return {
        str(one.path)
        for name, columns in object_columns().items()
        for column in columns
        for one in tables()[name].to_arrays(column)
    }


def held_objects(database):
    """Paths of the files in its store, without the file that names its owner."""
    folder = Path(database.settings.store.location)
    files = (str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
    return {path for path in files if path != f"{database.settings.prefix}.owner.json"}


def snapshot(ignore=()):
    """Everything that the database holds, by table: stored objects by name, which is a hash.

    Columns in `ignore` are left out, and the atlas, which is the same in every database, and what
    verify has covered.
    """
    left_out = ("atlas.", "quality.Recomputed")
    held = {name: table for name, table in tables().items() if not name.startswith(left_out)}
    return {name: _frame(table, ignore) for name, table in held.items()}


def _frame(table, ignore):
    held = pd.DataFrame(table().to_dicts(order_by=table.primary_key), dtype=object)
    held = held.drop(columns=[name for name in ignore if name in held])
    for name in held:
        held[name] = [Path(v.path).name if hasattr(v, "path") else v for v in held[name]]
    return held


def differences(found, expected):
    """What two snapshots do not share: number of rows, and columns that differ, by table."""
    assert found.keys() == expected.keys()
    told = {}
    for name, frame in found.items():
        other = expected[name]
        if frame.shape != other.shape:
            told[name] = (frame.shape, other.shape)
        elif not frame.equals(other):
            told[name] = [c for c in frame if not frame[c].equals(other[c])]
    return told
