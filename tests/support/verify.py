"""Damage: to files, to objects, and to rows behind DataJoint's back."""

import json
from contextlib import contextmanager
from pathlib import Path

import datajoint as dj
import pyarrow.parquet as pq

from schemas import rows


def flip(path, column=None):
    """Change one byte of a file: the one in its middle, or in that of a column of an object."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if column is not None:
        group = pq.ParquetFile(path).metadata.row_group(0)
        names = [group.column(i).path_in_schema for i in range(group.num_columns)]
        chunk = group.column(names.index(column))
        middle = chunk.data_page_offset + chunk.total_compressed_size // 2
    content[middle] ^= 0x40
    path.write_bytes(content)


def cut(path):
    """Take the last bytes from a file."""
    path.write_bytes(path.read_bytes()[:-7])


def place(database, ref):
    """Path of an object on this machine."""
    return Path(database.settings.store.location, ref.path)


def first(table, column, **key):
    """Key of the first row of a table, and its object."""
    row = (table & key).to_dicts(order_by=table.primary_key, limit=1)[0]
    return {name: row[name] for name in table.primary_key}, row[column]


def key_of(table, where=True):
    """Key of the first row of a table that meets a condition."""
    return (table & where).keys(order_by=table.primary_key, limit=1)[0]


def change(table, key, **values):
    """Change columns of rows as nobody should: with SQL."""
    quote = table().adapter.quote_identifier
    sets = ", ".join(f"{quote(name)} = {value}" for name, value in values.items())
    dj.conn().query(f"UPDATE {table.full_table_name} SET {sets}{(table & key).where_clause()}")


@contextmanager
def changed(table, key, column, value):
    """Change a column of rows while a block runs."""
    quote = table().adapter.quote_identifier
    before = [
        (row, row.pop(column)) for row in rows.frame((table & key).proj(column)).to_dict("records")
    ]
    change(table, key, **{column: value})
    try:
        yield
    finally:
        for row, held in before:
            where = (table & row).where_clause().replace("%", "%%")
            sets = f"UPDATE {table.full_table_name} SET {quote(column)} = %s"
            dj.conn().query(sets + where, (rows.clean(held),))


@contextmanager
def pointed(table, key, column, stored):
    """Let a row say something else of its object while a block runs."""
    _, ref = first(table, column, **key)
    change(table, key, **{column: _written(stored)})
    try:
        yield ref
    finally:
        change(table, key, **{column: _written(ref.stored)})


def _written(stored):
    return f"'{json.dumps(stored)}'"


def named(report):
    """What a report names: check, table, key, and what of it."""
    return {(d.check, d.table, tuple(sorted(d.key.items())), d.what) for d in report.damage}


def name(check, table, key, what):
    """One such name."""
    return check, table, tuple(sorted(key.items())), str(what)
