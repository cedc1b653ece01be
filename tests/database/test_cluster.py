"""What containers and clusters run, against servers: the script of SLURM, health, preparation."""

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import datajoint as dj
import pytest
from pydantic import SecretStr

from populate import permissions
from schemas import behavior, connection, subject, wheel
from schemas.database.driver_errors import AccessDenied
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
        ("behavior.Trials", "done"),
        ("wheel.Wheel", "done"),
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


@pytest.fixture
def accounts(database, backend, tmp_path):
    """The accounts of users.sh on a server that has one of them already, as 0.4.0 made it."""
    if backend.name != "mysql":
        pytest.skip("the server of compose.yaml is a MySQL")
    names = {name: f"{name}{database.settings.prefix}" for name in ("admin", "bwm", "reader")}
    wide = rf"`{database.settings.prefix}\_%`".replace("_", r"\_", 1)
    for name in names:
        (tmp_path / f"db_{name}").write_text("sesame")
    script = (ROOT / "docker" / "users.sh").read_text().replace("/run/secrets", str(tmp_path))
    script = f"docker_process_sql() {{ cat; }}\n{script}"
    said = subprocess.check_output(["bash", "-euc", script], text=True)
    said = re.sub(r"\b(admin|bwm|reader)@", lambda found: f"{names[found[1]]}@", said)
    said = re.sub("(?m)^--.*$", "", said.replace(r"`bwm\_%`", wide))
    try:
        run_sql(f"CREATE USER {names['bwm']}@'%' IDENTIFIED BY 'sesame'")
        run_sql(f"GRANT ALL ON {wide}.* TO {names['bwm']}@'%'")
        for _ in range(2):
            for statement in said.strip(";\n").split(";"):
                run_sql(statement)
        yield {
            name: database.settings.model_copy(
                update={"user": user, "password": SecretStr("sesame")}
            )
            for name, user in names.items()
        }
    finally:
        database.connect()
        for user in names.values():
            run_sql(f"DROP USER IF EXISTS {user}@'%'")


def run_sql(statement):
    return dj.conn().query(statement.replace("%", "%%")).fetchall()


def test_the_accounts_of_containers_have_the_rights_of_their_roles(database, accounts):
    path = ROOT / "docker" / "prepare.py"
    roles = {"bwm": "worker", "reader": "reader"}
    given = [f"{role}={accounts[name].user}" for name, role in roles.items()]
    login = {"DJ_USER": accounts["admin"].user, "DJ_PASS_FILE": ""}
    for _ in range(2):
        done = run([sys.executable, path, *given], database, DJ_PASS="sesame", **login)
        assert done.returncode == 0, done.stderr
    for name, role in roles.items():
        user = accounts[name].user
        expected = permissions.statements("mysql", database.settings.prefix, role, user)[1:]
        granted = {row[0] for row in run_sql(f"SHOW GRANTS FOR {user}")}
        assert granted == {f"GRANT USAGE ON *.* TO `{user}`@`%`", *expected}
    connection.connect(accounts["bwm"])
    subject.Lab.insert1({"lab": "x"})
    for name in roles:
        connection.connect(accounts[name])
        for refused in ("DROP TABLE {lab}", "ALTER TABLE {lab} ADD COLUMN more int"):
            with pytest.raises(AccessDenied):
                run_sql(refused.format(lab=subject.Lab.full_table_name))
    with pytest.raises(AccessDenied):
        subject.Lab.insert1({"lab": "y"})
    connection.connect(accounts["admin"])
    for refused in ("CREATE DATABASE elsewhere", "CREATE USER eve", "SELECT * FROM mysql.user"):
        with pytest.raises(AccessDenied):
            run_sql(refused)
