"""Small disks for tests, which can be filled."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MB = 1_000_000


@contextmanager
def small_disk(n_mb: int) -> Iterator[Path]:
    """Mount a small disk of its own; the test is skipped where this cannot be done.

    Its folder can be passed by all accounts: the servers do not run as root.
    """
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small disk")
    folder = tempfile.mkdtemp(prefix="bwm-test-", dir="/tmp")
    command = ["mount", "-t", "tmpfs", "-o", f"size={n_mb * MB},mode=0711", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        if done.returncode != 0:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)
    finally:
        Path(folder).rmdir()


def fill(folder: Path, leave: int = 0) -> Path:
    """Fill the disk of a folder but for some bytes; return the file that fills it."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(MB // 4))
        except OSError:
            file.truncate(max(0, file.tell() - leave))
    return filler
