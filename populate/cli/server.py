"""Commands of the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from populate.cli.base import connect, load_settings, server_app
from populate.cli.display import err, out
from schemas.errors import ServerError


@server_app.command()
def start() -> None:
    """Start the embedded server and print its address.

    Example: bwm server start
    """
    from schemas.database import embedded

    home = load_settings().home
    embedded.start(home)
    out.print(embedded.url(home), soft_wrap=True)


@server_app.command()
def stop() -> None:
    """Stop the embedded server, unless workers run.

    Example: bwm server stop
    """
    from populate.workers import queue
    from schemas.database import embedded

    home = load_settings().home
    workers = queue.connected_workers(embedded.url(home)) if embedded.is_running(home) else []
    if workers:
        what = f"{len(workers)} worker{'s run' if workers[1:] else ' runs'}: {', '.join(workers)}."
        remedy = "Stop `bwm populate` with Ctrl-C or SIGTERM, then run the same command again."
        raise ServerError(what, "the server is not stopped", remedy)
    stopped = embedded.stop(home)
    out.print("The embedded server is stopped." if stopped else "The embedded server did not run.")


@server_app.command()
def url() -> None:
    """Print the address of the running embedded server, e.g. for psql.

    Example: psql "$(bwm server url)"
    """
    from schemas.database import embedded

    home = load_settings().home
    out.print(embedded.url(home), soft_wrap=True)
    err.print(f"Data: {embedded.folder(home)}", markup=False, soft_wrap=True)


@server_app.command()
def remove(
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
) -> None:
    """Delete the data of the embedded server: all databases in it, the demo too.

    Stored objects and downloaded files stay.

    Example: bwm server remove
    """
    from schemas.database import embedded

    home = load_settings().home
    if not yes:
        typer.confirm(f"Delete all databases in {embedded.folder(home)}?", abort=True)
    out.print(f"Deleted: {embedded.remove(home)}", soft_wrap=True)


@server_app.command()
def grant(
    role: Annotated[
        Literal["reader", "analyst", "worker", "admin"],
        typer.Argument(help="What the user may do, see above."),
    ],
    user: Annotated[str, typer.Argument(help="User of the database server.")],
    apply: Annotated[
        bool, typer.Option("--apply", help="Run the statements instead of printing them.")
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(help="MySQL: hosts of the user, e.g. 10.0.0.%; default all."),
    ] = None,
    schema: Annotated[
        list[str] | None,
        typer.Option(
            "--schema",
            help="Further schema; may be repeated. For an analyst, a schema to own (default: the "
            "user's name); for a reader or worker, the schema of an analyst.",
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(help="With --apply: file with the password; - is the standard input."),
    ] = None,
) -> None:
    """Grant a role to a user of the database server, on the schemas of this database.

    reader: reads all tables.
    analyst: reads all tables, and owns schemas for tables that refer to them.
    worker: also writes rows, for populate, retry, verify and register.
    admin: also creates and drops tables, and grants reader and worker.

    Rights are added, never removed: to remove them, drop the user.

    Example: bwm server grant reader ann --apply
    """
    settings = load_settings()
    if host is not None and settings.server_backend == "postgresql":
        raise typer.BadParameter("PostgreSQL keeps hosts in pg_hba.conf: leave out --host")
    if not apply and password_file is not None:
        raise typer.BadParameter("statements hold no password: --password-file needs --apply")
    password = None if password_file is None else _read_password(password_file)
    if apply:
        connect()
    from populate import permissions

    wanted = (settings.prefix, role, user, host or "%", schema)
    # Invalid names are refused here, before a password is asked for.
    statements = permissions.statements(settings.server_backend, *wanted)
    if not apply:
        _print_statements(statements, settings.server_backend, user)
        return
    if password is None and not permissions.exists(user, host or "%") and sys.stdin.isatty():
        password = typer.prompt(f"Password of {user}", hide_input=True, confirmation_prompt=True)
    permissions.apply(*wanted, password)
    out.print(f"{user} is {role} of {settings.prefix}.", markup=False)


def _print_statements(statements: list[str], backend: str, user: str) -> None:
    for statement in statements:
        print(f"{statement};")
    if backend == "postgresql":
        err.print(f'A new user has no password yet: in psql, \\password "{user}"', markup=False)
    else:
        err.print("The server shows the password of a new user once.")


def _read_password(path: Path) -> str:
    """Read the one line of a file; no error message shows its content."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ServerError(f"the password cannot be read ({reason}).", path) from None
    password = text.rstrip("\r\n")
    if not password or "\n" in password:
        raise ServerError("the file must hold one line, the password.", path)
    return password
