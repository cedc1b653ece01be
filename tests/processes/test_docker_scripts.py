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

import datajoint as dj
import numpy as np
import psutil
import pytest

from schemas import storage
from schemas.errors import StorageError
from schemas.settings import StoreSettings
from tests.support import buckets
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


MC = """#!/bin/sh
echo "$@" >>"$LOG"
[ "$3" != create ] || cp "$6" "$FOLDER"
[ "$3" != detach ]
"""
"""Client of MinIO that keeps the policies, and fails where a user has no policy yet."""


@pytest.fixture
def policies(tmp_path):
    """Policies that bucket.sh gives to keys, by the name of their secrets."""
    names = [name for name in COMPOSE["secrets"] if name.startswith("store_")]
    for name in names:
        (tmp_path / name).write_text(f"{name} '\n")
    (tmp_path / "mc").write_text(MC)
    (tmp_path / "mc").chmod(0o755)
    script = re.sub("/run/secrets/|/tmp/", f"{tmp_path}/", (DOCKER / "bucket.sh").read_text())
    store = re.search("(?m)^BWM_STORE=(.*)$", (DOCKER / "s3.env").read_text())[1]
    given = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "BWM_STORE": store}
    given |= {"LOG": f"{tmp_path}/log", "FOLDER": str(tmp_path / "kept")}
    (tmp_path / "kept").mkdir()
    subprocess.run(["sh", "-c", script], env=given, check=True)
    lines = (tmp_path / "log").read_text().splitlines()
    assert "mb --ignore-existing store/bwm" in lines
    attached = [re.fullmatch("admin policy attach store (.*) --user (.*)", one) for one in lines]
    found = {one[2]: (tmp_path / "kept" / f"{one[1]}.json").read_text() for one in attached if one}
    assert found.keys() == {"store_access_key '", "store_reader_access_key '"}
    return {"worker": found["store_access_key '"], "notebook": found["store_reader_access_key '"]}


@pytest.fixture
def _own_store():
    before = dj.config.stores
    yield
    dj.config.stores = before


@pytest.mark.usefixtures("_own_store")
def test_keys_of_notebooks_only_read_their_bucket(policies, monkeypatch):
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)

    def use(keys, **more):
        spec = StoreSettings(**bucket.store(**keys, **more)).spec()
        dj.config.stores = {"default": storage.STORE, storage.STORE: spec}

    def put(n_rows):
        context = {"schema": "bwm_wheel", "table": "_wheel", "field": "trace"}
        columns = {"x": np.arange(n_rows)}
        codec, more = storage.ParquetCodec(), {"context": context, "store_name": storage.STORE}
        return codec.decode(codec.encode(columns, key={"eid": "e1"}, **more))

    with buckets.bucket() as bucket:
        bucket.client.create_bucket(Bucket="another")
        with bucket.checked(policies) as keys:
            use(keys["worker"])
            kept, removed = put(3), put(4)
            storage.remove(removed.path)
            use(keys["notebook"])
            assert storage.reference(kept.stored).read()["x"].tolist() == [0, 1, 2]
            assert storage.list_schema("bwm_wheel").keys() == {kept.path}
            for refused in (lambda: put(5), lambda: storage.remove(kept.path)):
                with pytest.raises(StorageError, match=r"(?i)denied|not authorized"):
                    refused()
            for name in keys:
                use(keys[name], bucket="another")
                with pytest.raises(StorageError, match=r"(?i)denied|not authorized"):
                    storage.list_schema("bwm_wheel")
        assert bucket.paths() == {kept.path}
