"""How long a call takes."""

import time


def best(call, rounds):
    """Take the shortest of some rounds: seconds, and what the call returned."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        value = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), value
