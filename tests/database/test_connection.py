"""Connecting: once, again, elsewhere, and after it failed."""

import os
import subprocess
import sys
import time
from contextlib import closing

import datajoint as dj
import psutil
import psycopg2
import pytest

import schemas
from schemas import activation, activity, atlas, behavior, connection, session, subject
from schemas import settings as settings_module
from schemas.database import locks
from schemas.database.declared import tables_of, with_parts
from schemas.errors import ServerError
from tests.support.databases import tables


@pytest.fixture
def other(database):
    """Settings of a second database on the same server."""
    settings = database.settings.model_copy(update={"prefix": f"{database.settings.prefix}x"})
    yield settings
    connection.connect(settings)
    connection.drop(settings.prefix)
    database.connect()


def test_connecting_again_keeps_the_connection(database):
    assert connection.connect(database.settings) is connection.connect(database.settings)


def test_databases_under_two_prefixes_are_apart(database, other):
    subject.Lab.insert1({"lab": "here"})
    connection.connect(other)
    assert len(subject.Lab()) == 0
    database.connect()
    assert subject.Lab.to_arrays("lab").tolist() == ["here"]


FAILURES = {
    "of DataJoint": (dj.errors.DataJointError("made up"), ServerError),
    # Of a server that goes away meanwhile; DataJoint passes it on.
    "of the driver": (psycopg2.OperationalError("made up"), psycopg2.OperationalError),
}


@pytest.mark.parametrize("error", FAILURES)
def test_after_a_failed_activation_any_database_can_be_used(database, other, monkeypatch, error):
    activate = activation.activate
    raised, expected = FAILURES[error]

    def fail(*arguments):
        activate(*arguments)
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(activation, "activate", fail)
        with pytest.raises(expected, match="made up"):
            connection.connect(other)
    for found in (database.settings, other):
        connection.connect(found)
        assert atlas.BrainRegion().full_table_name.strip('`"').startswith(f"{found.prefix}_")
        assert len(atlas.BrainRegion()) == 1328
        assert len(behavior.ReactionTime().jobs) == 0
    database.connect()


def test_tables_of_an_older_version_are_refused_by_name(database, monkeypatch):
    column = "is_listed"
    table = session.Dataset.full_table_name
    dj.conn().query(f"ALTER TABLE {table} RENAME COLUMN {column} TO was_listed")
    connection.disconnect()
    lacks = f"dataset lacks {column}: it is of an older version. An admin must run"
    with pytest.raises(ServerError, match=f"{lacks} `bwm upgrade`"):
        database.connect()
    with monkeypatch.context() as patch:
        patch.setattr(settings_module, "DEMO", database.settings.prefix)
        with pytest.raises(ServerError, match=f"{lacks} `bwm --demo upgrade`"):
            database.connect()
    settings = database.settings
    password = settings.password.get_secret_value()
    dj.config["database.port"] = settings.port
    dj.conn(settings.host, settings.user, password, reset=True, use_tls=False)
    dj.conn().query(f"ALTER TABLE {table} RENAME COLUMN was_listed TO {column}")
    database.connect()


def test_what_is_missing_of_the_tables_is_made(database):
    missing = activity.RegionRate().jobs.full_table_name
    dj.conn().query(f"DROP TABLE {missing}")
    connection.disconnect()
    database.connect()
    assert dj.conn().query(f"SELECT count(*) FROM {missing}").fetchall()[0][0] == 0


def test_attaching_to_tables_that_are_there_asks_little(database, monkeypatch):
    """Each query is a round trip to a server that may be far away."""
    connection.disconnect()
    asked = []
    execute = dj.Connection._execute_query

    def count(self, cursor, query, *arguments):
        asked.append(query)
        return execute(self, cursor, query, *arguments)

    monkeypatch.setattr(dj.Connection, "_execute_query", count)
    database.connect()
    assert 0 < len(asked) < 4 * len(tables())


FREEZE = """
import os, signal, datajoint
from schemas import connection
execute, number = datajoint.Connection._execute_query, iter(range({before}))
def freeze(self, cursor, query, *arguments):
    if next(number, None) is None:
        os.kill(os.getpid(), signal.SIGSTOP)
    return execute(self, cursor, query, *arguments)
datajoint.Connection._execute_query = freeze
connection.connect()
os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.parametrize("before", [3, 30, 10_000])
def test_a_frozen_client_holds_up_no_connection(database, before):
    """It is frozen before a query of its own connecting, or after the last of them."""
    code = FREEZE.format(before=before)
    environment = {**os.environ, **database.environment}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as frozen:
        try:
            while psutil.Process(frozen.pid).status() != psutil.STATUS_STOPPED:
                assert frozen.poll() is None
                time.sleep(0.05)
            connection.disconnect()
            start = time.monotonic()
            database.connect()
            assert time.monotonic() - start < 10
        finally:
            frozen.kill()


def test_creating_tables_waits_for_a_named_connection_and_not_for_ever(
    database, other, monkeypatch
):
    monkeypatch.setattr(locks, "LONGEST_WAIT", 0.5)
    with closing(connection.open_another()) as holder, locks.one_at_a_time(holder, other.prefix):
        who = f"connection {holder.connection_id}"
        with (
            pytest.warns(UserWarning, match=f"Waiting up to 0.5 s for {who}, which creates or"),
            pytest.raises(ServerError, match=f"{who} creates or upgrades the tables for more"),
        ):
            connection.connect(other)
        database.connect()
    connection.connect(other)


def test_a_table_in_use_is_waited_for_with_a_limit(database, monkeypatch):
    """A transaction of another connection that is frozen may use a table for ever."""
    limits = {"mysql": "SET SESSION lock_wait_timeout = 1", "postgresql": "SET lock_timeout = '1s'"}
    monkeypatch.setattr(locks, "LIMIT", limits)
    table = subject.Lab.full_table_name
    with closing(connection.open_another()) as holder:
        holder.query("BEGIN")
        holder.query(f"SELECT * FROM {table}")
        with (
            pytest.raises(ServerError, match="another connection uses a table for more than"),
            locks.one_at_a_time(dj.conn(), database.settings.prefix),
        ):
            dj.conn().query(f"ALTER TABLE {table} ADD COLUMN added int")
    with locks.one_at_a_time(dj.conn(), database.settings.prefix, seconds=0):
        pass


def test_new_tables_have_one_row_with_their_version(database):
    prefix = database.settings.prefix
    found = activation.read_version(dj.conn(), prefix)
    assert found == activation.Version(activation.VERSION, schemas.__version__)
    activation.write_version(dj.conn(), prefix, activation.VERSION)
    table = activation._version_table(dj.conn(), prefix)
    assert len(dj.conn().query(f"SELECT * FROM {table}").fetchall()) == 1


def test_mysql_estimates_part_tables_from_many_pages(populated):
    if dj.conn().adapter.backend != "mysql":
        pytest.skip("PostgreSQL reads 30,000 rows for its estimates")
    parts = {part for module in activation.table_modules() for part in parts_of(module)}
    tables = dj.conn().query(
        "SELECT table_name, create_options FROM information_schema.tables "
        "WHERE table_schema LIKE %s",
        (f"{populated.settings.prefix}%",),
    )
    options = {name: text for name, text in tables.fetchall() if name in parts}
    assert options.keys() == parts
    wanted = f"stats_sample_pages={activation.SAMPLE_PAGES}"
    assert {name for name, text in options.items() if wanted not in text} == set()


def parts_of(module):
    return (part.table_name for table in tables_of(module) for part in with_parts(table)[1:])
