"""What commands share: groups, options, the connection, output, errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from populate.cli import display
from populate.cli.display import err
from schemas import disk
from schemas.errors import BwmError

if TYPE_CHECKING:
    import pandas as pd

    from schemas.settings import Settings

ORDER = (
    "demo",
    "register",
    "populate",
    "status",
    "retry",
    "verify",
    "units",
    "view",
    "fetch",
    "release",
    "split",
    "notices",
    "server",
    "upgrade",
    "simulate",
    "diagram",
)
"""The commands in the order of the help; a command that is not listed here comes last."""


class _OneMessage(TyperGroup):
    """A group that prints an error as one message; `--debug` shows the traceback."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return all commands in the order of `ORDER`."""
        place = {name: i for i, name in enumerate(ORDER)}
        return sorted(self.commands, key=lambda name: place.get(name, len(ORDER)))

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            err.print("Stopped. Finished work is kept; run the same command again to continue.")
            raise typer.Exit(130) from None
        except Exception as error:
            connection = sys.modules.get("schemas.connection")  # importing it takes long
            problem = (connection and connection.full_disk(error)) or error
            if ctx.params.get("debug") or not isinstance(problem, BwmError):
                raise
            display.error(problem)
            raise typer.Exit(1) from None


app = typer.Typer(
    cls=_OneMessage,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="The Brain-Wide Map of the International Brain Laboratory as a relational database.",
)
release_app = typer.Typer(no_args_is_help=True, help="Releases: named lists of insertions.")
app.add_typer(release_app, name="release")
server_app = typer.Typer(
    no_args_is_help=True, help="The embedded server, and the rights of users on any server."
)
app.add_typer(server_app, name="server")

_use_demo = False


def _print_version(wanted: bool) -> None:
    if wanted:
        from schemas import __version__

        typer.echo(f"bwm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    demo: Annotated[
        bool, typer.Option("--demo", help="Use the database of `bwm demo` instead of yours.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    use_demo(demo)


def use_demo(use: bool = True) -> None:
    """Let all commands of this process use the database of the demo."""
    global _use_demo
    _use_demo = use


def load_settings() -> Settings:
    """Load the settings, those of the demo with `--demo`."""
    from schemas import settings

    loaded = settings.load()
    return loaded.for_demo() if _use_demo else loaded


def connect(
    cache_limit: str | None = None,
    modules: Sequence[str] | None = None,
    memory: str | None = None,
) -> Settings:
    """Connect to the database; return the settings.

    Parameters
    ----------
    cache_limit, memory : str, optional
        Limit of the downloads, and memory of a worker; default the settings.
    modules : sequence of str, optional
        A user's modules, imported beside those of the settings. None imports neither: most
        commands fill no table.
    """
    from schemas import connection

    settings = load_settings()
    if cache_limit is not None:
        settings = settings.with_cache_limit(cache_limit)
    if memory is not None:
        settings = settings.with_memory(memory)
    if modules is not None:
        settings = settings.with_modules(modules)
    connection.connect(settings)
    if modules is not None:
        from populate import catalog

        catalog.use(settings.modules)
    return settings


# --- options that several commands have ---------------------------------------------------------

Modules = Annotated[
    list[str] | None,
    typer.Option(
        "--module", help="Module with tables of your own, by name or file; may be repeated."
    ),
]
"""The option `--module` of commands that need all tables: `connect(modules=module or ())`."""

Only = Annotated[list[str] | None, typer.Option("--only", help="Only this table; may be repeated.")]
Session = Annotated[
    str | None, typer.Option("--session", help="Only this session (eid, or pid of a probe).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


Format = Literal["table", "csv", "parquet"]
As = Annotated[Format, typer.Option("--format", help="Format of the output.")]
Out = Annotated[Path | None, typer.Option("--out", help="File to write to.")]

SHOWN = 50
"""Largest number of rows of a table that are printed."""


# --- output and errors --------------------------------------------------------------------------


def check_format(form: Format, target: Path | None) -> None:
    """Refuse a format that cannot be printed."""
    if form == "parquet" and target is None:
        raise typer.BadParameter("--format parquet needs --out FILE")


def write_frame(table: pd.DataFrame, form: Format, target: Path | None) -> None:
    """Write a frame to a file, or print it as CSV."""
    if target is None:
        table.to_csv(sys.stdout, index=False)
        return
    write = table.to_parquet if form == "parquet" else table.to_csv
    try:
        with disk.room_for(target):
            write(target, index=False)
    except OSError as error:
        raise typer.BadParameter(f"{target} cannot be written ({error})") from None
    err.print(f"{len(table)} rows written to {target}", markup=False, soft_wrap=True)


def exit_with(problems: list[BwmError], text: str) -> None:
    """Print problems and their number, and exit with code 1, if there are any."""
    for problem in problems:
        display.error(problem)
    if problems:
        err.print(f"{len(problems)} {text}")
        raise typer.Exit(1)


def find_eid(recording: str | None) -> str | None:
    """Return the eid of a session or an insertion; None for None."""
    from schemas import views

    # An empty text, e.g. of a shell variable that is not set, must not select all sessions.
    return None if recording is None else views.find_recording(recording)["eid"]
