"""Databases of version 0.4.0, as SQL of both servers, and how they were made.

`tests/data/0.4.0.*.sql.xz` hold what version 0.4.0 (commit a072b96) made of a simulated session of
two probes: `bwm simulate` of size tiny and seed 1 with one session, `bwm register`, `bwm populate`;
then `pg_dump --no-owner --no-privileges --rows-per-insert=500`, and `mysqldump --databases`.
Lines of comments and of psql are left out, `PREFIX` stands for the prefix, `RELEASE` for the folder
of the simulated release. `0.4.0.wheel.parquet` is the one stored object that an upgrade reads.
"""

import json
import lzma
from pathlib import Path

from schemas import activation, connection
from schemas.database import upstream

DATA = Path(__file__).parents[1] / "data"


def restore(settings, backend):
    """Put the database of 0.4.0 under the prefix of the settings; its wheel trace in the store."""
    text = lzma.decompress((DATA / f"0.4.0.{backend}.sql.xz").read_bytes()).decode()
    text = text.replace("PREFIX_", f"{settings.prefix}_")
    server = connection.connect(settings, tables=False)
    driver = upstream.driver_connection(server)
    with driver.cursor() as cursor:
        # The databases of MySQL refer to each other.
        first = "SET FOREIGN_KEY_CHECKS = 0;\n" if backend == "mysql" else ""
        for statement in (first + text).split(";\n") if backend == "mysql" else [text]:
            if statement.strip():
                cursor.execute(statement)
    connection.disconnect()  # the dump changes settings of the session
    server = connection.connect(settings, tables=False)
    table = f"{activation.schema_name('wheel', settings.prefix)}._wheel"
    (path,) = server.query(f"SELECT wheel_trace FROM {table}").fetchone()
    path = path if isinstance(path, dict) else json.loads(path)
    target = Path(settings.store.location) / path["path"]
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes((DATA / "0.4.0.wheel.parquet").read_bytes())
    return server


def enlarge(server, prefix):
    """Double the units of the spike sortings eight times: about 95,000 rows, of 16,000."""
    quote = server.adapter.quote_identifier
    for name in ("_spike_sorting__cluster", "__good_units__unit"):
        key = activation.schema_name("ephys", prefix), name
        columns = sorted(activation.existing_columns(server, prefix)[key])
        table, listed = ".".join(map(quote, key)), ", ".join(map(quote, columns))
        for _ in range(8):
            (shift,) = server.query(f"SELECT max(cluster_id) + 1 FROM {table}").fetchone()
            other = listed.replace(quote("cluster_id"), f"cluster_id + {shift}")
            server.query(f"INSERT INTO {table} ({listed}) SELECT {other} FROM {table}")


def contents(server, prefix, columns=None):
    """Rows of every table, each once, of all columns or those that are given by table."""
    quote = server.adapter.quote_identifier
    columns = columns or {
        key: sorted(names)
        for key, names in activation.existing_columns(server, prefix).items()
        if key[1][0] != "~"
    }
    found = {}
    for key, names in columns.items():
        query = f"SELECT {', '.join(map(quote, names))} FROM {'.'.join(map(quote, key))}"
        found[key] = {str(row) for row in server.query(query).fetchall()}
    return columns, found


def counts(server, prefix):
    """Numbers of rows by table, without those of DataJoint and without jobs."""
    quote = server.adapter.quote_identifier
    tables = [key for key in activation.existing_columns(server, prefix) if key[1][0] != "~"]
    return {
        f"{schema.removeprefix(prefix)[1:]}.{table}": server.query(
            f"SELECT count(*) FROM {quote(schema)}.{quote(table)}"
        ).fetchone()[0]
        for schema, table in tables
    }
