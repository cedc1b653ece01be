"""What the files of docker/ say."""

import configparser
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
SCRIPTS = sorted(DOCKER.glob("*.sh"))


def filled_in(text):
    """What compose makes of `${NAME:-default}` where nothing is set."""
    return re.sub(r"\$\{\w+(?::?-([^}]*))?\}", lambda found: found[1] or "", text)


COMPOSE = yaml.safe_load(filled_in((DOCKER / "compose.yaml").read_text()))
SERVICES = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"].startswith("bwm-datajoint:")}
DOCKERFILE = (DOCKER / "Dockerfile").read_text().replace("\\\n", " ")
JOB = yaml.safe_load((DOCKER / "kubernetes.yaml").read_text())


def options():
    file = configparser.ConfigParser(allow_no_value=True)
    file.read(DOCKER / "my.cnf")
    assert file.sections() == ["mysqld"]
    return dict(file["mysqld"])
