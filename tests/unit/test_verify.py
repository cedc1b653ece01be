"""What verify looks at, without a server."""

import hashlib
import re
import time

import pytest

from populate import stored_objects
from populate.catalog import name_of
from populate.verify import counts, files, objects, rules
from populate.verify.damage import REMEDIES, Damage
from schemas import activity, behavior, ephys, wheel
from schemas.database.declared import with_parts
from schemas.errors import StorageError


@pytest.fixture
def column(monkeypatch):
    """Column of the objects of spikes, in a database."""
    monkeypatch.setattr(ephys.schema, "database", "lab_ephys")
    monkeypatch.setattr(ephys.Spikes, "database", "lab_ephys", raising=False)
    return stored_objects.ObjectColumn(ephys.Spikes, "spikes", "bulk")


def test_every_column_of_objects_is_found():
    found = {(found.table_name, found.column) for found in stored_objects.object_columns()}
    assert {
        ("ephys.Spikes", "spikes"),
        ("wheel.Wheel", "wheel_trace"),
        ("activity.Psth", "psth"),
    } <= found
    assert {found.store for found in stored_objects.object_columns()} == {"bulk"}


def test_every_object_is_compared_with_its_number_of_rows():
    objects_of = {(found.table, found.column) for found in stored_objects.object_columns()}
    # The slices of the units must fill these objects.
    objects_of -= {(activity.Psth, "psth"), (ephys.AutoCorrelogram, "autocorrelograms")}
    assert {(table, column) for table, _, column in rules.lengths()} == objects_of
    for table, n_rows, _ in rules.lengths():
        assert re.search(rf"^ *{n_rows} +: int", table.definition, re.MULTILINE), table


def test_a_part_is_named_with_its_master():
    assert name_of(ephys.Spikes.Unit) == "ephys.Spikes.Unit"
    assert with_parts(activity.Psth) == [
        activity.Psth,
        activity.Psth.Condition,
        activity.Psth.Unit,
    ]
    assert with_parts(wheel.Wheel)[1:] == [wheel.Wheel.Source]


NAME = "spikes_0123456789ab.parquet"


@pytest.mark.parametrize(
    ("path", "is_ours"),
    [
        (f"_schema/lab_ephys/_spikes/eid=e/probe_name=p/{NAME}", True),
        (f"_schema/lab_ephys/_spikes/eid=e/probe_name=p/{NAME}.saving", True),
        (f"_schema/lab_ephys/_spikes/eid=e/probe_name=p/{NAME}.0a1b2c3d.saving", True),
        (f"lab_ephys/_spikes/{NAME}", True),
        (f"_schema/lab_ephys_2/_spikes/eid=e/{NAME}", False),
        (f"_schema/other_lab_ephys/_spikes/eid=e/{NAME}", False),
        (f"_schema/lab_ephys/_spikes_old/eid=e/{NAME}", False),
        (f"_schema/lab_ephys/_spikes/eid=e/{NAME}.bak", False),
        ("_schema/lab_ephys/_spikes/eid=e/spikes_0123456789aX.parquet", False),
        ("_schema/lab_ephys/_spikes/eid=e/trace_0123456789ab.parquet", False),
        ("_schema/lab_ephys/_spikes/eid=e/spikes_0123456789ab.npy", False),
    ],
)
def test_files_of_others_are_not_ours(column, path, is_ours):
    assert bool(column.path_pattern.fullmatch(path)) == is_ours


def file(path, md5=(), sizes=()):
    found = files.File("prepared", "e", "alf/x.npy", set(md5), set(sizes), {"wheel.Wheel"})
    found.path, found.n_bytes = path, path.stat().st_size
    return found


