"""What is damaged is named, nothing else is, and repair with populate restores the very same."""

import hashlib
import json
import os
import shutil
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import datajoint as dj
import numpy as np
import pandas as pd
import psycopg2
import pymysql
import pytest
from typer.testing import CliRunner

from populate import catalog, cli, status, verify
from populate.verify import counts, objects, rules
from populate.workers import worker
from schemas import (
    activity,
    behavior,
    connection,
    ephys,
    quality,
    rows,
    session,
    storage,
    video,
    wheel,
)
from schemas.errors import StorageError
from schemas.sources import simulator
from schemas.sources.records import Selection
from tests.support.alyx import AlyxServer
from tests.support.databases import (
    Release,
    differences,
    held_objects,
    object_columns,
    relist,
    snapshot,
    stored_objects,
    tables,
)
from tests.support.users import counted, users
from tests.support.verify import (
    change,
    changed,
    cut,
    first,
    flip,
    key_of,
    name,
    named,
    place,
    pointed,
)

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=9, **SMALL))


@pytest.fixture(scope="module")
def _filled(lend, original):
    with lend() as database:
        database.register(original.folder)
        restore()
        database.whole = snapshot()
        yield database


@pytest.fixture
def made(_filled):
    """A database with everything made."""
    _filled.connect()
    return _filled


@pytest.fixture
def filled(made):
    """The same; whatever a test breaks is as it was in the end."""
    yield made
    assert differences(snapshot(), made.whole) == {}
    assert named(verify.verify(deep=True, older_than=0)) == set()
    assert held_objects(made) == stored_objects()


def bwm(database, *arguments):
    return CliRunner().invoke(cli.app, ["verify", *arguments], env=database.environment)


TABLES = [t for t in catalog.tables() if t not in (behavior.Psychometric, behavior.TrainingStatus)]
"""All but those that take long to fit."""


def restore():
    """Make what is not there."""
    assert sum(len(outcome.failed) for outcome in worker.run(TABLES)) == 0
    assert status.failures() == []


# --- objects ------------------------------------------------------------------------------------


def test_damaged_objects_are_named_and_made_again(filled):
    spikes, flipped = first(ephys.Spikes, "spikes")
    trace, truncated = first(wheel.Wheel, "wheel_trace")
    times, removed = first(video.FrameTimes, "frame_times")
    flip(place(filled, flipped), "time")
    cut(place(filled, truncated))
    place(filled, removed).unlink()
    expected = {
        name("objects", "ephys.Spikes", spikes, place(filled, flipped)),
        name("objects", "wheel.Wheel", trace, place(filled, truncated)),
        name("objects", "video.FrameTimes", times, place(filled, removed)),
    }
    # A flipped byte has no size.
    assert named(verify.verify()) == expected - {
        name("objects", "ephys.Spikes", spikes, place(filled, flipped))
    }
    # The jobs that read it fail, and would not be retried.
    (activity.Psth & spikes).delete()
    (outcome,) = worker.run(catalog.find(["Psth"]))
    assert len(outcome.failed) == len(activity.PsthDefinition())

    found = json.loads(bwm(filled, "--deep", "--json").stdout)
    told = {d["table"]: (d["expected"], d["found"]) for d in found["damage"]}
    n_bytes = truncated.stored["n_bytes"]
    assert told["ephys.Spikes"][0] == f"sha256 {flipped.sha256}"
    assert told["wheel.Wheel"] == (f"{n_bytes} bytes", f"{n_bytes - 7} bytes")
    assert told["video.FrameTimes"] == (f"{removed.stored['n_bytes']} bytes", "nothing")
    assert found["bytes_read"] > 0
    assert named(verify.verify(deep=True)) == expected

    others = held_objects(filled)
    said = bwm(filled, "--deep", "--repair")
    assert said.exit_code == 0, said.output
    assert "removed: 1 of ephys.Spikes\n" in said.stdout
    assert f"removed: {place(filled, flipped)}\n" in said.stdout
    filled.connect()
    assert not ephys.Spikes & spikes
    assert len(wheel.Wheel()) == len(filled.whole["wheel.Wheel"]) - 1
    assert status.failures() == []
    assert {flipped.path, truncated.path} <= others - held_objects(filled)
    restore()


def test_two_swapped_objects_are_found_and_so_are_two_swapped_references(filled):
    """Of the same table and size, so that only hashes, or the files, tell them apart."""
    table, column, keys = same_size()
    refs = [(table & key).fetch1(column) for key in keys]
    places = [place(filled, ref) for ref in refs]
    contents = [path.read_bytes() for path in places]

    def found():
        said = json.loads(bwm(filled, "--deep", "--json").stdout)["damage"]
        filled.connect()
        return {(d["check"], d["table"], str(d["key"])) for d in said if d["table"] == named_so}

    named_so = catalog.name_of(table)
    for path, content in zip(places, reversed(contents), strict=True):
        path.write_bytes(content)
    assert found() == {("objects", named_so, str(key)) for key in keys}
    for path, content in zip(places, contents, strict=True):
        path.write_bytes(content)
    for key, ref in zip(keys, reversed(refs), strict=True):
        change(table, key, **{column: f"'{json.dumps(ref.stored)}'"})
    assert found() == {("recomputed", named_so, str(key)) for key in keys}
    for key, ref in zip(keys, refs, strict=True):
        change(table, key, **{column: f"'{json.dumps(ref.stored)}'"})


