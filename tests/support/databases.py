"""Databases of the project on a test server."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from populate import status, worker
from populate.intake import intake
from schemas import connection
from schemas.settings import ENVIRONMENT, Settings

_number = itertools.count()


@dataclass(frozen=True)
class Release:
    """A simulated release and what was planted in it."""

    folder: Path
    truth: Any


class Database:
    """The project's schemas under a prefix of their own; `more` are settings by their keys."""

    def __init__(self, backend, home, **more):
        self.more = more
        self.settings = Settings.model_validate(
            {
                "database.host": backend.host,
                "database.port": backend.port,
                "database.user": backend.user,
                "database.password": backend.password,
                "database.backend": backend.name,
                "database.use_tls": False,
                "bwm.home": str(home),
                "bwm.prefix": f"t{os.getpid()}_{next(_number)}",
                **more,
            }
        )

    @property
    def environment(self):
        """Variables with which the command finds this database."""
        s = self.settings
        return {
            "DJ_HOST": s.host,
            "DJ_PORT": str(s.port),
            "DJ_USER": s.user,
            "DJ_PASS": s.password.get_secret_value(),
            "DJ_BACKEND": s.backend,
            "DJ_USE_TLS": "false",
            "BWM_HOME": str(s.home),
            "BWM_PREFIX": s.prefix,
            **{name: str(self.more[key]) for name, key in ENVIRONMENT.items() if key in self.more},
        }

    def connect(self):
        connection.connect(self.settings)

    def drop(self):
        connection.drop(self.settings.prefix)
        connection.disconnect()

    def register(self, folder=None, release=None, selection=None):
        """Register as the command does; return the reports."""
        location = None if folder is None else str(folder)
        return intake(location, None if release is None else Path(release), selection)

    def populate(self):
        """Make everything that can be made; return the failures."""
        worker.run()
        return status.failures()

    def status(self):
        """State of each table by its name."""
        return {row.table: row for row in status.status()}
