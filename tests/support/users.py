"""Users of a test server, each with a role, and a table of one of them."""

import contextlib

import datajoint as dj
from pydantic import SecretStr
from typer.testing import CliRunner

from populate import cli, permissions
from schemas import behavior, connection
from tests.support.databases import environment

PASSWORD = 'it\'s 100%s "secret" \\ `too`; --'


def run(settings, *words):
    """Run the command as the user of the settings."""
    return CliRunner().invoke(cli.app, words, env={"COLUMNS": "200", **environment(settings)})


@contextlib.contextmanager
def users(database):
    """Make users that are gone afterwards: `make(role, name)`."""
    made = []

    def make(role, name=None, host="%", user=None, **more):
        # Names of users and of the schemas of analysts are of the whole server.
        user = user or f"{name or role}{database.settings.prefix}"
        made.append((user, host))
        database.connect()
        if role is None:
            quoted = dj.conn().adapter.quote_identifier(user)
            how = "IDENTIFIED BY" if is_mysql() else "LOGIN PASSWORD"
            dj.conn().query(f"CREATE USER {quoted} {how} %s", (PASSWORD,))
        else:
            permissions.apply(database.settings.prefix, role, user, host, password=PASSWORD, **more)
        given = {"user": user, "password": SecretStr(PASSWORD)}
        return database.settings.model_copy(update=given)

    try:
        yield make
    finally:
        database.connect()
        for user, host in made:
            drop(user, host)


def drop(user, host):
    """Remove a user, and what is theirs alone."""
    connected = dj.conn()
    dropped = connected.adapter.drop_schema_sql(user)
    connected.query(dropped if is_mysql() else dropped.replace("RESTRICT", "CASCADE"))
    if is_mysql():
        connected.query(f"DROP USER IF EXISTS `{user}`@`{host.replace('%', '%%')}`")
    else:
        connected.query(f'DROP OWNED BY "{user}" CASCADE')
        connected.query(f'DROP ROLE "{user}"')


def is_mysql():
    return dj.conn().adapter.backend == "mysql"


class Count(dj.Computed):
    """A table of an analyst."""

    definition = """
    # one row per session
    -> behavior.Trials
    ---
    n_counted : int32  # number of trials
    """

    def make(self, key):
        self.insert1({**key, "n_counted": (behavior.Trials & key).fetch1("n_trials")})


@contextlib.contextmanager
def counted(database):
    """Let a table, in a schema of its own, refer to the trials of the first session."""
    mine = connection.schema(f"mine_{database.settings.prefix}")
    mine(Count, context={"behavior": behavior})
    key, *others = behavior.Trials().keys(order_by="eid")
    Count.populate(key)
    try:
        yield key, others
    finally:
        database.connect()
        mine.drop(prompt=False)
        dj.conn().dependencies.clear()  # it goes on knowing the table
