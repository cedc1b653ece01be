"""Roles on both servers: what each can do, and what it tries in vain."""

from contextlib import closing
from types import SimpleNamespace

import datajoint as dj
import pytest
from pydantic import SecretStr

from populate import catalog, permissions, status
from populate.workers import worker
from schemas import behavior, connection, subject, views
from schemas.database.driver_errors import AccessDenied, explain_blocked_deletes
from schemas.errors import ServerError
from schemas.sources import simulator
from tests.support import chaos, forbidden
from tests.support.databases import Release, tables
from tests.support.users import PASSWORD, drop, is_mysql, run, users

SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
OWN_ID = {"mysql": "SELECT CONNECTION_ID()", "postgresql": "SELECT pg_backend_pid()"}


@pytest.fixture(scope="module")
def _shared(lend, tmp_path_factory):
    """A database with one session in it, and a user of each role."""
    folder = tmp_path_factory.mktemp("release")
    release = Release(folder, simulator.simulate(folder, "tiny", seed=5, n_sessions=1, **SMALL))
    with lend() as database, users(database) as make:
        database.register(release.folder, release.truth.release)
        worker.run(catalog.find(["Trials"]))
        people = {role: make(role) for role in ("reader", "analyst", "worker", "admin")}
        people["colleague"] = make("analyst", "colleague")
        yield SimpleNamespace(database=database, **people)


@pytest.fixture
def shared(_shared):
    """The same, and nobody connected but the one who made it."""
    _shared.database.connect()
    yield _shared
    _shared.database.connect()


def denied(what):
    with pytest.raises(AccessDenied) as error:
        what()
    return str(error.value)


def contents():
    """Number of rows of every table, those of jobs too."""
    held = {name: table.full_table_name for name, table in tables().items()}
    held |= {f"jobs of {catalog.name_of(t)}": t().jobs.full_table_name for t in catalog.tables()}
    each = (f"SELECT '{name}', count(*) FROM {table}" for name, table in held.items())
    return dict(dj.conn().query(" UNION ALL ".join(each)).fetchall())


@pytest.fixture
def names(shared):
    """Names for the statements of `forbidden`, as the server wants them quoted."""
    prefix, quote = shared.database.settings.prefix, dj.conn().adapter.quote_identifier
    near, theirs = f"{prefix}x_subject", shared.colleague.user
    for schema in (near, theirs):
        dj.conn().query(f"CREATE SCHEMA IF NOT EXISTS {quote(schema)}")
        dj.conn().query(f"CREATE TABLE {quote(schema)}.lab (a int)")
    lab = subject.Lab.full_table_name
    with users(shared.database) as make:
        yield {
            "lab": lab,
            "trials": behavior.Trials.full_table_name,
            "jobs": behavior.Trials().jobs.full_table_name,
            "lineage": lab.replace("lab", "~lineage"),
            "new": lab.replace("lab", "stranger"),
            "renamed": lab.replace("lab", "stranger") if is_mysql() else "stranger",
            "schema": quote(subject.schema.database),
            "near": quote(near),
            "theirs": quote(theirs),
            "other": quote(make(None, "payroll").user),
            "admins": quote(f"{prefix}_admin"),
        }
    for schema in (near, theirs):
        dj.conn().query(f"DROP TABLE {quote(schema)}.lab")
    dj.conn().query(f"DROP SCHEMA {quote(near)}")


def attempt(statement):
    """Run a statement; return what the server says if it denies the right."""
    try:
        dj.conn().query(statement.replace("%", "%%"))
    except AccessDenied as error:
        return str(error)
    except Exception as error:
        return f"another error: {type(error).__name__}: {error}"
    return "allowed"


@pytest.mark.parametrize("role", permissions.ROLES)
def test_what_a_role_may_not_do_is_denied_and_changes_nothing(shared, names, backend, role):
    before, user = contents(), getattr(shared, role).user
    tried = forbidden.statements(role, backend.name)
    assert len(tried) >= 30
    with closing(chaos.Look(shared.database)) as server:
        ((names["server"],),) = server.query(OWN_ID[backend.name])
        connection.connect(getattr(shared, role))
        said = {statement: attempt(statement.format(**names)) for statement in tried}
        assert server.query(OWN_ID[backend.name])[0][0] == names["server"]
    wrong = {
        statement: what
        for statement, what in said.items()
        if user not in what or "bwm server grant" not in what or PASSWORD in what
    }
    assert wrong == {}
    shared.database.connect()
    assert contents() == before


def test_a_reader_reads(shared):
    shared.database.connect()
    expected = contents()
    connection.connect(shared.reader)
    assert contents() == expected
    assert behavior.Trials.primary_key == ["eid"]
    eid = behavior.Trials.to_arrays("eid")[0]
    assert len(views.fetch_trials(eid)) == expected["behavior.Trials.Trial"] > 0
    assert (subject.Subject * behavior.Trials).to_dicts()