def same_size():
    """Find two rows of an imported table whose objects differ and have the same size."""
    every = tables()
    for table_name, (column, *_) in object_columns().items():
        table = every[table_name]
        held = {}
        for row in table().to_dicts() if hasattr(table, "Source") else ():
            other = held.setdefault(row[column].stored["n_bytes"], row)
            if other[column].sha256 != row[column].sha256:
                return table, column, [{k: r[k] for k in table.primary_key} for r in (other, row)]
    raise AssertionError("no two objects have the same size")


def test_an_object_whose_row_says_otherwise_is_named(filled):
    key, ref = first(video.Licks, "licks")
    wrong = {**ref.stored, "n_rows": ref.n_rows + 1}
    change(video.Licks, key, licks=f"'{json.dumps(wrong)}'")
    (damage,) = [d for d in verify.verify(deep=True).damage if d.check == "objects"]
    assert (damage.table, damage.key) == ("video.Licks", key)
    assert damage.found.startswith(f"the object has {ref.n_rows:,} rows")
    assert f"says {ref.n_rows + 1:,} rows" in damage.found
    verify.repair([damage])
    restore()


WRONG_REFERENCES = {
    "out of the store": ({"path": "../x.parquet"}, "path '../x.parquet', which leads out of the"),
    "of no kind": ({"path": 5}, "path 5"),
    "without size": ({"n_bytes": None}, "n_bytes null"),
    "of a size in words": ({"n_bytes": "many"}, 'n_bytes "many"'),
    "of rows in words": ({"n_rows": "many"}, 'n_rows "many"'),
    "of half a row": ({"n_rows": 0.5}, "n_rows 0.5"),
    "no object": (["x"], '["x"], which is no reference'),
    "a text": ("x", '"x", which is no reference'),
    "null": (None, "null, which is no reference"),
    **{f"no {gone}": (gone, f"no {gone}") for gone in storage.FIELDS},
}


def wrong_reference(ref, wrong):
    """What a row holds, changed in some fields, without one, or something else altogether."""
    if isinstance(wrong, dict):
        return {**ref.stored, **wrong}
    if wrong in list(storage.FIELDS):
        return {name: value for name, value in ref.stored.items() if name != wrong}
    return wrong


@pytest.mark.parametrize("case", WRONG_REFERENCES)
def test_a_row_that_leads_to_no_object_is_named(made, case):
    wrong, told = WRONG_REFERENCES[case]
    key, ref = first(video.Licks, "licks")
    with pointed(video.Licks, key, "licks", wrong_reference(ref, wrong)):
        for deep in (False, True):
            found = [d for d in verify.verify(deep).damage if d.check != "rows"]
            assert [(d.check, d.table, d.key, d.what) for d in found] == [
                ("objects", "video.Licks", key, "licks")
            ]
            assert (found[0].kind, found[0].path, found[0].store) == ("rows", "", "")
            assert found[0].found.startswith(told)


def test_rows_that_lead_to_no_object_are_made_again_and_nothing_else_is_removed(filled):
    store = Path(filled.settings.store.location)
    outside = plant(store.parent / "x.parquet", 0)
    removed = {}
    for table, column, wrong in (
        (video.Licks, "licks", {"path": "../x.parquet"}),
        (wheel.Wheel, "wheel_trace", "sha256"),
        (ephys.Spikes, "spikes", "store"),
    ):
        key, ref = first(table, column)
        change(table, key, **{column: f"'{json.dumps(wrong_reference(ref, wrong))}'"})
        removed[table] = key
    said = bwm(filled, "--repair")
    assert said.exit_code == 0, said.output
    filled.connect()
    assert not any(table & key for table, key in removed.items())
    assert outside.exists()
    assert str(outside) not in said.output
    outside.unlink()
    restore()


def test_a_row_that_names_a_store_which_is_not_known_here_is_told_and_kept(filled):
    key, ref = first(video.Licks, "licks")
    with pointed(video.Licks, key, "licks", {**ref.stored, "store": "elsewhere"}):
        (damage,) = verify.verify(deep=True).damage
        assert (damage.table, damage.key, damage.kind) == ("video.Licks", key, "unread")
        assert damage.what == f"{ref.path} of store elsewhere"
        assert verify.repair([damage]) == []


# --- orphans ------------------------------------------------------------------------------------


def plant(path, age):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 10)
    os.utime(path, (time.time() - age, time.time() - age))
    return path


