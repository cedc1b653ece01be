"""Errors of the viewer, each with the status that it is answered with."""

from __future__ import annotations

from schemas.errors import BwmError


class BadParameter(BwmError):
    """A parameter in the address is unknown, repeated or malformed."""

    status = 400


class NotFound(BwmError):
    """Nothing of that id or name is in the database."""

    status = 404


class TooMuch(BwmError):
    """An answer would have more rows than the viewer hands out."""

    status = 413


class Busy(BwmError):
    """The database does not answer, or not in time."""

    status = 503
