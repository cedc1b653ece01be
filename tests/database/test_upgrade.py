"""Upgrading a database of 0.4.0, made by its own code: see `tests.support.old_databases`."""

import os
import random
import signal
import subprocess
import sys

import datajoint as dj
import pytest
from pydantic import SecretStr

from populate import permissions, status, upgrade
from populate.upgrade import steps
from populate.upgrade.changes import Column, Database, Describe, Rebuild
from populate.upgrade.steps import STEPS
from populate.verify import recompute
from schemas import activation, activity, behavior, connection, ephys, probe, rows, session, wheel
from schemas.errors import ServerError
from schemas.sources import alf
from tests.support import databases, described, old_databases, users

MADE_BY = "This database was made by 0.4.0. An admin must run `bwm upgrade`."
PASSWORD = "a word of 16 letters"


@pytest.fixture
def expected(database):
    """What the server says about the tables of a new database."""
    return described.describe(dj.conn(), database.settings.prefix)


@pytest.fixture
def old(backend, expected, tmp_path):
    """Settings of a database of 0.4.0."""
    made = databases.Database(backend, tmp_path / "old")
    old_databases.restore(made.settings, backend.name)
    yield made
    connection.connect(made.settings, tables=False)
    made.drop()


def test_an_upgrade_keeps_every_row_and_makes_the_tables_of_a_new_database(old, expected):
    settings, prefix = old.settings, old.settings.prefix
    server = connection.connect(settings, tables=False)
    before = old_databases.counts(server, prefix)
    upgrade.upgrade(settings)
    after = old_databases.counts(dj.conn(), prefix)
    assert {name: after[name] - n for name, n in before.items() if after[name] != n} == NEW_ROWS
    # Of the tables that are new, those of definitions alone have rows.
    assert all(".#" in name for name, n in after.items() if n and name not in before)
    assert sum(before.values()) > 15_000
    assert described.differences(described.describe(dj.conn(), prefix), expected) == []
    assert activation.read_version(dj.conn(), prefix).number == activation.VERSION
    assert upgrade.pending(settings) == []
    assert_values_are_those_of_now()
    assert recompute.recompute(tables=[activity.RegionRate]).damage == []
    old.connect()
    # The trace of the wheel is the only object of the dump: new tables that read others fail.
    for failure in old.populate():
        assert "the stored object cannot be read" in failure.error, failure
    made = {row.table for row in status.status() if row.done}
    assert len(ephys.GoodUnits & {"criterion": "ibl_2022_10"}) == len(ephys.SpikeSorting())
    filled = old_databases.counts(dj.conn(), prefix)
    more = {name for name, n in before.items() if filled[name] != after[name]}
    assert more <= {
        *("ephys.__good_units", "ephys.__good_units__unit"),
        *("activity.__region_rate", "activity.__region_rate__region"),
        *("activity.__psth", "activity.__psth__condition", "activity.__psth__unit"),
    }
    assert "behavior.Trials" in made


NEW_ROWS = {
    "ephys.#unit_criterion": 1,
    "session.#data_kind": 3,
    "activity.#trial_split": 6,
    "activity.#psth_definition": 3,
}
"""Rows that a later version has more of, in lookup tables of 0.4.0."""


def assert_values_are_those_of_now():
    assert wheel.Wheel.to_arrays("wheel_unit").tolist() == ["rad"]
    rules = activity.InclusionRule.to_dicts()
    assert sorted(rules, key=str) == sorted(activity.InclusionRule.contents, key=str)
    for table in (activity.TrialSplit, activity.PsthDefinition, session.DataKind):
        assert sorted(table.to_dicts(), key=str) == sorted(table.contents, key=str)
    criteria = ephys.UnitCriterion.to_dicts()
    assert sorted(criteria, key=str) == sorted(ephys.UnitCriterion.contents, key=str)


def test_traces_that_are_not_in_radians_are_removed_and_sites_hashed(old, monkeypatch):
    """In 0.4.0, centimetres were taken for radians; it hashed no sites."""
    db = Database(connection.connect(old.settings, tables=False), old.settings.prefix)
    site, trajectory = (db.quote(*db.split(f"probe.trajectory{end}")) for end in ("__site", ""))
    columns = "site, site_axial, site_lateral, site_x, site_y, site_z, site_region_id"
    for values in ("1, 40.0, 27.5, 0.1, -2.5, NULL, NULL", "0, 20.0, 11.0, 0.1, -2.0, 3.0, 997"):
        db.run(
            f"INSERT INTO {site} (eid, probe_name, provenance, {columns}) "
            f"SELECT eid, probe_name, provenance, {values} FROM {trajectory}"
        )
    add_files(db)
    monkeypatch.setattr(steps, "infer_unit", lambda _: "cm")
    upgrade.upgrade(old.settings)
    kinds = rows.frame(session.Dataset()).set_index("dataset_path").data_kind
    for path in EARLIER_KINDS:
        assert kinds[path] == alf.classify(path)
    assert {kinds[path] == kind for path, kind in EARLIER_KINDS.items()} == {True, False}
    assert not wheel.Wheel()
    assert not wheel.WheelMoves()
    assert behavior.Trials()
    known = probe.hash_sites(
        [(20.0, 11.0, 0.1, -2.0, 3.0, 997), (40.0, 27.5, 0.1, -2.5, None, None)]
    )
    assert set(probe.Trajectory.to_arrays("sites_md5")) == {known}


