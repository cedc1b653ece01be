"""What is damaged is named, nothing else is, and repair with populate restores the very same."""

import json
import os
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from populate import cli, plan, status, verify, worker
from schemas import activity, ephys, video, wheel
from schemas.sources import simulator
from tests.support.databases import Release, differences, snapshot, stored_objects
from tests.support.verify import change, cut, first, flip, name, named, place

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
def filled(_filled):
    """A database with everything made; whatever a test breaks is as it was in the end."""
    _filled.connect()
    assert named(verify.verify(deep=True, older_than=0)) == set()
    yield _filled
    assert differences(snapshot(), _filled.whole) == {}
    assert named(verify.verify(deep=True, older_than=0)) == set()
    assert held(_filled) == stored_objects()


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
