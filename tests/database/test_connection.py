"""Connecting: once, again, elsewhere, and after it failed."""

import datajoint as dj
import pytest

from schemas import activity, atlas, connection, session, subject
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


def test_after_a_failed_activation_another_database_can_be_used(database, other, monkeypatch):
    activate = connection.activate

    def fail(server, prefix):
        activate(server, prefix)
        raise dj.errors.DataJointError("made up")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "activate", fail)
        with pytest.raises(ServerError, match=r"the tables cannot be created \(made up\)"):
            connection.connect(other)
    database.connect()
    assert atlas.BrainRegion().full_table_name.strip('`"').startswith(database.settings.prefix)
    assert len(atlas.BrainRegion()) == 1328


def test_tables_of_an_older_version_are_refused_by_name(database):
    column = "is_listed"
    table = session.Dataset.full_table_name
    dj.conn().query(f"ALTER TABLE {table} RENAME COLUMN {column} TO was_listed")
    connection.disconnect()
    with pytest.raises(ServerError, match=f"dataset lacks {column}: it is of an older version"):
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
