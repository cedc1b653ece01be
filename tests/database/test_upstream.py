"""Each repair works on both servers, and the DataJoint installed still needs it."""

import itertools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import datajoint as dj
import pytest

from schemas import activity, rows
from schemas import connection as connection_module
from schemas.database import upstream

pytestmark = pytest.mark.database

REPOSITORY = Path(__file__).parents[2]
number = itertools.count()


def connect(backend):
    with dj.config.override(database__backend=backend.name, database__port=backend.port):
        return dj.Connection(
            backend.host, backend.user, backend.password, port=backend.port, use_tls=False
        )


@pytest.fixture
def connection(backend):
    upstream.apply()
    found = connect(backend)
    yield found
    found.connect()  # a test may have left it broken
    found.close()


@pytest.fixture
def tables(connection):
    name = f"bwm_upstream_{os.getpid()}_{next(number)}"
    schema = dj.Schema(name, connection=connection)

    @schema
    class Mouse(dj.Manual):
        definition = """
        mouse : varchar(8)
        ---
        weight : float64
        """

    @schema
    class Visit(dj.Manual):
        definition = """
        -> Mouse
        visit : int32
        ---
        score : int32
        """

    Mouse.insert([weight("a", 20.0), weight("b", 25.0)])
    Visit.insert(
        {"mouse": mouse, "visit": visit, "score": score}
        for mouse, visit, score in [("a", 1, 10), ("a", 2, 30), ("b", 1, 50)]
    )
    yield Mouse, Visit
    connection.connect()
    schema.drop(prompt=False)


def weight(mouse, grams):
    return {"mouse": mouse, "weight": grams}


def cut(connection, backend):
    """End a connection from another one, as a restart of the server would."""
    victim = connection.query(
        "SELECT pg_backend_pid()" if backend.name == "postgresql" else "SELECT connection_id()"
    ).fetchone()[0]
    other = connect(backend)
    if backend.name == "postgresql":
        other.query(f"SELECT pg_terminate_backend({victim}, 5000)")
    else:
        other.query(f"KILL {victim}")
    other.close()


def test_a_lost_connection_is_made_again(connection, backend):
    cut(connection, backend)
    assert connection.query("SELECT 1").fetchone()[0] == 1


@pytest.mark.parametrize("known", [False, True])
def test_a_lost_connection_is_made_again_for_many_rows(connection, tables, backend, known):
    mouse, _ = tables
    assert len(mouse()) == 2
    cut(connection, backend)
    if known:
        connection.ping()
    rows.insert(mouse, [weight(str(i), 1.0 * i) for i in range(300)])
    assert len(mouse()) == 302


@pytest.mark.parametrize("reads", [True, False], ids=["read", "written"])
def test_many_rows_in_a_lost_transaction_are_an_error(connection, tables, backend, reads):
    mouse, _ = tables
    many = [weight(str(i), 1.0 * i) for i in range(300)]
    connection.start_transaction()
    cut(connection, backend)
    with pytest.raises(dj.errors.LostConnectionError, match="during a transaction"):
        rows.frame(mouse) if reads else rows.insert(mouse, many)
    assert len(rows.frame(mouse)) == 2


def test_a_connection_that_is_made_again_has_another_number(connection, backend):
    asked = "SELECT connection_id()" if backend.name == "mysql" else "SELECT pg_backend_pid()"
    before = connection.connection_id
    cut(connection, backend)
    assert connection.query(asked).fetchone()[0] == connection.connection_id != before


def test_a_connection_known_to_be_lost_is_made_again(connection, backend):
    cut(connection, backend)
    connection.ping()  # the driver learns of it here
    assert connection.query("SELECT 1").fetchone()[0] == 1


def test_a_closed_connection_is_made_again(connection):
    connection._conn.close()
    assert connection.query("SELECT 1").fetchone()[0] == 1


def test_a_connection_lost_in_a_transaction_is_reported_and_rolled_back(
    connection, backend, tables
):
    mouse, _ = tables

    def work():
        with connection.transaction:
            mouse.insert1(weight("c", 1.0))
            cut(connection, backend)
            mouse.insert1(weight("d", 1.0))

    with pytest.raises(dj.errors.LostConnectionError):
        work()
    assert len(mouse()) == 2
    with connection.transaction:
        mouse.insert1(weight("e", 1.0))
    assert len(mouse()) == 3


