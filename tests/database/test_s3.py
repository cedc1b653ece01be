"""A store in a bucket: filled, read, verified and repaired."""

from populate import catalog, verify
from populate.workers import worker
from schemas import ephys, wheel
from schemas.sources import simulator
from tests.support import buckets
from tests.support.databases import differences, snapshot, stored_objects

SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
TABLES = ["Wheel", "WheelMoves", "SpikeSorting", "Spikes"]


def fill():
    done = worker.run(catalog.find(TABLES))
    assert sum(len(outcome.failed) for outcome in done) == 0


def test_a_store_in_a_bucket_is_as_good_as_a_folder(lend, tmp_path):
    simulator.simulate(tmp_path / "release", "tiny", seed=5, n_sessions=1, **SMALL)
    with (
        buckets.bucket() as bucket,
        lend(tmp_path / "home", {"bwm.store": bucket.store()}) as database,
    ):
        database.register(tmp_path / "release")
        fill()
        whole = snapshot()
        owner = f"{database.settings.prefix}.owner.json"
        assert {*stored_objects(), owner} == bucket.paths()
        assert verify.verify(deep=True, older_than=0).damage == []
        trains = ephys.spike_times(ephys.SpikeSorting.Cluster())
        assert sum(map(len, trains)) == sum(ephys.Spikes().to_arrays("n_spikes"))

        flipped = ephys.Spikes().fetch1("spikes").path
        content = bytearray(bucket.read(flipped))
        content[len(content) // 2] ^= 1
        bucket.write(flipped, bytes(content))
        removed = wheel.Wheel().fetch1("wheel_trace").path
        bucket.remove(removed)
        orphan = flipped.replace(flipped[-20:], "0123456789ab.parquet")
        bucket.write(orphan, b"x")
        report = verify.verify(deep=True, older_than=0)
        assert {(d.check, d.path) for d in report.damage} == {
            ("objects", flipped),
            ("objects", removed),
            ("orphans", orphan),
        }
        verify.repair(report.damage)
        assert bucket.paths() == {owner}
        fill()
        assert differences(snapshot(), whole) == {}
        assert verify.verify(deep=True, older_than=0).damage == []
        assert {*stored_objects(), owner} == bucket.paths()