EARLIER_KINDS = {
    "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.timestamps.npy": "raw_ephys",
    "raw_ephys_data/probe00/_spikeglx_ephysData_g0_t0.imec0.sync.npy": "raw_ephys",
    "raw_ephys_data/probe00/_iblqc_ephysSaturationAP.samples.pqt": "other",
    "alf/probe00/_iblqc_ephysSaturation.intervals.npy": "other",
    "alf/probe00/pykilosort/_iblqc_ephysSaturation.samples.pqt": "other",
}
"""Kinds that 0.4.0 gave to files whose kinds are others now, or are not."""


def add_files(db):
    table = db.quote(*db.split("session.dataset"))
    (eid, source) = db.run(f"SELECT eid, data_source FROM {table}")[0]
    for path, kind in EARLIER_KINDS.items():
        folder, _, name = path.rpartition("/")
        db.run(
            f"INSERT INTO {table} (eid, dataset_path, data_source, data_kind, collection, "
            "dataset_name, revision, is_listed) VALUES (%s, %s, %s, %s, %s, %s, '', TRUE)",
            *(eid, path, source, kind, folder, name),
        )


DIE = """
import os, signal, sys, datajoint
from schemas import settings
from populate import upgrade
execute, number = datajoint.Connection._execute_query, iter(range(int(sys.argv[1])))
def die(self, cursor, query, *arguments):
    if next(number, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, cursor, query, *arguments)
datajoint.Connection._execute_query = die
upgrade.upgrade(settings.load())
"""


