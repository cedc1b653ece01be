"""What connecting knows of the tables before there is a server."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_new_process_knows_every_table_by_name():
    """Else it takes what is there for missing, and who may only read cannot connect."""
    code = (
        "from schemas import connection\n"
        "for schema, table in sorted(connection._wanted_tables('bwm')): print(schema, table)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    named = run.stdout.splitlines()
    assert "bwm_behavior _trials__trial" in named, run.stderr
    assert "bwm_behavior ~~trials" in named
    assert not [line for line in named if line.endswith("None")]
