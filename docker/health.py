"""Health of a worker: its process runs, and it can log in to the database.

Exits with 0 or 1 in a fraction of a second, without a query of the tables.
"""

import sys
from pathlib import Path

import psutil
import psycopg2
import pymysql

from schemas import settings
from schemas.database import clear_text
from schemas.errors import BwmError

TIMEOUT_SECONDS = 5
"""Seconds to wait for the server."""


def ask(found):
    """Log in as the worker does, and run a query."""
    password = found.password.get_secret_value() if found.password else ""
    login = {"host": found.host, "port": found.server_port, "user": found.user}
    clear_text.refuse()
    if found.server_backend == "mysql":
        server = pymysql.connect(**login, password=password, connect_timeout=TIMEOUT_SECONDS)
    else:
        encrypted = found.use_tls or found.tls_ca
        login |= {"sslmode": "require"} if encrypted else clear_text.LIBPQ
        login["dbname"] = "postgres"
        server = psycopg2.connect(**login, password=password, connect_timeout=TIMEOUT_SECONDS)
    try:
        server.cursor().execute("SELECT 1")
    finally:
        server.close()


def works():
    """Return whether a process of the command runs, neither stopped nor dead."""
    lame = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    return any(
        # `bwm` is the first argument, or the second after the Python that runs it.
        "bwm" in [Path(argument).name for argument in (one.info["cmdline"] or [])[:2]]
        and one.info["status"] not in lame
        for one in psutil.process_iter(["cmdline", "status"])
    )


if __name__ == "__main__":
    if not works():
        sys.exit("no worker runs")
    try:
        ask(settings.load())
    except (BwmError, pymysql.err.MySQLError, psycopg2.Error) as error:
        sys.exit(str(error))