# A busy server notes late that a killed client, which held the lock, is gone.
@pytest.mark.filterwarnings("ignore:Waiting up to")
def test_an_upgrade_of_many_rows_that_is_killed_keeps_every_row(old, expected):
    prefix = old.settings.prefix
    old_databases.enlarge(dj.conn(), prefix)
    before = old_databases.counts(dj.conn(), prefix)
    assert sum(before.values()) > 60_000
    columns, kept = old_databases.contents(dj.conn(), prefix)
    connection.disconnect()
    for number in (random.randrange(20, 85), random.randrange(8, 60)):  # of about 100 statements
        killed = subprocess.run(
            [sys.executable, "-c", DIE, str(number)],
            env={**os.environ, **old.environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL or number < 60, (number, killed.stderr)
    upgrade.upgrade(old.settings)
    assert described.differences(described.describe(dj.conn(), prefix), expected) == [], number
    after = old_databases.counts(dj.conn(), prefix)
    grown = {name: before[name] + NEW_ROWS.get(name, 0) for name in before}
    assert {name: after[name] for name in before} == grown
    _, found = old_databases.contents(dj.conn(), prefix, columns)
    changed = {key[1] for key, rows in kept.items() if not rows <= found[key]}
    assert changed == {"#data_kind"}  # whose descriptions step 5 changes
    assert_values_are_those_of_now()


def run(settings, *words):
    connection.disconnect()
    return users.run(settings, *words)


def test_nobody_else_uses_or_upgrades_an_older_database(old):
    """Neither readers, nor anybody while a worker runs; nothing is written then, or to look."""
    settings, prefix = old.settings, old.settings.prefix
    before = described.describe(dj.conn(), prefix)
    reader = f"reader{prefix}"
    permissions.apply(prefix, "reader", reader, password=PASSWORD)
    mine = settings.model_copy(update={"user": reader, "password": SecretStr(PASSWORD)})
    try:
        for who in (settings, mine):
            refused = run(who, "status")
            assert refused.exit_code == 1
            assert MADE_BY in refused.stderr
        refused = run(mine, "upgrade")
        assert (refused.exit_code, "may not alter" in refused.stderr) == (1, True), refused.stderr
        shown = run(settings, "upgrade", "--dry-run")
        assert shown.exit_code == 0, shown.stderr
        assert all(step.title in shown.stdout for step in STEPS)
        db = Database(connection.connect(settings, tables=False), prefix)
        jobs = db.quote(*db.split("wheel.~~wheel"))
        db.run(
            f"INSERT INTO {jobs} (eid, status, priority, created_time, scheduled_time, "
            "reserved_time, host, pid) SELECT eid, 'reserved', 5, CURRENT_TIMESTAMP(3), "
            "CURRENT_TIMESTAMP(3), CURRENT_TIMESTAMP(3), 'elsewhere', 7 "
            f"FROM {db.quote(*db.split('session.session'))}"
        )
        refused = run(settings, "upgrade")
        assert "workers run: process 7 on elsewhere" in refused.stderr
        assert refused.exit_code == 1
        connection.connect(settings, tables=False)
        assert described.describe(dj.conn(), prefix) == before
    finally:
        connection.connect(settings, tables=False)
        drop_user(reader)


def drop_user(user):
    if dj.conn().adapter.backend == "mysql":
        dj.conn().query(f"DROP USER `{user}`")
    else:
        dj.conn().query(f'DROP OWNED BY "{user}" CASCADE')
        dj.conn().query(f'DROP ROLE "{user}"')


def test_a_newer_database_is_refused_by_the_name_of_its_version(database):
    prefix = database.settings.prefix
    activation.write_version(dj.conn(), prefix, activation.VERSION + 1, "9.1.0")
    connection.disconnect()
    try:
        for command in ("status", "upgrade"):
            refused = run(database.settings, command)
            assert "made by 9.1.0" in refused.stderr
            assert refused.exit_code == 1
    finally:
        server = connection.connect(database.settings, tables=False)
        activation.write_version(server, prefix, activation.VERSION)


@pytest.mark.parametrize(
    ("parent", "key"),
    [("ephys.__good_units", "eid, probe_name, sorting_name, criterion"), ("wheel._wheel", "eid")],
)
def test_a_users_table_survives_or_is_named_before_anything_is_touched(
    old, monkeypatch, parent, key
):
    settings, prefix = old.settings, old.settings.prefix
    db = Database(connection.connect(settings, tables=False), prefix)
    own, quoted = f"mine_{prefix}", db.quote(*db.split(parent))
    db.run(f"CREATE {'DATABASE' if db.is_mysql else 'SCHEMA'} {own}")
    db.run(f"CREATE TABLE {own}.counted AS SELECT {key} FROM {quoted}")
    db.run(f"ALTER TABLE {own}.counted ADD FOREIGN KEY ({key}) REFERENCES {quoted} ({key})")
    rows = db.run(f"SELECT count(*) FROM {own}.counted")
    before = described.describe(dj.conn(), prefix), old_databases.counts(dj.conn(), prefix)
    try:
        with monkeypatch.context() as patch:
            if parent == "wheel._wheel":
                patch.setattr(steps, "infer_unit", lambda _: "cm")
            else:
                step = STEPS[0].__class__(1, "made up", (Rebuild(parent),))
                patch.setattr(upgrade, "STEPS", (step,))
            with pytest.raises(ServerError, match=f"{own}.counted refer to rows or tables that"):
                upgrade.upgrade(settings)
        found = described.describe(dj.conn(), prefix), old_databases.counts(dj.conn(), prefix)
        assert found == before
        upgrade.upgrade(settings)
        assert Database(dj.conn(), prefix).run(f"SELECT count(*) FROM {own}.counted") == rows
    finally:
        connection.connect(settings, tables=False)
        dj.conn().query(f"DROP TABLE {own}.counted")
        dj.conn().query(dj.conn().adapter.drop_schema_sql(own))


def test_each_change_can_be_repeated_and_a_rebuilt_table_is_filled_again(old, expected):
    settings, prefix = old.settings, old.settings.prefix
    upgrade.upgrade(settings)
    db = Database(dj.conn(), prefix)
    for change in (
        Column("wheel._wheel", "wheel_unit = 'x' : varchar(9)  # a 'unit'", retyped=True),
        Describe("wheel._wheel", "one row per user's session"),
        Rebuild("ephys.__good_units"),
    ):
        change.run(db)
        change.run(db)
    assert "ephys.__good_units__unit" not in old_databases.counts(dj.conn(), prefix)
    assert "(9)" in str(described.describe(dj.conn(), prefix))
    for change in (
        Column(
            "wheel._wheel",
            "wheel_unit : varchar(3)  # unit of the released positions: rad, cm or deg",
            retyped=True,
        ),
        Describe("wheel._wheel", "one row per session with a wheel"),
    ):
        change.run(db)
    connection.disconnect()
    old.connect()
    assert described.differences(described.describe(dj.conn(), prefix), expected) == []