def test_orphans_go_but_for_young_ones_and_those_of_others(filled):
    _, ref = first(ephys.Spikes, "spikes")
    folder, prefix = place(filled, ref).parent, filled.settings.prefix
    root = Path(filled.settings.store.location)
    crashed = plant(folder / "spikes_0123456789ab.parquet", 3600)
    partial = plant(folder / "spikes_0123456789ac.parquet.saving", 3600)
    young = plant(folder / "spikes_0123456789ad.parquet", 0)
    others = [
        plant(root / ref.path.replace(prefix, f"{prefix}_other"), 3600),
        plant(root / "notes.txt", 3600),
        plant(folder / "remarks.parquet", 3600),
    ]
    expected = {name("orphans", "ephys.Spikes", {}, path) for path in (crashed, partial)}
    assert named(verify.verify()) == expected
    assert named(verify.verify(older_than=0)) == expected | {
        name("orphans", "ephys.Spikes", {}, young)
    }
    said = bwm(filled)
    assert said.exit_code == 1
    assert f"damaged ephys.Spikes\n  {crashed}\n" in said.stdout
    assert bwm(filled, "--repair").exit_code == 0
    assert not crashed.exists()
    assert not partial.exists()
    assert bwm(filled).exit_code == 0
    for path in (young, *others):
        assert path.exists()
        path.unlink()


# --- counts -------------------------------------------------------------------------------------

TRIALS = "rows of Trial"
SUM = "n_reactions + n_missing + n_too_fast + n_too_slow"
MOVES = "n_first_moves + n_without_move + n_unknown_move"
EVENTS = "n_psth_events + n_psth_dropped + n_unsplit_trials"
PLACE = "region_id against that of its site"
Trials, Cluster, Spikes = behavior.Trials, ephys.SpikeSorting.Cluster, ephys.Spikes

# Table, column, its new value, and what is named: check, table and what of it.
WRONG = [
    *(
        (table, column, f"{column} + 1", {("rows", catalog.name_of(table), column)})
        for table, column, *_ in (*rules.PARTS, *rules.lengths())
        if table is not Spikes
    ),
    *(
        (
            table.Source,
            "source_md5",
            "NULL",
            {("rows", catalog.name_of(table), "files that were read")},
        )
        for table in (Trials, ephys.SpikeSorting, video.Licks)
    ),
    *(
        (table, column, f"{column} + 1", {(check, catalog.name_of(table), what) for what in said})
        for check, table, column, *said in (
            ("trials", behavior.ReactionTime, "n_reactions", "n_reactions", SUM),
            ("trials", behavior.ReactionTime, "n_missing", "n_missing", SUM),
            ("trials", behavior.ReactionTime, "n_too_slow", SUM),
            ("trials", behavior.TrialMask, "n_used", "n_used"),
            ("trials", wheel.FirstMovement, "n_first_moves", "n_first_moves", MOVES),
            ("trials", wheel.FirstMovement, "n_unknown_move", MOVES),
            ("trials", behavior.Performance, "n_correct", "n_correct"),
            ("trials", behavior.Performance, "n_no_go", "n_no_go"),
            ("trials", activity.UnitRate, "n_events", "n_events + n_dropped_events"),
            ("trials", activity.Psth, "n_unsplit_trials", EVENTS),
            (
                "trials",
                activity.UnitResponse,
                "n_incomparable",
                "n_response_trials + n_incomparable",
            ),
            ("units", ephys.GoodUnits, "n_good", "n_good"),
            ("units", ephys.GoodUnits, "n_undecided", "n_undecided"),
            ("units", ephys.UnitMetrics, "n_label_good", "n_label_good"),
            ("rows", quality.MetricDifferences, "n_different", "n_different"),
            (
                "units",
                activity.RegionRate,
                "n_located_units",
                "n_located_units + n_unlocated_units",
            ),
        )
    ),
    (
        Spikes,
        "n_spikes",
        "n_spikes + 1",
        {("rows", "ephys.Spikes", "n_spikes"), ("spikes", "ephys.Spikes", "sum of n_unit_spikes")},
    ),
    (
        behavior.ReactionTime.Trial,
        "rt_in_bounds",
        "NULL",
        {("trials", "behavior.ReactionTime", "n_reactions")},
    ),
    (
        activity.Psth.Condition,
        "n_psth_events",
        "n_psth_events + 1",
        {("trials", "activity.Psth", EVENTS)},
    ),
    (ephys.GoodUnits.Unit, "is_good", "FALSE", {("units", "ephys.GoodUnits", "n_good")}),
    (
        Spikes.Unit,
        "n_unit_spikes",
        "n_unit_spikes + 1",
        {
            ("spikes", "ephys.Spikes", "sum of n_unit_spikes"),
            ("spikes", "ephys.Spikes", "spike_offset"),
        },
    ),
    (Spikes.Unit, "spike_offset", "spike_offset + 1", {("spikes", "ephys.Spikes", "spike_offset")}),
    (
        Cluster,
        "spike_count",
        "spike_count + 1",
        {("spikes", "ephys.SpikeSorting", "spike_count against n_unit_spikes")},
    ),
    (
        ephys.UnitMetrics.Unit,
        "computed_spike_count",
        "computed_spike_count - 1",
        {("spikes", "ephys.UnitMetrics", "computed_spike_count against n_unit_spikes")},
    ),
    (
        activity.Psth.Unit,
        "psth_offset",
        "psth_offset + 1",
        {("spikes", "activity.Psth", "psth_offset")},
    ),
    (
        activity.Psth.Unit,
        "n_psth_rows",
        "n_psth_rows + 1",
        {
            ("spikes", "activity.Psth", "sum of n_psth_rows"),
            ("spikes", "activity.Psth", "psth_offset"),
        },
    ),
    *(
        (
            quality.GoodUnitSummary.Region,
            column,
            f"{column} + 1",
            {("units", "quality.GoodUnitSummary", f"n_unlocated{end} + sum over regions")},
        )
        for column, end in (("n_in_region", ""), ("n_good_in_region", "_good"))
    ),
    (Cluster, "region_id", "NULL", {("regions", "ephys.SpikeSorting", PLACE)}),
]
FIRST = {
    "rt_in_bounds": "rt_in_bounds",
    "is_good": "is_good",
    "region_id": "region_id IS NOT NULL",
    "source_md5": "source_md5 IS NOT NULL",
}
"""Which row is changed, where the first will not do."""


