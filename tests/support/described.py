"""All that a server says about the tables of a prefix, to be compared with those of another."""

from collections import Counter

QUERIES = {
    "mysql": {
        "column": "SELECT table_schema, table_name, column_name, column_type, is_nullable, "
        "column_default, extra, column_comment, collation_name FROM information_schema.columns "
        "WHERE table_schema LIKE %s",
        "table": "SELECT table_schema, table_name, table_comment, table_collation, engine "
        "FROM information_schema.tables WHERE table_schema LIKE %s",
        "index": "SELECT table_schema, table_name, index_name, seq_in_index, column_name, "
        "non_unique FROM information_schema.statistics WHERE table_schema LIKE %s",
        "key": "SELECT table_schema, table_name, constraint_name, column_name, ordinal_position, "
        "referenced_table_schema, referenced_table_name, referenced_column_name "
        "FROM information_schema.key_column_usage WHERE table_schema LIKE %s",
        "rule": "SELECT constraint_schema, table_name, constraint_name, update_rule, delete_rule "
        "FROM information_schema.referential_constraints WHERE constraint_schema LIKE %s",
    },
    "postgresql": {
        "column": "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), "
        "attnotnull, pg_get_expr(adbin, adrelid), col_description(attrelid, attnum) "
        "FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef "
        "ON adrelid = attrelid AND adnum = attnum WHERE relkind = 'r' AND attnum > 0 "
        "AND NOT attisdropped AND relnamespace::regnamespace::text LIKE %s",
        "table": "SELECT oid::regclass::text, obj_description(oid) FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace::regnamespace::text LIKE %s",
        "index": "SELECT indexdef FROM pg_indexes WHERE schemaname LIKE %s",
        "key": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) "
        "FROM pg_constraint WHERE connamespace::regnamespace::text LIKE %s",
    },
}
"""The position of a column is left out: a server adds columns at the end of a table."""


def describe(connection, prefix):
    """Columns, types, nullability, defaults, keys, indexes and comments of all tables of a prefix.

    Two databases with the same tables give the same counts.
    """
    queries = QUERIES[connection.adapter.backend]
    found = Counter()
    for what, query in queries.items():
        for row in connection.query(query, (f"{prefix}\\_%",)).fetchall():
            found[(what, *_texts(row, prefix))] += 1
    quote = connection.adapter.quote_identifier
    schemas = {one[1].partition(".")[0].strip('"') for one in found if one[0] == "table"}
    for schema in schemas:
        table = f"{quote(f'{prefix}_{schema}')}.{quote('~lineage')}"
        for row in connection.query(f"SELECT * FROM {table}").fetchall():
            found[("lineage", schema, *_texts(row, prefix))] += 1
    return found


def _texts(row, prefix):
    return (str(value).replace(f"{prefix}_", "") for value in row)


def differences(found, expected):
    """Lines that only one of two descriptions has: `+` is in the first alone."""
    signs = (("+", found - expected), ("-", expected - found))
    return sorted(f"{sign} {' | '.join(one)}" for sign, ones in signs for one in ones)
