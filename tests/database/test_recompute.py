"""Every stored value is what is computed again: an edit of any column is found."""

import json
from contextlib import contextmanager

import datajoint as dj
import numpy as np
import pytest
from typer.testing import CliRunner

from populate import catalog, cli
from populate.verify import recompute
from schemas import behavior, quality, rows
from schemas.database.declared import with_parts
from tests.support.verify import change

TABLES = catalog.tables()
each_table = pytest.mark.parametrize("table", TABLES, ids=map(catalog.name_of, TABLES))


@each_table
def test_rows_equal_those_that_are_computed_again(populated, table):
    keys = table().keys(limit=3)
    assert keys
    for key in keys:
        assert list(recompute.differences(table, key)) == []


@contextmanager
def edited(*rows):
    """Write SQL into columns of rows, whatever refers to them, and undo that after the block.

    Each is a table, the key of a row, and the values by column.
    """
    mysql = dj.conn().adapter.backend == "mysql"
    off, on = (
        ("SET FOREIGN_KEY_CHECKS = 0", "SET FOREIGN_KEY_CHECKS = 1")
        if mysql
        else ("SET session_replication_role = replica", "SET session_replication_role = DEFAULT")
    )
    dj.conn().query(off)
    dj.conn().start_transaction()
    try:
        for table, key, values in rows:
            change(table, key, **values)
        yield
    finally:
        dj.conn().cancel_transaction()
        dj.conn().query(on)


def other_values(table, column, stored):
    """SQL of other values for a column: one for each field of the reference to an object."""
    attribute = table().heading.attributes[column]
    name = table().adapter.quote_identifier(column)
    kind = rows.kind_of(str(attribute.original_type or attribute.type))
    if attribute.codec and not attribute.store:  # an array as bytes
        text = dj.blob.pack(np.zeros(3)).hex()
        yield f"x'{text}'" if dj.conn().adapter.backend == "mysql" else f"'\\x{text}'"
        yield "'x'"
    elif attribute.codec and stored is not None:
        other = {"columns": ["x"], "n_rows": -1, "n_bytes": -1}
        for field in stored:
            yield f"'{json.dumps({**stored, field: other.get(field, 'x')})}'"
    elif attribute.codec or attribute.json:
        yield """'["x"]'"""
    elif kind == "bool":
        yield f"NOT coalesce({name}, false)"
    elif kind == "int":
        yield f"CASE WHEN {name} = -7 THEN -8 ELSE -7 END"
    elif kind == "float":
        yield f"coalesce({name}, 0) * 1.001 + 0.001"
    elif kind.startswith(("decimal", "numeric")):
        yield "0.7777"
    elif kind.startswith(("date", "timestamp")):
        yield "'2000-01-01'"
    else:
        yield f"CASE WHEN coalesce({name}, '') = 'x' THEN 'y' ELSE 'x' END"


def stored_reference(table, key, column):
    """What a row holds of an object."""
    ((held,),) = dj.conn().query((table & key).proj(column).make_sql([column])).fetchall()
    return json.loads(held) if isinstance(held, str) else held


@each_table
def test_an_edit_of_any_column_is_found(populated, table):
    key = max(table().keys(limit=12), key=lambda k: sum(len(one & k) for one in with_parts(table)))
    computed = recompute.compute(table, key)
    for one in with_parts(table):
        for row_key in (one & key).keys(limit=1, order_by="KEY"):
            for column, attribute in one().heading.attributes.items():
                held = stored_reference(one, row_key, column) if attribute.store else None
                for value in other_values(one, column, held):
                    with edited((one, row_key, {column: value})):
                        found = list(recompute.compare(table, key, computed))
                        if column in table.primary_key:  # the row has another key now
                            found += recompute.strays([table], True) if one is table else []
                    assert found, f"{one.__name__}.{column} = {value}"
                    assert all(damage.table == catalog.name_of(table) for damage in found)


IMPORTED = [table for table in TABLES if hasattr(table, "Source")]


