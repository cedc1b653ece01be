"""What a pool does with the messages of its workers: no process, no server."""

import multiprocessing
import time

import pytest

from populate.workers import pool, worker
from schemas import behavior
from schemas.settings import Settings

TABLE = "behavior.Trials"


@pytest.fixture
def supervisor(monkeypatch):
    """A pool of two workers, and the workers' ends of its pipes."""
    monkeypatch.setattr(pool.connection, "active", Settings)
    supervisor = pool._Pool(2, [behavior.Trials], watch=False, on_result=None)
    ends = []
    for _ in range(2):
        own, end = multiprocessing.Pipe()
        supervisor._workers.append(pool.WorkerHandle(None, own, None))
        ends.append(end)
    return supervisor, ends


def say(supervisor, number, message):
    supervisor._process_message(supervisor._workers[number], message)


@pytest.mark.parametrize("late", [0, 1])
def test_a_worker_that_searched_before_a_result_searches_again(supervisor, late):
    # The result is read late, as when the terminal is slow: the search of the worker that sent it,
    # or of another, has begun and found nothing.
    supervisor, ends = supervisor
    began = time.monotonic()
    say(supervisor, 0, worker.JobResult(TABLE, {}, 1.0))
    say(supervisor, late, pool.Idle(began))
    assert ends[late].poll()
    assert not ends[1 - late].poll()
    for number in range(2):
        assert not supervisor._is_finished()
        say(supervisor, number, pool.Idle(time.monotonic()))
    assert supervisor._is_finished()


def test_a_result_wakes_those_who_wait_and_nothing_else_does(supervisor):
    supervisor, ends = supervisor
    for number in range(2):
        say(supervisor, number, pool.Idle(time.monotonic()))
    assert supervisor._is_finished()
    assert not any(end.poll() for end in ends)
    say(supervisor, 0, worker.JobResult(TABLE, {}, 1.0))
    assert ends[1].poll()
    assert not supervisor._is_finished()
