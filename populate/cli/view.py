"""The command `bwm view`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from populate.cli.base import app, connect
from populate.cli.display import out
from schemas.errors import SettingsError

PORT, LOOPBACK = 8765, "127.0.0.1"


@app.command()
def view(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = PORT,
    browse: Annotated[bool, typer.Option("--open", help="Open the pages in a browser.")] = False,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than loopback take a token.")
    ] = LOOPBACK,
    token_file: Annotated[
        Path | None, typer.Option(help="File with the token; default: a new one is printed.")
    ] = None,
) -> None:
    """Serve the database as web pages, until Ctrl-C.

    The pages only read, and need no internet.

    Example: bwm view --port 8765 --open
    """
    token = None if token_file is None else _read_token(token_file)
    connect()
    serve_connected(port, browse, host, token)


def serve_connected(
    port: int = PORT, browse: bool = False, host: str = LOOPBACK, token: str | None = None
) -> None:
    """Serve the connected database; parameters as of `viewer.serve.serve`."""
    try:
        from viewer import serve
    except ImportError as error:
        what = f"the pages cannot be served ({error})."
        remedy = "Install the extra: pip install 'bwm-datajoint[view]'."
        raise SettingsError(what, None, remedy) from None
    serve.serve(host, port, token, browse, _tell)


def _tell(address: str) -> None:
    out.print(f"The database is at {address}", soft_wrap=True)
    out.print("Ctrl-C ends it.")


def _read_token(path: Path) -> str:
    """Read the one line of a file."""
    try:
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"the token cannot be read ({error}).", path) from None
    if len(token) < 16 or not re.fullmatch(r"[\w.-]+", token, re.ASCII):
        what = "the token must be 16 or more letters, digits and - _ . alone."
        raise SettingsError(what, path, "For instance: openssl rand -hex 24.")
    return token