def test_without_reconnecting_the_loss_is_reported(connection, backend):
    cut(connection, backend)
    with pytest.raises(dj.errors.LostConnectionError):
        connection.query("SELECT 1", reconnect=False)


def test_other_errors_stay_what_they_were(connection, tables):
    mouse, _ = tables
    with pytest.raises(dj.errors.DuplicateError):
        mouse.insert1(weight("a", 1.0))
    with pytest.raises(dj.errors.QuerySyntaxError):
        connection.query("SELEKT 1")
    with pytest.raises(dj.errors.UnknownAttributeError):
        connection.query(f"SELECT nothing FROM {mouse.full_table_name}")


RENAMED = {
    "join": lambda mouse, visit: (mouse * visit).proj(result="score"),
    "key of a join": lambda mouse, visit: (mouse * visit).proj("score", animal="mouse"),
    "aggregation": lambda mouse, visit: mouse.aggr(visit, n="sum(score)").proj(total="n"),
    "universal set": lambda _, visit: (dj.U("score") & visit).proj(result="score"),
    "aggregation by U": lambda _, visit: (
        dj.U("mouse").aggr(visit, n="sum(score)").proj(animal="mouse", total="n")
    ),
    "extension": lambda mouse, visit: visit.extend(mouse).proj(grams="weight"),
    "earlier renaming": lambda _, visit: visit.proj(a="score").proj(b="a"),
    "subquery": lambda _, visit: visit().make_subquery().proj(result="score"),
    "restricted join": lambda mouse, visit: (mouse * visit).proj(r="score") & "r > 10",
}
EXPECTED = {
    "join": {("a", 1, 10), ("a", 2, 30), ("b", 1, 50)},
    "key of a join": {("a", 1, 10), ("a", 2, 30), ("b", 1, 50)},
    "aggregation": {("a", 40), ("b", 50)},
    "universal set": {(10,), (30,), (50,)},
    "aggregation by U": {("a", 40), ("b", 50)},
    "extension": {("a", 1, 20.0), ("a", 2, 20.0), ("b", 1, 25.0)},
    "earlier renaming": {("a", 1, 10), ("a", 2, 30), ("b", 1, 50)},
    "subquery": {("a", 1, 10), ("a", 2, 30), ("b", 1, 50)},
    "restricted join": {("a", 2, 30), ("b", 1, 50)},
}


@pytest.mark.parametrize("case", RENAMED)
def test_attributes_are_renamed_after(case, tables):
    renamed = RENAMED[case](*tables)
    rows = {tuple(sorted(row.values(), key=str)) for row in renamed.to_dicts()}
    assert rows == {tuple(sorted(row, key=str)) for row in EXPECTED[case]}


def test_the_visible_attributes_are_kept(tables):
    heading = tables[0]().heading
    assert heading.attributes is heading.attributes
    assert list(heading.attributes) == ["mouse", "weight"]


def test_attributes_kept_do_not_outlive_a_new_reading(tables):
    mouse, _ = tables
    heading = mouse().heading
    before = heading.attributes
    heading._init_from_database()
    assert heading.attributes is not before
    assert list(heading.attributes) == ["mouse", "weight"]


def test_hidden_attributes_stay_hidden(connection):
    heading = dj.heading.Heading(
        [
            dict(dj.heading.default_attribute_properties, name="seen"),
            dict(dj.heading.default_attribute_properties, name="_job", is_hidden=True),
        ]
    )
    assert heading.names == ["seen"]
    assert "_job" in heading._attributes


def test_the_jobs_of_a_table_are_kept_and_those_of_another_database_are_others(database, tmp_path):
    table = activity.RegionRate
    kept = table().jobs
    assert table().jobs is table.jobs is (table & {"eid": "x"}).jobs is kept
    settings = database.settings.model_copy(update={"prefix": f"{database.settings.prefix}x"})
    connection_module.connect(settings)
    try:
        other = table().jobs
        assert other.full_table_name != kept.full_table_name
        assert len(other) == 0
    finally:
        connection_module.drop(settings.prefix)
        database.connect()
    assert table().jobs.full_table_name == kept.full_table_name
    assert len(table().jobs) == 0


def test_applying_twice_changes_nothing():
    upstream.apply()
    repaired = dj.heading.Heading.join
    upstream.apply()
    assert dj.heading.Heading.join is repaired


