"""What commands, the queue and verify take: `python -m tests.benchmarks.commands`.

Commands are timed in processes of their own: processor time, most of which is imports. Their limit
is to import DataJoint, which nobody can leave out.
"""
# ruff: noqa: T201

import os
import resource
import shlex
import statistics
import subprocess
import sys

from populate import catalog, status, verify
from populate.workers import queue
from schemas import connection
from tests.benchmarks.table import Row
from tests.benchmarks.timing import best

ROUNDS = 5
BWM = (sys.executable, "-m", "populate")
COMMANDS = {
    "CPU of `connect()`": (
        *(sys.executable, "-c"),
        "from schemas import connection; connection.connect()",
    ),
    "CPU of `bwm status`": (*BWM, "status"),
    "CPU of `bwm units --region TH`": (*BWM, "units", "--region", "TH"),
    "CPU of `bwm release list`": (*BWM, "release", "list"),
}
LEAST = (sys.executable, "-c", "import datajoint")


def processor_time(command, environment):
    """Return the processor time of a command (s): the median of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
        if run.returncode:
            raise RuntimeError(f"{shlex.join(command)}: {run.stderr}")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        taken.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(taken)


def table_rows(column, environment):
    """Time commands in the environment of the connected database, and what workers ask."""
    least = processor_time(LEAST, environment)
    found = []
    for name, command in COMMANDS.items():
        taken = processor_time(command, environment)
        spent = f"import of DataJoint {100 * least / taken:.0f} %"
        found.append(Row(name, {column: taken, "limit": least}, spent))
    tables = list(catalog.tables())
    calls = {
        "finding work in the queue": lambda: queue.count_runnable(tables),
        "what `bwm status` asks": status.status,
        "`bwm verify`": verify.verify,
    }
    return [*found, *(Row(name, {column: best(call, 2)[0]}) for name, call in calls.items())]


def main():
    connection.connect()
    for row in table_rows("ours", {}):
        shown = "  ".join(
            f"{name} {1e3 * seconds:,.0f} ms" for name, seconds in row.seconds.items()
        )
        print(f"{row.what:32s} {shown}")


if __name__ == "__main__":
    main()
