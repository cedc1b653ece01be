"""The programs of docker/ do what they promise."""

import getpass
import os
import re
import runpy
import shutil
import stat
import subprocess
import sys
import time

import psutil
import pytest

from tests.support.docker_files import COMPOSE, DOCKER, SCRIPTS, options


def test_a_worker_that_is_stopped_or_gone_is_not_healthy(tmp_path, monkeypatch):
    health = runpy.run_path(str(DOCKER / "health.py"), run_name="health")
    (tmp_path / "bwm").write_text("import time\ntime.sleep(60)\n")
    process = psutil.Popen([sys.executable, tmp_path / "bwm", "populate"])
    own = psutil.Process()

    def looked_at(fields):
        for one in (process, own):
            if one.is_running():
                one.info = one.as_dict(fields)
                yield one

    def states(wanted):
        return any(health["works"]() is wanted for _ in range(100) if time.sleep(0.02) is None)

    monkeypatch.setattr(psutil, "process_iter", looked_at)
    try:
        assert states(True)
        process.suspend()
        assert states(False)
        process.resume()
        assert states(True)
    finally:
        process.kill()
        process.wait()
    assert not health["works"]()  # this process is not the worker


def test_secrets_are_made_once_each_another_and_in_a_closed_folder(tmp_path):
    script = tmp_path / "secrets.sh"
    shutil.copy(DOCKER / "secrets.sh", script)
    subprocess.run(["bash", script], check=True, capture_output=True)
    folder = tmp_path / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert len(set(made.values())) == len(made)
    assert all(re.fullmatch("[0-9a-f]{40}", secret) for secret in made.values())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "db_root").unlink()
    again = subprocess.run(["bash", script], check=True, capture_output=True, text=True)
    after = {path.name: path.read_text() for path in folder.iterdir()}
    assert {name for name in made if made[name] != after[name]} == {"db_root"}
    assert not any(secret in again.stdout for secret in after.values())


def test_passwords_are_quoted_for_the_server(tmp_path):
    for name, text in (("bwm", 'it\'s \\ "so"\n'), ("reader", "plain"), ("admin", "x")):
        (tmp_path / f"db_{name}").write_text(text)
    script = (DOCKER / "users.sh").read_text().replace("/run/secrets", str(tmp_path))
    shown = subprocess.run(
        ["bash", "-euc", f"docker_process_sql() {{ cat; }}\n{script}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert r"""CREATE USER IF NOT EXISTS bwm@'%' IDENTIFIED BY 'it''s \\ "so"';""" in shown
    assert r"GRANT ALL ON `bwm\_%`.* TO admin@'%' WITH GRANT OPTION;" in shown


def test_the_server_knows_every_option(tmp_path):
    program = shutil.which("mysqld")
    if program is None:
        pytest.skip("no mysqld on PATH")
    command = [
        program,
        "--no-defaults",
        "--validate-config",
        "--secure-file-priv=",
        f"--user={getpass.getuser()}",
    ]
    for name, value in options().items():
        command.append(f"--{name}" if value is None else f"--{name}={value.strip(chr(39))}")
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", [*SCRIPTS, DOCKER / "trim"], ids=lambda path: path.name)
def test_every_script_is_one(script):
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def run_slurm(folder, *arguments, **environment):
    """Run the script with an `srun` that tells what it is to run, with what."""
    fake = folder / "srun"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@" "DJ_PASS_FILE=$DJ_PASS_FILE"\n')
    fake.chmod(0o755)
    return subprocess.run(
        ["bash", DOCKER / "slurm.sh", *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}", "HOME": "/home/alice", "USER": "alice"}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_task_of_slurm_runs_as_many_workers_as_it_has_processors(tmp_path):
    slurm = {"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_NODE": "32768"}
    where = {"DJ_HOST": "db.example.org", "BWM_STORE": "/data/store"}
    done = run_slurm(tmp_path, "--only", "Spikes", **slurm, **where)
    *command, password = done.stdout.splitlines()
    assert command == [
        *("bwm", "populate", "--workers", "4", "--memory", "7372MiB"),
        *("--log-format", "json", "--only", "Spikes"),
    ]
    assert password == "DJ_PASS_FILE=/home/alice/.config/bwm/password"


@pytest.mark.parametrize("missing", ["DJ_HOST", "BWM_STORE"])
def test_a_task_of_slurm_asks_for_what_it_cannot_know(tmp_path, missing):
    where = {"DJ_HOST": "db.example.org", "BWM_STORE": "/data/store", missing: ""}
    done = run_slurm(tmp_path, **where)
    assert done.returncode != 0
    assert f"{missing}: name the " in done.stderr
    assert done.stdout == ""
