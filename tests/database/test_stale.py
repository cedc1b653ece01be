"""Rows whose files changed are found, reported and recomputed; other rows are not touched."""

import json
import shutil
from collections import Counter

import pytest
from typer.testing import CliRunner

from populate import catalog, cli, downloads, stale, status
from populate.workers import worker
from schemas import activity, behavior, connection, ephys, session
from schemas.errors import MissingDataset
from schemas.sources import simulator
from tests.support.databases import Release, differences, snapshot
from tests.support.revising import revise, withdraw
from tests.support.users import counted, users

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}
RESORT = "2024-05-06"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=6, **SMALL))


@pytest.fixture
def filled(lend, original, tmp_path):
    """A database that is filled from a folder which a test may change."""
    folder = tmp_path / "release"
    shutil.copytree(original.folder, folder)
    with lend(tmp_path / "home") as database:
        database.folder = folder
        database.register(folder)
        assert not database.populate()
        yield database


@pytest.fixture
def made(monkeypatch):
    """How often rows were made, by table, session and probe."""
    counts = Counter()

    def count(table, step):
        name, work = catalog.name_of(table), getattr(table, step)

        def counted(self, key, *computed):
            counts[name, key["eid"], key.get("probe_name")] += 1
            return work(self, key, *computed)

        monkeypatch.setattr(table, step, counted)

    for table in catalog.tables():
        count(table, "make" if "make" in vars(table) else "make_insert")
    return counts


def spike_file(truth, revision=RESORT, name="spikes.amps.npy"):
    """A file of a sort of the first insertion that has it, with its eid and probe."""
    folder = f"pykilosort{f'/#{revision}#' if revision else ''}/{name}"
    row = next(r for r in truth.datasets.itertuples() if r.rel_path.endswith(folder))
    return row.eid, row.rel_path.split("/")[1], row.rel_path


def anew(lend, folder):
    """What a new database holds that is filled from a folder."""
    with lend() as other:
        other.register(folder)
        assert not other.populate()
        return snapshot()


def test_a_replaced_file_of_a_sort_makes_that_sort_again_alone(lend, filled, original, made):
    eid, probe_name, path = spike_file(original.truth)
    revise(filled.folder, eid, path, seed=1)
    assert stale.find() == []
    (report,) = filled.register(filled.folder)
    assert (report.updated["datasets"], report.new["datasets"]) == (1, 0)
    (found,) = stale.find()
    assert (found.table, found.reason, found.paths) == ("ephys.Spikes", "replaced", (path,))
    assert found.key["sorting_name"] == f"pykilosort@{RESORT}"
    assert {state.table for state in status.status() if state.stale} == {"ephys.Spikes"}
    assert sum(outcome.n_done for outcome in worker.run()) == 0

    made.clear()
    stale.remake()
    assert {(e, p) for _, e, p in made} == {(eid, probe_name)}
    assert made["ephys.Spikes", eid, probe_name] == 1
    assert made["activity.UnitRate", eid, probe_name] == len(activity.UnitRate & found.key)
    below = {"ephys.Spikes"} | {
        catalog.name_of(table)
        for table in catalog.tables()
        if ephys.Spikes.full_table_name in table().ancestors()
    }
    assert {name for name, _, _ in made} == below
    assert {"activity.UnitRate", "activity.RegionRate"} < below
    assert stale.find() == []
    held = snapshot()
    expected = anew(lend, filled.folder)
    filled.connect()
    assert differences(held, expected) == {}


def test_a_new_default_revision_is_a_reason_and_an_older_one_none(lend, filled, original, made):
    eid, _, _ = spike_file(original.truth)
    before = len(behavior.Trials.Trial & {"eid": eid})
    path = revise(filled.folder, eid, "alf/_ibl_trials.table.pqt", "2025-01-01")
    filled.register(filled.folder)
    (found,) = stale.find()
    assert (found.table, found.reason, found.paths) == ("behavior.Trials", "revised", (path,))
    made.clear()
    stale.remake()
    assert {e for _, e, _ in made} == {eid}
    assert "activity.UnitRate" in {n for n, _, _ in made}
    assert not {n for n, _, _ in made} & {"wheel.Wheel", "ephys.Spikes", "ephys.GoodUnits"}
    sources = (behavior.Trials.Source & {"eid": eid}).to_dicts()
    read = {row["source_revision"] for row in sources if row["source_md5"]}
    assert "2025-01-01" in read
    assert len(behavior.Trials.Trial & {"eid": eid}) == before
    held = snapshot()
    expected = anew(lend, filled.folder)
    filled.connect()
    assert differences(held, expected) == {}


