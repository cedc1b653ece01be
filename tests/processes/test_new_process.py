"""What a new Python loads, knows and starts."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SLOW = ("datajoint", "numpy", "pandas", "pyarrow", "matplotlib", "scipy", "one", "iblatlas")


def python(*arguments, **environment):
    """Run Python in the project's folder and return what it printed."""
    run = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_module_is_the_command():
    shown = python("-m", "populate", "--help")
    assert "Usage: python -m populate [OPTIONS] COMMAND" in shown
    for command in ("demo", "populate", "units", "server"):
        assert command in shown


def test_help_loads_nothing_that_is_slow_to_load():
    code = f"import sys, populate.cli; print([m for m in {SLOW} if m in sys.modules])"
    assert python("-c", code) == "[]\n"


def test_importing_the_tables_loads_nothing_that_only_computing_needs():
    """Their import takes a second of each command: more than all else that most commands do."""
    code = (
        "import importlib, sys, schemas, populate.status\n"
        "for name in schemas.MODULES: importlib.import_module(f'schemas.{name}')\n"
        "slow = 'scipy.stats', 'scipy.signal', 'scipy.optimize', 'iblatlas', 'one'\n"
        "print([module for module in slow if module in sys.modules])\n"
    )
    assert python("-c", code) == "[]\n"


def test_importing_the_source_does_not_import_one():
    code = "import sys, schemas.sources.one_api; print('one' in sys.modules)"
    assert python("-c", code) == "False\n"


def test_importing_the_tables_needs_no_server_and_starts_none(tmp_path):
    code = (
        "import importlib, schemas\n"
        "for name in schemas.MODULES: importlib.import_module(f'schemas.{name}')\n"
        "from schemas import connection, views\n"
    )
    python("-c", code, BWM_HOME=str(tmp_path / "home"), DJ_HOST="256.0.0.1")
    assert not (tmp_path / "home").exists()


def test_a_new_process_knows_every_table_by_name():
    """Else it takes what is there for missing, and who may only read cannot connect."""
    code = (
        "from schemas import activation\n"
        "for schema, table in sorted(activation.expected_tables('bwm')): print(schema, table)\n"
    )
    named = python("-c", code).splitlines()
    assert "bwm_behavior _trials__trial" in named
    assert "bwm_behavior ~~trials" in named
    assert not [line for line in named if line.endswith("None")]
