"""Backup and restore: the scripts of docker/ against a server that lost everything."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from populate import catalog
from populate.workers import worker
from schemas import connection
from schemas.database import embedded, postgres_programs
from schemas.sources import simulator
from tests.support import databases
from tests.support.databases import Database, Release

SCRIPTS = Path(__file__).parents[2] / "docker"
SMALL = {"n_units": 16, "n_trials": 40, "duration": 300.0, "max_probes": 1, "revisions": ("",)}
IMPORTED = ["Trials", "Wheel", "Channels", "SpikeSorting", "Spikes", "ReactionTime"]
CLIENTS = {"mysql": ("mysqldump", "mysql"), "postgresql": ("pg_dump", "pg_restore", "psql")}


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """A simulated release of two sessions."""
    folder = tmp_path_factory.mktemp("release")
    return Release(folder, simulator.simulate(folder, "tiny", seed=5, n_sessions=2, **SMALL))


@pytest.fixture(scope="module")
def path(backend):
    """PATH with the clients of the server: those of PostgreSQL come with it."""
    programs = postgres_programs.packaged().POSTGRES_VERSIONS[embedded.PREFERRED_VERSION]
    found = f"{programs}:{os.environ['PATH']}"
    missing = [name for name in CLIENTS[backend.name] if not shutil.which(name, path=found)]
    if missing:
        pytest.skip(f"no {' and no '.join(missing)} on PATH")
    return found


@pytest.fixture(scope="module")
def filled(lend, release):
    """A database with rows and objects, that is lost in each test."""
    with lend() as database:
        database.register(release.folder, release.truth.release)
        worker.run(catalog.find(IMPORTED))
        yield database


def run(script, database, path, *arguments, **more):
    """Run a script as one does in a shell, the password in a file."""
    secret = Path(database.settings.home) / "secret"
    secret.write_text(database.environment["DJ_PASS"] + "\n")
    own = {**database.environment, "DJ_PASS": "", "DJ_PASS_FILE": str(secret), "PATH": path}
    own |= {"BWM_STORE": database.settings.store.location, **more}
    return subprocess.run(
        ["bash", SCRIPTS / script, *map(str, arguments)],
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )


def files(folder):
    """Content of files, but for the one that says whose a store is."""
    found = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith(".owner.json"))
    return {p.relative_to(folder): p.read_bytes() for p in found}


def lose(database):
    """Drop every table and remove every object."""
    connection.drop(database.settings.prefix)
    connection.disconnect()
    shutil.rmtree(database.settings.store.location)


def test_what_is_restored_is_what_was_there(filled, path, backend, tmp_path):
    filled.connect()
    before = databases.snapshot()
    store = Path(filled.settings.store.location)
    objects = files(store)
    assert objects
    (store / "half.parquet.saving").write_bytes(b"a worker is writing it")
    folder = tmp_path / "my backup"

    saved = run("backup.sh", filled, path, folder)
    assert saved.returncode == 0, saved.stderr
    assert f"{len(objects)} objects copied" in saved.stdout
    assert files(folder / "store") == objects
    assert folder.stat().st_mode & 0o077 == 0
    refused = run("restore.sh", filled, path, folder)
    assert refused.returncode != 0
    assert re.search(r"there are \d+ tables .* none is overwritten", refused.stderr)

    lose(filled)
    elsewhere = tmp_path / "another store"
    taken = elsewhere / f"{filled.settings.prefix}.owner.json"
    elsewhere.mkdir()
    taken.touch()
    refused = run("restore.sh", filled, path, folder, BWM_STORE=str(elsewhere))
    assert refused.returncode != 0
    assert f"{taken}: the store belongs to a database" in refused.stderr
    taken.unlink()
    restored = run("restore.sh", filled, path, folder, BWM_STORE=str(elsewhere))
    assert restored.returncode == 0, restored.stderr
    assert re.search(r"The rows of \d+ tables are counted", restored.stdout)
    moved = Database(
        backend, filled.settings.home, filled.settings.prefix, **{"bwm.store": str(elsewhere)}
    )
    moved.connect()
    assert databases.differences(databases.snapshot(), before) == {}
    assert files(elsewhere) == objects
    read = [one.to_pandas() for one in references()]
    assert len(read) == len(databases.stored_objects()) > 0
    assert not any(outcome.n_done for outcome in worker.run(catalog.find(IMPORTED)))
    shutil.copytree(elsewhere, store)  # for the tests that follow
    for script in (saved, refused, restored):
        assert filled.environment["DJ_PASS"] not in script.stdout + script.stderr


def references():
    """Every stored object that a row points to."""
    for name, columns in databases.object_columns().items():
        for column in columns:
            yield from databases.tables()[name].to_arrays(column)


def test_a_second_backup_adds_what_is_new(filled, path, tmp_path):
    filled.connect()
    folder = tmp_path / "backup"
    assert run("backup.sh", filled, path, folder).returncode == 0
    kept = files(folder / "store")
    gone, *_ = sorted(kept)
    (folder / "store" / gone).unlink()
    (folder / "store" / f"{gone}.saving").write_bytes(b"interrupted")
    saved = run("backup.sh", filled, path, folder)
    assert "1 objects copied" in saved.stdout, saved.stderr
    assert files(folder / "store") == kept


def test_a_damaged_object_is_not_copied_and_a_repaired_one_is(filled, path, tmp_path):
    filled.connect()
    store, folder = Path(filled.settings.store.location), tmp_path / "backup"
    whole = files(store)
    name, content = next(iter(sorted(whole.items())))
    (store / name).write_bytes(b"x" + content[1:])
    saved = run("backup.sh", filled, path, folder)
    assert saved.returncode != 0
    assert f"{name}: is damaged" in saved.stderr
    assert "1 objects are damaged" in saved.stderr
    # A copy that an earlier version made while the object was damaged.
    (folder / "store" / name).write_bytes(b"x" + content[1:])
    (store / name).write_bytes(content)
    os.utime(folder / "store" / name, (1, 1))
    assert run("backup.sh", filled, path, folder).returncode == 0
    assert files(folder / "store") == whole


def test_what_a_restore_lacks_is_named(filled, path, tmp_path):
    filled.connect()
    store, folder = Path(filled.settings.store.location), tmp_path / "backup"
    saved = run("backup.sh", filled, path, folder)
    assert saved.returncode == 0, saved.stderr
    (name, content), *_ = sorted(files(folder / "store").items())
    (folder / "store" / name).write_bytes(b"x" + content[1:])
    (rows,) = folder.glob("rows-*")
    lines = rows.read_text().splitlines()
    assert all(re.fullmatch(r"\S+ \d+ \d+", line) for line in lines)
    trials = next(n for n, line in enumerate(lines) if "._trials " in line)
    table = lines[trials].split()[0]
    rows.write_text("\n".join([*lines[:trials], f"{table} 3 3", *lines[trials + 1 :]]) + "\n")
    lose(filled)
    store.mkdir()
    restored = run("restore.sh", filled, path, folder)
    assert restored.returncode != 0
    assert f"{name}: is damaged" in restored.stderr
    assert f"{table}: it has 2 rows, and had 3 to 3." in restored.stderr
    (folder / "store" / name).write_bytes(content)
    shutil.copytree(folder / "store", store, dirs_exist_ok=True)  # for the tests that follow


def test_an_object_that_is_stored_after_the_dump_is_copied(filled, path, backend, tmp_path):
    """So the objects of all dumped rows are: they were stored before."""
    filled.connect()
    store = Path(filled.settings.store.location)
    dump, *_ = CLIENTS[backend.name]
    slow = tmp_path / "bin" / dump
    slow.parent.mkdir()
    real = shutil.which(dump, path=path)
    slow.write_text(f"#!/bin/sh\n'{real}' \"$@\" && echo late >'{store}/late.parquet'\n")
    slow.chmod(0o755)
    saved = run("backup.sh", filled, f"{slow.parent}:{path}", tmp_path / "backup")
    assert saved.returncode == 0, saved.stderr
    (store / "late.parquet").unlink()
    assert (tmp_path / "backup" / "store" / "late.parquet").exists()


@pytest.mark.parametrize(
    ("script", "more", "says"),
    [
        ("backup.sh", {"DJ_USER": "stranger"}, "there is no schema that begins with"),
        ("backup.sh", {"BWM_PREFIX": "nobody"}, "there is no schema that begins with nobody_"),
        ("backup.sh", {"BWM_PREFIX": "x' OR '1'='1"}, "cannot be a prefix"),
        ("restore.sh", {"BWM_PREFIX": "nobody"}, "it has no dump database-*"),
        ("restore.sh", {"DJ_HOST": ""}, "DJ_HOST: is not set: name the server"),
        ("backup.sh", {"BWM_STORE": ""}, "BWM_STORE: is not set: name the folder of the store"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(filled, path, tmp_path, script, more, says):
    filled.connect()
    done = run(script, filled, path, tmp_path, **more)
    assert done.returncode != 0
    assert says in done.stderr
    assert list(tmp_path.iterdir()) == []
