"""The account that runs the embedded PostgreSQL, which refuses to run as root.

For root it is an account of its own, made when a server first starts: an account that other
services use, as `nobody`, would let each of them read and change the data.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import ServerError

NAME = "bwm-datajoint"
FORMER = "nobody"
"""Account that ran the servers of root until 0.4.0."""


@dataclass(frozen=True)
class Account:
    """Who runs the server; the numbers are -1 before the account is made."""

    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Whether this process must become the account."""
        return self.uid != os.geteuid()

    @property
    def become(self) -> dict[str, Any]:
        """Arguments of `subprocess.run`."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self.is_other else {}


def of(data: Path) -> Account:
    """Return the account of a data folder: ourselves; for root the owner of the folder, or NAME."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    former = _named(FORMER)
    if data.exists() and data.stat().st_uid not in (0, former.uid):
        return Account(data.stat().st_uid, data.stat().st_gid)
    return _named(NAME)


def ready(data: Path) -> Account:
    """Return the account of a data folder; make it, and give it the data of FORMER."""
    account = of(data)
    if account.uid == -1:
        account = _make(data)
    former = _named(FORMER).uid
    if account.is_other and data.exists() and data.stat().st_uid == former != account.uid:
        # The folder itself last: what is interrupted is continued by the next start.
        for place in (data.parent / "socket", *data.rglob("*"), data):
            # What is of others, as a link to it, stays theirs.
            if os.path.lexists(place) and place.lstat().st_uid == former:
                os.chown(place, account.uid, account.gid, follow_symlinks=False)
    return account


def require_name(account: Account, data: Path) -> None:
    """Refuse an account without a name, as containers have: PostgreSQL looks its own one up."""
    import pwd  # does not exist on Windows

    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        raise ServerError(
            f"PostgreSQL does not run under an account without a name (uid {account.uid}).",
            data,
            "Give the account a line in /etc/passwd, or set DJ_HOST to a server that runs.",
        ) from None


def _named(name: str) -> Account:
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return Account(-1, -1)
    return Account(entry.pw_uid, entry.pw_gid)


def _make(data: Path) -> Account:
    """Make the account; another process may do so at the same time."""
    command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false"]
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            [*command, NAME], env={"PATH": path}, capture_output=True, text=True, check=False
        )
        reason = done.stderr.strip()
    except OSError as error:
        reason = str(error.strerror)
    account = _named(NAME)
    if account.uid == -1:
        raise ServerError(
            f"PostgreSQL does not run as root, and the account {NAME} cannot be made ({reason}).",
            data,
            "Make it, or run as an ordinary user.",
        )
    return account