@pytest.mark.parametrize("table", IMPORTED, ids=map(catalog.name_of, IMPORTED))
def test_deep_finds_an_edit_of_every_imported_column_or_calls_the_row_stale(populated, table):
    """The columns that say which files and sites were read are what makes a row stale."""
    key = max(table().keys(limit=12), key=lambda k: sum(len(one & k) for one in with_parts(table)))
    says_what_was_read = {"source_md5", table.sites_column}
    says_what_was_read |= {"location_level"} & set(table().heading.names)
    rows, expected = [], set()
    for one in with_parts(table):
        for row_key in (one & key).keys(limit=1, order_by="KEY"):
            names = set(one().heading.names) - set(one.primary_key) - says_what_was_read
            if names:
                values = {name: next(other_values(one, name, None)) for name in names}
                rows.append((one, row_key, values))
            part = "" if one is table else f"{one.__name__}, "
            expected |= {f"{part}{name}" for name in names}
    with edited(*rows):
        found = recompute.recompute(eid=key["eid"], tables=[table])
        assert {damage.what for damage in found.damage} == expected
        assert {tuple(damage.key.values()) for damage in found.damage} == {tuple(key.values())}
    for column in says_what_was_read - {None}:
        one = table.Source if column == "source_md5" else table
        row_key = (one & key & f"{column} IS NOT NULL").keys(limit=1)
        with edited(*((one, each, {column: "'x'"}) for each in row_key)):
            found = recompute.recompute(eid=key["eid"], tables=[table])
            assert (found.n_stale, found.damage) == (len(row_key), [])
    quality.Recomputed().delete_quick()


def test_rounds_cover_every_row_once_and_name_an_edit_until_it_is_repaired(populated):
    tables = [behavior.Trials, behavior.ReactionTime]
    n_rows = sum(len(table()) for table in tables)
    first = recompute.recompute(0.4, tables=tables)
    assert 0 < first.n_computed < n_rows
    assert (first.n_rows, first.n_covered, first.damage) == (n_rows, first.n_computed, [])
    key = {**behavior.ReactionTime().keys(limit=1)[0]}
    (quality.Recomputed & {"recomputed_table": "behavior.ReactionTime"}).delete_quick()
    with edited((behavior.ReactionTime, key, {"n_missing": "n_missing + 1"})):
        second = recompute.recompute(tables=tables)
        again = recompute.recompute(tables=tables)
        assert [damage.what for damage in (*second.damage, *again.damage)] == ["n_missing"] * 2
        assert again.n_computed == 1
        assert second.n_covered == again.n_covered == n_rows - 1
        assert second.damage[0].key == key
        assert second.damage[0].can_be_repaired
    quality.Recomputed().delete_quick()
    done = recompute.recompute(tables=tables)
    assert (done.n_computed, done.n_covered, done.damage) == (n_rows, n_rows, [])
    assert recompute.recompute(0.01, tables=tables).n_covered == 1  # of the next round
    quality.Recomputed().delete_quick()


def test_a_round_of_one_session_leaves_those_of_others(populated):
    tables = [behavior.Trials, behavior.ReactionTime]
    every = recompute.recompute(tables=tables)
    eid = behavior.Trials().keys(limit=1)[0]["eid"]
    first = recompute.recompute(eid=eid, tables=tables)  # a new round of this session
    assert 0 < first.n_computed == first.n_covered < every.n_covered
    assert len(quality.Recomputed()) == every.n_covered
    quality.Recomputed().delete_quick()


def test_the_command_names_the_edit_and_says_what_is_covered(populated):
    eid = behavior.Trials().keys(limit=1)[0]["eid"]

    def verify(*options):
        command = ["verify", "--session", eid, "--recompute", "1", *options]
        return CliRunner().invoke(cli.app, command, env=populated.environment)

    sound = verify()
    assert sound.exit_code == 0, sound.output
    assert "recomputed " in sound.output
    quality.Recomputed().delete_quick()
    populated.connect()
    (n_used,) = (behavior.TrialMask & {"eid": eid}).to_arrays("n_used", limit=1)
    mask = (behavior.TrialMask & {"eid": eid}).keys(limit=1)[0]
    change(behavior.TrialMask, mask, n_used=-1)
    try:
        found = verify("--json")
        assert found.exit_code == 1
        assert "recomputed" in {one["check"] for one in json.loads(found.stdout)["damage"]}
    finally:
        populated.connect()
        change(behavior.TrialMask, mask, n_used=n_used)
        quality.Recomputed().delete_quick()
