"""Prepare the database for workers: create the tables and, with --demo, register the demo.

It can be run again: existing tables and sessions stay as they are.
"""

import sys

from populate import demo
from populate.cli import display
from schemas import connection, settings
from schemas.errors import BwmError


def main():
    """Create the tables and register the demo; return the sessions that were refused."""
    of_demo = "--demo" in sys.argv[1:]
    found = settings.load()
    found = found.for_demo() if of_demo else found
    if of_demo:
        written = demo.simulate(found)
        display.out.print("Simulated a release." if written else "The simulated release is there.")
    connection.connect(found)
    display.out.print(f"The tables are there, with the prefix {found.prefix}.")
    reports = demo.register(found) if of_demo else []
    for report in reports:
        display.report(report)
    return [problem for report in reports for problem in report.problems]


if __name__ == "__main__":
    try:
        refused = main()
    except BwmError as error:
        refused = [error]
    for each in refused:
        display.error(each)
    sys.exit(1 if refused else 0)
