"""How fast workers are, and how much they ask of the server."""

from pathlib import Path

import numpy as np

from populate import catalog

LOGGED = b"LOG:  statement: "


class Statements:
    """Count the statements that a server is sent.

    `environment` is for the processes whose statements count. MySQL counts all that it is sent,
    also this count itself, which is left out; PostgreSQL tells those apart, and logs them.
    """

    def __init__(self, look, backend):
        self._look = look
        self._log = None
        self.environment = {}
        if backend.name == "postgresql":
            self._log = Path(backend.host).parent / "server.log"
            self.environment = {"PGOPTIONS": "-c log_statement=all"}
        self._asked = 0

    def count(self):
        """Number since some time, the same at each call."""
        if self._log is not None:
            return self._log.read_bytes().count(LOGGED)
        self._asked += 1
        ((_, found),) = self._look.query("SHOW GLOBAL STATUS LIKE 'Questions'")
        return int(found) - self._asked


def connections(look, backend):
    """Number of connections that a server has."""
    if backend.name == "mysql":
        return len(look.query("SHOW PROCESSLIST"))
    query = "SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    return look.query(query)[0][0]


def spans(look, names):
    """When the jobs of tables began and ended (s), as their rows on_result: (n,) arrays.

    The clock is that of the workers.
    """
    tables = [table().full_table_name for table in catalog.find(names)]
    # DataJoint writes them beside the rows that a job made, once each.
    each = [f"SELECT _job_start_time, _job_duration FROM {table}" for table in tables]
    found = look.query(" UNION ALL ".join(each))
    began = np.array([start.timestamp() for start, _ in found])
    return began, began + np.array([seconds for _, seconds in found])


def middle_rate(ended):
    """Jobs per second, from the first tenth of the jobs to the last: neither start nor rest.

    The slope of a line through them: workers that began together end together, in clumps.
    """
    low, high = len(ended) // 10, len(ended) - len(ended) // 10
    middle = np.sort(ended)[low:high]
    return np.polyfit(middle - middle[0], np.arange(len(middle)), 1)[0]