@pytest.mark.parametrize(
    ("table", "column", "value", "expected"), WRONG, ids=lambda v: getattr(v, "__qualname__", None)
)
def test_each_wrong_count_is_named_with_its_row_alone(made, table, column, value, expected):
    key = key_of(table, FIRST.get(column, True))
    master = getattr(table, "master", table)
    of = {name: key[name] for name in master.primary_key}
    with changed(table, of if column == "source_md5" else key, column, value):
        found = counts.find(rules.rules(), None, ())
    assert {(d.check, d.table, d.what.partition(", ")[0]) for d in found} == expected
    assert all((damage.key, damage.kind) == (of, "rows") for damage in found)


def test_files_of_a_release_that_disagree_are_told_and_their_rows_kept(lend, original, tmp_path):
    folder = tmp_path / "release"
    shutil.copytree(original.folder, folder)
    (metrics,) = folder.rglob("#2024-05-06#/clusters.metrics.pqt")
    table = pd.read_parquet(metrics)
    table.loc[table.spike_count.idxmax(), "spike_count"] += 1
    table.to_parquet(metrics, index=False)
    (regions,) = folder.rglob("#2024-05-06#/channels.brainLocationIds_ccf_2017.npy")
    ids = np.load(regions)
    np.save(regions, np.where(ids == 0, 0, ids[ids != 0][0]))
    for path in (metrics, regions):
        relist(folder, path)
    chain = catalog.find(["Channels", "SpikeSorting", "Spikes"])
    with lend() as database:
        database.register(folder)
        worker.run(chain)
        before = snapshot()
        expected = {
            ("spikes", "ephys.SpikeSorting"),
            ("regions", "ephys.SpikeSorting"),
            ("regions", "probe.Channels"),
        }
        found = verify.verify(deep=True).damage
        assert {(damage.check, damage.table) for damage in found} == expected
        assert {damage.kind for damage in found} == {"source"}
        said = bwm(database, "--repair")
        assert said.exit_code == 1
        assert said.stdout.count(
            "The rows agree with their files, which contradict each other"
        ) == len(found)
        assert "removed" not in said.stdout
        assert "Not everything could be repaired" in said.stderr
        database.connect()

        # A row that was changed in the database is still removed, and computed again.
        sort = next(damage.key for damage in found if damage.check == "spikes")
        key = key_of(Cluster & sort, "spike_count > 0")
        change(Cluster, key, spike_count="spike_count + 2")
        found = verify.verify().damage
        assert [d.check for d in found if d.kind == "rows"] == ["spikes"]
        verify.repair(found)
        assert len(ephys.SpikeSorting & sort) == 0
        worker.run(chain)
        assert differences(snapshot(), before) == {}

        # Without the files the kind of damage is unknown.
        folder.rename(tmp_path / "away")
        found = verify.verify().damage
        assert {damage.kind for damage in found} == {"unread"}
        assert all("its files cannot be read to compare" in damage.found for damage in found)
        assert verify.repair(found) == []


def test_what_a_test_changes_is_as_it_was_though_it_fails(made):
    key = key_of(Trials)
    with pytest.raises(ZeroDivisionError), changed(Trials, key, "n_trials", "n_trials + 1"):
        _ = 1 / 0
    assert counts.find(rules.rules(), None, ()) == []


