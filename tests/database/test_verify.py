"""What is damaged is named, nothing else is, and repair with populate restores the very same."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populate import cli, plan, status, verify, worker
from populate.verify import rules
from schemas import activity, behavior, ephys, video, wheel
from schemas.sources import simulator
from tests.support.databases import Release, differences, snapshot, stored_objects
from tests.support.verify import change, changed, cut, first, flip, key_of, name, named, place

SMALL = {"n_sessions": 2, "n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1}


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("original")
    return Release(folder, simulator.simulate(folder, "tiny", seed=9, **SMALL))


@pytest.fixture(scope="module")
def _filled(lend, original):
    with lend() as database:
        database.register(original.folder)
        assert database.populate() == []
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
    assert named(verify.verify(deep=True, older_than=0)) == set()
    yield made
    assert differences(snapshot(), made.whole) == {}
    assert named(verify.verify(deep=True, older_than=0)) == set()
    assert held(made) == stored_objects()


def bwm(database, *arguments):
    return CliRunner().invoke(cli.app, ["verify", *arguments], env=database.environment)


def held(database):
    """Paths of the files in the store."""
    folder = Path(database.settings.store.location)
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def restore(database):
    """Make what is not there, and forget nothing that failed."""
    assert sum(len(outcome.failed) for outcome in worker.run()) == 0
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
    # What a worker makes of it fails, and would not be tried again.
    (activity.Psth & spikes).delete()
    (outcome,) = worker.run(plan.find(["Psth"]))
    assert len(outcome.failed) == len(activity.PsthDefinition())

    found = json.loads(bwm(filled, "--deep", "--json").stdout)
    told = {d["table"]: (d["expected"], d["found"]) for d in found["damage"]}
    n_bytes = truncated.stored["n_bytes"]
    assert told["ephys.Spikes"][0] == f"sha256 {flipped.sha256}"
    assert told["wheel.Wheel"] == (f"{n_bytes} bytes", f"{n_bytes - 7} bytes")
    assert told["video.FrameTimes"] == (f"{removed.stored['n_bytes']} bytes", "nothing")
    assert found["bytes_read"] > 0
    assert named(verify.verify(deep=True)) == expected

    others = held(filled)
    said = bwm(filled, "--deep", "--repair")
    assert said.exit_code == 0, said.output
    assert "removed: 1 of ephys.Spikes\n" in said.stdout
    assert f"removed: {place(filled, flipped)}\n" in said.stdout
    filled.connect()
    assert not ephys.Spikes & spikes
    assert len(wheel.Wheel()) == len(filled.whole["wheel.Wheel"]) - 1
    assert status.failures() == []
    assert {flipped.path, truncated.path} <= others - held(filled)
    restore(filled)


def test_an_object_whose_row_says_otherwise_is_named(filled):
    key, ref = first(video.Licks, "licks")
    wrong = {**ref.stored, "n_rows": ref.n_rows + 1}
    change(video.Licks, key, licks=f"'{json.dumps(wrong)}'")
    (damage,) = [d for d in verify.verify(deep=True).damage if d.check == "objects"]
    assert (damage.table, damage.key) == ("video.Licks", key)
    assert damage.expected.startswith(f"{ref.n_rows} rows")
    assert damage.found.startswith(f"{ref.n_rows + 1} rows")
    verify.repair([damage])
    restore(filled)


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
        (table, column, f"{column} + 1", {("rows", plan.name_of(table), column)})
        for table, column, *_ in (*rules.PARTS, *rules.LENGTHS)
        if table is not Spikes
    ),
    *(
        (
            table.Source,
            "source_md5",
            "NULL",
            {("rows", plan.name_of(table), "files that were read")},
        )
        for table in (Trials, ephys.SpikeSorting, video.Licks)
    ),
    *(
        (table, column, f"{column} + 1", {(check, plan.name_of(table), what) for what in said})
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
        found = verify.verify().damage
    assert {(d.check, d.table, d.what.partition(", ")[0]) for d in found} == expected
    assert all(damage.key == of for damage in found)
    assert verify.verify().damage == []
