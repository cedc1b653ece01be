"""Headings that are read ahead for all tables."""

import datajoint as dj

from schemas import connection
from schemas.database import headings
from tests.support.databases import tables


def read():
    """All that DataJoint knows of each table, and of its jobs."""
    found = {}
    for name, table in tables().items():
        of_class = [table(), *([table().jobs] if hasattr(table, "jobs") else [])]
        found[name] = [
            (
                {k: repr(v) for k, v in one.heading.attributes.items()},
                [v.lineage for v in one.heading.attributes.values()],
                one.heading.table_status["comment"],
                one.heading.indexes,
                one.primary_key,
                one.is_declared,
            )
            for one in of_class
        ]
    return found


def test_headings_are_those_that_datajoint_reads_itself(populated, statements):
    connection.disconnect()
    statements.clear()
    populated.connect()
    ahead, n_ahead = read(), len(statements)
    del dj.conn().query  # as DataJoint has it
    connection.disconnect()
    populated.connect()
    del dj.conn().query
    statements.clear()
    assert read() == ahead
    assert n_ahead < 60 < 500 < len(statements)


def test_a_changed_table_is_read_anew(database, statements):
    name = dj.conn().adapter.make_full_table_name(f"{database.settings.prefix}_reference", "own")
    assert not dj.FreeTable(dj.conn(), name).is_declared
    schema = dj.Schema(f"{database.settings.prefix}_reference", connection=dj.conn())
    own = schema(type("Own", (dj.Manual,), {"definition": "# one\nid : int\n"}))
    try:
        assert own.heading.names == ["id"]
        headings.read_ahead(dj.conn(), [f"{database.settings.prefix}_reference"])
        statements.clear()
        assert dj.FreeTable(dj.conn(), own.full_table_name).heading.names == ["id"]
        assert statements == []
        dj.conn().query(f"ALTER TABLE {own.full_table_name} ADD more int")
        assert dj.FreeTable(dj.conn(), own.full_table_name).heading.names == ["id", "more"]
    finally:
        own().drop_quick()
