"""A simulated release on a server, and sources that ask it without retry_policy."""

import dataclasses

from schemas.settings import AlyxSettings
from schemas.sources.one_api.alyx import AlyxSource
from schemas.sources.one_api.client import RetryPolicy

QUICK = RetryPolicy(first_wait=0.01, reply=20.0, silence=5.0)


def settings(alyx, cache, **more):
    """Login and cache, and limits that are not reached."""
    login = {"url": alyx.url, "user": alyx.user, "password": alyx.password}
    given = {**login, "cache": cache, "requests_per_minute": 100_000, **more}
    return AlyxSettings(**{name: value for name, value in given.items() if value is not None})


def source(alyx, cache, retry_policy=QUICK, **more):
    """Open a server as a source."""
    return AlyxSource(alyx.url, cache / "unused", settings(alyx, cache, **more), retry_policy)


def impatient(**more):
    """Return a retry_policy that is over soon."""
    return dataclasses.replace(QUICK, **more)
