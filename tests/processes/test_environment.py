"""Variables and accounts as notebooks and containers have them."""

import os
import subprocess
import sys

import pytest

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith(("DJ_", "BWM_"))}


@pytest.mark.parametrize(
    "code",
    [
        "from schemas import connection",
        "import schemas.behavior",
        "from schemas.views import units",
        "import schemas, datajoint",
    ],
)
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DJ_PORT", "tcp://10.0.0.1:3306"),
        ("DJ_USE_TLS", "maybe"),
        ("DJ_LOG_LEVEL", "LOUD"),
        ("DJ_CREATE_TABLES", "perhaps"),
    ],
)
def test_an_import_in_a_notebook_names_the_unusable_variable(code, variable, value):
    environment = ENVIRONMENT | {variable: value}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"schemas.errors.SettingsError: {variable}: ")
    assert last.endswith("Correct or unset this variable.")
    assert "pydantic" not in done.stderr.partition("Traceback")[2].rpartition("Error")[0][-200:]


def test_an_import_with_good_variables_is_as_ever():
    environment = ENVIRONMENT | {"DJ_PORT": "3306", "DJ_USE_TLS": "true"}
    code = "import schemas, datajoint as dj; print(dj.config.database.port)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "3306\n"
