"""What development, CI and Docker install is in constraints.txt, each file with its hash."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINS = (ROOT / "constraints.txt").read_text().splitlines()[2:]
PIN = re.compile(r"([a-z0-9-]+)==([\w.]+)( ; [^#]*?)?( --hash=sha256:[0-9a-f]{64})+ # ([a-z0-9 ]+)")
INSTALLERS = [ROOT / "Makefile", ROOT / "docker" / "Dockerfile"]


def pinned(group):
    """Versions of the libraries of a group, by their names."""
    found = {}
    for name, version, _, _, groups in (PIN.fullmatch(line).groups() for line in PINS):
        if group in groups.split():
            found.setdefault(name, []).append(version)
    return found


def requirements():
    """Requirements of the project and its extras, by group."""
    text = (ROOT / "pyproject.toml").read_text()  # Python 3.10 cannot read TOML
    lists = dict(re.findall(r"(?ms)^(dependencies|s3|view|notebook|dev) = \[(.*?[\"\n])\]$", text))
    lists["core"] = lists.pop("dependencies")
    return {group: re.findall('"(.*?)"', listed) for group, listed in lists.items()}


def test_every_pin_has_hashes_and_no_address():
    for line in PINS:
        assert PIN.fullmatch(line), line[:80]
        assert "://" not in line


@pytest.mark.parametrize("group", ["core", "s3", "view", "notebook", "dev"])
def test_what_an_extra_requires_is_pinned(group):
    versions = pinned(group)
    assert pinned("core").keys() <= versions.keys()
    for wanted in map(Requirement, requirements()[group]):
        if wanted.name != "bwm-datajoint":
            for version in versions[canonicalize_name(wanted.name)]:
                assert wanted.specifier.contains(version), wanted


def test_what_builds_the_project_is_pinned():
    assert {"hatchling", "editables", "packaging", "pathspec", "pluggy"} <= pinned("build").keys()


@pytest.mark.parametrize("path", INSTALLERS, ids=lambda path: path.name)
def test_nothing_is_installed_without_its_hash(path):
    text = path.read_text().replace("\\\n", " ")
    installs = re.findall(r"(?:pip install|pip wheel|\$\(PIP\)) ([^&\n]+)", text)
    libraries = [line for line in installs if "--require-hashes" in line]
    assert len(libraries) >= 1
    for line in set(installs) - set(libraries):
        assert "--no-deps" in line or line.strip() == "--quiet --disable-pip-version-check"
    assert re.search("PIP_ONLY_BINARY=:all:|--only-binary :all:", text)