@pytest.fixture
def stored(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_kind", lambda _: "file")
    path = tmp_path / "x.npy"
    path.write_bytes(b"abc")
    return path, hashlib.md5(b"abc").hexdigest()


def test_a_file_is_whole_when_it_is_what_was_listed_or_what_was_read(stored):
    path, md5 = stored
    for hashes in ({md5}, {md5, "0" * 32}):  # replaced since: the old one and the new one
        assert files._compare_bytes(file(path, hashes), lambda _: None) is None
    for sizes in ((), {3}, {3, 4}):
        assert files._compare(file(path, sizes=sizes)) is None


def test_a_file_that_is_neither_is_damaged(stored):
    path, md5 = stored
    damage = files._compare_bytes(file(path, {"1" * 32, "0" * 32}), lambda _: None)
    assert (damage.expected, damage.found) == (f"md5 {'0' * 32} or {'1' * 32}", f"md5 {md5}")
    assert damage.what == f"{path}, read by wheel.Wheel"
    damage = files._compare(file(path, sizes={4, 5}))
    assert (damage.expected, damage.found) == ("4 or 5 bytes", "3 bytes")


def test_a_file_that_is_evicted_meanwhile_is_not_damaged(stored):
    path, _ = stored
    gone = file(path, {"0" * 32})
    path.unlink()
    assert files._compare_bytes(gone, lambda _: None) is None


@pytest.mark.parametrize("kind", REMEDIES)
def test_damage_says_what_repair_does(kind):
    damage = Damage("objects", kind, "ephys.Spikes", {"eid": "e"}, "x", "1", "2")
    assert damage.as_dict()["remedy"] == damage.remedy == REMEDIES[kind]
    assert damage.can_be_repaired == damage.remedy.startswith("Repair ")


def test_what_cannot_be_read_is_told_and_not_removed(stored, monkeypatch):
    path, md5 = stored

    def fail(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files.disk, "hash_file", fail)
    damage = files._compare_bytes(file(path, {md5}), lambda _: None)
    assert (damage.kind, damage.can_be_repaired) == ("unread", False)
    assert "Input/output error" in damage.found


@pytest.mark.parametrize(("there", "kind"), [(True, "unread"), (False, "rows")])
def test_rows_go_for_an_object_that_is_gone_not_for_a_store_that_fails(
    column, monkeypatch, there, kind
):
    def fail(*_):
        raise StorageError("the stored object cannot be read (timed out).")

    monkeypatch.setattr(objects.storage, "hash_object", fail)
    monkeypatch.setattr(objects.storage, "look_up", lambda *_: there or None)
    monkeypatch.setattr(objects.storage, "place", lambda path, _: path)
    stored = {"store": "bulk", "path": "x", "n_bytes": 3, "sha256": "0"}
    ref = stored_objects.Reference(column, {"eid": "e"}, stored)
    assert objects._compare_bytes(ref, lambda _: None).kind == kind


def damaged(table, **key):
    return Damage("trials", "rows", name_of(table), key, "n_trials", "2", "1")


def test_a_cause_explains_what_rests_on_its_row_alone():
    causes = counts.Causes([damaged(behavior.Trials, eid="a"), damaged(wheel.Wheel, eid="b")])
    mask = {"eid": "a", "mask": "all"}
    assert causes.explain((wheel.Wheel, behavior.Trials), mask)
    assert not causes.explain((wheel.Wheel,), mask)
    assert not causes.explain((behavior.Trials,), mask | {"eid": "b"})
    assert not causes.explain((ephys.Spikes,), mask)
    finer = counts.Causes([damaged(ephys.GoodUnits, eid="a", probe_name="probe00", criterion="c")])
    assert finer.explain((ephys.GoodUnits,), {"eid": "a", "probe_name": "probe00"})
    assert not finer.explain((ephys.GoodUnits,), {"eid": "a", "probe_name": "probe01"})


def test_finding_causes_grows_with_the_damage_and_not_with_its_square():
    def seconds(n):
        every = [damaged(behavior.Trials, eid=str(i)) for i in range(n)]
        began = time.process_time()
        causes = counts.Causes(every)
        assert all(causes.explain((behavior.Trials,), one.key) for one in every)
        return time.process_time() - began

    small, middle, large = (min(seconds(n) for _ in range(3)) for n in (5_000, 20_000, 80_000))
    # Four times as many take about four times as long; a square would be sixteen times.
    assert middle < 9 * small
    assert large < 9 * middle