def test_a_reader_sees_the_status(shared):
    asked = run(shared.reader, "status", "--json")
    assert asked.exit_code == 0, asked.stderr
    assert "behavior.Trials" in asked.stdout


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("reader", ["populate"]),
        ("analyst", ["populate", "--only", "Wheel", "--log-format", "text"]),
    ],
)
def test_who_may_not_populate_is_told_so_once(shared, role, words):
    before = contents()
    refused = run(getattr(shared, role), *words)
    shared.database.connect()
    assert contents() == before
    assert refused.exit_code == 1
    assert refused.stderr.count("may not") == 1, refused.stderr
    assert "bwm server grant" in refused.stderr
    assert "Traceback" not in refused.stderr


class TrialCount(dj.Computed):
    """A table that an analyst adds."""

    definition = """
    -> behavior.Trials
    ---
    n_counted : int32
    """

    def make(self, key):
        self.insert1({**key, "n_counted": len(behavior.Trials.Trial & key)})


def test_an_analyst_makes_a_table_over_ours_and_changes_none_of_ours(shared):
    connection.connect(shared.analyst)
    before = contents()
    connection.schema(shared.analyst.user)(TrialCount, context={"behavior": behavior})

    assert TrialCount.populate(reserve_jobs=True)["success_count"] == 1
    (row,) = (TrialCount * behavior.Trials).to_dicts()
    assert row["n_counted"] == before["behavior.Trials.Trial"]
    denied(lambda: subject.Lab.insert1({"lab": "x"}))
    denied(lambda: behavior.Trials.delete())
    assert contents() == before
    # Nobody else sees the schemas of an analyst.
    query = f"SELECT * FROM {TrialCount.full_table_name}"
    for other in (shared.reader, shared.colleague, shared.worker):
        connection.connect(other)
        denied(lambda: dj.conn().query(query))
    connection.connect(shared.colleague)
    with pytest.raises(ServerError, match=r"may not|cannot be created"):
        connection.schema(shared.analyst.user)(
            type("Mine", (dj.Manual,), {"definition": "a: int32"})
        )
    drop_table(shared)


def drop_table(shared):
    """Let the analyst drop their table, as only they may."""
    connection.connect(shared.analyst)
    own = connection.schema(shared.analyst.user)
    own(TrialCount, context={"behavior": behavior})
    jobs = TrialCount().jobs
    TrialCount.drop(prompt=False)
    jobs.drop()


def test_a_worker_populates_and_deletes_rows(shared):
    connection.connect(shared.worker)
    wanted = catalog.find(["Trials", "ReactionTime"])
    outcomes = worker.run(wanted)
    assert [outcome.failed for outcome in outcomes] == [[], []]
    before = contents()
    assert before["behavior.ReactionTime"] > 0
    behavior.Trials.delete()
    assert contents()["behavior.ReactionTime"] == 0
    worker.run(wanted)
    assert status.failures() == []
    assert contents() == before


def test_who_may_not_delete_is_told_of_the_right_and_of_no_table(shared):
    connection.connect(shared.reader)
    with pytest.raises(AccessDenied, match="may not DELETE"), explain_blocked_deletes():
        behavior.Trials.delete()


def test_rows_to_which_tables_of_others_refer_are_not_deleted(shared):
    """Unless an administrator gives the worker rights on the schema of the analyst."""
    connection.connect(shared.analyst)
    own = connection.schema(shared.analyst.user)
    own(TrialCount, context={"behavior": behavior})
    TrialCount.populate()
    connection.connect(shared.worker)
    worker.run(catalog.find(["Trials", "ReactionTime"]))
    before = contents()
    with (
        pytest.raises(ServerError, match=r"may not change.*grant worker USER --schema SCHEMA"),
        explain_blocked_deletes(),
    ):
        behavior.Trials.delete()
    assert contents() == before
    with users(shared.database) as make:
        connection.connect(make("worker", "helper", schemas=[shared.analyst.user]))
        behavior.Trials.delete()
        assert contents()["behavior.Trials"] == 0
        query = f"SELECT count(*) FROM {TrialCount.full_table_name}"
        assert dj.conn().query(query).fetchall()[0][0] == 0
        worker.run(catalog.find(["Trials", "ReactionTime"]))
        assert contents() == before
    drop_table(shared)


def test_who_has_no_role_is_told_whom_to_ask(shared):
    with users(shared.database) as make:
        stranger = make(None, "stranger")
        with pytest.raises(ServerError, match=r"sees no tables.*bwm server grant"):
            connection.connect(stranger)


def test_a_missing_table_is_named_to_a_reader_and_made_by_an_admin(shared):
    """Who was granted a role before reads it too."""
    missing = behavior.ReactionTime().jobs.full_table_name
    dj.conn().query(f"DROP TABLE {missing}")
    with pytest.raises(ServerError, match=r"missing .*~~reaction_time.*bwm status"):
        connection.connect(shared.worker)
    connection.connect(shared.admin)
    connection.connect(shared.reader)
    assert len(behavior.ReactionTime().jobs) == 0


