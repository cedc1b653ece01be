"""Prepare the database: create the tables, grant roles and, with --demo, register the demo.

An argument ROLE=USER grants a role to an account. It can be run again: existing tables and sessions
stay as they are.
"""

import sys

from populate import demo, permissions
from populate.cli import display
from schemas import connection, settings
from schemas.errors import BwmError


def main():
    """Create tables, grant roles, register the demo; return the sessions that were refused."""
    of_demo = "--demo" in sys.argv[1:]
    found = settings.load()
    found = found.for_demo() if of_demo else found
    if of_demo:
        written = demo.simulate(found)
        display.out.print("Simulated a release." if written else "The simulated release is there.")
    connection.connect(found)
    for role, user in (word.split("=") for word in sys.argv[1:] if "=" in word):
        permissions.apply(found.prefix, role, user)
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