def test_rows_that_a_table_of_a_closed_schema_refers_to_are_kept_and_others_made(filled):
    with counted(filled) as (key, _), users(filled) as make:
        revise(filled.folder, key["eid"], "alf/_ibl_trials.table.pqt", "2025-01-01")
        revise(filled.folder, key["eid"], "alf/_ibl_wheel.position.npy", seed=1)
        filled.register(filled.folder)
        assert {found.table for found in stale.find()} == {"behavior.Trials", "wheel.Wheel"}
        connection.connect(make("worker"))
        outcomes = {outcome.table: outcome for outcome in stale.remake()}
        ((kept, why),) = outcomes["behavior.Trials"].kept
        assert kept == key
        assert "you may not change that table" in why
        assert outcomes["wheel.Wheel"].n_done == 1
        assert {found.table for found in stale.find()} == {"behavior.Trials"}


def test_a_new_sort_stands_beside_the_old_ones(filled, original, made):
    eid, probe_name, path = spike_file(original.truth, name="spikes.times.npy")
    offered = len(ephys.OfferedSorting & {"eid": eid})
    revise(filled.folder, eid, path, "2025-01-01")
    filled.register(filled.folder)
    assert stale.find() == []
    assert len(ephys.OfferedSorting & {"eid": eid}) == offered + 1
    made.clear()
    worker.run()
    assert {(e, p) for _, e, p in made} == {(eid, probe_name)}
    key = {"eid": eid, "probe_name": probe_name}
    names = set((ephys.Spikes & key).to_arrays("sorting_name"))
    assert {f"pykilosort@{RESORT}", "pykilosort@2025-01-01"} <= names


def test_a_withdrawn_file_leaves_its_rows_and_says_so(filled, original):
    eid, _, _ = spike_file(original.truth)
    key = {"eid": eid}
    before = snapshot()["behavior.Trials.Trial"]
    for row in (session.Dataset & key & {"data_kind": "trials"}).to_dicts():
        withdraw(filled.folder, eid, row["dataset_path"])
    assert downloads.find(eid, "_ibl_trials*")
    filled.register(filled.folder)
    with pytest.raises(MissingDataset, match="no file matches '_ibl_trials"):
        downloads.find(eid, "_ibl_trials*")
    (found,) = stale.find()
    assert (found.table, found.reason) == ("behavior.Trials", "withdrawn")
    (outcome,) = stale.remake()
    assert outcome.n_done == 0
    assert "withdrawn" in outcome.kept[0][1]
    assert snapshot()["behavior.Trials.Trial"].equals(before)


def test_a_replaced_file_that_cannot_be_read_costs_no_row(filled, original):
    eid, _, path = spike_file(original.truth)
    revise(filled.folder, eid, path, seed=1)
    filled.register(filled.folder)
    place = next(filled.folder.rglob(path))
    place.write_bytes(place.read_bytes()[:-8])
    before = snapshot()
    (outcome,) = stale.remake()
    assert (outcome.table, outcome.n_done, len(outcome.kept)) == ("ephys.Spikes", 0, 1)
    assert str(place) in outcome.kept[0][1]
    assert differences(snapshot(), before) == {}


def test_the_command_tells_what_is_stale_and_makes_it_again(filled, original):
    def bwm(*arguments):
        return CliRunner().invoke(cli.app, arguments, env=filled.environment)

    eid, _, path = spike_file(original.truth)
    revise(filled.folder, eid, path, seed=1)
    assert bwm("register", "--one", str(filled.folder)).exit_code == 0
    shown = bwm("status").stdout
    assert "stale ephys.Spikes (eid " + eid in shown
    assert f"replaced: {path}" in shown
    told = json.loads(bwm("status", "--session", eid, "--json").stdout)["stale"]
    assert [row["table"] for row in told] == ["ephys.Spikes"]
    other = next(e for e in original.truth.sessions.eid if e != eid)
    assert json.loads(bwm("status", "--session", other, "--json").stdout)["stale"] == []
    again = bwm("populate", "--stale")
    assert again.exit_code == 0, again.output
    assert "ephys.Spikes" in again.stdout
    assert "wheel.Wheel" not in again.stdout
    nothing = bwm("populate", "--stale")
    assert (nothing.exit_code, nothing.stdout[:32]) == (0, "Nothing to do: no row is stale. ")