UNREPAIRED = {
    "reconnect_postgresql": """
        connection.query("SELECT pg_backend_pid()")
        pid = connection.query("SELECT pg_backend_pid()").fetchone()[0]
        other = connect()
        other.query(f"SELECT pg_terminate_backend({pid}, 5000)")
        def lost():
            try:
                connection.query("SELECT 1")
            except Exception:
                return True
            return False
        first, second = lost(), lost()
        faulty = first and second
    """,
    "rename_after_join": """
        schema = dj.Schema(f"bwm_canary_{os.getpid()}", connection=connection)
        @schema
        class Left(dj.Manual):
            definition = 'a : int32\\n---\\nb : int32'
        @schema
        class Right(dj.Manual):
            definition = '-> Left\\n---\\nc : int32'
        try:
            (Left * Right).proj(new="c").to_dicts()
            faulty = False
        except dj.errors.QuerySyntaxError:
            faulty = True
        schema.drop(prompt=False)
    """,
    "cache_attributes": """
        heading = dj.heading.Heading([dict(dj.heading.default_attribute_properties, name="a")])
        faulty = heading.attributes is not heading.attributes
    """,
    "keep_jobs": """
        schema = dj.Schema(f"bwm_canary_{os.getpid()}", connection=connection)
        @schema
        class Asked(dj.Manual):
            definition = 'a : int32'
        @schema
        class Answered(dj.Computed):
            definition = '-> Asked'
        faulty = Answered().jobs is not Answered().jobs
        schema.drop(prompt=False)
    """,
    "show_keys_to_readers": """
        name = f"bwm_canary_{os.getpid()}"
        schema = dj.Schema(name, connection=connection)
        @schema
        class Asked(dj.Manual):
            definition = 'a : int32'
        connection.query(f"CREATE ROLE {name} LOGIN")
        connection.query(f"GRANT USAGE ON SCHEMA {name} TO {name}")
        connection.query(f"GRANT SELECT ON ALL TABLES IN SCHEMA {name} TO {name}")
        reader = dj.Connection(host, name, password, port=int(port), use_tls=False)
        faulty = dj.FreeTable(reader, Asked.full_table_name).primary_key == []
        reader.close()
        schema.drop(prompt=False)
        connection.query(f"DROP ROLE {name}")
    """,
    "stamp_by_server": """
        os.environ["TZ"] = "Asia/Tokyo" if time.localtime().tm_gmtoff == 0 else "UTC"
        time.tzset()
        schema = dj.Schema(f"bwm_canary_{os.getpid()}", connection=connection)
        dj.config.jobs.add_job_metadata = True
        @schema
        class Asked(dj.Lookup):
            definition = 'a : int32'
            contents = [(1,)]
        @schema
        class Answered(dj.Computed):
            definition = '-> Asked'
            def make(self, key):
                self.insert1(key)
        Answered().populate()
        ago = "EXTRACT(EPOCH FROM LOCALTIMESTAMP - _job_start_time)"
        seconds = connection.query(f"SELECT {ago} FROM {Answered().full_table_name}").fetchone()[0]
        faulty = abs(seconds) > 1000
        schema.drop(prompt=False)
    """,
    "number_connections": """
        connection.connect()
        number = connection.query("SELECT pg_backend_pid()").fetchone()[0]
        faulty = connection.connection_id != number
    """,
    "obey_tls": """
        faulty = connection._build_connect_kwargs()["use_tls"] is not False
    """,
}
CANARY = """
import os, sys, time, warnings
warnings.simplefilter("ignore")
import datajoint as dj
host, port, user, password = sys.argv[1:]
dj.config["database.backend"] = "postgresql"
def connect():
    return dj.Connection(host, user, password, port=int(port), use_tls=False)
connection = connect()
"""


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True, scope="module")
@pytest.mark.parametrize("repair", UNREPAIRED)
def test_datajoint_still_has_the_fault(repair, backend):
    code = CANARY + textwrap.dedent(UNREPAIRED[repair]) + "\nprint('faulty' if faulty else 'sound')"
    server = [backend.host, str(backend.port), backend.user, backend.password]
    done = subprocess.run(
        [sys.executable, "-c", code, *server],
        cwd="/",
        env=os.environ | {"DJ_IGNORE_CONFIG_FILE": "true", "DJ_LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "faulty", (
        f"DataJoint repaired this: remove schemas.database.upstream.{repair}"
    )
