"""Commands of the server."""

from __future__ import annotations

from populate.cli.base import load_settings, server_app
from populate.show import out


@server_app.command()
def start() -> None:
    """Start the embedded server and print its address.

    Example: bwm server start
    """
    from schemas import server

    home = load_settings().home
    server.start(home)
    out.print(server.url(home), soft_wrap=True)


@server_app.command()
def stop() -> None:
    """Stop the embedded server.

    Example: bwm server stop
    """
    from schemas import server

    stopped = server.stop(load_settings().home)
    out.print("The embedded server is stopped." if stopped else "The embedded server did not run.")


@server_app.command()
def url() -> None:
    """Print the address of the running embedded server, e.g. for psql.

    Example: psql "$(bwm server url)"
    """
    from schemas import server

    out.print(server.url(load_settings().home), soft_wrap=True)
