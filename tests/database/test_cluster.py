"""What containers and clusters run, against servers: the script of SLURM, health, preparation."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from schemas import behavior, wheel
from schemas.sources import simulator
from tests.support.databases import Release

ROOT = Path(__file__).parents[2]
SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A simulated release of two sessions."""
    folder = tmp_path_factory.mktemp("release")
    return Release(folder, simulator.simulate(folder, "tiny", seed=5, n_sessions=2, **SMALL))


def run(arguments, database, **more):
    """Run a program as the image does: `bwm` on PATH, the password in a file."""
    home = Path(database.settings.home)
    home.mkdir(parents=True, exist_ok=True)
    (home / "password").write_text(database.environment["DJ_PASS"] + "\n")
    bwm = home / "bin" / "bwm"
    bwm.parent.mkdir(exist_ok=True)
    bwm.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m populate "$@"\n')
    (bwm.parent / "srun").write_text('#!/bin/sh\nexec "$@"\n')
    for program in bwm.parent.iterdir():
        program.chmod(0o755)
    return subprocess.run(
        list(map(str, arguments)),
        env={"PATH": f"{bwm.parent}:{os.environ['PATH']}", "HOME": str(home), "USER": "alice"}
        | {"PYTHONPATH": str(ROOT)}
        | database.environment
        | {"DJ_PASS": "", "DJ_PASS_FILE": str(home / "password")}
        | {"BWM_STORE": database.settings.store.location, **more},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_task_of_slurm_makes_what_there_is_to_make(database, release):
    database.register(release.folder)
    only = ["--only", "Trials", "--only", "Wheel"]
    slurm = {"SLURM_CPUS_PER_TASK": "2", "SLURM_MEM_PER_NODE": "4096"}
    done = run(["bash", ROOT / "docker" / "slurm.sh", *only], database, **slurm)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(one["table"], one["state"]) for one in told} == {
        ("behavior.Trials", "made"),
        ("wheel.Wheel", "made"),
    }
    assert len(told) == len(behavior.Trials()) + len(wheel.Wheel()) >= 3
    assert database.environment["DJ_PASS"] not in done.stdout + done.stderr


HEALTH = """
import runpy, sys
health = runpy.run_path(sys.argv[1], run_name="health")
health["ask"](health["settings"].load())
"""


def test_a_worker_is_healthy_while_the_server_lets_it_in(database):
    ask = [sys.executable, "-c", HEALTH, ROOT / "docker" / "health.py"]
    assert run(ask, database).returncode == 0
    assert run(ask, database, DJ_USER="stranger").returncode != 0
    assert run(ask, database, DJ_PORT="1").returncode != 0


def test_preparing_connects_or_says_why_not(database, monkeypatch, capsys):
    path = ROOT / "docker" / "prepare.py"
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [str(path)])
    assert runpy.run_path(str(path), run_name="prepare")["main"]() == []
    said = " ".join(capsys.readouterr().out.split())
    assert f"with the prefix {database.settings.prefix}." in said
    refused = run([sys.executable, path], database, DJ_PORT="1")
    assert refused.returncode == 1
    assert "the server cannot be reached" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
