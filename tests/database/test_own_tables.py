"""Tables of a user's own: the template and its guide, and what tells one module from another."""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import datajoint as dj
import numpy as np
import pandas as pd
import pymysql
import pytest
from typer.testing import CliRunner

from populate import catalog, cli, stale, status, verify
from populate.verify import Removed
from populate.workers import worker
from schemas import connection, ephys, rows, session, storage
from schemas import settings as settings_module
from schemas.errors import QueryError, ServerError, SettingsError
from schemas.sources import simulator
from tests.support import guide
from tests.support.databases import Release
from tests.support.revising import revise
from tests.support.users import users

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "notebooks" / "my_tables.py"
TIMEOUT = 120.0


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory; modules that were imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield tmp_path
    catalog.use([])
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").is_relative_to(tmp_path):
            del sys.modules[name]


@pytest.fixture
def drop():
    """Names of schemas that are dropped afterwards."""
    names = []
    yield names.append
    for name in reversed(names):
        dj.conn().query(dj.conn().adapter.drop_schema_sql(name))


# --- the guide ----------------------------------------------------------------------------------


class Reader:
    """Does what the page says: one namespace, one working directory, a database."""

    def __init__(self, database):
        self.database, self.names = database, {}

    def read(self, block):
        """Run a block; return what its last command printed."""
        if block.file:
            Path(block.file).write_text(block.text)
            return ""
        if block.language == "python":
            exec(block.text.replace("connection.connect()", ""), self.names)
            return ""
        return [self.run(line) for line in block.text.splitlines()][-1]

    def run(self, line, **variables):
        """Run a line of a shell."""
        program, *arguments = shlex.split(line)
        if program == "cd":
            os.chdir(arguments[0])
            return ""
        if program != "bwm":
            subprocess.run([program, *arguments], check=True)
            return ""
        found = CliRunner().invoke(cli.app, arguments, env=self.database.environment | variables)
        assert found.exit_code == 0, found.output
        return found.output

    def start(self, line, who=None):
        """Start a command in a process of its own, of another user if one is named."""
        given = {"PYTHONPATH": str(ROOT), **(who or self.database).environment}
        return subprocess.Popen(
            [sys.executable, "-m", "populate", *shlex.split(line)[1:]],
            env={n: v for n, v in os.environ.items() if not n.startswith("BWM_TEST")} | given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(params=["administrator", "analyst"])
def people(request, populated, drop):
    """Who follows the guide, and who fills the tables: one who may everything, or two of roles."""
    drop("alice")
    if request.param == "administrator":
        yield populated, populated
        return

    def as_user(settings):
        own = copy.copy(populated)
        own.settings = settings
        return own

    with users(populated) as make:
        own = {"schemas": ["alice"]}
        alice, robot = (as_user(make(role, **own)) for role in ("analyst", "worker"))
        alice.connect()
        yield alice, robot


def test_the_guide_works_as_it_is_written(people, folder):
    (folder / "notebooks").mkdir()
    shutil.copy(TEMPLATE, folder / "notebooks")
    copied, fill, ask, variant, *of_array, again, of_variant, of_table, of_all = guide.blocks()
    alice, robot = people
    reader = Reader(alice)
    reader.read(copied)
    assert Path.cwd() == folder / "analysis"

    populate, show = fill.text.splitlines()
    if robot is not alice:
        reader.run(show)  # a worker makes no tables

    def fill_as_robot():
        """By a worker and a pool of two at once, who both make the tables if they may."""
        pair = [reader.start(line, robot) for line in (populate, f"{populate} --workers 2")]
        printed = [process.communicate(timeout=TIMEOUT)[0] for process in pair]
        assert [process.returncode for process in pair] == [0, 0], "\n".join(printed)

    fill_as_robot()
    n_keys = len(ephys.Spikes.proj() * ephys.GoodUnits.proj())
    assert re.search(rf"my_tables.Regularity +{2 * n_keys}\b", reader.run(show))
    show = f"{show} --json"
    assert states(reader.run(show)) == (2 * n_keys, 0, 0)
    assert "Nothing to do" in reader.run(populate)
    assert states(reader.run("bwm status --json", BWM_MODULES="my_tables")) == (2 * n_keys, 0, 0)

    reader.read(ask)
    measured = rows.frame(reader.names["my_tables"].Regularity.Unit())
    assert_computed(measured)
    assert_asked(reader.names, measured)

    reader.read(variant)
    assert states(reader.run(show)) == (2 * n_keys, n_keys, 0)
    for block in of_array:
        reader.read(block)
    reader.run("bwm verify --module my_histograms.py --repair")
    assert_counted(**{name: reader.names[name] for name in ("key", "histogram")})
    reader.read(again)
    assert states(reader.run(show)) == (3 * n_keys, 0, 0)
    reader.read(of_variant)
    assert states(reader.run(show)) == (2 * n_keys, 0, 0)
    reader.read(of_table)
    histogram = {"__interval_histogram", "~~interval_histogram"}
    assert held("alice") == {"#regularity_definition", *histogram}
    assert states(reader.run(show)) == (0, 2 * n_keys, 0)
    # What is made anew is open to the same worker.
    fill_as_robot()
    assert states(reader.run(show)) == (2 * n_keys, 0, 0)
    reader.read(of_all)
    assert held("alice") == histogram


def held(schema):
    """Tables of a schema, those of jobs too."""
    asked = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s"
    return {name for (name,) in dj.conn().query(asked, (schema,)).fetchall()} - {"~lineage"}


def states(output):
    """JobResult, pending and failed of the table, as `bwm status --json` says."""
    (found,) = (t for t in json.loads(output)["tables"] if t["table"] == "my_tables.Regularity")
    return found["done"], found["pending"], found["failed"]


def assert_computed(measured):
    """The measures are those of a plain loop over the spike trains of all good units."""
    good = rows.frame((ephys.GoodUnits.Unit & {"is_good": True}).proj())
    trains = ephys.spike_times(ephys.GoodUnits.Unit & {"is_good": True})
    unit = ["eid", "probe_name", "sorting_name", "cluster_id"]
    for name, longest in (("session", 10.0), ("active", 0.5)):
        found = measured[measured.regularity_definition == name].reset_index(drop=True)
        assert found[[*unit, "criterion"]].equals(
            good[[*unit, "criterion"]]
            .sort_values([*unit[:3], "criterion", "cluster_id"])
            .reset_index(drop=True)
        )
        expected = [judge(trains[key], longest) for key in found[unit].itertuples(index=False)]
        columns = ["n_intervals", "mean_interval", "interval_cv", "local_variation"]
        np.testing.assert_allclose(found[columns].to_numpy(float), expected, rtol=1e-9)
        assert np.isfinite(expected).all(axis=1).sum() > 0


def judge(train, longest, n_min=100):
    """Number, mean, variation and local variation of the intervals of one unit."""
    every = np.where((np.diff(train) > 0) & (np.diff(train) <= longest), np.diff(train), np.nan)
    kept = every[np.isfinite(every)]
    if len(kept) < n_min:
        return len(kept), np.nan, np.nan, np.nan
    neighbours = pd.DataFrame({"a": every, "b": pd.Series(every).shift()}).dropna()
    local = 3 * ((neighbours.a - neighbours.b) / (neighbours.a + neighbours.b)) ** 2
    return len(kept), np.mean(kept), np.std(kept) / np.mean(kept), local.mean()


def assert_asked(names, measured):
    """What the page asks is answered with the rows of the table."""
    table, joined = names["table"], names["joined"]
    of_session = measured[
        (measured.regularity_definition == "session") & (measured.criterion == "ibl_2022")
    ]
    located = rows.frame(ephys.SpikeSorting.Cluster & "region_id IS NOT NULL")
    unit = ["eid", "probe_name", "sorting_name", "cluster_id"]
    both = of_session.merge(located[unit])
    offered = rows.frame(ephys.OfferedSorting & "is_default_sorting = TRUE")
    both = both.merge(offered[unit[:3]])
    assert table["count"].sum() == both.local_variation.count() > 0
    assert len(joined) > 0
    assert {"local_variation", "rate", "rt_median", "region_acronym"} <= set(joined)
    assert (joined.performance_easy >= 0.5).all()
    assert len(joined.merge(both[[*unit, "local_variation"]])) == len(joined)


def assert_counted(key, histogram):
    """The object counts each unit's intervals."""
    assert list(histogram) == ["cluster", "interval", "count"]
    trains = ephys.spike_times(ephys.SpikeSorting.Cluster & key)
    of_unit = histogram.groupby("cluster")
    assert set(of_unit.groups) == {k[-1] for k, train in trains.items() if len(train)}
    for cluster, found in of_unit:
        train = next(train for k, train in trains.items() if k[-1] == cluster)
        assert (
            found["count"].tolist()
            == np.histogram(np.diff(train), np.arange(101) / 1000)[0].tolist()
        )
    assert histogram["count"].sum() > 0


def test_the_guide_says_how_the_computation_is_bounded():
    """The function of the template at its edges, which no spike train of the release has."""
    source = TEMPLATE.read_text()
    start = source.index("def compute_regularity")
    names = {"np": np}
    exec("from __future__ import annotations\n" + source[start:], names)
    compute = names["compute_regularity"]
    assert all(len(found) == 0 for found in compute([], 1.0, 1).values())
    trains = [[], [1.0], [1.0, 1.0, 2.0], [0.0, 0.5, 9.0], [9.5, 9.75]]
    found = compute([np.array(train, float) for train in trains], 1.0, 1)
    assert found["n_intervals"].tolist() == [0, 0, 1, 1, 1]
    np.testing.assert_equal(found["mean_interval"], [np.nan, np.nan, 1.0, 0.5, 0.25])
    np.testing.assert_equal(found["interval_cv"], [np.nan, np.nan, 0.0, 0.0, 0.0])
    np.testing.assert_equal(found["local_variation"], [np.nan] * 5)
    clock, alternating = np.arange(50) * 0.5, np.cumsum([0.0] + [0.1, 0.3] * 50)
    found = compute([clock, alternating], 1.0, 1)
    np.testing.assert_allclose(found["local_variation"], [0.0, 3 * 0.25], atol=1e-12)
    np.testing.assert_allclose(found["interval_cv"], [0.0, 0.5], atol=1e-12)


# --- failures, and rows that are made again -----------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    shape = {"n_sessions": 1, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}
    return Release(folder, simulator.simulate(folder, "tiny", seed=8, **shape))


def test_failures_stale_rows_and_damage_of_a_users_table_are_treated_as_ours(
    database, small, folder, drop
):
    release = folder / "release"
    shutil.copytree(small.folder, release)
    shutil.copy(TEMPLATE, folder)
    database.register(release)
    drop("alice")
    (folder / "my_histograms.py").write_text(
        next(block.text for block in guide.blocks() if block.file == "my_histograms.py")
    )
    catalog.use(["my_tables", "my_histograms"])
    my_tables, my_histograms = sys.modules["my_tables"], sys.modules["my_histograms"]
    bad = {"longest_interval": 0.0, "min_intervals": 1, "regularity_description": "none"}
    rows.insert1(my_tables.RegularityDefinition(), {"regularity_definition": "impossible", **bad})
    chain = catalog.find(["Channels", "SpikeSorting", "Spikes", "GoodUnits"])
    chain += catalog.find(["Regularity", "IntervalHistogram"])
    worker.run(chain)
    n_keys = len(ephys.Spikes.proj() * ephys.GoodUnits.proj())
    assert len(my_tables.Regularity()) == 2 * n_keys > 0
    failures = status.failures(chain)
    assert {failure.table for failure in failures} == {"my_tables.Regularity"}
    assert {failure.key["regularity_definition"] for failure in failures} == {"impossible"}
    assert len(failures) == n_keys
    for failure in failures:
        assert "longest_interval must be above 0 s." in failure.error
    assert worker.retry(catalog.find(["Regularity"])) == n_keys
    (my_tables.RegularityDefinition & {"regularity_definition": "impossible"}).delete()

    before = rows.frame(my_tables.Regularity.Unit())
    eid, path = next(
        (row.eid, row.rel_path)
        for row in small.truth.datasets.itertuples()
        if row.rel_path.endswith("spikes.amps.npy") and "#" not in row.rel_path
    )
    revise(release, eid, path, seed=1)
    database.register(release)
    (found,) = stale.find()
    # What came with the tables of the user, and nothing else, is made again.
    outcomes = {outcome.table: outcome.n_done for outcome in stale.remake()}
    below = len(ephys.GoodUnits & found.key) * 2
    assert outcomes["my_tables.Regularity"] == below > 0
    assert below < 2 * n_keys or n_keys == len(ephys.GoodUnits & found.key)
    pd.testing.assert_frame_equal(rows.frame(my_tables.Regularity.Unit()), before)

    # One flipped byte of an object.
    histograms = my_histograms.IntervalHistogram
    held = (histograms & found.key).fetch1("histogram")
    path = Path(storage.place(held.path))
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    name = "my_histograms.IntervalHistogram"
    damage = [one for one in verify.verify(deep=True).damage if one.table == name]
    assert [one.key for one in damage] == [found.key]
    assert Removed("rows", name, 1) in verify.repair(damage)
    assert len(histograms()) == len(ephys.Spikes()) - 1
    assert [one.n_done for one in worker.run([histograms])] == [1]
    assert path.read_bytes() == whole
    assert not [one for one in verify.verify(deep=True).damage if one.table == name]
    # Objects of rows that were deleted are orphans while their table is there.
    histograms().delete()
    orphans = [one for one in verify.verify(older_than=0).damage if one.kind == "object"]
    assert held.path in [one.path for one in orphans]
    verify.repair(orphans)
    assert not path.exists()


BY_SUBJECT = """
import datajoint as dj

from schemas import connection, imported, session, subject

schema = connection.schema("own_herd")


@schema
class Herd(dj.Imported):
    definition = \"\"\"
    -> subject.Subject
    ---
    n_files : int32  # a number
    \"\"\"

    class Source(dj.Part):
        definition = imported.SOURCE

    listed = property(lambda _: session.Dataset * session.Session.proj("subject"))

    def make(self, key):
        self.insert1(dict(key, n_files=0))
"""


def test_of_a_table_whose_key_has_no_session_nothing_is_of_one(populated, folder, drop):
    (folder / "herd.py").write_text(BY_SUBJECT)
    drop("own_herd")
    catalog.use(["herd"])
    (table,) = chosen = catalog.find(["Herd"])
    first, second, third, *_ = table().key_source.keys(order_by="subject")
    table.populate(third)
    rows.insert(table().jobs, [first], {"status": "error", "priority": 5})
    rows.insert(table().jobs, [second], {"status": "pending", "priority": 5})
    assert table().jobs.reserve(second)
    eid = (session.Session & third).to_arrays("eid", limit=1)[0]

    counted = {row.table for row in status.status(eid=eid)}
    assert {catalog.name_of(t) for t in catalog.tables()} - counted == {"herd.Herd"}
    for question in (status.status, status.running, status.failures, stale.find):
        assert len(question(chosen)) == 1, question
        assert question(chosen, eid) == [], question
    assert worker.retry(chosen, eid) == 0
    assert [failure.key for failure in status.failures(chosen)] == [first]
    assert worker.retry(chosen) == 1


# --- modules ------------------------------------------------------------------------------------

MODULE = """
import datajoint as dj

from schemas import connection, session

schema = connection.schema("own_{name}")


@schema
class {table}(dj.Computed):
    definition = \"\"\"
    -> {parent}
    ---
    n_found : int32  # a number
    \"\"\"

    def make(self, key):
        self.insert1(dict(key, n_found=1))
"""


def write(folder, name, table, parent="session.Session", more=""):
    """Write a module with one computed table."""
    text = MODULE.format(name=name, table=table, parent=parent)
    (folder / f"{name}.py").write_text(more + text)


def test_tables_of_several_modules_are_in_the_order_of_their_foreign_keys(populated, folder, drop):
    write(folder, "zoo_first", "Trials")
    write(folder, "zoo_second", "Middle", "zoo_first.Trials", "import zoo_first\n")
    write(folder, "zoo_third", "Last", "zoo_second.Middle", "import zoo_second\n")
    for name in ("zoo_first", "zoo_second", "zoo_third"):
        drop(f"own_{name}")
    ours = catalog.tables()
    catalog.use(["zoo_third", str(folder / "zoo_first.py"), "zoo_second"])
    names = ["zoo_first.Trials", "zoo_second.Middle", "zoo_third.Last"]
    assert [catalog.name_of(table) for table in catalog.tables()[len(ours) :]] == names
    assert catalog.tables()[: len(ours)] == ours
    with pytest.raises(QueryError, match=r"behavior.Trials and zoo_first.Trials have the name"):
        catalog.find(["Trials"])
    made = worker.run(catalog.find(["Last", "zoo_first.Trials", "Middle"]))
    n_sessions = len(session.Session())
    assert [(one.table, one.n_done) for one in made] == [(name, n_sessions) for name in names]
    assert sum(one.n_done for one in worker.run(catalog.find(names))) == 0
    catalog.use(["zoo_first"])
    assert [catalog.name_of(table) for table in catalog.tables()[len(ours) :]] == names[:1]

    # A module that was imported over another connection is imported over this one.
    held = catalog.find(["zoo_first.Trials"])[0]
    connection.disconnect()
    populated.connect()
    assert catalog.tables() == ours
    catalog.use(["zoo_first", "zoo_second"])
    again = catalog.find(["zoo_first.Trials"])[0]
    assert again is not held
    assert len(again()) == n_sessions
    assert again().connection is dj.conn()


def test_two_tables_of_one_name_and_changed_definitions_are_refused(populated, folder, drop):
    drop("own_mine")
    (folder / "inner").mkdir()
    write(folder, "mine", "Counted")
    write(folder / "inner", "mine", "Counted")
    catalog.use(["mine"])
    with pytest.raises(SettingsError, match=r"two tables have the name mine.Counted"):
        catalog.use(["mine", "inner.mine"])
    text = (folder / "mine.py").read_text()
    (folder / "mine.py").write_text(text.replace("---", "---\n    n_more : int32  # more"))
    del sys.modules["mine"]
    with pytest.raises(
        SettingsError,
        match=r"Counted on the server lacks n_more.*`Counted.jobs.drop\(\)`, then `Counted.drop",
    ):
        catalog.use(["mine"])
    sys.modules["mine"].Counted.jobs.drop()
    sys.modules["mine"].Counted.drop()
    assert held("own_mine") == set()
    del sys.modules["mine"]
    catalog.use(["mine"])
    assert "n_more" in catalog.find(["Counted"])[0]().heading.names


def test_only_commands_that_deal_with_tables_to_fill_need_the_modules(populated, folder):
    given = populated.environment | {"BWM_MODULES": "no_such"}
    assert CliRunner().invoke(cli.app, ["release", "list"], env=given).exit_code == 0
    for command in (["status"], ["verify"], ["retry"], ["populate", "--only", "Trials"]):
        found = CliRunner().invoke(cli.app, command, env=given)
        assert found.exit_code == 1
        said = " ".join(found.stderr.split())
        assert f"no_such: no such module in {folder}" in said.replace("- ", "-")


# --- schemas ------------------------------------------------------------------------------------


def test_only_a_schema_of_ours_takes_foreign_keys_on_mysql(populated, backend, folder, drop):
    """When the first part fails for MySQL, `dj.Schema` is enough and `connection.schema` goes."""
    name = "own_plain"
    drop(name)
    write(folder, "plain", "Counted")
    text = (folder / "plain.py").read_text()
    (folder / "plain.py").write_text(text.replace("connection.schema(", "dj.Schema("))
    if backend.name == "mysql":
        with pytest.raises(SettingsError, match=r"plain.py, line \d+: .*are incompatible") as found:
            catalog.use(["plain"])
        assert isinstance(found.value.__cause__, pymysql.err.OperationalError)
    else:
        catalog.use(["plain"])
    # What `dj.Schema` left is repaired, not refused.
    (folder / "plain.py").write_text(text)
    sys.modules.pop("plain", None)
    catalog.use(["plain"])
    assert catalog.tables()[-1].full_table_name.replace("`", '"') == '"own_plain"."__counted"'


def test_the_demo_has_a_schema_of_its_own(populated, monkeypatch, drop):
    demo = populated.settings.model_copy(update={"prefix": f"x_{settings_module.DEMO}"})
    monkeypatch.setattr(connection, "_active", demo)
    name = f"own_tables_{settings_module.DEMO}"
    drop(name)
    assert connection.schema("own_tables").database == name


@pytest.mark.parametrize("name", ["{prefix}_mine", "{prefix}", "My", "a-b", "a`b", "", "a" * 41])
def test_a_name_that_is_ours_or_none_is_refused(populated, name):
    name = name.format(prefix=populated.settings.prefix)
    with pytest.raises(ServerError, match=rf"cannot be named '{re.escape(name)}'"):
        connection.schema(name)


def test_tables_over_another_database_of_ours_are_refused(populated, folder, drop, monkeypatch):
    drop("own_mine")
    write(folder, "mine", "Counted")
    catalog.use(["mine"])
    prefix = populated.settings.prefix
    other = populated.settings.model_copy(update={"prefix": "other"})
    monkeypatch.setattr(connection, "_active", other)
    told = rf"schema own_mine: it holds tables over the database {prefix}, and other is connected."
    with pytest.raises(ServerError, match=told):
        connection.schema("own_mine")
