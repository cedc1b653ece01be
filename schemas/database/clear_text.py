"""Passwords that a server asks for in clear text: sent over TLS only."""

from __future__ import annotations

import functools
from typing import Any

import pymysql
from pymysql.connections import Connection

UNENCRYPTED = "the server asks for the password in clear text, and the connection has no TLS"

PLUGINS = {b"mysql_clear_password", b"dialog"}
"""Authentication plugins of MySQL with which PyMySQL sends the password as it is."""

LIBPQ = {"require_auth": "!password"}
"""Argument of `psycopg2.connect` where TLS is not certain."""


@functools.cache
def refuse() -> None:
    """Let PyMySQL refuse these plugins on connections without TLS; it has no setting for that."""
    process = Connection._process_auth

    def process_auth(self: Connection, plugin_name: bytes, *given: Any) -> Any:
        if plugin_name in PLUGINS and not self._secure:
            raise pymysql.err.OperationalError(2059, UNENCRYPTED)
        return process(self, plugin_name, *given)

    Connection._process_auth = process_auth