def test_rows_with_wrong_counts_go_with_what_depends_on_them_and_come_back(filled):
    trials, sort = key_of(Trials), key_of(ephys.SpikeSorting)
    change(Trials, trials, n_trials="n_trials + 1")
    change(Cluster, key_of(Cluster, sort), spike_count="spike_count + 1")
    reaction = key_of(behavior.ReactionTime.Trial, f"eid <> '{trials['eid']}' AND rt_in_bounds")
    (behavior.ReactionTime.Trial & reaction).delete_quick()
    reactions = {n: reaction[n] for n in behavior.ReactionTime.primary_key}
    unit = key_of(Cluster, sort)["cluster_id"]
    against = f"spike_count against n_unit_spikes, cluster_id {unit}"
    assert named(verify.verify()) == {
        name("rows", "behavior.Trials", trials, "n_trials"),
        name("trials", "behavior.ReactionTime", reactions, TRIALS),
        name("trials", "behavior.ReactionTime", reactions, "n_reactions"),
        name("spikes", "ephys.SpikeSorting", sort, against),
    }
    removed = verify.repair(verify.verify().damage)
    gone = Counter()
    for one in removed:
        gone[one.name] += one.number * (one.what == "rows")
    # By foreign keys outside the primary key: rates and histograms refer to the trials.
    assert {"activity.UnitRate", "activity.Psth", "activity.UnitResponse"} <= gone.keys()
    assert not activity.Psth & trials
    assert activity.UnitRate & "trials_eid IS NULL"
    assert gone["behavior.ReactionTime"] == len(behavior.ReactionTimeDefinition()) + 1
    assert not gone.keys() & {"wheel.Wheel", "probe.Channels", "video.Pose"}
    restore()


def test_rows_inserted_by_hand_are_kept_with_the_rows_they_refer_to(filled):
    mine = connection.schema(f"mine_{filled.settings.prefix}")

    class Remark(dj.Manual):
        definition = """
        # one row per remark on a session
        -> Trials
        ---
        remark : varchar(16)  # inserted by hand
        """

    mine(Remark, context={"Trials": Trials})
    typed, other = Trials().keys(order_by="eid")[:2]
    rows.insert1(Remark(), {**typed, "remark": "odd"})
    for key in (typed, other):
        change(Trials, key, n_trials="n_trials + 1")
    try:
        said = bwm(filled, "--repair")
        assert said.exit_code == 1
        assert (
            f"kept: behavior.Trials: rows that were inserted by hand refer to {typed}"
            in said.stdout
        )
        filled.connect()
        assert len(Trials & typed) == len(Remark & typed) == 1
        assert len(Trials & other) == 0
        Remark().delete()
        assert bwm(filled, "--repair").exit_code == 0
        filled.connect()
        assert len(Trials & typed) == 0
    finally:
        mine.drop(prompt=False)
        dj.conn().dependencies.clear()  # it goes on knowing the table
    restore()


def test_what_a_table_of_a_closed_schema_refers_to_is_kept_and_all_else_is_repaired(
    filled, backend
):
    change(Trials, {}, n_trials="n_trials + 1")
    licks, ref = first(video.Licks, "licks")
    cut(place(filled, ref))
    _, ref = first(ephys.Spikes, "spikes")
    orphan = plant(place(filled, ref).parent / "spikes_0123456789ab.parquet", 3600)
    made_already = key_of(wheel.Wheel)
    rows.insert1(wheel.Wheel().jobs, {**made_already, "status": "pending", "priority": 5})
    with counted(filled) as (key, others), users(filled) as make:
        connection.connect(make("worker"))
        removed = verify.repair(verify.verify().damage)
        # PostgreSQL does not say which rows refer, if the user may not read their table.
        expected = [key] if backend.name == "mysql" else [key, *others]
        kept = [one for one in removed if not one.is_gone]
        assert [one.key for one in kept] == expected
        for one in kept:
            assert (one.name, one.number) == ("behavior.Trials", 1)
            assert f"{one.key}: rows are not deleted: " in one.why
            assert "you may not change that table. Ask its owner" in one.why
        assert len(Trials & expected) == len(Trials()) == len(expected)
        assert not video.Licks & licks
        assert not orphan.exists()
        assert len(wheel.Wheel().jobs) == 0
        assert not dj.conn().in_transaction
    assert all(one.is_gone for one in verify.repair(verify.verify().damage))
    restore()


def test_who_may_not_delete_is_told_of_each_row_and_nothing_changes(filled):
    keys = Trials().keys(order_by="eid")
    with users(filled) as make, ExitStack() as stack:
        reader = make("reader")
        for key in keys:
            stack.enter_context(changed(Trials, key, "n_trials", "n_trials + 1"))
        given = {"DJ_USER": reader.user, "DJ_PASS": reader.password.get_secret_value()}
        environment = {**filled.environment, **given}
        said = CliRunner().invoke(cli.app, ["verify", "--repair"], env=environment)
        assert said.exit_code == 1
        assert said.stdout.count("kept: behavior.Trials: {'eid': ") == len(keys)
        assert said.stdout.count("may not DELETE") == len(keys)
        assert "Not everything could be repaired" in said.stderr
        filled.connect()


def test_one_session_is_looked_at_alone(filled):
    first_key, second_key = Trials().keys(order_by="eid")[:2]
    with changed(Trials, first_key, "n_trials", "n_trials + 1"):
        report = verify.verify(deep=True, eid=second_key["eid"])
        assert report.damage == []
        looked = {one.check: one.looked for one in report.checks}
        assert 0 < looked["objects"] < len(stored_objects())
        (damage,) = verify.verify(eid=first_key["eid"]).damage
        assert damage.key == first_key


