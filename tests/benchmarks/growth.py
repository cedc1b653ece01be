"""How time grows with the number of insertions: questions, finding work, verify, status.

    python -m tests.benchmarks.growth [--insertions 50 200 547 699] [--server postgresql]

Fills a database of its own for each number, and prints seconds and the exponent of the insertions:
the slope of log time against log insertions (1: twice the insertions take twice the time).
"""
# ruff: noqa: T201

import argparse

import numpy as np
import pandas as pd

from populate import catalog, status, verify
from populate.workers import queue
from tests.benchmarks.ask import filled
from tests.benchmarks.questions import QUESTIONS
from tests.benchmarks.timing import best
from tests.support import servers

INSERTIONS, ROUNDS = (50, 200, 547, 699), 3


def calls():
    """Name all that is timed."""
    tables = list(catalog.tables())
    timed = {question.name: question.ours for question in QUESTIONS}
    timed["finding work in the queue"] = lambda: queue.count_runnable(tables)
    return {**timed, "verify": verify.verify, "status": status.status}


def measure(server, n_insertions):
    """Time all in a new database of so many insertions (s)."""
    with filled(server, "2024", n_insertions):
        return {name: best(call, ROUNDS)[0] for name, call in calls().items()}


def exponents(taken):
    """Fit a line through log time against log insertions, whose numbers are the columns."""
    slope, _ = np.polyfit(np.log(taken.columns.astype(float)), np.log(taken.to_numpy().T), 1)
    return pd.Series(slope, taken.index)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--insertions", type=int, nargs="+", default=INSERTIONS)
    parser.add_argument("--server", choices=list(servers.START), action="append")
    arguments = parser.parse_args()
    if len(set(arguments.insertions)) < 2:
        parser.error("growth needs two numbers of insertions at least")
    for server in arguments.server or servers.START:
        taken = pd.DataFrame({n: measure(server, n) for n in sorted(set(arguments.insertions))})
        print(f"\n{server}, s")
        print(taken.assign(exponent=exponents(taken)).round(3).to_string(), flush=True)


if __name__ == "__main__":
    main()