def test_granting_again_changes_nothing_but_the_password(shared):
    prefix, user = shared.database.settings.prefix, shared.reader.user
    for password in (None, "another", PASSWORD):
        permissions.apply(prefix, "reader", user, password=password)
    connection.connect(shared.reader)
    held = len(subject.Lab())
    denied(lambda: subject.Lab.insert1({"lab": "x"}))
    assert len(subject.Lab()) == held


def test_passwords_are_kept_hashed(shared, backend):
    if backend.name == "mysql":
        wrong = shared.reader.model_copy(update={"password": SecretStr("wrong")})
        with pytest.raises(ServerError, match="refuses user"):
            connection.connect(wrong)
        return
    asked = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
    ((kept,),) = dj.conn().query(asked, (shared.reader.user,)).fetchall()
    assert kept.startswith("SCRAM-SHA-256$")


def test_a_role_ends_where_the_prefix_does(shared):
    """For MySQL the prefix of a GRANT is a pattern in which `_` is any character."""
    prefix = shared.database.settings.prefix
    quote = dj.conn().adapter.quote_identifier
    near = [f"{prefix}_demo_subject", f"{prefix.replace('_', 'x')}_subject", f"{prefix}x_subject"]
    near.append(f"{prefix}xsubject")
    for name in near:
        dj.conn().query(f"CREATE SCHEMA {quote(name)}")
        dj.conn().query(f"CREATE TABLE {quote(name)}.lab (a int)")
    try:
        for user in (shared.reader, shared.analyst, shared.worker, shared.admin):
            connection.connect(user)
            for name in near:
                assert denied(lambda name=name: dj.conn().query(f"SELECT * FROM {quote(name)}.lab"))
    finally:
        shared.database.connect()
        for name in near:
            dj.conn().query(f"DROP TABLE {quote(name)}.lab")
            dj.conn().query(f"DROP SCHEMA {quote(name)}")


def test_an_analyst_reaches_no_other_whose_name_begins_with_theirs(shared):
    with users(shared.database) as make:
        short = make("analyst", "ann")
        name = f"{short.user}_lee"
        longer = make("analyst", None, user=name)
        connection.connect(longer)
        connection.schema(name)(type("Mine", (dj.Manual,), {"definition": "a: int32"}))
        connection.connect(short)
        quote = dj.conn().adapter.quote_identifier
        assert denied(lambda: dj.conn().query(f"SELECT * FROM {quote(name)}.mine"))
        assert denied(lambda: dj.conn().query(f"DROP SCHEMA {quote(name)}"))


def test_an_admin_takes_over_no_account_of_others(shared):
    if shared.database.settings.server_backend == "postgresql":
        pytest.skip("an admin of PostgreSQL may alter only roles that admins made")
    with users(shared.database) as make:
        other = make(None, "payroll")
        connection.connect(shared.admin)
        assert denied(lambda: dj.conn().query(f"ALTER USER `{other.user}` IDENTIFIED BY 'mine'"))
        assert denied(lambda: dj.conn().query(f"DROP USER `{other.user}`"))


def test_a_schema_of_others_is_not_handed_over(shared):
    prefix = shared.database.settings.prefix
    name = f"taken{prefix}"
    quote = dj.conn().adapter.quote_identifier
    dj.conn().query(f"CREATE SCHEMA {quote(name)}")
    try:
        with pytest.raises(ServerError, match=f"{name} exists and does not belong to"):
            permissions.apply(prefix, "analyst", name, password="x")
        assert not permissions.exists(name)
    finally:
        dj.conn().query(f"DROP SCHEMA {quote(name)}")


def test_an_admin_grants_roles(shared, tmp_path):
    """By the command, whose output holds no password."""
    user = f"new{shared.database.settings.prefix}"
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n")
    words = ("server", "grant", "reader", user, "--apply")
    refused = run(shared.admin, *words)
    assert refused.exit_code == 1
    assert "is new and has no password" in refused.stderr
    if shared.database.settings.server_backend == "mysql":
        # A user who may create users could change those of others.
        refused = run(shared.admin, *words, "--password-file", str(path))
        assert "may not CREATE USER" in refused.stderr
        assert "making users the server's own account" in refused.stderr
        shared.database.connect()
        dj.conn().query(f"CREATE USER `{user}` IDENTIFIED BY %s", (PASSWORD,))
        path = None
    granted = run(shared.admin, *words, *(["--password-file", str(path)] if path else []))
    assert granted.exit_code == 0, granted.stderr
    assert granted.stdout == f"{user} is reader of {shared.database.settings.prefix}.\n"
    again = run(shared.admin, *words)
    assert again.exit_code == 0, again.stderr
    refused = run(shared.worker, *words)
    assert refused.exit_code == 1
    assert refused.stderr.count("may not") == 1
    given = {"user": user}
    connection.connect(shared.reader.model_copy(update=given))
    assert subject.Lab().to_dicts()
    shared.database.connect()
    drop(user, "%")