class Killed(BaseException):
    """Stands for SIGKILL: nothing handles it."""


@pytest.mark.parametrize("stage", ["deleting", "before the commit", "removing", "removed"])
def test_a_repair_that_is_killed_is_completed_by_the_next(filled, monkeypatch, stage):
    key, ref = first(wheel.Wheel, "wheel_trace")
    cut(place(filled, ref))
    remove = storage.remove

    def killed(*arguments, **_):
        if stage == "removed":
            remove(*arguments)
        raise Killed

    with monkeypatch.context() as patch:
        if stage in ("removing", "removed"):
            patch.setattr(storage, "remove", killed)
        elif stage == "deleting":
            patch.setattr(dj.Table, "delete", killed)
        else:
            patch.setattr(dj.Connection, "commit_transaction", killed)
        with pytest.raises(Killed):
            verify.repair(verify.verify().damage)
    connection.reconnect()
    is_deleted = stage in ("removing", "removed")
    assert len(wheel.Wheel & key) == len(wheel.WheelMoves & key) == (not is_deleted)
    assert place(filled, ref).exists() == (stage != "removed")
    verify.repair(verify.verify(older_than=0).damage)
    assert not place(filled, ref).exists()
    restore()


def test_an_object_to_which_another_row_refers_is_not_removed(filled):
    (key, _), (_, other) = (
        first(wheel.Wheel, "wheel_trace", **one)
        for one in wheel.Wheel().keys(order_by=wheel.Wheel.primary_key, limit=2)
    )
    with pointed(wheel.Wheel, key, "wheel_trace", {**other.stored, "n_bytes": 1}):
        (damage,) = [d for d in verify.verify().damage if d.check == "objects"]
        assert damage.key == key
        gone = [one.name for one in verify.repair([damage]) if one.what == "object"]
        assert str(place(filled, other)) not in gone
        assert place(filled, other).exists()
    verify.repair(verify.verify(older_than=0).damage)
    restore()


