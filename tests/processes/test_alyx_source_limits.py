"""How much a server is asked, over threads, processes, kill and restart."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.errors import StorageError
from schemas.sources.one_api.limits import MINUTE, RateLimiter, is_at, locked
from tests.support import online
from tests.support.alyx import AlyxServer

ROOT = Path(__file__).parents[2]

WORKER = """
import sys, time
from pathlib import Path
from schemas.sources.one_api.limits import RateLimiter
folder, n, at_once = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
limits = RateLimiter(folder, at_once, 100_000)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(n):
    with limits.request():
        begin = time.monotonic()
        time.sleep(0.02)
        print(begin, time.monotonic(), flush=True)
"""

HOLDER = """
import sys, time
from pathlib import Path
from schemas.sources.one_api.limits import RateLimiter
limits = RateLimiter(Path(sys.argv[1]), 1, 2)
with limits.request():
    print("holding", flush=True)
    time.sleep(60)
"""


class Clock:
    """A time that passes when somebody sleeps."""

    def __init__(self, now=1000.0):
        self.now = now

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


def limits(folder, clock, at_once=2, per_minute=3):
    return RateLimiter(folder, at_once, per_minute, clock, clock.sleep)


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def most_within_a_minute(times):
    return max(sum(begin <= t < begin + MINUTE for t in times) for begin in times)


durations = st.lists(st.floats(0, 100), min_size=1, max_size=25)


@settings(deadline=None)
@given(durations, durations, st.integers(1, 4))
@example([1.5999999999999996, 0.0, 0.0], [0.0], 1)  # a minute that ends within a rounding error
def test_no_minute_has_more_requests_than_allowed(tmp_path_factory, works, rests, per_minute):
    clock = Clock()
    folder = tmp_path_factory.mktemp("limits")
    seen = []
    for k, work in enumerate(works):
        # Each time another process: nothing is remembered but the file.
        with limits(folder, clock, per_minute=per_minute).request():
            clock.now += work * 0.7
            seen.append(clock.now)  # the server sees it at some moment while it is under way
            clock.now += work * 0.3
        clock.now += rests[k % len(rests)] / 10
    assert most_within_a_minute(seen) <= per_minute


def test_requests_are_not_held_longer_than_a_minute(tmp_path):
    clock = Clock()
    for _ in range(7):
        with limits(tmp_path, clock).request():
            pass
    assert clock.now - 1000.0 == pytest.approx(2 * MINUTE, abs=1.0)


def test_a_clock_that_begins_anew_counts_what_was_asked_as_just_now(tmp_path):
    clock = Clock(1_000_000.0)
    for _ in range(3):
        with limits(tmp_path, clock).request():
            pass
    clock.now = 5.0
    with limits(tmp_path, clock).request():
        assert MINUTE <= clock.now - 5.0 <= MINUTE + 1.0


@pytest.mark.parametrize("held", ["[[1.0, 2", "nonsense", "{}", "[[], [], 0]", "[null, {}, 0]"])
def test_a_damaged_count_is_taken_for_a_full_one(tmp_path, held):
    clock = Clock()
    (tmp_path / "requests.json").write_text(held)
    with limits(tmp_path, clock).request():
        assert MINUTE <= clock.now - 1000.0 <= MINUTE + 1.0
    done, flying, _ = json.loads((tmp_path / "requests.json").read_text())
    assert (len(done), flying) == (1, {})


def test_an_empty_count_is_none(tmp_path):
    clock = Clock()
    (tmp_path / "requests.json").write_text("")
    with limits(tmp_path, clock).request():
        assert clock.now == 1000.0


def test_a_pause_is_for_all(tmp_path):
    clock = Clock()
    limits(tmp_path, clock).pause(50)
    with limits(tmp_path, clock).file():
        assert clock.now == 1000.0
    with limits(tmp_path, clock).request():
        assert 50 <= clock.now - 1000.0 <= 51.5


def test_files_are_not_counted_but_take_a_place(tmp_path):
    clock = Clock()
    for _ in range(10):
        with limits(tmp_path, clock).file():
            pass
    assert clock.now == 1000.0
    one = RateLimiter(tmp_path, 1, 10)
    other = RateLimiter(tmp_path, 1, 10)
    entered = threading.Event()

    def ask():
        with other.request():
            entered.set()

    with one.file():
        thread = threading.Thread(target=ask)
        thread.start()
        assert not entered.wait(0.3)
    assert entered.wait(5)
    thread.join()


def test_processes_share_the_places(tmp_path):
    workers = [start(WORKER, tmp_path, 8, 2) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    outputs = []
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        outputs.append(worker.communicate(timeout=60)[0])
        assert worker.returncode == 0
    spans = [tuple(map(float, line.split())) for text in outputs for line in text.splitlines()]
    assert len(spans) == 24
    at_once = [sum(begin <= t < end for begin, end in spans) for t, _ in spans]
    assert max(at_once) == 2


def test_a_killed_process_leaves_its_place_and_its_request_counts(tmp_path):
    holder = start(HOLDER, tmp_path)
    assert holder.stdout.readline() == "holding\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.communicate()
    clock = Clock(time.monotonic())
    began = clock.now
    own = limits(tmp_path, clock, at_once=1, per_minute=2)
    with own.request():
        assert clock.now == began
    with own.request():
        assert MINUTE <= clock.now - began <= MINUTE + 1.0


def test_a_request_of_a_killed_process_on_another_place_ends_too(tmp_path):
    clock = Clock()
    (tmp_path / "requests.json").write_text(json.dumps([[], {"1": 990.0}, 0.0]))
    with limits(tmp_path, clock, at_once=2, per_minute=1).request():
        assert MINUTE <= clock.now - 1000.0 <= MINUTE + 1.0


def test_a_folder_that_cannot_be_written_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(StorageError, match="BWM_ALYX_CACHE"),
        RateLimiter(tmp_path / "file" / "x", 1, 1).request(),
    ):
        pass


def test_a_lock_that_was_removed_is_taken_anew(tmp_path):
    path = tmp_path / "lock"
    order = []

    def second():
        with locked(path) as handle:
            order.append("second")
            assert is_at(handle, path)

    with locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.1)
        order.append("first")
        path.unlink()
    thread.join()
    assert order == ["first", "second"]
    with locked(path), locked(path, wait=False) as other:
        assert other is None


def test_the_server_sees_no_more_requests_than_allowed(release, tmp_path, monkeypatch):
    """With minutes of a second, so that it does not take long."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("schemas.sources.one_api.limits.MINUTE", 1.0)
    with AlyxServer(release.folder) as alyx:
        threads = [
            threading.Thread(
                target=lambda: list(
                    online.source(alyx, tmp_path / "cache", requests_per_minute=8).sessions()
                )
            )
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(alyx.requests) > 16
        assert alyx.most_within(1.0) <= 8
