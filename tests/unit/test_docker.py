"""The files of docker/ hold what they promise: no rights, no secrets, loopback, versions."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import ByteSize, TypeAdapter

from schemas import settings
from tests.support.docker_files import (
    COMPOSE,
    DOCKER,
    DOCKERFILE,
    JOB,
    OURS,
    ROOT,
    SERVICES,
    options,
)

KNOWN = {*settings.ENVIRONMENT, *settings.STORE_KEYS}
KNOWN |= {f"{name}_FILE" for name in settings.SECRETS}
OF_DATAJOINT = {"DJ_IGNORE_CONFIG_FILE"}
PINNED = r"[a-z/]+:[\w.-]*\d[\w.-]*@sha256:[0-9a-f]{64}"
OF_SECRETS = re.compile("PASS|TOKEN|SECRET|_KEY")


def secrets_of(name):
    """Secrets of a service, by the name of their file in the container."""
    given = [one if isinstance(one, dict) else {"source": one} for one in SERVICES[name]["secrets"]]
    return {one.get("target", one["source"]): one["source"] for one in given}


# --- the image ----------------------------------------------------------------------------------


def stages():
    """Instructions of each stage by its name, those of the stage that it is made from first."""
    found = {}
    for block in re.split(r"(?m)^FROM ", DOCKERFILE)[1:]:
        base, name = re.match(r"(\S+) AS (\S+)", block).groups()
        lines = [line for line in block.splitlines()[1:] if not line.lstrip().startswith("#")]
        found[name] = found.get(base, []) + lines
    return found


@pytest.mark.parametrize("target", ["worker", "notebook"])
def test_an_image_has_no_rights_and_nothing_to_build_with(target):
    lines = stages()[target]
    users = [line.split()[1] for line in lines if line.startswith("USER")]
    assert users == ["1000:1000"], "a number that is not root's"
    assert any(line.startswith("HEALTHCHECK") for line in lines)
    assert not re.search(r"apt|gcc|pip install|curl", "\n".join(lines))


def test_the_base_image_is_pinned_by_digest():
    (image,) = re.findall(r"(?m)^ARG PYTHON_IMAGE=(.*)$", DOCKERFILE)
    assert re.fullmatch(PINNED, image)
    assert set(re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)) == {"${PYTHON_IMAGE}", "build", "base"}
    assert not DOCKERFILE.startswith("# syntax=")  # which would be fetched


def test_only_what_the_image_needs_is_sent_to_the_engine():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    assert [p for p in patterns if p.startswith("!docker")] == ["!docker/trim", "!docker/*.py"]
    sent = {p[1:] for p in patterns if p.startswith("!")}
    copied = {
        source
        for line in re.findall(r"(?m)^COPY (?!--from)(?:--chown=\S+ )?(.*) \S+$", DOCKERFILE)
        for source in line.split()
    }
    for source in copied:
        assert (ROOT / source).exists(), source
        assert {source, f"{Path(source).parent}/*.py", source.split("/")[0]} & sent, source


@pytest.mark.parametrize("path", sorted(DOCKER.glob("*.py")), ids=lambda path: path.name)
def test_each_program_of_the_image_is_copied_into_it(path):
    ast.parse(path.read_text())
    assert f"docker/{path.name}" in DOCKERFILE


# --- compose ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVICES)
def test_every_port_is_on_loopback(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")
    assert "network_mode" not in SERVICES[name]
    assert not SERVICES[name].get("privileged")


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_is_pinned_by_digest(name):
    assert "build" in SERVICES[name] or re.fullmatch(PINNED, SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_come_from_files_and_have_no_default(name):
    service = SERVICES[name]
    for variable, value in service["environment"].items():
        if OF_SECRETS.search(variable) and value:
            secret = Path(value)
            assert variable.endswith("_FILE"), variable
            assert secret.parent == Path("/run/secrets")
            assert secret.name in secrets_of(name)
    for secret in secrets_of(name).values():
        assert COMPOSE["secrets"][secret] == {"file": f"./secrets/{secret}"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_variable_is_a_setting(name):
    ours = {v for v in SERVICES[name]["environment"] if v.startswith(("DJ_", "BWM_"))}
    assert ours <= KNOWN
    given = {v: str(x) for v, x in SERVICES[name]["environment"].items() if v in ours and x}
    for secret in [v for v in given if v.endswith("_FILE")]:
        given[secret.removesuffix("_FILE")] = "sesame"
        del given[secret]
    if name in OURS:
        found = settings.load(Path("/"), given)
        assert (found.host, found.store.location) == ("db", "/store")
        assert found.for_demo().host == "db"


@pytest.mark.parametrize("name", OURS)
def test_our_containers_have_no_rights(name):
    assert OURS[name]["init"] is True
    assert not {"user", "cap_add"} & OURS[name].keys()


CAPABILITIES = {
    "db": ["CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"],
    "backup": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
    "restore": ["CHOWN", "DAC_OVERRIDE", "FOWNER"],
}


@pytest.mark.parametrize("name", SERVICES)
def test_no_container_can_do_more_than_its_work(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_a_worker_is_stopped_gently_and_started_again():
    worker = SERVICES["worker"]
    assert worker["stop_grace_period"] == "15s"  # the command takes ten at most
    assert worker["restart"] == "unless-stopped"
    assert worker["command"] == "--demo populate --watch --log-format json"
    memory = settings.load(Path("/"), {"BWM_MEMORY": worker["environment"]["BWM_MEMORY"]})
    assert memory.worker.memory < 0.8 * int(worker["mem_limit"].rstrip("g")) * 2**30
    assert "container_name" not in worker  # which could not be scaled


def test_notebooks_only_read():
    notebook = SERVICES["notebook"]
    assert notebook["environment"]["DJ_USER"] == "reader"
    mounts = dict(mount.split(":", 1) for mount in notebook["volumes"])
    assert (mounts["store"], mounts["home"]) == ("/store:ro", "/data:ro")
    sources = {"store_reader_access_key", "store_reader_secret_key"}
    assert set(secrets_of("notebook").values()) == sources | {"db_reader", "notebook_token"}
    assert {f"store_{key}_key" for key in ("access", "secret")} <= secrets_of("notebook").keys()


def test_the_viewer_only_reads_and_asks_for_its_token():
    viewer = SERVICES["viewer"]
    assert viewer["environment"]["DJ_USER"] == "reader"
    assert all(mount.endswith(":ro") for mount in viewer["volumes"])
    assert "--token-file /run/secrets/viewer_token" in viewer["command"]
    assert viewer["mem_limit"] == "3g"
    assert "/health" in viewer["healthcheck"]["test"][-1]
    sources = {"store_reader_access_key", "store_reader_secret_key"}
    assert set(secrets_of("viewer").values()) == sources | {"db_reader", "viewer_token"}


def test_only_who_creates_tables_has_the_account_that_can():
    having = {name for name, service in SERVICES.items() if "db_admin" in service["secrets"]}
    assert having == {"db", "prepare", "backup", "restore"}
    assert SERVICES["prepare"]["entrypoint"][2:] == ["worker=bwm", "reader=reader"]
    granted = re.findall(r"GRANT (.*) ON .* TO (\w+)@", (DOCKER / "users.sh").read_text())
    assert granted == [("ALL", "admin"), ("SELECT (user, host)", "admin")]
    assert not (DOCKER / "users.sh").stat().st_mode & 0o111  # else it is run, and knows no server


def test_the_profile_of_a_bucket_gives_a_store_that_is_one():
    lines = (DOCKER / "s3.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert given.pop("COMPOSE_PROFILES") == "s3"
    assert set(given) <= KNOWN
    text = (DOCKER / "compose.yaml").read_text()
    for variable in given:
        assert f"{variable}: ${{{variable}:-" in text
    keys = {"BWM_STORE_ACCESS_KEY": "open", "BWM_STORE_SECRET_KEY": "sesame"}
    store = settings.load(Path("/"), {"BWM_STORE": given["BWM_STORE"], **keys}).store
    assert store.endpoint == "minio:9000"
    assert SERVICES["minio"]["profiles"] == SERVICES["bucket"]["profiles"] == ["s3"]
    having = {name for name in SERVICES if "store_root" in secrets_of(name)}
    assert having == {"minio", "bucket"}


# --- secrets ------------------------------------------------------------------------------------


def test_secrets_and_backups_are_never_committed():
    assert {"secrets/", "backup/", ".env"} <= set((DOCKER / ".gitignore").read_text().split())


# --- the server ---------------------------------------------------------------------------------


def test_the_server_takes_what_is_inserted_at_once():
    from schemas import rows

    packet = TypeAdapter(ByteSize).validate_python(options()["max_allowed_packet"] + "iB")
    assert packet > 4 * rows.CHUNK_BYTES  # text is escaped and binary doubled on its way
    assert options()["collation_server"] == "utf8mb4_bin"
    assert options()["innodb_flush_log_at_trx_commit"] == "1"


# --- clusters -----------------------------------------------------------------------------------


def test_the_time_of_a_task_of_slurm_ends_gently():
    text = (DOCKER / "slurm.sh").read_text()
    exported = set(re.findall(r"(?m)^export (\w+)", text)) - {"OMP_NUM_THREADS"}
    assert exported <= KNOWN
    assert "#SBATCH --signal=TERM@60" in text


def test_the_job_of_kubernetes_has_no_rights_and_no_secrets():
    pod = JOB["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert JOB["spec"]["parallelism"] == 8
    assert "completions" not in JOB["spec"]
    assert pod["terminationGracePeriodSeconds"] > 10
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['securityContext']['runAsUser']}:1000" in DOCKERFILE
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    given = {one["name"]: one["value"] for one in container["env"]}
    assert {v for v in given if v.startswith(("DJ_", "BWM_"))} <= KNOWN
    assert given["DJ_PASS_FILE"].startswith("/run/secrets/")
    assert not [v for v in given if OF_SECRETS.search(v) and not v.endswith("_FILE")]
    mounts = {one["name"] for one in container["volumeMounts"]}
    assert mounts == {one["name"] for one in pod["volumes"]}
    assert container["resources"]["limits"]["memory"] == "4Gi"


def test_variables_of_the_image_are_settings():
    given = set(re.findall(r"\b((?:DJ|BWM)_\w+)=", DOCKERFILE))
    assert given - OF_DATAJOINT <= KNOWN