def test_a_removal_that_meets_deadlocks_is_run_again(filled, backend, monkeypatch):
    monkeypatch.setattr("random.uniform", lambda *_: 0.0)
    key, ref = first(wheel.Wheel, "wheel_trace")
    cut(place(filled, ref))
    query, met = dj.Connection.query, []

    def deadlock(self, statement, *arguments, **options):
        table = statement.partition("WHERE")[0]
        if statement.startswith("DELETE") and table not in met and len(met) < 3:
            met.append(table)
            if backend.name == "mysql":
                raise pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
            raise psycopg2.errors.DeadlockDetected("deadlock detected")
        return query(self, statement, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(dj.Connection, "query", deadlock)
        removed = verify.repair(verify.verify().damage)
    assert len(met) == 3
    assert all(one.is_gone for one in removed)
    assert len(wheel.Wheel & key) == len(wheel.WheelMoves & key) == 0
    assert not place(filled, ref).exists()
    assert not dj.conn().in_transaction
    restore()


# --- while workers run --------------------------------------------------------------------------


def test_what_comes_between_two_looks_is_no_damage(made, monkeypatch):
    _, ref = first(ephys.Spikes, "spikes")
    listing, asking = storage.list_schema, objects.fetch_references

    def before(schema, store):
        return {p: held for p, held in listing(schema, store).items() if p != ref.path}

    monkeypatch.setattr(storage, "list_schema", before)
    assert verify.verify(deep=True).damage == []
    monkeypatch.undo()
    asked = []

    def earlier(*arguments):
        asked.append(arguments)
        found = asking(*arguments)
        return found if len(asked) > 1 else [one for one in found if one.path != ref.path]

    monkeypatch.setattr(objects, "fetch_references", earlier)
    assert verify.verify(older_than=0).damage == []
    assert len(asked) == 2


def test_an_orphan_that_is_written_anew_is_left_to_its_worker(made):
    _, ref = first(ephys.Spikes, "spikes")
    orphan = plant(place(made, ref).parent / "spikes_0123456789ab.parquet", 3600)
    found = verify.verify().damage
    plant(orphan, 0)
    assert verify.repair(found) == []
    plant(orphan, 3600)
    assert [one.what for one in verify.repair(verify.verify().damage)] == ["object"]
    assert not orphan.exists()


def test_a_store_that_no_row_points_into_is_left_alone(lend, tmp_path):
    with lend(tmp_path / "home") as empty:
        folder = Path(empty.settings.store.location)
        name_ = f"{empty.settings.prefix}_wheel/_wheel/eid=e/wheel_trace_0123456789ab.parquet"
        orphan = plant(folder / "_schema" / name_, 3600)
        report = verify.verify()
        assert [one.kind for one in report.damage] == ["store"]
        assert verify.repair(report.damage) == []
        assert orphan.exists()


def test_a_store_that_is_empty_is_not_taken_for_lost(filled):
    """As where it is not mounted: nothing is removed, and no worker fills the place of it."""
    store = Path(filled.settings.store.location)
    away = store.rename(store.with_name("away"))
    store.mkdir()
    said = bwm(filled, "--repair")
    assert said.exit_code == 1
    assert said.stdout.count("see bwm.store. Nothing is removed.") == 1
    n_objects = len(stored_objects())
    assert f"expected the objects of {n_objects} rows; found an empty store" in said.stdout
    filled.connect()
    assert differences(snapshot(), filled.whole) == {}
    with pytest.raises(StorageError, match=r"rows refer to objects in it\. Mount the store"):
        worker.run(catalog.find(["Wheel"]))
    assert list(store.iterdir()) == []
    # Unless --lost-store says so.
    said = bwm(filled, "--repair", "--lost-store")
    assert said.exit_code == 0, said.output
    filled.connect()
    assert len(wheel.Wheel()) == len(ephys.Spikes()) == 0
    restore()
    shutil.rmtree(away)


def test_a_store_that_another_database_writes_into_is_left_to_it(filled):
    store = Path(filled.settings.store.location)
    (path,) = store.glob("*.owner.json")
    own = path.read_text()
    path.write_text(json.dumps(json.loads(own) | {"server": "x", "address": "db.example.org:1"}))
    filled.connect()
    connection.disconnect()
    filled.connect()  # as in another process, which has not looked yet
    key, ref = first(wheel.Wheel, "wheel_trace")
    place(filled, ref).rename(place(filled, ref).with_suffix(".away"))
    (damage,) = verify.verify().damage
    assert (damage.kind, damage.expected) == ("store", "the objects of 1 row")
    assert damage.found == "those of another database"
    assert verify.repair([damage]) == []
    with pytest.raises(StorageError, match=r"of db\.example\.org:1, and .* is connected"):
        storage.remove(ref.path)
    place(filled, ref).with_suffix(".away").rename(place(filled, ref))
    (wheel.Wheel & key).delete()
    (outcome,) = worker.run(catalog.find(["Wheel"]))
    assert "another database writes here" in outcome.failed[0][1]
    path.write_text(own)
    assert worker.retry() == 1
    restore()


# --- jobs ---------------------------------------------------------------------------------------


def test_jobs_that_nobody_will_finish_or_that_are_done_are_named(filled):
    keys = Trials().keys(order_by="eid")
    held = Trials().jobs
    job = {"priority": 5, "host": "elsewhere", "pid": 1}
    now = dj.conn().query("SELECT CURRENT_TIMESTAMP(3)").fetchone()[0]
    rows.insert1(held, {**keys[0], "status": "reserved", "reserved_time": now, **job})
    assert verify.verify().damage == []  # a worker is running it
    dj.conn().query(f"UPDATE {held.full_table_name} SET reserved_time = '2020-01-01 00:00:00'")
    rows.insert1(held, {**keys[1], "status": "error", **job})
    wheels = key_of(wheel.Wheel)
    rows.insert1(wheel.Wheel().jobs, {**wheels, "status": "pending", **job})
    expected = {
        name("jobs", "behavior.Trials", keys[0], "reserved by process 1 of elsewhere"),
        name("jobs", "behavior.Trials", keys[1], "job with status error"),
        name("jobs", "wheel.Wheel", wheels, "job with status pending"),
    }
    report = verify.verify()
    assert named(report) == expected
    assert {one.what for one in verify.repair(report.damage)} == {"job", "returned"}
    assert len(held) == len(wheel.Wheel().jobs) == 0


def hold(table, key, ago, status_="reserved"):
    """Let a process of another machine have reserved the job of a key, so many seconds ago."""
    held = table().jobs
    rows.insert1(held, {**key, "status": "pending", "priority": 5}, skip_duplicates=True)
    interval = held.adapter.interval_expr(ago, "second")
    dj.conn().query(
        f"UPDATE {held.full_table_name} SET status = '{status_}', host = 'elsewhere', pid = 1, "
        f"reserved_time = CURRENT_TIMESTAMP(3) - {interval}{(held & key).where_clause()}"
    )
    return held & key


def test_a_job_of_a_stalled_worker_is_requeued_until_too_many_died_of_it(filled):
    key = key_of(wheel.Wheel)
    (wheel.Wheel & key).delete()
    died = "died, or lost the server, while running it"
    for told in (f"1 worker {died}", f"2 workers {died}"):
        job = hold(wheel.Wheel, key, 1000)
        assert [one.what for one in verify.repair(verify.verify().damage)] == ["returned"]
        assert job.fetch1("status", "error_message") == ("pending", told)
    hold(wheel.Wheel, key, 1000)
    said = bwm(filled, "--repair")
    assert said.exit_code == 1
    assert f"kept: wheel.Wheel: WorkerDied: 3 workers {died}." in said.stdout
    filled.connect()
    assert job.fetch1("status") == "error"
    assert worker.retry() == 1
    restore()


@pytest.mark.parametrize("status_", ["reserved", "pending"])
def test_a_job_that_is_reserved_anew_meanwhile_is_left_to_its_worker(filled, monkeypatch, status_):
    key = key_of(wheel.Wheel)
    job = hold(wheel.Wheel, key, 1000, status_)
    found = verify.verify().damage
    assert [one.key for one in found] == [key]
    find = verify.jobs.find_once

    def then_another_takes_it(eid):
        seen = find(eid)
        hold(wheel.Wheel, key, 0)
        return seen

    monkeypatch.setattr(verify.jobs, "find_once", then_another_takes_it)
    verify.repair(found)
    monkeypatch.undo()
    assert job.fetch1("status", "host") == ("reserved", "elsewhere")
    job.delete_quick()


# --- files --------------------------------------------------------------------------------------


def test_a_damaged_file_of_a_folder_is_named_and_left(filled, original):
    (row,) = (Trials.Source & "source_md5 IS NOT NULL").to_dicts(
        order_by="eid, dataset_path", limit=1
    )
    (path,) = original.folder.rglob(f"{_day(row)}/{row['dataset_path']}")
    whole = path.read_bytes()
    key = {name: row[name] for name in ("eid", "dataset_path")}
    expected = {name("files", "session.Dataset", key, f"{path}, read by behavior.Trials")}
    try:
        flip(path)
        assert verify.verify().damage == []
        (damage,) = verify.verify(deep=True).damage
        assert {damage.expected, damage.found} == {
            f"md5 {hashlib.md5(content).hexdigest()}" for content in (whole, path.read_bytes())
        }
        told = json.loads(bwm(filled, "--deep", "--json").stdout)["damage"]
        assert [one["check"] for one in told] == ["files"]  # its rows are not compared with it
        filled.connect()
        cut(path)
        assert named(verify.verify()) == expected
        said = bwm(filled, "--repair")
        assert said.exit_code == 1
        assert "Put the file back" in said.stdout
        assert path.stat().st_size == len(whole) - 7
        path.unlink()
        filled.connect()
        assert verify.verify(deep=True).damage == []
    finally:
        path.write_bytes(whole)


def test_a_file_whose_path_leads_elsewhere_is_told_and_all_else_is_looked_at(filled, original):
    (row,) = (Trials.Source & "source_md5 IS NOT NULL").to_dicts(
        order_by="eid, dataset_path", limit=1
    )
    key = {name: row[name] for name in ("eid", "dataset_path")}
    (licks,) = original.folder.rglob(f"{_day(row)}/alf/licks.times.npy")
    whole = licks.read_bytes()
    wrong = {**key, "dataset_path": "../../x.npy"}
    change(session.Dataset, key, dataset_path="'../../x.npy'")
    try:
        cut(licks)
        expected = {
            name("files", "session.Dataset", wrong, "../../x.npy, read by behavior.Trials"),
            name(
                "files",
                "session.Dataset",
                {"eid": row["eid"], "dataset_path": "alf/licks.times.npy"},
                f"{licks}, read by video.Licks",
            ),
        }
        for deep in (False, True):
            report = verify.verify(deep)
            assert named(report) == expected
            assert {one.kind for one in report.damage} == {"file"}
        assert verify.repair(report.damage) == []
    finally:
        licks.write_bytes(whole)
        change(session.Dataset, wrong, dataset_path=f"'{key['dataset_path']}'")


def _day(row):
    """Folder of the session of a row, from the day on."""
    of = (session.Session & {"eid": row["eid"]}).fetch1()
    return f"{of['session_date']}/{of['session_number']:03d}"


def online(folder, server):
    """Settings of a database whose downloads have a cache of their own."""
    return {
        "alyx.url": server.url,
        "alyx.user": server.user,
        "alyx.password": server.password,
        "alyx.data_server": server.files_url,
        "alyx.cache": str(folder / "cache"),
        "alyx.requests_per_minute": 100_000,
    }


def test_a_damaged_download_goes_and_one_that_is_not_there_is_none(
    lend, original, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    with ExitStack() as stack:
        server = stack.enter_context(AlyxServer(original.folder))
        database = stack.enter_context(lend(tmp_path / "home", online(tmp_path, server)))
        database.register(server.url, selection=Selection(project="ibl_neuropixel_brainwide_01"))
        worker.run(catalog.find(["Trials"]))
        files = sorted((tmp_path / "cache").rglob("_ibl_trials.*"))
        assert len(files) > 2
        flip(files[0])
        files[1].unlink()
        (damage,) = verify.verify(deep=True).damage
        assert (damage.check, damage.kind) == ("files", "download")
        assert damage.what == f"{files[0]}, read by behavior.Trials"
        assert [one.what for one in verify.repair([damage])] == ["download"]
        assert not files[0].exists()
        assert verify.verify(deep=True).damage == []
        before = snapshot()
        Trials().delete()
        worker.run(catalog.find(["Trials"]))
        assert differences(snapshot(), before) == {}
        assert files[0].exists()
